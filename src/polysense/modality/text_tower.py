"""Text towers.

Letters: B records, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..contracts import Batch, State
from ..errors import BadModel, need
from ..registry import encoders
from ..tokens import Tokens
from ..writing import clean, padded
from . import whole
from .towers import Pretrained, quiet_transformers, read_json


@encoders("text.pretrained")
class PretrainedText(Pretrained):
    """A text tower: a named one, a folder, or a hub id.

    Pooled over the real tokens as the folder's ``1_Pooling`` says (mean, or first token), by mean
    without it, and scaled to unit length (Reimers and Gurevych 2019, arXiv:1908.10084).

    Args:
        tower: name (see ``polysense list towers``), folder, or hub id.
        tokens: subwords of a text that are read, T at most.
        positions: give every token instead of the pooled text.

    forward: {"ids": (B, T), "mask": (B, T)} -> (B, 1, D), or (B, T, D) with ``positions``
    """

    modality = "text"

    def __init__(self, *, tower: str = "minilm-l6", tokens: int = 128, positions: bool = False) -> None:
        super().__init__(tower)
        self.tokens, self.positions = whole("tokens", tokens, 3), bool(positions)
        self._tokenizer: Any = None
        self._first: bool | None = None

    def load(self, state: State) -> None:
        super().load(state)
        self._tokenizer = None

    def prepare(self, values: Sequence[str]) -> dict[str, np.ndarray]:
        if self._tokenizer is None:
            self._open_tokenizer()
        # no subword of the common towers spans more than 100 characters
        texts = [self.prefix + clean(value, 100 * self.tokens) for value in values]
        return padded([encoding.ids or [0] for encoding in self._tokenizer.encode_batch_fast(texts)])

    def _open_tokenizer(self) -> None:
        from tokenizers import Tokenizer

        folder = self.folder
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            tokenizer = _slow_tokenizer(folder)
        config = read_json(folder, "config.json")
        room = (config.get("text_config") or config).get("max_position_embeddings", self.tokens)
        # RoBERTa and its kin count positions from padding_idx + 1 = 2
        kin = str(config.get("model_type"))
        room -= 2 if "roberta" in kin or kin == "camembert" else 0
        tokenizer.no_padding()
        tokenizer.enable_truncation(min(self.tokens, room))
        self._tokenizer = tokenizer
        pooling = folder / "1_Pooling" / "config.json"
        pooled = read_json(pooling.parent, "config.json") if pooling.is_file() else {}
        self._first = bool(pooled.get("pooling_mode_cls_token"))

    @staticmethod
    def part(module: nn.Module) -> nn.Module:
        return getattr(module, "text_model", module)

    def _tokens(self, batch: Batch) -> Tokens:
        mask_BT = batch["mask"]
        module = self.network(mask_BT.device)
        ids_BT = torch.where(mask_BT, batch["ids"], 0)
        x_BTD = module(input_ids=ids_BT, attention_mask=mask_BT.long()).last_hidden_state
        if self.positions:
            return Tokens(x_BTD, mask_BT)
        x_BD = x_BTD[:, 0] if self._pools_first() else Tokens(x_BTD, mask_BT).pooled()
        return Tokens.single(F.normalize(x_BD, dim=-1))

    def _pools_first(self) -> bool:
        if self._first is None:
            self._open_tokenizer()
        return bool(self._first)


def _slow_tokenizer(folder: Any) -> Any:
    """Backend of a tokenizer that transformers must convert first."""
    transformers = need("transformers", "towers")
    with quiet_transformers():
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            return tokenizer.backend_tokenizer
        except (OSError, ValueError, AttributeError) as error:
            first = str(error).strip().split("\n")[0]
            raise BadModel(
                f"the tower's folder {folder} has no tokenizer that opens: {first}; save tokenizer.json there"
            ) from None

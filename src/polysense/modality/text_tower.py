"""Text towers.

Letters: B records, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Batch, State
from ..errors import BadModel, need
from ..registry import encoders
from ..tokens import Tokens
from ..writing import clean, padded
from . import whole
from .towers import Pretrained
from .towers_find import read_json
from .towers_open import quiet_transformers

#: How the vectors of a text's tokens become one.
POOLINGS = ("mean", "cls", "max", "lasttoken")


@encoders("text.pretrained")
class PretrainedText(Pretrained):
    """A text tower: a named one, a folder, or a hub id.

    A network that gives a vector x_t for each subword: BERT (Devlin et al. 2018, arXiv:1810.04805), RoBERTa
    (Liu et al. 2019, arXiv:1907.11692), XLM-R (Conneau et al. 2019, arXiv:1911.02116), ModernBERT (Warner et
    al. 2024, arXiv:2412.13663), and sentence towers made of them (Reimers and Gurevych 2019,
    arXiv:1908.10084). Source of the pooling: the same, section 3, mean = sum_t m_t x_t / sum_t m_t over the real
    tokens, or the first one, the largest or the last, as the folder's ``1_Pooling`` says, at unit length.
    The text half of CLIP (Radford et al. 2021, arXiv:2103.00020) answers with the projection of its
    end token, that of SigLIP (Zhai et al. 2023, arXiv:2303.15343) with the head of the last of its 64 tokens.

    Wins with few records, where meaning matters more than the very words, and across languages with a
    multilingual tower. Loses to ``text.plain`` where single words decide and records are many.
    Costs O(L (T D^2 + T^2 D)) a text for L layers, once: frozen outputs are cached.

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
        self._pooling = ""

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
        tokenizer.no_padding()
        tokenizer.enable_truncation(min(self.tokens, _room(read_json(folder, "config.json")) or self.tokens))
        self._tokenizer, self._pooling = tokenizer, pooling(folder)

    def _tokens(self, batch: Batch) -> Tokens:
        mask_BT = batch["mask"]
        module = self.network(mask_BT.device)
        ids_BT = torch.where(mask_BT, batch["ids"], 0)
        if hasattr(module, "text_projection"):
            out = module.text_model(input_ids=ids_BT, attention_mask=mask_BT.long())
            every, end = module.text_projection(out.last_hidden_state), module.text_projection(out.pooler_output)
        elif module.config.model_type == "siglip_text_model":
            every, end = self._siglip(module, ids_BT, mask_BT)
        else:
            every, end = module(input_ids=ids_BT, attention_mask=mask_BT.long()).last_hidden_state, None
        if self.positions:
            return Tokens(every, mask_BT)
        return Tokens.single(F.normalize(self._pooled(every, mask_BT) if end is None else end, dim=-1))

    @staticmethod
    def _siglip(module: nn.Module, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """SigLIP learned with texts filled to their full length, which it reads without a mask."""
        config, count = module.config, ids_BT.shape[1]
        ids_BT = torch.where(mask_BT, ids_BT, config.pad_token_id)
        ids_BT = F.pad(ids_BT, (0, config.max_position_embeddings - count), value=config.pad_token_id)
        out = module(input_ids=ids_BT)
        head = getattr(module, "text_model", module).head
        return head(out.last_hidden_state[:, :count]), out.pooler_output

    def _pooled(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        if not self._pooling:
            self._pooling = pooling(self.folder)
        if self._pooling == "cls":
            return x_BTD[:, 0]
        if self._pooling == "max":
            return x_BTD.masked_fill(~mask_BT[..., None], -torch.inf).amax(1)
        if self._pooling == "lasttoken":
            return x_BTD[torch.arange(len(x_BTD), device=x_BTD.device), mask_BT.sum(1) - 1]
        return Tokens(x_BTD, mask_BT).pooled()


def pooling(folder: Path) -> str:
    """One of ``POOLINGS``, as ``1_Pooling/config.json`` says; mean where there is none.

    Raises:
        BadModel: another way of pooling.
    """
    if not (folder / "1_Pooling" / "config.json").is_file():
        return "mean"
    about = read_json(folder / "1_Pooling", "config.json")
    ways = [key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
            for key, value in about.items() if key.startswith("pooling_mode_") and value is True]
    ways = ways or [about.get("pooling_mode", "mean")]  # newer folders name it in one word
    if len(ways) != 1 or ways[0] not in POOLINGS:
        raise BadModel(
            f"{folder / '1_Pooling'} pools by {' and '.join(map(str, ways))}; only one of {', '.join(POOLINGS)} is known: "
            "choose another tower, or state one of them there"
        )
    return ways[0]


def _room(config: dict[str, Any]) -> int | None:
    """Subwords that a network has positions for; None where it has no limit."""
    kind, inner = str(config.get("model_type")), config.get("text_config") or config
    room = inner.get("max_position_embeddings", {"clip": 77, "siglip": 64}.get(kind.split("_")[0]))
    # RoBERTa and its kin count positions from padding_idx + 1 = 2
    kin = "roberta" in kind or kind in ("camembert", "mpnet")
    return room - 2 if room and kin else room


def _slow_tokenizer(folder: Path) -> Any:
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

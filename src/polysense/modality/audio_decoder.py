"""Whisper's decoder as a base that others build on: it stays as it is, what they have learned stands in for parts of it.

Found like a tower, opened when first asked, stored with no model. Letters: B pieces, T frames of Whisper's encoder, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import BadOption, need
from .audio_listen import Own
from .towers_ctranslate import is_ctranslate
from .towers_find import Found, find, read_json
from .towers_open import open_whisper

#: What of the decoder may learn: nothing, low-rank factors beside its weights, or all but the table of tokens.
LEARNS = ("none", "lora", "decoder")


def find_whisper(name: str, download: bool = False, carried: Path | None = None) -> Found:
    """The Whisper of that name, folder or hub id; see ``find``.

    Raises:
        BadOption: the network hears but does not write.
    """
    found = find(name, "audio", download, carried)
    if not (is_ctranslate(found.folder) and found.weights[0].suffix == ".bin"):
        kind = read_json(found.folder, "config.json").get("model_type")
        if kind != "whisper":
            raise BadOption(
                f"task.model='{name}' is a network of kind {kind}, which writes no text; name a Whisper, such as "
                "task.model=whisper-base, or leave task.model away: CTC learns on top of any tower"
            )
    return found


class Decoder:
    """A Whisper, frozen, shared by all that write with it; it opens when it is first needed.

    Args:
        found: where it lies.
    """

    def __init__(self, found: Found) -> None:
        self.found = found
        self._ranks: dict[int, nn.Module] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Decoder:
        return self

    @cached_property
    def module(self) -> nn.Module:
        """transformers' WhisperForConditionalGeneration, in evaluation mode, without gradients, in float32."""
        with torch.inference_mode(False), torch.random.fork_rng():
            return open_whisper(self.found.folder, self.found.name).requires_grad_(False)

    def network(self, rank: int = 0) -> nn.Module:
        """It, or with room for low-rank factors beside all linear maps of the decoder's layers; weights are shared.

        Hu et al. 2021, arXiv:2106.09685, by peft; scale 2, as alpha = 2 * rank.

        Raises:
            MissingExtra: peft is not installed.
        """
        if not rank:
            return self.module
        if rank not in self._ranks:
            peft = need("peft", "lora")
            with torch.inference_mode(False), torch.random.fork_rng():
                held = {id(part): part for part in [*self.module.parameters(), *self.module.buffers()]}
                other = copy.deepcopy(self.module, held)
                names = [
                    name for name, part in other.named_modules()
                    if isinstance(part, nn.Linear) and name.startswith("model.decoder.layers.")
                ]
                peft.inject_adapter_in_model(peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names), other)
            self._ranks[rank] = other.eval().requires_grad_(False)
        return self._ranks[rank]

    def learns(self, how: str, rank: int) -> dict[str, list[int]]:
        """{name: shape} of what learns in that way, as ``network`` names it."""
        if how == "none":
            return {}
        if how == "lora":
            return {name: list(part.shape) for name, part in self.network(rank).named_parameters() if ".lora_" in name}
        return {
            name: list(part.shape) for name, part in self.module.named_parameters()
            if name.startswith("model.decoder.") and "embed_tokens" not in name  # the table is also the exit
        }

    def begun(self, name: str, shape: list[int]) -> Tensor:
        """A part before it has learned: what stands there, or factors whose product is zero, A as peft draws it."""
        if ".lora_A" in name:
            return nn.init.kaiming_uniform_(torch.empty(*shape), a=5**0.5)
        if ".lora_B" in name:
            return torch.zeros(*shape)
        return self.module.get_parameter(name).detach().clone()


class Standing(nn.Module):
    """A network some of whose parameters are others for the length of a call.

    forward: (work) -> what ``work()`` gives meanwhile
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, work: Callable[[], Any]) -> Any:
        return work()


def standing_in(network: nn.Module, parts: Mapping[str, Tensor], work: Callable[[], Any]) -> Any:
    """What ``work()`` gives while ``parts`` stand in for the network's parameters of these names.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> standing_in(layer, {"weight": torch.full((1, 1), 3.0)}, lambda: layer(torch.ones(1))).tolist()
    [3.0]
    """
    if not parts:
        return work()
    return functional_call(Standing(network), {f"network.{name}": part for name, part in parts.items()}, (work,))


_shared: WeakValueDictionary[tuple[str, str, str], Decoder] = WeakValueDictionary()


def open_decoder(found: Found) -> Decoder:
    """The Whisper of what was found; the same object while somebody holds it."""
    key = (found.sha256, found.settings, str(found.folder))  # whose small files are read later
    decoder = _shared.get(key)
    if decoder is None:
        decoder = _shared[key] = Decoder(found)
    return decoder


def reader(decoder: Decoder, rank: int, **how: Any) -> Own:
    """The engine that reads what the encoder has heard, with room for factors of that rank."""
    return Own(decoder.found, decoder.network(rank), **how)

"""Pretrained networks as encoders: what text, image and audio towers have in common, and which is the default."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from ..contracts import Batch, Encoder, State, digest
from ..errors import BadModel, BadOption, NotFitted
from ..registry import modalities
from ..tokens import Tokens
from .towers_ctranslate import is_ctranslate
from .towers_find import SETTINGS, Found, find, on_disk
from .towers_known import TOWERS, Tower
from .towers_open import Opened, merged, open_tower, unfilled

#: Below this many training records a modality's small encoder is the default, from here on its large one.
MANY_RECORDS = 5_000


class Pretrained(Encoder):
    """A tower as encoder: what text, image and audio towers have in common.

    Frozen, the network is no submodule: a model stores its name and hash, never its weights. It opens
    when ``opened`` is first called, so a warm cache costs no import.

    ``unfreeze`` gives the encoder a copy of the network of its own, which training may move (``live``);
    from then on the encoder is not frozen, and neither reads nor fills the cache of frozen outputs.
    ``settle`` ends the training and ``freeze`` undoes it all. A tuned network is stored whole, beside
    the small files it needs, so that it answers where the tower is not installed; of a network tuned
    through low-rank factors only these are stored, and the tower is needed.
    """

    frozen = True
    cached = True
    tower = True
    read_by_rivals = True
    modality: ClassVar[str] = ""
    #: Set by the library before ``fit``: a hub id may be downloaded.
    download: bool = False
    #: Set by the library after ``load``: folder of the tower's copy in the model folder, if there is one.
    carried: Path | None = None
    #: Parameters that stay as they are when a tower is tuned (tables of sines).
    held: ClassVar[tuple[str, ...]] = ()
    #: Options that a frozen tower does not read, so its cached outputs do not depend on them.
    only_tuned: ClassVar[tuple[str, ...]] = ()
    #: While tuning: change inputs at random (pictures only), and the type that training computes in.
    augment: bool = False
    computes: torch.dtype = torch.float32

    def __init__(self, tower: str) -> None:
        super().__init__()
        if not isinstance(tower, str) or not tower:
            raise BadOption(f"option 'tower' is {tower!r}; give the name of a tower, a folder or a hub id")
        self.tower = tower
        self._known: dict[str, Any] | None = None
        self._found: Found | None = None
        self._opened: Opened | None = None
        self.register_module("live", None)
        self._factors: dict[str, np.ndarray] | None = None
        self._shape: dict[str, Any] | None = None  # of a tuned network whose folder has no config.json of transformers

    def fit(self, values: Sequence[Any]) -> None:
        self._found = find(self.tower, self.modality, self.download)
        self._known = self._found.state()
        self.dim = self._found.width

    def state(self) -> State:
        if not self._known:
            return {}
        state: State = {"tower": dict(self._known)}
        if self._factors is not None:
            state["tuned"] = {"factors": self._factors}
        elif self.live is not None:
            state["tuned"] = {"untrained": list(self._opened.untrained), **({"config": self._shape} if self._shape else {})}
        return state

    def load(self, state: State) -> None:
        self.freeze()
        self._known, self._found = dict(state["tower"]), None
        self.dim = int(self._known["width"])
        tuned = state.get("tuned")
        if tuned:
            self.frozen = self.cached = False
        if tuned and "factors" in tuned:
            self._factors = {name: np.asarray(value) for name, value in tuned["factors"].items()}
        elif tuned:
            self._shape = tuned.get("config")
            self._own(self._unfilled(tuned["untrained"]))

    def fingerprint(self) -> str:
        """Hash of name, options and fitted state; of a tuned tower of its weights too."""
        weights = {} if self.live is None else {name: value.cpu().numpy() for name, value in self.live.state_dict().items()}
        options = {name: value for name, value in self.options().items() if name not in self.only_tuned}
        return digest([self.name, options, self.state(), *([weights] if weights else [])])

    def found(self) -> Found:
        """Where the tower lies; checked once against what the model remembers.

        Raises:
            NotFitted: before ``fit`` or ``load``.
            BadModel: the tower on this machine is another one.
        """
        if self._known is None:
            raise NotFitted(f"encoder '{self.name}' has not been fitted; call fit or load first")
        if self._found is None:
            found = find(self.tower, self.modality, self.download, self.carried)
            for key, what in (("sha256", "weights"), ("settings", "settings")):
                if getattr(found, key) != self._known[key]:
                    raise BadModel(
                        f"tower '{self.tower}': its {what} in {found.folder} have sha256 "
                        f"{getattr(found, key)[:12]}..., the model was trained with "
                        f"{self._known[key][:12]}...; put back the tower it was trained with, or fit anew"
                    )
            self._found = found
        return self._found

    @property
    def folder(self) -> Path:
        """Where the tower's small files lie: a tuned network brings them along."""
        if not self.frozen and self._factors is None and self.carried is not None:
            return self.carried
        return self.found().folder

    @property
    def prefix(self) -> str:
        """What stands before every text by the tower's own rules."""
        return self._known["prefix"]

    def files(self, weights: bool) -> dict[str, Path]:
        """{name: file} that a model folder carries: the small ones of a tuned tower, all if ``weights``."""
        if weights:
            return {str(path.relative_to(self.found().folder)): path for path in self.found().files()}
        if self.live is None:
            return {}
        return {name: path for name in SETTINGS if (path := self.folder / name).is_file()}

    def opened(self, device: torch.device) -> Opened:
        """The tower on that device: the frozen one that is shared, or this encoder's own."""
        if self._opened is None:
            opened = open_tower(self.found())
            self._opened = opened if self._factors is None else merged(opened, self._factors)
        return self._opened if self.live is not None else self._opened.to(device)

    def network(self, device: torch.device) -> nn.Module:
        """The module that answers."""
        opened = self.opened(device)
        return opened.module if self.live is None else self.live

    # --- tuning ---

    def original(self) -> Pretrained:
        """The same encoder with its frozen tower: what the rivals of a tuned one read."""
        twin = type(self)(**self.options())
        twin.download, twin.carried = self.download, self.carried
        twin.load({"tower": self._known})
        return twin

    def unfreeze(self) -> None:
        """Copy the network into this module; every parameter of the copy may move."""
        opened = self.opened(torch.device("cpu"))
        held = [name for name, parameter in opened.module.named_parameters() if name in self.held]
        if is_ctranslate(self.folder):
            self._shape = json.loads(opened.config.to_json_string(use_diff=False))
        self._own(Opened(copy.deepcopy(opened.module), opened.config, opened.untrained))
        self.live.requires_grad_(True)
        for name in held:
            self.live.get_parameter(name).requires_grad_(False)

    def settle(self) -> None:
        """End of training: the network answers, and moves no more."""
        self.live.eval().requires_grad_(False)

    def freeze(self) -> None:
        """Back to the frozen tower, as if nothing had been tuned."""
        self.register_module("live", None)
        self._opened, self._factors, self.frozen, self.cached = None, None, True, True

    def take_factors(self, factors: dict[str, np.ndarray]) -> None:
        """Answer with the frozen tower and low-rank factors merged into it; see ``merged``."""
        self.freeze()
        self._factors, self.frozen, self.cached = factors, False, False

    def train(self, mode: bool = True) -> Pretrained:
        super().train(mode)
        for module in self.live.modules() if mode and self.live is not None else ():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()  # its statistics come from far more pictures than ours
        return self

    def _unfilled(self, untrained: Collection[str]) -> Opened:
        """The network without its weights."""
        return unfilled(self.tower, self.modality, self.folder, untrained, self._shape)

    def _own(self, opened: Opened) -> None:
        self._opened, self.live = opened, opened.module
        self.frozen = self.cached = False

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        if self.live is None:
            with torch.inference_mode():
                tokens = self._tokens(batch)
            # clones made outside inference mode are ordinary tensors, which training may read
            place = None if tokens.place is None else tokens.place.clone()
            return Tokens(tokens.x.clone(), tokens.mask.clone(), place=place)
        if not self.training or self.computes == torch.float32:
            return self._tokens(batch)
        with torch.autocast(next(self.live.parameters()).device.type, dtype=self.computes):
            tokens = self._tokens(batch)
        return Tokens(tokens.x.float(), tokens.mask, place=tokens.place)

    def _tokens(self, batch: Batch) -> Tokens:
        raise NotImplementedError


# --- choosing ------------------------------------------------------------------------------------


def default_encoder(modality: str, values: Sequence[Any], n_train: int) -> tuple[str, dict[str, Any], str]:
    """The encoder of a view whose user named none: (name, options, reason).

    The first tower on disk that states the column's languages; otherwise the modality's small encoder
    below 5,000 training records and its large one from there on.

    Args:
        modality: name of the modality.
        values: some values of the column, for its languages.
        n_train: training records.

    >>> default_encoder("table", [], 100)
    ('table.mlp', {}, 'the encoder of tables')
    """
    cls = modalities[modality]
    towers = [tower for tower in TOWERS if tower.modality == modality]
    if cls.small == cls.large and not towers:
        return cls.small, {}, f"the encoder of {modality}s"
    languages = cls.languages(values) if towers else set()
    suited = [tower for tower in towers if tower.default and suits(tower, languages)]
    known = [*sorted(languages - {"und"}), *(["another language"] if "und" in languages else [])]
    in_words = f", {'/'.join(known)}" if known else ""
    for tower in suited:
        if on_disk(tower):
            return f"{modality}.pretrained", {"tower": tower.name}, f"tower {tower.name} is on disk{in_words}"
    few = n_train < MANY_RECORDS
    reason = f"{'fewer than' if few else 'at least'} {MANY_RECORDS:,} training records{in_words}"
    if suited:
        reason += f"; a tower may help: {suited[0].cure}"
    return cls.small if few else cls.large, {}, reason


def suits(tower: Tower, languages: Collection[str]) -> bool:
    """Whether a tower states all of these languages.

    >>> suits(TOWERS[0], {"en"}), suits(TOWERS[0], {"en", "zh"}), suits(TOWERS[1], {"zh"})
    (True, False, True)
    """
    return not tower.languages or "many" in tower.languages or set(languages) <= set(tower.languages)

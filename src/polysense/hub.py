"""The Hugging Face Hub: its cache on this machine, and the one way to its network.

Nothing here opens a connection unless ``download`` is called. The cache's layout: the file
``models--ORG--NAME/refs/main`` names the folder below ``snapshots``, whose files may be links into ``blobs``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import BadModel, UnknownName, need


def cache() -> Path:
    """Where the client keeps what it downloaded: HF_HUB_CACHE, HF_HOME/hub, or its usual place."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or home) / "hub").expanduser()


def cached(hub_id: str, whole: Callable[[Path], object]) -> Path | None:
    """Snapshot of an id in the local cache, or None.

    Args:
        hub_id: such as ``org/name``.
        whole: whether a snapshot holds what is needed.
    """
    folder = cache() / ("models--" + hub_id.replace("/", "--"))
    main = folder / "refs" / "main"
    if main.is_file():
        snapshot = folder / "snapshots" / main.read_text().strip()
        return snapshot if whole(snapshot) else None
    snapshots = sorted(path for path in (folder / "snapshots").glob("*") if whole(path))
    return snapshots[-1] if snapshots else None


def is_id(name: str) -> bool:
    """
    >>> is_id("org/name"), is_id("name"), is_id("../name"), is_id("a/b/c")
    (True, False, False, False)
    """
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None


def download(hub_id: str, noun: str, patterns: Sequence[str] | None = None) -> Path:
    """Fetch an id into the cache; the only line of polysense that reaches the Hub.

    Args:
        noun: what it is, for the sentence that says why it failed.
        patterns: globs of the files wanted; all if None.

    Raises:
        MissingExtra: the client is not installed.
        UnknownName: offline, no such id, no access, no room.
    """
    client = need("huggingface_hub", "towers")
    try:
        return Path(client.snapshot_download(hub_id, allow_patterns=None if patterns is None else list(patterns)))
    except Exception as error:  # the client's many errors: offline, no such id, gated, disk full
        first = str(error).strip().split("\n")[0]
        raise UnknownName(
            f"{noun} '{hub_id}' could not be downloaded ({first}); try again, or give a local folder"
        ) from None


def find_model(place: str | os.PathLike, fetch: bool = False) -> Path:
    """The folder of a model: the folder itself, or an id of the Hub in its cache.

    Args:
        place: a folder or an id such as ``org/name``; a folder of that name comes first.
        fetch: download an id that is not in the cache.

    Raises:
        BadModel: an id that is not on this machine.
        UnknownName: the download failed.
    """
    name = Path(place).as_posix()
    if Path(place).exists() or not is_id(name):
        return Path(place)
    found = cached(name, lambda folder: (folder / "model.json").is_file())
    if found is None and fetch:
        return download(name, "model")
    if found is None:
        raise BadModel(
            f"there is no folder {name}, and the cache of the Hub holds no model of that name; "
            "check the folder, or add --download (in Python download=True) to fetch it from the Hub"
        )
    return found

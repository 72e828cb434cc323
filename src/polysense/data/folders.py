"""Class folders as records: ``root/CLASS/file.png``, with or without train, valid and test above them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import BadTable
from .values import EXTENSIONS

#: Folder name -> what the column ``split`` says of its files.
PARTS = {"train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
#: Extension -> column of the file: its path, or for a text what it holds.
KINDS = {
    **{name: kind for kind in ("image", "audio") for name in EXTENSIONS[kind]}, "npy": "series", "txt": "text",
}
_MOST_NAMES = 5


def folder_columns(root: Path) -> tuple[dict[str, list[Any]], list[str]]:
    """Columns and notes of a folder that holds a folder for each class, or files of no class.

    Columns: ``image``, ``audio``, ``series`` (paths within the folder) and ``text`` (what the file holds), as files
    of these kinds occur; ``label``, the name of the class folder; ``split``, where train, valid or test folders stand
    above the classes. Files may lie deeper within a class. Hidden files are passed over; what is of no such kind, lies
    beside the class folders or is an empty class is said.

    Args:
        root: the folder.

    Raises:
        BadTable: it holds nothing of the kind; a split folder stands beside a class folder.
    """
    records: list[dict[str, Any]] = []
    odd: list[str] = []
    notes: list[str] = []
    inner = _folders(root)
    parts = {path.name.lower(): path for path in inner if path.name.lower() in PARTS}
    divided = any(PARTS[name] == "train" for name in parts)
    if divided and len(parts) < len(inner):
        other = next(path.name for path in inner if path.name.lower() not in PARTS)
        raise BadTable(
            f"{root.name} holds the folder '{other}' beside '{next(iter(parts.values())).name}'; put the classes into train, "
            "valid and test"
        )
    for part, place in ((PARTS[path.name.lower()], path) for path in inner) if divided else ((None, root),):
        for file in _files(place):
            odd.append(str(file.relative_to(root)))
        for folder in _folders(place):
            own = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _hidden(path, folder)]
            found = [record for path in own if (record := _record(path, root, odd))]
            if not found:
                notes.append(f"{root.name}: the class folder '{folder.relative_to(root)}' holds no file of a known kind")
            records += [record | {"label": folder.name, "split": part} for record in found]
    if not records and not inner:  # files without classes, to be answered
        odd = []
        records = [record for path in _files(root) if (record := _record(path, root, odd))]
    if not records:
        raise BadTable(
            f"{root} is a folder without pictures, sounds or texts in folders of classes; name the table's file, or a folder "
            "that holds CLASS/FILE"
        )
    if odd:
        more = f" and {len(odd) - _MOST_NAMES} more" if len(odd) > _MOST_NAMES else ""
        notes.append(
            f"{root.name}: {len(odd)} file{'s' * (len(odd) > 1)} left out, of no known kind or in no class folder: "
            + ", ".join(map(repr, odd[:_MOST_NAMES])) + more
        )
    held = {name for record in records for name, value in record.items() if value is not None}
    names = [name for name in ("image", "audio", "series", "text", "label", "split") if name in held]
    return {name: [record.get(name) for record in records] for name in names}, notes


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def _files(place: Path) -> Iterator[Path]:
    """Files right in a folder, hidden ones and lists of thumbnails passed over."""
    yield from sorted(path for path in place.iterdir() if not path.is_dir() and not _hidden(path, place))


def _hidden(path: Path, above: Path) -> bool:
    return any(name.startswith(".") for name in path.relative_to(above).parts) or path.name in ("Thumbs.db", "desktop.ini")


def _record(path: Path, root: Path, odd: list[str]) -> dict[str, Any] | None:
    """The record of a file; None where it is of no known kind, its name then being added to ``odd``."""
    name = os.fspath(path.relative_to(root))
    kind = KINDS.get(path.suffix.lower().lstrip("."))
    if kind == "text":
        try:
            return {"text": path.read_text(encoding="utf-8-sig").strip()}
        except (OSError, UnicodeError):
            kind = None
    if kind is None:
        odd.append(name)
        return None
    return {kind: name}

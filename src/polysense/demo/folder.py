"""What the demo sets share: their three tables, the folder that they are written to, refusals in one sentence."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import BadOption, CannotWrite, Mistake

Say = Callable[[str], None]
Record = dict[str, Any]


class NoDownload(Mistake):
    """The demo set cannot be fetched on this machine."""


class Tables(NamedTuple):
    """Where the three tables of a demo lie."""

    train: Path
    valid: Path
    test: Path


class Prepared(NamedTuple):
    """What ``prepare`` made.

    Attributes:
        paths: the three CSV files.
        source: "stamps", "emoji" or "made up".
        note: one sentence to print: what the records are.
    """

    paths: Tables
    source: str
    note: str


SOURCES = "SOURCES.txt"  # lies in every media folder that a demo wrote


def claimed(folder: str | Path) -> Path:
    """The folder, made if needed; refused if it holds tables or media that no demo wrote."""
    folder = Path(folder)
    names = ["media", *(f"{part}.csv" for part in Tables._fields)]
    theirs = [name for name in names if (folder / name).exists()]
    if theirs and not (folder / "media" / SOURCES).is_file():
        raise BadOption(f"{folder} holds a {theirs[0]} that is not of the demo; choose another folder")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_tables(
    folder: Path, records: Sequence[Record], members: Sequence[np.ndarray], columns: Sequence[str]
) -> Tables:
    """One CSV file for each part of the records; a cell that is None stays empty."""
    paths = Tables(*(folder / f"{name}.csv" for name in Tables._fields))
    for path, rows in zip(paths, members, strict=True):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(records[i] for i in rows)  # None becomes the empty cell
    return paths


def sha256(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace(place: Path, new: Path) -> None:
    """Put a folder in the place of another, so that at no moment a half-written one stands there."""
    old = new.with_name(new.name + "-old")
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def stage(progress: Say, what: str) -> Iterator[None]:
    """Say what begins, and how long it took."""
    progress(f"{what} ...")
    start = time.perf_counter()
    yield
    progress(f"{what}: {time.perf_counter() - start:.1f} s")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the system's refusal to write into one sentence."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise CannotWrite(f"cannot write to {folder}: {why}; free space or choose another place") from None


@contextmanager
def aside(place: Path) -> Iterator[Path]:
    """A new folder beside ``place``, to be put there when it is whole; gone afterwards. So never half a folder stands there.

    What a run that was killed left a day ago goes too; a running one's is younger.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(".new-*"):
        if time.time() - left.stat().st_mtime > 86_400:
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
    folder.chmod(0o755)  # a temporary folder is closed to others
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def cache_of(name: str) -> Path:
    """Where the unpacked records of a set are kept: ``$XDG_CACHE_HOME/polysense/NAME``."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "polysense" / name

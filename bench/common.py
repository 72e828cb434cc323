"""What the benchmarks share: the demo's tables, processes with their cost, lines with a bar, the machine.

Everything runs on one thread: CPU seconds of several threads on busy cores say little.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and torch load

import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

OUT = Path(__file__).parent / "out"
DATA = Path("polysense-demo")
#: What `polysense demo` trains with.
FIT = ("--target", "label", "--group", "group")


# --- the tables ----------------------------------------------------------------------------------


class Tables(NamedTuple):
    """The demo's tables, and in a word what they hold."""

    train: Path
    valid: Path
    test: Path
    source: str


def tables(folder: Path) -> Tables:
    """The demo's tables in a folder; made there, as `polysense demo` makes them, if it has none."""
    if not (folder / "test.csv").is_file():
        from polysense.demo import prepare

        say(prepare(folder, progress=say).note)
    about = folder / "media" / "SOURCES.txt"
    said = about.read_text(encoding="utf-8") if about.is_file() else ""
    source = "made-up records" if "Made up" in said else "emoji" if "emoji" in said.split("\n")[0] else "stamps"
    return Tables(folder / "train.csv", folder / "valid.csv", folder / "test.csv", source)


# --- processes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spent:
    """Cost of one process: user and system CPU seconds, wall seconds, largest memory in MB."""

    cpu: float
    wall: float
    peak: float


def spend(command: Sequence[Any], **environment: Any) -> Spent:
    """Run a process to its end and say what it cost.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], stdout=said, stderr=said,
            env={**os.environ, **{key: str(value) for key, value in environment.items()}},
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            words = " ".join(map(str, command))
            raise RuntimeError(f"{words} ended with {process.returncode}: {said.read()[-2000:].decode()}")
    return Spent(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def polysense(*arguments: Any) -> list[Any]:
    """The command line of polysense, as a process of this Python."""
    return [sys.executable, "-m", "polysense.cli", *arguments]


# --- lines ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One line of the final table.

    Attributes:
        passed: None where the figure has no bar.
    """

    what: str
    figure: str
    bar: str = ""
    passed: bool | None = None

    @classmethod
    def at_most(cls, what: str, value: float, bar: float, form: str = "{:.1f} s") -> Line:
        return cls(what, form.format(value), "at most " + form.format(bar), value <= bar)


def show(title: str, lines: Sequence[Line]) -> None:
    """Print lines as a table."""
    print(f"\n{title}")
    wide = max(len(line.what) for line in lines)
    middle = max(len(line.figure) for line in lines)
    for line in lines:
        verdict = {None: "", True: "PASS", False: "FAIL"}[line.passed]
        print(f"  {line.what:<{wide}}  {line.figure:<{middle}}  {verdict:<4}  {line.bar}".rstrip())


def say(line: str) -> None:
    """Talk, apart from the results."""
    print(line, file=sys.stderr, flush=True)


def write(name: str, data: Mapping[str, Any]) -> None:
    """bench/out/NAME.json, with the machine it was measured on."""
    OUT.mkdir(exist_ok=True)
    whole = {"machine": machine(), **data}
    (OUT / f"{name}.json").write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def between(page: Path, script: str, lines: Sequence[str]) -> None:
    """Put what a script of bench wrote between its marks in a page of the docs; what stands around them is kept."""
    begin, end = f"<!-- written by bench/{script} -->", "<!-- up to here -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    if not found or end not in rest:
        raise SystemExit(f"{page} lacks the lines '{begin}' and '{end}', between which the tables go; put them in")
    page.write_text("\n".join([before + begin, "", *lines, "", end]) + rest.partition(end)[2], encoding="utf-8")


def machine() -> dict[str, Any]:
    """Where and with what the figures were measured."""
    names = ("polysense", "torch", "transformers", "numpy", "scikit-learn")
    return {
        "cpu": _cpu(), "cores": os.cpu_count(), "threads used": 1,
        "load of the last minute": round(os.getloadavg()[0], 1), "yardstick ms": yardstick(),
        "system": platform.platform(), "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }


def yardstick(runs: int = 20) -> float:
    """CPU milliseconds of a product of two 512 x 512 matrices: busy neighbours make CPU seconds longer."""
    import numpy as np

    matrix = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    started = time.process_time()
    for _ in range(runs):
        matrix @ matrix
    return round(1000 * (time.process_time() - started) / runs, 2)


def _cpu() -> str:
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in about.splitlines() if line.startswith("model name"))
    return next(names, platform.machine())

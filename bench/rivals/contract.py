"""What every rival's script has in common: what it is asked, how its cost is measured, what it leaves behind.

    python run_NAME.py TRAIN VALID OUT --target COLUMN --kinds COLUMN=KIND ... --test NAME=TABLE ... --seed N

Left in OUT: NAME.csv for each test table (one column of probabilities a class, rows in the table's order) and
about.json with CPU seconds, peak memory and what has to be said about the run. It needs numpy and pandas, which every
rival's environment has, and nothing of polysense.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and torch load
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def asked(about: str) -> argparse.Namespace:
    """What the command line asks; ``kinds`` and ``test`` become dicts, OUT is made."""
    parser = argparse.ArgumentParser(description=about)
    for name in ("train", "valid", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--kinds", nargs="+", required=True, metavar="COLUMN=KIND")
    parser.add_argument("--test", nargs="+", required=True, metavar="NAME=TABLE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="as many as the rival's own default if left out")
    parser.add_argument("--features", type=Path, help="folder that features.py wrote, for those who answer from features")
    parser.add_argument("--group", help="column whose equal values belong together, for those who use it")
    given = parser.parse_args()
    given.kinds = dict(pair.split("=", 1) for pair in given.kinds)
    given.test = {name: Path(path) for name, path in (pair.split("=", 1) for pair in given.test)}
    given.out.mkdir(parents=True, exist_ok=True)
    return given


def table(path: Path, kinds: dict[str, str]) -> pd.DataFrame:
    """A table with empty cells as None (media, text) or NaN (numbers); media cells hold absolute paths."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column, kind in kinds.items():
        if kind == "number":
            frame[column] = pd.to_numeric(frame[column].replace("", np.nan))
        elif kind in ("image", "audio"):
            cells = [str((path.parent / cell).resolve()) if cell else None for cell in frame[column]]
            frame[column] = pd.Series(cells, dtype=object)  # else None becomes NaN
        else:
            frame[column] = pd.Series([cell or None for cell in frame[column]], dtype=object)
    return frame


class Costs:
    """CPU seconds and wall seconds of named stages, this process and its children together."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}

    def run(self, stage: str, work: Callable[[], Any]) -> Any:
        cpu, wall = _cpu(), time.perf_counter()
        if stage == "fit":
            cpu = 0.0  # from the start of the process: imports are part of it, as they are for a command
        made = work()
        self.stages[stage] = {"cpu": _cpu() - cpu, "wall": time.perf_counter() - wall}
        return made


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mb() -> float:
    """The largest memory so far of this process or one of its children."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def one_by_one(ones: Sequence[Any], answer: Callable[[Any], Any]) -> dict[str, float]:
    """Median milliseconds of one record, by the clock and of the processor; the first two warm up.

    On a busy machine the clock tells of the neighbours, so the processor's time is the figure to compare.
    """
    clock, cpu = [], []
    for one in ones:
        began, used = time.perf_counter(), _cpu()
        answer(one)
        clock.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (_cpu() - used))
    return {"latency_ms": float(np.median(clock[2:])), "latency_cpu_ms": float(np.median(cpu[2:]))}


def finish(
    given: argparse.Namespace, costs: Costs, classes: Sequence[str], answer: Callable[[Any], np.ndarray], *,
    read: Callable[[str], Any] | None = None, alone: Callable[[Any], np.ndarray] | None = None, **about: Any,
) -> None:
    """Answer every test table and one record, write probabilities and about.json.

    Args:
        answer: table (or what ``read`` gives) -> (N, C) probabilities.
        read: name of a test table -> what ``answer`` takes; the table itself if left out.
        alone: answers one record, where a cache would otherwise know it already.
    """
    read = read or (lambda name: table(given.test[name], given.kinds))
    for name in given.test:
        try:
            probabilities = costs.run(f"predict {name}", lambda name=name: answer(read(name)))
        except Exception as error:  # what a rival does with a missing view is a finding, not our crash
            costs.stages[f"predict {name}"] = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
            continue
        pd.DataFrame(np.asarray(probabilities), columns=list(classes)).to_csv(given.out / f"{name}.csv", index=False)
    peak = peak_mb()
    whole = read(next(iter(given.test)))
    ones = [whole.iloc[[i]].reset_index(drop=True) if isinstance(whole, pd.DataFrame) else whole[[i]] for i in range(12)]
    timed = one_by_one(ones, alone or answer)
    found = {"costs": costs.stages, "peak_mb": peak, **timed, **about}
    (given.out / "about.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

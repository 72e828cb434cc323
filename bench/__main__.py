"""Figures of cost and quality on the demo's tables, each beside the bar it has to clear.

    python bench [cost latency subsets kill compare folds scratch tune data_work bucketing] [--data DIR]

Without names: cost, latency, subsets, kill (some minutes) and compare (an hour the first time; it goes on where it
stopped). A bar that is missed says FAIL; the exit code is 1 where a killed fit ended otherwise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import bucketing
import compare
import cost
import data_work
import kill
import latency
import subsets
from common import DATA, machine, say, show


def folds(data: Path) -> list:
    import folds as cross_validation  # reads all of polysense when imported

    return cross_validation.run(data)


def tune(data: Path) -> list:
    import tune as tuned_towers

    return tuned_towers.run(data)


STEPS = {
    "cost": cost.run, "latency": latency.run, "subsets": subsets.run, "compare": compare.run, "folds": folds,
    "scratch": cost.scratch, "tune": tune, "kill": kill.run, "data_work": data_work.run,
    "bucketing": bucketing.run,
}
USUAL = ("cost", "latency", "subsets", "kill", "compare")
RUNS = {
    "cost": "one fit each", "latency": "medians of 50 records and of 5 starts", "subsets": "3 fits",
    "folds": "5 folds, one fit each", "compare": "mean over seeds", "scratch": "one fit", "tune": "one fit each",
    "kill": "SIGKILL at random moments", "data_work": "one pass of each tower, the better of two for JPEG",
    "bucketing": "the smallest of three",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python bench", description=__doc__.split("\n")[0])
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}; {', '.join(USUAL)} if none")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the demo's tables, made if absent")
    given = parser.parse_args()
    unknown = [step for step in given.steps if step not in STEPS]
    if unknown:
        parser.error(f"there is no step '{unknown[0]}'; choose from {', '.join(STEPS)}")
    lines = {}
    for step in given.steps or USUAL:
        say(f"{step} ...")
        lines[step] = STEPS[step](given.data)
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine().items()))
    for step, found in lines.items():
        show(f"{step} ({RUNS[step]})", found)
    if not all(line.passed for line in lines.get("kill", ())):
        sys.exit(1)


if __name__ == "__main__":
    main()

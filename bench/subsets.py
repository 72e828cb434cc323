"""The demo fitted with several seeds: one model against the specialists of every subset of views.

    python bench/subsets.py [--data DIR] [--seeds 0 1 2] [--set KEY=VALUE]...

Each fit and each evaluation is a process: polysense fit, polysense evaluate --subsets --json. Means over
seeds and subsets and their intervals are made from the saved models' answers, by a paired bootstrap over
groups; the figures of each subset are checked against the JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import DATA, FIT, Line, Tables, machine, polysense, say, show, spend, tables, write


def run(data: Path = DATA, seeds: Sequence[int] = (0, 1, 2), settings: Sequence[str] = ()) -> list[Line]:
    """Fit, judge, print the table; returns the lines with a bar."""
    files = tables(data)
    with tempfile.TemporaryDirectory() as folder:
        fits = [_one(files, seed, settings, Path(folder)) for seed in seeds]
    from paired import Comparison, print_table, verdicts

    _agree(fits)
    comparison = Comparison(fits[0]["json"]["views"], [fit["outcomes"] for fit in fits], _groups(files.test))
    rows, means = comparison.table(), comparison.means()
    print(f"\nDemo ({files.source}), mean of {len(seeds)} fits, seeds {', '.join(map(str, seeds))}; accuracy in %")
    print_table(rows)
    worse = _worse(fits)
    overall = _overall(fits)
    lines = [*verdicts(rows, means, worse), *overall]
    write("subsets", {
        "source": files.source, "seeds": list(seeds), "settings": list(settings), "subsets": rows, "means": means,
        "worse": worse, "fits": [
            {"seed": fit["seed"], "cpu_seconds": fit["cpu_seconds"], "scores": fit["json"]["scores"],
             "subsets_mean": fit["json"]["subsets_mean"]} for fit in fits
        ],
    })
    return lines


def _one(files: Tables, seed: int, settings: Sequence[str], folder: Path) -> dict[str, Any]:
    """One fit and its evaluation, as processes."""
    out, found = folder / f"model{seed}", folder / f"{seed}.json"
    options = [part for setting in settings for part in ("--set", setting)]
    spent = spend(polysense("fit", files.train, *FIT, "--valid", files.valid, "--seed", seed, "--out", out, *options))
    say(f"seed {seed}: fitted in {spent.cpu:.1f} CPU s")
    spend(polysense("evaluate", out, files.test, "--subsets", "--json", found))
    from paired import outcomes

    import polysense as library

    return {
        "seed": seed, "cpu_seconds": spent.cpu, "json": json.loads(found.read_text()),
        "outcomes": outcomes(library.load(out), files.test)[1],
    }


def _groups(table: Path) -> Any:
    import numpy as np

    from polysense.data.records import read_table

    return np.array(read_table(table).column("group"))


def _agree(fits: Sequence[Mapping[str, Any]]) -> None:
    """The outcomes give the very differences that the command wrote."""
    for fit in fits:
        for row in fit["json"]["subsets"]:
            if row["difference"] is None:
                continue
            right = fit["outcomes"][tuple(row["present"])].right
            for rival, key in (("specialist", "difference"), ("filled", "difference_filled")):
                mine = float(right["model"].mean() - right[rival].mean())
                if abs(mine - row[key]["accuracy"]["value"]) > 1e-6:
                    raise RuntimeError(f"seed {fit['seed']}, {row['present']}: {mine} here, {row[key]} in the JSON")


def _worse(fits: Sequence[Mapping[str, Any]]) -> list[str]:
    """Subsets that any one fit leaves below their specialist after Holm's correction."""
    from polysense.judge.evaluate import is_worse, subset_name

    return [
        f"{subset_name(row['present'], fit['json']['views'])} (seed {fit['seed']})"
        for fit in fits for row in fit["json"]["subsets"] if is_worse(row)
    ]


def _overall(fits: Sequence[Mapping[str, Any]]) -> list[Line]:
    """All test records with the views they have."""
    def mean(*path: str) -> str:
        values = []
        for fit in fits:
            found = fit["json"]
            for key in path:
                found = found[key]
            values.append(found["value"])
        return f"{sum(values) / len(values):.3f}"

    def both(*path: str) -> str:
        return f"accuracy {mean(*path, 'accuracy')}, macro F1 {mean(*path, 'macro_f1')}"

    return [
        Line("test records as they are: model", both("scores")),
        Line("test records as they are: concatenation, logistic", both("baselines", "concat_logistic")),
        Line("test records as they are: best single view", both("baselines", "best_single")),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the demo's tables")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="passed to fit")
    given = parser.parse_args()
    lines = run(given.data, given.seeds, given.settings)
    show("Subsets of the demo", lines)
    say(str(machine()))


if __name__ == "__main__":
    main()

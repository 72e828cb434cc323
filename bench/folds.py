"""One model against the specialists of every subset, by grouped cross validation over all records of the demo.

    python bench/folds.py [--data DIR] [--folds 5] [--seed 0] [--epochs N]

The three tables are joined and split anew: folds of whole groups, stratified by class and presence of sound.
Answers of all folds are pooled and compared in pairs, by a bootstrap over groups.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, Line, machine, say, show, tables, write
from paired import Comparison, Outcome, Subset, outcomes, print_table, verdicts

import polysense
from polysense.data.records import Records, as_records, read_table
from polysense.data.splits import folds, split
from polysense.judge.evaluate import is_worse

#: Share of a fold's learning records that validate; one seventh, as in the demo (60/10/30).
VALID_SHARE = 1 / 7


def run(data: Path = DATA, count: int = 5, seed: int = 0, epochs: int | None = None) -> list[Line]:
    """Fit every fold, print the table; returns the lines with a bar."""
    files = tables(data)
    records = as_records([row for table in files[:3] for row in read_table(table)], folder=data)
    groups = np.array(records.column("group"))
    options = {} if epochs is None else {"train.epochs": epochs}
    parts: list[dict[Subset, Outcome]] = []
    right = 0.0
    for number, (train, valid, test) in enumerate(_folds(records, groups, count, seed), 1):
        model = polysense.Model("label", group="group", seed=seed, options=options)
        model.fit(records.take(train), valid=records.take(valid))
        evaluation, found = outcomes(model, records.take(test))
        accuracy = evaluation["scores"]["accuracy"]["value"]
        right += accuracy * len(test)
        say(f"fold {number} of {count}: {model.made_['cpu_seconds']} CPU s, accuracy {accuracy:.3f}")
        parts.append({s: Outcome(test[one.rows], one.right, one.trained) for s, one in found.items()})
    pooled = {subset: Outcome.pooled([part[subset] for part in parts]) for subset in parts[0]}
    comparison = Comparison(evaluation["views"], [pooled], groups)
    rows, means = comparison.table(), comparison.means()
    print(f"\nDemo ({files.source}), {count} grouped folds of {len(records)} records, answers pooled; accuracy in %")
    print_table(rows)
    worse = [row["name"] for row in rows if row["counted"] and is_worse(row)]
    write("folds", {
        "source": files.source, "folds": count, "seed": seed, "options": options, "records": len(records),
        "accuracy": right / len(records), "subsets": rows, "means": means, "worse": worse,
    })
    return [*verdicts(rows, means, worse), Line("records as they are: model", f"accuracy {right / len(records):.3f}")]


def _folds(records: Records, groups: np.ndarray, count: int, seed: int) -> Iterator[tuple[Any, Any, Any]]:
    """(train, valid, test) rows."""
    labels = np.array(records.column("label"))
    heard = np.array([value is not None for value in records.column("sound")])
    for learn, test in folds(labels.tolist(), count, groups=groups.tolist(), strata=heard.tolist(), seed=seed):
        train, valid = split(
            labels[learn].tolist(), (1 - VALID_SHARE, VALID_SHARE), groups=groups[learn].tolist(),
            strata=heard[learn].tolist(), seed=seed,
        )
        yield learn[train], learn[valid], test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the demo's tables")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="fewer, for a quick look")
    given = parser.parse_args()
    show("Cross validation of the demo", run(given.data, given.folds, given.seed, given.epochs))
    say(str(machine()))


if __name__ == "__main__":
    main()

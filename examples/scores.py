"""What the examples share once records are there: one model judged with a report, or encoders set side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polysense import Model
from polysense.judge.evaluate import as_text


def judged(model: Model, test: Path, folder: Path, *, subsets: bool = False) -> None:
    """Save the model, judge it on records that it has not seen, print the scores and write the report."""
    model.save(folder / "model")
    evaluation = model.evaluate(test, subsets=subsets)
    print(as_text(evaluation))
    (folder / "report.html").write_text(model.report(evaluation, test), encoding="utf-8")
    print(f"\nthe model: {folder / 'model'}    the report: {folder / 'report.html'}")


def heading(width: int = 34) -> None:
    """The first line of a comparison."""
    print(f"\n{'':{width}}accuracy                log loss   logistic   CPU s")


def line(name: str, found: Mapping[str, Any], started: float, width: int = 34) -> None:
    """One line of a comparison; ``logistic`` is the accuracy of a regression on the same views."""
    score, loss = found["scores"]["accuracy"], found["scores"]["log_loss"]["value"]
    logistic = found["baselines"]["concat_logistic"]["accuracy"]["value"]
    print(
        f"{name:{width}}{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]    {loss:.3f}      "
        f"{logistic:.3f}   {time.process_time() - started:6.1f}", flush=True,
    )


def compared(
    encoders: Mapping[str, Mapping[str, Any]], columns: list[str], train: Path, test: Path, target: str, /, *,
    seeds: int = 1, epochs: int | None = None, **settings: Any,
) -> None:
    """Each encoder alone on the same records, without the regressions that a model otherwise mixes in.

    Args:
        encoders: name, which may go on after a comma -> its options.
        columns: all are read by it.
        settings: of the model.
    """
    heading()
    for name, mine in encoders.items():
        options = {"train.regressions": 0.0} | {f"{column}.{key}": mine[key] for column in columns for key in mine}
        options |= {"train.epochs": epochs} if epochs else {}
        named = dict.fromkeys(columns, name.split(",")[0])
        for seed in range(seeds):
            started = time.process_time()
            model = Model(target, encoders=named, options=options, seed=seed, cache=False, **settings).fit(train)
            line(name if seeds == 1 else f"{name}, seed {seed}", model.evaluate(test), started)

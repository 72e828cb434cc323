"""What the four recipes share: the demo's real records, a fit, a line with interval and cost."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from polysense import Model
from polysense.demo import prepare


def arguments(doc: str) -> argparse.Namespace:
    """--data FOLDER (made as `polysense demo` makes it where it is not there), --epochs N."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("polysense-demo"), help="folder of the demo's tables")
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args()
    if not (given.data / "test.csv").is_file():
        print(prepare(given.data, progress=print).note)
    return given


def heading() -> None:
    print(f"{'':44}accuracy                 majority  logistic   CPU s")


def run(
    name: str, given: argparse.Namespace, encoders: dict[str, str], fusion: str = "concat", **options: Any
) -> Model:
    """Fit the views that ``encoders`` names, all else left out, as one plain network; judge it on the test records.

    No regression helps the network, it has one member, and no view is hidden in training: that is what the articles
    build. polysense itself does all three by default.
    """
    started = time.process_time()
    every = ("picture", "english", "chinese", "speech", "sound", "width", "height", "aspect", "alpha")
    columns = {column: "ignore" for column in every if column not in encoders}
    plain = {"train.regressions": 0.0, "train.members": 1, "train.drop": 0.0, "train.auxiliary": 0.0}
    plain["train.epochs"] = given.epochs
    model = Model("label", group="group", columns=columns, encoders=encoders, fusion=fusion, options=plain | options)
    model.fit(given.data / "train.csv", valid=given.data / "valid.csv")
    found = model.evaluate(given.data / "test.csv")
    score, baselines = found["scores"]["accuracy"], found["baselines"]
    print(
        f"{name:44}{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]   "
        f"{baselines['majority']['accuracy']['value']:.3f}     {baselines['concat_logistic']['accuracy']['value']:.3f}  "
        f"{time.process_time() - started:8.0f}", flush=True,
    )
    return model

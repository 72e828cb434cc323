"""Activity from sensors: what somebody does, from the acceleration and the rotation of a watch.

    python examples/activity.py                    fit, judge on the other half of the records, drop a sensor
    python examples/activity.py --data vowels      who speaks, from 12 coefficients of a vowel (JapaneseVowels)
    python examples/activity.py --encoders         every encoder of series, three seeds, with CPU seconds

The records lie inside the package sktime (BSD-3-Clause), which is downloaded by pip and not installed:
BasicMotions (Clements 2017, a watch at 10 Hz; 40 records to learn from, 40 to judge) and JapaneseVowels (Kudo et al.
1999, Pattern Recognition Letters 20; 270 and 370). Where pip reaches nothing, name a wheel: SKTIME_WHEEL=FILE.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from statistics import mean

from polysense import Model

PACKAGE = "sktime==1.2.0"
#: Set -> its name in the package, and {column: its channels}.
SETS = {
    "motions": ("BasicMotions", {"acceleration": "xyz", "rotation": "xyz"}),
    "vowels": ("JapaneseVowels", {"speech": [f"c{i}" for i in range(1, 13)]}),
}
ENCODERS = ("series.plain", "series.tcn", "series.rnn", "series.transformer")
#: Few records make few steps: more passes than usual.
EPOCHS = {"motions": 60, "vowels": 20}


def wheel(folder: Path) -> Path:
    """The package's file, downloaded once."""
    if given := os.environ.get("SKTIME_WHEEL"):
        return Path(given)
    if not list(folder.glob("sktime-*.whl")):
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(folder), PACKAGE]
        subprocess.run(pip, check=True)
    return next(folder.glob("sktime-*.whl"))


def table(package: Path, part: str, kind: str, place: Path) -> Path:
    """A CSV table whose cells are the series as JSON: column -> {channel: samples}."""
    name, columns = SETS[kind]
    with zipfile.ZipFile(package) as files:
        text = files.read(f"sktime/datasets/data/{name}/{name}_{part}.ts").decode("utf-8")
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "label"])
        for line in text.split("@data", 1)[1].split():
            *channels, label = line.split(":")
            samples = iter([float(number) for number in channel.split(",")] for channel in channels)
            cells = [json.dumps({channel: next(samples) for channel in names}) for names in columns.values()]
            writer.writerow([*cells, label])
    return place


def compared(train: Path, test: Path, columns: list[str], epochs: int) -> None:
    """Every encoder with three seeds."""
    print("\nencoder             accuracy (seeds 0 1 2)      mean   CPU seconds a fit")
    for encoder in ENCODERS:
        found, started = [], time.process_time()
        for seed in range(3):
            options = {"train.epochs": epochs, "train.regressions": 0.0}  # the encoder alone: no regression helps it
            made = Model("label", encoders=dict.fromkeys(columns, encoder), options=options, seed=seed, cache=False).fit(train)
            found.append(made.evaluate(test, samples=200)["scores"]["accuracy"]["value"])
        cpu = (time.process_time() - started) / 3
        print(f"{encoder:18}  {'  '.join(f'{one:.3f}' for one in found)}       {mean(found):.3f}   {cpu:.1f}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=SETS, default="motions")
    parser.add_argument("--out", type=Path, default=Path("polysense-activity"), help="folder for tables and model")
    parser.add_argument("--encoders", action="store_true", help="compare the encoders")
    given = parser.parse_args(arguments)
    package = wheel(given.out)
    train, test = (table(package, part, given.data, given.out / given.data / f"{part.lower()}.csv") for part in ("TRAIN", "TEST"))
    columns = list(SETS[given.data][1])
    print(f"{train} and {test}: columns {', '.join(columns)}, label")
    if given.encoders:
        return compared(train, test, columns, EPOCHS[given.data])
    model = Model("label", verbose=True).fit(train)
    model.save(given.out / given.data / "model")
    judge = ["evaluate", str(given.out / given.data / "model"), str(test), "--subsets"]
    print("\n$ polysense", *judge, flush=True)
    subprocess.run([sys.executable, "-m", "polysense", *judge], check=True)


if __name__ == "__main__":
    main()

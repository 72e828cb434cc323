"""Activity from sensors: what somebody does, from the acceleration and the rotation of a watch.

    python examples/activity.py                    fit, judge on the other half of the records, drop a sensor
    python examples/activity.py --data vowels      who speaks, from 12 coefficients of a vowel (JapaneseVowels)
    python examples/activity.py --encoders         every encoder of series, three seeds, with CPU seconds

The records lie inside the package sktime 1.2.0 (BSD-3-Clause; 8 MB, fetched by pip, not installed): BasicMotions
(Clements 2017, a watch at 10 Hz; 40 records to learn from, 40 to judge) and JapaneseVowels (Kudo et al. 1999, Pattern
Recognition Letters 20; 270 and 370).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from scores import compared, judged
from sources import from_pip, table

from polysense import Model

#: Set -> its name in the package, and {column: its channels}.
SETS = {
    "motions": ("BasicMotions", {"acceleration": "xyz", "rotation": "xyz"}),
    "vowels": ("JapaneseVowels", {"speech": [f"c{i}" for i in range(1, 13)]}),
}
ENCODERS = {"series.plain": {}, "series.tcn": {}, "series.rnn": {}, "series.transformer": {}}
#: Few records make few steps: more passes than usual.
EPOCHS = {"motions": 60, "vowels": 20}


def rows(place: Path, part: str, kind: str) -> Iterator[dict[str, str]]:
    """The records of one part; a cell is a series as JSON: channel -> samples."""
    name, columns = SETS[kind]
    text = (place / name / f"{name}_{part.upper()}.ts").read_text(encoding="utf-8")
    for line in text.split("@data", 1)[1].split():  # its channels, then its class, with colons between
        *channels, label = line.split(":")
        samples = iter([float(number) for number in channel.split(",")] for channel in channels)
        cells = {column: json.dumps({name: next(samples) for name in names}) for column, names in columns.items()}
        yield cells | {"label": label}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=SETS, default="motions")
    parser.add_argument("--out", type=Path, default=Path("polysense-activity"), help="folder for package, tables and model")
    parser.add_argument("--encoders", action="store_true", help="compare the encoders")
    given = parser.parse_args(arguments)
    place = from_pip("sktime==1.2.0", given.out / "packages", wanted="sktime/datasets/data", wheel=True)
    folder, columns = given.out / given.data, list(SETS[given.data][1])
    train, test = (table(folder / f"{part}.csv", rows(place, part, given.data)) for part in ("train", "test"))
    if given.encoders:
        return compared(ENCODERS, columns, train, test, "label", seeds=3, epochs=EPOCHS[given.data])
    judged(Model("label", verbose=True).fit(train), test, folder, subsets=True)


if __name__ == "__main__":
    main()

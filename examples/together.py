"""Image, text and table together: what each is worth, and what happens where one is missing.

    python examples/together.py [--data FOLDER]      FOLDER as polysense demo makes it; made where it is not there

Picture, English name and four numbers of each stamp; the other columns are left out. One model answers for every
subset of the three; beside each stands a regression that was trained for exactly that subset.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from polysense import Model
from polysense.demo import prepare
from polysense.judge.evaluate import as_text


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("polysense-demo"), help="folder of the demo's tables")
    parser.add_argument("--fusion", default="concat", help="see polysense list fusions")
    given = parser.parse_args(arguments)
    if not (given.data / "test.csv").is_file():
        print(prepare(given.data, progress=print).note)
    left_out = dict.fromkeys(("chinese", "speech", "sound"), "ignore")
    model = Model("label", group="group", columns=left_out, fusion=given.fusion, verbose=True)
    model.fit(given.data / "train.csv", valid=given.data / "valid.csv")
    print(as_text(model.evaluate(given.data / "test.csv", subsets=True)))
    print("\nOne record, then the same without its picture, without its name, and with nothing at all:")
    (record,) = records(given.data / "test.csv", 1)
    for gone in ((), ("picture",), ("english",), ("picture", "english", "width", "height", "aspect", "alpha")):
        cells = {name: None if name in gone else value for name, value in record.items()}
        p = model.predict_proba([cells])[0]
        print(f"  without {', '.join(gone) or 'nothing':50} {model.classes_[p.argmax()]:12} {p.max():.2f}")


def records(path: Path, count: int) -> list[dict[str, str]]:
    """The first records of a table, paths of pictures made absolute."""
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for _, row in zip(range(count), csv.DictReader(file), strict=False)]
    return [row | {"picture": str(path.parent / row["picture"])} for row in rows]


if __name__ == "__main__":
    main()

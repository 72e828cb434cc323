"""Image, text and table together: what each is worth, and what happens where one is missing.

    python examples/together.py                     made where it is not there: the demo's folder (161 MB by apt-get)
    python examples/together.py --data FOLDER       FOLDER as polysense demo made it

Picture, English name and four numbers of each stamp; the other columns are left out. One model answers for every
subset of the three; beside each stands a regression that was trained for exactly that subset.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from scores import judged
from sources import stamps

from polysense import Model


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("polysense-demo"), help="folder of the demo's tables")
    parser.add_argument("--fusion", default="concat", help="see polysense list fusions")
    parser.add_argument("--out", type=Path, default=Path("polysense-together"), help="folder for the model")
    given = parser.parse_args(arguments)
    left_out = dict.fromkeys(("chinese", "speech", "sound"), "ignore")
    model = Model("label", group="group", columns=left_out, fusion=given.fusion, verbose=True)
    data = stamps(given.data)
    model.fit(data / "train.csv", valid=data / "valid.csv")
    judged(model, data / "test.csv", given.out, subsets=True)
    print("\nOne record, then the same without its picture, without its name, and with nothing at all:")
    record = first(data / "test.csv")
    for gone in ((), ("picture",), ("english",), ("picture", "english", "width", "height", "aspect", "alpha")):
        (p,) = model.predict_proba([{name: None if name in gone else value for name, value in record.items()}])
        print(f"  without {', '.join(gone) or 'nothing':50} {model.classes_[p.argmax()]:12} {p.max():.2f}")


def first(path: Path) -> dict[str, str]:
    """The first record of a table; a record that stands alone names its picture by the whole path."""
    with path.open(encoding="utf-8", newline="") as file:
        record = next(csv.DictReader(file))
    return record | {"picture": str(path.parent / record["picture"])}


if __name__ == "__main__":
    main()

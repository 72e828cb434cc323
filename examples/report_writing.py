"""Reports from a picture and measured numbers: what digit it is, how much ink, how wide, which way it leans.

    python examples/report_writing.py                    1,797 handwritten digits: fit, evaluate, report.html
    python examples/report_writing.py --decoder attend   another decoder

The pictures are the handwritten digits that scikit-learn brings along (8 x 8 pixels, UCI, CC BY 4.0); ink, width and lean are
measured in them and given to the model as numbers, and the reports are put together from both by a rule. So it is known what a
report should say, which part of it stands in the picture alone (the digit) and which in the numbers. Medical pictures with
laboratory values and findings have the same form: a picture column, number columns, a text column.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
from scores import judged
from sources import table

from polysense import Model

NAMES = "zero one two three four five six seven eight nine".split()
#: A measured number -> the words for its lowest, middle and highest third.
WORDS = {
    "ink": ("little ink", "some ink", "much ink"), "width": ("narrow", "of middle width", "wide"),
    "lean": ("leaning left", "upright", "leaning right"),
}


def measured(pixels: np.ndarray) -> dict[str, float]:
    """Ink (mean of 0..1), width (deviation of columns) and lean (columns' gain by row) of a picture of 0..16."""
    ink = pixels / 16
    rows, columns = np.mgrid[:8, :8]
    total = ink.sum()
    row, column = (ink * rows).sum() / total, (ink * columns).sum() / total
    apart_row, apart_column = rows - row, columns - column
    lean = -(ink * apart_row * apart_column).sum() / (ink * apart_row**2).sum()
    return {"ink": ink.mean(), "width": ((ink * apart_column**2).sum() / total) ** 0.5, "lean": lean}


def records(folder: Path) -> list[dict[str, object]]:
    """A picture, three numbers and a report each; two in ten lack the picture, two in ten the numbers."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits, chance = load_digits(), random.Random(0)
    numbers = [measured(pixels) for pixels in digits.images]
    thirds = {name: np.quantile([one[name] for one in numbers], [1 / 3, 2 / 3]) for name in WORDS}
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rows = []
    for i, (pixels, label, one) in enumerate(zip(digits.images, digits.target, numbers, strict=True)):
        path = f"pictures/{i}.png"
        Image.fromarray((255 - pixels * 15.9).astype(np.uint8)).resize((32, 32), Image.Resampling.NEAREST).save(folder / path)
        ink, width, lean = (WORDS[name][int(np.searchsorted(thirds[name], one[name]))] for name in WORDS)
        draw = chance.random()
        shown = {name: round(float(value), 4) if draw < 0.6 or draw >= 0.8 else "" for name, value in one.items()}
        rows.append({
            "picture": path if draw < 0.8 else "", **shown, "report": f"A {NAMES[label]} with {ink}, {width} and {lean}.",
        })
    chance.shuffle(rows)
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--decoder", choices=("show-tell", "attend", "transformer"), default="transformer")
    parser.add_argument("--most", type=int, default=1797, help="records at most")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("polysense-reports"), help="folder for pictures, tables and model")
    given = parser.parse_args(arguments)
    rows = records(given.out)[: given.most]
    cut = 2 * len(rows) // 3
    train, test = (table(given.out / f"{name}.csv", part) for name, part in (("train", rows[:cut]), ("test", rows[cut:])))
    options = {"task.decoder": given.decoder, "task.width": 64, "task.depth": 1}
    options |= {"train.epochs": given.epochs, "train.batch": 32}
    model = Model("report", task="caption", encoders={"picture": "image.plain"}, options=options, verbose=True).fit(train)
    judged(model, test, given.out)
    one = {"picture": given.out / rows[0]["picture"]} if rows[0]["picture"] else {"ink": 0.4, "width": 1.2, "lean": 0.1}
    print("word by word:", "|".join(model.stream(one)))


if __name__ == "__main__":
    main()

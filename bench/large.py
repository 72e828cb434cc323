"""Large tables: what a record costs, part by part, and that memory does not grow with their number.

    python bench/large.py [1000 10000 100000 200000] [--set KEY=VALUE]... [--docs]

A table of small pictures (32 x 32 PNG, as bytes in a Parquet file), short texts, numbers and a category,
made by this script; ten classes that each view shows in part. It is fitted, predicted and evaluated by
processes of their own. Encoders: image.plain, text.plain and table.mlp, which cost little enough that a
machine of two cores goes through 200,000 records; with a tower the frozen pass costs what the tower costs.
Memory is the largest resident set of the process, file pages included.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common import OUT, Line, Spent, machine, polysense, say, show, spend, write

SIZES = (1_000, 10_000, 100_000, 200_000)
#: Records of the table on which every subset of views is judged.
TEST = 2_000
STEPS = ("fit", "predict", "evaluate")
#: Bars: MB of memory, and largest memory over that with 10,000 records.
MEMORY, GROWTH = 2_000, 1.15
FIT = (
    "--target", "label", "--encoder", "picture=image.plain", "--encoder", "text=text.plain", "--set", "train.epochs=3",
    "--set", "train.batch=256",
)
#: Parts of the stopwatch -> columns of the unit costs.
PARTS = {
    "decoding": ("reading and decoding", "reading and hashing", "reading the tables"),
    "frozen pass": ("frozen features",), "fitting features": ("fitting encoders", "fitting plain features"),
    "rivals": ("rivals",), "training": ("training",), "judging": ("judging the validation records",),
}

_CLASSES = ("ant", "bee", "cow", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay")
_WORDS = [a + b for a in "ba ce di fo gu ha je ki lo mu na pe ri so tu".split() for b in "rn st lk mp nd sh ft ck".split()]


# --- the table -----------------------------------------------------------------------------------


def make(path: Path, count: int, seed: int = 0) -> None:
    """Write a table of ``count`` records as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for start in range(0, count, 2048):
        rows = list(_records(min(2048, count - start), seed * 1_000_003 + start))
        table = pa.Table.from_pylist(rows)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def _records(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Each view shows the class with its own noise; a tenth of the cells is missing."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    guise = np.where(rng.random((count, 3)) < 0.7, labels[:, None], rng.integers(0, 10, (count, 3)))
    absent = rng.random((count, 3)) < 0.1
    down, across = np.mgrid[0:32, 0:32]
    for i in range(count):
        shown, spoken, measured = guise[i].tolist()
        stripes = np.sin((down * (1 + shown % 5) + across * (shown // 5)) / 5 + rng.random() * 6)
        colour = np.array([shown % 3, shown % 4, shown % 5]) * 40
        pixels = (stripes[..., None] * 40 + 60 + colour + rng.normal(0, 25, (32, 32, 3))).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        common = [_WORDS[w] for w in rng.integers(0, len(_WORDS), 9)]
        telling = [_WORDS[(spoken * 12 + w) % len(_WORDS)] for w in rng.integers(0, 12, 2)]
        yield {
            "picture": None if absent[i, 0] else file.getvalue(),
            "text": None if absent[i, 1] else " ".join(rng.permutation(common + telling)),
            "size": None if absent[i, 2] else float(measured + rng.normal(0, 2)),
            "weight": float(rng.normal((measured % 4), 1)), "place": f"place {(measured * 7 + int(rng.integers(0, 9))) % 30}",
            "label": _CLASSES[labels[i]],
        }


# --- the runs ------------------------------------------------------------------------------------


def measure(count: int, settings: Sequence[str], folder: Path | None, keep: Callable[[dict[str, Any]], None]) -> None:
    """Fit, predict and evaluate ``count`` records, each in a process of its own; the cache is empty for fit and predict.

    Args:
        keep: given what is known so far, after each process.
    """
    with tempfile.TemporaryDirectory(dir=folder) as made:
        home = Path(made)
        make(home / "train.parquet", count)
        make(home / "test.parquet", TEST, seed=1)
        options = [*FIT, *(part for setting in settings for part in ("--set", setting))]
        stopwatch = [sys.executable, Path(__file__).with_name("cost.py"), "--stopwatch"]
        cache = {"POLYSENSE_CACHE": home / "cache"}
        found: dict[str, Any] = {"records": count, "table_mb": os.path.getsize(home / "train.parquet") / 1e6}

        def step(name: str, command: Sequence[Any], **environment: Any) -> None:
            found[name] = vars(spend(command, **environment))
            say(f"{count:,} records: {name} {found[name]['cpu']:.0f} CPU s, {found[name]['peak']:,.0f} MB")
            keep(found)

        step("fit", [*stopwatch, home / "fit.json", "fit", home / "train.parquet", *options, "--out", home / "model"], **cache)
        found["parts"] = json.loads((home / "fit.json").read_text())
        found["raised"] = json.loads((home / "fit.raised").read_text())
        step("predict", polysense("predict", home / "model", home / "train.parquet", "--out", home / "out.csv"),
             POLYSENSE_CACHE=home / "other")
        lines = sum(1 for _ in open(home / "out.csv", encoding="utf-8"))
        if lines != count + 1:
            raise RuntimeError(f"predict wrote {lines} lines for {count} records")
        step("evaluate", polysense("evaluate", home / "model", home / "train.parquet", "--json", home / "all.json"), **cache)
        spend(polysense("evaluate", home / "model", home / "test.parquet", "--subsets", "--json", home / "test.json"), **cache)
        scores = json.loads((home / "test.json").read_text())
        keep(found | {"accuracy": scores["scores"]["accuracy"], "specialists": scores["subsets_mean"]})


def unit_costs(parts: dict[str, float], count: int) -> dict[str, float]:
    """CPU seconds per 1,000 records by part."""
    found = {
        name: sum(seconds for part, seconds in parts.items() if any(end in part for end in ends))
        for name, ends in PARTS.items()
    }
    found["the rest"] = sum(parts.values()) - sum(found.values())
    return {name: 1000 * seconds / count for name, seconds in found.items()}


def lines(found: Sequence[dict[str, Any]]) -> list[Line]:
    """A line with a bar for each size, memory beside that of 10,000 records."""
    base = next((one for one in found if one["records"] == 10_000), None)
    shown = []
    for one in found:
        for step in (name for name in STEPS if name in one):
            spent = Spent(**one[step])
            what = f"{one['records']:,} records: {step}, {one['records'] / spent.cpu:,.0f} records a CPU second"
            shown.append(Line.at_most(what, spent.peak, MEMORY, "{:,.0f} MB"))
            if base is not None and one["records"] > 10_000 and step in base:
                shown.append(Line.at_most("  over that of 10,000", spent.peak / base[step]["peak"], GROWTH, "{:.2f} times"))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES), help="numbers of records")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="passed to fit")
    parser.add_argument("--folder", type=Path, default=None, help="where the tables are made; removed afterwards")
    given = parser.parse_args()
    kept = OUT / "large.json"
    found = {one["records"]: one for one in json.loads(kept.read_text())["sizes"]} if kept.is_file() else {}

    def keep(one: dict[str, Any]) -> None:
        found[one["records"]] = dict(one)
        write("large", {"settings": given.settings, "sizes": [found[size] for size in sorted(found)]})

    for count in given.sizes:
        measure(count, given.settings, given.folder, keep)
        for name, seconds in unit_costs(found[count]["parts"], count).items():
            print(f"  {seconds:7.3f} CPU s per 1,000 records: {name}")
        for name, mb in found[count]["raised"].items():
            if mb >= 1:
                print(f"  {mb:5.0f} MB: {name}")
    show("Large tables", lines([found[size] for size in sorted(found)]))
    say(str(machine()))


if __name__ == "__main__":
    main()

"""Large tables: what a record costs, part by part, and that memory does not grow with their number.

    python bench/large.py [1000 10000 100000 200000] [--set KEY=VALUE]... [--docs]
    python bench/large.py 0 --docs          the page only, from what was measured before
    python bench/large.py 200000 --kill     instead: a fit that is killed on its way and resumed, beside an undisturbed one

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


def resumed(count: int, folder: Path | None, moments: Sequence[float] = (0.35, 0.5)) -> dict[str, Any]:
    """Fit ``count`` records undisturbed, and once more with SIGKILLs on the way, resumed each time.

    Args:
        moments: of the kills, as shares of the undisturbed fit's CPU seconds, counted from the (new) start.

    Returns:
        records, kills, what the fit did when it was killed, the largest memory in MB of any process, whether
        every file but the date and the costs is equal.
    """
    from kill import facts_of

    with tempfile.TemporaryDirectory(dir=folder) as made:
        home = Path(made)
        make(home / "train.parquet", count)
        fit = polysense("fit", home / "train.parquet", *FIT)
        whole = spend([*fit, "--out", home / "whole"], POLYSENSE_CACHE=home / "cache-whole")
        say(f"{count:,} records undisturbed: {whole.cpu:.0f} CPU s, {whole.wall:.0f} s, {whole.peak:,.0f} MB")
        peaks, doing = [whole.peak], []
        for moment in [*moments, None]:
            command = [*fit, "--out", home / "killed", *(["--resume"] if doing else [])]
            said, spent = _killed(command, None if moment is None else moment * whole.cpu, home / "cache-killed")
            peaks.append(spent.peak)
            say(f"  {spent.wall:.0f} s, {spent.peak:,.0f} MB, {'killed while' if moment else 'to its end, last'}: {said}")
            if moment is not None:
                doing.append(said)
        return {
            "records": count, "kills": len(doing), "doing": doing, "peak": max(peaks), "undisturbed": vars(whole),
            "equal": facts_of(home / "whole") == facts_of(home / "killed"),
        }


def _killed(command: Sequence[Any], seconds: float | None, cache: Path) -> tuple[str, Spent]:
    """Run a fit, kill it after so many CPU ``seconds``; the last line of its talk, and what it cost.

    Raises:
        RuntimeError: it failed, or ended before it could be killed.
    """
    import subprocess
    import time

    with tempfile.TemporaryFile() as talk:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], stdout=talk, stderr=talk, env={**os.environ, "POLYSENSE_CACHE": str(cache)}
        )
        while seconds is not None and _cpu_seconds(process.pid) < seconds:
            time.sleep(0.2)
        if seconds is not None:
            process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        talk.seek(0)
        lines = [line for line in talk.read().decode().replace("\r", "\n").split("\n") if line.strip()]
        if process.returncode != (0 if seconds is None else -9):
            raise RuntimeError(f"the fit ended with {process.returncode}: {' / '.join(lines[-3:])}")
    spent = Spent(usage.ru_utime + usage.ru_stime, time.perf_counter() - started, usage.ru_maxrss / 1024)
    return lines[-1].strip(), spent




def _cpu_seconds(pid: int) -> float:
    """Of a running process; endless where it has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return float("inf") if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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


# --- the page ------------------------------------------------------------------------------------


DOCS = Path(__file__).parent.parent / "docs"


def document(found: Sequence[dict[str, Any]], about: dict[str, Any]) -> str:
    """The page: memory and throughput by size, unit costs by part."""
    fitted = [one for one in found if "parts" in one]
    parts = {one["records"]: unit_costs(one["parts"], one["records"]) for one in fitted}
    names = [*PARTS, "the rest"]
    rows = [
        [f"{one['records']:,}", f"{one['table_mb']:,.0f} MB",
         *(f"{one[step]['peak']:,.0f}" if step in one else "" for step in STEPS),
         *(f"{one['records'] / one[step]['cpu']:,.0f}" if step in one else "" for step in STEPS)] for one in found
    ]
    return f"""# Large tables

Made by `python bench/large.py --docs` from one run each on {about['cpu']}, {about['cores']} cores shared with other work, one
thread. Small pictures (32 x 32 PNG as bytes in Parquet), texts of eleven words, two numbers, a category, ten classes; encoders
`image.plain`, `text.plain`, `table.mlp`; {" ".join(word for word in FIT if word.startswith("train."))}. Above 50,000 training
records the rivals are trained on a stated sample of 50,000.

![Largest memory and records a CPU second against the number of records](large.svg)

Memory is the largest resident set of the process (`ru_maxrss`), imports and file pages included.

{_table(["records", "table", *(f"{step}, MB" for step in STEPS), *(f"{step}, records a CPU s" for step in STEPS)], rows)}

Fit, CPU seconds per 1,000 records by part (at 1,000 records the rest is the start of the process):

{_table(["part", *(f"{one['records']:,}" for one in fitted)],
        [[name, *(f"{parts[one['records']][name]:.3f}" for one in fitted)] for name in names])}
"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def drawing(found: Sequence[dict[str, Any]]) -> str:
    """Two panels: MB and records a CPU second, against records (logarithmic)."""
    import math

    colours = dict(zip(STEPS, ("#3b6ea5", "#c8553d", "#4d8b55"), strict=True))
    low, high = math.log10(found[0]["records"]), math.log10(max(found[-1]["records"], 10 * found[0]["records"]))
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 300" font-family="sans-serif" font-size="12" fill="#777">']
    for left, title, value in (
        (55, "largest memory, MB", lambda one, step: one[step]["peak"]),
        (435, "records a CPU second", lambda one, step: one["records"] / one[step]["cpu"]),
    ):
        top = max(value(one, step) for one in found for step in STEPS if step in one) * 1.15
        unit = 10 ** math.floor(math.log10(top / 2))
        out.append(f'<text x="{left}" y="22" font-weight="bold">{title}</text>')

        def place(records: float, number: float, left: int = left, top: float = top) -> tuple[float, float]:
            return left + 290 * (math.log10(records) - low) / (high - low), 250 - 210 * number / top

        for mark in range(0, int(top), int(unit * max(1, round(top / unit / 5))) or 1):
            y = place(found[0]["records"], mark)[1]
            out.append(f'<line x1="{left}" x2="{left + 290}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884"/>')
            out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{mark:,}</text>')
        for one in found:
            x, y = place(one["records"], 0)
            out.append(f'<text x="{x:.1f}" y="{y + 18:.0f}" text-anchor="middle">{one["records"] / 1000:g}k</text>')
        out.append(f'<text x="{left + 145}" y="288" text-anchor="middle">records</text>')
        for i, (step, colour) in enumerate(colours.items()):
            points = [place(one["records"], value(one, step)) for one in found if step in one]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
            out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
            out.append(f'<text x="{left + 150 + 55 * i}" y="22" fill="{colour}">{step}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES), help="numbers of records")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="passed to fit")
    parser.add_argument("--folder", type=Path, default=None, help="where the tables are made; removed afterwards")
    parser.add_argument("--kill", action="store_true", help="kill a fit, resume it, compare it with an undisturbed one")
    parser.add_argument("--docs", action="store_true", help="write docs/large.md and docs/large.svg from what was measured")
    given = parser.parse_args()
    if given.kill:
        for count in given.sizes:
            found = resumed(count, given.folder)
            write(f"large-kill-{count}", found)
            print(json.dumps(found, indent=1))
        return
    kept = OUT / "large.json"
    found = {one["records"]: one for one in json.loads(kept.read_text())["sizes"]} if kept.is_file() else {}

    def keep(one: dict[str, Any]) -> None:
        found[one["records"]] = dict(one)
        write("large", {"settings": given.settings, "sizes": [found[size] for size in sorted(found)]})

    for count in filter(None, given.sizes):
        measure(count, given.settings, given.folder, keep)
        for name, seconds in unit_costs(found[count]["parts"], count).items():
            print(f"  {seconds:7.3f} CPU s per 1,000 records: {name}")
        for name, mb in found[count]["raised"].items():
            if mb >= 1:
                print(f"  {mb:5.0f} MB: {name}")
    sizes = [found[size] for size in sorted(found)]
    if given.docs:
        (DOCS / "large.md").write_text(document(sizes, machine()), encoding="utf-8")
        (DOCS / "large.svg").write_text(drawing(sizes), encoding="utf-8")
    show("Large tables", lines([found[size] for size in sorted(found)]))
    say(str(machine()))


if __name__ == "__main__":
    main()

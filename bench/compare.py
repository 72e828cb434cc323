"""polysense beside its rivals: the same split, seeds and towers, in the same run.

    python bench compare            what is missing is run, then docs/bench.md and docs/bench.json are written
    python bench/compare.py [--sets stamps emoji] [--who NAME ...] [--seeds 0 1 2 3 4] [--fresh] [--table]

Logistic regression on features and polysense always run. LightGBM, AutoGluon and pytorch-widedeep run where
bench/rivals/NAME.sh has built an environment of their own. Every result (rival, set, seed, clean or corrupt) is a
folder below bench/out/compare: probabilities of the test records with every view emptied in turn, and about.json with
costs. What is there is not run again, so a run that broke off continues; --fresh redoes, --table only writes the pages.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from common import OUT, Line, machine, say, spend, tables

HERE = Path(__file__).parent
RIVALS = HERE / "rivals"
PLACE = OUT / "compare"
#: Environments of the rivals; each has bin/python.
ENVIRONMENTS = Path(os.environ.get("POLYSENSE_RIVALS", OUT / "rivals"))
SEEDS = (0, 1, 2, 3, 4)
#: Share of picture cells that the corrupt tables spoil, half cut short and half pointing nowhere.
SPOILT = 0.05

#: Columns of the two sets. Numbers together are the view "table".
KINDS = {
    "stamps": {
        "picture": "image", "english": "text", "chinese": "text", "speech": "audio", "sound": "audio",
        "width": "number", "height": "number", "aspect": "number", "alpha": "number",
    },
    "emoji": {"picture": "image", "english": "text", "chinese": "text"},
}


class Rival(NamedTuple):
    """One competitor.

    Attributes:
        script: below bench/rivals.
        own: it has an environment of its own; without it, it is left out aloud.
        features: it answers from what features.py wrote.
        seeded: another seed changes something; else one run stands for all seeds.
    """

    title: str
    script: str
    own: bool = False
    features: bool = False
    seeded: bool = True


WHO = {
    "polysense": Rival("polysense", "run_polysense.py"),
    "logistic": Rival("logistic regression", "run_logistic.py", features=True, seeded=False),
    "lightgbm": Rival("LightGBM", "run_lightgbm.py", own=True, features=True),
    "autogluon": Rival("AutoGluon MultiModal", "run_autogluon.py", own=True),
    "widedeep": Rival("pytorch-widedeep", "run_widedeep.py", own=True),
}


def views(kind: str) -> dict[str, list[str]]:
    """View -> its columns."""
    found: dict[str, list[str]] = {}
    for column, what in KINDS[kind].items():
        found.setdefault("table" if what == "number" else column, []).append(column)
    return found


# --- tables --------------------------------------------------------------------------------------


def prepare(kind: str, data: Path | None) -> Path:
    """Folder of the tables of a set: clean, with each view emptied, and corrupt; made once."""
    place = PLACE / kind / "tables"
    if (place / "done").is_file():
        return place
    if data is None:
        from polysense.demo import prepare as make

        data = PLACE / kind / "demo"
        made = make(data, kind=kind, progress=say)
        if made.source != kind:
            raise SystemExit(f"the set {kind} cannot be had here: {made.note}")
    place.mkdir(parents=True, exist_ok=True)
    for part in ("train", "valid", "test"):
        rows = _read(data / f"{part}.csv")
        for row in rows:
            for column, what in KINDS[kind].items():
                if what in ("image", "audio") and row[column]:
                    row[column] = str((data / row[column]).resolve())
        _write(place / f"{part}.csv", rows)
        _write(place / f"{part}-corrupt.csv", [_spoil(row, i, place / "cut") for i, row in enumerate(rows)])
        if part == "test":
            for view, columns in views(kind).items():
                _write(place / f"test-without-{view}.csv", [row | dict.fromkeys(columns, "") for row in rows])
    (place / "done").touch()
    return place


def _spoil(row: Mapping[str, str], i: int, folder: Path) -> dict[str, str]:
    """Every twentieth picture is spoilt: by turns a file cut at 40 % and a path to nowhere."""
    every = round(1 / SPOILT)
    if i % every or not row["picture"]:
        return dict(row)
    whole = Path(row["picture"])
    if i // every % 2:
        return {**row, "picture": str(whole.with_name("nowhere-" + whole.name))}
    folder.mkdir(exist_ok=True)
    cut = folder / whole.name
    cut.write_bytes(whole.read_bytes()[: int(0.4 * whole.stat().st_size)])
    return {**row, "picture": str(cut.resolve())}


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


# --- runs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One fit of one rival and its answers."""

    kind: str
    who: str
    seed: int
    corrupt: bool

    @property
    def place(self) -> Path:
        return PLACE / self.kind / self.who / (f"seed{self.seed}" + ("-corrupt" if self.corrupt else ""))

    @property
    def done(self) -> bool:
        return (self.place / "about.json").is_file()

    def command(self, folder: Path, missing: bool) -> list[Any]:
        end = "-corrupt.csv" if self.corrupt else ".csv"
        tests = [f"full={folder / ('test' + end)}"]
        if missing and not self.corrupt:
            tests += [f"without-{view}={folder / f'test-without-{view}.csv'}" for view in views(self.kind)]
        features = PLACE / self.kind / ("features-corrupt" if self.corrupt else "features")
        rival = WHO.get(self.who)
        script, out = (rival.script, self.place) if rival else ("features.py", features)
        return [
            python(self.who), RIVALS / script, folder / ("train" + end), folder / ("valid" + end), out,
            "--target", "label", "--group", "group", "--seed", self.seed,
            "--kinds", *(f"{column}={what}" for column, what in KINDS[self.kind].items()), "--test", *tests,
            *(["--features", features] if rival and rival.features else []),
        ]


def python(who: str) -> Path:
    """The Python that runs a rival."""
    own = who in WHO and WHO[who].own
    return ENVIRONMENTS / who / "bin" / "python" if own else Path(sys.executable)


def jobs(kinds: Sequence[str], names: Sequence[str], seeds: Sequence[int]) -> Iterator[Job]:
    """First everyone's first seed on every set, then the corrupt stamps (seed 0), then the other seeds."""
    for seed in seeds:
        for kind in kinds:
            for who in names:
                if WHO[who].seeded or seed == 0:
                    yield Job(kind, who, seed, False)
        if seed == 0 and "stamps" in kinds:
            for who in names:
                yield Job("stamps", who, seed, True)


def work(job: Job, folder: Path, missing: bool) -> None:
    """Run a job; one that fails leaves what it said, so that the table can quote it."""
    if job.who in WHO and WHO[job.who].features:
        needed = PLACE / job.kind / ("features-corrupt" if job.corrupt else "features") / "about.json"
        if not needed.is_file():
            say(f"{job.kind}: features{' of the corrupt tables' if job.corrupt else ''} ...")
            spend(Job(job.kind, "features", 0, job.corrupt).command(folder, True), PYTHONPATH=_path())
    shutil.rmtree(job.place, ignore_errors=True)
    job.place.mkdir(parents=True)
    say(f"{job.kind}: {WHO[job.who].title}, seed {job.seed}{', corrupt' if job.corrupt else ''} ...")
    try:
        spent = spend(job.command(folder, missing), PYTHONPATH=_path())
    except RuntimeError as error:
        (job.place / "failed.txt").write_text(str(error), encoding="utf-8")
        say(f"  it failed: {str(error)[-300:]}")
    else:
        say(f"  {spent.cpu:.0f} CPU s, {spent.wall:.0f} s, {spent.peak:.0f} MB")


def _path() -> str:
    """Where this Python's polysense lies, for the scripts that use it."""
    import polysense

    return str(Path(polysense.__file__).parents[1])


# --- the door ------------------------------------------------------------------------------------


def run(data: Path | None = None) -> list[Line]:
    """What `python bench compare` does; ``data`` may hold the stamps already."""
    there = data is not None and (data / "media" / "SOURCES.txt").is_file() and tables(data).source == "stamps"
    return compare(list(KINDS), list(WHO), SEEDS, data={"stamps": data} if there else {})


def compare(
    kinds: Sequence[str], names: Sequence[str], seeds: Sequence[int], *, data: Mapping[str, Path] | None = None,
    fresh: bool = False, table_only: bool = False, missing: Sequence[int] | None = None,
) -> list[Line]:
    """Run what is missing, write the pages, and return the lines to print."""
    there = [who for who in names if not WHO[who].own or python(who).exists()]
    for who in names:
        if who not in there:
            say(f"{WHO[who].title} is left out: bench/rivals/{who}.sh has not built {python(who).parents[1]}")
    if not table_only:
        for job in jobs(kinds, there, seeds):
            if job.done and not fresh:
                continue
            work(job, prepare(job.kind, (data or {}).get(job.kind)), missing is None or job.seed in missing)
    from compare_table import write_pages

    return write_pages(machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--who", nargs="+", default=list(WHO), choices=list(WHO))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--missing", nargs="*", type=int, help="seeds that also answer with each view missing; all if left out")
    parser.add_argument("--data", nargs="+", default=[], metavar="SET=FOLDER", help="tables that are there already")
    parser.add_argument("--fresh", action="store_true", help="run again what is there")
    parser.add_argument("--table", action="store_true", help="run nothing, write the pages")
    given = parser.parse_args()
    data = {name: Path(path) for name, path in (pair.split("=", 1) for pair in given.data)}
    for line in compare(
        given.sets, given.who, given.seeds, data=data, fresh=given.fresh, table_only=given.table, missing=given.missing,
    ):
        print(f"{line.what}: {line.figure}")
    print(json.dumps(machine()))


if __name__ == "__main__":
    main()

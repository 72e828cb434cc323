"""Towers tuned beside towers frozen: gain on the test table, cost of the fit and of an answer.

    python bench/tune.py [--data DIR] [--seeds 0] [--sets english picture all] [--ways frozen tuned factors]
                         [--set KEY=VALUE]...

Each set of views is fitted three times from the same tables and seeds: towers frozen, tuned whole, and
tuned through low-rank factors. Differences are over the frozen model on the same records, paired, with
95 % intervals by a bootstrap over groups. The settings are the defaults: they were chosen on grouped
splits of the training and validation tables; the test table is looked at here alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, Line, machine, say, show, tables, write

import polysense
from polysense.data.records import as_records, read_table
from polysense.metrics import Draws, Resamples, judge

#: Columns of each set of views; None for all.
SETS = {"english": ["english"], "picture": ["picture"], "all": None}
#: Way -> settings beyond the defaults.
WAYS: dict[str, dict[str, Any]] = {"frozen": {}, "tuned": {"tune": "all"}, "factors": {"tune": "all", "lora": 8}}
MEASURES = ("accuracy", "log_loss")
ASIDE = ("label", "group")


def run(
    data: Path = DATA, seeds: Sequence[int] = (0,), sets: Sequence[str] = tuple(SETS), ways: Sequence[str] = tuple(WAYS),
    settings: Mapping[str, Any] = {},
) -> list[Line]:
    """Fit every set in every way, print and write the figures; a line for each."""
    files = tables(data)
    parts = [as_records(list(read_table(path)), folder=data) for path in files[:3]]
    found: dict[str, Any] = {}
    lines: list[Line] = []
    for name in sets:
        found[name] = _compare(parts, SETS[name], seeds, ways, settings)
        lines += _lines(name, found[name])
        write("tune", {"source": files.source, "seeds": list(seeds), "settings": dict(settings), "sets": found})
    return lines


def _compare(
    parts: Sequence[Any], columns: Sequence[str] | None, seeds: Sequence[int], ways: Sequence[str],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """{way: scores, difference from frozen, cost} of one set of views."""
    train, valid, test = parts
    ignored = {name: "ignore" for name in train.names if columns and name not in (*columns, *ASIDE)}
    draws = Resamples(len(test), groups=test.column("group"), samples=4000, seed=0)
    judged: dict[str, list[Draws]] = {way: [] for way in ways}
    about: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for seed in seeds:
        for way, more in ((way, WAYS[way]) for way in ways):
            options = {**settings, **({"tune.lora": more["lora"]} if "lora" in more else {})}
            model = polysense.Model("label", group="group", columns=ignored, options=options, seed=seed, tune=more.get("tune"))
            started = time.process_time()
            model.fit(train, valid=valid)
            spent = time.process_time() - started
            model.set_params(cache=False)
            started = time.process_time()
            answers = model.predict_proba(test)
            answering = 1000 * (time.process_time() - started) / len(test)
            judged[way].append(judge(answers, _classes(model, test), draws, measures=MEASURES))
            tuned = model.made_.get("tuned") or {}
            about[way].append({
                "cpu_seconds": spent, "ms_a_record": answering, "share": model.regressions_.weight,
                "kept": tuned.get("kept"), "epoch": tuned.get("epoch"), "frozen": tuned.get("frozen"),
                "epochs": tuned.get("epochs"), "valid": {m: model.valid_["scores"][m]["value"] for m in MEASURES},
            })
            say(f"{columns or 'all views'}, seed {seed}, {way}: fitted in {spent:.1f} CPU s, kept {tuned.get('kept')}")
    frozen = judged["frozen"]
    return {
        way: {
            "scores": Draws.mean(mine).scores(), "fits": about[way],
            "over_frozen": Draws.mean([one - other for one, other in zip(mine, frozen, strict=True)]).scores(),
        }
        for way, mine in judged.items()
    }


def _classes(model: Any, records: Any) -> np.ndarray:
    return model.task_.encode(records.column("label"))["label"]


def _lines(name: str, ways: Mapping[str, Any]) -> list[Line]:
    lines = []
    for way, one in ways.items():
        accuracy, loss = (one["scores"][measure]["value"] for measure in MEASURES)
        cost, answer = (np.mean([fit[key] for fit in one["fits"]]) for key in ("cpu_seconds", "ms_a_record"))
        figure = f"accuracy {100 * accuracy:.1f} %, log loss {loss:.3f}, fit {cost:.0f} CPU s, {answer:.0f} CPU ms a record"
        gain = ""
        if way != "frozen":
            points, apart = one["over_frozen"]["accuracy"], one["over_frozen"]["log_loss"]
            gain = (
                f"over frozen: {100 * points['value']:+.1f} points [{100 * points['low']:+.1f}, {100 * points['high']:+.1f}], "
                f"log loss {apart['value']:+.3f} [{apart['low']:+.3f}, {apart['high']:+.3f}]"
            )
            kept = [fit["kept"] for fit in one["fits"]]
            gain += f"; {kept.count('tuned')} of {len(kept)} fits keep the tuned towers"
        lines.append(Line(f"{name}: {way}", figure, gain))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the demo's tables")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="frozen must be among them")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    settings = {key: float(value) if "." in value or "e" in value else int(value) for key, value in
                (pair.split("=", 1) for pair in given.settings)}
    show("Tuned towers", run(given.data, given.seeds, given.sets, given.ways, settings))
    say(str(machine()))


if __name__ == "__main__":
    main()

"""What one answer costs beside the towers it needs; and what a start costs.

    python bench/latency.py [--data DIR] [--records 50]

A warm record: the model is loaded and its towers are open, the record's picture and text are new, the
disk cache is off. Beside each answer the same towers run alone on the very tensors that they were given,
in turn with it, so that a busy machine slows both. Likewise for 512 records that are answered at once.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from common import DATA, Line, Tables, machine, say, show, spend, tables, write

#: CPU of an answer over CPU of its towers; CPU seconds of the import; seconds on the clock of --help.
RATIO, IMPORT, HELP = 1.5, 0.3, 0.5
#: Records that are answered at once, their CPU over that of the towers, and how often it is measured.
MANY, MANY_RATIO, MANY_RUNS = 512, 1.3, 3
#: For scale: one record with picture, English text and table, on the clock.
SCALE = "AutoGluon 51 ms, Ludwig 124 ms on the clock"


def run(data: Path = DATA, count: int = 50) -> list[Line]:
    """Measure, print; returns the lines with a bar."""
    files = tables(data)
    lines, found = [], {}
    for name, towers_only in (("towers and table", True), ("all views", False)):
        one = _answers(files, towers_only, count)
        found[name] = one
        words = f"one record, {one['views']} views ({name}): {one['answer_ms']:.1f} ms CPU, towers {one['towers_ms']:.1f}"
        lines.append(Line.at_most(words, one["ratio"], RATIO, "{:.2f} times"))
        lines.append(Line("  on the clock", f"{one['wall_ms']:.1f} ms", SCALE if towers_only else ""))
        many = one["many"]
        words = f"{many['records']} records ({name}): {many['answer_s']:.1f} s CPU, towers {many['towers_s']:.1f}"
        lines.append(Line.at_most(words, many["ratio"], MANY_RATIO, "{:.2f} times"))
    starts = _starts()
    lines += [
        Line.at_most("import polysense", starts["import_cpu_s"], IMPORT, "{:.2f} CPU s"),
        Line.at_most("polysense --help, on the clock", starts["help_wall_s"], HELP, "{:.2f} s"),
    ]
    write("latency", {"source": files.source, **found, "starts": starts})
    return lines


def _answers(files: Tables, towers_only: bool, count: int) -> dict[str, Any]:
    """Medians over ``count`` records that have every view of the model."""
    import torch

    import polysense
    from polysense.data.records import read_table

    torch.set_num_threads(1)
    model = _model(files, towers_only)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        model = polysense.load(Path(folder) / "model")
    model.cache = False
    whole = [
        table.take([i]) for table in map(read_table, (files.test, files.valid, files.train))
        for i in range(len(table)) if all(table.cell(column, i) is not None for column in _columns(model))
    ]
    few = whole[: count + 5]
    for record in few[:5]:
        model.predict_proba(record)
    rows = []
    for record in few[5:]:
        with _overheard(model) as calls:  # this answer is not timed
            model.predict_proba(record)
        # first one, then the other: neither always finds the processor's caches warm
        acts = {"answer": lambda record=record: model.predict_proba(record),
                "towers": lambda calls=calls: [call() for call in calls]}
        rows.append({name: _clock(acts[name]) for name in (list(acts) if len(rows) % 2 else reversed(acts))})
    cpu = {name: [1000 * row[name][0] for row in rows] for name in ("answer", "towers")}
    ratios = [answer / towers for answer, towers in zip(cpu["answer"], cpu["towers"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "views": len(model.network_.views), "records": len(rows), "answer_ms": statistics.median(cpu["answer"]),
        "towers_ms": statistics.median(cpu["towers"]), "ratio": statistics.median(ratios),
        "quarter": quartiles[0], "three_quarters": quartiles[2],
        "wall_ms": statistics.median(1000 * row["answer"][1] for row in rows), "many": _many(model, read_table(files.train)),
    }


def _many(model: Any, records: Any) -> dict[str, Any]:
    """CPU seconds of many records answered at once, and of their towers in turn with it."""
    records = records.take(range(min(MANY, len(records))))
    with _overheard(model) as calls:
        model.predict_proba(records)
    acts = {"answer": lambda: model.predict_proba(records), "towers": lambda: [call() for call in calls]}
    rows = [
        {name: _clock(acts[name])[0] for name in (list(acts) if run % 2 else reversed(acts))} for run in range(MANY_RUNS)
    ]
    return {
        "records": len(records), "runs": MANY_RUNS, "ratio": statistics.median(row["answer"] / row["towers"] for row in rows),
        **{f"{name}_s": statistics.median(row[name] for row in rows) for name in acts},
    }


def _model(files: Tables, towers_only: bool) -> Any:
    """A model of all views, or of those with a tower and the table; one epoch, for an answer costs the same."""
    import polysense

    def fitted(ignored: Sequence[str]) -> Any:
        kinds = dict.fromkeys(ignored, "ignore")
        model = polysense.Model("label", group="group", columns=kinds, options={"train.epochs": 1})
        return model.fit(files.train, valid=files.valid)

    model = fitted([])
    if not towers_only:
        return model
    encoders = model.network_.encoders.encoders
    return fitted([view for view in model.network_.views if not encoders[view].tower and view != "table"])


def _columns(model: Any) -> list[str]:
    """One column of every view: where it is there, so is the view."""
    return [view.columns[0] for view in model.schema_.views]


@contextmanager
def _overheard(model: Any) -> Iterator[list[Callable[[], Any]]]:
    """The calls of the towers' networks meanwhile, to be made again on the same tensors."""
    import torch

    calls: list[Callable[[], Any]] = []

    def listen(inner: Callable) -> Callable:
        def listening(*args: Any, **kwargs: Any) -> Any:
            def again() -> Any:
                with torch.inference_mode():
                    return inner(*args, **kwargs)

            calls.append(again)
            return inner(*args, **kwargs)

        return listening

    with ExitStack() as stack:
        for encoder in model.network_.encoders.encoders.values():
            if not encoder.tower:
                continue
            module = encoder.opened(torch.device("cpu")).module
            entry = "extract_features" if hasattr(module, "extract_features") else "forward"
            stack.enter_context(mock.patch.object(module, entry, listen(getattr(module, entry))))
        yield calls


def _clock(act: Callable[[], Any]) -> tuple[float, float]:
    """(CPU seconds, seconds on the clock)."""
    cpu, wall = time.process_time(), time.perf_counter()
    act()
    return time.process_time() - cpu, time.perf_counter() - wall


def _starts(runs: int = 5) -> dict[str, float]:
    """Medians over fresh processes; the interpreter's own start is part of both."""
    program = Path(sys.executable).with_name("polysense")

    def median(command: Sequence[Any], what: str) -> float:
        spend(command)  # the first one reads the files from disk
        return statistics.median(getattr(spend(command), what) for _ in range(runs))

    return {
        "runs": runs,
        "python_cpu_s": median([sys.executable, "-c", "pass"], "cpu"),
        "import_cpu_s": median([sys.executable, "-c", "import polysense"], "cpu"),
        "help_wall_s": median([program, "--help"], "wall"),
        "help_cpu_s": median([program, "--help"], "cpu"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the demo's tables")
    parser.add_argument("--records", type=int, default=50, help="that are answered")
    given = parser.parse_args()
    show("One answer, and a start", run(given.data, given.records))
    say(str(machine()))


if __name__ == "__main__":
    main()

"""What a fit of the demo costs, with its parts: from cold, with a warm cache, and with encoders from scratch.

    python bench/cost.py [--data DIR] [--scratch] [--set KEY=VALUE]...

Cost is user and system CPU seconds and the largest memory of the process `polysense fit`, imports and
interpreter included. The process runs under a stopwatch that is wrapped around polysense from outside.
"""

from __future__ import annotations

import sys
import time

_BEGUN = time.process_time()  # the interpreter's own start

import argparse
import json
import resource
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import DATA, FIT, Line, Spent, Tables, machine, polysense, say, show, spend, tables, write

#: CPU seconds that the demo's fit may cost.
COLD, WARM = 90.0, 25.0
#: For scale: another library's full tuning of picture, English text and table.
SCALE = "AutoGluon 218 s for 641 records, three columns"
#: Encoders of the views, trained from scratch.
FROM_SCRATCH = {"text": "text.bag", "image": "image.cnn", "audio": "audio.cnn"}


def run(data: Path = DATA, settings: Sequence[str] = ()) -> list[Line]:
    """The demo's fit twice, the first time with an empty cache; returns the lines with a bar."""
    files = tables(data)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        runs = {name: _timed(files, Path(folder) / name, cache, settings) for name in ("cold", "warm")}
    lines = []
    for name, bar in (("cold", COLD), ("warm", WARM)):
        spent, parts = runs[name]
        _print_parts(f"Fit of the demo ({files.source}), cache {name}", spent, parts)
        lines.append(Line.at_most(f"fit, cache {name} (peak {spent.peak:,.0f} MB)", spent.cpu, bar, "{:.1f} CPU s"))
    lines.append(Line("for scale, on the machine of the issue", SCALE))
    write("cost", {
        "source": files.source, "settings": list(settings),
        **{name: {**vars(spent), "parts": parts} for name, (spent, parts) in runs.items()},
    })
    return lines


def scratch(data: Path = DATA, settings: Sequence[str] = ()) -> list[Line]:
    """The demo with every encoder trained from scratch: cost and accuracy on the test table."""
    files = tables(data)
    chosen = _from_scratch(files.train)
    options = [part for view, encoder in chosen.items() for part in ("--encoder", f"{view}={encoder}")]
    with tempfile.TemporaryDirectory() as folder:
        out, found = Path(folder) / "scratch", Path(folder) / "found.json"
        spent, parts = _timed(files, out, Path(folder) / "cache", settings, options)
        spend(polysense("evaluate", out, files.test, "--json", found))
        scores = json.loads(found.read_text())["scores"]
    _print_parts(f"Fit of the demo ({files.source}), all encoders from scratch", spent, parts)
    write("scratch", {"source": files.source, "encoders": chosen, **vars(spent), "parts": parts, "scores": scores})
    accuracy = scores["accuracy"]
    return [
        Line(f"{', '.join(sorted(set(chosen.values())))}: fit", f"{spent.cpu:.1f} CPU s, {spent.peak:,.0f} MB"),
        Line("  test accuracy", f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]"),
        Line("  test macro F1", f"{scores['macro_f1']['value']:.3f}"),
    ]


def _from_scratch(table: Path) -> dict[str, str]:
    """{view: encoder}."""
    from polysense.data.records import read_table
    from polysense.data.schema import guess

    views = guess(read_table(table), exclude=("label", "group")).views
    return {view.name: FROM_SCRATCH[view.modality] for view in views if view.modality in FROM_SCRATCH}


def _timed(
    files: Tables, out: Path, cache: Path, settings: Sequence[str], options: Sequence[str] = ()
) -> tuple[Spent, dict[str, float]]:
    """One `polysense fit` under the stopwatch, as a process of its own."""
    parts = out.with_suffix(".parts")
    options = [*options, *(part for setting in settings for part in ("--set", setting))]
    arguments = ["fit", files.train, *FIT, "--valid", files.valid, "--out", out, *options]
    spent = spend([sys.executable, __file__, "--stopwatch", parts, *arguments], POLYSENSE_CACHE=cache)
    return spent, json.loads(parts.read_text())


def _print_parts(title: str, spent: Spent, parts: dict[str, float]) -> None:
    print(f"\n{title}: {spent.cpu:.1f} CPU s, {spent.wall:.1f} s on the clock, at most {spent.peak:,.0f} MB of memory")
    rest = spent.cpu - sum(parts.values())
    for name, seconds in [*parts.items(), ("starting and ending the process", rest)]:
        if seconds >= 0.005:
            print(f"  {seconds:6.2f}  {name}")


# --- the stopwatch: inside the process that is timed ----------------------------------------------


class Stopwatch:
    """CPU seconds by part. A part that begins inside another stops the other's clock.

    Attributes:
        raised: MB by which each part raised the largest memory of the process.
    """

    def __init__(self, begun: float) -> None:
        self.seconds: Counter[str] = Counter()
        self.raised: Counter[str] = Counter()
        self._stack, self._since, self._peak = ["rest"], begun, 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._turn()
        self._stack.append(name)
        try:
            yield
        finally:
            self._turn()
            self._stack.pop()

    def _turn(self) -> None:
        now = time.process_time()
        self.seconds[self._stack[-1]] += now - self._since
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.raised[self._stack[-1]] += peak - self._peak
        self._since, self._peak = now, peak

    def watch(self, owner: Any, attribute: str, name: str | Callable[..., str]) -> None:
        """Replace a function by one that is timed; ``name`` may be made from its arguments."""
        inner = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name if isinstance(name, str) else name(*args, **kwargs)):
                return inner(*args, **kwargs)

        bound = isinstance(owner, type) and getattr(inner, "__self__", None) is owner
        setattr(owner, attribute, staticmethod(timed) if bound else timed)

    def result(self) -> dict[str, float]:
        """Largest part first, the rest last."""
        self._turn()
        rest = self.seconds.pop("rest", 0.0)
        return {**dict(self.seconds.most_common()), "rest": rest}


def _under_stopwatch(parts: Path, arguments: list[str]) -> None:
    """`polysense` with these arguments; the seconds of its parts go to a file."""
    import importlib

    watch = Stopwatch(_BEGUN)
    # every module that is really loaded passes here, whoever asks for it and however late
    watch.watch(importlib._bootstrap, "_find_and_load", "imports")
    from polysense import cli, model
    from polysense.data import reading
    from polysense.learn import begin, blend, gather
    from polysense.learn.rivals import Rivals

    watch.watch(begin, "open_table", "reading the tables")
    watch.watch(model, "open_table", "reading the tables")
    watch.watch(begin, "guess", "reading the tables")
    watch.watch(model, "read_cells", "reading the tables")
    for cells in (reading.MediaCells, reading.TextCells):
        watch.watch(cells, "values", lambda cells, *args, **kwargs: f"{cells.name}: reading and decoding")
        watch.watch(cells, "hashes", lambda cells, *args, **kwargs: f"{cells.name}: reading and hashing")
    watch.watch(model, "choose_encoders", "fitting encoders")
    watch.watch(model, "fit_plain", "fitting plain features")
    watch.watch(gather, "frozen", lambda part, cells, *args, **kwargs: f"{cells.name}: frozen features")
    watch.watch(gather.Prepared, "of", lambda part, cells, *args, **kwargs: f"{cells.name}: preparing")
    watch.watch(Rivals, "train", "rivals")
    watch.watch(model, "fit_conditions", "conditioning")
    watch.watch(gather.Gathered, "views", "conditioning")
    watch.watch(model, "train", "training")
    watch.watch(blend, "choose", "choosing the regressions' share")
    watch.watch(model, "evaluate", "judging the validation records")
    watch.watch(model.Model, "save", "saving")
    sys.argv = ["polysense", *arguments]
    try:
        cli.main()
    finally:
        parts.write_text(json.dumps(watch.result()))
        parts.with_suffix(".raised").write_text(json.dumps(dict(watch.raised.most_common())))


def main() -> None:
    if sys.argv[1:2] == ["--stopwatch"]:
        _under_stopwatch(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the demo's tables")
    parser.add_argument("--scratch", action="store_true", help="encoders from scratch, in place of the demo's")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="passed to fit")
    given = parser.parse_args()
    show("Cost", (scratch if given.scratch else run)(given.data, given.settings))
    say(str(machine()))


if __name__ == "__main__":
    main()

"""The large form of a caption beside the small one: the same records, the same texts, one table.

    python bench/captions_large.py [--sets emoji reports] [--records 320 80 120] [--model gemma3-270m] [--epochs 6]
                                   [--set KEY=VALUE ...] [--write] [--speed]

emoji: a picture -> its English name. reports: the picture of a digit and three numbers -> a report made by rule, see
examples/report_writing.py. Of each set so many training, validation and test records are taken by chance, whole groups on one
side as the demo parts them; every way reads the same ones through the same frozen encoders. The ways: the small transformer,
the projector alone, and the projector and then low-rank factors (one fit: the second training begins where the first ended).
Beside them stand the text of the nearest training record and the most frequent one. Differences are paired, with 95 % intervals
by a bootstrap over groups. Test records chose nothing. --speed: how fast it writes, without any fit.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import yaml
from common import OUT, between, machine, say

import polysense
from polysense import demo
from polysense.data.records import as_records, read_table
from polysense.metrics import Draws, Resamples
from polysense.metrics.texts import CAPTION, Texts
from polysense.task.caption_large import Writer
from polysense.task.caption_say import How
from polysense.task.caption_say import say as say_words
from polysense.tokens import Tokens

#: Every way writes by itself, without a share for the nearest records' texts.
ALONE = {"train.regressions": 0}
LANGUAGE = {
    "task.decoder": "language", "task.longest": 16, "task.precision": "bfloat16", "fusion.positions": False, "task.lora": 8,
    "tune.batch": 16,
}
#: Set -> target, group column, columns besides, encoders, prompt, records, options of the small way (as its page chose them)
#: and of the large ones.
SETS: dict[str, dict[str, Any]] = {
    "emoji": {
        "target": "english", "group": "group", "columns": ("picture",), "encoders": {}, "prompt": "A picture of",
        "records": (320, 80, 120), "small": {"task.longest": 16, "train.epochs": 10, "train.batch": 16},
        "large": {"task.each": 4, "tune.epochs": 3},
    },
    "reports": {
        "target": "report", "group": None, "columns": ("picture", "ink", "width", "lean"),
        "encoders": {"picture": "image.plain"}, "prompt": "The report:",
        "records": (144, 40, 80),
        "small": {"task.width": 64, "task.depth": 1, "train.epochs": 16, "train.batch": 32, "task.longest": 16},
        "large": {"task.each": 2, "tune.epochs": 2, "tune.rate": 3e-4},
    },
}
WAYS = ("small transformer", "projector", "projector, then LoRA", "nearest record", "most frequent text")
SHOWN = ("cider", "bleu4", "rouge_l", "exact")
HEADS = (
    "| set | captions by | CIDEr | BLEU-4 | ROUGE-L | word for word | CIDEr minus small | BLEU-4 minus small | fit, CPU s |\n"
    + "| --- " * 9 + "|"
)
PAGES = [Path(__file__).parent.parent / "docs" / page for page in ("apps/large_captions.md", "zh/apps/large_captions.md")]


def parts(name: str, counts: Sequence[int], folder: Path) -> list[Any]:
    """Training, validation and test records."""
    if name == "reports":
        sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
        from report_writing import records

        rows = [{key: None if value == "" else value for key, value in row.items()} for row in records(folder)]
        for row in rows:
            row["picture"] = row["picture"] and str(folder / row["picture"])
        random.Random(1).shuffle(rows)
        ends = np.cumsum([0, *counts])
        return [as_records(rows[start:end]) for start, end in zip(ends[:-1], ends[1:], strict=True)]
    tables = demo.prepare(folder, kind=name, progress=say).paths
    return [_some(path, count) for path, count in zip(tables, counts, strict=True)]


def _some(path: Path, count: int) -> Any:
    """That many records of a table by chance, in its order; all where it has fewer."""
    records = as_records(read_table(path))
    if len(records) <= count:
        return records
    return records.take(np.sort(np.random.default_rng(0).choice(len(records), count, replace=False)))


def fitted(name: str, options: Mapping[str, Any], train: Any, valid: Any) -> tuple[polysense.Model, dict[str, Any]]:
    """A model, and the weights that it had before a second training, if there was one."""
    about, before = SETS[name], {}
    keep = {about["target"], about["group"], *about["columns"]}
    made = polysense.Model(
        about["target"], task="caption", group=about["group"], options=options, encoders=about["encoders"], verbose=True,
        columns={column: "ignore" for column in train.names if column not in keep},
    )
    second = polysense.model.deepen

    def watched(first: Any, *args: Any, **more: Any) -> Any:
        before.update({key: value.clone() for key, value in first.state_dict().items()})
        return second(first, *args, **more)

    with mock.patch("polysense.model.deepen", watched):
        return made.fit(train, valid=valid), before


def without_second(made: polysense.Model, before: Mapping[str, Any]) -> None:
    """The model as it was before its second training: factors of zero change nothing."""
    now = made.network_.state_dict()
    made.network_.load_state_dict({key: before.get(key, value * 0) for key, value in now.items()})


def run(name: str, given: argparse.Namespace, folder: Path) -> list[str]:
    """Fit and judge every way on one set; lines of the table."""
    train, valid, test = parts(name, given.records or SETS[name]["records"], folder)
    target, group = SETS[name]["target"], SETS[name]["group"]
    targets = [(text,) for text in test.column(target)]
    draws = Resamples(len(test), groups=test.column(group) if group else None, samples=2000)
    yardstick, judged, fit, told = Texts(CAPTION), {}, {}, {"meant": [one[0] for one in targets]}

    def note(way: str, ask: Callable[[], list[str]], seconds: float | None) -> None:
        started = time.process_time()
        said = ask()
        answered = (time.process_time() - started) / len(test)
        judged[way], fit[way] = yardstick.judge(said, targets, draws), seconds
        told[way] = {"fit": seconds, "answer": answered, "scores": judged[way].scores(), "said": said}
        say(f"{name}: {way}: CIDEr {judged[way].scores()['cider']['value']:.3f}, {1000 * answered:.0f} CPU ms a record")
        _keep(name, told)

    started = time.process_time()
    made, _ = fitted(name, {**ALONE, **SETS[name]["small"]}, train, valid)
    note("small transformer", lambda: made.predict(test).tolist(), time.process_time() - started)
    found, _ = made._numbers(made._cells(test), rivals=True)
    rivals = made.rivals_
    note("nearest record", lambda: list(rivals.answer(rivals.views, found.plain, found.present_NV)), None)
    note("most frequent text", lambda: [made.task_.frequent] * len(test), None)
    started = time.process_time()
    large, before = fitted(name, {
        **ALONE, **LANGUAGE, **SETS[name]["large"], "train.epochs": given.epochs, "task.model": given.model,
        "task.prompt": SETS[name]["prompt"], **dict(given.set),
    }, train, valid)
    spent, second = time.process_time() - started, large.made_["deepened"]
    told |= {"epochs": large.history_, "second": second}
    note("projector, then LoRA", lambda: large.predict(test).tolist(), spent)
    if second["kept"] == "second":
        without_second(large, before)
        note("projector", lambda: large.predict(test).tolist(), spent - second["cpu_seconds"])
    else:
        judged["projector"], fit["projector"] = judged["projector, then LoRA"], spent - second["cpu_seconds"]
    losses = " ".join(f"{epoch['valid_loss']:.3f}" for epoch in second["epochs"])
    say(f"{name}: low-rank factors: {second['kept']} kept, validation loss {second['first']:.3f} -> {losses}")
    told["lines"] = [_line(name, way, judged[way], judged["small transformer"], fit[way]) for way in WAYS]
    _keep(name, told)
    return told["lines"]


def _keep(name: str, told: Mapping[str, Any]) -> None:
    OUT.mkdir(exist_ok=True)
    (OUT / f"captions_large_{name}.json").write_text(json.dumps(told, indent=1, default=str), encoding="utf-8")


def _line(name: str, way: str, mine: Draws, small: Draws, seconds: float | None) -> str:
    def cell(scores: dict[str, Any], which: str, sign: str = "") -> str:
        one = scores[which]
        return f"{one['value']:{sign}.2f} [{one['low']:{sign}.2f}, {one['high']:{sign}.2f}]"

    apart = ["", ""] if mine is small else [cell((mine - small).scores(), which, "+") for which in SHOWN[:2]]
    cost = "" if seconds is None else f"{seconds:.0f}"
    return "| " + " | ".join([name, way, *(cell(mine.scores(), which) for which in SHOWN), *apart, cost]) + " |"


def speed(model: str, pieces: int = 8, runs: int = 3) -> list[str]:
    """Lines of the table of writing: words a CPU second, alone and sixteen together, and the pass before the first word."""
    given = {"bridge": "projector", "queries": 1, "depth": 1, "heads": 1, "precision": "float32"}
    writer = Writer(model, prompt="Once upon a time there was", **given)
    writer.language.open()
    head = writer.head(192).eval()
    lines = ["| decoding | records together | words a CPU second | CPU ms before the first word |", "| --- | --- | --- | --- |"]
    for decoding in ("greedy", "beam"):
        for count in (1, 16):
            how = How(decoding=decoding, longest=pieces, shortest=pieces, no_repeat=3)
            seen = Tokens(torch.zeros(count, 1, 192), torch.zeros(count, 1, dtype=torch.bool))
            rates, first = [], []
            with torch.inference_mode():
                for _ in range(runs if count == 1 else 2):
                    started = time.process_time()
                    said = [writer.tongue.decode(row) for row in say_words(head, seen, how).tolist()]
                    rates.append(sum(len(text.split()) for text in said) / (time.process_time() - started))
                    started = time.process_time()
                    head.begin(seen)
                    first.append(1000 * (time.process_time() - started))
            lines.append(f"| {decoding} | {count} | {_middle(rates)} | {_middle(first, 0)} |")
            say(lines[-1] + " " + said[0])
    return lines


def _middle(values: Sequence[float], places: int = 1) -> str:
    return f"{np.median(values):.{places}f} ({min(values):.{places}f} to {max(values):.{places}f})"


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    return key, yaml.safe_load(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--records", nargs=3, type=int, metavar=("TRAIN", "VALID", "TEST"))
    parser.add_argument("--model", default="gemma3-270m", help="name, folder or hub id of a causal language model")
    parser.add_argument("--epochs", type=int, default=6, help="of the projector")
    parser.add_argument("--set", nargs="+", default=[], type=_setting, metavar="KEY=VALUE", help="of the large ways")
    parser.add_argument("--data", type=Path, help="folder for the tables; a temporary one by default")
    parser.add_argument("--write", action="store_true", help="put the table into the pages")
    parser.add_argument("--speed", action="store_true", help="measure how fast it writes, nothing else")
    given = parser.parse_args()
    if given.speed:
        lines, mark = speed(given.model), "captions_large.py --speed"
    else:
        lines, mark = judge(given), "captions_large.py"
    print("\n".join(lines))
    say(str(machine()))
    if given.write:
        for page in PAGES:
            between(page, mark, lines)


def judge(given: argparse.Namespace) -> list[str]:
    """The table of the ways on all sets; lines of a set that was run before stay."""
    with tempfile.TemporaryDirectory() as aside:
        for name in given.sets:
            say("\n".join(run(name, given, (given.data or Path(aside)) / name)))
    kept = [OUT / f"captions_large_{name}.json" for name in SETS]
    return [HEADS, *(line for path in kept if path.is_file() for line in json.loads(path.read_text()).get("lines", []))]


if __name__ == "__main__":
    main()

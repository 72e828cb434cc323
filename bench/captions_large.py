"""The large form of a caption beside the small one: the same pictures, the same texts, one table.

    python bench/captions_large.py [--sets emoji stamps] [--ways small projector resampler lora] [--records 240 60 120]
                                   [--model gemma3-270m] [--epochs 5]

From the picture alone the English text is written: names of emoji, descriptions of stamps. Of each set so many training,
validation and test records are taken by chance, whole groups in one of them as the demo parts them; every way reads the same
ones through the same frozen tower. Beside the ways stand the text of the nearest training record and the most frequent one.
Differences are paired, with 95 % intervals by a bootstrap over groups. The settings of the large ways are those of LLaVA made
smaller, taken before anything was run; test records chose nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import OUT, Line, machine, say, show

import polysense
from polysense import demo
from polysense.data.records import as_records, read_table
from polysense.metrics import Draws, Resamples
from polysense.metrics.texts import CAPTION, Texts

SETS = ("emoji", "stamps")
LANGUAGE = {
    "task.decoder": "language", "task.prompt": "A picture of", "task.longest": 16, "task.precision": "bfloat16",
}
#: Way -> options; epochs of the large ones come from the command line.
WAYS: dict[str, dict[str, Any]] = {
    "small": {"task.longest": 16, "train.epochs": 10, "train.batch": 16},  # as bench/captions.py chose them
    "projector": {**LANGUAGE, "fusion.positions": False},
    "resampler": {**LANGUAGE, "task.bridge": "resampler", "task.queries": 4},
    "lora": {**LANGUAGE, "fusion.positions": False, "task.lora": 8, "tune.epochs": 3, "tune.batch": 16},
}
SHOWN = ("cider", "bleu4", "rouge_l", "exact")


def run(name: str, ways: Sequence[str], counts: Sequence[int], model: str, epochs: int, folder: Path) -> list[Line]:
    """Fit and judge every way on one set; a line for each."""
    tables = demo.prepare(folder, kind=name, progress=say).paths
    parts = [_some(path, count) for path, count in zip(tables, counts, strict=True)]
    test = parts[2]
    targets = [(text,) for text in test.column("english")]
    draws = Resamples(len(test), groups=test.column("group"), samples=2000)
    yardstick, judged, lines, about = Texts(CAPTION), {}, [], {}
    for way in ways:
        options = {**WAYS[way], **({"task.model": model, "train.epochs": epochs} if way != "small" else {})}
        started = time.process_time()
        made = polysense.Model(
            "english", task="caption", group="group", options=options, verbose=True, columns={
                column: "ignore" for column in test.names if column not in ("picture", "english", "group")
            },
        ).fit(parts[0], valid=parts[1])
        fitted, started = time.process_time() - started, time.process_time()
        said = made.predict(test).tolist()
        answered = time.process_time() - started
        judged[way] = yardstick.judge(said, targets, draws)
        about[way] = {
            "fit": fitted, "answer": answered / len(test), "epochs": made.history_, "deepened": made.made_.get("deepened"),
            "valid": made.valid_["scores"], "scores": judged[way].scores(),
            "said": list(zip(said, [one[0] for one in targets], strict=True)),
        }
        OUT.mkdir(exist_ok=True)
        (OUT / f"captions_large_{name}.json").write_text(json.dumps(about, indent=1, default=str), encoding="utf-8")
        if "nearest" not in judged:
            judged |= _baselines(made, test, yardstick, targets, draws)
        more = made.made_.get("deepened") or {}
        cost = f"fit {fitted:.0f} CPU s, {1000 * answered / len(test):.0f} CPU ms a record" + (
            f"; low-rank factors: {more['kept']} kept, validation loss {more['first']:.3f} -> "
            f"{min(epoch['valid_loss'] for epoch in more['epochs']):.3f}" if more else "")
        lines.append(_line(f"{name}: {way}", judged[way], judged.get("small"), cost))
        say(lines[-1].figure + " " + lines[-1].bar)
    for way in ("nearest", "most frequent"):
        lines.append(_line(f"{name}: {way}", judged[way], judged.get("small"), ""))
    return lines


def _some(path: Path, count: int) -> Any:
    """That many records of a table by chance, in its order; all where it has fewer."""
    records = as_records(read_table(path))
    if len(records) <= count:
        return records
    return records.take(np.sort(np.random.default_rng(0).choice(len(records), count, replace=False)))


def _baselines(made: Any, test: Any, yardstick: Texts, targets: Any, draws: Resamples) -> dict[str, Draws]:
    """What the nearest training record's text and the most frequent text are worth."""
    cells = made._cells(test)
    found, _ = made._numbers(cells, rivals=True)
    rivals = made.rivals_
    near = rivals.answer(rivals.views, found.plain, found.present_NV)
    return {
        "nearest": yardstick.judge(near, targets, draws),
        "most frequent": yardstick.judge([made.task_.frequent] * len(test), targets, draws),
    }


def _line(what: str, mine: Draws, small: Draws | None, cost: str) -> Line:
    def said(scores: dict[str, Any], name: str, sign: str = "") -> str:
        one, scale = scores[name], 100 if name in ("rouge_l", "exact") else 1
        return f"{scale * one['value']:{sign}.2f} [{scale * one['low']:{sign}.2f}, {scale * one['high']:{sign}.2f}]"

    figure = ", ".join(f"{name} {said(mine.scores(), name)}" for name in SHOWN)
    over = "" if small is None or mine is small else "over small: " + ", ".join(
        f"{name} {said((mine - small).scores(), name, '+')}" for name in SHOWN[:2]
    )
    return Line(what, figure, "; ".join(part for part in (over, cost) if part))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--records", nargs=3, type=int, default=[240, 60, 120], metavar=("TRAIN", "VALID", "TEST"))
    parser.add_argument("--model", default="gemma3-270m", help="name, folder or hub id of a causal language model")
    parser.add_argument("--epochs", type=int, default=5, help="of the large ways")
    parser.add_argument("--data", type=Path, help="folder for the tables; a temporary one by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        for name in given.sets:
            place = (given.data or Path(aside)) / name
            show(f"Captions of {name}", run(name, given.ways, given.records, given.model, given.epochs, place))
    say(str(machine()))


if __name__ == "__main__":
    main()

"""Captions: the network, the mixture, the nearest record's text and the most frequent one, on three sets.

    python bench/captions.py [--sets emoji,stamps,reports] [--decoders attend,...] [--seeds 3] [--write]

A picture -> its English name (emoji) or text (stamps); groups of variants lie on one side of the split, so no test picture has
a twin in training. Reports are those of examples/report_writing.py: a picture and three numbers -> a text that follows by rule,
either lacking in one record of five. Each decoder is fitted with every seed. Of each fit *network* is what the decoder says by
itself, *mixture* what the model answers: the share of the nearest records' texts is chosen on validation records. Figures are
means over the seeds, their 95 % intervals from 1,000 bootstrap resamples of groups, the same for all, so differences are
paired. Test records are read once, after everything is settled.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import between, machine, say

from polysense import Model
from polysense.data.records import read_table
from polysense.data.tables import groups_of
from polysense.demo import prepare
from polysense.learn.consensus import Speaker
from polysense.metrics import Draws, Resamples
from polysense.metrics.texts import CAPTION, Texts

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

DECODERS = ("show-tell", "attend", "transformer")
#: Chosen on validation records with seed 0 (docs/captions.md says among what); of the epochs the best five are averaged.
SETTINGS = {"train.epochs": 10, "train.batch": 16}
PAGES = [Path(__file__).parent.parent / "docs" / page for page in ("captions.md", "zh/captions.md")]
SHOWN = ("cider", "bleu4", "rouge_l", "exact")
HEADS = (
    "| set | captions by | CIDEr | BLEU-4 | ROUGE-L | word for word | CIDEr minus nearest | CIDEr minus network | share |"
    " taken | CPU s |\n" + "| --- " * 11 + "|"
)


@dataclass
class Set:
    """A table on three sides, and how it is learned from."""

    name: str
    train: Path
    valid: Path
    test: Path
    target: str
    columns: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    encoders: Mapping[str, str] = field(default_factory=dict)


def pictures(kind: str, place: Path) -> Set:
    """Emoji or stamps: the picture alone, and its English text."""
    prepared = prepare(place, kind=kind, progress=say)
    train, valid, test = prepared.paths
    columns = {name: "ignore" for name in read_table(train).names if name not in ("picture", "english", "group")}
    return Set(prepared.source, train, valid, test, "english", columns, "group", SETTINGS)


def reports(place: Path) -> Set:
    """Digits and measured numbers, with the settings of the example; a fifth of what is learned from validates."""
    from report_writing import records
    from sources import table

    rows = records(place)
    cut = 2 * len(rows) // 3
    parts = {"train": rows[: cut * 4 // 5], "valid": rows[cut * 4 // 5 : cut], "test": rows[cut:]}
    paths = {name: table(place / f"{name}.csv", part) for name, part in parts.items()}
    options = {"task.width": 64, "task.depth": 1, "train.epochs": 16, "train.batch": 32}
    return Set("reports", *paths.values(), "report", options=options, encoders={"picture": "image.plain"})


def judged(said: Sequence[np.ndarray], meant: np.ndarray, draws: Resamples) -> Draws:
    """The mean over seeds of the measures, with shared resamples."""
    ruler = Texts(CAPTION)
    return Draws.mean([ruler.judge(one, meant, draws) for one in said])


def cell(draws: Draws, name: str, places: int = 2) -> str:
    """A figure with its interval."""
    one = draws.scores()[name]
    return f"{one['value']:.{places}f} [{one['low']:.{places}f}, {one['high']:.{places}f}]"


def fitted(some: Set, decoder: str, seed: int) -> tuple[Model, float]:
    """A model, and the CPU seconds that it took, a tower's outputs lying in the cache."""
    model = Model(
        some.target, task="caption", columns=some.columns, group=some.group, seed=seed, encoders=some.encoders,
        options={**some.options, "task.decoder": decoder},
    )
    started = time.process_time()
    model.fit(some.train, valid=some.valid)
    return model, time.process_time() - started


def run(some: Set, decoders: Sequence[str], seeds: int) -> tuple[list[str], list[str]]:
    """Lines of the table for one set, and of the table of speeds."""
    test, ruler = read_table(some.test), Texts(CAPTION)
    groups = groups_of(test, some.group) if some.group else None
    meant = ruler.targets(test.column(some.target))
    draws = Resamples(len(meant), groups=None if groups is None else [str(group) for group in groups], samples=1000)
    nearest, lines, speeds = None, [], []
    for decoder in decoders:
        said: dict[str, list[np.ndarray]] = {"network": [], "mixture": []}
        cpu, shares, taken = [], [], []
        for seed in range(seeds):
            model, seconds = fitted(some, decoder, seed)
            _, found, tokens = model._read(test, rivals=True)
            if nearest is None:
                nearest = judged([model.rivals_.answer(tuple(found.names), found.plain, found.present_NV)], meant, draws)
                for name, mine in (
                    ("nearest record", nearest),
                    ("most frequent text", judged([ruler.constant(model.task_.nothing(), len(meant))], meant, draws)),
                ):
                    apart = cell(mine - nearest, "cider") if mine is not nearest else ""
                    shown = " | ".join(cell(mine, m) for m in SHOWN)
                    lines.append(f"| {some.name} | {name} | {shown} | {apart} | | | | |")
            said["network"].append(Speaker(model.network_, model.task_, tokens)(found.present_NV))
            answers, rows = model._said(tokens, found.plain, found.present_NV)
            said["mixture"].append(answers)
            cpu.append(seconds)
            shares.append(model.regressions_)
            taken.append(np.mean([row is not None for row in rows or [None]]))
            own, both = (
                ruler.judge(one[-1], meant, Resamples(len(meant), samples=1)).values["cider"] for one in said.values()
            )
            say(f"{some.name} {decoder} seed {seed}: CIDEr {own:.3f} -> {both:.3f}, {shares[-1]}, {seconds:.0f} CPU s")
        one = {name: judged(texts, meant, draws) for name, texts in said.items()}
        share = ", ".join(f"{share.weight:g} of {share.records}" if share.weight else "0" for share in shares)
        for name, mine in one.items():
            apart = cell(mine - one["network"], "cider") if name == "mixture" else ""
            lines.append(
                f"| {some.name} | {decoder}, {name} | " + " | ".join(cell(mine, m) for m in SHOWN)
                + f" | {cell(mine - nearest, 'cider')} | {apart} | "
                + (f"{share} | {np.mean(taken):.0%} | |" if name == "mixture" else f"| | {np.mean(cpu):.0f} |")
            )
            say(lines[-1])
        speeds.append(f"| {some.name} | {decoder} | " + " | ".join(f"{x:.0f}" for x in speed(model, tokens, found)) + " |")
        say(speeds[-1])
    return lines, speeds


def speed(model: Model, tokens: Any, found: Any, most: int = 128) -> list[float]:
    """Captions per CPU second: greedy in a batch and one by one, beam search likewise, the mixture in a batch.

    What was read of the records lies ready; the best of two runs.
    """
    rows = np.arange(min(most, len(found.present_NV)))
    some, mask = tokens.only(rows), found.present_NV[rows]
    plain = {view: block.only(rows) if hasattr(block, "only") else block[rows] for view, block in found.plain.items()}
    speaker = Speaker(model.network_, model.task_, some)

    def beams(part: Any, there: np.ndarray) -> None:
        Speaker(model.network_, model.task_, part).held(there)

    few = rows[:16]
    jobs = (
        (len(rows), lambda: speaker(mask)),
        (len(few), lambda: [Speaker(model.network_, model.task_, some.only(few[i : i + 1]))(mask[i : i + 1]) for i in few]),
        (len(rows), lambda: beams(some, mask)),
        (len(few), lambda: [beams(some.only(few[i : i + 1]), mask[i : i + 1]) for i in few]),
        (len(rows), lambda: model._said(some, plain, mask)),
    )
    rates = []
    for count, job in jobs:
        spent = []
        for _ in range(2):
            started = time.process_time()
            job()
            spent.append(time.process_time() - started)
        rates.append(count / min(spent))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", default="emoji,stamps,reports", help="names with commas")
    parser.add_argument("--decoders", default=",".join(DECODERS), help="names with commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into docs/captions.md and docs/zh/captions.md")
    given = parser.parse_args()
    lines = [HEADS]
    speeds = [
        "| set | decoder | greedy, batch of 128 | greedy, one by one | beams, batch | beams, one by one | mixture, batch |",
        "| --- " * 7 + "|",
    ]
    for name in given.sets.split(","):
        with tempfile.TemporaryDirectory() as place:
            some = reports(Path(place)) if name == "reports" else pictures(name, Path(place) / name)
            made, fast = run(some, given.decoders.split(","), given.seeds)
            lines, speeds = lines + made, speeds + fast
    on = machine()
    lines += ["", "Captions per CPU second, what was read of the records lying ready:", "", *speeds]
    lines += ["", f"{on['cpu']}, one thread, load {on['load of the last minute']}, torch {on['torch']}; {given.seeds} seeds."]
    print("\n".join(lines))
    for page in PAGES if given.write else ():
        between(page, "captions.py", lines)


if __name__ == "__main__":
    main()

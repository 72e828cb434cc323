"""Captions of pictures: three decoders beside the nearest record's text and the most frequent one, on two real sets.

    python bench/captions.py [--sets emoji,stamps] [--decoders attend,...] [--seeds 3] [--write]

A picture -> its English name (emoji) or text (stamps); groups of variants lie on one side of the split, so no test picture has
a twin in training. Each decoder is fitted with every seed; figures are means over the seeds, their 95 % intervals from 1,000
bootstrap resamples of groups, the same for all, so differences to the nearest record are paired. Test records are read once,
after everything is settled.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import between, machine, say

from polysense import Model
from polysense.data.records import read_table
from polysense.data.tables import groups_of
from polysense.demo import prepare
from polysense.metrics import Draws, Resamples
from polysense.metrics.texts import CAPTION, Texts

DECODERS = ("show-tell", "attend", "transformer")
#: Chosen on validation records with seed 0 (docs/captions.md says among what); of the epochs the best five are averaged.
SETTINGS = {"train.epochs": 10, "train.batch": 16}
PAGES = [Path(__file__).parent.parent / "docs" / page for page in ("captions.md", "zh/captions.md")]
SHOWN = ("cider", "bleu4", "rouge_l", "exact")
HEADS = "| set | captions by | CIDEr | BLEU-4 | ROUGE-L | word for word | CIDEr minus nearest | CPU s |\n" + "| --- " * 8 + "|"


def judged(said: Sequence[np.ndarray], meant: np.ndarray, draws: Resamples) -> Draws:
    """The mean over seeds of the measures, with shared resamples."""
    ruler = Texts(CAPTION)
    return Draws.mean([ruler.judge(one, meant, draws) for one in said])


def cell(draws: Draws, name: str, places: int = 2) -> str:
    """A figure with its interval."""
    one = draws.scores()[name]
    return f"{one['value']:.{places}f} [{one['low']:.{places}f}, {one['high']:.{places}f}]"


def fitted(folder: Path, decoder: str, seed: int) -> tuple[Model, float]:
    """A model of the pictures alone, and the CPU seconds that it took, the tower's outputs lying in the cache."""
    names = read_table(folder / "train.csv").names
    columns = {name: "ignore" for name in names if name not in ("picture", "english", "group")}
    options = {**SETTINGS, "task.decoder": decoder}
    model = Model("english", task="caption", columns=columns, group="group", seed=seed, options=options)
    started = time.process_time()
    model.fit(folder / "train.csv", valid=folder / "valid.csv")
    return model, time.process_time() - started


def run(name: str, folder: Path, decoders: Sequence[str], seeds: int) -> list[str]:
    """Lines of the table for one set."""
    test = read_table(folder / "test.csv")
    ruler, groups = Texts(CAPTION), groups_of(test, "group")
    meant = ruler.targets(test.column("english"))
    draws = Resamples(len(meant), groups=[str(group) for group in groups], samples=1000)
    rivals, lines = {}, []
    for decoder in decoders:
        said, cpu, one_by_one = [], [], []
        for seed in range(seeds):
            model, seconds = fitted(folder, decoder, seed)
            if not rivals:
                _, found, _ = model._read(test, rivals=True)
                rivals = {
                    "nearest record": model.rivals_.answer(("picture",), found.plain, found.present_NV),
                    "most frequent text": ruler.constant(model.task_.nothing(), len(meant)),
                }
                nearest = judged([rivals["nearest record"]], meant, draws)
                for rival, answers in rivals.items():
                    mine = judged([answers], meant, draws)
                    apart = "" if rival == "nearest record" else cell(mine - nearest, "cider")
                    lines.append(f"| {name} | {rival} | " + " | ".join(cell(mine, m) for m in SHOWN) + f" | {apart} | |")
            said.append(model.predict(test))
            cpu.append(seconds)
            one_by_one.append(ruler.judge(said[-1], meant, Resamples(len(meant), samples=1)).values["cider"])
            some = "; ".join(said[-1][:5])
            say(f"{name} {decoder} seed {seed}: CIDEr {one_by_one[-1]:.3f}, {seconds:.0f} CPU s; says {some}")
        mine = judged(said, meant, draws)
        spread = f" (seeds {min(one_by_one):.2f} to {max(one_by_one):.2f})" if seeds > 1 else ""
        lines.append(
            f"| {name} | {decoder}{spread} | " + " | ".join(cell(mine, m) for m in SHOWN)
            + f" | {cell(mine - nearest, 'cider')} | {np.mean(cpu):.0f} |"
        )
        say(lines[-1])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", default="emoji,stamps", help="names with commas")
    parser.add_argument("--decoders", default=",".join(DECODERS), help="names with commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into docs/captions.md and docs/zh/captions.md")
    given = parser.parse_args()
    lines = [HEADS]
    for name in given.sets.split(","):
        with tempfile.TemporaryDirectory() as place:
            prepared = prepare(Path(place) / name, kind=name, progress=say)
            lines += run(prepared.source, Path(place) / name, given.decoders.split(","), given.seeds)
    on = machine()
    lines += ["", f"{on['cpu']}, one thread, load {on['load of the last minute']}, torch {on['torch']}; {given.seeds} seeds."]
    print("\n".join(lines))
    for page in PAGES if given.write else ():
        between(page, "captions.py", lines)


if __name__ == "__main__":
    main()

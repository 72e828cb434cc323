"""What each fusion is good at: made-up sets with one known strength each, and whether the expected winner wins.

    python bench/strengths.py [--sets xor noisy redundant unequal] [--fusions NAME ...] [--seeds 0 1 2 3 4]

Views are vectors, so that nothing but the fusion is tried. Every fusion is trained on the same records of a seed: one
member, no view dropout, defaults otherwise. A set's expected winners are named in ``SETS``; a win is a mean accuracy over
the seeds above the mean of the expected losers, by an interval of the paired differences (Student, 95 %) that lies
above 0.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from common import OUT, Line, machine, say, show

#: Student's 97.5 % point for 1 to 9 degrees of freedom.
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
TRAIN, TEST = 600, 2000
FOUND = OUT / "strengths.jsonl"
Draw = Callable[[np.random.Generator, int], tuple[dict[str, np.ndarray], np.ndarray]]


@dataclass(frozen=True)
class Made:
    """A made-up set.

    Attributes:
        draw: (generator, N) -> {view: (N, W)}, classes (N,).
        winners, losers: fusions that are expected to be better and worse.
        why: in a line.
    """

    draw: Draw
    winners: tuple[str, ...]
    losers: tuple[str, ...]
    why: str


def xor(rng: np.random.Generator, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two views with a bit each among seven numbers of noise; the class is their exclusive or: neither says anything alone."""
    bits_N2 = rng.integers(0, 2, (n, 2))
    views = {name: rng.normal(size=(n, 8)) for name in "ab"}
    for place, name in enumerate("ab"):
        views[name][:, 0] = 2 * (2 * bits_N2[:, place] - 1) + 0.5 * views[name][:, 0]
    return views, bits_N2.sum(1) % 2


def noisy(rng: np.random.Generator, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Three views of four classes; in each record one view, by chance, shouts another class at full strength, and says so
    itself: its last number is near 3, that of the others near 0."""
    label_N = rng.integers(0, 4, n)
    liar_N = rng.integers(0, 3, n)
    views = {}
    for place, name in enumerate("abc"):
        lies_N = liar_N == place
        said_N = np.where(lies_N, (label_N + rng.integers(1, 4, n)) % 4, label_N)
        views[name] = np.concatenate([
            np.eye(4)[said_N] * np.where(lies_N, 6.0, 2.0)[:, None] + rng.normal(size=(n, 4)),
            rng.normal(size=(n, 3)), 3.0 * lies_N[:, None] + 0.3 * rng.normal(size=(n, 1)),
        ], 1)
    return views, label_N


def redundant(rng: np.random.Generator, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Six views that say the same of four classes, each with noise of its own, among many numbers that say nothing."""
    label_N = rng.integers(0, 4, n)
    return {
        name: np.concatenate([1.2 * np.eye(4)[label_N], np.zeros((n, 16))], 1) + rng.normal(size=(n, 20)) for name in "abcdef"
    }, label_N


def unequal(rng: np.random.Generator, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One view that tells the class well, and four that tell nothing but are wide enough to be learned by heart."""
    label_N = rng.integers(0, 4, n)
    views = {name: rng.normal(size=(n, 40)) for name in "bcde"}
    return views | {"a": 2.0 * np.eye(4)[label_N] + rng.normal(size=(n, 4))}, label_N


#: Records of training are few where the strength is in needing few.
SETS = {
    "xor": Made(
        xor, ("bilinear", "tensor", "low-rank", "film", "cross"), ("sum", "mean", "convex"),
        "interaction only: the class is in neither view, only in both",
    ),
    "noisy": Made(
        noisy, ("attention", "gated", "experts"), ("concat", "sum", "mean"), "in each record another view lies and shows it",
    ),
    "redundant": Made(
        redundant, ("sum", "mean", "product"), ("concat", "gated", "tensor"), "six views repeat each other; 60 records",
    ),
    "unequal": Made(unequal, ("convex", "stacked"), ("mean",), "one good view beside four that say nothing; 120 records"),
}
RECORDS = {"redundant": 60, "unequal": 120}


def accuracy(name: str, fusion: str, seed: int, steps: int = 240) -> float:
    """Of one fusion trained on a set's records of one seed for so many steps, on 2,000 others."""
    import torch

    from polysense.contracts import Encoder
    from polysense.layers import Condition
    from polysense.learn.features import Views, answer, encode
    from polysense.learn.late import fit_late, out_of_fold
    from polysense.learn.loop import train
    from polysense.learn.training import Training
    from polysense.network import Encoders, Network
    from polysense.registry import fusions, tasks

    class Vector(Encoder):
        frozen = True

    n = RECORDS.get(name, TRAIN)
    parts, label_N = SETS[name].draw(np.random.default_rng(seed), n + TEST)
    names = sorted(parts)
    rows, test = np.arange(n), np.arange(n, n + TEST)
    ready = Views(names, np.ones((n + TEST, len(names)), bool), {view: parts[view].astype(np.float32) for view in names})
    options = Training(
        epochs=round(steps * 32 / n), batch=32, members=1, dim=32, drop=0.0, dropout=0.1, input_dropout=0.0, rate=5e-3,
        auxiliary=0.0,
    )
    task = tasks.make("classify")
    task.fit(label_N[rows].tolist())
    torch.manual_seed(seed)
    encoders = Encoders(
        {view: Vector() for view in names},
        {view: Condition().fit(torch.as_tensor(parts[view][rows], dtype=torch.float32)) for view in names},
    )

    def make(encoders: Encoders) -> Network:
        return Network(encoders, lambda views, dim: fusions.make(fusion, views, dim), task, **options.network())

    network, targets = make(encoders), {"label": label_N}
    if network.fusion.fitted:
        said = out_of_fold(make, encoders, ready, targets, rows, count=network.fusion.folds, options=options, seed=seed)
        fit_late(network, said, ready.present_NV[rows], label_N[rows])
    train(network, ready, targets, rows, rows[:0], options=options, seed=seed)
    answers = answer(network, encode(network, ready, test), ready.present_NV[test])
    return float((answers.argmax(1) == label_N[test]).mean())


def run(
    sets: Sequence[str] = tuple(SETS), wanted: Sequence[str] | None = None, seeds: Sequence[int] = (0, 1, 2, 3, 4)
) -> list[Line]:
    """Try the expected winners and losers of every set, or the fusions named, and say who won.

    What bench/out/strengths.jsonl holds already is not run again: a run that was cut off goes on.
    """
    lines = []
    for name in sets:
        made = SETS[name]
        for seed in seeds:
            for fusion in wanted or [*made.winners, *made.losers]:
                if (name, fusion, seed) not in known():
                    started = time.process_time()
                    one = {"set": name, "fusion": fusion, "seed": seed, "accuracy": accuracy(name, fusion, seed)}
                    one["cpu_seconds"] = round(time.process_time() - started, 2)
                    OUT.mkdir(exist_ok=True)
                    with FOUND.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(one) + "\n")
                    say(f"{name}: {fusion}, seed {seed}: {one['accuracy']:.3f}, {one['cpu_seconds']} CPU s")
        lines += verdicts(name, {
            fusion: [known()[name, fusion, seed] for seed in seeds] for fusion in wanted or [*made.winners, *made.losers]
        })
    return lines


def known() -> dict[tuple[str, str, int], float]:
    """{(set, fusion, seed): accuracy} of earlier runs."""
    if not FOUND.is_file():
        return {}
    ones = map(json.loads, FOUND.read_text(encoding="utf-8").splitlines())
    return {(one["set"], one["fusion"], one["seed"]): one["accuracy"] for one in ones}


def verdicts(name: str, scores: dict[str, list[float]]) -> list[Line]:
    """A line for each fusion: its accuracy, and for a winner the difference to the mean of the losers."""
    made = SETS[name]
    against = [scores[loser] for loser in made.losers if loser in scores]
    lines = []
    for fusion, values in sorted(scores.items(), key=lambda item: -np.mean(item[1])):
        figure = f"{100 * np.mean(values):.1f} % (seeds {100 * min(values):.1f} to {100 * max(values):.1f})"
        line = Line(f"{name}: {fusion}", figure)
        if fusion in made.winners and against:
            apart = 100 * (np.array(values) - np.mean(against, 0))
            half = STUDENT[len(apart) - 2] * apart.std(ddof=1) / len(apart) ** 0.5 if len(apart) > 1 else np.inf
            words = f"{apart.mean():+.1f} points [{apart.mean() - half:+.1f}, {apart.mean() + half:+.1f}] over "
            line = Line(line.what, figure, words + ", ".join(made.losers), bool(apart.mean() - half > 0))
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--fusions", nargs="+", default=None, help="instead of each set's expected winners and losers")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    given = parser.parse_args()
    for name in given.sets:
        say(f"{name}: {SETS[name].why}")
    show("Strengths (accuracy on 2,000 made-up records)", run(given.sets, given.fusions, given.seeds))
    say(str(machine()))


if __name__ == "__main__":
    main()

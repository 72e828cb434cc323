"""What each fusion is good at: made-up sets with one known strength each, and whether the expected winner wins.

    python bench/strengths.py [--sets xor noisy relevant redundant alike lost taught unequal uneven] [--parts NAME ...]
                              [--seeds 0 1 2 3 4]
    python bench/strengths.py --docs      writes the tables into docs/strengths.md and docs/zh/strengths.md

Views are vectors, so that nothing but the fusion is tried; in the last set they are series, and encoders are tried.
Every fusion is trained on the same records of a seed: one member, about 240 steps of 32 records, without hidden views but
for the set alike, and defaults otherwise. What is expected to win and to lose stands in ``SETS``, written down before the
set was run. A winner wins by an interval of the differences to the best of those that were expected to lose, paired by
seed (Student, 95 %), that lies above 0. What bench/out/strengths.jsonl holds is not run again: a run that was cut off
goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import strengths_series
from common import OUT, Line, between, machine, say, show
from scipy.special import stdtrit
from strengths_series import BY_INDEX

TEST, STEPS, BATCH = 2000, 240, 32
SEEDS = (0, 1, 2, 3, 4)
FOUND = OUT / "strengths.jsonl"
DOCS = Path(__file__).parents[1] / "docs"
Draw = Callable[[np.random.Generator, int], tuple[dict[str, np.ndarray], np.ndarray]]
SERIES = ("series.tcn", "series.rnn", "series.transformer")


@dataclass(frozen=True)
class Made:
    """A made-up set.

    Attributes:
        draw: (generator, N) -> {view: (N, W)}, classes (N,); None where the views are series.
        winners, losers: fusions (or encoders) that are expected to be better and worse.
        also: of which nothing is expected.
        why: in a line, in English and in Chinese.
        records: of training.
        fit: whether views are hidden, units dropped and views' own heads trained as a fit does by default.
        lost: share of the views that test records lack, by chance; one stays. Training records have them all.
    """

    draw: Draw | None
    winners: tuple[str, ...]
    losers: tuple[str, ...]
    also: tuple[str, ...]
    why: tuple[str, str]
    records: int = 600
    fit: bool = False
    lost: float = 0.0

    @property
    def parts(self) -> tuple[str, ...]:
        return (*self.winners, *self.losers, *self.also)


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


def relevant(rng: np.random.Generator, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Six views of four classes, of which in each record one, by chance, tells the class; the others tell any class, just as
    strongly, and show it themselves: their last number is near 3, that of the one to be believed near 0.

    The made set of Arevalo et al. 2017, arXiv:1702.01992, section 4.1 (a hidden switch says which view carries the class, the
    noise of the other comes from another place), with six views instead of two. Who knows the rule is right in 96 %.
    """
    label_N = rng.integers(0, 4, n)
    speaker_N = rng.integers(0, 6, n)
    views = {}
    for place, name in enumerate("abcdef"):
        speaks_N = speaker_N == place
        said_N = np.where(speaks_N, label_N, rng.integers(0, 4, n))
        views[name] = np.concatenate([
            3.0 * np.eye(4)[said_N] + rng.normal(size=(n, 4)), rng.normal(size=(n, 3)),
            3.0 * ~speaks_N[:, None] + 0.5 * rng.normal(size=(n, 1)),
        ], 1)
    return views, label_N


def redundant(rng: np.random.Generator, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Six views that say the same of four classes, each with noise of its own, among many numbers that say nothing."""
    label_N = rng.integers(0, 4, n)
    return {
        name: np.concatenate([1.2 * np.eye(4)[label_N], np.zeros((n, 16))], 1) + rng.normal(size=(n, 20)) for name in "abcdef"
    }, label_N


def alike(rng: np.random.Generator, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Twelve views that say the same of four classes, each weakly and with noise of its own.

    Made after ``redundant``, where averages did not win. There every view's numbers were learned together, without hidden
    views, so that an average was but a linear network with as many numbers to learn as any. Here training is that of a fit,
    which hides views in half of its passes, so that each learns to speak alone; views are twice as many and records fewer.
    """
    label_N = rng.integers(0, 4, n)
    return {
        name: np.concatenate([np.eye(4)[label_N], np.zeros((n, 4))], 1) + rng.normal(size=(n, 8)) for name in "abcdefghijkl"
    }, label_N


def lost(rng: np.random.Generator, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Six views that say the same of four classes, of which test records have lost two thirds, as sensors fail.

    Made after ``redundant`` and ``alike``, where every record had all views, so that nothing was asked of redundancy but to
    take out noise, and any fusion does that. What an average is known for is that it needs no view in particular: where some
    are gone it is the average of the rest, without having been taught what a gap is.
    """
    label_N = rng.integers(0, 4, n)
    return {
        name: np.concatenate([2.0 * np.eye(4)[label_N], np.zeros((n, 4))], 1) + rng.normal(size=(n, 8)) for name in "abcdef"
    }, label_N


def unequal(rng: np.random.Generator, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One view that tells the class well, and four that tell nothing but are wide enough to be learned by heart."""
    label_N = rng.integers(0, 4, n)
    views = {name: rng.normal(size=(n, 40)) for name in "bcde"}
    return views | {"a": 2.0 * np.eye(4)[label_N] + rng.normal(size=(n, 4))}, label_N


#: Records of training are few where the strength is in needing few.
SETS = {
    "xor": Made(
        xor, ("bilinear", "tensor", "low-rank", "film", "cross"), ("sum", "mean", "convex"), ("concat", "gated"),
        ("interaction only: the class is in neither view, only in both", "只有交互：单看哪个视图都没有类别，合起来才有"),
    ),
    "noisy": Made(
        noisy, ("gated", "attention", "experts"), ("concat", "sum", "mean"), (),
        ("noisy view: in each record one view of three lies loudly and shows it",
         "有噪声的视图：每条记录里三个视图之一大声说谎，而且看得出来"),
    ),
    "relevant": Made(
        relevant, ("gated", "attention", "experts"), ("concat", "sum", "mean"), ("transformer", "low-rank"),
        ("noisy views: in each record one view of six is to be believed, the others show that they are not",
         "有噪声的视图：每条记录里六个视图只有一个可信，其余的看得出不可信"), 300,
    ),
    "redundant": Made(
        redundant, ("sum", "mean", "product"), ("concat", "gated", "tensor"), ("convex", "attention", "low-rank"),
        ("redundant views: six views say the same, each with noise of its own", "冗余的视图：六个视图说同一件事，噪声各自独立"),
        60,
    ),
    "alike": Made(
        alike, ("sum", "mean", "product"), ("concat", "gated"), ("attention", "low-rank"),
        ("redundant views again: twelve say the same, each weakly; trained as in a fit",
         "还是冗余的视图：十二个视图都轻声说同一件事；训练方式与 fit 相同"), 40, True,
    ),
    "lost": Made(
        lost, ("sum", "mean", "product"), ("concat", "gated", "tensor"), ("attention", "low-rank", "max"),
        ("redundant views of which test records have lost two thirds; in training nothing is missing",
         "冗余的视图，测试记录丢了其中三分之二；训练时什么也不缺"), 300, lost=2 / 3,
    ),
    "taught": Made(
        lost, (), ("concat",), ("sum", "mean", "product", "gated", "attention", "low-rank"),
        ("the same records, trained as in a fit, which hides views: nothing is expected",
         "同样的记录，训练方式与 fit 相同（会隐藏视图）：没有预期"), 300, True, 2 / 3,
    ),
    "unequal": Made(
        unequal, ("convex", "stacked"), ("mean",), ("concat", "sum", "product"),
        ("one good view beside four that say nothing", "一个好视图，旁边四个什么也没说"), 120,
    ),
    "uneven": Made(
        None, SERIES, tuple(f"{encoder}{BY_INDEX}" for encoder in SERIES), ("series.plain",),
        ("uneven sampling: who reads no time stamps is right in at most 67 %", "不均匀采样：不读时间戳的最多对 67 %"), 400,
    ),
}


# --- one fit -------------------------------------------------------------------------------------


def accuracy(name: str, part: str, seed: int) -> float:
    """Of one fusion, or encoder, trained on a set's records of one seed."""
    made = SETS[name]
    if made.draw is None:
        return strengths_series.accuracy(part, seed, made.records)
    return fused(made, part, seed)


def fused(made: Made, fusion: str, seed: int) -> float:
    """Accuracy of one fusion on 2,000 records that it was not trained on."""
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

    n = made.records
    parts, label_N = made.draw(np.random.default_rng(seed), n + TEST)
    names = sorted(parts)
    rows, test = np.arange(n), np.arange(n, n + TEST)
    there_NV = np.ones((n + TEST, len(names)), bool)
    if made.lost:
        draw_NV = np.random.default_rng([seed, 1]).random((TEST, len(names)))
        there_NV[n:] = (draw_NV >= made.lost) | (draw_NV == draw_NV.max(1, keepdims=True))
    ready = Views(names, there_NV, {view: parts[view].astype(np.float32) for view in names})
    bare = {} if made.fit else {"drop": 0.0, "dropout": 0.1, "input_dropout": 0.0, "auxiliary": 0.0}
    options = Training(epochs=round(STEPS * BATCH / n), batch=BATCH, members=1, dim=32, rate=5e-3, **bare)
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
        fit_late(network, said, ready.present_NV[rows], {name: values[rows] for name, values in targets.items()})
    train(network, ready, targets, rows, rows[:0], options=options, seed=seed)
    answers = answer(network, encode(network, ready, test), ready.present_NV[test])
    return float((answers.argmax(1) == label_N[test]).mean())


def run(names: Sequence[str], wanted: Sequence[str] | None, seeds: Sequence[int]) -> None:
    """Fit what is missing, all parts of a seed before the next seed."""
    OUT.mkdir(exist_ok=True)
    for name in names:
        for seed in seeds:
            for part in wanted or SETS[name].parts:
                if (name, part, seed) in known():
                    continue
                started = time.process_time()
                one = {"set": name, "part": part, "seed": seed, "accuracy": accuracy(name, part, seed)}
                one["cpu_seconds"] = round(time.process_time() - started, 2)
                with FOUND.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(one) + "\n")
                say(f"{name}: {part}, seed {seed}: {one['accuracy']:.3f}, {one['cpu_seconds']} CPU s")


# --- the tables ----------------------------------------------------------------------------------


def known() -> dict[tuple[str, str, int], tuple[float, float]]:
    """{(set, part, seed): (accuracy, CPU seconds)} of what was run so far."""
    if not FOUND.is_file():
        return {}
    ones = map(json.loads, FOUND.read_text(encoding="utf-8").splitlines())
    return {(one["set"], one["part"], one["seed"]): (one["accuracy"], one["cpu_seconds"]) for one in ones}


@dataclass(frozen=True)
class Score:
    """What came of one fusion or encoder on a set.

    Attributes:
        values: accuracy of each seed, in %.
        apart: mean, low and high of its difference to the rival, in points; None for the rival itself.
        seconds: CPU time of a fit, mean.
    """

    part: str
    values: np.ndarray
    apart: tuple[float, float, float] | None
    seconds: float

    @property
    def wins(self) -> bool:
        return self.apart is not None and self.apart[1] > 0


def paired(mine_S: np.ndarray, theirs_S: np.ndarray) -> tuple[float, float, float]:
    """Mean of the differences of some seeds, and its 95 % bounds.

    >>> paired(np.array([3.0, 5.0]), np.array([1.0, 1.0]))  # 2 and 4: 3 +- 12.71 * sqrt(2) / sqrt(2)
    (3.0, -9.71, 15.71)
    """
    apart_S = mine_S - theirs_S
    count = len(apart_S)
    half = stdtrit(count - 1, 0.975) * apart_S.std(ddof=1) / count**0.5 if count > 1 else np.inf
    return float(apart_S.mean()), float(apart_S.mean() - half), float(apart_S.mean() + half)


def scores(name: str, seeds: Sequence[int]) -> tuple[str, list[Score]]:
    """The best of a set's expected losers, and what every part with all these seeds reached, the best first."""
    made, found = SETS[name], known()
    whole = {part: [found.get((name, part, seed)) for seed in seeds] for part in made.parts}
    values = {
        part: (100 * np.array([one[0] for one in ones]), float(np.mean([one[1] for one in ones])))
        for part, ones in whole.items() if all(ones)
    }
    rivals = [part for part in made.losers if part in values]
    if not rivals:
        return "", []
    rival = max(rivals, key=lambda part: values[part][0].mean())
    ordered = sorted(values, key=lambda part: -values[part][0].mean())
    return rival, [
        Score(part, values[part][0], None if part == rival else paired(values[part][0], values[rival][0]), values[part][1])
        for part in ordered
    ]


def lines(name: str, seeds: Sequence[int]) -> list[Line]:
    """A line for each part: its accuracy, and for an expected winner whether it wins."""
    rival, found = scores(name, seeds)
    out = []
    for score in found:
        figure = f"{score.values.mean():.1f} % (seeds {score.values.min():.1f} to {score.values.max():.1f})"
        bar = "" if score.apart is None else "{:+.1f} points [{:+.1f}, {:+.1f}] over ".format(*score.apart) + rival
        out.append(Line(f"{name}: {score.part}", figure, bar, score.wins if score.part in SETS[name].winners else None))
    return out


#: What the pages say, in English and in Chinese.
WORDS = (
    {
        "records": "{} training records, {} test records, {} seeds",
        "head": ("expected", "accuracy %", "seeds", "over", "CPU s a fit"),
        "winner": "wins", "loser": "loses", "": "",
        "sum": "Expected winners above `{}`, the best of the expected losers: {} of {}.",
        "machine": "Measured on", "part": ("fusion", "encoder"),
    },
    {
        "records": "训练记录 {} 条，测试记录 {} 条，{} 个种子", "head": ("预期", "准确率 %", "各种子", "高出", "每次 CPU 秒"),
        "winner": "赢", "loser": "输", "": "", "sum": "预期的赢家中，高出预期输家里最好的 `{}` 的：{} / {}。",
        "machine": "测量环境", "part": ("融合", "编码器"),
    },
)


def table(name: str, seeds: Sequence[int], chinese: bool) -> list[str]:
    """Lines of Markdown: every part of a set, the best first."""
    made, words = SETS[name], WORDS[chinese]
    rival, found = scores(name, seeds)
    if not found:
        return []
    expected, reached, spread, over, cost = words["head"]
    test = TEST if made.draw else strengths_series.TEST
    out = [
        f"### {name}", "", f"{made.why[chinese]}; ".replace("; ", "；" if chinese else "; ")
        + words["records"].format(f"{made.records:,}", f"{test:,}", len(seeds)), "",
        f"| {words['part'][made.draw is None]} | {expected} | {reached} | {spread} | {over} `{rival}` | {cost} |",
        "|---|---|---|---|---|---|",
    ]
    for score in found:
        role = "winner" if score.part in made.winners else "loser" if score.part in made.losers else ""
        apart = "" if score.apart is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*score.apart)
        if apart and not score.apart[1] <= 0 <= score.apart[2]:
            apart = f"**{apart.partition(' ')[0]}** {apart.partition(' ')[2]}"
        out.append(
            f"| `{score.part}` | {words[role]} | {score.values.mean():.1f} | {score.values.min():.1f}–{score.values.max():.1f} "
            f"| {apart} | {score.seconds:.1f} |"
        )
    winners = [score for score in found if score.part in made.winners]
    verdict = [words["sum"].format(rival, sum(score.wins for score in winners), len(winners)), ""] if made.winners else []
    return [*out, "", *verdict]


def write_pages() -> None:
    """Put the tables between the marks of both pages; what stands around them is kept."""
    about = machine()
    named = ", ".join(f"{key} {about[key]}" for key in ("cpu", "cores", "threads used", "torch", "polysense"))
    for chinese, page in enumerate((DOCS / "strengths.md", DOCS / "zh" / "strengths.md")):
        body = [line for name in SETS for line in table(name, SEEDS, bool(chinese))]
        if not body:
            raise SystemExit(f"{FOUND} holds no set with five seeds; run python bench/strengths.py first")
        between(page, "strengths.py", [*body, f"{WORDS[chinese]['machine']}: {named}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--parts", nargs="+", default=None, help="fusions or encoders, instead of each set's own")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--docs", action="store_true", help="write the pages from what is there, fit nothing")
    given = parser.parse_args()
    if given.docs:
        write_pages()
        return
    run(given.sets, given.parts, given.seeds)
    for name in given.sets:
        if found := lines(name, given.seeds):
            show(f"{name}: {SETS[name].why[0]}", found)
    say(str(machine()))


if __name__ == "__main__":
    main()

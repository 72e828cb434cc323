"""Every fusion on the stamps, the emoji and scikit-learn's digits cut into four pictures.

    python bench/fusions.py [--sets stamps emoji digits] [--fusions NAME ...] [--seeds 0 1 2 3 4] [--stamps DIR] [--emoji DIR]
    python bench/fusions.py --docs          writes the tables into docs/fusions.md from what is there

Views are encoded once a set and shared by all fusions and seeds, so what differs is the fusion alone: projections,
fusion and heads of two members, otherwise trained with the defaults, on at most 600 records. Answers are the network's
own: the mixture with logistic regressions that a fit ends with is left out, because it would bring weak fusions near to
strong ones. Each result (set, fusion, seed) is a file below bench/out/fusions with the answers to every test record, and
to the same records with each view taken away in turn; what is there is not run again, so a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, OUT, between, machine, say, tables

SETS = ("stamps", "emoji", "digits")
SEEDS = (0, 1, 2, 3, 4)
PLACE = OUT / "fusions"
PAGE = Path(__file__).parents[1] / "docs" / "fusions.md"
#: Against which fusion every other is compared.
RIVAL = "concat"
SAMPLES = 4000
#: What is less than in a fit by default, so that all fits together take under an hour of CPU.
OPTIONS, MOST = {"train.members": 2}, 600


@dataclass(frozen=True)
class Ready:
    """A set with its views encoded.

    Attributes:
        model, job: of a fit that has come as far as its network.
        test: rows of the test records.
    """

    model: Any
    job: Any
    test: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


# --- the sets ------------------------------------------------------------------------------------


def records_of(name: str, folder: Path) -> tuple[list[dict[str, Any]], Path, dict[str, Any]]:
    """Records with a column ``part`` that says train, valid or test; where their files lie; settings of the model."""
    if name == "digits":
        return digits(), Path("."), {"encoders": {view: "image.plain" for view in ("nw", "ne", "sw", "se")}}
    from polysense.data.records import read_table

    if name == "emoji" and not (folder / "test.csv").is_file():
        from polysense.demo import prepare

        say(prepare(folder, kind="emoji", progress=say).note)
    files = tables(folder)
    if files.source != name:
        raise SystemExit(f"{folder} holds {files.source}, not {name}; name another folder (--{name} DIR)")
    rows = [
        {**row, "part": part} for part, path in zip(("train", "valid", "test"), files[:3], strict=True)
        for row in read_table(path)
    ]
    train = [i for i, row in enumerate(rows) if row["part"] == "train"]
    kept = set(np.random.default_rng(0).permutation(train)[:MOST].tolist())
    rows = [row for i, row in enumerate(rows) if row["part"] != "train" or i in kept]
    return rows, folder, {"group": "group"}


def digits() -> list[dict[str, Any]]:
    """1,797 digits of 8 x 8 pixels as four pictures of 4 x 4 each: 500 for training, 300 for validation, 997 for the test."""
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    rows = []
    for place, i in enumerate(order):
        pixels = (data.images[i] * 255 / 16).astype(np.uint8)
        part = ("train", "valid", "test")[(place >= 500) + (place >= 800)]
        row: dict[str, Any] = {"label": int(data.target[i]), "part": part}
        for view, y, x in (("nw", 0, 0), ("ne", 0, 4), ("sw", 4, 0), ("se", 4, 4)):
            out = io.BytesIO()
            Image.fromarray(pixels[y : y + 4, x : x + 4]).save(out, "PNG")
            row[view] = out.getvalue()
        rows.append(row)
    return rows


def prepare_set(name: str, folder: Path) -> Ready:
    """Read and encode a set as ``Model.fit`` does, up to the point where the network is made."""
    import polysense
    from polysense.data.records import as_records

    rows, where, settings = records_of(name, folder)
    model = polysense.Model("label", split="part", **settings)
    job = model._begin(as_records(rows, folder=where), None, None)
    model._look(job)
    job.kept = model._kept(job, None, False)
    model._encode(job)
    test = np.array([i for i, row in enumerate(rows) if row["part"] == "test"])
    names = [rows[i].get("group", i) for i in test]
    number = {group: n for n, group in enumerate(dict.fromkeys(names))}
    return Ready(model, job, test, job.labels["label"][test], np.array([number[group] for group in names]))


# --- one fit -------------------------------------------------------------------------------------


def place(name: str, fusion: str, seed: int) -> Path:
    return PLACE / name / fusion / f"seed{seed}.npz"


def fit(name: str, ready: Ready, fusion: str, seed: int) -> None:
    """Train one network and keep its answers to the test records."""
    from polysense.learn.features import answer, encode
    from polysense.learn.late import fresh
    from polysense.learn.plan import Plan
    from polysense.network import Encoders

    model, test = ready.model, ready.test
    model.seed, model.fusion = seed, fusion
    started = time.process_time()
    encoders = dict(fresh(Encoders(ready.job.encoders, {})).encoders.items())
    job = replace(ready.job, plan=Plan.of(fusion, "classify", OPTIONS), encoders=encoders)
    model._train(job)
    spent = time.process_time() - started
    tokens, present = encode(job.network, job.views, test), job.found.present_NV[test]
    answers = {"all": answer(job.network, tokens, present)}
    for v, view in enumerate(job.found.names):
        answers[f"without {view}"] = answer(job.network, tokens, present & (np.arange(present.shape[1]) != v))
    about = {
        "cpu_seconds": spent, "parameters": sum(p.numel() for p in job.network.fusion.parameters()),
        "views": job.found.names, "train": len(job.train_rows), "classes": len(job.task.classes), "machine": machine(),
        "fusing": job.fusing,
    }
    path = place(name, fusion, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(
            file, labels=ready.labels, groups=ready.groups, about=np.array(json.dumps(about)),
            **{key: value.astype(np.float32) for key, value in answers.items()},
        )
    part.replace(path)
    accuracy = (answers["all"].argmax(1) == ready.labels).mean()
    say(f"{name}: {fusion}, seed {seed}: accuracy {accuracy:.3f}, {spent:.1f} CPU s")


def run(names: Sequence[str], wanted: Sequence[str], seeds: Sequence[int], folders: Mapping[str, Path]) -> None:
    """Fit what is missing, set by set, all fusions of a seed before the next seed."""
    for name in names:
        todo = [(seed, fusion) for seed in seeds for fusion in wanted if not place(name, fusion, seed).is_file()]
        if not todo:
            continue
        started = time.process_time()
        ready = prepare_set(name, folders.get(name, Path(".")))
        say(f"{name}: views encoded in {time.process_time() - started:.0f} CPU s; {len(todo)} fits to do")
        for seed, fusion in todo:
            fit(name, ready, fusion, seed)


# --- the tables ----------------------------------------------------------------------------------


def results(name: str) -> dict[str, list[dict[str, Any]]]:
    """{fusion: what each seed's file holds}."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((PLACE / name).glob("*/seed*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            one = {key: arrays[key] for key in arrays.files}
        one["about"] = json.loads(str(one["about"]))
        found.setdefault(path.parent.name, []).append(one)
    return found


def measures(runs: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """{measure: (N,)} of each test record, mean over seeds."""
    labels = runs[0]["labels"]
    known = np.maximum(labels, 0)

    def right(answers: np.ndarray) -> np.ndarray:
        return answers.argmax(1) == labels

    def loss(answers: np.ndarray) -> np.ndarray:
        return -np.log(np.maximum(answers[np.arange(len(labels)), known], 1e-7))

    def mean(of: Callable[[Mapping[str, Any]], np.ndarray]) -> np.ndarray:
        return np.mean([of(one) for one in runs], 0)

    gone = [key for key in runs[0] if key.startswith("without ")]
    return {
        "accuracy": mean(lambda one: right(one["all"])),
        "log loss": mean(lambda one: loss(one["all"])),
        "fewer": mean(lambda one: np.mean([right(one[key]) for key in gone], 0)),
    }


def interval(values_N: np.ndarray, groups_N: np.ndarray) -> tuple[float, float, float]:
    """Mean and its 95 % bounds by a bootstrap over groups; the same draws for every fusion, so differences are paired."""
    size_G = np.bincount(groups_N)
    sum_G = np.bincount(groups_N, values_N)
    rng = np.random.default_rng(0)
    drawn_SG = rng.multinomial(len(size_G), np.full(len(size_G), 1 / len(size_G)), SAMPLES)
    means_S = drawn_SG @ sum_G / (drawn_SG @ size_G)
    low, high = np.percentile(means_S, [2.5, 97.5])
    return float(values_N.mean()), float(low), float(high)


def table(name: str) -> list[str]:
    """Lines of Markdown: every fusion of a set, the best first."""
    found = results(name)
    if RIVAL not in found:
        return []
    groups = found[RIVAL][0]["groups"]
    whole = {fusion: measures(runs) for fusion, runs in found.items()}
    about = found[RIVAL][0]["about"]
    lines = [
        f"### {name}: {about['train']:,} training and {len(groups):,} test records, {about['classes']} classes, "
        f"views {', '.join(about['views'])}", "",
        f"| fusion | accuracy % | over {RIVAL}, points | log loss | over {RIVAL} | one view gone, % | CPU s a fit | "
        "parameters | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for fusion in sorted(whole, key=lambda fusion: -whole[fusion]["accuracy"].mean()):
        mine, rival, runs = whole[fusion], whole[RIVAL], found[fusion]
        points = [100 * value for value in interval(mine["accuracy"], groups)]
        gain = [100 * value for value in interval(mine["accuracy"] - rival["accuracy"], groups)]
        loss, apart = interval(mine["log loss"], groups), interval(mine["log loss"] - rival["log loss"], groups)
        cost = np.mean([one["about"]["cpu_seconds"] for one in runs])
        lines.append(
            f"| `{fusion}` | {points[0]:.1f} [{points[1]:.1f}, {points[2]:.1f}] | {_gain(fusion, gain, '{:+.1f}')} | "
            f"{loss[0]:.3f} | {_gain(fusion, apart, '{:+.3f}')} | {100 * mine['fewer'].mean():.1f} | {cost:.1f} | "
            f"{runs[0]['about']['parameters']:,} | {len(runs)} |"
        )
    return [*lines, ""]


def _gain(fusion: str, values: Sequence[float], form: str) -> str:
    if fusion == RIVAL:
        return ""
    mean, low, high = (form.format(value) for value in values)
    return f"{mean} [{low}, {high}]" if values[1] <= 0 <= values[2] else f"**{mean}** [{low}, {high}]"


def write_page() -> None:
    """Put the tables between the marks of docs/fusions.md; what stands around them is kept."""
    lines = [line for name in SETS for line in table(name)]
    if not lines:
        raise SystemExit(f"there are no results of {RIVAL} below {PLACE}; run python bench/fusions.py first")
    about = next(found[RIVAL][0]["about"]["machine"] for found in map(results, SETS) if RIVAL in found)
    named = (f"{key} {about[key]}" for key in ("cpu", "cores", "threads used", "torch", "polysense"))
    said = f"Measured on: {', '.join(named)}."
    between(PAGE, "fusions.py", [*lines, said])


def main() -> None:
    from polysense.registry import fusions

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--fusions", nargs="+", choices=list(fusions), default=list(fusions))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--stamps", type=Path, default=DATA, help="folder of the stamps' tables, made if absent")
    parser.add_argument("--emoji", type=Path, default=Path("polysense-emoji"), help="of the emoji's tables, made if absent")
    parser.add_argument("--docs", action="store_true", help="write the page from what is there, fit nothing")
    given = parser.parse_args()
    if given.docs:
        write_page()
        return
    run(given.sets, given.fusions, given.seeds, {"stamps": given.stamps, "emoji": given.emoji})
    for name in given.sets:
        print("\n".join(table(name)))


if __name__ == "__main__":
    main()

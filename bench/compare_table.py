"""docs/bench.md and docs/bench.json out of the results that compare.py left.

N records, C classes, R resamples, S seeds.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import Line
from compare import KINDS, PLACE, WHO, views

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- figures: written by bench/compare.py -->", "<!-- end of figures -->"
SAMPLES = 2000
#: A probability of zero for what is true counts as this one.
LEAST = 1e-6
MEASURES = ("accuracy", "macro_f1", "log_loss")
TITLES = {"stamps": "Stamps", "emoji": "Emoji"}
#: What is known of a rival's way with unreadable pictures, where its own run does not tell.
CORRUPT = {
    "logistic": "our own script takes it for absent",
    "lightgbm": "our own script takes it for absent",
    "autogluon": "a black picture, in silence",
}


@dataclass(frozen=True)
class Truth:
    """Test records: class numbers (N,), class names, and resamples of whole groups as weights (R, N)."""

    target_N: np.ndarray
    classes: list[str]
    weight_RN: np.ndarray

    @classmethod
    def read(cls, kind: str) -> Truth:
        with (PLACE / kind / "tables" / "test.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        classes = sorted({row["label"] for row in rows})
        target_N = np.array([classes.index(row["label"]) for row in rows])
        _, group_N = np.unique([row["group"] for row in rows], return_inverse=True)
        groups = group_N.max() + 1
        drawn = np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=SAMPLES)
        return cls(target_N, classes, drawn[:, group_N].astype(np.float32))

    def probabilities(self, path: Path) -> np.ndarray:
        """(N, C) in the order of ``classes``; a class that the rival never saw has zero."""
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file)
        given = np.array([[float(cell or "nan") for cell in line] for line in lines])  # widedeep leaves some empty: NaN
        if len(given) != len(self.target_N):
            raise ValueError(f"{path} has {len(given)} lines for {len(self.target_N)} records")
        return np.stack([given[:, header.index(c)] if c in header else np.zeros(len(given)) for c in self.classes], 1)

    def scores(self, probability_NC: np.ndarray, weight_RN: np.ndarray) -> dict[str, np.ndarray]:
        """Each measure for every row of weights."""
        eye = np.eye(len(self.classes), dtype=np.float32)
        true_NC, said_NC = eye[self.target_N], eye[np.nan_to_num(probability_NC, nan=-1.0).argmax(1)]
        right_N = (true_NC * said_NC).sum(1)
        of_true = probability_NC[np.arange(len(self.target_N)), self.target_N]
        loss_N = -np.log(np.clip(np.nan_to_num(of_true), LEAST, 1)).astype(np.float32)
        total_R = weight_RN.sum(1)
        hit_RC, said_RC, true_RC = (weight_RN @ one for one in (true_NC * said_NC, said_NC, true_NC))
        f1_RC = 2 * hit_RC / np.maximum(said_RC + true_RC, 1e-9)
        there_RC = true_RC > 0
        return {
            "accuracy": weight_RN @ right_N / total_R,
            "macro_f1": (f1_RC * there_RC).sum(1) / there_RC.sum(1),
            "log_loss": weight_RN @ loss_N / total_R,
        }


def _about(kind: str, who: str, run: str) -> dict[str, Any] | None:
    file = PLACE / kind / who / run / "about.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _seeds(kind: str, who: str) -> list[int]:
    return [seed for seed in range(100) if _about(kind, who, f"seed{seed}")]


def _drawn(truth: Truth, kind: str, who: str, name: str, seeds: Sequence[int]) -> dict[int, dict[str, np.ndarray]]:
    """{seed: {measure: (1 + R,)}}: the figure itself, then its resamples. One run stands for all seeds where it may."""
    weights = np.vstack([np.ones((1, truth.weight_RN.shape[1]), np.float32), truth.weight_RN])
    out: dict[int, dict[str, np.ndarray]] = {}
    for seed in seeds:
        run = f"seed{seed}" if WHO[who].seeded else "seed0"
        if not WHO[who].seeded and out:
            out[seed] = next(iter(out.values()))
            continue
        file = PLACE / kind / who / run / f"{name}.csv"
        if file.is_file():
            out[seed] = truth.scores(truth.probabilities(file), weights)
    return out


def _figure(drawn: Mapping[int, Mapping[str, np.ndarray]], measure: str) -> dict[str, float]:
    mean = np.mean([one[measure] for one in drawn.values()], axis=0)
    low, high = np.quantile(mean[1:], [0.025, 0.975])
    return {"value": float(mean[0]), "low": float(low), "high": float(high)}


def _compared(ours: Mapping[int, Any], theirs: Mapping[int, Any]) -> dict[str, Any]:
    """polysense minus rival over the seeds that both have, paired by record, group and seed."""
    both = sorted(set(ours) & set(theirs))
    if not both:
        return {}
    apart = {seed: {m: ours[seed][m] - theirs[seed][m] for m in MEASURES} for seed in both}
    return {"seeds": both, **{m: _figure(apart, m) for m in MEASURES}}


def figures(kind: str) -> dict[str, Any]:
    """Everything about one set: {rival: quality, cost, missing, corrupt}."""
    truth, found = Truth.read(kind), {}
    ours = {name: _drawn(truth, kind, "polysense", name, _seeds(kind, "polysense")) for name in _tests(kind)}
    for who in WHO:
        seeds = _seeds(kind, who)
        if not seeds:
            continue
        asked = seeds if WHO[who].seeded else list(ours["full"]) or seeds
        drawn = {name: _drawn(truth, kind, who, name, asked) for name in _tests(kind)}
        found[who] = {
            "seeds": list(drawn["full"]),
            "runs": len(seeds),
            "scores": {m: _figure(drawn["full"], m) for m in MEASURES},
            "difference": _compared(ours["full"], drawn["full"]) if who != "polysense" else {},
            "cost": _cost(kind, who, seeds, len(truth.target_N)),
            "missing": {
                name: {
                    "scores": {m: _figure(drawn[name], m) for m in MEASURES},
                    "difference": _compared(ours[name], drawn[name]) if who != "polysense" else {},
                } if drawn[name] else {"failed": _failure(kind, who, name)}
                for name in _tests(kind) if name != "full"
            },
            "corrupt": _corrupt(truth, kind, who),
        }
    return {"records": len(truth.target_N), "classes": len(truth.classes), "rivals": found}


def _tests(kind: str) -> list[str]:
    return ["full", *(f"without-{view}" for view in views(kind))]


def _failure(kind: str, who: str, name: str) -> str:
    about = _about(kind, who, "seed0") or {}
    return about.get("costs", {}).get(f"predict {name}", {}).get("failed", "not run")


def _cost(kind: str, who: str, seeds: Sequence[int], records: int) -> dict[str, Any]:
    """Of the runs without a warm cache; what answers from features pays for them too."""
    abouts = [about for seed in seeds if not (about := _about(kind, who, f"seed{seed}")).get("warm")]
    cost = {
        "fits measured": len(abouts),
        "fit_cpu_s": float(np.mean([about["costs"]["fit"]["cpu"] for about in abouts])),
        "predict_cpu_ms": float(np.mean([1000 * about["costs"]["predict full"]["cpu"] / records for about in abouts])),
        "peak_mb": float(np.max([about["peak_mb"] for about in abouts])),
        "latency_cpu_ms": _latency([_about(kind, who, f"seed{seed}") for seed in seeds]),
    }
    warm = [about["costs"]["fit"]["cpu"] for seed in seeds if (about := _about(kind, who, f"seed{seed}")).get("warm")]
    if warm:
        cost["fit_again_cpu_s"] = float(np.mean(warm))
    if WHO[who].features:
        features = json.loads((PLACE / kind / "features" / "about.json").read_text())
        cost["fit_cpu_s"] += features["costs"]["fit"]["cpu"]
        cost["predict_cpu_ms"] += 1000 * features["costs"]["predict full"]["cpu"] / records
        cost["latency_cpu_ms"] += _latency([features])
        cost["peak_mb"] = max(cost["peak_mb"], features["peak_mb"])
    return cost


def _latency(abouts: Sequence[Mapping[str, Any]]) -> float:
    """CPU milliseconds of one record, NaN where it was not measured."""
    return float(np.median([about["latency_cpu_ms"] for about in abouts if "latency_cpu_ms" in about] or [np.nan]))


def _corrupt(truth: Truth, kind: str, who: str) -> dict[str, Any]:
    place = PLACE / kind / who / "seed0-corrupt"
    if (place / "failed.txt").is_file():
        lines = [line for line in (place / "failed.txt").read_text().splitlines() if line.strip()]
        return {"did": f"stops: {lines[-1][:120]}"}
    about = _about(kind, who, "seed0-corrupt")
    if about is None:
        return {}
    drawn = _drawn(truth, kind, who, "../seed0-corrupt/full", [0])
    clean = _drawn(truth, kind, who, "full", [0])
    did = CORRUPT.get(who, "")
    if "bad_cells" in about:
        did = f"names them: {about['training_bad_cells']} cells at fit, {about['bad_cells']['test']} at predict"
    lost = {0: {m: drawn[0][m] - clean[0][m] for m in MEASURES}}
    return {"did": did, "scores": {m: _figure(drawn, m) for m in MEASURES}, "change": {m: _figure(lost, m) for m in MEASURES}}


# --- the page ------------------------------------------------------------------------------------


def _points(one: Mapping[str, float] | None, scale: float = 100, digits: int = 1) -> str:
    if not one:
        return "-"
    value, low, high = (scale * one[key] for key in ("value", "low", "high"))
    strong = "**" if low > 0 or high < 0 else ""
    return f"{strong}{value:+.{digits}f}{strong} [{low:+.{digits}f}, {high:+.{digits}f}]"


def _rows(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |", "|" + "---|" * len(header),
        *("| " + " | ".join(line) + " |" for line in lines), "",
    ]


def _quality(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for who, one in found["rivals"].items():
        scores, apart = one["scores"], one["difference"]
        lines.append([
            WHO[who].title, str(len(one["seeds"])) if WHO[who].seeded else "one, no seed",
            f"{100 * scores['accuracy']['value']:.1f}", _points(apart.get("accuracy")),
            f"{100 * scores['macro_f1']['value']:.1f}", _points(apart.get("macro_f1")),
            f"{scores['log_loss']['value']:.3f}", _points(apart.get("log_loss"), 1, 3),
        ])
    apart = "polysense minus it"
    header = ["", "seeds", "accuracy %", apart, "macro F1 %", apart, "log loss", apart]
    return _rows(header, lines)


def _costs(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for who, one in found["rivals"].items():
        cost = one["cost"]
        again = f" ({cost['fit_again_cpu_s']:.0f} with a warm cache)" if "fit_again_cpu_s" in cost else ""
        alone = f"{cost['latency_cpu_ms']:.0f}".replace("nan", "-")
        lines.append([
            WHO[who].title, f"{cost['fit_cpu_s']:.0f}{again}", f"{cost['predict_cpu_ms']:.0f}", alone,
            f"{cost['peak_mb']:.0f}",
        ])
    return _rows(["", "fit, CPU s", "predict, CPU ms a record", "one record alone, CPU ms", "peak memory, MB"], lines)


def _missing(kind: str, found: Mapping[str, Any]) -> list[str]:
    header = ["accuracy %, points of polysense over it", "nothing missing", *(f"no {view}" for view in views(kind))]
    lines = []
    for who, one in found["rivals"].items():
        cells = [f"{100 * one['scores']['accuracy']['value']:.1f}"]
        for part in one["missing"].values():
            if "failed" in part:
                cells.append("not run" if part["failed"] == "not run" else "fails")
                continue
            apart = part["difference"].get("accuracy")
            cells.append(f"{100 * part['scores']['accuracy']['value']:.1f}" + (f" ({_points(apart)})" if apart else ""))
        lines.append([WHO[who].title, *cells])
    return _rows(header, lines)


def _spoilt(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for who, one in found["rivals"].items():
        part = one["corrupt"]
        if part:
            lines.append([WHO[who].title, part["did"], _points(part.get("change", {}).get("accuracy"))])
    header = ["", "what it does with a picture that is cut short or not there", "accuracy, points lost or won"]
    return _rows(header, lines) if lines else []


def page(found: Mapping[str, Any]) -> list[str]:
    """The generated part of docs/bench.md."""
    out = []
    for kind, one in found["sets"].items():
        out += [f"### {TITLES[kind]}: {one['records']} test records, {one['classes']} classes", "", *_quality(one)]
        out += ["What it costs:", "", *_costs(one)]
        out += ["One view emptied in all test records (models as fitted on whole ones):", "", *_missing(kind, one)]
        spoilt = _spoilt(one)
        if spoilt:
            out += ["5 % of the pictures spoilt in training, validation and test (one seed):", "", *spoilt]
    about = found["machine"]
    out.append(
        f"Measured on {about['cores']} shared cores, {about['cpu']}, one thread each; polysense {about['polysense']}, "
        f"torch {about['torch']}, Python {about['python']}. Intervals: 95 %, {SAMPLES} paired resamples of whole groups, "
        "mean over the seeds that both have; bold where they leave out 0."
    )
    return out


def write_pages(machine: Mapping[str, Any]) -> list[Line]:
    """Write both pages; the lines to print."""
    kinds = [kind for kind in KINDS if (PLACE / kind / "tables" / "done").is_file()]
    file = DOCS / "bench.json"
    before = json.loads(file.read_text(encoding="utf-8"))["sets"] if file.is_file() else {}
    here = {kind: figures(kind) for kind in kinds}  # a set that was not run here keeps its figures
    found = {"machine": dict(machine), "sets": {kind: (before | here)[kind] for kind in KINDS if kind in before | here}}
    DOCS.mkdir(exist_ok=True)
    (DOCS / "bench.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    file = DOCS / "bench.md"
    whole = file.read_text(encoding="utf-8") if file.is_file() else f"# polysense and its rivals\n\n{BEGIN}\n{END}\n"
    before, rest = whole.split(BEGIN)
    after = rest.split(END)[1]
    file.write_text("\n".join([before + BEGIN, "", *page(found), "", END + after]), encoding="utf-8")
    lines = []
    for kind, one in found["sets"].items():
        for who, part in one["rivals"].items():
            accuracy = f"{100 * part['scores']['accuracy']['value']:.1f} %"
            apart = part["difference"].get("accuracy")
            words = f"{accuracy}, polysense {_points(apart)}".replace("**", "") if apart else accuracy
            lines.append(Line(f"{kind}: {WHO[who].title}, {len(part['seeds'])} seeds", words))
    return lines or [Line("no results", "-")]

"""A tiny seeded fit against numbers that were written down: what changes them was meant to, or is a mistake.

Renew them with ``python tests/test_golden.py --renew``, which prints every difference first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polysense import Model, demo

HOME = Path(__file__).parent / "golden"
#: Everything that a better recipe may change is fixed here, so that the numbers stay.
TRAIN = {
    "epochs": 4, "batch": 16, "rate": 3e-3, "optimiser": "adamw", "schedule": "one-cycle", "warmup": 0.2, "decay": 0.1,
    "clip": 1.0, "members": 2, "dim": 8, "drop": 0.5, "dropout": 0.2, "input_dropout": 0.1, "auxiliary": 0.3,
    "distil": 0.0, "regressions": 0.25, "patience": 0,
}
CASES: dict[str, dict[str, Any]] = {
    "frozen": {
        "encoders": {"picture": "image.plain", "sound": "audio.plain", "text": "text.plain", "text_zh": "text.plain",
                     "table": "table.mlp"},
        "options": {"train": TRAIN, "fusion": {"dropout": 0.2}, "task": {"smoothing": 0.1}},
    },
    "trained": {
        "encoders": {"picture": "image.cnn", "sound": "audio.cnn", "text": "text.bag", "text_zh": "text.bag",
                     "table": "table.mlp"},
        "fusion": "transformer",
        "options": {
            "train": {**TRAIN, "epochs": 2, "distil": 0.2}, "fusion": {"heads": 2, "depth": 1, "dropout": 0.1},
            "task": {"smoothing": 0.0}, "picture": {"widths": [4, 8], "pixels": 16},
            "sound": {"widths": [4, 8], "bands": 16, "seconds": 1}, "text": {"dim": 8, "vocabulary": 400},
            "text_zh": {"dim": 8, "vocabulary": 400},
        },
    },
}


def figures(case: str) -> dict[str, Any]:
    """What is written down of a case: losses, some answers, some scores."""
    settings = {"fusion": "concat", "seed": 1, **CASES[case]}
    model = Model("label", **settings).fit(demo.made_up(48, seed=11), valid=demo.made_up(18, seed=12))
    test = demo.made_up(30, seed=13)
    scores = model.evaluate(test, samples=20)["scores"]
    return {
        "loss": [epoch["loss"] for epoch in model.history_],
        "validation loss": [epoch["valid_loss"] for epoch in model.history_],
        "probabilities": model.predict_proba(test[:6]).tolist(),
        "scores": {name: scores[name]["value"] for name in ("accuracy", "macro_f1", "log_loss", "ece")},
    }


def written(case: str) -> dict[str, Any]:
    path = HOME / f"{case}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def rounded(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: rounded(value) for key, value in node.items()}
    return [rounded(value) for value in node] if isinstance(node, list) else round(node, 5)


@pytest.mark.parametrize("case", CASES)
def test_the_figures_are_those_that_were_written_down(case):
    """To 1 in 100: another processor rounds otherwise, and training carries it on. Two answers may tip over."""
    found, golden = figures(case), written(case)
    for name in ("loss", "validation loss"):
        np.testing.assert_allclose(found[name], golden[name], rtol=0.01, err_msg=name)
    np.testing.assert_allclose(found["probabilities"], golden["probabilities"], atol=0.01)
    for name, value in golden["scores"].items():
        tolerance = 0.02 if name == "log_loss" else 0.07
        assert found["scores"][name] == pytest.approx(value, abs=tolerance), name


def renew() -> None:
    """Print each difference, then write the new figures."""
    for case in CASES:
        found, golden = rounded(figures(case)), written(case)
        for name, value in found.items():
            if golden.get(name) != value:
                print(f"{case}, {name}:\n  was {json.dumps(golden.get(name))}\n  is  {json.dumps(value)}")
        HOME.mkdir(exist_ok=True)
        (HOME / f"{case}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--renew"]:
        sys.exit("usage: python tests/test_golden.py --renew")
    import torch

    torch.set_num_threads(1)
    renew()

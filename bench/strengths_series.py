"""Uneven sampling: a made set where only an encoder that reads time stamps can win.

    python bench/strengths.py --sets uneven

A record is a wave of 1 or 2 cycles a second, seen at 40 uneven moments: the mean time between two samples is drawn
evenly on a logarithmic scale from 1/80 s to 1/10 s, a range of 8. By index the wave has frequency times time between
samples cycles a sample; both classes fill the same range but for its ends, so that whoever reads no time can be right at
most in 1/2 + 1/2 * log 2 / log 8 = 67 % of the records. Phase, height, noise and gaps (a tenth of the samples) are random.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: Records that answers are judged on.
TEST = 600
#: What an encoder's name ends in where it is to read no time stamps.
BY_INDEX = ", by index"


def records(n: int, seed: int, samples: int = 40) -> list[dict[str, Any]]:
    """Waves with their time stamps; ``label`` is the true frequency."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        apart = np.exp(rng.uniform(np.log(1 / 80), np.log(1 / 10)))
        at = np.cumsum(apart * rng.uniform(0.5, 1.5, samples))
        turns = (1 + i % 2) * at + rng.uniform()
        x = rng.uniform(0.7, 1.4) * np.sin(2 * np.pi * turns) + rng.normal(0, 0.1, samples)
        x[rng.random(samples) < 0.1] = np.nan
        made.append({"wave": {"time": at.tolist(), "height": x.tolist()}, "label": ("slow", "fast")[i % 2]})
    return made


def accuracy(encoder: str, seed: int, n: int) -> float:
    """Of a model whose one view is read by this encoder, on 600 records of its own seed.

    Regressions, which a fit mixes in by default, are left out: they read plain features of time.
    """
    from polysense import Model

    timed = {} if not encoder.endswith(BY_INDEX) else {"wave.time": False}
    model = Model(
        "label", encoders={"wave": encoder.removesuffix(BY_INDEX)}, options={"train.regressions": 0.0} | timed, seed=seed,
        cache=False,
    )
    test = records(TEST, 1000 + seed)
    answers = model.fit(records(n, seed)).predict(test)
    return float(np.mean(answers == np.array([record["label"] for record in test])))

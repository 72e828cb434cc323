"""Uneven sampling: a made set where only an encoder that reads time stamps can win.

    python bench/strengths_series.py [--records 800] [--seeds 3]

A record is a wave of 1 or 2 cycles a second, seen at 40 uneven moments: the mean time between two samples is drawn
evenly on a logarithmic scale from 1/80 s to 1/10 s, a range of 8. By index the wave has frequency times time between
samples cycles a sample; both classes fill the same range but for its ends, so that whoever reads no time can be right at
most in 1/2 + 1/2 * log 2 / log 8 = 67 % of the records. Phase, height, noise and gaps (a tenth of the samples) are random.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and torch load

import argparse
import time
from statistics import mean
from typing import Any

import numpy as np

#: Best possible without time stamps.
CEILING = 2 / 3
ENCODERS = ("series.plain", "series.tcn", "series.rnn", "series.transformer")


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


def run(n: int, seeds: int) -> list[tuple[str, bool, list[float], float]]:
    """(encoder, reads time, accuracy of every seed on 600 new records, CPU seconds a fit)."""
    from polysense import Model

    test = records(600, 1000)
    found = []
    for encoder in ENCODERS:
        for timed in (True, False) if encoder != "series.plain" else (True,):
            options = {"train.regressions": 0.0} | ({} if timed else {"wave.time": False})
            scores, started = [], time.process_time()
            for seed in range(seeds):
                model = Model("label", encoders={"wave": encoder}, options=options, seed=seed, cache=False)
                answers = model.fit(records(n, seed)).predict(test)
                scores.append(float(np.mean(answers == np.array([record["label"] for record in test]))))
            found.append((encoder, timed, scores, (time.process_time() - started) / seeds))
            name = encoder if timed else f"{encoder}, by index"
            said = "  ".join(f"{score:.3f}" for score in scores)
            print(f"{name:28}  {said}   mean {mean(scores):.3f}   {found[-1][3]:.0f} CPU s", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    print(f"accuracy on 600 records, {given.records} to learn from; at most {CEILING:.3f} without time stamps")
    found = run(given.records, given.seeds)
    deaf = [mean(scores) for _, timed, scores, _ in found if not timed]
    heard = [mean(scores) for encoder, timed, scores, _ in found if timed and encoder != "series.plain"]
    print("reads time: better in every encoder" if min(heard) > max(deaf) else "FAIL: an encoder without time is as good")


if __name__ == "__main__":
    main()

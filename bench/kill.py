"""SIGKILL at random moments of training and saving: the model that comes out in the end is the same, bit for bit.

    python bench/kill.py [ROUNDS] [--seed N] [--kind model|recommender]

Each round is a fit of made-up records (of a recommender: items, with made-up users) with a frozen encoder, a trainable one
with running means, and a table, in a process of its own that writes a checkpoint after every batch and then replaces an older
model. It is killed at a random moment of the whole fit, or (every third time) while it saves, and started again with resume
until it ends; every second time it is killed once more on its way. After each kill a whole model, the old one or the new one,
must lie in its place. In the end every file but the date and the CPU seconds must equal the undisturbed run's.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import DATA, Line, say

from polysense import store

#: One that learns and has running means, and one that is frozen.
ENCODERS, CNN = {"picture": "image.cnn", "text": "text.plain"}, {"picture.pixels": 16, "picture.widths": [4, 8]}


def rounds(count: int, *, seed: int = 0, kind: str = "model", say: Callable[[str], None] = say) -> tuple[int, int]:
    """(rounds whose model equals the undisturbed one, kills in all)."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        home = Path(name)
        data = _tables(kind)
        _estimator(kind, 1).set_params(cache=False).fit(*data).save(home / "old" / "m")  # all is imported before forks
        started = time.perf_counter()
        _child(home / "whole", data, kind)
        seconds = time.perf_counter() - started
        say(f"undisturbed: {seconds:.1f} s")
        expected, equal, kills = facts_of(home / "whole" / "m"), 0, 0
        for number in range(count):
            died, tried = 0, 0
            while not died:  # a fit that was faster than its killer is done anew, in a place of its own
                tried += 1
                place = home / f"round-{number}-{tried}"
                plan: list[Any] = ["saving" if number % 3 == 2 else chance.uniform(0, seconds) / tried]
                plan += [chance.uniform(0, seconds)] if number % 2 else []
                died = _until_done(place, data, kind, plan, home / "old" / "m", chance)
            same = facts_of(place / "m") == expected
            left = sorted(path.name for path in place.iterdir() if path.name != "cache")
            equal += same and left == ["m"]
            kills += died
            moments = ", ".join("saving" if moment == "saving" else f"{moment:.1f} s" for moment in plan)
            say(f"{number + 1}: killed {died} times ({moments}): {'equal' if same else 'DIFFERS'}, left {left}")
    return equal, kills


def _until_done(
    place: Path, data: Any, kind: str, plan: list[Any], old: Path, chance: random.Random
) -> int:
    """Fit, be killed as planned, go on until it ends; how often it was killed."""
    place.mkdir()
    shutil.copytree(old, place / "m")
    killed = 0
    for moment in [*plan, None]:
        if _child(place, data, kind, kill=moment, chance=chance):
            break
        killed += 1
        store.load(place / "m")  # raises where no whole model lies there
    return killed


def _child(
    place: Path, data: Any, estimator: str, *, seed: int = 0, kill: Any = None, chance: random.Random | None = None
) -> bool:
    """Fit and save in a process of its own; whether it came to its end.

    Args:
        kill: None, seconds from its start, or "saving".
    """
    place.mkdir(exist_ok=True)
    heard, tell = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(heard)
            os.environ["POLYSENSE_CACHE"] = str(place / "cache")
            _fit(place, data, estimator, seed, tell)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    os.close(tell)
    if kill is not None:
        if kill == "saving":
            os.read(heard, 1)  # comes when training is over, or never
            time.sleep(chance.uniform(0, 0.15))
        else:
            _wait(child, kill)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(heard)
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the fit ended with {code}")
    return code == 0


def _wait(child: int, seconds: float) -> None:
    """Until the time has come, or the child has ended (it stays to be waited for)."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.002)


def _fit(place: Path, data: Any, kind: str, seed: int, tell: int) -> None:
    sys.stderr = open(os.devnull, "w")
    model = _estimator(kind, seed).fit(*data, checkpoints=place / "m.fitting", resume=True)
    os.write(tell, b"x")
    model.save(place / "m")


def _tables(kind: str) -> tuple[list[dict[str, Any]], ...]:
    from polysense import demo

    names = ("label", "text", "picture", "temperature", "wind", "place")
    records = [{name: record[name] for name in names} for record in demo.made_up(48)]
    if kind == "model":
        return (records,)
    chance = random.Random(0)
    taken = [{"user": f"u{u}", "item": f"i{i}"} for u in range(30) for i in chance.sample(range(40), 5)]
    return taken, [{"item": f"i{i}", **record} for i, record in enumerate(records)]


def _estimator(kind: str, seed: int) -> Any:
    from polysense import Model, Recommender

    if kind == "recommender":
        return Recommender(seed=seed, encoders=ENCODERS, options={
            "recommend.epochs": 4, "recommend.dim": 8, "recommend.width": 8, "recommend.members": 2, "recommend.batch": 24,
            "recommend.patience": 3, "recommend.fresh": 16, "train.checkpoint": 0, **CNN,
        })
    return Model(
        "label", seed=seed, encoders=ENCODERS,
        options={
            "train.epochs": 4, "train.dim": 8, "train.members": 2, "train.batch": 12, "train.checkpoint": 0,
            "train.patience": 3, "train.average": 2, **CNN,
        },
    )


def facts_of(folder: Path) -> dict[str, Any]:
    """Everything in a model folder but when and how long: facts, states, and the hash of every file."""
    facts, _ = store.load(folder)
    facts["made"] = {key: value for key, value in facts["made"].items() if key not in ("date", "cpu_seconds")}
    return facts


def run(data: Path = DATA, count: int = 50, seed: int = 0, kind: str = "model") -> list[Line]:
    """The line of ``python bench``; the demo's tables are not needed."""
    equal, kills = rounds(count, seed=seed, kind=kind)
    what = "fits" if kind == "model" else f"fits of a {kind}"
    return [Line(f"killed {kills} times in {count} {what}", f"{equal} of {count} equal", f"{count} of {count}", equal == count)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rounds", nargs="?", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=["model", "recommender"], default="model")
    given = parser.parse_args()
    (line,) = run(count=given.rounds, seed=given.seed, kind=given.kind)
    print(f"{line.what}: {line.figure}")
    sys.exit(not line.passed)

"""Damaged files for as long as it is told: pictures, sounds, tables, model folders. Only our own sentences may come out.

    python bench/fuzz.py [image audio table model] [--seconds N] [--seed N]

Each kind works in a process of its own, whose memory may grow by 1 GB and no more. A file that brings out anything
else is kept in bench/out/fuzz and named; then it ends with 1.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from common import OUT

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import damage
import small

KINDS = ("image", "audio", "table", "model")
GROWTH = 1 << 30  # bytes
MOST_FOUND = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python bench/fuzz.py", description=__doc__.split("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; all if none is named")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each kind")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    unknown = [kind for kind in given.kinds if kind not in KINDS]
    if unknown:
        parser.error(f"there is no kind '{unknown[0]}'; choose from {', '.join(KINDS)}")
    failed = 0
    for kind in given.kinds or KINDS:
        child = os.fork()
        if child == 0:
            _work(kind, given.seconds, given.seed)
        _, status, usage = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(status)
        print(f"{kind}: ended with {code}, largest memory {usage.ru_maxrss / 1024:.0f} MB", flush=True)
        failed |= code != 0
    sys.exit(failed)


def _work(kind: str, seconds: float, seed: int) -> None:
    """A process's life: never returns."""
    code = 1
    try:
        with tempfile.TemporaryDirectory() as folder:
            code = _fuzz(kind, seconds, random.Random(seed), Path(folder))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _fuzz(kind: str, seconds: float, random: random.Random, folder: Path) -> int:
    cases = _cases(kind, random, folder)
    next(cases)  # what is loaded once is no growth
    here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (here + GROWTH, resource.RLIM_INFINITY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ends: Counter[str] = Counter()
    found: dict[str, str] = {}
    slowest, started = 0.0, time.monotonic()
    while time.monotonic() - started < seconds and len(found) < MOST_FOUND:
        begun = time.process_time()
        try:
            said = next(cases)
            ends["result" if said == "result" else "refused"] += 1
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            key = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
            ends[key] += 1
            if key not in found:
                found[key] = f"{error}"[:200]
                print(f"  FOUND {key}: {found[key]}\n    {' '.join(getattr(error, '__notes__', []))}", flush=True)
            cases = _cases(kind, random, folder)
        slowest = max(slowest, time.process_time() - begun)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{kind}: {sum(ends.values()):,} files, {dict(ends)}, memory grew by {grown:.0f} MB, slowest {slowest:.2f} s")
    return 1 if found else 0


def _cases(kind: str, random: random.Random, folder: Path) -> Iterator[str]:
    """One damaged file after another; yields what came of it."""
    if kind == "model":
        views = "picture text table"
        whole = folder / "whole"
        if not whole.exists():
            small.model(views).fit(small.records(30, views=views)).save(whole)
        damage.loaded(whole)
        yield "begun"
        while True:
            copy = folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(whole, copy)
            said = damage.spoil(copy, random.random(), _edits(random), random.random() < 0.9)
            yield _kept(partial(damage.loaded, copy), said, copy)
    yield "begun"
    while True:
        data = damage.edited(random.choice(damage.seeds(kind)), _edits(random))
        if kind == "table":
            yield _kept(partial(damage.tabled, data, folder / "t.csv"), "table", data)
        else:
            yield _kept(partial(damage.decoded, kind, data), kind, data)


def _edits(random: random.Random) -> list[damage.Edit]:
    return [
        (random.randrange(damage.OPERATIONS), random.choice((random.random(), -random.random())), random.randrange(1 << 16))
        for _ in range(random.choice((1, 1, 2, 3, 6)))
    ]


def _kept(deed: Callable[[], str], said: str, culprit: bytes | Path) -> str:
    """Do it; what brings out a foreign error is kept for later."""
    try:
        return deed()
    except BaseException as error:
        place = OUT / "fuzz" / f"{said.split()[0][:40].replace('/', '_')}-{abs(hash(str(error))) % 10**8}"
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(culprit, bytes):
            place.write_bytes(culprit)
        else:
            shutil.copytree(culprit, place, dirs_exist_ok=True)
        error.add_note(f"{said}, kept as {place}")
        raise


if __name__ == "__main__":
    main()

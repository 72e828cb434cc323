"""Every fault and bad input of the list, each in a process of its own: what was fed, what came of it, memory, seconds.

    python bench/faults.py [NAME ...] [--page FILE]

The cases are those of tests/faulty.py, which the tests run too. Memory is the largest of the case's process beyond
that of a process that has loaded polysense, torch and a model and does nothing. Ends with 1 if one case is red.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from common import machine

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import small
from faulty import CASES, Case, Place, what_happens

#: A case that takes more memory or time than this is killed.
MOST_BYTES, MOST_SECONDS = 4 << 30, 120


@dataclass(frozen=True)
class Seen:
    """What came of a case.

    Attributes:
        megabytes: largest memory beyond that of an idle process.
        seconds: CPU time of the case alone.
        wrong: why the case is red, empty if it is green.
    """

    case: Case
    said: str
    megabytes: float
    seconds: float
    wrong: str


def main() -> None:
    parser = argparse.ArgumentParser(prog="python bench/faults.py", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases; all if none is named")
    parser.add_argument("--page", type=Path, help="write the table as a page there")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in CASES]
    if unknown:
        parser.error(f"there is no case '{unknown[0]}'; choose from {', '.join(CASES)}")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        _in_a_process(lambda: small.model().fit(small.records(30)).save(model))
        _warm(model)
        idle = max(_in_a_process(lambda: None)["peak"] for _ in range(3))
        seen = []
        for i, name in enumerate(given.names or CASES):
            place = Place(Path(folder) / str(i), model)
            place.folder.mkdir()
            seen.append(_try(CASES[name], place, idle))
            print(_line(seen[-1]), flush=True)
    red = [one for one in seen if one.wrong]
    print(f"\n{len(seen) - len(red)} of {len(seen)} green; an idle process takes {idle:.0f} MB; {machine()['cpu']}, 1 thread")
    for one in red:
        print(f"\nRED {one.case.name}: {one.wrong}\n  {one.said}\n  must say: {one.case.ends}")
    if given.page:
        given.page.write_text(_page(seen, idle), encoding="utf-8")
    sys.exit(1 if red else 0)


def _warm(model: Path) -> None:
    """Load what any use loads, so that a case pays for its own deed only."""
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import safetensors.numpy  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import soundfile  # noqa: F401
    from PIL import Image

    import polysense

    Image.init()
    _in_a_process(lambda: polysense.load(model))  # its threads stay in that process: this one will fork again
    import polysense.keep  # noqa: F401
    import polysense.model  # noqa: F401


def _try(case: Case, place: Place, idle: float) -> Seen:
    found = _in_a_process(lambda: what_happens(case, place))
    said = str(found["said"]).replace(str(place.folder.parent), "")
    megabytes = max(0.0, found["peak"] - idle)
    wrong = ""
    if found["died"]:
        wrong = found["died"]
    elif not re.search(case.ends, said, re.DOTALL):
        wrong = "it says something else"
    elif "\n" in said:
        wrong = "more than one sentence"
    elif megabytes > case.megabytes:
        wrong = f"{megabytes:.0f} MB, more than {case.megabytes}"
    elif found["seconds"] > case.seconds:
        wrong = f"{found['seconds']:.1f} s, more than {case.seconds}"
    return Seen(case, said, megabytes, found["seconds"], wrong)


def _in_a_process(deed) -> dict:
    """Run something in a copy of this process, bounded in memory and time; what it returned and what it cost."""
    gc.collect()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _bounded(deed, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    found = json.loads(said) if said else {"said": "", "seconds": usage.ru_utime + usage.ru_stime}
    died = found.get("raised", "") or (f"the process ended with {code}" if code else "")
    return found | {"peak": usage.ru_maxrss / 1024, "died": died}


def _bounded(deed, writer: int) -> None:
    """The child's life: never returns."""
    code = 1
    try:
        signal.alarm(MOST_SECONDS)
        here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (here + MOST_BYTES, resource.RLIM_INFINITY))
        started = time.process_time()
        found: dict = {}
        try:
            found["said"] = deed()
            if not isinstance(found["said"], str):
                found["said"] = ""
        except BaseException as error:  # what a PolysenseError did not become
            found |= {"said": traceback.format_exc(limit=-2), "raised": f"{type(error).__name__} came out"}
        found["seconds"] = time.process_time() - started
        os.write(writer, json.dumps(found).encode()[: 1 << 16])
        code = 0
    finally:
        os._exit(code)


# --- the table -----------------------------------------------------------------------------------


def _line(one: Seen) -> str:
    light = "RED  " if one.wrong else "green"
    return f"{light} {one.case.fed[:58]:<58} {one.megabytes:5.0f} MB {one.seconds:5.1f} s  {_short(one.said, 110)}"


def _short(said: str, most: int) -> str:
    said = " ".join(said.split())
    return said if len(said) <= most else said[: most - 3] + "..."


def _page(seen: list[Seen], idle: float) -> str:
    about = machine()
    lines = [
        "# What is fed, and what comes of it", "",
        "Written by `make faults`: each line ran in a process of its own. `result` means that the work went on; "
        "anything else is the one sentence that the user gets, with its class. Memory is what the process took beyond "
        f"an idle one ({idle:.0f} MB with torch and a model loaded); seconds are CPU seconds.", "",
        f"Measured on {about['cpu']} ({about['cores']} cores, 1 thread), one run.", "",
        "| fed | what came of it | MB | s |", "|---|---|---:|---:|",
    ]
    for one in seen:
        said = _short(one.said, 200).replace("|", "\\|")
        lines.append(f"| {one.case.fed} | {'**RED** ' if one.wrong else ''}{said} | {one.megabytes:.0f} | {one.seconds:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

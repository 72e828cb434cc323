"""Several processes on one job, as torchrun starts them: the same scores as one, each record counted once."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from door import write_table
from small import records

from polysense import processes

#: Trains the network of test_loop without dropout, in however many processes, and prints its weights.
LOOP = """
import json, os, sys
sys.path.insert(0, "{tests}")
import test_loop as here
from polysense import processes
from polysense.registry import fusions
make = fusions.make
here.fusions = type("plain", (), {{"make": staticmethod(lambda name, views, dim: make(name, views, dim, dropout=0.0))}})
made, history = here.run(here.small(dropout=0, input_dropout=0, drop=0, batch=7, patience=2))
if processes.first():
    print(json.dumps({{"weights": here.weights(made).tolist(), "epochs": history.epochs}}))
"""


def torchrun(*command, count=2, cwd=None, **more):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)} | more
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count), *command],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=400,
    )


def test_alone_everything_is_the_identity():
    assert (processes.count(), processes.rank(), processes.first()) == (1, 0, True)
    assert processes.mine([1, 2, 3]) == [1, 2, 3] and processes.as_first(0.1) == 0.1
    done = []
    processes.from_first(lambda: done.append(1))
    processes.wait()
    assert done == [1]


def test_parts_are_every_second_one(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert not processes.first() and list(processes.mine(np.arange(5))) == [1, 3]


@pytest.mark.slow
def test_two_processes_train_to_the_weights_of_one(tmp_path):
    """18 records in batches of 7: the last batch has 4, so both halves of a batch, even and odd, occur."""
    script = tmp_path / "loop.py"
    script.write_text(LOOP.format(tests=os.path.dirname(__file__)))
    one, two = (torchrun(str(script), count=count) for count in (1, 2))
    assert one.returncode == two.returncode == 0, two.stderr
    one, two = json.loads(one.stdout.splitlines()[-1]), json.loads(two.stdout.splitlines()[-1])
    np.testing.assert_allclose(one["weights"], two["weights"], atol=2e-5)
    for mine, theirs in zip(one["epochs"], two["epochs"], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)


@pytest.mark.slow
def test_two_processes_count_and_score_as_one(tmp_path):
    """The command line, without dropout: the same scores, every record once, one voice, one folder."""
    write_table(tmp_path / "train.csv", records(61, views="text table"))
    plain = [f"--set={key}=0" for key in ("train.dropout", "train.input_dropout", "train.drop", "fusion.dropout")]
    fit = ["-m", "polysense", "fit", "train.csv", "--target", "label", "--set", "train.epochs=3",
           "--encoder", "text=text.plain", *plain]
    found = {}
    for count in (1, 2):
        run = torchrun(*fit, "--out", f"model{count}", count=count, cwd=tmp_path, POLYSENSE_CACHE=str(tmp_path / f"c{count}"))
        assert run.returncode == 0, run.stderr
        assert run.stderr.count("The model: ") == 1 and run.stderr.count("records for training") == 1
        found[count] = json.loads((tmp_path / f"model{count}" / "model.json").read_text())["model"]
    one, two = found[1], found[2]
    assert (one["data"]["train"], one["data"]["valid"]) == (two["data"]["train"], two["data"]["valid"])
    assert one["valid"]["records"] == two["valid"]["records"] == one["data"]["valid"]
    for name in ("accuracy", "macro_f1", "log_loss"):
        assert one["valid"]["scores"][name]["value"] == pytest.approx(two["valid"]["scores"][name]["value"], abs=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir() if "fitting" in path.name) == []


def test_large_blocks_are_given_back_at_once():
    """In a process of its own: 64 blocks, every second one freed, leave half behind only where memory is steady."""
    code = """
import resource, sys
from polysense import processes
print(processes.steady_memory())
import numpy as np
warm = np.ones(3 << 20); del warm
blocks = [np.ones(10 << 17) for _ in range(32)]
between = [bytearray(4096) for _ in range(64)]
def now():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
full = now(); del blocks[::2]
print(round((full - now()) / (16 * (10 << 20)), 1))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    if said[0] == "False":
        pytest.skip("not glibc, or the user set MALLOC_ variables")
    assert said == ["True", "1.0"]


def test_the_users_own_settings_of_malloc_go_before(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    assert not processes.steady_memory()

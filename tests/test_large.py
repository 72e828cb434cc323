"""Large tables: everything spilled to disk gives the bits of everything in memory; memory does not grow."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polysense import Model
from polysense.data import rows, spool
from polysense.data.cache import Cache
from polysense.learn import features
from polysense.learn.features import frozen
from small import records

OPTIONS = {"train.epochs": 2, "train.members": 2, "train.dim": 8, "train.batch": 16}


@pytest.fixture
def table(tmp_path):
    """Forty records, media as bytes, as a Parquet file."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist(records(40, views="picture text table")), path, row_group_size=8)
    return path


@pytest.mark.parametrize("encoders", [
    {"picture": "image.plain", "text": "text.plain"}, {"picture": "image.cnn", "text": "text.bag"},
], ids=["frozen", "trained"])
def test_spilled_and_held_fits_answer_and_judge_alike(table, monkeypatch, encoders):
    """Features, prepared arrays, tokens and the table itself: all in memory, or all on disk."""
    found = []
    for size in (1 << 40, 0):
        monkeypatch.setattr(rows, "HELD_BYTES", size)
        monkeypatch.setattr(spool, "HELD_BYTES", size)
        made = Model("label", encoders=encoders, options=OPTIONS, cache=False).fit(table)
        found.append((made.predict_proba(table), json.dumps(made.evaluate(table, subsets=True), sort_keys=True)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_blocks_of_any_size_answer_alike(table, monkeypatch):
    made = Model("label", encoders={"picture": "image.plain", "text": "text.plain"}, options=OPTIONS, cache=False).fit(table)
    whole = made.predict_proba(table)
    monkeypatch.setattr(rows.blocks, "__defaults__", (7,))
    np.testing.assert_allclose(made.predict_proba(table), whole, atol=1e-6)


# the frozen pass ----------------------------------------------------------------------------------


class Together(features.Plain):
    """Each output tells with how many others it was computed, as a tower's last digits do."""

    cached = True

    def transform(self, values):
        return np.array([[len(value), len(values)] for value in values], np.float32)

    def fingerprint(self):
        return "together"


def test_what_is_computed_together_does_not_depend_on_the_cache(tmp_path, monkeypatch):
    """Killed after any number of chunks and begun again; or with single rows lost: equal bits."""
    from test_features import text_cells

    monkeypatch.setattr(features, "CHUNK", 4)
    monkeypatch.setattr(features, "KEPT_BYTES", 1)  # every chunk is kept at once
    texts = ["w" * (1 + i * 7 % 5) + str(i) for i in range(18)] + ["w0", None]
    whole = np.asarray(frozen(Together(), text_cells(texts), Cache.off()))
    assert len(set(whole[whole[:, 1] > 0, 1])) == 2, "the last chunk is smaller"

    class Killed(Exception):
        pass

    for chunks in range(5):
        left = [chunks]

        class Mortal(Together):
            def transform(self, values, left=left):
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return super().transform(values)

        cache = Cache(tmp_path / str(chunks))
        with pytest.raises(Killed):
            frozen(Mortal(), text_cells(texts), cache)
        np.testing.assert_array_equal(np.asarray(frozen(Together(), text_cells(texts), cache)), whole)
    names = text_cells(texts).digests([3, 7])
    cache = Cache(tmp_path / "some")
    cache.put("together", names, whole[[3, 7]])
    np.testing.assert_array_equal(np.asarray(frozen(Together(), text_cells(texts), cache)), whole)


# memory -------------------------------------------------------------------------------------------

_CHILD = """
import resource, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, torch
from polysense import Model
from polysense.learn import rivals
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
rivals.STRENGTHS = (10.0,)
def run(path):
    Model("label", encoders={"picture": "image.plain"}, columns={"note": "ignore"}, cache=False,
          options={"train.epochs": 1, "train.members": 1, "train.dim": 8, "train.batch": 1024}).fit(path).predict_proba(path)
run(sys.argv[1]); small = peak(); run(sys.argv[2]); print(small, peak())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(tmp_path):
    """Ten times the records: 100 MB of pictures more, and at most 60 MB of memory more."""
    rng = np.random.default_rng(0)
    for name, count in (("few", 1_500), ("many", 15_000)):
        with pq.ParquetWriter(tmp_path / f"{name}.parquet", pa.schema({
            "picture": pa.binary(), "size": pa.float64(), "label": pa.string(), "note": pa.string(),
        })) as writer:
            for start in range(0, count, 1_500):
                label = rng.integers(0, 3, 1_500)
                head = b"P6 48 48 255\n"
                pixels = rng.integers(0, 180, (1_500, 48 * 48 * 3), dtype=np.uint8) + (label[:, None] * 25).astype(np.uint8)
                writer.write_table(pa.table({
                    "picture": pa.array([head + row.tobytes() for row in pixels], pa.binary()),
                    "size": label + rng.normal(size=1_500), "label": [f"class {i}" for i in label],
                    "note": [f"record {start + i}" for i in range(1_500)],
                }))
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, tmp_path / "few.parquet", tmp_path / "many.parquet"], capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stderr
    few, many = map(float, done.stdout.split())
    assert many - few < 60, f"{few:.0f} MB, then {many:.0f} MB"

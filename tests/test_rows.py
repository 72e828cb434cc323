"""data/rows, data/spool: in memory and on disk the same bits; nothing is held that grows with the table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysense.data import rows as module
from polysense.data import spool
from polysense.data.reading import hex_digests, read_cells
from polysense.data.records import as_records, read_table
from polysense.data.rows import Features, Rows, SparseRows, blocks
from polysense.data.schema import guess
from polysense.demo import made_up


def both(monkeypatch, build):
    """What ``build`` makes in memory, and on disk."""
    made = []
    for size in (1 << 40, 0):
        monkeypatch.setattr(module, "HELD_BYTES", size)
        made.append(build())
    return made


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=6), st.randoms(), st.booleans())
def test_memory_and_disk_give_equal_bits(sizes, random, ragged):
    """Blocks of any number of rows, of one length or of several; rows in any order, some twice."""
    rng = np.random.default_rng(random.randrange(1000))
    made = [rng.normal(size=(n, length if ragged else 3, 2)).astype(np.float32) for n, length in sizes]
    with pytest.MonkeyPatch.context() as patch:
        held, filed = both(patch, lambda: filled(Rows(np.nan), made))
    assert (filed.file is not None) == bool(sum(map(len, made))) and held.file is None
    assert len(held) == len(filed) == sum(map(len, made))
    asked = [random.randrange(len(held)) for _ in range(7)] if len(held) else []
    np.testing.assert_array_equal(held[asked], filed[asked])
    rows = [row for block in made for row in block]
    for i, row in zip(asked, held[asked], strict=True):
        np.testing.assert_array_equal(row[: len(rows[i])], rows[i])
        assert np.isnan(row[len(rows[i]) :]).all()


def filled(store, made):
    for block in made:
        store.append(block)
    return store


def test_sparse_rows(monkeypatch):
    from scipy.sparse import csr_matrix

    whole = np.random.default_rng(0).binomial(1, 0.2, (30, 9)) * np.arange(1.0, 10, dtype=np.float32)
    parts = [csr_matrix(whole[part]) for part in blocks(30, 7)]
    for store in both(monkeypatch, lambda: filled(SparseRows(9), parts)):
        np.testing.assert_array_equal(store[[29, 3, 3, 0]].toarray(), whole[[29, 3, 3, 0]])
        features = Features(np.array([4, -1, 2]), store)
        np.testing.assert_array_equal(features[:].toarray(), [whole[4], 0 * whole[0], whole[2]])
        assert features[np.array([1])].shape == (1, 9) and features[:0].shape == (0, 9)


def test_features_share_rows_and_fill_what_is_absent():
    store = filled(Rows(), [np.array([[1.0, 2.0], [3.0, 4.0]])])
    features = Features(np.array([1, -1, 1, 0]), store, fill=7.0)
    assert features.shape == (4, 2) and features[[3, 1, 0]].tolist() == [[1, 2], [7, 7], [3, 4]]
    assert features.only(np.array([False, True, True, False]))[:].tolist() == [[7, 7], [3, 4]]
    assert features.each(lambda block: 2 * block)[-1:].tolist() == [[2, 4]]


def test_a_full_disk_is_said(monkeypatch):
    from polysense.errors import CannotWrite

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "HELD_BYTES", 0)
    monkeypatch.setattr(module.os, "pwrite", full)
    with pytest.raises(CannotWrite, match="No space left on device; make room there, or set POLYSENSE_CACHE"):
        Rows().append(np.ones((1, 1)))


def test_digests_that_end_in_zeros():
    raw = [bytes(15) + b"\1", b"\1" + bytes(15), b""]
    assert hex_digests(np.array(raw, "S16")).tolist() == [b"0" * 31 + b"1", b"01" + b"0" * 30, b""]


# tables ---------------------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path):
    """The same records as CSV, Parquet and Arrow: text, numbers, a category, a flag."""
    records = [{"note": f"note {i} of many", "size": i / 4, "kind": "abc"[i % 3], "wild": i % 2 == 0} for i in range(60)]
    records[7] |= {"note": None, "size": None, "kind": None, "wild": None}
    table = pa.Table.from_pylist(records)
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=16)
    for name, maker in (("t.arrow", pa.ipc.new_file), ("stream.arrow", pa.ipc.new_stream)):
        with maker(tmp_path / name, table.schema) as writer:
            writer.write_table(table, max_chunksize=9)
    words = [{k: "" if v is None else str(v).lower() if isinstance(v, bool) else v for k, v in r.items()} for r in records]
    lines = [",".join(words[0]), *(",".join(str(v) for v in row.values()) for row in words)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("held", [1 << 40, 0])
def test_every_format_gives_the_same_cells_mapped_or_in_memory(tables, monkeypatch, held):
    monkeypatch.setattr(spool, "HELD_BYTES", held)
    monkeypatch.setattr("polysense.data.records._ROWS", 11)
    monkeypatch.setattr("polysense.data.records._BATCH", 13)
    kinds = {"note": "text", "size": "number", "kind": "category", "wild": "flag"}
    found = {}
    for name in ("t.csv", "t.parquet", "t.arrow", "stream.arrow"):
        records = read_table(tables / name)
        assert (records.mapped is not None) == (held == 0)
        cells = read_cells(records, guess(records, declared=kinds))
        order = np.random.default_rng(0).permutation(60)
        found[name] = cells["note"].values(order), cells["table"].values(order), cells["note"].digests()
        assert cells["note"].present.sum() == cells["table"].present.sum() == 59
        assert records.take(range(40, 60)).column("note", range(5, 20)) == [f"note {i} of many" for i in range(45, 60)]
    assert all(one == found["t.csv"] for one in found.values())
    assert found["t.csv"][1][0] == {"size": order[0] / 4, "kind": "abc"[order[0] % 3], "wild": order[0] % 2 == 0}


def test_pictures_out_of_a_mapped_table(tmp_path, monkeypatch):
    """Pages are given back while cells are read, and read again."""
    pictures = [record["picture"] for record in made_up(40, missing=0)]
    pq.write_table(pa.table({"p": pictures}), tmp_path / "t.parquet", row_group_size=8)
    monkeypatch.setattr(spool, "HELD_BYTES", 0)
    monkeypatch.setattr(spool, "_READS", 3)
    records = read_table(tmp_path / "t.parquet")
    plain = as_records({"p": pictures})
    one, two = (read_cells(some, guess(some))["p"] for some in (records, plain))
    assert one.digests() == two.digests() and records.mapped._reads < 3
    for first, second in zip(one.values(), two.values(), strict=True):
        np.testing.assert_array_equal(first, second)

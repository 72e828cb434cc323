"""The index of vectors: its answers beside numpy's, faults, and what a kill or a second writer leaves."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polysense.data.index import Index
from polysense.errors import BadIndex


def some(n, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def names(n, start=0):
    return [f"id {i}" for i in range(start, start + n)]


def nearest(vectors, queries, k):
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (vectors, queries)]
    near = unit[1] @ unit[0].T
    return np.argsort(-near, axis=1, kind="stable")[:, :k], near


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 12), st.integers(0, 99), st.booleans())
@settings(max_examples=25, deadline=None)
def test_exact_search_is_numpys_whatever_came_and_went(tmp_path_factory, parts, k, seed, again):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("index") / "i"
    index, known = Index.create(folder, 6), {}
    for i, size in enumerate(parts):
        fresh = some(size, seed=int(rng.integers(1 << 30)))
        new = names(size, 10 * i)
        index.add(new, fresh, [{"place": i} for i in range(size)])
        known |= dict(zip(new, fresh, strict=True))
        gone = [name for name in known if rng.random() < 0.3]
        index.delete(gone)
        known = {name: vector for name, vector in known.items() if name not in gone}
        if gone:  # an id that went may come back
            known[gone[0]] = some(1, seed=1000 + i)[0]
            index.add(gone[:1], known[gone[0]][None])
    index = Index(folder) if again else index
    assert len(index) == len(known) and set(index.ids) == set(known)
    queries = some(3, seed=seed + 1)
    hits = index.search(queries, k)
    order = index.ids
    expected, near = nearest(np.stack([known[name] for name in order]), queries, k)
    for q in range(3):
        assert len(hits.ids[q]) == min(k, len(known))
        np.testing.assert_allclose(hits.scores[q], np.sort(near[q])[::-1][:k], atol=1e-6)
        assert hits.ids[q] == [order[i] for i in expected[q]]


def test_meta_comes_with_its_row_and_nothing_is_written_for_nothing(tmp_path):
    index = Index.create(tmp_path / "i", 6)
    index.add([], np.zeros((0, 6)))
    assert len(index) == 0 and index.search(some(1), 3).ids == [[]]
    index.add(names(3), some(3), [{"name": "a", "size": 1.5}, {"name": "b"}, {"name": None, "size": 2}])
    index.add(["other"], some(1, seed=5), [{"colour": "red"}])
    hits = index.search(some(1, seed=5), 4)
    lines = dict(zip(hits.ids[0], index.meta(hits.rows[0]), strict=True))
    assert lines == {
        "id 0": {"name": "a", "size": 1.5}, "id 1": {"name": "b", "size": None}, "id 2": {"name": None, "size": 2.0},
        "other": {"colour": "red"},
    }
    assert hits.ids[0][0] == "other" and hits.scores[0][0] == pytest.approx(1)
    index.add(["id 1"], -some(1, seed=5), replace=True)
    assert index.search(-some(1, seed=5), 1).ids == [["id 1"]] and len(index) == 4


def test_equal_vectors_come_in_the_order_of_their_rows(tmp_path):
    index = Index.create(tmp_path / "i", 2)
    index.add(names(5), np.ones((5, 2)))
    assert index.search([[1, 1]], 3).ids == [["id 0", "id 1", "id 2"]]


@pytest.mark.parametrize(("ids", "vectors", "said"), [
    (["a"], np.ones((1, 5)), "vectors (1, 5) do not fit an index of width 6"),
    (["a"], np.zeros((1, 6)), "the vector 'a' is zero"),
    (["a", "b"], [[1.0] * 6, [np.nan] * 6], "the vector 'b' is not finite"),
    (["a", "a"], np.ones((2, 6)), "the id 'a' is given twice"),
    (["a", "b"], np.ones((1, 6)), "2 ids and 1 vectors"),
    (["id 1"], np.ones((1, 6)), "'id 1' is in the index already"),
])
def test_what_does_not_fit_changes_nothing(tmp_path, ids, vectors, said):
    index = Index.create(tmp_path / "i", 6)
    index.add(names(3), some(3))
    before = {path.name: path.read_bytes() for path in (tmp_path / "i").iterdir()}
    with pytest.raises(BadIndex) as error:
        index.add(ids, vectors)
    assert said in str(error.value)
    with pytest.raises(BadIndex, match="there is no id 'x'"):
        index.delete(["id 0", "x"])
    with pytest.raises(BadIndex, match="number 0 is zero"):
        index.search(np.zeros((1, 6)))
    assert {path.name: path.read_bytes() for path in (tmp_path / "i").iterdir()} == before and len(index) == 3


def test_damage_is_named(tmp_path):
    index = Index.create(tmp_path / "i", 6)
    index.add(names(3), some(3))
    part = next((tmp_path / "i").glob("*.npy"))
    whole, main = part.read_bytes(), (tmp_path / "i" / "index.json").read_text()
    for data in (whole[:100], whole[:-24], b"", b"\x93NUMPY\x01\x00\xff\xff"):
        part.write_bytes(data)
        with pytest.raises(BadIndex, match="damaged"):
            Index(tmp_path / "i")
    part.unlink()
    with pytest.raises(BadIndex, match=f"the file '{part.name}' is missing"):
        Index(tmp_path / "i")
    for text in ("", "{}", "[1]", main.replace('"part-', '"../part-'), main.replace("polysense-index", "other")):
        (tmp_path / "i" / "index.json").write_text(text)
        with pytest.raises(BadIndex):
            Index(tmp_path / "i")
    (tmp_path / "i" / "index.json").write_text(main.replace('"version": 1', '"version": 2'))
    with pytest.raises(BadIndex, match="newer polysense"):
        Index(tmp_path / "i")
    with pytest.raises(BadIndex, match=r"there is no index\.json"):
        Index(tmp_path)
    with pytest.raises(BadIndex, match="is not empty"):
        Index.create(tmp_path / "i", 6)


def test_many_small_parts_become_one_and_rows_keep_their_meta(tmp_path):
    index = Index.create(tmp_path / "i", 6)
    for i in range(40):
        index.add([f"{i}"], some(1, seed=i), [{"at": i}])
    assert len(list((tmp_path / "i").glob("*.npy"))) < 33 and index.ids == [str(i) for i in range(40)]
    for i in (0, 20, 39):
        hits = index.search(some(1, seed=i), 1)
        assert hits.ids == [[str(i)]] and index.meta(hits.rows[0]) == [{"at": i}]
    index.delete([str(i) for i in range(30)])
    assert len(np.load(next((tmp_path / "i").glob("*.npy")))) == 10  # the dead are gone from the disk too
    assert index.search(some(1, seed=39), 1).ids == [["39"]]


def test_the_graph_finds_nearly_what_is_there_and_nothing_dead(tmp_path):
    index = Index.create(tmp_path / "i", 16, exact=400)
    vectors, queries = some(1500, 16), some(50, 16, seed=1)
    index.add(names(1000), vectors[:1000])
    graph = list((tmp_path / "i").glob("*.faiss"))
    assert len(graph) == 1
    index.add(names(100, 1000), vectors[1000:1100])  # few: looked at one by one
    assert list((tmp_path / "i").glob("*.faiss")) == graph
    index.add(names(400, 1100), vectors[1100:])
    assert list((tmp_path / "i").glob("*.faiss")) != graph
    index = Index(tmp_path / "i", exact=400)
    expected, _ = nearest(vectors, queries, 10)
    found = index.search(queries, 10)
    share = np.mean([len(set(one) & {f"id {i}" for i in row}) for one, row in zip(found.ids, expected, strict=True)]) / 10
    assert share > 0.97
    assert index.search(queries, 10, exact=True).ids == [[f"id {i}" for i in row] for row in expected]
    gone = [one[0] for one in found.ids]
    index.delete(list(dict.fromkeys(gone)))
    again = index.search(queries, 10)
    assert not {name for one in again.ids for name in one} & set(gone) and all(len(one) == 10 for one in again.ids)
    next((tmp_path / "i").glob("*.faiss")).write_bytes(b"IxHN")
    with pytest.raises(BadIndex, match="cannot be read"):
        Index(tmp_path / "i").search(queries)


CHILD = """
import sys, numpy as np
from polysense.data import index as I
index = I.Index(sys.argv[1], exact=int(sys.argv[3]))
print("open", flush=True)
for i in range(10**6):
    index.add([f"{sys.argv[2]} {i} {j}" for j in range(20)], np.random.default_rng(1000 + i).normal(size=(20, 6)))
    print(i, flush=True)
"""


def test_killed_while_adding_leaves_whole_batches(tmp_path):
    """At random moments, also while a graph is made and parts are put together; `python bench/index.py` does it fifty times."""
    Index.create(tmp_path / "i", 6).add(names(5), some(5))
    moments = np.random.default_rng(0).uniform(0, 0.25, 6)
    for run, seconds in enumerate(moments):
        command = [sys.executable, "-c", CHILD, tmp_path / "i", f"{run}", "50" if run % 2 else "50000"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "open\n"
        last = int(child.stdout.readline())
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        last = max([last, *map(int, child.stdout.read().split())])
        child.wait()
        index = Index(tmp_path / "i")
        mine = [name for name in index.ids if name.startswith(f"{run} ")]
        assert len(mine) % 20 == 0 and len(mine) // 20 in (last + 1, last + 2)
        assert {f"id {i}" for i in range(5)} <= set(index.ids)
        assert index.search(some(1), 1).ids == [["id 0"]]
    index.add(["end"], [[1.0] * 6])
    facts = json.loads((tmp_path / "i" / "index.json").read_text())
    named = {one["name"] for one in facts["segments"]} | {(facts["graph"] or {"name": "x.faiss"})["name"][:-6]}
    left = {path.stem for path in (tmp_path / "i").iterdir() if path.name not in ("index.json", ".lock")}
    assert left <= named  # what the killed ones left is gone


def test_one_writer_at_a_time_and_readers_go_on(tmp_path):
    index = Index.create(tmp_path / "i", 6)
    index.add(names(3), some(3), [{"n": i} for i in range(3)])
    reader, second = Index(tmp_path / "i"), Index(tmp_path / "i")
    hold = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path / "i" / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline()
    for change in (lambda: index.add(["x"], some(1)), lambda: index.delete(["id 0"])):
        with pytest.raises(BadIndex, match="another process is writing"):
            change()
    assert reader.search(some(3), 1).ids == Index(tmp_path / "i").search(some(3), 1).ids == [["id 0"], ["id 1"], ["id 2"]]
    other.communicate()
    index.add(["x"], some(1, seed=9))
    second.add(["y"], some(1, seed=8))  # sees what the other wrote
    assert second.ids == ["id 0", "id 1", "id 2", "x", "y"]
    index.delete(["id 0", "id 1", "id 2"])
    hits = reader.search(some(3), 1)  # as it was opened, though its files are gone
    assert hits.ids == [["id 0"], ["id 1"], ["id 2"]] and reader.meta(hits.rows[1]) == [{"n": 1}]


def test_two_processes_that_add_at_once_lose_nothing(tmp_path):
    """Each tries again while the other writes; in the end everything of both is there, once."""
    Index.create(tmp_path / "i", 6)
    busy = """
import sys, time, numpy as np
from polysense.data.index import Index
from polysense.errors import BadIndex
index, done = Index(sys.argv[1]), 0
while done < 12:
    try:
        index.add([f"{sys.argv[2]} {done}"], np.random.default_rng(done).normal(size=(1, 6)))
        done += 1
    except BadIndex as error:
        assert "another process" in str(error), error
        time.sleep(0.002)
"""
    both = [subprocess.Popen([sys.executable, "-c", busy, tmp_path / "i", name]) for name in "ab"]
    assert [one.wait() for one in both] == [0, 0]
    assert sorted(Index(tmp_path / "i").ids) == sorted(f"{name} {i}" for name in "ab" for i in range(12))


@pytest.mark.parametrize(("limit", "stops"), [(200_000, "the vectors"), (330_000, "the graph")])
def test_a_full_disk_leaves_the_index_as_it_was(tmp_path, limit, stops):
    """The system refuses a file beyond a size, as it does where a disk is full; 800 x 64 x 4 bytes are 204,800."""
    index = Index.create(tmp_path / "i", 64)
    index.add(names(300), some(300, 64))
    child = """
import resource, sys, numpy as np
from polysense.data.index import Index
from polysense.errors import CannotWrite
index = Index(sys.argv[1], exact=900)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    index.add([f"new {i}" for i in range(800)], np.random.default_rng(1).normal(size=(800, 64)))
except CannotWrite as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", child, tmp_path / "i", f"{limit}"], capture_output=True, text=True, check=True)
    assert f"the index {tmp_path / 'i'} could not be written: " in done.stdout, done.stdout + done.stderr
    again = Index(tmp_path / "i")
    assert len(again) == (300 if stops == "the vectors" else 1100)  # without a graph every row is looked at
    assert again.search(some(300, 64), 1).ids == [[name] for name in names(300)]
    again.add(["x"], some(1, 64, seed=9))
    assert again.search(some(1, 64, seed=9), 1).ids == [["x"]]
    assert not list((tmp_path / "i").glob("*.faiss"))  # neither half a graph

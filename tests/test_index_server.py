"""The index on a server: the same answers as the one in a folder, through the real client and a loopback server, Qdrant's engine behind it."""

import numpy as np
import pytest
from loopback_qdrant import serving

from polysense.data.index import Index, open_index
from polysense.data.index_server import ServerIndex
from polysense.errors import BadIndex


def some(n, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


@pytest.fixture(params=["in memory", "Qdrant's engine"])
def server(request):
    engine = request.param != "in memory"
    if engine:
        pytest.importorskip("qdrant_edge")
    with serving(engine=engine) as running:
        yield running


def test_it_answers_as_the_index_in_a_folder(tmp_path, server, monkeypatch):
    monkeypatch.setattr("polysense.data.index_server.BATCH", 7)  # several requests for one call
    places = [Index.create(tmp_path / "i", 6), ServerIndex(f"{server.url}/stamps", width=6)]
    found = []
    for index in places:
        index.add([f"id {i}" for i in range(30)], some(30), [{"n": i, "name": None} for i in range(30)])
        index.delete(["id 3", "id 4"])
        index.add(["id 5"], some(1, seed=7), [{"n": 55, "name": "new"}], replace=True)
        hits = index.search(some(4, seed=1), 5)
        more = [index.meta(row) for row in hits.rows], "id 3" in index, "id 5" in index
        found.append((len(index), sorted(index.ids), hits.ids, *more))
        assert index.search(some(2), 0).ids == [[], []]
    assert found[0] == found[1]
    mine, theirs = (index.search(some(4, seed=1), 5).scores for index in places)
    np.testing.assert_allclose(np.stack(mine), np.stack(theirs), atol=1e-6)
    assert places[1].ids[:3] == ["id 0", "id 1", "id 2"]  # the order in which they came


@pytest.mark.parametrize(("ids", "vectors", "said"), [
    (["a"], np.ones((1, 5)), "vectors (1, 5) do not fit an index of width 6"),
    (["a"], np.zeros((1, 6)), "the vector 'a' is zero"),
    (["a", "b"], [[1.0] * 6, [np.nan] * 6], "the vector 'b' is not finite"),
    (["a", "a"], np.ones((2, 6)), "the id 'a' is given twice"),
    (["old"], np.ones((1, 6)), "'old' is in the index already"),
])
def test_what_does_not_fit_is_never_sent(server, ids, vectors, said):
    index = ServerIndex(f"{server.url}/stamps", width=6)
    index.add(["old"], some(1))
    with pytest.raises(BadIndex) as error:
        index.add(ids, vectors)
    assert said in str(error.value) and len(index) == 1
    with pytest.raises(BadIndex, match="there is no id 'x'"):
        index.delete(["old", "x"])
    assert "old" in index


def test_a_folder_remembers_its_server(tmp_path, server):
    url = f"{server.url}/stamps"
    open_index(tmp_path / "i", width=6, server=url).add(["a"], some(1))
    assert isinstance(open_index(tmp_path / "i"), ServerIndex) and open_index(tmp_path / "i").ids == ["a"]
    assert open_index(url).ids == ["a"] and open_index(tmp_path / "i", width=6).width == 6
    with pytest.raises(BadIndex, match="is an index of width 6, not 8"):
        open_index(url, width=8)
    (tmp_path / "i" / "server.json").write_text("{}")
    with pytest.raises(BadIndex, match=r"server\.json is damaged"):
        open_index(tmp_path / "i")
    Index.create(tmp_path / "own", 6)
    with pytest.raises(BadIndex, match="holds an index of its own"):
        open_index(tmp_path / "own", width=6, server=url)


def test_what_the_server_says_becomes_a_sentence(server):
    with pytest.raises(BadIndex, match="has no collection 'none'"):
        open_index(f"{server.url}/none")
    server.collections["foreign"] = {"vectors": {"size": 6, "distance": "Dot"}, "points": {}}
    with pytest.raises(BadIndex, match="is none of polysense"):
        open_index(f"{server.url}/foreign")
    for url in (server.url, f"{server.url}/a/b", "http:///x"):
        with pytest.raises(BadIndex, match="no address of a collection"):
            open_index(url)
    index = ServerIndex(f"{server.url}/stamps", width=6)
    del server.collections["stamps"]
    with pytest.raises(BadIndex, match="answered 404.*doesn't exist"):
        index.search(some(1))
    server.shutdown(), server.server_close()
    with pytest.raises(BadIndex, match="cannot be reached"):
        index.add(["a"], some(1))


def test_a_key_comes_from_the_environment(monkeypatch):
    with serving(key="secret") as server:
        with pytest.raises(BadIndex, match="answered 401.*QDRANT_API_KEY"):
            ServerIndex(f"{server.url}/stamps", width=6)
        monkeypatch.setenv("QDRANT_API_KEY", "secret")
        with pytest.warns(UserWarning, match="Api key is used with an insecure connection"):
            assert len(ServerIndex(f"{server.url}/stamps", width=6)) == 0

"""Vectors in a folder that are searched by nearness: exact up to 50,000 rows, then by a graph in a file.

N rows, Q queries, D width, K hits. Vectors lie in segments (memory-mapped .npy, of length one), ids and what else is known of
a row beside them in Parquet. ``index.json`` names the files that count; every change writes new files, brings them to the
disk, and then replaces index.json in one step: a process killed at any moment leaves the old index or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadIndex, CannotWrite, need
from ..store import aside_of, replacing, sync
from .hits import Hits, Searched, checked_rows, unit

FORMAT, VERSION, MAIN = "polysense-index", 1, "index.json"
#: Rows up to which a search looks at every one; a graph is made above, and again when so many rows are not in it yet.
EXACT = 50_000
#: Neighbours of a node in the graph, and candidates while it is made: M and efConstruction of Malkov and Yashunin 2016,
#: arXiv:1603.09320.
LINKS, BUILD = 32, 80
_SEGMENTS = 32  # files above which they are put together
_ROWS = 65_536  # rows that are worked with at a time
_SCORES = 1 << 20  # scores that are held at a time: what is larger leaves the processor's cache


def open_index(
    place: str | Path, *, width: int | None = None, server: str | None = None, exact: int = EXACT
) -> Searched:
    """The index at a place: in a folder, or on a Qdrant server.

    Args:
        place: folder; or URL of a server with the collection's name as its path, ``http://127.0.0.1:6333/stamps``.
        width: make it, of vectors of this width, where there is none yet.
        server: URL like that; the vectors lie there, and the folder ``place`` remembers it.
        exact: rows up to which an index in a folder looks at every one.

    Raises:
        BadIndex: there is none, it is damaged, of another width, or the server does not answer.
        MissingExtra: a server, and its client is not installed.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "i"
    >>> open_index(folder, width=2).add(["a"], [[1, 0]])
    >>> open_index(folder).ids
    ['a']
    """
    from .index_server import ServerIndex, point, pointer

    url = place if str(place).startswith(("http://", "https://")) else server or pointer(Path(place))
    if url is not None:
        index = ServerIndex(str(url), width=width)
        if url is server:
            point(Path(place), url)
    elif width is not None and not (Path(place) / MAIN).exists():
        index = Index.create(place, width, exact=exact)
    else:
        index = Index(place, exact=exact)
    if width is not None and index.width != width:
        raise BadIndex(f"{place} is an index of width {index.width}, not {width}; name another place for these vectors")
    return index


class Index:
    """A folder of vectors with ids.

    Args:
        folder: of an index that ``create`` made.
        exact: rows up to which every one is looked at.

    Raises:
        BadIndex: no index, damaged, or of a newer polysense.

    >>> import tempfile
    >>> index = Index.create(Path(tempfile.mkdtemp()) / "i", 2)
    >>> index.add(["a", "b"], [[1, 0], [3, 4]], [{"name": "first"}, {"name": "second"}])
    >>> hits = index.search([[0, 2]], k=1)
    >>> hits.ids, hits.scores[0].tolist(), index.meta(hits.rows[0])
    ([['b']], [0.800000011920929], [{'name': 'second'}])
    """

    _graph: Any = None
    _of: Mapping[str, Any] | None = None  # what index.json says of the graph in memory
    _asked: Mapping[str, Any] = {}

    def __init__(self, folder: str | Path, *, exact: int = EXACT) -> None:
        self.folder, self.exact = Path(folder), exact
        self._read()

    @classmethod
    def create(cls, folder: str | Path, width: int, *, exact: int = EXACT) -> Index:
        """Make an empty index of vectors of a width.

        Raises:
            BadIndex: something stands there already.
            CannotWrite: no permission, disk full.
        """
        place = Path(folder)
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise BadIndex(f"{place} exists and is not empty; name another folder for the index")
        with _told(place):
            place.mkdir(parents=True, exist_ok=True)
            facts = {"format": FORMAT, "version": VERSION, "width": int(width), "segments": [], "dead": [], "graph": None}
            _put(place / MAIN, facts)
        return cls(place, exact=exact)

    def _read(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for name in ("_ids", "_places", "_asked"):
            self.__dict__.pop(name, None)
        try:
            facts = json.loads((self.folder / MAIN).read_bytes())
            if facts["format"] != FORMAT:
                raise BadIndex(f"{self.folder} is no polysense index")
            if facts["version"] > VERSION:
                raise BadIndex(f"{self.folder} was written by a newer polysense (format {facts['version']}); update polysense")
            self.width, self.facts = int(facts["width"]), facts
            names = [one["name"] for one in facts["segments"]]
            self.vectors = [np.load(self._file(f"{n}.npy"), mmap_mode="r", allow_pickle=False).view(np.ndarray) for n in names]
            self.lines = [pq.ParquetFile(pa.memory_map(str(self._file(name + ".parquet")))) for name in names]
            self.alive = np.ones(sum(one["rows"] for one in facts["segments"]), bool)
            self.dead = np.unique(np.array(facts["dead"], np.int64))
            self.alive[self.dead] = False
        except FileNotFoundError as error:
            if Path(error.filename or "").name == MAIN:
                raise BadIndex(f"{self.folder} holds no index: there is no {MAIN} in it") from None
            raise BadIndex(f"{self.folder} is damaged: the file '{Path(error.filename).name}' is missing") from None
        except (ValueError, KeyError, TypeError, IndexError, EOFError) as error:
            raise BadIndex(f"{self.folder} is damaged: {MAIN} or a file it names is not what was written ({error})") from None
        except OSError as error:
            raise BadIndex(f"{self.folder} cannot be read: {error.strerror or error}") from None
        for one, part in zip(facts["segments"], self.vectors, strict=True):
            if part.shape != (one["rows"], self.width) or part.dtype != np.float32:
                right = (one["rows"], self.width)
                raise BadIndex(f"{self.folder} is damaged: '{one['name']}.npy' holds {part.shape}, not {right}")
        if facts["graph"] != self._of:
            self._graph, self._of = None, facts["graph"]

    def _file(self, name: str) -> Path:
        if Path(name).name != name:
            raise BadIndex(f"{self.folder / MAIN} is damaged: it names the file {name!r} outside its folder")
        return self.folder / name

    def __len__(self) -> int:
        return len(self.alive) - len(self.dead)

    @cached_property
    def _ids(self) -> list[str]:
        """N ids, rows that are dead among them."""
        return [name for lines in self.lines for name in lines.read(columns=["id"])["id"].to_pylist()]

    @cached_property
    def _places(self) -> dict[str, int]:
        """id -> row, of what is alive."""
        return {name: row for row, name in enumerate(self._ids) if self.alive[row]}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    @property
    def ids(self) -> list[str]:
        """Ids in the order in which they came."""
        return list(self._places)

    def meta(self, rows: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """What is known of some rows, without the id; what was not given is None."""
        starts = np.cumsum([0, *(one["rows"] for one in self.facts["segments"])])
        found: list[dict[str, Any]] = [{} for _ in rows]
        owner = np.searchsorted(starts, np.asarray(rows, int), "right") - 1
        for part in np.unique(owner):
            mine = np.flatnonzero(owner == part)
            lines = self.lines[part].read().take(np.asarray(rows, int)[mine] - starts[part]).to_pylist()
            for i, line in zip(mine, lines, strict=True):
                found[i] = {key: value for key, value in line.items() if key != "id"}
        return found

    # --- changes ---------------------------------------------------------------------------------

    def add(
        self, ids: Sequence[str], vectors: Any, meta: Sequence[Mapping[str, Any]] | None = None, *, replace: bool = False
    ) -> None:
        """Put rows in.

        Args:
            vectors: (N, D); they are brought to length one.
            meta: N dicts of what else is to be kept.
            replace: an id that is there already gets its new vector; otherwise it is refused.

        Raises:
            BadIndex: another width, NaN, a vector of zeros, an id twice, another process that writes. Nothing is changed.
            CannotWrite: disk full, no permission. Nothing is changed.
        """
        ids, array, more = checked_rows(ids, vectors, meta, self.width)
        if not len(ids):
            return
        with self._writing():
            there = [name for name in ids if name in self._places]
            if there and not replace:
                raise BadIndex(f"the id '{there[0]}' is in the index already; replace=True gives it its new vector")
            dead = [*self.facts["dead"], *(self._places[name] for name in there)]
            segment = self._segment(array, [{**one, "id": name} for name, one in zip(ids, more, strict=True)])
            self._commit(segments=[*self.facts["segments"], segment], dead=dead)
            if len(self.facts["segments"]) > _SEGMENTS or len(dead) > len(self.alive) // 2:
                self._compact()
            self._grow()

    def delete(self, ids: Sequence[str]) -> None:
        """Take rows out.

        Raises:
            BadIndex: an id that is not there. Nothing is changed.
        """
        with self._writing():
            missing = [name for name in ids if name not in self._places]
            if missing:
                raise BadIndex(f"there is no id '{missing[0]}' in the index")
            self._commit(dead=sorted({*self.facts["dead"], *(self._places[name] for name in ids)}))
            if len(self.facts["dead"]) > max(len(self.alive) // 2, 1):
                self._compact()
                self._grow()

    def _segment(self, array: np.ndarray, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist(list(lines))
        return self._written([array], len(array), lambda path: pq.write_table(table, path))

    def _written(self, blocks: Iterable[np.ndarray], rows: int, write_lines: Callable[[Path], None]) -> dict[str, Any]:
        """Files of a segment, on the disk; they count from the next ``_commit`` on."""
        name = f"part-{self.facts.get('made', 0):06d}-{os.urandom(4).hex()}"
        with _told(self.folder):
            with open(self.folder / f"{name}.npy", "wb") as file:
                head = {"descr": "<f4", "fortran_order": False, "shape": (rows, self.width)}
                np.lib.format.write_array_header_1_0(file, head)
                for block in blocks:
                    file.write(np.ascontiguousarray(block, "<f4").data)
            write_lines(self.folder / f"{name}.parquet")
            for end in ("npy", "parquet"):
                sync(self.folder / f"{name}.{end}")
        return {"name": name, "rows": rows}

    def _commit(self, **changed: Any) -> None:
        """Let new files count, in one step; then the old ones go."""
        before = self._names()
        with _told(self.folder):
            _put(self.folder / MAIN, self.facts | changed | {"made": self.facts.get("made", 0) + 1})
        self._read()
        for name in before - self._names():
            (self.folder / name).unlink(missing_ok=True)

    def _names(self) -> set[str]:
        files = {one["name"] + end for one in self.facts["segments"] for end in (".npy", ".parquet")}
        return files | ({self.facts["graph"]["name"]} if self.facts["graph"] else set())

    def _compact(self) -> None:
        """One segment of what is alive; the graph, which knows rows by their numbers, is made anew if any went."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables = [lines.read() for lines in self.lines]
        table = pa.concat_tables(tables, promote_options="permissive").filter(pa.array(self.alive))
        alive = (part[self.alive[start : start + len(part)]] for start, part in self._blocks())
        segment = self._written(alive, len(self), lambda path: pq.write_table(table, path))
        self._commit(segments=[segment], dead=[], graph=self.facts["graph"] if self.alive.all() else None)

    def _grow(self) -> None:
        """Make the graph where there are many rows, or put those into it that came since, once they are a fifth of it."""
        n, graph = len(self.alive), self.facts["graph"]
        known = graph["rows"] if graph else 0
        if n - known <= max(self.exact, known // 5):
            return
        faiss = need("faiss", "index")
        index = self._opened() if graph else faiss.IndexHNSWFlat(self.width, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILD
        for _, part in self._blocks(known):
            index.add(np.ascontiguousarray(part))
        name = f"graph-{self.facts.get('made', 0):06d}-{os.urandom(4).hex()}.faiss"
        with _told(self.folder):
            try:
                faiss.write_index(index, str(self.folder / name))
            except RuntimeError as error:
                raise OSError(str(error).splitlines()[-1]) from None
            sync(self.folder / name)
        self._graph, self._of = index, {"name": name, "rows": n}
        self._commit(graph=self._of)

    def _opened(self) -> Any:
        """The graph, read when it is first wanted; None where there is none."""
        if self._graph is None and self.facts["graph"] and not self._file(self.facts["graph"]["name"]).exists():
            self._read()  # a writer has put another in its place, or none
        if self._graph is None and self.facts["graph"]:
            faiss = need("faiss", "index")
            try:
                self._graph = faiss.read_index(str(self._file(self.facts["graph"]["name"])))
            except RuntimeError:
                raise BadIndex(f"{self.folder} is damaged: '{self.facts['graph']['name']}' cannot be read") from None
            if self._graph.d != self.width or self._graph.ntotal != self.facts["graph"]["rows"]:
                raise BadIndex(f"{self.folder} is damaged: '{self.facts['graph']['name']}' is of other vectors")
        return self._graph

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer at a time, who sees what others wrote before; files of one that was killed go."""
        import fcntl

        with _told(self.folder), open(self.folder / ".lock", "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadIndex(f"another process is writing to {self.folder}; wait until it is done") from None
            self._read()
            for path in self.folder.iterdir():
                left = path.name.startswith(("part-", "graph-")) and path.name not in self._names()
                if left or aside_of(path.name) == MAIN:
                    path.unlink(missing_ok=True)
            yield

    # --- search ----------------------------------------------------------------------------------

    def search(self, vectors: Any, k: int = 10, *, exact: bool | None = None, effort: int = 64) -> Hits:
        """The k nearest rows of each query, by cosine.

        Args:
            vectors: (Q, D).
            exact: look at every row; as the number of rows has it if None.
            effort: candidates that the graph keeps (efSearch); more finds more and takes longer.

        Raises:
            BadIndex: another width, a query of zeros or with NaN.
        """
        queries = unit(vectors, self.width)
        graph = None if exact else self._opened()
        k = max(0, min(int(k), len(self)))
        known = self.facts["graph"]["rows"] if graph is not None and k else 0
        if known:
            scores, rows = graph.search(queries, k, params=self._how(max(effort, k)))
        else:
            scores, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1)
        if k and known < len(self.alive):
            scores, rows = self._by_sight(queries, scores, rows, known)
        names, numbers = self._ids, rows.tolist()
        if k and any(row[-1] < 0 for row in numbers):  # of some fewer than k were found, their last places are empty
            found = [row >= 0 for row in rows]
            scores, rows = ([one[good] for one, good in zip(all_, found, strict=True)] for all_ in (scores, rows))
            numbers = [row.tolist() for row in rows]
        return Hits([[names[i] for i in row] for row in numbers], scores, rows)

    def _how(self, effort: int) -> Any:
        """FAISS's parameters of a search among what is alive."""
        if self._asked.get("effort") != effort:
            faiss = need("faiss", "index")
            dead, more = self.dead[self.dead < self.facts["graph"]["rows"]], {}
            if len(dead):
                out = faiss.IDSelectorBatch(dead)
                more = {"sel": faiss.IDSelectorNot(out), "out": out}  # FAISS wants them to stay in memory
            how = faiss.SearchParametersHNSW(efSearch=effort, **{"sel": more["sel"]} if more else {})
            self._asked = {"effort": effort, "how": how, **more}
        return self._asked["how"]

    def _by_sight(
        self, queries: np.ndarray, scores_QK: np.ndarray, rows_QK: np.ndarray, first: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best of those so far and of every row from ``first`` on.

        Only what passes the worst of the best so far is a candidate, and these become few soon; they are sorted when
        sixteen times as many rows have been seen as the last time.
        """
        q, k = scores_QK.shape
        step, seen, due, found, held = max(256, _SCORES // max(q, 1)), 0, 2 * k + 128, [], 0
        for start, part in self._blocks(first, step, due):  # due: the first few set the bar for the many
            near = queries @ part.T
            low, high = np.searchsorted(self.dead, (start, start + len(part)))
            if high > low:
                near[:, self.dead[low:high] - start] = -np.inf
            which, place = np.divmod(np.flatnonzero(near > scores_QK[:, -1:]), len(part))
            found.append((which, place + start, near[which, place]))
            seen, held = seen + len(part), held + len(which)
            if seen >= due or held > _SCORES:
                scores_QK, rows_QK = _best(scores_QK, rows_QK, found)
                due, found, held = 16 * seen, [], 0
        return _best(scores_QK, rows_QK, found)

    def _blocks(self, start: int = 0, step: int = _ROWS, begin: int = _ROWS) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, vectors) from a row on: at most ``begin`` rows, then sixteen times as many each time, up to ``step``."""
        first, step = 0, min(step, _ROWS)
        size = min(step, begin)
        for part in self.vectors:
            place = max(0, start - first)
            while place < len(part):
                yield first + place, part[place : place + size]
                place, size = place + size, min(16 * size, step)
            first += len(part)


def _best(
    scores_QK: np.ndarray, rows_QK: np.ndarray, found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """The K best of those so far and of candidates (query, row, score), the best first; among equals the earlier row."""
    if not any(len(which) for which, _, _ in found):
        return scores_QK, rows_QK
    q, k = scores_QK.shape
    parts = zip((np.repeat(np.arange(q), k), rows_QK.ravel(), scores_QK.ravel()), *found, strict=True)
    which, rows, scores = (np.concatenate(one) for one in parts)
    order = np.lexsort((rows, -scores, which))
    take = order[np.searchsorted(which[order], np.arange(q))[:, None] + np.arange(k)]
    return scores[take], rows[take]


def _put(path: Path, facts: Mapping[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(facts).encode())


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"the index {folder} could not be written: {error.strerror or error}") from error

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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadIndex, CannotWrite, need
from ..store import sync

FORMAT, VERSION, MAIN = "polysense-index", 1, "index.json"
#: Rows up to which a search looks at every one; a graph is made above, and again when so many rows are not in it yet.
EXACT = 50_000
#: Neighbours of a node in the graph, and candidates while it is made: M and efConstruction of Malkov and Yashunin 2016,
#: arXiv:1603.09320.
LINKS, BUILD = 32, 80
_SEGMENTS = 32  # files above which they are put together
_ROWS = 65_536  # rows that are worked with at a time
_SCORES = 16_000_000  # scores that are held at a time


@dataclass
class Hits:
    """What a search found, the nearest first.

    Attributes:
        ids: Q lists of at most K ids.
        scores: Q arrays of cosines.
        rows: Q arrays of row numbers, for ``Index.meta``.
    """

    ids: list[list[str]]
    scores: list[np.ndarray]
    rows: list[np.ndarray]


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

        self.__dict__.pop("_ids", None)
        self.__dict__.pop("_places", None)
        try:
            facts = json.loads((self.folder / MAIN).read_bytes())
            if facts["format"] != FORMAT:
                raise BadIndex(f"{self.folder} is no polysense index")
            if facts["version"] > VERSION:
                raise BadIndex(f"{self.folder} was written by a newer polysense (format {facts['version']}); update polysense")
            self.width, self.facts = int(facts["width"]), facts
            names = [one["name"] for one in facts["segments"]]
            self.vectors = [np.load(self._file(name + ".npy"), mmap_mode="r", allow_pickle=False) for name in names]
            self.lines = [pq.ParquetFile(pa.memory_map(str(self._file(name + ".parquet")))) for name in names]
            self.alive = np.ones(sum(one["rows"] for one in facts["segments"]), bool)
            self.alive[np.array(facts["dead"], int)] = False
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
        if facts["graph"] != getattr(self, "_of", None):
            self._graph, self._of = None, facts["graph"]

    def _file(self, name: str) -> Path:
        if Path(name).name != name:
            raise BadIndex(f"{self.folder / MAIN} is damaged: it names the file {name!r} outside its folder")
        return self.folder / name

    def __len__(self) -> int:
        return int(self.alive.sum())

    @cached_property
    def _ids(self) -> Any:
        """(N,) ids as an Arrow array, rows that are dead among them."""
        import pyarrow as pa

        parts = [lines.read(columns=["id"])["id"] for lines in self.lines]
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], pa.string()).combine_chunks()

    @cached_property
    def _places(self) -> dict[str, int]:
        """id -> row, of what is alive."""
        return {name: row for row, name in enumerate(self._ids.to_pylist()) if self.alive[row]}

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
        ids, array = [str(name) for name in ids], self._checked(vectors, ids)
        if meta is not None and len(meta) != len(ids):
            raise BadIndex(f"{len(ids)} ids and {len(meta)} dicts of meta are not equally many")
        if len(set(ids)) < len(ids):
            raise BadIndex(f"the id '{next(name for name in ids if ids.count(name) > 1)}' is given twice")
        if not len(ids):
            return
        with self._writing():
            there = [name for name in ids if name in self._places]
            if there and not replace:
                raise BadIndex(f"the id '{there[0]}' is in the index already; replace=True gives it its new vector")
            dead = [*self.facts["dead"], *(self._places[name] for name in there)]
            lines = [{"id": name, **dict(more)} for name, more in zip(ids, meta or [{}] * len(ids), strict=True)]
            segment = self._segment(array, lines)
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

    def _checked(self, vectors: Any, ids: Sequence[str] | None = None) -> np.ndarray:
        """(N, D) float32 of length one."""
        array = np.asarray(vectors, np.float32)
        if array.ndim != 2 or array.shape[1] != self.width:
            raise BadIndex(f"vectors {array.shape} do not fit an index of width {self.width}")
        if ids is not None and len(array) != len(ids):
            raise BadIndex(f"{len(ids)} ids and {len(array)} vectors are not equally many")
        long = np.linalg.norm(array, axis=1, keepdims=True)
        bad = np.flatnonzero(~np.isfinite(long[:, 0]) | (long[:, 0] == 0))
        if len(bad):
            name = f"'{ids[bad[0]]}'" if ids is not None else f"number {bad[0]}"
            raise BadIndex(f"the vector {name} is {'zero' if long[bad[0], 0] == 0 else 'not finite'} and has no direction")
        return array / long

    def _segment(self, array: np.ndarray, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist([dict(line) for line in lines])
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
        if self._graph is None and not self._file(self.facts["graph"]["name"]).exists():
            self._read()  # a writer has put another in its place
        if self._graph is None:
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
                if path.name.startswith(("part-", "graph-", ".index")) and path.name not in self._names():
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
        queries = self._checked(vectors)
        k = max(0, min(int(k), len(self)))
        scores, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1)
        known = 0
        if self.facts["graph"] and not exact and k:
            scores, rows = self._by_graph(queries, k, max(effort, k))
            known = self.facts["graph"]["rows"]
        for start, part in self._blocks(known, max(256, _SCORES // max(len(queries), 1))) if k else ():
            near = queries @ part.T
            near[:, ~self.alive[start : start + len(part)]] = -np.inf
            scores, rows = _best(scores, rows, near, start, k)
        keep = [row >= 0 for row in rows]
        rows = [row[good] for row, good in zip(rows, keep, strict=True)]
        scores = [score[good] for score, good in zip(scores, keep, strict=True)]
        return Hits([self._ids.take(row).to_pylist() if len(row) else [] for row in rows], scores, rows)

    def _by_graph(self, queries: np.ndarray, k: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        faiss, index = need("faiss", "index"), self._opened()
        how = faiss.SearchParametersHNSW(efSearch=effort)
        dead = np.array([row for row in self.facts["dead"] if row < index.ntotal], np.int64)
        if len(dead):
            out = faiss.IDSelectorBatch(dead)
            how.sel = faiss.IDSelectorNot(out)
        scores, rows = index.search(queries, k, params=how)
        return np.where(rows < 0, -np.inf, scores).astype(np.float32), rows

    def _blocks(self, start: int = 0, step: int = _ROWS) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, vectors), some rows at a time, from a row on."""
        first, step = 0, min(step, _ROWS)
        for part in self.vectors:
            for begin in range(max(0, start - first), len(part), step):
                yield first + begin, part[begin : begin + step]
            first += len(part)


def _best(
    scores: np.ndarray, rows: np.ndarray, near: np.ndarray, start: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of those so far and of a new block, the best first; among equals the earlier row."""
    if near.shape[1] > k:  # the worst of the k is a bar; whatever equals it stays for the order to decide
        bar = np.partition(near, near.shape[1] - k, axis=1)[:, -k]
    else:
        bar = np.full(len(near), -np.inf)
    for q in range(len(near)):
        mine = np.flatnonzero(near[q] >= bar[q])
        all_scores = np.concatenate([scores[q], near[q, mine]])
        all_rows = np.concatenate([rows[q], start + mine])
        all_rows[np.isneginf(all_scores)] = -1
        order = np.argsort(-all_scores, kind="stable")[:k]
        scores[q], rows[q] = all_scores[order], all_rows[order]
    return scores, rows


def _put(path: Path, facts: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step, on the disk."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(facts), encoding="utf-8")
    sync(aside)
    os.replace(aside, path)
    sync(path.parent)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"the index {folder} could not be written: {error.strerror or error}") from error

"""An index whose vectors lie on a Qdrant server: the same words as ``Index``, a collection instead of a folder.

What a server does at once, it does whole: a request of up to ``BATCH`` rows. N rows, Q queries, D width, K hits.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ..errors import BadIndex, CannotWrite, need
from ..store import replacing
from .hits import Hits, checked_rows, unit

#: Rows of one request.
BATCH = 1_000
#: The environment variable with the server's key, if it wants one; it is never written anywhere.
KEY = "QDRANT_API_KEY"
_POINTER = "server.json"
_SPACE = uuid.UUID("6f1f0d5e-6d0b-5e0a-9a37-0d9b7a2c9b5e")  # of the numbers that the server knows our ids by


class ServerIndex:
    """A collection of vectors with ids on a Qdrant server, spoken to by its REST interface.

    A row is a point; its number is made from its id, and its payload holds the id, the order and what else is known of it.
    ``rows`` of its hits are ids. Of ``add`` and ``delete`` each request is whole or not there; a process that is killed between
    two requests leaves the rows of the first. Two writers that bring one id at the same moment are not told apart.

    Args:
        url: server, and the collection's name as its path: ``http://127.0.0.1:6333/stamps``.
        width: make the collection, of vectors of this width, where there is none.
        seconds: that an answer may take.

    Raises:
        BadIndex: no such URL, server or collection; a collection that is not ours.
        MissingExtra: the client is not installed.
    """

    def __init__(self, url: str, *, width: int | None = None, seconds: float = 60.0) -> None:
        parts = urlsplit(url)
        self.url, self.name = url, parts.path.strip("/")
        if parts.scheme not in ("http", "https") or not parts.hostname or not self.name or "/" in self.name:
            raise BadIndex(f"{url!r} is no address of a collection; say http://HOST:PORT/NAME, NAME being free to choose")
        client = need("qdrant_client", "qdrant")
        self.models = client.models
        self.client = client.QdrantClient(
            url=f"{parts.scheme}://{parts.netloc}", port=parts.port or (443 if parts.scheme == "https" else 80),
            api_key=os.environ.get(KEY) or None, prefer_grpc=False, timeout=int(seconds), check_compatibility=False,
        )
        with self._told():
            there = self.client.collection_exists(self.name)
            if not there and width is None:
                raise BadIndex(f"the server {self._server} has no collection '{self.name}'; make it by indexing a table")
            if not there:
                params = self.models.VectorParams(size=int(width), distance=self.models.Distance.COSINE, on_disk=True)
                self.client.create_collection(self.name, vectors_config=params)
            params = self.client.get_collection(self.name).config.params.vectors
        if getattr(params, "distance", None) != self.models.Distance.COSINE:
            raise BadIndex(f"the collection '{self.name}' of {self._server} is none of polysense; name another")
        self.width = int(params.size)

    @property
    def _server(self) -> str:
        return self.url.removesuffix("/").removesuffix(f"/{self.name}")

    def __len__(self) -> int:
        with self._told():
            return int(self.client.count(self.name, exact=True).count)

    def __contains__(self, name: str) -> bool:
        return bool(self._there([str(name)]))

    @property
    def ids(self) -> list[str]:
        """Ids in the order in which they came."""
        found: list[tuple[int, str]] = []
        with self._told():
            place, more = None, True
            while more:
                points, place = self.client.scroll(self.name, limit=BATCH, offset=place, with_payload=["id", "order"])
                found += [(point.payload["order"], point.payload["id"]) for point in points]
                more = place is not None
        return [name for _, name in sorted(found)]

    def meta(self, rows: Sequence[str] | np.ndarray) -> list[dict[str, Any]]:
        """What is known of some ids."""
        known = {}
        for some in _some(list(rows)):
            with self._told():
                points = self.client.retrieve(self.name, [_number(name) for name in some], with_payload=True)
            known |= {point.payload["id"]: point.payload["meta"] for point in points}
        return [known.get(str(name), {}) for name in rows]

    def _there(self, ids: Sequence[str]) -> list[str]:
        """Those of some ids that are in the collection."""
        found: set[str] = set()
        for some in _some(ids):
            with self._told():
                points = self.client.retrieve(self.name, [_number(name) for name in some], with_payload=["id"])
            found |= {point.payload["id"] for point in points}
        return [name for name in ids if name in found]

    def add(
        self, ids: Sequence[str], vectors: Any, meta: Sequence[Mapping[str, Any]] | None = None, *, replace: bool = False
    ) -> None:
        """Put rows in; see ``Index.add``."""
        ids, array, more = checked_rows(ids, vectors, meta, self.width)
        there = [] if replace else self._there(ids)
        if there:
            raise BadIndex(f"the id '{there[0]}' is in the index already; replace=True gives it its new vector")
        now = time.time_ns() // 1000 * 1000
        points = [
            self.models.PointStruct(
                id=_number(name), vector=vector.tolist(), payload={"id": name, "order": now + i, "meta": _plain(one)}
            )
            for i, (name, vector, one) in enumerate(zip(ids, array, more, strict=True))
        ]
        for some in _some(points):
            with self._told():
                self.client.upsert(self.name, points=some, wait=True)

    def delete(self, ids: Sequence[str]) -> None:
        """Take rows out; see ``Index.delete``."""
        ids = [str(name) for name in ids]
        missing = set(ids) - set(self._there(ids))
        if missing:
            raise BadIndex(f"there is no id '{next(name for name in ids if name in missing)}' in the index")
        for some in _some(ids):
            with self._told():
                which = self.models.PointIdsList(points=[_number(name) for name in some])
                self.client.delete(self.name, points_selector=which, wait=True)

    def search(self, vectors: Any, k: int = 10, *, exact: bool | None = None, effort: int = 64) -> Hits:
        """The k nearest rows of each query, by cosine; see ``Index.search``."""
        queries, how = unit(vectors, self.width), self.models.SearchParams(exact=bool(exact), hnsw_ef=max(effort, k))
        found: list[Any] = []
        for some in _some(queries) if k > 0 else ():
            with self._told():
                found += self.client.query_batch_points(self.name, requests=[
                    self.models.QueryRequest(query=one.tolist(), limit=int(k), params=how, with_payload=["id"]) for one in some
                ])
        hits = [one.points for one in found] if k > 0 else [[] for _ in queries]
        ids = [[point.payload["id"] for point in one] for one in hits]
        scores = [np.array([point.score for point in one], np.float32) for one in hits]
        return Hits(ids, scores, [np.array(one, object) for one in ids])

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the client raises, as a sentence."""
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        try:
            yield
        except UnexpectedResponse as error:
            said = " ".join((error.content or b"").decode("utf-8", "replace").split())[:200]
            cure = f"; is its key in the environment variable {KEY}?" if error.status_code in (401, 403) else ""
            answer = f"{error.status_code} {error.reason_phrase}: {said}"
            raise BadIndex(f"the server {self._server} answered {answer}{cure}") from None
        except ResponseHandlingException as error:
            raise BadIndex(f"the server {self._server} cannot be reached or understood ({error}); does it run there?") from None


def pointer(folder: Path) -> str | None:
    """The collection's URL that a folder remembers, if it does.

    Raises:
        BadIndex: damaged.
    """
    try:
        return str(json.loads((folder / _POINTER).read_bytes())["url"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BadIndex(f"{folder / _POINTER} is damaged ({error}); index the table again with its server") from None


def point(folder: Path, url: str) -> None:
    """Let a folder remember a collection's URL.

    Raises:
        BadIndex: the folder holds an index of its own.
        CannotWrite: no permission, disk full.
    """
    if (folder / "index.json").exists():
        raise BadIndex(f"{folder} holds an index of its own; name another folder for the one on {url}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / _POINTER) as file:
            file.write(json.dumps({"url": url}).encode())
    except OSError as error:
        raise CannotWrite(f"{folder} could not be written: {error.strerror or error}") from error


def _number(name: str) -> str:
    return str(uuid.uuid5(_SPACE, str(name)))


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can say of it; the rest as text."""
    return json.loads(json.dumps(dict(meta), default=str))


def _some(rows: Sequence[Any]) -> Iterator[Any]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))

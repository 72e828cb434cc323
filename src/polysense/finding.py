"""What is found by a matcher: indexes of one side, searches, classes named by texts, pairs verified.

N records, E width, K hits.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .data.index import MAIN, Index, open_index
from .data.records import Records, as_records
from .data.rows import blocks
from .data.schema import guess
from .errors import BadIndex, BadOption, BadRecord, BadTable, CannotWrite
from .judge.verify import judge_verification
from .learn.begin_pairs import SIDES
from .learn.linear import unit
from .store import aside_for, recover, replacing, take_place

#: Beside an index: whose vectors it holds.
OWNER = "matcher.json"
#: What a hit says of itself, before the columns of the record.
_OURS = ("rank", "id", "score")


@dataclass
class Indexed:
    """What came of indexing.

    Attributes:
        added: records that were put in.
        total: records of the index.
        bad_cells: entries of the data report.
        remarks: what the user should know.
    """

    added: int
    total: int
    bad_cells: list[dict[str, Any]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def index(matcher: Any, records: Records, folder: Path, *, side: str, add: bool, server: str | None = None) -> Indexed:
    """Put one side of records into an index; see ``Matcher.index``."""
    vectors, bad, remarks = matcher.embedded(records, side)
    names, named = ids(records)
    there = np.flatnonzero(vectors.any(1))
    if len(there) < len(records):
        remarks.append(f"{len(records) - len(there):,} of {len(records):,} records have no view of the side {side}: left out")
    if server:
        return _on_server(matcher, records, folder, side, add, server, names, vectors, Indexed(len(there), 0, bad, remarks))
    if add and (folder / OWNER).is_file():
        found = opened(matcher, folder, side)
        if not named:  # rows count on from those that are there
            start = 1 + max((int(name) for name in found.ids if name.isdigit()), default=-1)
            names = [str(start + row) for row in range(len(records))]
        _fill(found, matcher, records, names, vectors, there)
        return Indexed(len(there), len(found), bad, remarks)
    if folder.exists() and not (folder / OWNER).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadIndex(f"{folder} exists and holds something other than an index; name another folder (--index FOLDER)")
    recover(folder, _is_index)
    aside = aside_for(folder)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        made = Index.create(aside, matcher.width)
        _put_owner(aside, matcher, side)
        _fill(made, matcher, records, names, vectors, there)
        take_place(aside, folder)
    except OSError as error:
        raise CannotWrite(f"the index {folder} could not be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Indexed(len(there), len(made), bad, remarks)


def _on_server(
    matcher: Any, records: Records, folder: Path, side: str, add: bool, server: str, names: Sequence[str], vectors: np.ndarray,
    said: Indexed,
) -> Indexed:
    """The same where the vectors lie on a Qdrant server; the folder remembers its address and whose vectors they are."""
    if (folder / OWNER).is_file() and add:
        found = opened(matcher, folder, side)
    else:
        found = open_index(folder, width=matcher.width, server=server)
        if len(found):
            found.delete(found.ids)
        _put_owner(folder, matcher, side)
    _fill(found, matcher, records, names, vectors, np.flatnonzero(vectors.any(1)))
    said.total = len(found)
    return said


def _fill(
    place: Any, matcher: Any, records: Records, names: Sequence[str], vectors: np.ndarray, there: np.ndarray
) -> None:
    """The records' rows go in some at a time, with what their columns hold; bytes are left out."""
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise BadTable(f"{records.source}: the id '{twice}' stands in two records; give each its own")
    named = ids(records)[1]
    for some in blocks(len(there), 65_536):
        rows = there[some]
        columns = {name: records.column(name, rows) for name in records.names}
        kept = {
            name if name != "id" else "id_": values for name, values in columns.items()
            if not any(isinstance(value, (bytes, dict)) for value in values) and name != named
        }
        lines = [dict(zip(kept, values, strict=True)) for values in zip(*kept.values(), strict=True)] if kept else None
        place.add([names[row] for row in rows], vectors[rows], lines, replace=True)


def _put_owner(folder: Path, matcher: Any, side: str) -> None:
    with replacing(folder / OWNER) as file:
        file.write(json.dumps({"fingerprint": matcher.fingerprint(), "side": side}).encode())


def _is_index(folder: Path) -> bool:
    return (folder / MAIN).is_file() and (folder / OWNER).is_file()


def opened(matcher: Any, folder: Path, side: str) -> Any:
    """An index of this matcher's vectors.

    Raises:
        BadIndex: none, damaged, of another matcher or the other side.
    """
    if not folder.exists():
        recover(folder, _is_index)
    if not (folder / MAIN).is_file() and not (folder / OWNER).is_file():
        raise BadIndex(f"there is no index in {folder}; make one first: polysense index DIR TABLE")
    found = open_index(folder)
    try:
        owner = json.loads((folder / OWNER).read_bytes())
        whose, which = owner["fingerprint"], owner["side"]
    except (OSError, ValueError, KeyError, TypeError):
        why = f"{OWNER} is missing or damaged"
        raise BadIndex(f"{folder} does not say whose vectors it holds ({why}); index the table anew") from None
    if whose != matcher.fingerprint():
        raise BadIndex(f"{folder} holds vectors of another matcher, which say nothing here; index the table anew")
    if which != side:
        raise BadIndex(f"{folder} holds the side {which}, not {side}; say --side {which}, or name another index")
    return found


def unindex(matcher: Any, records: Records, folder: Path, *, side: str) -> int:
    """Take records out of an index by their ids; see ``Matcher.unindex``.

    Raises:
        BadTable: the records have no column of ids.
    """
    names, named = ids(records)
    if not named:
        raise BadTable(f"{records.source} has no column of ids (id, *_id or uuid, all different) that says what is to go")
    found = opened(matcher, folder, side)
    found.delete(names)
    return len(names)


def ids(records: Records) -> tuple[list[str], str | None]:
    """(N,) names of the records, and the column that gives them; without one the rows' numbers."""
    rows = [str(row) for row in range(len(records))]
    if not len(records):
        return rows, None
    likely = [name for name in records.names if name.lower() in ("id", "uuid") or name.lower().endswith(("_id", "_uuid"))]
    column = guess(records, exclude=[name for name in records.names if name not in likely]).id_column if likely else None
    if column is None and len(records) == 1 and likely:  # of one record nothing can be told apart
        column = likely[0]
    return ([str(value) for value in records.column(column)], column) if column else (rows, None)


def search(matcher: Any, records: Any, among: Any, k: int, *, side: str, strict: bool = False) -> list[list[dict[str, Any]]]:
    """The nearest of one side; see ``Matcher.search``."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise BadOption(f"k={k!r} must be a whole number of at least 1")
    asking, bad, _ = matcher.embedded(records, SIDES[1 - SIDES.index(side)])
    there = np.flatnonzero(asking.any(1))
    if strict and len(there) < len(asking):
        row = int(np.flatnonzero(~asking.any(1))[0])
        why = next((f": column '{cell['column']}' {cell['reason']}" for cell in bad if cell["row"] == row), "")
        raise BadRecord(f"record {row} has no readable view to search by{why}")
    hits: list[list[dict[str, Any]]] = [[] for _ in asking]
    if not len(there):
        return hits
    if isinstance(among, (str, Path)) and (Path(among) / OWNER).is_file() or isinstance(among, Path) and not among.is_file():
        place = opened(matcher, Path(among), side)
        found = place.search(asking[there], k)
        for q, names, scores, rows in zip(there.tolist(), found.ids, found.scores, found.rows, strict=True):
            hits[q] = _hits(names, scores, place.meta(rows))
        return hits
    records = as_records(among)
    vectors, (names, named) = matcher.embed(records, side), ids(records)
    known = np.flatnonzero(vectors.any(1))
    for q, near in zip(there.tolist(), asking[there] @ vectors[known].T, strict=True):
        best = known[np.argsort(-near, kind="stable")[:k]]
        lines = [{name: records.cell(name, row) for name in records.names if name != named} for row in best.tolist()]
        hits[q] = _hits([names[row] for row in best], np.sort(near)[::-1][:k], lines)
    return hits


def _hits(names: Sequence[str], scores: Any, lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"rank": rank, "id": name, "score": float(score), **{key: value for key, value in line.items() if key not in _OURS}}
        for rank, (name, score, line) in enumerate(zip(names, scores, lines, strict=True), 1)
    ]


def asked(matcher: Any, given: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
    """One record of the side that asks.

    Args:
        given: "text", "image", "audio": a value for the only column of that kind; "row": columns as JSON or a dict.

    Raises:
        BadOption: nothing is given, the side reads no such kind, or several columns of it.
        BadRecord: a file that is not there.
    """
    views = [view for view in matcher.schema_.views if view.name in matcher.sides_[side]]
    reads = ", ".join(f"{name} ({view.modality})" for view in views for name in view.columns)
    record: dict[str, Any] = _row(given.get("row"))
    for name in record:
        if name not in {column for view in views for column in view.columns}:
            raise BadOption(f"--row names '{name}', which the side {side} does not read; it reads {reads}")
    for kind in ("text", "image", "audio"):
        if given.get(kind) is None:
            continue
        columns = [name for view in views if view.modality == kind for name in view.columns]
        if not columns:
            raise BadOption(f"--{kind} is given, and the side {side} that asks reads {reads}; ask with one of these")
        if len(columns) > 1:
            raise BadOption(f"--{kind} could be any of {', '.join(columns)}; name it: --row '{{\"{columns[0]}\": ...}}'")
        if kind != "text" and not Path(given[kind]).is_file():
            raise BadRecord(f"--{kind} {given[kind]}: there is no such file")
        record[columns[0]] = given[kind] if kind == "text" else str(Path(given[kind]).resolve())
    if not any(value is not None and value != "" for value in record.values()):
        raise BadOption(f"nothing asks: give --text, --image, --audio or --row; the side {side} reads {reads}")
    return [record]


def _row(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return dict(given)
    try:
        row = json.loads(given)
    except ValueError as error:
        raise BadOption(f"--row {given!r} is not JSON ({error}); write it as '{{\"COLUMN\": VALUE}}'") from None
    if not isinstance(row, dict):
        raise BadOption(f"--row {given!r} must be an object, '{{\"COLUMN\": VALUE}}'")
    return row


def classify(
    matcher: Any, records: Any, texts: Sequence[str], templates: Sequence[str], view: str | None
) -> np.ndarray:
    """Classes named by texts; see ``Matcher.classify``."""
    matcher._ready()
    able = [one for one in matcher.schema_.views if one.modality == "text" and view in (None, one.name)]
    if len(able) != 1:
        said = ", ".join(one.name for one in matcher.schema_.views if one.modality == "text") or "none"
        raise BadOption(f"texts are read by one text view; there are: {said}" + ("; name one (view=)" if able else ""))
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise BadOption(f"texts={texts!r} must be a list of texts, one a class")
    for template in templates:
        if "{}" not in template:
            raise BadOption(f"the template {template!r} has no {{}} where a class is put")
    side = next(side for side in SIDES if able[0].name in matcher.sides_[side])
    column = able[0].columns[0]
    said = [{column: template.replace("{}", text)} for text in texts for template in templates]
    classes = unit(matcher.embed(said, side).reshape(len(texts), len(templates), -1).mean(1))
    near = matcher.embed(records, SIDES[1 - SIDES.index(side)]) @ classes.T
    z = matcher.chosen_["temperature"] * near.astype(np.float64)
    p = np.exp(z - z.max(1, keepdims=True, initial=-np.inf))
    return p / p.sum(1, keepdims=True)


def verify(
    matcher: Any, left: Any, right: Any, same: Any, sides: tuple[str, str], groups: Any, samples: int
) -> dict[str, Any]:
    """Pairs that are the same or not; see ``Matcher.verify``."""
    for side in sides:
        if side not in SIDES:
            raise BadOption(f"sides={sides!r} must be two of 'query' and 'item'")
    one = matcher.embed(left, sides[0])
    other = matcher.embed(left if right is None else right, sides[1])
    if len(one) != len(other):
        raise BadTable(f"pairs are records side by side: {len(one)} on the left and {len(other)} on the right are no pairs")
    scores = (one * other).sum(1)
    name = "-".join(sorted(sides, key=SIDES.index))
    threshold = matcher.chosen_["thresholds"].get(name, {}).get("threshold")
    known = one.any(1) & other.any(1)
    result: dict[str, Any] = {
        "scores": scores, "accepted": known & (scores >= threshold) if threshold is not None else None, "threshold": threshold,
    }
    if same is not None:
        if len(same) != len(scores):
            raise BadTable(f"the truth of {len(same)} pairs was given for {len(scores)}")
        if len(np.unique(np.asarray(same, bool))) < 2:
            raise BadTable("verification needs pairs that are the same and pairs that are not; give both kinds")
        result |= judge_verification(scores, same, threshold, groups=groups, samples=samples, seed=matcher.seed)
    return result

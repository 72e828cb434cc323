"""Cells of a view: what is there, what each cell holds, and which cells cannot be used.

Nothing is decoded before it is asked for, and nothing decoded is kept. A bad cell becomes None in
the values, False in ``present`` and one ``Fault``; it never raises.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..errors import BadOption, BadTable
from ..registry import suggest
from . import series, values
from .media import BadCell, Content, Limits, content_digest, decode_audio, decode_image, fetch, several
from .records import Records
from .rows import blocks
from .schema import Schema, View
from .values import short

#: Policy for bad cells -> the word for it in the data report.
ACTIONS = {"error": "error", "mask": "masked", "drop": "dropped"}
#: The word where a cell holds several files and others of them are used.
LEFT_OUT = "left out"


@dataclass(frozen=True)
class Fault:
    """A cell that cannot be used: an entry of the data report."""

    row: int
    column: str
    reason: str
    action: str = "masked"

    def to_json(self) -> dict[str, Any]:
        """The entry as evaluate's JSON holds it."""
        return asdict(self)


class Cells:
    """Cells of one view of N records.

    Attributes:
        view, name, n: the view, its name, the number of records.
        present: (N,) bool; False where the cell is empty, and where it proved bad.
        nonempty: column -> cells that are not missing (bad ones included).
        further: column -> files in its cells beyond the first of each, as far as they were looked at.
        notes: column -> word for *missing* -> count, in number and date columns.
        missing_columns: columns of the view that the records do not have.
    """

    #: Cells hold files.
    media = False
    further: Mapping[str, int] = {}
    #: {column: kind} of the view ``table``.
    kinds: Mapping[str, str] = {}

    def __init__(self, view: View, records: Records) -> None:
        self.view, self.name, self.n = view, view.name, len(records)
        self.records, self.folder = records, records.folder
        self.notes: dict[str, dict[str, int]] = {}
        self.missing_columns = [column for column in view.columns if column not in records.names]
        self._faults: dict[tuple[int, int, int], Fault] = {}
        self._outside: dict[tuple[int, int], str] = {}
        self._action = ACTIONS["mask"]
        gone = self.missing_columns
        empty = {c: np.ones(self.n, bool) if c in gone else records.empty(c) for c in view.columns}
        self.nonempty = {column: int((~mask).sum()) for column, mask in empty.items()}
        self.present = ~np.logical_and.reduce(list(empty.values()))

    @property
    def faults(self) -> list[Fault]:
        """Bad cells found so far, in the table's order."""
        return [
            fault if fault.action == LEFT_OUT and self.present[fault.row] and self._action != ACTIONS["error"]
            else replace(fault, action=self._action)
            for _, fault in sorted(self._faults.items(), key=lambda item: item[0])
        ]

    @property
    def outside(self) -> list[str]:
        """Paths outside the table's folder that were read, in the table's order."""
        return [self._outside[key] for key in sorted(self._outside)]

    def pieces(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the cells hold, one after the other: (P,) the row of each piece, (P,) its number within the record.

        A piece is a file of a media cell that may hold several; every other cell is one piece.

        Args:
            rows: ascending.
        """
        return rows, np.zeros(len(rows), int)

    def digests(self, rows: Sequence[int] | None = None) -> list[str | None]:
        """Hash of what each cell holds; None where it is absent or bad."""
        raise NotImplementedError

    def hashes(self, rows: np.ndarray, pieces: np.ndarray | None = None) -> np.ndarray:
        """The digests as an array of 16 bytes each, empty where there is none.

        Args:
            pieces: number of the piece that is meant in each row; the whole cell if None.
        """
        found = np.zeros(len(rows), "S16")
        for some in blocks(len(rows)):
            found[some] = [bytes.fromhex(name or "") for name in self.digests(rows[some].tolist())]
        return found

    def values(
        self, rows: Sequence[int] | None = None, pixels: int | None = None, pieces: Sequence[int] | None = None
    ) -> list[Any]:
        """What each cell holds, decoded; None where it is absent or bad.

        Args:
            rows: of the N records; all if None. Ask for a few at a time where they are pictures.
            pixels: smaller side that is enough for pictures.
            pieces: number of the piece that is meant in each row; the first that can be used if None.
        """
        raise NotImplementedError

    def _bad(self, row: int, column: int, reason: str, piece: int = 0, action: str = "masked") -> None:
        name = self.view.columns[column]
        self._faults.setdefault((row, column, piece), Fault(row, name, reason, action))

    def _rows(self, rows: Sequence[int] | None) -> list[int]:
        return list(range(self.n)) if rows is None else [int(row) for row in rows]


class TextCells(Cells):
    """Texts: str. A view of several columns holds their texts, each on lines of its own."""

    def values(
        self, rows: Sequence[int] | None = None, pixels: int | None = None, pieces: Sequence[int] | None = None
    ) -> list[Any]:
        wanted = self._rows(rows)
        there = [(i, name) for i, name in enumerate(self.view.columns) if name not in self.missing_columns]
        found = [(i, self.records.column(name, wanted)) for i, name in there]
        return [self._joined(row, [(i, column[k]) for i, column in found]) for k, row in enumerate(wanted)]

    def digests(self, rows: Sequence[int] | None = None) -> list[str | None]:
        return [None if text is None else content_digest(text.encode("utf-8", "surrogatepass"))
                for text in self.values(rows)]

    def _joined(self, row: int, cells: Sequence[tuple[int, Any]]) -> str | None:
        texts = [text for i, cell in cells if (text := self._text(row, i, cell)) is not None]
        if texts:
            return "\n".join(texts)
        self.present[row] = False
        return None

    def _text(self, row: int, column: int, value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return "\n".join(value)
        if isinstance(value, (bytes, dict, list)):
            self._bad(row, column, f"{short(value)} is not text", action=LEFT_OUT if len(self.view.columns) > 1 else "masked")
            return None
        return str(value)


class MediaCells(Cells):
    """Pictures: (H, W, 3) uint8. Sounds: (n,) float32 at 16 kHz. A cell may hold several.

    A file that cannot be used is a fault of its own; the record keeps the others, and loses the view when
    none is left.
    """

    media = True

    def __init__(self, view: View, records: Records, limits: Limits = Limits()) -> None:
        super().__init__(view, records)
        self.limits = limits
        self._bad_contents: dict[str, str] = {}  # digest -> reason
        self._hash_N = np.zeros(self.n, "S16")  # of the cells that were opened
        self._several: dict[int, list[bytes]] = {}  # row -> hashes of its pieces, where there are several
        self._gone: dict[int, set[int]] = {}  # row -> its pieces that cannot be used
        self.further = dict.fromkeys(view.columns, 0)
        self._counted_N = np.zeros(self.n, bool)  # those whose files are counted in it

    def pieces(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        known_R = self._hash_N[rows] != b""
        counts = [
            len(self._several.get(row, (0,))) if known else len(self._files(row))
            for row, known in zip(rows.tolist(), known_R.tolist(), strict=True)
        ]
        ends = np.cumsum([0, *counts])
        return np.repeat(rows, counts), np.arange(ends[-1]) - np.repeat(ends[:-1], counts)

    def digests(self, rows: Sequence[int] | None = None) -> list[str | None]:
        names = hex_digests(self.hashes(np.array(self._rows(rows), int))).tolist()
        return [name.decode() or None for name in names]

    def hashes(self, rows: np.ndarray, pieces: np.ndarray | None = None) -> np.ndarray:
        for row in np.unique(rows[(self._hash_N[rows] == b"") & self.present[rows]]).tolist():
            self._open(row)
        found = np.where(self.present[rows], self._hash_N[rows], b"")
        if pieces is not None and self._several:
            for i, (row, k) in enumerate(zip(rows.tolist(), pieces.tolist(), strict=True)):
                if row in self._several:
                    found[i] = b"" if k in self._gone.get(row, ()) else self._several[row][k]
        return found

    def values(
        self, rows: Sequence[int] | None = None, pixels: int | None = None, pieces: Sequence[int] | None = None
    ) -> list[Any]:
        decode = DECODERS[self.view.modality](self.limits, pixels)
        decoded: dict[str, Any] = {}  # the same content, asked for twice in one call, is decoded once
        rows = self._rows(rows)
        return [
            self._value(row, piece, decode, decoded)
            for row, piece in zip(rows, [None] * len(rows) if pieces is None else pieces, strict=True)
        ]

    def content(self, row: int) -> Content | None:
        """The file of one cell, for showing it; None where it is absent or bad. Of several the first that can be used."""
        row = int(row)
        files = self._files(row)
        return next(filter(None, (self._fetch(row, k, files) for k in range(len(files)))), None)

    def _value(self, row: int, piece: int | None, decode: Callable[[bytes], Any], decoded: dict[str, Any]) -> Any:
        files = self._files(row)
        for k in range(len(files)) if piece is None else [int(piece)]:
            content = self._fetch(row, k, files)
            if content is None:
                continue
            if content.digest not in decoded:
                try:
                    decoded[content.digest] = decode(content.data)
                except BadCell as error:
                    self._bad_contents[content.digest] = error.reason
                    self._refuse(row, k, files, _named(content, error.reason))
                    continue
            return decoded[content.digest]
        return None

    def _files(self, row: int) -> list[tuple[int, Any, str]]:
        """(column, path or bytes, words that tell it from others in its cell) of every file of a record."""
        if not self.present[row]:
            return []
        found, noun = [], _NOUNS.get(self.view.modality, "file")
        for i, name in enumerate(self.view.columns):
            cell = None if name in self.missing_columns else self.records.cell(name, row)
            mine = several(cell)
            found += [(i, file, f"{noun} {k} of {len(mine)}: " if len(mine) > 1 else "") for k, file in enumerate(mine, 1)]
            if cell is not None and not self._counted_N[row]:
                self.further[name] += len(mine) - 1
        self._counted_N[row] = True
        if not found:  # an empty list, written out
            self.present[row] = False
        return found

    def _open(self, row: int) -> None:
        """Open every file of a record once, for its hash."""
        files, hashes = self._files(row), []
        for k in range(len(files)):
            content = self._fetch(row, k, files)
            hashes.append(b"" if content is None else bytes.fromhex(content.digest))
        if len(files) == 1:
            self._hash_N[row] = hashes[0]
        elif files:
            self._several[row] = hashes
            self._hash_N[row] = bytes.fromhex(content_digest(b"".join(hashes)))

    def _fetch(self, row: int, k: int, files: Sequence[tuple[int, Any, str]]) -> Content | None:
        """File k of a record; None where it cannot be used."""
        if k in self._gone.get(row, ()):
            return None
        try:
            content = fetch(files[k][1], self.view.modality, self.folder, self.limits)
        except BadCell as error:
            self._refuse(row, k, files, error.reason)
            return None
        if content.outside:
            self._outside[row, k] = content.name
        if content.digest in self._bad_contents:
            self._refuse(row, k, files, _named(content, self._bad_contents[content.digest]))
            return None
        return content

    def _refuse(self, row: int, k: int, files: Sequence[tuple[int, Any, str]], reason: str) -> None:
        column, _, words = files[k]
        self._bad(row, column, words + reason, k, LEFT_OUT if len(files) > 1 else ACTIONS["mask"])
        gone = self._gone.setdefault(row, set())
        gone.add(k)
        if len(gone) == len(files):
            self.present[row] = False


_NOUNS = {"image": "picture", "audio": "sound"}


def hex_digests(hash_U: np.ndarray) -> np.ndarray:
    """Digests as 32 hex digits; empty ones stay empty.

    >>> hex_digests(np.array([bytes(15) + b"\\x01", b""], "S16")).tolist()
    [b'00000000000000000000000000000001', b'']
    """
    digits = np.frombuffer(hash_U.tobytes().hex().encode(), "S32") if len(hash_U) else np.zeros(0, "S32")
    return np.where(hash_U == b"", b"", digits)


def _named(content: Content, reason: str) -> str:
    return f"{short(content.name, 200)}: {reason}" if content.name else reason


#: Modality -> the function that decodes one file.
DECODERS: dict[str, Callable[[Limits, int | None], Callable[[bytes], np.ndarray]]] = {
    "image": lambda limits, pixels: partial(decode_image, limits=limits, pixels=pixels),
    "audio": lambda limits, pixels: partial(decode_audio, limits=limits),
}


class SeriesCells(Cells):
    """Series: ``series.Series``, channels in the column's order."""

    media = True

    def __init__(self, view: View, records: Records, schema: Schema, limits: Limits = Limits()) -> None:
        super().__init__(view, records)
        self.limits, self.channels = limits, schema.column(view.columns[0]).channels
        self._hash_N = np.zeros(self.n, "S16")  # of the cells that were looked at

    def digests(self, rows: Sequence[int] | None = None) -> list[str | None]:
        names = hex_digests(self.hashes(np.array(self._rows(rows), int))).tolist()
        return [name.decode() or None for name in names]

    def hashes(self, rows: np.ndarray, pieces: np.ndarray | None = None) -> np.ndarray:
        for row in rows[(self._hash_N[rows] == b"") & self.present[rows]].tolist():
            self._open(row)
        return np.where(self.present[rows], self._hash_N[rows], b"")

    def values(
        self, rows: Sequence[int] | None = None, pixels: int | None = None, pieces: Sequence[int] | None = None
    ) -> list[Any]:
        return [self._value(row) for row in self._rows(rows)]

    def _value(self, row: int) -> series.Series | None:
        opened = self._open(row)
        if opened is None:
            return None
        file = opened if isinstance(opened, Content) else None
        try:
            found = series.decode(file.data, self.limits) if file else series.read_inline(opened, self.limits)
            return series.arranged(found, self.channels)
        except BadCell as error:
            self._refuse(row, _named(file, error.reason) if file else error.reason)
            return None

    def _open(self, row: int) -> Any:
        """The file of a cell, or what the cell holds itself; None where it is absent or bad."""
        if not self.present[row]:
            return None
        cell = self.records.cell(self.view.columns[0], row)
        if series.is_file(cell):
            try:
                cell = fetch(cell, "series", self.folder, self.limits)
            except BadCell as error:
                self._refuse(row, error.reason)
                return None
            if cell.outside:
                self._outside[row] = cell.name
        # which numbers a file gives depends on the order of the column's channels too
        content = cell.digest if isinstance(cell, Content) else cell
        self._hash_N[row] = bytes.fromhex(content_digest(json.dumps([content, *self.channels], default=str).encode()))
        return cell

    def _refuse(self, row: int, reason: str) -> None:
        self._bad(row, 0, reason)
        self.present[row] = False


class TableCells(Cells):
    """Numbers, categories, dates and flags of a record: column -> float, str, bool or None."""

    def __init__(self, view: View, records: Records, schema: Schema) -> None:
        super().__init__(view, records)
        self.kinds = {name: schema.column(name).kind for name in view.columns}
        self.columns = {name: _Column(self.kinds[name], self.n) for name in view.columns}
        for i, name in enumerate(view.columns):
            if name not in self.missing_columns:
                self._convert(i, name, schema.column(name).order)
        filled = [column.filled for column in self.columns.values()]
        self.present = np.logical_or.reduce(filled) if filled else np.zeros(self.n, bool)

    def _convert(self, i: int, name: str, order: str) -> None:
        kind, column = self.kinds[name], self.columns[name]
        convert = {"number": values.number, "category": values.category, "flag": values.flag,
                   "date": partial(values.seconds, order=order)}[kind]
        words: dict[str, int] = {}
        for part in blocks(self.n):
            cells = self.records.column(name, np.arange(part.start, part.stop))
            for row, cell in enumerate(cells, part.start):
                if cell is None:
                    continue
                try:
                    value = convert(cell)
                    if value is None:
                        word = values.missing_word(cell) if kind in ("number", "date") else None
                        self.nonempty[name] -= 1
                        if word is not None:
                            words[word] = words.get(word, 0) + 1
                    else:
                        column[row] = value
                except BadCell as error:
                    self._bad(row, i, error.reason)
        if words:
            self.notes[name] = words

    def values(
        self, rows: Sequence[int] | None = None, pixels: int | None = None, pieces: Sequence[int] | None = None
    ) -> list[Any]:
        rows = self._rows(rows)
        found = {name: column.values(rows) for name, column in self.columns.items()}
        return [
            {name: column[i] for name, column in found.items()} if self.present[row] else None for i, row in enumerate(rows)
        ]

    def digests(self, rows: Sequence[int] | None = None) -> list[str | None]:
        return [None if value is None else content_digest(json.dumps(value, sort_keys=True).encode())
                for value in self.values(rows)]


class _Column:
    """Values of one column of N records in eight bytes or fewer each."""

    def __init__(self, kind: str, n: int) -> None:
        self.kind, self.filled = kind, np.zeros(n, bool)
        self.number_N = np.zeros(n, np.int32 if kind == "category" else bool if kind == "flag" else np.float64)
        self.places: dict[str, int] = {}  # of categories
        self.levels: list[str] = []

    def __setitem__(self, row: int, value: Any) -> None:
        self.filled[row] = True
        if self.kind == "category":
            place = self.places.setdefault(value, len(self.levels))
            if place == len(self.levels):
                self.levels.append(value)
            value = place
        self.number_N[row] = value

    def values(self, rows: Sequence[int]) -> list[Any]:
        """Float, str, bool, or None where nothing was set."""
        found = self.number_N[rows].tolist()
        if self.kind == "category":
            found = [self.levels[place] if self.levels else None for place in found]
        return [value if there else None for value, there in zip(found, self.filled[rows].tolist(), strict=True)]


class ViewCells(dict[str, Cells]):
    """Cells by view name.

    Attributes:
        missing_columns: columns of the schema's views that the records lack: all their cells count as empty.
        unknown_columns: columns of the records that the schema does not know.
    """

    missing_columns: list[str]
    unknown_columns: list[str]

    @property
    def faults(self) -> list[Fault]:
        """Bad cells of all views found so far, in the table's order."""
        return all_faults(self)


def read_cells(records: Records, schema: Schema, limits: Limits = Limits()) -> ViewCells:
    """Cells of every view; media are not opened yet.

    Args:
        records: columns are found by name; one that is missing counts as empty throughout.
        schema: of the training records.

    Returns:
        view name -> Cells.
    """
    result = ViewCells()
    for view in schema.views:
        if view.modality == "table":
            result[view.name] = TableCells(view, records, schema)
        elif view.modality == "text":
            result[view.name] = TextCells(view, records)
        elif view.modality == "series":
            result[view.name] = SeriesCells(view, records, schema, limits)
        else:
            result[view.name] = MediaCells(view, records, limits)
    result.missing_columns = [column for cells in result.values() for column in cells.missing_columns]
    known = {column.name for column in schema.columns}
    result.unknown_columns = [name for name in records.names if name not in known]
    return result


def all_faults(cells: Mapping[str, Cells] | Iterable[Cells]) -> list[Fault]:
    """Bad cells of several views found so far: by row, then in the order of the table's columns."""
    each = list(cells.values() if isinstance(cells, Mapping) else cells)
    place: dict[str, int] = {}
    for one in each:
        for i, name in enumerate(one.records.names):
            place.setdefault(name, i)
    return sorted((fault for one in each for fault in one.faults), key=lambda f: (f.row, place[f.column]))


def judge_faults(cells: Mapping[str, Cells] | Iterable[Cells], *, on_bad: str, max_bad: float = 0.2) -> None:
    """Mark the bad cells found so far with the policy's word, and stop where there are too many.

    Args:
        cells: views whose values have been read.
        on_bad: error, mask or drop.
        max_bad: the share of a column's values that may be bad: of its non-empty cells, or of the files in them.

    Raises:
        BadTable: a column has more bad cells, or ``on_bad`` is error and there is one; the
            sentence names the first of them in the table's order.
        BadOption: another policy, or a share outside 0..1.
    """
    if on_bad not in ACTIONS:
        raise BadOption(f"there is no policy '{on_bad}' for bad cells; {suggest(on_bad, list(ACTIONS))}")
    if not 0 <= max_bad <= 1:
        raise BadOption(f"max-bad is a share between 0 and 1, not {max_bad}")
    each = list(cells.values() if isinstance(cells, Mapping) else cells)
    nonempty: dict[str, int] = {}
    kinds: dict[str, str] = {}
    for one in each:
        one._action = ACTIONS[on_bad]
        nonempty.update({column: count + one.further.get(column, 0) for column, count in one.nonempty.items()})
        kinds.update(dict.fromkeys(one.view.columns, one.view.modality))
    found = all_faults(each)
    if on_bad == "error" and found:
        first = found[0]
        raise BadTable(
            f"column '{first.column}', row {first.row}: {first.reason}; correct the cell, leave it empty, "
            "or choose --on-bad mask"
        )
    counts: dict[str, list[Fault]] = {}
    for fault in found:
        counts.setdefault(fault.column, []).append(fault)
    for column, bad in counts.items():
        share = len(bad) / nonempty[column]
        if share > max_bad:
            noun = {"image": "pictures", "audio": "sounds", "text": "texts", "series": "series"}.get(kinds[column], "values")
            cure = "paths" if noun in ("pictures", "sounds") else noun
            raise BadTable(
                f"column '{column}': {len(bad):,} of {nonempty[column]:,} {noun} cannot be read "
                f"({_percent(share)}, limit {_percent(max_bad)}): first in row {bad[0].row}: "
                f"{bad[0].reason}; correct the {cure} or raise --max-bad"
            )


def _percent(share: float) -> str:
    """
    >>> _percent(0.3), _percent(0.2004)
    ('30 %', '20.04 %')
    """
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + " %"

"""Records: one dict each, over an Arrow table that is never copied.

Whatever the records come from (a file, a list of dicts, a frame), they end as one class with
``len``, ``take`` and columns of Python values in which None means missing.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
import sys
import threading
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import BadColumn, BadTable, CannotWrite
from ..store import replacing
from .folders import folder_columns
from .spool import Mapped, spooled
from .values import is_empty, short

#: Extension -> how the file is read.
FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow",
}
_ROWS = 8_192  # rows turned into one Arrow chunk: bounds the Python objects alive at a time
_BATCH = 2_048  # rows of a Parquet file that are unpacked at a time: pictures may be large
_FEW = 32  # rows up to which looking at each is faster than an Arrow call
_CSV = threading.Lock()  # csv's field limit belongs to the process


class Records:
    """Records of one table.

    Args:
        table: the Arrow table.
        folder: folder of the table; paths in media cells are relative to it.
        source: the file's name, or ``records``.
        notes: what was assumed while reading (an encoding, skipped blank lines), in sentences.
        mapped: the file that the table lies in, if it is mapped.

    >>> records = as_records([{"a": 1, "b": "x"}, {"a": None, "b": ""}])
    >>> len(records), records.column("b"), records.take([1])[0]
    (2, ['x', None], {'a': None, 'b': None})
    """

    def __init__(
        self, table: pa.Table, *, folder: Path | None = None, source: str = "records",
        notes: Sequence[str] = (), mapped: Mapped | None = None,
    ) -> None:
        repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
        if repeated:
            raise BadTable(
                f"{source}: the column name {', '.join(map(repr, repeated))} occurs more than once; "
                "give every column a name of its own"
            )
        self.table, self.folder, self.source, self.notes = table, folder, source, list(notes)
        self.mapped = mapped
        self._rows: np.ndarray | None = None  # None: all rows of the table

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return self.table.column_names

    def __len__(self) -> int:
        return self.table.num_rows if self._rows is None else len(self._rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for i in range(len(self)):
            yield self[i]

    def __getitem__(self, i: int) -> dict[str, Any]:
        """Record ``i`` as a dict."""
        if isinstance(i, slice):
            return self.take(range(len(self))[i])
        return {name: self.cell(name, i) for name in self.names}

    def __repr__(self) -> str:
        return f"Records({self.source}: {len(self)} records of {', '.join(self.names)})"

    def origin(self, i: int) -> int:
        """The row of record ``i`` in the table that these were taken from."""
        return int(i) if self._rows is None else int(self._rows[i])

    def cell(self, name: str, i: int) -> Any:
        """One value, None if missing."""
        i = range(len(self))[int(i)]
        value = self._column(name)[i if self._rows is None else int(self._rows[i])].as_py()
        self._touched(1)
        return None if is_empty(value) else value

    def column(self, name: str, rows: Sequence[int] | None = None, *, sets: bool = False) -> list[Any]:
        """All values of a column, or those of some rows; None where missing.

        Args:
            sets: an empty list is a value, the empty set; otherwise it is missing.

        Raises:
            BadColumn: no such column.
        """
        if rows is not None and len(rows) <= _FEW and not sets:
            return [self.cell(name, i) for i in rows]
        chunked = self._column(name)
        wanted = self._rows
        if rows is not None:
            rows = np.asarray(rows, dtype=np.int64)
            wanted = rows if self._rows is None else self._rows[rows]
        values: list[Any] = []
        for piece in chunked.chunks if wanted is None else _pieces(chunked, wanted):
            values += piece.to_pylist()
            self._touched(len(piece))
        return [None if is_empty(value) and not (sets and value == []) else value for value in values]

    def _touched(self, reads: int) -> None:
        if self.mapped is not None:
            self.mapped.touched(reads)

    def empty(self, name: str) -> np.ndarray:
        """(N,) bool: the cells of a column that are missing, without loading what they hold."""
        chunked = self._column(name)
        kind = chunked.type
        if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
            found = pc.equal(pc.fill_null(pc.binary_length(chunked), 0), 0)
        elif pa.types.is_primitive(kind) or pa.types.is_null(kind):
            found = pc.is_null(chunked)
        else:  # lists and structs: rare, and short
            found = pa.chunked_array([[is_empty(value.as_py()) for value in chunked]], type=pa.bool_())
        mask = found.to_numpy().astype(bool)
        self._touched(len(mask))
        return mask if self._rows is None else mask[self._rows]

    def take(self, indices: Sequence[int]) -> Records:
        """The records of these rows, in this order; the values are not copied."""
        rows = np.asarray(indices)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        rows = rows.astype(np.int64).reshape(-1)
        if len(rows) and (rows.min() < -len(self) or rows.max() >= len(self)):
            raise IndexError(f"row {int(rows.max())} of {len(self)} records")
        rows = np.where(rows < 0, rows + len(self), rows)
        part = Records(self.table, folder=self.folder, source=self.source, notes=self.notes, mapped=self.mapped)
        part._rows = rows if self._rows is None else self._rows[rows]
        return part

    def head(self, n: int) -> Records:
        """The first ``n`` records."""
        return self.take(range(min(n, len(self))))

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self.table.column_names:
            from ..registry import suggest

            raise BadColumn(f"{self.source} has no column '{name}'; {suggest(name, self.names)}")
        return self.table.column(name)


def _pieces(chunked: pa.ChunkedArray, rows: np.ndarray) -> Iterator[pa.Array]:
    """Some rows of a column, a few at a time; Arrow's own ``take`` would first copy the whole column."""
    starts = np.cumsum([0, *map(len, chunked.chunks)])
    chunk_R = np.searchsorted(starts, rows, side="right") - 1
    ends = [*np.flatnonzero(np.diff(chunk_R)) + 1, len(rows)]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        if start < end:
            c = chunk_R[start]
            yield chunked.chunk(c).take(pa.array(rows[start:end] - starts[c]))


def read_table(path: str | os.PathLike) -> Records:
    """Records of a CSV, TSV, JSON-lines, Parquet or Arrow file, by the file's extension, or of a folder of class folders.

    Raises:
        BadTable: no such file, an unknown extension, or a content that cannot be read; the
            sentence names the line.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    how = FORMATS.get(path.suffix.lower())
    if how is None:
        raise BadTable(
            f"{path.name}: tables are read from {' '.join(FORMATS)}, not from "
            f"'{path.suffix or 'a file without extension'}'; export it as .csv"
        )
    if not path.exists():
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise BadTable(f"{path}: no such file{where}")
    try:
        if how in ("csv", "tsv"):
            table, notes, mapped = _read_csv(path, "," if how == "csv" else "\t")
        elif how == "jsonl":
            (table, notes), mapped = _read_jsonl(path), None
        else:
            table, notes, mapped = _read_columnar(path, how)
    except OSError as error:
        raise BadTable(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeError as error:
        raise BadTable(f"{path.name} cannot be read: {error}; save it as UTF-8") from None
    return Records(table, folder=path.resolve().parent, source=path.name, notes=notes, mapped=mapped)


def _read_folder(path: Path) -> Records:
    try:
        columns, notes = folder_columns(path)
    except OSError as error:
        raise BadTable(f"{path} cannot be read: {error.strerror or error}") from None
    if "split" in columns:
        notes.append(f"{path.name}: its folders say train, valid and test in the column 'split'")
    return Records(_table(columns, notes), folder=path.resolve(), source=path.resolve().name, notes=notes)


def as_records(obj: Any, folder: str | os.PathLike | None = None) -> Records:
    """Records of whatever holds some: Records, a path, dicts, columns, a pandas frame, an Arrow table.

    Args:
        obj: Records · a table's path, or that of a folder with a folder for each class · list of dicts · dict of lists ·
            pandas or polars frame · Arrow table.
        folder: paths in media cells are relative to it; the table's own folder for a path.

    Raises:
        BadTable: it is none of these.

    >>> as_records({"a": [1, 2], "b": ["x", None]})[1]
    {'a': 2, 'b': None}
    """
    folder = Path(folder) if folder is not None else None
    if isinstance(obj, Records):
        if folder is None or folder == obj.folder:
            return obj
        part = obj.take(range(len(obj)))
        part.folder = folder
        return part
    if isinstance(obj, (str, os.PathLike)):
        records = read_table(obj)
        records.folder = folder or records.folder
        return records
    notes: list[str] = []
    if isinstance(obj, pa.Table):
        table = _plain(obj, notes)
    elif type(obj).__module__.split(".")[0] == "pandas":
        table = _from_pandas(obj, notes)
    elif isinstance(obj, Mapping):
        if any(isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__") for values in obj.values()):
            raise BadTable("one record was given where records are expected; put it into a list: [record]")
        lengths = {name: len(values) for name, values in obj.items()}
        if len(set(lengths.values())) > 1:
            raise BadTable(f"the columns differ in length: {lengths}")
        table = _table({str(name): list(values) for name, values in obj.items()}, notes)
    elif type(obj).__module__.split(".")[0] == "polars":
        table = _plain(_from_polars(obj), notes)
    elif hasattr(obj, "__arrow_c_stream__"):
        table = _plain(pa.table(obj), notes)
    else:
        table = _from_dicts(obj, notes)
    return Records(table, folder=folder, notes=notes)


def write_csv(path: str | os.PathLike, columns: Mapping[str, Sequence[Any]]) -> None:
    """A CSV file of columns; see ``write_lines``."""
    write_lines(path, list(columns), zip(*columns.values(), strict=True))


def write_lines(path: str | os.PathLike, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file, UTF-8; None becomes the empty cell. Written aside, then renamed.

    Args:
        names: of the columns.
        rows: a value for each of them.

    Raises:
        CannotWrite: no permission, or the disk is full.
    """
    path = Path(path)
    try:
        special = path.exists() and not stat.S_ISREG(path.stat().st_mode)  # a pipe, /dev/stdout
        with open(path, "wb") if special else replacing(Path(os.path.realpath(path))) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(names)
            for row in rows:
                writer.writerow(["" if value is None else value for value in row])
            text.detach()
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}") from None


# --- text files ---


def _read_csv(path: Path, delimiter: str) -> tuple[pa.Table, list[str], Mapped | None]:
    notes: list[str] = []
    encoding = _encoding(path, notes)
    with _CSV, open(path, encoding=encoding, newline="") as file:
        delimiter = _separator(file, delimiter, path.name, notes)
        limit = csv.field_size_limit(sys.maxsize)
        try:
            table, mapped = _csv_rows(path.name, csv.reader(file, delimiter=delimiter, strict=True), notes)
            return table, notes, mapped
        finally:
            csv.field_size_limit(limit)


#: What columns may be separated by -> the word for it.
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def _separator(file: Any, usual: str, name: str, notes: list[str]) -> str:
    """The extension's separator, unless the header holds none of it and another one."""
    header = re.sub('"[^"]*"', "", file.readline(1_000_000))  # a separator in quotes separates nothing
    file.seek(0)
    most = max(_SEPARATORS, key=header.count)
    if usual in header or most not in header:
        return usual
    notes.append(f"{name}: columns are separated by {_SEPARATORS[most]}")
    return most


def _csv_rows(name: str, reader: Any, notes: list[str]) -> tuple[pa.Table, Mapped | None]:
    batches = _csv_batches(name, reader, notes)
    return spooled(batches, next(batches).schema)


def _csv_batches(name: str, reader: Any, notes: list[str]) -> Iterator[pa.RecordBatch]:
    """The header as a batch without rows, then the rows; one that does not fit the header is named by its line."""
    header: list[str] | None = None
    rows: list[list[str]] = []
    last, blank = 0, 0
    try:
        for row in reader:
            if not row:
                blank += 1
            elif header is None:
                header = _header(name, row, notes)
                schema = pa.schema([(column, pa.large_string()) for column in header])
                yield pa.RecordBatch.from_pylist([], schema)
            elif len(row) != len(header):
                raise BadTable(
                    f"{name} line {last + 1}: {len(row)} cells, but the header names {len(header)} columns; "
                    "put a cell that holds the separator into double quotes"
                )
            else:
                rows.append(row)
                if len(rows) == _ROWS:
                    yield _batch(rows, schema)
                    rows = []
            last = reader.line_num
    except csv.Error as error:
        raise BadTable(
            f"{name} line {last + 1}: {error}; a cell that begins with a double quote must end with one, "
            "and quotes inside it are doubled"
        ) from None
    if header is None:
        raise BadTable(f"{name} is empty; its first line must hold the column names")
    if blank:
        notes.append(f"{name}: {blank} blank line{'s' * (blank > 1)} skipped")
    if rows:
        yield _batch(rows, schema)


def _header(name: str, row: list[str], notes: list[str]) -> list[str]:
    header = [cell.strip() for cell in row]
    for i, cell in enumerate(header):
        if not cell:
            header[i] = f"column_{i + 1}"
            notes.append(f"{name}: column {i + 1} has no name and is called '{header[i]}'")
    repeated = sorted({cell for cell in header if header.count(cell) > 1})
    if repeated:
        raise BadTable(
            f"{name}: the column name {', '.join(map(repr, repeated))} occurs more than once; "
            "give every column a name of its own"
        )
    return header


def _batch(rows: list[list[str]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.record_batch([pa.array(column, pa.large_string()) for column in columns], schema=schema)


def _encoding(path: Path, notes: list[str]) -> str:
    """UTF-8 where the file decodes as UTF-8; else the likeliest of the others, said in a note."""
    decoder = getincrementaldecoder("utf-8-sig")()
    with open(path, "rb") as file:
        first = file.read(65536)
        if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
            notes.append(f"{path.name} is read as UTF-16")
            return "utf-16"
        if b"\0" in first or first[:4] == b"PK\3\4":
            raise BadTable(f"{path.name} is not a text file; export the table as .csv in UTF-8")
        try:
            block = first
            while block:
                decoder.decode(block)
                block = file.read(1 << 20)
            decoder.decode(b"", final=True)
            return "utf-8-sig"
        except UnicodeDecodeError:
            pass
        file.seek(0)
        guess = "gb18030" if _chinese(file) else "latin-1"
    notes.append(f"{path.name} is not UTF-8; it is read as {guess}: save it as UTF-8 if letters look wrong")
    return guess


def _chinese(file: Any) -> bool:
    """Whether bytes that are not UTF-8 are GB 18030.

    Accented letters of Western text stand alone between ASCII letters; Chinese comes in pairs whose
    first byte lies, for the common characters (GB 2312 level 1), in B0..D7.
    """
    decoder = getincrementaldecoder("gb18030")()
    pairs = common = 0
    try:
        while block := file.read(1 << 20):
            for letter in decoder.decode(block):
                if letter >= "\u0080":
                    pairs += 1
                    common += 0xB0 <= letter.encode("gb18030")[0] <= 0xD7
            if pairs > 100_000:
                break
        else:
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return pairs > 0 and common >= 0.5 * pairs


def _read_jsonl(path: Path) -> tuple[pa.Table, list[str]]:
    notes: list[str] = []
    rows: list[dict[str, Any]] = []
    with open(path, encoding=_encoding(path, notes)) as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text, object_pairs_hook=_object)
            except (ValueError, RecursionError) as error:
                why = "nested too deeply" if isinstance(error, RecursionError) else error
                place = f"{path.name} line {line}"
                raise BadTable(f"{place}: not a JSON object ({why}); write one object a line") from None
            if not isinstance(row, dict):
                place = f"{path.name} line {line}"
                raise BadTable(f"{place}: {short(row)} is not a JSON object; write one object a line")
            rows.append(row)
    if not rows:
        raise BadTable(f"{path.name} is empty; write one JSON object a line")
    return _from_dicts(rows, notes), notes


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return found


# --- typed tables ---


def _read_columnar(path: Path, how: str) -> tuple[pa.Table, list[str], Mapped | None]:
    notes: list[str] = []
    try:
        with pa.OSFile(str(path)) as source:
            schema, batches = _parquet(source) if how == "parquet" else _arrow(source)
            plain = _plain(schema.empty_table(), notes).schema
            pieces = (piece for batch in batches for piece in _plain(pa.Table.from_batches([batch]), []).to_batches())
            table, mapped = spooled(pieces, plain)
        return table, notes, mapped
    except (pa.ArrowException, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadTable(f"{path.name} cannot be read as {how}: {reason}") from None


def _parquet(source: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False)
    return file.schema_arrow, file.iter_batches(_BATCH)


def _arrow(source: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    try:
        file = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        stream = pa.ipc.open_stream(source)
        return stream.schema, iter(stream)
    return file.schema, (file.get_batch(i) for i in range(file.num_record_batches))


def _plain(table: pa.Table, notes: list[str]) -> pa.Table:
    """Types that every later step knows: long offsets, no dictionaries, microseconds."""
    index = [name for name in table.column_names if name.startswith("__index_level_")]
    if index:
        table = table.drop_columns(index)
        notes.append("the frame's index is left out")
    fields = []
    for field in table.schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_string(kind) or pa.types.is_string_view(kind):
            kind = pa.large_string()
        elif pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
            kind = pa.large_binary()
        elif pa.types.is_timestamp(kind):
            kind = pa.timestamp("us", kind.tz)
        elif pa.types.is_float16(kind):
            kind = pa.float32()
        fields.append(pa.field(field.name, kind))
    schema = pa.schema(fields)
    return table.replace_schema_metadata(None).cast(schema, safe=False)


def _from_pandas(frame: Any, notes: list[str]) -> pa.Table:
    names = [str(name) for name in frame.columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise BadTable(f"the column name {', '.join(map(repr, repeated))} occurs more than once; "
                       "give every column a name of its own")
    arrays = []
    for i, name in enumerate(names):
        series = frame.iloc[:, i]
        try:
            arrays.append(pa.chunked_array([pa.array(series, from_pandas=True)]) if series.dtype != object
                          else _array(name, series.tolist(), notes))
        except (pa.ArrowException, TypeError):
            arrays.append(_array(name, series.tolist(), notes))
    return _plain(pa.table(dict(zip(names, arrays, strict=True))), notes)


def _from_polars(frame: Any) -> pa.Table:
    """A frame, or a lazy one, which is collected; text in the older layout, as pyarrow cannot pick categories in the newer."""
    import polars

    if isinstance(frame, polars.LazyFrame):
        frame = frame.collect()
    odd = [name for name, kind in frame.schema.items() if kind == polars.Object]
    if odd:
        raise BadTable(f"column '{odd[0]}' of the frame holds Python objects; cast it to text, numbers or bytes")
    return frame.to_arrow(compat_level=polars.CompatLevel.oldest())


def _from_dicts(rows: Any, notes: list[str]) -> pa.Table:
    try:
        rows = list(rows)
    except TypeError:
        raise BadTable(f"records cannot be made from {type(rows).__name__}; give a path, a list of dicts, "
                       "a dict of lists or a frame") from None
    names: dict[str, None] = {}
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise BadTable(f"record {i} is a {type(row).__name__}; a record is a dict, column -> value")
        names.update(dict.fromkeys(map(str, row)))
    if rows and not names:
        raise BadTable("the records have no columns")
    return _table({name: [row.get(name) for row in rows] for name in names}, notes)


def _table(columns: dict[str, list[Any]], notes: list[str]) -> pa.Table:
    return _plain(pa.table({name: _array(name, values, notes) for name, values in columns.items()}), notes)


def _array(name: str, values: list[Any], notes: list[str]) -> pa.ChunkedArray:
    """Python values -> Arrow; a mixture of types becomes text, except text and bytes (a media column)."""
    values = [_native(name, i, value) for i, value in enumerate(values)]
    kinds = {type(value) for value in values if not is_empty(value)}
    if bytes in kinds and kinds <= {bytes, str, dict}:
        if kinds != {bytes}:
            return _chunked([_media(value) for value in values], _MEDIA)
        return _chunked([None if is_empty(value) else value for value in values], pa.large_binary())
    if kinds == {str}:
        return _strings(name, values, notes)
    if list in kinds and kinds <= {list, bytes, str, dict} and _holds_bytes(values):  # several files in one cell
        lists = [None if is_empty(value) else value if isinstance(value, list) else [value] for value in values]
        return _chunked([None if value is None else [_media(file) for file in value] for value in lists], pa.list_(_MEDIA))
    try:
        return _chunked([None if value == "" else value for value in values])
    except (pa.ArrowException, TypeError, OverflowError, UnicodeError, ValueError):
        names = " and ".join(sorted(kind.__name__ for kind in kinds))
        notes.append(f"column '{name}' mixes {names}: all its values are read as text")
        return _strings(name, [_text(value) for value in values], notes)


_MEDIA = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])


def _holds_bytes(values: list[Any]) -> bool:
    files = [file for value in values for file in (value if isinstance(value, list) else [value])]
    known = all(file is None or isinstance(file, (bytes, str, dict)) for file in files)
    return known and any(isinstance(file, bytes) or isinstance(file, dict) and file.get("bytes") for file in files)


def _chunked(values: list[Any], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    made = pa.array(values, kind, from_pandas=True)
    return made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made])


def _media(value: Any) -> dict[str, Any] | None:
    if is_empty(value):
        return None
    if isinstance(value, dict):
        return {"bytes": value.get("bytes"), "path": value.get("path")}
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(value, bytes):
        return {"bytes": value, "path": None}
    return {"bytes": None, "path": value.encode("utf-8", "replace").decode()}  # half a surrogate pair is no file's name


def _strings(name: str, values: list[Any], notes: list[str]) -> pa.ChunkedArray:
    values = [None if is_empty(value) else value for value in values]
    try:
        return _chunked(values, pa.large_string())
    except UnicodeEncodeError:  # half a surrogate pair, as broken JSON holds it
        notes.append(f"column '{name}' holds broken Unicode: half characters are read as \ufffd")
        repaired = [None if v is None else v.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
                    for v in values]
        return _chunked(repaired, pa.large_string())


def _text(value: Any) -> str | None:
    if is_empty(value) or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _native(name: str, i: int, value: Any) -> Any:
    """Plain Python types of what records are often given with."""
    if isinstance(value, (str, bytes, int, float, type(None), dict, list)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (tuple, set, frozenset)):
        return list(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if type(value).__module__.startswith("PIL."):
        raise BadColumn(f"column '{name}', record {i} holds a PIL picture; give a path, or a file's bytes")
    return value

"""Series: cells -> samples of sensors, biosignals, prices. T samples, C channels.

A cell holds the samples themselves (a list of numbers, a list of samples that are lists of C numbers, channel -> list;
in a CSV table the same as JSON), or a path to a ``.npy`` or ``.csv`` file. A missing sample is null, NaN or an empty
cell of the file. The first channel tells the time where it is called time, t, timestamp or date.
"""

from __future__ import annotations

import csv
import io
import json
import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import values
from .media import BadCell, Limits, fetch, told
from .values import short

#: Names of a first channel that says when the samples were taken: numbers (seconds) or dates.
TIMES = ("time", "t", "timestamp", "date")
#: Cells from which the channels of a column are learned.
LOOKED_AT = 64


@dataclass(frozen=True)
class Series:
    """Samples of one record.

    Attributes:
        x: (T, C) float64, NaN where a sample is missing.
        seconds: (T,) float64 since the first sample, never falling; None where no one said when they were taken.
    """

    x: np.ndarray
    seconds: np.ndarray | None = None


@dataclass(frozen=True)
class Read:
    """What a cell holds before its channels are put in the column's order; ``names`` is None where it has none."""

    x: np.ndarray
    seconds: np.ndarray | None
    names: tuple[str, ...] | None


# --- cell -> samples -------------------------------------------------------------------------------


def is_file(cell: Any) -> bool:
    """The cell holds a path or the bytes of a file, not the samples themselves.

    >>> is_file("walk.npy"), is_file("[1, 2]"), is_file([1, 2]), is_file({"x": [1]})
    (True, False, False, False)
    """
    if isinstance(cell, dict):
        return set(cell) == {"bytes", "path"}
    return isinstance(cell, (bytes, bytearray)) or isinstance(cell, str) and cell.lstrip()[:1] not in ("[", "{")


def read(cell: Any, folder: Path | None = None, limits: Limits = Limits()) -> Read:
    """The samples of a cell, whichever way it holds them.

    Raises:
        BadCell: no such file, not numbers, of several lengths, infinite, too large, or nothing but gaps.

    >>> read('{"time": [0, 0.5], "x": [1, null]}')
    Read(x=array([[ 1.],
           [nan]]), seconds=array([0. , 0.5]), names=('x',))
    """
    if is_file(cell):
        content = fetch(cell, "series", folder, limits)
        try:
            return decode(content.data, limits)
        except BadCell as error:
            raise BadCell(f"{short(content.name, 200)}: {error.reason}" if content.name else error.reason) from None
    return read_inline(cell, limits)


def read_inline(cell: Any, limits: Limits = Limits()) -> Read:
    """The samples of a cell that holds them itself: lists, channel -> list, or either as JSON."""
    if isinstance(cell, str):
        if len(cell) > limits.file_bytes:
            raise BadCell(f"{len(cell):,} letters, more than the {limits.file_bytes:,} allowed")
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError) as error:
            why = "nested too deeply" if isinstance(error, RecursionError) else error
            raise BadCell(f"{short(cell)} is no JSON list of numbers ({why})") from None
    if isinstance(cell, Mapping):
        return _named(cell, limits)
    if not isinstance(cell, (list, tuple)):
        raise BadCell(f"{short(cell)} is no list of numbers")
    return _checked(_matrix(_numbers(cell)), None, None, limits)


def decode(data: bytes, limits: Limits = Limits()) -> Read:
    """The samples of a .npy or .csv file; what the bytes say counts, not the name."""
    if data[:6] == b"\x93NUMPY":
        return _checked(_matrix(_array(data, limits)), None, None, limits)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or data[:4] == b"PK\3\4":
        raise BadCell(f"is {told(data)}, neither a .npy file nor a .csv file of numbers")
    return _table(text, limits)


def _named(cell: Mapping[str, Any], limits: Limits) -> Read:
    there = {str(name): column for name, column in cell.items() if column is not None}
    columns, seconds = {}, None
    for name, column in there.items():
        if not isinstance(column, (list, tuple)):
            raise BadCell(f"channel '{name}' holds {short(column)}, not a list of numbers")
        if not columns and seconds is None and name.casefold() in TIMES:
            seconds = np.array([_moment(one) for one in column], np.float64)
            continue
        columns[name] = _numbers(column)
        if columns[name].ndim != 1:
            raise BadCell(f"channel '{name}' holds lists of lists; a channel is one list of numbers")
    lengths = {name: len(column) for name, column in columns.items()}
    if seconds is not None:
        lengths["time"] = len(seconds)
    if len(set(lengths.values())) > 1:
        raise BadCell(f"its channels differ in length: {', '.join(f'{n} {size}' for n, size in lengths.items())}")
    if not columns:
        raise BadCell("holds no channel" if seconds is None else "holds time and no channel")
    return _checked(np.stack(list(columns.values()), 1), seconds, tuple(columns), limits)


def _numbers(cells: Sequence[Any]) -> np.ndarray:
    """Lists -> float64; None becomes NaN. A whole sample may be None."""
    if any(isinstance(one, (list, tuple)) for one in cells):
        width = next(len(one) for one in cells if isinstance(one, (list, tuple)))
        cells = [[None] * width if one is None else one for one in cells]
        for i, one in enumerate(cells):
            if not isinstance(one, (list, tuple)) or len(one) != width:
                there = f"{len(one)} numbers" if isinstance(one, (list, tuple)) else short(one)
                raise BadCell(f"sample {i} holds {there}, the first one {width} numbers")
    try:
        found = np.array(cells)
        if found.dtype == object and found.ndim <= 2:
            leaves = found.ravel().tolist()
            if all(one is None or isinstance(one, (int, float)) for one in leaves):
                return np.array([math.nan if one is None else float(one) for one in leaves]).reshape(found.shape)
    except (ValueError, OverflowError):
        raise BadCell(f"{short(cells)} is no list of numbers") from None
    if found.dtype.kind not in "fiub":
        wrong = next((one for one in _leaves(cells) if one is not None and not isinstance(one, (int, float))), cells)
        raise BadCell(f"holds {short(wrong)}, which is not a number")
    return found.astype(np.float64)


def _leaves(cells: Sequence[Any]) -> list[Any]:
    return [leaf for one in cells for leaf in (one if isinstance(one, (list, tuple)) else [one])]


def _array(data: bytes, limits: Limits) -> np.ndarray:
    """The array of a .npy file. Its header is read by numpy, its numbers from the bytes that are there: no objects are
    made, and a header that lies about the size allocates nothing."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except Exception as error:  # numpy's parser raises a dozen types on hostile headers
        why = [*str(error).strip().splitlines(), type(error).__name__][0]
        raise BadCell(f"cannot be read as .npy ({why})") from None
    if dtype.hasobject:
        raise BadCell("holds Python objects, which could run code when read; save an array of numbers")
    if dtype.kind not in "fiub":
        raise BadCell(f"holds {dtype.name} values, not real numbers")
    count = math.prod(shape)
    if any(size < 0 for size in shape) or count > limits.series_numbers:
        raise BadCell(f"declares {count:,} numbers, more than the {limits.series_numbers:,} allowed")
    declared, there = count * dtype.itemsize, len(data) - file.tell()
    if declared != there:
        raise BadCell(f"declares {declared:,} bytes of numbers and holds {there:,}")
    if not count:
        raise BadCell("holds no samples")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C").astype(np.float64)


def _matrix(found: np.ndarray) -> np.ndarray:
    if found.ndim not in (1, 2):
        raise BadCell(f"has {found.ndim} axes; a series has samples, or samples and channels")
    return found[:, None] if found.ndim == 1 else found


def _table(text: str, limits: Limits) -> Read:
    """A .csv file: a header of channels, unless its first line holds numbers only; then a sample a line."""
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t|", key=first.count), strict=True)
    names: list[str] | None = None
    timed, width = False, 0
    moments, numbers = array("d"), array("d")
    try:
        for row in reader:
            if not row:
                continue
            if not width:
                width = len(row)
                if any(_worded(cell) for cell in row):
                    names = [cell.strip() or str(i) for i, cell in enumerate(row, 1)]
                    timed = names[0].casefold() in TIMES
                    continue
            if len(row) != width:
                raise BadCell(f"line {reader.line_num}: {len(row)} values, where the first line has {width}")
            if timed:
                moments.append(_moment(row[0]))
            for cell in row[timed:]:
                numbers.append(_number(cell, reader.line_num))
            if len(numbers) > limits.series_numbers:
                raise BadCell(f"holds more than the {limits.series_numbers:,} numbers allowed")
    except csv.Error as error:
        raise BadCell(f"line {reader.line_num}: {error}") from None
    if timed and width == 1:
        raise BadCell("holds time and no channel")
    if names and len(set(names)) < len(names):
        raise BadCell(f"its header names a channel twice: {', '.join(names)}")
    x = np.array(numbers, np.float64).reshape(-1, max(1, width - timed))
    return _checked(x, np.array(moments) if timed else None, tuple(names[timed:]) if names else None, limits)


def _worded(cell: str) -> bool:
    """A cell of the first line names a channel: it holds a word that is no number."""
    try:
        values.number(cell)
    except BadCell:
        return True
    return False


def _number(cell: str, line: int) -> float:
    try:
        found = values.number(cell)
    except BadCell as error:
        raise BadCell(f"line {line}: {error.reason}") from None
    return math.nan if found is None else found


def _moment(cell: Any) -> float:
    """A time stamp: seconds as a number, or a date."""
    try:
        found = values.number(cell)
    except BadCell:
        found = values.seconds(cell)
    return math.nan if found is None else found


def _checked(x: np.ndarray, seconds: np.ndarray | None, names: tuple[str, ...] | None, limits: Limits) -> Read:
    if x.size > limits.series_numbers or x.shape[1] > limits.series_channels:
        raise BadCell(
            f"holds {len(x):,} samples of {x.shape[1]:,} channels, more than the {limits.series_numbers:,} numbers "
            f"or {limits.series_channels:,} channels allowed"
        )
    if not x.size:
        raise BadCell("holds no samples")
    if np.isinf(x).any():
        sample, channel = np.argwhere(np.isinf(x))[0].tolist()
        raise BadCell(f"infinity in channel {names[channel] if names else channel + 1} at sample {sample}")
    if np.isnan(x).all():
        raise BadCell("every sample is missing")
    if seconds is not None:
        if np.isnan(seconds).any():
            raise BadCell(f"has no time at sample {int(np.isnan(seconds).argmax())}")
        if (np.diff(seconds) < 0).any():
            raise BadCell(f"its time goes back at sample {int((np.diff(seconds) < 0).argmax()) + 1}")
        seconds = seconds - seconds[0]
    return Read(x, seconds, names)


# --- channels of a column ----------------------------------------------------------------------------


def channels_of(cells: Sequence[Any], folder: Path | None = None, limits: Limits = Limits()) -> tuple[str, ...]:
    """Names of a column's channels, learned from some cells: named ones that a tenth of the cells know, else numbers.

    >>> channels_of([[1, 2], [[1, 2], [3, 4]], [[1, 2]]]), channels_of(['{"x": [1], "y": [2]}'])
    (('1', '2'), ('x', 'y'))
    """
    named: Counter[str] = Counter()
    widths: Counter[int] = Counter()
    with_names = 0
    for cell in cells:
        try:
            found = read(cell, folder, limits)
        except BadCell:
            continue
        if found.names is None:
            widths[found.x.shape[1]] += 1
        else:
            named.update(found.names)
            with_names += 1
    if with_names >= sum(widths.values()):
        return tuple(name for name, times in named.items() if times >= with_names / 10)
    return tuple(str(i) for i in range(1, widths.most_common(1)[0][0] + 1))


def arranged(found: Read, channels: Sequence[str]) -> Series:
    """A series with the column's channels: by name where both have names, else by position.

    A named channel that the record lacks is missing throughout.

    Raises:
        BadCell: another number of channels, or a channel that training did not have.

    >>> arranged(Read(np.array([[1.0, 2.0]]), None, ("y", "x")), ["x", "y", "z"]).x.tolist()
    [[2.0, 1.0, nan]]
    """
    count = len(channels)
    numbered = list(channels) == [str(i) for i in range(1, count + 1)]
    if found.names is None or numbered:
        if found.x.shape[1] != count:
            raise BadCell(f"has {_counted(found.x.shape[1])}, where training had {count}")
        return Series(found.x, found.seconds)
    strange = [name for name in found.names if name not in channels]
    if strange:
        raise BadCell(f"has the channel '{strange[0]}', which training did not have ({', '.join(channels)})")
    place = {name: i for i, name in enumerate(found.names)}
    gap = np.full(len(found.x), np.nan)
    return Series(np.stack([found.x[:, place[name]] if name in place else gap for name in channels], 1), found.seconds)


def _counted(count: int) -> str:
    return f"{count} channel{'s' * (count != 1)}"


def looks_like(cell: Any) -> bool:
    """The cell holds samples itself: a list of numbers, of lists of numbers, channel -> list, or either as JSON.

    >>> [looks_like(cell) for cell in ("[1, null]", [[1.0, 2.0]], {"x": [1]}, "[a]", ["a.png"], "[]", 3)]
    [True, True, True, False, False, False, False]
    """
    if isinstance(cell, str):
        if cell.lstrip()[:1] not in ("[", "{"):
            return False
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return False
    if isinstance(cell, dict):
        there = [column for column in cell.values() if column is not None]
        return bool(there) and all(isinstance(column, list) and _first(column) for column in there[-1:])
    return isinstance(cell, list) and _first(cell)


def _first(cells: list[Any]) -> bool:
    """The first leaf that is not missing is a number."""
    leaf = next((one for one in cells if one is not None), None)
    if isinstance(leaf, list):
        leaf = next((one for one in leaf if one is not None), None)
    return isinstance(leaf, (int, float))

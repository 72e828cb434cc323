"""What the columns of a table are: guessed with a reason, or declared; and the views they form."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadColumn, BadModel, BadTable
from ..registry import modalities, suggest
from ..talk import aligned
from . import series, values
from .media import several, sniff
from .records import Records
from .rows import blocks
from .values import EXTENSIONS, BadCell, short

#: Kinds of columns.
KINDS = ("text", "image", "audio", "video", "series", "points",
         "number", "category", "date", "flag", "id", "ignore")
#: Kinds that together form the view ``table``.
TABLE_KINDS = ("number", "category", "date", "flag")
#: Kinds that are no features.
_ASIDE = ("id", "ignore")
#: Kinds of columns that may form a view together.
JOINED_KINDS = ("text", "image", "audio")
#: Names that a view of its own may not have: they are prefixes of options.
RESERVED = ("table", "fusion", "train", "task", "tune", "auto", "match")

_SAMPLE = 2000  # values looked at, spread over the table
_MOST = 0.9  # share of values that must look like media
_NEARLY_ALL = 0.95  # share of values that must be numbers or dates; the rest become bad cells
_KIND_OF = {extension: kind for kind, names in EXTENSIONS.items() for extension in names}
_PATH = re.compile(r"[^\n\r\t]{0,1000}[^\s./\\]\.([A-Za-z0-9]{2,4})\s*")
_ID = re.compile(r"(.*_)?id|uuid|(.*_)uuid", re.IGNORECASE)
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af]")


@dataclass(frozen=True)
class Column:
    """A column, its kind, and why.

    Attributes:
        order: in dates such as 03/04/2024, ``day`` or ``month``, whichever comes first.
        channels: of a series, in the order in which its arrays hold them.

    >>> Column("note", "text", "3.1 words on average").line()
    'note -> text: 3.1 words on average'
    """

    name: str
    kind: str
    reason: str
    declared: bool = False
    order: str = ""
    channels: tuple[str, ...] = ()

    def line(self) -> str:
        """The line that is printed for it."""
        return f"{self.name} -> {self.kind}: {self.reason}"


@dataclass(frozen=True)
class View:
    """What is present or absent as one: a media or text column, several joined, or all table columns together."""

    name: str
    modality: str
    columns: tuple[str, ...]


@dataclass
class Schema:
    """The columns of a table and the views they form.

    Attributes:
        joined: {view: its columns, in order} for views that the user made of several columns.
        tables: {view: its columns} where numbers, categories, dates and flags form several views in place of ``table``.

    >>> kinds = {"size": "number", "note": "text", "sold": "flag"}
    >>> schema = Schema([Column(name, kind, "declared") for name, kind in kinds.items()])
    >>> [(view.name, view.columns) for view in schema.views]
    [('note', ('note',)), ('table', ('size', 'sold'))]
    """

    columns: list[Column] = field(default_factory=list)
    joined: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def views(self) -> list[View]:
        """Columns with a view of their own in the table's order, joined ones, then the view ``table``."""
        taken = {name for names in self.joined.values() for name in names}
        own = [
            View(c.name, c.kind, (c.name,))
            for c in self.columns if c.kind not in TABLE_KINDS + _ASIDE and c.name not in taken
        ]
        own += [View(view, self.column(names[0]).kind, names) for view, names in self.joined.items()]
        if self.tables:
            return own + [View(view, "table", names) for view, names in self.tables.items()]
        table = tuple(c.name for c in self.columns if c.kind in TABLE_KINDS)
        return own + ([View("table", "table", table)] if table else [])

    @property
    def view_names(self) -> list[str]:
        """Names of the views."""
        return [view.name for view in self.views]

    @property
    def id_column(self) -> str | None:
        """The column that names the records: ``id`` if it is one, else the first of kind id."""
        ids = [column.name for column in self.columns if column.kind == "id"]
        return next((name for name in ids if name.lower() == "id"), ids[0] if ids else None)

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            BadColumn: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise BadColumn(f"there is no column '{name}'; {suggest(name, [c.name for c in self.columns])}")

    def describe(self) -> str:
        """One line a column, the kinds under each other."""
        names = aligned([column.name for column in self.columns])
        return "\n".join(
            f"{name} -> {column.kind}: {column.reason}" for name, column in zip(names, self.columns, strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values; ``from_json`` undoes it."""
        tree = {"columns": [asdict(column) for column in self.columns], "joined": {k: list(v) for k, v in self.joined.items()}}
        return tree | ({"tables": {k: list(v) for k, v in self.tables.items()}} if self.tables else {})

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Schema:
        """The schema that ``to_json`` wrote.

        Raises:
            BadModel: it is not one.
        """
        try:
            columns = [Column(**entry | {"channels": tuple(entry.get("channels", ()))}) for entry in tree["columns"]]
            joined, tables = (
                {view: tuple(names) for view, names in tree.get(part, {}).items()} for part in ("joined", "tables")
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise BadModel(f"the model's schema is damaged: {error}; fit and save the model again") from None
        for column in columns:
            if column.kind not in KINDS:
                raise BadModel(f"the model's schema is damaged: '{column.name}' is of kind '{column.kind}'")
        named = {name for names in (*joined.values(), *tables.values()) for name in names}
        if not named <= {column.name for column in columns}:
            raise BadModel("the model's schema is damaged: a view joins a column that is not there")
        return cls(columns, joined, tables)


def guess(
    records: Records, *, declared: Mapping[str, str] | None = None, exclude: Collection[str] = (),
    views: Mapping[str, str | Sequence[str]] | None = None,
) -> Schema:
    """The schema of some records.

    Args:
        records: at least one; up to 2,000 values of a column are looked at, spread over the table.
        declared: column -> kind; the other columns are guessed.
        exclude: columns that are no features (target, group, split).
        views: {view: the columns that form it together, as a list or "title+body"}: texts are joined by a newline,
            pictures and sounds stand in one record. These columns are no views of their own.

    Raises:
        BadTable: no records.
        BadColumn: an unknown column or kind, a kind without modality, a name that is taken, columns that do not join.

    >>> from polysense.data.records import as_records
    >>> print(guess(as_records({"price": ["1", "2.5"], "sold": ["yes", "no"]})).describe())
    price -> number: 2 of 2 values are numbers
    sold -> flag: yes/no
    """
    declared = dict(declared or {})
    joined = {view: tuple(names.split("+") if isinstance(names, str) else names) for view, names in (views or {}).items()}
    _check_declared(records, declared, exclude)
    _check_joined(records, joined, exclude)
    view_of = {name: view for view, names in joined.items() for name in names}
    if len(records) == 0:
        raise BadTable(f"{records.source} holds no records; there must be at least one row under the header")
    columns = []
    for name in records.names:
        if name in exclude:
            continue
        kind = declared.get(name)
        column = _declared(records, name, kind) if kind else _guess_column(records, name)
        if name in view_of:
            column = _part(column, view_of[name])
        if name in RESERVED and column.kind not in TABLE_KINDS + _ASIDE:
            raise BadColumn(
                f"a column of kind {column.kind} may not be called '{name}', the name of a group of options; "
                f"rename it, or declare it: {name}=ignore"
            )
        columns.append(column)
    schema = Schema(columns, joined)
    for view, names in joined.items():
        _check_kinds(view, [schema.column(name) for name in names])
    return schema


def _check_joined(records: Records, joined: Mapping[str, tuple[str, ...]], exclude: Collection[str]) -> None:
    """Names of views and columns, before anything is read."""
    seen: dict[str, str] = {}
    for view, names in joined.items():
        if view in records.names or view in RESERVED:
            what = "the name of a column" if view in records.names else "a name that polysense keeps for itself"
            raise BadColumn(f"the view that joins {' and '.join(names)} cannot be called '{view}', {what}; choose another")
        if len(names) < 2:
            raise BadColumn(f"view '{view}' names {' and '.join(names)} alone; join at least two columns: {view}=title+body")
        for name in names:
            if name not in records.names:
                raise BadColumn(f"view '{view}': {records.source} has no column '{name}'; {suggest(name, records.names)}")
            if name in exclude:
                raise BadColumn(f"view '{view}': column '{name}' is target, group or split, never a feature; leave it out")
            if name in seen:
                twice = f"twice in view '{view}'" if seen[name] == view else f"in view '{seen[name]}' and in '{view}'"
                raise BadColumn(f"column '{name}' is joined {twice}; name it once")
            seen[name] = view


def _part(column: Column, view: str) -> Column:
    """A column that forms a view with others: words that are few are text there, not a category."""
    kind = "text" if column.kind == "category" and not column.declared else column.kind
    return replace(column, kind=kind, reason=f"{column.reason}, part of view '{view}'")


def _check_kinds(view: str, columns: Sequence[Column]) -> None:
    kinds = {column.kind for column in columns}
    odd = next((column for column in columns if column.kind not in JOINED_KINDS), None)
    if odd is not None:
        raise BadColumn(
            f"view '{view}': column '{odd.name}' is of kind {odd.kind}, and only columns of kind "
            f"{', '.join(JOINED_KINDS)} are joined; leave it out, or declare what it is (--columns {odd.name}=text)"
        )
    if len(kinds) > 1:
        said = " and ".join(f"'{column.name}' is {column.kind}" for column in columns)
        raise BadColumn(f"view '{view}' joins columns of different kinds: {said}; join columns of one kind")


def ready(kind: str) -> bool:
    """Whether a modality reads columns of this kind."""
    return kind in _ASIDE or ("table" if kind in TABLE_KINDS else kind) in modalities


def _check_declared(records: Records, declared: Mapping[str, str], exclude: Collection[str]) -> None:
    for name, kind in declared.items():
        if name not in records.names:
            raise BadColumn(f"{records.source} has no column '{name}'; {suggest(name, records.names)}")
        if kind not in KINDS:
            raise BadColumn(f"column '{name}' is declared as '{kind}'; {suggest(kind, list(KINDS))}")
        if name in exclude and kind != "ignore":
            raise BadColumn(f"column '{name}' is target, group or split, never a feature; do not declare it")
        if not ready(kind):
            there = ", ".join(k for k in KINDS if ready(k))
            raise BadColumn(
                f"column '{name}' is declared as {kind}, a kind that no modality reads yet; "
                f"choose one of {there}"
            )


def _declared(records: Records, name: str, kind: str) -> Column:
    if kind == "series":
        return _series(records, name, "declared", True)
    if kind != "date":
        return Column(name, kind, "declared", True)
    order, words = _day_order(_sample(records, name)[0])
    return Column(name, kind, f"declared{words}", True, order)


def _series(records: Records, name: str, reason: str, declared: bool = False) -> Column:
    """A column of series with its channels, learned from a few cells."""
    rows = np.flatnonzero(~records.empty(name))
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), series.LOOKED_AT)).astype(np.int64)] if len(rows) else rows
    channels = series.channels_of(records.column(name, chosen), records.folder)
    named = "" if channels[:1] in ((), ("1",)) else f" ({', '.join(channels[:4])}{', ...' * (len(channels) > 4)})"
    known = f"; {len(channels)} channel{'s' * (len(channels) != 1)}{named}" if channels else ""
    return Column(name, "series", reason + known, declared, channels=channels)


def _sample(records: Records, name: str) -> tuple[list[Any], int]:
    """Up to 2,000 values that are not missing, spread over the table, and how many there are in all."""
    rows = np.flatnonzero(~records.empty(name))
    if len(rows) > _SAMPLE:
        chosen = rows[np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64)]
    else:
        chosen = rows
    return [value for value in records.column(name, chosen) if value is not None], len(rows)


def _guess_column(records: Records, name: str) -> Column:
    """The first kind whose test the values pass."""
    found, there = _sample(records, name)
    make = partial(Column, name)
    if not found:
        return make("ignore", "every cell is empty")
    same = there > 1 and all(value == found[0] for value in found)
    if same and _distinct(records, name, found, there) == 1:
        return make("ignore", f"every value is {short(found[0])}")
    kind, reason = _media(found, records.folder)
    if kind == "series" and ready(kind):
        return _series(records, name, reason)
    if kind:
        unread = f"looks like {kind} ({reason}), which is not read yet"
        return make(kind, reason) if ready(kind) else make("ignore", unread)
    if all(isinstance(value, (list, dict, bytes)) for value in found):
        return make("ignore", "bytes of no known format" if isinstance(found[0], bytes) else "nested values")
    distinct = _distinct(records, name, found, there)
    if _ID.fullmatch(name):
        if there == len(records) and distinct == there > 1:
            return make("id", f"name and {distinct:,} distinct values")
        if distinct > min(50, there / 5):
            return make("ignore", f"an id by name, but only {distinct:,} of {len(records):,} values differ")
    return (
        _flag(name, found)
        or _date(name, found)
        or _number(records, name, found)
        or _words(name, found, distinct, there)
    )


def _distinct(records: Records, name: str, found: list[Any], there: int) -> int:
    """Distinct values of the whole column; of nested values and bytes, of the sample."""
    if isinstance(found[0], (list, dict, bytes)):
        return len({str(value) for value in found})
    if there == len(found):
        return len(set(found))
    seen = np.zeros(0, np.int64)  # hashes: the values themselves may be many and long
    for part in blocks(len(records)):
        values = records.column(name, np.arange(part.start, part.stop))
        seen = np.union1d(seen, [hash(str(value)) for value in values if value is not None])
    return len(seen)


def _media(found: list[Any], folder: Path | None) -> tuple[str, str]:
    """Kind of media and reason, or empty."""
    lists = sum(map(series.looks_like, found))
    if lists >= _MOST * len(found):
        return "series", f"{lists:,} of {len(found):,} values are lists of numbers"
    firsts = [files[0] for files in map(several, found) if files]
    kinds: Counter[str] = Counter()
    signs: Counter[str] = Counter()
    by_content = 0
    for value in firsts:
        data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (None, value)
        if isinstance(value, bytes) or data:
            kind = sniff(value if isinstance(value, bytes) else data)
            by_content += bool(kind)
        else:
            match = _PATH.fullmatch(path) if isinstance(path, str) else None
            extension = match[1].lower() if match else ""
            kind = _KIND_OF.get(extension, "")
            if extension in ("csv", "tsv") and not _is_there(path, folder):
                kind = ""  # the name of a table, not a series
            if kind:
                signs["." + extension] += 1
        if kind:
            kinds[kind] += 1
    if not kinds:
        return "", ""
    kind, count = kinds.most_common(1)[0]
    if count < _MOST * len(firsts):
        return "", ""
    words = []
    if signs:
        shown = [sign for sign, _ in signs.most_common(4) if _KIND_OF[sign[1:]] == kind]
        words.append(f"end in {'/'.join(shown)}")
    if by_content:
        words.append(f"are {kind} files by their first bytes")
    return kind, f"{count:,} of {len(firsts):,} values {' or '.join(words)}"


def _is_there(path: str, folder: Path | None) -> bool:
    try:
        return ((folder or Path.cwd()) / path).is_file()
    except (OSError, ValueError):
        return False


def _flag(name: str, found: list[Any]) -> Column | None:
    if all(isinstance(value, bool) for value in found):
        return Column(name, "flag", "true/false")
    words = {str(value).strip().casefold() for value in found}
    for pair in values.FLAG_PAIRS:
        if words == set(pair):
            return Column(name, "flag", "/".join(pair))
    return None


def _date(name: str, found: list[Any]) -> Column | None:
    order, words = _day_order(found)
    digits = any(str(value).strip().isdigit() for value in found)  # then one that is no date: numbers
    kept, good = _passing(found, partial(values.seconds, order=order))
    if not kept or good < (1.0 if digits else _NEARLY_ALL) * kept:
        return None
    form = "dates written as eight digits" if digits else "ISO dates" if all(map(_iso, found)) else "dates"
    if good < kept:
        form = f"{good:,} of {kept:,} values are {form}"
    return Column(name, "date", f"{form}{words}", order=order)


def _iso(value: Any) -> bool:
    return not isinstance(value, str) or values.missing_word(value) is not None or value.strip()[4:5] == "-"


def _day_order(found: list[Any]) -> tuple[str, str]:
    """Which of day and month comes first in dates like 03/04/2024, and the words that say so."""
    if not any(map(values.year_last, found)):
        return "", ""
    shown = Counter(filter(None, map(values.day_order, found)))
    order = shown.most_common(1)[0][0] if shown else "day"
    return order, f", read as {'day/month/year' if order == 'day' else 'month/day/year'}"


def _number(records: Records, name: str, found: list[Any]) -> Column | None:
    kept, good = _passing(found, values.number, also=("is infinite",))
    if not kept or good < _NEARLY_ALL * kept:
        return None
    if any(isinstance(v, str) and re.fullmatch(r"0\d+", v.strip()) for v in found):
        return None  # leading zeros: a code, not a quantity
    if _counts_rows(records, name, found):
        return Column(name, "ignore", "it counts the rows")
    return Column(name, "number", f"{good:,} of {kept:,} values are numbers")


def _counts_rows(records: Records, name: str, found: list[Any]) -> bool:
    n = len(records)
    if n < 10 or str(found[0]).strip() not in ("0", "1"):
        return False
    start = int(str(found[0]).strip())
    return all(
        str(value).strip() == str(start + part.start + i)
        for part in blocks(n) for i, value in enumerate(records.column(name, np.arange(part.start, part.stop)))
    )


def _passing(found: list[Any], convert: Any, also: tuple[str, ...] = ()) -> tuple[int, int]:
    """How many values are no words for *missing*, and how many of these convert."""
    kept = good = 0
    for value in found:
        try:
            passed = convert(value) is not None
            kept += passed
            good += passed
        except BadCell as error:
            kept += 1
            good += error.reason.endswith(also) if also else 0
    return kept, good


def _words(name: str, found: list[Any], distinct: int, there: int) -> Column:
    """Category or text: few and short, or not. Chinese and Japanese are measured in characters."""
    texts = [str(value) for value in found]
    characters = sum(map(len, texts)) / len(texts)
    chinese = sum(len(_CJK.findall(text)) for text in texts) > 0.3 * sum(map(len, texts))
    words = sum(len(text.split()) for text in texts) / len(texts)
    short_enough = characters <= 10 if chinese else words <= 4 and characters <= 40
    if short_enough and distinct <= min(1000, max(there / 5, min(10, there / 2))):
        return Column(name, "category", f"{distinct:,} distinct values in {there:,} rows")
    length = f"{characters:.1f} characters" if chinese else f"{words:.1f} words"
    return Column(name, "text", f"{length} on average")


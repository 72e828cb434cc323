"""Tables with targets: opened, counted aloud, divided into training and validation records.

N records of a table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import BadColumn, BadTable
from ..registry import suggest
from ..talk import counted
from . import splits, targets
from .records import Records, as_records
from .rows import blocks
from .schema import Schema
from .values import BadCell

#: Share of the training records that validation gets where no one says otherwise.
VALID_SHARE = 0.2

Say = Callable[[str], None]


@dataclass
class Table:
    """Records with their targets.

    Attributes:
        targets: N of them, None where a record has none; of several targets tuples, None where one is missing.
        rows: of the records that have one, or at least one of several.
        faults: entries of the data report for targets that cannot be read; their records have none.
        kind: of the targets, see ``targets.reader``; of several the kind of each.
        names: of several targets.
    """

    records: Records
    targets: list[Any]
    rows: np.ndarray
    faults: list[dict[str, Any]] = field(default_factory=list)
    kind: str | tuple[str, ...] = "classes"
    names: list[str] = field(default_factory=list)

    @property
    def without(self) -> int:
        """Records without any target, unreadable cells aside."""
        return len(self.targets) - len(self.rows) - (0 if self.names else len(self.faults))

    def lacking(self) -> dict[str, int]:
        """{target: records without it}, of several targets."""
        return {
            name: sum(row is None or row[place] is None for row in self.targets) for place, name in enumerate(self.names)
        }


def open_table(
    records: Any, target: str | None, y: Sequence[Any] | None, say: Say, kind: str | Callable[[list[Any]], str] = "classes",
    separator: str = ";",
) -> Table:
    """Records with their targets; those without a target are counted aloud and left out of ``rows``.

    Args:
        records: whatever ``as_records`` takes.
        target: column that holds the targets, unless ``y`` does.
        kind: of the task's answers, see ``targets.reader``; or what says it, given the cells.
        separator: between labels.

    Raises:
        BadTable: as many targets as records were needed; a cell that is no class.
        BadColumn: no such column.
    """
    records = as_records(records)
    for note in records.notes:
        say(note)
    cells = _cells_of(records, target, y)
    kind = kind if isinstance(kind, str) else kind(cells)
    found, faults = _read(cells, kind, target, separator)
    rows = np.array([i for i, value in enumerate(found) if value is not None], int)
    table = Table(records, found, rows, faults, kind)
    without = len(found) - len(rows) - len(faults)
    if without:
        have = "has no target and is" if without == 1 else "have no target and are"
        say(f"{records.source}: {without} of {counted(len(found), 'record')} {have} left out")
    return table


def open_targets(
    records: Any, names: Sequence[str], y: Any, say: Say, kinds: Sequence[str | Callable[[list[Any]], str]],
    separators: Sequence[str],
) -> Table:
    """Records with several targets; what each of them lacks is counted aloud, records without any are left out of ``rows``.

    Args:
        records: whatever ``as_records`` takes.
        names: columns that hold the targets, unless ``y`` does.
        y: N rows of a value for each target, or {target: N values}.
        kinds, separators: of each target, as for ``open_table``.

    Raises:
        BadTable, BadColumn: as ``open_table``.
    """
    records = as_records(records)
    for note in records.notes:
        say(note)
    given = _columns_of(y, names, len(records))
    columns, kind, faults = [], [], []
    for name, mine, asked, separator in zip(names, given, kinds, separators, strict=True):
        cells = _cells_of(records, name, mine)
        kind.append(asked if isinstance(asked, str) else asked(cells))
        found, bad = _read(cells, kind[-1], name, separator, f" '{name}'")
        columns.append(found)
        faults += bad
    targets_N = [None if all(value is None for value in row) else row for row in zip(*columns, strict=True)]
    rows = np.array([i for i, row in enumerate(targets_N) if row is not None], int)
    for name, found in zip(names, columns, strict=True):
        without = sum(value is None for value in found) - sum(fault["column"] == name for fault in faults)
        if without:
            have = "has" if without == 1 else "have"
            say(f"{records.source}: {without} of {counted(len(found), 'record')} {have} no '{name}'")
    left = len(targets_N) - len(rows)
    if left:
        have = "has none of the targets and is" if left == 1 else "have none of the targets and are"
        say(f"{records.source}: {left} of {counted(len(targets_N), 'record')} {have} left out")
    return Table(records, targets_N, rows, faults, tuple(kind), list(names))


def _columns_of(y: Any, names: Sequence[str], n: int) -> list[Any]:
    """Targets that are no columns of the records, one by one; None for each where they are."""
    if y is None:
        return [None] * len(names)
    if hasattr(y, "columns") or isinstance(y, Mapping):
        for name in names:
            if name not in y:
                raise BadColumn(f"the targets given have no '{name}'; {suggest(name, [str(one) for one in y])}")
        return [list(y[name]) for name in names]
    rows = [tuple(row) if hasattr(row, "__len__") and not isinstance(row, (str, bytes)) else row for row in y]
    for row in rows:
        if row is not None and (not isinstance(row, tuple) or len(row) != len(names)):
            raise BadTable(f"the targets given hold {row!r}; give each record a row of {len(names)} values, one a target")
    if len(rows) != n:
        raise BadTable(f"{counted(len(rows), 'target')} were given for {counted(n, 'record')}")
    return [[None if row is None else row[place] for row in rows] for place in range(len(names))]


def _read(
    cells: list[Any], kind: str, target: str | None, separator: str, of: str = ""
) -> tuple[list[Any], list[dict[str, Any]]]:
    """Targets, and an entry of the data report for each cell that is none."""
    read, found, faults = targets.reader(kind, separator), [], []
    for row, cell in enumerate(cells):
        try:
            found.append(read(cell))
        except BadCell as error:
            if kind == "classes":
                raise BadTable(f"the target{of} in row {row} {error.reason}") from None
            found.append(None)
            faults.append({"row": row, "column": target or "target", "reason": error.reason, "action": "left out"})
    return found, faults


def judge_targets(table: Table, *, on_bad: str, max_bad: float) -> None:
    """Stop where the policy for unreadable cells says so.

    Raises:
        BadTable: a target cannot be read and ``on_bad`` is error, or too many cannot; the sentence names the first.
    """
    several = not isinstance(table.kind, str)
    for column in dict.fromkeys(fault["column"] for fault in table.faults):
        mine = [fault for fault in table.faults if fault["column"] == column]
        _judge(table, mine, column if several else "", on_bad, max_bad)


def _judge(table: Table, faults: Sequence[Mapping[str, Any]], column: str, on_bad: str, max_bad: float) -> None:
    """One target's unreadable cells; ``column`` is its name where there are several."""
    first, bad, there = faults[0], len(faults), len(faults) + len(table.rows)
    kind = table.kind
    if column:
        place = table.names.index(column)
        kind, there = table.kind[place], bad + sum(row is not None and row[place] is not None for row in table.targets)
    of = f" '{column}'" if column else ""
    where = f"{table.records.source} row {first['row']}: the target{of} {first['reason']}"
    if on_bad == "error":
        raise BadTable(f"{where}; correct the cell, leave it empty, or choose --on-bad mask")
    if bad > max_bad * there:
        raise BadTable(
            f"{where}, as {bad - 1:,} more of {there:,} targets; {kind} are expected: correct them, raise --max-bad, or "
            "choose another task" if bad > 1 else f"{where}; correct the cell, or raise --max-bad"
        )


def target_faults(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Entries of the data report for targets that cannot be read; with a validation table, they say so."""
    if len(tables) == 1:
        return list(tables[0].faults)
    return [fault | {"table": part} for part, table in zip(("train", "valid"), tables, strict=True) for fault in table.faults]


def scored(table: Table) -> Table:
    """The table, if its records can be scored.

    Raises:
        BadTable: it has records, but none with a target.
    """
    if len(table.records) and not len(table.rows):
        raise BadTable(f"{table.records.source} holds no record with a target; there is nothing to score")
    return table


def _cells_of(records: Records, target: str | None, y: Sequence[Any] | None) -> list[Any]:
    """N cells as plain values; equal words are one object."""
    if y is not None:
        if getattr(y, "ndim", 1) != 1:
            raise BadTable(
                f"the targets have the shape {tuple(y.shape)}; give one target per record, such as y[:, 0], or name each "
                "column: Model([\"a\", \"b\"])"
            )
        y = list(y)
        if len(y) != len(records):
            raise BadTable(f"{counted(len(y), 'target')} were given for {counted(len(records), 'record')}")
        return [targets.plain(value) for value in y]
    if target is None:
        raise BadColumn("no target is named; give Model(target) or fit(records, y)")
    if not len(records):
        return []
    column_of(records.head(0), target)
    known: dict[str, str] = {}  # one object a class, not one a record
    found: list[Any] = []
    for part in blocks(len(records)):
        for value in map(targets.plain, records.column(target, np.arange(part.start, part.stop), sets=True)):
            found.append(known.setdefault(value, value) if isinstance(value, str) else value)
    return found


def column_of(records: Records, name: str) -> list[Any]:
    """All values of a column, None where missing.

    Raises:
        BadColumn: there is none of that name; the sentence names a near one.
    """
    if name not in records.names:
        raise BadColumn(f"{records.source} has no column '{name}'; {suggest(name, records.names)}")
    return records.column(name)


def check_common(records: Records, schema: Schema, aside: Collection[str | None]) -> None:
    """Refuse a table that has nothing of what a model reads, but other columns: it is another table.

    One that only holds columns the model knows, such as the target, is answered: everything is missing.

    Args:
        aside: target, group and split, which are no features.

    Raises:
        BadTable: it has records, no column of any view, and one that the model does not know.
    """
    known = [name for view in schema.views for name in view.columns]
    others = set(records.names) - {column.name for column in schema.columns} - set(aside)
    if len(records) and others and not set(known) & set(records.names):
        raise BadTable(
            f"{records.source} has none of the columns that the model reads ({quoted(known)}), but {quoted(records.names)}; "
            "name the columns as in the training table"
        )


def column_remarks(records: Records, schema: Schema, aside: Collection[str | None]) -> list[str]:
    """What of a model's columns a table lacks, and what it has beyond them, in sentences.

    Args:
        aside: target, group and split, which are no features.
    """
    remarks = []
    missing = [name for view in schema.views for name in view.columns if name not in records.names]
    if missing:
        remarks.append(f"{records.source} lacks {quoted(missing)}: taken as missing in every record")
    known = {column.name for column in schema.columns}
    unknown = [name for name in records.names if name not in known and name not in aside]
    if unknown:
        remarks.append(f"{records.source} has {quoted(unknown)}, which the model does not know: ignored")
    return remarks


def quoted(names: Sequence[str], most: int = 20) -> str:
    """Names of columns in a sentence.

    >>> quoted(["a"]), quoted(["a", "b"])
    ("column 'a'", "columns 'a', 'b'")
    """
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return ("column " if len(names) == 1 else "columns ") + shown + f" and {len(names) - most} more" * (len(names) > most)


def groups_of(records: Records, group: str | None) -> list[Any] | None:
    """A name per record; a record whose group is empty is a group of its own. None without that column."""
    if not group or group not in records.names:
        return None
    return [("alone", i) if value is None else value for i, value in enumerate(records.column(group))]


def to_judge(records: Records, split: str | None) -> tuple[np.ndarray, str]:
    """Rows that a split column does not give to training or validation, and what to say of it ("": nothing).

    Where it gives all of them away, all are judged, and that is said.

    >>> records = as_records({"split": ["train", "test", "valid"]})
    >>> to_judge(records, "split")
    (array([1]), "judging the 1 of 3 records that 'split' does not give to train or valid")
    """
    every = np.arange(len(records))
    if split is None or split not in records.names:
        return every, ""
    learned = np.array([mark in ("train", "valid") for mark in _marks(records, split)], bool)
    if not learned.any():
        return every, ""
    if learned.all():
        return every, (
            f"'{split}' gives all of {counted(len(every), 'record')} to train or valid: scores on what was learned flatter"
        )
    rest = every[~learned]
    return rest, f"judging the {len(rest):,} of {counted(len(every), 'record')} that '{split}' does not give to train or valid"


def _marks(records: Records, split: str) -> list[str]:
    """What the split column says of each record, in small letters; "" where it is empty."""
    return ["" if mark is None else str(mark).strip().lower() for mark in column_of(records, split)]


def joined_groups(tables: Sequence[Table], group: str | None) -> list[Any] | None:
    """The groups of several tables behind each other; equal names in two tables are two groups."""
    parts = [groups_of(table.records, group) for table in tables]
    return None if any(part is None for part in parts) else [(t, g) for t, part in enumerate(parts) for g in part]


def divide(
    tables: Sequence[Table], *, split: str | None, group: str | None, seed: int, say: Say
) -> tuple[np.ndarray, np.ndarray]:
    """Rows for training and for validation, over all tables behind each other.

    Args:
        tables: one, or training and validation.
        split: column of the first that says train, valid or test.
        group: column whose equal values stay together where the division is made here.

    Raises:
        BadColumn: the split column says something else.
        BadTable: no record is left for training.
    """
    first = tables[0]
    rows = first.rows
    if split:
        marks = _marks(first.records, split)
        odd = next((i for i, mark in enumerate(marks) if mark not in ("train", "valid", "test")), None)
        if odd is not None:
            said = f"says {marks[odd]!r}" if marks[odd] else "is empty"
            raise BadColumn(
                f"{first.records.source} row {odd}: column '{split}' {said}; it must say train, valid or test"
            )
        train_rows, valid_rows = (np.array([i for i in rows if marks[i] == part], int) for part in ("train", "valid"))
    elif len(tables) > 1:
        train_rows, valid_rows = rows, len(first.records) + tables[1].rows
    else:
        groups = groups_of(first.records, group)
        train_rows, valid_rows = (
            rows[part] for part in splits.split(
                targets.strata(first.kind, [first.targets[i] for i in rows]), (1 - VALID_SHARE, VALID_SHARE), seed=seed,
                groups=None if groups is None else [groups[i] for i in rows],
            )
        )
    say(f"{counted(len(train_rows), 'record')} for training, {len(valid_rows):,} for validation")
    if not len(train_rows):
        raise BadTable(f"{first.records.source} leaves no record for training")
    if not len(valid_rows):
        say("no record validates: there will be no scores, and nothing chooses between the network and the regressions")
    return train_rows, valid_rows


def unlabelled(tables: Sequence[Table], *, split: str | None, group: str | None, apart: np.ndarray) -> np.ndarray:
    """Rows of the training table whose target is empty, but for those of a group that also stands in ``apart``.

    Args:
        split: column of the table that says train, valid or test; only rows of train count.
        apart: rows over all tables behind each other that nothing may be learned from, such as those of validation.

    >>> from polysense.data.tables import open_table
    >>> table = open_table([{"y": y, "who": who} for y, who in zip("ab  ", "pqpr")], "y", None, lambda note: None)
    >>> unlabelled([table], split=None, group="who", apart=np.array([0])).tolist()
    [3]
    """
    first = tables[0]
    taken = {fault["row"] for fault in first.faults} | set(first.rows.tolist())
    rows = np.array([row for row in range(len(first.records)) if row not in taken], int)
    if split:
        marks = column_of(first.records, split)
        rows = np.array([row for row in rows if str(marks[row]).strip().lower() == "train"], int)
    if group and group in first.records.names:
        names = [name for table in tables for name in (
            table.records.column(group) if group in table.records.names else [None] * len(table.records)
        )]
        seen = {names[row] for row in apart} - {None}
        rows = np.array([row for row in rows if names[row] not in seen], int)
    return rows


def row_name(tables: Sequence[Table], row: int) -> str:
    """How the user knows a row that is counted over all tables."""
    for table in tables:
        if row < len(table.records):
            return f"{table.records.source} row {table.records.origin(row)}"
        row -= len(table.records)
    raise IndexError(row)

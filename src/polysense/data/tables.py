"""Tables with targets: opened, counted aloud, divided into training and validation records.

N records of a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadColumn, BadTable
from ..registry import suggest
from . import splits
from .records import Records, as_records
from .rows import blocks

#: Share of the training records that validation gets where no one says otherwise.
VALID_SHARE = 0.2

Say = Callable[[str], None]


@dataclass
class Table:
    """Records with their targets.

    Attributes:
        targets: N of them, None where a record has none.
        rows: of the records that have one.
    """

    records: Records
    targets: list[Any]
    rows: np.ndarray


def open_table(records: Any, target: str | None, y: Sequence[Any] | None, say: Say) -> Table:
    """Records with their targets; those without a target are counted aloud and left out of ``rows``.

    Args:
        records: whatever ``as_records`` takes.
        target: column that holds the targets, unless ``y`` does.

    Raises:
        BadTable: as many targets as records were needed.
        BadColumn: no such column.
    """
    records = as_records(records)
    for note in records.notes:
        say(note)
    targets = _targets_of(records, target, y)
    rows = np.array([i for i, value in enumerate(targets) if value is not None], int)
    if len(rows) < len(targets):
        say(f"{records.source}: {len(targets) - len(rows)} of {len(targets)} records have no target and are left out")
    return Table(records, targets, rows)


def _targets_of(records: Records, target: str | None, y: Sequence[Any] | None) -> list[Any]:
    if y is not None:
        if len(y) != len(records):
            raise BadTable(f"{len(y)} targets were given for {len(records)} records")
        return [_as_class(value) for value in y]
    if target is None:
        raise BadColumn("no target is named; give Model(target) or fit(records, y)")
    column_of(records.head(0), target)
    parts = (records.column(target, np.arange(part.start, part.stop)) for part in blocks(len(records)))
    known: dict[str, str] = {}  # one object a class, not one a record
    return [known.setdefault(v, v) if isinstance(v, str) else v for part in parts for v in map(_as_class, part)]


def _as_class(value: Any) -> Any:
    """A target as the task compares it: numpy's and Arrow's scalars as Python's own, empty as None."""
    value = value.item() if isinstance(value, np.generic) else value
    value = value.strip() if isinstance(value, str) else value
    if value is None or value == "" or (isinstance(value, float) and value != value):
        return None
    return value


def column_of(records: Records, name: str) -> list[Any]:
    """All values of a column, None where missing.

    Raises:
        BadColumn: there is none of that name; the sentence names a near one.
    """
    if name not in records.names:
        raise BadColumn(f"{records.source} has no column '{name}'; {suggest(name, records.names)}")
    return records.column(name)


def groups_of(records: Records, group: str | None) -> list[Any] | None:
    """A name per record; a record whose group is empty is a group of its own. None without that column."""
    if not group or group not in records.names:
        return None
    return [("alone", i) if value is None else value for i, value in enumerate(records.column(group))]


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
        marks = [str(mark).strip().lower() for mark in column_of(first.records, split)]
        odd = next((i for i, mark in enumerate(marks) if mark not in ("train", "valid", "test")), None)
        if odd is not None:
            raise BadColumn(
                f"{first.records.source} row {odd}: column '{split}' says {marks[odd]!r}; "
                "it must say train, valid or test"
            )
        train_rows, valid_rows = (np.array([i for i in rows if marks[i] == part], int) for part in ("train", "valid"))
    elif len(tables) > 1:
        train_rows, valid_rows = rows, len(first.records) + tables[1].rows
    else:
        groups = groups_of(first.records, group)
        train_rows, valid_rows = (
            rows[part] for part in splits.split(
                [first.targets[i] for i in rows], (1 - VALID_SHARE, VALID_SHARE), seed=seed,
                groups=None if groups is None else [groups[i] for i in rows],
            )
        )
    say(f"{len(train_rows)} records for training, {len(valid_rows)} for validation")
    if not len(train_rows):
        raise BadTable(f"{first.records.source} leaves no record for training")
    return train_rows, valid_rows


def row_name(tables: Sequence[Table], row: int) -> str:
    """How the user knows a row that is counted over all tables."""
    for table in tables:
        if row < len(table.records):
            return f"{table.records.source} row {row}"
        row -= len(table.records)
    raise IndexError(row)

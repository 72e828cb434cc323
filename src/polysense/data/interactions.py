"""Who took which item, in which order: a table of interactions -> a history for each user.

U users, I items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadTable
from ..talk import counted
from .records import Records
from .tables import column_of
from .values import BadCell, is_empty, number, seconds


@dataclass
class Histories:
    """What users have taken, the oldest first; an item stands once, where it was taken first.

    Attributes:
        users: U names.
        items: U arrays of item numbers.
        weights: U arrays, how much each counts.
        moments: U arrays, when each was taken; by the order of the table where there is no time.
        notes: sentences for the user about what was left out.
    """

    users: list[str]
    items: list[np.ndarray]
    weights: list[np.ndarray]
    moments: list[np.ndarray]
    notes: list[str]

    def without_last(self) -> tuple[Histories, dict[int, np.ndarray]]:
        """Histories without their last items, and {user: the last item} of those who had two at least."""
        ends = [len(mine) - (len(mine) > 1) for mine in self.items]
        return self._cut(ends), {u: mine[-1:] for u, mine in enumerate(self.items) if len(mine) > 1}

    def before(self, share: float) -> tuple[Histories, dict[int, np.ndarray]]:
        """Histories before a moment, the last share of all interactions lying behind it; {user: what was taken then}."""
        moment = np.quantile(np.concatenate(self.moments), 1 - share)
        ends = [int(np.searchsorted(mine, moment)) for mine in self.moments]
        rest = {u: self.items[u][end:] for u, end in enumerate(ends) if 0 < end < len(self.items[u])}
        return self._cut(ends), rest

    def _cut(self, ends: Sequence[int]) -> Histories:
        parts = [
            [mine[:end] for mine, end in zip(part, ends, strict=True)] for part in (self.items, self.weights, self.moments)
        ]
        return Histories(self.users, *parts, self.notes)


def read_interactions(
    records: Records, known: Mapping[str, int], *, user: str, item: str, time: str | None = None, weight: str | None = None,
    max_bad: float = 0.2, least: int = 2,
) -> Histories:
    """The histories that a table of interactions holds.

    Args:
        known: {id of an item: its number}.
        user, item: columns.
        time: column by which each history is ordered; the order of the table without.
        weight: column of numbers above 0, how much an interaction counts; 1 without.
        max_bad: share of the rows that may be left out.
        least: different items that there must be.

    Raises:
        BadColumn: no such column.
        BadTable: too much that cannot be used; fewer different items than ``least``.
    """
    users, items = column_of(records, user), column_of(records, item)
    order, bad_time = _numbers(records, time, to_time) if time else (np.arange(len(users), dtype=float), {})
    weights, bad_weight = _numbers(records, weight, number) if weight else (np.ones(len(users)), {})
    empty = [row for row, pair in enumerate(zip(users, items, strict=True)) if is_empty(pair[0]) or is_empty(pair[1])]
    gone = dict.fromkeys(empty, "lacks its user or its item")
    names = [name_of(cell) for cell in items]
    for row, name in enumerate(names):
        if row not in gone and name not in known:
            gone[row] = f"names the item '{name}', which the items table does not have"
    gone |= {row: why for row, why in {**bad_time, **bad_weight}.items() if row not in gone}
    light = [row for row in np.flatnonzero(weights <= 0).tolist() if row not in gone]
    gone |= {row: f"weighs {weights[row]:g}, which is not above 0" for row in light}
    notes = list(records.notes)
    if gone:
        first = min(gone)
        said = (
            f"{records.source}: {counted(len(gone), 'interaction')} of {len(users):,} left out; the first is row {first}: it "
            f"{gone[first]}"
        )
        said += _alike(names[first], known) if names[first] not in known else ""
        if len(gone) > max_bad * len(users):
            raise BadTable(f"{said}; correct the rows or the items table, or raise --max-bad")
        notes.append(said)
    if time and (both := _mixed(records, time)):
        notes.append(both)
    rows = np.array([row for row in np.argsort(order, kind="stable").tolist() if row not in gone], int)
    found = _histories(rows, users, [known.get(name, -1) for name in names], weights, order)
    twice = len(rows) - sum(map(len, found.items))
    if twice:
        again = counted(twice, "interaction")
        notes.append(f"{records.source}: {again} with an item that its user had taken before; the first counts")
    different = len({i for mine in found.items for i in mine.tolist()})
    if different < least:
        raise BadTable(
            f"{records.source} holds interactions with {counted(different, 'item')} only; to recommend, {least} different ones "
            "are needed at least"
        )
    found.notes = notes
    return found


def _histories(
    rows: np.ndarray, users: Sequence[Any], items: Sequence[int], weights: np.ndarray, order: np.ndarray
) -> Histories:
    """Rows in their order -> histories; users in the order of the table."""
    names = dict.fromkeys(name_of(users[row]) for row in np.sort(rows).tolist())
    place = {name: u for u, name in enumerate(names)}
    found: list[dict[int, int]] = [{} for _ in place]
    for row in rows.tolist():
        found[place[name_of(users[row])]].setdefault(items[row], row)
    taken = [np.array(list(mine.values()), int) for mine in found]
    return Histories(
        list(place), [np.array(list(mine), int) for mine in found], [weights[mine] for mine in taken],
        [order[mine] for mine in taken], [],
    )


def item_numbers(records: Records, item: str) -> dict[str, int]:
    """{id: row} of an items table.

    Raises:
        BadColumn: no such column.
        BadTable: an id that is missing or stands twice.
    """
    numbers: dict[str, int] = {}
    for row, cell in enumerate(column_of(records, item)):
        if is_empty(cell):
            raise BadTable(f"{records.source}: row {row} has no '{item}'; every item needs its id")
        name = name_of(cell)
        if name in numbers:
            both = f"rows {numbers[name]} and {row}"
            raise BadTable(f"{records.source}: the item '{name}' stands in {both}; give each item one row")
        numbers[name] = row
    if not numbers:
        raise BadTable(f"{records.source} holds no item")
    return numbers


def name_of(cell: Any) -> str:
    """What a user or an item is called, however its table holds it: a whole number that came as 7.0 is 7.

    >>> name_of(7), name_of(7.0), name_of("7"), name_of("07"), name_of(7.5)
    ('7', '7', '7', '07', '7.5')
    """
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _alike(name: str, known: Iterable[str]) -> str:
    """A hint where the items table has the same id in another writing; empty where it has none.

    >>> _alike(" 7.0", ["a", "007"])
    " (it has '007'; write ids alike in both tables)"
    """
    def plain(text: str) -> str:
        text = text.strip().casefold()
        return (text.removesuffix(".0") if text.replace(".", "").isdigit() else text).lstrip("0")

    found = next((one for one in known if plain(one) == plain(name)), None)
    return f" (it has '{found}'; write ids alike in both tables)" if found is not None else ""


def _mixed(records: Records, time: str) -> str:
    """A remark on a column that holds numbers and dates."""
    dates = [row for row, cell in enumerate(column_of(records, time)) if not is_empty(cell) and _is_date(cell)]
    there = sum(not is_empty(cell) for cell in column_of(records, time))
    if not 0 < len(dates) < there:
        return ""
    return (
        f"{records.source}: column '{time}' holds {counted(len(dates), 'date')} and {there - len(dates):,} numbers; numbers "
        "are read as seconds since 1970"
    )


def _is_date(cell: Any) -> bool:
    try:
        return number(cell) is None
    except BadCell:
        return True


def to_time(cell: Any) -> float | None:
    """A number as it is, a date as seconds."""
    try:
        return number(cell)
    except BadCell:
        return seconds(cell)


def _numbers(records: Records, name: str, read: Callable[[Any], float | None]) -> tuple[np.ndarray, dict[int, str]]:
    """(N,) of a column, and what is said of the rows that have none."""
    numbers, bad = np.ones(len(records)), {}
    for row, cell in enumerate(column_of(records, name)):
        try:
            value = None if is_empty(cell) else read(cell)
        except BadCell as error:
            value, bad[row] = None, f"holds in '{name}' what cannot be read: {error.reason}"
        if value is None:
            bad.setdefault(row, f"lacks its '{name}'")
        else:
            numbers[row] = value
    return numbers, bad

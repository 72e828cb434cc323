"""Cells of a target -> targets, by the kind of answer that a task gives; and which task a target asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .values import BadCell, missing_word, number, short

#: Distinct values above which a column of numbers is no list of classes.
MANY_NUMBERS = 20

#: A target's value, or None where it is missing; raises BadCell for what is neither.
Reader = Callable[[Any], Any]


def reader(kind: str) -> Reader:
    """What reads the cells of a target.

    Args:
        kind: of the task's answers: "classes" or "numbers".

    >>> reader("numbers")(" 2.50 "), reader("numbers")("NA"), reader("classes")(" cat ")
    (2.5, None, 'cat')
    """
    return {"classes": as_class, "numbers": as_number}[kind]


def as_class(value: Any) -> Any:
    """A class as the task compares it: numpy's and Arrow's scalars as Python's own, empty as None.

    Raises:
        BadCell: it holds several values, or bytes.
    """
    value = plain(value)
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, (bytes, list, tuple, set, dict)) or hasattr(value, "__len__") and not isinstance(value, str):
        raise BadCell(f"is {short(value)}; a target is one word or number per record")
    return value if isinstance(value, (str, bool, int, float)) else str(value)  # a date, a decimal number


def as_number(value: Any) -> float | None:
    """A finite number, or None where the cell is empty or holds a word for *missing*.

    Raises:
        BadCell: it is no number, or infinite.
    """
    value = plain(value)
    if isinstance(value, (list, tuple, dict)) or hasattr(value, "__len__") and not isinstance(value, (str, bytes)):
        raise BadCell(f"{short(value)} is not one number; name several columns (--target a,b) for several numbers")
    return number(value)


def guess_task(target: str | None, values: Sequence[Any]) -> tuple[str, str]:
    """The task that a target asks for, and a line that says why where that is not plain.

    Numbers are guessed only where taking them for classes would be refused or plainly odd: more than twenty
    different ones, some of them no whole numbers or most of them occurring once.

    Args:
        values: read as classes, None where missing.

    >>> guess_task("price", [i / 7 for i in range(40)])
    ('regress', "task regress: 'price' holds 40 different numbers, such as 0.142857 (--task classify takes them for classes)")
    >>> guess_task("label", ["cat", "dog"] * 20)
    ('classify', '')
    """
    there = [value for value in values if value is not None and missing_word(value) is None]
    distinct = set(there)
    if len(distinct) <= MANY_NUMBERS:
        return "classify", ""
    numbers = [found for found in map(_number, distinct) if found is not None]
    if len(numbers) < 0.95 * len(distinct):
        return "classify", ""
    name = f"{target!r}" if target else "the target"
    broken = next((value for value in numbers if value != int(value)), None)
    if broken is None and len(distinct) <= len(there) / 2:
        return "classify", (
            f"task classify: {name} holds {len(distinct):,} different whole numbers, each taken for a class; "
            "if they are amounts say --task regress"
        )
    example = numbers[0] if broken is None else broken
    return "regress", (
        f"task regress: {name} holds {len(distinct):,} different numbers, such as {example:g} "
        "(--task classify takes them for classes)"
    )


def _number(value: Any) -> float | None:
    try:
        return number(value)
    except BadCell:
        return None


def strata(kind: str, values: Sequence[Any]) -> list[Any]:
    """What a split is to spread evenly: classes themselves, tenths of numbers by rank.

    >>> strata("numbers", [5.0, 1.0, 3.0, 1.0])
    [7, 1, 5, 1]
    """
    if kind == "numbers":
        ranks = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
        middle = np.cumsum(ranks[2]) - ranks[2] / 2
        return (middle * 10 / max(len(values), 1)).astype(int)[ranks[1].reshape(-1)].tolist()
    return list(values)


def plain(value: Any) -> Any:
    """numpy's scalars as Python's own, words without the spaces around them."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.strip() if isinstance(value, str) else value

"""Cells of a target -> targets, by the kind of answer that a task gives; and which task a target asks for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from ..errors import BadOption
from ..registry import suggest
from .values import BadCell, category, missing_word, number, short

#: Distinct values above which a column of numbers is no list of classes.
MANY_NUMBERS = 20
#: Different whole numbers above which they are taken for amounts, however often each occurs.
MANY_WHOLE = 100

#: The task that holds several targets.
SEVERAL = "multitask"

#: A target's value, or None where it is missing; raises BadCell for what is neither.
Reader = Callable[[Any], Any]


def named(target: str | Sequence[str] | None, columns: Sequence[str] = ()) -> list[str]:
    """The targets that are meant: a column of that very name, or names with commas.

    Args:
        columns: of the table; a column whose own name holds a comma is meant before the names in it.

    Raises:
        BadOption: one is named twice, or none at all.

    >>> named("price, kind"), named("a,b", ["a,b", "a"]), named(["a,b"]), named(None)
    (['price', 'kind'], ['a,b'], ['a,b'], [])
    """
    if target is None:
        return []
    if isinstance(target, str) and (target in columns or "," not in target):
        return [target]
    names = [name.strip() for name in target.split(",")] if isinstance(target, str) else list(target)
    if not names or not all(names):
        raise BadOption(f"target={target!r} has an empty name; name columns, such as price,kind")
    for name in names:
        if names.count(name) > 1:
            raise BadOption(f"the target '{name}' is named twice; name each target once")
    return names


def named_task(task: str | Mapping[str, str] | None, names: Sequence[str]) -> dict[str, str | None]:
    """{target: the task that was given for it}, None where it is to be guessed.

    Args:
        task: a name for all of them, or pairs of a target and a name, as a dict or as in price=regress,kind=classify.

    Raises:
        BadOption: a pair of no target.

    >>> named_task("a=regress", ["a", "b"]), named_task("regress", ["a", "b"])
    ({'a': 'regress', 'b': None}, {'a': 'regress', 'b': 'regress'})
    """
    if task is None or isinstance(task, str) and "=" not in task:
        return dict.fromkeys(names, None if task == SEVERAL else task)
    pairs = task_pairs(task)
    for name in pairs:
        if name not in names:
            raise BadOption(f"a task is given for '{name}', which is no target; {suggest(name, list(names))}")
    return {name: pairs.get(name) for name in names}


def task_pairs(task: str | Mapping[str, str]) -> dict[str, str]:
    """{target: task} of what was written."""
    if not isinstance(task, str):
        return dict(task)
    pairs = (pair.rpartition("=") for pair in task.split(","))
    found = {name.strip(): said.strip() for name, _, said in pairs}
    if not all(found) or not all(found.values()):
        raise BadOption(f"task={task!r} must be the name of a task, or pairs such as price=regress,kind=classify")
    return found


def reader(kind: str, separator: str = ";") -> Reader:
    """What reads the cells of a target.

    Args:
        kind: of the task's answers: "classes", "numbers", "labels" or "words".
        separator: between labels in a cell of words.

    >>> reader("numbers")(" 2.50 "), reader("numbers")("NA"), reader("classes")(" cat ")
    (2.5, None, 'cat')
    """
    if not separator.strip():
        raise BadOption(f"task.separator={separator!r} must hold a character that is no space")
    return {
        "classes": as_class, "numbers": as_number, "labels": partial(as_labels, separator=separator), "words": as_texts,
    }[kind]


def as_class(value: Any) -> Any:
    """A class as the task compares it: numpy's and Arrow's scalars as Python's own, empty as None.

    Raises:
        BadCell: it holds several values, or bytes.
    """
    value = plain(value)
    if value is None or value == "" or value == [] or value != value:
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
    if value == []:
        return None
    if isinstance(value, (list, tuple, dict)) or hasattr(value, "__len__") and not isinstance(value, (str, bytes)):
        raise BadCell(f"{short(value)} is not one number; name several columns (--target a,b) for several numbers")
    return number(value)


def as_labels(value: Any, separator: str = ";") -> list[str] | None:
    """A set of labels in alphabetical order; None where the cell is empty.

    Raises:
        BadCell: a label that is no word or number, or JSON that is no list.

    >>> as_labels("red; round"), as_labels('["b", "a", "b"]'), as_labels("[]"), as_labels(["x"]), as_labels("")
    (['red', 'round'], ['a', 'b'], [], ['x'], None)
    """
    value = plain(value)
    if value is None or value == "" if isinstance(value, (str, type(None))) else False:
        return None
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            raise BadCell(f"{short(value)} begins as a list in JSON and is none") from None
    elif isinstance(value, str):
        value = [part.strip() for part in value.split(separator)]
    elif hasattr(value, "tolist"):
        value = value.tolist()
    elif not isinstance(value, (list, tuple, set)):
        value = [value]
    if any(isinstance(one, (list, tuple, dict, bytes, set)) for one in value):
        raise BadCell(f"{short(value)} holds something other than words")
    return sorted({str(category(one)) for one in value if one is not None and one != ""})


def as_texts(value: Any) -> str | list[str] | None:
    """A text, or several that are all right (a list, also in JSON); None where there is none.

    Raises:
        BadCell: bytes, or a list that holds something other than words.

    >>> as_texts(" a red apple "), as_texts('["an apple", "a fruit"]'), as_texts("[sic]"), as_texts(7), as_texts("")
    ('a red apple', ['an apple', 'a fruit'], '[sic]', '7', None)
    """
    value = plain(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str) and value.startswith("["):
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, (list, tuple, set)):
        texts = [plain(one) for one in value if one is not None]
        if not all(isinstance(one, (str, int, float)) for one in texts):
            raise BadCell(f"{short(value)} holds something other than words")
        return [str(one) for one in texts if one != ""] or None
    if isinstance(value, (bytes, dict)):
        raise BadCell(f"is {short(value)}; a target of words is text")
    return None if value is None or value == "" or value != value else str(value)


def guess_task(target: str | None, values: Sequence[Any]) -> tuple[str, str]:
    """The task that a target asks for, and a line that says why where that is not plain.

    Numbers are guessed only where taking them for classes would be refused or plainly odd: more than twenty
    different ones, some of them no whole numbers or most of them occurring once, or more than a hundred whole ones.

    Args:
        values: read as classes, None where missing.

    >>> guess_task("price", [i / 7 for i in range(40)])
    ('regress', "task regress: 'price' holds 40 different numbers, such as 0.285714 (--task classify takes them for classes)")
    >>> guess_task("label", ["cat", "dog"] * 20)
    ('classify', '')
    """
    if any(isinstance(value, (list, tuple)) for value in values):
        name = f"{target!r}" if target else "the target"
        return "multilabel", f"task multilabel: {name} holds lists"
    there = [value for value in values if value is not None and missing_word(value) is None]
    distinct = set(there)
    if len(distinct) <= MANY_NUMBERS:
        return "classify", ""
    numbers = [found for found in map(_number, distinct) if found is not None]
    if len(numbers) < 0.95 * len(distinct):
        return "classify", ""
    name = f"{target!r}" if target else "the target"
    broken = next((value for value in numbers if value != int(value)), None)
    if broken is None and len(distinct) <= min(len(there) / 2, MANY_WHOLE):
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


#: Records that a mark of several targets must stand for on average, to be spread evenly.
FEW_OF_A_MARK = 10


def strata(kind: str | Sequence[str], values: Sequence[Any]) -> list[Any]:
    """What a split is to spread evenly: classes themselves, tenths of numbers by rank, the rarest label; of words nothing.

    Of several targets: the marks of as many of them together, from the first on, as leave ten records a mark.

    Args:
        kind: of the answers; of several targets the kind of each, their values being tuples.

    >>> strata("numbers", [5.0, 1.0, 3.0, 1.0])
    [8, 2, 6, 2]
    >>> strata(["classes", "classes"], [("a", "x"), ("b", None)] * 10)[:2], strata(["classes"] * 2, [("a", "x"), ("b", "x")])
    ([('a', 'x'), ('b', None)], [('a',), ('b',)])
    """
    if not isinstance(kind, str):
        marks = []
        for place, one in enumerate(kind):
            there = [i for i, value in enumerate(values) if value[place] is not None]
            mine: list[Any] = [None] * len(values)
            for i, mark in zip(there, strata(one, [values[i][place] for i in there]), strict=True):
                mine[i] = mark
            if marks and len(set(zip(*marks, mine, strict=True))) * FEW_OF_A_MARK > len(values):
                break
            marks.append(mine)
        return list(zip(*marks, strict=True))
    if kind == "labels":
        counts = Counter(label for value in values for label in value)
        return [min(value, key=lambda label: (counts[label], label), default="") for value in values]
    if kind == "words":  # nearly every text occurs once
        return [0] * len(values)
    if kind == "numbers":
        ranks = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
        middle = np.cumsum(ranks[2]) - ranks[2] / 2
        return (middle * 10 / max(len(values), 1)).astype(int)[ranks[1].reshape(-1)].tolist()
    return list(values)


def plain(value: Any) -> Any:
    """numpy's scalars as Python's own, words without the spaces around them."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.strip() if isinstance(value, str) else value

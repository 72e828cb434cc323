"""Modalities and their encoders: how the values of a view become numbers, then tokens."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..errors import BadOption


def whole(option: str, value: Any, low: int = 1) -> int:
    """An option that must be a whole number of at least ``low``.

    Raises:
        BadOption: it is something else.

    >>> whole("pixels", 64)
    64
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise BadOption(f"option '{option}' is {value!r}; give a whole number of at least {low}")
    return value


def share(option: str, value: Any) -> float:
    """An option that must lie in [0, 1).

    Raises:
        BadOption: it does not.

    >>> share("dropout", 0.5)
    0.5
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise BadOption(f"option '{option}' is {value!r}; give a number of at least 0 and below 1")
    return float(value)


def amount(option: str, value: Any, low: float = 0.0) -> float:
    """An option that must be a number of at least ``low``.

    Raises:
        BadOption: it is something else.

    >>> amount("trim", 40)
    40.0
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value < float("inf"):
        raise BadOption(f"option '{option}' is {value!r}; give a number of at least {low:g}")
    return float(value)


def several(option: str, value: Any) -> tuple[int, ...]:
    """An option that must be a list of whole numbers of at least 1.

    Raises:
        BadOption: it is something else.

    >>> several("widths", [32, 64])
    (32, 64)
    """
    if not isinstance(value, (list, tuple)) or not value:
        raise BadOption(f"option '{option}' is {value!r}; give a list of whole numbers, e.g. [32, 64]")
    return tuple(whole(option, item) for item in value)


def choice(option: str, value: Any, allowed: Collection[str]) -> str:
    """An option that must be one of some words.

    Raises:
        BadOption: it is something else.

    >>> choice("cell", "gru", ("tanh", "lstm", "gru"))
    'gru'
    """
    if not isinstance(value, str) or value not in allowed:
        raise BadOption(f"option '{option}' is {value!r}; give one of {', '.join(allowed)}")
    return value

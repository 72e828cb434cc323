"""The shelf of fusions: tokens of all views -> tokens of the record. See ``polysense list fusions``."""

from __future__ import annotations

from ..errors import BadOption


def check_share(name: str, value: float) -> None:
    """Refuse a dropout that leaves nothing.

    Raises:
        BadOption: outside [0, 1).
    """
    if not 0 <= value < 1:
        raise BadOption(f"fusion.{name}={value} must be at least 0 and below 1")


def check_count(name: str, value: int) -> None:
    """Refuse a width or depth of nothing.

    Raises:
        BadOption: below 1.
    """
    if value < 1:
        raise BadOption(f"fusion.{name}={value} must be at least 1")

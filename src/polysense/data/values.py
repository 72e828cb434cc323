"""Table values: what a cell of a number, category, date or flag column means.

Every function takes one cell as the table holds it and gives the value, or None where it is
missing; what is neither raises ``BadCell`` with the reason. CSV cells are text, the cells of
typed formats are Python values; both end in the same number.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from ..errors import BadRecord

#: Words that stand for a missing value in number and date columns (nowhere else).
MISSING_WORDS = ("na", "n/a", "nan", "null", "-")

#: Pairs of words a flag is written with, true first.
FLAG_PAIRS = (
    ("yes", "no"), ("y", "n"), ("true", "false"), ("t", "f"), ("on", "off"), ("1", "0"), ("1.0", "0.0"),
    ("是", "否"), ("有", "无"), ("真", "假"), ("ja", "nein"), ("oui", "non"), ("sí", "no"),
)
_FLAGS = {word: truth for pair in FLAG_PAIRS for word, truth in zip(pair, (True, False), strict=True)}
#: Kind of a file -> extensions.
EXTENSIONS = {
    "image": "png jpg jpeg jfif jpe gif bmp webp tif tiff ppm pgm pbm pnm".split(),
    "audio": "wav wave flac ogg oga mp3 aif aiff aifc".split(),
    "video": "mp4 mov avi webm mkv m4v mpg mpeg".split(),
    "series": "npy csv tsv".split(),
    "points": "pcd ply las laz".split(),
}

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)

_TIME = r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*(am|pm)?\s*(z|utc|[+-]\d{2}:?\d{2})?)?"
_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})(?:\2(\d{1,2}))?" + _TIME, re.IGNORECASE)
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})" + _TIME, re.IGNORECASE)
_PACKED = re.compile(r"((?:19|20)\d{2})(\d{2})(\d{2})")
_CHINESE = re.compile(r"(\d{4})年(\d{1,2})月(?:(\d{1,2})[日号])?")
_DAY_NAME = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?[ -]([a-z]{3,9})\.?,?[ -](\d{4})" + _TIME, re.IGNORECASE)
_NAME_DAY = re.compile(r"([a-z]{3,9})\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})" + _TIME, re.IGNORECASE)
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september",
           "october", "november", "december")


class BadCell(BadRecord):
    """One cell cannot be used; ``reason`` says why, without row and column."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def short(value: Any, limit: int = 60) -> str:
    """A value as it may stand in a sentence.

    >>> short("a" * 100, limit=5), short(b"123")
    ("'aaaaa...'", '3 bytes')
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(value):,} bytes"
    if isinstance(value, str):
        return repr(value if len(value) <= limit else value[:limit] + "...")
    text = str(value)
    return text if len(text) <= limit else text[:limit] + "..."


def is_empty(value: Any) -> bool:
    """The cell is missing whatever its kind: nothing, no characters, no bytes, an empty list.

    >>> [is_empty(v) for v in (None, "", b"", [], {"bytes": None, "path": ""}, "None", 0)]
    [True, True, True, True, True, False, False]
    """
    if value is None:
        return True
    if isinstance(value, (str, bytes, list, tuple)):
        return len(value) == 0 or (not isinstance(value, (str, bytes)) and all(map(is_empty, value)))
    if isinstance(value, dict):
        return all(map(is_empty, value.values()))
    return False


def missing_word(value: Any) -> str | None:
    """The word for *missing* that stands in a number or date cell, as it is written there.

    >>> missing_word(" N/A "), missing_word("0"), missing_word(float("nan"))
    ('N/A', None, 'nan')
    """
    if isinstance(value, str):
        word = value.strip()
        return word if word.casefold() in MISSING_WORDS else None
    if isinstance(value, (float, Decimal)) and value != value:
        return "nan"
    return None


def number(value: Any) -> float | None:
    """A number, or None where the cell is empty or holds a word for *missing*.

    Raises:
        BadCell: it is no number, or infinite.

    >>> number("1e3"), number(" -2.5 "), number("NA"), number(True)
    (1000.0, -2.5, None, 1.0)
    >>> number("0,46")
    Traceback (most recent call last):
    polysense.data.values.BadCell: '0,46' is not a number; a decimal comma is written 0.46
    """
    if is_empty(value) or missing_word(value) is not None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if not _NUMBER.fullmatch(text) and not _INFINITE.fullmatch(text):
            point = text.replace(",", ".")
            comma = f"; a decimal comma is written {point}" if text.count(",") == 1 and _NUMBER.fullmatch(point) else ""
            raise BadCell(f"{short(value)} is not a number{comma}")
        result = float(text)
    elif isinstance(value, (bool, int, float, Decimal)):
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
    else:
        raise BadCell(f"{short(value)} is not a number")
    if math.isinf(result):
        raise BadCell(f"{short(value)} is infinite")
    return result


def category(value: Any) -> str | None:
    """The name of a category; whole floats lose their ``.0``, so that 3 and 3.0 are one category.

    >>> category("NA"), category(3.0), category(None)
    ('NA', '3', None)
    """
    if is_empty(value) or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (bytes, list, tuple, dict)):
        raise BadCell(f"{short(value)} is not the name of a category")
    return str(value)


def flag(value: Any) -> bool | None:
    """True or False.

    Raises:
        BadCell: the word is neither yes nor no.

    >>> flag("Yes"), flag("否"), flag(0), flag("")
    (True, False, False, None)
    """
    if is_empty(value) or (isinstance(value, float) and value != value):
        return None
    word = str(value).strip().casefold()
    if word not in _FLAGS:
        raise BadCell(f"{short(value)} is neither yes nor no")
    return _FLAGS[word]


def seconds(value: Any, order: str = "") -> float | None:
    """A date as seconds since 1970-01-01 UTC; without a time zone it is read as UTC.

    Args:
        order: ``month`` where 03/04/2024 is the fourth of March; otherwise the third of April.

    Raises:
        BadCell: no form of date we know, or no such day.

    >>> seconds("1970-01-02"), seconds("01/02/1970", "month"), seconds("1970年1月1日"), seconds("-")
    (86400.0, 86400.0, 0.0, None)
    """
    if is_empty(value) or missing_word(value) is not None:
        return None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadCell(f"{short(value)} is not a date")
    text = value.strip()
    if not text:
        return None
    try:
        moment = _moment(text, order)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise BadCell(f"{short(value)} is not a date (write it as 2024-12-31 or 2024-12-31 23:59)")
    return moment.timestamp()


def day_order(value: Any) -> str:
    """Whether a date such as 31/12/2024 names the day or the month first; empty if it does not show."""
    match = _YEAR_LAST.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return ""
    first, second = int(match[1]), int(match[3])
    return "day" if first > 12 >= second else "month" if second > 12 >= first else ""


def year_last(value: Any) -> bool:
    """The date is written in a form whose order of day and month has to be known."""
    return isinstance(value, str) and _YEAR_LAST.fullmatch(value.strip()) is not None


def _moment(text: str, order: str) -> datetime | None:
    if match := _YEAR_FIRST.fullmatch(text):
        year, separator, month, day, *time = match.groups()
        if separator == "." and day is None:
            return None  # 1999.5 is a number
        return _at(year, month, day or 1, time)
    if match := _YEAR_LAST.fullmatch(text):
        first, _, second, year, *time = match.groups()
        shown = day_order(text) or order
        day, month = (second, first) if shown == "month" else (first, second)
        return _at(year, month, day, time)
    if match := _PACKED.fullmatch(text):
        return _at(*match.groups(), [])
    if match := _CHINESE.fullmatch(text):
        return _at(match[1], match[2], match[3] or 1, [])
    if match := _DAY_NAME.fullmatch(text):
        day, name, year, *time = match.groups()
        return _at(year, _month(name), day, time)
    if match := _NAME_DAY.fullmatch(text):
        name, day, year, *time = match.groups()
        return _at(year, _month(name), day, time)
    return None


def _month(name: str) -> int:
    name = name.lower()
    known = [i for i, month in enumerate(_MONTHS, 1) if name == month or name in (month[:3], month[:4])]
    return known[0] if known else 0  # month 0 is refused by datetime


def _at(year: Any, month: Any, day: Any, time: list[str | None]) -> datetime:
    hour, minute, second, fraction, half, zone = time or [None] * 6
    hour = int(hour or 0)
    if half:
        if not 1 <= hour <= 12:
            raise ValueError("hour of a half day")
        hour = hour % 12 + (12 if half.lower() == "pm" else 0)
    shift = timedelta()
    if zone and zone[0] in "+-":
        shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:])) * (-1 if zone[0] == "-" else 1)
    micro = int((fraction or "0").ljust(6, "0")[:6])
    return datetime(int(year), int(month), int(day), hour, int(minute or 0), int(second or 0), micro,
                    tzinfo=timezone(shift))

"""Cells of number, category, date and flag columns."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysense.data import values
from polysense.data.values import BadCell


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_text(x):
    assert values.number(repr(x)) == x == values.number(x)


@pytest.mark.parametrize("cell", ["", "  ", "NA", "n/a", "NaN", "null", "-", " NA ", None, float("nan")])
def test_missing_in_numbers_and_dates(cell):
    assert values.number(cell) is None and values.seconds(cell) is None


@pytest.mark.parametrize("word", ["NA", "N/A", "nan", "null", "-", "None", "<image>"])
def test_words_stay_words_in_categories(word):
    assert values.category(word) == word


@pytest.mark.parametrize("cell", ["abc", "1,5", "1_000", "12kg", "None", "0x10", b"1", [1]])
def test_no_number(cell):
    with pytest.raises(BadCell, match="not a number"):
        values.number(cell)


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999", float("inf"), 10**400, Decimal("1e400")])
def test_infinity_is_refused(cell):
    with pytest.raises(BadCell, match="infinite"):
        values.number(cell)


def test_flags():
    assert [values.flag(c) for c in ("YES", " no ", 1, 0.0, True, "是", "否", None)] == [
        True, False, True, False, True, True, False, None]
    for cell in ("maybe", 2, "NA"):
        with pytest.raises(BadCell, match="neither yes nor no"):
            values.flag(cell)


DAY = datetime(2024, 3, 4, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "cell",
    ["2024-03-04", "2024/3/4", "2024.03.04", "20240304", 20240304, "04.03.2024", "4/3/2024", "2024年3月4日",
     "4 March 2024", "4 Mar 2024", "Mar 4, 2024", "March 4th 2024", "2024-03-04T00:00:00Z",
     "2024-03-04 08:00:00+08:00", "2024-03-03 11:00 pm -01:00", "2024-03-04 12:00 AM", date(2024, 3, 4),
     datetime(2024, 3, 4), datetime(2024, 3, 4, 8, tzinfo=timezone(timedelta(hours=8)))],
)
def test_every_form_of_one_day(cell):
    assert values.seconds(cell) == DAY


def test_the_order_of_day_and_month():
    """04/03 is the fourth of March unless the column writes the month first; 13 can only be a day."""
    assert values.seconds("03/04/2024", "month") == DAY
    assert values.seconds("03/13/2024", "day") == values.seconds("13/03/2024", "month")
    assert values.seconds("2024-05") == values.seconds("2024-05-01")


@pytest.mark.parametrize(
    "cell", ["2024-02-30", "2024-13-01", "yesterday", "1999.5", "24", 3.5, True, "2024-01-01 25:00",
             "4 Foo 2024", "0000-01-01"]
)
def test_no_date(cell):
    with pytest.raises(BadCell, match="not a date"):
        values.seconds(cell)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_iso_dates_survive_text(moment):
    assert abs(values.seconds(moment.isoformat()) - moment.timestamp()) < 1e-4

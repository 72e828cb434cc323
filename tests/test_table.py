"""Tables: plain encoding, thresholds, dates, degenerate columns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polysense.contracts import to_tensors
from polysense.errors import BadRecord, NotFitted
from polysense.modality.table import LEVELS, Mlp, TablePlain

DAY = 86_400.0


def plain(rows, **options):
    made = TablePlain(**options)
    made.fit(rows)
    return made


def test_numbers_by_hand():
    """Mean of 1, 3, 5 is 3, deviation sqrt(8 / 3) = 1.633: 5 becomes 1.2247; missing is 0 and indicator 1."""
    made = plain([{"x": 1.0}, {"x": 3.0}, {"x": 5.0}])
    encoded = made.transform([{"x": 5.0}, {"x": None}, {}])
    np.testing.assert_allclose(encoded, [[1.2247, 0], [0, 1], [0, 1]], atol=1e-4)


def test_an_outlier_stays_within_ten_deviations():
    assert plain([{"x": 0.0}, {"x": 2.0}]).transform([{"x": 1e30}])[0, 0] == 10


def test_tiny_numbers_are_not_constant():
    encoded = plain([{"x": 1e-12}, {"x": 3e-12}]).transform([{"x": 3e-12}])
    np.testing.assert_allclose(encoded, [[1, 0]], atol=1e-6)


def test_categories_and_flags():
    made = plain([{"kind": "cat", "wild": True}, {"kind": "dog", "wild": False}])
    assert made.names == ["kind=cat", "kind=dog", "kind=(other)", "kind missing", "wild", "wild missing"]
    rows = [{"kind": "dog", "wild": True}, {"kind": "cow", "wild": None}, {"kind": None, "wild": False}]
    assert made.transform(rows).tolist() == [[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0, 0]]


def test_rare_levels_share_one_number():
    levels = [f"level {i:03}" for i in range(LEVELS + 5)]
    made = plain([{"k": level} for level in levels] + [{"k": level} for level in levels[:LEVELS]])
    encoded = made.transform([{"k": levels[0]}, {"k": levels[-1]}, {"k": levels[-2]}, {"k": "never seen"}])
    assert encoded.shape == (4, LEVELS + 2)
    assert encoded[0].argmax() == 0 and encoded[1].argmax() == encoded[2].argmax() == LEVELS
    assert not encoded[3].any()


def test_dates_have_month_and_weekday():
    """1970-01-01 was a Thursday (3 of 7) in January (0 of 12); 1970-07-06 a Monday in July (6 of 12)."""
    made = plain([{"born": 0.0}, {"born": 186 * DAY}, {"born": None}])
    names = made.names
    first, second, missing = made.transform([{"born": 0.0}, {"born": 186 * DAY}, {"born": None}])
    month, weekday = names.index("born month sine"), names.index("born weekday sine")
    np.testing.assert_allclose(first[month : month + 2], [0, 1], atol=1e-6)
    np.testing.assert_allclose(second[month : month + 2], [0, -1], atol=1e-6)
    np.testing.assert_allclose(first[weekday], np.sin(2 * np.pi * 3 / 7), atol=1e-6)
    np.testing.assert_allclose(second[weekday : weekday + 2], [0, 1], atol=1e-6)
    assert missing.tolist() == [0] * 7 + [1]


def test_declared_kinds_win_over_types():
    rows = [{"a": 1.0, "b": 5.5}, {"a": 2.0, "b": 6.5}]
    assert plain(rows).columns["a"]["kind"] == "number"
    assert plain(rows, kinds={"b": "date"}).columns["b"]["kind"] == "date"
    made = Mlp()
    made.kinds = {"b": "date"}
    made.fit(rows)
    assert made.plain.columns["b"]["kind"] == "date"


def test_column_order_does_not_matter():
    rows = [{"a": 1.0, "b": "x"}, {"b": "y", "a": 2.0}]
    turned = [dict(reversed(row.items())) for row in rows]
    np.testing.assert_array_equal(plain(rows).transform(rows), plain(turned).transform(turned))


def test_unknown_columns_are_not_read():
    made = plain([{"a": 1.0}, {"a": 2.0}])
    np.testing.assert_array_equal(made.transform([{"a": 1.0, "new": 9.0}]), made.transform([{"a": 1.0}]))


def test_text_in_a_number_column_is_named():
    with pytest.raises(BadRecord, match="column 'a' held numbers in training but holds 'big' now"):
        plain([{"a": 1.0}]).transform([{"a": "big"}])


@pytest.mark.parametrize(
    "rows",
    [[{"x": 0.1}] * 3, [{"x": None}] * 3, [{"x": "a"}] * 3, [{"x": True}] * 3, [{"x": 1e20}] * 2],
    ids=["constant", "all missing", "one level", "one flag", "constant and huge"],
)
def test_columns_that_say_nothing(rows):
    made = Mlp(hidden=8, depth=1).eval()
    made.fit(rows)
    tokens = made(to_tensors(made.prepare([*rows, {"x": None}])))
    assert tokens.x.shape == (len(rows) + 1, 1, 8) and torch.isfinite(tokens.x).all()
    assert made.plain.transform(rows).std(0).max() == 0


def test_thresholds_are_quantiles():
    """3 thresholds of 0..7 lie at the quarters: x > 1, x > 3, x > 5."""
    made = Mlp(depth=0, quantiles=3)
    made.fit([{"x": float(x)} for x in range(8)])
    assert made.thresholds == [[1.0, 3.0, 5.0]]
    steps = made.prepare([{"x": 3.0}, {"x": 3.5}, {"x": None}])["x"][:, 2:]
    assert steps.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_thresholds_that_split_nothing_are_left_out():
    made = Mlp(quantiles=16)
    made.fit([{"x": 0.0}] * 50 + [{"x": 1.0}])
    assert made.thresholds == [[0.0]]


def test_depth_0_is_the_encoding_itself():
    made = Mlp(depth=0)
    rows = [{"x": 1.0, "k": "a"}, {"x": 2.0, "k": "b"}]
    made.fit(rows)
    assert made.frozen and not list(made.parameters()) and made.dim == made.prepare(rows)["x"].shape[1]


def test_before_fit():
    with pytest.raises(NotFitted, match="table.mlp"):
        Mlp().prepare([{"x": 1.0}])


CELLS = {
    "n": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "k": st.none() | st.text(max_size=3),
    "f": st.none() | st.booleans(),
}
ROWS = st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=8)


@given(train=ROWS, test=ROWS)
def test_any_table_gives_finite_numbers(train, test):
    made = Mlp(hidden=4, depth=1, quantiles=3)
    made.fit(train)
    x = made.prepare(test)["x"]
    assert np.isfinite(x).all() and np.abs(x).max(initial=0) <= 10
    assert x.shape == (len(test), len(made.plain.names) + sum(map(len, made.thresholds)))

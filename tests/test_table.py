"""Tables: plain encoding, thresholds, dates, degenerate columns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polysense.contracts import to_tensors
from polysense.errors import BadOption, BadRecord, NotFitted
from polysense.modality.table import LEVELS, ColumnTokens, Mlp, TablePlain, bucket

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
    assert missing.tolist() == [0] * 8 + [1]


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


LEAP = 1_709_229_600.0  # 2024-02-29 18:00, a Thursday


def test_parts_of_a_leap_day():
    """Between 2020-02-29 and 2024-02-29 18:00, both ends one deviation from their mean; February is 1 of 12, Thursday 3 of
    7 (a Saturday before), 18 h three quarters of a day."""
    made = plain([{"born": LEAP}, {"born": 1_582_934_400.0}], kinds={"born": "date"})
    found = dict(zip(made.names, made.transform([{"born": LEAP}])[0].tolist(), strict=True))
    turn = 2 * np.pi
    wanted = {"born": 1, "born year": 1, "born month sine": 0.5, "born month cosine": 0.75**0.5,
              "born weekday sine": np.sin(turn * 3 / 7), "born weekday cosine": np.cos(turn * 3 / 7),
              "born hour sine": -1, "born hour cosine": 0, "born missing": 0}
    assert list(found) == list(wanted)
    np.testing.assert_allclose(list(found.values()), list(wanted.values()), atol=1e-6)
    earlier = made.transform([{"born": 1_704_067_199.0}])[0]  # the last second of 2023: year mean is 2022, deviation 2
    np.testing.assert_allclose(earlier[1], 0.5, atol=1e-6)


def tokens(rows, **options):
    torch.manual_seed(0)
    made = ColumnTokens(**{"width": 2, "heads": 1, "depth": 0, "periodic": 1} | options)
    made.fit(rows)
    made.norm = torch.nn.Identity()
    with torch.no_grad():
        made.column_KD.zero_()
    return made.eval()


def said(made, *rows):
    with torch.no_grad():
        return made(to_tensors(made.prepare(rows))).x[:, 1:]  # without the record's own token


def test_a_number_s_token_by_hand():
    """x = 1 deviation, frequency 1/4: sin and cos of pi / 2 are 1 and 0. The line is x (2, 3), what is periodic is
    ReLU(1 (5, -7) + 0 (11, 13)) = (5, 0)."""
    made = tokens([{"x": 0.0}, {"x": 2.0}])
    with torch.no_grad():
        made.parts["line"].copy_(torch.tensor([[2.0, 3.0]]))
        made.parts["frequency"].fill_(0.25)
        made.parts["wave"].copy_(torch.tensor([[[5.0, -7.0], [11.0, 13.0]]]))
        made.missing_KD.copy_(torch.tensor([[17.0, 19.0]]))
    torch.testing.assert_close(said(made, {"x": 2.0}, {"x": None}, {}), torch.tensor([[[7.0, 3.0]], [[17.0, 19.0]], [[17.0, 19.0]]]))
    torch.testing.assert_close(said(tokens([{"x": 0.0}, {"x": 2.0}], periodic=0), {"x": 1.0}), torch.zeros(1, 1, 2))


def test_tokens_of_levels():
    """Frequent levels have a row each, rarer ones share buckets, a level never seen gives zero."""
    levels = [f"level {i:03}" for i in range(LEVELS + 5)]
    rows = [{"k": level} for level in levels + levels[:LEVELS]]
    made = tokens(rows, buckets=2)
    assert made.starts == {"k": 1} and made.levels.weight.shape == (1 + LEVELS + 2, 2)
    found = made.prepare([{"k": "never"}, {"k": levels[0]}, {"k": None}, *({"k": level} for level in levels[LEVELS:])])
    assert found["levels"].ravel().tolist() == [0, 1, 0, *(1 + LEVELS + bucket(level, 2) for level in levels[LEVELS:])]
    assert len({bucket(level, 2) for level in levels[LEVELS:]}) == 2
    assert not said(made, {"k": "never"}).any() and said(made, {"k": levels[0]}).any()


def test_tokens_of_flags_and_of_columns_that_say_nothing():
    made = tokens([{"f": True, "n": None}, {"f": None, "n": None}])
    assert made.names == ["f", "n"] and made.starts == {"f": 1}
    assert made.prepare([{"f": False}, {"f": True}, {}])["levels"].ravel().tolist() == [1, 2, 0]
    assert not said(made, {"f": True, "n": "late"})[:, 1].any()  # a column without training values says nothing


def test_a_token_for_every_column():
    rows = [{"size": float(i), "kind": "ab"[i % 2], "sold": i % 3 == 0, "born": i * 86_400.0 * 30} for i in range(6)]
    made = ColumnTokens(width=8, heads=2)
    made.kinds = {"born": "date"}
    made.fit(rows)
    assert made.names == ["size", "born", "kind", "sold"]
    with torch.no_grad():
        before = made.eval()(to_tensors(made.prepare(rows))).x
        assert before.shape == (6, 5, 8)
        for i, name in enumerate(made.names, 1):
            alone = ColumnTokens(width=8, heads=2, depth=0)
            alone.kinds = {"born": "date"}
            alone.fit(rows)
            one = alone.eval()(to_tensors(alone.prepare(rows[:1]))).x[0]
            other = alone(to_tensors(alone.prepare([rows[0] | {name: None}]))).x[0]
            assert (one != other).any(-1).nonzero().ravel().tolist() == [i], "a cell is its own column's token"
            assert not torch.allclose(before[0, 0], made(to_tensors(made.prepare([rows[0] | {name: None}]))).x[0, 0]), "blocks mix"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 6}, "'width' is 6, which 4 heads cannot share"), ({"frequency": 0}, "'frequency' is 0; give a number above 0"),
     ({"buckets": 0}, "'buckets' is 0")],
)
def test_options_of_tokens_that_do_not_fit(options, message):
    with pytest.raises(BadOption, match=message):
        ColumnTokens(**options)


def test_tokens_before_fit():
    with pytest.raises(NotFitted, match="table.tokens"):
        ColumnTokens().prepare([{"x": 1.0}])


def test_rarer_levels_in_buckets():
    levels = [f"level {i:03}" for i in range(LEVELS + 5)]
    made = Mlp(buckets=3)
    made.fit([{"k": level, "j": "a"} for level in levels + levels[:LEVELS]])
    x = made.prepare([{"k": levels[-1]}, {"k": levels[0]}, {"k": "never"}, {"k": None}])["x"]
    assert made.dim == x.shape[1] == len(made.plain.names) + 3
    wanted = np.zeros((4, 3))
    wanted[0, bucket(levels[-1], 3)] = 1
    np.testing.assert_array_equal(x[:, -3:], wanted)


@given(train=ROWS, test=ROWS)
def test_any_table_gives_finite_tokens(train, test):
    made = ColumnTokens(width=4, heads=2, depth=1, periodic=2)
    made.fit(train)
    found = made.eval()(to_tensors(made.prepare(test)))
    assert torch.isfinite(found.x).all() and found.x.shape == (len(test), 1 + len(made.names), 4)

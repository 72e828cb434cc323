"""Measures of what is found, against scikit-learn where it has them, by hand and by law where not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from polysense.metrics import Resamples
from polysense.metrics.ranks import RETRIEVAL, coverage, equal_error, judge_ranks, per_query, places, roc

SEEDS = st.integers(0, 2**32 - 1)


def some(seed, queries=6, items=15):
    """Scores without ties, and one to four right items a query."""
    rng = np.random.default_rng(seed)
    return rng.permuted(np.arange(queries * items, dtype=float).reshape(queries, items), axis=1), [
        rng.choice(items, rng.integers(1, 5), replace=False) for _ in range(queries)
    ]


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_map_and_ndcg_are_scikit_learns(seed):
    scores, right = some(seed)
    truth = np.zeros(scores.shape)
    for q, mine in enumerate(right):
        truth[q, mine] = 1
    found = per_query(places(scores, right), ["map", "ndcg_at_10", "recall_at_5", "mrr"])
    np.testing.assert_allclose(found["map"], [theirs.average_precision_score(truth[q], scores[q]) for q in range(len(scores))])
    np.testing.assert_allclose(found["ndcg_at_10"].mean(), theirs.ndcg_score(truth, scores, k=10))
    first = np.array([np.sort(np.argsort(np.argsort(-scores[q]))[mine] + 1)[0] for q, mine in enumerate(right)])
    np.testing.assert_allclose(found["mrr"], 1 / first)
    np.testing.assert_allclose(found["recall_at_5"], first <= 5)


@given(SEEDS, st.integers(2, 5))
@settings(max_examples=25, deadline=None)
def test_ties_depend_on_no_order_of_items(seed, levels):
    scores, right = some(seed)
    scores = scores % levels
    shuffled = np.random.default_rng(seed).permutation(scores.shape[1])
    back = np.argsort(shuffled)
    again = places(scores[:, shuffled], [back[mine] for mine in right])
    for one, other, mine in zip(places(scores, right), again, right, strict=True):
        assert one.tolist() == other.tolist()
        assert len(set(one.tolist())) == len(mine) and one.min() >= 1 and one.max() <= scores.shape[1]


def test_a_constant_score_is_chance():
    ranks = places(np.zeros((1, 99)), [[3]])
    assert ranks[0].tolist() == [50]
    assert places(np.zeros((1, 5)), [[0, 1, 2, 3, 4]])[0].tolist() == [1, 2, 3, 4, 5]
    assert places([[0.0, -np.inf, 1.0]], [[1]])[0].tolist() == [3]


def test_what_cannot_be_ranked():
    with pytest.raises(ValueError, match="query 1 hold NaN"):
        places([[1.0, 2.0], [np.nan, 1.0]], [[0], [0]])
    with pytest.raises(ValueError, match="query 0 names item 2 of 2"):
        places([[1.0, 2.0]], [[2]])
    with pytest.raises(ValueError, match="are not"):
        places([[1.0, 2.0]], [[0], [1]])
    with pytest.raises(ValueError, match="no measure 'luck'"):
        per_query([np.array([1])], ["luck"])


def test_queries_without_a_right_item_are_left_out():
    found = judge_ranks([np.array([1]), np.zeros(0, int), np.array([4, 9])], Resamples(3, samples=200)).values
    assert found["recall_at_1"] == 0.5 and found["mrr"] == pytest.approx((1 + 1 / 4) / 2) and found["median_rank"] == 2.5
    nothing = judge_ranks([np.zeros(0, int)], Resamples(1, samples=5)).scores()
    assert all(score["value"] is None for score in nothing.values())


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_resamples_equal_measures_of_the_drawn_queries(seed):
    rng = np.random.default_rng(seed)
    ranks = [np.sort(rng.choice(30, rng.integers(0, 3), replace=False)) + 1 for _ in range(9)]
    ranks[0] = np.array([3])
    draws = Resamples(9, samples=12, seed=seed % 1000)
    counts = draws.sums(np.eye(9)).astype(int)
    found = judge_ranks(ranks, draws)
    for r, count in enumerate(counts):
        drawn = [ranks[q] for q in np.repeat(np.arange(9), count)]
        once = judge_ranks(drawn, Resamples(len(drawn), samples=1)).values
        for name in RETRIEVAL:
            assert found.draws[name][r] == pytest.approx(once[name], nan_ok=True), name


def test_coverage_counts_an_item_once():
    assert coverage([[0, 1, 2], [2, 1], []], 6) == 0.5
    assert np.isnan(coverage([], 0))


@given(SEEDS, st.integers(2, 30))
@settings(max_examples=25, deadline=None)
def test_roc_is_scikit_learns(seed, levels):
    rng = np.random.default_rng(seed)
    same = np.r_[True, False, rng.random(40) < 0.4]
    scores = rng.integers(0, levels, len(same)) + same
    thresholds, false, true = roc(scores, same)
    f, t, s = theirs.roc_curve(same, scores, drop_intermediate=False)
    np.testing.assert_allclose([false, true, thresholds], [f, t, s])
    rate, _ = equal_error(scores, same)
    miss = 1 - true  # the two straight lines cross where both are the rate
    assert np.interp(rate, false, miss) <= rate + 1e-9 or np.isclose(np.diff(false).min(), 0)
    assert min(np.maximum(false, miss)) + 1e-12 >= rate >= max(np.minimum(false, miss)) - 1e-12


def test_equal_error_by_hand():
    rate, threshold = equal_error([0.9, 0.8, 0.7, 0.2], [True, True, False, False])
    assert rate == 0 and 0.7 <= threshold <= 0.8
    assert equal_error([1, 1, 0, 0], [False, False, True, True])[0] == 1  # all wrong
    with pytest.raises(ValueError, match="pairs that are the same and pairs that are not"):
        equal_error([1.0, 2.0], [True, True])
    with pytest.raises(ValueError, match="pair 1 is not finite"):
        roc([1.0, np.inf], [True, False])

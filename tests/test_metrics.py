"""Measures against scikit-learn, against paper and pencil, and their intervals and p against chance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polysense import metrics
from polysense.metrics import Resamples, confusion, difference, holm, judge, measure, p_worse, scores


@st.composite
def judged(draw, unseen: bool = False):
    """Probabilities with ties and zeros, and targets."""
    n, c, seed = draw(st.integers(1, 40)), draw(st.integers(2, 5)), draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    p = np.round(rng.dirichlet(np.full(c, 0.7), n), 1) + 1e-3
    return p / p.sum(1, keepdims=True), rng.integers(-1 if unseen else 0, c, n)


@given(judged(unseen=True))
def test_counts_equal_scikit_learn(case):
    """Precision, recall, F1 of all three averages; -1 is a class like any other that is never said."""
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    p, targets = case
    said = p.argmax(1)
    assert measure("accuracy", p, targets) == pytest.approx(accuracy_score(targets, said))
    for average in ("macro", "micro", "weighted"):
        theirs = precision_recall_fscore_support(targets, said, average=average, zero_division=0)[:3]
        ours = [measure(f"{average}_{name}", p, targets) for name in ("precision", "recall", "f1")]
        assert ours == pytest.approx(theirs)


@given(judged())
def test_log_loss_and_auroc_equal_scikit_learn(case):
    from sklearn.metrics import log_loss, roc_auc_score

    p, targets = case
    c = p.shape[1]
    assert measure("log_loss", p, targets) == pytest.approx(log_loss(targets, p, labels=range(c)))
    if len(set(targets)) == c:
        theirs = roc_auc_score(targets, p[:, 1] if c == 2 else p, multi_class="ovr", labels=range(c))
        assert measure("auroc", p, targets) == pytest.approx(theirs)


@given(judged(unseen=True), st.integers(0, 99))
def test_a_weight_is_a_repetition(case, seed):
    """Weight 3 judges like three copies (ECE apart: its bins are cut once, on the unweighted records)."""
    p, targets = case
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(p)))
    for name in metrics.MEASURES:
        if name == "ece":
            continue
        ours = measure(name, p, targets, weights)
        theirs = [
            measure(name, np.repeat(p, w, 0), np.repeat(targets, w)) if w.any() else np.nan for w in weights
        ]
        np.testing.assert_allclose(ours, theirs, err_msg=name)


def test_by_hand():
    """Four records, said 0 0 1 1, true 0 1 1 -1.

    accuracy 2/4. Class 0: said 2, right 1, true 1: P 1/2, R 1, F1 2/3. Class 1: said 2, right 1, true 2: 1/2
    each. The unseen class: 0. Macro F1 (2/3 + 1/2 + 0) / 3 = 7/18. Log loss over the three known: -ln(.8 * .4
    * .7) / 3. AUROC of class 1 among the known: positives .4 and .7 against .2: 1.
    """
    p = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9]])
    targets = np.array([0, 1, 1, -1])
    assert measure("accuracy", p, targets) == 0.5
    assert measure("macro_f1", p, targets) == pytest.approx(7 / 18)
    assert measure("log_loss", p, targets) == pytest.approx(-np.log(0.8 * 0.4 * 0.7) / 3)
    assert measure("auroc", p, targets) == 1
    assert confusion(p.argmax(1), targets, 2).tolist() == [[1, 0], [1, 1], [0, 1]]


def test_ties_count_half_in_auroc():
    """Positives .5 .9, negatives .5 .1: of four pairs three are won, one is even: 3.5 / 4."""
    p = np.array([0.5, 0.9, 0.5, 0.1])
    assert measure("auroc", np.column_stack([1 - p, p]), [1, 1, 0, 0]) == 3.5 / 4


def test_calibration_error_by_hand():
    """30 records, two in each of 15 bins. Certain to .8, right in 1 of 2 everywhere: .3 in every bin.

    Certain to .5 and right in half: 0.
    """
    right = np.tile([0, 1], 15)
    assert measure("ece", np.tile([0.8, 0.2], (30, 1)), right) == pytest.approx(0.3)
    assert measure("ece", np.tile([0.5, 0.5], (30, 1)), right) == pytest.approx(0)


def test_a_certain_mistake_costs_what_float32_can_tell():
    assert measure("log_loss", [[1.0, 0.0]], [1]) == pytest.approx(-np.log(1e-7))


@pytest.mark.parametrize("groups", [None, np.arange(50) // 3])
def test_shared_draws_equal_the_measure_under_their_weights(groups):
    """The matrix product of summed tables is the measure itself, resample by resample; also on a part."""
    rng = np.random.default_rng(0)
    p, targets = rng.dirichlet(np.ones(3), 50), rng.integers(-1, 3, 50)
    draws = Resamples(50, groups=groups, samples=20)
    rows = np.flatnonzero(rng.random(50) < 0.6)
    for at in (np.arange(50), rows):
        weights = draws.sums(np.eye(50)[at], at)[:, at]
        mine = judge(p[at], targets[at], draws, rows=at)
        for name in metrics.MEASURES:
            np.testing.assert_allclose(
                mine.draws[name], measure(name, p[at], targets[at], weights), rtol=1e-5
            )


def test_groups_are_drawn_whole_and_widen_the_interval():
    """Twenty copies of each record tell no more than one: over groups, the interval stays."""
    rng = np.random.default_rng(1)
    p, targets = rng.dirichlet(np.ones(2), 40), rng.integers(0, 2, 40)
    alone = scores(p, targets, measures=["accuracy"])["accuracy"]
    copied = scores(np.repeat(p, 20, 0), np.repeat(targets, 20), groups=np.repeat(np.arange(40), 20))[
        "accuracy"
    ]
    naive = scores(np.repeat(p, 20, 0), np.repeat(targets, 20), measures=["accuracy"])["accuracy"]
    assert copied == pytest.approx(alone)
    assert naive["high"] - naive["low"] < (alone["high"] - alone["low"]) / 3


def test_many_records_are_drawn_in_parts(monkeypatch):
    """A memory limit changes which draws are made, not that they are the same each time."""
    monkeypatch.setattr(metrics, "_CELLS", 300)
    draws = Resamples(100, samples=10)
    once, again = draws.sums(np.eye(100)), draws.sums(np.eye(100))
    assert once.shape == (10, 100) and (once == again).all() and (once.sum(1) == 100).all()
    assert draws._kept is None


def test_intervals_cover():
    """Of 200 samples of 150 records with true accuracy .8, about 95 % of the intervals hold .8."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        targets = (rng.random(150) < 0.8).astype(int)
        one = scores(np.tile([0.0, 1.0], (150, 1)), targets, samples=300, measures=["accuracy"])["accuracy"]
        held += one["low"] <= 0.8 <= one["high"]
    assert 0.90 <= held / 200 <= 0.985


def test_nothing_to_judge_is_none():
    empty = {"value": None, "low": None, "high": None}
    assert scores(np.zeros((0, 3)), np.zeros(0, int))["accuracy"] == empty
    unseen = scores([[0.5, 0.5]], [-1])
    assert unseen["log_loss"] == unseen["auroc"] == empty and unseen["accuracy"]["value"] == 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="are not"):
        scores(np.zeros((3, 2)), [0, 1])
    with pytest.raises(ValueError, match="target 2 has no column"):
        scores(np.full((1, 2), 0.5), [2])
    with pytest.raises(ValueError, match="record 1 are not finite"):
        scores([[0.5, 0.5], [np.nan, 0.5]], [0, 1])


# --- two on one test ------------------------------------------------------------------------------


def _answers(right: np.ndarray) -> np.ndarray:
    """Probabilities for targets of 0 that are right where asked."""
    return np.where(np.asarray(right, bool)[:, None], [0.9, 0.1], [0.1, 0.9])


@settings(max_examples=20)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1, max_size=12))
def test_p_equals_counting_all_flips(records):
    """p by the convolution is p by trying every sign of every group."""
    model, rival, groups = (np.array(part) for part in zip(*records, strict=True))
    apart = np.bincount(groups, weights=model.astype(float) - rival)
    flips = np.array(list(itertools.product([-1, 1], repeat=len(apart)))) @ apart
    want = (flips < apart.sum()).mean() + (flips == apart.sum()).mean() / 2
    assert p_worse(
        _answers(model), _answers(rival), np.zeros(len(model), int), groups=groups
    ) == pytest.approx(want)


def test_p_by_hand():
    """Model alone right once, rival alone three times: P(0 heads of 4) + P(1 of 4) / 2 = 1/16 + 2/16."""
    model, rival = _answers([1, 0, 0, 0, 1]), _answers([0, 1, 1, 1, 1])
    assert p_worse(model, rival, np.zeros(5, int)) == pytest.approx(3 / 16)
    assert p_worse(rival, model, np.zeros(5, int)) == pytest.approx(13 / 16)
    assert p_worse(model, model, np.zeros(5, int)) == 0.5


@pytest.mark.parametrize("size", [1, 4])
def test_p_is_uniform_under_the_null(size):
    """Two equal answerers, in groups that go right or wrong together: p < .05 in about 5 % of tests."""
    rng = np.random.default_rng(0)
    ps = []
    for _ in range(1500):
        right = np.repeat(rng.random((40, 2)) < 0.7, size, axis=0)
        flip = rng.random((40 * size, 2)) < 0.1
        model, rival = (right ^ flip).T
        groups = None if size == 1 else np.repeat(np.arange(40), size)
        ps.append(p_worse(_answers(model), _answers(rival), np.zeros(len(model), int), groups=groups))
    ps = np.array(ps)
    assert 0.03 < (ps < 0.05).mean() < 0.07 and 0.44 < (ps < 0.5).mean() < 0.56


def test_difference_is_paired_and_signed():
    """Equal mistakes cancel: a model right on one record more in 100 differs by .01 in a narrow interval."""
    rng = np.random.default_rng(0)
    rival = rng.random(100) < 0.5
    model = rival.copy()
    model[np.flatnonzero(~rival)[0]] = True
    apart, p = difference(_answers(model), _answers(rival), np.zeros(100, int))
    assert apart["accuracy"]["value"] == pytest.approx(0.01) and apart["accuracy"]["low"] >= 0
    assert apart["accuracy"]["high"] < 0.05 and p == 0.75
    assert apart["log_loss"]["value"] < 0


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm(ps):
    """Never below p, never above n p or 1, in the order of p; one p stays as it is."""
    adjusted = np.array(holm(ps))
    ps = np.array(ps)
    assert (adjusted >= ps).all() and (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(ps, kind="stable")]) >= 0).all()
    if len(ps):
        assert adjusted[ps.argmin()] == pytest.approx(min(1, len(ps) * ps.min()))


def test_resamples_in_pieces_are_the_same_draws(monkeypatch):
    """Weights made some at a time, kept or made anew: the same sums."""
    table = np.random.default_rng(0).normal(size=(30, 2))
    whole = Resamples(30, samples=50).sums(table)
    monkeypatch.setattr(metrics, "_PIECE", 100)
    pieces = Resamples(30, samples=50)
    np.testing.assert_allclose(pieces.sums(table), whole, atol=1e-5)
    assert len(pieces._kept) == 17 and pieces._kept[0].dtype == np.uint8
    np.testing.assert_allclose(pieces.sums(table), whole, atol=1e-5)


def test_tables_of_measures_in_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    p, targets = rng.dirichlet(np.ones(3), 25), rng.integers(-1, 3, 25)
    whole = judge(p, targets, Resamples(25, samples=20)).values
    monkeypatch.setattr(metrics, "_ROWS", 4)
    for name, value in judge(p, targets, Resamples(25, samples=20)).values.items():
        np.testing.assert_allclose(value, whole[name], atol=1e-9)

"""Specialists against scikit-learn's regression on features prepared by hand, and what must never be read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from polysense.learn import rivals as module
from polysense.learn.rivals import Rivals, subsets_of

VIEWS = ["dense", "words", "few"]
SUBSETS = [("words",), ("dense", "words", "few")]


def records(n: int, classes: int, seed: int, share: float = 0.8):
    """Views that tell of the class: dense numbers, sparse counts, two numbers that many records lack."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99)
    targets = rng.integers(0, classes, n)
    words = sparse.random_array((n, 40), density=0.1, rng=rng, format="lil")
    words[np.arange(n), targets] = rng.random(n)
    features = {
        "dense": (rng.normal(size=(n, 12)) * 3 + centres.normal(size=(classes, 12))[targets] * 2 + 5).astype(
            np.float32
        ),
        "words": words.tocsr(),
        "few": (rng.normal(size=(n, 2)) + centres.normal(size=(classes, 2))[targets]).astype(np.float32),
    }
    present = rng.random((n, 3)) < [share, share, share / 2]
    return features, present, targets


def trained(classes: int = 4, n: int = 240, **options) -> Rivals:
    return Rivals.train(
        *records(n, classes, 0), *records(120, classes, 1), views=VIEWS, classes=classes, **options
    )


def columns(subset: tuple[str, ...]) -> list[int]:
    return [VIEWS.index(view) for view in subset]


def by_hand(features, present, train_features, train_present, subset):
    """Blocks side by side: StandardScaler on present training rows, root of the width, zeros if absent."""
    blocks = []
    for view, v in zip(subset, columns(subset), strict=True):
        scaler = StandardScaler(with_mean=view != "words").fit(train_features[view][train_present[:, v]])
        block = scaler.transform(features[view])
        block = (block.toarray() if sparse.issparse(block) else block) / np.sqrt(block.shape[1])
        blocks.append(np.where(present[:, [v]], block, 0))
    return np.hstack(blocks)


def strongest(x, y, xv, yv, classes: int) -> LogisticRegression:
    """scikit-learn's regression with the C that validation prefers."""
    tried = [LogisticRegression(C=c, tol=1e-6, max_iter=5000).fit(x, y) for c in module.STRENGTHS]
    return min(tried, key=lambda one: log_loss(yv, one.predict_proba(xv), labels=range(classes)))


def test_subsets():
    """Five views: 31. Six: 6 singles, 15 pairs, 6 of five, 1 of all. Two: no pair twice."""
    assert len(subsets_of("abcde")) == 31 and len(subsets_of("abcdef")) == 28
    assert subsets_of("ab") == [("a",), ("b",), ("a", "b")] and subsets_of("a") == [("a",)]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("limit", [2000, 200, 0], ids=["kernel", "kernel of some", "primal"])
@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize("filled", [False, True])
def test_equals_scikit_learn(monkeypatch, classes, limit, subset, filled):
    """Every way of solving, two classes or more, with and without presence bits: 1e-3 in probability."""
    monkeypatch.setattr(module, "_KERNEL_LIMIT", limit)
    monkeypatch.setattr(module, "_FEW_VALID", 20)
    monkeypatch.setattr(module, "subsets_of", lambda views: [subset])
    monkeypatch.setattr(Rivals, "_rank", lambda self, judged, yardstick: VIEWS)
    (f, p, y), (fv, pv, yv), (ft, pt, yt) = (records(n, classes, s) for n, s in ((240, 0), (200, 1), (80, 2)))
    ours = Rivals.train(f, p, y, fv, pv, yv, views=VIEWS, classes=classes)
    x, xv, xt = (by_hand(*part, f, p, subset) for part in ((f, p), (fv, pv), (ft, pt)))
    c = columns(subset)
    if filled:
        x, xv, xt = (np.hstack([a, b[:, c]]) for a, b in ((x, p), (xv, pv), (xt, pt)))
    rows = np.ones(len(y), bool) if filled else p[:, c].all(1)
    having, judged = pv[:, c].all(1), pt[:, c].all(1)
    theirs = strongest(x[rows], y[rows], xv[having], yv[having], classes)
    assert ours.strength(subset, filled=filled) == theirs.C
    mine = ours.answer(subset, ft, pt, filled=filled)[judged]
    np.testing.assert_allclose(mine, theirs.predict_proba(xt[judged]), atol=1e-3)


def test_absent_slots_are_never_read():
    """NaN, 1e30 or a picture's features in an absent slot: the same rivals and answers, bit for bit."""
    (f, p, y), (ft, pt, _) = records(240, 4, 0), records(60, 4, 2)
    answers = []
    for filler in (np.nan, 1e30):
        train, test = ({view: block.copy() for view, block in part.items()} for part in (f, ft))
        for part, mask in ((train, p), (test, pt)):
            part["dense"][~mask[:, 0]] = filler
            part["few"][~mask[:, 2]] = filler
        ours = Rivals.train(train, p, y, train, p, y, views=VIEWS, classes=4)
        answers.append([ours.answer(s, test, pt, filled=k) for s in ours.subsets for k in (False, True)])
    assert all((a == b).all() for a, b in zip(*answers, strict=True))


def test_absent_views_are_answered():
    """Nothing: the prior; a part of the subset: what the filled rival says; a view outside is not read."""
    ours = trained()
    features, present, _ = records(30, 4, 2)
    present[0] = False
    present[1] = [True, False, False]
    for kind in (False, True):
        assert (ours.answer(("dense", "words"), features, present, filled=kind)[0] == ours.prior).all()
    part = ours.answer(("dense", "words"), features, present)[1]
    assert (part == ours.answer(("dense", "words"), features, present, filled=True)[1]).all()
    assert (ours.answer(("words",), features, present)[1] == ours.prior).all()
    lone = {view: block[present[:, 0]] for view, block in features.items() if view == "dense"}
    want = ours.answer(("dense",), features, present)[present[:, 0]]
    assert (ours.answer(("dense",), lone, present[present[:, 0]]) == want).all()


def test_a_record_is_answered_alike_alone_and_in_a_batch():
    ours = trained()
    features, present, _ = records(20, 4, 2)
    whole = ours.answer(VIEWS, features, present, filled=True)
    alone = [
        ours.answer(VIEWS, {v: b[[i]] for v, b in features.items()}, present[[i]], filled=True)
        for i in range(20)
    ]
    np.testing.assert_allclose(whole, np.concatenate(alone), atol=1e-12)


def test_no_reading_of_a_table_without_the_view():
    """A column that no record of a table has comes as an array without width."""
    ours = trained()
    features, present, _ = records(10, 4, 2)
    present[:, :2] = False
    features |= {"dense": np.zeros((10, 0), np.float32), "words": np.zeros((10, 0), np.float32)}
    assert np.isfinite(ours.answer(VIEWS, features, present, filled=True)).all()


def test_a_view_that_training_never_saw():
    """It has no specialist, ranks behind, and does not disturb the others."""
    (f, p, y), (ft, pt, _) = records(240, 4, 0), records(30, 4, 2)
    p[:, 2] = False
    ours = Rivals.train(f | {"few": np.zeros((240, 0), np.float32)}, p, y, f, p, y, views=VIEWS, classes=4)
    assert ours.counts["few",] == 0 and ours.strength(("few",)) is None and ours.best_single != "few"
    assert (ours.answer(("few",), ft, pt) == ours.prior).all()
    assert np.isfinite(ours.answer(VIEWS, ft, pt, filled=True)).all()


def test_counts_and_marks():
    """The specialist of a subset learns from the training records that have all of it."""
    ours = trained(n=150)
    present = records(150, 4, 0)[1]
    for subset in ours.subsets:
        assert ours.counts[subset] == present[:, columns(subset)].all(1).sum()
        assert ours.few(subset) == (ours.counts[subset] < 60)


def test_best_single_is_the_most_telling_view():
    """A view that holds the answer is first; validation says so."""
    features, present, targets = records(200, 4, 0)
    valid, valid_present, valid_targets = records(100, 4, 1)
    features["few"], valid["few"] = (np.eye(4)[t] for t in (targets, valid_targets))
    present[:, 2] = valid_present[:, 2] = True
    ours = Rivals.train(
        features, present, targets, valid, valid_present, valid_targets, views=VIEWS, classes=4
    )
    assert ours.best_single == "few" and ours.best_of(("words", "few")) == "few"
    assert ours.best_of(("words", "dense")) == next(view for view in ours.ranking if view != "few")


def test_without_validation_records_c_is_chosen_on_training_folds(monkeypatch):
    """The same answers each time, and close to those that validation would have chosen."""
    parts = records(240, 4, 0)
    monkeypatch.setattr(module, "subsets_of", lambda views: [*((view,) for view in VIEWS), tuple(VIEWS)])
    first, second = (Rivals.train(*parts, views=VIEWS, classes=4, seed=3) for _ in range(2))
    features, present, targets = records(200, 4, 2)
    answers = [one.answer(VIEWS, features, present, filled=True) for one in (first, second, trained())]
    assert (answers[0] == answers[1]).all()
    losses = [-np.log(answer[np.arange(200), targets]).mean() for answer in answers]
    assert losses[0] < losses[2] + 0.1


def test_a_class_that_a_subset_lacks_keeps_the_log_loss_finite():
    """1e-6 of its prior: never exactly zero. One class alone leaves nothing to fit: the prior."""
    features, present, targets = records(240, 3, 0)
    present[targets == 2, 0] = False
    present[:, 2] = False
    present[np.flatnonzero(targets == 1)[:20], 2] = True
    ours = Rivals.train(features, present, targets, views=VIEWS, classes=3)
    everywhere = np.ones_like(present)
    answer = ours.answer(("dense",), features, everywhere)
    np.testing.assert_allclose(answer[:, 2], 1e-6 * ours.prior[2])
    np.testing.assert_allclose(answer.sum(1), 1)
    assert (
        ours.strength(("few",)) is None and (ours.answer(("few",), features, everywhere) == ours.prior).all()
    )


def test_unseen_validation_classes_are_left_out():
    """A validation target of -1 chooses nothing, and breaks nothing."""
    parts, (fv, pv, yv) = records(240, 4, 0), records(120, 4, 1)
    known = yv != 3
    some = Rivals.train(
        *parts, {v: b[known] for v, b in fv.items()}, pv[known], yv[known], views=VIEWS, classes=4
    )
    other = Rivals.train(*parts, fv, pv, np.where(known, yv, -1), views=VIEWS, classes=4)
    assert [some.strength(s) for s in some.subsets] == [other.strength(s) for s in other.subsets]


def test_columns_that_do_not_vary_are_dropped():
    """A constant, or one that moves by rounding alone, would otherwise be blown up to full size."""
    features, present, targets = records(240, 4, 0)
    noise = 1 + 1e-7 * np.random.default_rng(0).normal(size=(240, 1))
    wider = features | {"few": np.hstack([features["few"], np.full((240, 1), 0.1), noise]).astype(np.float32)}
    ours = Rivals.train(wider, present, targets, views=VIEWS, classes=4)
    moved = wider | {"few": wider["few"] + np.array([0, 0, 5, 5], np.float32)}
    assert (ours.answer(("few",), wider, present) == ours.answer(("few",), moved, present)).all()


def test_one_rival_where_every_record_has_all():
    """Then presence bits say nothing, and the filled rival is the specialist."""
    features, present, targets = records(240, 4, 0, share=2)
    ours = Rivals.train(features, present, targets, views=VIEWS, classes=4)
    for subset in ours.subsets:
        answers = [ours.answer(subset, features, present, filled=kind) for kind in (False, True)]
        assert (answers[0] == answers[1]).all()
    assert len(ours.state()["fitted"]) == len(ours.subsets)


def test_above_the_limit_a_sample_is_stated():
    ours = trained(limit=100)
    assert ours.sampled == 100 and max(ours.counts.values()) <= 100 and trained().sampled is None


def test_progress_reaches_its_end():
    seen = []
    trained(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 14) for i in range(14)]


def test_state_and_load():
    """A tree of JSON values and arrays; the loaded rivals answer in the same bits."""
    ours = trained()
    arrays: list[np.ndarray] = []

    def taken(node):
        if isinstance(node, np.ndarray):
            arrays.append(node)
            return {"array": len(arrays) - 1}
        if isinstance(node, dict):
            return {key: taken(value) for key, value in node.items()}
        return [taken(value) for value in node] if isinstance(node, list) else node

    def given_back(node):
        if isinstance(node, dict):
            return (
                arrays[node["array"]]
                if set(node) == {"array"}
                else {k: given_back(v) for k, v in node.items()}
            )
        return [given_back(value) for value in node] if isinstance(node, list) else node

    again = Rivals.load(given_back(json.loads(json.dumps(taken(ours.state())))))
    features, present, _ = records(40, 4, 2)
    for subset in ours.subsets:
        for kind in (False, True):
            assert (ours.answer(subset, features, present, filled=kind)
                    == again.answer(subset, features, present, filled=kind)).all()
    assert (again.ranking, again.counts, again.sampled) == (ours.ranking, ours.counts, ours.sampled)

"""learn/blend: the mixture of network and regressions."""

from __future__ import annotations

import numpy as np
import pytest

from polysense.learn.blend import GRID, KINDS, Share, choose, regressions
from polysense.learn.rivals import Rivals


@pytest.fixture(scope="module")
def trained():
    """Two views, 240 records, three classes that both views show; a fifth of the cells absent."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 240)
    features = {view: rng.normal(size=(240, 4)) + 2 * np.eye(3, 4)[labels] for view in "ab"}
    present = rng.random((240, 2)) > 0.2
    half = slice(0, 160), slice(160, 240)
    train, valid = ({v: x[part] for v, x in features.items()} for part in half)
    rivals = Rivals.train(
        train, present[half[0]], labels[half[0]], valid, present[half[1]], labels[half[1]], views=["a", "b"], classes=3
    )
    return rivals, valid, present[half[1]], labels[half[1]]


@pytest.mark.parametrize(("kind", "asked"), KINDS.items())
def test_each_record_is_answered_by_the_regressions_of_its_own_views(trained, kind, asked):
    rivals, features, present, _ = trained
    answers = regressions(rivals, features, present, kind)
    for i, pattern in enumerate(present):
        subset = tuple(view for view, here in zip("ab", pattern, strict=True) if here)
        if not subset:
            wanted = rivals.prior
        else:
            one = {view: block[i : i + 1] for view, block in features.items()}
            wanted = sum(rivals.answer(subset, one, present[i : i + 1], filled=f)[0] for f in asked) / len(asked)
        np.testing.assert_allclose(answers[i], wanted, atol=1e-6)


def test_what_stands_in_an_absent_slot_is_not_read(trained):
    rivals, features, present, _ = trained
    spoilt = {v: np.where(present[:, [i]], block, 1e4) for i, (v, block) in enumerate(features.items())}
    np.testing.assert_array_equal(regressions(rivals, features, present), regressions(rivals, spoilt, present))


def test_a_perfect_network_gets_all_the_weight_and_a_useless_one_the_least(trained):
    rivals, features, present, labels = trained
    perfect = np.eye(3)[labels] * 0.999 + 0.0005
    assert choose(lambda mask: perfect, rivals, features, present, labels).weight == 0
    useless = np.roll(perfect, 1, axis=1)
    assert choose(lambda mask: useless, rivals, features, present, labels).weight == GRID[-1]


def test_without_a_known_label_the_share_is_the_untold_one(trained):
    rivals, features, present, labels = trained
    assert choose(lambda mask: 1 / 0, rivals, features, present, np.full_like(labels, -1)) == Share()


def test_model_mixes_by_the_share():
    """0 is the network alone, 1 the regressions alone, and a share lies on the line between."""
    from polysense import Model, demo

    records = demo.made_up(60)
    answers = {}
    for share in (0, 0.25, 1):
        options = {"train.epochs": 1, "train.members": 1, "train.dim": 8, "train.regressions": share}
        answers[share] = Model("label", options=options, cache=False).fit(records).predict_proba(records)
    np.testing.assert_allclose(answers[0.25], 0.75 * answers[0] + 0.25 * answers[1], atol=1e-6)

"""Further measures against scikit-learn called by hand, where they are not defined, and through the door."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from polysense.errors import BadOption
from polysense.metrics import Classes
from polysense.metrics.labels import Labels
from polysense.metrics.more import TABLE, chosen, further
from polysense.metrics.numbers import Numbers
from polysense.metrics.texts import Texts
from small import model, records

RULERS = {"classes": Classes(), "numbers": Numbers(), "labels": Labels(), "words": Texts()}


def answers_of(kind: str, n: int = 40, c: int = 3):
    rng = np.random.default_rng(0)
    if kind == "words":
        said = [" ".join(rng.choice(["a", "red", "green", "car", "tree"], 5)) for _ in range(n)]
        meant = [(text if rng.random() < 0.5 else text.replace("red", "blue"), "a sky") for text in said]
        return Texts().answers(said), Texts().targets(meant)
    if kind == "numbers":
        true = rng.uniform(1, 5, n)
        return (true + rng.normal(size=n) * 0.3).clip(0.1)[:, None], true
    if kind == "labels":
        true = (rng.random((n, c)) < 0.4).astype(float)
        return (0.6 * true + 0.4 * rng.random((n, c))) * 0.98 + 0.01, np.hstack([true, np.zeros((n, 1))])
    true = rng.integers(0, c, n)
    p = np.eye(c)[true] * 0.7 + rng.random((n, c))
    return p / p.sum(1, keepdims=True), true


@pytest.mark.parametrize("kind", list(TABLE))
def test_every_measure_has_a_value_and_an_interval(kind):
    answers, targets = answers_of(kind)
    found = further(list(TABLE[kind]), RULERS[kind], answers, targets, samples=20)
    for name, one in found.items():
        if name == "top_3":
            assert one["value"] is None and one["reason"] == "with 3 classes the first 3 always hold the right one"
        elif name != "top_5":
            assert one["reason"] is None and one["low"] <= one["value"] <= one["high"], name


@pytest.mark.parametrize("kind", list(TABLE))
def test_the_truth_is_better_than_noise(kind):
    """By each measure, in the direction that it names."""
    answers, targets = answers_of(kind)
    truth = {"classes": lambda: np.eye(3)[targets], "numbers": lambda: targets[:, None], "labels": lambda: targets[:, :-1]}
    truth |= {"words": lambda: np.array([references[0] for references in targets], object)}
    noise = np.random.default_rng(1).permutation(answers)
    names = [name for name in TABLE[kind] if name not in ("top_3", "top_5")]
    best, worst = (
        further(names, ruler, one if kind == "words" else np.clip(one, 1e-9, None), targets, samples=2)
        for ruler in [RULERS[kind]] for one in (ruler.answers(truth[kind]()), noise)
    )
    for name in names:
        gain = best[name]["value"] - worst[name]["value"]
        assert gain < 0 if best[name]["better"] == "lower" else gain > 0, name


def test_values_are_scikit_learns():
    answers, targets = answers_of("classes")
    found = further(["mcc", "roc_auc_ovr", "top_2", "balanced_accuracy"], Classes(), answers, targets, samples=2)
    said = answers.argmax(1)
    assert found["mcc"]["value"] == pytest.approx(theirs.matthews_corrcoef(targets, said))
    assert found["roc_auc_ovr"]["value"] == pytest.approx(theirs.roc_auc_score(targets, answers, multi_class="ovr"))
    assert found["top_2"]["value"] == pytest.approx(theirs.top_k_accuracy_score(targets, answers, k=2))
    two = further(["roc_auc_ovr", "average_precision"], Classes(), answers[:, :2], targets % 2, samples=2)
    assert two["roc_auc_ovr"]["value"] == pytest.approx(theirs.roc_auc_score(targets % 2, answers[:, 1]), abs=0.2)
    answers, targets = answers_of("numbers")
    assert further(["medae"], Numbers(), answers, targets, samples=2)["medae"]["value"] == pytest.approx(
        theirs.median_absolute_error(targets, answers[:, 0]))


def test_brier_by_hand():
    """(0.8, 0.2) of the first class: 0.04 + 0.04."""
    found = further(["brier"], Classes(), np.array([[0.8, 0.2]]), np.array([0]), samples=2)
    assert found["brier"]["value"] == pytest.approx(0.08)


def test_what_is_not_defined_has_a_reason():
    answers, _ = answers_of("classes")
    found = further(["roc_auc_ovr", "mcc"], Classes(), answers, np.zeros(40, int), samples=3)
    assert found["roc_auc_ovr"]["value"] is None and "only one class" in found["roc_auc_ovr"]["reason"]
    unseen = further(["roc_auc_ovr", "balanced_accuracy"], Classes(), answers, np.full(40, -1), samples=3)
    assert "no record is of a class that training had" in unseen["roc_auc_ovr"]["reason"]
    below = further(["msle"], Numbers(), np.array([[-3.0], [1.0]]), np.array([1.0, 2.0]), samples=3)["msle"]
    assert below["value"] is None and below["reason"]
    empty = further(["medae"], Numbers(), np.zeros((0, 1)), np.zeros(0), samples=3)["medae"]
    assert empty["reason"] == "no record has a target"


def test_classes_unseen_in_training_count_as_wrong():
    found = further(["balanced_accuracy"], Classes(), np.eye(2)[[0, 1, 1]], np.array([0, 1, -1]), samples=2)
    assert found["balanced_accuracy"]["value"] == pytest.approx(2 / 3)


def test_groups_widen_the_interval():
    answers, targets = answers_of("numbers")
    answers, targets = np.repeat(answers, 5, axis=0), np.repeat(targets, 5)
    apart = {}
    for groups in (None, np.arange(200) // 5):
        one = further(["mse"], Numbers(), answers, targets, groups=groups, samples=100)["mse"]
        apart[groups is None] = one["high"] - one["low"]
    assert apart[False] > 1.3 * apart[True]


def test_names_are_checked_before_anything_is_computed():
    with pytest.raises(BadOption, match="no measure 'mc' of classes; did you mean 'mcc'"):
        chosen("mc", "classes")
    assert chosen("all", "labels") == list(TABLE["labels"]) and chosen(["medae"], "numbers") == ["medae"]


def test_a_model_is_asked_for_measures():
    made = model().fit(records(60))
    found = made.evaluate(records(40, 1), samples=20, measures="balanced_accuracy,kappa")
    assert list(found["measures"]) == ["balanced_accuracy", "kappa"]
    from polysense.judge.evaluate import as_text

    assert "balanced accuracy" in as_text(found) and "kappa" in made.report(found, records(40, 1))
    with pytest.raises(BadOption, match="no measure 'medae' of classes"):
        made.evaluate(records(9), measures="medae")

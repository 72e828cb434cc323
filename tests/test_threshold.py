"""From which probability on the second of two classes is said: by hand, chosen by a measure, out of fold, through the door."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as theirs

from polysense import Model, load
from polysense.errors import BadOption
from polysense.judge.evaluate import as_text
from polysense.metrics import Classes, Resamples, p_worse
from polysense.metrics.threshold import MEASURES, best
from polysense.registry import tasks
from small import QUICK
from test_multilabel import tagged, things
from test_regress import polysense

THEIRS = {
    "accuracy": theirs.accuracy_score, "balanced_accuracy": theirs.balanced_accuracy_score, "mcc": theirs.matthews_corrcoef,
    "f1": lambda true, said: theirs.f1_score(true, said, zero_division=0),
    "macro_f1": lambda true, said: theirs.f1_score(true, said, average="macro", labels=[0, 1], zero_division=0),
}


def rare(n: int = 120, seed: int = 0) -> list[dict]:
    """One record in six is a fraud, which a number only hints at: the likelier class is nearly always "fine"."""
    rng = np.random.default_rng(seed)
    fraud = rng.random(n) < 1 / 6
    return [{"amount": float(x), "label": "fraud" if bad else "fine", "who": f"w{i // 2}"}
            for i, (x, bad) in enumerate(zip(rng.normal(1.1 * fraud), fraud, strict=True))]


def classifier(**settings) -> Model:
    settings["options"] = QUICK | {"train.epochs": 6} | settings.get("options", {})
    return Model("label", columns={"who": "ignore"}, **settings)


@pytest.fixture(scope="module")
def fitted() -> Model:
    return classifier(options={"task.threshold": "best"}).fit(rare(), valid=rare(150, 1))


# choosing --------------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(MEASURES)), st.integers(2, 14), st.integers(0, 10_000))
def test_no_other_threshold_is_better(measure, n, seed):
    """Against scikit-learn's own measures at every possible cut, equal answers among them."""
    rng = np.random.default_rng(seed)
    p, true = rng.integers(1, 8, n) / 8, rng.random(n) < 0.5
    found = best(p, true, measure, few=1)
    if true.all() or not true.any():
        assert found is None
        return
    edges = np.unique(np.r_[0, p, 1])
    value = {cut: THEIRS[measure](true, p >= cut) for cut in (edges[1:] + edges[:-1]) / 2}
    assert value[found] == pytest.approx(max(value.values()))
    equal = [cut for cut in value if value[cut] >= value[found] - 1e-12]
    assert abs(found - 0.5) <= min(abs(cut - 0.5) for cut in equal) + 1e-9, "of equal ones the nearest to one half"


def test_too_few_of_a_class_leave_one_half():
    assert best(np.array([0.2, 0.3, 0.9]), np.array([False, False, True])) is None
    task = tasks.make("classify", threshold="best")
    task.fit(["a", "b"])
    for few in ([0] * 20 + [1] * 4, [1] * 20 + [0] * 4):
        assert "needs 5 records of each class" in task.settle(np.tile([0.9, 0.1], (24, 1)), np.array(few))
        assert task.cut == 0.5


def test_said_and_judged_by_hand():
    """From 0.3 on the second is said: of (0.35, 0.2, 0.6) the first and the last; truth (1, 1, 1), so two of three."""
    task = tasks.make("classify", threshold=0.3)
    task.fit(["yes", "no"])
    p = np.array([[0.65, 0.35], [0.8, 0.2], [0.4, 0.6]])
    assert task.classes == ["no", "yes"] and task.decode(p) == ["yes", "no", "yes"]
    assert task.decode(np.array([[0.7, 0.3]])) == ["yes"], "the threshold itself says it"
    assert task.watch(p, {"label": np.array([1, 1, 1])})["accuracy"] == pytest.approx(2 / 3)
    truth, draws = np.array([1, 1, 1]), Resamples(3, samples=5)
    at, likeliest = (Classes(cut).judge(p, truth, draws).values for cut in (0.3, None))
    assert at["accuracy"] == pytest.approx(2 / 3) and likeliest["accuracy"] == pytest.approx(1 / 3)
    assert at["macro_recall"] == pytest.approx(2 / 3 / 2)  # "no" is said once and never true
    assert at["ece"] == likeliest["ece"] and at["log_loss"] == likeliest["log_loss"]
    assert Classes(0.3).merit(p, truth)[0] == pytest.approx(2 / 3)
    assert p_worse(p[:, ::-1], p, truth, threshold=0.3) != p_worse(p[:, ::-1], p, truth)
    state = json.loads(json.dumps(task.state()))
    again = tasks.make("classify", threshold=0.3)
    again.load(state)
    assert again.decode(p) == task.decode(p)


@pytest.mark.parametrize(("options", "words"), [
    ({"threshold": 1.0}, "task.threshold=1.0 must be a probability between 0 and 1, 'best', or null"),
    ({"threshold": True}, "task.threshold=True must be"), ({"threshold": "most"}, "task.threshold='most' must be"),
    ({"measure": "f2"}, "task.measure='f2' does not exist; "),
])
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(BadOption, match=words):
        tasks.make("classify", **options)


def test_more_than_two_classes_are_refused():
    for threshold in (0.3, "best"):
        task = tasks.make("classify", threshold=threshold)
        with pytest.raises(BadOption, match="chooses between two classes, and the target holds 3; leave it away"):
            task.fit(["a", "b", "c"])


# a model ---------------------------------------------------------------------------------------------


def test_none_is_the_likeliest_class_and_keeps_nothing():
    """Without a threshold a task says, judges and saves what it always has."""
    task = tasks.make("classify")
    task.fit(["a", "b"])
    assert set(task.state()) == {"classes", "counts"} and task.yardstick().threshold is None
    assert task.decode(np.array([[0.5, 0.5], [0.4, 0.6]])) == ["a", "b"] and task.settle(np.eye(2), np.arange(2)) == ""


def test_a_rare_class_is_said_by_predict_evaluate_and_report(fitted, tmp_path):
    """The threshold has the largest macro F1 on validation, is below one half, and every way of asking heeds it."""
    valid, test = rare(150, 1), rare(200, 2)
    true = np.array([row["label"] == "fraud" for row in valid])
    p, cut = fitted.predict_proba(valid)[:, 1], fitted.task_.cut
    values = [theirs.f1_score(true, p >= one, average="macro") for one in (cut, 0.5, *p)]
    assert cut < 0.5 and values[0] == pytest.approx(max(values)) and values[0] > values[1] + 0.05
    said = fitted.predict(test)
    assert (said == np.where(fitted.predict_proba(test)[:, 1] >= cut, "fraud", "fine")).all()
    found = fitted.evaluate(test, subsets=True)
    right = np.mean(said == [row["label"] for row in test])
    assert found["scores"]["accuracy"]["value"] == pytest.approx(right) == fitted.score(test)
    assert found["threshold"] == {"class": "fraud", "from": cut}
    assert found["baselines"]["majority"]["accuracy"]["value"] == pytest.approx(np.mean([r["label"] == "fine" for r in test]))
    assert sum(row["said"] for row in found["per_class"] if row["class"] == "fraud") == (said == "fraud").sum()
    assert all(one["prediction"] != one["truth"] for one in found["mistakes"])
    assert found["subsets"][0]["scores"]["accuracy"]["value"] == pytest.approx(right)
    assert f"'fraud' is said from a probability of {cut:.3g} on" in as_text(found)
    assert f"from a probability of {cut:.3g} on" in fitted.report(found, test)
    assert f"概率达到 {cut:.3g} 即答 <b>fraud</b>" in fitted.report(found, test, lang="zh")
    fitted.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert (again.predict(test) == said).all() and again.task_.threshold == "best"
    assert f"fraud is said from a probability of {cut:.3g} on" in (tmp_path / "m" / "README.md").read_text()


def test_the_network_itself_is_as_without_a_threshold(fitted):
    plain = classifier().fit(rare(), valid=rare(150, 1))
    assert (plain.predict_proba(rare(20, 3)) == fitted.predict_proba(rare(20, 3))).all()
    assert set(plain.predict(rare(20, 3))) <= {"fine", "fraud"} and plain.evaluate(rare(20, 3)).get("threshold") is None


@pytest.mark.parametrize("how", [{"folds": 3}, {"seeds": 2}])
def test_several_models_settle_it_on_answers_to_records_they_have_not_seen(how, capsys):
    """The threshold of all is best on the judged answers, which are those out of fold; labels likewise."""
    made = classifier(group="who", options={"task.threshold": "best", "train.epochs": 2}, verbose=True, **how).fit(rare(210))
    assert "'fraud' is said from a probability of" in capsys.readouterr().err
    cut = made.task_.cut
    assert cut != 0.5 and made.valid_["threshold"]["from"] == cut
    assert "seeds" in how or cut not in [one.task_.cut for one in made.several_.models]
    said = {row["class"]: row["said"] for row in made.valid_["per_class"]}
    assert said["fraud"] > 0


@pytest.mark.parametrize("how", [{"folds": 2}, {"seeds": 2}])
def test_several_models_settle_the_thresholds_of_labels(how, tmp_path):
    made = tagged(options={"train.epochs": 2, "train.regressions": 0.0}, **how).fit(things(80))
    cuts = made.task_.thresholds
    assert (cuts != 0.5).any() and any((cuts != one.task_.thresholds).any() for one in made.several_.models)
    made.save(tmp_path / "m")
    assert (load(tmp_path / "m").task_.thresholds == cuts).all()


def test_folds_spread_the_rarest_label():
    """Each of two folds has half of the records of a label that four of twenty-four have."""
    rows = [{"size": float(i), "tags": ["all", "rare"] if i < 4 else ["all"] if i % 2 else []} for i in range(24)]
    made = Model("tags", folds=2, options=QUICK).fit(rows)
    assert [int(one.task_.counts[1]) for one in made.several_.models] in ([2, 2], [1, 2], [2, 1], [1, 1])


def test_through_the_door(tmp_path, capsys):
    """fit says the threshold, evaluate shows it, predict heeds it; a mistake costs no training."""
    rows, table, model = rare(210), tmp_path / "t.csv", tmp_path / "m"
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    fit = ["fit", table, "--target", "label", "--out", model, "--set", "train.epochs=2", "--group", "who"]
    said = polysense(capsys, *fit, "--set", "task.threshold=best", "--set", "task.measure=f1")[1]
    assert "'fraud' is said from a probability of" in said and "for the largest f1 on" in said
    assert "'fraud' is said from a probability of" in polysense(capsys, "evaluate", model, table)[0]
    lines = list(csv.DictReader(polysense(capsys, "predict", model, table)[0].splitlines()))
    cut = load(model).task_.cut
    assert all((float(one["probability_fraud"]) >= cut) == (one["prediction"] == "fraud") for one in lines
               if abs(float(one["probability_fraud"]) - cut) > 1e-5)
    with pytest.raises(BadOption, match="task.threshold=2"):
        polysense(capsys, *fit, "--set", "task.threshold=2")


def test_a_notebook_shows_the_class_that_is_said(fitted):
    """With the probability of that class, which may be the less likely one."""
    rows = rare(10, 4)
    html, p = fitted.answers(rows)._repr_html_(), fitted.predict_proba(rows)
    for row, one in enumerate(fitted.predict(rows)):
        assert f"{one}</td>" in html and f"{p[row, list(fitted.classes_).index(one)]:.2f}" in html

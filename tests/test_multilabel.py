"""multilabel: by hand, its measures against scikit-learn, its rivals against logistic regressions, and the model."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as theirs
from sklearn.linear_model import LogisticRegression

from polysense import Model, load
from polysense.data.records import as_records
from polysense.data.tables import open_table
from polysense.data.targets import as_labels, guess_task, reader, strata
from polysense.data.values import BadCell
from polysense.errors import BadOption, BadTable
from polysense.judge.evaluate import as_text
from polysense.learn import rivals as module
from polysense.learn.rivals import Rivals
from polysense.metrics import Resamples
from polysense.metrics.labels import Labels, best_thresholds
from polysense.registry import tasks
from small import QUICK
from test_regress import polysense
from test_rivals import VIEWS, by_hand, columns
from test_rivals import records as rival_records


def things(n: int = 80, seed: int = 0, cell=json.dumps) -> list[dict]:
    """Labels that a number and a word tell of."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        size, red = rng.normal(), rng.random() < 0.5
        labels = [name for name, there in (("large", size > 0.3), ("red", red), ("odd", rng.random() < 0.15)) if there]
        rows.append({"size": size, "note": "a red thing here" if red else "a blue thing here", "tags": cell(labels)})
    return rows


def tagged(**settings) -> Model:
    settings["options"] = QUICK | {"train.epochs": 6} | settings.get("options", {})
    return Model("tags", task="multilabel", encoders={"note": "text.plain"}, columns={"note": "text"}, **settings)


@pytest.fixture(scope="module")
def fitted() -> Model:
    return tagged().fit(things(160), valid=things(80, 1))


def fixed(*scores: float):
    class Fixed(torch.nn.Module):
        def forward(self, tokens):
            return torch.tensor([scores])

    return Fixed()


def test_losses_by_hand():
    """Scores (ln 3, 0) are probabilities 3/4 and 1/2; of the labels (yes, no) -(ln 3/4 + ln 1/2) / 2 = 0.490415.
    Focal 2: ((1/4)^2 ln(4/3) + (1/2)^2 ln 2) / 2 = 0.095633. Smoothing 0.2 of the first: targets 0.9 and 0.1."""
    one = {"labels": torch.tensor([[1.0, 0.0]])}
    smooth = -(0.9 * math.log(0.75) + 0.1 * math.log(0.25) + math.log(0.5)) / 2
    for options, expected in (({}, 0.490415), ({"focal": 2.0}, 0.095633), ({"smoothing": 0.2}, smooth)):
        task = tasks.make("multilabel", **options)
        task.fit([["a"], ["b"], []])
        assert task.loss(fixed(math.log(3), 0.0), None, one).item() == pytest.approx(expected, abs=1e-5)
        assert task.answer_loss(torch.tensor([[0.75, 0.5]]), one).item() == pytest.approx(expected, abs=1e-5)


def test_prior_and_sets_by_hand():
    task = tasks.make("multilabel", threshold=0.4)
    task.fit([["b", "a"], ["a"], [], ["a", "a"]])
    assert task.classes == ["a", "b"] and task.prior().tolist() == [0.75, 0.25]
    assert task.decode(np.array([[0.4, 0.39], [0.1, 0.9], [0.0, 0.0]])) == [["a"], ["b"], []]
    assert task.write(["a", "b"]) == "a;b" and task.settle(np.zeros((1, 2)), np.zeros((1, 3))) == ""


@pytest.mark.parametrize(("cell", "labels"), [
    ("red; round ;red", ["red", "round"]), ('["b", "a"]', ["a", "b"]), ("[]", []), ([], []), (("x", 3.0), ["3", "x"]),
    ("", None), (None, None), (float("nan"), None), (np.array(["q"]), ["q"]), (7, ["7"]),
])
def test_cells_of_labels(cell, labels):
    assert as_labels(cell) == labels


def test_cells_that_are_no_labels():
    for cell, words in (("[1, ", "begins as a list in JSON"), ([["a"]], "other than words")):
        with pytest.raises(BadCell, match=words):
            as_labels(cell)
    assert as_labels("a|b;c", separator="|") == ["a", "b;c"]


def test_lists_are_guessed_and_spread_by_their_rarest_label():
    assert guess_task("tags", [None, ["a"], []])[0] == "multilabel"
    assert strata("labels", [["a", "b"], ["a"], [], ["a"]]) == ["b", "a", "", "a"]


@given(st.integers(2, 12), st.integers(2, 4), st.integers(0, 10_000))
def test_measures_are_scikit_learns(n, width, seed):
    rng = np.random.default_rng(seed)
    p, true = rng.permutation(n * width).reshape(n, width) / (n * width) * 0.9 + 0.05, rng.random((n, width)) < 0.5
    found = Labels().judge(p, np.hstack([true, np.zeros((n, 1))]), Resamples(n, samples=3)).values
    said = p >= 0.5
    assert found["micro_f1"] == pytest.approx(theirs.f1_score(true, said, average="micro", zero_division=np.nan), nan_ok=True)
    occurs = (true | said).any(0)
    if occurs.any():
        each = [theirs.f1_score(true[:, c], said[:, c], zero_division=0) for c in np.flatnonzero(occurs)]
        assert found["macro_f1"] == pytest.approx(np.mean(each))
    assert found["subset_accuracy"] == pytest.approx((said == true).all(1).mean())
    assert found["hamming_loss"] == pytest.approx((said != true).mean())
    if width > 1:  # a single column is two classes to scikit-learn
        assert found["ranking_loss"] == pytest.approx(theirs.label_ranking_loss(true, p))
    if true.any():
        there = true.any(0)
        each = [theirs.average_precision_score(true[:, c], p[:, c]) for c in np.flatnonzero(there)]
        assert found["average_precision"] == pytest.approx(np.mean(each))
    each = [theirs.log_loss(true[:, c], p[:, c], labels=[0, 1]) for c in range(width)]
    assert found["log_loss"] == pytest.approx(np.mean(each))


def test_nothing_to_judge_has_no_figures():
    """No record at all: every measure is empty, in the value and in each resample."""
    found = Labels().judge(np.zeros((0, 3)), np.zeros((0, 4)), Resamples(0, samples=5), measures=["micro_f1", "log_loss"])
    assert set(found.values) == set(found.draws) == {"micro_f1", "log_loss"}
    assert all(math.isnan(value) for value in found.values.values())
    assert all(draws.shape == (5,) and np.isnan(draws).all() for draws in found.draws.values())


def test_a_label_unseen_in_training_is_missed():
    """Two records, both said rightly but for an unseen label of the second: F1 2*2/(2+2+1), one set of two right."""
    found = Labels().judge(np.eye(2), np.array([[1, 0, 0], [0, 1, 1]]), Resamples(2, samples=3)).values
    assert found["micro_f1"] == pytest.approx(0.8) and found["subset_accuracy"] == 0.5 and found["hamming_loss"] == 0


def test_thresholds_are_the_best_of_all():
    """No other threshold has a larger F1; rare labels keep one half."""
    rng = np.random.default_rng(0)
    true = rng.random((60, 3)) < [0.5, 0.2, 0.02]
    p = np.clip(0.3 * true + 0.6 * rng.random((60, 3)), 0, 1)
    found = best_thresholds(p, true)
    assert found[2] == 0.5
    for c in (0, 1):
        best = theirs.f1_score(true[:, c], p[:, c] >= found[c])
        others = [theirs.f1_score(true[:, c], p[:, c] >= t) for t in p[:, c]]
        assert best == pytest.approx(max(others))


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("limit", [10_000, 0], ids=["kernel", "primal"])
def test_rivals_are_logistic_regressions(monkeypatch, limit, filled):
    """One against the rest for each label, to 2e-3; the one C is that with the least mean log loss."""
    subset = ("dense", "words")
    monkeypatch.setattr(module, "_KERNEL_LIMIT", limit)
    monkeypatch.setattr(module, "subsets_of", lambda views: [subset])
    monkeypatch.setattr(Rivals, "_rank", lambda self, judged, yardstick: VIEWS)
    parts = [rival_records(n, 4, s) for n, s in ((240, 0), (200, 1), (60, 2))]

    def sets(y):
        return np.stack([y == 0, y >= 2, np.zeros(len(y))], 1).astype(float)

    (f, p, y), (fv, pv, yv), (ft, pt, _) = parts
    ours = Rivals.train(f, p, sets(y), fv, pv, sets(yv), views=VIEWS, classes=2, yardstick=Labels())
    x, xt = by_hand(f, p, f, p, subset), by_hand(ft, pt, f, p, subset)
    c = columns(subset)
    if filled:
        x, xt = np.hstack([x, p[:, c]]), np.hstack([xt, pt[:, c]])
    rows, judged = np.ones(len(y), bool) if filled else p[:, c].all(1), pt[:, c].all(1)
    strength = ours.strength(subset, filled=filled)
    mine = ours.answer(subset, ft, pt, filled=filled)[judged]
    for label in range(2):
        one = LogisticRegression(C=strength, tol=1e-6, max_iter=5000).fit(x[rows], sets(y)[rows, label])
        np.testing.assert_allclose(mine[:, label], one.predict_proba(xt[judged])[:, 1], atol=5e-3)
    again = Rivals.load(ours.state())
    np.testing.assert_array_equal(again.answer(subset, ft, pt), ours.answer(subset, ft, pt))


def test_mistakes_are_named():
    for options, words in (
        ({"threshold": 1.5}, "between 0 and 1"), ({"focal": -1}, "from 0 to 10"), ({"smoothing": 1}, "below 1"),
        ({"separator": " "}, "no space"),
    ):
        with pytest.raises(BadOption, match=words):
            tasks.make("multilabel", **options)
    with pytest.raises(BadTable, match="no label that some training records have and others lack"):
        tasks.make("multilabel").fit([["a"], ["a"]])


def test_a_model_of_labels(fitted, tmp_path):
    assert fitted.task_.name == "multilabel" and fitted.classes_.tolist() == ["large", "odd", "red"]
    unseen = things(80, 2)
    found = json.loads(json.dumps(fitted.evaluate(unseen, subsets=True, by="note", samples=40, measures="all"), allow_nan=False))
    ours, constant = (one["micro_f1"]["value"] for one in (found["scores"], found["baselines"]["majority"]))
    assert ours > 0.6 and ours > (constant or 0) + 0.1, (ours, constant)
    assert found["scores"]["log_loss"]["value"] < found["baselines"]["majority"]["log_loss"]["value"]
    assert {row["class"] for row in found["per_class"]} >= {"large", "red"} and found["mistakes"]
    said = fitted.predict(unseen)
    right = np.mean([labels == sorted(json.loads(row["tags"])) for labels, row in zip(said, unseen, strict=True)])
    assert found["records"] == 80 and any(row["tags"] == "[]" for row in unseen)  # the empty set is a target
    assert found["scores"]["subset_accuracy"]["value"] == pytest.approx(right)
    assert fitted.score(unseen) == pytest.approx(right)
    np.testing.assert_allclose(fitted.predict_proba([{}])[0], fitted.task_.prior(), atol=1e-6)
    fitted.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.predict(unseen).tolist() == said.tolist() and (again.task_.thresholds == fitted.task_.thresholds).all()
    text = as_text(found)
    assert "log loss by views present" in text and "shares in training" in text and "macro F1" in text
    for lang in ("en", "zh"):
        assert fitted.report(found, unseen, lang=lang).count("None") == 0
    assert "any of 3 labels" in (tmp_path / "m" / "README.md").read_text()


def test_a_late_fusion_and_a_given_threshold():
    made = tagged(fusion="mean", options={"task.threshold": 0.3, "task.focal": 1.0}).fit(things(60))
    assert made.task_.thresholds.tolist() == [0.3] * 3 and made.valid_["kind"] == "labels"


def test_through_the_door(tmp_path, capsys):
    """Labels between separators in a CSV file; predictions are written alike."""
    rows = things(60, cell=lambda labels: "|".join(labels) if labels else "[]")
    rows[4]["tags"] = ""
    table, model = tmp_path / "t.csv", tmp_path / "m"
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    said = polysense(
        capsys, "fit", table, "--target", "tags", "--out", model, "--task", "multilabel", "--set", "task.separator=|",
        "--set", "train.epochs=2", "--columns", "note=text", "--encoder", "note=text.plain",
    )[1]
    assert "3 labels" in said and "1 of 60 records has no target" in said and "kinder than on new records" in said
    lines = list(csv.reader(polysense(capsys, "predict", model, table)[0].splitlines()))
    assert lines[0] == ["row", "prediction", "probability_large", "probability_odd", "probability_red"]
    assert all(set(line[1].split("|")) <= {"large", "odd", "red", ""} for line in lines[1:])
    assert "micro F1" in polysense(capsys, "evaluate", model, table, "--measures", "samples_f1")[0]
    assert "into 3 labels" in polysense(capsys, "show", model)[0]


@pytest.mark.parametrize("typed", [True, False])
def test_an_empty_list_is_the_empty_set_and_an_empty_cell_is_missing(typed, tmp_path):
    """In a typed column as in text, in a list of records as in a file; of features an empty list stays missing."""
    rows = things(60, cell=list if typed else json.dumps)
    empty = sum(row["tags"] in ([], "[]") for row in rows)
    rows[0]["tags"], rows[1]["tags"] = None, [] if typed else "[]"
    file = tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for records in (rows, file):
        table = open_table(records, "tags", None, lambda note: None, "labels")
        assert len(table.rows) == 59 and table.targets[0] is None and table.targets[1] == [] and not table.faults
        assert sum(value == [] for value in table.targets) >= empty - 1 > 10
    assert as_records(rows).column("tags")[0] is None
    if typed:
        assert as_records(rows).column("tags")[1] is None
    for kind in ("numbers", "classes"):
        assert reader(kind)([]) is None


def test_a_notebook_shows_the_labels(fitted):
    """Each with its probability, none where none is said; a model of labels says so."""
    rows = things(12, 3)
    answers, html = fitted.answers(rows), fitted.answers(rows)._repr_html_()
    said, p = fitted.predict(rows)[:10], answers.answers
    for row, one in enumerate(said):
        text = ", ".join(f"{name} {p[row, fitted.task_.classes.index(name)]:.2f}" for name in one) or "no label"
        assert f">{text}<" in html
    assert "12 answers" in html and "and 2 more" in html and "any of 3 labels" in fitted._repr_html_()
    assert "nothing: the shares in training" in fitted.answers([{"size": None, "note": None}])._repr_html_()

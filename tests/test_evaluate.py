"""The JSON of an evaluation: its keys, what is judged on what, and who chose what."""

from __future__ import annotations

import json
import re
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysense.judge.card import limits as card_limits
from polysense.judge.detail import lowest
from polysense.judge.evaluate import as_text, evaluate
from polysense.judge.report import html
from polysense.talk import columns_of
from polysense.talk import fitted as _fitted
from polysense.learn.rivals import Rivals

VIEWS = ["a", "b", "c"]
S = {"accuracy", "macro_f1", "log_loss", "ece"}


def records(n: int, seed: int):
    """Three classes; view a tells much, b less, c nothing and is rare."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, n)
    features = {
        view: (np.eye(3)[targets] * gain + rng.normal(size=(n, 3))).astype(np.float32)
        for view, gain in zip(VIEWS, (2, 1, 0), strict=True)
    }
    return features, rng.random((n, 3)) < [0.9, 0.8, 0.15], targets


@cache
def rivals() -> Rivals:
    return Rivals.train(*records(300, 0), *records(150, 1), views=VIEWS, classes=3)


def judged(answer=None, *, seed: int = 2, n: int = 160, change=None, **options):
    """An evaluation of the filled rival of all views, or of another answerer."""
    features, present, targets = records(n, seed)
    if change:
        change(features, present, targets)
    answer = answer or (lambda mask: rivals().answer(VIEWS, features, mask, filled=True))
    options = {"rivals": rivals(), "features": features, "subsets": True, "samples": 200} | options
    return evaluate(
        answer, present, targets, views=VIEWS, classes=["x", "y", "z"], prior=rivals().prior, **options
    ), present, targets


def test_keys_are_those_of_the_design():
    found, _, _ = judged()
    json.dumps(found, allow_nan=False)
    assert {"records", "scores", "baselines", "subsets", "bad_cells"} <= set(found)
    assert set(found["baselines"]) == {"majority", "best_single", "concat_logistic"}
    assert found["baselines"]["best_single"]["view"] == rivals().best_single == "a"
    assert [row["present"] for row in found["subsets"]] == [
        ["a"], ["b"], ["c"], ["a", "b"], ["a", "c"], ["b", "c"], ["a", "b", "c"]
    ]
    for row in found["subsets"]:
        assert {"present", "records", "too_few", "scores", "best_single", "specialist", "specialist_filled",
                "difference", "difference_filled", "p", "p_holm"} <= set(row)
        for key in (
            "scores",
            "best_single",
            "specialist",
            "specialist_filled",
            "difference",
            "difference_filled",
        ):
            assert set(row[key]) >= S and set(row[key]["accuracy"]) == {"value", "low", "high"}
    assert set(found["scores"]) >= S | {"auroc", "macro_precision", "weighted_recall", "micro_f1"}


def test_a_subset_is_judged_on_the_records_that_have_all_of_it_and_shows_nothing_else():
    masks = []

    def answer(mask):
        masks.append(mask.copy())
        return np.full((len(mask), 3), 1 / 3)

    found, present, _ = judged(answer)
    assert (masks[0] == present).all()
    for mask, row in zip(masks[1:8], found["subsets"], strict=True):
        columns = np.isin(VIEWS, row["present"])
        having = present[:, columns].all(1)
        assert (mask == having[:, None] & columns).all() and row["records"] == having.sum()


def test_what_is_answered_for_records_without_any_view_is_not_read():
    """They get the prior; so does everything in a subset's answer that is not judged."""
    def change(features, present, targets):
        present[:40] = False

    def answer(mask):
        return np.where(mask.any(1)[:, None], [0.2, 0.3, 0.5], np.nan)

    found, _, targets = judged(answer, change=change)
    right = np.where(np.arange(160) < 40, rivals().prior.argmax(), 2) == targets
    assert found["scores"]["accuracy"]["value"] == pytest.approx(right.mean())


def test_baselines_by_hand():
    """Majority says training's most frequent class; so does the best single view where it is absent."""
    found, present, targets = judged()
    prior = rivals().prior
    assert found["baselines"]["majority"]["accuracy"]["value"] == (targets == prior.argmax()).mean()
    assert found["baselines"]["majority"]["log_loss"]["value"] == pytest.approx(
        -np.log(prior[targets]).mean()
    )
    features = records(160, 2)[0]
    alone = rivals().answer(("a",), features, present).argmax(1)
    assert (alone[~present[:, 0]] == prior.argmax()).all()
    assert found["baselines"]["best_single"]["accuracy"]["value"] == (alone == targets).mean()
    assert found["baselines"]["concat_logistic"] == found["scores"]  # the answerer of this test is that rival


def test_differences_are_model_minus_rival_on_the_same_records():
    """The answerer is the filled rival of all views: so the row of all views differs by zero."""
    found, _, _ = judged()
    for row in found["subsets"]:
        for rival, apart in (("specialist", "difference"), ("specialist_filled", "difference_filled")):
            for name in S:
                want = row["scores"][name]["value"] - row[rival][name]["value"]
                assert row[apart][name]["value"] == pytest.approx(want)
    assert found["subsets"][-1]["difference_filled"]["accuracy"] == {"value": 0, "low": 0, "high": 0}


def test_the_best_single_view_of_a_subset_is_one_of_its_own_and_chosen_before_the_test():
    """Test records that contradict validation change no choice."""
    def change(features, present, targets):
        features["a"][:] = 0

    found, _, _ = judged(change=change)
    for row in found["subsets"]:
        assert row["best_single"]["view"] == next(view for view in rivals().ranking if view in row["present"])
    assert found["baselines"]["best_single"]["view"] == "a"


def test_too_few_are_shown_and_not_counted():
    """c is rare: 45 of 300 training records. Holm's p and the mean are over the others."""
    found, _, _ = judged()
    few = {tuple(row["present"]) for row in found["subsets"] if row["too_few"]}
    assert few == {("c",), ("a", "c"), ("b", "c"), ("a", "b", "c")}
    for row in found["subsets"]:
        assert (row["p_holm"] is None) == row["too_few"]
        assert row["p"] is not None
    counted = [row for row in found["subsets"] if not row["too_few"]]
    mean = found["subsets_mean"]
    assert mean["counted"] == 3
    want = np.mean([row["difference"]["accuracy"]["value"] for row in counted])
    assert mean["difference"]["accuracy"]["value"] == pytest.approx(want)
    widths = [row["difference"]["accuracy"]["high"] - row["difference"]["accuracy"]["low"] for row in counted]
    assert (
        mean["difference"]["accuracy"]["high"] - mean["difference"]["accuracy"]["low"] <= max(widths) + 1e-9
    )


def test_a_worse_model_is_marked_and_an_equal_one_is_not():
    worse, _, _ = judged(lambda mask: np.tile([1.0, 0, 0], (len(mask), 1)))
    row = worse["subsets"][0]
    assert row["p_holm"] < 1e-3 and row["difference"]["accuracy"]["high"] < 0
    assert "WORSE" in as_text(worse) and "WORSE" not in as_text(judged()[0])


def test_no_records():
    found, _, _ = judged(n=0)
    assert found["records"] == 0 and found["scores"] is None and found["subsets"] == []
    assert found["baselines"] == {"majority": None, "best_single": None, "concat_logistic": None}
    assert "nothing to judge" in as_text(found)
    json.dumps(found, allow_nan=False)


def test_a_view_that_no_record_has():
    def change(features, present, targets):
        present[:, 2] = False
        features["c"] = np.zeros((len(targets), 0), np.float32)

    found, _, _ = judged(change=change)
    row = found["subsets"][2]
    assert row["records"] == 0 and row["too_few"] and row["scores"] is row["specialist"] is row["p"] is None
    assert "-" in as_text(found)
    json.dumps(found, allow_nan=False)


def test_without_rivals():
    found, _, _ = judged(lambda mask: np.full((len(mask), 3), 1 / 3), rivals=None, features=None)
    assert found["baselines"]["best_single"] is None and found["subsets"][0]["specialist"] is None
    assert found["subsets"][0]["scores"] and found["subsets"][0]["p_holm"] is None
    assert found["subsets_mean"]["difference"] is None
    json.dumps(found, allow_nan=False), as_text(found)


def test_classes_unseen_in_training_count_as_wrong_and_are_named():
    def change(features, present, targets):
        targets[:5] = -1

    found, _, targets = judged(change=change, unseen={"quokka": 5})
    assert "'quokka' (5)" in found["warnings"][0] and found["warnings"][0] in as_text(found)
    assert found["confusion"][-1] and sum(found["confusion"][-1]) == 5
    assert np.trace(np.array(found["confusion"][:3])) / 160 == found["scores"]["accuracy"]["value"]
    json.dumps(found, allow_nan=False)


def test_mistakes_are_the_most_confident_ones_by_their_row():
    found, _, targets = judged(rows=range(1000, 1160), mistakes=5)
    shown = found["mistakes"]
    assert len(shown) == 5 and all(one["truth"] != one["prediction"] for one in shown)
    assert [one["probability"] for one in shown] == sorted(
        (one["probability"] for one in shown), reverse=True
    )
    assert all(one["truth"] == ["x", "y", "z"][targets[one["row"] - 1000]] for one in shown)


def test_groups_widen_and_are_counted():
    """Forty groups of four that go right or wrong together say less than 160 records."""
    def answer(mask):
        right = np.random.default_rng(0).random(40) < 0.7
        _, _, targets = records(160, 2)
        said = np.where(np.repeat(right, 4), targets, (targets + 1) % 3)
        return np.eye(3)[said] * 0.9 + 0.03

    alone, _, _ = judged(answer, subsets=False)
    grouped, _, _ = judged(answer, subsets=False, groups=np.repeat(np.arange(40), 4))
    width = [one["scores"]["accuracy"]["high"] - one["scores"]["accuracy"]["low"] for one in (alone, grouped)]
    assert width[1] > 1.5 * width[0] and grouped["groups"] == 40 and alone["groups"] is None


def test_bad_cells_pass_through():
    cell = {"row": np.int64(3), "column": "photo", "reason": "no such file", "action": "masked"}
    found, _, _ = judged(subsets=False, bad_cells=[cell])
    assert found["bad_cells"] == [cell | {"row": 3}] and found["subsets"] == []
    json.dumps(found)


def test_the_text_fits_a_terminal():
    text = as_text(judged()[0])
    assert max(map(len, text.splitlines())) <= 110
    for words in (
        "accuracy",
        "best single view: a",
        "plain concatenation",
        "mean of 3 counted",
        "everything",
        "(few)",
    ):
        assert words in text


# --- by a column's values -------------------------------------------------------------------------


def by_hand(values, **options):
    """Sixteen records, of which every fourth is answered wrong: positions 0, 4, 8, 12."""
    n = len(values)
    targets = np.arange(n) % 2
    said = np.where(np.arange(n) % 4 == 0, 1 - targets, targets)
    return evaluate(
        lambda mask: np.eye(2)[said] * 0.8 + 0.1, np.ones((n, 1), bool), targets, views=["a"], classes=["x", "y"],
        prior=np.array([0.5, 0.5]), samples=200, by=("place", values), **options,
    )


def test_scores_by_value_are_those_of_the_value_alone():
    """Even positions hold A, odd ones B: A is right half the time, B always, all of them three quarters."""
    found = by_hand(["A", "B"] * 40)
    rows = {row["value"]: row for row in found["by"]["values"]}
    assert found["by"]["column"] == "place" and list(rows) == ["A", "B"]
    assert [rows[v]["scores"]["accuracy"]["value"] for v in "AB"] == [0.5, 1.0]
    assert [rows[v]["difference"]["accuracy"]["value"] for v in "AB"] == [-0.25, 0.25]
    assert rows["A"]["difference"]["accuracy"]["high"] < 0 < rows["B"]["difference"]["accuracy"]["low"]
    assert rows["A"]["records"] == 40 and not rows["A"]["too_few"]
    assert rows["B"]["scores"]["log_loss"]["value"] == pytest.approx(-np.log(0.9))
    assert lowest(found["by"])["value"] == "A"
    text = as_text(found)
    assert "lowest accuracy: A, below all records" in text and "by 'place'" in text
    json.dumps(found, allow_nan=False)


def test_few_records_are_shown_and_never_the_lowest():
    """B has 29 records, all wrong or right: too few; with one value left there is nothing to compare."""
    found = by_hand(["A"] * 51 + ["B"] * 29)
    assert [row["too_few"] for row in found["by"]["values"]] == [False, True]
    assert lowest(found["by"]) is None and "nothing to compare" in as_text(found) and "(few)" in as_text(found)


def test_many_values_and_empty_cells():
    """Forty words: thirty stand alone, ten are judged together; what is empty is a part of its own."""
    found = by_hand([f"w{i % 40:02}" for i in range(80)] + [None, "", float("nan")])
    rows = found["by"]["values"]
    assert [row["kind"] for row in rows] == ["value"] * 30 + ["others", "empty"]
    assert rows[30]["values"] == 10 and rows[30]["records"] == 20 and rows[31]["records"] == 3
    assert sum(row["records"] for row in rows) == 83
    assert "(10 others)" in as_text(found) and "(empty)" in as_text(found)


def test_many_numbers_are_cut_into_ranges_of_equal_mass():
    """0..99: twenty in each of five; equal numbers never part: a hundred zeros stay together."""
    rows = by_hand(list(range(100)))["by"]["values"]
    assert [(row["value"], row["records"]) for row in rows] == [
        ("0 – 19", 20), ("20 – 39", 20), ("40 – 59", 20), ("60 – 79", 20), ("80 – 99", 20)
    ]
    rows = by_hand([0.0] * 100 + list(range(1, 41)))["by"]["values"]
    assert rows[0]["value"] == "0 – 0" and rows[0]["records"] == 100 and sum(row["records"] for row in rows) == 140


def test_by_respects_groups():
    """Twenty groups of four, all of one value each: intervals are wider than over single records."""
    values = np.repeat(["A", "B"], 80).tolist()
    wide, narrow = (
        by_hand(values, groups=groups)["by"]["values"][0]["difference"]["accuracy"]
        for groups in (np.arange(160) % 4 + 4 * (np.arange(160) // 80), None)
    )
    assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])


@given(st.lists(st.sampled_from(["a", "b", "", "日本", None, "1", "2.5"]), min_size=1, max_size=60))
def test_every_record_is_in_one_value(values):
    rows = by_hand(values)["by"]["values"]
    assert sum(row["records"] for row in rows) == len(values) and all(row["records"] for row in rows)


# --- per class, by confidence, view by view -------------------------------------------------------


def test_figures_of_a_class_by_hand():
    """x: three records, two found, four said; so precision 1/2, recall 2/3, F1 4/7. z is never said, w never seen."""
    targets = np.array([0, 0, 0, 1, 1, 2, -1])
    said = np.array([0, 0, 1, 0, 1, 1, 0])
    found = evaluate(
        lambda mask: np.eye(4)[said], np.ones((7, 1), bool), targets, views=["a"], classes=list("xyzw"),
        prior=np.full(4, 0.25), samples=50,
    )
    rows = {row["class"]: row for row in found["per_class"]}
    assert list(rows) == ["x", "y", "z"]
    assert [rows["x"][m]["value"] for m in ("precision", "recall", "f1")] == pytest.approx([1 / 2, 2 / 3, 4 / 7])
    assert rows["x"]["records"] == 3 and rows["x"]["said"] == 4
    assert rows["x"]["taken_for"] == [{"class": "y", "records": 1}]
    assert rows["z"]["precision"]["value"] is None and rows["z"]["recall"]["value"] == 0 == rows["z"]["f1"]["value"]
    assert rows["x"]["recall"]["low"] <= 2 / 3 <= rows["x"]["recall"]["high"]


def test_the_reliability_curve_is_what_the_calibration_error_sums_up():
    found, _, _ = judged(subsets=False)
    bins = found["reliability"]["bins"]
    gaps = sum(one["records"] * abs(one["accuracy"]["value"] - one["confidence"]) for one in bins) / 160
    assert gaps == pytest.approx(found["scores"]["ece"]["value"])
    assert sum(found["reliability"]["histogram"]) == 160 == sum(one["records"] for one in bins)
    assert [one["confidence"] for one in bins] == sorted(one["confidence"] for one in bins)


def test_what_a_view_adds_is_judged_where_it_is_beside_others():
    """The answer is right where view a is shown and a coin's side without it; b and c add nothing."""
    _, _, targets = records(160, 2)
    coin = np.random.default_rng(0).integers(0, 3, 160)

    found, present, _ = judged(lambda mask: np.eye(3)[np.where(mask[:, 0], targets, coin)] * 0.9 + 0.03)
    rows = {row["view"]: row for row in found["worth"]}
    at = present[:, 0] & present[:, 1:].any(1)
    assert rows["a"]["records"] == at.sum()
    assert rows["a"]["adds"]["accuracy"]["value"] == pytest.approx(1 - (coin == targets)[at].mean())
    assert rows["b"]["adds"]["accuracy"] == {"value": 0, "low": 0, "high": 0}
    assert rows["c"]["records"] == (present[:, 2] & present[:, :2].any(1)).sum() and rows["c"]["too_few"]


def test_wide_letters_keep_the_columns_of_the_terminal():
    """A Chinese letter takes two columns: what stands right of the names begins at one place."""
    found, _, _ = judged()
    swap = {"a": "图片", "b": "文字", "c": "声音说明"}
    for row in found["subsets"]:
        row["present"] = [swap[view] for view in row["present"]]
    found["views"] = list(swap.values())
    lines = as_text(found).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("views "))
    rows = lines[start + 1 : start + 8]
    ends = {columns_of(line[: re.search(r"  \d\.\d{3}", line).start()]) for line in rows}
    assert any("图片" in line for line in rows) and len(ends) == 1
    assert columns_of(lines[start].split("  model")[0]) in ends
    assert _fitted("一二三四五", 7) == "一二三…" and columns_of(_fitted("一二三四五", 8)) == 8


def test_values_with_few_records_that_are_clearly_lower_are_named():
    found = by_hand(["A"] * 40 + ["B"] * 35 + ["C"] * 5)
    few = next(row for row in found["by"]["values"] if row["value"] == "C")
    few["difference"]["accuracy"] = {"value": -0.4, "low": -0.7, "high": -0.1}
    assert few["too_few"] and "(few): under 30 records; among them clearly lower: C" in as_text(found)
    few["difference"]["accuracy"] = {"value": -0.4, "low": -0.7, "high": 0.1}
    assert "clearly lower" not in as_text(found)


def test_a_lowest_value_above_the_whole_is_not_called_low():
    """Where the worst of the counted values still lies above all records, the few ones are to blame."""
    found = by_hand(["A"] * 40 + ["B"] * 40)
    for row in found["by"]["values"]:
        row["difference"]["accuracy"] = {"value": 0.1, "low": 0.05, "high": 0.2}
    assert "no counted value has a lower accuracy" in as_text(found) and "lowest accuracy" not in as_text(found)


@pytest.mark.parametrize(("n", "groups", "said"), [
    (1, None, "1 record"), (9, None, "9 records"), (10, None, None), (40, 2, "2 groups"), (40, 4, "4 groups"), (40, 5, None),
])
def test_too_few_for_intervals_is_said_in_text_report_and_both_languages(n, groups, said):
    """One record that is right shows 1.000 [1.000, 1.000], which tells nothing of another."""
    found, _, _ = judged(n=n, subsets=False, groups=None if groups is None else np.arange(n) % groups)
    text, pages = as_text(found), [html(found, title="t", lang=lang) for lang in ("en", "zh")]
    line = f"too few to say: the intervals rest on {said}, so they tell little of other records"
    assert (line in text) == (said is not None) == ("Too few to say" in pages[0]) == ("太少" in pages[1])
    limits = " ".join(card_limits({
        "recipe": {"group": "g", "on_bad": "mask"}, "classes": [], "towers": {}, "valid": found,
        "data": {"train": 5000, "valid": n, "absent": {}, "records": 9, "identical_in_train_and_valid": {}, "bad_cells": []},
    }))
    assert (f"Too few to say: the intervals rest on {said}" in limits) == (said is not None)

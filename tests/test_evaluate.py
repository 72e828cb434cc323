"""The JSON of an evaluation: its keys, what is judged on what, and who chose what."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest

from polysense.judge.evaluate import as_text, evaluate
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
    for mask, row in zip(masks[1:], found["subsets"], strict=True):
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

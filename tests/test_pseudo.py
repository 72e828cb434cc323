"""Pseudo-labels: by hand, leak-safe, kept only where they prove themselves, the same bits after a kill; where they help, they help."""

from __future__ import annotations

import csv
import os

import numpy as np
import pytest

from polysense import Model, load
from polysense.data.tables import divide, open_table, unlabelled
from polysense.errors import BadOption
from polysense.learn import pseudo
from polysense.learn.blend import Share
from polysense.learn.features import Views
from polysense.learn.tune import Verdict
from polysense.registry import tasks
from small import QUICK
from test_multilabel import things
from test_regress import polysense

OPTIONS = QUICK | {"train.pseudo": 0.8, "table.quantiles": 0}


def clusters(n: int, seed: int, labelled: int | None = None, spread: float = 0.75, width: int = 24) -> list[dict]:
    """Three clusters in ``width`` dimensions; only the first records have a target."""
    centres = np.random.default_rng(5).normal(size=(3, width)) * spread
    rng = np.random.default_rng(seed)
    which = np.append(np.arange(3), rng.integers(0, 3, n - 3))
    return [
        {**{f"x{j}": float(v) for j, v in enumerate(row)}, "label": f"c{c}" if labelled is None or i < labelled else None}
        for i, (row, c) in enumerate(zip(centres[which] + rng.normal(size=(n, width)), which, strict=True))
    ]


def fit(rows: list[dict], valid: list[dict] | None = None, checkpoints=None, resume: bool = False, **settings) -> Model:
    settings["options"] = OPTIONS | settings.get("options", {})
    return Model(settings.pop("target", "label"), **settings).fit(rows, valid=valid, checkpoints=checkpoints, resume=resume)


# parts -----------------------------------------------------------------------------------------------


def test_sure_answers_by_hand():
    """Of classes the largest probability counts, of labels the least sure one; nothing is taken of a record without views."""
    task = tasks.make("classify")
    task.fit(["a", "b", "c"])
    p = np.array([[0.9, 0.05, 0.05], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8], [1.0, 0.0, 0.0]])
    there = np.array([[True, False], [True, True], [False, True], [False, False]])
    found = pseudo.taken(task, p, there, np.array([7, 8, 9, 10]), 0.8)
    assert found.rows.tolist() == [7, 9] and found.labels["label"].tolist() == [0, 2] and found.asked == 4
    labels = {"label": np.array([1] * 7 + [-1] * 4)}
    assert found.joined(labels)["label"].tolist() == [1] * 7 + [0, -1, 2, -1] and labels["label"][7] == -1
    task = tasks.make("multilabel")
    task.fit([["x"], ["x", "y"], []])
    found = pseudo.taken(task, np.array([[0.95, 0.1], [0.95, 0.4], [0.05, 0.05]]), np.ones((3, 1), bool), np.arange(3), 0.9)
    assert found.rows.tolist() == [0, 2] and found.labels["labels"].tolist() == [[1, 0], [0, 0]]


def test_it_must_be_better_by_more_than_the_noise():
    """Differences -.5 and +.1: mean -.2, deviation .3, standard error .3/sqrt(2) = .212: not proven; all -.2: proven."""
    def verdict(losses, subsets=1.0):
        return Verdict(float(np.mean(losses)), None, subsets, Share(), np.array(losses))

    first = verdict([1.0, 1.0])
    assert not pseudo.proven(verdict([0.5, 1.1]), first) and pseudo.proven(verdict([0.8, 0.8]), first)
    assert not pseudo.proven(verdict([0.8, 0.8], subsets=1.1), first) and not pseudo.proven(first, first)


def test_no_record_of_validation_nor_of_its_groups_is_taken():
    """Rows of other groups and of the split's train only; a target that cannot be read is no empty one."""
    rows = [{"x": i, "y": y, "who": who, "part": part} for i, (y, who, part) in enumerate([
        (1.0, "a", "train"), (2.0, "b", "valid"), (None, "a", "train"), (None, "b", "train"), (None, "c", "test"),
        (None, None, "train"), ("odd", "d", "train"), (3.0, None, "valid"),
    ])]
    tables = [open_table(rows, "y", None, lambda note: None, "numbers")]
    train, valid = divide(tables, split="part", group="who", seed=0, say=lambda note: None)
    assert unlabelled(tables, split="part", group="who", apart=valid).tolist() == [2, 5]
    assert unlabelled(tables, split=None, group=None, apart=valid).tolist() == [2, 3, 4, 5]
    other = open_table([{"x": 1, "y": 1.0, "who": "a"}, {"x": 1, "y": None, "who": "z"}], "y", None, lambda note: None, "numbers")
    apart = len(rows) + other.rows
    assert unlabelled([*tables, other], split=None, group="who", apart=apart).tolist() == [3, 4, 5], "groups of another table too"


@pytest.mark.parametrize("value", [1.5, -0.1, "most"])
def test_what_is_no_probability_is_refused(value):
    with pytest.raises(BadOption, match=r"train.pseudo=.* must be a number from 0 to 1"):
        fit(clusters(9, 0), options={"train.pseudo": value})


def test_numbers_are_refused_in_one_sentence():
    rows = [{"x": float(i), "price": i / 7} for i in range(60)]
    with pytest.raises(BadOption, match="asks how sure an answer is, and the task 'regress' has no probability"):
        fit(rows, target="price")


# where it helps, and where not -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def helped() -> tuple[Model, Model]:
    """Nine labels and six hundred records of well-filled clusters, without and with pseudo-labels."""
    rows, valid = clusters(600, 1, 9, spread=0.85), clusters(90, 2, spread=0.85)
    wide = {"train.epochs": 10, "train.dim": 32}
    return tuple(fit(rows, valid, options=wide | {"train.pseudo": least}) for least in (0.0, 0.7))


def test_few_labels_and_many_records_in_clusters(helped, tmp_path):
    """The second training is kept and far better on records that neither has seen; it is saved and told."""
    plain, made = helped
    test = clusters(600, 3, spread=0.85)
    before, after = (one.evaluate(test, samples=2)["scores"] for one in helped)
    assert 1 - after["accuracy"]["value"] < 0.5 * (1 - before["accuracy"]["value"])
    assert after["log_loss"]["value"] < 0.6 * before["log_loss"]["value"]
    facts = made.made_["pseudo"]
    assert facts["kept"] == "second" and facts["records"] == 591 and facts["taken"] > 200 and facts["from"] == 0.7
    assert facts["second"]["loss"] < facts["first"]["loss"] and "pseudo" not in plain.made_
    made.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert (again.predict_proba(test[:9]) == made.predict_proba(test[:9])).all() and again.made_["pseudo"] == facts
    assert "pseudo" in made.report(made.evaluate(test[:60]), test[:60])


def test_what_does_not_prove_itself_leaves_the_first_training_untouched(capsys):
    """Clusters that lie in each other: sure answers are wrong ones. A trained encoder comes back, too."""
    rows, valid, test = clusters(160, 1, 40, spread=0.05), clusters(60, 2, spread=0.05), clusters(40, 3)
    for row in (*rows, *valid):
        row["note"] = f"it is {row['label'] or 'c0'} or so" if row["x0"] > 0 else "nothing is said here"
    settings = {"encoders": {"note": "text.bag"}, "columns": {"note": "text"}}
    plain = fit(rows, valid, options={"train.pseudo": 0.0}, **settings)
    made = fit(rows, valid, options={"train.pseudo": 0.4}, verbose=True, **settings)
    assert made.made_["pseudo"]["kept"] == "first" and made.made_["pseudo"]["taken"] > 20
    assert "did not prove itself" in capsys.readouterr().err
    assert (made.predict_proba(test) == plain.predict_proba(test)).all() and made.history_ == plain.history_


def test_nothing_to_take_is_said(capsys):
    """No record without a target; no sure answer; no validation."""
    rows = clusters(40, 1)
    assert fit(rows, verbose=True).made_.get("pseudo") is None
    assert "every record has a target or a group of validation" in capsys.readouterr().err
    made = fit(clusters(60, 1, 40), clusters(30, 2), options={"train.pseudo": 1.0}, verbose=True)
    assert made.made_["pseudo"]["second"] is None and made.made_["pseudo"]["taken"] == 0
    assert "0 of 20 records without a target were answered with at least 1; there is nothing" in capsys.readouterr().err
    fit([row | {"part": "train"} for row in clusters(60, 1, 40)], split="part", verbose=True)
    assert "none, for 0 validation records can prove nothing, 30 are needed" in capsys.readouterr().err
    made = fit(clusters(60, 1, 40), clusters(29, 2), verbose=True)
    assert "none, for 29 validation records can prove nothing" in capsys.readouterr().err and "pseudo" not in made.made_


def test_sets_of_labels():
    rows = things(240)
    for row in rows[40:]:
        row["tags"] = None
    made = fit(rows, things(60, 1), target="tags", columns={"note": "text"}, encoders={"note": "text.plain"}, task="multilabel")
    facts = made.made_["pseudo"]
    assert facts["records"] == 200 and 0 < facts["taken"] <= 200
    again = fit(rows, things(60, 1), target="tags", columns={"note": "text"}, encoders={"note": "text.plain"}, task="multilabel")
    assert (again.predict_proba(rows[:9]) == made.predict_proba(rows[:9])).all() and again.made_["pseudo"] == facts


@pytest.mark.parametrize("how", [{"folds": 3}, {"seeds": 2}])
def test_several_models_take_them_too(how):
    """Of folds no model is given a record of a group that it is judged on or validates on."""
    rows = [row | {"who": f"w{i % 40}"} for i, row in enumerate(clusters(120, 1, 60))]
    valid = [row | {"who": f"v{i}"} for i, row in enumerate(clusters(36, 2))]
    for i in range(5):
        valid[i]["who"] = f"w{i}"  # their records without a target are left out
    made = fit(rows, valid, group="who", **how)
    for one in made.several_.models:
        assert one.data_report_["without_target"] == one.made_["pseudo"]["records"] > 0
        judged = 60 // 3 if "folds" in how else 0  # a third of the groups is judged; each has one or two records without
        assert one.made_["pseudo"]["records"] <= 60 - 5 - judged // 2
    assert made.valid_["records"] == (60 if "folds" in how else 36)


# unfinished ------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for SIGKILL where a process of its own would take too long."""


def test_killed_anywhere_it_ends_in_the_same_bits(tmp_path, monkeypatch):
    """In the first training, before the second one, in it and after it; a checkpoint is written after every batch."""
    rows, valid, test = clusters(200, 1, 30), clusters(60, 2), clusters(20, 3)
    options = {"train.checkpoint": 0, "train.batch": 16, "train.pseudo": 0.6}
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    whole = fit(rows, valid, options=options)
    assert whole.made_["pseudo"]["kept"] == "second", "the second training must be what is compared"
    real, left = Views.batch, [0]

    def batch(self, picked, device="cpu"):
        import torch

        if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        return real(self, picked, device)

    monkeypatch.setattr(Views, "batch", batch)
    kills, seen = 0, set()
    for batches in (3, 3, 1, 4, 9, 1, 10_000):
        left[0] = batches
        try:
            made = fit(rows, valid, checkpoints=tmp_path / "f", resume=kills > 0, options=options)
        except Killed:
            kills += 1
            seen |= {path.name.partition("-")[0] for path in (tmp_path / "f").iterdir()}
    assert kills == 6 and {"stage", "step", "again"} <= seen
    assert (made.predict_proba(test) == whole.predict_proba(test)).all() and made.history_ == whole.history_
    assert made.made_["pseudo"] == whole.made_["pseudo"]


def test_through_the_door(tmp_path, capsys):
    """Records with an empty target are counted, answered and told of."""
    rows, table = clusters(300, 1, 160), tmp_path / "t.csv"
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    fit = ["fit", table, "--target", "label", "--out", tmp_path / "m", "--set", "train.epochs=3"]
    said = polysense(capsys, *fit, "--set", "train.pseudo=0.7")[1]
    assert "140 of 300 records have no target" in said and "of 140 records without a target were answered with at least 0.7" in said
    assert "pseudo-labels" in polysense(capsys, "show", tmp_path / "m")[0]

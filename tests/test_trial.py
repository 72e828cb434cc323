"""``VIEW=auto``: encoders tried on validation records, the cheaper of equals chosen, remembered and shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import polysense.model as model_file
from polysense import Model, cli, estimator, store
from polysense.data.cache import Cache
from polysense.errors import BadOption
from polysense.judge.facts import shown_made
from polysense.learn import trial
from polysense.learn.plan import named_views
from polysense.learn.rivals import Rivals
from polysense.learn.trial import _Budget, candidates, choose, fitting, table
from polysense.modality.towers_known import Tower
from polysense.registry import encoders
from small import QUICK, model, records
from tiny import tiny_towers  # noqa: F401  (a fixture)

BRIEF = {"auto.epochs": 1, "auto.seconds": 30.0, "train.epochs": 1, "text.dim": 8}
#: Of the encoders trained from scratch only one is tried here, for speed.
TEXTS = ["text.plain", "text.bag", "text.pretrained"]


@pytest.fixture(autouse=True)
def few_encoders(monkeypatch):
    """No tower is on disk, and the shelf of texts is short."""
    monkeypatch.setattr(trial, "on_disk", lambda tower: tower.summary == "tiny")

    class Short(type(encoders)):
        def __iter__(self):
            return iter([name for name in encoders if not name.startswith("text.") or name in TEXTS])

    short = Short.__new__(Short)
    short.__dict__ = encoders.__dict__
    monkeypatch.setattr(trial, "shelf", short)


@pytest.fixture
def tiny_on_disk(monkeypatch, tiny_towers):
    """A tiny tower stands on the list."""
    tower = Tower(str(tiny_towers("text")), "text", ("en",), "x", "", "", "MIT", 16, "tiny")
    monkeypatch.setattr(trial, "TOWERS", [tower])
    return tower.name


def fitted(views="text", data=None, **settings):
    settings["options"] = BRIEF | settings.get("options", {})
    return model(views, **settings).fit(data if data is not None else records(160, views=views, missing=0.0))


# --- the rule ------------------------------------------------------------------------------------


def entry(name, weights):
    return {"encoder": name, "weights": weights}


def test_the_rule_by_hand():
    """Differences to the best of 0.2, 0, 0.4, 0: mean 0.15, deviation 0.1915, standard error 0.0957: not near.

    Of 0.2, -0.2, 0.4, -0.1: mean 0.075, deviation 0.275, error 0.1377: near.
    """
    best = np.array([1.0, 1.0, 1.0, 1.0])
    losses = {"big": best, "far": best + [0.2, 0, 0.4, 0], "near": best + [0.2, -0.2, 0.4, -0.1]}
    made = choose([entry("far", 1), entry("near", 5), entry("big", 9)], losses)
    behind = {one["encoder"]: (one["behind"], one["error"]) for one in made["tried"]}
    assert behind["far"] == pytest.approx((0.15, 0.09574), abs=1e-4)
    assert behind["near"] == pytest.approx((0.075, 0.13769), abs=1e-4)
    assert behind["big"] == (0, 0)
    assert (made["chosen"], made["why"]) == ("near", "fewest weights of those within a standard error of big")
    assert choose([entry("near", 5), entry("big", 4)], losses)["chosen"] == "big"
    assert choose([entry("far", 1), entry("big", 4)], losses) | {"tried": 0} == {"chosen": "big", "why": "least loss", "tried": 0}


def test_what_was_left_out_is_never_chosen():
    losses = {"a": np.array([1.0, 2.0])}
    made = choose([{"encoder": "b", "left_out": "no time"}, entry("a", 7)], losses)
    assert made["chosen"] == "a" and "behind" not in made["tried"][0]


def test_the_table_shows_the_best_first_and_marks_the_chosen():
    facts = {"chosen": "b", "why": "least loss", "unit": "log loss", "records": 1200, "valid": 40, "tried": [
        {"encoder": "slow", "left_out": "no time left", "cpu_seconds": 0.0},
        {"encoder": "a", "loss": 2.0, "weights": 1_000, "cpu_seconds": 1.25, "by": "regression"},
        {"encoder": "b", "loss": 1.5, "weights": 5, "cpu_seconds": 0.5, "by": "short training"},
    ]}
    lines = table("title", facts).split("\n")
    assert lines[0].startswith("title: 3 encoders tried on 1,200 training and 40 validation records of this view alone")
    assert lines[1].split() == ["*", "b", "1.500", "0.5", "5", "short", "training"]
    assert lines[2].split() == ["a", "2.000", "1.2", "1,000", "regression"]
    assert lines[3].split()[:3] == ["slow", "left", "out:"] and lines[4] == "  * chosen: least loss"


def test_candidates_are_all_encoders_that_could_be_used(tiny_on_disk):
    text = candidates("text")
    assert text == [("text.plain", {}), ("text.pretrained", {"tower": tiny_on_disk}), ("text.bag", {})]
    image = [name for name, _ in candidates("image")]
    assert image[0] == "image.plain" and image[1] == "image.cnn" and "image.pretrained" not in image, "no image tower on disk"
    assert set(image) == {name for name in encoders if name.startswith("image.")} - {"image.pretrained"}


def test_a_budget_is_shared_and_what_is_left_goes_on(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(trial.time, "monotonic", lambda: now[0])
    budget = _Budget(12.0, 3)
    with budget as left:
        assert left() == 4
        now[0] += 1
        assert left() == 3
    with budget as left:  # 11 seconds for two
        assert left() == 5.5
        now[0] += 11
    with pytest.raises(trial._NoTime, match="no time left of auto.seconds"), budget:
        raise AssertionError


# --- fits ----------------------------------------------------------------------------------------


def test_everything_is_tried_on_the_view_alone_and_remembered(tiny_on_disk, tmp_path, capsys):
    made = fitted("text table", encoders={"text": "auto"}, verbose=True)
    facts = made.made_["tried"]["text"]
    tried = {one["encoder"]: one for one in facts["tried"]}
    assert set(tried) == {"text.plain", f"text.pretrained:{tiny_on_disk}", "text.bag"}
    assert all(one["loss"] > 0 and one["cpu_seconds"] >= 0 for one in tried.values())
    assert [one["by"] for one in facts["tried"]] == ["regression", "regression", "short training"]
    assert tried["text.plain"]["weights"] == 0, "features are counted, not learned"
    assert tried["text.bag"]["weights"] % 9 == 0 < tried["text.bag"]["weights"], "8 numbers and a weight for each subword"
    on_file = (Path(tiny_on_disk) / "model.safetensors").stat().st_size
    assert tried[f"text.pretrained:{tiny_on_disk}"]["weights"] == on_file // 4
    assert facts["chosen"] in tried and made._encoders()["text"] == facts["chosen"]
    said = capsys.readouterr().err
    assert table("text", facts) in said and "text  <- " in said and ": auto" in said
    made.save(tmp_path / "m")
    assert store.load(tmp_path / "m")[0]["made"]["tried"]["text"] == facts
    again = Model.load(tmp_path / "m")
    assert again.made_["tried"]["text"] == facts and again.encoders["text"] == facts["chosen"]
    assert f"* {facts['chosen']}" in cli._about_model(tmp_path / "m")
    shown = shown_made(again.made_, {}, {}, {"": 0.5}, "x", {"": "classes"})["tried"]["text"]
    assert set(shown) == set(tried) and f" * {facts['why']}" in shown[facts["chosen"]]
    assert "log loss" in shown["text.bag"] and "short training" in shown["text.bag"]


def test_a_frozen_candidate_is_judged_by_the_rivals_own_regression():
    """The loss of text.plain again, from its outputs and ``Rivals`` alone."""
    data = records(160, views="text", missing=0.1)
    made = Model("label", encoders={"text": "auto"}, options=QUICK | {"auto.seconds": 0.0, "train.epochs": 1})
    made.fit(data[:100], valid=data[100:])
    one = next(one for one in made.made_["tried"]["text"]["tried"] if one["encoder"] == "text.plain")
    have = [[one for one in part if one["text"]] for part in (data[:100], data[100:])]
    encoder = encoders.make("text.plain")
    encoder.fit([one["text"] for one in have[0]])
    blocks = [{"": encoder.prepare([one["text"] for one in part])["x"]} for part in have]
    classes = sorted({one["label"] for one in data})
    labels = [np.array([classes.index(one["label"]) for one in part]) for part in have]
    here = [np.ones((len(part), 1), bool) for part in have]
    rivals = Rivals.train(blocks[0], here[0], labels[0], blocks[1], here[1], labels[1], views=[""], classes=3)
    answers = rivals.answer(("",), blocks[1], here[1])
    assert one["loss"] == pytest.approx(-np.log(answers[np.arange(len(labels[1])), labels[1]]).mean(), abs=1e-4)
    assert made.made_["tried"]["text"]["valid"] == len(labels[1])


def test_only_training_and_validation_records_are_read(monkeypatch):
    """Rows that the split calls test are asked for by nobody."""
    data = records(200, views="text", missing=0.0)
    for i, one in enumerate(data):
        one["part"] = ("train", "valid", "test", "train")[i % 4]
    read = set()
    real = trial._by_regression

    def spy(encoder, cells, train_rows, valid_rows, judge, **more):
        read.update(np.flatnonzero(cells.present).tolist())
        assert not set(train_rows.tolist()) & set(valid_rows.tolist())
        assert all(data[i]["part"] == "train" for i in train_rows) and all(data[i]["part"] == "valid" for i in valid_rows)
        return real(encoder, cells, train_rows, valid_rows, judge, **more)

    monkeypatch.setattr(trial, "_by_regression", spy)
    fitted(data=data, split="part", encoders={"text": "auto"}, options={"auto.seconds": 0.0})
    assert read and all(data[i]["part"] != "test" for i in read)


def test_a_limit_of_records_holds_for_every_candidate():
    made = fitted(encoders={"text": "auto"}, options={"auto.records": 40, "auto.seconds": 0.0}, data=records(250, views="text", missing=0.0))
    facts = made.made_["tried"]["text"]
    assert facts["records"] == 40 and facts["valid"] == 40


def test_without_time_nothing_is_trained_and_a_view_without_frozen_encoders_keeps_its_default():
    made = Model("label", encoders={"*": "auto"}, options=QUICK | BRIEF | {"auto.seconds": 0.0})
    made.fit(records(160, views="text table", missing=0.0))
    text, mixed = made.made_["tried"]["text"], made.made_["tried"]["table"]
    left = {one["encoder"]: one.get("left_out") for one in text["tried"]}
    assert left["text.plain"] is None and "no time left of auto.seconds" in left["text.bag"]
    assert mixed["chosen"] == "table.mlp" and mixed["why"].startswith("nothing could be tried; the default")


def test_too_few_validation_records_keep_the_default(capsys):
    made = fitted(data=records(60, views="text"), encoders={"text": "auto"}, verbose=True)
    facts = made.made_["tried"]["text"]
    assert facts["tried"] == [] and facts["why"].startswith("fewer than 30 training or validation records have it")
    assert "text: nothing tried" in capsys.readouterr().err
    assert shown_made(made.made_, {}, {}, {"": 0.5}, "x", {"": "classes"})["tried"]["text"] == {facts["chosen"]: facts["why"]}


def test_a_candidate_that_refuses_is_named_and_left_out(monkeypatch):
    made = fitted(encoders={"text": "auto"}, options={"text.vocabulary": 5})
    tried = {one["encoder"]: one for one in made.made_["tried"]["text"]["tried"]}
    assert "option 'vocabulary' is 5" in tried["text.bag"]["left_out"] and made.made_["tried"]["text"]["chosen"] == "text.plain"


def test_an_unfinished_fit_does_not_try_again(monkeypatch, tmp_path):
    """Killed after the choice, the next run reads it; the model has the bits of an undisturbed one."""
    data = records(160, views="text", missing=0.0)
    settings = {"encoders": {"text": "auto"}, "options": BRIEF, "data": data}
    whole = fitted(**settings)
    real, later = trial.try_encoders, estimator.choose_encoders

    def killed(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(estimator, "choose_encoders", killed)
    with pytest.raises(KeyboardInterrupt):
        model("text", encoders={"text": "auto"}, options=BRIEF).fit(data, checkpoints=tmp_path / "f")
    monkeypatch.setattr(estimator, "choose_encoders", later)
    monkeypatch.setattr(model_file, "try_encoders", killed)
    again = model("text", encoders={"text": "auto"}, options=BRIEF).fit(data, checkpoints=tmp_path / "f", resume=True)
    assert real is trial.try_encoders and again._encoders() == whole._encoders()
    assert np.array_equal(again.predict_proba(data), whole.predict_proba(data))


def test_what_is_tried_changes_nothing_of_a_fit():
    """The same encoder by its name gives the same bits: trying uses up no random number."""
    data = records(160, views="text", missing=0.0)
    tried = fitted(data=data, encoders={"text": "auto"})
    options = fitting({"text": {"dim": 8}}, tried.made_["tried"])["text"]
    named = model("text", encoders=tried._encoders(), options={
        **{key: value for key, value in BRIEF.items() if not key.startswith(("text.", "auto."))},
        **{f"text.{key}": value for key, value in options.items()},
    }).fit(data)
    assert np.array_equal(tried.predict_proba(data), named.predict_proba(data))


# --- what is asked for ---------------------------------------------------------------------------


def test_all_other_views():
    assert named_views(None, ["a"]) == {} and named_views({"a": "x"}, ["a", "b"]) == {"a": "x"}
    module = torch.nn.Identity()
    assert named_views({"*": "auto", "a": module}, ["a", "b", "c"]) == {"a": module, "b": "auto", "c": "auto"}
    with pytest.raises(BadOption, match="encoder 'text.bag' is given for all views; only 'auto' suits them all"):
        named_views({"*": "text.bag"}, ["a"])


@pytest.mark.parametrize(("settings", "said"), [
    ({"options": {"text.colour": 1}}, "no encoder of text views such as 'text' has the option 'text.colour'"),
    ({"options": {"auto.records": 3}}, "auto.records=3 must be a whole number of at least 30"),
    ({"options": {"auto.epochs": 0}}, "auto.epochs=0 must be a whole number of at least 1"),
    ({"options": {"auto.seconds": -1}}, "auto.seconds=-1 must be a number of at least 0"),
    ({"options": {"auto.minutes": 1}}, "auto has no option 'auto.minutes'"),
])
def test_mistakes_are_told_before_any_work(monkeypatch, settings, said):
    monkeypatch.setattr(model_file, "try_encoders", lambda *args, **more: pytest.fail("too late"))
    with pytest.raises(BadOption, match=said):
        model("text", encoders={"text": "auto"}, **settings).fit(records(60, views="text"))


def test_several_processes_are_refused(monkeypatch):
    from polysense.learn import plan

    monkeypatch.setattr(plan.processes, "count", lambda: 2)
    with pytest.raises(BadOption, match="'text=auto' tries encoders in one process; run it without torchrun"):
        model("text", encoders={"text": "auto"}).fit(records(60, views="text"))


def test_at_the_door(monkeypatch, tmp_path, capsys):
    """``--encoder auto`` tries every view that is not named; ``show`` tells what came of it."""
    import csv

    with (tmp_path / "t.csv").open("w", newline="") as file:
        rows = records(160, views="text table", missing=0.0)
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    typed = ["--encoder", "auto", "--encoder", "table=table.mlp", "--set", "auto.seconds=0", "--set", "train.epochs=1"]
    monkeypatch.setattr(sys, "argv", ["polysense", "fit", str(tmp_path / "t.csv"), "--target", "label", *typed,
                                      "--out", str(tmp_path / "m")])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code in (0, None)
    assert "text: 2 encoders tried on" in capsys.readouterr().err
    facts, _ = store.load(tmp_path / "m")
    assert set(facts["made"]["tried"]) == {"text"} and facts["recipe"]["encoders"]["table"] == "table.mlp"


def test_outputs_of_towers_come_from_the_cache(tiny_on_disk, monkeypatch):
    """The second trial runs no tower."""
    data = records(160, views="text", missing=0.0)
    settings = {"encoders": {"text": "auto"}, "options": {"auto.seconds": 0.0}, "data": data, "cache": True}
    monkeypatch.setattr("polysense.learn.features.KEPT_BYTES", 0)
    first = fitted(**settings).made_["tried"]["text"]
    from polysense.modality.text_tower import PretrainedText

    monkeypatch.setattr(PretrainedText, "prepare", lambda self, values: pytest.fail("the tower ran again"))
    if first["chosen"] == "text.plain":
        second = fitted(**settings).made_["tried"]["text"]
        assert [one.get("loss") for one in second["tried"]] == [one.get("loss") for one in first["tried"]]
    assert Cache().folder is not None

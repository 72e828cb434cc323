"""Several targets at once: by hand, what is unknown, options, faults, and everything a user does with such a model."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from polysense import Model, load, store
from polysense.data.tables import open_targets
from polysense.data.targets import named, strata
from polysense.errors import BadColumn, BadOption, BadTable, PolysenseError
from polysense.judge.card import of_targets
from polysense.judge.evaluate import as_text
from polysense.learn.beside import aims_of, unit
from polysense.learn.plan import Plan
from polysense.learn.rivals import Rivals
from polysense.learn.trial import Judge
from polysense.learn.tune import weigh_each
from polysense.registry import tasks
from polysense.tokens import Tokens
from small import QUICK
from test_regress import polysense
from tiny import tiny_towers  # noqa: F401  (a fixture)

NAMES = ["price", "kind", "tags"]


def things(n: int = 90, seed: int = 0, gaps: float = 0.15) -> list[dict]:
    """A number, a class and labels that a number and a word tell of; some of them unknown."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        size, red = rng.normal(), rng.random() < 0.5
        row = {
            "size": round(size, 4), "note": "a red thing" if red else "a blue thing",
            "price": round(2 * size + 3 * red + 0.1 * rng.normal(), 3), "kind": "big" if size > 0 else "small",
            "tags": json.dumps([name for name, there in (("large", size > 0.4), ("red", red)) if there]),
        }
        rows.append(row | {name: None for name in NAMES if rng.random() < gaps})
    return rows


def made(target="price,kind,tags", **settings) -> Model:
    settings["options"] = QUICK | settings.get("options", {})
    settings.setdefault("encoders", {"note": "text.plain"})
    settings.setdefault("task", "tags=multilabel")
    return Model(target, columns={"note": "text"}, **settings)


@pytest.fixture(scope="module")
def fitted() -> Model:
    return made(options={"train.epochs": 12}).fit(things(150), valid=things(80, 1))


def three(**options):
    """A task of three targets, fitted to four records."""
    task = tasks.make("multitask", targets=[
        {"target": "price", "task": "regress"}, {"target": "kind", "task": "classify", "options": {"smoothing": 0.0}},
        {"target": "tags", "task": "multilabel"},
    ], **options)
    task.fit([(1.0, "a", ["x"]), (3.0, "b", []), (None, "b", None), (2.0, None, ["x", "y"])])
    return task


def test_the_loss_is_a_weighted_mean_over_what_is_known_by_hand():
    """Standardised targets z of 1, 3, 2 are -1.2247, 1.2247, 0. All heads say zero: the number's loss is z^2, the class's
    ln 2, the labels' ln 2. Weights 2, 1, 1: (2 * 1.5 + 2 ln 2) / 4 = 1.0966 where all is known; ln 2 where one class is;
    (2 * 0 + ln 2) / 3 without the class."""
    task = three(weights="price=2")
    head = task.head(4)
    for parameter in head.parameters():
        parameter.data.zero_()
    targets = {key: torch.as_tensor(value) for key, value in task.encode(
        [(1.0, "a", ["x"]), (None, "b", None), (2.0, None, ["x", "y"])]
    ).items()}
    fused = Tokens.single(torch.ones(3, 4))
    expected = torch.tensor([(2 * 1.5 + 2 * math.log(2)) / 4, math.log(2), math.log(2) / 3])
    torch.testing.assert_close(task.loss(head, fused, targets), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(task.answer_loss(task.answer(head, fused), targets), expected, atol=1e-5, rtol=0)


def test_what_is_unknown_teaches_nothing_and_is_never_read():
    """A head whose target no record has gets no gradient, and whatever stands in the gap changes no bit."""
    task = three()
    head, fused = task.head(4), Tokens.single(torch.randn(2, 4))
    targets = {key: torch.as_tensor(value) for key, value in task.encode([(1.0, None, ["x"]), (2.0, None, [])]).items()}
    loss = task.loss(head, fused, targets)
    loss.sum().backward()
    assert all(parameter.grad.abs().sum() == 0 for parameter in head["kind"].parameters())
    assert all(parameter.grad.abs().sum() > 0 for name in ("price", "tags") for parameter in head[name].parameters())
    spoilt = targets | {"1 label": torch.tensor([1, 0])}
    assert torch.equal(task.loss(head, fused, spoilt), loss)


def test_answers_stand_beside_each_other():
    """The prior by hand: the mean is 0 of standardised numbers, classes 1/3 and 2/3, labels 2/3 and 1/3; restored it is 2."""
    task = three()
    np.testing.assert_allclose(task.prior(), [0, 1 / 3, 2 / 3, 2 / 3, 1 / 3], atol=1e-6)
    assert task.restore(task.prior()[None])[0, 0] == 2.0
    assert task.decode(np.array([[5.0, 0.9, 0.1, 0.6, 0.4]])) == [(5.0, "a", ["x"])]
    assert [(part.name, part.columns.start, part.columns.stop) for part in task.parts()] == [
        ("price", 0, 1), ("kind", 1, 3), ("tags", 3, 5)
    ]
    assert task.watch(np.zeros((1, 5)), task.encode([(None, None, None)])) == {}


def test_a_watched_loss_is_the_weighted_mean_of_the_known():
    """A number off by one deviation (loss 1, weight 3) and a sure class (loss 0, weight 1) make 3/4; labels are unknown."""
    task = three(weights={"price": 3})
    deviation = task.parts()[0].task.deviation
    found = task.watch(np.array([[0.0, 1.0, 0.0, 0.5, 0.5]]), task.encode([(2.0 + deviation, "a", None)]))
    assert found["loss"] == pytest.approx(0.75) and found["kind accuracy"] == 1 and "tags loss" not in found


def test_losses_of_targets_compare_in_units_of_their_priors():
    """Prices 1 and 3 about the prior 2: its squared error is 1; times ten it is 100, and so is the unit."""
    task = three()
    aims = aims_of(task, [(1.0, "a", None), (3.0, "a", None)])
    assert unit(aims[0], np.arange(2)) == pytest.approx(1.0)
    assert unit(aims[1], np.arange(2)) == pytest.approx(math.log(3), abs=1e-6)
    assert unit(aims[2], np.arange(2)) == 1.0  # nobody has it
    assert aims[2].has_N.tolist() == [False, False]


# --- what is asked for ---------------------------------------------------------------------------


def test_a_column_of_that_very_name_is_meant_before_the_names_in_it():
    assert named("a,b", ["a", "b"]) == ["a", "b"] and named("a,b", ["a,b", "a", "b"]) == ["a,b"]
    rows = [{"a,b": "x" if i % 2 else "y", "a": i % 2, "size": i % 2 + 0.1 * i} for i in range(30)]
    model = Model("a,b", options=QUICK).fit(rows)
    assert set(model.classes_) == {"x", "y"} and model.task_.name == "classify" and "a" in model.schema_.views[0].columns


def test_options_go_to_one_target_to_all_or_to_the_weights():
    def of(**options):
        return Plan.of("concat", {"price": "regress", "size": "regress", "kind": "classify"}, options).options["task"]

    found = of(**{"task.price.error": "mae", "task.error": "huber", "task": {"kind": {"smoothing": 0.2}, "weights": {"kind": 2}}})
    assert [one["options"] for one in found["targets"]] == [{"error": "mae"}, {"error": "huber"}, {"smoothing": 0.2}]
    assert found["weights"] == {"kind": 2}
    assert of(**{"task.weights": "kind=2", "task.kind.weights": "balanced"})["targets"][2]["options"] == {"weights": "balanced"}
    for options, words in (
        ({"task.pric.error": "mae"}, "is of 'pric', which is no target; did you mean 'price'"),
        ({"task.price.eror": "mae"}, "did you mean 'task.price.error'"), ({"task.eror": 1}, "did you mean 'task.error'"),
        ({"task.weights": "balanced"}, r"as in price=1,size=1,kind=1; .* task.price.weights"),
        ({"task.kind.smoothing": "much"}, "task.kind.smoothing='much' must be like its default"),
    ):
        with pytest.raises(BadOption, match=words):
            of(**options)
    for weights, words in (
        ("kind=0", "'kind' the weight '0', which must be a finite number above 0"), ({"kind": math.inf}, "finite"),
        ({"kind": True}, "finite"), ("size=x", "finite"), ("knd=1", "names 'knd', which is no target; did you mean 'kind'"),
        ([1, 2], "names no target"),
    ):
        with pytest.raises(BadOption, match=words):
            tasks.make("multitask", **of(**{"task.weights": weights}))


@pytest.mark.parametrize(("settings", "words"), [
    ({"target": "price,kind,price"}, "'price' is named twice"), ({"target": ["price", "kid", "tags"]}, "no column 'kid'; did you mean 'kind'"),
    ({"target": "price,,kind"}, "empty name"), ({"target": ["price", 3]}, "must hold names of columns only"),
    ({"task": "prize=regress"}, "a task is given for 'prize', which is no target; did you mean 'price'"),
    ({"task": "price=regres"}, "did you mean 'regress'"), ({"task": "=regress"}, "pairs such as"),
    ({"target": "price", "task": "multitask"}, "several targets; name them"), ({"group": "kind"}, "both the target and the group"),
    ({"task": "kind=regress"}, r"row \d+: the target 'kind' .*not a number"),
    ({"options": {"train.epoch": 1}}, "did you mean 'train.epochs'"), ({"fusion": "product"}, "'regress' of 'price' answers numbers"),
])
def test_mistakes_are_told_in_a_sentence(settings, words):
    with pytest.raises(PolysenseError, match=words):
        made(**settings).fit(things(40))


def test_a_target_that_cannot_be_learned_is_named():
    rows = things(40)
    with pytest.raises(BadTable, match="the target 'kind' is empty in every record"):
        made().fit([row | {"kind": None} for row in rows])
    with pytest.raises(BadTable, match="the target 'kind' holds only 'big' in the training records"):
        made().fit([row | {"kind": row["kind"] and "big"} for row in rows])
    with pytest.raises(BadTable, match="the target 'price' is 7 in every"):
        made(task="price=regress,tags=multilabel").fit([row | {"price": 7} for row in rows])


def test_what_is_missing_is_counted_aloud():
    said: list[str] = []
    rows = [{"a": 1, "b": "x"}, {"a": None, "b": "y"}, {"a": None, "b": None}, {"a": "soon", "b": "y"}]
    table = open_targets(rows, ["a", "b"], None, said.append, ["numbers", "classes"], [";", ";"])
    assert table.targets == [(1.0, "x"), (None, "y"), None, (None, "y")] and table.rows.tolist() == [0, 1, 3]
    assert said[1:] == [  # the first: a column of mixed types
        "records: 2 of 4 records have no 'a'", "records: 1 of 4 records has no 'b'",
        "records: 1 of 4 records has none of the targets and is left out",
    ]
    assert [(fault["row"], fault["column"]) for fault in table.faults] == [(3, "a")] and table.without == 1
    assert table.lacking() == {"a": 3, "b": 1}


def test_a_split_spreads_the_marks_of_all_targets_that_leave_enough_records():
    values = [(float(i), "ab"[i % 2]) for i in range(40)]
    assert len(set(strata(["classes", "numbers"], [value[::-1] for value in values]))) == 2  # tenths would leave two each
    assert len(set(strata(["numbers"] * 2, [(value[0], -value[0]) for value in values]))) == 10
    assert strata(["classes", "labels"], [("a", ["x"]), (None, ["y"])] * 20)[:2] == [("a", "x"), (None, "y")]


# --- a whole model -------------------------------------------------------------------------------


def test_each_target_is_learned_and_judged_on_the_records_that_have_it(fitted):
    rows = things(100, 2)
    found = fitted.evaluate(rows, subsets=True, by="note", measures="mcc,medae", samples=50)["targets"]
    assert list(found) == NAMES
    assert [one["records"] for one in found.values()] == [sum(row[name] is not None for row in rows) for name in NAMES]
    assert found["price"]["scores"]["r2"]["value"] > 0.9 and found["kind"]["scores"]["accuracy"]["value"] > 0.8
    assert found["tags"]["scores"]["micro_f1"]["value"] > 0.9
    for one in found.values():
        assert len(one["subsets"]) == 3 and one["worth"] and one["by"]["column"] == "note"
    assert [list(one.get("measures", {})) for one in found.values()] == [["medae"], ["mcc"], []]
    text = as_text({"targets": found})
    assert all(f"== {name} ==" in text for name in NAMES) and "RMSE" in text and "accuracy" in text
    with pytest.raises(BadOption, match="no measure 'mcx'"):
        fitted.evaluate(rows, measures="mcx,medae")


def test_no_target_loses_to_its_own_baseline_on_validation(fitted):
    for name, one in fitted.valid_["targets"].items():
        mine, theirs = (scores[one["main"]]["value"] for scores in (one["scores"], one["baselines"]["concat_logistic"]))
        assert (mine >= theirs if name == "kind" else mine <= 1.02 * theirs), name
    assert list(fitted.rivals_) == list(fitted.regressions_) == NAMES


def test_predictions_are_those_of_multioutput_estimators(fitted):
    rows = things(12, 3)
    said, p = fitted.predict(rows), fitted.predict_proba(rows)
    assert said.shape == (12, 3) and said.dtype == object and isinstance(said[0, 0], float) and isinstance(said[0, 2], list)
    assert p[0] is None and p[1].shape == (12, 2) and p[2].shape == (12, 2)
    assert fitted.classes_[0] is None and [list(names) for names in fitted.classes_[1:]] == [["big", "small"], ["large", "red"]]
    assert said[:, 1].tolist() == [fitted.classes_[1][i] for i in p[1].argmax(1)]
    alone = np.array([fitted.answers([row]).answers[0] for row in rows])
    np.testing.assert_allclose(alone, fitted.answers(rows).answers, atol=1e-5)
    nothing = fitted.answers([{}]).answers[0]
    np.testing.assert_allclose(nothing, fitted.task_.restore(fitted.task_.prior()), atol=1e-6)
    assert "3 answers" in fitted.answers(rows[:3])._repr_html_() and "price" in fitted._repr_html_()


def test_the_score_is_the_mean_of_the_targets(fitted):
    rows = things(60, 4)
    found = fitted.evaluate(rows, samples=2)["targets"]
    each = [found[name]["scores"][key]["value"] for name, key in zip(NAMES, ("r2", "accuracy", "subset_accuracy"), strict=True)]
    assert fitted.score(rows) == pytest.approx(np.mean(each))


def test_a_target_that_no_judged_record_has_is_left_out_of_scores(fitted):
    """It has an evaluation without scores; what the others say is the same as with it."""
    rows = things(40, 6)
    bare = [row | {"tags": None} for row in rows]
    found, whole = (fitted.evaluate(table, subsets=True, samples=2)["targets"] for table in (bare, rows))
    assert (found["tags"]["records"], found["tags"]["scores"], found["tags"]["subsets"]) == (0, None, [])
    for name, score in found["kind"]["scores"].items():
        assert score["value"] == pytest.approx(whole["kind"]["scores"][name]["value"], abs=1e-6), name
    assert fitted.score(bare) == pytest.approx(
        (found["price"]["scores"]["r2"]["value"] + found["kind"]["scores"]["accuracy"]["value"]) / 2
    )
    assert "nothing to judge" in as_text({"targets": found})
    assert "No record has a target" in fitted.report({"targets": found}, bare)


def test_several_numbers_in_one_array():
    """``--target a,b --task regress``; targets beside the records: a frame, a dict, or rows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    y = np.stack([x @ [1, 2], x @ [3, -1]], 1)
    rows = [{"u": a, "v": b} for a, b in x]
    frame = pd.DataFrame(y, columns=["a", "b"])
    said = [
        Model(*target, task="regress", options=QUICK).fit(rows, given).predict(rows)
        for target, given in ((["a,b"], y), ([], frame), ([], {"a": y[:, 0], "b": y[:, 1]}), ([["a", "b"]], y.tolist()))
    ]
    assert said[0].dtype == float and said[0].shape == (60, 2)
    assert all(np.array_equal(one, said[0]) for one in said[1:])
    assert np.corrcoef(said[0][:, 1], y[:, 1])[0, 1] > 0.99
    with pytest.raises(BadTable, match="give each record a row of 3 values"):
        Model("a,b,c", options=QUICK).fit(rows, y)
    with pytest.raises(BadColumn, match="no 'c'"):
        Model("a,c", options=QUICK).fit(rows, frame)
    with pytest.raises(BadTable, match=r"such as y\[:, 0\], or name each column"):
        Model(options=QUICK).fit(rows, y)
    with pytest.raises(BadOption, match="have no probabilities"):
        Model("a,b", task="regress", options=QUICK).fit(rows, y).predict_proba(rows)


def test_one_name_in_a_list_is_one_target():
    model = made(["kind"], task=None).fit(things(60))
    assert model.task_.name == "classify" and model.predict(things(5)).shape == (5,) and model.rivals_.classes == 2


def test_saved_and_loaded_it_answers_in_the_same_bits(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    again, rows = load(tmp_path / "m"), things(20, 5)
    assert np.array_equal(again.answers(rows).answers, fitted.answers(rows).answers)
    assert again.target == NAMES and again.task == {"price": "regress", "kind": "classify", "tags": "multilabel"}
    assert again.evaluate(rows, samples=20) == fitted.evaluate(rows, samples=20)
    facts = store.load(tmp_path / "m")[0]
    assert list(facts["targets"]) == NAMES and facts["targets"]["kind"]["classes"] == ["big", "small"]
    assert [one["recipe"]["target"] for one in of_targets(facts)] == NAMES
    card = (tmp_path / "m" / "README.md").read_text()
    assert "3 targets at once: price, a number; kind, one of 2 classes: big, small; tags, any of 2 labels" in card
    assert all(f"### {name}" in card for name in NAMES) and "kind is unknown of" in card
    assert card.count("task:\n      type: tabular-") == 3


@pytest.mark.parametrize("settings", [
    {"fusion": "mean"}, {"fusion": "convex"}, {"folds": 2}, {"seeds": 2}, {"fusion": "transformer", "options": {
        "fusion.heads": 2, "fusion.depth": 1, "train.mixup": 0.3, "train.distil": 0.3, "train.ema": 0.5, "train.average": 2,
    }},
], ids=str)
def test_every_way_to_fuse_and_to_learn_saves_and_answers(settings, tmp_path):
    test = things(30, 2)
    model = made(**settings).fit(things(80))
    model.save(tmp_path / "m")
    np.testing.assert_allclose(load(tmp_path / "m").answers(test).answers, model.answers(test).answers, atol=1e-6)
    assert model.score(test) > 0.8, "price, kind and tags of plain records"
    found = model.answers(test).answers
    np.testing.assert_allclose(found[:, 1:3].sum(1), 1, atol=1e-4)
    several = model.made_.get("several")
    if several:
        assert {"price rmse", "kind accuracy", "tags log_loss"} <= set(several["spread"])
        assert (model.valid_["targets"]["price"]["records"] > 60) == ("folds" in settings)


def test_a_late_fusion_has_weights_of_its_own_for_each_target():
    """The number is in the table, the label in the text: convex weights say so, and combine slice by slice."""
    rows = [row | {"tags": json.dumps(["red"] if "red" in row["note"] else [])} for row in things(160, gaps=0)]
    model = made("price,tags", fusion="convex", options={"train.epochs": 8}).fit(rows)
    facts = model.made_["fusion"]
    assert list(facts) == ["price", "tags"] and facts["tags"]["weights"]["note"] > 0.9
    assert facts["price"]["weights"]["table"] > facts["tags"]["weights"]["table"] + 0.2
    fusion = model.network_.fusion
    answers, mask, prior = torch.rand(2, 2, 2), torch.tensor([[True, True], [True, False]]), torch.rand(2)
    expected = [fusion.each[name].combine(answers[..., i : i + 1], mask, prior[i : i + 1]) for i, name in enumerate(facts)]
    assert torch.equal(fusion.combine(answers, mask, prior), torch.cat(expected, 1))
    with pytest.raises(BadOption, match="fusion 'stacked' combines classes, and task 'multilabel' of 'tags' answers labels"):
        made("kind,tags", fusion="stacked").fit(rows)


def test_folds_that_lack_a_class_put_each_answer_into_its_own_column():
    """A class of one record is in no more than one fold's training; its column of all classes still is its own."""
    rows = things(60, gaps=0)
    rows[7]["kind"] = "rare"
    model = made("price,kind", task=None, folds=3).fit(rows)
    places, kinds = model.several_.places, [list(one.task_.parts()[1].task.classes) for one in model.several_.models]
    assert list(model.classes_[1]) == ["big", "rare", "small"]
    for place, names in zip(places, kinds, strict=True):
        assert [model.classes_[1][i - 1] for i in place[1:]] == names and place[0] == 0
    assert any("rare" not in names for names in kinds)


def test_encoders_are_tried_on_all_targets_together():
    """The loss that chooses is the mean of each target's, in units of its prior."""
    rows = things(120)
    model = made(encoders={"note": "auto"}, options={"auto.epochs": 1, "auto.seconds": 3.0}).fit(rows, valid=things(50, 1))
    tried = model.made_["tried"]["note"]
    assert tried["unit"] == "loss" and any("loss" in one for one in tried["tried"])
    task = three()
    judge = Judge(task, [(3.0, "a", None), (None, "b", None)], 0)
    # the number's own prior error is 1, the classes' mean of ln 3 and ln 1.5; a coin costs ln 2
    expected = [(4 + math.log(2) / ((math.log(3) + math.log(1.5)) / 2)) / 2, math.log(2) / ((math.log(3) + math.log(1.5)) / 2)]
    found = judge.losses(np.array([[5.0, 0.5, 0.5, 0.5, 0.5]] * 2), np.arange(2))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_verdict_on_several_targets_is_their_mean_by_hand():
    """Units of the priors 1 and ln 3: losses 4 and ln 2, weights 3 and 1: (3 * 4 + ln 2 / ln 3) / 4; the second record has
    the class only."""
    task = three(weights="price=3")
    targets = [(3.0, "a", None), (None, "a", None)]
    answer = np.array([[5.0, 0.5, 0.5, 0.5, 0.5]] * 2)

    class Nobody:
        subsets = []

    rivals = dict.fromkeys(NAMES, Nobody())
    verdict = weigh_each(
        task, aims_of(task, targets), lambda mask: answer, rivals, {}, np.ones((2, 1), bool), np.arange(2), given=0.0
    )
    other = math.log(2) / math.log(3)
    np.testing.assert_allclose(verdict.losses_N, [(3 * 4 + other) / 4, other], rtol=1e-5)
    assert verdict.loss == pytest.approx((3 * 4 + other) / 5, rel=1e-5) and verdict.accuracy is None and verdict.weight == 0
    assert list(verdict.figures()["share"]) == NAMES


def test_towers_are_tuned_for_all_targets(tiny_towers):
    rows = [row | {"caption": row["note"] * 2} for row in things(50)]
    model = made(
        encoders={"caption": f"text.pretrained:{tiny_towers('text')}", "note": "text.plain"}, tune="caption",
        options={"tune.epochs": 1, "tune.precision": "float32"},
    )
    model.columns = {"note": "text", "caption": "text"}
    model.fit(rows)
    assert model.made_["tuned"]["kept"] in ("tuned", "frozen") and list(model.regressions_) == NAMES
    assert list(model.made_["tuned"]["frozen"]["share"]) == NAMES


def test_a_fit_that_was_interrupted_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    """Killed when training begins; encoders and every target's rivals are read again."""
    from polysense import estimator as home

    rows, valid = things(60), things(30, 1)
    whole = made().fit(rows, valid=valid)
    with monkeypatch.context() as patch:
        patch.setattr(home, "train", lambda *args, **more: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            made().fit(rows, valid=valid, checkpoints=tmp_path / "f")
    monkeypatch.setattr(Rivals, "train", None)
    again = made().fit(rows, valid=valid, checkpoints=tmp_path / "f", resume=True)
    assert np.array_equal(again.answers(valid).answers, whole.answers(valid).answers)
    with pytest.raises(BadOption, match="weights was None and is 'price=2'|cannot be resumed"):
        made(options={"task.weights": "price=2"}).fit(rows, valid=valid, checkpoints=tmp_path / "f", resume=True)


def test_weights_move_what_is_learned():
    """A target of a hundredfold weight is learned as if alone; one of a hundredth hardly."""
    rows = things(120, gaps=0)

    def loss_of(weights: str) -> float:
        model = made("price,kind", task=None, options={"task.weights": weights, "train.epochs": 4, "train.regressions": 0.0})
        return model.fit(rows).history_[-1]["valid_price loss"]

    assert loss_of("price=100") < loss_of("kind=100") - 0.02


# --- through the door ----------------------------------------------------------------------------


def test_through_the_door(tmp_path, capsys):
    table, model = tmp_path / "t.csv", tmp_path / "m"
    rows = [{"id": f"r{i}", **row} for i, row in enumerate(things(80))]
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    _, err = polysense(
        capsys, "fit", table, "--target", "price,kind,tags", "--task", "tags=multilabel", "--out", model, "--columns", "note=text",
        "--encoder", "note=text.plain", "--set", "task.price.error=huber", "--set", "task.weights=price=2,kind=1",
        "--set", "train.epochs=4", "--set", "train.dim=8",
    )
    assert "learning 'price', a number" in err and "have no 'kind'" in err and "answers for 'tags':" in err
    assert all(f"== {name} ==" in err for name in NAMES)
    options = store.load(model)[1]["model"]["task"]["options"]
    assert options["targets"][0] == {"target": "price", "task": "regress", "options": {"error": "huber"}}
    assert options["weights"] == "price=2,kind=1"
    out, _ = polysense(capsys, "show", model)
    assert "regress 'price', a number" in out and "classify 'kind' into 2 classes: big, small" in out
    assert "validation MAE of 'price'" in out and "multilabel 'tags' into 2 labels" in out
    out, _ = polysense(capsys, "predict", model, table)
    lines = list(csv.DictReader(out.splitlines()))
    assert list(lines[0]) == [
        "row", "id", "prediction_price", "prediction_kind", "prediction_tags", "probability_kind_big", "probability_kind_small",
        "probability_tags_large", "probability_tags_red",
    ]
    answers = load(model).answers(str(table))
    assert [line["id"] for line in lines] == [row["id"] for row in rows]
    for line, one in zip(lines, answers.answers, strict=True):
        assert float(line["prediction_price"]) == pytest.approx(one[0]) and float(line["probability_tags_red"]) == round(one[4], 6)
        assert line["prediction_kind"] == ("big" if one[1] > one[2] else "small")
    out, _ = polysense(capsys, "evaluate", model, table, "--subsets", "--json", tmp_path / "e.json", "--html", tmp_path / "e.html")
    found = json.loads((tmp_path / "e.json").read_text())
    assert list(found) == ["targets"] and list(found["targets"]) == NAMES and "bad_cells" in found["targets"]["price"]
    assert out.count("== ") == 3
    page = (tmp_path / "e.html").read_text()
    assert all(f'id="target-{i}-scores"' in page and f">{name}: Scores<" in page for i, name in enumerate(NAMES, 1))
    assert page.count('id="learning"') == page.count('id="made"') == 1 and "kind is unknown in" in page
    chinese = load(model).report(found, str(table), lang="zh")
    assert "price: 得分" in chinese and "没有 kind" in chinese
    recipe = tmp_path / "recipe.yaml"
    card = (model / "README.md").read_text()
    recipe.write_text(card.split("```yaml\n")[1].split("```")[0])
    polysense(capsys, "fit", table, "--recipe", recipe, "--out", tmp_path / "again")
    again = load(tmp_path / "again").answers(str(table)).answers
    assert np.array_equal(again, answers.answers)


def test_an_unreadable_target_is_left_out_of_that_target_only(tmp_path):
    rows = things(60, gaps=0)
    for i in (3, 4):
        rows[i]["price"] = "soon"
    for row in rows:
        row["price"] = str(row["price"])
    model = made(task="price=regress,tags=multilabel").fit(rows)
    assert [(cell["row"], cell["column"]) for cell in model.data_report_["bad_cells"]] == [(3, "price"), (4, "price")]
    found = model.evaluate(rows, samples=2)["targets"]
    assert [one["records"] for one in found.values()] == [58, 60, 60]
    assert [len(one["bad_cells"]) for one in found.values()] == [2, 0, 0]
    with pytest.raises(BadTable, match="row 0: the target 'price' .*as 29 more of 60 targets; numbers are expected"):
        made(task="price=regress,tags=multilabel").fit([row | ({"price": "soon"} if i < 30 else {}) for i, row in enumerate(rows)])
    with pytest.raises(BadTable, match="row 3: the target 'price'"):
        made(task="price=regress,tags=multilabel", on_bad="error").fit(rows)

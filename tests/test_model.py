"""The estimator: what goes in, what comes out, what it refuses. N records, V views, C classes."""

from __future__ import annotations

import json
import math
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold, cross_val_score

import polysense
from polysense import Model, demo
from polysense.errors import (
    BadColumn, BadModel, BadOption, BadTable, LossNotFinite, Mistake, NotFitted, PolysenseError, UnknownName,
)
from polysense.keep import network_again
from polysense.learn import loop
from polysense.registry import fusions
from polysense.tokens import Tokens
from small import QUICK, model, records

ALL = "picture sound text text_zh table"


@pytest.fixture(scope="module")
def fitted() -> Model:
    """All five views."""
    return model(ALL, options={"train.epochs": 6, "train.dim": 16}).fit(records(90, views=ALL))


@pytest.fixture(scope="module")
def little() -> Model:
    """Text and table."""
    return model().fit(records(60))


@pytest.fixture(scope="module")
def unseen() -> list[dict]:
    return records(40, seed=5, views=ALL)


# what comes out -----------------------------------------------------------------------------------


def test_it_learns(fitted, unseen):
    """A third would be chance; six passes over ninety records get over half of new ones right."""
    assert fitted.score(unseen) > 0.5
    assert len(fitted.history_) == 6 and fitted.history_[-1]["loss"] < fitted.history_[0]["loss"]


def test_answers_are_probabilities_of_the_classes(fitted, unseen):
    answers = fitted.predict_proba(unseen)
    assert fitted.classes_.tolist() == ["rain", "snow", "sun"] and answers.shape == (40, 3)
    np.testing.assert_allclose(answers.sum(1), 1, atol=1e-5)
    assert fitted.predict(unseen).tolist() == [fitted.classes_[i] for i in answers.argmax(1)]
    right = np.mean([said == record["label"] for said, record in zip(fitted.predict(unseen), unseen, strict=True)])
    assert fitted.score(unseen) == pytest.approx(right)
    assert fitted.score(unseen, [record["label"] for record in unseen]) == pytest.approx(right)


def test_alone_as_in_any_batch(fitted, unseen):
    together = fitted.predict_proba(unseen)
    for i in range(0, 40, 7):
        np.testing.assert_allclose(fitted.predict_proba([unseen[i]])[0], together[i], atol=1e-5)
    backwards = fitted.predict_proba(unseen[::-1])
    np.testing.assert_allclose(backwards[::-1], together, atol=1e-5)


def test_with_every_view_absent_the_prior_answers(fitted):
    """To the bit: the shares of the classes among the training records."""
    counts = np.asarray(fitted.task_.counts)
    empty = {name: None for name in records(1, views=ALL)[0]}
    answers = fitted.predict_proba([empty, {}, records(1, views=ALL, missing=0)[0]])
    np.testing.assert_array_equal(answers[0], (counts / counts.sum()).astype(np.float32))
    np.testing.assert_array_equal(answers[1], answers[0])
    assert not np.allclose(answers[2], answers[0])


def test_an_absent_slot_is_never_read(fitted, unseen, monkeypatch):
    """Poison in every absent slot of the features: equal bits."""
    clean = fitted.predict_proba(unseen)
    from polysense.learn.gather import Gathered

    real = Gathered.views

    def spoilt(self, conditions):
        views = real(self, conditions)
        for view in views.names:
            if view in views.frozen:
                views.frozen[view].fill = np.nan
        return views

    monkeypatch.setattr(Gathered, "views", spoilt)
    np.testing.assert_array_equal(fitted.predict_proba(unseen), clean)


def test_every_subset_of_the_views_answers(fitted, unseen):
    """Each view alone says something of its own."""
    said = []
    for view in ALL.split():
        keep = ("temperature", "wind", "place", "windows", "day") if view == "table" else (view,)
        only = [{key: record[key] for key in keep} for record in unseen]
        answers = fitted.answers(only)
        assert answers.present_NV[:, sorted(ALL.split()).index(view)].any() and answers.present_NV.sum(1).max() == 1
        said.append(answers.probabilities)
    assert all(np.isfinite(answers).all() for answers in said)
    assert all(not np.allclose(said[i], said[j]) for i in range(5) for j in range(i))


def test_cached_equals_uncached(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYSENSE_CACHE", str(tmp_path / "cache"))
    training, asked = records(40, views="picture sound table"), records(40, seed=1, views="picture sound table")
    cold = model("picture sound table").fit(training)
    assert any((tmp_path / "cache").iterdir())
    warm = model("picture sound table").fit(training)
    without = model("picture sound table", cache=False).fit(training)
    for other in (warm, without):
        np.testing.assert_allclose(other.predict_proba(asked), cold.predict_proba(asked), atol=1e-5)


def test_seeds():
    training, asked = records(40), records(10, seed=1)
    first, again, other = (model(seed=seed).fit(training).predict_proba(asked) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_the_seed_decides_where_the_network_starts():
    """At a rate of nearly nothing a network stays where it began."""
    still = {"train.rate": 1e-12, "train.epochs": 1, "train.regressions": 0.0}
    training, asked = records(20, views="picture", missing=0), records(5, seed=1, views="picture")
    first, again, other = (
        model("picture", seed=seed, options=still).fit(training, valid=training).predict_proba(asked) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-3)


def test_the_callers_random_state_is_left_alone():
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    model().fit(records(30))
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_promises_hold_for_any_mixture_with_the_regressions(share):
    """Alone as in a batch, the prior to the bit where nothing is there, a probability always."""
    made = model(options={"train.regressions": share}).fit(records(30))
    asked = [*records(6, seed=1), {"text": None}]
    together = made.predict_proba(asked)
    assert together[6].tolist() == made.task_.prior().tolist()
    np.testing.assert_allclose(together.sum(1), 1, atol=1e-5)
    for i, record in enumerate(asked):
        np.testing.assert_allclose(made.predict_proba([record])[0], together[i], atol=1e-5)


@pytest.mark.parametrize("fusion", list(fusions))
def test_every_fusion_trains_and_comes_back_from_its_folder(fusion, tmp_path):
    training, asked = records(40), records(8, seed=1)
    made = model(fusion=fusion, options={"train.epochs": 1}).fit(training)
    made.save(tmp_path / "m")
    np.testing.assert_array_equal(polysense.load(tmp_path / "m").predict_proba(asked), made.predict_proba(asked))


# scikit-learn's manners -----------------------------------------------------------------------------


def test_the_constructor_stores_and_nothing_else():
    """Any nonsense is kept as given; fit complains."""
    nonsense = object()
    made = Model(nonsense, task=nonsense, options=nonsense)
    assert made.target is nonsense and made.task is nonsense and made.options is nonsense
    parameters = made.get_params()
    assert set(parameters) == {
        "target", "task", "columns", "fusion", "encoders", "options", "group", "seed", "split", "on_bad", "max_bad",
        "download", "cache", "verbose", "time_limit", "tensorboard", "tune",
        "views", "folds", "seeds", "quality",
    }
    assert made.set_params(seed=4).seed == 4


def test_clone():
    made = Model("label", fusion="sum", options={"train.epochs": 2}, seed=3)
    copy = clone(made)
    assert copy is not made and copy.get_params() == made.get_params() and not hasattr(copy, "network_")


def test_fit_returns_itself_and_fits_anew():
    made = model()
    assert made.fit(records(30)) is made
    first = made.predict_proba(records(5, seed=1))
    made.fit(records(30))
    np.testing.assert_array_equal(made.predict_proba(records(5, seed=1)), first)


def test_cross_validation_on_records_and_on_a_frame():
    everything = records(40)
    y = [record.pop("label") for record in everything]
    made = Model(encoders={"text": "text.plain"}, options=QUICK)
    on_records = cross_val_score(made, everything, y, cv=2)
    on_frame = cross_val_score(made, pd.DataFrame(everything), pd.Series(y), cv=2)
    assert on_records.shape == (2,) and (on_records >= 0).all()
    np.testing.assert_allclose(on_records, on_frame, atol=0.15)
    assert len(cross_val_score(made, everything, np.array(y), cv=GroupKFold(2), groups=np.arange(40) // 3)) == 2


def test_an_answer_before_fit_is_refused():
    for ask in ("predict", "predict_proba", "evaluate", "answers"):
        with pytest.raises(NotFitted, match="has learned nothing yet; call fit, or polysense.load"):
            getattr(Model("label"), ask)(records(2))
    with pytest.raises(NotFitted):
        Model("label").score(records(2))
    with pytest.raises(NotFitted):
        Model("label").save("nowhere")


def test_scikit_learn_knows_that_it_is_not_fitted():
    from sklearn.utils.validation import check_is_fitted

    with pytest.raises(NotFittedError):
        check_is_fitted(Model("label"))
    check_is_fitted(model().fit(records(24)))


# targets ------------------------------------------------------------------------------------------


def test_targets_beside_the_records():
    training = records(40)
    y = [record.pop("label") for record in training]
    asked = records(6, seed=1)
    beside = model(target=None).fit(training, y)
    assert beside.predict(asked).tolist() == model().fit(records(40)).predict(asked).tolist()
    with pytest.raises(BadTable, match="3 targets were given for 40 records"):
        model(target=None).fit(training, y[:3])
    with pytest.raises(BadColumn, match="no target is named; give Model"):
        model(target=None).fit(training)
    assert math.isfinite(beside.evaluate(asked, [record["label"] for record in asked])["scores"]["accuracy"]["value"])


@pytest.mark.parametrize("convert", [np.array, pd.Series, tuple])
def test_targets_of_several_types(convert):
    made = Model(encoders={"text": "text.plain"}, options=QUICK).fit(records(30), convert([i % 2 for i in range(30)]))
    assert made.classes_.tolist() == [0, 1]
    assert set(made.predict(records(5)).tolist()) <= {0, 1}


def test_validation_records_of_ones_own():
    training, held = records(40), records(20, seed=1)
    y, held_y = [r["label"] for r in training], [r["label"] for r in held]
    for table, target in ((held, "label"), ((held, held_y), "label")):
        made = model(target=target).fit(training, y if isinstance(table, tuple) else None, valid=table)
        assert made.data_report_["train"] == 40 and made.data_report_["valid"] == 20
        assert made.valid_["records"] == 20
    held[3]["label"] = None
    made = model().fit(training, valid=held)
    assert made.data_report_["valid"] == made.valid_["records"] == 19 and made.data_report_["without_target"] == 1


def test_records_without_target_are_counted_aloud_and_left_out(capsys):
    training = records(40)
    training[3]["label"] = training[8]["label"] = None
    training[9]["label"] = ""
    made = model(verbose=True).fit(training)
    assert made.data_report_["without_target"] == 3
    assert made.data_report_["train"] + made.data_report_["valid"] == 37
    assert "3 of 40 records have no target and are left out" in capsys.readouterr().err
    evaluation = made.evaluate(training)
    assert evaluation["records"] == 37


def test_a_class_unseen_in_training_counts_as_wrong_and_is_named(little):
    asked = records(20, seed=1)
    asked[4]["label"] = asked[5]["label"] = "hail"
    evaluation = little.evaluate(asked)
    said = little.predict(asked)
    right = sum(a == record["label"] for a, record in zip(said, asked, strict=True))
    assert evaluation["scores"]["accuracy"]["value"] == pytest.approx(right / 20)
    assert math.isfinite(evaluation["scores"]["log_loss"]["value"])
    assert evaluation["warnings"] == [
        "2 records are of a class unseen in training: 'hail' (2): counted as wrong, left out of log loss"
    ]
    assert little.score(asked) == pytest.approx(right / 20)


@pytest.mark.parametrize("labels", [[1, 2], [True, False], [0.5, 1.5]])
def test_targets_that_are_no_words(labels, tmp_path):
    training = [record | {"label": labels[i % 2]} for i, record in enumerate(records(30))]
    made = model().fit(training)
    assert made.classes_.tolist() == sorted(labels)
    made.save(tmp_path / "m")
    assert polysense.load(tmp_path / "m").predict(training).tolist() == made.predict(training).tolist()
    assert made.score(training) == polysense.load(tmp_path / "m").score(training)


def test_weights_of_another_shape_say_who_wrote_them():
    weights, facts = {"weight": np.zeros((3, 2), np.float32)}, {"made": {"versions": {"polysense": polysense.__version__}}}
    make = partial(torch.nn.Linear, 2, 3, bias=False)
    assert not network_again(make, weights, Path("shop"), facts).training
    wrong = {"weight": np.zeros((2, 2), np.float32)}
    with pytest.raises(BadModel, match="shop was written by another state of polysense 0.*: its weights have other shapes; fit the model"):
        network_again(make, wrong, Path("shop"), facts)
    facts["made"]["versions"]["polysense"] = "0.0.7"
    with pytest.raises(BadModel, match="shop was written by polysense 0.0.7, and this is 0"):
        network_again(make, wrong, Path("shop"), facts)


# splits -------------------------------------------------------------------------------------------


def test_a_fifth_validates_where_no_one_says_otherwise():
    made = model().fit(records(60))
    assert (made.data_report_["train"], made.data_report_["valid"]) == (48, 12)


def test_a_column_that_says_train_valid_or_test():
    training = [record | {"part": part} for record, part in zip(records(30), ["train"] * 18 + ["valid"] * 6 + ["Test "] * 6, strict=True)]
    for record in training[24:]:
        record["label"] = "never seen"
    made = model(split="part").fit(training)
    assert made.data_report_["train"] == 18 and made.data_report_["valid"] == 6
    assert "never seen" not in made.classes_.tolist(), "rows of test are left out"
    assert "part" not in [column[0] for column in made.data_report_["columns"]], "it is no feature"
    training[7]["part"] = "tran"
    with pytest.raises(BadColumn, match="row 7: column 'part' says 'tran'; it must say train, valid or test"):
        model(split="part").fit(training)
    with pytest.raises(BadColumn, match="has no column 'prt'; did you mean 'part'"):
        model(split="prt").fit(training)


def test_records_of_training_are_not_judged_where_the_split_column_says_which_they_are(capsys):
    table = [record | {"part": part} for record, part in zip(records(30), ["train"] * 15 + ["valid"] * 6 + ["test"] * 9, strict=True)]
    made = model(split="part").fit(table)
    made.verbose = True
    whole = made.evaluate(table)
    assert whole["records"] == 9 and whole["scores"] == made.evaluate(table[21:])["scores"]
    assert "judging the 9 of 30 records that 'part' does not give to train or valid" in capsys.readouterr().err
    assert made.evaluate(table[:21])["records"] == 21
    assert "'part' gives all of 21 records to train or valid: scores on what was learned flatter" in capsys.readouterr().err
    unmarked = [{k: v for k, v in record.items() if k != "part"} for record in table]
    assert made.evaluate(unmarked)["records"] == 30
    assert "judging" not in capsys.readouterr().err


def test_groups_stay_whole_and_are_no_feature(monkeypatch):
    training = [record | {"speaker": f"s{i // 4}"} for i, record in enumerate(records(60))]
    seen = {}
    real = polysense.model.divide
    monkeypatch.setattr(polysense.model, "divide", lambda tables, **how: seen.setdefault("rows", real(tables, **how)))
    made = model(group="speaker").fit(training)
    train, valid = ({training[i]["speaker"] for i in rows} for rows in seen["rows"])
    assert train and valid and not train & valid
    assert "speaker" not in [column[0] for column in made.data_report_["columns"]]
    assert made.valid_["groups"] == len(valid)
    assert made.evaluate(training)["groups"] == 15


def test_identical_content_on_both_sides_is_said(capsys):
    training = records(30, missing=0)
    held = records(6, seed=1, missing=0)
    held[2]["text"] = training[0]["text"] = "the very same words"
    made = model(verbose=True).fit(training, valid=held)
    assert made.data_report_["identical_in_train_and_valid"]["text"] >= 1
    assert "hold the very content of a training record" in capsys.readouterr().err


# bad cells ------------------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path):
    """60 records with pictures as files; rows 10, 20 and 40 name files that are not there."""
    made = records(60, views="picture table", folder=tmp_path, missing=0)
    for row in (10, 20, 40):
        made[row]["picture"] = f"media/lost-{row}.png"
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps(record) + "\n" for record in made), encoding="utf-8")
    return table


def shop_model(**settings) -> Model:
    return model("picture table", **settings)


def test_five_percent_wrong_paths_are_exactly_the_entries_of_the_report(shop):
    made = shop_model().fit(shop)
    bad = made.data_report_["bad_cells"]
    assert [(cell["row"], cell["column"], cell["action"]) for cell in bad] == [(r, "picture", "masked") for r in (10, 20, 40)]
    assert all("lost" in cell["reason"] for cell in bad)
    evaluation = made.evaluate(shop)
    assert [cell["row"] for cell in evaluation["bad_cells"]] == [10, 20, 40] and evaluation["records"] == 60
    assert [cell["row"] for cell in made.answers(shop).bad_cells] == [10, 20, 40]
    assert made.data_report_["absent"]["picture"] == 3


def test_a_masked_cell_is_an_absent_view(shop):
    """The record answers as if the cell were empty; its neighbours answer as if nothing had happened."""
    made = shop_model().fit(shop)
    broken = [json.loads(line) for line in shop.read_text(encoding="utf-8").splitlines()]
    empty = [record | ({"picture": None} if "lost" in record["picture"] else {}) for record in broken]
    (shop.parent / "empty.jsonl").write_text("".join(json.dumps(r) + "\n" for r in empty), encoding="utf-8")
    np.testing.assert_array_equal(made.predict_proba(shop), made.predict_proba(shop.parent / "empty.jsonl"))


def test_dropping_leaves_records_out_of_training_and_scores(shop):
    made = shop_model(on_bad="drop").fit(shop)
    assert made.data_report_["train"] + made.data_report_["valid"] == 57
    evaluation = made.evaluate(shop)
    assert evaluation["records"] == 57 and [cell["action"] for cell in evaluation["bad_cells"]] == ["dropped"] * 3
    assert len(made.predict(shop)) == 60, "an answer for every record all the same"


def test_the_policy_error_stops_at_the_first(shop):
    with pytest.raises(BadTable, match=r"column 'picture', row 10: .*lost-10.*--on-bad mask") as caught:
        shop_model(on_bad="error").fit(shop)
    assert "\n" not in str(caught.value)


def test_all_paths_wrong_is_one_sentence_with_the_first_and_the_folder(shop):
    shutil.rmtree(shop.parent / "media")
    with pytest.raises(BadTable) as caught:
        shop_model().fit(shop)
    said = str(caught.value)
    assert "media/picture-0000.png" in said and str(shop.parent) in said and "\n" not in said


def test_too_many_bad_cells_stop_fit_and_evaluate_but_not_predict(shop):
    made = shop_model().fit(shop)
    with pytest.raises(BadTable, match=r"3 of 60 pictures cannot be read \(5 %, limit 1 %\): first in row 10"):
        shop_model(max_bad=0.01).fit(shop)
    made.max_bad = 0.01
    with pytest.raises(BadTable, match="first in row 10"):
        made.evaluate(shop)
    assert len(made.predict(shop)) == 60


def test_bad_cells_of_the_validation_table_say_so(shop):
    made = shop_model().fit(records(30, views="picture table", missing=0), valid=shop)
    assert [(cell["table"], cell["row"]) for cell in made.data_report_["bad_cells"]] == [("valid", r) for r in (10, 20, 40)]


# columns at prediction ----------------------------------------------------------------------------------


def test_columns_are_found_by_name_never_by_place(little):
    asked = records(8, seed=1)
    mixed = [dict(reversed(record.items())) for record in asked]
    np.testing.assert_array_equal(little.predict_proba(mixed), little.predict_proba(asked))
    frame = pd.DataFrame(asked)[["wind", "label", "text", "windows", "day", "place", "temperature"]]
    np.testing.assert_allclose(little.predict_proba(frame), little.predict_proba(asked), atol=1e-6)


def test_a_missing_column_is_a_missing_view_and_said_once(little):
    asked = records(8, seed=1)
    without = [{key: value for key, value in record.items() if key != "text"} for record in asked]
    absent = [record | {"text": None} for record in asked]
    answers = little.answers(without)
    np.testing.assert_array_equal(answers.probabilities, little.predict_proba(absent))
    assert [remark for remark in answers.remarks if "lacks" in remark] == [
        "records lacks column 'text': taken as missing in every record"
    ]


def test_a_renamed_column_is_missing_and_the_new_name_ignored(little):
    renamed = [{("note" if key == "text" else key): value for key, value in record.items()} for record in records(8, seed=1)]
    remarks = little.answers(renamed).remarks
    assert "records lacks column 'text': taken as missing in every record" in remarks
    assert "records has column 'note', which the model does not know: ignored" in remarks


def test_zero_records_and_one(little):
    assert little.predict([]).shape == (0,) and little.predict_proba([]).shape == (0, 3)
    assert len(little.predict(records(1))) == 1
    assert little.evaluate([])["records"] == 0


# small and strange tables -----------------------------------------------------------------------------------


def test_tables_too_small_to_learn_from_are_one_sentence():
    cases = [
        ([], "no record with a target"), (records(1), "classification needs two classes"),
        ([record | {"label": "rain"} for record in records(9)], "only 'rain'"),
        ([record | {"label": None} for record in records(9)], "holds no record with a target"),
        ([{"label": record["label"]} for record in records(9)], "no column to learn from"),
        ([{"label": record["label"], "text": None} for record in records(9)], "text|column"),
    ]
    for table, message in cases:
        with pytest.raises(Mistake, match=message):
            Model("label", options=QUICK).fit(table)


@pytest.mark.parametrize("change", [
    lambda i, record: record | {"label": "hail" if i == 4 else record["label"]},          # a class with one record
    lambda i, record: record | {"place": "town", "text": "the same"},                     # constant columns
    lambda i, record: record | {"label": f"class {i % 12}"},                              # classes with few records
    lambda i, record: record | {"id": "same"},                                            # ids that repeat
    lambda i, record: record | {"text": None if i else "one"},                            # nearly nothing there
])
def test_strange_tables_give_a_model_all_the_same(change):
    training = [change(i, record) for i, record in enumerate(records(24))]
    made = Model("label", encoders={"text": "text.plain"}, columns={"text": "text"}, options=QUICK).fit(training)
    assert np.isfinite(made.predict_proba(training)).all() and made.evaluate(training)["records"] == 24


def test_two_records_are_enough():
    two = [record | {"label": i} for i, record in enumerate(records(2, missing=0))]
    made = model(columns={"place": "category"})
    assert made.fit(two, valid=two).predict_proba(records(2)).shape == (2, 2)
    with pytest.raises(BadTable, match="in the training records; classification needs two classes"):
        made.fit(two)  # one of them validates


def test_texts_that_look_like_something_else_stay_texts():
    strange = ["None", "null", "NA", "<image>", "http://x.org/a.png", "photo.png", "/etc/passwd", "nan"]
    training = [{"note": strange[i % 8], "label": "ab"[i % 2]} for i in range(32)]
    made = Model("label", columns={"note": "text"}, encoders={"note": "text.plain"}, options=QUICK).fit(training)
    answers = made.answers(training)
    assert answers.present_NV.all() and not answers.bad_cells


# what the user may say -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "kind", "message"), [
    ({"target": "lable"}, BadColumn, "has no column 'lable'; did you mean 'label'"),
    ({"fusion": "conct"}, UnknownName, "there is no fusion 'conct'; did you mean 'concat'"),
    ({"task": "clasify"}, UnknownName, "there is no task 'clasify'; did you mean 'classify'"),
    ({"encoders": {"txt": "text.bag"}}, BadOption, "'txt', which is no view; did you mean 'text'"),
    ({"encoders": {"text": "text.bg"}}, UnknownName, "there is no encoder 'text.bg' for text views such as 'text'; did you mean "
     r"'text.bag'\? There are: text.bag, (text\.\w+, )+text\.\w+$"),
    ({"encoders": {"text": "rn"}}, UnknownName, r"did you mean 'text.rnn'\? There are: text.rnn, (text\.\w+, )+text\.\w+$"),
    ({"encoders": {"text": "image.cnn"}}, BadOption, "encoder 'image.cnn' does not read text views such as 'text'; did you mean "
     r"'text.cnn'\? There are: text.cnn, (text\.\w+, )+text\.\w+$"),
    ({"columns": {"txt": "text"}}, BadColumn, "txt"),
    ({"columns": {"text": "txt"}}, BadColumn, "txt"),
    ({"columns": {"text": "video"}}, BadColumn, "video"),
    ({"options": {"train.epoch": 3}}, BadOption, "no option 'train.epoch'; did you mean 'train.epochs'"),
    ({"options": {"epochs": 3}}, BadOption, "option 'epochs' lacks its section; write fusion.epochs, task.epochs, train.epochs, tune.epochs, auto.epochs or VIEW.epochs"),
    ({"options": {"fusion.heads": 3}}, BadOption, "fusion 'concat' has no option 'fusion.heads'"),
    ({"options": {"task.smoothin": 0.1}}, BadOption, "did you mean 'task.smoothing'"),
    ({"options": {"task.smoothing": 2}}, BadOption, "task.smoothing=2 must be"),
    ({"options": {"txt.dims": 3}}, BadOption, "options were given for 'txt', which is no view of the table; did you mean 'text'"),
    ({"options": {"text.dim": 3}}, BadOption, "no option 'text.dim'; did you mean 'text.dims'"),
    ({"options": {"train.epochs": 0}}, BadOption, "train.epochs=0 must be"),
    ({"options": {"train.rate": "fast"}}, BadOption, "train.rate='fast' must be a number"),
    ({"on_bad": "ignore"}, BadOption, "on_bad='ignore' must be 'error', 'mask' or 'drop'"),
    ({"max_bad": 20}, BadOption, "max_bad=20 must be a share"),
    ({"fusion": "transformer", "options": {"fusion.heads": 3}}, BadOption, "fusion.heads=3 must divide the width 8"),
    ({"group": "speaker"}, BadColumn, "has no column 'speaker'"),
    ({"columns": "wind"}, BadOption, "columns='wind' must be pairs of a name and a value"),
    ({"seed": 1.5}, BadOption, "seed=1.5 must be a whole number"),
    ({"seed": True}, BadOption, "seed=True must be a whole number"),
    ({"fusion": 3}, BadOption, "fusion=3 must be a name"),
    ({"max_bad": "some"}, BadOption, "max_bad='some' must be a share"),
    ({"target": 3}, BadOption, "target=3 must be the name of a column, or a list of names"),
])
def test_a_misspelt_setting_is_one_sentence_with_the_cure(settings, kind, message):
    with pytest.raises(kind, match=message) as caught:
        model(**settings).fit(records(12))
    assert isinstance(caught.value, PolysenseError) and caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_options_flat_or_nested_are_the_same():
    asked = records(5, seed=1)
    flat = Model("label", encoders={"text": "text.plain"}, options={**QUICK, "text.dims": 5, "task.smoothing": 0.0})
    nested = Model("label", encoders={"text": "text.plain"}, options={
        "train": {"epochs": 3, "dim": 8, "members": 2}, "text": {"dims": 5}, "task": {"smoothing": 0.0}})
    np.testing.assert_array_equal(
        flat.fit(records(30)).predict_proba(asked), nested.fit(records(30)).predict_proba(asked))


# a module of one's own ---------------------------------------------------------------------------------------


class Mine(torch.nn.Module):
    """(B, 3, P, P) pictures of ``image.cnn``'s preparation -> (B, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3)

    def forward(self, batch):
        (x,) = batch.values()
        x = x.permute(0, 3, 1, 2) if x.shape[-1] == 3 else x
        return self.layer(x.float() / 255).mean((2, 3))


def test_an_encoder_of_ones_own_trains_saves_and_loads(tmp_path):
    views = "picture table"
    training, asked = records(36, views=views), records(8, seed=1, views=views)
    torch.manual_seed(0)
    mine = Mine()
    before = mine.layer.weight.detach().clone()
    made = model(views, encoders={"picture": mine}, options={"picture.pixels": 16}).fit(training)
    assert not torch.equal(before, made.network_.encoders.encoders["picture"].module.layer.weight), "it is trained"
    made.save(tmp_path / "m")
    again = polysense.load(tmp_path / "m", encoders={"picture": Mine()})
    np.testing.assert_array_equal(again.predict_proba(asked), made.predict_proba(asked))
    with pytest.raises(BadModel, match="view 'picture' was trained with a module of your own; load it with .*encoders="):
        polysense.load(tmp_path / "m")


def test_an_encoder_of_ones_own_that_returns_nonsense_is_named():
    class Nonsense(torch.nn.Module):
        def forward(self, batch):
            return "pictures"

    with pytest.raises(BadOption, match="your encoder Nonsense gave str; it must return Tokens or a tensor"):
        model("picture table", encoders={"picture": Nonsense()}).fit(records(12, views="picture table"))


def test_a_loss_that_is_not_finite_names_the_records(monkeypatch):
    """An encoder that divides by zero for dark pictures: training stops with the record's table and row."""
    class Fragile(Mine):
        def forward(self, batch):
            (x,) = batch.values()
            out = super().forward(batch)
            dark = x.flatten(1).float().amax(1) < 100
            return Tokens.single(torch.where(dark[:, None], torch.nan, out))

    monkeypatch.setattr(loop, "BAD_BATCHES", 2)
    training = records(24, views="picture table", missing=0)
    import io

    from PIL import Image
    dark = io.BytesIO()
    Image.new("RGB", (16, 16)).save(dark, "PNG")
    training[5]["picture"] = dark.getvalue()
    with pytest.raises(LossNotFinite, match="last for records row 5; look at these records") as caught:
        model("picture table", encoders={"picture": Fragile()}, options={"picture.pixels": 16, "train.batch": 6}).fit(
            training, valid=records(6, seed=1, views="picture table"))
    assert caught.value.exit_code == 1


# saving and loading -----------------------------------------------------------------------------------------


def test_saved_and_loaded_in_equal_bits(fitted, unseen, tmp_path):
    fitted.save(tmp_path / "m")
    again = polysense.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict_proba(unseen), fitted.predict_proba(unseen))
    assert again.classes_.tolist() == fitted.classes_.tolist()
    assert again.history_ == fitted.history_ and again.data_report_ == json.loads(json.dumps(fitted.data_report_))
    first, second = fitted.evaluate(unseen, samples=50), again.evaluate(unseen, samples=50)
    assert first == second, "rivals come back too"
    again.save(tmp_path / "n")
    assert (tmp_path / "n/model.safetensors").read_bytes() == (tmp_path / "m/model.safetensors").read_bytes()


@pytest.mark.parametrize("views", ["picture table", "text table", "sound table"])
def test_trained_encoders_come_back_too(views, tmp_path):
    column = views.split()[0]
    name = {"picture": "image.cnn", "text": "text.bag", "sound": "audio.cnn"}[column]
    made = model(views, encoders={column: name, "table": "table.mlp"}, options={"train.epochs": 1}).fit(records(24, views=views))
    made.save(tmp_path / "m")
    asked = records(8, seed=1, views=views)
    np.testing.assert_array_equal(polysense.load(tmp_path / "m").predict_proba(asked), made.predict_proba(asked))


def test_a_loaded_model_keeps_its_settings(tmp_path):
    made = model(group="speaker", seed=4, on_bad="drop", fusion="sum", options={"fusion.temperature": 0.5})
    made.fit([record | {"speaker": i // 3} for i, record in enumerate(records(30))]).save(tmp_path / "m")
    again = polysense.load(tmp_path / "m")
    for name in ("target", "fusion", "group", "seed", "on_bad", "max_bad", "split"):
        assert getattr(again, name) == getattr(made, name), name
    assert again.task == made.task_.name == "classify"  # guessed, and remembered
    assert again.options == made.options and again.network_.fusion.temperature == 0.5


def test_what_model_json_says(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    facts = json.loads((tmp_path / "m/model.json").read_text(encoding="utf-8"))["model"]
    assert facts["kind"] == "model" and facts["recipe"]["target"] == "label" and facts["towers"] == {}
    assert facts["recipe"]["encoders"]["picture"] == "image.plain" and facts["classes"] == ["rain", "snow", "sun"]
    assert {"polysense", "torch", "python"} <= set(facts["made"]["versions"])
    assert [column[0] for column in facts["data"]["columns"]]


# evaluation -------------------------------------------------------------------------------------------------


def test_the_evaluation_has_the_promised_keys(fitted, unseen):
    found = json.loads(json.dumps(fitted.evaluate(unseen, subsets=True, samples=100), allow_nan=False))
    assert {"records", "scores", "baselines", "subsets", "bad_cells"} <= set(found)
    assert found["records"] == 40 and found["bad_cells"] == []
    assert set(found["baselines"]) == {"majority", "best_single", "concat_logistic"}
    assert found["baselines"]["best_single"]["view"] in ALL.split()
    for scores in (found["scores"], found["baselines"]["majority"], found["baselines"]["concat_logistic"]):
        for name in ("accuracy", "macro_f1", "log_loss", "ece"):
            assert set(scores[name]) == {"value", "low", "high"}
            assert scores[name]["low"] <= scores[name]["value"] + 1e-9 <= scores[name]["high"] + 1e-6, name
    assert len(found["subsets"]) == 2**5 - 1
    for row in found["subsets"]:
        assert {"present", "records", "too_few", "scores", "best_single", "specialist", "specialist_filled", "difference",
                "difference_filled", "p", "p_holm"} <= set(row)
        assert set(row["present"]) <= set(ALL.split())
        having = sum(all(here(record, view) for view in row["present"]) for record in unseen)
        assert row["records"] == having
        if row["difference"]:
            expected = row["scores"]["accuracy"]["value"] - row["specialist"]["accuracy"]["value"]
            assert row["difference"]["accuracy"]["value"] == pytest.approx(expected)


def here(record: dict, view: str) -> bool:
    columns = ("temperature", "wind", "place", "windows", "day") if view == "table" else (view,)
    return any(record[column] is not None for column in columns)


def test_a_subset_is_judged_with_everything_else_masked(fitted, unseen):
    """Accuracy of {text}: the records that have a text, asked with nothing but their text."""
    row = next(r for r in fitted.evaluate(unseen, subsets=True, samples=20)["subsets"] if r["present"] == ["text"])
    only = [{"text": record["text"], "label": record["label"]} for record in unseen if record["text"] is not None]
    assert row["scores"]["accuracy"]["value"] == pytest.approx(fitted.score(only))


def test_evaluating_the_same_twice_gives_the_same(little):
    asked = records(20, seed=1)
    assert little.evaluate(asked, subsets=True, samples=50) == little.evaluate(asked, subsets=True, samples=50)


def test_a_report_is_one_page_without_outside_resources(fitted, unseen):
    page = fitted.report(fitted.evaluate(unseen, subsets=True, samples=20), unseen, "Weather")
    assert page.lstrip().lower().startswith("<!doctype html") and "Weather" in page
    import re

    assert not re.search(r"""(src|href)\s*=\s*["'](https?:)?//""", page) and "<script src" not in page


def test_as_many_classes_as_records_is_an_id_and_said_so():
    rows = [record | {"label": f"class {i}"} for i, record in enumerate(records(60))]
    with pytest.raises(BadTable, match=r"'label' holds 50 classes in 50 training records.*an id"):
        model().fit(rows)


@pytest.mark.parametrize("option", ["task.smoothing", "fusion.dropout", "train.regressions"])
def test_a_word_for_a_number_is_refused_before_anything_is_read(option):
    with pytest.raises(BadOption, match=option):
        Model("label", options={option: "x"}).fit("no such table")


def test_one_record_that_is_no_list_is_refused():
    with pytest.raises(PolysenseError, match=r"put it into a list: \[record\]"):
        model().fit(records(12)[0] | {"label": "rain"})


def test_fit_tells_every_unreadable_cell(capsys):
    rows = [{key: record[key] for key in ("picture", "wind", "label")} for record in demo.made_up(40)]
    rows[3]["picture"] = b"no picture"
    Model("label", options=QUICK, encoders={"picture": "image.plain"}, verbose=True, cache=False).fit(rows)
    assert "1 cell in 1 of 40 records cannot be read:\n  row 3, column 'picture'" in capsys.readouterr().err


def test_the_line_of_an_encoder_names_a_command_that_can_be_copied(capsys):
    Model("label", options=QUICK, verbose=True).fit(records(30, views="text_zh"))
    said = capsys.readouterr().err
    assert "text_zh <- text.plain: " in said and "--encoder text_zh=text.pretrained:" in said and "VIEW" not in said

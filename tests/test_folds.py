"""Folds and seeds: several models as one, every record judged by a model that has not seen it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import polysense
from door import Door, door  # noqa: F401  (a fixture)
from polysense import several
from polysense.data.records import as_records
from polysense.data.tables import open_table
from polysense.errors import BadOption, BadTable, Mistake
from polysense.learn.rivals import Rivals
from polysense.talk import Talk
from small import model, records

FAST = {"train.epochs": 2, "train.members": 1, "train.dim": 8}


def grouped(n: int = 48, seed: int = 0) -> list[dict]:
    """Records with groups of two, the class in the table's place."""
    return [row | {"who": f"g{i // 2}"} for i, row in enumerate(records(n, seed, views="table"))]


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return grouped()


@pytest.fixture(scope="module")
def folded(rows):
    return model("table", folds=3, group="who", options=FAST).fit(rows)


@pytest.fixture(scope="module")
def seeded(rows):
    return model("table", seeds=3, seed=5, group="who", options=FAST).fit(rows[:36], valid=rows[36:])


def plans(made, rows, kind="folds", tables=None):
    tables = tables or [open_table(rows, "label", None, lambda text: None)]
    return several._plans(made, kind, tables, [t for table in tables for t in table.targets], Talk(False))


# folds ------------------------------------------------------------------------------------------------


def test_every_record_is_judged_once_by_a_model_that_saw_neither_it_nor_its_group(folded, rows):
    made = plans(folded, rows)
    assert sorted(row for plan in made for row in plan.judged) == list(range(48))
    for plan in made:
        who = [{rows[i]["who"] for i in part} for part in (plan.train, plan.valid, plan.judged)]
        assert not who[0] & who[1] and not who[0] & who[2] and not who[1] & who[2]
        assert len(plan.train) + len(plan.valid) + len(plan.judged) == 48 and len(plan.valid) in range(4, 7)
        classes = [rows[i]["label"] for i in plan.judged]
        assert max(map(classes.count, set(classes))) - min(map(classes.count, set(classes))) <= 4, "stratified"


def test_the_scores_are_those_of_each_records_own_model(folded, rows):
    right, sure = [], []
    for plan, one in zip(plans(folded, rows), folded.several_.models, strict=True):
        said = one.predict_proba([rows[i] for i in plan.judged])
        truth = [list(one.classes_).index(rows[i]["label"]) for i in plan.judged]
        right += (said.argmax(1) == truth).tolist()
        sure += (-np.log(said[np.arange(len(truth)), truth])).tolist()
    scores = folded.valid_["scores"]
    assert folded.valid_["records"] == 48 and folded.valid_["groups"] == 24
    assert scores["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert scores["log_loss"]["value"] == pytest.approx(np.mean(sure), abs=1e-5)
    each = folded.made_["several"]["each"]
    assert list(each) == ["fold 1", "fold 2", "fold 3"]
    assert np.average([one["accuracy"] for one in each.values()], weights=[len(p.judged) for p in plans(folded, rows)]) == (
        pytest.approx(np.mean(right))
    )
    assert folded.valid_["baselines"]["best_single"] and folded.valid_["baselines"]["concat_logistic"]


def test_mistakes_are_named_by_their_rows_in_the_table(folded, rows):
    for mistake in folded.valid_["mistakes"]:
        assert rows[mistake["row"]]["label"] == mistake["truth"]
    assert len(folded.valid_["mistakes"]) > 3


def test_the_answer_is_the_mean_of_the_models_answers(folded, rows):
    mean = np.mean([one.predict_proba(rows[:7]) for one in folded.several_.models], 0)
    assert np.abs(folded.predict_proba(rows[:7]) - mean).max() < 1e-6
    assert folded.predict(rows[:7]).tolist() == [folded.classes_[i] for i in mean.argmax(1)]
    apart = [one.predict_proba(rows[:7]) for one in folded.several_.models]
    assert np.abs(apart[0] - apart[1]).max() > 1e-3, "the models differ"


def test_with_nothing_present_the_answer_is_the_prior_of_all_records(folded, rows):
    labels = [row["label"] for row in rows]
    prior = [labels.count(name) / 48 for name in folded.classes_]
    assert folded.predict_proba([{}])[0] == pytest.approx(prior, abs=1e-6)


def test_noise_is_not_learned_out_of_fold():
    """Classes drawn at random for texts that each occur once: the models know their own records, not the others'."""
    rng = np.random.default_rng(0)
    rows = [{"text": " ".join(rng.choice(list("abcdefghijklmnop"), 6)) + f" w{i}", "label": "xy"[rng.integers(2)]} for i in range(60)]
    made = model("text", folds=3, options={"train.epochs": 12, "train.members": 1, "train.dim": 16}).fit(rows)
    assert made.valid_["scores"]["accuracy"]["value"] < 0.68 < made.score(rows)


def test_saved_it_answers_the_same_bits_and_is_judged_beside_its_rivals(folded, rows, tmp_path):
    folded.save(tmp_path / "m")
    again = polysense.load(tmp_path / "m")
    assert np.array_equal(again.predict_proba(rows), folded.predict_proba(rows))
    assert again.folds == 3 and len(again.several_.models) == 3
    ours, theirs = again.evaluate(rows, subsets=True), folded.evaluate(rows, subsets=True)
    assert ours == theirs and ours["subsets"][0]["specialist"]["accuracy"]["value"] is not None
    assert "fold 1" in again.report(ours, rows)
    again.save(tmp_path / "again")
    assert np.array_equal(polysense.load(tmp_path / "again").predict_proba(rows), folded.predict_proba(rows))


def test_the_specialist_is_the_mean_of_the_models_specialists(folded, rows):
    """By hand: the whole model's rival of the table answers as the three on average."""
    cells = folded._cells(as_records(rows))
    found, _ = folded.several_.numbers(cells, rivals=True)
    said = folded.rivals_.answer(("table",), found.plain, found.present_NV)
    mean = 0
    for one in folded.several_.models:
        mine, _ = one._numbers(cells, rivals=True)
        mean = mean + one.rivals_.answer(("table",), mine.plain, mine.present_NV) / 3
    assert np.abs(said - mean).max() < 1e-9


def test_a_class_that_a_model_has_not_seen():
    """A class of one group: the fold that holds it is judged by a model that knows two classes; columns still fit."""
    rows = [row for row in grouped(40) if row["label"] != "rain"]
    rows += [rows[0] | {"label": "rain", "who": "one"} for _ in range(2)]
    made = model("table", folds=3, group="who", options=FAST).fit(rows)
    assert sorted(len(one.classes_) for one in made.several_.models) == [2, 3, 3]
    answers = made.predict_proba(rows)
    assert answers.shape == (len(rows), 3) and answers.sum(1) == pytest.approx(1.0, abs=1e-5)
    assert made.task_.counts.tolist() == [[row["label"] for row in rows].count(name) for name in made.classes_]
    mean = np.zeros(3)
    for one in made.several_.models:
        for name, share in zip(one.classes_, one.predict_proba(rows[:1])[0], strict=True):
            mean[list(made.classes_).index(name)] += share / 3
    assert answers[0] == pytest.approx(mean, abs=1e-6)


def test_validation_records_that_are_named(rows):
    made = model("table", folds=2, group="who", options=FAST).fit(rows[:30], valid=rows[30:])
    for plan in plans(made, rows, tables=[open_table(part, "label", None, lambda text: None) for part in (rows[:30], rows[30:])]):
        assert plan.valid.tolist() == list(range(30, 48)) and len(plan.train) + len(plan.judged) == 30
    assert made.valid_["records"] == 30
    marked = [row | {"part": "valid" if i % 4 == 0 else "test" if i % 4 == 1 else "train"} for i, row in enumerate(rows)]
    split = model("table", folds=2, group="who", split="part", options=FAST).fit(marked)
    assert split.valid_["records"] == 24 and "part" not in [c for view in split.schema_.views for c in view.columns]


def test_targets_beside_the_records(rows):
    bare = [{key: value for key, value in row.items() if key != "label"} for row in rows]
    labels = [row["label"] for row in rows]
    apart = model("table", folds=2, target=None, group="who", options=FAST).fit(bare, labels)
    inside = model("table", folds=2, group="who", options=FAST).fit(rows)
    assert np.array_equal(apart.predict_proba(bare), inside.predict_proba(bare))


def test_unreadable_cells_are_named_by_their_rows(tmp_path):
    rows = records(24, views="picture table", folder=tmp_path, missing=0.0)
    (tmp_path / "odd.png").write_bytes(b"no picture")
    rows[17]["picture"] = str(tmp_path / "odd.png")
    made = model("picture table", folds=2, options=FAST).fit(as_records(rows, folder=tmp_path))
    assert [(cell["row"], cell["column"]) for cell in made.data_report_["bad_cells"]] == [(17, "picture")]


def test_own_modules_are_copied_for_each_model(tmp_path):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 4)

        def forward(self, batch):
            return self.layer(batch["x"].float().flatten(2).mean(2))

    rows = as_records(records(18, views="picture", folder=tmp_path, missing=0.0), folder=tmp_path)
    net = Net()
    before = net.layer.weight.clone()
    made = model("picture", folds=2, encoders={"picture": net}, options=FAST | {"picture.pixels": 32}).fit(rows)
    own = [one.network_.encoders.encoders["picture"].module.layer.weight for one in made.several_.models]
    assert torch.equal(net.layer.weight, before) and not torch.equal(own[0], own[1])
    made.save(tmp_path / "m")
    again = polysense.load(tmp_path / "m", encoders={"picture": Net()})
    assert np.array_equal(again.predict_proba(rows), made.predict_proba(rows))


# unfinished -------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


@pytest.mark.parametrize("more", [{"folds": 3}, {"seeds": 3}])
def test_killed_in_the_second_model_it_goes_on_to_the_same_bits(rows, tmp_path, monkeypatch, more):
    options = FAST | {"train.checkpoint": 0}
    whole = model("table", group="who", options=options, **more).fit(rows)
    real, calls, trained = polysense.Model._finish, [0], [0]

    def dying(self, job):
        calls[0] += 1
        if calls[0] == 2:
            raise Killed
        real(self, job)

    train = Rivals.train.__func__
    monkeypatch.setattr(Rivals, "train", classmethod(lambda cls, *a, **k: trained.__setitem__(0, trained[0] + 1) or train(cls, *a, **k)))
    monkeypatch.setattr(polysense.Model, "_finish", dying)
    with pytest.raises(Killed):
        model("table", group="who", options=options, **more).fit(rows, checkpoints=tmp_path / "f")
    kind = next(iter(more))[:-1]
    assert sorted(path.name.split("-")[0] for path in (tmp_path / "f").iterdir()) == [kind, kind]
    before, calls[0] = trained[0], 9
    made = model("table", group="who", options=options, **more).fit(rows, checkpoints=tmp_path / "f", resume=True)
    assert np.array_equal(made.predict_proba(rows), whole.predict_proba(rows))
    assert trained[0] - before == (1 if kind == "fold" else 0), "what was learned before is not learned again"
    with pytest.raises(BadOption, match="fusion was None and is 'sum'"):
        model("table", group="who", options=options, fusion="sum", **more).fit(rows, checkpoints=tmp_path / "f", resume=True)
    made.save(tmp_path / "m")
    assert not (tmp_path / "f").exists()


def test_folders_of_something_else(rows, tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "letter.txt").write_text("x")
    with pytest.raises(Mistake, match="holds something other than an unfinished fit"):
        model("table", folds=2, options=FAST).fit(rows, checkpoints=tmp_path / "f")
    assert (tmp_path / "f" / "letter.txt").exists()
    (tmp_path / "g" / "seed-0").mkdir(parents=True)
    with pytest.raises(BadOption, match="is not one of folds"):
        model("table", folds=2, options=FAST).fit(rows, checkpoints=tmp_path / "g", resume=True)
    with pytest.raises(BadOption, match="resume=True needs the folder"):
        model("table", folds=2, options=FAST).fit(rows, resume=True)


# seeds ------------------------------------------------------------------------------------------------


def test_seeds_differ_by_their_seed_alone(seeded, rows):
    """The first of them is the model of that seed; rivals and encoders that learn nothing by chance are the first one's."""
    assert [one.seed for one in seeded.several_.models] == [5, 6, 7]
    alone = model("table", seed=5, group="who", options=FAST).fit(rows[:36], valid=rows[36:])
    first, second, third = (one.predict_proba(rows) for one in seeded.several_.models)
    assert np.array_equal(first, alone.predict_proba(rows))
    assert not np.array_equal(first, second) and not np.array_equal(second, third)
    assert all(one.rivals_ is seeded.several_.models[0].rivals_ for one in seeded.several_.models)
    assert np.abs(seeded.predict_proba(rows) - (first + second + third) / 3).max() < 1e-6


def test_the_spread_by_hand(seeded, rows):
    """Mean and deviation (n - 1) of the three models' own validation figures; the model is judged by their mean answer."""
    truth = [row["label"] for row in rows[36:]]
    right = [np.mean(one.predict(rows[36:]) == truth) for one in seeded.several_.models]
    found = seeded.made_["several"]
    assert found["kind"] == "seeds" and list(found["each"]) == ["seed 5", "seed 6", "seed 7"]
    assert [one["accuracy"] for one in found["each"].values()] == pytest.approx(right)
    spread = found["spread"]["accuracy"]
    assert spread == pytest.approx({"mean": np.mean(right), "deviation": np.std(right, ddof=1), "low": min(right), "high": max(right)})
    assert seeded.valid_["scores"]["accuracy"]["value"] == pytest.approx(np.mean(seeded.predict(rows[36:]) == truth))
    assert seeded.valid_["records"] == 12
    assert several.spread_lines(found)[0].startswith(f"accuracy over 3 seeds: mean {np.mean(right):.3f}, deviation ")


def test_shared_rivals_are_saved_once(seeded, rows, tmp_path):
    seeded.save(tmp_path / "m")
    parts = json.loads((tmp_path / "m" / "model.json").read_text())["model"]["parts"]
    assert parts["part-0"]["rivals"] and parts["part-1"]["rivals"] is None
    again = polysense.load(tmp_path / "m")
    assert np.array_equal(again.predict_proba(rows), seeded.predict_proba(rows))
    assert again.several_.kind == "seeds" and [one.seed for one in again.several_.models] == [5, 6, 7]


# refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "words"), [
    ({"folds": 1}, "folds=1 must be a whole number of at least 2"),
    ({"folds": 2.5}, "folds=2.5 must be a whole number"),
    ({"seeds": 0}, "seeds=0 must be a whole number of at least 1"),
    ({"seeds": True}, "seeds=True must be"),
    ({"folds": 3, "seeds": 2}, "folds=3 and seeds=2 do not go together"),
    ({"folds": 3, "tune": "all"}, "tune and folds do not go together"),
    ({"folds": 30, "group": "who"}, "30 folds of 24 groups of records"),
])
def test_what_does_not_go(rows, settings, words):
    with pytest.raises(BadOption, match=words):
        model("table", options=FAST, **settings).fit(rows)


def test_a_tower_runs_once_for_all_models(tmp_path, monkeypatch):
    """Without the cache on disk too; so do the costly plain features, when the models answer."""
    from polysense.modality.image import ImagePlain

    rows = as_records(records(20, views="picture table", folder=tmp_path, missing=0.0), folder=tmp_path)
    seen: list[int] = []
    real = ImagePlain.transform
    monkeypatch.setattr(ImagePlain, "transform", lambda self, values: seen.append(len(values)) or real(self, values))
    made = model("picture table", folds=2, cache=False, options=FAST).fit(rows)
    assert 0 < sum(seen) <= 20
    seen.clear()
    made.evaluate(rows)
    assert sum(seen) <= 40


# the door ---------------------------------------------------------------------------------------------


def test_folds_through_the_door(door: Door):  # noqa: F811
    done = door.polysense(
        "fit", "weather.csv", "--target", "label", "--out", "folded", "--folds", "2", "--columns", "picture=ignore,sound=ignore",
        "--set", "train.epochs=1",
    )
    assert done.returncode == 0, done.stderr
    assert "2 folds of 36 records" in done.stderr and "Out of fold, each record judged by the model that has not seen it" in done.stderr
    assert "accuracy over 2 folds: mean" in done.stderr and not door.tried
    shown = door.polysense("show", "folded")
    assert "2 models, one of each of 2 folds, answers averaged; alone: accuracy" in shown.stdout
    card = (door.folder / "folded" / "README.md").read_text()
    assert "36 records, each judged by the model that saw neither it nor its group" in card
    wrong = door.polysense("fit", "weather.csv", "--target", "label", "--out", "x", "--folds", "1")
    assert wrong.returncode == 2 and wrong.stderr == "polysense: folds=1 must be a whole number of at least 2\n"


def test_class_folders_through_the_door(door: Door):  # noqa: F811
    """Pictures in class folders under train and valid are learned, shown and answered; the unreadable one is named."""
    root = door.folder / "skies"
    for i, row in enumerate(door.rows):
        if row["picture"]:
            place = root / ("valid" if i % 4 == 0 else "train") / row["label"]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{i}.png").write_bytes((door.folder / row["picture"]).read_bytes())
    (root / "train" / "sun" / "broken.png").write_bytes(b"nothing")
    done = door.polysense(
        "fit", "skies", "--target", "label", "--out", "sky", "--encoder", "image=image.plain", "--set", "train.epochs=1",
    )
    assert done.returncode == 0, done.stderr
    assert "column 'image'" in done.stderr and "cannot be read" in done.stderr and "split" in done.stderr
    pictures = sum(1 for path in root.rglob("*.png"))
    valid = sum(1 for path in (root / "valid").rglob("*.png"))
    assert f"{pictures - valid} records for training, {valid} for validation" in done.stderr
    answers = door.polysense("predict", "sky", "skies/valid/sun")
    assert answers.returncode == 0 and len(answers.stdout.splitlines()) == 1 + len(list((root / "valid" / "sun").iterdir()))

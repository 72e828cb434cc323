"""quality: what each one chooses on which hardware, that what is named stays, and that a recipe makes the same model again."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from polysense import Model, load, store
from polysense.data.records import write_csv
from polysense.errors import BadOption
from polysense.learn import quality
from polysense.learn.plan import fitting_options
from polysense.learn.quality import FAST, Hardware, chosen
from small import model, records
from test_regress import polysense

SMALL, LAPTOP, SERVER = Hardware(1, "", 1.0), Hardware(2, "", 24.0), Hardware(16, "some GPU", 128.0)
VIEWS = {"note": "text", "photo": "image", "table": "table"}


def best(settings=None, records=600, groups=600, machine=LAPTOP, views=VIEWS):
    return chosen("best", settings or {}, views, records, groups, machine)


# choosing --------------------------------------------------------------------------------------------


def test_fast_is_plain_features_and_one_member():
    added, line = chosen("fast", {}, VIEWS, 600, 600, LAPTOP)
    assert added == {"encoders": {"note": "text.plain", "photo": "image.plain", "table": "table.mlp"}, "options": FAST}
    assert line.startswith("quality fast on 2 cores, no GPU, 24 GiB of memory free, 600 records: plain features and one member")


def test_fast_leaves_what_is_named():
    """An encoder, all of them, an option that only another encoder has, an option of its own (flat or nested)."""
    def fast(**settings):
        return chosen("fast", settings, VIEWS, 600, 600, LAPTOP)

    added, line = fast(encoders={"note": "text.bag"}, options={"photo.widths": [8], "train": {"members": 3}})
    assert added["encoders"] == {"note": "text.bag", "table": "table.mlp"}, "image.plain has no widths: the default chooses"
    assert added["options"] == {"train.members": 3, "photo.widths": [8]} and FAST == {"train.members": 1}
    assert line.endswith("; what you named stays (encoders, options)")
    assert fast(encoders={"*": "auto"})[0]["encoders"] == {"*": "auto"}


def test_best_tries_encoders_and_folds_without_a_gpu():
    added, line = best()
    assert added == {"encoders": {"*": "auto"}, "folds": 5} and "tuning them takes a GPU" in line
    assert best(records=10_000)[0]["folds"] == 3, "5 times 10,000 are too many for two cores"
    added, line = best(records=20_000)
    assert set(added) == {"encoders"} and "more cores or memory" in line
    assert best(records=5_000, machine=SMALL)[0].get("folds") == 3 and "folds" not in best(records=9_000, machine=SMALL)[0]
    assert best(groups=49)[0] == {"encoders": {"*": "auto"}, "seeds": 5} and best(groups=50)[0]["folds"] == 5


def test_best_tunes_towers_where_there_is_a_gpu():
    added, line = best(machine=SERVER)
    assert added == {"encoders": {"*": "auto"}, "tune": "all"} and "there is a GPU" in line
    added, line = best(machine=SERVER, views={"table": "table"})
    assert added["folds"] == 5 and "no view has a tower" in line


@pytest.mark.parametrize("named", [{"folds": 3}, {"seeds": 4}, {"tune": "photo"}])
def test_best_leaves_what_is_named(named, monkeypatch):
    """One of folds, seeds and tune excludes the others; encoders of views stay beside auto for the rest."""
    for machine in (LAPTOP, SERVER):
        added, line = best(named, machine=machine)
        assert added == {"encoders": {"*": "auto"}} and f"what you named stays ({next(iter(named))})" in line
    assert best({"encoders": {"note": "text.bag"}})[0]["encoders"] == {"*": "auto", "note": "text.bag"}
    assert "encoders" not in best({"encoders": dict.fromkeys(VIEWS, "x")})[0], "nothing is left to choose"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "encoders" not in best()[0], "auto tries encoders in one process"


def test_the_hardware_of_this_machine():
    here = quality.hardware()
    assert here.cores >= 1 and here.gib > 0 and isinstance(here.gpu, str)


def test_a_quality_that_does_not_exist():
    with pytest.raises(BadOption, match="quality='good' must be 'fast', 'balanced' or 'best'"):
        Model("label", quality="good").fit(records(40))


def test_towers_are_fetched_for_views_that_have_none_and_only_when_allowed(monkeypatch):
    """English text has a packaged tower here or elsewhere, Chinese text and sounds have one on the hub alone."""
    monkeypatch.setattr(quality, "on_disk", lambda tower: tower.name in ("minilm-l6", "efficientnet-lite0"))
    views = [("text", {"en"}), ("text", {"zh"}), ("text", {"en", "zh"}), ("image", set()), ("audio", set()), ("table", set())]
    assert [tower.name for tower in quality.missing(views)] == ["multilingual-e5-small", "whisper-tiny"]
    asked = []
    monkeypatch.setattr(quality, "find", lambda name, modality, download: asked.append((name, modality, download)))
    rows = [{"text_zh": "今天天气很好", "label": "ab"[i % 2], "size": i} for i in range(40)]
    monkeypatch.setattr(Model, "_begin", lambda *given: pytest.fail("far enough"))
    for download in (False, True):
        with pytest.raises(pytest.fail.Exception):
            Model("label", quality="best", folds=2, columns={"text_zh": "text"}, download=download).fit(rows)
        assert asked == ([("multilingual-e5-small", "text", True)] if download else [])


# a model ---------------------------------------------------------------------------------------------


def test_balanced_is_the_default_bit_for_bit():
    rows = records(60)
    one, two = model().fit(rows), model(quality="balanced").fit(rows)
    assert (one.predict_proba(rows) == two.predict_proba(rows)).all() and "quality" not in two.made_


def test_fast_is_recorded_and_its_recipe_makes_it_again(tmp_path, capsys):
    """The settings of the constructor stay; what was chosen stands in model.json, recipe, report and card."""
    rows, table = records(80), tmp_path / "t.csv"
    write_csv(table, {name: [row[name] for row in rows] for name in rows[0]})
    polysense(capsys, "fit", table, "--target", "label", "--out", tmp_path / "m", "--quality", "fast", "--set", "train.dim=8")
    facts = store.load(tmp_path / "m")[0]
    assert facts["recipe"]["quality"] == "balanced" and facts["recipe"]["encoders"]["text"] == "text.plain"
    assert facts["recipe"]["options"] == FAST | {"train.dim": 8}
    line = facts["made"]["quality"]
    assert line.startswith("quality fast on ") and line in polysense(capsys, "show", tmp_path / "m")[0]
    assert "Its settings were chosen by quality fast" in (tmp_path / "m" / "README.md").read_text()
    made = load(tmp_path / "m")
    assert "quality fast on" in made.report(made.evaluate(str(table)), str(table))
    kept = {name: value for name, value in facts["recipe"].items() if value not in (None, {})}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(kept))
    polysense(capsys, "fit", table, "--recipe", tmp_path / "r.yaml", "--out", tmp_path / "n")
    assert (load(tmp_path / "n").predict_proba(str(table)) == made.predict_proba(str(table))).all()


def test_best_on_a_small_machine(monkeypatch, capsys, tmp_path):
    """Encoders tried once, three folds; saved, loaded, and made again from what was chosen."""
    monkeypatch.setattr(quality, "hardware", lambda: SMALL)
    monkeypatch.setattr(quality, "MODELS", (2,))
    rows = records(90, missing=0.0)
    one = Model("label", quality="best", verbose=True, options={"train.epochs": 2, "train.dim": 8, "auto.seconds": 0.0})
    one.fit(rows)
    assert "quality best on 1 core, no GPU, 1 GiB of memory free, 90 records: encoders are tried" in capsys.readouterr().err
    assert one.get_params()["folds"] is None and one.quality == "best" and one.several_.kind == "folds"
    one.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.folds == 2 and again.quality == "balanced" and again.made_["quality"].startswith("quality best")
    assert (again.predict_proba(rows) == one.predict_proba(rows)).all()
    third = Model(**again.get_params()).fit(rows)
    np.testing.assert_array_equal(third.predict_proba(rows), one.predict_proba(rows))


def test_with_a_gpu_and_no_tower_nothing_is_tuned(monkeypatch):
    """auto may choose encoders without towers; that is no mistake of the user's."""
    monkeypatch.setattr(quality, "hardware", lambda: SERVER)
    made = model(quality="best").fit(records(60))
    assert "tuned" not in made.made_ and made._settings()["tune"] is None
    with pytest.raises(BadOption, match="there is nothing to tune"):
        model(tune="all").fit(records(60))


def test_an_unfinished_fit_of_a_quality_is_gone_on_with(tmp_path):
    """It is told apart by what was chosen, as any other fit."""
    rows = records(60)
    made = model(quality="fast").fit(rows, checkpoints=tmp_path / "f")
    again = model(quality="fast").fit(rows, checkpoints=tmp_path / "f", resume=True)
    assert (made.predict_proba(rows) == again.predict_proba(rows)).all()
    with pytest.raises(BadOption, match="cannot be resumed"):
        model().fit(rows, checkpoints=tmp_path / "f", resume=True)


# recipes ---------------------------------------------------------------------------------------------


def test_a_recipe_after_auto_has_the_options_of_what_was_chosen(tmp_path):
    """auto gave an option to the encoders that have it; the recipe names one that has it not, and fits again."""
    rows = records(160, missing=0.0)
    given = {"train.epochs": 2, "train.dim": 8, "text.heads": 2, "auto.seconds": 0.0}
    made = Model("label", encoders={"text": "auto"}, options=given, columns={"text": "text"}).fit(rows)
    assert made._encoders()["text"].startswith(("text.plain", "text.pretrained"))
    made.save(tmp_path / "m")
    recipe = store.load(tmp_path / "m")[0]["recipe"]
    assert "text.heads" not in recipe["options"] and recipe["options"]["train.dim"] == 8
    again = Model(**recipe).fit(rows)
    assert (again.predict_proba(rows[:9]) == made.predict_proba(rows[:9])).all()
    assert made.options == given, "the settings themselves stay"
    assert fitting_options({"text": {"heads": 1}, "x.y": 1}, {"text": "text.plain"}) == {"text": {}, "x.y": 1}

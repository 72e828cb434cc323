"""A caption by a language model from the table to the folder: it learns, it is kept, it goes on, it refuses another."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import polysense
from polysense import Model, demo
from polysense.errors import BadModel, BadOption
from polysense.judge.card import card
from polysense.store import load as stored
from test_cli import run  # noqa: F401  (a fixture)
from tiny_language import COLOURS, TEXTS, THINGS, tiny_language  # noqa: F401  (a fixture)

#: Quick, and without what needs many records.
QUICK = {
    "train.epochs": 12, "train.dim": 32, "train.drop": 0, "train.dropout": 0.0, "train.input_dropout": 0.0, "train.batch": 8,
    "train.average": 0, "train.rate": 1e-2, "task.longest": 8,
}


def records(n: int = 64, *, hidden: int = 8) -> list[dict]:
    """Two categories that say the text; every ``hidden``-th record lacks all of them."""
    made = []
    for i in range(n):
        colour, thing = COLOURS[i % 4], THINGS[i // 4 % 4]
        row = {"colour": colour, "thing": thing} if i % hidden or not hidden else {"colour": None, "thing": None}
        made.append({**row, "text": f"a {colour} {thing}"})
    return made


def model(folder, **options) -> Model:
    return Model(
        "text", task="caption", columns={"colour": "category", "thing": "category"},
        options={**QUICK, "task.decoder": "language", "task.model": str(folder), **options},
    )


@pytest.fixture(scope="module")
def learned(tiny_language):
    """Bridge first, then low-rank factors."""
    pytest.importorskip("peft")
    return model(
        tiny_language("read"), **{"task.lora": 4, "tune.epochs": 2, "tune.batch": 8, "train.epochs": 20}
    ).fit(records(hidden=64))


def test_it_learns_to_say_what_it_sees(learned):
    """Sixteen texts of which the most frequent is right once in sixteen."""
    asked = records(16, hidden=99)[1:]
    assert np.mean(learned.predict(asked) == [one["text"] for one in asked]) > 0.6
    assert set(learned.predict([{"colour": None, "thing": None}])) <= set(TEXTS), "nothing is known: the most frequent text"


def stored_facts(made, folder) -> dict:
    made.save(folder / "told")
    return stored(folder / "told")[0]


def test_what_became_of_the_second_training_is_told(learned, tmp_path):
    made = learned.made_["deepened"]
    assert made["kept"] in ("first", "second") and made["parameters"] > 0 and made["rate"] == 1e-3
    names = set(learned.network_.members.ranks)
    assert any("factors" in name for name in names) == (made["kept"] == "second")
    best = min(epoch["valid_loss"] for epoch in made["epochs"])
    assert (best < made["first"]) == (made["kept"] == "second")
    told = card(stored_facts(learned, tmp_path), "model")
    assert (f"let {made['parameters']:,} low-rank parameters" in told) == (made["kept"] == "second")
    assert "| task.model |" in told, "the language model with its licence and hash"


def test_the_language_model_is_named_and_not_stored(learned, tiny_language, tmp_path):
    learned.save(tmp_path / "model")
    facts, _ = stored(tmp_path / "model")
    tower = facts["towers"]["task.model"]
    assert len(tower["sha256"]) == 64 and tower["name"] == str(tiny_language("read"))
    weights = (tiny_language("read") / "model.safetensors").stat().st_size
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 1.5 * weights
    assert not list((tmp_path / "model").rglob("config.json"))


def test_saved_and_loaded_it_says_the_same(learned, tmp_path):
    learned.save(tmp_path / "model")
    again, asked = polysense.load(tmp_path / "model"), records(20)
    assert again.predict(asked).tolist() == learned.predict(asked).tolist()
    weights = learned.network_.state_dict()
    assert all((value == weights[key]).all() for key, value in again.network_.state_dict().items())
    assert [again.predict([one])[0] for one in asked] == learned.predict(asked).tolist(), "alone as in the batch"


def test_a_folder_that_carries_it_answers_without_it(tiny_language, tmp_path):
    own = shutil.copytree(tiny_language("read"), tmp_path / "own")
    made = model(own, **{"train.epochs": 1}).fit(records())
    made.save(tmp_path / "bare")
    made.save(tmp_path / "whole", with_towers=True)
    said = made.predict(records(8)).tolist()
    own.rename(tmp_path / "gone")
    assert polysense.load(tmp_path / "whole").predict(records(8)).tolist() == said
    with pytest.raises(polysense.errors.UnknownName, match="no language tower"):
        polysense.load(tmp_path / "bare").predict(records(8))
    shutil.copytree(tiny_language("llama"), own)
    with pytest.raises(BadModel, match="put back the one it was trained with"):
        polysense.load(tmp_path / "bare").predict(records(8))


def test_a_second_training_that_does_not_help_leaves_the_bits_of_the_first(tiny_language):
    pytest.importorskip("peft")
    first = model(tiny_language("read"), **{"train.epochs": 2}).fit(records())
    ruined = model(
        tiny_language("read"), **{"train.epochs": 2, "task.lora": 2, "tune.epochs": 1, "tune.rate": 100.0, "tune.clip": 0},
    ).fit(records())
    assert ruined.made_["deepened"]["kept"] == "first"
    weights = first.network_.state_dict()
    assert set(weights) == set(ruined.network_.state_dict())
    assert all((value == weights[key]).all() for key, value in ruined.network_.state_dict().items())


def test_killed_in_the_second_training_it_goes_on_to_the_same_bits(tiny_language, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    settings = {"train.epochs": 2, "task.lora": 2, "tune.epochs": 3, "tune.batch": 16, "train.checkpoint": 0}
    whole = model(tiny_language("read"), **settings).fit(records())
    steps = {"made": 0}

    class Killed(BaseException):
        pass

    from polysense.learn import course

    real = course.Course.step

    def step(self, *args):
        steps["made"] += any("factors" in name for name in self.network.members.ranks)
        if steps["made"] == 5:
            raise Killed
        return real(self, *args)

    monkeypatch.setattr(course.Course, "step", step)
    with pytest.raises(Killed):
        model(tiny_language("read"), **settings).fit(records(), checkpoints=tmp_path / "on")
    monkeypatch.setattr(course.Course, "step", real)
    again = model(tiny_language("read"), **settings).fit(records(), checkpoints=tmp_path / "on", resume=True)
    weights = whole.network_.state_dict()
    assert set(weights) == set(again.network_.state_dict())
    assert all((value == weights[key]).all() for key, value in again.network_.state_dict().items())


@pytest.mark.parametrize(("views", "bridge"), [
    ("text", "resampler"), ("sound text_zh", "projector"), ("picture table", "linear"),
])
def test_any_views_become_words(tiny_language, views, bridge):
    """Text alone, sound and text, picture and numbers; every record may lack any of them."""
    plain = {"picture": "image.plain", "sound": "audio.plain", "text": "text.plain", "text_zh": "text.plain"}
    wanted = {"label", *views.split(), *(("temperature", "wind") if "table" in views else ())}
    rows = [{key: value for key, value in one.items() if key in wanted} for one in demo.made_up(40)]
    for one in rows:
        one["reply"] = {"sun": "a yellow flower", "rain": "a blue bus"}.get(one.pop("label"), "a green apple")
    made = Model(
        "reply", task="caption", encoders={view: name for view, name in plain.items() if view in views.split()},
        options={**QUICK, "train.epochs": 1, "task.decoder": "language", "task.model": str(tiny_language("read")),
                 "task.bridge": bridge, "task.queries": 2, "task.prompt": "this is"},
    ).fit(rows)
    assert all(isinstance(text, str) for text in made.predict(rows[:9]))
    assert made.evaluate(rows)["scores"]["cider"]["value"] is not None


def test_mistakes_are_told_before_any_work(tiny_language, tmp_path):
    with pytest.raises(BadOption, match="needs a language model: name one with task.model="):
        model("").fit(records())
    with pytest.raises(BadOption, match="task.bridge='projektor' is none; did you mean 'projector'"):
        model(tiny_language("read"), **{"task.bridge": "projektor"}).fit(records())
    with pytest.raises(BadOption, match="task.lora=-1 must be a whole number of at least 0"):
        model(tiny_language("read"), **{"task.lora": -1}).fit(records())


def test_the_command_line_fits_shows_and_predicts(run, tiny_language, tmp_path):
    table = tmp_path / "table.jsonl"
    table.write_text("\n".join(json.dumps(one) for one in records(32)))
    made = run(
        "fit", table, "--target", "text", "--task", "caption", "--columns", "colour=category,thing=category",
        "--set", "task.decoder=language", "--set", f"task.model={tiny_language('read')}", "--set", "train.epochs=1",
        "--set", "task.longest=8", "--out", tmp_path / "model",
    )
    assert made[0] == 0, made[2]
    assert f"decoder writes with {tiny_language('read')}" in run("show", tmp_path / "model")[1]
    code, said, _ = run("predict", tmp_path / "model", table)
    assert code == 0 and len(said.splitlines()) == 33
    wrong = run(
        "fit", table, "--target", "text", "--task", "caption", "--set", "task.decoder=language", "--set", "task.model=gpt5",
        "--out", tmp_path / "other",
    )
    assert wrong[0] == 2 and "there is no language tower 'gpt5'" in wrong[2]

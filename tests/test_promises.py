"""The promises of polysense, one test each; the numbers are those of the plan. Promise 8 comes with checkpoints."""

from __future__ import annotations

import json
import os
import re
import time

import numpy as np
import pytest
from PIL import Image

import polysense
from door import door, evaluated, fitted, predicted, write_table  # noqa: F401  (fixtures)
from polysense import errors
from polysense.data.cache import Cache
from small import model, records

VIEWS = "picture sound text table"


def test_1_one_table_one_command(door, fitted):
    """No option but the target and the folder; each guess is printed with its reason, each can be declared."""
    assert fitted.returncode == 0, fitted.stderr
    facts = polysense.load(door.folder / "model")
    assert {column.name: column.kind for column in facts.schema_.columns} == {
        "id": "id", "picture": "image", "text_zh": "text", "sound": "audio", "temperature": "number", "wind": "number",
        "place": "category", "windows": "flag", "day": "date",
    }
    for column in facts.schema_.columns:
        line = rf"^{re.escape(column.name)} +-> {column.kind}: {re.escape(column.reason)}$"
        assert column.reason and re.search(line, fitted.stderr, re.MULTILINE)
    declared = model(columns={"wind": "category", "day": "ignore"}).fit(records(24))
    assert {c.name: c.kind for c in declared.schema_.columns if c.declared} == {"wind": "category", "day": "ignore"}


@pytest.fixture(scope="module")
def made():
    return model(VIEWS).fit(records(48, views=VIEWS))


def test_2_any_subset_answers(made):
    """Every set of views, alone and in a batch, to 1e-5; the prior where nothing is there."""
    asked = records(8, seed=2, views=VIEWS, missing=0)
    table = ("temperature", "wind", "place", "windows", "day")
    columns = {view: table if view == "table" else (view,) for view in VIEWS.split()}
    subsets = [[view for i, view in enumerate(VIEWS.split()) if number >> i & 1] for number in range(16)]
    mixed = [
        {"label": None} | {name: record[name] for view in subset for name in columns[view]}
        for record, subset in zip(asked * 2, subsets, strict=True)
    ]
    together = made.predict_proba(mixed)
    assert np.isfinite(together).all()
    for i, record in enumerate(mixed):
        np.testing.assert_allclose(made.predict_proba([record])[0], together[i], atol=1e-5)
    np.testing.assert_array_equal(together[0], made.task_.prior())


def test_3_every_subset_beside_its_specialist(made, tmp_path):
    """fit trains the rivals, the folder keeps them: a later evaluation shows the paired difference."""
    made.save(tmp_path / "m")
    rows = polysense.load(tmp_path / "m").evaluate(records(40, seed=2, views=VIEWS), subsets=True, samples=40)["subsets"]
    assert len(rows) == 15
    for row in rows:
        for name in ("scores", "best_single", "specialist", "specialist_filled", "difference", "difference_filled"):
            assert row[name] is not None, (row["present"], name)
        for rival, difference in (("specialist", "difference"), ("specialist_filled", "difference_filled")):
            gap = row["scores"]["accuracy"]["value"] - row[rival]["accuracy"]["value"]
            assert row[difference]["accuracy"]["value"] == pytest.approx(gap)


def test_4_no_row_is_swapped_dropped_or_invented(tmp_path):
    """Each record's picture is a colour of its own; six files are broken, wrong or empty. Answers and report say just that."""
    rows = []
    (tmp_path / "p").mkdir()
    for i in range(40):
        name = f"p/{i}.png"
        Image.new("RGB", (16, 16), (250, 20, 20) if i % 2 else (20, 20, 250)).save(tmp_path / name)
        rows.append({"id": f"n{i}", "photo": name, "label": "red" if i % 2 else "blue"})
    data = (tmp_path / "p/4.png").read_bytes()
    (tmp_path / "p/4.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "p/5.png").write_bytes(b"")
    (tmp_path / "p/6.png").write_bytes(b"%PDF-1.4 no picture")
    rows[7]["photo"], rows[8]["photo"], rows[9]["photo"] = "p/gone.png", None, "https://example.org/a.png"
    table = write_table(tmp_path / "t.csv", rows)
    made = model("photo", encoders={"photo": "image.plain"}, options={"train.epochs": 12}).fit(table)
    assert [cell["row"] for cell in made.data_report_["bad_cells"]] == [4, 5, 6, 7, 9]
    assert all(cell["column"] == "photo" and cell["reason"] and cell["action"] == "masked" for cell in made.data_report_["bad_cells"])
    answers = made.answers(table)
    said = made.predict(table).tolist()
    assert len(said) == 40 and np.flatnonzero(~answers.present_NV[:, 0]).tolist() == [4, 5, 6, 7, 8, 9]
    for i, row in enumerate(rows):
        assert i in range(4, 10) or said[i] == row["label"], f"row {i}: another row's picture"
    assert made.evaluate(table)["records"] == 40
    made.max_bad = 0.1
    with pytest.raises(errors.BadTable, match=r"5 of 39 pictures cannot be read .*first in row 4"):
        made.evaluate(table)
    assert len(made.predict(table)) == 40


def test_5_a_frozen_encoder_runs_once(tmp_path, monkeypatch):
    """A second fit computes nothing again, and answers as without a cache."""
    monkeypatch.setenv("POLYSENSE_CACHE", str(tmp_path))
    views, computed = "picture sound table", []
    put = Cache.put
    monkeypatch.setattr(Cache, "put", lambda self, key, names, arrays: (computed.extend(names), put(self, key, names, arrays))[1])
    training, asked = records(40, views=views), records(36, seed=1, views=views)
    first = model(views).fit(training)
    assert len(computed) == len(set(computed)) > 40, "each content once"
    computed.clear()
    second = model(views).fit(training)
    assert not computed
    answers = second.predict_proba(asked)
    np.testing.assert_allclose(answers, first.predict_proba(asked), atol=1e-5)
    second.cache = False
    np.testing.assert_allclose(second.predict_proba(asked), answers, atol=1e-5)


def test_6_a_number_comes_with_its_spread_and_its_rival(made, evaluated, door):
    found = json.loads((door.folder / "out" / "e.json").read_text(encoding="utf-8"))
    for scores in (found["scores"], *found["baselines"].values()):
        assert {"value", "low", "high"} == set(scores["accuracy"])
        assert scores["accuracy"]["low"] <= scores["accuracy"]["value"] <= scores["accuracy"]["high"]
    for words in ("95 % interval", "most frequent class", "best single view", "plain concatenation"):
        assert words in evaluated.stdout
    grouped = [record | {"who": i // 4} for i, record in enumerate(records(48))]
    assert model(group="who").fit(grouped).evaluate(grouped)["groups"] == 12


def test_7_files_are_complete_and_safe(made, tmp_path):
    """JSON, safetensors and nothing that runs; loaded elsewhere it answers in the same bits; a changed file is refused."""
    made.save(tmp_path / "m")
    names = {path.name for path in (tmp_path / "m").iterdir()} - {"README.md"}  # the card, for people to read and to edit
    assert {name[name.rindex("."):] for name in names} <= {".json", ".safetensors"}
    (tmp_path / "m").rename(tmp_path / "elsewhere")
    asked = records(8, seed=2, views=VIEWS)
    np.testing.assert_array_equal(polysense.load(tmp_path / "elsewhere").predict_proba(asked), made.predict_proba(asked))
    weights = tmp_path / "elsewhere" / "model.safetensors"
    spoilt = bytearray(weights.read_bytes())
    spoilt[-1] ^= 1
    weights.write_bytes(spoilt)
    with pytest.raises(errors.BadModel, match="damaged or was changed"):
        polysense.load(tmp_path / "elsewhere")


def test_9_no_network_unless_asked(door, fitted, predicted, evaluated):
    """fit, predict and evaluate on real files, with default encoders, every connection but loopback refused."""
    for done in (fitted, predicted, evaluated):
        assert done.returncode == 0, done.stderr
    assert door.tried == "", "a process tried to reach the outside"


def test_9_the_guard_would_have_noticed(door):
    for code in ("import urllib.request as u; u.urlopen('http://192.0.2.1/')",
                 "import socket; socket.create_connection(('example.org', 80))",
                 "import socket; socket.socket().connect(('192.0.2.7', 80))"):
        assert door.python("-c", code).returncode != 0
    tried = door.folder / "tried"
    assert set(tried.read_text().split()) == {"192.0.2.1", "example.org", "192.0.2.7"}
    tried.unlink()


@pytest.mark.parametrize(("ask", "value", "cure"), [
    (lambda: model(fusion="cocnat").fit(records(9)), "cocnat", "did you mean 'concat'"),
    (lambda: model(target="lbel").fit(records(9)), "lbel", "did you mean 'label'"),
    (lambda: model(options={"train.epohs": 1}).fit(records(9)), "epohs", "did you mean 'train.epochs'"),
    (lambda: model().predict(records(2)), "this model", "call fit"),
    (lambda: polysense.load("no-such-folder"), "no-such-folder", "there is no such folder"),
    (lambda: polysense.encoders["image.ccn"], "image.ccn", "did you mean 'image.cnn'"),
    (lambda: model(columns={"wind": "nubmer"}).fit(records(9)), "nubmer", "number"),
])
def test_10_it_says_what_to_do(ask, value, cure):
    """One sentence: the very value, and the cure."""
    with pytest.raises(errors.Mistake) as caught:
        ask()
    said = str(caught.value)
    assert "\n" not in said and not re.search(r"Traceback|object at 0x", said)
    assert value in said and cure in said, said


def test_the_first_word_comes_quickly(door):
    """`import polysense` in 0.3 s of CPU, `polysense --help` in half a second (twice that on a busy machine)."""
    best = min(_cpu(lambda: door.python("-c", "import polysense")) for _ in range(2))
    assert best < 0.3, best
    best = min(_cpu(lambda: door.polysense("--help")) for _ in range(2))
    assert best < 1.0, best


def _cpu(ask) -> float:
    """CPU seconds of the processes that it starts."""
    before = os.times()
    started = time.monotonic()
    ask()
    after = os.times()
    return min(after.children_user + after.children_system - before.children_user - before.children_system,
               time.monotonic() - started + 1)

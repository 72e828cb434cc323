"""Views of several columns (--views): texts joined by a newline, pictures side by side."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

import polysense
from polysense import store
from polysense.data.reading import judge_faults, read_cells
from polysense.data.records import as_records, write_csv
from polysense.data.schema import Schema, guess
from polysense.errors import BadColumn, BadModel, BadOption
from test_cli import run  # noqa: F401  (a fixture)


def png(red: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (red, 0, 0)).save(file, "PNG")
    return file.getvalue()


TABLE = {
    "body": ["a long text about a bus", None, None, "another one which is long", "and a third, which differs", "a fourth"],
    "front": [png(10), None, png(30), None, png(50), b"broken"], "back": [png(11), png(21), None, None, png(51), png(61)],
    "title": ["red", "blue", None, None, "red", "red"], "size": [1.5, 2, 3, 4, 5, 6.5], "label": list("ababab"),
}


def schema_of(views, declared=None, exclude=("label",)):
    return guess(as_records(TABLE), declared={"front": "image"} | (declared or {}), exclude=exclude, views=views)


def test_texts_are_joined_by_a_newline_in_the_order_asked_for():
    for views in ({"both": "title+body"}, {"both": ["title", "body"]}):
        cells = read_cells(as_records(TABLE), schema_of(views))
        assert set(cells) == {"both", "front", "back", "table"}
        assert cells["both"].values() == [
            "red\na long text about a bus", "blue", None, "another one which is long", "red\nand a third, which differs",
            "red\na fourth"]
        assert cells["both"].present.tolist() == [True, True, False, True, True, True]
        names = cells["both"].digests()
        assert names[2] is None and len(set(names)) == 6
    other = read_cells(as_records(TABLE), schema_of({"both": "body+title"}))["both"]
    assert other.values([0]) == ["a long text about a bus\nred"]


def test_words_that_are_few_are_text_where_they_are_joined():
    """'title' alone would be a category; declared as one it stays one, and is refused."""
    assert schema_of(None).column("title").kind == "category"
    column = schema_of({"both": "title+body"}).column("title")
    assert column.kind == "text" and column.reason.endswith(", part of view 'both'")
    with pytest.raises(BadColumn, match="column 'title' is of kind category"):
        schema_of({"both": "title+body"}, {"title": "category"})


def test_pictures_of_several_columns_are_pictures_of_one_record():
    cells = read_cells(as_records(TABLE), schema_of({"sides": "back+front"}))["sides"]
    rows, pieces = cells.pieces(np.arange(6))
    assert rows.tolist() == [0, 0, 1, 2, 4, 4, 5, 5] and pieces.tolist() == [0, 1, 0, 0, 0, 1, 0, 1]
    values = cells.values(rows.tolist(), pieces=pieces.tolist())
    assert [None if v is None else int(v[0, 0, 0]) for v in values] == [11, 10, 21, 30, 51, 50, 61, None]
    assert cells.present.tolist() == [True, True, True, False, True, True]
    assert [(fault.row, fault.column, fault.action) for fault in cells.faults] == [(5, "front", "left out")]
    assert cells.faults[0].reason.startswith("is of an unknown format")  # the only one in its cell
    judge_faults([cells], on_bad="drop", max_bad=0.3)


def test_a_text_that_is_none_is_left_out_where_there_is_another():
    records = as_records({"a": [b"\x89PNG", b"\x89PNG"], "b": ["x", None]})
    schema = guess(records, declared={"a": "text", "b": "text"}, views={"v": ["a", "b"]})
    cells = read_cells(records, schema)["v"]
    assert cells.values() == ["x", None] and cells.present.tolist() == [True, False]
    assert [(fault.row, fault.column, fault.action) for fault in cells.faults] == [(0, "a", "left out"), (1, "a", "masked")]


def test_columns_that_are_missing_later_are_missing_values():
    schema = schema_of({"both": "title+body", "sides": "front+back"})
    schema = Schema.from_json(json.loads(json.dumps(schema.to_json())))
    assert schema.joined == {"both": ("title", "body"), "sides": ("front", "back")}
    cells = read_cells(as_records({"body": ["x", None], "back": [None, png(9)]}), schema)
    assert cells["both"].values() == ["x", None] and cells["sides"].present.tolist() == [False, True]
    assert cells["sides"].values()[1][0, 0, 0] == 9
    assert cells.missing_columns == ["title", "front", "size"]
    none = read_cells(as_records({"size": [1, 2]}), schema)
    assert none["both"].values() == [None, None] and not none["sides"].present.any()


def test_a_schema_that_joins_what_is_not_there_is_refused():
    tree = schema_of({"both": "title+body"}).to_json()
    assert Schema.from_json({"columns": tree["columns"]}).joined == {}  # an older model
    for joined in ({"both": ["title", "text"]}, ["both"]):
        with pytest.raises(BadModel, match="schema is damaged"):
            Schema.from_json(tree | {"joined": joined})


@pytest.mark.parametrize(("views", "words"), [
    ({"both": "title+bdy"}, "view 'both': records has no column 'bdy'; did you mean 'body'"),
    ({"both": "title+label"}, "column 'label' is target, group or split"),
    ({"size": "title+body"}, "'title' and 'body'|title and body cannot be called 'size', the name of a column"),
    ({"table": "title+body"}, "cannot be called 'table', a name that polysense keeps"),
    ({"train": "title+body"}, "cannot be called 'train'"), ({"both": "title"}, "join at least two columns"),
    ({"both": "title+title"}, "column 'title' is joined twice in view 'both'"),
    ({"both": "title+body", "too": "front+body"}, "column 'body' is joined in view 'both' and in 'too'"),
    ({"both": "title+front"}, "different kinds: 'title' is text and 'front' is image"),
    ({"both": "title+size"}, "column 'size' is of kind number, and only columns of kind text, image, audio"),
])
def test_what_cannot_be_joined_is_told_in_one_sentence(views, words):
    with pytest.raises(BadColumn, match=words) as caught:
        schema_of(views)
    assert "\n" not in str(caught.value)


def test_settings_of_the_wrong_type_are_refused():
    for views in ({"both": 3}, {"both": ["title", 3]}, "both=title+body"):
        with pytest.raises(BadOption, match="views"):
            polysense.Model("label", views=views).fit(TABLE)


# the door -------------------------------------------------------------------------------------------


def test_views_at_the_door(run, tmp_path):  # noqa: F811
    """What tells the classes is a word of the body; the model remembers what it joins, and answers without the title."""
    bodies = [f"it is {'dark' if i % 2 else 'light'} here, say {i} people" for i in range(60)]
    labels = ["ab"[i % 2] for i in range(60)]
    write_csv(tmp_path / "t.csv", {"title": [f"note {i % 7}" for i in range(60)], "body": bodies, "label": labels})
    write_csv(tmp_path / "part.csv", {"body": bodies, "label": labels})
    quick = [f"--set=train.{option}" for option in ("epochs=8", "members=1", "dim=8")]
    fit = ["fit", "t.csv", "--target", "label", "--out"]
    code, _, said = run(*fit, "m", "--views", "both=title+body", "--encoder", "both=text.plain", *quick)
    assert code == 0 and "both <- text.plain" in said and "part of view 'both'" in said
    assert store.load(tmp_path / "m")[0]["schema"]["joined"] == {"both": ["title", "body"]}
    model = polysense.load(tmp_path / "m")
    assert model.views == {"both": "title+body"} and model.score(tmp_path / "t.csv") > 0.9
    code, _, said = run("evaluate", "m", "part.csv", "--json", "e.json")
    assert code == 0 and "lacks column 'title'" in said
    assert json.loads((tmp_path / "e.json").read_text())["scores"]["accuracy"]["value"] > 0.9
    code, _, said = run(*fit, "n", "--views", "both=title+boddy")
    assert code == 2 and said.strip().endswith("did you mean 'body'? There are: title, body, label")
    assert run(*fit, "n", "--views", "both")[0] == 2
    (tmp_path / "r.yaml").write_text("views: {both: [title, boddy]}")
    assert "no column 'boddy'" in run(*fit, "n", "--recipe", "r.yaml")[2]

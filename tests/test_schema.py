"""Kinds of columns: guessed with a reason, or declared."""

from __future__ import annotations

import json

import pytest

from polysense.data.records import as_records, read_table
from polysense.data.schema import KINDS, Column, Schema, View, guess, ready
from polysense.errors import BadColumn, BadModel, BadTable

N = 300
PNG = b"\x89PNG\r\n\x1a\n"


def line(values, name="c", **options) -> str:
    return guess(as_records({name: values}), **options).columns[0].line()


def over(pattern, n=N):
    return [pattern(i) for i in range(n)]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("picture", over(lambda i: f"img/{i}.{'png' if i % 3 else 'JPG'}"),
         "picture -> image: 300 of 300 values end in .png/.jpg"),
        ("voice", over(lambda i: f"{i}.wav" if i else "n/a"),
         "voice -> audio: 299 of 300 values end in .wav"),
        ("data", over(lambda i: PNG + bytes([i % 256, i // 256])),
         "data -> image: 300 of 300 values are image files by their first bytes"),
        ("hf", over(lambda i: {"bytes": b"fLaC" + bytes([i % 256, i // 256]), "path": None}),
         "hf -> audio: 300 of 300 values are audio files by their first bytes"),
        ("price", over(lambda i: "" if i < 102 else f"{i}.5"),
         "price -> number: 198 of 198 values are numbers"),
        ("price", over(lambda i: ("NA", "x")[i // 299] if i in (5, 299) else str(i * 7)),
         "price -> number: 298 of 299 values are numbers"),
        ("price", over(lambda i: i * 1.5), "price -> number: 300 of 300 values are numbers"),
        ("colour", over(lambda i: f"colour {i % 6}"), "colour -> category: 6 distinct values in 300 rows"),
        ("code", over(lambda i: f"00{i % 6}"), "code -> category: 6 distinct values in 300 rows"),
        ("note", over(lambda i: f"number {i} " + "again " * (i % 3)), "note -> text: 3.0 words on average"),
        ("描述", over(lambda i: f"第{i + 100}张很好看的照片"), "描述 -> text: 11.0 characters on average"),
        ("颜色", over(lambda i: "红黄蓝"[i % 3] + "色"), "颜色 -> category: 3 distinct values in 300 rows"),
        ("sold", over(lambda i: ("Yes", "no")[i % 2]), "sold -> flag: yes/no"),
        ("sold", over(lambda i: i % 2), "sold -> flag: 1/0"),
        ("sold", over(lambda i: i % 2 == 0), "sold -> flag: true/false"),
        ("when", over(lambda i: f"2024-{1 + i % 12:02}-{1 + i % 28:02}"), "when -> date: ISO dates"),
        ("when", over(lambda i: f"{1 + i % 12}/{1 + i % 28}/2024"),
         "when -> date: dates, read as month/day/year"),
        ("when", over(lambda i: f"2024{1 + i % 12:02}{1 + i % 28:02}"),
         "when -> date: dates written as eight digits"),
        ("year", over(lambda i: f"{1999 + i % 7}.5"), "year -> number: 300 of 300 values are numbers"),
        ("order_id", over(lambda i: f"A{i}"), "order_id -> id: name and 300 distinct values"),
        ("UUID", over(lambda i: f"A{i}"), "UUID -> id: name and 300 distinct values"),
        ("shop_id", over(lambda i: i % 6 * 11), "shop_id -> number: 300 of 300 values are numbers"),
        ("user_id", over(lambda i: i // 2),
         "user_id -> ignore: an id by name, but only 150 of 300 values differ"),
        ("n", over(str), "n -> ignore: it counts the rows"),
        ("e", over(lambda i: ""), "e -> ignore: every cell is empty"),
        ("k", over(lambda i: "same" if i % 2 else ""), "k -> ignore: every value is 'same'"),
        ("film", over(lambda i: f"{i}.mp4"),
         "film -> ignore: looks like video (300 of 300 values end in .mp4), which is not read yet"),
        ("signal", over(lambda i: [1.0, i]),
         "signal -> series: 300 of 300 values are lists of numbers; 1 channel"),
        ("cloud", over(lambda i: f"{i}.pcd"),
         "cloud -> ignore: looks like points (300 of 300 values end in .pcd), which is not read yet"),
        ("blob", over(lambda i: b"??" + bytes([i % 256])), "blob -> ignore: bytes of no known format"),
        ("nested", over(lambda i: {"x": i}), "nested -> ignore: nested values"),
    ],
)
def test_each_guess_has_its_reason(name, values, expected):
    assert line(values, name) == expected


@pytest.mark.parametrize("word", ["None", "NA", "<image>", "null", "https://example.org/", "see a/b.c"])
def test_text_that_looks_like_something_else_stays_text(word):
    assert line(over(lambda i: word if i % 2 else f"some words about {i}")).startswith("c -> text")


def test_urls_of_pictures_are_an_image_column():
    """The refusal comes at reading, cell by cell; the column is what its values say."""
    assert line(over(lambda i: f"https://x.org/{i}.png")).startswith("c -> image")


def test_rare_values_outside_the_sample_are_seen():
    values = ["a"] * 10_000  # every fifth is looked at, 4323 is not among them
    values[4323] = "b"
    assert line(values) == "c -> category: 2 distinct values in 10,000 rows"


def test_large_tables_are_sampled_over_their_whole_length():
    assert line(over(lambda i: f"{i}.png" if i >= 5000 else f"{i}.wav", 10_000)).startswith("c -> text")
    assert line([""] * 9_990 + over(lambda i: f"{i}.png", 10)).startswith("c -> image: 10 of 10")


def test_views_have_the_order_of_the_table_and_table_comes_last():
    records = as_records({
        "size": over(lambda i: i * 2.5), "pic": over(lambda i: f"{i}.png"),
        "note": over(lambda i: f"a note on {i}"), "sold": over(lambda i: i % 2), "y": ["a", "b"] * 150,
    })
    schema = guess(records, exclude=["y"])
    assert schema.views == [View("pic", "image", ("pic",)), View("note", "text", ("note",)),
                            View("table", "table", ("size", "sold"))]
    assert schema.view_names == ["pic", "note", "table"]
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    assert schema.describe().splitlines()[1] == "pic  -> image: 300 of 300 values end in .png"


def test_declared_wins_and_the_rest_is_guessed():
    schema = guess(as_records({"a": over(str), "b": over(lambda i: i % 3)}), declared={"a": "text"})
    assert schema.columns[0] == Column("a", "text", "declared", True)
    assert schema.columns[1].kind == "number" and not schema.columns[1].declared


def test_a_declared_date_column_still_learns_the_order_of_its_days():
    column = guess(as_records({"d": ["04/13/2024", "04/03/2024"]}), declared={"d": "date"}).columns[0]
    assert column.order == "month" and column.declared


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"prize": "number"}, "no column 'prize'; did you mean 'price'"),
        ({"price": "numbr"}, "declared as 'numbr'; did you mean 'number'"),
        ({"price": "video"}, "declared as video, a kind that no modality reads yet"),
        ({"y": "number"}, "is target, group or split"),
        ({"table": "text"}, "may not be called 'table'"),
    ],
)
def test_a_wrong_declaration_is_one_sentence(declared, words):
    records = as_records({"price": [1, 2], "y": [1, 2], "table": ["p q r", "s t u"]})
    with pytest.raises(BadColumn, match=words) as caught:
        guess(records, declared=declared, exclude=["y"])
    assert "\n" not in str(caught.value)


def test_reserved_names_may_be_table_columns():
    assert guess(as_records({"task": [1.5, 2.5]})).views[0].name == "table"


def test_zero_records_are_refused_and_one_is_guessed(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n")
    with pytest.raises(BadTable, match="holds no records"):
        guess(read_table(tmp_path / "t.csv"))
    assert line(["3.5"]) == "c -> number: 1 of 1 values are numbers"


def test_the_id_column():
    ids = over(lambda i: f"x{i}")
    assert guess(as_records({"a_id": ids, "ID": ids})).id_column == "ID"
    assert guess(as_records({"a_id": ids, "b_id": ids})).id_column == "a_id"
    assert guess(as_records({"a": ids})).id_column is None
    assert guess(as_records({"id": ["1", "2", "2"] + ids})).id_column is None  # duplicate ids


@pytest.mark.parametrize("tree", [{}, {"columns": [{"name": "a"}]}, {"columns": 3},
                                  {"columns": [{"name": "a", "kind": "odd", "reason": ""}]}])
def test_a_damaged_schema_is_refused(tree):
    with pytest.raises(BadModel, match="schema is damaged"):
        Schema.from_json(tree)


def test_kinds_are_ready_when_their_modality_is_on_the_shelf():
    assert [kind for kind in KINDS if not ready(kind)] == ["video", "points"]

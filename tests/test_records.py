"""Tables become records, or one sentence that names the line."""

from __future__ import annotations

import csv
import datetime as dt
import json
import threading

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysense.data import records as module
from polysense.data.records import Records, as_records, read_table, write_csv
from polysense.errors import BadColumn, BadTable, CannotWrite


def table(tmp_path, content: str | bytes, name: str = "t.csv") -> Records:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path)


def test_csv_cells_are_text_and_empty_ones_missing(tmp_path):
    records = table(tmp_path, "a,b\n1,x\n,None\n")
    assert list(records) == [{"a": "1", "b": "x"}, {"a": None, "b": "None"}]
    assert records.folder == tmp_path.resolve() and records.source == "t.csv"


@pytest.mark.parametrize(
    "content", ["a,b\r\n1,ä\r\n", "\ufeffa,b\n1,ä\n", "a,b\r1,ä", '\ufeff"a",b\r\n1,"ä"\r\n']
)
def test_bom_and_line_ends_leave_no_trace(tmp_path, content):
    assert list(table(tmp_path, content)) == [{"a": "1", "b": "ä"}]


def test_latin_1_is_read_and_said(tmp_path):
    records = table(tmp_path, "name,city\nJosé,Malmö\nGröße,Zürich\n".encode("latin-1"))
    assert records.column("city") == ["Malmö", "Zürich"]
    assert "latin-1" in records.notes[0]


def test_gb18030_is_read_and_said(tmp_path):
    records = table(tmp_path, "名称,描述\n苹果,这是一个红色的苹果\n".encode("gb18030"))
    assert records.column("描述") == ["这是一个红色的苹果"]
    assert "gb18030" in records.notes[0]


def test_utf_16_is_read(tmp_path):
    assert table(tmp_path, "a,b\n1,木\n".encode("utf-16")).column("b") == ["木"]


def test_a_cell_of_10_megabytes(tmp_path):
    csv.field_size_limit(131_072)
    big = "word " * 2_000_000
    records = table(tmp_path, f'a,b\n1,"{big}"\n2,x\n')
    assert records.cell("b", 0) == big and len(records) == 2
    assert csv.field_size_limit() == 131_072  # the process's own limit is back


def test_quotes_newlines_and_separators_inside_cells(tmp_path):
    assert table(tmp_path, 'a,b\n"x, ""y""\nz",2\n').column("a") == ['x, "y"\nz']
    assert table(tmp_path, "a\tb\nx, y\t2\n", "t.tsv").column("a") == ["x, y"]
    semicolons = table(tmp_path, "a;b\n1,5;2\n")
    assert semicolons.column("a") == ["1,5"] and "semicolons" in semicolons.notes[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n\n1,2,3\n", "line 4: 3 cells, but the header names 2"),
        ('a,b\n"x\ny",2\n1\n', "line 4: 1 cells"),
        ('a,b\n1,2\n"open,3\n4,5\n', "line 3: unexpected end of data"),
        ("a,b,a\n1,2,3\n", "'a' occurs more than once"),
        ("", "is empty"),
        (b"PK\3\4\0\0\0", "not a text file"),
    ],
)
def test_a_broken_csv_is_one_sentence(tmp_path, content, words):
    with pytest.raises(BadTable, match=words) as caught:
        table(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_zero_rows_and_one_row(tmp_path):
    none = table(tmp_path, "a,b\n")
    assert len(none) == 0 and none.names == ["a", "b"] and none.column("a") == [] and list(none) == []
    assert none.empty("a").shape == (0,)
    assert len(table(tmp_path, "a,b\n1,2")) == 1


def test_blank_lines_and_unnamed_columns_are_said(tmp_path):
    records = table(tmp_path, ",b\n0,x\n\n1,y\n")
    assert records.names == ["column_1", "b"] and len(records) == 2
    assert len(records.notes) == 2


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), max_size=20))
def test_what_csv_writes_we_read(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("round")
    clean = [[cell.encode("utf-8", "ignore").decode().replace("\r", "").replace("\0", "") for cell in row]
             for row in rows]
    columns = {"a": [row[0] for row in clean], "b": [row[1] for row in clean]}
    write_csv(folder / "t.csv", columns)
    records = read_table(folder / "t.csv")
    assert records.column("a") == [cell or None for cell in columns["a"]]
    assert records.column("b") == [cell or None for cell in columns["b"]]


def test_write_csv_leaves_nothing_aside(tmp_path):
    with pytest.raises(CannotWrite, match="cannot be written"):
        write_csv(tmp_path / "no" / "t.csv", {"a": [1]})
    write_csv(tmp_path / "t.csv", {"a": [1, None], "b": ["x", "y"]})
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_jsonl_keeps_types_and_names_the_line(tmp_path):
    rows = [{"n": 1, "t": "x", "f": True, "l": [1, 2]}, {"n": None, "t": "", "extra": 2.5}]
    records = table(tmp_path, "\ufeff" + "\r\n".join(map(json.dumps, rows)) + "\r\n\r\n", "t.jsonl")
    assert list(records) == [{"n": 1, "t": "x", "f": True, "l": [1, 2], "extra": None},
                             {"n": None, "t": None, "f": None, "l": None, "extra": 2.5}]


@pytest.mark.parametrize(
    ("second", "words"),
    [("{bad", "line 2: not a JSON object"), ("[1]", "line 2: .* is not a JSON object"),
     ('{"a": 1, "a": 2}', "'a' occurs twice"), ("[" * 200_000, "nested too deeply")],
)
def test_broken_jsonl_names_the_line(tmp_path, second, words):
    with pytest.raises(BadTable, match=words):
        table(tmp_path, '{"a": 1}\n' + second + "\n", "t.jsonl")


def test_half_a_surrogate_pair_is_mended_and_said(tmp_path):
    records = table(tmp_path, '{"a": "x\\ud83d"}\n', "t.jsonl")
    assert records.column("a") == ["x\ufffd"] and "broken Unicode" in records.notes[0]


def test_mixed_types_become_text_and_are_said():
    records = as_records([{"a": 1}, {"a": "x"}, {"a": None}])
    assert records.column("a") == ["1", "x", None] and "mixes int and str" in records.notes[0]
    assert as_records([{"a": 10**30}, {"a": 1}]).column("a") == [str(10**30), "1"]


def test_parquet_and_arrow_are_typed(tmp_path):
    made = pa.table({"n": [1.5, None], "b": [b"\x89PNG", b""], "t": pa.array(["u", "v"]).dictionary_encode(),
                     "hf": [{"bytes": b"z", "path": None}, {"bytes": None, "path": None}]})
    pa.parquet.write_table(made, tmp_path / "t.parquet")
    pa.feather.write_feather(made, tmp_path / "t.feather")
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
        writer.write_table(made)
    for name in ("t.parquet", "t.feather", "t.arrow"):
        records = read_table(tmp_path / name)
        assert list(records) == [{"n": 1.5, "b": b"\x89PNG", "t": "u", "hf": {"bytes": b"z", "path": None}},
                                 {"n": None, "b": None, "t": "v", "hf": None}]
        for column in records.names:
            assert records.empty(column).tolist() == [value is None for value in records.column(column)]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_a_foreign_file_is_one_sentence(tmp_path, name):
    with pytest.raises(BadTable, match="cannot be read as"):
        table(tmp_path, "hello, this is no such file", name)


def test_wrong_files_are_one_sentence(tmp_path):
    with pytest.raises(BadTable, match="no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(BadTable, match=r"not from '\.xlsx'"):
        read_table(tmp_path / "t.xlsx")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(BadTable, match="is a folder"):
        read_table(tmp_path / "d.csv")


def test_pandas_frames():
    pd = pytest.importorskip("pandas")
    columns = {
        "n": [1.0, float("nan")], "s": ["x", None], "d": pd.to_datetime(["2020-01-01", None]),
        "m": [1, "x"], "c": pd.Categorical(["u", None]), "b": [b"1", b"2"],
    }
    frame = pd.DataFrame(columns, index=[7, 3])
    records = as_records(frame)
    assert records.column("n") == [1.0, None] and records.column("c") == ["u", None]
    assert records.column("m") == ["1", "x"] and records.column("b") == [b"1", b"2"]
    assert records.column("d")[0].isoformat() == "2020-01-01T00:00:00" and records.column("d")[1] is None
    with pytest.raises(BadTable, match="more than once"):
        as_records(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_polars_frames():
    """Numbers, text, categories, lists and moments as their own columns; a lazy frame is collected; rows without end are refused."""
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({
        "n": [1.5, None], "word": ["x", None], "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
        "level": pl.Series(["lo", "hi"], dtype=pl.Enum(["lo", "hi"])), "many": [[1, 2], [3]], "when": [dt.datetime(2024, 5, 6), None],
        "raw": [b"12", b""],
    })
    wanted = [
        {"n": 1.5, "word": "x", "kind": "a", "level": "lo", "many": [1, 2], "when": dt.datetime(2024, 5, 6), "raw": b"12"},
        {"n": None, "word": None, "kind": "b", "level": "hi", "many": [3], "when": None, "raw": None},
    ]
    assert list(as_records(frame)) == list(as_records(frame.lazy())) == wanted
    assert list(as_records(frame.filter(pl.col("n").is_null()))) == wanted[1:] and as_records(frame[:0]).names == list(frame.columns)
    odd = pl.DataFrame({"thing": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(BadTable, match="column 'thing' of the frame holds Python objects; cast it"):
        as_records(odd)


# class folders ------------------------------------------------------------------------------------


def put(root, *names, data=b"x"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def test_class_folders(tmp_path):
    root = tmp_path / "pets"
    put(root, "dog/b.PNG", "cat/deep/a.jpg", "cat/note.pdf", "loose.png", "cat/.hidden.png", "cat/Thumbs.db", ".git/x.png")
    (root / "empty").mkdir()
    records = as_records(root)
    assert list(records) == [{"image": "cat/deep/a.jpg", "label": "cat"}, {"image": "dog/b.PNG", "label": "dog"}]
    assert records.folder == root.resolve() and records.source == "pets"
    assert records.notes == [
        "pets: the class folder 'empty' holds no file of a known kind",
        "pets: 2 files left out, of no known kind or in no class folder: 'loose.png', 'cat/note.pdf'",
    ]


def test_class_folders_of_several_kinds(tmp_path):
    put(tmp_path, "a/1.wav", "b/2.npy")
    put(tmp_path, "a/3.txt", data="\ufeffgrüß dich\n".encode())
    put(tmp_path, "b/4.txt", data=b"\xff\xfe\xff")
    records = as_records(tmp_path)
    assert records.names == ["audio", "series", "text", "label"]
    assert [{key: value for key, value in record.items() if value} for record in records] == [
        {"audio": "a/1.wav", "label": "a"}, {"text": "grüß dich", "label": "a"}, {"series": "b/2.npy", "label": "b"},
    ]
    assert "'b/4.txt'" in records.notes[0]


def test_folders_of_train_valid_and_test(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/2.png", "Val/a/3.png", "test/b/4.png")
    records = as_records(tmp_path)
    assert sorted(zip(records.column("image"), records.column("label"), records.column("split"))) == [
        ("Val/a/3.png", "a", "valid"), ("test/b/4.png", "b", "test"), ("train/a/1.png", "a", "train"), ("train/b/2.png", "b", "train"),
    ]
    put(tmp_path, "c/5.png")
    with pytest.raises(BadTable, match="holds the folder 'c' beside '(Val|train|test)'; put the classes into train, valid and test"):
        as_records(tmp_path)


def test_a_class_may_be_called_test(tmp_path):
    """Without a folder train there is no division."""
    put(tmp_path, "test/1.png", "other/2.png")
    assert as_records(tmp_path).column("label") == ["other", "test"]


def test_files_without_classes_are_records_to_be_answered(tmp_path):
    put(tmp_path, "b.png", "a.png", "x.csv")
    records = as_records(tmp_path)
    assert list(records) == [{"image": "a.png"}, {"image": "b.png"}] and "'x.csv'" in records.notes[0]


def test_a_folder_of_nothing(tmp_path):
    put(tmp_path, "sub/t.csv")
    with pytest.raises(BadTable, match="is a folder without pictures, sounds or texts in folders of classes; name the table's file"):
        as_records(tmp_path)


def test_paths_and_bytes_in_one_column(tmp_path):
    records = as_records([{"p": tmp_path / "x.png"}, {"p": b"data"}, {}])
    assert records.cell("p", 0) == {"bytes": None, "path": str(tmp_path / "x.png")}
    assert records.cell("p", 1)["bytes"] == b"data" and records.empty("p").tolist() == [False, False, True]


def test_what_holds_no_records_is_refused():
    with pytest.raises(BadTable, match="cannot be made from int"):
        as_records(3)
    with pytest.raises(BadTable, match="record 1 is a str"):
        as_records([{"a": 1}, "x"])
    with pytest.raises(BadTable, match="differ in length"):
        as_records({"a": [1], "b": [1, 2]})


@pytest.mark.parametrize("few", [0, 32])
@given(rows=st.lists(st.integers(-5, 4), max_size=12), data=st.data())
def test_take_is_indexing(few, rows, data):
    """Both ways of fetching rows: one by one, and by Arrow."""
    module._FEW = few
    records = as_records({"a": [10, 11, 12, 13, 14], "b": ["v", "", "x", None, "z"]})
    part = records.take(rows)
    whole = list(records)
    assert list(part) == [whole[row] for row in rows]
    assert part.column("b") == [whole[row]["b"] for row in rows]
    assert part.empty("b").tolist() == [whole[row]["b"] is None for row in rows]
    if rows:
        again = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=5))
        assert list(part.take(again)) == [whole[rows[i]] for i in again]
        assert part.column("a", again) == [whole[rows[i]]["a"] for i in again]


def test_take_with_a_mask_head_and_slices():
    records = as_records({"a": [1, 2, 3]})
    assert records.take(np.array([True, False, True])).column("a") == [1, 3]
    assert records.head(2).column("a") == [1, 2] and records.head(9).column("a") == [1, 2, 3]
    assert records[1:].column("a") == [2, 3] and records[-1] == {"a": 3}
    with pytest.raises(IndexError):
        records.take([3])


def test_an_unknown_column_is_named_with_the_nearest():
    with pytest.raises(BadColumn, match="did you mean 'price'"):
        as_records({"price": [1]}).column("prize")


def test_folder_of_records_and_of_paths(tmp_path):
    write_csv(tmp_path / "t.csv", {"a": [1]})
    assert as_records(tmp_path / "t.csv").folder == tmp_path.resolve()
    assert as_records(tmp_path / "t.csv", folder="/x").folder.as_posix() == "/x"
    assert as_records(as_records([{"a": 1}]), folder="/x").folder.as_posix() == "/x"
    assert as_records([{"a": 1}]).folder is None


def test_tables_are_read_in_several_threads(tmp_path):
    write_csv(tmp_path / "t.csv", {"a": ["x" * 200_000]})  # above csv's own limit
    found: list[int] = []

    def read() -> None:
        found.append(len(read_table(tmp_path / "t.csv")))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 4

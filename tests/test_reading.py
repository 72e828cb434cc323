"""Cells of views: presence, values, faults in the table's order, and the judgement on them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from polysense.data import reading
from polysense.data.media import Limits
from polysense.data.reading import Fault, all_faults, judge_faults, read_cells
from polysense.data.records import as_records, read_table, write_csv
from polysense.data.schema import Column, Schema
from polysense.errors import BadOption, BadTable

RNG = np.random.default_rng(1)


def schema(**kinds: str) -> Schema:
    return Schema([Column(name, kind, "") for name, kind in kinds.items()])


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture
def shop(tmp_path):
    """20 records. Pictures: row 3 cut, 7 a wrong path, 11 empty; sounds: 2 NaN, 5 cut; prices: 0, 1, 3."""
    nan = np.full(100, np.nan, np.float32)
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(png(i)[: 60 if i == 3 else None])
        sound = wav(nan if i == 2 else np.full(100, i, np.float32))
        (tmp_path / f"{i}.wav").write_bytes(sound[: 90 if i == 5 else None])
    write_csv(tmp_path / "t.csv", {
        "price": ["inf", "abc", "NA", "x", "-", *map(str, range(15))],
        "photo": [{7: "no.png", 11: ""}.get(i, f"{i}.png") for i in range(20)],
        "note": ["None", "NA", "<image>", "a.png", "", *["a note"] * 15],
        "sound": [f"{i}.wav" for i in range(20)],
        "sold": ["yes", "no"] * 10,
    })
    return read_table(tmp_path / "t.csv")


KINDS = {"price": "number", "photo": "image", "note": "text", "sound": "audio", "sold": "flag"}


def test_exactly_the_bad_cells_are_reported_in_the_tables_order(shop):
    """Row 23: each wrong file is one entry, whatever the order; no other record's file takes its place."""
    cells = read_cells(shop, schema(**KINDS))
    values = {name: one.values(range(19, -1, -1))[::-1] for name, one in cells.items()}
    found = [(fault.row, fault.column) for fault in all_faults(cells)]
    assert found == [(0, "price"), (1, "price"), (2, "sound"), (3, "price"), (3, "photo"), (5, "sound"),
                     (7, "photo")]
    assert cells.faults == all_faults(cells)
    assert [i for i, v in enumerate(values["photo"]) if v is None] == [3, 7, 11]
    assert cells["photo"].present.tolist() == [v is not None for v in values["photo"]]
    for i in (0, 8, 19):
        with Image.open(shop.folder / f"{i}.png") as image:
            assert (values["photo"][i] == np.asarray(image)).all()
        assert values["sound"][i].tolist() == [i] * 100
    assert cells["photo"].nonempty == {"photo": 19}
    assert [fault.row for fault in cells["photo"].faults] == [3, 7]


def test_reading_twice_reports_once(shop):
    cells = read_cells(shop, schema(**KINDS))["photo"]
    first = [cells.values(range(i, i + 5)) for i in range(0, 20, 5)]
    faults = cells.faults
    again = cells.values()
    assert cells.faults == faults and len(faults) == 2
    assert [v is None for part in first for v in part] == [v is None for v in again]


def test_digests_open_files_and_mark_what_cannot_be_opened(shop):
    cells = read_cells(shop, schema(photo="image"))["photo"]
    digests = cells.digests()
    assert [i for i, d in enumerate(digests) if d is None] == [7, 11]  # 3 is found bad when it is decoded
    assert len(set(digests)) == 19
    cells.values([3])
    assert cells.digests([3, 4]) == [None, digests[4]]


def test_only_the_empty_cell_is_missing_in_text(shop):
    """Row 11."""
    cells = read_cells(shop, schema(note="text"))["note"]
    assert cells.values(range(5)) == ["None", "NA", "<image>", "a.png", None]
    assert cells.present.tolist() == [True] * 4 + [False] + [True] * 15
    assert cells.digests()[4] is None and cells.digests()[5] == cells.digests()[6]


def test_words_for_missing_are_counted_and_are_no_faults(shop):
    cells = read_cells(shop, schema(price="number"))["table"]
    assert cells.notes == {"price": {"NA": 1, "-": 1}} and cells.nonempty == {"price": 18}
    assert [fault.reason for fault in cells.faults] == [
        "'inf' is infinite", "'abc' is not a number", "'x' is not a number"]
    assert cells.values([0, 2, 5]) == [None, None, {"price": 0.0}]


def test_the_table_view_is_absent_when_all_its_cells_are():
    records = as_records({"a": ["1", "", "", "x"], "b": ["red", "blue", "", ""],
                          "d": ["1970-01-02", "", "NA", ""]})
    cells = read_cells(records, schema(a="number", b="category", d="date"))["table"]
    assert cells.present.tolist() == [True, True, False, False]
    assert cells.values() == [
        {"a": 1.0, "b": "red", "d": 86400.0}, {"a": None, "b": "blue", "d": None}, None, None]
    assert [d is None for d in cells.digests()] == [False, False, True, True]


def test_missing_unknown_and_reordered_columns(shop):
    """Row 24: by name only."""
    cells = read_cells(as_records({"new": [1, 2], "note": ["x", "y"]}), schema(**KINDS))
    assert cells.missing_columns == ["photo", "sound", "price", "sold"] and cells.unknown_columns == ["new"]
    for name in ("photo", "sound", "table"):
        assert not cells[name].present.any()
        assert cells[name].values() == cells[name].digests() == [None, None]
    assert cells["note"].values() == ["x", "y"] and all_faults(cells) == []
    part = read_cells(as_records({"sold": ["no"]}), schema(**KINDS))["table"]
    assert part.values() == [{"price": None, "sold": False}]


def test_zero_records_and_one(shop):
    for n in (0, 1):
        cells = read_cells(shop.head(n), schema(**KINDS))
        for one in cells.values():
            assert len(one.values()) == len(one.digests()) == len(one.present) == n
        judge_faults(cells, on_bad="mask", max_bad=1)


def test_equal_contents_are_decoded_once(monkeypatch):
    calls = []
    decode = reading.decode_image

    def counted(data, **limits):
        calls.append(1)
        return decode(data, **limits)

    monkeypatch.setattr(reading, "decode_image", counted)
    bad = png(1)[:60]
    cells = read_cells(as_records({"p": [png(0), png(0), bad, bad, bad]}), schema(p="image"))["p"]
    values = cells.values()
    assert len(calls) == 2 and values[0] is values[1] and values[2:] == [None] * 3
    assert [fault.row for fault in cells.faults] == [2, 3, 4]
    assert len({fault.reason for fault in cells.faults}) == 1


def test_limits_reach_the_decoders():
    cells = read_cells(as_records({"p": [png(0)]}), schema(p="image"), Limits(image_pixels=10))["p"]
    assert cells.values() == [None] and "more than the 10 allowed" in cells.faults[0].reason


def test_paths_outside_the_folder_are_listed(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "x.png").write_bytes(png(0))
    write_csv(folder / "t.csv", {"p": ["../x.png", str(tmp_path / "x.png")]})
    cells = read_cells(read_table(folder / "t.csv"), schema(p="image"))["p"]
    assert cells.outside == []
    assert [v.shape for v in cells.values()] == [(8, 9, 3)] * 2
    assert cells.outside == ["../x.png", str(tmp_path / "x.png")] and cells.faults == []


def test_urls_are_faults(tmp_path):
    cells = read_cells(as_records({"p": ["https://x.org/a.png"]}), schema(p="image"))["p"]
    assert cells.values() == [None] and "never fetched" in cells.faults[0].reason


def test_content_gives_the_file_for_the_report(shop):
    cells = read_cells(shop, schema(photo="image"))["photo"]
    assert cells.content(4).data == png(4) and cells.content(11) is None and cells.content(7) is None


def test_texts_of_other_types():
    records = as_records([{"t": 3}, {"t": 4}])
    assert read_cells(records, schema(t="text"))["t"].values() == ["3", "4"]
    cells = read_cells(as_records({"t": [b"\x89PNG"]}), schema(t="text"))["t"]
    assert cells.values() == [None] and not cells.present.any()
    assert cells.faults[0].reason == "4 bytes is not text"


# --- the judgement ---


def many(bad: int, n: int = 100):
    photos = [f"x/{i}.png" if i < bad else png(0) for i in range(n)]
    records = as_records({"photo": photos + [""] * 50}, folder="/data/x")
    cells = read_cells(records, schema(photo="image"))
    for one in cells.values():
        one.values()
    return cells


def test_too_many_bad_cells_stop_with_the_first_and_the_folder():
    """30 of the 100 cells that are not empty."""
    with pytest.raises(BadTable) as caught:
        judge_faults(many(30), on_bad="mask")
    assert str(caught.value) == (
        "column 'photo': 30 of 100 pictures cannot be read (30 %, limit 20 %): first in row 0: 'x/0.png': "
        "no such file in /data/x; correct the paths or raise --max-bad"
    )


def test_the_limit_itself_is_allowed():
    judge_faults(many(20), on_bad="mask")
    judge_faults(many(100), on_bad="drop", max_bad=1)
    with pytest.raises(BadTable, match=r"21 of 100 pictures .*\(21 %, limit 20 %\)"):
        judge_faults(many(21), on_bad="drop")


def test_the_action_is_the_policys(shop):
    cells = many(1)
    for policy, word in (("mask", "masked"), ("drop", "dropped")):
        judge_faults(cells, on_bad=policy)
        assert [fault.action for fault in cells["photo"].faults] == [word]
    assert Fault(1, "a", "b").to_json() == {"row": 1, "column": "a", "reason": "b", "action": "masked"}


def test_error_stops_at_the_first_in_the_tables_order(shop):
    cells = read_cells(shop, schema(**KINDS))
    for one in reversed(cells.values()):
        one.values()
    with pytest.raises(BadTable, match="column 'price', row 0: 'inf' is infinite; correct the cell"):
        judge_faults(cells, on_bad="error")
    judge_faults(many(0), on_bad="error")


def test_policies_are_checked():
    with pytest.raises(BadOption, match="did you mean 'mask'"):
        judge_faults({}, on_bad="msk")
    with pytest.raises(BadOption, match="between 0 and 1"):
        judge_faults({}, on_bad="mask", max_bad=20)


@given(st.lists(st.sampled_from(["1", "", "NA", "x", "inf", "2.5"]), max_size=15), st.randoms())
def test_values_do_not_depend_on_which_rows_are_asked_for(column, random):
    cells = read_cells(as_records({"a": column, "t": column}), schema(a="number", t="text"))
    rows = [random.randrange(len(column)) for _ in range(8)] if column else []
    for one in cells.values():
        whole, marks = one.values(), one.digests()
        assert one.values(rows) == [whole[row] for row in rows]
        assert one.digests(rows) == [marks[row] for row in rows]
        assert one.present.tolist() == [value is not None for value in whole]

"""judge/gallery: cells of single records as a report shows them."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import soundfile
from PIL import Image

from polysense import demo
from polysense.data.reading import read_cells
from polysense.data.records import as_records
from polysense.data.schema import guess
from polysense.judge.about import _cell
from polysense.judge.gallery import HZ, LINES, PIXELS, POINTS, SECONDS, with_cells
from polysense.judge.words import Words


def test_every_kind_is_shown_or_said_to_be_absent():
    rows = demo.made_up(30)
    rows[0] |= {"picture": rows[3]["picture"] or rows[4]["picture"], "text": "x" * 1000, "sound": None}
    records = as_records(rows)
    shown = with_cells([{"row": 0, "truth": "rain"}], read_cells(records, guess(records, exclude=["label"])))[0]
    assert shown["truth"] == "rain"
    cells = {cell["column"]: cell for cell in shown["cells"]}
    assert max(Image.open(io.BytesIO(cells["picture"]["image_png_bytes"])).size) <= PIXELS
    assert len(cells["text"]["text"]) < 500
    assert set(cells["sound"]) == {"column", "kind"}
    assert {"temperature", "wind", "place", "windows", "day"} <= set(cells)


@pytest.mark.parametrize(("size", "shown"), [((8, 4), (80, 40)), ((26, 30), (52, 60)), ((41, 9), (41, 9)), ((320, 160), (160, 80))])
def test_a_picture_of_few_pixels_is_enlarged_by_a_whole_number(size, shown):
    file = io.BytesIO()
    Image.new("RGB", size, (200, 0, 0)).save(file, "PNG")
    records = as_records([{"photo": file.getvalue()}, {"photo": None}])
    cells = with_cells([{"row": 0}], read_cells(records, guess(records)))[0]["cells"]
    assert Image.open(io.BytesIO(cells[0]["image_png_bytes"])).size == shown


def test_sounds_are_cut_and_small():
    rows = [row for row in demo.made_up(20) if row["sound"]]
    records = as_records(rows)
    cells = read_cells(records, guess(records, exclude=["label"]))
    data = with_cells([{"row": 0}], {"sound": cells["sound"]})[0]["cells"][0]["audio"]
    samples, rate = soundfile.read(io.BytesIO(data["bytes"]))
    assert rate == HZ and 0 < len(samples) <= (SECONDS + 0.3) * HZ and data["seconds"] <= SECONDS
    assert data["type"] == "audio/mpeg" and data["whole_seconds"] >= data["seconds"]
    assert Image.open(io.BytesIO(data["spectrogram_png_bytes"])).format == "PNG"


def test_a_series_is_drawn():
    """Two channels of 500 samples as lines of 120 points; the gap in the first one parts its line in two."""
    x = np.linspace(0, 8, 500).tolist()
    x[100:200] = [None] * 100
    records = as_records([{"walk": {"t": np.arange(500.0).tolist(), "a<b": x, "c": [7.0] * 500}}, {"walk": None}])
    cells = read_cells(records, guess(records))
    found = with_cells([{"row": 0}, {"row": 1}], cells)
    cell = found[0]["cells"][0]
    assert list(cell["series"]["lines"]) == ["a<b", "c"] and len(cell["series"]["at"]) == POINTS == len(cell["series"]["lines"]["c"])
    assert cell["series"]["lines"]["c"] == [7.0] * POINTS and cell["series"]["samples"] == 500
    html = _cell(Words("en"), cell, 0)
    assert html.count("<polyline") == 3 and "a&lt;b" in html and "a<b" not in html and "497.5 s" in html
    first = [tuple(map(float, point.split(","))) for point in re.search(r'points="([^"]*)"', html)[1].split()]
    assert first[0] == (74.0, 30.0) and all(one[1] >= other[1] for one, other in zip(first, first[1:], strict=False))  # it rises
    assert set(found[1]["cells"][0]) == {"column", "kind"}
    many = as_records([{"walk": [[1.0] * 9]}])
    cell = with_cells([{"row": 0}], read_cells(many, guess(many)))[0]["cells"][0]
    assert len(cell["series"]["lines"]) == LINES and "6 of 9 channels" in _cell(Words("en"), cell, 0)
    assert "9 个通道中的 6 个" in _cell(Words("zh"), cell, 0)

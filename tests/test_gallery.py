"""judge/gallery: cells of single records as a report shows them."""

from __future__ import annotations

import io

import soundfile
from PIL import Image

from polysense import demo
from polysense.data.reading import read_cells
from polysense.data.records import as_records
from polysense.data.schema import guess
from polysense.judge.gallery import HZ, PIXELS, SECONDS, with_cells


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


def test_sounds_are_cut_and_small():
    rows = [row for row in demo.made_up(20) if row["sound"]]
    records = as_records(rows)
    cells = read_cells(records, guess(records, exclude=["label"]))
    data = with_cells([{"row": 0}], {"sound": cells["sound"]})[0]["cells"][0]["audio"]
    samples, rate = soundfile.read(io.BytesIO(data["bytes"]))
    assert rate == HZ and 0 < len(samples) <= (SECONDS + 0.3) * HZ and data["seconds"] <= SECONDS
    assert data["type"] == "audio/mpeg" and data["whole_seconds"] >= data["seconds"]
    assert Image.open(io.BytesIO(data["spectrogram_png_bytes"])).format == "PNG"

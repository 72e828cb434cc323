"""Bad inputs and faults end in a result or in one sentence, whatever is fed."""

from __future__ import annotations

import csv
import io
import re
import shutil
import tempfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import damage
import small
from faulty import CASES, Place, memory_limit, what_happens
from polysense import Model, load
from polysense.data.records import as_records
from polysense.data.schema import guess
from polysense.errors import PolysenseError


@pytest.fixture(scope="session")
def little_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "model"
    small.model().fit(small.records(30)).save(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_every_fault_ends_as_the_list_says(name, tmp_path, little_folder):
    said = what_happens(CASES[name], Place(tmp_path, little_folder))
    assert re.search(CASES[name].ends, said, re.DOTALL), said
    assert "\n" not in said, "one sentence"


# --- damaged files ------------------------------------------------------------------------------------------

EDITS = st.lists(
    st.tuples(st.integers(0, damage.OPERATIONS - 1), st.floats(-1, 1), st.integers(0, 65535)), min_size=1, max_size=4
)


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_a_damaged_file_is_decoded_or_refused(kind):
    @settings(max_examples=150)
    @given(st.sampled_from(damage.seeds(kind)), EDITS)
    def law(data, edits):
        damage.decoded(kind, damage.edited(data, edits))

    with memory_limit(1 << 30):
        law()
    assert all(damage.decoded(kind, data) == "result" for data in damage.seeds(kind)), "whole files are read"


def test_a_damaged_table_is_read_or_refused(tmp_path):
    @settings(max_examples=60)
    @given(st.sampled_from(damage.seeds("table")), EDITS)
    def law(data, edits):
        damage.tabled(damage.edited(data, edits), tmp_path / "t.csv")

    law()
    assert all(damage.tabled(data, tmp_path / "t.csv") == "result" for data in damage.seeds("table"))


def test_a_damaged_model_is_loaded_or_refused(tmp_path, little_folder):
    """Hashes and seal are made to fit, as whoever means harm would."""
    copy = tmp_path / "model"

    @settings(max_examples=60)
    @given(st.floats(0, 0.999), EDITS, st.booleans())
    @example(0.9, [(0, 0.5, 3)], False)
    def law(what, edits, sealed):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(little_folder, copy)
        damage.spoil(copy, what, edits, sealed)
        damage.loaded(copy)

    with memory_limit(1 << 30):
        law()
    assert damage.loaded(little_folder) == "result"


# --- tables -------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["red bus", "sea", "木", "", "NA", "None", "a.png", "http://x.org/a.wav", "/etc/passwd", "<image>", "é" * 300])
NUMBERS = st.sampled_from(["1", "2.5", "-3", "1e5", "inf", "nan", "1e999", "0.0", "007", "1,5"])
DATES = st.sampled_from(["2024-01-02", "31/12/2024", "2024年1月2日", "20240230", "0000-00-00", "9999-12-31 23:59:60"])
FLAGS = st.sampled_from(["yes", "no", "Yes", ""])
HOSTILE = st.sampled_from(['"', 'a"b', "a,b;c|d\te", "line\nline", "\r", "\ufeff", "=1+1", " ", "\u202e", "w " * 5000])
CELLS = [WORDS, NUMBERS, DATES, FLAGS, HOSTILE, st.just(""), st.just("same"), st.one_of(WORDS, NUMBERS, DATES, HOSTILE)]
TARGETS = [
    st.sampled_from(["a", "b"]), st.sampled_from(["0", "1", "1.0"]), st.just("one"), st.integers(0, 10**6).map(str),
    st.sampled_from(["a", "", "NA", "b"]), st.dates().map(str), st.sampled_from(["a", "b"]),
]


@st.composite
def csv_files(draw) -> bytes:
    """A table as a file: any kinds of cells, separator, line end and encoding."""
    columns = draw(st.lists(st.sampled_from(CELLS), min_size=1, max_size=4))
    names = draw(st.permutations(["a", "day of week", "id", "名", "x.y", "fusion", " a"]))[: len(columns)]
    target = draw(st.sampled_from(TARGETS))
    rows = draw(st.sampled_from([30, 12, 20, 6, 1, 0]))
    picker = draw(st.randoms(use_true_random=False))
    body = [[*(_pick(draw, picker, cells) for cells in columns), _pick(draw, picker, target)] for _ in range(min(rows, 6))]
    body = [picker.choice(body) for _ in range(rows)] if body else []
    file = io.StringIO()
    writer = csv.writer(
        file, delimiter=draw(st.sampled_from(",;|\t")), lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
    )
    writer.writerows([[*names, "label"], *body])
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030", "latin-1", "utf-8 cut"]))
    return file.getvalue().encode(encoding.split()[0], "replace")[: -1 if "cut" in encoding else None]


def _pick(draw: Any, picker: Any, cells: Any) -> str:
    return draw(cells)


def uses(records: Any) -> list[str]:
    """fit, predict, evaluate, save and load, the way of each: ``result``, or the sentence."""
    said = []
    try:
        read = as_records(records)
        views = guess(read, exclude=("label",)).views if len(read) else []
        plain = {view.name: small.PLAIN.get("text" if view.modality == "text" else "") for view in views}
        made = Model("label", encoders={view: name for view, name in plain.items() if name},
                     options={"train.epochs": 1, "train.dim": 4, "train.members": 1}, cache=False)
        for deed in (lambda: made.fit(records), lambda: made.predict(records), lambda: made.evaluate(records, samples=20)):
            deed()
            said.append("result")
        with tempfile.TemporaryDirectory() as folder:
            made.save(Path(folder) / "m")
            assert load(Path(folder) / "m").classes_.tolist() == made.classes_.tolist()
    except PolysenseError as error:
        assert str(error) and "\n" not in str(error), error
        said.append(str(error))
    return said


def test_any_table_ends_in_a_result_or_in_one_sentence(tmp_path):
    ends = []

    @settings(max_examples=60)
    @given(csv_files())
    def law(data):
        (tmp_path / "t.csv").write_bytes(data)
        ends.append(uses(tmp_path / "t.csv")[-1])

    law()
    assert ends.count("result") > len(ends) / 4 and len(set(ends)) > 5, ends


THINGS = [
    st.integers(-(10**30), 10**30), st.floats(), st.booleans(), st.text(max_size=5), st.binary(max_size=5), st.none(),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=2), st.none(), max_size=1), st.dates(),
    st.datetimes(), st.decimals(), st.just(np.float32(1.5)), st.just(np.array([1, 2])), st.just(Decimal("NaN")),
    st.just(date(2024, 1, 1)), st.just({1, 2}), st.just(object()), st.just(Path("a.png")), st.complex_numbers(), st.times(),
    st.just(["a.png", b"x", None]), st.timedeltas(), st.just(np.datetime64("2024-01-01")), st.just("\ud800"),
]


def test_any_python_values_end_in_a_result_or_in_one_sentence():
    @settings(max_examples=80)
    @given(st.lists(st.sampled_from(range(len(THINGS))), min_size=1, max_size=3), st.data())
    def law(kinds, data):
        cells = st.one_of([THINGS[kind] for kind in kinds])
        rows = data.draw(st.lists(st.fixed_dictionaries({"a": cells, "label": st.sampled_from("ab")}), min_size=6, max_size=6))
        uses(rows * 2)

    law()


def test_any_target_ends_in_a_result_or_in_one_sentence():
    ends = []

    @settings(max_examples=40)
    @given(st.sampled_from(THINGS), st.data())
    def law(cells, data):
        few = data.draw(st.lists(cells, min_size=2, max_size=3))
        ends.append(uses([{"size": 7 * i % 16, "label": few[i % len(few)]} for i in range(16)])[-1])

    law()
    assert 2 < ends.count("result") < len(ends), ends

"""The report: one file, nothing from outside, everything escaped, and no data that breaks it."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

from polysense.judge.evaluate import evaluate
from polysense.judge.report import _Axis, html
from polysense.learn.rivals import Rivals

EVIL = "<script>alert('1')</script>&\"'"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
VOID = {"meta", "img", "br", "line", "circle", "path", "polyline", "link"}


class Page(HTMLParser):
    """Checks that tags close in order; keeps text, tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


@cache
def evaluation(
    classes: int = 3, n: int = 80, views: tuple = ("a", "b"), named: str = "class {}", subsets: bool = True
):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, classes, n)
    features = {view: np.eye(classes)[targets] + rng.normal(size=(n, classes)) for view in views}
    present = rng.random((n, len(views))) < 0.9
    rivals = Rivals.train(
        features, present, targets, features, present, targets, views=views, classes=classes
    )
    return evaluate(
        lambda mask: rivals.answer(views, features, mask, filled=True),
        present,
        targets,
        views=list(views),
        classes=[named.format(i) for i in range(classes)],
        prior=rivals.prior,
        rivals=rivals,
        features=features,
        subsets=subsets,
        samples=100,
        groups=np.arange(n) // 2,
    )


def everything(text: str = "a red bus") -> dict:
    """All optional parts."""
    return {
        "history": [
            {
                "epoch": i,
                "loss": 2 / i,
                "valid_loss": None if i == 2 else 1 / i,
                "valid_accuracy": 0.5,
                "lr": 1e-3,
            }
            for i in range(1, 5)
        ],
        "mistakes": [
            {
                "row": 7,
                "truth": None,
                "prediction": text,
                "probability": 0.98,
                "cells": [
                    {"column": text, "kind": "image", "image_png_bytes": PNG},
                    {"column": "note", "kind": "text", "text": text},
                    {"column": "speech", "kind": "audio", "audio_wav_bytes": b"RIFF"},
                    {"column": "gone", "kind": "text"}, {"column": "age", "kind": "table", "text": text},
                ],
            }
        ],
        "data_report": {
            "columns": [[text, "text", text]],
            "missing": {text: {"records": 1, "share": 0.25}},
            "notes": [text],
            "bad_cells": [{"row": 3, "column": text, "reason": text, "action": "masked"}],
        },
        "made": {"fusion": text, "options": {text: [text, 1.23456, True]}},
    }


def test_all_sections_stand_in_the_contents():
    page = html(evaluation(), title="Stamps", **everything())
    seen = Page(page)
    targets = [value[1:] for name, value in seen.attributes if name == "href"]
    assert targets == ["scores", "subsets", "learning", "confusion", "mistakes", "data", "made"]
    assert set(targets) <= {value for name, value in seen.attributes if name == "id"}
    for words in (
        "in 40 groups",
        "a class unseen in training",
        "absent",
        "said with 98",
        "1 bad cell",
        "1.235",
        "yes",
    ):
        assert words in seen.text


def test_nothing_comes_from_outside():
    """No script, no link out, no style or font fetched; pictures and sounds are in the file."""
    page = html(evaluation(), title="Stamps", **everything())
    seen = Page(page)
    assert not {"script", "link", "iframe", "object", "form"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert all(value.startswith("data:") for name, value in seen.attributes if name == "src")
    assert sum(name == "src" for name, _ in seen.attributes) == 2
    assert not re.search(r"https?://|//[a-z]|url\(|@import", page) and "default-src 'none'" in page


def test_everything_is_escaped():
    """Class names, views, cells, reasons, options and the title may hold markup: it stays text."""
    found = evaluation(views=(EVIL, "b"), named=EVIL + " {}")
    seen = Page(html(found, title=EVIL, **everything(EVIL)))
    assert "script" not in seen.tags
    assert seen.text.count(EVIL) > 12


def test_numbers_are_those_of_the_evaluation():
    found = evaluation()
    text = Page(html(found, title="t")).text.replace("\xa0", " ")
    accuracy = found["scores"]["accuracy"]
    assert f"{100 * accuracy['value']:.1f} %" in text
    assert f"[{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]" in text
    for row in found["subsets"]:
        value = 100 * row["difference"]["accuracy"]["value"]
        assert f"{value:+.1f}".replace("-", "−") in text


@pytest.mark.parametrize(
    "found",
    [
        {
            "records": 0,
            "scores": None,
            "baselines": {},
            "subsets": [],
            "bad_cells": [],
            "warnings": [],
            "confusion": None,
        },
        evaluation(subsets=False),
        evaluation(classes=2, n=12),
        evaluation(classes=45, n=120, subsets=False),
        evaluation(views=("a",)),
    ],
    ids=["no records", "no subsets", "few records", "many classes", "one view"],
)
def test_any_evaluation_makes_a_page(found):
    Page(html(found, title="t"))
    Page(
        html(
            found,
            title="t",
            history=[{"epoch": 1, "loss": 1.0, "valid_loss": float("nan")}],
            mistakes=[],
            made={},
        )
    )


def test_an_axis_holds_its_scores():
    """Scores of .62 and .87: from 60 to 90 in steps of 10; what lies outside is put on the edge."""
    axis = _Axis.of([{"value": 0.7, "low": 0.62, "high": 0.87}, {"value": None, "low": None, "high": None}])
    assert [round(tick, 6) for tick in axis.ticks] == [0.6, 0.7, 0.8, 0.9]
    assert axis.at(0.6) == 2 and axis.at(0.9) == pytest.approx(98) and axis.at(0.1) == 2
    for low, high in ((0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.3, 0.3)):
        one = _Axis(low, high)
        assert 0 <= one.low < one.high <= 1 and len(one.ticks) >= 2

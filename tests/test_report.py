"""The report: one file, nothing from outside, everything escaped, and no data that breaks it."""

from __future__ import annotations

import base64
import io
import re
import string
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

from polysense.errors import BadOption
from polysense.judge.draw import Axis, ticks
from polysense.judge.evaluate import evaluate
from polysense.judge.report import carries, html
from polysense.judge.spectrogram import BANDS, height_of, levels_of, palette, spectrogram
from polysense.judge.words import WORDS, Words
from polysense.learn.rivals import Rivals
from polysense.metrics import LINES, labels

ALL_MEASURES = {name for names in LINES.values() for name in names} | set(labels.MEASURES)
EVIL = "<script>alert('1')</script>&\"'"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
VOID = {"meta", "img", "br", "line", "circle", "path", "polyline", "link"}
SECTIONS = ["scores", "subsets", "calibration", "classes", "by", "mistakes", "learning", "data", "made"]


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
        by=(named, [named.format(i % 3) if i % 7 else None for i in range(n)]),
        unseen={named: 2},
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
                    {"column": text, "kind": "audio", "audio": {
                        "type": "audio/mpeg", "bytes": b"ID3", "spectrogram_png_bytes": PNG, "seconds": 4.0,
                        "whole_seconds": 9.5,
                    }},
                    {"column": "gone", "kind": "text"}, {"column": "age", "kind": "table", "text": text},
                ],
            }
        ],
        "data": {
            "columns": [[text, "text", text]], "records": 4, "train": 3, "valid": 1, "without_target": 2,
            "absent": {text: 1}, "empty": {text: 1}, "notes": [text], "missing_words": {text: {text: 3}},
            "identical_in_train_and_valid": {text: 1},
            "bad_cells": [{"row": 3, "column": text, "reason": text, "action": "masked"}],
        },
        "made": {
            "parts": [{"view": text, "encoder": text, "regime": "frozen", "tower": {
                "name": text, "sha256": "ab" * 32, "licence": text,
            }}],
            "mixture": {"": 0.4}, "answers": {"": "classes"}, "recipe": {"target": text, "options": {"train.epochs": 3}}, "versions": {"torch": text},
            "seed": 7, "fingerprint": "cd" * 32, "train": {"rate": 1.23456, "swa": True}, "date": text,
        },
    }


@pytest.mark.parametrize("lang", WORDS)
def test_all_sections_stand_in_the_contents(lang):
    """Twice: in the list at the side, and in the folded one of narrow windows."""
    seen = Page(html(evaluation(), title="Stamps", lang=lang, **everything()))
    targets = [value[1:] for name, value in seen.attributes if name == "href" and value[0] == "#"]
    assert targets == SECTIONS * 2
    assert set(targets) <= {value for name, value in seen.attributes if name == "id"}
    assert ("lang", {"en": "en", "zh": "zh-CN"}[lang]) in seen.attributes
    headings = [WORDS[lang][f"s_{name}"].split("{")[0] for name in SECTIONS]
    assert all(words in seen.text for words in headings)
    for name in ("unseen_in_training", "absent", "bad", "yes", "frozen", "versions", "fingerprint"):
        assert WORDS[lang][name] in seen.text
    assert "ab" * 32 in seen.text and "1.235" in seen.text and "98" in seen.text and "train.epochs: 3" in seen.text


def test_the_languages_have_the_same_words_with_the_same_places():
    """Every key in each, every place filled in each; and no English word is left over in Chinese by accident."""
    def places(text: str) -> set:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert WORDS["en"].keys() == WORDS["zh"].keys()
    for key, text in WORDS["en"].items():
        for form in text.split("|"):
            assert places(form) == places(WORDS["zh"][key]), key
    same = {key for key in WORDS["en"] if WORDS["en"][key] == WORDS["zh"][key]}
    assert same == {"f1", "auroc", "hz", "cider", "bleu4", "rouge_l"}
    with pytest.raises(BadOption, match="speaks no 'fr'"):
        Words("fr")


def test_every_word_is_used():
    """A word that no section says is left over."""
    from pathlib import Path

    import polysense.judge as judge

    source = "".join(path.read_text(encoding="utf-8") for path in Path(judge.__file__).parent.glob("*.py"))
    source = source.replace(Path(judge.__file__).with_name("words.py").read_text(encoding="utf-8"), "")
    made_up = ("s_", "n_", "vs_")
    fields = {"cpu_seconds", "date", "source", "target", "scratch", "fixed", "tuned", "frozen", "seed", "versions",
              "fingerprint", "task", "fusion", "licence", "pseudo", *ALL_MEASURES, *(key for key in WORDS["en"] if key in evaluation()["scores"])}
    unused = [
        key for key in WORDS["en"]
        if f'"{key}"' not in source and f"'{key}'" not in source and not key.startswith(made_up) and key not in fields
        and key not in ("and", "comma", "title") and not key.endswith(("_other", "_numbers", "_labels", "_words"))
    ]
    assert not unused


def test_chinese_explains_a_specialist_where_it_first_stands():
    text = Page(html(evaluation(), title="t", lang="zh")).text
    assert text.index("专家回归") == text.index("专家回归（只用这些视图训练的逻辑回归）")


def test_nothing_comes_from_outside():
    """No script, no link out, no style or font fetched; pictures and sounds are in the file."""
    page = html(evaluation(), title="Stamps", **everything())
    seen = Page(page)
    assert not {"script", "link", "iframe", "object", "form"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert all(value.startswith("data:") for name, value in seen.attributes if name == "src")
    assert all(value[0] == "#" or value.startswith("data:image/png") for name, value in seen.attributes if name == "href")
    assert sum(name == "src" for name, _ in seen.attributes) == 2
    assert not re.search(r"https?://|//[a-z]|url\(|@import", page) and "default-src 'none'" in page


def test_the_values_of_a_column_stand_beside_a_line_at_the_whole():
    """In each row the line is where the axis has the accuracy of all records."""
    found = evaluation()
    axis = Axis.shares([row["scores"]["accuracy"] for row in found["by"]["values"]])
    section = html(found, title="t").partition('id="by"')[2].partition("</section>")[0]
    places = re.findall(r'<line class="line" x1="([0-9.]+)%"', section)
    assert len(places) == len(found["by"]["values"])
    assert set(places) == {f"{axis.at(found['scores']['accuracy']['value']):.2f}"}


def test_everything_is_escaped():
    """Class names, views, cells, reasons, options and the title may hold markup: it stays text."""
    found = evaluation(views=(EVIL, "b"), named=EVIL + " {}")
    for lang in WORDS:
        page = html(found, title=EVIL, lang=lang, **everything(EVIL))
        seen = Page(page)
        assert "script" not in seen.tags and "<script" not in page
        assert seen.text.count(EVIL) > 40
        assert sum(EVIL in (value or "") for _, value in seen.attributes) >= 4  # labels of plots, alt texts


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


def test_many_classes_stay_readable():
    """Of 45 classes 23 and the rest as one make the matrix; together they hold every record."""
    page = html(evaluation(classes=45, n=300, subsets=False), title="t")
    table = page[page.index('<table class="confusion">') :]
    table = table[: table.index("</table>")]
    assert table.count('class="turned"') == 24 and "other classes" in table
    assert sum(int(n) for n in re.findall(r'<td class="sum">(\d+)</td>', table)) == 300
    assert sum(int(n) for n in re.findall(r'title="[^"]*">(\d+)</td>', table)) == 300


def test_an_axis_holds_its_scores():
    """Scores of .62 and .87: from 60 to 90; what lies outside is put on the edge."""
    axis = Axis.shares([{"value": 0.7, "low": 0.62, "high": 0.87}, {"value": None, "low": None, "high": None}])
    assert axis.ticks[0] == 0.6 and axis.ticks[-1] == 0.9
    assert axis.at(0.6) == 2 and axis.at(0.9) == pytest.approx(98) and axis.at(0.1) == 2
    for low, high in ((0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.3, 0.3), (0.999, 1.0)):
        one = Axis(low, high, within=(0.0, 1.0))
        assert 0 <= one.low < one.high <= 1 and len(one.ticks) >= 2
    apart = Axis.differences([{"value": -0.04, "low": -0.13, "high": 0.02}])
    assert apart.low <= -0.13 and apart.high >= 0.02 and "−" in apart.labels("points") and "+" in apart.labels("points")
    assert ticks(1, 20, 6, whole=True) == [0, 5, 10, 15, 20]


# --- which view carries ---------------------------------------------------------------------------


def score(value, low, high):
    return {"accuracy": {"value": value, "low": low, "high": high}}


def told(alone: dict, adds: dict, lang: str = "en") -> str:
    """The sentence for accuracies alone and differences with their intervals."""
    found = {
        "subsets": [{"present": [view], "scores": score(value, 0, 1), "too_few": False} for view, value in alone.items()],
        "worth": [{"view": view, "too_few": False, "adds": score(*one)} for view, one in adds.items()],
        "scores": score(0.9, 0.8, 0.95),
    }
    return re.sub("<[^>]*>", "", carries(Words(lang), found)).replace("&nbsp;", " ")


def test_the_sentence_claims_no_more_than_the_intervals():
    same = told({"a": 0.8, "b": 0.5, "c": 0.4}, {"a": (0.1, 0.05, 0.2), "b": (0.03, 0.01, 0.05), "c": (0, -0.1, 0.1)})
    assert same.startswith("a carries the model: alone it is right 80.0 % of the time")
    assert "Taking away b (+3.0 points [+1.0, +5.0]) also costs" in same and "What c adds to the others is not clear" in same
    two = told({"a": 0.8, "b": 0.5}, {"a": (0.01, -0.05, 0.2), "b": (0.03, 0.01, 0.05)})
    assert two.startswith("a knows most by itself (80.0 %), but b is missed most")
    none = told({"a": 0.8, "b": 0.5}, {"a": (0.2, 0.0, 0.4), "b": (0.0, -0.1, 0.1)})
    assert "no view is clearly missed" in none and "carries" not in none
    harm = told({"a": 0.8, "b": 0.5}, {"a": (0.2, 0.1, 0.4), "b": (-0.1, -0.2, -0.05)})
    assert "With b the model is right less often than without" in harm
    assert told({"a": 0.8}, {}) == "a by itself is right 80.0 % of the time."
    assert told({"a": 0.8, "b": 0.5}, {"a": (0.1, 0.05, 0.2)}, "zh").startswith("模型主要靠 a：单凭它就有 80.0% 答对")


# --- spectrograms ---------------------------------------------------------------------------------


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(16000 * seconds)) / 16000).astype(np.float32)


@pytest.mark.parametrize("hz", [300, 1000, 4000])
def test_a_tone_lies_at_its_height(hz):
    """1 kHz is 15 of 45.2 mel: band 15 / 45.2 * 65 - 1 = 20.5 from below, of 64."""
    levels = levels_of(tone(hz))
    loudest = levels.mean(1).argmax()
    assert abs((loudest + 0.5) / BANDS - height_of(hz)) <= 1 / BANDS
    if hz == 1000:
        top = 15 + 27 * np.log(8) / np.log(6.4)
        assert loudest in (20, 21) and height_of(1000) * BANDS == pytest.approx(15 / top * 65 - 0.5)
    assert levels.max() == 1 and np.median(levels) < 0.3


def test_time_runs_to_the_right_and_low_tones_lie_below():
    """A low tone, then a high one: the picture is bright at the lower left and the upper right."""
    from PIL import Image

    picture = Image.open(io.BytesIO(spectrogram(np.concatenate([tone(300), tone(4000)]))))
    grey = np.asarray(picture.convert("L"), float)
    rows, columns = grey.shape
    left, right = grey[:, : columns // 2 - 3].mean(1), grey[:, columns // 2 + 3 :].mean(1)
    assert left.argmax() > rows * 0.8 and right.argmax() < rows * 0.4 and rows == BANDS


def test_silence_and_one_sample_have_a_picture():
    assert not levels_of(np.zeros(16000, np.float32)).any()
    assert spectrogram(np.zeros(1, np.float32))[:4] == b"\x89PNG"


def test_colours_rise_evenly_in_lightness():
    rgb = palette(9) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(np.maximum(linear @ [0.2126, 0.7152, 0.0722], 0.008856)) - 16
    assert np.diff(lightness)[1:] == pytest.approx(11, abs=0.6)


# --- a whole page ---------------------------------------------------------------------------------


def test_sounds_play_and_pages_are_small():
    """24 mistakes with two sounds of four seconds of noise, the dearest sound there is: under 1.5 MB; each decodes."""
    import soundfile

    from polysense.judge.gallery import SECONDS, _sound

    noise = np.random.default_rng(0).uniform(-1, 1, 16000 * 6).astype(np.float32)
    sound = {"column": "s", "kind": "audio", "audio": _sound(noise)}
    photo = {"column": "p", "kind": "image", "image_png_bytes": bytes(6000)}
    cells = [photo, sound, sound]
    mistakes = [{"row": i, "truth": "a", "prediction": "b", "probability": 0.9, "cells": cells} for i in range(24)]
    page = html(evaluation(), title="t", mistakes=mistakes)
    assert len(page) < 1_500_000
    found = re.findall(r'src="data:audio/mpeg;base64,([^"]*)"', page)
    assert len(found) == 48
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(found[0])))
    assert rate == 16000 and SECONDS <= len(samples) / rate < SECONDS + 0.3 and np.abs(samples).mean() > 0.1
    assert "the first 4.0 of 6.0 s" in page

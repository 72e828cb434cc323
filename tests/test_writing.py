"""Cleaning, words of any script, stop words, Chinese words."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysense import writing
from polysense.errors import MissingExtra
from polysense.writing import STOP_WORDS, WORD, chinese_words, clean, padded, parts, without


@pytest.mark.parametrize(
    ("dirty", "neat"),
    [
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"), ("ﬁ ½ ²", "fi 1⁄2 2"), ("e\u0301te\u0301", "été"),
        ("a\x00b\u200bc\ufeff", "abc"), ("\ud800lone", "lone"), ("tab\t\r\nline", "tab line"), ("  ", ""),
        ("\u202egnirts\u202c", "gnirts"), ("می\u200cروم", "می\u200cروم"), ("None", "None"),
        ("<image>", "<image>"),
    ],
)
def test_clean(dirty, neat):
    assert clean(dirty) == neat


@given(st.text())
def test_cleaning_ends(text):
    """What is clean stays, encodes as UTF-8, and holds neither control characters nor double blanks."""
    once = clean(text)
    assert "  " not in once and once == once.strip()
    once.encode()
    assert clean(once) == once or clean(clean(once)) == clean(once)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I don't, we’ll see...", ["I", "don't", ",", "we’ll", "see", ".", ".", "."]),
        ("'quoted' rock'n'roll", ["'", "quoted", "'", "rock'n'roll"]),
        ("iPhone15手机壳!", ["iPhone15", "手", "机", "壳", "!"]),
        ("हिन्दी में।", ["हिन्दी", "में", "।"]), ("می\u200cروم", ["می\u200cروم"]),
        ("ปลา", ["ป", "ล", "า"]), ("カタ", ["カ", "タ"]), ("a_b 3.5", ["a_b", "3", ".", "5"]), ("🚌🚌", ["🚌", "🚌"]), ("", []),
    ],
)
def test_words_and_marks(text, tokens):
    assert parts(text) == tokens


def test_a_run_of_chinese_is_one_word_where_words_stand_apart():
    assert parts("红色 的 ปล bus", whole=True) == ["红色", "的", "ป", "ล", "bus"]


@given(st.text())
def test_words_lose_nothing_but_blanks(text):
    assert "".join(parts(text)) == "".join(parts(text, whole=True)) == "".join(text.split())
    assert all(WORD.fullmatch(word) or len(word) == 1 or "'" in word or "’" in word for word in parts(text))


def test_words_left_out():
    assert without("it's not the bus", STOP_WORDS["english"]) == "not bus"
    assert without("it’s not the bus", STOP_WORDS["english"]) == "not bus"
    assert without("other mother, the", {"the", "other"}) == "mother,"  # whole words only
    assert without("红色 的 目的", {"的"}, whole=True) == "红色 目的"  # 目的 (aim) is another word
    assert without("红色 目的", {"的"}) == "红色 目"


def test_stop_words():
    """Lower case, nothing that turns or weighs what is said, and each a word as texts are taken apart."""
    assert not STOP_WORDS["english"] & {"no", "not", "nor", "never", "don't", "isn't", "very", "too", "few", "more", "only"}
    assert not STOP_WORDS["chinese"] & set("不没无别未非很太最更")
    assert all(parts(word) == [word] and word == word.lower() for word in STOP_WORDS["english"])
    assert all(parts(word, whole=True) == [word] for word in STOP_WORDS["chinese"])
    assert len(STOP_WORDS["english"]) > 100 and len(STOP_WORDS["chinese"]) > 100


def test_chinese_words():
    """jieba's own example, with Latin letters and marks beside it."""
    pytest.importorskip("jieba")
    assert chinese_words("我来到北京清华大学") == "我 来到 北京 清华大学"
    assert chinese_words("red红色的bus,公交车!") == "red 红色 的 bus, 公交车 !"
    assert chinese_words("no Chinese") == "no Chinese"


def test_jiebas_cache_file_is_neither_read_nor_written(tmp_path, monkeypatch):
    """It lies where every user of a machine may write, and is read by marshal."""
    jieba = pytest.importorskip("jieba")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "jieba.cache").write_bytes(b"harm")
    (tmp_path / "dict.txt").write_text("红色 5 n\n的 5 u\n", encoding="utf-8")
    monkeypatch.setattr(jieba.Tokenizer, "get_dict_file", lambda self: (tmp_path / "dict.txt").open("rb"))  # quicker
    writing._cutter.cache_clear()
    assert chinese_words("红色的") == "红色 的"
    assert (tmp_path / "jieba.cache").read_bytes() == b"harm" and len(list(tmp_path.iterdir())) == 2
    writing._cutter.cache_clear()


def test_jieba_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", None)
    writing._cutter.cache_clear()
    assert chinese_words("red bus") == "red bus", "without Chinese it is not needed"
    with pytest.raises(MissingExtra, match=r"'jieba' is not installed; run: pip install 'polysense\[chinese\]'"):
        chinese_words("红色")


def test_padded():
    arrays = padded([[5, 6], [7], []])
    assert arrays["ids"].tolist() == [[5, 6], [7, 0], [0, 0]]
    assert arrays["mask"].tolist() == [[True, True], [True, False], [False, False]]

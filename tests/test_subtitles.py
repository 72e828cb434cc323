"""Subtitles: words are gathered, written, and read back by a reader of this file's own."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysense.errors import BadOption
from polysense.subtitles import Cue, Word, cues, joined, written

CLOCK = r"(\d\d+):(\d\d):(\d\d)[,.](\d\d\d)"


def parsed(text: str, form: str) -> list[Cue]:
    """Cues of a subtitle file, as a player reads them: blocks between empty lines, times in the first line with an arrow."""
    blocks = re.split(r"\n\n+", text.strip("\n"))
    if form == "vtt":
        assert blocks.pop(0) == "WEBVTT"
    found = []
    for number, block in enumerate(filter(None, blocks), 1):
        rows = block.split("\n")
        if form == "srt":
            assert rows.pop(0) == str(number)
        clock = re.fullmatch(f"{CLOCK} --> {CLOCK}", rows[0]).groups()
        first, last = clock[:4], clock[4:]
        start, end = (int(h) * 3600 + int(m) * 60 + int(s) + int(ms) / 1000 for h, m, s, ms in (first, last))
        said = "\n".join(rows[1:])
        found.append(Cue(html.unescape(said) if form == "vtt" else said, start, end))
    return found


@st.composite
def speeches(draw) -> list[Word]:
    """Words one after the other, with pauses and without, some long, some with signs that mean something to the formats."""
    texts = draw(st.lists(st.sampled_from(
        ["go", "home.", "a" * 60, "<b>", "&", "-->", "你", "好。", "Isn't", "1", "…", "x\ny"]
    ), max_size=40))
    now, found = 0.0, []
    for text in texts:
        now += draw(st.sampled_from([0.0, 0.1, 0.5, 2.0]))
        found.append(Word(text, round(now, 3), round(now + 0.3, 3)))
        now += 0.3
    return found


@given(speeches(), st.sampled_from(["srt", "vtt"]))
def test_what_is_written_is_read_back(words, form):
    shown = cues(words)
    again = parsed(written(shown, form), form)
    assert [time for one in again for time in one[1:]] == pytest.approx([time for one in shown for time in one[1:]])
    plain = [one.text.replace("-->", "→") for one in shown]
    assert ["".join(one.text.split()) for one in again] == ["".join(one.split()) for one in plain]


@given(speeches())
def test_cues_hold_every_word_once_in_order_of_time(words):
    shown = cues(words)
    said = "".join("".join(cue.text.split()) for cue in shown)
    assert said == "".join("".join(word.text.split()) for word in words)
    times = [(one.start, one.end) for one in shown]
    assert times == sorted(times) and all(start <= end for start, end in times)
    for cue in shown:
        inside = [word for word in words if cue.start <= word.start and word.end <= cue.end]
        assert cue.end - cue.start <= 6.0 or len(inside) == 1
        assert len(cue.text.replace("x\ny", "x y").split("\n")) <= 2 or len(inside) == 1


def test_a_pause_and_a_full_line_part_cues():
    """"eight" makes 41 letters with seven spaces of the words before, and 42 is a line: so two lines hold 84 letters.

    Twelve words of 6 letters are 12 * 7 - 1 = 83 wide; laid into lines of 42: six words are 41 wide, so two lines hold 12.
    """
    words = [Word("eighty", i * 0.3, i * 0.3 + 0.2) for i in range(13)]
    assert [len(cue.text.split()) for cue in cues(words)] == [12, 1]
    assert cues(words)[0].text.split("\n")[0] == " ".join(["eighty"] * 6)


def test_chinese_stands_without_spaces_and_counts_twice():
    words = [Word(sign, i * 0.2, i * 0.2 + 0.2) for i, sign in enumerate("请" * 25)]
    shown = cues(words)
    assert shown[0].text == "请" * 21 + "\n" + "请" * 4
    assert joined(["请", "OK", "吗", "now", "go"]) == "请OK吗now go"


def test_nothing_said_is_an_empty_file():
    assert written(cues([]), "srt") == "" and written(cues([]), "vtt") == "WEBVTT\n"


def test_another_form_is_refused():
    with pytest.raises(BadOption, match="srt or vtt, not 'txt'"):
        written([], "txt")

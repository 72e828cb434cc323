"""Words with their seconds, and subtitles made of them: SRT and WebVTT."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .errors import BadOption

#: Signs written without spaces between them: Han characters, kana.
_UNSPACED = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff\u3000-\u303f\uff00-\uffef\U00020000-\U0003134f]")
_ENDS = tuple(".!?…。！？")
FORMS = ("srt", "vtt")


class Word(NamedTuple):
    """A word (in Chinese and Japanese a sign) and when it is said.

    Attributes:
        text: with the marks that stand at it, without spaces around.
        start, end: seconds from the beginning of the sound.
    """

    text: str
    start: float
    end: float


class Cue(NamedTuple):
    """What is shown at a time: lines of text, and when it comes and goes, in seconds."""

    text: str
    start: float
    end: float


def joined(words: Iterable[str]) -> str:
    """Words as a text: spaces between them, but none beside signs that are written without.

    >>> joined(["go", "home,", "now"]), joined(["你", "好，", "世", "界", "ABC"])
    ('go home, now', '你好，世界ABC')
    """
    text = ""
    for word in words:
        between = text and word and not (_UNSPACED.match(text[-1]) or _UNSPACED.match(word[0]))
        text += f" {word}" if between else word
    return text


def cues(words: Sequence[Word], *, letters: int = 42, lines: int = 2, seconds: float = 6.0, pause: float = 0.7) -> list[Cue]:
    """Words gathered into what is shown together.

    A cue ends where it would grow beyond ``lines`` lines or ``seconds``, before a pause, and behind the end of a sentence
    that fills a line. Widths as in the BBC's subtitle guidelines (42 letters, 2 lines; a Chinese sign counts twice).

    Args:
        letters: of a line.
        lines: of a cue.
        seconds: that a cue lasts at most, unless a single word lasts longer.
        pause: seconds of silence between two words that part cues.

    >>> cues([Word("Go", 0.0, 0.2), Word("home.", 0.3, 0.6), Word("Now", 3.0, 3.4)])
    [Cue(text='Go home.', start=0.0, end=0.6), Cue(text='Now', start=3.0, end=3.4)]
    """
    if letters < 1 or lines < 1 or seconds <= 0 or pause < 0:
        raise BadOption(f"subtitles of {lines} lines of {letters} letters, {seconds} seconds, pause {pause} cannot be made")
    found: list[list[Word]] = []
    for word in words:
        now = found[-1] if found else []
        over = now and (
            word.start - now[-1].end > pause or word.end - now[0].start > seconds
            or len(_laid([*now, word], letters)) > lines
            or now[-1].text.endswith(_ENDS) and _width(joined(one.text for one in now)) >= letters
        )
        if not now or over:
            found.append([word])
        else:
            now.append(word)
    return [Cue("\n".join(_laid(some, letters)), some[0].start, max(one.end for one in some)) for some in found]


def _width(text: str) -> int:
    return sum(2 if _UNSPACED.match(sign) else 1 for sign in text)


def _laid(words: Sequence[Word], letters: int) -> list[str]:
    """Lines of at most ``letters``; a longer word has a line of its own."""
    rows: list[str] = []
    for word in words:
        longer = joined([rows[-1], word.text]) if rows else word.text
        if rows and _width(longer) <= letters:
            rows[-1] = longer
        else:
            rows.append(word.text)
    return rows


def written(shown: Sequence[Cue], form: str) -> str:
    """A subtitle file.

    Args:
        shown: in the order of time.
        form: "srt" or "vtt" (W3C, WebVTT: the Web Video Text Tracks Format).

    Raises:
        BadOption: another form.

    >>> print(written([Cue("a < b", 0.5, 61.25)], "vtt"))
    WEBVTT
    <BLANKLINE>
    00:00:00.500 --> 00:01:01.250
    a &lt; b
    <BLANKLINE>
    """
    if form not in FORMS:
        raise BadOption(f"subtitles are written as {' or '.join(FORMS)}, not '{form}'")
    blocks = []
    for number, cue in enumerate(shown, 1):
        # an empty line would end the cue, an arrow would begin another one
        rows = [" ".join(row.split()).replace("-->", "→") for row in cue.text.split("\n")]
        text = "\n".join(row for row in rows if row)
        first, last = _clock(cue.start, form), _clock(max(cue.end, cue.start), form)
        head = f"{number}\n" if form == "srt" else ""
        blocks.append(f"{head}{first} --> {last}\n{text if form == 'srt' else html.escape(text, quote=False)}\n")
    return "\n".join(["WEBVTT\n", *blocks] if form == "vtt" else blocks)


def _clock(seconds: float, form: str) -> str:
    """
    >>> _clock(3661.5, "srt"), _clock(0.0004, "vtt")
    ('01:01:01,500', '00:00:00.000')
    """
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{',' if form == 'srt' else '.'}{thousandths:03d}"

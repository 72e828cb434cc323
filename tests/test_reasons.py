"""Reasons of kinds and of bad cells in the report's language: none that the data layer can say is left out."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest
from small import model, records

import polysense
from polysense.judge.reasons import REASONS, translated
from polysense.judge.words import WORDS

DATA = Path(polysense.__file__).parent / "data"
#: Sentences whose parts the code joins: what they can become.
JOINED = {
    "{} is not a number{}": ["'x' is not a number", "'0,46' is not a number; a decimal comma is written 0.46"],
    "{}: no such file{}{}": [
        "'a.png': no such file", "\"it's.png\": no such file in /data/set",
        "'a.png;b.png': no such file in /d; several files in one cell are written [\"a\", \"b\"]"],
    "sample {} holds {}, the first one {} numbers": [
        "sample 3 holds 2 numbers, the first one 1,000 numbers", "sample 3 holds 'x', the first one 1 numbers"],
    "{} at sample {} ({} s), {} such samples in all": [
        "NaN at sample 3 (0.001 s), 1 such samples in all", "infinity at sample 9,000 (0.5 s), 2 such samples in all"],
    "has {}, where training had {}": ["has 1 channel, where training had 2", "has 3 channels, where training had 2"],
    "{} is neither a path nor the bytes of {}": ["7 is neither a path nor the bytes of a picture",
                                                 "7 is neither a path nor the bytes of a video file"],
    "declared{}": ["declared", "declared, read as day/month/year", "declared; 1 channel", "declared; 2 channels (x, y)"],
    "{}{}": ["dates", "ISO dates", "dates written as eight digits, read as month/day/year", "1,000 of 1,001 values are dates",
             "3 of 3 values are lists of numbers; 3 channels (x, y, z)", "1 of 1 values are lists of numbers; 1 channel (x)",
             "3 of 4 values are dates written as eight digits, read as day/month/year", "9 of 9 values are ISO dates"],
    "{} on average": ["3.1 words on average", "12.0 characters on average"],
    "{}, part of view '{}'": ["3.1 words on average, part of view 'both'",
                              "2 of 2 values end in .png/.jpg or are image files by their first bytes, part of view 'a b'"],
    "looks like {} ({}), which is not read yet": ["looks like video (3 of 3 values end in .mp4), which is not read yet"],
    "is cut short: {} declared, {} there": [
        "is cut short: 1.20 s declared, 0.30 s there", "is cut short: 1,200 bytes declared, 300 there"],
    "is {}, not one of wav flac ogg mp3 aiff": ["is a picture, not one of wav flac ogg mp3 aiff"],
    "is {}, not one of {}": ["is a PDF file, not one of PNG JPEG", "is of an unknown format, not one of wav flac"],
    "is {}, neither a .npy file nor a .csv file of numbers": ["is a ZIP file, neither a .npy file nor a .csv file of numbers"],
    "{}: {}": ["'a.csv': line 3: 'x' is not a number", "line 4: unexpected end of data"],
    "line {}: {}": ["line 3: 'x' is not a number"],
    "/": ["yes/no", "是/否", "true/false"],
}
#: Functions of the data layer whose text is a reason or a part of one.
TELLERS = ("_too_large", "_cut", "told", "_noun")


def skeleton(node: ast.AST) -> list[str]:
    """The sentences that an expression can be, {} at each place."""
    if isinstance(node, ast.IfExp):
        return skeleton(node.body) + skeleton(node.orelse)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)]
    return []


def said() -> set[str]:
    """Every reason in the source of the data layer."""
    found = set()
    for path in DATA.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                place = {"BadCell": 0, "Column": 2, "make": 1, "_bad": 2}.get(name)
                if place is not None and len(node.args) > place:
                    found |= set(skeleton(node.args[place]))
            if isinstance(node, ast.FunctionDef) and node.name in TELLERS:
                for inner in ast.walk(node):
                    found |= set(skeleton(inner.value)) if isinstance(inner, ast.Return) and inner.value else set()
    return found


def bare(text: str) -> str:
    """Places without name, without the file that stands before, and without quotation marks around."""
    return text.replace("'{}'", "{}").removeprefix("{}: ")


def test_every_reason_of_the_data_layer_has_its_sentence():
    table = {bare("".join(text + ("{}" if name is not None else "") for text, name, _, _ in string.Formatter().parse(one)))
             for one in REASONS["zh"]}
    reasons = said()
    assert len(reasons) > 70, "the reasons are no longer found"
    missing = {one for one in reasons if bare(one) not in table and one not in JOINED}
    assert not missing, f"no Chinese words for {sorted(missing)}"


@pytest.mark.parametrize("sentence", [one for some in JOINED.values() for one in some])
def test_joined_reasons_are_translated_whole(sentence):
    words = translated(sentence, "zh")
    assert words and re.search("[一-鿿]", words)
    kept = r"'.*?'|\".*?\"|yes/no|true/false|wav flac( ogg mp3 aiff)?|image|video|\.\w+|/\w+|unexpected end of data"
    assert not re.search(r"[a-z]{3}", re.sub(kept, "", words)), words


def test_values_come_through_and_strange_ones_harm_nothing():
    assert translated("1,200 of 1,300 values are numbers", "zh") == "1,300 个值中 1,200 个是数值"
    assert translated("'a {b}.png': is a folder, not a file", "zh") == "'a {b}.png'：是文件夹，不是文件"
    assert translated("'a\nb' is not text", "zh") == "'a\nb' 不是文本"
    assert translated("a sentence of tomorrow", "zh") is None and translated("'a.png': of tomorrow", "zh") is None
    assert translated("declared", "en") is None
    for english, form in REASONS["zh"].items():
        names = [{name for _, name, _, _ in string.Formatter().parse(one) if name} for one in (english, form)]
        assert names[0] == names[1], english
    assert set(REASONS) == set(WORDS) - {"en"}


def test_the_chinese_report_says_all_reasons_in_chinese(tmp_path):
    rows = records(40, views="picture text table", folder=tmp_path, missing=0.0)
    (tmp_path / "bad.png").write_bytes(b"%PDF-1.4")
    rows[3]["picture"], rows[4]["picture"], rows[5]["wind"] = "bad.png", "gone.png", "strong"
    for row in rows:
        row["picture"] = str(tmp_path / row["picture"])
    made = model("picture text table", columns={"wind": "number"}).fit(rows)
    evaluation = made.evaluate(rows, samples=50)
    chinese, english = (made.report(evaluation, rows, lang=lang) for lang in ("zh", "en"))
    assert '<td lang="en">' not in chinese and "没有这个文件" in chinese and "是PDF 文件，不属于" in chinese
    assert "不是数值" in chinese and "<td>视为缺失</td>" in chinese and "由用户指定" in chinese
    assert "no such file" in english and '<td lang="en">masked</td>' in english and "视为缺失" not in english

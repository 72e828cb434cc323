"""Emoji of two vendors, from packages built here."""

from __future__ import annotations

import csv
import io
import json

import pytest
from PIL import Image

from polysense import demo
from polysense.demo import emoji, vendors
from polysense.errors import BadTable


def drawn(colour):
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def packages(tmp_path, monkeypatch):
    source, more = tmp_path / "source", tmp_path / "more"
    (source / "img").mkdir(parents=True)
    (more / "twitter").mkdir(parents=True)
    entries, english, chinese = [], [], []
    for i in range(40):
        code = f"1F4{i:02X}"
        entries.append({"name": f"THING {chr(65 + i % 26)}{i}", "unified": code, "image": f"{code.lower()}.png",
                        "category": ["Food & Drink", "Objects"][i % 2], "has_img_google": True})
        (source / "img" / f"{code.lower()}.png").write_bytes(drawn((i, 0, 0)))
        if i:
            (more / "twitter" / f"{code.lower()}.png").write_bytes(drawn((0, i, 0)))
        english.append({"hexcode": code, "label": f"thing number {i}", "tags": ["thing", "tag of it"]})
        chinese.append({"hexcode": code, "label": f"物{i}", "tags": None})
    (source / "emoji.json").write_text(json.dumps(entries))
    (source / "zh.json").write_text(json.dumps(chinese))
    (more / "en.json").write_text(json.dumps(english))
    (more / "zh.json").write_text(json.dumps(chinese))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(emoji, "unpacked", lambda progress: source)
    monkeypatch.setattr(vendors, "_more", lambda progress: more)
    return more


def test_names_have_their_tags_and_both_vendors_their_pictures(packages, tmp_path):
    tables = demo.emoji_pairs(tmp_path / "out")
    rows = [row for path in tables for row in csv.DictReader(path.open(encoding="utf-8"))]
    assert len(rows) == 40 and list(rows[0]) == ["google", "twitter", "english", "chinese", "label", "group"]
    one = next(row for row in rows if row["english"].startswith("thing number 3,"))
    assert one["english"] == "thing number 3, tag of it" and one["chinese"] == "物3"  # the tag 'thing' is in the name
    for vendor in ("google", "twitter"):
        assert Image.open(tmp_path / "out" / one[vendor]).size == (8, 8)
    assert sum(not row["twitter"] for row in rows) == 1
    assert "Twemoji" in (tmp_path / "out/media/SOURCES.txt").read_text(encoding="utf-8")


def test_a_list_of_names_that_is_none_is_refused(packages, tmp_path):
    (packages / "en.json").write_text("[{}]")
    with pytest.raises(BadTable, match="en.json is no list of names"):
        demo.emoji_pairs(tmp_path / "out")

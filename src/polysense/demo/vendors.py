"""Emoji of two vendors with their names and tags in English and Chinese: what is to be found by what.

The set of ``emoji`` with Twitter's pictures beside Google's, and with the words that Unicode's CLDR lists for each emoji.
The same emoji stand in train, valid and test as there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..data.splits import connected_groups, split
from ..errors import BadTable
from . import emoji
from .emoji import NAMES, PICTURES, SHARES, Package
from .folder import SOURCES, Record, Say, Tables, aside, cache_of, claimed, replace, stage, write_tables, writing

VENDOR = Package(
    "emoji-datasource-twitter", "16.0.0", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
    {"package/LICENSE": "LICENSE-emoji-datasource-twitter", "package/img/twitter/64/*.png": "twitter/"},
)
WORDS = NAMES._replace(wanted={
    "package/en/compact.json": "en.json", "package/zh/compact.json": "zh.json", "package/LICENSE": "LICENSE-emojibase",
})
LICENSE = (
    f"{emoji.LICENSE} (Apache License 2.0), and Twitter's Twemoji (Creative Commons Attribution 4.0, Copyright "
    "Twitter, Inc and other contributors)"
)

#: What the columns hold, in words; written beside the pictures.
ABOUT = {
    "google": "the emoji as Google draws it (PNG, 64 pixels)",
    "twitter": "the same as Twitter draws it",
    "english": "its name and tags in English, as Unicode's CLDR lists them",
    "chinese": "its name and tags in simplified Chinese",
    "label": emoji.ABOUT["label"],
    "group": emoji.ABOUT["group"],
}
COLUMNS = tuple(ABOUT)


def emoji_pairs(folder: str | Path, *, seed: int = 0, progress: Say = lambda line: None) -> Tables:
    """The emoji of two vendors as ``train.csv``, ``valid.csv``, ``test.csv`` and ``media/`` in a folder.

    Three packages are fetched by ``npm pack`` and unpacked once into the cache folder. ``ABOUT`` says what the columns hold.
    Groups and split are those of ``emojis``.

    Args:
        folder: made if needed; its three tables and its media are replaced.
        seed: of the split.
        progress: is told each stage in one line.

    Raises:
        NoDownload: there is no npm, or it could not fetch a package.
        BadTable: a package is damaged or holds no emoji.
        BadOption: the folder holds tables or media that no demo wrote.
    """
    folder = claimed(folder)
    with writing(cache_of("emoji")):
        source, more = emoji.unpacked(progress), _more(progress)
    with writing(folder):
        with aside(folder / "media") as media:
            with stage(progress, "reading the emoji of two vendors"):
                records = _records(source, more, media)
            members = split(
                [record["label"] for record in records], SHARES, seed=seed, groups=[record["group"] for record in records],
            )
            replace(folder / "media", media)
        return write_tables(folder, records, members, COLUMNS)


def _more(progress: Say) -> Path:
    """The folder with Twitter's pictures and the tags, from the cache if it is there."""
    ready = cache_of("emoji") / f"pairs-{VENDOR.version}-{WORDS.version}"
    if ready.is_dir():
        progress(f"emoji: unpacked before, in {ready}")
        return ready
    with aside(ready) as new:
        with stage(progress, f"downloading {VENDOR.name} (76 MB) and {WORDS.name} (7 MB) with npm pack"):
            for package in (VENDOR, WORDS):
                emoji.unpack(emoji.fetched(package, new), package, new / "whole")
        replace(ready, new / "whole")
    return ready


def _records(source: Path, more: Path, media: Path) -> list[Record]:
    """One record for each emoji that Google draws; a cell stays empty where the other package lacks it."""
    english, chinese = (_described(more / f"{language}.json") for language in ("en", "zh"))
    plain, records, keys = emoji.chinese_names(source / "zh.json"), [], []
    for about in emoji.entries(source / "emoji.json"):
        name = PurePosixPath(about["image"]).name
        drawing = source / "img" / name
        if about["category"] == "Component" or not about["has_img_google"] or not drawing.is_file():
            continue
        code = emoji.plain_code(about["unified"])
        named = about["name"].lower()
        records.append({
            "google": _copied(drawing, media), "twitter": _copied(more / "twitter" / name, media),
            "english": english.get(code, named), "chinese": chinese.get(code), "label": about["category"],
        })
        keys.append(emoji.keys(named, about["unified"], drawing, plain.get(code)))
    if not records:
        raise BadTable(f"{source} holds no emoji; delete it and run this again")
    for record, group in zip(records, connected_groups(keys), strict=True):
        record["group"] = int(group)
    lines = [
        "These pictures, names and tags come from the npm packages "
        f"{PICTURES.name}, {VENDOR.name} and {WORDS.name} ({LICENSE}).", "",
        *(f"{column}: {text}" for column, text in ABOUT.items()),
    ]
    (media / SOURCES).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for licence in sorted([*source.glob("LICENSE-*"), *more.glob("LICENSE-*")]):
        shutil.copyfile(licence, media / licence.name)
    return records


def _copied(drawing: Path, media: Path) -> str | None:
    """A picture's place in the table's folder, under a name that tells nothing; None if there is no picture."""
    if not drawing.is_file():
        return None
    data = drawing.read_bytes()
    name = hashlib.sha256(data).hexdigest()[:16] + ".png"
    (media / name).write_bytes(data)
    return f"media/{name}"


def _described(path: Path) -> Mapping[str, str]:
    """{code points: name and tags, with commas}; a tag that the name holds already is left out.

    Raises:
        BadTable: it is no list of names.
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return {emoji.plain_code(entry["hexcode"]): _line(entry) for entry in listed}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadTable(f"{path} is no list of names ({error}); delete it and run this again") from None


def _line(entry: Mapping[str, Any]) -> str:
    """
    >>> _line({"label": "red apple", "tags": ["apple", "fruit", "red"]})
    'red apple, fruit'
    """
    name = entry["label"]
    words = set(name.lower().split())
    return ", ".join([name, *(tag for tag in entry.get("tags") or [] if tag.lower() not in words and tag != name)])

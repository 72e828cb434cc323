"""Records to try polysense on: made-up ones of every modality, and two real sets.

* ``made_up`` and ``parts``: tiny, seeded, made in milliseconds, without files. For examples and tests.
* ``stamps``: the stamps of the drawing program Tux Paint (pictures, names, spoken names, sounds, sizes).
* ``emojis``: emoji pictures with their names in English and Chinese.
* ``emoji_pairs``: the same of two vendors, with tags: what is to be found by what.
* ``prepare``: one of these as three CSV files, and the next one where it cannot be had.

The real sets are downloaded when asked for; nothing of them is part of polysense.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ..data.splits import split
from ..errors import BadOption, MissingExtra
from . import emoji, stamp
from .emoji import emojis
from .folder import SOURCES, NoDownload, Prepared, Say, Tables, claimed, write_tables, writing
from .record import CLASSES, TRUTHFUL, made_up, parts
from .stamp import stamps
from .vendors import emoji_pairs

__all__ = [
    "CLASSES", "SETS", "TRUTHFUL", "NoDownload", "Prepared", "Tables", "emoji_pairs", "emojis", "made_up", "parts", "prepare",
    "stamps",
]

#: Real sets, in the order in which one stands in for another: name -> (what makes it, what it is).
SETS: dict[str, tuple[Callable[..., Tables], str]] = {
    "stamps": (
        stamps,
        f"the Tux Paint stamps (Debian package {stamp.PACKAGE}, {stamp.LICENSE}); "
        "width, height, aspect and alpha tell how the artwork was made",
    ),
    "emoji": (
        emojis,
        f"emoji pictures and names (npm packages {emoji.PICTURES.name} and {emoji.NAMES.name}, {emoji.LICENSE}); "
        "the word 'flag' in a name gives the group of flags away",
    ),
}


def prepare(
    folder: str | Path, *, kind: str = "stamps", seed: int = 0, progress: Say = lambda line: None
) -> Prepared:
    """A real set, or another where it cannot be had, as three tables in a folder.

    Stamps are followed by emoji, and emoji by made-up records. No fallback is secret: ``source`` says
    what the records are, ``note`` and ``progress`` say why.

    Args:
        folder: made if needed.
        kind: "stamps" or "emoji".
        seed: of the split (and of the made-up records).
        progress: is told each stage in one line.

    Raises:
        BadOption: there is no such set, or the folder holds tables or media that no demo wrote.
    """
    if kind not in SETS:
        raise BadOption(f"there is no demo set '{kind}'; choose {' or '.join(SETS)}")
    refused = []
    for name in list(SETS)[list(SETS).index(kind) :]:
        make, what = SETS[name]
        try:
            paths = make(folder, seed=seed, progress=progress)
        except (NoDownload, MissingExtra) as error:
            refused.append(f"the {name} cannot be had here: {error}")
            progress(refused[-1])
            continue
        return Prepared(paths, name, "; ".join([f"These records are {what}", *refused]) + ".")
    note = "These records are made up, because " + "; ".join(refused)
    return Prepared(_made_up_tables(claimed(folder), seed), "made up", note)


def _made_up_tables(folder: Path, seed: int, n: int = 360) -> Tables:
    with writing(folder):
        shutil.rmtree(folder / "media", ignore_errors=True)
        records = made_up(n, seed, folder)
        (folder / "media" / SOURCES).write_text("Made up by polysense.\n", encoding="utf-8")
        for i, record in enumerate(records):
            record["group"] = i  # every record on its own; the column makes all demos alike
        members = split([record["label"] for record in records], stamp.SHARES, seed=seed)
        return write_tables(folder, records, members, list(records[0]))

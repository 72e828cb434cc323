"""Verification: is it the same speaker, and do a picture, a voice and a description belong together?

    python examples/verification.py               is it the same speaker? speakers that the matcher has never heard
    python examples/verification.py --together    picture + voice + description: do they describe one thing?

The speakers read letters and syllables in 20 languages, one or two for each: the Debian package klettres-data (GPL-2+; 40 MB,
by apt-get download, no root). Photographs of faces do not install from a package, so the second part takes the stamps of a
drawing program in their place: a picture, somebody's voice that says what it is (in French), and an English description. A
table of your own people has the same columns.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sources import from_apt, stamps, table

from polysense import Matcher

#: Languages, that is speakers, of each part; what has few sounds is left out.
SPEAKERS = {
    "train": "ar cs da de en es fr he hu it lt".split(), "valid": "ml nb".split(),
    "test": "en_GB nds nl pt_BR ru tn uk".split(),
}
Row = dict[str, str]


def clips(folder: Path, most: int) -> dict[str, dict[str, list[str]]]:
    """{part: {speaker: files}}."""
    place = from_apt("klettres-data", folder, wanted="usr/share/klettres")
    chance = random.Random(0)
    found: dict[str, dict[str, list[str]]] = {}
    for part, languages in SPEAKERS.items():
        for language in languages:
            files = sorted(str(file.resolve()) for file in (place / language).rglob("*.ogg"))
            if len(files) > 2:
                found.setdefault(part, {})[language] = chance.sample(files, min(most, len(files)))
    return found


def pairs(speakers: dict[str, list[str]]) -> list[Row]:
    """Each sound beside the next two of its speaker: so all sounds of one speaker count as right for each other."""
    return [
        {"voice": file, "other": files[(i + step) % len(files)], "speaker": speaker}
        for speaker, files in speakers.items() for i, file in enumerate(files) for step in (1, 2)
    ]


def trials(speakers: dict[str, list[str]], count: int) -> tuple[list[Row], list[Row], list[bool], list[str]]:
    """Sounds side by side, as many of one speaker as of two; whether it is one; the first one's speaker."""
    chance, left, right, same, who = random.Random(1), [], [], [], []
    names = sorted(speakers)
    for i in range(count):
        one = names[i % len(names)]
        other = one if i // len(names) % 2 else chance.choice([name for name in names if name != one])
        first = chance.choice(speakers[one])
        second = chance.choice([file for file in speakers[other] if file != first])
        left.append({"voice": first})
        right.append({"voice": second})
        same.append(one == other)
        who.append(one)
    return left, right, same, who


def shown(name: str, found: dict[str, Any]) -> None:
    """Error rates with their intervals."""
    said = [f"{name:<34}"]
    for key in ("equal_error_rate", "auroc", "false_accept", "false_reject"):
        if key in found:
            said.append("{name} {value:.3f} [{low:.3f}, {high:.3f}]".format(name=key.replace("_", " "), **found[key]))
    print("  ".join(said))


def same_speaker(folder: Path, most: int, count: int, options: dict[str, Any]) -> None:
    """Speakers never heard, beside the likeness of plain features."""
    from polysense.judge.verify import judge_verification
    from polysense.learn.linear import unit

    found = clips(folder, most)
    files = {part: table(folder / f"{part}.csv", pairs(found[part])) for part in ("train", "valid")}
    matcher = Matcher("voice", "other", group="speaker", options=options).fit(files["train"], files["valid"])
    left, right, same, who = trials(found["test"], count)
    print(f"{len(found['train'])} speakers in training, {len(found['test'])} others judged, {count} pairs")
    shown("the matcher", matcher.verify(left, right, same, sides=("query", "query"), groups=who))
    vectors = [unit(plain(matcher, rows)) for rows in (left, right)]
    shown("likeness of plain features", judge_verification((vectors[0] * vectors[1]).sum(1), np.array(same), None, groups=who))


def plain(matcher: Matcher, rows: Sequence[Row]) -> np.ndarray:
    """Standardised plain features of the voices: what is at hand without learning."""
    from polysense import as_records

    gathered, _ = matcher._numbers(matcher._side_cells(as_records(list(rows)), "query"), rivals=True)
    present = {view: gathered.present_NV[:, i] for i, view in enumerate(gathered.names)}
    return matcher.linear_.features("query", gathered.plain, present)


def together(folder: Path, options: dict[str, Any]) -> None:
    """Picture + voice against a description: right pairs and swapped ones, and with a view missing."""
    import csv

    tables = stamps(folder)

    def rows(part: str) -> list[Row]:
        with open(tables / f"{part}.csv", encoding="utf-8", newline="") as file:
            return [
                {"picture": one["picture"] and str((tables / one["picture"]).resolve()), "group": one["group"],
                 "voice": one["speech"] and str((tables / one["speech"]).resolve()), "description": one["english"]}
                for one in csv.DictReader(file)
            ]

    made = {part: table(folder / f"people-{part}.csv", rows(part)) for part in ("train", "valid")}
    matcher = Matcher("picture,voice", "description", group="group", options=options).fit(made["train"], made["valid"])
    test = rows("test")
    chance = random.Random(2)
    swapped = [chance.choice([two for two in test if two["group"] != one["group"]]) for one in test]
    for name, kept in (("picture + voice", ("picture", "voice")), ("picture alone", ("picture",)), ("voice alone", ("voice",))):
        left = [{view: one[view] or None for view in kept} for one in test]
        shown(f"{name} and description", matcher.verify(
            left + left, test + swapped, [True] * len(test) + [False] * len(test), groups=[one["group"] for one in test] * 2,
        ))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--together", action="store_true", help="picture + voice + description, on the stamps")
    parser.add_argument("--data", type=Path, help="folder of the records")
    parser.add_argument("--clips", type=int, default=40, help="sounds of each speaker, at most")
    parser.add_argument("--pairs", type=int, default=1400, help="pairs of sounds that are judged")
    parser.add_argument("--epochs", type=int, help="of the matcher")
    given = parser.parse_args(arguments)
    options = {"match.epochs": given.epochs} if given.epochs else {}
    if given.together:
        together(given.data or Path("polysense-demo"), options)
    else:
        same_speaker(given.data or Path("polysense-speakers"), given.clips, given.pairs, options)


if __name__ == "__main__":
    main()

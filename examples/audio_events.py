"""Sounds: which vowel was spoken, by speakers that the model has never heard.

    python examples/audio_events.py               fit on five languages, test on Spanish and Italian
    python examples/audio_events.py --encoders    every encoder of sounds on the same records, with CPU seconds
    python examples/audio_events.py --made        tones that rise or fall: what only an encoder of order can tell

The syllables lie inside the Debian package klettres-data (GPL-2+; 40 MB, by apt-get download, no root): letters and
syllables read aloud for children, one speaker or two for each language.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import soundfile
from scores import compared, judged
from sources import from_apt, table

from polysense import Model

#: Languages in which these letters are the vowels that they spell, as the files are named.
LANGUAGES = {"train": ("ml", "pt_BR", "ru", "tn"), "valid": ("uk",), "test": ("es", "it")}
#: Consonants, then one vowel.
SYLLABLE = re.compile(r"[bcdfghjklmnpqrstvwxz]{0,4}([aeiou])")
ENCODERS = {
    "audio.plain": {}, "audio.cnn": {}, "audio.rnn": {}, "audio.crnn": {}, "audio.transformer": {},
    "audio.rnn, MFCC with slopes": {"input": "mfcc", "deltas": 2, "cell": "gru"},
    "audio.cnn, changed in training": {"speed": 1.1, "noise": 15.0, "trim": 40.0},
}
Row = dict[str, str]


def syllables(folder: Path) -> list[Row]:
    """The file, the vowel at the end of its name, and its part: whole languages, that is other speakers, for each."""
    place = from_apt("klettres-data", folder, wanted="usr/share/klettres")
    return [
        {"sound": str(file.resolve()), "answer": match[1], "part": part}
        for part, languages in LANGUAGES.items() for language in languages
        for file in sorted((place / language).rglob("*.ogg"))
        if (match := SYLLABLE.fullmatch(file.stem.lower()))
    ]


def glides(folder: Path, count: int) -> list[Row]:
    """Tones in noise that rise, fall, rise and fall, or fall and rise by two octaves: all with the same mean spectrum."""
    chance = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    ways = {"up": [0, 1], "down": [1, 0], "up, down": [0, 1, 0], "down, up": [1, 0, 1]}
    rows = []
    for i in range(count):
        way = list(ways)[i % 4]
        length = int(16_000 * chance.uniform(0.5, 1.0))
        octaves = np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(ways[way])), ways[way]) * 2
        tone = np.sin(2 * np.pi * np.cumsum(chance.uniform(250, 600) * 2**octaves) / 16_000)
        file = folder / f"{i}.wav"
        soundfile.write(file, 0.1 * tone + 0.05 * chance.normal(size=length), 16_000)
        part = "train" if i < 0.5 * count else "valid" if i < 0.6 * count else "test"
        rows.append({"sound": str(file.resolve()), "answer": way, "part": part})
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("polysense-sounds"), help="folder for package, tables and model")
    parser.add_argument("--encoder", default="audio.cnn", help="of the sounds (see: polysense list encoders)")
    parser.add_argument("--encoders", action="store_true", help="compare the encoders")
    parser.add_argument("--made", type=int, nargs="?", const=600, metavar="N", help="N made-up tones instead (600)")
    given = parser.parse_args(arguments)
    folder = given.out / ("made" if given.made else "syllables")
    rows = glides(folder / "glides", given.made) if given.made else syllables(given.out / "packages")
    train = table(folder / "train.csv", (row for row in rows if row["part"] != "test"))  # the column part says what validates
    test = table(folder / "test.csv", (row for row in rows if row["part"] == "test"))
    if given.encoders:
        return compared(ENCODERS, ["sound"], train, test, "answer", split="part")
    judged(Model("answer", encoders={"sound": given.encoder}, split="part", verbose=True).fit(train), test, folder)


if __name__ == "__main__":
    main()

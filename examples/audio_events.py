"""Sounds: which vowel was spoken, by speakers that the model has never heard.

    python examples/audio_events.py               fit on four languages, test on Spanish and Italian
    python examples/audio_events.py --encoders    every encoder of sounds on the same records, with CPU seconds
    python examples/audio_events.py --made        tones that rise or fall: what only an encoder of order can tell

The syllables lie inside the Debian package klettres-data (GPL-2+; 40 MB, by apt-get download, no root): letters and
syllables read aloud for children, one speaker or two for each language.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import soundfile

from polysense import Model

PACKAGE = "klettres-data"
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


def package(folder: Path) -> Path:
    """The package's files, fetched once and unpacked into a folder; nothing is installed."""
    place = folder / PACKAGE
    if not (place / "usr/share/klettres").is_dir():
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise SystemExit(
                    f"the syllables come in the Debian package {PACKAGE}, and there is no {tool} here; run this on Debian or "
                    "Ubuntu, or hear made-up tones with --made"
                )
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["apt-get", "-q", "download", PACKAGE], cwd=folder, capture_output=True, text=True)
        found = sorted(folder.glob(f"{PACKAGE}_*.deb"))
        if not found:
            said = [line for line in done.stderr.splitlines() if line.startswith("E:")] or ["no reason given"]
            raise SystemExit(f"apt-get cannot fetch {PACKAGE}: {said[0]} (try: sudo apt-get update, or --made)")
        subprocess.run(["dpkg-deb", "-x", str(found[0]), str(place)], check=True)
    return place / "usr/share/klettres"


def syllables(folder: Path) -> list[Row]:
    """The file, the vowel at the end of its name, and its part: whole languages, that is other speakers, for each."""
    place = package(folder)
    return [
        {"sound": str(file.resolve()), "answer": match[1], "part": part}
        for part, languages in LANGUAGES.items() for language in languages
        for file in sorted((place / language).rglob("*.ogg"))
        if (match := SYLLABLE.fullmatch(file.stem.lower()))
    ]


def glides(folder: Path, count: int = 600) -> list[Row]:
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


def written(rows: list[Row], folder: Path) -> tuple[Path, Path]:
    """train.csv, which holds the validation records too, and test.csv."""
    paths = folder / "train.csv", folder / "test.csv"
    for path in paths:
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(row for row in rows if (row["part"] == "test") == (path.stem == "test"))
    return paths


def compared(train: Path, test: Path) -> None:
    """Every encoder alone, without the regressions that otherwise help."""
    print(f"{'encoder':34}accuracy                log loss   CPU s")
    for name, options in ENCODERS.items():
        started = time.process_time()
        settings = {"train.regressions": 0.0, **{f"sound.{key}": value for key, value in options.items()}}
        model = Model("answer", encoders={"sound": name.split(",")[0]}, split="part", options=settings, cache=False).fit(train)
        scores = model.evaluate(test)["scores"]
        a, loss = scores["accuracy"], scores["log_loss"]["value"]
        seconds = time.process_time() - started
        print(f"{name:34}{a['value']:.3f} [{a['low']:.3f}, {a['high']:.3f}]    {loss:.3f}   {seconds:6.1f}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("polysense-sounds"), help="folder for package, tables and model")
    parser.add_argument("--encoder", default="audio.cnn", help="of the sounds (see: polysense list encoders)")
    parser.add_argument("--encoders", action="store_true", help="compare the encoders")
    parser.add_argument("--made", action="store_true", help="made-up tones instead of syllables")
    given = parser.parse_args(arguments)
    folder = given.out / ("made" if given.made else "syllables")
    folder.mkdir(parents=True, exist_ok=True)
    train, test = written(glides(folder / "glides") if given.made else syllables(given.out / "packages"), folder)
    if given.encoders:
        return compared(train, test)
    model = Model("answer", encoders={"sound": given.encoder}, split="part", verbose=True).fit(train)
    model.save(folder / "model")
    from polysense.judge.evaluate import as_text

    evaluation = model.evaluate(test)
    print(as_text(evaluation))
    (folder / "report.html").write_text(model.report(evaluation, test), encoding="utf-8")
    print(f"\nthe model: {folder / 'model'}    the report: {folder / 'report.html'}")


if __name__ == "__main__":
    main()

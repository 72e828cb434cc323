"""Speech for the customer-service example: a telephone system's prompts, and callers spoken by flite.

Both come from Debian packages that ``apt-get download`` fetches without root: the prompts from ``asterisk-core-sounds-en`` and
``asterisk-core-sounds-en-wav`` (Allison Smith, CC BY-SA 3.0), the voices from ``flite`` and ``libflite1``.
"""

from __future__ import annotations

import gzip
import os
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import soundfile
import soxr
from sources import from_apt

from polysense.errors import BadRecord

#: Of telephones. Voices of flite speak at 8 or 16 kHz; what a caller says arrives at 8.
HZ = 8_000
#: Pitch at which each voice speaks by itself, in Hz; None: its own model of pitch takes no orders.
VOICES = {"kal": 95.0, "slt": 170.0, "rms": None, "awb": 134.0}
_RANGE = 14.0  # Hz by which flite's pitch varies if nothing is said


class Manner(NamedTuple):
    """How a mood is spoken: bounds between which chance draws for each call.

    Attributes:
        stretch: times a sound's usual length.
        pitch: times a voice's usual pitch.
        lively: times the usual variation of pitch.
    """

    stretch: tuple[float, float]
    pitch: tuple[float, float]
    lively: float


#: Made by rule, not taken from people: real callers differ more from each other, and less from mood to mood.
MANNERS = {
    "calm": Manner((1.0, 1.2), (0.92, 1.03), 0.8),
    "annoyed": Manner((0.9, 1.1), (1.0, 1.15), 1.8),
    "urgent": Manner((0.7, 0.88), (1.1, 1.35), 1.2),
}


def prompts(folder: Path, names: Sequence[str]) -> list[dict[str, str]]:
    """The prompts of these names: ``answer`` (the name), ``prompt`` (its words), ``spoken`` (its sound file)."""
    package = "asterisk-core-sounds-en"
    listed = from_apt(package, folder, wanted=f"usr/share/doc/{package}/core-sounds-en.txt.gz")
    lines = gzip.decompress(listed.read_bytes()).decode("utf-8", "replace").splitlines()
    words = {name.strip(): " ".join(text.split()) for name, _, text in (line.partition(":") for line in lines)}
    sounds = from_apt(f"{package}-wav", folder, wanted="usr/share/asterisk/sounds/en_US_f_Allison")
    lost = [name for name in names if name not in words or not (sounds / f"{name}.wav").is_file()]
    if lost:
        raise SystemExit(f"{package} has no prompt '{lost[0]}'; the example was written for version 1.6.1")
    return [{"answer": name, "prompt": words[name], "spoken": str((sounds / f"{name}.wav").resolve())} for name in names]


class Flite:
    """The speech synthesiser flite (Black and Lenzo 2001), unpacked where it is not there."""

    def __init__(self, folder: Path) -> None:
        self.program = from_apt("flite", folder, wanted="usr/bin/flite").resolve()
        libraries = sorted(from_apt("libflite1", folder, wanted="usr/lib").glob("*/libflite.so.1"))
        if not libraries:
            raise SystemExit(f"the package libflite1 below {folder} holds no libflite.so.1; delete its folder and start again")
        self.library = str(libraries[0].parent.resolve())

    def say(self, text: str, voice: str, mood: str, path: Path) -> Path:
        """Speak a request into a WAV file of 8 kHz, which is left alone where it is there."""
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            raw, done = path.with_suffix(".raw.wav"), path.with_suffix(".part.wav")
            command = [str(self.program), "-voice", voice, *manner(text, voice, mood), "-t", text, "-o", str(raw)]
            subprocess.run(command, check=True, env={**os.environ, "LD_LIBRARY_PATH": self.library})
            wave, hz = soundfile.read(raw, dtype="float32")
            soundfile.write(done, soxr.resample(wave, hz, HZ), HZ)
            raw.unlink()
            done.rename(path)
        return path


def manner(text: str, voice: str, mood: str) -> list[str]:
    """flite's options for a mood, drawn by chance whose seed is the text with the voice: alike on every machine.

    >>> manner("My message!", "rms", "urgent")
    ['--setf', 'duration_stretch=0.77']
    """
    way, chance = MANNERS[mood], random.Random(f"{voice} {text}")
    options = {"duration_stretch": chance.uniform(*way.stretch)}
    if VOICES[voice]:
        options["int_f0_target_mean"] = VOICES[voice] * chance.uniform(*way.pitch)
        options["int_f0_target_stddev"] = _RANGE * way.lively
    return [part for name, value in options.items() for part in ("--setf", f"{name}={value:.2f}")]


def pace(words: str | None, sound: str | Path | None) -> float | None:
    """Letters a second, silence included; None where the words or the sound are missing.

    Raises:
        BadRecord: the file cannot be read.
    """
    if not words or not sound:
        return None
    try:
        seconds = soundfile.info(str(sound)).duration
    except soundfile.LibsndfileError as error:
        why = error.error_string.rstrip(".")
        raise BadRecord(f"{sound} cannot be read: {why}; give a wav, flac, ogg or mp3 file") from None
    return round(len(words) / seconds, 2) if seconds else None

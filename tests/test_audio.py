"""Sounds: mel, MFCC, plain features, the network from scratch, the Whisper tower."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from tiny import tiny_towers  # noqa: F401  (a fixture)

from polysense.contracts import to_tensors
from polysense.errors import BadModel
from polysense.modality.audio import AudioPlain
from polysense.modality.audio_net import Cnn, FrameNorm
from polysense.modality.audio_tower import PretrainedAudio, whisper_mel
from polysense.modality.audio_signal import (
    HZ,
    hidden,
    hz_to_mel,
    log_mel,
    mel_filters,
    mel_power,
    mel_to_hz,
    mfcc,
)

RANDOM = np.random.default_rng(5)


def tone(hz, seconds=0.5, loud=0.5):
    return (loud * np.sin(2 * np.pi * hz * np.arange(int(HZ * seconds)) / HZ)).astype(np.float32)


def noise(seconds):
    return (0.1 * RANDOM.normal(size=int(HZ * seconds))).astype(np.float32)


def answer(encoder, values):
    return encoder(to_tensors(encoder.prepare(values)))


# --- signal --------------------------------------------------------------------------------------


def test_mel_there_and_back():
    hz = np.array([0.0, 55, 440, 1000, 3000, 8000])
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-6)


@pytest.mark.parametrize(("bands", "window"), [(80, 400), (64, 512)])
def test_filters_are_slaneys(bands, window):
    """transformers' own filter bank as judge."""
    audio_utils = pytest.importorskip("transformers.audio_utils")
    theirs = audio_utils.mel_filter_bank(
        window // 2 + 1, bands, 0, 8000, HZ, norm="slaney", mel_scale="slaney"
    )
    np.testing.assert_allclose(mel_filters(bands, window), theirs, atol=1e-6)


@pytest.mark.parametrize("hz", [300, 1000, 2500, 6000])
def test_a_tone_lands_in_its_band(hz):
    """The loudest of 64 bands is the one whose centre is nearest in mel."""
    centres = np.linspace(0, hz_to_mel(8000), 66)[1:-1]
    loudest = mel_power(torch.from_numpy(tone(hz)), 64).mean(0).argmax()
    assert abs(int(loudest) - int(np.abs(centres - hz_to_mel(hz)).argmin())) <= 1


def test_power_by_hand():
    """A Hann window of 400 sums to 200; a tone of loudness 0.5 in the middle of a line has power
    (0.5 * 200 / 2) ** 2 = 2500 there, and a quarter of it in both neighbours."""
    wave, window = torch.from_numpy(tone(1000)), torch.hann_window(400)
    spectrum = torch.stft(wave, 400, 160, window=window, return_complex=True)
    np.testing.assert_allclose(spectrum.abs().square()[24:27, 20], [625, 2500, 625], rtol=1e-3)
    power = mel_power(torch.from_numpy(tone(1000)), 64)[20]
    expected = np.array([625, 2500, 625]) @ mel_filters(64)[24:27]
    np.testing.assert_allclose(power, expected, atol=1e-3, rtol=1e-2)


def test_silence_is_the_floor():
    assert torch.equal(log_mel(torch.zeros(1600)), torch.full((11, 64), float(np.log(np.float32(1e-6)))))


def test_ten_times_louder_is_ln_100_more():
    loud, soft = (log_mel(torch.from_numpy(tone(1000, loud=loud))) for loud in (0.5, 0.05))
    difference = loud - soft
    assert difference[20, 20] == pytest.approx(np.log(100), abs=1e-3)


def test_mfcc_is_scipys_dct():
    from scipy.fft import dct

    bands = log_mel(torch.from_numpy(noise(0.4)))
    np.testing.assert_allclose(mfcc(bands), dct(bands.numpy(), norm="ortho")[:, :40], atol=1e-4)


def test_plain_features():
    x = AudioPlain().transform([noise(1.0), tone(500), np.zeros(1, np.float32), np.zeros(0, np.float32)])
    assert x.shape == (4, 208) and x.dtype == np.float32 and np.isfinite(x).all()
    bands = log_mel(torch.from_numpy(tone(500)))
    np.testing.assert_allclose(x[1, 40:104], bands.mean(0), atol=1e-4)
    np.testing.assert_allclose(x[1, 144:], bands.numpy().std(0), atol=1e-4)


# --- audio.cnn -----------------------------------------------------------------------------------


def padded(encoder, waves):
    """The same network by ``conv1d``, record by record: what the strip must equal."""
    out = []
    for wave in waves:
        frames = torch.from_numpy(encoder.prepare([wave])["x"][0])
        x = (frames - torch.from_numpy(encoder.scale[0])) / torch.from_numpy(encoder.scale[1])
        real = torch.ones(len(x), dtype=torch.bool)
        for convolution, norm in zip(encoder.convolutions, encoder.norms, strict=True):
            weight_DKC = convolution.weight.unflatten(1, (-1, x.shape[1]))
            room = torch.nn.functional.pad(x.T[None], (0, 8))  # silence behind the sound
            x = torch.nn.functional.conv1d(room, weight_DKC.transpose(1, 2), padding="same")
            x = torch.nn.functional.max_pool1d(x, 2)[0].T
            real = torch.nn.functional.pad(real, (0, len(real) % 2)).unflatten(0, (-1, 2)).any(1)
            x = norm(x[: len(real)]).relu()
        out.append(encoder.last(x).relu().detach())
    return out


@pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8, 5)])
def test_the_strip_is_the_same_as_one_by_one(widths):
    """Odd and even numbers of frames, a sound shorter than a token, the longest neither first nor last."""
    encoder = Cnn(widths=widths, bands=16, seconds=2)
    waves = [noise(s) for s in (0.31, 0.02, 1.7, 0.5, 0.1, 2.3, 0.16)]
    encoder.fit(waves)
    for norm in encoder.norms:
        norm.running_mean.normal_()
        norm.bias.data.normal_()
    tokens = answer(encoder.eval(), waves)
    for i, expected in enumerate(padded(encoder, waves)):
        assert tokens.mask[i].tolist() == [j < len(expected) for j in range(tokens.mask.shape[1])]
        torch.testing.assert_close(tokens.x[i, : len(expected)], expected, atol=1e-5, rtol=1e-5)


def test_a_neighbour_is_never_heard():
    """A sound a million times as loud beside it changes nothing, in evaluation."""
    encoder = Cnn(widths=(4, 8), bands=16, seconds=1)
    encoder.fit([noise(0.5)])
    encoder.eval()
    wave = noise(0.3)
    calm, wild = answer(encoder, [noise(0.4), wave, noise(0.2)]), answer(encoder, [noise(0.4) * 1e6, wave, noise(0.2) * 1e6])
    torch.testing.assert_close(calm.clean()[1], wild.clean()[1], atol=1e-6, rtol=0)


def test_the_norm_is_torchs_and_bears_one_frame():
    x, ours, theirs = torch.randn(7, 4), FrameNorm(4), torch.nn.BatchNorm1d(4)
    torch.testing.assert_close(ours(x), theirs(x))
    before = ours.running_mean.clone()
    # one frame has no deviation: (x - running mean) / running deviation
    expected = (x[:1] - before) / (ours.running_var + ours.eps).sqrt()
    torch.testing.assert_close(ours(x[:1]), expected)
    assert torch.equal(ours.running_mean, before)


def test_one_short_sound_may_be_a_batch():
    encoder = Cnn(widths=(4, 4, 4), bands=8)
    encoder.fit([noise(0.1)])
    assert torch.isfinite(answer(encoder.train(), [noise(0.05)]).x).all()


def test_training_does_not_see_padding():
    """In training too, more padding changes nothing: neither statistics nor what is hidden."""
    encoder = Cnn(widths=(4, 8), bands=16, seconds=1)
    encoder.fit([noise(0.5)])
    encoder.train()
    arrays = to_tensors(encoder.prepare([noise(0.3), noise(0.2)]))
    longer = {key: torch.cat([value, torch.full_like(value, fill)], 1) for (key, value), fill in
              zip(arrays.items(), (1e4, False), strict=True)}
    both = []
    for batch in (arrays, longer):
        torch.manual_seed(3)
        both.append(encoder(batch).clean())
    torch.testing.assert_close(both[0], both[1][:, : both[0].shape[1]], atol=1e-6, rtol=0)


def test_what_is_hidden_in_training():
    """Of 50 frames of 40 bands at most 10 frames and 8 bands, each a stretch of its own record."""
    torch.manual_seed(0)
    mask = torch.arange(50) < torch.tensor([[50]] * 30 + [[20]])
    x = hidden(torch.ones(int(mask.sum()), 40), mask)
    counts = []
    for one, most in zip([*x[:1500].split(50), x[1500:]], [10] * 30 + [4], strict=True):
        frames, bands = (one.sum(1) == 0), (one.sum(0) == 0)
        assert frames.sum() <= most and bands.sum() <= 8
        assert torch.equal(one == 0, frames[:, None] | bands)
        assert frames.int().diff().abs().sum() <= 2 and bands.int().diff().abs().sum() <= 2
        counts.append(int(bands.sum()))
    assert len(set(counts)) > 3


def test_nothing_is_hidden_in_evaluation_or_when_told():
    wave = noise(0.5)
    for augment, changes in ((True, True), (False, False)):
        encoder = Cnn(widths=(4,), bands=16, augment=augment)
        encoder.fit([wave])
        outputs = [answer(encoder.train(), [wave]).x for _ in range(4)]
        assert changes != all(torch.equal(outputs[0], other) for other in outputs)
        encoder.eval()
        assert torch.equal(answer(encoder, [wave]).x, answer(encoder, [wave]).x)


def test_frames_are_merged():
    """41 frames of 10 ms (0.4 s): 13 means of three, and the mean of the last two."""
    wave = noise(0.4)
    fine = log_mel(torch.from_numpy(wave), 8)
    x = Cnn(bands=8, merge=3).prepare([wave])["x"][0]
    assert x.shape == (14, 8)
    np.testing.assert_allclose(x[0], fine[:3].mean(0), atol=1e-5)
    np.testing.assert_allclose(x[13], fine[39:].mean(0), atol=1e-5)


def test_places_are_seconds():
    """One second is 100 frames, merged 50; three blocks halve to 7 tokens of 160 ms."""
    encoder = Cnn(widths=(4, 4, 4), seconds=1)
    encoder.fit([noise(1)])
    tokens = answer(encoder.eval(), [noise(1.0), noise(0.2)])
    assert tokens.x.shape[1] == 7 and tokens.mask.sum(1).tolist() == [7, 2]
    np.testing.assert_allclose(tokens.place[0, :2, 0], [0.08, 0.24], atol=1e-6)


def test_only_the_first_seconds_are_heard():
    encoder = Cnn(widths=(4,), bands=8, seconds=1)
    encoder.fit([noise(1)])
    wave = noise(3)
    assert encoder.prepare([wave])["x"].shape == (1, 50, 8)
    other = wave.copy()
    other[HZ + 1 :] = 0
    np.testing.assert_array_equal(encoder.prepare([wave])["x"], encoder.prepare([other])["x"])


def test_the_cnn_learns_high_from_low():
    values = [tone(hz, 0.2) + noise(0.2) for hz in (400, 3000) * 8]
    target = torch.tensor([0, 1] * 8)
    encoder = Cnn(widths=(4, 8), bands=16, seconds=1)
    encoder.fit(values)
    head = torch.nn.Linear(8, 2)
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 0.02)
    batch = to_tensors(encoder.prepare(values))
    for _ in range(25):
        loss = torch.nn.functional.cross_entropy(head(encoder(batch).pooled()), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.3


# --- audio.pretrained ----------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.5, 1.7, 2.0, 3.1])
def test_whisper_hears_what_its_own_extractor_hears(tiny_towers, seconds):
    from transformers import WhisperFeatureExtractor

    wave = noise(seconds)
    extractor = WhisperFeatureExtractor.from_pretrained(tiny_towers("audio"))
    theirs = extractor(wave, sampling_rate=HZ)["input_features"][0]
    np.testing.assert_allclose(whisper_mel(wave, samples=2 * HZ), theirs, atol=1e-4)


def test_a_whisper_folder_gives_what_transformers_gives(tiny_towers):
    from transformers import WhisperModel

    folder, wave = tiny_towers("audio"), noise(0.5)
    pooled, every = (PretrainedAudio(tower=str(folder), positions=positions) for positions in (False, True))
    for encoder in (pooled, every):
        encoder.fit([])
    module = WhisperModel.from_pretrained(folder, local_files_only=True).eval()
    with torch.no_grad():
        heard = torch.from_numpy(whisper_mel(wave, samples=2 * HZ))[None]
        states = module.get_encoder()(heard).last_hidden_state
    tokens = answer(every, [wave])
    torch.testing.assert_close(tokens.x, states, atol=1e-5, rtol=1e-5)
    assert tokens.mask.sum() == 25  # half a second of 20 ms
    torch.testing.assert_close(answer(pooled, [wave]).x[0, 0], states[0, :25].mean(0), atol=1e-5, rtol=1e-5)


def test_other_ears_are_refused(tiny_towers, tmp_path):
    folder = shutil.copytree(tiny_towers("audio"), tmp_path / "tower")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({"feature_extractor_type": "DacFeatureExtractor"}))
    encoder = PretrainedAudio(tower=str(folder))
    encoder.fit([])
    with pytest.raises(BadModel, match="DacFeatureExtractor; known are WhisperFeatureExtractor, Wav2Vec2FeatureExtractor, "):
        encoder.prepare([noise(0.1)])

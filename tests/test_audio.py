"""Sounds: plain features and towers."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from tiny import tiny_towers  # noqa: F401  (a fixture)

from polysense.contracts import to_tensors
from polysense.errors import BadModel, BadOption
from polysense.modality.audio import AudioPlain
from polysense.modality.audio_signal import HZ, log_mel
from polysense.modality.audio_tower import PretrainedAudio, whisper_mel

RANDOM = np.random.default_rng(5)


def tone(hz, seconds=0.5, loud=0.5):
    return (loud * np.sin(2 * np.pi * hz * np.arange(int(HZ * seconds)) / HZ)).astype(np.float32)


def noise(seconds):
    return (0.1 * RANDOM.normal(size=int(HZ * seconds))).astype(np.float32)


def answer(encoder, values):
    return encoder(to_tensors(encoder.prepare(values)))


def test_plain_features():
    x = AudioPlain().transform([noise(1.0), tone(500), np.zeros(1, np.float32), np.zeros(0, np.float32)])
    assert x.shape == (4, 208) and x.dtype == np.float32 and np.isfinite(x).all()
    bands = log_mel(torch.from_numpy(tone(500)))
    np.testing.assert_allclose(x[1, 40:104], bands.mean(0), atol=1e-4)
    np.testing.assert_allclose(x[1, 144:], bands.numpy().std(0), atol=1e-4)


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


# --- long sounds and silence before a tower -------------------------------------------------------


def waves_tower(folder):
    """Wav2Vec2: 1 layer, width 16; four samples of every fifth make a token."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8), conv_kernel=(400, 4),
        conv_stride=(80, 4), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, num_feat_extract_layers=2,
        feat_extract_norm="layer",
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_extractor_type": "Wav2Vec2FeatureExtractor"}))
    return folder


def picture_tower(folder):
    """AST: 1 layer, width 16, one second of 16 bands in patches of 8."""
    from transformers import ASTConfig, ASTModel

    config = ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, patch_size=8, frequency_stride=8,
        time_stride=8, max_length=100, num_mel_bins=16,
    )
    ASTModel(config).save_pretrained(folder)
    about = {"feature_extractor_type": "ASTFeatureExtractor", "max_length": 100, "num_mel_bins": 16}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize(("kind", "seconds", "window"), [("whisper", 30, 2), ("whisper", 1, 1), ("waves", 2, 2), ("ast", 30, 1)])
def test_a_tower_hears_windows_as_if_they_were_sounds(tiny_towers, tmp_path, kind, seconds, window):
    """A window is as long as is asked for and as the tower can hear: 2 s, 1 s of this AST, any length of Wav2Vec2."""
    folder = {"whisper": lambda: tiny_towers("audio"), "waves": lambda: waves_tower(tmp_path),
              "ast": lambda: picture_tower(tmp_path)}[kind]()
    settings = {"tower": str(folder), "seconds": seconds}
    every, single = PretrainedAudio(**settings, hop=0.75, positions=True), PretrainedAudio(**settings, positions=True)
    pooled, one = PretrainedAudio(**settings, hop=0.75), PretrainedAudio(**settings)
    for encoder in (every, single, pooled, one):
        encoder.fit([])
        encoder.at_once = 2
    long, short = noise(3.1), noise(0.4)
    tokens = answer(every, [short, long])
    starts = [0.75 * i for i in range(1 + int(np.ceil((3.1 - window) / 0.75)))]
    pieces = [long[round(start * HZ) : round((start + window) * HZ)] for start in starts]
    x, place = [], []
    for start, part in zip(starts, pieces, strict=True):
        found = answer(single, [part])
        x.append(found.x[found.mask])
        place.append(found.place[found.mask] + start)
    torch.testing.assert_close(tokens.x[1][tokens.mask[1]], torch.cat(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokens.place[1][tokens.mask[1]], torch.cat(place))
    torch.testing.assert_close(
        tokens.x[0][tokens.mask[0]], answer(single, [short]).clean()[0, : int(tokens.mask[0].sum())], atol=1e-5, rtol=1e-5)
    expected = torch.cat(x).mean(0) if kind != "ast" else answer(one, pieces).pooled().mean(0)
    torch.testing.assert_close(answer(pooled, [short, long]).pooled()[1], expected, atol=1e-5, rtol=1e-5)


def test_a_window_no_tower_hears_is_refused(tiny_towers):
    encoder = PretrainedAudio(tower=str(tiny_towers("audio")), hop=3.0)
    encoder.fit([])
    with pytest.raises(BadOption, match="'hop' is 3.0, but tower .* hears 2 seconds at a time"):
        encoder.prepare([noise(0.1)])
    with pytest.raises(BadOption, match="'hop' is 31.0; give 0, or from 0.01 to the 30 seconds"):
        PretrainedAudio(hop=31.0)


def test_a_tower_hears_no_silence_at_the_ends(tiny_towers):
    wave = tone(1000, 0.3)
    still = np.concatenate([np.zeros(1600, np.float32), wave, np.zeros(3200, np.float32)])
    plain, trimmed = (PretrainedAudio(tower=str(tiny_towers("audio")), trim=trim) for trim in (0.0, 40.0))
    for encoder in (plain, trimmed):
        encoder.fit([])
    assert torch.equal(answer(trimmed, [still]).x, answer(plain, [wave]).x)
    assert not torch.equal(answer(plain, [still]).x, answer(plain, [wave]).x)

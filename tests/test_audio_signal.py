"""Sounds as numbers: mel, MFCC, slopes, silence, windows, and what training changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polysense.modality.audio_signal import (
    HZ,
    deltas,
    faster,
    hidden,
    hz_to_mel,
    log_mel,
    mel_filters,
    mel_power,
    mel_to_hz,
    mfcc,
    noisy,
    shifted,
    trimmed,
    window_starts,
)
from test_audio import noise, tone

# --- frames --------------------------------------------------------------------------------------


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


def test_deltas_by_hand():
    """A ramp 0 1 2 3 4: in the middle (1 (3 - 1) + 2 (4 - 0)) / 10 = 1; at its beginning, which repeats the first frame,
    (1 (1 - 0) + 2 (2 - 0)) / 10 = 0.5, then (1 (2 - 0) + 2 (3 - 0)) / 10 = 0.8."""
    ramp = torch.arange(5.0)[:, None] * torch.tensor([1.0, -2.0])
    expected = torch.tensor([0.5, 0.8, 1.0, 0.8, 0.5])
    torch.testing.assert_close(deltas(ramp), expected[:, None] * torch.tensor([1.0, -2.0]))


@pytest.mark.parametrize(("length", "reach"), [(1, 2), (2, 2), (3, 1), (30, 2), (30, 4)])
def test_deltas_are_the_slope_of_a_fitted_line(length, reach):
    """scipy's Savitzky-Golay filter of first order as judge."""
    from scipy.signal import savgol_filter

    x = torch.randn(length, 3)
    theirs = savgol_filter(x.numpy(), 2 * reach + 1, 1, deriv=1, axis=0, mode="nearest")
    np.testing.assert_allclose(deltas(x, reach), theirs, atol=1e-5)


# --- silence and windows -------------------------------------------------------------------------


def test_a_known_number_of_samples_is_cut():
    """3 blocks of 160 samples of silence, half a second of sound with a pause in it, 260 samples of silence: of these
    60 fill the sound's last block up."""
    sound = np.concatenate([tone(1000, 0.2), np.zeros(800, np.float32), tone(1000, 0.25), tone(1000, 100 / HZ)])
    wave = torch.from_numpy(np.concatenate([np.zeros(480), sound, np.zeros(260)]).astype(np.float32))
    found = trimmed(wave, 40.0)
    assert len(found) == len(sound) + 60
    assert torch.equal(found, wave[480 : 480 + len(found)])


def test_what_counts_as_silence_is_told_in_decibels():
    """A tone at a hundredth of the loudness is 40 dB softer."""
    wave = torch.from_numpy(np.concatenate([tone(1000, 0.1, 0.005), tone(1000, 0.2, 0.5), tone(1000, 0.1, 0.005)]))
    assert len(trimmed(wave, 41.0)) == len(wave) and len(trimmed(wave, 39.0)) == 0.2 * HZ


@pytest.mark.parametrize("length", [0, 1, 159, 160, 161, 1000])
def test_silence_and_short_sounds_are_left_alone(length):
    for wave in (torch.zeros(length), torch.ones(length)):
        assert torch.equal(trimmed(wave, 40.0), wave)


@given(st.integers(0, 5000), st.integers(1, 900), st.integers(1, 900))
def test_windows_reach_the_end_and_not_beyond(samples, window, hop):
    starts = window_starts(samples, window, hop)
    assert starts == [i * hop for i in range(len(starts))]
    assert starts[-1] + window >= samples and (len(starts) == 1 or starts[-2] + window < samples)


# --- what training changes -----------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "length"), [(2.0, 4000), (0.5, 16_000), (1.25, 6400), (1.0, 8000)])
def test_a_faster_sound_is_shorter_and_higher(factor, length):
    wave = faster(torch.from_numpy(tone(1000)), factor)
    assert len(wave) == length
    lines = torch.fft.rfft(wave).abs()
    assert float(lines.argmax()) * HZ / length == pytest.approx(1000 * factor, abs=2)
    assert wave[1000:-1000].abs().max() == pytest.approx(0.5, abs=0.02)


def test_a_faster_sound_is_never_empty():
    assert len(faster(torch.ones(1), 8.0)) == 1


@given(st.integers(0, 30), st.integers(-40, 40))
def test_a_shifted_sound_keeps_its_length(length, by):
    wave = np.arange(1.0, length + 1, dtype=np.float32)
    expected = [wave[i - by] if 0 <= i - by < length else 0.0 for i in range(length)]
    assert shifted(torch.from_numpy(wave), by).tolist() == expected


@pytest.mark.parametrize("decibel", [0.0, 10.0, 30.0])
def test_noise_has_the_ratio_it_should(decibel):
    wave = torch.from_numpy(tone(440))
    added = noisy(wave, decibel) - wave
    assert 10 * float((wave.square().mean() / added.square().mean()).log10()) == pytest.approx(decibel, abs=1e-3)
    assert abs(float(added[1:] @ added[:-1] / added.square().sum())) < 0.05, "white: neighbours are not alike"


def test_silence_gets_no_noise():
    assert not noisy(torch.zeros(100), 10.0).any() and not noisy(torch.zeros(1), 10.0).any()


def test_a_stretch_is_hidden():
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


def test_slopes_lose_the_same_bands_and_cepstra_none():
    torch.manual_seed(0)
    mask = torch.ones(30, 20, dtype=torch.bool)
    with_slopes = hidden(torch.ones(600, 3 * 8), mask, bands=8).unflatten(1, (3, 8))
    assert torch.equal(with_slopes[:, 0], with_slopes[:, 1]) and torch.equal(with_slopes[:, 0], with_slopes[:, 2])
    whole = with_slopes[:, 0].unflatten(0, (30, 20))
    assert (whole.sum(1) == 0).any(), "some bands are hidden"
    cepstra = hidden(torch.ones(600, 3 * 8), mask, bands=-1)
    assert torch.equal(cepstra, cepstra[:, :1].expand(-1, 24)) and 0 < (cepstra[:, 0] == 0).sum() <= 30 * 4

"""A sound as a picture: log-mel bands over time in colours of even lightness, a small PNG."""

from __future__ import annotations

import io

import numpy as np

#: Bands of the picture, its columns at most, and how far below the loudest cell the darkest colour lies.
BANDS, COLUMNS, DECIBEL = 64, 180, 65.0
HZ, HOP = 16_000, 160
_LEVELS = 32
#: Nine colours from near black through purple and orange to near white. Lightness (CIE L*) rises in equal steps of 11
#: from 6 to 94, so equal steps of loudness look equal, also in grey and to colour-blind readers.
COLOURS = ("130f2d", "3d155b", "721871", "a92170", "d63d5e", "f26849", "f99a4f", "f2c887", "f0eedf")


def spectrogram(wave: np.ndarray) -> bytes:
    """PNG of a sound: low tones below, time to the right; 65 dB from the loudest cell to the darkest.

    Args:
        wave: (n,) samples at 16 kHz.
    """
    from PIL import Image

    levels = levels_of(wave)
    picture = Image.fromarray(np.round(levels[::-1] * (_LEVELS - 1)).astype(np.uint8), "P")
    picture.putpalette(palette(_LEVELS).ravel().tolist())
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def levels_of(wave: np.ndarray) -> np.ndarray:
    """(BANDS, columns) from 0 to 1, the lowest band first; silence is 0 throughout."""
    import torch

    from ..modality.audio_signal import FLOOR, log_mel

    bands_TF = log_mel(torch.from_numpy(np.ascontiguousarray(wave, np.float32)), BANDS).numpy()
    parts = np.array_split(bands_TF, min(len(bands_TF), COLUMNS))
    decibel_FT = np.stack([part.mean(0) for part in parts], 1) * (10 / np.log(10))
    if decibel_FT.max() <= 10 * np.log10(FLOOR) + 1e-3:
        return np.zeros_like(decibel_FT)
    return np.clip(1 + (decibel_FT - decibel_FT.max()) / DECIBEL, 0, 1)


def height_of(hz: float) -> float:
    """Where a frequency lies in the picture: 0 at its lower edge, 1 at its upper.

    Band k is centred on the (k + 1)-th of BANDS + 2 points that are even in mel from 0 to 8000 Hz.
    """
    from ..modality.audio_signal import hz_to_mel

    return float((hz_to_mel(hz) / hz_to_mel(HZ / 2) * (BANDS + 1) - 0.5) / BANDS)


def palette(levels: int) -> np.ndarray:
    """(levels, 3) bytes between the nine colours."""
    known = np.array([[int(colour[i : i + 2], 16) for i in (0, 2, 4)] for colour in COLOURS])
    at = np.linspace(0, len(COLOURS) - 1, levels)
    return np.stack([np.interp(at, np.arange(len(COLOURS)), known[:, i]) for i in range(3)], 1).round().astype(np.uint8)

"""Cells of single records as a report shows them: small pictures, short sounds, texts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.reading import Cells
from ..data.series import Series
from .spectrogram import spectrogram

#: Larger side of a picture in pixels; seconds of a sound at most, and its rate.
PIXELS, SECONDS, HZ = 160, 4.0, 16_000
#: A smaller picture is shown this large or nearly, each pixel as a square.
LEAST = 80
TEXT = 400
#: Channels of a series, and points of each of their lines.
LINES, POINTS = 6, 120


def with_cells(mistakes: Sequence[Mapping[str, Any]], cells: Mapping[str, Cells]) -> list[dict[str, Any]]:
    """Each mistake with what its record holds.

    Args:
        mistakes: dicts with the key ``row``.
        cells: of the table that the rows are of.

    Returns:
        The same dicts with ``cells``: a list of {"column", "kind", and one of "text", "image_png_bytes", "audio",
        "series"}; none of them where the cell is absent. ``audio`` is the sound's beginning: "type", "bytes",
        "spectrogram_png_bytes", "seconds" and "whole_seconds". ``series`` has "lines"
        ({channel: numbers or None}), "at" (when), "timed" (in seconds, or else by index), "samples" and "channels".
    """
    return [
        {**mistake, "cells": [part for mine in cells.values() for part in _shown(mine, mistake["row"])]}
        for mistake in mistakes
    ]


def _shown(cells: Cells, row: int) -> list[dict[str, Any]]:
    modality = cells.view.modality
    value = cells.values([row], PIXELS)[0]
    if modality == "table":
        there = [name for name in cells.view.columns if name not in cells.missing_columns]
        return [{"column": name, "kind": modality, **_text(cells.records.cell(name, row))} for name in there]
    entry = {"column": cells.name, "kind": modality}
    if value is None:
        return [entry]
    if modality == "image":
        return [entry | {"image_png_bytes": _picture(value)}]
    if modality == "audio":
        return [entry | {"audio": _sound(value)}]
    if modality == "series":
        return [entry | {"series": _lines(value, cells.channels)}]
    return [entry | _text(value)]


def _text(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return {"text": text if len(text) <= TEXT else text[:TEXT] + " ..."}


def _lines(value: Series, channels: Sequence[str]) -> dict[str, Any]:
    """A few channels as lines of few points: means of neighbours, over what is there."""
    parts = np.array_split(np.arange(len(value.x)), min(POINTS, len(value.x)))
    at = np.arange(len(value.x)) if value.seconds is None else value.seconds
    shown = {
        name: [float(np.nanmean(x[part])) if not np.isnan(x[part]).all() else None for part in parts]
        for name, x in zip(channels[:LINES], value.x.T, strict=False)
    }
    return {
        "lines": shown, "at": [float(at[part].mean()) for part in parts], "timed": value.seconds is not None,
        "samples": len(value.x), "channels": len(channels),
    }


def _picture(value: np.ndarray) -> bytes:
    from PIL import Image

    picture = Image.fromarray(value)
    if (times := LEAST // max(picture.size)) > 1:
        picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    picture.thumbnail((PIXELS, PIXELS))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()


def _sound(value: np.ndarray) -> dict[str, Any]:
    """The first seconds as MP3 at about 24 kbit a second, which every browser plays; WAV of 8 bits where libsndfile
    is too old to write MP3."""
    import soundfile

    part = np.clip(value[: int(SECONDS * HZ)], -1, 1)
    file = io.BytesIO()
    if "MP3" in soundfile.available_formats():
        kind = "audio/mpeg"
        soundfile.write(file, part, HZ, "MPEG_LAYER_III", format="MP3", compression_level=0.9, bitrate_mode="CONSTANT")
    else:
        kind = "audio/wav"
        soundfile.write(file, part, HZ, "PCM_U8", format="WAV")
    return {
        "type": kind, "bytes": file.getvalue(), "spectrogram_png_bytes": spectrogram(part),
        "seconds": len(part) / HZ, "whole_seconds": len(value) / HZ,
    }

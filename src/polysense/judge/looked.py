"""Pictures of where a decoder looked: each word with what it came from. L words, V views."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..modality.image import square

#: Side of a word's picture in pixels; words that are shown of a text.
PIXELS, MOST = 88, 24
#: Brightness of what a word did not look at.
DARK = 0.25


def strip(looked: Any, pictures: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """A text word by word.

    Args:
        looked: of ``Model.attention``.
        pictures: {view: uint8 (height, width, 3)} of the record's pictures.

    Returns:
        For each word {"word", "shares": {view: share}, and for the first view that has a map and a picture
        "image_jpeg_bytes": the picture, bright where the word looked}.
    """
    place = next((view for view in sorted(pictures) if looked.map(view) is not None), None)
    shares, found = {view: looked.of(view) for view in looked.views}, []
    for i, word in enumerate(looked.words[:MOST]):
        one = {"word": word, "shares": {view: round(float(share[i]), 3) for view, share in shares.items()}}
        if place is not None:
            one["image_jpeg_bytes"] = lit(pictures[place], looked.map(place)[i])
        found.append(one)
    return found


def lit(picture: np.ndarray, map_RC: np.ndarray) -> bytes:
    """A picture, bright where a map is high, as JPEG; the map's highest place keeps its own light.

    >>> lit(np.full((8, 8, 3), 200, np.uint8), np.eye(2))[:2]
    b'\\xff\\xd8'
    """
    from PIL import Image

    seen = square(picture, PIXELS)  # as a tower sees it
    light = Image.fromarray((map_RC / max(float(map_RC.max()), 1e-12)).astype(np.float32))
    light = np.asarray(light.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)).clip(0, 1)[..., None]
    pixels = seen.astype(np.float32) * (DARK + (1 - DARK) * light)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=80)
    return file.getvalue()


def with_strips(
    shown: Sequence[Mapping[str, Any]], rows: Sequence[int], looked: Sequence[Any], pictures: Callable[[int], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The records that are shown, each with its words.

    Args:
        shown: dicts with the key ``row``.
        rows: of the records that were looked into.
        looked: of them, None where there is nothing.
        pictures: row -> {view: picture}.
    """
    found = {row: one for row, one in zip(rows, looked, strict=True) if one is not None}
    return [
        {**one, "looked": strip(found[one["row"]], pictures(one["row"]))} if one["row"] in found else dict(one) for one in shown
    ]

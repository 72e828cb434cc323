"""Made-up records of weather: seen, written about, heard and measured. Tiny, seeded, without files.

``made_up`` and ``parts`` are for examples and tests.
"""

from __future__ import annotations

import io
import math
import wave
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..errors import BadOption
from .folder import Record, writing

CLASSES = ("rain", "snow", "sun")

#: Share of records in which a view shows the true class; otherwise it shows one of the others. The
#: errors of the views are independent, so several views together know more than any of them.
TRUTHFUL = {"picture": 0.8, "text": 0.75, "text_zh": 0.7, "sound": 0.75, "table": 0.65}

_WORDS = {
    "rain": ("wet street", "grey umbrella", "puddles everywhere", "dripping roof"),
    "snow": ("white field", "frozen pond", "cold gloves", "icy path"),
    "sun": ("warm beach", "bright garden", "golden wheat", "blue sky"),
}
_WORDS_ZH = {
    "rain": ("街道湿了", "灰色的雨伞", "到处是水坑", "屋顶在滴水"),
    "snow": ("白色的田野", "池塘结冰", "手套很冷", "路面有冰"),
    "sun": ("温暖的海滩", "明亮的花园", "金色的麦田", "蓝蓝的天空"),
}
_FRAMES = ("We saw a {} today", "{} near the old house", "My note: {}", "Look, {}!")
_FRAMES_ZH = ("今天{}。", "老房子旁边，{}。", "我的笔记：{}。", "看，{}！")
_PLACES = {"rain": "coast", "snow": "hills", "sun": "town"}
_DEGREES = {"rain": 11.0, "snow": -3.0, "sun": 23.0}
_WIND = {"rain": 30.0, "snow": 18.0, "sun": 8.0}
_MONTHS = {"rain": (3, 4, 10, 11), "snow": (12, 1, 2), "sun": (5, 6, 7, 8, 9)}


def made_up(
    n: int = 60, seed: int = 0, folder: str | Path | None = None, *, missing: float = 0.15
) -> list[Record]:
    """Made-up weather records with every modality and a target ``label`` of three classes.

    Columns: ``picture`` (PNG, 32 x 32), ``text`` (English), ``text_zh`` (Chinese), ``sound`` (WAV,
    0.3 s at 8 kHz), ``temperature`` and ``wind`` (numbers), ``place`` (category), ``windows`` (flag),
    ``day`` (date) and ``label``. Each view shows the true class with the probability in ``TRUTHFUL``.
    Record i depends on ``seed`` and i alone, and each run of three records holds every class.

    Args:
        n: records.
        seed: the same seed gives the same records.
        folder: None for media as bytes; else media are written to ``folder/media`` and the cells
            hold paths relative to ``folder``.
        missing: share of the cells that are None; the target never is.

    Raises:
        BadOption: n < 0, or missing outside 0..1.

    >>> record = made_up(1, missing=0)[0]
    >>> record["text"], record["label"]
    ('We saw a blue sky today', 'sun')
    """
    if n < 0:
        raise BadOption(f"n is {n}; ask for 0 records or more")
    if not 0 <= missing <= 1:
        raise BadOption(f"missing is {missing}; a share lies between 0 and 1")
    records = [_weather(i, seed, missing) for i in range(n)]
    if folder is not None:
        media = Path(folder) / "media"
        with writing(media):
            media.mkdir(parents=True, exist_ok=True)
            for i, record in enumerate(records):
                for column, suffix in (("picture", "png"), ("sound", "wav")):
                    if record[column] is not None:
                        path = media / f"{column}-{i:04d}.{suffix}"
                        path.write_bytes(record[column])
                        record[column] = f"media/{path.name}"
    return records


def _weather(i: int, seed: int, missing: float) -> Record:
    label = CLASSES[np.random.default_rng([seed, i // 3]).permutation(3)[i % 3]]
    rng = np.random.default_rng([seed, i, 1])
    others = [name for name in CLASSES if name != label]
    shown = {view: label if rng.random() < p else str(rng.choice(others)) for view, p in TRUTHFUL.items()}
    table = shown["table"]
    month = int(rng.choice(_MONTHS[table]))
    record: Record = {
        "picture": _png(shown["picture"], rng),
        "text": str(rng.choice(_FRAMES)).format(rng.choice(_WORDS[shown["text"]])),
        "text_zh": str(rng.choice(_FRAMES_ZH)).format(rng.choice(_WORDS_ZH[shown["text_zh"]])),
        "sound": _wav(shown["sound"], rng),
        "temperature": round(float(rng.normal(_DEGREES[table], 6.0)), 1),
        "wind": round(float(abs(rng.normal(_WIND[table], 8.0))), 1),
        "place": _PLACES[table] if rng.random() < 0.7 else str(rng.choice(list(_PLACES.values()))),
        "windows": "yes" if rng.random() < (0.8 if table == "sun" else 0.2) else "no",
        "day": f"2024-{month:02d}-{rng.integers(1, 29):02d}",
    }
    gaps = rng.random(len(record)) < missing
    record = {key: None if gap else value for (key, value), gap in zip(record.items(), gaps, strict=True)}
    return {**record, "label": label}


def _png(weather: str, rng: np.random.Generator) -> bytes:
    """32 x 32: a yellow disc on blue, slanted streaks on grey, or white dots on dark blue."""
    sky = {"rain": (120, 125, 130), "snow": (60, 70, 110), "sun": (90, 160, 230)}[weather]
    picture = Image.new("RGB", (32, 32), sky)
    pen = ImageDraw.Draw(picture)
    if weather == "sun":
        x, y, radius = rng.integers(8, 24), rng.integers(8, 24), rng.integers(5, 9)
        pen.ellipse([int(x - radius), int(y - radius), int(x + radius), int(y + radius)], fill=(250, 220, 60))
    for _ in range(0 if weather == "sun" else 18):
        x, y = (int(v) for v in rng.integers(0, 32, 2))
        if weather == "rain":
            pen.line([x, y, x - 3, y + 6], fill=(190, 200, 225))
        else:
            pen.ellipse([x, y, x + 2, y + 2], fill=(250, 250, 255))
    pixels = np.asarray(picture, np.int16) + rng.integers(-25, 26, (32, 32, 3))
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def _wav(weather: str, rng: np.random.Generator, seconds: float = 0.3, hz: int = 8000) -> bytes:
    """Hiss (rain), a low hum (snow) or chirps (sun), with some hiss under each."""
    time_s = np.arange(int(seconds * hz)) / hz
    noise = rng.normal(0, 1, len(time_s))
    if weather == "rain":
        wave_n = noise
    elif weather == "snow":
        wave_n = np.sin(2 * math.pi * rng.uniform(80, 160) * time_s) + 0.2 * noise
    else:
        swell = np.sin(2 * math.pi * 12 * time_s) ** 2
        wave_n = np.sin(2 * math.pi * rng.uniform(1500, 2500) * time_s) * swell + 0.1 * noise
    samples = (wave_n / np.abs(wave_n).max() * 0.8 * 32767).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(hz)
        file.writeframes(samples.tobytes())
    return out.getvalue()


def parts(dim: int = 8, batch: int = 3, seed: int = 0) -> dict[str, Any]:
    """Tokens of three views ``a``, ``b``, ``c``, as a fusion receives them; some are absent.

    ``a`` has one position and is always there, ``b`` has up to four and ``c`` up to two; the second
    record lacks ``b``, the third ``c`` (and so on, in turn). Masked positions hold NaN: nobody may read them.

    Args:
        dim: D, width of the tokens.
        batch: B, records.
        seed: of the numbers.

    >>> {view: tuple(tokens.x.shape) for view, tokens in parts(8).items()}
    {'a': (3, 1, 8), 'b': (3, 4, 8), 'c': (3, 2, 8)}
    """
    import torch  # here, because made-up records need no torch

    from ..tokens import Tokens

    rng = np.random.default_rng(seed)
    tokens = {}
    for slot, (view, length) in enumerate({"a": 1, "b": 4, "c": 2}.items()):
        row = np.arange(batch)
        real = np.where((slot > 0) & (row % 3 == slot), 0, length - row % 2 * (length > 2))
        mask_BT = np.arange(length) < real[:, None]
        x_BTD = rng.normal(size=(batch, length, dim)).astype(np.float32)
        x_BTD[~mask_BT] = np.nan
        tokens[view] = Tokens(torch.from_numpy(x_BTD), torch.from_numpy(mask_BT))
    return tokens

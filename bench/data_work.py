"""The share of data work in a cold pass of frozen towers over real pictures and sounds, by part, and what lowers it.

    python bench/data_work.py [--data DIR]... [--pictures 2000] [--sounds 64] [--audio-tower FOLDER] [--json FILE]

Pictures come from the demo's tables (PNG as they are; as many again are written as JPEG at their own size), sounds
too. Measure: CPU seconds of all threads, one tower thread. Data work is reading, hashing, decoding and bringing to
a square; features of a sound (mel spectrum) belong to its tower and are shown apart. Where no audio tower is named,
one of Whisper-tiny's shape with random weights stands in: it costs the same, and only its cost is asked for.

Draft decoding is compared with the naive way in the same run, on JPEGs of several sizes made of the same pictures.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, Line, say, show, tables, write

#: Share of a pass that data work may have.
SHARE = 0.15
#: Parts that are data work.
WORK = ("read and hash", "decode", "bring to a square")


class Watch:
    """CPU seconds of each part, in whatever thread it runs."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def around(self, name: str, call: Callable) -> Callable:
        def timed(*args: Any, **more: Any) -> Any:
            start = time.thread_time()
            try:
                return call(*args, **more)
            finally:
                self.seconds[name] += time.thread_time() - start

        return timed


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """polysense's own functions, each with a clock around it."""
    from polysense.data import reading
    from polysense.modality import image_tower

    places = [
        (reading, "fetch", "read and hash"), (reading, "decode_image", "decode"), (reading, "decode_audio", "decode"),
        (image_tower, "squares", "bring to a square"),
    ]
    before = [getattr(holder, name) for holder, name, _ in places]
    try:
        for holder, name, part in places:
            setattr(holder, name, watch.around(part, getattr(holder, name)))
        yield
    finally:
        for (holder, name, _), call in zip(places, before, strict=True):
            setattr(holder, name, call)


def one_pass(encoder: Any, cells: Any, cache: Path) -> dict[str, float]:
    """CPU seconds of each part, of the whole and on the clock."""
    from polysense.data.cache import Cache
    from polysense.learn.features import frozen

    watch, started, began = Watch(), time.process_time(), time.monotonic()
    prepare, forward = encoder.prepare, encoder.forward
    encoder.prepare = watch.around("prepare in all", prepare)
    encoder.forward = watch.around("tower", forward)
    try:
        with watched(watch):
            out = frozen(encoder, cells, Cache(cache))
    finally:
        encoder.prepare, encoder.forward = prepare, forward
    assert np.isfinite(out[:]).all() and cells.present.all()
    whole = time.process_time() - started
    parts = dict(watch.seconds)
    parts["signal"] = parts.pop("prepare in all") - parts.get("bring to a square", 0.0)
    parts["keeping and the rest"] = whole - sum(parts.values())
    return {**parts, "whole": whole, "clock": time.monotonic() - began}


def passed(folder: Path, column: str, kind: str, names: Sequence[str], tower: str) -> dict[str, float]:
    """A cold pass over some files."""
    import torch

    from polysense.data.reading import read_cells
    from polysense.data.records import as_records
    from polysense.data.schema import Column, Schema
    from polysense.registry import encoders

    torch.set_num_threads(1)
    records = as_records({column: list(names)}, folder=folder)
    encoder = encoders.make(f"{kind}.pretrained", tower=tower)
    encoder.fit([])
    with tempfile.TemporaryDirectory() as cache:
        some = read_cells(records.head(4), Schema([Column(column, kind, "")]))[column]
        one_pass(encoder, some, Path(cache) / "warm")  # the tower is opened
        return one_pass(encoder, read_cells(records, Schema([Column(column, kind, "")]))[column], Path(cache) / "cold")


def files(sources: Sequence[Path], out: Path, pictures: int, sounds: int) -> tuple[list[str], list[str]]:
    """Absolute paths of so many pictures, half of them JPEG, and of so many sounds, from the tables' own files."""
    from PIL import Image

    from polysense.data.records import read_table

    found: dict[str, dict[str, None]] = {"image": {}, "audio": {}}
    for source in sources:
        for path in tables(source)[:3]:
            records = read_table(path)
            for name in set(records.names) & {"picture", "sound", "speech"}:
                kind = "image" if name == "picture" else "audio"
                found[kind] |= {str(source.resolve() / cell): None for cell in records.column(name) if cell}
    stored = list(found["image"])[: max(1, pictures // 2)]
    names = list(stored)
    for i in range(pictures - len(stored)):
        path = stored[i % len(stored)]
        with Image.open(path) as picture:
            paper = Image.new("RGB", picture.size, "white")
            paper.paste(picture.convert("RGBA"), mask=picture.convert("RGBA"))
        name = out / f"{i}.jpg"
        paper.save(name, quality=90 - i // len(stored))  # other bytes where a picture comes twice
        names.append(str(name))
    return names, list(found["audio"])[:sounds]


def stand_in(folder: Path) -> str:
    """A tower of Whisper-tiny's shape with random weights."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    shape = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
    WhisperModel(WhisperConfig(**shape, decoder_layers=1, decoder_attention_heads=6)).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return str(folder)


def drafts(names: Sequence[str], pixels: int = 128, count: int = 40) -> list[Line]:
    """CPU milliseconds a picture to decode and square JPEGs of several sizes: drafted, and the naive way."""
    from PIL import Image

    from polysense.data.media import decode_image
    from polysense.modality.image import square

    lines = []
    for side in (200, 400, 800, 1600, 3200):
        data = []
        for name in names[: count if side < 1600 else count // 4]:
            with Image.open(name) as picture:
                larger = picture.convert("RGB").resize((side, side * 3 // 4), Image.Resampling.BICUBIC)
            file = io.BytesIO()
            larger.save(file, "JPEG", quality=90)
            data.append(file.getvalue())

        def ours(one: bytes) -> np.ndarray:
            return square(decode_image(one, pixels=pixels), pixels)

        def naive(one: bytes) -> np.ndarray:
            whole = Image.open(io.BytesIO(one)).convert("RGB")
            return np.asarray(whole.resize((pixels, pixels), Image.Resampling.BILINEAR))

        spent = {}
        for call in (ours, naive, ours, naive):
            start = time.thread_time()
            for one in data:
                call(one)
            spent.setdefault(call.__name__, []).append((time.thread_time() - start) / len(data) * 1000)
        best = {name: min(times) for name, times in spent.items()}
        lines.append(Line(
            f"JPEG of {side} x {side * 3 // 4} to {pixels}", f"{best['ours']:.2f} ms drafted, {best['naive']:.2f} ms naive "
            f"({best['naive'] / best['ours']:.1f} times)"
        ))
    return lines


def run(sources: Sequence[Path] | Path = DATA, pictures: int = 2000, sounds: int = 64, audio_tower: str = "") -> list[Line]:
    """Lines of the table: both passes by part, the share of data work, draft against naive."""
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        names, heard = files([sources] if isinstance(sources, Path) else sources, out, pictures, sounds)
        say(f"{len(names)} pictures, {len(heard)} sounds")
        found = {"pictures": passed(out, "picture", "image", names, "efficientnet-lite0")}
        if heard:
            tower = audio_tower or stand_in(out / "tower")
            found["sounds"] = passed(out, "sound", "audio", heard, tower)
        for what, parts in found.items():
            count = len(names) if what == "pictures" else len(heard)
            each = ", ".join(f"{name} {parts[name] / count * 1000:.2f}" for name in parts if name not in ("whole", "clock"))
            lines.append(Line(f"{count} {what}, CPU ms each", each))
            share = sum(parts.get(name, 0.0) for name in WORK) / parts["whole"]
            lines.append(Line.at_most(f"  data work of {parts['whole']:.1f} CPU s", share, SHARE, "{:.1%}"))
        lines += drafts(names[len(names) // 2 :])
        write("data_work", {"pictures": len(names), "sounds": len(heard), "parts": found})
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, action="append", help="folder of a demo's tables; may be repeated")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--sounds", type=int, default=64)
    parser.add_argument("--audio-tower", default="", help="folder of an audio tower")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    lines = run(given.data or DATA, given.pictures, given.sounds, given.audio_tower)
    show("data work", lines)
    if given.json:
        given.json.write_text(json.dumps([vars(line) for line in lines], default=str, indent=1))


if __name__ == "__main__":
    os.environ.setdefault("POLYSENSE_CACHE", "off")
    main()

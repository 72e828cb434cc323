"""Pictures.

A value is uint8 (height, width, 3). Letters: B records, H and W rows and columns, T positions,
D width of a token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from ..contracts import Batch, Encoder, Modality, Plain, State
from ..errors import BadOption
from ..registry import encoders, modalities
from ..tokens import Tokens
from . import several, whole

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
    out = np.empty((pixels, pixels, 3), np.uint8)
    out[:] = edge.astype(np.uint8)
    left, top = (pixels - inner[0]) // 2, (pixels - inner[1]) // 2
    out[top : top + inner[1], left : left + inner[0]] = inside
    return out


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


# --- encoders ------------------------------------------------------------------------------------


@encoders("image.plain")
class PlainImage(Encoder):
    """Colour histogram and thumbnail as one token.

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


@encoders("image.cnn")
class Cnn(Encoder):
    """Blocks of 3x3 convolution, 2x2 maximum, batch norm and ReLU, trained from scratch.

    LeCun et al. 1998; Ioffe and Szegedy 2015, arXiv:1502.03167. The maximum comes before the norm,
    which then has a quarter to do. In training each picture is mirrored with probability 1/2 and
    moved by up to an eighth of its side.

    Args:
        widths: channels of each block; the last one is the width D of a token.
        pixels: side of the square a picture is brought to.
        augment: mirror and move pictures in training.

    forward: {"x": uint8 (B, 3, pixels, pixels)} -> (B, T, D), T = (pixels / 2 ** blocks) ** 2
    """

    def __init__(
        self, *, widths: Sequence[int] = (32, 64, 128), pixels: int = 64, augment: bool = True
    ) -> None:
        super().__init__()
        self.widths, self.pixels = several("widths", widths), whole("pixels", pixels)
        self.augment = bool(augment)
        if self.pixels < 2 ** len(self.widths):
            raise BadOption(
                f"option 'pixels' is {pixels}, but {len(self.widths)} blocks halve the picture as often; "
                f"give at least {2 ** len(self.widths)}"
            )
        self.dim = self.widths[-1]
        self.blocks = nn.Sequential()

    def fit(self, values: Sequence[np.ndarray]) -> None:
        self._build()

    def load(self, state: State) -> None:
        self._build()

    def _build(self) -> None:
        layers: list[nn.Module] = []
        for before, after in zip((3, *self.widths), self.widths, strict=False):
            # no bias: batch norm would take it away again
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.MaxPool2d(2)]
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        self.blocks = nn.Sequential(*layers)

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {"x": squares(values, self.pixels)}

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        x_BCHW = augmented(batch["x"]) if self.training and self.augment else batch["x"]
        # colours innermost in memory: half the time of a forward pass on a CPU
        x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last).to(torch.float32) / 127.5 - 1
        return every_position(self.blocks(x_BCHW))


def augmented(x_BCHW: Tensor) -> Tensor:
    """Each picture mirrored with probability 1/2 and moved by up to an eighth, its edge repeated."""
    count, _, height, width = x_BCHW.shape
    reach = max(1, height // 8)
    top, left = torch.randint(-reach, reach + 1, (2, count, 1), device=x_BCHW.device)
    rows = (torch.arange(height, device=x_BCHW.device) + top).clamp(0, height - 1)
    columns = (torch.arange(width, device=x_BCHW.device) + left).clamp(0, width - 1)
    mirror = torch.rand(count, 1, device=x_BCHW.device) < 0.5
    columns = torch.where(mirror, columns.flip(1), columns)
    which = torch.arange(count, device=x_BCHW.device)[:, None, None]
    return x_BCHW.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

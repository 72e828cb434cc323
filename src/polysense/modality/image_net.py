"""Networks for pictures, trained from scratch: convolutions, residual blocks, a recurrent reader, patches.

Letters: B records, C channels, H and W rows and columns, T positions, D width of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..contracts import Batch, Encoder, State
from ..errors import BadOption
from ..layers import CELLS, Block, Recurrent
from ..registry import encoders
from ..tokens import Tokens
from . import choice, several, share, whole
from .image import changed, every_position, grid, squares, take_changes


class Scratch(Encoder):
    """What networks for pictures have in common: squares go in, changed at random in training.

    Args:
        pixels: side of the square a picture is brought to.
        augment: change pictures in training, as the options that follow say; false changes none.
        flip: mirror with probability 1/2; switch it off where left and right differ: digits, letters, arrows.
        crop: move by up to this share of the side, the edge repeated.
        zoom: enlarge a part of at least 1 - zoom of the side.
        colour: brightness, contrast and saturation times 1 - colour to 1 + colour; not where colour is the answer.
        erase: probability that a rectangle is filled with noise; not where small things decide.
    """

    def __init__(
        self, *, pixels: int = 64, augment: bool = True, flip: bool = True, crop: float = 0.125, zoom: float = 0.0,
        colour: float = 0.0, erase: float = 0.0,
    ) -> None:
        super().__init__()
        self.pixels, self.augment = whole("pixels", pixels), bool(augment)
        take_changes(self, flip=flip, crop=crop, zoom=zoom, colour=colour, erase=erase)

    def fit(self, values: Sequence[np.ndarray]) -> None:
        self._build()

    def load(self, state: State) -> None:
        self._build()

    def _build(self) -> None:
        """Make the parameters."""
        raise NotImplementedError

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {"x": squares(values, self.pixels)}

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        x_BCHW = changed(self, batch["x"])
        # colours innermost in memory: half the time of a forward pass on a CPU
        return self._tokens(x_BCHW.contiguous(memory_format=torch.channels_last).to(torch.float32) / 127.5 - 1)

    def _tokens(self, x_BCHW: Tensor) -> Tokens:
        """(B, 3, pixels, pixels) in -1..1 -> tokens."""
        raise NotImplementedError

    def _needs(self, least: int, why: str) -> None:
        if self.pixels < least:
            raise BadOption(f"option 'pixels' is {self.pixels}, but {why}; give at least {least}")


class Norm(nn.BatchNorm2d):
    """Batch norm that takes its running statistics where a batch holds one number a channel, which has no spread."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.training and x_BCHW.numel() == x_BCHW.shape[1]:
            return nn.functional.batch_norm(
                x_BCHW, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x_BCHW)


def convolutions(widths: Sequence[int]) -> nn.Sequential:
    """Blocks of 3x3 convolution, 2x2 maximum, batch norm and ReLU; the maximum leaves the norm a quarter to do."""
    layers: list[nn.Module] = []
    for before, after in zip((3, *widths), widths, strict=False):
        # no bias: batch norm would take it away again
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.MaxPool2d(2), Norm(after), nn.ReLU()]
    return nn.Sequential(*layers)


def _he(module: nn.Module) -> None:
    """First weights of convolutions: He et al. 2015, arXiv:1502.01852, eq. 10."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


@encoders("image.cnn")
class Cnn(Scratch):
    """Blocks of 3x3 convolution, 2x2 maximum, batch norm and ReLU.

    Source: LeCun et al. 1998 (Proc. IEEE 86); Ioffe and Szegedy 2015, arXiv:1502.03167: a block is
    y = ReLU(norm(max over 2x2 of (W * x))). ``widths`` [32, 64] and [32, 64, 128] are two and three such blocks.
    Wins where pictures are small, of one kind and a thousand or more, and no tower knows them (icons, digits,
    spectra); loses to a tower on photographs. Costs 9 times the sum of c_in c_out parameters (93,024 and the norms
    by default), and 9 c_in c_out operations for each position a block sees.

    Args:
        widths: channels of each block, [32, 64] say; the last one is the width D of a token.

    forward: {"x": uint8 (B, 3, pixels, pixels)} -> (B, T, D), T = (pixels // 2 ** blocks) ** 2

    >>> Cnn(widths=[32, 64]).dim
    64
    """

    def __init__(self, *, widths: Sequence[int] = (32, 64, 128), **more: Any) -> None:
        super().__init__(**more)
        self.widths = several("widths", widths)
        self._needs(2 ** len(self.widths), f"{len(self.widths)} blocks halve the picture as often")
        self.dim = self.widths[-1]
        self.blocks = nn.Sequential()

    def _build(self) -> None:
        self.blocks = convolutions(self.widths)

    def _tokens(self, x_BCHW: Tensor) -> Tokens:
        return every_position(self.blocks(x_BCHW))


@encoders("image.vgg")
class Vgg(Scratch):
    """VGG: stacks of 3x3 convolutions between five maxima, 11 to 19 layers.

    Source: Simonyan and Zisserman 2015, arXiv:1409.1556, table 1, configurations A, B, D and E, without the three
    dense layers at the end (they hold nine tenths of the parameters): y = ReLU(norm(W * x)) with 3x3 filters, a 2x2
    maximum after each stack. Batch norm (2015, after the paper) can be left out, which then learns slowly.
    Wins as the plain deep network to compare with, and with small ``width`` on small pictures; loses to residual
    networks of the same cost. Costs 14,714,688 parameters at depth 16 and width 64 without norms, falling with the
    square of ``width``, and 15.3 billion multiplications a picture of 224 pixels.

    Args:
        depth: 11, 13, 16 or 19 layers, three of them the dense ones that are left out here.
        width: channels of the first stack (64 in the paper); the others have 2, 4, 8 and 8 times as many.
        norm: batch norm after each convolution.

    forward: {"x": uint8 (B, 3, pixels, pixels)} -> (B, T, 8 * width), T = (pixels // 32) ** 2

    >>> Vgg(depth=11, width=8).dim
    64
    """

    #: Depth -> convolutions of each stack.
    STACKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}

    def __init__(self, *, depth: int = 16, width: int = 64, norm: bool = True, **more: Any) -> None:
        super().__init__(**more)
        if depth not in self.STACKS:
            raise BadOption(f"option 'depth' is {depth!r}; give one of {', '.join(map(str, self.STACKS))}")
        self.depth, self.width, self.norm = depth, whole("width", width), bool(norm)
        self._needs(32, "VGG halves a picture five times")
        self.dim = 8 * self.width
        self.stacks = nn.Sequential()

    def _build(self) -> None:
        layers: list[nn.Module] = []
        before = 3
        for times, count in zip((1, 2, 4, 8, 8), self.STACKS[self.depth], strict=True):
            for _ in range(count):
                after = times * self.width
                layers += [nn.Conv2d(before, after, 3, padding=1, bias=not self.norm)]
                layers += [Norm(after), nn.ReLU()] if self.norm else [nn.ReLU()]
                before = after
            layers.append(nn.MaxPool2d(2))
        self.stacks = nn.Sequential(*layers)
        _he(self.stacks)

    def _tokens(self, x_BCHW: Tensor) -> Tokens:
        return every_position(self.stacks(x_BCHW))


class Residual(nn.Module):
    """A residual block: y = ReLU(F(x) + x), F two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1.

    He et al. 2016, arXiv:1512.03385, eq. 1 and figure 5; where the shape changes x goes through a 1x1 convolution
    (eq. 2, option B). The stride of a bottleneck stands at its 3x3 convolution, as in later code, not at the first.

    Args:
        before, after: channels.
        stride: 2 halves the picture.
        bottleneck: with ``after`` // 4 channels inside.

    forward: (B, before, H, W) -> (B, after, H / stride, W / stride)
    """

    def __init__(self, before: int, after: int, *, stride: int = 1, bottleneck: bool = False) -> None:
        super().__init__()
        inner = after // 4 if bottleneck else after
        sides = ((before, inner, 1), (inner, inner, 3), (inner, after, 1)) if bottleneck else (
            (before, inner, 3), (inner, after, 3))
        layers: list[nn.Module] = []
        for i, (ins, outs, side) in enumerate(sides):
            step = stride if i == (1 if bottleneck else 0) else 1
            layers += [nn.Conv2d(ins, outs, side, step, side // 2, bias=False), Norm(outs), nn.ReLU()]
        self.way = nn.Sequential(*layers[:-1])
        same = before == after and stride == 1
        self.by = nn.Identity() if same else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), Norm(after))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.relu(self.way(x_BCHW) + self.by(x_BCHW))


class ResNet(Scratch):
    """Four stages of residual blocks behind a stem.

    Args:
        width: channels of the first stage (64 in the paper), 4 times as many where blocks are bottlenecks; each
            later stage doubles them.
        stem: side of the first filter: 7 halves the picture, and a maximum halves it again (the paper's network);
            3 does neither, for pictures of 32 to 64 pixels (section 4.2).
    """

    #: Blocks of each stage, and whether they are bottlenecks.
    STAGES: tuple[int, ...] = ()
    BOTTLENECK = False

    def __init__(self, *, width: int = 64, stem: int = 7, **more: Any) -> None:
        super().__init__(**more)
        self.width, self.stem = whole("width", width), stem
        if stem not in (3, 7) or isinstance(stem, bool):
            raise BadOption(f"option 'stem' is {stem!r}; give 3 or 7")
        self.dim = self.width * 8 * (4 if self.BOTTLENECK else 1)
        self.stages = nn.Sequential()

    def _build(self) -> None:
        large = self.stem == 7
        first = nn.Conv2d(3, self.width, self.stem, 2 if large else 1, self.stem // 2, bias=False)
        layers: list[nn.Module] = [first, Norm(self.width), nn.ReLU()]
        layers += [nn.MaxPool2d(3, 2, 1)] if large else []
        before = self.width
        for stage, count in enumerate(self.STAGES):
            after = self.width * 2**stage * (4 if self.BOTTLENECK else 1)
            for block in range(count):
                stride = 2 if stage and not block else 1
                layers.append(Residual(before, after, stride=stride, bottleneck=self.BOTTLENECK))
                before = after
        self.stages = nn.Sequential(*layers)
        _he(self.stages)

    def _tokens(self, x_BCHW: Tensor) -> Tokens:
        return every_position(self.stages(x_BCHW))


@encoders("image.resnet18")
class ResNet18(ResNet):
    """ResNet of 18 layers: eight residual blocks of two 3x3 convolutions.

    Source: He et al. 2016, arXiv:1512.03385, table 1 and eq. 1: y = ReLU(F(x) + x). Without the classifier.
    Wins from some ten thousand pictures on, and as the usual deep network to compare with; loses to a tower and to
    plain features on few records. Costs 11,176,512 parameters at width 64, falling with the square of ``width``,
    and 1.8 billion multiplications a picture of 224 pixels.

    forward: {"x": uint8 (B, 3, pixels, pixels)} -> (B, T, 8 * width), T = (pixels / 32) ** 2, or / 8 with stem 3
    """

    STAGES = (2, 2, 2, 2)


@encoders("image.resnet50")
class ResNet50(ResNet):
    """ResNet of 50 layers: sixteen bottlenecks of 1x1, 3x3 and 1x1 convolution.

    Source: He et al. 2016, arXiv:1512.03385, table 1, eq. 1 and figure 5: y = ReLU(F(x) + x). Without the classifier.
    Wins over ``image.resnet18`` where there are very many pictures and much time; loses to it on a CPU and on few
    records. Costs 23,508,032 parameters at width 64, falling with the square of ``width``, and 4.1 billion
    multiplications a picture of 224 pixels.

    forward: {"x": uint8 (B, 3, pixels, pixels)} -> (B, T, 32 * width), T = (pixels / 32) ** 2, or / 8 with stem 3
    """

    STAGES, BOTTLENECK = (3, 4, 6, 3), True


@encoders("image.crnn")
class Crnn(Scratch):
    """Convolutions whose positions are read as a sequence by a recurrent network.

    Source: Shi et al. 2015, arXiv:1507.05717, section 2: h_t = RNN(x_t, h_t-1) over a feature map, whose columns are
    the sequence (each with all its rows), or its positions row by row. ``widths`` [32, 64] with ``both`` false is
    the network conv(32, 64) -> LSTM; [32, 64, 128] with it the one with a bidirectional LSTM.
    Wins where a picture is read in one direction (lines of text, bars, spectra); loses to ``image.cnn`` elsewhere,
    and is slow: one step after the other. Costs those of ``image.cnn``, and for an LSTM of width D over E numbers
    4 D (E + D / 2 + 2) parameters in both directions, O(T D (E + D)) operations.

    Args:
        widths: channels of each block of convolution.
        cell: "tanh", "lstm" or "gru".
        width: D, of both directions together.
        depth: recurrent layers on top of each other.
        both: read from the end too.
        order: "positions" reads the map row by row, "columns" from left to right.
        dropout: share of the numbers dropped between recurrent layers, where there are several.
        pixels: side of the square a picture is brought to; the steps grow with its square.

    forward: {"x": uint8 (B, 3, pixels, pixels)} -> (B, T, D), T = (pixels // 2 ** blocks) ** 2, its root with "columns"
    """

    def __init__(
        self, *, widths: Sequence[int] = (32, 64), cell: str = "lstm", width: int = 128, depth: int = 1,
        both: bool = True, order: str = "positions", dropout: float = 0.0, pixels: int = 32, **more: Any,
    ) -> None:
        super().__init__(pixels=pixels, **more)
        self.widths, self.cell = several("widths", widths), choice("cell", cell, CELLS)
        self.width, self.depth, self.both = whole("width", width), whole("depth", depth), bool(both)
        self.order, self.dropout = choice("order", order, ("positions", "columns")), share("dropout", dropout)
        self._needs(2 ** len(self.widths), f"{len(self.widths)} blocks halve the picture as often")
        if self.both and self.width % 2:
            raise BadOption(f"option 'width' is {width}, which cannot be halved for two directions; give an even number")
        self.dim = self.width
        self.blocks, self.reader = nn.Sequential(), nn.Identity()

    def _build(self) -> None:
        rows = self.pixels // 2 ** len(self.widths) if self.order == "columns" else 1
        self.blocks = convolutions(self.widths)
        self.reader = Recurrent(
            self.widths[-1] * rows, self.width, cell=self.cell, layers=self.depth, both=self.both, dropout=self.dropout
        )

    def _tokens(self, x_BCHW: Tensor) -> Tokens:
        x_BCHW = self.blocks(x_BCHW)
        if self.order == "columns":
            x_BTE = x_BCHW.permute(0, 3, 1, 2).flatten(2)
            place = grid(1, x_BTE.shape[1], x_BTE)
        else:
            x_BTE, place = x_BCHW.flatten(2).transpose(1, 2), grid(*x_BCHW.shape[2:], x_BCHW)
        mask = torch.ones(x_BTE.shape[:2], dtype=torch.bool, device=x_BTE.device)
        return Tokens(self.reader(x_BTE, mask), mask, place=place)


@encoders("image.vit")
class Vit(Scratch):
    """Vision transformer: patches as words, each with a learned vector of its place.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 1 to 3: z_0 = E x + E_place, z_l = z + attention(norm z),
    then + feed(norm z). Without the class token: the patches are the tokens (Beyer et al. 2022, arXiv:2205.01580).
    Wins where parts far from each other decide and there are very many pictures; loses to convolutions on few,
    because it has to learn what a neighbour is. Costs 8 D^2 parameters a block, 3 P^2 D for patches of P pixels and
    T D for places, and O(T^2 D + T D^2) operations a block for T patches.

    Args:
        patch: side of a patch in pixels.
        dim: D, a multiple of ``heads``.
        depth: transformer blocks.
        heads: attention heads.
        dropout: share of activations dropped after each sub-layer.

    forward: {"x": uint8 (B, 3, pixels, pixels)} -> (B, T, D), T = (pixels / patch) ** 2
    """

    def __init__(
        self, *, patch: int = 8, dim: int = 128, depth: int = 4, heads: int = 4, dropout: float = 0.1, **more: Any
    ) -> None:
        super().__init__(**more)
        self.patch, self.dim, self.depth = whole("patch", patch), whole("dim", dim), whole("depth", depth)
        self.heads, self.dropout = whole("heads", heads), share("dropout", dropout)
        if self.pixels % self.patch:
            raise BadOption(f"option 'patch' is {patch}, which does not divide 'pixels', {self.pixels}")
        if self.dim % self.heads:
            raise BadOption(f"option 'heads' is {heads}, which does not divide 'dim', {dim}")
        self.cut, self.blocks, self.norm = nn.Identity(), nn.ModuleList(), nn.Identity()
        self.register_parameter("place_TD", None)

    def _build(self) -> None:
        self.cut = nn.Conv2d(3, self.dim, self.patch, self.patch)
        self.place_TD = nn.Parameter(0.02 * torch.randn((self.pixels // self.patch) ** 2, self.dim))
        self.blocks = nn.ModuleList(Block(self.dim, self.heads, self.dropout) for _ in range(self.depth))
        self.norm = nn.LayerNorm(self.dim)

    def _tokens(self, x_BCHW: Tensor) -> Tokens:
        tokens = every_position(self.cut(x_BCHW))
        x_BTD = tokens.x + self.place_TD
        for block in self.blocks:
            x_BTD = block(x_BTD, tokens.mask)
        return Tokens(self.norm(x_BTD), tokens.mask, place=tokens.place)


class _Mixed(nn.Module):
    """One block of the mixer: between places, then between channels. forward: (B, T, D) -> (B, T, D)"""

    def __init__(self, places: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.across, self.within = (
            nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width), nn.Dropout(dropout))
            for width, hidden in ((places, 2 * places), (dim, 4 * dim))
        )

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.across(self.norms[0](x_BTD).mT).mT
        return x_BTD + self.within(self.norms[1](x_BTD))


@encoders("image.mixer")
class Mixer(Scratch):
    """Patches mixed by plain layers, by turns between places and between channels; neither convolution nor attention.

    Source: Tolstikhin et al. 2021 ("MLP-Mixer", arXiv:2105.01601, eq. 1): u = x + W_2 gelu(W_1 norm(x)) over places, then the
    same over channels.
    Wins where pictures are framed alike, so that each place has its own meaning (scans, icons, dials); loses where things
    move about in the picture, because every place is learned by itself. Costs 4 T^2 + 8 D^2 parameters a block and 3 P^2 D
    for patches of P pixels, and O(T^2 D + T D^2) operations a block for T patches.

    Args:
        patch: side of a patch in pixels.
        dim: D.
        depth: blocks.
        dropout: share of activations dropped after each sub-layer.

    forward: {"x": uint8 (B, 3, pixels, pixels)} -> (B, T, D), T = (pixels / patch) ** 2

    >>> Mixer(dim=32).dim
    32
    """

    def __init__(self, *, patch: int = 8, dim: int = 128, depth: int = 4, dropout: float = 0.1, **more: Any) -> None:
        super().__init__(**more)
        self.patch, self.dim, self.depth = whole("patch", patch), whole("dim", dim), whole("depth", depth)
        self.dropout = share("dropout", dropout)
        if self.pixels % self.patch:
            raise BadOption(f"option 'patch' is {patch}, which does not divide 'pixels', {self.pixels}")
        self.cut, self.blocks, self.norm = nn.Identity(), nn.Sequential(), nn.Identity()

    def _build(self) -> None:
        self.cut = nn.Conv2d(3, self.dim, self.patch, self.patch)
        places = (self.pixels // self.patch) ** 2
        self.blocks = nn.Sequential(*(_Mixed(places, self.dim, self.dropout) for _ in range(self.depth)))
        self.norm = nn.LayerNorm(self.dim)

    def _tokens(self, x_BCHW: Tensor) -> Tokens:
        tokens = every_position(self.cut(x_BCHW))
        return Tokens(self.norm(self.blocks(tokens.x)), tokens.mask, place=tokens.place)

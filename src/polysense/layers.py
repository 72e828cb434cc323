"""Small parts that several shelves share. B records, V views, T positions, D width."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from .errors import BadOption
from .tokens import Tokens

#: Cells of ``Recurrent``: option value -> torch's class.
CELLS = {"tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def safe(name: str) -> str:
    """A name without the signs that part modules, files and parameters.

    >>> safe("a.b/c")
    'a%2Eb%2Fc'
    """
    return re.sub(r"[%./\\:]", lambda match: f"%{ord(match[0]):02X}", name)


class ByView(nn.Module, Mapping[str, nn.Module]):
    """A module per view. View names are the user's: dots, slashes and words like ``keys`` are all right.

    Args:
        modules: {view: module}.

    >>> by = ByView({"a.b/c": nn.Identity(), "keys": nn.Identity()})
    >>> list(by), [name for name, _ in by.named_children()]
    (['a.b/c', 'keys'], ['<a%2Eb%2Fc>', '<keys>'])
    """

    __eq__, __hash__ = nn.Module.__eq__, nn.Module.__hash__  # a module is itself, whatever it holds

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._keys = {view: f"<{safe(view)}>" for view in modules}
        for view, module in modules.items():
            self.add_module(self._keys[view], module)

    def __getitem__(self, view: str) -> nn.Module:
        return self._modules[self._keys[view]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def masked_softmax(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over what the mask allows; all zeros where it allows nothing. Never NaN.

    Args:
        scores: any shape.
        mask: bool, broadcastable to ``scores``.

    >>> masked_softmax(torch.zeros(2, 3), torch.tensor([[True, True, False], [False] * 3]))
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    lowest = torch.finfo(scores.dtype).min
    weights = torch.softmax(torch.where(mask, scores, lowest), dim)
    return torch.where(mask, weights, torch.zeros_like(weights))


def stack_views(parts: Mapping[str, Tokens], views: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Pooled views side by side: (B, V, D) with zeros in empty slots, and presence (B, V) bool."""
    return (
        torch.stack([parts[view].pooled() for view in views], 1),
        torch.stack([parts[view].present for view in views], 1),
    )


class Drop(nn.Module):
    """Dropout from random bytes: a third of the cost of ``nn.Dropout`` on a CPU.

    Srivastava et al. 2014 (JMLR 15). The share is kept to the nearest 1/256; what stays is scaled by
    one over the share that stays.

    Args:
        share: of the numbers set to zero in training, from 0 to below 1.

    forward: any shape -> the same
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.least = min(255, round(256 * share))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.least:
            return x
        kept = torch.randint(256, x.shape, dtype=torch.uint8, device=x.device) >= self.least
        return x * kept * (256 / (256 - self.least))

    def extra_repr(self) -> str:
        return f"{self.share}"


class Slots(nn.Module):
    """A slot per view, with a learned vector where the view is absent.

    Ma et al. 2022 ("learnable missing embeddings"), also AutoMM, arXiv:2412.16243.

    Args:
        views: names, in any order.
        dim: D.

    forward: {view: (B, T_v, D)} -> (B, V, D) in sorted order of names, presence (B, V) bool
    """

    def __init__(self, views: Sequence[str], dim: int) -> None:
        super().__init__()
        self.views = sorted(views)
        self.empty_VD = nn.Parameter(torch.randn(len(self.views), dim) * 0.02)

    def forward(self, parts: Mapping[str, Tokens]) -> tuple[Tensor, Tensor]:
        x_BVD, present_BV = stack_views(parts, self.views)
        return torch.where(present_BV[..., None], x_BVD, self.empty_VD), present_BV


class Block(nn.Module):
    """Pre-norm transformer block, written out so that it runs under ``torch.vmap``.

    Vaswani et al. 2017, arXiv:1706.03762; pre-norm as in Xiong et al. 2020, arXiv:2002.04745.

    Args:
        dim: D, a multiple of ``heads``.
        heads: attention heads.
        dropout: share of activations dropped after each sub-layer.

    forward: (B, T, D), mask (B, T) -> (B, T, D)
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_feed = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query_key_value, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.feed = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim))
        self.drop = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        batch, length, dim = x_BTD.shape
        split = self.query_key_value(self.norm_attention(x_BTD)).reshape(batch, length, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / (dim // self.heads) ** 0.5
        mixed = masked_softmax(scores, mask_BT[:, None, None, :]) @ value
        x_BTD = x_BTD + self.drop(self.out(mixed.transpose(1, 2).reshape(batch, length, dim)))
        return x_BTD + self.drop(self.feed(self.norm_feed(x_BTD)))


def positions(length: int, dim: int) -> Tensor:
    """Where a position stands, as waves (T, D): added to the numbers of a transformer from scratch.

    Vaswani et al. 2017, arXiv:1706.03762, section 3.5: x[t, 2i] = sin(t / 10000^(2i/D)),
    x[t, 2i+1] = cos(the same).

    Args:
        length: T.
        dim: D.

    >>> positions(2, 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    step_D = torch.arange(dim)
    angle_TD = torch.arange(length)[:, None] / 10_000 ** ((step_D - step_D % 2) / dim)
    return torch.where(step_D % 2 == 0, angle_TD.sin(), angle_TD.cos())


def by_length(run: Callable[[Tensor, Tensor], Tensor], x_BTD: Tensor, mask_BT: Tensor, size: int = 16) -> Tensor:
    """What a network gives that pays for padding too, asked for records of like length together.

    The answers stay: records are separate. A batch whose padding costs little is asked in one piece.

    Args:
        run: (b, t, D), mask (b, t) -> (b, t, W), with t up to the last real position of any of its records.
        size: records asked together.

    Returns:
        (B, T, W), zeros beyond what was asked.

    >>> mask = torch.arange(8) < torch.tensor([8, 1, 2, 1])[:, None]
    >>> by_length(lambda x, mask: print(tuple(x.shape)) or x, torch.ones(4, 8, 1), mask, size=2).sum()
    (2, 1, 1)
    (2, 8, 1)
    tensor(18.)
    """
    length = mask_BT.shape[1]
    end_B = (mask_BT * torch.arange(1, length + 1, device=mask_BT.device)).amax(1).clamp_min(1)
    order_B = end_B.argsort(stable=True)
    groups = [(part, int(end_B[part[-1]])) for part in order_B.split(size)]
    if sum(len(part) * end for part, end in groups) > 0.75 * mask_BT.numel():
        return run(x_BTD, mask_BT)
    made = [run(x_BTD[part, :end], mask_BT[part, :end]) for part, end in groups]
    return torch.cat([nn.functional.pad(y, (0, 0, 0, length - y.shape[1])) for y in made])[order_B.argsort()]


class Recurrent(nn.Module):
    """A recurrent network over the real positions of each record, which may stand anywhere.

    With h' = the state before: tanh (Elman 1990, Cognitive Science 14) h = tanh(W x + U h' + b);
    LSTM (Hochreiter and Schmidhuber 1997; forget gate of Gers et al. 2000) c = f c' + i tanh(W x + U h' + b),
    h = o tanh(c); GRU (Cho et al. 2014, arXiv:1406.1078) h = (1 - z) n + z h', n = tanh(W x + r (U h' + c) + b).
    The real positions are moved together and packed, so that neither direction meets a masked one.

    Args:
        width_in: numbers at each position.
        width: D, of both directions together.
        cell: "tanh", "lstm" or "gru".
        layers: networks on top of each other.
        both: read from the end too (Schuster and Paliwal 1997); each direction has width / 2.
        dropout: share of the numbers dropped between two layers.

    forward: (B, T, width_in), mask (B, T) -> (B, T, D), zeros at masked positions

    Raises:
        BadOption: an unknown cell; both directions with an odd width.

    >>> Recurrent(3, 8, cell="gru")(torch.zeros(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self, width_in: int, width: int, *, cell: str = "lstm", layers: int = 1, both: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise BadOption(f"option 'cell' is {cell!r}; give one of {', '.join(CELLS)}")
        if both and width % 2:
            raise BadOption(f"width {width} cannot be halved for two directions; give an even one, or both=false")
        self.dim = width
        self.net = CELLS[cell](
            width_in, width // 2 if both else width, layers, batch_first=True, bidirectional=both,
            dropout=dropout if layers > 1 else 0.0,  # there is nothing between one layer
        )

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        lengths_B = mask_BT.sum(1)
        filled_B = lengths_B > 0
        out = x_BTD.new_zeros(*mask_BT.shape, self.dim)
        if not filled_B.any():
            return out
        lengths_F = lengths_B[filled_B]
        front_FT = torch.arange(int(lengths_F.max()), device=mask_BT.device) < lengths_F[:, None]
        x_FTD = x_BTD.new_zeros(*front_FT.shape, x_BTD.shape[2]).index_put((front_FT,), x_BTD[mask_BT])
        packed = nn.utils.rnn.pack_padded_sequence(x_FTD, lengths_F.cpu(), batch_first=True, enforce_sorted=False)
        y_FTD, _ = nn.utils.rnn.pad_packed_sequence(self.net(packed)[0], batch_first=True)
        return out.to(y_FTD.dtype).index_put((mask_BT,), y_FTD[front_FT])


class Condition(nn.Module):
    """Standardise frozen features on training rows and, when they are wide, turn them to their main axes.

    Constant columns stay zero. Above ``widest`` numbers the ``axes`` principal axes are kept, unwhitened.

    Args:
        widest: widths up to this stay as they are.
        axes: principal axes kept of wider features.
        scale: divide by the training deviation (else features pass centred only by the network's norm).

    forward: (..., P) -> (..., dim)
    """

    def __init__(self, widest: int = 512, axes: int = 256, scale: bool = True) -> None:
        super().__init__()
        self.widest, self.axes, self.scale = widest, axes, scale
        self.dim = 0

    def fit(self, x_NP: Tensor) -> Condition:
        """Learn mean, deviation and axes from training rows (N, P)."""
        return self.fit_blocks(lambda: [x_NP])

    def fit_blocks(self, blocks: Callable[[], Iterable[Tensor]]) -> Condition:
        """The same from blocks of rows, which are gone through at most three times.

        Args:
            blocks: begins anew with every call.
        """
        def total(what: Callable[[Tensor], Tensor]) -> Tensor:
            return sum(what(x_NP.double()) for x_NP in blocks())

        count = total(lambda x_NP: torch.tensor(float(len(x_NP)), dtype=torch.float64))
        mean = total(lambda x_NP: x_NP.sum(0)) / count
        spread = (total(lambda x_NP: (x_NP - mean).square().sum(0)) / count).sqrt()
        inverse = torch.where(spread > 1e-6 * (1 + mean.abs()), 1 / spread.clamp_min(1e-12), 0.0)
        if not self.scale:
            mean, inverse = torch.zeros_like(mean), torch.ones_like(inverse)
        basis = torch.zeros(0, 0, dtype=torch.float64)
        if len(mean) > self.widest:
            def gram(x_NP: Tensor) -> Tensor:
                z_NP = (x_NP - mean) * inverse
                return z_NP.T @ z_NP

            values, vectors = torch.linalg.eigh(total(gram))
            useful = int((values > 1e-6 * values.max()).sum())
            basis = vectors.flip(1)[:, : max(1, min(self.axes, useful))]
        self._make(mean.float(), inverse.float(), basis.float().contiguous())  # layout decides the last bit
        return self

    def _make(self, mean: Tensor, inverse: Tensor, basis: Tensor) -> None:
        self.register_buffer("mean", mean)
        self.register_buffer("inverse", inverse)
        self.register_buffer("basis", basis)
        self.dim = basis.shape[1] if basis.numel() else len(mean)

    def empty(self, width: int, dim: int) -> Condition:
        """Buffers of the right shape, for weights that are about to be loaded."""
        basis = torch.zeros(width, dim) if width != dim else torch.zeros(0, 0)
        self._make(torch.zeros(width), torch.ones(width), basis)
        return self

    def forward(self, x: Tensor) -> Tensor:
        z = (x - self.mean) * self.inverse
        return z @ self.basis if self.basis.numel() else z

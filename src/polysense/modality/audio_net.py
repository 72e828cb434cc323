"""Networks over the frames of a sound, trained from scratch.

Letters: B records, S windows of all records, T frames of a window, N real frames of all windows one after the other,
F numbers of a frame, D width of a token, K frames of a convolution, C channels, M bands.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Batch, Encoder, State
from ..errors import BadOption
from ..layers import CELLS, Block, Recurrent, positions
from ..registry import encoders
from ..tokens import Tokens
from . import amount, choice, several, share, whole
from .audio_signal import HOP, HZ, deltas, faster, hidden, log_mel, mfcc, noisy, once, shifted, trimmed, window_starts

#: Decibels between the loudest and the softest noise that is added.
RANGE = 20.0


class Hearing(Encoder):
    """What the networks of this file have in common: frames, windows, and what training changes.

    Frames are computed once, before training; with ``noise``, ``shift`` or ``speed`` anew for every batch, from waves.
    All that is drawn comes from torch's own generator.

    Args:
        input: "logmel", or "mfcc" (Davis and Mermelstein 1980, IEEE Trans. ASSP 28).
        bands: mel bands M.
        coefficients: MFCC per frame, of the first on; read with ``input="mfcc"``.
        deltas: 1 adds the slope of every number, 2 also the slope's slope (Furui 1986; see ``audio_signal.deltas``).
        merge: frames of 10 ms whose mean is one frame of the network.
        seconds: of a sound that are heard at a time, from its beginning.
        hop: seconds from one window of ``seconds`` to the next, until the whole sound is heard, the tokens of all windows
            one after the other; 0 hears the first window only.
        once: of windows that overlap (``hop`` below ``seconds``) keep each moment once, from the window in which it lies
            farther from the ends.
        trim: decibels below the loudest 10 ms at which both ends are cut as silence; 0 cuts nothing.
        augment: hide up to a fifth of the time and of the mel bands in training (Park et al. 2019, arXiv:1904.08779).
        noise: white noise on half of the sounds in training, at a ratio of signal to noise from this many decibels to 20
            more; None adds none.
        shift: seconds by which a sound comes later or earlier at most in training.
        speed: factor by which a sound is faster or slower at most in training, e.g. 1.1 (Ko et al. 2015, Interspeech).
    """

    #: Frames that become one token.
    stride = 1

    def __init__(
        self, *, input: str = "logmel", bands: int = 64, coefficients: int = 20, deltas: int = 0, merge: int = 2,
        seconds: int = 10, hop: float = 0.0, once: bool = False, trim: float = 0.0, augment: bool = True,
        noise: float | None = None,
        shift: float = 0.0, speed: float = 1.0,
    ) -> None:
        super().__init__()
        self.input, self.bands = choice("input", input, ("logmel", "mfcc")), whole("bands", bands)
        self.coefficients, self.deltas = whole("coefficients", coefficients), whole("deltas", deltas, 0)
        self.merge, self.seconds = whole("merge", merge), whole("seconds", seconds)
        self.hop, self.trim = amount("hop", hop), amount("trim", trim)
        self.augment, self.once = bool(augment), bool(once)
        self.noise = None if noise is None else amount("noise", noise)
        self.shift, self.speed = amount("shift", shift), amount("speed", speed, 1.0)
        if self.deltas > 2:
            raise BadOption(f"option 'deltas' is {deltas}; give 0, 1 or 2")
        if self.input == "mfcc" and self.coefficients > self.bands:
            raise BadOption(f"option 'coefficients' is {coefficients}, but {bands} bands have no more than {bands}")
        if self.hop and (self.hop > self.seconds or round(self.hop * HZ) < HOP):
            raise BadOption(f"option 'hop' is {hop}; give 0, or from 0.01 to the {seconds} seconds of a window")
        self.scale: np.ndarray | None = None

    @property
    def columns(self) -> int:
        """Numbers of a frame without its deltas."""
        return self.bands if self.input == "logmel" else self.coefficients

    @property
    def from_waves(self) -> bool:
        """Training changes the waves, so frames cannot be computed before it."""
        return self.noise is not None or self.shift > 0 or self.speed > 1

    def fit(self, values: Sequence[np.ndarray]) -> None:
        with torch.inference_mode():
            frames = [frame for value in values for frame in self._windows(self._wave(value))]
            both = torch.cat(frames) if frames else torch.zeros(1, self.columns * (1 + self.deltas))
            deviation, mean = torch.std_mean(both, 0, correction=0)
            scale = torch.stack([mean, deviation.clamp_min(1e-3)]).numpy()
        self._begin(scale)

    def state(self) -> State:
        return {"scale": self.scale}

    def load(self, state: State) -> None:
        self._begin(np.asarray(state["scale"], np.float32))

    def _begin(self, scale: np.ndarray) -> None:
        self.scale = scale
        self._build(scale.shape[1])

    def _build(self, width: int) -> None:
        """Make the parameters for frames of so many numbers."""
        raise NotImplementedError

    # --- from sound to frames ---

    def _wave(self, value: np.ndarray) -> Tensor:
        """What is heard of a sound: silence cut off, and no more than could be needed."""
        wave = torch.as_tensor(value, dtype=torch.float32)
        if self.trim:
            wave = trimmed(wave, self.trim)
        return wave if self.hop else wave[: round((self.seconds * self.speed + self.shift) * HZ)]

    def _windows(self, wave: Tensor) -> list[Tensor]:
        """(T, F) of each window, ``merge`` frames averaged; the last ones may be fewer."""
        size = self.seconds * HZ
        return [self._frames(wave[i : i + size]) for i in window_starts(len(wave), size, round(self.hop * HZ))]

    def _frames(self, wave: Tensor) -> Tensor:
        fine = log_mel(wave, self.bands)[: 100 * self.seconds]
        if self.input == "mfcc":
            fine = mfcc(fine, self.coefficients)
        parts = [fine]
        for _ in range(self.deltas):
            parts.append(deltas(parts[-1]))
        fine = torch.cat(parts, 1)
        whole = len(fine) - len(fine) % self.merge
        rest = [fine[whole:].mean(0, keepdim=True)] if whole < len(fine) else []
        return torch.cat([fine[:whole].unflatten(0, (-1, self.merge)).mean(1) if whole else fine[:0], *rest])

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            waves = [self._wave(value) for value in values]
            if self.from_waves:
                waves = [wave if len(wave) else torch.zeros(1) for wave in waves]
                return _padded(wave=waves)
            windows = [self._windows(wave) for wave in waves]
            arrays = {"x": [torch.cat(parts) for parts in windows]}
            if self.hop:
                arrays["window"] = [_counted([len(part) for part in parts]) for parts in windows]
            return _padded(**arrays)

    def _changed(self, waves: Sequence[Tensor]) -> list[Tensor]:
        """Waves as training hears them: another speed, another beginning, noise on half of them."""
        drawn = (2 * torch.rand(len(waves), 3) - 1).tolist()
        out = []
        for wave, (speed, shift, noise) in zip(waves, drawn, strict=True):
            wave = shifted(faster(wave, self.speed**speed), round(shift * self.shift * HZ))
            if not self.hop:
                wave = wave[: self.seconds * HZ]
            clean = self.noise is None or noise < 0  # clean sounds will be heard too
            out.append(wave if clean else noisy(wave, self.noise + RANGE * noise))
        return out

    def _heard(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Frames of all windows (N, F), standardised; the record of each window (S,), its number there (N,)."""
        mask_BT = batch["mask"]
        count_B, which_B = mask_BT.sum(1), torch.arange(len(mask_BT), device=mask_BT.device)
        if not self.from_waves:
            x_NF, record_N = batch["x"][mask_BT], which_B.repeat_interleave(count_B)
            return x_NF, record_N, batch["window"][mask_BT] if self.hop else torch.zeros_like(record_N)
        with torch.no_grad():
            waves = list(batch["wave"][mask_BT].split(count_B.tolist()))
            if self.training:
                waves = self._changed(waves)
            frames = [self._windows(wave if self.hop else wave[: self.seconds * HZ]) for wave in waves]
        lengths = torch.tensor([sum(map(len, parts)) for parts in frames], device=mask_BT.device)
        window_N = torch.cat([_counted([len(part) for part in parts]) for parts in frames])
        x_NF = torch.cat([part for parts in frames for part in parts])
        return x_NF, which_B.repeat_interleave(lengths), window_N.to(mask_BT.device)

    # --- from frames to tokens ---

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        x_NF, record_N, window_N = self._heard(batch)
        first_N = torch.ones_like(record_N, dtype=torch.bool)
        first_N[1:] = (record_N[1:] != record_N[:-1]) | (window_N[1:] != window_N[:-1])
        record_S, window_S = record_N[first_N], window_N[first_N]
        mask_ST = _mask(torch.bincount(first_N.cumsum(0) - 1, minlength=len(record_S)))
        mean_F, deviation_F = torch.as_tensor(self.scale, device=x_NF.device)
        x_NF = (x_NF - mean_F) / deviation_F  # zero is the mean
        if self.training and self.augment:
            x_NF = hidden(x_NF, mask_ST, bands=self.bands if self.input == "logmel" else -1)
        x_ND, tokens_S = self._read(x_NF, mask_ST)
        step_N = torch.arange(int(tokens_S.max()), device=x_NF.device).expand(len(tokens_S), -1)[_mask(tokens_S)]
        start_N = (window_S * round(self.hop * HZ)).repeat_interleave(tokens_S) / HZ
        second_N = start_N + (step_N + 0.5) * self.stride * self.merge * HOP / HZ
        tokens_B = torch.bincount(record_S, tokens_S, minlength=len(batch["mask"])).long()
        if self.once and self.hop:
            rows_N = record_S.repeat_interleave(tokens_S)
            ends_S = torch.cat([record_S[1:] != record_S[:-1], torch.ones_like(record_S[:1], dtype=torch.bool)])
            kept_N = once(second_N, start_N, window_S.repeat_interleave(tokens_S) == 0, ends_S.repeat_interleave(tokens_S),
                          self.seconds, self.hop)
            x_ND, second_N = x_ND[kept_N], second_N[kept_N]
            tokens_B = torch.bincount(rows_N[kept_N], minlength=len(batch["mask"]))
        mask_BT = _mask(tokens_B)
        x_BTD = x_ND.new_zeros(*mask_BT.shape, self.dim).index_put((mask_BT,), x_ND)
        place_BT = second_N.new_zeros(mask_BT.shape).index_put((mask_BT,), second_N)
        return Tokens(x_BTD, mask_BT, place=place_BT[..., None])

    def _read(self, x_NF: Tensor, mask_ST: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of all windows one after the other (N', D), and how many each window has (S,)."""
        raise NotImplementedError


def _padded(**rows: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """Rows of different lengths as arrays with a common mask.

    >>> _padded(x=[torch.ones(1), torch.ones(2)])["mask"].tolist()
    [[True, False], [True, True]]
    """
    lengths = [len(row) for row in next(iter(rows.values()))]
    longest = max(lengths, default=1)
    out = {}
    for key, parts in rows.items():
        like = parts[0] if parts else torch.zeros(0)
        out[key] = np.zeros((len(parts), longest, *like.shape[1:]), like.numpy().dtype)
        for i, part in enumerate(parts):
            out[key][i, : len(part)] = part.numpy()
    return {**out, "mask": np.arange(longest) < np.array(lengths, int)[:, None]}


def _counted(lengths: Sequence[int]) -> Tensor:
    """The number of each part, as often as it is long.

    >>> _counted([2, 1]).tolist()
    [0, 0, 1]
    """
    return torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))


def _mask(lengths: Tensor) -> Tensor:
    """True at the first so many of each row."""
    return torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]


def _spread(x_NF: Tensor, mask_ST: Tensor) -> Tensor:
    """Rows one after the other -> (S, T, F), zeros at masked positions."""
    return x_NF.new_zeros(*mask_ST.shape, *x_NF.shape[1:]).index_put((mask_ST,), x_NF)


class FrameNorm(nn.BatchNorm1d):
    """Batch norm of frames (N, C), which also bears a batch of one: it takes the running statistics.

    Ioffe and Szegedy 2015, arXiv:1502.03167, alg. 1.
    """

    def forward(self, x_NC: Tensor) -> Tensor:
        if len(x_NC) > 1:
            return super().forward(x_NC)
        return F.batch_norm(x_NC, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


@encoders("audio.cnn")
class Cnn(Hearing):
    """Convolutions over the time of log-mel, trained from scratch; one token for each 160 ms by default.

    Source: bands are the channels, as in Waibel et al. 1989 (time-delay networks). Each block: y_t = W [x_(t-k) ... x_(t+k)]
    (5 frames wide, then 3), the larger of two neighbours, batch norm (Ioffe and Szegedy 2015, arXiv:1502.03167), ReLU. The
    sounds of a batch lie end to end with silence between, so nothing is padded to the longest and none hears another.

    Wins where short patterns tell and their order over seconds does not: timbres, calls, single words of many voices;
    the cheapest of the trained ones. Loses to ``audio.rnn`` and ``audio.crnn`` where the order of parts decides.
    Costs O(T K C^2) per record and K M C_1 + sum 3 C_i C_(i+1) parameters.

    Args:
        widths: channels of each block; the last one is the width D of a token.

    forward: {"x": (B, T, F), "mask": (B, T)} -> (B, T / 2 ** blocks, D), place in seconds
    """

    def __init__(self, *, widths: Sequence[int] = (64, 96, 128), **hearing: object) -> None:
        super().__init__(**hearing)
        self.widths = several("widths", widths)
        self.dim, self.stride = self.widths[-1], 2 ** len(self.widths)

    def _build(self, width: int) -> None:
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for before, after in zip((width, *self.widths), self.widths, strict=False):
            size = 3 if self.convolutions else 5
            # no bias: batch norm would take it away again
            self.convolutions.append(nn.Linear(size * before, after, bias=False))
            self.norms.append(FrameNorm(after))
        self.last = nn.Linear(self.dim, self.dim)

    def _read(self, x_NF: Tensor, mask_ST: Tensor) -> tuple[Tensor, Tensor]:
        x_NC, unit = x_NF, self.stride
        # the strip of L frames: every window begins at a whole token and is followed by an empty one at
        # least, wider at every block than a convolution reaches
        tokens_S = (mask_ST.sum(1) + unit - 1) // unit
        end_S = (tokens_S + 1).cumsum(0) * unit
        start_S = end_S - (tokens_S + 1) * unit
        place_N = (start_S[:, None] + torch.arange(mask_ST.shape[1], device=mask_ST.device))[mask_ST]
        real_L = torch.zeros(int(end_S[-1]), dtype=torch.bool, device=mask_ST.device).index_fill(0, place_N, True)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x_LC = x_NC.new_zeros(len(real_L), x_NC.shape[1]).index_put((real_L,), x_NC)
            # a product, because every batch has another L and conv1d would compile its kernels for each
            x_LC = convolution(_beside(x_LC, convolution.in_features // x_LC.shape[1]))
            x_LC = torch.maximum(x_LC[0::2], x_LC[1::2])
            real_L = real_L[0::2] | real_L[1::2]
            x_NC = norm(x_LC[real_L]).relu()
        return self.last(x_NC).relu(), tokens_S


def _beside(x_LC: Tensor, size: int) -> Tensor:
    """Every frame with its neighbours (L, size * C), zeros beyond both ends.

    >>> _beside(torch.tensor([[1.0], [2.0]]), 3).tolist()
    [[0.0, 1.0, 2.0], [1.0, 2.0, 0.0]]
    """
    room = F.pad(x_LC, (0, 0, size // 2, size // 2))
    return torch.cat([room[i : i + len(x_LC)] for i in range(size)], 1)


@encoders("audio.rnn")
class Rnn(Hearing):
    """A recurrent network over the frames of a sound: plain tanh, LSTM or GRU; one token for each 40 ms by default.

    Source: Graves et al. 2013, arXiv:1303.5778, section 2 (eq. 3 to 7 for the LSTM; both directions, eq. 8 to 10):
    h_t = cell(x_t, h_(t-1)), token = [forward h_t, backward h_t]. Each window begins anew.

    Wins where the order of sounds decides (what is said, a rising against a falling tone) and sounds are short.
    Loses on many or long sounds: its steps follow one another; a training step takes three times that of ``audio.cnn``.
    Costs O(T D (F + D)) per record, in T steps that cannot be done at once; parameters per layer: gates (D F + D^2 / 2 + 2 D)
    with both directions, gates = 1 for tanh, 3 for GRU, 4 for LSTM.

    Args:
        cell: "tanh", "lstm" or "gru".
        width: D, of both directions together.
        layers: networks on top of each other.
        both: read from the end too.
        dropout: share of the numbers dropped between two layers.
        merge: frames of 10 ms whose mean is one frame of the network.

    forward: {"x": (B, T, F), "mask": (B, T)} -> (B, T, D), place in seconds
    """

    def __init__(
        self, *, cell: str = "lstm", width: int = 128, layers: int = 1, both: bool = True, dropout: float = 0.0,
        merge: int = 4, **hearing: object,
    ) -> None:
        super().__init__(merge=merge, **hearing)
        self.cell, self.width, self.layers = choice("cell", cell, CELLS), whole("width", width), whole("layers", layers)
        self.both, self.dropout = bool(both), share("dropout", dropout)
        if self.both and self.width % 2:
            raise BadOption(f"option 'width' is {width}; give an even number for two directions, or both=false")
        self.dim = self.width

    def _build(self, width: int) -> None:
        self.recurrent = Recurrent(
            width, self.width, cell=self.cell, layers=self.layers, both=self.both, dropout=self.dropout
        )

    def _read(self, x_NF: Tensor, mask_ST: Tensor) -> tuple[Tensor, Tensor]:
        return self.recurrent(_spread(x_NF, mask_ST), mask_ST)[mask_ST], mask_ST.sum(1)


@encoders("audio.crnn")
class Crnn(Hearing):
    """Convolutions over time and bands, then a recurrent network; one token for each 40 ms by default.

    Source: Cakir et al. 2017, arXiv:1702.06286, section III. Blocks of 3x3 convolution over (time, band), the largest of
    four neighbouring bands, batch norm, ReLU; time keeps its length. The channels of the bands that are left, side by side,
    are the x_t of h_t = cell(x_t, h_(t-1)). Deltas are further input channels.

    Wins on events in time against a background, where a pattern may sit higher or lower in pitch. Loses in speed: a
    training step takes six times that of ``audio.cnn``.
    Costs O(9 T M C_i C_(i+1) / 4^i) per record and block, then as ``audio.rnn``; 9 C_i C_(i+1) parameters a block.

    Args:
        widths: channels of each block of convolutions.
        cell: "tanh", "lstm" or "gru".
        width: D, of both directions together.
        both: read from the end too.
        merge: frames of 10 ms whose mean is one frame of the network.

    forward: {"x": (B, T, F), "mask": (B, T)} -> (B, T, D), place in seconds
    """

    #: Neighbouring bands that become one, per block.
    pool = 4

    def __init__(
        self, *, widths: Sequence[int] = (32, 64), cell: str = "gru", width: int = 128, both: bool = True, merge: int = 4,
        **hearing: object,
    ) -> None:
        super().__init__(merge=merge, **hearing)
        self.widths, self.cell, self.width = several("widths", widths), choice("cell", cell, CELLS), whole("width", width)
        self.both = bool(both)
        if self.both and self.width % 2:
            raise BadOption(f"option 'width' is {width}; give an even number for two directions, or both=false")
        self.dim = self.width

    def _build(self, width: int) -> None:
        self.convolutions, self.norms, bands = nn.ModuleList(), nn.ModuleList(), self.columns
        for before, after in zip((1 + self.deltas, *self.widths), self.widths, strict=False):
            self.convolutions.append(nn.Conv2d(before, after, 3, padding=1, bias=False))
            self.norms.append(FrameNorm(after))
            bands = -(-bands // self.pool)
        self.recurrent = Recurrent(self.widths[-1] * bands, self.width, cell=self.cell, both=self.both)

    def _read(self, x_NF: Tensor, mask_ST: Tensor) -> tuple[Tensor, Tensor]:
        x_NMC = x_NF.unflatten(1, (1 + self.deltas, -1)).transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x_SCTM = convolution(_spread(x_NMC, mask_ST).permute(0, 3, 1, 2))
            x_SCTM = F.max_pool2d(x_SCTM, (1, self.pool), ceil_mode=True)
            x_NMC = x_SCTM.permute(0, 2, 3, 1)[mask_ST]
            x_NMC = norm(x_NMC.flatten(0, 1)).relu().unflatten(0, x_NMC.shape[:2])
        return self.recurrent(_spread(x_NMC.flatten(1), mask_ST), mask_ST)[mask_ST], mask_ST.sum(1)


@encoders("audio.transformer")
class Transformer(Hearing):
    """A transformer over patches of a log-mel spectrogram, trained from scratch; one token for each 80 ms by default.

    Source: Gong et al. 2021, arXiv:2104.01778, section 2.1, but patches span all bands and begin one after the other:
    z_p = W [x_(pP) ... x_(pP+P-1)] + b + position_p, then blocks of attention and feed-forward as in Vaswani et al. 2017,
    arXiv:1706.03762, and a layer norm. A patch that the sound's end cuts short is filled with the mean frame.

    Wins with many records (tens of thousands), or where far parts of a sound must be compared. Loses to the others on
    few records: it must learn from them what neighbouring frames are.
    Costs O(depth (T^2 D / P^2 + 8 T D^2 / P)) per record; P F D + depth 8 D^2 parameters.

    Args:
        width: D, a multiple of ``heads``.
        depth: blocks.
        heads: of the attention.
        patch: frames P that make one token.
        dropout: share of the numbers dropped in each block.

    forward: {"x": (B, T, F), "mask": (B, T)} -> (B, T / patch, D), place in seconds
    """

    def __init__(
        self, *, width: int = 128, depth: int = 3, heads: int = 4, patch: int = 4, dropout: float = 0.1, **hearing: object
    ) -> None:
        super().__init__(**hearing)
        self.width, self.depth, self.heads = whole("width", width), whole("depth", depth), whole("heads", heads)
        self.patch, self.dropout = whole("patch", patch), share("dropout", dropout)
        if self.width % self.heads:
            raise BadOption(f"option 'width' is {width}; give a multiple of the {heads} heads")
        self.dim, self.stride = self.width, self.patch

    def _build(self, width: int) -> None:
        self.first = nn.Linear(self.patch * width, self.dim)
        self.blocks = nn.ModuleList(Block(self.dim, self.heads, self.dropout) for _ in range(self.depth))
        self.norm = nn.LayerNorm(self.dim)

    def _read(self, x_NF: Tensor, mask_ST: Tensor) -> tuple[Tensor, Tensor]:
        tokens_S = (mask_ST.sum(1) + self.patch - 1) // self.patch
        mask_SP = _mask(tokens_S)
        mask_ST = F.pad(mask_ST, (0, mask_SP.shape[1] * self.patch - mask_ST.shape[1]))
        x_SPD = self.first(_spread(x_NF, mask_ST).unflatten(1, (-1, self.patch)).flatten(2))
        x_SPD = x_SPD + positions(x_SPD.shape[1], self.dim).to(x_SPD)
        for block in self.blocks:
            x_SPD = block(x_SPD, mask_SP)
        return self.norm(x_SPD)[mask_SP], tokens_S

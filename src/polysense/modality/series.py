"""Series: samples of sensors, biosignals, prices, with gaps and at uneven times.

A value is a ``data.series.Series``: x (T, C) float64 with NaN where a sample is missing, and seconds (T,) or None.
Letters: B records, T samples or positions, C channels, I inputs of a network at each sample, D width of a token,
P numbers of the plain features. A *step* is the usual time between two samples of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Batch, Encoder, Modality, Plain, State
from ..data.series import Series
from ..errors import BadOption, NotFitted
from ..layers import CELLS, Block, Drop, Recurrent
from ..registry import encoders, modalities
from ..tokens import Tokens
from . import choice, several, share, whole

#: Deviations from the mean at which a sample is held.
FARTHEST = 50.0

# --- what training records are like --------------------------------------------------------------------


class Usual:
    """What is usual in training: mean and deviation of every channel, and the time between two samples.

    Args:
        values: training records.

    >>> usual = Usual.of([Series(np.array([[1.0], [3.0], [np.nan]]), np.array([0.0, 0.5, 1.0]))])
    >>> usual.mean.tolist(), usual.deviation.tolist(), usual.step
    ([2.0], [1.0], 0.5)
    """

    def __init__(self, mean: np.ndarray, deviation: np.ndarray, step: float) -> None:
        self.mean, self.deviation, self.step = mean, deviation, step

    @classmethod
    def of(cls, values: Sequence[Series]) -> Usual:
        both = np.concatenate([value.x for value in values]) if len(values) else np.zeros((1, 1))
        there = ~np.isnan(both)
        filled = np.where(there, both, 0)
        size = np.abs(filled).max(0)
        size = np.where(size > 0, size, 1.0)  # by size first: squares of 1e200 overflow
        count, filled = np.maximum(1, there.sum(0)), filled / size
        mean = filled.sum(0) / count
        spread = np.sqrt((np.where(there, filled - mean, 0) ** 2).sum(0) / count)
        spread = np.where(spread > 1e-9, spread, 1.0)  # a constant channel's is rounding error: its size stands for it
        steps = [np.median(np.diff(value.seconds)) for value in values if value.seconds is not None and len(value.seconds) > 1]
        step = float(np.median(steps)) if steps else 1.0
        return cls(mean * size, spread * size, step if step > 0 else 1.0)

    def state(self) -> State:
        return {"mean": self.mean, "deviation": self.deviation, "step": self.step}

    @classmethod
    def again(cls, state: State) -> Usual:
        """Undo ``state``."""
        return cls(np.asarray(state["mean"], np.float64), np.asarray(state["deviation"], np.float64), float(state["step"]))

    def samples(self, value: Series) -> np.ndarray:
        """(T, C): deviations from the mean, within +-50; NaN where missing."""
        with np.errstate(over="ignore"):
            return np.clip(value.x / self.deviation - self.mean / self.deviation, -FARTHEST, FARTHEST)

    def steps(self, value: Series) -> np.ndarray:
        """(T,): when the samples were taken, in steps after the first; their index where no one said."""
        return np.arange(len(value.x), dtype=np.float64) if value.seconds is None else value.seconds / self.step


# --- plain features --------------------------------------------------------------------------------------

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
LAGS = (1, 2, 4, 8)
BANDS, STRETCHES = 8, 8
#: Channels that are compared with each other: the first ones.
PAIRED = 12
#: Numbers of a channel: 4 + 5 quantiles + 5 + 4 lags + 8 bands + 8 stretches; numbers of the record as a whole.
OF_CHANNEL, OF_RECORD = 14 + len(LAGS) + BANDS + STRETCHES, 4


class SeriesPlain(Plain):
    """Numbers that describe each channel: its level, spread, quantiles, trend, roughness, rhythm and shape.

    Of every channel, in deviations from its training mean and over the samples that are there: mean, deviation,
    smallest, largest; quantiles 10, 25, 50, 75, 90 %; change along the fitted line from first to last; share that is
    missing; mean step between neighbours; crossings of its mean per step; longest stretch above the mean, as a share;
    autocorrelation after 1, 2, 4 and 8 steps; share of its energy in 8 octaves from the highest frequency downwards;
    mean of 8 stretches of equal duration. Of the record: logarithms of its samples, of its duration in steps, of
    the mean time between samples and of the latter's spread. And the correlation of each two of the first 12 channels.
    Gaps are bridged by straight lines where neighbours matter; frequencies and lags are in time, not in samples.

    The kinds of features are those found to carry most in catch22 (Lubba et al. 2019, arXiv:1901.10200) and tsfresh
    (Christ et al. 2018, Neurocomputing 307), the stretches are Keogh's (2001, piecewise aggregate approximation).

    >>> plain = SeriesPlain(); plain.fit([Series(np.arange(8.0)[:, None])])
    >>> plain.transform([Series(np.ones((5, 1)))]).shape
    (1, 38)
    """

    cached = True

    def __init__(self) -> None:
        self.usual: Usual | None = None

    def fit(self, values: Sequence[Series]) -> None:
        self.usual = Usual.of(values)

    def state(self) -> State:
        return {} if self.usual is None else self.usual.state()

    def load(self, state: State) -> None:
        self.usual = Usual.again(state)

    @property
    def width(self) -> int:
        """P."""
        channels = len(self.usual.mean)
        paired = min(channels, PAIRED)
        return OF_CHANNEL * channels + OF_RECORD + paired * (paired - 1) // 2

    def transform(self, values: Sequence[Series]) -> np.ndarray:
        if self.usual is None:
            raise NotFitted("the plain features of series have not been fitted; call fit or load first")
        found = [described(self.usual.samples(value), self.usual.steps(value)) for value in values]
        return np.array(found, np.float32).reshape(len(values), self.width)


def described(x_TC: np.ndarray, at_T: np.ndarray) -> np.ndarray:
    """(P,): the plain features of one record.

    Args:
        x_TC: deviations from the training mean, NaN where missing.
        at_T: when, in steps, never falling.
    """
    length, channels = x_TC.shape
    there_TC = ~np.isnan(x_TC)
    count_C = there_TC.sum(0)
    whole_TC = bridged(x_TC, at_T)
    even_TC, step = evenly(whole_TC, at_T)
    mean_C = np.where(there_TC, x_TC, 0).sum(0) / np.maximum(1, count_C)
    deviation_C = np.sqrt((np.where(there_TC, x_TC - mean_C, 0) ** 2).sum(0) / np.maximum(1, count_C))
    duration = at_T[-1] - at_T[0]
    above_TC = whole_TC > mean_C
    per_step = 1 / max(1.0, duration)
    rows = [
        mean_C, deviation_C, *quantiles(x_TC, (0.0, 1.0)), *quantiles(x_TC, QUANTILES),
        _slope(x_TC, there_TC, at_T) * duration, 1 - count_C / length,
        np.abs(np.diff(even_TC, axis=0)).mean(0) if length > 1 else np.zeros(channels),
        (above_TC[1:] != above_TC[:-1]).sum(0) * per_step, longest(above_TC) / length,
        *autocorrelations(even_TC, step), *octaves(even_TC, step), *stretches(even_TC),
    ]
    gaps = np.diff(at_T) if length > 1 else np.ones(1)
    record = [np.log(length), np.log1p(duration), np.log1p(gaps.mean()), np.log1p(gaps.std())]
    return np.concatenate([np.stack(rows, 1).ravel(), record, _correlations(whole_TC[:, :PAIRED])])


def bridged(x_TC: np.ndarray, at_T: np.ndarray) -> np.ndarray:
    """(T, C) without gaps: straight lines between neighbours in time, the nearest sample at the ends, 0 if there is none.

    >>> bridged(np.array([[np.nan], [1.0], [np.nan], [4.0]]), np.array([0.0, 1.0, 2.0, 4.0])).ravel().tolist()
    [1.0, 1.0, 2.0, 4.0]
    """
    if not np.isnan(x_TC).any():
        return x_TC
    whole_TC = np.zeros_like(x_TC)
    for channel, x_T in enumerate(x_TC.T):
        there_T = ~np.isnan(x_T)
        if there_T.any():
            whole_TC[:, channel] = np.interp(at_T, at_T[there_T], x_T[there_T])
    return whole_TC


def evenly(x_TC: np.ndarray, at_T: np.ndarray) -> tuple[np.ndarray, float]:
    """The same number of samples at even times, and the time between them, which is never 0."""
    length, duration = len(at_T), at_T[-1] - at_T[0]
    if length < 2 or duration <= 0:
        return x_TC, 1.0
    step = duration / (length - 1)
    even_T = at_T[0] + step * np.arange(length)
    if np.allclose(even_T, at_T, rtol=0, atol=1e-9 * duration):
        return x_TC, step
    return np.stack([np.interp(even_T, at_T, x_T) for x_T in x_TC.T], 1), step


def quantiles(x_TC: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """(shares, C) over the samples that are there, linear between two of them; 0 where there is none.

    >>> quantiles(np.array([[3.0], [np.nan], [1.0]]), (0.0, 0.25, 1.0)).ravel().tolist()
    [1.0, 1.5, 3.0]
    """
    sorted_TC = np.sort(x_TC, 0)  # NaN comes last
    last_C = np.maximum(0, (~np.isnan(x_TC)).sum(0) - 1)
    place_QC = np.array(shares)[:, None] * last_C
    below_QC = place_QC.astype(int)
    low, high = (np.take_along_axis(sorted_TC, np.minimum(i, last_C), 0) for i in (below_QC, below_QC + 1))
    return np.nan_to_num(low + (place_QC - below_QC) * (high - low))


def _slope(x_TC: np.ndarray, there_TC: np.ndarray, at_T: np.ndarray) -> np.ndarray:
    """(C,): least squares, per step; 0 where fewer than two moments are there."""
    count_C = np.maximum(1, there_TC.sum(0))
    at_TC = np.where(there_TC, at_T[:, None], 0)
    apart_TC = np.where(there_TC, at_TC - at_TC.sum(0) / count_C, 0)
    square_C = (apart_TC**2).sum(0)
    return np.where(square_C > 0, (apart_TC * np.where(there_TC, x_TC, 0)).sum(0) / np.where(square_C > 0, square_C, 1), 0)


def longest(true_TC: np.ndarray) -> np.ndarray:
    """(C,): the longest run of truth.

    >>> longest(np.array([[True], [False], [True], [True]])).tolist()
    [2]
    """
    since_TC = np.cumsum(true_TC, 0)
    reset_TC = np.maximum.accumulate(np.where(true_TC, 0, since_TC), 0)
    return (since_TC - reset_TC).max(0)


def autocorrelations(x_TC: np.ndarray, step: float) -> np.ndarray:
    """(lags, C): correlation with itself 1, 2, 4 and 8 steps of training later; 0 where the record is too short.

    Args:
        x_TC: at even times.
        step: between two samples, in steps of training.
    """
    apart_TC = x_TC - x_TC.mean(0)
    square_C = (apart_TC**2).sum(0)
    found = np.zeros((len(LAGS), x_TC.shape[1]))
    for row, lag in enumerate(LAGS):
        shift = max(1, round(lag / step))
        if shift < len(x_TC):
            product_C = (apart_TC[shift:] * apart_TC[:-shift]).sum(0)
            found[row] = np.where(square_C > 1e-12, product_C / np.where(square_C > 1e-12, square_C, 1), 0)
    return found


def octaves(x_TC: np.ndarray, step: float) -> np.ndarray:
    """(bands, C): share of the energy at f_top / 2^(k+1) < f <= f_top / 2^k, f_top being half a cycle a step.

    Frequencies above belong to the first band, those below the last one to the last. The mean is taken away before.

    Args:
        x_TC: at even times.
        step: between two samples, in steps of training.
    """
    power_FC = np.abs(np.fft.rfft(x_TC - x_TC.mean(0), axis=0))[1:] ** 2
    found = np.zeros((BANDS, x_TC.shape[1]))
    if len(power_FC):
        frequency_F = np.arange(1, len(power_FC) + 1) / (len(x_TC) * step)
        # a little more than nothing, so that rounding does not move a frequency that lies on an edge
        band_F = np.clip(np.floor(np.log2(0.5 / frequency_F) + 1e-9), 0, BANDS - 1).astype(int)
        np.add.at(found, band_F, power_FC)
    total_C = found.sum(0)
    return np.where(total_C > 1e-12, found / np.where(total_C > 1e-12, total_C, 1), 0)


def stretches(x_TC: np.ndarray) -> np.ndarray:
    """(stretches, C): means of 8 parts of equal duration; of a shorter record, the samples nearest to them.

    >>> stretches(np.arange(16.0)[:, None]).ravel().tolist()
    [0.5, 2.5, 4.5, 6.5, 8.5, 10.5, 12.5, 14.5]
    """
    edges = np.linspace(0, len(x_TC), STRETCHES + 1)
    starts = np.minimum(edges[:-1].astype(int), len(x_TC) - 1)
    ends = np.maximum(np.ceil(edges[1:] - 1e-9).astype(int), starts + 1)
    total_TC = np.concatenate([np.zeros((1, x_TC.shape[1])), np.cumsum(x_TC, 0)])
    return (total_TC[ends] - total_TC[starts]) / (ends - starts)[:, None]


def _correlations(x_TC: np.ndarray) -> np.ndarray:
    """Of each two channels; 0 where one is constant."""
    apart_TC = x_TC - x_TC.mean(0)
    size_C = np.sqrt((apart_TC**2).sum(0))
    unit_TC = apart_TC / np.where(size_C > 1e-9, size_C, np.inf)
    return (unit_TC.T @ unit_TC)[np.triu_indices(x_TC.shape[1], 1)]


@modalities("series")
class SeriesModality(Modality):
    """Samples over time: sensors, biosignals, prices."""

    kinds = ("series",)
    plain = SeriesPlain
    small = "series.plain"
    large = "series.tcn"


# --- encoders --------------------------------------------------------------------------------------------


@encoders("series.plain")
class PlainSeries(Encoder):
    """Numbers that describe each channel, as one token: what the plain rivals read too.

    Source: kinds of features after Lubba et al. 2019 (catch22, arXiv:1901.10200) and Keogh et al. 2001; x = 35 numbers of
    each channel, 4 of the record and the correlations of channels: see ``SeriesPlain``.

    Wins on few records, and where level, spread or rhythm tell the classes apart; loses to the trained encoders where
    the order of events does. Costs O(C T log T) operations per record, once, and no parameters.

    forward: {"x": (B, P)} -> (B, 1, P)
    """

    frozen = True
    cached = True
    read_by_rivals = True

    def __init__(self) -> None:
        super().__init__()
        self.plain = SeriesPlain()

    def fit(self, values: Sequence[Series]) -> None:
        self.plain.fit(values)
        self.dim = self.plain.width

    def state(self) -> State:
        return self.plain.state()

    def load(self, state: State) -> None:
        self.plain.load(state)
        self.dim = self.plain.width

    def prepare(self, values: Sequence[Any]) -> dict[str, np.ndarray]:
        return {"x": self.plain.transform(values)}

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        return Tokens.single(batch["x"])


class Trained(Encoder):
    """What the trained encoders of series share: standardised samples, where they are missing, and how long ago.

    Args:
        samples: most samples that are read; of a longer record neighbours are averaged.
        time: read the time stamps; else all samples count as one step apart.
    """

    def __init__(self, *, samples: int = 1000, time: bool = True) -> None:
        super().__init__()
        self.samples, self.time = whole("samples", samples), bool(time)
        self.usual: Usual | None = None

    def fit(self, values: Sequence[Series]) -> None:
        self._begin(Usual.of(values))

    def state(self) -> State:
        return {} if self.usual is None else self.usual.state()

    def load(self, state: State) -> None:
        self._begin(Usual.again(state))

    def _begin(self, usual: Usual) -> None:
        self.usual, self.inputs = usual, Inputs(len(usual.mean))
        self._build(self.inputs.width)

    def _build(self, width_in: int) -> None:
        """Make the layers above the inputs, and state ``dim``."""
        raise NotImplementedError

    def prepare(self, values: Sequence[Series]) -> dict[str, np.ndarray]:
        """``x`` (B, T, C) the last known deviation, ``seen`` (B, T, C) bool, ``gap`` (B, T, C) steps since a sample was
        seen before, ``at`` (B, T) steps since the first, ``mask`` (B, T)."""
        if self.usual is None:
            raise NotFitted(f"encoder '{self.name}' has not been fitted; call fit or load first")
        parts = [self._one(value) for value in values]
        longest = max((len(part["at"]) for part in parts), default=1)
        shape = (len(parts), longest, len(self.usual.mean))
        out = {
            "x": np.zeros(shape, np.float32), "seen": np.zeros(shape, bool), "gap": np.zeros(shape, np.float32),
            "at": np.zeros(shape[:2], np.float32), "mask": np.zeros(shape[:2], bool),
        }
        for i, part in enumerate(parts):
            for key, array in part.items():
                out[key][i, : len(array)] = array
            out["mask"][i, : len(part["at"])] = True
        return out

    def _one(self, value: Series) -> dict[str, np.ndarray]:
        at_T = self.usual.steps(value if self.time else Series(value.x))
        x_TC, at_T = thinned(self.usual.samples(value), at_T, self.samples)
        x_TC, seen_TC, gap_TC = remembered(x_TC, at_T)
        return {"x": x_TC, "seen": seen_TC, "gap": gap_TC, "at": at_T}

    def _tokens(self, x_BTD: Tensor, batch: Batch, merge: int) -> Tokens:
        """Tokens of ``merge`` neighbouring samples each."""
        at_BT = torch.where(batch["mask"], batch["at"], 0.0)[..., None]
        x_BTD, mask_BT = merged(x_BTD, batch["mask"], merge)
        return Tokens(x_BTD, mask_BT, place=merged(at_BT, batch["mask"], merge)[0] * self.usual.step)


def thinned(x_TC: np.ndarray, at_T: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """At most so many samples: means of neighbours, over what is there.

    >>> x, at = thinned(np.array([[1.0], [np.nan], [3.0], [5.0], [7.0]]), np.arange(5.0), 3)
    >>> x.ravel().tolist(), at.tolist()
    ([1.0, 4.0, 7.0], [0.5, 2.5, 4.0])
    """
    size = -(-len(x_TC) // most)
    if size == 1:
        return x_TC, at_T
    starts = np.arange(0, len(x_TC), size)
    there_TC = ~np.isnan(x_TC)
    count_TC = np.add.reduceat(there_TC, starts, dtype=np.int64)
    total_TC = np.add.reduceat(np.where(there_TC, x_TC, 0), starts)
    means = np.where(count_TC > 0, total_TC / np.maximum(1, count_TC), np.nan)
    return means, np.add.reduceat(at_T, starts) / np.diff([*starts, len(x_TC)])


def remembered(x_TC: np.ndarray, at_T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The last known sample (0 before the first), which are seen, and the time since one was seen before.

    The time is delta of Che et al. 2018, arXiv:1606.01865, eq. 1; before any was seen it counts from the beginning.

    >>> remembered(np.array([[np.nan], [1.0], [np.nan], [2.0]]), np.array([0.0, 1.0, 3.0, 4.0]))[0].ravel().tolist()
    [0.0, 1.0, 1.0, 2.0]
    >>> remembered(np.array([[np.nan], [1.0], [np.nan], [2.0]]), np.array([0.0, 1.0, 3.0, 4.0]))[2].ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    seen_TC = ~np.isnan(x_TC)
    last_TC = np.maximum.accumulate(np.where(seen_TC, np.arange(len(x_TC))[:, None], -1), 0)
    known_TC = np.where(last_TC >= 0, np.take_along_axis(x_TC, np.maximum(last_TC, 0), 0), 0)
    before_TC = np.concatenate([np.full((1, x_TC.shape[1]), -1), last_TC[:-1]])
    return known_TC, seen_TC, at_T[:, None] - at_T[np.maximum(before_TC, 0)]


def merged(x_BTD: Tensor, mask_BT: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Means of ``size`` neighbouring real positions, and which of them are real.

    >>> merged(torch.tensor([[[1.0], [3.0], [5.0]]]), torch.tensor([[True, True, True]]), 2)[0].ravel().tolist()
    [2.0, 5.0]
    """
    room = -x_BTD.shape[1] % size
    mask_BNS = F.pad(mask_BT, (0, room)).unflatten(1, (-1, size))
    x_BNSD = F.pad(x_BTD, (0, 0, 0, room)).unflatten(1, (-1, size))
    x_BNSD = torch.where(mask_BNS[..., None], x_BNSD, 0.0)
    return x_BNSD.sum(2) / mask_BNS.sum(2).clamp_min(1)[..., None], mask_BNS.any(2)


class Inputs(nn.Module):
    """Samples, whether they are seen, and how long ago one was seen before.

    Che et al. 2018 (GRU-D), arXiv:1606.01865, sections 2.2 and 2.3: a missing sample is the last known one, faded
    towards the mean with learned speed, x = m x + (1 - m) e^(-w d) x_last; the network also reads m and d. Here
    w = log(1 + e^v) for the paper's max(0, w d + b), and log(1 + d) - log 2 for d, which is 0 at the usual step.

    Args:
        channels: C.

    forward: the tensors of ``Trained.prepare`` -> (B, T, 3 C), zeros at masked positions
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = 3 * channels
        self.fade_C = nn.Parameter(torch.full((channels,), -2.0))

    def forward(self, batch: Batch) -> Tensor:
        mask_BT1 = batch["mask"][..., None]
        x_BTC, gap_BTC = (torch.where(mask_BT1, batch[key], 0.0) for key in ("x", "gap"))
        seen_BTC = batch["seen"] & mask_BT1
        x_BTC = torch.where(seen_BTC, x_BTC, x_BTC * torch.exp(-F.softplus(self.fade_C) * gap_BTC))
        since_BTC = torch.where(mask_BT1, gap_BTC.log1p() - log(2), 0.0)
        return torch.cat([x_BTC, seen_BTC.to(x_BTC.dtype), since_BTC], 2)


class Dilated(nn.Module):
    """A convolution over time whose ``size`` samples stand ``dilation`` apart, with its weights' length apart.

    y_t = sum_j W_j x_(t + j dilation), every row of W being g v / |v| (Salimans and Kingma 2016, arXiv:1602.07868).

    Args:
        before, after: channels.
        size: samples read at once.
        dilation: samples between two of them.
        both: read later samples as well as earlier ones.

    forward: (B, T, before), zero at masked positions -> (B, T, after)
    """

    def __init__(self, before: int, after: int, size: int, dilation: int, both: bool) -> None:
        super().__init__()
        self.dilation, self.size = dilation, size
        self.later = (size - 1) // 2 * dilation if both else 0
        self.weigh = nn.utils.parametrizations.weight_norm(nn.Linear(size * before, after))

    def forward(self, x_BTC: Tensor) -> Tensor:
        length = x_BTC.shape[1]
        room = F.pad(x_BTC, (0, 0, (self.size - 1) * self.dilation - self.later, self.later))
        # a product, because every batch has another T and conv1d would compile its kernels for each
        return self.weigh(torch.cat([room[:, j * self.dilation : j * self.dilation + length] for j in range(self.size)], 2))


class Residual(nn.Module):
    """Two dilated convolutions with ReLU and dropout, and the way around them (Bai et al. 2018, figure 1b)."""

    def __init__(self, before: int, after: int, size: int, dilation: int, both: bool, dropout: float) -> None:
        super().__init__()
        self.first, self.second = Dilated(before, after, size, dilation, both), Dilated(after, after, size, dilation, both)
        self.around = nn.Linear(before, after) if before != after else nn.Identity()
        self.drop = Drop(dropout)

    def forward(self, x_BTC: Tensor, mask_BT1: Tensor) -> Tensor:
        y_BTC = self.drop(self.first(x_BTC).relu()) * mask_BT1
        y_BTC = self.drop(self.second(y_BTC).relu())
        return (y_BTC + self.around(x_BTC)).relu() * mask_BT1


@encoders("series.tcn")
class Tcn(Trained):
    """Dilated residual convolutions over samples, gaps and times, trained from scratch.

    Source: Bai et al. 2018 (temporal convolutional network), arXiv:1803.01271, section 3: blocks of two convolutions
    y_t = sum_j W_j x_(t + j d) with d = 1, 2, 4, ...; here the mean of ``merge`` samples is a token, and inputs are those
    of GRU-D (Che et al. 2018, arXiv:1606.01865): the samples, which are missing, and the time since the last.

    Wins where patterns of some dozen samples tell the classes apart, wherever they stand; loses where the order of
    far things counts (reach: 1 + 2 (size - 1) (2^blocks - 1) samples), and where records are fewer than some hundred.
    Costs O(T size D^2) operations per block and record, and 2 size D^2 numbers per block.

    Args:
        widths: channels of each block; the last one is the width D of a token.
        size: samples that a convolution reads at once.
        both: read later samples too; else only earlier ones, as in the paper.
        dropout: share of the numbers dropped in each convolution.
        merge: neighbouring samples whose mean is one token.

    forward: ``x``, ``seen``, ``gap`` (B, T, C), ``at``, ``mask`` (B, T) -> (B, T / merge, D), place in seconds
    """

    def __init__(
        self, *, widths: Sequence[int] = (64, 64, 64, 64), size: int = 3, both: bool = True, dropout: float = 0.1,
        merge: int = 4, **more: Any,
    ) -> None:
        super().__init__(**more)
        self.widths, self.size, self.both = several("widths", widths), whole("size", size), bool(both)
        self.dropout, self.merge = share("dropout", dropout), whole("merge", merge)
        self.dim = self.widths[-1]

    def _build(self, width_in: int) -> None:
        widths = (width_in, *self.widths)
        self.blocks = nn.ModuleList(
            Residual(widths[i], widths[i + 1], self.size, 2**i, self.both, self.dropout) for i in range(len(self.widths))
        )

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        x_BTD, mask_BT1 = self.inputs(batch), batch["mask"][..., None]
        for block in self.blocks:
            x_BTD = block(x_BTD, mask_BT1)
        return self._tokens(x_BTD, batch, self.merge)


@encoders("series.rnn")
class Rnn(Trained):
    """A recurrent network over samples, gaps and times: tanh, LSTM or GRU, one or two directions.

    Source: Che et al. 2018 (GRU-D), arXiv:1606.01865: inputs [x; m; d], a missing sample fading from the last known one
    to the mean, x = m x + (1 - m) e^(-w d) x_last; the state's own fading (eq. 6) is left out, so that any cell will do.
    The cells: h = tanh(W x + U h' + b), LSTM, GRU, see ``layers.Recurrent``. The mean of ``merge`` states is a token.

    Wins on short records whose order matters, and with gaps and uneven times; loses on thousands of samples, where
    it is slow and forgets. Costs O(T D (I + D)) operations per layer, one sample after the other.

    Args:
        cell: "tanh", "lstm" or "gru".
        width: D of a token, of both directions together.
        depth: networks on top of each other.
        both: read from the end too.
        dropout: share of the numbers dropped between two networks.
        merge: neighbouring samples whose mean is one token.

    forward: ``x``, ``seen``, ``gap`` (B, T, C), ``at``, ``mask`` (B, T) -> (B, T / merge, D), place in seconds
    """

    def __init__(
        self, *, cell: str = "gru", width: int = 64, depth: int = 1, both: bool = True, dropout: float = 0.1,
        merge: int = 4, **more: Any,
    ) -> None:
        super().__init__(**more)
        self.cell, self.width, self.depth = choice("cell", cell, tuple(CELLS)), whole("width", width), whole("depth", depth)
        self.both, self.dropout, self.merge = bool(both), share("dropout", dropout), whole("merge", merge)
        if self.both and self.width % 2:
            raise BadOption(f"option 'width' is {width}, which two directions cannot share; give an even number")
        self.dim = self.width

    def _build(self, width_in: int) -> None:
        self.net = Recurrent(
            width_in, self.width, cell=self.cell, layers=self.depth, both=self.both, dropout=self.dropout
        )

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        return self._tokens(self.net(self.inputs(batch), batch["mask"]), batch, self.merge)


@encoders("series.transformer")
class Transformer(Trained):
    """Patches of samples as tokens that attend to each other, placed by their time stamps.

    Source: Nie et al. 2023 (PatchTST), arXiv:2211.14730, section 3.1: patches of ``patch`` samples, one every ``stride``,
    z = W p + waves, then blocks of attention (Vaswani et al. 2017, arXiv:1706.03762). Differs: a patch holds all channels,
    their gaps, and when each of its samples was taken after its first; waves are sin and cos of the patch's time in
    strides, so that unevenly sampled records stand where they belong.

    Wins where far parts of long records have to be compared; loses on few records, as it has to learn what a
    convolution is built with. Costs O(N^2 D + N D^2) operations per block for N = T / stride patches.

    Args:
        width: D of a token.
        depth: blocks.
        heads: attention heads.
        dropout: share of the numbers dropped in each block.
        patch: samples of a patch.
        stride: samples from one patch to the next.

    forward: ``x``, ``seen``, ``gap`` (B, T, C), ``at``, ``mask`` (B, T) -> (B, N, D), place in seconds
    """

    def __init__(
        self, *, width: int = 64, depth: int = 2, heads: int = 4, dropout: float = 0.1, patch: int = 8, stride: int = 4,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.width, self.depth, self.heads = whole("width", width), whole("depth", depth), whole("heads", heads)
        self.dropout, self.patch, self.stride = share("dropout", dropout), whole("patch", patch), whole("stride", stride)
        if self.width % self.heads:
            raise BadOption(f"option 'width' is {width}, which {heads} heads cannot share; give a multiple of {heads}")
        if self.stride > self.patch:
            raise BadOption(f"option 'stride' is {stride}, so samples between two patches of {patch} would not be read")
        self.dim = self.width

    def _build(self, width_in: int) -> None:
        self.embed = nn.Linear((width_in + 1) * self.patch, self.width)
        self.blocks = nn.ModuleList(Block(self.width, self.heads, self.dropout) for _ in range(self.depth))
        self.norm = nn.LayerNorm(self.width)

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        mask_BT = batch["mask"]
        at_BT = torch.where(mask_BT, batch["at"], 0.0)
        real_BN = self._counts(mask_BT)
        room = (real_BN.shape[1] - 1) * self.stride + self.patch - mask_BT.shape[1]
        x_BNIS = F.pad(self.inputs(batch), (0, 0, 0, room)).unfold(1, self.patch, self.stride)
        mask_BNS, at_BNS = (F.pad(one, (0, room)).unfold(1, self.patch, self.stride) for one in (mask_BT, at_BT))
        after_BNS = torch.where(mask_BNS, at_BNS - at_BNS[..., :1], 0.0) / self.patch
        x_BND = self.embed(torch.cat([x_BNIS.flatten(2), after_BNS], 2))
        x_BND = x_BND + waves(at_BNS[..., 0] / self.stride, self.width)
        for block in self.blocks:
            x_BND = block(x_BND, real_BN)
        centre_BN = torch.where(mask_BNS, at_BNS, 0.0).sum(2) / mask_BNS.sum(2).clamp_min(1)
        return Tokens(self.norm(x_BND), real_BN, place=centre_BN[..., None] * self.usual.step)

    def _counts(self, mask_BT: Tensor) -> Tensor:
        """(B, N) bool: the patches that a record's samples fill, the last one perhaps in part."""
        beyond_B = (mask_BT.sum(1) - self.patch).clamp_min(0)
        patches_B = torch.div(beyond_B + self.stride - 1, self.stride, rounding_mode="floor") + 1
        most = -(-max(0, mask_BT.shape[1] - self.patch) // self.stride) + 1
        return torch.arange(most, device=mask_BT.device) < patches_B[:, None]


def waves(at_BN: Tensor, dim: int) -> Tensor:
    """(B, N, dim): ``layers.positions`` at places that need not be whole numbers.

    >>> waves(torch.tensor([[0.0, 1.0]]), 2)[0]
    tensor([[0.0000, 1.0000],
            [0.8415, 0.5403]])
    """
    step_D = torch.arange(dim, device=at_BN.device)
    angle_BND = at_BN[..., None] / 10_000 ** ((step_D - step_D % 2) / dim)
    return torch.where(step_D % 2 == 0, angle_BND.sin(), angle_BND.cos())

"""Series: samples of sensors, biosignals, prices, with gaps and at uneven times.

A value is a ``data.series.Series``: x (T, C) float64 with NaN where a sample is missing, and seconds (T,) or None.
Letters: B records, T samples or positions, C channels, F inputs of a network at each sample, D width of a token,
P numbers of the plain features. A *step* is the usual time between two samples of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..contracts import Batch, Encoder, Modality, Plain, State
from ..data.series import Series
from ..errors import NotFitted
from ..registry import encoders, modalities
from ..tokens import Tokens

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
    large = "series.plain"


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

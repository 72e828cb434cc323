"""Tables: numbers, categories, dates and flags as one view.

A value is a dict: column -> float (number; date in seconds since 1970, UTC), str (category),
bool (flag) or None (missing). Letters: B records, P numbers of the encoding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..contracts import Batch, Encoder, Modality, Plain, State
from ..errors import BadRecord, NotFitted
from ..registry import encoders, modalities
from ..tokens import Tokens
from . import share, whole

#: Categories beyond this many, by frequency, share one number.
LEVELS = 100

Row = Mapping[str, float | str | bool | None]


class TablePlain(Plain):
    """Numbers standardised, categories one-hot, flags 0 or 1, and what is missing.

    Columns stand in alphabetical order. A number gives its standardised value, held within +-10
    deviations, and an indicator that it is missing (value 0 then); a date gives also sine and cosine
    of month, weekday and hour; a category gives one number for each of its 100 most frequent levels,
    one for the rarer ones, and zeros for a level never seen; a flag gives 0 or 1; category and flag
    give an indicator too. Indicators exist whether or not a training cell was missing, so that a
    cell may go missing later.

    Args:
        kinds: column -> number, category, date or flag. A column that is not named has the kind of its
            values: float (a date if all are whole days), str or bool.

    >>> plain = TablePlain(); plain.fit([{"size": 1.0, "wild": True}, {"size": 3.0, "wild": None}])
    >>> plain.transform([{"size": 3.0, "wild": True}, {"size": None, "wild": None}])
    array([[1., 0., 1., 0.],
           [0., 1., 0., 1.]], dtype=float32)
    """

    def __init__(self, kinds: Mapping[str, str] | None = None) -> None:
        self.kinds = dict(kinds or {})
        self.columns: dict[str, dict[str, Any]] = {}

    def fit(self, values: Sequence[Row]) -> None:
        names = sorted({name for row in values for name in row})
        self.columns = {
            name: _learn([row.get(name) for row in values], self.kinds.get(name)) for name in names
        }

    def state(self) -> State:
        return {"columns": self.columns}

    def load(self, state: State) -> None:
        self.columns = dict(state["columns"])

    @property
    def names(self) -> list[str]:
        """What each of the P numbers is."""
        return [f"{name}{end}" for name, about in self.columns.items() for end in _ends(about)]

    def transform(self, values: Sequence[Row]) -> np.ndarray:
        blocks = [
            _encode(name, about, [row.get(name) for row in values]) for name, about in self.columns.items()
        ]
        return np.concatenate(blocks, 1) if blocks else np.zeros((len(values), 0), np.float32)

    def numbers(self, values: Sequence[Row]) -> np.ndarray:
        """(B, number columns) as they stand, NaN where missing."""
        names = [name for name, about in self.columns.items() if about["kind"] in ("number", "date")]
        rows = [[_number(name, row.get(name)) for name in names] for row in values]
        return np.array(rows, np.float64).reshape(len(values), len(names))


def _learn(cells: Sequence[Any], kind: str | None) -> dict[str, Any]:
    seen = [cell for cell in cells if cell is not None]
    if not seen:
        return {"kind": "empty"}
    kind = kind or _kind(seen)
    if kind == "flag":
        return {"kind": "flag"}
    if kind in ("number", "date"):
        numbers = np.array(seen, np.float64)
        size = float(np.abs(numbers).max()) or 1.0
        spread = float((numbers / size).std())  # by size first: squares of 1e200 overflow
        # a constant column's spread is rounding error, relative to its size
        return {
            "kind": kind, "mean": float((numbers / size).mean() * size),
            "spread": 0.0 if spread <= 1e-9 else spread * size,
        }
    counts = Counter(str(cell) for cell in seen)
    levels = sorted(counts, key=lambda level: (-counts[level], level))
    return {"kind": "category", "levels": sorted(levels[:LEVELS]), "rare": sorted(levels[LEVELS:])}


def _kind(seen: Sequence[Any]) -> str:
    if all(isinstance(cell, (bool, np.bool_)) for cell in seen):
        return "flag"
    if all(isinstance(cell, (int, float, np.number)) for cell in seen):
        return "date" if any(seen) and all(cell % DAY == 0 for cell in seen) else "number"
    return "category"


#: Seconds.
DAY = 86_400

#: Cycles of a date: name, how many steps, step of a numpy time.
CYCLES = (
    ("month", 12, lambda time: time.astype("datetime64[M]").astype(int) % 12),
    # 1970 began on a Thursday
    ("weekday", 7, lambda time: (time.astype("datetime64[D]").astype(int) + 3) % 7),
    ("hour", 24, lambda time: time.astype("datetime64[h]").astype(int) % 24),
)


def _cycles(seconds: np.ndarray) -> np.ndarray:
    """(B, 6): sine and cosine of month, weekday and hour; zeros where missing.

    >>> _cycles(np.array([0.0])).round(2)  # January, Thursday, midnight
    array([[ 0.  ,  1.  ,  0.43, -0.9 ,  0.  ,  1.  ]])
    """
    known = np.isfinite(seconds)
    time = np.where(known, seconds, 0).astype("int64").astype("datetime64[s]")
    angles = [2 * np.pi * step(time) / steps for _, steps, step in CYCLES]
    waves = np.stack([wave(angle) for angle in angles for wave in (np.sin, np.cos)], 1)
    return np.where(known[:, None], waves, 0.0)


def _ends(about: Mapping[str, Any]) -> list[str]:
    match about["kind"]:
        case "empty":
            return [" missing"]
        case "category":
            return [f"={level}" for level in about["levels"]] + ["=(other)", " missing"]
        case "date":
            cycles = [f" {name} {wave}" for name, _, _ in CYCLES for wave in ("sine", "cosine")]
            return ["", *cycles, " missing"]
    return ["", " missing"]


def _encode(name: str, about: Mapping[str, Any], cells: Sequence[Any]) -> np.ndarray:
    """(B, numbers of this column), the last one saying that the cell is missing."""
    block = np.zeros((len(cells), len(_ends(about))), np.float32)
    block[:, -1] = [cell is None for cell in cells]
    match about["kind"]:
        case "number" | "date":
            numbers = np.array([_number(name, cell) for cell in cells], np.float64)
            if about["kind"] == "date":
                block[:, 1:-1] = _cycles(numbers)
            if about["spread"]:
                with np.errstate(over="ignore"):  # infinity is held at 10 like any outlier
                    scaled = numbers / about["spread"] - about["mean"] / about["spread"]
                block[:, 0] = np.clip(np.nan_to_num(scaled, nan=0.0), -10, 10)
        case "flag":
            block[:, 0] = [bool(cell) for cell in cells]
        case "category":
            place = {level: i for i, level in enumerate(about["levels"])}
            place.update(dict.fromkeys(about["rare"], len(about["levels"])))
            for i, cell in enumerate(cells):
                if cell is not None and str(cell) in place:
                    block[i, place[str(cell)]] = 1
    return block


def _number(name: str, cell: Any) -> float:
    if cell is None:
        return np.nan
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise BadRecord(
            f"column '{name}' held numbers in training but holds {cell!r} now; mend the cell"
        ) from None


@modalities("table")
class Table(Modality):
    """Numbers, categories, dates and flags together."""

    kinds = ("number", "category", "date", "flag")
    plain = TablePlain
    small = "table.mlp"
    large = "table.mlp"


@encoders("table.mlp")
class Mlp(Encoder):
    """Standardised and one-hot columns with quantile thresholds, and layers on top where asked for.

    Beside the plain encoding each number x gives one 0-or-1 number [x > q] for every training
    quantile q: a linear layer on them is a step function, which splits a range as trees do
    (piecewise encoding after Gorishniy et al. 2022, arXiv:2203.05556, section 3.2, with hard steps).

    Args:
        hidden: width D of the layers.
        depth: layers; 0 gives the encoding itself, with nothing to train: the network projects it like any
            other frozen features, in each member anew.
        dropout: share of hidden numbers dropped in training.
        quantiles: thresholds of a number; 0 for none.

    forward: {"x": (B, P)} -> (B, 1, D)
    """

    #: column -> kind, where the library knows it; see ``TablePlain``.
    kinds: Mapping[str, str] = {}

    def __init__(
        self, *, hidden: int = 128, depth: int = 0, dropout: float = 0.1, quantiles: int = 16
    ) -> None:
        super().__init__()
        self.hidden, self.depth = whole("hidden", hidden), whole("depth", depth, 0)
        self.dropout, self.quantiles = share("dropout", dropout), whole("quantiles", quantiles, 0)
        self.frozen = depth == 0
        self.plain = TablePlain()
        self.thresholds: list[list[float]] | None = None
        self.layers: nn.Module = nn.Identity()

    def fit(self, values: Sequence[Row]) -> None:
        self.plain.kinds = dict(self.kinds)
        self.plain.fit(values)
        self.thresholds = [self._quantiles(column) for column in self.plain.numbers(values).T]
        self._build()

    def _quantiles(self, column: np.ndarray) -> list[float]:
        seen = column[~np.isnan(column)]
        if not self.quantiles or not len(seen):
            return []
        shares = np.arange(1, self.quantiles + 1) / (self.quantiles + 1)
        cuts = np.unique(np.quantile(seen, shares, method="lower"))
        return [float(cut) for cut in cuts if cut < seen.max()]  # nothing lies above the largest

    def _build(self) -> None:
        width = len(self.plain.names) + sum(map(len, self.thresholds))
        steps: list[nn.Module] = []
        for _ in range(self.depth):
            steps += [nn.Linear(width, self.hidden), nn.LayerNorm(self.hidden), nn.GELU()]
            steps.append(nn.Dropout(self.dropout))
            width = self.hidden
        self.layers = nn.Sequential(*steps)
        self.dim = width

    def state(self) -> State:
        return {"plain": self.plain.state(), "thresholds": self.thresholds}

    def load(self, state: State) -> None:
        self.plain.load(state["plain"])
        self.thresholds = [list(cuts) for cuts in state["thresholds"]]
        self._build()

    def prepare(self, values: Sequence[Row]) -> dict[str, np.ndarray]:
        if self.thresholds is None:
            raise NotFitted("encoder 'table.mlp' has not been fitted; call fit or load first")
        numbers = self.plain.numbers(values)
        with np.errstate(invalid="ignore"):  # NaN > q is False: a missing number passes no threshold
            steps = [numbers[:, [i]] > np.array(cuts) for i, cuts in enumerate(self.thresholds)]
        return {"x": np.concatenate([self.plain.transform(values), *steps], 1, dtype=np.float32)}

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        return Tokens.single(self.layers(batch["x"].to(torch.float32)))

"""Tables: numbers, categories, dates and flags as one view.

A value is a dict: column -> float (number; date in seconds since 1970, UTC), str (category),
bool (flag) or None (missing). Letters: B records, P numbers of the encoding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import pi
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from ..contracts import Batch, Encoder, Modality, Plain, State
from ..errors import BadOption, BadRecord, NotFitted
from ..layers import Block
from ..registry import encoders, modalities
from ..tokens import Tokens
from . import share, whole

#: Categories beyond this many, by frequency, share one number.
LEVELS = 100

Row = Mapping[str, float | str | bool | None]


class TablePlain(Plain):
    """Numbers standardised, categories one-hot, flags 0 or 1, and what is missing.

    Columns stand in alphabetical order. A number gives its standardised value, held within +-10
    deviations, and an indicator that it is missing (value 0 then); a date is the number of days since
    1970 and gives also its year, likewise, and sine and cosine of month, weekday and hour; a category
    gives one number for each of its 100 most frequent levels, one for the rarer ones, and zeros for a
    level never seen; a flag gives 0 or 1; category and flag give an indicator too. Indicators exist
    whether or not a training cell was missing, so that a cell may go missing later.

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
        if kind == "date":
            return {"kind": kind, **_spread(numbers), "year": _spread(years(numbers))}
        return {"kind": kind, **_spread(numbers)}
    counts = Counter(str(cell) for cell in seen)
    levels = sorted(counts, key=lambda level: (-counts[level], level))
    return {"kind": "category", "levels": sorted(levels[:LEVELS]), "rare": sorted(levels[LEVELS:])}


def _spread(numbers: np.ndarray) -> dict[str, float]:
    """Mean and deviation; 0 for the latter where it is rounding error."""
    size = float(np.abs(numbers).max()) or 1.0
    spread = float((numbers / size).std())  # by size first: squares of 1e200 overflow
    return {"mean": float((numbers / size).mean() * size), "spread": 0.0 if spread <= 1e-9 else spread * size}


def _standard(numbers: np.ndarray, about: Mapping[str, Any]) -> np.ndarray:
    """Deviations from the mean, within +-10; 0 where missing, and of a constant column."""
    if not about["spread"]:
        return np.zeros(len(numbers))
    with np.errstate(over="ignore"):  # infinity is held at 10 like any outlier
        scaled = numbers / about["spread"] - about["mean"] / about["spread"]
    return np.clip(np.nan_to_num(scaled, nan=0.0), -10, 10)


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


def years(seconds: np.ndarray) -> np.ndarray:
    """(B,): years of dates; NaN where missing.

    >>> years(np.array([0.0, 951_782_400.0, np.nan])).tolist()  # the last of February 2000
    [1970.0, 2000.0, nan]
    """
    known = np.isfinite(seconds)
    time = np.where(known, seconds, 0).astype("int64").astype("datetime64[s]")
    return np.where(known, time.astype("datetime64[Y]").astype(int) + 1970.0, np.nan)


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
            return ["", " year", *cycles, " missing"]
    return ["", " missing"]


def _encode(name: str, about: Mapping[str, Any], cells: Sequence[Any]) -> np.ndarray:
    """(B, numbers of this column), the last one saying that the cell is missing."""
    block = np.zeros((len(cells), len(_ends(about))), np.float32)
    block[:, -1] = [cell is None for cell in cells]
    match about["kind"]:
        case "number" | "date":
            numbers = np.array([_number(name, cell) for cell in cells], np.float64)
            block[:, 0] = _standard(numbers, about)
            if about["kind"] == "date":
                block[:, 1], block[:, 2:-1] = _standard(years(numbers), about["year"]), _cycles(numbers)
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


def bucket(level: str, buckets: int) -> int:
    """Where a level's hash lies, from 0; the same on every machine.

    >>> bucket("user 4711", 16), bucket("user 4711", 1)
    (0, 0)
    """
    return crc32(level.encode("utf-8", "surrogatepass")) % buckets


def _hashed(cells: Sequence[Any], rare: Sequence[str], buckets: int) -> np.ndarray:
    """(B, buckets): 1 where a rarer level of training lies; a level never seen gives zeros."""
    found, known = np.zeros((len(cells), buckets), np.float32), set(rare)
    for i, cell in enumerate(cells):
        if cell is not None and str(cell) in known:
            found[i, bucket(str(cell), buckets)] = 1
    return found


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

    Source: beside the plain encoding each number x gives one 0-or-1 number [x > q] for every training
    quantile q: a linear layer on them is a step function, which splits a range as trees do
    (piecewise encoding after Gorishniy et al. 2022, arXiv:2203.05556, section 3.2, with hard steps).
    Categories beyond the 100 most frequent may be spread over ``buckets`` by a hash (Weinberger et al. 2009,
    arXiv:0902.2206), where the plain encoding gives all of them one number.

    Wins on most tables, above all small ones; loses where columns have to be combined in many ways, and there
    ``depth`` or ``table.tokens`` may help. Costs P = numbers (quantiles + 2) + levels per record, no parameters at
    depth 0, else P hidden + (depth - 1) hidden^2.

    Args:
        hidden: width D of the layers.
        depth: layers; 0 gives the encoding itself, with nothing to train: the network projects it like any
            other frozen features, in each member anew.
        dropout: share of hidden numbers dropped in training.
        quantiles: thresholds of a number; 0 for none.
        buckets: of a category's rarer levels, each 0 or 1; 0 for one that all of them share.

    forward: {"x": (B, P)} -> (B, 1, D)
    """

    #: column -> kind, where the library knows it; see ``TablePlain``.
    kinds: Mapping[str, str] = {}

    def __init__(
        self, *, hidden: int = 128, depth: int = 0, dropout: float = 0.1, quantiles: int = 16, buckets: int = 0
    ) -> None:
        super().__init__()
        self.hidden, self.depth = whole("hidden", hidden), whole("depth", depth, 0)
        self.dropout, self.quantiles = share("dropout", dropout), whole("quantiles", quantiles, 0)
        self.buckets = whole("buckets", buckets, 0)
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
        width = len(self.plain.names) + sum(map(len, self.thresholds)) + self.buckets * len(self._crowded())
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
        for name, about in self._crowded().items():
            steps.append(_hashed([row.get(name) for row in values], about["rare"], self.buckets))
        return {"x": np.concatenate([self.plain.transform(values), *steps], 1, dtype=np.float32)}

    def _crowded(self) -> dict[str, Mapping[str, Any]]:
        """Categories with more levels than have a number of their own."""
        return {name: about for name, about in self.plain.columns.items() if self.buckets and about.get("rare")}

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        return Tokens.single(self.layers(batch["x"].to(torch.float32)))


@encoders("table.tokens")
class ColumnTokens(Encoder):
    """One token per column and one for the record, which attend to each other.

    Source: Gorishniy et al. 2021 (FT-Transformer), arXiv:2106.11959, section 3.3: the token of column j is
    b_j + x_j w_j for a number, b_j + e_j[level] for a category; then blocks of attention. A number also gives
    ReLU(V_j [sin 2 pi c x_j, cos 2 pi c x_j]) with learned frequencies c (Gorishniy et al. 2022, arXiv:2203.05556,
    section 3.3, "PLR"). A date is one token of its days since 1970, year, month, weekday and hour. A missing cell is
    a learned vector of its column. Levels beyond the 100 most frequent share ``buckets`` by a hash (Weinberger et al.
    2009, arXiv:0902.2206); a level never seen in training gives b_j alone. Differs: fusions read the mean of all
    tokens, or every token, where the paper's head reads the record's.

    Wins with some thousand records whose columns have to be combined, with categories of many levels, and where a
    sequence fusion lets other views look at single columns; loses to ``table.mlp`` and to trees on few records.
    Costs O(K^2 D + K D^2) operations per block for K columns, and (levels + buckets) D numbers per category.

    Args:
        width: D of a token.
        depth: blocks; 0 gives the columns' tokens by themselves.
        heads: attention heads.
        dropout: share of the numbers dropped in each block.
        periodic: frequencies of a number; 0 for none.
        frequency: deviation of the first frequencies, in cycles per deviation of the column.
        buckets: of a category's rarer levels.

    forward: ``numbers`` (B, N), ``dates`` (B, M, 8), ``levels`` (B, L), ``missing`` (B, K) -> (B, 1 + K, D)
    """

    #: column -> kind, where the library knows it; see ``TablePlain``.
    kinds: Mapping[str, str] = {}

    def __init__(
        self, *, width: int = 32, depth: int = 2, heads: int = 4, dropout: float = 0.1, periodic: int = 8,
        frequency: float = 0.3, buckets: int = 32,
    ) -> None:
        super().__init__()
        self.width, self.depth, self.heads = whole("width", width), whole("depth", depth, 0), whole("heads", heads)
        self.dropout, self.periodic = share("dropout", dropout), whole("periodic", periodic, 0)
        self.buckets = whole("buckets", buckets)
        if isinstance(frequency, bool) or not isinstance(frequency, (int, float)) or not 0 < frequency < 1e6:
            raise BadOption(f"option 'frequency' is {frequency!r}; give a number above 0")
        if self.width % self.heads:
            raise BadOption(f"option 'width' is {width}, which {heads} heads cannot share; give a multiple of {heads}")
        self.frequency, self.dim = float(frequency), self.width
        self.plain = TablePlain()
        self.fitted = False

    def fit(self, values: Sequence[Row]) -> None:
        self.plain.kinds = dict(self.kinds)
        self.plain.fit(values)
        self._build()

    def state(self) -> State:
        return self.plain.state()

    def load(self, state: State) -> None:
        self.plain.load(state)
        self._build()

    def _of(self, *kinds: str) -> list[str]:
        return [name for name, about in self.plain.columns.items() if about["kind"] in kinds]

    @property
    def names(self) -> list[str]:
        """Columns in the order of their tokens, which stand behind the record's own."""
        return self._of("number") + self._of("date") + self._of("category", "flag") + self._of("empty")

    def _build(self) -> None:
        numbers, dates = len(self._of("number")), len(self._of("date"))
        self.starts, rows = {}, 1  # row 0 of the levels is zero: a level never seen
        for name in self._of("category", "flag"):
            self.starts[name] = rows
            about = self.plain.columns[name]
            rows += 2 if about["kind"] == "flag" else len(about["levels"]) + (self.buckets if about["rare"] else 0)

        def start(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape).uniform_(-1, 1) / self.width**0.5)

        self.column_KD, self.missing_KD = start(1 + len(self.names), self.width), start(len(self.names), self.width)
        self.parts = nn.ParameterDict()
        if numbers:
            self.parts["line"] = start(numbers, self.width)
        if numbers and self.periodic:
            self.parts["frequency"] = nn.Parameter(torch.randn(numbers, self.periodic) * self.frequency)
            self.parts["wave"] = start(numbers, 2 * self.periodic, self.width)
        if dates:
            self.parts["date"] = start(dates, 2 + 2 * len(CYCLES), self.width)
        self.levels = nn.Embedding(rows, self.width, padding_idx=0) if rows > 1 else nn.Identity()
        self.blocks = nn.ModuleList(Block(self.width, self.heads, self.dropout) for _ in range(self.depth))
        self.norm = nn.LayerNorm(self.width)
        self.fitted = True

    def prepare(self, values: Sequence[Row]) -> dict[str, np.ndarray]:
        if not self.fitted:
            raise NotFitted("encoder 'table.tokens' has not been fitted; call fit or load first")
        cells = {name: [row.get(name) for row in values] for name in self.names}

        def block(name: str) -> np.ndarray:
            return _encode(name, self.plain.columns[name], cells[name])

        found = {"missing": np.array([[cell is None for cell in column] for column in cells.values()], bool)}
        found["missing"] = found["missing"].reshape(len(cells), len(values)).T
        if numbers := self._of("number"):
            found["numbers"] = np.stack([block(name)[:, 0] for name in numbers], 1)
        if dates := self._of("date"):
            found["dates"] = np.stack([block(name)[:, :-1] for name in dates], 1)
        if self.starts:
            found["levels"] = np.stack([self._rows(name, cells[name]) for name in self.starts], 1)
        return found

    def _rows(self, name: str, cells: Sequence[Any]) -> np.ndarray:
        """(B,): rows of the embedding; 0 for what is missing or was never seen."""
        about, start = self.plain.columns[name], self.starts[name]
        if about["kind"] == "flag":
            return np.array([0 if cell is None else start + bool(cell) for cell in cells], np.int64)
        place = {level: start + i for i, level in enumerate(about["levels"])}
        start += len(about["levels"])
        place.update((level, start + bucket(level, self.buckets)) for level in about["rare"])
        return np.array([0 if cell is None else place.get(str(cell), 0) for cell in cells], np.int64)

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        missing_BK = batch["missing"]
        parts_BKD = []
        if "numbers" in batch:
            parts_BKD.append(self._of_numbers(batch["numbers"]))
        if "dates" in batch:
            parts_BKD.append(torch.einsum("bmp,mpd->bmd", batch["dates"], self.parts["date"]))
        if "levels" in batch:
            parts_BKD.append(self.levels(batch["levels"]))
        parts_BKD.append(missing_BK.new_zeros(len(missing_BK), len(self._of("empty")), self.width, dtype=torch.float32))
        x_BKD = torch.where(missing_BK[..., None], self.missing_KD, torch.cat(parts_BKD, 1))
        record_B1D = x_BKD.new_zeros(len(x_BKD), 1, self.width)
        x_BTD = torch.cat([record_B1D, x_BKD], 1) + self.column_KD
        mask_BT = torch.ones(x_BTD.shape[:2], dtype=torch.bool, device=x_BTD.device)
        for block in self.blocks:
            x_BTD = block(x_BTD, mask_BT)
        return Tokens(self.norm(x_BTD), mask_BT)

    def _of_numbers(self, x_BN: Tensor) -> Tensor:
        """(B, N, D): a straight line and, of the periodic embedding, what lies above zero."""
        line_BND = x_BN[..., None] * self.parts["line"]
        if not self.periodic:
            return line_BND
        angle_BNF = 2 * pi * x_BN[..., None] * self.parts["frequency"]
        waves_BNF = torch.cat([angle_BNF.sin(), angle_BNF.cos()], 2)
        return line_BND + torch.einsum("bnf,nfd->bnd", waves_BNF, self.parts["wave"]).relu()

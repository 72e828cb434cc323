"""Tables -> what learning needs: encoders chosen and fitted, features computed once, faults counted.

N records, V views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from ..contracts import Encoder, Plain
from ..data.cache import Cache
from ..data.reading import Cells
from ..data.rows import Features, blocks
from ..layers import Condition
from ..registry import modalities
from .features import Prepared, Views, frozen

#: Values that fitting an encoder's vocabulary or statistics may look at.
TEXT_SAMPLE, MEDIA_SAMPLE = 50_000, 256

Bar = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


@dataclass
class Gathered:
    """Numbers of all views of some records.

    Attributes:
        names: V views, sorted.
        present_NV: bool, after unreadable cells have lost their presence.
        outputs: {view: (N, W) or (N, T, W)} of frozen encoders, as they come; NaN where there is no position.
        prepared: {view: arrays} for trainable encoders.
        plain: {view: (N, P), dense or CSR rows} what the rivals read.
    """

    names: list[str]
    present_NV: np.ndarray
    outputs: dict[str, Features] = field(default_factory=dict)
    prepared: dict[str, Prepared] = field(default_factory=dict)
    plain: dict[str, Features] = field(default_factory=dict)

    def views(self, conditions: Mapping[str, Condition]) -> Views:
        """Conditioned features, as the network reads them."""
        ready = {}
        for view, output in self.outputs.items():
            condition = conditions[view].cpu()

            def conditioned(block: np.ndarray, condition: Condition = condition) -> np.ndarray:
                with torch.inference_mode():
                    return condition(torch.as_tensor(block)).numpy()

            ready[view] = output.each(conditioned)
            if not len(output.rows):  # nothing present at all
                ready[view].rows.append(np.zeros((1, condition.dim), np.float32))
                ready[view].slot_N = np.zeros(len(output), int)
        return Views(self.names, self.present_NV, ready, self.prepared)


class Media(Sequence[Any]):
    """Readable values of some rows, decoded when first looked at: most encoders of media learn nothing from them."""

    def __init__(self, cells: Cells, rows: np.ndarray) -> None:
        self.cells, self.rows = cells, rows

    @cached_property
    def _values(self) -> list[Any]:
        return [value for value in self.cells.values(self.rows.tolist()) if value is not None]

    def __bool__(self) -> bool:
        return any(self.cells.values([row])[0] is not None for row in self.rows.tolist())

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, i: Any) -> Any:
        return self._values[i]


def sample(cells: Cells, rows: np.ndarray, seed: int) -> Sequence[Any]:
    """Values of the given rows for fitting: all of a table or text up to a limit, some of the media."""
    rows = rows[cells.present[rows]]
    most = TEXT_SAMPLE if cells.view.modality in ("text", "table") else MEDIA_SAMPLE
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    if cells.media:
        return Media(cells, rows)
    return [value for value in cells.values(rows.tolist()) if value is not None]


def fit_plain(encoders: Mapping[str, Encoder], cells: Mapping[str, Cells], rows: np.ndarray, seed: int) -> dict[str, Plain]:
    """{view: fitted plain features} for the views whose rivals do not read the encoder's own output."""
    parts = {}
    for view, encoder in encoders.items():
        if not encoder.read_by_rivals:
            parts[view] = modalities[cells[view].view.modality].plain()
            tell_kinds(parts[view], cells[view])
            parts[view].fit(sample(cells[view], rows, seed))
    return parts


def tell_kinds(part: Encoder | Plain, cells: Cells) -> None:
    """Tell a part of the view ``table`` which of its columns are dates; values do not show it."""
    if cells.view.modality == "table":
        part.kinds = cells.kinds


def gather(
    encoders: Mapping[str, Encoder], plains: Mapping[str, Plain] | None, cells: Mapping[str, Cells], cache: Cache,
    *, positions: bool = False, bar: Bar, memo: dict[Any, Any] | None = None,
) -> Gathered:
    """Run every frozen part once over all records and read every cell of the others once.

    Args:
        plains: {view: fitted plain features}; None where no rival will be asked.
        positions: keep all positions of frozen towers (the fusion wants them).
        memo: of the outputs of towers for these cells, where several models read them; it grows.
    """
    def computed(part: Encoder | Plain, view: str, **more: Any) -> Features:
        if memo is None or not part.cached:
            return frozen(part, cells[view], cache, **more)
        key = view, part.fingerprint(), more.get("pool", True)
        if key not in memo:
            memo[key] = frozen(part, cells[view], cache, **more)
        return memo[key]

    names = sorted(encoders)
    found = Gathered(names, np.zeros((0, 0), bool))
    for view in names:
        encoder, mine = encoders[view], cells[view]
        with bar(f"{view}: read by {encoder.name}", int(mine.present.sum())) as advance:
            # a tuned tower neither reads nor fills the cache: only frozen outputs lie there
            if encoder.frozen:
                found.outputs[view] = computed(encoder, view, pool=not positions, advance=advance)
            else:
                found.prepared[view] = Prepared.of(encoder, mine, advance=advance)
        if plains is None:
            continue
        if view in plains:
            found.plain[view] = computed(plains[view], view)
        else:
            output = found.outputs.get(view)
            if output is None or len(output.shape) != 2:  # the rivals of a tuned tower read its frozen original, pooled
                output = computed(encoder if encoder.frozen else encoder.original(), view)
            found.plain[view] = output
    found.present_NV = np.stack([cells[view].present for view in names], 1) if names else np.zeros((0, 0), bool)
    return found


def fit_conditions(
    encoders: Mapping[str, Encoder], gathered: Gathered, rows: np.ndarray, widest: int = 512, bare: Sequence[str] = ()
) -> dict[str, Condition]:
    """{view: condition fitted on the training rows that have the view} for frozen encoders.

    Args:
        widest: features up to this width are not turned to their main axes.
        bare: views whose features stay as they are.
    """
    conditions = {}
    for i, view in enumerate(gathered.names):
        if view not in gathered.outputs:
            continue
        if view in bare:
            conditions[view] = Condition().empty(encoders[view].dim, encoders[view].dim)
            continue
        output, mine = gathered.outputs[view], rows[gathered.present_NV[rows, i]]
        blank = torch.zeros(1, max(1, encoders[view].dim))
        condition = Condition(widest=widest, scale=getattr(encoders[view], "standardise", True))
        conditions[view] = condition.fit_blocks(partial(_training_rows, output, mine) if len(mine) else lambda x=blank: [x])
    return conditions


def _training_rows(output: Features, rows: np.ndarray) -> Iterator[torch.Tensor]:
    for part in blocks(len(rows)):
        block = output[rows[part]]
        yield torch.as_tensor(block[~np.isnan(block[..., 0])] if block.ndim == 3 else block)

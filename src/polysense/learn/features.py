"""Cells -> numbers: frozen outputs once for each content, prepared arrays for trainable encoders.

N records of a table, B of a batch, T positions, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..contracts import Encoder, Plain, to_tensors
from ..data.cache import Cache
from ..data.reading import Cells
from ..network import Network
from ..tokens import Tokens

CHUNK = 32
#: Prepared arrays of a view are held in memory up to this size, otherwise made anew for each batch.
HELD_BYTES = 1 << 30

Advance = Callable[[int], None]


def frozen(
    part: Encoder | Plain, cells: Cells, cache: Cache, *, pool: bool = True, advance: Advance = lambda n: None
) -> Any:
    """Outputs of a frozen encoder, or plain features, of all N records; zeros where absent.

    Each content is computed once, however many cells hold it, and never again while the cache keeps
    it. Cells that prove unreadable lose their presence and are entered in ``cells.faults``.

    Returns:
        (N, W) float32 (CSR for sparse plain features), or (N, T, W) if ``pool`` is False, with NaN
        where a record has fewer positions.
    """
    rows = np.flatnonzero(cells.present)
    compute = _encode(part, pool) if isinstance(part, Encoder) else part.transform
    alone = cells.n == 1 and cache.folder is None  # one record, as when serving: nothing to look up or to share
    if not part.cached or alone:
        return _direct(part, compute, cells, rows, advance)
    names = dict(zip(rows.tolist(), cells.digests(rows.tolist()), strict=True))
    fingerprint = part.fingerprint() + ("" if pool else "-positions")
    first = {name: row for row, name in reversed(names.items()) if name is not None}
    known = cache.get(fingerprint, list(first))
    advance(sum(name in known for name in names.values()))
    todo = [(name, row) for name, row in sorted(first.items(), key=lambda item: item[1]) if name not in known]
    if cells.view.modality == "text":  # neighbours of like length waste less padding
        lengths = {row: len(text or "") for (_, row), text in zip(todo, cells.values([r for _, r in todo]), strict=True)}
        todo.sort(key=lambda item: lengths[item[1]])
    found: dict[str, np.ndarray] = {name: np.asarray(value) for name, value in known.items()}
    for start in range(0, len(todo), CHUNK):
        chunk = todo[start : start + CHUNK]
        values = cells.values([row for _, row in chunk], getattr(part, "pixels", None))
        good = [(name, value) for (name, _), value in zip(chunk, values, strict=True) if value is not None]
        if good:
            outputs = compute([value for _, value in good])
            cache.put(fingerprint, [name for name, _ in good], outputs)
            found.update(zip([name for name, _ in good], outputs, strict=True))
        advance(len(chunk))
    for row, name in names.items():
        if name is None or name not in found:
            cells.values([row])  # enters the fault of every cell that holds this content
            cells.present[row] = False
    some = next(iter(found.values()), None)
    if some is None:
        return np.zeros((cells.n, 0), np.float32)
    length = max((len(value) for value in found.values()), default=0) if some.ndim == 2 else 0
    shape = (length, some.shape[1]) if some.ndim == 2 else some.shape
    out = np.full((cells.n, *shape), 0 if pool else np.nan, np.float32)
    for row, name in names.items():
        if cells.present[row]:
            value = found[name]
            out[row][: len(value)] = value
    return out


def _encode(encoder: Encoder, pool: bool) -> Callable[[Sequence[Any]], np.ndarray]:
    def compute(values: Sequence[Any]) -> np.ndarray:
        _still(encoder)
        with torch.inference_mode():
            tokens = encoder(to_tensors(encoder.prepare(values)))
        x = tokens.pooled() if pool else torch.where(tokens.mask[..., None], tokens.x, torch.nan)
        return x.float().cpu().numpy()

    return compute


def _still(module: torch.nn.Module) -> None:
    """Evaluation mode; walking through a whole module that is in it already costs a served record dear."""
    if module.training:
        module.eval()


def _direct(
    part: Encoder | Plain, compute: Callable[[Sequence[Any]], Any], cells: Cells, rows: np.ndarray, advance: Advance
) -> Any:
    values = cells.values(rows.tolist(), getattr(part, "pixels", None))
    good = [(row, value) for row, value in zip(rows.tolist(), values, strict=True) if value is not None]
    advance(len(rows))
    if not good:
        return np.zeros((cells.n, 0), np.float32)
    outputs = compute([value for _, value in good])
    where = np.array([row for row, _ in good])
    if isinstance(outputs, np.ndarray):
        out = np.zeros((cells.n, *outputs.shape[1:]), np.float32)
        out[where] = outputs
        return out
    from scipy.sparse import csr_matrix

    starts = np.zeros(cells.n + 1, np.int64)
    starts[where + 1] = np.diff(outputs.indptr)
    return csr_matrix((outputs.data, outputs.indices, starts.cumsum()), shape=(cells.n, outputs.shape[1]))


@dataclass
class Prepared:
    """Prepared arrays of a trainable view's present records; made anew for each batch if too large."""

    encoder: Encoder
    cells: Cells
    arrays: dict[str, np.ndarray] | None
    slot_N: np.ndarray

    @classmethod
    def of(cls, encoder: Encoder, cells: Cells, *, advance: Advance = lambda n: None) -> Prepared:
        """Read every present cell once, so that all unreadable ones are known before training."""
        rows = np.flatnonzero(cells.present)
        chunks: list[dict[str, np.ndarray]] = []
        kept: list[int] = []
        size = 0
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK].tolist()
            values = cells.values(part, getattr(encoder, "pixels", None))
            good = [(row, value) for row, value in zip(part, values, strict=True) if value is not None]
            kept += [row for row, _ in good]
            if good and size <= HELD_BYTES:
                chunks.append(encoder.prepare([value for _, value in good]))
                size += sum(array.nbytes for array in chunks[-1].values())
            advance(len(part))
        slot_N = np.full(cells.n, -1)
        slot_N[kept] = np.arange(len(kept))
        return cls(encoder, cells, _join(chunks) if size <= HELD_BYTES else None, slot_N)

    def take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays of the given present rows, cut to the longest of them."""
        if self.arrays is None:
            return self.encoder.prepare(self.cells.values(rows.tolist(), getattr(self.encoder, "pixels", None)))
        slots = self.slot_N[rows]
        batch = {key: array[slots] for key, array in self.arrays.items()}
        mask = batch.get("mask")
        if mask is None or not len(mask):
            return batch
        length = max(1, int(mask.any(0).nonzero()[0].max(initial=0)) + 1)
        whole = mask.shape[1]
        return {
            key: array[:, :length] if array.ndim > 1 and array.shape[1] == whole else array
            for key, array in batch.items()
        }


def _join(chunks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Chunks of different padded length as one, padded to the longest."""
    joined = {}
    for key in chunks[0] if chunks else ():
        arrays = [chunk[key] for chunk in chunks]
        if arrays[0].ndim > 1:
            longest = max(array.shape[1] for array in arrays)
            arrays = [
                np.pad(array, [(0, 0), (0, longest - array.shape[1]), *[(0, 0)] * (array.ndim - 2)])
                for array in arrays
            ]
        joined[key] = np.concatenate(arrays)
    return joined


@dataclass
class Views:
    """All that a network needs of N records.

    Attributes:
        names: V views, sorted.
        present_NV: bool.
        frozen: {view: (N, W) or (N, T, W) float32}, conditioned; NaN where there is no position.
        prepared: {view: arrays for a trainable encoder}.
    """

    names: list[str]
    present_NV: np.ndarray
    frozen: dict[str, np.ndarray] = field(default_factory=dict)
    prepared: dict[str, Prepared] = field(default_factory=dict)

    def batch(self, rows: np.ndarray, device: torch.device | str = "cpu") -> dict[str, dict[str, Tensor]]:
        """The given rows as ``Network.encode`` takes them."""
        return {
            view: to_tensors(self._arrays(view, rows, self.present_NV[rows, i]), device)
            for i, view in enumerate(self.names)
        }

    def _arrays(self, view: str, rows: np.ndarray, present_B: np.ndarray) -> dict[str, np.ndarray]:
        if view in self.frozen:
            return {"features": self.frozen[view][rows], "present": present_B}
        arrays = self.prepared[view].take(rows[present_B]) if present_B.any() else {}
        return {**arrays, "present": present_B}


def encode(
    network: Network, views: Views, rows: np.ndarray | None = None, batch: int = 64
) -> dict[str, Tokens]:
    """Tokens of all N records (or of ``rows``), so that many subsets can be answered from one encoding."""
    _still(network)
    rows = np.arange(len(views.present_NV)) if rows is None else rows
    device = next(network.members.parameters()).device
    with torch.inference_mode():
        parts = [
            network.encode(views.batch(rows[start : start + batch], device)) for start in range(0, len(rows), batch)
        ]
    return {view: _stack([part[view] for part in parts]) for view in views.names}


def _stack(parts: Sequence[Tokens]) -> Tokens:
    longest = max(part.x.shape[1] for part in parts)
    pad = torch.nn.functional.pad
    return Tokens(
        torch.cat([pad(part.x, (0, 0, 0, longest - part.x.shape[1])) for part in parts]),
        torch.cat([pad(part.mask, (0, longest - part.mask.shape[1])) for part in parts]),
    )


def answer(network: Network, tokens: Mapping[str, Tokens], present_NV: np.ndarray, batch: int = 1024) -> np.ndarray:
    """(N, C): answers with the views that ``present_NV`` leaves."""
    _still(network)
    answers = []
    with torch.inference_mode():
        for start in range(0, len(present_NV), batch):
            part = {}
            for i, view in enumerate(network.views):
                piece = tokens[view]
                here = torch.as_tensor(present_NV[start : start + batch, i], device=piece.x.device)
                mask = piece.mask[start : start + batch] & here[:, None]
                part[view] = Tokens(piece.x[start : start + batch], mask)
            answers.append(network.answers(part).cpu().numpy())
    return np.concatenate(answers) if answers else np.zeros((0, 0), np.float32)

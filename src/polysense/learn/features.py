"""Cells -> numbers: frozen outputs once for each content, prepared arrays for trainable encoders.

N records of a table, B of a batch, T positions, W width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import processes
from ..contracts import Encoder, Plain, to_tensors
from ..data.cache import Cache
from ..data.reading import Cells, hex_digests
from ..data.rows import Features, Rows, SparseRows, blocks
from ..network import Network
from ..tokens import Tokens

#: Prepared arrays of a view are kept up to this size, otherwise made anew for each batch.
HELD_BYTES = 4 << 30
#: Records that a frozen part computes at a time.
CHUNK = 32
#: Outputs are kept on disk when there are so many bytes of them, or so many seconds after the last time.
KEPT_BYTES, KEPT_SECONDS = 1_000_000, 5.0

Advance = Callable[[int], None]


def frozen(
    part: Encoder | Plain, cells: Cells, cache: Cache, *, pool: bool = True, advance: Advance = lambda n: None
) -> Features:
    """Outputs of a frozen encoder, or plain features, of all N records; zeros where absent.

    Each content is computed once, however many cells hold it, and never again while the cache keeps it. A
    cell that holds several files has the mean of what they are pooled to, or all their positions.
    What is computed together never depends on what the cache knows: the chunks are cut from all distinct
    contents, and one that is not wholly known is computed whole (a tower's floats differ a little from
    batch to batch). So a run that was killed and begun again gets equal bits.
    Cells that prove unreadable lose their presence and are entered in ``cells.faults``.

    Returns:
        (N, W) float32 (CSR rows for sparse plain features), or (N, T, W) if ``pool`` is False, with NaN
        where a record has fewer positions.
    """
    rows, piece_R = cells.pieces(np.flatnonzero(cells.present))
    compute = _encode(part, pool) if isinstance(part, Encoder) else part.transform
    alone = cells.n == 1 and cache.folder is None  # one record, as when serving: nothing to look up or to share
    if not part.cached or alone:
        return _direct(part, compute, cells, rows, piece_R, pool, advance)
    fill = 0.0 if pool else np.nan
    hash_R = cells.hashes(rows, piece_R)
    rows, piece_R, hash_R = rows[hash_R != b""], piece_R[hash_R != b""], hash_R[hash_R != b""]
    hash_U, first_U, unique_R = np.unique(hash_R, return_index=True, return_inverse=True)
    order_U = np.argsort(first_U, kind="stable")
    if cells.view.modality == "text":  # neighbours of like length waste less padding
        order_U = order_U[np.argsort(_lengths(cells, rows[first_U[order_U]]), kind="stable")]
    fingerprint = part.fingerprint() + ("" if pool else "-positions")
    known = cache.find(fingerprint, hex_digests(hash_U))
    times_U = np.bincount(unique_R[np.diff(rows, prepend=-1) > 0], minlength=len(hash_U))
    slot_U, made, keep = np.full(len(hash_U), -1), Rows(fill), _Keep(cache, fingerprint)
    chunks = [order_U[start : start + CHUNK] for start in range(0, len(order_U), CHUNK)]
    if cache.shared and cache.folder is not None and processes.count() > 1:  # each computes its part, then all read the whole
        for chunk in processes.mine(chunks):
            if not known.known[chunk].all():
                _compute(part, compute, cells, rows[first_U[chunk]], piece_R[first_U[chunk]], known, chunk, keep)
        keep.flush()
        processes.wait()
        known = cache.find(fingerprint, hex_digests(hash_U))
    for chunk in chunks:
        outputs = known.read(chunk) if known.known[chunk].all() else [None] * len(chunk)
        if any(output is None for output in outputs):
            outputs = _compute(part, compute, cells, rows[first_U[chunk]], piece_R[first_U[chunk]], known, chunk, keep)
        there = [i for i, output in enumerate(outputs) if output is not None]
        slot_U[chunk[there]] = len(made) + np.arange(len(there))
        for block in _alike([outputs[i] for i in there]):
            made.append(block)
        advance(int(times_U[chunk].sum()))
    keep.flush()
    slot_R = slot_U[unique_R]
    for i in np.flatnonzero(slot_R < 0):
        cells.values([rows[i]], pieces=[piece_R[i]])  # enters the fault of every file with this content, which is of no use
    return Features(_of_records(cells.n, rows, slot_R, made, pool), made, fill)


def _of_records(n: int, rows: np.ndarray, slot_R: np.ndarray, made: Any, pool: bool) -> np.ndarray:
    """(N,) places of the records' outputs; where a record has several pieces, they become one more row.

    Args:
        rows: of the pieces, ascending.
        slot_R: places of the pieces' outputs in ``made``; -1 for one that cannot be used.
    """
    slot_N, good = np.full(n, -1), slot_R >= 0
    rows, slot_R = rows[good], slot_R[good]
    slot_N[rows] = slot_R
    row_S, start_S, count_S = np.unique(rows, return_index=True, return_counts=True)
    which, fresh = np.flatnonzero(count_S > 1), Rows(0.0 if pool else np.nan)
    for some in blocks(len(which), 256):
        starts, counts = start_S[which[some]], count_S[which[some]]
        ends = np.cumsum(counts)
        outputs = made[slot_R[np.repeat(starts - ends + counts, counts) + np.arange(ends[-1])]]
        if pool:
            fresh.append(np.add.reduceat(outputs, ends - counts) / counts[:, None].astype(np.float32))
        else:
            for one in np.split(outputs, ends[:-1]):
                fresh.append(one[~np.isnan(one[..., 0])][None])
    slot_N[row_S[which]] = len(made) + np.arange(len(which))
    for i in range(len(which)) if not pool else ():
        made.append(fresh[[i]])
    for some in blocks(len(which)) if pool else ():
        made.append(fresh[some])
    return slot_N


def _lengths(cells: Cells, rows: np.ndarray) -> np.ndarray:
    """Characters of some texts."""
    parts = [[len(text or "") for text in cells.values(rows[part].tolist())] for part in blocks(len(rows))]
    return np.concatenate([np.array(part, int) for part in parts]) if parts else np.zeros(0, int)


def _compute(
    part: Any, compute: Callable[[Sequence[Any]], Any], cells: Cells, rows: np.ndarray, pieces: np.ndarray, known: Any,
    chunk: np.ndarray, keep: _Keep,
) -> list[np.ndarray | None]:
    """Outputs of a chunk that is not wholly known; what is known stays as it is, the rest goes to the cache."""
    values = cells.values(rows.tolist(), getattr(part, "pixels", None), pieces.tolist())
    good = [i for i, value in enumerate(values) if value is not None]
    outputs = known.read(chunk)
    if all(outputs[i] is not None for i in good):
        return [outputs[i] if values[i] is not None else None for i in range(len(values))]
    fresh = compute([values[i] for i in good])
    new = [(i, output) for i, output in zip(good, fresh, strict=True) if outputs[i] is None]
    keep([known.keys[chunk[i]].decode() for i, _ in new], [output for _, output in new])
    for i, output in new:
        outputs[i] = output
    return [outputs[i] if values[i] is not None else None for i in range(len(values))]


class _Keep:
    """Puts outputs into the cache, many at a time: a file each chunk would be thousands of files."""

    def __init__(self, cache: Cache, fingerprint: str) -> None:
        self.cache, self.fingerprint = cache, fingerprint
        self.names: list[str] = []
        self.outputs: list[np.ndarray] = []
        self.size, self.last = 0, time.monotonic()

    def __call__(self, names: list[str], outputs: list[np.ndarray]) -> None:
        self.names += names
        self.outputs += outputs
        self.size += sum(output.nbytes for output in outputs)
        if self.size >= KEPT_BYTES or time.monotonic() - self.last > KEPT_SECONDS:
            self.flush()

    def flush(self) -> None:
        start = 0
        for block in _alike(self.outputs):
            self.cache.put(self.fingerprint, self.names[start : start + len(block)], block)
            start += len(block)
        self.names, self.outputs, self.size, self.last = [], [], 0, time.monotonic()


def _alike(rows: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Neighbours of one shape, stacked."""
    for _, group in groupby(rows, key=lambda row: row.shape):
        yield np.stack(list(group))


def _encode(encoder: Encoder, pool: bool) -> Callable[[Sequence[Any]], np.ndarray]:
    def compute(values: Sequence[Any]) -> np.ndarray:
        _still(encoder)
        with torch.inference_mode():
            tokens = encoder(to_tensors(encoder.prepare(values)))
        if pool:
            return tokens.pooled().float().cpu().numpy()
        longest = _longest(tokens.mask)  # a tower may give as many positions as it can hear, whatever a sound lasts
        x = torch.where(tokens.mask[..., None], tokens.x, torch.nan)[:, :longest]
        return x.float().cpu().numpy()

    return compute


def _longest(mask_BT: Tensor) -> int:
    """Positions up to the last real one of any record; one at least.

    >>> _longest(torch.tensor([[True, False, False], [False, True, False]])), _longest(torch.zeros(1, 5, dtype=torch.bool))
    (2, 1)
    """
    return int((mask_BT.any(0) * torch.arange(1, mask_BT.shape[1] + 1, device=mask_BT.device)).max()) or 1


def _still(module: torch.nn.Module) -> None:
    """Evaluation mode; walking through a whole module that is in it already costs a served record dear."""
    if module.training:
        module.eval()


def _direct(
    part: Encoder | Plain, compute: Callable[[Sequence[Any]], Any], cells: Cells, rows: np.ndarray, pieces: np.ndarray,
    pool: bool, advance: Advance,
) -> Features:
    slot_R, made = np.full(len(rows), -1), None
    for some in blocks(len(rows)):
        values = cells.values(rows[some].tolist(), getattr(part, "pixels", None), pieces[some].tolist())
        good = [i for i, value in enumerate(values) if value is not None]
        advance(len(np.unique(rows[some])))
        if not good:
            continue
        outputs = compute([values[i] for i in good])
        if made is None:
            made = Rows() if isinstance(outputs, np.ndarray) else SparseRows(outputs.shape[1])
        slot_R[some][good] = len(made) + np.arange(len(good))
        made.append(outputs)
    made = Rows() if made is None else made
    return Features(_of_records(cells.n, rows, slot_R, made, pool), made)


@dataclass
class Prepared:
    """Prepared arrays of a trainable view's present records.

    Attributes:
        arrays: {key: rows}, on disk where they are many; None where they would be larger than
            ``HELD_BYTES``: then they are made anew for each batch.
        start_N: the place of each record's first piece in them.
        count_N: how many pieces it has there, one behind the other.
        piece_P: number of each of these pieces within its record.
    """

    encoder: Encoder
    cells: Cells
    arrays: dict[str, Rows] | None
    start_N: np.ndarray
    count_N: np.ndarray
    piece_P: np.ndarray

    @classmethod
    def of(cls, encoder: Encoder, cells: Cells, *, advance: Advance = lambda n: None) -> Prepared:
        """Read every present cell once, so that all unreadable ones are known before training."""
        rows, pieces = cells.pieces(np.flatnonzero(cells.present))
        arrays: dict[str, Rows] | None = {}
        usable = np.zeros(len(rows), bool)
        for some in blocks(len(rows), CHUNK):
            values = cells.values(rows[some].tolist(), getattr(encoder, "pixels", None), pieces[some].tolist())
            good = [i for i, value in enumerate(values) if value is not None]
            usable[some][good] = True
            if good and arrays is not None:
                for key, array in encoder.prepare([values[i] for i in good]).items():
                    arrays.setdefault(key, Rows()).append(array)
                if sum(one.nbytes for one in arrays.values()) > HELD_BYTES:
                    arrays = None
            advance(int((np.diff(rows, prepend=-1)[some] > 0).sum()))
        count_N = np.bincount(rows[usable], minlength=cells.n)
        return cls(encoder, cells, arrays, np.cumsum(count_N) - count_N, count_N, pieces[usable])

    def take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays of the given present rows, cut to the longest of them; ``pieces`` says how many each row has, if not one."""
        counts = self.count_N[rows]
        ends = np.cumsum(counts)
        slots = np.repeat(self.start_N[rows] - ends + counts, counts) + np.arange(counts.sum())
        batch = self._taken(np.repeat(rows, counts), slots)
        return batch if (counts == 1).all() else {**batch, "pieces": counts}

    def _taken(self, rows: np.ndarray, slots: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays of some pieces."""
        if self.arrays is None:
            pixels = getattr(self.encoder, "pixels", None)
            return self.encoder.prepare(self.cells.values(rows.tolist(), pixels, self.piece_P[slots].tolist()))
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
    frozen: dict[str, Any] = field(default_factory=dict)
    prepared: dict[str, Prepared] = field(default_factory=dict)

    def live(self, prepared: Mapping[str, Prepared]) -> Views:
        """The same where some views are read by encoders that learn."""
        frozen = {view: block for view, block in self.frozen.items() if view not in prepared}
        return replace(self, frozen=frozen, prepared={**self.prepared, **prepared})

    def batch(self, rows: np.ndarray, device: torch.device | str = "cpu") -> dict[str, dict[str, Tensor]]:
        """The given rows as ``Network.encode`` takes them."""
        return {view: self.arrays(view, rows, device) for view in self.names}

    def arrays(self, view: str, rows: np.ndarray, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """One view of the given rows."""
        present_B = self.present_NV[rows, self.names.index(view)]
        if view in self.frozen:
            return to_tensors({"features": self.frozen[view][rows], "present": present_B}, device)
        arrays = self.prepared[view].take(rows[present_B]) if present_B.any() else {}
        return to_tensors({**arrays, "present": present_B}, device)


class Encoded:
    """Tokens of some records, so that many subsets can be answered from one encoding.

    Frozen views are read from their features when they are asked for; what trained encoders made of
    theirs is kept, on disk where it is much. {view: Tokens} of all records, a few at a time by ``take``.

    Args:
        rows: of the records, in ``views``.
        batch: records that are encoded at a time.
    """

    def __init__(self, network: Network, views: Views, rows: np.ndarray, batch: int = 64) -> None:
        self.network, self.views, self.rows = network, views, rows
        self.device = next(network.members.parameters()).device
        self.places = np.arange(len(rows))
        self.made: dict[str, tuple[Rows, Rows]] = {}
        for view in views.names:
            if view in views.prepared:
                x, mask = self.made[view] = Rows(), Rows()
                for part in blocks(len(rows), batch):
                    tokens = self._fresh(view, rows[part])
                    x.append(tokens.x.cpu().numpy())
                    mask.append(tokens.mask.cpu().numpy())

    def _fresh(self, view: str, rows: np.ndarray) -> Tokens:
        with torch.inference_mode():
            return self.network.encode_view(view, self.views.arrays(view, rows, self.device))

    def take(self, part: Any) -> dict[str, Tokens]:
        """{view: Tokens} of a slice or an array of the records."""
        return {view: self._tokens(view, part) for view in self.views.names}

    def _tokens(self, view: str, part: Any) -> Tokens:
        if view not in self.made:
            return self._fresh(view, self.rows[part])
        x, mask = (torch.as_tensor(rows[self.places[part]], device=self.device) for rows in self.made[view])
        return Tokens(x, mask)

    def __getitem__(self, view: str) -> Tokens:
        return self._tokens(view, slice(None))

    def only(self, which: np.ndarray) -> Encoded:
        """Some of the records; nothing is encoded anew."""
        part = object.__new__(Encoded)
        part.__dict__.update(self.__dict__, rows=self.rows[which], places=self.places[which])
        return part


def encode(network: Network, views: Views, rows: np.ndarray | None = None, batch: int = 64) -> Encoded:
    """Tokens of all N records, or of ``rows``."""
    _still(network)
    return Encoded(network, views, np.arange(len(views.present_NV)) if rows is None else rows, batch)


def answer(network: Network, tokens: Encoded, present_NV: np.ndarray, batch: int = 1024) -> np.ndarray:
    """(N, C): answers with the views that ``present_NV`` leaves."""
    _still(network)
    batch = min(batch, network.task.at_once or batch)
    answers = np.zeros((0, 0), np.float32)
    with torch.inference_mode():
        for some in blocks(len(present_NV), batch):
            part = tokens.take(some)
            for i, view in enumerate(network.views):
                here = torch.as_tensor(present_NV[some, i], device=part[view].mask.device)
                part[view] = Tokens(part[view].x, part[view].mask & here[:, None])
            said = network.answers(part).cpu().numpy()
            if not len(answers):  # one array from the start: many small ones that stay would hold the memory between them
                answers = np.empty((len(present_NV), *said.shape[1:]), said.dtype)
            if network.task.forced:  # texts of any length, ended by 0
                width = max(answers.shape[1], said.shape[1])
                answers, said = (np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in (answers, said))
            answers[some] = said
    return answers


def force(network: Network, tokens: Encoded, targets: Mapping[str, np.ndarray], batch: int = 256) -> np.ndarray:
    """(N, K): figures of the records while their targets are given, see ``Task.force``."""
    _still(network)
    batch, found = min(batch, network.task.at_once or batch), []
    with torch.inference_mode():
        for some in blocks(len(tokens.rows), batch):
            wanted = to_tensors({key: value[some] for key, value in targets.items()}, tokens.device)
            found.append(network.forced(tokens.take(some), wanted).cpu().numpy())
    return np.concatenate(found)

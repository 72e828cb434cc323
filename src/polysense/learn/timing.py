"""When words are said: the scores of one record's positions, each with its seconds. T positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..contracts import Encoder, to_tensors
from ..data.reading import Cells
from ..network import Network
from ..subtitles import Word
from ..tokens import Tokens

#: Samples a second of a sound.
HZ = 16_000


def words_of(network: Network, tokens: Mapping[str, Tokens], cells: Mapping[str, Cells], row: int) -> list[Word]:
    """The words of one record; none where it has no sound.

    Several sounds in a cell, or in several columns, follow each other in time.

    Args:
        tokens: {view: (1, T, W)} of the record.
        cells: of the table, for the sounds themselves: their encoder tells where its positions stand.
    """
    place, ahead = [], 0.0
    with torch.inference_mode():
        for view in network.task.hears:
            if bool(tokens[view].mask.any()):
                mine, ahead = _seconds(network.encoders.encoders[view], cells[view], row, ahead)
                place.append(mine)
        if not place:
            return []
        second_T = np.concatenate(place)
        x, mask = ({view: getattr(part, half) for view, part in tokens.items()} for half in ("x", "mask"))
        core = network.members.first()
        return network.task.words_in_time(core.head, core.fused(x, mask), second_T)


def _seconds(encoder: Encoder, cells: Cells, row: int, ahead: float) -> tuple[np.ndarray, float]:
    """(T,): the middle of each position of a record's sounds, and where the last of them ends."""
    rows, pieces = cells.pieces(np.array([row]))
    found: list[Any] = []
    for value in cells.values(rows.tolist(), None, pieces.tolist()):
        if value is not None:
            heard = encoder(to_tensors(encoder.prepare([value])))
            found.append(heard.place[0, heard.mask[0], 0].cpu().numpy() + ahead)
            ahead += len(value) / HZ
    return np.concatenate(found), ahead

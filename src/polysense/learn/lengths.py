"""Whether records have positions enough for what is to be said at them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..data.rows import blocks
from ..errors import BadOption
from ..network import Network
from ..talk import counted
from .features import Views, encode


def check_lengths(
    network: Network, views: Views, needed_N: np.ndarray, rows: np.ndarray, names: Callable[[int], str],
    say: Callable[[str], None],
) -> None:
    """Name the training records whose text is longer than the positions at which it is to be said; they teach nothing.

    So it is with records that have more positions than the task can learn from at a time.

    Args:
        needed_N: positions that each record needs.
        names: row -> how the user knows it.
        say: takes a sentence for the user.

    Raises:
        BadOption: more than a fifth of them.
    """
    hears, count_R = network.task.hears, np.zeros(len(rows), int)
    tokens = encode(network, views, rows)
    for some in blocks(len(rows), network.task.at_once or 256):
        part = tokens.take(some)
        count_R[some] = sum(part[view].mask.sum(1).cpu().numpy() for view in hears)
    there = count_R > 0  # a record without a sound is none that is too short
    _too_long(there & (count_R > (network.task.most or np.inf)), there, rows, names, say)
    short = there & (count_R < needed_N[rows])
    if not short.any():
        return
    row = int(np.flatnonzero(short)[0])
    first = f"{names(rows[row])} has {count_R[row]} positions and needs {needed_N[rows[row]]}"
    many = f"{counted(int(short.sum()), 'training record')} of {counted(int(there.sum()), 'sound')}"
    if short.sum() > 0.2 * there.sum():
        view = hears[0]
        raise BadOption(
            f"{many} have more letters than positions to say them at ({first}); give the sound more of them, such as --set "
            f"{view}.merge=1 for an encoder from scratch, --set task.split=subword, or a fusion with positions"
        )
    say(f"{many} have more letters than positions to say them at and teach nothing: {first}")


def _too_long(
    long_R: np.ndarray, there_R: np.ndarray, rows: np.ndarray, names: Callable[[int], str], say: Callable[[str], None]
) -> None:
    """Name the first of the training records that are heard in several pieces; refuse when they are all."""
    if not long_R.any():
        return
    many = f"{counted(int(long_R.sum()), 'training record')} of {counted(int(there_R.sum()), 'sound')}"
    verb = "is" if long_R.sum() == 1 else "are"
    longer = f"{many} {verb} longer than can be heard in one piece, and nobody knows where such a text is to be parted"
    if long_R.sum() == there_R.sum():
        raise BadOption(f"{longer}; cut the sounds and their texts into pieces of at most 30 seconds")
    them = "it" if verb == "is" else "them"
    say(f"{longer}: nothing is learned from {them}, the first is {names(rows[int(np.flatnonzero(long_R)[0])])}")

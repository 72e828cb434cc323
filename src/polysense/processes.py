"""Several processes on one job, as ``torchrun`` starts them: who works on what, and how answers come together.

Alone, every function here is the identity. W processes; gloo between CPUs, nccl between GPUs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def count() -> int:
    """W, as torchrun says it in the environment; 1 without it."""
    return max(1, int(os.environ.get("WORLD_SIZE") or 1))


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK") or 0) if count() > 1 else 0


def first() -> bool:
    """Whether this is the process that talks and writes."""
    return rank() == 0


def steady_memory(whole: int = 8_388_608, spare: int = 16_777_216) -> bool:
    """Let glibc give large blocks back at once, for a process that works through a large table.

    By itself it takes ever larger blocks from the heap once some were freed, and the holes between what stays are
    never given back (mallopt(3), M_MMAP_THRESHOLD). Only the command line asks for it: it holds for the whole process.

    Args:
        whole: bytes from which a block is mapped by itself, and unmapped when it is freed.
        spare: free bytes at the end of the heap that are kept.

    Returns:
        Whether it was done; other C libraries are left as they are. Variables MALLOC_* of the user go before.
    """
    import ctypes

    if any(name.startswith("MALLOC_") for name in os.environ) or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(-3, whole)) and bool(mallopt(-1, spare))  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD


def mine(items: Sequence[Any]) -> Sequence[Any]:
    """Every W-th item, beginning with this process's own.

    >>> mine([1, 2, 3])
    [1, 2, 3]
    """
    return items[rank() :: count()]


def on_cpu() -> bool:
    """No accelerator here. Accelerate must be told, or several processes on CPUs do not know of each other."""
    import torch

    return not torch.accelerator.is_available()


@cache
def _start() -> None:
    from accelerate import PartialState

    PartialState(cpu=on_cpu())


def wait() -> None:
    """Go on when all processes have come here."""
    if count() > 1:
        import torch.distributed as distributed

        _start()
        distributed.barrier()


def from_first(make: Callable[[], None]) -> None:
    """Let the first process do something while the others wait, then all go on.

    A mistake of the first one is its own to raise; the others end with torchrun.
    """
    if first():
        make()
    wait()


def as_first(value: float) -> float:
    """What the first process says, in all of them: clocks differ.

    >>> as_first(2.5)
    2.5
    """
    import numpy as np

    return float(together(np.array([value] if first() else []), np.array([0] if first() else [], int), 1)[0])


def together(part_NK: np.ndarray, rows: np.ndarray, total: int) -> np.ndarray:
    """The parts that the processes computed, put where they belong.

    Args:
        part_NK: (n, ...) of this process.
        rows: (n,) places of its rows among all.
        total: N.

    Returns:
        (N, ...), the same in every process.

    >>> import numpy as np
    >>> together(np.array([[2.0], [1.0]]), np.array([1, 0]), 2).tolist()
    [[1.0], [2.0]]
    """
    import numpy as np

    out = np.zeros((total, *part_NK.shape[1:]), part_NK.dtype)
    out[rows] = part_NK
    if count() > 1:
        import torch
        import torch.distributed as distributed

        _start()
        whole = torch.from_numpy(out)
        on = whole.cuda() if distributed.get_backend() == "nccl" else whole
        distributed.all_reduce(on)  # every row is zero in all processes but one
        out = on.cpu().numpy()
    return out

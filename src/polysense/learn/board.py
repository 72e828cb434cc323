"""TensorBoard files: the figures of each epoch, for whoever likes to watch them there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import processes


class Board:
    """Writes the figures of epochs; without a folder it writes nothing.

    Args:
        folder: for the event files; several fits may share one as subfolders of it.

    >>> with Board(None) as board:
    ...     board.write({"epoch": 1, "loss": 0.5})
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = folder if processes.first() else None
        self._writer: Any = None

    def write(self, figures: Mapping[str, float]) -> None:
        """Each figure under its name, ``valid_loss`` as ``valid/loss``, at its epoch.

        A resumed fit replaces what was written for the epochs it does again.
        """
        if self.folder is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=int(figures["epoch"]))
        for name, value in figures.items():
            if name != "epoch":
                part, _, rest = name.partition("_")
                self._writer.add_scalar(f"valid/{rest}" if part == "valid" else f"train/{name}", value, int(figures["epoch"]))
        self._writer.flush()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._writer is not None:
            self._writer.close()

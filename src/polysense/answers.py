"""What a model says of records: answers with what was found in them. N records, V views, C classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .data.records import Records
from .judge import notebook


def origins_of(taken: Sequence[int | None]) -> list[str]:
    """In words, from the rows of the training table that texts were taken from.

    >>> origins_of([None, 12])
    ['network', 'training row 12']
    """
    return ["network" if row is None else f"training row {row}" for row in taken]


@dataclass
class Answers:
    """What a model says of records, and what it found in them.

    Attributes:
        answers: (N, C) probabilities or numbers, or (N,) texts; rows that were dropped hold the answer all the same.
        present_NV: bool, views read.
        bad_cells: entries of the data report.
        remarks: sentences for the user.
        classes: C names; none where answers are numbers.
        views: V names.
        task: that decodes them.
        taken: of each text the row of the training table that it was taken from, None where the network wrote it; None where
            no texts are taken.
    """

    records: Records
    answers: np.ndarray
    present_NV: np.ndarray
    bad_cells: list[dict[str, Any]]
    remarks: list[str]
    classes: list[Any]
    views: list[str]
    task: Any = None
    taken: list[int | None] | None = None

    @property
    def origins(self) -> list[str] | None:
        """Of each text "network", or "training row 12" where it is that record's; None where no texts are taken."""
        return None if self.taken is None else origins_of(self.taken)

    @property
    def probabilities(self) -> np.ndarray:
        """(N, C), where the answers are probabilities."""
        return self.answers

    def _repr_html_(self) -> str:
        first, place = self.answers[:10], {name: c for c, name in enumerate(self.classes)}
        said, sure = self.task.decode(first) if len(first) else [], None
        if self.task.kind == "several":
            names = [part.name for part in self.task.parts()]
            said = [", ".join(f"{name}: {one}" for name, one in zip(names, row, strict=True)) for row in said]
        elif self.task.kind == "classes":
            sure = [float(row[place[one]]) for row, one in zip(first, said, strict=True)]
        elif self.task.kind == "labels":
            said = [
                ", ".join(f"{name} {row[place[name]]:.2f}" for name in one) or "no label"
                for row, one in zip(first, said, strict=True)
            ]
        return notebook.answers_html(
            said, sure,
            [[view for view, there in zip(self.views, row, strict=True) if there] for row in self.present_NV[:10]],
            len(self.bad_cells), len(self.answers),
        )

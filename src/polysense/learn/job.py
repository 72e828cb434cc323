"""One fit on its way: what its stages have found so far. N records, V views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contracts import Encoder, Plain
from ..data.reading import Cells
from ..data.schema import Schema
from ..data.tables import Table
from ..network import Encoders, Network
from ..talk import Talk
from .beside import Aim
from .features import Views
from .gather import Gathered
from .plan import Plan
from .resume import Checkpoints


@dataclass
class Job:
    """One fit on its way: filled by its stages, in this order."""

    plan: Plan
    tables: list[Table]
    schema: Schema
    name: str  # of the task
    names: list[str]  # of the targets
    told: dict[str, Any]
    talk: Talk
    started: float  # CPU seconds
    began: float  # on the clock
    positions: bool = False  # the fusion wants all positions of a tower
    train_rows: np.ndarray = None
    valid_rows: np.ndarray = None
    cells: Mapping[str, Cells] = None
    task: Any = None
    targets: list[Any] = None
    kept: Checkpoints = None
    tried: dict[str, Any] = None  # {view: what "auto" tried}
    encoders: dict[str, Encoder] = None
    plains: dict[str, Plain] = None
    found: Gathered = None
    leaks: dict[str, int] = None
    labels: dict[str, np.ndarray] = None  # as the network learns them
    aims: list[Aim] = None  # as they are judged
    rivals: Any = None
    network: Network = None
    views: Views = None
    untrained: Encoders = None  # copies of the encoders as they were before training
    learned: dict[str, Any] = None  # what came of pseudo-labels
    tuned: list[str] = None  # views whose towers are to be tuned
    tuning: dict[str, Any] = None  # what came of it
    deepened: dict[str, Any] = None  # what came of a second training of the head
    fusing: dict[str, Any] = None  # what a late fusion was fitted to
    share: Any = None
    sides: dict[str, list[str]] = None  # of a matcher: {side: its views}
    history: list[dict[str, float]] = None

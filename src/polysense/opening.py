"""Opens a folder as what it holds: a model that answers, a matcher that compares, a recommender."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from . import store
from .hub import find_model
from .matcher import Matcher
from .model import Model
from .recommender import Recommender

#: Kind of a folder -> what opens it.
KINDS: dict[str, Any] = {"model": Model, "matcher": Matcher, "recommender": Recommender}


def load(
    folder: str | Path, encoders: Mapping[str, torch.nn.Module] | None = None, *, download: bool = False
) -> Any:
    """Read a folder that ``save`` wrote, or an id of the Hub: ``Model``, ``Matcher`` or ``Recommender``; see their ``load``.

    Raises:
        BadModel: damaged, foreign, or trained with another tower.
    """
    place = find_model(folder, fetch=download)
    kind = store.kind_of(place)
    return KINDS.get(kind, Model).load(place, encoders, download=download)

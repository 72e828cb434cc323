"""What is remembered of how a model was made: its data, its versions, its recipe. JSON throughout."""

from __future__ import annotations

import hashlib
import importlib.metadata as metadata
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data import joined
from ..data.reading import Cells
from ..data.schema import Schema
from ..data.tables import Table
from ..learn.gather import sample
from ..registry import modalities

_PACKAGES = ("polysense", "torch", "transformers", "numpy", "scikit-learn")


def data_facts(
    tables: Sequence[Table], schema: Schema, cells: Mapping[str, Cells], train_rows: np.ndarray, valid_rows: np.ndarray,
    leaks: Mapping[str, int], target_faults: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What was found in the tables: kinds with their reasons, counts, unreadable cells.

    Args:
        cells: of all tables behind each other.
        leaks: {view: validation records whose content also stands in training}.
        target_faults: entries for targets that cannot be read.
    """
    records = sum(len(table.records) for table in tables)
    return {
        "columns": [[column.name, column.kind, column.reason] for column in schema.columns],
        "records": records,
        "train": len(train_rows), "valid": len(valid_rows),
        "without_target": sum(table.without for table in tables),
        **({"lacking": {name: sum(table.lacking()[name] for table in tables) for name in tables[0].names}}
           if tables[0].names else {}),
        "absent": {view: int((~mine.present).sum()) for view, mine in cells.items()},
        "empty": {
            name: records - sum(part.nonempty[name] for part in joined.each(mine))
            for mine in cells.values() for name in mine.view.columns
        },
        "bad_cells": [*target_faults, *joined.faults(cells)],
        "missing_words": joined.missing_words(cells),
        "identical_in_train_and_valid": dict(leaks),
        "languages": {
            view: sorted(found) for view, mine in cells.items()
            if not mine.media and (found := _languages(mine, train_rows))
        },
        "notes": [note for table in tables for note in table.records.notes],
    }


def _languages(cells: Cells, rows: np.ndarray) -> set[str]:
    """Languages of a view's texts; none where that means nothing or cannot be told."""
    return modalities[cells.view.modality].languages(sample(cells, rows, seed=0)) - {"und", ""}


def shown_made(
    made: Mapping[str, Any], recipe: Mapping[str, Any], encoders: Mapping[str, Any], shares: Mapping[str, float], weights: str,
    kinds: Mapping[str, str],
) -> dict[str, Any]:
    """How the model was made, as the report shows it.

    Args:
        made: what ``made_facts`` gave.
        recipe: the model's settings; what is None or empty is left out, as fit does not need it.
        encoders: {view: encoder}.
        shares: {target: what the regressions give of its answer}; the name of a single target is empty.
        weights: fingerprint of the network's weights.
        kinds: {target: the kind of its answers}.
    """
    parts = []
    for view, encoder in encoders.items():
        state = encoder.state()
        if encoder.tower:
            regime = "tuned" if "tuned" in state else "frozen"
        else:
            regime = "fixed" if encoder.frozen else "scratch"
        parts.append({"view": view, "encoder": encoder.name, "regime": regime, "tower": state.get("tower")})
    return {
        "parts": parts, "mixture": dict(shares),
        "recipe": {name: value for name, value in recipe.items() if value is not None and value != {}},
        **made, "fingerprint": weights, "answers": dict(kinds),
        **({"tried": _tried(made["tried"])} if made.get("tried") else {}),
    }


def _tried(tried: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """{view: {encoder: its validation loss and cost, and whether it was chosen}}."""
    def said(entry: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
        if "loss" not in entry:
            return entry["left_out"]
        chosen = f" * {facts['why']}" if entry["encoder"] == facts["chosen"] else ""
        return f"{facts['unit']} {entry['loss']:.3f} ({entry['by']}, {entry['cpu_seconds']} CPU s){chosen}"

    return {
        view: {entry["encoder"]: said(entry, facts) for entry in facts["tried"]} or {facts["chosen"]: facts["why"]}
        for view, facts in tried.items()
    }


def fingerprint(network: Any) -> str:
    """sha256 of a network's weights in the order of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def made_facts(*, seed: int, source: str, training: Any, started: float) -> dict[str, Any]:
    """Versions, seed, source, settings of training, date and CPU seconds since ``started``."""
    return {
        "versions": versions(),
        "seed": seed, "source": source, "cpu_seconds": round(time.process_time() - started, 1),
        "train": {**vars(training)}, "date": time.strftime("%Y-%m-%d"),
    }


def versions() -> dict[str, str | None]:
    """Of Python and of the packages that the numbers come from; None for one that is not installed."""
    return {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

"""Recommender folders: what of a recommender is kept, and how it comes back. The folder's form is ``store``'s."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import store
from .data.schema import Schema
from .errors import BadModel, PolysenseError
from .keep import encoder_parts, encoders_again
from .learn.choose import full_name, tower_copies
from .learn.neighbours import Factors, Neighbours, Popularity
from .network import Encoders
from .tastes import TasteNetwork

_RIVALS = {"popularity": Popularity, "item_knn": Neighbours, "factors": Factors}


def save(folder: Path, recipe: Mapping[str, Any], it: Any, *, with_towers: bool = False) -> None:
    """Write a recommender folder; see ``Recommender.save``.

    Args:
        recipe: its settings.
        it: the fitted recommender.
    """
    network, all_ = it.network_, it.catalogue_
    encoders = encoder_parts(network.encoders)
    named = {view: full_name(encoder) for view, encoder in network.encoders.encoders.items()}
    facts = {
        "kind": "recommender", "recipe": dict(recipe) | {"encoders": named}, "schema": it.schema_.to_json(),
        "towers": {view: part["state"]["tower"] for view, part in encoders.items() if "tower" in part["state"]},
        "history": it.history_, "made": it.made_, "valid": it.valid_, "shares": it.shares_,
    }
    histories = list(it.users_.values())
    trees = {
        "model": {"encoders": encoders, "weights": {key: value.numpy() for key, value in network.state_dict().items()}},
        "items": {
            "ids": all_.ids, "counts": all_.counts_I, "vectors": all_.vectors_MIE.numpy(), "bare": all_.bare_MIE.numpy(),
            "features": all_.features_IP,
        },
        "users": {
            "names": list(it.users_), "items": np.concatenate([np.zeros(0, np.int64), *histories]).astype(np.int64),
            "ends": np.cumsum([0, *map(len, histories)]).astype(np.int64),
        },
        "rivals": {name: rival.state() for name, rival in it.rivals_.items()},
    }
    store.save(
        folder, facts, trees, tower_copies(network.encoders.encoders, with_towers), {"README.md": _card(facts).encode()},
        what="the recommender",
    )


def _card(facts: Mapping[str, Any]) -> str:
    made = facts["made"]
    return (
        f"# A polysense recommender\n\nLearned from {made['interactions']:,} interactions of {made['users']:,} users with "
        f"{made['known items']:,} items on {made['date']}. The histories of these users lie in this folder.\n\n"
        "    polysense show FOLDER\n    polysense predict FOLDER USERS\n    polysense evaluate FOLDER LATER-INTERACTIONS\n"
    )


def load(cls: Any, folder: Path, own: Mapping[str, torch.nn.Module] | None = None) -> Any:
    """A recommender from a folder that ``save`` wrote.

    Args:
        cls: its class.

    Raises:
        BadModel: damaged, foreign, something else, or made with another tower.
    """
    facts, parts = store.load(folder)
    if facts.get("kind") != "recommender":
        raise BadModel(f"{folder} holds a {facts.get('kind')}, not a recommender; open it with polysense.load")
    try:
        return _again(cls, Path(folder), facts, parts, own or {})
    except PolysenseError:
        raise
    except Exception as error:  # hashes fit, and yet it is not what we write: any type may come out
        said = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise BadModel(f"{folder} is damaged: its state cannot be read ({said}); fit the recommender anew") from error


def _again(cls: Any, folder: Path, facts: Mapping[str, Any], parts: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    it = cls(**facts["recipe"])
    it.schema_, it.shares_ = Schema.from_json(facts["schema"]), facts["shares"]
    it.history_, it.made_, it.valid_ = facts["history"], facts["made"], facts["valid"]
    how, plan = it._planned()
    encoders, conditions = encoders_again(parts["model"]["encoders"], own, folder)
    items, users = parts["items"], parts["users"]
    with torch.random.fork_rng():
        it.network_ = TasteNetwork(
            Encoders(encoders, conditions), plan.fusion, int((items["counts"] > 0).sum()),
            **{name: getattr(how, name) for name in ("dim", "width", "members", "history", "dropout", "input_dropout")},
        )
    it.network_.load_state_dict({key: torch.tensor(value) for key, value in parts["model"]["weights"].items()})
    it.network_.eval()
    it.catalogue_ = it.catalogue_of(
        items["ids"], items["counts"], torch.tensor(items["vectors"]), torch.tensor(items["bare"]), items["features"]
    )
    ends = users["ends"]
    it.users_ = {name: users["items"][ends[u] : ends[u + 1]] for u, name in enumerate(users["names"])}
    it.rivals_ = {name: _RIVALS[name]().load(state) for name, state in parts["rivals"].items()}
    return it

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
from .judge.recommended import as_text
from .keep import encoder_parts, encoders_again
from .learn.choose import full_name, tower_copies
from .learn.neighbours import Factors, Neighbours, Popularity
from .learn.plan import Plan, fitting_options
from .learn.recommending import Recommending
from .network import Encoders
from .tastes import TasteNetwork

_RIVALS = {"popularity": Popularity, "item_knn": Neighbours, "factors": Factors}


def make_network(encoders: Encoders, plan: Plan, how: Recommending, items: int) -> TasteNetwork:
    """The network that the plan describes, its weights from torch's generator.

    Args:
        items: known ones.
    """
    return TasteNetwork(encoders, plan.fusion, items, **how.network())


def rivals_state(rivals: Mapping[str, Any]) -> dict[str, Any]:
    """The plain recommenders as state trees."""
    return {name: rival.state() for name, rival in rivals.items()}


def rivals_again(states: Mapping[str, Any]) -> dict[str, Any]:
    """Undo ``rivals_state``."""
    return {name: _RIVALS[name]().load(state) for name, state in states.items()}


def save(folder: Path, recipe: Mapping[str, Any], it: Any, *, with_towers: bool = False) -> None:
    """Write a recommender folder; see ``Recommender.save``.

    Args:
        recipe: its settings.
        it: the fitted recommender.
    """
    network, all_ = it.network_, it.catalogue_
    encoders = encoder_parts(network.encoders)
    named = {view: full_name(encoder) for view, encoder in network.encoders.encoders.items()}
    options = fitting_options(recipe["options"], named)
    facts = {
        "kind": "recommender", "recipe": dict(recipe) | {"encoders": named, "options": options}, "schema": it.schema_.to_json(),
        "towers": {view: part["state"]["tower"] for view, part in encoders.items() if "tower" in part["state"]},
        "history": it.history_, "data": it.data_report_, "made": it.made_, "valid": it.valid_, "shares": it.shares_,
    }
    histories = list(it.users_.values())
    trees = {
        "model": {"encoders": encoders, "weights": _weights(network)},
        "contents": {"encoders": encoder_parts(it.contents_), "weights": _weights(it.contents_)},
        "items": {
            "ids": all_.ids, "counts": all_.counts_I, "vectors": all_.vectors_MIE.numpy(), "bare": all_.bare_MIE.numpy(),
            "features": all_.features_IP,
        },
        "users": {
            "names": list(it.users_), "items": np.concatenate([np.zeros(0, np.int64), *histories]).astype(np.int64),
            "ends": np.cumsum([0, *map(len, histories)]).astype(np.int64),
        },
        "rivals": rivals_state(it.rivals_),
    }
    store.save(
        folder, facts, trees, tower_copies(network.encoders.encoders, with_towers), {"README.md": _card(facts).encode()},
        what="the recommender",
    )


def _weights(module: torch.nn.Module) -> dict[str, Any]:
    return {key: value.numpy() for key, value in module.state_dict().items()}


def _card(facts: Mapping[str, Any]) -> str:
    """What lies in the folder, for people."""
    made, recipe = facts["made"], facts["recipe"]
    parts = [
        "# A polysense recommender",
        f"Recommends '{recipe['item']}' to '{recipe['user']}'. Learned from {made['interactions']:,} interactions of "
        f"{made['users']:,} users with {made['known items']:,} of {made['all items']:,} items on {made['date']}. An item is "
        "described by " + ", ".join(f"{view} ({name})" for view, name in recipe["encoders"].items()) + ".",
        "    polysense show FOLDER\n    polysense predict FOLDER USERS\n"
        "    polysense evaluate FOLDER LATER-INTERACTIONS --items ITEMS --html report.html",
    ]
    if facts["valid"]:
        parts += [
            "On the interactions that validated, where shares and settings were chosen, so new ones are somewhat harder:",
            "\n".join(f"    {line}" for line in as_text(facts["valid"]).splitlines()),
        ]
    parts += [
        "## Before you rely on it",
        "* The histories of these users lie in this folder: treat it as you treat them.\n"
        "* It recommends what resembles what was taken, popular items above all; what was never shown to anybody could not "
        "be taken, and it knows nothing of that.\n"
        "* Somebody without a history gets what is popular."
        + ("\n* The pretrained towers bring along what their own training data held." if facts["towers"] else ""),
    ]
    return "\n\n".join(parts) + "\n"


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
    it.data_report_ = facts["data"]
    how, plan = it._planned()
    encoders, conditions = encoders_again(parts["model"]["encoders"], own, folder)
    items, users = parts["items"], parts["users"]
    weights = {key: torch.tensor(value) for key, value in parts["model"]["weights"].items()}

    def made() -> TasteNetwork:
        return make_network(Encoders(encoders, conditions), plan, how, int((items["counts"] > 0).sum()))

    with torch.random.fork_rng():
        with torch.device("meta"):  # shapes only: a folder that lies about its widths takes no memory
            wanted = {key: value.shape for key, value in made().state_dict().items()}
        if wanted != {key: value.shape for key, value in weights.items()}:
            raise BadModel(
                f"{folder} does not fit this version of polysense ({facts['made']['versions']['polysense']} wrote it); "
                "fit the recommender anew"
            )
        it.network_ = made()
    it.network_.load_state_dict(weights)
    it.network_.eval()
    it.contents_ = Encoders(*encoders_again(parts["contents"]["encoders"], {}))
    it.contents_.load_state_dict({key: torch.tensor(value) for key, value in parts["contents"]["weights"].items()})
    it.catalogue_ = it.catalogue_of(
        items["ids"], items["counts"], torch.tensor(items["vectors"]), torch.tensor(items["bare"]), items["features"]
    )
    ends = users["ends"]
    it.users_ = {name: users["items"][ends[u] : ends[u + 1]] for u, name in enumerate(users["names"])}
    it.rivals_ = rivals_again(parts["rivals"])
    return it

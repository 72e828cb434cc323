"""Matcher folders: what of a matcher is kept, and how it comes back. The folder's form is ``store``'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from . import store
from .contracts import Plain
from .data.schema import Schema
from .errors import BadModel, PolysenseError
from .keep import encoder_parts, encoders_again, network_again, plains_again
from .learn.begin_pairs import side_columns, sides_of
from .learn.choose import full_name, tower_copies
from .learn.contrast import Contrast
from .learn.linear import Linear
from .learn.plan import MATCH, Plan
from .network import Encoders
from .pairs import PairNetwork


@dataclass
class LearnedPairs:
    """All that a fitted matcher has learned.

    Attributes:
        plains: {view: plain features} for the linear maps.
        linear: the plain rivals, one of which shares in the vectors.
        chosen: JSON of what validation chose: share, temperature, thresholds.
        facts: JSON of ``history``, ``data``, ``made`` and ``valid``.
    """

    network: PairNetwork
    schema: Schema
    plains: dict[str, Plain]
    linear: Linear
    chosen: dict[str, Any]
    facts: dict[str, Any]


def make_network(encoders: Encoders, plan: Plan, sides: Mapping[str, list[str]]) -> PairNetwork:
    """The network that the plan describes, its weights from torch's generator."""
    how = plan.matching
    return PairNetwork(
        encoders, plan.fusion, sides, lambda: Contrast(how.loss, margin=how.margin), **how.network(plan.training)
    )


def save(folder: Path, recipe: Mapping[str, Any], learned: LearnedPairs, *, with_towers: bool = False) -> None:
    """Write a matcher folder.

    Args:
        recipe: the matcher's settings.
        with_towers: copy the towers in.

    Raises:
        Mistake: the folder holds something other than a model.
        CannotWrite: disk full or no permission; what stood there is untouched.
    """
    network = learned.network
    encoders = encoder_parts(network.encoders)
    named = {view: full_name(encoder) for view, encoder in network.encoders.encoders.items()}
    facts = {
        "kind": "matcher", **learned.facts, "recipe": dict(recipe) | {"encoders": named},
        "towers": {view: part["state"]["tower"] for view, part in encoders.items() if "tower" in part["state"]},
        "schema": learned.schema.to_json(), "sides": network.sides, "chosen": learned.chosen,
    }
    trees = {
        "model": {"encoders": encoders, "weights": {key: value.numpy() for key, value in network.state_dict().items()}},
        "rivals": {
            "plain": {view: part.state() for view, part in learned.plains.items()}, "linear": learned.linear.state(),
        },
    }
    store.save(folder, facts, trees, tower_copies(network.encoders.encoders, with_towers), {"README.md": _card(facts).encode()})


def _card(facts: Mapping[str, Any]) -> str:
    """What lies in the folder, for people."""
    sides = facts["sides"]
    return (
        f"# A polysense matcher\n\nIt compares {' + '.join(sides['query'])} with {' + '.join(sides['item'])}, learned from "
        f"{facts['data']['train']:,} pairs of {facts['made']['source']} on {facts['made']['date']}.\n\n"
        "    polysense show FOLDER\n    polysense evaluate FOLDER TABLE\n    polysense index FOLDER TABLE\n"
        "    polysense search FOLDER --text WORDS\n"
    )


def load(
    folder: str | Path, own: Mapping[str, torch.nn.Module] | None = None
) -> tuple[dict[str, Any], LearnedPairs]:
    """The recipe and what was learned, from a folder that ``save`` wrote.

    Args:
        own: {view: module}, for the views that were trained with a user's own module.

    Raises:
        BadModel: damaged, foreign, a model that answers, or trained with another tower.
    """
    facts, parts = store.load(folder)
    if facts.get("kind") != "matcher":
        raise BadModel(f"{folder} holds a {facts.get('kind')}, not a matcher; open it with polysense.load, or fit a matcher")
    try:
        return _again(Path(folder), facts, parts, own or {})
    except PolysenseError:
        raise
    except Exception as error:  # hashes fit, and yet it is not what we write: any type may come out
        said = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise BadModel(f"{folder} is damaged: its state cannot be read ({said}); fit the matcher anew") from error


def _again(
    folder: Path, facts: Mapping[str, Any], parts: Mapping[str, Any], own: Mapping[str, torch.nn.Module]
) -> tuple[dict[str, Any], LearnedPairs]:
    recipe, schema = facts["recipe"], Schema.from_json(facts["schema"])
    plan = Plan.of(recipe["fusion"], MATCH, recipe["options"])
    encoders, conditions = encoders_again(parts["model"]["encoders"], own, folder)
    sides = sides_of(schema, side_columns(recipe))
    network = network_again(
        lambda: make_network(Encoders(encoders, conditions), plan, sides), parts["model"]["weights"], folder, facts, "matcher"
    )
    plains, linear = plains_again(parts["rivals"]["plain"], schema), Linear.load(parts["rivals"]["linear"])
    known = {name: facts[name] for name in ("history", "data", "made", "valid")}
    return recipe, LearnedPairs(network, schema, plains, linear, facts["chosen"], known)

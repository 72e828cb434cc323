"""Model folders: what of a model is kept, and how it comes back.

The folder's form (JSON, safetensors, hashes, written aside and renamed) is ``store``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from . import store
from .contracts import Encoder, Plain
from .data.reading import Cells
from .data.schema import Schema
from .data.tables import Table
from .errors import BadModel, PolysenseError
from .judge.card import card
from .judge.facts import versions
from .layers import Condition
from .learn import beside, blend
from .learn.beside import each, one_or_each
from .learn.choose import encoder_again, full_name, tower_copies
from .learn.consensus import Consensus
from .learn.plan import Plan
from .learn.resume import brief, content
from .network import Encoders, Network
from .registry import modalities, tasks

#: Under this name a model folder knows and carries the pretrained network of its task; no view's folder is called so.
OF_TASK = "task.model"


@dataclass
class Learned:
    """All that a fitted model has learned.

    Attributes:
        plains: {view: plain features} for the rivals.
        rivals: regressions per subset of views; of several targets {target: regressions}.
        share: of the answer that the regressions give, likewise.
        facts: JSON of ``history``, ``data``, ``made`` and ``valid``.
        parts: of several models that answer together, what each has learned; network, plain features and rivals
            are then the first one's.
    """

    network: Network
    task: Any
    schema: Schema
    plains: dict[str, Plain]
    rivals: Any
    share: Any
    facts: dict[str, Any]
    parts: list[Learned] = field(default_factory=list)


def save(folder: Path, recipe: Mapping[str, Any], learned: Learned, *, with_towers: bool = False) -> None:
    """Write a model folder.

    Args:
        recipe: the model's settings.
        with_towers: copy the towers in.

    Raises:
        Mistake: the folder holds something other than a model.
        CannotWrite: disk full or no permission; what stood there is untouched.
    """
    network = learned.network
    encoders = encoder_parts(network.encoders)
    facts = {
        "kind": "model", **learned.facts,
        "recipe": dict(recipe) | {
            "encoders": {view: full_name(encoder) for view, encoder in network.encoders.encoders.items()},
        },
        "towers": {view: part["state"]["tower"] for view, part in encoders.items() if "tower" in part["state"]}
        | ({OF_TASK: learned.task.tower} if learned.task.tower else {}),
        "schema": learned.schema.to_json(), **_about_targets(learned.task, learned.share),
    }
    task = learned.task
    name = folder.resolve().name
    trees = {"model": {"encoders": encoders, "task": _task_part(task), "weights": _weights(network)}}
    if learned.parts:
        facts["models"] = [
            {"regressions": _shares_told(part.share), "seed": part.facts["made"]["seed"]} for part in learned.parts
        ]
        trees |= {
            f"part-{k}": {
                "encoders": encoder_parts(part.network.encoders), "task": _task_part(part.task),
                "weights": _weights(part.network),
                "rivals": _rivals_part(part, learned.parts[0] if k else None),
            }
            for k, part in enumerate(learned.parts)
        }
        del trees["model"]["encoders"], trees["model"]["weights"]  # those of the first part
    else:
        trees["rivals"] = _rivals_part(learned, None)
    copies = tower_copies(network.encoders.encoders, with_towers)
    if with_towers:
        copies |= {f"towers/{OF_TASK}/{name}": path for name, path in task.files().items()}
    store.save(folder, facts, trees, copies, {"README.md": card(facts, name).encode()})


def _about_targets(task: Any, share: Any) -> dict[str, Any]:
    """What is to be read of the answers; of several targets under their names too."""
    facts = {"answers": task.kind, "classes": list(task.classes), "regressions": _shares_told(share)}
    if getattr(task, "counts", None) is not None:
        facts["counts"] = [int(count) for count in task.counts]  # training records of each class
    if len(task.parts()) > 1:
        facts["targets"] = {part.name: _about_targets(part.task, one) for part, one in each(task, share)}
    return facts


def _shares_told(share: Any) -> dict[str, Any]:
    return {name: vars(one) for name, one in share.items()} if isinstance(share, dict) else vars(share)


def _shares_again(told: Mapping[str, Any], task: Any) -> Any:
    """Undo ``_shares_told``."""
    parts = task.parts()
    kinds = [Consensus if part.task.kind == "words" else blend.Share for part in parts]
    each_told = [told[part.name] if len(parts) > 1 else told for part in parts]
    return one_or_each(task, [kind(**one) for kind, one in zip(kinds, each_told, strict=True)])


def _task_part(task: Any) -> dict[str, Any]:
    return {"options": _options_of(task), "state": task.state()}


def _weights(network: Network) -> dict[str, Any]:
    return {key: value.numpy() for key, value in network.state_dict().items()}


def _rivals_part(learned: Learned, first: Learned | None) -> dict[str, Any] | None:
    """None where they are those of the first of several models."""
    if first is not None and learned.rivals is first.rivals:
        return None
    return {"plain": {view: part.state() for view, part in learned.plains.items()}, "state": beside.state(learned.rivals)}


def load(folder: str | Path, own: Mapping[str, torch.nn.Module] | None = None) -> tuple[dict[str, Any], Learned]:
    """The recipe and what was learned, from a folder that ``save`` wrote.

    Args:
        own: {view: module}, for the views that were trained with a user's own module.

    Raises:
        BadModel: damaged, foreign, or trained with another tower.
    """
    facts, parts = store.load(folder)
    if facts.get("kind") != "model":
        raise BadModel(f"{folder} holds a {facts.get('kind')}, not a model; open it with polysense.load")
    try:
        return _again(Path(folder), facts, parts, own or {})
    except PolysenseError:
        raise
    except Exception as error:  # hashes fit, and yet it is not what we write: any type may come out
        said = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise BadModel(f"{folder} is damaged: its state cannot be read ({said}); fit the model anew") from error


def _again(
    folder: Path, facts: Mapping[str, Any], parts: Mapping[str, Any], own: Mapping[str, torch.nn.Module]
) -> tuple[dict[str, Any], Learned]:
    """What ``load`` returns, from what the store holds."""
    recipe, schema = facts["recipe"], Schema.from_json(facts["schema"])
    known = {name: facts[name] for name in ("history", "data", "made", "valid")}
    if "models" not in facts:
        tree = {**parts["model"], "rivals": parts["rivals"]}
        return recipe, _part_again(folder, facts, tree, own, schema, facts["regressions"], known, None)
    learned: list[Learned] = []
    for k, about in enumerate(facts["models"]):
        mine = {"history": [], "data": {}, "made": {"seed": about["seed"]}, "valid": None}
        part = {view: deepcopy(module) for view, module in own.items()}
        learned.append(_part_again(
            folder, facts, parts[f"part-{k}"], part, schema, about["regressions"], mine, learned[0] if k else None
        ))
    task = tasks.make(Plan.of(recipe["fusion"], recipe["task"], recipe["options"]).task, **parts["model"]["task"]["options"])
    task.load(parts["model"]["task"]["state"])
    first, share = learned[0], _shares_again(facts["regressions"], task)
    return recipe, Learned(first.network, task, schema, first.plains, first.rivals, share, known, learned)


def _part_again(
    folder: Path, facts: Mapping[str, Any], tree: Mapping[str, Any], own: Mapping[str, torch.nn.Module], schema: Schema,
    share: Mapping[str, Any], known: dict[str, Any], first: Learned | None,
) -> Learned:
    """One model from its state trees.

    Args:
        known: its own facts.
        first: of several models the first, whose rivals it may share.
    """
    recipe = facts["recipe"]
    plan = Plan.of(recipe["fusion"], recipe["task"], recipe["options"])
    task = tasks.make(plan.task, **tree["task"]["options"])
    task.allow(carried=folder / "towers" / OF_TASK)
    task.load(tree["task"]["state"])
    encoders, conditions = encoders_again(tree["encoders"], own, folder)
    network = network_again(
        lambda: Network(Encoders(encoders, conditions), plan.fusion, task, **plan.training.network()), tree["weights"], folder,
        facts,
    )
    if tree["rivals"] is None:
        plains, rivals = first.plains, first.rivals
    else:
        plains, rivals = plains_again(tree["rivals"]["plain"], schema), beside.load(tree["rivals"]["state"])
    return Learned(network, task, schema, plains, rivals, _shares_again(share, task), known)


def network_again(
    make: Callable[[], Any], weights: Mapping[str, Any], folder: Path, facts: Mapping[str, Any], noun: str = "model"
) -> Any:
    """The network that ``make`` gives, with these weights, ready to answer; a folder that lies about widths takes no memory.

    Raises:
        BadModel: its weights have other names or shapes than these.
    """
    tensors = {key: torch.tensor(value) for key, value in weights.items()}
    with torch.random.fork_rng():
        with torch.device("meta"):  # shapes only
            wanted = {key: value.shape for key, value in make().state_dict().items()}
        if wanted != {key: value.shape for key, value in tensors.items()}:
            wrote, mine = facts["made"]["versions"]["polysense"], versions()["polysense"]
            who = f"polysense {wrote}, and this is {mine}" if wrote != mine else f"another state of polysense {mine}"
            raise BadModel(f"{folder} was written by {who}: its weights have other shapes; fit the {noun} anew")
        network = make()
    network.load_state_dict(tensors)
    return network.eval()


def encoder_parts(encoders: Encoders) -> dict[str, dict[str, Any]]:
    """{view: name, options and state of its encoder, shape of its condition}: a tree of JSON values and arrays."""
    return {
        view: {
            "name": encoder.name, "options": encoder.options(), "state": encoder.state(),
            "condition": _shape(encoders.conditions[view]) if view in encoders.conditions else None,
        }
        for view, encoder in encoders.encoders.items()
    }


def encoders_again(
    parts: Mapping[str, Mapping[str, Any]], own: Mapping[str, torch.nn.Module], folder: Path | None = None
) -> tuple[dict[str, Any], dict[str, Condition]]:
    """Encoders and empty conditions from what ``encoder_parts`` gave; ``folder`` is the model's."""
    encoders = {view: encoder_again(view, part, own, folder) for view, part in parts.items()}
    return encoders, {view: Condition().empty(*part["condition"]) for view, part in parts.items() if part["condition"]}


def fitted_parts(encoders: Mapping[str, Encoder]) -> dict[str, Any]:
    """What fitted encoders are before training, first weights of the trainable ones included, as a state tree."""
    return {
        view: {
            "name": encoder.name, "options": encoder.options(), "state": encoder.state(),
            "weights": None if encoder.frozen else {key: value.numpy() for key, value in encoder.state_dict().items()},
        }
        for view, encoder in encoders.items()
    }


def fitted_again(parts: Mapping[str, Any], own: Mapping[str, torch.nn.Module]) -> dict[str, Encoder]:
    """Undo ``fitted_parts``.

    Args:
        own: {view: module}, for the views that are read by a user's own module.
    """
    encoders = {}
    for view, part in parts.items():
        with torch.random.fork_rng():
            encoders[view] = encoder_again(view, part, own)
        if part["weights"] is not None:
            encoders[view].load_state_dict({key: torch.tensor(value) for key, value in part["weights"].items()})
    return encoders


def unfinished_facts(
    settings: Mapping[str, Any], plan: Plan, tables: Sequence[Table], targets: Sequence[Any], cells: Mapping[str, Cells],
    versions: Mapping[str, Any],
) -> dict[str, Any]:
    """What tells one unfinished fit from another: settings, contents of the tables and their files, versions.

    Args:
        settings: of the model, without those that change nothing of the outcome.
        targets: of all tables behind each other.
    """
    options = {f"{part}.{name}": value for part, named in plan.options.items() for name, value in named.items()}
    options.pop("train.checkpoint", None)
    encoders = settings["encoders"] or {}
    return {
        "settings": {name: value for name, value in settings.items() if name != "options"} | options | {
            "encoders": {v: given if isinstance(given, str) else type(given).__name__ for v, given in encoders.items()},
        },
        "versions": dict(versions),
        "tables": [table.records.source for table in tables],
        "records": [f"{len(table.records)} records {content(table.records)}" for table in tables] + [brief(targets)],
        "files": {view: brief(mine.digests()) for view, mine in cells.items() if mine.media},
    }


def plains_again(states: Mapping[str, Any], schema: Schema) -> dict[str, Plain]:
    """{view: plain features} from their states."""
    modality = {view.name: view.modality for view in schema.views}
    plains = {}
    for view, state in states.items():
        plains[view] = modalities[modality[view]].plain()
        plains[view].load(state)
    return plains


def _shape(condition: Condition) -> list[int]:
    return [len(condition.mean), condition.dim]


def _options_of(task: Any) -> dict[str, Any]:
    return {name: getattr(task, name) for name in tasks.about(task.name).options}

"""What the user asked for, checked before any data is read."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import processes
from ..data.targets import SEVERAL, task_pairs
from ..errors import BadOption, UnknownName, need
from ..registry import encoders, fusions, options_of, suggest, tasks
from .matching import Matching
from .training import Auto, Training, Tuning

#: Section of ``options`` -> the class whose options it holds; ``polysense list training`` shows them.
SETTINGS = {"train": Training, "tune": Tuning, "auto": Auto, "match": Matching}
#: The task of a matcher, which is none of the shelf: two sides are compared, nothing is answered.
MATCH = "match"
#: In place of an encoder's name: try those there are. In place of a view's: all views that are not named.
AUTO, OTHERS = "auto", "*"
#: The fusion of tasks that name none.
FUSION = "concat"
#: How much work a fit may be, see ``quality``; "balanced" changes nothing.
QUALITIES = ("fast", "balanced", "best")
#: Sections of ``options`` that are not views.
SECTIONS = ("fusion", "task", *SETTINGS)
#: Setting -> what it may be, and how a message says so.
TYPES = {
    **dict.fromkeys(("group", "split"), (str, "the name of a column")),
    "target": ((str, list, tuple), "the name of a column, or a list of names"),
    "task": ((str, Mapping), "a name, or pairs of a target and a name"),
    **dict.fromkeys(("fusion", "on_bad"), (str, "a name")),
    "tune": ((str, list, tuple), "'all' or a list of views"),
    "tensorboard": ((str, os.PathLike), "a folder"),
    **dict.fromkeys(("columns", "views", "encoders", "options"), (Mapping, "pairs of a name and a value")),
    "seed": ((int, np.integer), "a whole number"), "max_bad": ((int, float), "a share from 0 to 1"),
}


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings of a model that have the wrong type or are out of their range.

    Raises:
        BadOption: which one, and what it may be.
    """
    for name, (kinds, words) in TYPES.items():
        value = settings[name]
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise BadOption(f"{name}={value!r} must be {words}")
    for name in ("columns", "views", "encoders", "options"):
        for key in settings[name] or {}:
            if not isinstance(key, str):
                raise BadOption(f"{name} has the name {key!r}; names are words, so put it in quotes")
    for name, kind in (settings["columns"] or {}).items():
        if not isinstance(kind, str):
            raise BadOption(f"columns has {name}={kind!r}; it must name a kind, such as {name}=number")
    for name, joined in (settings["views"] or {}).items():
        if not isinstance(joined, (str, list, tuple)) or not all(isinstance(column, str) for column in joined):
            raise BadOption(f"views has {name}={joined!r}; it must name columns, such as {name}=title+body or a list of them")
    if not 0 <= settings["seed"] < 2**32:
        raise BadOption(f"seed={settings['seed']} must be a whole number from 0 to {2**32 - 1}")
    if not isinstance(settings["target"], (str, type(None))) and not all(isinstance(name, str) for name in settings["target"]):
        raise BadOption(f"target={settings['target']!r} must hold names of columns only")
    if settings["on_bad"] not in ("error", "mask", "drop"):
        raise BadOption(f"on_bad='{settings['on_bad']}' must be 'error', 'mask' or 'drop'")
    if not 0 <= settings["max_bad"] <= 1:
        raise BadOption(f"max_bad={settings['max_bad']} must be a share from 0 to 1")
    limit = settings["time_limit"]
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0):
        raise BadOption(f"time_limit={limit!r} must be a number of seconds above 0")
    if settings["quality"] not in QUALITIES:
        raise BadOption(f"quality={settings['quality']!r} must be 'fast', 'balanced' or 'best'")
    if settings["tensorboard"] is not None:
        need("tensorboard", "tensorboard")
    task = settings["task"]
    for name in [] if task is None else [task] if isinstance(task, str) and "=" not in task else task_pairs(task).values():
        if name not in tasks:
            tasks[name]


def check_several(folds: int | None, seeds: int, tune: Any, task: str = "") -> str | None:
    """"folds", "seeds", or None for one model.

    Args:
        task: its name, where it is known.

    Raises:
        BadOption: a number that cannot be, or what does not go together.
    """
    for name, value, least in (("folds", folds, 2), ("seeds", seeds, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least):
            raise BadOption(f"{name}={value!r} must be a whole number of at least {least}")
    if folds is None and seeds == 1:
        return None
    if folds is not None and seeds > 1:
        raise BadOption(f"folds={folds} and seeds={seeds} do not go together; give one of them")
    kind = "folds" if folds is not None else "seeds"
    if task and tasks.about(task).kind == "words" and not tasks.about(task).mixes:
        raise BadOption(
            f"the task '{task}' answers with words, and several texts have no average; leave --{kind} away, or fit one model "
            "with each --seed"
        )
    if tune:
        raise BadOption(f"tune and {kind} do not go together: every model would keep towers of its own; give one of them")
    return kind


@dataclass
class Plan:
    """The user's options, checked before any data is read.

    Attributes:
        name: of the fusion.
        task: its name on the shelf.
        options: {section or view: {option: value}}.
        training: how the network is trained.
        tuning: how towers are tuned.
        auto: how encoders are tried.
        matching: how a matcher is trained; None of a model.
    """

    name: str
    task: str
    options: dict[str, dict[str, Any]]
    training: Training
    tuning: Tuning
    auto: Auto
    matching: Matching | None = None

    @classmethod
    def of(cls, fusion: str | None, task: str | Mapping[str, str], options: Mapping[str, Any]) -> Plan:
        """Options written flat ("train.epochs": 20) or nested, sorted into their sections.

        Args:
            fusion: its name; None takes the task's own.
            task: its name; of several targets {target: name}; ``MATCH`` of a matcher.

        Raises:
            BadOption: a section or an option that does not exist, or a value out of its range.
        """
        nested: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        for key, value in options.items():
            section, dot, name = key.partition(".")
            if isinstance(value, Mapping) and not dot:
                nested.setdefault(section, {}).update(value)
            elif not dot:
                raise BadOption(f"option '{key}' lacks its section; write {_sections(key, task)} or VIEW.{key}")
            else:
                nested.setdefault(section, {})[name] = value
        if fusion is None:
            fusion = (tasks.about(task).fusion if isinstance(task, str) and task in tasks else "") or FUSION
        fusions.check(fusion, nested["fusion"], "fusion.")
        if task == MATCH:
            for name in nested["task"]:
                raise BadOption(f"a matcher has no task, and so no task.{name}; its own options are match.loss and others")
        elif not isinstance(task, str):
            nested["task"], task = options_of_targets(task, nested["task"]), SEVERAL
        else:
            tasks.check(task, nested["task"], "task.")
            tasks.check_types(task, nested["task"], "task.")
        fusions.check_types(fusion, nested["fusion"], "fusion.")
        if task in tasks:
            if tasks.about(task).kind == "words":
                _check_words(task, nested["train"])
            nested["train"] = {**suited(tasks.about(task).training, nested["task"]), **nested["train"]}
            nested["tune"] = {**suited(tasks.about(task).tuning, nested["task"]), **nested["tune"]}
        if task != MATCH and nested["train"].get("pseudo") and tasks.about(task).kind not in ("classes", "labels"):
            raise BadOption(
                f"train.pseudo={nested['train']['pseudo']!r} asks how sure an answer is, and the task '{task}' has no "
                "probability for a whole record; leave it away"
            )
        for section, holder in SETTINGS.items():
            known = list(options_of(holder))
            for name in nested[section]:
                if name not in known:
                    raise BadOption(
                        f"{holder.__name__.lower()} has no option '{section}.{name}'; " + suggest(name, known, f"{section}.")
                    )
        made = {section: holder(**nested[section]) for section, holder in SETTINGS.items() if section != "train"}
        matching = made.pop("match")
        if task != MATCH:
            for name in nested["match"]:
                raise BadOption(f"match.{name} is an option of a matcher (polysense match), and this is a model; leave it away")
            return cls(fusion, task, nested, Training(**nested["train"]), *made.values())
        return cls(fusion, task, nested, matching.training(nested["train"]), *made.values(), matching)

    def check_views(self, views: Sequence[str]) -> None:
        """Refuse options of a view that the table does not have."""
        for section in self.options:
            if section not in SECTIONS and section not in views:
                raise BadOption(
                    f"options were given for '{section}', which is no view of the table; "
                    + suggest(section, [*SECTIONS, *views])
                )

    def check_encoders(self, named: Mapping[str, Any], modality: Mapping[str, str]) -> None:
        """Refuse named encoders that do not exist, do not read their view or lack an option given for it.

        Args:
            named: {view: name, name with tower, "auto", or module}; modules are not looked at.
            modality: {view: modality}.
        """
        for view, given in named_views(named, list(modality)).items():
            if view not in modality:
                raise BadOption(f"encoder given for '{view}', which is no view; {suggest(view, sorted(modality))}")
            if given == AUTO:
                _check_auto(view, modality[view], self.options.get(view, {}))
            elif isinstance(given, str):
                check_encoder(split_name(given)[0], view, modality[view], self.options.get(view, {}))

    def fusion(self, views: Sequence[str], dim: int) -> Any:
        """The chosen fusion with the user's options."""
        return fusions.make(self.name, views, dim, **self.options["fusion"])


def _check_words(task: str, train: Mapping[str, Any]) -> None:
    """Refuse what mixes or compares answers number by number, which texts are not."""
    why = {
        "pseudo": "has no probability for a whole record",
        **({} if tasks.about(task).mixes else {"regressions": "answers with words, which cannot be mixed"}),
        "distil": "answers with words and teaches by its targets alone",
    }
    for name, reason in why.items():
        if train.get(name):
            raise BadOption(f"train.{name}={train[name]!r} does not suit the task '{task}', which {reason}; leave it away")


def suited(training: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What suits a task with these options, from its ``training``.

    >>> suited({"epochs": 60, "decoder=language": {"epochs": 5}}, {"decoder": "language"})
    {'epochs': 5}
    """
    found = {name: value for name, value in training.items() if "=" not in name}
    for name in set(training) - set(found):
        option, _, value = name.partition("=")
        if str(chosen.get(option)) == value:
            found |= training[name]
    return found


def options_of_targets(named: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the task for several targets, from what the user gave.

    Args:
        named: {target: its task}.
        given: "weights" of the targets; "TARGET.OPTION", or TARGET with a dict, of one of them; "OPTION" of all whose
            task has it.

    Raises:
        BadOption: an option that no target has, or of a target that does not exist.

    >>> options_of_targets({"a": "regress", "b": "classify"}, {"a.error": "mae", "smoothing": 0.1})["targets"][0]
    {'target': 'a', 'task': 'regress', 'options': {'error': 'mae'}}
    """
    for name, task in named.items():
        if task in tasks and tasks.about(task).kind == "words":
            raise BadOption(
                f"the task '{task}' of '{name}' answers with words and stands alone; give it a model of its own "
                f"(--target {name})"
            )
    weights = given.get("weights")
    if isinstance(weights, str) and "=" not in weights:
        raise BadOption(
            f"task.weights={weights!r} must give targets their weights, as in {','.join(f'{name}=1' for name in named)}; "
            f"an option of one target goes by its name, as in task.{next(iter(named))}.weights"
        )
    own: dict[str, dict[str, Any]] = {name: {} for name in named}
    of_all: dict[str, Any] = {}
    for key, value in given.items():
        target, dot, option = key.rpartition(".")
        if key == "weights":
            continue
        if key in named and isinstance(value, Mapping):
            own[key] |= value
        elif not dot:
            of_all[key] = value
        elif target in named:
            own[target][option] = value
        else:
            raise BadOption(f"the option 'task.{key}' is of '{target}', which is no target; {suggest(target, list(named))}")
    has = {name: tasks.about(task).options for name, task in named.items()}
    for option in of_all:
        if not any(option in mine for mine in has.values()):
            known = sorted({"weights", *(name for mine in has.values() for name in mine)})
            raise BadOption(f"no target's task has the option 'task.{option}'; {suggest(option, known, 'task.')}")
    targets = []
    for name, task in named.items():
        tasks.check(task, own[name], f"task.{name}.")
        mine = {option: value for option, value in of_all.items() if option in has[name]} | own[name]
        tasks.check_types(task, mine, f"task.{name}.")
        targets.append({"target": name, "task": task, "options": mine})
    return {"targets": targets, **({} if weights is None else {"weights": weights})}


def named_views(named: Mapping[str, Any] | None, views: Sequence[str]) -> dict[str, Any]:
    """What ``encoders`` names, "*" written out for the views that are not named.

    >>> named_views({"*": "auto", "photo": "image.cnn"}, ["photo", "title"])
    {'photo': 'image.cnn', 'title': 'auto'}
    """
    named = dict(named or {})
    rest = named.pop(OTHERS, None)
    if rest is None:
        return named
    if rest != AUTO:
        raise BadOption(f"encoder '{rest}' is given for all views; only '{AUTO}' suits them all, so name its view")
    return named | {view: AUTO for view in views if view not in named}


def fitting_options(options: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, Any]:
    """Options as they are written, flat or nested, without those of a view that its encoder does not have.

    "auto" gives every candidate those that it has; a recipe names the one that was chosen.

    Args:
        named: {view: encoder, with or without its tower}.

    >>> fitting_options({"photo.widths": [8], "photo": {"pixels": 32}, "train.dim": 8}, {"photo": "image.vit"})
    {'photo': {'pixels': 32}, 'train.dim': 8}
    """
    has = {view: set(encoders.about(name).options) for view, given in named.items() for name in [split_name(given)[0]]
           if name in encoders}
    found: dict[str, Any] = {}
    for key, value in options.items():
        section, dot, name = key.partition(".")
        if isinstance(value, Mapping) and not dot:
            found[key] = {one: more for one, more in value.items() if section not in has or one in has[section]}
        elif section not in has or name in has[section]:
            found[key] = value
    return found


def _check_auto(view: str, modality: str, options: Mapping[str, Any]) -> None:
    """Refuse to try encoders where that cannot be, or with an option that none of them has."""
    if processes.count() > 1:
        raise BadOption(f"'{view}={AUTO}' tries encoders in one process; run it without torchrun, then name what it chose")
    known = {key for name in encoders if name.startswith(f"{modality}.") for key in encoders.about(name).options}
    for option in options:
        if option not in known:
            raise BadOption(
                f"no encoder of {modality} views such as '{view}' has the option '{view}.{option}'; "
                + suggest(option, sorted(known), f"{view}.")
            )


def check_encoder(name: str, view: str, modality: str, options: Mapping[str, Any]) -> None:
    """Refuse an encoder that does not exist, does not read the view or lacks an option.

    Raises:
        UnknownName, BadOption: with the names there are.
    """
    if name not in encoders or not name.startswith(f"{modality}."):
        last = name.rpartition(".")[2]
        there = [other.removeprefix(f"{modality}.") for other in encoders if other.startswith(f"{modality}.")]
        there.sort(key=lambda other: -difflib.SequenceMatcher(None, last, other).ratio())
        cure = suggest(last, there, f"{modality}.")
        if name in encoders:
            raise BadOption(f"encoder '{name}' does not read {modality} views such as '{view}'; {cure}")
        raise UnknownName(f"there is no encoder '{name}' for {modality} views such as '{view}'; {cure}")
    encoders.check(name, options, f"{view}.")
    encoders.check_types(name, options, f"{view}.")


def split_name(given: Any) -> tuple[str, dict[str, Any]]:
    """Name and options of what ``encoders`` takes.

    >>> split_name("image.pretrained:FOLDER")
    ('image.pretrained', {'tower': 'FOLDER'})
    """
    name, colon, tower = str(given).partition(":")
    return name, {"tower": tower} if colon else {}


def _sections(key: str, task: Any) -> str:
    """The option behind every section that such an estimator has."""
    other = ("task", "train", "auto") if task == MATCH else (MATCH,)
    return ", ".join(f"{section}.{key}" for section in SECTIONS if section not in other)

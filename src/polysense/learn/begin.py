"""How a fit begins: settings, tables and columns, checked together. Loads no torch, so a mistake is told at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..data.records import as_records
from ..data.schema import Schema, guess
from ..data.tables import Say, Table, check_common, column_of, column_remarks, judge_targets, open_table, open_targets
from ..data.targets import SEVERAL, guess_task, named, named_task
from ..data.values import is_empty, missing_word
from ..errors import BadOption, BadTable
from ..registry import tasks
from .plan import Plan, check_settings, check_several


def _only_task(options: Mapping[str, Any]) -> str | None:
    """The task that the options speak of, where they are not all options of classify."""
    named = [key.partition(".")[2] for key in options if key.startswith("task.")]
    named += list(options["task"]) if isinstance(options.get("task"), Mapping) else []
    able = [name for name in tasks if name != SEVERAL and set(named) <= set(tasks.about(name).options)]
    return None if not named or "classify" in able or len(able) != 1 else able[0]


class Begun(NamedTuple):
    """What is known before any work.

    Attributes:
        tables: of training, and of validation if there is one.
        task: its name, as told or as guessed from the target.
        targets: names of the targets; of one that is no column none.
        told: settings of the model that leave nothing of the targets to be guessed.
    """

    plan: Plan
    tables: list[Table]
    schema: Schema
    task: str
    targets: list[str]
    told: dict[str, Any]


def begin(settings: Mapping[str, Any], records: Any, y: Any, valid: Any, say: Say) -> Begun:
    """Check the settings, open the tables, guess the columns, and see whether these fit each other.

    Args:
        settings: all settings of a model.
        records: whatever ``as_records`` takes.
        y: targets, if they are no column of the records.
        valid: validation records, likewise; (records, y) if ``y`` is given.
        say: takes a sentence for the user.

    Raises:
        BadOption, UnknownName, BadColumn, BadTable: what is wrong, where, and the cure.
    """
    check_settings(settings)
    target = settings["target"]
    if isinstance(target, str) and "," in target and y is None:
        records = as_records(records)
        names = named(target, records.names)
    else:
        names = named(target if target is not None else _names_of(y))
    if settings["group"] in names:
        raise BadOption(f"'{settings['group']}' is both the target and the group; name another group column")
    if len(names) > 1:
        plan, tables, told = _several(settings, names, records, y, valid, say)
    else:
        plan, tables, told = _one(settings, names, records, y, valid, say)
        check_several(settings["folds"], settings["seeds"], settings["tune"], plan.task)
    schema = _fits(settings, names, plan, tables, say)
    return Begun(plan, tables, schema, plan.task, names, told)


def _names_of(y: Any) -> list[str] | None:
    """Targets that bring their names along: the columns of a frame, the keys of a dict."""
    if hasattr(y, "columns") or isinstance(y, Mapping):
        return [str(name) for name in (y.columns if hasattr(y, "columns") else y)]
    return None


def _one(settings: Mapping[str, Any], names: list[str], records: Any, y: Any, valid: Any, say: Say) -> Any:
    """The plan, the tables and what was guessed, for one target."""
    options, target = settings["options"] or {}, names[0] if names else None
    task = settings["task"]
    if task is not None and (not isinstance(task, str) or "=" in task):
        task = named_task(task, names)[target] if names else None
    if task == SEVERAL:
        raise BadOption(f"the task {SEVERAL} is for several targets; name them, such as --target price,kind")
    if task is None:
        task = _only_task(options)
    Plan.of(settings["fusion"], task or "classify", options)  # mistakes in them are told before any data is read

    def kind_of(cells: list[Any]) -> str:
        nonlocal task
        if task is None:
            task, reason = guess_task(target, cells)
            if reason:
                say(reason)
        return tasks.about(task).kind if task in tasks else "classes"

    nested = options.get("task") if isinstance(options.get("task"), Mapping) else {}
    separator = str(options.get("task.separator", nested.get("separator", ";")))
    def mine(y: Any) -> Any:
        return y[target] if target in (_names_of(y) or ()) else y

    tables = [open_table(records, target, mine(y), say, kind_of, separator)]
    plan = Plan.of(settings["fusion"], task, options)
    if valid is not None:
        part, targets = valid if isinstance(valid, tuple) else (valid, None)
        tables.append(open_table(part, target, mine(targets), say, tables[0].kind, separator))
    return plan, tables, {"target": target, "task": task}


def _several(settings: Mapping[str, Any], names: list[str], records: Any, y: Any, valid: Any, say: Say) -> Any:
    """The plan, the tables and what was guessed, for several targets."""
    options = settings["options"] or {}
    told = named_task(settings["task"], names)
    for name in names:
        told[name] = told[name] or _only_task(_options_of(name, options))
    rest = {key: value for key, value in options.items() if key.partition(".")[0] != "task"}
    Plan.of(settings["fusion"], "classify", rest)  # mistakes in them are told before any data is read
    if None not in told.values():
        Plan.of(settings["fusion"], told, options)

    def kind_of(name: str) -> Callable[[list[Any]], str]:
        def kind(cells: list[Any]) -> str:
            if not told[name]:
                told[name], reason = guess_task(name, cells)
                if reason:
                    say(reason)
            if all(is_empty(cell) or missing_word(cell) is not None for cell in cells):
                raise BadTable(f"the target '{name}' is empty in every record; leave it out, for nothing can be learned of it")
            return tasks.about(told[name]).kind

        return kind

    separators = [str(_options_of(name, options).get("task.separator", ";")) for name in names]
    tables = [open_targets(records, names, y, say, [kind_of(name) for name in names], separators)]
    plan = Plan.of(settings["fusion"], told, options)
    if valid is not None:
        part, targets = valid if isinstance(valid, tuple) else (valid, None)
        tables.append(open_targets(part, names, targets, say, tables[0].kind, separators))
    return plan, tables, {"target": names, "task": told}


def _options_of(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """{"task.OPTION": value} of one target among several, those of all targets included."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        nested = isinstance(value, Mapping) and (key == "task" or key.startswith("task."))
        flat |= {f"{key}.{inner}": one for inner, one in value.items()} if nested and key != "task.weights" else {key: value}
    for key, value in list(flat.items()):
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": one for inner, one in value.items()}
    own = {f"task.{key.removeprefix(f'task.{name}.')}": value for key, value in flat.items() if key.startswith(f"task.{name}.")}
    of_all = {key: value for key, value in flat.items() if key.startswith("task.") and key.count(".") == 1}
    return {key: value for key, value in (of_all | own).items() if key != "task.weights" or key in own}


def _fits(settings: Mapping[str, Any], names: list[str], plan: Plan, tables: list[Table], say: Say) -> Schema:
    """The columns of the tables, which fit each other and what the user asked for."""
    for table in tables:
        judge_targets(table, on_bad=settings["on_bad"], max_bad=settings["max_bad"])
    first = tables[0]
    if not len(first.rows):
        raise BadTable(f"{first.records.source} holds no record with a target; there is nothing to learn from")
    for name in filter(None, (settings["group"], settings["split"])):
        column_of(first.records, name)
    aside = [name for name in (*names, settings["group"], settings["split"]) if name and name in first.records.names]
    schema = guess(first.records, declared=dict(settings["columns"] or {}), exclude=aside, views=settings["views"])
    if not schema.views:
        said = "; ".join(column.line() for column in schema.columns)
        raise BadTable(f"{first.records.source} has no column to learn from{f' ({said})' if said else ''}")
    for table in tables[1:]:
        check_common(table.records, schema, aside)
        for remark in column_remarks(table.records, schema, aside):
            say(remark)
    modality = {view.name: view.modality for view in schema.views}
    plan.check_views(list(modality))
    plan.check_encoders(settings["encoders"] or {}, modality)
    return schema

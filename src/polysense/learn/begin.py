"""How a fit begins: settings, tables and columns, checked together. Loads no torch, so a mistake is told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..data.schema import Schema, guess
from ..data.tables import Say, Table, check_common, column_of, column_remarks, judge_targets, open_table
from ..data.targets import guess_task
from ..errors import BadTable
from ..registry import tasks
from .plan import Plan, check_settings


def _only_task(options: Mapping[str, Any]) -> str | None:
    """The task that the options speak of, where they are not all options of classify."""
    named = [key.partition(".")[2] for key in options if key.startswith("task.")]
    named += list(options["task"]) if isinstance(options.get("task"), Mapping) else []
    able = [name for name in tasks if set(named) <= set(tasks.about(name).options)]
    return None if not named or "classify" in able or len(able) != 1 else able[0]


class Begun(NamedTuple):
    """What is known before any work.

    Attributes:
        tables: of training, and of validation if there is one.
        task: its name, as told or as guessed from the target.
    """

    plan: Plan
    tables: list[Table]
    schema: Schema
    task: str


def begin(settings: Mapping[str, Any], records: Any, y: Sequence[Any] | None, valid: Any, say: Say) -> Begun:
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
    task, target = settings["task"], settings["target"]
    options = settings["options"] or {}
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
    tables = [open_table(records, target, y, say, kind_of, separator)]
    plan = Plan.of(settings["fusion"], task, options)
    if valid is not None:
        part, targets = valid if isinstance(valid, tuple) else (valid, None)
        tables.append(open_table(part, target, targets, say, tables[0].kind, separator))
    for table in tables:
        judge_targets(table, on_bad=settings["on_bad"], max_bad=settings["max_bad"])
    first = tables[0]
    if not len(first.rows):
        raise BadTable(f"{first.records.source} holds no record with a target; there is nothing to learn from")
    for name in filter(None, (settings["group"], settings["split"])):
        column_of(first.records, name)
    aside = [name for name in map(settings.get, ("target", "group", "split")) if name and name in first.records.names]
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
    return Begun(plan, tables, schema, task)

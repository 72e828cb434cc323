"""How a fit of a matcher begins: settings, tables and the columns of both sides, checked together. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..data.records import Records, as_records
from ..data.schema import TABLE_KINDS, Schema, guess
from ..data.tables import Say, Table, check_common, column_of, column_remarks
from ..errors import BadColumn, BadOption, BadTable
from ..registry import suggest
from .begin import Begun
from .plan import AUTO, MATCH, Plan, check_settings

SIDES = ("query", "item")
#: Settings of a model that a matcher does not have, as its checks want them.
_NO_MODEL = {"target": None, "task": None, "quality": "balanced"}


def begin_pairs(settings: Mapping[str, Any], records: Any, valid: Any, say: Say) -> Begun:
    """Check the settings, open the tables, guess the columns of both sides, and see whether these fit each other.

    Args:
        settings: all settings of a matcher.
        records: whatever ``as_records`` takes.
        valid: validation records, likewise, or None.
        say: takes a sentence for the user.

    Raises:
        BadOption, UnknownName, BadColumn, BadTable: what is wrong, where, and the cure.
    """
    check_settings(_NO_MODEL | dict(settings))
    columns = side_columns(settings)
    plan = Plan.of(settings["fusion"], MATCH, settings["options"] or {})
    for view, name in (settings["encoders"] or {}).items():
        if isinstance(name, str) and name == AUTO:
            raise BadOption(f"{view}={AUTO} lets an answer's validation choose, and a matcher has none; name an encoder")
    tables = []
    for part in (records, valid):
        if part is not None:
            part = as_records(part)
            for note in part.notes:
                say(note)
            tables.append(Table(part, [0] * len(part), np.arange(len(part))))
    first = tables[0].records
    schema = _schema(settings, columns, first)
    for table in tables[1:]:
        check_common(table.records, schema, (settings["group"], settings["split"]))
        for remark in column_remarks(table.records, schema, table.records.names):
            say(remark)
    modality = {view.name: view.modality for view in schema.views}
    plan.check_views(list(modality))
    plan.check_encoders(settings["encoders"] or {}, modality)
    return Begun(plan, tables, schema, MATCH, [], {})


def side_columns(settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """{side: its columns}, as the settings name them.

    Raises:
        BadOption: a side without columns, a column on both sides or twice, or one that is group or split too.

    >>> side_columns({"query": "words,sound", "item": ["picture"], "group": None, "split": None})
    {'query': ['words', 'sound'], 'item': ['picture']}
    """
    found: dict[str, list[str]] = {}
    for side in SIDES:
        given = settings[side]
        names = given.split(",") if isinstance(given, str) else list(given or [])
        if not all(isinstance(name, str) for name in names):
            raise BadOption(f"{side}={given!r} must name columns")
        found[side] = [name.strip() for name in names if name.strip()]
        if not found[side]:
            raise BadOption(f"no column is named for the side {side}; give one or several (--{side} COLUMN)")
    both = [*found["query"], *found["item"]]
    for name in both:
        if name in found["query"] and name in found["item"]:
            raise BadOption(f"column '{name}' is named for both sides, query and item; it would find itself")
        if both.count(name) > 1:
            raise BadOption(f"column '{name}' is named twice; name it once")
        if name in (settings["group"], settings["split"]):
            raise BadOption(f"column '{name}' is the group or the split, never a feature; leave it out of the sides")
    return found


def sides_of(schema: Schema, columns: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """{side: its views, sorted}."""
    return {side: sorted(view.name for view in schema.views if set(view.columns) & set(columns[side])) for side in SIDES}


def _schema(settings: Mapping[str, Any], columns: Mapping[str, Sequence[str]], records: Records) -> Schema:
    """The columns of both sides as views."""
    wanted = [name for side in SIDES for name in columns[side]]
    for name in filter(None, (settings["group"], settings["split"])):
        column_of(records.head(0), name)
    for side in SIDES:
        for name in columns[side]:
            if name not in records.names:
                raise BadColumn(f"side {side}: {records.source} has no column '{name}'; {suggest(name, records.names)}")
    declared = dict(settings["columns"] or {})
    for name in declared:
        if name not in wanted and name in records.names:
            raise BadColumn(f"column '{name}' is declared, but on no side; name it with --query or --item")
    others = [name for name in records.names if name not in wanted]
    schema = guess(records, declared=declared, exclude=others, views=settings["views"])
    _check_joined(schema, columns)
    parts, tables = [], {}
    for column in schema.columns:
        side = next(side for side in SIDES if column.name in columns[side])
        if column.kind == "category" and not column.declared and len(columns[side]) == 1:
            column = replace(column, kind="text", reason=f"{column.reason}; read as text, being all of its side")
        if column.kind in ("id", "ignore") and not column.declared:
            raise BadColumn(
                f"column '{column.name}' of the side {side} cannot be compared by ({column.kind}: {column.reason}); declare "
                f"what it is (--columns {column.name}=text) or leave it out"
            )
        if column.kind in TABLE_KINDS:
            tables.setdefault(f"{side}_table", []).append(column.name)
        parts.append(column)
    made = Schema(parts, schema.joined, {view: tuple(names) for view, names in sorted(tables.items(), reverse=True)})
    names = made.view_names
    for view in tables:
        if names.count(view) > 1:
            raise BadColumn(f"a column may not be called '{view}', the view of its side's numbers and categories; rename it")
    for side, views in sides_of(made, columns).items():
        if not views:
            raise BadTable(f"{records.source}: no column of the side {side} can be read; declare what they are (--columns)")
    return made


def _check_joined(schema: Schema, columns: Mapping[str, Sequence[str]]) -> None:
    for view, names in schema.joined.items():
        if not any(set(names) <= set(columns[side]) for side in SIDES):
            raise BadColumn(f"view '{view}' joins columns of both sides; what is compared must stay apart")

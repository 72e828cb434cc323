"""The commands of a recommender: recommend, and what predict, evaluate and show do with its folder; ``cli`` names them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .cli_match import Stoppable, tower
from .typed import write


def recommend(
    settings: dict[str, Any], interactions: Path, items: Path | None, valid: Path | None, out: Path | None, *,
    stoppable: Stoppable, download: bool, with_towers: bool, resume: bool,
) -> None:
    """Fit a recommender and write its folder."""
    tables = _begin(settings, interactions, items, valid, out)
    unfinished = out.with_name(f"{out.name}.fitting")
    with stoppable(unfinished):
        from .judge.recommended import as_text
        from .recommender import Recommender

        made = Recommender(**settings, download=download, verbose=True)
        made.fit(*tables, checkpoints=unfinished, resume=resume)
        made.save(out, with_towers=with_towers)
    if made.valid_:
        print("\nOn the validation interactions, where the shares were chosen:\n" + as_text(made.valid_), file=sys.stderr)
    print(f"\nThe recommender: {out}\nNext: polysense predict {out} USERS, with a column '{made.user}'", file=sys.stderr)


def _begin(
    settings: dict[str, Any], interactions: Path, items: Path | None, valid: Path | None, out: Path | None
) -> tuple[Any, Any, Any]:
    """The tables, read; every mistake that can be known without torch is told here, in a moment."""
    from . import store
    from .data.interactions import item_numbers
    from .data.records import as_records
    from .data.tables import column_of
    from .errors import BadOption

    if items is None:
        raise BadOption("no items table is named; say --items TABLE")
    if out is None:
        raise BadOption("no folder for the recommender is named; say --out DIR")
    store.recover(out)
    store.check_target(out)
    taken, rows, later = as_records(interactions), as_records(items), as_records(valid) if valid else None
    for name in ("user", "item", "time", "weight"):
        if settings.get(name) or name in ("user", "item"):
            for table in filter(None, (taken, later)):
                column_of(table.head(0), settings.get(name) or name)
    item_numbers(rows, settings.get("item") or "item")
    return taken, rows, later


def predict(
    model: Any, records: Any, *, k: int, items: Path | None, refused: Mapping[str, Any]
) -> tuple[list[str], Iterator[list[Any]]]:
    """Header and lines: row, user where there is one, item_1 to item_k."""
    from .errors import BadOption

    _refuse(refused)
    if k < 1:
        raise BadOption(f"-k {k} must be 1 or more")
    model.verbose = True
    answers = model.answers(records, k=k, items=items)
    named = records.column(model.user) if model.user in records.names else None

    def lines() -> Iterator[list[Any]]:
        for row, found in enumerate(answers):
            ids = [name for name, _ in found]
            yield [row, *([named[row]] if named else []), *ids, *[None] * (k - len(ids))]

    return ["row", *([model.user] if named else []), *(f"item_{i + 1}" for i in range(k))], lines()


def evaluate(
    model: Any, records: Any, *, items: Path | None, json_: Path | None, html: Path | None, lang: str,
    refused: Mapping[str, Any],
) -> None:
    """Judge a recommender on later interactions."""
    from .judge.recommended import as_text

    _refuse(refused)
    model.verbose = True
    found = model.evaluate(records, items=items)
    if json_:
        write(json_, json.dumps(found, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    if html:
        write(html, model.report(found, records, items, lang=lang))
        if items is None:
            print(f"{html} shows items by their ids; with --items TABLE it shows their pictures and texts", file=sys.stderr)
    print(as_text(found))


def _refuse(options: Mapping[str, Any]) -> None:
    from .errors import BadOption

    for option, given in options.items():
        if given:
            raise BadOption(f"{option} is for models that answer; a recommender has no use for it, leave it away")


def about(folder: Path, facts: Mapping[str, Any]) -> str:
    """What ``show`` says of a recommender's folder."""
    from .judge.recommended import as_text
    from .talk import counted

    made, recipe, data = facts["made"], facts["recipe"], facts["data"]
    lines = [
        f"{folder}: recommends '{recipe['item']}' to '{recipe['user']}', learned from {made['interactions']:,} interactions "
        f"of {made['users']:,} users with {made['known items']:,} of {made['all items']:,} items",
        f"fusion {recipe['fusion']}, seed {recipe['seed']}, {made['cpu_seconds']} CPU s, {made['date']}",
        *(f"view {view} <- {name}" + tower(facts["towers"].get(view)) for view, name in recipe["encoders"].items()),
        *_tuned(made.get("tuned")),
        *(f"shares in the answer, {kind} items: " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
          for kind, shares in facts["shares"].items()),
        *(f"{name} -> {kind}: {reason}" for name, kind, reason in data["columns"]),
        f"{counted(len(data['bad_cells']), 'bad cell')} among the items",
        *made["notes"],
        "made with " + ", ".join(f"{name} {version}" for name, version in made["versions"].items() if version),
    ]
    return "\n".join(lines + (["on the validation interactions:", as_text(facts["valid"])] if facts["valid"] else []))


def _tuned(tuned: Mapping[str, Any] | None) -> list[str]:
    if not tuned:
        return []
    losses = " ".join(f"{1 - epoch['loss']:.3f}" for epoch in tuned["epochs"])
    return [
        f"tuned {', '.join(tuned['views'])} ({tuned['cpu_seconds']} CPU s): {tuned['kept']} solution kept; validation "
        f"NDCG@10 of the network frozen {1 - tuned['frozen']['loss']:.3f}, by epoch {losses}"
    ]

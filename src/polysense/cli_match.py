"""The commands of a matcher: match, index, search, embed; ``cli`` gives them their names."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from . import processes
from .typed import defaults_of, write


class Stoppable(Protocol):
    """What makes an interrupted fit end in a sentence; ``cli`` has it."""

    def __call__(self, unfinished: Path) -> AbstractContextManager[None]: ...


def match(
    settings: dict[str, Any], table: Path, valid: Path | None, out: Path | None, *, stoppable: Stoppable, download: bool,
    with_towers: bool, resume: bool,
) -> None:
    """Fit a matcher and write its folder."""
    records, held = _begin(settings, table, valid, out)
    unfinished = out.with_name(f"{out.name}.fitting")
    with stoppable(unfinished):
        from .judge.match import as_text
        from .matcher import Matcher

        matcher = Matcher(**settings, download=download, verbose=True)
        matcher.fit(records, valid=held, checkpoints=unfinished, resume=resume)
        matcher.save(out, with_towers=with_towers)
    if not processes.first():
        return
    if matcher.valid_:
        print("\nOn the validation records:\n" + as_text(matcher.valid_), file=sys.stderr)
    print(f"\nThe matcher: {out}\nNext: polysense index {out} TABLE, then polysense search {out} --text WORDS", file=sys.stderr)


def _begin(settings: dict[str, Any], table: Path, valid: Path | None, out: Path | None) -> tuple[Any, Any]:
    """The tables, read; every mistake that can be known without torch is told here, in a moment."""
    from . import store
    from .data.records import as_records
    from .errors import BadOption
    from .learn.begin_pairs import begin_pairs

    if out is None:
        raise BadOption("no folder for the matcher is named; say --out DIR")
    if valid and settings.get("split"):
        raise BadOption("both --valid and --split say which records validate; give one of them")
    if processes.first():
        store.recover(out)
    store.check_target(out)
    tables = as_records(table), as_records(valid) if valid else None
    begin_pairs(defaults_of("matcher") | settings, *tables, say=lambda text: None)
    return tables


def index(
    folder: Path, table: Path, *, place: Path | None, side: str, add: bool, delete: bool, server: str | None, download: bool,
) -> None:
    """Put one side's vectors of a table into an index, or take the table's ids out of it."""
    from .data.records import as_records
    from .talk import Talk, counted

    matcher, talk = _matcher(folder, download), Talk()
    records, where = as_records(table), place or Path(folder) / f"index-{side}"
    if delete:
        gone = matcher.unindex(records, where, side=side)
        print(f"{counted(gone, 'record')} taken out of {where}", file=sys.stderr)
        return
    matcher.verbose = True
    found = matcher.index(records, where, side=side, add=add, server=server)
    for remark in found.remarks:
        talk.say(remark)
    talk.bad_cells(found.bad_cells, len(records))
    print(f"{counted(found.added, 'record')} of the side {side} in {server or where}, {found.total:,} in all", file=sys.stderr)


def search(
    folder: Path, *, asked: Mapping[str, Any], k: int, place: Path | None, side: str, json_: bool, csv: bool, download: bool,
) -> None:
    """Print the nearest entries of an index."""
    matcher = _matcher(folder, download)
    where = place or Path(folder) / f"index-{side}"
    hits = matcher.search(matcher.asked(asked, side=side), where, k, side=side, strict=True)[0]
    if json_:
        print(json.dumps(hits, ensure_ascii=False, indent=1, default=str))
    elif csv or not sys.stdout.isatty():
        _print_csv(hits)
    else:
        print(as_table(hits))


def embed(folder: Path, table: Path, *, out: Path | None, side: str, download: bool) -> None:
    """Write one side's vectors of a table."""
    from .errors import BadOption
    from .talk import Talk, counted

    if out is None or out.suffix not in (".npy", ".parquet"):
        raise BadOption(f"--out {out or ''} must name a file that ends in .npy or .parquet")
    matcher, talk = _matcher(folder, download), Talk()
    from .data.records import as_records

    records = as_records(table)
    vectors, bad, remarks = matcher.embedded(records, side)
    for remark in remarks:
        talk.say(remark)
    talk.bad_cells(bad, len(records))
    _write_vectors(out, vectors, matcher.ids(records))
    print(f"{counted(len(vectors), 'vector')} of width {vectors.shape[1]}: {out}", file=sys.stderr)


def evaluate(
    matcher: Any, records: Any, *, json_: Path | None, html: Path | None, lang: str, refused: Mapping[str, Any]
) -> None:
    """Judge a matcher on a table."""
    from .errors import BadOption
    from .judge.match import as_text

    for option, value in refused.items():
        if value:
            raise BadOption(f"{option} is for models that answer, and this is a matcher; leave it away")
    matcher.verbose = True
    evaluation = matcher.evaluate(records)
    if json_:
        write(json_, json.dumps(evaluation, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    if html:
        write(html, matcher.report(evaluation, records, lang=lang))
    print(as_text(evaluation))


def about(folder: Path, facts: Mapping[str, Any]) -> str:
    """What a matcher folder holds, in lines."""
    from .judge.match import NAMES
    from .talk import counted

    made, data, chosen = facts["made"], facts["data"], facts["chosen"]
    sides, how, share = facts["sides"], made["match"], chosen["share"]
    lines = [
        f"{folder}: matches {' + '.join(sides['query'])} with {' + '.join(sides['item'])}",
        f"fusion {facts['recipe']['fusion']}, loss {how['loss']}, seed {made['seed']}, {data['train']:,} training and "
        f"{data['valid']:,} validation pairs, {made['cpu_seconds']} CPU s, {made['date']}",
        *(f"view {view} <- {name}" + tower(facts["towers"].get(view)) for view, name in facts["recipe"]["encoders"].items()),
        f"vectors: {1 - share:.0%} network, {share:.0%} linear map ({NAMES.get(chosen['map'], chosen['map'])})",
        *(f"{name} -> {kind}: {reason}" for name, kind, reason in data["columns"]),
        f"{counted(len(data['bad_cells']), 'bad cell')} in training",
        "made with " + ", ".join(f"{name} {version}" for name, version in made["versions"].items() if version),
    ]
    if facts["valid"] and facts["valid"]["query_to_item"]:
        for name, words in (("query_to_item", "query -> item"), ("item_to_query", "item -> query")):
            lines.append(f"validation recall@10 {words} " + "{value:.3f} [{low:.3f}, {high:.3f}]".format(
                **facts["valid"][name]["recall_at_10"]
            ))
    return "\n".join(lines)


def tower(known: Mapping[str, Any] | None) -> str:
    """A tower in brackets; nothing where there is none."""
    return f" ({known['name']}, sha256 {known['sha256'][:12]}..., {known['licence']})" if known else ""


def _matcher(place: Path, download: bool) -> Any:
    from . import store
    from .hub import find_model

    store.check_model(find_model(place, fetch=download))
    from .matcher import Matcher

    return Matcher.load(place, download=download)


def _print_csv(hits: list[dict[str, Any]]) -> None:
    import csv

    names = list(hits[0]) if hits else ["rank", "id", "score"]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for hit in hits:
        writer.writerow(["" if hit[name] is None else hit[name] for name in names])


def as_table(hits: list[dict[str, Any]], wide: int = 100) -> str:
    """What was found, for a terminal.

    >>> print(as_table([{"rank": 1, "id": "7", "score": 0.5, "name": "red car"}]))
    rank  score  id  name
       1  0.500  7   red car
    """
    from .talk import columns_of, fitted

    if not hits:
        return "nothing is there to be found"
    names = [name for name in hits[0] if name not in ("rank", "score")]
    cells = {name: [" ".join(str("" if hit[name] is None else hit[name]).split()) for hit in hits] for name in names}
    most = max(8, (wide - 14) // max(1, len(names)))
    widths = {name: min(most, max(map(columns_of, [name, *cells[name]]))) for name in names}

    def line(first: str, second: str, rest: Iterator[str]) -> str:
        return f"{first:>4}  {second:>5}  {'  '.join(rest)}".rstrip()

    lines = [line("rank", "score", (fitted(name, widths[name]) for name in names))]
    for i, hit in enumerate(hits):
        lines.append(line(str(hit["rank"]), f"{hit['score']:.3f}", (fitted(cells[name][i], widths[name]) for name in names)))
    return "\n".join(lines)


def _write_vectors(out: Path, vectors: Any, ids: list[str]) -> None:
    """An array in .npy, or rows with their ids in Parquet."""
    from .errors import CannotWrite

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".npy":
            import numpy as np

            np.save(out, vectors, allow_pickle=False)
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
        pq.write_table(pa.table({"row": list(range(len(ids))), "id": ids, "vector": values}), out)
    except OSError as error:
        raise CannotWrite(f"{out} could not be written: {error.strerror or error}") from error

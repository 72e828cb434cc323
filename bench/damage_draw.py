"""Damages drawn at random: some lines of code that are new since a commit, each changed in one place."""

from __future__ import annotations

import ast
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SWAPS = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.In: "not in", ast.NotIn: "in",
    ast.Is: "is not", ast.IsNot: "is", ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*",
    ast.Mod: "*", ast.Pow: "*", ast.And: "or", ast.Or: "and", ast.BitAnd: "|", ast.BitOr: "&",
}
#: Test files that are tried first.
NEAR = 6
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "argmin": "argmax", "argmax": "argmin", "sum": "mean"}


class Drawn(NamedTuple):
    """One damage.

    Attributes:
        file: below src/polysense.
        line: its number, from 1.
        was, now: the line before and after, without indentation.
        old, new: text that the file holds once and what it becomes.
        tests: names of the ``NEAR`` test files that name the file or what it defines most often, and of all others.
    """

    file: str
    line: int
    was: str
    now: str
    old: str
    new: str
    tests: tuple[str, str]


class Edit(NamedTuple):
    """Columns of a line, in bytes, and what comes in their place."""

    line: int
    start: int
    end: int
    text: str


def draw(home: Path, since: str, count: int, seed: int) -> list[Drawn]:
    """So many lines out of all that can be damaged and are not in the commit; each line is as likely as any other."""
    rng = random.Random(seed)
    places: list[tuple[str, list[Edit]]] = []
    for file, fresh in sorted(changed(home, since).items()):
        by_line: dict[int, list[Edit]] = {}
        for edit in edits((home / "src/polysense" / file).read_text(encoding="utf-8")):
            if edit.line in fresh:
                by_line.setdefault(edit.line, []).append(edit)
        places += [(file, found) for _, found in sorted(by_line.items())]
    print(f"seed {seed}: {count} of {len(places):,} new lines that can be damaged, since {since}", flush=True)
    return [_drawn(home, file, rng.choice(found)) for file, found in rng.sample(places, count)]


def changed(home: Path, since: str) -> dict[str, set[int]]:
    """{file below src/polysense: numbers of the lines that the commit does not have}."""
    command = ["git", "diff", "-U0", "-M", "--no-color", "--no-ext-diff", since, "--", "src/polysense/*.py"]
    told = subprocess.run(command, cwd=home, capture_output=True, text=True, check=True).stdout
    found: dict[str, set[int]] = {}
    file = ""
    for line in told.splitlines():
        if line.startswith("+++ "):
            file = line.removeprefix("+++ b/src/polysense/")
        elif hunk := re.match(r"@@ \S+ \+(\d+)(?:,(\d+))? @@", line):
            first = int(hunk[1])
            found.setdefault(file, set()).update(range(first, first + int(hunk[2] or 1)))
    return {file: lines for file, lines in found.items() if (home / "src/polysense" / file).is_file()}


def edits(text: str) -> Iterator[Edit]:
    """Every change of one place that the code of a file allows.

    Another comparison or sign, a constant one more, a condition turned round, ``min`` for ``max``, nothing returned, a
    statement dropped. Docstrings, imports, types and sentences of errors are left alone.
    """
    lines = text.encode().split(b"\n")  # columns of the syntax tree count bytes
    for node in _code(ast.parse(text)):
        if isinstance(node, ast.Compare):
            ends = [node.left, *node.comparators]
            for before, operator, after in zip(ends, node.ops, ends[1:], strict=False):
                yield from _between(lines, before, after, SWAPS[type(operator)])
        elif isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
            yield from _between(lines, node.left, node.right, SWAPS[type(node.op)])
        elif isinstance(node, ast.BoolOp):
            for before, after in zip(node.values, node.values[1:], strict=False):
                yield from _between(lines, before, after, SWAPS[type(node.op)])
        elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
            yield from _whole(node, str(not node.value) if isinstance(node.value, bool) else repr(node.value + 1))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            yield Edit(node.lineno, node.col_offset, node.col_offset + (3 if isinstance(node.op, ast.Not) else 1), "")
        elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
            said = lines[node.test.lineno - 1][node.test.col_offset : node.test.end_col_offset].decode()
            yield from _whole(node.test, f"not ({said})")
        elif isinstance(node, ast.Name) and node.id in CALLS and node.id != "sum":
            yield from _whole(node, CALLS[node.id])
        elif isinstance(node, ast.Attribute) and node.attr in CALLS:
            yield Edit(node.end_lineno, node.end_col_offset - len(node.attr), node.end_col_offset, CALLS[node.attr])
        elif isinstance(node, ast.Return) and node.value is not None:
            yield from _whole(node, "return None")
        elif isinstance(node, (ast.AugAssign, ast.Assign, ast.Expr, ast.Continue, ast.Break)):
            yield from _whole(node, "pass")


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree that do something: no docstrings, imports, types, texts and errors."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Raise, ast.JoinedStr, ast.Assert)):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _code(child)


def _between(lines: list[bytes], before: ast.expr, after: ast.expr, text: str) -> Iterator[Edit]:
    """The operator between two operands of one line."""
    if before.end_lineno == after.lineno:
        gap = lines[after.lineno - 1][before.end_col_offset : after.col_offset].decode()
        if found := re.search(r"not in|is not|<=|>=|==|!=|//|\*\*|[-<>+*/%&|]|\b(?:and|or|in|is)\b", gap):
            yield Edit(after.lineno, before.end_col_offset + found.start(), before.end_col_offset + found.end(), text)


def _whole(node: ast.stmt | ast.expr, text: str) -> Iterator[Edit]:
    """All of a node, if it stands on one line."""
    if node.lineno == node.end_lineno:
        yield Edit(node.lineno, node.col_offset, node.end_col_offset, text)


def _drawn(home: Path, file: str, edit: Edit) -> Drawn:
    """The damage with as many lines before it as make its text one of a kind."""
    text = (home / "src/polysense" / file).read_text(encoding="utf-8")
    lines = text.split("\n")
    was = lines[edit.line - 1].encode()
    now = (was[: edit.start] + edit.text.encode() + was[edit.end :]).decode()
    first = edit.line - 1
    while first and text.count("\n".join(lines[first : edit.line])) > 1:
        first -= 1
    before = "\n".join([*lines[first : edit.line - 1], ""])
    return Drawn(
        file, edit.line, was.decode().strip(), now.strip(), before + was.decode(), before + now, tests_of(home, file)
    )


def tests_of(home: Path, file: str) -> tuple[str, str]:
    """The few test files that name a source file or what it defines most often, and all others."""
    tree = ast.parse((home / "src/polysense" / file).read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    stem = Path(file).stem if Path(file).stem != "__init__" else Path(file).parent.name
    names |= {one.id for node in tree.body if isinstance(node, ast.Assign) for one in node.targets if isinstance(one, ast.Name)}
    words = re.compile(r"\b(?:" + "|".join(map(re.escape, sorted({stem, *names}))) + r")\b")
    module = "polysense." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    counts = {}
    for path in sorted((home / "tests").glob("test_*.py")):
        name = path.stem.removeprefix("test_")
        own = name == stem or name == f"{Path(file).parent.name}_laws"
        text = path.read_text(encoding="utf-8")
        counts[name] = len(words.findall(text)) + 100 * text.count(f"{module} import") + 1000 * own
    ordered = sorted(counts, key=lambda name: -counts[name])
    near = [name for name in ordered if counts[name]][:NEAR]
    return " ".join(near), " ".join(name for name in ordered if name not in near)

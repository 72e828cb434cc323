"""Talk: progress bars, remarks and warnings on stderr; silent unless asked."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from . import processes


def counted(n: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "record"), counted(0, "cell"), counted(2000, "class")
    ('1 record', '0 cells', '2,000 classes')
    """
    return f"{n:,} {noun if n == 1 else noun + ('es' if noun.endswith('s') else 's')}"


class Talk:
    """What a long job says while it works; of several processes only the first one speaks.

    Args:
        loud: False says nothing.
    """

    def __init__(self, loud: bool = True) -> None:
        self.loud = loud and processes.first()

    def say(self, text: str) -> None:
        """A remark, on lines of its own, never folded."""
        if self.loud:
            print(text, file=sys.stderr, flush=True)

    def bad_cells(self, bad: Sequence[Mapping[str, Any]], records: int, most: int = 20) -> None:
        """The unreadable cells of a table, one a line.

        Args:
            bad: entries of the data report.
            records: of the table.
            most: lines at most.
        """
        if not bad:
            return
        rows = len({(cell.get("table"), cell["row"]) for cell in bad})
        self.say(f"{counted(len(bad), 'cell')} in {rows} of {counted(records, 'record')} cannot be read:")
        for cell in bad[:most]:
            where = f"{cell['table']} table, " if "table" in cell else ""
            self.say(f"  {where}row {cell['row']}, column '{cell['column']}': {cell['reason']} ({cell['action']})")
        if len(bad) > most:
            self.say(f"  and {len(bad) - most} more")

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[..., None]]:
        """A progress bar with figures and time left; call the result with steps done and a text.

        On something other than a terminal the bar is one line at its end.
        """
        if not self.loud or total <= 0:
            yield lambda steps=1, text="": None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        if not console.is_terminal:
            last = [""]

            def keep(steps: int = 1, text: str = "") -> None:
                last[0] = text or last[0]

            yield keep
            self.say(f"{title}: {total} done{', ' + last[0] if last[0] else ''}")
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                   TextColumn("{task.fields[figures]}"))
        with Progress(*columns, console=console) as progress:
            job = progress.add_task(title, total=total, figures="")
            yield lambda steps=1, text="": progress.update(job, advance=steps, **({"figures": text} if text else {}))


def aligned(names: Sequence[str], most: int = 24) -> list[str]:
    """Names filled up to one width in terminal columns, so that what follows them stands in one column.

    >>> aligned(["a", "图片"])
    ['a   ', '图片']
    """
    width = min(max(map(columns_of, names), default=0), most)
    return [name + " " * (width - columns_of(name)) for name in names]


def class_line(target: str | None, records: Mapping[str, int], few: int = 12, shown: int = 5) -> str:
    """What is learned, and of how many training records.

    Args:
        records: {class: training records}.
        few: classes up to which all are named.
        shown: of more classes, the largest ones that are named.

    >>> class_line("label", {"cat": 3, "dog": 5})
    "learning 'label', 2 classes: dog 5, cat 3"
    """
    ordered = sorted(records.items(), key=lambda pair: -pair[1])
    named = ", ".join(f"{name} {n:,}" for name, n in (ordered if len(ordered) <= few else ordered[:shown]))
    if len(ordered) > few:
        named = f"the largest are {named}; the rarest is {ordered[-1][0]} {ordered[-1][1]:,}"
    return f"learning {repr(target) if target else 'the target'}, {counted(len(ordered), 'class')}: {named}"


def columns_of(text: str) -> int:
    """Columns of a terminal that a text takes: two for a Chinese character.

    >>> columns_of("views"), columns_of("视图")
    (5, 4)
    """
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text
    )


def fitted(text: str, width: int) -> str:
    """Text filled or cut to a width in terminal columns."""
    if columns_of(text) > width:
        while columns_of(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - columns_of(text))

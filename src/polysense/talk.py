"""Talk: progress bars, remarks and warnings on stderr; silent unless asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from . import processes


def counted(n: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "record"), counted(0, "cell"), counted(2, "class")
    ('1 record', '0 cells', '2 classes')
    """
    return f"{n} {noun if n == 1 else noun + ('es' if noun.endswith('s') else 's')}"


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

"""Talk: progress bars, remarks and warnings on stderr; silent unless asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Talk:
    """What a long job says while it works.

    Args:
        loud: False says nothing.
    """

    def __init__(self, loud: bool = True) -> None:
        self.loud = loud

    def say(self, text: str) -> None:
        """A remark, on lines of its own, never folded."""
        if self.loud:
            print(text, file=sys.stderr, flush=True)

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

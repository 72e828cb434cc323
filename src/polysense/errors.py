"""Everything polysense raises on purpose.

::

    PolysenseError                  one sentence: what is wrong, where, the cure
    |-- Mistake                     the user can mend it; exit code 2
    |   |-- BadTable                the table as a whole cannot be used
    |   |-- BadColumn               a column is missing, or declared as something it is not
    |   |-- BadRecord               one cell or record cannot be used
    |   |-- BadOption (ValueError)  an option's name or value is wrong
    |   |-- UnknownName (KeyError)  no such encoder, fusion, task, modality or tower
    |   |-- BadModel                a model folder is damaged, foreign or does not fit
    |   |-- BadIndex                an index is damaged, or what is put into it does not fit
    |   |-- NotFitted               an answer was asked of a model before ``fit``
    |   `-- MissingExtra            an optional dependency is not installed
    `-- Unfinished                  the work could not be completed; exit code 1
        |-- LossNotFinite           training diverged, or a record poisons the loss
        |-- NoMemory                the memory does not suffice
        |-- CannotWrite             disk full, no permission
        `-- Interrupted             Ctrl-C or SIGTERM, with a checkpoint to go on from; exit code 130, 143
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class PolysenseError(Exception):
    """Root of the tree; ``exit_code`` is what the command line returns."""

    exit_code = 1

    def __str__(self) -> str:  # KeyError would show its argument in quotes
        return str(self.args[0]) if self.args else ""


class Mistake(PolysenseError):
    """Something the user can mend."""

    exit_code = 2


class BadTable(Mistake):
    """The table as a whole cannot be used."""


class BadColumn(Mistake):
    """A column is missing, or declared as something it is not."""


class BadRecord(Mistake):
    """One cell or one record cannot be used."""


class BadOption(Mistake, ValueError):
    """An option's name or value is wrong."""


class UnknownName(Mistake, KeyError):
    """No entry of that name on a shelf."""


class BadModel(Mistake):
    """A model folder is damaged, foreign or does not fit."""


class BadIndex(Mistake):
    """An index is damaged, or what is put into it does not fit."""


class NotFitted(Mistake):
    """An answer was asked of a model before ``fit``."""


class MissingExtra(Mistake, ImportError):
    """An optional dependency is not installed."""


class Unfinished(PolysenseError):
    """The work could not be completed."""

    exit_code = 1


class LossNotFinite(Unfinished):
    """Training diverged, or a record poisons the loss."""


class CannotWrite(Unfinished):
    """The disk is full or the folder cannot be written."""


class NoMemory(Unfinished, MemoryError):
    """The memory does not suffice."""


@contextmanager
def memory_told(work: str, cure: str) -> Iterator[None]:
    """What runs inside may ask for more memory than there is: then one sentence says so.

    Args:
        work: what was being done, as in "training on 100 records".
        cure: what would need less.

    >>> with memory_told("counting", "count less"):
    ...     raise MemoryError
    Traceback (most recent call last):
        ...
    polysense.errors.NoMemory: memory ran out while counting; count less
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch says in words what numpy says by a class
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in _NO_MEMORY):
            raise
        raise NoMemory(f"memory ran out while {work}; {cure}") from None


_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


class Interrupted(Unfinished):
    """Stopped by a signal, with a checkpoint to go on from; its exit code is 128 and the signal's number."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def need(module: str, extra: str):
    """Import an optional dependency or say how to install it.

    Raises:
        MissingExtra: the module is not installed.

    >>> need("json", "towers").__name__
    'json'
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(
            f"the package '{module.split('.')[0]}' is not installed; run: pip install 'polysense[{extra}]'"
        ) from None

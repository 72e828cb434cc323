"""Unfinished fits on disk: what a killed one has done, so that the next goes on to the same bits.

A folder beside the model, in it folders as ``store`` writes them (aside, synced, renamed; every file
with its hash): ``begun`` says which fit this is, ``stage-NAME`` holds what was learned before training,
``step-NUMBER`` a checkpoint of training. One that is damaged or cut off counts as absent.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import processes, store
from ..data.records import Records
from ..errors import BadModel, BadOption, CannotWrite, Interrupted, Mistake

#: Checkpoints of training that are kept: the last one, and the one before should the last be damaged.
KEEP = 2
#: Seconds after which the end of an epoch, a good moment to stop at, is worth a checkpoint.
EPOCH_SECONDS = 5.0
#: How the names in a folder of ours begin; "fold-" and "seed-" are folders of several fits.
_OURS = (
    "stage-", "step-", "again-", "tune-", ".begun.", ".stage-", ".step-", ".again-", ".tune-", "fold-", "seed-",
)
#: A checkpoint may cost this share of the time since the one before.
MOST = 0.02


class Checkpoints:
    """The folder of an unfinished fit; without a folder nothing is kept.

    Args:
        folder: made when the first thing is kept.
        facts: {what: value}, JSON, that tell this fit from another.
        resume: go on with what is there instead of replacing it.
        seconds: of training between two checkpoints; 0 writes one after every batch.
        say: takes remarks for the user.

    Raises:
        BadOption: ``resume``, and the folder holds another fit; the message names what differs.
        Mistake: the folder holds something else.

    >>> Checkpoints().latest() is None
    True
    """

    def __init__(
        self, folder: Path | None = None, facts: Mapping[str, Any] | None = None, *, resume: bool = False,
        seconds: float = 30.0, say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.folder, self.seconds, self.say = folder, seconds, say
        self.facts = json.loads(json.dumps(facts or {}, default=str))  # as they will be read again
        self._written = time.monotonic()
        self._cost, self._number, self._name = 0.0, 0, "step"
        self._failed = self._begun = self._resumed = False
        if folder is not None:
            self._look(resume)

    @property
    def on(self) -> bool:
        """Something is kept."""
        return self.folder is not None

    def _look(self, resume: bool) -> None:
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        if self.folder.exists() and not all(ours(name) for name in names):
            raise Mistake(f"{self.folder} holds something other than an unfinished fit; move it away")
        begun = self._read("begun") if "begun" in names else None
        if not resume:
            if begun is not None:
                self.say(
                    f"an unfinished fit lies in {self.folder}: interrupt now and say --resume to go on with it, "
                    "otherwise it is replaced"
                )
            return
        if begun is None:
            self.say(f"there is no unfinished fit in {self.folder}; beginning at the beginning")
            return
        other = _difference(begun["facts"], self.facts)
        if other:
            raise BadOption(f"the unfinished fit in {self.folder} cannot be resumed: {other}; begin anew without --resume")
        self._begun = self._resumed = True
        self._number = max((int(name[5:]) for name in names if name.startswith("step-")), default=0)
        self.say(f"going on with the unfinished fit in {self.folder}")

    def stage(self, name: str, make: Callable[[], Any], state: Callable[[Any], Any], load: Callable[[Any], Any]) -> Any:
        """A piece of work before training: read where it was finished already, else done and kept.

        Args:
            make: does the work.
            state: its result -> state tree.
            load: undoes ``state``.
        """
        if not self.on:
            return make()
        if self._begun:
            tree = self._read(f"stage-{name}")
            if tree is not None:
                return load(tree)
        made = make()
        self._keep(f"stage-{name}", state(made))
        return made

    def second(self, name: str = "tune") -> Checkpoints:
        """The same folder for a training that follows (of towers, on pseudo-labels): its checkpoints have their own names."""
        other = copy.copy(self)
        other._name, other._number = name, 0
        if self.on:
            other._number = max((int(name[5:]) for name in other._steps()), default=0)
        return other

    def due(self, *, epoch: bool = False) -> bool:
        """It is time for a checkpoint; ``epoch``: at the end of one, where less time must have passed."""
        if not self.on or not processes.first():
            return False
        wait = min(self.seconds, EPOCH_SECONDS) if epoch else self.seconds
        return not wait or time.monotonic() - self._written >= max(wait, self._cost / MOST)

    def save(self, tree: Mapping[str, Any]) -> bool:
        """Write a checkpoint; older ones but ``KEEP - 1`` go when it is whole.

        A disk that is full costs this checkpoint, not the training: it is said once, the one before
        stays, and the next is tried.
        """
        if not self.on:
            return False
        started = time.monotonic()
        self._number += 1
        done = self._keep(f"{self._name}-{self._number:08d}", tree)
        if done:
            for name in self._steps()[KEEP:]:
                shutil.rmtree(self.folder / name, ignore_errors=True)
        self._written = time.monotonic()
        self._cost = self._written - started
        return done

    def latest(self) -> Any:
        """The last whole checkpoint's tree, None if there is none."""
        if not self._begun:
            return None
        for name in self._steps():
            tree = self._read(name)
            if tree is not None:
                return tree
            self.say(f"the checkpoint {self.folder / name} is damaged; taking the one before")
        return None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        """After a mistake nothing of a fit is worth going on with, unless an earlier one began it."""
        if kind and issubclass(kind, Mistake) and not self._resumed:
            self.remove()

    def remove(self) -> None:
        """The fit is finished, and its model saved."""
        if self._begun and processes.first():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _steps(self) -> list[str]:
        """Names of the checkpoints, the last one first."""
        return sorted((path.name for path in self.folder.glob(f"{self._name}-*")), reverse=True)

    def _read(self, name: str) -> Any:
        try:
            return store.load(self.folder / name)[1]["tree"]
        except BadModel:
            return None

    def _keep(self, name: str, tree: Any) -> bool:
        if not processes.first():
            return False
        try:
            if not self._begun:
                shutil.rmtree(self.folder, ignore_errors=True)
                store.save(self.folder / "begun", {"kind": "fit"}, {"tree": {"facts": self.facts}}, what="a checkpoint")
                self._begun = True
            shutil.rmtree(self.folder / name, ignore_errors=True)
            store.save(self.folder / name, {"kind": "checkpoint"}, {"tree": tree}, what="a checkpoint")
        except CannotWrite as error:
            if not self._failed:
                self.say(f"{error}; the fit goes on, and tries again at the next")
            self._failed = True
            return False
        self._failed = False
        return True


class Interrupt:
    """While it is entered, Ctrl-C and SIGTERM wait for the batch to be done; the second one does not.

    Args:
        on: False leaves the signals alone, as does any thread but the main one.
    """

    def __init__(self, on: bool) -> None:
        self.on = on and threading.current_thread() is threading.main_thread()
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM) if self.on else ():
            if signal.getsignal(number) == signal.SIG_IGN:  # as for a job in the background of a script
                continue
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def _note(self, number: int, frame: Any) -> None:
        self.signal = number
        self._restore()

    def stop(self, where: str, folder: Path | None) -> None:
        """Stop here if a signal has come.

        Raises:
            Interrupted: with the exit code of that signal.
        """
        if self.signal:
            word = "interrupted" if self.signal == signal.SIGINT else "terminated"
            raise Interrupted(f"{word} {where}; --resume goes on from {folder}", 128 + self.signal)


def random_state() -> dict[str, Any]:
    """States of all generators that training may draw from: torch's, numpy's and Python's own."""
    name, keys, place, has_gauss, gauss = np.random.get_state()
    version, numbers, extra = random.getstate()
    return {
        "torch": torch.get_rng_state().numpy(),
        "cuda": [state.numpy() for state in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else [],
        "numpy": [name, keys, place, has_gauss, gauss],
        "python": [version, np.array(numbers, np.uint32), extra],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Undo ``random_state``."""
    torch.set_rng_state(torch.tensor(state["torch"]))
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([torch.tensor(one) for one in state["cuda"]])
    np.random.set_state(tuple(state["numpy"]))
    version, numbers, extra = state["python"]
    random.setstate((version, tuple(numbers.tolist()), extra))


def to_arrays(weights: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """A module's state as arrays."""
    return {key: value.detach().cpu().numpy() for key, value in weights.items()}


def to_weights(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Undo ``to_arrays``."""
    return {key: torch.tensor(value) for key, value in arrays.items()}


def content(records: Records) -> str:
    """Hash of names, types and values of a table, and of the rows chosen from it; its chunks do not matter.

    >>> from polysense.data.records import as_records
    >>> content(as_records([{"a": 1}])) == content(as_records([{"a": 2}]))
    False
    """
    import pyarrow as pa

    hasher = hashlib.sha256(repr(None if records._rows is None else records._rows.tolist()).encode())

    class Sink:
        closed = False

        def write(self, data: Any) -> int:
            hasher.update(data)
            return len(data)

        def flush(self) -> None: ...

        def close(self) -> None: ...

    with pa.ipc.new_stream(pa.PythonFile(Sink(), "w"), records.table.schema) as stream:
        for batch in records.table.to_batches(max_chunksize=10_000):
            stream.write_batch(batch)
            if records.mapped is not None:  # a mapped table is read once through: its pages must not stay
                records.mapped.touched(batch.num_rows)
    return hasher.hexdigest()[:32]


def brief(values: Any) -> str:
    """Hash of plain values.

    >>> brief(["a", None]) == brief(["a", "None"])
    False
    """
    return hashlib.sha256(repr(list(values)).encode()).hexdigest()[:32]


def ours(name: str) -> bool:
    """The name is that of a thing in such a folder."""
    return name == "begun" or name.startswith(_OURS)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What first differs between the facts of two fits, in words; empty if nothing does.

    >>> _difference({"settings": {"seed": 0}}, {"settings": {"seed": 1}})
    'seed was 0 and is 1'
    >>> _difference({"files": {"photo": "f3"}}, {"files": {"photo": "0b"}})
    "the files of 'photo' have changed"
    """
    for part in [*old, *(part for part in new if part not in old)]:
        was, now = old.get(part), new.get(part)
        if was == now:
            continue
        if part == "records":
            return "the table's content has changed"
        if not isinstance(was, dict) or not isinstance(now, dict):
            return f"{part} was {was!r} and is {now!r}"
        key = next(key for key in [*was, *now] if was.get(key) != now.get(key))
        if part == "files":
            return f"the files of '{key}' have changed"
        return f"{key} was {was.get(key)!r} and is {now.get(key)!r}"
    return ""

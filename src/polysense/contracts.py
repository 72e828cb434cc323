"""The contracts of the shelves: what a modality, an encoder, a fusion and a task must be.

One page to read before adding a part. B records, V views, T positions, D width, C classes.
State is a tree: dicts of JSON values and numpy arrays (arrays go to safetensors, the rest to
JSON); ``bytes`` become files of their own (tokenisers). No part ever pickles anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .registry import encoders
from .tokens import Tokens

State = dict[str, Any]
Batch = Mapping[str, Tensor]


class Encoder(nn.Module):
    """Values of one view -> tokens.

    Life: ``Class(**options)`` stores and checks options · ``fit(values)`` learns vocabulary and
    statistics from training values and makes the parameters (``load(state)`` makes them from what
    ``fit`` learned before) · ``prepare(values)`` turns values into arrays · ``forward`` into tokens.

    Class attributes:
        frozen: the output depends on content and fitted state only, never on training: it is
            computed once, before the loop.
        cached: frozen outputs are worth a place in the disk cache.
        tower: a pretrained network.
        read_by_rivals: the pooled frozen output is what the plain rivals read (a tower's output, or
            the plain features themselves); otherwise they read the modality's plain features.
    """

    name: ClassVar[str] = ""
    frozen: bool = False
    cached: bool = False
    tower: bool = False
    read_by_rivals: bool = False
    dim: int = 0

    def fit(self, values: Sequence[Any]) -> None:
        """Learn from training values (present ones only; may be a sample for media)."""

    def state(self) -> State:
        """What ``fit`` learned, parameters and buffers of the module excepted."""
        return {}

    def load(self, state: State) -> None:
        """Undo ``state``: afterwards the module has its parameters (values come separately)."""

    def prepare(self, values: Sequence[Any]) -> dict[str, np.ndarray]:
        """Arrays whose first axis is B.

        A key ``mask`` (B, T) bool marks real positions where lengths differ; arrays of rank >= 2
        whose second axis is T are padded with zeros. Depends on each value alone: a record's
        arrays are equal, up to padding, in any batch.
        """
        raise NotImplementedError

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        """(B, T, dim) tokens from the tensors of ``prepare``; each record on its own."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Values of the keyword-only options, as given or by default."""
        return {key: getattr(self, key) for key in encoders.about(self.name).options}

    def fingerprint(self) -> str:
        """Hash of name, options and fitted state: the cache key of frozen outputs."""
        return digest([self.name, self.options(), self.state()])


class Plain:
    """The plain features of a modality, for rivals and for ``*.plain`` encoders.

    ``fit`` learns from training values, ``transform`` gives (B, P): a numpy array or a scipy CSR
    matrix, unstandardised.
    """

    #: Outputs are costly enough to be cached on disk (decoding, signal processing).
    cached: bool = False

    def fit(self, values: Sequence[Any]) -> None: ...

    def transform(self, values: Sequence[Any]) -> Any:
        raise NotImplementedError

    def state(self) -> State:
        return {}

    def load(self, state: State) -> None: ...

    def fingerprint(self) -> str:
        return digest([type(self).__name__, self.state()])


class Modality:
    """How the values of a view are described without learning, and which encoders suit it.

    Class attributes:
        kinds: the column kinds it reads.
        plain: class of its plain features.
        small, large: encoder names by default below and above 5,000 training records.
    """

    name: ClassVar[str] = ""
    kinds: ClassVar[tuple[str, ...]] = ()
    plain: ClassVar[type[Plain]] = Plain
    small: ClassVar[str] = ""
    large: ClassVar[str] = ""

    @classmethod
    def languages(cls, values: Sequence[Any]) -> set[str]:
        """Languages a column holds, where that decides which tower suits; empty if it does not."""
        return set()


class Fusion(nn.Module):
    """Tokens of all views -> tokens of the record.

    Laws: finite under every mask, also with everything absent; an absent view is never read;
    records are separate; the order of views does not matter; convex weights are >= 0 and sum to 1
    over what is present. Runs under ``torch.vmap``: no Python decision that depends on tensor values.

    The constructor takes ``(views, dim)`` and keyword-only options.

    Class attributes:
        late: combines the views' answers instead (``combine``).
        apart: (late) the views' heads learn each from its own answer, not from the combined one.
        fitted: (late) its numbers are fitted on answers to records that the heads had not seen
            (``fit_out_of_fold``, with an option ``folds``); they are buffers, alike in all members.
        kinds: (late) which kinds of answers it can combine, see ``Task.kind``.
        positions: wants all positions of a view; otherwise views come pooled (T = 1).
        keeps_positions: the result has T > 1, so tasks that need positions can follow: tokens of the fusion's own, then
            those of the views in the order of their names.
    """

    name: ClassVar[str] = ""
    late: bool = False
    apart: bool = False
    fitted: bool = False
    kinds: tuple[str, ...] = ("classes", "labels", "numbers")
    positions: bool = False
    keeps_positions: bool = False

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        """{view: (B, T_v, D)} -> (B, T, D)."""
        raise NotImplementedError

    def combine(self, answers_BVC: Tensor, mask_BV: Tensor, prior_C: Tensor) -> Tensor:
        """Late fusion: the views' answers -> (B, C); the prior where nothing is present."""
        raise NotImplementedError

    def begin(self, classes: int) -> None:
        """Late fusion: told C when the network is made."""

    def fit_out_of_fold(
        self, answers_NVC: np.ndarray, mask_NV: np.ndarray, target_N: np.ndarray, prior_C: np.ndarray, kind: str = "classes"
    ) -> dict[str, Any]:
        """Late fusion: fit its buffers on the views' answers to records that their heads had not seen.

        Args:
            mask_NV: bool; answers of absent views are not read.
            target_N: class numbers, (N, L) zeros and ones, or numbers, as ``Task.encode`` gives them.
            kind: ``Task.kind``.

        Returns:
            What was found, as JSON; "gap" certifies how far from the optimum it can be.
        """
        raise NotImplementedError


class Task:
    """Targets, head, loss, answer, scores.

    Constructor: keyword-only options. ``fit(values)`` learns classes or scales from training
    targets. Targets are a dict of arrays with first axis B, so that several targets are several
    entries.

    Inside, the network may answer on a scale of its own (standardised numbers): ``restore`` gives answers
    back as the user knows them. ``prior``, ``answer``, ``watch`` speak the inner scale, everything from
    ``restore`` on (yardstick, decode, mixture, judge) the user's.

    Class attributes:
        kind: what an answer is: "classes" (probabilities of one of C classes), "labels" (of each of L labels), "numbers"
            or "words" (see ``task.Words``). It decides what its rivals are and how the report shows it. "several": it is
            made of others, see ``parts``.
        fusion: that joins the views where the user names none. A plain word in the class body: it is read from the source.
        training: {option of train: value} that suit it where the user names none; likewise. Under "OPTION=VALUE", which is
            one of its own, what suits it with that.
        tuning: {option of tune: value}, likewise.
        forced: answering is dear, so validation after an epoch is given what ``force`` says in place of answers.
        needs_positions: the head reads positions (a caption's attention), so the fusion must keep them.
        averages: answers of several members may be averaged.
        late: views may be answered one by one (late fusion, a head per view).
        width: D, where the head reads the views that it hears as their encoders give them, neither projected nor fused: a
            pretrained head made for just these; 0 where it reads what was fused.
        ready: the head answers without any training of its own, so there is no first one, and a second is kept only where
            the validation texts themselves gain by it.
        at_once: records that are answered at a time at most; 0 leaves it to the caller.
        most: positions that a training record may have to teach; 0 where any may.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = "classes"
    fusion: ClassVar[str] = "concat"
    training: ClassVar[Mapping[str, Any]] = {}
    tuning: ClassVar[Mapping[str, Any]] = {}
    forced: ClassVar[bool] = False
    needs_positions: bool = False
    averages: bool = True
    late: bool = True
    classes: Sequence[Any] = ()
    hears: Sequence[str] = ()
    width: int = 0
    ready: bool = False
    at_once: int = 0
    most: int = 0

    def see(self, views: Mapping[str, str]) -> None:
        """Told {view: modality} before ``fit``; refuses a table that it cannot answer from.

        Where it sets ``hears``, to some of the views, it is given the positions of these alone.
        """

    def suits(self, modality: str) -> Sequence[tuple[str, dict[str, Any]]]:
        """Encoders with options, told after ``fit``, for a view of that modality where the user names none: the first that is
        on disk. Nothing leaves the choice to the modality.
        """
        return ()

    def takes(self, encoders: Mapping[str, Encoder]) -> None:
        """Told the views' encoders, fitted; refuses those that its head cannot read."""

    def parts(self) -> list[Part]:
        """Its targets, each with its own task: itself, or those of which it is made. They are judged one by one."""
        return [Part("", self, slice(None))]

    def fit(self, values: Sequence[Any]) -> None: ...

    def state(self) -> State:
        return {}

    def load(self, state: State) -> None: ...

    def encode(self, values: Sequence[Any]) -> dict[str, np.ndarray]:
        """Targets as arrays; a class unseen in training becomes -1."""
        raise NotImplementedError

    def head(self, dim: int) -> nn.Module:
        """The module that ``loss`` and ``answer`` are given."""
        raise NotImplementedError

    def deepen(self, on: bool) -> bool:
        """Whether heads made from now on have more to train, in a second training after the first; none if not ``on``."""
        return False

    @property
    def pace(self) -> str:
        """What that is, of ``learn.tune.RATES``: it says how fast it learns where the user does not."""
        return "factors"

    def allow(self, *, download: bool = False, carried: Path | None = None) -> None:
        """Told before ``fit`` and ``load`` to a task with a pretrained network of its own.

        Args:
            download: a hub id may be downloaded.
            carried: folder of its copy in the model folder, if there is one.
        """

    @property
    def tower(self) -> dict[str, Any] | None:
        """What a model remembers of the task's pretrained network: name, sha256, licence, source, version; None without one."""
        return None

    def files(self) -> dict[str, Path]:
        """{name: file} of its pretrained network, for a model folder that carries its towers."""
        return {}

    def loss(self, head: nn.Module, fused: Tokens, targets: Mapping[str, Tensor]) -> Tensor:
        """(B,): the loss of each record."""
        raise NotImplementedError

    def answer(self, head: nn.Module, fused: Tokens) -> Tensor:
        """(B, ...): what the model says, e.g. probabilities (B, C)."""
        raise NotImplementedError

    def answer_loss(self, answers: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """(B,): loss of given answers (B, C); what late fusion trains on."""
        raise NotImplementedError

    def teach(self, head: nn.Module, fused: Tokens, teacher: Tensor) -> Tensor:
        """(B,): divergence from a teacher's answer (B, C)."""
        raise NotImplementedError

    def force(self, head: nn.Module, fused: Tokens, targets: Mapping[str, Tensor]) -> Tensor:
        """(B, K): figures of each record while the target is given (teacher forcing), for ``watch``; where ``forced``."""
        raise NotImplementedError

    def watch(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Cheap figures of a validation pass, shown after each epoch; early stopping reads "loss".

        Args:
            answers: of the network, or where ``forced`` what ``force`` gave.
        """
        return {}

    def prior(self) -> np.ndarray:
        """(C,): the answer when every view is absent."""
        raise NotImplementedError

    def restore(self, answers: np.ndarray) -> np.ndarray:
        """Answers of the network -> answers in the target's unit."""
        return answers

    def nothing(self) -> Any:
        """The restored answer where every view is absent: numbers (C,), or a text."""
        return self.restore(self.prior()[None])[0]

    def judged(self, values: Sequence[Any]) -> np.ndarray:
        """(N, ...): targets as the yardstick takes them, on the scale of restored answers."""
        return next(iter(self.encode(values).values()))

    def yardstick(self) -> Any:
        """The ``metrics.Yardstick`` of restored answers."""
        raise NotImplementedError

    def settle(self, answers: np.ndarray, targets: np.ndarray) -> str:
        """Choose on the model's answers to records it has not learned from what is chosen there, such as thresholds.

        Returns:
            A line about it for the user.

        Args:
            targets: as ``judged`` gives them, all known.
        """
        return ""

    def check(self, records: int, target: str | None) -> None:
        """Refuse, after ``fit`` on so many training records, a target that is of another kind in truth."""

    def about(self, target: str | None) -> str:
        """What is learned, in a line: classes with their counts, the range of numbers."""
        return f"learning {target!r}" if target else "learning the target"

    def decode(self, answers: np.ndarray) -> list[Any]:
        """Restored answers -> predictions as the user knows them."""
        raise NotImplementedError

    def write(self, prediction: Any) -> Any:
        """A prediction as a cell of a table."""
        return prediction

    def columns(self) -> list[str]:
        """Names of the restored answers' columns in a file of predictions; empty where the prediction says it all."""
        return []


class Part(NamedTuple):
    """One target of a task.

    Attributes:
        name: of the target; empty where it is the only one.
        task: its own.
        columns: its numbers of an answer.
        place: where it stands among a record's targets, a tuple; None where a record's target is it alone.
        weight: of its loss among the others'.
    """

    name: str
    task: Task
    columns: slice
    place: int | None = None
    weight: float = 1.0

    def of(self, targets: Sequence[Any]) -> Sequence[Any]:
        """(N,) this target of each record; None where it is missing.

        >>> Part("b", Task(), slice(0, 1), 1).of([("x", 2.0), ("y", None), None])
        [2.0, None, None]
        """
        if self.place is None:
            return targets
        return [None if one is None else one[self.place] for one in targets]

    def among(self, answers: Any) -> Any:
        """This target's part of answers (..., A); of one target the answers themselves, whatever their shape."""
        return answers if self.place is None else answers[..., self.columns]

    def arrays(self, targets: Mapping[str, Any]) -> dict[str, Any]:
        """What ``Task.encode`` gave, this target's part of it under the names that its own task gives.

        >>> Part("b", Task(), slice(0, 1), 1).arrays({"0 label": 1, "1 label": 2, "1 known": 3})
        {'label': 2, 'known': 3}
        """
        before = "" if self.place is None else f"{self.place} "
        return {key.removeprefix(before): value for key, value in targets.items() if key.startswith(before)}


def digest(tree: Any) -> str:
    """SHA-256 of a state tree, as 32 hex digits.

    >>> digest({"a": 1, "b": np.zeros(2)}) == digest({"b": np.zeros(2), "a": 1})
    True
    """
    hasher = hashlib.sha256()

    def feed(node: Any) -> None:
        if isinstance(node, Mapping):
            for key in sorted(node):
                hasher.update(f"{{{key}:".encode())
                feed(node[key])
        elif isinstance(node, (list, tuple)):
            hasher.update(b"[")
            for item in node:
                feed(item)
            hasher.update(b"]")
        elif isinstance(node, np.ndarray):
            hasher.update(f"{node.dtype}{node.shape}".encode())
            hasher.update(np.ascontiguousarray(node).tobytes())
        elif isinstance(node, Tensor):
            feed(node.detach().cpu().numpy())
        elif isinstance(node, bytes):
            hasher.update(node)
        else:
            hasher.update(json.dumps(node, sort_keys=True, default=str).encode())

    feed(tree)
    return hasher.hexdigest()[:32]


def to_tensors(arrays: Mapping[str, np.ndarray], device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Prepared arrays as tensors, without a copy where possible."""
    return {key: torch.as_tensor(value, device=device) for key, value in arrays.items()}

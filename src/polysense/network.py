"""Encoders, fusion and head as one module. It asks the shelves and knows none of their entries.

Two halves. ``Encoders`` turns the views into tokens and exists once. ``Core`` (projections, fusion,
head) exists ``members`` times with parameters of its own; ``Members`` runs all of them in one pass.

M members, B records, V views, T positions, W an encoder's width, D the common width, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from .contracts import Encoder, Fusion, Task
from .errors import BadOption
from .layers import ByView, Condition, Drop
from .tokens import Tokens

#: Records up to which the members answer one after the other: batching them costs more than it saves.
FEW = 8
#: Keys of the targets of mixed records: which views are mixed (and, before a target's own key, the other's), and the share.
MIXED, SHARE = "~mixed", "~share"


class Encoders(nn.Module):
    """One encoder per view, each followed by the conditioning of its frozen features.

    Args:
        encoders: {view: fitted encoder}.
        conditions: {view: fitted condition} for frozen encoders.
    """

    def __init__(self, encoders: Mapping[str, Encoder], conditions: Mapping[str, Condition]) -> None:
        super().__init__()
        self.encoders, self.conditions = ByView(encoders), ByView(conditions)

    @property
    def widths(self) -> dict[str, int]:
        """{view: W}."""
        return {
            view: self.conditions[view].dim if view in self.conditions else encoder.dim
            for view, encoder in self.encoders.items()
        }

    def forward(self, view: str, batch: Mapping[str, Tensor], present_B: Tensor, pool: bool = False) -> Tokens:
        """Tokens of a view from the prepared arrays of its present records only, in order.

        ``pieces`` among the arrays says how many pictures or sounds each of these records holds, if not one;
        with ``pool`` the record gets their mean instead of all their positions. A tower that is tuned keeps
        the condition that its frozen outputs were given.
        """
        arrays = dict(batch)
        pieces = arrays.pop("pieces", None)
        tokens = self.encoders[view](arrays)
        if view in self.conditions:
            tokens = Tokens(self.conditions[view](tokens.x), tokens.mask, tokens.weight, tokens.place)
        if pieces is not None:
            tokens = tokens.together(pieces, pool)
        if present_B.all():
            return tokens
        x = tokens.x.new_zeros(len(present_B), *tokens.x.shape[1:])
        mask = tokens.mask.new_zeros(len(present_B), tokens.mask.shape[1])
        return Tokens(x.index_put((present_B,), tokens.x), mask.index_put((present_B,), tokens.mask))


class Trunk(nn.Module):
    """Projections to the common width, then the fusion: what an estimator compares or answers from.

    Args:
        widths: {view: W}.
        fusion: made for the same views and ``dim``.
        dim: D.
        dropout: share of the projected units dropped in training.
        input_dropout: share of the encoders' numbers dropped in training.
        bare: views of width D that are not projected.

    forward: {view: (B, T_v, W_v)} -> (B, T, D)
    """

    def __init__(
        self, widths: Mapping[str, int], fusion: Fusion, dim: int, *, dropout: float = 0.4, input_dropout: float = 0.3,
        bare: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.projections = ByView({
            view: nn.Sequential(
                nn.LayerNorm(width), Drop(input_dropout), nn.Linear(width, dim),
                nn.LayerNorm(dim), nn.GELU(), Drop(dropout),
            )
            for view, width in sorted(widths.items()) if view not in bare
        })
        self.bare = tuple(bare)

    def project(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """{view: (B, T_v, W_v)} -> {view: (B, T_v, D)}; masked positions are zeroed first."""
        return {
            view: Tokens(layer(tokens[view].clean()), tokens[view].mask, tokens[view].weight, tokens[view].place)
            for view, layer in self.projections.items()
        } | {view: tokens[view] for view in self.bare}

    def forward(self, tokens: Mapping[str, Tokens]) -> Tokens:
        return self.fusion(self.project(tokens))


class PerTarget(Fusion):
    """A late fusion for each target of a task: it combines the views' answers to that target.

    Args:
        make: builds one of them.
        task: of several targets, fitted.
    """

    late = True

    def __init__(self, make: Callable[[], Fusion], task: Task) -> None:
        super().__init__()
        self.columns = {part.name: part.columns for part in task.parts()}
        self.each = ByView({name: make() for name in self.columns})
        first = next(iter(self.each.values()))
        self.name, self.kinds = first.name, first.kinds
        self.apart, self.fitted, self.folds = first.apart, getattr(first, "fitted", False), getattr(first, "folds", 0)

    def begin(self, classes: int) -> None:
        for name, columns in self.columns.items():
            self.each[name].begin(columns.stop - columns.start)

    def combine(self, answers_BVC: Tensor, mask_BV: Tensor, prior_C: Tensor) -> Tensor:
        return torch.cat([
            self.each[name].combine(answers_BVC[..., columns], mask_BV, prior_C[columns])
            for name, columns in self.columns.items()
        ], 1)


class Core(nn.Module):
    """One member: trunk, head, and a head per view where views can answer alone.

    Args:
        trunk: projections and fusion.
        task: makes the heads, owns loss and answer.
        dim: D.
        auxiliary: weight of the losses of the views' own heads.
        distil: weight of the full pass teaching the masked pass.
    """

    def __init__(self, trunk: Trunk, task: Task, dim: int, *, auxiliary: float = 0.3, distil: float = 0.0) -> None:
        super().__init__()
        self.trunk, self.task = trunk, task
        self.auxiliary, self.distil = auxiliary, distil
        self.late = trunk.fusion.late
        alone = self.late or (auxiliary > 0 and task.late)
        self.heads = ByView({view: task.head(dim) for view in trunk.projections} if alone else {})
        self.head = nn.Identity() if self.late else task.head(dim)
        self.register_buffer("prior", torch.as_tensor(task.prior()) if self.late else torch.zeros(0))
        if self.late:
            trunk.fusion.begin(len(self.prior))

    def forward(
        self, x: Mapping[str, Tensor], mask: Mapping[str, Tensor],
        targets: Mapping[str, Tensor] | None = None, keep_BV: Tensor | None = None, forced: bool = False,
    ) -> Tensor:
        """Answers (B, ...) without targets; with targets the training loss (B,), or ``Task.force`` (B, K) if ``forced``.

        Args:
            x: {view: (B, T, W)}, mask: {view: (B, T)} bool.
            keep_BV: bool; the second, masked pass sees only these views (any-subset training).
        """
        parts = self.trunk.project({view: Tokens(x[view], mask[view]) for view in x})
        if targets is None:
            return self._answer(parts)
        if forced:
            return self.task.force(self.head, self._fused(parts), targets)
        if self.trunk.fusion.apart:
            return self._apart(parts, targets)
        if keep_BV is None:
            loss = self._loss(parts, targets)
        else:
            twice = {
                view: Tokens(
                    torch.cat([part.x, part.x]),
                    torch.cat([part.mask, part.mask & keep_BV[:, i, None]]),
                )
                for i, (view, part) in enumerate(parts.items())
            }
            both = self._loss(twice, {key: torch.cat([value, value]) for key, value in targets.items()}, self.distil)
            loss = both.unflatten(0, (2, -1)).sum(0)
        if self.auxiliary and self.heads and not self.late:
            for view, head in self.heads.items():
                alone = self._judged(partial(self.task.loss, head, parts[view]), targets, {view: parts[view]})
                loss = loss + self.auxiliary * torch.where(parts[view].present, alone, torch.zeros_like(alone))
        return loss

    def _judged(
        self, loss: Callable[[Mapping[str, Tensor]], Tensor], targets: Mapping[str, Tensor], parts: Mapping[str, Tokens]
    ) -> Tensor:
        """(B,): the loss on the targets; of a record that is mixed with another, by shares on both their targets.

        Where of the views at hand none was mixed, the record is wholly itself.
        """
        if MIXED not in targets:
            return loss(targets)
        mixed_BV = targets[MIXED]
        views = sorted(self.trunk.projections)
        mixed_B = torch.stack([parts[view].present & mixed_BV[:, views.index(view)] for view in parts], 1).any(1)
        own = {key: value for key, value in targets.items() if not key.startswith(MIXED)}
        other = {key: targets[f"{MIXED} {key}"] for key in own if key != SHARE}
        share_B = torch.where(mixed_B, own.pop(SHARE), 1.0)
        return share_B * loss(own) + (1 - share_B) * loss(other)

    def fused(self, x: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> Tokens:
        """What the head is given."""
        return self._fused(self.trunk.project({view: Tokens(x[view], mask[view]) for view in x}))

    def _fused(self, parts: Mapping[str, Tokens]) -> Tokens:
        """Tokens of the record; of some views alone where the task hears no others."""
        if self.trunk.bare:
            heard = [parts[view] for view in sorted(self.trunk.bare)]
            return Tokens(torch.cat([part.x for part in heard], 1), torch.cat([part.mask for part in heard], 1))
        fused = self.trunk.fusion(parts)
        return only_of_views(fused, parts, self.task.hears) if self.task.hears else fused

    def _answer(self, parts: Mapping[str, Tokens]) -> Tensor:
        if not self.late:
            return self.task.answer(self.head, self._fused(parts))
        answers_BVC = torch.stack([self.task.answer(self.heads[view], parts[view]) for view in parts], 1)
        mask_BV = torch.stack([part.present for part in parts.values()], 1)
        return self.trunk.fusion.combine(answers_BVC, mask_BV, self.prior)

    def _apart(self, parts: Mapping[str, Tokens], targets: Mapping[str, Tensor]) -> Tensor:
        """(B,): mean loss of the present views' own answers."""
        loss_BV = torch.stack([
            self._judged(partial(self.task.loss, self.heads[view], parts[view]), targets, {view: parts[view]}) for view in parts
        ], 1)
        mask_BV = torch.stack([part.present for part in parts.values()], 1)
        return torch.where(mask_BV, loss_BV, torch.zeros_like(loss_BV)).sum(1) / mask_BV.sum(1).clamp_min(1)

    def _loss(self, parts: Mapping[str, Tokens], targets: Mapping[str, Tensor], distil: float = 0.0) -> Tensor:
        if self.late:
            return self._judged(partial(self.task.answer_loss, self._answer(parts)), targets, parts)
        fused = self._fused(parts)
        loss = self._judged(partial(self.task.loss, self.head, fused), targets, parts)
        if distil:
            half = len(loss) // 2
            full, masked = (
                Tokens(fused.x[part], fused.mask[part], None if fused.weight is None else fused.weight[part])
                for part in (slice(None, half), slice(half, None))
            )
            lesson = self.task.teach(self.head, masked, self.task.answer(self.head, full).detach())
            loss = loss + distil * torch.cat([torch.zeros_like(lesson), lesson])
        return loss


def only_of_views(fused: Tokens, parts: Mapping[str, Tokens], views: Sequence[str]) -> Tokens:
    """The positions of some views, of a fusion that keeps those of all, in order of their names, behind its own.

    >>> one, two = (Tokens(torch.full((1, 2, 1), x), torch.ones(1, 2, dtype=torch.bool)) for x in (1.0, 2.0))
    >>> both = Tokens(torch.tensor([[[0.0], [1.0], [1.0], [2.0], [2.0]]]), torch.ones(1, 5, dtype=torch.bool))
    >>> only_of_views(both, {"a": one, "b": two}, ["b"]).x.flatten().tolist()
    [2.0, 2.0]
    """
    order = sorted(parts)
    ends = [fused.x.shape[1] - sum(parts[later].x.shape[1] for later in order[i + 1 :]) for i in range(len(order))]
    kept = [
        slice(end - parts[view].x.shape[1], end) for view, end in zip(order, ends, strict=True) if view in views
    ]
    return Tokens(*(torch.cat([half[:, part] for part in kept], 1) for half in (fused.x, fused.mask)))


class Members(nn.Module):
    """Several copies of a module with parameters of their own, run in one pass.

    Parameters are stacked along a new first axis and the module is run under ``torch.vmap``; where
    an operator cannot be batched, in a plain loop. With one copy it is that copy.

    Args:
        make: builds one copy; called ``count`` times, so that each starts elsewhere.
        count: M.

    forward: arguments of the module, those named in ``mapped`` with a first axis M -> (M, ...)
    """

    def __init__(self, make: Callable[[], nn.Module], count: int) -> None:
        super().__init__()
        copies = [make() for _ in range(count)]
        self.count, self.batched = count, True
        parameters, buffers = stack_module_state(copies)
        #: Rank of each parameter within one member: weight decay asks whether it is a matrix.
        self.ranks = {_key(name): value.dim() - 1 for name, value in parameters.items()}
        for name, value in parameters.items():
            self.register_parameter(_key(name), nn.Parameter(value.detach()))
        for name, value in buffers.items():
            self.register_buffer(_key(name), value.detach())
        self._plain: tuple[tuple[int, ...], tuple[nn.Module, ...]] = ((), ())
        self._hidden = (copies[0],)  # a tuple hides the skeleton from state_dict and .parameters()

    @property
    def skeleton(self) -> nn.Module:
        """One member's module; its own parameters are never used."""
        return self._hidden[0]

    def train(self, mode: bool = True) -> Members:
        self.skeleton.train(mode)
        return super().train(mode)

    def state_of(self) -> dict[str, Tensor]:
        """{parameter or buffer name of one member: (M, ...)}."""
        return {_name(key): value for key, value in [*self.named_parameters(), *self.named_buffers()]}

    def put(self, part: str, module: nn.Module) -> None:
        """Give the buffers of one part of every member (``trunk.fusion``, say) the values of a module's."""
        with torch.no_grad():
            for name, value in module.named_buffers():
                getattr(self, _key(f"{part}.{name}")).copy_(value)

    def first(self) -> nn.Module:
        """The first member as a module of its own, to be asked and not to be trained."""
        return self._copies(self.state_of())[0]

    def _copies(self, state: dict[str, Tensor]) -> tuple[nn.Module, ...]:
        """The members as modules of their own over the same numbers; made anew when these have moved."""
        where = tuple(value.data_ptr() for value in state.values())
        if where != self._plain[0]:
            made = tuple(deepcopy(self.skeleton).eval() for _ in range(self.count))
            for m, copy in enumerate(made):
                for name, value in state.items():
                    owner, _, last = name.rpartition(".")
                    own = value.detach()[m]
                    module = copy.get_submodule(owner)
                    setattr(module, last, nn.Parameter(own, requires_grad=False) if last in module._parameters else own)
            self._plain = (where, made)
        return self._plain[1]

    def alone(self, m: int = 0) -> nn.Module:
        """One member as a module of its own, in evaluation mode."""
        return self._copies(self.state_of())[m]

    def forget(self) -> None:
        """Make the members' own modules anew when they are next needed: something beside their numbers has changed."""
        self._plain = ((), ())

    def forward(self, *args: Any, mapped: Sequence[Any] = ()) -> Tensor:
        """Args are shared by the members; ``mapped`` come after them, one slice for each."""
        state = self.state_of()

        if not self.training and not mapped and not torch.is_grad_enabled() and _records(args) <= FEW:
            return torch.stack([copy(*args) for copy in self._copies(state)])

        def one(state: dict[str, Tensor], *own: Any) -> Tensor:
            return functional_call(self.skeleton, state, (*args, *own))

        if self.batched and self.count > 1:
            try:
                return vmap(one, randomness="different")(state, *mapped)
            except (RuntimeError, NotImplementedError, ValueError):
                self.batched = False
        return torch.stack([
            one({key: value[m] for key, value in state.items()}, *(item[m] for item in mapped))
            for m in range(self.count)
        ])


class Network(nn.Module):
    """Views -> answers, for every subset of the views.

    Args:
        encoders: shared part.
        fusion: builds a fusion from (views, dim).
        task: fitted task.
        dim: D.
        members: M, 1 for tasks whose answers cannot be averaged.
        drop: probability that a present view is hidden in the masked pass; 0 turns that pass off.
        dropout, input_dropout: see ``Trunk``.
        auxiliary, distil: see ``Core``.
        mixup: alpha of ``mix``; 0 mixes nothing.

    Raises:
        BadOption: the task needs positions and the fusion gives none; a late fusion for a task
            that cannot answer view by view.
    """

    def __init__(
        self, encoders: Encoders, fusion: Callable[[Sequence[str], int], Fusion], task: Task, *, dim: int = 96,
        members: int = 4, drop: float = 0.5, dropout: float = 0.4, input_dropout: float = 0.3,
        auxiliary: float = 0.3, distil: float = 0.0, mixup: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoders, self.task, self.drop, self.mixup = encoders, task, drop, mixup
        bare, dim = (task.hears, task.width) if task.width else ((), dim)
        self.views = sorted(encoders.widths)
        widths = encoders.widths

        def make() -> Core:
            fused = fusion(self.views, dim)
            if fused.late and len(task.parts()) > 1:
                fused = PerTarget(lambda: fusion(self.views, dim), task)
            trunk = Trunk(widths, fused, dim, dropout=dropout, input_dropout=input_dropout, bare=bare)
            check_fits(trunk.fusion, task)
            return Core(trunk, task, dim, auxiliary=auxiliary, distil=distil)

        self.members = Members(make, members if task.averages else 1)
        self.fusion = self.members.skeleton.trunk.fusion

    def forward(self, batch: Mapping[str, Mapping[str, Tensor]], targets: Mapping[str, Tensor]) -> Tensor:
        """(M, B): training losses of a batch as ``encode`` takes it."""
        return self.losses(self.encode(batch), targets)

    def encode(self, batch: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tokens]:
        """Tokens of every view.

        Args:
            batch: {view: {"present": (B,) bool, and either "features": (B, W) or (B, T, W) of all
                records, frozen and conditioned, NaN where a record has fewer positions, or the
                prepared arrays of the present ones}}.
        """
        return {view: self.encode_view(view, batch[view]) for view in self.views}

    def encode_view(self, view: str, batch: Mapping[str, Tensor]) -> Tokens:
        """Tokens of one view, from what ``encode`` takes of it."""
        arrays = dict(batch)
        present_B = arrays.pop("present")
        if "features" in arrays:
            x = arrays["features"]
            if x.dim() == 2:
                return Tokens.single(x, present_B)
            mask_BT = present_B[:, None] & ~x[..., 0].isnan()
            most = int((mask_BT.any(0) * torch.arange(1, x.shape[1] + 1, device=x.device)).max()) if len(x) else 1
            most = max(1, most)  # a tower's rows are as long as it hears; behind the longest record nothing is read
            return Tokens(x[:, :most], mask_BT[:, :most])
        if not present_B.any():
            width = self.encoders.widths[view]
            return Tokens(torch.zeros(len(present_B), 1, width, device=present_B.device), present_B[:, None])
        tokens = self.encoders(view, arrays, present_B, pool=not self.fusion.positions)
        return tokens if self.fusion.positions else Tokens.single(tokens.pooled(), tokens.present)

    def losses(self, tokens: Mapping[str, Tokens], targets: Mapping[str, Tensor]) -> Tensor:
        """(M, B): training loss of each record in each member."""
        if self.mixup and self.training:
            tokens, targets = mix(tokens, targets, self.mixup)
        x, mask = self._split(tokens)
        if not self.drop or self.task.forced and len(self.views) == 1:  # of one view nothing can be hidden
            return self.members(x, mask, targets)
        present_BV = torch.stack([mask[view].any(1) for view in self.views], 1)
        keep_MBV = hide(present_BV.expand(self.members.count, *present_BV.shape), self.drop)
        return self.members(x, mask, targets, mapped=[keep_MBV])

    def answers(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """(B, ...): the members' mean answer; the training prior where every view is absent."""
        x, mask = self._split(tokens)
        anything_B = torch.stack([mask[view].any(1) for view in self.views], 1).any(1)
        if self.task.forced and not anything_B.all():  # answers are dear: none is made in vain
            answers = torch.as_tensor(self.task.prior(), device=anything_B.device).expand(len(anything_B), -1)
            if anything_B.any():
                kept = ({view: part[anything_B] for view, part in half.items()} for half in (x, mask))
                said = self.members(*kept)[0]
                answers = F.pad(answers, (0, max(0, said.shape[1] - answers.shape[1])))  # 0 ends a text
                answers = answers.index_put((anything_B,), F.pad(said, (0, answers.shape[1] - said.shape[1])))
            return answers
        answers = self.members(x, mask)
        mean = answers.mean(0) if self.task.averages else answers[0]
        if anything_B.all():
            return mean
        prior = torch.as_tensor(self.task.prior(), dtype=mean.dtype, device=mean.device)
        return torch.where(anything_B.reshape(-1, *[1] * (mean.dim() - 1)), mean, prior)

    def forced(self, tokens: Mapping[str, Tokens], targets: Mapping[str, Tensor]) -> Tensor:
        """(B, K): figures of each record while the target is given, see ``Task.force``; one member."""
        x, mask = self._split(tokens)
        return self.members(x, mask, targets, None, True)[0]

    @contextmanager
    def under(self, task: Task) -> Iterator[None]:
        """Within it answers are those of another task with the same head, such as one that chooses words otherwise."""
        own = self.task
        self.become(task)
        try:
            yield
        finally:
            self.become(own)

    def become(self, task: Task) -> None:
        """Answer as another task with the same head says from here on."""
        self.task = self.members.skeleton.task = task
        self.members.forget()

    def inside(self, tokens: Mapping[str, Tokens]) -> tuple[nn.Module, Tokens, dict[str, int]]:
        """The first member by itself, its fused tokens, and {view: positions among them}, behind the fusion's own."""
        core = self.members.alone()
        x, mask = self._split(tokens)
        parts = core.trunk.project({view: Tokens(x[view], mask[view]) for view in x})
        return core, core.trunk.fusion(parts), {view: parts[view].x.shape[1] for view in self.views}

    def matrices(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The trainable parameters that are matrices, and the rest: norms, shifts, learned vectors of views."""
        matrices, rest = [], []
        for name, parameter in self.members.named_parameters():
            (matrices if self.members.ranks[name] > 1 and "empty" not in name else rest).append(parameter)
        for parameter in self.encoders.parameters():
            if parameter.requires_grad:
                (matrices if parameter.dim() > 1 else rest).append(parameter)
        return matrices, rest

    def _split(self, tokens: Mapping[str, Tokens]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return {view: tokens[view].x for view in self.views}, {view: tokens[view].mask for view in self.views}


def mix(
    tokens: Mapping[str, Tokens], targets: Mapping[str, Tensor], alpha: float
) -> tuple[dict[str, Tokens], dict[str, Tensor]]:
    """Each record mixed with another of the batch: x = l x_i + (1 - l) x_j, loss = l L(y_i) + (1 - l) L(y_j).

    mixup (Zhang et al. 2018, arXiv:1710.09412, equations 1 and 2) of what the encoders gave, as in Verma et al. 2019
    (arXiv:1806.05236), with one l ~ Beta(alpha, alpha) for a batch, the larger of l and 1 - l (Berthelot et al. 2019,
    arXiv:1905.02249, equation 8), so that a record stays above all itself. A view is mixed where both have it and
    else stays; so nothing absent is ever read.

    Returns:
        Tokens; and targets with the other record's, the share l, and (B, V) bool which views are mixed.
    """
    first = next(iter(targets.values()))
    order = torch.randperm(len(first), device=first.device)
    share = float(torch._sample_dirichlet(torch.tensor([alpha, alpha], dtype=torch.float64))[0])
    share = max(share, 1 - share)
    mixed, which = {}, []
    for view in sorted(tokens):
        one = tokens[view]
        both_BT = one.mask & one.mask[order]
        x = torch.where(both_BT[..., None], share * one.x + (1 - share) * one.clean()[order], one.x)
        mixed[view] = Tokens(x, one.mask, one.weight, one.place)
        which.append(both_BT.any(1))
    more = {f"{MIXED} {key}": value[order] for key, value in targets.items()}
    share_B = torch.full((len(first),), share, device=first.device)
    return mixed, {**targets, **more, SHARE: share_B, MIXED: torch.stack(which, 1)}


def hide(present: Tensor, probability: float) -> Tensor:
    """Hide present views at random; one present view always stays.

    View dropout (Neverova et al. 2016, "ModDrop", arXiv:1501.00102).

    Args:
        present: (..., V) bool.
        probability: of hiding each present view.

    Returns:
        (..., V) bool, a subset of ``present``.
    """
    draw = torch.rand(present.shape, device=present.device)
    kept = present & (draw > probability)
    luckiest = torch.where(present, draw, -1.0).argmax(-1, keepdim=True)
    stays = torch.zeros_like(present).scatter(-1, luckiest, True) & present
    return torch.where(kept.any(-1, keepdim=True), kept, stays)


def check_fits(fusion: Fusion, task: Task) -> None:
    """Refuse a fusion that leaves one vector where the task reads positions.

    Raises:
        BadOption: with the cure.
    """
    if task.needs_positions and not fusion.keeps_positions:
        raise BadOption(
            f"task '{task.name}' reads positions but fusion '{fusion.name}' gives one vector per record; "
            f"choose a fusion that keeps positions, such as {task.fusion or 'transformer'}"
        )
    if fusion.late and not task.late:
        raise BadOption(f"task '{task.name}' cannot be answered view by view, so fusion '{fusion.name}' does not fit")
    for part in task.parts():
        if fusion.late and part.task.kind not in fusion.kinds:
            of = f" of '{part.name}'" if part.name else ""
            raise BadOption(
                f"fusion '{fusion.name}' combines {' or '.join(fusion.kinds)}, and task '{part.task.name}'{of} answers "
                f"{part.task.kind}; choose another late fusion, such as mean or convex"
            )


def _records(args: Sequence[Any]) -> int:
    """B of the first tensor."""
    first = args[0]
    while isinstance(first, Mapping):
        first = next(iter(first.values()))
    return len(first)


def _key(name: str) -> str:
    return name.replace(".", "/")


def _name(key: str) -> str:
    return key.replace("/", ".")

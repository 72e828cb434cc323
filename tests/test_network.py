"""Encoders, fusion and head as one module. M members, B records, V views, W widths, C classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from polysense.contracts import Encoder
from polysense.errors import BadOption
from polysense.layers import Condition
from polysense.network import MIXED, SHARE, Core, Encoders, Members, Network, Trunk, hide, mix
from polysense.registry import fusions, tasks
from polysense.tokens import Tokens

WIDTHS = {"a": 5, "b": 3, "c": 4}
NAMES = list(fusions)


class Given(Encoder):
    """Vectors as they come, through one layer of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dim, self.layer = width, nn.Linear(width, width)

    def forward(self, batch, context=None) -> Tokens:
        return Tokens(self.layer(batch["x"]), batch["mask"])


class Frozen(Encoder):
    frozen = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dim = width


def network(fusion: str = "concat", seed: int = 0, frozen: bool = True, fusion_options=None, **options) -> Network:
    torch.manual_seed(seed)
    task = tasks.make("classify")
    task.fit(["x", "y", "y", "z"])
    encoders = {view: (Frozen if frozen else Given)(width) for view, width in WIDTHS.items()}
    conditions = {view: Condition().fit(torch.randn(9, width)) for view, width in WIDTHS.items()} if frozen else {}
    options = {"dim": 8, "members": 3} | options
    made = Network(
        Encoders(encoders, conditions), lambda views, dim: fusions.make(fusion, views, dim, **fusion_options or {}),
        task, **options,
    )
    return made.eval()


def batch(present, seed: int = 0, poison: float = 0.0, rows=None) -> dict:
    """Features of all records and presence; ``poison`` stands where a view is absent."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.as_tensor(np.array(present, bool))
    parts = {}
    for i, (view, width) in enumerate(WIDTHS.items()):
        x = torch.randn(len(present), width, generator=generator)
        x = torch.where(present[:, i, None], x, poison)
        keep = slice(None) if rows is None else rows
        parts[view] = {"features": x[keep], "present": present[keep, i]}
    return parts


def ask(made: Network, parts: dict) -> torch.Tensor:
    with torch.no_grad():
        return made.answers(made.encode(parts))


masks = st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=6)
SOME = [[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]]


# hiding views -----------------------------------------------------------------------------------


@given(masks, st.floats(0, 0.99))
def test_hiding_leaves_one_present_view_and_invents_none(mask, probability):
    present = torch.tensor(mask)
    kept = hide(present, probability)
    assert kept.shape == present.shape and not (kept & ~present).any()
    assert torch.equal(kept.any(-1), present.any(-1))


def test_hiding_nothing_and_nearly_everything():
    present = torch.tensor([[True, True, False], [False] * 3])
    assert torch.equal(hide(present, 0.0), present)
    many = torch.ones(500, 4, dtype=torch.bool)
    left = hide(many, 0.99).sum(1)
    assert (left >= 1).all() and left.float().mean() < 1.1


def test_how_often_a_view_is_hidden():
    """Two views, p = 1/2: both 1/4, one alone 1/2, none 1/4 of which each half the time: a view stays in 5/8."""
    kept = hide(torch.ones(40_000, 2, dtype=torch.bool), 0.5).float()
    assert kept.mean(0).tolist() == pytest.approx([0.625, 0.625], abs=0.015)
    assert (kept.sum(1) == 2).float().mean().item() == pytest.approx(0.25, abs=0.015)


def test_every_member_hides_other_views():
    present = torch.ones(3, 50, 4, dtype=torch.bool)
    kept = hide(present, 0.5)
    assert not torch.equal(kept[0], kept[1]) and not torch.equal(kept[1], kept[2])


# members ----------------------------------------------------------------------------------------


def layers() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2))


def test_one_member_is_the_module():
    torch.manual_seed(3)
    alone = layers()
    torch.manual_seed(3)
    members = Members(layers, 1)
    x = torch.randn(5, 4)
    assert torch.equal(members(x), alone(x)[None])


def test_members_start_elsewhere_and_answer_as_their_copies():
    copies: list[nn.Module] = []

    def make() -> nn.Module:
        copies.append(layers())
        return copies[-1]

    members, x = Members(make, 3), torch.randn(5, 4)
    answers = members(x)
    assert members.batched and answers.shape == (3, 5, 2)
    for m, copy in enumerate(copies):
        torch.testing.assert_close(answers[m], copy(x), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(answers[0], answers[1])


def test_members_learn_separately():
    """The loss of one member gives gradient to no other."""
    members = Members(layers, 3)
    members(torch.randn(5, 4))[1].sum().backward()
    for key, parameter in members.named_parameters():
        assert parameter.grad[1].abs().sum() > 0 and (parameter.grad[[0, 2]] == 0).all(), key


def test_members_drop_units_of_their_own():
    members = Members(lambda: nn.Sequential(nn.Linear(20, 20), nn.Dropout(0.5)), 2)
    members.train()
    zero = members(torch.randn(1, 20)) == 0
    assert not torch.equal(zero[0], zero[1])
    members.eval()
    assert not (members(torch.randn(1, 20)) == 0).any()


def test_an_operator_that_will_not_batch_runs_in_a_plain_loop():
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.randn(()))

        def forward(self, x):
            return x * self.scale.item()  # .item() cannot be batched

    members = Members(Stubborn, 3)
    out = members(torch.ones(2))
    assert not members.batched
    torch.testing.assert_close(out[:, 0], members.state_of()["scale"].detach())


def test_a_mistake_in_a_member_is_not_swallowed():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Members(layers, 2)(torch.randn(5, 3))


def test_the_skeletons_parameters_are_neither_saved_nor_trained():
    members = Members(layers, 2)
    assert all(value.shape[0] == 2 for value in members.state_dict().values())
    assert len(list(members.parameters())) == len(list(layers().parameters()))


def test_members_survive_saving():
    first, second, x = Members(layers, 2), Members(layers, 2), torch.randn(3, 4)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))


# the network ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", NAMES)
@settings(max_examples=8)
@given(mask=masks)
def test_an_absent_slot_is_never_read(fusion, mask):
    made = network(fusion)
    assert torch.equal(ask(made, batch(mask, poison=float("nan"))), ask(made, batch(mask, poison=1e4)))


@pytest.mark.parametrize("fusion", NAMES)
@pytest.mark.parametrize("frozen", [True, False])
def test_alone_as_in_a_batch(fusion, frozen):
    made = network(fusion, frozen=frozen)
    whole = batch(SOME) if frozen else trainable(SOME)
    together = ask(made, whole)
    for i in range(len(SOME)):
        one = batch(SOME, rows=[i]) if frozen else trainable(SOME, [i])
        torch.testing.assert_close(ask(made, one)[0], together[i], atol=1e-5, rtol=1e-5)


def trainable(present, rows=None) -> dict:
    """Prepared arrays of the present records only, as the gathering makes them: padded to the longest among them."""
    generator = torch.Generator().manual_seed(1)
    parts = {}
    for i, (view, width) in enumerate(WIDTHS.items()):
        x = torch.randn(len(present), 3, width, generator=generator)
        keep = [r for r in (range(len(present)) if rows is None else rows)]
        here = torch.tensor([bool(present[r][i]) for r in keep])
        real = [r for r in keep if present[r][i]]
        parts[view] = {"present": here}
        if real:
            lengths = torch.tensor([1 + r % 3 for r in real])
            longest = int(lengths.max())
            parts[view] |= {"x": x[real][:, :longest], "mask": torch.arange(longest) < lengths[:, None]}
    return parts


@pytest.mark.parametrize("fusion", NAMES)
def test_with_every_view_absent_the_prior_answers(fusion):
    """Targets x, y, y, z: 1/4, 1/2, 1/4, to the bit, whatever the network would say."""
    answers = ask(network(fusion), batch(SOME, poison=float("nan")))
    assert answers[3].tolist() == [0.25, 0.5, 0.25]
    assert not torch.allclose(answers[0], answers[3])


@pytest.mark.parametrize("fusion", NAMES)
def test_answers_are_probabilities_and_depend_on_every_view(fusion):
    made, parts = network(fusion), batch([[1, 1, 1]] * 4)
    answers = ask(made, parts)
    torch.testing.assert_close(answers.sum(1), torch.ones(4))
    for view in WIDTHS:
        other = {**parts, view: {**parts[view], "features": parts[view]["features"].flip(0)}}
        assert not torch.allclose(ask(made, other), answers, atol=1e-5), view
        gone = {**parts, view: {**parts[view], "present": torch.zeros(4, dtype=torch.bool)}}
        assert not torch.allclose(ask(made, gone), answers, atol=1e-5), view


@pytest.mark.parametrize("fusion", NAMES)
@pytest.mark.parametrize("options", [{}, {"drop": 0.0}, {"auxiliary": 0.0}, {"distil": 0.5}])
def test_losses_reach_every_parameter(fusion, options):
    made = network(fusion, **options)
    made.train()
    with torch.no_grad():  # gates that start shut let nothing through to what lies behind them
        for parameter in made.members.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    losses = made.losses(made.encode(batch([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 1, 1]])), labels(4))
    assert losses.shape == (3, 4) and torch.isfinite(losses).all()
    losses.sum().backward()
    for key, parameter in made.members.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


def labels(count: int) -> dict:
    return {"label": torch.arange(count) % 3}


def test_trained_encoders_get_gradient_through_every_member():
    made = network("concat", frozen=False)
    made.train()
    made(trainable([[1, 1, 1], [1, 0, 1]]), labels(2)).sum().backward()
    for key, parameter in made.encoders.named_parameters():
        assert parameter.grad.abs().sum() > 0, key


def test_a_record_without_any_view_does_not_spoil_the_gradient():
    made = network("attention", frozen=False)
    made.train()
    made(trainable(SOME), labels(4)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)


def test_late_answers_are_the_mean_of_the_views_answers():
    """``mean`` over a, b, c is (a alone + b alone + c alone) / 3, member by member and so on average."""
    made, parts = network("mean"), batch([[1, 1, 1]] * 2)
    absent = torch.zeros(2, dtype=torch.bool)
    alone = [
        ask(made, {view: part if view == kept else {**part, "present": absent} for view, part in parts.items()})
        for kept in parts
    ]
    torch.testing.assert_close(ask(made, parts), sum(alone) / 3, atol=1e-6, rtol=1e-5)


def test_the_answer_is_the_mean_of_the_members():
    made, parts = network(), batch([[1, 1, 1]] * 2)
    tokens = made.encode(parts)
    with torch.no_grad():
        each = made.members(*made._split(tokens))
    torch.testing.assert_close(ask(made, parts), each.mean(0))


def test_the_masked_pass_is_the_full_pass_where_nothing_is_hidden():
    """Without dropout, hiding nothing doubles the loss of the full pass; the views' own losses stand beside it once."""
    options = {"dropout": 0.0, "input_dropout": 0.0, "members": 1}
    quiet = {"dropout": 0.0}
    made = network("concat", auxiliary=0.0, fusion_options=quiet, **options)
    x, mask = made._split(made.encode(batch(SOME[:3])))
    once = made.members(x, mask, labels(3))
    twice = made.members(x, mask, labels(3), mapped=[torch.ones(1, 3, 3, dtype=torch.bool)])
    torch.testing.assert_close(twice, 2 * once)


def test_hidden_views_are_hidden_from_the_masked_pass():
    """Keeping only view a costs what records with only view a cost."""
    made = network("concat", auxiliary=0.0, members=1, dropout=0.0, input_dropout=0.0, fusion_options={"dropout": 0.0})
    x, mask = made._split(made.encode(batch([[1, 1, 1]] * 3)))
    keep = torch.tensor([[[True, False, False]] * 3])
    full = made.members(x, mask, labels(3))
    both = made.members(x, mask, labels(3), mapped=[keep])
    only = made.members(x, {"a": mask["a"], "b": ~mask["b"], "c": ~mask["c"]}, labels(3))
    torch.testing.assert_close(both, full + only)


def test_auxiliary_losses_by_hand():
    """loss = fused + 0.3 * sum over present views of the view's own loss; an absent view adds nothing."""
    made = network("sum", auxiliary=0.3, members=1, drop=0.0)
    core: Core = made.members.skeleton
    state = {key: value[0] for key, value in made.members.state_of().items()}
    with torch.no_grad():
        for key, value in core.named_parameters():
            value.copy_(state[key])
    core.eval()
    x, mask = made._split(made.encode(batch([[1, 0, 1]])))
    parts = core.trunk.project({view: Tokens(x[view], mask[view]) for view in x})
    task = made.task
    expected = task.loss(core.head, core.trunk.fusion(parts), labels(1))
    for view in ("a", "c"):
        expected = expected + 0.3 * task.loss(core.heads[view], parts[view], labels(1))
    torch.testing.assert_close(made.members(x, mask, labels(1))[0], expected)


def test_positions_reach_only_a_fusion_that_wants_them():
    parts = trainable([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    pooled = network("transformer", frozen=False).encode(parts)
    kept = network("transformer", frozen=False, fusion_options={"positions": True}).encode(parts)
    assert {part.x.shape[1] for part in pooled.values()} == {1}
    assert kept["a"].x.shape[1] == 3 and kept["a"].mask.sum(1).tolist() == [1, 2, 3]
    assert kept["b"].mask.sum(1).tolist() == [1, 0, 3]


def test_misfits_are_refused_when_the_network_is_made():
    class Writer(type(network().task)):
        name = "writer"
        needs_positions = True

    class Whole(type(network().task)):
        name = "whole"
        late = False

    for kind, fusion, message in (
        (Writer, "concat", "task 'writer' reads positions but fusion 'concat' gives one vector per record"),
        (Whole, "mean", "task 'whole' cannot be answered view by view, so fusion 'mean' does not fit"),
    ):
        task = kind()
        task.fit(["x", "y"])
        encoders = Encoders({"a": Frozen(3)}, {"a": Condition().fit(torch.randn(4, 3))})
        with pytest.raises(BadOption, match=message):
            Network(encoders, lambda views, dim, name=fusion: fusions.make(name, views, dim), task, dim=8)


def test_the_network_survives_saving():
    first, second, parts = network(seed=1), network(seed=2), batch(SOME)
    assert not torch.equal(ask(first, parts), ask(second, parts))
    second.load_state_dict(first.state_dict())
    assert torch.equal(ask(first, parts), ask(second, parts))


def test_a_trunk_alone_is_what_a_matcher_compares():
    trunk = Trunk(WIDTHS, fusions.make("concat", list(WIDTHS), 8), 8).eval()
    tokens = {view: Tokens.single(torch.randn(4, width)) for view, width in WIDTHS.items()}
    assert trunk(tokens).x.shape == (4, 1, 8)


@pytest.mark.parametrize("fusion", NAMES)
def test_members_one_by_one_answer_as_all_at_once(fusion, monkeypatch):
    """Few records are answered member by member; also after the weights have changed in place."""
    made = network(fusion)
    some = batch([[1, 1, 1], [1, 0, 1], [0, 1, 0]])
    for seed in (0, 1):
        with torch.no_grad():
            for parameter in made.members.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
            tokens = made.encode(some)
            monkeypatch.setattr("polysense.network.FEW", 8)
            one_by_one = made.answers(tokens)
            monkeypatch.setattr("polysense.network.FEW", 0)
            torch.testing.assert_close(one_by_one, made.answers(tokens), atol=1e-6, rtol=1e-5)


# mixup --------------------------------------------------------------------------------------------


def test_mixing_by_hand():
    """Each record beside another of the batch: mixed where both have the view, as it was where one lacks it, whatever
    stands in an absent slot; the share is the larger one and the other's target comes along."""
    x = {"a": torch.arange(12.0).reshape(6, 1, 2), "b": torch.arange(12.0, 24.0).reshape(6, 1, 2)}
    mask = {"a": torch.tensor([1, 1, 0, 1, 1, 0]).bool()[:, None], "b": torch.ones(6, 1).bool()}
    x["a"][2] = x["a"][5] = torch.nan
    torch.manual_seed(3)
    order = torch.randperm(6)
    torch.manual_seed(3)
    mixed, targets = mix({view: Tokens(x[view], mask[view]) for view in "ab"}, {"label": torch.arange(6)}, 0.4)
    share = targets[SHARE][0].item()
    assert 0.5 <= share < 1 and (targets[SHARE] == targets[SHARE][0]).all()
    assert torch.equal(targets[f"{MIXED} label"], order) and targets["label"].tolist() == list(range(6))
    for i, j in enumerate(order.tolist()):
        for v, view in enumerate("ab"):
            both = bool(mask[view][i, 0] & mask[view][j, 0])
            wanted = share * x[view][i] + (1 - share) * x[view][j] if both else x[view][i]
            torch.testing.assert_close(mixed[view].x[i], wanted, equal_nan=True)
            assert targets[MIXED][i, v].item() == both
        assert torch.equal(mixed["a"].mask, mask["a"])


@pytest.mark.parametrize("fusion", ["concat", "sum", "mean"])
def test_the_loss_of_a_mixture_by_hand(fusion):
    """share L(y_i) + (1 - share) L(y_j) on the mixed tokens; wholly the own loss where the pair has no view in common."""
    still = {"fusion_options": {"dropout": 0.0}} if fusion == "concat" else {}
    made = network(fusion, dropout=0.0, input_dropout=0.0, drop=0.0, auxiliary=0.0, **still)
    made.train()
    tokens = made.encode(batch([[1, 0, 0], [0, 1, 0], [1, 1, 1], [1, 1, 0]]))
    made.mixup = 0.4
    torch.manual_seed(1)
    loss = made.losses(tokens, labels(4))
    torch.manual_seed(1)
    mixed, targets = mix(tokens, labels(4), 0.4)
    made.mixup = 0.0
    own, other = made.losses(mixed, labels(4)), made.losses(mixed, {"label": targets[f"{MIXED} label"]})
    share = torch.where(targets[MIXED].any(1), targets[SHARE], 1.0)
    torch.testing.assert_close(loss, share * own + (1 - share) * other)
    assert (loss - own).abs().max() > 1e-3


def test_answers_are_never_mixed():
    made = network(mixup=0.4).eval()
    tokens = made.encode(batch([[1, 1, 1]] * 4))
    with torch.no_grad():
        first, again = made.answers(tokens), made.answers(tokens)
    assert torch.equal(first, again)


def test_a_masked_pass_without_a_mixed_view_is_the_records_own():
    """View a is mixed, view b is not: with a hidden only the record's own target counts."""
    made = network(dropout=0.0, input_dropout=0.0, auxiliary=0.0, fusion_options={"dropout": 0.0}).train()
    tokens = made.encode(batch([[1, 1, 0], [1, 0, 0]]))
    core, x, mask = made.members.skeleton, {v: tokens[v].x for v in made.views}, {v: tokens[v].mask for v in made.views}
    which = torch.tensor([[True, False, False]] * 2)
    targets = {"label": torch.tensor([0, 1]), f"{MIXED} label": torch.tensor([1, 0]), SHARE: torch.full((2,), 0.6), MIXED: which}
    plain = {"label": targets["label"]}
    only_b = torch.tensor([[False, True, False], [False] * 3])
    parts = core.trunk.project({v: Tokens(x[v], mask[v] & only_b[:, i, None]) for i, v in enumerate(made.views)})
    torch.testing.assert_close(core._loss(parts, targets), core._loss(parts, plain))
    whole = core.trunk.project({v: Tokens(x[v], mask[v]) for v in made.views})
    assert (core._loss(whole, targets) - core._loss(whole, plain)).abs().max() > 1e-3

"""Laws that every fusion of the shelf keeps. B records, V views, T positions, D width, C classes."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor, nn

from polysense import demo
from polysense.errors import BadOption
from polysense.network import Core, Members, Trunk
from polysense.registry import fusions, tasks
from polysense.tokens import Tokens

VIEWS = ["a", "b", "c"]
PRIOR = torch.tensor([0.2, 0.3, 0.5])
NAMES = list(fusions)
#: Choices of an entry that are no switches; those that name views are for the views a, b, c.
CHOICES = {
    **{name: [{"weights": {"a": 0.5, "b": 0.3, "c": 0.2}}] for name in ("mean", "convex")},
    "sum": [{"weights": {"a": 0.5, "b": 0.3, "c": 0.2}}],
    "tensor": [{"width": 2}],
    "film": [{"by": "b"}],
    "bottleneck": [{"depth": 3, "alone": 1}],
    "experts": [{"top": 2}],
    "serial": [{"order": "c,a,b"}, {"step": "film"}],
}
#: Options that fit these three views only.
NAMING = {"weights", "by", "order", "top"}
#: Every entry with its defaults, once with each of its switches turned, and with the choices above.
CASES = [
    (name, options)
    for name in NAMES
    for options in (
        {},
        *({o.name: not o.default} for o in fusions.about(name).options.values() if isinstance(o.default, bool)),
        *CHOICES.get(name, ()),
    )
]
POISONS = [1e4, float("nan"), float("inf")]

every = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=["-".join([name, *options]) for name, options in CASES]
)


def make(name: str, options: dict, dim: int = 8, views: list[str] = VIEWS, seed: int = 0) -> nn.Module:
    """In evaluation mode; every parameter away from zero, so that none is idle."""
    torch.manual_seed(seed)
    fusion = fusions.make(name, views, dim, **options).eval()
    fusion.begin(len(PRIOR))
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return fusion


def outcome(fusion: nn.Module, parts: dict[str, Tokens]) -> Tensor:
    """(B, ...): what the fusion makes of the parts; a late one combines answers, which are poison where a view is absent."""
    if not fusion.late:
        return fusion(parts).pooled()
    answers_BVC = torch.stack([
        torch.where(part.present[:, None], part.pooled(), part.x[:, 0])[:, :3].softmax(-1)
        for _, part in sorted(parts.items())
    ], 1)
    mask_BV = torch.stack([parts[view].present for view in sorted(parts)], 1)
    return fusion.combine(answers_BVC, mask_BV, PRIOR.to(answers_BVC.dtype))


def spoilt(parts: dict[str, Tokens], poison: float) -> dict[str, Tokens]:
    """The same tokens with something else at masked positions."""
    return {
        view: Tokens(torch.where(part.mask[..., None], part.x, poison), part.mask, part.weight, part.place)
        for view, part in parts.items()
    }


def rows(parts: dict[str, Tokens], which: list[int]) -> dict[str, Tokens]:
    return {view: Tokens(part.x[which], part.mask[which]) for view, part in parts.items()}


@st.composite
def any_parts(draw, empty: bool = True):
    """Tokens of three views: any widths, lengths, batch sizes and masks; NaN where nothing is."""
    dim, batch = 4 * draw(st.integers(1, 3)), draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    parts = {}
    for view in VIEWS:
        length = draw(st.integers(1, 4))
        bits = draw(st.lists(st.booleans(), min_size=batch * length, max_size=batch * length))
        mask_BT = torch.tensor(bits).reshape(batch, length)
        if not empty:
            mask_BT[:, 0] = True
        x_BTD = torch.randn(batch, length, dim, generator=generator)
        parts[view] = Tokens(torch.where(mask_BT[..., None], x_BTD, torch.nan), mask_BT)
    return dim, parts


@every
def test_shape(name, options):
    fusion = make(name, options, 12)
    if fusion.late:
        assert outcome(fusion, demo.parts(12, batch=5)).shape == (5, 3)
        return
    fused = fusion(demo.parts(12, batch=5))
    count, length, width = fused.x.shape
    assert (count, width) == (5, 12) and fused.mask.shape == (count, length) and fused.mask.dtype == torch.bool
    assert fused.present.all(), "the fused record is there even where every view is absent"
    assert fused.weight is None or fused.weight.shape == (count, length)
    assert fusion.keeps_positions or length == 1


@every
@settings(max_examples=15)
@given(any_parts())
def test_finite_under_every_mask(name, options, drawn):
    dim, parts = drawn
    assert torch.isfinite(outcome(make(name, options, dim), parts)).all()


@every
def test_finite_with_everything_absent(name, options):
    parts = {view: Tokens(torch.full((2, 3, 8), torch.nan), torch.zeros(2, 3, dtype=torch.bool)) for view in VIEWS}
    fusion = make(name, options)
    fused = outcome(fusion, parts)
    assert torch.isfinite(fused).all() and torch.allclose(fused[0], fused[1], atol=1e-6)
    if fusion.late:
        assert torch.equal(fused[0], PRIOR), "with nothing to combine, the prior answers"


@every
@settings(max_examples=15)
@given(any_parts(), st.sampled_from(POISONS))
def test_masked_positions_are_never_read(name, options, drawn, poison):
    dim, parts = drawn
    fusion = make(name, options, dim)
    assert torch.equal(outcome(fusion, spoilt(parts, 0.0)), outcome(fusion, spoilt(parts, poison)))


@every
@pytest.mark.parametrize("poison", POISONS)
def test_masked_positions_spoil_no_gradient(name, options, poison):
    """0 * NaN is NaN: a mask that multiplies lets poison into the backward pass."""
    fusion = make(name, options)
    parts = spoilt(demo.parts(8, batch=4), poison)
    for part in parts.values():
        part.mask[3] = False
        part.x.requires_grad_()
    outcome(fusion, parts).square().sum().backward()
    for view, part in parts.items():
        assert torch.isfinite(part.x.grad[part.mask]).all()
        assert fusion.late or (part.x.grad[~part.mask] == 0).all(), view
    for key, parameter in fusion.named_parameters():
        assert torch.isfinite(parameter.grad).all(), key


@every
@settings(max_examples=15)
@given(any_parts())
def test_records_are_separate(name, options, drawn):
    """Each record alone and in the batch: the same answer."""
    dim, parts = drawn
    fusion = make(name, options, dim)
    together = outcome(fusion, parts)
    for i in range(len(together)):
        torch.testing.assert_close(outcome(fusion, rows(parts, [i]))[0], together[i], atol=1e-5, rtol=1e-5)


@every
def test_padding_changes_nothing(name, options):
    """Masked positions behind the real ones are no positions."""
    fusion, parts = make(name, options), demo.parts(8)
    longer = {
        view: Tokens(
            torch.cat([part.x, torch.full((3, 2, 8), torch.nan)], 1),
            torch.cat([part.mask, torch.zeros(3, 2, dtype=torch.bool)], 1),
        )
        for view, part in parts.items()
    }
    torch.testing.assert_close(outcome(fusion, parts), outcome(fusion, longer), atol=1e-5, rtol=1e-5)


@every
def test_the_order_of_views_does_not_matter(name, options):
    parts = demo.parts(8, batch=4)
    straight = outcome(make(name, options), parts)
    for order in (["c", "a", "b"], ["b", "c", "a"]):
        mixed = make(name, options, views=order)
        assert torch.equal(outcome(mixed, {view: parts[view] for view in order}), straight), order


@every
@settings(max_examples=15)
@given(any_parts(empty=False))
def test_every_view_gets_gradient(name, options, drawn):
    dim, parts = drawn
    fusion = make(name, options, dim)
    for part in parts.values():
        part.x.requires_grad_()
    fused = outcome(fusion, parts)
    (fused * torch.randn(fused.shape)).square().sum().backward()
    for view, part in parts.items():
        assert part.x.grad[:, 0].abs().sum() > 0, view
    for key, parameter in fusion.named_parameters():
        assert parameter.grad is not None, key
        unused = "empty" in key  # a vector for absent views, and here none is absent
        assert unused or parameter.grad.abs().sum() > 0, key


@every
def test_every_parameter_gets_gradient(name, options):
    fusion, parts = make(name, options), demo.parts(8, batch=6)
    for part in parts.values():
        part.mask[5] = False
    if not list(fusion.parameters()):
        pytest.skip("nothing to learn by gradient")
    (fusion(parts).pooled() * torch.randn(8)).square().sum().backward()
    for key, parameter in fusion.named_parameters():
        grads = parameter.grad if "empty" not in key else parameter.grad[1:]  # view a is absent in one record
        assert grads.abs().sum() > 0, key
    assert all(p.grad.abs().sum() > 0 for p in fusion.parameters())


@every
def test_gradient_equals_differences(name, options):
    """gradcheck, in double precision, in the tokens and in every parameter."""
    fusion = make(name, options, 4).double()
    parts = {view: Tokens(part.clean().double(), part.mask) for view, part in demo.parts(4, batch=2).items()}
    own = dict(fusion.named_parameters())
    flat = torch.cat([torch.zeros(0).double(), *(parameter.detach().flatten() for parameter in own.values())])

    def run(flat: Tensor, *numbers: Tensor) -> Tensor:
        given_parts = {view: Tokens(x, parts[view].mask) for view, x in zip(VIEWS, numbers, strict=True)}
        if fusion.late:
            return outcome(fusion, given_parts)
        pieces = flat.split([parameter.numel() for parameter in own.values()])
        state = {key: piece.reshape(own[key].shape) for key, piece in zip(own, pieces, strict=True)}
        return torch.func.functional_call(fusion, state, (given_parts,)).pooled()

    numbers = [flat.requires_grad_(bool(own))] + [parts[view].x.requires_grad_() for view in VIEWS]
    assert torch.autograd.gradcheck(run, numbers, fast_mode=True)


@every
@settings(max_examples=15)
@given(any_parts())
def test_weights_are_convex_over_what_is_present(name, options, drawn):
    dim, parts = drawn
    fusion = make(name, options, dim)
    if not hasattr(fusion, "weights"):
        return
    weights_BV = fusion.weights(parts)
    present_BV = torch.stack([parts[view].present for view in VIEWS], 1)
    assert weights_BV.shape == present_BV.shape and (weights_BV >= 0).all()
    assert (weights_BV[~present_BV] == 0).all(), "an absent view weighs nothing"
    torch.testing.assert_close(weights_BV.sum(1), present_BV.any(1).float(), atol=1e-6, rtol=0)


@every
def test_one_view_alone_is_a_record_too(name, options):
    options = {key: value for key, value in options.items() if key not in NAMING}
    fusion = make(name, options, views=["a"])
    assert torch.isfinite(outcome(fusion, {"a": demo.parts(8)["a"]})).all()


@every
def test_several_members_run_in_one_pass(name, options):
    """Three members batched by vmap answer as three modules one after the other."""
    task = tasks.make("classify")
    task.fit(["x", "y", "z"])

    def core() -> Core:
        return Core(Trunk({"a": 8, "b": 8, "c": 8}, fusions.make(name, VIEWS, 8, **options), 8), task, 8)

    torch.manual_seed(0)
    members = Members(core, 3).eval()
    parts = demo.parts(8, batch=4)
    x, mask = {v: part.x for v, part in parts.items()}, {v: part.mask for v, part in parts.items()}
    targets = {"label": torch.tensor([0, 1, 2, 0])}
    for arguments in ((x, mask), (x, mask, targets)):
        members.batched = True
        batched = members(*arguments)
        assert members.batched, "an operator of this fusion cannot be batched, or a decision depends on values"
        members.batched = False
        torch.testing.assert_close(batched, members(*arguments), atol=1e-5, rtol=1e-5)


@every
def test_options_survive_json(name, options):
    known = {option.name: option.default for option in fusions.about(name).options.values()} | options
    again = json.loads(json.dumps(known))
    assert again == known
    parts = demo.parts(8)
    assert torch.equal(outcome(make(name, options), parts), outcome(make(name, again), parts))


@every
def test_saved_and_loaded_in_equal_bits(name, options):
    first, second = make(name, options), make(name, options, seed=1)
    second.load_state_dict(load(save(dict(first.state_dict()))))
    parts = demo.parts(8)
    assert torch.equal(outcome(first, parts), outcome(second, parts))


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused_with_the_right_spelling(name):
    known = list(fusions.about(name).options)
    for option in known:
        with pytest.raises(BadOption, match=f"no option '{option}x'; did you mean '{option}'?"):
            fusions.make(name, VIEWS, 8, **{option + "x": 1})
    if not known:
        with pytest.raises(BadOption, match="it has none"):
            fusions.make(name, VIEWS, 8, colour=1)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_line_of_help(name):
    for option in fusions.about(name).options.values():
        assert option.help, option.name


@pytest.mark.parametrize("name", NAMES)
def test_dropout_rests_in_evaluation(name):
    fusion, parts = make(name, {}), demo.parts(8)
    assert torch.equal(outcome(fusion, parts), outcome(fusion, parts))

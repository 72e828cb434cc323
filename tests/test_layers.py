"""Shared parts, by hand. B records, V views, T positions, D width, N rows, P numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polysense import demo
from polysense.errors import BadOption
from polysense.layers import CELLS, Block, Condition, Drop, Recurrent, Slots, by_length, masked_softmax, positions, stack_views
from polysense.tokens import Tokens


def test_masked_softmax_by_hand():
    """Scores 0 and ln 3 are 1/4 and 3/4, whatever the masked third is."""
    for third in (0.0, 1e30, float("nan"), float("inf"), float("-inf")):
        weights = masked_softmax(torch.tensor([0.0, math.log(3), third]), torch.tensor([True, True, False]))
        torch.testing.assert_close(weights, torch.tensor([0.25, 0.75, 0.0]))


@given(st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4), st.lists(st.booleans(), min_size=4, max_size=4))
def test_masked_softmax_is_convex(scores, mask):
    weights = masked_softmax(torch.tensor(scores), torch.tensor(mask))
    assert (weights >= 0).all() and (weights[~torch.tensor(mask)] == 0).all()
    assert weights.sum().item() == pytest.approx(float(any(mask)), abs=1e-5)


def test_masked_softmax_has_a_finite_gradient_where_nothing_is_allowed():
    scores = torch.zeros(2, 3, requires_grad=True)
    masked_softmax(scores, torch.tensor([[True, True, False], [False] * 3])).square().sum().backward()
    assert torch.isfinite(scores.grad).all() and (scores.grad[1] == 0).all()


def test_views_side_by_side():
    parts = {
        "b": Tokens.single(torch.tensor([[1.0], [2.0]]), torch.tensor([True, False])),
        "a": Tokens(torch.tensor([[[2.0], [4.0]], [[6.0], [float("nan")]]]), torch.tensor([[True, True], [True, False]])),
    }
    x_BVD, present_BV = stack_views(parts, ["a", "b"])
    assert x_BVD[..., 0].tolist() == [[3.0, 1.0], [6.0, 0.0]]
    assert present_BV.tolist() == [[True, True], [True, False]]


def test_an_empty_slot_holds_its_learned_vector():
    slots = Slots(["b", "a"], 2)
    assert slots.views == ["a", "b"]
    parts = {"a": Tokens.single(torch.ones(1, 2)), "b": Tokens.single(torch.ones(1, 2), torch.tensor([False]))}
    x_BVD, present_BV = slots(parts)
    assert torch.equal(x_BVD[0, 0], torch.ones(2)) and torch.equal(x_BVD[0, 1], slots.empty_VD[1])
    assert present_BV.tolist() == [[True, False]]
    x_BVD.sum().backward()
    assert slots.empty_VD.grad.tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_a_block_equals_torchs_own_attention():
    """Written out for vmap; the numbers are those of nn.MultiheadAttention with the same weights."""
    torch.manual_seed(0)
    block = Block(8, 2, 0.0).eval()
    x_BTD, mask_BT = torch.randn(3, 5, 8), torch.arange(5) < torch.tensor([5, 3, 1])[:, None]
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    theirs.load_state_dict({
        "in_proj_weight": block.query_key_value.weight, "in_proj_bias": block.query_key_value.bias,
        "out_proj.weight": block.out.weight, "out_proj.bias": block.out.bias,
    })
    normed = block.norm_attention(x_BTD)
    after = x_BTD + theirs(normed, normed, normed, key_padding_mask=~mask_BT, need_weights=False)[0]
    after = after + block.feed(block.norm_feed(after))
    torch.testing.assert_close(block(x_BTD, mask_BT), after, atol=1e-5, rtol=1e-5)


def test_positions_by_hand():
    """Width 4: the slow pair turns by 10000^(-1/2) = 1/100 of a radian a step, the fast one by 1."""
    angles = torch.tensor([[0.0, 0.0], [1.0, 0.01], [2.0, 0.02]])
    expected = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    torch.testing.assert_close(positions(3, 4), expected)
    torch.testing.assert_close(positions(3, 3)[:, 2], (torch.arange(3) * 10_000 ** (-2 / 3)).sin())
    assert positions(0, 4).shape == (0, 4)


def one_number(cell, weight, bias):
    """A recurrent network of one number in and one out, all of its weights the same."""
    net = Recurrent(1, 1, cell=cell, both=False)
    for name, parameter in net.named_parameters():
        torch.nn.init.constant_(parameter, weight if "weight" in name else bias)
    return net


@pytest.mark.parametrize(
    ("cell", "first", "second"),
    [
        # all gates see a = 2 x + 2 h + 0.5 + 0.5
        ("tanh", lambda a: math.tanh(a), lambda a, h, c: math.tanh(a)),
        ("lstm", lambda a: sigmoid(a) * math.tanh(sigmoid(a) * math.tanh(a)),
         lambda a, h, c: sigmoid(a) * math.tanh(sigmoid(a) * c + sigmoid(a) * math.tanh(a))),
        # the GRU's candidate meets the state through the reset gate: tanh(2 x + 0.5 + r (2 h + 0.5))
        ("gru", lambda a: (1 - sigmoid(a)) * math.tanh(2.5 + sigmoid(a) * 0.5),
         lambda a, h, c: (1 - sigmoid(a)) * math.tanh(-1.5 + sigmoid(a) * (2 * h + 0.5)) + sigmoid(a) * h),
    ],
)
def test_two_steps_of_each_cell_by_hand(cell, first, second):
    """x = 1 then -1, every weight 2, every bias 1/2."""
    with torch.no_grad():
        h = one_number(cell, 2.0, 0.5)(torch.tensor([[[1.0], [-1.0]]]), torch.ones(1, 2, dtype=torch.bool))[0, :, 0].tolist()
    assert h[0] == pytest.approx(first(3.0), abs=1e-6)
    state = sigmoid(3.0) * math.tanh(3.0)  # the LSTM's c after one step
    assert h[1] == pytest.approx(second(2 * -1 + 2 * h[0] + 1, h[0], state), abs=1e-6)


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", list(CELLS))
def test_a_recurrent_network_reads_real_positions_only(cell, both):
    """Holes, NaN in them, other records and an empty record change nothing; the holes stay zero."""
    torch.manual_seed(1)
    net = Recurrent(3, 6, cell=cell, layers=2, both=both).eval()
    x_BTD = torch.randn(4, 5, 3)
    mask_BT = torch.tensor([[1, 0, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]]).bool()
    spoilt = torch.where(mask_BT[..., None], x_BTD, torch.tensor(float("nan"))).requires_grad_()
    y_BTD = net(spoilt, mask_BT)
    assert net.dim == 6 and y_BTD.shape == (4, 5, 6) and (y_BTD[~mask_BT] == 0).all()
    for i in (0, 1, 3):
        alone = net.net(x_BTD[i][mask_BT[i]][None])[0][0]
        torch.testing.assert_close(y_BTD[i][mask_BT[i]], alone, atol=1e-6, rtol=0)
    y_BTD.square().sum().backward()
    assert torch.isfinite(spoilt.grad).all() and (spoilt.grad[~mask_BT] == 0).all()
    assert (spoilt.grad[0, 0] != 0).all()
    assert (net(x_BTD, torch.zeros(4, 5, dtype=torch.bool)) == 0).all()


def test_directions_of_a_recurrent_network():
    """One direction knows nothing of what comes later; of both, the second half knows nothing of what came before."""
    torch.manual_seed(2)
    x_BTD, mask_BT = torch.randn(1, 4, 3), torch.ones(1, 4, dtype=torch.bool)
    later = x_BTD.clone()
    later[0, 2] += 1
    for both in (False, True):
        net = Recurrent(3, 4, both=both)
        same = (net(x_BTD, mask_BT) == net(later, mask_BT))[0].tolist()
        first = [True] * (2 if both else 4)
        second = [False] * 2 if both else []
        assert same[:2] == [first + second] * 2 and not any(same[2])
        assert same[3] == ([False] * 2 + [True] * 2 if both else [False] * 4)


def test_dropout_of_a_recurrent_network_is_between_layers_only():
    x_BTD, mask_BT = torch.randn(2, 4, 3), torch.ones(2, 4, dtype=torch.bool)
    one, two = Recurrent(3, 4, dropout=0.5), Recurrent(3, 4, layers=2, dropout=0.5)
    assert torch.equal(one(x_BTD, mask_BT), one(x_BTD, mask_BT))
    assert not torch.equal(two(x_BTD, mask_BT), two(x_BTD, mask_BT))


def test_options_of_a_recurrent_network():
    with pytest.raises(BadOption, match="'cell' is 'elman'; give one of tanh, lstm, gru"):
        Recurrent(3, 4, cell="elman")
    with pytest.raises(BadOption, match="width 5"):
        Recurrent(3, 5)
    assert Recurrent(3, 5, both=False).dim == 5


def test_groups_of_like_length_answer_as_one_batch():
    """Holes, an empty record and gradients included; the longest group alone pays for the longest record."""
    torch.manual_seed(3)
    block, seen = Block(4, 2, 0.0).eval(), []
    mask_BT = torch.arange(20) < torch.tensor([2, 20, 3, 0, 1, 5, 4, 2, 3])[:, None]
    mask_BT[1, 4:9] = False
    x_BTD = torch.randn(9, 20, 4, requires_grad=True)

    def run(x, mask):
        seen.append(tuple(x.shape[:2]))
        return block(x, mask)

    def real(y):
        return torch.where(mask_BT[..., None], y, 0.0)

    grouped = real(by_length(run, x_BTD, mask_BT, 4))
    assert seen == [(4, 2), (4, 5), (1, 20)]
    whole = real(block(x_BTD, mask_BT))
    torch.testing.assert_close(grouped, whole, atol=1e-6, rtol=1e-5)
    slopes = [torch.autograd.grad(y.square().sum(), x_BTD)[0] for y in (grouped, whole)]
    torch.testing.assert_close(*slopes, atol=1e-5, rtol=1e-4)
    seen.clear()
    by_length(run, x_BTD[:, :3], mask_BT[:, :3], 4)
    assert seen == [(9, 3)], "little padding: one piece"


def test_drop_by_hand():
    """A quarter of the numbers become 0, the others 1 / (3/4): the mean stays. In evaluation nothing happens."""
    drop, ones = Drop(0.25), torch.ones(200, 200)
    dropped = drop(ones)
    assert sorted(dropped.unique().tolist()) == pytest.approx([0.0, 4 / 3])
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)
    assert torch.equal(drop.eval()(ones), ones) and torch.equal(Drop(0.0)(ones), ones)
    assert torch.isfinite(Drop(0.999)(ones)).all()


def test_condition_by_hand():
    """Column (1, 3): mean 2, deviation 1, so 5 becomes 3. A constant column stays zero whatever comes."""
    condition = Condition().fit(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    assert condition.dim == 2
    torch.testing.assert_close(condition(torch.tensor([[5.0, 7.0]])), torch.tensor([[3.0, 0.0]]))
    assert condition(torch.tensor([[5.0, 9.0]]))[0, 1] == 0


def test_condition_unscaled_leaves_numbers_alone():
    x_NP = torch.randn(6, 3)
    torch.testing.assert_close(Condition(scale=False).fit(x_NP)(x_NP), x_NP)


def test_condition_keeps_the_main_axes_of_wide_features():
    """Three columns that are one: the single useful axis holds all of their variance, 3 after standardising."""
    one = torch.randn(50, 1)
    x_NP = torch.cat([one, 2 * one, -one], 1)
    condition = Condition(widest=2, axes=2).fit(x_NP)
    assert condition.dim == 1
    assert condition(x_NP).var(0, unbiased=False).item() == pytest.approx(3.0, rel=1e-4)
    x_NP = torch.randn(200, 5)
    z_NP = Condition(widest=4, axes=5).fit(x_NP)(x_NP)
    covariance = torch.cov(z_NP.T)
    off = covariance - torch.diag(covariance.diagonal())
    assert off.abs().max() < 1e-3 and (covariance.diagonal().diff() <= 1e-4).all()


def test_condition_with_fewer_rows_than_numbers_and_with_one():
    wide = torch.randn(5, 40)
    condition = Condition(widest=8, axes=16).fit(wide)
    assert condition.dim <= 5 and torch.isfinite(condition(wide)).all()
    one = Condition(widest=8, axes=16).fit(wide[:1])
    assert torch.isfinite(one(wide)).all() and (one(wide) == 0).all()


def test_condition_survives_saving():
    x_NP = torch.randn(30, 12)
    for widest in (8, 512):
        first = Condition(widest=widest, axes=4).fit(x_NP)
        second = Condition(widest=widest, axes=4).empty(12, first.dim)
        second.load_state_dict(first.state_dict())
        assert torch.equal(first(x_NP), second(x_NP)) and first.dim == second.dim


def test_made_up_parts_are_what_these_tests_need():
    parts = demo.parts(8)
    assert not all(part.mask.all() for part in parts.values())

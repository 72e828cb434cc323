"""Losses between two sides: by hand, beside the formulas written another way, and by law."""

import math

import pytest
import torch
import torch.nn.functional as F

from polysense.errors import BadOption
from polysense.learn.contrast import LOSSES, STEEPEST, Contrast


def sides(count=6, width=5, seed=0):
    made = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=made), torch.randn(count, width, generator=made)


def test_infonce_is_cross_entropy_both_ways():
    u, v = sides()
    near = F.normalize(u) @ F.normalize(v).T / 0.07
    wanted = torch.arange(6)
    expected = (F.cross_entropy(near, wanted) + F.cross_entropy(near.T, wanted)) / 2
    torch.testing.assert_close(Contrast()(u, v).mean(), expected)


def test_infonce_by_hand_with_two_items_of_one_text():
    """u = (1, 0) twice, v = both axes: with all four pairs together every row wants half and half, at cosines 1 and 0."""
    loss = Contrast()
    with torch.no_grad():
        loss.steepness.fill_(0.0)
    u, v = torch.tensor([[1.0, 0], [1, 0]]), torch.eye(2)
    across = -(math.log(math.e / (math.e + 1)) + math.log(1 / (math.e + 1))) / 2
    assert loss(u, v, torch.ones(2, 2, dtype=torch.bool)).mean().item() == pytest.approx((across + math.log(2)) / 2, abs=1e-6)


def test_sigmoid_is_siglips():
    u, v = sides()
    s, b = 10.0, -10.0
    expected = 0.0
    for i in range(6):
        for j in range(6):
            z = 1 if i == j else -1
            cosine = F.cosine_similarity(u[i], v[j], dim=0)
            expected -= float(torch.log(torch.sigmoid(torch.tensor(z * (s * float(cosine) + b))))) / 6
    assert Contrast("sigmoid")(u, v).mean().item() == pytest.approx(expected, rel=1e-5)


def test_triplet_takes_the_hardest_other():
    u = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    v = torch.tensor([[1.0, 0], [0, 1], [1, 0.5]])
    near = F.normalize(u) @ F.normalize(v).T
    own, by_row, by_column = near.diagonal(), [], []
    for i in range(3):
        rest = [j for j in range(3) if j != i]
        by_row.append(max(0, 0.3 - float(own[i]) + max(float(near[i, j]) for j in rest)))
        by_column.append(max(0, 0.3 - float(own[i]) + max(float(near[j, i]) for j in rest)))
    assert Contrast("triplet", margin=0.3)(u, v).mean().item() == pytest.approx(sum(by_row + by_column) / 3, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_laws_of_all(loss):
    made, (u, v) = Contrast(loss), sides()
    whole = made(u, v)
    assert whole.shape == (6,) and whole.isfinite().all() and whole.sum() > 0
    torch.testing.assert_close(made(u * 3, v * 0.1), whole)  # only directions count
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(made(u[order], v[order]), whole[order])
    assert made(u, u).sum() < whole.sum()  # matched sides are nearer
    together = torch.zeros(6, 6, dtype=torch.bool)
    together[0, 1] = together[1, 0] = True
    pull = u.clone().requires_grad_()
    made(pull, v.detach(), together).sum().backward()
    assert pull.grad.isfinite().all()
    assert made(u[:1], v[:1]).isfinite().all()  # nothing to compare with


@pytest.mark.parametrize("loss", LOSSES)
def test_a_pair_that_lacks_a_side_is_as_if_it_were_not_in_the_batch(loss):
    made, (u, v) = Contrast(loss), sides()
    there = torch.tensor([True, True, False, True, False, True])
    same = torch.zeros(6, 6, dtype=torch.bool)
    same[0, 3] = same[3, 0] = same[1, 2] = True
    v = torch.where(there[:, None], v, 0.0).requires_grad_()
    found = made(u, v, same, there)
    torch.testing.assert_close(found[there], made(u[there], v[there], same[there][:, there]))
    assert found[~there].tolist() == [0, 0]
    found.sum().backward()
    assert v.grad.isfinite().all() and not v.grad[~there].any()
    assert made(u, v, None, torch.zeros(6, dtype=torch.bool)).tolist() == [0] * 6


@pytest.mark.parametrize("loss", LOSSES)
def test_what_belongs_together_is_not_pushed_apart(loss):
    """Query 0 moves towards item 1 or stays where it is, if they are said to belong together; else it moves away."""
    v = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    moved = {}
    for together in (False, True):
        u = torch.tensor([[1.0, 0.2], [0.8, 0.6]], requires_grad=True)
        Contrast(loss, margin=1.0)(u, v, torch.full((2, 2), together)).sum().backward()
        moved[together] = float(-u.grad[0] @ (v[1] - (v[1] @ u[0].detach()) * u[0].detach() / u[0].detach().norm() ** 2))
    assert moved[True] > moved[False]


def test_the_temperature_is_learned_and_bounded():
    u, v = sides()
    loss = Contrast()
    loss(u, v).sum().backward()
    assert loss.steepness.grad.abs() > 0
    with torch.no_grad():
        loss.steepness.fill_(50.0)
    near = F.normalize(u) @ F.normalize(v).T * STEEPEST
    expected = (F.cross_entropy(near, torch.arange(6)) + F.cross_entropy(near.T, torch.arange(6))) / 2
    torch.testing.assert_close(loss(u, v).mean(), expected)
    assert [name for name, one in Contrast("triplet").named_parameters() if one.requires_grad] == []
    assert [name for name, one in Contrast("sigmoid").named_parameters() if one.requires_grad] == ["steepness", "shift"]


def test_options_are_checked():
    with pytest.raises(BadOption, match="loss='hinge' must be"):
        Contrast("hinge")
    with pytest.raises(BadOption, match="margin=0 must be"):
        Contrast("triplet", margin=0)

"""What all parts exchange. B records, T positions, D width."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polysense.tokens import Tokens


def tokens(mask: list[list[bool]], weight=None, poison: float = float("nan")) -> Tokens:
    """x counts 1, 2, 3 ... over the positions of a record, in both of its numbers."""
    mask_BT = torch.tensor(mask)
    x_BT = torch.arange(1.0, mask_BT.shape[1] + 1).expand(mask_BT.shape)
    x_BTD = torch.where(mask_BT, x_BT, poison)[..., None].expand(-1, -1, 2)
    return Tokens(x_BTD, mask_BT, None if weight is None else torch.tensor(weight))


def test_pooled_is_the_mean_of_what_is_there():
    """Positions 1 and 3 of (1, 2, 3): mean 2. Nothing there: zero."""
    pooled = tokens([[True, False, True], [False, False, False]]).pooled()
    assert pooled.tolist() == [[2.0, 2.0], [0.0, 0.0]]


def test_pooled_by_weight():
    """Weights 1, 5, 3 with the middle position masked: (1 * 1 + 3 * 3) / 4 = 2.5; the 5 does not count."""
    assert tokens([[True, False, True]], weight=[[1.0, 5.0, 3.0]]).pooled().tolist() == [[2.5, 2.5]]
    nan = float("nan")
    assert tokens([[True, False, True]], weight=[[1.0, nan, 3.0]]).pooled().tolist() == [[2.5, 2.5]]


def test_weights_that_are_all_zero_pool_to_zero():
    assert tokens([[True, True]], weight=[[0.0, 0.0]]).pooled().tolist() == [[0.0, 0.0]]


def test_clean_and_present():
    given_tokens = tokens([[True, False], [False, False]])
    assert given_tokens.clean().tolist() == [[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    assert given_tokens.present.tolist() == [True, False]


def test_single():
    one = Tokens.single(torch.ones(2, 3))
    assert one.x.shape == (2, 1, 3) and one.present.all()
    some = Tokens.single(torch.ones(2, 3), torch.tensor([True, False]))
    assert some.mask.tolist() == [[True], [False]]


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5), st.booleans())
def test_what_is_masked_is_never_read(mask, weighted):
    weight = [[0.5, 1.0, 2.0]] * len(mask) if weighted else None
    zero, poison = tokens(mask, weight, 0.0), tokens(mask, weight)
    assert torch.equal(zero.clean(), poison.clean()) and torch.equal(zero.pooled(), poison.pooled())


@pytest.mark.parametrize("length", [1, 3])
def test_gradient_never_meets_what_is_masked(length):
    """The gradient of a mean over n positions is 1 / n at each, and zero elsewhere."""
    mask = torch.tensor([[True] * length, [False] * length])
    x = torch.where(mask[..., None], torch.ones(2, length, 4), torch.nan).requires_grad_()
    Tokens(x, mask).pooled().sum().backward()
    torch.testing.assert_close(x.grad[0], torch.full((length, 4), 1 / length))
    assert (x.grad[1] == 0).all()

"""Fusions, by hand: every number here was worked out on paper."""

from __future__ import annotations

import math

import pytest
import torch

from polysense.errors import BadOption
from polysense.registry import fusions
from polysense.tokens import Tokens


def views(dim: int = 1, **given: list[float] | None) -> dict[str, Tokens]:
    """One record; a view that is None is absent and holds NaN."""
    return {
        view: Tokens.single(
            torch.full((1, dim), torch.nan) if x is None else torch.tensor([x]), torch.tensor([x is not None])
        )
        for view, x in given.items()
    }


def made(name: str, names: str, dim: int, **options):
    torch.manual_seed(0)
    return fusions.make(name, list(names), dim, **options).eval()


def put(parameter: torch.Tensor, values) -> None:
    with torch.no_grad():
        parameter.copy_(torch.as_tensor(values, dtype=torch.float32).reshape(parameter.shape))


def close(found: torch.Tensor, *expected: float) -> None:
    torch.testing.assert_close(found.flatten(), torch.tensor(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["concat", "sum", "attention", "gated", "transformer"])
def test_what_changes_when_two_views_change_places(name):
    """Attention scores a view by what it says alone; the others have parameters of their own for each view."""
    fusion = made(name, "abc", 4)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    parts = {view: Tokens.single(torch.randn(3, 4)) for view in "abc"}
    changed = {"a": parts["b"], "b": parts["a"], "c": parts["c"]}
    same = torch.allclose(fusion(parts).pooled(), fusion(changed).pooled(), atol=1e-4)
    assert same == (name == "attention")


def test_concat_passes_a_view_through_the_identity():
    """W = [0 | 1 | 0 0] reads the second view and no bit; GELU(1) = Phi(1) = 0.841345, GELU(-2) = -2 Phi(-2) = -0.045500."""
    fusion = made("concat", "ab", 2)
    put(fusion.mix[0].weight, [[0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]])
    put(fusion.mix[0].bias, [0, 0])
    close(fusion(views(2, a=[5.0, 5.0], b=[1.0, -2.0])).x, 0.841345, -0.045500)


def test_concat_reads_presence_and_the_vector_of_an_empty_slot():
    """With b absent its slot holds the learned 3; bits are (1, 0). W = (1, 1, 10, 100): 2 + 3 + 10 = 15, and GELU(15) = 15."""
    fusion = made("concat", "ab", 1)
    put(fusion.slots.empty_VD, [[7.0], [3.0]])
    put(fusion.mix[0].weight, [[1, 1, 10, 100]])
    put(fusion.mix[0].bias, [0])
    close(fusion(views(a=[2.0], b=None)).x, 15.0)


def test_sum_without_learning_is_the_mean_of_what_is_present():
    """theta = 0 weighs alike: (1 + 3 + 8) / 3 = 4; without the third view (1 + 3) / 2 = 2; alone a view is itself."""
    fusion = made("sum", "abc", 1)
    close(fusion(views(a=[1.0], b=[3.0], c=[8.0])).x, 4.0)
    close(fusion(views(a=[1.0], b=[3.0], c=None)).x, 2.0)
    close(fusion(views(a=None, b=[3.0], c=None)).x, 3.0)


def test_sum_with_learned_weights():
    """theta = (0, ln 3): weights 1/4 and 3/4; at temperature 1/2 they are 1/10 and 9/10, for e^(2 ln 3) = 9."""
    for temperature, first, second in ((1.0, 0.25, 0.75), (0.5, 0.1, 0.9)):
        fusion = made("sum", "ab", 1, temperature=temperature)
        put(fusion.theta_V, [0.0, math.log(3)])
        close(fusion.weights(views(a=[4.0], b=[8.0])), first, second)
        close(fusion(views(a=[4.0], b=[8.0])).x, 4 * first + 8 * second)
    with pytest.raises(BadOption, match="fusion.temperature=0 must be above 0"):
        made("sum", "ab", 1, temperature=0)


def test_attention_with_a_zero_score_vector_is_the_mean():
    """v = 0 scores every view 0, so the weights are equal: (1 + 3) / 2 = 2."""
    fusion = made("attention", "abc", 1, hidden=4)
    put(fusion.score[2].weight, [0.0] * 4)
    close(fusion(views(a=[1.0], b=[3.0], c=None)).x, 2.0)


def test_attention_weighs_by_what_a_view_says():
    """U = 1, c = 0, v = ln 3 / tanh 1: h = 1 scores ln 3, h = 0 scores 0; weights 3/4 and 1/4, so z = 0.75."""
    fusion = made("attention", "ab", 1, hidden=1)
    put(fusion.score[0].weight, [[1.0]])
    put(fusion.score[0].bias, [0.0])
    put(fusion.score[2].weight, [[math.log(3) / math.tanh(1)]])
    close(fusion.weights(views(a=[1.0], b=[0.0])), 0.75, 0.25)
    close(fusion(views(a=[1.0], b=[0.0])).x, 0.75)


def test_gated_in_one_dimension():
    """Gates sigmoid(0) = 1/2 and sigmoid(ln 3) = 3/4; contents tanh(1) and tanh(2 * 0.5) = tanh(1):
    z = 1/2 tanh 1 + 3/4 tanh 1 = 1.25 * 0.761594 = 0.951993."""
    fusion = made("gated", "ab", 1)
    put(fusion.gate.weight, [[0.0] * 4] * 2)
    put(fusion.gate.bias, [0.0, math.log(3)])
    put(fusion.content_VDE, [1.0, 2.0])
    put(fusion.shift_VE, [0.0, 0.0])
    close(fusion(views(a=[1.0], b=[0.5])).x, 0.951993)


def test_gated_reads_presence_and_passes_the_vector_of_an_absent_view():
    """b is absent: its slot holds 0.5. Gate weights read only b's bit (times ln 3), which is 0, so both gates
    are 1/2: z = 1/2 tanh 1 + 1/2 tanh 0.5 = 0.380797 + 0.231059. With b there (0.5 again) both are 3/4: 0.917783."""
    fusion = made("gated", "ab", 1)
    put(fusion.slots.empty_VD, [0.0, 0.5])
    put(fusion.gate.weight, [[0.0, 0.0, 0.0, math.log(3)]] * 2)
    put(fusion.gate.bias, [0.0, 0.0])
    put(fusion.content_VDE, [1.0, 1.0])
    put(fusion.shift_VE, [0.0, 0.0])
    close(fusion(views(a=[1.0], b=None)).x, 0.611856)
    close(fusion(views(a=[1.0], b=[0.5])).x, 0.917783)


def still(fusion) -> None:
    """Zero output projections: every block is the identity."""
    for block in fusion.blocks:
        for layer in (block.out, block.feed[-1]):
            put(layer.weight, torch.zeros_like(layer.weight))
            put(layer.bias, torch.zeros_like(layer.bias))


def test_transformer_with_zero_output_projections_passes_the_summary():
    """Blocks that add nothing leave the summary token (1, 3): its norm is (-1, 1). Pooling reads it alone."""
    fusion = made("transformer", "ab", 2, heads=1)
    still(fusion)
    put(fusion.summary_D, [1.0, 3.0])
    fused = fusion(views(2, a=[9.0, 1.0], b=None))
    assert fused.x.shape == (1, 3, 2) and fused.mask.tolist() == [[True, True, False]]
    close(fused.pooled(), -1.0, 1.0)


def test_transformer_attends_to_present_views_only():
    """One block, one head, queries 0: equal attention over the summary and view a. Values are the normed tokens:
    summary (1, 3) -> (-1, 1), a (3, 1) -> (1, -1), whose mean is 0; b is absent. So the summary stays (1, 3),
    and its norm is (-1, 1). If b = (0, 4) -> (-1, 1) joins, the mean is (-1/3, 1/3): (2/3, 10/3), norm (-1, 1);
    read before the last norm, the tokens differ."""
    fusion = made("transformer", "ab", 2, heads=1, depth=1)
    block = fusion.blocks[0]
    put(block.query_key_value.weight, torch.cat([torch.zeros(4, 2), torch.eye(2)]))
    put(block.query_key_value.bias, torch.zeros(6))
    put(block.out.weight, torch.eye(2))
    put(block.out.bias, torch.zeros(2))
    put(block.feed[-1].weight, torch.zeros(2, 4))
    put(block.feed[-1].bias, torch.zeros(2))
    put(fusion.summary_D, [1.0, 3.0])
    put(fusion.view_VD, torch.zeros(2, 2))
    before: list[torch.Tensor] = []
    fusion.norm.register_forward_pre_hook(lambda module, given: before.append(given[0][0, 0]))
    fusion(views(2, a=[3.0, 1.0], b=None))
    fusion(views(2, a=[3.0, 1.0], b=[0.0, 4.0]))
    close(before[0], 1.0, 3.0)
    close(before[1], 2 / 3, 10 / 3)


def test_transformer_needs_heads_that_divide_the_width():
    with pytest.raises(BadOption, match="fusion.heads=3 must divide the width 8"):
        made("transformer", "ab", 8, heads=3)


def test_mean_of_the_answers_that_are_there():
    """(0.9 + 0.5) / 2 = 0.7 and (0.1 + 0.5) / 2 = 0.3; with one view its own answer; with none the prior."""
    fusion = made("mean", "abc", 4)
    answers = torch.tensor([[[0.9, 0.1], [0.5, 0.5], [torch.nan, torch.nan]]] * 3)
    mask = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    close(fusion.combine(answers, mask, torch.tensor([0.25, 0.75])), 0.7, 0.3, 0.9, 0.1, 0.25, 0.75)

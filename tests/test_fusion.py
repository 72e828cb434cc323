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


@pytest.mark.parametrize("name", [name for name in fusions if not fusions[name].late])
def test_what_changes_when_two_views_change_places(name):
    """Attention scores a view by what it says alone, max asks only for size, tokens only marks them; the others weigh views."""
    fusion = made(name, "abc", 4)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    parts = {view: Tokens.single(torch.randn(3, 4)) for view in "abc"}
    changed = {"a": parts["b"], "b": parts["a"], "c": parts["c"]}
    same = torch.allclose(fusion(parts).pooled(), fusion(changed).pooled(), atol=1e-4)
    assert same == (name in ("attention", "max", "tokens"))


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


# --- products ------------------------------------------------------------------------------------


def test_bilinear_sums_products_of_factors_and_normalises():
    """D = 1, K = 2, U_a = (1, 2), U_b = (3, 1), shifts 0: for a = 2, b = 1 the factors are (2, 4) and (3, 1), their products
    6 + 4 = 10; sign sqrt gives 3.1623, and a single number is normalised to 1, its sign kept. In D = 2 with K = 1 products
    (4, -1) become (2, -1), of length sqrt(2) after division by sqrt(2.5): (1.264911, -0.632456)."""
    fusion = made("bilinear", "ab", 1, factors=2)
    put(fusion.slots.empty_VD, [0.0, -5.0])
    put(fusion.factor_VDE, [1.0, 2.0, 3.0, 1.0])
    put(fusion.shift_VE, [0.0] * 4)
    torch.testing.assert_close(fusion(views(a=[2.0], b=[1.0])).x.item(), 1.0, atol=1e-4, rtol=0)
    torch.testing.assert_close(fusion(views(a=[2.0], b=None)).x.item(), -1.0, atol=1e-4, rtol=0)  # b is its vector, -5
    fusion = made("bilinear", "ab", 2, factors=1)
    put(fusion.factor_VDE, [[[1.0, 0.0], [0.0, 1.0]]] * 2)
    put(fusion.shift_VE, [[0.0, 1.0], [0.0, 0.0]])  # the second factor of a is 0 + 1
    z = fusion(views(2, a=[2.0, 0.0], b=[2.0, -1.0])).x.flatten()
    torch.testing.assert_close(z, torch.tensor([1.264911, -0.632456]), atol=1e-3, rtol=0)


def test_bilinear_of_three_views_sums_over_all_pairs():
    """K = 1, D = 1, unit factors: 2*3 + 2*5 + 3*5 = 31. Read before the normalisation, at the dropout."""
    fusion = made("bilinear", "abc", 1, factors=1)
    put(fusion.factor_VDE, [1.0, 1.0, 1.0])
    put(fusion.shift_VE, [0.0, 0.0, 0.0])
    seen: list[torch.Tensor] = []
    fusion.drop.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    fusion(views(a=[2.0], b=[3.0], c=[5.0]))
    close(seen[0], 31.0)


def test_tensor_holds_every_product():
    """D = 1 = width: t = (1, b, a, ab). W picks ab: GELU(-2 * 0.5) = GELU(-1) = -0.158655; W picks 1: GELU(1) = 0.841345;
    an absent b is its vector, 0.5, and W = b alone: GELU(0.5) = 0.345731."""
    fusion = made("tensor", "ab", 1, width=1)
    put(fusion.slots.empty_VD, [0.0, 0.5])
    for picked, expected in ((3, -0.158655), (0, 0.841345), (1, 0.345731)):
        put(fusion.mix.weight, [float(place == picked) for place in range(4)])
        close(fusion(views(a=[-2.0], b=None)).x, expected)


def test_tensor_cuts_wide_views():
    """width 1 of D = 2: tanh(1 * 1 + 2 * 0.5) = tanh 2 = 0.964028; W picks a: GELU(0.964028) = 0.802537."""
    fusion = made("tensor", "a", 2, width=1)
    put(fusion.cut_VDW, [1.0, 2.0])
    put(fusion.mix.weight, [[0.0, 1.0], [0.0, 0.0]])
    close(fusion(views(2, a=[1.0, 0.5])).x, 0.802537, 0.0)


def test_tensor_takes_the_width_that_fits_and_refuses_what_explodes():
    assert [made("tensor", names, 96).mix.in_features for names in ("ab", "abcd", "abcdef")] == [17**2, 12**4, 5**6]
    with pytest.raises(BadOption, match=r"4 views with fusion.width=32 would have 113,848,416 parameters \(96 x 33\^4\), more "
                       "than 2,000,000; choose fusion.width=11 or less, or fusion low-rank"):
        made("tensor", "abcd", 96, width=32)
    with pytest.raises(BadOption, match=r"15 views with fusion.width=1 .* more than 2,000,000; choose fusion low-rank"):
        made("tensor", "abcdefghijklmno", 96)


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_low_rank_is_the_tensor_that_its_factors_make(names):
    """W = sum_r w_r (F_1 (x) F_2 (x) ...), views as they are (width = D): equal to 1e-5, absent views too."""
    low = made("low-rank", names, 4, rank=3)
    full = made("tensor", names, 4, width=4)
    put(full.slots.empty_VD, low.slots.empty_VD)
    factors = low.factor_VRWD.detach()
    whole = torch.zeros(4, 5 ** len(names))
    for r in range(3):
        for o in range(4):
            product = torch.ones(1)
            for v in range(len(names)):
                product = torch.outer(product, factors[v, r, :, o]).flatten()
            whole[o] += low.weight_R[r].detach() * product
    put(full.mix.weight, whole)
    parts = {name: Tokens.single(torch.randn(5, 4), torch.arange(5) != i) for i, name in enumerate(names)}
    torch.testing.assert_close(low(parts).x, full(parts).x, atol=1e-5, rtol=0)


def test_film_scales_and_shifts_by_another_view():
    """by=b, A = 1: c = tanh(1) = 0.761594; gamma = 2 c = 1.523188, beta = -c: 2.523188 * 2 - 0.761594 = 4.284782, and
    GELU of that is 4.284743; without c it is a alone: GELU(2) = 1.954500. Zero gamma and beta are where it starts."""
    fusion = made("film", "ab", 1, by="b")
    put(fusion.ask_UDE, [1.0])
    put(fusion.mix[0].weight, [1.0])
    put(fusion.mix[0].bias, [0.0])
    put(fusion.slots.empty_VD, [0.0, 1.0])
    close(fusion(views(a=[2.0], b=[1.0])).x, 1.954500)
    put(fusion.modulate_VDE, [2.0, -1.0])
    close(fusion(views(a=[2.0], b=[1.0])).x, 4.284743)
    close(fusion(views(a=[2.0], b=None)).x, 4.284743)  # an absent b is its vector, 1


def test_film_without_a_name_conditions_each_view_by_the_others():
    """A = 1, gamma = c, beta = 0: a = 1, b = 2, c = 0 meet tanh(2), tanh(1) and tanh(3): 1.964028 + 2 * 1.761594 = 5.487216."""
    fusion = made("film", "abc", 1)
    put(fusion.ask_UDE, [1.0] * 3)
    put(fusion.modulate_VDE, [1.0, 0.0] * 3)
    put(fusion.mix[0].weight, [1.0] * 3)
    put(fusion.mix[0].bias, [0.0])
    close(fusion(views(a=[1.0], b=[2.0], c=[0.0])).x, 5.487216)


# --- attention between views ---------------------------------------------------------------------


def test_cross_starts_as_the_mean_of_the_present_views():
    """Gates at 0 add nothing: norms of (3, 1), (0, 4) are (1, -1) and (-1, 1), mean 0; with a alone (1, -1)."""
    fusion = made("cross", "ab", 2, heads=1)
    put(fusion.view_VD, torch.zeros(2, 2))
    close(fusion(views(2, a=[3.0, 1.0], b=[0.0, 4.0])).pooled(), 0.0, 0.0)
    close(fusion(views(2, a=[3.0, 1.0], b=None)).pooled(), 1.0, -1.0)
    close(fusion(views(2, a=None, b=None)).pooled(), 0.0, 0.0)
    assert fusion(views(2, a=None, b=None)).mask.tolist() == [[True, False, False]]
    assert fusion(views(2, a=[3.0, 1.0], b=None)).mask.tolist() == [[False, True, False]]


def asking(block) -> None:
    """Queries and keys 0, values the normed tokens, nothing from the layer behind."""
    put(block.query.weight, torch.zeros(2, 2))
    put(block.query.bias, [0.0, 0.0])
    put(block.key_value.weight, torch.cat([torch.zeros(2, 2), torch.eye(2)]))
    put(block.key_value.bias, [0.0] * 4)
    put(block.out.weight, torch.eye(2))
    put(block.feed[-1].weight, torch.zeros(2, 4))
    put(block.feed[-1].bias, [0.0, 0.0])


def test_cross_asks_the_other_views_behind_the_gate():
    """Equal scores: half of the attention declines, half goes to b, whose norm is (-1, 1). Gate tanh(0.549306) = 0.5, and the
    output's shift is (0, 4): (3, 1) + 0.5 * ((-0.5, 0.5) + (0, 4)) = (2.75, 3.25). Of b, likewise with a's (1, -1):
    (0, 4) + 0.5 * (0.5, 3.5) = (0.25, 5.75). With b absent nothing is asked, and a stays."""
    fusion = made("cross", "ab", 2, heads=1, depth=1)
    put(fusion.view_VD, torch.zeros(2, 2))
    block = fusion.blocks[0]
    asking(block)
    put(block.out.bias, [0.0, 4.0])
    put(block.gate_2, [0.549306, 0.0])
    before: list[torch.Tensor] = []
    fusion.norm.register_forward_pre_hook(lambda module, given: before.append(given[0][0]))
    fusion(views(2, a=[3.0, 1.0], b=[0.0, 4.0]))
    fusion(views(2, a=[3.0, 1.0], b=None))
    close(before[0], 2.75, 3.25, 0.25, 5.75)
    close(before[1][0], 3.0, 1.0)


def test_cross_feeds_each_position_behind_a_gate_of_its_own():
    """The layer's shift alone, (2, 0), through tanh(0.549306) = 0.5: (3, 1) + (1, 0)."""
    fusion = made("cross", "ab", 2, heads=1, depth=1)
    put(fusion.view_VD, torch.zeros(2, 2))
    block = fusion.blocks[0]
    asking(block)
    put(block.feed[-1].bias, [2.0, 0.0])
    put(block.gate_2, [0.0, 0.549306])
    before: list[torch.Tensor] = []
    fusion.norm.register_forward_pre_hook(lambda module, given: before.append(given[0][0]))
    fusion(views(2, a=[3.0, 1.0], b=None))
    close(before[0][0], 4.0, 1.0)


def attending(block) -> None:
    """A block whose attention is the mean of the normed tokens, and which feeds nothing."""
    put(block.query_key_value.weight, torch.cat([torch.zeros(4, 2), torch.eye(2)]))
    put(block.query_key_value.bias, [0.0] * 6)
    put(block.out.weight, torch.eye(2))
    put(block.out.bias, [0.0, 0.0])
    put(block.feed[-1].weight, torch.zeros(2, 4))
    put(block.feed[-1].bias, [0.0, 0.0])


def test_bottleneck_carries_what_one_view_wrote_to_the_others():
    """One token z = (1, 3), norm (-1, 1); a = (3, 1), norm (1, -1); b = (0, 4), norm (-1, 1).
    Layer 1: with a the mean is (0, 0): z_a = (1, 3), a stays (3, 1); with b it is (-1, 1): z_b = (0, 4), b = (-1, 5).
    z = mean = (0.5, 3.5), norm (-1, 1). Layer 2: with a again (0, 0): a stays; with b (-1, 1): b = (-2, 6).
    Norms (1, -1) and (-1, 1), mean 0. Without b, z stays (1, 3) and a is (1, -1); with nothing, z's norm."""
    fusion = made("bottleneck", "ab", 2, heads=1, bottlenecks=1)
    for blocks in fusion.blocks.values():
        for block in blocks:
            attending(block)
    put(fusion.shared_SD, [1.0, 3.0])
    fused = fusion(views(2, a=[3.0, 1.0], b=[0.0, 4.0]))
    close(fused.pooled(), 0.0, 0.0)
    before: list[torch.Tensor] = []
    fusion.norm.register_forward_pre_hook(lambda module, given: before.append(given[0][0]))
    fusion(views(2, a=[3.0, 1.0], b=[0.0, 4.0]))
    close(torch.cat(before), 3.0, 1.0, -2.0, 6.0, 0.5 - 0.5, 3.5 + 0.5)  # a, b, z after layer 2: mean of (.5, 3.5) and (-.5, 4.5)
    close(fusion(views(2, a=[3.0, 1.0], b=None)).pooled(), 1.0, -1.0)
    close(fusion(views(2, a=None, b=None)).pooled(), -1.0, 1.0)


def test_bottleneck_keeps_views_apart_in_the_first_layers():
    """With alone = 1 the first layer sees the view only: a = (3, 1) + its own norm (1, -1) = (4, 0)."""
    fusion = made("bottleneck", "ab", 2, heads=1, depth=3, alone=1)
    for blocks in fusion.blocks.values():
        attending(blocks[0])
        still_block(blocks[1])
        still_block(blocks[2])
    before: list[torch.Tensor] = []
    fusion.norm.register_forward_pre_hook(lambda module, given: before.append(given[0][0]))
    fusion(views(2, a=[3.0, 1.0], b=[0.0, 4.0]))
    close(before[0], 4.0, 0.0)


def still_block(block) -> None:
    for layer in (block.out, block.feed[-1]):
        put(layer.weight, torch.zeros_like(layer.weight))
        put(layer.bias, torch.zeros_like(layer.bias))


def test_bottleneck_needs_a_layer_to_write_and_one_to_read():
    with pytest.raises(BadOption, match=r"fusion.depth=2 must be at least fusion.alone \+ 2 = 3"):
        made("bottleneck", "ab", 8, alone=1)


def test_mult_averages_the_streams_of_the_present_views():
    """W = D = 2. Half of each attention declines, half takes the normed other view. For a = (3, 1): from b = (0, 4) comes
    (3, 1) + (-0.5, 0.5); from c = (2, 6), norm (-1, 1) too, the same; their mean is (2.5, 1.5). Without c: the same, from b
    alone. With a alone its own tokens (3, 1)."""
    fusion = made("mult", "abc", 2, width=2, heads=1)
    for view in "abc":
        put(fusion.enter[view].weight, torch.eye(2))
        put(fusion.enter[view].bias, [0.0, 0.0])
        still_block(fusion.own[view])
        for blocks in fusion.pairs[view].values():
            asking(blocks[0])
            put(blocks[0].out.bias, [0.0, 0.0])
    put(fusion.pairs["a"]["c"][0].out.bias, [0.0, 3.0])  # the stream from c differs: (2.5, 4.5)
    before: list[torch.Tensor] = []
    fusion.leave[0].register_forward_pre_hook(lambda module, given: before.append(given[0][0, 0]))
    fusion(views(2, a=[3.0, 1.0], b=[0.0, 4.0], c=[2.0, 6.0]))
    fusion(views(2, a=[3.0, 1.0], b=[0.0, 4.0], c=None))
    fusion(views(2, a=[3.0, 1.0], b=None, c=None))
    close(before[0], 2.5, 3.0)
    close(before[3], 2.5, 1.5)
    close(before[6], 3.0, 1.0)


def test_mult_needs_heads_that_divide_its_width():
    with pytest.raises(BadOption, match="fusion.heads=4 must divide fusion.width = 6; choose other heads or another width"):
        made("mult", "ab", 8, width=6)


# --- experts, serial, fixed weights --------------------------------------------------------------


def test_experts_answer_with_the_views_they_know():
    """D = H = 1, experts {a}, {b}, {a, b}; W = 1, U = 1, so f = GELU(a), GELU(b), GELU(a + b). Gates 0: all present, a = 1,
    b = 2: (0.841345 + 1.954500 + 2.995950) / 3 = 1.930598. Without b only {a} can answer: 0.841345."""
    fusion = made("experts", "ab", 1, hidden=1)
    put(fusion.gate.weight, torch.zeros(3, 4))
    put(fusion.gate.bias, torch.zeros(3))
    put(fusion.read_PDH, [1.0] * 4)
    put(fusion.say_EHD, [1.0] * 3)
    close(fusion(views(a=[1.0], b=[2.0])).x, 1.930598)
    close(fusion(views(a=[1.0], b=None)).x, 0.841345)
    close(fusion.gates(views(a=[1.0], b=None)), 1.0, 0.0, 0.0)
    put(fusion.gate.weight, [[0.0] * 4, [0.0] * 4, [0.0, 0.0, 0.0, math.log(2)]])  # {a, b} reads the bit of b: gates 1 : 1 : 2
    close(fusion.gates(views(a=[1.0], b=[2.0])), 0.25, 0.25, 0.5)


def test_experts_beyond_four_views_and_the_top_gates():
    assert len(made("experts", "abcd", 4).gate.bias) == 15
    assert len(made("experts", "abcdef", 4).gate.bias) == 6 + 15 + 6 + 1
    fusion = made("experts", "ab", 1, hidden=1, top=2)
    put(fusion.gate.weight, torch.zeros(3, 4))
    put(fusion.gate.bias, [0.0, math.log(3), -1.0])
    close(fusion.gates(views(a=[1.0], b=[2.0])), 0.25, 0.75, 0.0)
    with pytest.raises(BadOption, match="fusion.top=9 is more than the 3 experts of 2 views"):
        made("experts", "ab", 1, top=9)


def test_serial_reads_one_view_after_another():
    """D = 1. Gates: update reads x by ln 3 (x = 1: u = 3/4), reset 1/2. Content tanh(x + r h).
    h0 = 0, a = 1: h = 3/4 tanh 1 = 0.571196. Then b = 1: content tanh(1 + 0.285598) = 0.857964; h = 0.142799 + 0.643473."""
    fusion = made("serial", "ab", 1)
    put(fusion.start_D, [0.0])
    put(fusion.gate_VDE, [[[math.log(3), 0.0], [0.0, 0.0]]] * 2)
    put(fusion.gate_shift_VE, [[0.0, 0.0]] * 2)
    put(fusion.content_VDE, [[[1.0], [1.0]]] * 2)
    put(fusion.content_shift_VE, [[0.0]] * 2)
    close(fusion(views(a=[1.0], b=[1.0])).x, 0.786272)
    close(fusion(views(a=[1.0], b=None)).x, 0.571196)  # an absent view leaves the state


def test_serial_follows_the_order_and_its_film_step():
    """film: h <- (1 + 2 x) h + x for a, h <- h + 3 x for b; start 1. a = 1, b = 1: a then b: 3 + 1 = 4, + 3 = 7; b first: 4,
    then 12 + 1 = 13."""
    for order, expected in (("a,b", 7.0), (["b", "a"], 13.0)):
        fusion = made("serial", "ab", 1, step="film", order=order)
        film = {"a": [2.0, 1.0], "b": [0.0, 3.0]}
        put(fusion.start_D, [1.0])
        put(fusion.film_VDE, [film[view] for view in fusion.views])
        put(fusion.film_shift_VE, [[0.0, 0.0]] * 2)
        close(fusion(views(a=[1.0], b=[1.0])).x, expected)


@pytest.mark.parametrize(("name", "options", "sentence"), [
    ("serial", {"order": "a,d"}, "fusion.order names 'd', which is no view of the table"),
    ("serial", {"order": "a"}, "fusion.order=a must name every view once: a, b"),
    ("serial", {"order": "a,b,a"}, "fusion.order=a,b,a must name every view once"),
    ("serial", {"step": "lstm"}, "fusion.step='lstm' must be 'gru' or 'film'"),
    ("film", {"by": "d"}, "fusion.by names 'd', which is no view of the table"),
    ("bilinear", {"factors": 0}, "fusion.factors=0 must be at least 1"),
    ("low-rank", {"rank": 0}, "fusion.rank=0 must be at least 1"),
    ("tensor", {"width": -1}, "fusion.width=-1 must be at least 0"),
    ("sum", {"weights": "a=0.7,b=0.4"}, "fusion.weights must sum to 1, and 0.7 \\+ 0.4 is 1.1"),
    ("sum", {"weights": "a=1.5,b=-0.5"}, "gives 'a' the weight '1.5', which must be a number above 0 and at most 1"),
    ("sum", {"weights": {"a": 1.0, "b": 0}}, "gives 'b' the weight 0, .* left out \\(--columns b=ignore\\)"),
    ("sum", {"weights": "a=0.7,b"}, "fusion.weights names '', which is no view"),
    ("sum", {"weights": "a=half,b=0.5"}, "gives 'a' the weight 'half'"),
    ("sum", {"weights": {"a": 1.0}}, "has no weight for 'b'; give one, or leave the view out"),
    ("mean", {"weights": "a=0.7,b=0.4"}, "fusion.weights must sum to 1"),
    ("convex", {"weights": "a=1,b=1"}, "fusion.weights must sum to 1, and 1 \\+ 1 is 2"),
    ("convex", {"folds": 1}, "fusion.folds=1 must be at least 2"),
    ("product", {"folds": 1}, "fusion.folds=1 must be at least 2"),
    ("stacked", {"folds": 1}, "fusion.folds=1 must be at least 2"),
    ("stacked", {"ridge": -1.0}, "fusion.ridge=-1.0 must be at least 0"),
    ("sum", {"weights": 0.5}, "fusion.weights=0.5 must give each view its weight, as in picture=0.7,text=0.3"),
])
def test_options_that_do_not_fit_are_refused_in_a_sentence(name, options, sentence):
    with pytest.raises(BadOption, match=sentence):
        made(name, "ab", 4, **options)


def test_film_needs_a_view_to_condition():
    with pytest.raises(BadOption, match="fusion.by=a conditions the other views, and there are none"):
        made("film", "a", 4, by="a")


def test_sum_with_fixed_weights():
    """0.7 * 2 + 0.3 * 4 = 2.6 whatever training does; without b the weight of a is 0.7 / 0.7, so 2."""
    fusion = made("sum", "ab", 1, weights="a=0.7,b=0.3", temperature=0.1)
    assert not list(fusion.parameters())
    close(fusion(views(a=[2.0], b=[4.0])).x, 2.6)
    close(fusion(views(a=[2.0], b=None)).x, 2.0)


def test_max_by_hand():
    """Of 1 and 3, r = 2: log((e^2 + e^6) / 2) / 2; with one view that view, with r large the larger one."""
    x = {"a": torch.tensor([[[1.0]], [[1.0]]]), "b": torch.tensor([[[3.0]], [[3.0]]])}
    masks = {"a": torch.tensor([[True], [True]]), "b": torch.tensor([[True], [False]])}
    parts = {view: Tokens(x[view], masks[view]) for view in x}
    found = made("max", "ab", 1, sharpness=2.0)(parts).x.flatten().tolist()
    assert found == pytest.approx([math.log((math.e**2 + math.e**6) / 2) / 2, 1.0])
    assert made("max", "ab", 1, sharpness=500.0)(parts).x[0].item() == pytest.approx(3.0, abs=0.01)
    with pytest.raises(BadOption, match="fusion.sharpness=0 must be a number above 0"):
        made("max", "ab", 1, sharpness=0)

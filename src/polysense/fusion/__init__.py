"""The shelf of fusions: tokens of all views -> tokens of the record. See ``polysense list fusions``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import BadOption
from ..registry import suggest
from ..tokens import Tokens


def check_share(name: str, value: float) -> None:
    """Refuse a dropout that leaves nothing.

    Raises:
        BadOption: outside [0, 1).
    """
    if not 0 <= value < 1:
        raise BadOption(f"fusion.{name}={value} must be at least 0 and below 1")


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuse a width or depth of nothing.

    Raises:
        BadOption: below ``least``.
    """
    if value < least:
        raise BadOption(f"fusion.{name}={value} must be at least {least}")


def check_heads(heads: int, dim: int, what: str = "the width", cure: str = "another train.dim") -> None:
    """Refuse heads that do not share a width evenly.

    Raises:
        BadOption: heads < 1, or not a divisor of ``dim``.
    """
    if heads < 1 or dim % heads:
        raise BadOption(f"fusion.heads={heads} must divide {what} {dim}; choose other heads or {cure}")


def check_view(name: str, value: str, views: Sequence[str]) -> None:
    """Refuse a view that the table does not have.

    Raises:
        BadOption: with the nearest name.
    """
    if value not in views:
        raise BadOption(f"fusion.{name} names '{value}', which is no view of the table; {suggest(value, sorted(views))}")


def fixed_weights(given: str | Mapping[str, Any] | None, views: Sequence[str]) -> Tensor | None:
    """(V,) weights that the user fixed, in sorted order of views; None if there are none.

    Args:
        given: "picture=0.7,text=0.3", or a dict.

    Raises:
        BadOption: a view unknown or without a weight, a weight that is no number above 0, or a sum other than 1.

    >>> fixed_weights("a=0.7, b=0.3", ["b", "a"])
    tensor([0.7000, 0.3000])
    """
    if not given:
        return None
    if isinstance(given, str):
        given = {name.strip(): value.strip() for name, _, value in (pair.rpartition("=") for pair in given.split(","))}
    elif not isinstance(given, Mapping):
        raise BadOption(f"fusion.weights={given!r} must give each view its weight, as in picture=0.7,text=0.3")
    for view in given:
        check_view("weights", view, views)
    numbers = []
    for view in sorted(views):
        if view not in given:
            out = f"leave the view out (--columns {view}=ignore)"
            raise BadOption(f"fusion.weights has no weight for '{view}'; give one, or {out}")
        numbers.append(_weight(view, given[view]))
    if abs(sum(numbers) - 1) > 1e-6:
        sums = " + ".join(f"{number:g}" for number in numbers)
        raise BadOption(f"fusion.weights must sum to 1, and {sums} is {sum(numbers):g}")
    return torch.tensor(numbers)


def _weight(view: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number <= 1:
        raise BadOption(
            f"fusion.weights gives '{view}' the weight {value!r}, which must be a number above 0 and at most 1; "
            f"a view that is not to count is left out (--columns {view}=ignore)"
        )
    return number


def even(present_BV: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, V): equal shares of what is present; zeros where nothing is.

    >>> even(torch.tensor([[True, True], [False, True]]), torch.float32)
    tensor([[0.5000, 0.5000],
            [0.0000, 1.0000]])
    """
    return present_BV.to(dtype) / present_BV.sum(1, keepdim=True).clamp_min(1)


def mean_of_views(parts: Mapping[str, Tokens], x: Mapping[str, Tensor], shared_BSD: Tensor | None = None) -> Tokens:
    """Tokens of all views behind shared ones, pooled as the mean of the present views' means.

    Where nothing is present, the shared tokens are pooled, or a zero; else they weigh nothing.

    Args:
        parts: what the views were, for masks.
        x: {view: (B, T_v, D)} what has become of them.
        shared_BSD: S tokens of each record, always there; None: a zero that is there where nothing else is.
    """
    present_BV = torch.stack([parts[view].present for view in x], 1)
    nothing_B1 = ~present_BV.any(1, keepdim=True)
    if shared_BSD is None:
        shared_BSD, there_BS = torch.zeros_like(next(iter(x.values()))[:, :1]), nothing_B1
    else:
        there_BS = torch.ones_like(shared_BSD[..., 0], dtype=torch.bool)
    dtype = shared_BSD.dtype
    share_BV = even(present_BV, dtype)
    weights = [(nothing_B1 & there_BS).to(dtype)]
    weights += [even(parts[view].mask, dtype) * share_BV[:, v, None] for v, view in enumerate(x)]
    return Tokens(
        torch.cat([shared_BSD, *x.values()], 1), torch.cat([there_BS, *(parts[view].mask for view in x)], 1),
        weight=torch.cat(weights, 1),
    )

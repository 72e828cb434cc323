"""Late fusions: every view answers alone, then the answers are combined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..contracts import Fusion
from ..registry import fusions


@fusions("mean")
class Mean(Fusion):
    """Mean of the present views' answers; the training prior where nothing is present.

    The sum rule of Kittler et al. 1998 ("On combining classifiers"), eq. 24.

    Args:
        views: names, in any order.
        dim: D of every view.

    combine: (B, V, C), mask (B, V), prior (C,) -> (B, C)

    >>> answers = torch.tensor([[[1., 0.], [0., 1.]], [[1., 0.], [0., 1.]]])
    >>> Mean(["a", "b"], 8).combine(answers, torch.tensor([[True, True], [True, False]]), torch.ones(2) / 2)
    tensor([[0.5000, 0.5000],
            [1.0000, 0.0000]])
    """

    late = True

    def __init__(self, views: Sequence[str], dim: int) -> None:
        super().__init__()
        self.views = sorted(views)

    def combine(self, answers_BVC: Tensor, mask_BV: Tensor, prior_C: Tensor) -> Tensor:
        kept_BVC = torch.where(mask_BV[..., None], answers_BVC, torch.zeros_like(answers_BVC))
        count_B1 = mask_BV.sum(1, keepdim=True)
        mean_BC = kept_BVC.sum(1) / count_B1.clamp_min(1)
        return torch.where(count_B1 > 0, mean_BC, prior_C)

"""A user's own ``nn.Module`` as the encoder of a view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .contracts import Batch, Encoder, State
from .errors import BadOption
from .tokens import Tokens


class Own(Encoder):
    """Lends the modality's preparation to a module.

    Args:
        module: called with the tensors of ``prepare`` as keyword ``batch``; returns ``Tokens``, (B, W) or (B, T, W).
        lender: from-scratch encoder of the modality, whose ``fit`` and ``prepare`` are used.
    """

    def __init__(self, module: nn.Module, lender: Encoder) -> None:
        super().__init__()
        self.module, self._lender = module, (lender,)
        self.name = f"{lender.name.split('.')[0]}.own"

    @property
    def lender(self) -> Encoder:
        """Prepares; its parameters are not used and not saved."""
        return self._lender[0]

    def options(self) -> dict[str, Any]:
        return self.lender.options()

    def fit(self, values: Sequence[Any]) -> None:
        self.lender.fit(values)
        with torch.no_grad():
            was, _ = self.module.training, self.module.eval()
            self.dim = self(
                {key: torch.as_tensor(value) for key, value in self.lender.prepare(values[:2]).items()}
            ).x.shape[-1]
            self.module.train(was)

    def state(self) -> State:
        return {"lender": self.lender.state(), "dim": self.dim}

    def load(self, state: State) -> None:
        self.lender.load(state["lender"])
        self.dim = state["dim"]

    def prepare(self, values: Sequence[Any]) -> dict[str, np.ndarray]:
        return self.lender.prepare(values)

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        out = self.module(batch)
        if isinstance(out, Tokens):
            return out
        if not isinstance(out, Tensor) or out.dim() not in (2, 3):
            raise BadOption(
                f"your encoder {type(self.module).__name__} gave {type(out).__name__}; "
                "it must return Tokens or a tensor (B, W) or (B, T, W)"
            )
        if out.dim() == 2:
            return Tokens.single(out)
        mask = batch.get("mask")
        if mask is None or mask.shape != out.shape[:2]:
            mask = torch.ones(out.shape[:2], dtype=torch.bool, device=out.device)
        return Tokens(out, mask.bool())

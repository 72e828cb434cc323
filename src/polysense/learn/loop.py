"""The training loop: one function that reads like prose.

M members, B records of a batch, V views.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..contracts import to_tensors
from ..errors import LossNotFinite
from ..network import Members, Network
from .features import Views, answer, encode
from .training import Training

#: Batches with a loss that is not finite are skipped and named; after this many training stops.
BAD_BATCHES = 3


@dataclass
class History:
    """What training saw: one dict per epoch, and the skipped batches."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def train(
    network: Network, views: Views, targets: dict[str, np.ndarray], rows: np.ndarray, valid_rows: np.ndarray,
    *, options: Training, seed: int = 0, names: Callable[[int], str] = str,
    log: Callable[[dict[str, float]], None] = lambda epoch: None,
    measure: Callable[[np.ndarray, np.ndarray], dict[str, float]] | None = None,
    optimiser: Callable[[Network], torch.optim.Optimizer] | None = None,
) -> History:
    """Train in place on ``rows`` and watch ``valid_rows``.

    Args:
        targets: {name: (N, ...)} for all N records.
        names: row -> how the user knows it, for messages.
        log: called after each epoch with loss, rate and validation figures.
        measure: (answers, rows) -> validation figures; needs the key "loss" for early stopping.
        optimiser: makes the optimiser where parts of the network have rates of their own; the
            schedule scales each group's rate.

    Raises:
        LossNotFinite: after ``BAD_BATCHES`` batches whose loss was not finite, naming their records.
    """
    from accelerate import Accelerator

    accelerator = Accelerator()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        optimiser = optimiser(network) if optimiser else _optimiser(network, options)
        batches = _batches(rows, options.batch, seed)
        model, optimiser, batches = accelerator.prepare(network, optimiser, batches)
        steps = len(batches) * options.epochs
        schedule = _schedule(optimiser, options, steps)
        history, best, waited = History(), None, 0
        for epoch in range(options.epochs):
            model.train()
            total, seen = 0.0, 0
            for picked in batches:
                picked = picked.cpu().numpy()
                batch = views.batch(picked, accelerator.device)
                losses_MB = model(batch, to_tensors({k: v[picked] for k, v in targets.items()}, accelerator.device))
                if not torch.isfinite(losses_MB).all():
                    _skip(history, losses_MB, picked, names)
                    continue
                optimiser.zero_grad()
                accelerator.backward(losses_MB.mean(1).sum())
                clip(network, options.clip)
                optimiser.step()
                schedule.step()
                total, seen = total + losses_MB.detach().mean().item() * len(picked), seen + len(picked)
            figures = {"epoch": epoch + 1, "loss": total / max(1, seen), "rate": schedule.get_last_lr()[0]}
            if measure and len(valid_rows):
                answers = answer(network, encode(network, views, valid_rows), views.present_NV[valid_rows])
                figures |= {f"valid_{key}": value for key, value in measure(answers, valid_rows).items()}
            history.epochs.append(figures)
            log(figures)
            if options.patience and "valid_loss" in figures:
                if best is None or figures["valid_loss"] < best[0]:
                    best, waited = (figures["valid_loss"], _copy(network)), 0
                else:
                    waited += 1
                    if waited >= options.patience:
                        break
        if best is not None:
            network.load_state_dict(best[1])
        network.eval()
        return history


def clip(network: Network, largest: float) -> None:
    """Clip each member's gradient to its own norm, the shared encoders' to theirs."""
    if not largest:
        return
    shared = [p for p in network.encoders.parameters() if p.grad is not None]
    if shared:
        torch.nn.utils.clip_grad_norm_(shared, largest)
    own = [p.grad for p in network.members.parameters() if p.grad is not None]
    norm_M = torch.stack([grad.flatten(1).square().sum(1) for grad in own]).sum(0).sqrt()
    scale_M = (largest / (norm_M + 1e-6)).clamp_max(1.0)
    for grad in own:
        grad.mul_(scale_M.reshape(-1, *[1] * (grad.dim() - 1)))


def _optimiser(network: Network, options: Training) -> torch.optim.Optimizer:
    """Weight decay on matrices only: not on norms, shifts, or learned vectors of views."""
    members: Members = network.members
    matrices, rest = [], []
    for name, parameter in members.named_parameters():
        (matrices if members.ranks[name] > 1 and "empty" not in name else rest).append(parameter)
    for parameter in network.encoders.parameters():
        if parameter.requires_grad:
            (matrices if parameter.dim() > 1 else rest).append(parameter)
    groups = [{"params": matrices, "weight_decay": options.decay}, {"params": rest, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if options.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=options.rate, momentum=0.9)
    return torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98), fused=True)


def _schedule(optimiser: Any, options: Training, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    rise = max(1, round(options.warmup * steps)) if options.warmup else 0

    def factor(step: int) -> float:
        if step < rise:
            way = step / rise
            return 0.04 + 0.96 * ((1 - math.cos(math.pi * way)) / 2 if options.schedule == "one-cycle" else way)
        if options.schedule == "constant":
            return 1.0
        way = min(1.0, (step - rise) / max(1, steps - rise))
        return max(1e-5, (1 + math.cos(math.pi * way)) / 2)

    inner = getattr(optimiser, "optimizer", optimiser)
    return torch.optim.lr_scheduler.LambdaLR(inner, factor)


def _batches(rows: np.ndarray, size: int, seed: int) -> torch.utils.data.DataLoader:
    """Shuffled batches of rows; a last batch of one record joins none and is kept."""
    generator = torch.Generator().manual_seed(seed)
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.as_tensor(rows)), batch_size=size, shuffle=True, generator=generator,
        collate_fn=lambda items: torch.stack([item[0] for item in items]),
    )


def _skip(history: History, losses_MB: Tensor, picked: np.ndarray, names: Callable[[int], str]) -> None:
    bad = ~torch.isfinite(losses_MB).all(0).cpu().numpy()
    named = ", ".join(names(int(row)) for row in picked[bad][:5])
    history.skipped.append(named)
    if len(history.skipped) >= BAD_BATCHES:
        raise LossNotFinite(
            f"the loss was not finite in {len(history.skipped)} batches, last for {named}; "
            "look at these records, or lower train.rate"
        )


def _copy(network: Network) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in network.state_dict().items()}



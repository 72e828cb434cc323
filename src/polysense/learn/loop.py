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
from ..errors import BadOption, LossNotFinite
from ..network import Members, Network
from .features import Views, answer, encode

#: Batches with a loss that is not finite are skipped and named; after this many training stops.
BAD_BATCHES = 3


class Training:
    """How a network is trained; ``--set train.NAME=VALUE``.

    Args:
        epochs: passes over the training records.
        batch: records per step.
        rate: highest learning rate.
        optimiser: "adamw" (Loshchilov and Hutter 2019, arXiv:1711.05101) or "sgd" (momentum .9).
        schedule: "one-cycle" (Smith and Topin 2018, arXiv:1708.07120), "cosine" or "constant";
            all begin with the warm-up.
        warmup: share of the steps during which the rate rises from 4 % of its highest value.
        decay: weight decay, on matrices only.
        clip: largest gradient norm of a member; 0 turns clipping off.
        members: copies of projections, fusion and head, trained together, answers averaged.
        dim: width of the projected views and of the fused record.
        drop: probability that a present view is hidden in the second, masked pass of a step;
            0 turns that pass off.
        dropout: share of the projected units dropped.
        input_dropout: share of the encoders' numbers dropped.
        auxiliary: weight of the losses of the views' own heads.
        distil: weight of the full pass teaching the masked pass.
        regressions: share of the answer that the logistic regressions on the present views give, the
            network giving the rest; None chooses it on the validation records.
        patience: epochs without a better validation loss before training stops, the best weights
            then being restored; 0 trains to the end.

    Raises:
        BadOption: a value is out of its range.
    """

    def __init__(
        self, *, epochs: int = 20, batch: int = 64, rate: float = 3e-3, optimiser: str = "adamw",
        schedule: str = "one-cycle", warmup: float = 0.2, decay: float = 0.3, clip: float = 1.0, members: int = 4,
        dim: int = 96, drop: float = 0.5, dropout: float = 0.4, input_dropout: float = 0.3, auxiliary: float = 0.3,
        distil: float = 0.0, regressions: float | None = None, patience: int = 0,
    ) -> None:
        values = dict(locals())
        del values["self"]
        for name, low, high in (
            ("epochs", 1, math.inf), ("batch", 1, math.inf), ("members", 1, 1000), ("dim", 1, 65536),
            ("warmup", 0, 1), ("decay", 0, math.inf), ("clip", 0, math.inf), ("patience", 0, math.inf),
            ("drop", 0, 0.99), ("dropout", 0, 0.99), ("input_dropout", 0, 0.99), ("auxiliary", 0, math.inf),
            ("distil", 0, math.inf), ("rate", 1e-12, 1e3),
        ):
            value = values[name]
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                upto = f"from {low} to {high}" if high < math.inf else f"of at least {low}"
                raise BadOption(f"train.{name}={value!r} must be a number {upto}")
            if name in ("epochs", "batch", "members", "dim", "patience") and value != int(value):
                raise BadOption(f"train.{name}={value!r} must be a whole number")
        number = isinstance(regressions, (int, float)) and not isinstance(regressions, bool)
        if regressions is not None and not (number and 0 <= regressions <= 1):
            raise BadOption(f"train.regressions={regressions!r} must be a share from 0 to 1")
        if optimiser not in ("adamw", "sgd"):
            raise BadOption(f"train.optimiser='{optimiser}' must be 'adamw' or 'sgd'")
        if schedule not in ("one-cycle", "cosine", "constant"):
            raise BadOption(f"train.schedule='{schedule}' must be 'one-cycle', 'cosine' or 'constant'")
        self.__dict__.update(values)

    def network(self) -> dict[str, Any]:
        """The options that shape the network rather than the loop."""
        return {
            name: getattr(self, name)
            for name in ("dim", "members", "drop", "dropout", "input_dropout", "auxiliary", "distil")
        }


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
) -> History:
    """Train in place on ``rows`` and watch ``valid_rows``.

    Args:
        targets: {name: (N, ...)} for all N records.
        names: row -> how the user knows it, for messages.
        log: called after each epoch with loss, rate and validation figures.
        measure: (answers, rows) -> validation figures; needs the key "loss" for early stopping.

    Raises:
        LossNotFinite: after ``BAD_BATCHES`` batches whose loss was not finite, naming their records.
    """
    from accelerate import Accelerator

    accelerator = Accelerator()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        optimiser = _optimiser(network, options)
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



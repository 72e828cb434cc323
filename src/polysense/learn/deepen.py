"""A second training of the head, with what may learn only once the rest has: low-rank factors in a language model.

Two stages as in LLaVA (Liu et al. 2023, arXiv:2304.08485, section 4.2): first the bridge alone, then the language model with
it, here through low-rank factors (Hu et al. 2021, arXiv:2106.09685). N records.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from ..errors import BadOption, LossNotFinite
from ..network import Network
from .course import History
from .features import Views, answer, encode, force
from .loop import train
from .resume import Checkpoints
from .training import Training, Tuning
from .tune import RATES


def deepen(
    first: Network, make: Callable[[], Network], views: Views, targets: dict[str, np.ndarray], rows: np.ndarray,
    valid_rows: np.ndarray, *, measure: Callable[[np.ndarray, np.ndarray], dict[str, float]], options: Tuning,
    training: Training, judge: Callable[[Network], float] | None = None, seed: int = 0, names: Callable[[int], str] = str,
    log: Callable[[dict[str, float]], None] = lambda epoch: None, kept: Checkpoints | None = None,
    left: Callable[[], float] | None = None,
) -> tuple[Network, dict[str, Any], str]:
    """Train on from a network with the parameters that it lacks; it comes back, bit for bit, if validation is not better.

    The new parameters have a rate of their own (``tune.rate``, else that of what the task says they are); what was there goes
    on at ``tune.rest``.

    Args:
        first: trained.
        make: the same with further parameters; both may share encoders.
        measure: (answers, or figures with given targets; rows) -> validation figures with the key "loss".
        judge: what a network's answers lose on the validation records; where it is given, that must be better too.
        names, log, kept, left: as for ``train``.

    Returns:
        The network, what became of it as JSON, and in a sentence.

    Raises:
        BadOption: there are no validation records to compare on.
    """
    if not len(valid_rows):
        raise BadOption("a second training is compared with the first on validation records, and there are none; give some")
    started, before = time.process_time(), {key: value.detach().clone() for key, value in first.state_dict().items()}
    loss = measure(_figures(first, views, targets, valid_rows), valid_rows)["loss"]
    second, history = make(), History()
    second.load_state_dict(before, strict=False)
    new = sorted(set(second.members.ranks) - set(first.members.ranks))
    rate = RATES[first.task.pace] if options.rate is None else float(options.rate)
    with suppress(LossNotFinite):
        history = train(
            second, views, targets, rows, valid_rows, options=options.loop(training), seed=seed, names=names, log=log,
            measure=measure, optimiser=lambda network: _optimiser(network, new, rate, options, training), kept=kept, left=left,
        )
    best = min((epoch["valid_loss"] for epoch in history.epochs), default=float("inf"))
    better, lost = best < loss, None
    if better and judge:
        lost = [judge(first), judge(second)]
        better = lost[1] < lost[0]
    if not better:
        first.load_state_dict(before)  # encoders that learn are shared, and have moved
    seconds = round(time.process_time() - started, 1)
    facts = {
        "kept": "second" if better else "first", "parameters": sum(_size(second, name) for name in new), "rate": rate,
        "pace": first.task.pace, "options": vars(options), "first": loss, "epochs": history.epochs, "cpu_seconds": seconds,
        "answers": lost,
    }
    return (second if better else first).eval(), facts, _sentence(facts, best)


def _figures(network: Network, views: Views, targets: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    tokens = encode(network, views, rows)
    if network.task.forced:
        return force(network, tokens, {key: value[rows] for key, value in targets.items()})
    return answer(network, tokens, views.present_NV[rows])


def _optimiser(
    network: Network, new: list[str], rate: float, options: Tuning, training: Training
) -> torch.optim.Optimizer:
    """AdamW: the new parameters at their rate, everything else at ``tune.rest``; decay on matrices only."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    matrices = {id(parameter) for parameter in network.matrices()[0]}
    for name, parameter in [*network.members.named_parameters(), *network.encoders.named_parameters()]:
        if parameter.requires_grad:
            mine = (rate, options.decay) if name in new else (options.rest, training.decay)
            groups.setdefault((mine[0], mine[1] if id(parameter) in matrices else 0.0), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": part, "lr": rate, "weight_decay": decay} for (rate, decay), part in groups.items()],
        betas=(0.9, 0.98), fused=True,
    )


def _size(network: Network, name: str) -> int:
    return network.members.get_parameter(name).numel()


def _sentence(facts: dict[str, Any], best: float) -> str:
    what = f"{facts['parameters']:,} further parameters of the head"
    said = "" if facts["answers"] is None else ", of the answers {:.3f} -> {:.3f}".format(*facts["answers"])
    if facts["kept"] == "second":
        return f"trained {what}: validation loss {facts['first']:.3f} -> {best:.3f}{said}"
    tried = f"loss {best:.3f}" if facts["epochs"] else "the loss was not finite"
    return f"training {what} did not help on validation ({tried}, without {facts['first']:.3f}{said}): they are left out"

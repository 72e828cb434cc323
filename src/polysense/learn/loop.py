"""The training loop: one function that reads like prose.

M members, B records of a batch, V views.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from .. import processes
from ..contracts import to_tensors
from ..errors import BadOption, LossNotFinite
from ..network import Network
from .course import Course, History, Pace, Schedule, together
from .features import Views, answer, encode, force
from .resume import Checkpoints, Interrupt
from .training import Training

#: Batches with a loss that is not finite are skipped and named; after this many training stops.
BAD_BATCHES = 3


def train(
    network: Network, views: Views, targets: dict[str, np.ndarray], rows: np.ndarray, valid_rows: np.ndarray,
    *, options: Training, seed: int = 0, names: Callable[[int], str] = str,
    log: Callable[[dict[str, float]], None] = lambda epoch: None,
    measure: Callable[[np.ndarray, np.ndarray], dict[str, float]] | None = None,
    optimiser: Callable[[Network], torch.optim.Optimizer] | None = None,
    kept: Checkpoints | None = None, left: Callable[[], float] | None = None,
) -> History:
    """Train in place on ``rows`` and watch ``valid_rows``.

    Args:
        targets: {name: (N, ...)} for all N records.
        names: row -> how the user knows it, for messages.
        log: called after each epoch with loss, rate and validation figures.
        measure: (answers, rows) -> validation figures; needs the key "loss" for early stopping. Where the task is
            ``forced``, of what ``Task.force`` gives in place of answers.
        optimiser: makes the optimiser where parts of the network have rates of their own; the
            schedule scales each group's rate.
        kept: where checkpoints are written, and where the last one is found: training goes on from it to
            the same bits as if nothing had happened.
        left: seconds left; where they will not do, the schedule is shortened, and training stops after
            the batch in which they run out.

    Raises:
        BadOption: the schedule follows the validation loss, and there is none.
        LossNotFinite: after ``BAD_BATCHES`` batches whose loss was not finite, naming their records.
        Interrupted: by Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    if options.schedule == "plateau" and (not measure or not len(valid_rows)):
        raise BadOption("train.schedule='plateau' follows the validation loss, and no record validates; choose another")
    from accelerate import Accelerator, DistributedDataParallelKwargs

    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # those of views that a batch lacks
    accelerator = Accelerator(cpu=processes.on_cpu(), kwargs_handlers=[unused])
    kept = kept or Checkpoints()
    with torch.random.fork_rng(), Interrupt(kept.on) as interrupt:
        torch.manual_seed(seed + (processes.rank() << 32))  # the records of each process are dropped out differently
        order = torch.Generator().manual_seed(seed)
        batches = _batches(rows, options.batch, order)
        model, stepper = accelerator.prepare(network, optimiser(network) if optimiser else _optimiser(network, options))
        steps = math.ceil(len(batches) / together(options, len(rows)))
        schedule = Schedule(stepper, options, steps * options.epochs)
        course = Course(network, stepper, schedule, order, options, Pace(left), len(rows))
        course.load(kept.latest())

        def watch() -> dict[str, float]:
            if not measure or not len(valid_rows):
                return {}
            forced = network.task.forced
            answers = _forced(network, views, targets, valid_rows) if forced else _answers(network, views, valid_rows)
            return {f"valid_{key}": value for key, value in measure(answers, valid_rows).items()}

        if course.over:
            network.eval()
            return course.history
        while not course.over:
            model.train()
            for picked in course.rest(batches):
                picked = picked.numpy()
                mine = processes.mine(picked)
                if not len(mine):  # a last batch smaller than the number of processes: work that will weigh nothing
                    mine = picked[:1]
                batch = views.batch(mine, accelerator.device)
                wanted = to_tensors({k: v[mine] for k, v in targets.items()}, accelerator.device)
                bad = course.step(partial(model, batch, wanted), accelerator.backward, picked)
                if bad is not None:
                    _skip(course.history, bad, names)
                if course.pace.left() <= 0:
                    course.update()
                    break
                if kept.due() or interrupt.signal:
                    kept.save(course.state())
                interrupt.stop(f"in epoch {course.epoch + 1} of {options.epochs}", kept.folder)
            with course.averaged():
                course.end_epoch({"epoch": course.epoch + 1, "loss": course.loss, "rate": schedule.rate} | watch())
            log(course.history.epochs[-1])
            if kept.due(epoch=True) and not course.over:
                kept.save(course.state())
        course.finish(lambda: watch()["valid_loss"])
        kept.save(course.state())
        interrupt.stop("after training", kept.folder)
        network.eval()
        return course.history


def _answers(network: Network, views: Views, rows: np.ndarray) -> np.ndarray:
    """(N, C) of some rows; several processes answer a part each."""
    places = np.arange(len(rows))
    if processes.count() > len(rows):  # somebody would have nothing to answer
        return answer(network, encode(network, views, rows), views.present_NV[rows])
    mine = processes.mine(rows)
    answers = answer(network, encode(network, views, mine), views.present_NV[mine])
    return processes.together(answers, processes.mine(places), len(rows))


def _forced(network: Network, views: Views, targets: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """(N, K) figures of some rows while their targets are given; several processes compute a part each."""
    places = np.arange(len(rows))
    spread = processes.count() <= len(rows)
    mine = processes.mine(places) if spread else places
    found = force(network, encode(network, views, rows[mine]), {key: value[rows[mine]] for key, value in targets.items()})
    return processes.together(found, mine, len(rows)) if spread else found


def _optimiser(network: Network, options: Training) -> torch.optim.Optimizer:
    """Weight decay on matrices only: not on norms, shifts, or learned vectors of views."""
    matrices, rest = network.matrices()
    groups = [{"params": matrices, "weight_decay": options.decay}, {"params": rest, "weight_decay": 0.0}]
    if options.encoder_rate is not None:
        inside = {id(parameter) for parameter in network.encoders.parameters()}
        groups = [
            {**group, "params": [p for p in group["params"] if (id(p) in inside) == own], "lr": rate}
            for own, rate in ((False, options.rate), (True, options.encoder_rate)) for group in groups
        ]
    groups, rate = [group for group in groups if group["params"]], options.rate
    make = {
        "adamw": lambda: torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True),
        "adam": lambda: torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.98), fused=True),
        "nadam": lambda: torch.optim.NAdam(groups, lr=rate, betas=(0.9, 0.98), decoupled_weight_decay=True),
        "rmsprop": lambda: torch.optim.RMSprop(groups, lr=rate),
        "adagrad": lambda: torch.optim.Adagrad(groups, lr=rate),
        "sgd": lambda: torch.optim.SGD(groups, lr=rate, momentum=0.9),
        "gd": lambda: torch.optim.SGD(groups, lr=rate),
    }
    return make[options.optimiser]()


def _batches(rows: np.ndarray, size: int, order: torch.Generator) -> torch.utils.data.DataLoader:
    """Shuffled batches of rows; a last batch of one record joins none and is kept."""
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.as_tensor(rows)), batch_size=size, shuffle=True, generator=order,
        collate_fn=lambda items: torch.stack([item[0] for item in items]),
    )


def _skip(history: History, rows: np.ndarray, names: Callable[[int], str]) -> None:
    named = ", ".join(names(int(row)) for row in rows[:5])
    history.skipped.append(named)
    if len(history.skipped) >= BAD_BATCHES:
        raise LossNotFinite(
            f"the loss was not finite in {len(history.skipped)} batches, last for {named}; "
            "look at these records, or lower train.rate"
        )

"""Tuning: pretrained towers move too, from the frozen solution on, and never end below it on validation.

Linear probing, then fine-tuning (Kumar et al. 2022, arXiv:2202.10054): the network has been trained on
the towers' frozen outputs; now copies of the towers are trained with it, with rates of their own. What
stood between the frozen outputs and the projections (standardising, main axes) stays as it is.

N records, V views.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..contracts import Encoder, Task
from ..data.rows import only_of
from ..errors import BadOption, LossNotFinite, need
from ..metrics import Classes, Yardstick
from ..network import Network
from ..registry import suggest
from .beside import Aim, each, one_or_each, unit
from .blend import ALL, Share, chosen, losses, regressions
from .course import History
from .features import Prepared, Views
from .loop import train
from .resume import Checkpoints
from .rivals import Rivals
from .training import Training, Tuning

#: Put on top of the validation loss of an epoch that is no better than the frozen solution.
WORSE = 1e3
#: Highest rate of a tower's last layer where the user names none.
RATES = {"transformer": 3e-5, "convolution": 3e-4, "decoder": 1e-4, "factors": 1e-3}


def to_tune(wanted: str | Sequence[str] | None, encoders: Mapping[str, Encoder]) -> list[str]:
    """The views whose towers are tuned, sorted.

    Args:
        wanted: "all", names with commas, or a list of names; None tunes none.

    Raises:
        BadOption: an unknown view, or one without a tower.

    >>> to_tune(None, {})
    []
    """
    if not wanted:
        return []
    towers = sorted(view for view, encoder in encoders.items() if encoder.tower)
    if wanted == "all":
        if not towers:
            raise BadOption(
                "there is nothing to tune: no view has a tower; give one (--encoder VIEW=image.pretrained:TOWER), "
                "or leave --tune away"
            )
        return towers
    names = [name.strip() for name in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in encoders:
            raise BadOption(f"tune names '{name}', which is no view of the table; {_tunable(name, towers)}")
        if name not in towers:
            encoder = encoders[name]
            why = (
                "which has no network to tune: give the view a tower, or leave it out of --tune" if encoder.frozen
                else "which is trained with the network anyway: leave it out of --tune"
            )
            raise BadOption(f"tune names '{name}', whose encoder is {encoder.name or type(encoder).__name__}, {why}")
    return sorted(set(names))


def _tunable(name: str, towers: list[str]) -> str:
    """What may be named in its place."""
    return suggest(name, [*towers, "all"]) if towers else "there is nothing to tune: no view has a tower; leave --tune away"


# --- what a solution is worth --------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """A solution on the validation records, with its own share of regressions.

    Attributes:
        loss: mean loss of the records as they are.
        accuracy: of the same; None where answers are no classes.
        subsets: log loss, mean over the judged subsets of views.
        share: of the regressions; of several targets {target: share}.
        losses_N: log loss of each record.
    """

    loss: float
    accuracy: float | None
    subsets: float
    share: Any
    losses_N: np.ndarray = field(repr=False, compare=False)

    def over(self, other: Verdict) -> bool:
        """Better on the records as they are, and no worse where views are missing."""
        return self.loss < other.loss and self.subsets <= other.subsets

    def near(self, other: Verdict) -> bool:
        """Not worse than the other by more than the standard error of their paired difference."""
        apart_N = self.losses_N - other.losses_N
        return bool(apart_N.mean() <= apart_N.std() / max(1, len(apart_N)) ** 0.5)

    def figures(self) -> dict[str, Any]:
        """As JSON."""
        each = isinstance(self.share, dict)
        share = {name: asdict(one) for name, one in self.share.items()} if each else asdict(self.share)
        return {"loss": self.loss, "accuracy": self.accuracy, "subsets": self.subsets, "share": share}

    @property
    def weight(self) -> float:
        """The regressions' share of an answer, the largest of several targets."""
        return max(one.weight for one in self.share.values()) if isinstance(self.share, dict) else self.share.weight


def weigh(
    network: Callable[[np.ndarray], np.ndarray], rivals: Rivals, features: Mapping[str, Any], present_NV: np.ndarray,
    labels: np.ndarray, *, given: float | None = None, yardstick: Yardstick | None = None,
) -> Verdict:
    """The verdict on a network, its share of regressions chosen for it, or as given.

    Args:
        network: mask (N, V) -> (N, C).
        features: {view: (N, P)} of the validation records, as the rivals read them.
        labels: (N, ...) targets as the yardstick takes them; a class unseen in training is left out of the losses and
            counts as wrong.
        given: share of the answer that the regressions are to have.
        yardstick: says what the loss is: log loss of classes if None.
    """
    yardstick = yardstick or Classes()
    words = yardstick.kind == "words"  # whose share is chosen at the end
    means = {} if words else losses(network, rivals, features, present_NV, labels, yardstick)
    share = Share(0.0) if words else chosen(means) if given is None else Share(float(given))
    mixed = network(present_NV)
    if share.weight:
        mixed = (1 - share.weight) * mixed + share.weight * regressions(rivals, features, present_NV, share.kind)
    known = yardstick.known(labels)
    losses_N = yardstick.losses(yardstick.own(mixed[known], labels[known]), labels[known])
    loss = float(losses_N.mean()) if known.any() else 0.0
    subsets = float(np.interp(share.weight, ALL[: len(means[share.kind])], means[share.kind])) if means else loss
    accuracy = float((yardstick.said(mixed) == labels).mean()) if yardstick.kind == "classes" else None
    return Verdict(loss, accuracy, subsets, share, losses_N)


def weigh_each(
    task: Task, aims: Sequence[Aim], network: Callable[[np.ndarray], np.ndarray], rivals: Any, plain: Mapping[str, Any],
    present_NV: np.ndarray, rows: np.ndarray, *, given: float | None = None,
) -> Verdict:
    """The verdict on one target, or on several together.

    Losses of several are of different units: each is divided by the loss of its prior on the same records, and the
    mean is weighted as in training.

    Args:
        network: mask of the rows -> answers, all targets beside each other.
        plain, present_NV: of all records.
        rows: that are judged.
    """
    features, present = only_of(plain, rows), present_NV[rows]
    verdicts = [
        weigh(
            lambda mask, part=aim.part: part.among(network(mask)), mine, features, present, aim.judged[rows],
            given=given, yardstick=aim.yardstick,
        )
        for aim, (_, mine) in zip(aims, each(task, rivals), strict=True)
    ]
    if len(verdicts) == 1:
        return verdicts[0]
    scales, total = [unit(aim, rows) for aim in aims], sum(aim.part.weight for aim in aims)
    shares = np.array([aim.part.weight / scale for aim, scale in zip(aims, scales, strict=True)])
    above, below = np.zeros(len(rows)), np.zeros(len(rows))
    for aim, verdict, share in zip(aims, verdicts, shares, strict=True):
        known = aim.yardstick.known(aim.judged[rows])
        above[known] += share * verdict.losses_N
        below[known] += aim.part.weight
    return Verdict(
        float(shares @ [one.loss for one in verdicts] / total), None, float(shares @ [one.subsets for one in verdicts] / total),
        one_or_each(task, [one.share for one in verdicts]), above[below > 0] / below[below > 0],
    )


@dataclass
class Tuned:
    """What came of tuning.

    Attributes:
        views: features and prepared arrays as the kept solution reads them.
        verdict: of the kept solution.
        facts: JSON: views, options, rates, verdicts of the frozen solution and of each epoch, which of them was kept.
        sentence: the same in short, for the user.
    """

    views: Views
    verdict: Verdict
    facts: dict[str, Any]
    sentence: str


def tune(
    network: Network, views: Views, prepared: Mapping[str, Prepared], targets: dict[str, np.ndarray], rows: np.ndarray,
    valid_rows: np.ndarray, *, judge: Callable[..., Verdict], options: Tuning, training: Training, seed: int = 0,
    names: Callable[[int], str] = str, log: Callable[[dict[str, float]], None] = lambda epoch: None,
    kept: Checkpoints | None = None, left: Callable[[], float] | None = None,
) -> Tuned:
    """Tune the towers of some views in place; the frozen solution comes back, bit for bit, if none is better.

    The regressions read the frozen towers, so with a share of them in the answer a prediction runs each
    tuned view's tower twice. They get none where validation cannot tell the answers apart: where the
    loss without them is higher by less than the standard error of the paired difference.

    Args:
        network: trained on the frozen features.
        views: what it was trained on.
        prepared: {view to be tuned: its prepared arrays}.
        judge: what the network as it stands is worth on the validation records, read from the views it is given;
            with a second argument, at that share of regressions.
        training: settings of the network.
        names: row -> how the user knows it.
        log: called after each epoch.
        kept, left: checkpoints and time, as for ``train``.

    Raises:
        MissingExtra: factors are asked for and peft is not installed.
        BadOption: there are no validation records to compare on.
    """
    if not len(valid_rows):
        raise BadOption("tuning is compared with the frozen solution on validation records, and there are none; give some")
    started, device = time.process_time(), next(network.members.parameters()).device
    encoders = {view: network.encoders.encoders[view] for view in prepared}
    live = views.live(prepared)
    frozen, frozen_state = judge(views), _copy(network)

    def measure(answers: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        verdict = judge(live)
        worse = 0.0 if verdict.over(frozen) else WORSE  # the loop keeps the epoch with the least loss
        share = verdict.weight
        accuracy = {} if verdict.accuracy is None else {"accuracy": verdict.accuracy}
        return {"loss": verdict.loss + worse, **accuracy, "subsets": verdict.subsets, "share": share}

    history = History()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rates = {view: _begin(encoder, options) for view, encoder in encoders.items()}
        network.to(device)
        with _checkpointed(encoders if options.checkpointing else {}), suppress(LossNotFinite):
            history = train(
                network, live, targets, rows, valid_rows, options=options.loop(training), seed=seed, names=names,
                log=lambda figures: log(_told(figures)), measure=measure,
                optimiser=lambda network: optimiser(network, rates, options, training), kept=kept, left=left,
            )
    epochs = [
        {"train_loss" if key == "loss" else key.removeprefix("valid_"): value for key, value in _told(figures).items()}
        for figures in history.epochs
    ]
    better = any(figures["valid_loss"] < WORSE for figures in history.epochs)
    for encoder in encoders.values():
        _end(encoder, keep=better, options=options)
    network.to(device).eval()
    tuned = judge(live) if better else frozen
    taken = tuned.over(frozen)  # once more: merging factors may have moved the last bits
    if taken and tuned.weight and training.regressions is None:
        bare = judge(live, 0.0)
        tuned = bare if bare.near(tuned) and bare.over(frozen) else tuned
    if not taken:
        for encoder in encoders.values():
            encoder.freeze()
        network.load_state_dict(frozen_state)
        network.eval()
    best = min(epochs, key=lambda epoch: epoch["loss"] + (0 if epoch["better"] else WORSE))["epoch"] if taken else 0
    facts = {
        "views": sorted(encoders), "options": vars(options), "rates": rates, "kept": "tuned" if taken else "frozen",
        "epoch": best, "frozen": frozen.figures(), "tuned": tuned.figures() if taken else None, "epochs": epochs,
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    return Tuned(live if taken else views, tuned if taken else frozen, facts, _sentence(facts, frozen, tuned, taken))


def _sentence(facts: Mapping[str, Any], frozen: Verdict, tuned: Verdict, kept: bool) -> str:
    which = ", ".join(f"'{view}'" for view in facts["views"])
    if kept:
        twice = "; the regressions read the frozen towers, so at prediction each runs twice" if tuned.weight else ""
        if tuned.accuracy is None:
            return f"tuned {which}: validation loss {frozen.loss:.4g} -> {tuned.loss:.4g}{twice}"
        return (
            f"tuned {which}: validation log loss {frozen.loss:.3f} -> {tuned.loss:.3f}, "
            f"accuracy {frozen.accuracy:.3f} -> {tuned.accuracy:.3f}{twice}"
        )
    tried = f"loss {min(epoch['loss'] for epoch in facts['epochs']):.3f}" if facts["epochs"] else "the loss was not finite"
    return (
        f"tuning {which} did not help on validation ({tried}, frozen {frozen.loss:.3f}): the frozen solution is kept"
    )


def _told(figures: Mapping[str, float]) -> dict[str, Any]:
    """Figures of an epoch with its own validation loss, and whether it is better than the frozen solution."""
    better = figures["valid_loss"] < WORSE
    return {**figures, "valid_loss": figures["valid_loss"] - (0.0 if better else WORSE), "better": better}


def _copy(network: Network) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def _begin(encoder: Any, options: Tuning) -> float:
    """Give the encoder a network of its own that training moves; returns its highest rate."""
    encoder.unfreeze()
    kind = "convolution" if convolutional(encoder.live) else "transformer"
    encoder.augment = options.augment
    encoder.computes = precision(options.precision, kind)
    if options.lora:
        add_factors(encoder.live, options.lora)
        kind = "factors"
    return RATES[kind] if options.rate is None else float(options.rate)


def _end(encoder: Any, *, keep: bool, options: Tuning) -> None:
    encoder.augment, encoder.computes = False, torch.float32
    if not keep:
        encoder.freeze()
    elif options.lora:
        encoder.take_factors(factors(encoder.live))
    else:
        encoder.settle()


def precision(wanted: str, kind: str) -> torch.dtype:
    """The type to compute in while training.

    On a CPU with instructions for bfloat16 a transformer's step takes 0.6 of the time; a convolutional
    network's takes longer, for its depthwise gradients have no such kernel. Answers are always float32.

    Args:
        wanted: "float32", "bfloat16" or "auto".
        kind: "transformer" or "convolution".
    """
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if torch.cuda.is_available():
        gains = torch.cuda.is_bf16_supported()
    else:
        gains = kind == "transformer" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if gains else torch.float32


# --- layers and rates ----------------------------------------------------------------------------


def convolutional(module: nn.Module) -> bool:
    """Most of the weights are those of convolutions.

    >>> convolutional(nn.Conv2d(3, 8, 3)), convolutional(nn.Linear(3, 8))
    (True, False)
    """
    inside = sum(p.numel() for part in module.modules() if isinstance(part, nn.Conv2d) for p in part.parameters())
    return 2 * inside > sum(p.numel() for p in module.parameters())


def layers(module: nn.Module) -> tuple[str, Sequence[nn.Module]]:
    """Name and items of the list of layers: the outermost ``ModuleList`` that holds most of the weights.

    >>> layers(nn.Linear(2, 2))
    ('', [])
    """
    lists = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.ModuleList) and len(part) > 1]
    if not lists:
        return "", []
    return max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()))


def depths(module: nn.Module) -> dict[str, int]:
    """{parameter: layers above it}: 0 for the last layer and what follows it, most for what comes before the first."""
    name, items = layers(module)
    steps, below = {}, len(items)
    for key, _ in module.named_parameters():
        if name and key.startswith(name + "."):
            below = 0
            steps[key] = len(items) - 1 - int(key[len(name) + 1 :].split(".")[0])
        else:
            steps[key] = below
    return steps


def optimiser(
    network: Network, rates: Mapping[str, float], options: Tuning, training: Training
) -> torch.optim.Optimizer:
    """AdamW with a group for each rate: layer by layer for the towers, one for the rest.

    Args:
        rates: {view: highest rate of its tower}.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}

    def add(parameter: nn.Parameter, rate: float, decay: float) -> None:
        if parameter.requires_grad:
            groups.setdefault((rate, decay), []).append(parameter)

    for view, encoder in network.encoders.encoders.items():
        steps = depths(encoder.live) if view in rates else {}
        for name, parameter in (encoder.live if view in rates else encoder).named_parameters():
            matrix = parameter.dim() > 1
            if view in rates:
                add(parameter, rates[view] * options.decay_by_layer ** steps[name], options.decay if matrix else 0.0)
            else:
                add(parameter, options.rest, training.decay if matrix else 0.0)
    for name, parameter in network.members.named_parameters():
        matrix = network.members.ranks[name] > 1 and "empty" not in name
        add(parameter, options.rest, training.decay if matrix else 0.0)
    return torch.optim.AdamW(
        [{"params": part, "lr": rate, "weight_decay": decay} for (rate, decay), part in groups.items()],
        betas=(0.9, 0.98), fused=True,
    )


@contextmanager
def _checkpointed(encoders: Mapping[str, Any]) -> Iterator[None]:
    """The towers' layers keep only their input; what they hold is computed again for the gradient."""
    blocks = [block for encoder in encoders.values() for block in layers(encoder.live)[1]]
    for block in blocks:
        block.forward = partial(_again, block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own shows again


def _again(forward: Callable[..., Any], *args: Any, **more: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **more)
    return checkpoint(forward, *args, use_reentrant=False, **more)


# --- low-rank factors ----------------------------------------------------------------------------


def add_factors(module: nn.Module, rank: int) -> list[str]:
    """Put trainable low-rank factors beside a network's weights and hold everything else still.

    In a transformer every linear map of its layers gets factors; in a convolutional network, every 1x1
    convolution. Scale 2, as alpha = 2 * rank.

    Returns:
        Names of the parts that got factors.

    Raises:
        MissingExtra: peft is not installed.
    """
    peft = need("peft", "lora")
    if convolutional(module):
        _plain_convolutions(module)
        names = [n for n, p in module.named_modules() if type(p) is nn.Conv2d and p.kernel_size == (1, 1) and p.groups == 1]
    else:
        prefix = layers(module)[0]
        names = [n for n, p in module.named_modules() if isinstance(p, nn.Linear) and n.startswith(prefix)]
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names)
    module.requires_grad_(False)
    peft.inject_adapter_in_model(config, module)
    return names


def factors(module: nn.Module) -> dict[str, np.ndarray]:
    """{"NAME.A": (R, in), "NAME.B": (out, R)} of a network that ``add_factors`` changed; the scale is put into B."""
    found = {}
    for name, part in module.named_modules():
        if hasattr(part, "lora_A") and len(part.lora_A):
            a, b = part.lora_A["default"].weight, part.lora_B["default"].weight * part.scaling["default"]
            found[f"{name}.A"], found[f"{name}.B"] = (x.detach().flatten(1).cpu().numpy().copy() for x in (a, b))
    return found


def _plain_convolutions(module: nn.Module) -> None:
    """1x1 convolutions of a class of their own (with padding that 1x1 never needs) as torch's."""
    for name, part in list(module.named_modules()):
        if isinstance(part, nn.Conv2d) and type(part) is not nn.Conv2d and part.kernel_size == (1, 1) and part.groups == 1:
            plain = nn.Conv2d(part.in_channels, part.out_channels, 1, part.stride, bias=part.bias is not None)
            plain.weight, plain.bias = part.weight, part.bias
            module.get_submodule(name.rpartition(".")[0]).__setattr__(name.rpartition(".")[2], plain)

"""The training loop. N records, V views, M members."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from polysense.errors import BadOption, LossNotFinite
from polysense.layers import Condition
from polysense.learn.features import Views, answer, encode
from polysense.learn.course import Course, Pace, Schedule, Snapshot, clip, soup
from polysense.learn.loop import Training, _optimiser, train
from polysense.learn.training import OPTIMISERS, SCHEDULES
from polysense.contracts import Encoder
from polysense.network import Encoders, Network
from polysense.registry import fusions, tasks
from polysense.tokens import Tokens

N = 24
WORDS = ["x", "y", "z"] * (N // 3)


class Frozen(Encoder):
    frozen, dim = True, 4


def views(seed: int = 0) -> Views:
    """Two views of four numbers; the class shows in both, each is absent in some records."""
    rng = np.random.default_rng(seed)
    shown = np.eye(3, 4)[np.arange(N) % 3]
    present = np.ones((N, 2), bool)
    present[::5, 0] = present[::7, 1] = False
    features = {view: (shown + 0.3 * rng.normal(size=(N, 4))).astype(np.float32) for view in "ab"}
    return Views(["a", "b"], present, features)


def network(options: Training, seed: int = 0, **fusion) -> Network:
    torch.manual_seed(seed)
    task = tasks.make("classify")
    task.fit(WORDS)
    conditions = {view: Condition().fit(torch.randn(5, 4)) for view in "ab"}
    return Network(
        Encoders({view: Frozen() for view in "ab"}, conditions), lambda v, d: fusions.make("concat", v, d, **fusion), task,
        **options.network(),
    )


def small(**options) -> Training:
    return Training(**{"epochs": 3, "batch": 8, "members": 2, "dim": 8, "rate": 1e-2} | options)


ROWS, VALID = np.arange(0, 18), np.arange(18, N)
TARGETS = {"label": np.arange(N) % 3}


def run(options: Training | None = None, seed: int = 0, data: Views | None = None, rows=ROWS, fusion=None, **more):
    options = options or small()
    made = network(options, **fusion or {})
    history = train(made, data or views(), TARGETS, rows, VALID, options=options, seed=seed, **more)
    return made, history


def weights(made: Network) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in made.parameters()])


# learning -----------------------------------------------------------------------------------------


#: Optimiser -> a rate at which twelve passes over 18 records suffice.
QUICK = {"adamw": 1e-2, "adam": 1e-2, "nadam": 1e-2, "rmsprop": 3e-3, "adagrad": 0.05, "sgd": 0.05, "gd": 0.5}


@pytest.mark.parametrize(("optimiser", "schedule"), [
    *((optimiser, "one-cycle") for optimiser in OPTIMISERS), *(("adamw", schedule) for schedule in SCHEDULES[1:]),
    ("sgd", "constant"),
])
def test_it_learns(optimiser, schedule):
    """The class stands in the features: twelve passes get nearly all training records right."""
    more = {"epochs": 60, "clip": 0.0} if optimiser == "gd" else {"epochs": 12}
    options = small(optimiser=optimiser, schedule=schedule, rate=QUICK[optimiser], dim=16, decay=0.0, **more)
    made, history = run(options, measure=lambda answers, rows: {"loss": 1.0})
    data = views()
    said = answer(made, encode(made, data), data.present_NV).argmax(1)
    assert (said == TARGETS["label"]).mean() > 0.85
    assert history.epochs[-1]["loss"] < history.epochs[0]["loss"]
    assert [epoch["epoch"] for epoch in history.epochs] == list(range(1, options.epochs + 1))


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    first, again, other = run()[0], run()[0], run(seed=1)[0]
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_training_leaves_the_callers_random_state_alone():
    before = torch.random.get_rng_state()
    made = network(small())
    torch.random.set_rng_state(before)
    train(made, views(), TARGETS, ROWS, VALID, options=small())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_network_is_left_in_evaluation_mode():
    made, _ = run()
    assert not made.training and not made.members.skeleton.training


def test_absent_slots_are_never_read_in_training():
    """1e4 in every absent slot: the same weights to the bit."""
    clean, spoilt = views(), views()
    for i, view in enumerate("ab"):
        spoilt.frozen[view][~spoilt.present_NV[:, i]] = 1e4
    assert torch.equal(weights(run(data=clean)[0]), weights(run(data=spoilt)[0]))


def test_rows_outside_the_training_set_are_never_read():
    spoilt = views()
    for view in "ab":
        spoilt.frozen[view][18:] = np.nan
    assert torch.equal(weights(run()[0]), weights(run(data=spoilt)[0]))


def test_a_last_batch_of_one_record_and_one_record_alone():
    assert torch.isfinite(weights(run(rows=np.arange(9))[0])).all()
    assert torch.isfinite(weights(run(rows=np.arange(1))[0])).all()


def test_every_record_is_seen_once_a_pass():
    seen: list[int] = []

    class Watched(Views):
        def batch(self, rows, device="cpu"):
            seen.extend(rows.tolist())
            return super().batch(rows, device)

    data = views()
    run(small(epochs=2), data=Watched(data.names, data.present_NV, data.frozen))
    assert sorted(seen[:18]) == sorted(seen[18:]) == list(range(18))
    assert seen[:18] != seen[18:], "the order is drawn anew for each pass"
    first = seen.copy()
    seen.clear()
    run(small(epochs=2), data=Watched(data.names, data.present_NV, data.frozen), seed=1)
    assert seen[:18] != first[:18], "and from the seed"


def test_validation_figures_and_the_log():
    said: list[dict] = []
    _, history = run(log=said.append, measure=lambda answers, rows: {"loss": 1.0, "size": len(rows)})
    assert said == history.epochs
    assert all(epoch["valid_loss"] == 1.0 and epoch["valid_size"] == 6 for epoch in said)


# early stopping -----------------------------------------------------------------------------------


def test_patience_restores_the_best():
    """Validation losses 3, 1, 2, 2, ...: after two epochs without a better one it stops, with the weights of the second."""
    script = iter([3.0, 1.0, 2.0, 2.0, 0.0, 0.0])
    kept: list[torch.Tensor] = []
    options = small(epochs=6, patience=2)
    made = network(options)
    history = train(
        made, views(), TARGETS, ROWS, VALID, options=options, log=lambda epoch: kept.append(weights(made).clone()),
        measure=lambda answers, rows: {"loss": next(script)},
    )
    assert len(history.epochs) == 4
    assert torch.equal(weights(made), kept[1]) and not torch.equal(weights(made), kept[3])


def test_without_patience_it_trains_to_the_end():
    script = iter([3.0, 1.0, 2.0, 2.0])
    _, history = run(small(epochs=4), measure=lambda answers, rows: {"loss": next(script)})
    assert len(history.epochs) == 4


def test_patience_restores_the_best_also_at_the_end():
    script = iter([3.0, 1.0, 2.0])
    kept: list[torch.Tensor] = []
    options = small(epochs=3, patience=5)
    made = network(options)
    train(
        made, views(), TARGETS, ROWS, VALID, options=options, log=lambda epoch: kept.append(weights(made).clone()),
        measure=lambda answers, rows: {"loss": next(script)},
    )
    assert torch.equal(weights(made), kept[1])


# the best epochs averaged -------------------------------------------------------------------------


def snapshots(*pairs: tuple[float, float]) -> tuple[Network, list[Snapshot]]:
    """A network, and states of it with all its floats at one value: (validation loss, value)."""
    made = network(small())
    return made, [
        Snapshot(loss, epoch, {
            key: torch.full_like(old, value) if old.is_floating_point() else old for key, old in made.state_dict().items()
        })
        for epoch, (loss, value) in enumerate(sorted(pairs), 1)
    ]


def test_soup_by_hand():
    """States of value 0, 3 and 6. Validation likes values near 2: (0 + 3) / 2 = 1.5 is better than 0 and joins;
    (0 + 3 + 6) / 3 = 3 is worse than 1.5 and does not."""
    made, best = snapshots((2.0, 0.0), (2.5, 3.0), (3.0, 6.0))
    judge = lambda: abs(weights(made)[0].item() - 2.0)
    mean, epochs = soup(made, best, judge)
    assert epochs == [1, 2] and all((value == 1.5).all() for value in mean.values() if value.is_floating_point())


def test_soup_is_never_worse_than_the_best():
    made, best = snapshots((0.5, 1.0), (0.6, 9.0))
    mean, epochs = soup(made, best, lambda: 0.7)
    assert epochs == [1] and mean is best[0].weights


@pytest.mark.parametrize("average", [1, 2, 3])
def test_average_keeps_the_best_epochs_and_says_which(average):
    """Validation losses 3, 1, 2, 2.5 of four epochs; every mean is liked."""
    script = iter([3.0, 1.0, 2.0, 2.5, *[0.0] * 9])
    kept: list[torch.Tensor] = []
    options = small(epochs=4, average=average)
    made = network(options)
    history = train(
        made, views(), TARGETS, ROWS, VALID, options=options, log=lambda epoch: kept.append(weights(made).clone()),
        measure=lambda answers, rows: {"loss": next(script)},
    )
    chosen = [1, 2, 3][:average]
    torch.testing.assert_close(weights(made), torch.stack([kept[i] for i in chosen]).mean(0))
    said = {1: [], 2: ["the weights of epochs 2, 3 are averaged"], 3: ["the weights of epochs 2, 3, 4 are averaged"]}
    assert history.remarks == said[average]


# L1 -----------------------------------------------------------------------------------------------


def test_l1_by_hand():
    """One step of plain descent at rate r: a matrix moves by r * l1 * sign(w) more than without, everything else as without."""
    options = {"epochs": 1, "batch": 18, "optimiser": "sgd", "schedule": "constant", "warmup": 0.0, "decay": 0.0, "clip": 0.0}
    start = dict(network(small()).named_parameters())
    plain, bent = (dict(run(small(l1=l1, rate=0.1, **options))[0].named_parameters()) for l1 in (0.0, 0.01))
    made = network(small())
    matrices = {id(parameter) for parameter in made.matrices()[0]}
    names = {name for name, p in made.named_parameters() if id(p) in matrices}
    assert names and len(names) < len(start)
    for name, first in start.items():
        pull = 0.1 * 0.01 * first.sign() if name in names else torch.zeros_like(first)
        torch.testing.assert_close(bent[name], plain[name] - pull, atol=1e-7, rtol=1e-5)


# several batches a step ---------------------------------------------------------------------------

SURE = {"dropout": 0.0}  # of the fusion
STILL = {"dropout": 0.0, "input_dropout": 0.0, "drop": 0.0, "epochs": 2, "decay": 0.1}


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize(("batch", "accumulate"), [(6, 3), (5, 2), (7, 9)])
def test_accumulated_batches_are_one_large_batch(optimiser, batch, accumulate):
    """Without dropout; also where the last batch of a group is a smaller one, and with L1."""
    small_steps, _ = run(small(**STILL, batch=batch, accumulate=accumulate, l1=1e-3, optimiser=optimiser), fusion=SURE)
    large_steps, _ = run(small(**STILL, batch=batch * accumulate, l1=1e-3, optimiser=optimiser), fusion=SURE)
    # sums in another order, which AdamW's square roots of tiny numbers magnify: how far depends on the processor
    torch.testing.assert_close(weights(small_steps), weights(large_steps), atol=1e-5, rtol=1e-6)
    assert (weights(small_steps) - weights(network(small()))).abs().max() > 1e-3


def test_plain_gradient_descent_makes_one_step_an_epoch_by_hand():
    """w <- w - rate * mean gradient over all 18 records, whatever the size of the batches; the rate is that of step 2 of 3."""
    options = small(**STILL | {"epochs": 3, "decay": 0.0}, optimiser="gd", batch=4, schedule="linear", warmup=0.0, rate=0.1, clip=0)
    made, history = run(options, fusion=SURE)
    assert [epoch["rate"] for epoch in history.epochs] == pytest.approx([0.1 * 2 / 3, 0.1 / 3, 0.1 * 1e-5])
    mine, data = network(options, **SURE), views()
    mine.train()
    for rate in (0.1, 0.1 * 2 / 3, 0.1 / 3):
        mine.zero_grad()
        mine(data.batch(ROWS), {"label": torch.as_tensor(TARGETS["label"][ROWS])}).mean(1).sum().backward()
        with torch.no_grad():
            for parameter in mine.parameters():
                parameter -= 0 if parameter.grad is None else rate * parameter.grad
    torch.testing.assert_close(weights(made), weights(mine), atol=1e-6, rtol=1e-6)


def test_a_batch_that_is_skipped_leaves_the_mean_of_the_others():
    """Record 7 holds NaN; the group of three batches then steps by the mean gradient of the two whole ones."""
    data = views()
    data.frozen["a"][7] = np.nan
    options = small(**STILL | {"epochs": 1, "decay": 0.0}, optimiser="gd", batch=6, schedule="constant", warmup=0.0, rate=0.1, clip=0)
    seen: list = []

    class Watched(Views):
        def batch(self, rows, device="cpu"):
            seen.append(rows)
            return super().batch(rows, device)

    watched = Watched(data.names, data.present_NV, data.frozen)
    made, history = run(options, data=watched, names=lambda row: f"record {row}", fusion=SURE)
    assert history.skipped == ["record 7"]
    rows = np.concatenate([batch for batch in seen[:3] if 7 not in batch])
    mine = network(options, **SURE)
    mine.train()
    mine(data.batch(rows), {"label": torch.as_tensor(TARGETS["label"][rows])}).mean(1).sum().backward()
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter -= 0 if parameter.grad is None else 0.1 * parameter.grad
    torch.testing.assert_close(weights(made), weights(mine), atol=1e-6, rtol=1e-6)


def test_time_that_ends_within_a_group_still_makes_its_step():
    data, left = clock(6.0)  # two batches
    start = weights(network(small()))
    made, _ = run(small(epochs=9, optimiser="gd", batch=6, rate=0.1, warmup=0.0), data=data, left=left)
    assert not torch.equal(weights(made), start)


def test_a_gradient_that_is_not_finite_blames_its_whole_group():
    made = network(small())
    optimiser = torch.optim.SGD(made.parameters(), lr=1.0)
    options = small(accumulate=2, batch=2)
    course = Course(made, optimiser, Schedule(optimiser, options, 3), torch.Generator(), options, Pace(None), 6)
    before = weights(made).clone()
    losses = lambda: (next(p for p in made.members.parameters() if p.numel()).flatten()[:2] * 0).sqrt()[None]
    course.batch = 1
    assert course.step(losses, lambda loss: loss.backward(), np.array([5, 3])) is None
    course.batch = 2
    assert course.step(losses, lambda loss: loss.backward(), np.array([1, 4])).tolist() == [5, 3, 1, 4]
    assert torch.equal(weights(made), before) and course.schedule.done == 0 and course.loss == 0


# the mean of the weights --------------------------------------------------------------------------


def test_the_running_mean_of_the_weights_by_hand():
    """Three steps, the mean being young: it keeps 2/11, 3/12, then 0.3 of itself, as ema = 0.3 < 4/13. What is
    validated after each epoch, and kept in the end, is the mean."""
    options = small(batch=18, epochs=3, ema=0.3)
    start = weights(network(options))
    own: list[torch.Tensor] = []
    judged: list[torch.Tensor] = []
    plain = network(small(batch=18, epochs=3))
    train(plain, views(), TARGETS, ROWS, VALID, options=small(batch=18, epochs=3), log=lambda e: own.append(weights(plain).clone()))
    made = network(options)
    measure = lambda answers, rows: judged.append(weights(made).clone()) or {"loss": 1.0}
    train(made, views(), TARGETS, ROWS, VALID, options=options, measure=measure)
    mean = start
    for keep, step, seen in zip((2 / 11, 3 / 12, 0.3), own, judged, strict=True):
        mean = keep * mean + (1 - keep) * step
        torch.testing.assert_close(seen, mean, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(weights(made), mean, atol=1e-6, rtol=1e-5)


def test_with_patience_the_best_mean_is_kept():
    script = iter([3.0, 1.0, 2.0, 2.0])
    judged: list[torch.Tensor] = []
    options = small(epochs=4, patience=4, ema=0.9)
    made = network(options)
    train(
        made, views(), TARGETS, ROWS, VALID, options=options,
        measure=lambda answers, rows: judged.append(weights(made).clone()) or {"loss": next(script)},
    )
    assert torch.equal(weights(made), judged[1])


# time limit ---------------------------------------------------------------------------------------


def clock(seconds: float):
    """Seconds left, falling by ``seconds`` with every batch."""
    class Watched(Views):
        def batch(self, rows, device="cpu"):
            if not torch.is_inference_mode_enabled():
                Watched.left -= seconds
            return super().batch(rows, device)

    Watched.left = 10.0
    data = views()
    return Watched(data.names, data.present_NV, data.frozen), lambda: Watched.left


def test_training_stops_in_the_batch_in_which_time_runs_out():
    """10 seconds, 1 for each batch of 8 of 18 records: ten of the 3 * 100 batches, ended in the fourth epoch; and the rate
    has come down by then, as it would have at the end."""
    data, left = clock(1.0)
    made, history = run(small(epochs=100), data=data, left=left)
    assert left() == 0.0 and len(history.epochs) == 4
    assert history.remarks == [
        "the time limit ended training in epoch 4 of 100; the model is what was learned until then"
    ]
    assert history.epochs[-1]["rate"] < 0.05 * 1e-2 and not made.training


def test_time_that_suffices_changes_nothing():
    data, left = clock(0.1)
    limited, history = run(small(), data=data, left=left)
    assert torch.equal(weights(limited), weights(run(small())[0])) and not history.remarks


def test_the_schedule_is_shortened_by_hand():
    """Ten steps planned, none risen. After the first, time for four more: the nine left are spread over four and this one,
    so the place moves by 9 / 5 from 1 on, instead of by 1."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = Schedule(optimiser, Training(schedule="cosine", warmup=0.0), 10)
    schedule.step()
    assert schedule.place == 1.0
    for affordable in (4, 3, 2, 1, 0):
        schedule.step(affordable)
    assert schedule.place == pytest.approx(10.0) and schedule.rate == pytest.approx(1e-5)


# losses that are not finite -----------------------------------------------------------------------


def test_a_record_that_poisons_the_loss_is_named_and_stops_training():
    """Record 7 holds NaN: its batch is skipped in each pass, and the third time training stops."""
    data = views()
    data.frozen["a"][7] = np.nan
    with pytest.raises(LossNotFinite, match=r"not finite in 3 batches, last for record 7; look at these records, or lower train.rate"):
        run(small(epochs=3), data=data, names=lambda row: f"record {row}")


def test_a_batch_is_skipped_and_the_rest_still_learns():
    data = views()
    data.frozen["a"][7] = np.nan
    made, history = run(small(epochs=2), data=data, names=lambda row: f"record {row}")
    assert history.skipped == ["record 7", "record 7"]
    assert torch.isfinite(weights(made)).all() and all(math.isfinite(epoch["loss"]) for epoch in history.epochs)


class Normed(Encoder):
    """A trainable encoder with running means."""

    dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(4)

    def forward(self, batch, context=None):
        return Tokens.single(self.norm(batch["x"]))


def test_a_skipped_batch_leaves_no_trace_in_running_means():
    """The batch with NaN passes through the norm before its loss is known."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(N, 4)).astype(np.float32)
    values[7] = np.nan

    class Slots:
        def take(self, rows):
            return {"x": values[rows]}

    task = tasks.make("classify")
    task.fit(WORDS)
    options = small(epochs=2)
    made = Network(Encoders({"a": Normed()}, {}), lambda v, d: fusions.make("concat", v, d), task, **options.network())
    data = Views(["a"], np.ones((N, 1), bool), {}, {"a": Slots()})
    history = train(made, data, TARGETS, ROWS, np.array([], int), options=options)
    norm = made.encoders.encoders["a"].norm
    assert len(history.skipped) == 2 and norm.num_batches_tracked == 4
    assert torch.isfinite(norm.running_mean).all() and torch.isfinite(norm.running_var).all()


def test_a_gradient_that_is_not_finite_is_no_step():
    made = network(small())
    before = weights(made).clone()
    optimiser = torch.optim.SGD(made.parameters(), lr=1.0)
    options = small()
    course = Course(made, optimiser, Schedule(optimiser, options, 3), torch.Generator(), options, Pace(None))

    def losses():
        first = next(p for p in made.members.parameters() if p.numel())
        return (first.flatten()[:1] * 0).sqrt()[None]  # zero; its slope is not

    assert course.step(losses, lambda loss: loss.backward(), np.array([5])).tolist() == [5]
    assert torch.equal(weights(made), before) and course.schedule.done == 0


def test_a_validation_loss_that_is_not_finite_is_one_sentence():
    with pytest.raises(LossNotFinite, match="the validation loss is not finite after epoch 1; lower train.rate"):
        run(measure=lambda answers, rows: {"loss": float("nan")})


def test_a_rate_that_diverges_is_one_sentence():
    with pytest.raises(LossNotFinite, match="lower train.rate"):
        run(small(epochs=60, optimiser="sgd", schedule="constant", rate=1e3, clip=0, warmup=0.0, decay=100.0))


# schedules, clipping, decay: by hand -----------------------------------------------------------------


def factors(steps: int, **options) -> list[float]:
    """The rate of each step as a share of the highest, and after the last."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = Schedule(optimiser, Training(**options), steps)
    rates = []
    for _ in range(steps):
        rates.append(schedule.rate)
        schedule.step()
    return [*rates, schedule.rate]


def test_one_cycle_by_hand():
    """20 steps, a fifth of them rising: 0.04 at first, at step 1 of 4 0.04 + 0.96 (1 - cos(pi / 4)) / 2 = 0.180589,
    half way 0.52, the peak at step 4, the middle of the fall (1 + cos(pi / 2)) / 2 = 0.5, and zero at the end."""
    rates = factors(20, schedule="one-cycle", warmup=0.2)
    assert rates[0] == pytest.approx(0.04) and rates[1] == pytest.approx(0.180589, abs=1e-5)
    assert rates[2] == pytest.approx(0.52) and rates[4] == pytest.approx(1.0)
    assert rates[12] == pytest.approx(0.5) and rates[20] == pytest.approx(1e-5)
    assert max(rates) == rates[4]


def test_cosine_by_hand():
    """A straight warm-up: 0.04, then 0.04 + 0.96 / 4 = 0.28; afterwards as above."""
    rates = factors(20, schedule="cosine", warmup=0.2)
    assert rates[:5] == pytest.approx([0.04, 0.28, 0.52, 0.76, 1.0])
    assert rates[12] == pytest.approx(0.5) and rates[20] == pytest.approx(1e-5)


def test_constant_and_without_warmup():
    assert factors(4, schedule="constant", warmup=0.0) == [1.0] * 5
    assert factors(4, schedule="constant", warmup=0.5) == pytest.approx([0.04, 0.52, 1.0, 1.0, 1.0])
    assert factors(4, schedule="cosine", warmup=0.0)[0] == 1.0


def test_linear_and_step_by_hand():
    """8 steps without warm-up: 1, 7/8, ... 0; and 1 before step 4, a tenth from there on, a hundredth from step 6 on."""
    assert factors(8, schedule="linear", warmup=0.0) == pytest.approx([1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 1e-5])
    assert factors(8, schedule="step", warmup=0.0) == [1.0] * 4 + [0.1] * 2 + [0.01] * 3


def test_plateau_by_hand():
    """Validation losses 3, 2, 2, 2, 2.5, 1, 2, 2: no better one in epochs 3 and 4, nor in 5 and 6's stead (6 is better), nor
    in 7 and 8; so the rate is halved after the fourth epoch and after the eighth, not before."""
    script = iter([3.0, 2.0, 2.0, 2.0, 2.5, 1.0, 2.0, 2.0, 9.0])
    _, history = run(
        small(epochs=9, schedule="plateau", warmup=0.0, stall=2), measure=lambda answers, rows: {"loss": next(script)}
    )
    assert [round(epoch["rate"] / 1e-2, 6) for epoch in history.epochs] == [1.0] * 4 + [0.5] * 4 + [0.25]


def test_plateau_waits_for_the_warm_up():
    """Of 9 epochs of 3 batches a third is warm-up: the first epochs do not count, so the first halving comes after the sixth."""
    _, history = run(
        small(epochs=9, schedule="plateau", warmup=1 / 3, stall=2), measure=lambda answers, rows: {"loss": 1.0}
    )
    assert [round(epoch["rate"] / 1e-2, 6) for epoch in history.epochs[3:]] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_plateau_without_validation_is_refused():
    with pytest.raises(BadOption, match="train.schedule='plateau' follows the validation loss, and no record validates"):
        run(small(schedule="plateau"))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_rates_stay_between_zero_and_the_highest(schedule, warmup, steps):
    assert all(0 < rate <= 1 for rate in factors(steps, schedule=schedule, warmup=warmup))


def test_each_member_is_clipped_to_its_own_norm():
    """Gradients of ones times 10 and 0.001: the first member comes to norm 1, the second stays."""
    made = network(small())
    for parameter in made.members.parameters():
        parameter.grad = torch.ones_like(parameter)
        parameter.grad[0], parameter.grad[1] = 10.0, 0.001
    clip(made, 1.0)
    norms = torch.stack([p.grad.flatten(1).square().sum(1) for p in made.members.parameters()]).sum(0).sqrt()
    count = sum(p[0].numel() for p in made.members.parameters())
    assert norms.tolist() == pytest.approx([1.0, 0.001 * count**0.5], rel=1e-4)


def test_clipping_can_be_turned_off():
    made = network(small())
    for parameter in made.members.parameters():
        parameter.grad = torch.full_like(parameter, 10.0)
    clip(made, 0)
    assert all((p.grad == 10).all() for p in made.members.parameters())


def test_decay_falls_on_matrices_only():
    made = network(small())
    named = {id(parameter): name for name, parameter in made.members.named_parameters()}
    decayed, rest = _optimiser(made, small(decay=0.5)).param_groups
    assert decayed["weight_decay"] == 0.5 and rest["weight_decay"] == 0
    assert all(named[id(p)].endswith("weight") and p.dim() == 3 for p in decayed["params"])
    names = {named[id(p)] for p in rest["params"]}
    assert any("empty" in name for name in names) and any("bias" in name for name in names)
    assert len(decayed["params"]) + len(rest["params"]) == len(named)


def test_encoders_from_scratch_may_have_a_rate_of_their_own():
    """An encoder's rate of zero holds it still while the rest moves; and its matrices are decayed like the others."""
    task = tasks.make("classify")
    task.fit(WORDS)

    class Linear(Normed):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.Linear(4, 4)

    def made(**more):
        torch.manual_seed(0)
        options = small(rate=0.01, **more)
        return Network(Encoders({"a": Linear()}, {}), lambda v, d: fusions.make("concat", v, d), task, **options.network()), options

    wide, options = made(encoder_rate=0.5)
    inside = {id(p) for p in wide.encoders.parameters()}
    groups = _optimiser(wide, options).param_groups
    assert {(group["lr"], group["weight_decay"], id(p) in inside) for group in groups for p in group["params"]} == {
        (0.01, 0.3, False), (0.01, 0.0, False), (0.5, 0.3, True), (0.5, 0.0, True),
    }
    assert sum(len(group["params"]) for group in groups) == len([*wide.members.parameters(), *wide.encoders.parameters()])
    values = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)

    class Slots:
        def take(self, rows):
            return {"x": values[rows]}

    still, options = made(encoder_rate=0.0)
    first = {name: p.clone() for name, p in still.named_parameters()}
    train(still, Views(["a"], np.ones((N, 1), bool), {}, {"a": Slots()}), TARGETS, ROWS, VALID, options=options)
    moved = {name for name, p in still.named_parameters() if not torch.equal(p, first[name])}
    assert moved and not any(name.startswith("encoders") for name in moved)


def test_every_optimiser_has_a_rate_and_a_decay_of_its_own():
    for name, (rate, decay) in OPTIMISERS.items():
        assert (Training(optimiser=name).rate, Training(optimiser=name).decay) == (rate, decay)
        group = _optimiser(network(small()), Training(optimiser=name, rate=0.5, decay=0.25)).param_groups[0]
        assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    assert {type(_optimiser(network(small()), Training(optimiser=name))).__name__ for name in OPTIMISERS} == {
        "AdamW", "Adam", "NAdam", "RMSprop", "Adagrad", "SGD",
    }


# options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value", "message"), [
    ("epochs", 0, "train.epochs=0 must be a whole number of at least 1"),
    ("epochs", 2.5, "train.epochs=2.5 must be a whole number"),
    ("epochs", "many", "train.epochs='many' must be a whole number of at least 1"),
    ("batch", True, "train.batch=True must be a whole number"),
    ("rate", float("nan"), "train.rate=nan must be a number"),
    ("rate", -1.0, "train.rate=-1.0 must be"),
    ("warmup", 1.5, "train.warmup=1.5 must be a number from 0 to 1"),
    ("dropout", 1.0, "train.dropout=1.0 must be"),
    ("members", 0, "train.members=0 must be"),
    ("average", -1, "train.average=-1 must be a whole number from 0 to 100"),
    ("average", 1.5, "train.average=1.5 must be a whole number"),
    ("l1", -0.1, "train.l1=-0.1 must be a number of at least 0"),
    ("checkpoint", -1, "train.checkpoint=-1 must be a number of at least 0"),
    ("optimiser", "lion", "train.optimiser='lion' must be 'adamw', 'adam', 'nadam', 'rmsprop', 'adagrad', 'sgd' or 'gd'"),
    ("schedule", ["step"], "train.schedule=.'step'. must be 'one-cycle', 'cosine', 'linear', 'step', 'plateau' or 'constant'"),
    ("ema", 1.0, "train.ema=1.0 must be a number from 0 to 0.999999"),
    ("accumulate", 0, "train.accumulate=0 must be a whole number of at least 1"),
    ("stall", 0, "train.stall=0 must be a whole number of at least 1"),
    ("encoder_rate", -1, "train.encoder_rate=-1 must be a number from 0 to 1000"),
])
def test_a_wrong_value_is_named(name, value, message):
    with pytest.raises(BadOption, match=message):
        Training(**{name: value})

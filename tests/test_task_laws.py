"""Laws that every task keeps, whatever its answers; a new task file is tested by these unedited.

B records, D width, V views.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from polysense.contracts import digest, to_tensors
from polysense.errors import BadOption, BadTable, Mistake
from polysense.layers import Condition
from polysense.metrics import Resamples
from polysense.network import Encoders, Network
from polysense.registry import fusions, tasks
from polysense.tokens import Tokens

#: Six targets of each kind of answer.
VALUES = {
    "classes": ["cat", "dog", "dog", "cow", "cat", "dog"],
    "numbers": [10.5, -3.0, 7.25, 0.0, 10.5, 2.0],
    "labels": [["red", "round"], ["red"], [], ["round"], ["blue", "red"], ["round"]],
    "words": ["a red apple", ["a red car", "one red car"], "a red apple", "红苹果", "an apple", "a green car, and a red one"],
}
VALUES["several"] = [
    (number, name, sets if i else None)
    for i, (number, name, sets) in enumerate(zip(VALUES["numbers"], VALUES["classes"], VALUES["labels"], strict=True))
]
THREE = [
    {"target": "column", "task": "regress"}, {"target": "a.b/c", "task": "classify", "options": {"smoothing": 0.1}},
    {"target": "known", "task": "multilabel"},
]
#: Options beyond the defaults, so that each way is held to the laws.
WAYS = {
    "regress": [{"error": "mae"}, {"error": "huber", "delta": 0.5}],
    "classify": [{"weights": "balanced", "smoothing": 0.2}, {"focal": 2.0}],
    "multilabel": [{"focal": 2.0, "smoothing": 0.1, "threshold": 0.3}],
    "multitask": [{"targets": THREE, "weights": "column=3,known=0.5"}],
    "transcribe": [{"split": "subword", "normalise": "none"}, {"beams": 3, "grams": 0.5, "bonus": 0.1}],
    "caption": [
        {"decoder": "show-tell", "split": "character", "longest": 30},
        {"decoder": "attend", "split": "subword", "doubly": 0.1, "decoding": "beam", "no_repeat": 2},
        {"decoding": "sample", "top_k": 5, "top_p": 0.9, "longest": 8, "shortest": 2},
    ],
}
CASES = [(name, options) for name in tasks for options in [*([] if name == "multitask" else [{}]), *WAYS.get(name, [])]]


def fitted(name: str, **options):
    torch.manual_seed(0)
    task = tasks.make(name, **options)
    task.fit(VALUES[task.kind])
    return task


def alike(task):
    """Another task with the same options."""
    return tasks.make(task.name, **{name: getattr(task, name) for name in tasks.about(task.name).options})


def fused(batch: int = 6, dim: int = 8, positions: int = 1) -> Tokens:
    torch.manual_seed(1)
    return Tokens(torch.randn(batch, positions, dim), torch.ones(batch, positions, dtype=torch.bool))


def judged(task):
    """Each target's task and its values of the six records, where they are known; most tasks have one target."""
    for part in task.parts():
        mine = part.of(VALUES[task.kind])
        yield part, np.array([i for i, value in enumerate(mine) if value is not None]), [v for v in mine if v is not None]


@pytest.fixture(params=CASES, ids=lambda case: " ".join([case[0], *map(str, case[1].values())][:3])[:40])
def task(request):
    return fitted(request.param[0], **request.param[1])


def targets_of(task) -> dict[str, torch.Tensor]:
    return to_tensors(task.encode(VALUES[task.kind]))


def test_targets_are_arrays_with_a_row_for_each_record(task):
    assert all(len(array) == 6 for array in task.encode(VALUES[task.kind]).values())


def test_loss_and_answer_have_a_row_for_each_record(task):
    head, tokens = task.head(8).eval(), fused(positions=64 if task.needs_positions else 1)
    loss, answer = task.loss(head, tokens, targets_of(task)), task.answer(head, tokens)
    assert loss.shape == (6,) and torch.isfinite(loss).all()
    assert len(answer) == 6 and len(task.decode(answer.detach().numpy())) == 6


def test_records_are_separate(task):
    head, tokens, targets = task.head(8).eval(), fused(), targets_of(task)
    for i in range(6):
        alone = Tokens(tokens.x[i : i + 1], tokens.mask[i : i + 1])
        mine = {key: value[i : i + 1] for key, value in targets.items()}
        torch.testing.assert_close(task.loss(head, alone, mine)[0], task.loss(head, tokens, targets)[i])
        torch.testing.assert_close(task.answer(head, alone)[0], task.answer(head, tokens)[i])


def test_every_parameter_of_the_head_gets_gradient(task):
    head = task.head(8)
    task.loss(head, fused(positions=64 if task.needs_positions else 1), targets_of(task)).sum().backward()
    for key, parameter in head.named_parameters():
        assert parameter.grad.abs().sum() > 0, key


def test_a_fused_position_that_is_masked_is_never_read(task):
    head = task.head(8).eval()
    x, mask = torch.randn(6, 3, 8), torch.tensor([[True, True, False]] * 6)
    spoilt = torch.where(mask[..., None], x, torch.nan)
    assert torch.equal(task.answer(head, Tokens(x, mask)), task.answer(head, Tokens(spoilt, mask)))


def test_state_survives_json(task):
    again = alike(task)
    again.load(json.loads(json.dumps(task.state())))
    assert digest(again.state()) == digest(task.state())
    np.testing.assert_array_equal(again.prior(), task.prior())
    torch.manual_seed(1)
    head, tokens = task.head(8).eval(), fused()
    assert torch.equal(again.answer(head, tokens), task.answer(head, tokens))
    said = task.answer(head, tokens).detach().numpy()
    assert again.decode(again.restore(said)) == task.decode(task.restore(said))


def test_options_survive_json_and_are_kept(task):
    known = {option.name: option.default for option in tasks.about(task.name).options.values()}
    again = tasks.make(task.name, **json.loads(json.dumps(known)))
    assert {key: getattr(again, key) for key in known} == known
    for option in tasks.about(task.name).options.values():
        assert option.help, option.name
        with pytest.raises(BadOption, match=f"did you mean '{option.name}'"):
            tasks.make(task.name, **{option.name + "x": 1})


def test_a_late_task_agrees_with_itself(task):
    """The loss of the combined answer is the head's loss where one view's answer is the combined one."""
    if not task.late:
        pytest.skip("cannot be answered view by view")
    head, tokens, targets = task.head(8), fused(), targets_of(task)
    torch.testing.assert_close(
        task.answer_loss(task.answer(head, tokens), targets), task.loss(head, tokens, targets), atol=1e-4, rtol=1e-4
    )


def test_a_teacher_that_agrees_teaches_nothing(task):
    if task.kind == "words":
        pytest.skip("texts teach by their targets alone")
    head, tokens = task.head(8), fused()
    lesson = task.teach(head, tokens, task.answer(head, tokens).detach())
    torch.testing.assert_close(lesson, torch.zeros(6), atol=1e-6, rtol=0)
    other = task.teach(task.head(8), tokens, task.answer(head, tokens).detach())
    assert (other > 0).all()


def test_the_shelf_names_the_kind_without_importing(task):
    assert tasks.about(task.name).kind == task.kind in VALUES
    assert all(part.task.yardstick().kind == part.task.kind for part in task.parts())


def test_order_of_records_does_not_matter(task):
    order = np.array([3, 1, 5, 0, 2, 4])
    again = alike(task)
    again.fit([VALUES[task.kind][i] for i in order])
    assert digest(again.state()) == digest(task.state())
    head, tokens = task.head(8).eval(), fused()
    mixed = Tokens(tokens.x[order], tokens.mask[order])
    targets = {key: value[order] for key, value in targets_of(task).items()}
    torch.testing.assert_close(task.loss(head, mixed, targets), task.loss(head, tokens, targets_of(task))[order])


def test_restored_answers_are_finite_and_judged(task):
    """Every measure is a number, or not defined: then None, never an error; intervals hold their value."""
    answers = task.restore(task.answer(task.head(8).eval(), fused()).detach().numpy())
    if task.kind == "words":
        assert answers.shape == (6,) and all(isinstance(text, str) for text in answers)
    else:
        assert np.isfinite(answers).all() and answers.shape == (6, len(task.prior()))
    for part, at, values in judged(task):
        ruler, targets, mine = part.task.yardstick(), part.task.judged(values), part.among(answers[at])
        for rows in (np.arange(len(at)), np.arange(1), np.zeros(0, int)):
            found = ruler.judge(mine[rows], targets[rows], Resamples(len(rows), samples=20)).scores()
            assert list(found) == list(ruler.measures) and set(ruler.short) <= set(found) and ruler.main in ruler.short
            for score in found.values():
                assert score["value"] is None or score["low"] <= score["value"] <= score["high"]
        assert ruler.known(targets).all() and np.isfinite(ruler.losses(ruler.own(mine, targets), targets)).all()


def test_a_missing_target_is_not_known(task):
    for part, _, values in judged(task):
        targets = part.task.judged([values[0], None])
        assert part.task.yardstick().known(targets).tolist() == [True, False]


def test_the_truth_is_the_best_answer(task):
    """What is said of each record's own target is never judged worse than the prior, by the loss and by the test."""
    for one, at, values in ((part.task, at, values) for part, at, values in judged(task)):
        ruler, targets, width = one.yardstick(), one.judged(values), len(one.prior())
        prior = ruler.constant(one.nothing(), len(at))
        truth = {
            "classes": lambda targets=targets, width=width: np.eye(width)[targets],
            "numbers": lambda targets=targets: targets[:, None],
            "labels": lambda targets=targets, width=width: targets[:, :width],
            "words": lambda targets=targets: np.array([references[-1] for references in targets], object),
        }[one.kind]()
        truth = ruler.answers(truth)
        assert ruler.merit(truth, targets) > ruler.merit(prior, targets)
        assert ruler.p_worse(truth, prior, targets) > 0.9 and ruler.p_worse(prior, truth, targets) < 0.1
        assert ruler.p_worse(prior, prior, targets) == pytest.approx(0.5)
        assert one.decode(truth) == one.decode(truth[::-1])[::-1] and len(one.columns()) in (0, width)


def test_the_prior_answers_where_everything_is_missing(task):
    conditions = {view: Condition().empty(4, 4) for view in "ab"}

    class Frozen(torch.nn.Module):
        frozen, dim = True, 4

    torch.manual_seed(0)
    network = Network(
        Encoders({view: Frozen() for view in "ab"}, conditions), lambda v, d: fusions.make(task.fusion, v, d), task,
        dim=8, members=2,
    ).eval()
    x, none = torch.randn(6, 4), torch.tensor([True, False] * 3)
    batch = {view: {"features": x, "present": none} for view in "ab"}
    with torch.no_grad():
        answers = network.answers(network.encode(batch)).numpy()
    assert np.isfinite(answers).all()
    width = len(task.prior())  # texts may be longer than the prior's: 0 fills them
    np.testing.assert_array_equal(answers[1::2, :width], np.tile(task.prior(), (3, 1)))
    assert not answers[1::2, width:].any() and (answers[::2] != answers[1]).any()
    targets = targets_of(task)
    assert torch.isfinite(network.losses(network.encode(batch), targets)).all()


def test_watched_figures_are_plain(task):
    head, targets = task.head(8).eval(), targets_of(task)
    said = task.force(head, fused(), targets) if task.forced else task.answer(head, fused())
    found = task.watch(said.detach().numpy(), task.encode(VALUES[task.kind]))
    assert json.loads(json.dumps(found)) == found and math.isfinite(found["loss"]) and len(found) > 1


def test_what_cannot_be_learned_is_refused(task):
    for values in ([], [VALUES[task.kind][0]]):
        with pytest.raises(BadTable):
            tasks.make(task.name).fit(values)


def test_a_line_says_what_is_learned(task):
    line = task.about("column")
    assert "'column'" in line and "\n" not in line and "learning" in task.about(None)
    task.check(6, "column")
    assert issubclass(BadTable, Mistake)

"""classify by hand. B records, D width, C classes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polysense.errors import BadOption, BadTable
from polysense.registry import tasks
from polysense.tokens import Tokens

WORDS = ["cat", "dog", "dog", "cow", "cat", "dog"]


def fitted(name: str, values: list | None = None, **options):
    torch.manual_seed(0)
    task = tasks.make(name, **options)
    task.fit(values or WORDS)
    return task


def fused(batch: int = 6, dim: int = 8) -> Tokens:
    return Tokens.single(torch.randn(batch, dim))


# classify -------------------------------------------------------------------------------------


class Fixed(torch.nn.Module):
    """A head that says the same whatever it reads."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, tokens: Tokens) -> torch.Tensor:
        return self.scores.expand(len(tokens.x), -1)


def test_smoothing_by_hand():
    """Scores (ln 3, 0) are probabilities 3/4 and 1/4. Label 0 with smoothing 0.1:
    0.9 * -ln(3/4) + 0.1 * (-ln(3/4) - ln(1/4)) / 2 = 0.258914 + 0.083699 = 0.342613; without: 0.287682."""
    one = Tokens.single(torch.zeros(1, 4))
    label = {"label": torch.tensor([0])}
    for smoothing, expected in ((0.1, 0.342613), (0.0, 0.287682)):
        task = fitted("classify", ["a", "b"], smoothing=smoothing)
        loss = task.loss(Fixed(math.log(3), 0.0), one, label)
        assert loss.item() == pytest.approx(expected, abs=1e-5)
        assert task.answer_loss(torch.tensor([[0.75, 0.25]]), label).item() == pytest.approx(expected, abs=1e-5)


def test_balanced_weights_by_hand():
    """N = 4, C = 2, counts 3 and 1: weights 4 / (2 * 3) = 2/3 and 4 / (2 * 1) = 2; scores 0 lose ln 2 each."""
    task = fitted("classify", ["a", "a", "a", "b"], smoothing=0.0, weights="balanced")
    loss = task.loss(Fixed(0.0, 0.0), Tokens.single(torch.zeros(2, 4)), {"label": torch.tensor([0, 1])})
    torch.testing.assert_close(loss, math.log(2) * torch.tensor([2 / 3, 2.0]))


def test_answer_prior_and_decoding_by_hand():
    """Scores (0, ln 2, 0) are probabilities 1/4, 1/2, 1/4; the prior of 2 cats, 3 dogs, 1 cow in sorted order."""
    task = fitted("classify")
    assert task.classes == ["cat", "cow", "dog"]
    answer = task.answer(Fixed(0.0, math.log(2), 0.0), Tokens.single(torch.zeros(1, 4)))
    torch.testing.assert_close(answer, torch.tensor([[0.25, 0.5, 0.25]]))
    assert task.decode(answer.numpy()) == ["cow"]
    np.testing.assert_allclose(task.prior(), [2 / 6, 1 / 6, 3 / 6])


def test_a_class_unseen_in_training_is_minus_one():
    assert fitted("classify").encode(["dog", "horse", "cat"])["label"].tolist() == [2, -1, 0]


@pytest.mark.parametrize("values", [[3, 1, 2, 1], [True, False, True], [0.5, 1.5], ["b", "a"], ["10", "9", 9]])
def test_classes_of_any_plain_type_survive_json(values):
    """Words and numbers may stand in one column: "9" and 9 are two classes."""
    task = fitted("classify", values)
    assert len(task.classes) == len(set(values))
    again = tasks.make("classify")
    again.load(json.loads(json.dumps(task.state())))
    assert again.classes == task.classes and [type(c) for c in again.classes] == [type(c) for c in task.classes]
    assert again.encode(values)["label"].tolist() == task.encode(values)["label"].tolist()


def test_numpy_classes_are_plain_afterwards():
    task = fitted("classify", list(np.array([1, 2, 2])))
    assert task.classes == [1, 2] and type(task.classes[0]) is int
    assert task.encode([np.int64(2)])["label"].tolist() == [1]


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=40).filter(lambda values: len(set(values)) > 1))
def test_encoding_and_decoding_undo_each_other(values):
    task = fitted("classify", values)
    label = task.encode(values)["label"]
    assert task.decode(np.eye(len(task.classes))[label]) == values
    assert task.prior().sum() == pytest.approx(1.0)


def test_ten_thousand_classes():
    values = [f"class {i}" for i in range(10_000)]
    task = fitted("classify", values)
    assert task.answer(task.head(2), fused(1, 2)).shape == (1, 10_000)
    assert task.encode(values[-1:])["label"].tolist() == [task.classes.index(values[-1])]


def test_mistakes_are_named():
    with pytest.raises(BadOption, match=r"task.smoothing=1.0 must be at least 0 and below 1"):
        tasks.make("classify", smoothing=1.0)
    with pytest.raises(BadOption, match="task.weights='heavy' must be 'none' or 'balanced'"):
        tasks.make("classify", weights="heavy")
    with pytest.raises(BadTable, match="only 'cat' in the training records; classification needs two classes"):
        tasks.make("classify").fit(["cat", "cat"])
    with pytest.raises(BadTable, match="holds nothing in the training records"):
        tasks.make("classify").fit([])

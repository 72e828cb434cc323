"""Examples of what comes next, the items among which each is found, and what is remembered of items not read anew."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from polysense.learn import foretell
from polysense.learn.foretell import Foretold, Judging, log_share
from polysense.tastes import Memory
from polysense.tokens import Tokens

HISTORIES = [np.array([3, 1, 8, 4]), np.array([5]), np.array([9, 2])]


def views(**more):
    counts = np.bincount(np.concatenate(HISTORIES), minlength=30).astype(float)
    counts[10:28] += 1  # taken by others
    numbers = np.arange(30, dtype=np.float32)[:, None]
    return Foretold(["a"], np.ones((30, 1), bool), {"a": numbers}, {}, histories=HISTORIES, counts_I=counts, **more)


def test_each_item_but_the_first_of_a_history_is_an_example():
    it = views()
    assert it.right_E.tolist() == [1, 8, 4, 2] and it.user_E.tolist() == [0, 0, 0, 2]
    batch = it.batch(np.array([2, 3]))
    chosen = batch["chosen"].numpy()
    assert chosen.tolist() == np.flatnonzero(it.counts_I > 0).tolist() and len(batch["fresh"]) == 0
    seen = [[int(chosen[i]) if i >= 0 else None for i in row] for row in batch["history"].tolist()]
    assert seen == [[8, 1, 3], [9, None, None]]  # the latest first, and only what came before
    assert batch["items"]["a"]["features"][:, 0].tolist() == chosen.tolist()
    assert it.own_I[chosen].tolist() == list(range(1, len(chosen) + 1)) == batch["own"].tolist() and it.own_I[0] == 0


def test_of_many_items_some_are_drawn_and_what_is_needed_is_always_there():
    """log p - log q: an item with the share p is drawn with q = 1 - (1 - p)^B (1 - r), r being more drawn of all known.

    Here B = 1, p = 1.5 / 40 (25 known items taken once, half of one given to all 30), 8 of 25 known are wanted and 4 needed
    (3, 1 and 8 before, 4 right): r = 4 / 25, and the number is log .0375 - log(1 - .9625 * .84) = -1.634.
    """
    it, seen = views(candidates=8, history=50), set()
    for _ in range(20):
        batch = it.batch(np.array([2]))
        chosen = batch["chosen"].numpy()
        assert {3, 1, 8, 4} <= set(chosen.tolist()) and 4 <= len(chosen) <= 8 and (np.diff(chosen) > 0).all()
        assert (it.counts_I[chosen] > 0).all()
        seen |= set(chosen.tolist())
        np.testing.assert_allclose(batch["plus"].numpy(), np.log(0.0375) - np.log(1 - 0.9625 * 0.84), atol=1e-5)
    assert len(seen) > 20
    short = views(candidates=2, history=1).batch(np.array([2]))
    assert short["chosen"].tolist() == [4, 8] and short["history"].shape == (1, 1)


def test_memory_gives_what_was_last_read_and_gradient_only_to_what_is_read_now():
    memory = Memory(Tokens(torch.full((4, 2, 1), 7.0), torch.ones(4, 2, dtype=torch.bool)))
    fresh = torch.tensor([[[1.0], [9.0]], [[3.0], [4.0]]], requires_grad=True)
    mask = torch.tensor([[True, False], [True, True]])
    found = memory.take(torch.tensor([0, 2, 3]), torch.tensor([0, 2]), Tokens(fresh, mask))
    assert found.clean()[..., 0].tolist() == [[1, 0], [7, 7], [3, 4]] and found.mask[0].tolist() == [True, False]
    found.clean().sum().backward()
    assert fresh.grad[..., 0].tolist() == [[1, 0], [1, 1]]
    again = memory.take(torch.tensor([0, 1, 3]), torch.tensor([1]), Tokens(torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bool)))
    assert again.clean()[..., 0].tolist() == [[1, 0], [0, 0], [3, 4]]  # shorter than before: nothing old shows behind it
    assert again.mask.tolist() == [[True, False], [True, False], [True, True]]


def test_validation_looks_among_known_items_not_taken_yet():
    judging = Judging([np.array([0]), np.array([], int)], np.array([2, 1]), np.array([True, True, True, False]))
    assert judging.open_BI.tolist() == [[False, True, True, False], [True, True, True, False]]
    scores = np.array([[9.0, 1.0, 0.5, 8.0], [0.1, 0.9, 0.2, 5.0]])
    np.testing.assert_allclose(judging.gains(scores), [1 / np.log2(3), 1])  # 0 is taken, 3 is not known
    assert log_share(np.array([1.0, 0.0]))[0] == pytest.approx(np.log(0.75))


def test_a_network_that_gains_on_known_items_and_loses_where_every_item_is_new_is_no_better(monkeypatch):
    """Loss .5 -> .4 on what is known; where all is new .6 -> .6 is taken, .6 -> .7 is not."""
    def told(known, bare):
        monkeypatch.setattr(foretell, "worth", lambda *_: {"known": np.array([known] * 3), "bare": np.array([bare] * 3)})
        for name in ("answer", "encode"):
            monkeypatch.setattr(foretell, name, lambda *_: None)
        views = SimpleNamespace(present_NV=np.ones((3, 1), bool))
        return foretell.verdict(None, views, np.arange(3), None)

    before = told(0.5, 0.4)
    assert (before.loss, before.subsets) == pytest.approx((0.5, 0.6)) and before.losses_N.tolist() == [0.5] * 3
    assert told(0.6, 0.4).over(before) and not told(0.6, 0.3).over(before) and not told(0.5, 0.5).over(before)

"""The network of two sides: laws of its vectors and losses, and that it learns what belongs together."""

import numpy as np
import pytest
import torch

from polysense.errors import BadOption
from polysense.layers import Condition
from polysense.learn.contrast import LOSSES, Contrast
from polysense.learn.features import Views, answer, encode
from polysense.learn.loop import train
from polysense.learn.training import Training
from polysense.network import Encoders
from polysense.pairs import PairNetwork
from polysense.registry import fusions

WIDTHS = {"picture": 6, "words": 5, "sound": 4}
SIDES = {"query": ["words", "sound"], "item": ["picture"]}
LATE = [name for name in fusions if fusions.make(name, ["a", "b"], 8).late]


class Fixed(torch.nn.Module):
    """Stands where a frozen encoder would; only its width is asked."""

    frozen = True

    def __init__(self, dim):
        super().__init__()
        self.dim = dim


def made(fusion="concat", loss="infonce", sides=SIDES, **more):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conditions = {view: Condition().empty(width, width) for view, width in WIDTHS.items()}
        encoders = Encoders({view: Fixed(width) for view, width in WIDTHS.items()}, conditions)
        options = {"dim": 16, "width": 8, "members": 2, "dropout": 0.0, "input_dropout": 0.0} | more
        return PairNetwork(
            encoders, lambda views, dim: fusions.make(fusion, views, dim), sides, lambda: Contrast(loss), **options
        ).eval()


def some(n=12, seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 4))
    x = {view: (hidden @ rng.normal(size=(4, width)) + 0.1 * rng.normal(size=(n, width))).astype(np.float32)
         for view, width in sorted(WIDTHS.items())}
    return Views(sorted(WIDTHS), np.ones((n, 3), bool), x)


def vectors(network, views, present=None):
    said = answer(network, encode(network, views), views.present_NV if present is None else present)
    return network.two(said)


@pytest.mark.parametrize("fusion", [name for name in fusions if name not in LATE])
def test_vectors_have_length_one_and_products_are_mean_cosines(fusion):
    network, views = made(fusion), some()
    queries, items = vectors(network, views)
    assert queries.shape == items.shape == (12, 16)
    np.testing.assert_allclose([np.linalg.norm(queries, axis=1), np.linalg.norm(items, axis=1)], 1, atol=1e-5)
    parts = queries.reshape(12, 2, 8) * items.reshape(12, 2, 8) * 2  # a member's own vectors have length one
    np.testing.assert_allclose((queries * items).sum(1), parts.sum(2).mean(1), atol=1e-5)


def test_fusions_of_answers_are_refused():
    with pytest.raises(BadOption, match=f"the fusion '{LATE[0]}' combines answers"):
        made(LATE[0])


def test_sides_and_records_do_not_see_each_other():
    network, views = made(), some()
    queries, items = vectors(network, views)
    other = some()
    other.frozen = {view: x.copy() for view, x in other.frozen.items()}
    other.frozen["picture"] **= 2
    other.frozen["words"][3] **= 2
    mine, theirs = vectors(network, other)
    assert (np.abs(mine - queries).max(1) > 1e-6).tolist() == [i == 3 for i in range(12)]
    assert (np.abs(theirs - items).max(1) > 1e-6).all()


def test_a_side_without_views_is_zero_and_gives_no_loss():
    network, views = made(), some()
    present = views.present_NV.copy()
    present[2, views.names.index("picture")] = False
    present[5, [views.names.index("words"), views.names.index("sound")]] = False
    present[6, views.names.index("sound")] = False
    queries, items = vectors(network, views, present)
    assert not items[2].any() and not queries[5].any() and queries[6].any() and items[5].any()
    lacking = Views(views.names, present, views.frozen)
    loss = network(lacking.batch(np.arange(12)), {"same": torch.arange(12)})
    assert loss.shape == (2, 12) and loss.isfinite().all()
    assert (loss == 0).all(0).tolist() == [i in (2, 5) for i in range(12)]


def test_what_is_hidden_leaves_a_view_of_each_side():
    """With all of a side hidden, a pair would count as not there and lose nothing in the second pass."""
    network, views = made(drop=0.95), some(200)
    whole = made(drop=0.0)(views.batch(np.arange(200)), {"same": torch.arange(200)})
    twice = network(views.batch(np.arange(200)), {"same": torch.arange(200)})
    assert (twice > whole + 1e-3).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_it_learns_what_belongs_together(loss):
    """Both sides show the same four hidden numbers; pairs that training never saw are found."""
    network, views = made(loss=loss, dim=32, width=16), some(400, seed=3)
    rows, held = np.arange(300), np.arange(300, 400)
    train(
        network, views, {"same": np.arange(400)}, rows, held[:0], seed=0,
        options=Training(epochs=15, batch=64, decay=0.01),
    )
    queries, items = (side[held] for side in vectors(network, views))
    ranks = (queries @ items.T > (queries * items).sum(1, keepdims=True)).sum(1)
    assert (ranks < 5).mean() > 0.6  # by chance 5 of 100


def test_pairs_of_one_text_are_not_pushed_apart():
    network, views = made(members=1, drop=0.0), some()
    apart = network(views.batch(np.arange(12)), {"same": torch.arange(12)})
    together = network(views.batch(np.arange(12)), {"same": torch.zeros(12, dtype=torch.long)})
    assert not torch.allclose(apart, together)
    with torch.no_grad():
        vectors_ = network.answers(network.encode(views.batch(np.arange(12))))
    queries, items = network.two(vectors_)
    expected = Contrast()(queries, items, torch.ones(12, 12, dtype=torch.bool))
    torch.testing.assert_close(together[0], expected)

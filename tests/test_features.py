"""Cells -> numbers: once for each content, cached, gathered. N records, T positions, W width."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from polysense import demo
from polysense.contracts import Encoder, Plain, digest
from polysense.data.cache import Cache
from polysense.data.joined import Joined
from polysense.data.reading import read_cells
from polysense.data.records import as_records
from polysense.data.schema import guess
from polysense.learn import features
from polysense.learn.features import Prepared, Views, frozen
from polysense.learn.gather import fit_conditions, gather, sample
from polysense.network import Encoders, Network
from polysense.registry import fusions, tasks
from polysense.tokens import Tokens

TEXTS = ["red", "green", None, "red", "blue", "a long blue whale", "green"]


class Lengths(Encoder):
    """Frozen: one position a word, which holds the word's length and a one. Counts what it is asked."""

    name, frozen, cached, dim = "test.lengths", True, True, 2

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def prepare(self, values):
        self.asked += values
        words = [value.split() for value in values]
        longest = max(map(len, words))
        x = np.zeros((len(values), longest), np.float32)
        mask = np.zeros((len(values), longest), bool)
        for i, row in enumerate(words):
            x[i, : len(row)], mask[i, : len(row)] = [len(word) for word in row], True
        return {"x": x, "mask": mask}

    def forward(self, batch, context=None):
        return Tokens(torch.stack([batch["x"], torch.ones_like(batch["x"])], -1), batch["mask"])

    def fingerprint(self):
        return digest("lengths")


class Trained(Lengths):
    frozen = cached = False
    name = "test.trained"


class Words(Plain):
    cached = True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def transform(self, values):
        self.asked += values
        return np.array([[len(value)] for value in values], np.float32)


def text_cells(texts=TEXTS):
    records = as_records({"note": texts})
    return read_cells(records, guess(records, declared={"note": "text"}))["note"]


@contextmanager
def bar(title, total):
    yield lambda steps=1, text="": None


EXPECTED = [[3, 1], [5, 1], [0, 0], [3, 1], [4, 1], [(1 + 4 + 4 + 5) / 4, 1], [5, 1]]


@pytest.mark.parametrize("cached", [True, False])
def test_each_content_is_computed_once(tmp_path, cached):
    part, cells = Lengths(), text_cells()
    done: list[int] = []
    out = frozen(part, cells, Cache(tmp_path) if cached else Cache.off(), advance=done.append)
    np.testing.assert_array_equal(out, EXPECTED)
    assert sorted(part.asked) == sorted({text for text in TEXTS if text})
    again = Lengths()
    np.testing.assert_array_equal(frozen(again, cells, Cache(tmp_path) if cached else Cache.off()), EXPECTED)
    assert len(again.asked) == (0 if cached else 4)


def test_the_order_of_rows_survives_chunks(tmp_path, monkeypatch):
    """Texts are computed by length, in small chunks; each answer finds its row."""
    monkeypatch.setattr(features, "CHUNK", 2)
    np.testing.assert_array_equal(frozen(Lengths(), text_cells(), Cache(tmp_path)), EXPECTED)
    texts = [f"{'w' * (1 + i * 7 % 23)} {i}" for i in range(40)]
    out = frozen(Lengths(), text_cells(texts), Cache(tmp_path))
    np.testing.assert_allclose(np.asarray(out)[:, 0], [sum(map(len, text.split())) / 2 for text in texts])


def test_positions_are_kept_apart_from_pooled_outputs(tmp_path):
    cells, cache = text_cells(), Cache(tmp_path)
    frozen(Lengths(), cells, cache)
    out = frozen(Lengths(), cells, cache, pool=False)
    assert out.shape == (7, 4, 2)
    out = np.asarray(out)
    np.testing.assert_array_equal(out[5, :, 0], [1, 4, 4, 5])
    assert out[0, 0].tolist() == [3, 1] and np.isnan(out[0, 1:]).all() and np.isnan(out[2]).all()


def test_nothing_present_at_all():
    assert frozen(Lengths(), text_cells([None, None]), Cache.off()).shape == (2, 0)
    records = as_records({"note": TEXTS})
    schema = guess(records, declared={"note": "text"})
    assert frozen(Lengths(), read_cells(records.take([]), schema)["note"], Cache.off()).shape == (0, 0)


def test_an_unreadable_cell_loses_its_presence(tmp_path):
    """Row 1's path is wrong; rows 0 and 3 hold the same broken bytes: three faults, in the table's order."""
    good = demo.made_up(2, missing=0)
    broken = good[0]["picture"][:60]
    records = as_records({"p": [broken, "nowhere.png", good[1]["picture"], broken]})
    cells = read_cells(records, guess(records, declared={"p": "image"}))["p"]

    class Size(Lengths):
        def prepare(self, values):
            self.asked += values
            return {"x": np.array([[v.shape[0]] for v in values], np.float32), "mask": np.ones((len(values), 1), bool)}

    part = Size()
    out = frozen(part, cells, Cache(tmp_path))
    assert cells.present.tolist() == [False, False, True, False]
    assert [fault.row for fault in cells.faults] == [0, 1, 3]
    np.testing.assert_array_equal(out, [[0, 0], [0, 0], [32, 1], [0, 0]])


def test_plain_features_go_the_same_way(tmp_path):
    part, cells = Words(), text_cells()
    np.testing.assert_array_equal(np.asarray(frozen(part, cells, Cache(tmp_path)))[:, 0], [3, 5, 0, 3, 4, 17, 5])
    assert len(part.asked) == 4


def test_sparse_plain_features_keep_their_rows():
    from polysense.registry import modalities

    part, cells = modalities["text"].plain(), text_cells()
    part.fit([text for text in TEXTS if text])
    out = frozen(part, cells, Cache.off())
    whole = part.transform([text or "" for text in TEXTS]).toarray()
    whole[2] = 0
    np.testing.assert_allclose(out.toarray(), whole, atol=1e-7)


# prepared arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [1 << 30, 0])
def test_prepared_arrays_of_the_rows_asked_for(monkeypatch, held):
    """Held in memory or made anew: the same arrays, cut to the longest of the batch."""
    monkeypatch.setattr(features, "HELD_BYTES", held)
    monkeypatch.setattr(features, "CHUNK", 3)
    prepared = Prepared.of(Trained(), text_cells())
    assert (prepared.arrays is None) == (held == 0)
    batch = prepared.take(np.array([5, 0]))
    np.testing.assert_array_equal(batch["x"], [[1, 4, 4, 5], [3, 0, 0, 0]])
    short = prepared.take(np.array([6, 4]))
    np.testing.assert_array_equal(short["x"], [[5], [4]])
    np.testing.assert_array_equal(short["mask"], [[True], [True]])


def test_prepared_reads_every_cell_before_training():
    records = as_records({"p": ["nowhere.png", demo.made_up(1, missing=0)[0]["picture"]]})
    cells = read_cells(records, guess(records, declared={"p": "image"}))["p"]

    class Pixels(Trained):
        def prepare(self, values):
            return {"x": np.stack([v[:2, :2, 0] for v in values])}

    prepared = Prepared.of(Pixels(), cells)
    assert cells.present.tolist() == [False, True] and prepared.count_N.tolist() == [0, 1]


def test_a_batch_holds_arrays_of_present_records_only():
    cells = text_cells()
    views = Views(["note"], cells.present[:, None], prepared={"note": Prepared.of(Trained(), cells)})
    batch = views.batch(np.array([2, 4, 0]))["note"]
    assert batch["present"].tolist() == [False, True, True] and batch["x"].tolist() == [[4.0], [3.0]]
    nothing = views.batch(np.array([2]))["note"]
    assert set(nothing) == {"present"}


# several tables -------------------------------------------------------------------------------------


def test_two_tables_as_one():
    joined = Joined([text_cells(["a", None]), text_cells(["b", "c"])])
    assert joined.n == 4 and joined.present.tolist() == [True, False, True, True]
    assert joined.values([3, 0, 1, 2]) == ["c", "a", None, "b"] and joined.values() == ["a", None, "b", "c"]
    first = text_cells(["a", None]).digests([0])
    assert joined.digests([2, 0])[1] == first[0]


def test_what_an_encoder_is_fitted_on(monkeypatch):
    """Training rows that are present, and of many a sample in the table's order, the same for the same seed."""
    cells = text_cells([f"text {i}" for i in range(50)] + [None])
    assert sample(cells, np.array([50, 3, 1]), 0) == ["text 3", "text 1"]
    monkeypatch.setattr("polysense.learn.gather.TEXT_SAMPLE", 10)
    some = sample(cells, np.arange(40), 0)
    numbers = [int(text.split()[1]) for text in some]
    assert len(some) == 10 and numbers == sorted(numbers) and max(numbers) < 40
    assert some == sample(cells, np.arange(40), 0) != sample(cells, np.arange(40), 1)


# positions through the network ------------------------------------------------------------------------


def answers_of(texts: list, positions: bool = True, fitted=None):
    """(network, answers) of a transformer over one frozen view's words."""
    cells = text_cells(texts)
    encoders = {"note": Lengths()}
    found = gather(encoders, None, {"note": cells}, Cache.off(), positions=positions, bar=bar)
    if fitted is None:
        conditions = fit_conditions(encoders, found, np.arange(len(texts)))
        torch.manual_seed(0)
        task = tasks.make("classify")
        task.fit(["x", "y"])
        fitted = Network(
            Encoders(encoders, conditions),
            lambda v, d: fusions.make("transformer", v, d, heads=2, positions=positions), task, dim=8, members=2,
        ).eval()
    views = found.views(dict(fitted.encoders.conditions.items()))
    tokens = features.encode(fitted, views)
    return fitted, features.answer(fitted, tokens, found.present_NV), tokens


def test_padding_of_frozen_positions_is_no_position():
    """Four words at most: each record has as many positions as words, also after standardising moved the zeros."""
    _, _, tokens = answers_of(TEXTS)
    assert tokens["note"].mask.sum(1).tolist() == [1, 1, 0, 1, 1, 4, 1]


def test_frozen_positions_alone_as_in_a_batch():
    fitted, together, _ = answers_of(TEXTS)
    for i in (0, 2, 5):
        _, alone, _ = answers_of([TEXTS[i]], fitted=fitted)
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5)


def test_batches_of_any_size_give_the_same_answers():
    fitted, whole, tokens = answers_of(TEXTS, positions=False)
    present = np.array([text is not None for text in TEXTS])[:, None]
    np.testing.assert_allclose(features.answer(fitted, tokens, present, batch=2), whole, atol=1e-6)


def test_an_answer_with_a_view_taken_away_reads_nothing_of_it():
    fitted, _, tokens = answers_of(TEXTS, positions=False)
    gone = features.answer(fitted, tokens, np.zeros((7, 1), bool))
    assert (gone == 0.5).all(), "with nothing left, the prior of one x and one y"

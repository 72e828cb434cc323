"""The plain rivals of a matcher: by hand, what is absent, what is kept; and its page."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from polysense.errors import BadOption
from polysense.judge.match import DIRECTIONS, as_text, evaluate_pairs
from polysense.judge.match_page import WORDS, html
from polysense.judge.verify import judge_verification
from polysense.learn.joint import cross_entropies
from polysense.learn.linear import MAPS, Linear, SideFeatures
from polysense.metrics.ranks import chance, per_query, places, reciprocal


def sides(n=120, seed=0, noise=0.05):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 3))
    features = {"a": hidden @ rng.normal(size=(3, 6)), "b": hidden @ rng.normal(size=(3, 5)), "c": rng.normal(size=(n, 4))}
    features = {view: (x + noise * rng.normal(size=x.shape)).astype(np.float32) for view, x in features.items()}
    return features, {view: np.ones(n, bool) for view in features}


def fitted(features, present, n=120):
    def judge(queries, items):
        near = queries @ items.T
        return float(reciprocal(near, np.eye(len(near), dtype=bool)).mean())

    return Linear({"query": ["a"], "item": ["b", "c"]}).fit(features, present, np.arange(80), np.arange(80, n), judge)


@pytest.mark.parametrize("name", MAPS)
def test_linear_maps_find_what_shares_three_hidden_numbers(name):
    features, present = sides()
    features["c"][:] = 0
    made = fitted(features, present)
    queries, items = (made.vectors(name, side, made.features(side, features, present))[80:] for side in ("query", "item"))
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    assert ((queries @ items.T).argmax(1) == np.arange(40)).mean() > 0.8


def test_the_nearest_training_query_lends_its_item():
    features, present = sides(noise=0.0)
    made = fitted(features, present)
    lent = made.nearest("query", made.features("query", features, present)[:80], "item")
    own = made.features("item", features, present)[:80]
    np.testing.assert_allclose((lent * own).sum(1) / np.linalg.norm(own, axis=1), 1, atol=1e-3)  # kept in 16 bits


def test_what_stands_in_an_absent_view_is_never_read_and_presence_is_a_number():
    features, present = sides()
    present["c"][::3] = False
    made = SideFeatures(["b", "c"]).fit(features, present, np.arange(120))
    before = made(features, present)
    features["c"][::3] = np.nan
    np.testing.assert_array_equal(made(features, present), before)
    assert (before[::3, 6:10] == 0).all() and before[0, -1] != before[1, -1]


def test_standardised_by_hand():
    """Values 1 and 3: mean 2, deviation 1; one column, so divided by 1: -1 and 1; never absent, so no presence: 0."""
    made = SideFeatures(["a"]).fit({"a": np.array([[1.0], [3.0]])}, {"a": np.ones(2, bool)}, np.arange(2))
    assert made({"a": np.array([[1.0], [3.0]])}, {"a": np.ones(2, bool)}).tolist() == [[-1, 0], [1, 0]]


def test_linear_state_round_trips():
    features, present = sides()
    made = fitted(features, present)
    again = Linear.load(json.loads(json.dumps(made.state(), default=lambda x: {"$": x.tolist(), "t": str(x.dtype)}),
                                   object_hook=lambda d: np.array(d["$"], d["t"]).reshape(np.shape(d["$"])) if "$" in d else d))
    assert again.best == made.best and again.width == made.width
    x = made.features("query", features, present)
    np.testing.assert_allclose(again.features("query", features, present), x, atol=1e-6)


def test_the_cross_entropy_by_hand():
    """Two pairs, products 1 on the diagonal and 0 beside: -log(e^s / (e^s + 1)) falls with s, so the steepest wins."""
    steep, losses = cross_entropies(np.eye(2), np.eye(2, dtype=bool))
    np.testing.assert_allclose(losses, np.log1p(np.exp(-steep)), atol=1e-12)
    assert steep > 30
    _, level = cross_entropies(np.zeros((3, 3)), np.eye(3, dtype=bool))
    np.testing.assert_allclose(level, np.log(3))


def test_chance_is_what_random_orders_give():
    rng, right = np.random.default_rng(0), [[0], [1, 2, 3]]
    drawn = [per_query(places(rng.random((2, 12)), right)) for _ in range(4000)]
    expected = chance([1, 3], 12)
    for name, values in expected.items():
        found = np.array([one[name] for one in drawn])
        if name == "median_rank":
            np.testing.assert_allclose(np.median(found, 0), values, atol=1)
        else:
            np.testing.assert_allclose(found.mean(0), values, atol=0.02)


def test_error_rates_hold_their_values():
    rng = np.random.default_rng(0)
    same = np.arange(200) % 2 == 0
    found = judge_verification(same + rng.normal(size=200), same, 0.5, groups=np.arange(200) // 4, samples=200)
    for name in ("equal_error_rate", "auroc", "false_accept", "false_reject"):
        assert 0 <= found[name]["low"] <= found[name]["value"] <= found[name]["high"] <= 1
    assert 0.2 < found["equal_error_rate"]["value"] < 0.45 and found["roc"][0] == [0, 0] and found["roc"][-1] == [1, 1]


def evaluation(n=40):
    rng = np.random.default_rng(0)
    both = {side: rng.normal(size=(n, 4)) for side in ("query", "item")}
    present = np.ones((n, 3), bool)
    present[:5, 2] = False
    rivals = {name: {way: (both["item"], both["query"]) for way in DIRECTIONS} for name in ("ridge", "cca", "nearest")}
    return evaluate_pairs(
        lambda mask: both, present, np.arange(n) // 2, views=["a", "b", "c"], sides={"query": ["a"], "item": ["b", "c"]},
        network=lambda mask: both, rivals=rivals, samples=30,
    )


def test_equal_vectors_have_no_difference_and_every_set_of_a_side_is_judged():
    n = 40
    both = {"query": np.eye(n), "item": np.eye(n)}
    found = evaluate_pairs(
        lambda mask: both, np.ones((n, 2), bool), np.arange(n), views=["a", "b"], sides={"query": ["a"], "item": ["b"]},
        rivals={"cca": {way: (both["query"], both["item"]) for way in DIRECTIONS}}, samples=30,
    )
    assert found["query_to_item"]["recall_at_1"] == {"value": 1, "low": 1, "high": 1} and found["subsets"] == []
    assert found["differences"]["cca"]["query_to_item"]["mrr"] == {"value": 0, "low": 0, "high": 0}
    assert found["differences"]["chance"]["query_to_item"]["recall_at_10"]["value"] == pytest.approx(0.75)
    shown = evaluation()
    assert [(row["side"], row["present"], row["records"]) for row in shown["subsets"]] == [
        ("item", ["b"], 40), ("item", ["c"], 35), ("item", ["b", "c"], 35),
    ]
    assert shown["same"] == {"records": 40, "largest": 2} and "ridge regression" in as_text(shown)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_says_it_all_and_fetches_nothing(lang):
    made = {"match": {"loss": "infonce"}, "source": "<b>.csv", "seed": 0, "date": "2026-01-01", "cpu_seconds": 1.5, "versions": {"polysense": "1"}}
    page = html(evaluation(), lang=lang, source="<b>.csv", made=made, chosen={"share": 0.5, "map": "cca"})
    assert "<b>.csv" not in page and "&lt;b&gt;.csv" in page and "http" not in page.replace("http-equiv", "")
    assert page.count("<section") == 4 and not re.search(r"\{\w+\}", re.sub(r"<style>.*?</style>", "", page, flags=re.S))
    nothing = html(evaluation() | {"query_to_item": None}, lang=lang)
    assert WORDS[lang]["nothing"] in nothing
    with pytest.raises(BadOption):
        html(evaluation(), lang="xx")


def test_both_languages_have_the_same_words():
    assert WORDS["en"].keys() == WORDS["zh"].keys()
    for key in WORDS["en"]:
        assert set(re.findall(r"\{(\w+)\}", WORDS["en"][key])) == set(re.findall(r"\{(\w+)\}", WORDS["zh"][key])), key

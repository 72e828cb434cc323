"""Laws of splits: every record once, groups whole, classes spread."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysense.data.splits import connected_groups, folds, leaks, split
from polysense.errors import BadOption

TABLES = st.integers(0, 60).flatmap(lambda n: st.tuples(
    st.lists(st.sampled_from("aaaabbc"), min_size=n, max_size=n),
    st.lists(st.integers(0, 12), min_size=n, max_size=n),
))
SHARES = st.sampled_from([(1.0,), (0.8, 0.2), (0.6, 0.1, 0.3), (0.25,) * 4])


@given(TABLES, SHARES, st.integers(0, 99))
def test_every_record_stands_in_one_part_and_groups_stay_whole(table, shares, seed):
    targets, groups = table
    parts = split(targets, shares, groups=groups, seed=seed)
    assert len(parts) == len(shares)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(targets)))
    for part in parts:
        assert part.tolist() == sorted(part)
    homes = {(groups[row], p) for p, part in enumerate(parts) for row in part}
    assert len(homes) == len(set(groups))
    if len(set(groups)) >= len(shares):
        assert all(len(part) for part in parts)
    for again, part in zip(split(targets, shares, groups=groups, seed=seed), parts, strict=True):
        assert again.tolist() == part.tolist()


@given(st.lists(st.sampled_from("aaaaabbc"), min_size=20, max_size=200), SHARES, st.integers(0, 99))
def test_without_groups_every_class_is_spread_as_the_shares_say(targets, shares, seed):
    """No count is farther from share times class size than two records."""
    parts = split(targets, shares, seed=seed)
    for name, size in Counter(targets).items():
        for share, part in zip(shares, parts, strict=True):
            assert abs(sum(targets[row] == name for row in part) - share * size) <= 2
    for share, part in zip(shares, parts, strict=True):
        assert abs(len(part) - share * len(targets)) <= 3


def test_groups_of_many_sizes_still_give_the_shares():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(150), rng.integers(1, 12, 150))
    by_group = rng.choice(list("abcd"), 150, p=[0.5, 0.3, 0.15, 0.05])
    targets = by_group[groups].tolist()
    shares = (0.6, 0.1, 0.3)
    for seed in range(5):
        for share, part in zip(shares, split(targets, shares, groups=groups, seed=seed), strict=True):
            assert abs(len(part) / len(targets) - share) < 0.02
            for name, size in Counter(targets).items():
                assert abs(sum(targets[row] == name for row in part) / size - share) < 0.1


def test_the_seed_changes_the_split_and_the_global_state_does_not():
    targets = ["a", "b"] * 50
    first = split(targets, (0.8, 0.2), seed=0)[1].tolist()
    np.random.seed(5)
    assert split(targets, (0.8, 0.2), seed=0)[1].tolist() == first
    assert split(targets, (0.8, 0.2), seed=1)[1].tolist() != first


def test_a_class_of_one_record_is_learned_from():
    """Row 25: one record of class b among 100 of class a belongs to the larger part."""
    train, valid = split(["a"] * 100 + ["b"], (0.8, 0.2), seed=3)
    assert 100 in train and abs(len(valid) - 20) <= 1


def test_10_000_classes_and_no_record_and_one():
    train, valid = split(list(range(10_000)), (0.8, 0.2), seed=0)
    assert abs(len(train) - 8000) < 100
    assert [part.tolist() for part in split([], (0.8, 0.2), seed=0)] == [[], []]
    assert sorted(len(part) for part in split(["a"], (0.8, 0.2), seed=0)) == [0, 1]
    assert [len(part) for part in split(["a", "a"], (0.8, 0.2), seed=0)] == [1, 1]


def test_strata_are_spread_too():
    targets = ["a", "b"] * 100
    sound = [i < 20 for i in range(200)]  # 20 records with sound: 4 of them are due
    valid = split(targets, (0.8, 0.2), seed=0, strata=sound)[1]
    assert sum(sound[row] for row in valid) == 4


@given(TABLES, st.integers(2, 4), st.integers(0, 9))
def test_folds_test_every_record_once(table, k, seed):
    targets, groups = table
    if len(set(groups)) < k:
        with pytest.raises(BadOption, match="folds of"):
            list(folds(targets, k, groups=groups, seed=seed))
        return
    tested = []
    for train, test in folds(targets, k, groups=groups, seed=seed):
        assert len(train) and len(test)
        assert sorted([*train, *test]) == list(range(len(targets)))
        assert not {groups[row] for row in train} & {groups[row] for row in test}
        tested += test.tolist()
    assert sorted(tested) == list(range(len(targets)))


@pytest.mark.parametrize("shares", [(), (0.5, 0.4), (1.2, -0.2), (1.0, 0.0)])
def test_wrong_shares(shares):
    with pytest.raises(BadOption, match="sum to 1"):
        split(["a"], shares, seed=0)
    with pytest.raises(BadOption, match="2 groups for 1 records"):
        split(["a"], (1.0,), groups=[1, 2], seed=0)


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(0, 8)), max_size=3), max_size=15))
def test_connected_groups_are_the_components(keys):
    """Against closing the relation 'shares a key' step by step."""
    n = len(keys)
    sets = [set(own) - {None} for own in keys]
    shared = [i == j or bool(sets[i] & sets[j]) for i in range(n) for j in range(n)]
    linked = np.array(shared, dtype=int).reshape(n, n)
    for _ in range(n):
        linked = ((linked @ linked) > 0).astype(int)
    groups = connected_groups(keys)
    assert groups.dtype == np.int64 and len(groups) == n
    assert ((groups[:, None] == groups[None, :]) == linked.astype(bool)).all()
    assert list(dict.fromkeys(groups.tolist())) == list(range(len(set(groups.tolist()))))


def test_leaks_count_contents_not_records():
    assert leaks(["x", "x", "y", None], ["x", "z", None, "x"]) == 1
    assert leaks([], ["x"]) == 0

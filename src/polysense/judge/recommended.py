"""What recommendations are worth: measures over all items, each recommender beside the others on the same users.

Ranks are taken among all items that a user has not taken, never among a sample of them (Krichene and Rendle 2020,
doi:10.1145/3394486.3403226). Q users, I items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..metrics import Draws, Resamples
from ..metrics.ranks import RECOMMENDATION, coverage, judge_ranks, places
from ..talk import counted

#: Users whose scores are held at a time.
BLOCK = 256
#: Users below which the intervals say little.
FEW = 30
#: Names for people.
WORDS = {
    "recommender": "the recommender", "network": "the network alone", "popularity": "popularity", "item_knn": "item-kNN",
    "factors": "factorisation (ALS)", "content_knn": "content-kNN",
}

Scores = Callable[[Sequence[np.ndarray]], Mapping[str, np.ndarray]]


def blocks(histories: Sequence[np.ndarray], scores: Scores) -> Iterator[tuple[slice, Mapping[str, np.ndarray]]]:
    """(users, {recommender: (B, I)}), some users at a time; what a user has taken is -inf."""
    for start in range(0, len(histories), BLOCK):
        some = slice(start, min(start + BLOCK, len(histories)))
        found = {name: np.array(one, np.float32) for name, one in scores(histories[some]).items()}
        for b, mine in enumerate(histories[some]):
            for one in found.values():
                one[b, mine] = -np.inf
        yield some, found


def judge_recommendations(
    histories: Sequence[np.ndarray], right: Sequence[np.ndarray], scores: Scores, among_I: np.ndarray, *, samples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measures of every recommender with bootstrap intervals over users, and what the first gains over the others.

    Args:
        right: items that each user took next; those not in ``among_I`` do not count.
        scores: of histories, {recommender: (B, I)}.
        among_I: bool, the items that may be recommended.
    """
    right = [mine[among_I[mine]] for mine in right]
    asked = [q for q, mine in enumerate(right) if len(mine)]
    histories, right = [histories[q] for q in asked], [right[q] for q in asked]
    if not asked:
        return {"users": 0, "items": int(among_I.sum()), "scores": None, "baselines": {}, "differences": {}}
    ranks: dict[str, list[np.ndarray]] = {}
    listed: dict[str, list[np.ndarray]] = {}
    for some, found in blocks(histories, scores):
        for name, one in found.items():
            one[:, ~among_I] = -np.inf
            ranks.setdefault(name, []).extend(places(one, right[some]))
            listed.setdefault(name, []).extend(np.argsort(-one, axis=1, kind="stable")[:, :10])
    resamples = Resamples(len(asked), samples=samples, seed=seed)
    judged = {name: judge_ranks(mine, resamples, measures=RECOMMENDATION) for name, mine in ranks.items()}
    told = {
        name: one.scores() | {"coverage": {"value": coverage(listed[name], int(among_I.sum())), "low": None, "high": None}}
        for name, one in judged.items()
    }
    first, *others = judged
    return {
        "users": len(asked), "items": int(among_I.sum()), "scores": told.pop(first), "baselines": told,
        "differences": {name: _difference(judged[first] - judged[name]) for name in others},
    }


def _difference(draws: Draws) -> dict[str, Any]:
    """Of NDCG@10, paired; p one-sided: the first is not better."""
    drawn = draws.draws["ndcg_at_10"]
    return draws.scores()["ndcg_at_10"] | {"p": float((1 + (drawn <= 0).sum()) / (1 + len(drawn)))}


def parts(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """{what it is of: part of an evaluation}; those of known and of new items only where somebody took a new one."""
    both = [name for name in ("known_items", "new_items") if found.get("new_items") and found["new_items"]["users"]]
    all_ = {"all_items": found} | {name: found[name] for name in both}
    return {name: part for name, part in all_.items() if part["users"]}


def as_text(found: Mapping[str, Any]) -> str:
    """An evaluation as lines for people."""
    lines, titles = [], {"all_items": "all items", "known_items": "known items only", "new_items": "new items only"}
    for name, part in parts(found).items():
        title = titles[name]
        few = f"; too few to say: the intervals rest on {counted(part['users'], 'user')}" if part["users"] < FEW else ""
        lines.append(f"{title}: {counted(part['users'], 'user')}, {counted(part['items'], 'item')} to choose from{few}")
        lines.append(f"  {'':<22}{'NDCG@10':<24}{'HR@10':<24}{'MRR':<9}{'coverage':<10}difference of NDCG@10")
        for name, one in {"recommender": part["scores"], **part["baselines"]}.items():
            lines.append(
                f"  {WORDS.get(name, name):<22}{_shown(one['ndcg_at_10']):<24}{_shown(one['hit_at_10']):<24}"
                f"{one['mrr']['value']:<9.3f}{one['coverage']['value']:<10.2f}"
                + (_gain(part["differences"][name]) if name in part["differences"] else "")
            )
    return "\n".join(lines) or "nobody in this table took an item that could be recommended and was not taken before"


def _shown(score: Mapping[str, float]) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def _gain(one: Mapping[str, float]) -> str:
    return f"{one['value']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}], p {one['p']:.3f}"

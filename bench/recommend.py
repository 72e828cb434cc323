"""Recommendation on a set with known truth: real items, made-up users with hidden tastes, so that the ceiling is known.

    python bench/recommend.py [--seeds 1 2 3 4 5] [--users 800] [--items 600] [--out FILE] [--page]

Items: emoji of Google's set (fetched by npm), other ones for each seed: picture, English name, the version that brought each,
and its place in the keyboard's order modulo seven, which says nothing. Their groups and subgroups are in no column: they are
the truth that tastes are made of. A user likes few groups and subgroups (weights from a gamma distribution); the utility of
an item is her taste for its group and subgroup, plus the item's popularity (normal), plus noise (Gumbel), and she takes the
items of highest utility, 5 to 40 of them. A sixth of the items is new: nobody has taken one before the last period, in which
each user takes two known items more and two new ones. Ranks are among all items not taken yet. The oracle ranks by the
utility without its noise: the ceiling.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import common
import numpy as np

NEW, TAKEN = 1 / 6, (5, 40)
NAMES = {
    "recommender": ("the recommender", "推荐器"), "network": ("its network alone", "只用网络"),
    "content_knn": ("content-kNN", "内容近邻"), "item_knn": ("item-kNN", "物品近邻"),
    "factors": ("factorisation (ALS)", "矩阵分解（ALS）"), "popularity": ("popularity", "热门"),
    "chance": ("chance", "随机"), "oracle": ("oracle", "上限（真实口味）"),
}


def items(most: int, seed: int) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Rows of the items table; the group and subgroup of each, which no column shows."""
    from polysense.demo import emoji

    source = emoji.unpacked(common.say)
    rows, groups, subgroups = [], [], []
    for about in emoji.entries(source / "emoji.json"):
        drawing = source / "img" / Path(about["image"]).name
        if about["category"] == "Component" or not drawing.is_file():
            continue
        rows.append({
            "item": about["unified"], "picture": str(drawing), "name": about["name"].lower(),
            "version": float(about["added_in"]), "place": int(about["sort_order"]) % 7,
        })
        groups.append(about["category"])
        subgroups.append(f"{about['category']} {about['subcategory']}")
    some = np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])
    return [rows[i] for i in some], [groups[i] for i in some], [subgroups[i] for i in some]


class World:
    """Users, what they take, and the truth.

    Args:
        groups, subgroups: of I items.
        users: U.
    """

    def __init__(self, groups: list[str], subgroups: list[str], users: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        taste = np.zeros((users, len(groups)), np.float32)
        for names, size in ((groups, 1.2), (subgroups, 2.0)):
            kinds, which = np.unique(names, return_inverse=True)
            liking = rng.gamma(0.15, size / 0.15**0.5, (users, len(kinds)))
            taste += liking[:, which]
        self.new = np.zeros(len(groups), bool)
        self.new[rng.choice(len(groups), int(NEW * len(groups)), replace=False)] = True
        self.truth = taste + 0.8 * rng.normal(size=len(groups)).astype(np.float32)
        noisy = self.truth + rng.gumbel(size=self.truth.shape)
        self.before, self.known_next, self.new_next = [], [], []
        for u, count in enumerate(rng.integers(*TAKEN, users, endpoint=True)):
            known = np.argsort(-np.where(self.new, -np.inf, noisy[u]))[: count + 2]
            known = rng.permutation(known)  # the order tells nothing more
            self.before.append(known[:-2])
            self.known_next.append(known[-2:])
            self.new_next.append(np.argsort(-np.where(self.new, noisy[u], -np.inf))[:2])


def run(seed: int, users: int, most: int) -> dict[str, Any]:
    """One world: fit, judge everything on the same users."""
    from polysense import Recommender
    from polysense.judge.recommended import judge_recommendations

    rows, groups, subgroups = items(most, seed)
    world = World(groups, subgroups, users, seed)
    ids = [row["item"] for row in rows]
    taken = [{"user": f"u{u}", "item": ids[i]} for u, mine in enumerate(world.before) for i in mine]
    model = Recommender(seed=seed, verbose=seed == 0).fit(taken, rows)
    all_, rng = model.catalogue_, np.random.default_rng(seed)
    histories = [model.users_[f"u{u}"] for u in range(users)]
    place = {id(mine): u for u, mine in enumerate(histories)}

    def scores(some: list[np.ndarray]) -> dict[str, np.ndarray]:
        whose = [place[id(mine)] for mine in some]
        return {
            **model._all(some, all_), "chance": rng.random((len(some), len(ids)), np.float32), "oracle": world.truth[whose],
        }

    found = {
        "all items": judge_recommendations(
            histories, [np.concatenate(two) for two in zip(world.known_next, world.new_next, strict=True)], scores,
            np.ones(len(ids), bool), seed=seed,
        ),
        "known items": judge_recommendations(histories, world.known_next, scores, ~world.new, seed=seed),
        "new items": judge_recommendations(histories, world.new_next, scores, world.new, seed=seed),
    }
    facts = {"shares": model.shares_, "epochs": len(model.history_), "cpu": model.made_["cpu_seconds"]}
    return {"seed": seed, **facts, "interactions": len(taken), "found": found}


def interval(values: list[float]) -> list[float]:
    """Mean over seeds with a 95 % interval of Student's t."""
    from scipy.stats import t

    mean = float(np.mean(values))
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return [mean, mean - half, mean + half]


def table(runs: list[dict[str, Any]], machine: dict[str, Any], users: int, zh: bool = False) -> list[str]:
    """The figures as lines of Markdown."""
    kinds = {
        "new items": ("new items", "新物品"), "known items": ("known items", "已知物品"),
        "all items": ("all items", "全部物品"),
    }
    lines = [
        ("| NDCG@10 [95 % over seeds] | " if not zh else "| NDCG@10 [各种子 95 %] | ")
        + " | ".join(both[zh] for both in kinds.values()) + " |", "|---|---|---|---|",
    ]
    for name, both in NAMES.items():
        cells = []
        for kind in kinds:
            values = [
                {"recommender": one["found"][kind]["scores"], **one["found"][kind]["baselines"]}[name]["ndcg_at_10"]["value"]
                for one in runs
            ]
            cells.append("{:.3f} [{:.3f}, {:.3f}]".format(*interval(values)))
        lines.append(f"| {both[zh]} | " + " | ".join(cells) + " |")
    lines += ["", ("| 推荐器减去 | " if zh else "| the recommender less | ") + " | ".join(b[zh] for b in kinds.values()) + " |",
              "|---|---|---|---|"]
    for name in ("content_knn", "item_knn", "factors", "popularity"):
        cells = []
        for kind in kinds:
            gains = [one["found"][kind]["differences"][name] for one in runs]
            worst = max(gain["p"] for gain in gains)
            shown = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*interval([gain["value"] for gain in gains]))
            cells.append(f"{shown}, p <= {worst:.3f}")
        lines.append(f"| {NAMES[name][zh]} | " + " | ".join(cells) + " |")
    cpu, count = np.mean([one["cpu"] for one in runs]), runs[0]["found"]["all items"]["items"]
    lines += ["", (
        f"{len(runs)} seeds, {users:,} users and {count:,} items each, {runs[0]['interactions']:,} interactions in the first; "
        f"{cpu:.0f} CPU seconds a fit on one thread of {machine['cpu']}.",
        f"{len(runs)} 个种子，各 {users:,} 名用户、{count:,} 个物品，第一个种子 {runs[0]['interactions']:,} 次交互；"
        f"每次训练 {cpu:.0f} CPU 秒（{machine['cpu']} 单线程）。",
    )[zh]]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python bench/recommend.py", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3, 4, 5])
    parser.add_argument("--users", type=int, default=800)
    parser.add_argument("--items", type=int, default=600, help="emoji that are drawn for each seed")
    parser.add_argument("--out", type=Path, default=common.OUT / "recommend.json")
    parser.add_argument("--page", action="store_true", help="write the tables into docs/recommend.md and docs/zh/recommend.md")
    parser.add_argument("--join", type=Path, nargs="*", default=[], help="files of other runs whose seeds are shown too")
    given = parser.parse_args()
    runs = [one for path in given.join for one in json.loads(path.read_text())["runs"]]
    for seed in given.seeds:
        runs.append(run(seed, given.users, given.items))
        common.say(json.dumps({key: value for key, value in runs[-1].items() if key != "found"}))
        common.say("\n".join(table(runs, {"cpu": ""}, given.users)))
    machine = common.machine()
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps({"machine": machine, "users": given.users, "runs": runs}, indent=1))
    print("\n".join(table(runs, machine, given.users)))
    if given.page:
        for page, zh in ((Path("docs/recommend.md"), False), (Path("docs/zh/recommend.md"), True)):
            common.between(page, "recommend.py", table(runs, machine, given.users, zh))


if __name__ == "__main__":
    main()

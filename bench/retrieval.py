"""What finds what: pictures, words and speech, beside the plain rivals, on records the matcher has never seen.

    python bench/retrieval.py [--emoji DIR] [--stamps DIR] [--seeds 0 1 2 3 4] [--sets NAME ...]

Sets: emoji (Google's pictures and English names with tags), vendor (the same matcher, Twitter's pictures of the emoji held
out), chinese (Google's pictures and Chinese names), stamps (picture and English name; picture and spoken description; name and
spoken description; and both of these together). Each set is fitted with every seed on train, its settings are polysense's own
and everything that is chosen is chosen on valid; what is judged are the records of test, groups of variants held out. Recall
of the seeds is averaged query by query; intervals are 95 % bootstrap over groups, differences are paired. The table goes into
docs/matching.md and docs/zh/matching.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import between, machine, say, write

from polysense import Matcher, demo
from polysense.data.records import as_records, read_table
from polysense.data.tables import groups_of
from polysense.judge.match import DIRECTIONS, ranks
from polysense.learn.joint import same_content
from polysense.metrics import Resamples
from polysense.metrics.ranks import chance, judge_each, per_query

MEASURES = ("recall_at_1", "recall_at_10", "mrr", "median_rank")
#: Set -> (which demo, query, item, columns of the test that stand in for others).
SETS = {
    "emoji": ("emoji", "google", "english", {}),
    "vendor": ("emoji", "google", "english", {"google": "twitter"}),
    "chinese": ("emoji", "google", "chinese", {}),
    "stamps, picture and name": ("stamps", "english", "picture", {}),
    "stamps, picture and speech": ("stamps", "speech", "picture", {}),
    "stamps, name and speech": ("stamps", "speech", "english", {}),
    "stamps, name + speech and picture": ("stamps", "english,speech", "picture", {}),
}
NAMES = {
    "en": {"matcher": "the matcher", "network": "its network alone", "ridge": "ridge regression",
           "cca": "canonical correlation",
           "nearest": "nearest training query", "chance": "chance"},
    "zh": {"matcher": "匹配器", "network": "其中的网络", "ridge": "岭回归", "cca": "典型相关", "nearest": "最近的训练查询",
           "chance": "随机"},
}
SET_NAMES = {
    "emoji": ("Emoji held out: Google's picture ↔ English name and tags", "留出的表情：Google 图片 ↔ 英文名称与标签"),
    "vendor": ("Vendor held out: Twitter's picture ↔ English name and tags", "留出的厂商：Twitter 图片 ↔ 英文名称与标签"),
    "chinese": ("Google's picture ↔ Chinese name and tags", "Google 图片 ↔ 中文名称与标签"),
    "stamps, picture and name": ("Stamps: English name ↔ picture", "图章：英文名称 ↔ 图片"),
    "stamps, picture and speech": ("Stamps: spoken description ↔ picture", "图章：语音描述 ↔ 图片"),
    "stamps, name and speech": ("Stamps: spoken description ↔ English name", "图章：语音描述 ↔ 英文名称"),
    "stamps, name + speech and picture": ("Stamps: name + speech ↔ picture", "图章：名称 + 语音 ↔ 图片"),
}


def run(emoji: Path, stamps: Path, seeds: Sequence[int], wanted: Sequence[str]) -> dict[str, Any]:
    """Every set, every seed."""
    folders = {"emoji": emoji, "stamps": stamps}
    made = {"emoji": demo.emoji_pairs, "stamps": demo.stamps}
    found, fitted = {}, {}
    for name in wanted:
        which, query, item, instead = SETS[name]
        folder = folders[which]
        if not (folder / "test.csv").is_file():
            made[which](folder, progress=say)
        outcomes, groups, seconds = [], None, []
        for seed in seeds:
            key = which, query, item, seed
            if key not in fitted:
                started = time.process_time()
                fitted[key] = Matcher(query, item, group="group", seed=seed).fit(folder / "train.csv", folder / "valid.csv")
                seconds.append(time.process_time() - started)
            outcome, groups = judged(fitted[key], folder / "test.csv", instead)
            outcomes.append(outcome)
            say(f"{name}, seed {seed}: fitted in {sum(seconds[-1:]):.0f} CPU s, linear share {fitted[key].chosen_['share']}")
        found[name] = summary(outcomes, groups) | {"cpu_seconds": seconds, "shares": [
            fitted[which, query, item, seed].chosen_["share"] for seed in seeds
        ]}
        if name != "emoji":
            fitted = {key: one for key, one in fitted.items() if key[:3] == ("emoji", "google", "english")}
        show(name, found[name])
        write("retrieval", {"seeds": list(seeds), "sets": found})
    return found


def judged(matcher: Matcher, path: Path, instead: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """{predictor: {direction: {measure: (Q,)}}} on the records of test, and {direction: group of each query}."""
    records = read_table(path)
    if instead:
        rows = [{name: records.cell(instead.get(name, name), i) for name in records.names} for i in range(len(records))]
        for row in rows:
            row |= {name: row[name] and str(path.parent / row[name]) for name in instead}
        records = as_records([{k: v for k, v in row.items() if k not in instead.values()} for row in rows])
    cells = matcher._cells(records)
    found, tokens = matcher._numbers(cells, rivals=True)
    rows, present = np.arange(len(records)), found.present_NV
    same, groups = same_content(cells, matcher.sides_), np.array([str(group) for group in groups_of(records, "group")])
    from polysense.learn.features import answer

    both = matcher._vectors(tokens, found, present, rows)
    network = dict(zip(("query", "item"), matcher.network_.two(answer(matcher.network_, tokens, present)), strict=True))
    rivals = matcher._rivals(found, present, rows)
    outcome: dict[str, Any] = {}
    of_queries = {}
    for direction, (asking, among) in DIRECTIONS.items():
        has = [present[:, [found.names.index(view) for view in matcher.sides_[side]]].any(1) for side in (asking, among)]
        queries, items = np.flatnonzero(has[0] & has[1]), np.flatnonzero(has[1])
        right = [np.flatnonzero(same[items] == same[query]) for query in queries]
        of_queries[direction] = groups[queries]
        pairs = {"matcher": (both[asking], both[among]), "network": (network[asking], network[among])}
        pairs |= {name: rivals[name][direction] for name in rivals}
        for name, (one, other) in pairs.items():
            each = per_query(ranks(one[queries], other[items], right), MEASURES)
            outcome.setdefault(name, {})[direction] = each
        outcome.setdefault("chance", {})[direction] = chance([len(one) for one in right], len(items), MEASURES)
    return outcome, of_queries


def summary(outcomes: Sequence[Mapping[str, Any]], groups: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """{direction: {predictor: scores and the matcher's lead}}, seeds averaged query by query."""
    found: dict[str, Any] = {}
    for direction in DIRECTIONS:
        draws = Resamples(len(groups[direction]), groups=groups[direction], samples=2000)
        means = {
            name: judge_each({m: np.mean([one[name][direction][m] for one in outcomes], 0) for m in MEASURES}, draws)
            for name in outcomes[0]
        }
        found[direction] = {"queries": len(groups[direction]), "predictors": {
            name: {"scores": one.scores(), "lead": (means["matcher"] - one).scores()} for name, one in means.items()
        }}
    return found


def _figure(score: Mapping[str, float], signed: bool = False) -> str:
    form = "{:+.1f}" if signed else "{:.1f}"
    value, low, high = (form.format(100 * score[key]).replace("-", "−") for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def show(name: str, one: Mapping[str, Any]) -> None:
    """One set as a table."""
    for direction in DIRECTIONS:
        asked = f"{direction.replace('_', ' ')}, {one[direction]['queries']} queries"
        print(f"\n{name}, {asked}; recall@10 in %, the matcher's lead in points")
        for predictor, scores in one[direction]["predictors"].items():
            lead = "" if predictor == "matcher" else _figure(scores["lead"]["recall_at_10"], signed=True)
            print(f"  {NAMES['en'][predictor]:<24} {_figure(scores['scores']['recall_at_10']):<20} {lead:<22} "
                  f"MRR {scores['scores']['mrr']['value']:.3f}", flush=True)


def pages(found: Mapping[str, Any]) -> None:
    """The tables of the docs."""
    about = machine()
    docs = Path(__file__).parents[1] / "docs"
    for place, lang in ((docs / "matching.md", "en"), (docs / "zh" / "matching.md", "zh")):
        en = lang == "en"
        there, back, lead = ("query → item", "item → query", "lead") if en else ("查询 → 条目", "条目 → 查询", "领先")
        heads = ("", there, lead, back, lead)
        lines = [
            f"{about['cpu']}, one thread, seeds averaged query by query; recall@10 in percent, leads in points, 95 % bootstrap "
            "over groups." if en else
            f"{about['cpu']}，单线程，各种子逐查询平均；前 10 命中率（百分比），领先（百分点），按组自助法的 95 % 区间。", "",
        ]
        for name, one in found.items():
            n = one["query_to_item"]["queries"]
            runs = len(one["shares"])
            counts = f"({n} queries, {runs} seeds)" if en else f"（{n} 个查询，{runs} 个种子）"
            lines += [f"**{SET_NAMES[name][0 if en else 1]}** {counts}", ""]
            lines += ["| " + " | ".join(heads) + " |", "|---|---|---|---|---|"]
            for predictor, words in NAMES[lang].items():
                cells = []
                for direction in DIRECTIONS:
                    scores = one[direction]["predictors"][predictor]
                    cells.append(_figure(scores["scores"]["recall_at_10"]))
                    cells.append("" if predictor == "matcher" else _figure(scores["lead"]["recall_at_10"], signed=True))
                lines.append(f"| {words} | " + " | ".join(cells) + " |")
            lines.append("")
        between(place, "retrieval.py", lines[:-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--emoji", type=Path, default=Path("polysense-emoji-pairs"))
    parser.add_argument("--stamps", type=Path, default=Path("polysense-demo"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--pages", action="store_true", help="write the tables into the docs")
    given = parser.parse_args()
    found = run(given.emoji, given.stamps, given.seeds, given.sets)
    if given.pages:
        pages(found)


if __name__ == "__main__":
    main()

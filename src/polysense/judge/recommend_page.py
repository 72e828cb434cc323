"""An evaluation of a recommender as one HTML file: no script, nothing fetched, in English or Chinese."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..metrics.ranks import RECOMMENDATION
from . import about
from .draw import Axis, strip
from .recommended import FEW, parts
from .report import curves, frame
from .words import Words

#: The measure that compares, and those that stand beside it.
MAIN, TILES = "ndcg_at_10", ("ndcg_at_10", "hit_at_10", "mrr", "coverage")
#: Items of a history, the latest first, and of what is recommended, that are shown of a user.
TAKEN, SHOWN = 8, 10

WORDS = {
    "en": {
        "title": "What is recommended: {source}",
        "nothing": "Nobody in this table took an item that could be recommended and was not taken before.",
        "right": "Of {users} users <b>{hit}</b> take one of the ten items that stand first for them <span class=\"spread\">"
                 "({range})</span>; {items} items are there to choose from.",
        "ahead_of": "In NDCG@10 it is ahead of {rival}, the strongest plain recommender, by {points}.",
        "level_with": "In NDCG@10 it is level with {rival}, the strongest plain recommender: {points}.",
        "behind": "In NDCG@10 it is behind {rival}, the strongest plain recommender: {points}.",
        "new_right": "Of {users} users who took an item that was new, <b>{hit}</b> find one of theirs among the first ten of "
                     "the {items} new ones.",
        "few": "Too few to say: the intervals rest on {n} users.", "all_items": "All items", "known_items": "Known items only",
        "new_items": "New items only",
        "about_known": "Items that were taken in training, and only they to choose from.",
        "about_new": "Items that nobody had taken in training, and only they to choose from. Who only knows interactions gives "
                     "them all one score, which counts as the middle rank.",
        "recommender": "this recommender", "network": "the network alone", "its_network": "network",
        "popularity": "popularity", "item_knn": "item-kNN",
        "factors": "factorisation (ALS)", "content_knn": "content-kNN",
        "ndcg_at_10": "NDCG@10", "hit_at_1": "hit rate@1", "hit_at_5": "hit rate@5", "hit_at_10": "hit rate@10",
        "mrr": "mean reciprocal rank", "coverage": "coverage",
        "found": "NDCG@10: how far up in the first ten what was taken stands", "axis": "NDCG@10",
        "ahead": "How far ahead in NDCG@10, on the same users", "apart": "difference of NDCG@10", "rival": "against",
        "fine": "Ranks are among all items that a user has not taken. Intervals: 95&nbsp;% percentile bootstrap over users, "
                "differences paired. Coverage: share of the items that stand in anyone's first ten.",
        "measure": "measure", "value": "value", "interval": "95&nbsp;% interval", "all": "All measures", "p": "p (not better)",
        "s_users": "Some users", "users_words": "From the best served to the worst, evenly spaced. What was taken "
                   "afterwards is framed where it was recommended.",
        "had": "had taken, the latest first", "gets": "is recommended", "took": "took afterwards",
        "served": "NDCG@10 {value}", "nobody": "nothing known: popular items",
        "no_items": "The items are shown by their ids; name their table (--items TABLE) to see them.",
        "valid_curve": "NDCG@10 of the network on validation", "loss_curve": "loss in training",
        "s_learning": "Learning curves", "s_shares": "Shares in the answer", "share": "share",
        "shares_words": "Chosen on validation; each recommender's scores are standardised first.",
        "for_known": "known items", "for_new": "new items", "s_made": "How it was made", "s_data": "The items",
        "interactions": "interactions from", "items_": "items from", "counts": "learned from",
        "counted": "{interactions} interactions of {users} users with {known} of {all} items",
        "views": "views", "date": "date", "seed": "seed", "seconds": "CPU seconds", "picture": "picture of {name}",
    },
    "zh": {
        "title": "推荐了什么：{source}", "nothing": "此表中没有人取过可推荐、此前又未取过的物品。",
        "right": "{users} 名用户中，<b>{hit}</b> 取了排在前十的物品之一"
                 "（<span class=\"spread\">{range}</span>），可选物品 {items} 个。",
        "ahead_of": "NDCG@10 领先最强的简单推荐器（{rival}）{points}。",
        "level_with": "NDCG@10 与最强的简单推荐器（{rival}）持平：{points}。",
        "behind": "NDCG@10 落后于最强的简单推荐器（{rival}）：{points}。",
        "new_right": "取了新物品的 {users} 名用户中，<b>{hit}</b> 所取的排在 {items} 个新物品的前十。",
        "few": "用户太少，难下结论：区间只依据 {n} 名用户。",
        "all_items": "全部物品", "known_items": "仅已知物品",
        "new_items": "仅新物品",
        "about_known": "训练中有人取过的物品，只在其中选择。",
        "about_new": "训练中无人取过的物品，只在其中选择。只知道交互的推荐器给它们同一分数，按中间名次计。",
        "recommender": "本推荐器", "network": "仅网络", "its_network": "网络", "popularity": "热门", "item_knn": "物品近邻",
        "factors": "矩阵分解（ALS）", "content_knn": "内容近邻",
        "ndcg_at_10": "NDCG@10", "hit_at_1": "前 1 命中率", "hit_at_5": "前 5 命中率", "hit_at_10": "前 10 命中率",
        "mrr": "平均倒数排名", "coverage": "覆盖率",
        "found": "NDCG@10：所取物品在前十名中有多靠前", "axis": "NDCG@10",
        "ahead": "NDCG@10 领先多少（相同用户）", "apart": "NDCG@10 之差", "rival": "相比",
        "fine": "名次在用户尚未取过的全部物品中计算。区间：按用户的 95&nbsp;% 百分位自助法，差值是配对的。"
                "覆盖率：出现在任何人前十名中的物品所占份额。",
        "measure": "度量", "value": "数值", "interval": "95&nbsp;% 区间", "all": "全部度量", "p": "p（并不更好）",
        "s_users": "若干用户", "users_words": "从服务得最好的到最差的，等距选取。之后所取的物品若被推荐，则加框。",
        "had": "此前取过（最近的在前）", "gets": "推荐", "took": "之后取了",
        "served": "NDCG@10 {value}", "nobody": "一无所知：推荐热门物品",
        "no_items": "物品仅以 id 显示；指定物品表（--items TABLE）可看到它们。",
        "valid_curve": "网络在验证集上的 NDCG@10", "loss_curve": "训练损失",
        "s_learning": "学习曲线", "s_shares": "回答中的份额", "share": "份额",
        "shares_words": "由验证集选出；各推荐器的分数先标准化。",
        "for_known": "已知物品", "for_new": "新物品", "s_made": "如何得到", "s_data": "物品",
        "interactions": "交互来自", "items_": "物品来自", "counts": "学自",
        "counted": "{users} 名用户与 {all} 个物品中 {known} 个的 {interactions} 次交互",
        "views": "视图", "date": "日期", "seed": "随机种子", "seconds": "CPU 秒", "picture": "{name} 的图片",
    },
}


class _Page:
    """The words of one language, those of every report where it has none of its own, and figures in them."""

    def __init__(self, lang: str) -> None:
        self.frame = Words(lang)
        self.language, self.words = lang, WORDS[lang]

    def __call__(self, key: str, **values: Any) -> str:
        return self.words[key].format(**values) if key in self.words else self.frame(key, **values)

    def value(self, score: Mapping[str, float | None], name: str = MAIN) -> str:
        """Shares in percent, the rest as it is."""
        value = score["value"]
        if value is None:
            return "–"
        return f"{value:.3f}" if name in (MAIN, "mrr") else self.frame("percent", value=f"{100 * value:.1f}")

    def range(self, score: Mapping[str, float | None], name: str = MAIN) -> str:
        if score["low"] is None:
            return ""
        times, form = (1, ".3f") if name in (MAIN, "mrr") else (100, ".1f")
        return f"{times * score['low']:{form}}–{times * score['high']:{form}}"

    def apart(self, score: Mapping[str, float | None]) -> str:
        """A difference with its interval."""
        value, low, high = (f"{round(score[key], 3) + 0.0:+.3f}".replace("-", "−") for key in ("value", "low", "high"))
        return f'{value} <span class="spread">[{low}, {high}]</span>'

    def joined(self, sentences: Sequence[str]) -> str:
        return ("" if self.language == "zh" else " ").join(sentences)


def html(
    evaluation: Mapping[str, Any], *, title: str = "", lang: str = "en", source: str = "",
    history: Sequence[Mapping[str, Any]] = (), shares: Mapping[str, Mapping[str, float]] | None = None,
    users: Sequence[Mapping[str, Any]] = (), pictured: bool = True, data: Mapping[str, Any] | None = None,
    made: Mapping[str, Any] | None = None, encoders: Mapping[str, str] | None = None,
) -> str:
    """The page.

    Args:
        evaluation: of ``Recommender.evaluate``.
        title: heading; one that names the source if empty.
        lang: en or zh.
        source: the table that was judged.
        history: one dict per epoch.
        shares: of the recommenders in the answer.
        users: some: user, value, history, recommended, taken: lists of items (id, text, image_jpeg_bytes, hit).
        pictured: what the items show is known.
        data: of ``facts.data_facts``, of the items.
        made, encoders: facts of the recommender.

    Raises:
        BadOption: the report does not speak this language.
    """
    say, found = _Page(lang), []
    found += [(name, say(name), _part(say, part, name)) for name, part in parts(evaluation).items()]
    if users:
        found.append(("users", say("s_users"), _users(say, users, pictured)))
    for name, body in (
        ("shares", _shares(say, shares or {})), ("learning", _learning(say, history)),
        ("data", about.data(say.frame, {key: value for key, value in (data or {}).items() if key != "train"}, [])),
        ("made", _made(say, made, encoders or {}) if made else ""),
    ):
        if body:
            found.append((name, say(f"s_{name}"), body))
    return frame(say.frame, title or say("title", source=source), _summary(say, evaluation), found)


def _summary(say: _Page, evaluation: Mapping[str, Any]) -> str:
    if not evaluation["users"]:
        return f'<p class="lead">{say("nothing")}</p>'
    scores, plain = evaluation["scores"], {k: v for k, v in evaluation["baselines"].items() if k != "network"}
    lines = [say(
        "right", users=f"{evaluation['users']:,}", hit=say.value(scores["hit_at_10"], "hit_at_10"),
        range=say.range(scores["hit_at_10"], "hit_at_10"), items=f"{evaluation['items']:,}",
    )]
    if plain:
        best = max(plain, key=lambda name: plain[name][MAIN]["value"])
        apart = evaluation["differences"][best]
        how = "ahead_of" if apart["low"] > 0 else "behind" if apart["high"] < 0 else "level_with"
        lines.append(say(how, rival=say(best), points=say.apart(apart)))
    new = evaluation.get("new_items")
    if new and new["users"]:
        hit = say.value(new["scores"]["hit_at_10"], "hit_at_10")
        lines.append(say("new_right", users=f"{new['users']:,}", items=f"{new['items']:,}", hit=hit))
    few = evaluation["users"] < FEW
    warning = f'<p class="warning">{say("few", n=evaluation["users"])}</p>' if few else ""
    return f'<p class="lead">{say.joined(lines)}</p>{warning}'


def _part(say: _Page, part: Mapping[str, Any], key: str) -> str:
    """Tiles, the plain recommenders beside it, how far ahead, and all measures."""
    scores = part["scores"]
    words = f'<p>{say("about_" + key.removesuffix("_items"))}</p>' if key != "all_items" else ""
    tiles = "".join(
        f'<div class="tile"><div class="what">{say(name)}</div><div class="figure">{say.value(scores[name], name)}</div>'
        f'<span class="spread">{say.range(scores[name], name)}</span></div>' for name in TILES
    )
    lines = [("recommender", scores, "model"), *((name, one, "rival") for name, one in part["baselines"].items())]
    axis = Axis.numbers(one[MAIN] for _, one, _ in lines)
    labels = {name: "" if name == MAIN else f' data-label="{say(name)}"' for name in TILES}
    rows = "".join(
        f'<tr><th scope="row">{say(which)}</th><td class="plot">{strip(axis, [(kind, say(MAIN), one[MAIN])])}</td>'
        + "".join(f'<td class="n"{labels[name]}>{say.value(one[name], name)}</td>' for name in TILES) + "</tr>"
        for which, one, kind in lines
    )
    heads = "".join(f'<th scope="col" class="n">{say(measure)}</th>' for measure in TILES)
    measures = "".join(
        f'<tr><th scope="row">{say(name)}</th><td class="n">{say.value(scores[name], name)}</td>'
        f'<td class="n">{say.range(scores[name], name)}</td></tr>' for name in (*RECOMMENDATION, "coverage")
    )
    return f"""{words}<div class="tiles">{tiles}</div>
<table class="plots baselines"><caption>{say('found')}</caption>
<thead><tr><td></td><td class="plot"></td>{heads}</tr></thead><tbody>{rows}</tbody>
<tfoot><tr><td></td><td class="plot">{axis.labels(say('axis'))}</td>{'<td></td>' * len(TILES)}</tr></tfoot></table>
{_ahead(say, part)}
<details><summary>{say('all')}</summary><table class="rows"><thead><tr><th scope="col">{say('measure')}</th>
<th scope="col" class="n">{say('value')}</th><th scope="col" class="n">{say('interval')}</th></tr></thead>
<tbody>{measures}</tbody></table></details>
<p class="fine">{say('fine')}</p>"""


def _ahead(say: _Page, part: Mapping[str, Any]) -> str:
    """Paired differences to each of the others."""
    apart = part["differences"]
    if not apart:
        return ""
    axis = Axis.differences([{key: one[key] for key in ("value", "low", "high")} for one in apart.values()], percent=False)
    rows = "".join(
        f'<tr><th scope="row">{say(name)}</th><td class="plot">{strip(axis, [("model", say("apart"), one)])}</td>'
        f'<td class="n">{say.apart(one)}</td><td class="n" data-label="{say("p")}">{one["p"]:.3f}</td></tr>'
        for name, one in apart.items()
    )
    return f"""<table class="plots worth"><caption>{say('ahead')}</caption>
<thead><tr><th scope="col">{say('rival')}</th><td class="plot"></td><th scope="col" class="n">{say('apart')}</th>
<th scope="col" class="n">{say('p')}</th></tr></thead>
<tbody>{rows}</tbody>
<tfoot><tr><td></td><td class="plot">{axis.labels(say('apart'))}</td><td></td><td></td></tr></tfoot></table>"""


def _users(say: _Page, users: Sequence[Mapping[str, Any]], pictured: bool) -> str:
    """A card for each: what was taken before, what is recommended, what was taken afterwards."""
    cards = ""
    for one in users:
        value = say("served", value=f"{one['value']:.3f}")
        rows = [("gets", one["recommended"][:SHOWN]), ("took", one["taken"])]
        if one["history"]:
            rows.insert(0, ("had", one["history"][:TAKEN]))
        else:
            value += f" · {say('nobody')}"
        body = "".join(
            f'<div class="cell"><span class="column">{say(key)}</span><div class="looked">'
            + "".join(_item(say, item) for item in items) + "</div></div>"
            for key, items in rows
        )
        cards += f'<article><header><b>{escape(str(one["user"]))}</b><small>{value}</small></header>{body}</article>'
    note = "" if pictured else f'<p class="fine">{say("no_items")}</p>'
    return f'<p>{say("users_words")}</p>{note}<div class="gallery pair">{cards}</div>'


def _item(say: _Page, item: Mapping[str, Any]) -> str:
    name = escape(str(item.get("text") or item["id"]))
    picture = item.get("image_jpeg_bytes")
    shown = (
        f'<img alt="{say("picture", name=name)}" src="data:image/jpeg;base64,{b64encode(picture).decode()}">' if picture else ""
    )
    kind = ' class="hit"' if item.get("hit") else ""
    return f'<figure{kind} title="{name}">{shown}<figcaption>{name}</figcaption></figure>'


def _shares(say: _Page, shares: Mapping[str, Mapping[str, float]]) -> str:
    if not shares:
        return ""
    names = [name for name in ("network", "popularity", "item_knn", "factors", "content_knn")
             if any(one.get(name) for one in shares.values())]
    heads = "".join(f'<th scope="col" class="n">{say("for_" + kind)}</th>' for kind in shares)
    rows = "".join(
        f'<tr><th scope="row">{say("its_network" if name == "network" else name)}</th>' + "".join(
            f'<td class="n">{say.frame("percent", value=f"{100 * one.get(name, 0):.0f}")}</td>' for one in shares.values()
        ) + "</tr>" for name in names
    )
    return f"""<p>{say("shares_words")}</p>
<table class="rows"><thead><tr><th scope="col">{say("share")}</th>{heads}</tr></thead>
<tbody>{rows}</tbody></table>"""


def _learning(say: _Page, history: Sequence[Mapping[str, Any]]) -> str:
    def line(key: str) -> list[tuple[float, float]]:
        return [(one.get("epoch", i + 1), one[key]) for i, one in enumerate(history) if one.get(key) is not None]

    if len(history) < 2:
        return ""
    plots = [
        curves(say, "loss_curve", "loss_axis", [("training", "rival", line("loss"))]),
        curves(say, "valid_curve", MAIN, [("validation", "model", line(f"valid_{MAIN}"))]),
    ]
    return f'<div class="curves">{"".join(plots)}</div>'


def _made(say: _Page, made: Mapping[str, Any], encoders: Mapping[str, str]) -> str:
    counts = {
        "interactions": f"{made['interactions']:,}", "users": f"{made['users']:,}", "known": f"{made['known items']:,}",
        "all": f"{made['all items']:,}",
    }
    facts = {
        "interactions": escape(str(made["source"])), "items_": escape(str(made["items"])), "counts": say("counted", **counts),
        "views": "<br>".join(f"{escape(view)} ← {escape(name)}" for view, name in encoders.items()),
        "seed": made["seed"], "date": made["date"], "seconds": made["cpu_seconds"],
    }
    lines = "".join(f"<dt>{say(name)}</dt><dd>{value}</dd>" for name, value in facts.items())
    versions = ", ".join(f"{escape(name)} {escape(version)}" for name, version in made["versions"].items() if version)
    return f'<dl>{lines}</dl><p class="fine">{versions}</p>'

"""An evaluation of a matcher as one HTML file: no script, nothing fetched, in English or Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ..metrics.ranks import RETRIEVAL
from . import about
from .draw import Axis, strip
from .figures import percent
from .match import DIRECTIONS, MAIN
from .report import frame
from .words import Words

WORDS = {
    "en": {
        "title": "What finds what in {source}", "nothing": "No record has both sides, so there is nothing to judge.",
        "right": "Of {n} queries <b>{value}</b> find a right one among the first ten, {from_} → {to} "
                 "<span class=\"spread\">({range})</span>; the other way round <b>{back}</b> <span class=\"spread\">"
                 "({back_range})</span>. By chance it would be {chance}.",
        "same": "{n} records share a text or other content with another, directly or through a third, and count as right for "
                "each other.",
        "sampled": "{n} queries are drawn of them.", "few": "Too few to say: the intervals rest on {n} records.",
        "this": "this matcher", "network": "the network alone", "ridge": "ridge regression", "cca": "canonical correlation",
        "nearest": "nearest training query", "chance": "chance",
        "recall_at_1": "recall@1", "recall_at_5": "recall@5", "recall_at_10": "recall@10", "mrr": "mean reciprocal rank",
        "map": "mean average precision", "median_rank": "median rank", "s_found": "{from_} → {to}",
        "found": "A right one among the first ten, in percent of the queries", "axis": "recall@10, %",
        "ahead": "How far ahead, in points of recall@10", "points": "points", "rival": "against", "records": "records",
        "s_subsets": "With some views of a side", "side": "side", "query": "query", "item": "item", "views": "views",
        "subsets": "recall@10 where a side has only these views, on the records that have them all",
        "fine": "Intervals: 95&nbsp;% percentile bootstrap over {units}. All measures of one direction are of the same "
                "queries; differences are paired. The rivals read the same features and were trained on the same pairs.",
        "groups": "groups", "singles": "records", "measure": "measure", "value": "value", "interval": "95&nbsp;% interval",
        "all": "All measures", "s_made": "How it was made", "share": "linear map's share of the vectors", "map_": "linear map",
        "loss": "loss", "pairs": "training pairs from", "date": "date", "seed": "seed", "seconds": "CPU seconds",
        "s_bad": "Cells that could not be read",
    },
    "zh": {
        "title": "{source}：以什么找到什么", "nothing": "没有一条记录两侧俱全，因此无可评判。",
        "right": "{n} 个查询中，<b>{value}</b> 在前十个结果里找到了正确的一个"
                 "（{from_} → {to}，<span class=\"spread\">{range}</span>）；反方向为 <b>{back}</b>"
                 "（<span class=\"spread\">{back_range}</span>）。随机排列则为 {chance}。",
        "same": "{n} 条记录与别的记录（直接或经由第三条记录）共用同一文本或其他内容，彼此都算正确。",
        "sampled": "从中抽取了 {n} 个查询。",
        "few": "样本太少，难下结论：区间只依据 {n} 条记录。",
        "this": "本匹配器", "network": "仅网络", "ridge": "岭回归", "cca": "典型相关", "nearest": "最近的训练查询",
        "chance": "随机",
        "recall_at_1": "前 1 命中率", "recall_at_5": "前 5 命中率", "recall_at_10": "前 10 命中率", "mrr": "平均倒数排名",
        "map": "平均精度均值", "median_rank": "排名中位数", "s_found": "{from_} → {to}",
        "found": "前十个结果中有正确项的查询所占百分比", "axis": "前 10 命中率，%",
        "ahead": "领先多少（前 10 命中率，百分点）", "points": "百分点", "rival": "相比", "records": "记录",
        "s_subsets": "某一侧只有部分视图时", "side": "侧", "query": "查询", "item": "条目", "views": "视图",
        "subsets": "某一侧只有这些视图时的前 10 命中率（限于这些视图俱全的记录）",
        "fine": "区间：按{units}的 95&nbsp;% 百分位自助法。同一方向的各项度量基于相同的查询，差值是配对的。"
                "各对手读取相同的特征，在相同的配对上训练。",
        "groups": "组", "singles": "记录", "measure": "度量", "value": "数值", "interval": "95&nbsp;% 区间",
        "all": "全部度量", "s_made": "如何得到", "share": "线性映射在向量中的份额", "map_": "线性映射",
        "loss": "损失", "pairs": "训练配对来自", "date": "日期", "seed": "随机种子", "seconds": "CPU 秒",
        "s_bad": "无法读取的单元格",
    },
}


class _Page:
    """The words of one language, and figures in them."""

    def __init__(self, lang: str) -> None:
        self.frame = Words(lang)
        self.words = WORDS[lang]

    def __call__(self, key: str, **values: Any) -> str:
        return self.words[key].format(**values)

    def value(self, score: Mapping[str, float | None], name: str = MAIN) -> str:
        """Shares in percent, the rest as it is."""
        value = score["value"]
        if value is None:
            return "–"
        if name.startswith("recall"):
            return percent(self.frame, score)
        return f"{value:g}" if name == "median_rank" else f"{value:.3f}"

    def range(self, score: Mapping[str, float | None], name: str = MAIN) -> str:
        if score["low"] is None:
            return ""
        times, form = (100, ".1f") if name.startswith("recall") else (1, "g" if name == "median_rank" else ".3f")
        return f"{times * score['low']:{form}}–{times * score['high']:{form}}"

    def points(self, score: Mapping[str, float | None]) -> str:
        """A difference in points with its interval."""
        if score["value"] is None:
            return "–"
        value, low, high = (f"{100 * score[key]:+.1f}".replace("-", "−") for key in ("value", "low", "high"))
        return f'{value} <span class="spread">[{low}, {high}]</span>'


def html(
    evaluation: Mapping[str, Any], *, title: str = "", lang: str = "en", source: str = "",
    made: Mapping[str, Any] | None = None, chosen: Mapping[str, Any] | None = None,
) -> str:
    """The page.

    Args:
        evaluation: of ``match.evaluate_pairs``.
        title: heading; one that names the source if empty.
        lang: en or zh.
        source: the table that was judged.
        made, chosen: facts of the matcher.

    Raises:
        BadOption: the report does not speak this language.
    """
    say = _Page(lang)
    found = []
    if evaluation["query_to_item"] is not None:
        for name in DIRECTIONS:
            found.append((name, say("s_found", **_ends(evaluation, name)), _direction(say, evaluation, name)))
        if evaluation["subsets"]:
            found.append(("subsets", say("s_subsets"), _subsets(say, evaluation)))
    if evaluation["bad_cells"]:
        found.append(("data", say("s_bad"), about.data(say.frame, {}, evaluation["bad_cells"])))
    if made:
        found.append(("made", say("s_made"), _made(say, made, chosen or {})))
    return frame(say.frame, title or say("title", source=source), _summary(say, evaluation), found)


def _ends(evaluation: Mapping[str, Any], name: str) -> dict[str, str]:
    asking, among = (escape(" + ".join(evaluation["views"][side])) for side in DIRECTIONS[name])
    return {"from_": asking, "to": among}


def _summary(say: _Page, evaluation: Mapping[str, Any]) -> str:
    if evaluation["query_to_item"] is None:
        return f'<p class="lead">{say("nothing")}</p>'
    there, back = (evaluation[name][MAIN] for name in DIRECTIONS)
    lines = [say(
        "right", n=f"{evaluation['queries']:,}", value=say.value(there), range=say.range(there), back=say.value(back),
        back_range=say.range(back), chance=say.value(evaluation["baselines"]["chance"]["query_to_item"][MAIN]),
        **_ends(evaluation, "query_to_item"),
    )]
    if evaluation["same"]["records"]:
        lines.append(say("same", n=f"{evaluation['same']['records']:,}"))
    if evaluation["sampled"]:
        lines.append(say("sampled", n=f"{evaluation['sampled']:,}"))
    warning = f'<p class="warning">{say("few", n=evaluation["records"])}</p>' if evaluation["queries"] < 30 else ""
    return f'<p class="lead">{"" .join(lines) if say.frame.language == "zh" else " ".join(lines)}</p>{warning}'


def _direction(say: _Page, evaluation: Mapping[str, Any], name: str) -> str:
    """Tiles, the rivals beside it, how far ahead, and all measures."""
    scores = evaluation[name]
    tiles = "".join(
        f'<div class="tile"><div class="what">{say(one)}</div><div class="figure">{say.value(scores[one], one)}</div>'
        f'<span class="spread">{say.range(scores[one], one)}</span></div>'
        for one in ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")
    )
    lines = [(say("this"), scores, "model")]
    if evaluation["network"]:
        lines.append((say("network"), evaluation["network"][name], "rival"))
    lines += [(say(rival), both[name], "rival") for rival, both in evaluation["baselines"].items()]
    axis = Axis.shares(one[MAIN] for _, one, _ in lines)
    rows = "".join(
        f'<tr><th scope="row">{label}</th><td class="plot">{strip(axis, [(kind, say(MAIN), one[MAIN])])}</td>'
        f'<td class="n">{say.value(one[MAIN])}</td><td class="n" data-label="{say("mrr")}">{say.value(one["mrr"], "mrr")}</td>'
        f'<td class="n" data-label="{say("median_rank")}">{say.value(one["median_rank"], "median_rank")}</td></tr>'
        for label, one, kind in lines
    )
    measures = "".join(
        f'<tr><th scope="row">{say(one)}</th><td class="n">{say.value(scores[one], one)}</td>'
        f'<td class="n">{say.range(scores[one], one)}</td></tr>' for one in RETRIEVAL
    )
    units = say("groups" if evaluation["groups"] else "singles")
    return f"""<div class="tiles">{tiles}</div>
<table class="plots baselines"><caption>{say('found')}</caption>
<thead><tr><td></td><td class="plot"></td><th scope="col" class="n">{say(MAIN)}</th>
<th scope="col" class="n">{say('mrr')}</th><th scope="col" class="n">{say('median_rank')}</th></tr></thead>
<tbody>{rows}</tbody>
<tfoot><tr><td></td><td class="plot">{axis.labels(say('axis'))}</td><td></td><td></td><td></td></tr></tfoot></table>
{_ahead(say, evaluation, name)}
<details><summary>{say('all')}</summary><table class="rows"><thead><tr><th scope="col">{say('measure')}</th>
<th scope="col" class="n">{say('value')}</th><th scope="col" class="n">{say('interval')}</th></tr></thead>
<tbody>{measures}</tbody></table></details>
<p class="fine">{say('fine', units=units)}</p>"""


def _ahead(say: _Page, evaluation: Mapping[str, Any], name: str) -> str:
    """Paired differences to each rival."""
    apart = {rival: both[name][MAIN] for rival, both in evaluation["differences"].items()}
    axis = Axis.differences(apart.values())
    rows = "".join(
        f'<tr><th scope="row">{say(rival)}</th><td class="plot">{strip(axis, [("model", say("points"), one)])}</td>'
        f'<td class="n">{say.points(one)}</td></tr>' for rival, one in apart.items()
    )
    return f"""<table class="plots worth"><caption>{say('ahead')}</caption>
<thead><tr><th scope="col">{say('rival')}</th><td class="plot"></td><th scope="col" class="n">{say('points')}</th></tr></thead>
<tbody>{rows}</tbody><tfoot><tr><td></td><td class="plot">{axis.labels(say('points'))}</td><td></td></tr></tfoot></table>"""


def _subsets(say: _Page, evaluation: Mapping[str, Any]) -> str:
    """Every set of a side's views, both directions."""
    rows = evaluation["subsets"]
    axis = Axis.shares(row[name][MAIN] for row in rows for name in DIRECTIONS if row[name])
    body = ""
    for row in rows:
        colon = "：" if say.frame.language == "zh" else ": "
        label = f'{say(row["side"])}{colon}{escape(" + ".join(row["present"]))}'
        body += f'<tr class="{"few" if row["too_few"] else ""}"><th scope="row">{label}</th>'
        for name, (_, among) in DIRECTIONS.items():
            score = row[name][MAIN] if row[name] else {"value": None, "low": None, "high": None}
            body += f'<td class="plot">{strip(axis, [("model", say(MAIN), score)])}</td>'
            body += f'<td class="n" data-label="→ {say(among)}">{say.value(score)}</td>'
        body += f'<td class="n" data-label="{say("records")}">{row["records"]:,}</td></tr>'
    heads = "".join(f'<td class="plot"></td><th scope="col" class="n">→ {say(DIRECTIONS[name][1])}</th>' for name in DIRECTIONS)
    foot = "".join(f'<td class="plot">{axis.labels(say("axis"))}</td><td></td>' for _ in DIRECTIONS)
    return f"""<table class="plots worth"><caption>{say('subsets')}</caption>
<thead><tr><th scope="col">{say('views')}</th>{heads}<th scope="col" class="n">{say('records')}</th></tr></thead>
<tbody>{body}</tbody><tfoot><tr><td></td>{foot}<td></td></tr></tfoot></table>"""


def _made(say: _Page, made: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    facts = {
        "pairs": made["source"], "loss": made["match"]["loss"], "seed": made["seed"], "date": made["date"],
        "seconds": made["cpu_seconds"], "share": percent(say.frame, {"value": chosen.get("share", 0.0)}),
        "map_": say({"ridge_back": "ridge"}.get(chosen.get("map", "cca"), chosen.get("map", "cca"))),
    }
    facts["pairs"] = escape(str(facts["pairs"]))
    lines = "".join(f"<dt>{say(name)}</dt><dd>{value}</dd>" for name, value in facts.items())
    versions = ", ".join(f"{escape(name)} {escape(version)}" for name, version in made["versions"].items() if version)
    return f'<dl>{lines}</dl><p class="fine">{versions}</p>'

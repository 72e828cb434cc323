"""One evaluation as one HTML file: no script, nothing fetched, in English or Chinese.

The page is put together here from sections; plots are ``draw``'s, words ``words``', looks ``style``'s, and the sections
on single records, data and making ``about``'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

from ..learn.rivals import FEW
from ..metrics import LOWER_IS_BETTER, UNITS
from . import about
from .detail import FEW_TEST, clearly_worse, lowest, too_few
from .draw import Axis, Chart, dots, finite, key, legend, strip, ticks
from .each import by_target
from .evaluate import is_worse, line_of, words, worth_showing
from .figures import Main, figure, percent, plain, range_of
from .style import STYLE
from .words import Words

_MOST_CLASSES = 24  # of a confusion matrix; the rest is put together
_MOST_ROWS = 30  # of the table of classes; the rest is folded away
#: Measures shown large, at the top.
_TILES = (
    "accuracy", "micro_f1", "macro_f1", "subset_accuracy", "log_loss", "ece", "mae", "rmse", "r2", "cider", "bleu4", "rouge_l",
    "wer", "cer", "exact",
)
_WATCHED = ("accuracy", "rmse", "mae", "micro_f1", "token_accuracy")  # validation figures that have a curve
_MANY_SUBSETS = 64  # from here on pairs are folded away


def html(
    evaluation: Mapping[str, Any], *, title: str, lang: str = "en", history: Sequence[Mapping[str, Any]] | None = None,
    mistakes: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None, data: Mapping[str, Any] | None = None,
    made: Mapping[str, Any] | None = None,
) -> str:
    """The report.

    Args:
        evaluation: of ``evaluate``, or of several targets {"targets": {name: one}}.
        title: heading of the page.
        lang: en or zh.
        history: one dict per epoch: epoch, loss, valid_loss, valid_accuracy, lr; what is missing is not drawn.
        mistakes: wrong answers with their cells, of ``gallery.with_cells``; of several targets {name: answers}.
        data: of ``facts.data_facts``.
        made: of ``facts.shown_made``; unknown entries are shown by their name.

    Returns:
        A complete document.

    Raises:
        BadOption: the report does not speak this language.
    """
    say, summary, found, bad = Words(lang), "", [], {}
    for number, (target, one) in enumerate(by_target(evaluation), 1):
        wrong = mistakes.get(target) if isinstance(mistakes, Mapping) else mistakes
        before = (f"target-{number}-", f"{escape(target)}: ") if target else ("", "")
        found += [(before[0] + name, before[1] + words, body) for name, words, body in _of_target(say, one, wrong or [])]
        head = f'<h2 class="target"><a href="#{before[0]}scores">{escape(target)}</a></h2>' if target else ""
        summary += head + _summary(Main(say, one), one)
        bad |= {(cell["row"], cell["column"]): cell for cell in one.get("bad_cells", [])}
    found += [(name, say(f"s_{name}"), body) for name, body in (
        ("learning", _learning(say, history or [])), ("data", about.data(say, data or {}, list(bad.values()))),
        ("made", about.made(say, made or {})),
    ) if body]
    return frame(say, title, summary, found)


def frame(say: Words, title: str, summary: str, found: Sequence[tuple[str, str, str]]) -> str:
    """A whole document of sections.

    Args:
        summary: what stands at the top, HTML.
        found: (id, heading, body) of each section, HTML.
    """
    contents = "".join(f'<li><a href="#{name}">{words}</a></li>' for name, words, _ in found)
    sections = "".join(
        f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{words}</h2>{body}</section>'
        for name, words, body in found
    )
    return _page(say, title, f"""<nav class="side" aria-label="{say('contents')}"><b>{say('contents')}</b>
<ol>{contents}</ol></nav>
<header class="top"><h1>{escape(title)}</h1>{summary}
<details class="side"><summary>{say('contents')}</summary>
<nav aria-label="{say('contents')}"><ol>{contents}</ol></nav></details>
</header>
<main>{sections}</main>""")


def _page(say: Words, title: str, body: str) -> str:
    """A complete document without outside resources."""
    return f"""<!DOCTYPE html>
<html lang="{'zh-CN' if say.language == 'zh' else say.language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body><div class="page">
{body}
<footer class="fine">{say('made_by')}</footer>
</div></body>
</html>
"""


def pages_of_words(shown: Sequence[Mapping[str, Any]], title: str, lang: str = "en") -> str:
    """What a model says of some records, each with where its words looked, as a page.

    Args:
        shown: row, prediction, cells, looked.
    """
    say = Words(lang)
    return _page(say, title, f"<main><section>{about.mistakes(say, shown)}</section></main>")


def _of_target(
    say: Words, evaluation: Mapping[str, Any], mistakes: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str, str]]:
    """(id, heading, body) of the sections about one target."""
    by, main = evaluation.get("by"), Main(say, evaluation)
    bodies = {
        "scores": _scores(main, evaluation), "spread": _spread(main, evaluation), "subsets": _subsets(main, evaluation),
        "calibration": _calibration(say, evaluation), "classes": _classes(say, evaluation), "by": _by(main, by),
        "said": about.mistakes(say, [one for one in mistakes if one.get("spread")]),
        "mistakes": about.mistakes(say, [one for one in mistakes if not one.get("spread")]),
    }
    renamed = {"numbers": {"mistakes": "errors"}, "words": {"mistakes": "mistakes_words"}}.get(main.kind, {})
    column = escape(str(by["column"]) if by else "")
    return [(name, say(f"s_{renamed.get(name, name)}", column=column), body) for name, body in bodies.items() if body]


# --- what it says first ---------------------------------------------------------------------------


def _summary(main: Main, evaluation: Mapping[str, Any]) -> str:
    say = main.say
    scores = evaluation.get("scores")
    unseen = evaluation.get("unseen")
    note = ""
    if unseen:
        named = say("comma").join(f"{escape(name)} {count}" for name, count in unseen.items())
        strange = say("unseen", records=say.count(sum(unseen.values()), "record"), classes=named)
        note = f'<p class="warning"><b>{say("note")}</b> {strange}</p>'
    if scores is None:
        return f'<p class="lead">{say("nothing")}</p>{note}'
    base, records = evaluation["baselines"], say.count(evaluation["records"], "record")
    if evaluation.get("groups"):
        records = say("records_in_groups", records=records, groups=say.count(evaluation["groups"], "group"))
    said = [main("right", records=records, accuracy=main.value(main.of(scores)), interval=main.range(main.of(scores)))]
    rivals = [
        main.of_kind(
            f"vs_{name}", accuracy=main.value(main.of(one)), view=escape(str(one.get("view")))
        )
        for name, one in (
            ("concat", base["concat_logistic"]), ("single", base["best_single"]), ("majority", base["majority"])
        ) if one
    ]
    if rivals:
        said.append(say("compare", rivals=say("comma").join(rivals)))
    paragraphs = [_joined(say, said)]
    if few := too_few(evaluation):
        note += f'<p class="warning"><b>{say("note")}</b> {say("too_few", units=say.count(*few))}</p>'
    if threshold := evaluation.get("threshold"):
        paragraphs.append(say("threshold", name=escape(str(threshold["class"])), start=f"{threshold['from']:.3g}"))
    mean = evaluation.get("subsets_mean")
    if mean and mean["difference"] and main.of(mean["difference"])["value"] is not None:
        worse = sum(is_worse(row) for row in evaluation["subsets"])
        paragraphs.append(_joined(say, [
            main("mean_apart", subsets=say.count(mean["counted"], "subset"),
                 difference=f'<b>{main.apart(main.of(mean["difference"]))}</b> {main.apart_range(main.of(mean["difference"]))}',
                 filled=main.both(main.of(mean["difference_filled"]))),
            main.of_kind("some_ahead", regressions=say.count(worse, "regression"), subsets=say.count(worse, "subset"))
            if worse else main.of_kind("none_ahead"),
        ]))
    return "".join(f'<p class="lead">{text}</p>' for text in paragraphs) + note


def _joined(say: Words, sentences: Sequence[str]) -> str:
    return ("" if say.language == "zh" else " ").join(sentence for sentence in sentences if sentence)


# --- scores ---------------------------------------------------------------------------------------


def _scores(main: Main, evaluation: Mapping[str, Any]) -> str:
    say = main.say
    scores = evaluation.get("scores")
    if scores is None:
        return ""
    tiles = "".join(
        f'<div class="tile"><div class="what">{say(name)}</div><div class="figure">{figure(say, name, scores[name])}</div>'
        f"{range_of(scores[name], name)}</div>"
        for name in [main.name, *(name for name in _TILES if name != main.name)]
        if name in scores and not (main.kind == "classes" and name == "micro_f1")
    )
    first, second, third = line_of(evaluation)
    base = evaluation["baselines"]
    lines = [(say("this_model"), scores, "model")]
    lines += [
        (main.of_kind(words, view=escape(str(base[name].get("view")))), base[name], "rival")
        for name, words in (("concat_logistic", "concat"), ("best_single", "single"), ("majority", "majority")) if base[name]
    ]
    axis = main.axis(one[first] for _, one, _ in lines)
    rows = "".join(
        f'<tr><th scope="row">{label}</th><td class="plot">{strip(axis, [(kind, main.word, one[first])])}</td>'
        f'<td class="n">{main.value(one[first])}</td>'
        f'<td class="n" data-label="{say(second)}">{plain(one[second], second)}</td>'
        f'<td class="n" data-label="{say(third)}">{plain(one[third], third)}</td></tr>'
        for label, one, kind in lines
    )
    measures = "".join(
        f'<tr><th scope="row">{say(name)}</th><td class="n">{plain(scores[name], name)}</td>'
        f'<td class="n">{range_of(scores[name], name if name in UNITS else "")}</td>'
        f'<td class="fine">{say("less") if name in LOWER_IS_BETTER else ""}</td></tr>'
        for name in worth_showing(scores)
    )
    measures += "".join(
        f'<tr><th scope="row">{escape(words(name))}</th><td class="n">{plain(one)}</td><td class="n">{range_of(one, "")}</td>'
        f'<td class="fine">{escape(one["reason"] or "") or (say("less") if one["better"] == "lower" else "")}</td></tr>'
        for name, one in (evaluation.get("measures") or {}).items()
    )
    units = say("over_groups" if evaluation.get("groups") else "over_records")
    return f"""<div class="tiles">{tiles}</div>
<table class="plots baselines"><caption>{main('baselines_caption')}</caption>
<thead><tr><td></td><td class="plot"></td><th scope="col" class="n">{main.word}</th>
<th scope="col" class="n">{say(second)}</th><th scope="col" class="n">{say(third)}</th></tr></thead>
<tbody>{rows}</tbody>
<tfoot><tr><td></td><td class="plot">{axis.labels(main('accuracy_axis'))}</td><td></td><td></td><td></td></tr></tfoot></table>
<details><summary>{say('all_measures')}</summary><table class="rows">
<thead><tr><th scope="col">{say('measure')}</th><th scope="col" class="n">{say('value')}</th>
<th scope="col" class="n">{say('interval')}</th><td></td></tr></thead><tbody>{measures}</tbody></table></details>
<p class="fine">{main('scores_fine', units=units)}</p>"""


def _spread(main: Main, evaluation: Mapping[str, Any]) -> str:
    """Numbers that were said beside the true ones."""
    found, say = evaluation.get("spread"), main.say
    if not found:
        return ""
    both = [*found["said"], *found["true"]]
    across, up = ticks(min(found["true"]), max(found["true"]), 5), ticks(min(both), max(both), 5)
    chart = Chart(say("true_axis"), say("said_axis"), across, up, height=300)
    low, high = max(across[0], up[0]), min(across[-1], up[-1])
    chart.curve("plain ideal", [(low, low), (high, high)])
    for truth, said in zip(found["true"], found["said"], strict=True):
        chart.dot("model", truth, said)
    quantiles = {q: f"{value:.4g}".replace("-", "−") for q, value in found["quantiles"].items()}
    words = say("errors_lie", low=quantiles["0.25"], high=quantiles["0.75"], least=quantiles["0.05"], most=quantiles["0.95"])
    return f"""<p>{words}</p><div class="curves"><figure><figcaption><b>{say('spread_caption')}</b></figcaption>
{chart.svg(say('spread_caption'))}<div class="key"><span>{legend('model')} {say('this_model')}</span>
{key('plain ideal', say('true'))}</div></figure></div>"""


# --- subsets --------------------------------------------------------------------------------------


def _subsets(main: Main, evaluation: Mapping[str, Any]) -> str:
    say = main.say
    rows, views = evaluation.get("subsets") or [], evaluation.get("views") or []
    if not rows:
        return ""
    singles = sorted((row for row in rows if len(row["present"]) == 1), key=partial(_rank, main))
    worth = {row["view"]: row for row in evaluation.get("worth") or []}
    return (
        f'<p class="lead">{carries(say, evaluation)}</p>' + _worth(main, singles, worth)
        + f'<h3>{say("matrix")}</h3><p>{main("matrix_words")}</p>' + _matrix(main, rows, views, evaluation)
        + f'<p class="fine">{say("few_fine", train=FEW, test=FEW_TEST)}</p>'
    )


def _rank(main: Main, row: Mapping[str, Any]) -> tuple:
    """Few views first, what is counted before what is not, the best first."""
    return len(row["present"]), row["too_few"], -main.worth(row["scores"]) if row["scores"] else math.inf


def carries(say: Words, evaluation: Mapping[str, Any]) -> str:
    """Which view carries the model, in sentences that claim no more than the intervals allow.

    A view is said to be missed only where the interval of what it adds lies above zero.
    """
    main = Main(say, evaluation)
    alone = sorted(
        (row for row in evaluation["subsets"] if len(row["present"]) == 1 and row["scores"] and not row["too_few"]),
        key=partial(_rank, main),
    )
    if not alone:
        return ""
    best = alone[0]["present"][0]
    right = {row["present"][0]: main.value(main.of(row["scores"])) for row in alone}
    adds = {
        row["view"]: main.gain(main.of(row["adds"])) for row in evaluation.get("worth") or []
        if row["adds"] and not row["too_few"] and main.of(row["adds"])["value"] is not None
    }
    missed = sorted((view for view in adds if adds[view]["low"] > 0), key=lambda view: -adds[view]["value"])
    harmful = [view for view in adds if adds[view]["high"] < 0]
    unclear = [view for view in adds if view not in missed and view not in harmful]

    def cost(view: str) -> str:
        return main("points", value=main.apart(adds[view]), interval=main.apart_range(adds[view]))

    def named(view: str) -> str:
        return escape(str(view))

    words = {"view": named(best), "alone": right[best]}
    if not adds:
        said = [main("carry_only", **words)]
    elif not missed:
        said = [main("carry_none", **words)]
    elif missed[0] == best:
        said = [main("carry_same", **words, adds=cost(best))]
    else:
        said = [main("carry_two", **words, other=named(missed[0]), adds=cost(missed[0]))]
    if adds and evaluation.get("scores"):
        said.append(main("carry_all", all=main.value(main.of(evaluation["scores"]))))
    more = [say("carry_view", view=named(view), adds=cost(view)) for view in missed[1:]]
    if more:
        said.append(main("carry_more", views=say.list(more)))
    if unclear and missed:
        said.append(say("carry_unclear", many=len(unclear) > 1, views=say.list([named(view) for view in unclear])))
    if harmful:
        said.append(main("carry_harm", views=say.list([named(view) for view in harmful])))
    return _joined(say, said)


def _worth(main: Main, singles: Sequence[Mapping[str, Any]], worth: Mapping[str, Mapping[str, Any]]) -> str:
    """Each view alone beside what it adds."""
    say = main.say
    shown = [row for row in singles if row["scores"]]
    added = {view: main.gain(main.of(row["adds"])) for view, row in worth.items() if row["adds"]}
    if not added or not shown:
        return ""
    left = main.axis(main.of(row["scores"]) for row in shown)
    right = main.apart_axis(added.values())
    body = ""
    for row in shown:
        view = row["present"][0]
        score, few = main.of(row["scores"]), row["too_few"] or worth[view]["too_few"]
        plot = strip(right, [("model", say("adds"), added[view])]) if view in added else ""
        value = main.both(added[view]) if view in added else "–"
        body += (
            f'<tr class="{"few" if few else ""}"><th scope="row">{escape(str(view))}</th>'
            f'<td class="plot">{strip(left, [("model", say("alone"), score)])}</td>'
            f'<td class="n">{main.value(score)}</td><td class="plot">{plot}</td>'
            f'<td class="n" data-label="{say("adds")}">{value}</td></tr>'
        )
    return f"""<table class="plots worth"><caption>{say('worth_caption')}</caption>
<thead><tr><th scope="col">{say('view')}</th><td class="plot"></td><th scope="col" class="n">{say('alone')}</th>
<td class="plot"></td><th scope="col" class="n">{say('adds')}</th></tr></thead><tbody>{body}</tbody>
<tfoot><tr><td></td><td class="plot">{left.labels(main('accuracy_axis'))}</td><td></td>
<td class="plot">{right.labels(main('points_axis'))}</td><td></td></tr></tfoot></table>"""


def _matrix(main: Main, rows: Sequence[Mapping[str, Any]], views: Sequence[str], evaluation: Mapping[str, Any]) -> str:
    say = main.say
    axis = main.axis(
        main.of(row[name]) for row in rows if not row["too_few"] for name in ("scores", "specialist") if row[name]
    )
    pairs = [row for row in rows if len(row["present"]) == 2] if len(rows) > _MANY_SUBSETS else []
    best = sorted((row for row in rows if row not in pairs), key=partial(_rank, main))
    mean = evaluation.get("subsets_mean")
    last = ""
    if mean:
        name = say("mean_of", n=mean["counted"])
        last = (
            f'<tr class="mean"><td class="dots" colspan="2">{name}</td><td class="name">{name}</td>'
            f"{_cells(main, mean, axis)}</tr>"
        )
    words = (
        f'<p class="key"><span>{legend("model")} {say("this_model")}</span>'
        f'<span>{legend("rival")} {main.of_kind("specialist")}</span>'
        f'<span><b class="worse">▼</b> {say("behind")}</span></p>'
    )
    table = words + _matrix_table(main, best, views, axis, last)
    if pairs:
        folded = _matrix_table(main, sorted(pairs, key=partial(_rank, main)), views, axis, "")
        table += f"<details><summary>{say('pairs')}</summary>{folded}</details>"
    return table


def _matrix_table(
    main: Main, rows: Sequence[Mapping[str, Any]], views: Sequence[str], axis: Axis, last: str
) -> str:
    say = main.say
    body, size = "", 1
    for row in rows:
        name = _subset(say, row["present"], views)
        kinds = ("size " if len(row["present"]) != size else "") + ("few" if row["too_few"] else "")
        size = len(row["present"])
        body += (
            f'<tr class="{kinds}"><td class="dots">{dots([view in row["present"] for view in views], name)}</td>'
            f'<td class="name">{escape(name)}</td><td class="n" data-unit="{say("records_unit")}">{row["records"]}</td>'
            f"{_cells(main, row, axis)}</tr>"
        )
    heads = "".join(f"<span>{escape(str(view))}</span>" for view in views)
    return f"""<div class="wide scroll"><table class="plots subsets"><caption>{main('matrix_caption')}</caption>
<thead><tr><th scope="col" class="dots"><div>{heads}</div></th>
<th scope="col" class="name">{say('view')}</th><th scope="col" class="n">{say('records')}</th><td class="plot"></td>
<th scope="col" class="n">{say('model')}</th><th scope="col" class="n">{main.of_kind('minus_specialist')}</th>
<th scope="col" class="n">{main.of_kind('minus_filled')}</th></tr></thead>
<tbody>{body}{last}</tbody>
<tfoot><tr><td class="dots"></td><td class="name"></td><td></td><td class="plot">{axis.labels(main('accuracy_axis'))}</td>
<td></td><td></td><td></td></tr></tfoot></table></div>"""


def _subset(say: Words, present: Sequence[str], views: Sequence[str]) -> str:
    if len(present) == len(views) and len(views) > 1:
        return say("everything")
    if len(present) == len(views) - 1 and len(views) > 3:
        return say("all_but", view=next(view for view in views if view not in present))
    return " + ".join(map(str, present))


def _cells(main: Main, row: Mapping[str, Any], axis: Axis) -> str:
    """Plot, figure and differences of a subset."""
    say = main.say
    if not row["scores"]:
        return '<td class="plot"></td><td class="n">–</td>' + 2 * '<td class="n"></td>'
    marks = [("model", say("this_model"), main.of(row["scores"]))]
    if row["specialist"]:
        marks.append(("rival", main.of_kind("specialist"), main.of(row["specialist"])))
    behind = ""
    if "p_holm" in row and is_worse(row):
        behind = f'<b class="worse" role="img" aria-label="{say("behind")}">▼</b> '
    apart = [main.both(main.of(row[name])) if row[name] else "–" for name in ("difference", "difference_filled")]
    return (
        f'<td class="plot">{strip(axis, marks)}</td><td class="n">{main.value(main.of(row["scores"]))}</td>'
        f'<td class="n" data-label="{main.of_kind("minus_specialist")}">{behind}{apart[0]}</td>'
        f'<td class="n" data-label="{main.of_kind("minus_filled")}">{apart[1]}</td>'
    )


# --- calibration ----------------------------------------------------------------------------------


def _calibration(say: Words, evaluation: Mapping[str, Any]) -> str:
    found, scores = evaluation.get("reliability"), evaluation.get("scores")
    if not found or not scores or not found["bins"]:
        return ""
    bins = found["bins"]
    ece, accuracy = scores["ece"], scores["accuracy"]
    promised = sum(one["records"] * one["confidence"] for one in bins) / sum(one["records"] for one in bins)
    verdict = "over" if promised > accuracy["high"] else "under" if promised < accuracy["low"] else "level"
    words = _joined(say, [
        say("calibrated", value=f"{100 * ece['value']:.1f}", ece=plain(ece),
            interval=range_of(ece, "ece")),
        say(verdict, confidence=say("percent", value=f"{100 * promised:.1f}"), accuracy=percent(say, accuracy)),
    ])
    low = min(one["confidence"] for one in bins)
    x_ticks = ticks(min(low, 0.99), 1.0, 5)
    floor = min([one["accuracy"]["low"] for one in bins if one["accuracy"]["low"] is not None] + [low])
    curve = Chart(say("confidence_axis"), say("right_axis"), x_ticks, ticks(floor, 1.0, 5), percent=(True, True), height=300)
    start = max(curve.x_ends[0], curve.y_ends[0])
    curve.curve("plain ideal", [(start, start), (1.0, 1.0)])
    for one in bins:
        score = one["accuracy"]
        curve.dot("model", one["confidence"], score["value"], score["low"], score["high"])
    counts = _histogram(say, found["histogram"])
    rows = "".join(
        f'<tr><td class="n">{one["records"]}</td><td class="n">{100 * one["confidence"]:.1f}</td>'
        f'<td class="n">{100 * one["accuracy"]["value"]:.1f} {range_of(one["accuracy"])}</td></tr>' for one in bins
    )
    return f"""<p>{words}</p><div class="curves">
<figure><figcaption><b>{say('curve_caption')}</b></figcaption>{curve.svg(say('curve_caption'))}
<div class="key"><span>{legend('model')} {say('this_model')}</span>{key('plain ideal', say('ideal'))}</div></figure>
<figure><figcaption><b>{say('histogram')}</b></figcaption>{counts}</figure></div>
<details><summary>{say('bins', n=len(bins))}</summary><table class="rows"><caption>{say('curve_caption')}</caption>
<thead><tr><th scope="col" class="n">{say('records')}</th><th scope="col" class="n">{say('confidence_axis')}</th>
<th scope="col" class="n">{say('right_axis')}</th></tr></thead><tbody>{rows}</tbody></table></details>"""


def _histogram(say: Words, counts: Sequence[int]) -> str:
    chart = Chart(
        say("confidence_axis"), say("records_axis"), [i / 5 for i in range(6)], ticks(0, max(counts), 4, whole=True),
        height=300, percent=(True, False),
    )
    for i, n in enumerate(counts):
        if n:
            chart.bar(i / 10, (i + 1) / 10, n, f"{10 * i}–{10 * (i + 1)} %: {n}")
    said = "; ".join(f"{10 * i}–{10 * (i + 1)} %: {n}" for i, n in enumerate(counts) if n)
    return chart.svg(f"{say('histogram')}: {said}")


# --- classes --------------------------------------------------------------------------------------


def _classes(say: Words, evaluation: Mapping[str, Any]) -> str:
    rows = sorted(evaluation.get("per_class") or [], key=lambda row: (row["f1"]["value"] or 0.0, -row["records"]))
    if not rows:
        return ""
    first, rest = (rows, []) if len(rows) <= _MOST_ROWS + 5 else (rows[:_MOST_ROWS], rows[_MOST_ROWS:])
    axis = Axis.shares([row["f1"] for row in rows])
    body = _class_table(say, first, axis)
    if rest:
        folded = _class_table(say, rest, axis)
        body += f"<details><summary>{say('classes_more', n=len(rest))}</summary>{folded}</details>"
    left = len(evaluation["classes"]) - len(rows)
    if left > 0 and len(rows) >= 200:
        body += f'<p class="fine">{say("classes_left", n=len(rows))}</p>'
    return body + about.confusion(say, evaluation, _MOST_CLASSES)


def _class_table(say: Words, rows: Sequence[Mapping[str, Any]], axis: Axis) -> str:
    body = ""
    for row in rows:
        figures = "".join(
            f'<td class="n" data-label="{say(name)}">'
            + (f'{100 * row[name]["value"]:.1f} {range_of(row[name])}' if row[name]["value"] is not None else "–") + "</td>"
            for name in ("precision", "recall")
        )
        taken = say("comma").join(f'{escape(str(one["class"]))}&nbsp;({one["records"]})' for one in row["taken_for"])
        f1 = "–" if row["f1"]["value"] is None else f'{100 * row["f1"]["value"]:.1f}'
        body += (
            f'<tr><th scope="row">{escape(str(row["class"]))}</th>'
            f'<td class="n" data-unit="{say("records_unit")}">{row["records"]}</td>'
            f'<td class="plot">{strip(axis, [("model", "F1", row["f1"])])}</td><td class="n" data-label="F1">{f1}</td>'
            f'{figures}<td data-label="{say("taken_for")}">{taken}</td></tr>'
        )
    return f"""<table class="plots classes"><caption>{say('classes_caption')}</caption><thead><tr>
<th scope="col">{say('class')}</th><th scope="col" class="n">{say('records')}</th><td class="plot"></td>
<th scope="col" class="n">{say('f1')}</th><th scope="col" class="n">{say('precision')}</th>
<th scope="col" class="n">{say('recall')}</th><th scope="col">{say('taken_for')}</th></tr></thead><tbody>{body}</tbody>
<tfoot><tr><td></td><td></td><td class="plot">{axis.labels(say('f1_axis'))}</td>
<td></td><td></td><td></td><td></td></tr></tfoot></table>
<p class="fine">{say('classes_fine')}</p>"""


# --- by the values of a column --------------------------------------------------------------------


def _by(main: Main, by: Mapping[str, Any] | None) -> str:
    if not by:
        return ""
    say, rows = main.say, by["values"]
    first, second, third = line_of({"kind": main.kind, "main": main.name})
    whole = next((
        row["scores"][first]["value"] - row["difference"][first]["value"] for row in rows
        if row["difference"][first]["value"] is not None
    ), None)
    axis = main.axis([row["scores"][first] for row in rows], line=whole)
    body = ""
    for row in rows:
        scores = row["scores"]
        body += (
            f'<tr class="{"few" if row["too_few"] else ""}"><th scope="row">{_part(say, row)}</th>'
            f'<td class="n" data-unit="{say("records_unit")}">{row["records"]}</td>'
            f'<td class="plot">{strip(axis, [("model", main.word, scores[first])])}</td>'
            f'<td class="n">{main.value(scores[first])}</td>'
            f'<td class="n" data-label="{say("difference")}">{main.both(row["difference"][first])}</td>'
            f'<td class="n" data-label="{say(second)}">{plain(scores[second], second)}</td>'
            f'<td class="n" data-label="{say(third)}">{plain(scores[third], third)}</td></tr>'
        )
    column = escape(str(by["column"]))
    return f"""<p>{_worst(main, by)}</p><table class="plots by"><caption>{main('by_caption', column=column)}</caption>
<thead><tr>
<th scope="col">{column}</th><th scope="col" class="n">{say('records')}</th><td class="plot"></td>
<th scope="col" class="n">{main.word}</th><th scope="col" class="n">{say('difference')}</th>
<th scope="col" class="n">{say(second)}</th><th scope="col" class="n">{say(third)}</th></tr></thead>
<tbody>{body}</tbody><tfoot><tr><td></td><td></td><td class="plot">{axis.labels(main('accuracy_axis'))}</td>
<td></td><td></td><td></td><td></td></tr></tfoot></table><p class="fine">{main('by_fine', few=FEW_TEST)}</p>"""


def _worst(main: Main, by: Mapping[str, Any]) -> str:
    say, worst = main.say, lowest(by, main.name)
    if worst is None:
        return say("by_nothing", few=FEW_TEST)
    score, apart = main.of(worst["scores"]), main.of(worst["difference"])
    if apart["value"] is None or main.gain(apart)["value"] >= 0:
        return main("by_none")
    return _joined(say, [
        main("by_lowest", value=_part(say, worst), accuracy=main.value(score), interval=main.range(score),
             difference=main.both(apart)),
        main("by_clear") if clearly_worse(apart, main.name) else say("by_unclear"),
    ])


def _part(say: Words, row: Mapping[str, Any]) -> str:
    if row["kind"] == "others":
        return say("others", n=row["values"])
    return say("empty") if row["kind"] == "empty" else escape(str(row["value"]))


# --- learning curves ------------------------------------------------------------------------------


def _learning(say: Words, history: Sequence[Mapping[str, Any]]) -> str:
    def series(name: str) -> list[tuple[float, float]]:
        return finite((one.get("epoch", i), one.get(name)) for i, one in enumerate(history))

    valid = series("valid_loss")
    watched = [
        (key, name, target) for key in dict.fromkeys(key for one in history for key in one) if key.startswith("valid_")
        for target, _, name in [key.removeprefix("valid_").rpartition(" ")] if name in _WATCHED
    ]
    single = any(name == "accuracy" and not target for _, name, target in watched) or not watched
    plots = [
        curves(say, "loss", "loss_axis" if single else "loss_axis_other",
                [("training", "rival", series("loss")), ("validation", "model", valid)],
                mark=min(valid, key=lambda point: point[1]) if valid else None),
        *(_figure_of(say, key, name, target, series(key)) for key, name, target in _shown(watched)),
        curves(say, "rate", "rate_axis", [("rate", "plain", series("lr"))]),
    ]
    if not any(plots):
        return ""
    note = f'<p class="fine">{say("loss_fine")}</p>' if plots[0] else ""
    return f'<div class="curves">{"".join(plots)}</div>{note}'


def _shown(watched: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """One figure of each target, the first that is watched."""
    order = sorted(watched, key=lambda one: _WATCHED.index(one[1]))
    first = {target: one for one in reversed(order) for target in [one[2]]}
    return [first[target] for target in dict.fromkeys(one[2] for one in watched)]


def _figure_of(say: Words, key: str, name: str, target: str, points: list[tuple[float, float]]) -> str:
    """The curve of a validation figure."""
    line, before = [("validation", "model", points)], f"{escape(target)}: " if target else ""
    if name == "accuracy":
        return curves(say, "valid_accuracy", "valid_axis", line, percent=True, before=before)
    return curves(say, name, name, line, before=before)


def curves(
    say: Words, title: str, axis: str, series: list[tuple[str, str, list[tuple[float, float]]]], *,
    mark: tuple[float, float] | None = None, percent: bool = False, before: str = "",
) -> str:
    """A line plot over epochs, with a key where there are several lines."""
    series = [one for one in series if one[2]]
    if not series:
        return ""
    xs, ys = ([point[i] for _, _, points in series for point in points] for i in (0, 1))
    epochs = [tick for tick in ticks(min(xs), max(xs), 6, whole=True) if min(xs) <= tick <= max(xs)]
    chart = Chart(
        say("epoch"), say(axis), epochs or [min(xs)], ticks(min(ys), max(ys), 5), percent=(False, percent),
        ends=(min(xs), max(xs)),
    )
    for _, kind, points in series:
        chart.curve(kind, points)
    keys = "".join(key(kind, say(name)) for name, kind, _ in series) if len(series) > 1 else ""
    if mark:
        chart.dot("model", *mark)
        keys += f"<span>{legend('model')} {say('best', epoch=f'{mark[0]:g}')}</span>"
    label = say("last", name=say(title), value=f"{series[-1][2][-1][1]:.4g}")
    return (f'<figure><figcaption><b>{before}{say(title)}</b></figcaption>{chart.svg(label)}'
            f'<div class="key">{keys}</div></figure>')

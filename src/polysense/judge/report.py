"""One evaluation as one HTML file: no script, nothing fetched, in English or Chinese.

The page is put together here from sections; plots are ``draw``'s, words ``words``', looks ``style``'s, and the sections
on single records, data and making ``about``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..learn.rivals import FEW
from ..metrics import LOWER_IS_BETTER
from . import about
from .detail import FEW_TEST, lowest
from .draw import Axis, Chart, dots, finite, key, legend, strip, ticks
from .evaluate import is_worse, worth_showing
from .style import STYLE
from .words import Words

_MOST_CLASSES = 24  # of a confusion matrix; the rest is put together
_MOST_ROWS = 30  # of the table of classes; the rest is folded away
_MANY_SUBSETS = 64  # from here on pairs are folded away


def html(
    evaluation: Mapping[str, Any], *, title: str, lang: str = "en", history: Sequence[Mapping[str, Any]] | None = None,
    mistakes: Sequence[Mapping[str, Any]] | None = None, data: Mapping[str, Any] | None = None,
    made: Mapping[str, Any] | None = None,
) -> str:
    """The report.

    Args:
        evaluation: of ``evaluate``.
        title: heading of the page.
        lang: en or zh.
        history: one dict per epoch: epoch, loss, valid_loss, valid_accuracy, lr; what is missing is not drawn.
        mistakes: wrong answers with their cells, of ``gallery.with_cells``.
        data: of ``facts.data_facts``.
        made: of ``facts.shown_made``; unknown entries are shown by their name.

    Returns:
        A complete document.

    Raises:
        BadOption: the report does not speak this language.
    """
    say = Words(lang)
    by = evaluation.get("by")
    bodies = {
        "scores": _scores(say, evaluation), "subsets": _subsets(say, evaluation),
        "calibration": _calibration(say, evaluation), "classes": _classes(say, evaluation), "by": _by(say, by),
        "mistakes": about.mistakes(say, mistakes or []), "learning": _learning(say, history or []),
        "data": about.data(say, data or {}, evaluation.get("bad_cells", [])), "made": about.made(say, made or {}),
    }
    names = {
        name: say(f"s_{name}", column=escape(str(by["column"]) if by else "")) for name, body in bodies.items() if body
    }
    contents = "".join(f'<li><a href="#{name}">{words}</a></li>' for name, words in names.items())
    main = "".join(
        f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{words}</h2>{bodies[name]}</section>'
        for name, words in names.items()
    )
    return f"""<!DOCTYPE html>
<html lang="{'zh-CN' if lang == 'zh' else lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body><div class="page">
<nav class="side" aria-label="{say('contents')}"><b>{say('contents')}</b><ol>{contents}</ol></nav>
<header class="top"><h1>{escape(title)}</h1>{_summary(say, evaluation)}
<details class="side"><summary>{say('contents')}</summary>
<nav aria-label="{say('contents')}"><ol>{contents}</ol></nav></details>
</header>
<main>{main}</main>
<footer class="fine">{say('made_by')}</footer>
</div></body>
</html>
"""


# --- what it says first ---------------------------------------------------------------------------


def _summary(say: Words, evaluation: Mapping[str, Any]) -> str:
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
    said = [say("right", records=records, accuracy=_percent(say, scores["accuracy"]), interval=_range(scores["accuracy"]))]
    rivals = [
        say(f"vs_{name}", accuracy=_percent(say, one["accuracy"]), view=escape(str(one.get("view"))))
        for name, one in (
            ("concat", base["concat_logistic"]), ("single", base["best_single"]), ("majority", base["majority"])
        ) if one
    ]
    if rivals:
        said.append(say("compare", rivals=say("comma").join(rivals)))
    paragraphs = [_joined(say, said)]
    mean = evaluation.get("subsets_mean")
    if mean and mean["difference"] and mean["difference"]["accuracy"]["value"] is not None:
        worse = sum(is_worse(row) for row in evaluation["subsets"])
        paragraphs.append(_joined(say, [
            say("mean_apart", subsets=say.count(mean["counted"], "subset"),
                difference=f'<b>{_points(mean["difference"]["accuracy"])}</b> {_points_range(mean["difference"]["accuracy"])}',
                filled=_both_points(mean["difference_filled"]["accuracy"])),
            say("some_ahead", regressions=say.count(worse, "regression")) if worse else say("none_ahead"),
        ]))
    return "".join(f'<p class="lead">{text}</p>' for text in paragraphs) + note


def _joined(say: Words, sentences: Sequence[str]) -> str:
    return ("" if say.language == "zh" else " ").join(sentence for sentence in sentences if sentence)


# --- scores ---------------------------------------------------------------------------------------


def _scores(say: Words, evaluation: Mapping[str, Any]) -> str:
    scores = evaluation.get("scores")
    if scores is None:
        return ""
    tiles = "".join(
        f'<div class="tile"><div class="what">{say(name)}</div><div class="figure">{_figure(say, name, scores[name])}</div>'
        f'{_range(scores[name], percent=name == "accuracy")}</div>'
        for name in ("accuracy", "macro_f1", "log_loss", "ece") if name in scores
    )
    base = evaluation["baselines"]
    lines = [(say("this_model"), scores, "model")]
    lines += [
        (say(words, view=escape(str(base[name].get("view")))), base[name], "rival")
        for name, words in (("concat_logistic", "concat"), ("best_single", "single"), ("majority", "majority")) if base[name]
    ]
    axis = Axis.shares(one["accuracy"] for _, one, _ in lines)
    rows = "".join(
        f'<tr><th scope="row">{label}</th><td class="plot">{strip(axis, [(kind, say("accuracy"), one["accuracy"])])}</td>'
        f'<td class="n">{_percent(say, one["accuracy"])}</td>'
        f'<td class="n" data-label="{say("macro_f1")}">{_decimal(one["macro_f1"])}</td>'
        f'<td class="n" data-label="{say("log_loss")}">{_decimal(one["log_loss"])}</td></tr>'
        for label, one, kind in lines
    )
    measures = "".join(
        f'<tr><th scope="row">{say(name)}</th><td class="n">{_decimal(scores[name])}</td>'
        f'<td class="n">{_range(scores[name], percent=False)}</td>'
        f'<td class="fine">{say("less") if name in LOWER_IS_BETTER else ""}</td></tr>'
        for name in worth_showing(scores)
    )
    units = say("over_groups" if evaluation.get("groups") else "over_records")
    return f"""<div class="tiles">{tiles}</div>
<table class="plots baselines"><caption>{say('baselines_caption')}</caption>
<thead><tr><td></td><td class="plot"></td><th scope="col" class="n">{say('accuracy')}</th>
<th scope="col" class="n">{say('macro_f1')}</th><th scope="col" class="n">{say('log_loss')}</th></tr></thead>
<tbody>{rows}</tbody>
<tfoot><tr><td></td><td class="plot">{axis.labels(say('accuracy_axis'))}</td><td></td><td></td><td></td></tr></tfoot></table>
<details><summary>{say('all_measures')}</summary><table class="rows">
<thead><tr><th scope="col">{say('measure')}</th><th scope="col" class="n">{say('value')}</th>
<th scope="col" class="n">{say('interval')}</th><td></td></tr></thead><tbody>{measures}</tbody></table></details>
<p class="fine">{say('scores_fine', units=units)}</p>"""


# --- subsets --------------------------------------------------------------------------------------


def _subsets(say: Words, evaluation: Mapping[str, Any]) -> str:
    rows, views = evaluation.get("subsets") or [], evaluation.get("views") or []
    if not rows:
        return ""
    singles = sorted((row for row in rows if len(row["present"]) == 1), key=_rank)
    worth = {row["view"]: row for row in evaluation.get("worth") or []}
    return (
        f'<p class="lead">{carries(say, evaluation)}</p>' + _worth(say, singles, worth)
        + f'<h3>{say("matrix")}</h3><p>{say("matrix_words")}</p>' + _matrix(say, rows, views, evaluation)
        + f'<p class="fine">{say("few_fine", train=FEW, test=FEW_TEST)}</p>'
    )


def _rank(row: Mapping[str, Any]) -> tuple:
    """Few views first, what is counted before what is not, the most accurate first."""
    value = row["scores"]["accuracy"]["value"] if row["scores"] else None
    return len(row["present"]), row["too_few"], -1.0 if value is None else -value


def carries(say: Words, evaluation: Mapping[str, Any]) -> str:
    """Which view carries the model, in sentences that claim no more than the intervals allow.

    A view is said to be missed only where the interval of what it adds lies above zero.
    """
    alone = sorted(
        (row for row in evaluation["subsets"] if len(row["present"]) == 1 and row["scores"] and not row["too_few"]), key=_rank
    )
    if not alone:
        return ""
    best = alone[0]["present"][0]
    right = {row["present"][0]: _percent(say, row["scores"]["accuracy"]) for row in alone}
    adds = {
        row["view"]: row["adds"]["accuracy"] for row in evaluation.get("worth") or []
        if row["adds"] and not row["too_few"] and row["adds"]["accuracy"]["value"] is not None
    }
    missed = sorted((view for view in adds if adds[view]["low"] > 0), key=lambda view: -adds[view]["value"])
    harmful = [view for view in adds if adds[view]["high"] < 0]
    unclear = [view for view in adds if view not in missed and view not in harmful]

    def cost(view: str) -> str:
        return say("points", value=_points(adds[view]), interval=_points_range(adds[view]))

    def named(view: str) -> str:
        return escape(str(view))

    words = {"view": named(best), "alone": right[best]}
    if not adds:
        said = [say("carry_only", **words)]
    elif not missed:
        said = [say("carry_none", **words)]
    elif missed[0] == best:
        said = [say("carry_same", **words, adds=cost(best))]
    else:
        said = [say("carry_two", **words, other=named(missed[0]), adds=cost(missed[0]))]
    if adds and evaluation.get("scores"):
        said.append(say("carry_all", all=_percent(say, evaluation["scores"]["accuracy"])))
    more = [say("carry_view", view=named(view), adds=cost(view)) for view in missed[1:]]
    if more:
        said.append(say("carry_more", views=say.list(more)))
    if unclear and missed:
        said.append(say("carry_unclear", many=len(unclear) > 1, views=say.list([named(view) for view in unclear])))
    if harmful:
        said.append(say("carry_harm", views=say.list([named(view) for view in harmful])))
    return _joined(say, said)


def _worth(say: Words, singles: Sequence[Mapping[str, Any]], worth: Mapping[str, Mapping[str, Any]]) -> str:
    """Each view alone beside what it adds."""
    shown = [row for row in singles if row["scores"]]
    added = {view: row["adds"]["accuracy"] for view, row in worth.items() if row["adds"]}
    if not added or not shown:
        return ""
    left = Axis.shares(row["scores"]["accuracy"] for row in shown)
    right = Axis.differences(added.values())
    body = ""
    for row in shown:
        view = row["present"][0]
        score, few = row["scores"]["accuracy"], row["too_few"] or worth[view]["too_few"]
        plot = strip(right, [("model", say("adds"), added[view])]) if view in added else ""
        value = _both_points(added[view]) if view in added else "–"
        body += (
            f'<tr class="{"few" if few else ""}"><th scope="row">{escape(str(view))}</th>'
            f'<td class="plot">{strip(left, [("model", say("alone"), score)])}</td>'
            f'<td class="n">{_percent(say, score)}</td><td class="plot">{plot}</td>'
            f'<td class="n" data-label="{say("adds")}">{value}</td></tr>'
        )
    return f"""<table class="plots worth"><caption>{say('worth_caption')}</caption>
<thead><tr><th scope="col">{say('view')}</th><td class="plot"></td><th scope="col" class="n">{say('alone')}</th>
<td class="plot"></td><th scope="col" class="n">{say('adds')}</th></tr></thead><tbody>{body}</tbody>
<tfoot><tr><td></td><td class="plot">{left.labels(say('accuracy_axis'))}</td><td></td>
<td class="plot">{right.labels(say('points_axis'))}</td><td></td></tr></tfoot></table>"""


def _matrix(say: Words, rows: Sequence[Mapping[str, Any]], views: Sequence[str], evaluation: Mapping[str, Any]) -> str:
    axis = Axis.shares(
        row[name]["accuracy"] for row in rows if not row["too_few"] for name in ("scores", "specialist") if row[name]
    )
    pairs = [row for row in rows if len(row["present"]) == 2] if len(rows) > _MANY_SUBSETS else []
    main = sorted((row for row in rows if row not in pairs), key=_rank)
    mean = evaluation.get("subsets_mean")
    last = ""
    if mean:
        name = say("mean_of", n=mean["counted"])
        last = (
            f'<tr class="mean"><td class="dots" colspan="2">{name}</td><td class="name">{name}</td>'
            f"{_cells(say, mean, axis)}</tr>"
        )
    words = (
        f'<p class="key"><span>{legend("model")} {say("this_model")}</span><span>{legend("rival")} {say("specialist")}</span>'
        f'<span><b class="worse">▼</b> {say("behind")}</span></p>'
    )
    table = words + _matrix_table(say, main, views, axis, last)
    if pairs:
        folded = _matrix_table(say, sorted(pairs, key=_rank), views, axis, "")
        table += f"<details><summary>{say('pairs')}</summary>{folded}</details>"
    return table


def _matrix_table(
    say: Words, rows: Sequence[Mapping[str, Any]], views: Sequence[str], axis: Axis, last: str
) -> str:
    body, size = "", 1
    for row in rows:
        name = _subset(say, row["present"], views)
        kinds = ("size " if len(row["present"]) != size else "") + ("few" if row["too_few"] else "")
        size = len(row["present"])
        body += (
            f'<tr class="{kinds}"><td class="dots">{dots([view in row["present"] for view in views], name)}</td>'
            f'<td class="name">{escape(name)}</td><td class="n" data-unit="{say("records_unit")}">{row["records"]}</td>'
            f"{_cells(say, row, axis)}</tr>"
        )
    heads = "".join(f"<span>{escape(str(view))}</span>" for view in views)
    return f"""<div class="wide scroll"><table class="plots subsets"><caption>{say('matrix_caption')}</caption>
<thead><tr><th scope="col" class="dots"><div>{heads}</div></th>
<th scope="col" class="name">{say('view')}</th><th scope="col" class="n">{say('records')}</th><td class="plot"></td>
<th scope="col" class="n">{say('model')}</th><th scope="col" class="n">{say('minus_specialist')}</th>
<th scope="col" class="n">{say('minus_filled')}</th></tr></thead>
<tbody>{body}{last}</tbody>
<tfoot><tr><td class="dots"></td><td class="name"></td><td></td><td class="plot">{axis.labels(say('accuracy_axis'))}</td>
<td></td><td></td><td></td></tr></tfoot></table></div>"""


def _subset(say: Words, present: Sequence[str], views: Sequence[str]) -> str:
    if len(present) == len(views) and len(views) > 1:
        return say("everything")
    if len(present) == len(views) - 1 and len(views) > 3:
        return say("all_but", view=next(view for view in views if view not in present))
    return " + ".join(map(str, present))


def _cells(say: Words, row: Mapping[str, Any], axis: Axis) -> str:
    """Plot, figure and differences of a subset."""
    if not row["scores"]:
        return '<td class="plot"></td><td class="n">–</td>' + 2 * '<td class="n"></td>'
    marks = [("model", say("this_model"), row["scores"]["accuracy"])]
    if row["specialist"]:
        marks.append(("rival", say("specialist"), row["specialist"]["accuracy"]))
    behind = ""
    if "p_holm" in row and is_worse(row):
        behind = f'<b class="worse" role="img" aria-label="{say("behind")}">▼</b> '
    apart = [_both_points(row[name]["accuracy"]) if row[name] else "–" for name in ("difference", "difference_filled")]
    return (
        f'<td class="plot">{strip(axis, marks)}</td><td class="n">{_percent(say, row["scores"]["accuracy"])}</td>'
        f'<td class="n" data-label="{say("minus_specialist")}">{behind}{apart[0]}</td>'
        f'<td class="n" data-label="{say("minus_filled")}">{apart[1]}</td>'
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
        say("calibrated", value=f"{100 * ece['value']:.1f}", ece=_decimal(ece),
            interval=_range(ece, percent=False)),
        say(verdict, confidence=say("percent", value=f"{100 * promised:.1f}"), accuracy=_percent(say, accuracy)),
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
        f'<td class="n">{100 * one["accuracy"]["value"]:.1f} {_range(one["accuracy"])}</td></tr>' for one in bins
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
            + (f'{100 * row[name]["value"]:.1f} {_range(row[name])}' if row[name]["value"] is not None else "–") + "</td>"
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


def _by(say: Words, by: Mapping[str, Any] | None) -> str:
    if not by:
        return ""
    rows = by["values"]
    whole = next((
        row["scores"]["accuracy"]["value"] - row["difference"]["accuracy"]["value"] for row in rows
        if row["difference"]["accuracy"]["value"] is not None
    ), None)
    axis = Axis.shares([row["scores"]["accuracy"] for row in rows], line=whole)
    body = ""
    for row in rows:
        scores = row["scores"]
        body += (
            f'<tr class="{"few" if row["too_few"] else ""}"><th scope="row">{_part(say, row)}</th>'
            f'<td class="n" data-unit="{say("records_unit")}">{row["records"]}</td>'
            f'<td class="plot">{strip(axis, [("model", say("accuracy"), scores["accuracy"])])}</td>'
            f'<td class="n">{_percent(say, scores["accuracy"])}</td>'
            f'<td class="n" data-label="{say("difference")}">{_both_points(row["difference"]["accuracy"])}</td>'
            f'<td class="n" data-label="{say("macro_f1")}">{_decimal(scores["macro_f1"])}</td>'
            f'<td class="n" data-label="{say("log_loss")}">{_decimal(scores["log_loss"])}</td></tr>'
        )
    column = escape(str(by["column"]))
    return f"""<p>{_worst(say, by)}</p><table class="plots by"><caption>{say('by_caption', column=column)}</caption><thead><tr>
<th scope="col">{column}</th><th scope="col" class="n">{say('records')}</th><td class="plot"></td>
<th scope="col" class="n">{say('accuracy')}</th><th scope="col" class="n">{say('difference')}</th>
<th scope="col" class="n">{say('macro_f1')}</th><th scope="col" class="n">{say('log_loss')}</th></tr></thead>
<tbody>{body}</tbody><tfoot><tr><td></td><td></td><td class="plot">{axis.labels(say('accuracy_axis'))}</td>
<td></td><td></td><td></td><td></td></tr></tfoot></table><p class="fine">{say('by_fine', few=FEW_TEST)}</p>"""


def _worst(say: Words, by: Mapping[str, Any]) -> str:
    worst = lowest(by)
    if worst is None:
        return say("by_nothing", few=FEW_TEST)
    accuracy, apart = worst["scores"]["accuracy"], worst["difference"]["accuracy"]
    if apart["value"] >= 0:
        return say("by_none")
    return _joined(say, [
        say("by_lowest", value=_part(say, worst), accuracy=_percent(say, accuracy), interval=_range(accuracy),
            difference=_both_points(apart)),
        say("by_clear" if apart["high"] < 0 else "by_unclear"),
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
    plots = [
        _curves(say, "loss", "loss_axis", [("training", "rival", series("loss")), ("validation", "model", valid)],
                mark=min(valid, key=lambda point: point[1]) if valid else None),
        _curves(say, "valid_accuracy", "valid_axis", [("validation", "model", series("valid_accuracy"))], percent=True),
        _curves(say, "rate", "rate_axis", [("rate", "plain", series("lr"))]),
    ]
    if not any(plots):
        return ""
    note = f'<p class="fine">{say("loss_fine")}</p>' if plots[0] else ""
    return f'<div class="curves">{"".join(plots)}</div>{note}'


def _curves(
    say: Words, title: str, axis: str, series: list[tuple[str, str, list[tuple[float, float]]]], *,
    mark: tuple[float, float] | None = None, percent: bool = False,
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
    return (f'<figure><figcaption><b>{say(title)}</b></figcaption>{chart.svg(label)}'
            f'<div class="key">{keys}</div></figure>')


# --- numbers --------------------------------------------------------------------------------------


def _percent(say: Words, score: Mapping[str, float | None]) -> str:
    return "–" if score["value"] is None else say("percent", value=f"{100 * score['value']:.1f}")


def _decimal(score: Mapping[str, float | None]) -> str:
    return "–" if score["value"] is None else f"{score['value']:.3f}"


def _figure(say: Words, name: str, score: Mapping[str, float | None]) -> str:
    return _percent(say, score) if name == "accuracy" else _decimal(score)


def _range(score: Mapping[str, float | None], percent: bool = True) -> str:
    if score["low"] is None:
        return ""
    low, high = (f"{100 * score[end]:.1f}" if percent else f"{score[end]:.3f}" for end in ("low", "high"))
    return f'<span class="spread">[{low}, {high}]</span>'


def _points(score: Mapping[str, float | None]) -> str:
    """Difference in points, a true minus sign."""
    return "–" if score["value"] is None else f"{100 * score['value']:+.1f}".replace("-", "−")


def _points_range(score: Mapping[str, float | None]) -> str:
    if score["low"] is None:
        return ""
    low, high = (f"{100 * score[end]:+.1f}".replace("-", "−") for end in ("low", "high"))
    return f'<span class="spread">[{low}, {high}]</span>'


def _both_points(score: Mapping[str, float | None]) -> str:
    return f"{_points(score)} {_points_range(score)}"

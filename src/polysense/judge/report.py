"""One evaluation as one HTML file: no script, nothing fetched, plots as SVG written here.

Colours are of Okabe and Ito's palette (told apart by colour-blind readers), and every mark has a shape of its
own. Strips (a row of marks with intervals) place things in percent, so they fit any width without scaling
their text.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ..learn.rivals import FEW
from ..metrics import LOWER_IS_BETTER
from .evaluate import FEW_TEST, is_worse, subset_name, words, worth_showing

_MOST_CLASSES = 40  # larger confusion matrices are shown as the list of most frequent confusions
_MOST_BAD = 50
_MOST_TEXT = 400


def html(
    evaluation: Mapping[str, Any], *, title: str, history: Sequence[Mapping[str, Any]] | None = None,
    mistakes: Sequence[Mapping[str, Any]] | None = None, data_report: Mapping[str, Any] | None = None,
    made: Mapping[str, Any] | None = None,
) -> str:
    """The report.

    Args:
        evaluation: of ``evaluate``.
        title: heading of the page.
        history: one dict per epoch: epoch, loss, valid_loss, valid_accuracy, lr; what is missing is not
            drawn.
        mistakes: wrong answers with their cells: row, truth, prediction, probability, and cells of column,
            kind and one of text, image_png_bytes (PNG or JPEG), audio_wav_bytes; none of them where the cell
            is empty.
        data_report: columns (each a dict, or column, kind, reason), bad_cells (dicts), notes (sentences); all
            else is shown by its name.
        made: how the model was made; dicts may be nested.

    Returns:
        A complete document.
    """
    data_report = data_report or {}
    bad = data_report.get("bad_cells") or evaluation.get("bad_cells") or []
    sections = [
        ("scores", "Scores", _scores(evaluation)),
        ("subsets", "Every subset of views", _subsets(evaluation)),
        ("learning", "Learning curves", _learning(history or [])),
        ("confusion", "Confusion: what is taken for what", _confusion(evaluation)),
        ("mistakes", "Confident mistakes", _mistakes(mistakes or [])),
        ("data", "The data", _data(data_report, bad)),
        ("made", "How the model was made", _definitions(made or {})),
    ]
    sections = [(key, name, body) for key, name, body in sections if body]
    contents = "".join(f'<li><a href="#{key}">{name}</a></li>' for key, name, _ in sections)
    bodies = "".join(f'<section id="{key}"><h2>{name}</h2>{body}</section>' for key, name, body in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>{_summary(evaluation)}
<nav aria-label="Contents"><ol>{contents}</ol></nav></header>
<main>{bodies}</main>
</body>
</html>
"""


# --- what it says first ---------------------------------------------------------------------------


def _summary(evaluation: Mapping[str, Any]) -> str:
    scores = evaluation.get("scores")
    warnings = "".join(
        f'<p class="warning"><b>Note.</b> {escape(text)}.</p>' for text in evaluation.get("warnings", [])
    )
    if scores is None:
        return f'<p class="lead">No record to judge.</p>{warnings}'
    base, accuracy = evaluation["baselines"], scores["accuracy"]
    groups = f" in {_count(evaluation['groups'], 'group')}" if evaluation.get("groups") else ""
    said = f"On {_count(evaluation['records'], 'record')}{groups} the model is right "
    said += f"<b>{_percent(accuracy)}</b> of the time {_range(accuracy)}."
    rivals = []
    if base["concat_logistic"]:
        rivals.append(f"plain concatenation {_percent(base['concat_logistic']['accuracy'])}")
    if base["best_single"]:
        single = base["best_single"]
        rivals.append(f"the best single view ({escape(str(single['view']))}) {_percent(single['accuracy'])}")
    if base["majority"]:
        rivals.append(f"the most frequent class {_percent(base['majority']['accuracy'])}")
    if rivals:
        said += f" For comparison: {', '.join(rivals)}."
    mean, compared = evaluation.get("subsets_mean"), ""
    if mean and mean["difference"] and mean["difference"]["accuracy"]["value"] is not None:
        worse = sum(is_worse(row) for row in evaluation["subsets"])
        compared = (
            f'<p class="lead">Averaged over {_count(mean["counted"], "counted subset")} of the views: '
            f"<b>{_points(mean['difference']['accuracy'])}</b> points of accuracy against a regression "
            f"trained for each, {_points(mean['difference_filled']['accuracy'])} against one trained on all "
            "records, absent parts filled. "
            + (
                "No regression is significantly ahead of the model."
                if not worse
                else f"{_count(worse, 'regression')} significantly ahead of the model."
            )
            + "</p>"
        )
    return f'<p class="lead">{said}</p>{compared}{warnings}'


# --- scores ---------------------------------------------------------------------------------------


def _scores(evaluation: Mapping[str, Any]) -> str:
    scores = evaluation.get("scores")
    if scores is None:
        return "<p>No record has a target that could be judged.</p>"
    tiles = "".join(
        f'<div class="tile"><div class="what">{words(name)}</div>'
        f'<div class="figure">{_figure(name, scores[name])}</div>'
        f'<div class="spread">{_range(scores[name], percent=name == "accuracy")}</div></div>'
        for name in ("accuracy", "macro_f1", "log_loss", "ece")
        if name in scores
    )
    base = evaluation["baselines"]
    lines = [("this model", scores, "model")]
    if base["concat_logistic"]:
        lines.append(("plain concatenation, logistic regression", base["concat_logistic"], "rival"))
    if base["best_single"]:
        lines.append((f"best single view: {base['best_single']['view']}", base["best_single"], "rival"))
    if base["majority"]:
        lines.append(("most frequent class", base["majority"], "rival"))
    axis = _Axis.of(one["accuracy"] for _, one, _ in lines)
    rows = "".join(
        f'<tr><th scope="row">{escape(str(label))}</th>'
        f'<td class="plot">{_strip(axis, [(kind, one["accuracy"])])}</td>'
        f'<td class="n">{_percent(one["accuracy"])}</td><td class="n">{_decimal(one["macro_f1"])}</td>'
        f'<td class="n">{_decimal(one["log_loss"])}</td></tr>'
        for label, one, kind in lines
    )
    names = worth_showing(scores)
    measures = "".join(
        f'<tr><th scope="row">{words(name)}</th><td class="n">{_decimal(scores[name])}</td>'
        f'<td class="n">{_range(scores[name], percent=False)}</td>'
        f'<td>{"less is better" if name in LOWER_IS_BETTER else ""}</td></tr>'
        for name in names
    )
    return f"""<div class="tiles">{tiles}</div>
<table class="plots baselines"><caption>Accuracy beside the baselines, with 95&nbsp;% intervals</caption>
<thead><tr><td></td><th scope="col" class="plot">accuracy, %</th><th scope="col" class="n">accuracy</th>
<th scope="col" class="n">macro&nbsp;F1</th><th scope="col" class="n">log&nbsp;loss</th></tr></thead>
<tbody>{rows}</tbody>
<tfoot><tr><td></td><td class="plot">{axis.labels()}</td><td></td><td></td><td></td></tr></tfoot></table>
<details><summary>All measures</summary>
<table><thead><tr><th scope="col">measure</th><th scope="col" class="n">value</th>
<th scope="col" class="n">95 % interval</th><td></td></tr></thead><tbody>{measures}</tbody></table></details>
<p class="fine">Intervals: percentile bootstrap over {"groups" if evaluation.get("groups") else "records"}.
Best single view chosen by validation records, never by these. Log loss in nats.</p>"""


# --- subsets --------------------------------------------------------------------------------------


def _subsets(evaluation: Mapping[str, Any]) -> str:
    rows, views = evaluation.get("subsets") or [], evaluation.get("views") or []
    if not rows:
        return ""
    axis = _Axis.of(
        row[key]["accuracy"]
        for row in rows
        if not row["too_few"]
        for key in ("scores", "specialist")
        if row[key]
    )
    body = "".join(_subset_row(row, views, axis) for row in rows)
    mean = evaluation.get("subsets_mean")
    if mean:
        body += (
            f'<tr class="mean"><td class="dots" colspan="{len(views)}">mean of {mean["counted"]} counted</td>'
            f'<td class="name">mean of {mean["counted"]} counted</td><td class="n"></td>'
            f"{_subset_cells(mean, axis)}</tr>"
        )
    heads = "".join(f'<th scope="col" class="dots"><span>{escape(view)}</span></th>' for view in views)
    gap = f'<td class="dots" colspan="{len(views)}"></td><td class="name"></td><td class="n"></td>'
    return f"""<p>Each row keeps only the views with a filled dot, on the records that have them all. The
<em>specialist</em> is a logistic regression trained for exactly that subset; the <em>filled</em> one is
trained on all records, with zeros and presence bits for what is absent. Differences are model minus rival, in
points of accuracy.</p>
<p class="key"><span>{_legend("model")} this model</span><span>{_legend("rival")} specialist</span>
<span><b class="worse">▼</b> behind its specialist after Holm’s correction</span></p>
<table class="plots subsets"><thead><tr>{heads}<th scope="col" class="name">views present</th>
<th scope="col" class="n">records</th>
<th scope="col" class="plot">accuracy, %</th><th scope="col" class="n">model</th>
<th scope="col" class="n apart">minus specialist</th>
<th scope="col" class="n apart">minus filled</th></tr></thead>
<tbody>{body}</tbody>
<tfoot><tr>{gap}<td class="plot">{axis.labels()}</td><td></td><td></td><td></td></tr></tfoot></table>
<p class="fine">Grey rows have under {FEW} training or {FEW_TEST} judged records and are not counted.
All intervals 95&nbsp;%.</p>"""


def _subset_row(row: Mapping[str, Any], views: Sequence[str], axis: _Axis) -> str:
    dots = "".join(
        f'<td class="dots"><svg width="14" height="14" viewBox="0 0 14 14" role="img" aria-label="'
        f'{"present" if view in row["present"] else "absent"}"><circle cx="7" cy="7" '
        + (
            'r="5.5" class="in"/></svg></td>'
            if view in row["present"]
            else 'r="2.2" class="out"/></svg></td>'
        )
        for view in views
    )
    return (
        f'<tr class="{"few" if row["too_few"] else ""}">{dots}'
        f'<td class="name">{escape(subset_name(row["present"], views))}</td>'
        f'<td class="n">{row["records"]}</td>{_subset_cells(row, axis)}</tr>'
    )


def _subset_cells(row: Mapping[str, Any], axis: _Axis) -> str:
    if not row["scores"]:
        return '<td class="plot"></td><td class="n">–</td>' + 2 * '<td class="n apart"></td>'
    marks = [("model", row["scores"]["accuracy"])]
    if row["specialist"]:
        marks.append(("rival", row["specialist"]["accuracy"]))
    behind = (
        '<b class="worse" title="behind its specialist after Holm’s correction">▼</b> '
        if _behind(row)
        else ""
    )
    return (
        f'<td class="plot">{_strip(axis, marks)}</td><td class="n">{_percent(row["scores"]["accuracy"])}</td>'
        f'<td class="n apart" data-label="minus specialist">{behind}{_apart(row["difference"])}</td>'
        f'<td class="n apart" data-label="minus filled">{_apart(row["difference_filled"])}</td>'
    )


def _behind(row: Mapping[str, Any]) -> bool:
    return "p_holm" in row and is_worse(row)


def _apart(scores: Mapping[str, Any] | None) -> str:
    return _points(scores["accuracy"]) if scores else "–"


# --- learning curves ------------------------------------------------------------------------------


def _learning(history: Sequence[Mapping[str, Any]]) -> str:
    def series(key: str) -> list[tuple[float, float]]:
        return [
            (float(one.get("epoch", i)), float(one[key])) for i, one in enumerate(history)
            if one.get(key) is not None and math.isfinite(one[key])
        ]

    plots = [
        _curves(
            "loss", [("training", "rival", series("loss")), ("validation", "model", series("valid_loss"))]
        ),
        _curves("validation accuracy", [("validation", "model", series("valid_accuracy"))]),
        _curves("learning rate", [("", "plain", series("lr"))]),
    ]
    drawn = "".join(plot for plot in plots if plot)
    note = '<p class="fine">The training loss is that of the whole objective (masked copies, heads of the '
    note += "single views, smoothing), so it need not lie below the validation loss.</p>"
    return f'<div class="curves">{drawn}</div>{note if plots[0] else ""}' if drawn else ""


def _curves(title: str, series: list[tuple[str, str, list[tuple[float, float]]]]) -> str:
    """A line plot with named lines: 420 x 230."""
    series = [one for one in series if one[2]]
    if not series:
        return ""
    left, right, top, bottom = 48, 408, 14, 196
    xs, ys = ([point[i] for _, _, points in series for point in points] for i in (0, 1))
    y_ticks, x_ticks = _ticks(min(ys), max(ys), 5), _ticks(min(xs), max(xs), 6, whole=True)
    y0, y1 = min(*ys, y_ticks[0]), max(*ys, y_ticks[-1])
    x0, x1 = min(xs), max(xs)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (right - left) * (x - x0) / ((x1 - x0) or 1),
            bottom - (bottom - top) * (y - y0) / ((y1 - y0) or 1),
        )

    parts = []
    for tick in y_ticks:
        y = at(x0, tick)[1]
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in (tick for tick in x_ticks if x0 <= tick <= x1):
        x = at(tick, y0)[0]
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{bottom + 31}" text-anchor="middle">epoch</text>')
    for _, kind, points in series:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline class="{kind}" points="{path}"/>')
        if len(points) == 1:
            x, y = at(*points[0])
            parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    key = "".join(
        '<span><svg width="26" height="10">'
        f'<line class="{kind}" x1="1" x2="25" y1="5" y2="5"/></svg> {name}</span>'
        for name, kind, _ in series
        if len(series) > 1
    )
    best = f"{title}, last {series[-1][2][-1][1]:.4g}"
    return (
        f'<figure><figcaption><b>{title}</b><span class="key">{key}</span></figcaption>'
        f'<svg class="curve" viewBox="0 0 420 232" role="img" aria-label="{escape(best)}">'
        f"{''.join(parts)}</svg></figure>"
    )


# --- confusion ------------------------------------------------------------------------------------


def _confusion(evaluation: Mapping[str, Any]) -> str:
    counts, names = evaluation.get("confusion"), [str(name) for name in evaluation.get("classes", [])]
    if not counts:
        return ""
    labels = [*names, "unseen class"]
    rows = [(label, row) for label, row in zip(labels, counts, strict=True) if sum(row)]
    pairs = sorted(
        (
            (n, sum(row), label, names[j])
            for label, row in rows
            for j, n in enumerate(row)
            if n and names[j] != label
        ),
        reverse=True,
    )[:8]
    often = "".join(
        f"<li><b>{escape(truth)}</b> taken for <b>{escape(said)}</b>: {n} of {total}</li>"
        for n, total, truth, said in pairs
    )
    often = f'<p>Most often:</p><ul class="pairs">{often}</ul>' if often else "<p>No mistake.</p>"
    if len(names) > _MOST_CLASSES:
        return often
    shown = [j for j, name in enumerate(names) if sum(row[j] for row in counts) or sum(counts[j])]
    head = "".join(f'<th scope="col" class="turned"><span>{escape(names[j])}</span></th>' for j in shown)
    body = "".join(
        f'<tr><th scope="row">{escape(label)}</th>'
        + "".join(_shaded(row[j], sum(row), names[j] == label) for j in shown)
        + f'<td class="sum">{sum(row)}</td></tr>'
        for label, row in rows
    )
    return f"""<p class="fine">Rows: the true class; columns: what the model said. Shade: share of the
row.</p>
<div class="wide"><table class="confusion"><thead><tr><td></td>{head}<td class="sum">all</td></tr></thead>
<tbody>{body}</tbody></table></div>
{often}"""


def _shaded(n: int, total: int, right: bool) -> str:
    if not n:
        return '<td class="zero">·</td>'
    share = n / total
    return (f'<td class="{"right" if right else "wrong"}{" deep" if share > 0.55 else ""}" '
            f'style="--share:{max(share, 0.08):.2f}" title="{100 * share:.0f} %">{n}</td>')


# --- mistakes -------------------------------------------------------------------------------------


def _mistakes(mistakes: Sequence[Mapping[str, Any]]) -> str:
    cards = "".join(
        f'<article><header><span class="truth">{escape(_said(one.get("truth")))}</span> taken for '
        f'<span class="guess">{escape(_said(one.get("prediction")))}</span>'
        f'<small>row {one.get("row")}, said with {100 * one["probability"]:.0f}&nbsp;%</small></header>'
        + _cells(one.get("cells", ())) + "</article>"
        for one in mistakes
    )
    return (
        f'<p>The wrong answers given with the highest probability.</p><div class="gallery">{cards}</div>'
        if cards
        else ""
    )


def _said(name: Any) -> str:
    return "a class unseen in training" if name is None else str(name)


def _cells(cells: Sequence[Mapping[str, Any]]) -> str:
    """Each cell in a block of its own; those of the table view share one."""
    small = [cell for cell in cells if cell.get("kind") == "table"]
    shown = "".join(_cell(cell) for cell in cells if cell.get("kind") != "table")
    if not small:
        return shown
    inline = "".join(
        f"<dt>{escape(str(cell.get('column', '')))}</dt><dd>{escape(str(cell.get('text') or '–'))}</dd>"
        for cell in small
    )
    return f'{shown}<div class="cell"><dl class="small">{inline}</dl></div>'


def _cell(cell: Mapping[str, Any]) -> str:
    name = escape(str(cell.get("column", "")))
    if cell.get("image_png_bytes"):
        data = bytes(cell["image_png_bytes"])
        kind = "jpeg" if data[:2] == b"\xff\xd8" else "png"
        return f'<figure class="cell"><img alt="{name}" src="{_data_uri(f"image/{kind}", data)}"></figure>'
    if cell.get("audio_wav_bytes"):
        sound = _data_uri("audio/wav", bytes(cell["audio_wav_bytes"]))
        player = f'<audio controls preload="none" src="{sound}"></audio>'
        return f'<div class="cell"><span class="column">{name}</span>{player}</div>'
    text = cell.get("text")
    if text is None or text == "":
        return f'<div class="cell"><span class="column">{name}</span><span class="absent">absent</span></div>'
    text = str(text) if len(str(text)) <= _MOST_TEXT else str(text)[:_MOST_TEXT] + "…"
    return f'<div class="cell"><span class="column">{name}</span><span dir="auto">{escape(text)}</span></div>'


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


# --- data, and making -----------------------------------------------------------------------------


def _data(report: Mapping[str, Any], bad: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    columns = report.get("columns")
    if columns:
        names = ("column", "kind", "reason")
        parts.append(
            _plain_table(
                [c if isinstance(c, Mapping) else dict(zip(names, c, strict=False)) for c in columns]
            )
        )
    rest = {key: value for key, value in report.items() if key not in ("columns", "bad_cells", "notes")}
    parts.append(_definitions(rest))
    notes = report.get("notes") or []
    if notes:
        parts.append(
            '<ul class="notes">' + "".join(f"<li>{escape(str(note))}</li>" for note in notes) + "</ul>"
        )
    if bad:
        parts.append(f"<h3>{_count(len(bad), 'bad cell')}</h3>{_plain_table(bad[:_MOST_BAD])}")
        if len(bad) > _MOST_BAD:
            parts.append(
                f'<p class="fine">The first {_MOST_BAD}; all of them are in the JSON of the evaluation.</p>'
            )
    elif report:
        parts.append("<p>No bad cell.</p>")
    return "".join(parts)


def _plain_table(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {key for key in heads if all(isinstance(row.get(key, 0), (int, float)) for row in rows)}
    head = "".join(f'<th scope="col"{_numeric(key in numeric)}>{escape(str(key))}</th>' for key in heads)
    body = "".join(
        "<tr>"
        + "".join(f"<td{_numeric(key in numeric)}>{escape(_value(row.get(key)))}</td>" for key in heads)
        + "</tr>"
        for row in rows
    )
    table = f'<table class="rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _numeric(yes: bool) -> str:
    return ' class="n"' if yes else ""


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(one) for one in value)
    return str(value)


def _definitions(made: Mapping[str, Any]) -> str:
    if not made:
        return ""
    body = "".join(
        f"<dt>{escape(str(key).replace('_', ' '))}</dt><dd>"
        + (_definitions(value) if isinstance(value, Mapping) else escape(_value(value)))
        + "</dd>"
        for key, value in made.items()
        if value is not None and not (isinstance(value, (dict, list)) and not value)
    )
    return f"<dl>{body}</dl>"


# --- drawing --------------------------------------------------------------------------------------


class _Axis:
    """A horizontal axis of shares, 0..1, whose places are percent of its width."""

    def __init__(self, low: float, high: float) -> None:
        step = 0.1 if high - low <= 0.6 else 0.2
        self.low = max(0.0, math.floor(low / step + 1e-9) * step)
        self.high = min(1.0, math.ceil(high / step - 1e-9) * step)
        if self.high - self.low < step / 2:
            self.low = max(0.0, self.high - step)
            self.high = min(1.0, self.low + step)
        self.ticks = [self.low + i * step for i in range(round((self.high - self.low) / step) + 1)]

    @classmethod
    def of(cls, scores: Iterable[Mapping[str, float | None]]) -> _Axis:
        known = [value for score in scores for value in score.values() if value is not None]
        return cls(min(known, default=0.0), max(known, default=1.0))

    def at(self, value: float) -> float:
        """Percent; what lies outside (rows that are not counted) is put on the edge."""
        return 2 + 96 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def grid(self) -> str:
        return "".join(
            f'<line class="grid" x1="{self.at(t):.2f}%" x2="{self.at(t):.2f}%" y1="0" y2="100%"/>'
            for t in self.ticks
        )

    def labels(self) -> str:
        texts = "".join(
            f'<text x="{self.at(t):.2f}%" y="13" text-anchor="middle">{100 * t:.0f}</text>'
            for t in self.ticks
        )
        return f'<svg class="strip axis" height="18" aria-hidden="true">{texts}</svg>'


def _strip(axis: _Axis, marks: list[tuple[str, Mapping[str, float | None]]]) -> str:
    """Marks with intervals on one axis, one under the other."""
    height = 24 if len(marks) == 1 else 30
    drawn, said = [axis.grid()], []
    for i, (kind, score) in enumerate(marks):
        if score["value"] is None:
            continue
        y = height * (i + 1) / (len(marks) + 1) + (0 if len(marks) == 1 else (-1, 1)[i])
        drawn.append(
            f'<line class="{kind} spread" '
            f'x1="{axis.at(score["low"]):.2f}%" x2="{axis.at(score["high"]):.2f}%" '
            f'y1="{y:g}" y2="{y:g}"/>'
        )
        drawn.append(
            f'<svg x="{axis.at(score["value"]):.2f}%" y="{y:g}" overflow="visible">{_MARKS[kind]}</svg>'
        )
        said.append(f"{kind} {_percent(score)}, 95 % interval {_range(score)}".replace("&nbsp;", " "))
    label = "; ".join(said)
    return f'<svg class="strip" height="{height}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'


_MARKS = {
    "model": '<circle class="model" r="4.6"/>',
    "rival": '<path class="rival" d="M0-5 5 0 0 5-5 0Z"/>',
}


def _legend(kind: str) -> str:
    return f'<svg width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">{_MARKS[kind]}</svg>'


def _ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Round numbers from just below ``low`` to just above ``high``.

    >>> _ticks(0.13, 0.91, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = (high - low) or abs(high) or 1.0
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


# --- numbers --------------------------------------------------------------------------------------


def _percent(score: Mapping[str, float | None]) -> str:
    return "–" if score["value"] is None else f"{100 * score['value']:.1f}&nbsp;%"


def _decimal(score: Mapping[str, float | None]) -> str:
    return "–" if score["value"] is None else f"{score['value']:.3f}"


def _figure(name: str, score: Mapping[str, float | None]) -> str:
    return _percent(score) if name == "accuracy" else _decimal(score)


def _range(score: Mapping[str, float | None], percent: bool = True) -> str:
    if score["low"] is None:
        return ""
    if percent:
        return f"[{100 * score['low']:.1f}, {100 * score['high']:.1f}]"
    return f"[{score['low']:.3f}, {score['high']:.3f}]"


def _points(score: Mapping[str, float | None]) -> str:
    """Difference in points with its interval, a true minus sign."""
    if score["value"] is None:
        return "–"
    value, low, high = (f"{100 * score[key]:+.1f}".replace("-", "−") for key in ("value", "low", "high"))
    return f'{value} <span class="spread">[{low}, {high}]</span>'


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}".replace(",", "&nbsp;") + ("" if n == 1 else "s")


_STYLE = """
:root { color-scheme: light dark; --paper:#fcfcfb; --ink:#1d2126; --soft:#5d656e; --line:#d9dcdf;
  --faint:#eef0f1;
  --model:#0072b2; --rival:#b35900; --bad:#b35900; --rgb-right:0 114 178; --rgb-wrong:213 94 0;
    --card:#ffffff; }
@media (prefers-color-scheme: dark) { :root { --paper:#16191c; --ink:#e7e9ea; --soft:#a0a8b0; --line:#3a4046;
  --faint:#23282c; --model:#5ab6ee; --rival:#eda13f; --bad:#f0a550; --rgb-right:66 150 210; --rgb-wrong:220
    120 40;
  --card:#1d2125; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2.2rem 1.4rem 4rem; max-width: 68rem; background: var(--paper); color:
  var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "PingFang SC", "Microsoft YaHei",
  "Noto Sans CJK SC", sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: break-word; }
h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 650; letter-spacing: -.015em; margin: 0 0 .7rem; }
h2 { font-size: 1.3rem; font-weight: 650; margin: 0 0 .8rem; letter-spacing: -.01em; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { max-width: 44rem; margin: 0 0 .8rem; }
a { color: var(--model); }
.lead { font-size: 1.08rem; }
.warning { border-left: 3px solid var(--bad); padding: .1rem 0 .1rem .8rem; }
.lead .spread { font-size: 1em; font-weight: 400; }
.fine, .spread, small, caption { color: var(--soft); font-size: .86rem; }
nav ol { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; padding: .7rem 0; margin: 1rem
  0 0;
  border: solid var(--line); border-width: 1px 0; font-size: .93rem; }
nav a { text-decoration: none; } nav a:hover { text-decoration: underline; }
section { margin-top: 2.8rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem;
  margin-bottom: 1.6rem; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem
  .6rem; }
.tile .what { color: var(--soft); font-size: .86rem; } .tile .figure { font-size: 1.6rem; font-weight: 600;
  line-height: 1.3; }
table { border-collapse: collapse; font-size: .93rem; }
caption { text-align: left; padding: 0 0 .4rem; }
th { font-weight: 500; text-align: left; } thead th { color: var(--soft); font-size: .86rem; vertical-align:
  bottom; }
th, td { padding: .28rem .9rem .28rem 0; }
.n { text-align: right; white-space: nowrap; }
table.rows tr + tr td, details tbody tr + tr > * { border-top: 1px solid var(--faint); }
table.rows td { vertical-align: top; }
.wide { overflow-x: auto; }
details { margin: 1rem 0; } summary { cursor: pointer; color: var(--model); padding: .2rem 0; }
table.plots { width: 100%; } table.plots tbody > tr > * { padding-top: 0; padding-bottom: 0; }
table.plots .plot { width: 40%; padding-left: .4rem; padding-right: 1.2rem; }
table.baselines th[scope=row] { width: 30%; line-height: 1.25; }
table.baselines tbody tr:first-child th, table.baselines tbody tr:first-child .n { font-weight: 650; }
svg.strip { display: block; width: 100%; overflow: visible; } svg text { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--line); stroke-width: 1; }
line.spread { stroke-width: 2.4; stroke-linecap: round; opacity: .55; }
.model { stroke: var(--model); fill: var(--model); } .rival { stroke: var(--rival); fill: var(--paper);
  stroke-width: 1.8; }
.plain { stroke: var(--soft); fill: var(--soft); }
polyline { fill: none !important; stroke-width: 2 !important; stroke-linejoin: round; }
polyline.rival, figcaption line.rival { stroke-dasharray: 5 3; } figcaption line { stroke-width: 2; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; font-size: .9rem; color: var(--soft); }
.key svg { vertical-align: -1px; }
td.dots, th.dots { padding: 0 .3rem; text-align: center; width: 1.6rem; } td.dots svg { display: block;
  margin: auto; }
th.dots span { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; max-height: 9rem;
  overflow: hidden;
  text-overflow: ellipsis; }
.in { fill: var(--ink); } .out { fill: var(--line); }
table.subsets .name { display: none; } table.subsets tbody tr:hover { background: var(--faint); }
table.subsets .plot { width: 32%; } .apart { min-width: 9.5rem; }
tr.few { opacity: .45; } tr.mean > * { border-top: 1.5px solid var(--ink); font-weight: 600; }
tr.mean td.dots { text-align: left; padding-left: 0; }
.worse { color: var(--bad); }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); gap: 1rem
  1.6rem; }
figure { margin: 0; } figcaption { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .9rem; }
figcaption b { font-weight: 600; } svg.curve { width: 100%; max-width: 34rem; height: auto; display: block; }
table.confusion { font-size: .86rem; } .confusion td { text-align: center; min-width: 2.1rem; height: 2rem;
  padding: 0 .2rem;
  border: 1px solid var(--faint); } .confusion thead td, .confusion td.sum { border: 0; color: var(--soft); }
.confusion th[scope=row] { text-align: right; padding: 0 .6rem 0 0; white-space: nowrap; max-width: 12rem;
  overflow: hidden;
  text-overflow: ellipsis; } .confusion .zero { color: var(--line); }
.turned { padding: 0 !important; } .turned span { writing-mode: vertical-rl; transform: rotate(180deg);
  max-height: 9rem;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; padding: .4rem 0; margin: auto; display:
    block; }
.right { background: rgb(var(--rgb-right) / var(--share)); } .wrong { background: rgb(var(--rgb-wrong) /
  var(--share)); }
.confusion .deep { color: #fff; }
.pairs { columns: 2 18rem; max-width: 48rem; margin: 0; padding-left: 1.2rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(15.5rem, 100%), 1fr)); gap:
  1rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem
  .9rem; font-size: .92rem;
  break-inside: avoid; } article header { border-bottom: 1px solid var(--faint); padding-bottom: .5rem;
    margin-bottom: .6rem; }
.fine + .wide, .wide + p { margin-top: .6rem; }
article small { display: block; } .truth { font-weight: 650; } .guess { font-weight: 650; color: var(--bad); }
.cell { margin: .4rem 0 0; } .cell img { display: block; max-width: 100%; max-height: 11rem; margin: 0 auto;
  border-radius: .25rem;
  background: #fff; } .column { color: var(--soft); font-size: .82rem; display: block; line-height: 1.3; }
.absent { color: var(--soft); font-style: italic; } audio { width: 100%; height: 2.2rem; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .15rem 1.2rem; margin: 0;
  font-size: .93rem; }
dl.small { grid-template-columns: minmax(0, max-content) 1fr; gap: 0 .7rem; font-size: .86rem; }
dt { color: var(--soft); } dd { margin: 0; min-width: 0; }
@media screen and (max-width: 46rem) {
  body { padding: 1.2rem .9rem 3rem; } h1 { font-size: 1.5rem; } section { margin-top: 2.2rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
  table.baselines thead { display: none; } table.baselines tr { display: grid; grid-template-columns: 1fr
    auto; padding: .35rem 0; }
  table.baselines .plot { grid-column: 1 / -1; grid-row: 2; width: auto; padding: 0; }
  table.baselines .n:nth-of-type(n+3) { display: none; } table.baselines th[scope=row] { width: auto; }
  table.baselines tfoot td:not(.plot) { display: none; }
  table.subsets .dots, table.subsets thead { display: none; } table.subsets, table.subsets tbody,
    table.subsets tfoot { display: block; }
  table.subsets tr { display: grid; grid-template-columns: 1fr auto auto; gap: 0 .6rem; padding: .5rem 0;
    border-top: 1px solid var(--faint); }
  table.subsets td { padding: 0; min-width: 0; border: 0 !important; } table.subsets .name { display: block;
    font-weight: 600; }
  table.subsets td.n:not(.apart):not(:empty) + .plot { grid-column: 1 / -1; }
  table.subsets .plot { grid-column: 1 / -1; grid-row: 2; width: auto; padding: 0 !important; }
  table.subsets .name + .n:not(:empty)::after { content: " records"; color: var(--soft); font-size: .86rem; }
  table.subsets .apart { grid-column: 1 / -1; text-align: left; font-size: .88rem; }
  table.subsets .apart:not(:empty)::before { content: attr(data-label) " "; color: var(--soft); }
  tr.mean { border-top: 1.5px solid var(--ink) !important; } table.subsets tfoot td:not(.plot) { display:
    none; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin: 0 0 .5rem; } dl dl { padding-left: .8rem;
    border-left: 2px solid var(--faint); }
}
@media print {
  :root { color-scheme: light; --paper:#fff; --ink:#000; --soft:#444; --line:#ccc; --faint:#e8e8e8;
    --model:#0072b2;
    --rival:#b35900; --bad:#b35900; --rgb-right:0 114 178; --rgb-wrong:213 94 0; --card:#fff; }
  html { font-size: 9.4pt; }
  body { font-size: 1rem; max-width: none; padding: 0; } nav, audio { display: none; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  h2 { break-after: avoid; } tr, figure, .tile { break-inside: avoid; }
}
"""

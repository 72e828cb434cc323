"""A model and its answers at a glance, as HTML for notebooks.

Every style stands in the element that it is for and every colour is a shade of the page's own text colour:
light and dark pages both keep their look, and nothing outside the box is touched or fetched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .each import by_target
from .evaluate import baseline_name, kind_of, line_of, number, words

_BOX = (
    "border:1px solid rgba(128,128,128,.45);border-radius:6px;padding:.6em 1em;margin:.4em 0;max-width:52em;"
    "font-family:system-ui,sans-serif;font-size:13px;line-height:1.45;overflow-x:auto;color:inherit"
)
_TABLE = "border-collapse:collapse;font-size:inherit;margin:.4em 0;background:transparent;color:inherit"
_CELL = "text-align:left;vertical-align:top;padding:.15em 1.2em .15em 0;border:0;background:transparent;color:inherit"
_HEAD = _CELL + ";opacity:.65;font-weight:normal"
_BAR = "display:inline-block;height:.65em;background:currentColor;opacity:.35;border-radius:2px"
_MOST_ROWS = 10
_MOST_CLASSES = 12
_MOST_TEXT = 60


def settings_html(settings: Mapping[str, Any]) -> str:
    """A model that has learned nothing yet: what it was told.

    Args:
        settings: {name: value}, those that differ from their defaults.
    """
    told = "".join(_row(name, _short(value)) for name, value in settings.items())
    body = f'<table style="{_TABLE}">{told}</table>' if told else "every setting at its default"
    return _box("Model, not fitted yet", body)


def model_html(
    *, targets: Sequence[tuple[Any, str, Sequence[Any], float]], encoders: Mapping[str, str], fusion: str,
    data: Mapping[str, Any], made: Mapping[str, Any], valid: Mapping[str, Any] | None,
) -> str:
    """A fitted model: what it predicts, who reads which view, how well it answers.

    Args:
        targets: each one's name, kind of answer and classes, and the regressions' share of its answer.
        encoders: {view: name of its encoder}.
        data: what ``data_facts`` gave.
        made: what ``made_facts`` gave.
        valid: evaluation on the validation records, if there were any.
    """
    several = len(targets) > 1
    rows = [
        _row("views", "<br>".join(f"{_short(view)} ← {_short(name)}" for view, name in sorted(encoders.items()))),
        _row("fusion", _short(fusion)),
        *(
            _row(
                f"answers of {_short(name)}" if several else "answers", f"{1 - share:.0%} network, {share:.0%} "
                f"{'logistic' if classes else 'ridge'} regressions on the same views"
            )
            for name, kind, classes, share in targets if kind != "words"
        ),
        *(
            _row("answers", f"the text on which network ({1 - share:.0%}) and nearest training records ({share:.0%}) agree")
            for _, kind, _, share in targets if kind == "words" and share
        ),
        _row("records", f"{data['train']:,} for training, {data['valid']:,} for validation, from {_short(made['source'])}"),
        _row("made", f"{_short(made['date'])}, {made['cpu_seconds']:,} CPU seconds, seed {made['seed']}"),
    ]
    what = "<br>".join((f"{_short(name)}: " if several else "") + _what(kind, classes) for name, kind, classes, _ in targets)
    body = what + f'<table style="{_TABLE}">{"".join(rows)}</table>'
    for name, one in by_target(valid or {}):
        body += (f"<div>{_short(name)}</div>" if name else "") + _scores(one)
    return _box(f"Model of {', '.join(_short(name or 'the target') for name, *_ in targets)}", body)


def _what(kind: str, classes: Sequence[Any]) -> str:
    """What is answered."""
    named = ", ".join(_short(name, 24) for name in classes[:_MOST_CLASSES])
    more = f" and {len(classes) - _MOST_CLASSES:,} more" if len(classes) > _MOST_CLASSES else ""
    of = f"any of {len(classes):,} labels" if kind == "labels" else f"one of {len(classes):,} classes"
    return f"{of}: {named}{more}" if classes else {"words": "words"}.get(kind, "a number")


def answers_html(
    predictions: Sequence[Any], probabilities: Sequence[float] | None, present: Sequence[Sequence[str]], bad_cells: int,
    n: int,
) -> str:
    """Answers: the first few of them, each with its probability and the views it was given from.

    Args:
        predictions: of the first records.
        probabilities: of these predictions; None where they are numbers or sets of labels.
        present: the views that each of them has.
        bad_cells: how many cells could not be read.
        n: how many records were answered.
    """
    sure = probabilities is not None
    heads = ("row", "prediction", *(("probability",) if sure else ()), "from")
    head = "".join(f'<th style="{_HEAD}">{name}</th>' for name in heads)
    shares = sure or any(isinstance(said, str) for said in predictions)
    lines, nothing = [], "nothing: the shares in training" if shares else "nothing: the constant of training"
    for row, (said, views) in enumerate(zip(predictions[:_MOST_ROWS], present, strict=False)):
        cells = [str(row), _short(said if sure or not isinstance(said, float) else f"{said:.6g}")]
        if sure:
            share = float(probabilities[row])
            cells.append(f'<span style="{_BAR};width:{5 * share:.2f}em"></span> {share:.2f}')
        cells.append(", ".join(map(_short, views)) or nothing)
        lines.append("<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>")
    table = f'<table style="{_TABLE}"><tr>{head}</tr>{"".join(lines)}</table>' if lines else ""
    more = f"and {n - _MOST_ROWS:,} more" if n > _MOST_ROWS else ""
    bad = f"{bad_cells:,} cell{'s' * (bad_cells != 1)} could not be read" if bad_cells else ""
    return _box(f"{n:,} answer{'s' * (n != 1)}", table + "; ".join(filter(None, (more, bad))))


def _scores(valid: Mapping[str, Any] | None) -> str:
    if not valid or not valid["scores"]:
        return "no validation records: nothing is known of how well it answers"
    baselines = {key: scores for key, scores in valid["baselines"].items() if scores}
    kind, (main, second, _) = kind_of(valid), line_of(valid)
    shown = {"this model": valid["scores"]} | {
        baseline_name(kind, key, scores): scores for key, scores in baselines.items()
    }
    names = ("on validation", words(main), "95 % interval", words(second))
    head = "".join(f'<th style="{_HEAD}">{name}</th>' for name in names)
    lines = []
    for label, scores in shown.items():
        first, other = scores[main], scores[second]
        interval = "" if first["low"] is None else f"{number(first['low'], main)} to {number(first['high'], main)}"
        value = "" if first["value"] is None else number(first["value"], main)
        cells = (_short(label), value, interval, "" if other["value"] is None else number(other["value"], second))
        bold = ";font-weight:600" if label == "this model" else ""
        lines.append("<tr>" + "".join(f'<td style="{_CELL}{bold}">{cell}</td>' for cell in cells) + "</tr>")
    return f'<table style="{_TABLE}"><tr>{head}</tr>{"".join(lines)}</table>'


def _row(name: str, html: str) -> str:
    return f'<tr><td style="{_HEAD}">{escape(name)}</td><td style="{_CELL}">{html}</td></tr>'


def _box(title: str, body: str) -> str:
    return f'<div style="{_BOX}"><div style="font-weight:600">{title}</div>{body}</div>'


def _short(value: Any, most: int = _MOST_TEXT) -> str:
    """A value of the user, on one line, cut and escaped.

    >>> _short("<b> " + "x" * 100, 8)
    '&lt;b&gt; xxx…'
    """
    text = " ".join(str(value).split())
    return escape(text if len(text) <= most else text[: most - 1] + "…")

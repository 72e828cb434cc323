"""Sections of the report about single records, about the data, and about how the model was made."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .draw import heard, lines, share_bar
from .reasons import translated
from .spectrogram import height_of
from .words import Words

#: Facts of the making that have a place of their own.
_SHOWN = ("parts", "mixture", "recipe", "versions", "train", "answers")
_MOST_BAD = 50
_MOST_TEXT = 400
_OFTEN = 8


# --- confusion ------------------------------------------------------------------------------------


def confusion(say: Words, evaluation: Mapping[str, Any], most: int) -> str:
    """The matrix of what is taken for what, and its most frequent pairs.

    Args:
        most: classes shown; beyond them those with most mistakes, the rest as one.
    """
    counts, names = evaluation.get("confusion"), [str(name) for name in evaluation.get("classes", [])]
    if not counts:
        return ""
    seen = [j for j in range(len(names)) if sum(counts[j]) or any(row[j] for row in counts)]
    pairs = sorted(
        ((counts[i][j], sum(counts[i]), names[i], names[j]) for i in seen for j in seen if i != j and counts[i][j]),
        key=lambda pair: (-pair[0], pair[1]),
    )[:_OFTEN]
    often = "".join(
        f"<li>{say('pair', truth=escape(truth), said=escape(said), n=n, total=total)}</li>" for n, total, truth, said in pairs
    )
    often = f'<p>{say("often")}</p><ul class="pairs">{often}</ul>' if often else f"<p>{say('no_mistake')}</p>"
    note, rest = "", []
    if len(seen) > most:
        wrong = {j: sum(counts[j]) + sum(row[j] for row in counts) - 2 * counts[j][j] for j in seen}
        kept = sorted(sorted(seen, key=lambda j: -wrong[j])[: most - 1])
        rest = [j for j in seen if j not in kept]
        seen, note = kept, " " + say("collapsed", n=len(kept))
    return (
        f'<h3>{say("confusion")}</h3><p class="fine">{say("confusion_words")}{note}</p>'
        f'<div class="wide scroll" tabindex="0" role="region" aria-label="{say("confusion")}">'
        f"{_matrix(say, counts, names, seen, rest)}</div>{often}"
    )


def _matrix(say: Words, counts: Sequence[Sequence[int]], names: Sequence[str], seen: list[int], rest: list[int]) -> str:
    parts = [[j] for j in seen] + ([rest] if rest else [])
    labels = [names[j] for j in seen] + ([say("other_classes")] if rest else [])
    head = "".join(f'<th scope="col" class="turned"><span>{escape(label)}</span></th>' for label in labels)
    lines = [*zip(labels, parts, strict=True), (say("unseen_class"), [len(names)])]
    body = ""
    for label, rows in lines:
        total = sum(sum(counts[i]) for i in rows)
        if not total:
            continue
        cells = ""
        for part in parts:
            n = sum(counts[i][j] for i in rows for j in part)
            right = sum(counts[i][i] for i in rows if i in part)
            cells += _shaded(say, n, total, right)
        body += f'<tr><th scope="row">{escape(label)}</th>{cells}<td class="sum">{total}</td></tr>'
    return (f'<table class="confusion"><thead><tr><td></td>{head}<td class="sum">{say("all")}</td></tr></thead>'
            f"<tbody>{body}</tbody></table>")


def _shaded(say: Words, n: int, total: int, right: int) -> str:
    if not n:
        return '<td class="zero">·</td>'
    share = n / total
    words = f"{100 * share:.0f} %" if right in (0, n) else say("right_wrong", right=right, wrong=n - right)
    kind = ("right" if right else "wrong") + (" deep" if share > 0.6 else "")
    return f'<td class="{kind}" style="--share:{max(share, 0.08):.2f}" title="{words}">{n}</td>'


# --- mistakes -------------------------------------------------------------------------------------


def mistakes(say: Words, shown: Sequence[Mapping[str, Any]]) -> str:
    """A card for each mistake, with all that its record holds.

    Args:
        shown: row, truth, prediction, probability, error or likeness, and cells of ``gallery.with_cells``; with ``spread`` they
            are no mistakes but drawn from all.
    """
    kinds = {"error": ("off", "errors_words"), "likeness": ("beside", "texts_words")}
    told, words = next((both for key, both in kinds.items() if any(key in one for one in shown)), ("taken", "mistakes_words"))
    cards = "".join(
        "<article><header>"
        + say(told if "truth" in one else "only_said", truth=f'<span class="truth">{_said(say, one.get("truth"))}</span>',
              said=f'<span class="guess">{_said(say, one.get("prediction"))}</span>')
        + f'<small>{_how_far(say, one)}</small></header>{_cells(say, one.get("cells", ()), one.get("row"))}'
        + f'{_looked(say, one.get("looked"))}</article>'
        for one in shown
    )
    words = "said_words" if any(one.get("spread") or "truth" not in one for one in shown) else words
    return f'<p>{say(words)}</p><div class="gallery">{cards}</div>' if cards else ""


def _looked(say: Words, words: Sequence[Mapping[str, Any]] | None) -> str:
    """A text word by word: where in the picture each looked, and how much of it came from each view."""
    if not words:
        return ""
    several, body = any(len(one["shares"]) > 1 for one in words), ""
    for one in words:
        word = escape(one["word"]) or say("end_of_text")
        picture = one.get("image_jpeg_bytes")
        seen = f'<img alt="{say("looked_at", word=word)}" src="{_data_uri("image/jpeg", picture)}">' if picture else ""
        shares = "".join(
            f"<small>{escape(str(view))} {say('percent', value=f'{100 * share:.0f}')}</small>"
            for view, share in one["shares"].items()
        ) if several else ""
        body += f"<figure>{seen}<figcaption><b>{word}</b>{shares}</figcaption></figure>"
    return f'<div class="cell"><span class="column">{say("looked")}</span><div class="looked">{body}</div></div>'


def _how_far(say: Words, one: Mapping[str, Any]) -> str:
    """The row, and how sure or how far off the answer was."""
    if "error" in one:
        return say("row_off", row=one.get("row"), error=f"{one['error']:+.4g}".replace("-", "−"))
    if "likeness" in one:
        return say("row_like", row=one.get("row"), likeness=f"{one['likeness']:.2f}") + _origin(say, one.get("origin"))
    if "probability" not in one:
        return say("row_only", row=one.get("row"))
    return say("row_said", row=one.get("row"), probability=say("percent", value=_sure(one["probability"])))


def _origin(say: Words, origin: str | None) -> str:
    """Whether a text was written or taken; nothing where none is taken."""
    if not origin:
        return ""
    row = origin.removeprefix("training row ")
    return say("comma") + (say("written") if row == origin else say("taken_from", row=row))


def _sure(probability: float) -> str:
    """Never 100 where it is less.

    >>> _sure(0.998), _sure(0.62), _sure(1.0)
    ('99.8', '62', '100')
    """
    return f"{100 * probability:.0f}" if probability < 0.995 or probability == 1 else f"{min(100 * probability, 99.9):.1f}"


def _said(say: Words, name: Any) -> str:
    if isinstance(name, float):
        return f"{name:.6g}".replace("-", "−")
    return say("unseen_in_training") if name is None else escape(str(name))


def _cells(say: Words, cells: Sequence[Mapping[str, Any]], row: Any) -> str:
    """Each cell in a block of its own; those of the table view share one."""
    small = [cell for cell in cells if cell.get("kind") == "table"]
    shown = "".join(_cell(say, cell, row) for cell in cells if cell.get("kind") != "table")
    if not small:
        return shown
    inline = "".join(
        f"<dt>{escape(str(cell.get('column', '')))}</dt><dd>{escape(str(cell.get('text') or '–'))}</dd>" for cell in small
    )
    return f'{shown}<div class="cell"><dl class="small">{inline}</dl></div>'


def _cell(say: Words, cell: Mapping[str, Any], row: Any) -> str:
    name = escape(str(cell.get("column", "")))
    if cell.get("image_png_bytes"):
        data = bytes(cell["image_png_bytes"])
        kind = "jpeg" if data[:2] == b"\xff\xd8" else "png"
        words = say("picture_of", column=name, row=row)
        return f'<div class="cell"><img alt="{words}" src="{_data_uri(f"image/{kind}", data)}"></div>'
    if cell.get("audio"):
        return f'<div class="cell"><span class="column">{name}{_heard(say, name, row, cell["audio"])}</div>'
    if cell.get("series"):
        series = cell["series"]
        words = say("series_of", column=name, row=row, n=series["samples"], shown=len(series["lines"]), all=series["channels"])
        drawn = lines(series["lines"], series["at"], words, say("seconds") if series["timed"] else "")
        return f'<div class="cell"><span class="column">{words}</span>{drawn}</div>'
    text = cell.get("text")
    if text is None or text == "":
        return f'<div class="cell"><span class="column">{name}</span><span class="absent">{say("absent")}</span></div>'
    text = str(text) if len(str(text)) <= _MOST_TEXT else str(text)[:_MOST_TEXT] + "…"
    return f'<div class="cell"><span class="column">{name}</span><span dir="auto">{escape(text)}</span></div>'


def _heard(say: Words, name: str, row: Any, sound: Mapping[str, Any]) -> str:
    """The rest of a sound's heading, its player and its spectrogram."""
    whole, seconds = (f"{sound[part]:.1f}" for part in ("whole_seconds", "seconds"))
    cut = f" · {say('first_of', seconds=seconds, whole=whole)}" if whole != seconds else ""
    player = (
        f'<audio controls preload="none" aria-label="{say("sound_of", column=name, row=row, seconds=seconds)}" '
        f'src="{_data_uri(sound["type"], bytes(sound["bytes"]))}"></audio>'
    )
    picture = heard(
        _data_uri("image/png", bytes(sound["spectrogram_png_bytes"])), sound["seconds"],
        {hz: height_of(hz) for hz in (500, 1000, 2000, 4000)},
        say("spectrogram_of", column=name), (say("seconds"), say("hz")),
    )
    return f"{cut}</span>{player}{picture}"


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


# --- data -----------------------------------------------------------------------------------------


def data(say: Words, facts: Mapping[str, Any], judged_bad: Sequence[Mapping[str, Any]]) -> str:
    """What was read: kinds with reasons, what is missing, what could not be read.

    Args:
        facts: of ``facts.data_facts``.
        judged_bad: unreadable cells of the table that was judged.
    """
    if not facts and not judged_bad:
        return ""
    bad = [{"table": say("in_training"), **cell} for cell in facts.get("bad_cells", [])]
    bad += [{**cell, "table": say("in_judged")} for cell in judged_bad]
    return "".join([_notes(say, facts), _columns(say, facts), _absent(say, facts), _bad(say, bad)])


def _notes(say: Words, facts: Mapping[str, Any]) -> str:
    said = []
    if "train" in facts:
        said.append(say("split_words", train=say.count(facts["train"], "record"), valid=say.count(facts["valid"], "record")))
    if facts.get("without_target"):
        said.append(say("without", records=say.count(facts["without_target"], "record")))
    said += [
        say("lacking", target=escape(name), records=say.count(count, "record"))
        for name, count in facts.get("lacking", {}).items() if count
    ]
    said += [
        say("leak", column=escape(view), records=say.count(count, "record"))
        for view, count in facts.get("identical_in_train_and_valid", {}).items()
    ]
    for column, words in facts.get("missing_words", {}).items():
        times = say("comma").join(say("word_times", word=escape(repr(word)), n=n) for word, n in words.items())
        said.append(say("missing_as", column=escape(column), words=times))
    said += [escape(str(note)) for note in facts.get("notes", [])]
    return "".join(f"<p>{sentence}</p>" for sentence in said)


def _columns(say: Words, facts: Mapping[str, Any]) -> str:
    records, empty = max(1, facts.get("records", 1)), facts.get("empty", {})
    body = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td>{escape(str(kind))}</td>'
        f'<td class="n">{_missing(say, empty[name] / records) if name in empty else ""}</td>'
        f'{_reason(say, reason)}</tr>'
        for name, kind, reason in facts.get("columns", [])
    )
    if not body:
        return ""
    return f"""<div class="wide"><table class="rows"><caption>{say('columns_caption')}</caption><thead><tr>
<th scope="col">{say('column')}</th><th scope="col">{say('kind')}</th><th scope="col" class="n">{say('missing')}</th>
<th scope="col">{say('reason')}</th></tr></thead><tbody>{body}</tbody></table></div>"""


def _reason(say: Words, reason: Any) -> str:
    """A reason in the report's language; one that has no words there stays English, and says so."""
    words = translated(str(reason), say.language)
    return f'<td lang="en">{escape(str(reason))}</td>' if words is None else f"<td>{escape(words)}</td>"


def _missing(say: Words, share: float) -> str:
    return say("percent", value=f"{100 * share:.1f}") + share_bar(share)


def _absent(say: Words, facts: Mapping[str, Any]) -> str:
    """Views that are more often absent than a column of their name is empty: of several columns, or unreadable."""
    records = max(1, facts.get("records", 1))
    body = "".join(
        f'<tr><th scope="row">{escape(view)}</th><td class="n">{_missing(say, n / records)}</td></tr>'
        for view, n in facts.get("absent", {}).items() if facts.get("empty", {}).get(view) != n
    )
    if not body:
        return ""
    return (f'<h3>{say("views_caption")}</h3><table class="rows"><thead><tr><th scope="col">{say("view")}</th>'
            f'<th scope="col" class="n">{say("missing")}</th></tr></thead><tbody>{body}</tbody></table>')


def _bad(say: Words, bad: Sequence[Mapping[str, Any]]) -> str:
    if not bad:
        return f'<p class="fine">{say("no_bad")}</p>'
    body = "".join(
        f'<tr><td>{escape(str(cell["table"]))}</td><td class="n">{cell["row"]}</td><td>{escape(str(cell["column"]))}</td>'
        f'{_reason(say, cell["reason"])}{_reason(say, cell["action"])}</tr>'
        for cell in bad[:_MOST_BAD]
    )
    more = f'<p class="fine">{say("bad_more", n=len(bad) - _MOST_BAD)}</p>' if len(bad) > _MOST_BAD else ""
    return f"""<h3>{say('bad')} ({len(bad)})</h3><div class="wide"><table class="rows"><thead><tr>
<th scope="col">{say('table')}</th><th scope="col" class="n">{say('row')}</th><th scope="col">{say('column')}</th>
<th scope="col">{say('reason')}</th><th scope="col">{say('action')}</th></tr></thead>
<tbody>{body}</tbody></table></div>{more}"""


# --- making ---------------------------------------------------------------------------------------


def made(say: Words, facts: Mapping[str, Any]) -> str:
    """How the model came to be: parts, mixture, recipe, versions, facts.

    Args:
        facts: of ``facts.shown_made``; whatever else stands there is shown by its name.
    """
    if not facts:
        return ""
    rest = {name: value for name, value in facts.items() if name not in _SHOWN}
    body = _parts(say, facts.get("parts", ()))
    for target, share in (facts.get("mixture") or {}).items():
        kind = facts["answers"][target]
        if kind == "words" and not share:
            continue
        body += "<p>" + (f"{escape(target)}: " if target else "") + say(
            {"numbers": "mixture_numbers", "words": "mixture_words"}.get(kind, "mixture"),
            network=say("percent", value=f"{100 * (1 - share):.0f}"),
            regressions=say("percent", value=f"{100 * share:.0f}"),
        ) + "</p>"
    if facts.get("recipe"):
        body += f'<h3>{say("recipe")}</h3><p class="fine">{say("recipe_words")}</p>'
        body += f'<pre tabindex="0"><code>{escape(_yaml(facts["recipe"]))}</code></pre>'
    body += f'<h3>{say("facts")}</h3>' + _definitions(say, {**rest, "versions": facts.get("versions")})
    if facts.get("train"):
        body += f'<details><summary>{say("settings")}</summary>{_definitions(say, facts["train"])}</details>'
    return body


def _parts(say: Words, parts: Sequence[Mapping[str, Any]]) -> str:
    body = ""
    for part in parts:
        tower = part.get("tower")
        named = ""
        if tower:
            named = f"{escape(str(tower['name']))} · {escape(str(tower.get('licence') or ''))}<br>"
            named += f"<small>sha256 <code>{escape(str(tower['sha256']))}</code></small>"
        body += (
            f'<tr><th scope="row">{escape(str(part["view"]))}</th><td>{escape(str(part["encoder"]))}</td>'
            f'<td>{say(part["regime"])}</td><td>{named}</td></tr>'
        )
    if not body:
        return ""
    return f"""<div class="wide"><table class="rows"><caption>{say('parts_caption')}</caption><thead><tr>
<th scope="col">{say('view')}</th><th scope="col">{say('encoder')}</th><th scope="col">{say('regime')}</th>
<th scope="col">{say('tower')}</th></tr></thead><tbody>{body}</tbody></table></div>"""


def _yaml(recipe: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(recipe), allow_unicode=True, sort_keys=False, default_flow_style=False, width=100)


def _definitions(say: Words, facts: Mapping[str, Any]) -> str:
    body = "".join(
        f"<dt>{escape(say.known(str(name)))}</dt><dd>"
        + (_definitions(say, value) if isinstance(value, Mapping) else escape(_value(say, value))) + "</dd>"
        for name, value in facts.items()
        if value is not None and not (isinstance(value, (dict, list)) and not value)
    )
    return f"<dl>{body}</dl>" if body else ""


def _value(say: Words, value: Any) -> str:
    if isinstance(value, bool):
        return say("yes" if value else "no")
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return say("comma").join(_value(say, one) for one in value)
    return str(value)

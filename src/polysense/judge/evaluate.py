"""Judges answers: scores with intervals, baselines, and every subset of views against its specialists.

Knows no estimator: it is given a function from a mask to probabilities. N records, V views, C classes, S
scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..data.rows import only
from ..learn.rivals import FEW, Rivals, subsets_of
from ..metrics import LINES, SHARES, UNITS, Classes, Draws, Resamples, Yardstick, confusion, holm
from ..metrics.more import further
from ..talk import columns_of, counted, fitted
from .detail import (
    FEW_TEST,
    by_value,
    clearly_worse,
    errors,
    is_lower,
    lowest,
    per_class,
    per_label,
    reliability,
    said_beside,
    spread,
    too_few,
    worth,
    wrong_sets,
    wrong_texts,
)

_LEVEL = 0.05
_MOST_UNSEEN = 10  # classes that a warning names
_MOST_CONFUSION = 1000  # classes up to which the whole confusion matrix is kept


def evaluate(
    answer: Callable[[np.ndarray], np.ndarray], present: np.ndarray, targets: np.ndarray, *,
    views: Sequence[str], classes: Sequence[Any], prior: np.ndarray, rivals: Rivals | None = None,
    features: Mapping[str, Any] | None = None, groups: Sequence | np.ndarray | None = None,
    subsets: bool = False, bad_cells: Sequence[Mapping[str, Any]] = (), samples: int = 1000, seed: int = 0,
    rows: Sequence[int] | None = None, unseen: Mapping[str, int] | None = None, mistakes: int = 24,
    by: tuple[str, Sequence[Any]] | None = None, yardstick: Yardstick | None = None,
    measures: Sequence[str] = (),
) -> dict[str, Any]:
    """What DESIGN section 6 promises of ``evaluate --json``, for one target.

    Args:
        answer: mask (N, V) bool -> answers (N, C): probabilities, or numbers in the target's unit; (N,) of words.
            Records whose mask is all False need not be computed: what is answered for them is not read; the prior
            stands for it.
        present: (N, V) bool, what the records really have.
        targets: (N, ...) as the yardstick takes them: class numbers (-1 for one unseen in training), numbers, texts.
        views: names of the mask's columns.
        classes: the C class names; none where answers are numbers.
        prior: (C,) answer where nothing is present: shares of the classes in training, the mean of numbers; or the most
            frequent text.
        rivals: trained beside the model; without them there are no specialists.
        features: {view: (N, P)}, what the rivals read.
        groups: (N,) labels; intervals and p are then over groups.
        subsets: judge every subset of views too.
        bad_cells: entries of the data report: row, column, reason, action.
        samples: bootstrap resamples.
        rows: (N,) the records' rows in their table, for naming mistakes; 0..N-1 if None.
        unseen: how often each class unseen in training occurs, for the warning.
        mistakes: how many confident mistakes to list.
        by: a column's name and its (N,) values; scores for each of them.
        yardstick: says what kind of answers these are and how they are measured; classes if None.
        measures: names of ``metrics.more``, computed beside those that every evaluation has.

    Returns:
        A dict that is valid JSON: DESIGN's keys, and ``kind`` of the answers, ``main`` (the measure that views and
        subsets are compared by), ``classes``, ``confusion`` (None beyond 1,000 classes), ``per_class``,
        ``reliability``, for numbers ``spread``, for words ``said``, ``mistakes``, ``warnings``, ``unseen``, ``groups``,
        ``views``, with ``by`` also ``by``, with a threshold ``threshold``, with ``measures`` these, and with subsets
        ``subsets_mean`` and ``worth``.
    """
    yardstick = yardstick or Classes()
    present, targets = np.asarray(present, bool), yardstick.targets(targets)
    prior, n = prior if isinstance(prior, str) else np.asarray(prior, float), len(targets)
    names = [_plain(name) for name in classes]
    result: dict[str, Any] = {
        "records": n,
        "kind": yardstick.kind,
        "main": yardstick.main,
        "scores": None,
        "baselines": {"majority": None, "best_single": None, "concat_logistic": None},
        "subsets": [],
        "rivals_sampled": None if rivals is None else rivals.sampled,
        "bad_cells": [{key: _plain(value) for key, value in cell.items()} for cell in bad_cells],
        "views": list(views),
        "classes": names,
        "groups": None if groups is None else len(np.unique(np.asarray(groups))),
        "confusion": None,
        "per_class": [],
        "reliability": None,
        "mistakes": [],
        "unseen": {str(name): int(count) for name, count in (unseen or {}).items()},
        "warnings": _warnings(targets, names, unseen) if yardstick.kind == "classes" else [],
    }
    if n == 0:
        return result
    draws = Resamples(n, groups=groups, samples=samples, seed=seed)
    answers = yardstick.answers(answer(present))
    answers[~present.any(1)] = prior
    result["scores"] = yardstick.judge(answers, targets, draws).scores()
    result["baselines"] = _baselines(present, targets, prior, rivals, features, draws, yardstick)
    result |= _details(yardstick, answers, targets, names, draws, rows, mistakes)
    if subsets:
        judged = _Subsets(answer, present, targets, list(views), rivals, features, groups, draws, yardstick)
        result["subsets"], result["subsets_mean"] = judged.table()
        result["worth"] = worth(answer, answers, present, targets, list(views), draws, yardstick)
    if measures:
        result["measures"] = further(measures, yardstick, answers, targets, groups=groups, seed=seed)
    if by is not None:
        result["by"] = by_value(*by, answers, targets, draws, yardstick)
    return result


def _details(
    yardstick: Yardstick, answers: np.ndarray, targets: np.ndarray, names: list[Any], draws: Resamples,
    rows: Sequence[int] | None, most: int,
) -> dict[str, Any]:
    """What a kind of answers has beyond its measures."""
    kind = yardstick.kind
    if kind == "words":
        return {"said": said_beside(yardstick, answers, targets, rows, most), "mistakes": wrong_texts(
            yardstick, answers, targets, rows, most
        )}
    if kind == "numbers":
        return {"spread": spread(answers, targets), "mistakes": errors(answers, targets, rows, most)}
    if kind == "labels":
        said = yardstick.said(answers)
        return {
            "per_class": per_label(said, targets, names, draws),
            "mistakes": wrong_sets(answers, said, targets, names, rows, most),
        }
    said = yardstick.said(answers)
    threshold = {"class": names[1], "from": yardstick.threshold} if yardstick.threshold is not None else None
    return {
        **({"threshold": threshold} if threshold else {}),
        "confusion": confusion(said, targets, len(names)).astype(int).tolist() if len(names) <= _MOST_CONFUSION else None,
        "per_class": per_class(said, targets, names, draws),
        "reliability": reliability(answers, targets, draws),
        "mistakes": _confident_mistakes(answers, said, targets, names, rows, most),
    }


def _baselines(
    present: np.ndarray, targets: np.ndarray, prior: np.ndarray, rivals: Rivals | None,
    features: Mapping[str, Any] | None, draws: Resamples, yardstick: Yardstick,
) -> dict[str, Any]:
    judge = yardstick.judge
    found: dict[str, Any] = {
        "majority": yardstick.bare().judge(yardstick.constant(prior, len(targets)), targets, draws).scores(),
        "best_single": None, "concat_logistic": None,
    }
    if rivals is not None:  # one after the other: each is an array of all records
        alone = judge(rivals.answer((rivals.best_single,), features, present), targets, draws).scores()
        found["best_single"] = {"view": rivals.best_single, **alone}
        together = rivals.answer(tuple(rivals.views), features, present, filled=True)
        found["concat_logistic"] = judge(together, targets, draws).scores()
    return found


class _Subsets:
    """The table of subsets: the model and its rivals on the records that have all of each."""

    def __init__(self, answer, present, targets, views, rivals, features, groups, draws, yardstick) -> None:
        self.yardstick = yardstick
        self.answer, self.present, self.targets, self.views = answer, present, targets, views
        self.rivals, self.features, self.draws = rivals, features, draws
        self.groups = None if groups is None else np.asarray(groups)
        self._single: dict[str, np.ndarray] = {}
        self._counted: list[dict[str, Draws]] = []

    def table(self) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        rows = [self._row(subset) for subset in subsets_of(self.views)]
        counted = [row for row in rows if row["p"] is not None and not row["too_few"]]
        for row, adjusted in zip(counted, holm([row["p"] for row in counted]), strict=True):
            row["p_holm"] = adjusted
        if not self._counted:
            return rows, None
        mean = {"counted": len(self._counted)}
        for key in ("scores", "specialist", "specialist_filled", "difference", "difference_filled"):
            parts = [one[key] for one in self._counted if key in one]
            mean[key] = Draws.mean(parts).scores() if len(parts) == len(self._counted) else None
        return rows, mean

    def _row(self, subset: tuple[str, ...]) -> dict[str, Any]:
        columns = [self.views.index(view) for view in subset]
        having = self.present[:, columns].all(1)
        at = np.flatnonzero(having)
        few = len(at) < FEW_TEST or (self.rivals is not None and self.rivals.counts[subset] < FEW)
        row: dict[str, Any] = {
            "present": list(subset),
            "records": len(at),
            "too_few": bool(few),
            "scores": None,
            "best_single": None,
            "specialist": None,
            "specialist_filled": None,
            "difference": None,
            "difference_filled": None,
            "p": None,
            "p_holm": None,
            "training_records": self.rivals.counts[subset] if self.rivals is not None else None,
        }
        if not len(at):
            return row
        mask = np.zeros_like(self.present)
        mask[np.ix_(at, columns)] = True
        model = self.yardstick.answers(self.answer(mask))[at]
        judged = {"scores": self._judge(model, at)}
        if self.rivals is not None:
            rival = self._rivals(subset, at, mask[at])
            judged |= {key: self._judge(p, at) for key, p in rival.items()}
            if "specialist" in rival:
                judged["difference"] = judged["scores"] - judged["specialist"]
                judged["difference_filled"] = judged["scores"] - judged["specialist_filled"]
                groups = None if self.groups is None else self.groups[at]
                row["p"] = self.yardstick.p_worse(model, rival["specialist"], self.targets[at], groups=groups)
        if not few:
            self._counted.append(judged)
        row |= {key: one.scores() for key, one in judged.items()}
        if row["best_single"] is not None:
            row["best_single"] = {"view": self.rivals.best_of(subset), **row["best_single"]}
        return row

    def _judge(self, probabilities: np.ndarray, at: np.ndarray) -> Draws:
        return self.yardstick.judge(
            probabilities, self.targets[at], self.draws, rows=at, measures=self.yardstick.short
        )

    def _rivals(self, subset: tuple[str, ...], at: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        features = {view: only(self.features[view], at) for view in subset}
        best = (self.rivals.best_of(subset),)
        answers = {"best_single": self.rivals.answer(best, features, mask)}
        if self.rivals.counts[subset]:
            answers["specialist"] = self.rivals.answer(subset, features, mask)
            answers["specialist_filled"] = self.rivals.answer(subset, features, mask, filled=True)
        return answers


def _warnings(targets: np.ndarray, names: list[Any], unseen: Mapping[str, int] | None) -> list[str]:
    strange = int((targets < 0).sum())
    if not strange:
        return []
    names = sorted(unseen or {}, key=lambda name: -unseen[name])
    named = ", ".join(f"'{name}' ({unseen[name]})" for name in names[:_MOST_UNSEEN])
    more = f" and {len(names) - _MOST_UNSEEN:,} more" if len(names) > _MOST_UNSEEN else ""
    of = f": {named}{more}" if named else ""
    these = f"{counted(strange, 'record')} {'is' if strange == 1 else 'are'}"
    return [f"{these} of a class unseen in training{of}: counted as wrong, left out of log loss"]


def _confident_mistakes(
    answers: np.ndarray, said: np.ndarray, targets: np.ndarray, names: list[Any], rows: Sequence[int] | None, most: int
) -> list[dict[str, Any]]:
    """The wrong answers that were given with the highest probability."""
    top = answers[np.arange(len(said)), said]
    wrong = np.flatnonzero(said != targets)
    worst = wrong[np.argsort(-top[wrong], kind="stable")][:most]
    return [
        {
            "row": int(rows[i]) if rows is not None else int(i),
            "truth": names[targets[i]] if targets[i] >= 0 else None,
            "prediction": names[said[i]],
            "probability": float(top[i]),
        }
        for i in worst
    ]


def _plain(value: Any) -> Any:
    """numpy scalars as what JSON knows."""
    return value.item() if isinstance(value, np.generic) else value


# --- for the terminal -----------------------------------------------------------------------------


def as_text(evaluation: Mapping[str, Any]) -> str:
    """The evaluation as tables for a terminal of 100 columns; of several targets one after the other."""
    if "targets" in evaluation:
        return "\n\n".join(f"== {name} ==\n{as_text(one)}" for name, one in evaluation["targets"].items())
    lines = [
        counted(evaluation["records"], "record")
        + (f" in {evaluation['groups']} groups" if evaluation["groups"] else "")
    ]
    lines += [f"warning: {warning}" for warning in evaluation["warnings"]]
    if threshold := evaluation.get("threshold"):
        lines.append(f"'{threshold['class']}' is said from a probability of {threshold['from']:.3g} on")
    if few := too_few(evaluation):
        lines.append(f"too few to say: the intervals rest on {counted(*few)}, so they tell little of other records")
    if evaluation["bad_cells"]:
        lines.append(f"{counted(len(evaluation['bad_cells']), 'bad cell')}, see the data report")
    if evaluation["scores"] is None:
        return "\n".join([*lines, "nothing to judge: no record has a target"])
    lines += ["", "measure             value   95 % interval"]
    for name in worth_showing(evaluation["scores"]):
        score = evaluation["scores"][name]
        lines.append(f"{words(name):<18} {number(score['value'], name):>6}   {_interval(score, name)}")
    lines += _further_lines(evaluation.get("measures") or {})
    kind, (main, second, third) = kind_of(evaluation), line_of(evaluation)
    lines += ["", f"{'':<34} {words(main):>8}  95 % interval     {words(second):>8}  {words(third):>8}"]
    lines += [_score_line("this model", evaluation["scores"], (main, second, third))]
    for name, scores in evaluation["baselines"].items():
        if scores is not None:
            lines.append(_score_line(baseline_name(kind, name, scores), scores, (main, second, third)))
    if evaluation["subsets"]:
        lines += ["", *_subset_lines(evaluation, main)]
    if evaluation.get("by"):
        lines += ["", *_by_lines(evaluation["by"], (main, second, third))]
    return "\n".join(lines)


def _further_lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Measures that were asked for, each with its reason where it is not defined."""
    lines = []
    for name, score in found.items():
        value = f"{score['value']:.4g}" if score["value"] is not None else "-"
        interval = f"[{score['low']:.4g}, {score['high']:.4g}]" if score["low"] is not None else ""
        note = score["reason"] or ("less is better" if score["better"] == "lower" else "")
        lines.append(f"{words(name):<26} {value:>8}   {interval:<20} {note}".rstrip())
    return ["", "asked for                     value   95 % interval", *lines] if lines else []


def kind_of(evaluation: Mapping[str, Any]) -> str:
    """Of the answers; evaluations of earlier versions do not say it."""
    return evaluation.get("kind", "classes")


def line_of(evaluation: Mapping[str, Any]) -> tuple[str, ...]:
    """The main measure and the two that stand beside it in a line."""
    kind = kind_of(evaluation)
    names = LINES.get(f"{kind} {evaluation.get('main')}", LINES[kind])
    return tuple(sorted(names, key=lambda name: name != evaluation.get("main", names[0])))


def baseline_name(kind: str, name: str, scores: Mapping[str, Any]) -> str:
    """A baseline as people say it."""
    if name == "best_single":
        return f"nearest by {scores['view']}" if kind == "words" else f"best single view: {scores['view']}"
    if name == "majority":
        return {
            "classes": "most frequent class", "numbers": "constant of training", "labels": "shares in training",
            "words": "most frequent text",
        }[kind]
    if kind == "words":
        return "nearest by all views"
    return f"plain concatenation ({'ridge' if kind == 'numbers' else 'logistic'})"


def worth_showing(scores: Mapping[str, Any]) -> list[str]:
    """Names of measures; micro ones equal accuracy when every record has one class: they stay in the JSON."""
    single = "accuracy" in scores
    return [name for name in scores if name != "view" and not (single and name.startswith("micro"))]


def words(name: str) -> str:
    """A measure's name for people."""
    special = {
        "ece": "calibration error", "auroc": "AUROC", "mae": "MAE", "rmse": "RMSE", "r2": "R²", "bleu4": "BLEU-4",
        "cider": "CIDEr", "rouge_l": "ROUGE-L", "exact": "word for word", "wer": "WER", "cer": "CER",
    }
    return special.get(name, name.replace("_", " ").replace("f1", "F1"))


def number(value: float | None, name: str = "accuracy") -> str:
    """Three places, four figures of what has a unit."""
    return "-" if value is None else f"{value:.4g}" if name in UNITS else f"{value:.3f}"


def _interval(score: Mapping[str, float | None], name: str = "accuracy") -> str:
    return "" if score["low"] is None else f"[{number(score['low'], name)}, {number(score['high'], name)}]"


def _score_line(label: str, scores: Mapping[str, Any], names: Sequence[str]) -> str:
    main, second, third = names
    return (f"{fitted(label, 34)} {number(scores[main]['value'], main):>8}  {_interval(scores[main], main):<16}  "
            f"{number(scores[second]['value'], second):>8}  {number(scores[third]['value'], third):>8}")


def _subset_lines(evaluation: Mapping[str, Any], main: str) -> list[str]:
    """The main measure of every subset beside its specialist; differences of shares in points."""
    views = evaluation["views"]
    names = [subset_name(row["present"], views) for row in evaluation["subsets"]]
    width = min(max(22 if main in SHARES else 17, *map(columns_of, names)), 40)
    lines = [f"{words(main)} by views present; differences{' in points' if main in SHARES else ''}, with 95 % intervals",
             f"{'views':<{width}} records  model  specialist  difference           filled  difference"]
    for name, row in zip(names, evaluation["subsets"], strict=True):
        lines.append(f"{fitted(name, width)} {row['records']:>7}  {_subset_numbers(row, main)}")
    mean = evaluation.get("subsets_mean")
    if mean and mean["difference"]:
        lines.append(
            f"{'mean of ' + str(mean['counted']) + ' counted':<{width}} {'':>7}  {_subset_numbers(mean, main)}"
        )
    if any(row["too_few"] for row in evaluation["subsets"]):
        lines.append(f"(few): under {FEW} training or {FEW_TEST} judged records, not counted")
    if any(is_worse(row) for row in evaluation["subsets"]):
        lines.append(f"WORSE: behind its specialist at level {_LEVEL} after Holm's correction")
    return lines


def _by_lines(by: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Scores of every value of a column, and how far each lies from the whole."""
    main, second, third = names
    labels = [value_name(row) for row in by["values"]]
    width = min(max(18 if main in SHARES else 12, columns_of(by["column"]), *map(columns_of, labels)), 34)
    lines = [
        f"by '{by['column']}'; {words(main)} with 95 % intervals, difference to all records"
        + (" in points" if main in SHARES else ""),
        f"{fitted(by['column'], width)} records  {words(main):>8}  95 % interval   difference           "
        f"{words(second):>8}  {words(third):>8}",
    ]
    for name, row in zip(labels, by["values"], strict=True):
        score, rest = row["scores"][main], (row["scores"][second]["value"], row["scores"][third]["value"])
        lines.append(
            f"{fitted(name, width)} {row['records']:>7}  {number(score['value'], main):>8}  {_interval(score, main):<14}  "
            f"{_apart(row['difference'], main):<19}  {number(rest[0], second):>8}  {number(rest[1], third):>8}"
            + (" (few)" if row["too_few"] else "")
        )
    worst, poor = lowest(by, main), "lower" if not is_lower(main) else "higher"
    if any(row["too_few"] for row in by["values"]):
        low = [name for name, row in zip(labels, by["values"], strict=True)
               if row["too_few"] and clearly_worse(row["difference"][main], main)]
        among = f"; among them clearly {poor}: {', '.join(low[:10])}" if low else ""
        lines.append(f"(few): under {FEW_TEST} records{among}")
    if worst is None:
        return [*lines, f"fewer than two values have {FEW_TEST} records; there is nothing to compare"]
    apart = worst["difference"][main]
    if apart["value"] is None or not (apart["value"] > 0 if is_lower(main) else apart["value"] < 0):
        return [*lines, f"no counted value has a {poor} {words(main)} than all records together"]
    clear = "" if clearly_worse(apart, main) else "not clearly "
    side, most = ("above", "highest") if is_lower(main) else ("below", "lowest")
    return [
        *lines,
        f"{most} {words(main)}: {value_name(worst)}, {clear}{side} all records; the {most} of several values looks worse than "
        "it is",
    ]


def value_name(row: Mapping[str, Any]) -> str:
    """A part of a column as people say it: its value, (empty), or (12 others)."""
    if row["kind"] == "others":
        return f"({row['values']} others)"
    return "(empty)" if row["kind"] == "empty" else str(row["value"])


def subset_name(present: Sequence[str], views: Sequence[str]) -> str:
    """A subset as people say it.

    >>> subset_name(["a", "b", "c"], "abcd"), subset_name(["a", "b"], "ab"), subset_name(["a", "b"], "abcde")
    ('all but d', 'everything', 'a + b')
    """
    if len(present) == len(views) and len(views) > 1:
        return "everything"
    if len(present) == len(views) - 1 and len(views) > 3:
        return "all but " + next(view for view in views if view not in present)
    return " + ".join(present)


def is_worse(row: Mapping[str, Any]) -> bool:
    """The model is behind its specialist, after Holm's correction."""
    return row["p_holm"] is not None and row["p_holm"] < _LEVEL


def _subset_numbers(row: Mapping[str, Any], main: str) -> str:
    def figure(key: str) -> str:
        return number(row[key][main]["value"] if row[key] else None, main)

    mark = " (few)" if row.get("too_few") else " WORSE" if "p_holm" in row and is_worse(row) else ""
    return (f"{figure('scores'):>5}  {figure('specialist'):>10}  {_apart(row['difference'], main):<19}  "
            f"{figure('specialist_filled'):>6}  {_apart(row['difference_filled'], main):<19}{mark}").rstrip()


def _apart(scores: Mapping[str, Any] | None, main: str) -> str:
    """A difference of the main measure with its interval, of shares in points."""
    if not scores or scores[main]["value"] is None:
        return ""
    one = scores[main]
    if main not in SHARES:
        return f"{one['value']:+.3g} [{one['low']:.3g}, {one['high']:.3g}]"
    return f"{100 * one['value']:+5.1f} [{100 * one['low']:+5.1f}, {100 * one['high']:+5.1f}]"

"""Measures that are computed on request, mostly by scikit-learn: one table, name -> function, needs, which way is better.

N records, C classes, L labels. Intervals are 95 % percentile bootstraps over records, or over groups; each resample is
a call, so there are fewer of them than of the measures that every evaluation has.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..errors import BadOption
from ..registry import suggest
from . import Resamples, Yardstick

RESAMPLES = 200


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        function: name in ``sklearn.metrics``; of words in ``metrics.texts``.
        needs: "said" (what was answered), "answers" (probabilities), "known" (probabilities, only records of classes
            that training had).
        better: "higher" or "lower".
        options: of the function.
    """

    function: str
    needs: str
    better: str = "higher"
    options: tuple[tuple[str, Any], ...] = ()


def _of(function: str, needs: str = "said", better: str = "higher", **options: Any) -> Measure:
    return Measure(function, needs, better, tuple(options.items()))


#: Kind of answer -> name -> measure.
TABLE: dict[str, dict[str, Measure]] = {
    "classes": {
        "balanced_accuracy": _of("balanced_accuracy_score"), "mcc": _of("matthews_corrcoef"),
        "kappa": _of("cohen_kappa_score"), "jaccard": _of("jaccard_score", average="macro", zero_division=0),
        "hamming_loss": _of("hamming_loss", better="lower"),
        "roc_auc_ovr": _of("roc_auc_score", "known", multi_class="ovr"),
        "roc_auc_ovo": _of("roc_auc_score", "known", multi_class="ovo"),
        "average_precision": _of("average_precision_score", "known"),
        "top_2": _of("top_k_accuracy_score", "known", k=2), "top_3": _of("top_k_accuracy_score", "known", k=3),
        "top_5": _of("top_k_accuracy_score", "known", k=5),
        "brier": _of("brier", "known", "lower"), "d2_log_loss": _of("d2_log_loss_score", "known"),
    },
    "numbers": {
        "medae": _of("median_absolute_error", better="lower"), "max_error": _of("max_error", better="lower"),
        "mse": _of("mean_squared_error", better="lower"), "explained_variance": _of("explained_variance_score"),
        "mape": _of("mean_absolute_percentage_error", better="lower"),
        "msle": _of("mean_squared_log_error", better="lower"), "d2_absolute_error": _of("d2_absolute_error_score"),
        "d2_pinball_10": _of("d2_pinball_score", alpha=0.1), "d2_pinball_90": _of("d2_pinball_score", alpha=0.9),
        "pinball_10": _of("mean_pinball_loss", better="lower", alpha=0.1),
        "pinball_90": _of("mean_pinball_loss", better="lower", alpha=0.9),
        "poisson_deviance": _of("mean_poisson_deviance", better="lower"),
        "gamma_deviance": _of("mean_gamma_deviance", better="lower"),
    },
    "labels": {
        "samples_f1": _of("f1_score", average="samples", zero_division=1),
        "weighted_f1": _of("f1_score", average="weighted", zero_division=0),
        "micro_precision": _of("precision_score", average="micro", zero_division=0),
        "micro_recall": _of("recall_score", average="micro", zero_division=0),
        "macro_precision": _of("precision_score", average="macro", zero_division=0),
        "macro_recall": _of("recall_score", average="macro", zero_division=0),
        "samples_jaccard": _of("jaccard_score", average="samples", zero_division=1),
        "micro_jaccard": _of("jaccard_score", average="micro", zero_division=0),
        "micro_average_precision": _of("average_precision_score", "answers", average="micro"),
        "samples_average_precision": _of("label_ranking_average_precision_score", "answers"),
        "coverage_error": _of("coverage_error", "answers", "lower"),
        "micro_roc_auc": _of("roc_auc_score", "answers", average="micro"),
        "macro_roc_auc": _of("roc_auc_score", "answers", average="macro"),
        "ndcg": _of("ndcg_score", "answers"),
    },
    "words": {  # all that either a caption or a transcript is judged by
        "cider": _of("cider"), "bleu4": _of("bleu4"), "rouge_l": _of("rouge_l"), "exact": _of("exact"),
        "wer": _of("wer", better="lower"), "cer": _of("cer", better="lower"),
    },
}


def chosen(wanted: str | Sequence[str] | None, kind: str) -> list[str]:
    """Names of measures that were asked for.

    Args:
        wanted: "all", names with commas, or a list of names.
        kind: of the answers.

    Raises:
        BadOption: there is no such measure for this kind.

    >>> chosen("mcc,kappa", "classes"), len(chosen("all", "numbers")) > 10, chosen(None, "labels")
    (['mcc', 'kappa'], True, [])
    """
    there = list(TABLE[kind])
    if wanted is None:
        return []
    names = [name.strip() for name in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    if names == ["all"]:
        return there
    for name in names:
        if name not in there:
            raise BadOption(f"there is no measure '{name}' of {kind}; {suggest(str(name), [*there, 'all'])}")
    return names


def further(
    names: Sequence[str], yardstick: Yardstick, answers: np.ndarray, targets: np.ndarray, *,
    groups: Sequence | np.ndarray | None = None, samples: int = RESAMPLES, seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """The measures by name: value, low, high, which way is better, and a reason where one is not defined.

    By hand: said a, b, b of a, a, b: recalls 1/2 and 1, so the balanced accuracy is 3/4.

    >>> from . import Classes
    >>> found = further(["balanced_accuracy"], Classes(), np.eye(2)[[0, 1, 1]], np.array([0, 0, 1]), samples=20)
    >>> found["balanced_accuracy"]["value"], found["balanced_accuracy"]["better"]
    (0.75, 'higher')
    """
    table, n = TABLE[yardstick.kind], len(targets)
    draws = Resamples(n, groups=groups, samples=samples, seed=seed)
    if yardstick.kind == "words":  # quotients of sums: a thousand resamples are one product
        scores = yardstick.judge(answers, targets, draws, measures=names).scores()
        return {name: {**score, "better": table[name].better, "reason": None} for name, score in scores.items()}
    found = {}
    for name in names:
        measure = partial(_measured, table[name], yardstick, answers, targets)
        value, reason = measure(np.arange(n)) if n else (None, "no record has a target")
        low = high = None
        if value is not None:
            spread = draws.each(lambda counts, measure=measure: np.array([
                np.nan if (one := measure(np.repeat(np.arange(n), row.astype(int)))[0]) is None else one for row in counts
            ]))
            spread = spread[np.isfinite(spread)]
            if len(spread):
                low, high = (float(end) for end in np.quantile(spread, [0.025, 0.975]))
                low, high = min(low, value), max(high, value)
        found[name] = {"value": value, "low": low, "high": high, "better": table[name].better, "reason": reason}
    return found


def _measured(
    measure: Measure, yardstick: Yardstick, answers: np.ndarray, targets: np.ndarray, rows: np.ndarray
) -> tuple[float | None, str | None]:
    """The value on some records, or None and why there is none."""
    answers, targets = np.asarray(answers, np.float64)[rows], targets[rows]
    if yardstick.kind == "classes" and measure.needs == "known":
        answers, targets = answers[targets >= 0], targets[targets >= 0]
        if not len(targets):
            return None, "no record is of a class that training had"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = float(_ARGUMENTS[yardstick.kind](measure, yardstick, answers, targets))
    except ValueError as error:
        return None, " ".join(str(error).split()).rstrip(".")
    return (value, None) if np.isfinite(value) else (None, "not defined on these records")


def _function(measure: Measure) -> Callable[..., float]:
    import sklearn.metrics

    return partial(getattr(sklearn.metrics, measure.function), **dict(measure.options))


def _classes(measure: Measure, yardstick: Yardstick, answers: np.ndarray, targets: np.ndarray) -> float:
    classes = answers.shape[1]
    if measure.needs == "said":
        return _function(measure)(np.where(targets < 0, classes, targets), yardstick.said(answers))
    truth = np.eye(classes)[targets]
    if measure.function == "brier":  # summed over classes, Brier 1950; scikit-learn's own halves it for two classes
        return ((answers - truth) ** 2).sum(1).mean()
    if measure.function == "average_precision_score":
        there = truth.any(0)
        return _function(measure)(truth[:, there], answers[:, there]) if classes > 2 else _function(measure)(
            targets, answers[:, 1])
    if measure.function == "top_k_accuracy_score":
        k = dict(measure.options)["k"]
        if k >= classes:
            raise ValueError(f"with {classes} classes the first {k} always hold the right one")
        return (np.argsort(-answers, axis=1, kind="stable")[:, :k] == targets[:, None]).any(1).mean()
    if len(np.unique(targets)) < 2:
        raise ValueError("only one class occurs in the records")
    answers = answers / answers.sum(1, keepdims=True)  # what single precision has lost of the sum
    if measure.function == "roc_auc_score" and classes == 2:
        return _function(measure)(targets, answers[:, 1])
    if measure.function == "roc_auc_score" and len(np.unique(targets)) < classes:
        there = np.unique(targets)
        answers = answers[:, there] / np.maximum(answers[:, there].sum(1, keepdims=True), 1e-12)
        if len(there) == 2:
            return _function(measure)(targets == there[1], answers[:, 1])
        return _function(measure)(np.searchsorted(there, targets), answers)
    return _function(measure)(targets, answers, labels=np.arange(classes))


def _numbers(measure: Measure, yardstick: Yardstick, answers: np.ndarray, targets: np.ndarray) -> float:
    return _function(measure)(targets, answers[:, 0])


def _labels(measure: Measure, yardstick: Any, answers: np.ndarray, targets: np.ndarray) -> float:
    true = targets[:, :-1] > 0.5
    if measure.needs == "said":
        return _function(measure)(true, yardstick.said(answers))
    if measure.function == "ndcg_score" and true.shape[1] < 2:
        raise ValueError("one label has no order")
    if measure.function == "roc_auc_score":
        varied = true.any(0) & ~true.all(0)
        if not varied.any():
            raise ValueError("no label is given to some records and not to others")
        true, answers = true[:, varied], answers[:, varied]
    return _function(measure)(true, answers)


_ARGUMENTS: Mapping[str, Callable[..., float]] = {"classes": _classes, "numbers": _numbers, "labels": _labels}

"""The model card: README.md of a model folder, in the form that the Hugging Face Hub reads.

Written from what is remembered of the fit (``facts``), so it says nothing that model.json does not hold.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from ..learn.consensus import sentence
from ..metrics import LOWER_IS_BETTER, UNITS
from ..talk import counted
from .detail import too_few
from .each import by_target
from .evaluate import kind_of, line_of, number, words

#: Modality of all views -> the Hub's word for such a task; the Hub has none for several modalities together.
_PIPELINES = {
    "text": "text-classification", "image": "image-classification", "audio": "audio-classification",
    "video": "video-classification", "table": "tabular-classification",
}
#: Measures in the card: name in an evaluation -> the Hub's name of the metric.
_METRICS = {
    "accuracy": "accuracy", "macro_f1": "f1", "log_loss": "log_loss", "ece": "expected_calibration_error",
    "micro_f1": "f1", "subset_accuracy": "accuracy", "mae": "mae", "rmse": "rmse", "r2": "r2",
    "cider": "cider", "bleu4": "bleu", "rouge_l": "rouge", "wer": "wer", "cer": "cer",
}
#: Kind of answer -> what the Hub calls its task, after the modality.
_HUB_TASKS = {"classes": "classification", "numbers": "regression", "labels": "classification", "words": "to-text"}
_FEW_RECORDS = 1000
_FEW_OF_A_CLASS = 10
_OFTEN_MISSING = 0.3
_MOST_NAMES = 10


def card(facts: Mapping[str, Any], name: str = "model") -> str:
    """A model card in Markdown under a YAML header.

    Args:
        facts: the top of model.json: recipe, schema, answers (their kind), classes, counts, towers, data, made, valid,
            regressions; of several targets, targets: {name: answers, classes, counts, regressions}.
        name: of the model.
    """
    each = of_targets(facts)
    title = f"# {_md(name)}: {_list([_target(one) for one in each])} from {_list(_views(facts))}"
    heads = [f"### {_target(one)}\n\n" if len(each) > 1 else "" for one in each]
    results = "\n\n".join(head + _results(one) for head, one in zip(heads, each, strict=True))
    parts = [
        title, _what(facts), "## Use\n\n" + _use(facts, name), "## Results\n\n" + results,
        "## Limits\n\n" + _bullets(limits(facts)), "## Data\n\n" + _data(facts), "## How it was made\n\n" + _made(facts),
    ]
    header = yaml.safe_dump(_header(facts, name), allow_unicode=True, sort_keys=False, width=1000)
    return f"---\n{header}---\n\n" + "\n\n".join(parts) + "\n"


def of_targets(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The facts as those of a model of one target each; of one target they are as they are.

    >>> [one["recipe"]["target"] for one in of_targets({"recipe": {}, "valid": None, "targets": {"a": {}, "b": {}}})]
    ['a', 'b']
    """
    if "targets" not in facts:
        return [dict(facts)]
    valid = (facts["valid"] or {}).get("targets", {})
    return [
        {**facts, **mine, "recipe": {**facts["recipe"], "target": name}, "valid": valid.get(name)}
        for name, mine in facts["targets"].items()
    ]


def limits(facts: Mapping[str, Any]) -> list[str]:
    """What should be known before the model is relied on, in sentences of Markdown, read off the facts."""
    each = of_targets(facts)
    data, valid = facts["data"], each[0].get("valid") or {}
    found = []
    if data["train"] < _FEW_RECORDS:
        found.append(f"It has learned from {counted(data['train'], 'record')}: what it has not seen there it does not know.")
    found += [_of(one, each, sentence) for one in each for sentence in _rare(one)]
    for view, absent in sorted(data["absent"].items(), key=lambda pair: -pair[1]):
        if absent > _OFTEN_MISSING * data["records"]:
            found.append(
                f"{_md(view)} is missing in {absent / data['records']:.0%} of the records: what the model makes of it "
                f"rests on {counted(data['records'] - absent, 'record')}."
            )
    if not data["valid"]:
        found.append("No validation records were kept, so nothing is known of how well it answers.")
    elif valid.get("groups"):
        found.append(
            f"The results are of {counted(data['valid'], 'validation record')}, which belong to only "
            f"{counted(valid['groups'], 'group')} (equal values of '{_md(facts['recipe']['group'])}'); the intervals are over "
            "groups."
        )
    else:
        found.append(
            f"The results are of {counted(data['valid'], 'validation record')}. No group column was named: if several "
            "records come from one person, place or day, the model may know the person instead of the answer, and the "
            "results flatter it."
        )
    few = next((few for _, one in by_target(valid) if one.get("scores") and (few := too_few(one))), None)
    if few:
        found.append(f"Too few to say: the intervals rest on {counted(*few)}, so they tell little of other records.")
    for view, same in data["identical_in_train_and_valid"].items():
        found.append(
            f"{_md(view)}: {counted(same, 'validation record')} hold the very content of a training record; "
            "the results flatter the model."
        )
    if data["valid"]:
        words_chose = _kind(each[0]) == "words"
        chose = "the epochs that are averaged" if words_chose else "the share of the regressions and their strength"
        found.append(
            f"The validation records also chose settings ({chose}), so the results "
            "are slightly kinder than those on new records: `polysense evaluate` on a table of your own says more."
        )
    found += [_of(one, each, sentence) for one in each for sentence in _behind(one.get("valid") or {})]
    if data["bad_cells"]:
        policy = facts["recipe"]["on_bad"]
        found.append(f"{counted(len(data['bad_cells']), 'cell')} of the tables could not be read (policy: {policy}).")
    if facts["towers"]:
        found.append(
            "The pretrained towers bring along what their own training data held, its gaps and its prejudices included."
        )
    return found + [_of(one, each, _whatever(_kind(one))) for one in each]


def _of(one: Mapping[str, Any], each: Sequence[Any], sentence: str) -> str:
    """A sentence about one target; where there are several it is named."""
    return f"{_target(one)}: {sentence[0].lower()}{sentence[1:]}" if len(each) > 1 else sentence


def _rare(facts: Mapping[str, Any]) -> list[str]:
    """Classes with few records."""
    rare = [(c, n) for c, n in zip(facts["classes"], facts.get("counts") or (), strict=False) if n < _FEW_OF_A_CLASS]
    if not rare:
        return []
    return [
        f"Fewer than {_FEW_OF_A_CLASS} training records stand behind "
        f"{_names(f'{_md(c)} ({n})' for c, n in sorted(rare, key=lambda pair: pair[1]))}: "
        f"answers of {'these classes are' if len(rare) > 1 else 'this class are'} the least certain."
    ]


def _whatever(kind: str) -> str:
    """What it answers to anything at all."""
    return {
        "classes": "It answers with one of the classes above whatever it is shown, and with their shares in training where a "
        "record has none of the views.",
        "labels": "It answers with a set of the labels above whatever it is shown, and with their shares in training where a "
        "record has none of the views.",
        "numbers": "It answers with a number whatever it is shown, and with one constant of the training records where a "
        "record has none of the views; beyond the range it has learned from it knows nothing.",
        "words": "It answers with a text whatever it is shown, made of the words it has learned, and with the most frequent "
        "text of training where a record has none of the views.",
    }[kind]


def _behind(valid: Mapping[str, Any]) -> list[str]:
    """Baselines that the model does not beat on validation, and probabilities that are off."""
    if not valid.get("scores"):
        return []
    found, mine, main = [], valid["scores"], line_of(valid)[0]
    sign = -1 if main in LOWER_IS_BETTER else 1
    rivals = {key: scores for key, scores in valid["baselines"].items() if scores}
    better = [
        _baseline(key, scores, kind_of(valid)) for key, scores in rivals.items()
        if None not in (scores[main]["value"], mine[main]["value"])
        and sign * (scores[main]["value"] - mine[main]["value"]) >= 0
    ]
    if better and main == "accuracy":
        found.append(f"On the validation records it is no more accurate than {_list(better)}.")
    elif better:
        found.append(f"On the validation records its {words(main)} is no better than that of {_list(better)}.")
    calibration = (mine.get("ece") or {}).get("value")
    if calibration is not None and calibration > 0.1:
        found.append(
            f"Its probabilities are off by {calibration:.2f} on average (calibration error): read them as an order, "
            "not as shares."
        )
    return found


# --- the header -----------------------------------------------------------------------------------


def _header(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    modalities, each = _modalities(facts), of_targets(facts)
    languages = sorted({code for codes in (facts["data"].get("languages") or {}).values() for code in codes})
    pipeline = _PIPELINES.get(modalities[0]) if len(modalities) == 1 and _kind(facts) == "classes" else None
    if modalities == ["table"] and _kind(facts) == "numbers":
        pipeline = "tabular-regression"
    base = sorted({tower["source"] for tower in facts["towers"].values() if "/" in tower["source"]})
    header = {
        "library_name": "polysense",
        "pipeline_tag": pipeline,
        "language": languages or None,
        "base_model": base or None,
        "tags": ["polysense", *(["multimodal"] if len(modalities) > 1 else []),
                 *("tabular" if modality == "table" else modality for modality in modalities)],
        "metrics": list(dict.fromkeys(metric for one in each for key, metric in _METRICS.items() if _score(one, key))) or None,
        "model-index": _index(each, name, pipeline),
    }
    return {key: value for key, value in header.items() if value is not None}


def _index(each: Sequence[Mapping[str, Any]], name: str, pipeline: str | None) -> list[dict[str, Any]] | None:
    """The validation results in the Hub's schema, one for each target."""
    results = [found for one in each if (found := _result(one, pipeline))]
    return [{"name": name, "results": results}] if results else None


def _result(facts: Mapping[str, Any], pipeline: str | None) -> dict[str, Any] | None:
    source = str(facts["made"]["source"])
    metrics = [
        {
            "type": metric, "value": score["value"] if key in UNITS else round(score["value"], 4),
            "name": words(key) + _interval(key, score, ", 95 % interval "),
        }
        for key, metric in _METRICS.items() if (score := _score(facts, key))
    ]
    if not metrics:
        return None
    return {
        # the Hub wants one of its tasks here: records of several modalities are rows of a table
        "task": {
            "type": pipeline or f"tabular-{_HUB_TASKS[_kind(facts)]}", "name": _line(facts["recipe"]["target"] or "target"),
        },
        "dataset": {
            "name": _line(source), "type": re.sub(r"\W+", "-", source).strip("-").lower() or "table",
            "split": "validation",
        },
        "metrics": metrics,
    }


def _score(facts: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    score = ((facts.get("valid") or {}).get("scores") or {}).get(key)
    if key == "micro_f1" and _kind(facts) == "classes":  # the same as accuracy
        return None
    return score if score and score["value"] is not None else None


# --- sections -------------------------------------------------------------------------------------


def _what(facts: Mapping[str, Any]) -> str:
    recipe, each = facts["recipe"], of_targets(facts)
    said = f"{_target(each[0])}, {_answers(each[0])}" if len(each) == 1 else (
        f"{len(each)} targets at once: " + "; ".join(f"{_target(one)}, {_answers(one)}" for one in each)
    )
    lines = [
        f"A polysense model. It predicts {said}. "
        "Any of the views below may be missing in a record.",
        "", "| View | Columns and their kinds | Read by |", "|---|---|---|",
    ]
    kinds = {name: kind for name, kind, _ in facts["data"]["columns"]}
    for view in _view_parts(facts):
        columns = _names((f"{_md(name)} ({kinds.get(name, view['modality'])})" for name in view["columns"]), most=30)
        tower = facts["towers"].get(view["name"])
        by = _md(recipe["encoders"][view["name"]].partition(":")[0]) + (f": {_md(tower['name'])}" if tower else "")
        lines.append(f"| {_md(view['name'])} | {columns} | {by} |")
    for one in each:
        if threshold := (one.get("valid") or {}).get("threshold"):
            lines += ["", f"{_md(threshold['class'])} is said from a probability of {threshold['from']:.3g} on."]
    shares = [
        f"The network gives {1 - one['regressions']['weight']:.0%} of an answer{of}, "
        f"{'ridge' if _kind(one) == 'numbers' else 'logistic'} regressions on the views that are present give "
        f"{one['regressions']['weight']:.0%}."
        for one in each if _kind(one) != "words" for of in [f" for {_target(one)}" if len(each) > 1 else ""]
    ]
    shares += [sentence(one["regressions"]) + "." for one in each if _kind(one) == "words" and one["regressions"]["weight"]]
    lines += ["", f"The views are joined by the fusion {_md(recipe['fusion'])}. {' '.join(shares)}"]
    return "\n".join(lines)


def _target(facts: Mapping[str, Any]) -> str:
    return _md(facts["recipe"]["target"] or "the target")


def _answers(facts: Mapping[str, Any]) -> str:
    """What is predicted of one target."""
    classes = facts["classes"]
    return {
        "classes": f"one of {counted(len(classes), 'class')}: {_names(map(_md, classes), most=30)}",
        "numbers": "a number", "words": "in words", "labels":
        f"any of {counted(len(classes), 'label')}: {_names(map(_md, classes), most=30)}",
    }[_kind(facts)]


def _use(facts: Mapping[str, Any], name: str) -> str:
    folder = shlex.quote(name)
    code = f"import polysense\n\nmodel = polysense.load({name!r})  # this folder, or its id on the Hub\n"
    code += "model.predict('new.csv')  # or a list of records, each a dict from column to value"
    shell = (
        f"polysense predict {folder} TABLE --out answers.csv\npolysense evaluate {folder} TABLE --subsets --html report.html"
    )
    return f"{_fence(shell, 'sh')}\n\n{_fence(code, 'python')}"


def _results(facts: Mapping[str, Any]) -> str:
    valid = facts.get("valid")
    if not valid or not valid["scores"]:
        return "There were no validation records."
    groups = f" in {counted(valid['groups'], 'group')}" if valid["groups"] else ""
    shown = {"this model": valid["scores"]} | {
        _baseline(key, scores, kind_of(valid)): scores for key, scores in valid["baselines"].items() if scores
    }
    measures = [key for key in _METRICS if all(key in scores for scores in shown.values())]
    if _kind(facts) == "classes" and "micro_f1" in measures:  # the same as accuracy
        measures.remove("micro_f1")
    which = counted(valid["records"], "validation record")
    if folds(facts):
        which = f"{counted(valid['records'], 'record')}, each judged by the model that saw neither it nor its group,"
    lower = _list([words(key) for key in measures if key in LOWER_IS_BETTER])
    lines = [
        f"On {which}{groups}, with 95 % bootstrap intervals. Higher is better{f', but for {lower}' if lower else ''}.",
        "", "| | " + " | ".join(map(words, measures)) + " |", "|---|" + "---|" * len(measures),
    ]
    for label, scores in shown.items():
        lines.append(f"| {label} | " + " | ".join(_figure(key, scores[key]) for key in measures) + " |")
    return "\n".join(lines)


def folds(facts: Mapping[str, Any]) -> int:
    """Of how many folds the model is; 0 if it is of none."""
    several = facts["made"].get("several") or {}
    return several["count"] if several.get("kind") == "folds" else 0


def _data(facts: Mapping[str, Any]) -> str:
    data = facts["data"]
    lines = [
        f"{_md(facts['made']['source'])}: {counted(data['train'], 'record')} for training, {data['valid']:,} for validation"
        + (f"; {counted(data['without_target'], 'record')} without a target left out" if data["without_target"] else "") + ".",
        "", "| Column | Kind | Missing | Unreadable | Why this kind |", "|---|---|---|---|---|",
    ]
    bad: dict[str, int] = {}
    for cell in data["bad_cells"]:
        bad[cell["column"]] = bad.get(cell["column"], 0) + 1
    for name, kind, reason in data["columns"]:
        missing = f"{data['empty'][name]:,}" if name in data["empty"] else "-"
        lines.append(f"| {_md(name)} | {kind} | {missing} | {bad.get(name, 0):,} | {_md(reason)} |")
    for name, lacking in data.get("lacking", {}).items():
        lines.append(f"\n{_md(name)} is unknown of {counted(lacking, 'record')}, which taught the other targets only.")
    each = of_targets(facts)
    for one in each:
        counts = one.get("counts")
        if counts:
            pairs = sorted(zip(one["classes"], counts, strict=True), key=lambda pair: -pair[1])
            of = f" of {_target(one)}" if len(each) > 1 else ""
            lines += ["", f"Training records of a class{of}: " + _names((f"{_md(c)} {n:,}" for c, n in pairs), most=30) + "."]
    lines += [f"\n{_md(note)}" for note in data["notes"]]
    return "\n".join(lines)


def _made(facts: Mapping[str, Any]) -> str:
    made = facts["made"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items() if version)
    recipe = {key: value for key, value in facts["recipe"].items() if value not in (None, {})}
    lines = [
        f"{made['date']}, {made['cpu_seconds']:,} CPU seconds, seed {made['seed']}, with {versions}. The recipe, which "
        "`polysense fit TABLE --recipe FILE --out DIR` takes:",
        "", _fence(yaml.safe_dump(recipe, allow_unicode=True, sort_keys=False).strip(), "yaml"),
    ]
    if made.get("quality"):
        lines += ["", f"Its settings were chosen by {_md(made['quality'])}."]
    several = made.get("several")
    if several:
        alone = "; ".join(
            f"{words(name)} {one['mean']:.3f} on average, deviation {one['deviation']:.3f}"
            for name, one in several["spread"].items()
        )
        lines += ["", f"It is {several['count']} models, one of each of {several['count']} {several['kind']}, whose answers "
                  f"are averaged. Each alone: {alone}."]
    if facts["towers"]:
        lines += ["", "| Tower | View | From | Licence | sha256 of its weights |", "|---|---|---|---|---|"]
        for view, tower in facts["towers"].items():
            source = f"{tower['source']} {tower['version']}".strip()
            cells = (_md(tower["name"]), _md(view), _md(source), _md(tower["licence"] or "unknown"), tower["sha256"][:16])
            lines.append(f"| {' | '.join(cells)} |")
    deepened = made.get("deepened")
    if deepened and deepened["kept"] == "second":
        best = min(epoch["valid_loss"] for epoch in deepened["epochs"])
        factors = deepened.get("pace", "factors") == "factors"
        kind = "low-rank parameters of the head" if factors else "parameters of the decoder"
        lines += ["", (
            f"A second training let {deepened['parameters']:,} {kind} learn: validation loss "
            f"{deepened['first']:.3f} before, {best:.3f} after."
        )]
    tuned = made.get("tuned")
    if tuned and tuned["kept"] == "tuned":
        rank = tuned["options"]["lora"]
        how = f"through factors of rank {rank}" if rank else "whole, their weights lie here"
        lines += ["", (
            f"Of these the towers of {_names(_md(view) for view in tuned['views'])} were tuned ({how}): validation loss "
            f"{tuned['frozen']['loss']:.3f} with the towers frozen, {tuned['tuned']['loss']:.3f} tuned."
        )]
    return "\n".join(lines)


# --- words ----------------------------------------------------------------------------------------


def _view_parts(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name, modality and columns of every view, in the schema's order."""
    from ..data.schema import Schema

    return [
        {"name": view.name, "modality": view.modality, "columns": view.columns}
        for view in Schema.from_json(facts["schema"]).views
    ]


def _views(facts: Mapping[str, Any]) -> list[str]:
    return [_md(view["name"]) for view in _view_parts(facts)]


def _modalities(facts: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(view["modality"] for view in _view_parts(facts)))


def _kind(facts: Mapping[str, Any]) -> str:
    return facts.get("answers", "classes")


def _baseline(key: str, scores: Mapping[str, Any], kind: str = "classes") -> str:
    if key == "best_single":
        single = "the nearest record by the view" if kind == "words" else "the best single view,"
        return f"{single} {_md(scores['view'])}"
    if kind == "words":
        return {"majority": "the most frequent text", "concat_logistic": "the nearest record by all views"}[key]
    if kind == "numbers":
        return {"majority": "the constant of training", "concat_logistic": "plain concatenation (ridge regression)"}[key]
    return {"majority": "the most frequent class", "concat_logistic": "plain concatenation (logistic regression)"}[key]


def _interval(key: str, score: Mapping[str, Any], before: str = " ") -> str:
    return "" if score["low"] is None else f"{before}[{number(score['low'], key)}, {number(score['high'], key)}]"


def _figure(key: str, score: Mapping[str, Any]) -> str:
    return "-" if score["value"] is None else f"{number(score['value'], key)}{_interval(key, score)}"


def _names(names: Iterable[str], most: int = _MOST_NAMES) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _list(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _md(text: Any) -> str:
    r"""Text of the user as Markdown shows it, also in a table: one line, every mark of Markdown and HTML escaped.

    >>> print(_md("a|b <i>*x*"))
    a\|b &lt;i&gt;\*x\*
    """
    return re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", _line(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _line(text: Any) -> str:
    return " ".join(str(text).split())


def _fence(code: str, language: str) -> str:
    """A block of code; its fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}{language}\n{code}\n{marks}"

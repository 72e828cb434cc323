"""Several models as one: of folds (each has not seen a part of the records) or of seeds; their answers are averaged.

Every one of them is a whole model that ``fit`` has made: encoders that learn from values, rivals and
the choice among solutions belong to each alone. Only towers, which learn nothing, run once for all.

N records, V views, C classes, K models.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import processes
from .data import splits
from .data.cache import Cache
from .data.rows import Features, only
from .data.tables import divide, groups_of, target_faults, unlabelled
from .data.targets import strata as strata_of
from .errors import BadOption, Mistake
from .judge.each import by_target
from .learn.begin import begin
from .learn.beside import each, one_or_each
from .learn.blend import Share
from .learn.consensus import Consensus, Evidence, together
from .learn.gather import Gathered
from .learn.plan import check_several
from .learn.resume import ours
from .registry import tasks
from .talk import Talk, counted

#: Share of a fold's records that validate where no one names validation records: a seventh of those outside it.
VALID_SHARE = 1 / 7


class Parts(Features):
    """The same records as each of several models reads them.

    Args:
        parts: K blocks, or tokens.
        owner_N: which of them each record is asked of; None asks all.
        place_N: the record's row in its owner's part.
    """

    def __init__(self, parts: Sequence[Any], owner_N: np.ndarray | None = None, place_N: np.ndarray | None = None) -> None:
        self.parts, self.owner_N, self.place_N = list(parts), owner_N, place_N

    def __len__(self) -> int:
        return len(self.parts[0]) if self.owner_N is None else len(self.owner_N)

    def only(self, index: Any) -> Parts:
        """Some of the records."""
        if self.owner_N is None:
            return Parts([_only(part, index) for part in self.parts])
        return Parts(self.parts, self.owner_N[index], self.place_N[index])

    def asked(self, n: int) -> Iterator[tuple[int, np.ndarray]]:
        """(model, positions of the records it is asked of)."""
        for k in range(len(self.parts)):
            rows = np.arange(n) if self.owner_N is None else np.flatnonzero(self.owner_N == k)
            if len(rows):
                yield k, rows

    def of(self, k: int, rows: np.ndarray) -> Any:
        """What a model reads of the records that it is asked of."""
        return self.parts[k] if self.owner_N is None else _only(self.parts[k], self.place_N[rows])


def _only(part: Any, index: Any) -> Any:
    return part.only(index) if hasattr(part, "only") else only(part, index)


class Rivals:
    """The rivals of several models as one: the mean of their answers, or each asked of its own records.

    What is no answer (names, counts, which view is best alone) is that of the first.

    Args:
        each: K of them.
        places: K arrays; the columns of their classes among all.
        classes: C.
    """

    def __init__(self, each: Sequence[Any], places: Sequence[np.ndarray], classes: int) -> None:
        self.each, self._places, self._classes = list(each), places, classes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["each"][0], name)

    def answer(self, subset: Sequence[str], features: Mapping[str, Parts], present: np.ndarray, **more: Any) -> np.ndarray:
        """(N, C), as one model's rivals answer."""
        answers, first = np.zeros((len(present), self._classes)), next(iter(features.values()))
        for k, rows in first.asked(len(present)):
            mine = {view: block.of(k, rows) for view, block in features.items()}
            _add(answers, rows, self._places[k], self.each[k].answer(subset, mine, present[rows], **more), first)
        return answers


class Nearests(Rivals):
    """The nearest record's text of several models: of the record's own model, or of the one that has the nearest of all."""

    def __init__(self, each: Sequence[Any]) -> None:
        super().__init__(each, [], 0)
        self._likeness: Any = None

    def answer(self, subset: Sequence[str], features: Mapping[str, Parts], present: np.ndarray, **more: Any) -> np.ndarray:
        """(N,) texts, as one model's rivals answer."""
        texts, best = np.full(len(present), self.prior, object), np.full(len(present), -np.inf)
        for k, rows in next(iter(features.values())).asked(len(present)):
            mine = {view: block.of(k, rows) for view, block in features.items()}
            places, cosines = self.each[k].near(subset, mine, present[rows], 1, **more)
            for row, place, cosine in zip(rows, places[:, 0], cosines[:, 0], strict=True):
                if place >= 0 and cosine > best[row]:
                    texts[row], best[row] = self.each[k].references[place][0], cosine
        return texts

    def likeness(self, yardstick: Any) -> Any:
        """How alike texts are; the training records of all models tell how rare a word is."""
        if self._likeness is None:
            said = {row: texts for one in self.each for row, texts in zip(one.rows.tolist(), one.references, strict=True)}
            self._likeness = yardstick.likeness([said[row] for row in sorted(said)])
        return self._likeness


def _add(answers_NC: np.ndarray, rows: np.ndarray, places: np.ndarray, given: np.ndarray, parts: Parts) -> None:
    share = 1.0 if parts.owner_N is not None else 1 / len(parts.parts)
    answers_NC[np.ix_(rows, places)] += share * given


class Plan(NamedTuple):
    """One of the fits.

    Attributes:
        name: "fold 1", "seed 0".
        seed: of it.
        train, valid: rows over all tables behind each other.
        judged: rows that it answers for in the evaluation.
        unlabelled: rows without a target that it may learn from.
    """

    name: str
    seed: int
    train: np.ndarray
    valid: np.ndarray
    judged: np.ndarray
    unlabelled: np.ndarray = np.zeros(0, int)

    @property
    def learned(self) -> np.ndarray:
        """All rows that it is given to learn from."""
        return np.append(self.train, self.unlabelled)


@dataclass
class Several:
    """The models behind one.

    Attributes:
        kind: "folds" or "seeds".
        models: K fitted models.
        task: of all of them: it has the classes of each.
    """

    kind: str
    models: list[Any]
    task: Any

    @property
    def places(self) -> list[np.ndarray]:
        """The columns of each model's answers among all."""
        offsets = [part.columns.start or 0 for part in self.task.parts()]
        return [
            np.concatenate([start + own for start, own in zip(offsets, self._of_targets(model), strict=True)])
            for model in self.models
        ]

    def _of_targets(self, model: Any) -> list[np.ndarray]:
        """Of each target, the columns of a model's classes among all of them."""
        found = []
        for part, own in zip(self.task.parts(), model.task_.parts(), strict=True):
            index = {name: i for i, name in enumerate(part.task.classes)}
            found.append(np.array([index[name] for name in own.task.classes]) if index else np.arange(len(part.task.prior())))
        return found

    def rivals(self) -> Any:
        """Of all of them, as one, for each target."""
        if self.task.kind == "words":
            return Nearests([model.rivals_ for model in self.models])
        places = [self._of_targets(model) for model in self.models]
        own = [each(model.task_, model.rivals_) for model in self.models]
        return one_or_each(self.task, [
            Rivals([one[t][1] for one in own], [place[t] for place in places], len(part.task.prior()))
            for t, part in enumerate(self.task.parts())
        ])

    def share(self) -> Any:
        """What the regressions give on average, for each target."""
        own = [[share for _, share in each(model.task_, model.regressions_)] for model in self.models]
        if self.task.kind == "words":
            weights, counts = zip(*((share.weight, share.records) for share, in own), strict=True)
            return Consensus(float(np.mean(weights)), max(counts))
        return one_or_each(self.task, [
            Share(float(np.mean([share.weight for share in shares])), shares[0].kind) for shares in zip(*own, strict=True)
        ])

    def numbers(self, cells: Any, *, rivals: bool) -> tuple[Gathered, Parts]:
        """Features and tokens of the same cells for each model; a tower runs once."""
        memo: dict[Any, Any] = {}
        each = [model._numbers(cells, rivals=rivals, memo=memo) for model in self.models]
        first = each[0][0]
        plain = {view: Parts([found.plain[view] for found, _ in each]) for view in first.plain}
        return Gathered(first.names, first.present_NV, plain=plain), Parts([tokens for _, tokens in each])

    def mixed(self, tokens: Parts, plain: Mapping[str, Parts], mask_NV: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """(N, C): the mean of the models' answers, or each record's owner's; the prior of all where nothing is present."""
        answers, places = np.zeros((len(mask_NV), len(prior)), prior.dtype), self.places
        for k, rows in tokens.asked(len(mask_NV)):
            mine = {view: block.of(k, rows) for view, block in plain.items()}
            _add(answers, rows, places[k], self.models[k]._mixed(tokens.of(k, rows), mine, mask_NV[rows]), tokens)
        answers[~mask_NV.any(1)] = prior
        return answers


    def evidence(self, tokens: Parts, plain: Mapping[str, Parts], mask_NV: np.ndarray, prior: str) -> list[Evidence]:
        """What speaks for which text in all models together, or in each record's owner, whose texts are then pooled.

        Members vote with all that they hold likely (minimum Bayes risk over a pooled list, as in ``learn.consensus``).
        """
        found: list[list[Evidence]] = [[] for _ in mask_NV]
        for k, rows in tokens.asked(len(mask_NV)):
            mine = {view: block.of(k, rows) for view, block in plain.items()}
            held = self.models[k]._evidence(tokens.of(k, rows), mine, mask_NV[rows], alone=False)
            for row, one in zip(rows, held, strict=True):
                found[row].append(one)
        return [
            together([(1 / len(parts), one) for one in parts]) if mask_V.any() else {prior: (1.0, None)}
            for parts, mask_V in zip(found, mask_NV, strict=True)
        ]


# --- learning ------------------------------------------------------------------------------------


def fit(model: Any, records: Any, y: Sequence[Any] | None, valid: Any, checkpoints: str | Path | None, resume: bool) -> None:
    """Fit the models of folds or seeds, judge them together, and put them into ``model``.

    Args:
        model: with its settings; gets what ``fit`` of one model gives.
        records, y, valid, checkpoints, resume: as for ``Model.fit``.
    """
    started, began = time.process_time(), time.monotonic()
    talk, kind = Talk(model.verbose), check_several(model.folds, model.seeds, model.tune)
    begun = begin(model.get_params(deep=False), records, y, valid, talk.say)
    talk.say(begun.schema.describe())
    targets = [value for table in begun.tables for value in table.targets]
    plans = _plans(model, kind, begun.tables, targets, talk)
    if begun.plan.training.pseudo:
        plans = [plan._replace(unlabelled=unlabelled(
            begun.tables, split=model.split, group=model.group, apart=np.append(plan.valid, plan.judged)
        )) for plan in plans]
    every = np.unique(np.concatenate([plan.train if kind == "seeds" else np.append(plan.train, plan.judged) for plan in plans]))
    task = tasks.make(begun.task, **begun.plan.options["task"])
    task.fit([targets[i] for i in every])
    target = begun.targets[0] if begun.targets else None
    task.check(len(every), target)
    talk.say(task.about(target))
    folder = _folder(checkpoints, resume, kind)
    declared = {column.name: column.kind for column in begun.schema.columns}
    if model.split:
        declared[model.split] = "ignore"
    made: list[Any] = []
    with _cache(model) as cache, talk.bar(kind, len(plans)) as advance:
        for number, plan in enumerate(plans):
            one = type(model)(**model.get_params(deep=False) | {
                "folds": None, "seeds": 1, "seed": plan.seed, **begun.told, "columns": declared,
                "split": None, "verbose": False, "encoders": _encoders(model, made),
                "tensorboard": _inside(model.tensorboard, plan.name),
                "time_limit": _time(model, began, len(plans) - number),
            })
            one._cache_given, one._elder = cache, made[0] if made and kind == "seeds" else None
            one.fit(
                _take(begun.tables, plan.learned), _ask(y, targets, plan.learned),
                _taken(begun.tables, plan.valid, y, targets), checkpoints=_inside(folder, plan.name),
                resume=resume and (folder / _slug(plan.name)).exists(),
            )
            one._elder = None
            if one.task_.kind == "words" and (kind == "folds" or not made):  # rows of the whole table, not of its own records
                one.rivals_.rows = plan.learned[one.rivals_.rows]
            if not made:
                for view, name in one._encoders().items():
                    talk.say(f"{view} <- {name}")
            made.append(one)
            score = _figures(one.valid_)
            advance(1, ", ".join(f"{name} {value:.3f}" for name, value in score.items()))
        _accept(model, Several(kind, made, task), task, begun, plans, every, targets, talk, started)
    for one in made:
        one._cache_given = None
    model.checkpoints_ = _Folder(folder)


def _plans(model: Any, kind: str, tables: Sequence[Any], targets: Sequence[Any], talk: Talk) -> list[Plan]:
    """Which rows each fit learns from, and which it is judged on."""
    named = len(tables) > 1 or model.split
    if kind == "seeds" or named:
        train, valid = divide(tables, split=model.split, group=model.group, seed=model.seed, say=talk.say)
    else:
        train, valid = tables[0].rows, np.zeros(0, int)
    if kind == "seeds":
        return [Plan(f"seed {seed}", seed, train, valid, valid) for seed in range(model.seed, model.seed + model.seeds)]
    groups = groups_of(tables[0].records, model.group)
    of = (lambda rows: None) if groups is None else (lambda rows: [groups[i] for i in rows])
    plans, strata = [], partial(strata_of, tables[0].kind)
    pairs = splits.folds(strata([targets[i] for i in train]), model.folds, groups=of(train), seed=model.seed)
    for number, (learn, test) in enumerate(pairs, 1):
        learn, test, mine = train[learn], train[test], valid
        if not named:
            parts = splits.split(
                strata([targets[i] for i in learn]), (1 - VALID_SHARE, VALID_SHARE), groups=of(learn), seed=model.seed
            )
            learn, mine = (learn[part] for part in parts)
        plans.append(Plan(f"fold {number}", model.seed, learn, mine, test))
    talk.say(
        f"{model.folds} folds of {counted(len(train), 'record')}: each model is judged on a fold of which it has seen nothing, "
        + ("and validates on the records named for it" if named else f"and validates on {len(plans[0].valid):,} of the others")
    )
    return plans


def _encoders(model: Any, made: Sequence[Any]) -> dict[str, Any]:
    """Own modules as copies, for each model trains its own; and the encoders that the first model chose by itself."""
    import copy

    given = dict(model.encoders or {})
    return (made[0]._encoders() if made else {}) | {
        view: one if isinstance(one, str) else copy.deepcopy(one) for view, one in given.items()
    }


def _take(tables: Sequence[Any], rows: np.ndarray) -> Any:
    """Records of the table that all these rows lie in."""
    first = len(tables[0].records)
    if len(rows) and rows.min() >= first:
        return tables[1].records.take(rows - first)
    return tables[0].records.take(rows)


def _ask(y: Any, targets: Sequence[Any], rows: np.ndarray) -> list[Any] | None:
    return None if y is None else [targets[i] for i in rows]


def _taken(tables: Sequence[Any], rows: np.ndarray, y: Any, targets: Sequence[Any]) -> Any:
    records = _take(tables, rows)
    return records if y is None else (records, _ask(y, targets, rows))


def _time(model: Any, began: float, left: int) -> float | None:
    """Seconds for the next of ``left`` fits."""
    if model.time_limit is None:
        return None
    return max(1e-3, (model.time_limit - (time.monotonic() - began)) / left)


@contextmanager
def _cache(model: Any) -> Iterator[Cache | None]:
    """Where towers' outputs wait for the next fit: the cache on disk, or where none is wanted a folder for this fit."""
    if model.cache:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="polysense-") as folder:
        yield Cache(folder)


# --- judging -------------------------------------------------------------------------------------


def _accept(
    model: Any, several: Several, task: Any, begun: Any, plans: Sequence[Plan], every: np.ndarray, targets: Sequence[Any],
    talk: Talk, started: float,
) -> None:
    """Judge the models together on the records that were kept from them, and remember how they were made."""
    from .data import joined
    from .data.reading import read_cells
    from .judge.facts import data_facts, made_facts

    tables, first = begun.tables, several.models[0]
    cells = joined.join([read_cells(table.records, begun.schema) for table in tables])
    judged = np.unique(np.concatenate([plan.judged for plan in plans]))
    owned = {int(row): k for k, plan in enumerate(plans) for row in plan.judged} if several.kind == "folds" else None
    leaks: dict[str, int] = {}
    for plan in plans[: len(plans) if owned else 1]:
        for view, count in joined.leaks(cells, np.concatenate([plan.train, plan.valid]), plan.judged).items():
            leaks[view] = leaks.get(view, 0) + count
    data = data_facts(tables, begun.schema, cells, every, judged, leaks)
    data["bad_cells"] = target_faults(tables) + _bad_cells(several, plans, len(tables[0].records), len(tables) > 1)
    made = made_facts(
        seed=model.seed, source=tables[0].records.source, training=begun.plan.training, started=started
    )
    facts = {"history": first.history_, "data": data, "made": made, "valid": None}
    model._take_over(several, task, begun.schema, facts)
    each = []
    if len(judged):
        found, tokens, rows, each = _answered(several, plans, tables, targets)
        groups = groups_of(tables[0].records, model.group) if judged.max() < len(tables[0].records) else None
        mine = [targets[i] for i in rows]
        model._settle(found, tokens, np.arange(len(rows)), mine, talk.say)
        model.valid_ = model._evaluation(
            found, tokens, np.arange(len(rows)), mine,
            None if groups is None else [groups[i] for i in rows], subsets=False, samples=1000,
        )
        for _, one in by_target(model.valid_):
            for mistake in one["mistakes"]:
                mistake["row"] = int(rows[mistake["row"]])
    model.made_["several"] = {
        "kind": several.kind, "count": len(plans), "each": {plan.name: one for plan, one in zip(plans, each, strict=False)},
        "spread": _spread(each),
    }
    for view, same in leaks.items():
        talk.say(f"column '{view}': {counted(same, 'judged record')} with content that a model saw; its scores flatter")
    for line in spread_lines(model.made_["several"]):
        talk.say(line)


def _answered(
    several: Several, plans: Sequence[Plan], tables: Sequence[Any], targets: Sequence[Any]
) -> tuple[Gathered, Parts, np.ndarray, list[dict[str, float]]]:
    """What each model reads of the records it is judged on, and its own figures there."""
    read, each = [], []
    asked = plans if several.kind == "folds" else plans[:1]
    memo: dict[Any, Any] = {}
    for k, model in enumerate(several.models):
        rows = plans[k].judged
        cells = model._cells(_take(tables, rows))
        found, tokens = model._numbers(cells, rivals=True, memo=memo if several.kind == "seeds" else None)
        read.append((found, tokens))
        alone = model._evaluation(
            found, tokens, np.arange(len(rows)), [targets[i] for i in rows], None, subsets=False, samples=2
        )
        each.append(_figures(alone))
    rows = np.concatenate([plan.judged for plan in asked])
    first = read[0][0]
    owner = place = None
    present = first.present_NV
    if several.kind == "folds":
        owner = np.concatenate([np.full(len(plan.judged), k) for k, plan in enumerate(plans)])
        place = np.concatenate([np.arange(len(plan.judged)) for plan in plans])
        present = np.concatenate([found.present_NV for found, _ in read])
    plain = {view: Parts([found.plain[view] for found, _ in read], owner, place) for view in first.plain}
    return Gathered(first.names, present, plain=plain), Parts([tokens for _, tokens in read], owner, place), rows, each


def _figures(evaluation: Mapping[str, Any] | None) -> dict[str, float]:
    """The first three scores of an evaluation, of each target."""
    return {
        f"{target} {name}".lstrip(): score["value"] for target, one in by_target(evaluation or {})
        for name, score in list((one.get("scores") or {}).items())[:3] if score["value"] is not None
    }


def _spread(each: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """{figure: mean, deviation, lowest and highest over the models}.

    >>> _spread([{"accuracy": 0.5}, {"accuracy": 0.75}])["accuracy"]["mean"]
    0.625
    """
    names = [name for name in (each[0] if each else {}) if all(name in one for one in each)]
    return {
        name: {
            "mean": statistics.fmean(values), "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
            "low": min(values), "high": max(values),
        }
        for name in names for values in [[one[name] for one in each]]
    }


def spread_lines(facts: Mapping[str, Any]) -> list[str]:
    """What the spread over folds or seeds is, in words.

    Args:
        facts: ``made_["several"]``.
    """
    return [
        f"{name.replace('_', ' ')} over {facts['count']} {facts['kind']}: mean {one['mean']:.3f}, deviation "
        f"{one['deviation']:.3f}, from {one['low']:.3f} to {one['high']:.3f}"
        for name, one in facts["spread"].items()
    ]


def _bad_cells(several: Several, plans: Sequence[Plan], first: int, joined: bool) -> list[dict[str, Any]]:
    """Unreadable cells by their rows in the tables; every record stands in some model's tables."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for model, plan in zip(several.models, plans, strict=True):
        for cell in model.data_report_["bad_cells"]:
            row = int((plan.valid if cell.get("table") == "valid" else plan.learned)[cell["row"]])
            entry = {key: value for key, value in cell.items() if key != "table"} | {"row": row % first if joined else row}
            if joined:
                entry["row"], entry["table"] = (row, "train") if row < first else (row - first, "valid")
            found[(row, cell["column"])] = entry
    return [found[key] for key in sorted(found)]


# --- unfinished ----------------------------------------------------------------------------------


class _Folder:
    """The folder that holds the unfinished fits of all models."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def remove(self) -> None:
        """All are finished, and saved."""
        if self.folder is not None and processes.first():
            shutil.rmtree(self.folder, ignore_errors=True)


def _folder(checkpoints: str | Path | None, resume: bool, kind: str) -> Path | None:
    """The folder of the unfinished fits, emptied unless they are to be gone on with.

    Raises:
        Mistake: it holds something else.
        BadOption: ``resume`` without it.
    """
    if checkpoints is None:
        if resume:
            raise BadOption("resume=True needs the folder of the unfinished fit; give checkpoints=FOLDER")
        return None
    folder = Path(checkpoints)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    odd = [name for name in names if not ours(name) and not name.startswith(".")]
    if odd:
        raise Mistake(f"{folder} holds something other than an unfinished fit; move it away")
    if resume and names and not any(name.startswith(kind[:-1]) for name in names):
        raise BadOption(f"the unfinished fit in {folder} is not one of {kind}; begin anew without --resume")
    if not resume and processes.first():
        shutil.rmtree(folder, ignore_errors=True)
    return folder


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _inside(folder: str | Path | None, name: str) -> Path | None:
    return None if folder is None else Path(folder) / _slug(name)

"""The estimator that answers: views of a record -> target.

N records, V views, C classes.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin

from . import store
from .contracts import Encoder
from .data import joined, splits
from .data.cache import Cache
from .data.reading import Cells, ViewCells, judge_faults, read_cells
from .data.records import Records, as_records
from .data.schema import Schema, guess
from .errors import BadColumn, BadModel, BadOption, BadTable, NotFitted
from .judge.evaluate import evaluate
from .layers import Condition, safe
from .learn import blend
from .learn.features import answer, encode
from .learn.gather import Gathered, fit_conditions, fit_plain, gather, sample, tell_kinds
from .learn.loop import Training, train
from .learn.rivals import Rivals, subsets_of
from .modality.towers import default_encoder
from .network import Encoders, Network
from .registry import encoders as encoder_shelf
from .registry import fusions, modalities, suggest, tasks
from .talk import Talk
from .tokens import Tokens

#: Share of the training records that validation gets where no one says otherwise.
VALID_SHARE = 0.2
#: Below this many records a look into the disk cache costs more than it can save.
FEW_TO_CACHE = 32
#: Sections of ``options`` that are not views.
SECTIONS = ("fusion", "train", "task")
#: Setting -> what it may be, and how a message says so.
TYPES = {
    **dict.fromkeys(("target", "group", "split"), (str, "the name of a column")),
    **dict.fromkeys(("task", "fusion", "on_bad"), (str, "a name")),
    **dict.fromkeys(("columns", "encoders", "options"), (Mapping, "pairs of a name and a value")),
    "seed": ((int, np.integer), "a whole number"), "max_bad": ((int, float), "a share from 0 to 1"),
}


class Model(ClassifierMixin, BaseEstimator):
    """One model from records whose cells are text, pictures, sounds, numbers and categories.

    Any view may be missing in any record, in training and at prediction.

    Args:
        target: column to predict; may be left out if ``fit`` gets ``y``.
        task: name of a task, see ``polysense list tasks``.
        columns: {column: kind} where the guess is to be overruled.
        fusion: name of a fusion, see ``polysense list fusions``.
        encoders: {view: name of an encoder, or of an encoder with its tower ("text.pretrained:FOLDER"),
            or an own ``nn.Module``}; views left out get the default.
        options: {"train.epochs": 20, "fusion.heads": 2, "photo.pixels": 64, ...}, or nested dicts.
        group: column whose equal values belong together: never split, resampled as one.
        seed: of everything random.
        split: column that says train, valid or test for each record.
        on_bad: what to do with records that hold an unreadable cell: "error", "mask" or "drop".
        max_bad: share of unreadable cells of a column above which fit and evaluate stop.
        download: a hub id may be downloaded; otherwise nothing touches the network.
        cache: keep outputs of frozen encoders on disk.
        verbose: talk and progress bars on stderr.

    Attributes:
        classes_: (C,) after fit.
        schema_: columns, kinds and reasons.
        history_: one dict per epoch.
        rivals_: the plain baselines trained beside the model.
        data_report_: what was found in the table.
        valid_: evaluation on the validation records.

    >>> from polysense import demo
    >>> model = Model("label", options={"train.epochs": 2}).fit(demo.made_up(60))
    >>> len(model.predict(demo.made_up(3, seed=1)))
    3
    """

    def __init__(
        self, target: str | None = None, *, task: str = "classify", columns: Mapping[str, str] | None = None,
        fusion: str = "concat", encoders: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None,
        group: str | None = None, seed: int = 0, split: str | None = None, on_bad: str = "mask", max_bad: float = 0.2,
        download: bool = False, cache: bool = True, verbose: bool = False,
    ) -> None:
        self.target = target
        self.task = task
        self.columns = columns
        self.fusion = fusion
        self.encoders = encoders
        self.options = options
        self.group = group
        self.seed = seed
        self.split = split
        self.on_bad = on_bad
        self.max_bad = max_bad
        self.download = download
        self.cache = cache
        self.verbose = verbose

    # --- learning --------------------------------------------------------------------------------

    def fit(self, records: Any, y: Sequence[Any] | None = None, valid: Any = None) -> Model:
        """Learn from records.

        Args:
            records: path of a table, list of dicts, pandas frame, or ``Records``.
            y: targets, if they are no column of the records.
            valid: validation records, likewise; (records, y) if ``y`` is given. Otherwise a fifth of
                the training records, whole groups together.

        Raises:
            BadTable, BadColumn, BadOption: what is wrong, where, and the cure.
        """
        started = time.process_time()
        talk = Talk(self.verbose)
        plan = self._plan()
        tables = self._open_all(records, y, valid, talk)
        schema = self._schema(tables[0].records)
        talk.say(schema.describe())
        plan.check_views([view.name for view in schema.views])
        train_rows, valid_rows = self._divide(tables, talk)
        cells = joined.join([read_cells(table.records, schema) for table in tables])
        for mine in cells.values():
            if mine.media:  # opens every file once: a wrong folder is told before hours of work
                mine.digests()
        self._check_faults(cells)
        task = tasks.make(self.task, **plan.options["task"])
        targets = [value for table in tables for value in table.targets]
        task.fit([targets[i] for i in train_rows])
        _check_classes(task, len(train_rows), self.target)

        encoders = self._encoders(plan, cells, train_rows, talk)
        with torch.random.fork_rng():  # made to be asked what it wants; the network makes its own
            fusion = plan.fusion(sorted(encoders), plan.training.dim)
        for encoder in encoders.values():
            if encoder.tower:
                encoder.positions = fusion.positions
        plains = fit_plain(encoders, cells, train_rows, self.seed)
        cache = Cache() if self.cache else Cache.off()
        found = gather(encoders, plains, cells, cache, positions=fusion.positions, bar=talk.bar)
        self._check_faults(cells)
        talk.bad_cells(joined.faults(cells), len(targets))
        leaks = joined.leaks(cells, train_rows, valid_rows)
        for view, count in leaks.items():
            talk.say(
                f"column '{view}': {count} validation records hold the very content of a training record; "
                "scores on them flatter the model (name a --group to keep such records together)"
            )
        if self.on_bad == "drop":
            bad = joined.bad_rows(cells)
            train_rows, valid_rows = np.setdiff1d(train_rows, bad), np.setdiff1d(valid_rows, bad)

        labels = task.encode(targets)
        self.rivals_ = self._rivals(found, labels["label"], train_rows, valid_rows, len(task.classes), talk)
        conditions = fit_conditions(encoders, found, train_rows)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            network = Network(Encoders(encoders, conditions), plan.fusion, task, **plan.training.network())
        views = found.views(conditions)

        with talk.bar("training", plan.training.epochs) as advance:
            history = train(
                network, views, labels, train_rows, valid_rows, options=plan.training, seed=self.seed,
                names=lambda row: _row_name(tables, row),
                measure=lambda answers, rows: task.watch(answers, {key: value[rows] for key, value in labels.items()}),
                log=lambda epoch: advance(1, _figures(epoch)),
            )
        for name in history.skipped:
            talk.say(f"a batch with a loss that is not finite was skipped; its records: {name}")

        self._accept(network.cpu(), task, schema, plains)
        tokens = encode(network, views, valid_rows) if len(valid_rows) else {}
        self.regressions_ = self._share(plan, found, tokens, labels["label"], valid_rows)
        weight = self.regressions_.weight
        talk.say(f"answers: {1 - weight:.0%} network, {weight:.0%} logistic regressions on the same views")
        self.history_ = history.epochs
        self.data_report_ = self._data_report(tables, schema, cells, train_rows, valid_rows, leaks)
        self.made_ = self._made(plan, tables, started)
        self.valid_ = None
        if len(valid_rows):
            self.valid_ = self._evaluation(
                found, tokens, valid_rows, targets, self._joined_groups(tables), subsets=False, samples=1000
            )
        return self

    def _plan(self) -> _Plan:
        for name, (kinds, words) in TYPES.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
                raise BadOption(f"{name}={value!r} must be {words}")
        if not 0 <= self.seed < 2**32:
            raise BadOption(f"seed={self.seed} must be a whole number from 0 to {2**32 - 1}")
        if self.group is not None and self.group == self.target:
            raise BadOption(f"'{self.group}' is both the target and the group; name another group column")
        if self.on_bad not in ("error", "mask", "drop"):
            raise BadOption(f"on_bad='{self.on_bad}' must be 'error', 'mask' or 'drop'")
        if not 0 <= self.max_bad <= 1:
            raise BadOption(f"max_bad={self.max_bad} must be a share from 0 to 1")
        if self.task not in tasks:
            tasks[self.task]
        return _Plan.of(self.fusion, self.task, self.options or {})

    def _open_all(self, records: Any, y: Any, valid: Any, talk: Talk) -> list[_Table]:
        opened = [self._open(records, y, talk)]
        if valid is not None:
            part, targets = valid if isinstance(valid, tuple) else (valid, None)
            opened.append(self._open(part, targets, talk))
        if not len(opened[0].rows):
            raise BadTable(f"{opened[0].records.source} holds no record with a target; there is nothing to learn from")
        return opened

    def _open(self, records: Any, y: Sequence[Any] | None, talk: Talk) -> _Table:
        """Records with their targets; those without a target are counted aloud and left out of ``rows``."""
        records = as_records(records)
        for note in records.notes:
            talk.say(note)
        targets = self._targets_of(records, y)
        rows = np.array([i for i, value in enumerate(targets) if value is not None], int)
        if len(rows) < len(targets):
            talk.say(
                f"{records.source}: {len(targets) - len(rows)} of {len(targets)} records have no target and are left out"
            )
        return _Table(records, targets, rows)

    def _targets_of(self, records: Records, y: Sequence[Any] | None) -> list[Any]:
        if y is not None:
            if len(y) != len(records):
                raise BadTable(f"{len(y)} targets were given for {len(records)} records")
            return [_as_class(value) for value in y]
        if self.target is None:
            raise BadColumn("no target is named; give Model(target) or fit(records, y)")
        return [_as_class(value) for value in _column(records, self.target)] if len(records) else []

    def _schema(self, records: Records) -> Schema:
        if self.group:
            _column(records, self.group)
        aside = [name for name in (self.target, self.group, self.split) if name and name in records.names]
        schema = guess(records, declared=dict(self.columns or {}), exclude=aside)
        if not schema.views:
            raise BadTable(f"{records.source} has no column to learn from\n{schema.describe()}")
        return schema

    def _divide(self, tables: list[_Table], talk: Talk) -> tuple[np.ndarray, np.ndarray]:
        """Rows for training and validation, over all tables behind each other."""
        first = tables[0]
        rows = first.rows
        if self.split:
            marks = [str(mark).strip().lower() for mark in _column(first.records, self.split)]
            odd = next((i for i, mark in enumerate(marks) if mark not in ("train", "valid", "test")), None)
            if odd is not None:
                raise BadColumn(
                    f"{first.records.source} row {odd}: column '{self.split}' says {marks[odd]!r}; "
                    "it must say train, valid or test"
                )
            train_rows, valid_rows = (np.array([i for i in rows if marks[i] == part], int) for part in ("train", "valid"))
        elif len(tables) > 1:
            train_rows, valid_rows = rows, len(first.records) + tables[1].rows
        else:
            groups = self._groups(first.records)
            train_rows, valid_rows = (
                rows[part] for part in splits.split(
                    [first.targets[i] for i in rows], (1 - VALID_SHARE, VALID_SHARE), seed=self.seed,
                    groups=None if groups is None else [groups[i] for i in rows],
                )
            )
        talk.say(f"{len(train_rows)} records for training, {len(valid_rows)} for validation")
        if not len(train_rows):
            raise BadTable(f"{first.records.source} leaves no record for training")
        return train_rows, valid_rows

    def _encoders(
        self, plan: _Plan, cells: Mapping[str, Cells], rows: np.ndarray, talk: Talk
    ) -> dict[str, Encoder]:
        """{view: fitted encoder}: the user's where named, else the default, each printed with its reason."""
        named = dict(self.encoders or {})
        for view in named:
            if view not in cells:
                raise BadOption(f"encoder given for '{view}', which is no view; {suggest(view, sorted(cells))}")
        made = {}
        for view in sorted(cells):
            options = dict(plan.options.get(view, {}))
            values = sample(cells[view], rows, self.seed)
            given = named.get(view)
            if isinstance(given, torch.nn.Module):
                encoder = own_encoder(given, cells[view].view.modality, options)
                reason = "given"
            else:
                name, chosen, reason = (
                    (*_split_name(given), "given") if given else default_encoder(cells[view].view.modality, values, len(rows))
                )
                encoder_shelf.check(name, options, f"{view}.")
                if not name.startswith(f"{cells[view].view.modality}."):
                    raise BadOption(
                        f"encoder '{name}' does not read {cells[view].view.modality} views such as '{view}'; "
                        + suggest(name, [n for n in encoder_shelf if n.startswith(f"{cells[view].view.modality}.")])
                    )
                try:
                    encoder = encoder_shelf.make(name, **{**chosen, **options})
                except BadOption as error:
                    raise BadOption(f"view '{view}': {error}") from None
            if not values:
                self._check_faults(cells)
                raise BadTable(
                    f"no training record has a readable '{view}'; declare the column as ignore (--columns {view}=ignore)"
                )
            encoder.download = self.download
            tell_kinds(encoder, cells[view])
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                encoder.fit(values)
            talk.say(f"{view} <- {encoder.name}: {reason}")
            made[view] = encoder
        return made

    def _rivals(
        self, found: Gathered, labels: np.ndarray, rows: np.ndarray, valid: np.ndarray, classes: int, talk: Talk
    ) -> Rivals:
        def part(chosen: np.ndarray) -> dict[str, Any]:
            return {view: block[chosen] for view, block in found.plain.items()}

        with talk.bar("rivals", 2 * len(subsets_of(found.names))) as advance:
            rivals = Rivals.train(
                part(rows), found.present_NV[rows], labels[rows], part(valid), found.present_NV[valid], labels[valid],
                views=found.names, classes=classes, seed=self.seed, progress=lambda done, total: advance(1),
            )
        if rivals.sampled:
            talk.say(f"the rivals were trained on a sample of {rivals.sampled:,} records")
        return rivals

    def _share(
        self, plan: _Plan, found: Gathered, tokens: Mapping[str, Tokens], labels: np.ndarray, valid: np.ndarray
    ) -> blend.Share:
        """The regressions' share of the answer: as given, or as validation chooses it.

        Args:
            tokens: of the validation records.
        """
        if plan.training.regressions is not None:
            return blend.Share(float(plan.training.regressions))
        return blend.choose(
            lambda mask: answer(self.network_, tokens, mask), self.rivals_,
            {view: block[valid] for view, block in found.plain.items()}, found.present_NV[valid], labels[valid],
        )

    def _accept(self, network: Network, task: Any, schema: Schema, plains: Mapping[str, Any]) -> None:
        self.network_, self.task_, self.schema_, self.plains_ = network.eval(), task, schema, dict(plains)
        self.classes_ = np.array(task.classes)

    def _data_report(self, tables, schema, cells, train_rows, valid_rows, leaks) -> dict[str, Any]:
        return {
            "columns": [[column.name, column.kind, column.reason] for column in schema.columns],
            "records": sum(len(table.records) for table in tables),
            "train": len(train_rows), "valid": len(valid_rows),
            "without_target": sum(len(table.targets) - len(table.rows) for table in tables),
            "absent": {view: int((~mine.present).sum()) for view, mine in cells.items()},
            "empty": {
                name: sum(len(table.records) for table in tables) - sum(part.nonempty[name] for part in joined.each(mine))
                for mine in cells.values() for name in mine.view.columns
            },
            "bad_cells": joined.faults(cells),
            "missing_words": joined.missing_words(cells),
            "identical_in_train_and_valid": leaks,
            "notes": [note for table in tables for note in table.records.notes],
        }

    def _made(self, plan: _Plan, tables: list[_Table], started: float) -> dict[str, Any]:
        import importlib.metadata as metadata

        def version(name: str) -> str | None:
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                return None

        return {
            "versions": {name: version(name) for name in ("polysense", "torch", "transformers", "numpy", "scikit-learn")}
            | {"python": platform.python_version()},
            "seed": self.seed,
            "source": tables[0].records.source,
            "cpu_seconds": round(time.process_time() - started, 1),
            "train": {**vars(plan.training)},
            "date": time.strftime("%Y-%m-%d"),
        }

    # --- answering -------------------------------------------------------------------------------

    def predict(self, records: Any) -> np.ndarray:
        """(N,) predictions, one for every record in its order."""
        return np.array(self.task_decode(self.predict_proba(records)))

    def predict_proba(self, records: Any) -> np.ndarray:
        """(N, C) probabilities in the order of ``classes_``; the training prior where nothing is present."""
        return self.answers(records).probabilities

    def task_decode(self, answers: np.ndarray) -> list[Any]:
        """Answers -> predictions as the target holds them."""
        self._ready()
        return self.task_.decode(answers) if len(answers) else []

    def answers(self, records: Any) -> Answers:
        """Answers with what was found in the records: presence, unreadable cells, remarks."""
        self._ready()
        if isinstance(records, list) and records and not any(records):  # nothing known of any record
            records = [dict.fromkeys(self.schema_.views[0].columns)] * len(records)
        records = as_records(records)
        cells, found, tokens = self._read(records, rivals=self.regressions_.weight > 0)
        probabilities = np.zeros((0, len(self.classes_)))
        if len(records):
            probabilities = self._mixed(tokens, found.plain, found.present_NV)
        return Answers(records, probabilities, found.present_NV, joined.faults(cells), self._remarks(records, cells))

    def score(self, records: Any, y: Sequence[Any] | None = None) -> float:
        """Accuracy on the records that have a target."""
        self._ready()
        table = self._open(records, y, Talk(False))
        labels = self.task_.encode([table.targets[row] for row in table.rows])["label"]
        return float((self.predict_proba(table.records)[table.rows].argmax(1) == labels).mean())

    def evaluate(
        self, records: Any, y: Sequence[Any] | None = None, *, subsets: bool = False, samples: int = 1000
    ) -> dict[str, Any]:
        """Scores with intervals beside the baselines; with ``subsets`` every set of views and its specialist.

        Returns:
            The dict that ``polysense evaluate --json`` writes.

        Raises:
            BadTable: more than ``max_bad`` of a column's cells cannot be read.
        """
        self._ready()
        talk = Talk(self.verbose)
        table = self._open(records, y, talk)
        cells, found, tokens = self._read(table.records, rivals=True)
        self._check_faults(cells)
        for remark in self._remarks(table.records, cells):
            talk.say(remark)
        rows = np.setdiff1d(table.rows, joined.bad_rows(cells)) if self.on_bad == "drop" else table.rows
        result = self._evaluation(
            found, _kept(tokens, rows), rows, table.targets, self._groups(table.records), subsets=subsets, samples=samples
        )
        talk.bad_cells(joined.faults(cells), len(table.records))
        return result | {"bad_cells": joined.faults(cells)}

    def report(self, evaluation: Mapping[str, Any], records: Any, title: str = "") -> str:
        """An evaluation as one HTML page without outside resources.

        Args:
            evaluation: what ``evaluate`` returned.
            records: the same records, for the gallery of mistakes.
            title: heading.
        """
        from .judge.gallery import with_cells
        from .judge.report import html

        records = as_records(records)
        recipe = {
            "target": self.target, "task": self.task, "fusion": self.fusion,
            "encoders": {view: _full_name(encoder) for view, encoder in self.network_.encoders.encoders.items()},
            "regressions' share of the answer": self.regressions_.weight,
        }
        return html(
            evaluation, title=title or f"{self.target or 'target'} of {records.source}", history=self.history_,
            mistakes=with_cells(evaluation["mistakes"], read_cells(records, self.schema_)),
            data_report=self._shown_data(evaluation), made={**recipe, **self.made_},
        )

    def _shown_data(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        data = self.data_report_
        notes = [*data["notes"], f"{data['train']} records for training, {data['valid']} for validation"]
        if data["without_target"]:
            notes.append(f"{data['without_target']} records without a target were left out")
        notes += [
            f"column '{view}': {count} validation records hold the very content of a training record"
            for view, count in data["identical_in_train_and_valid"].items()
        ]
        notes += [
            f"column '{column}': {', '.join(f'{word!r} {count} times' for word, count in words.items())} taken as missing"
            for column, words in data["missing_words"].items()
        ]
        notes.append(f"{len(data['bad_cells'])} cells of the training table could not be read")
        return {
            "columns": [
                {"column": name, "kind": kind, "reason": reason, "missing": data["empty"].get(name, 0)}
                for name, kind, reason in data["columns"]
            ],
            "bad_cells": [*data["bad_cells"], *evaluation["bad_cells"]], "notes": notes,
        }

    def _evaluation(
        self, found: Gathered, tokens: Mapping[str, Tokens], rows: np.ndarray, targets: Sequence[Any],
        groups: Sequence[Any] | None, *, subsets: bool, samples: int,
    ) -> dict[str, Any]:
        """Judge the given rows; ``tokens`` are of these rows, everything else is of all."""
        labels = self.task_.encode([targets[row] for row in rows])["label"]
        unseen = Counter(str(targets[row]) for row, label in zip(rows, labels, strict=True) if label < 0)
        plain = {view: block[rows] for view, block in found.plain.items()}
        return evaluate(
            lambda mask: self._mixed(tokens, plain, mask), found.present_NV[rows], labels,
            views=found.names, classes=list(self.task_.classes), prior=self.task_.prior(), rivals=self.rivals_,
            features=plain, groups=None if groups is None else _numbered([groups[row] for row in rows]), subsets=subsets,
            samples=samples, seed=self.seed, rows=rows.tolist(), unseen=unseen,
        )

    def _mixed(self, tokens: Mapping[str, Tokens], plain: Mapping[str, Any], mask_NV: np.ndarray) -> np.ndarray:
        """(N, C): the network's answer and the regressions', by their shares."""
        ours = answer(self.network_, tokens, mask_NV)
        weight = self.regressions_.weight
        if not weight:
            return ours
        theirs = blend.regressions(self.rivals_, plain, mask_NV, self.regressions_.kind)
        return ((1 - weight) * ours + weight * theirs).astype(np.float32)

    def _read(self, records: Records, *, rivals: bool) -> tuple[dict[str, Cells], Gathered, Any]:
        cells = read_cells(records, self.schema_)
        worth = self.cache and len(records) >= FEW_TO_CACHE
        talk = Talk(self.verbose and worth)
        encoders = dict(self.network_.encoders.encoders.items())
        found = gather(
            encoders, self.plains_ if rivals else None, cells, Cache() if worth else Cache.off(),
            positions=self.network_.fusion.positions, bar=talk.bar,
        )
        views = found.views(dict(self.network_.encoders.conditions.items()))
        return cells, found, encode(self.network_, views) if len(records) else {}

    def _check_faults(self, cells: Mapping[str, Cells]) -> None:
        """Stop where the policy says so, table by table."""
        for table in zip(*(joined.each(mine) for mine in cells.values()), strict=True):
            judge_faults(table, on_bad=self.on_bad, max_bad=self.max_bad)

    def _groups(self, records: Records) -> list[Any] | None:
        """A name per record; a record whose group is empty is a group of its own."""
        if not self.group or self.group not in records.names:
            return None
        return [("alone", i) if value is None else value for i, value in enumerate(records.column(self.group))]

    def _joined_groups(self, tables: Sequence[_Table]) -> list[Any] | None:
        parts = [self._groups(table.records) for table in tables]
        return None if any(part is None for part in parts) else [(t, g) for t, part in enumerate(parts) for g in part]

    def _remarks(self, records: Records, cells: ViewCells) -> list[str]:
        """What a user should know of a table that an answer was asked for."""
        remarks = list(records.notes)
        if self.group and self.group not in records.names and self.target in records.names:
            remarks.append(f"{records.source} lacks the group column '{self.group}': intervals are over single records")
        if cells.missing_columns:
            remarks.append(f"{records.source} lacks {_quoted(cells.missing_columns)}: taken as missing in every record")
        unknown = [name for name in cells.unknown_columns if name not in (self.target, self.group, self.split)]
        if unknown:
            remarks.append(f"{records.source} has {_quoted(unknown)}, which the model does not know: ignored")
        for mine in cells.values():
            remarks += mine.remarks
            if mine.outside:
                remarks.append(f"column '{mine.name}': {len(mine.outside)} files lie outside the table's folder")
        return remarks

    def _ready(self) -> None:
        if not hasattr(self, "network_"):
            raise NotFitted("this model has learned nothing yet; call fit, or polysense.load a saved one")

    # --- keeping ---------------------------------------------------------------------------------

    def save(self, folder: str | Path, *, with_towers: bool = False) -> None:
        """Write the model folder: JSON, safetensors and tokenizer files, each with its hash.

        Args:
            with_towers: copy the towers in, so that the folder answers on a machine without them;
                otherwise it names each tower and its sha256.

        Raises:
            Mistake: the folder holds something other than a model.
            CannotWrite: disk full or no permission; what stood there is untouched.
        """
        self._ready()
        network = self.network_
        encoders = {
            view: {
                "name": encoder.name, "options": encoder.options(), "state": encoder.state(),
                "condition": _shape(network.encoders.conditions[view]) if view in network.encoders.conditions else None,
            }
            for view, encoder in network.encoders.encoders.items()
        }
        facts = {
            "kind": "model", "made": self.made_,
            "recipe": {
                "target": self.target, "task": self.task, "columns": dict(self.columns or {}), "fusion": self.fusion,
                "encoders": {view: _full_name(encoder) for view, encoder in network.encoders.encoders.items()},
                "options": dict(self.options or {}),
                "group": self.group, "seed": self.seed, "split": self.split, "on_bad": self.on_bad,
                "max_bad": self.max_bad,
            },
            "towers": {view: part["state"]["tower"] for view, part in encoders.items() if "tower" in part["state"]},
            "classes": list(self.task_.classes), "schema": self.schema_.to_json(), "data": self.data_report_,
            "valid": self.valid_, "history": self.history_, "regressions": vars(self.regressions_),
        }
        weights = {key: value.numpy() for key, value in network.state_dict().items()}
        store.save(Path(folder), facts, {
            "model": {
                "encoders": encoders, "task": {"options": _options_of(self.task_), "state": self.task_.state()},
                "weights": weights,
            },
            "rivals": {"plain": {v: part.state() for v, part in self.plains_.items()}, "state": self.rivals_.state()},
        }, _copies(network.encoders.encoders) if with_towers else None)

    @classmethod
    def load(cls, folder: str | Path, encoders: Mapping[str, torch.nn.Module] | None = None) -> Model:
        """Read a model folder that ``save`` wrote.

        Args:
            encoders: own modules, for the views that were trained with one.

        Raises:
            BadModel: damaged, foreign, or trained with another tower.
        """
        facts, parts = store.load(folder)
        if facts.get("kind") != "model":
            raise BadModel(f"{folder} holds a {facts.get('kind')}, not a model")
        recipe = facts["recipe"]
        self = cls(**{**recipe, "encoders": recipe["encoders"], "options": recipe["options"]})
        plan = self._plan()
        task = tasks.make(self.task, **parts["model"]["task"]["options"])
        task.load(parts["model"]["task"]["state"])
        made, conditions, plains = {}, {}, {}
        for view, part in parts["model"]["encoders"].items():
            made[view] = _encoder_again(view, part, encoders or {})
            made[view].carried = Path(folder) / "towers" / safe(view)
            if part["condition"]:
                conditions[view] = Condition().empty(*part["condition"])
        with torch.random.fork_rng():
            network = Network(Encoders(made, conditions), plan.fusion, task, **plan.training.network())
        weights = {key: torch.tensor(value) for key, value in parts["model"]["weights"].items()}
        try:
            network.load_state_dict(weights)
        except RuntimeError:
            raise BadModel(
                f"{folder} does not fit this version of polysense ({facts['made']['versions']['polysense']} wrote it); "
                "fit the model anew"
            ) from None
        schema = Schema.from_json(facts["schema"])
        modality = {view.name: view.modality for view in schema.views}
        for view, state in parts["rivals"]["plain"].items():
            plains[view] = modalities[modality[view]].plain()
            plains[view].load(state)
        self._accept(network, task, schema, plains)
        self.rivals_, self.regressions_ = Rivals.load(parts["rivals"]["state"]), blend.Share(**facts["regressions"])
        self.history_, self.data_report_, self.made_ = facts["history"], facts["data"], facts["made"]
        self.valid_ = facts["valid"]
        return self


def load(folder: str | Path, encoders: Mapping[str, torch.nn.Module] | None = None) -> Model:
    """Read a model folder; see ``Model.load``."""
    return Model.load(folder, encoders)


@dataclass
class Answers:
    """What a model says of records, and what it found in them.

    Attributes:
        probabilities: (N, C); rows that were dropped hold the answer all the same.
        present_NV: bool, views read.
        bad_cells: entries of the data report.
        remarks: sentences for the user.
    """

    records: Records
    probabilities: np.ndarray
    present_NV: np.ndarray
    bad_cells: list[dict[str, Any]]
    remarks: list[str]


@dataclass
class _Table:
    records: Records
    targets: list[Any]
    rows: np.ndarray


@dataclass
class _Plan:
    """The user's options, checked before any data is read."""

    name: str
    options: dict[str, dict[str, Any]]
    training: Training

    @classmethod
    def of(cls, fusion: str, task: str, options: Mapping[str, Any]) -> _Plan:
        nested: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        for key, value in options.items():
            section, dot, name = key.partition(".")
            if isinstance(value, Mapping) and not dot:
                nested.setdefault(section, {}).update(value)
            elif not dot:
                raise BadOption(f"option '{key}' lacks its section; write fusion.{key}, train.{key}, task.{key} or VIEW.{key}")
            else:
                nested.setdefault(section, {})[name] = value
        fusions.check(fusion, nested["fusion"], "fusion.")
        tasks.check(task, nested["task"], "task.")
        fusions.check_types(fusion, nested["fusion"], "fusion.")
        tasks.check_types(task, nested["task"], "task.")
        known = list(signature(Training).parameters)
        for name in nested["train"]:
            if name not in known:
                raise BadOption(f"training has no option 'train.{name}'; " + suggest(name, known, "train."))
        return cls(fusion, nested, Training(**nested["train"]))

    def check_views(self, views: Sequence[str]) -> None:
        for section in self.options:
            if section not in SECTIONS and section not in views:
                raise BadOption(
                    f"options were given for '{section}', which is no view of the table; "
                    + suggest(section, [*SECTIONS, *views])
                )

    def fusion(self, views: Sequence[str], dim: int) -> Any:
        return fusions.make(self.name, views, dim, **self.options["fusion"])


def own_encoder(module: torch.nn.Module, modality: str, options: Mapping[str, Any]) -> Encoder:
    """A user's own module as encoder of a view.

    It is called with the tensors that the modality's from-scratch encoder prepares and returns
    ``Tokens``, (B, W) or (B, T, W). A module that is an ``Encoder`` is taken as it is.
    """
    if isinstance(module, Encoder):
        return module
    from .own import Own

    return Own(module, encoder_shelf.make(modalities[modality].large, **options))


def _copies(encoders: Mapping[str, Encoder]) -> dict[str, Path]:
    """{name in the model folder: file} of all towers."""
    return {
        f"towers/{safe(view)}/{path.name}": path
        for view, encoder in encoders.items() if encoder.tower for path in encoder.found().files()
    }


def _encoder_again(view: str, part: Mapping[str, Any], own: Mapping[str, torch.nn.Module]) -> Encoder:
    if part["name"] in encoder_shelf:
        encoder = encoder_shelf.make(part["name"], **part["options"])
    elif view in own:
        encoder = own_encoder(own[view], part["name"].split(".")[0], part["options"])
    else:
        raise BadModel(
            f"view '{view}' was trained with a module of your own; load it with "
            f"polysense.load(folder, encoders={{'{view}': YourModule()}})"
        )
    encoder.load(part["state"])
    return encoder


def _check_classes(task: Any, records: int, target: str | None) -> None:
    """Refuse a target that is an id or a number in truth.

    Raises:
        BadTable: more than twenty classes with fewer than two records each.
    """
    count = len(task.classes)
    if count > max(20, records / 2):
        raise BadTable(
            f"the target{f' {target!r}' if target else ''} holds {count:,} classes in {records:,} training records; with "
            "fewer than two records a class nothing can be learned, and an id or a measured number is no class"
        )


def _kept(tokens: Mapping[str, Tokens], rows: np.ndarray) -> dict[str, Tokens]:
    return {view: Tokens(part.x[rows], part.mask[rows]) for view, part in tokens.items()}


def _numbered(names: Sequence[Any]) -> np.ndarray:
    """Equal names, equal numbers."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], int)


def _column(records: Records, name: str) -> list[Any]:
    if name not in records.names:
        raise BadColumn(f"{records.source} has no column '{name}'; {suggest(name, records.names)}")
    return records.column(name)


def _as_class(value: Any) -> Any:
    """A target as the task compares it: numpy's and Arrow's scalars as Python's own, empty as None."""
    value = value.item() if isinstance(value, np.generic) else value
    value = value.strip() if isinstance(value, str) else value
    if value is None or value == "" or (isinstance(value, float) and value != value):
        return None
    return value


def _row_name(tables: Sequence[_Table], row: int) -> str:
    for table in tables:
        if row < len(table.records):
            return f"{table.records.source} row {row}"
        row -= len(table.records)
    raise IndexError(row)


def _figures(epoch: Mapping[str, float]) -> str:
    text = f"loss {epoch['loss']:.3f}"
    if "valid_accuracy" in epoch:
        loss = f"validation loss {epoch['valid_loss']:.3f}, " if "valid_loss" in epoch else "validation "
        text += f", {loss}accuracy {epoch['valid_accuracy']:.3f}"
    return text


def _shape(condition: Condition) -> list[int]:
    return [len(condition.mean), condition.dim]


def _options_of(task: Any) -> dict[str, Any]:
    return {name: getattr(task, name) for name in tasks.about(task.name).options}


def _quoted(names: Sequence[str]) -> str:
    return ("column " if len(names) == 1 else "columns ") + ", ".join(f"'{name}'" for name in names)


def _full_name(encoder: Encoder) -> str:
    """Name, and the tower behind a colon: what ``encoders`` takes."""
    return f"{encoder.name}:{encoder.options()['tower']}" if encoder.tower else encoder.name


def _split_name(given: Any) -> tuple[str, dict[str, Any]]:
    """"image.pretrained:FOLDER" -> name and options."""
    name, colon, tower = str(given).partition(":")
    return name, {"tower": tower} if colon else {}

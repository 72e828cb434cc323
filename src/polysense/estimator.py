"""What the estimators do alike: read cells, run encoders, train, answer for what a table lacks.

N records, V views.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from . import keep
from .contracts import Encoder
from .data import joined
from .data.cache import Cache
from .data.reading import Cells, ViewCells, judge_faults, read_cells
from .data.records import Records
from .data.tables import check_common, column_remarks, row_name, target_faults, to_judge
from .errors import BadOption, NotFitted
from .judge.evaluate import words
from .judge.facts import versions
from .learn.board import Board
from .learn.choose import choose_encoders
from .learn.features import Prepared, Views, encode
from .learn.gather import Gathered, fit_plain, gather
from .learn.job import Job
from .learn.loop import train
from .learn.resume import Checkpoints
from .learn.tune import Verdict, to_tune, tune
from .talk import Talk, counted

#: Below this many records a look into the disk cache costs more than it can save.
FEW_TO_CACHE = 32
#: Settings of one run, which a saved model does not remember.
NOT_KEPT = ("download", "cache", "verbose", "time_limit", "tensorboard")


class Estimator(BaseEstimator):
    """The stages that ``Model``, ``Matcher`` and ``Recommender`` share; each fills a ``Job`` and knows no target."""

    #: Given to one of several models by those who fit them: a cache, and the model of another seed on the same records.
    _cache_given: Cache | None = None
    _elder: Any = None
    #: With quality: the towers that there are may be tuned, if any.
    _tune_if_any = False
    #: What it is called in a sentence.
    _noun = "model"

    def _aside(self) -> tuple[str | None, ...]:
        """Columns that are no features: what is to be answered, the group, the split."""
        return self.group, self.split

    # --- learning --------------------------------------------------------------------------------

    def _open_cells(self, job: Job) -> None:
        """Read what the cells hold, as far as it can be known before any work."""
        job.cells = joined.join([read_cells(table.records, job.schema) for table in job.tables])
        for mine in job.cells.values():
            if mine.media:  # opens every file once: a wrong folder is told before hours of work
                mine.hashes(np.arange(mine.n))
                for part in filter(lambda part: part.outside, joined.each(mine)):
                    job.talk.say(outside(part))
        self._check_faults(job.cells)

    def _kept(self, job: Job, folder: str | Path | None, resume: bool) -> Checkpoints:
        """Where this fit is kept while it is unfinished; another table or other settings are told from these facts."""
        if folder is None:
            if resume:
                raise BadOption("resume=True needs the folder of the unfinished fit; give checkpoints=FOLDER")
            return Checkpoints()
        facts = self._unfinished_facts(job)
        return Checkpoints(Path(folder), facts, resume=resume, seconds=job.plan.training.checkpoint, say=job.talk.say)

    def _unfinished_facts(self, job: Job) -> dict[str, Any]:
        """What tells this fit from another."""
        return keep.unfinished_facts(self._settings(), job.plan, job.tables, job.targets, job.cells, versions())

    def _name(self, job: Job, row: int) -> str:
        """How the user knows what a row of training is about."""
        return row_name(job.tables, row)

    def _settings(self) -> dict[str, Any]:
        settings = {name: value for name, value in self.get_params(deep=False).items() if name not in NOT_KEPT}
        return settings | {name: dict(settings[name] or {}) for name in ("columns", "views", "options")}

    def _fit_encoders(
        self, job: Job, named: Mapping[str, Any], options: Mapping[str, Any], reasons: Mapping[str, str]
    ) -> None:
        """Choose and fit the encoders; say which towers are to be tuned."""
        job.encoders = job.kept.stage("encoders", lambda: choose_encoders(
            named, options, job.cells, job.train_rows, seed=self.seed, download=self.download, say=job.talk.say,
            check=lambda: self._check_faults(job.cells), reasons=reasons,
        ), keep.fitted_parts, lambda parts: keep.fitted_again(parts, named))
        elder = self._elder
        if elder:  # what learns nothing by chance is that of the first seed
            job.encoders |= {view: one for view, one in elder.network_.encoders.encoders.items() if one.frozen}
        job.tuned = to_tune(None if self._tune_if_any and not towers(job.encoders) else self.tune, job.encoders)
        for encoder in job.encoders.values():
            if encoder.tower:
                encoder.positions = job.positions

    def _run_encoders(self, job: Job, cache: Cache) -> None:
        """Run every frozen part once; say which cells are bad, and which contents stand on both sides of validation."""
        elder = self._elder
        job.plains = elder.plains_ if elder else job.kept.stage(
            "plain", lambda: fit_plain(job.encoders, job.cells, job.train_rows, self.seed),
            lambda plains: {view: part.state() for view, part in plains.items()},
            lambda states: keep.plains_again(states, job.schema),
        )
        job.found = gather(job.encoders, job.plains, job.cells, cache, positions=job.positions, bar=job.talk.bar)
        self._check_faults(job.cells)
        job.talk.bad_cells(target_faults(job.tables) + joined.faults(job.cells), len(job.targets))
        job.leaks = joined.leaks(job.cells, job.train_rows, job.valid_rows)
        for view, same in job.leaks.items():
            job.talk.say(
                f"column '{view}': {counted(same, 'validation record')} {'holds' if same == 1 else 'hold'} "
                "the very content of a training record; scores on them flatter the model"
                + ("" if self.group else " (name a --group to keep such records together)")
            )
        if self.on_bad == "drop":
            bad = joined.bad_rows(job.cells)
            job.train_rows, job.valid_rows = np.setdiff1d(job.train_rows, bad), np.setdiff1d(job.valid_rows, bad)

    def _store(self) -> Cache:
        """Where outputs of frozen parts are kept; several processes share it."""
        cache = self._cache_given or (Cache() if self.cache else Cache.off())
        cache.shared = True
        return cache

    def _learn(
        self, job: Job, labels: dict[str, np.ndarray], rows: np.ndarray, kept: Checkpoints, name: str = ""
    ) -> list[dict[str, float]]:
        """Train the network on these rows; what each epoch was like. A second training has a name: so its board lies apart."""
        place = Path(self.tensorboard) / name if self.tensorboard else None
        with job.talk.bar("training", job.plan.training.epochs) as advance, Board(place) as board:

            def log(epoch: dict[str, float]) -> None:
                advance(1, figures(epoch))
                board.write(epoch)

            history = train(
                job.network, job.views, labels, rows, job.valid_rows, options=job.plan.training,
                seed=self.seed, names=lambda row: self._name(job, row), measure=self._measure(job),
                log=log, kept=kept, left=self._left(job),
            )
        for name in history.skipped:
            job.talk.say(f"a batch with a loss that is not finite was skipped; its records: {name}")
        for remark in history.remarks:
            job.talk.say(remark)
        return history.epochs

    def _measure(self, job: Job) -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
        """(answers, rows) -> figures of a validation pass."""
        raise NotImplementedError

    def _tune(self, job: Job) -> None:
        """Train the towers that are to be tuned, from the frozen solution on."""
        left = self._left(job)
        if not job.tuned:
            return
        if left and left() <= 0:
            job.talk.say("the time limit leaves nothing for tuning: the frozen solution is kept")
            return
        prepared, given = {}, job.plan.training.regressions
        for view in job.tuned:
            with job.talk.bar(f"{view}: prepared", int(job.cells[view].present.sum())) as advance:
                prepared[view] = Prepared.of(job.encoders[view], job.cells[view], advance=advance)
        with job.talk.bar("tuning", job.plan.tuning.epochs) as advance:
            outcome = tune(
                job.network, job.views, prepared, job.labels, job.train_rows, job.valid_rows,
                judge=lambda views, given=given: self._verdict(job, views, given),
                options=job.plan.tuning, training=job.plan.training, seed=self.seed,
                names=lambda row: self._name(job, row), log=lambda epoch: advance(1, figures(epoch)),
                kept=job.kept.second(), left=left,
            )
        job.views, job.share, job.tuning = outcome.views, outcome.verdict.share, outcome.facts
        job.talk.say(outcome.sentence)

    def _verdict(self, job: Job, views: Views, given: float | None) -> Verdict:
        """What the network as it stands is worth on the validation records, with a given share of the rivals or its own."""
        raise NotImplementedError

    def _left(self, job: Job) -> Callable[[], float] | None:
        """Seconds that the time limit leaves; None without one."""
        limit = self.time_limit
        return None if limit is None else lambda: limit - (time.monotonic() - job.began)

    # --- reading what an answer is asked for -----------------------------------------------------

    def _cells(self, records: Records) -> dict[str, Cells]:
        check_common(records, self.schema_, self._aside())
        return read_cells(records, self.schema_)

    def _numbers(
        self, cells: Mapping[str, Cells], *, rivals: bool, memo: dict[Any, Any] | None = None
    ) -> tuple[Gathered, Any]:
        """Features and tokens of cells; ``memo`` is shared by several models that read the same ones."""
        n = next(iter(cells.values())).n
        worth = self.cache and n >= FEW_TO_CACHE
        talk = Talk(self.verbose and worth)
        encoders = dict(self.network_.encoders.encoders.items())
        cache = self._cache_given or (Cache() if worth else Cache.off())
        found = gather(
            encoders, self.plains_ if rivals else None, cells, cache, positions=self.network_.fusion.positions,
            bar=talk.bar, memo=memo,
        )
        views = found.views(dict(self.network_.encoders.conditions.items()))
        return found, encode(self.network_, views) if n else {}

    def _check_faults(self, cells: Mapping[str, Cells]) -> None:
        """Stop where the policy says so, table by table."""
        for table in zip(*(joined.each(mine) for mine in cells.values()), strict=True):
            judge_faults(table, on_bad=self.on_bad, max_bad=self.max_bad)

    def _to_judge(self, records: Records, cells: ViewCells, talk: Talk) -> np.ndarray:
        """Rows that are judged: not those of training, as the split column says, nor those that the policy drops."""
        rows, told = to_judge(records, self.split)
        if told:
            talk.say(told)
        return np.setdiff1d(rows, joined.bad_rows(cells)) if self.on_bad == "drop" else rows

    def _remarks(self, records: Records, cells: ViewCells) -> list[str]:
        """What a user should know of a table that an answer was asked for."""
        remarks = list(records.notes)
        aside = self._aside()
        if self.group and self.group not in records.names and set(aside) - {self.group, self.split} & set(records.names):
            remarks.append(f"{records.source} lacks the group column '{self.group}': intervals are over single records")
        remarks += column_remarks(records, self.schema_, aside)
        for mine in cells.values():
            if mine.outside:
                remarks.append(outside(mine))
        return remarks

    def _ready(self) -> None:
        if not hasattr(self, "network_"):
            raise NotFitted(f"this {self._noun} has learned nothing yet; call fit, or polysense.load a saved one")


def towers(encoders: Mapping[str, Encoder]) -> list[str]:
    """The views that are read by a pretrained network."""
    return [view for view, encoder in encoders.items() if encoder.tower]


def figures(epoch: Mapping[str, float]) -> str:
    """What is shown of an epoch beside the bar."""
    text = f"loss {epoch['loss']:.3f}"
    rest = {key.removeprefix("valid_"): value for key, value in epoch.items() if key.startswith("valid_")}
    loss = f"validation loss {rest.pop('loss'):.3f}, " if "loss" in rest else "validation "
    main = ("accuracy", "rmse", "mae", "micro_f1", "mrr", "token_accuracy", "ndcg_at_10")  # of several targets behind a name
    shown = [f"{words(key)} {value:.3f}" for key, value in rest.items() if key.rpartition(" ")[2] in main]
    return text + (f", {loss}{', '.join(shown)}" if shown else "")


def outside(cells: Cells) -> str:
    """A remark on files that the table would lose if it were moved."""
    return (
        f"column '{cells.name}': {counted(len(cells.outside), 'file')} outside the table's folder, "
        f"the first is {cells.outside[0]}; the table cannot be moved without them"
    )

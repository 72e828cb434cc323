"""The estimator that compares: views of a query <-> views of an item.

N records, V views of both sides, E width of the common space.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import finding, keep_match, processes
from .contracts import digest
from .data import joined
from .data.reading import Cells, read_cells
from .data.records import Records, as_records
from .data.splits import connected_groups, split
from .data.tables import VALID_SHARE, check_common, column_remarks, divide, groups_of, joined_groups
from .errors import BadOption, BadTable, memory_told
from .estimator import Estimator
from .hub import find_model
from .judge.facts import data_facts, fingerprint, made_facts
from .judge.match import DIRECTIONS, evaluate_pairs
from .keep_match import LearnedPairs, make_network
from .learn.begin_pairs import SIDES, begin_pairs, side_columns, sides_of
from .learn.blend import Share
from .learn.choose import full_name
from .learn.features import Encoded, Views, answer, encode
from .learn.gather import Gathered, fit_conditions
from .learn.job import Job
from .learn.joint import (
    SHARES,
    Judged,
    cross_entropies,
    has_both,
    joined_vectors,
    linear_vectors,
    pair_of,
    same_content,
    side_features,
)
from .learn.linear import MAPS, Linear, unit
from .learn.plan import fitting_options, named_views
from .learn.tune import Verdict
from .metrics.ranks import equal_error
from .network import Encoders
from .pairs import PairNetwork
from .talk import Talk, counted

#: Features of a tower up to this width are read whole: a comparison lives on what the main axes would leave out.
WIDEST = 4096
#: Validation pairs that a choice looks at, at most.
MOST = 2_000


class Matcher(Estimator):
    """Two sides of records in one space: what belongs together lies near.

    Any view may be missing in any record; a side without any has a vector of zeros. The linear map that does best on
    validation (ridge regression or canonical correlation) gives a share of the vectors, so that few records are no reason to
    fall behind it.

    Args:
        query: column of the side that asks, or several, as a list or with commas.
        item: column of the side that is found, likewise.
        columns: {column: kind} where the guess is to be overruled.
        views: {view: columns that form it together}, all of one side.
        fusion: name of a fusion of a side's views, see ``polysense list fusions``; not one that combines answers.
        encoders: {view: name of an encoder, or of an encoder with its tower ("text.pretrained:FOLDER"), or an own
            ``nn.Module``}; views left out get the default.
        options: {"match.loss": "sigmoid", "match.epochs": 20, "photo.pixels": 64, ...}, or nested dicts.
        group: column whose equal values belong together: never split, resampled as one.
        seed: of everything random.
        split: column that says train, valid or test for each record.
        on_bad: what to do with records that hold an unreadable cell: "error", "mask" or "drop".
        max_bad: share of unreadable cells of a column above which fit and evaluate stop.
        tune: views whose towers are trained too, or "all"; see ``Tuning`` for how.
        download: a hub id may be downloaded; otherwise nothing touches the network.
        cache: keep outputs of frozen encoders on disk.
        verbose: talk and progress bars on stderr.
        time_limit: seconds after which fit ends training, with what was learned until then.
        tensorboard: folder for TensorBoard files: loss, rate and validation figures of each epoch.

    Attributes:
        schema_: columns, kinds and reasons.
        sides_: {side: its views}.
        history_: one dict per epoch.
        linear_: the plain rivals.
        chosen_: what validation chose: ``share`` of the linear map, ``temperature``, ``thresholds``.
        data_report_, made_: what was found in the table, how it was made.
        valid_: evaluation on the validation records.

    >>> from polysense import demo
    >>> matcher = Matcher("text", "text_zh", options={"match.epochs": 2}).fit(demo.made_up(60))
    >>> matcher.embed(demo.made_up(3, seed=1), "item").shape[0]
    3
    """

    _noun = "matcher"

    def __init__(
        self, query: str | Sequence[str] | None = None, item: str | Sequence[str] | None = None, *,
        columns: Mapping[str, str] | None = None, views: Mapping[str, str | Sequence[str]] | None = None,
        fusion: str = "concat", encoders: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None,
        group: str | None = None, seed: int = 0, split: str | None = None, on_bad: str = "mask", max_bad: float = 0.2,
        tune: str | Sequence[str] | None = None, download: bool = False, cache: bool = True, verbose: bool = False,
        time_limit: float | None = None, tensorboard: str | Path | None = None,
    ) -> None:
        self.query = query
        self.item = item
        self.columns = columns
        self.views = views
        self.fusion = fusion
        self.encoders = encoders
        self.options = options
        self.group = group
        self.seed = seed
        self.split = split
        self.on_bad = on_bad
        self.max_bad = max_bad
        self.tune = tune
        self.download = download
        self.cache = cache
        self.verbose = verbose
        self.time_limit = time_limit
        self.tensorboard = tensorboard

    # --- learning --------------------------------------------------------------------------------

    def fit(
        self, records: Any, valid: Any = None, *, checkpoints: str | Path | None = None, resume: bool = False
    ) -> Matcher:
        """Learn from records, each of which holds a query and its item.

        Records that share a text, or any other content of a view, directly or through a third, count as right for each other.

        Args:
            records: path of a table, list of dicts, pandas frame, or ``Records``.
            valid: validation records, likewise. Otherwise a fifth of the training records, those that share content together.
            checkpoints: folder where an unfinished fit is kept, until ``save`` has written its matcher.
            resume: go on with the unfinished fit that lies there; the same bits come out (on the CPU, and without a time
                limit).

        Raises:
            BadTable, BadColumn, BadOption: what is wrong, where, and the cure.
            Interrupted: by Ctrl-C or SIGTERM in training, with ``checkpoints``, after one was written.
        """
        job = self._begin(records, valid)
        self._open_cells(job)
        self._divide(job)
        job.kept = self._kept(job, checkpoints, resume)
        work = f"matching {counted(len(job.train_rows), 'record')}"
        cure = "fewer records need less, and so do a smaller match.batch, match.members and match.dim"
        with memory_told(work, cure), job.kept:
            self._fit_encoders(job, named_views(self.encoders, sorted(job.cells)), job.plan.options, {})
            self._run_encoders(job, self._store())
            self._pair(job)
            self._train(job)
            self._tune(job)
            self._finish(job)
        return self

    def _begin(self, records: Any, valid: Any) -> Job:
        """Check the settings, open the tables, guess the columns of both sides."""
        talk, started, began = Talk(self.verbose), time.process_time(), time.monotonic()
        job = Job(*begin_pairs(self.get_params(deep=False), records, valid, talk.say), talk=talk, started=started, began=began)
        talk.say(job.schema.describe())
        job.sides = sides_of(job.schema, side_columns(self.get_params(deep=False)))
        for side in SIDES:
            talk.say(f"{side} side: {' + '.join(job.sides[side])}")
        with torch.random.fork_rng():  # made to be asked what it wants; the network makes its own
            job.positions = job.plan.fusion(job.sides["query"], job.plan.training.dim).positions
        job.targets = [value for table in job.tables for value in table.targets]
        return job

    def _divide(self, job: Job) -> None:
        """Number what belongs together; training and validation pairs."""
        job.labels = {"same": same_content(job.cells, job.sides)}
        present = np.stack([job.cells[view].present for view in sorted(job.cells)], 1)
        both = np.flatnonzero(has_both(present, sorted(job.cells), job.sides))
        alone, first = len(present) - len(both), job.tables[0]
        if alone:
            lack = "lacks a side and is" if alone == 1 else "lack a side and are"
            job.talk.say(f"{counted(alone, 'record')} {lack} left out")
        if len(both) < 2:
            there = counted(len(both), "record")
            raise BadTable(f"{first.records.source} holds {there} with both sides; two at least are needed")
        start = 0
        for table in job.tables:
            table.rows = both[(both >= start) & (both < start + len(table.records))] - start
            start += len(table.records)
        same = job.labels["same"]
        _, counts = np.unique(same[both], return_counts=True)
        if (shared := counts[counts > 1]).size:
            job.talk.say(
                f"{counted(int(shared.sum()), 'record')} share a text or other content with another (at most {shared.max():,} "
                "the same): they count as right for each other"
            )
        if self.split or len(job.tables) > 1:
            job.train_rows, job.valid_rows = divide(
                job.tables, split=self.split, group=self.group, seed=self.seed, say=job.talk.say
            )
            return
        groups = groups_of(first.records, self.group)
        keys = [[("same", same[row]), *([("group", groups[row])] if groups else [])] for row in both.tolist()]
        shares = (1 - VALID_SHARE, VALID_SHARE)
        job.train_rows, job.valid_rows = (
            both[part] for part in split([0] * len(both), shares, seed=self.seed, groups=connected_groups(keys))
        )
        job.talk.say(f"{counted(len(job.train_rows), 'record')} for training, {len(job.valid_rows):,} for validation")

    def _pair(self, job: Job) -> None:
        """What is left when unreadable cells are gone; the plain rivals learn from it."""
        both = has_both(job.found.present_NV, job.found.names, job.sides)
        job.train_rows, job.valid_rows = (rows[both[rows]] for rows in (job.train_rows, job.valid_rows))
        if not len(job.train_rows):
            raise BadTable(f"{job.tables[0].records.source} leaves no training record with both sides")
        if not len(job.valid_rows):
            job.talk.say("no record validates: there will be no scores, and nothing chooses the share of the linear map")
        rows = self._few(job)
        judge = Judged(job.labels["same"][rows])
        with job.talk.bar("linear maps", len(MAPS)) as advance:
            job.rivals = job.kept.stage("linear", lambda: Linear(job.sides).fit(
                job.found.plain, _present(job.found), job.train_rows, rows, judge, seed=self.seed, advance=advance,
            ), Linear.state, Linear.load)

    def _few(self, job: Job) -> np.ndarray:
        """Validation rows that choices look at."""
        rows = job.valid_rows
        return rows if len(rows) <= MOST else np.sort(np.random.default_rng(self.seed).choice(rows, MOST, replace=False))

    def _train(self, job: Job) -> None:
        """Train the network on the frozen features and the prepared cells."""
        conditions = fit_conditions(job.encoders, job.found, job.train_rows, WIDEST)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            job.network = make_network(Encoders(job.encoders, conditions), job.plan, job.sides)
        job.views = job.found.views(conditions)
        job.history = self._learn(job, job.labels, job.train_rows, job.kept)

    def _measure(self, job: Job) -> Any:
        def measure(answers: np.ndarray, rows: np.ndarray) -> dict[str, float]:
            rows, answers = rows[:MOST], answers[:MOST]
            judged, both = Judged(job.labels["same"][rows]), job.network.two(answers)
            return {"loss": float(judged.losses(*both).mean()), "mrr": judged(*both)}

        return measure

    def _verdict(self, job: Job, views: Views, given: float | None) -> Verdict:
        """What network and linear map are worth on validation, with the share of the linear map that has the least loss."""
        rows = self._few(job)
        judged, network, linear = self._two_ways(job, views, rows)
        given = job.plan.matching.linear if given is None else given
        losses = {share: judged.losses(*pair_of(network, linear, share)) for share in (SHARES if given is None else [given])}
        share = min(losses, key=lambda share: losses[share].mean())
        loss = float(losses[share].mean())
        return Verdict(loss, None, loss, Share(share, job.rivals.best), losses[share])

    def _two_ways(self, job: Job, views: Views, rows: np.ndarray) -> tuple[Judged, dict[str, Any], dict[str, Any]]:
        """The vectors of some rows by the network and by the best linear map."""
        said = answer(job.network, encode(job.network, views, rows), job.found.present_NV[rows])
        network = dict(zip(SIDES, job.network.two(said), strict=True))
        linear = linear_vectors(job.rivals, job.found, job.found.present_NV[rows], rows)
        return Judged(job.labels["same"][rows]), network, linear[job.rivals.best]

    def _finish(self, job: Job) -> None:
        """Choose the linear share, the temperature and the thresholds; judge the validation pairs."""
        network, rows = job.network.cpu().eval(), self._few(job)
        share = job.share.weight if job.share else self._share(job)
        chosen = {
            "share": share, "map": job.rivals.best, "maps": job.rivals.chosen, "temperature": _steepness(network),
            "thresholds": {},
        }
        self._accept(LearnedPairs(network, job.schema, job.plains, job.rivals, chosen, {
            "history": job.history,
            "data": data_facts(job.tables, job.schema, job.cells, job.train_rows, job.valid_rows, job.leaks)
            | {"sides": job.sides, "same": _shared(job.labels["same"][job.train_rows])},
            "made": made_facts(
                seed=self.seed, source=job.tables[0].records.source, training=job.plan.training, started=job.started
            ) | {"match": vars(job.plan.matching)} | ({"tuned": job.tuning} if job.tuning else {}),
            "valid": None,
        }))
        if share and len(rows):
            job.talk.say(f"the linear map ({job.rivals.best}) gives {share:.0%} of the vectors, the network the rest")
        if len(rows):
            self._settle(job, rows)
            groups = joined_groups(job.tables, self.group)
            self.valid_ = self._evaluation(
                job.found, encode(network, job.views, rows), rows, job.labels["same"][rows],
                None if groups is None else _numbered([groups[row] for row in rows]), 1000,
            )
        self.checkpoints_ = job.kept

    def _share(self, job: Job) -> float:
        given = job.plan.matching.linear
        if given is not None:
            return float(given)
        return self._verdict(job, job.views, None).share.weight if len(job.valid_rows) else 0.5

    def _settle(self, job: Job, rows: np.ndarray) -> None:
        """The temperature of zero-shot answers, and from which product on two things count as the same."""
        tokens = encode(self.network_, job.views, rows)
        both = self._vectors(tokens, job.found, job.found.present_NV[rows], rows)
        same = job.labels["same"][rows]
        self.chosen_["temperature"] = cross_entropies(both["query"] @ both["item"].T, same[:, None] == same)[0]
        groups = joined_groups(job.tables, self.group)
        known = same if groups is None else _numbered([groups[row] for row in rows])
        alike_NN, one_NN = same[:, None] == same, known[:, None] == known
        for one, other in (("query", "item"), ("query", "query"), ("item", "item")):
            scores = both[one] @ both[other].T
            if one == other:  # of one group or not; a thing beside itself says nothing
                pairs, wanted = one_NN | alike_NN, scores < 1 - 1e-6
            else:  # a record's own other side or not; of others of its group nobody knows
                pairs, wanted = alike_NN, alike_NN | ~one_NN
            if (pairs & wanted).any() and (~pairs & wanted).any():
                error, threshold = equal_error(scores[wanted], pairs[wanted])
                self.chosen_["thresholds"][f"{one}-{other}"] = {"threshold": threshold, "equal_error_rate": error}

    def _accept(self, learned: LearnedPairs) -> None:
        self.network_, self.schema_, self.plains_ = learned.network, learned.schema, learned.plains
        self.linear_, self.chosen_, self.sides_ = learned.linear, learned.chosen, learned.network.sides
        self.history_, self.data_report_ = learned.facts["history"], learned.facts["data"]
        self.made_, self.valid_ = learned.facts["made"], learned.facts["valid"]

    # --- vectors ---------------------------------------------------------------------------------

    def embed(self, records: Any, side: str = "item") -> np.ndarray:
        """(N, E) float32 vectors of length one of one side; zeros where the side is absent.

        A product of a query's and an item's vector is their likeness, from -1 to 1.

        Args:
            records: columns of the other side are not read.
            side: "query" or "item".

        Raises:
            BadOption: another side.
            BadTable: the records have none of its columns.
        """
        return self.embedded(records, side)[0]

    def embedded(self, records: Any, side: str) -> tuple[np.ndarray, list[dict[str, Any]], list[str]]:
        """What ``embed`` gives, the unreadable cells, and remarks for the user."""
        self._ready()
        records = as_records(self._dicts(records, side))
        cells = self._side_cells(records, side)
        found, tokens = self._numbers(cells, rivals=self.chosen_["share"] > 0)
        if not len(records):
            return np.zeros((0, self.width), np.float32), [], []
        vectors = self._vectors(tokens, found, found.present_NV, None, sides=(side,))[side]
        mine = {view: cells[view] for view in self.sides_[side]}
        known = [column for view in self.schema_.views for column in view.columns]
        remarks = column_remarks(records, self._side_schema(side), [*self._aside(), *known, *records.names])
        return vectors, joined.faults(mine), [*records.notes, *remarks]

    @property
    def width(self) -> int:
        """E of what ``embed`` gives."""
        share = self.chosen_["share"]
        return (self.network_.members.count * self.network_.width if share < 1 else 0) + (self.linear_.width if share else 0)

    def _dicts(self, records: Any, side: str) -> Any:
        """Records of which nothing is known at all are records."""
        _check_side(side)
        if isinstance(records, list) and records and not any(records):
            column = next(view for view in self.schema_.views if view.name in self.sides_[side]).columns[0]
            return [{column: None}] * len(records)
        return records

    def _side_schema(self, side: str) -> Any:
        """The schema of one side."""
        mine = {name for view in self.schema_.views if view.name in self.sides_[side] for name in view.columns}
        return type(self.schema_)(
            [column for column in self.schema_.columns if column.name in mine],
            {view: names for view, names in self.schema_.joined.items() if view in self.sides_[side]},
            {view: names for view, names in self.schema_.tables.items() if view in self.sides_[side]},
        )

    def _side_cells(self, records: Records, side: str) -> dict[str, Cells]:
        """Cells of all views; those of the other side are absent and never read."""
        known = [column.name for column in self.schema_.columns]
        check_common(records, self._side_schema(side), [*self._aside(), *known])
        cells = read_cells(records, self.schema_)
        for view, mine in cells.items():
            if view not in self.sides_[side]:
                mine.present = np.zeros_like(mine.present)
        return cells

    def _vectors(
        self, tokens: Encoded, found: Gathered, mask_NV: np.ndarray, rows: np.ndarray | None, sides: Sequence[str] = SIDES
    ) -> dict[str, np.ndarray]:
        """{side: (N, E)} of network and linear map; ``tokens`` and the mask are of ``rows`` of what was gathered."""
        share = self.chosen_["share"]
        both = {}
        said = self.network_.two(answer(self.network_, tokens, mask_NV)) if share < 1 else None
        linear = linear_vectors(self.linear_, found, mask_NV, rows, sides, (self.linear_.best,)) if share else None
        for side in sides:
            network = {side: said[SIDES.index(side)]} if said else {side: None}
            both[side] = joined_vectors(network[side], linear[self.linear_.best][side] if linear else None, share)
        return both

    def fingerprint(self) -> str:
        """Of all that decides about a vector; an index remembers whose vectors it holds."""
        self._ready()
        share = self.chosen_["share"]
        encoders = {view: encoder.fingerprint() for view, encoder in self.network_.encoders.encoders.items()}
        return digest([fingerprint(self.network_), encoders, share, self.linear_.state() if share else None])

    # --- judging ---------------------------------------------------------------------------------

    def evaluate(self, records: Any, *, samples: int = 1000) -> dict[str, Any]:
        """Both directions with intervals, beside the plain rivals and chance.

        Args:
            samples: bootstrap resamples.

        Returns:
            The dict that ``polysense evaluate --json`` writes.

        Raises:
            BadTable: more than ``max_bad`` of a column's cells cannot be read.
        """
        self._ready()
        talk, records = Talk(self.verbose), as_records(records)
        cells = self._cells(records)
        found, tokens = self._numbers(cells, rivals=True)
        self._check_faults(cells)
        for remark in self._remarks(records, cells):
            talk.say(remark)
        rows = self._to_judge(records, cells, talk)
        groups, bad = groups_of(records, self.group), joined.faults(cells)
        talk.bad_cells(bad, len(records))
        result = self._evaluation(
            found, tokens.only(rows) if len(rows) else tokens, rows, same_content(cells, self.sides_)[rows],
            None if groups is None else _numbered([groups[row] for row in rows]), samples,
        )
        return result | {"bad_cells": bad}

    def _evaluation(
        self, found: Gathered, tokens: Any, rows: np.ndarray, same_N: np.ndarray, groups: np.ndarray | None, samples: int
    ) -> dict[str, Any]:
        """Judge the given rows; ``tokens`` are of these rows, ``found`` is of all."""
        present = found.present_NV[rows]

        def network(mask: np.ndarray) -> dict[str, np.ndarray]:
            return dict(zip(SIDES, self.network_.two(answer(self.network_, tokens, mask)), strict=True))

        return evaluate_pairs(
            lambda mask: self._vectors(tokens, found, mask, rows), present, same_N, views=found.names, sides=self.sides_,
            network=network if self.chosen_["share"] else None, rivals=self._rivals(found, present, rows) if len(rows) else {},
            groups=groups, samples=samples, seed=self.seed,
        )

    def _rivals(self, found: Gathered, present: np.ndarray, rows: np.ndarray) -> dict[str, dict[str, Any]]:
        """{rival: {direction: (who asks, what is looked among)}}."""
        made = linear_vectors(self.linear_, found, present, rows)
        plain = {side: side_features(self.linear_, side, found, present, rows) for side in SIDES}
        rivals: dict[str, dict[str, Any]] = {"ridge": {}, "cca": {}, "nearest": {}}
        for name, (asking, among) in DIRECTIONS.items():
            ridge = made["ridge" if asking == "query" else "ridge_back"]
            rivals["ridge"][name] = ridge[asking], ridge[among]
            rivals["cca"][name] = made["cca"][asking], made["cca"][among]
            rivals["nearest"][name] = self.linear_.nearest(asking, plain[asking], among), unit(plain[among])
        return rivals

    def report(self, evaluation: Mapping[str, Any], records: Any, title: str = "", lang: str = "en") -> str:
        """An evaluation as one HTML page without outside resources.

        Args:
            evaluation: what ``evaluate`` returned.
            records: the same records.
            title: heading.
            lang: en or zh.

        Raises:
            BadOption: the report does not speak this language.
        """
        from .judge.match_page import html

        return html(evaluation, title=title, lang=lang, source=as_records(records).source, made=self.made_, chosen=self.chosen_)

    # --- finding ---------------------------------------------------------------------------------

    def index(
        self, records: Any, folder: str | Path, *, side: str = "item", add: bool = False, server: str | None = None
    ) -> finding.Indexed:
        """Put one side of records into an index in a folder, with their ids and all their columns.

        Records without any view of the side have no vector and are left out, which the answer counts.

        Args:
            folder: a new one, or of an index of this matcher, which is replaced.
            side: that is to be found.
            add: to what is there; equal ids are replaced.
            server: URL of a Qdrant server with the collection's name as its path; the vectors lie there, the folder
                remembers where.

        Raises:
            BadIndex: something else stands there, or vectors of another matcher.
        """
        return finding.index(self, as_records(self._dicts(records, side)), Path(folder), side=side, add=add, server=server)

    def unindex(self, records: Any, folder: str | Path, *, side: str = "item") -> int:
        """Take the ids of records out of an index; how many there were."""
        return finding.unindex(self, as_records(records), Path(folder), side=side)

    def search(
        self, records: Any, among: Any, k: int = 10, *, side: str = "item", strict: bool = False
    ) -> list[list[dict[str, Any]]]:
        """The k nearest of one side for each record's other side, the nearest first.

        Args:
            records: whose other side asks.
            among: folder of an index of this matcher, or records.
            side: that is looked among.
            strict: refuse a record without any readable view of the side that asks.

        Returns:
            For each record a list of dicts: rank, id, score (from -1 to 1) and the columns of what was found; empty where a
            record has no view of the side that asks.

        Raises:
            BadIndex: none, damaged, or of another matcher.
            BadRecord: with ``strict``, a record that has nothing to ask with; the sentence says why.

        >>> from polysense import demo
        >>> matcher = Matcher("text", "text_zh", options={"match.epochs": 2}).fit(demo.made_up(60))
        >>> [hit["rank"] for hit in matcher.search([{"text": "wet street"}], demo.made_up(30), k=3)[0]]
        [1, 2, 3]
        """
        return finding.search(self, self._dicts(records, _other(side)), among, k, side=side, strict=strict)

    def asked(self, given: Mapping[str, Any], side: str = "item") -> list[dict[str, Any]]:
        """The record that a text, a picture, a sound or columns ask with; see ``finding.asked``."""
        return finding.asked(self, given, _other(side))

    def ids(self, records: Any) -> list[str]:
        """(N,) names of records: their column of ids, or the rows' numbers."""
        return finding.ids(as_records(records))[0]

    def classify(
        self, records: Any, texts: Sequence[str], *, templates: Sequence[str] = ("{}",), view: str | None = None
    ) -> np.ndarray:
        """(N, C) probabilities that records go with each of some texts that training need not have seen.

        Softmax of temperature times cosine, the temperature learned on validation (zero-shot classification: Radford et al.
        2021, arXiv:2103.00020, section 3.1). A record without any view of its side gets equal probabilities.

        Args:
            records: of the side that is not the texts'.
            texts: the C classes in words.
            templates: sentences in which each is put at {}; the mean of their vectors is taken.
            view: text view that reads them, where there are several.

        Raises:
            BadOption: no text view, several, or a template without {}.
        """
        return finding.classify(self, records, texts, templates, view)

    def verify(
        self, left: Any, right: Any = None, same: Sequence[bool] | None = None, *, sides: tuple[str, str] = ("query", "item"),
        groups: Sequence[Any] | None = None, samples: int = 1000,
    ) -> dict[str, Any]:
        """Whether pairs of records belong together: faces, speakers.

        Args:
            left: N records, whose side ``sides[0]`` is read.
            right: N records, whose side ``sides[1]`` is read; the same records if None.
            same: (N,) the truth, for ROC and equal error rate.
            groups: (N,) labels over which the bootstrap draws.

        Returns:
            ``scores`` (N,), ``accepted`` (N,) at the ``threshold`` that validation chose (None without one: no pairs of this
            kind validated); with the truth ``pairs``, ``equal_error_rate``, ``auroc``, ``false_accept``, ``false_reject``
            with intervals, and ``roc``. A side without any view scores 0 and is never accepted.

        Raises:
            BadTable: left and right differ in length.
        """
        return finding.verify(self, left, right, same, sides, groups, samples)

    # --- keeping ---------------------------------------------------------------------------------

    def save(self, folder: str | Path, *, with_towers: bool = False) -> None:
        """Write the matcher folder: JSON, safetensors and tokenizer files, each with its hash.

        Args:
            with_towers: copy the towers in, so that the folder answers on a machine without them.

        Raises:
            Mistake: the folder holds something other than a model.
            CannotWrite: disk full or no permission; what stood there is untouched.
        """
        self._ready()
        facts = {"history": self.history_, "data": self.data_report_, "made": self.made_, "valid": self.valid_}
        learned = LearnedPairs(self.network_, self.schema_, self.plains_, self.linear_, self.chosen_, facts)
        recipe = self._recipe()
        processes.from_first(lambda: keep_match.save(Path(folder), recipe, learned, with_towers=with_towers))
        if hasattr(self, "checkpoints_"):
            self.checkpoints_.remove()

    def _recipe(self) -> dict[str, Any]:
        """The settings that make this matcher again."""
        settings = self._settings()
        named = {view: full_name(encoder) for view, encoder in self.network_.encoders.encoders.items()}
        sides = {side: list(names) for side, names in side_columns(settings).items()}
        return settings | sides | {"encoders": named, "options": fitting_options(settings["options"], named)}

    @classmethod
    def load(
        cls, folder: str | Path, encoders: Mapping[str, torch.nn.Module] | None = None, *, download: bool = False
    ) -> Matcher:
        """Read a matcher folder that ``save`` wrote.

        Args:
            folder: or an id of the Hugging Face Hub, looked up in its cache on this machine.
            encoders: own modules, for the views that were trained with one.
            download: an id that is not in the cache may be downloaded; otherwise nothing touches the network.

        Raises:
            BadModel: damaged, foreign, a model that answers, or trained with another tower.
        """
        recipe, learned = keep_match.load(find_model(folder, fetch=download), encoders)
        self = cls(**recipe)
        self._accept(learned)
        for encoder in self.network_.encoders.encoders.values():
            encoder.download = download  # a tower that is named by its id
        return self


def _present(found: Gathered) -> dict[str, np.ndarray]:
    return {view: found.present_NV[:, i] for i, view in enumerate(found.names)}


def _steepness(network: PairNetwork) -> float:
    """The learned steepness of the loss, mean of the members."""
    state = network.members.state_of()
    return float(state["contrast.steepness"].detach().exp().clamp(max=100.0).mean())


def _shared(same_N: np.ndarray) -> dict[str, int]:
    _, counts = np.unique(same_N, return_counts=True)
    return {"records": int(counts[counts > 1].sum()), "largest": int(counts.max(initial=0))}


def _numbered(names: Sequence[Any]) -> np.ndarray:
    """Equal names, equal numbers."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], int)


def _other(side: str) -> str:
    _check_side(side)
    return SIDES[1 - SIDES.index(side)]


def _check_side(side: str) -> None:
    if side not in SIDES:
        raise BadOption(f"side={side!r} must be 'query' or 'item'")

"""The estimator that recommends: what a user has taken -> what comes next, among items described by any views.

U users, I items, B users of a call, M members, E width of the space.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import keep_recommend, processes
from .data import joined
from .data.cache import Cache
from .data.interactions import Histories, item_numbers, name_of, read_interactions
from .data.reading import ViewCells
from .data.records import Records, as_records
from .data.rows import whole
from .data.schema import guess
from .data.tables import Table, column_of
from .data.values import is_empty
from .errors import BadOption, BadTable, memory_told
from .estimator import Estimator
from .hub import find_model
from .judge.facts import data_facts, made_facts
from .judge.gallery import with_cells
from .judge.recommended import blocks, judge_recommendations
from .keep import fitted_again, fitted_parts
from .keep_recommend import make_network, rivals_again, rivals_state
from .learn.choose import choose_encoders, full_name
from .learn.features import answer, encode
from .learn.foretell import Foretold, Judging, log_share, scored, verdict, worth
from .learn.gather import Gathered, fit_conditions, gather
from .learn.job import Job
from .learn.neighbours import CANDIDATES, Contents, Popularity, matrix
from .learn.plan import AUTO, MATCH, Plan, check_settings, named_views
from .learn.recommending import Recommending
from .learn.resume import content
from .learn.shares import choose, mixed, standard
from .learn.training import Training, Tuning
from .learn.tune import Verdict
from .metrics.ranks import per_query, places
from .network import Encoders
from .registry import modalities, options_of, suggest
from .talk import Talk, counted

#: Items that encoders are fitted on, at most: above it the default of a view would be trained from scratch.
FEW = 4_999
#: Users on whom validation chooses, at most.
JUDGED = 2_000


@dataclass
class Catalogue:
    """All items that can be recommended.

    Attributes:
        ids: I names.
        counts_I: how often each is taken in training; 0 of a new one.
        vectors_MIE: as the network sees them, known ones with vectors of their own.
        bare_MIE: from their views alone.
        features_IP: what the neighbours by content compare.
    """

    ids: list[str]
    counts_I: np.ndarray
    vectors_MIE: torch.Tensor
    bare_MIE: torch.Tensor
    features_IP: np.ndarray

    @property
    def known_I(self) -> np.ndarray:
        """(I,) bool: taken in training."""
        return self.counts_I > 0

    def joined(self, other: Catalogue) -> Catalogue:
        """With other items behind these."""
        return Catalogue(
            self.ids + other.ids, np.concatenate([self.counts_I, other.counts_I]),
            torch.cat([self.vectors_MIE, other.vectors_MIE], 1), torch.cat([self.bare_MIE, other.bare_MIE], 1),
            np.concatenate([self.features_IP, other.features_IP]),
        )


@dataclass
class TasteJob(Job):
    """One fit of a recommender; the records are the items.

    Attributes:
        taken, later: interactions, and those that validate if they come apart.
        ids: I names.
        whole, histories: of all interactions, and those of training.
        right: {user: what was taken afterwards}.
        counts_I: how often each item is taken in training.
        judging: users on whom validation chooses.
    """

    how: Recommending = None
    taken: Records = None
    later: Records | None = None
    ids: list[str] = None
    whole: Histories = None
    histories: Histories = None
    right: dict[int, np.ndarray] = None
    counts_I: np.ndarray = None
    judging: Judging = None


class Recommender(Estimator):
    """Recommends items to users from what they have taken, new items too.

    An item is described by its views (pictures, texts, sounds, numbers, categories), of which any may be missing; one that was
    taken in training has a vector of its own besides, which training hides half of the time, so that a new item is understood
    by its views. A user is the history of items pooled by attention, the latest first, so a user who was not there in training
    is answered alike; one without a history gets what is popular. Beside the network stand four plain recommenders
    (popularity, item-kNN, a factorisation, content-kNN); they have shares in the answer, chosen on validation, and are judged
    beside it.

    Args:
        user, item: columns of the interactions; ``item`` is the id in the items table too.
        time: column that orders each history; without one the table's order does.
        weight: column of numbers above 0, how much an interaction counts for the plain recommenders.
        split: what validates: "last" (each user's last item) or "time" (the last tenth of all interactions).
        columns, views, fusion, encoders: of the items, as of a ``Model``.
        options: {"recommend.epochs": 20, "fusion.heads": 2, "photo.pixels": 64, ...}; see ``Recommending``.
        tune: views whose towers are trained too, or "all"; see ``Tuning`` for how.
        seed: of everything random.
        on_bad: what to do with unreadable cells of items: "error" or "mask".
        max_bad: share of unreadable cells of a column, and of interactions that cannot be used, above which fit stops.
        download, cache, verbose: as of a ``Model``.
        time_limit: seconds after which fit ends training, with what was learned until then.
        tensorboard: folder for TensorBoard files: loss, rate and validation figures of each epoch.

    Attributes:
        valid_: evaluation on the validation interactions; the shares were chosen there.
        shares_: {"known": {recommender: share}, "new": ...}.
        history_: one dict per epoch.
        data_report_, made_: what was found in the items table, how it was made.

    >>> items = [{"item": f"i{n}", "colour": ["red", "blue"][n % 2], "size": n} for n in range(12)]
    >>> taken = [{"user": u, "item": f"i{(u % 2 + 2 * k) % 12}"} for u in range(30) for k in range(u % 3 + 2)]
    >>> mine = Recommender(options={"recommend.epochs": 2}).fit(taken, items)
    >>> [len(one) for one in mine.recommend(["3", "nobody"], k=4)]
    [4, 4]
    """

    _noun = "recommender"
    catalogue_of = Catalogue

    def __init__(
        self, user: str = "user", item: str = "item", *, time: str | None = None, weight: str | None = None,
        split: str = "last", columns: Mapping[str, str] | None = None, views: Mapping[str, str | Sequence[str]] | None = None,
        fusion: str = "concat", encoders: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None,
        seed: int = 0, on_bad: str = "mask", max_bad: float = 0.2, tune: str | Sequence[str] | None = None,
        download: bool = False, cache: bool = True, verbose: bool = False, time_limit: float | None = None,
        tensorboard: str | Path | None = None,
    ) -> None:
        self.user = user
        self.item = item
        self.time = time
        self.weight = weight
        self.split = split
        self.columns = columns
        self.views = views
        self.fusion = fusion
        self.encoders = encoders
        self.options = options
        self.seed = seed
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
        self, interactions: Any, items: Any, valid: Any = None, *, checkpoints: str | Path | None = None, resume: bool = False
    ) -> Recommender:
        """Learn from interactions and the items' table.

        Args:
            interactions: path of a table, list of dicts, frame, or ``Records``.
            items: likewise, one row for each item; interactions with others are left out.
            valid: later interactions that validate; otherwise some of the given ones, see ``split``.
            checkpoints: folder where an unfinished fit is kept, until ``save`` has written its recommender.
            resume: go on with the unfinished fit that lies there; the same bits come out (on the CPU, and without a time
                limit).

        Raises:
            BadTable, BadColumn, BadOption: what is wrong, where, and the cure.
            LossNotFinite: training diverged.
            Interrupted: by Ctrl-C or SIGTERM in training, with ``checkpoints``, after one was written.
        """
        job = self._begin(interactions, items, valid)
        self._open_cells(job)
        job.kept = self._kept(job, checkpoints, resume)
        work = f"learning from {counted(len(job.taken), 'interaction')}"
        with memory_told(work, "fewer items or a smaller recommend.dim need less"), job.kept:
            self._fit_encoders(job, named_views(self.encoders or {}, sorted(job.cells)), job.plan.options, {})
            self._run_encoders(job, self._store())
            self._fit_rivals(job)
            self._train(job)
            self._tune(job)
            self._finish(job)
        return self

    def _begin(self, interactions: Any, items: Any, valid: Any) -> TasteJob:
        """Check the settings, open the tables, guess the items' columns, divide the histories."""
        talk, started, began = Talk(self.verbose), time.process_time(), time.monotonic()
        how, plan = self._planned()
        taken, records = as_records(interactions), as_records(items)
        later = None if valid is None else as_records(valid)
        numbers = item_numbers(records, self.item)
        whole = self._read(taken, numbers, talk)
        train, right = self._held_out(whole, later, numbers, talk)
        counts_I = Popularity().fit(matrix(train.items, train.weights, len(numbers))).counts_I
        talk.say(
            f"learning from {sum(map(len, train.items)):,} interactions of {counted(len(train.users), 'user')} with "
            f"{int((counts_I > 0).sum()):,} of {counted(len(numbers), 'item')}; {counted(len(right), 'user')} validate"
        )
        schema = guess(records, declared=dict(self.columns or {}), exclude=[self.item], views=self.views)
        if not schema.views:
            raise BadTable(
                f"{records.source} has no column that describes an item, besides '{self.item}'; add a name, a picture, numbers"
            )
        talk.say(schema.describe())
        modality = {view.name: view.modality for view in schema.views}
        plan.check_views(list(modality))
        plan.check_encoders(self.encoders or {}, modality)
        with torch.random.fork_rng():  # made to be asked what it wants; the network makes its own
            positions = plan.fusion(sorted(modality), how.dim).positions
        rows = np.arange(len(records))
        if len(rows) > FEW:
            rows = np.sort(np.random.default_rng(self.seed).choice(rows, FEW, replace=False))
        table = Table(records, [0] * len(records), np.arange(len(records)))
        judged = _some(right, self.seed)
        judging = Judging([train.items[u] for u in judged], np.array([right[u][0] for u in judged], int), counts_I > 0)
        return TasteJob(
            plan, [table], schema, MATCH, [], {}, talk, started, began, positions, rows, np.zeros(0, int),
            targets=table.targets, how=how, taken=taken, later=later, ids=list(numbers), whole=whole, histories=train,
            right=right, counts_I=counts_I, judging=judging,
        )

    def _planned(self) -> tuple[Recommending, Plan]:
        """The options, checked before any data is read."""
        settings = self.get_params(deep=False)
        check_settings(settings | {"group": None, "target": None, "task": None, "quality": "balanced", "split": None})
        for name in ("user", "item"):
            if not isinstance(settings[name], str) or not settings[name]:
                raise BadOption(f"{name}={settings[name]!r} must be the name of a column")
        if self.split not in ("last", "time"):
            raise BadOption(f"split='{self.split}' must be 'last' or 'time'")
        if self.on_bad == "drop":
            raise BadOption("on_bad='drop' would leave items out that may be asked for; say 'mask' or 'error'")
        for view, name in (self.encoders or {}).items():
            if isinstance(name, str) and name == AUTO:
                why = "lets an answer's validation choose, and a recommender has none"
                raise BadOption(f"{view}={AUTO} {why}; name an encoder")
        own, training, rest = {}, {}, {}
        for key, value in (self.options or {}).items():
            section, dot, name = key.partition(".")
            if section in ("match", "auto", "task"):
                raise BadOption(f"a recommender has no option '{key}'; its own are recommend.epochs and others")
            if section in ("recommend", "train"):
                (own if section == "recommend" else training).update({name: value} if dot else dict(value))
            else:
                rest[key] = value
        for section, given, known in (
            ("recommend", own, list(options_of(Recommending))), ("train", training, list(options_of(Training))),
        ):
            for name in given:
                if name not in known:
                    raise BadOption(f"there is no option '{section}.{name}'; {suggest(name, known, f'{section}.')}")
        how, plan = Recommending(**own), Plan.of(self.fusion, MATCH, rest)
        return how, replace(
            plan, training=how.training(training), options=plan.options | {"train": training}, matching=None
        )

    def _aside(self) -> tuple[str | None, ...]:
        return (self.item,)

    def _unfinished_facts(self, job: TasteJob) -> dict[str, Any]:
        facts = super()._unfinished_facts(job)
        facts["settings"] |= {f"recommend.{name}": value for name, value in vars(job.how).items()}
        facts["records"] += [content(table) for table in (job.taken, job.later) if table is not None]
        return facts

    def _name(self, job: TasteJob, row: int) -> str:
        return f"user '{job.histories.users[job.views.user_E[row]]}'"

    def _read(self, records: Records, numbers: Mapping[str, int], talk: Talk, least: int = 2) -> Histories:
        found = read_interactions(
            records, numbers, user=self.user, item=self.item, time=self.time, weight=self.weight, max_bad=self.max_bad,
            least=least,
        )
        for note in found.notes:
            talk.say(note)
        return found

    def _held_out(
        self, whole: Histories, later: Records | None, numbers: Mapping[str, int], talk: Talk
    ) -> tuple[Histories, dict[int, np.ndarray]]:
        """Histories of training, and {user: what was taken afterwards}."""
        if later is not None:
            next_ = self._read(later, numbers, talk, least=1)
            place = {name: u for u, name in enumerate(whole.users)}
            found = zip(next_.users, next_.items, strict=True)
            right = {place[name]: np.setdiff1d(mine, whole.items[place[name]]) for name, mine in found if name in place}
            train, right = whole, {u: mine for u, mine in right.items() if len(mine)}
        else:
            train, right = whole.without_last() if self.split == "last" else whole.before(0.1)
        if not any(len(mine) > 1 for mine in train.items):
            raise BadTable(
                "no user has two interactions to learn from, the one that validates aside; what comes after what cannot be "
                "learned: give longer histories, or later interactions that validate (--valid TABLE)"
            )
        single = sum(len(mine) < 2 for mine in whole.items)
        if single:
            talk.say(f"{counted(single, 'user')} with a single interaction: it counts for what is popular, and tells no order")
        if not right:
            talk.say("no interaction validates: the network answers alone")
        return train, right

    def _run_encoders(self, job: TasteJob, cache: Cache) -> None:
        """Run every frozen part once; what content-kNN compares, where an encoder learns, is made by a plain one."""
        job.found = gather(job.encoders, None, job.cells, cache, positions=job.positions, bar=job.talk.bar)
        self._check_faults(job.cells)
        job.talk.bad_cells(joined.faults(job.cells), len(job.targets))
        job.leaks = {}
        learning = {view: cells for view, cells in job.cells.items() if not job.encoders[view].frozen}
        named = {view: modalities[cells.view.modality].small for view, cells in learning.items()}
        plain = job.kept.stage("contents", lambda: choose_encoders(
            named, {}, learning, job.train_rows, seed=self.seed, download=False, say=lambda text: None,
            check=lambda: None, reasons={},
        ), fitted_parts, lambda parts: fitted_again(parts, {}))
        conditions = fit_conditions(plain, gather(plain, None, learning, cache, bar=job.talk.bar), job.train_rows)
        self.contents_ = Encoders(plain, conditions)

    def _content(self, cells: ViewCells, found: Gathered, cache: Cache) -> np.ndarray:
        """(I, P) what the neighbours by content compare: every view's numbers, of like weight."""
        own, parts = self.network_.encoders, []
        for view, encoder in sorted(own.encoders.items()):
            if view in self.contents_.encoders or not encoder.frozen:  # learned, or tuned: then as it was before
                asked, condition = (
                    (self.contents_.encoders[view], self.contents_.conditions[view]) if view in self.contents_.encoders
                    else (encoder.original(), own.conditions[view])
                )
                mine, bar = {view: cells[view]}, Talk(False).bar
                block = gather({view: asked}, None, mine, cache, bar=bar).views({view: condition}).frozen[view]
            else:
                block = found.views(dict(own.conditions.items())).frozen[view]
            values = np.nan_to_num(whole(block))
            if values.ndim == 3:
                there_IT = ~np.isnan(whole(block)[..., 0])
                values = values.sum(1) / np.maximum(1, there_IT.sum(1, keepdims=True))
            values[~cells[view].present] = 0.0
            parts.append(values / values.shape[-1] ** 0.5)
        return np.concatenate(parts, 1).astype(np.float32)

    def _fit_rivals(self, job: TasteJob) -> None:
        """The plain recommenders, their settings chosen on validation."""
        taken_UI = matrix(job.histories.items, job.histories.weights, len(job.ids))
        judging = job.judging

        def make() -> dict[str, Any]:
            made: dict[str, Any] = {"popularity": Popularity().fit(taken_UI)}
            for name, candidates in CANDIDATES.items():
                best = -1.0
                asked = candidates if len(judging.histories) else candidates[:1]
                with job.talk.bar(name, len(asked)) as advance:
                    for cls, options in asked:
                        one = cls(**options).fit(taken_UI)
                        gain = judging.gains(one.scores(judging.histories)).mean() if len(judging.histories) else 0.0
                        if gain > best:
                            best, made[name] = gain, one
                        advance(1)
            return made

        self.rivals_ = job.kept.stage("rivals", make, rivals_state, rivals_again)

    def _train(self, job: TasteJob) -> None:
        """Train the network on the frozen features and the prepared cells; from here on rows are examples."""
        conditions = fit_conditions(job.encoders, job.found, job.train_rows)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            job.network = make_network(Encoders(job.encoders, conditions), job.plan, job.how, int(job.judging.known_I.sum()))
        views, how = job.found.views(conditions), job.how
        job.views = Foretold(
            views.names, views.present_NV, views.frozen, views.prepared, histories=job.histories.items, counts_I=job.counts_I,
            candidates=how.candidates, history=how.history, fresh=how.fresh,
        )
        job.labels = {"right": job.views.right_E}
        job.train_rows = np.arange(len(job.views.right_E))
        job.valid_rows = job.views.known if len(job.judging.histories) else job.valid_rows
        training = how.training(job.plan.options["train"], len(job.train_rows))
        job.plan = replace(job.plan, training=training)
        self._remember(job, list(views.prepared))
        job.history = self._learn(job, job.labels, job.train_rows, job.kept)
        job.network.remember({})

    def _remember(self, job: TasteJob, learning: list[str]) -> None:
        tokens = encode(job.network, job.views) if learning else {}
        job.network.remember({view: tokens[view] for view in learning})

    def _measure(self, job: TasteJob) -> Any:
        def measure(answers: np.ndarray, rows: np.ndarray) -> dict[str, float]:
            found = float(worth(job.network, job.views, answers, rows, job.judging)["known"].mean())
            return {"loss": 1 - found, "ndcg_at_10": found}

        return measure

    def _tune(self, job: TasteJob) -> None:
        """Towers move too; ``tune.batch`` says how many items a step reads, the examples of a step are as many as before."""
        if not job.tuned:
            return
        job.views = replace(job.views, fresh=job.plan.tuning.batch)
        told = dict(job.plan.options["tune"]) | {"batch": job.plan.training.batch}
        plan, job.plan = job.plan, replace(job.plan, tuning=Tuning(**told))
        self._remember(job, [*job.views.prepared, *job.tuned])
        super()._tune(job)
        job.network.remember({})
        job.plan = plan
        if job.tuning:
            job.tuning["options"] = vars(plan.tuning)

    def _verdict(self, job: TasteJob, views: Foretold, given: float | None) -> Verdict:
        return verdict(job.network, views, job.valid_rows, job.judging)

    def _finish(self, job: TasteJob) -> None:
        """The catalogue, the shares in the answer, and what validation says."""
        self.network_, self.schema_ = job.network.cpu().eval(), job.schema
        bare = answer(self.network_, encode(self.network_, job.views), job.views.present_NV)
        self.catalogue_ = Catalogue(
            job.ids, job.counts_I, self.network_.vectors(bare, job.views.own_I), self.network_.vectors(bare),
            self._content(job.cells, job.found, self._store()),
        )
        self._choose(job)
        self.users_ = dict(zip(job.whole.users, job.whole.items, strict=True))
        asked, right = [job.histories.items[u] for u in job.right], list(job.right.values())
        self.valid_ = self._judged(asked, right, self.catalogue_, 1000) if right else None
        self.history_ = job.history
        rows = np.arange(len(job.ids))
        self.data_report_ = data_facts(job.tables, job.schema, job.cells, rows, job.valid_rows[:0], {})
        self.made_ = made_facts(
            seed=self.seed, source=job.taken.source, training=job.plan.training, started=job.started
        ) | {
            "recommend": vars(job.how), "items": job.tables[0].records.source,
            "interactions": sum(map(len, job.whole.items)), "users": len(job.whole.users),
            "known items": int(job.judging.known_I.sum()), "all items": len(job.ids), "notes": job.whole.notes,
        } | ({"tuned": job.tuning} if job.tuning else {})
        self.checkpoints_ = job.kept

    def _choose(self, job: TasteJob) -> None:
        """Shares of the plain recommenders in the answer: for known items, and for new ones, which only views describe."""
        alone = {"network": 1.0}
        self.shares_ = {"known": alone, "new": alone}
        judging, all_ = job.judging, self.catalogue_
        if not job.how.mix or not len(judging.histories):
            return
        parts = self._parts(judging.histories, all_)
        self.shares_["known"] = choose(parts, judging.right_B, judging.open_BI)
        bare = standard(scored(self.network_, all_.vectors_MIE, all_.bare_MIE, judging.histories), all_.known_I)
        chosen = choose({"network": bare, "content_knn": parts["content_knn"]}, judging.right_B, judging.open_BI)
        # no item is new here, and the network has seen these: so what was chosen counts only half
        self.shares_["new"] = {name: chosen.get(name, 0.0) / 2 + 0.25 for name in ("network", "content_knn")}
        for kind, shares in self.shares_.items():
            said = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
            job.talk.say(f"shares in the answer, {kind} items: {said}")

    # --- answering -------------------------------------------------------------------------------

    def _parts(self, histories: Sequence[np.ndarray], all_: Catalogue) -> dict[str, np.ndarray]:
        """{recommender: (B, I) standardised scores}; of a new item those that only know interactions say 0, the mean."""
        known, first = all_.known_I, len(self.catalogue_.ids)
        network = scored(self.network_, all_.vectors_MIE, all_.vectors_MIE, histories) + log_share(all_.counts_I)
        parts = {"network": standard(network, known)}
        old = [mine[mine < first] for mine in histories]
        for name, rival in self.rivals_.items():
            scores = np.zeros((len(histories), len(all_.ids)), np.float32)
            scores[:, :first] = rival.scores(old)
            parts[name] = np.where(known, standard(scores, known), 0.0).astype(np.float32)
        parts["content_knn"] = standard(Contents(all_.features_IP).scores(histories), known)
        nothing = [b for b, mine in enumerate(histories) if not len(mine)]
        for name in parts:  # without a history there is only what is popular
            parts[name][nothing] = parts["popularity"][nothing]
        return parts

    def _all(self, histories: Sequence[np.ndarray], all_: Catalogue) -> dict[str, np.ndarray]:
        """{recommender: (B, I)}, the mixture first."""
        parts = self._parts(histories, all_)
        parts = {name: parts[name] for name in ("network", "popularity", "item_knn", "factors", "content_knn")}
        known, new = (mixed(parts, self.shares_[kind]) for kind in ("known", "new"))
        return {"recommender": np.where(all_.known_I, known, new), **parts}

    def recommend(
        self, users: Sequence[Any] | None = None, *, histories: Sequence[Sequence[Any]] | None = None, k: int = 10,
        items: Any = None, seen: bool = False,
    ) -> list[list[tuple[str, float]]]:
        """The k best items of each user, the best first, with scores.

        Args:
            users: names; of one who is not known what is popular.
            histories: ids that each has taken, the oldest first, in place of what is known of the user.
            items: a table of further items, which may be recommended too.
            seen: recommend what was taken already as well.

        Raises:
            BadTable: a history names an item that is in no table.
        """
        self._ready()
        all_ = self._with(items)
        mine = self._histories(users, histories, all_)
        found = []
        for start in range(0, len(mine), 256):
            some = mine[start : start + 256]
            scores_BI = self._all(some, all_)["recommender"].astype(np.float32)
            for history, scores in zip(some, scores_BI, strict=True):
                if not seen:
                    scores[history] = -np.inf
                best = np.argsort(-scores, kind="stable")[: max(0, int(k))]
                found.append([(all_.ids[i], float(scores[i])) for i in best if np.isfinite(scores[i])])
        return found

    def _histories(
        self, users: Sequence[Any] | None, histories: Sequence[Sequence[Any]] | None, all_: Catalogue
    ) -> list[np.ndarray]:
        if histories is None:
            if users is None:
                raise BadOption("nobody is named; give users, or histories")
            return [self.users_.get(name_of(user), np.zeros(0, int)) for user in users]
        place, found = {name: i for i, name in enumerate(all_.ids)}, []
        for row, history in enumerate(histories):
            names = [name_of(name) for name in history]
            unknown = [name for name in names if name not in place]
            if unknown:
                raise BadTable(
                    f"history {row} names the item '{unknown[0]}', which is in no table; give its row in a table of new items "
                    "(--items TABLE)"
                )
            found.append(np.array(list(dict.fromkeys(place[name] for name in names)), int))
        return found

    def _with(self, items: Any) -> Catalogue:
        """The catalogue with the new ones of a further table."""
        if items is None:
            return self.catalogue_
        records, old = as_records(items), set(self.catalogue_.ids)
        numbers = item_numbers(records, self.item)
        new = [row for name, row in numbers.items() if name not in old]
        Talk(self.verbose).say(
            f"{records.source}: {counted(len(new), 'new item')}"
            + (f"; {len(numbers) - len(new):,} known already, left as learned" if len(new) < len(numbers) else "")
        )
        if not new:
            return self.catalogue_
        records = records.take(new)
        talk, cells = Talk(self.verbose), self._cells(records)
        found, tokens = self._numbers(cells, rivals=False)
        talk.bad_cells(joined.faults(cells), len(records))
        bare = self.network_.vectors(answer(self.network_, tokens, found.present_NV))
        ids = [name for name in numbers if name not in old]
        features_IP = self._content(cells, found, self._store())
        return self.catalogue_.joined(Catalogue(ids, np.zeros(len(ids), np.float32), bare, bare, features_IP))

    def answers(self, records: Any, *, k: int = 10, items: Any = None) -> list[list[tuple[str, float]]]:
        """k items for each row of a table of users (column ``user``) or of histories (``history``: ids with ";" between).

        Raises:
            BadColumn: neither column.
        """
        self._ready()
        records = as_records(records)
        if "history" in records.names and "history" != self.user:
            told = [[] if is_empty(cell) else _ids(cell) for cell in records.column("history")]
            return self.recommend(histories=told, k=k, items=items)
        users = column_of(records, self.user)
        unknown = len({name_of(user) for user in users if not is_empty(user)} - set(self.users_))
        if unknown:
            Talk(self.verbose).say(f"{counted(unknown, 'user')} without a history here: what is popular is recommended")
        return self.recommend(users, k=k, items=items)

    def evaluate(self, interactions: Any, *, items: Any = None, samples: int = 1000) -> dict[str, Any]:
        """Judge on later interactions: what each user took that was not known before.

        Args:
            items: a table of further items.
            samples: bootstrap resamples of the users.

        Returns:
            {"users", "items", "scores", "baselines", "differences", "known_items", "new_items"}: the recommender's measures
            with bounds, those of its parts alone, and what it gains over each; of known items, and of new ones, which nobody
            had taken in training, the same with only them to choose from (None where all items are of one kind).

        Raises:
            BadTable, BadColumn: what is wrong, where, and the cure.
        """
        self._ready()
        all_ = self._with(items)
        _, histories, right = self._asked(interactions, all_, Talk(self.verbose))
        return self._judged(histories, right, all_, samples)

    def _asked(self, interactions: Any, all_: Catalogue, talk: Talk) -> tuple[list[str], list[np.ndarray], list[np.ndarray]]:
        """Users of later interactions, what each has taken before, and what then."""
        later = self._read(as_records(interactions), {name: i for i, name in enumerate(all_.ids)}, talk, least=1)
        histories = [self.users_.get(name, np.zeros(0, int)) for name in later.users]
        right = [np.setdiff1d(mine, history) for mine, history in zip(later.items, histories, strict=True)]
        return later.users, histories, right

    def _judged(
        self, histories: list[np.ndarray], right: list[np.ndarray], all_: Catalogue, samples: int
    ) -> dict[str, Any]:
        def judged(among_I: np.ndarray) -> dict[str, Any]:
            return judge_recommendations(
                histories, right, lambda some: self._all(some, all_), among_I, samples=samples, seed=self.seed
            )

        known_I = all_.known_I
        both = None if known_I.all() else {"known_items": judged(known_I), "new_items": judged(~known_I)}
        return judged(np.ones(len(known_I), bool)) | (both or {"known_items": None, "new_items": None})

    def report(
        self, evaluation: Mapping[str, Any], interactions: Any, items: Any = None, title: str = "", lang: str = "en"
    ) -> str:
        """An evaluation as one HTML page without outside resources.

        Args:
            evaluation: what ``evaluate`` returned.
            interactions: the same, of whose users some are shown.
            items: tables of items, so that these are shown with their pictures and texts; also the one of training.
            title: heading.
            lang: en or zh.

        Raises:
            BadOption: the report does not speak this language.
        """
        from .judge.recommend_page import html

        self._ready()
        records = as_records(interactions)
        return html(
            evaluation, title=title, lang=lang, source=records.source, history=self.history_, shares=self.shares_,
            users=self._some_users(records, items), pictured=items is not None, data=self.data_report_, made=self.made_,
            encoders={view: full_name(one) for view, one in self.network_.encoders.encoders.items()},
        )

    def _some_users(self, records: Records, items: Any, count: int = 6) -> list[dict[str, Any]]:
        """Users from the best served to the worst, with what they took and what is recommended to them."""
        all_ = self._with(items)
        users, histories, right = self._asked(records, all_, Talk(False))
        there = [q for q, mine in enumerate(right) if len(mine)]
        if not there:
            return []
        value_Q, best_Q = [], []
        for some, found in blocks([histories[q] for q in there], lambda some: self._all(some, all_)):
            scores = found["recommender"]
            ranks = places(scores, [right[q] for q in there[some]])
            value_Q += per_query(ranks, ("ndcg_at_10",))["ndcg_at_10"].tolist()
            best_Q += np.argsort(-scores, axis=1, kind="stable")[:, :10].tolist()
        order = np.argsort(-np.array(value_Q), kind="stable")
        chosen = [int(order[i]) for i in np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))]
        card = self._cards(items, all_)
        return [
            {
                "user": users[there[i]], "value": value_Q[i], "history": [card(n) for n in histories[there[i]][::-1][:8]],
                "recommended": [card(n) | {"hit": n in right[there[i]]} for n in best_Q[i]],
                "taken": [card(n) | {"hit": n in best_Q[i]} for n in right[there[i]]],
            }
            for i in chosen
        ]

    def _cards(self, items: Any, all_: Catalogue) -> Callable[[int], dict[str, Any]]:
        """Number of an item -> its id, its first text and its first picture, where its table is given."""
        if items is None:
            return lambda number: {"id": all_.ids[number]}
        records = as_records(items)
        row, cells = item_numbers(records, self.item), self._cells(records)

        def card(number: int) -> dict[str, Any]:
            found: dict[str, Any] = {"id": all_.ids[number]}
            if all_.ids[number] in row:
                (shown,) = with_cells([{"row": row[all_.ids[number]]}], cells)
                for name, key, kind in (("text", "text", "text"), ("image_jpeg_bytes", "image_png_bytes", "image")):
                    one = next((cell[key] for cell in shown["cells"] if cell["kind"] == kind and cell.get(key)), None)
                    found |= {name: one} if one is not None else {}
            return found

        return card

    # --- keeping ---------------------------------------------------------------------------------

    def save(self, folder: str | Path, *, with_towers: bool = False) -> None:
        """Write a folder: JSON, safetensors and tokenizer files, each with its hash; the users' histories lie in it.

        Raises:
            Mistake: the folder holds something other than a model.
            CannotWrite: disk full or no permission; what stood there is untouched.
        """
        self._ready()
        settings = self._settings()
        processes.from_first(lambda: keep_recommend.save(Path(folder), settings, self, with_towers=with_towers))
        if hasattr(self, "checkpoints_"):
            self.checkpoints_.remove()

    @classmethod
    def load(
        cls, folder: str | Path, encoders: Mapping[str, torch.nn.Module] | None = None, *, download: bool = False
    ) -> Recommender:
        """Read a folder that ``save`` wrote.

        Raises:
            BadModel: damaged, foreign, or made with another tower.
        """
        return keep_recommend.load(cls, find_model(folder, fetch=download), encoders)


def _ids(cell: Any) -> list[str]:
    if isinstance(cell, (list, tuple)):
        return list(cell)
    return [part.strip() for part in name_of(cell).split(";") if part.strip()]


def _some(right: Mapping[int, np.ndarray], seed: int) -> list[int]:
    """Users on whom validation chooses."""
    users = np.array(list(right), int)
    return np.sort(np.random.default_rng(seed).permutation(users)[:JUDGED]).tolist()


"""The estimator that recommends: what a user has taken -> what comes next, among items described by any views.

U users, I items, B users of a call, M members, E width of the space.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from . import keep_recommend, processes
from .data.cache import Cache
from .data.interactions import Histories, item_numbers, read_interactions
from .data.reading import judge_faults, read_cells
from .data.records import Records, as_records
from .data.schema import guess
from .data.tables import check_common, column_of
from .data.values import is_empty
from .errors import BadOption, BadTable, NotFitted, memory_told
from .hub import find_model
from .judge.facts import versions
from .judge.recommended import judge_recommendations
from .learn.choose import choose_encoders
from .learn.foretell import Shown, log_share, padded, train_tastes
from .learn.gather import fit_conditions, gather
from .learn.neighbours import CANDIDATES, Contents, Popularity, matrix
from .learn.plan import MATCH, Plan, check_settings, named_views
from .learn.recommending import Recommending
from .learn.shares import choose, gain, mixed, standard
from .network import Encoders
from .registry import suggest
from .talk import Talk, counted
from .tastes import TasteNetwork

#: Items above which the default encoder of a view is no other: a recommender trains none from scratch.
FEW = 4_999
#: Users on whom validation chooses, at most.
JUDGED = 2_000
#: Settings of one run, which a saved recommender does not remember.
_NOT_KEPT = ("download", "cache", "verbose", "time_limit")


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


class Recommender(BaseEstimator):
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
        columns, views, fusion, encoders: of the items, as of a ``Model``; encoders stay frozen.
        options: {"recommend.epochs": 20, "fusion.heads": 2, "photo.pixels": 64, ...}; see ``Recommending``.
        seed: of everything random.
        on_bad: what to do with unreadable cells of items: "error" or "mask".
        max_bad: share of unreadable cells of a column, and of interactions that cannot be used, above which fit stops.
        download, cache, verbose: as of a ``Model``.
        time_limit: seconds after which fit ends training, with what was learned until then.

    Attributes:
        valid_: evaluation on the validation interactions; the shares were chosen there.
        shares_: {"known": {recommender: share}, "new": ...}.
        history_: one dict per epoch.
        made_: how it was made.

    >>> items = [{"item": f"i{n}", "colour": ["red", "blue"][n % 2], "size": n} for n in range(12)]
    >>> taken = [{"user": u, "item": f"i{(u % 2 + 2 * k) % 12}"} for u in range(30) for k in range(u % 3 + 2)]
    >>> mine = Recommender(options={"recommend.epochs": 2}).fit(taken, items)
    >>> [len(one) for one in mine.recommend(["3", "nobody"], k=4)]
    [4, 4]
    """

    catalogue_of = Catalogue

    def __init__(
        self, user: str = "user", item: str = "item", *, time: str | None = None, weight: str | None = None,
        split: str = "last", columns: Mapping[str, str] | None = None, views: Mapping[str, str | Sequence[str]] | None = None,
        fusion: str = "concat", encoders: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None,
        seed: int = 0, on_bad: str = "mask", max_bad: float = 0.2, download: bool = False, cache: bool = True,
        verbose: bool = False, time_limit: float | None = None,
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
        self.download = download
        self.cache = cache
        self.verbose = verbose
        self.time_limit = time_limit

    # --- learning --------------------------------------------------------------------------------

    def fit(self, interactions: Any, items: Any, valid: Any = None) -> Recommender:
        """Learn from interactions and the items' table.

        Args:
            interactions: path of a table, list of dicts, frame, or ``Records``.
            items: likewise, one row for each item; interactions with others are left out.
            valid: later interactions that validate; otherwise some of the given ones, see ``split``.

        Raises:
            BadTable, BadColumn, BadOption: what is wrong, where, and the cure.
            LossNotFinite: training diverged.
        """
        began, started, talk = time.monotonic(), time.process_time(), Talk(self.verbose)
        how, plan = self._planned()
        taken, records = as_records(interactions), as_records(items)
        numbers = item_numbers(records, self.item)
        whole = self._read(taken, numbers, talk)
        train, right = self._held_out(whole, valid, numbers, talk)
        counts_I = Popularity().fit(matrix(train.items, train.weights, len(numbers))).counts_I
        talk.say(
            f"learning from {sum(map(len, train.items)):,} interactions of {counted(len(train.users), 'user')} with "
            f"{int((counts_I > 0).sum()):,} of {counted(len(numbers), 'item')}; {counted(len(right), 'user')} validate"
        )
        work = f"learning from {counted(len(taken), 'interaction')}"
        with memory_told(work, "fewer items or a smaller recommend.dim need less"):
            shown, features_IP = self._show_items(records, plan, how, counts_I, talk)
            self._fit_rivals(train, right, counts_I, features_IP, talk)
            self._train(train, right, shown, counts_I, how, talk, began)
        self._catalogue(list(numbers), shown, counts_I, features_IP)
        self._choose(train, right, how, talk)
        self.users_ = {name: mine for name, mine in zip(whole.users, whole.items, strict=True)}
        asked = [train.items[u] for u in right]
        self.valid_ = self._judged(asked, list(right.values()), self.catalogue_, 1000) if right else None
        self.made_ = {
            "versions": versions(), "seed": self.seed, "source": taken.source, "items": records.source,
            "cpu_seconds": round(time.process_time() - started, 1), "date": time.strftime("%Y-%m-%d"),
            "interactions": sum(map(len, whole.items)),
            "users": len(whole.users), "known items": int((counts_I > 0).sum()), "notes": whole.notes,
        }
        return self

    def _planned(self) -> tuple[Recommending, Plan]:
        """The options, checked before any data is read."""
        settings = self.get_params(deep=False)
        check_settings(settings | {
            "group": None, "target": None, "task": None, "tune": None, "tensorboard": None, "quality": "balanced",
            "split": None,
        })
        for name in ("user", "item"):
            if not isinstance(settings[name], str) or not settings[name]:
                raise BadOption(f"{name}={settings[name]!r} must be the name of a column")
        if self.split not in ("last", "time"):
            raise BadOption(f"split='{self.split}' must be 'last' or 'time'")
        if self.on_bad == "drop":
            raise BadOption("on_bad='drop' would leave items out that may be asked for; say 'mask' or 'error'")
        own, rest = {}, {}
        for key, value in (self.options or {}).items():
            section, dot, name = key.partition(".")
            if section == "recommend":
                own |= {name: value} if dot else dict(value)
            else:
                rest[key] = value
            if section in ("train", "match", "tune", "auto", "task"):
                raise BadOption(f"a recommender has no option '{key}'; its own are recommend.epochs and others")
        known = list(Recommending().__dict__)
        for name in own:
            if name not in known:
                raise BadOption(f"there is no option 'recommend.{name}'; {suggest(name, known, 'recommend.')}")
        return Recommending(**own), Plan.of(self.fusion, MATCH, rest)

    def _read(self, records: Records, numbers: Mapping[str, int], talk: Talk, least: int = 2) -> Histories:
        found = read_interactions(
            records, numbers, user=self.user, item=self.item, time=self.time, weight=self.weight, max_bad=self.max_bad,
            least=least,
        )
        for note in found.notes:
            talk.say(note)
        return found

    def _held_out(
        self, whole: Histories, valid: Any, numbers: Mapping[str, int], talk: Talk
    ) -> tuple[Histories, dict[int, np.ndarray]]:
        """Histories of training, and {user: what was taken afterwards}."""
        if valid is not None:
            later = self._read(as_records(valid), numbers, talk, least=1)
            place = {name: u for u, name in enumerate(whole.users)}
            found = zip(later.users, later.items, strict=True)
            right = {place[name]: np.setdiff1d(mine, whole.items[place[name]]) for name, mine in found if name in place}
            train, right = whole, {u: mine for u, mine in right.items() if len(mine)}
        else:
            train, right = whole.without_last() if self.split == "last" else whole.before(0.1)
        if not any(len(mine) > 1 for mine in train.items):
            raise BadTable(
                "no user has two interactions to learn from, the one that validates aside; what comes after what cannot be "
                "learned"
            )
        single = sum(len(mine) < 2 for mine in whole.items)
        if single:
            talk.say(f"{counted(single, 'user')} with a single interaction: it counts for what is popular, and tells no order")
        if not right:
            talk.say("no interaction validates: the network answers alone")
        return train, right

    def _show_items(
        self, records: Records, plan: Plan, how: Recommending, counts_I: np.ndarray, talk: Talk
    ) -> tuple[Shown, np.ndarray]:
        """Columns, encoders and features of the items; makes the network."""
        self.schema_ = guess(records, declared=dict(self.columns or {}), exclude=[self.item], views=self.views)
        if not self.schema_.views:
            raise BadTable(f"{records.source} has no column that describes an item, besides '{self.item}'")
        talk.say(self.schema_.describe())
        modality = {view.name: view.modality for view in self.schema_.views}
        plan.check_views(list(modality))
        plan.check_encoders(self.encoders or {}, modality)
        cells = read_cells(records, self.schema_)
        rows = np.arange(len(records))
        if len(rows) > FEW:
            rows = np.sort(np.random.default_rng(self.seed).choice(rows, FEW, replace=False))
        encoders = choose_encoders(
            named_views(self.encoders or {}, list(modality)), plan.options, cells, rows, seed=self.seed, download=self.download,
            say=talk.say, check=lambda: judge_faults(cells, on_bad=self.on_bad, max_bad=self.max_bad), reasons={},
        )
        for view, encoder in encoders.items():
            if not encoder.frozen:
                raise BadOption(
                    f"'{encoder.name}' of '{view}' is trained from scratch, and a recommender keeps encoders frozen; choose "
                    f"{modality[view]}.plain or a tower ({modality[view]}.pretrained:NAME)"
                )
        with torch.random.fork_rng():
            positions = plan.fusion(sorted(modality), how.dim).positions
        for encoder in encoders.values():
            if encoder.tower:
                encoder.positions = positions
        found = gather(encoders, None, cells, self._cache(), positions=positions, bar=talk.bar)
        judge_faults(cells, on_bad=self.on_bad, max_bad=self.max_bad)
        talk.bad_cells([fault.to_json() for one in cells.values() for fault in one.faults], len(records))
        conditions = fit_conditions(encoders, found, rows)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.network_ = TasteNetwork(
                Encoders(encoders, conditions), plan.fusion, int((counts_I > 0).sum()),
                **{name: getattr(how, name) for name in ("dim", "width", "members", "history", "dropout", "input_dropout")},
            )
        own_I = np.where(counts_I > 0, np.cumsum(counts_I > 0), 0)
        return self._shown(found, own_I)

    def _cache(self) -> Cache:
        return Cache() if self.cache else Cache.off()

    def _shown(self, found: Any, own_I: np.ndarray) -> tuple[Shown, np.ndarray]:
        """Tokens of all items, and what the neighbours by content compare: every view's numbers, of like weight."""
        views = found.views(dict(self.network_.encoders.conditions.items()))
        rows, x, mask, features = np.arange(len(own_I)), {}, {}, []
        for view in views.names:
            arrays = views.arrays(view, rows)
            values, present = arrays["features"], arrays["present"]
            values = values[:, None] if values.dim() == 2 else values
            mask[view] = present[:, None] & ~values[..., 0].isnan()
            x[view] = torch.where(mask[view][..., None], values, 0.0)
            pooled = x[view].sum(1) / mask[view].sum(1, keepdim=True).clamp_min(1)
            features.append(pooled.numpy() / values.shape[-1] ** 0.5)
        return Shown(x, mask, torch.as_tensor(own_I)), np.concatenate(features, 1).astype(np.float32)

    def _fit_rivals(
        self, train: Histories, right: Mapping[int, np.ndarray], counts_I: np.ndarray, features_IP: np.ndarray, talk: Talk
    ) -> None:
        """The plain recommenders, their settings chosen on validation."""
        taken_UI = matrix(train.items, train.weights, len(counts_I))
        self.rivals_: dict[str, Any] = {"popularity": Popularity().fit(taken_UI)}
        asked = _some(right, self.seed)
        histories = [train.items[u] for u in asked]
        target = np.array([right[u][0] for u in asked], int)
        open_BI = _open(histories, len(counts_I)) & (counts_I > 0)
        for name, candidates in CANDIDATES.items():
            best = -1.0
            with talk.bar(name, len(candidates)) as advance:
                for cls, options in candidates if asked else candidates[:1]:
                    made = cls(**options).fit(taken_UI)
                    worth = gain(np.where(open_BI, made.scores(histories), -np.inf), target) if asked else 0.0
                    if worth > best:
                        best, self.rivals_[name] = worth, made
                    advance(1)

    def _train(
        self, train: Histories, right: Mapping[int, np.ndarray], shown: Shown, counts_I: np.ndarray, how: Recommending,
        talk: Talk, began: float,
    ) -> None:
        asked = _some(right, self.seed)
        histories = [train.items[u] for u in asked]
        target, plus = np.array([right[u][0] for u in asked], int), log_share(counts_I)
        open_BI = _open(histories, len(counts_I)) & (counts_I > 0)

        def measure() -> float:
            if not asked:
                return float("nan")
            vectors = self._vectors(shown)
            scores = self._scored(vectors, vectors, histories) + plus
            return gain(np.where(open_BI, scores, -np.inf), target)

        limit = self.time_limit
        with talk.bar("training", how.epochs) as advance, torch.random.fork_rng():
            self.history_ = train_tastes(
                self.network_, shown, train.items, counts_I, how, seed=self.seed, measure=measure,
                log=lambda epoch: advance(1, f"loss {epoch['loss']:.3f}, validation NDCG@10 {epoch['valid_ndcg_at_10']:.3f}"),
                left=None if limit is None else lambda: limit - (time.monotonic() - began),
            )

    def _vectors(self, shown: Shown, bare: bool = False) -> torch.Tensor:
        """(M, I, E)."""
        own_I, parts = torch.zeros_like(shown.own_I) if bare else shown.own_I, []
        with torch.inference_mode():
            for part in torch.arange(len(own_I)).split(1024):
                some = shown.take(part)
                parts.append(self.network_.items(some.x, some.mask, own_I[part]))
        return torch.cat(parts, 1)

    def _scored(self, vectors_MIE: torch.Tensor, among_MIE: torch.Tensor, histories: Sequence[np.ndarray]) -> np.ndarray:
        """(B, I) of the network."""
        with torch.inference_mode():
            parts = [
                self.network_.scores(vectors_MIE, among_MIE, padded(histories[start : start + 256], self.network_.history))
                for start in range(0, len(histories), 256)
            ]
        return torch.cat(parts).numpy() if parts else np.zeros((0, among_MIE.shape[1]), np.float32)

    def _catalogue(self, ids: list[str], shown: Shown, counts_I: np.ndarray, features_IP: np.ndarray) -> None:
        self.network_.eval()
        self.catalogue_ = Catalogue(ids, counts_I, self._vectors(shown), self._vectors(shown, bare=True), features_IP)

    def _choose(self, train: Histories, right: Mapping[int, np.ndarray], how: Recommending, talk: Talk) -> None:
        """Shares of the plain recommenders in the answer: for known items, and for new ones, which only views describe."""
        asked = _some(right, self.seed)
        alone = {"network": 1.0}
        self.shares_ = {"known": alone, "new": alone}
        if not how.mix or not asked:
            return
        histories, all_ = [train.items[u] for u in asked], self.catalogue_
        target = np.array([right[u][0] for u in asked], int)
        open_BI = _open(histories, len(all_.ids)) & all_.known_I
        parts = self._parts(histories, all_)
        self.shares_["known"] = choose(parts, target, open_BI)
        bare = {"network": standard(self._scored(all_.vectors_MIE, all_.bare_MIE, histories), all_.known_I)}
        chosen = choose(bare | {"content_knn": parts["content_knn"]}, target, open_BI)
        # no item is new here, and the network has seen these: so what was chosen counts only half
        self.shares_["new"] = {name: chosen.get(name, 0.0) / 2 + 0.25 for name in ("network", "content_knn")}
        for kind, shares in self.shares_.items():
            said = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
            talk.say(f"shares in the answer, {kind} items: {said}")

    # --- answering -------------------------------------------------------------------------------

    def _parts(self, histories: Sequence[np.ndarray], all_: Catalogue) -> dict[str, np.ndarray]:
        """{recommender: (B, I) standardised scores}; of a new item those that only know interactions say 0, the mean."""
        known, first = all_.known_I, len(self.catalogue_.ids)
        network = self._scored(all_.vectors_MIE, all_.vectors_MIE, histories) + log_share(all_.counts_I)
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
            return [self.users_.get(str(user), np.zeros(0, int)) for user in users]
        place, found = {name: i for i, name in enumerate(all_.ids)}, []
        for row, history in enumerate(histories):
            names = [str(name) for name in history]
            unknown = [name for name in names if name not in place]
            if unknown:
                raise BadTable(
                    f"history {row} names the item '{unknown[0]}', which is in no table; give its row with items=TABLE"
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
        if not new:
            return self.catalogue_
        records = records.take(new)
        check_common(records, self.schema_, (self.item,))
        cells = read_cells(records, self.schema_)
        encoders = dict(self.network_.encoders.encoders.items())
        talk = Talk(self.verbose)
        found = gather(encoders, None, cells, self._cache(), positions=self.network_.fusion.positions, bar=talk.bar)
        talk.bad_cells([fault.to_json() for one in cells.values() for fault in one.faults], len(records))
        shown, features_IP = self._shown(found, np.zeros(len(new), int))
        bare = self._vectors(shown, bare=True)
        ids = [name for name in numbers if name not in old]
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
        return self.recommend(column_of(records, self.user), k=k, items=items)

    def evaluate(self, interactions: Any, *, items: Any = None, samples: int = 1000) -> dict[str, Any]:
        """Judge on later interactions: what each user took that was not known before.

        Args:
            items: a table of further items.
            samples: bootstrap resamples of the users.

        Returns:
            {"users", "items", "scores", "baselines", "differences", "new_items"}: the recommender's measures with bounds,
            those of its parts alone, and what it gains over each; of new items, which nobody had taken in training, the
            same with only
            them to choose from.

        Raises:
            BadTable, BadColumn: what is wrong, where, and the cure.
        """
        self._ready()
        all_ = self._with(items)
        later = self._read(as_records(interactions), {name: i for i, name in enumerate(all_.ids)}, Talk(self.verbose), least=1)
        histories = [self.users_.get(name, np.zeros(0, int)) for name in later.users]
        right = [np.setdiff1d(mine, history) for mine, history in zip(later.items, histories, strict=True)]
        return self._judged(histories, right, all_, samples)

    def _judged(
        self, histories: list[np.ndarray], right: list[np.ndarray], all_: Catalogue, samples: int
    ) -> dict[str, Any]:
        def judged(among_I: np.ndarray) -> dict[str, Any]:
            return judge_recommendations(
                histories, right, lambda some: self._all(some, all_), among_I, samples=samples, seed=self.seed
            )

        new_I = ~all_.known_I
        return judged(np.ones(len(new_I), bool)) | {"new_items": judged(new_I) if new_I.any() else None}

    def _ready(self) -> None:
        if not hasattr(self, "network_"):
            raise NotFitted("this recommender has learned nothing yet; call fit, or polysense.load a saved one")

    # --- keeping ---------------------------------------------------------------------------------

    def save(self, folder: str | Path, *, with_towers: bool = False) -> None:
        """Write a folder: JSON, safetensors and tokenizer files, each with its hash; the users' histories lie in it.

        Raises:
            Mistake: the folder holds something other than a model.
            CannotWrite: disk full or no permission; what stood there is untouched.
        """
        self._ready()
        settings = {name: value for name, value in self.get_params(deep=False).items() if name not in _NOT_KEPT}
        processes.from_first(lambda: keep_recommend.save(Path(folder), settings, self, with_towers=with_towers))

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
    return [part.strip() for part in str(cell).split(";") if part.strip()]


def _some(right: Mapping[int, np.ndarray], seed: int) -> list[int]:
    """Users on whom validation chooses."""
    users = np.array(list(right), int)
    return np.sort(np.random.default_rng(seed).permutation(users)[:JUDGED]).tolist()


def _open(histories: Sequence[np.ndarray], count: int) -> np.ndarray:
    """(B, I) bool: items that each has not taken."""
    found = np.ones((len(histories), count), bool)
    for row, mine in zip(found, histories, strict=True):
        row[mine] = False
    return found

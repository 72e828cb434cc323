"""The estimator that answers: views of a record -> target.

N records, V views, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin

from . import keep, processes, several, telling
from .answers import Answers, origins_of
from .data import joined
from .data.cache import Cache
from .data.reading import Cells, read_cells
from .data.records import Records, as_records
from .data.rows import only_of
from .data.schema import Schema
from .data.tables import (
    Table,
    column_of,
    divide,
    groups_of,
    joined_groups,
    judge_targets,
    open_table,
    open_targets,
    row_name,
    scored,
    target_faults,
    unlabelled,
)
from .data.targets import SEVERAL, named
from .errors import BadOption, memory_told
from .estimator import NOT_KEPT, Estimator, figures
from .hub import find_model
from .judge import notebook
from .judge.each import asked, by_target, evaluate_each
from .judge.facts import data_facts, fingerprint, made_facts, shown_made
from .learn import beside, pseudo, quality
from .learn.begin import begin
from .learn.choose import full_name, suited
from .learn.consensus import Consensus, Evidence, Speaker, evidence
from .learn.deepen import deepen
from .learn.features import Encoded, Views, encode
from .learn.gather import Gathered, fit_conditions
from .learn.job import Job
from .learn.late import fit_late, fresh, out_of_fold, sentences
from .learn.lengths import check_lengths
from .learn.plan import AUTO, check_several, fitting_options, named_views
from .learn.timing import words_of
from .learn.trial import Judge, fitting, try_encoders
from .learn.tune import Verdict, weigh_each
from .metrics import Resamples
from .network import Encoders, Network, check_fits
from .registry import tasks
from .subtitles import Word
from .talk import Talk, counted


class Model(ClassifierMixin, Estimator):
    """One model from records whose cells are text, pictures, sounds, numbers and categories.

    Any view may be missing in any record, in training and at prediction.

    Args:
        target: column to predict; may be left out if ``fit`` gets ``y``. Several at once: a list of names, or names with
            commas ("price,kind"; a column of that very name is meant before the names in it).
        task: name of a task, see ``polysense list tasks``; guessed from the target if None. Of several targets: one for
            all, or {target: name}, also as "price=regress,kind=classify"; those left out are guessed.
        columns: {column: kind} where the guess is to be overruled.
        views: {view: columns that form it together}: {"both": ["title", "body"]} or {"both": "title+body"}. Texts are
            joined by a newline, pictures and sounds stand in one record; they are no views of their own any more.
        fusion: name of a fusion, see ``polysense list fusions``; None takes the task's own: "concat", of words "tokens".
        encoders: {view: name of an encoder, or of an encoder with its tower ("text.pretrained:FOLDER"),
            or "auto" to try those there are, or an own ``nn.Module``}; views left out get the default, or
            what "*" names.
        options: {"train.epochs": 20, "fusion.heads": 2, "photo.pixels": 64, ...}, or nested dicts.
        group: column whose equal values belong together: never split, resampled as one.
        seed: of everything random.
        split: column that says train, valid or test for each record.
        on_bad: what to do with records that hold an unreadable cell: "error", "mask" or "drop".
        max_bad: share of unreadable cells of a column above which fit and evaluate stop.
        tune: views whose towers are trained too, or "all"; see ``Tuning`` for how.
        download: a hub id may be downloaded; otherwise nothing touches the network.
        cache: keep outputs of frozen encoders on disk.
        verbose: talk and progress bars on stderr.
        time_limit: seconds after which fit ends training, between two batches, with what was learned until
            then; the schedule of the rate is shortened in time. What comes before and after training is
            done all the same.
        tensorboard: folder for TensorBoard files: loss, rate and validation figures of each epoch.
        folds: fit so many models, each on all but one fold of the records, and average their answers; every record
            is judged by the model that has seen neither it nor its group (cross validation; Stone 1974).
        seeds: fit so many models, of this seed and those after it, on the same records, and average their answers.
        quality: how much work fit may be: "fast" (plain features, one member, no tower runs), "balanced", or "best"
            (encoders tried on validation; several models answer together, or with a GPU towers are tuned). It fills in
            what is left open of encoders, options, folds, seeds and tune, by hardware; what is named stays.

    Attributes:
        classes_: (C,) after fit; of several targets a list of them, None for numbers.
        schema_: columns, kinds and reasons.
        history_: one dict per epoch.
        rivals_: the plain baselines trained beside the model; of several targets {target: baselines}.
        data_report_: what was found in the table.
        valid_: evaluation on the validation records.

    >>> from polysense import demo
    >>> model = Model("label", options={"train.epochs": 2}).fit(demo.made_up(60))
    >>> len(model.predict(demo.made_up(3, seed=1)))
    3
    """

    def __init__(
        self, target: str | Sequence[str] | None = None, *, task: str | Mapping[str, str] | None = None,
        columns: Mapping[str, str] | None = None,
        views: Mapping[str, str | Sequence[str]] | None = None, fusion: str | None = None,
        encoders: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None,
        group: str | None = None, seed: int = 0, split: str | None = None, on_bad: str = "mask", max_bad: float = 0.2,
        tune: str | Sequence[str] | None = None, download: bool = False, cache: bool = True, verbose: bool = False,
        time_limit: float | None = None, tensorboard: str | Path | None = None, folds: int | None = None,
        seeds: int = 1, quality: str = "balanced",
    ) -> None:
        self.target = target
        self.task = task
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
        self.folds = folds
        self.seeds = seeds
        self.quality = quality

    several_: several.Several | None = None
    #: Settings that the quality has chosen in place of those that were left open.
    chosen_: Mapping[str, Any] = {}

    # --- learning --------------------------------------------------------------------------------

    def fit(
        self, records: Any, y: Any = None, valid: Any = None, *,
        checkpoints: str | Path | None = None, resume: bool = False,
    ) -> Model:
        """Learn from records.

        Args:
            records: path of a table, list of dicts, pandas frame, or ``Records``.
            y: targets, if they are no column of the records; several as a frame, {target: values}, or (N, T).
            valid: validation records, likewise; (records, y) if ``y`` is given. Otherwise a fifth of
                the training records, whole groups together.
            checkpoints: folder where an unfinished fit is kept, until ``save`` has written its model.
            resume: go on with the unfinished fit that lies there; the same bits come out (on the CPU, and
                without a time limit).

        Raises:
            BadTable, BadColumn, BadOption: what is wrong, where, and the cure.
            Interrupted: by Ctrl-C or SIGTERM in training, with ``checkpoints``, after one was written.
        """
        if self.quality != "balanced":
            return self._fit_chosen(records, y, valid, checkpoints, resume)
        if check_several(self.folds, self.seeds, self.tune):
            several.fit(self, records, y, valid, checkpoints, resume)
            return self
        job = self._begin(records, y, valid)
        self._look(job)
        job.kept = self._kept(job, checkpoints, resume)
        what = ", ".join(
            counted(len(part.task.classes), "class") if part.task.kind == "classes" else part.task.name
            for part in job.task.parts()
        )
        work = f"learning {what} from {counted(len(job.train_rows), 'record')}"
        cure = "fewer classes or records need less, and so do a smaller train.members and train.dim"
        with memory_told(work, cure), job.kept:
            self._encode(job)
            self._train(job)
            self._pseudo(job)
            self._deepen(job)
            self._tune(job)
            self._finish(job)
        return self

    def _fit_chosen(self, records: Any, y: Any, valid: Any, checkpoints: Any, resume: bool) -> Model:
        """Be a model whose settings the quality has chosen."""
        settings, records = self.get_params(deep=False), as_records(records)
        begun = begin(settings, records, y, valid, lambda line: None)
        first, groups = begun.tables[0], groups_of(begun.tables[0].records, self.group)
        added, line = quality.chosen(
            self.quality, settings, {view.name: view.modality for view in begun.schema.views}, len(first.rows),
            len(first.rows) if groups is None else len({groups[row] for row in first.rows}), quality.hardware(),
            begun.task != SEVERAL and tasks.about(begun.task).kind == "words",
        )
        Talk(self.verbose).say(line)
        if self.download and self.quality == "best" and "encoders" in added:
            quality.fetch(begun.schema.views, first.records, Talk(self.verbose).say)
        made = type(self)(**settings | added | {"quality": "balanced"})
        made._tune_if_any = "tune" in added
        made.fit(records, y, valid, checkpoints=checkpoints, resume=resume)
        if "tune" in added:  # of the towers that there were
            added["tune"] = made.made_["tuned"]["views"] if "tuned" in made.made_ else None
        vars(self).update({name: value for name, value in vars(made).items() if name not in settings})
        self.made_["quality"], self.chosen_ = line, added | {"quality": "balanced"}
        return self

    def _begin(self, records: Any, y: Any, valid: Any) -> Job:
        """Check the settings, open the tables, divide their records."""
        talk, started, began = Talk(self.verbose), time.process_time(), time.monotonic()
        job = Job(*begin(self.get_params(deep=False), records, y, valid, talk.say), talk=talk, started=started, began=began)
        job.talk.say(job.schema.describe())
        views = job.schema.view_names
        job.task = tasks.make(job.name, **job.plan.options["task"])
        with torch.random.fork_rng():  # made to be asked what it wants; the network makes its own
            fusion = job.plan.fusion(sorted(views), job.plan.training.dim)
        job.positions = fusion.positions
        check_fits(fusion, job.task)
        job.train_rows, job.valid_rows = divide(
            job.tables, split=self.split, group=self.group, seed=self.seed, say=job.talk.say
        )
        return job

    def _look(self, job: Job) -> None:
        """Read what the cells hold, as far as it can be known before any work; learn the classes."""
        self._open_cells(job)
        job.task.allow(download=self.download)
        job.task.see({view.name: view.modality for view in job.schema.views})
        job.targets = [value for table in job.tables for value in table.targets]
        job.task.fit([job.targets[i] for i in job.train_rows])
        target = job.names[0] if job.names else None
        job.task.check(len(job.train_rows), target)
        job.talk.say(job.task.about(target))

    def _encode(self, job: Job) -> None:
        """Choose and fit the encoders, run every frozen one once, train the rivals."""
        cache = self._store()
        self._fit_encoders(job, *self._named(job, cache))
        job.task.takes(job.encoders)
        self._run_encoders(job, cache)
        elder = self._elder
        job.labels, job.aims = job.task.encode(job.targets), beside.aims_of(job.task, job.targets)
        job.rivals = elder.rivals_ if elder else job.kept.stage("rivals", lambda: beside.train(
            job.task, job.aims, job.found, job.train_rows, job.valid_rows, seed=self.seed, bar=job.talk.bar, say=job.talk.say,
        ), beside.state, beside.load)

    def _named(self, job: Job, cache: Cache) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
        """The encoders that the user named, those that "auto" found among them, their options, and why these."""
        named, options, reasons = suited(
            job.task, named_views(self.encoders, sorted(job.cells)), job.plan.options,
            {view.name: view.modality for view in job.schema.views},
        )
        wanted = sorted(view for view, given in named.items() if isinstance(given, str) and given == AUTO)
        if not wanted:
            return named, options, reasons
        elder = self._elder  # several seeds choose once; several folds each for themselves, as their own records tell
        job.tried = elder.made_["tried"] if elder else job.kept.stage("tried", lambda: try_encoders(
            wanted, job.plan.options, job.cells, job.train_rows, job.valid_rows, Judge(job.task, job.targets, self.seed),
            how=job.plan.auto, training=job.plan.training, seed=self.seed, cache=cache, say=job.talk.say, bar=job.talk.bar,
        ), lambda facts: facts, lambda facts: facts)
        named |= {view: facts["chosen"] for view, facts in job.tried.items()}
        return named, options | fitting(options, job.tried), reasons | {view: "auto" for view in wanted}

    def _train(self, job: Job) -> None:
        """Train the network on the frozen features and the prepared cells."""
        bare = job.task.hears if job.task.width else ()
        conditions = fit_conditions(job.encoders, job.found, job.train_rows, bare=bare)
        encoders, shape = Encoders(job.encoders, conditions), job.plan.training.network()
        job.untrained = fresh(encoders) if job.plan.training.pseudo else None
        job.network = self._network(job, encoders)
        job.views = job.found.views(conditions)
        self._fit_late(job, lambda fresh: Network(fresh, job.plan.fusion, job.task, **{**shape, "members": 1}))
        if job.task.hears:
            check_lengths(
                job.network, job.views, job.task.needed(job.labels), job.train_rows, lambda row: row_name(job.tables, row),
                job.talk.say,
            )
        job.history = [] if job.task.ready else self._learn(job, job.labels, job.train_rows, job.kept)

    def _network(self, job: Job, encoders: Encoders) -> Network:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return Network(encoders, job.plan.fusion, job.task, **job.plan.training.network())

    def _pseudo(self, job: Job) -> None:
        """Train once more, also on the model's own sure answers to records without a target; kept only if it proves itself."""
        least, valid = job.plan.training.pseudo, job.valid_rows
        if not least:
            return
        rows = unlabelled(job.tables, split=self.split, group=self.group, apart=valid)
        if self.on_bad == "drop":
            rows = np.setdiff1d(rows, joined.bad_rows(job.cells))
        left = self._left(job)
        if not len(rows) or len(valid) < pseudo.FEWEST or left and left() <= 0:
            job.talk.say("pseudo-labels: none, for " + (
                "every record has a target or a group of validation" if not len(rows) else
                f"{counted(len(valid), 'validation record')} can prove nothing, {pseudo.FEWEST} are needed (see --valid)"
                if len(valid) < pseudo.FEWEST else "the time limit leaves nothing"
            ))
            return
        given = job.plan.training.regressions
        first = self._verdict(job, job.views, given)
        found = job.kept.stage(
            "pseudo", lambda: self._taken(job, rows, first.share, least), pseudo.Taken.state, lambda tree: pseudo.Taken(**tree)
        )
        teacher, history, second = job.network, job.history, None
        if len(found.rows):
            job.network = self._network(job, job.untrained)
            if job.fusing:
                job.network.members.put("trunk.fusion", teacher.fusion)
            job.history = self._learn(
                job, found.joined(job.labels), np.append(job.train_rows, found.rows), job.kept.second("again"), "again"
            )
            second = self._verdict(job, job.views, given)
        kept = second is not None and pseudo.proven(second, first)
        if not kept:
            job.network, job.history = teacher, history
        job.encoders = dict(job.network.encoders.encoders.items())
        job.learned = {
            "records": found.asked, "taken": len(found.rows), "from": least, "kept": "second" if kept else "first",
            "first": first.figures(), "second": second.figures() if second else None,
        }
        job.talk.say(pseudo.sentence(found, least, first, second, kept))

    def _taken(self, job: Job, rows: np.ndarray, share: Any, least: float) -> pseudo.Taken:
        present, plain = job.found.present_NV[rows], only_of(job.found.plain, rows)
        speaker = Speaker(job.network, job.task, encode(job.network, job.views, rows))
        answers = beside.mixed(job.task, speaker, job.rivals, share, plain, present)
        return pseudo.taken(job.task, answers, present, rows, least)

    def _deepen(self, job: Job) -> None:
        """Train the head once more with what may learn only now, if the task has such parameters; kept if validation gains."""
        left = self._left(job)
        if left and left() <= 0 or not job.task.deepen(True):
            return
        with job.talk.bar("second training", job.plan.tuning.epochs) as advance:
            job.network, job.deepened, sentence = deepen(
                job.network, lambda: self._network(job, job.network.encoders), job.views, job.labels, job.train_rows,
                job.valid_rows, measure=self._measure(job), options=job.plan.tuning, training=job.plan.training, seed=self.seed,
                judge=(lambda network: self._verdict(job, job.views, None, network).loss) if job.task.ready else None,
                names=lambda row: row_name(job.tables, row), log=lambda epoch: advance(1, figures(epoch)),
                kept=job.kept.second("again"), left=left,
            )
        if job.deepened["kept"] == "first":
            job.task.deepen(False)
        job.talk.say(sentence)

    def _fit_late(self, job: Job, make: Callable[[Encoders], Network]) -> None:
        """Fit a late fusion that asks for it, before the heads themselves are trained on all training records."""
        fusion, rows = job.network.fusion, job.train_rows
        if not fusion.fitted:
            return

        def answers() -> np.ndarray:
            with job.talk.bar("answers out of fold", fusion.folds) as advance:
                return out_of_fold(
                    make, job.network.encoders, job.views, job.labels, rows, count=fusion.folds, options=job.plan.training,
                    groups=joined_groups(job.tables, self.group), seed=self.seed, left=self._left(job), advance=advance,
                )

        said = job.kept.stage("out-of-fold", answers, lambda found: {"answers": found}, lambda tree: tree["answers"])
        targets = {key: value[rows] for key, value in job.labels.items()}
        job.fusing = fit_late(job.network, said, job.found.present_NV[rows], targets)
        for line in sentences(fusion.name, job.fusing):
            job.talk.say(line)

    def _measure(self, job: Job) -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
        return lambda answers, rows: job.task.watch(answers, {key: value[rows] for key, value in job.labels.items()})

    def _verdict(self, job: Job, views: Views, given: float | None, network: Network | None = None) -> Verdict:
        """What a network, or the one that stands, is worth on the validation records, with a given share of regressions or
        its own.
        """
        valid, network = job.valid_rows, network or job.network
        tokens = encode(network, views, valid)
        return weigh_each(
            job.task, job.aims, Speaker(network, job.task, tokens), job.rivals,
            job.found.plain, job.found.present_NV, valid, given=given,
        )

    def _finish(self, job: Job) -> None:
        """Choose the regressions' share, judge the validation records, remember how it was made."""
        network, valid = job.network.cpu().eval(), job.valid_rows
        tokens = encode(network, job.views, valid) if len(valid) else {}
        share = self._share(job, tokens) if job.share is None or job.task.kind == "words" else job.share
        for line in beside.share_lines(job.task, share):
            job.talk.say(line)
        self._accept(keep.Learned(network, job.task, job.schema, job.plains, job.rivals, share, {
            "history": job.history,
            "data": data_facts(
                job.tables, job.schema, job.cells, job.train_rows, valid, job.leaks, target_faults(job.tables)
            ),
            "made": made_facts(
                seed=self.seed, source=job.tables[0].records.source, training=job.plan.training, started=job.started
            ) | {
                name: what for name, what in (
                    ("tuned", job.tuning), ("fusion", job.fusing), ("tried", job.tried), ("pseudo", job.learned),
                    ("deepened", job.deepened),
                ) if what
            },
            "valid": None,
        }))
        if len(valid):
            self._settle(job.found, tokens, valid, job.targets, job.talk.say)
            self.valid_ = self._evaluation(
                job.found, tokens, valid, job.targets, joined_groups(job.tables, self.group), subsets=False, samples=1000
            )
        self.checkpoints_ = job.kept

    def _settle(
        self, found: Gathered, tokens: Encoded, rows: np.ndarray, targets: Sequence[Any], say: Callable[[str], None]
    ) -> None:
        """What the task chooses on answers to validation records, or out of fold: thresholds. ``tokens`` are of these rows."""
        if self.task_.kind == "words":
            return
        answers = self._mixed(tokens, only_of(found.plain, rows), found.present_NV[rows])
        aims = beside.aims_of(self.task_, [targets[row] for row in rows])
        for line in beside.settle(aims, answers, np.arange(len(rows))):
            say(line)

    def _share(self, job: Job, tokens: Encoded) -> Any:
        """The regressions' share of the answers; ``tokens`` are of the validation records."""
        return beside.shares(
            job.task, job.aims, Speaker(job.network, job.task, tokens), job.rivals,
            job.found.plain, job.found.present_NV, job.valid_rows, given=job.plan.training.regressions,
        )

    def _accept(self, learned: keep.Learned) -> None:
        self.network_, self.task_, self.schema_ = learned.network, learned.task, learned.schema
        self.plains_, self.rivals_, self.regressions_ = learned.plains, learned.rivals, learned.share
        classes = [np.array(part.task.classes) if part.task.classes else None for part in learned.task.parts()]
        if len(classes) > 1 or classes[0] is not None:
            self.classes_ = classes if len(classes) > 1 else classes[0]
        self.history_, self.data_report_ = learned.facts["history"], learned.facts["data"]
        self.made_, self.valid_ = learned.facts["made"], learned.facts["valid"]
        if learned.parts:
            self.several_ = several.Several(learned.facts["made"]["several"]["kind"], [
                type(self)(**self.get_params(deep=False) | {
                    "folds": None, "seeds": 1, "seed": part.facts["made"]["seed"],
                })._accepted(part) for part in learned.parts
            ], learned.task)
            self.rivals_, self.regressions_ = self.several_.rivals(), self.several_.share()

    def _accepted(self, learned: keep.Learned) -> Model:
        self._accept(learned)
        return self

    def _take_over(self, made: several.Several, task: Any, schema: Schema, facts: dict[str, Any]) -> None:
        """Be the models that were fitted: ``network_`` and ``plains_`` are the first one's."""
        first = made.models[0]
        self._accept(keep.Learned(first.network_, task, schema, first.plains_, made.rivals(), made.share(), facts))
        self.several_ = made

    # --- answering -------------------------------------------------------------------------------

    def predict(self, records: Any) -> np.ndarray:
        """(N,) predictions, one for every record in its order; of several targets (N, T), numbers where all are."""
        said, parts = self.task_decode(self.answers(records).answers), self.task_.parts()
        kinds = {part.task.kind for part in parts}
        if len(parts) > 1:
            found = np.empty((len(said), len(parts)), float if kinds == {"numbers"} else object)
            for row, one in enumerate(said):
                for place, value in enumerate(one):
                    found[row, place] = value
            return found
        if kinds <= {"labels", "words"}:  # sets of several sizes, texts of several lengths
            found = np.empty(len(said), object)
            found[:] = said
            return found
        return np.array(said)

    def words(self, records: Any) -> list[list[Word]]:
        """Of every record the words that are said in its sound, each with its start and end in seconds.

        Raises:
            BadOption: the task hears no sounds.
        """
        return [words for _, words in self.transcripts(records)]

    def transcripts(self, records: Any) -> list[tuple[str, list[Word]]]:
        """Of every record what is said in its sound, and the words of it, each with its start and end in seconds.

        Raises:
            BadOption: the task hears no sounds.
        """
        self._ready()
        if not self.task_.hears:
            raise BadOption(f"the task {self.task_.name} tells no words in time; fit one with task='transcribe'")
        records = self._some(records)
        cells, found, tokens = self._read(records, rivals=beside.needed(self.regressions_))
        said = self._mixed(tokens, found.plain, found.present_NV) if len(records) else []
        return [
            (str(text), words_of(self.network_, tokens.take(np.array([row])), cells, row)) for row, text in enumerate(said)
        ]

    def predict_proba(self, records: Any) -> np.ndarray | list[np.ndarray | None]:
        """(N, C) probabilities in the order of ``classes_``; the training prior where nothing is present.

        Of several targets a list of them, as in scikit-learn; None for those that are numbers.

        Raises:
            BadOption: the answers are numbers or words.
        """
        self._ready()
        parts = self.task_.parts()
        if parts[0].task.kind == "words":
            raise BadOption(f"the task {self.task_.name} answers with words, which have no probabilities here; call predict")
        if all(part.task.kind == "numbers" for part in parts):
            raise BadOption(f"the task {self.task_.name} answers with numbers, which have no probabilities; call predict")
        answers = self.answers(records).answers
        found = [None if part.task.kind == "numbers" else answers[:, part.columns] for part in parts]
        return found if len(parts) > 1 else found[0]

    def tell(self, records: Any, **how: Any) -> np.ndarray:
        """(N,) texts, their words chosen as is said here rather than as the model was told: ``decoding="beam", beams=8``.

        They are the network's own; ``predict`` may answer with a text of a training record, see ``learn.consensus``.

        Args:
            how: of a task of words, such as decoding, beams, penalty, temperature, top_k, top_p, shortest, longest, no_repeat,
                seed; see ``polysense list caption``.

        Raises:
            BadOption: the answers are no words, or there is no such option.
        """
        speaker, found, tokens = self._in_words(records)
        return telling.tell(speaker.network_, speaker.task_, tokens, found.present_NV, how)

    def tell_as(self, **how: Any) -> Model:
        """From here on choose words so in every answer, and in ``save``: the network's own, no texts of training records.

        Args:
            how: as in ``tell``; nothing leaves words chosen as they were.
        """
        self._ready()
        self._check_words()
        task = telling.otherwise(self.task_, how)
        for one in self.several_.models if self.several_ else ():
            one.tell_as(**how)
        if not self.several_:
            self.network_.become(task)
        self.task_, self.regressions_ = task, Consensus(0.0, 0)
        self.options = {**(self.options or {}), **{f"task.{name}": value for name, value in how.items()}}
        return self

    def stream(self, record: Mapping[str, Any], **how: Any) -> Iterator[str]:
        """The network's text of one record, word by word: ``for part in model.stream(record): print(part, end="")``.

        What ``predict`` takes from training records has no words one by one: together they are what ``tell`` gives.

        Args:
            how: as in ``tell``; a beam search cannot be streamed.
        """
        speaker, _, tokens = self._in_words([dict(record)])
        return telling.stream(speaker.network_, speaker.task_, tokens, how)

    def attention(self, records: Any, **how: Any) -> list[telling.Looked | None]:
        """Where the decoder looked before each word of the network's own text, of each record; None where it has no view.

        Args:
            how: as in ``tell``.

        Raises:
            BadOption: the answers are no words, or the decoder looks at no positions.
        """
        speaker, found, tokens = self._in_words(records)
        return telling.looked(speaker.network_, speaker.task_, tokens, found.present_NV, how)

    def _in_words(self, records: Any) -> tuple[Model, Gathered, Encoded]:
        """The model that speaks, of several the first, and what it reads of records whose answer is words."""
        self._ready()
        self._check_words()
        speaker = self.several_.models[0] if self.several_ else self
        _, found, tokens = speaker._read(self._some(records), rivals=False)
        return speaker, found, tokens

    def _check_words(self) -> None:
        if self.task_.kind != "words":
            raise BadOption(f"the task {self.task_.name} does not answer with words, so there is nothing to choose")

    def _some(self, records: Any) -> Records:
        """Records, also those of which nothing is known."""
        if isinstance(records, list) and records and not any(records):
            records = [dict.fromkeys(self.schema_.views[0].columns)] * len(records)
        return as_records(records)

    def task_decode(self, answers: np.ndarray) -> list[Any]:
        """Answers -> predictions as the target holds them."""
        self._ready()
        return self.task_.decode(answers) if len(answers) else []

    def answers(self, records: Any) -> Answers:
        """Answers with what was found in the records: presence, unreadable cells, remarks."""
        self._ready()
        records = self._some(records)
        cells, found, tokens = self._read(records, rivals=beside.needed(self.regressions_))
        answers, taken = self.task_.parts()[0].task.yardstick().constant(self.task_.nothing(), 0), None
        if len(records):
            answers, taken = self._said(tokens, found.plain, found.present_NV)
        return Answers(
            records, answers, found.present_NV, joined.faults(cells), self._remarks(records, cells),
            classes=list(self.task_.classes), views=list(found.names), task=self.task_, taken=taken,
        )

    def score(self, records: Any, y: Any = None) -> float:
        """Accuracy on the records that have a target; R² of numbers, the share of right sets of labels, as in scikit-learn;
        of words the main measure, such as CIDEr, with a minus before it where less is better.

        Of several targets the mean of theirs, over those that the records have.
        """
        self._ready()
        table = scored(self._open(records, y, lambda note: None))
        answers, found = self.answers(table.records).answers, []
        for aim in beside.aims_of(self.task_, table.targets):
            rows = np.flatnonzero(aim.has_N)
            if not len(rows):
                continue
            if aim.task.kind == "words":
                found.append(aim.yardstick.merit(answers[rows], aim.judged[rows])[0])
                continue
            name = {"classes": "accuracy", "numbers": "r2", "labels": "subset_accuracy"}[aim.task.kind]
            once = Resamples(len(rows), samples=1)
            mine = aim.yardstick.judge(aim.part.among(answers[rows]), aim.judged[rows], once, measures=[name])
            found.append(mine.values[name])
        return float(np.mean(found)) if len(found) > 1 else found[0]

    def _open(self, records: Any, y: Any, say: Callable[[str], None]) -> Table:
        """Records with their targets, read as the tasks read them."""
        parts = self.task_.parts()
        kinds, separators = zip(*((part.task.kind, getattr(part.task, "separator", ";")) for part in parts), strict=True)
        if len(parts) > 1:
            return open_targets(records, self._targets(), y, say, kinds, separators)
        return open_table(records, next(iter(self._targets()), None), y, say, kinds[0], separators[0])

    def _aside(self) -> tuple[str | None, ...]:
        return (*self._targets(), self.group, self.split)

    def _targets(self) -> list[str]:
        """Names of the targets."""
        return [part.name for part in self.task_.parts() if part.name] or named(self.target, [self.target])

    def evaluate(
        self, records: Any, y: Any = None, *, subsets: bool = False, by: str | None = None,
        samples: int = 1000, measures: str | Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Scores with intervals beside the baselines; with ``subsets`` every set of views and its specialist.

        Args:
            by: a column of the records; scores for each of its values too.
            samples: bootstrap resamples.
            measures: names of further measures, or "all"; see ``metrics.more``.

        Returns:
            The dict that ``polysense evaluate --json`` writes; of several targets {"targets": {name: such a dict}}.

        Raises:
            BadTable: more than ``max_bad`` of a column's cells cannot be read.
            BadColumn: there is no column ``by``.
            BadOption: there is no such measure for this task.
        """
        self._ready()
        wanted = asked(measures, self.task_)
        talk = Talk(self.verbose)
        table = scored(self._open(records, y, talk.say))
        judge_targets(table, on_bad=self.on_bad, max_bad=self.max_bad)
        values = None if by is None else column_of(table.records, by)
        cells, found, tokens = self._read(table.records, rivals=True)
        self._check_faults(cells)
        for remark in self._remarks(table.records, cells):
            talk.say(remark)
        rows = np.intersect1d(table.rows, self._to_judge(table.records, cells, talk))
        result = self._evaluation(
            found, tokens.only(rows) if len(rows) else tokens, rows, table.targets, groups_of(table.records, self.group),
            subsets=subsets, samples=samples, by=None if values is None else (by, [values[row] for row in rows]),
            measures=wanted,
        )
        bad = table.faults + joined.faults(cells)
        talk.bad_cells(bad, len(table.records))
        if "targets" not in result:
            return result | {"bad_cells": bad}
        for name, one in result["targets"].items():
            others = set(result["targets"]) - {name}
            one["bad_cells"] = [cell for cell in bad if cell["column"] not in others]
        return result

    def report(self, evaluation: Mapping[str, Any], records: Any, title: str = "", lang: str = "en") -> str:
        """An evaluation as one HTML page without outside resources.

        Args:
            evaluation: what ``evaluate`` returned.
            records: the same records, for the gallery of mistakes.
            title: heading.
            lang: en or zh.

        Raises:
            BadOption: the report does not speak this language.
        """
        from .judge.gallery import with_cells
        from .judge.report import html
        from .judge.words import Words

        say, records = Words(lang), as_records(records)
        encoders = dict(self.network_.encoders.encoders.items())
        source, cells = records.source, read_cells(records, self.schema_)
        shares = beside.each(self.task_, self.regressions_)
        usual = {("seeds", "1"), ("quality", "balanced")}
        recipe = {name: value for name, value in self._recipe().items() if (name, str(value)) not in usual}
        return html(
            evaluation, title=title or say("title", target=say("comma").join(self._targets()) or say("target"), source=source),
            lang=lang, history=self.history_,
            mistakes={
                name: with_cells([
                    *one["mistakes"],
                    *({**said, "spread": True} for said in self._with_words(one.get("said", ()), records, cells)),
                ], cells)
                for name, one in by_target(evaluation)
            },
            data=self.data_report_,
            made=shown_made(
                self.made_, recipe, encoders, {part.name: share.weight for part, share in shares},
                fingerprint(self.network_), {part.name: part.task.kind for part, _ in shares},
            ),
        )

    def _with_words(
        self, shown: Sequence[Mapping[str, Any]], records: Records, cells: Mapping[str, Cells]
    ) -> Sequence[Mapping[str, Any]]:
        """Records that are shown, each with where its words looked, if the decoder looks."""
        if not shown or not getattr(self.task_, "looks", False):
            return shown
        from .judge.looked import PIXELS, with_strips

        rows, images = [one["row"] for one in shown], [name for name, mine in cells.items() if mine.view.modality == "image"]

        def pictures(row: int) -> dict[str, np.ndarray]:
            found = {name: cells[name].values([row], PIXELS)[0] for name in images}
            return {name: value for name, value in found.items() if value is not None}

        looked = [  # a text that was taken from elsewhere was not looked for
            one if one is not None and one.text == said["prediction"] else None
            for one, said in zip(self.attention(records.take(rows)), shown, strict=True)
        ]
        return with_strips(shown, rows, looked, pictures)

    def attention_page(self, records: Any, title: str = "", lang: str = "en", most: int = 24) -> str:
        """Texts of records, spread evenly over a table, with where each word looked, as one HTML page.

        Args:
            title: heading.
            lang: en or zh.
            most: records that are shown.

        Raises:
            BadOption: the answers are no words, or the decoder looks at no positions.
        """
        from .judge.gallery import with_cells
        from .judge.report import pages_of_words

        self._ready()
        records = as_records(records)
        if not getattr(self.task_, "looks", False):
            raise BadOption(f"the model (task {self.task_.name}) looks at no positions; task.decoder=attend and transformer do")
        rows = np.unique(np.linspace(0, len(records) - 1, min(most, len(records))).astype(int)).tolist()
        cells = read_cells(records, self.schema_)
        said = self.tell(records.take(rows)) if rows else []
        shown = [{"row": row, "prediction": str(text)} for row, text in zip(rows, said, strict=True)]
        return pages_of_words(with_cells(self._with_words(shown, records, cells), cells), title or records.source, lang)

    def _evaluation(
        self, found: Gathered, tokens: Encoded, rows: np.ndarray, targets: Sequence[Any],
        groups: Sequence[Any] | None, *, subsets: bool, samples: int, by: tuple[str, list[Any]] | None = None,
        measures: Mapping[str, Sequence[str]] | None = None,
    ) -> dict[str, Any]:
        """Judge the given rows; ``tokens`` are of these rows, everything else is of all."""
        plain = only_of(found.plain, rows)
        result = evaluate_each(
            lambda mask: self._mixed(tokens, plain, mask), found.present_NV[rows], [targets[row] for row in rows],
            task=self.task_, views=found.names, rivals=self.rivals_, features=plain,
            groups=None if groups is None else _numbered([groups[row] for row in rows]), subsets=subsets,
            samples=samples, seed=self.seed, rows=rows.tolist(), by=by, measures=measures or {},
        )
        if self.task_.kind == "words" and beside.needed(self.regressions_):
            self._tell_origins([*result["said"], *result["mistakes"]], tokens, plain, found.present_NV[rows], rows.tolist())
        return result

    def _tell_origins(
        self, shown: Sequence[dict[str, Any]], tokens: Encoded, plain: Mapping[str, Any], mask_NV: np.ndarray, rows: list[int]
    ) -> None:
        """Say of the records that are shown whether their text was written or taken."""
        at = np.array(sorted({rows.index(one["row"]) for one in shown}), int)
        if not len(at):
            return
        _, taken = self._said(tokens.only(at), only_of(plain, at), mask_NV[at])
        origins = dict(zip((rows[i] for i in at), origins_of(taken), strict=True))
        for one in shown:
            one["origin"] = origins[one["row"]]

    def _mixed(self, tokens: Encoded, plain: Mapping[str, Any], mask_NV: np.ndarray) -> np.ndarray:
        """(N, C): the network's answer and the regressions', by their shares, in the target's unit; (N,) of words."""
        return self._said(tokens, plain, mask_NV)[0]

    def _said(
        self, tokens: Encoded, plain: Mapping[str, Any], mask_NV: np.ndarray
    ) -> tuple[np.ndarray, list[int | None] | None]:
        """The answers, and of texts the training rows that they were taken from; None where none are taken."""
        if self.task_.kind == "words":
            found = self._evidence(tokens, plain, mask_NV)
            answers, taken = beside.decided(self.task_, found, self.rivals_)
            return answers, taken if beside.needed(self.regressions_) else None
        if self.several_:
            return self.several_.mixed(tokens, plain, mask_NV, self.task_.nothing()), None
        speaker = Speaker(self.network_, self.task_, tokens)
        return beside.mixed(self.task_, speaker, self.rivals_, self.regressions_, plain, mask_NV), None

    def _evidence(
        self, tokens: Encoded, plain: Mapping[str, Any], mask_NV: np.ndarray, alone: bool = True
    ) -> list[Evidence]:
        """What speaks for which text, of each record; ``alone`` as in ``learn.consensus.evidence``."""
        if self.several_:
            return self.several_.evidence(tokens, plain, mask_NV, self.task_.nothing())
        speaker = Speaker(self.network_, self.task_, tokens)
        return evidence(speaker, self.rivals_, self.regressions_, plain, mask_NV, alone)

    def _read(self, records: Records, *, rivals: bool) -> tuple[dict[str, Cells], Gathered, Any]:
        cells = self._cells(records)
        if self.several_:
            return cells, *self.several_.numbers(cells, rivals=rivals)
        return cells, *self._numbers(cells, rivals=rivals)

    def _repr_html_(self) -> str:
        """What a notebook shows: the settings before ``fit``, afterwards what was learned."""
        settings = self.get_params(deep=False)
        if not hasattr(self, "network_"):
            return notebook.settings_html({k: v for k, v in settings.items() if v != getattr(type(self)(), k)})
        return notebook.model_html(
            targets=[
                (part.name or self.target, part.task.kind, list(part.task.classes), share.weight)
                for part, share in beside.each(self.task_, self.regressions_)
            ],
            encoders=self._encoders(), fusion=self.network_.fusion.name, data=self.data_report_, made=self.made_,
            valid=self.valid_,
        )

    def _repr_mimebundle_(self, **more: Any) -> dict[str, str]:
        """Notebooks ask for this one first, which scikit-learn has too."""
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _encoders(self) -> dict[str, str]:
        return {view: full_name(encoder) for view, encoder in self.network_.encoders.encoders.items()}

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
        settings, learned = self._recipe(), self._learned()
        processes.from_first(lambda: keep.save(Path(folder), settings, learned, with_towers=with_towers))
        if hasattr(self, "checkpoints_"):
            self.checkpoints_.remove()

    def _settings(self) -> dict[str, Any]:
        settings = super()._settings()
        return settings | {name: value for name, value in self.chosen_.items() if name not in NOT_KEPT}

    def _told(self) -> dict[str, Any]:
        """Settings that leave nothing of the targets to be guessed."""
        parts = self.task_.parts()
        if len(parts) == 1:
            return {"task": self.task_.name}
        return {"target": self._targets(), "task": {part.name: part.task.name for part in parts}}

    def _recipe(self) -> dict[str, Any]:
        """The settings that make this model again: task and encoders named, with just the options that these have."""
        settings, named = self._settings(), self._encoders()
        options = fitting_options(settings["options"], named)
        return settings | self._told() | {
            "encoders": named, "options": options, "fusion": self.network_.fusion.name,
        }

    def _learned(self) -> keep.Learned:
        facts = {"history": self.history_, "data": self.data_report_, "made": self.made_, "valid": self.valid_}
        parts = [one._learned() for one in self.several_.models] if self.several_ else []
        return keep.Learned(
            self.network_, self.task_, self.schema_, self.plains_, self.rivals_, self.regressions_, facts, parts
        )

    @classmethod
    def load(
        cls, folder: str | Path, encoders: Mapping[str, torch.nn.Module] | None = None, *, download: bool = False
    ) -> Model:
        """Read a model folder that ``save`` wrote.

        Args:
            folder: or an id of the Hugging Face Hub such as ``org/name``, looked up in its cache on this machine.
            encoders: own modules, for the views that were trained with one.
            download: an id that is not in the cache may be downloaded; otherwise nothing touches the network.

        Raises:
            BadModel: damaged, foreign, or trained with another tower.
        """
        place = find_model(folder, fetch=download)
        recipe, learned = keep.load(place, encoders)
        self = cls(**recipe)
        self._accept(learned)
        for encoder in self.network_.encoders.encoders.values():
            encoder.download = download  # a tower that is named by its id
        self.task_.allow(download=download, carried=Path(place) / "towers" / keep.OF_TASK)
        return self


def _numbered(names: Sequence[Any]) -> np.ndarray:
    """Equal names, equal numbers."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], int)

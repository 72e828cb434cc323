"""Unfinished fits: killed, interrupted, out of disk; taken up again they end in the same bits."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from polysense import store
from polysense.errors import BadOption, Interrupted, Mistake
from polysense.learn import resume
from polysense.learn.features import Views
from polysense.learn.loop import train
from polysense.learn.resume import Checkpoints, Interrupt
from polysense.learn.training import OPTIMISERS, SCHEDULES
from small import model, records
from test_loop import ROWS, TARGETS, VALID, network, small, views, weights


class Killed(Exception):
    """Stands for SIGKILL where a process of its own would take too long."""


class Doomed(Views):
    """Views that die when the given batch is asked for."""

    def __init__(self, data: Views, dies: int) -> None:
        super().__init__(data.names, data.present_NV, data.frozen)
        self.dies = dies

    def batch(self, rows, device="cpu"):
        if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():  # a batch of training
            self.dies -= 1
            if self.dies < 0:
                raise Killed
        return super().batch(rows, device)


def measure(answers, rows):
    label = TARGETS["label"][rows]
    return {"loss": float(-np.log(answers[np.arange(len(rows)), label] + 1e-9).mean())}


def run(options, data=None, kept=None, start: int = 0, **more):
    made = network(options, start)
    history = train(
        made, data or views(), TARGETS, ROWS, VALID, options=options, seed=3, measure=measure, kept=kept, **more
    )
    return made, history


def open_(folder: Path, resumed: bool = True, **more) -> Checkpoints:
    return Checkpoints(folder, {"settings": {"seed": 3}}, resume=resumed, **{"seconds": 0, **more})


# the same bits ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def no_sync():
    """The disk need not be waited for where no power will be cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@given(
    dies=st.lists(st.integers(0, 8), min_size=1, max_size=3), optimiser=st.sampled_from(list(OPTIMISERS)),
    schedule=st.sampled_from(SCHEDULES), accumulate=st.integers(1, 3), ema=st.sampled_from([0.0, 0.5]), mixup=st.sampled_from([0.0, 0.4]), stall=st.just(1), patience=st.integers(0, 2), average=st.integers(0, 3),
    l1=st.sampled_from([0.0, 1e-3]), batch=st.sampled_from([5, 8, 18]), epochs=st.integers(1, 3),
    clip=st.sampled_from([0.0, 1.0]), drop=st.sampled_from([0.0, 0.5]),
)
@example(dies=[4, 2], optimiser="gd", schedule="plateau", accumulate=1, ema=0.5, mixup=0.4, stall=1, patience=0, average=0, l1=1e-3, batch=5,
         epochs=3, clip=1.0, drop=0.5)
@example(dies=[1, 5], optimiser="nadam", schedule="plateau", accumulate=2, ema=0.0, mixup=0.0, stall=1, patience=2, average=0, l1=0.0,
         batch=5, epochs=3, clip=1.0, drop=0.5)
@settings(max_examples=16)
def test_killed_at_any_batch_it_ends_in_the_same_bits(no_sync, dies, **options):
    """However often, wherever; the network that goes on from a checkpoint is another one, with other first weights."""
    chosen = small(**options)
    whole, history = run(chosen)
    with tempfile.TemporaryDirectory() as folder:
        for batches in [*dies, 10_000]:
            other = 7 if list(Path(folder).glob("f/step-*")) else 0
            try:
                made, again = run(chosen, Doomed(views(), batches), open_(Path(folder) / "f"), other)
            except Killed:
                continue
    assert torch.equal(weights(made), weights(whole))
    assert vars(again) == vars(history)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser_resumes(no_sync, tmp_path, optimiser):
    """Slots that are no tensors of the parameter's shape included: step counts, NAdam's product of momenta."""
    chosen = small(optimiser=optimiser, epochs=2)
    whole, _ = run(chosen)
    with pytest.raises(Killed):
        run(chosen, Doomed(views(), 4), open_(tmp_path / "f"))
    made, _ = run(chosen, None, open_(tmp_path / "f"), 7)
    assert torch.equal(weights(made), weights(whole))


def test_skipped_batches_are_remembered(tmp_path):
    data = views()
    data.frozen["a"][7] = np.nan
    options = small(epochs=2)
    with pytest.raises(Killed):
        run(options, Doomed(data, 4), open_(tmp_path / "f"))
    made, history = run(options, data, open_(tmp_path / "f"), names=lambda row: f"row {row}")
    whole, expected = run(options, data, names=lambda row: f"row {row}")
    assert torch.equal(weights(made), weights(whole)) and len(history.skipped) == len(expected.skipped) == 2


def test_what_is_over_is_not_done_again(tmp_path):
    """Killed after training, while judging or saving: the weights are there."""
    whole, history = run(small(), kept=open_(tmp_path / "f"))
    made, again = run(small(), Doomed(views(), 0), open_(tmp_path / "f"), start=5)
    assert torch.equal(weights(made), weights(whole)) and vars(again) == vars(history)
    assert not made.training


def test_the_random_states_come_back():
    """Of torch, numpy and Python: an own encoder may draw from any of them."""
    import random

    state = resume.random_state()
    drawn = [torch.rand(3).tolist(), np.random.rand(3).tolist(), np.random.randn(), random.random()]
    resume.set_random_state(state)
    assert drawn == [torch.rand(3).tolist(), np.random.rand(3).tolist(), np.random.randn(), random.random()]


# what lies on the disk --------------------------------------------------------------------------------


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    said: list[str] = []
    options = small()
    with pytest.raises(Killed):
        run(options, Doomed(views(), 5), open_(tmp_path / "f"))
    last, before = sorted(tmp_path.glob("f/step-*"), reverse=True)
    file = last / "tree.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    made, _ = run(options, kept=open_(tmp_path / "f", say=said.append))
    assert said[1] == f"the checkpoint {last} is damaged; taking the one before"
    assert torch.equal(weights(made), weights(run(options)[0]))


def test_without_a_whole_one_it_begins_at_the_beginning(tmp_path):
    with pytest.raises(Killed):
        run(small(), Doomed(views(), 1), open_(tmp_path / "f"))
    for path in tmp_path.glob("f/step-*/model.json"):
        path.write_bytes(b"")
    assert torch.equal(weights(run(small(), kept=open_(tmp_path / "f"))[0]), weights(run(small())[0]))


def test_a_bounded_number_is_kept_and_none_in_the_end(tmp_path):
    seen = []

    class Watching(Checkpoints):
        def save(self, tree):
            done = super().save(tree)
            seen.append(sorted(path.name for path in self.folder.iterdir()))
            return done

    kept = Watching(tmp_path / "f", {}, seconds=0)
    run(small(), kept=kept)
    assert len(seen) == 12, "after 9 batches, at the ends of 2 epochs, and at the end of all"
    assert all(len([name for name in names if name.startswith("step-")]) <= resume.KEEP for names in seen)
    assert seen[-1] == ["begun", "step-00000011", "step-00000012"]
    kept.remove()
    assert not list(tmp_path.iterdir())


def test_checkpoints_are_rare_where_they_are_dear(tmp_path, monkeypatch):
    """Every 30 seconds, at the end of an epoch after 5; but one that took a second not within the next 50."""
    now = [0.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    kept = Checkpoints(tmp_path / "f", {})
    due = lambda at, **more: (now.__setitem__(0, at), kept.due(**more))[1]
    assert not due(29.9) and due(30.0) and not due(4.9, epoch=True) and due(5.0, epoch=True)
    monkeypatch.setattr(kept, "_keep", lambda name, tree: bool(now.__setitem__(0, now[0] + 1)) or True)
    monkeypatch.setattr(kept, "_steps", list)
    now[0] = 30.0
    kept.save({})
    assert not due(80.9) and due(81.1) and not due(80.9, epoch=True)


def test_a_full_disk_costs_the_checkpoint_not_the_training(tmp_path, monkeypatch):
    """The one before stays; it is said once, and tried again."""
    said: list[str] = []
    kept, real, calls = open_(tmp_path / "f", say=said.append), os.fsync, [0]

    def full(handle):
        calls[0] += 1
        if 20 < calls[0] < 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle)

    monkeypatch.setattr(os, "fsync", full)
    made, _ = run(small(epochs=6), kept=kept)
    assert torch.equal(weights(made), weights(run(small(epochs=6))[0]))
    told = [text for text in said if "No space" in text]
    assert len(told) == 1 and "the fit goes on, and tries again at the next" in told[0]
    assert kept.latest()["over"] and not list(tmp_path.glob("f/.*"))


def test_another_fit_is_told_apart(tmp_path):
    kept = Checkpoints(tmp_path / "f", {"settings": {"train.epochs": 3}, "records": ["a"]}, seconds=0)
    kept.save({})
    for facts, said in (
        ({"settings": {"train.epochs": 4}, "records": ["a"]}, "train.epochs was 3 and is 4"),
        ({"settings": {"train.epochs": 3, "seed": 1}, "records": ["a"]}, "seed was None and is 1"),
        ({"settings": {"train.epochs": 3}, "records": ["b"]}, "the table's content has changed"),
    ):
        with pytest.raises(BadOption, match=f"cannot be resumed: {said}; begin anew without --resume"):
            Checkpoints(tmp_path / "f", facts, resume=True)


def test_what_is_there_is_said(tmp_path):
    said: list[str] = []
    open_(tmp_path / "f", say=said.append)
    assert said == [f"there is no unfinished fit in {tmp_path / 'f'}; beginning at the beginning"]
    open_(tmp_path / "f", False).save({"x": 1})
    new = open_(tmp_path / "f", False, say=said.append)
    assert "an unfinished fit lies in" in said[1] and "--resume" in said[1]
    assert open_(tmp_path / "f").latest() == {"x": 1}, "it is replaced by what comes, not before"
    assert new.latest() is None
    new.save({"x": 2})
    assert open_(tmp_path / "f").latest() == {"x": 2} and len(list(tmp_path.glob("f/step-*"))) == 1


def test_a_folder_of_someone_else_is_left_alone(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "thesis.txt").write_text("x")
    with pytest.raises(Mistake, match="holds something other than an unfinished fit"):
        Checkpoints(tmp_path / "f", {})
    assert (tmp_path / "f" / "thesis.txt").exists()


# signals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_ends_training_after_a_checkpoint(tmp_path, number, word):
    before = signal.getsignal(number)
    kept = open_(tmp_path / "f", seconds=3600)
    with pytest.raises(Interrupted, match=f"{word} in epoch 2 of 3; --resume goes on from .*f") as caught:
        run(small(), kept=kept, log=lambda epoch: os.kill(os.getpid(), number))
    assert caught.value.exit_code == 128 + number and signal.getsignal(number) == before
    made, _ = run(small(), kept=open_(tmp_path / "f"), start=4)
    assert torch.equal(weights(made), weights(run(small())[0]))


def test_a_signal_in_the_last_epoch_is_not_lost(tmp_path):
    with pytest.raises(Interrupted, match="interrupted after training"):
        run(small(epochs=1), kept=open_(tmp_path / "f"), log=lambda epoch: os.kill(os.getpid(), signal.SIGINT))
    assert open_(tmp_path / "f").latest()["over"]


def test_the_second_signal_does_not_wait():
    with pytest.raises(KeyboardInterrupt), Interrupt(True) as waits:
        os.kill(os.getpid(), signal.SIGINT)
        assert waits.signal == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)


def test_without_checkpoints_and_in_other_threads_signals_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    with Interrupt(False):
        assert signal.getsignal(signal.SIGINT) == before
    seen = []
    thread = threading.Thread(target=lambda: seen.append(run(small())[1]))
    thread.start()
    thread.join()
    assert len(seen[0].epochs) == 3


# the whole fit ----------------------------------------------------------------------------------------


def kept_facts(folder: Path) -> dict:
    """Everything in a model folder but when and how long, the hashes of its files included."""
    facts, _ = store.load(folder)
    facts["made"] = {key: value for key, value in facts["made"].items() if key not in ("date", "cpu_seconds")}
    return facts


def test_stages_before_training_are_not_done_again(tmp_path, monkeypatch):
    """Killed when training begins: encoders, plain features and rivals are read, and the model is the same."""
    from polysense import estimator as home
    from polysense.learn import beside

    options = {"encoders": {"text": "text.bag", "picture": "image.plain"}, "options": {"train.epochs": 2}}
    data = records(40, views="text picture table")
    model("text picture table", **options).fit(data).save(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(home, "train", lambda *args, **more: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            model("text picture table", **options).fit(data, checkpoints=tmp_path / "f")
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == ["begun", "stage-encoders", "stage-plain", "stage-rivals"]
    for name in ("choose_encoders", "fit_plain"):
        monkeypatch.setattr(home, name, None)
    monkeypatch.setattr(beside.Rivals, "train", None)
    again = model("text picture table", **options).fit(data, checkpoints=tmp_path / "f", resume=True)
    assert (tmp_path / "f").exists(), "kept until the model is saved"
    again.save(tmp_path / "again")
    assert not (tmp_path / "f").exists()
    assert kept_facts(tmp_path / "again") == kept_facts(tmp_path / "whole")


def test_another_table_or_other_settings_are_named(tmp_path):
    data = records(30)
    model(options={"train.checkpoint": 0}).fit(data, checkpoints=tmp_path / "f")
    with pytest.raises(BadOption, match="the table's content has changed"):
        model().fit(data[:-1] + [data[0]], checkpoints=tmp_path / "f", resume=True)
    with pytest.raises(BadOption, match="train.dim was 8 and is 9"):
        model(options={"train.dim": 9}).fit(data, checkpoints=tmp_path / "f", resume=True)
    with pytest.raises(BadOption, match="resume=True needs the folder"):
        model().fit(data, resume=True)
    model(options={"train.checkpoint": 99}).fit(data, checkpoints=tmp_path / "f", resume=True)


def test_tensorboard_files_hold_every_epoch_once(tmp_path, monkeypatch):
    """Read back: loss, rate and validation figures of epochs 1 to 3, each once, also after a kill."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from polysense.learn import board

    chosen = {"options": {"train.epochs": 3, "train.checkpoint": 0}, "tensorboard": str(tmp_path / "board")}
    write = board.Board.write

    def dying(self, figures):
        write(self, figures)
        if figures["epoch"] == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(board.Board, "write", dying)
        with pytest.raises(Killed):
            model(**chosen).fit(records(30), checkpoints=tmp_path / "f")
    made = model(**chosen).fit(records(30), checkpoints=tmp_path / "f", resume=True)
    read = EventAccumulator(str(tmp_path / "board"))
    read.Reload()
    assert set(read.Tags()["scalars"]) == {"train/loss", "train/rate", "valid/loss", "valid/accuracy"}
    for name, key in (("train/loss", "loss"), ("valid/loss", "valid_loss")):
        assert [event.step for event in read.Scalars(name)] == [1, 2, 3]
        np.testing.assert_allclose([event.value for event in read.Scalars(name)], [e[key] for e in made.history_], rtol=1e-6)


def test_without_its_extra_tensorboard_is_one_sentence(monkeypatch):
    from polysense.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtra, match=r"pip install 'polysense\[tensorboard\]'"):
        model(tensorboard="board").fit(records(30))


@pytest.mark.parametrize("limit", [0, -1, True, "soon", float("nan")])
def test_a_wrong_time_limit_is_named(limit):
    with pytest.raises(BadOption, match="time_limit=.* must be a number of seconds above 0"):
        model(time_limit=limit).fit(records(30))


def test_a_time_limit_ends_in_a_model(tmp_path):
    made = model(time_limit=0.01, options={"train.epochs": 10_000}).fit(records(30))
    assert len(made.history_) == 1 and made.predict(records(3)).shape == (3,)
    made.save(tmp_path / "m")
    assert "time_limit" not in store.load(tmp_path / "m")[0]["recipe"]


def test_a_mistake_leaves_no_unfinished_fit(tmp_path, monkeypatch):
    from polysense import model as home

    def wrong(*args, **more):
        raise Mistake("wrong")

    monkeypatch.setattr(home, "fit_conditions", wrong)
    with pytest.raises(Mistake):
        model().fit(records(30), checkpoints=tmp_path / "f")
    assert not (tmp_path / "f").exists()


ENTRY = "import sys; from polysense.__main__ import main; sys.argv[0] = 'polysense'; main()"


@pytest.mark.slow
def test_the_command_is_stopped_and_goes_on(tmp_path):
    """Ctrl-C in training: one sentence that names --resume, 130; SIGTERM: 143; then it comes to its end."""
    table, out = tmp_path / "t.jsonl", tmp_path / "m"
    table.write_text("\n".join(json.dumps(record) for record in records(40)), encoding="utf-8")
    typed = [
        "fit", table, "--target", "label", "--out", out, "--encoder", "text=text.plain", "--set", "train.epochs=3000",
        "--set", "train.dim=8", "--set", "train.members=1", "--set", "train.batch=40", "--set", "train.checkpoint=0.2",
    ]
    for number, word in ((signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")):
        process = subprocess.Popen(
            [sys.executable, "-c", ENTRY, *map(str, typed), "--resume"], stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        known = len(list(out.parent.glob("m.fitting/step-*")))
        before = max((path.name for path in out.parent.glob("m.fitting/step-*")), default="")
        while max((path.name for path in out.parent.glob("m.fitting/step-*")), default="") <= before:
            assert process.poll() is None, (known, process.stderr.read())
            time.sleep(0.05)
        process.send_signal(number)
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 128 + number, said
        assert said.rstrip().splitlines()[-1].startswith(f"polysense: {word} in epoch") and "--resume goes on from" in said
        assert "Traceback" not in said and not out.exists()
    done = subprocess.run(
        [sys.executable, "-c", ENTRY, *map(str, typed), "--resume", "--time-limit", "0.1"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "going on with the unfinished fit" in done.stderr and "the time limit ended" in done.stderr
    assert store.load(out) and not out.with_name("m.fitting").exists()


def test_ctrl_c_while_everything_is_read_in_shows_no_traceback(tmp_path):
    """Where the command line's own modules are imported: one line, 130."""
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = subprocess.run(
        [sys.executable, "-c", ENTRY, "list"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
    )
    assert (done.returncode, done.stderr) == (130, "polysense: interrupted\n")


@pytest.mark.slow
def test_ten_kills():
    """Real ones, at random moments of training and saving; fifty of them in ``make bench``."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
    try:
        import kill
    finally:
        sys.path.pop(0)
    equal, kills = kill.rounds(10, say=lambda line: None)
    assert equal == 10 <= kills

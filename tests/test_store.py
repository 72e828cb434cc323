"""Model folders: whole, or refused with a sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import polysense
from polysense import store
from polysense.errors import BadModel, CannotWrite, Mistake
from small import model, records

TREE = {"words": ["a", None, 1.5, True], "deep": {"array": np.arange(6.0).reshape(2, 3), "file": b"\x00\xffx"},
        "list": [np.int64(3), np.arange(2)]}


@pytest.fixture
def folder(tmp_path) -> Path:
    store.save(tmp_path / "m", {"kind": "test", "name": "早上好"}, {"part": TREE, "none": {}})
    return tmp_path / "m"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A real model, with a picture, text and table view."""
    folder = tmp_path_factory.mktemp("store") / "model"
    model("picture text table").fit(records(30, views="picture text table")).save(folder)
    return folder


def test_what_was_saved_comes_back(folder):
    facts, parts = store.load(folder)
    assert facts["kind"] == "test" and facts["name"] == "早上好" and facts["format"] == "polysense"
    tree = parts["part"]
    assert tree["words"] == TREE["words"] and tree["deep"]["file"] == b"\x00\xffx" and tree["list"][0] == 3
    np.testing.assert_array_equal(tree["deep"]["array"], TREE["deep"]["array"])
    np.testing.assert_array_equal(tree["list"][1], [0, 1])
    assert parts["none"] == {}


def test_model_json_names_every_file_with_its_hash(saved):
    outer = json.loads((saved / "model.json").read_text(encoding="utf-8"))
    named = outer["model"]["files"]
    assert set(named) | {"model.json", "README.md"} == {path.name for path in saved.iterdir()}, "the card is the user's"
    assert "model.safetensors" in named
    for name, seal in named.items():
        assert hashlib.sha256((saved / name).read_bytes()).hexdigest() == seal
    assert not list(saved.glob("*.p*k*l")) and not list(saved.glob("*.pt"))


def test_any_flipped_bit_is_noticed(saved, tmp_path):
    """One bit at the beginning, in the middle, at the end, and at forty places between, of every file."""
    copy = tmp_path / "model"
    shutil.copytree(saved, copy)
    (copy / "README.md").unlink()  # the user may change the card
    for path in sorted(copy.iterdir()):
        whole = path.read_bytes()
        for place in sorted({0, len(whole) // 2, len(whole) - 2, *np.linspace(0, len(whole) - 2, 40, dtype=int).tolist()}):
            spoilt = bytearray(whole)
            spoilt[place] ^= 1 << place % 8
            path.write_bytes(spoilt)
            with pytest.raises(BadModel) as caught:
                store.load(copy)
            assert caught.value.exit_code == 2 and "\n" not in str(caught.value) and path.name in str(caught.value)
        path.write_bytes(whole)
    store.load(copy)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_file_is_refused(saved, tmp_path, share):
    for name in ("model.json", "model.safetensors"):
        copy = tmp_path / name
        shutil.copytree(saved, copy)
        whole = (copy / name).read_bytes()
        (copy / name).write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(BadModel, match="damaged"):
            polysense.load(copy)


def test_a_missing_file_and_exchanged_files_are_refused(saved, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(saved, copy)
    (copy / "model.safetensors").rename(copy / "aside")
    with pytest.raises(BadModel, match="the file 'model.safetensors' is missing"):
        polysense.load(copy)
    (copy / "rivals.safetensors").rename(copy / "model.safetensors")
    (copy / "aside").rename(copy / "rivals.safetensors")
    with pytest.raises(BadModel, match="damaged or was changed: its sha256 differs"):
        polysense.load(copy)


def test_a_file_outside_the_folder_is_never_read(folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    rewrite(folder, files={"../secret": hashlib.sha256(b"x").hexdigest()})
    with pytest.raises(BadModel, match="names the file '../secret' outside its folder"):
        store.load(folder)


def rewrite(folder: Path, **changes) -> None:
    """model.json with other facts and a seal that fits them."""
    outer = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    body = json.dumps(outer["model"] | changes, ensure_ascii=False, indent=1)
    seal = hashlib.sha256(body.encode()).hexdigest()
    (folder / "model.json").write_text(f'{{"seal": "{seal}", "model":\n{body}}}\n', encoding="utf-8")


def test_foreign_and_newer_folders_are_refused(folder, tmp_path):
    rewrite(folder, version=2)
    with pytest.raises(BadModel, match=r"written by a newer polysense \(format 2\); update polysense"):
        store.load(folder)
    rewrite(folder, format="other")
    with pytest.raises(BadModel, match="is no polysense model"):
        store.load(folder)
    rewrite(folder, format="polysense", version=1)
    with pytest.raises(BadModel, match="holds a test, not a model"):
        polysense.load(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadModel, match="there is no model.json in it"):
        polysense.load(tmp_path / "empty")
    with pytest.raises(BadModel, match="there is no such folder"):
        polysense.load(tmp_path / "nowhere")


def test_a_fitting_seal_does_not_make_it_ours(folder):
    """JSON that someone wrote with its hash: refused all the same."""
    for body in ("3", "[]", "{}", '{"format": "polysense"}'):
        seal = hashlib.sha256(body.encode()).hexdigest()
        (folder / "model.json").write_text(f'{{"seal": "{seal}", "model":\n{body}}}\n', encoding="utf-8")
        with pytest.raises(BadModel, match="is no polysense model|does not say what the model is made of"):
            store.load(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"model": {}}', "{" * 10_000, "[" * 100_000, '{"model": 1, "seal": 2}\n', "\xff"])
def test_json_that_is_none_of_ours_is_refused(folder, text):
    (folder / "model.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadModel, match="model.json is damaged"):
        store.load(folder)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.pkl", "model.pickle", "model.joblib", "model.bin", "model.ckpt"])
def test_files_that_could_run_code_are_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(BadModel, match="could run code"):
        polysense.load(tmp_path / name)


# where it may be written --------------------------------------------------------------------------------


def test_a_folder_of_something_else_is_left_alone(folder, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    for target in ("photos", "photos/a.jpg"):
        with pytest.raises(Mistake, match="name (another|a) folder"):
            store.save(tmp_path / target, {}, {})
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == b"x"


def test_an_older_model_is_replaced_whole(folder):
    (folder / "leftover.txt").write_text("old")
    store.save(folder, {"kind": "second"}, {"other": {}})
    assert store.load(folder)[0]["kind"] == "second"
    assert sorted(path.name for path in folder.iterdir()) == ["model.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["m"], "nothing is left beside it"


def test_an_empty_folder_and_a_new_one_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "deep/new"):
        store.save(tmp_path / name, {"kind": "test"}, {})
        assert store.load(tmp_path / name)[0]["kind"] == "test"


def fail_at(monkeypatch, step: str, times: int) -> None:
    """The disk is full at the n-th call of a step."""
    where = Path if step == "rename" else os
    real, count = getattr(where, step), iter(range(100))

    def full(*args, **more):
        if next(count) == times:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **more)

    monkeypatch.setattr(where, step, full)


@pytest.mark.parametrize(("step", "times"), [("fsync", 0), ("fsync", 1), ("rename", 0), ("rename", 1)])
def test_a_full_disk_leaves_the_model_that_was_there(folder, monkeypatch, step, times):
    """At the first or second file, or while the folders change places, one after the other."""
    with monkeypatch.context() as patch:
        patch.setattr(store, "_exchange", lambda one, other: False)
        fail_at(patch, step, times)
        with pytest.raises(CannotWrite, match="could not be written to .*: No space left on device") as caught:
            store.save(folder, {"kind": "second"}, {"part": TREE})
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
    assert store.load(folder)[0]["kind"] == "test"
    assert [path.name for path in folder.parent.iterdir()] == ["m"], "nothing half done is left"


def test_a_full_disk_where_nothing_was_leaves_nothing(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fail_at(patch, "fsync", 1)
        with pytest.raises(CannotWrite):
            store.save(tmp_path / "m", {}, {"part": TREE})
    assert not list(tmp_path.iterdir())


def killed_at(step: int, work) -> bool:
    """Do the work in a process of its own that dies, as by SIGKILL, before it touches the disk for the n-th time."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    touched = [0]

    def watch(event: str, arguments: tuple) -> None:
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "shutil.rmtree"):
            touched[0] += 1
            if touched[0] > step:
                os._exit(9)

    sys.addaudithook(watch)
    try:
        work()
    finally:
        os._exit(0)


@pytest.mark.parametrize("at_once", [True, False])
def test_killed_at_any_step_of_saving_the_old_model_or_the_new_one_is_there(tmp_path, monkeypatch, at_once):
    """With both folders changing places in one step, and where the system can only rename one after the other."""
    if not at_once:
        monkeypatch.setattr(store, "_exchange", lambda one, other: False)
    seen = []
    for step in range(200):
        folder = tmp_path / str(step) / "m"
        store.save(folder, {"kind": "old"}, {"part": TREE})
        killed = killed_at(step, lambda folder=folder: store.save(folder, {"kind": "new"}, {"part": TREE}))
        seen.append(store.load(folder)[0]["kind"])
        store.save(folder, {"kind": "third"}, {"part": TREE})
        assert [path.name for path in folder.parent.iterdir()] == ["m"], "what was left aside is cleared away"
        if not killed:
            break
    assert not killed and seen[0] == "old" and seen[-1] == "new" and seen == sorted(seen, reverse=True)
    assert len(seen) > 10


def test_what_a_living_process_has_aside_is_left_alone(folder):
    aside = folder.with_name(f".m.{os.getppid()}.new")
    aside.mkdir()
    store.save(folder, {"kind": "second"}, {"part": TREE})
    assert aside.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(CannotWrite, match="Permission denied"):
        store.save(tmp_path / "closed" / "m", {}, {})


def test_every_byte_is_synced_before_the_folder_gets_its_name(tmp_path, monkeypatch):
    """Written aside, synced, then renamed: the order that a power cut respects."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda number: (done.append("sync"), fsync(number))[1])
    monkeypatch.setattr(Path, "rename", lambda self, to: (done.append("rename"), rename(self, to))[1])
    store.save(tmp_path / "m", {}, {"part": TREE})
    assert done[:3] == ["sync"] * 3 and done.count("rename") == 1 and "rename" in done[3:]

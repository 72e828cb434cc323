"""Model folders: JSON, safetensors and plain files, each with its hash; written aside, then renamed.

A state tree (dicts of JSON values, numpy arrays and bytes) is kept as three things: JSON with
references, arrays, and files. Nothing here can run code when read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import BadModel, CannotWrite, Mistake

FORMAT = "polysense"
VERSION = 1
MAIN = "model.json"
#: What model.json must hold -> its type.
_MADE_OF = {"version": int, "files": dict, "copies": dict, "parts": dict}


def pack(tree: Any, path: str, arrays: dict[str, np.ndarray], files: dict[str, bytes]) -> Any:
    """Move arrays and bytes out of a tree; what is left is JSON.

    >>> arrays, files = {}, {}
    >>> pack({"a": 1, "b": np.zeros(2), "c": b"x"}, "p", arrays, files)
    {'a': 1, 'b': {'$array': 'p.b'}, 'c': {'$file': 'p.c'}}
    >>> sorted(arrays), sorted(files)
    (['p.b'], ['p.c'])
    """
    if isinstance(tree, Mapping):
        return {str(key): pack(value, f"{path}.{key}", arrays, files) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [pack(value, f"{path}.{i}", arrays, files) for i, value in enumerate(tree)]
    if isinstance(tree, np.ndarray):
        arrays[path] = np.asarray(tree, order="C")  # ascontiguousarray would make a vector of a single number
        return {"$array": path}
    if isinstance(tree, bytes):
        name = "".join(letter if letter.isalnum() or letter in "._-" else f"%{ord(letter):02X}" for letter in path)
        files[name] = tree
        return {"$file": name}
    if isinstance(tree, np.generic):
        return tree.item()
    return tree


def unpack(tree: Any, arrays: Mapping[str, np.ndarray], files: Mapping[str, bytes]) -> Any:
    """Undo ``pack``."""
    if isinstance(tree, dict):
        if set(tree) == {"$array"}:
            return arrays[tree["$array"]]
        if set(tree) == {"$file"}:
            return files[tree["$file"]]
        return {key: unpack(value, arrays, files) for key, value in tree.items()}
    if isinstance(tree, list):
        return [unpack(value, arrays, files) for value in tree]
    return tree


def is_model(folder: Path) -> bool:
    """The folder holds a model of ours, whole or damaged."""
    return (folder / MAIN).is_file()


def check_target(folder: Path) -> None:
    """Refuse an output folder before hours of work are spent on it.

    Raises:
        Mistake: a file stands there, or a folder that holds something other than a model.
    """
    if folder.exists() and not folder.is_dir():
        raise Mistake(f"{folder} is a file; name a folder for the model")
    if folder.is_dir() and any(folder.iterdir()) and not is_model(folder):
        raise Mistake(f"{folder} exists and holds something other than a model; name another folder or empty it")


def check_model(folder: Path) -> None:
    """Refuse what cannot be a model folder, at a glance.

    Raises:
        BadModel: there is none, or a file that could run code.
    """
    if folder.suffix in (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".bin", ".ckpt"):
        raise BadModel(f"{folder} is a file that could run code when read; polysense models are folders with {MAIN}")
    if not folder.exists():
        recover(folder)
    if not folder.exists():
        raise BadModel(f"{folder} is no polysense model: there is no such folder; fit one (polysense fit ... --out {folder})")
    if not is_model(folder):
        raise BadModel(f"{folder} is no polysense model: there is no {MAIN} in it")


def save(
    folder: Path, facts: dict[str, Any], parts: Mapping[str, Any], copies: Mapping[str, Path] | None = None,
    notes: Mapping[str, bytes] | None = None, *, what: str = "the model",
) -> None:
    """Write a model folder; an older model there is replaced only when the new one is whole.

    Killed at any moment, it leaves the older model or the new one.

    Args:
        facts: readable facts, the top of model.json.
        parts: {name: state tree}; arrays of ``name`` go to ``name.safetensors``.
        copies: {name in the folder, slashes allowed: file to copy there}.
        notes: {name: content} of files for people, which may be changed or removed: no hash is kept of them.
        what: what is written, for the message.

    Raises:
        CannotWrite: disk full or no permission; what stood there before is untouched.
    """
    recover(folder)
    check_target(folder)
    aside = aside_for(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for name, data in (notes or {}).items():
            _write(aside / name, data)
        _write_parts(aside, facts, parts, _copy(aside, copies or {}))
        take_place(aside, folder)
    except OSError as error:
        raise CannotWrite(f"{what} could not be written to {folder}: {error.strerror or error}") from error
    finally:  # interrupted too: nothing half-written stays behind
        shutil.rmtree(aside, ignore_errors=True)


def _copy(folder: Path, copies: Mapping[str, Path]) -> dict[str, str]:
    """Copy files into the folder; their hashes by name."""
    hashes = {}
    for name, source in copies.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
        sync(folder / name)
        hashes[name] = _hash(folder / name)
    return hashes


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_parts(
    folder: Path, facts: dict[str, Any], parts: Mapping[str, Any], copied: Mapping[str, str]
) -> None:
    from safetensors.numpy import save as to_bytes

    trees: dict[str, Any] = {}
    written: dict[str, str] = {}
    for name, tree in parts.items():
        arrays: dict[str, np.ndarray] = {}
        files: dict[str, bytes] = {}
        trees[name] = pack(tree, name, arrays, files)
        if arrays:
            files[f"{name}.safetensors"] = to_bytes(arrays)
        for file, data in files.items():
            _write(folder / file, data)
            written[file] = hashlib.sha256(data).hexdigest()
    main = {"format": FORMAT, "version": VERSION, **facts, "files": written, "copies": copied, "parts": trees}
    body = json.dumps(main, ensure_ascii=False, indent=1, allow_nan=False)
    seal = hashlib.sha256(body.encode()).hexdigest()
    _write(folder / MAIN, f'{{"seal": "{seal}", "model":\n{body}}}\n'.encode())


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of ``path`` in one step, whole and on the disk.

    It is written aside, under the name that ``aside_of`` knows. Killed at any moment, the old file or the new one is there; an
    error leaves the old one and nothing aside.

    Raises:
        OSError: disk full, no permission.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "facts.json"
    >>> with replacing(place) as file:
    ...     _ = file.write(b"{}")
    >>> place.read_bytes(), [aside_of(one.name) for one in place.parent.iterdir()]
    (b'{}', [None])
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync(path.parent)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def aside_of(name: str) -> str | None:
    """The file that one left aside by ``replacing`` was to become; None for any other file.

    >>> aside_of(".index.json.4711.aside"), aside_of("index.json")
    ('index.json', None)
    """
    stem, _, process = name.removesuffix(".aside").rpartition(".")
    return stem[1:] if name.endswith(".aside") and stem[:1] == "." and process.isdigit() else None


def sync(path: Path) -> None:
    """Bring a file's content, or a folder's names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def aside_for(folder: Path) -> Path:
    """Where this process writes what is to take a folder's place; ``recover`` knows the name."""
    return folder.with_name(f".{folder.name}.{os.getpid()}.new")


def take_place(aside: Path, folder: Path) -> None:
    """Put a new folder in the place of an old one, if there is one, in one step where the system has it.

    What stood there lies aside then, or is gone.
    """
    sync(aside)
    if not folder.exists():
        aside.rename(folder)
    elif not _exchange(aside, folder):
        old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)  # killed here, ``recover`` finds it
        try:
            aside.rename(folder)
        except OSError:
            old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync(folder.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Two names change places in one step (Linux, renameat2); False where that cannot be done."""
    import ctypes

    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def recover(folder: Path, whole: Callable[[Path], bool] = is_model) -> None:
    """Tidy up after a process that was killed while it saved: an old model left aside goes back, the rest goes.

    Args:
        whole: what lies in a folder is what goes back.
    """
    mine = f".{folder.name}."
    for path in folder.parent.iterdir() if folder.parent.is_dir() else ():
        process, _, kind = path.name.removeprefix(mine).partition(".")
        if not path.name.startswith(mine) or kind not in ("new", "old") or not process.isdigit() or _lives(int(process)):
            continue
        try:
            if kind == "old" and not folder.exists() and whole(path):
                path.rename(folder)
            else:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:  # a folder one may only read
            return


def _lives(process: int) -> bool:
    if process == os.getpid():
        return False  # nothing of ours is under way when this is asked
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def load(folder: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts and state trees of a model folder, every file checked against its hash.

    Raises:
        BadModel: no model, a foreign or newer format, a missing or changed file.
    """
    folder = Path(folder)
    check_model(folder)
    main = _read_main(folder / MAIN)
    files = {}
    for name, seal in {**main["files"], **main["copies"]}.items():
        place = folder / name
        if name not in main["copies"] and Path(name).name != name or ".." in name or name.startswith("/") or "\0" in name:
            raise BadModel(f"{folder / MAIN} is damaged: it names the file {name!r} outside its folder")
        if not place.is_file():  # a pipe would be waited for
            raise BadModel(f"{folder} is damaged: the file '{name}' is missing; save the model again")
        try:
            data = None if name in main["copies"] else place.read_bytes()
            found = _hash(place) if data is None else hashlib.sha256(data).hexdigest()
        except OSError as error:
            raise BadModel(f"{place} cannot be read: {error.strerror or error}") from None
        if found != seal:
            raise BadModel(f"{place} is damaged or was changed: its sha256 differs from the one in {MAIN}")
        if data is not None:
            files[name] = data
    try:
        return main, {name: unpack(tree, _arrays(files, name), files) for name, tree in main["parts"].items()}
    except (KeyError, TypeError, RecursionError):
        raise BadModel(f"{folder / MAIN} is damaged: it names an array or a file that is not there") from None


def kind_of(folder: str | Path) -> str:
    """What a folder says that it holds: "model", "matcher"; whether it is whole is for ``load`` to say.

    Raises:
        BadModel: it is no folder of ours.
    """
    check_model(Path(folder))
    return str(_read_main(Path(folder) / MAIN).get("kind"))


def _read_main(path: Path) -> dict[str, Any]:
    try:
        outer = json.loads(path.read_bytes())
        main = outer["model"]
        text = path.read_text(encoding="utf-8")
        body = text[text.index("\n") + 1 : text.rindex("}")]
        whole = hashlib.sha256(body.encode()).hexdigest() == outer["seal"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadModel(f"{path} is damaged: it is not the JSON that polysense wrote") from None
    except OSError as error:
        raise BadModel(f"{path} cannot be read: {error.strerror or error}") from None
    if not whole:
        raise BadModel(f"{path} is damaged or was changed: its seal does not fit its content")
    if not isinstance(main, dict) or main.get("format") != FORMAT:
        raise BadModel(f"{path} is no polysense model")
    if not all(isinstance(main.get(name), kind) for name, kind in _MADE_OF.items()):
        raise BadModel(f"{path} is damaged: it does not say what the model is made of")
    if main["version"] > VERSION:
        raise BadModel(f"{path} was written by a newer polysense (format {main['version']}); update polysense")
    return main


def _arrays(files: Mapping[str, bytes], name: str) -> dict[str, np.ndarray]:
    data = files.get(f"{name}.safetensors")
    if data is None:
        return {}
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(data)
    except Exception as error:  # a header that lies: safetensors' own error, or numpy's about a shape or type
        raise BadModel(f"{name}.safetensors is damaged: {str(error).splitlines()[0] if str(error) else 'no arrays'}") from None

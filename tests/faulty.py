"""Bad inputs and faults: what is fed, and what must come of it. One list for the tests and for `make faults`.

A case does its deed in a folder of its own and returns in words what came of it, or raises the sentence
that the user gets. ``ends`` is what either must say.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import resource
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import small
from polysense import load
from polysense.data.reading import read_cells
from polysense.data.records import Records, as_records, read_table, write_csv
from polysense.data.schema import guess
from polysense.errors import PolysenseError


@dataclass(frozen=True)
class Place:
    """Where a case works: an empty folder, and a fitted model (text and table) that it must not change."""

    folder: Path
    model: Path


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        name: for the command line and pytest.
        fed: what is fed, in words.
        ends: a regular expression that the result or the sentence must match.
        megabytes: memory it may take beyond what was there.
        seconds: CPU time it may take.
    """

    name: str
    fed: str
    ends: str
    feed: Callable[[Place], str]
    megabytes: int = 300
    seconds: float = 30.0


CASES: dict[str, Case] = {}


def case(fed: str, ends: str, **limits: Any) -> Callable[[Callable[[Place], str]], Callable[[Place], str]]:
    """Put a function on the list."""
    def add(feed: Callable[[Place], str]) -> Callable[[Place], str]:
        CASES[feed.__name__] = Case(feed.__name__, fed, ends, feed, **limits)
        return feed
    return add


def what_happens(one: Case, place: Place) -> str:
    """The result in words, or the sentence of a ``PolysenseError``; anything else goes through."""
    try:
        return "result: " + one.feed(place)
    except PolysenseError as error:
        return f"{type(error).__name__}: {error}"


# --- what the cases are made of -----------------------------------------------------------------------------


def picture(pixels: np.ndarray | None = None, kind: str = "PNG") -> bytes:
    from PIL import Image

    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise if pixels is None else pixels).save(file, kind)
    return file.getvalue()


def sound(samples: np.ndarray | None = None, kind: str = "WAV", subtype: str | None = None, hz: int = 16000) -> bytes:
    import soundfile

    file = io.BytesIO()
    noise = np.random.default_rng(0).normal(size=4000).astype(np.float32) * 0.1
    soundfile.write(file, noise if samples is None else samples, hz, format=kind, subtype=subtype)
    return file.getvalue()


def huge_png(side: int) -> bytes:
    """A PNG file of zeros that declares side x side pixels, written row by row."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * side)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def media(place: Place, kind: str, **files: bytes) -> str:
    """Files of a column beside two good ones, read to the end: present cells, and the report's entries."""
    good = {"image": picture(), "audio": sound()}[kind]
    everything = {"good_1": good, **files, "good_2": good}
    for name, data in everything.items():
        (place.folder / name).write_bytes(data)
    return read(as_records([{"file": name} for name in everything], place.folder), file=kind)


def read(records: Records, **kinds: str) -> str:
    """Every cell decoded: how many are there, which are not and why."""
    cells = read_cells(records, guess(records, declared=kinds))
    there = []
    for mine in cells.values():
        values = mine.values()
        there.append(f"{sum(value is not None for value in values)} of {mine.n} cells of '{mine.name}' read")
        there += [f"{len(mine.outside)} files outside the table's folder"] * bool(mine.outside)
        there += [f"row {fault.row}: {fault.reason}" for fault in mine.faults]
    return "; ".join([*records.notes, *there])


def table(place: Place, text: str | bytes, name: str = "t.csv") -> Records:
    path = place.folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path)


def shown(records: Records) -> str:
    """Notes and the first record."""
    return "; ".join([*records.notes, f"{len(records)} records", *(json.dumps(one, ensure_ascii=False)[:120] for one in records.head(1))])


def learnt(records: Any, **settings: Any) -> str:
    """Fit and answer the same records: how many answers there are, and whether they are numbers."""
    settings = {"views": "text table"} | settings
    made = small.model(**settings).fit(records)
    answers = made.predict_proba(records)
    evaluation = made.evaluate(records, samples=20)
    good = np.isfinite(answers).all() and np.allclose(answers.sum(1), 1, atol=1e-4)
    return f"{len(answers)} {'finite' if good else 'WRONG'} answers, {len(made.classes_)} classes, {evaluation['records']} scored"


def answered(place: Place, records: Any) -> str:
    answers = load(place.model).answers(records)
    return "; ".join([f"{len(answers.probabilities)} answers", *answers.remarks])


def reseal(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change model.json and give it a seal, and its files hashes, that fit: damage on purpose."""
    outer = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    main = outer["model"]
    main["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in main["files"]}
    change(main)
    body = json.dumps(main, ensure_ascii=False, indent=1)
    seal = hashlib.sha256(body.encode()).hexdigest()
    (folder / "model.json").write_text(f'{{"seal": "{seal}", "model":\n{body}}}\n', encoding="utf-8")


def copy_of(place: Place) -> Path:
    """A model folder to be damaged."""
    return Path(shutil.copytree(place.model, place.folder / "model"))


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process may grow beyond some bytes: the system itself refuses the write."""
    import signal

    old, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (old, hard))
        signal.signal(signal.SIGXFSZ, before)


@contextmanager
def memory_limit(size: int) -> Iterator[None]:
    """This process may ask for some bytes beyond what it has: the system itself refuses more."""
    old, hard = resource.getrlimit(resource.RLIMIT_AS)
    here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (here + size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (old, hard))


# --- rows 1 to 8: pictures and sounds -----------------------------------------------------------------------


@case("a PNG of 240 KB that declares 9,000 x 9,000 pixels", r"2 of 3 .*row 1: 'bad': declares 9000 x 9000 pixels, more than", megabytes=60)
def picture_huge(place: Place) -> str:
    return media(place, "image", bad=huge_png(9000))


@case("a PNG that declares 60,000 x 60,000 pixels and holds 9,000", r"row 1: 'bad': declares", megabytes=60)
def picture_lying(place: Place) -> str:
    data = huge_png(9000)
    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    lie = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return media(place, "image", bad=data[:8] + lie + data[33:])


@case("a FLAC of 200 KB that unpacks to 461 MB", r"2 of 3 .*row 1: 'bad': (unpacks to more than|is longer than)", megabytes=500)
def sound_huge(place: Place) -> str:
    import soundfile

    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 48000, 2, format="FLAC") as out:
        for _ in range(60):
            out.write(np.zeros((960_000, 2), np.int16))
    return media(place, "audio", bad=file.getvalue())


@case("a column declared as film", r"BadColumn: column 'clip' is declared as video, a kind that no modality reads yet")
def film(place: Place) -> str:
    return read(as_records([{"clip": "a.mp4"}, {"clip": "b.mp4"}]), clip="video")


@case("a JPEG without its last tenth", r"2 of 3 .*row 1: 'bad': cannot be decoded as JPEG")
def jpeg_cut(place: Place) -> str:
    data = picture(kind="JPEG")
    return media(place, "image", bad=data[: 9 * len(data) // 10])


@case("half a WAV, and the header of one", r"2 of 4 .*row 1: 'half': is cut short: 8,000 bytes declared, .*row 2: 'head': holds no sound")
def wav_cut(place: Place) -> str:
    data = sound()
    return media(place, "audio", half=data[: len(data) // 2], head=data[:44])


@case("a float WAV with NaN, and one with infinity", r"row 1: 'nan': NaN at sample 3 .*row 2: 'inf': infinity at sample 3")
def wav_nan(place: Place) -> str:
    def with_value(value: float) -> bytes:
        samples = np.zeros(400, np.float32)
        samples[3] = value
        return sound(samples, subtype="FLOAT")

    return media(place, "audio", nan=with_value(np.nan), inf=with_value(np.inf))


@case("infinity, NaN and a word in a number column", r"row 0: 'inf' is infinite; row 2: 'x' is not a number")
def numbers_odd(place: Place) -> str:
    cells = ["inf", "nan", "x", *map(str, range(30))]
    return read(as_records([{"size": cell} for cell in cells]), size="number")


@case("a 16-bit picture holding 40000 of 65535", r"result: 156")
def picture_deep(place: Place) -> str:
    from polysense.data.media import decode_image

    return str(int(decode_image(picture(np.full((4, 4), 40000, np.uint16)))[0, 0, 0]))


@case("EPS, PDF, FITS and SVG named .png", r"2 of 6 .*row 1: .* an EPS file.*row 2: .* a PDF file.*row 3: .* a FITS file.*row 4: .* an SVG")
def picture_foreign(place: Place) -> str:
    return media(place, "image", **{
        "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n", "pdf.png": b"%PDF-1.4\n", "fits.png": b"SIMPLE  =   T", "svg.png": b"<svg/>",
    })


# --- series -------------------------------------------------------------------------------------------------


def array(numbers: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, numbers, **how)
    return file.getvalue()


def array_lying(shape: str, kind: str = "<f8") -> bytes:
    """A .npy file of 80 bytes whose header claims what it likes."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(8)


def walks(place: Place, **files: bytes) -> str:
    """Series files beside two good ones, read to the end."""
    everything = {"good_1": array(np.ones((5, 2))), **files, "good_2": b"time,x,y\n0,1,2\n1,,4\n"}
    for name, data in everything.items():
        (place.folder / name).write_bytes(data)
    return read(as_records([{"walk": name} for name in everything], place.folder), walk="series")


@case("an array of Python objects that would run code, one of complex numbers, one of words",
      r"2 of 5 .*row 1: 'object': holds Python objects, which could run code.*row 2: .*complex128 values.*row 3: .*str")
def series_objects(place: Place) -> str:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(place.folder / "ran"),)

    said = walks(place, object=array(np.array([Trap()], object), allow_pickle=True), complex=array(np.ones(2, complex)),
                 words=array(np.array(["a"])))
    assert not (place.folder / "ran").exists()
    return said


@case("an array of 80 bytes that claims 8 TB, one that claims 8 GB, one cut short",
      r"2 of 5 .*row 1: 'bad': declares 1,000,000,000,000 numbers.*row 2: .*more than the 20,000,000.*row 3: .*declares 80 bytes of numbers and holds 70",
      megabytes=60)
def series_lying(place: Place) -> str:
    return walks(place, bad=array_lying("(1000000000000,)"), large=array_lying("(1000000, 1000)"), cut=array(np.ones((5, 2)))[:-10])


@case("series with another number of channels, infinity, a ragged line, nothing but gaps",
      r"2 of 6 .*row 1: 'wide': has 3 channels, where training had 2; row 2: 'inf': infinity in channel 2 at sample 1; "
      r"row 3: 'ragged': line 3: 1 values, where the first line has 2; row 4: 'gaps': every sample is missing")
def series_misshapen(place: Place) -> str:
    return walks(place, wide=array(np.ones((4, 3))), inf=array(np.array([[1, 2], [3, np.inf]])), ragged=b"x,y\n1,2\n3\n",
                 gaps=array(np.full((3, 2), np.nan)))


@case("time that goes back, a sample without time, a word for a number, a picture", r"2 of 6 .*row 1: 'back': its time goes back at "
      r"sample 1; row 2: 'none': has no time at sample 1; row 3: 'word': line 2: 'five' is not a number; row 4: 'photo': is a picture")
def series_untimely(place: Place) -> str:
    return walks(place, back=b"t,x,y\n1,1,1\n0,1,1\n", none=b"t,x,y\n0,1,1\n,1,1\n", word=b"x,y\nfive,1\n", photo=picture())


@case("JSON series: 100,000 brackets deep, a number of 400 digits, words, half a list",
      r"1 of 5 .*row 1: .*nested too deeply.*row 2: .*is no list of numbers.*row 3: holds 'a', which is not a number.*row 4: '\[1, 2' is no JSON")
def series_json(place: Place) -> str:
    cells = ["[1, 2]", "[" * 100_000, f"[{10**400}]", '["a"]', "[1, 2"]
    return read(as_records([{"walk": cell} for cell in cells]), walk="series")


@case("every series file missing", r"BadTable: column 'walk': 40 of 40 series cannot be read .*row 0: 'lost_0.npy': no such file in /")
def series_all_lost(place: Place) -> str:
    rows = [{"walk": f"lost_{i}.npy", "label": "ab"[i % 2]} for i in range(40)]
    return learnt(as_records(rows, place.folder), views="walk", encoders={"walk": "series.plain"})


# --- rows 9 to 11: what cells hold --------------------------------------------------------------------------


@case("paths: a sibling folder, a link out, absolute, missing, a folder, a pipe, a NUL",
      r"3 of 7 .*3 files outside the table's folder.*no such file.*is a folder.*is not a regular file.*is not a path")
def paths(place: Place) -> str:
    inside, beside = place.folder / "data", place.folder / "data2"
    inside.mkdir()
    beside.mkdir()
    (beside / "p.png").write_bytes(picture())
    (inside / "link.png").symlink_to(beside / "p.png")
    os.mkfifo(inside / "pipe.png")
    names = ["../data2/p.png", "link.png", str(beside / "p.png"), "gone.png", ".", "pipe.png", "a\0.png"]
    return read(as_records([{"photo": name} for name in names], inside), photo="image")


@case("URLs in a picture column", r"0 of 2 .*'https://127.0.0.1/a.png' is a URL: a URL is never fetched")
def urls(place: Place) -> str:
    return read(as_records([{"photo": "https://127.0.0.1/a.png"}, {"photo": "data:image/png;base64,AAAA"}]), photo="image")


@case("texts None, null, NA, nan, <image>, a path, a URL", r"result: 7 of 7 cells of 'note' read$")
def texts_that_look_strange(place: Place) -> str:
    notes = ["None", "null", "NA", "nan", "<image>", "/etc/passwd", "http://x.org/a.png"]
    return read(table(place, "n,note\n" + "".join(f"{i},{note}\n" for i, note in enumerate(notes))), note="text", n="ignore")


# --- rows 12, 13, 21: model folders -------------------------------------------------------------------------


@case("a pickle, .pt and .joblib as a model", r"BadModel: .* could run code when read")
def model_pickle(place: Place) -> str:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(place.folder / "ran"),)

    said = []
    for ending in ("pkl", "pt", "joblib"):
        path = place.folder / f"model.{ending}"
        path.write_bytes(pickle.dumps(Trap()))
        try:
            load(path)
        except PolysenseError as error:
            said.append(error)
    assert not (place.folder / "ran").exists() and len(said) == 3
    raise said[0]


@case("one flipped bit in the weights", r"BadModel: .*model.safetensors is damaged or was changed")
def model_flipped(place: Place) -> str:
    path = copy_of(place) / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    return str(load(path.parent))


@case("half the weights, the hash made to fit", r"BadModel: model.safetensors is damaged")
def model_cut(place: Place) -> str:
    path = copy_of(place) / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reseal(path.parent, lambda main: None)
    return str(load(path.parent))


@case("safetensors whose header claims 2^60 bytes, the hash made to fit", r"BadModel: model.safetensors is damaged", megabytes=60)
def model_lying_header(place: Place) -> str:
    path = copy_of(place) / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:])
    reseal(path.parent, lambda main: None)
    return str(load(path.parent))


@case("safetensors whose array claims 4 TB, the hash made to fit", r"BadModel: model.safetensors is damaged", megabytes=60)
def model_lying_shape(place: Place) -> str:
    path = copy_of(place) / "model.safetensors"
    head = json.dumps({"model.weights.x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(64))
    reseal(path.parent, lambda main: None)
    return str(load(path.parent))


@case("model.json 200,000 brackets deep", r"BadModel: .*model.json is damaged: it is not the JSON", megabytes=60)
def model_deep(place: Place) -> str:
    folder = copy_of(place)
    (folder / "model.json").write_text("[" * 200_000)
    return str(load(folder))


@case("model.json whose state nests 600 deep, the seal made to fit", r"BadModel: .* is damaged", megabytes=60)
def model_deep_inside(place: Place) -> str:
    folder = copy_of(place)
    deep: Any = 1
    for _ in range(600):
        deep = {"a": [deep]} if _ < 300 else [deep]
    reseal(folder, lambda main: main["parts"]["model"].update(deep=deep))
    load(folder)
    raise AssertionError("unread depth")


@case("model.json that names an array that is not there", r"BadModel: .* names an array or a file that is not there")
def model_array_gone(place: Place) -> str:
    folder = copy_of(place)
    reseal(folder, lambda main: main["parts"]["model"].update(weights={"x": {"$array": "no"}}))
    return str(load(folder))


@case("a model folder with a pipe in the place of the weights", r"BadModel: .* the file 'model.safetensors' is missing")
def model_pipe(place: Place) -> str:
    folder = copy_of(place)
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    return str(load(folder))


@case("a full disk while a model is replaced", r"CannotWrite: the model could not be written to .*, the old model answers")
def model_disk_full(place: Place) -> str:
    folder = copy_of(place)
    made = load(folder)
    before = made.predict_proba(small.records(4))
    try:
        with file_limit(4096):
            made.save(folder)
    except PolysenseError as error:
        assert np.array_equal(load(folder).predict_proba(small.records(4)), before)
        assert [path.name for path in place.folder.iterdir()] == ["model"], "nothing half written is left"
        raise type(error)(f"{error}, the old model answers") from None
    return "saved"


@case("predict --out onto a full device", r"CannotWrite: /dev/full cannot be written: No space left on device")
def answers_disk_full(place: Place) -> str:
    write_csv("/dev/full", {"row": list(range(10_000))})
    return f"written; /dev/full is {'still a device' if not Path('/dev/full').is_file() else 'a FILE'}"


@case("predict --out onto a link", r"result: the link is a link, its file holds 3 lines")
def answers_link(place: Place) -> str:
    link, file = place.folder / "link.csv", place.folder / "real.csv"
    file.write_text("old")
    link.symlink_to(file)
    write_csv(link, {"row": [0, 1]})
    return f"the link is {'a link' if link.is_symlink() else 'GONE'}, its file holds {len(file.read_text().splitlines())} lines"


# --- row 22: training ---------------------------------------------------------------------------------------


@case("a learning rate that diverges", r"LossNotFinite: the .*loss .* not finite .*lower train.rate")
def training_diverges(place: Place) -> str:
    return learnt(small.records(40), options={"train.rate": 1e3, "train.optimiser": "sgd", "train.clip": 0.0, "train.epochs": 50})


# --- row 23: many corrupt files -----------------------------------------------------------------------------


def _shop(place: Place, n: int, bad: Mapping[int, str]) -> list[dict[str, Any]]:
    (place.folder / "good.png").write_bytes(picture())
    (place.folder / "cut.png").write_bytes(picture()[:200])
    (place.folder / "half.txt.png").write_bytes(b"hello")
    return [{"photo": bad.get(i, "good.png"), "price": i % 7, "label": "ab"[i % 2]} for i in range(n)]


@case("5 % corrupt files", r"result: 40 answers; rows \[3, 17\] are the report's")
def files_corrupt(place: Place) -> str:
    rows = as_records(_shop(place, 40, {3: "cut.png", 17: "half.txt.png"}), place.folder)
    made = small.model("photo", encoders={"photo": "image.plain"}).fit(rows)
    report = [cell["row"] for cell in made.data_report_["bad_cells"]]
    return f"{len(made.predict(rows))} answers; rows {report} are the report's"


@case("every path wrong", r"BadTable: column 'photo': 40 of 40 pictures cannot be read .*row 0: 'lost_0.png': no such file in /")
def files_all_wrong(place: Place) -> str:
    rows = _shop(place, 40, {i: f"lost_{i}.png" for i in range(40)})
    return learnt(as_records(rows, place.folder), views="photo", encoders={"photo": "image.plain"})


# --- row 24: columns ----------------------------------------------------------------------------------------


@case("columns in another order", r"result: 4 answers, the same")
def columns_reordered(place: Place) -> str:
    rows, made = small.records(4), load(place.model)
    turned = [dict(reversed(record.items())) for record in rows]
    same = np.array_equal(made.predict_proba(rows), made.predict_proba(turned))
    return f"{len(turned)} answers, {'the same' if same else 'DIFFERENT'}"


@case("a column renamed", r"result: 4 answers; .*lacks column 'text': taken as missing in every record; .*'note', which the model does not know: ignored")
def columns_renamed(place: Place) -> str:
    return answered(place, [{("note" if name == "text" else name): v for name, v in record.items()} for record in small.records(4)])


@case("a table with none of the model's columns", r"BadTable: records has none of the columns that the model reads \(columns 'text',")
def columns_foreign(place: Place) -> str:
    return answered(place, [{"name": "x", "size": 3}] * 2)


@case("a validation table with a column renamed", r"result: .* lacks column 'text': .*'note', which the model does not know")
def columns_of_valid(place: Place) -> str:
    said: list[str] = []
    rows = [{("note" if name == "text" else name): v for name, v in record.items()} for record in small.records(12, seed=1)]
    from polysense.learn.begin import begin

    begin(small.model().get_params(deep=False), small.records(30), None, rows, said.append)
    return "; ".join(said)


@case("a split column with an empty cell", r"BadColumn: records row 7: column 'part' is empty; it must say train, valid or test")
def split_empty(place: Place) -> str:
    rows = [record | {"part": None if i == 7 else "train"} for i, record in enumerate(small.records(20))]
    return learnt(rows, split="part")


@case("a split column without a validation record", r"result: 20 finite answers")
def split_without_valid(place: Place) -> str:
    return learnt([record | {"part": "train"} for record in small.records(20)], split="part")


@case("a table to score in which no record has a target", r"BadTable: records holds no record with a target; there is nothing to score")
def targets_gone(place: Place) -> str:
    return str(load(place.model).evaluate([record | {"label": None} for record in small.records(4)]))


@case("targets of two columns beside the records", r"BadTable: the targets have the shape \(20, 2\); give one target per record")
def targets_two(place: Place) -> str:
    return str(small.model().fit(small.records(20), np.zeros((20, 2))))


@case("lists as targets", r"BadTable: the target has no label that some training records have and others lack")
def targets_lists(place: Place) -> str:
    return learnt([record | {"label": ["a", "b"]} for record in small.records(20)])


@case("dates as targets", r"result: 20 finite answers, 2 classes, 20 scored, kept and loaded")
def targets_dates(place: Place) -> str:
    from datetime import date

    rows = [record | {"label": date(2024, 1, 1 + i % 2)} for i, record in enumerate(small.records(20))]
    said = learnt(rows)
    small.model().fit(rows).save(place.folder / "m")
    return f"{said}, kept and {'loaded' if len(load(place.folder / 'm').classes_) == 2 else 'LOST'}"


# --- row 25: small and strange tables -----------------------------------------------------------------------


@case("zero rows to learn from", r"BadTable: t.csv holds no record with a target")
def rows_none(place: Place) -> str:
    return learnt(table(place, "text,label\n"))


@case("one row to learn from", r"BadTable: the target holds only 'a'")
def rows_one(place: Place) -> str:
    return learnt(table(place, "text,label\nhello there,a\n"))


@case("one class", r"BadTable: the target holds only 'rain' in the training records; classification needs two classes")
def one_class(place: Place) -> str:
    return learnt([record | {"label": "rain"} for record in small.records(9)])


@case("a class with one record", r"result: 24 finite answers, 4 classes, 24 scored")
def class_of_one(place: Place) -> str:
    return learnt([record | {"label": "hail" if i == 4 else record["label"]} for i, record in enumerate(small.records(24))])


@case("a class for every record", r"BadTable: the target 'label' holds \d+ classes in \d+ training records")
def class_each(place: Place) -> str:
    return learnt([record | {"label": f"c{i}"} for i, record in enumerate(small.records(40))])


@case("10,000 classes in 10,000 records", r"BadTable: the target 'label' holds .* classes", seconds=60)
def classes_many(place: Place) -> str:
    return learnt([{"size": i % 97, "label": f"class {i}"} for i in range(10_000)], views="table")


@case("3,000 classes where the memory does not suffice", r"NoMemory: memory ran out while learning [\d,]+ classes from [\d,]+ records; fewer",
      megabytes=800)
def classes_without_memory(place: Place) -> str:
    rows = [{"text": f"word{i % 400} of {i % 70}", "label": f"class {i % 3000}"} for i in range(9_000)]
    with memory_limit(150 << 20):
        return learnt(rows, views="text", columns={"text": "text"})


@case("constant columns, and one that is all missing", r"result: 24 finite answers")
def columns_constant(place: Place) -> str:
    return learnt([record | {"place": "town", "wind": None} for record in small.records(24)])


@case("every feature missing in every record", r"BadTable: .* has no column to learn from")
def columns_empty(place: Place) -> str:
    return learnt([{"text": None, "label": record["label"]} for record in small.records(24)])


@case("ids that repeat", r"result: 24 finite answers")
def ids_repeat(place: Place) -> str:
    return learnt([record | {"id": "same"} for record in small.records(24)])


@case("UTF-8 with a byte order mark and CRLF", r'result: 1 records; {"a": "1", "b": "木"}')
def text_bom(place: Place) -> str:
    return shown(table(place, b"\xef\xbb\xbfa,b\r\n1,\xe6\x9c\xa8\r\n"))


@case("latin-1", r'is not UTF-8; it is read as latin-1.*{"a": "Malmö"}')
def text_latin(place: Place) -> str:
    return shown(table(place, "a\nMalmö\nZürich\n".encode("latin-1")))


@case("GB 18030", r'is not UTF-8; it is read as gb18030.*"这是一个红色的苹果"')
def text_chinese(place: Place) -> str:
    return shown(table(place, "描述,b\n这是一个红色的苹果,1\n".encode("gb18030")))


@case("UTF-16, cut in the middle of a letter", r"BadTable: t.csv cannot be read: .*utf-16")
def text_utf16_cut(place: Place) -> str:
    return shown(table(place, "a,b\n1,木\n2,木".encode("utf-16")[:-1]))


@case("tabs in a .csv", r'columns are separated by tabs; 1 records; {"a": "1,5", "b": "x"}')
def separated_by_tabs(place: Place) -> str:
    return shown(table(place, "a\tb\n1,5\tx\n"))


@case("vertical bars in a .csv", r'columns are separated by vertical bars; 1 records; {"a": "1,5", "b": "x"}')
def separated_by_bars(place: Place) -> str:
    return shown(table(place, "a|b\n1,5|x\n"))


@case("commas in a .tsv", r'columns are separated by commas; 1 records; {"a": "1", "b": "x"}')
def separated_by_commas(place: Place) -> str:
    return shown(table(place, "a,b\n1,x\n", "t.tsv"))


@case("a row with a cell too many", r"BadTable: t.csv line 3: 3 cells, but the header names 2 columns")
def row_too_long(place: Place) -> str:
    return shown(table(place, "a,b\n1,2\n1,2,3\n"))


@case("a quote that never closes", r"BadTable: t.csv line 2: unexpected end of data")
def quote_open(place: Place) -> str:
    return shown(table(place, 'a,b\n"1,2\n' + "3,4\n" * 10_000))


@case("a text cell of 10 MB", r"result: 30 finite answers, 2 classes", megabytes=900, seconds=60)
def cell_enormous(place: Place) -> str:
    rows = [{"text": "sea wind rain " * (750_000 if i == 3 else 1) + str(i), "label": "ab"[i % 2]} for i in range(30)]
    return learnt(rows, columns={"text": "text"})


@case("a binary file named .csv", r"BadTable: t.csv is not a text file")
def binary_table(place: Place) -> str:
    return shown(table(place, picture()))


@case("JSON lines 100,000 brackets deep", r"BadTable: t.jsonl line 1: not a JSON object \(nested too deeply\)")
def jsonl_deep(place: Place) -> str:
    return shown(table(place, "[" * 100_000 + "\n", "t.jsonl"))


@case("half a Parquet file", r"BadTable: t.parquet cannot be read as parquet")
def parquet_cut(place: Place) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": list(range(1000))}), place.folder / "whole.parquet")
    data = (place.folder / "whole.parquet").read_bytes()
    return shown(table(place, data[: len(data) // 2], "t.parquet"))


@case("whole numbers that became 0.0 and 1.0 in the table to score", r"result: 24 of 24 scored, 0 of classes unseen")
def targets_became_floats(place: Place) -> str:
    rows = [record | {"label": i % 2} for i, record in enumerate(small.records(24))]
    made = small.model().fit(rows)
    text = [record | {"label": f"{record['label']}.0"} for record in rows]
    found = made.evaluate(text, samples=20)
    return f"{found['records']} of 24 scored, {sum((found.get('unseen') or {}).values())} of classes unseen"

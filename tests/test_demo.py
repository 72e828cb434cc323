"""The records to try polysense on: made-up ones, and the stamps built from a tiny Debian package."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polysense import demo, errors
from polysense.demo import emoji, stamp
from polysense.demo.folder import sha256

# Made-up records -----------------------------------------------------------------------------


def test_made_up_records_are_the_same_for_the_same_seed():
    assert demo.made_up(12, seed=3) == demo.made_up(12, seed=3)
    assert demo.made_up(12, seed=3) != demo.made_up(12, seed=4)


def test_a_record_depends_on_seed_and_place_alone():
    assert demo.made_up(20, seed=1)[:7] == demo.made_up(7, seed=1)


def test_made_up_columns_are_of_every_kind():
    record = demo.made_up(1, missing=0)[0]
    assert list(record) == [
        "picture", "text", "text_zh", "sound", "temperature", "wind", "place", "windows", "day", "label",
    ]
    picture = Image.open(io.BytesIO(record["picture"]))
    picture.load()
    assert picture.format == "PNG" and picture.size == (32, 32)
    with wave.open(io.BytesIO(record["sound"])) as sound:
        assert 0 < sound.getnframes() / sound.getframerate() < 1
    assert isinstance(record["temperature"], float) and isinstance(record["wind"], float)
    assert record["windows"] in ("yes", "no") and re.fullmatch(r"2024-\d\d-\d\d", record["day"])
    assert any("\u4e00" <= letter <= "\u9fff" for letter in record["text_zh"])


def test_every_three_records_hold_every_class():
    labels = [record["label"] for record in demo.made_up(30)]
    assert all(set(labels[i : i + 3]) == set(demo.CLASSES) for i in range(0, 30, 3))
    assert len({tuple(labels[i : i + 3]) for i in range(0, 30, 3)}) > 1  # no fixed order to learn


def test_the_share_of_missing_cells_is_the_one_asked_for():
    records = demo.made_up(300, missing=0.2)
    cells = [value for record in records for key, value in record.items() if key != "label"]
    # 2,700 cells: one standard deviation of the share is sqrt(.2 * .8 / 2700) = .008
    assert abs(np.mean([value is None for value in cells]) - 0.2) < 0.03
    assert all(record["label"] for record in records)
    assert not any(value is None for record in demo.made_up(20, missing=0) for value in record.values())


def test_made_up_media_as_files(tmp_path):
    as_bytes, as_files = demo.made_up(9, seed=2), demo.made_up(9, seed=2, folder=tmp_path)
    for loose, filed in zip(as_bytes, as_files, strict=True):
        for column in ("picture", "sound"):
            if loose[column] is None:
                assert filed[column] is None
            else:
                assert not Path(filed[column]).is_absolute()
                assert (tmp_path / filed[column]).read_bytes() == loose[column]


def test_wrong_arguments_are_named():
    with pytest.raises(errors.BadOption, match="n is -1"):
        demo.made_up(-1)
    with pytest.raises(errors.BadOption, match="missing is 2"):
        demo.made_up(1, missing=2)


def features(records: list[dict]) -> dict[str, np.ndarray]:
    """Simple features of each view, written without polysense; zeros where a cell is missing."""
    letters = sorted({letter for record in records for letter in record["text_zh"] or ""})
    words = sorted({word for record in records for word in (record["text"] or "").lower().split()})

    def colour(data):
        return np.zeros(3) if data is None else np.asarray(Image.open(io.BytesIO(data))).mean((0, 1)) / 255

    def pitch(data):
        if data is None:
            return np.zeros(8)
        with wave.open(io.BytesIO(data)) as file:
            spectrum = np.abs(np.fft.rfft(np.frombuffer(file.readframes(10**6), "<i2")))
        bands = np.array([band.sum() for band in np.array_split(spectrum, 8)])
        return bands / bands.sum()

    return {
        "picture": np.array([colour(r["picture"]) for r in records]) * 10,
        "text": np.array([[w in (r["text"] or "").lower().split() for w in words] for r in records], float),
        "text_zh": np.array([[letter in (r["text_zh"] or "") for letter in letters] for r in records], float),
        "sound": np.array([pitch(r["sound"]) for r in records]) * 10,
        "table": np.array([[(r["temperature"] or 10) / 10, (r["wind"] or 18) / 10] for r in records]),
    }


def test_every_view_tells_a_part_and_together_they_tell_more():
    from sklearn.linear_model import LogisticRegression

    records = demo.made_up(360, seed=5)
    labels = np.array([record["label"] for record in records])
    views = features(records)

    def accuracy(x):
        model = LogisticRegression(C=1.0, max_iter=500).fit(x[:240], labels[:240])
        return model.score(x[240:], labels[240:])

    alone = {view: accuracy(x) for view, x in views.items()}
    # Three balanced classes: the majority is right in one third of 120 records, give or take .043.
    assert min(alone.values()) > 0.45, alone
    together = accuracy(np.hstack(list(views.values())))
    assert together > max(alone.values()) + 0.05, (together, alone)


def test_importing_the_demo_loads_neither_torch_nor_the_renderer():
    code = "import sys, polysense.demo as d; d.made_up(3); print({'torch', 'resvg_py'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Tokens --------------------------------------------------------------------------------------


def test_parts_have_absent_views_and_hidden_nan():
    import torch

    parts = demo.parts(4, batch=6)
    assert {view: tokens.x.shape[1] for view, tokens in parts.items()} == {"a": 1, "b": 4, "c": 2}
    present_BV = torch.stack([tokens.present for tokens in parts.values()], 1)
    # a is always there; b is absent in records 1 and 4, c in records 2 and 5: one third each
    assert present_BV.int().tolist() == [[1, 1, 1], [1, 0, 1], [1, 1, 0]] * 2
    for tokens in parts.values():
        assert torch.isnan(tokens.x[~tokens.mask]).all() and torch.isfinite(tokens.x[tokens.mask]).all()
    again = demo.parts(4, batch=6)
    assert all(torch.equal(parts[view].clean(), again[view].clean()) for view in parts)


def test_the_fusion_of_the_contributing_page_works():
    """The six steps print a class; it is run here as printed, on a shelf of its own."""
    import torch
    from torch import nn

    from polysense.contracts import Fusion
    from polysense.layers import stack_views
    from polysense.registry import Registry
    from polysense.tokens import Tokens

    page = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1)
    code = "from __future__ import annotations\n" + re.sub(r"^ {3}", "", code, flags=re.MULTILINE)
    shelf = Registry("fusion", "polysense.fusion")
    names = {"fusions": shelf, "Fusion": Fusion, "torch": torch, "nn": nn, "Tokens": Tokens}
    names["stack_views"] = stack_views
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    fused = shelf["largest"](["a", "b", "c"], 8)(demo.parts(8))
    assert fused.x.shape == (3, 1, 8) and torch.isfinite(fused.x).all()
    steps = re.findall(r"^\d\. ", page, re.MULTILINE)
    assert steps == [f"{i}. " for i in range(1, 7)]


# The stamps, from a package made here --------------------------------------------------------


def png(colour: tuple[int, ...], size: tuple[int, int] = (10, 20), see_through: int = 0) -> bytes:
    """A picture of one colour; the first ``see_through`` rows are transparent."""
    pixels = np.full((size[1], size[0], 4), (*colour, 255), np.uint8)
    pixels[:see_through, :, 3] = 0
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


SVG = b"""<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="36pt">
  <rect width="48" height="48" fill="red"/></svg>"""


def stamp_files() -> dict[str, bytes]:
    """96 stamps: 40 animals (every other with a sound), 40 plants, 13 vehicles and 3 hobbies."""
    files: dict[str, bytes] = {}

    def add(stem: str, english: str, tint: int, **more: bytes) -> None:
        files[f"{stem}.txt"] = f"{english}\nfr.utf8=Le {english}\nes.utf8=El {english}\n".encode()
        files[f"{stem}.png"] = png((tint, len(files) % 256, 90))
        for suffix, data in more.items():
            files[f"{stem}{suffix}"] = data

    for i in range(40):
        more = {"_desc_fr.ogg": b"fr%d" % i, "_desc_es.ogg": b"es%d" % i, "_desc.ogg": b"en%d" % i}
        add(f"animals/cat{i}", f"A cat {i}.", i, **more, **({".ogg": b"miau%d" % i} if i % 2 else {}))
        add(f"plants/tree{i}", f"A tree {i}.", 100 + i, **{"_desc_es.ogg": b"arbol%d" % i})
    for i in range(12):
        add(f"vehicles/cars/car{i}", f"A car {i}.", 150 + i)
    for i in range(3):
        add(f"hobbies/hobby{i}", f"A hobby {i}.", 200 + i)
    # What joins groups: an English text, a Chinese text, a picture.
    files["plants/tree0.txt"] = files["animals/cat0.txt"]
    for stem in ("animals/cat1", "plants/tree1"):
        files[f"{stem}.txt"] += "zh_CN.utf8=一样。\n".encode()
    files["plants/tree2.png"] = files["animals/cat2.png"]
    # A drawing that exists as SVG only: 72 pt x 36 pt = 96 x 48 pixels, the left half red.
    files["vehicles/van.svg"] = SVG
    files["vehicles/van.txt"] = b"\xef\xbb\xbfA van, 6 x 7 = 42.\nzh_CN.utf8=\n"
    # What is no record: a mirrored picture without text, a text without picture, flags of the program.
    files["animals/cat0_mirror.png"] = png((1, 2, 3))
    files["seasonal/gift.txt"] = b"A gift.\n"
    files["animals/cat0.dat"] = b"tintable"
    files["animals/cat3.png"] = png((9, 9, 9), size=(10, 20), see_through=5)
    return files


def package(path: Path, files: dict[str, bytes], extra: list[tarfile.TarInfo] = ()) -> Path:
    """A Debian package: an ar archive with debian-binary, control.tar.xz and data.tar.xz."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./usr/share/tuxpaint/stamps/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info, io.BytesIO(b"x" * info.size))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data.getvalue()}
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, content in members.items():
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))
    return path


@pytest.fixture(scope="module")
def deb(tmp_path_factory) -> Path:
    return package(tmp_path_factory.mktemp("deb") / "tuxpaint-stamps-default_1.0_all.deb", stamp_files())


@pytest.fixture(scope="module")
def built(deb, tmp_path_factory):
    """The three tables of the tiny package: ({name: rows}, folder, lines of talk)."""
    pytest.importorskip("resvg_py")
    folder, said = tmp_path_factory.mktemp("stamps") / "demo", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYSENSE_STAMPS_DEB", str(deb))
        paths = demo.stamps(folder, progress=said.append)
    return {path.stem: read(path) for path in paths}, folder, said


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def everything(built) -> list[dict[str, str]]:
    return [row for rows in built[0].values() for row in rows]


def find(built, english: str) -> dict[str, str]:
    (row,) = [row for row in everything(built) if row["english"] == english]
    return row


def test_the_table_holds_what_the_package_holds(built):
    rows, folder, _ = built
    assert list(rows) == ["train", "valid", "test"]
    assert len(everything(built)) == 96
    cat = find(built, "A cat 3.")
    assert tuple(cat) == stamp.COLUMNS
    assert (folder / cat["speech"]).read_bytes() == b"fr3"  # French before Spanish, never English
    assert (folder / cat["sound"]).read_bytes() == b"miau3"
    # 10 x 20 pixels, 5 of 20 rows see-through
    assert (cat["width"], cat["height"], cat["aspect"], cat["alpha"]) == ("10", "20", "0.5", "0.25")
    tree = find(built, "A tree 5.")
    assert (folder / tree["speech"]).read_bytes() == b"arbol5"  # Spanish where there is no French
    assert tree["sound"] == "" and tree["chinese"] == ""  # really missing
    assert find(built, "A cat 1.")["chinese"] == "一样。"


def test_a_drawing_is_rendered_and_measured_as_declared(built):
    van = find(built, "A van, 6 x 7 = 42.")  # the byte order mark is gone, '=' in line 1 is text
    with Image.open(built[1] / van["picture"]) as picture:
        assert picture.format == "PNG" and picture.size == (256, 128)
    assert (van["width"], van["height"], van["aspect"]) == ("96.0", "48.0", "2.0")
    assert 0.4 < float(van["alpha"]) < 0.6  # the rectangle of 48 x 48 fills the left half
    assert van["chinese"] == "" and van["speech"] == ""


def test_media_lie_beside_the_tables_under_names_that_tell_nothing(built):
    _, folder, _ = built
    for row in everything(built):
        for column in ("picture", "speech", "sound"):
            if row[column]:
                assert re.fullmatch(r"media/[0-9a-f]{16}\.(png|ogg|wav)", row[column])
                assert (folder / row[column]).is_file()
    rows = everything(built)
    used = {row[c].removeprefix("media/") for row in rows for c in ("picture", "speech", "sound")} - {""}
    assert used == {path.name for path in (folder / "media").iterdir()} - {"SOURCES.txt", "COPYRIGHT"}
    assert "GPL-2" in (folder / "media/SOURCES.txt").read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["media", "test.csv", "train.csv", "valid.csv"]


def test_small_classes_are_merged_and_said(built):
    counts = Counter(row["label"] for row in everything(built))
    assert counts == {"animals": 40, "plants": 40, "other": 16}  # 13 vehicles + 3 hobbies
    assert any("hobbies (3), vehicles (13)" in line for line in built[2])


def test_groups_share_a_text_of_any_language_or_a_file(built):
    rows = everything(built)
    group = {(row["english"], row["label"]): row["group"] for row in rows}
    assert group["A cat 0.", "animals"] == group["A cat 0.", "plants"]  # one English text
    assert group["A cat 1.", "animals"] == group["A tree 1.", "plants"]  # one Chinese text
    assert group["A cat 2.", "animals"] == group["A tree 2.", "plants"]  # one picture
    assert len(set(group.values())) == 96 - 3


def test_no_group_stands_on_two_sides(built):
    sides = [{row["group"] for row in rows} for rows in built[0].values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_shares_hold_for_every_class_and_for_sound(built):
    rows = built[0]
    for share, name in zip(stamp.SHARES, rows, strict=True):
        part = rows[name]
        assert abs(len(part) - share * 96) <= 4
        for label, total in {"animals": 40, "plants": 40, "other": 16}.items():
            assert abs(sum(row["label"] == label for row in part) - share * total) <= 3
        assert abs(sum(bool(row["sound"]) for row in part) - share * 20) <= 3


def test_the_same_seed_gives_the_same_bytes(built, deb, tmp_path, monkeypatch):
    monkeypatch.setenv("POLYSENSE_STAMPS_DEB", str(deb))
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "old.png").write_bytes(b"left from an earlier run")
    (tmp_path / "media" / "SOURCES.txt").write_text("so this is a folder of ours")
    said = []
    again = demo.stamps(tmp_path, progress=said.append)
    assert not any("unpacking" in line for line in said)  # the cache had it
    assert not (tmp_path / "media" / "old.png").exists()
    for path in again:
        assert path.read_bytes() == (built[1] / path.name).read_bytes()
    other = demo.stamps(tmp_path / "other", seed=1)
    assert other.train.read_bytes() != again.train.read_bytes()


def test_another_package_than_the_measured_one_is_said(built):
    assert any("is not Debian's file of version 2022.06.04-1" in line for line in built[2])


def test_only_regular_files_of_the_stamps_are_unpacked(tmp_path):
    bad = tarfile.TarInfo("./usr/share/tuxpaint/stamps/../../../../escape.png")
    absolute = tarfile.TarInfo("/usr/share/tuxpaint/stamps/absolute.png")
    link = tarfile.TarInfo("./usr/share/tuxpaint/stamps/link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    elsewhere = tarfile.TarInfo("./usr/bin/tool.png")
    for info in (bad, absolute, elsewhere):
        info.size = 1
    deb = package(tmp_path / "odd.deb", {"a/b.txt": b"B", "a/b.png": b"p"}, [bad, absolute, link, elsewhere])
    assert stamp.unpack(deb, tmp_path / "out") == 2
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["odd.deb", "out/stamps/a/b.png", "out/stamps/a/b.txt"]


def test_a_package_that_unpacks_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(stamp, "MAX_BYTES", 1000)
    with pytest.raises(errors.BadTable, match="unpacks to more than"):
        stamp.unpack(package(tmp_path / "bomb.deb", {"a/b.txt": b"0" * 5000}), tmp_path / "out")


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.97])
def test_a_cut_package_is_refused_and_leaves_nothing(deb, tmp_path, monkeypatch, keep):
    cut = tmp_path / "cut.deb"
    content = deb.read_bytes()
    cut.write_bytes(content[: int(keep * len(content))])
    monkeypatch.setenv("POLYSENSE_STAMPS_DEB", str(cut))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(errors.BadTable, match="cut.deb"):
        demo.stamps(tmp_path / "out")
    assert list((tmp_path / "cache/polysense/stamps").iterdir()) == []


def test_a_package_packed_with_zstd_is_unpacked(tmp_path):
    """Ubuntu packs so; whoever has apt-get has dpkg-deb."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb here")
    tree = tmp_path / "tree"
    for name, content in {"DEBIAN/control": CONTROL, "usr/share/tuxpaint/stamps/a/b.txt": b"B"}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    built = subprocess.run(["dpkg-deb", "-Zzstd", "--build", tree, tmp_path / "z.deb"], capture_output=True)
    if built.returncode:
        pytest.skip("this dpkg-deb knows no zstd")
    assert stamp.unpack(tmp_path / "z.deb", tmp_path / "out") == 1
    assert (tmp_path / "out/stamps/a/b.txt").read_bytes() == b"B"


CONTROL = b"Package: z\nVersion: 1\nArchitecture: all\nMaintainer: Z <z@example.org>\nDescription: z\n"


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "train.csv").write_text("mine")
    with pytest.raises(errors.BadOption, match="train.csv that is not of the demo"):
        demo.prepare(tmp_path)
    assert (tmp_path / "train.csv").read_text() == "mine"


def test_a_named_package_that_is_not_there_is_no_reason_to_fall_back(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYSENSE_STAMPS_DEB", str(tmp_path / "none.deb"))
    with pytest.raises(errors.BadOption, match="none.deb"):
        demo.prepare(tmp_path / "out")


def test_an_unreadable_picture_is_named(tmp_path, monkeypatch):
    files = {"a/b.txt": b"B", "a/b.png": b"no picture"}
    monkeypatch.setenv("POLYSENSE_STAMPS_DEB", str(package(tmp_path / "odd.deb", files)))
    with pytest.raises(errors.BadTable, match=r"b\.png cannot be read"):
        demo.stamps(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


# Where the stamps cannot be had --------------------------------------------------------------


def test_without_apt_the_demo_says_so_and_makes_records_up(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(demo.NoDownload, match="there is no apt-get"):
        demo.stamps(tmp_path / "out")
    paths, source, note = demo.prepare(tmp_path / "out")
    assert source == "made up" and "made up" in note and "there is no apt-get" in note
    rows = {path.stem: read(path) for path in paths}
    assert [len(part) for part in rows.values()] == [216, 36, 108]  # 60/10/30 of 360
    for part in rows.values():
        assert {row["label"] for row in part} == set(demo.CLASSES) and "group" in part[0]
        assert all((tmp_path / "out" / row["picture"]).is_file() for row in part if row["picture"])
    assert any(not row["sound"] for row in rows["train"])


def test_apt_that_fails_is_quoted(tmp_path, monkeypatch):
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(demo.NoDownload, match="E: Unable to locate package.*apt-get update"):
        demo.stamps(tmp_path / "out")


@pytest.mark.parametrize("measured", [True, False])
def test_apt_that_works_is_used_once(deb, tmp_path, monkeypatch, measured):
    apt = tmp_path / "apt-get"
    apt.write_text(f"#!/bin/sh\necho called >> '{tmp_path}/calls'\n/bin/cp '{deb}' .\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if measured:
        monkeypatch.setattr(stamp, "SHA256", sha256(deb))
    for _ in range(2):
        said = []
        assert demo.prepare(tmp_path / "out", progress=said.append).source == "stamps"
        assert any("on which the figures were measured" in line for line in said) != measured
    assert (tmp_path / "calls").read_text() == "called\n"
    (kept,) = (tmp_path / "cache/polysense/stamps").iterdir()  # the package file itself is not kept
    assert kept.is_dir() and (kept.name == stamp.VERSION) == measured


def test_without_the_renderer_the_demo_makes_records_up(tmp_path, monkeypatch):
    """The emoji need no renderer, so here npm is missing too."""
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prepared = demo.prepare(tmp_path / "out")
    assert prepared.source == "made up" and "polysense[demo]" in prepared.note and "no npm" in prepared.note


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(errors.CannotWrite, match="cannot write to"):
        demo.made_up(1, folder=tmp_path / "file")


# Emoji, from packages made here --------------------------------------------------------------


def emoji_entry(name: str, code: str, category: str, **more: object) -> dict[str, object]:
    return {"name": name, "unified": code, "image": f"{code.lower()}.png", "category": category, "has_img_google": True, **more}


def emoji_files() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What the two npm packages hold: 84 emoji of three groups, some of them variants; and Chinese names."""
    entries = [emoji_entry(f"FRUIT NO{word}", f"1F4{i:02X}", "Food & Drink") for i, word in enumerate(WORDS)]
    entries += [emoji_entry(f"BEAST NO{word}", f"1F5{i:02X}", "Animals & Nature") for i, word in enumerate(WORDS)]
    entries += [
        emoji_entry("MAN COOK", "1F468-200D-1F373", "People & Body"),
        emoji_entry("WOMAN COOK", "1F469-200D-1F373", "People & Body"),
        emoji_entry("COOK", "1F9D1-200D-1F373", "People & Body"),
        emoji_entry("CLOCK FACE ONE OCLOCK", "1F550-FE0F", "Animals & Nature"),
        emoji_entry("CLOCK FACE TWO OCLOCK", "1F551", "Food & Drink"),
        emoji_entry("ALPHA", "AAAA", "People & Body"),
        emoji_entry("OMEGA", "BBBB", "People & Body"),  # drawn like ALPHA
        emoji_entry("SKIN", "1F3FB", "Component"),
        emoji_entry("NOT DRAWN", "CCCC", "People & Body", has_img_google=False),
    ]
    pictures = {f"package/img/google/64/{entry['image']}": png((i, 255 - i, 7), (8, 8)) for i, entry in enumerate(entries)}
    pictures["package/img/google/64/bbbb.png"] = pictures["package/img/google/64/aaaa.png"] + b"other bytes, same pixels"
    rows = [{"hexcode": e["unified"].replace("-FE0F", ""), "label": f"名{i}"} for i, e in enumerate(entries)]
    first = {"package/emoji.json": json.dumps(entries).encode(), "package/LICENSE": b"MIT", **pictures}
    first["package/img/google/sheets/64.png"] = b"not wanted"
    return first, {"package/zh/compact.json": json.dumps(rows).encode(), "package/LICENSE": b"MIT too"}


WORDS = [a + b for a in "bcdfghjkl" for b in "aeiou"][:40]  # 40 names without a word of number, colour or side


def tgz(path: Path, files: dict[str, bytes], extra: list[tarfile.TarInfo] = ()) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info, io.BytesIO(b"x" * info.size))
    return path


@pytest.fixture(scope="module")
def npm_packages(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tgz")
    first, second = emoji_files()
    return tgz(folder / "pictures.tgz", first), tgz(folder / "names.tgz", second)


@pytest.fixture(scope="module")
def emoji_built(npm_packages, tmp_path_factory):
    folder, said = tmp_path_factory.mktemp("emoji") / "demo", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYSENSE_EMOJI_TGZ", os.pathsep.join(map(str, npm_packages)))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        prepared = demo.prepare(folder, kind="emoji", progress=said.append)
    return {path.stem: read(path) for path in prepared.paths}, folder, said, prepared


def test_the_emoji_table_holds_what_the_packages_hold(emoji_built):
    rows = everything(emoji_built)
    assert len(rows) == 2 * 40 + 7  # neither the component nor what Google does not draw
    assert tuple(rows[0]) == emoji.COLUMNS
    clock = find(emoji_built, "clock face one oclock")
    assert clock["label"] == "Animals & Nature" and clock["chinese"] == "名83"  # found without the colour mark
    with Image.open(emoji_built[1] / clock["picture"]) as picture:
        assert picture.size == (8, 8) and picture.getpixel((0, 0))[0] == 83
    assert re.fullmatch(r"media/[0-9a-f]{16}[.]png", clock["picture"])
    sources = (emoji_built[1] / "media/SOURCES.txt").read_text(encoding="utf-8")
    assert "emoji-datasource-google" in sources and "MIT" in sources
    assert (emoji_built[1] / "media/LICENSE-emoji-datasource").read_bytes() == b"MIT"
    assert emoji_built[3].source == "emoji" and "npm packages" in emoji_built[3].note


def test_variants_of_one_emoji_are_one_group(emoji_built):
    group = {row["english"]: row["group"] for row in everything(emoji_built)}
    assert group["man cook"] == group["woman cook"] == group["cook"]
    assert group["clock face one oclock"] == group["clock face two oclock"]  # across labels
    assert group["alpha"] == group["omega"]  # one picture in two files
    assert len(set(group.values())) == 80 + 3


def test_emoji_groups_stay_whole_and_the_shares_hold(emoji_built):
    sides = [{row["group"] for row in rows} for rows in emoji_built[0].values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    for share, rows in zip(emoji.SHARES, emoji_built[0].values(), strict=True):
        for label in ("Food & Drink", "Animals & Nature"):
            assert abs(sum(row["label"] == label for row in rows) - 41 * share) <= 3


def test_without_the_second_package_there_is_no_chinese(npm_packages, tmp_path, monkeypatch):
    monkeypatch.setenv("POLYSENSE_EMOJI_TGZ", str(npm_packages[0]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    said = []
    rows = read(demo.emojis(tmp_path / "out", progress=said.append).train)
    assert list(rows[0]) == ["picture", "english", "label", "group"]
    assert any("is not emoji-datasource-google 16.0.0" in line for line in said)


def test_only_the_wanted_files_of_an_npm_package_are_written(tmp_path):
    odd = [tarfile.TarInfo(name) for name in (
        "package/img/google/64/../../../../escape.png", "/package/emoji.json", "package/img/google/64/a/b.png",
        "package/img/google/64/-.sh", "package/index.js",
    )]
    for info in odd:
        info.size = 1
    link = tarfile.TarInfo("package/img/google/64/aa.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    file = tgz(tmp_path / "odd.tgz", {"package/emoji.json": b"[]", "package/img/google/64/ab.png": b"p"}, [*odd, link])
    assert emoji.unpack(file, emoji.PICTURES, tmp_path / "out") == 2
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["odd.tgz", "out/emoji.json", "out/img/ab.png"]


@pytest.mark.parametrize("keep", [0.0, 0.2, 0.9])
def test_a_cut_npm_package_is_refused_and_leaves_nothing(npm_packages, tmp_path, monkeypatch, keep):
    content = npm_packages[0].read_bytes()
    (tmp_path / "cut.tgz").write_bytes(content[: int(keep * len(content))])
    monkeypatch.setenv("POLYSENSE_EMOJI_TGZ", str(tmp_path / "cut.tgz"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(errors.BadTable, match="cut.tgz"):
        demo.emojis(tmp_path / "out")
    assert list((tmp_path / "cache/polysense/emoji").iterdir()) == []


def test_an_npm_package_that_unpacks_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(emoji, "MAX_BYTES", 1000)
    with pytest.raises(errors.BadTable, match="unpacks to more than"):
        emoji.unpack(tgz(tmp_path / "bomb.tgz", {"package/emoji.json": b"0" * 5000}), emoji.PICTURES, tmp_path / "out")


@pytest.mark.parametrize("content", [b"{", b'{"a": 1}', b'[{"name": 3}]', b"[]"])
def test_a_list_of_emoji_that_is_none_is_named(tmp_path, monkeypatch, content):
    monkeypatch.setenv("POLYSENSE_EMOJI_TGZ", str(tgz(tmp_path / "odd.tgz", {"package/emoji.json": content})))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(errors.BadTable, match="emoji"):
        demo.emojis(tmp_path / "out")


@pytest.mark.parametrize("measured", [True, False])
def test_npm_that_works_is_used_once_and_another_file_is_refused(npm_packages, tmp_path, monkeypatch, measured):
    npm = tmp_path / "npm"
    lines = [
        "#!/bin/sh", f"echo called >> '{tmp_path}/calls'", "case $2 in",
        f"emoji-datasource-google@16.0.0) /bin/cp '{npm_packages[0]}' emoji-datasource-google-16.0.0.tgz;;",
        f"emojibase-data@17.0.0) /bin/cp '{npm_packages[1]}' emojibase-data-17.0.0.tgz;;", "*) exit 1;;", "esac",
    ]
    npm.write_text("\n".join(lines) + "\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if not measured:
        with pytest.raises(demo.NoDownload, match="brought another"):
            demo.emojis(tmp_path / "out")
        return
    for name, file in zip(("PICTURES", "NAMES"), npm_packages, strict=True):
        monkeypatch.setattr(emoji, name, getattr(emoji, name)._replace(sha256=sha256(file)))
    # No apt-get on this path: the stamps cannot be had, so the emoji stand in for them, and it is said.
    for _ in range(2):
        prepared = demo.prepare(tmp_path / "out")
        assert prepared.source == "emoji" and "there is no apt-get" in prepared.note
    assert (tmp_path / "calls").read_text() == "called\n" * 2


def test_an_unknown_demo_set_is_refused(tmp_path):
    with pytest.raises(errors.BadOption, match="no demo set 'smileys'; choose stamps or emoji"):
        demo.prepare(tmp_path, kind="smileys")


@pytest.mark.slow
def test_the_real_emoji(tmp_path, monkeypatch):
    monkeypatch.delenv("POLYSENSE_EMOJI_TGZ", raising=False)
    if shutil.which("npm") is None:
        pytest.skip("no npm here, which fetches the emoji")
    try:
        paths = demo.emojis(tmp_path)
    except demo.NoDownload as error:
        pytest.skip(f"npm cannot fetch the emoji here: {error}")
    rows = [read(path) for path in paths]
    assert [len(part) for part in rows] == [1334, 191, 381]
    assert len({row["label"] for part in rows for row in part}) == 9
    assert all(row["picture"] and row["english"] and row["chinese"] for part in rows for row in part)
    sides = [{row["group"] for row in part} for part in rows]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])

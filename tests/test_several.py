"""Several files in one cell: each is decoded and computed by itself, the record has what they give together.

The pictures are 4 x 4 and of one colour, and the encoder below gives their redness, so that every number can be
worked out in the head. N records, T positions, W width.
"""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import polysense
from polysense.contracts import Encoder, Plain, digest
from polysense.data.cache import Cache
from polysense.data.joined import bad_rows, join
from polysense.data.reading import judge_faults, read_cells
from polysense.data.records import as_records, read_table, write_csv
from polysense.data.schema import Column, Schema, guess
from polysense.errors import BadTable
from polysense.learn import features
from polysense.learn.features import Prepared, Views, frozen
from polysense.network import Encoders, Network
from polysense.registry import fusions, tasks
from polysense.tokens import Tokens

RED = {name: value for name, value in zip("abcde", (10, 20, 60, 100, 200), strict=True)}


def png(red: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (red, 0, 0)).save(file, "PNG")
    return file.getvalue()


class Redness(Encoder):
    """A position with the redness, and for the redder half a second one with the double. Counts what it is asked."""

    name, frozen, cached, dim = "test.redness", True, True, 1

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def prepare(self, values):
        x = np.array([[value[0, 0, 0], 2 * int(value[0, 0, 0])] for value in values], np.float32)
        self.asked += x[:, 0].astype(int).tolist()
        return {"x": x, "mask": np.stack([np.ones(len(x), bool), x[:, 0] >= 60], 1)}

    def forward(self, batch, context=None):
        return Tokens(batch["x"][..., None], batch["mask"], place=torch.zeros(*batch["x"].shape, 1))

    def fingerprint(self):
        return digest("redness")


class Trained(Redness):
    name, frozen, cached = "test.trained", False, False


class Red(Plain):
    cached = True

    def transform(self, values):
        return np.array([[value[0, 0, 0]] for value in values], np.float32)


@pytest.fixture
def folder(tmp_path):
    for name, red in RED.items():
        (tmp_path / f"{name}.png").write_bytes(png(red))
    (tmp_path / "cut.png").write_bytes(png(7)[:50])
    return tmp_path


def cells_of(values, folder=None, kind="image"):
    return read_cells(as_records({"p": values}, folder=folder), Schema([Column("p", kind, "")]))["p"]


#: Means by hand: of the pieces' own means (10; 60 and 120 -> 90; 20; ...), never of all positions.
WRITTEN = ['["a.png", "c.png"]', "b.png", "", '["e.png","a.png","b.png"]', "[]", '["c.png"]']
POOLED = [(10 + 90) / 2, 20, 0, (300 + 10 + 20) / 3, 0, 90]
POSITIONS = [[10, 60, 120], [20], [], [200, 400, 10, 20], [], [60, 120]]


@pytest.mark.parametrize("cached", [True, False])
def test_the_mean_of_the_pieces_each_computed_once(folder, tmp_path, monkeypatch, cached):
    monkeypatch.setattr(features, "CHUNK", 2)
    cells, part = cells_of(WRITTEN, folder), Redness()
    done: list[int] = []
    out = frozen(part, cells, Cache(tmp_path / "cache") if cached else Cache.off(), advance=done.append)
    np.testing.assert_array_equal(np.asarray(out)[:, 0], POOLED)
    assert sorted(part.asked) == [10, 20, 60, 200] and sum(done) == 4
    assert cells.present.tolist() == [True, True, False, True, False, True] and not cells.faults
    np.testing.assert_allclose(np.asarray(frozen(Red(), cells, Cache.off()))[:, 0], [35, 20, 0, 230 / 3, 0, 60], rtol=1e-6)


def test_all_positions_behind_each_other(folder):
    out = np.asarray(frozen(Redness(), cells_of(WRITTEN, folder), Cache.off(), pool=False))[..., 0]
    assert [row[~np.isnan(row)].tolist() for row in out] == POSITIONS


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("row", range(6))
def test_a_record_alone_is_as_among_others(folder, pool, row):
    """Served, one record at a time, without a cache."""
    alone = np.asarray(frozen(Redness(), cells_of([WRITTEN[row]], folder), Cache.off(), pool=pool)).ravel()
    present = WRITTEN[row] not in ("", "[]")
    wanted = [POOLED[row]] if pool else POSITIONS[row]
    assert alone[~np.isnan(alone)].tolist() == (wanted if present else [])


def test_a_cached_piece_is_read_alone_and_among_others(folder, tmp_path):
    """What one record's only picture is, another record's second may be: the cache knows pictures, not cells."""
    cache = Cache(tmp_path / "cache")
    frozen(Redness(), cells_of(["a.png", "c.png"], folder), cache)
    part = Redness()
    out = frozen(part, cells_of(['["c.png", "a.png"]'], folder), cache)
    assert np.asarray(out).tolist() == [[50]] and part.asked == []


@pytest.mark.parametrize("held", [1 << 30, 0])
@pytest.mark.parametrize("positions", [False, True])
def test_a_trained_encoder_sees_every_piece(folder, monkeypatch, held, positions):
    monkeypatch.setattr(features, "HELD_BYTES", held)
    monkeypatch.setattr(features, "CHUNK", 2)
    cells = cells_of(['["a.png", "cut.png", "c.png"]', "b.png", "", "e.png"], folder)
    prepared = Prepared.of(Trained(), cells)
    assert prepared.count_N.tolist() == [2, 1, 0, 1] and prepared.piece_P.tolist() == [0, 2, 0, 0]
    views = Views(["p"], cells.present[:, None], prepared={"p": prepared})
    task = tasks.make("classify")
    task.fit(["x", "y"])
    fusion = fusions.make("concat", ["p"], 8)
    fusion.positions = positions
    network = Network(Encoders({"p": prepared.encoder}, {}), lambda views, dim: fusion, task, dim=8, members=1).eval()
    batch = views.batch(np.array([3, 2, 0, 1]))
    assert batch["p"]["pieces"].tolist() == [1, 2, 1]
    tokens = network.encode_view("p", batch["p"])
    found = [row[mask].tolist() for row, mask in zip(tokens.x[..., 0], tokens.mask, strict=True)]
    assert found == ([[200, 400], [], [10, 60, 120], [20]] if positions else [[300], [], [50], [20]])
    assert "pieces" not in views.batch(np.array([1, 3]))["p"]
    kept = features.encode(network, views, np.array([3, 2, 0, 1]), batch=2)["p"]  # blocks of different lengths
    assert [row[mask].tolist() for row, mask in zip(kept.x[..., 0], kept.mask, strict=True)] == found


def test_places_and_weights_go_with_their_positions():
    """Two records of two pieces and one; weights that sum to one in each piece give the mean of the pieces' means."""
    x = torch.tensor([[1.0, 2.0], [3.0, 0.0], [5.0, 6.0]])
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    weight = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])
    tokens = Tokens(x[..., None], mask, weight, x[..., None] / 10)
    every = tokens.together(torch.tensor([1, 2]), False)
    assert every.mask.tolist() == [[True, True, False, False], [True, False, True, True]]
    assert every.x[1, :, 0].tolist() == [3, 0, 5, 6]
    torch.testing.assert_close(every.place, every.x / 10)
    assert every.weight[1].tolist() == [1, 0, 0.5, 0.5]
    mean = tokens.together(torch.tensor([1, 2]), True)
    torch.testing.assert_close(mean.x[:, 0, 0], torch.tensor([1.75, (3 + 5.5) / 2]))
    torch.testing.assert_close(every.pooled(), mean.pooled())


# what is wrong --------------------------------------------------------------------------------------


def test_one_bad_file_is_left_out_and_reported_and_the_others_are_used(folder):
    cells = cells_of(['["a.png", "cut.png", "no.png"]', '["cut.png", "no.png"]', "cut.png", "b.png"], folder)
    out = frozen(Redness(), cells, Cache.off())
    assert np.asarray(out)[:, 0].tolist() == [10, 0, 0, 20]
    assert cells.present.tolist() == [True, False, False, True]
    assert [(fault.row, fault.action) for fault in cells.faults] == [
        (0, "left out"), (0, "left out"), (1, "masked"), (1, "masked"), (2, "masked")]
    assert cells.faults[0].reason.startswith("picture 2 of 3: 'cut.png': cannot be decoded as PNG")
    assert cells.faults[1].reason == f"picture 3 of 3: 'no.png': no such file in {folder}"
    assert cells.faults[4].reason.startswith("'cut.png': cannot")
    judge_faults([cells], on_bad="drop", max_bad=1)
    assert [fault.action for fault in cells.faults] == ["left out"] * 2 + ["dropped"] * 3
    assert bad_rows({"p": cells}).tolist() == [1, 2]
    with pytest.raises(BadTable, match="row 0: picture 2 of 3: 'cut.png'"):
        judge_faults([cells], on_bad="error", max_bad=1)


def test_the_share_of_bad_files_is_counted_over_files(folder):
    """Six files in three cells, two of them bad: a third, although two cells of three are touched."""
    cells = cells_of(['["a.png", "no.png"]', '["b.png", "cut.png", "c.png"]', "d.png"], folder)
    cells.hashes(np.arange(3))
    frozen(Redness(), cells, Cache.off())
    assert cells.nonempty == {"p": 3} and cells.further == {"p": 3}
    judge_faults([cells], on_bad="mask", max_bad=0.34)
    with pytest.raises(BadTable, match=r"2 of 6 pictures cannot be read \(33.33 %, limit 30 %\)"):
        judge_faults([cells], on_bad="mask", max_bad=0.3)


def test_a_file_that_is_bad_in_one_record_is_bad_in_all(folder):
    cells = cells_of(['["cut.png", "a.png"]', '["b.png", "cut.png"]', "cut.png"], folder)
    frozen(Redness(), cells, Cache.off())
    assert [(fault.row, fault.reason[:14]) for fault in cells.faults[:2]] == [(0, "picture 1 of 2"), (1, "picture 2 of 2")]
    assert [fault.row for fault in cells.faults] == [0, 1, 2]


def test_nothing_in_a_list_is_nothing(folder):
    """An empty place between two files is none: neither a file nor a fault."""
    cells = cells_of(['["a.png", null, "", "b.png"]', "[null]"], folder)
    assert np.asarray(frozen(Redness(), cells, Cache.off()))[:, 0].tolist() == [15, 0]
    assert not cells.faults and cells.further == {"p": 0} and cells.present.tolist() == [True, False]
    assert cells_of([[None, "a.png"], [None]], folder).present.tolist() == [True, False]


def test_a_value_of_its_own_is_the_first_file_that_can_be_used(folder):
    cells = cells_of(['["no.png", "cut.png", "d.png", "a.png"]', '["no.png", "cut.png"]'], folder)
    values = cells.values()
    assert values[0][0, 0, 0] == 100 and values[1] is None
    assert cells.content(0).name == "d.png" and cells.content(1) is None
    assert cells.values([0, 0], pieces=[2, 3])[1][0, 0, 0] == 10


@pytest.mark.parametrize("written", ["a.png;b.png", "a.png | b.png", "[a.png, b.png]", '["a.png", "b.png"'])
def test_other_ways_to_write_several_are_told_the_right_one(folder, written):
    cells = cells_of([written], folder)
    cells.values()
    assert cells.faults[0].reason.endswith('; several files in one cell are written ["a", "b"]')


def test_a_single_wrong_path_is_told_nothing_of_that(folder):
    cells = cells_of(["x,y.png", "no;name"], folder)
    cells.values()
    assert not any("several" in fault.reason for fault in cells.faults)


def test_hashes_tell_cells_apart_by_what_they_hold_in_order(folder):
    cells = cells_of(['["a.png", "b.png"]', '["b.png", "a.png"]', "a.png", '["a.png"]', '["a.png", "b.png"]'], folder)
    names = cells.digests()
    assert names[0] == names[4] != names[1] and names[2] == names[3] != names[0]
    rows, pieces = cells.pieces(np.arange(5))
    assert rows.tolist() == [0, 0, 1, 1, 2, 3, 4, 4] and pieces.tolist() == [0, 1, 0, 1, 0, 0, 0, 1]
    single = cells.hashes(rows, pieces)
    assert single[0] == single[3] == single[4] == single[5] == cells.hashes(np.array([2]))[0] and single[1] == single[2]


def test_two_tables_behind_each_other(folder):
    joined = join([{"p": cells_of(["a.png", '["b.png", "c.png"]'], folder)}, {"p": cells_of(['["d.png", "no.png"]'], folder)}])
    rows, pieces = joined["p"].pieces(np.arange(3))
    assert rows.tolist() == [0, 1, 1, 2, 2] and pieces.tolist() == [0, 0, 1, 0, 1]
    assert np.asarray(frozen(Redness(), joined["p"], Cache.off()))[:, 0].tolist() == [10, 55, 150]
    assert (joined["p"].hashes(rows, pieces) == b"").tolist() == [False] * 4 + [True]
    assert bad_rows(joined).tolist() == []


# how they are written -------------------------------------------------------------------------------


def python_cells():
    both = [png(10), png(60)]
    return [both, png(20), None, [png(200), png(10), png(20)], [], [png(60)]]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "paths", "bytes", "dicts", "mixed"])
def test_every_way_to_write_them_gives_the_same(folder, form):
    names = [json.loads(text) if text.startswith("[") else text or None for text in WRITTEN]
    table = folder / f"t.{form}"
    if form == "csv":
        write_csv(table, {"p": WRITTEN})
        records = read_table(table)
    elif form == "jsonl":
        table.write_text("".join(json.dumps({"p": name}) + "\n" for name in names))
        records = read_table(table)
    elif form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        lists = [name if isinstance(name, list) or name is None else [name] for name in names]
        pq.write_table(pa.table({"p": pa.array(lists, pa.list_(pa.string()))}), table)
        records = read_table(table)
    elif form == "paths":
        full = [[folder / n for n in name] if isinstance(name, list) else name and folder / name for name in names]
        records = as_records({"p": full})
    elif form == "bytes":
        records = as_records({"p": python_cells()})
    elif form == "dicts":
        values = [v if isinstance(v, list) or v is None else [v] for v in python_cells()]
        records = as_records({"p": [v and [{"bytes": one, "path": None} for one in v] for v in values]})
    else:
        records = as_records({"p": [[png(10), "c.png"], "b.png", None, *python_cells()[3:]]}, folder=folder)
    schema = guess(records)
    assert [column.kind for column in schema.columns] == ["image"], schema.describe()
    cells = read_cells(records, schema)["p"]
    assert np.asarray(frozen(Redness(), cells, Cache.off()))[:, 0].tolist() == POOLED
    assert not cells.faults and cells.present.tolist() == [True, True, False, True, False, True]


def test_sounds_go_the_same_way():
    import soundfile

    def wav(level):
        file = io.BytesIO()
        soundfile.write(file, np.full(100, level, np.float32), 16000, format="WAV", subtype="FLOAT")
        return file.getvalue()

    class Level(Plain):
        cached = True

        def transform(self, values):
            return np.array([[value.mean()] for value in values], np.float32)

    cells = cells_of([[wav(0.25), wav(0.75)], wav(0.125), [wav(0.5), b"RIFF"]], kind="audio")
    assert np.asarray(frozen(Level(), cells, Cache.off()))[:, 0].tolist() == [0.5, 0.125, 0.5]
    assert cells.faults[0].reason.startswith("sound 2 of 2: ")


# the door -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["transformer", "concat"])
def test_a_fusion_that_reads_positions_reads_those_of_all_pictures(folder, fusion):
    """Cells of one to three pictures beside a text: trained and answered in blocks of different lengths."""
    names = [["a.png"], ["b.png", "c.png"], ["d.png", "e.png", "a.png"], None]
    rows = [{"photo": names[i % 4], "note": f"word {i % 5}", "label": "ab"[i % 2]} for i in range(80)]
    options = {"photo.widths": [4], "photo.pixels": 4, "train.epochs": 2, "train.dim": 8, "train.members": 2, "train.batch": 7}
    if fusion == "transformer":
        options |= {"fusion.heads": 2, "fusion.positions": True}
    encoders = {"photo": "image.cnn", "note": "text.plain"}
    model = polysense.Model("label", fusion=fusion, encoders=encoders, options=options, columns={"note": "text"}, cache=False)
    model.fit(as_records(rows, folder=folder))
    whole = model.predict_proba(as_records(rows, folder=folder))
    for row in (1, 2, 3):
        np.testing.assert_allclose(model.predict_proba(as_records(rows[row : row + 1], folder=folder))[0], whole[row], atol=1e-5)


def test_a_model_of_cells_with_several_pictures(folder, tmp_path):
    """What tells the classes is in the second picture; a record is answered alone as among others, also from CSV."""
    from PIL import Image as Pillow

    def picture(name, level):
        noise = np.random.default_rng(level).integers(0, 40, (8, 8, 3))
        Pillow.fromarray((noise + level).astype(np.uint8)).save(folder / name)

    rows = []
    for i in range(40):
        picture(f"x{i}.png", 90)
        picture(f"y{i}.png", 30 + 150 * (i % 2))
        rows.append({"photo": [f"x{i}.png", f"y{i}.png"], "label": "dark" if i % 2 == 0 else "light"})
    rows[7]["photo"][0] = "nowhere.png"
    write_csv(folder / "t.csv", {"photo": [json.dumps(r["photo"]) for r in rows], "label": [r["label"] for r in rows]})
    settings = {"encoders": {"photo": "image.cnn"}, "options": {
        "photo.widths": [4], "photo.pixels": 8, "train.epochs": 6, "train.dim": 8, "train.members": 1}}
    model = polysense.Model("label", cache=False, **settings).fit(folder / "t.csv")
    report = model.data_report_["bad_cells"]
    assert [(cell["row"], cell["action"]) for cell in report] == [(7, "left out")]
    assert model.score(folder / "t.csv") > 0.9
    whole = model.predict_proba(as_records(rows, folder=folder))
    for row in (0, 7):
        np.testing.assert_allclose(model.predict_proba(as_records(rows[row : row + 1], folder=folder))[0], whole[row], atol=1e-5)
    model.save(tmp_path / "model")
    np.testing.assert_allclose(polysense.load(tmp_path / "model").predict_proba(folder / "t.csv"), whole, atol=1e-6)

"""Series: cells of every form, what is refused and why, and the plain features."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polysense import Model
from polysense.contracts import to_tensors
from polysense.data.media import BadCell, Limits
from polysense.data.reading import read_cells
from polysense.data.records import as_records, read_table
from polysense.data.schema import Schema, guess
from polysense.data.series import Series, arranged, channels_of, decode, looks_like, read
from polysense.errors import BadOption, NotFitted
from polysense.layers import positions
from polysense.modality.series import (
    OF_CHANNEL,
    Dilated,
    Inputs,
    PlainSeries,
    Rnn,
    SeriesPlain,
    Tcn,
    Transformer,
    Usual,
    octaves,
    stretches,
    waves,
)

NAN = float("nan")


def npy(array, **how) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


# --- cells ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "x", "seconds", "names"),
    [
        ([1, None, 3.5], [[1], [NAN], [3.5]], None, None),
        ([[1, 2], None, [3, None]], [[1, 2], [NAN, NAN], [3, NAN]], None, None),
        ("[1, NaN, 3]", [[1], [NAN], [3]], None, None),
        ([True, False], [[1], [0]], None, None),
        ({"x": [1, 2], "y": [3, None]}, [[1, 3], [2, NAN]], None, ("x", "y")),
        ({"x": [1, 2], "gone": None}, [[1], [2]], None, ("x",)),
        ('{"t": [5, 5.5, 7], "x": [1, 2, 3]}', [[1], [2], [3]], [0, 0.5, 2], ("x",)),
        ({"date": ["2024-02-28", "2024-02-29", "2024-03-01"], "price": [1, 2, 3]}, [[1], [2], [3]], [0, 86400, 172800],
         ("price",)),
        ({"x": [1, 2], "t": [3, 4]}, [[1, 3], [2, 4]], None, ("x", "t")),  # only the first one tells the time
        (npy(np.array([1, 2], np.int16)), [[1], [2]], None, None),
        (npy(np.asfortranarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])), [[1, 2, 3], [4, 5, 6]], None, None),
        (npy(np.array([[1.5, NAN]], ">f4")), [[1.5, NAN]], None, None),
        (b"x,y\n1,2\n,NA\n3,4\n", [[1, 2], [NAN, NAN], [3, 4]], None, ("x", "y")),
        (b"\xef\xbb\xbfTime;x\r\n0;1\r\n\r\n0.25;2\r\n", [[1], [2]], [0, 0.25], ("x",)),
        (b"1\t2\n3\t4", [[1, 2], [3, 4]], None, None),
        (b"timestamp,x\n2024-01-01 00:00:10,1\n2024-01-01 00:00:40,2\n", [[1], [2]], [0, 30], ("x",)),
    ],
)
def test_every_form_of_a_cell(cell, x, seconds, names):
    found = read(cell)
    np.testing.assert_array_equal(found.x, np.array(x, float))
    assert found.x.dtype == np.float64 and found.names == names
    if seconds is None:
        assert found.seconds is None
    else:
        np.testing.assert_array_equal(found.seconds, seconds)


def lie(shape: str, kind: str = "<f8", body: bytes = b"") -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ([1, "x"], "holds 'x', which is not a number"),
        ([[1, 2], [3]], "sample 1 holds 1 numbers, the first one 2 numbers"),
        ([[1, 2], 3], "sample 1 holds 3, the first one 2 numbers"),
        ([[[1]]], "holds .*which is not a number|has 3 axes"),
        ([None, None], "every sample is missing"),
        ([[]], "holds no samples"),
        ("[]", "holds no samples"),
        ("[1, 2", r"'\[1, 2' is no JSON list of numbers"),
        ("[" * 100_000, "nested too deeply"),
        ('{"x": 3}', "channel 'x' holds 3, not a list of numbers"),
        ({"x": [1, 2], "y": [1]}, "its channels differ in length: x 2, y 1"),
        ({"time": [1]}, "holds time and no channel"),
        ({"x": [[1]]}, "channel 'x' holds lists of lists"),
        ({"t": [1, 0], "x": [1, 2]}, "its time goes back at sample 1"),
        ({"t": [1, None], "x": [1, 2]}, "has no time at sample 1"),
        ({"t": ["noon", 1], "x": [1, 2]}, "'noon' is not a date"),
        ([[1, 2], [3, float("inf")]], "infinity in channel 2 at sample 1"),
        ({"a": [1], "b": [-float("inf")]}, "infinity in channel b at sample 0"),
        (10**400, "is no list of numbers"),
        ([10**400], "is no list of numbers"),
        (npy(np.array([1 + 2j])), "holds complex128 values, not real numbers"),
        (npy(np.array(["a"])), "holds str.* values, not real numbers"),
        (npy(np.array(["2024-01-01"], "datetime64[D]")), "holds datetime64.* values"),
        (npy(np.array([{}], object), allow_pickle=True), "holds Python objects, which could run code when read"),
        (npy(np.zeros(2, [("a", "f4")])), "not real numbers"),
        (npy(np.zeros((2, 2, 2))), "has 3 axes"),
        (npy(np.zeros(())), "has 0 axes"),
        (npy(np.zeros((0, 3))), "holds no samples"),
        (npy(np.zeros(100))[:-8], "declares 800 bytes of numbers and holds 792"),
        (npy(np.zeros(2)) + b"x", "declares 16 bytes of numbers and holds 17"),
        (npy(np.zeros(2))[:20], "cannot be read as .npy"),
        (lie("(1000000000000,)"), "declares 1,000,000,000,000 numbers, more than the 20,000,000 allowed"),
        (lie("(-1, -8)", body=bytes(64)), "declares 8 numbers, more than|cannot be read"),
        (lie("(1,)", "O", bytes(8)), "holds Python objects"),
        (lie("open('x')"), "cannot be read as .npy"),
        (b"PK\3\4rest", "is a ZIP file, neither a .npy file nor a .csv file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(9), "is a picture, neither"),
        (b"x,y\n1,2\n1\n", "line 3: 1 values, where the first line has 2"),
        (b"x\n1\nfive\n", "line 3: 'five' is not a number"),
        (b"x\n0,5\n", "line 2: 2 values, where the first line has 1"),
        (b"x,x\n1,2\n", "its header names a channel twice: x, x"),
        (b"time\n1\n", "holds time and no channel"),
        (b"x,y\n", "holds no samples"),
        (b'x\n"1\n', "line .*"),
        (b"x\ninf\n", "line 2: 'inf' is infinite"),
    ],
)
def test_what_is_refused_and_why(cell, reason):
    with pytest.raises(BadCell, match=reason):
        read(cell)


@pytest.mark.parametrize("cell", [[[0.0] * 5] * 5, npy(np.zeros((5, 5))), b"a,b,c,d,e\n" + b"1,2,3,4,5\n" * 5])
def test_limits_hold_for_every_form(cell):
    assert read(cell, limits=Limits(series_numbers=25, series_channels=5)).x.shape == (5, 5)
    for limits in (Limits(series_numbers=24), Limits(series_channels=4)):
        with pytest.raises(BadCell, match="more than"):
            read(cell, limits=limits)


@given(st.binary(max_size=80), st.sampled_from([b"", b"\x93NUMPY\x01\x00", npy(np.arange(4.0))[:70], b"time,x\n1,"]))
def test_any_bytes_are_a_series_or_a_reason(tail, head):
    try:
        found = decode(head + tail)
    except BadCell as error:
        assert error.reason
    else:
        assert found.x.ndim == 2 and found.x.size and not np.isinf(found.x).any()


def test_channels_are_found_by_name():
    found = read({"y": [1, 2], "x": [3, 4]})
    np.testing.assert_array_equal(arranged(found, ("x", "y", "z")).x, [[3, 1, NAN], [4, 2, NAN]])
    np.testing.assert_array_equal(arranged(found, ("1", "2")).x, [[1, 3], [2, 4]])
    np.testing.assert_array_equal(arranged(read([[1, 2]]), ("x", "y")).x, [[1, 2]])
    with pytest.raises(BadCell, match=r"has the channel 'y', which training did not have \(x, z\)"):
        arranged(found, ("x", "z"))
    for cell, there in (([1], "1 channel"), ([[1, 2, 3]], "3 channels")):
        with pytest.raises(BadCell, match=f"has {there}, where training had 2"):
            arranged(read(cell), ("x", "y"))


def test_channels_that_few_cells_have_are_not_learned():
    cells = [{"x": [1], "y": [2]}] * 20 + [{"x": [1], "typo": [2]}, "spoilt"]
    assert channels_of(cells) == ("x", "y")
    assert channels_of([[1, 2], [[1, 2]], [[3, 4]], ["spoilt"]]) == ("1", "2")
    assert channels_of(["spoilt"]) == ()


def test_what_looks_like_a_series():
    assert not any(map(looks_like, ["see [1]", "{}", "[[]]", '["1"]', '{"x": "1"}', b"[1]", {"bytes": b"", "path": "a"}]))


# --- columns ----------------------------------------------------------------------------------------


def shown(records, **declared):
    schema = guess(records, declared=declared)
    return schema, schema.columns[0].line()


def test_columns_are_guessed_with_a_reason(tmp_path):
    for name, data in {"a.npy": npy(np.ones((3, 2))), "b.npy": npy(np.ones((4, 2))), "c.csv": b"t,x\n0,1\n", "d.csv": b"t,x\n0,1\n1,2\n"}.items():
        (tmp_path / name).write_bytes(data)
    _, line = shown(as_records({"walk": ["a.npy", "b.npy"]}, tmp_path))
    assert line == "walk -> series: 2 of 2 values end in .npy; 2 channels"
    _, line = shown(as_records({"walk": ["c.csv", "d.csv"]}, tmp_path))
    assert line == "walk -> series: 2 of 2 values end in .csv; 1 channel (x)"
    _, line = shown(as_records({"source": ["x.csv", "y.csv"]}, tmp_path))
    assert line.startswith("source -> text"), "the name of a table is no series"
    _, line = shown(as_records({"walk": ['{"a": [1], "b": [2], "c": [1], "d": [1], "e": [1]}', "[[1, 2, 3, 4, 6]]"]}))
    assert line == "walk -> series: 2 of 2 values are lists of numbers; 5 channels (a, b, c, d, ...)"
    schema, line = shown(as_records({"walk": [[1, 2], None, [3]]}), walk="series")
    assert line == "walk -> series: declared; 1 channel"
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_cells_with_their_faults(tmp_path):
    (tmp_path / "good.npy").write_bytes(npy(np.ones((3, 1))))
    (tmp_path / "wide.npy").write_bytes(npy(np.ones((3, 2))))
    (tmp_path / "t.csv").write_text('i,walk\n0,"[1, null, 3]"\n1,\n2,good.npy\n3,wide.npy\n4,gone.npy\n5,"[1, null, 3]"\n')
    records = read_table(tmp_path / "t.csv")
    cells = read_cells(records, guess(records, declared={"walk": "series", "i": "ignore"}))["walk"]
    assert [value is not None for value in cells.values()] == [True, False, True, False, False, True]
    assert cells.present.tolist() == [True, False, True, False, False, True]
    assert [(fault.row, fault.reason.split(" in /")[0]) for fault in cells.faults] == [
        (3, "'wide.npy': has 2 channels, where training had 1"), (4, "'gone.npy': no such file")]
    first, none, second, wide, gone, again = cells.digests()
    assert first == again != second and none is wide is gone is None


def test_the_order_of_channels_is_part_of_the_content():
    """Equal cells under schemas that order the channels otherwise are other numbers: they may not share a cache entry."""
    records = as_records({"walk": [{"x": [1], "y": [2]}]})
    flipped = as_records({"walk": [{"y": [2], "x": [1]}]})
    schemas = [guess(one, declared={"walk": "series"}) for one in (records, flipped)]
    digests = [read_cells(records, schema)["walk"].digests()[0] for schema in schemas]
    assert digests[0] != digests[1]


def test_arrays_of_numpy_and_frames():
    records = as_records([{"walk": np.ones((2, 3))}, {"walk": [[1, 2, 3]]}, {"walk": np.array([[NAN, 1, 2]])}])
    cells = read_cells(records, guess(records))["walk"]
    assert [value.x.shape for value in cells.values()] == [(2, 3), (1, 3), (1, 3)] and not cells.faults
    records = as_records([{"walk": {"x": np.ones(3)}}, {"walk": {"x": np.zeros(2)}}])
    assert [len(value.x) for value in read_cells(records, guess(records))["walk"].values()] == [3, 2]


# --- plain features ---------------------------------------------------------------------------------


def named(value, *training):
    """Of the only channel, by kind, in deviations and steps of training."""
    plain = SeriesPlain()
    plain.fit(list(training) or [value])
    found = plain.transform([value])[0].tolist()
    keys = ("mean deviation least most q10 q25 q50 q75 q90 trend missing rough crossings above lag1 lag2 lag4 lag8 "
            + " ".join(f"octave{i}" for i in range(8)) + " " + " ".join(f"part{i}" for i in range(8)) + " n duration gap uneven")
    return dict(zip(keys.split(), found, strict=True))


UNIT = Series(np.array([[-1.0], [1.0]]))  # mean 0, deviation 1, a sample a step


def test_plain_features_by_hand():
    """1, gap, 3, 3, 5: mean 3, deviation sqrt(8 / 4); the line through (0, 1), (2, 3), (3, 3), (4, 5) has the slope
    (-2.25 * -2 + 1.75 * 2) / (2.25^2 + 0.25^2 + 0.75^2 + 1.75^2) = 8 / 8.75; bridged 1 2 3 3 5 crosses 3 once."""
    found = named(Series(np.array([[1.0], [NAN], [3.0], [3.0], [5.0]])), UNIT)
    wanted = {"mean": 3, "deviation": 2**0.5, "least": 1, "most": 5, "q50": 3, "q25": 2.5, "q10": 1.6, "q90": 4.4,
              "trend": 4 * 8 / 8.75, "missing": 0.2, "rough": 1, "crossings": 0.25, "above": 0.2, "n": np.log(5),
              "duration": np.log(5), "gap": np.log(2), "uneven": 0, "part0": 1, "part7": 5}
    for key, number in wanted.items():
        assert found[key] == pytest.approx(number, abs=1e-6), key


def test_rhythm_by_hand():
    """A wave of 8 samples lies at f = 1/8, two octaves below 1/2: the third band. After 4 steps it is its own opposite
    (60 of 64 products), after 8 itself (56 of 64)."""
    wave = Series(np.sin(2 * np.pi * np.arange(64) / 8)[:, None])
    found = named(wave, UNIT)
    assert found["octave2"] == pytest.approx(1) and found["lag4"] == pytest.approx(-60 / 64) and found["lag8"] == pytest.approx(56 / 64)
    assert found["crossings"] == pytest.approx(16 / 63, abs=1 / 60)


def test_rhythm_is_in_time_not_in_samples():
    """The same wave sampled four times as densely, at uneven times, shows the same octave and lags."""
    rng = np.random.default_rng(0)
    even = Series(np.sin(np.arange(64) * np.pi / 5)[:, None], np.arange(64) * 0.5)
    at = np.sort(rng.uniform(0, 31.5, 256))
    dense = Series(np.sin(at * np.pi / 2.5)[:, None], at)
    one, other = named(even, even), named(dense, even)
    for key in ("octave2", "lag1", "lag2", "lag4", "lag8", "crossings"):
        assert other[key] == pytest.approx(one[key], abs=0.15), key
    assert other["uneven"] > one["uneven"] == pytest.approx(0, abs=1e-6)


def test_stretches_of_a_short_record():
    assert stretches(np.array([[1.0], [2.0]])).ravel().tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert not octaves(np.ones((1, 1)), 1.0).any()


def test_correlations_of_channels():
    x = np.random.default_rng(0).normal(size=(30, 3))
    x[:, 2] = -2 * x[:, 0]
    plain = SeriesPlain()
    plain.fit([Series(x)])
    found = plain.transform([Series(x)])[0, -3:]
    assert len(plain.transform([Series(x)])[0]) == plain.width == 3 * OF_CHANNEL + 4 + 3
    np.testing.assert_allclose(found[1], -1, atol=1e-6)
    np.testing.assert_allclose(found[0], np.corrcoef(x[:, 0], x[:, 1])[0, 1], atol=1e-6)


@given(
    st.lists(st.lists(st.none() | st.floats(-1e300, 1e300), min_size=1, max_size=6), min_size=1, max_size=4),
    st.booleans(),
)
def test_any_series_gives_finite_numbers(lists, timed):
    values = [Series(np.array(one, float)[:, None], np.cumsum(np.arange(len(one)) % 2) * 1e-3 if timed else None) for one in lists]
    plain = SeriesPlain()
    plain.fit(values[:2])
    assert np.isfinite(plain.transform(values)).all()


def test_usual_by_hand():
    """Channel 2 is constant, so its size stands for its deviation; the times are 0.5 apart."""
    usual = Usual.of([Series(np.array([[0.0, 7], [NAN, 7], [4, 7]]), np.array([0, 0.5, 1.0])), Series(np.array([[2.0, 7]]))])
    assert (usual.mean.tolist(), usual.step) == ([2, 7], 0.5)
    np.testing.assert_allclose(usual.deviation, [(8 / 3) ** 0.5, 7])
    np.testing.assert_allclose(usual.samples(Series(np.array([[2.0, 1e9]]))), [[0, 50]], atol=1e-12)
    tiny = Usual.of([Series(np.array([[1e-12], [3e-12]])), Series(np.array([[NAN]]))])
    np.testing.assert_allclose([tiny.mean[0], tiny.deviation[0], tiny.step], [2e-12, 1e-12, 1])
    assert usual.steps(Series(np.zeros((3, 2)))).tolist() == [0, 1, 2]
    assert usual.steps(Series(np.zeros((2, 2)), np.array([0, 2.0]))).tolist() == [0, 4]


def test_before_fit():
    with pytest.raises(NotFitted, match="series"):
        PlainSeries().prepare([Series(np.ones((2, 1)))])


def test_the_encoder_gives_the_plain_features():
    made, values = PlainSeries(), [Series(np.arange(6.0)[:, None]), UNIT]
    made.fit(values)
    np.testing.assert_array_equal(made(to_tensors(made.prepare(values))).x[:, 0].numpy(), made.plain.transform(values))


# --- trained encoders -------------------------------------------------------------------------------

SMALL = {Tcn: {"widths": [8, 8], "merge": 1}, Rnn: {"width": 8, "merge": 1}, Transformer: {"width": 8, "patch": 4, "stride": 2}}
trained = pytest.mark.parametrize("kind", list(SMALL))


def walk(n=24, at=None, seed=0, channels=1) -> Series:
    return Series(np.random.default_rng(seed).normal(size=(n, channels)), at)


def fitted(kind, *values, **more):
    torch.manual_seed(0)
    made = kind(**SMALL[kind] | more)
    made.fit(values)
    return made.eval()


def said(made, *values):
    with torch.no_grad():
        return made(to_tensors(made.prepare(values)))


def test_inputs_by_hand():
    """log(1 + e^v) = log 2 for v = 0, so what was 4 three steps ago is 4 / 2^3; log(1 + 3) - log 2 = log 2."""
    net = Inputs(1)
    with torch.no_grad():
        net.fade_C.zero_()
        found = net({"x": torch.tensor([[[4.0], [4.0], [9.0]]]), "seen": torch.tensor([[[True], [False], [True]]]),
                     "gap": torch.tensor([[[0.0], [3.0], [1.0]]]), "mask": torch.tensor([[True, True, False]])})
    torch.testing.assert_close(found[0], torch.tensor([[4, 1, -np.log(2)], [0.5, 0, np.log(2)], [0, 0, 0]]).float())


def test_what_is_prepared_by_hand():
    """Mean 2, deviation 1, 0.5 s a step; the second sample is missing, so the third's was seen two moments before."""
    value = Series(np.array([[1.0], [NAN], [3.0]]), np.array([0, 0.5, 2.0]))
    made = fitted(Rnn, Series(np.array([[1.0], [3.0]]), np.array([0, 0.5])))
    found = made.prepare([value])
    assert found["x"].ravel().tolist() == [-1, -1, 1] and found["seen"].ravel().tolist() == [True, False, True]
    assert found["gap"].ravel().tolist() == [0, 1, 4] and found["at"].tolist() == [[0, 1, 4]]


def test_a_dilated_convolution_by_hand():
    """y_t = x_(t-2) + 10 x_t + 100 x_(t+2), or with earlier samples only x_(t-4) + 10 x_(t-2) + 100 x_t."""
    for both, wanted in ((True, [310, 420, 531, 642, 53, 64]), (False, [100, 200, 310, 420, 531, 642])):
        net = Dilated(1, 1, 3, 2, both)
        with torch.no_grad():
            net.weigh.weight = torch.tensor([[1.0, 10.0, 100.0]])
            net.weigh.bias.zero_()
            torch.testing.assert_close(net(torch.arange(1.0, 7)[None, :, None]).ravel(), torch.tensor(wanted).float())


@pytest.mark.parametrize("kind", [Tcn, Rnn])
@pytest.mark.parametrize("both", [False, True])
def test_only_both_reads_later_samples(kind, both):
    one, other = walk(), walk()
    other.x[12] += 3
    made = fitted(kind, one, both=both)
    same = (said(made, one).x == said(made, other).x).all(-1)[0].tolist()
    assert same[:12] == [True] * 12 if not both else not all(same[:12])
    assert not same[12]


def test_the_reach_of_the_convolutions():
    """Two blocks of size 3 reach 1 + 2 * 2 * 3 = 13 samples: the twelfth before, and not the thirteenth."""
    one, other = walk(40), walk(40)
    other.x[10] += 3
    made = fitted(Tcn, one, both=False)
    changed = (said(made, one).x != said(made, other).x).any(-1)[0]
    assert changed.nonzero().ravel().tolist()[-1] == 22


def test_waves_are_the_shared_positions():
    torch.testing.assert_close(waves(torch.arange(6.0)[None], 8)[0], positions(6, 8))


@pytest.mark.parametrize(("samples", "patches"), [(1, 1), (4, 1), (5, 2), (6, 2), (7, 3), (9, 4)])
def test_patches_by_hand(samples, patches):
    """Patches of 4, one every 2 samples: the last one holds the last sample."""
    made = fitted(Transformer, walk())
    tokens = said(made, walk(samples), walk(24))
    assert int(tokens.mask[0].sum()) == patches
    one, other = walk(samples), walk(samples)
    other.x[-1] += 3
    assert not torch.equal(said(made, one).x[0, patches - 1], said(made, other).x[0, patches - 1])


@trained
def test_time_stamps_are_read_unless_told_otherwise(kind):
    even, uneven = walk(at=np.arange(24) * 0.5), walk(at=np.cumsum(np.random.default_rng(1).uniform(0.1, 1, 24)))
    made, deaf = fitted(kind, even), fitted(kind, even, time=False)
    assert not torch.allclose(said(made, even).pooled(), said(made, uneven).pooled(), atol=1e-3)
    assert torch.equal(said(deaf, even).x, said(deaf, uneven).x)
    torch.testing.assert_close(said(made, even).x, said(made, walk()).x)  # one step apart is what an index says


@trained
def test_the_unit_of_time_and_of_a_channel_does_not_matter(kind):
    at = np.cumsum(np.random.default_rng(1).uniform(0.5, 1, 24))
    one, other = walk(at=at), walk(at=at * 1000)
    other.x[:] = other.x * 1e6 + 5e6
    torch.testing.assert_close(said(fitted(kind, one), one).x, said(fitted(kind, other), other).x, atol=1e-4, rtol=1e-4)


@trained
def test_a_gap_is_not_the_mean(kind):
    one, gap = walk(), walk()
    made = fitted(kind, one)
    one.x[3], gap.x[3] = made.usual.mean, NAN
    assert not torch.allclose(said(made, one).x, said(made, gap).x, atol=1e-4)


def test_places_are_seconds():
    """Four samples at 0, 2, 3, 7 s: means of two and two; patches of three and of one."""
    value = walk(4, np.array([0, 2, 3, 7.0]))
    for kind, more in ((Tcn, {"merge": 2}), (Rnn, {"merge": 2})):
        torch.testing.assert_close(said(fitted(kind, value, **more), value).place.ravel(), torch.tensor([1.0, 5.0]))
    place = said(fitted(Transformer, value, patch=3, stride=3), value).place.ravel()
    torch.testing.assert_close(place, torch.tensor([5 / 3, 7]))


@trained
def test_long_records_are_thinned(kind):
    made = fitted(kind, walk(), samples=10)
    assert made.prepare([walk(35)])["mask"].shape == (1, 9)  # 4 at a time


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [(Rnn, {"width": 7}, "'width' is 7, which two directions cannot share"), (Rnn, {"cell": "gruu"}, "tanh, lstm, gru"),
     (Transformer, {"width": 6, "heads": 4}, "'width' is 6, which 4 heads cannot share"),
     (Transformer, {"patch": 2, "stride": 3}, "'stride' is 3")],
)
def test_options_that_do_not_fit(kind, options, message):
    with pytest.raises(BadOption, match=message):
        kind(**options)


@pytest.mark.parametrize("name", ["series.plain", "series.tcn", "series.rnn", "series.transformer"])
def test_a_model_of_series(name, tmp_path):
    """Cached and uncached, alone and in a batch, saved and loaded: the same answers; a bad cell is in the report."""
    rng = np.random.default_rng(0)
    rows = [{"walk": (np.sin(np.arange(10 + i % 7) * (0.4 + i % 2)) + rng.normal(size=10 + i % 7) / 9).tolist(), "label": "ab"[i % 2]}
            for i in range(40)]
    rows[3]["walk"][2], rows[5]["walk"], rows[7]["walk"] = None, None, [[1, 2]] * 9
    options = {"train.epochs": 2, "train.dim": 8, "train.members": 2, "train.regressions": 0.0}
    if name != "series.plain":
        kind = {"tcn": Tcn, "rnn": Rnn, "transformer": Transformer}[name.split(".")[1]]
        options |= {f"walk.{key}": value for key, value in SMALL[kind].items()}
    made = Model("label", encoders={"walk": name}, options=options).fit(rows)
    assert [(cell["row"], cell["reason"]) for cell in made.data_report_["bad_cells"]] == [(7, "has 2 channels, where training had 1")]
    answers = made.predict_proba(rows)
    again = Model("label", encoders={"walk": name}, options=options, cache=False).fit(rows)
    np.testing.assert_allclose(again.predict_proba(rows), answers, atol=1e-5)
    made.save(tmp_path / "m")
    from polysense import load

    loaded = load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict_proba(rows), answers)
    np.testing.assert_allclose(loaded.predict_proba(rows[3:4]), answers[3:4], atol=1e-5)


def test_the_encoder_by_default():
    from polysense.modality.towers import default_encoder

    assert [default_encoder("series", [], n)[0] for n in (4999, 5000)] == ["series.plain", "series.tcn"]
    assert default_encoder("series", [], 9)[2] == "fewer than 5,000 training records"


def other(name):
    """A file that is no part of the package."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, Path(__file__).parents[1] / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_made_set_tells_its_class_by_time_alone():
    """A sine of the true frequency fits what is seen, one of the other frequency does not; by index both classes are alike."""
    made = other("bench/strengths_series.py").records(40, 0)
    right, apart = 0, {"slow": [], "fast": []}
    for record in made:
        at, x = np.array(record["wave"]["time"]), np.array(record["wave"]["height"])
        apart[record["label"]].append(np.log(np.diff(at).mean()))
        at, x = at[~np.isnan(x)], x[~np.isnan(x)]
        left = [np.linalg.lstsq(np.stack([np.sin(2 * np.pi * f * at), np.cos(2 * np.pi * f * at)], 1), x, rcond=None)[1][0] for f in (1, 2)]
        right += (left[0] < left[1]) == (record["label"] == "slow")
    assert right >= 38
    assert abs(np.mean(apart["slow"]) - np.mean(apart["fast"])) < 0.5

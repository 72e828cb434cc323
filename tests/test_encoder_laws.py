"""Laws that every encoder of the shelf keeps. B records, T positions, D width."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from polysense.contracts import digest, to_tensors
from polysense.data.series import Series
from polysense.errors import BadOption
from polysense.registry import encoders
from tiny import tiny_towers  # noqa: F401  (a fixture)

NAMES = list(encoders)
RANDOM = np.random.default_rng(7)


def sound(seconds: float) -> np.ndarray:
    return (0.1 * RANDOM.normal(size=int(16_000 * seconds))).astype(np.float32)


def row(size, kind, wild, born):
    return {"size": size, "kind": kind, "wild": wild, "born": born}


def series(samples: int, timed: bool = False, gaps: int = 0) -> Series:
    x_TC = RANDOM.normal(size=(samples, 2)).cumsum(0)
    x_TC.ravel()[RANDOM.integers(0, 2 * samples, gaps)] = np.nan
    return Series(x_TC, RANDOM.uniform(0.05, 0.5, samples).cumsum() if timed else None)


#: Six values of each modality, of different lengths and shapes, repeated ones among them.
VALUES = {
    "text": [
        "a red bus on the road", "红色的公交车", "the blue whale swims under the old bridge at night", "car",
        "car", "Été à la mer",
    ],
    "image": [RANDOM.integers(0, 256, (*shape, 3), np.uint8) for shape in
              ((40, 60), (60, 40), (33, 33), (8, 90), (64, 64), (1, 1))],
    "audio": [sound(s) for s in (0.3, 2.3, 0.02, 0.52, 0.77, 1.0)],
    "series": [series(9), series(20, True), series(1), series(14, True, 5), series(30, False, 12), series(12, gaps=1)],
    "table": [
        row(1.0, "cat", True, 0.0), row(2.0, "dog", None, 86_400.0), row(None, "cat", False, None),
        row(4.0, None, True, 86_400.0 * 40), row(8.0, "cow", True, 86_400.0 * 200),
        row(-3.0, "dog", False, None),
    ],
}
#: Smaller than the defaults, for speed.
OPTIONS = {
    "text.bag": {"dim": 16, "vocabulary": 400},
    "text.cnn": {"dim": 8, "vocabulary": 400},
    "text.plain": {"dims": 4},
    "text.rnn": {"dim": 8, "vocabulary": 400},
    "text.transformer": {"dim": 8, "vocabulary": 400, "heads": 2},
    "image.cnn": {"widths": [4, 8], "pixels": 16},
    "image.vgg": {"depth": 11, "width": 4, "pixels": 32},
    "image.resnet18": {"width": 4, "pixels": 32},
    "image.resnet50": {"width": 2, "stem": 3, "pixels": 16},
    "image.crnn": {"widths": [4, 8], "width": 8, "pixels": 16},
    "image.vit": {"dim": 16, "depth": 2, "heads": 2, "pixels": 16},
    "image.mixer": {"dim": 16, "depth": 2, "pixels": 16},
    "image.pretrained": {"pixels": 32},
    "audio.cnn": {"widths": [4, 8], "bands": 16, "seconds": 1},
    "audio.rnn": {"width": 8, "bands": 16, "seconds": 1},
    "audio.crnn": {"widths": [4, 8], "width": 8, "bands": 16, "seconds": 1},
    "audio.transformer": {"width": 8, "heads": 2, "depth": 2, "bands": 16, "seconds": 1},
    "series.tcn": {"widths": [8, 8], "samples": 20, "merge": 2},
    "series.rnn": {"width": 8, "samples": 20, "merge": 2},
    "series.transformer": {"width": 8, "heads": 2, "depth": 1, "samples": 20, "patch": 4, "stride": 2},
    "table.mlp": {"hidden": 16, "depth": 2, "quantiles": 4},
    "table.tokens": {"width": 8, "heads": 2, "depth": 1, "periodic": 2},
}
#: Encoders under options that make them work otherwise: the same laws hold.
VARIANTS = {
    "audio.cnn, waves": {"noise": 10.0, "shift": 0.1, "speed": 1.2},
    "audio.rnn, windows of cepstra": {"input": "mfcc", "coefficients": 8, "deltas": 2, "hop": 0.4, "trim": 30.0, "cell": "gru"},
    "audio.crnn, windows of waves": {"deltas": 1, "hop": 0.5, "speed": 1.1},
    "audio.transformer, windows": {"hop": 0.25, "patch": 3},
    "series.tcn, earlier samples": {"both": False, "size": 2},
    "series.rnn, two tanh by index": {"cell": "tanh", "depth": 2, "time": False, "both": False},
    "audio.pretrained, windows": {"hop": 1.0},
    "audio.pretrained, positions of windows": {"hop": 0.7, "positions": True},
    "audio.pretrained, pieces": {"cut": True},
    "audio.pretrained, positions of pieces": {"cut": True, "positions": True},
}


def values(name: str) -> list:
    return VALUES[name.split(".")[0]]


def options(name: str, tiny_towers) -> dict:
    tower = {"tower": str(tiny_towers(name.split(".")[0]))} if name.endswith(".pretrained") else {}
    return {**OPTIONS.get(name, {}), **tower}


@pytest.fixture(params=[*NAMES, *VARIANTS])
def encoder(request, tiny_towers):
    """Fitted, in evaluation mode."""
    torch.manual_seed(0)
    name = request.param.split(",")[0]
    made = encoders.make(name, **options(name, tiny_towers) | VARIANTS.get(request.param, {}))
    made.fit(values(name))
    return made.eval()


def answer(encoder, items):
    with torch.no_grad():
        return encoder(to_tensors(encoder.prepare(items)))


def test_shape(encoder):
    tokens = answer(encoder, values(encoder.name))
    count, length, width = tokens.x.shape
    assert (count, width) == (6, encoder.dim)
    assert tokens.mask.shape == (count, length) and tokens.mask.dtype == torch.bool
    assert tokens.present.all()
    assert tokens.weight is None or tokens.weight.shape == (count, length)
    assert tokens.place is None or tokens.place.shape[:2] == (count, length)


def test_finite(encoder):
    tokens = answer(encoder, values(encoder.name))
    assert torch.isfinite(tokens.clean()).all() and torch.isfinite(tokens.pooled()).all()


def test_different_values_get_different_answers(encoder):
    pooled = answer(encoder, values(encoder.name)).pooled()
    assert not torch.allclose(pooled[0], pooled[1]) and not torch.allclose(pooled[1], pooled[2])


@pytest.mark.parametrize("poison", [1e4, float("nan")])
def test_padding_is_never_read(encoder, poison):
    arrays = encoder.prepare(values(encoder.name))
    if "mask" not in arrays:
        pytest.skip("values of one length")
    assert not arrays["mask"].all(), "the values of this test must differ in length"
    clean = encoder(to_tensors(arrays))
    spoilt = copy.deepcopy(arrays)
    for key, array in spoilt.items():
        if key != "mask" and array.ndim >= 2 and array.shape[1] == arrays["mask"].shape[1]:
            array[~arrays["mask"]] = poison if array.dtype.kind == "f" else 10_000
    again = encoder(to_tensors(spoilt))
    assert torch.equal(clean.mask, again.mask)
    assert torch.equal(clean.clean(), again.clean())
    assert torch.equal(clean.pooled(), again.pooled())


def test_alone_or_in_a_batch(encoder):
    items = values(encoder.name)
    together = answer(encoder, items)
    for i in (0, 2, 3):
        alone = answer(encoder, [items[i]])
        real = int(together.mask[i].sum())
        assert int(alone.mask.sum()) == real
        torch.testing.assert_close(alone.clean()[0, :real], together.clean()[i, :real], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone.pooled()[0], together.pooled()[i], atol=1e-5, rtol=1e-5)


def test_arrays_of_a_record_do_not_depend_on_its_batch(encoder):
    items = values(encoder.name)
    together, alone = encoder.prepare(items), encoder.prepare([items[3]])
    for key, array in alone.items():
        cut = tuple(slice(0, size) for size in array.shape[1:])
        np.testing.assert_array_equal(array[0], together[key][3][cut])


def test_records_are_separate(encoder):
    """Changing one record changes no other one by a bit."""
    arrays = encoder.prepare(values(encoder.name))
    clean = answer(encoder, values(encoder.name)).pooled()
    for array in arrays.values():
        if array.dtype != bool:
            array[0] = array[2]
    with torch.no_grad():
        again = encoder(to_tensors(arrays)).pooled()
    torch.testing.assert_close(clean[1:], again[1:], atol=1e-6, rtol=0)


def through_files(node):
    """State as it comes back from a folder: JSON values, arrays and bytes."""
    if isinstance(node, dict):
        return {key: through_files(value) for key, value in node.items()}
    if isinstance(node, (np.ndarray, bytes)):
        return copy.deepcopy(node)
    return json.loads(json.dumps(node))


def test_save_and_load_give_equal_bits(encoder):
    state = through_files(encoder.state())
    weights = {key: value.clone() for key, value in encoder.state_dict().items()}
    torch.manual_seed(99)
    again = encoders.make(encoder.name, **json.loads(json.dumps(encoder.options())))
    again.load(state)
    again.load_state_dict(weights)
    again.eval()
    items = values(encoder.name)
    assert torch.equal(answer(encoder, items).pooled(), answer(again, items).pooled())
    assert again.dim == encoder.dim and again.options() == encoder.options()
    assert again.fingerprint() == encoder.fingerprint()
    assert digest(again.state()) == digest(encoder.state())


def test_a_tower_stores_no_weights(encoder):
    if encoder.tower:
        assert not encoder.state_dict() and not list(encoder.parameters())
        assert set(encoder.state()["tower"]) >= {"name", "sha256", "licence", "width"}


def test_every_parameter_gets_gradient(encoder):
    if encoder.frozen:
        assert not list(encoder.parameters())
        return
    encoder.train()
    tokens = encoder(to_tensors(encoder.prepare(values(encoder.name))))
    (tokens.pooled() * torch.randn(encoder.dim)).square().sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


def test_frozen_outputs_do_not_depend_on_the_mode(encoder):
    if not encoder.frozen:
        pytest.skip("trained")
    items = values(encoder.name)
    before = answer(encoder, items).pooled()
    encoder.train()
    assert torch.equal(before, answer(encoder, items).pooled())


def test_outputs_may_enter_training(encoder):
    """Tensors made in inference mode cannot be saved for a backward pass; all positions are asked for."""
    if "positions" in encoder.options():
        encoder.positions = True
    layer = torch.nn.Linear(encoder.dim, 2)
    tokens = encoder(to_tensors(encoder.prepare(values(encoder.name))))
    (layer(tokens.x) * tokens.mask[..., None]).sum().backward()
    assert layer.weight.grad is not None


def test_fit_repeats(encoder):
    """The same values and the same seed give the same fitted state and answer."""
    torch.manual_seed(0)
    again = encoders.make(encoder.name, **encoder.options())
    again.fit(values(encoder.name))
    assert again.fingerprint() == encoder.fingerprint()
    items = values(encoder.name)
    assert torch.equal(answer(encoder, items).pooled(), answer(again.eval(), items).pooled())


def test_one_value_is_enough(encoder):
    again = encoders.make(encoder.name, **encoder.options())
    again.fit(values(encoder.name)[:1])
    assert torch.isfinite(answer(again.eval(), values(encoder.name)).pooled()).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused(name):
    with pytest.raises(BadOption, match="no option 'taste'"):
        encoders.make(name, taste=3)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_line_of_help(name):
    for option in encoders.about(name).options.values():
        assert option.help, option.name


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_value_of_an_option_is_refused(name):
    for option in encoders.about(name).options.values():
        if isinstance(option.default, bool):
            continue
        bad = [] if isinstance(option.default, (tuple, str)) else -1
        with pytest.raises(BadOption, match=option.name):
            encoders.make(name, **{option.name: bad})

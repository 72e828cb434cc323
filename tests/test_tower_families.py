"""Every family of towers: opened, answering as transformers does, alone as in any batch, tuned, saved, loaded."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from polysense.contracts import to_tensors
from polysense.errors import BadModel, BadOption
from polysense.modality import towers_find, towers_open
from polysense.modality.audio_tower import kaldi_mel
from polysense.modality.text_tower import PretrainedText, pooling
from polysense.modality.towers_known import TOWERS
from polysense.registry import encoders
from tiny import tiny_towers  # noqa: F401  (a fixture)

transformers = pytest.importorskip("transformers")
RANDOM = np.random.default_rng(3)
FAMILIES = [
    *(("text", name) for name in ("text", "sentences", "modernbert", "clip", "siglip")),
    *(("image", name) for name in ("image", "resnet", "convnext", "dinov2", "clip", "siglip")),
    *(("audio", name) for name in ("audio", "wav2vec2", "wav2vec2-layer", "ast", "clap")),
]
every_family = pytest.mark.parametrize(("modality", "name"), FAMILIES, ids=lambda part: part)


def sound(samples: int) -> np.ndarray:
    return (0.1 * RANDOM.normal(size=samples) + 0.02).astype(np.float32)


#: Of different lengths; the last sound is shorter than any window.
VALUES = {
    "text": ["red bus", "a red car on a bus", "car", "", "red bus red bus red bus"],
    "image": [RANDOM.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(3)],
    "audio": [sound(samples) for samples in (4800, 9000, 16_000, 4800, 300)],
}


def made(modality, folder, **options):
    encoder = encoders.make(
        f"{modality}.pretrained", tower=str(folder), **({"pixels": 32} if modality == "image" else {}), **options
    )
    encoder.fit([])
    return encoder.eval()


def answer(encoder, values):
    with torch.no_grad():
        return encoder(to_tensors(encoder.prepare(values)))


# --- what transformers itself answers ------------------------------------------------------------


def spoken(folder, name, text):
    """(pooled, every token) of one text."""
    from tokenizers import Tokenizer

    prefix = "red: " if name == "sentences" else ""
    ids = torch.tensor([Tokenizer.from_file(str(folder / "tokenizer.json")).encode(prefix + text).ids])
    if name == "clip":
        module = transformers.CLIPModel.from_pretrained(folder).eval()
        return module.get_text_features(ids).pooler_output[0], module.text_projection(module.text_model(ids).last_hidden_state)[0]
    if name == "siglip":
        module = transformers.SiglipModel.from_pretrained(folder).eval()
        full = torch.cat([ids, torch.ones(1, 20 - ids.shape[1], dtype=torch.long)], 1)
        every = module.text_model.head(module.text_model(full).last_hidden_state)
        return module.get_text_features(full).pooler_output[0], every[0, : ids.shape[1]]
    every = transformers.AutoModel.from_pretrained(folder).eval()(ids).last_hidden_state[0]
    return every.mean(0), every


def seen(folder, name, picture):
    """(pooled, every position) of one picture of the right size."""
    mean, deviation = np.array([0.5, 0.4, 0.3]), np.array([0.5, 0.25, 0.2])
    pixels = torch.tensor((picture / 255 - mean) / deviation, dtype=torch.float32).permute(2, 0, 1)[None]
    module = transformers.AutoModel.from_pretrained(folder).eval()
    if name == "clip":
        every = module.vision_model.post_layernorm(module.vision_model(pixels).last_hidden_state[0, 1:])
        return module.get_image_features(pixels).pooler_output[0], module.visual_projection(every)
    if name == "siglip":
        return module.get_image_features(pixels).pooler_output[0], module.vision_model(pixels).last_hidden_state[0]
    out = module(pixels)
    every = out.last_hidden_state[0]
    every = every[1:] if every.ndim == 2 else torch.stack([every[:, i, j] for i in range(4) for j in range(4)])
    return out.pooler_output[0].flatten(), every


def heard(folder, name, wave):
    """(pooled, every real token) of one sound."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    module = transformers.AutoModel.from_pretrained(folder).eval()
    if name == "clap":
        from scipy.signal import resample_poly

        features = extractor(resample_poly(wave, 3, 1), sampling_rate=48_000, return_tensors="pt")["input_features"]
        every = module.audio_model(features.float()).last_hidden_state[0].mean(1).T  # 1.01 s in 32 tokens
        real = int(np.ceil(np.ceil(len(wave) / 160) * 32 / 101))
        return module.get_audio_features(features.float()).pooler_output[0], module.audio_projection(every)[:real]
    features = extractor(wave, sampling_rate=16_000, return_tensors="pt")
    if name == "audio":
        every = module.get_encoder()(features["input_features"]).last_hidden_state[0, : -(-len(wave) // 320)]
        return every.mean(0), every
    out = module(features["input_values"])
    every = out.last_hidden_state[0]
    if name == "ast":
        times = [torch.stack([every[2 + band * 9 + step] for band in range(2)]).mean(0) for step in range(9)]
        frames = (len(wave) - 400) // 160 + 1
        return out.pooler_output[0], torch.stack(times)[: -(-frames // 10)]
    return every.mean(0), every


@every_family
@torch.no_grad()
def test_it_answers_as_transformers_does(tiny_towers, modality, name):
    """The whole model of transformers, by its own extractor, on one value at a time."""
    folder, values = tiny_towers(name), VALUES[modality][:3]
    pooled, every = answer(made(modality, folder), values), answer(made(modality, folder, positions=True), values)
    assert pooled.x.shape[1] == 1 and pooled.mask.all()
    theirs = {"text": spoken, "image": seen, "audio": heard}[modality]
    for i, value in enumerate(values):
        one, all_of_it = theirs(folder, name, value)
        ours = pooled.x[i, 0]
        if modality == "text" or name == "clap":  # ours are at unit length; theirs are in newer versions
            one, ours = F.normalize(one, dim=-1), F.normalize(ours, dim=-1)
        near = {"atol": 1e-3, "rtol": 1e-3} if name == "clap" else {"atol": 2e-5, "rtol": 2e-5}
        torch.testing.assert_close(ours, one, **near)
        torch.testing.assert_close(every.x[i][every.mask[i]], all_of_it, **near)


@every_family
@pytest.mark.parametrize("positions", [False, True])
def test_alone_or_in_any_batch_and_padding_never_leaks(tiny_towers, modality, name, positions):
    encoder, values = made(modality, tiny_towers(name), positions=positions), VALUES[modality]
    arrays = encoder.prepare(values)
    together = answer(encoder, values)
    assert torch.isfinite(together.clean()).all() and together.x.shape[2] == encoder.dim
    order = list(range(len(values)))[::-1]
    backwards = answer(encoder, [values[i] for i in order])
    for i, value in enumerate(values):
        alone, real = answer(encoder, [value]).clean()[0], int(together.mask[i].sum())
        assert len(alone) >= real >= 1
        torch.testing.assert_close(alone[:real], together.x[i][together.mask[i]], atol=1e-5, rtol=1e-5)
        there = backwards.x[order.index(i)][backwards.mask[order.index(i)]]
        torch.testing.assert_close(there, alone[:real], atol=1e-5, rtol=1e-5)
    if "mask" in arrays:
        arrays = {key: array.copy() for key, array in arrays.items()}
        for key, array in arrays.items():
            if key != "mask":
                array[~arrays["mask"]] = 9 if array.dtype.kind == "i" else np.nan
        with torch.no_grad():
            assert torch.equal(encoder(to_tensors(arrays)).clean(), together.clean())


@every_family
def test_tuned_saved_and_loaded(tiny_towers, modality, name):
    """One step moves the network, not the statistics of its batch norms; a stored one answers in the same bits."""
    folder, values = tiny_towers(name), VALUES[modality]
    encoder = made(modality, folder)
    before = answer(encoder, values).x
    encoder.unfreeze()
    torch.testing.assert_close(answer(encoder, values).x, before, atol=1e-6, rtol=1e-6)
    encoder.train()
    still = {key: value.clone() for key, value in encoder.state_dict().items() if "running_" in key}
    assert bool(still) == (name in ("resnet", "clap"))
    moving = [(key, p) for key, p in encoder.named_parameters() if p.requires_grad]
    step = torch.optim.SGD([p for _, p in moving], lr=0.1)
    (encoder(to_tensors(encoder.prepare(values))).x * torch.randn(before.shape)).sum().backward()
    unread = {key for key, p in moving if p.grad is None}
    assert all(any(word in key for word in ("pooler", "mask_token", "masked_spec", "final_norm")) for key in unread), unread
    step.step()
    for key, value in still.items():
        assert torch.equal(value, encoder.state_dict()[key]), key
    encoder.eval()
    encoder.settle()
    after = answer(encoder, values).x
    assert not torch.allclose(before, after, atol=1e-4)
    again = encoders.make(encoder.name, **json.loads(json.dumps(encoder.options())))
    again.load(encoder.state())
    again.load_state_dict(encoder.state_dict())
    again.settle()
    assert torch.equal(answer(again.eval(), values).x, after) and again.fingerprint() == encoder.fingerprint()
    encoder.freeze()
    assert torch.equal(answer(encoder, values).x, before)


@every_family
def test_low_rank_factors_fit_every_family(tiny_towers, modality, name):
    """The factors that tuning trained, merged into the frozen tower, answer as the tuned one did."""
    pytest.importorskip("peft")
    from polysense.learn.tune import add_factors, factors

    encoder, values = made(modality, tiny_towers(name)), VALUES[modality]
    before = answer(encoder, values).x
    encoder.unfreeze()
    assert add_factors(encoder.live, 2)
    with torch.no_grad():
        for key, parameter in encoder.live.named_parameters():
            if "lora_B" in key:
                parameter.normal_(0, 0.3)
    tuned = answer(encoder, values).x
    encoder.take_factors(factors(encoder.live))
    torch.testing.assert_close(answer(encoder, values).x, tuned, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(tuned, before, atol=1e-3)


# --- what is read, and what is refused -----------------------------------------------------------


def test_only_the_half_that_answers_is_read(tiny_towers):
    cpu = torch.device("cpu")
    for modality, name, other in (
        ("text", "clip", "vision"), ("image", "clip", "text_model"), ("text", "siglip", "vision"),
        ("image", "siglip", "token_embedding"), ("audio", "clap", "text"), ("audio", "audio", "decoder"),
    ):
        names = [key for key, _ in made(modality, tiny_towers(name)).opened(cpu).module.named_parameters()]
        assert names and not any(other in key for key in names), (modality, name)


def test_the_halves_of_one_folder_are_two_towers(tiny_towers):
    text, image = made("text", tiny_towers("clip")), made("image", tiny_towers("clip"))
    cpu = torch.device("cpu")
    assert text.opened(cpu) is not image.opened(cpu)
    assert text.dim == image.dim == 12, "they answer in the space that they share"


@every_family
def test_another_modality_is_refused_in_a_sentence(tiny_towers, modality, name):
    reads = {"clip": {"text", "image"}, "siglip": {"text", "image"}}.get(name, {modality})
    for other in {"text", "image", "audio"} - reads:
        with pytest.raises(BadOption, match=f"which reads .*{modality}.*, not {other}; choose '"):
            made(other, tiny_towers(name))


def test_a_pair_that_leaves_its_width_unsaid(tmp_path):
    """A hub's config.json leaves out what its kind has by default."""
    halves = {"text_config": {"model_type": "siglip_text_model"}, "vision_config": {"model_type": "siglip_vision_model"}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip", **halves}))
    assert [towers_find._width("x", modality, tmp_path) for modality in ("text", "image")] == [768, 768]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": {"hidden_size": 768}}))
    assert towers_find._width("x", "image", tmp_path) == 512


def test_a_width_is_that_of_the_half_that_is_meant(tmp_path):
    halves = {"text_config": {"hidden_size": 24}, "vision_config": {"hidden_size": 40}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip", **halves}))
    assert [towers_find._width("x", modality, tmp_path) for modality in ("text", "image")] == [24, 40]


# --- how it is pooled ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["mean", "cls", "max", "lasttoken"])
@torch.no_grad()
def test_pooling_by_hand(way):
    """Tokens 1, 5 and 3 with a masked 9 behind: mean 3, first 1, largest 5, last 3."""
    encoder = PretrainedText(tower="x")
    encoder._pooling = way
    x_BTD = torch.tensor([[[1.0], [5.0], [3.0], [9.0]]])
    pooled = encoder._pooled(x_BTD, torch.tensor([[True, True, True, False]]))
    assert pooled.tolist() == [[{"mean": 3.0, "cls": 1.0, "max": 5.0, "lasttoken": 3.0}[way]]]


def test_the_folder_says_how_it_pools(tmp_path):
    assert pooling(tmp_path) == "mean"
    (tmp_path / "1_Pooling").mkdir()
    path = tmp_path / "1_Pooling" / "config.json"
    for about, way in (
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"), ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({"pooling_mode_max_tokens": True}, "max"),
    ):
        path.write_text(json.dumps(about))
        assert pooling(tmp_path) == way
    for about, named in (
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "cls and mean"),
    ):
        path.write_text(json.dumps(about))
        with pytest.raises(BadModel, match=f"pools by {named}; only one of mean, cls"):
            pooling(tmp_path)


def test_a_prefix_is_remembered_and_said_before_every_text(tiny_towers):
    encoder = made("text", tiny_towers("sentences"))
    assert encoder.prefix == "red: " == encoder.state()["tower"]["prefix"]
    bare = made("text", tiny_towers("text")).prepare(["red: car"])["ids"]
    assert np.array_equal(encoder.prepare(["car"])["ids"], bare)


def test_kin_of_roberta_have_two_positions_less(tiny_towers):
    """34 positions, of which numbers 0 and 1 are never used."""
    assert made("text", tiny_towers("sentences"), tokens=500).prepare(["car " * 50])["ids"].shape == (1, 32)
    assert made("text", tiny_towers("siglip"), tokens=500).prepare(["car " * 50])["ids"].shape == (1, 20)


# --- how it hears --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "tokens", "first", "step"), [
    ("audio", 15, 0.01, 0.02), ("wav2vec2", 14, 0.0125, 0.02), ("wav2vec2-layer", 14, 0.0125, 0.02), ("ast", 3, 0.08, 0.1),
    ("clap", 10, 1.01 / 64, 1.01 / 32),
])
def test_tokens_of_a_sound_stand_in_their_seconds(tiny_towers, name, tokens, first, step):
    """0.3 s; Wav2Vec2 hears 400 samples every 320, AST 16 frames every 10, CLAP 101 frames of 10 ms in 32 tokens."""
    every = answer(made("audio", tiny_towers(name), positions=True), [sound(4800), sound(16_000)])
    assert int(every.mask[0].sum()) == tokens
    place = every.place[0, :, 0].double()
    torch.testing.assert_close(place, first + step * torch.arange(len(place)).double(), atol=1e-6, rtol=1e-5)


def test_kaldi_by_hand_and_as_the_extractor_has_it():
    """Silence is ln 2^-23 in every band; a tone of 1 kHz is loudest in the band around it."""
    assert kaldi_mel(np.zeros(800, np.float32)) == pytest.approx(np.full((3, 128), -23 * np.log(2)), rel=1e-6)
    tone = np.sin(2 * np.pi * 1000 * np.arange(1600) / 16_000).astype(np.float32)
    mel = 1127 * np.log(1 + np.array([20, 1000, 8000]) / 700)
    band = round((mel[1] - mel[0]) / (mel[2] - mel[0]) * 129) - 1
    assert (kaldi_mel(tone).argmax(1) == band).all()
    extractor = transformers.ASTFeatureExtractor(do_normalize=False, max_length=56)
    theirs = extractor(VALUES["audio"][1], sampling_rate=16_000)["input_values"][0]
    np.testing.assert_allclose(kaldi_mel(VALUES["audio"][1])[:54], theirs[:54], atol=2e-3)


@pytest.mark.parametrize("name", ["audio", "wav2vec2", "ast", "clap"])
def test_a_sound_is_heard_from_its_beginning(tiny_towers, name):
    """Beyond ``seconds`` nothing is heard, nor beyond what the tower can hear."""
    wave = sound(40_000)
    encoder = made("audio", tiny_towers(name), seconds=1)
    assert torch.equal(answer(encoder, [wave]).x, answer(encoder, [wave[:16_000]]).x)
    limit = {"audio": 32_000, "ast": 16_400, "clap": 16_000}.get(name)
    long = made("audio", tiny_towers(name))
    same = torch.equal(answer(long, [wave]).x, answer(long, [wave[: limit or 39_000]]).x)
    assert same == (limit is not None)


def test_a_clap_that_fuses_random_pieces_is_refused(tiny_towers, tmp_path):
    folder = shutil.copytree(tiny_towers("clap"), tmp_path / "tower")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation": "fusion"}))
    with pytest.raises(BadModel, match="random pieces .fusion.*choose one without"):
        made("audio", folder).prepare([sound(10)])


def test_a_sound_at_another_rate_is_refused(tiny_towers, tmp_path):
    folder = shutil.copytree(tiny_towers("wav2vec2"), tmp_path / "tower")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sampling_rate": 8000}))
    with pytest.raises(BadModel, match="hears at 8000 Hz; choose one that hears at 16000 Hz"):
        made("audio", folder).prepare([sound(10)])


# --- names ---------------------------------------------------------------------------------------


def test_names_are_whole():
    """Every tower states its source, licence, width and, beyond the packaged ones, a paper."""
    for tower in TOWERS:
        assert tower.licence and tower.width > 0 and tower.summary and tower.source
        assert tower.packaged or "arXiv" in tower.summary or tower.name == "multilingual-e5-small", tower.name


def test_a_download_takes_a_state_dict_only_where_there_is_nothing_safer(monkeypatch, tmp_path):
    asked = []

    def download(hub_id, noun, patterns):
        asked.append(patterns)
        if "pytorch_model*.bin" in patterns:
            (tmp_path / "pytorch_model.bin").write_bytes(b"")
        return tmp_path

    monkeypatch.setattr(towers_find.hub, "download", download)
    assert towers_find._download("some/model") == tmp_path and len(asked) == 3
    assert not any("pytorch" in pattern for patterns in asked[:2] for pattern in patterns)
    assert towers_find._download("some/model") == tmp_path and len(asked) == 4, "a cached one is asked for once"


def test_halves_name_classes_that_exist():
    for name in towers_open.HALVES.values():
        assert hasattr(transformers, name)

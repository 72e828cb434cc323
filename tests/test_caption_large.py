"""A caption by a language model: soft words, laws, faults, and what is kept of it.

B records, T positions, D width, L words.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from polysense.errors import BadModel, BadOption, MissingExtra, UnknownName
from polysense.modality import towers_language
from polysense.modality.towers_known import BY_NAME
from polysense.modality.towers_language import find_language
from polysense.task.caption_large import Projector, Resampler, Told, Writer, parted
from polysense.task.caption_say import How, say, steps
from polysense.tokens import Tokens
from polysense.vocabulary import START, STOP
from tiny import tiny_towers  # noqa: F401  (a fixture)
from tiny_language import TEXTS, tiny_language  # noqa: F401  (a fixture)

MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]).bool()
SAID = ["a red apple", "a green bus", "a blue flower", "a car"]


def writer(folder, **more) -> Writer:
    given = {"bridge": "projector", "prompt": "", "queries": 3, "depth": 2, "heads": 2, "precision": "float32", "lora": 2}
    made = Writer(str(folder), **{**given, **more})
    assert made.language.width  # looked for
    return made


def fused(dim: int = 8) -> Tokens:
    torch.manual_seed(1)
    return Tokens(torch.randn(*MASK.shape, dim), MASK)


def rows(made: Writer, longest: int = 8) -> torch.Tensor:
    return torch.as_tensor(made.tongue.rows(SAID, longest))


def of(tokens: Tokens, row: int) -> Tokens:
    return Tokens(tokens.x[row : row + 1], tokens.mask[row : row + 1])


@pytest.fixture(params=[
    ("gpt2", "projector", "this is"), ("llama", "resampler", "this {record} is"), ("gemma", "linear", ""),
    ("gemma", "resampler", "this is"), ("gemma2", "projector", ""),
], ids=lambda one: "-".join(one[:2]))
def made(request, tiny_language):
    kind, bridge, prompt = request.param
    return writer(tiny_language(kind), bridge=bridge, prompt=prompt)


# --- laws ----------------------------------------------------------------------------------------


def test_a_masked_position_is_never_read(made):
    head, tokens = made.head(8).eval(), fused()
    spoilt = Tokens(torch.where(MASK[..., None], tokens.x, torch.nan), MASK)
    assert torch.equal(head(tokens, rows(made))[0], head(spoilt, rows(made))[0])


def test_a_record_gets_the_same_scores_alone_and_in_any_batch(made):
    head, tokens, words = made.head(8).eval(), fused(), rows(made)
    every, real = head(tokens, words)[0], F.pad(words != STOP, (1, 0), value=True)[:, :-1]
    for row in range(4):
        alone = head(of(tokens, row), words[row : row + 1])[0]
        torch.testing.assert_close(alone[0][real[row]], every[row][real[row]], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("decoding", ["greedy", "beam", "sample"])
def test_a_record_gets_the_same_words_alone_and_in_any_batch(made, decoding):
    head, tokens, how = made.head(8).eval(), fused(), How(decoding=decoding, longest=7, no_repeat=2, shortest=2, seed=3)
    with torch.inference_mode():
        together = say(head, tokens, how)
        assert torch.equal(together, torch.cat([say(head, of(tokens, row), how) for row in range(4)]))
        assert torch.equal(together, say(head, tokens, how)), "the same seed, the same words"
    assert (together[:, :2] != STOP).all()


def test_word_by_word_gives_the_scores_of_all_words_at_once(made):
    head, tokens, words = made.head(8).eval(), fused(), rows(made)
    every, state, before = head(tokens, words)[0], head.begin(tokens), torch.full((4,), START)
    for place in range(words.shape[1]):
        scores, state = head.step(state, before)
        going = (words[:, :place] != STOP).all(1)
        torch.testing.assert_close(scores[going], every[going, place], atol=1e-4, rtol=1e-4)
        before = words[:, place]


def test_the_scores_are_those_of_the_language_model_itself(made):
    """Without soft words (no position is real) it is asked: the sign that begins a text, the prompt, the words."""
    head, words, language = made.head(8).eval(), rows(made), made.language
    ours = head(of(fused(), 3), words[:1])[0][0]
    before = [1, *(number for part in parted(made.shape["prompt"]) if part for number in language.numbers(part))]
    text = [number - 3 for number in words[0].tolist() if number != STOP]
    with torch.no_grad():
        theirs = language.module(input_ids=torch.tensor([before + text])).logits[0, len(before) - 1 :]
    torch.testing.assert_close(ours[: len(theirs), 3:5], theirs[:, :2], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours[: len(theirs), STOP], theirs[:, language.end], atol=1e-4, rtol=1e-4)


def test_losses_are_those_of_the_scores_in_whatever_pieces_they_are_made(made, monkeypatch):
    head, tokens, words = made.head(8).eval(), fused(), rows(made)
    real = torch.arange(words.shape[1]) <= (words != STOP).sum(1, keepdim=True)
    scores = head(tokens, words)[0]
    wanted = F.cross_entropy(scores.transpose(1, 2), words, reduction="none") * real
    right = (scores.argmax(-1) == words) & real
    for held in (32_000_000, 1):
        monkeypatch.setattr("polysense.task.caption_large._HELD", held)
        loss, hit, _ = head.judge(tokens, words, real)
        torch.testing.assert_close(loss, wanted)
        assert torch.equal(hit & real, right)
    nothing, _, _ = head.judge(tokens, words, torch.zeros_like(real))
    assert not nothing.any()


@pytest.mark.parametrize("kind", ["gpt2", "gemma2"])
def test_gradients_are_those_of_the_cross_entropy(tiny_language, kind):
    """gemma2 squashes its scores, and the gradient goes through that."""
    language = writer(tiny_language(kind)).language
    hidden, aims = torch.randn(5, language.width, requires_grad=True), torch.tensor([7, 3, 9, 3, 200])
    weight = torch.tensor([1.0, 0.0, 2.0, -1.0, 0.5])
    wanted = F.cross_entropy(language.scores(hidden), aims, reduction="none")
    losses, right = Told.apply(hidden, aims, language.scores)
    torch.testing.assert_close(losses, wanted)
    assert torch.equal(right, language.scores(hidden).argmax(-1) == aims)
    ours, theirs = (torch.autograd.grad((one * weight).sum(), hidden)[0] for one in (losses, wanted))
    torch.testing.assert_close(ours, theirs)
    assert theirs.abs().sum() > 0


def test_a_loss_by_hand():
    """Scores 0, ln 2, 0 give shares 1/4, 1/2, 1/4: the second piece costs ln 2, its gradient 1/4, -1/2, 1/4."""
    scores = torch.tensor([[0.0, math.log(2), 0.0]], requires_grad=True)
    losses, right = Told.apply(scores, torch.tensor([1]), lambda hidden: 1 * hidden)
    assert right.item() and losses.item() == pytest.approx(math.log(2))
    losses.sum().backward()
    torch.testing.assert_close(scores.grad, torch.tensor([[0.25, -0.5, 0.25]]))


def test_only_the_bridge_learns_and_the_language_model_keeps_no_gradient(made):
    head, words = made.head(8).train(), rows(made)
    head.judge(fused(), words, words != STOP)[0].sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())
    assert all(parameter.grad is None for parameter in made.language.module.parameters())
    stored = sum(value.numel() for value in head.state_dict().values())
    assert stored == sum(p.numel() for p in head.bridge.parameters()) + 1, "the language model is not part of it"


def test_soft_words_are_as_loud_as_words(made):
    head = made.head(8).eval()
    loud = Tokens(1e3 * fused().x, MASK)
    soft = head.prefix(of(loud, 0)).x[0]
    count = head.bridge(of(loud, 0)).x.shape[1]
    start = 1 + len(made.language.numbers(parted(made.shape["prompt"])[0]))
    rms = soft[start : start + count].square().mean(-1).sqrt()
    torch.testing.assert_close(rms, torch.full_like(rms, made.language.rms), rtol=1e-3, atol=0)


def test_absent_positions_leave_no_soft_word(made):
    mask = made.head(8).eval().prefix(fused()).mask
    fixed = 1 + len(made.language.numbers("this")) + len(made.language.numbers(" is")) if "{" in made.shape["prompt"] else (
        1 + (len(made.language.numbers(made.shape["prompt"])) if made.shape["prompt"] else 0))
    soft = [3, 3, 3, 0] if made.shape["bridge"] == "resampler" else [5, 2, 1, 0]
    assert (mask.sum(1) - fixed).tolist() == soft
    assert mask[:, -1].all(), "all records end at the same place"


# --- low-rank factors ----------------------------------------------------------------------------


def test_factors_change_nothing_at_first_and_learn(made):
    pytest.importorskip("peft")
    plain, words = made.head(8).eval(), rows(made)
    assert made.deepen(True)
    deep = made.head(8).eval()
    missing = deep.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing and all("factors" in key for key in missing)
    assert torch.equal(plain(fused(), words)[0], deep(fused(), words)[0]), "B is zero"
    deep.judge(fused(), words, words != STOP)[0].sum().backward()
    assert all(deep.factors[key].grad.abs().sum() > 0 for key, name in deep.names.items() if ".lora_B" in name)
    with torch.no_grad():
        for key in deep.names:
            deep.factors[key].normal_()
    assert not torch.equal(plain(fused(), words)[0], deep(fused(), words)[0])
    assert not made.deepen(False) and not made.head(8).names


def test_a_factor_by_hand(tiny_language):
    """W + 2 B A: the map of a layer with factors of ones and rank 2 gives W x + 2 * (sum of 2 ones * sum of x)."""
    pytest.importorskip("peft")
    made = writer(tiny_language("llama"))
    name = next(one for one in made.language.factors(2) if "layers.0.self_attn.q_proj.lora_A" in one)
    part = name.partition(".lora_A")[0]
    module = made.language.layers(2).get_submodule(part)
    x = torch.randn(16)
    factors = {f"lora_{side}.default.weight": torch.ones(shape) for side, shape in (("A", (2, 16)), ("B", (16, 2)))}
    got = torch.func.functional_call(module, factors, (x,))
    torch.testing.assert_close(got, made.language.layers().get_submodule(part)(x) + 2 * 2 * x.sum())


def test_low_precision_is_for_training_alone(tiny_language):
    made = writer(tiny_language("llama"), precision="bfloat16")
    head, words = made.head(8), rows(made)
    real = words != STOP
    low, high = head.train().judge(fused(), words, real)[0], head.eval().judge(fused(), words, real)[0]
    exact = writer(tiny_language("llama")).head(8)
    exact.load_state_dict(head.state_dict())
    assert torch.equal(high, exact.eval().judge(fused(), words, real)[0])
    assert not torch.equal(low, high)
    torch.testing.assert_close(low, high, atol=0.1, rtol=0.1)


# --- bridges -------------------------------------------------------------------------------------


def test_a_resampler_by_hand():
    """One query, no layer between: the query itself, normed and mapped, whatever stands at the positions."""
    bridge = Resampler(4, 6, queries=1, depth=0, heads=2)
    out = bridge(fused(4))
    wanted = bridge.out(F.layer_norm(bridge.queries_RD, (4,)))[0]
    torch.testing.assert_close(out.x[0, 0], wanted)
    assert out.mask[:, 0].tolist() == [True, True, True, False]


def test_a_resampler_does_not_mind_the_order_of_positions():
    bridge, tokens = Resampler(8, 6, queries=3, depth=2, heads=2).eval(), fused()
    turned = Tokens(tokens.x.flip(1), tokens.mask.flip(1))
    torch.testing.assert_close(bridge(tokens).x, bridge(turned).x, atol=1e-5, rtol=1e-4)


def test_a_linear_projector_is_one_map():
    bridge = Projector(8, 6, deep=False)
    torch.testing.assert_close(bridge(fused()).x, F.linear(fused().clean(), *bridge.layers[0].parameters()))


def test_several_soft_words_of_a_position_stand_together():
    """Each is the map that has its rows of the last layer, and there where its position is."""
    bridge = Projector(8, 6, deep=False, each=3)
    out, weight, bias = bridge(fused()), *bridge.layers[0].parameters()
    assert out.mask.tolist() == [[bool(here) for here in row for _ in range(3)] for row in MASK.tolist()]
    for part in range(3):
        wanted = F.linear(fused().clean(), weight[6 * part : 6 * part + 6], bias[6 * part : 6 * part + 6])
        torch.testing.assert_close(out.x[:, part::3], wanted)


# --- words ---------------------------------------------------------------------------------------


def test_texts_come_back_from_their_pieces(tiny_language):
    tongue = writer(tiny_language("llama"), prompt="this is").tongue
    texts = [*TEXTS, "Ünïcode 红苹果 🙂", ""]
    assert [tongue.decode(row) for row in tongue.rows(texts, 64).tolist()] == texts


def test_words_stream_one_by_one(tiny_language):
    made = writer(tiny_language("read"))
    head, how = made.head(8).eval(), How(longest=7)
    with torch.inference_mode():
        streamed = torch.stack([words for words, _ in steps(head, fused(), how)], 1)
        assert torch.equal(F.pad(streamed, (0, 7 - streamed.shape[1])), say(head, fused(), how))


# --- finding and refusing ------------------------------------------------------------------------


def test_what_is_no_language_model_is_refused(tiny_language, tiny_towers, tmp_path):
    with pytest.raises(BadOption, match="needs a language model: name one with task.model="):
        find_language("")
    with pytest.raises(UnknownName, match="there is no language tower 'gpt5', and no folder of that name"):
        find_language("gpt5")
    with pytest.raises(UnknownName, match="--download"):
        find_language("org/none")
    with pytest.raises(BadOption, match="network of kind bert, which reads text; task.model takes a causal language model"):
        find_language(str(tiny_towers("text")))
    with pytest.raises(BadOption, match="reads image"):
        find_language(str(tiny_towers("image")))
    with pytest.raises(BadOption, match="reads text, not language"):
        find_language("minilm-l6")
    (tmp_path / "notes").mkdir()
    with pytest.raises(BadModel, match="holds no model.safetensors"):
        find_language(str(tmp_path / "notes"))
    own = shutil.copytree(tiny_language("llama"), tmp_path / "t5")
    (own / "config.json").write_text(json.dumps({**json.loads((own / "config.json").read_text()), "model_type": "t5"}))
    with pytest.raises(BadOption, match="kind t5, which does not write from left to right"):
        find_language(str(own))


def test_damage_is_told_in_a_sentence(tiny_language, tmp_path):
    own = shutil.copytree(tiny_language("llama"), tmp_path / "own")
    data = (own / "model.safetensors").read_bytes()
    (own / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadModel, match="cannot be opened from"):
        writer(own).language.open()
    (own / "tokenizer.json").unlink()
    with pytest.raises(BadModel, match="has no tokenizer that opens"):
        writer(own).language.numbers("a")


def _changed(folder, **values):
    about = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps(about))


def test_a_config_or_a_tokenizer_of_another_network_is_told_in_a_sentence(tiny_language, tmp_path):
    own = shutil.copytree(tiny_language("llama"), tmp_path / "wide")
    _changed(own, hidden_size=24)
    with pytest.raises(BadModel, match=r"hold 'lm_head.weight' as \(\d+, 16\), its config.json asks for \(\d+, 24\); put back"):
        writer(own).language.open()
    own = shutil.copytree(tiny_language("llama"), tmp_path / "pieces")
    pieces = json.loads((own / "tokenizer.json").read_text())
    one = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    pieces["added_tokens"].append({"id": len(pieces["model"]["vocab"]), "content": "zebra", **one})
    (own / "tokenizer.json").write_text(json.dumps(pieces))
    made = writer(own)
    assert made.tongue.encode("a red bus")
    with pytest.raises(BadModel, match="makes the piece .* of 'a zebra', but the network's pieces end at .*; save the tokenizer"):
        made.tongue.encode("a zebra")
    (own / "tokenizer.json").write_text("{")
    with pytest.raises(BadModel, match="tokenizer.json is no tokenizer .* save the language model's own there"):
        writer(own).language.numbers("a")


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_more_positions_than_the_language_model_has_are_refused_before_a_step(tiny_language, kind):
    """64 positions: five soft words, the sign that begins a text, and 58 pieces fit, 59 do not."""
    fits, wide = (writer(tiny_language(kind), longest=longest).head(8).eval() for longest in (58, 59))
    words = rows(fits._writer)
    fits(fused(), words)
    with pytest.raises(BadOption, match=r"are 65 positions, but the language model '.*' has 64; lower task.longest, shorten"):
        wide(fused(), words)


def test_another_language_model_than_the_one_trained_with_is_refused(tiny_language, tmp_path):
    own = shutil.copytree(tiny_language("llama"), tmp_path / "own")
    state = json.loads(json.dumps(writer(own).state()))
    shutil.copy(tiny_language("gpt2") / "model.safetensors", own / "model.safetensors")
    again = Writer(str(own), bridge="projector", prompt="", queries=3, depth=2, heads=2, precision="float32").load(state)
    with pytest.raises(BadModel, match="its weights in .* the model was trained with"):
        len(again.tongue)


@pytest.mark.parametrize("package", ["transformers", "peft"])
def test_a_missing_package_names_its_extra(tiny_language, monkeypatch, package):
    found = writer(tiny_language("llama")).language.found
    for name in [one for one in sys.modules if one.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"'{package}' is not installed; run: pip install 'polysense\[lora\]'"):
        towers_language.Language(found).factors(2)


def test_a_head_opens_nothing_before_it_is_asked(tiny_language):
    state = writer(tiny_language("llama")).state()
    again = Writer("no/where", bridge="resampler", prompt="x", queries=3, depth=1, heads=2, precision="float32").load(state)
    with torch.device("meta"):
        assert again.head(8).bridge.out.weight.shape == (16, 8)
    assert copy.deepcopy(again) is again


def test_without_its_package_a_packaged_language_model_names_the_cure(monkeypatch):
    known = BY_NAME["gemma3-270m"]
    monkeypatch.setitem(BY_NAME, "gemma3-270m", replace(known, modules=("no_such_package", *known.modules)))
    with pytest.raises(MissingExtra, match=r"needs the package 'no_such_package'; run: pip install 'polysense\[gemma\]'"):
        find_language("gemma3-270m")

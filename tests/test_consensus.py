"""A share for words: evidence of network and nearest records, the text they agree on, how the share is chosen."""

import csv

import numpy as np
import pytest

import polysense
from polysense import Model, cli, store
from polysense.data.records import write_csv
from polysense.learn import consensus
from polysense.learn.beside import share_lines
from polysense.learn.consensus import SHARES, Consensus, chosen, decide, near_each, together, voices
from polysense.learn.nearest import Nearest
from polysense.metrics.texts import Likeness, Texts, cider, words_of
from test_caption import SMALL, told


@pytest.fixture(scope="module")
def model():
    return Model("words", task="caption", options=SMALL, cache=False).fit(told())


@pytest.fixture(scope="module")
def half():
    """Half of what speaks for a text comes from the nearest records."""
    return Model("words", task="caption", options=SMALL | {"train.regressions": 0.5}, cache=False).fit(told())


def line(n: int = 6, references: int = 1) -> Nearest:
    """Records on a circle: number i lies at the angle i / 10 and says "text i" (and "also i")."""
    angle = np.arange(n) / 10
    said = [(f"text {i}", f"also {i}")[:references] for i in range(n)]
    return Nearest.train(
        {"a": np.stack([np.cos(angle), np.sin(angle)], 1)}, np.ones((n, 1), bool), said, views=["a"], yardstick=Texts(),
        prior="nothing", rows=10 + np.arange(n),
    )


# --- likeness ------------------------------------------------------------------------------------


def test_likeness_is_cider_where_a_text_is_a_set_of_its_own():
    """Of texts without repeats the clipping of CIDEr-D changes nothing: a tenth of it, references telling what is rare."""
    texts = ["a red apple on a table", "a red car", "two cars on the beach", "face"]
    found = Likeness([(one,) for one in texts])(texts)
    for right in range(len(texts)):  # the df of these references is that of the set
        theirs = cider([words_of(one) for one in texts], [[words_of(texts[right])]] * len(texts))
        assert theirs.max() == 0 or np.argmax(theirs) == right
    said = cider([words_of(one) for one in texts], [[words_of(one)] for one in texts])
    np.testing.assert_allclose(np.diag(found), 0.999 * said / 10 + 0.001, atol=1e-9)


def test_likeness_of_transcripts_counts_edits():
    """"go home now" where "go home" is right: one edit in two words; the other way round one in three."""
    found = Likeness([], "wer")(["go home now", "go home"])
    np.testing.assert_allclose(found, [[1, 0.999 * 0.5], [0.999 * 2 / 3, 1]])


def test_texts_without_words_are_told_apart():
    assert decide({"?": (0.4, None), "!": (0.6, 3)}, Likeness([("?",), ("!",)])) == ("!", 3)


# --- evidence ------------------------------------------------------------------------------------


def test_the_nearest_speak_loudest_and_references_share_a_record():
    """Two records with cosines 1 and .9 speak as 1 to exp(-.1 / .1), so with .7311 and .2689, a reference with half of it."""
    many = line(references=2)
    found = voices(many, [(2, 1.0), (0, 0.9)], 10)
    assert {text: round(weight, 4) for text, (weight, _) in found.items()} == {
        "text 2": 0.3655, "also 2": 0.3655, "text 0": 0.1345, "also 0": 0.1345,
    }
    assert [row for _, row in found.values()] == [12, 12, 10, 10]
    assert voices(many, [(2, 1.0), (0, 0.9)], 1) == {"text 2": (1.0, 12)} and voices(many, [], 3) == {"nothing": (1.0, None)}


def test_the_nearest_one_is_the_rivals_answer():
    """Share 1 of one record is what stands beside every caption as the nearest record's text."""
    rng = np.random.default_rng(0)
    present = np.array([[True, True], [True, False], [False, True], [False, False]] * 5)
    train = {"a": rng.normal(size=(30, 4)), "b": rng.normal(size=(30, 3))}
    some = Nearest.train(
        train, np.ones((30, 2), bool), [(f"t{i}",) for i in range(30)], views=["a", "b"], yardstick=Texts(), prior="none",
    )
    asked = {"a": rng.normal(size=(20, 4)), "b": rng.normal(size=(20, 3))}
    near = near_each(some, asked, present, 3)
    for row, mask in enumerate(present):
        subset = [view for view, here in zip("ab", mask, strict=True) if here]
        if subset:
            wanted = some.answer(subset, {v: x[[row]] for v, x in asked.items()}, mask[None])[0]
            assert some.references[near[row][0][0]][0] == wanted and len(near[row]) == 3
            assert [cosine for _, cosine in near[row]] == sorted((c for _, c in near[row]), reverse=True)
        else:
            assert near[row] == []


def test_where_no_record_has_these_views_all_are_looked_through():
    present = np.array([[True, False]] * 3 + [[False, True]] * 3)
    x = {"a": np.eye(6, 3), "b": np.eye(6, 3, k=-3)}
    some = Nearest.train(x, present, [(f"t{i}",) for i in range(6)], views=["a", "b"], yardstick=Texts(), prior="none")
    asked = {"a": np.eye(1, 3), "b": np.zeros((1, 3))}
    assert near_each(some, asked, np.ones((1, 2), bool), 1)[0][0][0] == 0


def test_evidence_adds_up_and_the_network_keeps_what_it_wrote():
    assert together([(0.25, {"b": (1.0, None)}), (0.75, {"a": (0.5, 7), "b": (0.5, 9)})]) == {
        "b": (0.625, None), "a": (0.375, 7),
    }
    assert together([(0.0, {"a": (1.0, None)}), (1.0, {"b": (1.0, 4)})]) == {"b": (1.0, 4)}


# --- choosing ------------------------------------------------------------------------------------

POINTS = [Consensus(weight, count) for count in (1, 10) for weight in (SHARES if count == 1 else SHARES[1:])]


def test_of_equal_points_the_default_is_chosen():
    assert chosen(POINTS, np.ones((50, len(POINTS)))) == Consensus(0.6, 10) == chosen(POINTS, np.zeros((0, len(POINTS))))


@pytest.mark.parametrize("end", [Consensus(0.0, 1), Consensus(1.0, 1)])
def test_it_falls_back_on_either_end(end):
    """Where every record is worse at every other point, the end is taken."""
    gains = np.tile(np.array([1.0 if point == end else 0.5 for point in POINTS]), (30, 1))
    assert chosen(POINTS, gains) == end


def test_what_is_chosen_is_never_below_both_ends():
    rng = np.random.default_rng(1)
    ends = [p for p, point in enumerate(POINTS) if not point.weight or point == Consensus(1.0, 1)]
    for _ in range(200):
        gains = rng.normal(size=(40, 1)) + rng.normal(0.3, 1, size=(1, len(POINTS))) + rng.normal(size=(40, len(POINTS)))
        mine = gains.mean(0)[POINTS.index(chosen(POINTS, gains))]
        assert mine >= gains.mean(0)[ends].max() - 1e-6


def test_noise_does_not_choose():
    """A point that is ahead by less than its standard error gives way to the default; one that is far ahead does not."""
    rng = np.random.default_rng(0)
    gains = np.tile(rng.normal(size=(100, 1)), (1, len(POINTS)))
    gains[:, 3] += rng.normal(0.05, 1, 100) - 0.0
    gains[:, 3] += 0.05 - (gains[:, 3] - gains[:, 0]).mean()
    assert chosen(POINTS, gains) == Consensus(0.6, 10)
    gains[:, 3] += 0.5
    assert chosen(POINTS, gains) == POINTS[3]


def test_validation_chooses_what_it_says(model):
    """The figures by which the share was chosen are those of the answers: at the ends, and where it was chosen."""
    records = told(40, 5)
    _, found, tokens = model._read(polysense.data.records.as_records(records), rivals=True)
    speaker = consensus.Speaker(model.network_, model.task_, tokens)
    judged, ruler = Texts().targets([one["words"] for one in records]), Texts()
    gains = consensus.gains(POINTS, speaker, model.rivals_, found.plain, found.present_NV, judged, ruler)
    assert gains.shape == (40, len(POINTS))
    likeness = model.rivals_.likeness(ruler)
    for point in (Consensus(0.0, 1), Consensus(0.3, 10), Consensus(1.0, 1)):
        mask = found.present_NV
        mine = consensus.evidence(speaker, model.rivals_, point, found.plain, mask)
        said = consensus.decided(mine, likeness)[0]
        if point.weight == 0:
            assert said.tolist() == speaker(mask).tolist()
        parts = [p for p, one in enumerate(POINTS) if one == point]
        assert len(parts) == 1
        rows = np.flatnonzero(mask.any(1))
        again = consensus._said(
            [point], speaker, model.rivals_, {v: x.only(rows) for v, x in found.plain.items()}, mask, rows, likeness
        )[0]
        assert again.tolist() == said[rows].tolist()


# --- the model -----------------------------------------------------------------------------------


def test_the_share_is_told_kept_and_comes_back(model, tmp_path):
    assert isinstance(model.regressions_, Consensus) and share_lines(model.task_, model.regressions_)
    model.save(tmp_path / "model")
    again = polysense.load(tmp_path / "model")
    assert again.regressions_ == model.regressions_ and again.predict(told(9, 4)).tolist() == model.predict(told(9, 4)).tolist()
    assert again.answers(told(9, 4)).taken == model.answers(told(9, 4)).taken
    assert again.rivals_.rows.tolist() == model.rivals_.rows.tolist()
    facts = store.load(tmp_path / "model")[0]
    assert facts["regressions"] == {"weight": model.regressions_.weight, "records": model.regressions_.records}
    if model.regressions_.weight:
        assert consensus.sentence(model.regressions_) in cli._about_model(tmp_path / "model")
        assert consensus.sentence(model.regressions_) in (tmp_path / "model" / "README.md").read_text()


def test_a_record_gets_the_same_text_alone_and_in_a_batch(half):
    records = told(12, 7)
    many = half.answers(records)
    alone = [half.answers([one]) for one in records]
    assert [one.answers[0] for one in alone] == many.answers.tolist()
    assert [one.taken[0] for one in alone] == many.taken


def test_what_was_taken_is_a_training_record_s_text(half):
    """And what was not is a text that the network holds."""
    train, records = told(), told(30, 8)
    found = half.answers(records)
    _, _, tokens = half._read(polysense.data.records.as_records(records), rivals=True)
    held = consensus.Speaker(half.network_, half.task_, tokens).held(found.present_NV)
    assert half.regressions_ == Consensus(0.5, 10) and len(found.origins) == 30
    for text, row, origin, mine in zip(found.answers, found.taken, found.origins, held, strict=True):
        assert text in mine if row is None else text == train[row]["words"] and text not in mine
        assert origin == ("network" if row is None else f"training row {row}")
        assert sum(mine.values()) == pytest.approx(1)


def test_a_record_without_views_gets_the_most_frequent_text(half):
    found = half.answers([{"picture": None, "temperature": None, "place": None}])
    assert found.answers.tolist() == [half.task_.nothing()] and found.taken == [None]


def test_share_0_is_the_network_alone():
    alone = Model("words", task="caption", options=SMALL | {"train.regressions": 0}, cache=False).fit(told())
    records = told(12, 7)
    assert alone.predict(records).tolist() == alone.tell(records).tolist() and alone.answers(records).origins is None


def test_who_says_how_words_are_chosen_gets_the_network_s_own(half, tmp_path):
    half.save(tmp_path / "model")
    own, record = polysense.load(tmp_path / "model"), told(5, 9)
    assert "".join(own.stream(record[0])) == own.tell(record[:1])[0]
    drawn = own.tell(record, decoding="sample", temperature=3.0, seed=1)
    assert own.tell_as(decoding="sample", temperature=3.0, seed=1).predict(record).tolist() == drawn.tolist()
    assert own.answers(record).origins is None


def test_predict_writes_where_each_text_came_from(half, tmp_path):
    half.save(tmp_path / "model")
    records = told(8, 9)
    write_csv(tmp_path / "new.csv", {name: [one.get(name) for one in records] for name in ("temperature", "place")})
    cli.predict(tmp_path / "model", tmp_path / "new.csv", out=tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["origin"] for line in lines] == half.answers(tmp_path / "new.csv").origins


def test_subsets_are_judged_by_the_same_mixture(half):
    """What each view is worth is told of the answers that are given, not of the network's own."""
    records = told(40, 5)
    result = half.evaluate(records, subsets=True, samples=10)
    one = next(part for part in result["subsets"] if part["present"] == ["table"])
    rows = [i for i, record in enumerate(records) if record.get("place") or record.get("temperature") is not None]
    said = half.predict([{k: v for k, v in records[i].items() if k != "picture"} | {"picture": None} for i in rows])
    assert one["records"] == len(rows)
    ruler = Texts()
    assert one["scores"]["cider"]["value"] == pytest.approx(
        ruler.gains(said, ruler.targets([records[i]["words"] for i in rows])).mean()
    )


def test_the_report_says_of_each_text_whose_it_is(half):
    records = told(12, 3)
    evaluation, found = half.evaluate(records, samples=5), half.answers(records)
    assert [one["origin"] for one in evaluation["said"]] == [found.origins[one["row"]] for one in evaluation["said"]]
    taken = next(one for one in evaluation["said"] if one["origin"] != "network")
    row = taken["origin"].removeprefix("training row ")
    assert f"taken from training row {row}" in half.report(evaluation, records) and told()[int(row)]["words"] == taken["prediction"]
    assert f"取自训练记录第 {row} 行" in half.report(evaluation, records, lang="zh")


def test_text_to_text_with_several_references_takes_any_of_them():
    rng = np.random.default_rng(0)
    records = [
        {"note": f"{word} seen at {i}", "said": [f"a {word}", f"one {word} here"]}
        for i, word in enumerate(rng.choice(["dog", "cat", "boat"], 60))
    ]
    options = SMALL | {"train.regressions": 0.9, "train.epochs": 2}
    model = Model("said", task="caption", columns={"note": "text"}, encoders={"note": "text.plain"}, options=options, cache=False)
    model.fit(records)
    assert all(len(texts) == 2 for texts in model.rivals_.references)
    found = model.answers([{"note": "boat seen at 3"}, {"note": "cat seen at 9"}])
    assert "boat" in found.answers[0] and "cat" in found.answers[1]


def test_transcripts_stay_the_network_s_own():
    from polysense.task.transcribe import Transcribe

    assert not Transcribe.mixes and share_lines(Transcribe(), Consensus(0.0, 0)) == []


# --- several models ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"folds": 2}, {"seeds": 2}])
def test_several_models_agree_on_a_text(how, tmp_path):
    """Members vote with all that they hold; rows that texts are taken from are those of the whole table; it comes back."""
    train, options = told(40), SMALL | {"train.epochs": 4, "train.regressions": 0.7}
    many = Model("words", task="caption", options=options, cache=False, **how).fit(train)
    assert many.valid_["scores"]["cider"]["value"] is not None and len(many.several_.models) == 2
    if "folds" in how:
        assert many.valid_["records"] == 40
    records = told(12, 7) + [{"picture": None, "temperature": None, "place": None}]
    found = many.answers(records)
    assert found.answers[-1] == many.task_.nothing() and found.taken[-1] is None
    for text, row in zip(found.answers, found.taken, strict=True):
        assert row is None or train[row]["words"] == text
    assert any(row is not None for row in found.taken)
    assert [many.answers([one]).answers[0] for one in records[:3]] == found.answers[:3].tolist()
    many.save(tmp_path / "model")
    again = polysense.load(tmp_path / "model")
    assert again.predict(records).tolist() == found.answers.tolist() and again.answers(records).taken == found.taken
    assert again.tell_as(decoding="beam", beams=2).answers(records[:3]).origins is None
    evaluation = many.evaluate(told(20, 3), samples=5)
    assert evaluation["baselines"]["concat_logistic"]["cider"]["value"] is not None


def test_members_without_a_share_vote_by_what_they_hold():
    """Two members hold "a b" with .4 each and something else with .6: together "a b" has the most."""
    likeness = Likeness([("a",)] * 4)
    first, second = {"c d": (0.6, None), "a b": (0.4, None)}, {"e f": (0.6, None), "a b": (0.4, None)}
    assert decide(first, likeness)[0] == "c d" and decide(second, likeness)[0] == "e f"
    assert decide(together([(0.5, first), (0.5, second)]), likeness)[0] == "a b"

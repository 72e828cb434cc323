"""Captions: decoders, how words are chosen, rivals of words, and the door."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from polysense import Model, cli, demo, load
from polysense.data.records import write_csv
from polysense.errors import BadOption, BadTable
from polysense.judge.looked import lit, strip
from polysense.learn.nearest import Nearest
from polysense.metrics.texts import Texts
from polysense.registry import tasks
from polysense.task.caption_net import DECODERS, Decoder
from polysense.task.caption_say import How, allowed, drawn, held, say, steps
from polysense.tokens import Tokens
from polysense.vocabulary import START, STOP, UNKNOWN, Vocabulary

SMALL = {"task.width": 16, "task.heads": 2, "task.depth": 1, "train.epochs": 12, "train.batch": 8, "train.dim": 16}


def told(n: int = 48, seed: int = 0) -> list[dict]:
    """Made-up records, each with a sentence about it."""
    records = demo.made_up(n, seed)
    keep = ("picture", "temperature", "place")
    return [
        {**{key: one[key] for key in keep if key in one}, "words": f"a {one['label']} at the {one['place'] or 'sea'}"}
        for one in records
    ]


@pytest.fixture(scope="module")
def model():
    """The network alone; what the nearest records' texts add is tested in test_consensus."""
    return Model("words", task="caption", options=SMALL | {"train.regressions": 0}, cache=False).fit(told())


# --- the vocabulary ------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["word", "subword", "character"])
def test_texts_come_back_as_they_were(split):
    texts = ["A red apple, isn't it?", "红苹果 and 3 pears (ripe)", "ein Fluß", "ทดสอบ x"]
    some = Vocabulary(split, 500).fit(texts)
    assert [some.decode(some.encode(text)) for text in texts] == texts
    again = Vocabulary().load(json.loads(json.dumps(some.state())))
    assert [again.encode(text) for text in texts] == [some.encode(text) for text in texts]
    assert [again.encode(text) for text in texts] == [
        Vocabulary(split, 500).fit(texts[::-1]).encode(text) for text in texts
    ]


def test_what_training_did_not_show_is_left_out():
    some = Vocabulary("word").fit(["a red car"])
    assert some.encode("a blue car")[1] == UNKNOWN and some.decode(some.encode("a blue car")) == "a car"
    assert some.rows(["a red car car", ""], 3).tolist() == [some.encode("a red car"), [STOP] * 3]
    with pytest.raises(BadTable, match="holds no text"):
        Vocabulary("word").fit(["", "  "])


# --- how words are chosen ------------------------------------------------------------------------


class Written(torch.nn.Module):
    """A decoder whose scores are a table: {word before: log probabilities}."""

    def __init__(self, table: dict[int, list[float]]) -> None:
        super().__init__()
        self.rows = torch.log(torch.tensor([table.get(i, [1.0] * 6) for i in range(6)]).clamp_min(1e-9))

    def begin(self, fused: Tokens) -> dict:
        return {"x": fused.x[:, 0]}

    def step(self, state: dict, words_B: torch.Tensor) -> tuple:
        return self.rows[words_B], state


def record(n: int = 1) -> Tokens:
    return Tokens.single(torch.zeros(n, 2))


def test_a_beam_finds_what_the_likeliest_word_misses():
    """Three first: .5 then .4 and an end: p = .5 * .4 = .2; four first: .4 then .9: p = .36.

    The likeliest first word is 3; after it all are alike (5, then an end, .4). After 4 comes the end with .9.
    """
    #                    STOP START UNK  3    4    5
    table = {
        START: [0.1, 0, 0, 0.5, 0.4, 0], 3: [0.3, 0, 0, 0.3, 0, 0.4], 4: [0.9, 0, 0, 0.1, 0, 0], 5: [1.0, 0, 0, 0, 0, 0],
    }
    decoder = Written(table)
    assert say(decoder, record(), How(longest=4)).tolist() == [[3, 5, STOP, STOP]]
    assert say(decoder, record(), How("beam", beams=3, penalty=0.0, longest=4)).tolist() == [[4, STOP, STOP, STOP]]
    assert say(decoder, record(), How("beam", beams=1, longest=4)).tolist() == say(decoder, record(), How(longest=4)).tolist()


def test_records_that_are_over_change_nothing_for_the_others():
    """Some texts end at once, some never: each record's beams and their log p are what they are for it alone."""
    torch.manual_seed(1)
    decoder = DECODERS["show-tell"](8, 9, width=16, dropout=0.0).eval()
    with torch.no_grad():
        decoder.enter.weight.mul_(30)
        decoder.words_KW.mul_(4)
    x, how = torch.randn(24, 1, 8), How("beam", beams=3, longest=12)
    many = Tokens(x, torch.ones(24, 1, dtype=torch.bool))
    with torch.inference_mode():
        words_BSL, log_BS = held(decoder, many, how)
        for b in range(24):
            own_SL, own_S = (part[0] for part in held(decoder, Tokens(x[b : b + 1], many.mask[:1]), how))
            assert torch.equal(own_SL, words_BSL[b]) and torch.allclose(own_S, log_BS[b])
    long_B = (words_BSL[:, 0] != STOP).sum(1)
    assert len(long_B.unique()) > 3 and long_B.max() == 12 and (log_BS < 0).all()


def test_a_length_penalty_favours_longer_texts():
    """p(3 end) = .5, p(4 5 end) = .45: by itself the shorter one; each divided by ((5 + L) / 6)^p the longer one at last."""
    table = {START: [0, 0, 0, 0.5, 0.5, 0], 3: [1.0, 0, 0, 0, 0, 0], 4: [0, 0, 0, 0, 0, 1.0], 5: [0.9, 0, 0, 0.1, 0, 0]}
    decoder = Written(table)
    assert say(decoder, record(), How("beam", penalty=0.0, longest=4))[0, 0] == 3
    assert say(decoder, record(), How("beam", penalty=3.0, longest=4))[0, 0] == 4


def test_lengths_are_kept_and_runs_not_repeated():
    table = {i: [0.4, 0, 0, 0.35, 0.2, 0.05] for i in range(6)}
    decoder = Written(table)
    assert say(decoder, record(), How(longest=5)).tolist() == [[3, STOP, STOP, STOP, STOP]]
    assert say(decoder, record(), How(longest=5, shortest=3)).tolist() == [[3, 3, 3, STOP, STOP]]
    assert say(decoder, record(), How(longest=5, shortest=3, no_repeat=1)).tolist() == [[3, 4, 5, STOP, STOP]]
    for how in (How(longest=6, shortest=6, no_repeat=2), How("beam", longest=6, shortest=6, no_repeat=2)):
        words = say(decoder, record(), how)[0].tolist()
        pairs = list(zip(words, words[1:], strict=False))
        assert len(words) == 6 and len(set(pairs)) == len(pairs)


def test_start_and_unknown_are_never_said():
    scores = allowed(torch.tensor([[0.0, 9.0, 9.0, 1.0]]), torch.zeros(1, 0, dtype=torch.int64), How())
    assert scores.argmax() == 3


def test_drawing_follows_the_probabilities():
    """A third of evenly spread draws falls on a word of probability 1/3; the nucleus of .6 leaves out the last of .5 .3 .2."""
    draws = torch.arange(0.5, 300) / 300
    scores = torch.log(torch.tensor([0.5, 0.3, 0.2])).expand(300, 3)
    counts = torch.bincount(drawn(scores, draws, How()), minlength=3)
    assert counts.tolist() == [150, 90, 60]
    assert torch.bincount(drawn(scores, draws, How(top_p=0.6)), minlength=3).tolist() == [188, 112, 0]
    assert torch.bincount(drawn(scores, draws, How(top_k=1)), minlength=3).tolist() == [300, 0, 0]
    cold = torch.bincount(drawn(scores, draws, How(temperature=0.1)), minlength=3)
    assert cold[0] > 290


def test_a_draw_hangs_on_the_seed_and_not_on_the_batch():
    decoder = Written({i: [0.1, 0, 0, 0.3, 0.3, 0.3] for i in range(6)})
    how = How("sample", longest=9, seed=3)
    alone, many = say(decoder, record(), how), say(decoder, record(4), how)
    assert torch.equal(many, alone.expand(4, -1)) and not torch.equal(alone, say(decoder, record(), How("sample", longest=9)))


@pytest.mark.parametrize("name", DECODERS)
def test_a_step_at_a_time_is_all_at_once(name):
    """What a decoder keeps between words is what it would have seen of the whole text."""
    torch.manual_seed(0)
    decoder = DECODERS[name](8, 12, width=16, dropout=0.3, heads=2, depth=2).eval()
    fused = Tokens(torch.randn(3, 4, 8), torch.tensor([[True] * 4, [True, False, True, True], [True] * 4]))
    words = torch.randint(3, 12, (3, 5))
    whole, looked = decoder(fused, words)
    state, before = decoder.begin(fused), torch.full((3,), START)
    for i in range(5):
        scores, state = decoder.step(state, before)
        torch.testing.assert_close(scores, whole[:, i])
        if looked is not None:
            torch.testing.assert_close(state["looked"], looked[:, i])
            torch.testing.assert_close(looked[:, i].sum(1), torch.ones(3))
            assert looked[1, i, 1] == 0  # a masked position is not looked at
        before = words[:, i]


def test_every_word_sees_only_those_before_it():
    torch.manual_seed(0)
    decoder = DECODERS["transformer"](8, 12, width=16, dropout=0.0, heads=2, depth=2).eval()
    fused, words = Tokens(torch.randn(1, 3, 8), torch.ones(1, 3, dtype=torch.bool)), torch.randint(3, 12, (1, 6))
    other = words.clone()
    other[0, 3] = 3 + (words[0, 3] - 3 + 1) % 9
    one, two = decoder(fused, words)[0], decoder(fused, other)[0]
    assert torch.equal(one[:, :4], two[:, :4]) and not torch.equal(one[:, 4:], two[:, 4:])


# --- the loss ------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_words_and_the_end():
    """Scores that are alike give log K a word, whatever the text's length; without a target nothing."""
    task = tasks.make("caption", width=16, heads=2, dropout=0.0, smoothing=0.0, longest=6)
    task.fit(["a red car", "one"])

    class Alike(Decoder):
        def forward(self, fused, words):
            return torch.zeros(*words.shape, len(task.pieces)), None

    targets = {"words": torch.as_tensor(task.encode(["a red car", ["one", "a car"], None])["words"])}
    alike = Alike(2, len(task.pieces), width=8, dropout=0.0)
    loss, expected = task.loss(alike, record(3), targets), np.log(len(task.pieces))
    assert loss.tolist() == pytest.approx([expected, expected, 0.0])
    figures = task.force(alike, record(3), targets)
    assert figures[:, 1].tolist() == [4, 5, 0]  # three words and an end; one and an end, two and an end
    assert task.watch(figures.numpy(), {})["loss"] == pytest.approx(expected)


# --- rivals --------------------------------------------------------------------------------------


def test_the_nearest_record_speaks():
    """Two columns, centred: (0, 1) and (1, 0) lie below the mean, (10, 10) above it; an absent view says the prior."""
    x = {"v": np.array([[0.0, 1.0], [1.0, 0.0], [10.0, 10.0]])}
    here = np.ones((3, 1), bool)
    rivals = Nearest.train(x, here, Texts().targets(["a", "b", "c"]), views=["v"], yardstick=Texts(), prior="p")
    asked = {"v": np.array([[9.0, 9.5], [-1.0, 2.0], [0.0, 0.0]])}
    assert rivals.answer(("v",), asked, np.array([[True], [True], [False]])).tolist() == ["c", "a", "p"]
    again = Nearest.load(rivals.state())
    assert again.answer(("v",), asked, np.ones((3, 1), bool)).tolist()[:2] == ["c", "a"]


def test_a_specialist_looks_only_among_those_that_have_all(model):
    x = {"v": np.array([[0.0, 1.0], [1.0, 0.1], [10.0, 10.0]]), "w": np.array([[1.0, 2.0], [5.0, 0.0], [0.0, 3.0]])}
    here = np.array([[True, True], [True, True], [True, False]])
    rivals = Nearest.train(x, here, Texts().targets(["a", "b", "c"]), views=["v", "w"], yardstick=Texts(), prior="p")
    asked, all_there = {"v": np.array([[9.0, 9.5]]), "w": np.array([[5.0, 0.0]])}, np.array([[True, True]])
    assert rivals.answer(("v", "w"), asked, all_there)[0] in ("a", "b")
    assert rivals.counts["v", "w"] == 2 and rivals.counts["v",] == 3
    assert rivals.answer(("v",), asked, all_there)[0] == "c"


# --- the model -----------------------------------------------------------------------------------


def test_words_are_the_same_alone_saved_and_in_any_batch(model, tmp_path):
    records = told(20, 1)
    said = model.predict(records).tolist()
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.predict(records).tolist() == said == [again.predict([one])[0] for one in records]
    assert again.evaluate(records, subsets=True) == model.evaluate(records, subsets=True)
    for how in ({"decoding": "beam"}, {"decoding": "sample", "temperature": 2.0}):
        assert [model.tell([one], **how)[0] for one in records[:6]] == model.tell(records, **how)[:6].tolist()
    assert model.predict(records).tolist() == said  # telling otherwise changes nothing


def test_a_stream_is_the_text(model):
    for one in [*told(3, 2), {}]:
        for how in ({}, {"decoding": "sample", "temperature": 3.0, "seed": 5}):
            assert "".join(model.stream(one, **how)) == model.tell([one], **how)[0]
    assert list(model.stream({})) == [model.task_.nothing()] == model.predict([{}]).tolist()


def test_attention_says_where_words_came_from(model):
    looked = model.attention([*told(3, 2), {}])
    assert looked[3] is None
    for one in looked[:3]:
        total = one.rest + sum(one.of(view) for view in one.views)
        np.testing.assert_allclose(total, np.ones(len(one.words)), atol=1e-5)
        assert " ".join(word for word in one.words if word) == one.text
    absent = model.attention([{"temperature": 3.0, "place": "coast"}])[0]
    assert set(absent.views) == {"table"} and absent.map("table") is None


def test_a_picture_of_attention_is_bright_where_it_looked():
    from io import BytesIO

    from PIL import Image

    where = np.zeros((2, 2))
    where[0, 1] = 1.0
    seen = np.asarray(Image.open(BytesIO(lit(np.full((20, 20, 3), 200, np.uint8), where))), float).mean(2)
    assert seen[:20, -20:].mean() > 180 and seen[-20:, :20].mean() < 70


def test_the_report_shows_words_beside_cells(model):
    records = told(12, 3)
    evaluation = model.evaluate(records, subsets=True)
    assert evaluation["kind"] == "words" and evaluation["main"] == "cider" and set(evaluation["scores"]) >= {"bleu4", "rouge_l"}
    assert json.loads(json.dumps(evaluation)) == evaluation and len(evaluation["said"]) == 12
    for lang, words in (("en", "Said and meant"), ("zh", "所说与应说")):
        page = model.report(evaluation, records, lang=lang)
        assert words in page and evaluation["said"][0]["prediction"] in page and page.count("<figcaption><b>") > 12
        assert page.count("image/jpeg;base64") > 30  # a picture for each word, beside those of the cells
    assert model.attention_page(records).count('<figure><img alt="where it looked before: ') > 12
    assert "Model of words" in model._repr_html_() and records[0]["words"][:2] in model.answers(records)._repr_html_()


def test_show_and_tell_looks_nowhere():
    model = Model("words", task="caption", options={**SMALL, "task.decoder": "show-tell", "train.epochs": 1}, cache=False)
    model.fit(told(20))
    with pytest.raises(BadOption, match="looks at no positions"):
        model.attention(told(1))
    with pytest.raises(BadOption, match="looks at no positions"):
        model.attention_page(told(1))
    model.report(model.evaluate(told(6)), told(6))


def test_text_alone_becomes_text():
    """The way back: the words in another order."""
    pairs = [(a, b) for a in ("red", "green", "blue") for b in ("car", "tree", "sky")]
    records = [{"note": f"{a} {b}", "answer": f"{b} and {a}"} for a, b in pairs] * 6
    options = {**SMALL, "train.epochs": 40, "train.rate": 0.01}
    options |= {"train.input_dropout": 0.0, "train.dropout": 0.0, "task.dropout": 0.0}
    model = Model("answer", task="caption", columns={"note": "text"}, encoders={"note": "text.plain"}, options=options)
    model.fit(records)
    assert (model.predict(records) == [one["answer"] for one in records]).mean() > 0.9
    assert model.score(records) > 5


def test_chinese_captions():
    records = [{"n": float(i % 4), "words": ["一个红苹果", "两辆蓝车", "三棵树", "四朵云"][i % 4]} for i in range(40)]
    options = {**SMALL, "train.epochs": 40, "train.rate": 0.01}
    model = Model("words", task="caption", columns={"n": "category"}, options=options).fit(records)
    assert (model.predict(records) == [one["words"] for one in records]).all()


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "message"), [
    ({"options": {"task.decoder": "lstm"}}, "task.decoder='lstm' is none; there are: show-tell, attend, transformer"),
    ({"options": {"task.split": "letter"}}, "task.split='letter' must be 'word', 'subword' or 'character'"),
    ({"options": {"task.shortest": 9, "task.longest": 3}}, "task.shortest=9 must not be above task.longest=3"),
    ({"options": {"task.width": 30}}, "task.width=30 must be a multiple of twice task.heads=4"),
    ({"options": {"task.top_p": 0.0}}, "task.top_p=0.0 must be a number from 1e-06 to 1"),
    ({"fusion": "concat"}, "reads positions but fusion 'concat' gives one vector per record"),
    ({"task": "transcribe", "folds": 3}, "answers with words, and several texts have no average; leave --folds away"),
    ({"task": "transcribe", "seeds": 3}, "several texts have no average; leave --seeds away"),
    ({"options": {"train.pseudo": 0.9}}, "has no probability for a whole record"),
    ({"task": "transcribe", "options": {"train.regressions": 0.5}}, "answers with words, which cannot be mixed"),
    ({"options": {"train.distil": 0.5}}, "teaches by its targets alone"),
])
def test_what_does_not_suit_words_is_one_sentence(settings, message):
    with pytest.raises(BadOption) as caught:
        Model("words", **{"task": "caption", "cache": False} | settings).fit(told(16))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_fusion_that_does_not_fit_is_told_before_any_cell_is_read(monkeypatch):
    monkeypatch.setattr(Model, "_open_cells", lambda *_: pytest.fail("cells were read first"))
    with pytest.raises(BadOption, match="gives one vector per record; choose a fusion that keeps positions, such as tokens"):
        Model("words", task="caption", cache=False, fusion="mean").fit(told(16))


def test_words_among_several_targets_are_refused():
    with pytest.raises(BadOption, match="stands alone; give it a model of its own"):
        Model(["words", "place"], task="words=caption,place=classify").fit(told(16))


def test_texts_are_not_taken_for_captions_in_silence():
    records = [{"n": float(i), "text": f"this is a text about the number {i}"} for i in range(60)]
    with pytest.raises(BadTable, match="texts are learned by the task caption"):
        Model("text").fit(records)


def test_a_target_that_never_differs_teaches_nothing():
    with pytest.raises(BadTable, match="holds the text 'same' in the training records and nothing else"):
        Model("words", task="caption").fit([{"n": float(i), "words": "same"} for i in range(20)])


def test_words_have_no_probabilities(model):
    with pytest.raises(BadOption, match="no probabilities"):
        model.predict_proba(told(2))
    with pytest.raises(BadOption, match="'width' was settled when the model learned"):
        model.tell(told(2), width=8)
    with pytest.raises(BadOption, match="did you mean 'beams'"):
        model.tell(told(2), beam=8)
    with pytest.raises(BadOption, match="must not be above the 64"):
        model.tell(told(2), longest=65)
    with pytest.raises(BadOption, match="knows its text only at the end"):
        list(model.stream(told(1)[0], decoding="beam"))


def test_only_words_are_told():
    other = Model("place", options={"train.epochs": 1}).fit([{"n": float(i), "place": "ab"[i % 2]} for i in range(20)])
    with pytest.raises(BadOption, match="does not answer with words"):
        other.tell([{"n": 1.0}])


# --- the door ------------------------------------------------------------------------------------


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """(exit code, stdout, stderr) of a command, in this process and in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def ask(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["polysense", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return ask


def test_the_commands_know_words(run, tmp_path):
    numbers = [i % 4 for i in range(60)]
    notes = [f"{'one two three four'.split()[n]} of {'ab'[i % 2]}" for i, n in enumerate(numbers)]
    write_csv(tmp_path / "t.csv", {"n": numbers, "kind": ["ab"[i % 2] for i in range(60)], "note": notes})
    options = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    asked = ("--target", "note", "--task", "caption", "--columns", "n=category")
    code, _, said = run("fit", "t.csv", *asked, "--out", "m", *options)
    assert code == 0, said
    assert "learning 'note', words: 4 different texts" in said and "nearest by" in said
    lines = run("predict", "m", "t.csv")[1].splitlines()
    assert lines[0] == "row,prediction,origin" and len(lines) == 61 and "of" in lines[1]
    code, _, said = run(
        "predict", "m", "t.csv", "--set", "task.decoding=beam", "--attention", "looked.html", "--lang", "zh", "--out", "a.csv"
    )
    assert code == 0 and "<figcaption>" in (tmp_path / "looked.html").read_text(encoding="utf-8"), said
    code, _, said = run("predict", "m", "t.csv", "--set", "train.epochs=3")
    assert code == 2 and "only task.NAME of a task of words may change" in said
    shown = run("show", "m")[1]
    assert "caption 'note', words" in shown and "CIDEr" in shown
    code, told, said = run(
        "evaluate", "m", "t.csv", "--subsets", "--json", "e.json", "--html", "e.html", "--measures", "wer,cer"
    )
    assert code == 0 and "nearest by all views" in told and "WER" in told, said
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["baselines"]["majority"]["cider"]["value"] is not None and found["subsets"][0]["specialist"]
    assert "CIDEr" in (tmp_path / "m" / "README.md").read_text()


@pytest.mark.slow
def test_a_killed_fit_goes_on_to_the_same_words(tmp_path):
    """SIGKILL after some batches; the resumed fit ends in the same bits as an undisturbed one."""
    script = (
        "import sys; sys.path[:0] = sys.argv[3:]\n"
        "from test_caption import SMALL, told\n"
        "from polysense import Model\n"
        "options = {**SMALL, 'train.epochs': 6, 'train.checkpoint': 0}\n"
        "Model('words', task='caption', columns={'picture': 'ignore'}, options=options, cache=False).fit("
        "told(), checkpoints=sys.argv[1], resume=sys.argv[2] == 'yes').save(sys.argv[1] + '.model')\n"
    )

    def begun(name: str, resume: str = "no") -> subprocess.Popen:
        here = str(Path(__file__).parent)
        return subprocess.Popen([sys.executable, "-c", script, str(tmp_path / name), resume, here])

    whole = begun("whole")
    killed = begun("killed")
    until = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("*")) and killed.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    killed.kill()
    killed.wait()
    assert whole.wait() == 0 and begun("killed", "yes").wait() == 0
    one, two = (load(tmp_path / f"{name}.model").network_.state_dict() for name in ("whole", "killed"))
    assert all(torch.equal(one[key], two[key]) for key in one)

"""The matcher: laws of its vectors, what is kept, what is found, what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import polysense
from polysense import Matcher, Model, cli, demo, store
from polysense.errors import BadColumn, BadIndex, BadModel, BadOption, BadRecord, BadTable, NotFitted
from polysense.judge.match import as_text
from polysense.learn.joint import Judged, joined_vectors, same_content
from test_store import killed_at
from tiny import tiny_towers  # noqa: F401  (a fixture)

QUICK = {"match.epochs": 4, "match.dim": 16, "match.width": 8, "match.members": 2}
PLAIN = {"text": "text.plain", "text_zh": "text.plain", "picture": "image.plain", "sound": "audio.plain"}
COLUMNS = ("text", "text_zh", "picture", "temperature", "place")


def records(n=80, seed=0, missing=0.1, columns=COLUMNS):
    return [{"id": f"r{i}", **{name: one[name] for name in columns}} for i, one in enumerate(demo.made_up(n, seed, missing=missing))]


def matcher(query="text,temperature,place", item="text_zh,picture", **settings):
    options = QUICK | settings.pop("options", {})
    views = [name for side in (query, item) for name in side.split(",")]
    encoders = {view: name for view, name in PLAIN.items() if view in views}
    return Matcher(query, item, encoders=encoders, options=options, cache=False, **settings)


@pytest.fixture(scope="module")
def fitted():
    return matcher().fit(records())


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("m") / "matcher"
    fitted.save(folder)
    return folder


# --- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["query", "item"])
def test_vectors_have_length_one_and_are_the_same_alone_as_in_a_batch(fitted, side):
    data = records(12, seed=3, missing=0.3)
    whole = fitted.embed(data, side)
    assert whole.dtype == np.float32 and whole.shape == (12, fitted.width)
    there = whole.any(1)
    np.testing.assert_allclose(np.linalg.norm(whole[there], axis=1), 1, atol=1e-5)
    alone = np.concatenate([fitted.embed([one], side) for one in data])
    np.testing.assert_allclose(alone, whole, atol=1e-5)
    turned = fitted.embed(data[::-1], side)[::-1]
    np.testing.assert_allclose(turned, whole, atol=1e-5)


@pytest.mark.parametrize("side", ["query", "item"])
def test_the_other_side_and_what_stands_in_absent_views_is_never_read(fitted, side):
    data = records(8, seed=4, missing=0)
    mine = {"query": ("text", "temperature", "place"), "item": ("text_zh", "picture")}[side]
    only = [{name: one[name] for name in mine} for one in data]
    broken = [one | {name: None for name in COLUMNS if name not in mine} for one in data]
    spoilt = [one | {name: b"no picture" if name == "picture" else "nonsense" for name in COLUMNS if name not in mine} for one in data]
    expected = fitted.embed(data, side)
    for other in (only, broken, spoilt):
        np.testing.assert_array_equal(fitted.embed(other, side), expected)


def test_a_side_without_any_view_is_zero_and_the_order_of_views_does_not_matter(fitted):
    empty = fitted.embed([{"text_zh": None, "picture": None}, {}], "item")
    assert empty.shape[0] == 2 and not empty.any()
    assert not fitted.embed([{}], "query").any()
    one = records(6, seed=5, missing=0)
    turned = [dict(reversed(record.items())) for record in one]
    np.testing.assert_array_equal(fitted.embed(one, "item"), fitted.embed(turned, "item"))
    assert fitted.embed([], "item").shape == (0, fitted.width)


def test_it_finds_better_than_chance_what_it_has_not_seen():
    """The class of made-up weather is shown by both sides; queries find items of their class."""
    data = [one | {"text": f"{one['label']} here"} for one in demo.made_up(300, 0, missing=0)]
    made = matcher("text", "text_zh", options={"match.epochs": 15}).fit(data)
    fresh = demo.made_up(90, 7, missing=0)
    hits = made.search([{"text": "rain here"}], fresh, k=10)[0]
    labels = [fresh[int(hit["id"])]["label"] for hit in hits]
    assert labels.count("rain") >= 5  # a third by chance; a text tells the truth in 7 of 10


def test_a_mixture_of_vectors_is_the_mixture_of_cosines():
    rng = np.random.default_rng(0)
    (a, b), (c, d) = ([x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, 5, 4))] for _ in range(2))
    mixed = (joined_vectors(a, c, 0.3) * joined_vectors(b, d, 0.3)).sum(1)
    np.testing.assert_allclose(mixed, 0.7 * (a * b).sum(1) + 0.3 * (c * d).sum(1), atol=1e-6)


def test_saved_and_loaded_it_gives_equal_bits(fitted, saved):
    again = polysense.load(saved)
    assert isinstance(again, Matcher) and again.fingerprint() == fitted.fingerprint()
    data = records(10, seed=6)
    for side in ("query", "item"):
        np.testing.assert_array_equal(again.embed(data, side), fitted.embed(data, side))
    assert again.evaluate(data, samples=20) == fitted.evaluate(data, samples=20)


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    from polysense.learn.course import Course

    options = {"train.checkpoint": 0.0}
    whole = matcher(options=options).fit(records())
    steps, real = [], Course.end_epoch

    def killed(self, figures):
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return real(self, figures)

    monkeypatch.setattr(Course, "end_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        matcher(options=options).fit(records(), checkpoints=tmp_path / "f")
    monkeypatch.setattr(Course, "end_epoch", real)
    resumed = matcher(options=options).fit(records(), checkpoints=tmp_path / "f", resume=True)
    np.testing.assert_array_equal(resumed.embed(records(9), "item"), whole.embed(records(9), "item"))


def test_towers_are_tuned_from_the_frozen_solution_on_and_never_end_below_it(tiny_towers, tmp_path):  # noqa: F811
    def made(**more):
        return Matcher(
            "text", "text_zh", encoders={"text": f"text.pretrained:{tiny_towers('text')}", "text_zh": "text.plain"}, cache=False,
            options=QUICK | {"tune.epochs": 2, "tune.rate": 1e-2}, **more,
        ).fit(records(60, columns=("text", "text_zh")))

    tuned, frozen = made(tune="text"), made()
    facts = tuned.made_["tuned"]
    assert facts["views"] == ["text"] and len(facts["epochs"]) == 2
    last = facts["tuned"] or facts["frozen"]
    assert last["loss"] <= facts["frozen"]["loss"]
    data = records(5, seed=3)
    if facts["kept"] == "frozen":
        np.testing.assert_array_equal(tuned.embed(data, "query"), frozen.embed(data, "query"))
    tuned.save(tmp_path / "m")
    np.testing.assert_array_equal(Matcher.load(tmp_path / "m").embed(data, "query"), tuned.embed(data, "query"))
    alone = np.concatenate([tuned.embed([one], "query") for one in data])
    np.testing.assert_allclose(alone, tuned.embed(data, "query"), atol=1e-5)


# --- what belongs together, and what is judged -----------------------------------------------------


def test_records_that_share_a_text_are_right_for_each_other():
    """Rows 0 and 2 share a text of the query, 2 and 3 one of the item: all three are one; numbers alone join none."""
    from polysense.data.reading import read_cells
    from polysense.data.records import as_records
    from polysense.data.schema import Column, Schema

    rows = [("red", "rot", 1), ("blue", "blau", 1), ("red", "purpur", 2), ("crimson", "purpur", 1)]
    found = as_records([{"a": a, "b": b, "n": n} for a, b, n in rows])
    schema = Schema([Column("a", "text", ""), Column("b", "text", ""), Column("n", "number", "")], {}, {"item_table": ("n",)})
    same = same_content(read_cells(found, schema), {"query": ["a"], "item": ["b", "item_table"]})
    assert same.tolist() == [0, 1, 0, 0]


def test_the_score_to_choose_by_is_the_mean_of_both_directions():
    """Queries at (1,0) and (0,1), items swapped but for the second pair that is one with the first: by hand 3/4."""
    judged = Judged(np.array([0, 1]))
    eye = np.eye(2)
    assert judged(eye, eye) == 1 and judged(eye, eye[::-1]) == 0.5
    assert Judged(np.array([0, 0]))(eye, eye[::-1]) == 1


def test_an_evaluation_has_both_directions_rivals_differences_and_subsets(fitted):
    found = fitted.evaluate(records(60, seed=2), samples=50)
    assert set(found["baselines"]) == {"ridge", "cca", "nearest", "chance"} == set(found["differences"])
    for name in ("query_to_item", "item_to_query"):
        for measure in ("recall_at_1", "recall_at_5", "recall_at_10", "mrr", "map", "median_rank"):
            score = found[name][measure]
            assert score["low"] <= score["value"] <= score["high"]
        ridge = found["differences"]["ridge"][name]
        assert np.isclose(ridge["mrr"]["value"], found[name]["mrr"]["value"] - found["baselines"]["ridge"][name]["mrr"]["value"])
        assert np.isclose(ridge["p"] + ridge["p_better"], 1)
    asked = {(row["side"], tuple(row["present"])) for row in found["subsets"]}
    assert ("item", ("picture",)) in asked and ("query", ("query_table", "text")) in asked
    json.dumps(found, allow_nan=False)
    text = as_text(found)
    assert "nearest training query" in text and "item: picture + text_zh" in text


def test_pairs_that_are_verified(fitted):
    data = records(40, seed=8, missing=0)
    other = data[1:] + data[:1]
    found = fitted.verify(data + data, data + other, [True] * 40 + [False] * 40, samples=30)
    assert len(found["scores"]) == 80 and 0 <= found["equal_error_rate"]["value"] <= 0.6
    assert found["equal_error_rate"]["low"] <= found["equal_error_rate"]["value"] <= found["equal_error_rate"]["high"]
    assert found["threshold"] == fitted.chosen_["thresholds"]["query-item"]["threshold"]
    assert not fitted.verify([{}], data[:1])["accepted"].any()
    with pytest.raises(BadTable, match="2 on the left and 1 on the right"):
        fitted.verify(data[:2], data[:1])
    with pytest.raises(BadTable, match="give both kinds"):
        fitted.verify(data[:2], None, [True, True])


def test_classes_named_by_texts(fitted):
    made = matcher("text", "text_zh").fit(records())
    p = made.classify(
        [{"text_zh": "雪"}, {"text_zh": None}], ["snow", "sun", "rain"], templates=["{}", "we saw {}"], view="text"
    )
    assert p.shape == (2, 3)
    np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_allclose(p[1], 1 / 3)
    with pytest.raises(BadOption, match="one text view; there are: text, text_zh; name one"):
        made.classify([{}], ["a"])
    with pytest.raises(BadOption, match="has no {}"):
        made.classify([{}], ["a"], templates=["x"], view="text")


# --- finding -------------------------------------------------------------------------------------


def test_an_index_finds_what_records_find_and_can_be_added_to(fitted, tmp_path):
    items, place = records(30, seed=9, missing=0), tmp_path / "i"
    made = fitted.index(items, place)
    assert (made.added, made.total) == (30, 30)
    asked = records(4, seed=10, missing=0)
    by_index, by_records = fitted.search(asked, place, 5), fitted.search(asked, items, 5)
    for one, other in zip(by_index, by_records, strict=True):
        assert [hit["id"] for hit in one] == [hit["id"] for hit in other]
        np.testing.assert_allclose([hit["score"] for hit in one], [hit["score"] for hit in other], atol=1e-5)
        assert one[0]["rank"] == 1 and one[0]["place"] == other[0]["place"] and "picture" not in one[0]
    assert len(fitted.search(asked, place, 1000)[0]) == 30  # k is larger than the index
    named = [{"item_id" if key == "id" else key: value for key, value in item.items()} for item in items]
    fitted.index(named, tmp_path / "named")
    for hit in (fitted.search(asked, tmp_path / "named", 1)[0][0], fitted.search(asked, named, 1)[0][0]):
        assert hit["id"].startswith("r") and "item_id" not in hit, "the column of ids is not told twice"
    fitted.index([items[0] | {"id": "new"}], place, add=True)
    assert len(fitted.search(asked, place, 100)[0]) == 31
    assert fitted.unindex([items[0] | {"id": "new"}], place) == 1
    assert len(fitted.search(asked, place, 100)[0]) == 30
    assert fitted.search([{}], place) == [[]]
    with pytest.raises(BadRecord, match="record 0 has no readable view"):
        fitted.search([{}], place, strict=True)
    assert fitted.index([*items[:3], {"id": "none"}], place).remarks  # one without a view, said; the old index is replaced
    assert len(fitted.search(asked, place, 100)[0]) == 3


def test_an_index_on_a_server_answers_as_the_one_in_a_folder(fitted, tmp_path):
    pytest.importorskip("qdrant_client")
    from loopback_qdrant import serving

    items, asked = records(20, seed=9, missing=0), records(3, seed=10, missing=0)
    fitted.index(items, tmp_path / "here")
    with serving() as running:
        made = fitted.index(items, tmp_path / "there", server=f"{running.url}/shop")
        assert (made.added, made.total) == (20, 20)
        fitted.index([items[0] | {"id": "new"}], tmp_path / "there", add=True, server=f"{running.url}/shop")
        assert len(fitted.search(asked, tmp_path / "there", 100)[0]) == 21
        fitted.index(items, tmp_path / "there", server=f"{running.url}/shop")  # anew: what stood there is gone
        there, here = fitted.search(asked, tmp_path / "there", 4), fitted.search(asked, tmp_path / "here", 4)
        assert [[hit["id"] for hit in hits] for hits in there] == [[hit["id"] for hit in hits] for hits in here]
        assert there[0][0]["place"] == here[0][0]["place"]


@pytest.mark.parametrize("at_once", [True, False])
def test_killed_at_any_step_of_replacing_an_index_the_old_one_or_the_new_one_is_found(fitted, tmp_path, monkeypatch, at_once):
    """With both folders changing places in one step, and where the system can only rename one after the other."""
    if not at_once:
        monkeypatch.setattr(store, "_exchange", lambda one, other: False)
    old, new, seen, killed, step = records(4, seed=3, missing=0), records(6, seed=3, missing=0), [], True, 0
    while killed:
        place = tmp_path / str(step) / "i"
        place.parent.mkdir()
        fitted.index(old, place)
        killed = killed_at(step, lambda place=place: fitted.index(new, place))
        seen.append(len(fitted.search(new[:1], place, k=9)[0]))
        assert fitted.index(old, place).total == 4
        assert [path.name for path in place.parent.iterdir()] == ["i"], "what was left aside is cleared away"
        step += 1
    assert seen[0] == 4 and seen[-1] == 6 and seen == sorted(seen) and len(seen) > 10


def test_an_index_of_another_matcher_is_refused(fitted, tmp_path):
    fitted.index(records(10), tmp_path / "i")
    other = matcher(seed=1).fit(records())
    with pytest.raises(BadIndex, match="vectors of another matcher"):
        other.search(records(1), tmp_path / "i")
    with pytest.raises(BadIndex, match="holds the side item, not query"):
        fitted.search(records(1), tmp_path / "i", side="query")
    (tmp_path / "i" / "matcher.json").write_text("{")
    with pytest.raises(BadIndex, match="does not say whose vectors"):
        fitted.search(records(1), tmp_path / "i")
    with pytest.raises(BadIndex, match="there is no index"):
        fitted.search(records(1), tmp_path / "nowhere")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(BadIndex, match="something other than an index"):
        fitted.index(records(3), tmp_path / "full")


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "words"), [
    ({"query": None}, "no column is named for the side query"),
    ({"item": "text"}, "'text' is named for both sides"),
    ({"query": "text,text"}, "named twice"),
    ({"query": "txt"}, "side query: .* has no column 'txt'; did you mean 'text'"),
    ({"group": "text"}, "the group or the split"),
    ({"options": {"match.los": "x"}}, "did you mean 'match.loss'"),
    ({"options": {"match.loss": "x"}}, "must be 'infonce', 'sigmoid' or 'triplet'"),
    ({"options": {"match.batch": 1}}, "match.batch=1 must be a whole number of at least 2"),
    ({"options": {"train.epochs": 2}}, "train.epochs is match.epochs"),
    ({"options": {"train.mixup": 0.2}}, "train.mixup is about answers"),
    ({"options": {"task.smoothing": 0.1}}, "a matcher has no task"),
    ({"fusion": "mean"}, "combines answers"),
    ({"encoders": {"text": "auto"}}, "name an encoder"),
    ({"columns": {"sound": "audio"}}, "has no column 'sound'|on no side"),
])
def test_mistakes_are_told(settings, words):
    with pytest.raises((BadOption, BadColumn), match=words):
        Matcher(**{"query": "text", "item": "text_zh"} | settings).fit(records(30))


def test_a_model_has_no_options_of_a_matcher():
    with pytest.raises(BadOption, match="match.loss is an option of a matcher"):
        Model("place", options={"match.loss": "infonce"}).fit(records(30))


def test_too_little_to_learn_from_is_told_or_answered():
    with pytest.raises(BadTable, match="0 records with both sides"):
        matcher("text", "text_zh").fit([{"text": f"a {i}", "text_zh": None} for i in range(9)] + [{"text": None, "text_zh": f"b {i}"} for i in range(9)])
    with pytest.raises(BadTable, match="1 record with both sides"):
        matcher("text", "text_zh", columns={"text": "text", "text_zh": "text"}).fit([{"text": "a", "text_zh": "b"}])
    alike = matcher("text", "text_zh", columns={"text_zh": "text"}).fit([{"text": f"thing {i} of {i * i}", "text_zh": "东西"} for i in range(20)])
    assert np.isfinite(alike.embed([{"text_zh": "东西"}], "item")).all()
    found = alike.evaluate([{"text": "thing 3", "text_zh": "东西"}], samples=5)
    assert found["query_to_item"]["recall_at_1"]["value"] == 1 and found["same"]["records"] == 0
    assert alike.evaluate([{"text": "x", "text_zh": None}], samples=5)["query_to_item"] is None


def test_before_fit_nothing_is_answered():
    with pytest.raises(NotFitted, match="this matcher has learned nothing"):
        Matcher("a", "b").embed([{}])


def test_each_kind_of_folder_names_the_other(fitted, saved, tmp_path):
    with pytest.raises(BadModel, match="holds a matcher, not a model; open it with polysense.load"):
        Model.load(saved)
    Model("place", options={"train.epochs": 1, "train.dim": 8}).fit(
        [{"text": f"{i % 2} x", "place": "ab"[i % 2]} for i in range(30)]
    ).save(tmp_path / "model")
    with pytest.raises(BadModel, match="holds a model, not a matcher; open it with polysense.load"):
        Matcher.load(tmp_path / "model")
    assert isinstance(polysense.load(tmp_path / "model"), Model)


def test_a_damaged_folder_is_refused(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "m")
    path = tmp_path / "m" / "rivals.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadModel, match="damaged or was changed"):
        polysense.load(tmp_path / "m")
    (tmp_path / "m" / store.MAIN).write_text("{}")
    with pytest.raises(BadModel):
        polysense.load(tmp_path / "m")


# --- the door ------------------------------------------------------------------------------------


@pytest.fixture
def run(capsys, monkeypatch):
    def go(*words):
        monkeypatch.setattr("sys.argv", ["polysense", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return go


def test_the_commands_from_a_table_to_a_hit(run, tmp_path):
    import csv

    path, place = tmp_path / "t.csv", tmp_path / "m"
    rows = records(60, columns=("text", "text_zh", "place"))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    plain = ["--encoder", "text=text.plain", "--encoder", "text_zh=text.plain"]
    options = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    code, out, err = run("match", path, "--query", "text,place", "--item", "text_zh", "--out", place, *plain, *options)
    assert code == 0 and out == "" and "query side: query_table + text" in err and "this matcher" in err
    code, out, err = run("index", place, path)
    assert code == 0 and f"in {place}/index-item" in err
    code, out, _ = run("search", place, "--text", "wet street", "--row", '{"place": "coast"}', "-k", "2")
    assert code == 0 and out.startswith("rank,id,score,text,text_zh,place\n1,r") and len(out.splitlines()) == 3
    code, out, _ = run("search", place, "--text", "wet street", "--json", "-k", "1")
    assert code == 0 and json.loads(out)[0]["rank"] == 1
    code, _, err = run("embed", place, path, "--out", tmp_path / "v.npy", "--side", "query")
    assert code == 0 and np.load(tmp_path / "v.npy").shape[0] == 60
    code, _, _ = run("embed", place, path, "--out", tmp_path / "v.parquet")
    assert code == 0
    code, out, _ = run("evaluate", place, path, "--json", tmp_path / "e.json", "--html", tmp_path / "e.html")
    assert code == 0 and "query" in out and json.loads((tmp_path / "e.json").read_text())["records"] == 60
    assert "<html" in (tmp_path / "e.html").read_text(encoding="utf-8")
    code, out, _ = run("show", place)
    assert code == 0 and "matches query_table + text with text_zh" in out
    for words, said in (
        (["predict", place, path], "predicts nothing"),
        (["evaluate", place, path, "--subsets"], "--subsets is for models that answer"),
        (["search", place, "--image", path], "--image is given, and the side query that asks reads text (text)"),
        (["search", place], "nothing asks"),
        (["search", place, "--text", "x", "--index", tmp_path / "none"], "there is no index"),
        (["search", place, "--row", "{"], "is not JSON"),
        (["embed", place, path, "--out", tmp_path / "v.txt"], "ends in .npy or .parquet"),
        (["match", path, "--query", "text", "--item", "text_zh"], "say --out DIR"),
        (["match", path, "--query", "text", "--item", "text_zh", "--out", tmp_path / "n", "--set", "match.widht=3"], "match.width"),
    ):
        code, _, err = run(*words)
        assert code == 2 and said in err and err.count("\n") <= 2, (words, err)

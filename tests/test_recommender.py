"""Recommendation: laws, faults, a taste that is found again on new items, numbers by hand, the door."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_towers  # noqa: F401  (a fixture)

import polysense
from polysense import Recommender
from polysense.data.interactions import item_numbers, read_interactions
from polysense.data.records import as_records
from polysense.errors import BadColumn, BadModel, BadOption, BadTable, NotFitted
from polysense.judge.recommended import judge_recommendations
from polysense.learn.course import Course
from polysense.learn.foretell import Judging, log_share, scored
from polysense.learn.neighbours import Contents, Factors, Neighbours, Popularity, matrix
from polysense.learn.shares import choose, standard

KINDS = ("fish", "tool", "fruit", "song")
PLAIN = {"text": "text.plain"}
FAST = {"recommend.epochs": 6, "recommend.dim": 24, "recommend.width": 16, "recommend.members": 1}


def shop(n=60):
    """Items of four kinds, told by a word and roughly by a number; some show nothing."""
    rng = np.random.default_rng(0)
    return [
        {
            "item": f"i{i}", "text": None if i % 11 == 5 else f"{KINDS[i % 4]} number {rng.integers(99)}",
            "size": None if i % 13 == 7 else i % 4 + rng.normal() / 4,
        }
        for i in range(n)
    ]


def orders(users=120, n=60, new=12):
    """Each user takes items of one kind, the last ``new`` items in the last period only."""
    rng = np.random.default_rng(1)
    early, late = [], []
    for u in range(users):
        mine = [i for i in range(n) if i % 4 == u % 4]
        old, fresh = [i for i in mine if i < n - new], [i for i in mine if i >= n - new]
        early += [{"user": f"u{u}", "item": f"i{i}"} for i in rng.permutation(old)[:6]]
        late += [{"user": f"u{u}", "item": f"i{rng.choice(fresh)}"}]
    return early, late


@pytest.fixture(scope="module")
def fitted():
    early, _ = orders()
    return Recommender(encoders=PLAIN, options=FAST).fit(early, shop())


def test_a_taste_is_found_again_on_items_that_nobody_has_taken(fitted):
    found = fitted.evaluate(orders()[1])["new_items"]
    assert found["users"] == 120 and found["items"] == 12
    worth = {"recommender": found["scores"], **found["baselines"]}
    worth = {name: one["ndcg_at_10"]["value"] for name, one in worth.items()}
    assert worth["recommender"] > 0.6 > 0.5 > worth["popularity"]
    for name in ("popularity", "item_knn", "factors"):  # they know nothing of new items
        gain = found["differences"][name]
        assert gain["low"] > 0 and gain["p"] < 0.01


def test_the_best_epoch_is_what_answers(fitted):
    """Its NDCG@10 on validation is found again with the vectors that are kept: all known items were looked at."""
    all_, last = fitted.catalogue_, {user: mine[-1] for user, mine in fitted.users_.items() if len(mine) > 1}
    histories = [fitted.users_[user][:-1] for user in last]
    scores = scored(fitted.network_, all_.vectors_MIE, all_.vectors_MIE, histories) + log_share(all_.counts_I)
    judging = Judging(histories, np.array(list(last.values())), all_.known_I)
    assert max(epoch["valid_ndcg_at_10"] for epoch in fitted.history_) == pytest.approx(judging.gains(scores).mean())


def test_alone_is_as_in_a_batch_and_padding_is_never_read(fitted):
    users = list(fitted.users_)[:40]
    histories = [fitted.users_[user][: 1 + k % 6] for k, user in enumerate(users)]
    together = fitted._all(histories, fitted.catalogue_)
    for k in (0, 7, 39):
        alone = fitted._all(histories[k : k + 1], fitted.catalogue_)
        for name in together:
            np.testing.assert_allclose(alone[name][0], together[name][k], atol=1e-5)
    names = [[fitted.catalogue_.ids[i] for i in mine] for mine in histories]
    assert fitted.recommend(histories=names) == fitted.recommend(histories=names)


def test_the_order_of_a_history_counts_and_only_its_last_items_are_read(fitted):
    network, vectors = fitted.network_, fitted.catalogue_.vectors_MIE
    one, other = np.array([0, 1, 2, 3]), np.array([3, 2, 1, 0])
    scores = scored(network, vectors, vectors, [one, other])
    assert np.abs(scores[0] - scores[1]).max() > 1e-4
    long = np.arange(60)
    short = long[-network.history :]
    np.testing.assert_allclose(*scored(network, vectors, vectors, [long, short]), atol=1e-6)


def test_what_was_taken_is_left_out_and_nobody_gets_what_is_popular(fitted):
    user = "u0"
    taken = {fitted.catalogue_.ids[i] for i in fitted.users_[user]}
    found = fitted.recommend([user, "nobody", None], k=100)
    assert len(found[0]) == 60 - len(taken) and not taken & {name for name, _ in found[0]}
    assert {name for name, _ in fitted.recommend([user], k=100, seen=True)[0]} >= taken
    popular = [fitted.catalogue_.ids[i] for i in np.argsort(-fitted.catalogue_.counts_I, kind="stable")]
    first = [name for name, _ in found[1]][:10]
    counts = dict(zip(fitted.catalogue_.ids, fitted.catalogue_.counts_I, strict=True))
    assert [counts[name] for name in first] == [counts[name] for name in popular[:10]] and found[1] == found[2]
    assert [name for name, _ in fitted.recommend(histories=[[]], k=3)[0]] == first[:3]


def test_new_items_come_from_a_table_and_any_view_may_be_missing(fitted):
    more = [{"item": "n0", "text": "fish number 3"}, {"item": "n1", "size": 3.1}, {"item": "n2"}, {"item": "i0", "text": "song"}]
    found = fitted.recommend(["u0"], k=100, items=more)[0]
    assert {"n0", "n1", "n2"} <= {name for name, _ in found} and all(np.isfinite(score) for _, score in found)
    place = [name for name, _ in found]
    assert place.index("n0") < place.index("n1")  # u0 takes fish
    assert fitted.recommend(histories=[["n0", "n0"]], k=3, items=more)[0] != fitted.recommend(histories=[[]], k=3)[0]
    with pytest.raises(BadTable, match="names the item 'n0', which is in no table"):
        fitted.recommend(histories=[["n0"]])


def test_saved_and_loaded_it_answers_in_equal_bits(fitted, tmp_path):
    fitted.save(tmp_path / "r")
    again = polysense.load(tmp_path / "r")
    assert isinstance(again, Recommender) and again.shares_ == fitted.shares_ and again.valid_ == fitted.valid_
    users, more = list(fitted.users_), [{"item": "n0", "text": "tool 4", "size": 1.0}]
    assert again.recommend(users, items=more) == fitted.recommend(users, items=more)
    (tmp_path / "r" / "rivals.safetensors").write_bytes(b"x")
    with pytest.raises(BadModel, match="damaged"):
        polysense.load(tmp_path / "r")
    with pytest.raises(NotFitted):
        Recommender().recommend(["u0"])


def pictured(n=60):
    """Items shown by a picture only: a bar at one of four heights for each kind; one has none."""
    rng, found = np.random.default_rng(2), []
    for i in range(n):
        pixels = rng.integers(0, 40, (16, 16, 3), np.uint8)
        pixels[4 * (i % 4) : 4 * (i % 4) + 3] = 220
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        found.append({"item": f"i{i}", "photo": None if i == 5 else file.getvalue(), "size": float(rng.normal())})
    return found


CNN = {"photo.pixels": 16, "photo.widths": [4, 8], "recommend.fresh": 24}


def test_an_encoder_from_scratch_learns_from_what_is_taken():
    """The bar's place is the taste; half of the steps' items are not read anew, and new items are told apart all the same."""
    early, late = orders()
    made = Recommender(encoders={"photo": "image.cnn"}, options=FAST | CNN | {"recommend.epochs": 12}).fit(early, pictured())
    assert made.evaluate(late)["new_items"]["scores"]["ndcg_at_10"]["value"] > 0.6
    assert not list(made.network_.memory) and not [key for key in made.network_.state_dict() if "memory" in key]
    more = [{"item": "n0", **{key: pictured(4)[3][key] for key in ("photo", "size")}}, {"item": "n1"}]
    assert {"n0", "n1"} <= {name for name, _ in made.recommend(["u3"], k=100, items=more)[0]}


@pytest.mark.parametrize("dies", [2, 9, 17])
def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path, monkeypatch, dies):
    """Killed in an epoch's midst; weights, running means, what is remembered of items and all draws come back."""
    early, _ = orders(40)
    settings = {
        "encoders": {"photo": "image.cnn"},
        "options": FAST | CNN | {"train.checkpoint": 0, "recommend.epochs": 3, "recommend.batch": 30, "recommend.members": 2},
    }
    whole = Recommender(**settings).fit(early, pictured())
    real, steps = Course.step, []

    def killed(self, *args):
        steps.append(1)
        if len(steps) > dies:
            raise KeyboardInterrupt
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Course, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            Recommender(**settings).fit(early, pictured(), checkpoints=tmp_path / "f")
    assert {"stage-encoders", "stage-contents", "stage-rivals"} <= {path.name for path in (tmp_path / "f").iterdir()}
    with pytest.raises(BadOption, match="recommend.dim was 24 and is 25"):
        options = settings["options"] | {"recommend.dim": 25}
        Recommender(**settings | {"options": options}).fit(early, pictured(), checkpoints=tmp_path / "f", resume=True)
    with pytest.raises(BadOption, match="the table's content has changed"):
        Recommender(**settings).fit(early[:-1], pictured(), checkpoints=tmp_path / "f", resume=True)
    again = Recommender(**settings).fit(early, pictured(), checkpoints=tmp_path / "f", resume=True)
    assert again.history_ == whole.history_ and again.shares_ == whole.shares_ and again.valid_ == whole.valid_
    ours, theirs = again.network_.state_dict(), whole.network_.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs) and set(ours) == set(theirs)
    again.save(tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_real_kills_at_random_moments():
    """Three of them; `python bench/kill.py --kind recommender` does it fifty times."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
    try:
        import kill
    finally:
        sys.path.pop(0)
    equal, kills = kill.rounds(3, kind="recommender", say=lambda line: None)
    assert equal == 3 <= kills


def test_towers_are_tuned_and_never_end_below_the_frozen_solution(tiny_towers, tmp_path):  # noqa: F811
    early, late = orders(60)
    tower = f"text.pretrained:{tiny_towers('text')}"
    settings = {"encoders": {"text": tower}, "options": FAST | {"tune.epochs": 2, "tune.rate": 1e-3, "tune.batch": 16}}
    frozen = Recommender(**settings).fit(early, shop())
    made = Recommender(**settings, tune="text").fit(early, shop())
    tuned = made.made_["tuned"]
    assert len(tuned["epochs"]) == 2 and tuned["options"]["batch"] == 16
    assert tuned["frozen"]["loss"] == pytest.approx(1 - max(epoch["valid_ndcg_at_10"] for epoch in frozen.history_))
    better = [epoch for epoch in tuned["epochs"] if epoch["better"]]
    assert (tuned["kept"] == "tuned") == bool(better)
    if not better:  # bit for bit
        assert made.recommend(["u0"]) == frozen.recommend(["u0"])
    made.save(tmp_path / "r")
    again = polysense.load(tmp_path / "r")
    more = [{"item": "n0", "text": "fish number 3"}]
    assert again.recommend(["u0", "u1"], items=more) == made.recommend(["u0", "u1"], items=more)
    with pytest.raises(BadOption, match="no view of the table"):
        Recommender(**settings, tune="txt").fit(early, shop())


def test_killed_while_towers_are_tuned_it_goes_on_to_the_same_bits(tiny_towers, tmp_path, monkeypatch):  # noqa: F811
    early, _ = orders(40)
    options = FAST | {"recommend.epochs": 2, "tune.epochs": 2, "tune.rate": 1e-3, "tune.batch": 16, "train.checkpoint": 0}
    settings = {"encoders": {"text": f"text.pretrained:{tiny_towers('text')}"}, "options": options, "tune": "text"}
    whole = Recommender(**settings).fit(early, shop())
    real, steps = Course.step, []

    def killed(self, *args):
        steps.append(len(self.network.memory))  # there is one while the tower moves
        if sum(steps) > 3:
            raise KeyboardInterrupt
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Course, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            Recommender(**settings).fit(early, shop(), checkpoints=tmp_path / "f")
    assert list((tmp_path / "f").glob("tune-*"))
    again = Recommender(**settings).fit(early, shop(), checkpoints=tmp_path / "f", resume=True)
    same = {key: value for key, value in again.made_["tuned"].items() if key != "cpu_seconds"}
    assert same == {key: value for key, value in whole.made_["tuned"].items() if key != "cpu_seconds"}
    ours, theirs = again.network_.state_dict(), whole.network_.state_dict()
    assert set(ours) == set(theirs) and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_validation_never_leaks_the_future():
    rows = [{"user": "a", "item": f"i{i}", "t": t} for i, t in ((3, 30), (1, 10), (2, 20), (1, 40))]
    rows += [{"user": u, "item": f"i{i}", "t": t} for u, i, t in (("b", 4, "2024-01-02"), ("c", 5, 15), ("c", 6, 35))]
    known = {f"i{i}": i for i in range(9)}
    found = read_interactions(as_records(rows), known, user="user", item="item", time="t")
    assert [mine.tolist() for mine in found.items] == [[1, 2, 3], [4], [5, 6]]  # by time; i1 counts once, at first
    assert any("had taken before" in note for note in found.notes)
    train, right = found.without_last()
    assert [mine.tolist() for mine in train.items] == [[1, 2], [4], [5]]
    assert {u: mine.tolist() for u, mine in right.items()} == {0: [3], 2: [6]}
    train, right = found.before(0.5)  # the median of 10 15 20 30 35 and a date is 25
    assert [mine.tolist() for mine in train.items] == [[1, 2], [], [5]]
    assert {u: mine.tolist() for u, mine in right.items()} == {0: [3], 2: [6]}


FEW = [{"user": u, "item": f"i{i + (u == 'b')}"} for u in "ab" for i in range(3)]


@pytest.mark.parametrize(("taken", "items", "settings", "kind", "said"), [
    ([*FEW, {"user": "a", "item": "x"}, {"user": "c", "item": "y"}], shop(4), {}, BadTable,
     "2 interactions of 8 left out; the first is row 6: it names the item 'x'"),
    (FEW, [*shop(4), {"item": "i1"}], {}, BadTable, "the item 'i1' stands in rows 1 and 4"),
    (FEW, [{"item": "z1", "text": "a"}], {}, BadTable, "6 interactions of 6 left out"),
    ([{"user": u, "item": "i0"} for u in "abc"], shop(4), {}, BadTable, "interactions with 1 item only"),
    ([{"user": u, "item": f"i{k}"} for k, u in enumerate("abc")], shop(4), {}, BadTable, "no user has two interactions"),
    (FEW, [{"item": f"i{k}"} for k in range(4)], {}, BadTable, "no column that describes an item"),
    (FEW, [{"item": None, "text": "a"}], {}, BadTable, "row 0 has no 'item'"),
    (FEW, shop(4), {"user": "customer"}, BadColumn, "no column 'customer'"),
    (FEW, shop(4), {"split": "random"}, BadOption, "split='random' must be 'last' or 'time'"),
    (FEW, shop(4), {"on_bad": "drop"}, BadOption, "would leave items out"),
    (FEW, shop(4), {"options": {"recommend.epoch": 3}}, BadOption, "epochs"),
    (FEW, shop(4), {"options": {"train.epochs": 3}}, BadOption, "write recommend.epochs=3"),
    (FEW, shop(4), {"options": {"train.epoch": 3}}, BadOption, "no option 'train.epoch'"),
    (FEW, shop(4), {"options": {"train.mixup": 0.2}}, BadOption, "train.mixup is about answers"),
    (FEW, shop(4), {"options": {"task.smoothing": 0}}, BadOption, "no option 'task.smoothing'"),
    (FEW, shop(4), {"encoders": {"text": "auto"}}, BadOption, "name an encoder"),
    (FEW, shop(4), {"options": {"recommend.own": 2}}, BadOption, "recommend.own=2"),
    (FEW, shop(4), {"fusion": "mean"}, BadOption, "what is recommended has none"),
    (FEW, shop(4), {"tune": "text"}, BadOption, "which has no network to tune"),
])
def test_faults_are_told_in_a_sentence(taken, items, settings, kind, said):
    with pytest.raises(kind) as error:
        Recommender(**({"encoders": PLAIN} | settings)).fit(taken, items)
    assert said in str(error.value)


def test_ids_are_the_same_however_a_table_holds_them():
    """Whole numbers that came as 7.0 (pandas, where a column has gaps) are 7; other writings are refused, and named."""
    items = [{"item": i, "text": f"{KINDS[i % 4]} {i}"} for i in range(8)]
    for write in (str, int, float):
        rows = [{"user": write(u), "item": write((u + k) % 8)} for u in range(6) for k in range(3)]
        found = read_interactions(as_records(rows), item_numbers(as_records(items), "item"), user="user", item="item")
        assert found.users == [str(u) for u in range(6)] and found.items[5].tolist() == [5, 6, 7]
    for write, named in ((lambda i: f" {i}", "' 0' "), (lambda i: f"{i:03d}", "'000'"), (lambda i: f"{i}.0", "'0.0'")):
        rows = [{"user": "a", "item": write(i)} for i in range(3)]
        with pytest.raises(BadTable) as error:
            read_interactions(as_records(rows), item_numbers(as_records(items), "item"), user="user", item="item")
        assert named.strip() in str(error.value) and "(it has '0'; write ids alike in both tables)" in str(error.value)


def test_numbers_and_dates_in_one_column_of_times_are_told():
    rows = [{"user": "a", "item": f"i{k}", "t": t} for k, t in enumerate((5, "2024-01-01", 9))]
    found = read_interactions(as_records(rows), {f"i{k}": k for k in range(3)}, user="user", item="item", time="t")
    assert found.items[0].tolist() == [0, 2, 1]
    assert found.notes[-1] == "records: column 't' holds 1 date and 2 numbers; numbers are read as seconds since 1970"
    plain = [{**row, "t": k} for k, row in enumerate(rows)]
    assert not read_interactions(as_records(plain), {f"i{k}": k for k in range(3)}, user="user", item="item", time="t").notes


def test_a_catalogue_that_grew_is_told(fitted, capsys):
    more = [{"item": "n0", "text": "fish number 3"}, {"item": "i0", "text": "a song by now"}]
    fitted.verbose = True
    try:
        found = fitted.answers([{"user": "u0"}, {"user": "x"}, {"user": "x"}], items=more, k=60)
    finally:
        fitted.verbose = False
    said = capsys.readouterr().err
    assert "1 new item; 1 known already, left as learned" in said and "1 user without a history here" in said
    assert "n0" in dict(found[0]) and found[1] == found[2]


def test_what_cannot_be_used_is_left_out_aloud_and_single_users_are_served(capsys):
    early, _ = orders(40)
    odd = [{"user": None, "item": "i1"}, {"user": "x", "item": "nothing"}, {"user": "single", "item": "i4"}]
    made = Recommender(encoders=PLAIN, options=FAST | {"recommend.epochs": 1}, verbose=True).fit([*early, *odd], shop())
    said = capsys.readouterr().err
    assert "2 interactions of 243 left out; the first is row 240: it lacks its user" in said
    assert "1 user with a single interaction" in said
    assert len(made.recommend(["single"])[0]) == 10


def test_plain_recommenders_by_hand():
    """Two users take 0 and 1, one 1 and 2: cosine(0, 1) = 2 / sqrt(2 * 3) = .816, (1, 2) = 1 / sqrt(3) = .577, (0, 2) = 0.

    With one user, one item, F = 1, y = 1, reg = 1, alpha = 2: x = (1 + 2) / (1 + 1 + 2) = 3/4 (equation 4 of Hu et al.).
    Content: the mean of (1, 0) and (0, 1) has the product .5 with each.
    """
    histories = [np.array([0, 1]), np.array([0, 1]), np.array([1, 2])]
    taken = matrix(histories, [np.ones(2)] * 3, 3)
    np.testing.assert_allclose(Neighbours().fit(taken).scores([np.array([1])])[0], [0.8165, 0, 0.5774], atol=1e-4)
    np.testing.assert_allclose(Neighbours(shrink=1).fit(taken).scores([np.array([0])])[0], [0, 2 / (6**0.5 + 1), 0], atol=1e-6)
    np.testing.assert_allclose(Popularity().fit(taken).scores(histories[:1])[0], np.log([3, 4, 2]), atol=1e-6)
    als = Factors(factors=1, reg=1.0, alpha=2.0)
    als.y_IF = np.ones((1, 1))
    assert als.scores([np.array([0])])[0, 0] == pytest.approx(0.75)
    np.testing.assert_allclose(Contents(np.eye(2, dtype=np.float32)).scores([np.array([0, 1])])[0], [0.5, 0.5])
    far = Factors(factors=4, rounds=5).fit(taken)
    assert far.scores([np.array([0])])[0].argmax() in (0, 1)


def test_shares_never_end_below_the_best_part():
    rng = np.random.default_rng(0)
    right, open_BI = rng.integers(20, size=200), np.ones((200, 20), bool)
    good = rng.normal(size=(200, 20))
    good[np.arange(200), right] += 1.5
    parts = {"good": standard(good, open_BI[0]), "noise": standard(rng.normal(size=(200, 20)), open_BI[0])}
    shares = choose(parts, right, open_BI)
    assert shares["good"] > 0.7 and sum(shares.values()) == pytest.approx(1)


def test_measures_over_all_items_by_hand():
    """One user of two finds the right item second (1 / log2 3 = .631), the other first: NDCG .815, HR@1 .5, MRR .75."""
    scores = np.array([[0.9, 0.8, 0.1], [0.1, 0.2, 0.3]])
    place = iter((scores, scores))
    found = judge_recommendations(
        [np.array([], int)] * 2, [np.array([1]), np.array([2])], lambda some: {"recommender": next(place), "other": -scores},
        np.ones(3, bool), samples=50,
    )
    values = {name: one["value"] for name, one in found["scores"].items()}
    assert values["ndcg_at_10"] == pytest.approx(0.8155, abs=1e-4) and (values["hit_at_1"], values["mrr"]) == (0.5, 0.75)
    assert values["coverage"] == 1 and found["differences"]["other"]["value"] > 0


def test_the_door(tmp_path):
    from typer.testing import CliRunner

    from polysense.cli import app

    early, late = orders(60)
    for name, rows in (("orders", early), ("later", late), ("shop", shop())):
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    (tmp_path / "who.csv").write_text("user\nu0\nnobody\n")
    (tmp_path / "had.csv").write_text("history\ni0;i4\n\"\"\n")
    run, at = CliRunner().invoke, lambda name: str(tmp_path / name)
    sets = [word for key, value in FAST.items() for word in ("--set", f"{key}={value}")]
    words = ["recommend", at("orders.csv"), "--items", at("shop.csv"), "--encoder", "text=text.plain", *sets, "--out", at("r")]
    done = run(app, words)
    assert done.exit_code == 0, done.output + repr(done.exception)
    done = run(app, ["predict", at("r"), at("who.csv"), "-k", "3"])
    lines = list(csv.reader(done.stdout.splitlines()))
    assert lines[0] == ["row", "user", "item_1", "item_2", "item_3"]
    assert [line[:2] for line in lines[1:]] == [["0", "u0"], ["1", "nobody"]]
    assert run(app, ["predict", at("r"), at("had.csv"), "-k", "2"]).stdout.count("\n") == 3
    done = run(app, ["evaluate", at("r"), at("later.csv"), "--json", at("s.json")])
    assert "new items only: 60 users, 12 items" in done.stdout and "popularity" in done.stdout
    assert json.loads((tmp_path / "s.json").read_text())["new_items"]["scores"]["ndcg_at_10"]["value"] > 0.5
    done = run(app, ["evaluate", at("r"), at("later.csv"), "--items", at("shop.csv"), "--html", at("r.html"), "--lang", "zh"])
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert done.exit_code == 0 and "仅新物品" in page and "fish number" in page and 'class="hit"' in page
    said = run(app, ["show", at("r")]).stdout
    assert "recommends 'item' to 'user'" in said and "view text <- text.plain" in said and "size -> number" in said
    assert "0 bad cells among the items" in said and "made with polysense" in said
    card = (tmp_path / "r" / "README.md").read_text(encoding="utf-8")
    assert "60 users with 48 of 60 items" in card and "content-kNN" in card and "histories of these users" in card
    for word in ("--set", "task.beams=2"), ("--attention", at("a.html")), ("--subtitles", at("s")):
        with pytest.raises(BadOption, match=f"{word[0]} is for models that answer"):
            run(app, ["predict", at("r"), at("who.csv"), *word], catch_exceptions=False)
    with pytest.raises(BadOption, match="say --items TABLE"):
        run(app, ["recommend", at("orders.csv"), "--out", at("x")], catch_exceptions=False)
    assert isinstance(item_numbers(as_records(shop()), "item"), dict)

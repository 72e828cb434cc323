"""regress: by hand, its measures against scikit-learn, its rivals against ridge regression, and through the door."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as theirs
from sklearn.linear_model import Ridge

from polysense import Model, load
from polysense.cli import app
from polysense.data.tables import open_table
from polysense.data.targets import guess_task, strata
from polysense.errors import BadOption, BadTable
from polysense.judge.evaluate import as_text
from polysense.learn import rivals as module
from polysense.learn.family import Gaussian
from polysense.learn.rivals import Rivals
from polysense.metrics import Resamples
from polysense.metrics.numbers import Numbers, p_flipped
from polysense.registry import tasks
from small import PLAIN, QUICK
from test_rivals import SUBSETS, VIEWS, by_hand, columns
from test_rivals import records as rival_records

NAMES = {"mae": theirs.mean_absolute_error, "rmse": theirs.root_mean_squared_error, "r2": theirs.r2_score}
sizes = st.integers(2, 40)


def shop(n: int = 60, seed: int = 0) -> list[dict]:
    """A price that two numbers and a word tell of; some cells are missing."""
    rng = np.random.default_rng(seed)
    size, age, fine = rng.normal(size=n), rng.normal(size=n), rng.random(n) < 0.5
    price = 1000 + 100 * size - 30 * age + 80 * fine + rng.normal(size=n)
    rows = [
        {"size": float(s), "age": float(a), "note": "a fine old piece" if f else "an old broken thing", "price": round(p, 3)}
        for s, a, f, p in zip(size, age, fine, price, strict=True)
    ]
    for i in range(0, n, 7):
        rows[i]["note"] = None
    return rows


def priced(**settings) -> Model:
    settings["options"] = QUICK | {"train.epochs": 6} | settings.get("options", {})
    return Model("price", encoders={"note": "text.plain"}, columns={"note": "text"}, **settings)


@pytest.fixture(scope="module")
def fitted() -> Model:
    return priced().fit(shop(200), valid=shop(80, 1))


# by hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "expected"), [
    ({}, [4.0, 0.25]), ({"error": "mae"}, [2.0, 0.5]), ({"error": "huber", "delta": 1.0}, [1.5, 0.125]),
])
def test_losses_by_hand(options, expected):
    """Targets 1 and 3 are -1 and 1 standardised; answers 1 and 0.5 err by 2 and 0.5: squares 4 and 1/4, Huber 2 - 1/2
    and 1/8. In the target's unit (deviation 1) the yardstick says the same."""
    task = tasks.make("regress", **options)
    task.fit([1.0, 3.0])
    answers = torch.tensor([[1.0], [0.5]])
    loss = task.answer_loss(answers, {"number": torch.tensor([-1.0, 1.0])})
    torch.testing.assert_close(loss, torch.tensor(expected))
    np.testing.assert_allclose(task.yardstick().losses(task.restore(answers.numpy()), np.array([1.0, 3.0])), expected)


def test_prior_and_unit_by_hand():
    """0, 0, 6: mean 2, deviation sqrt 8, median 0; the best constant is the mean for squares, the median otherwise."""
    for error, constant in (("mse", 2.0), ("mae", 0.0), ("huber", 0.0)):
        task = tasks.make("regress", error=error)
        task.fit([0.0, 0.0, 6.0])
        assert task.restore(task.prior())[0] == pytest.approx(constant, abs=1e-6)
        assert task.decode(task.restore(np.array([[1.0]]))) == [pytest.approx(2 + 8**0.5)]


def test_large_numbers_keep_their_digits():
    """Near 1.7e9 single precision steps by 128: answers are given back in double."""
    task = tasks.make("regress")
    task.fit([1.7e9, 1.7e9 + 2])
    assert task.decode(task.restore(np.array([[0.5]], np.float32))) == [1.7e9 + 1.5]
    assert task.judged(["1700000001.25"]).tolist() == [1700000001.25]


def test_mistakes_are_named():
    with pytest.raises(BadOption, match="task.error='l2' must be 'mse', 'mae' or 'huber'"):
        tasks.make("regress", error="l2")
    with pytest.raises(BadOption, match="task.delta=0 must be a number above 0"):
        tasks.make("regress", delta=0)
    with pytest.raises(BadTable, match="the target is 5 in every training record"):
        tasks.make("regress").fit([5.0, 5.0])
    with pytest.raises(BadTable, match="beyond what can be squared; rescale it"):
        tasks.make("regress").fit([-1e300, 1e300])


# measures -------------------------------------------------------------------------------------


@given(sizes.flatmap(lambda n: st.tuples(*[st.lists(st.integers(-50, 50), min_size=n, max_size=n)] * 2)))
def test_measures_are_scikit_learns(pair):
    said, true = (np.array(part, float) for part in pair)
    found = Numbers().judge(said[:, None], true, Resamples(len(true), samples=5)).values
    for name, function in NAMES.items():
        if name == "r2" and np.ptp(true) == 0:
            assert np.isnan(found[name])
        else:
            assert found[name] == pytest.approx(function(true, said), abs=1e-9)


def test_intervals_are_those_of_the_resampled_records():
    """Each draw is the measure of the records as often as they were drawn, also far from zero."""
    rng = np.random.default_rng(0)
    true = 1e7 + rng.normal(size=40)
    said = true + rng.normal(size=40)
    draws = Resamples(40, samples=30, seed=3)
    found = Numbers().judge(said[:, None], true, draws).draws
    counts = draws.sums(np.eye(40))
    for name, function in NAMES.items():
        expected = [function(true, said, sample_weight=weights) for weights in counts]
        np.testing.assert_allclose(found[name], expected, rtol=1e-4)


def test_main_measure_follows_the_loss():
    assert [Numbers(error).main for error in ("mse", "mae", "huber")] == ["rmse", "mae", "mae"]


def test_sign_flips_by_hand():
    """Differences 1, 2 (the model is worse): sums -3, -1, 1, 3: p = 1/8; of the other side 7/8; groups are summed first."""
    assert p_flipped(np.array([1.0, 2.0])) == 1 / 8 and p_flipped(np.array([-1.0, -2.0])) == 7 / 8
    assert p_flipped(np.array([1.0, -3.0, 2.0]), ["a", "a", "b"]) == 0.5
    rng = np.random.default_rng(0)
    for n in (14, 15, 6000):
        worse = rng.normal(size=n)
        z = worse.sum() / np.sqrt((worse**2).sum())
        assert p_flipped(worse) == pytest.approx(float(torch.special.erfc(torch.tensor(z / 2**0.5))) / 2, abs=0.03)


# rivals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [10_000, 0], ids=["kernel", "primal"])
@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize("filled", [False, True])
def test_rivals_are_ridge_regressions(monkeypatch, limit, subset, filled):
    """The lambda that validation prefers, and its answers, to 1 % of the targets' deviation."""
    monkeypatch.setattr(module, "_KERNEL_LIMIT", limit)
    monkeypatch.setattr(module, "subsets_of", lambda views: [subset])
    monkeypatch.setattr(Rivals, "_rank", lambda self, judged, yardstick: VIEWS)
    parts = [rival_records(n, 4, s) for n, s in ((240, 0), (200, 1), (80, 2))]
    noise = np.random.default_rng(5)
    (f, p, y), (fv, pv, yv), (ft, pt, yt) = ((f, p, 50 + 3.0 * y + noise.normal(size=len(y))) for f, p, y in parts)
    ours = Rivals.train(f, p, y, fv, pv, yv, views=VIEWS, classes=1, yardstick=Numbers())
    x, xv, xt = (by_hand(*part, f, p, subset) for part in ((f, p), (fv, pv), (ft, pt)))
    c = columns(subset)
    if filled:
        x, xv, xt = (np.hstack([a, b[:, c]]) for a, b in ((x, p), (xv, pv), (xt, pt)))
    rows = np.ones(len(y), bool) if filled else p[:, c].all(1)
    having, judged = pv[:, c].all(1), pt[:, c].all(1)
    tried = [Ridge(alpha=1 / strength).fit(x[rows], y[rows]) for strength in Gaussian.strengths]
    best = min(tried, key=lambda one: ((one.predict(xv[having]) - yv[having]) ** 2).mean())
    assert 1 / ours.strength(subset, filled=filled) == pytest.approx(best.alpha)
    mine = ours.answer(subset, ft, pt, filled=filled)[judged]
    np.testing.assert_allclose(mine[:, 0], best.predict(xt[judged]), atol=0.01 * y.std())
    nothing = ours.answer(subset, ft, np.zeros_like(pt), filled=filled)
    np.testing.assert_allclose(nothing, np.full((80, 1), y.mean()))
    again = Rivals.load(ours.state())
    np.testing.assert_array_equal(again.answer(subset, ft, pt), ours.answer(subset, ft, pt))


# targets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "task", "said"), [
    ([f"{i}.5" for i in range(30)], "regress", "30 different numbers, such as"),
    ([str(i) for i in range(40)], "regress", "40 different numbers"),
    ([str(i % 25) for i in range(100)], "classify", "if they are amounts say --task regress"),
    ([str(i % 100) for i in range(900)], "classify", "if they are amounts say --task regress"),
    ([str(i % 101) for i in range(900)], "regress", "101 different numbers, such as"),
    ([f"{i % 20}.5" for i in range(100)], "classify", ""),
    ([f"word {i}" for i in range(100)], "classify", ""),
    ([*map(str, range(90)), *["many"] * 10, *map("n{}".format, range(9))], "classify", ""),
])
def test_the_task_is_guessed_with_a_reason(values, task, said):
    guess, line = guess_task("price", values)
    assert guess == task and said in line and bool(said) == bool(line)


def test_tenths_spread_numbers_evenly():
    """Equal numbers stay together; each tenth of the ranks is one stratum."""
    found = strata("numbers", [*range(100), 5])
    assert sorted(set(found)) == list(range(10)) and found[5] == found[-1]
    assert np.bincount(found).min() >= 9


def test_targets_that_are_no_numbers_are_left_out_and_named():
    rows = [{"x": 1, "price": value} for value in ("1.5", "cheap", "", "NA", "inf", "2", "0,5")]
    said = []
    table = open_table(rows, "price", None, said.append, "numbers")
    assert table.targets == [1.5, None, None, None, None, 2.0, None] and table.rows.tolist() == [0, 5]
    assert [(fault["row"], fault["action"]) for fault in table.faults] == [(1, "left out"), (4, "left out"), (6, "left out")]
    assert "0.5" in table.faults[2]["reason"] and "infinite" in table.faults[1]["reason"]
    assert said == ["the records: 2 of 7 records have no target and are left out"] or "2 of 7" in said[0]


def test_too_many_bad_targets_stop():
    rows = shop(40)
    for i in (3, 9):
        rows[i]["price"] = "dear"
    made = priced(task="regress", max_bad=0.05).fit(rows)
    assert {"row": 3, "column": "price", "reason": "'dear' is not a number", "action": "left out"} in (
        made.data_report_["bad_cells"])
    assert made.evaluate(rows, samples=20)["records"] == 38
    for settings, words in (
        ({"max_bad": 0.04}, "row 3: the target 'dear' is not a number, as 1 more of 40 targets"),
        ({"on_bad": "error"}, "row 3: the target 'dear' is not a number; correct the cell"),
    ):
        with pytest.raises(BadTable, match=words):
            priced(task="regress", **settings).fit(rows)


# the model ------------------------------------------------------------------------------------


def test_a_model_of_numbers(fitted):
    assert fitted.task_.name == "regress" and not hasattr(fitted, "classes_")
    unseen = shop(80, 2)
    found = json.loads(json.dumps(fitted.evaluate(unseen, subsets=True, samples=60), allow_nan=False))
    assert set(found["scores"]) == {"mae", "rmse", "r2"} and found["main"] == "rmse" and found["kind"] == "numbers"
    assert found["scores"]["r2"]["value"] > 0.8 > 0.1 > found["baselines"]["majority"]["r2"]["value"]
    assert found["scores"]["rmse"]["value"] < found["baselines"]["best_single"]["rmse"]["value"]
    said, true = fitted.predict(unseen), np.array([row["price"] for row in unseen])
    assert said.dtype == np.float64
    assert found["scores"]["mae"]["value"] == pytest.approx(np.abs(said - true).mean())
    assert fitted.score(unseen) == pytest.approx(found["scores"]["r2"]["value"])
    rows = {tuple(row["present"]): row for row in found["subsets"]}
    both = rows["note", "table"]
    assert both["difference"]["rmse"]["value"] == pytest.approx(
        both["scores"]["rmse"]["value"] - both["specialist"]["rmse"]["value"])
    assert 0 <= both["p"] <= both["p_holm"] <= 1
    worst = found["mistakes"][0]
    assert worst["row"] == int(np.abs(said - true).argmax())
    assert worst["error"] == pytest.approx(worst["prediction"] - worst["truth"])


def test_where_the_regressions_are_right_they_answer_alone(fitted):
    """A line plus little noise: ridge regression is right to the noise, and a tenth of a young network would be ten times off."""
    assert fitted.regressions_.weight == 1.0
    told = [row for row in shop(80, 5) if row["note"]]  # without the note nobody can tell 80 of the price
    assert fitted.evaluate(told, samples=20)["scores"]["rmse"]["value"] < 8


def test_nothing_known_is_answered_by_the_mean(fitted):
    mean = np.mean([row["price"] for row in shop(200)])
    assert fitted.predict([{}])[0] == pytest.approx(mean, abs=1e-3)


def test_probabilities_of_numbers_are_refused(fitted):
    with pytest.raises(BadOption, match="have no probabilities; call predict"):
        fitted.predict_proba(shop(3))


def test_saved_and_loaded_it_answers_alike(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.task == "regress" and (again.predict(shop(20, 3)) == fitted.predict(shop(20, 3))).all()
    card = (tmp_path / "m" / "README.md").read_text()
    assert "a number" in card and "ridge regression" in card and "R²" in card and "accuracy" not in card


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_report_speaks_of_numbers(fitted, lang):
    unseen = shop(260, 4)
    found = fitted.evaluate(unseen, subsets=True, by="note", samples=40)
    page = fitted.report(found, unseen, lang=lang)
    for words in {"en": ("RMSE", "Said and true", "Largest errors", "ridge"), "zh": ("均方根误差", "回答与真值", "岭回归")}[lang]:
        assert words in page
    assert "accuracy" not in page.split("</style>")[1] and "None" not in page and "nan" not in page
    text = as_text(found)
    assert "constant of training" in text and "plain concatenation (ridge)" in text and "highest RMSE" in text
    assert max(map(len, text.splitlines())) <= 110 and "accuracy" not in text


def test_a_notebook_shows_numbers(fitted):
    assert "a number" in fitted._repr_html_() and "ridge" in fitted._repr_html_()
    shown = fitted.answers(shop(3))._repr_html_()
    assert "probability" not in shown and f"{fitted.predict(shop(3))[0]:.6g}" in shown


def test_pictures_and_a_late_fusion():
    from polysense import demo

    rows = demo.made_up(40)
    made = Model(
        "temperature", columns={"label": "category", "wind": "number"}, encoders=PLAIN, fusion="mean", task="regress",
        options=QUICK | {"task.error": "huber", "task.delta": 0.5},
    ).fit(rows)
    assert np.isfinite(made.predict(rows)).all() and made.valid_["main"] == "mae"
    assert made.predict([{}])[0] == pytest.approx(made.task_.median, abs=1e-4)


def polysense(capsys, *arguments: object) -> tuple[str, str]:
    """A command in this process: what it wrote to stdout and to stderr."""
    capsys.readouterr()
    app(list(map(str, arguments)), prog_name="polysense", standalone_mode=False)
    return capsys.readouterr()


def test_through_the_door(tmp_path, capsys):
    """fit guesses the task and says so, predict writes full numbers, evaluate both forms; show names the task."""
    rows = shop(80)
    table, model = tmp_path / "shop.csv", tmp_path / "m"
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    said = polysense(capsys, "fit", table, "--target", "price", "--out", model, "--set", "train.epochs=2",
                     "--columns", "note=text", "--encoder", "note=text.plain")[1]
    assert "task regress: 'price' holds 80 different numbers" in said and "'price', a number: " in said
    lines = list(csv.reader(polysense(capsys, "predict", model, table)[0].splitlines()))
    assert lines[0] == ["row", "prediction"] and len(lines) == 81
    assert [float(line[1]) for line in lines[1:]] == load(model).predict(str(table)).tolist()
    shown = polysense(capsys, "evaluate", model, table, "--subsets", "--json", tmp_path / "e", "--html", tmp_path / "r")[0]
    assert "RMSE by views present" in shown and "Said and true" in (tmp_path / "r").read_text()
    assert json.loads((tmp_path / "e").read_text())["scores"]["rmse"]["low"] is not None
    assert "regress 'price', a number" in polysense(capsys, "show", model)[0]

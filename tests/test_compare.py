"""The table of polysense and its rivals: its measures, its intervals, and the tables it spoils."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from polysense import metrics

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """bench's modules, working below a folder of the test's own."""
    monkeypatch.syspath_prepend(str(BENCH))
    import compare
    import compare_table

    for module in (compare, compare_table):
        monkeypatch.setattr(module, "PLACE", tmp_path / "compare")
    monkeypatch.setattr(compare_table, "DOCS", tmp_path / "docs")
    yield compare, compare_table
    for name in ("compare", "compare_table", "common"):
        sys.modules.pop(name, None)


def test_scores_are_those_of_polysense(bench):
    _, table = bench
    rng = np.random.default_rng(0)
    target_N, answers_NC = rng.integers(0, 4, 50), rng.dirichlet(np.ones(4), 50)
    truth = table.Truth(target_N, list("abcd"), np.ones((1, 50), np.float32))
    mine = truth.scores(answers_NC, truth.weight_RN)
    theirs = metrics.scores(answers_NC, target_N)
    for name in table.MEASURES:
        assert mine[name][0] == pytest.approx(theirs[name]["value"], abs=1e-6), name


def test_doubling_a_record_is_a_weight_of_two(bench):
    _, table = bench
    rng = np.random.default_rng(1)
    target_N, answers_NC = rng.integers(0, 3, 20), rng.dirichlet(np.ones(3), 20)
    weight_N = rng.integers(0, 3, 20)
    rows = np.repeat(np.arange(20), weight_N)
    weighted = table.Truth(target_N, list("abc"), weight_N[None].astype(np.float32))
    repeated = table.Truth(target_N[rows], list("abc"), np.ones((1, len(rows)), np.float32))
    one = weighted.scores(answers_NC, weighted.weight_RN)
    two = repeated.scores(answers_NC[rows], repeated.weight_RN)
    assert all(one[name][0] == pytest.approx(two[name][0], abs=1e-6) for name in one)


def test_a_class_never_seen_and_numbers_that_are_none_count_as_wrong(bench, tmp_path):
    _, table = bench
    (tmp_path / "p.csv").write_text("b,a\n0.9,0.1\nnan,nan\n0.2,0.8\n")
    truth = table.Truth(np.array([1, 0, 2]), list("abc"), np.ones((1, 3), np.float32))
    answers_NC = truth.probabilities(tmp_path / "p.csv")
    assert answers_NC[0].tolist() == [0.1, 0.9, 0.0]  # by name, not by place
    found = truth.scores(answers_NC, truth.weight_RN)
    # right is the first alone; the second's NaN and the third's unseen class cost -log(1e-6) each
    assert found["accuracy"][0] == pytest.approx(1 / 3)
    assert found["log_loss"][0] == pytest.approx((-np.log(0.9) + 2 * -np.log(1e-6)) / 3, rel=1e-5)


def made(bench, root: Path, rows: int = 40) -> None:
    """Tables of a set in the stamps' form, with pictures of 100 bytes."""
    (root / "media").mkdir(parents=True)
    for part in ("train", "valid", "test"):
        with (root / f"{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*bench[0].KINDS["emoji"], "label", "group"])
            for i in range(rows):
                (root / "media" / f"{part}{i}.png").write_bytes(bytes(100))
                writer.writerow([f"media/{part}{i}.png", f"word {i}", "词", "xy"[i % 2], i // 2])


def test_the_spoilt_tables_are_spoilt_in_the_stated_share(bench, tmp_path):
    compare, _ = bench
    made(bench, tmp_path / "data")
    place = compare.prepare("emoji", tmp_path / "data")
    whole, spoilt = compare._read(place / "train.csv"), compare._read(place / "train-corrupt.csv")
    changed = [(a["picture"], b["picture"]) for a, b in zip(whole, spoilt, strict=True) if a != b]
    assert len(changed) == 2  # 5 % of 40: one cut, one path to nowhere
    assert sorted(Path(b).stat().st_size if Path(b).exists() else -1 for _, b in changed) == [-1, 40]
    assert all(Path(a).is_absolute() and Path(a).stat().st_size == 100 for a, _ in changed)
    without = compare._read(place / "test-without-picture.csv")
    assert all(row["picture"] == "" and row["english"] for row in without)


def test_the_page_says_who_is_better_and_who_failed(bench, tmp_path):
    """polysense right on every record, its rival on the first half of each class; 40 records, 20 groups."""
    compare, table = bench
    made(bench, tmp_path / "data")
    place = compare.prepare("emoji", tmp_path / "data")
    truth = compare._read(place / "test.csv")
    for who, right in (("polysense", lambda i: True), ("widedeep", lambda i: i < 20)):
        run = tmp_path / "compare/emoji" / who / "seed0"
        run.mkdir(parents=True)
        for name in ("full", "without-picture", "without-english"):
            said = [row["label"] if right(i) else "yx"[row["label"] == "y"] for i, row in enumerate(truth)]
            lines = [f"{0.9 if one == 'x' else 0.1},{0.9 if one == 'y' else 0.1}" for one in said]
            (run / f"{name}.csv").write_text("\n".join(["x,y", *lines]) + "\n")
        stage = {"cpu": 2.0, "wall": 3.0}
        costs = {"fit": stage, "predict full": stage, "predict without-chinese": {"failed": "ValueError: no text"}}
        (run / "about.json").write_text(json.dumps({"costs": costs, "peak_mb": 5, "latency_cpu_ms": 7}))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/bench.md").write_text(f"# Mine\n\nRead.\n\n{table.BEGIN}\nstale\n{table.END}\n\nKept.\n")
    table.write_pages({"cores": 2, "cpu": "C", "polysense": "1", "torch": "2", "python": "3"})
    page = (tmp_path / "docs/bench.md").read_text()
    assert page.startswith("# Mine\n\nRead.") and page.endswith("Kept.\n") and "stale" not in page
    found = json.loads((tmp_path / "docs/bench.json").read_text())["sets"]["emoji"]["rivals"]
    apart = found["widedeep"]["difference"]["accuracy"]
    # 20 of 40 records lost. Whole groups of two are drawn: the deviation of the share is sqrt(.25 / 20) = .11
    assert apart["value"] == pytest.approx(0.5) and 0.2 < apart["low"] < 0.4 < 0.6 < apart["high"] < 0.8
    assert found["widedeep"]["missing"]["without-chinese"] == {"failed": "ValueError: no text"}
    assert "| fails |" in page and "**+50.0**" in page
    assert found["polysense"]["cost"]["predict_cpu_ms"] == pytest.approx(50)  # 2 s for 40 records

"""The made sets of bench/strengths.py, their verdicts and pages; the damages that bench/damage.py draws."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[1] / "bench"
OURS = ("strengths", "strengths_series", "damage_draw", "common")


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """bench's modules, working below a folder of the test's own."""
    monkeypatch.syspath_prepend(str(BENCH))
    import strengths

    monkeypatch.setattr(strengths, "OUT", tmp_path)
    monkeypatch.setattr(strengths, "FOUND", tmp_path / "strengths.jsonl")
    monkeypatch.setattr(strengths, "DOCS", tmp_path)
    yield strengths
    for name in OURS:
        sys.modules.pop(name, None)


def told(views, label_N, rule):
    return float((rule(views) == label_N).mean())


def test_who_knows_a_set_s_rule_is_right_and_who_sees_one_view_is_not(bench):
    """96 %: the largest of one N(3, 1) and three N(0, 1) is the first one in 95.7 % of draws."""
    rng = np.random.default_rng(0)
    views, label_N = bench.xor(rng, 4000)
    assert told(views, label_N, lambda v: (v["a"][:, 0] > 0) != (v["b"][:, 0] > 0)) > 0.99
    assert abs(told(views, label_N, lambda v: v["a"][:, 0] > 0) - 0.5) < 0.03

    views, label_N = bench.relevant(rng, 4000)
    whole = np.stack([views[name] for name in sorted(views)], 1)
    speaker_N = whole[..., 7].argmin(1)
    assert abs(told(views, label_N, lambda v: whole[np.arange(4000), speaker_N, :4].argmax(1)) - 0.957) < 0.015
    assert told(views, label_N, lambda v: whole[..., :4].sum(1).argmax(1)) < 0.6  # who weighs all alike
    assert abs(np.bincount(speaker_N, minlength=6) - 4000 / 6).max() < 120

    views, label_N = bench.noisy(rng, 4000)
    whole = np.stack([views[name] for name in sorted(views)], 1)
    trusted = np.where(whole[..., 7:] > 1.5, 0, whole[..., :4])
    alike = told(views, label_N, lambda v: whole[..., :4].sum(1).argmax(1))
    assert told(views, label_N, lambda v: trusted.sum(1).argmax(1)) > alike + 0.3

    for draw, one, all_ in ((bench.redundant, 0.7, 0.9), (bench.alike, 0.6, 0.95)):
        views, label_N = draw(rng, 4000)
        assert told(views, label_N, lambda v: v["a"][:, :4].argmax(1)) < one
        assert told(views, label_N, lambda v: sum(v.values())[:, :4].argmax(1)) > all_
    views, label_N = bench.unequal(rng, 4000)
    assert told(views, label_N, lambda v: v["a"].argmax(1)) > 0.75
    assert told(views, label_N, lambda v: v["b"][:, :4].argmax(1)) < 0.3


def test_a_fit_beats_chance_and_is_the_same_again(bench, monkeypatch):
    monkeypatch.setattr(bench, "STEPS", 40)
    made = bench.SETS["relevant"]
    assert bench.fused(made, "attention", 0) == bench.fused(made, "attention", 0) > 0.3
    monkeypatch.setattr(bench, "STEPS", 20)
    assert bench.fused(bench.SETS["unequal"], "convex", 0) > 0.3  # whose weights are fitted out of fold


def test_a_winner_wins_by_its_interval_over_the_best_loser(bench, tmp_path):
    """Differences 2 and 4 points over concat: 3 +- 12.706 * sqrt(2) / sqrt(2); the page says so in both languages."""
    assert bench.paired(np.array([3.0, 5.0]), np.array([1.0, 1.0])) == pytest.approx((3.0, -9.706, 15.706), abs=0.001)
    reached = {
        "gated": (0.82, 0.94), "attention": (0.93, 0.93), "experts": (0.7, 0.71), "concat": (0.8, 0.9), "sum": (0.7, 0.8),
        "mean": (0.6, 0.6),
    }
    with bench.FOUND.open("w") as file:
        for part, values in reached.items():
            for seed, value in enumerate(values):
                one = {"set": "noisy", "part": part, "seed": seed, "accuracy": value, "cpu_seconds": 2.0}
                file.write(json.dumps(one) + "\n")
    rival, found = bench.scores("noisy", (0, 1))
    assert rival == "concat" and [one.part for one in found[:3]] == ["attention", "gated", "concat"]
    by_name = {one.part: one for one in found}
    assert by_name["gated"].apart == pytest.approx((3.0, -9.706, 15.706), abs=0.001) and not by_name["gated"].wins
    assert by_name["concat"].apart is None
    assert bench.scores("noisy", (0, 1, 2)) == ("", [])  # the third seed is still to be run
    bench.SEEDS = (0, 1)
    (tmp_path / "zh").mkdir()
    for page in ("strengths.md", "zh/strengths.md"):
        (tmp_path / page).write_text("before\n\n<!-- written by bench/strengths.py -->\nold\n<!-- up to here -->\n\nafter\n")
    bench.write_pages()
    page = (tmp_path / "strengths.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page
    assert "| `gated` | wins | 88.0 | 82.0–94.0 | +3.0 [-9.7, +15.7] | 2.0 |" in page
    assert "Expected winners above `concat`, the best of the expected losers: 0 of 3." in page
    assert "| `sum` | 输 | 75.0 | 70.0–80.0 | **-10.0** [-10.0, -10.0] | 2.0 |" in (tmp_path / "zh/strengths.md").read_text()


def test_what_was_run_is_not_run_again(bench, monkeypatch):
    asked = []
    monkeypatch.setattr(bench, "accuracy", lambda *one: asked.append(one) or 0.5)
    bench.run(["xor"], ["sum", "film"], (0, 1))
    bench.run(["xor"], ["sum", "film", "mean"], (0, 1))
    assert [part for _, part, _ in asked] == ["sum", "film", "sum", "film", "mean", "mean"]
    assert [seed for *_, seed in asked] == [0, 0, 1, 1, 0, 1]


CODE = '''"""Text with 3 < 4."""

import a  # 1 + 2


def f(x: int | None = 2) -> int | None:
    """1 + 1."""
    if x is not None and not x < 3:
        raise ValueError(f"{x + 1} is {x - 1}" + "3")
    y = "é" * x
    self.z -= -x
    return min(x, 1) if y else 0
'''
DAMAGED = '''
def f(x: int | None = 3) -> int | None:
    if not (x is not None and not x < 3):
    if x is None and not x < 3:
    if x is not None or not x < 3:
    if x is not None and  x < 3:
    if x is not None and not x <= 3:
    if x is not None and not x < 4:
    y = "é" / x
    pass
    self.z -= x
    pass
    return None
    return max(x, 1) if y else 0
    return min(x, 2) if y else 0
    return min(x, 1) if not (y) else 0
    return min(x, 1) if y else 1
'''


def test_a_file_s_damages_by_hand(bench):
    """Comparisons, signs, constants, conditions, statements; no docstring, type, import or error."""
    import damage_draw

    lines, made = CODE.split("\n"), []
    for edit in damage_draw.edits(CODE):
        line = lines[edit.line - 1].encode()
        made.append((line[: edit.start] + edit.text.encode() + line[edit.end :]).decode())
        ast.parse("\n".join([*lines[: edit.line - 1], made[-1], *lines[edit.line :]]))
    assert sorted(made) == sorted(DAMAGED.strip("\n").split("\n"))


def test_lines_are_drawn_among_the_new_ones_by_the_seed_alone(bench, tmp_path, capsys):
    import damage_draw

    home = tmp_path / "home"
    (home / "src/polysense/fusion").mkdir(parents=True)
    (home / "tests").mkdir()
    path = home / "src/polysense/fusion/late.py"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(home)]
    path.write_text("OLD = 1\nTWICE = 5\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    path.write_text("OLD = 1\nTWICE = 5\nNEW = 7\n\n\ndef half(x):\n    return x / 2\n\n\nTWICE = 5\n")
    (home / "tests/test_late.py").write_text("half")
    (home / "tests/test_near.py").write_text("from polysense.fusion.late import half")
    (home / "tests/test_far.py").write_text("text")
    drawn = damage_draw.draw(home, "HEAD", 3, 5)
    assert drawn == damage_draw.draw(home, "HEAD", 3, 5) and "3 of 3 new lines" in capsys.readouterr().out
    assert sorted(one.line for one in drawn) == [3, 7, 10]
    text = path.read_text()
    for one in drawn:
        assert text.count(one.old) == 1
        assert (one.old.split("\n")[-1].strip(), one.new.split("\n")[-1].strip()) == (one.was, one.now)
        assert one.tests == ("late near", "far") and one.was != one.now

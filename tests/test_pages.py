"""What is told of a model, as it is written down: the card, the text of an evaluation, the report in both languages.

The facts were written once, of a fit of three targets (a number, a class, labels) on made-up records, and some by hand; what is
made of them may change on purpose only. Renew it with ``python tests/test_pages.py --renew`` and read the difference.
"""

from __future__ import annotations

import copy
import difflib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polysense.judge.card import card, of_targets
from polysense.judge.evaluate import as_text
from polysense.judge.report import html

HOME = Path(__file__).parent / "golden" / "told"
Told = dict[str, Any]


def told() -> Told:
    """Of three targets: what evaluate gave (evaluation), what the report was given beside it, the top of model.json (facts)."""
    found = json.loads((HOME / "facts.json").read_text(encoding="utf-8"))
    found["facts"]["data"] = found["shown"]["data"]
    return found


def one(target: str) -> Told:
    """The same as if this target were the only one."""
    found = told()
    shown, made = found["shown"], found["shown"]["made"]
    made |= {"mixture": {"": made["mixture"][target]}, "answers": {"": made["answers"][target]}}
    facts = next(facts for facts in of_targets(found["facts"]) if facts["recipe"]["target"] == target)
    del facts["targets"]
    facts["data"] = {key: value for key, value in facts["data"].items() if key != "lacking"}
    return {
        "evaluation": found["evaluation"]["targets"][target], "facts": facts,
        "shown": shown | {"mistakes": shown["mistakes"][target], "data": facts["data"]},
    }


def grown() -> Told:
    """Of one target with all that a card may say: towers, one of them tuned, three models of folds, groups, bad cells."""
    found = one("kind")
    facts, evaluation = found["facts"], found["evaluation"]
    tower = {"name": "minilm", "source": "some|where/minilm", "version": "1.0", "licence": None, "sha256": "ab" * 32}
    facts["towers"] = {"note": tower}
    facts["recipe"]["group"] = "who"
    facts["made"] |= {
        "several": {"kind": "folds", "count": 3, "spread": {"accuracy": {"mean": 0.91234, "deviation": 0.0213}}},
        "tuned": {"kept": "tuned", "views": ["note"], "options": {"lora": 4}, "frozen": {"loss": 0.5}, "tuned": {"loss": 0.41}},
        "quality": "balanced",
    }
    facts["valid"] |= {"groups": 7}
    facts["valid"]["scores"]["ece"]["value"] = 0.31
    bad = {"row": 4, "column": "note", "reason": "no UTF-8", "action": "masked"}
    facts["data"] |= {
        "bad_cells": [bad], "identical_in_train_and_valid": {"note": 2}, "absent": {"note": 60, "table": 1}, "without_target": 1,
        "languages": {"note": ["en", "zh"]}, "notes": ["one *note*"],
    }
    facts["counts"] = [4, *facts["counts"][1:]]
    found["shown"]["data"] = facts["data"]
    found["shown"]["made"]["parts"][0] |= {"tower": tower, "regime": "tuned"}
    evaluation |= {"groups": 12, "unseen": {"huge": 2}, "bad_cells": [bad]}
    for number, row in enumerate(evaluation["subsets"]):  # the note is few, the table behind, everything ahead
        row |= {"too_few": number == 0, "p_holm": (None, 0.01, 0.8)[number]}
        for key, apart in (("difference", 0.05 * (number - 1.5)), ("difference_filled", 0.07 * (number - 1.2))):
            row[key] = {name: {"value": apart, "low": apart - 0.021, "high": apart + 0.013} for name in row[key]}
    for row in evaluation["by"]["values"]:
        row["too_few"] = False
    return found


def page(found: Told, lang: str) -> str:
    """The report below its style, a line for each element that is a line to the eye."""
    text = html(found["evaluation"], **found["shown"], lang=lang).partition("</style>")[2]
    for tag in ("tr", "section", "h3", "p", "div", "line", "circle", "polyline", "text", "dt"):
        text = text.replace(f"<{tag} ", f"\n<{tag} ").replace(f"<{tag}>", f"\n<{tag}>")
    return text


WRITTEN: dict[str, Callable[[], str]] = {
    "three.md": lambda: card(told()["facts"], "things"),
    "price.md": lambda: card(one("price")["facts"], "things"),
    "grown.md": lambda: card(grown()["facts"], "a thing"),
    "three.txt": lambda: as_text(told()["evaluation"]),
    "grown.txt": lambda: as_text(grown()["evaluation"]),
    "three.html": lambda: page(told(), "en"),
    "grown.html": lambda: page(grown(), "zh"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_told_is_what_was_written_down(name):
    was, now = ((HOME / name).read_text(encoding="utf-8"), WRITTEN[name]())
    apart = [line[:300] for line in difflib.unified_diff(was.split("\n"), now.split("\n"), lineterm="", n=0)]
    assert not apart, "\n".join(apart[:20])


def renew() -> None:
    """Write all anew."""
    for name, made in WRITTEN.items():
        (HOME / name).write_text(made(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--renew"]:
        sys.exit("usage: python tests/test_pages.py --renew")
    renew()

"""How a measure is written in the report: in percent, in points, or in the target's unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..metrics import LOWER_IS_BETTER, SHARES, UNITS
from .draw import Axis
from .words import Words

Score = Mapping[str, float | None]


class Main:
    """The measure by which an evaluation compares: its words, its figures, its axes.

    Args:
        say: words of the report.
        evaluation: names the measure (``main``) and the kind of answers.

    >>> one = Main(Words("en"), {"main": "rmse", "kind": "numbers"})
    >>> one.value({"value": 53.717, "low": 1, "high": 2}), one.apart({"value": -0.4112, "low": 0, "high": 0})
    ('53.72', '−0.411')
    """

    def __init__(self, say: Words, evaluation: Mapping[str, Any]) -> None:
        self.say, self.kind = say, evaluation.get("kind", "classes")
        self.name = evaluation.get("main", "accuracy")
        self.share, self.lower = self.name in SHARES, self.name in LOWER_IS_BETTER
        self.word = say(self.name)

    def __call__(self, key: str, **values: Any) -> str:
        """Words about the measure; accuracy has sentences of its own, other measures are named in theirs."""
        if self.name == "accuracy":
            return self.say(key, **values)
        own = f"{key}_{self.kind}"
        return self.say(own if own in self.say else f"{key}_other", measure=self.word, **values)

    def of_kind(self, key: str, **values: Any) -> str:
        """Words that depend on the kind of answer, where there are such."""
        own = f"{key}_{self.kind}"
        return self.say(own if own in self.say else key, **values)

    def of(self, scores: Mapping[str, Score]) -> Score:
        """Its score among others."""
        return scores[self.name]

    def value(self, score: Score) -> str:
        """The value with its unit."""
        return percent(self.say, score) if self.share else plain(score, self.name)

    def range(self, score: Score) -> str:
        """The interval."""
        return range_of(score, self.name)

    def apart(self, score: Score) -> str:
        """A difference, shares in points, with a true minus sign."""
        return "–" if score["value"] is None else self._signed(score["value"])

    def apart_range(self, score: Score) -> str:
        """The interval of a difference."""
        if score["low"] is None:
            return ""
        return f'<span class="spread">[{self._signed(score["low"])}, {self._signed(score["high"])}]</span>'

    def both(self, score: Score) -> str:
        """A difference with its interval."""
        return f"{self.apart(score)} {self.apart_range(score)}"

    def _signed(self, value: float) -> str:
        return (f"{100 * value:+.1f}" if self.share else f"{value:+.3g}").replace("-", "−")

    def gain(self, score: Score) -> Score:
        """A difference turned so that more is better."""
        if not self.lower or score["value"] is None:
            return score
        return {"value": -score["value"], "low": -score["high"], "high": -score["low"]}

    def worth(self, scores: Mapping[str, Score]) -> float:
        """For sorting: the better, the more."""
        value = scores[self.name]["value"]
        return float("-inf") if value is None else -value if self.lower else value

    def axis(self, scores: Iterable[Score], line: float | None = None) -> Axis:
        """An axis that holds these scores."""
        return Axis.shares(scores, line) if self.share else Axis.numbers(scores, line)

    def apart_axis(self, scores: Iterable[Score]) -> Axis:
        """An axis that holds these differences."""
        return Axis.differences(scores, percent=self.share)


def percent(say: Words, score: Score) -> str:
    """A share in percent."""
    return "–" if score["value"] is None else say("percent", value=f"{100 * score['value']:.1f}")


def plain(score: Score, name: str = "") -> str:
    """Three places, four figures of what has a unit."""
    return "–" if score["value"] is None else _number(score["value"], name)


def figure(say: Words, name: str, score: Score) -> str:
    """Accuracy in percent, the others plain."""
    return percent(say, score) if name == "accuracy" else plain(score, name)


def range_of(score: Score, name: str = "accuracy") -> str:
    """An interval; of accuracy in percent."""
    if score["low"] is None:
        return ""
    ends = (score["low"], score["high"])
    low, high = (f"{100 * end:.1f}" if name == "accuracy" else _number(end, name) for end in ends)
    return f'<span class="spread">[{low}, {high}]</span>'


def _number(value: float, name: str) -> str:
    return f"{value:.4g}" if name in UNITS else f"{value:.3f}"

"""Plots of the report as SVG written here.

Strips (a mark with its interval in each row of a table) place things in percent, so they fit any width without
scaling their text; charts have a fixed shape and scale as a whole. Every mark has a shape of its own beside its
colour, which is of Okabe and Ito's palette.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

Score = Mapping[str, float | None]

MARKS = {
    "model": '<circle class="model" r="4.6"/>',
    "rival": '<path class="rival" d="M0-5 5 0 0 5-5 0Z"/>',
}


class Axis:
    """A horizontal axis whose places are percent of its width.

    Args:
        low, high: what must fit.
        within: bounds that the axis never passes.
        signed: ticks carry their sign, zero has a line of its own.
        line: a value marked by a line of its own.
        percent: numbers are shares, shown in percent.
    """

    def __init__(
        self, low: float, high: float, *, within: tuple[float, float] | None = None, signed: bool = False,
        line: float | None = None, percent: bool = True,
    ) -> None:
        self.times = 100 if percent else 1
        least, most = within or (-math.inf, math.inf)
        self.ticks = [tick for tick in ticks(low, high, 7 if signed else 5) if least - 1e-9 <= tick <= most + 1e-9]
        if len(self.ticks) < 2:
            self.ticks = [max(least, low - 0.1), min(most, high + 0.1)]
        self.low, self.high = self.ticks[0], self.ticks[-1]
        self.signed, self.line = signed, 0.0 if signed else line

    @classmethod
    def shares(cls, scores: Iterable[Score], line: float | None = None) -> Axis:
        """Of scores from 0 to 1."""
        known = [value for score in scores for value in score.values() if value is not None]
        return cls(min(known, default=0.0), max(known, default=1.0), within=(0.0, 1.0), line=line)

    @classmethod
    def numbers(cls, scores: Iterable[Score], line: float | None = None) -> Axis:
        """Of scores in a unit."""
        known = [value for score in scores for value in score.values() if value is not None]
        return cls(min(known, default=0.0), max(known, default=1.0), line=line, percent=False)

    @classmethod
    def differences(cls, scores: Iterable[Score], percent: bool = True) -> Axis:
        """Of differences, zero among them."""
        known = [value for score in scores for value in score.values() if value is not None]
        least = 0.01 if percent else 1e-9
        return cls(min(0.0, *known, -least), max(0.0, *known, least), signed=True, percent=percent)

    def at(self, value: float) -> float:
        """Percent; what lies outside (rows that are not counted) is put on the edge."""
        return 2 + 96 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def grid(self) -> str:
        """Lines at the ticks."""
        places = [("grid", tick) for tick in self.ticks]
        if self.line is not None:
            places.append(("line", self.line))
        return "".join(
            f'<line class="{kind}" x1="{self.at(t):.2f}%" x2="{self.at(t):.2f}%" y1="0" y2="100%"/>' for kind, t in places
        )

    def labels(self, title: str) -> str:
        """Numbers below the ticks, and what they are, with the unit."""
        def number(tick: float) -> str:
            text = f"{self.times * tick:+g}" if self.signed and abs(tick) > 1e-9 else f"{self.times * tick:g}"
            return text.replace("-", "−")

        texts = "".join(
            f'<text x="{self.at(t):.2f}%" y="13" text-anchor="middle">{number(round(t, 6))}</text>' for t in self.ticks
        )
        return (f'<svg class="strip axis" height="32" aria-hidden="true">{texts}'
                f'<text x="50%" y="28" text-anchor="middle">{escape(title)}</text></svg>')


def strip(axis: Axis, marks: Sequence[tuple[str, str, Score]]) -> str:
    """Marks with intervals on one axis, one under the other.

    Args:
        marks: (kind, what it is in words, score).
    """
    height = 26 if len(marks) == 1 else 30
    drawn, said = [axis.grid()], []
    for i, (kind, words, score) in enumerate(marks):
        if score["value"] is None:
            continue
        y = height * (i + 1) / (len(marks) + 1) + (0 if len(marks) == 1 else (-1, 1)[i])
        drawn.append(
            f'<line class="{kind} spread" x1="{axis.at(score["low"]):.2f}%" x2="{axis.at(score["high"]):.2f}%" '
            f'y1="{y:g}" y2="{y:g}"/>'
        )
        drawn.append(f'<svg x="{axis.at(score["value"]):.2f}%" y="{y:g}" overflow="visible">{MARKS[kind]}</svg>')
        value, low, high = (axis.times * score[key] for key in ("value", "low", "high"))
        form = ".1f" if axis.times == 100 else ".4g"
        said.append(f"{words} {value:{form}} [{low:{form}}, {high:{form}}]")
    label = escape("; ".join(said))
    return f'<svg class="strip" height="{height}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def legend(kind: str) -> str:
    """A mark by itself."""
    return f'<svg width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">{MARKS[kind]}</svg>'


def dots(present: Sequence[bool], name: str, step: int = 22) -> str:
    """A row of a subset matrix: filled dots for what is present, joined by a line."""
    places = [step * i + step / 2 for i in range(len(present))]
    filled = [x for x, there in zip(places, present, strict=True) if there]
    joined = f'<line class="joint" x1="{filled[0]:g}" x2="{filled[-1]:g}" y1="15" y2="15"/>' if len(filled) > 1 else ""
    absent = "".join(
        f'<circle cx="{x:g}" cy="15" r="2.4" class="out"/>' for x, there in zip(places, present, strict=True) if not there
    )
    circles = "".join(f'<circle cx="{x:g}" cy="15" r="5.5" class="in"/>' for x in filled)
    width = step * len(present)
    return (f'<svg class="dots" width="{width}" height="30" viewBox="0 0 {width} 30" role="img" aria-label="{escape(name)}">'
            f"{absent}{joined}{circles}</svg>")


def share_bar(share: float) -> str:
    """A small bar of a share from 0 to 1."""
    width = 60 * min(1.0, max(0.0, share))
    return ('<svg class="bar" width="60" height="9" viewBox="0 0 60 9" aria-hidden="true"><rect class="track" width="60" '
            f'height="9" rx="2"/><rect class="full" width="{width:.1f}" height="9" rx="2"/></svg>')


class Chart:
    """A plot with two axes, 420 wide; add to it, then ask for ``svg``.

    Args:
        x, y: what the axes show, with their units.
        x_ticks, y_ticks: rising numbers; the first and last are the axis' ends.
        percent: whether x and y are shares, shown in percent.
        height: of the whole picture.
        ends: of the x axis, where they are not its first and last tick.
    """

    LEFT, RIGHT, TOP = 58, 408, 12

    def __init__(
        self, x: str, y: str, x_ticks: Sequence[float], y_ticks: Sequence[float], *,
        percent: tuple[bool, bool] = (False, False), height: int = 248, ends: tuple[float, float] | None = None,
    ) -> None:
        self.x_ends, self.y_ends, self.height = ends or (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1]), height
        self.bottom = height - 44
        across, up = (100 if share else 1 for share in percent)
        self.parts: list[str] = []
        for tick in y_ticks:
            at = self.at(self.x_ends[0], tick)[1]
            self.parts.append(f'<line class="grid" x1="{self.LEFT}" x2="{self.RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
            self.parts.append(f'<text x="{self.LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{round(up * tick, 9):g}</text>')
        for tick in x_ticks:
            at = self.at(tick, y_ticks[0])[0]
            self.parts.append(
                f'<text x="{at:.1f}" y="{self.bottom + 17}" text-anchor="middle">{round(across * tick, 9):g}</text>'
            )
        middle = (self.LEFT + self.RIGHT) / 2
        self.parts.append(f'<text x="{middle:g}" y="{height - 8}" text-anchor="middle">{escape(x)}</text>')
        tall = (self.TOP + self.bottom) / 2
        self.parts.append(f'<text transform="translate(13 {tall:g}) rotate(-90)" text-anchor="middle">{escape(y)}</text>')

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Place of a point in the picture."""
        (x0, x1), (y0, y1) = self.x_ends, self.y_ends
        return (
            self.LEFT + (self.RIGHT - self.LEFT) * (x - x0) / ((x1 - x0) or 1),
            self.bottom - (self.bottom - self.TOP) * (y - y0) / ((y1 - y0) or 1),
        )

    def curve(self, kind: str, points: Sequence[tuple[float, float]]) -> None:
        """A line through points; a single point is a dot."""
        places = [self.at(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        self.parts.append(f'<polyline class="{kind}" points="{path}"/>')
        if len(points) == 1:
            self.dot(kind, *points[0])

    def dot(self, kind: str, x: float, y: float, low: float | None = None, high: float | None = None) -> None:
        """A mark, with its interval where there is one."""
        across, up = self.at(x, y)
        if low is not None and high is not None:
            ends = self.at(x, low)[1], self.at(x, high)[1]
            self.parts.append(
                f'<line class="{kind} spread" x1="{across:.1f}" x2="{across:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}"/>'
            )
        self.parts.append(f'<g transform="translate({across:.1f} {up:.1f})">{MARKS[kind]}</g>')

    def bar(self, low: float, high: float, y: float, words: str) -> None:
        """A bar from the lower edge."""
        (x0, top), (x1, bottom) = self.at(low, y), self.at(high, self.y_ends[0])
        self.parts.append(
            f'<rect class="full" x="{x0 + 1:.1f}" y="{top:.1f}" width="{x1 - x0 - 2:.1f}" height="{bottom - top:.1f}">'
            f"<title>{escape(words)}</title></rect>"
        )

    def svg(self, label: str) -> str:
        """The picture, with a label for those who cannot see it."""
        return (f'<svg class="curve" viewBox="0 0 420 {self.height}" role="img" aria-label="{escape(label)}">'
                f'{"".join(self.parts)}</svg>')


def key(kind: str, name: str) -> str:
    """A line of a chart by itself, with its name."""
    return (f'<span><svg width="26" height="10" aria-hidden="true"><line class="{kind}" x1="1" x2="25" y1="5" y2="5"/></svg> '
            f"{escape(name)}</span>")


def heard(image: str, seconds: float, heights: Mapping[int, float], label: str, units: tuple[str, str]) -> str:
    """A spectrogram with its axes.

    Args:
        image: data URI.
        heights: {Hz: place from 0 below to 1 above}.
        label: for those who cannot see it; HTML already.
        units: of time and of frequency.
    """
    left, right, top, bottom = 42, 254, 6, 90
    parts = [
        f'<image href="{image}" x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" '
        'preserveAspectRatio="none"/>'
    ]
    for hz, share in heights.items():
        y = bottom - (bottom - top) * share
        parts.append(f'<line class="axis" x1="{left - 4}" x2="{left}" y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{hz}</text>')
    for tick in ticks(0, seconds, 4):
        if tick <= seconds + 1e-9:
            x = left + (right - left) * tick / seconds
            unit = f" {units[0]}" if not tick else ""
            parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
                         f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}{unit}</text>')
    parts.append(f'<text x="{left - 6}" y="{top + 7}" text-anchor="end">{units[1]}</text>')
    return (f'<svg class="heard" viewBox="0 0 262 110" role="img" aria-label="{label}">{"".join(parts)}</svg>')


def lines(named: Mapping[str, Sequence[float | None]], at: Sequence[float], label: str, unit: str) -> str:
    """Channels of a series under each other, each on a scale of its own, which its two numbers name; gaps stay open.

    Args:
        named: {channel: its points}.
        at: when, rising.
        label: for those who cannot see it; HTML already.
        unit: of the time.
    """
    left, right, tall = 74, 254, 30
    low, high = at[0], at[-1]
    parts, bottom = [], 4
    for name, points in named.items():
        known = [y for y in points if y is not None]
        least, most = min(known, default=0.0), max(known, default=0.0)
        top, bottom = bottom, bottom + tall
        run: list[str] = []
        for x, y in [*zip(at, points, strict=True), (high, None)]:
            if y is not None:
                across = left + (right - left) * (x - low) / ((high - low) or 1)
                run.append(f"{across:.1f},{bottom - 4 - (tall - 8) * ((y - least) / ((most - least) or 1)):.1f}")
            elif run:
                run = [run[0], run[0]] if len(run) == 1 else run  # a sample by itself is a dot
                parts.append(f'<polyline class="model" points="{" ".join(run)}" stroke-linecap="round"/>')
                run = []
        short = name if len(name) <= 8 else name[:7] + "…"
        parts.append(f'<text x="0" y="{top + 19}">{escape(short)}</text>'
                     f'<text x="{left - 4}" y="{top + 11}" text-anchor="end">{most:.3g}</text>'
                     f'<text x="{left - 4}" y="{bottom - 2}" text-anchor="end">{least:.3g}</text>')
    parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom + 1}" y2="{bottom + 1}"/>'
                 f'<text x="{left}" y="{bottom + 14}">{low:.4g}</text>'
                 f'<text x="{right}" y="{bottom + 14}" text-anchor="end">{high:.4g} {unit}</text>')
    return f'<svg class="heard" viewBox="0 0 262 {bottom + 18}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Round numbers from just below ``low`` to just above ``high``.

    >>> ticks(0.13, 0.91, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = (high - low) or abs(high) or 1.0
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def finite(points: Iterable[tuple[Any, Any]]) -> list[tuple[float, float]]:
    """Points that can be drawn."""
    return [(float(x), float(y)) for x, y in points if y is not None and math.isfinite(y)]

"""A backtest as a picture: one panel a rollout, its evidence over time, and what was done beside what would have been.

Plain SVG with generic fonts and no script, legible on light and dark grounds, so that it
can stand in a pull request.  Evidence is drawn on a logarithmic scale: it multiplies.
What anything means was said before; here are only shapes, and the words on them.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from gitops_serving.core.fields import format_duration
from gitops_serving.core.ledger import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from gitops_serving.core.backtest import Compared

WIDTH, LEFT, RIGHT = 960, 56, 150
PLOT, STRIP, FOOT, GAP = 190, 18, 26, 24
MARKS = 40  # above the curves: what was done, and what would have been
LEAST = 0.05  # evidence below it is drawn there: how little it is does not matter any more
TICKS = tuple(timedelta(seconds=s) for s in (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400))
MOST_TICKS = 9
LINE = 14  # pixels between two labels
MARK = 230  # pixels that the words at a mark may take
BECAUSE = 138  # characters that fit on a line
STYLE = """
text { font: 12px ui-sans-serif, system-ui, sans-serif; fill: #24292f }
.ground { fill: #ffffff } .title { font-size: 17px; font-weight: 600 } .name { font-size: 13px; font-weight: 600 }
.quiet { fill: #57606a } .small { font-size: 11px } .end { text-anchor: end } .middle { text-anchor: middle }
.frame { fill: none; stroke: #d0d7de } .grid { stroke: #d8dee4; stroke-width: 1 }
.weight { fill: #0969da; fill-opacity: 0.09 } .then { fill: #0969da; fill-opacity: 0.16 }
.now { fill: #8250df; fill-opacity: 0.2 } .bound { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 6 4 }
.proof { fill: #cf222e } .line { fill: none; stroke-width: 1.4; stroke-opacity: 0.9 }
.total { fill: none; stroke: #24292f; stroke-width: 2.6; stroke-linejoin: round }
.was { stroke: #57606a; stroke-width: 2 } .would { stroke: #8250df; stroke-width: 2 }
.wastext { fill: #57606a; font-weight: 600 } .wouldtext { fill: #8250df; font-weight: 600 } .wrong { fill: #cf222e }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .ground { fill: #0d1117 } .quiet { fill: #9198a1 } .frame { stroke: #3d444d }
.grid { stroke: #2a3038 } .weight { fill: #4493f8; fill-opacity: 0.13 } .then { fill: #4493f8; fill-opacity: 0.26 }
.now { fill: #ab7df8; fill-opacity: 0.3 } .bound { stroke: #f85149 } .proof, .wrong { fill: #f85149 }
.total { stroke: #e6edf3 } .was { stroke: #9198a1 } .wastext { fill: #9198a1 }
.would { stroke: #ab7df8 } .wouldtext { fill: #ab7df8 }
}
""".strip()
COLOURS = ("#1f83c4", "#d98300", "#14a06f", "#c9659b", "#b8860b", "#3aa6b9")  # told apart by the colour-blind too


@dataclass(frozen=True, slots=True)
class Area:
    """Where a panel's curves are drawn."""

    top: float
    seconds: float  # from left to right
    most: float  # evidence at the top

    def x(self, seconds: float) -> float:
        """Place an instant, in seconds since the rollout's start."""
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(seconds / self.seconds, 0.0), 1.0)

    def y(self, evidence: float) -> float:
        """Place an amount of evidence."""
        low, high = math.log(LEAST), math.log(self.most)
        share = (math.log(min(max(evidence, LEAST), self.most)) - low) / (high - low)
        return self.top + PLOT * (1 - share)

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.top + PLOT


def picture(compared: Sequence[Compared], sentence: str) -> str:
    """Draw all rollouts below each other, oldest first."""
    parts, top = [], 64.0
    for each in compared:
        drawn, height = _panel(each, top)
        parts += drawn
        top += height + GAP
    title, size = f"{sentence[:1].upper()}{sentence[1:]}.", f'width="{WIDTH}" height="{top:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" {size} role="img">',
            f"<title>{_safe(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="ground" {size}/>',
            _text(24, 36, title, "title"),
            *parts,
            "</svg>",
            "",
        ]
    )


def _panel(each: Compared, top: float) -> tuple[list[str], float]:
    """Draw one rollout; returns what was drawn, and how high it is."""
    journey, replayed = each.journey, each.replayed
    name = f"{journey.service} {journey.revision}"
    lines = textwrap.wrap(one_line(replayed.because), BECAUSE, max_lines=2, placeholder=" …")
    head = 24 + 16 * len(lines)
    started = f"{journey.started:%Y-%m-%d %H:%M} UTC, {journey.environment}"
    heading = [
        _text(24, top + 14, name, "name"),
        _text(WIDTH - 24, top + 14, started, "quiet small end"),
        *(_text(24, top + 34 + 16 * row, line, "wrong" if each.bad else "quiet") for row, line in enumerate(lines)),
    ]
    if not replayed.curve:
        return heading, head
    ends = [at for at in (journey.decided, replayed.at, replayed.curve[-1].at) if at is not None]
    seconds = max((max(ends) - journey.started).total_seconds(), 1.0)
    most = max(value for point in replayed.curve for value in (point.total, *dict(point.by).values()))
    area = Area(top + head + MARKS, seconds, min(max(most * 1.3, replayed.bound * 2.5), replayed.bound * 1000))
    drawn = [*heading, *_weights(each, area), *_axes(replayed.bound, area), *_curves(each, area), *_marks(each, area)]
    return [*drawn, *_strips(each, area)], head + MARKS + PLOT + 2 * STRIP + 8 + FOOT


def _weights(each: Compared, area: Area) -> Iterator[str]:
    """Shade the weights that there were, the higher, the more traffic; the strip below has their numbers."""
    for weight, begin, end in _spans([(g.weight, g.at) for g in each.journey.given], each, area):
        height = PLOT * weight / 100
        yield _rect("weight", area.x(begin), area.bottom - height, area.x(end) - area.x(begin), height)


def _axes(bound: float, area: Area) -> Iterator[str]:
    """Draw the scales, and the bound."""
    right = WIDTH - RIGHT
    yield _text(24, area.top - 6, "evidence", "quiet small")
    for power in range(-1, math.ceil(math.log10(area.most)) + 1):
        value = 10.0**power
        if LEAST <= value <= area.most:
            yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{area.y(value):.1f}" y2="{area.y(value):.1f}"/>'
            yield _text(LEFT - 8, area.y(value) + 4, f"{value:g}", "quiet small end")
    every = next((tick for tick in TICKS if area.seconds / tick.total_seconds() <= MOST_TICKS), TICKS[-1])
    for number in range(int(area.seconds / every.total_seconds()) + 1):
        x = area.x(number * every.total_seconds())
        foot = area.bottom + 2 * STRIP + 8
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{area.bottom}" y2="{foot:.1f}"/>'
        yield _text(x, foot + 15, format_duration(every * number), "quiet small middle")
    yield f'<rect class="frame" x="{LEFT}" y="{area.top}" width="{right - LEFT}" height="{PLOT}"/>'
    yield f'<line class="bound" x1="{LEFT}" x2="{right}" y1="{area.y(bound):.1f}" y2="{area.y(bound):.1f}"/>'


def _curves(each: Compared, area: Area) -> Iterator[str]:
    """Draw the evidence of each metric and of all together, with their names where they end."""
    curve, start = each.replayed.curve, each.journey.started
    names = [name for name, _ in curve[-1].by]
    labels = [(area.y(each.replayed.bound), f"{each.replayed.bound:.4g}: proof", "proof small", "")]
    at = [(point.at - start).total_seconds() for point in curve]
    for number, name in enumerate(names):
        colour, values = COLOURS[number % len(COLOURS)], [point.by[number][1] for point in curve]
        yield f'<path class="line" style="stroke: {colour}" d="{_path(at, values, area)}"/>'
        labels.append((area.y(values[-1]), f"{name} {_short(values[-1])}", "small", f"fill: {colour}"))
    totals = [point.total for point in curve]
    yield f'<path class="total" d="{_path(at, totals, area)}"/>'
    labels.append((area.y(totals[-1]), f"all together {_short(totals[-1])}", "small name", ""))
    for y, words, classes, style in _apart(labels, area):
        yield _text(WIDTH - RIGHT + 10, y + 4, words, classes, style)


def _path(at: Sequence[float], values: Sequence[float], area: Area) -> str:
    """Join the points of a curve; of those in one column of pixels, the last."""
    columns = {round(area.x(t)): (area.x(t), area.y(value)) for t, value in zip(at, values, strict=True)}
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in columns.values())


def _apart(labels: list[tuple[float, str, str, str]], area: Area) -> list[tuple[float, str, str, str]]:
    """Move labels apart, so that none covers another, and none leaves the panel below."""
    placed: list[tuple[float, str, str, str]] = []
    for y, *rest in sorted(labels):
        placed.append((max(y, placed[-1][0] + LINE if placed else area.top), rest[0], rest[1], rest[2]))
    floor = area.bottom
    for number in range(len(placed) - 1, -1, -1):
        y, *rest = placed[number]
        floor = min(y, floor)
        placed[number] = (floor, rest[0], rest[1], rest[2])
        floor -= LINE
    return placed


def _marks(each: Compared, area: Area) -> Iterator[str]:
    """Mark what was done, and what would have been, with words."""
    journey, replayed = each.journey, each.replayed
    marks = []
    if journey.decided is not None:
        marks.append((journey.decided, f"was {journey.end.value}", "was", 6))
    if replayed.at is not None:
        badly = ", wrongly" if each.wrongly else ", missed" if each.missed else ""
        marks.append((replayed.at, f"would have {replayed.would.value}{badly}", "would", 22))
    else:
        marks.append((replayed.curve[-1].at, replayed.would.value, "would", 22))
    later = journey.decided is not None and replayed.at is not None and replayed.at > journey.decided
    for at, words, kind, above in marks:
        x = area.x((at - journey.started).total_seconds())
        top, foot = area.top - above, area.bottom + 2 * STRIP + 8
        late = (
            x > WIDTH - MARK if kind == "would" else later
        )  # the line of the one must not cross the words of the other
        yield f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 10:.1f}" y2="{foot:.1f}"/>'
        yield _text(x - 7 if late else x + 7, top, words, f"{kind}text{' end' if late else ''}")


def _strips(each: Compared, area: Area) -> Iterator[str]:
    """Write below the curves which weights there were, and which the policy would have given."""
    journey, replayed = each.journey, each.replayed
    given = ("then", [(g.weight, g.at) for g in journey.given]), ("now", [(m.weight, m.at) for m in replayed.moves])
    for row, (kind, weights) in enumerate(given):
        y = area.bottom + 5 + row * (STRIP + 1)
        yield _text(LEFT - 8, y + 13, "then" if kind == "then" else "policy", "quiet small end")
        for weight, begin, end in _spans(weights, each, area, simulated=kind == "now"):
            x, width = area.x(begin), area.x(end) - area.x(begin)
            yield _rect(kind, x, y, max(width - 1.5, 0.5), STRIP - 1)
            if width > 34:
                yield _text(x + 5, y + 13, f"{weight}%", "small")


def _spans(
    weights: Sequence[tuple[int, datetime]], each: Compared, area: Area, *, simulated: bool = False
) -> Iterator[tuple[int, float, float]]:
    """List weights with the seconds from which and up to which they were given."""
    start = each.journey.started
    until = (each.replayed.at or each.replayed.curve[-1].at) if simulated else each.journey.decided
    ends = [at for _, at in weights[1:]] + [until]
    for (weight, at), end in zip(weights, ends, strict=True):
        seconds = area.seconds if end is None else (end - start).total_seconds()
        if weight < 100:
            yield weight, (at - start).total_seconds(), seconds


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}"/>'


def _text(x: float, y: float, words: str, classes: str = "", style: str = "") -> str:
    styled = f' style="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}"{styled}>{_safe(words)}</text>'


def _safe(words: str) -> str:
    return escape(one_line(words), {'"': "&quot;"})


def _short(evidence: float) -> str:
    return f"{evidence:,.0f}" if evidence >= 10 else f"{evidence:.2g}"

"""Histograms as charts: bars of what is kept and of what went, side by side with the limits of the rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gristmill.pipelines.html.cuts import MeasureCut
from gristmill.pipelines.html.spreads import Spread
from gristmill.pipelines.html.svg import ChartAxis, element, figure, rules
from gristmill.pipelines.versions.histograms import Histogram

#: What lies beyond these quantiles is in the first or the last bar.
_ENDS = (0.002, 0.998)
#: An axis is logarithmic where all but a hundredth is positive, and the ends are so many times apart.
_DECADES = 50
_MOST_BARS = 40
#: Bounds of bars in an octave of sixteen bins, as evenly as bins allow, by the number of bars.
_IN_OCTAVE = {4: (0, 3, 7, 11), 2: (0, 7), 1: (0,)}
#: A bar that is so many times as high as the next one is cut off, so that the others can be seen.
_TOWERING = 4
_WIDTH, _HEIGHT = 340, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 16, 24


@dataclass(frozen=True)
class HistogramBars:
    """Bars of a histogram: `edges` (n + 1) and counts (n). A bin of the histogram is in one bar, whole."""

    edges: NDArray[np.float64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    log: bool
    below: int  #: values in the first bar that lie below its lower edge
    above: int  #: values in the last bar that lie above its upper edge

    def of(self, spread: Spread) -> HistogramBars:
        """Return the bars of another spread with the same edges."""
        before, after = (_counted(h, self.edges) for h in (spread.before, spread.after))
        lowest, counts = spread.before.lowest, spread.before.counts
        below, above = int(counts[lowest < self.edges[0]].sum()), int(counts[lowest >= self.edges[-1]].sum())
        return HistogramBars(self.edges, before, after, self.log, below, above)


def bars_of(spread: Spread, limits: Sequence[float] = ()) -> HistogramBars | None:
    """Return the bars of a measure, on an axis on which its limits are seen too; None without values."""
    if not spread.before.values:
        return None
    low, high, hundredth = (_finite(value) for value in spread.before.quantiles([*_ENDS, 0.01]))
    positive = hundredth > 0 and low > 0
    log = positive and high / low >= _DECADES
    for limit in limits:
        if log and limit > 0:
            low, high = min(low, max(limit, low / 10)), max(high, min(limit, high * 10))
        elif not log and abs(limit) <= 4 * max(abs(low), abs(high), 0.25):
            low, high = min(low, limit), max(high, limit)
    edges = _logarithmic(low, high) if log else _linear(low, high, spread.before)
    bare = HistogramBars(edges, np.zeros(0, np.int64), np.zeros(0, np.int64), log, 0, 0)
    return bare.of(spread)


def _finite(value: float | None) -> float:
    return float(np.clip(value or 0.0, -1e300, 1e300))


def _logarithmic(low: float, high: float) -> NDArray[np.float64]:
    first, last = math.floor(math.log2(low)), math.floor(math.log2(high)) + 1
    octaves = last - first
    per = next((n for n in _IN_OCTAVE if n * octaves <= _MOST_BARS), 1)
    within = [1 + part / 16 for part in _IN_OCTAVE[per]]
    powers = range(first, last + 1, max(1, -(-octaves // _MOST_BARS)))
    edges = np.array([2.0**power * part for power in powers for part in within])
    return edges[max(0, np.searchsorted(edges, low, "right") - 1) : np.searchsorted(edges, high, "right") + 1]


def _linear(low: float, high: float, values: Histogram) -> NDArray[np.float64]:
    largest = max(abs(low), abs(high))
    width = 2.0 ** math.floor(math.log2(largest)) / 16 if largest > 0 else 1.0  # the widest bin on the axis
    lowest = values.lowest
    if width < 1 <= largest and np.array_equal(lowest, np.floor(lowest)):
        width = 1.0
    while math.floor(high / width) - math.floor(low / width) >= _MOST_BARS:
        width *= 2
    first, last = math.floor(low / width), math.floor(high / width) + 1
    return np.arange(first, last + 1, dtype=np.float64) * width


def _counted(histogram: Histogram, edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the values in each bar (n); those beyond the edges are in the first or the last one."""
    bars = np.clip(np.searchsorted(edges, histogram.lowest, "right") - 1, 0, len(edges) - 2)
    counts = np.zeros(len(edges) - 1, np.int64)
    np.add.at(counts, bars, histogram.counts)
    return counts


def histogram_chart(bars: HistogramBars, cuts: Sequence[MeasureCut], label: str) -> Markup:
    """Return the chart: of each bar what is kept below, what went on top of it; dashed lines are the limits."""
    x = ChartAxis(float(bars.edges[0]), float(bars.edges[-1]), _LEFT, _WIDTH - _RIGHT, bars.log)
    top, towering = _top(bars.before)
    y = ChartAxis(0, top, _HEIGHT - _BOTTOM, _TOP)
    drawn = [*rules(y, _LEFT, _WIDTH - _RIGHT, 3)]
    for i in np.flatnonzero(bars.before).tolist():
        drawn += _bar(bars, i, x, y, cut_off=i == towering)
    for tick in x.ticks(4):
        at = x.at(tick)
        anchor = "start" if at < _LEFT + 6 else "end" if at > _WIDTH - _RIGHT - 12 else "middle"
        drawn.append(element("text", figure(tick), x=at, y=_HEIGHT - 7, text_anchor=anchor))
    shown = [cut for cut in cuts if bars.edges[0] <= cut.limit <= bars.edges[-1]]
    for limit, named in _of_groups(shown).items():
        title = element("title", f"{figure(limit)}: {named}")
        drawn.append(element("line", [title], x1=x.at(limit), x2=x.at(limit), y1=_TOP, y2=y.start, class_="group-cut"))
    for cut in shown:
        if cut.group is None:
            drawn += _cut(cut, x)
    return element("svg", drawn, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="chart", role="img", aria_label=label)


def _top(before: NDArray[np.int64]) -> tuple[float, int | None]:
    """Return the value at the top of the axis, and the bar that towers above it, if one does."""
    ordered = np.argsort(before)
    highest = int(before[ordered[-1]])
    second = int(before[ordered[-2]]) if len(before) > 1 else 0
    if second and highest > _TOWERING * second:
        return 1.3 * second, int(ordered[-1])
    return max(1.0, float(highest)), None


def _bar(bars: HistogramBars, i: int, x: ChartAxis, y: ChartAxis, cut_off: bool) -> list[Markup]:
    before, after = int(bars.before[i]), int(bars.after[i])
    left, right = x.at(float(bars.edges[i])), x.at(float(bars.edges[i + 1]))
    width = max(0.8, right - left - 0.7)
    title = element("title", f"{extent(bars, i)}: {before:,} documents, {after:,} kept")
    head, foot, base = y.at(before), y.at(after), y.at(0)
    if cut_off:  # the shares of the two colours are those of the whole bar
        foot = base - (base - head) * after / before
    drawn = []
    if after:
        drawn.append(element("rect", [title], x=left, y=foot, width=width, height=base - foot, class_="kept"))
    if before > after:
        drawn.append(element("rect", [title], x=left, y=head, width=width, height=foot - head, class_="dropped"))
    if cut_off:
        share = before / int(bars.before.sum())
        at = head + 9
        drawn.append(element("path", d=f"M{left - 2:.1f} {at + 3:.1f}l{width + 4:.1f} -6", class_="break"))
        middle, end = (left + right) / 2, x.end
        place = (right + 4, "start") if middle < end * 0.6 else (left - 4, "end")
        drawn.append(element("text", f"{share:.1%}", x=place[0], y=head + 10, text_anchor=place[1], class_="strong"))
    return drawn


def _of_groups(cuts: Sequence[MeasureCut]) -> dict[float, str]:
    """Return the limits of groups, each with the first of those that have it."""
    found: dict[float, list[str]] = {}
    for cut in cuts:
        if cut.group is not None:
            found.setdefault(cut.limit, []).append(f"{cut.rule} drops {cut.sign} where {' '.join(cut.group)}")
    return {limit: "; ".join(names[:3]) + ("; ..." if len(names) > 3 else "") for limit, names in found.items()}


def _cut(cut: MeasureCut, x: ChartAxis) -> list[Markup]:
    """Return a dashed line at a limit, with an arrow to the side that goes."""
    at, side = x.at(cut.limit), -1 if cut.drops_below else 1
    title = element("title", f"{cut.rule} drops {cut.column} {cut.sign} {cut.written}")
    return [
        element("line", [title], x1=at, x2=at, y1=_TOP - 10, y2=_HEIGHT - _BOTTOM, class_="cut"),
        element("path", [title], d=f"M{at:.1f} {_TOP - 11}l{8 * side} 4l{-8 * side} 4z", class_="arrow"),
    ]


def extent(bars: HistogramBars, i: int) -> str:
    """Return the values that a bar stands for: `16 to 32`, `less than 2`, `512 and more`."""
    low, high = float(bars.edges[i]), float(bars.edges[i + 1])
    if i == len(bars.before) - 1 and bars.above:
        return f"{figure(low)} and more"
    if i == 0 and bars.below:
        return f"less than {figure(high)}"
    return f"{figure(low)} to {figure(high)}"


def small_histogram(bars: HistogramBars, label: str, limits: Sequence[float] = ()) -> Markup:
    """Return a histogram of one line of text's height, as high as its highest bar: what is kept, and what went."""
    width, height = 150, 30
    x = ChartAxis(float(bars.edges[0]), float(bars.edges[-1]), 0, width, bars.log)
    top, _ = _top(bars.before)
    areas = []
    for counts, name in ((bars.before, "dropped"), (bars.after, "kept")):
        steps = [f"M0 {height}"]
        for i, count in enumerate(counts.tolist()):
            steps.append(f"H{x.at(float(bars.edges[i])):.1f}V{height * (1 - min(1.0, count / top)):.1f}")
        areas.append(element("path", d="".join([*steps, f"H{width}V{height}z"]), class_=name))
    for limit in limits:
        if bars.edges[0] <= limit <= bars.edges[-1]:
            areas.append(element("line", x1=x.at(limit), x2=x.at(limit), y1=0, y2=height, class_="cut"))
    return element("svg", areas, viewBox=f"0 0 {width} {height}", class_="small", role="img", aria_label=label)

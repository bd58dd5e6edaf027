"""Histograms of one measure among the documents of two versions, one over the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gristmill.pipelines.html.histogram_chart import HistogramBars, bars_of, extent
from gristmill.pipelines.html.spreads import Spread
from gristmill.pipelines.html.svg import ChartAxis, element, figure, rules
from gristmill.pipelines.versions.histograms import Histogram

_WIDTH, _HEIGHT = 340, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 10, 24
#: A bar that is so many times as high as the next one is cut off at the top, so that the others can be seen.
_TOWERING = 4


@dataclass(frozen=True)
class ComparedBars:
    """Bars of a measure in two versions, with the shares of its values that are in each."""

    bars: HistogramBars  #: `before` are the counts of the first version, `after` those of the second

    @property
    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the shares (n) of the values of the first version and of the second."""
        first, second = (counts / max(1, int(counts.sum())) for counts in (self.bars.before, self.bars.after))
        return first, second

    def rows(self) -> list[tuple[str, int, float, int, float]]:
        """Return what each bar stands for: extent, count and share of the first version, those of the second."""
        first, second = self.shares
        return [
            (extent(self.bars, i), int(self.bars.before[i]), float(first[i]), int(self.bars.after[i]), float(second[i]))
            for i in range(len(first))
            if self.bars.before[i] or self.bars.after[i]
        ]


def compared_bars(first: Histogram, second: Histogram) -> ComparedBars | None:
    """Return the bars of a measure in two versions, with the same edges; None where neither has values."""
    both = first + second
    bars = bars_of(Spread(both, both))
    return None if bars is None else ComparedBars(bars.of(Spread(first, second)))


def compared_histogram(compared: ComparedBars, label: str) -> Markup:
    """Return the chart: columns are shares of the first version, the line is those of the second."""
    bars, (first, second) = compared.bars, compared.shares
    x = ChartAxis(float(bars.edges[0]), float(bars.edges[-1]), _LEFT, _WIDTH - _RIGHT, bars.log)
    y = ChartAxis(0, 100 * _top(first, second), _HEIGHT - _BOTTOM, _TOP)
    drawn = [*rules(y, _LEFT, _WIDTH - _RIGHT, 3)]
    for i in np.flatnonzero(bars.before + bars.after).tolist():
        left, right = x.at(float(bars.edges[i])), x.at(float(bars.edges[i + 1]))
        told = f"{int(bars.before[i]):,} before ({first[i]:.1%}), {int(bars.after[i]):,} after ({second[i]:.1%})"
        title = element("title", f"{extent(bars, i)}: {told}")
        top = y.at(100 * float(first[i]))
        size = {"x": left, "y": top, "width": max(0.8, right - left - 0.7), "height": max(0.4, y.start - top)}
        drawn.append(element("rect", [title], class_="filled", **size))
    steps = [f"M{x.at(float(bars.edges[0])):.1f} {y.start:.1f}"]
    for i, share in enumerate(second.tolist()):
        steps.append(f"V{y.at(100 * share):.1f}H{x.at(float(bars.edges[i + 1])):.1f}")
    drawn.append(element("path", d="".join([*steps, f"V{y.start:.1f}"]), class_="outline"))
    for tick in x.ticks(4):
        at = x.at(tick)
        anchor = "start" if at < _LEFT + 6 else "end" if at > _WIDTH - _RIGHT - 12 else "middle"
        drawn.append(element("text", figure(tick), x=at, y=_HEIGHT - 7, text_anchor=anchor))
    return element("svg", drawn, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="chart", role="img", aria_label=label)


def _top(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the share at the top of the axis: below those of a bar that towers above all others."""
    highest = np.sort(np.maximum(first, second))[::-1]
    if len(highest) > 1 and highest[1] and highest[0] > _TOWERING * highest[1]:
        return float(1.5 * highest[1])
    return float(max(highest[0], 1e-9))

"""SVG elements and axes. Colours are classes of the page's style, which knows light, dark and print.

Everything is escaped: labels may hold names and texts from outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from gristmill.pipelines.config.quoting import in_one_line
from gristmill.pipelines.config.wording import in_units

#: Numbers from here on are shown with a unit.
_LARGE = 10_000
_SMALL = 0.001


def element(name: str, content: Iterable[Markup | str] | str = (), **attributes: object) -> Markup:
    """Return an element; `class_` and `aria_label` stand for `class` and `aria-label`, None leaves an attribute out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    parts = (content,) if isinstance(content, str) else content
    inner = "".join(part if isinstance(part, Markup) else _text(part) for part in parts)
    return Markup(f"<{name}{written}>{inner}</{name}>")


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(escape(in_one_line(str(value))))


def figure(value: float | None) -> str:
    """Return a number in short: `0.125`, `48`, `1,234`, `12.3 k`, `1.2e-05`."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if abs(value) >= _LARGE:
        return f"-{in_units(round(-value))}" if value < 0 else in_units(round(value))
    if value == round(value):
        return f"{round(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= _SMALL else f"{value:.2g}"


@dataclass(frozen=True)
class ChartAxis:
    """A straight line or a logarithmic one from a lower value to a higher one, drawn over some pixels."""

    low: float
    high: float
    start: float  #: the pixel of `low`
    end: float  #: the pixel of `high`
    log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a value; one beyond the ends is at the end."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, max(value, self.low)))
        share = 0.0 if high == low else min(1.0, (value - low) / (high - low))
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Return round values on it: tenfold ones on a logarithmic axis of two decades or more."""
        if self.log and self.high / self.low >= 100:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            every = max(1, -(-(last - first) // about))
            return [10.0**power for power in range(first, last + 1, every)]
        step = _round_step((self.high - self.low) / max(1, about))
        if step == 0:
            return [self.low]
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def _round_step(step: float) -> float:
    """Return the next of 1, 2, 5, 10, ... times a power of ten that is not below a step."""
    if step <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def horizontal_bar(shares: Sequence[tuple[float, str]], label: str) -> Markup:
    """Return a bar as wide as its place, of parts side by side: each a share of the width and its class."""
    parts, at = [], 0.0
    for share, name in shares:
        if share > 0:
            width = f"{max(100 * share, 0.3):.2f}%"  # what is there is seen
            parts.append(element("rect", x=f"{100 * at:.2f}%", y=0, width=width, height="100%", class_=name))
        at += share
    track = element("rect", x=0, y=0, width="100%", height="100%", class_="track")
    return element("svg", [track, *parts], class_="bar", role="img", aria_label=label)


def line_chart(
    points: Sequence[tuple[str, float]], label: str, width: int = 640, height: int = 200, share: bool = False
) -> Markup:
    """Return a line through values that are evenly spaced, each with its name at the axis where there is room.

    Values are whole numbers, or shares of 1.
    """
    left, right, top, bottom = 56, 16, 12, 28
    y = ChartAxis(0, max(1.0, *(value for _, value in points)), height - bottom, top)
    step = (width - left - right) / max(1, len(points) - 1)
    places = [(left + i * step, y.at(value)) for i, (_, value) in enumerate(points)]
    drawn = [*rules(y, left, width - right, 4)]
    drawn.append(element("polyline", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in places), class_="line"))
    every = max(1, math.ceil(len(points) / 6))
    for i, ((name, value), (a, b)) in enumerate(zip(points, places, strict=True)):
        title = element("title", f"{name}: {value:.1%}" if share else f"{name}: {value:,.0f}")
        drawn.append(element("circle", [title], cx=a, cy=b, r=3.5, class_="point"))
        if i % every == 0:
            anchor = "start" if i == 0 else "end" if i == len(points) - 1 else "middle"
            drawn.append(element("text", name, x=a, y=height - 8, text_anchor=anchor))
    return element("svg", drawn, viewBox=f"0 0 {width} {height}", class_="chart wide", role="img", aria_label=label)


def rules(y: ChartAxis, left: float, right: float, about: int) -> Iterable[Markup]:
    """Yield the lines of a vertical axis, about so many, with their numbers."""
    for tick in y.ticks(about):
        at = y.at(tick)
        yield element("line", x1=left, x2=right, y1=at, y2=at, class_="rule")
        yield element("text", figure(tick), x=left - 5, y=at + 4, text_anchor="end")

"""Charts of curves: lines over a number, how probabilities compare with what is right, columns of counts.

Lines differ in how they are dashed as well as in colour, so that they are told apart in grey. A page names them with
`key` marks of the same classes (`line-1` to `line-3`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gristmill.pipelines.html.svg import ChartAxis, element, figure, rules

_WIDTH, _HEIGHT = 340, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 10, 36
#: Points of a line up to which each has a mark of its own.
_FEW = 30
#: Classes of lines, in the order in which they are given.
LINES = ("line-1", "line-2", "line-3")
#: The height of the columns of counts below a plot of probabilities, in pixels.
_COUNTS = 34


@dataclass(frozen=True)
class ChartLine:
    """A line of a chart: its points by ascending x; `intervals` are low and high of each, or there are none."""

    name: str
    points: Sequence[tuple[float, float]]
    intervals: Sequence[tuple[float, float]] = ()


def curve_chart(
    lines: Sequence[ChartLine],
    label: str,
    x_title: str,
    x_ends: tuple[float, float] | None = None,
    y_ends: tuple[float, float] = (0.0, 1.0),
    wide: bool = False,
) -> Markup:
    """Return lines over a number, up to three of them."""
    width = 2 * _WIDTH if wide else _WIDTH
    values = [x for line in lines for x, _ in line.points]
    low, high = x_ends or (min(values), max(values))
    x = ChartAxis(low, high if high > low else low + 1, _LEFT, width - _RIGHT)
    y = ChartAxis(*y_ends, _HEIGHT - _BOTTOM, _TOP)
    drawn = [*rules(y, _LEFT, width - _RIGHT, 5), *_bottom(x, x_title, width)]
    for line, name in zip(lines, LINES, strict=False):
        for (at, _), (least, most) in zip(line.points, line.intervals, strict=False):
            drawn.append(
                element("line", x1=x.at(at), x2=x.at(at), y1=y.at(least), y2=y.at(most), class_=f"span {name}")
            )
        places = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in line.points)
        drawn.append(element("polyline", points=places, class_=f"line {name}"))
        if len(line.points) <= _FEW:
            drawn += [
                _point(f"{line.name}: {figure(b)} at {figure(a)}", x.at(a), y.at(b), name) for a, b in line.points
            ]
    return _chart(drawn, width, label, wide)


def reliability_chart(points: Sequence[tuple[float, float, int, float, float]], label: str) -> Markup:
    """Return how often answers are right by how sure they are.

    points: probability, share that is right, number of answers, low and high of the share's interval. Calibrated
    answers lie on the diagonal; the columns below are the numbers of answers.
    """
    x, height = ChartAxis(0, 1, _LEFT, _WIDTH - _RIGHT), _HEIGHT + _COUNTS
    foot = _HEIGHT - _BOTTOM - 6
    y = ChartAxis(0, 1, foot, _TOP)
    most = max((n for _, _, n, _, _ in points), default=1)
    counts = ChartAxis(0, most, height - _BOTTOM, height - _BOTTOM - _COUNTS)
    drawn = [*rules(y, _LEFT, _WIDTH - _RIGHT, 5), *_bottom(x, "probability", _WIDTH, height)]
    drawn.append(element("line", x1=x.at(0), x2=x.at(1), y1=y.at(0), y2=y.at(1), class_="diagonal"))
    for sure, right, n, low, high in points:
        at = x.at(sure)
        title = f"{n:,} answers at {sure:.3f}: {right:.1%} right ({low:.1%} to {high:.1%})"
        drawn.append(element("line", x1=at, x2=at, y1=y.at(low), y2=y.at(high), class_="span line-1"))
        top = counts.at(n)
        drawn.append(
            element(
                "rect",
                [element("title", title)],
                x=at - 4,
                y=top,
                width=8,
                height=max(0.8, counts.start - top),
                class_="counted",
            )
        )
        drawn.append(_point(title, at, y.at(right), "line-1"))
    places = " ".join(f"{x.at(sure):.1f},{y.at(right):.1f}" for sure, right, *_ in points)
    drawn.append(element("polyline", points=places, class_="line line-1"))
    return _chart(drawn, _WIDTH, label, False, height)


def column_chart(columns: Sequence[tuple[str, float]], label: str, wide: bool = False) -> Markup:
    """Return a column for each name and value, in their order; names stand where there is room."""
    width = 2 * _WIDTH if wide else _WIDTH
    y = ChartAxis(0, max(1e-9, *(value for _, value in columns)), _HEIGHT - _BOTTOM, _TOP)
    step = (width - _LEFT - _RIGHT) / len(columns)
    room = max(1, -(-len(columns) * 56 // (width - _LEFT - _RIGHT)))
    drawn = [*rules(y, _LEFT, width - _RIGHT, 4)]
    for i, (name, value) in enumerate(columns):
        left, top = _LEFT + i * step, y.at(value)
        title = element("title", f"{name}: {figure(value)}")
        size = {"x": left + 0.1 * step, "y": top, "width": 0.8 * step, "height": max(0.0, y.start - top)}
        drawn.append(element("rect", [title], class_="kept", **size))
        if i % room == 0:
            drawn.append(element("text", name, x=left + step / 2, y=_HEIGHT - 18, text_anchor="middle"))
    return _chart(drawn, width, label, wide)


def _bottom(x: ChartAxis, title: str, width: int, height: int = _HEIGHT) -> Iterable[Markup]:
    """Yield the numbers of the horizontal axis, and what they are."""
    for tick in x.ticks(5):
        yield element("text", figure(tick), x=x.at(tick), y=height - 20, text_anchor="middle")
    yield element("text", title, x=(_LEFT + width - _RIGHT) / 2, y=height - 5, text_anchor="middle")


def _point(title: str, x: float, y: float, name: str) -> Markup:
    return element("circle", [element("title", title)], cx=x, cy=y, r=3, class_=f"point {name}")


def _chart(drawn: Sequence[Markup], width: int, label: str, wide: bool, height: int = _HEIGHT) -> Markup:
    name = "chart wide" if wide else "chart"
    return element("svg", drawn, viewBox=f"0 0 {width} {height}", class_=name, role="img", aria_label=label)

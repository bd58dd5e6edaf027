"""The curve of a sweep as a file: PNG, SVG, CSV or JSON."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.quoting import printable_json
from gristmill.pipelines.report.sweep import Sweep

_WIDTH, _HEIGHT = 800, 450  # pixels
_COLOURS = ("#1b7f79", "#d17b0f")


def writer_for(path: str) -> Callable[[Sweep], bytes]:
    """Return what makes the content of a file, by its suffix.

    Raises RecipeError for any other suffix, and where matplotlib is needed and not installed.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in _WRITERS:
        raise RecipeError(f"{path}: a curve is written as {', '.join(_WRITERS)}")
    if suffix == ".png":
        _matplotlib()
    return _WRITERS[suffix]


def _lines(sweep: Sweep) -> dict[str, list[tuple[float, float]]]:
    """Return the shares of documents and of tokens that are kept, in percent, by limit."""
    return {
        "documents": [(p.limit, 100 * p.documents / max(1, sweep.documents)) for p in sweep.points],
        "tokens": [(p.limit, 100 * p.tokens / max(1, sweep.tokens)) for p in sweep.points],
    }


def _title(sweep: Sweep) -> str:
    condition = sweep.condition.replace("{}", "limit")
    return f"{sweep.recipe}: kept, in percent of what came in, where {condition} drops"


def _svg(sweep: Sweep) -> bytes:
    from leather import Chart

    lines = _lines(sweep)
    chart = Chart(_title(sweep))
    chart.add_x_scale(sweep.points[0].limit, sweep.points[-1].limit)
    chart.add_y_scale(0, max(1.0, *(share for points in lines.values() for _, share in points)))
    for (name, points), colour in zip(lines.items(), _COLOURS, strict=True):
        chart.add_line(points, name=name, stroke_color=colour)
    svg: str = chart.to_svg(width=_WIDTH, height=_HEIGHT)
    return svg.encode()


def _matplotlib() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise RecipeError(
            "matplotlib, which draws a curve as PNG, is not installed: pip install 'gristmill[plot]', or write .svg"
        ) from None
    return Figure


def _png(sweep: Sweep) -> bytes:
    figure = _matplotlib()(figsize=(_WIDTH / 100, _HEIGHT / 100), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for (name, points), colour in zip(_lines(sweep).items(), _COLOURS, strict=True):
        axes.plot(*zip(*points, strict=True), label=name, color=colour, marker=".")
    axes.set_title(_title(sweep), fontsize=10, parse_math=False)
    axes.set_xlabel(sweep.column, parse_math=False)
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


_WRITERS: dict[str, Callable[[Sweep], bytes]] = {
    ".png": _png,
    ".svg": _svg,
    ".csv": lambda sweep: sweep.to_csv().encode(),
    ".json": lambda sweep: (printable_json(sweep.to_json()) + "\n").encode(),
}

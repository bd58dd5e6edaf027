"""Charts of curves and heat maps: what is given is drawn, where it belongs, and escaped."""

from __future__ import annotations

import re

import lxml.html
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipelines.html.compared_histogram import compared_bars, compared_histogram
from gristmill.pipelines.html.curve_charts import ChartLine, column_chart, curve_chart, reliability_chart
from gristmill.pipelines.html.heat_map import SHOWN, heat_map
from gristmill.pipelines.versions.histograms import Histogram

#: Not below zero, where the upper end of a bin is in it and not the lower one.
values = st.lists(st.floats(0, 1e6) | st.integers(0, 20).map(float), max_size=60)


def test_lines_go_through_their_points_and_few_points_have_marks() -> None:
    few = ChartLine("<i>", [(0.0, 0.0), (1.0, 1.0)], [(0.0, 0.2), (0.5, 1.0)])
    many = ChartLine("b", [(i / 50, 0.5) for i in range(51)])
    chart = curve_chart([few, many], "label <b>", "x")
    assert chart.count("<polyline") == 2
    assert chart.count("<circle") == 2
    assert chart.count('class="span line-1"') == 2
    assert "<i>" not in chart
    assert "<b>" not in chart
    first = lxml.html.fromstring(chart).xpath("//polyline/@points")[0].split()
    (left, low), (right, high) = (tuple(map(float, place.split(","))) for place in first)
    assert left < right
    assert low > high, "pixels count from above"


def test_a_line_of_one_value_has_an_axis() -> None:
    assert "nan" not in curve_chart([ChartLine("one", [(3.0, 0.5)])], "label", "x")


def test_reliability_has_a_point_a_bar_and_a_column_for_each_bin() -> None:
    chart = reliability_chart([(0.55, 0.5, 10, 0.2, 0.8), (0.95, 1.0, 90, 0.9, 1.0)], "label")
    assert [chart.count(f"<{name} ") for name in ("circle", "rect")] == [2, 2]
    heights = [float(height) for height in lxml.html.fromstring(chart).xpath("//rect/@height")]
    assert heights[0] * 9 == pytest.approx(heights[1], rel=0.01)
    assert "10 answers at 0.550: 50.0% right (20.0% to 80.0%)" in chart


def test_columns_have_names_where_there_is_room() -> None:
    chart = column_chart([(f"night {i}", float(i)) for i in range(60)], "label", wide=True)
    assert chart.count("<rect ") == 60
    assert chart.count(">night ") == 60 + 10, "titles, and ten names at the axis"
    assert "inf" not in column_chart([("none", 0.0)], "label")


@settings(max_examples=50)
@given(values, values)
def test_shares_of_both_versions_are_counts_between_the_edges(first: list[float], second: list[float]) -> None:
    one, other = (Histogram.of(pa.array(side, pa.float64())) for side in (first, second))
    compared = compared_bars(one, other)
    if compared is None:
        assert not first
        assert not second
        return
    edges = [-np.inf, *compared.bars.edges[1:-1], np.inf]
    for side, counts in ((first, compared.bars.before), (second, compared.bars.after)):
        assert counts.tolist() == np.histogram(side, edges)[0].tolist()
    assert sum(row[1] for row in compared.rows()) == len(first)
    assert sum(row[4] for row in compared.rows()) == pytest.approx(1 if second else 0)
    chart = compared_histogram(compared, "label")
    assert not re.search(r"\bnan\b|\binf\b|None", chart)
    assert chart.count("<rect ") == len(compared.rows())


@given(st.integers(1, 30), st.integers(1, 30), st.booleans(), st.randoms())
def test_heat_maps_lose_no_count(rows: int, columns: int, diagonal: bool, draw: object) -> None:
    columns = rows if diagonal else columns
    counts = [[draw.randrange(9) for _ in range(columns)] for _ in range(rows)]  # type: ignore[attr-defined]
    names = [[f"{side}{i}" for i in range(n)] for side, n in (("r", rows), ("c", columns))]
    found = heat_map(counts, *names, "row", "column", diagonal)
    assert len(found.rows) == min(rows, SHOWN)
    assert len(found.columns) == min(columns, SHOWN)
    assert sum(row["total"] for row in found.rows) == sum(map(sum, counts))
    for row in found.rows:
        assert row["total"] == sum(cell["n"] for cell in row["cells"])
        if row["name"] in names[0]:
            i = names[0].index(row["name"])
            for cell in row["cells"]:
                if cell["name"] in names[1]:
                    assert cell["n"] == counts[i][names[1].index(cell["name"])]

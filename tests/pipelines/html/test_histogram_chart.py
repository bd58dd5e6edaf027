"""Bars of histograms: each value is in one bar, no bin is divided, and limits are on the axis."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gristmill.pipelines.html.cuts import MeasureCut
from gristmill.pipelines.html.histogram_chart import bars_of, histogram_chart, small_histogram
from gristmill.pipelines.html.spreads import Spread
from gristmill.pipelines.html.svg import ChartAxis, element, figure, line_chart
from gristmill.pipelines.versions.histograms import Histogram

numbers = st.one_of(st.floats(-1e9, 1e9), st.integers(0, 50).map(float), st.floats(1e-6, 1), st.just(float("inf")))


def spread_of(values: list[float], kept: int) -> Spread:
    return Spread(Histogram.of(pa.array(values)), Histogram.of(pa.array(values[:kept], pa.float64())))


@settings(max_examples=50)
@given(st.lists(numbers, min_size=1, max_size=80), st.integers(0, 80))
@example([0.0], 1)
@example([1e300, 1e-300], 1)
@example([float("-inf"), float("inf")], 0)
def test_every_value_is_in_one_bar(values: list[float], kept: int) -> None:
    bars = bars_of(spread_of(values, kept))
    assert bars is not None
    assert int(bars.before.sum()) == len(values)
    assert int(bars.after.sum()) == min(kept, len(values))
    assert (bars.after <= bars.before).all()
    assert (np.diff(bars.edges) > 0).all()
    assert 1 <= len(bars.before) <= 64
    chart = histogram_chart(bars, [], "label")
    assert not re.search(r"\bnan\b|\binf\b|None", chart)
    assert chart.count("<rect") == int((bars.after > 0).sum() + (bars.before > bars.after).sum())
    assert "nan" not in small_histogram(bars, "label")


@settings(max_examples=50)
@given(st.lists(st.floats(0.001, 1e6), min_size=2, max_size=80))
def test_no_bin_is_divided(values: list[float]) -> None:
    """The edges are bounds of bins, so counts of bars are counts of values: exact ones."""
    bars = bars_of(spread_of(values, 0))
    assert bars is not None
    inner = bars.edges[1:-1]
    expected, _ = np.histogram(values, [-np.inf, *inner, np.inf])
    assert bars.before.tolist() == expected.tolist()


def test_an_axis_is_logarithmic_where_values_are_positive_and_far_apart() -> None:
    words = bars_of(spread_of([float(2**i) for i in range(16)], 3), [50])
    shares = bars_of(spread_of([0.0, 0.5, 1.0] * 10, 3), [0.8])
    assert words is not None
    assert shares is not None
    assert (words.log, shares.log) == (True, False)
    assert words.edges[0] <= 1
    assert words.edges[-1] > 2**15
    assert len(words.before) <= 48


def test_a_limit_beyond_the_values_is_on_the_axis_unless_it_is_far_off() -> None:
    spread = spread_of([0.0, 0.1, 0.2], 3)
    near, far = bars_of(spread, [0.9]), bars_of(spread, [100.0])
    assert near is not None
    assert far is not None
    assert near.edges[-1] > 0.9
    assert far.edges[-1] < 1
    cut = MeasureCut("rule", "x", ">", 0.9, "0.9")
    assert "cut" in histogram_chart(near, [cut], "label")
    assert "cut" not in histogram_chart(far, [cut], "label")


def test_a_bar_that_towers_over_all_others_is_cut_off_with_its_share() -> None:
    bars = bars_of(spread_of([0.0] * 97 + [0.5, 0.75, 1.0], 50))
    assert bars is not None
    assert "97.0%" in histogram_chart(bars, [], "label")


def test_without_values_there_are_no_bars() -> None:
    assert bars_of(spread_of([float("nan")], 1)) is None


@pytest.mark.parametrize(
    ("low", "high", "log", "expected"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (3, 11, False, [4, 6, 8, 10]),
        (-2, 2, False, [-2, -1, 0, 1, 2]),
        (5, 3000, True, [10, 100, 1000]),
        (5, 5, False, [5]),
    ],
)
def test_ticks_are_round(low: float, high: float, log: bool, expected: list[float]) -> None:
    assert ChartAxis(low, high, 0, 100, log).ticks() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.125, "0.125"), (1234.4, "1,234"), (12345, "12.3 k"), (-20000, "-20.0 k"), (999.9, "1,000"),
     (99.96, "100"), (1e-5, "1e-05"), (None, "–"), (float("inf"), "∞"), (float("nan"), "–")],
)  # fmt: skip
def test_figures_are_short(value: float | None, expected: str) -> None:
    assert figure(value) == expected


def test_labels_are_escaped_wherever_they_stand() -> None:
    drawn = element("text", ['"><script>', element("title", "<b>\x00")], aria_label='"x" onload="y"', class_="a")
    assert drawn == (
        '<text aria-label="&#34;x&#34; onload=&#34;y&#34;" class="a">&#34;&gt;&lt;script&gt;<title>&lt;b&gt;\\x00'
        "</title></text>"
    )
    assert "<i>" not in line_chart([("<i>", 1.0), ("b", 2.0)], "<i>")

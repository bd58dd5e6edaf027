"""Histograms whose bins no data chooses: they add up, and tell how far two samples are apart."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipelines.versions.histograms import Histogram, ks, psi, total

#: Each is the lower bound of its bin: sixteenths of powers of two.
GRID = [sign * 2.0**power * (1 + part / 16) for sign in (-1, 1) for power in (-3, 0, 5) for part in (0, 3, 15)]
values = st.lists(st.sampled_from([0.0, *GRID]), min_size=1, max_size=60)
anything = st.lists(st.one_of(st.none(), st.floats(), st.integers(-(10**9), 10**9).map(float)), max_size=40)


def of(numbers: list[float | None]) -> Histogram:
    return Histogram.of(pa.array(numbers, pa.float64()))


@given(values, values)
def test_ks_is_exact_where_values_are_bounds_of_bins(first: list[float], second: list[float]) -> None:
    def share(sample: list[float], limit: float) -> float:
        return sum(value <= limit for value in sample) / len(sample)

    expected = max(abs(share(first, at) - share(second, at)) for at in first + second)
    assert ks(of([*first]), of([*second])) == pytest.approx(expected)


@given(anything, anything)
def test_histograms_of_parts_add_up_to_that_of_all(first: list[float | None], second: list[float | None]) -> None:
    whole, parts = of(first + second), of(first) + of(second)
    assert whole.to_json() == parts.to_json() == total([of(first), of(second)]).to_json()
    assert whole.values + whole.missing == len(first) + len(second)
    assert Histogram.from_json(whole.to_json()).to_json() == whole.to_json()


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=50), st.sampled_from([0.1, 0.5, 0.9]))
def test_a_quantile_is_the_lower_bound_of_its_bin(numbers: list[float], share: float) -> None:
    exact = sorted(numbers)[max(1, math.ceil(share * len(numbers))) - 1]
    found = of([*numbers]).quantile(share)
    assert found is not None
    assert found <= exact < found * (1 + 1 / 16) * (1 + 1e-12)


def test_psi_is_the_sum_over_tenths_of_the_reference() -> None:
    """Ten groups of one value each, so that the definition can be written down."""
    reference = [float(2**i) for i in range(10) for _ in range(10)]
    other = [float(2**i) for i in range(10) for _ in range(5 if i else 55)]
    p, q = np.full(10, 0.1), np.array([55, *[5] * 9]) / 100
    assert psi(of([*reference]), of([*other])) == pytest.approx(((q - p) * np.log(q / p)).sum())
    assert psi(of([*reference]), of([*reference])) == 0
    missing = psi(of([*reference]), of([*reference, *[None] * 100]))
    assert missing is not None
    assert missing > 0.25


def test_without_values_there_is_no_distance() -> None:
    assert ks(of([]), of([1.0])) is None
    assert psi(of([]), of([1.0])) is None
    assert of([None]).quantile(0.5) is None


@pytest.mark.parametrize("column", [pa.array([True, False, None]), pa.array([1, -3, 2**40]), pa.array([7], pa.uint8())])
def test_columns_of_all_numbers_have_histograms(column: pa.Array) -> None:
    histogram = Histogram.of(column)
    assert histogram.values + histogram.missing == len(column)

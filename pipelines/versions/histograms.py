"""Histograms of measures whose bins no data chooses, so that those of shards and nights add up, and how far two differ.

A bin is what the first 16 bits of a value's order key have in common: sixteen bins to each power of two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.expressions.order import order_keys

_CUT = 48  #: bits of an order key that do not count
_SIGN = np.uint64(1 << 63)
_FEW = 1000  #: values that are counted by sorting them; of more the bins are counted through
_GROUPS = 10  #: quantile groups of the reference that `psi` compares
_RARE, _NORMAL = 1e-4, 3.719  #: a probability, and what a normal variable exceeds so rarely
_LEAST = 1e-4  #: smallest share of a group, where the logarithm of none would be infinite


@dataclass(frozen=True)
class Histogram:
    """Counts of values by bin, and of values that are null or NaN."""

    bins: NDArray[np.uint32]  #: those that hold something, ascending (n)
    counts: NDArray[np.int64]  #: values in each (n)
    missing: int = 0

    @classmethod
    def of(cls, column: pa.Array | pa.ChunkedArray) -> Histogram:
        """Return the histogram of a column of numbers, booleans or times."""
        places = bin_places(column)
        return cls.at(places[places >= 0], int((places < 0).sum()))

    @classmethod
    def at(cls, places: NDArray[np.int64], missing: int = 0) -> Histogram:
        """Return the histogram of values that lie in these bins (n)."""
        if len(places) < _FEW:
            bins, counts = np.unique(places, return_counts=True)
            return cls(bins.astype(np.uint32), counts.astype(np.int64), missing)
        lowest = int(places.min())
        counted = np.bincount(places - lowest)
        bins = np.flatnonzero(counted != 0)  # which is far faster of booleans
        return cls((bins + lowest).astype(np.uint32), counted[bins].astype(np.int64), missing)

    @property
    def values(self) -> int:
        """Return how many values are neither null nor NaN."""
        return int(self.counts.sum())

    @property
    def lowest(self) -> NDArray[np.float64]:
        """Return the lower bounds of the bins (n) of a column of numbers."""
        return _lower_bounds(self.bins)

    def __add__(self, other: Histogram) -> Histogram:
        return total([self, other])

    def quantile(self, share: float) -> float | None:
        """Return the lower bound of the bin in which the quantile lies; None without values."""
        return self.quantiles([share])[0]

    def quantiles(self, shares: Sequence[float]) -> list[float | None]:
        """Return the lower bounds of the bins in which quantiles lie; None without values."""
        if not self.values:
            return [None] * len(shares)
        ends = np.cumsum(self.counts)
        ranks = np.maximum(1, np.ceil(np.array(shares) * ends[-1]))
        return list(_lower_bounds(self.bins[np.searchsorted(ends, ranks)]).tolist())

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"bins": self.bins.tolist(), "counts": self.counts.tolist(), "missing": self.missing}

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Histogram:
        """Return the histogram of plain values: the inverse of `to_json`."""
        return cls(np.array(held["bins"], np.uint32), np.array(held["counts"], np.int64), held["missing"])


def _lower_bounds(bins: NDArray[np.uint32]) -> NDArray[np.float64]:
    keys = bins.astype(np.uint64) << np.uint64(_CUT)
    bounds = np.where((keys & _SIGN) != 0, keys ^ _SIGN, ~keys).view(np.float64)
    return np.where(np.isnan(bounds), -np.inf, bounds)  # below minus infinity lies no number


def bin_places(column: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the bin of each value (n) of a column of numbers, booleans or times, -1 where it is null or NaN."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    keys, valid = order_keys(array.cast(pa.float64(), safe=False) if is_number(array.type) else array)
    places = (keys >> np.uint64(_CUT)).astype(np.int64)
    places[~valid] = -1
    return places


def is_number(type: pa.DataType) -> bool:
    """Return whether a type is a number, or true and false."""
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_boolean(type))


def ks(reference: Histogram, other: Histogram) -> float | None:
    """Return the largest distance of two distribution functions (Kolmogorov-Smirnov), at the borders of bins.

    None where one has no values.
    """
    if not reference.values or not other.values:
        return None
    bins = np.union1d(reference.bins, other.bins)
    shares = [np.cumsum(_on(bins, h)) / h.values for h in (reference, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def psi(reference: Histogram, other: Histogram) -> float | None:
    """Return the population stability index: the sum of (q - p) ln(q / p) over groups of values.

    The groups are about tenths of the reference, and the missing values; p and q are their shares, at least 1e-4
    (Siddiqi 2006, "Credit Risk Scorecards"). By custom 0.1 is a shift to look at, 0.25 a large one. None where one has
    neither values nor missing ones.
    """
    totals = [h.values + h.missing for h in (reference, other)]
    if not all(totals):
        return None
    bins = np.union1d(reference.bins, other.bins)
    at = _on(bins, reference)
    before = np.cumsum(at) - at
    group = np.minimum(before * _GROUPS // max(1, reference.values), _GROUPS - 1)
    shares = []
    for histogram, total in zip((reference, other), totals, strict=True):
        counts = np.bincount(group, weights=_on(bins, histogram), minlength=_GROUPS)
        shares.append(np.append(counts, histogram.missing) / total)
    return _index(*shares)


def psi_of_counts(reference: Mapping[str, int], other: Mapping[str, int]) -> float | None:
    """Return the population stability index of counts by value; None where one has none. See `psi`."""
    totals = [sum(counts.values()) for counts in (reference, other)]
    if not all(totals):
        return None
    names = sorted({*reference, *other})
    p, q = (
        np.array([counts.get(name, 0) for name in names]) / total
        for counts, total in zip((reference, other), totals, strict=True)
    )
    return _index(p, q)


def _index(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    used = (p > 0) | (q > 0)
    p, q = (np.maximum(shares[used], _LEAST) for shares in (p, q))
    return float(((q - p) * np.log(q / p)).sum())


def psi_by_chance(first: int, second: int, groups: int = _GROUPS + 1) -> float:
    """Return the index that two samples of one distribution, of these sizes, exceed once in ten thousand times.

    It is near (1 / first + 1 / second) times chi-squared of groups - 1 degrees (Yurdakul 2018, "Statistical Properties
    of Population Stability Index"), whose quantile is that of Wilson and Hilferty (1931).
    """
    degrees = max(1, groups - 1)
    chi_squared = degrees * (1 - 2 / (9 * degrees) + _NORMAL * (2 / (9 * degrees)) ** 0.5) ** 3
    return float(chi_squared * (1 / first + 1 / second))


def ks_by_chance(first: int, second: int) -> float:
    """Return the distance that two samples of one distribution, of these sizes, exceed once in ten thousand times.

    By the limit of the Kolmogorov-Smirnov test: sqrt(-ln(p / 2) / 2) sqrt(1 / first + 1 / second).
    """
    return float((-np.log(_RARE / 2) / 2) ** 0.5 * (1 / first + 1 / second) ** 0.5)


def _on(bins: NDArray[np.uint32], histogram: Histogram) -> NDArray[np.int64]:
    """Return the counts of a histogram in other bins (n), among which all of its own are."""
    counts = np.zeros(len(bins), np.int64)
    counts[np.searchsorted(bins, histogram.bins)] = histogram.counts
    return counts


def total(histograms: Sequence[Histogram]) -> Histogram:
    """Return the sum of histograms."""
    if len(histograms) == 1:
        return histograms[0]
    held = np.concatenate([np.zeros(0, np.uint32), *(h.bins for h in histograms)])
    bins, which = np.unique(held, return_inverse=True)
    counts = np.zeros(len(bins), np.int64)
    np.add.at(counts, which, np.concatenate([np.zeros(0, np.int64), *(h.counts for h in histograms)]))
    return Histogram(bins, counts, sum(h.missing for h in histograms))

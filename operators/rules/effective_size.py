"""The effective sample size of weights given by their logarithms: (sum w)^2 / sum w^2 (Kish 1965).

It says how many documents of equal weight would carry as much: far fewer than there are, where a few weights
dominate. Sums are kept as whole numbers, one for each binary exponent, so they are exact under addition: shards may be
merged in any order and split anywhere, and the last digit stays.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

_UNIT = 30  # bits after the binary point of a mantissa
_REACH = 200  # exponents this far below the largest add nothing that a double could show
_EXPONENT_LIMIT = 2.0**40  # beyond it the exponents' spacing means nothing


def exponential_terms(logarithms: NDArray[np.float64], power: int = 1) -> Counter[int]:
    """Return the sum of exp(power * v) over finite v, as {binary exponent: sum of mantissas in units of 2^-30}.

    Counters add. Logarithms beyond what exponents tell apart are taken as the largest, for weights and squares both.
    """
    finite = np.clip(logarithms[np.isfinite(logarithms)], -_EXPONENT_LIMIT, _EXPONENT_LIMIT)
    powers = power * (finite / math.log(2))
    exponents = np.floor(powers)
    mantissas = np.rint(np.exp2(powers - exponents + _UNIT)).astype(np.int64)
    unique_exponents, places = np.unique(exponents.astype(np.int64), return_inverse=True)
    sums = np.zeros(len(unique_exponents), np.int64)
    np.add.at(sums, places, mantissas)
    return Counter(dict(zip(unique_exponents.tolist(), sums.tolist(), strict=True)))


def effective_size(weights: Mapping[int, int], squares: Mapping[int, int]) -> float:
    """Return the effective size from the terms of w (logarithms v) and of w^2 (logarithms 2v); 0 without any."""
    if not weights:
        return 0.0
    (exponent, logarithm), (of_squares, log_of_squares) = _log2(weights), _log2(squares)
    return float(2 ** (2 * exponent - of_squares + (2 * logarithm - log_of_squares)))


def _log2(terms: Mapping[int, int]) -> tuple[int, float]:
    """Return the binary logarithm of a sum as a whole number and a small one, precise for huge sums too."""
    top = max(terms)
    total = sum(Fraction(mantissas, 1 << (top - e)) for e, mantissas in terms.items() if top - e <= _REACH)
    return top - _UNIT, math.log2(total)

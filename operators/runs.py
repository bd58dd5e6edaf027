"""Rows whose equal values are together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_first(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows (n) differ from the row before them: the first of each run of equal values."""
    first = np.ones(len(values), np.bool_)
    first[1:] = values[1:] != values[:-1]
    return first

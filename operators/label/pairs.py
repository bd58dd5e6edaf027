"""Pairs of texts to compare: which ones, as one text, and in which order they are shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.noise import uniform

_ORDER, _STRIDES = np.uint64(0), np.uint64(1)  # what the seed is mixed with, for draws of several kinds
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def drawn_pairs(words: NDArray[np.uint64], comparisons: int, seed: int) -> NDArray[np.int64]:
    """Return pairs (m, 2) of places of texts, so that each text is in `comparisons` of them, no pair twice.

    An odd number is rounded up. words: uint64 (n, 2), the texts' content ids. In the order of a hash of (seed, id) a
    text is compared with those at some distances from it, the same for all, so that all are connected. Which is shown
    first is drawn as well: models prefer a place. The pairs depend on the seed and the texts alone.
    """
    n = len(words)
    order = np.argsort(_noise(words, seed, _ORDER), kind="stable")
    most = (n - 1) // 2
    steps = np.arange(2, most + 1, dtype=np.uint64)
    drawn = np.argsort(_noise(np.stack([steps, steps], axis=1), seed, _STRIDES), kind="stable")
    strides = [1, *steps[drawn][: (comparisons - 1) // 2].tolist()]
    places = np.arange(n if n > 2 else n - 1)  # two texts are one pair
    pairs = np.concatenate([np.stack([order[places], order[(places + stride) % n]], axis=1) for stride in strides])
    turned = _noise(words[pairs[:, 0]] ^ words[pairs[:, 1]], seed, _ORDER) < 0.5
    pairs[turned] = pairs[turned][:, ::-1]
    return pairs


def _noise(words: NDArray[np.uint64], seed: int, kind: np.uint64) -> NDArray[np.float64]:
    words = np.ascontiguousarray(words)
    words.flags.writeable = False
    noise: NDArray[np.float64] = uniform(np.uint64(seed) ^ (_GOLDEN * kind), words)
    return noise


def joined(first: str, second: str) -> str:
    """Return two texts as one, which `parted` takes apart."""
    return f"{len(first)}\n{first}{second}"


def parted(both: str) -> tuple[str, str]:
    """Return the texts that `joined` made one of."""
    length, _, rest = both.partition("\n")
    return rest[: int(length)], rest[int(length) :]

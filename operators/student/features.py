"""Texts as sparse rows: hashed word n-grams, rarer ones counting for more.

The value of an n-gram is its count times its weight (the logarithm of how rare it is), over the square root of the
number of n-grams of the text. It is linear in the counts, so that a model over them is scored by adding up one number
for each n-gram; a constant is the last column.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.ngrams import UNCACHED, Features, list_buckets, sum_over_buckets
from gristmill.operators.kernels.wordpunct import characters

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
_LEAST = 1e-12


class SparseRows(NamedTuple):
    """Sparse rows (n): those of row i are at starts[i] to starts[i + 1]."""

    starts: Numbers  #: (n + 1)
    columns: Numbers
    values: Floats

    @property
    def squares(self) -> Floats:
        """Return the squared length of each row (n)."""
        sums = np.concatenate([[0.0], np.cumsum(self.values * self.values)])
        lengths: Floats = sums[self.starts[1:]] - sums[self.starts[:-1]]
        return lengths

    def take(self, which: Numbers) -> SparseRows:
        """Return some of the rows."""
        sizes = np.diff(self.starts)[which]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        places = np.repeat(self.starts[which] - starts[:-1], sizes) + np.arange(starts[-1])
        return SparseRows(starts, self.columns[places], self.values[places])


class NgramCounts(NamedTuple):
    """Occurrences of each bucket in texts (n), sparse as `SparseRows`, and the number of n-grams of each text (n)."""

    starts: Numbers
    buckets: Numbers
    counts: Floats
    lengths: Numbers

    def rows(self, rarity: Floats) -> SparseRows:
        """Return the rows of the texts by the weights (buckets) of n-grams, the constant last in each."""
        n = len(self.lengths)
        of_row = np.repeat(np.arange(n), np.diff(self.starts))
        values = self.counts * rarity[self.buckets] / np.sqrt(np.maximum(self.lengths, 1))[of_row]
        at = self.starts[1:]
        return SparseRows(
            self.starts + np.arange(n + 1), np.insert(self.buckets, at, len(rarity)), np.insert(values, at, 1.0)
        )

    def unit_rows(self, rarity: Floats, constant: float = 1.0) -> SparseRows:
        """Return rows of length 1: one plus the logarithm of each count, times its rarity; a constant last in each."""
        rows = self._replace(counts=1 + np.log(self.counts)).rows(rarity)
        rows.values[rows.starts[1:] - 1] = constant
        lengths = np.sqrt(np.maximum(rows.squares, _LEAST))
        return rows._replace(values=rows.values / np.repeat(lengths, np.diff(rows.starts)))

    def rarity(self, buckets: int, among: NDArray[np.bool_] | None = None) -> Floats:
        """Return log((1 + m) / (1 + texts that have it)) + 1 for each bucket, by all texts (n) or m of them."""
        among = np.ones(len(self.lengths), np.bool_) if among is None else among
        have = np.bincount(self.buckets[np.repeat(among, np.diff(self.starts))], minlength=buckets)
        weights: Floats = np.log((1 + among.sum()) / (1 + have)) + 1
        return weights


class Ngrams(NamedTuple):
    """The n-grams that texts are taken for."""

    order: int  #: longest, in words
    buckets: int

    def occurrences(self, texts: pa.LargeStringArray) -> NgramCounts:
        """Return how often n-grams occur in texts (n); a null text has none."""
        starts, every = self._listed(texts)
        lengths = np.diff(starts)
        keys = np.repeat(np.arange(len(texts)), lengths) * self.buckets + every
        unique, counts = np.unique(keys, return_counts=True)
        of_text = np.searchsorted(unique, np.arange(len(texts) + 1) * self.buckets)
        return NgramCounts(of_text, unique % self.buckets, counts.astype(np.float64), lengths)

    def last_buckets(self, texts: pa.LargeStringArray) -> Numbers:
        """Return the bucket of the last n-gram of texts (n), of one of `order` words or less that of all its words.

        -1 where a text has no words.
        """
        starts, every = self._listed(texts)
        return np.where(np.diff(starts) > 0, np.append(every, -1)[starts[1:] - 1], -1)

    def _listed(self, texts: pa.LargeStringArray) -> tuple[Numbers, Numbers]:
        """Return where the n-grams of each of n texts begin (n + 1), and their buckets: those of one word first."""
        _, lengths = self.sums(texts, np.zeros((self.buckets, 0), np.float32))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        buckets = np.empty(starts[-1], np.int64)
        list_buckets(*text_buffers(texts), self._features(), starts, buckets)
        return starts, buckets

    def sums(self, texts: pa.LargeStringArray, values: NDArray[np.float32]) -> tuple[Floats, Numbers]:
        """Return sums of values (buckets, k) over the n-grams of texts (n, k), and the numbers of n-grams (n).

        Sums are of 64 bits.
        """
        sums, lengths = np.empty((len(texts), values.shape[1])), np.empty(len(texts), np.int64)
        sum_over_buckets(*text_buffers(texts), self._features(), values, sums, lengths)
        return sums, lengths

    def _features(self) -> Features:
        return Features(characters(like_re=False), self.order, self.buckets, UNCACHED)

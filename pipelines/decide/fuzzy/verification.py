"""Verification: candidates are compared, and those that reach the threshold are edges.

A pair is compared in the shard of its larger address. The evidence of the smaller one comes from its own shard, once
for each shard that needs it, however many pairs it has there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.kernels.candidates import hash_pairs
from gristmill.pipelines.decide.fuzzy.candidates import CandidatePairs
from gristmill.pipelines.decide.fuzzy.pairs import pair_arrays, pair_table
from gristmill.pipelines.decide.fuzzy.similarity import Evidence, similarities
from gristmill.pipelines.decide.shards import SurvivingShard
from gristmill.pipelines.exchange.shuffle import Exchange, shard_of

#: Pairs in the sample of a report.
SAMPLED = 1000
_ROW_BITS, _ROW_MASK = np.uint64(columns.ROW_BITS), np.uint64((1 << columns.ROW_BITS) - 1)


@dataclass(frozen=True)
class PairSample:
    """Compared pairs of documents, chosen by a hash of the two addresses: those with the smallest hashes."""

    left: NDArray[np.uint64]  #: addresses
    right: NDArray[np.uint64]  #: addresses
    similarity: NDArray[np.float64]

    @classmethod
    def merge(cls, samples: Iterable[PairSample]) -> PairSample:
        """Return the sample of all pairs from the samples of parts of them."""
        left, right = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        result = cls(left, right, np.zeros(0))
        for sample in samples:
            result = (
                cls(
                    np.concatenate([result.left, sample.left]),
                    np.concatenate([result.right, sample.right]),
                    np.concatenate([result.similarity, sample.similarity]),
                )
                ._smallest()
                ._in_order()
            )
        return result

    def _smallest(self) -> PairSample:
        hashes = hash_pairs(self.left, self.right)
        if len(hashes) <= SAMPLED:
            return self
        indices = np.argpartition(hashes, SAMPLED - 1)[:SAMPLED]
        return PairSample(self.left[indices], self.right[indices], self.similarity[indices])

    def _in_order(self) -> PairSample:
        order = np.lexsort((self.right, self.left))
        return PairSample(self.left[order], self.right[order], self.similarity[order])


@dataclass(frozen=True)
class VerifiedPairs:
    """The result of verification in one shard."""

    edges: int
    sample: PairSample


@dataclass(frozen=True)
class Verification:
    """The comparison of the pairs of all shards. `attach`, then `verify`, run once for each shard."""

    evidence: Evidence
    threshold: float
    candidates: CandidatePairs
    pairs: Exchange  #: PAIRS, from the shard of the smaller address to that of the larger one
    smaller: Exchange  #: evidence of the smaller addresses, to each other shard that has a pair with them
    edges: Exchange  #: PAIRS that reach the threshold, by the shard of the larger address

    def attach(self, shard: SurvivingShard) -> int:
        """Send the pairs of a shard's smaller addresses, and their evidence; return the number of pairs."""
        pairs = self.candidates.of(shard)
        left, right = pair_arrays(pairs)
        target = shard_of(self.candidates.ordinals, right)
        self.pairs.send(shard.ordinal, pairs, target)
        elsewhere = target != self.candidates.position(shard)
        needed = np.unique(target[elsewhere].astype(np.uint64) << _ROW_BITS | left[elsewhere] & _ROW_MASK)
        rows, places = np.unique(needed & _ROW_MASK, return_inverse=True)
        table = self._own(shard, rows | np.uint64(columns.address(shard.ordinal, 0)))
        self.smaller.send(shard.ordinal, table.take(pa.array(places)), (needed >> _ROW_BITS).astype(np.int64))
        return len(left)

    def verify(self, shard: SurvivingShard) -> VerifiedPairs:
        """Compare the pairs of a shard's larger addresses; write down those that reach the threshold."""
        ordinals, position = self.candidates.ordinals, self.candidates.position(shard)
        left, right = pair_arrays(self.pairs.receive(ordinals.tolist(), position))
        own = self._own(shard, np.unique(np.concatenate([left[shard_of(ordinals, left) == position], right])))
        table = pa.concat_tables([self.smaller.receive(ordinals.tolist(), position), own]).combine_chunks()
        addresses = np.asarray(table["address"])
        order = np.argsort(addresses)
        rows = [order[np.searchsorted(addresses, side, sorter=order)] for side in (left, right)]
        similarity = similarities(self.evidence, table["evidence"].combine_chunks(), *rows)
        reached = similarity >= self.threshold
        self.edges.keep(shard.ordinal, pair_table(left[reached], right[reached]))
        return VerifiedPairs(int(reached.sum()), PairSample.merge([PairSample(left, right, similarity)]))

    def remove(self) -> None:
        """Remove the files that the edges were made of."""
        self.pairs.remove()
        self.smaller.remove()

    def _own(self, shard: SurvivingShard, addresses: NDArray[np.uint64]) -> pa.Table:
        """Return some of a shard's documents (ascending, distinct) with their evidence."""
        values = self.evidence.of(shard, addresses) if len(addresses) else pa.nulls(0, self.evidence.type)
        return pa.table([pa.array(addresses), values], schema=evidence_schema(self.evidence))


def evidence_schema(evidence: Evidence) -> pa.Schema:
    """Return the schema of documents with their evidence."""
    return pa.schema([("address", pa.uint64()), ("evidence", evidence.type)])

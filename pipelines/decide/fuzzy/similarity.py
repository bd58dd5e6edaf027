"""Evidence by which candidates are compared, from signatures or texts, and the similarities that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.kernels.bands import agreements
from gristmill.operators.rules.banding import estimate
from gristmill.pipelines.decide.shards import SurvivingShard, addresses_of

#: Pairs that are compared at a time: their evidence in memory stays small, however large that of each document is.
CHUNK = 1 << 14


class Evidence(Protocol):
    """The evidence by which documents are compared. Picklable."""

    @property
    def type(self) -> pa.DataType:
        """Return the type of one document's evidence."""
        ...

    def of(self, shard: SurvivingShard, addresses: NDArray[np.uint64], /) -> pa.Array:
        """Return the evidence (n of `type`) of some of a shard's documents: n addresses, ascending and distinct."""
        ...

    def similarity(self, left: pa.Array, right: pa.Array, /) -> NDArray[np.float64]:
        """Return the similarity (n, 0 to 1) of n pairs of documents from their evidence."""
        ...


@dataclass(frozen=True)
class SignatureEvidence:
    """MinHash signatures: the Jaccard similarity estimated from the lanes that agree."""

    column: str
    permutations: int

    @property
    def type(self) -> pa.DataType:
        """Return the type of one document's signature."""
        return pa.binary(2 * self.permutations)

    def of(self, shard: SurvivingShard, addresses: NDArray[np.uint64], /) -> pa.Array:
        """Return the signatures (n) of some of a shard's documents: n addresses, ascending and distinct."""
        documents = shard.read([self.column])
        rows = np.searchsorted(addresses_of(documents), addresses)
        return documents[self.column].combine_chunks().take(pa.array(rows))

    def similarity(self, left: pa.Array, right: pa.Array, /) -> NDArray[np.float64]:
        """Return the similarity (n) of n pairs of documents, estimated from the lanes that agree."""
        return estimate(agreements(lanes(left), lanes(right)), self.permutations)


def lanes(signatures: pa.Array) -> NDArray[np.uint16]:
    """Return the lanes (n x permutations) of n signatures, without copying them; those of a null mean nothing."""
    permutations = signatures.type.byte_width // 2
    words = np.frombuffer(signatures.buffers()[1] or b"", np.dtype("<u2"))
    start = signatures.offset * permutations
    view = words[start : start + len(signatures) * permutations].reshape(len(signatures), permutations)
    view.flags.writeable = False  # always, though Arrow's buffers differ in it: else kernels are compiled for both
    return view


def similarities(
    evidence: Evidence, values: pa.Array, left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the similarity (n) of n pairs, given as rows of `values`."""
    scores = np.empty(len(left), np.float64)
    for start in range(0, len(left), CHUNK):
        chunk = slice(start, start + CHUNK)
        scores[chunk] = evidence.similarity(values.take(pa.array(left[chunk])), values.take(pa.array(right[chunk])))
    return scores

"""What `verify: text` compares: all shingles of the candidates, from their texts read again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.base import digest_of
from operators.kernels.buffers import text_buffers
from operators.kernels.jaccard import jaccard_of_sets
from operators.kernels.shingles import alphabet, shingle_sets
from pipelines.decide.shards import SurvivingShard, addresses_of
from pipelines.state import files
from pipelines.texts import KNOWN, Texts


@dataclass(frozen=True)
class TextEvidence:
    """Distinct shingle hashes of texts, sorted, 8 bytes each: exact Jaccard similarity. Picklable.

    Each call of `of` leaves a note in `folder` of how many texts it read, under a name that depends on what was asked.
    """

    texts: Texts
    ngram: int
    folder: str

    @property
    def type(self) -> pa.DataType:
        """Sets of shingle hashes."""
        return pa.large_list(pa.uint64())

    def of(self, shard: SurvivingShard, addresses: NDArray[np.uint64], /) -> pa.Array:
        """The shingles (n sets) of some of a shard's documents. Raises ShardError where the shard has changed."""
        documents = shard.read(KNOWN)
        known = documents.take(pa.array(np.searchsorted(addresses_of(documents), addresses)))
        sets = [self._shingles(texts) for texts in self.texts.read(shard.ordinal, known)] if len(addresses) else []
        note = f"{shard.ordinal:08d}-{digest_of(addresses.tolist())}.json"
        files.write_json(files.join(self.folder, note), {"read": len(addresses)})
        return pa.concat_arrays([pa.nulls(0, self.type), *sets])

    def similarity(self, left: pa.Array, right: pa.Array, /) -> NDArray[np.float64]:
        """Exact Jaccard similarities (n) of n pairs of sets."""
        found: NDArray[np.float64] = jaccard_of_sets(*_buffers(left), *_buffers(right))
        return found

    def read(self) -> int:
        """How many texts were read so far; one that was asked for twice counts twice."""
        notes = (files.read_json(files.join(self.folder, name)) for name in files.names(self.folder))
        return sum(note["read"] for note in notes)

    def _shingles(self, texts: pa.LargeStringArray) -> pa.Array:
        values, offsets = shingle_sets(*text_buffers(texts), self.ngram, alphabet())
        return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def _buffers(sets: pa.LargeListArray) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes and offsets (n + 1) of n sets."""
    return np.asarray(sets.values), np.asarray(sets.offsets)

"""Evidence of `verify: text`: all shingles of the candidates, from their texts read again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.base import digest_of
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.jaccard import jaccard_of_sets
from gristmill.operators.kernels.shingles import alphabet, shingle_sets
from gristmill.pipelines.decide.shards import SurvivingShard, addresses_of
from gristmill.pipelines.exchange import shuffle_files
from gristmill.pipelines.shard_tasks.reread import KNOWN, Texts
from gristmill.pipelines.storage import files


@dataclass(frozen=True)
class TextEvidence:
    """Distinct shingle hashes of texts, sorted, 8 bytes each: exact Jaccard similarity. Picklable.

    Shingles are kept in `folder` by shard until the rule is resolved, so that each text is read once.
    """

    texts: Texts
    ngram: int
    folder: str

    @property
    def type(self) -> pa.DataType:
        """Return the type of a set of shingle hashes."""
        return pa.large_list(pa.uint64())

    def of(self, shard: SurvivingShard, addresses: NDArray[np.uint64], /) -> pa.Array:
        """Return the shingles (n sets) of some of a shard's documents. Raises ShardError if the shard has changed."""
        folder = files.join(self.folder, f"{shard.ordinal:08d}")
        tables = [shuffle_files.read_table(files.join(folder, name)) for name in files.names(folder)]
        table = pa.concat_tables([self._schema.empty_table(), *tables])
        missing = np.setdiff1d(addresses, np.asarray(table[columns.ADDRESS]))
        if len(missing):
            new_rows = pa.table([pa.array(missing), self._read(shard, missing)], schema=self._schema)
            shuffle_files.write_table(
                files.join(folder, f"{digest_of(missing.tolist())}-{len(missing)}.arrow"), new_rows
            )
            table = pa.concat_tables([table, new_rows])
        at = np.asarray(table[columns.ADDRESS])
        order = np.argsort(at)
        return table["shingles"].combine_chunks().take(pa.array(order[np.searchsorted(at, addresses, sorter=order)]))

    def similarity(self, left: pa.Array, right: pa.Array, /) -> NDArray[np.float64]:
        """Return the exact Jaccard similarities (n) of n pairs of sets."""
        result: NDArray[np.float64] = jaccard_of_sets(*_buffers(left), *_buffers(right))
        return result

    def read(self) -> int:
        """Return the number of texts that were read."""
        folders = [files.join(self.folder, name) for name in files.names(self.folder)]
        names = [name for folder in folders for name in files.names(folder)]
        return sum(int(name.removesuffix(".arrow").rsplit("-")[-1]) for name in names)

    @property
    def _schema(self) -> pa.Schema:
        return pa.schema([(columns.ADDRESS, columns.TYPES[columns.ADDRESS]), ("shingles", self.type)])

    def _read(self, shard: SurvivingShard, addresses: NDArray[np.uint64]) -> pa.Array:
        documents = shard.read(KNOWN)
        table = documents.take(pa.array(np.searchsorted(addresses_of(documents), addresses)))
        return pa.concat_arrays([self._shingles(texts) for texts in self.texts.read(shard.ordinal, table)])

    def _shingles(self, texts: pa.LargeStringArray) -> pa.Array:
        values, offsets = shingle_sets(*text_buffers(texts), self.ngram, alphabet())
        return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def _buffers(sets: pa.LargeListArray) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the hashes and the offsets (n + 1) of n sets."""
    return np.asarray(sets.values), np.asarray(sets.offsets)

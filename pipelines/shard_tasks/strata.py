"""Strata of the documents that a dataset keeps: how many there are of each, and which partition packs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.arrays import partition_of
from gristmill.operators.base import Rewrite
from gristmill.operators.strata import MOST_STRATA, Key, Stratification, Value
from gristmill.pipelines.shard_tasks.reread import kept_rows, sized_by, written_bytes
from gristmill.pipelines.store.measures import ShardMeasures


@dataclass(frozen=True)
class KeptDocuments:
    """The documents of a shard that are kept, by columns that were measured. Picklable."""

    measures: ShardMeasures
    decisions: str  #: the shard's decision file

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return columns of them."""
        return self.measures.read(names).filter(kept_rows(self.decisions))


@dataclass(frozen=True)
class CountStrata:
    """The task that counts the kept documents of one shard, and the bytes of their texts, by stratum."""

    kept: KeptDocuments
    of: Stratification
    rewrite: Rewrite | None

    def run(self) -> dict[Key, tuple[int, int]]:
        """Return documents and bytes (UTF-8, as they are written) of each stratum; of too many one more than may be."""
        table = self.kept.read(list(dict.fromkeys([*self.of.columns, *sized_by(self.rewrite)])))
        keys, numbers = self.of.strata(table)
        documents = np.bincount(numbers, minlength=len(keys))
        sizes = np.zeros(len(keys), np.int64)
        np.add.at(sizes, numbers, written_bytes(table, self.rewrite).astype(np.int64))
        counts = zip(documents.tolist(), sizes.tolist(), strict=True)
        return dict([*zip(keys, counts, strict=True)][: MOST_STRATA + 1])


def count_strata(task: CountStrata) -> dict[Key, tuple[int, int]]:
    """Run a task: `CountStrata.run` as a plain function, which engines take."""
    return task.run()


@dataclass(frozen=True)
class PackedStrata:
    """The strata of a dataset, in order, and the partitions that pack each. Picklable."""

    of: Stratification
    keys: tuple[Key, ...]
    documents: tuple[int, ...]  #: of each
    partitions: tuple[int, ...]  #: how many pack each: those of one follow those of the one before

    def partition_of(self, shuffle_keys: NDArray[np.uint64], documents: pa.Table) -> NDArray[np.int64]:
        """Return the partition (n) of documents, by their shuffle keys (n) and the columns of strata (n rows)."""
        found, numbers = self.of.strata(documents)
        places = {key: place for place, key in enumerate(self.keys)}
        place = np.array([places[key] for key in found], np.int64)[numbers]
        partitions = np.array(self.partitions, np.int64)
        first = np.cumsum(partitions) - partitions
        within: NDArray[np.int64] = first[place] + partition_of(shuffle_keys, partitions[place])
        return within

    def number_of(self, partition: int) -> int:
        """Return the number of the stratum that a partition packs."""
        return next(n for n, end in enumerate(accumulate(self.partitions)) if partition < end)

    def told(self, partition: int) -> dict[str, Value]:
        """Return the stratum that a partition packs, as manifests have it."""
        return self.of.told(self.keys[self.number_of(partition)])

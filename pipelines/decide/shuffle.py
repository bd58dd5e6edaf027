"""The keyed exchange: many senders, many partitions, and files in between.

Each sender writes one file with a batch for each partition; the task that resolves a partition reads its batch of every
file. No task holds more than one sender's rows or one partition's, nothing is pushed to a running process, and a task
that runs twice writes the same file twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.pipelines.config.tuning import sizes
from gristmill.pipelines.decide import shuffle_files
from gristmill.pipelines.storage import files

#: A sender's block of rows for a partition has at least one in so many of a partition's rows on average.
BLOCKS = 1 << 12


@dataclass(frozen=True)
class Exchange:
    """A folder of exchange files. Picklable."""

    folder: str
    partitions: int
    schema: pa.Schema

    def send(self, sender: int, table: pa.Table, partition: NDArray[np.int64]) -> None:
        """Write a sender's rows (n), each to its partition (n); rows keep their order within a partition."""
        # NumPy sorts 16-bit numbers by radix, several times faster than wider ones.
        order = np.argsort(partition.astype(np.min_scalar_type(self.partitions)), kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(partition, minlength=self.partitions))])
        in_order = table.take(pa.array(order))
        batches = [in_order.slice(start, end - start) for start, end in itertools.pairwise(bounds.tolist())]
        shuffle_files.write_batches(self._file(sender), self.schema, batches)

    def keep(self, sender: int, table: pa.Table) -> None:
        """Write a sender's rows to the only partition, to be received later by the number of the sender."""
        shuffle_files.write_batches(self._file(sender), self.schema, [table])

    def receive(self, senders: Iterable[int], partition: int) -> pa.Table:
        """Return the rows of one partition from these senders, in their order."""
        batches = [shuffle_files.read_batch(self._file(sender), partition) for sender in senders]
        return pa.concat_tables([self.schema.empty_table(), *batches]).combine_chunks()

    def remove(self) -> None:
        """Remove the files, if there are any."""
        files.remove(self.folder)

    def _file(self, sender: int) -> str:
        return files.join(self.folder, f"{sender:08d}.arrow")


def partitions_for(rows: int, senders: int = 1, weight: int = 1) -> int:
    """Return the number of partitions for rows that weigh as much as `weight` others; fewer for many senders.

    A sender has a block of rows for each partition. On average it is no smaller than 1 / BLOCKS of a partition: with a
    million shards and partitions, reading tiny blocks would be all the work.
    """
    partition_rows = sizes().partition_rows
    fitting = -(-rows * weight // partition_rows)
    smallest_block = max(1, partition_rows // BLOCKS)
    return max(1, min(fitting, -(-rows // (smallest_block * max(1, senders)))))


def shard_of(ordinals: NDArray[np.int64], addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the partition (n) of addresses (n) where each shard is one: the position of its ordinal in `ordinals`."""
    return np.searchsorted(ordinals, (addresses >> np.uint64(columns.ROW_BITS)).astype(np.int64))

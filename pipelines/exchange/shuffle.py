"""The keyed exchange: many senders, many partitions, and files in between.

Each sender writes one file with a block for each partition; the task that resolves a partition reads its block of every
file. No task holds more than one sender's rows or one partition's, nothing is pushed to a running process, and a task
that runs twice writes the same file twice. Senders times partitions are the blocks to read: where that is too much,
`Exchange.merged` takes a second step between sending and receiving.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.pipelines.config.tuning import sizes
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.exchange.merged_blocks import MergedBlocks
from gristmill.pipelines.exchange.shuffle_files import PLACE, append_blocks, read_block, write_blocks
from gristmill.pipelines.sinks.parquet import DigestingFile
from gristmill.pipelines.storage import files

#: A sender's block of rows for a partition has at least one in so many of a partition's rows on average.
BLOCKS = 1 << 12


@dataclass(frozen=True)
class Exchange:
    """A folder of exchange files. Picklable."""

    folder: str
    partitions: int
    schema: pa.Schema
    merges: tuple[tuple[Sequence[int], MergedBlocks], ...] = ()  #: senders, in order, whose blocks are merged

    def send(self, sender: int, table: pa.Table, partition: NDArray[np.int64]) -> None:
        """Write a sender's rows (n), each to its partition (n); rows keep their order within a partition."""
        write_blocks(self._file(sender), self._blocks(table, partition))

    @contextlib.contextmanager
    def sending(self, sender: int) -> Iterator[Parts]:
        """Open what a sender sends in parts; its file is complete when the block ends without an error.

        Parts wait on the local disk until all are there, so that a partition has one block of the sender.
        """
        with tempfile.TemporaryFile(prefix="gristmill-") as waiting, files.replacing(self._file(sender), False) as file:
            parts = Parts(self, waiting)
            yield parts
            parts.write_to(file)

    def digest(self, sender: int) -> str:
        """Return the digest of a sender's file, as `Parts.digest` is. Raises FileNotFoundError where there is none."""
        return files.digest(self._file(sender))

    def keep(self, sender: int, table: pa.Table) -> None:
        """Write a sender's rows to the only partition, to be received later by the number of the sender."""
        write_blocks(self._file(sender), [table])

    def merged(self, senders: Sequence[int], engine: Engine) -> Exchange:
        """Return this exchange, with the blocks of senders merged where they are too many to read one by one.

        All of them have sent. What is received is the same; with all of them, in this order, it takes fewer reads.
        """
        blocks = len(senders) * self.partitions
        if blocks <= sizes().exchange_blocks:
            return self
        states = files.states(self.folder)
        written = [states[_name(sender)].size for sender in senders]
        if files.is_local(self.folder) and sum(written) >= sizes().exchange_block_bytes * blocks:
            return self
        urls, folder = [*map(self._file, senders)], files.join(self.folder, f"from-{senders[0]:08d}")
        merged = MergedBlocks.of(urls, written, self.partitions, folder, engine)
        return replace(self, merges=(*self.merges, (senders, merged)))

    def receive(self, senders: Iterable[int], partition: int) -> pa.Table:
        """Return the rows of one partition from these senders, in their order."""
        batches = itertools.chain.from_iterable(self._received(tuple(senders), partition))
        received = pa.Table.from_batches(batches, self.schema)
        # Of no batches a column has no chunk, and its array in NumPy is of another kind than others.
        return pa.concat_tables([self.schema.empty_table(), received]).combine_chunks()

    def remove(self) -> None:
        """Remove the files, if there are any."""
        files.remove(self.folder)

    def _received(self, senders: tuple[int, ...], partition: int) -> Iterator[Iterator[pa.RecordBatch]]:
        merges = {together[0]: (tuple(together), blocks) for together, blocks in self.merges}
        at = 0
        while at < len(senders):
            together, blocks = merges.get(senders[at], ((), None))
            if blocks is not None and senders[at : at + len(together)] == together:
                yield blocks.read(partition, self.schema)
                at += len(together)
            else:
                yield read_block(self._file(senders[at]), partition, self.schema)
                at += 1

    def _blocks(self, table: pa.Table, partition: NDArray[np.int64]) -> list[pa.Table]:
        """Return the rows (n) of each partition, in their order."""
        # NumPy sorts 16-bit numbers by radix, several times faster than wider ones.
        order = np.argsort(partition.astype(np.min_scalar_type(self.partitions)), kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(partition, minlength=self.partitions))])
        in_order = table.take(pa.array(order))
        return [in_order.slice(start, end - start) for start, end in itertools.pairwise(bounds.tolist())]

    def _file(self, sender: int) -> str:
        return files.join(self.folder, _name(sender))


class Parts:
    """Rows that a sender sends in parts, of which no more than one is held."""

    def __init__(self, exchange: Exchange, waiting: IO[bytes]) -> None:
        self._exchange, self._waiting = exchange, waiting
        self._places: list[NDArray[np.uint64]] = []
        self.digest = ""  #: of the file, once it is complete

    def send(self, table: pa.Table, partition: NDArray[np.int64]) -> None:
        """Add rows (n), each to its partition (n); a partition receives those of the parts in their order."""
        self._places.append(append_blocks(self._waiting, self._exchange._blocks(table, partition)))

    def write_to(self, file: IO[bytes]) -> None:
        """Write the file of the sender: for each partition its rows of all parts, as one block."""
        partitions = self._exchange.partitions
        places = np.array([np.zeros(partitions + 1, np.uint64), *self._places])  # a part without rows, and the parts
        lengths = np.diff(places)
        header = np.uint64(PLACE * (partitions + 1))
        digesting = DigestingFile(file)
        digesting.write((header + np.append(0, np.cumsum(lengths.sum(axis=0))).astype(np.uint64)).tobytes())
        for starts, bytes_of in zip(places[:, :-1].T.tolist(), lengths.T.tolist(), strict=True):
            for start, size in zip(starts, bytes_of, strict=True):
                if size:
                    self._waiting.seek(start)
                    digesting.write(self._waiting.read(size))
        self.digest = digesting.hexdigest()


def _name(sender: int) -> str:
    return f"{sender:08d}.blocks"


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

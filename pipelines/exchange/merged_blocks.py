"""The second step of an exchange with many blocks: those of a group of files and a range of partitions in one file.

A file of the exchange has a block for each partition. Merged, the blocks of a group of files for a partition lie behind
each other, in the order of the files, and a partition reads them by one request. Blocks are copied, not taken apart, so
what is received is the same.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.kernels.packing import copy_pieces
from gristmill.pipelines.config.tuning import sizes
from gristmill.pipelines.engine.base import Engine, run_in_order
from gristmill.pipelines.exchange.shuffle_files import PLACE, batches_in, places_in
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.ranges import open_ranges

_WORD = 4  # bytes that are copied at once: the size of a block is a multiple of it


@dataclass(frozen=True)
class MergedBlocks:
    """The blocks of some files of an exchange, merged. Picklable and small."""

    folder: str
    groups: int  #: of files whose blocks are merged
    bounds: tuple[int, ...]  #: of the ranges of partitions: the first is 0, the last the number of partitions

    @classmethod
    def of(
        cls, urls: Sequence[str], written: Sequence[int], partitions: int, folder: str, engine: Engine
    ) -> MergedBlocks:
        """Merge the blocks of files (n), of which so many bytes are `written` (n); what is made goes to `folder`."""
        ranges, ends = division(written, partitions)
        bounds = np.linspace(0, partitions, ranges + 1).astype(np.int64).tolist()
        merged = cls(folder, len(ends), tuple(bounds))
        tasks = [
            _Merge(tuple(urls[start:end]), bounds[part], bounds[part + 1], partitions, merged._file(group, part))
            for group, (start, end) in enumerate(itertools.pairwise([0, *ends]))
            for part in range(ranges)
        ]
        found = run_in_order(engine, _Merge.run, tasks)
        places = [np.column_stack([at[:-1], at[1:]]) for at in found]  # (partitions of the range, 2) for each task
        by_group = [np.concatenate(places[i : i + ranges]) for i in range(0, len(places), ranges)]
        with files.replacing(merged._places, durable=False) as file:
            file.write(np.stack(by_group, axis=1).tobytes())
        return merged

    def read(self, partition: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield what the blocks of a partition hold, in the order of the files: a request for each group and one."""
        row = 2 * PLACE * self.groups
        with open_ranges(self._places) as read:
            places = places_in(read(row * partition, row))
        part = bisect.bisect_right(self.bounds, partition) - 1
        for group, (start, end) in enumerate(zip(places[::2], places[1::2], strict=True)):
            if end > start:
                with open_ranges(self._file(group, part)) as read:
                    yield from batches_in(read(start, end - start), schema)

    @property
    def _places(self) -> str:
        return files.join(self.folder, "places")

    def _file(self, group: int, part: int) -> str:
        return files.join(self.folder, f"{group:05d}-{part:05d}.blocks")


def division(written: Sequence[int], partitions: int) -> tuple[int, list[int]]:
    """Return how to merge files (n) of so many bytes: the number of ranges of partitions, and where each group ends.

    Each file is read once for each range, by two requests (by one where there is one range); then a partition reads
    from each group. With R ranges, b bytes a file and M bytes in a task, G = M R / b files are a group, and the
    requests, 2 n R + partitions n / G, are fewest at R = sqrt(partitions b / 2 M). No group has more than
    `exchange_group` files, and there are no more ranges than such a group needs.
    """
    held, most = sizes().exchange_bytes, sizes().exchange_group
    mean = sum(written) / len(written)
    fewest = round(math.sqrt(partitions * mean / (2 * held)))
    ranges = max(1, min(fewest, math.ceil(most * mean / held), partitions))
    ends, total, start = list[int](), 0, 0
    for i, size in enumerate(written):
        if i > start and (i - start == most or total + size > held * ranges):
            ends.append(i)
            total, start = 0, i
        total += size
    return ranges, [*ends, len(written)]


@dataclass(frozen=True)
class _Merge:
    """The task that merges the blocks of some files for a range of partitions."""

    urls: tuple[str, ...]
    first: int
    end: int
    partitions: int  #: that the files have
    target: str

    def run(self) -> NDArray[np.uint64]:
        """Write the blocks, by partition; return where those of each (m) begin and the last ones end (m + 1), bytes."""
        found = [self._blocks(url) for url in self.urls]
        lengths = np.array([np.diff(starts) for starts, _ in found])
        targets = np.append(0, np.cumsum(lengths.T))  # by partition, then by file
        out = np.empty(targets[-1], np.uint32)
        for i, (starts, words) in enumerate(found):
            copy_pieces(words, starts[:-1], lengths[i], targets[i : -1 : len(found)].copy(), out)
        with files.replacing(self.target, durable=False) as file:
            file.write(out.data)
        return _WORD * targets[:: len(found)].astype(np.uint64)

    def _blocks(self, url: str) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Return where the blocks of a file begin and the last one ends (m + 1), in words, and the words."""
        count = self.end - self.first
        if count == self.partitions:
            content = files.read_bytes(url)
            places = np.frombuffer(content, np.uint64, count + 1)
        else:
            with open_ranges(url) as read:
                places = np.frombuffer(read(PLACE * self.first, PLACE * (count + 1)), np.uint64)
                content = read(int(places[0]), int(places[-1] - places[0]))
            places = places - places[0]
        return (places // _WORD).astype(np.int64), np.frombuffer(content, np.uint32)

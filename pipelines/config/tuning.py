"""Sizes at which work is divided: they decide how long it takes and how much memory, and no result depends on them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Tuning:
    """One set of sizes. Tests take small ones, so that little data is divided as much data is."""

    batch_bytes: int = 8_000_000  #: text that is read at once; one record at least
    batch_rows: int = 16_384  #: records that are read at once, at most
    #: rows that one task of a resolve step holds (37 bytes a row in exact dedup, as much again to sort)
    partition_rows: int = 1 << 22
    tabulated: int = 1 << 18  #: values of an order statistic that are tabulated whole
    key_group: int = 1 << 16  #: rows of a row group of an index's keys: the least that is read where one is wanted
    undelivered: int = 4096  #: replies of a model that may wait before no more questions are pulled
    journal_rows: int = 50_000  #: a journal of answers becomes a Parquet file when it has that many rows
    journal_bytes: int = 64_000_000  #: ... or that many bytes
    flush_seconds: float = 2.0  #: after which answers are written to a store that cannot append
    answer_files: int = 64  #: files of a task's answers above which they are compacted without being asked
    #: blocks (senders times partitions) above which an exchange takes two steps
    exchange_blocks: int = 1 << 18
    #: ... if they have fewer bytes on average, on a local disk: larger ones are read as soon one by one
    exchange_block_bytes: int = 1 << 13
    exchange_group: int = 512  #: senders that the second step merges, at most
    exchange_bytes: int = 1 << 30  #: bytes of blocks that are merged at once, about; twice as much is held
    exchanged_tokens: int = 1 << 24  #: tokens that a write task holds before it hands them on to be packed
    #: documents that a held chain asks about by one query, where there are so many: queries over few cost as much
    held_rows: int = 500_000
    merged_rows: int = 1 << 22  #: answers that are merged at once; a file of half as many is left as it is


_sizes = Tuning()


def sizes() -> Tuning:
    """Return the sizes of this process."""
    return _sizes


@contextlib.contextmanager
def tuned(**changed: float) -> Iterator[None]:
    """Change sizes in this process until the end of the block."""
    global _sizes
    before, _sizes = _sizes, replace(_sizes, **changed)  # type: ignore[arg-type]
    try:
        yield
    finally:
        _sizes = before

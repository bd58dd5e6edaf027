"""Tokens of texts that are written already: another packing reads them from the files of the dataset.

The sources are not read. Content ids and addresses, which those files need not have, are those of the measures; the
lengths of the texts must be those that were decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.base import Rewrite
from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.shard_tasks.measure import lengths
from gristmill.pipelines.shard_tasks.pack import Packing, sending
from gristmill.pipelines.shard_tasks.reread import KNOWN, kept_rows, sized_by, written_bytes
from gristmill.pipelines.shard_tasks.stopwatch import Stopwatch
from gristmill.pipelines.shard_tasks.write import (
    ShardSurvivors,
    WriteReceipt,
    WriteTask,
    dump_receipt,
    load_receipt,
)
from gristmill.pipelines.sinks.parquet import WrittenFile
from gristmill.pipelines.storage import files


@dataclass(frozen=True)
class PackWritten:
    """The task that sends the tokens of the files that a `WriteTask` wrote."""

    packing: Packing
    task: WriteTask
    written: tuple[WrittenFile, ...]  #: its files
    folder: str  #: that they lie in
    receipts: str  #: folder of the receipts
    rewrite: Rewrite | None

    def __str__(self) -> str:
        return " + ".join(file.name for file in self.written)

    def run(self) -> WriteReceipt:
        """Send the tokens, unless a receipt says that an interrupted run sent them already.

        Raises StoreDamaged where a file does not hold the documents that were decided.
        """
        receipt_url = files.join(self.receipts, f"{self.task.first_file:05d}.json")
        if (done := self._done(receipt_url)) is not None:
            return done
        watch = Stopwatch()
        with sending(self.packing, self.task.first_file) as sender:
            for texts, documents, addresses in self._documents(watch):
                with watch.step("pack"):
                    sender.add(texts, documents, addresses)
        receipt = WriteReceipt(self.written, dict(watch.seconds), tokens=sender.tokens, exchanged=sender.digest)
        files.write_record(receipt_url, dump_receipt(receipt))
        return receipt

    def _done(self, receipt_url: str) -> WriteReceipt | None:
        """Return the receipt of an interrupted run, if what it sent is there; else None."""
        try:
            receipt = load_receipt(files.read_record(receipt_url))
            sent = self.packing.exchange.digest(self.task.first_file)
        except (FileNotFoundError, StoreDamaged):
            return None
        return receipt if sent == receipt.exchanged and receipt.files == self.written else None

    def _documents(self, watch: Stopwatch) -> Iterator[tuple[pa.LargeStringArray, pa.Table, NDArray[np.uint64]]]:
        """Yield the texts of the task's files, what is known of their documents, and addresses, by row group."""
        with watch.step("read decisions"):
            known = [self._known(survivors) for survivors in self.task.survivors]
        if not known:
            return
        documents = pa.concat_tables([table for table, _, _ in known])
        addresses, sizes = (np.concatenate([of[i] for of in known]) for i in (1, 2))
        done = 0
        for file in self.written:
            url = files.join(self.folder, file.name)
            with files.open_input(url) as source:
                parquet = pq.ParquetFile(source)
                for group in range(parquet.num_row_groups):
                    with watch.step("read texts"):
                        table = parquet.read_row_group(group, [columns.TEXT], use_threads=False)
                        texts = table[columns.TEXT].combine_chunks().cast(pa.large_string())
                    first, done = done, done + len(texts)
                    if not np.array_equal(lengths(texts), sizes[first:done]):
                        raise StoreDamaged(url, f"{url} does not hold the texts that were decided: please report it")
                    yield texts, documents.slice(first, len(texts)), addresses[first:done]
        if done != len(sizes):
            raise StoreDamaged(self.folder, f"{self} hold {done:,} texts, not {len(sizes):,}: please report it")

    def _known(self, survivors: ShardSurvivors) -> tuple[pa.Table, NDArray[np.uint64], NDArray[np.uint64]]:
        """Return what is known of a shard's kept documents: columns (n rows), addresses (n), bytes as written (n)."""
        names = list(dict.fromkeys([*KNOWN, *sized_by(self.rewrite), *self.packing.by]))
        kept = survivors.measures.read(names).filter(kept_rows(survivors.decisions)).combine_chunks()
        rows = kept[columns.ROW].to_numpy().astype(np.uint64)
        addresses = np.uint64(columns.address(survivors.shard.ordinal, 0)) | rows
        return kept.select([columns.CONTENT_ID, *self.packing.by]), addresses, written_bytes(kept, self.rewrite)


def pack_written(task: PackWritten) -> WriteReceipt:
    """Run a task: `PackWritten.run` as a plain function, which engines take."""
    return task.run()

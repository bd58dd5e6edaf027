"""Extract: the pages of a shard become text, once. What cannot be extracted goes to quarantine, page by page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.errors import FatalError
from gristmill.operators.extract.extract import EXTRACTOR, Extract, Extracted, extract_page, load
from gristmill.pipelines.config.tuning import sizes
from gristmill.pipelines.engine.limited_process import CallLimits, ExceededError, Excess, LimitedProcesses
from gristmill.pipelines.shard_tasks.stopwatch import Stopwatch, timed
from gristmill.pipelines.sources.batches import Batch
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.records import Fault, Reject, excerpt
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.extracts import Extraction, read_extracted
from gristmill.pipelines.store.measures import ShardCounts, rejects_file, rejects_table, write_measures
from gristmill.pipelines.store.registry import Shard

#: Bytes of memory that the extraction of one page may take besides the page.
MEMORY = 2 << 30


@dataclass(frozen=True)
class ExtractShard:
    """The task that extracts the text of one shard's pages and writes one file, unless it is there."""

    shard: Shard

    def __str__(self) -> str:
        return self.shard.spec.name

    def run(self) -> ShardCounts:
        """Return the shard's counts. Raises ShardError where the shard cannot be read."""
        extraction = self.shard.extraction
        if extraction is None:
            raise FatalError(f"{self.shard.spec.name} holds no pages; please report it")
        return extraction.counts(self.shard.ordinal) or self._run(extraction)

    def _run(self, extraction: Extraction) -> ShardCounts:
        left_out: Counter[str] = Counter()
        tables: list[pa.RecordBatch] = []
        rejects: list[Reject] = []
        ends: list[int] = []
        factor = len(extraction.extract.extractors)
        records = 0
        watch = Stopwatch()
        for batch in timed(read_shard(self.shard.spec, self.shard.source, left_out=left_out), watch):
            records = factor * batch.records
            ends += [factor * end for end in batch.ends]
            rejects += [replace(r, row=factor * r.row + i) for r in batch.rejects for i in range(factor)]
            documents, faults = _extracted(batch, extraction.extract, self.shard.schema(), watch)
            tables.append(documents)
            rejects += faults
        table = pa.Table.from_batches(tables)
        rejects.sort(key=lambda reject: reject.row)
        text_bytes = int(pc.sum(pc.binary_length(table[columns.TEXT])).as_py() or 0)
        counted = (self.shard.ordinal, table.num_rows, records, len(rejects), text_bytes, 0)
        counts = ShardCounts(*counted, dict(watch.seconds), ends, dict(left_out))
        url = extraction.file(self.shard.ordinal)
        if rejects:
            files.write_table(rejects_file(url), rejects_table(self.shard.ordinal, rejects), durable=False)
        write_measures(url, table, counts)
        return counts


def extract_shard(task: ExtractShard) -> ShardCounts:
    """Run a task: `ExtractShard.run` as a plain function, which engines take."""
    return task.run()


def read_batches(
    shard: Shard,
    *,
    columns: Sequence[str] | None = None,
    rows: NDArray[np.uint32] | None = None,
    batch_bytes: int | None = None,
    left_out: Counter[str] | None = None,
) -> Iterator[Batch]:
    """Yield the documents and rejects of a shard as `read_shard` does; those of pages as they were extracted.

    Pages that are not extracted yet are extracted first.
    """
    if shard.extraction is None:
        yield from read_shard(
            shard.spec, shard.source, columns=columns, rows=rows, batch_bytes=batch_bytes, left_out=left_out
        )
        return
    counts = ExtractShard(shard).run()
    if left_out is not None:
        left_out.update(counts.left_out)
    names = None if columns is None else [*columns]
    yield from read_extracted(shard.extraction.file(shard.ordinal), counts, names, rows, sizes().batch_rows)


def _extracted(
    batch: Batch, extract: Extract, schema: pa.Schema, watch: Stopwatch
) -> tuple[pa.RecordBatch, list[Reject]]:
    """Return the documents that the pages of a batch become (`row`, then `schema`), and the pages that become none."""
    pages = batch.documents
    ids, rows = pages[columns.ID].to_pylist(), pages[columns.ROW].to_pylist()
    offsets = pages["offset"].to_pylist() if "offset" in pages.schema.names else [None] * len(rows)
    urls = pages[columns.URL].to_pylist() if columns.URL in pages.schema.names else ids
    names, factor = extract.extractors, len(extract.extractors)
    kept: list[tuple[int, int, str, str]] = []  # position of the page, number of the extractor, extractor, text
    rejects: list[Reject] = []
    for position, (page, results) in enumerate(zip(pages[columns.TEXT], _texts(extract, pages, watch), strict=True)):
        for i, result in enumerate(results):
            if isinstance(result, Fault):
                detail = f"{urls[position]}: {result.detail}"
                row = factor * rows[position] + i
                place = (row, None, offsets[position], ids[position])
                rejects.append(Reject(*place, result.reason, detail, excerpt(_bytes(page))))
            else:
                kept.append((position, i, *result))
    positions = pa.array([position for position, *_ in kept], pa.int64())
    arrays = {name: pages[name].take(positions) for name in pages.schema.names if name != columns.TEXT}
    numbers = [factor * rows[position] + i for position, i, *_ in kept]
    arrays[columns.ROW] = pa.array(numbers, columns.TYPES[columns.ROW])
    if factor > 1:
        own = [None if ids[position] is None else f"{ids[position]}#{names[i]}" for position, i, *_ in kept]
        arrays[columns.ID] = pa.array(own, columns.TYPES[columns.ID])
    arrays[EXTRACTOR] = pa.array([extractor for *_, extractor, _ in kept], pa.string())
    arrays[columns.TEXT] = pa.array([text for *_, text in kept], columns.TYPES[columns.TEXT])
    fields = [pa.field(columns.ROW, columns.TYPES[columns.ROW]), *schema]
    return pa.RecordBatch.from_arrays([arrays[field.name] for field in fields], schema=pa.schema(fields)), rejects


def _texts(extract: Extract, pages: pa.RecordBatch, watch: Stopwatch) -> Iterator[list[tuple[str, str] | Fault]]:
    """Yield for each page extractor and text by each extractor, or the fault for which there is none."""
    lengths = pc.binary_length(pages[columns.TEXT]).to_pylist()
    calls = ((extract, page) for page in map(_bytes, pages[columns.TEXT]) if len(page) <= extract.page_bytes)
    limits = CallLimits(extract.seconds, MEMORY)
    answers = _processes(extract).ask_each(limits, extract_page, calls, partial(watch.add, "extract"))
    for size in lengths:
        if size > extract.page_bytes:
            detail = f"the page has {size:,} bytes, more than page_bytes ({int(extract.page_bytes):,})"
            yield [Fault("too_large", detail) for _ in extract.extractors]
        elif isinstance(answer := next(answers), ExceededError):
            yield [_exceeded(extract, answer.excess) for _ in extract.extractors]
        else:
            yield [_outcome(result) for result in answer]


def _bytes(page: pa.LargeStringScalar) -> bytes:
    return bytes(page.as_buffer())


def _exceeded(extract: Extract, excess: Excess) -> Fault:
    if excess is Excess.TIME:
        return Fault("too_slow", f"its text was not extracted within {extract.seconds} s of processor time")
    return Fault("extraction_failed", "the process that extracted its text took too much memory or was ended")


def _outcome(result: Extracted) -> tuple[str, str] | Fault:
    if result.failure is not None:
        return Fault("extraction_failed", f"{result.extractor} failed: {result.failure}")
    text = (result.text or "").replace("\0", "")
    if not text.strip():
        return Fault("no_text", f"{result.extractor} finds no text in it")
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        encoded = text.encode()
    return result.extractor, encoded.decode()


@cache
def _processes(extract: Extract) -> LimitedProcesses:
    """Return the processes that extract in this way."""
    return LimitedProcesses(partial(load, extract))

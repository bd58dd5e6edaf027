"""Write: the second and last read of the text. Survivors only, in address order, into files planned beforehand.

Every input shard belongs to one task, and every output file too: text is read once here, whatever the sizes. A task
takes shards in order until their survivors fill a file; a shard whose survivors fill several files is a task by itself.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice, pairwise
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.base import Rewrite
from gristmill.operators.errors import StoreDamaged
from gristmill.operators.kernels.primitives import hash_128
from gristmill.pipelines.shard_tasks.pack import Packing, TokenSender, sending
from gristmill.pipelines.shard_tasks.reread import KNOWN, kept_rows, read_texts, rewritten, sized_by, written_bytes
from gristmill.pipelines.shard_tasks.stopwatch import Stopwatch
from gristmill.pipelines.sinks.parquet import WrittenFile, regroup, row_groups, write_dataset_file
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.measures import ShardMeasures
from gristmill.pipelines.store.registry import Shard
from gristmill.pipelines.store.resources import ReadyOperator

#: A task reads at most this much text, however little of it survives: a small selection is still read in parallel.
TASK_INPUT_BYTES = 16_000_000_000
#: Receipts of finished tasks, in the version's folder until it is committed.
RECEIPTS = "_receipts"


@dataclass(frozen=True)
class ShardSurvivors:
    """The kept rows of one shard, before any text is read."""

    shard: Shard
    measures: ShardMeasures
    decisions: str  #: the shard's decision file
    rows: int
    text_bytes: int  #: of the kept rows, as they are written
    input_bytes: int  #: of the whole shard
    digest: str  #: of what is written besides the text, of the content ids and of what is removed
    removed: Mapping[str, int]  #: by the rule that rewrites texts, if any does
    by_digest: str = ""  #: of the columns that decide strata


@dataclass(frozen=True)
class WriteTask:
    """Input shards, in order, and the output files that their survivors fill."""

    survivors: tuple[ShardSurvivors, ...]
    sizes: tuple[int, ...]  #: rows of each file
    first_file: int  #: number of the first file in the dataset


@dataclass(frozen=True)
class Layout:
    """The settings that all tasks of a dataset share."""

    folder: str
    files: int
    columns: tuple[str, ...]
    schema: pa.Schema
    transforms: tuple[ReadyOperator, ...]
    rewrite: Rewrite | None = None  #: applied to the texts after the transforms
    observed: tuple[ReadyOperator, ...] = ()  #: measures that count something over what is written
    threads: int = 1  #: shards that one task may read at once
    packing: Packing | None = None  #: of the tokens of what is written, if they are packed

    def file(self, number: int) -> str:
        """Return the URL of an output file."""
        return files.join(self.folder, f"data-{number:05d}-of-{self.files:05d}.parquet")


@dataclass(frozen=True)
class WriteReceipt:
    """The record of the files that a task wrote."""

    files: tuple[WrittenFile, ...]
    seconds: Mapping[str, float]
    observed: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    tokens: int = 0  #: that were handed on to be packed
    exchanged: str | None = None  #: digest of the exchange file that they are in


def plan_files(survivors: Sequence[ShardSurvivors], shard_bytes: int) -> tuple[list[WriteTask], int]:
    """Return the tasks of a dataset and the number of files that they write."""
    tasks: list[WriteTask] = []
    number = 0
    for group in _groups([s for s in survivors if s.rows], shard_bytes):
        sizes = file_sizes(sum(s.rows for s in group), sum(s.text_bytes for s in group), shard_bytes)
        tasks.append(WriteTask(tuple(group), sizes, number))
        number += len(sizes)
    if not tasks:  # a dataset without rows is still one file, which holds its schema
        return [WriteTask((), (0,), 0)], 1
    return tasks, number


def _groups(survivors: Sequence[ShardSurvivors], shard_bytes: int) -> Iterator[list[ShardSurvivors]]:
    """Yield consecutive shards whose survivors fit one file; a shard that fills more stands alone."""
    group: list[ShardSurvivors] = []
    text = input_bytes = 0
    for shard in survivors:
        text, input_bytes = text + shard.text_bytes, input_bytes + shard.input_bytes
        if group and (text > shard_bytes or input_bytes > TASK_INPUT_BYTES):
            yield group
            group, text, input_bytes = [], shard.text_bytes, shard.input_bytes
        group.append(shard)
    if group:
        yield group


def file_sizes(rows: int, text_bytes: int, shard_bytes: int) -> tuple[int, ...]:
    """Return the rows of each file of a task: as few files as the wanted size allows, rows spread evenly."""
    n = max(1, min(rows, round(text_bytes / shard_bytes)))
    return tuple(rows * (i + 1) // n - rows * i // n for i in range(n))


def shards_by_file(tasks: Sequence[WriteTask]) -> list[list[tuple[int, int]]]:
    """Return the shards in each file of a dataset, in order: ordinals, with how many rows each has there."""
    found = []
    for task in tasks:
        counts = np.array([survivors.rows for survivors in task.survivors], np.int64)
        ends = np.cumsum(counts)
        for first, end in pairwise(np.cumsum([0, *task.sizes]).tolist()):
            rows = np.clip(ends, first, end) - np.clip(ends - counts, first, end)
            pairs = zip(task.survivors, rows.tolist(), strict=True)
            found.append([(survivors.shard.ordinal, n) for survivors, n in pairs if n])
    return found


@dataclass(frozen=True)
class CountSurvivors:
    """The task that reads one shard's decisions and narrow columns, and counts and digests what is kept."""

    shard: Shard
    measures: ShardMeasures
    decisions: str
    columns: tuple[str, ...]
    input_bytes: int
    rewrite: Rewrite | None = None
    by: tuple[str, ...] = ()  #: columns that decide strata

    def __str__(self) -> str:
        return self.shard.spec.name

    def run(self) -> ShardSurvivors:
        """Return the shard's survivors."""
        narrow = [c for c in self.columns if c != columns.TEXT]
        names = list(dict.fromkeys([*narrow, columns.CONTENT_ID, *sized_by(self.rewrite)]))
        table = self.measures.read(names).filter(kept_rows(self.decisions))
        by = self.measures.read(self.by).filter(kept_rows(self.decisions)) if self.by else None
        return ShardSurvivors(
            self.shard,
            self.measures,
            self.decisions,
            table.num_rows,
            int(written_bytes(table, self.rewrite).sum()),
            self.input_bytes,
            digest=_digest(table),
            removed={} if self.rewrite is None else self.rewrite.count(table),
            by_digest="" if by is None else _digest(by),
        )


def _digest(table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as stream:
        stream.write_table(table.combine_chunks())
    content = np.frombuffer(sink.getvalue(), np.uint8)
    high, low = hash_128(content, 0, len(content))
    return f"{int(high):016x}{int(low):016x}"


def count_survivors(task: CountSurvivors) -> ShardSurvivors:
    """Run a task: `CountSurvivors.run` as a plain function, which engines take."""
    return task.run()


@dataclass(frozen=True)
class WriteFiles:
    """The task that writes the files of one `WriteTask`."""

    layout: Layout
    task: WriteTask

    def __str__(self) -> str:
        return " + ".join(survivors.shard.spec.name for survivors in self.task.survivors)

    def run(self) -> WriteReceipt:
        """Write the task's files, unless a receipt says that an interrupted run wrote them already."""
        receipt_url = files.join(self.layout.folder, RECEIPTS, f"{self.task.first_file:05d}.json")
        if (done := self._done(receipt_url)) is not None:
            return done
        watch = Stopwatch()
        observers = {o.operator.gives().names[0]: Observer(o) for o in self.layout.observed}
        lengths = text_lengths(self.task, self.layout.rewrite)
        borders = np.cumsum([0, *self.task.sizes])
        parts = [lengths[a:b] for a, b in pairwise(borders)]
        groups = [row_groups(part) for part in parts]
        outputs = []
        with ExitStack() as stack:
            packing = self.layout.packing
            sender = None if packing is None else stack.enter_context(sending(packing, self.task.first_file))
            tables = regroup(self._tables(watch, list(observers.values()), sender), chain.from_iterable(groups))
            for i, (part, sizes) in enumerate(zip(parts, groups, strict=True)):
                url, schema = self.layout.file(self.task.first_file + i), self.layout.schema
                with watch.step("write dataset"):
                    outputs.append(write_dataset_file(url, schema, islice(tables, len(sizes)), int(part.sum())))
        receipt = WriteReceipt(tuple(outputs), dict(watch.seconds), {name: o.counts for name, o in observers.items()})
        if sender is not None:
            receipt = replace(receipt, tokens=sender.tokens, exchanged=sender.digest)
        files.write_record(receipt_url, dump_receipt(receipt))
        return receipt

    def _done(self, receipt_url: str) -> WriteReceipt | None:
        """Return the receipt of an interrupted run, if all its files are what it wrote; else None."""
        try:
            receipt = load_receipt(files.read_record(receipt_url))
            digests = [files.digest(files.join(self.layout.folder, file.name)) for file in receipt.files]
            if self.layout.packing is not None:
                exchanged = self.layout.packing.exchange.digest(self.task.first_file)
                if exchanged != receipt.exchanged:
                    return None
        except (FileNotFoundError, StoreDamaged):
            return None
        return receipt if digests == [file.digest for file in receipt.files] else None

    def _tables(
        self, watch: Stopwatch, observers: Sequence[Observer], sender: TokenSender | None
    ) -> Iterator[pa.Table]:
        """Yield the survivors of the task's shards, in order; several shards are read at once if threads are to spare.

        At most the survivors of one file are held ahead, as a task of several shards writes one file.
        """
        layout = self.layout
        if layout.threads == 1 or len(self.task.survivors) == 1:
            for survivors in self.task.survivors:
                yield from ReadSurvivors(layout, survivors, sender).tables(watch, observers)
            return
        with ThreadPoolExecutor(layout.threads) as pool:
            readers = [pool.submit(ReadSurvivors(layout, s, sender).collect, observers) for s in self.task.survivors]
            for reader in readers:
                tables, seconds = reader.result()
                watch.seconds.update(seconds)
                yield from tables


def write_files(task: WriteFiles) -> WriteReceipt:
    """Run a task: `WriteFiles.run` as a plain function, which engines take."""
    return task.run()


@dataclass(frozen=True)
class ReadSurvivors:
    """The second reading of one shard's text, of the documents that were decided to be kept."""

    layout: Layout
    survivors: ShardSurvivors
    sender: TokenSender | None = None

    def collect(self, observers: Sequence[Observer]) -> tuple[list[pa.Table], Mapping[str, float]]:
        """Return all tables at once, with the seconds that they took."""
        watch = Stopwatch()
        return list(self.tables(watch, observers)), watch.seconds

    def tables(self, watch: Stopwatch, observers: Sequence[Observer]) -> Iterator[pa.Table]:
        """Yield the kept documents as tables of the dataset's columns, in order.

        Raises ShardError where the shard no longer holds what was measured.
        """
        measures, rewrite = self.survivors.measures, self.layout.rewrite
        narrow = [c for c in self.layout.columns if c != columns.TEXT]
        by = () if self.layout.packing is None else self.layout.packing.by
        names = list(dict.fromkeys([*narrow, *KNOWN, *sized_by(rewrite), *by]))
        with watch.step("read decisions"):
            documents = measures.read(names).filter(kept_rows(self.survivors.decisions)).combine_chunks()
        done = 0
        for text in read_texts(self.survivors.shard, documents, self.layout.transforms, watch):
            part = documents.slice(done, len(text))
            done += len(text)
            if rewrite is not None:
                with watch.step(rewrite.name):
                    text = rewritten(rewrite, text, part)
            yield self._assemble(text, part, watch, observers)

    def _assemble(self, text: pa.Array, kept: pa.Table, watch: Stopwatch, observers: Sequence[Observer]) -> pa.Table:
        for observer in observers:
            with watch.step(observer.name):
                observer.add(text)
        if self.sender is not None:
            rows = kept[columns.ROW].to_numpy().astype(np.uint64)
            addresses = np.uint64(columns.address(self.survivors.shard.ordinal, 0)) | rows
            with watch.step("pack"):
                self.sender.add(text, kept, addresses)
        arrays = {name: kept[name] for name in self.layout.columns if name != columns.TEXT}
        if columns.TEXT in self.layout.columns:
            arrays[columns.TEXT] = text.cast(pa.string())
        return pa.table([arrays[name] for name in self.layout.columns], schema=self.layout.schema)


class Observer:
    """The sum of what a measure counts over the documents that are written; several threads add to it."""

    def __init__(self, ready: ReadyOperator) -> None:
        self.name = ready.name
        self._observe: Callable[[pa.RecordBatch], NDArray[np.int64]] = ready.operator.observe
        self._lock = Lock()
        self.counts = self._count(pa.array([], pa.large_string()))

    def add(self, text: pa.Array) -> None:
        """Add the counts over some texts."""
        counts = self._count(text)
        with self._lock:
            self.counts += counts

    def _count(self, text: pa.Array) -> NDArray[np.int64]:
        return self._observe(pa.record_batch({columns.TEXT: text}))


def text_lengths(task: WriteTask, rewrite: Rewrite | None) -> NDArray[np.uint64]:
    """Return the lengths (UTF-8 bytes) of the texts that a task writes, known before any is read."""
    masked = (s.measures.read(sized_by(rewrite)).filter(kept_rows(s.decisions)) for s in task.survivors)
    return np.concatenate([np.zeros(0, np.uint64), *(written_bytes(table, rewrite) for table in masked)])


def dump_receipt(receipt: WriteReceipt) -> dict[str, Any]:
    """Return a receipt as the values of a record."""
    observed = {
        name: base64.b64encode(zlib.compress(counts.tobytes())).decode() for name, counts in receipt.observed.items()
    }
    written = {"files": [asdict(f) for f in receipt.files], "seconds": dict(receipt.seconds), "observed": observed}
    return {**written, "tokens": receipt.tokens, "exchanged": receipt.exchanged}


def load_receipt(held: dict[str, Any]) -> WriteReceipt:
    """Return what `dump_receipt` gave."""
    packed = held["observed"].items()
    observed = {name: np.frombuffer(zlib.decompress(base64.b64decode(counts)), np.int64) for name, counts in packed}
    written = tuple(WrittenFile(**f) for f in held["files"])
    return WriteReceipt(written, held["seconds"], observed, held.get("tokens", 0), held.get("exchanged"))

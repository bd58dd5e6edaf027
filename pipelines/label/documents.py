"""Documents that a task may be put to: what is known of each without its text, and the way to its text.

Files to label are scanned once, for the ids of their documents and the fields that a sample needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.base import Rewrite
from gristmill.operators.label.clusters import ngram_vectors
from gristmill.operators.label.samplers import KEY, choose
from gristmill.operators.label.task import Sample
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.config.yaml_file import read_text
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.label.store import DOCUMENTS
from gristmill.pipelines.label.store.schema import first_of_each, halves, sorted_order
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.shard_tasks.measure import lengths
from gristmill.pipelines.shard_tasks.reread import Texts, rewritten
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import Reject, derived_ids, read_documents, read_shard
from gristmill.pipelines.sources.spec import MetadataField, Source
from gristmill.pipelines.store.measures import in_file
from gristmill.pipelines.store.registry import Shard

SHARD = "shard"  #: ordinal of a document's shard
#: Columns of every table of documents; those that a sample goes by come after them.
DOCUMENT = pa.schema(
    [
        (SHARD, pa.uint32()),
        (columns.ROW, columns.TYPES[columns.ROW]),
        (columns.CONTENT_ID, columns.TYPES[columns.CONTENT_ID]),
        (KEY, columns.TYPES[columns.CONTENT_ID]),  # of the text as the model sees it, before it is cut
        (columns.ID, pa.string()),
        (columns.SOURCE, pa.string()),
        (columns.BYTES, pa.uint64()),
    ]
)
#: Random candidates, for each document asked for, that a cluster-diverse sample is taken from: their n-gram vectors
#: (a kilobyte each) are held in memory.
CANDIDATES_A_DOCUMENT = 10
LEAST_CANDIDATES = 50_000
_SAMPLED = "sampled_{}"  # a metadata column may not have the name of an own column, such as source


class TextReader(Protocol):
    """The way to texts, by the shards and the rows of documents. Picklable."""

    @property
    def shards(self) -> Mapping[int, Any]:
        """Return the shards, by ordinal."""
        ...

    def of_shard(self, ordinal: int) -> TextReader:
        """Return the way to the texts of one shard."""
        ...

    def name_of(self, ordinal: int) -> str:
        """Return what messages call a shard."""
        ...

    def read(self, ordinal: int, known: pa.Table) -> Iterator[pa.LargeStringArray]:
        """Yield the texts of some of a shard's documents (by ascending row), batch by batch."""
        ...


@dataclass(frozen=True)
class Documents:
    """Documents (n rows of DOCUMENT, columns to sample by, what the rewrite goes by) and the way to their texts."""

    table: pa.Table
    texts: TextReader
    rewrite: Rewrite | None = None
    rejects: int = 0  #: records that are no documents
    first_reject: str = ""

    def chosen_by(self, sample: Sample | None, ids: set[str] | None = None) -> Documents:
        """Return the documents that a sample chooses; a text may occur several times, under several ids."""
        if sample is None or not self.table.num_rows:
            return self
        return self.filter(self._mask(sample, ids))

    def _mask(self, sample: Sample, ids: set[str] | None) -> NDArray[np.bool_]:
        if not sample.needs_vectors:
            return choose(sample, self.table, ids=ids)
        assert sample.documents is not None
        pool = max(CANDIDATES_A_DOCUMENT * sample.documents, LEAST_CANDIDATES)
        candidates = choose(Sample(documents=pool, seed=sample.seed), self.table)
        among = self.filter(candidates)
        mask = np.zeros(self.table.num_rows, np.bool_)
        mask[np.flatnonzero(candidates)] = choose(sample, among.table, among._vectors())
        return mask

    def _vectors(self) -> NDArray[np.float32]:
        """Return n-gram vectors (n, d) of the documents, in the table's order."""
        parts = [(places, pa.concat_arrays(list(part.read()))) for places, part in self.by_shard()]
        vectors = np.concatenate([ngram_vectors(texts) for _, texts in parts])
        result = np.empty_like(vectors)
        result[np.concatenate([places for places, _ in parts])] = vectors
        return result

    def by_shard(self) -> Iterator[tuple[NDArray[np.int64], ShardDocuments]]:
        """Yield the documents of each shard: their places in the table, and what is known of them."""
        shards, rows = (self.table[name].to_numpy() for name in (SHARD, columns.ROW))
        order = np.lexsort((rows, shards))
        for places in np.split(order, np.flatnonzero(np.diff(shards[order])) + 1):
            if len(places):
                table = self.table.take(pa.array(places)).combine_chunks()
                ordinal = int(shards[places[0]])
                yield places, ShardDocuments(table, self.texts.of_shard(ordinal), self.rewrite)

    def filter(self, mask: NDArray[np.bool_]) -> Documents:
        """Return the documents that a mask (n) selects."""
        return replace(self, table=self.table.filter(pa.array(mask)))

    def take(self, places: NDArray[np.int64]) -> Documents:
        """Return the documents at some places of the table, in their order."""
        return replace(self, table=self.table.take(pa.array(places)))

    def named(self) -> pa.Table:
        """Return what the label store remembers of the documents (DOCUMENTS)."""
        return self.table.select([KEY, columns.ID, columns.SOURCE]).rename_columns(DOCUMENTS.names)

    def without_repeats(self) -> Documents:
        """Return the documents with each text once, under its first address."""
        high, low = halves(self.table[KEY])
        order = sorted_order(high, low)
        mask = np.zeros(len(order), np.bool_)
        mask[order[first_of_each(order, high, low)]] = True
        return self.filter(mask)


@dataclass(frozen=True)
class ShardDocuments:
    """Documents of one shard, by ascending row (columns of DOCUMENT and those that the rewrite goes by). Picklable."""

    known: pa.Table
    texts: TextReader  #: of this shard
    rewrite: Rewrite | None

    @property
    def ordinal(self) -> int:
        """Return the shard's ordinal."""
        ordinal: int = next(iter(self.texts.shards))
        return ordinal

    @property
    def keys(self) -> list[bytes]:
        """Return the documents' keys (n)."""
        return self.known[KEY].to_pylist()  # type: ignore[no-any-return]

    def read(self) -> Iterator[pa.LargeStringArray]:
        """Yield the texts as they are written to a dataset, batch by batch; ShardError if the shard has changed."""
        done = 0
        for text in self.texts.read(self.ordinal, self.known):
            if self.rewrite is not None:
                text = rewritten(self.rewrite, text, self.known.slice(done, len(text)))
            done += len(text)
            yield text

    def every(self, step: int) -> ShardDocuments:
        """Return every step-th document."""
        return replace(self, known=self.known.take(pa.array(range(0, self.known.num_rows, step))))

    def split(self, rows: int, text_bytes: int) -> Iterator[ShardDocuments]:
        """Yield the documents in pieces of at most `rows` rows and about `text_bytes` bytes of text."""
        sizes = self.known[columns.BYTES].to_numpy().astype(np.int64)
        piece = np.maximum(np.arange(len(sizes)) // rows, (np.cumsum(sizes) - sizes) // text_bytes)
        borders = [0, *(np.flatnonzero(np.diff(piece)) + 1).tolist(), len(sizes)]
        for start, stop in pairwise(borders):
            yield replace(self, known=self.known.slice(start, stop - start))


def source_of(
    path: str | Sequence[str],
    name: str,
    text: str,
    id: str | None,
    sample: Sample | None,
    also: Sequence[str] = (),
) -> Source:
    """Return files to label as a source that carries along the fields that the sample needs, and some others.

    A field `source` says where a document is from, in place of the name.
    """
    score, columns_needed = (None, set()) if sample is None else (sample.score, sample.columns_needed())
    needed = {
        _SAMPLED.format(column): MetadataField(field=column, type="float" if column == score else "string")
        for column in sorted({*also, *columns_needed})
    }
    return Source(name=name, path=path if isinstance(path, str) else list(path), text=text, id=id, metadata=needed)


def scan(source: Source, base: str, engine: Engine, reporter: Reporter) -> Documents:
    """Read all documents of a source once: ids, content ids, lengths, the fields that a sample needs.

    Raises RecipeError if nothing is there, ShardError if a shard cannot be read.
    """
    shards = [Shard(i, spec, source) for i, spec in enumerate(discover([source], base))]
    scanned: dict[int, Scanned] = {}
    with reporter.stage("scan", len(shards)) as stage:
        for outcome in engine.map(scan_shard, shards):
            scanned[outcome.index] = result = outcome.unwrap()
            stage.advance(1, result.text_bytes)
    in_order = [scanned[i] for i in range(len(shards))]
    table = pa.concat_tables([result.table for result in in_order])
    first = next((result.first_reject for result in in_order if result.first_reject), "")
    texts = Texts({shard.ordinal: shard for shard in shards}, ())
    return Documents(table, texts, rejects=sum(result.rejects for result in in_order), first_reject=first)


@dataclass(frozen=True)
class Scanned:
    """Result of the scan of one shard."""

    table: pa.Table
    rejects: int
    first_reject: str
    text_bytes: int


def scan_shard(shard: Shard) -> Scanned:
    """Return the documents of a shard without their texts."""
    batches: list[pa.Table] = []
    rejected: list[Reject] = []
    ends: list[int] = []
    text_bytes = 0
    sampled = {column: field for column, field, _ in shard.source.metadata_types()}
    for batch in read_shard(shard.spec, shard.source):
        rejected += batch.rejects
        ends += batch.ends
        documents = batch.documents
        text, rows = documents[columns.TEXT], documents[columns.ROW]
        keys, sizes = content_ids(text), lengths(text)
        text_bytes += pc.sum(sizes, min_count=0).as_py()
        arrays = [
            pa.repeat(pa.scalar(shard.ordinal, pa.uint32()), len(text)),
            rows,
            keys,
            keys,
            derived_ids(documents[columns.ID], keys, shard.ordinal, rows),
            pa.repeat(pa.scalar(shard.source.name, pa.string()), len(text)),
            sizes,
        ]
        named = dict(zip(DOCUMENT.names, arrays, strict=True))
        carried = {field: documents[column] for column, field in sampled.items()}
        if columns.SOURCE in carried:
            carried[columns.SOURCE] = pc.fill_null(carried[columns.SOURCE].cast(pa.string()), shard.source.name)
        batches.append(pa.table(named | carried))
    first_reject = _place(shard, rejected[0], ends) if rejected else ""
    return Scanned(pa.concat_tables(batches), len(rejected), first_reject, text_bytes)


def _place(shard: Shard, bad: Reject, ends: Sequence[int]) -> str:
    """Return the place of a bad record, and what is wrong with it."""
    position, row = in_file(ends, bad.row) if ends else (0, bad.row)
    name = shard.spec.files[position].name if ends else shard.spec.name
    return f"{name}{f':{bad.line}' if bad.line else f' row {row}'}: {bad.detail}"


def imported_ids(path: str) -> set[str]:
    """Read the ids that a file lists: the lines of a text file, or the field `id` of JSON lines, Parquet or CSV."""
    if path.endswith((".txt", ".ids")):
        lines = read_text(path, "list of ids", "`import` names a file with an id on each line").split("\n")
        return {line.strip() for line in lines if line.strip()}
    batches = read_documents(path, text=columns.ID, id=None)
    return {id for batch in batches for id in batch.column(columns.TEXT).to_pylist()}

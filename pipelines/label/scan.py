"""Scan of files to label: their documents, and the fields that a sample needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.operators import columns
from gristmill.operators.label.sample import Sample
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.config.yaml_file import read_text
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.label.documents import DOCUMENT, Documents
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.shard_tasks.measure import lengths
from gristmill.pipelines.shard_tasks.reread import Texts
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import Reject, derived_ids, read_documents, read_shard
from gristmill.pipelines.sources.spec import MetadataField, Source
from gristmill.pipelines.store.measures import in_file
from gristmill.pipelines.store.registry import Shard

_SAMPLED = "sampled_{}"  # a metadata column may not have the name of an own column, such as source


def source_of(path: str | Sequence[str], name: str, text: str, id: str | None, sample: Sample | None) -> Source:
    """Return files to label as a source that carries along the fields that the sample needs."""
    needed = (
        {}
        if sample is None
        else {
            _SAMPLED.format(column): MetadataField(field=column, type="float" if column == sample.score else "string")
            for column in sorted(sample.columns_needed())
        }
    )
    return Source(name=name, path=path if isinstance(path, str) else list(path), text=text, id=id, metadata=needed)


def scan(source: Source, base: str, engine: Engine, reporter: Reporter) -> Documents:
    """Read all documents of a source once: ids, content ids, lengths, the fields that a sample needs.

    Raises RecipeError if nothing is there, ShardError if a shard cannot be read.
    """
    shards = [Shard(i, spec, source) for i, spec in enumerate(discover([source], base))]
    scanned: dict[int, Scanned] = {}
    with reporter.stage("scan", len(shards)) as stage:
        for outcome in engine.map(scan_shard, shards):
            scanned[outcome.index] = found = outcome.unwrap()
            stage.advance(1, found.text_bytes)
    in_order = [scanned[i] for i in range(len(shards))]
    table = pa.concat_tables([found.table for found in in_order])
    first = next((found.first_reject for found in in_order if found.first_reject), "")
    texts = Texts({shard.ordinal: shard for shard in shards}, ())
    return Documents(table, texts, rejects=sum(found.rejects for found in in_order), first_reject=first)


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
        found = batch.documents
        text, rows = found[columns.TEXT], found[columns.ROW]
        keys, sizes = content_ids(text), lengths(text)
        text_bytes += pc.sum(sizes, min_count=0).as_py()
        held = [
            pa.repeat(pa.scalar(shard.ordinal, pa.uint32()), len(text)),
            rows,
            keys,
            keys,
            derived_ids(found[columns.ID], keys, shard.ordinal, rows),
            pa.repeat(pa.scalar(shard.source.name, pa.string()), len(text)),
            sizes,
        ]
        named = dict(zip(DOCUMENT.names, held, strict=True))
        batches.append(pa.table(named | {field: found[column] for column, field in sampled.items()}))
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

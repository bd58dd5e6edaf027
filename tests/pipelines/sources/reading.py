"""Reading in tests: a whole source at once, as plain Python."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gristmill.operators.columns import ROW
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.records import Reject
from gristmill.pipelines.sources.spec import Source


@dataclass
class Reading:
    """All that the shards of a source gave."""

    shards: int
    documents: list[dict[str, Any]]
    rejects: list[Reject]
    records: int
    lines: int

    @property
    def texts(self) -> list[str]:
        return [document["text"] for document in self.documents]

    @property
    def reasons(self) -> list[tuple[int, str]]:
        """(row, reason) of each reject."""
        return [(r.row, r.reason) for r in self.rejects]


def read(
    path: Path | str, *, columns: list[str] | None = None, sizes: dict[str, int] | None = None, **source: Any
) -> Reading:
    """Discover and read a source; checks what every reading must satisfy."""
    wanted = Source(name="test", path=str(path), **source)
    specs = discover([wanted], "/")
    reading = Reading(len(specs), [], [], 0, 0)
    for spec in specs:
        batches = list(read_shard(spec, wanted, columns=columns, **(sizes or {})))
        assert batches, "a shard gives at least one batch"
        schema = [
            pa.field(ROW, pa.uint32()),
            *(f for f in wanted.schema() if columns is None or f.name in (*columns, "text")),
        ]
        rows: list[int] = []
        for batch in batches:
            batch.documents.validate(full=True)
            assert batch.documents.schema == pa.schema(schema)
            reading.documents += batch.documents.to_pylist()
            reading.rejects += batch.rejects
            kept = batch.documents[ROW].to_pylist()
            bad = [r.row for r in batch.rejects]
            assert kept == sorted(kept)
            assert bad == sorted(bad)
            rows += sorted(kept + bad)
        assert rows == list(range(batches[-1].records)), "every record is a document or a reject, once"
        reading.records += batches[-1].records
        reading.lines += batches[-1].lines
    for r in reading.rejects:
        assert r.detail
        assert len(r.excerpt) <= 200
        assert r.excerpt.isprintable()
    return reading


def as_lines(records: list[Any]) -> bytes:
    """Records as JSON lines."""
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)

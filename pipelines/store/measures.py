"""Stored measures: one narrow Parquet file per shard and pass, found again by the fingerprints of its operators.

    measures/<pass>/pass.json             operators of the pass (fingerprint -> columns)
    measures/<pass>/<ordinal>.parquet     one row per document, in input order; its footer carries the shard's counts
    measures/<pass>/<ordinal>.rejects.parquet    records that are not documents, where there are any

A pass holds only the measures that were missing when it ran, so adding one to a recipe measures only that. Measures can
always be made again: a file that is damaged or gone counts as never written.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.operators import columns
from gristmill.operators.base import digest_of
from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.sources.records import Reject
from gristmill.pipelines.storage import files

FOLDER = "measures"
PASS = "pass.json"
_COUNTS = b"gristmill"
_MEASURED = re.compile(r"(\d{8})\.parquet")

REJECTS = pa.schema(
    [
        ("ordinal", pa.uint32()),
        ("row", pa.uint32()),
        ("line", pa.int64()),
        ("offset", pa.int64()),
        ("id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("excerpt", pa.string()),
    ]
)


@dataclass(frozen=True)
class ShardCounts:
    """Counts from the reading of a shard. `records` = `documents` + `rejects`."""

    ordinal: int
    documents: int
    records: int
    rejects: int
    text_bytes: int  #: UTF-8 bytes of the documents' text, as read
    lines: int = 0  #: lines of the shard, where its format has lines
    seconds: Mapping[str, float] = field(
        default_factory=dict
    )  #: processor seconds by step, of the pass that measured it
    ends: Sequence[int] = ()  #: of a shard of several files: records up to the end of each
    left_out: Mapping[str, int] = field(default_factory=dict)  #: what its files hold besides records, by kind


def in_file(ends: Sequence[int], row: int) -> tuple[int, int]:
    """Return the position of the file that a row of a shard is in, and the row in that file, by `ShardCounts.ends`."""
    position = bisect_right(ends, row)
    return position, row - (ends[position - 1] if position else 0)


@dataclass(frozen=True)
class Pass:
    """Operators of one pass over the text, by fingerprint, with the columns of each."""

    operators: Mapping[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        """Return the name of the pass's folder."""
        return digest_of(sorted(self.operators))


@dataclass(frozen=True)
class ShardMeasures:
    """Narrow columns of one shard, which may lie in several files: the input of decide and write."""

    ordinal: int
    rows: int
    source: str
    parts: tuple[tuple[str, tuple[str, ...]], ...]  #: (file, the columns to take from it)
    schema: pa.Schema  #: all columns of this run, with their types

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return the columns asked for (n rows, in input order). A column that this shard's source lacks is null."""
        arrays: dict[str, pa.ChunkedArray | pa.Array] = {}
        for url, part_names in self.parts:
            wanted_names = [name for name in names if name in part_names]
            if wanted_names:
                table = files.read_table(url, columns=wanted_names)
                arrays.update(zip(table.column_names, table.columns, strict=True))
        for name in names:
            if name == columns.SOURCE:
                arrays[name] = pa.repeat(pa.scalar(self.source, pa.string()), self.rows)
            elif name not in arrays:
                arrays[name] = pa.nulls(self.rows, self.schema.field(name).type)
        return pa.table({name: arrays[name] for name in names})


class MeasureStore:
    """Files of measures in a store: their names, and a look-up by fingerprint and shard."""

    def __init__(self, store: str) -> None:
        self.folder = files.join(store, FOLDER)
        self.damaged: list[str] = []  #: damaged records of passes: all measures of these passes are made again
        self._passes: dict[str, tuple[Pass, set[int]]] = {}
        measured: dict[str, set[int]] = defaultdict(set)
        for path in files.paths(self.folder):
            name, _, file = path.partition("/")
            if match := _MEASURED.fullmatch(file):
                measured[name].add(int(match[1]))
            elif file == PASS:
                measured[name] |= set()
        for name, done in measured.items():
            try:
                record = files.read_record(files.join(self.folder, name, PASS))
            except FileNotFoundError:
                continue
            except StoreDamaged as error:
                self.damaged.append(error.url)
                continue
            self._passes[name] = (Pass({k: tuple(v) for k, v in record["operators"].items()}), done)

    def find(self, fingerprint: str, ordinal: int) -> tuple[str, tuple[str, ...]] | None:
        """Return the file with an operator's columns for a shard, and the columns; None where there is none yet."""
        for name, (entry, done) in sorted(self._passes.items()):
            if fingerprint in entry.operators and ordinal in done:
                return self.file(name, ordinal), entry.operators[fingerprint]
        return None

    def ordinals(self) -> set[int]:
        """Return the ordinals of the shards that have any measures."""
        return set().union(*(done for _, done in self._passes.values()))

    def file(self, pass_name: str, ordinal: int) -> str:
        """Return the measure file of a shard in a pass."""
        return files.join(self.folder, pass_name, f"{ordinal:08d}.parquet")

    def begin(self, new: Pass) -> None:
        """Write the record of a pass, before its first file."""
        if new.name not in self._passes:
            files.write_record(
                files.join(self.folder, new.name, PASS),
                {"operators": {k: list(v) for k, v in new.operators.items()}},
            )
            self._passes[new.name] = (new, set())

    def done(self, finished: Pass, ordinals: Iterable[int]) -> None:
        """Note that shards were measured."""
        self._passes[finished.name][1].update(ordinals)

    def forget(self, url: str, ordinal: int) -> None:
        """Remove a damaged measure file and the file of its rejected records."""
        files.remove(url)
        files.remove(rejects_file(url))
        self._passes[url.rsplit("/", 2)[-2]][1].discard(ordinal)


def rejects_file(measures: str) -> str:
    """Return the file with the rejected records of a measure file."""
    return measures.removesuffix(".parquet") + ".rejects.parquet"


def write_measures(url: str, table: pa.Table, counts: ShardCounts) -> None:
    """Write a measure file, its shard's counts in the footer."""
    metadata = {**(table.schema.metadata or {}), _COUNTS: json.dumps(asdict(counts)).encode()}
    files.write_table(url, table.replace_schema_metadata(metadata), row_group_size=1 << 17, durable=False)


def read_counts(url: str) -> ShardCounts:
    """Read the counts in a measure file's footer. Raises StoreDamaged where the file is not what was written."""
    with files.open_table(url) as file:
        return ShardCounts(**json.loads(pq.read_metadata(file).metadata[_COUNTS]))


@dataclass(frozen=True)
class HeldMeasures:
    """Measure files of one shard that earlier runs wrote."""

    ordinal: int
    urls: tuple[str, ...]
    document: str | None  #: the one with the documents' own columns, if it is there

    def check(self) -> tuple[ShardCounts | None, list[str]]:
        """Return the shard's counts, from the file of the documents' own columns, and the damaged files."""
        damaged, counts = [], None
        for url in self.urls:
            try:
                file_counts = read_counts(url)
                if url == self.document and file_counts.rejects:
                    with files.open_table(rejects_file(url)):
                        pass
            except StoreDamaged:
                damaged.append(url)
            else:
                counts = file_counts if url == self.document else counts
        return counts, damaged


def check_measures(held: HeldMeasures) -> tuple[ShardCounts | None, list[str]]:
    """Call `HeldMeasures.check`: a plain function, as engines take it."""
    return held.check()


def rejects_table(ordinal: int, rejects: list[Reject]) -> pa.Table:
    """Return the rejected records of a shard as a table."""
    rows = [{"ordinal": ordinal, **{n: getattr(r, n) for n in REJECTS.names[1:]}} for r in rejects]
    return pa.Table.from_pylist(rows, schema=REJECTS)

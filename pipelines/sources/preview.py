"""A look at the first records of some files: which fields there are, before a corpus is read.

It costs little and promises little: what cannot be looked at is left to the run, which says what is wrong with it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from gristmill.pipelines.sources.delimited import DELIMITERS
from gristmill.pipelines.sources.discover import FIXED_FIELDS, ShardSpec
from gristmill.pipelines.sources.listing import CONNECTIONS
from gristmill.pipelines.sources.partitions import keys_of
from gristmill.pipelines.sources.records import lookup
from gristmill.pipelines.sources.storage import FileRef, open_file, open_stream
from gristmill.pipelines.sources.streams import Compression
from gristmill.pipelines.storage.files import filesystem, is_local

#: Files and bytes of each that a look takes in; where a field is not found, it looks further.
FIRST, FURTHER = (3, 1 << 18), (16, 1 << 20)
#: How deep inside each other fields are told.
DEPTH = 4
_MISSING = object()


@dataclass(frozen=True)
class Look:
    """The records that were looked at, or one that stands for all of a file that declares its columns."""

    file: str
    records: Sequence[dict[str, Any]]
    declared: bool

    def lacking(self, field: str) -> int:
        """Return how many records do not have a field."""
        return sum(lookup(record, field, _MISSING) is _MISSING for record in self.records)

    def fields(self) -> Iterator[str]:
        """The names of fields, those inside others with dots."""
        yield from dict.fromkeys(name for record in self.records for name in _names(record))


def look(specs: Sequence[ShardSpec], extent: tuple[int, int] = FIRST) -> list[Look]:
    """Look at some of the files, spread over all; those that cannot be looked at are left out."""
    wanted, limit = extent
    files = list({file.url: (file, spec) for spec in specs for file in spec.files}.values())
    chosen = [files[i * (len(files) - 1) // max(1, wanted - 1)] for i in range(min(wanted, len(files)))]
    if len(files) <= wanted:
        chosen = files
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        looks = list(pool.map(lambda of: _look_at(of[0], of[1], limit), chosen))
    return [found for found in looks if found is not None and found.records]


def _look_at(file: FileRef, spec: ShardSpec, limit: int) -> Look | None:
    try:
        records = _records(file, spec, limit)
    except Exception:  # whatever it is, reading the file will tell
        return None
    keys = keys_of(file.url)
    return Look(file.name, [keys | record for record in records], declared=spec.format not in ("jsonl", "json"))


def _records(file: FileRef, spec: ShardSpec, limit: int) -> list[dict[str, Any]]:
    if spec.format in FIXED_FIELDS:
        return [dict.fromkeys(FIXED_FIELDS[spec.format])]
    if spec.format == "parquet":
        with open_file(file) as opened:
            return [_of_schema(pq.read_schema(opened))]
    head = _head(file, spec.compression, limit)
    return _READERS[spec.format](head, len(head) < limit)


def _head(file: FileRef, compression: Compression, limit: int) -> bytes:
    """The first bytes of a file, decompressed; one request where it lies on another store."""
    if is_local(file.url):
        with open_stream(file, compression) as stream:
            return bytes(stream.read(limit))
    fs, path = filesystem(file.url)
    raw: bytes = fs.cat_file(path, start=0, end=min(limit, file.size or limit))
    if compression == "none":
        return raw
    held = b""
    with pa.CompressedInputStream(pa.BufferReader(raw), compression) as stream:
        try:
            while len(held) < limit and (piece := stream.read(1 << 14)):
                held += piece
        except OSError:  # cut short, as we asked
            pass
    return held


def _json_lines(head: bytes, whole: bool) -> list[dict[str, Any]]:
    lines = head.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    found = []
    for line in lines if whole else lines[:-1]:
        try:
            found.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue
    return [record for record in found if isinstance(record, dict)]


def _json(head: bytes, whole: bool) -> list[dict[str, Any]]:
    text = head.decode("utf-8-sig", "ignore").lstrip()
    if not text.startswith("["):
        return _json_lines(head, whole)
    decoder, at = json.JSONDecoder(), 1
    found: list[Any] = []
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        try:
            record, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):  # the end of the array, or of what was read
            return [record for record in found if isinstance(record, dict)]
        found.append(record)


def _table(delimiter: str) -> Callable[[bytes, bool], list[dict[str, Any]]]:
    def header(head: bytes, whole: bool) -> list[dict[str, Any]]:
        if not whole and b"\n" not in head:
            return []
        text = head.decode("utf-8-sig", "replace")
        for other in (delimiter, *DELIMITERS):  # what separates the names is judged when the file is read
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=other)
            names = next(filter(None, rows), [])
            if len(names) > 1:
                return [dict.fromkeys(names)]
        return [dict.fromkeys(names)]

    return header


_READERS: dict[str, Callable[[bytes, bool], list[dict[str, Any]]]] = {
    "jsonl": _json_lines,
    "json": _json,
    "csv": _table(","),
    "tsv": _table("\t"),
}


def _of_schema(schema: pa.Schema | pa.StructType) -> dict[str, Any]:
    """A record that has the columns of a Parquet file."""
    return {field.name: _of_schema(field.type) if pt.is_struct(field.type) else None for field in schema}


def _names(record: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, value in record.items():
        yield f"{before}{name}"
        if isinstance(value, dict) and before.count(".") < DEPTH:
            yield from _names(value, f"{before}{name}.")

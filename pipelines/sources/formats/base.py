"""The contract of file formats: one object recognises, cuts, previews and reads the files of a format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from gristmill.pipelines.sources.batches import Batch
from gristmill.pipelines.sources.lines import LineReader, Part, open_lines
from gristmill.pipelines.sources.records import Record
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.sources.storage import FileRef, open_stream
from gristmill.pipelines.sources.streams import Compression
from gristmill.pipelines.storage.files import filesystem, is_local


class Opened(NamedTuple):
    """An open file: its records, and its lines where the format has lines."""

    records: Iterator[Record]
    lines: LineReader | None = None


class Reading(NamedTuple):
    """A request for the records of a file."""

    file: FileRef
    compression: Compression
    part: Part | None
    source: Source
    #: Fields that are used, that of the text first; none of them may occur twice in a record. Empty: all fields.
    fields: Sequence[str]
    #: Rows, from 0, whose records are wanted; a format may leave the others empty. None: all.
    only: Container[int] | None = None
    #: Counts of what is in the file and is no record, by kind; a format adds to it.
    left_out: Counter[str] | None = None

    def leave_out(self, kind: str) -> None:
        """Count something in the file that is no record."""
        if self.left_out is not None:
            self.left_out[kind] += 1

    @property
    def limit(self) -> int:
        """Return the number of bytes that a document may have."""
        return int(self.source.document_bytes)


class Batches(Protocol):
    """A reader of whole columns, for formats that have columns."""

    def __call__(
        self, file: FileRef, part: Part | None, source: Source, wanted: pa.Schema, *, batch_bytes: int, batch_rows: int
    ) -> Iterator[Batch]:
        """Yield the documents and rejects of a file or part, with the columns of `wanted`."""
        ...


def _whole(file: FileRef, source: Source) -> list[Part | None]:
    return [None]


@dataclass(frozen=True)
class Format:
    """One file format: the ways to recognise, cut, preview and read its files."""

    name: str  #: as used in recipes and stores
    open: Callable[[Reading], AbstractContextManager[Opened]]
    #: Records that stand for the fields of a file, from at most the given number of its first bytes.
    preview: Callable[[FileRef, Compression, int], list[dict[str, Any]]]
    suffixes: tuple[str, ...] = ()  #: extensions of files of this format, lower case
    stated_suffixes: tuple[str, ...] = ()  #: extensions of files that are read only where a recipe states the format
    fields: tuple[str, ...] | None = None  #: of every record, where they are always the same
    declares: bool = True  #: true if a preview shows every field that a file has
    cells: bool = False  #: true if values are text to be parsed
    batches: Batches | None = None  #: reads shards in place of `open`
    #: The parts that a file larger than the source's `part_bytes` is cut into; [None] where it is read whole.
    parts: Callable[[FileRef, Source], list[Part | None]] = _whole
    parts_are_bytes: bool = True
    compressed_inside: bool = False  #: true if a compressed file around it is refused
    units: bool = False  #: true if the source's `unit` defines a document
    is_document: Callable[[Source], bool] = lambda source: False  #: says if a file is one document
    #: Says if a file that is one document looks as if each of its lines were meant as one.
    has_many_lines: Callable[[FileRef, Compression], bool] = lambda file, compression: False
    #: Finds its files by the paths of a source and the folder that they start from, in place of a listing.
    find: Callable[[Sequence[str], str], list[FileRef]] | None = None
    group_bytes: int | None = None  #: of files read as one shard, where it differs from that of other formats
    pages: bool = False  #: true if its records are HTML, whose text is to be extracted
    #: Options of a source that are meant where a recipe does not write them.
    defaults: Mapping[str, Any] = field(default_factory=dict)
    reading: int = 1  #: raise it when the same file gives other documents: its shards then count as new


def by_lines(read: Callable[[Reading, LineReader], Iterator[Record]]) -> Callable[..., AbstractContextManager[Opened]]:
    """Return an `open` for files that are read line by line."""

    @contextmanager
    def opened(reading: Reading) -> Iterator[Opened]:
        with open_lines(reading.file, reading.compression, reading.part, reading.limit) as lines:
            yield Opened(read(reading, lines), lines)

    return opened


def by_file(read: Callable[[Reading], Iterator[Record]]) -> Callable[..., AbstractContextManager[Opened]]:
    """Return an `open` for files that are read as a whole; `read` is a generator."""

    @contextmanager
    def opened(reading: Reading) -> Iterator[Opened]:
        with closing(read(reading)) as records:  # type: ignore[type-var]
            yield Opened(records)

    return opened


def fixed(fields: Sequence[str]) -> Callable[[FileRef, Compression, int], list[dict[str, Any]]]:
    """Return a `preview` for files whose fields are always the same."""
    return lambda file, compression, limit: [dict.fromkeys(fields)]


def of_head(
    parse: Callable[[bytes, bool], list[dict[str, Any]]],
) -> Callable[[FileRef, Compression, int], list[dict[str, Any]]]:
    """Return a `preview` by the first bytes of a file; `parse` gets them, and True if they are all of it."""

    def preview(file: FileRef, compression: Compression, limit: int) -> list[dict[str, Any]]:
        head = _head(file, compression, limit)
        return parse(head, len(head) < limit)

    return preview


def byte_parts(file: FileRef, source: Source) -> list[Part | None]:
    """Return equal ranges of bytes, none larger than the source's `part_bytes`."""
    n = -(-file.size // int(source.part_bytes))
    return list(pairwise(file.size * i // n for i in range(n + 1)))


def _head(file: FileRef, compression: Compression, limit: int) -> bytes:
    """Return the first bytes of a file, decompressed; a remote file takes one request."""
    if is_local(file.url):
        with open_stream(file, compression) as stream:
            return bytes(stream.read(limit))
    fs, path = filesystem(file.url)
    raw: bytes = fs.cat_file(path, start=0, end=min(limit, file.size or limit))
    if compression == "none":
        return raw
    content = b""
    with pa.CompressedInputStream(pa.BufferReader(raw), compression) as stream:
        try:
            while len(content) < limit and (piece := stream.read(1 << 14)):
                content += piece
        except OSError:  # cut short at `limit`, as asked for
            pass
    return content

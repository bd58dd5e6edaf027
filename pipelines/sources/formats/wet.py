"""WET: the plain text that Common Crawl extracts from pages, one `conversion` record of a WARC file for each page.

The format is ISO 28500:2017, sections 4 to 6: a version line, named fields, an empty line, `Content-Length` bytes, two
empty lines. It is read here and not by a library so that a file that is cut short is distinguished from one that ends,
and so that failures of the network pass through unchanged.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

from gristmill.operators.errors import ShardError
from gristmill.pipelines.sources.formats.base import Format, by_file, fixed
from gristmill.pipelines.sources.records import Fault, Record
from gristmill.pipelines.sources.storage import FileRef, open_stream
from gristmill.pipelines.sources.streams import CHUNK, Compression, Stream

FIELDS = ("id", "url", "date", "language", "text")
#: Field of a document to field of a WARC record.
_WARC_FIELDS = {
    "id": "warc-record-id",
    "url": "warc-target-uri",
    "date": "warc-date",
    "language": "warc-identified-content-language",
}


class _WarcRecord(NamedTuple):
    offset: int
    headers: dict[str, str]
    length: int
    content: bytes  #: empty where the record is not a conversion, or over the limit


def wet(file: FileRef, compression: Compression, limit: int) -> Iterator[Record]:
    """Yield one record for each conversion record. Raises ShardError where the file is cut or is no WARC file."""
    with open_stream(file, compression) as stream:
        for record in _WarcReader(file.name, stream, limit):
            if record.headers.get("warc-type") == "conversion":
                yield _document(record, limit)


def _document(record: _WarcRecord, limit: int) -> Record:
    value = {field: record.headers[name] for field, name in _WARC_FIELDS.items() if name in record.headers}
    fault = None
    if record.length > limit:
        fault = Fault("too_large", f"the record has {record.length:,} bytes, more than document_bytes ({limit:,})")
    else:
        try:
            value["text"] = record.content.decode()
        except UnicodeDecodeError as error:
            fault = Fault(
                "invalid_utf8", f"byte {error.start:,} of the text (0x{record.content[error.start]:02x}) is not UTF-8"
            )
    return Record(value, record.content, offset=record.offset, fault=fault)


class _WarcReader:
    """Iterator over the records of a decompressed WARC stream; only conversion records keep their content."""

    def __init__(self, name: str, stream: Stream, limit: int) -> None:
        self._name, self._stream, self._limit = name, io.BufferedReader(stream, CHUNK), limit
        self._offset = 0

    def __iter__(self) -> Iterator[_WarcRecord]:
        while line := self._line():
            if not line.strip():  # between records
                continue
            offset = self._offset - len(line)
            if not line.startswith(b"WARC/"):
                raise self._damaged(offset, "no WARC record begins here")
            headers = self._headers(offset)
            try:
                length = int(headers["content-length"])
            except (KeyError, ValueError):
                raise self._damaged(offset, "the record has no Content-Length") from None
            wanted = headers.get("warc-type") == "conversion" and length <= self._limit
            yield _WarcRecord(offset, headers, length, self._content(offset, length, keep=wanted))

    def _line(self) -> bytes:
        line = self._stream.readline(CHUNK)
        self._offset += len(line)
        return line

    def _headers(self, offset: int) -> dict[str, str]:
        headers = {}
        while line := self._line().strip():
            name, _, value = line.decode("utf-8", "replace").partition(":")
            headers[name.strip().lower()] = value.strip()
            if self._offset - offset > CHUNK:
                raise self._damaged(offset, "the header of the record has no end")
        return headers

    def _content(self, offset: int, length: int, *, keep: bool) -> bytes:
        """Read the content of a record, empty unless `keep`. Raises ShardError where the stream ends too early."""
        pieces, missing = [], length
        while missing:
            piece = self._stream.read(min(missing, CHUNK))
            if not piece:
                raise self._damaged(offset, f"the file ends {missing:,} bytes before the record does")
            missing -= len(piece)
            if keep:
                pieces.append(piece)
        self._offset += length
        return b"".join(pieces)

    def _damaged(self, offset: int, what: str) -> ShardError:
        return ShardError(
            f"{self._name} is not a whole WET file: at byte {offset:,} (decompressed) {what}; fetch it again, "
            "or leave it out of the source's path"
        )


WET = Format(
    "wet",
    by_file(lambda reading: wet(reading.file, reading.compression, reading.limit)),
    fixed(FIELDS),
    suffixes=(".wet",),
    fields=FIELDS,
)

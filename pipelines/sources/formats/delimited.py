"""Tables as text, with a header: CSV and TSV.

Cells of CSV are quoted where they hold delimiters, quotes or newlines (RFC 4180); in TSV quotes are text.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

from gristmill.operators.errors import ShardError
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.sources.formats.base import Format, by_lines, of_head
from gristmill.pipelines.sources.lines import LineReader
from gristmill.pipelines.sources.records import Fault, Record
from gristmill.pipelines.sources.spec import Quoting, Source

#: The csv module refuses cells of more than 131,072 characters by default; the limit holds for the process.
#: `_RecordLines` bounds what a record may hold.
csv.field_size_limit(2**31 - 1)

#: Characters that separate cells in files named .csv or .tsv.
DELIMITERS = ";\t|,"


class _RecordLines:
    """Lines for a csv reader, with the place and the first line of the current record."""

    def __init__(self, name: str, lines: LineReader, limit: int) -> None:
        self._name, self._lines, self._limit = name, iter(lines), limit
        self.at_end = False
        self.begin_record()

    def begin_record(self) -> None:
        self.line: int | None = None
        self.offset: int | None = None
        self.raw = b""
        self._size = 0
        self.fault: Fault | None = None

    def __iter__(self) -> Iterator[str]:
        for number, offset, size, content in self._lines:
            if self.line is None:
                self.line, self.offset, self.raw = number, offset, content
            self._size += size
            if self._size > self._limit:
                raise ShardError(
                    f"{self._name}:{self.line}: this record has more than {self._limit:,} bytes (document_bytes); "
                    "is a quote opened here that is never closed? Correct the file or raise the limit"
                )
            yield self._decode(content) + "\n"
        self.at_end = True

    def _decode(self, content: bytes) -> str:
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            self.fault = Fault("invalid_utf8", f"a byte of the record (0x{content[error.start]:02x}) is not UTF-8")
            return content.decode("utf-8", "replace")


def delimited(name: str, lines: LineReader, format_: str, source: Source) -> Iterator[Record]:
    """Yield one record for each row below the header, without blank lines; its line is the one on which it begins.

    A column that the header lacks is null. Raises ShardError where it lacks the text, where it has a column that is
    used more than once, and where a quote is never closed.
    """
    feed = _RecordLines(name, lines, int(source.document_bytes))
    delimiter = "\t" if format_ == "tsv" else ","
    rows = _rows(feed, delimiter, source.quoting)
    header: list[str] | None = None
    while True:
        feed.begin_record()
        cells: list[str] = []
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if feed.at_end:
                raise ShardError(
                    f"{name}:{feed.line}: a quote opened in this record is never closed; correct the file, or say "
                    "`quoting: none` where quotes are text"
                ) from None
            feed.fault = Fault("malformed", f"this is not a row of the table: {error}")
        if header is None:
            if feed.fault is not None:
                raise ShardError(
                    f"{name}:{feed.line}: the header cannot be read: {feed.fault.detail}; correct the file"
                )
            if cells:
                if source.content not in cells and (other := _other_delimiter(feed.raw, delimiter, source.content)):
                    rows = _rows(feed, other, source.quoting)
                    cells = next(csv.reader([feed.raw.decode()], delimiter=other))
                header = cells
                _check_header(name, header, source)
        elif feed.fault is not None:
            yield Record(None, feed.raw, feed.line, feed.offset, feed.fault)
        elif len(cells) == len(header):
            yield Record(dict(zip(header, cells, strict=True)), feed.raw, feed.line, feed.offset)
        elif cells:
            yield Record(None, feed.raw, feed.line, feed.offset, _other_length(cells, header, feed.raw, source.quoting))


def _rows(feed: _RecordLines, delimiter: str, quoting: Quoting) -> Iterator[list[str]]:
    """Return the cells of each row; between tabs, quotes are text unless the source says otherwise."""
    if quoting == "double" or (quoting == "auto" and delimiter != "\t"):
        return csv.reader(feed, delimiter=delimiter, strict=True)
    lines = (line.removesuffix("\n").removesuffix("\r") for line in feed)
    return (line.split(delimiter) if line else [] for line in lines)


def _other_delimiter(header: bytes, delimiter: str, text: str) -> str | None:
    """Return another delimiter by which the text is one of the names of a header; None if there is none."""
    line = header.decode("utf-8", "replace")
    for other in DELIMITERS:
        with contextlib.suppress(csv.Error):  # a carriage return in a name, an open quote
            if other != delimiter and text in next(csv.reader([line], delimiter=other), []):
                return other
    return None


def _other_length(cells: list[str], header: list[str], row: bytes, quoting: Quoting) -> Fault:
    hint = "; say `quoting: double` if cells stand in quotes" if quoting == "auto" and b'\t"' in b"\t" + row else ""
    return Fault("malformed", f"this row has {len(cells)} cells, the header {len(header)}{hint}")


def _check_header(name: str, header: list[str], source: Source) -> None:
    if source.content not in header:
        raise ShardError(f"{name}: there is no column {source.content}{did_you_mean(source.content, header)}")
    for field in source.fields():
        if header.count(field) > 1:
            raise ShardError(
                f"{name}: there are {header.count(field)} columns called {field}; rename all but one of them"
            )


def _table(delimiter: str) -> Callable[[bytes, bool], list[dict[str, Any]]]:
    def header(head: bytes, whole: bool) -> list[dict[str, Any]]:
        if not whole and b"\n" not in head:
            return []
        text = head.decode("utf-8-sig", "replace")
        for other in (delimiter, *DELIMITERS):  # the delimiter is decided when the file is read
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=other)
            names = next(filter(None, rows), [])
            if len(names) > 1:
                return [dict.fromkeys(names)]
        return [dict.fromkeys(names)]

    return header


def _delimited(name: str, delimiter: str, suffix: str, reading: int) -> Format:
    return Format(
        name,
        by_lines(lambda asked, lines: delimited(asked.file.name, lines, name, asked.source)),
        of_head(_table(delimiter)),
        suffixes=(suffix,),
        cells=True,
        reading=reading,
    )


CSV = _delimited("csv", ",", ".csv", reading=1)
TSV = _delimited("tsv", "\t", ".tsv", reading=2)  # version 1 did not take quotes as text

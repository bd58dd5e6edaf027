"""Lines of a file, a part of a file or a compressed stream, with their numbers and byte offsets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from gristmill.pipelines.sources.storage import FileRef, chunks, open_stream
from gristmill.pipelines.sources.streams import Compression, Stream, beginning, refuse_carriage_returns

BOM = b"\xef\xbb\xbf"
#: A byte range; a line belongs to the part in which its first byte lies.
Part = tuple[int, int]


class Line(NamedTuple):
    """A line without its newline (a carriage return before it stays). Beyond the limit its content is cut."""

    number: int  #: from 1, in the file or part
    offset: int
    size: int
    content: bytes


class LineReader:
    """Iterates over the lines of a stream; `count` says how many have been read so far."""

    def __init__(self, stream: Stream, part: Part | None, limit: int) -> None:
        self.count = 0
        self._stream, self._limit = stream, limit
        self._start: int = part[0] if part else 0
        self._stop: int | None = part[1] if part else None

    def __iter__(self) -> Iterator[Line]:
        """Lines in order; the last one may lack its newline. A byte order mark at the start of the file is left out."""
        begin = max(0, self._start - 1)
        if begin:
            self._stream.seek(begin)
        for offset, size, content in self._split(begin):
            if offset < self._start:  # the end of a line of the part before, or just its newline
                continue
            if self._stop is not None and offset >= self._stop:
                return
            self.count += 1
            if offset == 0 and content.startswith(BOM):
                content = content[len(BOM) :]
            yield Line(self.count, offset, size, content)

    def _split(self, offset: int) -> Iterator[tuple[int, int, bytes]]:
        """(offset, size, first bytes) of each line from here to the end of the stream."""
        pending: list[bytes] = []  # of the line that the last chunk broke off, up to the limit
        size = 0
        for chunk in chunks(self._stream):
            *complete, rest = chunk.split(b"\n")
            for content in complete:
                if size:
                    size += len(content)
                    content = b"".join([*pending, content])[: self._limit]
                    pending = []
                else:
                    size = len(content)
                yield offset, size, content
                offset += size + 1
                size = 0
            if rest and size < self._limit:
                pending.append(rest)
            size += len(rest)
        if size:
            yield offset, size, b"".join(pending)[: self._limit]


@contextlib.contextmanager
def open_lines(file: FileRef, compression: Compression, part: Part | None, limit: int) -> Iterator[LineReader]:
    """The lines of a file or of one part of it (parts only where the file is not compressed)."""
    with open_stream(file, compression, None if part is None else part[0]) as stream:
        if part is None or part[0] == 0:
            refuse_carriage_returns(beginning(stream))
        yield LineReader(stream, part, limit)

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
    """A line without its newline (a carriage return before it stays); its content is cut at the limit."""

    number: int  #: from 1, in the file or part
    offset: int
    size: int
    content: bytes


class LineReader:
    """Iterator over the lines of a stream; `count` is the number of lines read so far."""

    def __init__(self, stream: Stream, part: Part | None, limit: int) -> None:
        self.count = 0
        self._stream, self._limit = stream, limit
        self._start: int = part[0] if part else 0
        self._stop: int | None = part[1] if part else None

    def __iter__(self) -> Iterator[Line]:
        """Yield lines in order; the last may lack its newline. A byte order mark at the file's start is cut off."""
        begin = max(0, self._start - 1)
        if begin:
            self._stream.seek(begin)
        for offset, size, content in self._split(begin):
            if offset < self._start:  # the end of a line of the previous part, or only its newline
                continue
            if self._stop is not None and offset >= self._stop:
                return
            self.count += 1
            if offset == 0 and content.startswith(BOM):
                content = content[len(BOM) :]
            yield Line(self.count, offset, size, content)

    def _split(self, offset: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield (offset, size, first bytes) of each line from here to the end of the stream."""
        pending: list[bytes] = []  # of the line that the last chunk ended inside, up to the limit
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
    """Open the lines of a file, or of one part of it where the file is not compressed."""
    with open_stream(file, compression, None if part is None else part[0]) as stream:
        if part is None or part[0] == 0:
            refuse_carriage_returns(beginning(stream))
        yield LineReader(stream, part, limit)

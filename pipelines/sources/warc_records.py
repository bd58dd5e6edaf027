"""Records of WARC and ARC files, one after the other, with what is damaged between them.

WARC is ISO 28500:2017, sections 4 to 6: a version line, named fields, an empty line, `Content-Length` bytes, two empty
lines; each record of a compressed file is a member of its own (annex D). ARC is what came before it (Burner and Kahle
1996): a line of URL, address, date, type and length, then so many bytes.

They are read here and not by a library so that a file that is cut short is told from one that ends, and so that what
lies behind damage can still be read.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from gristmill.pipelines.sources.streams import CHUNK, Compression

#: Content of a member by which it is recognised as the beginning of a record.
_BEGINNING = re.compile(rb"WARC/\d+\.\d+\r?\n")
#: A record that begins inside other content, where it cannot be told by its member.
_WITHIN = re.compile(rb"\r?\n\r?\n(?=WARC/\d+\.\d+\r?\n)")
_ARC_FIELDS = 5  # URL, address, date, type, length; version 2 has more before the length


class WarcRecord(NamedTuple):
    """One record of a file."""

    offset: int  #: where its member begins in the file, or its first byte in the content of a file without members
    headers: dict[str, str]  #: names in lower case
    length: int  #: of its content
    content: bytes | None  #: None where it was not wanted


class Gap(NamedTuple):
    """A range of a file that is no whole record."""

    start: int  #: counted as `WarcRecord.offset`
    stop: int | None  #: None at the end of the file
    reason: str


class DamagedRecord(Exception):
    """Bytes at a place of a file that are no record."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset, self.reason = offset, reason


class Raw(Protocol):
    """The bytes of a file as stored."""

    def read(self, size: int) -> bytes:
        """Return the next bytes; none at the end."""
        ...

    def seek(self, position: int) -> Any:
        """Go on at another position."""
        ...


class _Piece(NamedTuple):
    member: int | None  #: where its member begins in the file, if this is the first piece of one
    content: bytes


class _Plain:
    """Content of a file that is not compressed, or whose decompression is done by others."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def __iter__(self) -> Iterator[_Piece]:
        while content := self._raw.read(CHUNK):
            yield _Piece(None, content)

    def resume(self, start: int) -> None:
        """Do nothing: a file without members ends where it cannot be read any further."""


class _Members:
    """Content of a compressed file, member by member; what follows a damaged one can be read from `resume` on."""

    def __init__(self, raw: Raw, magic: bytes, make: Callable[[], Any]) -> None:
        self._raw, self._magic, self._make = raw, magic, make
        self._start = 0

    def __iter__(self) -> Iterator[_Piece]:
        position, data = self._start, b""
        while True:
            data = data.lstrip(b"\0") if data else data  # archivers pad with zeros
            if not data:
                data = self._raw.read(CHUNK)
                position += len(data)
                if not data:
                    return
                continue
            start = position - len(data)
            member, first = self._make(), True
            while not member.eof:
                try:
                    content = member.decompress(data, CHUNK)
                except Exception as error:
                    raise DamagedRecord(start, f"what is compressed is damaged ({error})") from None
                data = member.unused_data if member.eof else member.unconsumed_tail
                if content or first:
                    yield _Piece(start if first else None, content)
                    first = False
                if not member.eof and not data:
                    data = self._raw.read(CHUNK)
                    position += len(data)
                    if not data:
                        raise DamagedRecord(start, "the file ends inside what is compressed")

    def resume(self, start: int) -> None:
        """Go on at the first member from a position on that begins with a record."""
        self._raw.seek(start)
        position, window = start, b""
        while data := self._raw.read(CHUNK):
            window += data
            at = window.find(self._magic)
            while at >= 0 and len(window) - at > _TRIED:
                if self._begins_a_record(window[at : at + _TRIED]):
                    self._go_to(position + at)
                    return
                at = window.find(self._magic, at + 1)
            keep = len(window) - at if at >= 0 else len(self._magic)
            position += max(0, len(window) - keep)
            window = window[-keep:]
        at = window.find(self._magic)
        while at >= 0:
            if self._begins_a_record(window[at:]):
                self._go_to(position + at)
                return
            at = window.find(self._magic, at + 1)
        self._start = position + len(window)

    def _begins_a_record(self, data: bytes) -> bool:
        with contextlib.suppress(Exception):
            return _BEGINNING.match(self._make().decompress(data, _TRIED)) is not None
        return False

    def _go_to(self, position: int) -> None:
        self._raw.seek(position)
        self._start = position


_TRIED = 4096  # bytes of a member by which it is tried whether a record begins there


class _ZstdFrame:
    """One frame of zstd with the interface of zlib's decompressors."""

    def __init__(self, decompressor: Any) -> None:
        self._frame = decompressor.decompressobj()
        self.eof, self.unused_data, self.unconsumed_tail = False, b"", b""

    def decompress(self, data: bytes, most: int) -> bytes:
        """Return the content of some data of the frame."""
        content: bytes = self._frame.decompress(data[:most])
        self.eof = bool(self._frame.eof)
        rest = data[most:]
        self.unused_data = self._frame.unused_data + rest if self.eof else b""
        self.unconsumed_tail = b"" if self.eof else rest
        return content


def members_of(raw: Raw, compression: Compression, head: bytes) -> _Plain | _Members | None:
    """Return the members of a file by its compression and its beginning; None where only its content can be read."""
    if compression == "none":
        return _Plain(raw)
    if compression == "gzip":
        return _Members(raw, b"\x1f\x8b\x08", lambda: zlib.decompressobj(wbits=31))
    if compression == "zstd":
        return _zstd_members(raw, head)
    return None


def _zstd_members(raw: Raw, head: bytes) -> _Members | None:
    """Return the frames of zstd; a dictionary may come first, in a skippable frame (IIPC, "Zstandard compression")."""
    try:
        import zstandard
    except ImportError:
        return None
    dictionary = None
    if head[:4] == _DICTIONARY:
        size = int.from_bytes(head[4:8], "little")
        raw.seek(8)
        content = raw.read(size)
        if content[:4] == _ZSTD:
            content = zstandard.ZstdDecompressor().decompress(content, max_output_size=1 << 24)
        dictionary = zstandard.ZstdCompressionDict(content)
    raw.seek(0)
    decompressor = zstandard.ZstdDecompressor(dictionary) if dictionary else zstandard.ZstdDecompressor()
    members = _Members(raw, _ZSTD, lambda: _ZstdFrame(decompressor))
    if dictionary is not None:
        members.resume(8 + size)
    return members


_DICTIONARY, _ZSTD = b"\x5d\x2a\x4d\x18", b"\x28\xb5\x2f\xfd"


def read_records(
    members: _Plain | _Members, wanted: Callable[[dict[str, str], int], bool], skips: bool
) -> Iterator[WarcRecord | Gap]:
    """Yield the records of a file; those that are `wanted`, by their headers and length, with their content.

    Raises DamagedRecord at the first place that is no record, unless it `skips` what is damaged and yields a Gap.
    """
    reader = _Reader(members, wanted)
    while True:
        try:
            yield from reader.records()
            return
        except DamagedRecord as damage:
            if not skips:
                raise
            yield reader.gap(damage)


class _Reader:
    """Position in the content of a file."""

    def __init__(self, members: _Plain | _Members, wanted: Callable[[dict[str, str], int], bool]) -> None:
        self._members, self._wanted = members, wanted
        self._pieces = iter(members)
        self._open(0)
        self._is_arc = False
        self._starts = 0  # members that began so far

    def _open(self, at: int) -> None:
        self._buffer, self._at = b"", 0  # content that was read, and the position in it
        self._before = at  # content before the buffer
        self._marks: list[tuple[int, int]] = []  # position in the content and in the file of members of the buffer
        self._record = at  # offset of the record that is read

    def records(self) -> Iterator[WarcRecord]:
        while True:
            record = self._next_record()
            if record is None:
                return
            yield record

    def _next_record(self) -> WarcRecord | None:
        if not self._skip_blank_lines():
            return None
        offset = self._record = self._offset()
        headers = self._arc_headers() if self._is_arc else self._headers()
        try:
            length = int(headers["content-length"])
        except (KeyError, ValueError):
            raise DamagedRecord(offset, "the record has no Content-Length") from None
        if length < 0:
            raise DamagedRecord(offset, f"the record has a Content-Length of {length}")
        content = self._content(length, self._wanted(headers, length))
        if self._skip_blank_lines() and not self._begins_here():
            raise DamagedRecord(offset, "no record begins where this one should end")
        return WarcRecord(offset, headers, length, content)

    def gap(self, damage: DamagedRecord) -> Gap:
        """Go on at the next record that begins behind the damage; return what lies between."""
        try:
            stop = self._next_beginning()
        except DamagedRecord as further:
            self._members.resume(further.offset + 1)
            self._pieces = iter(self._members)
            self._open(self._before + len(self._buffer))
            stop = self._offset() if self._fill() else None
        return Gap(damage.offset, stop, damage.reason)

    def _next_beginning(self) -> int | None:
        """Go to the next member that begins with a record or, in a file of one member, to one after an empty line."""
        while True:
            for position, offset in self._marks:
                at = position - self._before
                if offset > self._record and _BEGINNING.match(self._buffer, at):
                    self._at = at
                    return offset
            if self._starts <= 1 and (match := _WITHIN.search(self._buffer, self._at)):
                self._at = match.end()
                return self._before + self._at
            self._at = max(self._at, len(self._buffer) - CHUNK)
            if not self._fill():
                self._at = len(self._buffer)
                return None

    def _offset(self) -> int:
        """Return the offset of the current position: that of its member if one begins here."""
        position = self._before + self._at
        return next((offset for start, offset in self._marks if start == position), position)

    def _fill(self) -> bool:
        """Read the next piece; False at the end."""
        piece = next(self._pieces, None)
        if piece is None:
            return False
        if self._at > CHUNK:
            self._buffer, self._before, self._at = self._buffer[self._at :], self._before + self._at, 0
            self._marks = [mark for mark in self._marks if mark[0] >= self._before]
        if piece.member is not None:
            self._starts += 1
            self._marks.append((self._before + len(self._buffer), piece.member))
        self._buffer += piece.content
        return True

    def _skip_blank_lines(self) -> bool:
        """Go to the next byte that is no line end; False at the end of the file."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in b"\r\n":
                self._at += 1
            if self._at < len(self._buffer):
                return True
            if not self._fill():
                return False

    def _begins_here(self) -> bool:
        return self._is_arc or self._peek(5) == b"WARC/"

    def _peek(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size and self._fill():
            pass
        return self._buffer[self._at : self._at + size]

    def _line(self) -> bytes:
        searched = self._at
        while (end := self._buffer.find(b"\n", searched)) < 0:
            if len(self._buffer) - self._at > CHUNK:
                raise DamagedRecord(self._record, "the header of the record has no end")
            behind = len(self._buffer) - self._at
            if not self._fill():
                raise DamagedRecord(self._record, "the file ends inside the header of a record")
            searched = self._at + behind
        line, self._at = self._buffer[self._at : end], end + 1
        return line

    def _headers(self) -> dict[str, str]:
        if self._peek(11) == b"filedesc://":
            self._is_arc = True
            return self._arc_headers()
        if not self._begins_here():
            raise DamagedRecord(self._record, "no WARC record begins here")
        self._line()
        headers: dict[str, str] = {}
        name = ""
        while line := self._line().rstrip(b"\r"):
            text = line.decode("utf-8", "replace")
            if line[:1] in b" \t" and name:  # a field that goes on
                headers[name] += f" {text.strip()}"
                continue
            name, _, value = text.partition(":")
            name = name.strip().lower()
            headers[name] = value.strip()
        return headers

    def _arc_headers(self) -> dict[str, str]:
        fields = self._line().decode("utf-8", "replace").split(" ")
        if len(fields) < _ARC_FIELDS or not fields[-1].strip().isdigit():
            raise DamagedRecord(self._record, "no ARC record begins here")
        url, address, date, kind, *_, length = fields
        is_page = re.match(r"https?://", url) is not None
        headers = {"warc-type": "response" if is_page else url.partition(":")[0], "warc-target-uri": url}
        with contextlib.suppress(ValueError):
            headers["warc-date"] = datetime.strptime(date[:14], "%Y%m%d%H%M%S").strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers | {"content-type": kind, "content-length": length.strip(), "warc-ip-address": address}

    def _content(self, length: int, keep: bool) -> bytes | None:
        """Read the content of a record; None unless it is to be kept."""
        pieces: list[bytes] = []
        missing = length
        while True:
            part = self._buffer[self._at : self._at + missing]
            self._at += len(part)
            missing -= len(part)
            if keep and part:
                pieces.append(part)
            if not missing:
                return b"".join(pieces) if keep else None
            starts = self._starts
            if not self._fill():
                raise DamagedRecord(self._record, f"the file ends {missing:,} bytes before the record does")
            if self._starts > starts and _BEGINNING.match(self._buffer, self._at):
                raise DamagedRecord(self._record, f"another record begins {missing:,} bytes before this one ends")


def plain_content(stream: Raw) -> _Plain:
    """Return the content of a stream whose members are not known: behind damage it cannot go on by them."""
    return _Plain(stream)

"""Content of crawlers' files, and what can be read of it behind damage: each record is a member of its own.

WARC has it so (ISO 28500:2017, annex D), in gzip or zstd. A file of one member, or none, is read as well.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from gristmill.pipelines.sources.streams import CHUNK, Compression

#: Content of a member by which it is recognised as the beginning of a record.
BEGINNING = re.compile(rb"WARC/\d+\.\d+\r?\n")
#: A record that begins inside other content, where it cannot be told by its member.
_WITHIN = re.compile(rb"\r?\n\r?\n(?=WARC/\d+\.\d+\r?\n)")


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


class Piece(NamedTuple):
    """Some content of a file."""

    member: int | None  #: where its member begins in the file, if this is the first piece of one
    content: bytes


class PlainContent:
    """Content of a file that is not compressed, or whose decompression is done by others."""

    def __init__(self, raw: Raw, seekable: bool) -> None:
        self._raw, self._seekable = raw, seekable

    def __iter__(self) -> Iterator[Piece]:
        while content := self._raw.read(CHUNK):
            yield Piece(None, content)

    def resume(self, start: int) -> int | None:
        """Go on at the first record behind a position; return where it begins, None where there is none to find."""
        if not self._seekable:
            return None
        self._raw.seek(start)
        position, window = start, b""
        while data := self._raw.read(CHUNK):
            window += data
            if match := _WITHIN.search(window):
                self._raw.seek(position + match.end())
                return position + match.end()
            position += max(0, len(window) - _TRIED)
            window = window[-_TRIED:]
        return None


class MemberContent:
    """Content of a compressed file, member by member; what follows a damaged one can be read from `resume` on."""

    def __init__(self, raw: Raw, magic: bytes, make: Callable[[], Any]) -> None:
        self._raw, self._magic, self._make = raw, magic, make
        self._start = 0

    def __iter__(self) -> Iterator[Piece]:
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
                    yield Piece(start if first else None, content)
                    first = False
                if not member.eof and not data:
                    data = self._raw.read(CHUNK)
                    position += len(data)
                    if not data:
                        raise DamagedRecord(start, "the file ends inside what is compressed")

    def resume(self, start: int) -> int | None:
        """Go on at the first member behind a position that begins with a record; return where it is, or None."""
        self._raw.seek(start)
        position, window, is_last = start, b"", False
        while not is_last:
            data = self._raw.read(CHUNK)
            window, is_last = window + data, not data
            at = window.find(self._magic)
            while at >= 0 and (is_last or len(window) - at > _TRIED):
                if self._begins_a_record(window[at : at + _TRIED]):
                    self._start = position + at
                    self._raw.seek(self._start)
                    return self._start
                at = window.find(self._magic, at + 1)
            behind = max(0, len(window) - len(self._magic)) if at < 0 else at
            position, window = position + behind, window[behind:]
        self._start = position + len(window)
        return None

    def _begins_a_record(self, data: bytes) -> bool:
        with contextlib.suppress(Exception):
            return BEGINNING.match(self._make().decompress(data, _TRIED)) is not None
        return False


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


def members_of(raw: Raw, compression: Compression, head: bytes) -> PlainContent | MemberContent | None:
    """Return the members of a file by its compression and its beginning; None where only its content can be read."""
    if compression == "none":
        return PlainContent(raw, seekable=True)
    if compression == "gzip":
        return MemberContent(raw, b"\x1f\x8b\x08", _gzip_member)
    if compression == "zstd":
        return _zstd_members(raw, head)
    return None


def _gzip_member() -> Any:
    """Return a decompressor of one member: that of isal, three times faster than zlib's, where it is installed."""
    try:
        from isal import isal_zlib as zlib
    except ImportError:
        import zlib  # type: ignore[no-redef]
    return zlib.decompressobj(wbits=31)


def _zstd_members(raw: Raw, head: bytes) -> MemberContent | None:
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
    members = MemberContent(raw, _ZSTD, lambda: _ZstdFrame(decompressor))
    if dictionary is not None:
        members.resume(8 + size)
    return members


_DICTIONARY, _ZSTD = b"\x5d\x2a\x4d\x18", b"\x28\xb5\x2f\xfd"


def plain_content(stream: Raw) -> PlainContent:
    """Return the content of a stream whose members are not known: behind damage it cannot go on by them."""
    return PlainContent(stream, seekable=False)

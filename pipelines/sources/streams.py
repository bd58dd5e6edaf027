"""Streams of a file's content: its bytes, not its name, decide on the decompression; other kinds of file are refused.

Arrow decompresses; where it stops at content that other tools read (zeros that archivers put after the last member,
members without content), Python's own modules go on.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import pyarrow as pa

Compression = Literal["none", "gzip", "zstd", "bz2", "xz", "lz4"]
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz", ".lz4": "lz4"}

CHUNK = 1 << 20  #: bytes read from a stream at a time
HEAD = 1 << 16  #: bytes by which the kind of a file is recognised

_MAGIC: dict[Compression, re.Pattern[bytes]] = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    "bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "lz4": re.compile(rb"\x04\x22\x4d\x18"),
}
#: Decompressors of single members, for files where Arrow stops.
_MEMBERS: dict[Compression, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "bz2": bz2.BZ2Decompressor,
}


class NotAsNamed(Exception):
    """A file that is something else than its name or format says; the message follows the file's name."""


_OTHER_KINDS = [
    (
        rb"version https://git-lfs\.github\.com/spec/",
        "is not the file itself but a Git LFS pointer to it; run `git lfs pull`, or fetch the file",
    ),
    (rb"PAR1", "is a Parquet file; give it a name that ends in .parquet, or set `format: parquet`"),
    (
        rb"\xff\xfe|\xfe\xff|\0\0\xfe\xff|(\0[\t-~]){4}|([\t-~]\0){4}",
        "is UTF-16 or UTF-32, and UTF-8 is read; convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW",
    ),
    (rb"PK\x03\x04", "is a ZIP archive; unpack it"),
    (rb"ARROW1\0\0", "is an Arrow file; write it as Parquet"),
    (rb"SQLite format 3\0", "is an SQLite database; write its table as JSON lines or Parquet"),
    (rb"%PDF-", "is a PDF; extract its text"),
]


def refuse_other_kinds(head: bytes) -> None:
    """Raise NotAsNamed where the beginning of a file is that of a known kind that is no text."""
    for magic, what in _OTHER_KINDS:
        if re.match(magic, head):
            raise NotAsNamed(what)


def compression_of(head: bytes, named: Compression) -> Compression:
    """Return the compression of a file, by its beginning. Raises NotAsNamed where only its name is that of one."""
    if named == "none":
        return next((compression for compression, magic in _MAGIC.items() if magic.match(head)), "none")
    if not head:
        raise NotAsNamed("has no bytes, and a compressed file has some even where it holds nothing; fetch it again")
    if _MAGIC[named].match(head):
        return named
    if (other := compression_of(head, "none")) != "none":
        return other
    refuse_other_kinds(head)
    if is_text(head):
        begin = head[:40].decode("utf-8", "ignore")
        raise NotAsNamed(f"is not compressed as its name says, but plain text ({begin!r}); rename it or fetch it again")
    return named


def is_text(head: bytes) -> bool:
    """Return whether the beginning of a file is text: UTF-8 without control characters."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not merely a character that is cut in two
            return False
    return re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]", head) is None


class Decompressed(io.RawIOBase):
    """The content of a compressed file, read from beginning to end. A file that is cut short raises OSError."""

    def __init__(self, raw: pa.NativeFile, compression: Compression) -> None:
        self._raw, self._compression = raw, compression
        self._position = 0
        self._ready = b""  # content that was read and not yet returned
        self._pieces: Iterator[bytes] | None = None
        if compression == "xz":
            self._pieces = _members(raw, lzma.LZMADecompressor)
        else:
            self._stream = pa.CompressedInputStream(raw, compression)

    def peek(self, size: int) -> bytes:
        """Return at most `size` of the next bytes without advancing."""
        while len(self._ready) < size and (piece := self._next(CHUNK)):
            self._ready += piece
        return self._ready[:size]

    def read(self, size: int = -1) -> bytes:
        """Read the next `size` bytes, fewer only at the end; all the rest if `size` is negative."""
        if size < 0:
            return self.readall()
        content = self._ready or self._next(size)
        while len(content) < size and (piece := self._next(size - len(content))):
            content += piece
        if len(content) > size:
            content, self._ready = content[:size], content[size:]
        else:
            self._ready = b""
        return content

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer and return the number of bytes, as io.BufferedReader needs it."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def readable(self) -> bool:
        """Return True."""
        return True

    def _next(self, size: int) -> bytes:
        if self._pieces is None:
            try:
                content: bytes = self._stream.read(size)
            except (OSError, pa.ArrowException) as error:
                self._pieces = self._continued(error)
            else:
                self._position += len(content)
                return content
        return next(self._pieces, b"")

    def _continued(self, error: Exception) -> Iterator[bytes]:
        """Yield the rest, decompressed by Python's module. Raises the error of Arrow where that cannot go on either."""
        if "too much memory" in str(error):
            self._raw.seek(0)
            raise NotAsNamed(_of_long_window(self._raw.read(HEAD))) from error
        if self._compression not in _MEMBERS:
            raise error
        self._raw.seek(0)
        behind = self._position
        try:
            for piece in _members(self._raw, _MEMBERS[self._compression]):
                if behind < len(piece):
                    yield piece[behind:]
                behind = max(0, behind - len(piece))
        except OSError:
            raise error from None


Stream: TypeAlias = pa.NativeFile | Decompressed


def beginning(stream: Stream) -> bytes:
    """Return the first bytes of a stream that was just opened, without advancing."""
    if isinstance(stream, Decompressed):
        return stream.peek(HEAD)
    head = stream.read(HEAD)
    stream.seek(0)
    return bytes(head)


def refuse_carriage_returns(head: bytes) -> None:
    """Raise NotAsNamed where the lines of a file end in carriage returns alone."""
    if b"\n" not in head and re.search(rb"\r[^\r]", head):
        raise NotAsNamed("has lines that end in carriage returns alone; convert it: tr '\\r' '\\n' < OLD > NEW")


def _members(raw: pa.NativeFile, make: Callable[[], Any]) -> Iterator[bytes]:
    """Yield the content of one member after the other, piece by piece; zeros between and after members are skipped."""
    decompressor: Any = None
    while data := raw.read(CHUNK):
        while data:
            if decompressor is None:
                data = data.lstrip(b"\0")
                if not data:
                    break
                decompressor = make()
            try:
                piece = decompressor.decompress(data)
            except (zlib.error, lzma.LZMAError, EOFError) as error:
                raise OSError(str(error)) from None
            if piece:
                yield piece
            data = decompressor.unused_data if decompressor.eof else b""
            if decompressor.eof:
                decompressor = None
    if decompressor is not None:
        raise OSError("Truncated compressed stream")


def _of_long_window(head: bytes) -> str:
    """Return the message for a file of zstd whose window is over 128 MiB."""
    size = "more than 128 MiB"
    if re.match(_MAGIC["zstd"], head) and len(head) > 5 and not head[4] & 0x20:
        exponent, eighths = head[5] >> 3, head[5] & 7
        size = f"{((8 + eighths) << (7 + exponent)) / 2**20:,.0f} MiB"
    return (
        f"was written by zstd with a window of {size} (--long), which takes as much memory to read; up to 128 MiB are "
        "read; write it again: zstd -dc --long=31 OLD.zst | zstd > NEW.zst"
    )

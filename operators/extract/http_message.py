"""HTTP messages as crawlers stored them: the head, and the body without its transfer and content codings.

Heads of real crawls lie: they name a coding that the body no longer has. What a body is, its first bytes say.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from email.message import Message
from functools import lru_cache
from typing import Any, NamedTuple

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b")
#: End of a head, also where lines end in bare line feeds.
_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_STEP = 1 << 16  # bytes that are decompressed at a time


class BodyTooLarge(Exception):
    """A body that is larger than allowed once it is decoded."""


class HttpMessage(NamedTuple):
    """A response, parsed."""

    status: int
    headers: dict[str, str]  #: names in lower case
    body: bytes


def parse_response(content: bytes) -> HttpMessage | None:
    """Return the parts of a response; None where the content does not begin with a status line."""
    status = _STATUS.match(content)
    if status is None:
        return None
    end = _END.search(content)
    head = content if end is None else content[: end.start()]
    headers: dict[str, str] = {}
    name = ""
    for line in head.decode("latin-1").splitlines()[1:]:
        if line[:1] in " \t" and name:  # a field that goes on (RFC 9112, section 5.2)
            headers[name] += f" {line.strip()}"
            continue
        name, _, value = line.partition(":")
        name = name.strip().lower()
        headers.setdefault(name, value.strip())
    return HttpMessage(int(status[1]), headers, b"" if end is None else content[end.end() :])


@lru_cache(1024)  # a crawl has few of them
def mime_and_charset(content_type: str) -> tuple[str | None, str | None]:
    """Return the media type of a Content-Type field, in lower case, and its charset; None for what it does not say."""
    message = Message()
    message["content-type"] = content_type
    mime = content_type.partition(";")[0].strip().lower() or None
    charset = message.get_param("charset")
    return mime, charset.strip().lower() if isinstance(charset, str) and charset.strip() else None


def decoded_body(message: HttpMessage, limit: int) -> bytes:
    """Return the body of a response without its codings. Raises BodyTooLarge where it has more than `limit` bytes.

    A body that is not what the head says is returned as it is.
    """
    body = message.body
    if "chunked" in message.headers.get("transfer-encoding", "").lower():
        body = _joined_chunks(body)
    coding = message.headers.get("content-encoding", "").lower()
    if body[:2] == b"\x1f\x8b":
        body = _inflated(body, lambda: zlib.decompressobj(wbits=31), limit)
    elif body[:4] == b"\x28\xb5\x2f\xfd":
        body = _zstd(body, limit)
    elif "br" in re.split(r"[,\s]+", coding):  # brotli has no magic bytes
        body = _brotli(body, limit)
    elif "deflate" in coding:
        wrapped = _inflated(body, zlib.decompressobj, limit)
        body = wrapped if wrapped is not body else _inflated(body, lambda: zlib.decompressobj(wbits=-15), limit)
    if len(body) > limit:
        raise BodyTooLarge
    return body


def _joined_chunks(body: bytes) -> bytes:
    """Return the content of chunks (RFC 9112, section 7.1); the body as it is where it is not made of them.

    Of chunks that are cut short, what is there.
    """
    pieces: list[bytes] = []
    at = 0
    while (size := _CHUNK_SIZE.match(body, at)) is not None:
        length = int(size[1], 16)
        if not length:
            return b"".join(pieces)
        piece = body[size.end() : size.end() + length]
        pieces.append(piece)
        at = size.end() + length
        if at > len(body):
            return b"".join(pieces)
        at += 2 if body[at : at + 2] == b"\r\n" else 1 if body[at : at + 1] == b"\n" else 0
    return b"".join(pieces) if pieces and at >= len(body) else body


def _inflated(body: bytes, make: Callable[[], Any], limit: int) -> bytes:
    """Return the decompressed body, what is there of one that is cut short; the body as it is where it is damaged."""
    pieces: list[bytes] = []
    total, decompressor, data = 0, make(), body
    try:
        while data and not decompressor.eof:
            piece = decompressor.decompress(data, _STEP)
            pieces.append(piece)
            total += len(piece)
            if total > limit:
                raise BodyTooLarge
            data = decompressor.unconsumed_tail
    except zlib.error:
        return b"".join(pieces) or body
    return b"".join(pieces) or body


def _zstd(body: bytes, limit: int) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(body) as stream:
            content: bytes = stream.read(limit + 1)
    except zstandard.ZstdError:
        return body
    if len(content) > limit:
        raise BodyTooLarge
    return content or body


def _brotli(body: bytes, limit: int) -> bytes:
    import brotli

    pieces: list[bytes] = []
    decompressor, total = brotli.Decompressor(), 0
    try:
        for start in range(0, len(body), _STEP):
            piece = decompressor.process(body[start : start + _STEP])
            pieces.append(piece)
            total += len(piece)
            if total > limit:
                raise BodyTooLarge
    except brotli.error:
        return b"".join(pieces) or body
    return b"".join(pieces) or body

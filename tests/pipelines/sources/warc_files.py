"""WARC files that are made for tests, whole and damaged."""

from __future__ import annotations

import gzip
from collections.abc import Sequence


def record(type_: str, content: bytes, **headers: str) -> bytes:
    """A WARC record; underscores in names of headers stand for hyphens."""
    lines = ["WARC/1.0", f"WARC-Type: {type_}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content + b"\r\n\r\n"


def response(body: bytes, *head: str, status: str = "200 OK", line_end: str = "\r\n") -> bytes:
    """An HTTP response."""
    return line_end.join([f"HTTP/1.1 {status}", *head, "", ""]).encode() + body


def html(number: int, words: int = 40) -> bytes:
    """A page whose text is known by its number."""
    text = " ".join(f"word{number}x{i}" for i in range(words))
    return f"<html><head><title>{number}</title></head><body><p>Page {number}. {text}.</p></body></html>".encode()


def page(number: int) -> bytes:
    """The record of a page."""
    return record(
        "response",
        response(html(number), "Content-Type: text/html; charset=utf-8"),
        WARC_Record_ID=f"<urn:{number}>",
        WARC_Target_URI=f"https://example.org/{number}",
        WARC_Date="2024-05-01T00:00:00Z",
        Content_Type="application/http; msgtype=response",
    )


def packed(records: Sequence[bytes]) -> bytes:
    """Records as members of a gzip file."""
    return b"".join(gzip.compress(r, mtime=0) for r in records)

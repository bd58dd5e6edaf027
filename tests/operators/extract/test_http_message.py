"""HTTP messages as crawls have them: heads that lie, codings that are or are not there."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.extract.http_message import (
    BodyTooLarge,
    HttpMessage,
    decoded_body,
    mime_and_charset,
    parse_response,
)
from tests.pipelines.sources.warc_files import response

PAGE = b"<html><p>" + b"some text " * 200 + b"</p></html>"
LIMIT = 1_000_000


def chunked(body: bytes, size: int = 500) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\nTrailer: x\r\n\r\n"


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_heads_end_in_either_line_end(line_end: str) -> None:
    content = response(PAGE, "Content-Type: text/html", "X-Long: a", "  b", line_end=line_end)
    message = parse_response(content)
    assert message == HttpMessage(200, {"content-type": "text/html", "x-long": "a b"}, PAGE)


def test_what_is_no_response() -> None:
    assert parse_response(PAGE) is None
    assert parse_response(b"") is None
    assert parse_response(b"HTTP/1.0 404 Not Found\r\nA: b") == HttpMessage(404, {"a": "b"}, b"")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-encoding": "gzip"}, gzip.compress(PAGE, mtime=0)),
        ({}, gzip.compress(PAGE, mtime=0)),  # the head does not say it
        ({"content-encoding": "gzip"}, PAGE),  # the head says it and it is not so
        ({"content-encoding": "br"}, brotli.compress(PAGE)),
        ({"content-encoding": "br"}, PAGE),
        ({"content-encoding": "zstd"}, zstandard.ZstdCompressor().compress(PAGE)),
        ({"content-encoding": "deflate"}, zlib.compress(PAGE)),
        ({"content-encoding": "deflate"}, zlib.compress(PAGE)[2:-4]),  # without zlib's head, as some servers send it
        ({"transfer-encoding": "chunked"}, chunked(PAGE)),
        ({"transfer-encoding": "chunked"}, PAGE),  # chunks that the crawler joined already
        ({"transfer-encoding": "chunked", "content-encoding": "gzip"}, chunked(gzip.compress(PAGE, mtime=0))),
    ],
    ids=range(11),
)
def test_codings_are_undone_where_they_are_there(headers: dict[str, str], body: bytes) -> None:
    assert decoded_body(HttpMessage(200, headers, body), LIMIT) == PAGE


def test_of_what_is_cut_short_the_beginning_is_read() -> None:
    cut = gzip.compress(PAGE, 0, mtime=0)[:-100]
    content = decoded_body(HttpMessage(200, {}, cut), LIMIT)
    assert PAGE.startswith(content)
    assert len(content) > 1500
    content = decoded_body(HttpMessage(200, {"transfer-encoding": "chunked"}, chunked(PAGE)[:1200]), LIMIT)
    assert PAGE.startswith(content)
    assert len(content) > 1000


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, gzip.compress(bytes(50_000_000), mtime=0)),
        ({"content-encoding": "br"}, brotli.compress(bytes(5_000_000))),
        ({"content-encoding": "zstd"}, zstandard.ZstdCompressor().compress(bytes(50_000_000))),
        ({"content-encoding": "deflate"}, zlib.compress(bytes(50_000_000))),
        ({}, b"x" * (LIMIT + 1)),
    ],
    ids=range(5),
)
def test_a_bomb_is_not_unpacked(headers: dict[str, str], body: bytes) -> None:
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(BodyTooLarge):
        decoded_body(HttpMessage(200, headers, body), LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * LIMIT


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("text/html; charset=UTF-8", ("text/html", "utf-8")),
        ('TEXT/HTML;charset="iso-8859-1"', ("text/html", "iso-8859-1")),
        ("text/html", ("text/html", None)),
        ("", (None, None)),
        (";;;", (None, None)),
        ("text/html; charset=", ("text/html", None)),
    ],
)
def test_content_types(field: str, expected: tuple[str | None, str | None]) -> None:
    assert mime_and_charset(field) == expected


@given(st.binary(max_size=300), st.sampled_from(["gzip", "br", "deflate", "chunked", "zstd", "\u20ac"]))
def test_any_bytes_are_taken(body: bytes, coding: str) -> None:
    headers = {"content-encoding": coding, "transfer-encoding": coding}
    decoded_body(HttpMessage(200, headers, body), LIMIT)
    parse_response(b"HTTP/1.1 200 OK\r\n" + body)
    mime_and_charset(body.decode("latin-1").replace("\n", " ").replace("\r", " "))

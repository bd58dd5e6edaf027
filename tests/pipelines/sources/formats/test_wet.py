from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from gristmill.operators.errors import ShardError
from tests.pipelines.sources.reading import read


def record(type_: str, content: bytes, **headers: str) -> bytes:
    lines = [
        "WARC/1.0",
        f"WARC-Type: {type_}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content + b"\r\n\r\n"


INFO = record("warcinfo", b"software: test\r\n")
FIRST = record(
    "conversion",
    "erster Text äöü\n\nmore\r\n\r\n".encode(),
    WARC_Record_ID="<urn:1>",
    WARC_Target_URI="https://a.example/?x=1:2",
)
LATIN = record("conversion", b"caf\xe9", WARC_Record_ID="<urn:2>")
LAST = record("conversion", b"last", WARC_Record_ID="<urn:3>", WARC_Date="2024-01-01T00:00:00Z")


@pytest.mark.parametrize("packed", [False, True])
def test_conversion_records_are_documents(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("pages.warc.wet.gz" if packed else "pages.wet")
    pieces = [INFO, FIRST, LATIN, LAST]
    path.write_bytes(b"".join(map(gzip.compress, pieces)) if packed else b"".join(pieces))
    reading = read(path, url="url", metadata=["date"])
    assert reading.documents == [
        {
            "row": 0,
            "id": "<urn:1>",
            "url": "https://a.example/?x=1:2",
            "date": None,
            "text": "erster Text äöü\n\nmore\r\n\r\n",
        },
        {"row": 2, "id": "<urn:3>", "url": None, "date": "2024-01-01T00:00:00Z", "text": "last"},
    ]
    (reject,) = reading.rejects
    assert (reject.row, reject.id, reject.reason) == (1, "<urn:2>", "invalid_utf8")
    before = map(gzip.compress, (INFO, FIRST)) if packed else (INFO, FIRST)
    assert reject.offset == sum(map(len, before)), "where its member begins in the file"


def test_a_record_over_the_limit_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "pages.wet"
    path.write_bytes(record("conversion", b"x" * 1000, WARC_Record_ID="<urn:0>") + LAST)
    reading = read(path, document_bytes=100)
    assert (reading.texts, reading.reasons, reading.rejects[0].id) == (["last"], [(0, "too_large")], "<urn:0>")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (INFO + FIRST[:-30], "the file ends 26 bytes before the record does"),
        (INFO + b"<html>not a record</html>", f"at byte {len(INFO)} no WARC record begins here"),
        (b"WARC/1.0\r\nWARC-Type: conversion\r\n\r\nabc", "no Content-Length"),
        (b"WARC/1.0\r\nContent-Length: many\r\n\r\nabc", "no Content-Length"),
        (b"WARC/1.0\r\n" + b"X: y\r\n" * 400_000, "has no end"),
    ],
)
def test_a_broken_file_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "pages.wet"
    path.write_bytes(content)
    with pytest.raises(ShardError, match=rf"pages\.wet is damaged or cut short.*{message}"):
        read(path)


def test_an_empty_file_has_no_documents(tmp_path: Path) -> None:
    path = tmp_path / "pages.wet"
    path.write_bytes(b"")
    assert read(path).records == 0


def test_real_pages_are_read_as_fastwarc_reads_them(shared_data: Path) -> None:
    path = shared_data / "web" / "real-pages.warc.wet.gz"
    with path.open("rb") as file:
        expected = [
            (r.record_id, r.headers.get("WARC-Target-URI"), r.reader.read().decode())
            for r in ArchiveIterator(file, record_types=WarcRecordType.conversion, parse_http=False)
        ]
    assert [(d["id"], d["url"], d["text"]) for d in read(path, url="url").documents] == expected

"""The reader of WARC records beside fastwarc on whole files, and beside lists made by hand on damaged ones."""

from __future__ import annotations

import gzip
import random
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator

from gristmill.operators.errors import ShardError
from gristmill.pipelines.sources.formats.pages import records_of
from gristmill.pipelines.sources.storage import FileRef
from gristmill.pipelines.sources.streams import Compression
from gristmill.pipelines.sources.warc_records import Gap, WarcRecord
from tests.pipelines.sources.warc_files import packed, page, record

PAGES = [page(i) for i in range(8)]
IDS = [f"<urn:{i}>" for i in range(8)]


def read(path: Path, compression: Compression = "gzip", skips: bool = False) -> list[Any]:
    """Ids of records, and gaps as (start, stop)."""
    status = path.stat()
    file = FileRef(str(path), path.name, status.st_size, str(status.st_mtime_ns))
    records = records_of(file, compression, lambda headers, length: True, skips)
    return [(r.start, r.stop) if isinstance(r, Gap) else r.headers["warc-record-id"] for r in records]


def whole(path: Path, compression: Compression = "gzip") -> list[WarcRecord]:
    status = path.stat()
    file = FileRef(str(path), path.name, status.st_size, str(status.st_mtime_ns))
    return [r for r in records_of(file, compression, lambda headers, length: True) if isinstance(r, WarcRecord)]


def test_real_files_have_the_records_that_fastwarc_reads(shared_data: Path) -> None:
    for path in sorted((shared_data / "web").glob("*.warc.gz")):
        ours = whole(path)
        with path.open("rb") as stream:
            theirs = [(r.record_id, r.stream_pos, r.reader.read()) for r in ArchiveIterator(stream, parse_http=False)]
        assert [(r.headers["warc-record-id"], r.offset, r.content) for r in ours] == theirs
        assert len(ours) > 30


@pytest.mark.parametrize("compression", ["none", "gzip", "one member", "zstd", "zstd with dictionary", "lz4", "padded"])
def test_every_compression(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "crawl.warc"
    content = b"".join(PAGES)
    named: Compression = "gzip"
    if compression == "none":
        path.write_bytes(content)
        named = "none"
    elif compression == "gzip":
        path.write_bytes(packed(PAGES))
    elif compression == "padded":
        path.write_bytes(b"".join(gzip.compress(p) + b"\0" * 1000 for p in PAGES))
    elif compression == "one member":
        path.write_bytes(gzip.compress(content))
    elif compression == "lz4":
        path.write_bytes(pa.compress(content, "lz4", asbytes=True))
        named = "lz4"
    else:
        named = "zstd"
        dictionary = zstandard.train_dictionary(4096, [page(i) for i in range(300)])
        if compression == "zstd":
            path.write_bytes(b"".join(zstandard.ZstdCompressor().compress(p) for p in PAGES))
        else:
            frame = dictionary.as_bytes()
            head = b"\x5d\x2a\x4d\x18" + len(frame).to_bytes(4, "little") + frame
            path.write_bytes(head + b"".join(zstandard.ZstdCompressor(dict_data=dictionary).compress(p) for p in PAGES))
    records = whole(path, named)
    assert [r.headers["warc-record-id"] for r in records] == IDS
    assert [r.content for r in records] == [r.content for r in whole_of(tmp_path, content)]


def whole_of(folder: Path, content: bytes) -> list[WarcRecord]:
    path = folder / "plain.warc"
    path.write_bytes(content)
    return whole(path, "none")


def test_offsets_are_those_of_members(tmp_path: Path) -> None:
    path = tmp_path / "crawl.warc.gz"
    path.write_bytes(packed(PAGES))
    for r in whole(path):
        alone = zlib.decompressobj(31).decompress(path.read_bytes()[r.offset :])
        assert alone.endswith(b"\r\n\r\n")
        assert r.content in alone


def cut(members: list[bytes]) -> bytes:
    return b"".join(members)[:-60]


def flipped(members: list[bytes]) -> bytes:
    third = bytearray(members[2])
    third[len(third) // 2 : len(third) // 2 + 20] = b"\xff" * 20
    return b"".join([*members[:2], bytes(third), *members[3:]])


def without_magic(members: list[bytes]) -> bytes:
    return b"".join([*members[:2], b"\xff\xff\xff" + members[2][3:], *members[3:]])


def garbage(members: list[bytes]) -> bytes:
    return b"".join([*members[:3], random.Random(3).randbytes(5000), *members[3:]])


#: Damage, the ids that are read behind it, and the members that the gap covers.
DAMAGE = {
    "cut": (cut, IDS[:7], (7, None)),
    "flipped": (flipped, [*IDS[:2], *IDS[3:]], (2, 3)),
    "no magic bytes": (without_magic, [*IDS[:2], *IDS[3:]], (2, 3)),
    "garbage": (garbage, IDS, None),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_with_its_place_and_can_be_skipped(tmp_path: Path, damage: str) -> None:
    spoil, ids, covered = DAMAGE[damage]
    members = [gzip.compress(p, mtime=0) for p in PAGES]
    starts = [sum(map(len, members[:i])) for i in range(9)]
    path = tmp_path / "crawl.warc.gz"
    path.write_bytes(spoil(members))
    first, last = (starts[3], starts[3] + 5000) if covered is None else (starts[covered[0]], None)
    if covered is not None and covered[1] is not None:
        last = starts[covered[1]]
    with pytest.raises(ShardError, match=rf"crawl.warc.gz is damaged or cut short: at byte {first:,} .*damaged: skip"):
        read(path)
    found = read(path, skips=True)
    assert [entry for entry in found if isinstance(entry, str)] == ids
    assert [entry for entry in found if not isinstance(entry, str)] == [(first, last)]


def test_wrong_lengths(tmp_path: Path) -> None:
    """Too long: the next record begins inside it. Too short: no record begins where it ends. Both are gaps."""
    longer, shorter = (
        PAGES[i].replace(b"Content-Length: ", b"Content-Length: 9" if i == 2 else b"X: ") for i in (2, 5)
    )
    shorter = shorter.replace(b"WARC-Date", b"Content-Length: 20\r\nWARC-Date")
    records = [*PAGES[:2], longer, *PAGES[3:5], shorter, *PAGES[6:]]
    for named, content in (("gzip", packed(records)), ("none", b"".join(records))):
        path = tmp_path / f"{named}.warc"
        path.write_bytes(content)
        found = read(path, named, skips=True)  # type: ignore[arg-type]
        assert [entry for entry in found if isinstance(entry, str)] == [*IDS[:2], *IDS[3:5], *IDS[6:]]
        assert len([entry for entry in found if not isinstance(entry, str)]) == 2
        with pytest.raises(ShardError, match="at byte"):
            read(path, named)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", ["100000000000000", "-5", "many"])
def test_impossible_lengths(tmp_path: Path, length: str) -> None:
    odd = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: " + length.encode() + b"\r\n\r\nabc\r\n\r\n"
    path = tmp_path / "crawl.warc.gz"
    path.write_bytes(packed([PAGES[0], odd, PAGES[1]]))
    found = read(path, skips=True)
    assert [entry for entry in found if isinstance(entry, str)] == IDS[:2]
    with pytest.raises(ShardError):
        read(path)


def test_a_large_record_that_is_not_wanted_takes_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "crawl.warc.gz"
    path.write_bytes(packed([record("response", bytes(200_000_000)), PAGES[0]]))
    status = path.stat()
    assert status.st_size < 1_000_000
    file = FileRef(str(path), path.name, status.st_size, str(status.st_mtime_ns))
    tracemalloc.start()
    records = list(records_of(file, "gzip", lambda headers, length: length < 10_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [isinstance(r, WarcRecord) and r.content is None for r in records] == [True, False]
    assert peak < 20_000_000


def test_arc_files(tmp_path: Path) -> None:
    version = b"1 0 Example\nURL IP-address Archive-date Content-type Archive-length\n"
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><p>old</p></html>"
    pieces = [
        b"filedesc://x.arc 0.0.0.0 20010101000000 text/plain %d\n" % len(version) + version + b"\n",
        b"http://a.example/ 1.2.3.4 20010203040506 text/html %d\n" % len(body) + body + b"\n",
        b"dns:a.example 1.2.3.4 20010203040506 text/dns 3\nabc\n",
    ]
    path = tmp_path / "old.arc.gz"
    path.write_bytes(packed(pieces))
    first, second, third = whole(path)
    assert (first.headers["warc-type"], third.headers["warc-type"]) == ("filedesc", "dns")
    assert second.headers["warc-type"] == "response"
    assert (second.headers["warc-target-uri"], second.headers["warc-date"]) == (
        "http://a.example/",
        "2001-02-03T04:05:06Z",
    )
    assert second.content == body


def test_metadata_files_of_common_crawl_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "CC-MAIN.warc.wat.gz"
    path.write_bytes(packed(PAGES))
    with pytest.raises(ShardError, match=r"CC-MAIN.warc.wat.gz is WAT: .* fetch the .warc.gz"):
        read(path)

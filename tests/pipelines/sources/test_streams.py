"""Files are read by what they are: whatever their names say, and however their compression was put together."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from gristmill.operators.errors import ShardError
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from tests.pipelines.sources.reading import as_lines, read

RECORDS = [{"id": str(i), "text": f"document {i} " + os.urandom(20).hex()} for i in range(2000)]
LINES = as_lines(RECORDS)
HALF = LINES.index(b"\n", len(LINES) // 2) + 1
SKIPPED = struct.pack("<II", 0x184D2A53, 9) + b"a comment"  # a frame of zstd that is to be skipped


def lz4(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="lz4", asbytes=True))


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lz4": lz4,
}
WHOLE = {
    "zeros behind, as archivers pad": ("gz", gzip.compress(LINES) + bytes(512)),
    "one zero behind": ("gz", gzip.compress(LINES) + b"\0"),
    "zeros behind, more than are read at a time": ("gz", gzip.compress(LINES) + bytes(3_000_000)),
    "an empty member between": ("gz", gzip.compress(LINES[:HALF]) + gzip.compress(b"") + gzip.compress(LINES[HALF:])),
    "the end of BGZF": ("gz", gzip.compress(LINES) + gzip.compress(b"")),
    "an empty stream between": ("bz2", bz2.compress(LINES[:HALF]) + bz2.compress(b"") + bz2.compress(LINES[HALF:])),
    "bz2 padded": ("bz2", bz2.compress(LINES) + bytes(512)),
    "several streams and padding": (
        "xz", lzma.compress(LINES[:HALF]) + bytes(8) + lzma.compress(LINES[HALF:]) + bytes(4)
    ),
    "frames to skip": (
        "zst", SKIPPED + zstandard.compress(LINES[:HALF]) + SKIPPED + zstandard.compress(LINES[HALF:]) + SKIPPED
    ),
    "empty frames": ("zst", zstandard.compress(b"") + zstandard.compress(LINES) + zstandard.compress(b"")),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE)
def test_what_other_tools_read_is_no_damage(tmp_path: Path, case: str) -> None:
    extension, content = WHOLE[case]
    (tmp_path / f"docs.jsonl.{extension}").write_bytes(content)
    reading = read(tmp_path / f"docs.jsonl.{extension}")
    assert [{"id": d["id"], "text": d["text"]} for d in reading.documents] == RECORDS


@pytest.mark.parametrize("extension", WAYS)
@pytest.mark.parametrize("behind", [b"garbage", bytes(100) + b"garbage", b"\x1f\x8b\x08 and no more"])
def test_what_is_behind_the_end_and_no_padding_is_damage(tmp_path: Path, extension: str, behind: bytes) -> None:
    path = tmp_path / f"docs.jsonl.{extension}"
    path.write_bytes(WAYS[extension](LINES) + behind)
    with pytest.raises(ShardError, match=rf"docs\.jsonl\.{extension} is damaged or cut short"):
        read(path)


@pytest.mark.parametrize("extension", WAYS)
def test_no_bytes_are_no_compressed_file(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"docs.jsonl.{extension}"
    path.write_bytes(b"")
    with pytest.raises(ShardError, match=rf"docs\.jsonl\.{extension} has no bytes"):
        read(path)
    path.write_bytes(WAYS[extension](b""))
    assert read(path).records == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["docs.jsonl", "docs.jsonl.gz", "docs.jsonl.zst"])
def test_a_compressed_file_is_read_whatever_it_is_called(tmp_path: Path, name: str, way: str) -> None:
    (tmp_path / name).write_bytes(WAYS[way](LINES))
    assert read(tmp_path / name).texts == [record["text"] for record in RECORDS]


def test_a_compressed_file_that_was_cut_into_parts_is_named(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(gzip.compress(LINES))
    source = Source(name="docs", path=str(path), part_bytes=20_000)
    for spec in discover([source], "/"):
        with pytest.raises(
            ShardError, match=r"docs\.jsonl is compressed \(gzip\) and its name does not say so; rename it"
        ):
            list(read_shard(spec, source))


@pytest.mark.parametrize("extension", WAYS)
def test_plain_text_that_is_called_compressed_is_named(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"docs.jsonl.{extension}"
    path.write_bytes(LINES)
    with pytest.raises(
        ShardError, match=rf"docs\.jsonl\.{extension} is not compressed as its name says, but plain text"
    ):
        read(path)
    path.write_bytes(b"\x80\x81\x82" + os.urandom(100))
    with pytest.raises(ShardError, match="damaged"):
        read(path)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b\nsize 1\n"


@pytest.mark.parametrize(
    "name", ["docs.jsonl", "docs.jsonl.gz", "docs.parquet", "docs.csv", "docs.json", "docs.wet", "docs.txt"]
)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POINTER, "Git LFS pointer .*git lfs pull"),
        ("id,text\n1,a\n".encode("utf-16"), "is UTF-16 or UTF-32.* iconv"),
        ("id,text\n1,a\n".encode("utf-16-le"), "is UTF-16 or UTF-32.* iconv"),
        ("id,text\n1,a\n".encode("utf-16-be"), "is UTF-16 or UTF-32.* iconv"),
        (b"PK\x03\x04" + bytes(100), "is a ZIP archive"),
        (b"%PDF-1.7\n", "is a PDF"),
    ],
)
def test_what_is_something_else_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    if name == "docs.txt":  # one document of several: quarantined
        (reject,) = read(path).rejects
        assert pytest.raises(ShardError, match=message).matches(ShardError(reject.detail))
        return
    with pytest.raises(ShardError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("inside", "magic"), [(gzip.compress(LINES), "gzip"), (bz2.compress(LINES), "bz2")], ids=["gzip", "bz2"]
)
def test_what_is_compressed_twice_is_named(tmp_path: Path, inside: bytes, magic: str) -> None:
    path = tmp_path / "docs.jsonl.gz"
    path.write_bytes(gzip.compress(inside))
    with pytest.raises(ShardError, match=rf"docs\.jsonl\.gz is compressed twice, by {magic} inside; unpack it once"):
        read(path)


def test_parquet_and_text_that_are_called_by_each_others_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "docs.jsonl")
    with pytest.raises(ShardError, match=r"docs\.jsonl is a Parquet file; give it a name"):
        read(tmp_path / "docs.jsonl")
    assert read(tmp_path / "docs.jsonl", format="parquet").texts == ["a"]
    for name, content, message in [
        ("a.parquet", LINES, "is text and no Parquet file"),
        (
            "b.parquet",
            gzip.compress((tmp_path / "docs.jsonl").read_bytes()),
            r"is compressed \(gzip\) around its Parquet",
        ),
        ("c.parquet", b"", "damaged"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ShardError, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["docs.jsonl", "docs.csv", "docs.tsv"])
def test_lines_that_end_in_carriage_returns_are_named(tmp_path: Path, name: str) -> None:
    content = {"docs.jsonl": as_lines(RECORDS[:3]), "docs.csv": b"id,text\n1,a\n", "docs.tsv": b"id\ttext\n1\ta\n"}[
        name
    ]
    (tmp_path / name).write_bytes(content.replace(b"\n", b"\r"))
    with pytest.raises(ShardError, match=r"has lines that end in carriage returns alone; convert it: tr "):
        read(tmp_path / name)
    (tmp_path / name).write_bytes(content.replace(b"\n", b"\r\n"))
    assert read(tmp_path / name).documents


def test_a_window_of_zstd_that_is_too_long_is_named(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    (tmp_path / "docs.jsonl.zst").write_bytes(compressor.compress(LINES) + compressor.flush())
    with pytest.raises(ShardError, match=r"docs\.jsonl\.zst was written by zstd with a window of 2,048 MiB \(--long\)"):
        read(tmp_path / "docs.jsonl.zst")

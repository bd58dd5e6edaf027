"""Seals: whatever is done to the bytes of a file, reading gives what was written or names the file as damaged."""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.storage import files, seal

TABLE = pa.table(
    {
        "row": pa.array(range(50), pa.uint32()),
        "id": [f"doc-{i}" if i % 7 else None for i in range(50)],
        "value": [i / 3 for i in range(50)],
        "kept": [i % 2 == 0 for i in range(50)],
        "lists": pa.array([list(range(i % 4)) for i in range(50)], pa.list_(pa.uint64())),
        "rule": pa.array([("a", "b", None)[i % 3] for i in range(50)]).dictionary_encode(),
    }
)
RECORD = {"name": "x", "numbers": [1, 2.5, None], "nested": {"seal": "no", "text": "gr\u00fcn\n"}, "last": True}


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    files.write_table(str(path), TABLE, row_group_size=20)
    return path


@pytest.fixture
def record_file(tmp_path: Path) -> Path:
    path = tmp_path / "record.json"
    files.write_record(str(path), RECORD)
    return path


def damaged(content: bytes) -> list[bytes]:
    """The content with each bit of it flipped, cut at each place, and with stretches of zeros."""
    flipped = []
    for place in range(len(content)):
        for bit in range(8):
            other = bytearray(content)
            other[place] ^= 1 << bit
            flipped.append(bytes(other))
    cut = [content[:n] for n in range(len(content))]
    zeros = (content[:n] + bytes(64) + content[n + 64 :] for n in range(0, len(content) - 64, 16))
    return flipped + cut + [other for other in zeros if other != content]


def test_no_bit_of_a_table_changes_unseen(table_file: Path) -> None:
    """Pages' own checksums do not cover their headers and the footer: this does."""
    content = table_file.read_bytes()
    found = 0
    for other in random.Random(0).sample(damaged(content), 4000):
        table_file.write_bytes(other)
        files._CHECKED.clear()  # the clock of the file system may be too coarse for so many changes
        try:
            read = files.read_table(str(table_file))
        except StoreDamaged as error:
            found += error.url == str(table_file)
        else:
            assert read.equals(TABLE), "another value without an error"
    assert found > 3800, "a flipped bit of the seal itself does no harm, all others are found"


def test_no_bit_of_a_record_changes_unseen(record_file: Path) -> None:
    content = record_file.read_bytes()
    found = 0
    for other in damaged(content):
        record_file.write_bytes(other)
        try:
            read = files.read_record(str(record_file))
        except StoreDamaged as error:
            found += error.url == str(record_file)
        else:
            assert {key: read[key] for key in RECORD} == RECORD
    assert found > 0.9 * len(damaged(content))


def test_sealed_files_are_what_everybody_reads(table_file: Path, record_file: Path) -> None:
    assert files.read_table(str(table_file)).equals(TABLE)
    assert files.read_record(str(record_file)) == RECORD
    assert pq.read_table(table_file).equals(TABLE)
    assert pq.ParquetFile(table_file).num_row_groups == 3
    assert duckdb.sql(f"SELECT count(*), count(id), max(value) FROM '{table_file}'").fetchall() == [(50, 42, 49 / 3)]
    assert seal.check_parquet(memoryview(table_file.read_bytes()))


def test_a_seal_of_an_earlier_version_is_compared(tmp_path: Path) -> None:
    """It was BLAKE2b-128 of the data and the footer; here it is put together by hand."""
    path = tmp_path / "table.parquet"
    pq.write_table(TABLE, path, compression="zstd")
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    digest = hashlib.blake2b(content, digest_size=16).digest()
    sealed = content[:footer] + b"gristmill seal 1" + digest + content[footer:]
    path.write_bytes(sealed)
    assert seal.check_parquet(memoryview(sealed))
    assert files.read_table(str(path)).equals(TABLE)
    for place in (40, len(sealed) - 20):
        path.write_bytes(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :])
        with pytest.raises(StoreDamaged):
            files.read_table(str(path))


def test_files_of_earlier_versions_are_taken_as_they_are(tmp_path: Path) -> None:
    table, record = tmp_path / "table.parquet", tmp_path / "record.json"
    pq.write_table(TABLE, table, compression="zstd")
    files.write_json(str(record), RECORD)
    assert not seal.check_parquet(memoryview(table.read_bytes()))
    assert files.read_table(str(table)).equals(TABLE)
    assert files.read_record(str(record)) == RECORD
    table.write_bytes(table.read_bytes()[:-100])
    with pytest.raises(StoreDamaged, match=r"table\.parquet is damaged"):
        files.read_table(str(table))


def test_an_empty_table_is_sealed_too(tmp_path: Path) -> None:
    url = str(tmp_path / "empty.parquet")
    files.write_table(url, TABLE.slice(0, 0))
    assert files.read_table(url).equals(TABLE.slice(0, 0))
    assert seal.check_parquet(memoryview(Path(url).read_bytes()))


def test_a_table_on_another_store_is_checked_too() -> None:
    url = "memory://seals/table.parquet"
    files.write_table(url, TABLE)
    assert files.read_table(url, columns=["id"])["id"].equals(TABLE["id"])
    content = bytearray(files.read_bytes(url))
    content[40] ^= 1
    files.write_bytes(url, bytes(content))
    with pytest.raises(StoreDamaged, match=r"memory://seals/table\.parquet is damaged"):
        files.read_table(url)


def test_a_file_that_is_replaced_is_checked_again(table_file: Path) -> None:
    assert files.read_table(str(table_file)).equals(TABLE)
    content = bytearray(table_file.read_bytes())
    content[len(content) // 2] ^= 4
    table_file.write_bytes(content)
    with pytest.raises(StoreDamaged):
        files.read_table(str(table_file))


def test_a_writer_that_fails_seals_nothing() -> None:
    sink = io.BytesIO()
    with pytest.raises(ValueError, match="schema"), files.table_writer(sink, TABLE.schema) as writer:
        writer.write_table(TABLE.select(["id"]))
    assert seal.MAGIC not in sink.getvalue()


def test_arrows_own_complaints_are_not_taken_for_damage(table_file: Path) -> None:
    with pytest.raises(pa.ArrowInvalid):
        files.read_table(str(table_file), columns=["id"], filters=[("nowhere", "=", 1)])

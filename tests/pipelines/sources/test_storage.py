from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
import zstandard

from gristmill.operators.errors import RetryableError, ShardError
from gristmill.pipelines.sources import storage
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from tests.pipelines.sources.reading import as_lines, read

LINES = as_lines([{"id": str(i), "text": f"document {i} " + os.urandom(40).hex()} for i in range(3000)])
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lz4": lambda content: pa.compress(content, codec="lz4", asbytes=True),
    "": bytes,
}


@pytest.mark.parametrize("extension", COMPRESS)
def test_compressed_lines_are_read_like_plain_ones(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"docs.jsonl{extension}"
    half = LINES.index(b"\n", len(LINES) // 2) + 1
    path.write_bytes(COMPRESS[extension](LINES[:half]) + COMPRESS[extension](LINES[half:]))  # several members or frames
    reading = read(path)
    assert as_lines([{"id": d["id"], "text": d["text"]} for d in reading.documents]) == LINES
    path.write_bytes(COMPRESS[extension](b""))
    assert read(path).records == 0


@pytest.mark.parametrize("extension", [".gz", ".zst", ".bz2", ".xz", ".lz4"])
@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_truncated_file_is_an_error(tmp_path: Path, extension: str, kept: float) -> None:
    path = tmp_path / f"docs.jsonl{extension}"
    whole = COMPRESS[extension](LINES)
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ShardError, match=rf"docs\.jsonl\{extension} is damaged or cut short .*fetch or write it again"):
        read(path)


def listed(path: Path) -> tuple[Any, Source]:
    source = Source(name="docs", path=str(path))
    (spec,) = discover([source], "/")
    return spec, source


@pytest.mark.parametrize("name", ["docs.jsonl", "docs.jsonl.gz", "docs.parquet", "docs.json", "docs.txt", "docs.csv"])
def test_a_file_that_vanished_or_changed_is_an_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(LINES)
    spec, source = listed(path)
    path.write_bytes(LINES + b"\n")
    with pytest.raises(ShardError, match=rf"{name} was changed after the run had listed it; run again"):
        list(read_shard(spec, source))
    path.unlink()
    with pytest.raises(ShardError, match=rf"{name} was listed but is gone; run again"):
        list(read_shard(spec, source))


def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(LINES)
    spec, source = listed(path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser may read everything: fail where the kernel would

        def refuse(path: str) -> None:
            raise PermissionError(13, f"Failed to open local file '{path}'")

        monkeypatch.setattr(pa, "OSFile", refuse)
    with pytest.raises(ShardError, match=r"docs\.jsonl may not be read .*give this user the right"):
        list(read_shard(spec, source))


@pytest.fixture
def remote(tmp_path: Path) -> str:
    """A file on a store that is not the local disk."""
    url = f"memory://{tmp_path}/docs.jsonl.gz"
    with fsspec.open(url, "wb") as file:
        file.write(gzip.compress(LINES))
    return url


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "reset by peer"), TimeoutError("too slow"), OSError("throttled")]
)
def test_a_failure_of_the_network_may_be_tried_again(
    remote: str, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    source = Source(name="docs", path=remote)
    (spec,) = discover([source], "/")
    assert sum(batch.documents.num_rows for batch in read_shard(spec, source)) == 3000

    memory_file = fsspec.filesystem("memory").store[spec.files[0].url.removeprefix("memory://")]

    def read(self: object, size: int = -1) -> bytes:
        raise error

    monkeypatch.setattr("gristmill.pipelines.storage.remote.time.sleep", lambda _: None)
    monkeypatch.setattr(type(memory_file), "read", read)
    with pytest.raises(RetryableError, match=r"docs\.jsonl\.gz (could not be read|cannot be reached)"):
        list(read_shard(spec, source))


def test_damage_on_a_remote_store_is_not_taken_for_the_network(remote: str) -> None:
    with fsspec.open(remote, "wb") as file:
        file.write(gzip.compress(LINES)[:-100])
    source = Source(name="docs", path=remote)
    (spec,) = discover([source], "/")
    with pytest.raises(ShardError, match="damaged or cut short"):
        list(read_shard(spec, source))


def test_a_remote_file_that_vanished_is_an_error(remote: str) -> None:
    source = Source(name="docs", path=remote)
    (spec,) = discover([source], "/")
    fsspec.filesystem("memory").rm(spec.files[0].url)
    with pytest.raises(ShardError, match="is gone"):
        list(read_shard(spec, source))


def test_reading_up_to_a_limit() -> None:
    stream = pa.BufferReader(b"x" * (storage.CHUNK + 10))
    assert storage.read_up_to(stream, storage.CHUNK) is None
    assert storage.read_up_to(pa.BufferReader(b"abc"), 3) == b"abc"
    assert storage.read_up_to(pa.BufferReader(b"abc"), 2) is None

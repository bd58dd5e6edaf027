from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from operators.errors import ShardError
from pipelines.sources.discover import discover
from pipelines.sources.read import read_shard
from pipelines.sources.spec import Source
from tests.pipelines.sources.reading import read


def test_every_file_is_a_document_called_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_bytes("\ufeffEine Notiz.\r\nZwei Zeilen.\r\n".encode())
    (tmp_path / "notes" / "b.md").write_bytes(b"")
    source = Source(name="notes", path="notes")
    (spec,) = discover([source], str(tmp_path))
    (batch,) = read_shard(spec, source)
    assert batch.documents.to_pylist() == [
        {"row": 0, "id": "notes/a.txt", "text": "Eine Notiz.\r\nZwei Zeilen.\r\n"},
        {"row": 1, "id": "notes/b.md", "text": ""},
    ]


def test_a_bad_file_is_rejected_by_name_and_its_neighbours_kept(tmp_path: Path) -> None:
    contents = {"a.txt": b"good", "b.txt": b"caf\xe9", "c.txt": b"a\0b", "d.txt": b"x" * 200, "e.txt": b"also good"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    reading = read(tmp_path, document_bytes=100)
    assert reading.shards == 1
    assert reading.texts == ["good", "also good"]
    assert reading.reasons == [(1, "invalid_utf8"), (2, "nul_character"), (3, "too_large")]
    assert [r.id for r in reading.rejects] == [str(tmp_path / f"{name}.txt") for name in "bcd"]


def test_a_cut_compressed_file_is_a_bad_record(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"good"))
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"cut" * 1000)[:-9])
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"x" * 1000))
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(b"good too"))
    reading = read(tmp_path, document_bytes=900)
    assert (reading.texts, reading.reasons) == (["good", "good too"], [(1, "malformed"), (2, "too_large")])
    assert "b.txt.gz is damaged or cut short" in reading.rejects[0].detail


def test_a_file_that_is_gone_fails_the_shard(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    source = Source(name="notes", path=str(tmp_path))
    (spec,) = discover([source], "/")
    (tmp_path / "b.txt").unlink()
    with pytest.raises(ShardError, match=r"b\.txt was listed but is gone"):
        list(read_shard(spec, source))

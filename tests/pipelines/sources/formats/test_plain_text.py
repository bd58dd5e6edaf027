from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from gristmill.operators.errors import RecipeError, ShardError
from gristmill.pipelines.sources.discover import Discovery, discover
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.remarks import remarks
from gristmill.pipelines.sources.spec import Source
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


VERSES = b"\xef\xbb\xbffirst line\r\nsecond line\n\n  \nthird line\nfourth: caf\xe9\n\n\nthe last, which ends the file"


@pytest.mark.parametrize("batch_rows", [1, 100])
def test_lines_and_paragraphs_may_be_the_documents(tmp_path: Path, batch_rows: int) -> None:
    (tmp_path / "verses.txt").write_bytes(VERSES)
    place = str(tmp_path / "verses.txt")
    lines = read(tmp_path, unit="line", sizes={"batch_rows": batch_rows})
    assert lines.texts == ["first line", "second line", "third line", "the last, which ends the file"]
    assert lines.reasons == [(3, "invalid_utf8")]
    assert (lines.rejects[0].line, lines.rejects[0].offset) == (6, VERSES.index(b"fourth"))
    assert lines.rejects[0].id == f"{place}@{VERSES.index(b'fourth')}"
    paragraphs = read(tmp_path, unit="paragraph", sizes={"batch_rows": batch_rows})
    assert paragraphs.texts == ["first line\nsecond line", "the last, which ends the file"]
    assert paragraphs.reasons == [(1, "invalid_utf8")]
    assert paragraphs.rejects[0].line == 5
    assert read(tmp_path, sizes={"batch_rows": batch_rows}).reasons == [(0, "invalid_utf8")]


def test_ids_of_lines_say_where_they_begin_also_in_parts(tmp_path: Path) -> None:
    content = "".join(f"line {i}\n" for i in range(200)).encode()
    (tmp_path / "lines.txt").write_bytes(content)
    whole, parts = (
        [
            (d["id"], d["text"])
            for spec in discover([source], str(tmp_path))
            for batch in read_shard(spec, source)
            for d in batch.documents.to_pylist()
        ]
        for source in (
            Source(name="lines", path="lines.txt", unit="line"),
            Source(name="lines", path="lines.txt", unit="line", part_bytes=300),
        )
    )
    assert whole == parts
    assert whole[17] == (f"lines.txt@{content.index(b'line 17')}", "line 17")


def test_a_line_or_paragraph_that_is_too_large_is_rejected_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"short\n" + b"x" * 150 + b"\n\n" + b"y" * 60 + b"\n" + b"y" * 60 + b"\n\nend")
    assert read(tmp_path, unit="line", document_bytes=100).texts == ["short", "y" * 60, "y" * 60, "end"]
    paragraphs = read(tmp_path, unit="paragraph", document_bytes=100)
    assert (paragraphs.texts, paragraphs.reasons) == (["end"], [(0, "too_large"), (1, "too_large")])
    assert "121 bytes" in paragraphs.rejects[1].detail


def test_a_cut_compressed_file_of_lines_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"good\n" * 1000)[:-9])
    with pytest.raises(ShardError, match=r"a\.txt\.gz is damaged or cut short"):
        read(tmp_path, unit="line")


def test_the_unit_of_other_formats_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(RecipeError, match=r"`unit: line` says what a document of a text file is, and .* read as jsonl"):
        discover([Source(name="a", path="a.jsonl", unit="line")], str(tmp_path))


def test_the_default_unit_leaves_the_reading_as_it_was() -> None:
    default, named, lines = (Source(name="a", path="a", **unit) for unit in ({}, {"unit": "file"}, {"unit": "line"}))  # type: ignore[arg-type]
    assert default.reading_fingerprint() == named.reading_fingerprint() != lines.reading_fingerprint()


@pytest.mark.parametrize(
    ("content", "said"),
    [("a short line\n" * 500, True), ("one long line " * 500 + "\n", False), ("a few\n" * 20, False)],
)
def test_a_file_of_many_short_lines_is_remarked(tmp_path: Path, content: str, said: bool) -> None:
    (tmp_path / "notes.txt").write_text(content)
    found = Discovery(str(tmp_path)).find(Source(name="notes", path="*.txt"))
    assert found.lined == (["notes.txt"] if said else [])
    told = remarks([found])
    assert any("`unit: line`" in line and "notes.txt" in line for line in told) == said
    assert Discovery(str(tmp_path)).find(Source(name="notes", path="*.txt", unit="line")).lined == []
    for i in range(5):
        (tmp_path / f"more-{i}.txt").write_text(content)
    assert Discovery(str(tmp_path)).find(Source(name="notes", path="*.txt")).lined == []

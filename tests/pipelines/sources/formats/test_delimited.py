from __future__ import annotations

import csv
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.errors import ShardError
from tests.pipelines.sources.reading import read

CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@given(rows=st.lists(st.tuples(CELLS.filter(bool), CELLS), max_size=12), kind=st.sampled_from(["csv", "tsv"]))
def test_what_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], kind: str
) -> None:
    path = tmp_path_factory.mktemp("table") / f"docs.{kind}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if kind == "tsv" else ",", quoting=csv.QUOTE_ALL)
        writer.writerows([("id", "text"), *rows])
    found = [(d["id"] or "", d["text"]) for d in read(path, quoting="double").documents]
    assert found == [
        ("" if id == "NaN" else id.removesuffix(".0") if id[:-2].isdigit() else id, text) for id, text in rows
    ]


def test_quotes_are_text_in_tsv(tmp_path: Path) -> None:
    path = tmp_path / "docs.tsv"
    path.write_bytes(
        b'id\ttext\n1\t"To be or not,\n2\tthat is\r\n3\tthe question"\n4\t""\n\n5\t"two\nlines"\n6\ta\tb\n'
    )
    reading = read(path)
    assert [(d["id"], d["text"]) for d in reading.documents] == [
        ("1", '"To be or not,'), ("2", "that is"), ("3", 'the question"'), ("4", '""'), ("5", '"two')
    ]  # fmt: skip
    assert [(r.line, r.detail) for r in reading.rejects] == [
        (8, "this row has 1 cells, the header 2"),
        (9, "this row has 3 cells, the header 2"),
    ]
    quoted = read(path, quoting="double")
    assert [(d["id"], d["text"]) for d in quoted.documents][:1] == [
        ("1", "To be or not,\n2\tthat is\r\n3\tthe question")
    ]
    path.write_text('id\ttext\n1\t"a\tb"\n')
    assert "say `quoting: double`" in read(path).rejects[0].detail
    (tmp_path / "docs.csv").write_text('id,text\n1,"a\n2,b"\n')
    assert read(tmp_path / "docs.csv", quoting="none").texts == ['"a', 'b"']


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
@pytest.mark.parametrize("name", ["docs.csv", "docs.tsv"])
def test_cells_are_separated_as_the_header_says(tmp_path: Path, name: str, delimiter: str) -> None:
    (tmp_path / name).write_text(
        delimiter.join(["id", "text"]) + "\n" + delimiter.join(["1", "a, b; c"[: 1 if delimiter in ",;" else 9]])
    )
    assert read(tmp_path / name).documents[0]["id"] == "1"


def test_a_table_is_read_as_duckdb_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "docs.csv"
    path.write_text('id,text,year\n1,"quoted, with ""quotes""",1999\n2,"two\nlines",2001\n3,plain ünïcode,2024\n')
    expected = duckdb.sql(f"SELECT id::VARCHAR, year, text FROM read_csv('{path}', header=true)").fetchall()
    reading = read(path, metadata={"year": "int"})
    assert [(d["id"], d["year"], d["text"]) for d in reading.documents] == expected
    assert reading.lines == 5


def test_bad_rows_are_rejected_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "docs.csv"
    path.write_bytes(
        b"\xef\xbb\xbfid,text,year\r\n"
        b'a,"first\r\nrow",1\r\n'
        b"b,too few\r\n"
        b"\r\n"
        b"c,caf\xe9,2\r\n"
        b'd,"bad "quote",3\r\n'
        b"e,year,twenty\r\n"
        b"f,nul\0,5\r\n"
        b"g,last,\r\n"
    )
    reading = read(path, metadata={"year": "int"})
    assert [(d["row"], d["id"], d["text"], d["year"]) for d in reading.documents] == [
        (0, "a", "first\r\nrow", 1),
        (6, "g", "last", None),
    ]
    assert [(r.line, r.reason) for r in reading.rejects] == [
        (4, "malformed"),
        (6, "invalid_utf8"),
        (7, "malformed"),
        (8, "wrong_type"),
        (9, "nul_character"),
    ]
    assert [r.id for r in reading.rejects] == [None, None, None, "e", "f"]
    assert reading.rejects[0].offset == path.read_bytes().index(b"b,too few")


def test_cells_are_read_as_the_types_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "docs.tsv"
    path.write_text('text\tn\tx\tok\tj\ts\nfull\t-3\t2.5\tTRUE\t{"a": 1}\tabc\nempty\t\t\t\t\t\n')
    reading = read(path, metadata={"n": "int", "x": "float", "ok": "bool", "j": "json", "s": "string"})
    assert [{k: d[k] for k in ("n", "x", "ok", "j", "s")} for d in reading.documents] == [
        {"n": -3, "x": 2.5, "ok": True, "j": '{"a":1}', "s": "abc"},
        {"n": None, "x": None, "ok": None, "j": None, "s": ""},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,body\n1,a\n", r"docs\.csv: there is no column text; there is body, id"),
        ("id,texts\n1,a\n", "did you mean texts"),
        ('id,text\n1,a\n2,"open\n3,b\n', r"docs\.csv:3: a quote opened in this record is never closed"),
    ],
)
def test_an_unreadable_table_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "docs.csv"
    path.write_text(content)
    with pytest.raises(ShardError, match=message):
        read(path)


def test_an_open_quote_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "docs.csv"
    path.write_text('id,text\n1,"open\n' + "more and more\n" * 1000)
    with pytest.raises(ShardError, match=r"docs\.csv:2: this record has more than 1,000 bytes"):
        read(path, document_bytes=1000)


@pytest.mark.parametrize("content", ["", "id,text\n", "\n\nid,text\n\n"])
def test_a_table_without_rows_has_no_documents(tmp_path: Path, content: str) -> None:
    path = tmp_path / "docs.csv"
    path.write_text(content)
    assert read(path).records == 0


def test_a_cell_of_many_megabytes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "docs.csv"
    text = "words, and more\n" * 300_000
    path.write_text(f'id,text\n1,"{text}"\n2,after\n')
    assert read(path).texts == [text, "after"]

"""Pages of crawls and HTML files: which records are pages, and that none is lost."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.formats import with_defaults
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from tests.pipelines.sources.warc_files import html, packed, page, record, response


def read(path: Path, format_: str = "warc", **fields: Any) -> tuple[list[dict[str, Any]], list[Any], Counter[str]]:
    """Documents, rejects and counts of what is left out."""
    source = with_defaults(Source(name="crawl", path=str(path), format=format_, **fields))
    documents: list[dict[str, Any]] = []
    rejects: list[Any] = []
    left_out: Counter[str] = Counter()
    for spec in discover([source], "/"):
        for batch in read_shard(spec, source, left_out=left_out):
            documents += batch.documents.to_pylist()
            rejects += batch.rejects
    return documents, rejects, left_out


def warc(folder: Path, *records: bytes) -> Path:
    path = folder / "crawl.warc.gz"
    path.write_bytes(packed(records))
    return path


def crawled(content: bytes, type_: str = "response", **headers: str) -> bytes:
    return record(type_, content, WARC_Record_ID="<urn:x>", WARC_Target_URI="https://example.org/", **headers)


def test_a_page_and_its_columns(tmp_path: Path) -> None:
    (document,), rejects, left_out = read(warc(tmp_path, record("warcinfo", b"x"), page(7)))
    assert not rejects
    assert left_out == {"warcinfo": 1}
    assert document == {
        "row": 0,
        "id": "urn:7",
        "url": "https://example.org/7",
        "date": "2024-05-01T00:00:00Z",
        "http_status": 200,
        "mime": "text/html",
        "charset": "utf-8",
        "html_bytes": len(html(7)),
        "offset": len(gzip.compress(record("warcinfo", b"x"), mtime=0)),
        "encoding": "utf-8",
        "replaced": 0.0,
        "text": html(7).decode(),
    }


PAGE = b"<!doctype html><html><p>text</p></html>"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (crawled(response(PAGE, "Content-Type: text/html", status="404 Not Found")), "status 404"),
        (crawled(response(PAGE, "Content-Type: text/html", status="301 Moved")), "status 301"),
        (crawled(response(b"\x89PNG", "Content-Type: image/png")), "type image/png"),
        (crawled(response(b"plain words")), "type unknown"),
        (crawled(response(b"  ", "Content-Type: text/html")), "empty body"),
        (crawled(b"", "revisit"), "revisit"),
        (crawled(b"GET / HTTP/1.1\r\n\r\n", "request"), "request"),
        (crawled(b"a: b", "metadata"), "metadata"),
        (crawled(b"x", "invented"), "invented"),
        (record("response", b"1.2.3.4", WARC_Target_URI="dns:example.org", Content_Type="text/dns"), "dns"),
        (crawled(b"log", "resource", Content_Type="text/plain"), "type text/plain"),
    ],
    ids=range(11),
)
def test_what_is_no_page_is_counted_by_what_it_is(tmp_path: Path, content: bytes, kind: str) -> None:
    documents, rejects, left_out = read(warc(tmp_path, content, page(1)))
    assert (len(documents), rejects, left_out) == (1, [], {kind: 1})


@pytest.mark.parametrize(
    "content",
    [
        crawled(response(PAGE, "Content-Type: application/xhtml+xml")),
        crawled(response(PAGE)),  # no type: it begins as HTML
        crawled(response(b"<!-- a comment -->\n" + PAGE)),
        crawled(response(PAGE, "Content-Type: text/html", line_end="\n")),
        crawled(response(gzip.compress(PAGE, mtime=0), "Content-Type: text/html", "Content-Encoding: gzip")),
        crawled(PAGE, "resource", Content_Type="text/html"),
    ],
    ids=range(6),
)
def test_pages_in_many_forms(tmp_path: Path, content: bytes) -> None:
    (document,), _, left_out = read(warc(tmp_path, content))
    assert document["text"].endswith(PAGE.decode())
    assert not left_out


def test_pages_that_cannot_be_read_go_to_quarantine(tmp_path: Path) -> None:
    large = crawled(response(b"<html>" + b"x" * 5000, "Content-Type: text/html"))
    huge = crawled(response(b"<html>" + b"x" * 50_000, "Content-Type: text/html"))
    bomb = crawled(response(gzip.compress(b"<html>" + bytes(10**7)), "Content-Type: text/html"))
    documents, rejects, left_out = read(
        warc(tmp_path, large, huge, bomb, crawled(b"no head"), page(1)), document_bytes=4000
    )
    assert [(r.row, r.reason, r.id) for r in rejects] == [
        (0, "too_large", "urn:x"),
        (1, "too_large", "urn:x"),
        (2, "too_large", "urn:x"),
        (3, "malformed", "urn:x"),
    ]
    assert [d["row"] for d in documents] == [4]
    assert not left_out


def test_what_is_damaged_is_a_reject_with_its_bytes(tmp_path: Path) -> None:
    members = [gzip.compress(page(i), mtime=0) for i in range(3)]
    path = tmp_path / "crawl.warc.gz"
    path.write_bytes(members[0] + b"\xff" * 500 + members[1] + members[2])
    documents, (reject,), _ = read(path, damaged="skip")
    assert [d["id"] for d in documents] == ["urn:0", "urn:1", "urn:2"]
    assert (reject.row, reject.reason, reject.offset) == (1, "damaged_record", len(members[0]))
    assert f"bytes {len(members[0]):,} to {len(members[0]) + 500:,} of the file" in reject.detail


def test_no_record_of_real_files_is_lost(shared_data: Path) -> None:
    """Every record is a document, a reject, or counted; responses beside the list that fastwarc makes of them."""
    for path in sorted((shared_data / "web").glob("*.warc.gz")):
        documents, rejects, left_out = read(path)
        with path.open("rb") as stream:
            records = [
                (r.record_type, str(r.headers.get("WARC-Target-URI")).strip("<>"), str(r.record_id).strip("<>"))
                for r in ArchiveIterator(stream, parse_http=False)
            ]
        assert len(records) == len(documents) + len(rejects) + left_out.total()
        responses = {id_: url for type_, url, id_ in records if type_ == WarcRecordType.response}
        assert all(responses[d["id"]] == d["url"] for d in documents)
        assert len({d["id"] for d in documents}) == len(documents)


def test_html_files_and_fields(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes("<html><meta charset=latin1><p>é</p></html>".encode("latin-1"))
    (tmp_path / "b.htm").write_bytes(b"<p>b</p>")
    documents, _, _ = read(tmp_path, "html", metadata=["encoding"])
    assert [(d["id"].rsplit("/")[-1], d["text"], d["encoding"]) for d in documents] == [
        ("a.html", "<html><meta charset=latin1><p>é</p></html>", "cp1252"),
        ("b.htm", "<p>b</p>", "utf-8"),
    ]
    lines = tmp_path / "pages.jsonl"
    lines.write_text(json.dumps({"id": "1", "content": "<p>x</p>"}))
    ((document),), _, _ = read(lines, "jsonl", html="content")
    assert document["text"] == "<p>x</p>"


def test_a_recipe_says_how_pages_become_text(tmp_path: Path) -> None:
    def load(source: str, more: str = "") -> None:
        recipe = tmp_path / "r.yaml"
        recipe.write_text(f"version: 1\nname: x\nstore: s\nsources:\n  - {source}\n{more}write: {{}}\n")
        load_recipe(str(recipe))

    with pytest.raises(RecipeError, match=r"r.yaml:5: source c holds pages, .* write extract: trafilatura"):
        load("{name: c, path: '*.warc.gz', format: warc}")
    with pytest.raises(RecipeError, match=r"r.yaml:6: no source holds pages: give one format: warc or html"):
        load("{name: c, path: '*.jsonl'}", "extract: trafilatura\n")
    with pytest.raises(RecipeError, match=r"r.yaml:6: .*extractor"):
        load("{name: c, path: '*.warc.gz', format: warc}", "extract: readability\n")
    load("{name: c, path: '*.warc.gz', format: warc}", "extract: {union: [trafilatura, resiliparse]}\n")

"""The extraction: once per shard and extractor, page by page, whatever pages do to their extractor."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import ShardError
from gristmill.operators.extract.extract import Extract
from gristmill.operators.extract.extractors import with_formulas
from gristmill.pipelines.report.explain import explain
from gristmill.pipelines.report.query import query
from tests.pipelines.sources.warc_files import html, packed, page, record, response
from tests.pipelines.stages.test_run import dataset, execute

MakeRecipe = Callable[..., Path]
EXTRACT = {"extract": "resiliparse", "sources": [{"name": "crawl", "path": "crawl/*.warc.gz", "format": "warc"}]}


def crawled(number: int, body: bytes) -> bytes:
    return record(
        "response",
        response(body, "Content-Type: text/html"),
        WARC_Record_ID=f"<urn:{number}>",
        WARC_Target_URI=f"https://example.org/{number}",
    )


def write_crawl(folder: Path, name: str, *records: bytes) -> None:
    (folder / "crawl").mkdir(exist_ok=True)
    (folder / "crawl" / f"{name}.warc.gz").write_bytes(packed(records))


@pytest.fixture
def crawl(tmp_path: Path, make_recipe: MakeRecipe) -> Path:
    """Three files of ten pages, with records that are no pages between them."""
    for i in range(3):
        pages = [page(10 * i + k) for k in range(10)]
        write_crawl(tmp_path, str(i), record("warcinfo", b"x"), *pages, crawled(900 + i, b""), record("request", b"y"))
    return make_recipe(tmp_path, **EXTRACT, write={"columns": ["id", "url", "text", "extractor", "encoding"]})


def extracts(folder: Path) -> dict[str, int]:
    """The files of extracted texts, with the times of their last change."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.glob("store/extracts/*/*.parquet"))}


def test_pages_become_documents(crawl: Path, tmp_path: Path) -> None:
    result = execute(crawl)
    table = dataset(result)
    assert sorted(table["id"].to_pylist()) == sorted(f"urn:{i}" for i in range(30))
    assert {*table["extractor"].to_pylist()} == {"resiliparse"}
    for row in table.to_pylist():
        number = row["url"].rsplit("/", 1)[1]
        assert row["text"].startswith(f"Page {number}. word{number}x0")
    assert result.left_out == {"crawl": {"warcinfo": 3, "request": 3, "empty body": 3}}
    (document,) = explain(str(tmp_path / "store"), "urn:7")
    assert (document["url"], document["extractor"]) == ("https://example.org/7", "resiliparse")


def test_a_changed_rule_extracts_nothing_again_and_another_extractor_does(crawl: Path, tmp_path: Path) -> None:
    execute(crawl)
    before = extracts(tmp_path)
    assert len(before) == 3
    again = execute(crawl, "decide=[{drop: 'bytes < 10'}]", "transform=[normalize_unicode]")
    assert extracts(tmp_path) == before
    assert again.measured_now == 3, "the transform measures again, from the extracted texts"
    assert execute(crawl).cached
    other = execute(crawl, "extract=trafilatura")
    assert len(extracts(tmp_path)) == 6
    assert {*dataset(other)["extractor"].to_pylist()} <= {"trafilatura", "resiliparse"}


@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_extracted_texts_that_are_lost_are_made_again(crawl: Path, tmp_path: Path, harm: str) -> None:
    first = dataset(execute(crawl))
    path = sorted(tmp_path.glob("store/extracts/*/*.parquet"))[1]
    before = extracts(tmp_path)
    if harm == "removed":
        path.unlink()
    else:
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 0xFF
        path.write_bytes(damaged)
    result = execute(crawl, "transform=[normalize_unicode]")
    assert dataset(result) == first
    after = extracts(tmp_path)
    assert [name for name in after if after[name] != before[name]] == [str(path.relative_to(tmp_path))]


def test_pages_without_text_are_quarantined_by_their_url(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    large = b"<html><p>" + b"word " * 5000 + b"</p></html>"
    write_crawl(tmp_path, "a", page(1), crawled(2, b"<html><body></body></html>"), crawled(3, large), page(4))
    recipe = make_recipe(tmp_path, **{**EXTRACT, "extract": {"extractor": "resiliparse", "page_bytes": 20_000}})
    result = execute(recipe)
    assert (result.funnel.records, result.funnel.documents, result.funnel.quarantined) == (4, 2, 2)
    rows = query(str(tmp_path / "store"), "SELECT reason, detail, id FROM quarantine ORDER BY row").to_pylist()
    assert [(row["reason"], row["id"]) for row in rows] == [("no_text", "urn:2"), ("too_large", "urn:3")]
    assert rows[0]["detail"].startswith("https://example.org/2: resiliparse finds no text")
    assert "page_bytes (20,000)" in rows[1]["detail"]


def test_a_page_that_takes_its_extractor_too_long_is_quarantined_alone(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    nested = b"<html><body>" + b"<div>a" * 100_000 + b"</body></html>"
    write_crawl(tmp_path, "a", page(1), crawled(2, nested), page(3))
    recipe = make_recipe(tmp_path, **{**EXTRACT, "extract": {"extractor": "resiliparse", "seconds": 1}})
    assert dataset(execute(recipe))["id"].to_pylist() == ["urn:1", "urn:3"]
    (row,) = query(str(tmp_path / "store"), "SELECT reason, id, detail FROM quarantine").to_pylist()
    assert (row["reason"], row["id"]) == ("too_slow", "urn:2")
    assert "within 1 s of processor time" in row["detail"]


def test_a_process_that_is_killed_from_outside_loses_no_page(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    body = "".join(f"<div class=c{i}><p>{html(i).decode()}</p></div>" for i in range(150)).encode()
    write_crawl(tmp_path, "a", *[crawled(i, b"<html>" + body + b"</html>") for i in range(60)])
    recipe = make_recipe(tmp_path, **{**EXTRACT, "extract": "trafilatura"})
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.4):
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.Error, ProcessLookupError):
                    if "limited_process" in " ".join(child.cmdline()) and len(killed) < 3:
                        os.kill(child.pid, signal.SIGKILL)
                        killed.append(child.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        result = execute(recipe, workers=1)
    finally:
        over.set()
        killer.join()
    assert killed
    assert (result.funnel.records, result.funnel.quarantined) == (60, 0)


def test_each_extractor_of_a_union_makes_a_document(crawl: Path) -> None:
    union = "extract={union: [trafilatura, resiliparse]}"
    table = dataset(execute(crawl, union))
    assert sorted(table["id"].to_pylist()) == sorted(
        f"urn:{i}#{name}" for i in range(30) for name in ("trafilatura", "resiliparse")
    )
    once = dataset(
        execute(
            crawl, union, "decide=[{drop: \"extractor = 'trafilatura' AND url LIKE '%7'\"}, {exact_dedup: {by: url}}]"
        )
    )
    by_url = {row["url"]: row["extractor"] for row in once.to_pylist()}
    assert len(by_url) == once.num_rows == 30
    assert by_url["https://example.org/17"] == "resiliparse", "the other's text was dropped by a rule"
    assert by_url["https://example.org/18"] == "trafilatura"


@pytest.mark.parametrize("field", ["jsonl", "parquet"])
def test_html_in_a_field(tmp_path: Path, make_recipe: MakeRecipe, field: str) -> None:
    import pyarrow as pa

    rows = [{"id": str(i), "lang": "en", "content": html(i).decode()} for i in range(5)]
    (tmp_path / "data").mkdir()
    if field == "jsonl":
        (tmp_path / "data" / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "p.parquet")
    source = {"name": "pages", "path": "data/*", "html": "content", "metadata": ["lang"]}
    table = dataset(execute(make_recipe(tmp_path, sources=[source], extract="resiliparse")))
    assert table.select(["id", "lang"]).to_pylist() == [{"id": str(i), "lang": "en"} for i in range(5)]
    assert all(row["text"].startswith(f"Page {row['id']}.") for row in table.to_pylist())


def test_whatever_fails_on_a_page_is_the_failure_of_each_extractor() -> None:
    extracts = Extract(union=("trafilatura", "resiliparse")).extract(b"<p>\xff</p>")  # not UTF-8
    assert [(each.extractor, each.text) for each in extracts] == [("trafilatura", None), ("resiliparse", None)]
    assert all(each.failure and each.failure.startswith("UnicodeDecodeError: ") for each in extracts)


def test_formulas_are_kept() -> None:
    source = (
        '<p>Let <script type="math/tex">a_1 < b</script> and <script type="math/tex; mode=display">\\sum x</script>, '
        '<math display="block"><semantics><mi>x</mi><annotation encoding="application/x-tex">x^2</annotation>'
        "</semantics></math> or <math alttext='y'><mi>y</mi></math> or <math><mi>z</mi><mo>+</mo><mn>1</mn></math>.</p>"
    )
    text = with_formulas(source)
    assert "$a_1 &lt; b$" in text
    assert "<p>$$\\sum x$$</p>" in text
    assert "<p>$$x^2$$</p>" in text
    assert " $y$ " in text
    assert " z + 1 " in text


GOLD = {"resiliparse": 0.85, "trafilatura": 0.92}


@pytest.mark.parametrize("extractor", ["resiliparse", pytest.param("trafilatura", marks=pytest.mark.slow)])
def test_the_right_parts_of_real_pages_are_kept(shared_data: Path, extractor: str) -> None:
    """F1 of snippets that must, and must not, be in the texts of 328 real pages."""
    from tests.pipelines.sources.formats.test_pages import read

    documents, _, _ = read(shared_data / "web" / "real-pages.warc.gz")
    with gzip.open(shared_data / "web" / "real-pages.gold.jsonl.gz", "rt") as lines:
        gold = {entry["url"]: entry for entry in map(json.loads, lines)}
    extract = Extract.model_validate(extractor)
    right = wrong = missed = 0
    for document in documents:
        if (entry := gold.get(document["url"])) is not None:
            (result,) = extract.extract(document["text"].encode())
            hits = sum(snippet in (result.text or "") for snippet in entry["must_contain"])
            right, missed = right + hits, missed + len(entry["must_contain"]) - hits
            wrong += sum(snippet in (result.text or "") for snippet in entry["must_not_contain"])
    assert right + missed > 900
    assert 2 * right / (2 * right + wrong + missed) >= GOLD[extractor]


def test_one_damaged_file_among_many_small_ones_is_named_and_takes_no_other_along(
    tmp_path: Path, make_recipe: MakeRecipe
) -> None:
    for i in range(70):
        write_crawl(tmp_path, f"{i:02d}", page(i))
    damaged = tmp_path / "crawl" / "33.warc.gz"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    recipe = make_recipe(tmp_path, **EXTRACT)
    with pytest.raises(ShardError, match="1 of 2 shards cannot be read"):
        execute(recipe)
    result = execute(recipe, "limits.unreadable_shards=1")
    assert dataset(result).num_rows == 69
    assert len(result.unreadable) == 1
    skipped = execute(recipe, "sources.crawl.damaged=skip", "limits.rejects=0.6")
    assert (skipped.funnel.documents, skipped.funnel.quarantined) == (69, 1)


def test_what_only_reads_extracts_nothing(crawl: Path, tmp_path: Path) -> None:
    """Without its text in the store a document is explained, and the store stays as it was."""
    write_crawl(tmp_path, "9", *[page(10 * i) for i in range(3)])  # copies of pages of the other files
    execute(crawl, "decide=[{fuzzy_dedup: {keep: first}}]")
    store = tmp_path / "store"
    for path in store.glob("extracts/*/*"):
        path.unlink()
    (id_,) = query(str(store), "SELECT d.id FROM decisions d WHERE NOT kept LIMIT 1")["id"].to_pylist()
    document = explain(str(store), id_)[0]
    (cluster,) = document["fates"][0]["clusters"]
    assert "run the recipe again to extract it" in cluster["unreadable"]
    assert not [*store.glob("extracts/*/*")]

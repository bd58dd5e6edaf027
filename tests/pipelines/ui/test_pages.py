"""What pages show is what commands tell: of runs, documents, clusters, the quarantine, labels; search finds it all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import gristmill
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.html.run_report import run_report
from gristmill.pipelines.report.clusters import clusters
from gristmill.pipelines.report.explain import explain, sentence
from gristmill.pipelines.report.labels import info
from gristmill.pipelines.store.run_records import RunRecords
from tests.pipelines.html.corpus import cells, parsed, write_corpus
from tests.pipelines.ui.conftest import asking, page, texts

pytestmark = pytest.mark.xdist_group("ui")  # one store for all


def asked(store: str, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in gristmill.query(store, sql).to_pylist()]


def test_a_run_shows_the_sections_of_its_report(client: TestClient, store: str) -> None:
    run = RunRecords(store).newest()
    tree, report = page(client, f"/runs/{run.name}"), parsed(run_report(run, LocalEngine(1)))
    assert len(tree.xpath("//main/div/section")) == len(report.xpath("//main/section")) > 8
    assert texts(tree, "//main/div/section") == texts(report, "//main/section")
    assert tree.xpath("//nav[@aria-label='Sections']//@href") == report.xpath("//nav//@href")
    assert texts(page(client, "/runs/1"), "//main/div/section") == texts(report, "//main/section")
    assert client.get("/runs/17").status_code == 404


def test_each_page_says_which_part_it_is(client: TestClient) -> None:
    parts = {"/": "Runs", "/runs/1": "Runs", "/written": "Search", "/clusters": "Clusters", "/labels": "Labels"}
    for path, name in parts.items():
        assert texts(parsed(client.get(path).content), "//nav[@class='site']//a[@aria-current]") == [name]


@pytest.mark.parametrize("words", ["mountain", "mountain river", '"and so on"', "and -mountain"])
def test_search_finds_what_is_kept_and_has_the_words(client: TestClient, store: str, words: str) -> None:
    wanted = [
        each for pair in re.findall(r'"([^"]+)"|(?<!\S)(\w+)', re.sub(r"-\w+", "", words)) for each in pair if each
    ]
    conditions = [f"regexp_matches(lower(text), '\\b{each}\\b')" for each in wanted]
    conditions += [f"NOT regexp_matches(lower(text), '\\b{each}\\b')" for each in re.findall(r"-(\w+)", words)]
    expected = {id for (id,) in asked(store, f"SELECT id FROM web WHERE {' AND '.join(conditions)}")}
    assert expected
    shown: list[str] = []
    for number in range(1, 51):
        found = texts(page(client, "/search", q=words, page=number), "//article[@class='hit']/h3/a")
        shown += found
        if len(found) < 20:
            break
    assert len(shown) == len(expected)
    assert {*shown} == expected


def test_a_hit_leads_to_the_document_as_written_and_to_what_was_decided(client: TestClient, store: str) -> None:
    tree = page(client, "/search", q='mountain "and so on"')
    hit = tree.xpath("//article[@class='hit']")[0]
    assert "and so on" in texts(hit, ".//mark")
    written = parsed(client.get(hit.xpath(".//a/@href")[0]).content)
    (id,) = texts(written, "//h1")
    ((text,),) = asked(store, f"SELECT text FROM web WHERE id = '{id}'")
    assert "".join(written.xpath("//p[@class='text']")[0].itertext()) == text
    explained = parsed(client.get(written.xpath("//p[@class='lead']/a/@href")[0]).content)
    assert texts(explained, "//article//h2") == [id]


def test_ids_are_found_by_their_beginning_kept_or_not(client: TestClient, store: str) -> None:
    expected = [
        id for (id,) in asked(store, "SELECT id FROM documents WHERE id LIKE 'doc-0-0001%' ORDER BY id LIMIT 10")
    ]
    tree = page(client, "/search", q="doc-0-0001")
    assert texts(tree, "//ul[@class='plain']/li") == expected
    address = tree.xpath("//ul[@class='plain']/li/a/@href")[3]
    assert texts(page(client, address), "//article//h2") == [expected[3]]


def test_explain_tells_what_the_command_tells(client: TestClient, store: str) -> None:
    kinds = asked(
        store, "SELECT min(id), rule FROM decisions WHERE kept OR rule IN ('short', 'fuzzy_dedup') GROUP BY rule"
    )
    assert len(kinds) == 3
    for id, _ in kinds:
        known = explain(store, id)
        tree = page(client, "/explain", id=id)
        fates = [f"{fate['dataset']} {fate['version']}: {sentence(fate)}" for d in known for fate in d["fates"]]
        shown = [
            text.removeprefix("Kept.").removeprefix("Dropped.") for text in texts(tree, "//p[contains(@class, 'fate')]")
        ]
        assert [text.removesuffix(" (it)") for text in shown] == fates
        measures = dict(cells(tree.xpath("//section[@aria-label='Measures']//table")[0])[1:])
        assert float(measures["gopher_mean_word_length"]) == pytest.approx(
            known[0]["gopher_mean_word_length"], rel=1e-5
        )
        assert measures["lang"] == known[0]["lang"]
        content = known[0]["content_id"]
        by_content = page(client, "/explain", id=content)
        assert id in texts(by_content, "//article//h2")
        with_text = page(client, "/explain", address=known[0]["address"], texts=1)
        text = _text(Path(store).parent / known[0]["file"], id)
        assert "".join(with_text.xpath("//section[starts-with(@id, 'texts-')]/p[@class='text']")[-1].itertext()) == text


def _text(file: Path, id: str) -> str:
    lines = [json.loads(line) for line in file.read_text().splitlines() if line.startswith("{")]
    return next(str(line["text"]) for line in lines if line["id"] == id)


def test_explain_finds_records_in_quarantine_and_says_what_is_not_there(client: TestClient) -> None:
    assert "In quarantine: wrong_type" in page(client, "/explain", id="odd").text_content()
    for parameters in ({"id": "nobody"}, {"address": 2**40}, {"id": "0" * 32}, {"id": "123456"}):
        answer = client.get("/explain", params=parameters)
        assert answer.status_code == 404
        assert "no document of this store has" in answer.text


def test_clusters_are_those_of_the_command(client: TestClient, store: str) -> None:
    tree = page(client, "/clusters")
    known = clusters(store, largest=100)
    expected = [[str(c["cluster"]), c["rule"], str(c["size"]), str(c["survivors"])] for c in known]
    assert cells(tree.xpath("//main//table")[0])[1:] == expected
    for cluster, address in zip(known[:2], tree.xpath("//main//table//@href"), strict=False):
        one = page(client, address)
        assert len(cells(one.xpath("//section[@aria-labelledby='members']//table")[0])) == 1 + cluster["size"]
        compared = page(client, f"{address}&texts=1")
        (member,) = cluster["members"]
        words = [words for kind, words in member["diff"] if kind == "+"]
        assert texts(compared, "//p[contains(@class, 'diff')]//ins") == words
        assert texts(compared, "//figcaption/a") == [member["id"], member["survivor_id"]]


def test_the_quarantine_is_paged_by_source_and_reason(client: TestClient, store: str) -> None:
    tree = page(client, "/quarantine")
    counted = asked(store, "SELECT source, reason, count(*) FROM quarantine GROUP BY ALL ORDER BY ALL")
    assert [(a, b, int(n)) for a, b, n in cells(tree.xpath("//main//table")[0])[1:]] == counted
    assert len(tree.xpath("//article[@class='hit']")) == 2
    some = page(client, "/quarantine", source="a", reason="wrong_type")
    assert len(some.xpath("//article[@class='hit']")) == 1
    assert "data/a-0.jsonl:81" in texts(some, "//article//h3")[0]
    assert page(client, "/quarantine", source="b").xpath("//article[@class='hit']") == []


def test_labels_are_counted_by_annotator_and_answer(client: TestClient, store: str) -> None:
    (task,) = info(store)
    tree = page(client, "/labels")
    assert [row[2] for row in cells(tree.xpath("//main//table")[0])[1:]] == [
        str(a["answers"]) for a in task["annotators"]
    ]
    one = page(client, f"/labels/{task['fingerprint']}")
    spread = cells(one.xpath("//section[@aria-labelledby='answers']//table")[0])[1:]
    assert sum(int(row[3]) for row in spread) == sum(a["answers"] for a in task["annotators"])
    alpha = re.search(r"nominal\): (-?[\d.]+)", " ".join(one.text_content().split()))
    assert alpha is not None
    assert 0 < float(alpha[1]) < 1
    some = page(client, f"/labels/{task['fingerprint']}", annotator="api", answer="good")
    rows = cells(some.xpath("//section[@aria-labelledby='documents']//table")[0])[1:]
    assert {(by, answer) for _, by, answer, _ in rows} == {("api", "good")}
    assert len(rows) == next(int(row[3]) for row in spread if row[:2] == ["api", "good"])
    link = some.xpath("//section[@aria-labelledby='documents']//table//@href")[0]
    assert rows[0][0] in texts(page(client, link), "//article//h2")


def test_pages_of_a_store_without_all_that_say_so(tmp_path: Path) -> None:
    recipe = write_corpus(tmp_path, decide=["exact_dedup"])
    loaded = gristmill.load_recipe(recipe, ["write.columns=[id,source]"])
    gristmill.run(loaded)
    with asking(loaded.store) as client:
        assert "was decided without fuzzy_dedup" in page(client, "/clusters").text_content()
        assert client.get("/cluster?rule=x&cluster=1").status_code == 404
        assert "have no column text: only ids are searched" in page(client, "/search").text_content()
        assert texts(page(client, "/search", q="doc-0-00001"), "//ul[@class='plain']/li") == ["doc-0-00001"]
        assert "has no labels" in page(client, "/labels").text_content()

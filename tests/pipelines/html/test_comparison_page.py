"""The page on two versions holds what the comparison says; texts that are gone are shown as a version holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import gristmill
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.html.comparison_page import comparison_page
from gristmill.pipelines.versions.compare import PAGE_EXCERPT, Comparison, compare
from tests.pipelines.html.corpus import cells, number, parsed, write_corpus
from tests.support import make_documents, write_jsonl

pytestmark = pytest.mark.xdist_group("reports")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two versions, the second of other files and by a stricter rule."""
    folder = tmp_path_factory.mktemp("compared")
    recipe = write_corpus(folder)
    gristmill.run(recipe)
    (folder / "data" / "b-3.jsonl").unlink()
    write_jsonl(folder / "data" / "b-9.jsonl", make_documents(380)[320:])
    recipe.write_text(recipe.read_text().replace("gopher_words < 40", "gopher_words < 60"))
    gristmill.run(recipe)
    return str(folder / "store")


@pytest.fixture(scope="module")
def found(store: str) -> Comparison:
    return compare(store, "web", "1", "2", examples=40, characters=PAGE_EXCERPT)


@pytest.fixture(scope="module")
def page(found: Comparison) -> Any:
    return parsed(comparison_page(found))


def table(page: Any, label: str) -> list[list[str]]:
    (shown,) = page.xpath(f"//div[@aria-label='{label}']/table")
    return cells(shown)[1:]


def test_moves_and_sources_are_those_of_the_comparison(found: Comparison, page: Any) -> None:
    rows = table(page, "Documents that came and went, by reason")
    assert [abs(number(row[2].replace("−", "-"))) for row in rows] == [
        moves.documents for moves in (*found.came, *found.went)
    ]
    sources = {row[0]: [number(cell) for cell in row[2:6]] for row in table(page, "Documents and tokens by source")}
    names = ("documents_before", "documents_after", "came", "went")
    assert sources == {name: [counts[n] for n in names] for name, counts in found.sources.items()}


def test_histograms_are_counts_of_both_versions(store: str, found: Comparison, page: Any) -> None:
    for drift in found.measures[:6]:
        rows = table(page, f"Counts of {drift.column}")
        counts = np.array([[number(row[1]), number(row[3])] for row in rows[:-4]])
        assert counts.sum(axis=0).tolist() == [*found.documents]
        article = page.xpath(f"//article[h3='{drift.column}']")[0]
        assert f"PSI {drift.psi:.3f}, KS {drift.ks:.3f}" in article.text_content()
        assert article.xpath("./*[local-name()='svg']")
    assert len(page.xpath("//article")) == len(found.measures)


def test_examples_whose_files_are_gone_are_as_the_version_holds_them(store: str, found: Comparison, page: Any) -> None:
    written = gristmill.open_dataset(f"{store}/datasets/web", "1").arrow().to_table()
    texts = dict(zip(written["id"].to_pylist(), written["text"].to_pylist(), strict=True))
    gone = [document for document in found.examples["went"] if document.get("held")]
    assert len(gone) > 20, "those of a file that is no longer there"
    for document in gone:
        assert document["excerpt"] == " ".join(texts[document["id"]].split())[:PAGE_EXCERPT]
    assert all("unreadable" not in document for side in found.examples.values() for document in side)
    captions = [" ".join(c.text_content().split()) for c in page.xpath("//figcaption")]
    assert sum(caption.endswith("no longer read; as the version holds it") for caption in captions) == len(gone)


def test_the_command_writes_the_page_and_says_where(store: str, tmp_path: Path) -> None:
    out = tmp_path / "diff.html"
    command = ["datasets", "diff", "web", "1", "2", "--store", store, "--html", str(out)]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    assert f"the page is in {out}" in done.output
    first = out.read_bytes()
    assert CliRunner().invoke(app, [*command, "--json"]).exit_code == 0
    assert out.read_bytes() == first == comparison_page(compare(store, "web", "1", "2", 3, PAGE_EXCERPT))
    assert "when: gopher_words &lt; 60" in first.decode()


def test_the_text_of_a_withdrawn_document_is_read_where_a_version_holds_it(tmp_path: Path) -> None:
    decide: list[Any] = [{"fuzzy_dedup": {"index": {"name": "web"}}}]
    for columns, told in (
        (["id", "text"], "went doc-0-"),
        (["id"], "it was withdrawn, and the files of 000001-"),
    ):
        folder = tmp_path / str(len(columns))
        recipe = write_corpus(folder, decide=decide)
        value = {**yaml.safe_load(recipe.read_text()), "refresh": {"vanished": "withdraw"}}
        recipe.write_text(yaml.safe_dump({**value, "write": {"columns": columns}}, sort_keys=False))
        gristmill.run(recipe)
        (folder / "data" / "b-3.jsonl").unlink()
        gristmill.run(recipe)
        done = CliRunner().invoke(app, ["datasets", "diff", "web", "1", "--store", str(folder / "store")])
        assert done.exit_code == 0, done.output
        assert "withdrawn: their files are gone" in done.output
        assert told in done.output
        assert "was listed but is gone" not in done.output

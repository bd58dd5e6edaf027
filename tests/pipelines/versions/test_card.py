"""Cards and exports of versions."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from gristmill import api
from gristmill.operators.errors import RecipeError, StoreDamaged
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.versions.card import card
from gristmill.pipelines.versions.export import export
from tests.pipelines.label.tasks import task_file
from tests.pipelines.stages.test_run import execute
from tests.pipelines.versions.stores import add_night, nights, store_of, write_recipe
from tests.support import make_documents, write_jsonl

QUIET = Reporter(quiet=True)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nights(tmp_path_factory.mktemp("nights"), 2)


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    lines = text.split(heading, 1)[1].split("\n\n", 2)[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_a_card_counts_all_nights(recipe: Path) -> None:
    text = card(store_of(recipe), "web")
    _, head, body = text.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["license"] == "cc0-1.0"
    assert metadata["size_categories"] == ["n<1K"]
    assert "40 documents" in body
    assert rows(body, "## Ingredients") == [["docs", "`data/*.jsonl`", "cc0-1.0", "40", "40"]]
    assert "40 records were read in 2 nights; 0 were no documents" in body
    assert [row[0] for row in rows(body, "## What was taken out")] == ["drop", "fuzzy_dedup"]
    assert "Personal data was not masked." in body
    assert "Duplicates were not looked for" not in body
    assert yaml.safe_load(body.split("```yaml\n")[1].split("```")[0])["name"] == "web"
    assert card(store_of(recipe), "web", "1") != text


def test_what_was_withdrawn_is_not_among_the_kept(tmp_path: Path) -> None:
    index = [{"fuzzy_dedup": {"index": {"name": "web"}}}]
    recipe = write_recipe(tmp_path, index, refresh={"vanished": "withdraw"})
    add_night(recipe, 0)
    execute(recipe)
    (tmp_path / "data" / "0-0.jsonl").unlink()
    add_night(recipe, 1)
    execute(recipe)
    text = card(store_of(recipe), "web")
    assert rows(text, "## Ingredients") == [["docs", "`data/*.jsonl`", "cc0-1.0", "40", "30"]]
    assert "10 documents kept then were withdrawn, or decided again, since." in text


def test_licences_of_documents_are_counted(tmp_path: Path) -> None:
    documents = [{**d, "license": ("mit", "a|b", None)[i % 3]} for i, d in enumerate(make_documents(12))]
    write_jsonl(tmp_path / "data" / "a.jsonl", documents)
    sources = [{"name": "docs", "path": "data/*.jsonl", "metadata": ["license"]}]
    recipe = write_recipe(tmp_path, [], sources=sources, write={})
    execute(recipe)
    text = card(store_of(recipe), "web")
    assert rows(text, "as their column `license` gives them:") == [["a\\|b", "4"], ["mit", "4"], ["not given", "4"]]
    assert "Not every source has a licence given" in text


def test_labels_are_told_with_their_agreement(tmp_path: Path) -> None:
    rows = [{"id": str(i), "text": f"{('river', 'engine', 'music river')[i % 3]} {i}"} for i in range(30)]
    write_jsonl(tmp_path / "data" / "a.jsonl", rows)
    words = [
        {"name": "one", "engine": "keywords", "words": {"physics": ["river"], "biology": ["engine", "silver"]}},
        {"name": "two", "engine": "keywords", "words": {"physics": ["music"], "biology": ["engine", "silver"]}},
    ]
    task_file(tmp_path, annotators=words, sample=None)
    recipe = write_recipe(tmp_path, [], label=["task.yaml"])
    execute(recipe)
    text = card(store_of(recipe), "web")
    assert "## Labels: topic" in text
    assert "Annotators: one (keywords), two (keywords)" in text
    assert "Krippendorff's alpha of all annotators: 1.00" in text  # one abstains where the text has its river alone


def test_a_folder_for_hugging_face_holds_the_files_and_the_card(recipe: Path, tmp_path: Path) -> None:
    store = store_of(recipe)
    done = export(store, "web", str(tmp_path / "out"), "huggingface", QUIET)
    found = pq.read_table(tmp_path / "out" / "data")
    assert found.equals(api.open_dataset(f"{store}/datasets/web").arrow().to_table())
    assert done["documents"] == len(found) == 40
    assert (tmp_path / "out" / "README.md").read_text() == card(store, "web")
    with pytest.raises(RecipeError, match="something lies in"):
        export(store, "web", str(tmp_path / "out"), "huggingface", QUIET)
    with pytest.raises(RecipeError, match="no format hugingface; did you mean huggingface"):
        export(store, "web", str(tmp_path / "other"), "hugingface", QUIET)


def test_a_damaged_version_is_not_exported(tmp_path: Path) -> None:
    recipe = nights(tmp_path, 1)
    file = next(Path(Dataset(store_of(recipe), "web").find().url).glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(StoreDamaged):
        export(store_of(recipe), "web", str(tmp_path / "out"), "huggingface", QUIET)
    assert not (tmp_path / "out").exists()


@pytest.mark.peers
@pytest.mark.parametrize("format", ["delta", "lance"])
def test_tables_of_other_libraries_hold_the_same_rows(recipe: Path, tmp_path: Path, format: str) -> None:
    to = str(tmp_path / "out")
    export(store_of(recipe), "web", to, format, QUIET)
    if format == "delta":
        table = pytest.importorskip("deltalake", reason="pip install deltalake").DeltaTable(to).to_pyarrow_table()
    else:
        table = pytest.importorskip("lance", reason="pip install pylance").dataset(to).to_table()
    expected = api.open_dataset(f"{store_of(recipe)}/datasets/web").arrow().to_table()
    assert table.sort_by("id").to_pylist() == expected.sort_by("id").to_pylist()

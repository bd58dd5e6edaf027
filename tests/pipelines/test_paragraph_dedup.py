"""Whole runs of paragraph_dedup: what is written, what is counted, and document frequencies against SQL."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from gristmill.operators.errors import FatalError
from gristmill.pipelines.decide.executors import rewrite_by
from gristmill.pipelines.stages import write as writing
from tests.operators.rules.paragraph_oracle import dedup
from tests.pipelines.pages import SHARDS, pages_of_a_site, write_pages
from tests.pipelines.stages.test_run import content, dataset, execute

MakeRecipe = Callable[..., Path]


@pytest.fixture
def texts() -> list[str]:
    return pages_of_a_site(200)


@pytest.fixture
def pages(tmp_path: Path, texts: list[str]) -> Path:
    return write_pages(tmp_path, texts)


@pytest.mark.parametrize("by", ["paragraph", "line"])
@pytest.mark.parametrize("keep", ["first", "none"])
def test_the_dataset_is_what_plain_python_leaves(
    pages: Path, make_recipe: MakeRecipe, texts: list[str], by: str, keep: str
) -> None:
    rule = {"paragraph_dedup": {"by": by, "keep": keep, "limit": 7, "min_characters": 18}}
    result = execute(make_recipe(pages, decide=[rule], write={"shard_bytes": "10KB"}))
    expected = dedup(texts, by, 7, 18, keep)
    left = {f"page-{i:03d}": rest for i, (rest, _) in enumerate(expected) if rest is not None}
    rows = dataset(result).to_pylist()
    assert [(row["id"], row["text"]) for row in rows] == list(left.items())
    assert set(rows[0]) == {"id", "text", "source", "lang", "tokens"}, "hashes and positions are for no reader"
    changed = [gone for rest, gone in expected if rest is not None and gone]
    lost = sum(len(texts[i]) - len(rest) for i, (rest, _) in enumerate(expected) if rest is not None)
    (told,) = result.funnel.rules
    assert told.dropped == len(texts) - len(left) > 0
    assert told.details["removed"] == {"documents": len(changed), "pieces": sum(changed), "bytes": lost}
    manifest = json.loads(Path(result.dataset, "manifest.json").read_text())
    assert manifest["text_bytes"] == sum(len(rest.encode()) for rest in left.values())
    assert manifest["funnel"]["rules"][0]["details"]["removed"] == told.details["removed"]
    files = [duckdb.sql(f"SELECT sum(strlen(text)) FROM '{result.dataset}/{f['name']}'") for f in manifest["files"]]
    assert [f["text_bytes"] for f in manifest["files"]] == [held.fetchall()[0][0] for held in files]
    assert len(files) > 2


def test_the_bytes_do_not_depend_on_workers(pages: Path, make_recipe: MakeRecipe) -> None:
    one = make_recipe(pages, decide=[{"paragraph_dedup": 7}], write={"shard_bytes": "10KB"}, store="./one")
    found = [content(execute(one, f"store=./{workers}", workers=workers)) for workers in (1, 3)]
    assert found[0] == found[1]


def test_another_limit_measures_nothing_and_writes_another_version(pages: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(pages, decide=[{"paragraph_dedup": {"limit": 7}}])
    first = execute(recipe)
    other = execute(recipe, "decide.paragraph_dedup.limit=90")
    assert (first.measured_now, other.measured_now) == (SHARDS, 0)
    assert other.dataset != first.dataset
    assert execute(recipe).dataset == first.dataset


def test_counts_and_columns_are_there_for_those_who_ask(pages: Path, make_recipe: MakeRecipe) -> None:
    names = ["id", "paragraph_dedup_removed", "paragraph_dedup_removed_bytes"]
    result = execute(make_recipe(pages, decide=[{"paragraph_dedup": 7}], write={"columns": names}))
    rows, removed = dataset(result).to_pylist(), result.funnel.rules[0].details["removed"]
    assert sum(row["paragraph_dedup_removed"] for row in rows) == removed["pieces"] > 0
    assert sum(row["paragraph_dedup_removed_bytes"] for row in rows) == removed["bytes"]


def test_a_rest_of_another_length_is_never_committed(
    pages: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_line = rewrite_by

    def another(rules: Any) -> Any:
        found = by_line(rules)
        return replace(found, rule=found.rule.model_copy(update={"by": "line"}))

    monkeypatch.setattr(writing, "rewrite_by", another)
    with pytest.raises(FatalError, match="paragraph_dedup left other texts than it decided"):
        execute(make_recipe(pages, decide=[{"paragraph_dedup": 7}]))
    assert not (pages / "store" / "datasets" / "test" / "CURRENT").exists()


# White space as `str.isspace` has it, in the syntax of DuckDB's regular expressions.
SPACE = r"[\s\x0b\x1c-\x1f\x85\p{Z}]"
SQL = f"""
WITH pieces AS (
    SELECT n, unnest(regexp_split_to_array(text, '\\n{SPACE}*\\n')) AS piece FROM documents
), keyed AS (
    SELECT n, trim(regexp_replace(lower(piece), '{SPACE}+', ' ', 'g')) AS key FROM pieces
), ranked AS (
    SELECT *, dense_rank() OVER (PARTITION BY key ORDER BY n) AS nth FROM keyed WHERE length(key) >= 20
), frequencies AS (
    SELECT key, max(nth) AS documents, count(*) FILTER (nth > $limit) AS removed FROM ranked GROUP BY key
)
SELECT count(*), sum(removed)::BIGINT, (list(documents ORDER BY documents DESC))[:10] FROM frequencies
WHERE documents > $limit
"""


def test_document_frequencies_agree_with_sql(shared_data: Path, tmp_path: Path, make_recipe: MakeRecipe) -> None:
    shards = sorted((shared_data / "docs").glob("docs-0000[0-2]-*.jsonl.gz"))
    recipe = make_recipe(
        tmp_path,
        sources=[{"name": "docs", "path": [str(path) for path in shards]}],
        decide=[{"paragraph_dedup": {"limit": 5}}],
    )
    details = execute(recipe).funnel.rules[0].details
    lines = [line for path in shards for line in gzip.decompress(path.read_bytes()).splitlines()]
    texts = [json.loads(line)["text"] for line in lines]
    with duckdb.connect() as connection:
        connection.register("documents", pa.table({"n": range(len(texts)), "text": texts}))
        repeated, removed, most = connection.execute(SQL, {"limit": 5}).fetchall()[0]
    assert repeated == details["repeated"] > 10
    assert removed == details["removed"]["pieces"]
    assert [one["documents"] for one in details["most_frequent"]] == most

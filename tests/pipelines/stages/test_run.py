"""Whole runs on a small corpus, checked against DuckDB over the input."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import FatalError, RecipeError, ShardError
from gristmill.pipelines.engine import EngineName, open_engine
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.stages import decide as deciding
from gristmill.pipelines.stages.context import RunResult
from gristmill.pipelines.stages.run import run
from gristmill.pipelines.storage import files
from tests.pipelines.engine.work import Fault, FaultyEngine
from tests.support import make_documents, write_jsonl

MakeRecipe = Callable[..., Path]
DECIDE = [
    {"drop": "gopher_words < 50"},
    {"exact_dedup": "longest"},
    {"select": {"by": "random", "documents": 150, "seed": 3}},
]


def execute(
    recipe: Path,
    *overrides: str,
    engine: EngineName = "local",
    workers: int = 2,
    faults: Mapping[str, Fault] = MappingProxyType({}),
    **options: Any,
) -> RunResult:
    """Run a recipe in this process, on an engine with these faults."""
    return run(
        load_recipe(str(recipe), overrides),
        lambda: FaultyEngine(open_engine(engine, workers), faults),
        Reporter(quiet=True),
        **options,
    )


def content(result: RunResult) -> dict[str, bytes]:
    """Files of a dataset version by name."""
    return {path.name: path.read_bytes() for path in sorted(Path(result.dataset).iterdir())}


def dataset(result: RunResult) -> pa.Table:
    """The rows of a dataset version, in order."""
    return pa.concat_tables(pq.read_table(path) for path in sorted(Path(result.dataset).glob("*.parquet")))


def rows(result: RunResult, *columns: str) -> list[tuple[Any, ...]]:
    """Columns of the dataset's rows as tuples."""
    table = dataset(result).select(columns)
    return list(zip(*(table[c].to_pylist() for c in columns), strict=True))


def test_the_funnel_agrees_with_sql(corpus: Path, make_recipe: MakeRecipe) -> None:
    result = execute(make_recipe(corpus, decide=DECIDE))
    sql = f"""
        WITH documents AS (
                SELECT *, len(string_split_regex(trim(text, E' \\n'), '\\s+')) AS words
                FROM read_json('{corpus}/data/*.jsonl.gz')
             ),
             long AS (SELECT * FROM documents WHERE words >= 50)
        SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM long),
               (SELECT count(DISTINCT regexp_replace(trim(lower(text), E' \\n'), '\\s+', ' ', 'g')) FROM long)
    """
    documents, long, distinct = duckdb.sql(sql).fetchall()[0]
    funnel = result.funnel
    assert (funnel.records, funnel.quarantined, funnel.documents) == (documents, 0, documents)
    assert [rule.dropped for rule in funnel.rules] == [documents - long, long - distinct, distinct - 150]
    assert funnel.kept == 150 == len(rows(result, "id"))
    assert funnel.tokens == funnel.kept_tokens + sum(rule.dropped_tokens for rule in funnel.rules)


def test_the_dataset_holds_the_survivors_text_in_input_order(corpus: Path, make_recipe: MakeRecipe) -> None:
    result = execute(
        make_recipe(corpus, decide=[{"exact_dedup": "first"}], write={"columns": ["id", "lang", "text", "source"]})
    )
    given = {d["id"]: d for d in make_documents(400)}
    kept = rows(result, "id", "lang", "text", "source")
    assert [row[0] for row in kept] == [i for i in sorted(given) if not i.endswith("9")]
    for id_, lang, text, source in kept:
        assert (lang, text, source) == (given[id_]["lang"], given[id_]["text"], "docs")


def test_current_names_a_complete_version(corpus: Path, make_recipe: MakeRecipe) -> None:
    result = execute(make_recipe(corpus))
    version = Path(result.dataset)
    assert (version.parent / "CURRENT").read_text().strip() == version.name
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["rows"] == 400 == sum(file["rows"] for file in manifest["files"])
    assert {file["name"] for file in manifest["files"]} == {p.name for p in version.glob("*.parquet")}
    assert {p.name for p in version.iterdir()} == {"manifest.json", *(f["name"] for f in manifest["files"])}
    assert [f["bytes"] for f in manifest["files"]] == [(version / f["name"]).stat().st_size for f in manifest["files"]]


def test_a_second_run_does_nothing(corpus: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(corpus, decide=DECIDE)
    first = execute(recipe)
    before = content(first)
    second = execute(recipe)
    assert (first.cached, second.cached) == (False, True)
    assert (first.measured_now, second.measured_now) == (4, 0)
    assert second.dataset == first.dataset
    assert second.funnel == first.funnel
    assert content(second) == before


def test_a_new_threshold_measures_nothing(corpus: Path, make_recipe: MakeRecipe) -> None:
    execute(make_recipe(corpus, decide=DECIDE))
    changed = execute(make_recipe(corpus, decide=[{"drop": "gopher_words < 90"}, *DECIDE[1:]]))
    assert changed.measured_now == 0
    assert not changed.cached
    fresh = corpus / "fresh"
    fresh.mkdir()
    again = execute(
        make_recipe(corpus, decide=[{"drop": "gopher_words < 90"}, *DECIDE[1:]], store=str(fresh / "store"))
    )
    parquet = {name: data for name, data in content(again).items() if name.endswith(".parquet")}
    assert parquet == {name: data for name, data in content(changed).items() if name.endswith(".parquet")}


def test_a_new_measure_measures_only_itself(corpus: Path, make_recipe: MakeRecipe) -> None:
    execute(make_recipe(corpus))
    result = execute(make_recipe(corpus, measure=["gopher"]))
    assert result.measured_now == 4
    passes = [json.loads(p.read_text())["operators"] for p in (corpus / "store" / "measures").glob("*/pass.json")]
    assert sorted(len(operators) for operators in passes) == [1, 2]


def test_a_new_night_measures_only_what_is_new(corpus: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(corpus, decide=DECIDE)
    execute(recipe)
    write_jsonl(corpus / "data" / "docs-9.jsonl.gz", make_documents(50, seed=9))
    result = execute(recipe)
    assert result.measured_now == 1
    assert result.funnel.documents == 450


def test_a_changed_file_is_measured_again(corpus: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(corpus, decide=[{"exact_dedup": "first"}])
    first = execute(recipe)
    write_jsonl(corpus / "data" / "docs-2.jsonl.gz", make_documents(70, seed=5))
    result = execute(recipe)
    assert result.measured_now == 1
    assert result.funnel.documents == 370
    assert result.dataset != first.dataset
    assert {row[0] for row in rows(result, "id")} >= {"doc-5-00000"}


@pytest.mark.parametrize("workers", [1, 3])
def test_the_bytes_do_not_depend_on_workers(corpus: Path, make_recipe: MakeRecipe, workers: int) -> None:
    one = execute(make_recipe(corpus, decide=DECIDE, store="./one"), workers=2)
    other = execute(make_recipe(corpus, decide=DECIDE, store="./other"), workers=workers)
    assert content(one) == content(other)


def test_the_bytes_do_not_depend_on_the_order_of_a_listing(corpus: Path, make_recipe: MakeRecipe) -> None:
    files = sorted(str(p) for p in (corpus / "data").iterdir())
    one = execute(make_recipe(corpus, decide=DECIDE, store="./one", sources=[{"name": "docs", "path": files}]))
    other = execute(
        make_recipe(corpus, decide=DECIDE, store="./other", sources=[{"name": "docs", "path": files[::-1]}])
    )
    parquet = [{n: d for n, d in content(r).items() if n.endswith(".parquet")} for r in (one, other)]
    assert parquet[0] == parquet[1]


def test_small_files_are_cut_where_the_plan_says(corpus: Path, make_recipe: MakeRecipe) -> None:
    result = execute(make_recipe(corpus, write={"shard_bytes": "20KB", "columns": ["id", "text"]}))
    files = sorted(Path(result.dataset).glob("*.parquet"))
    assert len(files) > 8
    assert [f.name for f in files] == [f"data-{i:05d}-of-{len(files):05d}.parquet" for i in range(len(files))]
    assert [i for f in files for i in pq.read_table(f)["id"].to_pylist()] == [d["id"] for d in make_documents(400)]


def test_nothing_survives_is_still_a_dataset(corpus: Path, make_recipe: MakeRecipe) -> None:
    result = execute(make_recipe(corpus, decide=[{"drop": "gopher_words >= 0"}]))
    assert result.funnel.kept == 0
    assert dataset(result).num_rows == 0
    assert "text" in dataset(result).column_names


def test_a_file_that_changes_between_measure_and_write_is_noticed(corpus: Path, make_recipe: MakeRecipe) -> None:
    def after_a_file_has_changed(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        write_jsonl(corpus / "data" / "docs-1.jsonl.gz", make_documents(100, seed=8))
        return function

    with pytest.raises(ShardError, match=r"docs-1.jsonl.gz.*run again"):
        execute(make_recipe(corpus), faults={"write_files": after_a_file_has_changed})
    assert not (corpus / "store" / "datasets" / "test" / "CURRENT").exists()


def test_counts_that_do_not_add_up_are_never_committed(
    corpus: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    build = deciding.build_funnel
    monkeypatch.setattr(deciding, "build_funnel", lambda *a: replace(build(*a), documents=399))
    with pytest.raises(FatalError, match="do not add up"):
        execute(make_recipe(corpus))
    assert not (corpus / "store" / "datasets").exists()


def test_a_record_of_an_earlier_version_stands(corpus: Path, make_recipe: MakeRecipe) -> None:
    """Records of 0.1.0 have the examples that were asked for among their results."""
    recipe = make_recipe(corpus)
    first = execute(recipe)
    path = corpus / "store" / "runs" / first.run / "run.json"
    record = files.read_record(str(path))
    files.write_record(str(path), {**record, "result": {**record["result"], "examples": []}})
    again = execute(recipe)
    assert again.cached
    assert again.dataset == first.dataset


def test_secrets_stay_out_of_the_store(corpus: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPUS_KEY", str(corpus / "data"))
    result = execute(make_recipe(corpus, sources=[{"name": "docs", "path": "${CORPUS_KEY}/docs-*"}]))
    assert result.funnel.documents == 400
    for path in (corpus / "store").rglob("*"):
        if path.is_file():
            assert str(corpus / "data").encode() not in path.read_bytes(), path
    manifest = json.loads((Path(result.dataset) / "manifest.json").read_text())
    assert manifest["recipe"]["sources"][0]["path"] == "${CORPUS_KEY}/docs-*"


def test_two_sources_keep_their_names(corpus: Path, make_recipe: MakeRecipe) -> None:
    write_jsonl(corpus / "more" / "x.jsonl", make_documents(5, seed=4))
    sources = [{"name": "docs", "path": "data/*"}, {"name": "more", "path": "more/*", "metadata": {"score": "int"}}]
    result = execute(make_recipe(corpus, sources=sources, write={"columns": ["source", "score"]}))
    kept = rows(result, "source", "score")
    assert [row[0] for row in kept] == ["docs"] * 400 + ["more"] * 5
    assert [row[1] for row in kept][-6:] == [None, 0, 1, 2, 3, 4]


def test_an_unknown_override_is_refused(corpus: Path, make_recipe: MakeRecipe) -> None:
    with pytest.raises(RecipeError, match="there is no slect; did you mean select"):
        execute(make_recipe(corpus, decide=DECIDE), "decide.slect.documents=3")
    assert execute(make_recipe(corpus, decide=DECIDE), "decide.select.documents=3").funnel.kept == 3

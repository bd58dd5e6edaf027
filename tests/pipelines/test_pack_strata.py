"""Runs that pack strata apart: every token once, each document in its stratum, percentiles, nights, errors."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import gristmill
from gristmill.operators.errors import FatalError, RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.index import upkeep
from gristmill.pipelines.shard_tasks import pack as packing
from gristmill.pipelines.stages import strata as strata_stage
from gristmill.pipelines.stages import write as writing
from gristmill.pipelines.store.fuzzy_index import Index
from tests.docs.blocks import code
from tests.pipelines.stages.test_run import execute
from tests.pipelines.test_pack import check, manifest_of, packed_documents, token_files, two_nights
from tests.pipelines.test_whole_versions import MakeRecipe

COLUMNS = 'write.columns=["id", "text", "source", "lang", "gopher_words", "gopher_symbol_ratio", "tokens"]'
TOKENS = "measure=[{tokens: tokenizer.json}, gopher]"


def by(*entries: str) -> str:
    return f"write.pack.by=[{', '.join(entries)}]"


def stratum_by_document(store: Path) -> dict[tuple[int, ...], dict[str, Any]]:
    """The stratum that the tokens of each document lie in; one for each."""
    found: dict[int, dict[str, Any]] = {}
    packed = manifest_of(store)["packed"]
    for shard in packed["shards"]:
        path = next(file["path"] for file in shard["files"] if file["path"].endswith(".parquet"))
        for row in pq.read_table(store / "datasets" / "test" / path)["documents"].to_pylist():
            for piece in row:
                assert found.setdefault(piece["address"], shard["stratum"]) == shard["stratum"]
    return {tuple(tokens): found[address] for address, tokens in packed_documents(store).items()}


def rows_of(store: Path) -> list[dict[str, Any]]:
    folder = store / "datasets" / "test"
    return [row for file in manifest_of(store)["files"] for row in pq.read_table(folder / file["path"]).to_pylist()]


@pytest.mark.parametrize("split", ["documents", "concat", "best_fit"])
def test_each_document_is_packed_with_its_stratum(packed_recipe: Path, tokenizer_file: Path, split: str) -> None:
    import tokenizers

    store = packed_recipe.parent / "store"
    strata = by("lang", "{gopher_words: [50%, 90%]}", "{gopher_symbol_ratio: [0]}")
    result = execute(packed_recipe, strata, TOKENS, COLUMNS, f"write.pack.split={split}")
    packed = check(store, tokenizer_file)
    assert (packed["documents"], result.packed) == (360, {k: v for k, v in packed.items() if k != "shards"})
    rows = rows_of(store)
    weights = Counter[float]()
    for row in rows:
        weights[row["gopher_words"]] += row["tokens"] + 1
    total, held, limits = sum(weights.values()), 0, list[float]()
    for value in sorted(weights):
        before, held = held, held + weights[value]
        limits += [value for share in (0.5, 0.9) if before < share * total <= held]
    assert packed["by"][1] == {"column": "gopher_words", "cuts": [50, 90], "percent": True, "limits": limits}
    (query,) = code("docs/packing.md", "bash")
    _, command, sql = shlex.split(query.text)
    assert command == "query"
    found_by_sql = gristmill.query(store, sql.replace("quality", "gopher_words").replace("'web'", "'test'"))
    assert found_by_sql.column(0).to_pylist() == [limits[1]], "the query of docs/packing.md"
    library = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    expected, of_tokens = Counter[tuple[Any, ...]](), stratum_by_document(store)
    for row in rows:
        words = row["gopher_words"]
        middle = "50% to 90%" if words <= limits[1] else "above 90%"
        stratum = {
            "lang": row["lang"],
            "gopher_words": "up to 50%" if words <= limits[0] else middle,
            "gopher_symbol_ratio": "up to 0" if row["gopher_symbol_ratio"] <= 0 else "above 0",
        }
        tokens = (*library.encode(row["text"]).ids, 1)
        assert of_tokens[tokens] == stratum
        expected[(*stratum.values(), "documents")] += 1
        expected[(*stratum.values(), "tokens")] += len(tokens)
    found = {
        (*told["stratum"].values(), name): told[name] for told in packed["strata"] for name in ("documents", "tokens")
    }
    assert found == expected
    shares = Counter[str]()
    for told in packed["strata"]:
        shares[told["stratum"]["gopher_words"]] += told["tokens"]
    largest = max(weights.values())
    for bucket, share in (("up to 50%", 0.5), ("50% to 90%", 0.4), ("above 90%", 0.1)):
        assert abs(shares[bucket] - share * total) <= largest, "but for the documents of one value"
    assert execute(packed_recipe, strata, TOKENS, COLUMNS, f"write.pack.split={split}").cached


def test_the_same_bytes_whatever_the_shards_and_workers(packed_recipe: Path) -> None:
    strata = by("lang", "{gopher_words: [50%]}", "source")
    store = packed_recipe.parent / "store"
    execute(packed_recipe, strata, TOKENS, workers=1)
    plain, packed = token_files(store), manifest_of(store)["packed"]
    again = Path(f"{store}-again")
    execute(packed_recipe, strata, TOKENS, f"store={again}", workers=3)
    assert token_files(again) == plain
    assert {**manifest_of(again)["packed"], "shards": []} == {**packed, "shards": []}


def test_strata_alone_make_another_version_and_measure_nothing(packed_recipe: Path) -> None:
    first, second = execute(packed_recipe), execute(packed_recipe, by("lang"))
    third = execute(packed_recipe, by("{gopher_words: [80]}", "lang"), "measure=[gopher]", 'write.columns=["text"]')
    assert first.dataset != second.dataset
    assert second.measured_now == 0
    assert third.packed is not None
    assert {told["stratum"]["gopher_words"] for told in third.packed["strata"]} == {"up to 80", "above 80"}
    assert execute(packed_recipe).dataset == first.dataset


def test_documents_that_are_packed_with_others_stop_the_run(
    packed_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition_of = packing.Packing.partition_of
    monkeypatch.setattr(packing.Packing, "partition_of", lambda *a: 0 * partition_of(*a))
    with pytest.raises(FatalError, match=r"documents of \{'lang': 'de'\} were packed, .* are kept; nothing is"):
        execute(packed_recipe, by("lang"))
    assert not [*(packed_recipe.parent / "store").rglob("manifest.json")]


def test_the_summary_and_datasets_show_tell_the_strata(packed_recipe: Path) -> None:
    options = [f"--set={option}" for option in (by("lang", "{gopher_words: [50%]}"), TOKENS)]
    ran = CliRunner().invoke(app, ["run", str(packed_recipe), *options, "--quiet"], env={"COLUMNS": "120"})
    store = ["--store", str(packed_recipe.parent / "store")]
    shown = CliRunner().invoke(app, ["datasets", "show", "test", "1", *store], env={"COLUMNS": "120"})
    packed = manifest_of(packed_recipe.parent / "store")["packed"]
    for output in (ran.output, shown.output):
        lines = [line.split() for line in output.splitlines()]
        for told in packed["strata"]:
            lang, words = told["stratum"].values()
            share = f"{told['tokens'] / packed['tokens']:.2%}"
            found = [line for line in lines if line[:1] == [lang] and line[-1] == share]
            assert [" ".join(line[1:-4]) for line in found] == [words], output
        assert f"gopher_words: 50% at {packed['by'][1]['limits'][0]:.6g}" in output


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{lang: [5]}", "lang is string, which cannot be cut at numbers; write `lang` alone"),
        ("gopher_symbol_ratio", r"\(double\) does not part documents .*; say where it is cut: .*: \[50%, 90%\]"),
        ("id", r"id \(string\) does not part documents into a few strata"),
        ("lnag", "there is no column lnag; did you mean lang?"),
        ("{gopher_words: [50%]}", "does not count with the tokenizer that packs; list `tokens: tokenizer.json` under"),
    ],
)
def test_columns_that_part_no_documents_are_mistakes(packed_recipe: Path, entry: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as raised:
        execute(packed_recipe, by(entry))
    assert "write.pack.by" in str(raised.value)
    assert not (packed_recipe.parent / "store").exists()


def test_too_many_strata_are_refused_before_a_text_is_read(
    packed_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strata_stage, "MOST_STRATA", 20)
    with pytest.raises(RecipeError, match=r"write.pack.by.*: more than 20 strata, of \d+ values of gopher_words and 2"):
        execute(packed_recipe, by("gopher_words", "lang"), "measure=[gopher]")
    assert not [*(packed_recipe.parent / "store").rglob("_receipts")]


@pytest.fixture
def nightly(tmp_path: Path, make_recipe: MakeRecipe, tokenizer_file: Path) -> Path:
    """A recipe with an index, packed by strata, and two nights."""
    return two_nights(tmp_path, make_recipe, tokenizer_file, by=["source", {"bytes": [930]}])


def test_nights_add_to_strata(nightly: Path, tokenizer_file: Path) -> None:
    store = nightly.parent / "store"
    packed = check(store, tokenizer_file)
    strata = {told["stratum"]["bytes"]: told["documents"] for told in packed["strata"]}
    sizes = [len(row["text"].encode()) for row in rows_of(store)]
    assert strata == {"up to 930": sum(n <= 930 for n in sizes), "above 930": sum(n > 930 for n in sizes)}
    assert min(strata.values()) > 0
    feed = gristmill.open_packed(store / "datasets" / "test", where={"bytes": "above 930"}).feed()
    by_document = stratum_by_document(store)
    found = Counter(piece for sequence in feed for piece in sequence.addresses.tolist())
    addresses = packed_documents(store)
    assert {*found} == {a for a, tokens in addresses.items() if by_document[(*tokens,)]["bytes"] == "above 930"}
    before = addresses
    upkeep.remove_generation(str(store), "web", Index(str(store), "web").generations[0].name)
    execute(nightly, "sources.docs.path=data/docs-0-0*")  # what is left of the first night is packed again
    assert packed_documents(store) == before
    assert stratum_by_document(store) == by_document
    check(store, tokenizer_file)
    with pytest.raises(RecipeError, match=r"are packed otherwise .*, by: \[source, \{bytes: \[930\]\}\]"):
        execute(nightly, by("source"))


def test_percentiles_of_a_dataset_with_an_index_are_refused(nightly: Path) -> None:
    message = r"would be others each night, .*; with an index cut at numbers, such as \{bytes: \[0.3, 0.8\]\}"
    with pytest.raises(RecipeError, match=message):
        execute(nightly, by("{bytes: [50%]}"), "measure=[{tokens: tokenizer.json}]")


def test_documents_in_no_cluster_count_as_clusters_of_one(packed_recipe: Path, tokenizer_file: Path) -> None:
    execute(packed_recipe, "decide=[fuzzy_dedup]", by("{fuzzy_dedup_size: [1, 5]}"))
    packed = check(packed_recipe.parent / "store", tokenizer_file)
    names = [told["stratum"]["fuzzy_dedup_size"] for told in packed["strata"]]
    assert names[0] == "up to 1"
    assert None not in names


def test_strata_of_texts_that_are_written_already(
    packed_recipe: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = packed_recipe.parent / "store"
    strata = by("lang", "{gopher_words: [50%]}")
    execute(packed_recipe, strata, TOKENS, 'write.columns=["id", "text"]', f"store={store}-at-once")
    execute(packed_recipe, TOKENS, 'write.columns=["id", "text"]')
    monkeypatch.setattr(writing, "write_files", lambda *a: pytest.fail("texts are written again"))
    execute(packed_recipe, strata, TOKENS, 'write.columns=["id", "text"]')
    check(store, tokenizer_file)
    assert token_files(store).items() >= token_files(Path(f"{store}-at-once")).items()

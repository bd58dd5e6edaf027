"""fuzzy_dedup in whole runs: what it drops, the columns that it gives, what is read again, what is found again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.report.query import connect, query
from gristmill.pipelines.store.run_records import RunRecords
from tests.pipelines.stages.test_run import content, dataset, execute
from tests.support import sentences, write_jsonl

MakeRecipe = Callable[..., Path]
PREFIX = "fuzzy_dedup"
GIVEN = [f"{PREFIX}_{what}" for what in ("cluster", "size", "survivor", "similarity")]


def shingles(text: str) -> set[tuple[str, ...]]:
    """Runs of five words, by Python's own means."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def jaccard(a: str, b: str) -> float:
    one, other = shingles(a), shingles(b)
    return len(one & other) / len(one | other)


def changed(text: str, words: list[int]) -> str:
    """The text with other words in some places."""
    split = text.split()
    for i in words:
        split[i] = f"changed{i}"
    return " ".join(split)


def near_copy(text: str) -> str:
    """One word changed, one added: at 200 words a similarity of 0.95."""
    return changed(text, [3]) + " more"


def document(id: str, text: str) -> dict[str, str]:
    return {"id": id, "text": text, "lang": "en"}


@pytest.fixture
def lookalikes(tmp_path: Path) -> Path:
    """60 documents of 200 words; in other shards a near copy of every sixth and one that is far from it (0.33)."""
    texts = [sentences(i, 200) for i in range(60)]
    near = [document(f"near-{i:02d}", near_copy(text)) for i, text in enumerate(texts) if i % 6 == 0]
    far = [
        document(f"far-{i:02d}", changed(text, list(range(5, 200, 10)))) for i, text in enumerate(texts) if i % 6 == 0
    ]
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", [document(f"doc-{i:02d}", text) for i, text in enumerate(texts)])
    write_jsonl(tmp_path / "data" / "docs-1.jsonl", far)
    write_jsonl(tmp_path / "data" / "docs-2.jsonl.gz", [*near, document("empty", "..."), document("dots", "...")])
    return tmp_path


def decisions(folder: Path) -> dict[str, Any]:
    """The decision on each document, by id, with its survivor's id."""
    sql = """SELECT d.id, k.* EXCLUDE (address, survivor), s.id AS survivor
             FROM decisions k JOIN documents d USING (address) LEFT JOIN documents s ON s.address = k.survivor"""
    return {row["id"]: row for row in query(str(folder / "store"), sql).to_pylist()}


@pytest.mark.parametrize("verify", ["signature", "none", "text"])
def test_near_copies_go_and_remote_ones_stay(lookalikes: Path, make_recipe: MakeRecipe, verify: str) -> None:
    result = execute(make_recipe(lookalikes, decide=[{"fuzzy_dedup": {"verify": verify}}]))
    found = decisions(lookalikes)
    assert {id for id, row in found.items() if not row["kept"]} == {id for id in found if id.startswith("near")}
    for id, row in found.items():
        if not row["kept"]:
            assert row["survivor"] == id.replace("near", "doc")
            text = sentences(int(id.removeprefix("near-")), 200)
            assert abs(row["value"] - jaccard(text, near_copy(text))) < (1e-6 if verify == "text" else 0.1)
            assert row["limit"] == (None if verify == "none" else 0.75)
    assert result.funnel.rules[0].details["clusters"] == 10


def test_the_columns_that_it_gives(lookalikes: Path, make_recipe: MakeRecipe) -> None:
    decide = [{"drop": "id = 'doc-06'"}, {"fuzzy_dedup": {"keep": "longest"}}]
    result = execute(make_recipe(lookalikes, decide=decide, write={"columns": ["id", *GIVEN]}))
    sql = f"SELECT address, id, {', '.join(GIVEN)} FROM documents"
    documents = {row["id"]: row for row in query(str(lookalikes / "store"), sql).to_pylist()}
    for i in range(60):
        row = documents[f"doc-{i:02d}"]
        if i % 6 or i == 6:  # without a near copy, or dropped before
            assert [row[name] for name in GIVEN] == [None] * 4
            continue
        near = documents[f"near-{i:02d}"]  # the longer one
        assert row[f"{PREFIX}_cluster"] == near[f"{PREFIX}_cluster"] == row["address"]
        assert row[f"{PREFIX}_size"] == near[f"{PREFIX}_size"] == 2
        assert row[f"{PREFIX}_survivor"] == near[f"{PREFIX}_survivor"] == near["address"]
        assert 0.75 <= row[f"{PREFIX}_similarity"] < near[f"{PREFIX}_similarity"] == 1
    written = dataset(result)
    assert written.column_names == ["id", *GIVEN]
    for row in written.to_pylist():
        assert row == {name: documents[row["id"]][name] for name in written.column_names}


def test_later_rules_and_the_plan_know_the_columns(lookalikes: Path, make_recipe: MakeRecipe) -> None:
    decide = [
        {"fuzzy_dedup": {"name": "near"}},
        {"drop": "near_size > 1"},
        {"fuzzy_dedup": {"threshold": 0.3}},
        {"drop": "fuzzy_dedup_similarity > 0.9 and near_size is null"},
    ]
    recipe = make_recipe(lookalikes, decide=decide, write={"columns": ["id", "near_size", "fuzzy_dedup_size"]})
    plan = plan_run(load_recipe(str(recipe))).plan
    assert [str(field.type) for field in plan.output] == ["string", "uint32", "uint32"]
    result = execute(recipe)
    assert dataset(result).schema.equals(plan.output)
    rules = {rule.name: rule.dropped for rule in result.funnel.rules}
    assert rules["near"] == 10 == rules["drop"]
    kept = decisions(lookalikes)
    assert [id for id, row in kept.items() if row["rule"] == "drop"] == [f"doc-{i:02d}" for i in range(0, 60, 6)]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"decide": [{"drop": "fuzzy_dedup_size > 3"}, "fuzzy_dedup"]},
            ":.*the rule fuzzy_dedup gives it to the rules after it",
        ),
        ({"decide": ["fuzzy_dedup"], "write": {"columns": ["fuzzy_dedup_sice"]}}, "did you mean fuzzy_dedup_size"),
        ({"decide": [{"fuzzy_dedup": {"keep": "best: lang"}}]}, "keeps the highest number or date; lang is string"),
        ({"decide": [{"fuzzy_dedup": {"keep": "best: qualty"}}]}, "there is no column qualty"),
        (
            {"decide": [{"fuzzy_dedup": {"name": "a"}}], "measure": [{"minhash": {"column": "a_size"}}]},
            "there is a column a_size already",
        ),
        (
            {"decide": ["fuzzy_dedup"], "measure": [{"minhash": {"column": "minhash_5_112_1", "seed": 2}}]},
            "another column minhash_5_112_1",
        ),
        ({"decide": [{"fuzzy_dedup": {"bands": 20, "rows": 9}}]}, "take 180 permutations; there are 112"),
    ],
)
def test_recipes_that_cannot_work(
    lookalikes: Path, make_recipe: MakeRecipe, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        plan_run(load_recipe(str(make_recipe(lookalikes, **keys))))
    assert "recipe.yaml:" in str(error.value)


def test_signatures_stay_out_of_sight(lookalikes: Path, make_recipe: MakeRecipe) -> None:
    result = execute(make_recipe(lookalikes, measure=["minhash"], decide=["fuzzy_dedup"]))
    assert not [name for name in dataset(result).column_names if "minhash" in name or PREFIX in name]
    shown = query(str(lookalikes / "store"), "FROM documents LIMIT 0").column_names
    assert not [name for name in shown if "minhash" in name]
    assert {*GIVEN} <= {*shown}
    named = execute(make_recipe(lookalikes, decide=["fuzzy_dedup"], write={"columns": ["id", "minhash_5_112_1"]}))
    assert dataset(named).schema.field("minhash_5_112_1").type == pa.binary(224)


def test_another_threshold_reads_no_text_to_measure(lookalikes: Path, make_recipe: MakeRecipe) -> None:
    first = execute(make_recipe(lookalikes, decide=[{"fuzzy_dedup": 0.75}]))
    before = content(first)
    again = execute(make_recipe(lookalikes, decide=[{"fuzzy_dedup": 0.75}]))
    assert (again.cached, again.dataset, content(again)) == (True, first.dataset, before)
    lower = execute(make_recipe(lookalikes, decide=[{"fuzzy_dedup": {"threshold": 0.3, "bands": 28, "rows": 4}}]))
    assert (lower.cached, lower.measured_now) == (False, 0)
    assert lower.funnel.rules[0].dropped > first.funnel.rules[0].dropped


def test_the_version_depends_on_the_columns_that_are_written(lookalikes: Path, make_recipe: MakeRecipe) -> None:
    write = {"columns": ["id", f"{PREFIX}_similarity"]}
    signature = execute(make_recipe(lookalikes, decide=["fuzzy_dedup"], write=write))
    text = execute(make_recipe(lookalikes, decide=[{"fuzzy_dedup": {"verify": "text"}}], write=write))
    assert dataset(signature)["id"].equals(dataset(text)["id"])
    assert signature.dataset != text.dataset


def test_text_verification_counts_what_it_reads(lookalikes: Path, make_recipe: MakeRecipe) -> None:
    result = execute(make_recipe(lookalikes, decide=[{"fuzzy_dedup": {"verify": "text"}}]))
    details = result.funnel.rules[0].details
    assert details["texts_read"] == 20, "each candidate once"


def test_text_is_compared_as_the_transforms_leave_it(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    text = sentences(1, 100)
    decomposed = document("decomposed", text.replace("a", "a\u0308"))
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", [document("composed", text.replace("a", "\u00e4")), decomposed])
    decide = [{"fuzzy_dedup": {"verify": "text", "threshold": 1.0}}]
    assert execute(make_recipe(tmp_path, decide=decide)).funnel.kept == 2
    assert execute(make_recipe(tmp_path, decide=decide, transform=["normalize_unicode"])).funnel.kept == 1


@pytest.mark.parametrize("verify", ["signature", "text"])
def test_the_bytes_do_not_depend_on_workers(lookalikes: Path, make_recipe: MakeRecipe, verify: str) -> None:
    keys = {"decide": [{"fuzzy_dedup": {"verify": verify}}], "write": {"columns": ["id", "text", *GIVEN]}}
    one = execute(make_recipe(lookalikes, store="./one", **keys), workers=1)
    three = execute(make_recipe(lookalikes, store="./three", **keys), workers=3)
    assert content(one) == content(three)


def test_documents_without_words_are_copies_of_nothing(lookalikes: Path, make_recipe: MakeRecipe) -> None:
    execute(make_recipe(lookalikes, decide=["fuzzy_dedup"]))
    assert decisions(lookalikes)["empty"]["kept"]


# The planted copies of a corpus of 30,000 documents


class Planted:
    """Runs over the corpus, scored against what was planted in it."""

    def __init__(self, bench: Path, folder: Path) -> None:
        self.bench, self.folder = bench, folder

    def score(self, **options: Any) -> dict[str, list[Any]]:
        """Of each pair its similarity, whether one of it went, and whether both stand for the same document."""
        recipe = {"version": 1, "name": "bench", "store": "./store", "write": {"columns": ["id"]}}
        recipe["sources"] = [{"name": "bench", "path": f"{self.bench}/part-*.parquet"}]
        recipe["decide"] = [{"fuzzy_dedup": options}]
        (self.folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        execute(self.folder / "recipe.yaml")
        store = str(self.folder / "store")
        self.connection = connect(store, RunRecords(store).standing())
        self.connection.execute(f"CREATE TABLE truth AS FROM '{self.bench}/truth.parquet'")
        self.connection.execute(
            """CREATE TABLE fate AS SELECT d.id, NOT kept AS gone, coalesce(s.id, d.id) AS stands_for, value FROM
               decisions k JOIN documents d USING (address) LEFT JOIN documents s ON s.address = k.survivor"""
        )
        pairs = self.connection.sql(
            """SELECT jaccard_w AS similarity, a.gone OR b.gone AS caught, a.stands_for = b.stands_for AS same
               FROM truth t JOIN fate a ON a.id = t.id JOIN fate b ON b.id = t.dup_of"""
        )
        return {name: np.array(values) for name, values in pairs.to_arrow_table().to_pydict().items()}

    def unplanted(self) -> int:
        """Documents that went although nothing like them was planted."""
        sql = "SELECT count(*) FROM fate WHERE gone AND id NOT IN (SELECT unnest([id, dup_of]) FROM truth)"
        return int(self.connection.sql(sql).fetchall()[0][0])

    def smallest_value(self) -> float:
        """The smallest similarity of a document that went."""
        return float(self.connection.sql("SELECT min(value) FROM fate WHERE gone").fetchall()[0][0])


@pytest.fixture(scope="module")
def planted(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """One store for all runs: the texts are measured once."""
    return Planted(shared_data / "bench", tmp_path_factory.mktemp("bench"))


def test_planted_copies_verified_by_signatures(planted: Planted) -> None:
    pairs = planted.score()
    assert pairs["caught"][pairs["similarity"] >= 0.85].mean() >= 0.995
    assert pairs["same"][pairs["similarity"] <= 0.65].mean() <= 0.02
    assert planted.unplanted() <= 3


def test_planted_copies_verified_by_texts(planted: Planted) -> None:
    pairs = planted.score(verify="text")
    assert pairs["caught"][pairs["similarity"] >= 0.85].mean() >= 0.995
    assert planted.smallest_value() >= 0.75
    assert planted.unplanted() <= 3


def test_planted_copies_by_bands_alone(planted: Planted) -> None:
    """What 14 bands of 8 rows catch is what 1 - (1 - s^8)^14 says, within three standard deviations."""
    pairs = planted.score(verify="none", bands=14, rows=8)
    similar = pairs["similarity"] >= 0.8
    missed = (1 - pairs["similarity"][similar] ** 8) ** 14
    deviation = np.sqrt((missed * (1 - missed)).sum()) / similar.sum()
    assert pairs["caught"][similar].mean() >= 1 - missed.mean() - 3 * deviation
    assert planted.unplanted() <= 3

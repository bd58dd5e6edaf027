"""fuzzy_dedup with an index, night after night: what is left out, what goes for what, what people do with the index."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import datasketch
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.index import generations
from gristmill.pipelines.index.export import sign
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.report.plan import to_json as plan_to_json
from gristmill.pipelines.report.query import query
from gristmill.pipelines.stages import commit as committing
from gristmill.pipelines.stages.context import RunResult
from gristmill.pipelines.store.fuzzy_index import Index
from gristmill.pipelines.store.run_records import RunRecords
from tests.pipelines.engine.work import Fault
from tests.pipelines.stages.test_run import content, dataset, execute, rows
from tests.pipelines.test_cli import gristmill
from tests.pipelines.test_fuzzy_dedup import GIVEN, changed, document, jaccard, near_copy
from tests.support import sentences, write_jsonl

MakeRecipe = Callable[..., Path]
DECIDE = [{"fuzzy_dedup": {"index": {"name": "web"}}}]


def texts(first: int, n: int) -> list[str]:
    return [sentences(i, 200) for i in range(first, first + n)]


def add_night(folder: Path, night: int) -> None:
    """Two shards of 10 new documents, and near copies of the first three documents of the night before."""
    before = [document(f"near-{night - 1}-{i}", near_copy(text)) for i, text in enumerate(texts(20 * (night - 1), 3))]
    new = [document(f"doc-{night}-{i}", text) for i, text in enumerate(texts(20 * night, 20))]
    write_jsonl(folder / "data" / f"docs-{night}-0.jsonl", new[:10])
    write_jsonl(folder / "data" / f"docs-{night}-1.jsonl.gz", new[10:] + (before if night else []))


@pytest.fixture
def nights(tmp_path: Path, make_recipe: MakeRecipe) -> Path:
    """The recipe, the first night's shards beside it."""
    add_night(tmp_path, 0)
    return make_recipe(tmp_path, decide=DECIDE, write={"columns": ["id", "text", *GIVEN]})


def index_of(recipe: Path) -> Index:
    return Index(str(recipe.parent / "store"), "web")


def index_files(store: Path) -> dict[str, bytes]:
    """The files of all generations, by name."""
    folder = store / "index" / "web" / "generations"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def fates(recipe: Path) -> dict[str, dict[str, Any]]:
    """The last run's decisions and clusters, by id."""
    sql = f"SELECT id, address, kept, value, {', '.join(GIVEN)} FROM documents JOIN decisions USING (address)"
    return {row["id"]: row for row in query(str(recipe.parent / "store"), sql).to_pylist()}


def test_a_later_night_goes_for_what_earlier_nights_kept(nights: Path) -> None:
    first = execute(nights)
    assert (first.funnel.kept, first.indexed) == (20, 0)
    addresses = {id: row["address"] for id, row in fates(nights).items()}
    add_night(nights.parent, 1)
    second = execute(nights)
    assert (second.shards, second.indexed, second.measured_now, second.funnel.documents) == (2, 2, 2, 23)
    found = fates(nights)
    assert {id for id, row in found.items() if not row["kept"]} == {f"near-0-{i}" for i in range(3)}
    for i in range(3):
        row = found[f"near-0-{i}"]
        assert row["fuzzy_dedup_survivor"] == row["fuzzy_dedup_cluster"] == addresses[f"doc-0-{i}"]
        assert (row["fuzzy_dedup_size"], row["fuzzy_dedup_similarity"]) == (2, pytest.approx(row["value"]))
    assert [id for (id,) in rows(second, "id")] == [f"doc-1-{i}" for i in range(20)]
    manifest = json.loads((Path(second.dataset) / "manifest.json").read_text())
    assert manifest["parent"] == Path(first.dataset).name


def test_a_cluster_keeps_its_id_and_a_chain_to_an_old_survivor_begins_one(
    tmp_path: Path, make_recipe: MakeRecipe
) -> None:
    """A is kept. Then B is like A; C is like B and not like A; D is like C and not like A or B."""
    a = sentences(1, 200)
    b = changed(a, [20, 60, 100])
    c = changed(b, [5, 30, 140, 180])
    d = changed(c, [45, 80, 120])
    recipe = make_recipe(tmp_path, decide=DECIDE)
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", [document("a", a)])
    execute(recipe)
    address = fates(recipe)["a"]["address"]
    write_jsonl(tmp_path / "data" / "docs-1.jsonl", [document("b", b), document("c", c), document("d", d)])
    execute(recipe)
    found = fates(recipe)
    assert [found[id]["kept"] for id in "bcd"] == [False, True, False]
    assert [found[id]["fuzzy_dedup_cluster"] for id in "bcd"] == [address, *[found["c"]["address"]] * 2]
    assert [found[id]["fuzzy_dedup_survivor"] for id in "bcd"] == [address, *[found["c"]["address"]] * 2]
    assert {found[id]["fuzzy_dedup_size"] for id in "bcd"} == {4}
    write_jsonl(tmp_path / "data" / "docs-2.jsonl", [document("e", c + " once more")])
    execute(recipe)
    assert fates(recipe)["e"]["fuzzy_dedup_cluster"] == found["c"]["address"]


def test_only_what_all_rules_kept_is_remembered(nights: Path) -> None:
    later = [*DECIDE, {"drop": "id = 'doc-0-1'"}]
    settings = yaml.safe_load(nights.read_text())
    nights.write_text(yaml.safe_dump({**settings, "decide": later}))
    execute(nights)
    held = [pq.read_table(shard.url).to_pylist() for _, shard in sorted(index_of(nights).held.items())]
    assert [row["id"] for shard in held for row in shard] == [f"doc-0-{i}" for i in range(20) if i != 1]
    add_night(nights.parent, 1)
    execute(nights)
    assert {id for id, row in fates(nights).items() if not row["kept"]} == {"doc-0-1", "near-0-0", "near-0-2"}


def test_nothing_new_points_at_the_last_dataset(nights: Path) -> None:
    first = execute(nights)
    before, held = content(first), index_files(nights.parent / "store")
    again = execute(nights)
    assert (again.cached, again.measured_now, again.indexed, again.dataset) == (True, 0, 2, first.dataset)
    assert (content(again), index_files(nights.parent / "store")) == (before, held)
    shown = gristmill("run", nights)
    assert "web holds 2 shards, whose documents earlier runs decided: nothing is new" in shown.stderr
    quiet = gristmill("run", nights, "-q")
    assert "nothing new: the index holds all 2 shards; what follows is of the last run" in quiet.stdout
    assert quiet.stderr == ""
    planned = gristmill("plan", nights)
    line = "index web holds 2 shards, whose documents earlier runs decided: nothing is new"
    assert line in " ".join(planned.stdout.split())
    add_night(nights.parent, 1)
    plan = plan_to_json(plan_run(load_recipe(str(nights))))
    assert plan["index"] == {"name": "web", "shards": 2}
    assert [plan["sources"][0][what] for what in ("shards", "new", "indexed")] == [4, 2, 2]
    assert plan["shards"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.8}, r"threshold 0.8, not 0.75"),
        ({"ngram": 7}, r"ngram 7, not 5"),
        ({"seed": 2}, r"seed 2, not 1"),
        ({"verify": "none"}, r"verify none, not signature"),
        ({"bands": 14, "rows": 8}, r"bands 14, not 18, rows 8, not 6\."),
    ],
)
def test_other_parameters_are_refused(nights: Path, options: dict[str, Any], message: str) -> None:
    execute(nights)
    before = index_files(nights.parent / "store")
    add_night(nights.parent, 1)
    sets = [f"decide.fuzzy_dedup.{name}={value}" for name, value in options.items()]
    with pytest.raises(RecipeError, match=message) as error:
        execute(nights, *sets)
    assert "recipe.yaml:" in str(error.value) or "--set" in str(error.value)
    assert "or give the rule another index" in str(error.value)
    assert index_files(nights.parent / "store") == before


def test_other_transforms_are_refused(nights: Path) -> None:
    execute(nights)
    with pytest.raises(RecipeError, match=r"transform normalize_unicode [0-9a-f]+, not none"):
        execute(nights, "transform=[normalize_unicode]")


@pytest.mark.parametrize(
    ("decide", "message"),
    [
        ([{"fuzzy_dedup": {"index": {"name": "web"}, "verify": "text"}}], "verify: text with an index"),
        ([*DECIDE, {"fuzzy_dedup": {"index": {"name": "other"}}}], r"2 rules have an index \(web and other\)"),
        ([{"fuzzy_dedup": {"index": {"name": "a/b"}}}], "recipe.yaml:"),
    ],
)
def test_recipes_that_cannot_work(nights: Path, decide: list[Any], message: str) -> None:
    settings = yaml.safe_load(nights.read_text())
    nights.write_text(yaml.safe_dump({**settings, "decide": decide}))
    with pytest.raises(RecipeError, match=message):
        plan_run(load_recipe(str(nights)))


# Killed between two commits


class Killed(BaseException):
    """Stands for the end of the process."""


def kill(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.fixture
def two_nights(nights: Path) -> Path:
    execute(nights)
    add_night(nights.parent, 1)
    return nights


@pytest.mark.parametrize(
    ("where", "what"),
    [(committing, "remember"), (committing.runs, "write_shards"), (generations.Addition, "commit")],
    ids=["before the generation", "before the run's shards", "before the index"],
)
def test_killed_after_the_dataset_is_committed(
    two_nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, what: str
) -> None:
    twin = "store=./twin"
    execute(two_nights, twin, "sources.docs.path=data/docs-0-*")
    quiet = content(execute(two_nights, twin))
    undisturbed = index_files(tmp_path / "twin")
    with monkeypatch.context() as patch:
        patch.setattr(where, what, kill)
        with pytest.raises(Killed):
            execute(two_nights)
    assert len(index_of(two_nights).generations) == 1
    result = execute(two_nights)
    assert content(result) == quiet
    assert (result.funnel.documents, result.funnel.kept) == (23, 20)
    assert len(index_of(two_nights).generations) == 2
    assert index_files(tmp_path / "store") == undisturbed
    assert execute(two_nights).cached


def test_killed_before_the_generation_is_marked_as_committed(two_nights: Path, tmp_path: Path) -> None:
    """index.json names it: the next run marks it, so that a lost index.json is not taken for an index without it."""
    execute(two_nights)
    undisturbed = index_files(tmp_path / "store")
    marks = sorted((tmp_path / "store" / "index").rglob("committed.json"))
    assert len(marks) == 2
    marks[-1].unlink()
    assert execute(two_nights).cached
    assert index_files(tmp_path / "store") == undisturbed
    for mark in marks:  # as earlier versions of gristmill left it
        mark.unlink()
    execute(two_nights)
    assert index_files(tmp_path / "store") == undisturbed


def test_killed_before_the_index_and_run_again_with_another_night(
    two_nights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the killed run decided is not decided again."""
    with monkeypatch.context() as patch:
        patch.setattr(generations.Addition, "commit", kill)
        with pytest.raises(Killed):
            execute(two_nights)
    add_night(two_nights.parent, 2)
    result = execute(two_nights)
    assert (result.indexed, result.shards) == (4, 2)
    assert [id for (id,) in rows(result, "id")] == [f"doc-2-{i}" for i in range(20)]


@pytest.mark.parametrize("first", [False, True])
def test_killed_before_its_record_and_run_again_with_another_night(
    nights: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """Nothing that the killed run wrote is in the dataset twice, whichever recipe runs next."""
    if not first:
        execute(nights)
    add_night(nights.parent, 1)
    with monkeypatch.context() as patch:
        patch.setattr(committing, "remember", kill)
        with pytest.raises(Killed):
            execute(nights)
    execute(nights, "name=other", "decide=[]", "write.columns=[id]", "sources.docs.path=data/docs-0-*")
    add_night(nights.parent, 2)
    result = execute(nights)
    versions = sorted((nights.parent / "store" / "datasets" / "test").glob("0*"))
    assert len(versions) == (1 if first else 2)
    files_of = [path for version in versions for path in sorted(version.glob("*.parquet"))]
    ids = [id for path in files_of for id in pq.read_table(path, columns=["id"])["id"].to_pylist()]
    assert len(ids) == len(set(ids)) == 60
    assert (versions[0].parent / "CURRENT").read_text().strip() == result.dataset.rsplit("/", 1)[-1]


def test_a_version_whose_run_was_removed_by_hand_stays(nights: Path) -> None:
    before = content(execute(nights))
    shutil.rmtree(nights.parent / "store" / "runs")
    add_night(nights.parent, 1)
    execute(nights)
    versions = sorted((nights.parent / "store" / "datasets" / "test").glob("0*"))
    assert len(versions) == 2
    assert all((versions[0] / name).read_bytes() == held for name, held in before.items())


# Upkeep


@pytest.fixture
def three_nights(two_nights: Path) -> Path:
    """Two nights in the index, the third beside them."""
    execute(two_nights)
    add_night(two_nights.parent, 2)
    return two_nights


def test_compaction_changes_no_answer(three_nights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.pipelines.stages.commit.key_files_for", lambda bands, documents: 3)
    monkeypatch.setattr("gristmill.pipelines.index.upkeep.key_files_for", lambda bands, documents: 5)
    twin = "store=./twin"
    for path in ("data/docs-0-*", "data/docs-[01]-*", "data/docs-*"):
        expected = content(execute(three_nights, twin, f"sources.docs.path={path}"))
    gristmill("index", "compact", "web", "--store", three_nights.parent / "store")
    (generation,) = index_of(three_nights).generations
    assert (generation.shards, generation.documents, generation.key_files) == (4, 40, 5)
    assert {name.split("/")[0] for name in index_files(three_nights.parent / "store")} == {generation.name}
    assert content(execute(three_nights)) == expected
    assert [g.number for g in index_of(three_nights).generations] == [3, 4]


def test_a_removed_generation_is_matched_no_more_and_its_shards_are_decided_again(three_nights: Path) -> None:
    first, second = index_of(three_nights).generations
    store = three_nights.parent / "store"
    shown = gristmill("index", "remove", "web", "--generation", "000009-x", "--store", store, code=2)
    assert "the index web has no generation 000009-x" in shown.stderr
    gristmill("index", "remove", "web", "--generation", second.name, "--store", store)
    assert index_of(three_nights).generations == (first,)
    result = execute(three_nights)
    assert (result.indexed, result.shards, result.measured_now) == (2, 4, 2)
    assert [id for (id,) in rows(result, "id")] == [f"doc-{night}-{i}" for night in (1, 2) for i in range(20)]
    assert [g.number for g in index_of(three_nights).generations] == [1, 3]


def test_a_removed_generation_of_the_same_run_again_comes_back(two_nights: Path) -> None:
    result = execute(two_nights)
    _, second = index_of(two_nights).generations
    gristmill("index", "remove", "web", "--generation", second.name, "--store", two_nights.parent / "store")
    again = execute(two_nights)
    assert (again.cached, again.dataset) == (True, result.dataset)
    assert [g.number for g in index_of(two_nights).generations] == [1, 3]
    assert len(index_of(two_nights).held) == 4


def test_a_removed_source_is_matched_no_more(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    sources = [{"name": f"night-{i}", "path": f"data/docs-{i}-*"} for i in range(2)]
    for night in range(2):
        add_night(tmp_path, night)
    recipe = make_recipe(tmp_path, sources=sources, decide=DECIDE)
    execute(recipe)
    store = tmp_path / "store"
    shown = gristmill("index", "remove", "web", "--source", "night-7", "--store", store, code=2)
    assert "the index web holds no shard of a source night-7; did you mean night-" in shown.stderr
    gristmill("index", "remove", "web", "--source", "night-0", "--store", store)
    (info,) = json.loads(gristmill("index", "info", "--store", store, "--json").stdout)
    assert [(g["sources"], g["documents"], g["shards"]) for g in info["generations"]] == [({"night-1": 2}, 20, 2)]
    add_night(tmp_path, 2)
    write_jsonl(tmp_path / "data" / "docs-2-9.jsonl", [document("back", near_copy(texts(0, 1)[0]))])
    write_jsonl(tmp_path / "data" / "docs-2-8.jsonl", [document("gone", near_copy(texts(20, 6)[5]))])
    tonight = make_recipe(tmp_path, sources=[{"name": "night-2", "path": "data/docs-2-*"}], decide=DECIDE)
    execute(tonight)
    found = fates(tonight)
    assert (found["back"]["kept"], found["gone"]["kept"]) == (True, False)


def test_info_shows_parameters_and_generations(two_nights: Path) -> None:
    execute(two_nights)
    store = two_nights.parent / "store"
    (info,) = json.loads(gristmill("index", "info", "web", "--store", store, "--json").stdout)
    assert info["parameters"]["threshold"] == 0.75
    assert [(g["sources"], g["documents"]) for g in info["generations"]] == [({"docs": 2}, 20), ({"docs": 2}, 20)]
    assert info["generations"][1]["made_by"] == RunRecords(str(store)).newest().name
    assert all(g["bytes"] > 20 * 224 for g in info["generations"])
    shown = gristmill("index", "info", "--store", store).stdout
    assert "index web: 40 documents" in shown
    assert "threshold 0.75" in shown
    assert "has no index wob; did you mean web?" in gristmill("index", "info", "wob", "--store", store, code=2).stderr
    assert "has no index" in gristmill("index", "info", "--store", two_nights.parent / "none", code=2).stderr


def test_import_takes_the_parameters_of_the_recipe(nights: Path, tmp_path: Path) -> None:
    own = [{"key": f"own-{i}", "body": text} for i, text in enumerate(texts(0, 5))]
    write_jsonl(tmp_path / "own" / "part-0.jsonl", own)
    write_jsonl(tmp_path / "own" / "part-1.jsonl", [{"key": "empty", "body": "..."}])
    arguments = ["--source", "ours", "--text", "body", "--id", "key"]
    gristmill("index", "import", nights, tmp_path / "own" / "*", *arguments)
    (generation,) = index_of(nights).generations
    assert (generation.made_by, generation.documents, generation.shards) == ("import", 6, 2)
    result = execute(nights)
    assert (result.shards, result.indexed, result.funnel.kept) == (2, 0, 15)
    again = gristmill("index", "import", nights, tmp_path / "own" / "*", *arguments, code=2)
    assert "the index web holds all 2 shards of" in again.stderr
    assert "own-0" in gristmill("explain", "doc-0-0", "--store", tmp_path / "store").stdout
    refused = gristmill(
        "index", "import", nights, tmp_path / "own" / "*", "--set", "decide.fuzzy_dedup.ngram=6", code=2
    )
    assert "ngram 6, not 5" in refused.stderr
    without = gristmill("index", "import", nights, tmp_path / "own" / "*", "--set", "decide=[fuzzy_dedup]", code=2)
    assert "no rule of the recipe has an index" in without.stderr


def test_import_refuses_what_is_mostly_rejected(nights: Path, tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "a text"}, *({"id": f"b{i}", "body": "no text"} for i in range(5))]
    write_jsonl(tmp_path / "own" / "part-0.jsonl", rows)
    gristmill("index", "import", nights, tmp_path / "own" / "*", code=1)
    assert not index_of(nights).exists


# Reports


def test_documents_of_earlier_runs_are_explained_and_compared(two_nights: Path) -> None:
    execute(two_nights)
    store = two_nights.parent / "store"
    told = gristmill("explain", "near-0-1", "--store", store).stdout
    assert "near-duplicate of doc-0-1 (similarity 0." in told
    assert "kept in its place: doc-0-1 (similarity 0." in told
    assert re.search(r"test.*: kept", gristmill("explain", "doc-0-1", "--store", store).stdout)
    shown = gristmill("clusters", "--store", store).stdout
    compared = r"near-0-2 dropped as a near-duplicate of doc-0-2 \(similarity 0\.\d+\)\n +\S"
    assert re.search(compared, shown), "with how they differ"
    found = fates(two_nights)
    assert {id for id in found if id.startswith("doc-0")} == {f"doc-0-{i}" for i in range(20)}, "of both nights"


def test_a_survivor_that_was_imported_is_named(nights: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "own" / "part-0.jsonl", [{"id": "own-2", "text": sentences(2, 200)}])
    gristmill("index", "import", nights, tmp_path / "own" / "*")
    execute(nights)
    store = tmp_path / "store"
    assert (
        "kept in its place, by what the index holds: own-2 ("
        in gristmill("explain", "doc-0-2", "--store", store).stdout
    )
    assert "doc-0-2 dropped as a near-duplicate of own-2" in gristmill("clusters", "--store", store).stdout
    index = index_of(nights)
    gristmill("index", "remove", "web", "--generation", index.generations[0].name, "--store", store)
    address = fates(nights)["doc-0-2"]["fuzzy_dedup_survivor"]
    assert f"duplicate of document {address}" in gristmill("explain", "doc-0-2", "--store", store).stdout


def test_examples_of_a_night_are_shown(two_nights: Path) -> None:
    execute(two_nights)
    shown = json.loads(gristmill("run", two_nights, "--examples", "3", "--json").stdout)["examples"]
    assert {(example["id"], example["survivor_id"]) for example in shown} == {
        (f"near-0-{i}", f"doc-0-{i}") for i in range(3)
    }
    assert json.loads(gristmill("run", two_nights, "--examples", "3", "--json").stdout)["examples"] == shown


# datasketch


def test_export_gives_objects_that_datasketch_looks_up(two_nights: Path, tmp_path: Path) -> None:
    execute(two_nights)
    out = tmp_path / "web.parquet"
    shown = gristmill("index", "export", "web", "--datasketch", out, "--store", tmp_path / "store").stdout
    assert "40 documents in " in shown
    table = pq.read_table(out)
    assert table.column_names == ["id", "address", "minhash"]
    objects = {row["id"]: datasketch.LeanMinHash.deserialize(row["minhash"]) for row in table.to_pylist()}
    assert sorted(objects) == sorted(f"doc-{night}-{i}" for night in range(2) for i in range(20))
    held = index_of(two_nights).held
    stored = {row["id"]: row for shard in held.values() for row in pq.read_table(shard.url).to_pylist()}
    for id, minhash in objects.items():
        assert minhash.hashvalues.tolist() == np.frombuffer(stored[id]["signature"], "<u2").tolist()
    with pytest.raises(ValueError, match=r"seed|scheme"):
        objects["doc-0-0"].jaccard(datasketch.MinHash(num_perm=112))
    text = texts(0, 1)[0]
    same, near, none = sign(str(tmp_path / "store"), "web", [text, near_copy(text), "..."])
    assert none is None
    assert same == objects["doc-0-0"]
    assert near.jaccard(same) == pytest.approx(jaccard(text, near_copy(text)), abs=0.1)


# The planted copies of a corpus of 30,000 documents, in three nights


class Bench:
    """Nights over the corpus, in a store of their own."""

    def __init__(self, bench: Path, folder: Path, faults: Mapping[str, Fault] = MappingProxyType({})) -> None:
        self.bench, self.folder, self.faults = bench, folder, faults

    def run(self, parts: range, store: str = "nights", index: bool = True) -> RunResult:
        paths = [f"{self.bench}/part-{i:05d}-of-00008.parquet" for i in parts]
        options = {"index": {"name": "web"}} if index else {}
        recipe = {"version": 1, "name": "bench", "store": f"./{store}", "write": {"columns": ["id"]}}
        recipe |= {"sources": [{"name": "bench", "path": paths}], "decide": [{"fuzzy_dedup": options}]}
        (self.folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        return execute(self.folder / "recipe.yaml", faults=self.faults)

    def caught(self, kept: set[str]) -> float:
        """The share of the planted pairs of 0.85 and more of which one went."""
        truth = pq.read_table(self.bench / "truth.parquet", filters=[("jaccard_w", ">=", 0.85)]).to_pylist()
        return float(np.mean([not {row["id"], row["dup_of"]} <= kept for row in truth]))


def test_three_nights_leave_no_planted_pair(shared_data: Path, tmp_path: Path) -> None:
    read: list[str] = []

    def noting(measure: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda task: (read.append(task.shard.spec.name.rsplit("/", 1)[-1]), measure(task))[1]

    bench = Bench(shared_data / "bench", tmp_path, {"measure_shard": noting})
    versions = []
    for end, new in ((3, range(3)), (6, range(3, 6)), (8, range(6, 8))):
        read.clear()
        result = bench.run(range(end))
        assert sorted(read) == [f"part-{i:05d}-of-00008.parquet" for i in new]
        assert result.measured_now == len(new)
        versions.append(result)
        if end == 3:
            night_1 = content(result)
            held = {path: path.read_bytes() for path in tmp_path.glob("nights/index/web/generations/*/*/*.parquet")}
    assert content(versions[0]) == night_1
    assert {path: path.read_bytes() for path in held} == held
    kept = [id for version in versions for id in dataset(version)["id"].to_pylist()]
    assert len(kept) == len(set(kept))
    assert bench.caught({*kept}) >= 0.995
    at_once = {*dataset(bench.run(range(8), "once", index=False))["id"].to_pylist()}
    assert len({*kept} ^ at_once) <= 0.005 * len(at_once)

"""The version that commands speak of: the one that readers take, whatever the newest run came to, or the one asked for.

The oracle is the version itself: what its files hold is what the decisions that are told of it keep.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.report.clusters import clusters
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.shown import shown_version
from gristmill.pipelines.versions import publishing
from tests.pipelines.stages.test_run import execute
from tests.pipelines.test_fuzzy_dedup import document
from tests.pipelines.versions.stores import add_night, nights, plain_versions, store_of, write_recipe
from tests.support import make_documents, sentences, write_jsonl

KEPT = "SELECT id FROM decisions WHERE kept"


def ids_in(store: str, version: str | None = None) -> set[str]:
    """Ids in the files of a version, by default of the one that readers take."""
    rows = api.open_dataset(f"{store}/datasets/web", version).arrow().to_table(columns=["id"])
    return {*rows["id"].to_pylist()}


def kept(store: str, version: str | None = None) -> set[str]:
    """Ids that the decisions which `query` shows keep; those of documents whose fate `explain` tells are the same."""
    asked = {} if version is None else {"web": version}
    ids = {*api.query(store, KEPT, versions=asked)["id"].to_pylist()}
    assert {*api.query(store, "SELECT id FROM web", versions=asked)["id"].to_pylist()} == ids
    for row in api.query(store, "SELECT id FROM documents ORDER BY hash(id) LIMIT 3", versions=asked).to_pylist():
        (found,) = api.explain(store, row["id"], versions=asked)
        (fate,) = found["fates"]
        assert (fate["kept"], fate["version"]) == (row["id"] in ids, Dataset(store, "web").find(version).name)
    return ids


def told(store: str) -> str:
    """What is said of the version that is spoken of."""
    lines: list[str] = []
    api.query(store, KEPT, tell=lines.append)
    (line,) = lines
    return line


def test_after_a_rollback_commands_speak_of_what_readers_have(tmp_path: Path) -> None:
    store = store_of(plain_versions(tmp_path))
    assert kept(store) == ids_in(store)
    assert told(store) == f"web {Dataset(store, 'web').current}, which readers take"
    moved = publishing.roll_back(store, "web")
    assert kept(store) == ids_in(store) > ids_in(store, "3")
    assert kept(store, "3") == ids_in(store, "3")
    assert kept(store, "1") == ids_in(store, "1") < ids_in(store)
    assert told(store).startswith(
        f"web {moved.version}, which readers take; the newest run came to {moved.before} (held "
    )
    publishing.roll_back(store, "web", "1")
    assert kept(store) == ids_in(store, "1")
    publishing.publish(store, "web", "3")
    assert kept(store) == ids_in(store, "3")


def test_after_a_run_that_comes_to_an_older_result(tmp_path: Path) -> None:
    recipe = plain_versions(tmp_path)
    store = store_of(recipe)
    assert execute(recipe).cached
    assert Dataset(store, "web").find().name.startswith("000002-")
    assert kept(store) == ids_in(store) == ids_in(store, "2") > ids_in(store, "3")
    dropped = api.query(store, "SELECT condition, count(*) AS n FROM decisions WHERE NOT kept GROUP BY 1").to_pylist()
    assert any(row["condition"] == "gopher_words < 40" for row in dropped)
    assert not any(row["condition"] == "gopher_words < 60" for row in dropped)


def test_examples_of_a_run_are_its_own(tmp_path: Path) -> None:
    recipe = plain_versions(tmp_path)
    for changes in ([], ["--set", "decide.drop.when=gopher_words < 60"]):  # each an older result than the newest run's
        line = ["run", str(recipe), "--examples", "50", "--json", "--quiet", *changes]
        done = CliRunner().invoke(app, line)
        found = json.loads(done.stdout)
        limit = 60 if changes else 40
        assert {e["limit"] for e in found["examples"] if e["rule"] == "drop"} == {limit}
        assert len(found["examples"]) == found["funnel"]["documents"] - found["funnel"]["kept"]


def test_nights_that_were_gone_back_from_are_not_spoken_of(tmp_path: Path) -> None:
    recipe = nights(tmp_path)
    store = store_of(recipe)
    assert kept(store) == ids_in(store)
    publishing.roll_back(store, "web")
    assert kept(store) == ids_in(store) < ids_in(store, "3") == kept(store, "3")
    with pytest.raises(RecipeError, match=r"no document .* doc-2000; .*the newest run came to 000003-"):
        api.explain(store, "doc-2000")
    assert api.explain(store, "doc-2000", versions={"web": "3"})[0]["fates"][0]["kept"]
    add_night(recipe, 7)
    execute(recipe)  # lists all nights, the one that was gone back from among them
    assert kept(store) == ids_in(store) > ids_in(store, "3")


def test_a_night_that_a_guard_holds_back_is_spoken_of_where_it_is_asked_for(tmp_path: Path) -> None:
    refresh = {"guards": {"documents": {"max": 1.5}}}
    recipe = write_recipe(tmp_path, [{"fuzzy_dedup": {"index": {"name": "web"}}}], refresh=refresh)

    def night(number: int, documents: int) -> None:
        made = [document(f"{number}-{i}", sentences(1000 * number + i, 60)) for i in range(documents)]
        write_jsonl(tmp_path / "data" / f"{number}.jsonl", made)
        api.refresh(str(recipe), date(2026, 11, number), engine="local", workers=2)

    store = store_of(recipe)
    night(1, 20)
    night(2, 30)
    assert kept(store) == ids_in(store) == {f"1-{i}" for i in range(20)}
    assert told(store).endswith("(held back: guards: documents)")
    assert kept(store, "2") == ids_in(store, "2")


def test_before_the_first_version_is_published_that_of_the_newest_run_is_spoken_of(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "0.jsonl", make_documents(40))
    recipe = write_recipe(tmp_path, ["exact_dedup"], refresh={"guards": {"kept": {"max": 0.1}}})
    store = store_of(recipe)
    api.refresh(str(recipe), date(2026, 11, 1), engine="local", workers=2)
    assert told(store).startswith("web 000001-")
    assert "of the newest run: readers take no version yet (held back: guards: kept)" in told(store)
    assert {*api.query(store, KEPT)["id"].to_pylist()} == ids_in(store, "1")


def test_a_version_without_a_record_of_its_run_is_told(tmp_path: Path) -> None:
    recipe = plain_versions(tmp_path)
    store = store_of(recipe)
    publishing.roll_back(store, "web", "1")
    first = next(run for run in RunRecords(store).finished() if run.record["version"].startswith("000001-"))
    Path(first.url, "run.json").unlink()
    assert f"no record tells what decided {Dataset(store, 'web').current}, which readers take" in told(store)
    with pytest.raises(RecipeError, match="no record of a run that made 000001-"):
        shown_version(RunRecords(store), "web", "1")


def test_clusters_are_those_of_the_version(tmp_path: Path) -> None:
    text = sentences(1, 200)
    copies = [document(f"copy-{i}", f"{text} {i}") for i in range(3)]
    write_jsonl(tmp_path / "data" / "0.jsonl", [*copies, document("other", sentences(2, 200))])
    recipe = write_recipe(tmp_path, [{"fuzzy_dedup": {"threshold": 0.8}}])
    execute(recipe)
    execute(recipe, 'decide=["exact_dedup"]')
    store, lines = store_of(recipe), list[str]()
    with pytest.raises(RecipeError, match=r"web 000002-.* was decided without fuzzy_dedup"):
        clusters(store, "web")
    assert [found["size"] for found in clusters(store, "web", version="1")] == [3]
    publishing.roll_back(store, "web")
    assert [found["size"] for found in clusters(store, "web", tell=lines.append)] == [3]
    assert lines[0].startswith("web 000001-")


def test_the_line_is_first_and_beside_no_json(tmp_path: Path) -> None:
    store = store_of(plain_versions(tmp_path))
    publishing.tag(store, "web", "good", "2")
    name = Dataset(store, "web").find("good").name
    id = next(iter(ids_in(store, "1")))
    for line in (["query", KEPT], ["query", "SELECT count(*) FROM web"], ["explain", id]):
        for version in ("good", "web=good", "web=2"):
            done = CliRunner().invoke(app, [*line, "--version", version, "--store", store])
            assert done.output.startswith(f"web {name}, asked for; readers take 000003-"), done.output
        quiet = CliRunner().invoke(app, [*line, "--store", store, "--json"])
        assert (quiet.exit_code, quiet.stderr) == (0, "")
    plain = CliRunner().invoke(app, ["query", "SELECT 1", "--store", store])
    assert plain.stderr == ""
    for wrong in ("web=", "wep=2", "9", "web=9"):
        assert CliRunner().invoke(app, ["query", KEPT, "--version", wrong, "--store", store]).exit_code == 2


def test_of_several_datasets_a_version_says_of_which(tmp_path: Path) -> None:
    recipe = plain_versions(tmp_path)
    recipe.write_text(recipe.read_text().replace("name: web", "name: other", 1))
    execute(recipe)
    store = store_of(recipe)
    assert told(store).startswith("other 000001-")
    assert ", web 000003-" in told(store)
    with pytest.raises(RecipeError, match="say of which dataset, as DATASET=2; there is other, web"):
        api.query(store, KEPT, versions={"": "2"})
    of_web = "SELECT id FROM decisions WHERE kept AND dataset = 'web'"
    assert {*api.query(store, of_web, versions={"web": "1"})["id"].to_pylist()} == ids_in(store, "1")

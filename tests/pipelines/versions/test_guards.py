"""Each guard of a refresh lets a usual night pass, and stops the one that it is there for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gristmill import api
from gristmill.operators.errors import FatalError, RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.versions import publishing
from gristmill.pipelines.versions.refresh import NightResult
from tests.pipelines.label.tasks import task_file
from tests.pipelines.test_fuzzy_dedup import document
from tests.pipelines.versions.stores import store_of, write_recipe
from tests.support import sentences, write_jsonl

INDEX = [{"drop": "gopher_words < 10"}, {"fuzzy_dedup": {"index": {"name": "web"}}}]


def add(recipe: Path, night: int, n: int = 40, words: int = 60, source: str = "a", short: int = 0) -> None:
    """Write the file of a night: so many documents, and so many that a rule drops."""
    made = [document(f"{source}{night}-{i}", sentences(10_000 * night + i, words)) for i in range(n)]
    made += [document(f"short{night}-{i}", f"short {night} {i}") for i in range(short)]
    write_jsonl(recipe.parent / "data" / source / f"{night:02d}.jsonl", made)


def write(folder: Path, guards: Mapping[str, Any], decide: list[Any] = INDEX, **keys: Any) -> Path:
    sources = [{"name": name, "path": f"data/{name}/*.jsonl"} for name in keys.pop("names", ("a",))]
    refresh = {"vanished": "withdraw" if decide is INDEX else None, "guards": dict(guards), **keys.pop("refresh", {})}
    return write_recipe(folder, decide, sources=sources, refresh=refresh, **keys)


def night(recipe: Path, number: int) -> NightResult:
    return api.refresh(str(recipe), date(2026, 11, number), engine="local", workers=2)


def tripped(done: NightResult) -> list[str]:
    """The guards that a version is held back for."""
    assert (done.held is None) == done.published
    failing = sorted({guard.guard for guard in done.guards if not guard.passes})
    assert done.held == (f"guards: {', '.join(failing)}" if failing else None)
    return failing


#: Guards that pass on usual nights, and the third night that each is to stop.
CASES: dict[str, tuple[dict[str, Any], Callable[[Path], None], list[str]]] = {
    "kept": ({"kept": {"min": 0.5, "max": 1}}, lambda r: add(r, 3, 40, short=60), ["kept"]),
    "tokens": ({"tokens": {"max": 2.5}, "new_tokens": {"max": 2}}, lambda r: add(r, 3, 200), ["new_tokens", "tokens"]),
    "documents": ({"documents": {"max": 2.1}}, lambda r: add(r, 3, 100), ["documents"]),
    "few": ({"new_tokens": {"min": 0.5}}, lambda r: add(r, 3, 10), ["new_tokens"]),
    "psi": ({"drift": {"psi": 0.25, "measures": ["gopher_words"]}}, lambda r: add(r, 3, 40, words=90), ["drift.psi"]),
    "ks": ({"drift": {"ks": 0.2}}, lambda r: add(r, 3, 40, words=90), ["drift.ks"]),
    "stay": ({"canaries": {"stay": ["a1-0"]}}, lambda r: (r.parent / "data/a/01.jsonl").unlink(), ["canaries.stay"]),
    "go": ({"canaries": {"go": ["a3-7", "short1-0"]}}, lambda r: add(r, 3), ["canaries.go"]),
    "source": ({"source_loss": 0.3}, lambda r: (r.parent / "data/a/01.jsonl").unlink(), ["source_loss"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_guard_stops_the_night_that_it_is_there_for(case: str, tmp_path: Path) -> None:
    guards, bad_night, expected = CASES[case]
    recipe = write(tmp_path, guards)
    for number in (1, 2):
        add(recipe, number, short=4)
        assert tripped(night(recipe, number)) == []
    bad_night(recipe)
    done = night(recipe, 3)
    assert tripped(done) == expected
    store = store_of(recipe)
    assert Dataset(store, "web").current == done.before != done.version
    assert tripped(night(recipe, 3)) == expected  # again, as long as nothing changes
    publishing.publish(store, "web", done.version)
    again = night(recipe, 3)
    assert (again.published, again.changed, again.guards) == (True, False, [])


def test_records_in_quarantine_are_counted(tmp_path: Path) -> None:
    recipe = write(tmp_path, {"rejects": 0.05}, limits={"rejects": 1.0})
    add(recipe, 1)
    assert tripped(night(recipe, 1)) == []
    add(recipe, 2)
    with open(tmp_path / "data" / "a" / "02.jsonl", "a") as file:
        file.write('{"id": 1}\n' * 10)
    assert tripped(night(recipe, 2)) == ["rejects"]


def test_a_night_that_was_stopped_stops_the_next_until_it_is_taken_out(tmp_path: Path) -> None:
    recipe = write(tmp_path, {"kept": {"min": 0.5}})
    add(recipe, 1)
    night(recipe, 1)
    add(recipe, 2, short=200)
    stopped = night(recipe, 2)
    assert tripped(stopped) == ["kept"]
    add(recipe, 3)
    held = night(recipe, 3)
    assert tripped(held) == ["kept"]
    assert [guard.passes for guard in held.guards] == [True, False]
    assert "of 2026-11-02" in held.guards[1].told
    (tmp_path / "data" / "a" / "02.jsonl").unlink()
    done = night(recipe, 3)
    assert (tripped(done), done.documents) == ([], (40, 80))
    ((source, *counts),) = [(of.name, of.documents, of.tokens) for of in done.sources]
    assert (source, *counts) == ("a", done.documents, done.tokens)
    assert [(of.name, of.documents) for of in done.rules] == [("drop", (0, 0)), ("fuzzy_dedup", (0, 0))]
    assert held.rules[0].documents == (0, 200)
    assert held.rules[0].tokens[1] > 200


def test_without_an_index_a_version_stands_for_itself(tmp_path: Path) -> None:
    recipe = write(
        tmp_path, {"kept": {"min": 0.5}, "source_loss": 0.2}, [{"drop": "gopher_words < 10"}], names=("a", "b")
    )
    add(recipe, 1)
    add(recipe, 1, source="b")
    assert tripped(night(recipe, 1)) == []
    add(recipe, 2, short=200)
    assert tripped(night(recipe, 2)) == ["kept"]
    (tmp_path / "data" / "a" / "02.jsonl").unlink()
    assert tripped(night(recipe, 2)) == []
    add(recipe, 1, n=20, source="b")
    stopped = night(recipe, 3)
    assert tripped(stopped) == ["source_loss"]
    assert "by source b (40 to 20)" in stopped.guards[-1].told


def test_what_is_chance_in_so_few_documents_stops_nothing(tmp_path: Path) -> None:
    recipe = write(tmp_path, {"drift": {"psi": 0.01, "ks": 0.01}})
    for number in (1, 2, 3):
        add(recipe, number, n=12)
        done = night(recipe, number)
        assert tripped(done) == []
    assert all("which is chance" in guard.told for guard in done.guards)


def test_the_mix_of_labels_is_looked_at(tmp_path: Path) -> None:
    words = {"name": "words", "engine": "keywords", "words": {"physics": ["atoms"], "biology": ["cells"]}}
    task_file(tmp_path, annotators=[words], sample=None)
    recipe = write(tmp_path, {"labels": 0.25}, label=["task.yaml"])
    for number, share in ((1, 2), (2, 2), (3, 40)):
        rows = [
            document(f"{number}-{i}", f"{sentences(number * 1000 + i, 40)} {'cells' if i % share else 'atoms'}")
            for i in range(80)
        ]
        write_jsonl(tmp_path / "data" / "a" / f"{number}.jsonl", rows)
        done = night(recipe, number)
        assert tripped(done) == ([] if number < 3 else ["labels"])
    assert "topic_answer" in done.guards[0].told


def test_hooks_get_the_result_and_stop_what_they_come_before(tmp_path: Path) -> None:
    recipe = write(tmp_path, {}, refresh={"before": "cat > before.json", "after": ["cat > after.json", "true"]})
    add(recipe, 1)
    done = night(recipe, 1)
    before, after = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("before", "after"))
    assert before == {"recipe": "web", "night": "2026-11-01", "store": store_of(recipe)}
    assert after["version"] == done.version
    assert after["documents"] == [0, 40]
    recipe = write(tmp_path, {}, refresh={"before": "echo no; exit 3"})
    add(recipe, 2)
    with pytest.raises(FatalError, match=r"recipe.yaml:\d+: echo no; exit 3 ended with exit code 3; nothing was begun"):
        night(recipe, 2)
    assert Dataset(store_of(recipe), "web").current == done.version
    recipe = write(tmp_path, {}, refresh={"after": "exit 4"})
    with pytest.raises(FatalError, match="the night itself is done"):
        night(recipe, 2)
    assert Dataset(store_of(recipe), "web").current != done.version
    recipe = write(tmp_path, {}, refresh={"after": "cat > after.json"})
    for changed in (True, False):  # what no hook has heard is told by the same night, done again
        night(recipe, 2)
        after = json.loads((tmp_path / "after.json").read_text())
        assert (after["changed"], after["before"] == done.version) == (changed, changed)
        assert after["documents"] == [40 if changed else 80, 80]


def test_old_versions_go_as_the_recipe_says(tmp_path: Path) -> None:
    recipe = write(tmp_path, {}, [{"drop": "gopher_words < 10"}], refresh={"keep": {"nightly": 2}})
    for number in (1, 2, 3, 4):
        add(recipe, number)
        done = night(recipe, number)
    assert [version.name[:6] for version in Dataset(store_of(recipe), "web").versions()] == ["000003", "000004"]
    assert done.collected is not None
    assert [version.version[:6] for version in done.collected.going] == ["000002"]


def test_a_command_says_what_a_guard_found_and_ends_with_its_own_code(tmp_path: Path) -> None:
    recipe = write(tmp_path, {"kept": {"min": 0.5}})
    add(recipe, 1, short=100)
    ran = CliRunner().invoke(app, ["refresh", str(recipe), "--date", "2026-11-01", "--engine", "local"])
    assert ran.exit_code == 5
    assert "guard kept TRIPPED: 28.57% of the documents are kept; at least 50%" in ran.stdout
    assert "`gristmill datasets publish web 000001-" in ran.stdout
    nothing = CliRunner().invoke(app, ["query", "FROM web", "--store", store_of(recipe)])
    assert nothing.exit_code == 2
    published = CliRunner().invoke(app, ["datasets", "publish", "web", "1", "--store", store_of(recipe)])
    assert published.exit_code == 0
    told = CliRunner().invoke(app, ["refresh", str(recipe), "--date", "2026-11-01", "--json"])
    assert told.exit_code == 0
    assert json.loads(told.stdout)["published"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"guards": {"kept": {}}}, "give `min`, `max` or both"),
        ({"guards": {"kept": {"min": 2, "max": 1}}}, "min 2 is above max 1"),
        ({"guards": {"drift": {"measures": ["tokens"]}}}, "give `psi`, `ks` or both"),
        ({"keep": {"nightly": 0}}, "the least is nightly: 1"),
        ({"since": "2026-13-01"}, "2026-13-01"),
        ({"guard": {}}, "guard is not known here"),
    ],
)
def test_wrong_sections_are_named_with_their_line(tmp_path: Path, section: dict[str, Any], message: str) -> None:
    recipe = write_recipe(tmp_path, INDEX, refresh=section)
    with pytest.raises(RecipeError, match=r"recipe.yaml:\d+") as refused:
        api.load_recipe(recipe)
    assert message in str(refused.value)

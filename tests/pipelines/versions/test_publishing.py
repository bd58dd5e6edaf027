"""Which version readers take: published, gone back from, named; and ended before every step."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gristmill import api
from gristmill.operators.errors import RecipeError, StoreDamaged
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.report.verify import verify
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.versions import publishing
from gristmill.pipelines.versions.facts import datasets, show, versions_of
from gristmill.pipelines.versions.retention import collect, retention
from tests.pipelines.stages.test_run import execute
from tests.pipelines.versions.stores import add_night, nights, plain_versions, store_of
from tests.reliability.crashes import ENDED, forked


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with three versions; its store is put as it was before each test."""
    recipe = plain_versions(tmp_path_factory.mktemp("made"))
    shutil.copytree(recipe.parent / "store", recipe.parent / "before")
    return recipe


@pytest.fixture
def recipe(made: Path) -> Path:
    restore(made)
    return made


def restore(recipe: Path) -> str:
    shutil.rmtree(recipe.parent / "store")
    shutil.copytree(recipe.parent / "before", recipe.parent / "store")
    return store_of(recipe)


def current(recipe: Path) -> int:
    """The number of the version that readers take."""
    name = Dataset(store_of(recipe), "web").current
    assert name is not None
    return int(name.split("-")[0])


def names(recipe: Path) -> list[str]:
    return [version.name for version in Dataset(store_of(recipe), "web").versions()]


def test_readers_go_back_and_no_run_brings_them_forth_again(recipe: Path) -> None:
    store = store_of(recipe)
    whole = len(api.open_dataset(f"{store}/datasets/web").arrow().to_table())
    moved = publishing.roll_back(store, "web")
    assert (current(recipe), moved.held) == (2, (names(recipe)[2],))
    assert len(api.open_dataset(f"{store}/datasets/web").arrow().to_table()) == moved.documents > whole
    again = execute(recipe, "decide.drop.when=gopher_words < 60")
    assert again.held is not None
    assert moved.version in again.held
    assert current(recipe) == 2
    other = execute(recipe, "decide.drop.when=gopher_words < 70")  # what is new is published
    assert (other.held, current(recipe)) == (None, 4)
    publishing.publish(store, "web", "3")
    assert (current(recipe), execute(recipe, "decide.drop.when=gopher_words < 60").held) == (3, None)


def test_readers_go_back_several_versions_and_only_to_one_that_they_had(recipe: Path) -> None:
    store, (first, second, third) = store_of(recipe), names(recipe)
    moved = publishing.roll_back(store, "web", "1")
    assert (moved.version, moved.before, moved.held) == (first, third, (third, second))
    with pytest.raises(RecipeError, match="nothing comes before it"):
        publishing.roll_back(store, "web")
    with pytest.raises(RecipeError, match="`gristmill datasets publish web 000003"):
        publishing.roll_back(store, "web", "3")
    with pytest.raises(RecipeError, match=r"take 000001-.* now"):
        publishing.roll_back(store, "web", "1")
    assert execute(recipe).held is not None  # it comes to the second
    assert current(recipe) == 1


def test_a_version_that_is_damaged_is_not_published(recipe: Path) -> None:
    store = store_of(recipe)
    publishing.roll_back(store, "web")
    file = next(Path(Dataset(store, "web").find("3").url).glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StoreDamaged, match="bytes"):
        publishing.publish(store, "web", "3")
    assert current(recipe) == 2


def test_a_tag_names_one_version_until_it_is_taken_from_it(recipe: Path) -> None:
    store = store_of(recipe)
    first = publishing.tag(store, "web", "train-2026-11", "1")
    assert publishing.tag(store, "web", "train-2026-11", first.name) == first
    with pytest.raises(RecipeError, match=r"is 000001-.*`gristmill datasets untag web train-2026-11`"):
        publishing.tag(store, "web", "train-2026-11")
    for wrong in ("3", first.name, "a/b", "", ".x"):
        with pytest.raises(RecipeError, match="is no tag"):
            publishing.tag(store, "web", wrong)
    table = api.open_dataset(f"{store}/datasets/web", "train-2026-11").arrow().to_table()
    assert len(table) == first.manifest["rows"]
    assert publishing.untag(store, "web", "train-2026-11") == first
    with pytest.raises(RecipeError, match="has the tag train-2026-11"):
        publishing.untag(store, "web", "train-2026-11")


def test_versions_are_found_by_name_number_and_tag(recipe: Path) -> None:
    store, dataset = store_of(recipe), Dataset(store_of(recipe), "web")
    publishing.tag(store, "web", "good", "2")
    dataset = Dataset(store, "web")
    assert {dataset.find(wanted).name for wanted in ("2", "000002", names(recipe)[1], "good")} == {names(recipe)[1]}
    assert dataset.find().name == names(recipe)[2]
    for wanted in ("4", "goof", "000002-000000000000"):
        with pytest.raises(RecipeError, match=f"has no version {wanted}"):
            dataset.find(wanted)
    with pytest.raises(RecipeError, match="did you mean web"):
        Dataset(store, "wep").find()


def test_facts_are_those_of_the_files(recipe: Path) -> None:
    store = store_of(recipe)
    publishing.tag(store, "web", "good", "2")
    versions = versions_of(RunRecords(store), "web")
    for facts in versions:
        table = api.open_dataset(f"{store}/datasets/web", facts.version).arrow().to_table()
        files = [*Path(store, "datasets", "web", facts.version).glob("*.parquet")]
        assert facts.documents == facts.new == len(table)
        assert facts.tokens == sum(table["tokens"].to_pylist())
        assert facts.bytes == facts.own_bytes == sum(file.stat().st_size for file in files)
    assert [facts.parent for facts in versions] == [None, *names(recipe)[:2]]
    assert [facts.current for facts in versions] == [False, False, True]
    assert [facts.tags for facts in versions] == [[], ["good"], []]
    assert datasets(store) == [versions[2]]
    assert show(store, "web", "good")["recipe"]["decide"][0] == {"drop": "gopher_words < 40"}
    with pytest.raises(RecipeError, match="holds no dataset"):
        datasets(str(recipe.parent / "nothing"))


def test_nights_that_were_gone_back_from_are_listed_by_the_next(tmp_path: Path) -> None:
    recipe = nights(tmp_path)
    store = store_of(recipe)
    moved = publishing.roll_back(store, "web")
    assert (moved.index, moved.documents) == ("web", 40)
    assert execute(recipe).held is not None  # nothing is new
    assert len(api.open_dataset(f"{store}/datasets/web").arrow().to_table()) == 40
    add_night(recipe, 7)
    assert execute(recipe).held is None
    assert len(api.open_dataset(f"{store}/datasets/web").arrow().to_table()) == 80


STEPS: dict[str, Callable[[str], object]] = {
    "publish": lambda store: publishing.publish(store, "web", "1"),
    "roll back": lambda store: publishing.roll_back(store, "web", "1"),
    "tag": lambda store: publishing.tag(store, "web", "x", "1"),
    "collect": lambda store: collect(RunRecords(store), "web", retention(nightly=1), lambda found: True),
}


@pytest.mark.parametrize(
    ("what", "index"),
    [("publish", False), ("tag", False), ("roll back", True), ("collect", False), ("collect", True)],
)
def test_a_store_is_whole_before_every_step_and_the_same_command_ends_it(
    what: str, index: bool, made: Path, tmp_path: Path
) -> None:
    """Each is ended before each of its steps: readers find a whole version, and done again it comes to the same end."""
    recipe = made
    if index:
        recipe = nights(tmp_path, 2)
        shutil.copytree(tmp_path / "store", tmp_path / "before")
    store = store_of(recipe)

    def state() -> dict[str, bytes]:
        paths = [p for part in ("datasets", "runs", "index") for p in sorted(Path(store, part).rglob("*"))]
        return {str(p.relative_to(store)): p.read_bytes() for p in paths if p.is_file()}

    def work() -> None:
        with contextlib.suppress(RecipeError):  # readers had gone back when it was ended
            STEPS[what](store)

    restore(recipe)
    code, steps = forked(work)
    assert code == 0
    expected = state()
    for last in range(1, steps + 1):
        restore(recipe)
        assert forked(work, last)[0] == ENDED
        table = api.open_dataset(f"{store}/datasets/web").arrow().to_table()
        assert len(table) == Dataset(store, "web").find().manifest["rows"]
        work()
        assert state() == expected, f"step {last} of {steps}"
    assert not verify(store, None, False, Reporter(quiet=True)).findings

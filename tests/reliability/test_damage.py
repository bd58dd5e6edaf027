"""Every kind of file of a store, damaged: the damage is found, or harmless because the file is made again."""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.report.verify import Verified, verify
from gristmill.pipelines.storage.file_kinds import kind_of
from tests.reliability.damage import ACTIONS, DAMAGES, Stage, Trial


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "index"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("damage"), index=request.param)


def trials(stage: Stage, each: int, seed: int = 0) -> list[Trial]:
    """Trials of every kind of file with every damage and action, `each` of a sort."""
    draw = random.Random(seed)
    combinations = itertools.product(stage.kinds().values(), DAMAGES, ACTIONS, range(each))
    return [
        Trial(draw.choice(paths), damage, action, draw.randrange(1 << 30)) for paths, damage, action, _ in combinations
    ]


def check(stage: Stage, chosen: list[Trial]) -> Counter[str]:
    outcomes = {str(trial): stage.run(trial) for trial in chosen}
    wrong = {trial: outcome for trial, outcome in outcomes.items() if outcome not in ("found", "harmless")}
    assert not wrong
    return Counter(outcomes.values())


def test_damage_is_found_or_harmless(stage: Stage) -> None:
    some = random.Random(1).sample(trials(stage, 1), 24)
    counted = check(stage, some)
    assert counted["found"] > 3
    assert counted["harmless"] > 3


@pytest.mark.slow
def test_every_kind_of_damage_is_found_or_harmless(stage: Stage) -> None:
    chosen = trials(stage, 2)
    assert len(chosen) >= 150
    check(stage, chosen)


def verified(recipe: Path, *, repair: bool = False, dataset: str | None = None) -> Verified:
    return verify(str(recipe.parent / "store"), dataset, repair, Reporter(quiet=True))


def test_verify_finds_nothing_in_a_whole_store(stage: Stage) -> None:
    found = verified(stage.copy())
    assert (found.findings, found.wrong, found.unsealed) == ([], 0, 0)
    assert found.files == len(stage.files)
    assert verified(stage.copy(), dataset="night").findings == []
    with pytest.raises(RecipeError, match="has no dataset nigth; did you mean night"):
        verified(stage.copy(), dataset="nigth")


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_finds_damage_to_every_kind_of_file(stage: Stage, damage: str) -> None:
    for kind, paths in stage.kinds().items():
        for path in {random.Random(kind).choice(paths), paths[-1]}:
            recipe = stage.copy()
            stage.damage(Trial(path, damage, "", 3))
            found = verified(recipe)
            wrong = [finding for finding in found.findings if finding.problem in ("damaged", "gone")]
            if damage == "bit flip" and not wrong:  # a bit of the seal itself: all else is as it was written
                continue
            if kind == "record of a run" and damage == "deleted" and not wrong:  # without one a run never finished
                assert {finding.problem for finding in found.findings} == {"left over"}
                continue
            named = {finding.path for finding in wrong}
            assert path in named or (path.startswith("measures/") and "rejects" in path), (kind, path, found.findings)
            assert all(finding.meaning for finding in wrong)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_repaired_gives_the_same_dataset(stage: Stage, damage: str) -> None:
    repaired = Counter[str]()
    for kind, paths in stage.kinds().items():
        path = random.Random(kind).choice(paths)
        recipe = stage.copy()
        stage.damage(Trial(path, damage, "", 5))
        found = verified(recipe, repair=True)
        if found.wrong:
            continue
        repaired[kind] += 1
        assert ACTIONS["same run"](recipe) == stage.expected["same run"], (kind, path)
        left = [kind_of(finding.path) for finding in verified(recipe).findings]
        assert all(kind is not None and kind.derived for kind in left), "made again once it is needed"
        assert ACTIONS["query"](recipe), (kind, path)
    assert repaired["fit"]
    assert repaired["measures"] == (not stage.index), "no run measures again what an index holds"


def test_leftovers_are_told_from_what_is_foreign(stage: Stage) -> None:
    recipe = stage.copy()
    store = recipe.parent / "store"
    (store / "notes.txt").write_text("mine")
    (store / "runs" / "99999999-0123abcd" / "exchange").mkdir(parents=True)
    (store / "runs" / "99999999-0123abcd" / "exchange" / "x.arrow").write_bytes(b"x")
    (store / "datasets" / "night" / "000009-0123456789ab").mkdir()
    (store / "datasets" / "night" / "000009-0123456789ab" / "data-00000-of-00001.parquet").write_bytes(b"x")
    (store / "shards" / "00000000.parquet.unfinished-1").write_bytes(b"x")
    found = verified(recipe)
    told = {finding.path: finding.problem for finding in found.findings}
    assert told == {
        "notes.txt": "foreign",
        "runs/99999999-0123abcd/exchange/x.arrow": "left over",
        "datasets/night/000009-0123456789ab/data-00000-of-00001.parquet": "left over",
        "shards/00000000.parquet.unfinished-1": "left over",
    }
    assert found.wrong == 0
    verified(recipe, repair=True)
    assert {finding.path for finding in verified(recipe).findings} == {"notes.txt"}
    assert ACTIONS["same run"](recipe) == stage.expected["same run"]


def test_a_store_that_was_copied_is_whole_and_known_to_be_from_then_on(stage: Stage) -> None:
    """Copying changes the times of files: they are read once, and their new times are remembered."""
    recipe = stage.copy()
    moved = recipe.parent / "moved"
    shutil.copytree(recipe.parent / "store", moved, copy_function=shutil.copy)
    shutil.rmtree(recipe.parent / "store")
    moved.rename(recipe.parent / "store")
    announced = next((recipe.parent / "store" / "runs").glob("*/version.json"))
    before = announced.read_bytes()
    assert ACTIONS["same run"](recipe) == stage.expected["same run"]
    after = announced.read_bytes()
    assert after != before
    assert ACTIONS["same run"](recipe) == stage.expected["same run"]
    assert announced.read_bytes() == after

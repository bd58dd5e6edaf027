"""Versions that plans of mixtures name stay until the mixture is released."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gristmill
from gristmill.operators.errors import RecipeError, StoreLocked
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.readers.mix_plan import plan_mixture
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.lock import writer_lock
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.versions import publishing
from gristmill.pipelines.versions.plans import hold
from gristmill.pipelines.versions.retention import collect, judge, retention
from tests.pipelines.stages.test_run import execute

MIX = """version: 1
name: pretrain
length: 64
parts:
  - {dataset: store/datasets/test, tokens: 9k}
"""


@pytest.fixture
def mixture(packed_recipe: Path) -> Path:
    """A mixture of a dataset with two versions, planned of the first."""
    execute(packed_recipe)
    path = packed_recipe.parent / "mix.yaml"
    path.write_text(MIX)
    assert gristmill.mix(path).not_held == ()
    execute(packed_recipe, 'write.columns=["id", "text"]')  # other files: nothing of the first is listed
    return path


def tags(mixture: Path) -> dict[str, str]:
    return {tag: name.split("-")[0] for tag, name in Dataset(store_of(mixture), "test").marks.tags.items()}


def store_of(mixture: Path) -> str:
    return str(mixture.parent / "store")


def test_collection_leaves_what_a_plan_names_until_it_is_released(mixture: Path) -> None:
    store = store_of(mixture)
    kept = [version.kept_by for version in judge(RunRecords(store), Dataset(store, "test"), retention(1)).versions]
    assert kept[0] == ("mixture pretrain, until it is released",)
    collect(RunRecords(store), "test", retention(1), lambda found: True)
    assert [*gristmill.open_mixture(mixture.with_suffix(".json")).feed()]
    gristmill.mix(mixture)
    assert tags(mixture) == {"mix:pretrain:1": "000001", "mix:pretrain:2": "000002"}, "also what earlier plans named"
    released = gristmill.release_mixture(mixture)
    assert [version.split("-")[0] for _, version in released] == ["000001", "000002"]
    assert tags(mixture) == {}
    assert [v.version[:6] for v in collect(RunRecords(store), "test", retention(1), lambda found: True).going] == [
        "000001"
    ]


def test_a_plan_is_held_before_it_is_written(mixture: Path) -> None:
    plan = plan_mixture(str(mixture))
    gristmill.release_mixture(mixture)
    before = mixture.with_suffix(".json").read_bytes()
    hold(plan)  # what a kill between the two leaves
    assert tags(mixture) == {"mix:pretrain:2": "000002"}
    assert mixture.with_suffix(".json").read_bytes() == before
    first = plan_mixture(str(mixture.parent / "mix.yaml"))
    publishing.publish(store_of(mixture), "test", "1")
    gone = plan_mixture(str(mixture))
    publishing.publish(store_of(mixture), "test", "2")
    collect(RunRecords(store_of(mixture)), "test", retention(1), lambda found: True)
    with pytest.raises(RecipeError, match="was removed while it was planned: `gristmill mix` again"):
        hold(gone)
    assert hold(first).not_held == ()


def test_a_store_that_is_held_by_a_run_gives_a_remark(mixture: Path) -> None:
    gristmill.release_mixture(mixture)
    with writer_lock(store_of(mixture)):
        result = CliRunner().invoke(app, ["mix", str(mixture), "--json"])
        assert result.exit_code == 0, result.output
        (remark,) = json.loads(result.stdout)["remarks"]
        assert "000002-" in remark
        assert "is not held, and `gristmill datasets gc` there may remove it: the store is in use" in remark
        assert tags(mixture) == {}
        assert len(gristmill.open_mixture(mixture.with_suffix(".json")).parts) == 1
    gristmill.mix(mixture)
    with writer_lock(store_of(mixture)):
        assert gristmill.mix(mixture).not_held == (), "what is held already takes no lock"
        with pytest.raises(StoreLocked):
            gristmill.release_mixture(mixture)


def test_the_commands(mixture: Path) -> None:
    arguments = ["--store", store_of(mixture)]
    listed = CliRunner().invoke(app, ["datasets", "show", "test", *arguments, "--json"])
    assert "mix:pretrain:1" in listed.stdout
    with pytest.raises(RecipeError, match="is no tag"):
        publishing.tag(store_of(mixture), "test", "mix:other:1", "1")
    told = json.loads(CliRunner().invoke(app, ["mix", str(mixture), "--release", "--json"]).stdout)
    assert [(entry["dataset"], entry["version"][:6]) for entry in told["released"]] == [
        (f"{store_of(mixture)}/datasets/test", "000001")
    ]
    again = CliRunner().invoke(app, ["mix", str(mixture), "--release"])
    assert again.stdout.strip() == "nothing to release: the mixture holds no version"
    gristmill.mix(mixture)
    done = CliRunner().invoke(app, ["datasets", "untag", "test", "mix:pretrain:2", *arguments])
    assert (done.exit_code, tags(mixture)) == (0, {})

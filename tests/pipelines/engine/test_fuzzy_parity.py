"""What fuzzy_dedup keeps is the same on every engine, whichever workers die."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipelines.engine.base import Engine
from tests.pipelines.engine.work import Killing
from tests.pipelines.stages.test_run import content, execute
from tests.support import sentences, write_jsonl

#: One step over shards and one over partitions.
KILLED_STEPS = ("attach", "settle")
STEPS = ("measure_shard", *KILLED_STEPS)


@pytest.fixture
def recipe(tmp_path: Path, make_recipe: Callable[..., Path]) -> Path:
    """300 documents in six shards; every fifth has a near copy in the shard after its own, every tenth two."""
    texts = [sentences(i, 120 + i % 80) for i in range(300)]
    for shard in range(6):
        numbers = range(shard, 300, 6)
        held = [{"id": f"doc-{i:03d}", "text": texts[i], "lang": "en"} for i in numbers]
        for copies, step in (("near", 5), ("nearer", 10)):
            before = [i for i in range((shard - 1) % 6, 300, 6) if i % step == 0]
            held += [{"id": f"{copies}-{i:03d}", "text": f"{texts[i]} {copies}", "lang": "en"} for i in before]
        write_jsonl(tmp_path / "data" / f"docs-{shard}.jsonl.gz", held)
    return make_recipe(tmp_path, decide=[{"fuzzy_dedup": {"keep": "longest"}}], write={"shard_bytes": "40KB"})


def written(recipe: Path, engine: str, *overrides: str, **options: Any) -> dict[str, bytes]:
    result = execute(recipe, f"store=./{engine}", *overrides, engine=engine, **options)
    assert result.funnel.rules[0].dropped == 90
    return content(result)


@pytest.mark.ray
@pytest.mark.parametrize("verify", ["signature", "text"])
def test_ray_gives_the_same_bytes(recipe: Path, ray_engine: Engine, verify: str) -> None:
    option = f"decide.fuzzy_dedup.verify={verify}"
    local = written(recipe, "local", option)
    assert len(local) > 3
    assert written(recipe, "ray", option) == local


@pytest.mark.slow
@pytest.mark.ray
def test_workers_killed_while_signing_and_while_resolving_do_not_show(
    recipe: Path, ray_engine: Engine, tmp_path: Path
) -> None:
    quiet = written(recipe, "local")
    marks = tmp_path / "killed"
    marks.mkdir()

    faults = {step: partial(Killing, folder=marks, after=step in KILLED_STEPS, most=2) for step in STEPS}
    assert written(recipe, "ray", faults=faults) == quiet
    killed = [mark.name.split("-")[0] for mark in marks.iterdir()]
    assert killed.count("measure_shard") >= 2
    assert killed.count("attach") >= 2
    assert killed.count("settle") >= 1

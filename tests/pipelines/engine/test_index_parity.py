"""An index, and what is resolved against it, is the same on every engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.index.upkeep import compact
from tests.pipelines.stages.test_run import content, execute
from tests.pipelines.test_index import DECIDE, add_night, index_files


@pytest.mark.ray
def test_ray_gives_the_same_nights(tmp_path: Path, make_recipe: Callable[..., Path], ray_engine: Engine) -> None:
    recipe = make_recipe(tmp_path, decide=DECIDE)
    for night in range(2):
        add_night(tmp_path, night)
        results = [execute(recipe, f"store=./{engine}", engine=engine) for engine in ("local", "ray")]
        assert content(results[0]) == content(results[1])
    assert results[1].funnel.rules[0].dropped == 3
    assert index_files(tmp_path / "ray") == index_files(tmp_path / "local")
    for engine in ("local", "ray"):
        compact(str(tmp_path / engine), "web", ray_engine)
    assert index_files(tmp_path / "ray") == index_files(tmp_path / "local")

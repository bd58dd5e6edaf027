"""What paragraph_dedup leaves is the same on every engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gristmill.pipelines.engine.base import Engine
from tests.pipelines.pages import pages_of_a_site, write_pages
from tests.pipelines.stages.test_run import content, execute


@pytest.mark.ray
def test_ray_gives_the_same_bytes(tmp_path: Path, make_recipe: Callable[..., Path], ray_engine: Engine) -> None:
    pages = write_pages(tmp_path, pages_of_a_site(200))
    recipe = make_recipe(pages, decide=[{"paragraph_dedup": 7}], write={"shard_bytes": "10KB"})
    local, ray = (content(execute(recipe, f"store=./{engine}", engine=engine)) for engine in ("local", "ray"))
    assert len(local) > 2
    assert ray == local

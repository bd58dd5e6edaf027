"""The text of pages is the same on every engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gristmill.pipelines.engine.base import Engine
from tests.pipelines.sources.warc_files import packed, page
from tests.pipelines.stages.test_run import content, execute


@pytest.mark.ray
def test_ray_gives_the_same_bytes(tmp_path: Path, make_recipe: Callable[..., Path], ray_engine: Engine) -> None:
    (tmp_path / "crawl").mkdir()
    for i in range(3):
        (tmp_path / "crawl" / f"{i}.warc.gz").write_bytes(packed([page(10 * i + k) for k in range(10)]))
    source = {"name": "crawl", "path": "crawl/*", "format": "warc"}
    recipe = make_recipe(tmp_path, sources=[source], extract="trafilatura")
    on_ray, local = (execute(recipe, f"store=./{engine}", engine=engine) for engine in ("ray", "local"))  # type: ignore[arg-type]
    names = [name for name in content(local) if name.startswith("data-")]
    assert names
    assert [content(on_ray)[name] for name in names] == [content(local)[name] for name in names]
    assert on_ray.funnel == local.funnel

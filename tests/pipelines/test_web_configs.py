"""The recipes under configs/web run as they lie there, on real pages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gristmill.pipelines.report.query import query
from tests.pipelines.stages.test_run import dataset, execute

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONFIGS / "web").glob("*.yaml")))
def test_a_recipe_for_crawls(shared_data: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(CONFIGS / "web", tmp_path / "configs" / "web")
    for kind, pattern in (("crawl", "dolma-sample-*.warc.gz"), ("wet", "*.wet.gz")):
        folder = tmp_path / "configs" / "data" / kind
        folder.mkdir(parents=True)
        for path in (shared_data / "web").glob(pattern):
            (folder / path.name).symlink_to(path)
    result = execute(tmp_path / "configs" / "web" / f"{name}.yaml")
    pages = 329 if name == "c4" else 37
    assert result.funnel.records == pages
    assert 0 < result.funnel.kept < result.funnel.documents
    assert {*dataset(result)["lang"].to_pylist()} == {"en"}
    store = str(tmp_path / "configs" / "store")
    (count,) = query(store, "SELECT count(*) AS n FROM decisions").to_pylist()
    assert count["n"] == result.funnel.documents

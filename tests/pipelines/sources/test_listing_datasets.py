"""A dataset that gristmill wrote is a source: its folder stands for the current version, with all that it lists."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.sources.listing import discover_files

NAME = "data-00000-of-00001.parquet"


@pytest.fixture(params=["local", "memory"])
def web(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A dataset of three versions, on a disk or on a store: the second lists a file of the first."""
    for version in ("000001-aaa", "000002-bbb", "000003-ccc"):
        folder = tmp_path / "web" / version
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"text": [version]}), folder / NAME)
        (folder / "manifest.json").write_text(json.dumps({"files": [{"name": NAME}]}))
    both = [{"name": NAME, "path": f"000001-aaa/{NAME}", "night": "000001-aaa"}, {"name": NAME}]
    (tmp_path / "web" / "000002-bbb" / "manifest.json").write_text(json.dumps({"files": both}))
    (tmp_path / "web" / "CURRENT").write_text("000002-bbb\n")
    if request.param == "local":
        return str(tmp_path / "web")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "web"), f"/{tmp_path.name}", recursive=True)
    return f"memory://{tmp_path.name}"


def test_the_folder_of_a_dataset_stands_for_its_current_version(web: str) -> None:
    found = [file.url.removeprefix("memory://").split("/", 2)[-1] for file in discover_files(web)]
    assert [name.split("/")[-2:] for name in found] == [["000001-aaa", NAME], ["000002-bbb", NAME]]


def test_a_file_that_is_gone_is_named(web: str) -> None:
    fs = fsspec.filesystem("memory" if web.startswith("memory") else "file")
    fs.rm(f"{web.removeprefix('memory:/')}/000001-aaa/{NAME}")
    with pytest.raises(RecipeError, match=rf"is damaged: 000001-aaa/{NAME} is gone"):
        discover_files(web)

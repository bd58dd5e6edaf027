"""A dataset that gristmill wrote is a source: its folder stands for the current version."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipelines.sources.listing import discover_files


def test_the_folder_of_a_dataset_stands_for_its_current_version(tmp_path: Path) -> None:
    for version in ("000001-aaa", "000002-bbb"):
        folder = tmp_path / "web" / version
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"text": [version]}), folder / "data-00000-of-00001.parquet")
        (folder / "manifest.json").write_text("{}")
    (tmp_path / "web" / "CURRENT").write_text("000002-bbb\n")
    found = [file.name for file in discover_files("web", str(tmp_path))]
    assert found == ["web/000002-bbb/data-00000-of-00001.parquet"]

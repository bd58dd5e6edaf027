from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gristmill.pipelines.storage import exclusive, files


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    url = str(tmp_path / "new" / "file")
    with contextlib.suppress(RuntimeError), files.replacing(url) as file:
        file.write(b"half")
        raise RuntimeError
    assert files.names(str(tmp_path / "new")) == []
    assert os.listdir(tmp_path / "new") == []
    files.write_bytes(url, b"whole")
    assert files.read_bytes(url) == b"whole"


def test_leftovers_of_a_killed_writer_are_invisible_and_swept(tmp_path: Path) -> None:
    (tmp_path / f"data.parquet{files.UNFINISHED}abc").write_bytes(b"cut")
    assert files.names(str(tmp_path)) == []
    files.sweep(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_another_removes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([True])
    make = os.mkdir

    def mkdir(path: str, *args: Any) -> None:
        if next(taken, False):  # it was there when it was to be made, and is gone when somebody looks
            raise FileExistsError(path)
        make(path, *args)

    monkeypatch.setattr(os, "mkdir", mkdir)
    assert exclusive.create(str(tmp_path / "LOCK" / "1"), b"mine")
    assert not exclusive.create(str(tmp_path / "LOCK" / "1"), b"yours")
    assert (tmp_path / "LOCK" / "1").read_bytes() == b"mine"


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text("mine")
    with pytest.raises(OSError, match="LOCK"):
        exclusive.create(str(tmp_path / "LOCK" / "1"), b"yours")


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_exclusive_create(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}{tmp_path}/LOCK"
    assert exclusive.create(url, b"first")
    assert not exclusive.create(url, b"second")
    assert files.read_bytes(url) == b"first"


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_tables_come_back_and_folders_list(tmp_path: Path, scheme: str) -> None:
    folder = f"{scheme}{tmp_path}/folder"
    table = pa.table({"x": [1, 2, 3], "y": ["a", None, "c"]})
    files.write_table(files.join(folder, "t.parquet"), table)
    assert files.read_table(files.join(folder, "t.parquet"), columns=["y"])["y"].to_pylist() == ["a", None, "c"]
    assert files.names(folder) == ["t.parquet"]
    assert files.names(files.join(folder, "nowhere")) == []
    files.remove(folder)
    assert not files.exists(files.join(folder, "t.parquet"))


def test_chunks_do_not_show_in_the_bytes(tmp_path: Path) -> None:
    table = pa.table({"x": list(range(1000))})
    files.write_table(str(tmp_path / "one"), table)
    files.write_table(str(tmp_path / "many"), pa.concat_tables([table.slice(i, 100) for i in range(0, 1000, 100)]))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()

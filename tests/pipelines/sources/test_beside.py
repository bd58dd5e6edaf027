"""What a folder holds beside its data is passed over and told; data is never taken for something beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.sources.discover import Discovery, SourceFiles
from gristmill.pipelines.sources.spec import Source

RECORD = json.dumps({"id": "a", "text": "a document"}).encode() + b"\n"


def found(folder: Path, *files: str, path: str = "data", large: str = "", format: str = "auto") -> SourceFiles:
    for name in files:
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / name).write_bytes(RECORD * (99 if name == large else 1))
    return Discovery(str(folder)).find(Source(name="docs", path=path, format=format))


def read(of: SourceFiles) -> list[str]:
    return sorted(file.name.removeprefix("data/") for spec in of.specs for file in spec.files)


def passed(of: SourceFiles) -> list[str]:
    return [name.removeprefix("data/") for name in of.passed]


@pytest.mark.parametrize("data", ["t/train.parquet", "a.jsonl", "a.csv.gz", "a.json", "a.warc.wet.gz", "t/train.txt"])
@pytest.mark.parametrize("large", ["", "README.md", "dataset_infos.json"])
def test_a_data_set_with_its_description(tmp_path: Path, data: str, large: str) -> None:
    """As data sets are downloaded: whatever is larger."""
    beside = [".gitattributes", "LICENSE", "README.md", "_SUCCESS", "dataset_infos.json", "load.py", "x.parquet.crc"]
    of = found(tmp_path, data, *beside, ".git/objects/12/3456.jsonl", large=large)
    assert read(of) == [data]
    assert passed(of) == sorted([*beside, ".git/"])


@pytest.mark.parametrize("name", ["notes.txt", "stats.json", "licence-en.txt", "NOTICE.md", "index.html", "part-0"])
def test_notes_beside_records(tmp_path: Path, name: str) -> None:
    of = found(tmp_path, "a.jsonl", name)
    if name.endswith((".txt", ".json")):
        of = found(tmp_path, "a.jsonl", name, large="a.jsonl")
    assert (read(of), passed(of)) == (["a.jsonl"], [name])


@pytest.mark.parametrize(
    "files",
    [
        ["a.jsonl", "b.parquet", "c.csv", "d.tsv", "e.jsonl.zst"],
        ["a.txt", "README.txt", "deep/LICENSE.txt"],
        ["a.md", "b.txt", "README.md", "deep/LICENSE.md"],
        ["README.md"],
        ["dataset_infos.json"],
        ["notice.jsonl", "license.parquet", "readme.csv"],
        ["a.json", "b.json", "c.jsonl"],
    ],
    ids=lambda files: files[0],
)
def test_data_is_data_whatever_its_name(tmp_path: Path, files: list[str]) -> None:
    of = found(tmp_path, *files)
    assert (read(of), passed(of)) == (sorted(files), [])


def test_each_folder_has_its_format(tmp_path: Path) -> None:
    found(tmp_path, "records/a.jsonl", "records/README.md", "texts/a.md", "texts/README.md")
    of = Discovery(str(tmp_path)).find(Source(name="docs", path=["data/records", "data/texts"]))
    assert (read(of), passed(of)) == (["records/a.jsonl", "texts/README.md", "texts/a.md"], ["records/README.md"])


def test_what_the_path_names_is_read(tmp_path: Path) -> None:
    found(tmp_path, "a.jsonl", "b.jsonl", "README.md", "dataset_infos.json", ".hidden.jsonl")
    assert read(found(tmp_path, path="data/README.md")) == ["README.md"]
    assert read(found(tmp_path, path="data/*.md")) == ["README.md"]
    assert read(found(tmp_path, path="data/d*.json")) == ["dataset_infos.json"]
    of = Discovery(str(tmp_path)).find(Source(name="docs", path=["data", "data/README.md", "data/.hidden.jsonl"]))
    assert read(of) == [".hidden.jsonl", "README.md", "a.jsonl", "b.jsonl"]


@pytest.mark.parametrize("path", ["data/*", "data/**", "data/*.*"])
def test_all_that_a_glob_matches_but_descriptions(tmp_path: Path, path: str) -> None:
    of = found(tmp_path, "a.jsonl", "b.txt", "README.md", "dataset_infos.json", path=path)
    assert (read(of), passed(of)) == (["a.jsonl", "b.txt"], ["README.md", "dataset_infos.json"])
    assert read(found(tmp_path / "texts", "b.txt", "README.md", path=path)) == ["b.txt"]
    assert read(found(tmp_path / "more", "b.md", "README.md", path=path)) == ["README.md", "b.md"]


def test_with_a_format_all_is_data_but_descriptions(tmp_path: Path) -> None:
    of = found(tmp_path, "part-0", "part-1.out", "README.md", "part-0.crc", format="jsonl")
    assert (read(of), passed(of)) == (["part-0", "part-1.out"], ["README.md", "part-0.crc"])
    assert "README.md" in read(found(tmp_path, format="text"))


@pytest.mark.parametrize("name", ["b.jsonl.lzma", "b.zip", "b.arrow", "b.warc", "b.tar"])
def test_data_that_is_not_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=rf"{name}: .*; unpack or convert it, or make `path` match"):
        found(tmp_path, "a.jsonl", name)


def test_a_folder_of_unknown_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the format of data/part-0 cannot be told"):
        found(tmp_path, "part-0", "part-1")


def test_links_to_what_lies_beside_hold_data(tmp_path: Path) -> None:
    """All of a hub's cache: blobs have no format by their names, the links to them have."""
    (tmp_path / "data" / "snapshots").mkdir(parents=True)
    (tmp_path / "data" / "snapshots" / "a.jsonl").symlink_to("../blobs/0123")
    (tmp_path / "data" / "snapshots" / "README.md").symlink_to("../blobs/gone")
    of = found(tmp_path, "blobs/0123", "blobs/4567", "refs/main")
    assert (read(of), passed(of)) == (["snapshots/a.jsonl"], ["blobs/4567", "refs/main", "snapshots/README.md"])

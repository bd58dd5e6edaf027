"""Symbolic links: followed, circles ended, a file that is reached twice read once, a link that leads nowhere told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.sources.discover import Discovery, SourceFiles
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from tests.pipelines.sources.reading import as_lines


def record(folder: Path, name: str, id: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_lines([{"id": id, "text": f"document {id}"}]))
    return path


def link(folder: Path, name: str, target: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(target)


def found(folder: Path, path: str | list[str]) -> SourceFiles:
    return Discovery(str(folder)).find(Source(name="docs", path=path))


def ids(of: SourceFiles) -> list[str]:
    batches = [batch.documents for spec in of.specs for batch in read_shard(spec, of.source)]
    return [id for batch in batches for id in batch["id"].to_pylist()]


def names(of: SourceFiles) -> list[str]:
    return [file.name for spec in of.specs for file in spec.files]


def test_a_cache_of_links_to_blobs(tmp_path: Path) -> None:
    """As the Hugging Face hub keeps a data set: snapshots of links, blobs named by their digests."""
    record(tmp_path, "hub/blobs/0123abcd", "a")
    record(tmp_path, "hub/blobs/4567ef01", "b")
    for i, blob in enumerate(["0123abcd", "4567ef01"]):
        link(tmp_path, f"hub/snapshots/c0ffee/data/train-{i}.jsonl", f"../../../blobs/{blob}")
    for path in ("hub/snapshots/c0ffee", "hub/snapshots/*/data/*.jsonl", "hub/snapshots/**", "hub/snapshots"):
        of = found(tmp_path, path)
        assert ids(of) == ["a", "b"], path
        assert names(of) == [f"hub/snapshots/c0ffee/data/train-{i}.jsonl" for i in range(2)]
        assert not of.linked
    link(tmp_path, "hub/snapshots/decade/data/train-0.jsonl", "../../../blobs/0123abcd")
    assert ids(found(tmp_path, "hub/snapshots")) == ["a", "b"]


@pytest.mark.parametrize("path", ["data", "data/*.jsonl", "data/**", "data/**/*.jsonl", "./data/", "data/[ab]*"])
def test_a_link_to_a_file(tmp_path: Path, path: str) -> None:
    record(tmp_path, "data/b.jsonl", "b")
    record(tmp_path, "real/x.bin", "a")
    link(tmp_path, "data/a.jsonl", "../real/x.bin")
    assert ids(found(tmp_path, path)) == ["a", "b"]
    assert ids(found(tmp_path, "data/a.jsonl")) == ["a"]


@pytest.mark.parametrize(
    "path", ["data", "data/*/*.jsonl", "data/**", "data/**/*.jsonl", "data/linked", "data/linked/*"]
)
def test_a_link_to_a_folder(tmp_path: Path, path: str) -> None:
    record(tmp_path, "real/deep/a.jsonl", "a")
    link(tmp_path, "data/linked", "../real/deep")
    assert names(found(tmp_path, path)) == ["data/linked/a.jsonl"]


@pytest.mark.parametrize("path", ["data", "data/**", "data/**/*.jsonl", "data/*.jsonl"])
def test_circles_end(tmp_path: Path, path: str) -> None:
    record(tmp_path, "data/a.jsonl", "a")
    record(tmp_path, "outside.jsonl", "no document of the folder")
    link(tmp_path, "data/again", ".")
    link(tmp_path, "data/up", "..")
    link(tmp_path, "data/deep/back", "../../data")
    link(tmp_path, "data/deep/far", "../..")
    of = found(tmp_path, path)
    assert ids(of) == ["a"]
    if not path.endswith("jsonl"):
        assert of.passed == ["data/again/", "data/deep/back/", "data/deep/far/", "data/up/"]


def test_folders_that_link_to_each_other_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step has two ways to the next: a walk that follows all of them would never end."""
    for i in range(20):
        for way in "xy":
            link(tmp_path, f"steps/{i}/{way}", f"../{i + 1}")
    record(tmp_path, "steps/20/a.jsonl", "a")
    link(tmp_path, "data", "steps/0")
    scanned: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scanned.append(path) or scandir(path))
    assert ids(found(tmp_path, "data")) == ["a"]
    assert len(scanned) <= 2 * 21


def test_a_file_that_is_reached_twice_is_read_where_it_lies(tmp_path: Path) -> None:
    record(tmp_path, "data/m.jsonl", "a")
    link(tmp_path, "data/a.jsonl", "m.jsonl")
    link(tmp_path, "data/z.jsonl", "a.jsonl")
    link(tmp_path, "data/0", ".")
    of = found(tmp_path, ["data", "data/*.jsonl", "data/z.jsonl"])
    assert names(of) == ["data/m.jsonl"]
    assert of.linked == ["data/a.jsonl", "data/z.jsonl"]
    assert names(found(tmp_path, ["data/z.jsonl", "data/a.jsonl"])) == ["data/a.jsonl"]


@pytest.mark.parametrize("path", ["data", "data/*", "data/**/*.jsonl", "data/gone.jsonl"])
@pytest.mark.parametrize("target", ["../.git/annex/objects/xyz", "gone.jsonl"])
def test_a_link_that_leads_nowhere_is_told(tmp_path: Path, path: str, target: str) -> None:
    record(tmp_path, "data/a.jsonl", "a")
    link(tmp_path, "data/gone.jsonl", target)
    with pytest.raises(
        RecipeError, match=r"a link that leads nowhere: data/gone.jsonl -> .*; fetch what it stands for"
    ):
        found(tmp_path, path)
    assert ids(found(tmp_path, "data/a.jsonl")) == ["a"]


def test_hidden_links_are_passed_over(tmp_path: Path) -> None:
    record(tmp_path, "data/a.jsonl", "a")
    record(tmp_path, "real/b.jsonl", "b")
    link(tmp_path, "data/.cache", "../real")
    link(tmp_path, "data/_gone.jsonl", "nowhere")
    of = found(tmp_path, "data")
    assert (ids(of), of.passed) == (["a"], ["data/.cache/", "data/_gone.jsonl"])
    assert ids(found(tmp_path, "data/.cache/*.jsonl")) == ["b"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_below_that_may_not_be_listed_is_told(tmp_path: Path) -> None:
    record(tmp_path, "data/a.jsonl", "a")
    record(tmp_path, "data/closed/b.jsonl", "b").parent.chmod(0)
    with pytest.raises(RecipeError, match="may not be listed"):
        found(tmp_path, "data")

from __future__ import annotations

import http.server
import json
import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from gristmill.operators.errors import RecipeError, RetryableError
from gristmill.pipelines.sources import discover as discovering
from gristmill.pipelines.sources.discover import Discovery, ShardSpec, discover, discover_files
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.storage import remote
from tests.pipelines.sources.reading import as_lines

LINES = as_lines([{"id": str(i), "text": f"document {i}"} for i in range(50)])


def touch(folder: Path, *names: str, content: bytes = LINES) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def found(folder: Path | str, path: str | list[str], **fields: Any) -> list[ShardSpec]:
    return discover([Source(name="docs", path=path, **fields)], str(folder))


def names(specs: list[ShardSpec]) -> list[str]:
    return [spec.name for spec in specs]


def test_formats_go_by_name(tmp_path: Path) -> None:
    formats = {
        "a.jsonl": ("jsonl", "none"),
        "b.JSONL.GZ": ("jsonl", "gzip"),
        "c.ndjson.zst": ("jsonl", "zstd"),
        "d.json": ("json", "none"),
        "e.csv.bz2": ("csv", "bz2"),
        "f.tsv": ("tsv", "none"),
        "g.txt": ("text", "none"),
        "h.warc.wet.gz": ("wet", "gzip"),
        "i.parquet": ("parquet", "none"),
    }
    touch(tmp_path, *formats)
    assert {spec.name: (spec.format, spec.compression) for spec in found(tmp_path, "*")} == formats
    assert [(s.format, s.compression) for s in found(tmp_path, "b.*", format="csv")] == [("csv", "gzip")]


def test_a_path_is_a_file_a_folder_a_glob_or_several(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.jsonl", "b/deep/3.jsonl", "a/1.jsonl", "odd[1].jsonl")
    assert names(found(tmp_path, "a/1.jsonl")) == ["a/1.jsonl"]
    assert names(found(tmp_path, "b")) == ["b/2.jsonl", "b/deep/3.jsonl"]
    assert names(found(tmp_path, "*/*.jsonl")) == ["a/1.jsonl", "b/2.jsonl"]
    assert names(found(tmp_path, "**/*.jsonl")) == ["a/1.jsonl", "b/2.jsonl", "b/deep/3.jsonl", "odd[1].jsonl"]
    assert names(found(tmp_path, ["b/*.jsonl", "a", "b/2.jsonl"])) == ["a/1.jsonl", "b/2.jsonl"]
    assert names(found(tmp_path, "odd[1].jsonl")) == ["odd[1].jsonl"]
    assert names(found(tmp_path / "a", "../b/*.jsonl")) == ["../b/2.jsonl"]
    assert names(found("/", str(tmp_path / "a" / "1.jsonl"))) == [str(tmp_path / "a" / "1.jsonl")]
    assert names(found("/", f"file://{tmp_path}/a/1.jsonl")) == [str(tmp_path / "a" / "1.jsonl")]


def test_hidden_files_are_passed_over_unless_named(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "d/a.jsonl",
        "d/_SUCCESS",
        "d/.a.jsonl.crc",
        "d/_temporary/b.jsonl",
        "d/.hidden/c.jsonl",
        "d/_mine.jsonl",
    )
    assert names(found(tmp_path, "d")) == names(found(tmp_path, "d/**")) == ["d/a.jsonl"]
    assert names(found(tmp_path, "d/_*.jsonl")) == names(found(tmp_path, "d/_mine.jsonl")) == ["d/_mine.jsonl"]
    hidden_root = tmp_path / "d" / ".hidden"
    assert names(found(hidden_root, "*.jsonl")) == ["c.jsonl"]


def test_the_order_of_a_listing_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *(f"{i}.jsonl" for i in range(9)), *(f"{i}.txt" for i in range(9)))
    expected = found(tmp_path, "*")
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: nullcontext(reversed(list(scandir(path)))))
    assert found(tmp_path, "*") == expected
    assert [spec.files[0].url for spec in expected] == sorted(spec.files[0].url for spec in expected)


def test_sources_come_in_recipe_order(tmp_path: Path) -> None:
    touch(tmp_path, "a.jsonl", "z.jsonl")
    sources = [Source(name="last", path="z.jsonl"), Source(name="first", path="a.jsonl")]
    assert [(spec.source, spec.name) for spec in discover(sources, str(tmp_path))] == [
        ("last", "z.jsonl"),
        ("first", "a.jsonl"),
    ]


def test_large_files_of_lines_become_parts(tmp_path: Path) -> None:
    touch(tmp_path, "a.jsonl", "b.jsonl.gz")
    specs = found(tmp_path, "a.jsonl", part_bytes=300)
    assert len(specs) == -(-len(LINES) // 300)
    assert specs[0].part == (0, specs[1].part[0] if specs[1].part else None)
    assert specs[-1].part is not None
    assert specs[-1].part[1] == len(LINES)
    source = Source(name="docs", path="a.jsonl", part_bytes=300)
    read = [list(read_shard(spec, source)) for spec in specs]
    assert [d for part in read for b in part for d in b.documents["text"].to_pylist()] == [
        f"document {i}" for i in range(50)
    ]
    assert sum(part[-1].lines for part in read) == 50
    assert [spec.part for spec in found(tmp_path, "b.jsonl.gz", part_bytes=300)] == [None]


def test_small_texts_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *(f"{i:02d}.txt" for i in range(10)), content=b"0123456789")
    touch(tmp_path, "05x.txt.gz", content=b"")
    groups = found(tmp_path, "*", part_bytes=35)
    assert [len(spec.files) for spec in groups] == [3, 3, 1, 3, 1]
    assert names(groups)[:3] == ["00.txt ... 02.txt", "03.txt ... 05.txt", "05x.txt.gz"]
    monkeypatch.setattr(discovering, "GROUP_FILES", 2)
    assert [len(spec.files) for spec in found(tmp_path, "*.txt")] == [2] * 5


def test_identity_changes_with_the_file_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.jsonl")
    (before,) = found(tmp_path, "a.jsonl")
    (again,) = found(tmp_path, "*")
    assert json.dumps(before.identity()) == json.dumps(again.identity())
    touch(tmp_path, "a.jsonl", content=LINES.replace(b"document", b"DOCUMENT"))
    (changed,) = found(tmp_path, "a.jsonl")
    assert changed.identity() != before.identity()
    parts = [json.dumps(spec.identity()) for spec in found(tmp_path, "a.jsonl", part_bytes=300)]
    assert len(set(parts)) == len(parts)


def test_specs_travel(tmp_path: Path) -> None:
    touch(tmp_path, "a.jsonl")
    for spec in found(tmp_path, "a.jsonl", part_bytes=300):
        assert pickle.loads(pickle.dumps(spec)) == spec
        assert ShardSpec.model_validate(json.loads(json.dumps(spec.to_json()))) == spec
        assert hash(spec) == hash(pickle.loads(pickle.dumps(spec)))


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        (
            "data/doc-*.jsonl",
            {},
            r"nothing matches .*data/doc-\*\.jsonl; the folder .*/data holds 2 entries: docs-1\.jsonl, x\.bin",
        ),
        (
            "dat/docs-*.jsonl",
            {},
            r"nothing matches .*; the folder .* holds 2 entries: data, empty; did you mean data\?",
        ),
        ("data/docs-2.jsonl", {}, r"nothing matches .*did you mean docs-1\.jsonl\?"),
        ("empty", {}, "nothing matches"),
        ("empty/*.jsonl", {}, r"the folder .*/empty is empty"),
        (
            "data/*",
            {},
            r"the format of data/x\.bin cannot be told from its name; set `format` to one of jsonl, json, parquet",
        ),
        ("nope://bucket/x", {}, "cannot be opened: Protocol not known: nope"),
        (
            "data/docs-1.jsonl",
            {"format": "wet", "text": "body"},
            "the fields id, url, date, language, text; there is no body",
        ),
        (
            "data/docs-1.jsonl",
            {"format": "text", "url": "url"},
            "read as text, whose records have the fields id, text; there is no url",
        ),
        ("data", {"format": "python_env"}, "holds no installed packages"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_runs(
    tmp_path: Path, path: str, fields: dict[str, Any], message: str
) -> None:
    touch(tmp_path, "data/docs-1.jsonl", "data/x.bin")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match=message):
        found(tmp_path, path, **fields)


@pytest.mark.parametrize(
    ("name", "message"), [("a.warc.gz", "holds pages: write `format: warc`"), ("a.parquet.gz", "unpack the .gz file")]
)
def test_files_that_would_be_misread_are_refused(tmp_path: Path, name: str, message: str) -> None:
    touch(tmp_path, name)
    with pytest.raises(RecipeError, match=message):
        found(tmp_path, "*")


@pytest.mark.parametrize("fields", [{}, {"format": "jsonl"}])
def test_files_packed_by_what_is_not_read_are_refused_by_name(tmp_path: Path, fields: dict[str, Any]) -> None:
    touch(tmp_path, "a.jsonl.7z")
    with pytest.raises(RecipeError, match=r"a\.jsonl\.7z: \.7z files are not read; unpack it, or pack it as \.gz"):
        found(tmp_path, "a.jsonl.7z", **fields)


def test_a_folder_that_may_not_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(RecipeError, match=r"may not be listed .*give this user the right"):
        found(tmp_path, "*.jsonl")


def test_stores_other_than_the_disk(tmp_path: Path) -> None:
    base = f"memory:/{tmp_path}"
    for name in ("docs/b.jsonl", "docs/a.jsonl"):
        with fsspec.open(f"{base}/{name}", "wb") as file:
            file.write(LINES)
    specs = found(base, "docs/*.jsonl")
    assert names(specs) == ["docs/a.jsonl", "docs/b.jsonl"]
    assert specs[0].files[0].size == len(LINES)
    before = specs[0].files[0].version
    assert before
    with fsspec.open(f"{base}/docs/a.jsonl", "wb") as file:
        file.write(LINES)
    assert found(base, "docs/*.jsonl")[0].files[0].version != before
    assert [file.name for file in discover_files(f"{base}/docs/*.jsonl")] == [spec.files[0].url for spec in specs]


class Handler(http.server.SimpleHTTPRequestHandler):
    def send_head(self) -> Any:
        for word, status in {"broken": 503, "secret": 403}.items():
            if word in self.path:
                return self.send_error(status)
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server that serves the test's folder, and refuses what is called broken (503) or secret (403)."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_files_on_the_web(tmp_path: Path, web: str) -> None:
    touch(tmp_path, "docs.jsonl")
    source = Source(name="docs", path=f"{web}/docs.jsonl?token=1")
    (spec,) = discover([source], "/")
    assert (spec.format, spec.files[0].size) == ("jsonl", len(LINES))
    assert spec.files[0].version
    (batch,) = read_shard(spec, source)
    assert batch.documents.num_rows == 50
    with pytest.raises(RecipeError, match="nothing matches"):
        found("/", f"{web}/missing.jsonl")
    with pytest.raises(RecipeError, match="may not be listed"):
        found("/", f"{web}/secret.jsonl")


def test_a_web_server_in_trouble_is_tried_again(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.time, "sleep", lambda _: None)
    with pytest.raises(RetryableError, match="503"):
        found("/", f"{web}/broken.jsonl")
    with pytest.raises(RetryableError, match=f"nobody-listens.jsonl cannot be reached.*tried {remote.TRIES} times"):
        found("/", "http://127.0.0.1:9/nobody-listens.jsonl")


def test_sources_on_other_stores_are_listed_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each listing waits for another to begin: one after the other they would never end."""
    for i in range(2):
        with fsspec.open(f"memory://side-by-side/{i}/a.jsonl", "wb") as file:
            file.write(LINES)
    together = threading.Barrier(2, timeout=20)
    info = MemoryFileSystem.info

    def waiting(self: Any, path: str, **named: Any) -> Any:
        if path.endswith("*.jsonl"):
            together.wait()
        return info(self, path, **named)

    monkeypatch.setattr(MemoryFileSystem, "info", waiting)
    sources = [Source(name=f"s{i}", path=f"memory://side-by-side/{i}/*.jsonl") for i in range(2)]
    discovery = Discovery("/")
    discovery.list_ahead([*sources, Source(name="gone", path="memory://side-by-side/none")])
    assert [len(discovery.find(source).specs) for source in sources] == [1, 1]
    with pytest.raises(RecipeError, match="nothing matches"):
        discovery.find(Source(name="gone", path="memory://side-by-side/none"))

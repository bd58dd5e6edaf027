"""Folders called key=value: their keys are fields of the records below, in every format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import RecipeError, ShardError
from gristmill.pipelines.config import located_yaml
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.partitions import NULL, keys_of
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.store.registry import Registry
from tests.pipelines.stages.test_run import MakeRecipe, execute, rows

FORMATS = ["jsonl", "json", "parquet", "csv", "tsv", "txt", "warc.wet"]


def written(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match "".join(path.suffixes):
        case ".jsonl":
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
        case ".json":
            path.write_text(json.dumps(records))
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(records), path)
        case ".csv" | ".tsv" as suffix:
            table = io.StringIO()
            writer = csv.DictWriter(table, list(records[0]), delimiter="," if suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(records)
            path.write_text(table.getvalue())
        case ".txt":
            path.write_text(records[0]["text"])
        case ".warc.wet":
            body = records[0]["text"].encode()
            head = (
                f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Record-ID: <urn:a>\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            path.write_bytes(head.encode() + body + b"\r\n\r\n")


def read(folder: Path, **fields: Any) -> list[dict[str, Any]]:
    """The metadata of all documents, in order."""
    source = Source(name="docs", path="data", **fields)
    columns = list(source.metadata)
    return [
        {name: row[name] for name in columns}
        for spec in discover([source], str(folder))
        for batch in read_shard(spec, source)
        for row in batch.documents.to_pylist()
    ]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("files", [1, 40], ids=["alone", "together"])
def test_keys_are_metadata_in_every_format(tmp_path: Path, format_: str, files: int) -> None:
    """Also where small files are read together, each in a folder of its own."""
    expected = []
    for i in range(files):
        for lang, shown in (("de", "de"), ("en%20us", "en us"), ("pt=br", "pt=br"), (NULL, None)):
            written(tmp_path / f"data/n={i:02d}/lang={lang}/part.{format_}", [{"text": f"text {i} {lang}"}])
            expected.append({"lang": shown, "n": i})
    found = read(tmp_path, metadata={"lang": "string", "n": "int"})
    key = str
    assert sorted(found, key=key) == sorted(expected, key=key)


def test_types(tmp_path: Path) -> None:
    written(tmp_path / "data/n=3/x=0.5/b=True/j=a%22b/a.jsonl", [{"text": "a"}])
    wanted = {"n": "int", "x": "float", "b": "bool", "j": "json", "of_n": {"field": "n", "type": "string"}}
    assert read(tmp_path, metadata=wanted) == [{"n": 3, "x": 0.5, "b": True, "j": '"a\\"b"', "of_n": "3"}]
    with pytest.raises(ShardError, match=r"the folder j=a\"b gives no value of type int for the metadata column j"):
        read(tmp_path, metadata={"j": "int"})


@pytest.mark.parametrize("format_", ["jsonl", "json", "parquet", "csv", "tsv"])
def test_what_the_file_says_counts(tmp_path: Path, format_: str) -> None:
    written(tmp_path / f"data/lang=de/a.{format_}", [{"text": "a", "lang": "fr"}])
    written(tmp_path / f"data/lang=de/lang=en/b.{format_}", [{"text": "b"}])
    assert read(tmp_path, metadata=["lang"]) == [{"lang": "fr"}, {"lang": "en"}]


def test_a_record_that_has_no_such_field_takes_the_key(tmp_path: Path) -> None:
    written(tmp_path / "data/lang=de/a.jsonl", [{"text": "a", "lang": None}, {"text": "b"}, {"text": "c", "lang": "x"}])
    assert [row["lang"] for row in read(tmp_path, metadata=["lang"])] == [None, "de", "x"]


def test_texts_of_which_some_have_no_key(tmp_path: Path) -> None:
    written(tmp_path / "data/lang=de/a.txt", [{"text": "a"}])
    written(tmp_path / "data/b.txt", [{"text": "b"}])
    with pytest.raises(RecipeError, match="there is no lang"):
        read(tmp_path, metadata=["lang"])


@pytest.mark.parametrize(
    ("url", "keys"),
    [
        ("/data/lang=de/a=b.parquet", {"lang": "de"}),
        ("s3://bucket/x%3D1=2/lang=/part-0", {"x=1": "2", "lang": ""}),
        ("https://host/a=1/file.jsonl?b=2/c=3", {"a": "1"}),
        ("/data/=x/y/part-0", {}),
    ],
)
def test_keys_of_paths(url: str, keys: dict[str, str]) -> None:
    assert keys_of(url) == keys


def test_listing_a_key_makes_another_shard(tmp_path: Path) -> None:
    """Shards that were read before keys were known keep their addresses where no key is used."""
    written(tmp_path / "data/lang=de/a.jsonl", [{"text": "a", "year": 1}])
    document = located_yaml.load("{}", "recipe.yaml")
    registry = Registry(str(tmp_path / "store"))
    ordinals = []
    for metadata in (["lang"], ["year"]):
        source = Source(name="docs", path="data", metadata=metadata)
        specs = [(spec, source) for spec in discover([source], str(tmp_path))]
        ordinals += [shard.ordinal for shard in registry.register(specs, document)]
    assert ordinals == [0, 1]


def test_rules_go_by_keys(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    for lang in ("de", "en"):
        written(tmp_path / f"data/lang={lang}/a.parquet", [{"text": f"a text {lang}"}])
    sources = [{"name": "docs", "path": "data/lang=*/*.parquet"}]
    with pytest.raises(RecipeError, match=r"docs has a field lang; list it there as metadata: \[lang\]"):
        execute(make_recipe(tmp_path, sources=sources, decide=[{"drop": "lang = 'de'"}]))
    sources = [{**sources[0], "metadata": ["lang"]}]
    recipe = make_recipe(tmp_path, sources=sources, decide=[{"drop": "lang = 'de'"}])
    assert rows(execute(recipe), "lang") == [("en",)]

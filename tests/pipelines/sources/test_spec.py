from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from gristmill.pipelines.sources.spec import RESERVED, Source


def source(**fields: Any) -> Source:
    return Source(name="docs", path="*.jsonl", **fields)


def test_metadata_is_a_list_of_fields_or_a_mapping() -> None:
    assert list(source(metadata=["lang", "year"]).metadata_types()) == [
        ("lang", "lang", "string"),
        ("year", "year", "string"),
    ]
    mapping = {"year": "int", "lang": {"field": "meta.lang"}, "score": {"type": "float"}}
    assert list(source(metadata=mapping).metadata_types()) == [
        ("year", "year", "int"),
        ("lang", "meta.lang", "string"),
        ("score", "score", "float"),
    ]
    again = Source.model_validate(source(metadata=mapping).model_dump(mode="json"))
    assert again == source(metadata=mapping)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_names_of_own_columns_are_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(
        ValidationError, match=rf"'{name}' is a name that gristmill .*metadata: {{original_{name}: {{field: {name}}}}}"
    ):
        source(metadata=[name])
    assert source(metadata={f"original_{name}": {"field": name}}).schema().field(f"original_{name}").type == pa.string()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (["meta.lang"], r"has a dot.*metadata: {lang: {field: meta.lang}}"),
        ({"source": {"field": "meta.source"}}, r"metadata: {original_source: {field: meta.source}}"),
        (["lang", "lang"], "lang more than once"),
        ([""], "is not a name"),
        ({"year": "integer"}, "'string', 'int', 'float', 'bool' or 'json'"),
        ({"year": {"field": "year", "kind": "int"}}, "Extra inputs"),
        ("lang", "dictionary"),
    ],
)
def test_other_metadata_is_refused(metadata: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        source(metadata=metadata)


def test_the_schema_is_id_url_metadata_text() -> None:
    asked = source(url="link", metadata={"n": "int", "x": "float", "ok": "bool", "j": "json"})
    assert asked.schema() == pa.schema(
        [
            ("id", pa.string()),
            ("url", pa.string()),
            ("n", pa.int64()),
            ("x", pa.float64()),
            ("ok", pa.bool_()),
            ("j", pa.string()),
            ("text", pa.large_string()),
        ]
    )
    assert source().schema().names == ["id", "text"]


def test_the_fingerprint_is_of_what_is_read_from_a_file() -> None:
    base = source(metadata=["a", "b"]).reading_fingerprint()
    same = Source(name="other", path=["x", "y"], metadata={"a": "string", "b": {}}, part_bytes="1GB")
    assert same.reading_fingerprint() == base
    others: list[dict[str, Any]] = [
        {"metadata": ["b", "a"]},
        {"metadata": {"a": "int", "b": "string"}},
        {"metadata": {"a": {"field": "c"}, "b": "string"}},
        {"metadata": ["a", "b"], "text": "body"},
        {"metadata": ["a", "b"], "id": None},
        {"metadata": ["a", "b"], "url": "url"},
        {"metadata": ["a", "b"], "format": "jsonl"},
        {"metadata": ["a", "b"], "document_bytes": 1},
    ]
    assert len({base, *(source(**fields).reading_fingerprint() for fields in others)}) == len(others) + 1


def test_sizes_have_units() -> None:
    assert source(part_bytes="64MB", document_bytes="1MiB").part_bytes == 64_000_000
    assert source(document_bytes="1MiB").document_bytes == 1 << 20
    for size in ("0", "much", -1):
        with pytest.raises(ValidationError, match="part_bytes"):
            source(part_bytes=size)


def test_a_misspelt_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="txt"):
        source(txt="body")

"""Folders that are called `key=value`, as Hive, Spark, DuckDB and others write them: what they say of the files inside.

A key is a field of every record below its folder, unless the record, or the file's columns, have a field of that name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from gristmill.operators.errors import ShardError
from gristmill.pipelines.sources.spec import MetadataType, Source
from gristmill.pipelines.sources.storage import FileRef
from gristmill.pipelines.sources.values import FROM_CELLS

#: What stands for null.
NULL = "__HIVE_DEFAULT_PARTITION__"


def keys_of(url: str) -> dict[str, str | None]:
    """Keys and values of the folders that a file is in, the innermost counting; %20 and the like are decoded."""
    if "=" not in url:
        return {}
    folders = url.partition("://")[2].partition("?")[0] if "://" in url else url
    parts = (folder.partition("=") for folder in folders.split("/")[:-1])
    return {unquote(key): None if value == NULL else unquote(value) for key, sign, value in parts if key and sign}


def shared_keys(files: Iterable[FileRef]) -> set[str]:
    """The keys that all files have."""
    found = [set(keys_of(file.url)) for file in files]
    return set.intersection(*found) if found else set()


def uses_keys(source: Source, files: Iterable[FileRef]) -> bool:
    """Return whether a source lists keys of the files' folders as metadata."""
    fields = {field for _, field, _ in source.metadata_types()}
    return bool(fields) and any(fields & keys_of(file.url).keys() for file in files)


def given_by_path(source: Source, file: FileRef) -> dict[str, Any]:
    """The values of the metadata columns that the file's folders give.

    Raises ShardError where a value is not of the type that the source asks for.
    """
    keys = keys_of(file.url) if source.metadata else {}
    given: dict[str, Any] = {}
    for column, field, type_ in source.metadata_types():
        if field in keys:
            value = keys[field]
            try:
                given[column] = None if value is None else _converted(value, type_)
            except ValueError:
                raise ShardError(
                    f"{file.name}: the folder {field}={value} gives no value of type {type_} for the metadata column "
                    f"{column}; give the column another type in the recipe"
                ) from None
    return given


def _converted(value: str, type_: MetadataType) -> Any:
    """A value as a cell of a table would be read; as JSON it is a text."""
    return json.dumps(value, ensure_ascii=False) if type_ == "json" else FROM_CELLS[type_](value)

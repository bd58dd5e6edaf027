"""Values of folders named `key=value`, as Hive, Spark, DuckDB and others write them, for the files inside.

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

#: The value that stands for null.
NULL = "__HIVE_DEFAULT_PARTITION__"


def keys_of(url: str) -> dict[str, str | None]:
    """Return keys and values of a file's folders, of which the innermost counts; %20 and the like are decoded."""
    if "=" not in url:
        return {}
    folders = url.partition("://")[2].partition("?")[0] if "://" in url else url
    parts = (folder.partition("=") for folder in folders.split("/")[:-1])
    return {unquote(key): None if value == NULL else unquote(value) for key, sign, value in parts if key and sign}


def shared_keys(files: Iterable[FileRef]) -> set[str]:
    """Return the keys that all files have."""
    key_sets = [set(keys_of(file.url)) for file in files]
    return set.intersection(*key_sets) if key_sets else set()


def uses_keys(source: Source, files: Iterable[FileRef]) -> bool:
    """Return whether the metadata of a source has a key of the files' folders."""
    fields = {field for _, field, _ in source.metadata_types()}
    return bool(fields) and any(fields & keys_of(file.url).keys() for file in files)


def given_by_path(source: Source, file: FileRef) -> dict[str, Any]:
    """Return the values of the metadata columns that the file's folders give.

    Raises ShardError where a value is not of the type that the source asks for.
    """
    keys = keys_of(file.url) if source.metadata else {}
    values: dict[str, Any] = {}
    for column, field, type_ in source.metadata_types():
        if field in keys:
            value = keys[field]
            try:
                values[column] = None if value is None else _converted(value, type_)
            except ValueError:
                raise ShardError(
                    f"{file.name}: the folder {field}={value} gives no value of type {type_} for the metadata column "
                    f"{column}; give the column another type in the recipe"
                ) from None
    return values


def _converted(value: str, type_: MetadataType) -> Any:
    """Return a value as a cell of a table is read; as JSON it is a text."""
    return json.dumps(value, ensure_ascii=False) if type_ == "json" else FROM_CELLS[type_](value)

"""Texts of documents as a version holds them, for those whose files are gone, or other ones, since they were read."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.operators.columns import ID, TEXT
from gristmill.operators.errors import GristmillError
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Version


def held_texts(version: Version, documents: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Return texts that the files of a version hold, by the address of their documents (address, id, content_id).

    A document is found by its id and, where several have it, by its text, unless transforms have changed that. Left out
    are documents that are not found, those that cannot be told apart, and all where no column `text` was written.
    """
    wanted = {str(document[ID]) for document in documents}
    found: dict[str, list[str]] = defaultdict(list)
    for url in version.urls(version.manifest) if wanted else ():
        with contextlib.suppress(GristmillError, OSError):
            for row in _rows(url, wanted).to_pylist():
                found[row[ID]].append(row[TEXT])
    texts = {}
    for document in documents:
        candidates = list(dict.fromkeys(found[str(document[ID])]))
        if len(candidates) > 1:
            keys = [key.hex() for key in content_ids(pa.array(candidates, pa.large_string())).to_pylist()]
            candidates = [text for text, key in zip(candidates, keys, strict=True) if key == document["content_id"]]
        if len(candidates) == 1:
            texts[document["address"]] = candidates[0]
    return texts


def _rows(url: str, ids: set[str]) -> pa.Table:
    """Return id and text of some documents of a file, none where it lacks a column; other texts are not read."""
    none = pa.table({ID: pa.array([], pa.string()), TEXT: pa.array([], pa.string())})
    found = [none]
    with files.open_table(url) as opened:
        file = pq.ParquetFile(opened)
        if not {ID, TEXT} <= {*file.schema_arrow.names}:
            return none
        wanted = pa.array(sorted(ids), pa.string())
        for group in range(file.num_row_groups):
            here = pc.is_in(file.read_row_group(group, [ID], use_threads=False)[ID], wanted)
            if pc.any(here).as_py():
                rows = file.read_row_group(group, [ID, TEXT], use_threads=False).filter(here)
                found.append(rows.select([ID, TEXT]).cast(none.schema))
    return pa.concat_tables(found)

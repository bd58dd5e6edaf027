"""Datasets of a store as `query` shows them: a table of their versions, and the files of one."""

from __future__ import annotations

import pyarrow as pa

from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import FOLDER, Dataset

VERSIONS = pa.schema(
    [
        ("dataset", pa.string()),
        ("version", pa.string()),
        ("current", pa.bool_()),
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("text_bytes", pa.int64()),
        ("tokens", pa.int64()),
        ("new_rows", pa.int64()),  # that it added to those of earlier nights
        ("files", pa.int64()),
        ("parent", pa.string()),
        ("completes", pa.string()),  # the version that this one takes the place of
        ("path", pa.string()),
    ]
)


def versions(store: str) -> pa.Table:
    """Return the committed versions of all datasets (VERSIONS)."""
    records = []
    for name in files.names(files.join(store, FOLDER)):
        dataset = Dataset(store, name)
        current = dataset.current
        for version in dataset.versions():
            manifest = version.manifest
            row = {k: manifest[k] for k in ("rows", "bytes", "text_bytes", "tokens", "parent")}
            row |= {"new_rows": manifest.get("new", manifest)["rows"], "completes": manifest.get("completes")}
            row |= {"dataset": name, "version": version.name, "current": version.name == current}
            records.append({**row, "files": len(manifest["files"]), "path": version.url})
    return pa.Table.from_pylist(records, schema=VERSIONS)


def files_of(dataset: Dataset, version_name: str | None, only_new: bool) -> tuple[list[str], bool] | None:
    """Return the files of a version, by default the current one, or of what it added, and whether columns differ.

    None where there is no current one.

    Raises StoreDamaged where the version is not what was written.
    """
    if (name := version_name or dataset.current) is None:
        return None
    version = dataset.named(name)
    manifest = version.manifest
    return version.urls(manifest, only_new), bool(manifest.get("columns_changed"))

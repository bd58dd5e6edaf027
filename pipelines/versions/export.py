"""A version written where other programs look for tables: a Hugging Face folder, a Delta table, a Lance dataset."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import pyarrow as pa

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.readers.open_dataset import OpenDataset
from gristmill.pipelines.storage import files
from gristmill.pipelines.store import whole
from gristmill.pipelines.store.datasets import Dataset, Version
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.versions.card import card

Format = Literal["huggingface", "delta", "lance"]
FORMATS: tuple[Format, ...] = get_args(Format)
_PACKAGES = {"delta": "deltalake", "lance": "pylance"}


def export(
    store: str, name: str, to: str, format: str, reporter: Reporter, wanted: str | None = None
) -> dict[str, Any]:
    """Write a version to a folder or URL that holds nothing yet; return what was written.

    huggingface: the Parquet files as they are, below `data/`, and the card as README.md, written last. delta, lance: a
    table of the same rows in the same order. Raises RecipeError where there is no such version or format, its library
    is not installed, or something lies there already; StoreDamaged where the version is not what was written.
    """
    if format not in FORMATS:
        raise RecipeError(f"there is no format {format}{did_you_mean(format, FORMATS)}; take {', '.join(FORMATS)}")
    dataset = Dataset(store, name)
    version = dataset.find(wanted)
    if next(iter(files.paths(to)), None) is not None:
        raise RecipeError(f"something lies in {to} already; name a folder that holds nothing")
    write = _library(format)
    whole.check_version(dataset, version, RunRecords(store))
    manifest = version.manifest
    with reporter.stage("export", len(manifest["files"]), "file") as stage:
        if write is None:
            for url, target in _layout(version, to):
                with files.open_input(url) as source, files.replacing(target) as file:
                    shutil.copyfileobj(source, file, 1 << 22)
                stage.advance()
            files.write_bytes(files.join(to, "README.md"), card(store, name, version.name).encode())
        else:
            rows = OpenDataset(dataset.url, version.name).arrow()
            write(to, pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches()))
            stage.advance(len(manifest["files"]))
    return {"dataset": name, "version": version.name, "format": format, "to": to, "documents": manifest["rows"]}


def _layout(version: Version, to: str) -> Iterator[tuple[str, str]]:
    """Yield each file of a version and its place in a folder for Hugging Face."""
    urls = version.urls(version.manifest)
    for i, url in enumerate(urls):
        yield url, files.join(to, "data", f"train-{i:05d}-of-{len(urls):05d}.parquet")


def _library(format: str) -> Callable[[str, pa.RecordBatchReader], object] | None:
    """Return the function that writes a table; None where files are copied."""
    try:
        if format == "delta":
            import deltalake

            return lambda to, rows: deltalake.write_deltalake(to, rows, mode="error")
        if format == "lance":
            import lance

            return lambda to, rows: lance.write_dataset(rows, to, mode="create")
    except ImportError:
        raise RecipeError(f"{format} needs a library that is not installed: pip install {_PACKAGES[format]}") from None
    return None

"""Texts of documents that a store knows: read again where they lie, as the run that measured them found them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from gristmill.operators import columns
from gristmill.operators.base import Transform
from gristmill.operators.errors import GristmillError, RecipeError, ShardError
from gristmill.operators.extract.extract import Extract
from gristmill.operators.measures.distilled import Distilled
from gristmill.operators.table import name_of
from gristmill.pipelines.config import located_yaml
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.recipe.recipe import recorded_operators
from gristmill.pipelines.report.query import rows
from gristmill.pipelines.shard_tasks.reread import read_texts
from gristmill.pipelines.sources.discover import ShardSpec
from gristmill.pipelines.sources.formats import with_defaults
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.store.registry import Registry, Shard
from gristmill.pipelines.store.resources import resource
from gristmill.pipelines.store.run_records import Standing
from gristmill.pipelines.store.runs import Run


def stored_texts(
    standing: Sequence[Standing],
    addresses: Iterable[int],
    connection: duckdb.DuckDBPyConnection,
    documents: str = "documents",
) -> dict[int, str]:
    """Return texts of documents that some runs of a dataset decided, by address, before its transforms.

    `connection` has a view of what these runs decided, called `documents`.

    Raises ShardError where a shard is gone or no longer holds what was measured, and RecipeError where an environment
    variable that its URL is made of is not set.
    """
    by_ordinal: dict[int, list[int]] = defaultdict(list)
    for address in sorted(set(addresses)):
        by_ordinal[address >> columns.ROW_BITS].append(address)
    places = _places(standing)
    registries: dict[str, Registry] = {}  # by run: recipes may extract pages in other ways
    texts: dict[int, str] = {}
    for ordinal, shard_addresses in by_ordinal.items():
        run, source = places[ordinal]
        if run.name not in registries:
            registries[run.name] = _registry(run)
        shard = _shard(registries[run.name], ordinal, run, source)
        values = (
            text.as_py()
            for batch in read_texts(shard, _known(shard_addresses, connection, documents))
            for text in batch
        )
        texts.update(zip(shard_addresses, values, strict=True))
    return texts


def removed_lines(
    standing: Sequence[Standing], address: int, connection: duckdb.DuckDBPyConnection
) -> list[dict[str, str]]:
    """Return the lines that a dataset's transforms take out of a document, in their order: `transform`, `by`, `line`.

    `by` is what the transform calls the reason. Raises as `stored_texts` does, and GristmillError where the transforms
    cannot be applied here.
    """
    transforms = _transforms(standing, address)
    last = max((i for i, transform in enumerate(transforms) if transform.removes_lines), default=-1)
    if last < 0:
        return []
    texts = pa.array([stored_texts(standing, [address], connection)[address]], pa.large_string())
    removed = []
    for transform in transforms[: last + 1]:
        lines = transform.removed_lines(texts[0].as_py())
        removed += [{"transform": name_of(transform), "by": by, "line": line} for by, line in lines]
        texts = _applied(transform, texts)
    return removed


def transformed_text(standing: Sequence[Standing], address: int, connection: duckdb.DuckDBPyConnection) -> str:
    """Return the text of a document as the transforms of a dataset leave it. Raises as `removed_lines` does."""
    return transformed_texts(standing, [address], connection)[address]


def transformed_texts(
    standing: Sequence[Standing], addresses: Sequence[int], connection: duckdb.DuckDBPyConnection
) -> dict[int, str]:
    """Return texts of documents that one run decided, by address, as its transforms leave them: see `transformed_text`.

    Raises as `removed_lines` does.
    """
    found = stored_texts(standing, addresses, connection)
    texts = pa.array(found.values(), pa.large_string())
    for transform in _transforms(standing, addresses[0]):
        texts = _applied(transform, texts)
    return dict(zip(found, texts.to_pylist(), strict=True))


def columns_of_students(standing: Sequence[Standing], address: int) -> dict[str, tuple[int, Distilled]]:
    """Return the columns of a document that students measured, each with its place among the measures."""
    run, _ = _places(standing)[address >> columns.ROW_BITS]
    measures = recorded_operators(run.record["recipe"], "measure", f"run {run.name}")
    return {measure.column: (i, measure) for i, measure in enumerate(measures) if isinstance(measure, Distilled)}


def student_of_column(standing: Sequence[Standing], address: int, column: str) -> tuple[str, str | None]:
    """Return the path or URL of the student that a column of a document is measured by, and the label asked for.

    Raises RecipeError where none is, or it is no longer the one that was measured by.
    """
    run, _ = _places(standing)[address >> columns.ROW_BITS]
    by = columns_of_students(standing, address)
    if column not in by:
        raise RecipeError(f"no student measured {column} of {run.record['name']}{did_you_mean(column, by)}")
    i, measure = by[column]
    measured_by = run.record.get("resources", {})
    for name, path in measure.resources().items():
        known = measured_by.get(f"measure.{i}.{name_of(measure)}.{name}")
        if known is None:
            raise RecipeError(f"run {run.name} does not tell where {path} lay; name the student with --student")
        if resource(known["url"], column).digest != known["digest"]:
            raise RecipeError(
                f"{known['url']} is another than {column} was measured by; run the recipe again, or ask about what is "
                "there with --student"
            )
    return measured_by[f"measure.{i}.{name_of(measure)}.model"]["url"], measure.label


def _transforms(standing: Sequence[Standing], address: int) -> Sequence[Transform]:
    """Return the transforms of the run that decided a document of a dataset."""
    run, _ = _places(standing)[address >> columns.ROW_BITS]
    transforms: Sequence[Transform] = recorded_operators(run.record["recipe"], "transform", f"run {run.name}")
    return transforms


def _applied(transform: Transform, texts: pa.LargeStringArray) -> pa.LargeStringArray:
    if transform.resources():
        raise GristmillError(f"{name_of(transform)} needs files that a store does not hold")
    return transform.open({})(texts)


def _places(standing: Sequence[Standing]) -> dict[int, tuple[Run, str]]:
    """Return the run whose decisions stand, and the source, of each shard, by ordinal."""
    return {row["ordinal"]: (stands.run, row["source"]) for stands in standing for row in stands.shards}


def _registry(run: Run) -> Registry:
    """Return the registry as a run saw it."""
    written = run.record["recipe"].get("extract")
    return Registry(run.store, None if written is None else Extract.model_validate(written))


def _shard(registry: Registry, ordinal: int, run: Run, source: str) -> Shard:
    """Return the shard as it was registered, secrets resolved from the environment.

    Raises ShardError where the text of its pages is not in the store: what only reads extracts nothing.
    """
    entry: Mapping[str, Any] = next(s for s in run.record["recipe"]["sources"] if s["name"] == source)
    record = {"source": entry, "spec": json.loads(registry.specs[ordinal])}
    values = located_yaml.resolved(record, f"run {run.name}")
    completed = with_defaults(Source.model_validate(values["source"]))
    shard = registry.shard(ordinal, ShardSpec.model_validate(values["spec"]), completed)
    check_extracted(shard)
    return shard


def check_extracted(shard: Shard) -> None:
    """Raise ShardError where reading a shard would extract its pages, which what only reads does not."""
    if shard.extraction is not None and shard.extraction.counts(shard.ordinal) is None:
        raise ShardError(
            f"the text of the pages of {shard.spec.name} is not in the store as this machine extracts it; run the "
            "recipe again to extract it"
        )


def _known(addresses: list[int], connection: duckdb.DuckDBPyConnection, documents: str) -> pa.Table:
    """Return row and content id of documents of one shard, by ascending row."""
    where = "address IN (SELECT unnest(?)) ORDER BY address"
    sql = f"SELECT unhex(content_id) AS content_id FROM {documents} WHERE {where}"
    ids = rows(connection, sql, addresses)["content_id"].cast(columns.TYPES[columns.CONTENT_ID])
    row_mask = (1 << columns.ROW_BITS) - 1
    row_numbers = pa.array([address & row_mask for address in addresses], columns.TYPES[columns.ROW])
    return pa.table({columns.ROW: row_numbers, columns.CONTENT_ID: ids})

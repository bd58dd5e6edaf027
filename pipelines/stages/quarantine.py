"""The quarantine: records that are not documents, gathered from the shards, with file and line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.operators.errors import FatalError
from gristmill.pipelines.recipe.recipe import Recipe
from gristmill.pipelines.sources.formats import FORMATS
from gristmill.pipelines.stages.context import Context
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.measures import REJECTS, ShardCounts, ShardMeasures, in_file, rejects_file
from gristmill.pipelines.store.registry import Shard

#: `row` is the position in the shard, as in addresses; `file_row` that in the file, null where the file is the record.
SCHEMA = pa.schema([("source", pa.string()), ("file", pa.string()), ("file_row", pa.int64()), *REJECTS])
#: The number of kinds (file and reason) that are named on the console.
SHOWN = 10


def check_quarantine(context: Context) -> Context:
    """Gather the quarantine. Raises FatalError where a source gave more bad records than the recipe allows."""
    measured = context.all_measured
    rejects = gather(measured.shards, measured.counts, measured.measures)
    check_limit(context.plan.loaded.recipe, measured.shards, measured.counts, rejects)
    return replace(context, rejects=rejects)


def gather(shards: Sequence[Shard], counts: Sequence[ShardCounts], measures: Sequence[ShardMeasures]) -> pa.Table:
    """Return all rejects of a run. Lines and rows count from the start of the file, even where it was read in parts."""
    rows: list[dict[str, Any]] = []
    lines_before: Counter[tuple[str, str]] = Counter()
    rows_before: Counter[tuple[str, str]] = Counter()
    for shard, count, shard_measures in zip(shards, counts, measures, strict=True):
        part_of = (shard.source.name, shard.spec.name)
        if count.rejects:
            rejects = files.read_table(rejects_file(shard_measures.parts[0][0])).to_pylist()
            rows += [_placed(row, shard, count.ends, lines_before[part_of], rows_before[part_of]) for row in rejects]
        lines_before[part_of] += count.lines
        rows_before[part_of] += count.records
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _placed(
    row: dict[str, Any], shard: Shard, ends: Sequence[int], lines_before: int, rows_before: int
) -> dict[str, Any]:
    row = {**row, "source": shard.source.name, "file": shard.spec.name}
    if ends:
        position, file_row = in_file(ends, row["row"])
        row |= {"file": shard.spec.files[position].name}
        rows_before = file_row - row["row"]
    elif row["line"] is not None:
        row["line"] += lines_before
    if not FORMATS[shard.spec.format].is_document(shard.source):
        return {**row, "file_row": row["row"] + rows_before}
    file = row["id"] or shard.spec.name  # a text file is one record, and a shard holds many
    return {**row, "file": file, "detail": row["detail"].removeprefix(f"{file}: ")}


def check_limit(recipe: Recipe, shards: Sequence[Shard], counts: Sequence[ShardCounts], rejects: pa.Table) -> None:
    """Raise FatalError where a source gave more rejects than the recipe's limit allows."""
    totals: dict[str, Counter[str]] = {}
    for shard, count in zip(shards, counts, strict=True):
        totals.setdefault(shard.source.name, Counter()).update(records=count.records, rejects=count.rejects)
    for source in recipe.sources:
        of_source = totals.get(source.name, Counter())
        records, rejected = of_source["records"], of_source["rejects"]
        if rejected > recipe.limits.rejects * records:
            lines = "\n  ".join(remarks(rejects.filter(pc.equal(rejects["source"], source.name))))
            raise FatalError(
                f"{rejected:,} of the {records:,} records of source {source.name} are no documents, more than limits: "
                f"{{rejects: {recipe.limits.rejects}}} allows; nothing is committed\n  {lines}\n"
                "Check the source's format and field names, or raise the limit"
            )


def remarks(rejects: pa.Table) -> list[str]:
    """Return lines for the console: numbers of rejects by file and reason, each with the place of the first."""
    counts = Counter(zip(rejects["file"].to_pylist(), rejects["reason"].to_pylist(), strict=True))
    first: dict[Any, dict[str, Any]] = {}
    for row in rejects.to_pylist():
        first.setdefault((row["file"], row["reason"]), row)
    lines = [
        f"{where(first[key])}: {first[key]['detail']}" + (f" ({n:,} such)" if n > 1 else "")
        for key, n in counts.most_common(SHOWN)
    ]
    if len(counts) > SHOWN:
        sql = "SELECT file, reason, count(*) FROM quarantine GROUP BY ALL"
        lines.append(f'and {len(counts) - SHOWN} more kinds: `gristmill query "{sql}"` lists them')
    return lines


def where(reject: dict[str, Any]) -> str:
    """Return the place of a reject: `file:line`, the row (from 0) without lines, or the file if it is the record."""
    if reject["line"] is not None:
        return f"{reject['file']}:{reject['line']}"
    return f"{reject['file']} row {reject['file_row']}" if reject["file_row"] is not None else str(reject["file"])

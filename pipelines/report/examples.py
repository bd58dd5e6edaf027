"""`gristmill run --examples N`: some of the documents that went, with the reason and the beginning of their text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from gristmill.operators import columns
from gristmill.pipelines.plan import Plan
from gristmill.pipelines.report.explain import excerpt, sentence
from gristmill.pipelines.report.query import connect, rows
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.state.index import id_of
from gristmill.pipelines.state.registry import Shard

EXCERPT = 160  # characters


def examples(plan: Plan, shards: Sequence[Shard], n: int) -> list[dict[str, Any]]:
    """Up to n dropped documents, spread over the rules, chosen by hashes of addresses. Their text is read again."""
    connection = connect(plan.loaded.store)
    found = rows(
        connection,
        """
        WITH dropped AS (
            SELECT *, row_number() OVER (PARTITION BY rule ORDER BY hash(address)) AS nth
            FROM decisions WHERE dataset = ? AND NOT kept AND address >> ? IN (SELECT unnest(?))
        )
        SELECT d.* EXCLUDE (nth), o.id, s.id AS survivor_id
        FROM (SELECT * FROM dropped ORDER BY nth, rule LIMIT ?) d
        JOIN documents o ON o.address = d.address LEFT JOIN documents s ON s.address = d.survivor
        ORDER BY rule, nth
        """,
        plan.loaded.recipe.name,
        columns.ROW_BITS,
        [shard.ordinal for shard in shards],
        n,
    )
    chosen: list[dict[str, Any]] = found.to_pylist()
    by_ordinal = {shard.ordinal: shard for shard in shards}
    for document in chosen:
        ordinal, row = document["address"] >> columns.ROW_BITS, document["address"] & (1 << columns.ROW_BITS) - 1
        document["excerpt"] = excerpt(text_of(by_ordinal[ordinal], row), EXCERPT)
        if document["survivor"] is not None and document["survivor_id"] is None:  # an earlier run kept it
            document["survivor_id"] = id_of(plan.loaded.store, document["survivor"])
    return chosen


def text_of(shard: Shard, row: int) -> str:
    """The text of one document, as it stands in its file; reading stops once it is found."""
    return next(_texts(shard, row), "")


def _texts(shard: Shard, row: int) -> Iterator[str]:
    for batch in read_shard(shard.spec, shard.source, columns=()):
        at = pc.index(batch.documents[columns.ROW], pa.scalar(row, columns.TYPES[columns.ROW])).as_py()
        if at >= 0:
            yield batch.documents[columns.TEXT][at].as_py()


def show(chosen: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print the examples."""
    for document in chosen:
        console.print(f"{document['id']}", style="bold", markup=False)
        console.print(f"  {sentence(document)}", style="red", markup=False)
        console.print(f"  {document['excerpt']}", style="dim", markup=False)

"""`gristmill run --examples N`: some of the dropped documents, with the reason and the beginning of their text."""

from __future__ import annotations

from typing import Any

from gristmill.operators import columns
from gristmill.pipelines.config.wording import excerpt
from gristmill.pipelines.report.query import connect, rows
from gristmill.pipelines.report.stored_texts import stored_texts
from gristmill.pipelines.store.fuzzy_index import id_of
from gristmill.pipelines.store.run_records import RunRecords

EXCERPT = 160  # characters


def examples(store: str, dataset: str, run: str, n: int) -> list[dict[str, Any]]:
    """Return up to n documents that a run dropped, spread over its rules, chosen by hashes of addresses.

    Each is a row of the view `decisions` with `excerpt`, the beginning of its text, which is read again.
    """
    records = RunRecords(store)
    standing = records.standing(dataset, until=records.run(run))
    connection = connect(store, standing)
    shards = [row["ordinal"] for stands in standing if stands.run.name == run for row in stands.decided]
    dropped = rows(
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
        dataset,
        columns.ROW_BITS,
        shards,
        n,
    )
    documents: list[dict[str, Any]] = dropped.to_pylist()
    texts = stored_texts(standing, [document["address"] for document in documents], connection)
    for document in documents:
        document["excerpt"] = excerpt(texts[document["address"]], EXCERPT)
        if document["survivor"] is not None and document["survivor_id"] is None:  # an earlier run kept it
            document["survivor_id"] = id_of(store, document["survivor"])
    return documents

"""The view `losses` of `gristmill query`: what each rule took of each source, language or other group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.decide.losses import COUNTS
from gristmill.pipelines.store.run_records import Standing

#: A row of the view `losses`: what a rule took of the documents that have one value of a column.
LOSS_COLUMNS = pa.schema(
    [(name, pa.string()) for name in ("dataset", "counted_by", "value", "rule")]
    + [(name, pa.int64()) for name in COUNTS]
)


def loss_rows(standing: Sequence[Standing]) -> pa.Table:
    """Return the losses by source or other group and rule (LOSS_COLUMNS), of all runs that stand for a dataset."""
    sums: dict[tuple[str, ...], Counter[str]] = {}
    for stands in standing:
        for row in Funnel.from_json(stands.run.record["result"]["funnel"]).losses.rows():
            key = (stands.dataset, row["counted_by"], row["value"], row["rule"])
            sums.setdefault(key, Counter()).update({name: row[name] for name in COUNTS})
    rows = [{**dict(zip(LOSS_COLUMNS.names, key, strict=False)), **dict(counts)} for key, counts in sums.items()]
    return pa.Table.from_pylist(rows, schema=LOSS_COLUMNS)

"""The manifest of a dataset version: what it holds and what made it.

The same inputs give the same bytes: it holds no times, no machine and no secrets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import gristmill
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.shard_tasks.write import WriteReceipt
from gristmill.pipelines.stages.earlier_nights import EarlierNights
from gristmill.pipelines.store.datasets import Version
from gristmill.pipelines.store.measures import ShardCounts
from gristmill.pipelines.store.registry import Shard

FORMAT = 1


def build(
    plan: Plan,
    shards: Sequence[Shard],
    counts: Sequence[ShardCounts],
    funnel: Funnel,
    receipts: Sequence[WriteReceipt],
    version: Version,
    parent: str | None,
    before: EarlierNights | None = None,
    shards_of: Sequence[Any] = (),
    held_by: str | None = None,
) -> dict[str, Any]:
    """Return the manifest as plain values.

    Of a version with an index, `before` are the earlier nights that it is made of as well, whose files are listed
    first (some are written again here: `NightFile.written_to`), and `shards_of` the shards of each file that it wrote.
    `held_by` is the version in whose folder the files lie, where another one wrote them.
    """
    data_files = [file for receipt in receipts for file in receipt.files]
    own = [{**asdict(file), "path": f"{held_by or version.name}/{file.name}"} for file in data_files]
    added = {
        "rows": sum(f.rows for f in data_files),
        "bytes": sum(f.bytes for f in data_files),
        "text_bytes": sum(f.text_bytes for f in data_files),
        "tokens": funnel.kept_tokens,
    }
    schema = [{"name": f.name, "type": str(f.type)} for f in plan.output]
    listed, whole = own, added
    nights: dict[str, Any] = {}
    if before is not None:
        own = [{**file, "shards": shards} for file, shards in zip(own, shards_of, strict=True)]
        earlier, totals = before.listed(version)
        listed = [*earlier, *own]
        whole = {what: added[what] + sum(night[what] for night in totals) for what in added}
        changed = before.columns_changed or any(other != schema for other in before.schemas)
        nights = {"new": added, "nights": totals, "columns_changed": changed}
    recipe = {key: value for key, value in plan.loaded.as_written.items() if key != "store"}
    return {
        "format": FORMAT,
        "name": plan.loaded.recipe.name,
        "parent": parent,
        "code_version": gristmill.__version__,
        **whole,
        **nights,
        "schema": schema,
        "files": listed,
        "sources": _sources([source.name for source in plan.loaded.recipe.sources], shards, counts),
        "funnel": funnel.to_json(),
        "measures": plan.measured_by(),
        "labels": [{"task": task.name, "fingerprint": task.fingerprint} for task in plan.tasks],
        "recipe": recipe,
    }


def _sources(names: Sequence[str], shards: Sequence[Shard], counts: Sequence[ShardCounts]) -> list[dict[str, Any]]:
    """Return the totals of each source."""
    keys = ("records", "documents", "rejects", "text_bytes")
    totals = {name: {"name": name, "shards": 0, **dict.fromkeys(keys, 0)} for name in names}
    for shard, count in zip(shards, counts, strict=True):
        total: dict[str, Any] = totals[shard.source.name]
        total["shards"] += 1
        for key in keys:
            total[key] += getattr(count, key)
    return list(totals.values())

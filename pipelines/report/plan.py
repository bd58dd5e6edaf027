"""`gristmill plan`: what a run would do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa

from gristmill.operators.table import name_of
from gristmill.pipelines.decide import given_columns, rule_names
from gristmill.pipelines.label.columns import label_columns
from gristmill.pipelines.planning.plan import PlannedMeasure
from gristmill.pipelines.planning.state import StoreState
from gristmill.pipelines.sources import remarks


def to_json(state: StoreState) -> dict[str, Any]:
    """Return a plan, and the work that the store spares it, as plain values."""
    plan = state.plan
    recipe = plan.loaded.recipe
    sources = []
    pending = Counter(of.name for _, of in state.pending)
    known_shards = Counter(shard.source.name for shard in state.known)
    for source_files in plan.found:
        source = source_files.source
        size = sum({file.url: file.size for spec in source_files.specs for file in spec.files}.values())
        new, indexed = pending[source.name] - known_shards[source.name], len(source_files.specs) - pending[source.name]
        counts = {"shards": len(source_files.specs), "new": new, "indexed": indexed, **remarks.counts(source_files)}
        sources.append({"name": source.name, "path": source.path, **counts, "bytes": size})
    return {
        "name": recipe.name,
        "store": plan.loaded.document.redact(plan.loaded.store),
        "sources": plan.loaded.document.redact_value(sources),
        "remarks": plan.loaded.document.redact_value([*remarks.remarks(plan.found), *plan.looked]),
        "transform": [{"name": t.name, "columns": _columns(t.operator.gives())} for t in plan.transforms],
        "measure": [_measure(state, m) for m in (None, *plan.measures)],
        "decide": [
            {"name": name, "operator": name_of(rule), "reads": sorted(rule.reads()), "columns": _columns(schema)}
            for name, rule, schema in zip(rule_names(plan.rules), plan.rules, given_columns(plan.rules), strict=True)
        ],
        "label": [
            {
                "name": task.name,
                "annotators": [annotator.name for annotator in task.task.annotators],
                "unset_variables": task.document.unset,
                "columns": _columns(label_columns(task.task)),
            }
            for task in plan.tasks
        ],
        "write": {"shard_bytes": int(recipe.write.shard_bytes), "columns": _columns(plan.output)},
        "shards": len(state.pending),
        "index": None if state.index is None else {"name": state.index.name, "shards": state.indexed},
    }


def _measure(state: StoreState, measure: PlannedMeasure | None) -> dict[str, Any]:
    plan, cached = state.plan, state.cached(measure)
    if measure is None:
        fields = [f for f in plan.schema if not any(f.name in m.operator.gives().names for m in plan.measures)]
        return {"name": "document", "cached_shards": cached, "columns": _columns(pa.schema(fields))}
    entry: dict[str, Any] = {
        "name": measure.name,
        "cached_shards": cached,
        "columns": _columns(measure.operator.gives()),
    }
    if measure.needed_by:
        entry["needed_by"] = measure.needed_by
    if measure.fit is not None:
        entry["fit"] = "pinned" if measure.ready is not None else "to be made"
    return entry


def _columns(schema: pa.Schema) -> list[dict[str, str]]:
    return [{"name": f.name, "type": str(f.type)} for f in schema]

"""`gristmill plan`: what a run would do, as values and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from gristmill.operators.table import name_of
from gristmill.pipelines.config.wording import in_short, plural
from gristmill.pipelines.decide import given_columns, rule_names
from gristmill.pipelines.label.columns import label_columns
from gristmill.pipelines.planning.plan import PlannedMeasure
from gristmill.pipelines.planning.state import StoreState, index_remark
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
        "transform": [t.name for t in plan.transforms],
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


def show(plan: dict[str, Any], console: Console) -> None:
    """Print the plan: stage, what happens there, and the columns that it gives."""
    console.print(f"{plan['name']}  (store {plan['store']})", style="bold", markup=False)
    table = Table.grid(padding=(0, 2))
    stage = ""
    for name, what, detail in _lines(plan):
        table.add_row("" if name == stage else name, what, detail)
        stage = name
    console.print(table)
    for remark in plan["remarks"]:
        console.print(f"! {remark}", style="yellow", markup=False)


def _lines(plan: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for source in plan["sources"]:
        shards = f"{plural(source['shards'], 'shard')} ({source['new']} new)"
        yield "source", source["name"], f"{shards}, {source['bytes'] / 1e6:,.1f} MB in files"
    if plan["index"] is not None:
        yield "index", plan["index"]["name"], index_remark(plan["index"]["shards"], plan["shards"])
    for name in plan["transform"]:
        yield "transform", name, ""
    for measure in plan["measure"]:
        cached = f"{measure['cached_shards']} of {plural(plan['shards'], 'shard')} cached"
        because = [f"for {measure['needed_by']}"] if "needed_by" in measure else []
        fit = [f"fit {measure['fit']}"] if "fit" in measure else []
        yield "measure", measure["name"], f"{', '.join([cached, *fit, *because])}: {_columns_in_short(measure)}"
    for rule in plan["decide"]:
        gives = f"; gives {_columns_in_short(rule)}" if rule["columns"] else ""
        yield "decide", rule["name"], "reads " + (", ".join(in_short(rule["reads"])) or "nothing") + gives
    for task in plan["label"]:
        yield "label", task["name"], f"asks {', '.join(task['annotators'])}; gives {_columns_in_short(task)}"
        if task["unset_variables"]:
            yield "label", "", f"not set yet, and needed by a run: {', '.join(task['unset_variables'])}"
    size = plan["write"]["shard_bytes"]
    shard_size = f"{size / 1e6:,.0f} MB" if size >= 1_000_000 else f"{size:,} bytes"
    yield "write", "dataset", f"{shard_size} of text a file: {_columns_in_short(plan['write'])}"


def _columns_in_short(entry: dict[str, Any]) -> str:
    types = {column["name"]: column["type"].removeprefix("fixed_size_") for column in entry["columns"]}
    return ", ".join(f"{name} {types[name]}" if name in types else name for name in in_short(types))

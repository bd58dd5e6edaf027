"""Plans and operators on the console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from gristmill.pipelines.config.wording import in_short, plural
from gristmill.pipelines.planning.state import index_remark


def show_plan(plan: dict[str, Any], console: Console) -> None:
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
    for transform in plan["transform"]:
        yield "transform", transform["name"], f"gives {_columns_in_short(transform)}" if transform["columns"] else ""
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


def show_operators(entries: list[dict[str, Any]], console: Console) -> None:
    """Print the catalogue."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("operator", "section", ""):
        table.add_column(heading)
    for entry in entries:
        table.add_row(entry["name"], entry["section"], entry["summary"])
    console.print(table)


def show_operator(entry: dict[str, Any], console: Console) -> None:
    """Print all about one operator."""
    console.print(f"{entry['name']} (under {entry['section']})", style="bold")
    console.print(entry["documentation"], markup=False)
    for title, rows in (("options", entry["fields"]), ("columns", entry["columns"])):
        if rows:
            table = Table(box=None, pad_edge=False, title=title, title_justify="left", show_header=False)
            for row in rows:
                table.add_row("  " + row["name"], row.get("type") or _given(row), row["description"])
            console.print(table)


def _given(option: dict[str, Any]) -> str:
    if option["required"]:
        return "required"
    return "optional" if option["default"] is None else f"default {option['default']}"

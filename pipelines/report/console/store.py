"""The contents of a store on the console: its indexes, its labelling tasks, files that are not as they were written."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from gristmill.pipelines.config.quoting import in_one_line
from gristmill.pipelines.config.wording import in_units, plural
from gristmill.pipelines.report.console.labelling import short_model
from gristmill.pipelines.report.verify import DAMAGED, FOREIGN, GONE, LEFT_OVER, Verified

SHOWN = 20  # findings of a sort that are named on the console


def show_indexes(found: list[dict[str, Any]], console: Console) -> None:
    """Print indexes: parameters, then a line for each generation."""
    for index in found:
        documents = sum(generation["documents"] for generation in index["generations"])
        console.print(f"index {index['name']}: {plural(documents, 'document')}", style="bold", markup=False)
        parts = (f"{name} {', '.join(v) if isinstance(v, list) else v}" for name, v in index["parameters"].items() if v)
        console.print(f"  {', '.join(parts)}", style="dim", markup=False)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("generation", "made by", "sources (shards)"):
            table.add_column(heading)
        for heading in ("documents", "MB"):
            table.add_column(heading, justify="right")
        for generation in index["generations"]:
            sources = ", ".join(f"{name} ({shards})" for name, shards in generation["sources"].items())
            cells = (generation["name"], generation["made_by"], sources, f"{generation['documents']:,}")
            table.add_row(*cells, f"{generation['bytes'] / 1e6:,.1f}")
        console.print(table)


def show_tasks(found: list[dict[str, Any]], console: Console) -> None:
    """Print tasks: a line for each annotator, then what was spent in all."""
    for task in found:
        console.print(f"task {task['task']}: {plural(task['documents'], 'document')}", style="bold", markup=False)
        console.print(f"  labels/{task['fingerprint']}", style="dim", markup=False)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("annotator", "model"):
            table.add_column(heading, overflow="fold")
        for heading in ("answers", "invalid", "abstained", "sure", "tokens in", "out", "cost", "last"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in task["annotators"]:
            counts = (f"{row[name]:,}" for name in ("answers", "invalid", "abstained"))
            probability = "" if row["probability"] is None else f"{row['probability']:.2f}"
            used = (in_units(row[name]) for name in ("input_tokens", "output_tokens"))
            models = ", ".join(map(short_model, (row["model"] or "").split(", ")))
            cells = (row["annotator"], models, *counts, probability, *used, f"{row['cost']:,.2f}")
            table.add_row(*cells, row["last"][:10])
        console.print(table)
        spent = task["spent"]
        tokens = f"{in_units(spent['input_tokens'])} tokens in, {in_units(spent['output_tokens'])} out"
        answers = plural(spent["documents"], "document")
        console.print(f"spent    {answers}, {tokens}, cost {spent['cost']:,.4g}", markup=False)
        if lost := sum(row["unanswered_tokens"] for row in task["annotators"]):
            console.print(
                f"         of these {in_units(lost)} tokens may have been charged without an answer", style="dim"
            )


def show_findings(found: Verified, console: Console) -> None:
    """Print what was found: a line for each file that is not as it should be, then the sum."""
    for problem in (DAMAGED, GONE, LEFT_OVER, FOREIGN):
        mine = [finding for finding in found.findings if finding.problem == problem]
        style = "bold red" if problem in (DAMAGED, GONE) else "yellow"
        for finding in mine[:SHOWN]:
            console.print(f"{problem:<9} {in_one_line(finding.path)}", style=style)
            console.print(f"          {finding.repaired or finding.meaning}", style="dim")
        if len(mine) > SHOWN:
            console.print(f"{problem:<9} {plural(len(mine) - SHOWN, 'more file')}; --json lists all", style=style)
    extent = f"{plural(found.files, 'file')} of {found.bytes / 1e6:,.1f} MB read"
    old = f", {plural(found.unsealed, 'file')} of earlier versions without a seal" if found.unsealed else ""
    counts = Counter(finding.problem for finding in found.findings)
    summary = ", ".join(f"{n:,} {problem}" for problem, n in counts.items()) or "all as they were written"
    console.print(f"{extent}{old}: {summary}", style="bold red" if found.wrong else "bold green")

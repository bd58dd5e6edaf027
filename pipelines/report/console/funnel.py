"""The funnel of a run on the console."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from gristmill.pipelines.config.wording import in_units
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.report.funnel import remarkable, remarks, warnings


def show_funnel(funnel: Funnel, console: Console) -> None:
    """Print the funnel as a table, below it what the rules went by and what deserves a look."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in (("", "left"), ("documents", "right"), ("of what came in", "right"), ("tokens", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]

    def row(label: str, n: int, of: int = 0, tokens: int | None = None, style: str = "") -> None:
        share = f"{n / of:.1%}" if of else ""
        figure = "" if tokens is None else f"{'~' if funnel.estimated else ''}{in_units(tokens)}"
        table.add_row(label, f"{n:,}", share, figure, style=style)

    if funnel.quarantined:
        row("records", funnel.records)
        row("- quarantined", funnel.quarantined, funnel.records, style="yellow")
    row("input", funnel.documents, tokens=funnel.tokens)
    for rule in funnel.rules:
        row(f"- {rule.name}", rule.dropped, rule.seen, rule.dropped_tokens, "yellow" if remarkable(rule) else "")
    row("kept", funnel.kept, funnel.documents, funnel.kept_tokens, "bold green")
    console.print(table)
    losses = funnel.losses
    for rule in funnel.rules:
        for remark in [*remarks(rule), *losses.remarks(rule.name)]:
            console.print(f"  {rule.name}: {remark}", style="dim", markup=False)
    for rule in funnel.rules:
        for warning in warnings(rule):
            console.print(f"! {rule.name} {warning}", style="yellow", markup=False)
    for warning in losses.warnings():
        console.print(f"! {warning}", style="yellow", markup=False)

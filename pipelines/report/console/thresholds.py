"""Quantiles by group on the console."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gristmill.pipelines.config.quoting import in_one_line
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.report.thresholds import GroupQuantiles


def show_thresholds(result: GroupQuantiles, console: Console) -> None:
    """Print the quantiles as a table, and the groups that are too small."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("column", result.by):
        table.add_column(Text(in_one_line(heading)))
    for heading in ("quantile", "threshold", "documents"):
        table.add_column(heading, justify="right")
    for row in result.quantiles:
        names = (Text(in_one_line(row.column)), Text(in_one_line(row.value)))
        table.add_row(*names, f"{row.quantile:g}", f"{row.threshold:.6g}", f"{row.documents:,}")
    console.print(table)
    for group in result.left_out:
        name = f"where {result.by} is null" if group.value is None else in_one_line(group.value)
        fewer = "" if group.value is None else f", fewer than {result.least:,}"
        told = f"! left out: {name}, {plural(group.documents, 'document')} with {in_one_line(group.column)}{fewer}"
        console.print(told, style="yellow", markup=False)

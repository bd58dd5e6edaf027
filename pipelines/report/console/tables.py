"""The rows of a query, and quantiles by group, on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gristmill.pipelines.config.quoting import in_one_line
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.progress.console import make_console
from gristmill.pipelines.report.thresholds import GroupQuantiles

WIDEST = 10_000  # characters of a line that is not for a terminal


def show_table(table: pa.Table, console: Console, most: int = 1000) -> None:
    """Print the rows as a table, one below the other where a terminal is too narrow; no more than `most` of them."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        shown.add_column(in_one_line(name), justify="right" if number else "left", no_wrap=True)
    rows = table.slice(0, most).to_pylist()
    for row in rows:
        shown.add_row(*map(_cell, row.values()))
    unbounded = console.options.update(width=WIDEST)
    if console.measure(shown, options=unbounded).maximum <= console.width:
        console.print(shown)
    elif console.is_terminal:
        _show_one_by_one(rows, console)
    else:  # a file or another program: whole lines
        make_console(file=console.file, width=WIDEST).print(shown, crop=False)
    if table.num_rows > most:
        console.print(f"... and {table.num_rows - most:,} more rows; --json prints all", style="dim")


def _show_one_by_one(rows: Sequence[Mapping[str, object]], console: Console) -> None:
    for i, row in enumerate(rows):
        console.print(f"row {i}", style="bold")
        record = Table(box=None, pad_edge=False, show_header=False)
        record.add_column(no_wrap=True)
        record.add_column(overflow="fold")
        for name, value in row.items():
            record.add_row("  " + in_one_line(name), _cell(value))
        console.print(record)


def _cell(value: object) -> str | Text:
    if value is None:
        return Text("null", style="dim")
    text = f"{value:.6g}" if isinstance(value, float) else value.hex() if isinstance(value, bytes) else str(value)
    return in_one_line(text)


def show_thresholds(result: GroupQuantiles, console: Console) -> None:
    """Print the quantiles as a table, and the groups that are too small."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("column", result.by):
        table.add_column(in_one_line(heading))
    for heading in ("quantile", "threshold", "documents"):
        table.add_column(heading, justify="right")
    for row in result.quantiles:
        names = (in_one_line(row.column), in_one_line(row.value))
        table.add_row(*names, f"{row.quantile:g}", f"{row.threshold:.6g}", f"{row.documents:,}")
    console.print(table)
    for group in result.left_out:
        name = f"where {result.by} is null" if group.value is None else in_one_line(group.value)
        fewer = "" if group.value is None else f", fewer than {result.least:,}"
        told = f"! left out: {name}, {plural(group.documents, 'document')} with {in_one_line(group.column)}{fewer}"
        console.print(told, style="yellow", markup=False)

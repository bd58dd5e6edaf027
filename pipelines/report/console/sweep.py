"""The curve of a sweep on the console."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from gristmill.pipelines.config.quoting import in_one_line
from gristmill.pipelines.config.wording import in_units
from gristmill.pipelines.report.sweep import PLACE, Sweep

#: Characters that the other columns of the table take at most, the name of the limit's column apart.
_OTHERS = 52
_NARROWEST, _WIDEST = 10, 60  # characters of a full bar
_EIGHTHS = " ▏▎▍▌▋▊▉"


def show_sweep(result: Sweep, console: Console) -> None:
    """Print what is kept by limit, with a bar for the share of the documents that came in."""
    limit = f"{result.rule}: {result.condition.replace(PLACE, 'limit')}" if result.now else result.condition
    now = f", now {result.now}" if result.now else ", a condition after all rules"
    console.print(f"{result.recipe}, {limit}{now}", style="bold", markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (in_one_line(result.column), "kept documents", "of what came in", "tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    width = min(_WIDEST, max(_NARROWEST, console.width - _OTHERS - len(result.column)))
    about = "~" if result.estimated else ""
    for point in result.points:
        share = point.documents / max(1, result.documents)
        counts = (f"{point.documents:,}", f"{share:.1%}", f"{about}{in_units(point.tokens)}")
        table.add_row(f"{point.limit:g}", *counts, _bar(share * width))
    console.print(table)
    for remark in result.remarks:
        console.print(f"! {remark}", style="yellow", markup=False)


def _bar(characters: float) -> str:
    whole, eighths = divmod(round(characters * 8), 8)
    return "█" * whole + (_EIGHTHS[eighths] if eighths else "")

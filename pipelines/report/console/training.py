"""The report on a classifier on the console."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from gristmill.pipelines.progress.console import literal
from gristmill.pipelines.train.report import TrainReport, cells, summary


def show_training(report: TrainReport, console: Console) -> None:
    """Print the report on a classifier."""
    plain: dict[str, Any] = {"box": None, "pad_edge": False, "title_justify": "left"}
    sides = Table("label", "learnt", "held out", "duplicates", "empty", title="Documents", **plain)
    for side in (report.positive, report.negative):
        sides.add_row(side.label, *(f"{n:,}" for n in (side.trained, side.held_out, side.duplicates, side.empty)))
    curve = Table("probability at least", "precision", "recall", "kept", title="Held out", **plain)
    for row in report.thresholds:
        curve.add_row(*cells(row))
    mistakes: list[RenderableType] = [
        literal("Most confident mistakes", "italic") if report.mistakes else "No mistakes at even odds."
    ]
    for mistake in report.mistakes:
        mistakes.append(f"{mistake.probability:.3f} for {mistake.id}, which is {mistake.label}")
        mistakes.append(literal(f"      {mistake.excerpt}", "dim", no_wrap=True, overflow="ellipsis"))
    warnings = [literal(f"! {warning}", "yellow") for warning in report.warnings()]
    console.print(Group(sides, summary(report), *warnings, curve, *mistakes))

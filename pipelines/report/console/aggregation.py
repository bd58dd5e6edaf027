"""Aggregated labels as a person sees them: what came out, how far annotators agree, how good each is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from gristmill.pipelines.config.wording import plural

_MOST = 20  # annotators and pairs that are shown


def show_aggregation(report: Mapping[str, Any], file: str | None, console: Console) -> None:
    """Print a report of `labels aggregate`, and the file that was written."""
    _show_report(report, console)
    if file is not None:
        console.print(f"labels   {file}")


def _show_report(report: Mapping[str, Any], console: Console) -> None:
    if report["method"] == "bradley_terry":
        ties = f", {report['ties']:,} of them ties" if report["ties"] else ""
        compared = plural(report["comparisons"], "comparison")
        console.print(f"{plural(report['items'], 'item')} by {compared}{ties}", style="bold")
        _show_left_out(report, console)
        return
    votes = f"{plural(report['votes'], 'vote')} of {plural(report['annotators'], 'annotator')}"
    console.print(f"{plural(report['items'], 'item')} by {votes}, {report['method']}", style="bold")
    _show_left_out(report, console)
    answers = ", ".join(f"{answer} {share:.1%}" for answer, share in report["answers"].items())
    console.print(f"answers  {answers}")
    if gold := report["gold"]:
        interval = f"{gold['low']:.1%} to {gold['high']:.1%}"
        seen = f"of {plural(gold['items'], 'item')} whose gold was not seen"
        console.print(f"gold     {gold['accuracy']:.1%} right ({interval}) {seen}")
    _show_agreement(report["agreement"], console)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("annotator")
    for heading in ("votes", "right (estimated)", "right (gold)"):
        table.add_column(heading, justify="right")
    for row in report["quality"][:_MOST]:
        gold_share = "" if row["gold_accuracy"] is None else f"{row['gold_accuracy']:.1%} of {row['gold_votes']:,}"
        table.add_row(row["annotator"], f"{row['votes']:,}", f"{row['accuracy']:.1%}", gold_share)
    console.print(table)
    if (more := len(report["quality"]) - _MOST) > 0:
        console.print(f"... and {plural(more, 'annotator')} more; --json prints all", style="dim")


def _show_left_out(report: Mapping[str, Any], console: Console) -> None:
    if report["left_out"]:
        console.print(f"! {plural(report['left_out'], 'record')} left out: a field is empty", style="yellow")


def _show_agreement(agreement: Mapping[str, Any], console: Console) -> None:
    """Print Krippendorff's alpha, overall, by stratum and at the top."""
    console.print(f"alpha    {_value(agreement['alpha'])} ({agreement['level']})")
    if top := agreement.get("top"):
        console.print(f"         {_value(top['alpha'])} among the top {top['share']:.0%}")
    for name, stratum in sorted(agreement.get("strata", {}).items(), key=lambda entry: -entry[1]["items"])[:_MOST]:
        console.print(f"         {_value(stratum['alpha'])} {name} ({plural(stratum['items'], 'item')})")
    if kappas := [pair["kappa"] for pair in agreement["pairs"] if pair["kappa"] is not None]:
        console.print(
            f"kappa    {min(kappas):.3f} to {max(kappas):.3f} over {plural(len(kappas), 'pair')} of annotators"
        )


def _value(alpha: float | None) -> str:
    return "-" if alpha is None else f"{alpha:.3f}"

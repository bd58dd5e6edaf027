"""The plan of a mixture on the console: the parts, what is taken of each, and what is taken too often."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from gristmill.pipelines.config.quoting import in_one_line
from gristmill.pipelines.config.wording import in_units
from gristmill.pipelines.readers.mix_plan import MixPlan


def show_mix(plan: MixPlan, console: Console) -> None:
    """Print a line for each part, the whole, and the remarks."""
    console.print(f"mixture {plan.options.name}", style="bold", markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("part", overflow="fold")
    strata = any(part.where is not None for part in plan.parts)
    if not strata:  # else their names need the room
        table.add_column("version", no_wrap=True)
    for heading in ("tokens", "taken", "share", "epochs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for part in plan.parts:
        name = in_one_line(part.name.removeprefix(f"{part.dataset.rpartition('/')[0]}/"))
        counts = (in_units(part.tokens_there), in_units(part.tokens), f"{part.tokens / plan.tokens:.2%}")
        repeated = "upsampled" if part.epochs > 1 else ""
        of = () if strata else (part.version,)
        table.add_row(name, *of, *counts, f"{part.epochs:.2f}", repeated)
    there = sum(part.tokens_there for part in plan.parts)
    table.add_row("all", *(() if strata else ("",)), in_units(there), in_units(plan.tokens), style="bold green")
    console.print(table)
    for dataset, version in dict.fromkeys((part.dataset, part.version) for part in plan.parts if strata):
        console.print(f"of       {version} of {in_one_line(dataset)}", markup=False)
    asked = sum(part.asked for part in plan.parts)
    console.print(
        f"asked    {asked:,} tokens; {plan.tokens - asked:+,} in {plan.sequences:,} sequences",
        style="dim",
        markup=False,
    )
    for remark in plan.remarks:
        console.print(f"! {remark}", style="yellow", markup=False)
    console.print(f"plan     {plan.url}", style="bold", markup=False)


def show_released(released: Sequence[tuple[str, str]], console: Console) -> None:
    """Print the versions, each after the URL of its dataset, that a mixture holds no longer."""
    for url, version in released:
        console.print(f"released {version} of {in_one_line(url)}", markup=False)
    if not released:
        console.print("nothing to release: the mixture holds no version")

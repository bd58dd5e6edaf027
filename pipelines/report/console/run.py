"""The summary of a run for the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from gristmill.operators.strata import cut_text
from gristmill.pipelines.config.quoting import in_one_line
from gristmill.pipelines.config.wording import in_units, plural
from gristmill.pipelines.report.console.documents import show_examples
from gristmill.pipelines.report.console.funnel import show_funnel
from gristmill.pipelines.report.console.labelling import show_label_result, show_waiting
from gristmill.pipelines.stages.context import RunResult

SHOWN_STEPS = 3
SHOWN_STRATA = 20


def show_result(result: RunResult, examples: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print what is new or odd, dropped documents, the funnel, where the time went, where the dataset is."""
    if result.nothing_new:
        shards = plural(result.indexed, "shard")
        console.print(f"nothing new: the index holds all {shards}; what follows is of the last run", markup=False)
    for line in result.listed:
        console.print(f"! {line}", style="yellow", markup=False)
    for message in result.unreadable:
        console.print(f"! left out: {message}", style="yellow", markup=False)
    for line in result.quarantined:
        console.print(f"! quarantined {line}", style="yellow", markup=False)
    for source, counts in result.left_out.items():
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        console.print(f"  {source}: no pages: {kinds}", style="dim", markup=False)
    if duplicates := _duplicate_ids(result):
        console.print(f"! {duplicates}", style="yellow", markup=False)
    for labelled in result.labels:
        show_label_result(labelled, console)
    show_waiting(result.waiting, console)
    show_examples(examples, console)
    show_funnel(result.funnel, console)
    if result.withdrawn:
        documents = plural(result.withdrawn, "document")
        console.print(f"withdrawn {documents} of files that are gone or other ones now", style="yellow", markup=False)
    if result.cached and not result.nothing_new:
        console.print(f"nothing new: all of this is of the run {result.run}, which did just this", markup=False)
    console.print(f"time     {_time(result)}", style="dim", markup=False)
    if result.whole is not None and result.whole > result.funnel.kept:
        console.print(f"in all   {plural(result.whole, 'document')} of this and of earlier nights", markup=False)
    if result.texts is not None:
        size = f"{result.texts['bytes'] / 1e6:,.1f} MB"
        told = f"{plural(result.texts['files'], 'file')} of {result.texts['version']} ({size}), not written again"
        console.print(f"texts    {told}", markup=False)
    if result.packed is not None:
        show_packed(result.packed, console)
    if result.report is not None:
        console.print(f"report   {result.report}", markup=False)
    console.print(f"dataset  {result.dataset}", style="bold", markup=False)
    if result.held is not None:
        show_held(result.recipe, result.dataset, result.held, console)


def show_held(dataset: str, version: str, why: str, console: Console) -> None:
    """Print that a version is held back, why, and how it is published; `version` is its name or URL."""
    name = version.rsplit("/", 1)[-1]
    console.print(f"! held back: {why}. Readers stay with the version that they have", style="yellow", markup=False)
    console.print(f"  `gristmill datasets publish {dataset} {name}` makes it theirs", style="yellow", markup=False)


def _duplicate_ids(result: RunResult) -> str:
    ids, examples = result.duplicate_ids["values"], result.duplicate_ids["examples"]
    if not ids:
        return ""
    sample = ", ".join(map(str, examples)) + (", ..." if ids > len(examples) else "")
    stand = "stands" if ids == 1 else "stand"
    return f"{plural(ids, 'id')} {stand} for more than one document ({sample}); all of these documents are kept apart"


def show_packed(packed: Mapping[str, Any], console: Console) -> None:
    """Print how many tokens are in how many sequences, what packing cost, and the strata that they are packed by."""
    places = packed["sequences"] * packed["length"]
    spared = packed["truncated_fitting"]
    whole = f", {spared:,} of which would fit into one" if spared else ""
    console.print(
        f"packed   {packed['tokens']:,} tokens in {plural(packed['sequences'], 'sequence')} of {packed['length']:,} "
        f"({packed['split']}; {packed['padding'] / max(1, places):.1%} of the places empty); "
        f"{packed['truncated']:,} of {plural(packed['documents'], 'document')} in several sequences{whole}",
        markup=False,
    )
    _show_strata(packed, console)


def _show_strata(packed: Mapping[str, Any], console: Console) -> None:
    """Print the strata, those with the most tokens first; nothing where there are none."""
    strata = sorted(packed.get("strata", ()), key=lambda told: -told["tokens"])
    if not strata:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for entry in packed["by"]:
        table.add_column(in_one_line(entry["column"]), overflow="fold")
    for heading in ("documents", "tokens", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    for told in strata[:SHOWN_STRATA]:
        names = ("" if value is None else in_one_line(str(value)) for value in told["stratum"].values())
        share = told["tokens"] / max(1, packed["tokens"])
        table.add_row(*names, f"{told['documents']:,}", in_units(told["tokens"]), f"{share:.2%}")
    console.print(table)
    if len(strata) > SHOWN_STRATA:
        console.print(f"... and {len(strata) - SHOWN_STRATA:,} more strata; --json has all", style="dim")
    for entry in packed["by"]:
        if "limits" in entry:
            cuts = zip(entry["cuts"], entry["limits"], strict=True)
            found = ", ".join(f"{cut_text(cut)}% at {'none' if at is None else f'{at:.6g}'}" for cut, at in cuts)
            console.print(f"  {in_one_line(entry['column'])}: {found}", style="dim", markup=False)


def _time(result: RunResult) -> str:
    """Return how long it took, and the largest shares of the processor time."""
    total = sum(result.processor_seconds.values())
    if result.cached or not total:
        return f"{result.seconds:.1f} s, all cached"
    largest = sorted(result.processor_seconds.items(), key=lambda item: -item[1])[:SHOWN_STEPS]
    shares = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in largest)
    return f"{result.seconds:.1f} s (processor: {shares})"

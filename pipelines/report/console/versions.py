"""Datasets and their versions on the console: lists, one in full, two compared, readers moved, versions collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from gristmill.pipelines.config.quoting import in_one_line
from gristmill.pipelines.config.wording import in_units, plural
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.recipe.recipe import WITHDRAWN
from gristmill.pipelines.report.console.funnel import show_funnel
from gristmill.pipelines.report.console.run import show_held, show_packed, show_result
from gristmill.pipelines.stages.context import RunResult

SHOWN, EXCERPT = 10, 160  # measures of a comparison, characters of its examples


def _table(left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in left:
        table.add_column(heading, overflow="fold", no_wrap=heading in ("version", "night"))
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def show_versions(found: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print a line for each version; those of several datasets with their names."""
    several = len({facts["dataset"] for facts in found}) > 1
    names = ("dataset", "version", "night") if several else ("version", "night")
    table = _table((*names, ""), ("documents", "new", "tokens", "MB", "own MB"))
    for facts in found:
        marks = [*(["current"] if facts["current"] else []), *facts["tags"]]
        marks += ["held back"] if facts["held"] else []
        cells = ([facts["dataset"]] if several else []) + [facts["version"], facts["date"], ", ".join(marks)]
        counts = [f"{facts['documents']:,}", f"{facts['new']:,}", in_units(facts["tokens"])]
        table.add_row(*map(in_one_line, cells), *counts, *(f"{facts[n] / 1e6:,.1f}" for n in ("bytes", "own_bytes")))
    if not several and found:
        console.print(f"dataset {found[0]['dataset']}", style="bold", markup=False)
    console.print(table)
    for facts in found:
        if facts["held"]:
            show_held(facts["dataset"], facts["version"], facts["held"], console)


def show_version(facts: Mapping[str, Any], console: Console) -> None:
    """Print what one version holds."""
    show_versions([facts], console)
    if facts["parent"]:
        console.print(f"follows  {facts['parent']}", markup=False)
    sources = _table(("source",), ("shards", "records", "documents", "quarantined", "MB"))
    for source in facts["sources"]:
        counts = (f"{source[name]:,}" for name in ("shards", "records", "documents", "rejects"))
        sources.add_row(in_one_line(source["name"]), *counts, f"{source['text_bytes'] / 1e6:,.1f}")
    console.print(sources)
    show_funnel(Funnel.from_json(dict(facts["funnel"])), console)
    if facts["packed"] is not None:
        show_packed(facts["packed"], console)
    columns = ", ".join(f"{column['name']} {column['type']}" for column in facts["schema"])
    console.print(f"columns  {columns}", markup=False)
    console.print(f"recipe   (gristmill {facts['code_version']})", markup=False)
    console.print(
        yaml.safe_dump(facts["recipe"], sort_keys=False, allow_unicode=True).rstrip(), style="dim", markup=False
    )
    console.print(f"files    {facts['files']:,}, from {facts['url']}", style="bold", markup=False)


def show_comparison(found: Mapping[str, Any], console: Console) -> None:
    """Print what came and went between two versions, by reason and by source, and the measures that moved most."""
    before, after = found["versions"]
    console.print(f"{found['dataset']}: {before} to {after}", style="bold", markup=False)
    totals = _table(("",), ("before", "after", "change"))
    for name in ("documents", "tokens"):
        a, b = found[name]
        share = f"{(b - a) / a:+.1%}" if a else ""
        totals.add_row(name, f"{a:,}", f"{b:,}", share)
    console.print(totals)
    for moves in found["came"]:
        before = "new" if moves["name"] is None else f"dropped by {in_one_line(moves['name'])} before"
        console.print(f"+ {_extent(moves)}: {before}", style="green", markup=False)
    for moves in found["went"]:
        now = "no longer read" if moves["name"] is None else f"dropped by {in_one_line(moves['name'])} now"
        now = "withdrawn: their files are gone or other ones now" if moves["name"] == WITHDRAWN else now
        console.print(f"- {_extent(moves)}: {now}", style="yellow", markup=False)
    if not found["came"] and not found["went"]:
        console.print("the same documents", style="green")
    sources = _table(("source",), ("before", "after", "came", "went"))
    for name, counts in found["sources"].items():
        cells = (counts[n] for n in ("documents_before", "documents_after", "came", "went"))
        sources.add_row(in_one_line(name), *(f"{cell:,}" for cell in cells))
    console.print(sources)
    measures = _table(("measure",), ("PSI", "KS", "median before", "after"))
    for drift in found["measures"][:SHOWN]:
        first, second = drift["quantiles"][1]
        measures.add_row(
            in_one_line(drift["column"]), *map(_figure, (drift["psi"], drift["ks"])), *map(_figure, (first, second))
        )
    console.print(measures)
    if len(found["measures"]) > SHOWN:
        console.print(f"... and {plural(len(found['measures']) - SHOWN, 'measure')} more; --json has all", style="dim")
    for line in found["recipe"]:
        console.print(in_one_line(line), style="dim", markup=False)
    for what, style in (("came", "green"), ("went", "yellow")):
        for document in found["examples"][what]:
            console.print(
                f"{what} {in_one_line(document['id'])} ({in_one_line(document['source'])})", style=style, markup=False
            )
            text = document["unreadable"] if document["excerpt"] is None else document["excerpt"][:EXCERPT]
            console.print(f"  {in_one_line(text)}", style="dim", markup=False)
    if found["html"] is not None:
        console.print(f"the page is in {found['html']}", markup=False)


def _extent(moves: Mapping[str, Any]) -> str:
    return f"{plural(moves['documents'], 'document')}, {in_units(moves['tokens'])} tokens"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def show_moved(moved: Mapping[str, Any], console: Console) -> None:
    """Print which version readers take now, and what becomes of those that they left."""
    documents = plural(moved["documents"], "document")
    console.print(f"readers of {moved['dataset']} take {moved['version']} now: {documents}", style="bold", markup=False)
    if moved["before"] not in (None, moved["version"]):
        console.print(f"  before   {moved['before']}", style="dim", markup=False)
    if moved["held"]:
        console.print(f"  held     {', '.join(moved['held'])}: no run publishes them again", style="dim", markup=False)
    if moved["index"]:
        console.print(
            f"! the index {moved['index']} holds their documents: the next run lists them again. "
            f"`gristmill index remove {moved['index']} --generation NAME` takes a night out, which is decided again",
            style="yellow",
            markup=False,
        )


def show_night(night: Mapping[str, Any], result: RunResult, console: Console) -> None:
    """Print what a night took in, how the dataset changed, what the guards say, and whether readers have it."""
    show_result(result, (), console)
    console.print(f"night    {night['night']}", style="bold", markup=False)
    if not night["changed"]:
        console.print(f"readers have {night['version']}: nothing changed", style="bold green", markup=False)
        return
    (documents, now), (tokens, tokens_now) = night["documents"], night["tokens"]
    console.print(f"  documents  {documents:,} to {now:,} ({now - documents:+,})", markup=False)
    console.print(f"  tokens     {in_units(tokens)} to {in_units(tokens_now)} ({tokens_now - tokens:+,})", markup=False)
    parts = (
        ("source", ("documents before", "now", "tokens before", "now"), night["sources"]),
        ("dropped by", ("last night", "now", "tokens last night", "now"), night["rules"]),
    )
    for what, headings, counts in parts:
        table = _table((what,), headings)
        for row in counts:
            cells = [*(f"{n:,}" for n in row["documents"]), *map(in_units, row["tokens"])]
            table.add_row(in_one_line(row["name"]), *cells)
        console.print(table)
    for guard in night["guards"]:
        style = "green" if guard["passes"] else "bold red"
        verdict = "passes" if guard["passes"] else "TRIPPED"
        console.print(f"guard {guard['guard']} {verdict}: {in_one_line(guard['told'])}", style=style, markup=False)
    if night["collected"] is not None and night["collected"]["going"]:
        gone, size = plural(len(night["collected"]["going"]), "old version"), night["collected"]["bytes"] / 1e6
        console.print(f"removed  {gone}, {size:,.1f} MB", style="dim", markup=False)
    if night["held"] is None:
        console.print(f"readers have {night['version']}", style="bold green", markup=False)
    else:
        show_held(night["recipe"], night["version"], night["held"], console)


def show_collection(found: Mapping[str, Any], done: bool, console: Console) -> None:
    """Print which versions go or have gone, and what keeps the others."""
    table = _table(("version", "night", "kept by"), ("own MB",))
    for version in found["versions"]:
        goes = not version["kept_by"]
        reason = ("removed" if done else "goes") if goes else ", ".join(version["kept_by"])
        style = "yellow" if goes else ""
        table.add_row(
            version["version"], version["date"], in_one_line(reason), f"{version['bytes'] / 1e6:,.1f}", style=style
        )
    console.print(table)
    if not found["going"]:
        console.print("nothing to remove: each version is kept by something", style="bold")
        return
    count = plural(len(found["going"]), "version")
    extent = f"{count} of {found['dataset']}, {found['bytes'] / 1e6:,.1f} MB"
    console.print(f"{extent} {'removed' if done else 'would go'}", style="bold", markup=False)

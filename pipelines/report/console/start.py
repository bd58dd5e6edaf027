"""A first look at data, the trial of a recipe, and checks of a machine, on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from gristmill.pipelines.config.quoting import in_one_line
from gristmill.pipelines.config.wording import plural

_FIELDS, _LANGUAGES = 12, 5
_LEAST = 0.01  # share of a language that is named
_STYLES = {"ok": "green", "note": "dim", "warning": "yellow", "wrong": "bold red"}
_MARKS = {"ok": "ok", "note": "-", "warning": "!", "wrong": "wrong"}


def show_look(look: Mapping[str, Any], console: Console) -> None:
    """Print what was found: files, formats, fields with an example, and for what each is taken."""
    for source in look["sources"]:
        format_ = "" if source["format"] == "auto" else f", {source['format']}"
        size = f"{source['bytes'] / 1e6:,.1f} MB"
        console.print(f"{source['name']}: {plural(source['files'], 'file')}, {size}{format_}", style="bold")
        for path in source["paths"][:_FIELDS]:
            console.print(f"  {path}", style="dim")
        console.print(_fields(source["fields"][:_FIELDS], console.width))
        if len(source["fields"]) > _FIELDS:
            console.print(
                f"  and {plural(len(source['fields']) - _FIELDS, 'more field')}; --json names all", style="dim"
            )
        for what, why in source["reasons"].items():
            console.print(f"  {what}: {why}", style="dim")
    looked = plural(look["documents_looked_at"], "document")
    files = f"{look['files_looked_at']:,} of {plural(look['files'], 'file')}"
    console.print(f"looked at {looked} in {files}, {look['seconds']:.1f} s", style="dim")
    for remark in look["remarks"]:
        console.print(f"! {remark}", style="yellow")


def _fields(fields: Sequence[Mapping[str, Any]], width: int) -> Table:
    """Return a table of fields in which only the examples are cut where the console is narrow."""
    rows = []
    for field in fields:
        kind = field["kind"] if field["share"] > 0.995 else f"{field['kind']} ({field['share']:.0%})"
        rows.append((f"  {in_one_line(field['field'])}", kind, field["taken_for"] or "", in_one_line(field["example"])))
    headings = ("  field", "holds", "taken for", "for example")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    taken = sum(max(len(row[i]) for row in (*rows, headings)) + 2 for i in range(3))
    for row in rows:
        table.add_row(*row[:3], row[3][: max(len(headings[3]), width - taken)])
    return table


def show_trial(sample: Mapping[str, Any], console: Console) -> None:
    """Print what the sample is like, and what the recipe took of it."""
    if sample["languages"]:
        shares = [f"{name} {share:.0%}" for name, share in sample["languages"].items() if share >= _LEAST][:_LANGUAGES]
        more = len(sample["languages"]) - len(shares)
        console.print(f"languages  {', '.join(shares)}{f' and {more:,} more' if more > 0 else ''}")
    low, middle, high = sample["bytes"].values()
    console.print(
        f"lengths    half of the texts have more than {middle:,} bytes; 5% fewer than {low:,}, 5% more than {high:,}"
    )
    console.print(f"copies     {sample['copies']:.1%} of the documents are copies of another in the sample")
    taken = ", ".join(f"{rule} takes {share:.1%}" for rule, share in sample["taken"].items())
    console.print(f"tried      {f'{taken}; ' if taken else ''}{sample['kept']:.0%} of the sample are kept")
    for warning in sample["warnings"]:
        console.print(f"! {warning}", style="yellow")


def show_written(written: Sequence[str], recipe: Mapping[str, Any], console: Console) -> None:
    """Print the recipe, where it is, and the command that comes next."""
    console.print()
    console.print(recipe["text"], style="dim")
    console.print(f"wrote {', '.join(written)}", style="bold green")
    console.print(f"next: {recipe['next']}", style="bold")


def show_checks(checks: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print a line for each check, what to do below it, and how many are wrong."""
    width = max((len(check["name"]) for check in checks), default=0)
    area = ""
    for check in checks:
        if check["area"] != area:
            area = check["area"]
            console.print(area, style="bold")
        line = f"  {_MARKS[check['state']]:<5}  {check['name']:<{width}}  {in_one_line(check['found'])}"
        remedy = f" ({check['remedy']})" if check["remedy"] and check["state"] == "note" else ""
        console.print(f"{line}{remedy}", style=_STYLES[check["state"]])
        if check["remedy"] and not remedy:
            console.print(f"  {'':<5}  {'':<{width}}  -> {check['remedy']}", style=_STYLES[check["state"]])
    wrong = sum(check["state"] == "wrong" for check in checks)
    warnings = sum(check["state"] == "warning" for check in checks)
    told = f"{wrong:,} wrong, {warnings:,} to look at" if wrong or warnings else "all is well"
    console.print(told, style="bold red" if wrong else "bold")

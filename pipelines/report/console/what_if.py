"""The answer of what-if on the console: both funnels side by side, what would come and go, and some of the texts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from gristmill.operators.columns import SOURCE
from gristmill.pipelines.config.quoting import in_one_line
from gristmill.pipelines.config.wording import in_units
from gristmill.pipelines.decide.funnel import Funnel, RuleCount
from gristmill.pipelines.decide.losses import name_of
from gristmill.pipelines.report.explain import sentence
from gristmill.pipelines.report.what_if import WhatIf
from gristmill.pipelines.report.what_if_told import groups_of, move_sentences

#: Groups of a column that are shown, those whose kept documents change most.
SHOWN_GROUPS = 10


def show_what_if(result: WhatIf, console: Console) -> None:
    """Print both funnels, the groups, the moves and the examples."""
    options = " ".join(f"--set {change!r}" for change in result.changes)
    console.print(f"{result.recipe} as it is, and with {options}", style="bold", markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for heading in ("documents", "then", "", "tokens", "then"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = _Rows(table, result.before.estimated)
    rows.add("input", (result.before.documents, result.before.tokens), (result.after.documents, result.after.tokens))
    before, after = ({rule.name: rule for rule in funnel.rules} for funnel in (result.before, result.after))
    for name in dict.fromkeys([*before, *after]):
        rows.add(f"- {in_one_line(name)}", _dropped(before.get(name)), _dropped(after.get(name)))
    rows.add("kept", _kept(result.before), _kept(result.after), "bold green")
    left_out = 0
    for column, groups in groupby(groups_of(result), key=lambda row: row[0].column):
        changed = [row for row in groups if column == SOURCE or row[1] != row[2]]
        for group, of_before, of_after in changed[:SHOWN_GROUPS]:
            rows.add(f"  {in_one_line(name_of(group))}", of_before, of_after)
        left_out += len(changed[SHOWN_GROUPS:])
    console.print(table)
    if left_out:
        console.print(f"  {left_out:,} more groups change; --json has all", style="dim", markup=False)
    _show_moves(result, console)
    for example in result.examples:
        _show_example(example, console)
    for remark in result.remarks:
        console.print(f"! {remark}", style="yellow", markup=False)


class _Rows:
    """Rows of two counts each, documents and tokens, before and after."""

    def __init__(self, table: Table, estimated: bool) -> None:
        self.table, self.about = table, "~" if estimated else ""

    def add(self, label: str, before: tuple[int, int], after: tuple[int, int], style: str = "") -> None:
        """Add a row; a difference is shown where there is one."""
        documents = (f"{before[0]:,}", f"{after[0]:,}", f"{after[0] - before[0]:+,}" if after[0] != before[0] else "")
        tokens = [f"{self.about}{in_units(counts[1])}" for counts in (before, after)]
        self.table.add_row(label, *documents, *tokens, style=style)


def _dropped(rule: RuleCount | None) -> tuple[int, int]:
    return (0, 0) if rule is None else (rule.dropped, rule.dropped_tokens)


def _kept(funnel: Funnel) -> tuple[int, int]:
    return funnel.kept, funnel.kept_tokens


def _show_moves(result: WhatIf, console: Console) -> None:
    for told, style in move_sentences(result):
        console.print(told, style=style, markup=False)


def _show_example(example: Mapping[str, Any], console: Console) -> None:
    sign, style = ("+", "green") if example["came"] else ("-", "red")
    console.print(f"{sign} {in_one_line(example['id'] or '(no id)')}  ({example['source']})", style=style, markup=False)
    when = "now" if example["came"] else "then"
    console.print(f"  {when} {sentence(example)}", style="dim", markup=False)
    text = example["excerpt"]
    if text is None:
        text = f"the text cannot be shown: {example['unreadable']}"
    console.print(f"  {text}", markup=False)

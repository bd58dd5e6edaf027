"""The answer of what-if on the console: both funnels side by side, what would come and go, and some of the texts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from gristmill.operators.columns import SOURCE
from gristmill.pipelines.config.quoting import in_one_line
from gristmill.pipelines.config.wording import in_units, plural
from gristmill.pipelines.decide.funnel import Funnel, RuleCount
from gristmill.pipelines.decide.groups import GroupLoss
from gristmill.pipelines.decide.last_pass import Move
from gristmill.pipelines.decide.losses import name_of
from gristmill.pipelines.report.explain import sentence
from gristmill.pipelines.report.what_if import WhatIf

#: Groups of a column that are shown, those whose kept documents change most.
SHOWN_GROUPS = 10
#: Moves from one rule to another that are shown.
SHOWN_MOVES = 10


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
    for column, groups in groupby(_groups(result), key=lambda row: row[0].column):
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


def _groups(result: WhatIf) -> list[tuple[GroupLoss, tuple[int, int], tuple[int, int]]]:
    """Return what is kept of each group before and after: sources first, of each column the largest changes first."""
    after = {(group.column, group.value): group for group in result.after.groups}
    rows = [(g, _left(g, result.before), _left(after[g.column, g.value], result.after)) for g in result.before.groups]
    order = list(dict.fromkeys(group.column for group in result.before.groups))
    rows.sort(key=lambda row: (order.index(row[0].column), -abs(row[2][0] - row[1][0])))
    return rows


def _left(group: GroupLoss, funnel: Funnel) -> tuple[int, int]:
    documents, tokens = group.lost(rule.name for rule in funnel.rules)
    return group.documents - documents, group.tokens - tokens


def _show_moves(result: WhatIf, console: Console) -> None:
    if not result.moves:
        console.print("nothing would come or go")
        return
    about = "~" if result.before.estimated else ""
    for what, (documents, tokens), side in (("come", result.came, "before"), ("go", result.went, "after")):
        moves = [move for move in result.moves if None in (move.before, move.after) and getattr(move, side) is not None]
        by = [f"{move.documents:,} that {getattr(move, side)} drops" for move in _largest(moves)]
        when = " now" if what == "come" else " then"
        told = f"{plural(documents, 'document')} ({about}{in_units(tokens)} tokens) would {what}: {', '.join(by)}{when}"
        console.print(told if documents else f"no document would {what}", style="bold", markup=False)
    elsewhere = [move for move in result.moves if None not in (move.before, move.after)]
    for move in _largest(elsewhere):
        told = f"{plural(move.documents, 'document')} dropped by {move.before} would be dropped by {move.after}"
        console.print(told, style="dim", markup=False)


def _largest(moves: list[Move]) -> list[Move]:
    return sorted(moves, key=lambda move: -move.documents)[:SHOWN_MOVES]


def _show_example(example: Mapping[str, Any], console: Console) -> None:
    sign, style = ("+", "green") if example["came"] else ("-", "red")
    console.print(f"{sign} {in_one_line(example['id'] or '(no id)')}  ({example['source']})", style=style, markup=False)
    when = "now" if example["came"] else "then"
    console.print(f"  {when} {sentence(example)}", style="dim", markup=False)
    text = example["excerpt"]
    if text is None:
        text = f"the text cannot be shown: {example['unreadable']}"
    console.print(f"  {text}", markup=False)

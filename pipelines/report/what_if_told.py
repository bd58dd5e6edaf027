"""The answer of what-if in words and rows, for consoles and pages alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gristmill.pipelines.config.wording import in_units, plural
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.decide.groups import GroupLoss
from gristmill.pipelines.decide.last_pass import Move
from gristmill.pipelines.report.what_if import WhatIf

#: Moves from one rule to another that are told.
SHOWN_MOVES = 10
STRONG, DIM = "bold", "dim"


def groups_of(result: WhatIf) -> list[tuple[GroupLoss, tuple[int, int], tuple[int, int]]]:
    """Return what is kept of each group before and after: sources first, of each column the largest changes first."""
    after = {(group.column, group.value): group for group in result.after.groups}
    rows = [(g, _left(g, result.before), _left(after[g.column, g.value], result.after)) for g in result.before.groups]
    order = list(dict.fromkeys(group.column for group in result.before.groups))
    rows.sort(key=lambda row: (order.index(row[0].column), -abs(row[2][0] - row[1][0])))
    return rows


def _left(group: GroupLoss, funnel: Funnel) -> tuple[int, int]:
    documents, tokens = group.lost(rule.name for rule in funnel.rules)
    return group.documents - documents, group.tokens - tokens


def move_sentences(result: WhatIf) -> Iterator[tuple[str, str]]:
    """Yield sentences on which documents come, go, and are dropped by another rule, each STRONG, DIM or neither."""
    if not result.moves:
        yield "nothing would come or go", ""
        return
    about = "~" if result.before.estimated else ""
    for what, (documents, tokens), side in (("come", result.came, "before"), ("go", result.went, "after")):
        moves = [move for move in result.moves if None in (move.before, move.after) and getattr(move, side) is not None]
        by = [f"{move.documents:,} that {getattr(move, side)} drops" for move in _largest(moves)]
        when = " now" if what == "come" else " then"
        told = f"{plural(documents, 'document')} ({about}{in_units(tokens)} tokens) would {what}: {', '.join(by)}{when}"
        yield (told if documents else f"no document would {what}"), STRONG
    elsewhere = [move for move in result.moves if None not in (move.before, move.after)]
    for move in _largest(elsewhere):
        yield f"{plural(move.documents, 'document')} dropped by {move.before} would be dropped by {move.after}", DIM


def _largest(moves: Sequence[Move]) -> list[Move]:
    return sorted(moves, key=lambda move: -move.documents)[:SHOWN_MOVES]

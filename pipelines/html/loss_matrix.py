"""Matrices of losses: the share that each rule took of each source, language or other group that reached it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from gristmill.operators.columns import SOURCE
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.decide.groups import GroupLoss
from gristmill.pipelines.decide.losses import TINY

#: Groups of a column that have rows of their own, those of the most documents; the others are one row together.
SHOWN = 30
#: So many have rows however small they are; further ones that are tiny have none, unless they are sources.
FEW = 10


@dataclass(frozen=True)
class LossMatrix:
    """Losses by the values of one column: a row for each, the last one for all documents."""

    column: str
    rules: Sequence[str]
    rows: Sequence[dict[str, Any]]


def loss_matrices(funnel: Funnel) -> list[LossMatrix]:
    """Return a matrix for each column that losses are counted by, that of the sources first."""
    rules = [rule.name for rule in funnel.rules]
    found = []
    for column, groups in groupby(funnel.groups, key=lambda group: group.column):
        ordered = sorted(groups, key=lambda group: (-group.documents, group.value is not None, str(group.value)))
        large = sum(group.documents >= TINY for group in ordered)
        shown = min(SHOWN, len(ordered) if column == SOURCE or len(ordered) <= FEW else max(FEW, large))
        rows = [_row(str(g.value) if g.value is not None else None, [g], rules) for g in ordered[:shown]]
        if rest := ordered[shown:]:
            rows.append(_row(f"{len(rest):,} others", rest, rules) | {"is_sum": True})
        if len(rows) > 1:
            rows.append(_row("all", ordered, rules) | {"is_sum": True})
        found.append(LossMatrix(column, rules, rows))
    return found


def _row(name: str | None, groups: Sequence[GroupLoss], rules: Sequence[str]) -> dict[str, Any]:
    """Return a row: of each rule the documents and tokens that reached it and that it dropped, and what is kept."""
    documents, tokens = sum(group.documents for group in groups), sum(group.tokens for group in groups)
    row: dict[str, Any] = {"name": name, "documents": documents, "tokens": tokens, "cells": [], "is_sum": False}
    for rule in rules:
        counts = [group.lost([rule]) for group in groups]
        dropped, dropped_tokens = sum(n for n, _ in counts), sum(n for _, n in counts)
        share = dropped / documents if documents else None
        row["cells"].append(
            {
                "seen": documents,
                "dropped": dropped,
                "seen_tokens": tokens,
                "dropped_tokens": dropped_tokens,
                "share": share,
                "token_share": dropped_tokens / tokens if tokens else None,
                "shade": "" if not share else f"n{max(1, round(10 * share))}",
            }
        )
        documents, tokens = documents - dropped, tokens - dropped_tokens
    return {**row, "kept": documents, "kept_tokens": tokens}

"""Matrices of counts as heat maps: a cell's colour is its share of its row, its text says the number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: Rows and columns of a matrix that are shown by themselves; the others are one together.
SHOWN = 15


@dataclass(frozen=True)
class HeatMap:
    """A matrix of counts: rows with their cells, each with its share of the row and its shade."""

    row_title: str
    column_title: str
    columns: Sequence[str]
    rows: Sequence[dict[str, Any]]


def heat_map(
    counts: Sequence[Sequence[int]],
    rows: Sequence[str],
    columns: Sequence[str],
    row_title: str,
    column_title: str,
    diagonal: bool = False,
) -> HeatMap:
    """Return the heat map of counts (rows, columns).

    With `diagonal` rows and columns are the same labels, and what lies beside the diagonal is an error. Labels beyond
    SHOWN, those with the fewest counts, are one row or column together.
    """
    counts = [list(row) for row in counts]
    if diagonal:
        sums = [sum(row) + sum(other[i] for other in counts) for i, row in enumerate(counts)]
        counts, rows = _shown(counts, rows, sums)
        turned, columns = _shown(_turned(counts, len(columns)), columns, sums)
    else:
        counts, rows = _shown(counts, rows, [sum(row) for row in counts])
        turned = _turned(counts, len(columns))
        turned, columns = _shown(turned, columns, [sum(column) for column in turned])
    found = []
    for i, (name, row) in enumerate(zip(rows, _turned(turned, len(rows)), strict=True)):
        total = sum(row)
        cells = []
        for j, n in enumerate(row):
            share = n / total if total else None
            wrong = diagonal and i != j
            shade = f"{'n' if wrong else 'p'}{max(1, round(10 * share))}" if share else ""
            cells.append({"n": n, "share": share, "shade": shade, "name": columns[j]})
        found.append({"name": name, "total": total, "cells": cells})
    return HeatMap(row_title, column_title, columns, found)


def _turned(counts: Sequence[Sequence[int]], width: int) -> list[list[int]]:
    return [[row[i] for row in counts] for i in range(width)]


def _shown(
    counts: Sequence[Sequence[int]], names: Sequence[str], sums: Sequence[int]
) -> tuple[list[list[int]], list[str]]:
    """Return the rows of the greatest sums, in their order, and one of all others."""
    if len(names) <= SHOWN:
        return [list(row) for row in counts], list(names)
    places = sorted(sorted(range(len(names)), key=lambda i: (-sums[i], i))[: SHOWN - 1])
    others = [i for i in range(len(names)) if i not in {*places}]
    rest = [sum(counts[i][j] for i in others) for j in range(len(counts[0]))]
    return [[*counts[i]] for i in places] + [rest], [names[i] for i in places] + [f"{len(others):,} others"]

"""Nights on the page of a run: what one night came to, and a dataset over all of its nights and versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gristmill.pipelines.html.svg import horizontal_bar, line_chart

if TYPE_CHECKING:
    from gristmill.pipelines.versions.history import VersionHistory

#: Sources and measures that have a row, those of the most documents and those that moved most.
_SHOWN_SOURCES, _SHOWN_MEASURES = 30, 20
#: Nights that have a column in a matrix, the newest.
_SHOWN_NIGHTS = 30
#: A PSI of which the colour is full, and one below which a measure has not moved.
_LARGE_DRIFT, _NO_DRIFT = 0.5, 0.005
_WIDTH = 340  # of a chart, in pixels


def night_values(night: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of a night, by its account (`NightResult.to_json`)."""
    most = max([1, *(n for row in night["sources"] for n in row["documents"])])
    return {
        **night,
        "tripped": [guard for guard in night["guards"] if not guard["passes"]],
        "sources": [
            {
                **row,
                "bar": horizontal_bar(
                    [(row["documents"][1] / most, "kept")],
                    f"{row['name']}: {row['documents'][0]:,} documents before, {row['documents'][1]:,} now",
                ),
            }
            for row in night["sources"]
        ],
    }


def history_values(found: Sequence[VersionHistory], by_night: bool) -> dict[str, Any]:
    """Return what is shown of a dataset over its versions, oldest first.

    by_night: each version adds the documents of a night to those before it, as those of a dataset with an index do.
    """
    nights = [version for version in found if version.run is not None and not version.completes]
    recent = nights[-_SHOWN_NIGHTS:]
    return {
        "by_night": by_night,
        "versions": [_version(version) for version in found],
        "charts": _charts(found, nights) if len(found) > 1 else [],
        "headings": [_heading(version) for version in recent],
        "sources": _sources(recent),
        "drift": _drift(recent),
        "tripped": [(_heading(version), guard) for version in found for guard in version.guards if not guard["passes"]],
        "guarded": any(version.guards for version in found),
    }


def _heading(version: VersionHistory) -> dict[str, str]:
    return {"version": _number(version), "date": version.facts.date}


def _number(version: VersionHistory) -> str:
    """Return the number of a version as people write it."""
    return version.facts.version.split("-")[0].lstrip("0") or "0"


def _version(version: VersionHistory) -> dict[str, Any]:
    facts = version.facts
    marks = [*(["current"] if facts.current else []), *facts.tags, *(["held back"] if facts.held else [])]
    marks += ["completes labels"] if version.completes else []
    tripped = [guard["guard"] for guard in version.guards if not guard["passes"]]
    guards = "" if not version.guards else f"tripped: {', '.join(tripped)}" if tripped else "all pass"
    return {
        **facts.to_json(),
        "marks": ", ".join(marks),
        "guards": guards,
        "read": version.read if version.run is not None else None,
        "kept": version.kept,
        "share": version.kept / version.read if version.read else None,
    }


def _charts(found: Sequence[VersionHistory], nights: Sequence[VersionHistory]) -> list[dict[str, Any]]:
    """Return lines over the versions: documents, tokens, and the share that is kept."""
    names = [_number(version) for version in found]
    charts = []
    for title, values in (
        ("Documents", [version.facts.documents for version in found]),
        ("Tokens", [version.facts.tokens for version in found]),
    ):
        told = f"{title} by version, from {values[0]:,} to {values[-1]:,}"
        charts.append(
            {"title": title, "chart": line_chart(list(zip(names, map(float, values), strict=True)), told, _WIDTH)}
        )
    shares = [(_number(v), v.kept / v.read) for v in nights if v.read]
    if len(shares) > 1:
        told = f"Share kept by version, from {shares[0][1]:.1%} to {shares[-1][1]:.1%}"
        charts.append({"title": "Share kept", "chart": line_chart(shares, told, _WIDTH, share=True)})
    return charts


def _sources(nights: Sequence[VersionHistory]) -> list[dict[str, Any]]:
    """Return a row for each source: the share that was dropped in each night."""
    if len(nights) < 2:
        return []
    totals: dict[str, int] = {}
    for version in nights:
        for source, (read, _) in (version.sources or {}).items():
            totals[source] = totals.get(source, 0) + read
    rows = []
    for source in sorted(totals, key=lambda source: (-totals[source], source))[:_SHOWN_SOURCES]:
        cells = []
        for version in nights:
            read, kept = (version.sources or {}).get(source, (0, 0))
            lost = 1 - kept / read if read else None
            shade = "" if not lost else f"n{max(1, round(10 * lost))}"
            cells.append({"read": read, "kept": kept, "lost": lost, "shade": shade})
        rows.append({"name": source, "cells": cells})
    return rows


def _drift(nights: Sequence[VersionHistory]) -> dict[str, Any]:
    """Return a row for each measure that moved, the one that moved most first: its PSI in each night."""
    by_column: dict[str, list[float | None]] = {}
    for i, version in enumerate(nights):
        for drift in version.drift:
            by_column.setdefault(drift.column, [None] * len(nights))[i] = drift.psi
    largest = {column: max([0.0, *(v for v in values if v is not None)]) for column, values in by_column.items()}
    moved = sorted(
        (column for column in largest if largest[column] >= _NO_DRIFT), key=lambda name: (-largest[name], name)
    )
    rows = [{"name": name, "cells": [_moved(value) for value in by_column[name]]} for name in moved[:_SHOWN_MEASURES]]
    return {"rows": rows, "others": len(largest) - len(rows), "known": bool(largest)}


def _moved(psi: float | None) -> dict[str, Any]:
    share = min(1.0, (psi or 0.0) / _LARGE_DRIFT)
    return {"psi": psi, "shade": f"n{round(10 * share)}" if share >= 0.05 else ""}

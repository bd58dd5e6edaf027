"""The page on two versions of a dataset: what came and went and why, by source, how the measures and labels moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.html import page
from gristmill.pipelines.html.compared_histogram import compared_bars, compared_histogram
from gristmill.pipelines.html.svg import figure, horizontal_bar
from gristmill.pipelines.recipe.recipe import WITHDRAWN
from gristmill.pipelines.storage import files
from gristmill.pipelines.versions.compare import Comparison, Moves
from gristmill.pipelines.versions.profile import Drift

#: Measures that have a chart, those that moved most; sources and answers that have a row.
_SHOWN_MEASURES, _SHOWN_SOURCES, _SHOWN_ANSWERS = 40, 60, 40


def write_comparison(found: Comparison, url: str) -> None:
    """Write the page on a comparison to a file or URL."""
    files.write_bytes(url, comparison_page(found))


def comparison_page(found: Comparison) -> bytes:
    """Return the page on a comparison; it holds what `gristmill datasets diff` prints, from the same numbers."""
    came, went = (sum(moves.documents for moves in side) for side in (found.came, found.went))
    most = max([1, *(moves.documents for moves in (*found.came, *found.went))])
    return page.render(
        "comparison.html",
        found=found,
        came=came,
        went=went,
        moves=[
            *(_moves(moves, most, "kept", _came(moves.name)) for moves in found.came),
            *(_moves(moves, most, "dropped", _went(moves.name)) for moves in found.went),
        ],
        sources=_sources(found.sources),
        others=max(0, len(found.sources) - _SHOWN_SOURCES),
        measures=[_measure(found, drift) for drift in found.measures[:_SHOWN_MEASURES]],
        labels=_labels(found),
        lines=[(_kind(line), line) for line in found.recipe],
        groups=[
            (what, [{**document, "why": told(document["reason"])} for document in found.examples[what]])
            for what, told in (("came", _came), ("went", _went))
        ],
    )


def _came(rule: str | None) -> str:
    return "new" if rule is None else f"dropped by {rule} before"


def _went(rule: str | None) -> str:
    if rule == WITHDRAWN:
        return "withdrawn: their files are gone or other ones now"
    return "no longer read" if rule is None else f"dropped by {rule} now"


def _moves(moves: Moves, most: int, name: str, why: str) -> dict[str, Any]:
    bar = horizontal_bar([(moves.documents / most, name)], f"{why}: {plural(moves.documents, 'document')}")
    sign = "+" if name == "kept" else "−"
    return {"why": why, "sign": sign, "documents": moves.documents, "tokens": moves.tokens, "bar": bar}


def _sources(sources: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """Return the sources of the most documents, each with a bar: what stayed, what came, what went."""
    size = {name: max(counts["documents_before"], counts["documents_after"]) for name, counts in sources.items()}
    shown = sorted(sources, key=lambda name: (-size[name], name))[:_SHOWN_SOURCES]
    most = max([1, *(counts["documents_after"] + counts["went"] for counts in sources.values())])
    rows = []
    for name in shown:
        counts = sources[name]
        stayed = counts["documents_after"] - counts["came"]
        parts = [(stayed / most, "counted"), (counts["came"] / most, "kept"), (counts["went"] / most, "dropped")]
        told = f"{name}: {stayed:,} documents stayed, {counts['came']:,} came, {counts['went']:,} went"
        rows.append({"name": name, "counts": counts, "bar": horizontal_bar(parts, told)})
    return rows


def _measure(found: Comparison, drift: Drift) -> dict[str, Any]:
    """Return what is shown of a measure: both histograms, PSI and KS, quantiles, and the counts behind them."""
    first, second = (profile.measures[drift.column] for profile in found.profiles)
    bars = compared_bars(first, second)
    moved = f"PSI {figure(drift.psi)}, KS {figure(drift.ks)}"
    medians = f"median {figure(drift.quantiles[1][0])} before, {figure(drift.quantiles[1][1])} after"
    return {
        "drift": drift,
        "chart": None if bars is None else compared_histogram(bars, f"Histogram of {drift.column}: {medians}; {moved}"),
        "rows": () if bars is None else bars.rows(),
        "log": bars is not None and bars.bars.log,
        "missing": (first.missing, second.missing),
        "quantiles": list(zip(("10 %", "median", "90 %"), drift.quantiles, strict=True)),
    }


def _labels(found: Comparison) -> list[dict[str, Any]]:
    """Return the answers of labelling tasks in both versions, the most frequent ones."""
    before, after = (profile.labels for profile in found.profiles)
    columns = []
    for column in dict.fromkeys([*before, *after]):
        counts = [side.get(column, {}) for side in (before, after)]
        answers = dict.fromkeys([*counts[0], *counts[1]])
        shown = sorted(answers, key=lambda answer: (-max(side.get(answer, 0) for side in counts), answer))
        totals = [max(1, sum(side.values())) for side in counts]
        rows = [
            (answer, *((side.get(answer, 0), side.get(answer, 0) / n) for side, n in zip(counts, totals, strict=True)))
            for answer in shown[:_SHOWN_ANSWERS]
        ]
        columns.append({"column": column, "rows": rows})
    return columns


def _kind(line: str) -> str:
    """Return the element that shows a line of a comparison of recipes."""
    if line.startswith(("+++", "---", "@@")):
        return "head"
    return {"+": "ins", "-": "del"}.get(line[:1], "same")

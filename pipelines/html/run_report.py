"""The report of a run: one page with all that the run knows of what it took and what it kept.

A run makes it from its own records when it ends; no text is read. Asked for by `gristmill report` it has examples with
their texts as well, and the versions before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from gristmill.operators import columns
from gristmill.operators.rules.select import TOKENS
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.html import page
from gristmill.pipelines.html.cuts import MeasureCut, cuts_of
from gristmill.pipelines.html.histogram_chart import bars_of, extent, histogram_chart, small_histogram
from gristmill.pipelines.html.loss_matrix import loss_matrices
from gristmill.pipelines.html.nights import night_values
from gristmill.pipelines.html.spreads import GroupName, Spread, Spreads, correlations, spreads
from gristmill.pipelines.html.svg import figure, horizontal_bar
from gristmill.pipelines.report.funnel import remarks, warnings
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.run_records import Standing
from gristmill.pipelines.store.runs import Run
from gristmill.pipelines.versions.account import night_of

#: The page of a run, in its folder.
REPORT = "report.html"
#: Columns whose spread is that of the documents' lengths.
LENGTHS = (columns.BYTES, TOKENS)
_QUANTILES = {0.01: "1 %", 0.1: "10 %", 0.5: "median", 0.9: "90 %", 0.99: "99 %"}
_MOST_REJECTS = 20
_STRONGEST = 8
_LONGEST_DETAIL = 400


@dataclass(frozen=True)
class ReportExtras:
    """Parts of a report that its run does not know."""

    examples: Sequence[Mapping[str, Any]] = ()  #: documents of each rule, with their texts
    clusters: Sequence[Mapping[str, Any]] = ()  #: the largest, with word diffs
    history: Mapping[str, Any] | None = None  #: the dataset over its versions: `history_values`
    drift: Sequence[Mapping[str, Any]] = ()  #: of each measure of what is kept, the largest first
    drift_since: str = ""  #: the version that the drift is from
    unreadable: str = ""  #: why texts of clusters could not be read


def report_url(run: Run) -> str:
    """Return the place of a run's report."""
    return files.join(run.url, REPORT)


@dataclass(frozen=True)
class RunPage:
    """The page of a run, whose measures were looked at."""

    run: Run
    values: Mapping[str, Any]  #: of the template

    def shown(self, extras: ReportExtras | None = None) -> bytes:
        """Return the page as the account of the run's night, if there is one, and the extras make it."""
        return page.render("run.html", **self.all_values(extras))

    def all_values(self, extras: ReportExtras | None = None) -> dict[str, Any]:
        """Return what the templates `run_nav.html` and `run_sections.html` show."""
        night = night_of(self.run)
        return {
            **self.values,
            "extras": extras or ReportExtras(),
            "night": None if night is None else night_values(night),
        }


def run_report(run: Run, engine: Engine, extras: ReportExtras | None = None) -> bytes:
    """Return the page of a finished run. Raises StoreDamaged where a file that it tells of is not what was written."""
    return run_page(run, engine).shown(extras)


def run_page(run: Run, engine: Engine) -> RunPage:
    """Return the page of a finished run, to be shown. Raises as `run_report` does."""
    result = run.record["result"]
    funnel = Funnel.from_json(result["funnel"])
    cuts = cuts_of(run.record["recipe"], funnel)
    stands = Standing(run, run.shards())
    detailed = dict.fromkeys([*(cut.column for cut in cuts), *LENGTHS])
    found = spreads(stands, funnel, [*detailed], engine)
    rejects = files.read_table(files.join(run.url, "rejects.parquet"))
    shown = [_measure(name, spread, found, cuts) for name, spread in found.measures.items()]
    values = {
        "run": run,
        "result": result,
        "date": run.record.get("date"),
        "funnel": funnel,
        "steps": _steps(funnel),
        "warnings": [*_warnings(funnel), *result.get("unreadable", ())],
        "matrices": loss_matrices(funnel),
        "found": found,
        "lengths": [measure for measure in shown if measure["name"] in LENGTHS],
        "measures": sorted(
            (measure for measure in shown if measure["name"] not in LENGTHS), key=lambda measure: not measure["cuts"]
        ),
        "related": _related(found.sample),
        "duplicates": [_duplicates(rule.name, rule.details) for rule in funnel.rules if "clusters" in rule.details],
        "copies": [(rule.name, rule.details) for rule in funnel.rules if rule.details.get("largest_groups")],
        "quarantine": _quarantine(rejects),
        "steps_of_time": _times(result["processor_seconds"]),
        "recipe": yaml.safe_dump(run.record["recipe"], sort_keys=False, allow_unicode=True),
    }
    return RunPage(run, values)


def _steps(funnel: Funnel) -> list[dict[str, Any]]:
    """Return the rows of the funnel: what came in, each rule, what is kept."""
    documents, tokens = max(1, funnel.documents), max(1, funnel.tokens)
    losses = funnel.losses
    rows = []
    left, left_tokens = funnel.documents, funnel.tokens
    for rule in funnel.rules:
        left, left_tokens = left - rule.dropped, left_tokens - rule.dropped_tokens
        label = f"{rule.name}: {rule.dropped:,} of {rule.seen:,} documents dropped, {left:,} left"
        conditions = sorted(rule.details.get("conditions", {}).items(), key=lambda item: -item[1])
        rows.append(
            {
                "rule": rule,
                "left": left,
                "left_tokens": left_tokens,
                "bar": horizontal_bar([(left / documents, "kept"), (rule.dropped / documents, "dropped")], label),
                "token_bar": horizontal_bar(
                    [(left_tokens / tokens, "kept"), (rule.dropped_tokens / tokens, "dropped")],
                    f"{rule.name}: {rule.dropped_tokens:,} tokens dropped, {left_tokens:,} left",
                ),
                "seen_tokens": left_tokens + rule.dropped_tokens,
                "conditions": [(text, n, n / max(1, rule.seen)) for text, n in conditions],
                "remarks": [*remarks(rule), *losses.remarks(rule.name)],
            }
        )
    return rows


def _warnings(funnel: Funnel) -> list[str]:
    return [f"{rule.name} {warning}" for rule in funnel.rules for warning in warnings(rule)] + [
        *funnel.losses.warnings()
    ]


def _measure(name: str, spread: Spread, found: Spreads, cuts: Sequence[MeasureCut]) -> dict[str, Any]:
    """Return what is shown of a measure: its chart, the counts behind it, quantiles, and its spread in each group."""
    own = [cut for cut in cuts if cut.column == name]
    bars = bars_of(spread, [cut.limit for cut in own])
    before, after = (h.values + h.missing for h in (spread.before, spread.after))
    quantiles = [h.quantiles([*_QUANTILES]) for h in (spread.before, spread.after)]
    measure: dict[str, Any] = {
        "name": name,
        "cuts": own,
        "limits": _limits([cut for cut in own if cut.group is None]),
        "group_limits": _group_limits(own),
        "before": before,
        "after": after,
        "missing": spread.before.missing,
        "quantiles": [*zip(_QUANTILES.values(), *quantiles, strict=True)],
        "chart": None,
        "groups": [],
        "by": "",  # the columns that the groups are values of, in words
        "bars": [],
    }
    if bars is None:
        return measure
    medians = (
        f"median {figure(spread.before.quantile(0.5))} before the rules, {figure(spread.after.quantile(0.5))} after"
    )
    limits = "".join(f"; {cut.rule} drops {cut.sign} {figure(cut.limit)}" for cut in own if cut.group is None)
    limits += "".join(f"; {each['told']}" for each in measure["group_limits"])
    measure["chart"] = histogram_chart(bars, own, f"Histogram of {name}: {medians}{limits}")
    measure["log"] = bars.log
    measure["bars"] = [
        (extent(bars, i), int(bars.before[i]), int(bars.after[i])) for i in range(len(bars.before)) if bars.before[i]
    ]
    grouped = []
    for group, of_group in found.groups.items():
        if name in of_group and sum(1 for column, _ in found.groups if column == group[0]) > 1:
            own_spread = of_group[name]
            grouped.append(group[0])
            at = [cut.limit for cut in own if cut.group in (None, group)]
            told = (
                f"Histogram of {name} where {_group_name(group)}{''.join(f', limit {figure(limit)}' for limit in at)}"
            )
            chart = small_histogram(bars.of(own_spread), told, at)
            measure["groups"].append(
                {
                    "name": _group_name(group),
                    "chart": chart,
                    "before": own_spread.before.values + own_spread.before.missing,
                    "after": own_spread.after.values + own_spread.after.missing,
                    "medians": (own_spread.before.quantile(0.5), own_spread.after.quantile(0.5)),
                }
            )
    measure["by"] = " and ".join(dict.fromkeys(grouped))
    return measure


def _limits(cuts: Sequence[MeasureCut]) -> list[tuple[str, str]]:
    """Return the limits of a measure in words, each with the rules that have it: `< 50`, `drop, gopher_rules`."""
    rules: dict[str, list[str]] = {}
    for cut in cuts:
        told = cut.written if cut.written.replace(".", "").isdigit() else f"{figure(cut.limit)}, which is {cut.written}"
        rules.setdefault(f"{cut.sign} {told}", []).append(cut.rule)
    return [(limit, ", ".join(dict.fromkeys(names))) for limit, names in rules.items()]


def _group_limits(cuts: Sequence[MeasureCut]) -> list[dict[str, Any]]:
    """Return the limits that are not the same for all documents, of each rule and side, those of the values by name."""
    found: dict[tuple[str, str, str], list[tuple[str, float]]] = {}
    for cut in cuts:
        if cut.group is not None:
            found.setdefault((cut.rule, cut.sign, cut.group[0]), []).append((cut.group[1], cut.limit))
    told = []
    for (rule, sign, by), rows in found.items():
        low, high = (figure(end([limit for _, limit in rows])) for end in (min, max))
        extent = low if low == high else f"{low} to {high}"
        words = f"{rule} drops {sign} {extent}, by {by}"
        told.append({"rule": rule, "sign": sign, "by": by, "extent": extent, "rows": sorted(rows), "told": words})
    return told


def _group_name(group: GroupName) -> str:
    column, value = group
    return f"no {column}" if value is None else f"{column} {value}"


def _related(sample: pa.Table | None) -> dict[str, Any]:
    """Return the rank correlations of the measures, each cell with its shade, and the strongest pairs."""
    names, values = correlations(sample)
    values = values.round(2) + 0.0  # no -0.00
    rows = [
        (i + 1, name, [(float(values[i, j]), _shade(float(values[i, j]))) for j in range(i)])
        for i, name in enumerate(names)
    ][1:]
    pairs = [(float(values[i, j]), names[j], names[i]) for i in range(len(names)) for j in range(i)]
    strongest = sorted(pairs, key=lambda pair: -abs(pair[0]))[:_STRONGEST]
    return {"names": names, "rows": rows, "strongest": strongest, "documents": 0 if sample is None else len(sample)}


def _shade(correlation: float) -> str:
    return f"{'p' if correlation >= 0 else 'n'}{round(10 * abs(correlation))}"


def _duplicates(name: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of a rule that finds near copies: its counts, and clusters by size as bars."""
    sizes = details.get("sizes", {})
    most = max([1, *sizes.values()])
    bars = [(size, n, horizontal_bar([(n / most, "kept")], f"{n:,} clusters of {size}")) for size, n in sizes.items()]
    return {"name": name, "details": details, "quality": details["quality"], "sizes": bars}


def _quarantine(rejects: pa.Table) -> dict[str, Any]:
    """Return how many records of each source are in quarantine for each reason, and some of them."""
    counted = rejects.group_by(["source", "reason"]).aggregate([("row", "count")]).to_pylist()
    counted.sort(key=lambda row: (-row["row_count"], row["source"], row["reason"]))
    some = rejects.slice(0, _MOST_REJECTS).to_pylist()
    for row in some:
        row["detail"] = (row["detail"] or "")[:_LONGEST_DETAIL]
        row["excerpt"] = (row["excerpt"] or "")[:_LONGEST_DETAIL]
    return {"records": len(rejects), "counts": counted, "some": some}


def _times(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    total = sum(seconds.values())
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return [
        {
            "name": name,
            "seconds": spent,
            "share": spent / total,
            "bar": horizontal_bar([(spent / ordered[0][1], "kept")], f"{name}: {spent:.1f} processor seconds"),
        }
        for name, spent in ordered
        if spent > 0
    ]

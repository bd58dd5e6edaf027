"""Parts of a report that its run does not know: examples with texts, word diffs, the versions before it, drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gristmill.operators.errors import GristmillError, RecipeError
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.html.cuts import cuts_of
from gristmill.pipelines.html.examples import EXCERPT, examples_of
from gristmill.pipelines.html.nights import history_values
from gristmill.pipelines.html.run_report import ReportExtras
from gristmill.pipelines.html.svg import horizontal_bar
from gristmill.pipelines.report.clusters import clusters
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.store.runs import Run
from gristmill.pipelines.store.shown import shown_version
from gristmill.pipelines.versions.history import history
from gristmill.pipelines.versions.profile import drifts, profile

#: The largest clusters, and the newest versions, that are shown.
SHOWN_CLUSTERS, SHOWN_VERSIONS = 6, 60
#: A PSI of which a bar is full.
_LARGE_DRIFT = 0.5


def gathered(records: RunRecords, run: Run, examples: int) -> ReportExtras:
    """Return the extras of a run, up to so many documents for each rule and kind of example; texts are read again."""
    funnel = Funnel.from_json(run.record["result"]["funnel"])
    shown = examples_of(Standing(run, run.shards()), funnel, cuts_of(run.record["recipe"], funnel), examples)
    found, unreadable = _clusters(run, funnel)
    since, drift = _drift(records, run)
    return ReportExtras(shown, found, _history(records, run), drift, since, unreadable)


def _clusters(run: Run, funnel: Funnel) -> tuple[Sequence[Mapping[str, Any]], str]:
    """Return the largest clusters of the version that a run made, and why their texts could not be read."""
    if not any(rule.details.get("clusters") for rule in funnel.rules):
        return (), ""
    try:
        found = clusters(run.store, run.record["name"], SHOWN_CLUSTERS, version=run.record["version"])
    except (GristmillError, OSError) as error:
        return (), str(error)
    for member in (member for cluster in found for member in cluster["members"]):
        member["diff"] = [
            (kind, words if len(words) <= EXCERPT else f"{words[:EXCERPT]} …") for kind, words in member.get("diff", ())
        ]
    return found, ""


def _history(records: RunRecords, run: Run) -> dict[str, Any] | None:
    """Return the versions of a run's dataset up to its own; None where its version is gone."""
    try:
        found = history(records, run.record["name"], run.record["version"], SHOWN_VERSIONS)
    except RecipeError:
        return None
    return history_values(found, run.index is not None) if found else None


def _drift(records: RunRecords, run: Run) -> tuple[str, list[dict[str, Any]]]:
    """Return the version that readers took before a run's, and how far each measure of what is kept moved since."""
    name, version = run.record["name"], run.record["version"]
    try:
        parent = Dataset(run.store, name).find(version).manifest["parent"]
        if parent is None:
            return "", []
        before, after = (profile(shown_version(records, name, each).standing) for each in (parent, version))
    except RecipeError:  # a version, or the record of its run, is gone
        return "", []
    return parent, [
        {
            "column": drift.column,
            "psi": drift.psi,
            "ks": drift.ks,
            "medians": drift.quantiles[1],
            "bar": horizontal_bar(
                [(min(1.0, (drift.psi or 0.0) / _LARGE_DRIFT), "kept")], f"PSI of {drift.column}: {drift.psi or 0:.3f}"
            ),
        }
        for drift in drifts(before, after)
    ]

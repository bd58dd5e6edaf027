"""Completion of an earlier run's labels: what is unanswered is asked again, and its version written again.

With an index a shard is decided once, so the labels of a run that ended early (a ceiling, a lost answer, an endpoint
that failed) would stay as they are. The next run puts its tasks again to what that run kept, which asks for nothing
that is known. Where answers came, a new run is recorded: with the decisions of the one that it completes, in its place
for all readers of the store, and with a version of the same documents. What is committed is never changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gristmill.operators.errors import ShardError
from gristmill.pipelines.config import located_yaml
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.label.budget import Amount
from gristmill.pipelines.label.result import LabelResult
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.planning.state import StoreState
from gristmill.pipelines.sources.discover import ShardSpec
from gristmill.pipelines.stages.context import Context
from gristmill.pipelines.stages.label import FOLDER as LABELS
from gristmill.pipelines.stages.label import label_measured
from gristmill.pipelines.stages.measure import measure_all, with_given_columns
from gristmill.pipelines.stages.prepare import make_fits
from gristmill.pipelines.stages.withdraw import is_elsewhere
from gristmill.pipelines.stages.write import write_dataset
from gristmill.pipelines.storage import files
from gristmill.pipelines.store import runs
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.registry import Shard
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.store.runs import Run

#: Sections of a recipe that decide what a version holds, besides its documents.
_DECISIVE = ("transform", "measure", "decide", "label", "write")


def complete_earlier(context: Context) -> Context:
    """Continue the labels of all earlier runs that are not complete, the oldest first.

    Once each task has come to a ceiling the others wait: a later run begins with them. Raises GristmillError; what was
    completed before the error stays.
    """
    index, plan = context.state.index, context.plan
    if index is None or not plan.tasks:
        return context
    context = make_fits(context)
    reached = set[str]()
    for stands in context.records.nights(plan.loaded.recipe.name, index.name):
        run, decided = stands.run, {row["ordinal"] for row in stands.decided}
        if not run.unanswered or not decided or not decided <= {*index.held}:
            continue  # what the index no longer holds is decided again, and labelled then
        shards = _shards(context.state, stands)
        if hindrance := _hindrance(plan, context.records, stands, shards):
            context.reporter.warn(f"! the run {run.name} left texts without an answer that stay so: {hindrance}")
        elif reached >= {task.name for task in plan.tasks}:
            context = context.with_waiting(_waiting(run))
        else:
            try:
                made, labels = _complete(context, run, shards)
            except ShardError as error:
                context.reporter.warn(f"! the run {run.name} left texts without an answer that wait: {error}")
                context = context.with_waiting(_waiting(run))
                continue
            reached |= {result.task for result in labels if result.reached is not None}
            completing = [*context.completing, *([] if made is None else [made])]
            context = replace(context, completed=[*context.completed, *labels], completing=completing)
    return context


def _shards(state: StoreState, stands: Standing) -> list[Shard]:
    """Return the shards of a run that can be read: those among the sources, and those of nights not looked at."""
    plan = state.plan
    shards = {shard.ordinal: shard for shard in state.registered()}
    found = []
    for row in stands.decided:
        if row["ordinal"] in shards:
            found.append(shards[row["ordinal"]])
            continue
        written = located_yaml.resolved(json.loads(state.registry.specs[row["ordinal"]]), stands.run.name)
        spec = ShardSpec.model_validate(written)
        sources = [source for source in plan.loaded.recipe.sources if source.name == row["source"]]
        for source in sources:
            known = state.registry.known(spec, source, plan.loaded.document)
            if known == row["ordinal"] and is_elsewhere(plan, sources, spec.files[0].url):
                found.append(state.registry.shard(row["ordinal"], spec, source))
    return found


def _waiting(run: Run) -> dict[str, Amount]:
    """Return what a run left unanswered, by task: see `LabelResult.waiting`."""
    return {labelled["task"]: Amount(**labelled.get("waiting", {})) for labelled in run.record["result"]["labels"]}


def _hindrance(plan: Plan, records: RunRecords, stands: Standing, shards: Sequence[Shard]) -> str:
    """Return why a run cannot be completed, with what to do about it; an empty string where it can."""
    recipe, now = stands.run.record["recipe"], plan.loaded.as_written
    if changed := [name for name in _DECISIVE if recipe.get(name) != now.get(name)]:
        return f"the recipe has another {changed[0]} now; give it as it was to go on with them"
    version = Dataset(stands.run.store, stands.dataset).named(stands.run.record["version"])
    fingerprints = [labelled["fingerprint"] for labelled in version.manifest["labels"]]
    if fingerprints != [task.fingerprint for task in plan.tasks]:
        return "its tasks ask something else now; give them as they were to go on with them"
    decided = {row["ordinal"] for row in records.shards(stands.run) if row.get("withdrawn") is None}
    if len(stands.decided) < len(decided) or not decided <= {shard.ordinal for shard in shards}:
        return "some of its shards are no longer among the sources; add them again to go on with them"
    return ""


def _complete(context: Context, earlier: Run, shards: Sequence[Shard]) -> tuple[Run | None, Sequence[LabelResult]]:
    """Ask what a run left unanswered; return the run that takes its place, None where no answer came.

    Raises ShardError where a text cannot be read again; what was answered before stays in the label store.
    """
    plan, store, reporter = context.plan, context.store, context.reporter
    earlier_rows = context.records.shards(earlier)
    withdrawn = [row for row in earlier_rows if row.get("withdrawn") is not None]
    rows = {row["ordinal"]: row["documents"] for row in earlier_rows if row.get("withdrawn") is None}
    measured = measure_all(context.state, sorted(shards, key=lambda shard: shard.ordinal), context.engine, reporter)
    if {count.ordinal: count.documents for count in measured.counts} != rows:
        reporter.warn(f"! the run {earlier.name} left texts without an answer, and its files have changed since")
        return None, ()
    name = runs.new_name(store, earlier.record["fingerprint"])
    url = runs.folder_of(store, name)
    _copy_decisions(earlier, url)
    try:
        inputs, labels = label_measured(context, with_given_columns(plan, measured, url), url)
    except ShardError:  # the others go on, and only the newest folders without a record are swept
        files.remove(url)
        raise
    if not _differ(earlier.url, url):
        files.remove(url)
        return None, labels
    reporter.say(f"  label    answers came to what the run {earlier.name} left: its version is written again")
    funnel = Funnel.from_json(earlier.record["result"]["funnel"])
    to = (url, funnel, context.engine, reporter, earlier, context.publish)
    version, funnel, _ = write_dataset(plan, context.records, inputs, *to, [row["ordinal"] for row in withdrawn])
    runs.write_shards(url, store, plan.loaded.document, inputs.shards, inputs.counts, inputs.measures, withdrawn)
    now: dict[str, Any] = {
        "run": name,
        "dataset": version.url,
        "funnel": funnel.to_json(),
        "labels": [result.to_json() for result in labels],
    }
    outcome = plan.loaded.document.redact_value({**earlier.record["result"], **now})
    record = {**earlier.record, "version": version.name, "result": outcome, "completes": earlier.name}
    run = Run(store, name, record)
    run.write_record()
    context.records.add(run)
    return run, labels


def _copy_decisions(earlier: Run, url: str) -> None:
    """Copy a run's decisions to `url`: all of its tables but the labels and the one that names the measures."""
    for path in sorted(files.states(earlier.url)):
        if path.endswith(".parquet") and not path.startswith(f"{LABELS}/") and path != "shards.parquet":
            files.check_table(files.join(earlier.url, path))
            files.write_bytes(files.join(url, path), files.read_bytes(files.join(earlier.url, path)))


def _differ(earlier_url: str, url: str) -> bool:
    """Return whether two runs have different labels of the same documents."""
    mine, others = (sorted(files.states(files.join(at, LABELS))) for at in (url, earlier_url))
    if mine != others:
        return True
    pairs = ((files.join(url, LABELS, path), files.join(earlier_url, LABELS, path)) for path in mine)
    return any(not files.read_table(file).equals(files.read_table(other)) for file, other in pairs)

"""Completion of an earlier run's labels: what is unanswered is asked again, and its version written again.

With an index a shard is decided once, so the labels of a run that ended early (a ceiling, a lost answer, an endpoint
that failed) would stay as they are. The next run puts its tasks again to what that run kept, which asks for nothing
that is known. Where answers came, a new run is recorded: with the decisions of the one that it completes, in its place
for all readers of the store, and with a version of the same documents. What is committed is never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gristmill.pipelines.decide.executors import rewrite_by
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.engine.lazy import LateEngine
from gristmill.pipelines.label.result import Confirm, LabelResult
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.shard_tasks.reread import Texts
from gristmill.pipelines.stages.label import FOLDER as LABELS
from gristmill.pipelines.stages.label import LabelSurvivors, label_survivors
from gristmill.pipelines.stages.measure import Measured, measure_all, with_given_columns
from gristmill.pipelines.stages.write import write_dataset
from gristmill.pipelines.storage import files
from gristmill.pipelines.store import runs
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.runs import Run, Standing

#: Sections of a recipe that decide what a version holds, besides its documents.
_DECISIVE = ("transform", "measure", "decide", "label", "write")


@dataclass(frozen=True)
class Completed:
    """The outcome of completing an earlier run's labels."""

    run: Run | None  #: the run that takes its place; None where no answer came
    labels: Sequence[LabelResult]


def unanswered(run: Run) -> bool:
    """Return whether a run left texts without an answer to one of its tasks."""
    return not all(labelled["complete"] for labelled in run.record["result"].get("labels", ()))


def complete_earlier(plan: Plan, engine: LateEngine, reporter: Reporter, confirm: Confirm) -> list[Completed]:
    """Complete the labels of all earlier runs that left texts unanswered, the oldest run first.

    Only the holder of the writer lock may call this. Raises GristmillError; what was completed before it stays.
    """
    found = []
    for stands in reversed(runs.standing_runs(plan.loaded.store, plan.loaded.recipe.name)):
        if plan.index is not None and stands.run.index == plan.index.name and unanswered(stands.run):
            if hindrance := _hindrance(plan, stands):
                reporter.warn(f"! the run {stands.run.name} left texts without an answer that stay so: {hindrance}")
            else:
                found.append(_complete(plan, stands.run, engine, reporter, confirm))
    return found


def _hindrance(plan: Plan, stands: Standing) -> str:
    """Return why a run cannot be completed, with what to do about it; an empty string where it can."""
    written, now = stands.run.record["recipe"], plan.loaded.as_written
    if changed := [name for name in _DECISIVE if written.get(name) != now.get(name)]:
        return f"the recipe has another {changed[0]} now; give it as it was to go on with them"
    version = Dataset(stands.run.store, stands.dataset).named(stands.run.record["version"])
    asked = [labelled["fingerprint"] for labelled in version.manifest["labels"]]
    if asked != [task.fingerprint for task in plan.tasks]:
        return "its tasks ask something else now; give them as they were to go on with them"
    decided = {row["ordinal"] for row in stands.run.shards()}
    if len(stands.shards) < len(decided) or not decided <= {shard.ordinal for shard in plan.registered()}:
        return "some of its shards are no longer among the sources; add them again to go on with them"
    return ""


def _complete(plan: Plan, earlier: Run, engine: LateEngine, reporter: Reporter, confirm: Confirm) -> Completed:
    store = plan.loaded.store
    rows = {row["ordinal"]: row["documents"] for row in earlier.shards()}
    shards = [shard for shard in plan.registered() if shard.ordinal in rows]
    measured = measure_all(plan, shards, engine, reporter)
    if {count.ordinal: count.documents for count in measured.counts} != rows:
        reporter.warn(f"! the run {earlier.name} left texts without an answer, and its files have changed since")
        return Completed(None, ())
    name = runs.new_name(store, earlier.record["fingerprint"])
    url = files.join(store, runs.FOLDER, name)
    _copy_decisions(earlier, url)
    given, labels = _label(plan, with_given_columns(plan, measured, url), url, engine, reporter, confirm)
    if not _differ(earlier.url, url):
        files.remove(url)
        return Completed(None, labels)
    reporter.say(f"  label    answers came to what the run {earlier.name} left: its version is written anew")
    funnel = Funnel.from_json(earlier.record["result"]["funnel"])
    version, funnel, _ = write_dataset(plan, given, url, funnel, engine, reporter, completes=earlier)
    runs.write_shards(url, store, plan.loaded.document, given.shards, given.counts, given.measures)
    now: dict[str, Any] = {
        "run": name,
        "dataset": version.url,
        "funnel": funnel.to_json(),
        "labels": [result.to_json() for result in labels],
    }
    held = plan.loaded.document.redact_value({**earlier.record["result"], **now})
    record = {**earlier.record, "version": version.name, "result": held, "completes": earlier.name}
    run = Run(store, name, record)
    run.write_record()
    return Completed(run, labels)


def _copy_decisions(earlier: Run, url: str) -> None:
    """Copy a run's decisions to `url`: all of its tables but the labels and the one that names the measures."""
    for path in sorted(files.states(earlier.url)):
        if path.endswith(".parquet") and not path.startswith(f"{LABELS}/") and path != "shards.parquet":
            files.check_table(files.join(earlier.url, path))
            files.write_bytes(files.join(url, path), files.read_bytes(files.join(earlier.url, path)))


def _label(
    plan: Plan, measured: Measured, url: str, engine: LateEngine, reporter: Reporter, confirm: Confirm
) -> tuple[Measured, Sequence[LabelResult]]:
    texts = Texts({shard.ordinal: shard for shard in measured.shards}, plan.transforms)
    engine.start()
    survivors = LabelSurvivors(plan.loaded.store, plan.loaded.recipe.name, url, measured, texts, rewrite_by(plan.rules))
    measures, labels = label_survivors(plan.tasks, survivors, reporter, confirm)
    return replace(measured, measures=measures), labels


def _differ(earlier_url: str, url: str) -> bool:
    """Return whether two runs have different labels of the same documents."""
    mine, others = (sorted(files.states(files.join(at, LABELS))) for at in (url, earlier_url))
    if mine != others:
        return True
    pairs = ((files.join(url, LABELS, path), files.join(earlier_url, LABELS, path)) for path in mine)
    return any(not files.read_table(one).equals(files.read_table(other)) for one, other in pairs)

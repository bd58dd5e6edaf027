"""The write stage of a run: from decisions to a committed dataset version."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gristmill.operators import columns
from gristmill.operators.base import Measure, Rewrite, digest_of
from gristmill.operators.errors import FatalError, StoreDamaged
from gristmill.pipelines.decide.executors import named_rules, rewrite_by
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.planning.plan import Plan, indexed_rule
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.shard_tasks.write import (
    RECEIPTS,
    CountSurvivors,
    Layout,
    ShardSurvivors,
    WriteFiles,
    WriteReceipt,
    WriteTask,
    count_survivors,
    plan_files,
    shards_by_file,
    write_files,
)
from gristmill.pipelines.stages import manifest
from gristmill.pipelines.stages.context import Measured
from gristmill.pipelines.stages.earlier_nights import earlier_nights
from gristmill.pipelines.stages.pack import listed, pack_tokens, packed, packing_for
from gristmill.pipelines.stages.strata import columns_of_strata, strata_of
from gristmill.pipelines.stages.written_texts import short, written_texts
from gristmill.pipelines.storage import files
from gristmill.pipelines.store import whole
from gristmill.pipelines.store.datasets import RESULTS, Dataset, Version
from gristmill.pipelines.store.resources import ReadyOperator
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.runs import Run, decisions_file

#: Parts of the funnel that only say how it is reported, which changes no document.
COUNTED_BY = ("groups", "crowded", "estimated")


def write_dataset(
    plan: Plan,
    records: RunRecords,
    measured: Measured,
    run_url: str,
    funnel: Funnel,
    engine: Engine,
    reporter: Reporter,
    completes: Run | None = None,
    publish: bool = True,
    withdrawn: Sequence[int] = (),
) -> tuple[Version, Funnel, Mapping[str, float]]:
    """Write the kept documents and commit them as a version, unless a version holds just them already.

    `completes` is an earlier run whose version this one replaces: with the same parent, and current only where that one
    was. Without `publish` readers stay where they are. The documents of the shards in `withdrawn` leave the files of
    earlier nights.

    Return the version, the funnel with the details that only the written text gives, and processor seconds by step.
    """
    recipe = plan.loaded.recipe
    dataset = Dataset(plan.loaded.store, recipe.name)
    rewrite = rewrite_by(plan.rules)
    survivors = _survivors(plan, measured, run_url, rewrite, engine)
    made_by = [
        recipe.write.shard_bytes,
        plan.output.to_string(),
        plan.chain(),
        plan.measured_by(),
        RESULTS,
        {key: value for key, value in funnel.to_json().items() if key not in COUNTED_BY},
    ]
    texts = digest_of([made_by, [s.digest for s in survivors]])
    if plan.pack is not None:
        made_by += [plan.pack.fingerprint]
        made_by += [[s.by_digest for s in survivors]] if columns_of_strata(plan) else []
    indexed = indexed_rule(plan.rules)
    index = None if indexed is None else indexed[1].name
    before = None
    if index is not None:
        decided = {*withdrawn, *(shard.ordinal for shard in measured.shards)}
        before = earlier_nights(records, dataset, index, decided, completes)
        made_by += [before.identity()]
    version = dataset.version(digest_of([made_by, [s.digest for s in survivors]]))
    replaced_version = None if completes is None else completes.record["version"]
    by = [*records.finished(recipe.name)] if dataset.uncommitted or version.committed else []
    stored_manifest = _held(version, [run for run in by if run.record["version"] == version.name], reporter)
    if stored_manifest is not None:
        whole.announce_version(run_url, recipe.name, version, stored_manifest, index)
        if publish:
            version = dataset.point_at(version, replaced_version)
        reporter.say(f"  write    {version.name} holds just these documents already: nothing to write")
        return version, _told_as(funnel, stored_manifest["funnel"]), {}
    dataset.sweep({version.name, *(run.record["version"] for run in by)})
    tasks, number = plan_files(survivors, recipe.write.shard_bytes)
    held = None
    if index is None and dataset.versions() and (plan.pack is None or columns.TEXT in plan.output.names):
        rows_of = [rows for task in tasks for rows in task.sizes]
        held = written_texts(dataset, texts, version, rows_of, [*records.finished(recipe.name)])
    observed = _observed_by(plan)
    threads = max(1, engine.workers // len(tasks)) if engine.name == "local" else 1
    names = tuple(plan.output.names)
    earlier_strata = set() if before is None else before.strata()
    strata = strata_of(plan, survivors, rewrite, earlier_strata, engine)
    with packing_for(plan, version, survivors, strata, engine) as packing:
        layout = Layout(version.url, number, names, plan.output, plan.transforms, rewrite, observed, threads, packing)
        if held is None:
            receipts = _write_files(layout, tasks, engine, reporter)
        else:
            reporter.say(
                f"  write    {held.version.name} holds just these texts: its files are listed, none is written"
            )
            receipts = held.sent(packing, tasks, rewrite, version, engine, reporter)
        shards = [] if packing is None else pack_tokens(packing, version, tasks, receipts, engine, reporter)
    rows = sum(file.rows for receipt in receipts for file in receipt.files)
    if rows != funnel.kept:
        raise FatalError(
            f"{rows:,} rows were written for {funnel.kept:,} documents kept; nothing is committed: please report it"
        )
    if held is None:
        funnel = funnel.with_details({**_observations(plan, observed, receipts), **_removed(rewrite, survivors)})
    else:
        funnel = _told_as(funnel, held.funnel)
    files.remove(files.join(version.url, RECEIPTS))
    files.sweep(version.url)
    if completes is None:
        parent = _parent(records, dataset, version)
    else:
        parent = dataset.named(completes.record["version"]).manifest["parent"]
    wrote = (funnel, receipts, version, parent, before, shards_by_file(tasks))
    held_by = None if held is None else held.version.name
    new_manifest = manifest.build(plan, measured.shards, measured.counts, *wrote, held_by=held_by)
    if plan.pack is not None:
        earlier = [] if before is None else before.packed_listed(version, plan.pack)
        strata_told = [None if strata is None else strata.told(partition) for partition in range(len(shards))]
        now = [listed(shard, version, stratum) for shard, stratum in zip(shards, strata_told, strict=True)]
        told = packed(plan.pack, [*earlier, *now], None if strata is None else strata.of)
        new_manifest |= {"packed": told if index is not None else {"texts": short(texts), **told}}
    new_manifest |= {} if replaced_version is None else {"completes": replaced_version}
    whole.announce_version(run_url, recipe.name, version, new_manifest, index)
    version = dataset.commit(version, new_manifest, replaced_version, publish)
    seconds: Counter[str] = Counter()
    for receipt in receipts:
        seconds.update(receipt.seconds)
    return version, funnel, seconds


def _parent(records: RunRecords, dataset: Dataset, version: Version) -> str | None:
    """Return the version that a version to be committed follows: the one that readers take now.

    Where that is unknown, or is the very version that is written again, it is taken from the records of runs.
    """
    with contextlib.suppress(StoreDamaged):
        if dataset.current != version.name:
            return dataset.current
    before = (run.record["version"] for run in records.finished(dataset.name))
    return next((name for name in before if name != version.name), None)


def _held(version: Version, by: Sequence[Run], reporter: Reporter) -> dict[str, Any] | None:
    """Return the manifest of a version that is committed and whole; None where it has to be written.

    `by` are the finished runs that gave this version, newest first.
    """
    if by:
        _, faults = whole.whole_version(by[0], reporter.warn)
    elif version.committed:  # by a run that was killed before it wrote its record
        faults = whole.faults_of(version, version.manifest)
    else:
        return None
    for fault in faults:
        reporter.warn(f"! {fault}: the dataset is written again")
    return None if faults else version.manifest


def _told_as(funnel: Funnel, stored: Mapping[str, Any]) -> Funnel:
    """Return the funnel with the details that a manifest tells of the same documents, counted by as now."""
    counted = {name: getattr(funnel, name) for name in COUNTED_BY}
    return replace(Funnel.from_json({**stored}), **counted)


def _survivors(
    plan: Plan, measured: Measured, run_url: str, rewrite: Rewrite | None, engine: Engine
) -> list[ShardSurvivors]:
    names, by = tuple(plan.output.names), columns_of_strata(plan)
    tasks = [
        CountSurvivors(shard, measures, decisions_file(run_url, shard.ordinal), names, counts.text_bytes, rewrite, by)
        for shard, measures, counts in zip(measured.shards, measured.measures, measured.counts, strict=True)
    ]
    return [outcome.unwrap() for outcome in sorted(engine.map(count_survivors, tasks), key=lambda o: o.index)]


def _write_files(layout: Layout, tasks: Sequence[WriteTask], engine: Engine, reporter: Reporter) -> list[WriteReceipt]:
    outcomes = []
    through = [sum(s.input_bytes for s in task.survivors) for task in tasks]
    with reporter.stage("write", sum(len(task.sizes) for task in tasks), "file", sum(through)) as stage:
        for outcome in engine.map(write_files, [WriteFiles(layout, task) for task in tasks]):
            outcomes.append(outcome)
            stage.went_through(through[outcome.index])
            stage.advance(len(tasks[outcome.index].sizes), through[outcome.index])
    return [outcome.unwrap() for outcome in sorted(outcomes, key=lambda o: o.index)]


def _observed_by(plan: Plan) -> tuple[ReadyOperator, ...]:
    """Return the measures that count over the written documents and give a column that a rule observes."""
    by = {column for rule in plan.rules for column in rule.observes()}
    counting = (m for m in plan.measures if type(m.operator).observe is not Measure.observe)
    return tuple(m.ready for m in counting if m.ready is not None and by & {*m.operator.gives().names})


def _observations(
    plan: Plan, observed: Sequence[ReadyOperator], receipts: Sequence[WriteReceipt]
) -> dict[str, dict[str, Any]]:
    """Return the counts over the written texts, by the name of the rule that observes them."""
    details: dict[str, dict[str, Any]] = {}
    for ready in observed:
        names = ready.operator.gives().names
        counts = sum(receipt.observed[names[0]] for receipt in receipts)
        described = ready.operator.describe(ready.local_files(), counts)
        details |= {name: described for name, rule in named_rules(plan.rules) if rule.observes() & {*names}}
    return details


def _removed(rewrite: Rewrite | None, survivors: Sequence[ShardSurvivors]) -> dict[str, dict[str, Any]]:
    """Return counts of what is removed from the written texts, by the name of the rule that removes it."""
    if rewrite is None:
        return {}
    total: Counter[str] = Counter()
    for shard in survivors:
        total.update(shard.removed)
    return {rewrite.name: {"removed": dict(total)}}

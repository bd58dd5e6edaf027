"""The stages that end a run early: an earlier run did just what is asked, and its version stands."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from gristmill.operators.base import digest_of
from gristmill.operators.errors import RecipeError
from gristmill.operators.table import name_of
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.stages.commit import remember
from gristmill.pipelines.stages.context import Context, RunResult
from gristmill.pipelines.stages.decide import check_source_losses
from gristmill.pipelines.stages.earlier_nights import relisted
from gristmill.pipelines.stages.measure import all_measured, with_given_columns
from gristmill.pipelines.stages.pack import packed_summary
from gristmill.pipelines.stages.written_texts import shared_texts
from gristmill.pipelines.store import runs, whole
from gristmill.pipelines.store.datasets import RESULTS, Dataset, Version
from gristmill.pipelines.store.registry import Shard


def end_where_nothing_is_new(context: Context) -> Context:
    """End a run whose shards are all in the index: the dataset of the last run stands.

    Raises RecipeError where no run of the recipe decided them.
    """
    state, name = context.state, context.plan.loaded.recipe.name
    if state.pending or context.decides_anew:
        return context
    context = replace(context, shards=state.registry.register(state.specs, context.plan.loaded.document))
    current = context.records.newest_complete(name)
    if current is not None:
        dataset = Dataset(context.store, name)
        version = dataset.named(current.record["version"])
        if current.index is not None:
            version = relisted(context.records, dataset, current.index, version, context.plan.pack, context.publish)
        return _ended(context, current, version, unreadable=(), nothing_new=True)
    raise RecipeError(
        f"the index holds all {state.indexed} shards, but no run of {name} decided them: there is nothing to do. Add "
        "sources, or take shards out of the index with `gristmill index remove`"
    )


def end_where_all_is_cached(context: Context) -> Context:
    """End a run, before anything is read or compiled, where everything is measured and an earlier run did just this."""
    if context.state.index is not None or context.decides_anew or not all_measured(context.state, context.shards):
        return context
    earlier = _earlier(context, _fingerprint(context, context.shards))
    return context if earlier is None else _ended(context, *earlier, unreadable=())


def end_where_decided_before(context: Context) -> Context:
    """End a run after its measures where an earlier run decided just this; else name the run that decides it."""
    measured = context.all_measured
    fingerprint = _fingerprint(context, measured.shards)
    earlier = None if context.decides_anew else _earlier(context, fingerprint)
    if earlier is None:
        name = runs.new_name(context.store, fingerprint)
        return replace(context, fingerprint=fingerprint, run=name, url=runs.folder_of(context.store, name))
    run, version = earlier
    count = int(run.record["result"]["funnel"]["kept"])
    inputs = with_given_columns(context.plan, measured, run.url)
    addition = remember(context.state, inputs, run, fingerprint, count, context.engine)
    if addition is not None:  # its shards have been taken out of the index since
        addition.commit()
    return _ended(context, run, version, unreadable=measured.unreadable, measured_now=measured.measured_now)


def _fingerprint(context: Context, measured: Sequence[Shard]) -> str:
    """Return a digest of all that decides the dataset: inputs as measured, rules, output, the results' version."""
    plan, index = context.plan, context.state.index
    recipe = plan.loaded.recipe
    rules = [[name_of(rule), rule.fingerprint({})] for rule in plan.rules]
    documents = [plan.document_fingerprint(source) for source in recipe.sources]
    shards = [[shard.ordinal, shard.source.name] for shard in measured]
    output = [recipe.name, recipe.write.shard_bytes, plan.output.names, plan.by]
    generations = [] if index is None else [generation.name for generation in index.generations]
    more = [task.fingerprint for task in plan.tasks]
    if plan.pack is not None:
        more.append(plan.pack.fingerprint)
    return digest_of([output, rules, plan.measured_by(), documents, shards, generations, *more, RESULTS])


def _earlier(context: Context, asked: str) -> tuple[runs.Run, Version] | None:
    """Return an earlier run that did just what is asked, and its whole version; None where there is none."""
    for earlier in () if context.plan.tasks else context.records.finished():  # answers may have come since
        if earlier.record["fingerprint"] == asked:
            version, faults = whole.whole_version(earlier, context.reporter.warn)
            if not faults:
                check_source_losses(context.plan, Funnel.from_json(earlier.record["result"]["funnel"]))
                context.reporter.say(f"  the run {earlier.name} did just this: nothing is read, decided or written")
                return earlier, version
            return None
    return None


def _ended(context: Context, earlier: runs.Run, version: Version, **now: Any) -> Context:
    """Return the context with an earlier run's result and what is different now; readers take its version.

    Where the version is held back they do not.
    """
    if context.publish:
        version = Dataset(context.store, context.plan.loaded.recipe.name).point_at(version)
    names = {field.name for field in fields(RunResult)}  # an earlier version wrote more into its records
    values = {name: value for name, value in earlier.record["result"].items() if name in names}
    values["funnel"] = Funnel.from_json(values["funnel"])
    now = {
        "measured_now": 0,
        **now,
        "dataset": version.url,
        "whole": version.manifest["rows"],
        "packed": packed_summary(version.manifest),
        "texts": shared_texts(version),
        "held": version.held,
        "indexed": context.state.indexed,
        "processor_seconds": {},
        "labels": (),
        "waiting": {},
        "listed": context.listed(),
    }
    seconds = time.monotonic() - context.started
    return replace(context, result=RunResult(**{**values, **now, "cached": True, "seconds": seconds}))

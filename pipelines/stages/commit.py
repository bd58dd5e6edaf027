"""The last stage: the dataset is written, the run recorded, the index extended."""

from __future__ import annotations

import time
from dataclasses import replace

from gristmill.operators.errors import FatalError
from gristmill.pipelines.stages import quarantine
from gristmill.pipelines.stages.context import Context, RunResult
from gristmill.pipelines.stages.remember import remember
from gristmill.pipelines.stages.write import write_dataset
from gristmill.pipelines.storage import files
from gristmill.pipelines.store import runs


def commit(context: Context) -> Context:
    """Write the survivors, then the record of the run, then what it adds to its index."""
    plan, measured, funnel, rejects = context.plan, context.all_measured, context.funnel, context.rejects
    if funnel is None or rejects is None:
        raise FatalError("a run was about to be committed that had decided nothing; please report it")
    version, funnel, seconds = write_dataset(plan, measured, context.url, funnel, context.engine, context.reporter)
    context.seconds.update(seconds)
    files.write_table(files.join(context.url, "rejects.parquet"), rejects)
    runs.write_shards(
        context.url, context.store, plan.loaded.document, measured.shards, measured.counts, measured.measures
    )
    run = runs.Run(context.store, context.run, {})
    addition = remember(context.state, measured, run, context.fingerprint, funnel.kept, context.engine)
    result = RunResult(
        recipe=plan.loaded.recipe.name,
        run=context.run,
        dataset=version.url,
        funnel=funnel,
        cached=False,
        shards=len(context.shards),
        indexed=context.state.indexed,
        measured_now=measured.measured_now,
        quarantined=quarantine.remarks(rejects),
        duplicate_ids=context.duplicate_ids,
        unreadable=measured.unreadable,
        seconds=time.monotonic() - context.started,
        processor_seconds=dict(context.seconds),
        labels=context.labels,
        listed=context.listed(),
    )
    record = {
        "name": plan.loaded.recipe.name,
        "fingerprint": context.fingerprint,
        "version": version.name,
        "result": plan.loaded.document.redact_value(result.to_json()),
    }
    index = {} if addition is None else {"index": addition.to_json()}
    replace(run, record={**record, **index, "recipe": plan.loaded.as_written}).write_record()
    if addition is not None:
        addition.commit()
    return replace(context, result=result)

"""The last stage: the dataset is written, the run recorded, the index extended."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import replace

from gristmill.operators.errors import FatalError
from gristmill.pipelines.decide import given_columns
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.index.generations import Addition, Kept, key_files_for, write_generation
from gristmill.pipelines.planning.plan import index_parameters, indexed_rule
from gristmill.pipelines.planning.state import StoreState
from gristmill.pipelines.stages import quarantine
from gristmill.pipelines.stages.context import Context, Measured, RunResult
from gristmill.pipelines.stages.pack import packed_summary
from gristmill.pipelines.stages.withdraw import write_withdrawn
from gristmill.pipelines.stages.write import write_dataset
from gristmill.pipelines.stages.written_texts import shared_texts
from gristmill.pipelines.storage import files
from gristmill.pipelines.store import runs
from gristmill.pipelines.store.fuzzy_index import GenerationFiles
from gristmill.pipelines.store.runs import Run


def commit(context: Context) -> Context:
    """Write the survivors, then the record of the run, then what it adds to its index."""
    plan, measured, funnel, rejects = context.plan, context.all_measured, context.funnel, context.rejects
    if funnel is None or rejects is None:
        raise FatalError("a run was about to be committed that had decided nothing; please report it")
    withdrawn = {shard.ordinal: shard for shard in context.withdrawn}
    write_withdrawn(context.url, context.withdrawn)
    to = (context.url, funnel, context.engine, context.reporter)
    version, funnel, seconds = write_dataset(
        plan, context.records, measured, *to, publish=context.publish, withdrawn=[*withdrawn]
    )
    context.seconds.update(seconds)
    files.write_table(files.join(context.url, "rejects.parquet"), rejects)
    decided = (measured.shards, measured.counts, measured.measures)
    rows = [shard.written_row() for shard in withdrawn.values()]
    runs.write_shards(context.url, context.store, plan.loaded.document, *decided, rows)
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
        left_out=_left_out(measured),
        duplicate_ids=context.duplicate_ids,
        unreadable=measured.unreadable,
        seconds=time.monotonic() - context.started,
        processor_seconds=dict(context.seconds),
        labels=context.labels,
        listed=context.listed(),
        whole=version.manifest["rows"],
        packed=packed_summary(version.manifest),
        texts=shared_texts(version),
        held=version.held,
        withdrawn=sum(shard.kept() for shard in context.withdrawn if shard.reasons),
    )
    record = {
        "name": plan.loaded.recipe.name,
        "fingerprint": context.fingerprint,
        "version": version.name,
        "date": context.date.isoformat(),
        "result": plan.loaded.document.redact_value(result.to_json()),
        "resources": plan.loaded.document.redact_value(plan.resources()),
    }
    index = {} if addition is None else {"index": addition.to_json()}
    replace(run, record={**record, **index, "recipe": plan.loaded.as_written}).write_record()
    if addition is not None:
        addition.commit()
    return replace(context, result=result)


def _left_out(measured: Measured) -> dict[str, dict[str, int]]:
    """Return what the files of each source hold besides records, by kind; sources without any are not among them."""
    totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for shard, counts in zip(measured.shards, measured.counts, strict=True):
        if counts.left_out:
            totals[shard.source.name].update(counts.left_out)
    return {source: dict(counts) for source, counts in totals.items()}


def remember(
    state: StoreState, measured: Measured, run: Run, content: str, kept: int, engine: Engine
) -> Addition | None:
    """Write down what a run kept (`kept` documents), to be committed once the run is finished.

    `measured` has the columns that rules gave; `content` is the digest of all that decided the run. None where no rule
    has an index.
    """
    plan, index, indexed = state.plan, state.index, indexed_rule(state.plan.rules)
    if indexed is None or index is None:
        return None
    position, memory = indexed
    cluster = given_columns(plan.rules)[position].names[0]
    at = GenerationFiles(index.folder(index.next_name(content)), key_files_for(memory.bands, kept))
    shards = [Kept(shard, shard.source, run.decisions(shard.ordinal)) for shard in measured.measures]
    generation = write_generation(at, run.name, memory, cluster, shards, engine)
    return Addition(index, index_parameters(memory, plan.transforms), generation)

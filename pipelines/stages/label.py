"""The label stage of a recipe: kept documents are put to its tasks, and answers become columns of the dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.base import Rewrite
from gristmill.operators.label.samplers import KEY
from gristmill.pipelines.decide.executors import rewrite_by
from gristmill.pipelines.decide.rule_columns import write_given
from gristmill.pipelines.label.columns import STATE, column_of, labels_of, states_of
from gristmill.pipelines.label.documents import DOCUMENT, SHARD, Documents
from gristmill.pipelines.label.result import Confirm, LabelResult
from gristmill.pipelines.label.run import choose_documents, label_chosen
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.shard_tasks.reread import Texts, kept_rows
from gristmill.pipelines.stages.context import Context, Measured
from gristmill.pipelines.stages.measure import with_given_columns
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.measures import ShardMeasures
from gristmill.pipelines.store.runs import decisions_file

FOLDER = "labels"  #: below the run's folder: labels/<position of the task>/<ordinal>.parquet


@dataclass(frozen=True)
class LabelSurvivors:
    """The documents that a run has kept, and the means to read their texts."""

    store: str
    dataset: str
    run_url: str
    measured: Measured
    texts: Texts
    rewrite: Rewrite | None

    def documents(self, task: LoadedTask) -> Documents:
        """Return the kept documents, with the columns that the task's sample goes by."""
        sample = task.task.sample
        sampled = [] if sample is None else sorted(sample.columns_needed())
        tables = [self._kept(shard, sampled) for shard in self.measured.measures]
        return Documents(pa.concat_tables(tables), self.texts, self.rewrite)

    def _kept(self, held: ShardMeasures, sampled: Sequence[str]) -> pa.Table:
        own = (columns.TEXT_ID,) if self.texts.transforms else ()
        rewrite_columns = () if self.rewrite is None else self.rewrite.columns
        document = [name for name in DOCUMENT.names if name not in (SHARD, KEY)]
        names = list(dict.fromkeys([*document, *own, *rewrite_columns, *sampled]))
        table = held.read(names).filter(kept_rows(decisions_file(self.run_url, held.ordinal))).combine_chunks()
        keys = table[columns.TEXT_ID if own else columns.CONTENT_ID]
        if self.rewrite is not None:
            keys = keys_after(keys, table[self.rewrite.columns[0]])
        shard = pa.repeat(pa.scalar(held.ordinal, pa.uint32()), table.num_rows)
        return table.append_column(SHARD, shard).append_column(KEY, keys)


def keys_after(keys: pa.ChunkedArray, positions: pa.ChunkedArray) -> pa.Array:
    """Return keys (n) of texts without the pieces at some positions (n lists): other keys where any is removed."""
    digests = keys.to_pylist()
    touched = np.flatnonzero(pc.fill_null(pc.greater(pc.list_value_length(positions), 0), False).to_numpy())
    for place in touched.tolist():
        content = digests[place] + repr(positions[place].as_py()).encode()
        digests[place] = hashlib.blake2b(content, digest_size=16).digest()
    return pa.array(digests, columns.TYPES[columns.CONTENT_ID])


def label(context: Context) -> Context:
    """Put the tasks of the recipe to what was kept; the shards get the columns that rules and tasks gave."""
    inputs = with_given_columns(context.plan, context.all_measured, context.url)
    measured, results = label_measured(context, inputs, context.url)
    return replace(context, measured=measured, labels=results)


def label_measured(context: Context, measured: Measured, run_url: str) -> tuple[Measured, Sequence[LabelResult]]:
    """Put the tasks of the recipe to what a run kept; return the shards with their columns, and the results."""
    plan = context.plan
    if not plan.tasks:
        return measured, ()
    texts = Texts({shard.ordinal: shard for shard in measured.shards}, plan.transforms)
    dataset, rewrite = plan.loaded.recipe.name, rewrite_by(plan.rules)
    survivors = LabelSurvivors(context.store, dataset, run_url, measured, texts, rewrite)
    context.engine.start()
    measures, results = label_survivors(plan.tasks, survivors, context.reporter, context.confirm, context.date)
    return replace(measured, measures=measures), results


def label_survivors(
    tasks: Sequence[LoadedTask], survivors: LabelSurvivors, reporter: Reporter, confirm: Confirm, night: date
) -> tuple[list[ShardMeasures], list[LabelResult]]:
    """Put tasks to the kept documents; return the shards with the tasks' columns added, and the result of each task.

    Only documents that a task's sample chose have answers in the dataset, even if the store knows more. The column
    `<task>_state` says which those are, and whether they wait for an answer.
    """
    shards = list(survivors.measured.measures)
    results = []
    for position, task in enumerate(tasks):
        documents = survivors.documents(task)
        sample = choose_documents(task, documents)
        source = {"dataset": survivors.dataset}
        told = (survivors.store, sample, documents.table.num_rows, reporter, confirm)
        results.append(result := label_chosen(task, *told, source=source, night=night))
        store, keys = LabelStore(survivors.store, task.fingerprint), sample.table[KEY]
        labels = labels_of(task.task, store, keys)
        states = states_of(store, keys, labels.column(0), result.annotators)
        labels = labels.append_column(column_of(task.name, STATE), states)
        folder = files.join(survivors.run_url, FOLDER, f"{position:02d}")
        by_shard = _places_by_shard(sample.table, shards)
        rows = sample.table[columns.ROW].to_numpy()
        shards = [
            _with_labels(shard, folder, rows[mine], labels.take(pa.array(mine)))
            for shard, mine in zip(shards, by_shard, strict=True)
        ]
    return shards, results


def _places_by_shard(chosen: pa.Table, held: Sequence[ShardMeasures]) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of the documents of each shard in a table of documents."""
    shards = chosen[SHARD].to_numpy()
    order = np.argsort(shards, kind="stable")
    ordinals = shards[order]
    for shard in held:
        first, end = np.searchsorted(ordinals, [shard.ordinal, shard.ordinal + 1])
        yield order[first:end]


def _with_labels(shard: ShardMeasures, folder: str, chosen: NDArray[np.integer], given: pa.Table) -> ShardMeasures:
    """Write the columns of a shard's chosen documents (n rows), null for all others; return the shard with the file."""
    url = files.join(folder, f"{shard.ordinal:08d}.parquet")
    rows = shard.read([columns.ROW])[columns.ROW].combine_chunks()
    write_given(url, given, np.searchsorted(rows.to_numpy(), chosen), rows)
    schema = pa.schema([*shard.schema, *given.schema])
    return replace(shard, parts=(*shard.parts, (url, tuple(given.column_names))), schema=schema)

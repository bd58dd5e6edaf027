"""Columns that a task adds to a dataset: answer, probability, annotator, entropy; and the state, in the store alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.operators.columns import CONTENT_ID
from gristmill.operators.errors import RecipeError
from gristmill.operators.label.answers import Multi, Scale
from gristmill.pipelines.label.result import AnnotatorResult
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.store.schema import QUARANTINED, first_of_each, halves, sorted_order
from gristmill.pipelines.label.task import LabelTask, LoadedTask

ANSWER, PROBABILITY, ANNOTATOR, ENTROPY = "answer", "probability", "annotator", "entropy"
#: What became of a document that a task chose: a column of a store's documents, not of datasets.
STATE = "state"
ANSWERED, WAITS, IN_QUARANTINE = "answered", "waits", "quarantined"


def label_columns(task: LabelTask) -> pa.Schema:
    """Return `<task>_answer` (int64 of a scale, a list of labels of multi, else text), `<task>_probability`, ..."""
    types = {
        ANSWER: answer_type(task),
        PROBABILITY: pa.float32(),
        ANNOTATOR: pa.string(),
        ENTROPY: pa.float32(),
    }
    return pa.schema([pa.field(column_of(task.name, what), type) for what, type in types.items()])


def column_of(task: str, what: str) -> str:
    """Return the name of a column of a task, by the task's name."""
    prefix = re.sub(r"\W", "_", task)
    return f"{prefix}_{what}"


def answer_type(task: LabelTask) -> pa.DataType:
    """Return the type of a task's answers in datasets."""
    if isinstance(task.answer, Scale):
        return pa.int64()
    return pa.list_(pa.string()) if isinstance(task.answer, Multi) else pa.string()


def typed_answers(task: LabelTask, answers: pa.Array) -> pa.Array:
    """Convert answers as the store keeps them (text, n) to the type that datasets have (n)."""
    if isinstance(task.answer, Multi):
        return pa.array([None if a is None else json.loads(a) for a in answers.to_pylist()], answer_type(task))
    return answers.cast(answer_type(task))


def labels_of(task: LabelTask, store: LabelStore, keys: pa.ChunkedArray) -> pa.Table:
    """Return a task's columns for documents by their keys (n), null where there is no answer.

    Of several annotators the first that has an answer counts: those whose labels were imported, by name, then the
    task's own in its order.
    """
    rows = store.rows(columns=("answer", PROBABILITY, ENTROPY))
    rows = rows.filter(pc.is_valid(rows["answer"]))
    own = [annotator.name for annotator in task.annotators]
    others = sorted({*rows["annotator"].unique().to_pylist()} - {*own})
    rank = {name: place for place, name in enumerate([*others, *own])}
    ranked = np.array([rank[name] for name in rows["annotator"].to_pylist()], np.int64)
    latest = -rows["created"].cast(pa.int64()).to_numpy()
    high, low = halves(rows[CONTENT_ID])
    order = sorted_order(high, low, ranked, latest)
    best = rows.take(pa.array(order[first_of_each(order, high, low)]))
    picked = best.take(pc.index_in(keys.combine_chunks(), best[CONTENT_ID].combine_chunks()))
    values = (
        typed_answers(task, picked["answer"].combine_chunks()),
        *(picked[name].combine_chunks() for name in (PROBABILITY, ANNOTATOR, ENTROPY)),
    )
    return pa.table(list(values), schema=label_columns(task))


def states_of(
    store: LabelStore, keys: pa.ChunkedArray, answers: pa.Array, asked: Iterable[AnnotatorResult]
) -> pa.Array:
    """Return what became of documents (n) that a task chose, by their keys (n) and answers (n).

    A text is in quarantine where none of the annotators that were asked will be asked again.
    """
    never = np.ones(len(keys), np.bool_)
    for result in (result for result in asked if result.unanswered):
        never &= store.known(result.annotator, result.revision).states(keys) == QUARANTINED
    return pc.if_else(pc.is_valid(answers), ANSWERED, pc.if_else(pa.array(never), IN_QUARANTINE, WAITS))


def with_labels(schema: pa.Schema, loaded: LoadedTask) -> pa.Schema:
    """Return a schema with the columns of a task added; RecipeError if it has one of that name already."""
    columns = label_columns(loaded.task)
    names = [*columns.names, column_of(loaded.name, STATE)]
    if clash := next((name for name in names if name in schema.names), None):
        raise RecipeError(f"there is a column {clash} already; give the task {loaded.name} another name")
    return pa.schema([*schema, *columns])

"""`gristmill labels info` and `query`: what a store's labelling tasks have cost and given.

| view       | one row per                                                                      |
|------------|----------------------------------------------------------------------------------|
| labels     | answer (a number to a scale): task, content_id, annotator, probability, cost, ...|
| quarantine | content id and annotator without a valid answer: raw, error                      |
| documents  | document that a run of a task chose: task, id, content_id, source                |
| tasks      | task: name, fingerprint, as written                                              |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import yaml

from gristmill.operators.columns import CONTENT_ID
from gristmill.operators.errors import RecipeError
from gristmill.operators.label.contract import ABSTAINS
from gristmill.pipelines.config.quoting import sql_text
from gristmill.pipelines.label.aggregate import aggregate
from gristmill.pipelines.label.export import connected
from gristmill.pipelines.label.store import LabelStore, fingerprints, is_scale, open_stored
from gristmill.pipelines.label.task import read_task
from gristmill.pipelines.label.votes import votes_of_task
from gristmill.pipelines.report import query as queries

TASK_COLUMNS = pa.schema([("task", pa.string()), ("fingerprint", pa.string()), ("written", pa.string())])
_TASK = [pa.field("task", pa.string()), pa.field("fingerprint", pa.string())]
_BY_ANNOTATOR = f"""
    SELECT annotator, string_agg(DISTINCT model, ', ' ORDER BY model) FILTER (model <> '') AS model,
        count(*) FILTER (answer IS NOT NULL) AS answers,
        count(*) FILTER (answer IS NULL AND content_id IS NOT NULL AND NOT abstains) AS invalid,
        count(*) FILTER (answer IS NULL AND content_id IS NOT NULL AND abstains) AS abstained,
        avg(probability) FILTER (answer IS NOT NULL) AS probability,
        sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens, sum(cost) AS cost,
        coalesce(sum(input_tokens + output_tokens) FILTER (content_id IS NULL), 0)::BIGINT AS unanswered_tokens,
        min(created) AS first, max(created) AS last
    FROM (SELECT *, coalesce(starts_with(error, '{ABSTAINS}'), false) AS abstains FROM rows)
    GROUP BY annotator ORDER BY annotator
"""


def info(store: str, fingerprint: str | None = None) -> list[dict[str, Any]]:
    """Return a task of a store, or all: what each annotator has answered and what that cost.

    Raises RecipeError where the store has no labels, or none of that task.
    """
    return [_info(open_stored(store, key)) for key in ([fingerprint] if fingerprint else _labelled(store))]


def _labelled(store: str) -> list[str]:
    named = fingerprints(store)
    if not named:
        raise RecipeError(f"the store {store} has no labels; `gristmill label TASK --store {store}` makes them")
    return named


def _info(found: LabelStore) -> dict[str, Any]:
    connection = connected()
    connection.register("rows", pa.concat_tables([found.rows(), found.unanswered()]))
    annotators = queries.rows(connection, _BY_ANNOTATOR).to_pylist()
    for annotator in annotators:
        for moment in ("first", "last"):
            annotator[moment] = annotator[moment].isoformat(timespec="seconds")
    spent = found.spent()._asdict()
    task = found.task()["name"]
    documents = found.documents().num_rows
    return {
        "task": task,
        "fingerprint": found.fingerprint,
        "documents": documents,
        "annotators": annotators,
        "spent": spent,
    }


def aggregated(store: str, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report of `labels aggregate` on a task as a store has it written: agreement, quality of annotators.

    Raises RecipeError where its answers are no labels, or the store has none.
    """
    loaded = read_task(yaml.safe_dump(dict(task), sort_keys=False), "task.json", store, asks=False)
    return aggregate(votes_of_task(loaded, store))[1]


def query(store: str, sql: str, unsafe: bool = False) -> pa.Table:
    """Return the result of a query over the views above. Raises RecipeError if it is wrong or, unless `unsafe`, writes.

    It reaches no file, and has what it needs in memory.
    """
    connection = connect(store)
    if not unsafe:
        queries.confine(connection)
    return queries.answer(connection, sql, unsafe)


def connect(store: str) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the views of a store's labels. Raises RecipeError where it has none."""
    rows, documents, tasks = [], [], []
    scales = []
    for fingerprint in _labelled(store):
        label_store = LabelStore(store, fingerprint)
        task = label_store.task()
        rows.append(_of_task(label_store.rows(), task))
        scales += [fingerprint] if is_scale(task) else []
        documents.append(_of_task(label_store.documents(), task))
        tasks.append(
            {
                "task": task["name"],
                "fingerprint": fingerprint,
                "written": json.dumps(task["task"], ensure_ascii=False),
            }
        )
    connection = connected()
    connection.register("_rows", pa.concat_tables(rows))
    connection.register("_documents", pa.concat_tables(documents))
    connection.register("tasks", pa.Table.from_pylist(tasks, schema=TASK_COLUMNS))
    key = f"lower(hex({CONTENT_ID})) AS {CONTENT_ID}"
    answer = _answer(scales, of=len(tasks))
    connection.execute(f"CREATE VIEW labels AS SELECT * REPLACE ({key}, {answer}) FROM _rows WHERE answer IS NOT NULL")
    connection.execute(
        f"CREATE VIEW quarantine AS SELECT task, fingerprint, lower(hex({CONTENT_ID})) AS {CONTENT_ID}, annotator, "
        "model, revision, attempt, raw, error, input_tokens, output_tokens, cost, created, run "
        "FROM _rows WHERE answer IS NULL"
    )
    connection.execute(f"CREATE VIEW documents AS SELECT * REPLACE ({key}) FROM _documents")
    return connection


def _answer(scales: Sequence[str], of: int) -> str:
    """Return the SQL of the column of answers: numbers for the tasks in `scales`, texts for the others."""
    if not scales:
        return "answer AS answer"
    if len(scales) == of:
        return "answer::BIGINT AS answer"
    literals = ", ".join(map(sql_text, scales))
    return f"CASE WHEN fingerprint IN ({literals}) THEN answer::BIGINT::VARIANT ELSE answer::VARIANT END AS answer"


def _of_task(table: pa.Table, task: dict[str, Any]) -> pa.Table:
    """Return a table with the task's name and fingerprint before its columns."""
    for i, field in enumerate(_TASK):
        value = task["name" if field.name == "task" else "fingerprint"]
        table = table.add_column(i, field, pa.repeat(pa.scalar(value, pa.string()), table.num_rows))
    return table

"""Labels in a store, without anybody who is asked."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import yaml

import gristmill
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.store.schema import Annotation, AnswerRow
from gristmill.pipelines.label.task import read_task


def write_labels(store: str, hostile: Sequence[str] = ()) -> str:
    """Answers of two annotators about the first 60 documents; return the fingerprint of the task.

    Half of them agree. Of hostile texts the instruction, the labels and an annotator are made, for the last documents.
    """
    labels = [f"{text[:60]} {i}" for i, text in enumerate(hostile[:4])] or ["good", "fair", "poor"]
    annotator = hostile[0] if hostile else "api"
    task = {
        "version": 1,
        "name": "taste",
        "instruction": hostile[1] if hostile else "Say how good this text is.",
        "answer": {"choice": labels},
        "annotators": [{"name": "api", "engine": "http", "base_url": "http://localhost", "model": "m"}],
    }
    loaded = read_task(yaml.safe_dump(task), "task.yaml", ".", asks=False)
    labelled = LabelStore(store, loaded.fingerprint)
    labelled.write_task("taste", task)
    which = "DESC LIMIT 200" if hostile else "LIMIT 60"
    sql = f"SELECT id, unhex(content_id) AS content_id, source FROM documents ORDER BY address {which}"
    documents = gristmill.query(store, sql)
    keys = dict.fromkeys(documents["content_id"].to_pylist())
    given = [AnswerRow(key, 1, labels[i % len(labels)], probability=0.5) for i, key in enumerate(keys)]
    others = [AnswerRow(key, 0, labels[(i + i % 2) % len(labels)]) for i, key in enumerate(keys)]
    with labelled.open_run("r") as run:
        run.append(Annotation(annotator, "m", "1"), given)
        run.append(Annotation("human", "human", "imported"), others)
    ids = documents["content_id"].cast(pa.binary(16))
    labelled.write_documents("r", [documents.set_column(1, "content_id", ids)])
    return loaded.fingerprint

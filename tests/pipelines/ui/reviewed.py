"""A store with a run of three rules and a task with planted errors, for reviews."""

from __future__ import annotations

import random
from pathlib import Path

import yaml

import gristmill
from gristmill.pipelines.label.importing import import_records
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import LoadedTask, load_task
from tests.pipelines.html.hostile import HOSTILE
from tests.pipelines.train.topics import TOPICS, text_on
from tests.support import write_jsonl

WRONG = 20  #: documents with a wrong label
RULES = ["exact_dedup", {"drop": {"when": "gopher_words < 30 or score > 8", "name": "short <b>"}}]


def write_corpus(folder: Path, n: int = 160) -> Path:
    """A recipe over documents on three topics, some of them hostile, which has run; its store is `folder/store`."""
    draw, documents = random.Random(0), []
    for i in range(n):
        topic = [*TOPICS][i % len(TOPICS)]
        hostile = HOSTILE[i % len(HOSTILE)] if i % 3 == 0 else ""
        text = f"{text_on(topic, draw, 26 + i % 20, 0.3)} {hostile}"
        documents.append({"id": f"d{i} {hostile}", "text": text, "topic": topic, "score": i % 10})
    write_jsonl(folder / "data" / "docs.jsonl", documents)
    source = {"name": "docs", "path": "data/docs.jsonl", "metadata": {"score": "int"}}
    recipe = {"version": 1, "name": "live", "store": "./store", "sources": [source], "decide": RULES, "write": {}}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    gristmill.run(path)
    return path


def write_task(folder: Path, name: str = "topic", **answer: object) -> LoadedTask:
    """A task over the documents of the corpus, answered by a crowd with some errors, in `folder/store`."""
    kind = answer or {"choice": [*TOPICS]}
    annotators = [{"name": "api", "engine": "http", "base_url": "http://127.0.0.1:1", "model": "m"}]
    task = {"version": 1, "name": name, "instruction": "What is it about?", "answer": kind, "annotators": annotators}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(task, sort_keys=False))
    loaded = load_task(str(path), asks=False)
    store = LabelStore(str(folder / "store"), loaded.fingerprint)
    if not answer:
        draw = random.Random(1)
        records = []
        for i, document in enumerate(documents_of(folder)):
            right = document["topic"]
            given = draw.choice([other for other in TOPICS if other != right]) if i < WRONG else right
            records.append((f"{i}", {"id": document["id"], "text": document["text"], "answer": given}))
        import_records(store, loaded.task.answer, records, "the crowd", "crowd")
    source = {"path": [str(folder / "data" / "docs.jsonl")], "text": "text", "id": "id"}
    store.write_task(loaded.name, loaded.as_written, source)
    return loaded


def documents_of(folder: Path) -> list[dict[str, str]]:
    import json

    return [json.loads(line) for line in (folder / "data" / "docs.jsonl").read_text().splitlines()]

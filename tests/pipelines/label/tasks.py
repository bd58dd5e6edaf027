"""Tasks, documents and backends of tests."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from gristmill.operators.label.contract import Completion, Question, Reply
from gristmill.operators.label.prompt import Estimate
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.label.annotators import AnyAnnotator
from gristmill.pipelines.label.documents import Documents, scan, source_of
from gristmill.pipelines.label.task import LoadedTask, load_task
from gristmill.pipelines.progress.reporter import Reporter
from tests.support import sentences, write_jsonl

TOPICS = ("physics", "biology")
ANSWERS = {"physics": "A", "biology": "B"}
QUIET = Reporter(quiet=True)


class Told(Reporter):
    """A quiet reporter that keeps its warnings."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.warned: list[str] = []

    def warn(self, message: str) -> None:
        self.warned.append(message)


def topical(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """n documents, each with one of two topics in its text, from three sources."""
    return [
        {
            "id": f"d{i:05d}",
            "text": f"number {i} of {seed} on {TOPICS[i % 2]}: {sentences(seed * 100_003 + i, 5 + i % 40)}",
            "source": ("web", "book", "mail")[i % 3],
            "score": i / n,
        }
        for i in range(n)
    ]


def task_file(folder: Path, file: str = "task.yaml", **keys: Any) -> Path:
    """A task file: the given keys over the smallest one."""
    smallest = {
        "version": 1,
        "name": "topic",
        "instruction": "What is the text about?",
        "answer": {"choice": {"physics": "atoms", "biology": "cells"}},
        "annotators": [{"name": "api", "engine": "http", "base_url": "http://127.0.0.1:9/v1", "model": "m"}],
    }
    path = folder / file
    path.write_text(yaml.safe_dump({**smallest, **keys}, sort_keys=False))
    return path


def loaded_task(folder: Path, **keys: Any) -> LoadedTask:
    """The task of such a file."""
    return load_task(str(task_file(folder, **keys)))


def scanned(folder: Path, documents: Sequence[dict[str, Any]], task: LoadedTask) -> Documents:
    """Documents as a run finds them in files: two shards of JSON lines."""
    half = len(documents) // 2
    for i, some in enumerate((documents[:half], documents[half:])):
        write_jsonl(folder / "data" / f"docs-{i}.jsonl", some)
    source = source_of(str(folder / "data"), "data", "text", "id", task.task.sample)
    return scan(source, ".", LocalEngine(2), QUIET)


class Scripted:
    """A backend in this process: `say` tells what comes of each question."""

    revision = "scripted"
    tokenizer = Estimate()

    def __init__(self, say: Any = None) -> None:
        self.asked: list[Question] = []
        self._say = say or right

    def __call__(self, annotator: AnyAnnotator, asked: TaskQuestion) -> Scripted:
        return self

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        for batch in batches:
            self.asked += batch
            yield [self._say(question) for question in batch]

    def close(self) -> None:
        pass


def right(question: Question) -> Reply:
    """The right answer to a topical document, at 0.9."""
    code = next(code for topic, code in ANSWERS.items() if topic in question.document)
    slot = {other: math.log(0.9 if other == code else 0.1) for other in ANSWERS.values()}
    return Reply(question.key, Completion(code, (slot,), math.log(0.9), 50, 1))


def truth(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The right answer to each document, by id."""
    return {row["id"]: next(t for t in TOPICS if t in row["text"]) for row in rows}


def as_json(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text())

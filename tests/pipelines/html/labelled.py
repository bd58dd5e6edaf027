"""A small labelling task for reports: three annotators that differ, prices, a ceiling, answers that are not valid."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gristmill.operators.label.contract import Completion, Question, Reply
from gristmill.operators.label.prompt import Estimate
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import AnyAnnotator
from gristmill.pipelines.label.run import label
from gristmill.pipelines.label.task import LoadedTask, load_task
from tests.pipelines.label.tasks import QUIET, TOPICS, scanned, task_file, topical

ANNOTATORS = ("good", "hasty", "stranger")
N = 90


def annotators(names: Sequence[str]) -> list[dict[str, str]]:
    return [{"name": name, "engine": "http", "base_url": "http://127.0.0.1:9/v1", "model": "m"} for name in names]


class Crowd:
    """Backends in this process: the first answers right, the second errs on every fifth text, the third on others."""

    revision, tokenizer = "one", Estimate()

    def __init__(self, codes: Sequence[str], reply: str = "neither of the two") -> None:
        self.codes, self.reply = codes, reply
        self.name = ""

    def __call__(self, annotator: AnyAnnotator, asked: TaskQuestion) -> Crowd:
        crowd = Crowd(self.codes, self.reply)
        crowd.name = annotator.name
        return crowd

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        for batch in batches:
            yield [self._say(question) for question in batch]

    def _say(self, question: Question) -> Reply:
        number = int(question.document.split()[1])
        topic = next(i for i, topic in enumerate(TOPICS) if topic in question.document)
        errs = {ANNOTATORS[1]: number % 5 == 0, ANNOTATORS[2]: number % 7 == 0}.get(self.name, False)
        if self.name == ANNOTATORS[2] and number % 10 == 3:
            return Reply(question.key, Completion(self.reply, None, None, 40, 3))
        code = self.codes[1 - topic if errs else topic]
        sure = 0.6 + 0.39 * (number % 13) / 12
        slot = {other: math.log(sure if other == code else 1 - sure) for other in self.codes}
        return Reply(question.key, Completion(code, (slot,), math.log(sure), 50, 1))

    def close(self) -> None:
        pass


def labelled(folder: Path, documents: list[dict[str, Any]] | None = None, **keys: Any) -> tuple[LoadedTask, str]:
    """A task that was put to documents in two runs, the second ended by its budget; its file, and the store."""
    names = keys.pop("names", ANNOTATORS)
    reply = keys.pop("reply", "neither of the two")
    path = task_file(
        folder,
        annotators=annotators(names),
        prices={names[0]: {"input_per_million": 2.0, "output_per_million": 8.0}},
        budget={"documents": 240, "cost": 1.0, "night": {"documents": 500}},
        **keys,
    )
    loaded, store = load_task(str(path)), str(folder / "store")
    documents = topical(N) if documents is None else documents
    found = scanned(folder, documents, loaded)
    by_place = {(row["shard"], row["row"]): row["id"] for row in found.table.to_pylist()}
    assert len(by_place) == len(documents)
    sources = {row["id"]: row["source"] for row in documents}
    column = found.table.column_names.index("source")
    own = [sources[id] for id in found.table["id"].to_pylist()]
    found = replace(found, table=found.table.set_column(column, "source", [own]))
    origin = {"path": [str(folder / "data" / "*.jsonl")], "text": "text", "id": "id"}
    codes = [*loaded.task.answer.constraint().slots[0]]  # type: ignore[union-attr]
    label(loaded, store, found, QUIET, lambda plan: True, Crowd(codes, reply), origin)
    return loaded, store

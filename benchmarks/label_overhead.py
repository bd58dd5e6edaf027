"""What labelling costs besides the model: documents/s from dataset to stored labels, the backend answering at once.

    python -m benchmarks.label_overhead

New stores, medians.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import print_table
from gristmill.operators.label.contract import Completion, Question, Reply
from gristmill.operators.label.prompt import Estimate
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.label.annotators import AnyAnnotator
from gristmill.pipelines.label.documents import scan, source_of
from gristmill.pipelines.label.run import label
from gristmill.pipelines.label.task import LoadedTask, read_task
from gristmill.pipelines.progress.reporter import Reporter
from tests.support import sentences

DOCUMENTS = 200_000
RUNS = 5
TASK = """
version: 1
name: topic
instruction: What is the text about?
answer: {choice: {rivers: "water", stones: "rock", letters: "writing", engines: "machines"}}
annotators: [{name: instant, engine: http, base_url: "http://localhost:1/v1", model: none}]
budget: {documents: 10M, input_tokens: 10G}
"""


class Instant:
    """Answers at once, with the probabilities of four codes."""

    revision = "instant"
    tokenizer = Estimate()

    def __init__(self, annotator: AnyAnnotator, asked: TaskQuestion) -> None:
        self._slots = ({code: math.log(p) for code, p in zip("ABCD", (0.7, 0.1, 0.1, 0.1), strict=True)},)

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        for batch in batches:
            yield [Reply(question.key, Completion("A", self._slots, -0.36, 100, 1)) for question in batch]

    def close(self) -> None:
        pass


class Measured(NamedTuple):
    """One run: seconds on the wall and of this process's threads."""

    wall: float
    processor: float


def measure(loaded: LoadedTask, data: str, store: str) -> Measured:
    """Label everything into a new store."""
    quiet = Reporter(quiet=True)
    wall, processor = time.perf_counter(), time.process_time()
    documents = scan(source_of(data, "data", "text", "id", None), ".", LocalEngine(1), quiet)
    result = label(loaded, store, documents, quiet, lambda plan: True, Instant)
    if result.annotators[0].answered != DOCUMENTS:
        raise SystemExit("not all documents were answered")
    return Measured(time.perf_counter() - wall, time.process_time() - processor)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        texts = [f"{i} {sentences(i, 50)}" for i in range(DOCUMENTS)]
        data = f"{folder}/data.parquet"
        pq.write_table(pa.table({"id": [f"d{i}" for i in range(DOCUMENTS)], "text": texts}), data, compression="zstd")
        loaded = read_task(TASK, "task.yaml", ".")
        runs = [measure(loaded, data, f"{folder}/store-{trial}") for trial in range(RUNS)]
    wall = statistics.median(run.wall for run in runs)
    processor = statistics.median(run.processor for run in runs)
    print_table(
        ["documents", "bytes each", "wall (s)", "documents/s", "documents/s of processor time"],
        [[DOCUMENTS, sum(map(len, texts)) / DOCUMENTS, wall, DOCUMENTS / wall, DOCUMENTS / processor]],
    )


if __name__ == "__main__":
    main()

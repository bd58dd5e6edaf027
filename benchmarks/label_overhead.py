"""What labelling costs besides the model: documents per second from dataset to stored labels with an instant engine."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from operators.label.contract import Completion, Question, Reply
from operators.label.cutting import Estimate
from operators.label.task import Asked
from pipelines.engine.local import LocalEngine
from pipelines.label.annotators import AnyAnnotator
from pipelines.label.run import label
from pipelines.label.scan import scan, source_of
from pipelines.label.task import read_task
from pipelines.report.progress import Reporter
from tests.support import sentences

DOCUMENTS = 200_000
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

    def __init__(self, annotator: AnyAnnotator, asked: Asked) -> None:
        self._slots = ({code: math.log(p) for code, p in zip("ABCD", (0.7, 0.1, 0.1, 0.1), strict=True)},)

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        for batch in batches:
            yield [Reply(question.key, Completion("A", self._slots, -0.36, 100, 1)) for question in batch]

    def close(self) -> None:
        pass


def main() -> None:
    """Print documents per second and per second of processor time."""
    with tempfile.TemporaryDirectory() as folder:
        texts = [f"{i} {sentences(i, 50)}" for i in range(DOCUMENTS)]
        table = pa.table({"id": [f"d{i}" for i in range(DOCUMENTS)], "text": texts})
        pq.write_table(table, Path(folder, "data.parquet"), compression="zstd")
        print(f"{DOCUMENTS:,} documents of {sum(map(len, texts)) / DOCUMENTS:.0f} bytes")
        loaded = read_task(TASK, "task.yaml", ".")
        walls, processors, quiet = [], [], Reporter(quiet=True)
        for trial in range(5):
            start, processor = time.perf_counter(), time.process_time()
            source = source_of(f"{folder}/data.parquet", "data", "text", "id", None)
            documents = scan(source, ".", LocalEngine(1), quiet)
            result = label(loaded, f"{folder}/store-{trial}", documents, quiet, lambda plan: True, Instant)
            assert result.annotators[0].answered == DOCUMENTS
            walls.append(time.perf_counter() - start)
            processors.append(time.process_time() - processor)
        for name, seconds in (("wall", walls), ("processor", processors)):
            middle = sorted(seconds)[len(seconds) // 2]
            print(f"{name:<10} {middle:6.2f} s  {DOCUMENTS / middle:10,.0f} documents/s")


if __name__ == "__main__":
    main()

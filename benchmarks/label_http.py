"""The http backend of labelling: documents per second of an endpoint that takes 100 ms a request.

    python -m benchmarks.label_http --concurrency 64

The endpoint is the tests' own, on loopback, in a process of its own. Seconds are those of the wall: what is measured
waits most of the time. The ceiling is concurrency / delay; the CPU time is that of this process alone.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from typing import NamedTuple

from benchmarks.common import print_table
from gristmill.operators.label.contract import Question
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import HttpAnnotator
from gristmill.pipelines.label.http.backend import open_asker
from tests.pipelines.label.endpoint import endpoint
from tests.support import sentences

_BATCH = 256


class Measured(NamedTuple):
    """One run: seconds on the wall and of the CPU, replies with an answer, lists that they came in."""

    seconds: float
    cpu: float
    answered: int
    lists: int


def measure(url: str, questions: list[Question], concurrency: int) -> Measured:
    """Ask all questions; the first one, which goes alone, is part of it."""
    told = {"name": "api", "engine": "http", "model": "m", "base_url": url, "concurrency": concurrency}
    asked = TaskQuestion.model_validate({"instruction": "Name the topic.", "answer": {"choice": ["river", "engine"]}})
    asker = open_asker(HttpAnnotator.model_validate(told), asked)
    batches = (questions[start : start + _BATCH] for start in range(0, len(questions), _BATCH))
    wall, cpu = time.perf_counter(), time.process_time()
    lists = list(asker.answer(batches))
    seconds, used = time.perf_counter() - wall, time.process_time() - cpu
    asker.close()
    return Measured(
        seconds, used, sum(reply.completion is not None for replies in lists for reply in replies), len(lists)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--words", type=int, default=200, help="of a document")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--delay", type=float, default=0.1, help="seconds a request takes")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    texts = [f"{sentences(i, options.words)} {'river' if i % 2 else 'engine'} {i}" for i in range(options.documents)]
    questions = [Question(hashlib.blake2b(text.encode(), digest_size=16).digest(), text) for text in texts]
    with endpoint(answers={"river": "A", "engine": "B"}, delay=options.delay) as server:
        measure(server.url, questions[:200], options.concurrency)
        runs = [measure(server.url, questions, options.concurrency) for _ in range(options.runs)]
        most = server.stats().most_in_flight
    if any(run.answered != len(questions) for run in runs):
        raise SystemExit("not all documents were answered")
    speeds = [len(questions) / run.seconds for run in runs]
    print_table(
        [
            "documents",
            "concurrency",
            "delay (s)",
            "documents/s, median",
            "lowest",
            "highest",
            "ceiling",
            "CPU (us/document)",
        ],
        [
            [
                len(questions),
                most,
                options.delay,
                statistics.median(speeds),
                min(speeds),
                max(speeds),
                options.concurrency / options.delay if options.delay else "none",
                statistics.median(run.cpu for run in runs) / len(questions) * 1e6,
            ]
        ],
    )
    print(f"replies a list: {len(questions) / statistics.median(run.lists for run in runs):.1f}")


if __name__ == "__main__":
    main()

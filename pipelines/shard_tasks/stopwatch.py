"""Processor time of the work on a shard, by step."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gristmill.pipelines.sources.batches import Batch


class Stopwatch:
    """Processor seconds by step: of this thread, and what is added."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the processor seconds of the block to a step."""
        start = time.thread_time()
        try:
            yield
        finally:
            self.add(name, time.thread_time() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add processor seconds that were spent elsewhere, as in a process of its own, to a step."""
        self.seconds[name] += seconds  # type: ignore[assignment]


def timed(batches: Iterator[Batch], watch: Stopwatch) -> Iterator[Batch]:
    """Yield the batches, the time to read them counted as the step `read`."""
    while True:
        with watch.step("read"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch

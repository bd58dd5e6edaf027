"""Progress for machines: one JSON object a line on standard error. Keys are added, never renamed or taken away.

| event    | keys                                                                                                  |
|----------|-------------------------------------------------------------------------------------------------------|
| message  | text                                                                                                  |
| warning  | text                                                                                                  |
| progress | stage, unit, done, total, cached, documents, bytes, seconds, seconds_left, memory_bytes               |
| stage    | the same at the end of a stage, and state: done or failed                                             |
| summary  | the last line: state (done, failed), seconds, stages (the keys of their events), and error and        |
|          | exit_code, which are null where nothing failed                                                        |
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import IO, Any

from gristmill.pipelines.progress.reporter import Reporter, Stage, memory_bytes

#: Seconds between two events of a stage.
PAUSE = 0.5


class EventReporter(Reporter):
    """Reporter whose messages and stages are JSON lines."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        super().__init__(live=False)
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._stages: list[dict[str, Any]] = []

    def emit(self, event: str, **values: Any) -> None:
        """Write one event."""
        line = json.dumps({"event": event, **values}, ensure_ascii=True)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def say(self, text: str, style: str | None = None) -> None:
        """Write a message."""
        self.emit("message", text=text.strip())

    def warn(self, text: str) -> None:
        """Write a warning."""
        self.emit("warning", text=text.strip())

    def stage(self, name: str, total: int, unit: str = "shard", size: float = 0, cached: int = 0) -> Stage:
        """Return a stage whose progress is written."""
        return _EventStage(self, name, total, unit, size, cached)

    def ended(self, values: dict[str, Any]) -> None:
        """Write the end of a stage, and keep it for the summary."""
        self._stages.append(values)
        self.emit("stage", **values)

    def summarise(self, exit_code: int | None = None, error: str | None = None) -> None:
        """Write the last event."""
        state = "done" if error is None else "failed"
        seconds = round(time.monotonic() - self._began, 3)
        self.emit("summary", state=state, exit_code=exit_code, error=error, seconds=seconds, stages=self._stages)


class _EventStage(Stage):
    """Stage that writes events in place of lines."""

    reporter: EventReporter

    def __enter__(self) -> Stage:
        super().__enter__()
        self.reporter.emit("progress", **self._values())
        return self

    def tell(self) -> None:
        """Write the progress, unless something was written a moment ago."""
        if time.monotonic() - self._said >= PAUSE:
            self._said = time.monotonic()
            self.reporter.emit("progress", **self._values())

    def _show_end(self, done: bool) -> None:
        self.reporter.ended({**self._values(), "state": "done" if done else "failed"})

    def _values(self) -> dict[str, Any]:
        reached, seconds = self.reached()
        left = self.seconds_left()
        return {
            "stage": self.name,
            "unit": self.unit,
            "done": self.done,
            "total": self.total,
            "cached": self.cached,
            "documents": reached.documents,
            "bytes": reached.text_bytes,
            "seconds": round(seconds, 3),
            "seconds_left": None if left is None else round(left, 1),
            "memory_bytes": memory_bytes(),
        }

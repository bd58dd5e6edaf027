"""An engine that starts with its first work."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from gristmill.pipelines.engine.base import Engine


class LateEngine:
    """Engine that starts when the first work comes: a run that finds everything done never starts a cluster."""

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        self._open = open_engine
        self._engine: Engine | None = None

    def _started(self) -> Engine:
        if self._engine is None:
            self._engine = self._open()
        return self._engine

    @property
    def name(self) -> str:
        """Return the engine's name; starts it."""
        return self._started().name

    @property
    def workers(self) -> int:
        """Return the number of items that run at the same time; starts the engine."""
        return self._started().workers

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Generator[Any]:
        """Yield the outcomes of `Engine.map`; without items the engine is not started."""
        if items:
            yield from self._started().map(function, items)

    def start(self) -> None:
        """Start the engine: models may run on its cluster."""
        self._started()

    def close(self) -> None:
        """Close the engine if it was started."""
        if self._engine is not None:
            self._engine.close()

    def __enter__(self) -> LateEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

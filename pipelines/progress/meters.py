"""Meters: whatever shows the progress of stages outside of this process, such as the metrics of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progressed:
    """The beginning of a stage, a step forward, or its end."""

    stage: str
    total: int  #: steps (shards, files, rules) of the stage
    steps: int = 0  #: steps that have ended just now
    documents: int = 0
    text_bytes: int = 0
    quarantined: int = 0  #: records that are no documents
    ended: bool = False  #: the stage is over
    error: str | None = None  #: what ended it, where it failed


#: The meters of this process; each is told the beginning, every step and the end of every stage.
METERS: list[Callable[[Progressed], None]] = []


def tell(progressed: Progressed) -> None:
    """Tell each meter."""
    for meter in METERS:
        meter(progressed)

"""The engines that answer: `http`, `transformers`, `vllm`. Each is imported only where a task names it."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from operators.label.contract import Asker
from operators.label.task import Asked
from pipelines.label.annotators import AnyAnnotator

OpenAsker = Callable[[AnyAnnotator, Asked], Asker]


def open_asker(annotator: AnyAnnotator, asked: Asked) -> Asker:
    """An annotator, ready to answer. Raises RecipeError where its engine or its model is not there."""
    engine = importlib.import_module(f"{__name__}.{annotator.engine}")
    opened: Asker = engine.open_asker(annotator, asked)
    return opened

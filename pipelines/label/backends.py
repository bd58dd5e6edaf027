"""Backends that answer, by the names that tasks give them: each is imported only if a task names it."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from gristmill.operators.label.contract import Asker
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import AnyAnnotator
from gristmill.pipelines.label.ray.backend import on_ray, open_replicas

OpenAsker = Callable[[AnyAnnotator, TaskQuestion], Asker]

#: The module of each backend, by an annotator's field `engine`; it has a function `open_asker`.
_MODULES = {
    "http": "gristmill.pipelines.label.http.backend",
    "keywords": "gristmill.pipelines.label.keywords",
    "similarity": "gristmill.pipelines.label.similarity",
    "transformers": "gristmill.pipelines.label.local.backend",
    "vllm": "gristmill.pipelines.label.ray.vllm",
}


def open_asker(annotator: AnyAnnotator, asked: TaskQuestion) -> Asker:
    """Open an annotator's asker. Raises RecipeError if its backend or its model is not there.

    If this process is connected to a Ray cluster, a model of transformers is held by the cluster's workers.
    """
    if annotator.engine == "transformers" and on_ray():
        return open_replicas(annotator, asked)
    opened: Asker = importlib.import_module(_MODULES[annotator.engine]).open_asker(annotator, asked)
    return opened

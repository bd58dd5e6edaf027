"""Engines that answer: `http`, `transformers`, `vllm`, each imported only if a task names it; nothing that stores."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from gristmill.operators.label.contract import Asker
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import AnyAnnotator
from gristmill.pipelines.label.engines.ray_labels import on_ray

OpenAsker = Callable[[AnyAnnotator, TaskQuestion], Asker]


def open_asker(annotator: AnyAnnotator, asked: TaskQuestion) -> Asker:
    """Open an annotator's asker. Raises RecipeError if its engine or its model is not there.

    If this process is connected to a Ray cluster, a model of transformers is held by the cluster's workers.
    """
    if annotator.engine == "transformers" and on_ray():
        from gristmill.pipelines.label.engines.ray_asker import open_replicas

        return open_replicas(annotator, asked)
    opened: Asker = importlib.import_module(f"{__name__}.{annotator.engine}").open_asker(annotator, asked)
    return opened

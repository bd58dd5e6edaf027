"""The engine `transformers`: a model in this process."""

from __future__ import annotations

from gristmill.operators.errors import RecipeError
from gristmill.operators.label.contract import Asker
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import TransformersAnnotator
from gristmill.pipelines.label.engines.model_files import THREE_WAYS, found_revision


def open_asker(annotator: TransformersAnnotator, asked: TaskQuestion) -> Asker:
    """Open the annotator's asker with its model loaded.

    Raises RecipeError if there is no transformers, no such model or device, or no token for a code of the task.
    """
    try:
        from gristmill.pipelines.label.engines.loading import load
        from gristmill.pipelines.label.engines.model_asker import ModelAsker
    except ImportError as error:
        raise RecipeError(
            f"{annotator.name} is answered by transformers, and {error.name} is not installed here. {THREE_WAYS}"
        ) from None
    try:
        found, loaded = found_revision(annotator.model, annotator.revision), load(annotator)
    except RecipeError as error:
        raise RecipeError(f"{annotator.name}: {error}. {THREE_WAYS}") from None
    return ModelAsker(annotator, asked, loaded, found)

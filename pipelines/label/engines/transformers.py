"""The engine `transformers`: a model in this process."""

from __future__ import annotations

from operators.errors import RecipeError
from operators.label.contract import Asker
from operators.label.task import Asked
from pipelines.label.annotators import TransformersAnnotator
from pipelines.label.engines.model_files import found_revision

THREE_WAYS = (
    "Three ways to a model: engine: transformers with a model's folder or its id on the Hugging Face hub, which runs "
    "in this process (pip install 'gristmill[lm]'); engine: http with the base_url of a server such as vLLM's own, "
    "llama.cpp's or a hosted API; engine: vllm on a Ray cluster with GPUs"
)


def open_asker(annotator: TransformersAnnotator, asked: Asked) -> Asker:
    """The annotator with its model loaded.

    Raises RecipeError where there is no transformers, no such model or device, or no token for a code of the task.
    """
    try:
        from pipelines.label.engines.loading import load
        from pipelines.label.engines.model_asker import ModelAsker
    except ImportError as error:
        raise RecipeError(
            f"{annotator.name} is answered by transformers, and {error.name} is not installed here. {THREE_WAYS}"
        ) from None
    try:
        found, loaded = found_revision(annotator.model, annotator.revision), load(annotator)
    except RecipeError as error:
        raise RecipeError(f"{annotator.name}: {error}. {THREE_WAYS}") from None
    return ModelAsker(annotator, asked, loaded, found)

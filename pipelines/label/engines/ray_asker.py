"""Askers whose models are held by actors of the Ray cluster that this process is connected to."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial

from gristmill.operators.label.contract import Question, Reply, Tokenizer
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import Annotator, TransformersAnnotator, revision_of
from gristmill.pipelines.label.chunks import Chunk, HeldChunk
from gristmill.pipelines.label.engines import transformers
from gristmill.pipelines.label.engines.model_files import found_revision
from gristmill.pipelines.label.engines.ray_labels import answer_with_actors, cluster_has, preflight
from gristmill.pipelines.label.ray_resources import Placement
from gristmill.pipelines.label.tokenizers import load_tokenizer

Run = Callable[[Sequence[Chunk]], Generator[Sequence[Reply]]]


class RayAsker:
    """StreamingAsker by actors. Each call that answers starts the actors, and ends them with its last reply."""

    def __init__(self, annotator: Annotator, tokenizer: Tokenizer, run: Run) -> None:
        self.tokenizer = tokenizer
        self.revision = revision_of(annotator, found_revision(annotator.model, annotator.revision))
        self._run = run

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        """Yield replies to all questions; every batch is pulled before the first is asked."""
        return self._run([HeldChunk(tuple(batch)) for batch in batches])

    def answer_chunks(self, chunks: Sequence[Chunk]) -> Generator[Sequence[Reply]]:
        """Yield replies to the questions of all chunks."""
        return self._run(chunks)

    def close(self) -> None:
        """Do nothing: actors end with the replies."""


def open_replicas(annotator: TransformersAnnotator, asked: TaskQuestion) -> RayAsker:
    """Open the engine `transformers` in `annotator.replicas` actors, each with a GPU if the annotator's device is one.

    Raises RecipeError if the cluster has no room for them, or there is no such model.
    """
    on_gpu = annotator.device.startswith("cuda") or (annotator.device == "auto" and cluster_has("GPU"))
    placement = Placement(annotator.replicas, 1, {"CPU": 1.0, "GPU": 1.0} if on_gpu else {"CPU": 1.0})
    preflight(annotator.name, placement)
    opener = partial(transformers.open_asker, annotator, asked)
    run = partial(answer_with_actors, annotator.name, placement, opener)
    return RayAsker(annotator, load_tokenizer(annotator.model, annotator.revision), run)

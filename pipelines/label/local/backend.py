"""The backend `transformers`: a model in this process, which answers the questions of a task batch by batch."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING

from gristmill.operators.errors import RecipeError
from gristmill.operators.label.contract import Asker, Completion, Question, Reply, Tokenizer
from gristmill.operators.label.prompt import Prompt
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import TransformersAnnotator, revision_of
from gristmill.pipelines.label.local.tokens import Batcher, Prompted, Renderer, common_beginning
from gristmill.pipelines.label.models import THREE_WAYS, HubTokenizer, found_revision

if TYPE_CHECKING:  # a task without such an annotator does not load torch
    from gristmill.pipelines.label.local.model import Codes, Loaded, Text

#: Documents that show the beginning that prompts share. A line feed may be one token with what stands before it.
_PROBES = ("a", "\n")


def open_asker(annotator: TransformersAnnotator, asked: TaskQuestion) -> Asker:
    """Open the annotator's asker with its model loaded.

    Raises RecipeError if there is no transformers, no such model or device, or no token for a code of the task.
    """
    try:
        from gristmill.pipelines.label.local.model import load
    except ImportError as error:
        raise RecipeError(
            f"{annotator.name} is answered by transformers, and {error.name} is not installed here. {THREE_WAYS}"
        ) from None
    try:
        revision, loaded = found_revision(annotator.model, annotator.revision), load(annotator)
    except RecipeError as error:
        raise RecipeError(f"{annotator.name}: {error}. {THREE_WAYS}") from None
    return ModelAsker(annotator, asked, loaded, revision)


class ModelAsker:
    """Asker of a loaded model. Questions that are pulled together are answered by length, the longest first."""

    def __init__(self, annotator: TransformersAnnotator, asked: TaskQuestion, loaded: Loaded, found: str) -> None:
        """Prepare the model; `found` is the state of its files. Raises RecipeError if it has no token for a code."""
        self.revision = revision_of(annotator, found)
        # A copy, because questions are cut in another thread, and a tokenizer cannot be used by two at once.
        self.tokenizer: Tokenizer = HubTokenizer.copied(loaded.tokenizer.backend_tokenizer)
        self._model, self._context = annotator.model, loaded.context
        self._prompt = Prompt(asked, self.tokenizer.special)
        self._renderer = Renderer(loaded.tokenizer)
        self._batcher = Batcher(annotator.batch_tokens)
        self._completer = self._completer_of(annotator, asked, loaded)

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        """Yield replies to all questions, after each forward pass those that it gave."""
        fewest = self._completer.fewest_tokens
        for questions in batches:
            prompts = self._prompts(questions)
            too_long = [self._refused(prompt) for prompt in prompts if prompt.most < fewest]
            if too_long:
                yield too_long
            yield from self._batcher.map(self._replies, [prompt for prompt in prompts if prompt.most >= fewest])

    def close(self) -> None:
        """Release the model."""
        del self._completer

    def _prompts(self, questions: Sequence[Question]) -> list[Prompted]:
        chats = [self._prompt.messages(question.document, question.rejected) for question in questions]
        rendered = self._renderer.tokens(chats)
        return [
            Prompted(question.key, ids, self._room_after(len(ids)))
            for question, ids in zip(questions, rendered, strict=True)
        ]

    def _room_after(self, tokens: int) -> int:
        """Return the number of tokens that may follow `tokens`: the model does not look at the last of them."""
        most = self._completer.most_tokens
        return most if self._context is None else min(most, self._context - tokens + 1)

    def _refused(self, prompt: Prompted) -> Reply:
        error = (
            f"the prompt has {len(prompt.ids):,} tokens, and {self._model} looks at {self._context:,} at most; let the "
            "task take fewer of each text (text: max_tokens)"
        )
        return Reply(prompt.key, None, error, lasting=True)

    def _replies(self, prompts: Sequence[Prompted]) -> list[Reply]:
        completions: list[Completion] = self._completer.complete(prompts)
        return [Reply(prompt.key, completion) for prompt, completion in zip(prompts, completions, strict=True)]

    def _completer_of(self, annotator: TransformersAnnotator, asked: TaskQuestion, loaded: Loaded) -> Codes | Text:
        from gristmill.pipelines.label.local.model import completer  # by torch, which is there: the model is loaded

        return completer(annotator, asked.answer.constraint(), loaded, self._renderer, self._shared())

    def _shared(self) -> list[int]:
        return common_beginning(*self._renderer.tokens([self._prompt.messages(probe) for probe in _PROBES]))

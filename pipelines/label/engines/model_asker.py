"""A model that answers the questions of a task, batch by batch."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

from gristmill.operators.label.contract import Completion, Question, Reply, Tokenizer
from gristmill.operators.label.prompt import Prompt
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import TransformersAnnotator, revision_of
from gristmill.pipelines.label.engines.batching import Batcher
from gristmill.pipelines.label.engines.code_tokens import slot_tokens
from gristmill.pipelines.label.engines.completing import Codes, Text
from gristmill.pipelines.label.engines.forward import Forward, common_beginning
from gristmill.pipelines.label.engines.loading import Loaded
from gristmill.pipelines.label.engines.rendering import Prompted, Renderer
from gristmill.pipelines.label.tokenizers import HubTokenizer

#: Documents that show the beginning that prompts share. A line feed may be one token with what stands before it.
_PROBES = ("a", "\n")


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
        for questions in batches:
            prompts = self._prompts(questions)
            too_long = [self._refused(prompt) for prompt in prompts if prompt.most < self._fewest]
            if too_long:
                yield too_long
            yield from self._batcher.map(self._replies, [prompt for prompt in prompts if prompt.most >= self._fewest])

    def close(self) -> None:
        """Release the model."""
        del self._completer

    @property
    def _fewest(self) -> int:
        """Return the tokens that a completion takes at least."""
        return self._completer.most_tokens if isinstance(self._completer, Codes) else 1

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
        constraint = asked.answer.constraint()
        slots = slot_tokens(constraint, self._renderer.encode, annotator.model)
        forward = Forward(loaded.model, self._shared())
        if slots:
            return Codes(forward, slots, constraint.separator)
        most = annotator.max_output_tokens or constraint.max_tokens
        return Text(forward, loaded.ends, self._renderer.decode, most)

    def _shared(self) -> list[int]:
        return common_beginning(*self._renderer.tokens([self._prompt.messages(probe) for probe in _PROBES]))

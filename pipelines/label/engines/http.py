"""The engine `http`: a model behind any OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from weakref import WeakSet

from yarl import URL

from gristmill.operators.errors import FatalError, RecipeError
from gristmill.operators.label.contract import Question, Reply, Tokenizer
from gristmill.operators.label.cutting import Estimate
from gristmill.operators.label.prompt import Prompt
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import HttpAnnotator, revision_of
from gristmill.pipelines.label.engines.backoff import Backoff
from gristmill.pipelines.label.engines.breaker import Outage
from gristmill.pipelines.label.engines.bridge import Inbox, through_loop
from gristmill.pipelines.label.engines.dialect import Dialect, richest
from gristmill.pipelines.label.engines.http_asking import Asking, Terms
from gristmill.pipelines.label.engines.http_client import Client, url_of
from gristmill.pipelines.label.tokenizers import load_tokenizer

#: Questions that are refused in every dialect, before the first answer, until the endpoint is given up.
REFUSED_AT_START = 8


class HttpAsker:
    """Asker of an endpoint, many questions at once.

    The first question goes alone and finds the dialect that the endpoint understands. A passing failure (too many
    requests, a server error, a lost connection) is tried again, after the time that the endpoint asks for or a random
    one; the number of requests in flight adapts to what the endpoint bears; when nothing is answered any more, single
    probes are sent until it is, or FatalError is raised.
    """

    def __init__(
        self,
        annotator: HttpAnnotator,
        asked: TaskQuestion,
        backoff: Backoff | None = None,
        outage: Outage | None = None,
    ) -> None:
        """Check the annotator; nothing is sent. Raises RecipeError if the URL or the tokenizer cannot be used."""
        if not URL(annotator.base_url).host:
            raise RecipeError(f"annotator {annotator.name}: base_url {annotator.base_url!r} names no host")
        self.revision = revision_of(annotator)
        self.tokenizer: Tokenizer = load_tokenizer(annotator.tokenizer) if annotator.tokenizer else Estimate()
        constraint = asked.answer.constraint()
        if annotator.max_output_tokens is not None:
            constraint = replace(constraint, max_tokens=annotator.max_output_tokens)
        # As many failures as there are requests in flight can have one cause that has passed since.
        outage = outage or Outage()
        outage = replace(outage, failures=max(outage.failures, annotator.concurrency))
        self._terms = Terms(
            annotator,
            Prompt(asked, self.tokenizer.special),
            constraint,
            self.tokenizer,
            backoff or Backoff(),
            outage,
        )
        self._dialect: Dialect | None = None
        self._refused = 0
        self._streams: WeakSet[Generator[Sequence[Reply], None, None]] = WeakSet()

    @property
    def dialect(self) -> str:
        """Return the dialect of the requests in words; empty before the first answer."""
        return "" if self._dialect is None else str(self._dialect)

    def answer(self, batches: Iterable[Sequence[Question]]) -> Iterator[Sequence[Reply]]:
        """Yield replies as they come, in lists of all that are there; see Asker."""
        stream = through_loop(batches, self._work, self._terms.annotator.concurrency)
        self._streams.add(stream)
        return stream

    def close(self) -> None:
        """Cancel what is still in flight."""
        for stream in list(self._streams):
            stream.close()

    async def _work(self, inbox: Inbox[Question], emit: Callable[[Reply], None]) -> None:
        async with Client(self._terms.annotator) as client:
            asking = Asking(self._terms, client)
            while self._dialect is None and (question := await inbox.get()) is not None:
                emit(await self._settled(asking, question))
            if self._dialect is not None:
                await asking.all(inbox, emit, self._dialect)

    async def _settled(self, asking: Asking, question: Question) -> Reply:
        terms = self._terms
        reply, self._dialect = await asking.settle(question, richest(terms.constraint, terms.annotator.logprobs))
        self._refused += reply.completion is None
        if self._dialect is None and self._refused >= REFUSED_AT_START:
            raise FatalError(
                f"{url_of(terms.annotator)} has answered none of the first {self._refused} documents, however they "
                f"were asked; at last: {reply.error}. Check base_url, model and extra of {terms.annotator.name}"
            )
        return reply


def open_asker(annotator: HttpAnnotator, asked: TaskQuestion) -> HttpAsker:
    """Return the annotator's asker; nothing is sent yet."""
    return HttpAsker(annotator, asked)

"""The backend `http`: a model behind any OpenAI-compatible endpoint, asked many questions at once.

`HttpAsker` finds the dialect; `_Asking` makes the attempts, waits, and ends when nothing is answered; `_Client` sends
one request.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any
from weakref import WeakSet

import aiohttp
import orjson
from yarl import URL

from gristmill.operators.errors import FatalError, RecipeError
from gristmill.operators.label.contract import Constraint, Message, Question, Reply, Tokenizer
from gristmill.operators.label.prompt import Estimate, Prompt
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import HttpAnnotator, revision_of
from gristmill.pipelines.label.http.dialect import Dialect, richest
from gristmill.pipelines.label.http.flow import Backoff, Breaker, Limiter, Outage
from gristmill.pipelines.label.http.loop import Inbox, through_loop
from gristmill.pipelines.label.http.replies import (
    Answered,
    Failure,
    FailureKind,
    completion_of,
    one_line,
    refused,
    reply_in,
)
from gristmill.pipelines.label.models import load_tokenizer

#: Questions that are refused in every dialect, before the first answer, until the endpoint is given up.
REFUSED_AT_START = 8
#: Tasks for each request that may be in flight: documents that wait for another attempt do not hold up others.
_TASKS = 2
#: Number of 500s after which the dialect is blamed for them.
_SERVER_ERRORS = 3
_CONNECT = 30.0  # seconds that a connection may take to be made
_HIDDEN = "[api_key]"


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
        self._terms = _Terms(
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

    @property
    def pulled_ahead(self) -> int:
        """Return how many questions are pulled ahead of those that are sent, in a thread of its own."""
        return self._terms.annotator.concurrency

    def answer(self, batches: Iterable[Sequence[Question]]) -> Iterator[Sequence[Reply]]:
        """Yield replies as they come, in lists of all that are there; see Asker."""
        stream = through_loop(batches, self._work, self.pulled_ahead)
        self._streams.add(stream)
        return stream

    def close(self) -> None:
        """Cancel what is still in flight."""
        for stream in list(self._streams):
            stream.close()

    async def _work(self, inbox: Inbox[Question], emit: Callable[[Reply], None]) -> None:
        async with _Client(self._terms.annotator) as client:
            asking = _Asking(self._terms, client)
            while self._dialect is None and (question := await inbox.get()) is not None:
                emit(await self._settled(asking, question))
            if self._dialect is not None:
                await asking.all(inbox, emit, self._dialect)

    async def _settled(self, asking: _Asking, question: Question) -> Reply:
        terms = self._terms
        reply, self._dialect = await asking.settle(question, richest(terms.constraint, terms.annotator.logprobs))
        self._refused += reply.completion is None
        if self._dialect is None and self._refused >= REFUSED_AT_START:
            raise FatalError(
                f"{_url_of(terms.annotator)} has answered none of the first {self._refused} documents, however they "
                f"were asked; at last: {reply.error}. Check base_url, model and extra of {terms.annotator.name}"
            )
        return reply


def open_asker(annotator: HttpAnnotator, asked: TaskQuestion) -> HttpAsker:
    """Return the annotator's asker; nothing is sent yet."""
    return HttpAsker(annotator, asked)


@dataclass(frozen=True)
class _Terms:
    """_Terms of the asking: the annotator, the form of question and answer, the waits."""

    annotator: HttpAnnotator
    prompt: Prompt
    constraint: Constraint
    tokenizer: Tokenizer
    backoff: Backoff
    outage: Outage


class _Asking:
    """Questions to an endpoint, within one event loop."""

    def __init__(self, terms: _Terms, client: _Client) -> None:
        self._terms, self._client = terms, client
        self._limiter = Limiter(terms.annotator.concurrency)
        self._breaker = Breaker(_url_of(terms.annotator), terms.outage)
        self._draw = random.Random()
        self._sending: set[asyncio.Task[Any] | None] = set()
        self._ending = False

    async def settle(self, question: Question, dialect: Dialect) -> tuple[Reply, Dialect | None]:
        """Ask one question in ever plainer dialects until one is accepted; the dialect is None if none is.

        Raises FatalError if no question can be answered.
        """
        while True:
            plainest = dialect.plainer() is None
            reply, failure = await self._attempts(question, dialect, None if plainest else _SERVER_ERRORS)
            if failure is None:
                return reply, dialect
            plainer = dialect.plainer(failure.parameter, failure.message) if _blames(failure, dialect) else None
            if plainer is None:
                self._raise_where_final(failure)
                return reply, None
            dialect = plainer
            self._breaker.forgive()

    async def all(self, inbox: Inbox[Question], emit: Callable[[Reply], None], dialect: Dialect) -> None:
        """Ask all questions. Raises FatalError if no question can be answered any more.

        Questions in flight then may still be answered, and those replies are emitted: they are paid for.
        """
        tasks = [
            asyncio.create_task(self._ask(inbox, emit, dialect))
            for _ in range(_TASKS * self._terms.annotator.concurrency)
        ]
        try:
            ended, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            self._ending = True
            for task in running - self._sending:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in ended:
            task.result()

    async def _ask(self, inbox: Inbox[Question], emit: Callable[[Reply], None], dialect: Dialect) -> None:
        while not self._ending and (question := await inbox.get()) is not None:
            reply, failure = await self._attempts(question, dialect)
            self._raise_where_final(failure)
            emit(reply)

    async def _attempts(
        self, question: Question, dialect: Dialect, server_errors: int | None = None
    ) -> tuple[Reply, Failure | None]:
        """Ask until there is an answer or no more attempts; a reply without an answer comes with the last failure.

        An attempt that may have been charged is the last: only the keeper of the budget may ask again.
        server_errors: 500s after which there are none; None for as many as other failures.
        """
        messages = self._terms.prompt.messages(question.document, question.rejected)
        body = self._body(messages, dialect)
        failed, met = 0, 0
        while True:
            outcome = await self._send(body)
            if isinstance(outcome, Answered):
                said = completion_of(outcome, self._terms.constraint, messages, self._terms.tokenizer)
                return Reply(question.key, said), None
            met += outcome.server_error
            # In an outage a document is not at fault, unless the endpoint fails at this document in particular.
            failed += not self._breaker.open or outcome.server_error
            given_up = failed > self._terms.annotator.retries or (outcome.server_error and met == server_errors)
            if outcome.kind is not FailureKind.PASSING or outcome.billed or given_up or self._ending:
                lasting = outcome.kind in (FailureKind.DOCUMENT, FailureKind.REQUEST)
                details = (outcome.message, lasting, outcome.billed, outcome.empty)
                return Reply(question.key, None, *details), outcome
            if not self._breaker.open:
                await asyncio.sleep(self._terms.backoff.wait(max(1, failed), outcome.retry_after, self._draw))

    async def _send(self, body: bytes) -> Answered | Failure:
        moment = await self._limiter.acquire()
        try:
            outcome = await self._breaker.attempt(lambda: self._post(body))
        finally:
            self._limiter.release()
        if isinstance(outcome, Answered):
            self._limiter.succeeded()
        elif outcome.overloaded:
            self._limiter.overloaded(moment)
        return outcome

    async def _post(self, body: bytes) -> Answered | Failure:
        task = asyncio.current_task()
        self._sending.add(task)
        try:
            return await self._client.post(body)
        finally:
            self._sending.discard(task)

    def _body(self, messages: list[Message], dialect: Dialect) -> bytes:
        annotator = self._terms.annotator
        return orjson.dumps({"model": annotator.model, "messages": messages, **dialect.fields, **annotator.extra})

    def _raise_where_final(self, failure: Failure | None) -> None:
        annotator = self._terms.annotator
        server = f"{_url_of(annotator)}, asked for annotator {annotator.name},"
        if failure is not None and failure.kind is FailureKind.KEY:
            remedy = "Check its api_key" if annotator.api_key else "It has no api_key: give one"
            raise FatalError(
                f"{server} refuses: {failure.message}. {remedy} (write api_key: ${{NAME}} and set that variable), and "
                "check what the account behind it may do and has left. The answers so far are kept"
            )
        if failure is not None and failure.kind is FailureKind.ENDPOINT:
            raise FatalError(
                f"{server} does not answer for the model {annotator.model}: {failure.message}. Check base_url (up to "
                "and with /v1) and model. The answers so far are kept"
            )


def _blames(failure: Failure, dialect: Dialect) -> bool:
    """Return whether a failure may be the dialect's: a key may, for one, lack the right to log-probabilities."""
    if failure.kind is FailureKind.KEY:
        return dialect.names(failure.message)
    return failure.kind is FailureKind.REQUEST or failure.server_error


class _Client:
    """A session with one endpoint: as many connections as requests may be in flight. Belongs to one event loop."""

    def __init__(self, annotator: HttpAnnotator) -> None:
        self._url = _url_of(annotator)
        self._key = annotator.api_key
        timeout = aiohttp.ClientTimeout(total=annotator.timeout, sock_connect=min(_CONNECT, annotator.timeout))
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        connector = aiohttp.TCPConnector(limit=annotator.concurrency)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers)
        self._timeout = annotator.timeout

    async def __aenter__(self) -> _Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, body: bytes) -> Answered | Failure:
        """Send a request's body (JSON). No error is raised: a Failure is returned."""
        outcome = await self._post(body)
        if isinstance(outcome, Failure) and self._key:
            return outcome._replace(message=outcome.message.replace(self._key, _HIDDEN))
        return outcome

    async def _post(self, body: bytes) -> Answered | Failure:
        try:
            # A redirected POST would become a GET.
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                if not 200 <= response.status < 300:
                    header = response.headers.get("Retry-After")
                    place = response.headers.get("Location", "").encode()
                    return refused(response.status, await _read_error(response) or place, header)
                return reply_in(await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Failure(FailureKind.PASSING, one_line(f"no connection: {error}"))
        except TimeoutError:
            message = f"no answer within {self._timeout:g} s"
            return Failure(FailureKind.PASSING, message, overloaded=True, billed=True)
        except (aiohttp.ClientError, OSError, EOFError, ValueError) as error:
            message = one_line(f"connection lost: {error or type(error).__name__}")
            return Failure(FailureKind.PASSING, message, billed=True)


def _url_of(annotator: HttpAnnotator) -> str:
    """Return the URL that an annotator's questions are sent to."""
    return f"{annotator.base_url.rstrip('/')}/chat/completions"


async def _read_error(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of an error; empty if it cannot be read."""
    try:
        return await response.read()
    except (aiohttp.ClientError, OSError):
        return b""

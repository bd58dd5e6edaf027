"""Many questions at once to one endpoint: attempts, waits, and the end when nothing is answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from gristmill.operators.errors import FatalError
from gristmill.operators.label.contract import Constraint, Message, Question, Reply, Tokenizer
from gristmill.operators.label.prompt import Prompt
from gristmill.pipelines.label.annotators import HttpAnnotator
from gristmill.pipelines.label.engines.backoff import Backoff
from gristmill.pipelines.label.engines.breaker import Breaker, Outage
from gristmill.pipelines.label.engines.bridge import Inbox
from gristmill.pipelines.label.engines.dialect import Dialect
from gristmill.pipelines.label.engines.http_client import Client, url_of
from gristmill.pipelines.label.engines.http_completion import completion_of
from gristmill.pipelines.label.engines.http_errors import Failure, FailureKind
from gristmill.pipelines.label.engines.http_reply import Answered
from gristmill.pipelines.label.engines.limiter import Limiter

#: Tasks for each request that may be in flight: documents that wait for another attempt do not hold up others.
_TASKS = 2
#: Number of 500s after which the dialect is blamed for them.
_SERVER_ERRORS = 3


@dataclass(frozen=True)
class Terms:
    """Terms of the asking: the annotator, the form of question and answer, the waits."""

    annotator: HttpAnnotator
    prompt: Prompt
    constraint: Constraint
    tokenizer: Tokenizer
    backoff: Backoff
    outage: Outage


class Asking:
    """Questions to an endpoint, within one event loop."""

    def __init__(self, terms: Terms, client: Client) -> None:
        self._terms, self._client = terms, client
        self._limiter = Limiter(terms.annotator.concurrency)
        self._breaker = Breaker(url_of(terms.annotator), terms.outage)
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
                told = (outcome.message, lasting, outcome.billed, outcome.empty)
                return Reply(question.key, None, *told), outcome
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
        asked = f"{url_of(annotator)}, asked for annotator {annotator.name},"
        if failure is not None and failure.kind is FailureKind.KEY:
            remedy = "Check its api_key" if annotator.api_key else "It has no api_key: give one"
            raise FatalError(
                f"{asked} refuses: {failure.message}. {remedy} (write api_key: ${{NAME}} and set that variable), and "
                "check what the account behind it may do and has left. The answers so far are kept"
            )
        if failure is not None and failure.kind is FailureKind.ENDPOINT:
            raise FatalError(
                f"{asked} does not answer for the model {annotator.model}: {failure.message}. Check base_url (up to "
                "and with /v1) and model. The answers so far are kept"
            )


def _blames(failure: Failure, dialect: Dialect) -> bool:
    """Return whether a failure may be the dialect's: a key may, for one, lack the right to log-probabilities."""
    if failure.kind is FailureKind.KEY:
        return dialect.names(failure.message)
    return failure.kind is FailureKind.REQUEST or failure.server_error

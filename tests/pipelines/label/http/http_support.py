"""What tests of the http backend share: an annotator that does not wait long, questions, answers by document."""

from __future__ import annotations

import hashlib
import itertools
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from gristmill.operators.label.contract import Question, Rejected, Reply
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import HttpAnnotator
from gristmill.pipelines.label.http.backend import HttpAsker
from gristmill.pipelines.label.http.flow import Backoff, Outage

ANSWERS = {"physics": "A", "biology": "B", "history": "C"}
TOPIC = TaskQuestion.model_validate({"instruction": "Name the topic.", "answer": {"choice": list(ANSWERS)}})
BACKOFF = Backoff(base=0.005, longest=0.05)
OUTAGE = Outage(probes=Backoff(0.01, 0.05), patience=0.5, patience_at_start=0.3)


def asker(url: str, asked: TaskQuestion = TOPIC, outage: Outage = OUTAGE, **options: Any) -> HttpAsker:
    """An asker of a test's endpoint."""
    told = {"name": "api", "engine": "http", "model": "m", "base_url": url, "concurrency": 8, "timeout": 5.0, **options}
    return HttpAsker(HttpAnnotator.model_validate(told), asked, BACKOFF, outage)


def question(document: str, rejected: Rejected | None = None) -> Question:
    """A question about a document, with the key that it always has here."""
    return Question(hashlib.blake2b(document.encode(), digest_size=16).digest(), document, rejected=rejected)


def documents(n: int) -> list[str]:
    """n documents, each of which names one topic."""
    topics = list(ANSWERS)
    return [f"text {number} on {topics[number * 7 % 3]}" for number in range(n)]


def batched(questions: Iterable[Question], size: int = 64) -> Iterator[list[Question]]:
    """Questions in batches."""
    stream = iter(questions)
    while batch := list(itertools.islice(stream, size)):
        yield batch


def ask(annotator: HttpAsker, texts: Iterable[str]) -> dict[str, Reply]:
    """Document -> its one reply."""
    asked = {question(text).key: text for text in texts}
    replies = list(itertools.chain(*annotator.answer(batched(map(question, asked.values())))))
    assert sorted(reply.key for reply in replies) == sorted(asked)
    return {asked[reply.key]: reply for reply in replies}


def right(text: str) -> str:
    """The completion that is right for a document of `documents`."""
    return ANSWERS[text.split()[-1]]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

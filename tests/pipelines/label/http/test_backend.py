from __future__ import annotations

import gc
import itertools
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gristmill.operators.errors import FatalError, RecipeError
from gristmill.operators.label.contract import Question, Rejected, Reply
from gristmill.operators.label.reading import InvalidAnswer
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import HttpAnnotator
from gristmill.pipelines.label.http.backend import open_asker
from tests.pipelines.label.endpoint import FAULTS, Server, endpoint
from tests.pipelines.label.http.http_support import (
    ANSWERS,
    OUTAGE,
    TOPIC,
    ask,
    asker,
    batched,
    documents,
    free_port,
    question,
    right,
)


def open_sockets() -> int:
    return sum(os.readlink(entry.path).startswith("socket:") for entry in os.scandir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    gc.freeze()  # what was there before is not looked at again, which takes a second in a process that has much
    before = open_sockets()
    yield
    gc.collect()
    gc.unfreeze()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("label-")]
    assert open_sockets() == before


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """An endpoint without faults, for tests that change nothing of it."""
    with endpoint(answers=ANSWERS) as running:
        yield running


def until_valid(server: Server, texts: list[str], **options: Any) -> dict[str, Reply]:
    """Ask, and ask again what was lost and may be charged, and what was no valid answer, as a run does."""
    annotator = asker(server.url, **options)
    text_of = {question(text).key: text for text in texts}
    valid: dict[str, Reply] = {}
    questions = list(map(question, texts))
    for _ in range(8):
        again: list[Question] = []
        for reply in itertools.chain(*annotator.answer(batched(questions))):
            text = text_of[reply.key]
            if reply.completion is None:
                assert reply.billed, reply.error
                again.append(next(asked for asked in questions if asked.key == reply.key))
                continue
            try:
                assert TOPIC.answer.read(reply.completion.text) == text.split()[-1]
                assert text not in valid
                valid[text] = reply
            except InvalidAnswer as invalid:
                again.append(question(text, Rejected(reply.completion.text, str(invalid))))
        questions = again
    assert not questions
    return valid


def test_five_thousand_documents_end_right_whatever_goes_wrong() -> None:
    shares = dict.fromkeys(FAULTS, 0.03) | {"hung": 0.004, "rate_limited": 0.01, "rate_limited_date": 0.003}
    texts = documents(5000)
    with endpoint(answers=ANSWERS, plan=shares, seed=4, delay=0.004, slow=0.05) as server:
        valid = until_valid(server, texts, concurrency=48, timeout=2.5, retries=9)
        stats = server.stats()
    assert valid.keys() == set(texts) == stats.documents.keys()
    assert {seen.succeeded for seen in stats.documents.values()} == {1}
    assert not any(seen.asked_after_success for seen in stats.documents.values())
    assert stats.most_in_flight <= 48
    assert all(stats.faults[fault] > 5 for fault in FAULTS)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_alone(fault: str) -> None:
    texts = documents(120)
    with endpoint(answers=ANSWERS, plan={fault: 0.1}, seed=1, slow=0.05) as server:
        valid = until_valid(server, texts, timeout=0.5)
        stats = server.stats()
    assert valid.keys() == set(texts)
    assert stats.faults[fault] > 3
    assert not any(seen.asked_after_success for seen in stats.documents.values())
    assert stats.most_in_flight <= 8


def test_a_reply_tells_text_slots_and_tokens(server: Server) -> None:
    (reply,) = ask(asker(server.url), ["text 1 on biology"]).values()
    assert reply.completion is not None
    assert reply.completion.text == "B"
    assert reply.completion.slots is not None
    soft = TOPIC.answer.soft("biology", reply.completion.slots, reply.completion.logprob)
    assert soft.probabilities == pytest.approx({"physics": 0.05, "biology": 0.9, "history": 0.05})
    assert reply.completion.output_tokens == 1
    assert reply.completion.input_tokens > 20


def test_the_body_of_a_request(server: Server) -> None:
    annotator = asker(server.url, max_output_tokens=3, extra={"reasoning_effort": "low", "temperature": 0.5})
    ask(annotator, ["about physics: the body"])
    body = next(b for b in server.stats().bodies if "about physics: the body" in b["messages"][-1]["content"])
    messages = body.pop("messages")
    assert body == {
        "model": "m",
        "max_tokens": 3,
        "temperature": 0.5,
        "logprobs": True,
        "top_logprobs": 20,
        "structured_outputs": {"choice": ["A", "B", "C"]},
        "reasoning_effort": "low",
    }
    assert [turn["role"] for turn in messages] == ["user"]
    assert annotator.dialect == "structured_outputs, 20 log-probabilities"


def test_a_repair_shows_the_rejected_answer(server: Server) -> None:
    repair = question("physics to be repaired", Rejected("no idea", "no letter"))
    ((reply,),) = asker(server.url).answer([[repair]])
    assert reply.completion is not None
    body = next(b for b in server.stats().bodies if "to be repaired" in b["messages"][0]["content"])
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"] == "no idea"


def test_a_multi_label_answer_has_a_slot_for_each_label() -> None:
    asked = TaskQuestion.model_validate(
        {"instruction": "Topics?", "answer": {"multi": ["physics", "biology", "history"]}}
    )
    with endpoint(answers={"quantum": "Y N Y"}) as server:
        (reply,) = ask(asker(server.url, asked), ["quantum history"]).values()
        assert "regex" in server.stats().bodies[0]["structured_outputs"]
    assert reply.completion is not None
    assert reply.completion.slots is not None
    assert [max(slot, key=lambda code: slot[code]) for slot in reply.completion.slots] == ["Y", "N", "Y"]


def test_no_usage_is_no_hindrance() -> None:
    with endpoint(answers=ANSWERS, usage=False) as server:
        annotator = asker(server.url)
        (reply,) = ask(annotator, ["text on physics"]).values()
        (prompt,) = server.stats().bodies[0]["messages"]
    assert reply.completion is not None
    assert reply.completion.input_tokens == annotator.tokenizer.count([prompt["content"]])[0]
    assert reply.completion.output_tokens == annotator.tokenizer.count(["A"])[0]


# Dialects


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("refuse", "dialect", "requests"),
    [
        ({"structured_outputs": 400}, "nothing enforced, 20 log-probabilities", 2),
        ({"top_logprobs>5": 422}, "structured_outputs, 5 log-probabilities", 2),
        ({"logprobs": 400}, "structured_outputs, no log-probabilities", 3),
        ({"logprobs": 403}, "structured_outputs, no log-probabilities", 3),
        ({"max_tokens": 400}, "structured_outputs, 20 log-probabilities, max_completion_tokens", 2),
        ({"temperature": 400}, "structured_outputs, 20 log-probabilities, its own temperature", 2),
        ({"structured_outputs": 500}, "nothing enforced, 20 log-probabilities", 4),
    ],
)
def test_the_first_question_finds_the_dialect(refuse: dict[str, int], dialect: str, requests: int, named: bool) -> None:
    texts = documents(30)
    with endpoint(answers=ANSWERS, refuse=refuse, names_refused=named) as server:
        annotator = asker(server.url)
        if not named and 403 in refuse.values():
            with pytest.raises(FatalError, match="HTTP 403"):
                ask(annotator, texts)
            return
        replies = ask(annotator, texts)
        stats = server.stats()
    assert all(reply.completion and reply.completion.text == right(text) for text, reply in replies.items())
    if named:
        assert annotator.dialect == dialect
        assert stats.requests == len(texts) - 1 + requests
    assert {seen.asked for text, seen in stats.documents.items() if text != texts[0]} == {1}


@pytest.mark.parametrize(
    ("refuse", "form"),
    [
        ({}, "json_schema"),
        ({"response_format:json_schema": 400}, "json_object"),
        ({"response_format:json_schema": 500}, "json_object"),
        ({"response_format": 400}, None),
    ],
)
def test_a_schema_is_enforced_as_far_as_the_endpoint_can(refuse: dict[str, int], form: str | None) -> None:
    asked = TaskQuestion.model_validate({"instruction": "Say it.", "answer": {"schema": {"type": "object"}}})
    with endpoint(answers={"physics": '{"topic": 1}'}, refuse=refuse) as server:
        (reply,) = ask(asker(server.url, asked), ["on physics"]).values()
        body = server.stats().bodies[-1]
    assert reply.completion is not None
    assert reply.completion.text == '{"topic": 1}'
    assert reply.completion.slots is None
    assert reply.completion.logprob is not None
    assert body.get("response_format", {}).get("type") == form


def test_a_first_document_that_is_too_long_says_nothing_about_the_dialect() -> None:
    too_long = (400, {"error": {"message": "This model's maximum context length is 8 tokens"}})
    with endpoint(answers=ANSWERS, fails={"endless": too_long}) as server:
        annotator = asker(server.url)
        replies = ask(annotator, ["endless physics", *documents(5)])
        stats = server.stats()
    assert replies["endless physics"] == Reply(
        question("endless physics").key, None, "HTTP 400: This model's maximum context length is 8 tokens", lasting=True
    )
    assert stats.documents["endless physics"].asked == 1
    assert annotator.dialect == "structured_outputs, 20 log-probabilities"


def test_an_endpoint_that_refuses_everything_is_given_up() -> None:
    with endpoint(answers=ANSWERS, down=(400, {"error": {"message": "no"}})) as server:
        annotator = asker(server.url)
        replies: list[Reply] = []
        with pytest.raises(FatalError, match=r"none of the first 8 documents, .* HTTP 400: no\. Check base_url, model"):
            replies.extend(itertools.chain(*annotator.answer(batched(map(question, documents(50))))))
        assert len(server.stats().documents) == 8


def test_the_dialect_is_found_once() -> None:
    with endpoint(answers=ANSWERS, refuse={"structured_outputs": 400}) as server:
        annotator = asker(server.url)
        ask(annotator, documents(3))
        before = server.stats().requests
        ask(annotator, ["one more on physics"])
        assert server.stats().requests == before + 1


# Failures of one document


@pytest.mark.parametrize("status", [400, 422, 413, 451])
def test_a_document_that_is_refused_has_a_lasting_error(status: int) -> None:
    told = {"error": {"message": "the content filter does not like it"}}
    texts = documents(20)
    with endpoint(answers=ANSWERS, fails={"text 7 ": (status, told)}) as server:
        replies = ask(asker(server.url), texts)
        asked = server.stats().documents[texts[7]].asked
    assert [text for text, reply in replies.items() if reply.completion is None] == [texts[7]]
    error = f"HTTP {status}: the content filter does not like it"
    assert replies[texts[7]] == Reply(question(texts[7]).key, None, error, lasting=True, billed=False)
    assert asked == 1


def test_a_document_that_fails_again_and_again_is_left_for_a_later_run() -> None:
    texts = documents(20)
    with endpoint(answers=ANSWERS, fails={"text 7 ": (500, {"error": "out of memory"})}) as server:
        replies = ask(asker(server.url, retries=3), texts)
        assert server.stats().documents[texts[7]].asked == 4
    reply = replies.pop(texts[7])
    assert (reply.error, reply.lasting, reply.billed) == ("HTTP 500: out of memory", False, False)
    assert all(other.completion for other in replies.values())


def test_documents_at_the_end_that_always_fail_do_not_pass_for_an_outage() -> None:
    texts = documents(12)
    fails = {f"text {number} ": (500, {"error": "no"}) for number in range(4, 12)}
    with endpoint(answers=ANSWERS, fails=fails) as server:
        replies = ask(asker(server.url, retries=3, outage=replace(OUTAGE, patience=60.0)), texts)
    assert sorted(text for text, reply in replies.items() if reply.completion is None) == sorted(texts[4:])


@pytest.mark.parametrize(
    ("fault", "billed"),
    [("hung", True), ("reset", True), ("error_in_200", True), ("error_text", False)],
)
def test_an_attempt_that_may_have_been_charged_is_told(fault: str, billed: bool) -> None:
    with endpoint(answers=ANSWERS) as server:
        annotator = asker(server.url, timeout=0.3, retries=1)
        ask(annotator, ["first on physics"])
        server.change(plan={fault: 1.0})
        (reply,) = ask(annotator, ["second on physics"]).values()
    assert reply.completion is None
    assert (reply.lasting, reply.billed) == (False, billed)
    assert reply.error


# Failures of all


def test_a_wrong_key_ends_the_run_at_once() -> None:
    with endpoint(answers=ANSWERS, api_key="right-key") as server:
        with pytest.raises(FatalError, match=r"annotator api, refuses: HTTP 401: .*Check its api_key"):
            ask(asker(server.url, api_key="wrong-key"), documents(50))
        assert server.stats().requests == 1
        with pytest.raises(FatalError, match="It has no api_key: give one"):
            ask(asker(server.url), documents(50))
        assert all(reply.completion for reply in ask(asker(server.url, api_key="right-key"), documents(5)).values())


def test_an_unknown_model_ends_the_run_at_once() -> None:
    with endpoint(answers=ANSWERS, model="other") as server:
        with pytest.raises(FatalError, match=r"the model m: HTTP 404: The model `m` does not exist\. Check base_url"):
            ask(asker(server.url), documents(50))
        assert server.stats().requests == 1


def test_a_key_is_not_shown_in_errors() -> None:
    told = {"error": {"message": "your key sk-very-secret may not read this"}}
    with endpoint(answers=ANSWERS, fails={"text 3 ": (413, told)}) as server:
        replies = ask(asker(server.url, api_key="sk-very-secret"), documents(5))
    assert [reply.error for reply in replies.values() if reply.error] == [
        "HTTP 413: your key [api_key] may not read this"
    ]


def test_a_key_that_is_taken_away_keeps_the_answers_that_are_in_flight() -> None:
    replies: list[Reply] = []
    texts = documents(400)
    taken_away = (401, {"error": {"message": "revoked"}})
    with endpoint(answers=ANSWERS, delay=0.02, fails={"text 100 ": taken_away}) as server:

        def collect() -> None:
            for some in asker(server.url, concurrency=16).answer(batched(map(question, texts))):
                replies.extend(some)

        with pytest.raises(FatalError, match="revoked"):
            collect()
        stats = server.stats()
    assert sum(seen.succeeded for seen in stats.documents.values()) == len(replies)
    assert 85 <= len(replies) < 200


def test_nobody_listens() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(FatalError, match=r"answered nothing for 0 s; at last: no connection: .*Check base_url"):
        ask(asker(url), documents(50))


def test_an_endpoint_that_stays_down_is_given_up_and_the_answers_are_kept() -> None:
    replies: list[Reply] = []
    with endpoint(answers=ANSWERS) as server:

        def collect() -> None:
            for some in asker(server.url).answer(batched(map(question, documents(2000)))):
                replies.extend(some)
                if len(replies) > 50:
                    server.change(down=(503, {"error": {"message": "maintenance"}}))

        with pytest.raises(FatalError, match=r"at last: HTTP 503: maintenance"):
            collect()
        before = server.stats()
    assert sum(reply.completion is not None for reply in replies) > 50
    assert sum(seen.succeeded for seen in before.documents.values()) == sum(r.completion is not None for r in replies)


def test_an_outage_that_passes_costs_no_document_its_attempts() -> None:
    texts = documents(300)
    replies: list[Reply] = []
    with endpoint(answers=ANSWERS, delay=0.002) as server:
        annotator = asker(server.url, retries=3, outage=replace(OUTAGE, patience=60.0))
        for some in annotator.answer(batched(map(question, texts))):
            if not replies:
                server.change(down=(503, {"error": {"message": "maintenance"}}))
                threading.Timer(1.0, server.change, kwargs={"down": None}).start()
            replies.extend(some)
        stats = server.stats()
    assert len(replies) == 300
    assert all(reply.completion for reply in replies)
    assert stats.requests < 300 + 4 * 16 + 60  # probes are few


# The stream of questions


def test_closing_cancels_what_is_in_flight() -> None:
    with endpoint(answers=ANSWERS, plan={"hung": 0.5}) as server:
        annotator = asker(server.url, timeout=60.0)
        stream = annotator.answer(batched(map(question, documents(1000))))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("label-")]


def test_closing_the_asker_closes_its_streams() -> None:
    with endpoint(answers=ANSWERS, delay=0.01) as server:
        annotator = asker(server.url)
        stream = annotator.answer(batched(map(question, documents(1000))))
        next(stream)
        annotator.close()
        assert not list(stream)


def test_no_more_is_pulled_than_can_soon_be_sent() -> None:
    pulled = 0

    def batches() -> Iterator[list[Question]]:
        nonlocal pulled
        for text in documents(500):
            pulled += 1
            yield [question(text)]

    ahead = []
    with endpoint(answers=ANSWERS, delay=0.01) as server:
        answered = 0
        for replies in asker(server.url, concurrency=4).answer(batches()):
            ahead.append(pulled - answered)
            answered += len(replies)
    assert answered == 500
    assert max(ahead) <= 4 * 6


def test_errors_of_the_questions_reach_the_consumer() -> None:
    def batches() -> Iterator[list[Question]]:
        yield [question("one on physics")]
        raise RecipeError("the input is wrong")

    replies: list[Reply] = []

    with endpoint(answers=ANSWERS) as server, pytest.raises(RecipeError, match="the input is wrong"):
        replies.extend(itertools.chain(*asker(server.url).answer(batches())))


def test_no_questions_send_nothing(server: Server) -> None:
    before = server.stats().requests
    assert list(asker(server.url).answer([])) == []
    assert list(asker(server.url).answer([[], []])) == []
    assert server.stats().requests == before


def test_opening_sends_nothing_and_names_what_is_wrong() -> None:
    told = {"name": "api", "engine": "http", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    annotator = HttpAnnotator.model_validate(told)
    opened = open_asker(annotator, TOPIC)
    assert opened.revision == open_asker(annotator, TOPIC).revision
    assert opened.revision != open_asker(annotator.model_copy(update={"revision": "2026-01"}), TOPIC).revision
    assert not opened.tokenizer.exact
    with pytest.raises(RecipeError, match="names no host"):
        open_asker(annotator.model_copy(update={"base_url": "http:///v1"}), TOPIC)
    with pytest.raises(RecipeError, match="is no tokenizer"):
        open_asker(annotator.model_copy(update={"tokenizer": "/no/such/folder"}), TOPIC)

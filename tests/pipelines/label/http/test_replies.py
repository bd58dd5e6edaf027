"""Bodies of HTTP 200 as servers, gateways and scripts write them, and what is to be made of each."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.label.answers import Choice, Free
from gristmill.operators.label.contract import Completion, Message
from gristmill.operators.label.prompt import Estimate
from gristmill.operators.label.reading import InvalidAnswer
from gristmill.pipelines.label.http.replies import Answered, Failure, FailureKind, completion_of, reply_in

TOPIC = Choice(choice=["history", "physics", "cooking"])  # type: ignore[arg-type]
MESSAGES: list[Message] = [{"role": "user", "content": "What is it about?"}]
USAGE = {"prompt_tokens": 10, "completion_tokens": 2}


def body(message: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **more}], "usage": USAGE}


def said(content: Any, **more: Any) -> bytes:
    return json.dumps(body({"role": "assistant", "content": content, **more})).encode()


def stream(*pieces: str, finish: str | None = "stop", done: bool = True) -> bytes:
    events: list[Any] = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    events += [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}, {"choices": [], "usage": USAGE}]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"] * done
    return "".join([": keep-alive\n\n", *lines]).encode()


def completed(content: bytes) -> Completion:
    found = reply_in(content)
    assert isinstance(found, Answered), found
    return completion_of(found, TOPIC.constraint(), MESSAGES, Estimate())


GOOD = said("B")
READ: dict[str, bytes] = {
    "plain": GOOD,
    "BOM": b"\xef\xbb\xbf" + GOOD,
    "zeros behind": GOOD + b"\x00\n",
    "control characters": GOOD.replace(b'"B"', b'"B\n\x01"').replace(b"\\n", b"\n"),
    "trailing commas": GOOD.replace(b"}]", b"},]").replace(b'"stop"', b'"stop",'),
    "single quotes": repr(json.loads(GOOD)).encode(),
    "Python's constants": repr(body({"content": "B", "refusal": None}, logprobs=None, cut=False)).encode(),
    "NaN": GOOD.replace(b'"stop"', b'"stop", "score": NaN, "other": -Infinity'),
    "long escapes": GOOD.replace(b'"B"', rb'"\U00000042"'),
    "half a surrogate pair": GOOD.replace(b'"assistant"', rb'"\ud83d"'),
    "Latin-1": GOOD.replace(b'"assistant"', b'"\xe9"'),
    "cut short behind the message": GOOD[: GOOD.index(b'"finish_reason"')],
    "a part": said([{"type": "text", "text": "B"}]),
    "parts of one word": said([{"type": "text", "text": "phy"}, {"type": "text", "text": "sics"}]),
    "a part behind thoughts": said([{"type": "thinking", "thinking": [{"type": "text", "text": "A?"}]},
                                    {"type": "text", "text": "B"}]),
    "parts of bare text": said(["B"]),
    "one part": said({"type": "output_text", "text": "B"}),
    "JSON itself": said({"answer": "B"}),
    "reasoning beside": said("B", reasoning_content="It could be A or C."),
    "reasoning alone": said(None, reasoning_content="B"),
    "reasoning alone, under another name": said("", reasoning="It moves.\n<answer>B</answer>"),
    "thoughts in parts alone": said([{"type": "thinking", "thinking": "B"}]),
    "a tool": said(None, tool_calls=[{"type": "function", "function": {"name": "f", "arguments": '{"answer": "B"}'}}]),
    "a function": said(None, function_call={"name": "f", "arguments": {"answer": "B"}}),
    "a bare message": json.dumps({"choices": [{"message": "B"}]}).encode(),
    "a text completion": json.dumps({"choices": [{"text": "B"}]}).encode(),
    "no choices but a message": json.dumps({"message": {"content": "B"}, "done": True}).encode(),
    "stream": stream("phy", "sics"),
    "stream without its end mark": stream("B", done=False),
    "stream with a BOM": b"\xef\xbb\xbf" + stream("B"),
    "answer tag": said("A? No.\n<answer>B</answer>"),
    "box": said(r"\boxed{B}"),
    "box by hand": GOOD.replace(b'"B"', rb'"\boxed{B}"'),
    "end token": said("B<|im_end|>"),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_what_is_meant_is_read(name: str) -> None:
    found = completed(READ[name])
    assert found.fault == ""
    assert TOPIC.read(found.text) == "physics"


#: Paid for, and no answer: kept, and asked for once more.
PAID: dict[str, bytes] = {
    "cut short": GOOD[: GOOD.index(b'"B"') + 2],
    "cut short before the message": GOOD[:30],
    "no comma": GOOD.replace(b',"', b'"').replace(b', "', b' "'),
    "a stream that ends early": stream("B", finish=None, done=False),
    "a stream of half an event": stream("B")[:100],
    "used tokens for no choice": json.dumps({"choices": [], "usage": USAGE}).encode(),
    "reasoning that was cut off": json.dumps(
        body({"content": None, "reasoning_content": "The answer is B"}, finish_reason="length")
    ).encode(),
    "reasoning that says two things": said(None, reasoning_content="A, or rather B"),
    "nothing said": said(None),
    "a number": said(7),
    "two tools": said(None, tool_calls=[{"function": {"arguments": "B"}}, {"function": {"arguments": "A"}}]),
    "a refusal": said(None, refusal="I cannot answer that."),
    "a picture": said([{"type": "image_url", "image_url": {"url": "x"}}]),
}


@pytest.mark.parametrize("name", PAID)
def test_what_was_paid_and_is_no_answer_is_kept(name: str) -> None:
    found = completed(PAID[name])
    if not found.fault:
        with pytest.raises(InvalidAnswer):
            TOPIC.read(found.text)
    assert found.input_tokens > 0


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b'"B"', b"{}", b"<html>log in</html>", b"B", b'{"choices": []}', b'{"choices": null}',
     b'{"choices": [null], "usage": null}', b'{"choices": [{}]}', b'{"choices": [{"message": null}]}', b"data: [DONE]",
     b"data: {}\n\n", b"\xff\xfe", b'{"choices": [], "usage": {"completion_tokens": 0}}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_completion_at_all_passes(content: bytes) -> None:
    found = reply_in(content)
    assert isinstance(found, Failure)
    assert (found.kind, found.billed, found.empty, found.alive) == (FailureKind.PASSING, True, True, False)


@pytest.mark.parametrize(
    "content",
    [b'{"error": {"message": "out of memory", "code": 500}}', b'{"choices": [{"error": {"message": "x"}}]}',
     b'data: {"error": {"message": "x"}}\n\n', b"{'error': {'message': 'x'},}"],
)  # fmt: skip
def test_an_error_is_one_however_it_is_written(content: bytes) -> None:
    found = reply_in(content)
    assert isinstance(found, Failure)
    assert (found.kind, found.empty) == (FailureKind.PASSING, False)


@pytest.mark.parametrize(
    ("usage", "told"),
    [({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3)), ({"input_tokens": 7, "output_tokens": 3.0}, (7, 3)),
     ({"prompt_tokens": math.nan, "completion_tokens": 10**30}, (5, 1)), ({"prompt_tokens": -1}, (5, 1)),
     ({"prompt_tokens": True, "completion_tokens": "3"}, (5, 1)), (None, (5, 1)), ([3], (5, 1))],
)  # fmt: skip
def test_tokens_that_cannot_be_are_counted_here(usage: Any, told: tuple[int, int]) -> None:
    found = completed(json.dumps({**body({"content": "B"}), "usage": usage}).encode())
    assert Estimate().count(["What is it about?", "B"]) == [5, 1]
    assert (found.input_tokens, found.output_tokens) == told


def test_a_log_probability_of_nothing_leaves_the_others() -> None:
    tops = [{"token": "B", "logprob": -0.1}, {"token": "A", "logprob": -math.inf}, {"token": "C", "logprob": math.nan}]
    told = {"content": [{"token": "B", "logprob": -0.1, "top_logprobs": tops}]}
    found = completed(json.dumps(body({"content": "B"}, logprobs=told)).encode())
    assert found.slots is not None
    assert TOPIC.soft("physics", found.slots, found.logprob).probability == pytest.approx(1.0)


def test_a_tool_answers_a_schema() -> None:
    call = {"function": {"name": "answer", "arguments": '{"year": 1905,}'}}
    assert Free(schema={"required": ["year"]}).read(completed(said(None, tool_calls=[call])).text) == '{"year":1905}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "message", "content", "text", "type", "usage", "error", "logprobs", "delta", "code",
                         "token", "tool_calls", "function", "arguments", "reasoning", "finish_reason", "refusal"]),
        inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["choices", "usage", "error", "message"]), JSON) | JSON, st.data())
def test_any_json_is_taken_or_told_from_an_answer(value: Any, data: st.DataObject) -> None:
    for written in (json.dumps(value), repr(value), f"data: {json.dumps(value)}\n\n", json.dumps(body(value))):
        cut = data.draw(st.integers(0, len(written)))
        for content in (written.encode("utf-8", "replace"), written[:cut].encode("utf-8", "replace")):
            found = reply_in(content)
            if isinstance(found, Answered):
                said_then = completion_of(found, TOPIC.constraint(), MESSAGES, Estimate())
                assert isinstance(said_then.text, str)


@given(st.binary(max_size=40) | st.tuples(st.integers(0, len(GOOD)), st.binary(max_size=3)).map(
    lambda cut: GOOD[: cut[0]] + cut[1] + GOOD[cut[0] + 1 :]))  # fmt: skip
def test_any_bytes_are_taken_or_told_from_an_answer(content: bytes) -> None:
    found = reply_in(content)
    if isinstance(found, Answered):
        completion_of(found, TOPIC.constraint(), MESSAGES, Estimate())

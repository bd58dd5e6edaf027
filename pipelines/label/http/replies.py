"""Replies of an endpoint: the body of an HTTP 200, a chat completion in whatever form its sender takes for JSON.

Replies that were paid for are to be kept. So a body that a strict parser refuses is read as it was meant, a stream that
was not asked for is put together, and a body that begins as a completion and cannot be read is still an answer, with a
fault. Of a completion the model's text, its log-probabilities and its tokens are taken.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from gristmill.operators.label.contract import Completion, Constraint, Message, Tokenizer
from gristmill.operators.label.lenient import read_value
from gristmill.operators.label.prompt import slots_from_tokens
from gristmill.pipelines.label.http.errors import Failure, FailureKind, error_in_answer, one_line

_BLANKS = "\ufeff \t\r\n\x00"
_EVENT = "data:"
_MESSAGE = re.compile(r'"choices"\s*:\s*\[\s*\{[^{}]*?"message"\s*:\s*(?=\{)')
_KEPT = 100_000  # characters of a body that cannot be read
_USAGE = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
_MOST_TOKENS = 1 << 40  # that an endpoint may claim to have used
#: Fields of a message, or of a part of its content, that hold the reasoning of a model.
_REASONING = ("reasoning_content", "reasoning", "thinking")


class Answered(NamedTuple):
    """The endpoint's answer: JSON whose first choice has a message."""

    content: dict[str, Any]
    fault: str = ""  #: reason that the message can be no answer
    alive: bool = True
    message: str = ""


def reply_in(body: bytes) -> Answered | Failure:
    """Return the answer or the failure in the body of an HTTP 200."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace").strip(_BLANKS)
        return _of_stream(text) if text.startswith((_EVENT, "event:", ":")) else _of_text(text)
    return _of_value(content)


def _of_text(text: str) -> Answered | Failure:
    for parse in (_as_python_reads_it, _as_it_was_meant):
        try:
            return _of_value(parse(text))
        except (ValueError, RecursionError):
            continue
    if text.startswith("{"):
        if (begin := _MESSAGE.search(text)) is not None:
            with contextlib.suppress(ValueError):  # a reply that is cut short may be whole up to here
                return _of_value({"choices": [{"message": read_value(text, begin.end(), float)[0]}]})
        return _unreadable(text, "the reply is JSON that is cut short or broken")
    return _nothing(f"an answer that is no JSON, and ends in {one_line(text[-80:])!r}")


def _as_python_reads_it(text: str) -> Any:
    return json.loads(text, strict=False)


def _as_it_was_meant(text: str) -> Any:
    value, end = read_value(text, 0, float)
    if text[end:].strip(_BLANKS):
        raise ValueError("there is more behind the value")
    return value


def _of_value(content: Any) -> Answered | Failure:
    if not isinstance(content, dict):
        return _nothing("an answer that is no JSON object")
    first = _first_choice(content)
    if error := content.get("error") or first.get("error"):
        return error_in_answer(error)
    if first.get("finish_reason") == "content_filter":
        return Failure(FailureKind.DOCUMENT, "the endpoint's content filter stopped the answer", billed=True)
    for message in (first.get("message"), first.get("delta"), first.get("text"), content.get("message")):
        if isinstance(message, dict | str):
            named = message if isinstance(message, dict) else {"content": message}
            return Answered({**content, "choices": [{**first, "message": named}]})
    if _tokens_used(content.get("usage"))[1]:
        return _unreadable(json.dumps(content, ensure_ascii=False), "the reply has no message", content["usage"])
    return _nothing("an answer without choices[0].message")


def _first_choice(content: dict[str, Any]) -> dict[str, Any]:
    choices = content.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _tokens_used(usage: Any) -> tuple[int | None, int | None]:
    """Return tokens of prompt and completion as an endpoint reports them; None for a missing or impossible number."""
    if not isinstance(usage, dict):
        return None, None
    told = [usage.get(name, usage.get(other)) for name, other in _USAGE]
    prompt, completion = (
        int(n) if isinstance(n, int | float) and 0 <= n <= _MOST_TOKENS and n is not True else None for n in told
    )
    return prompt, completion


def _of_stream(text: str) -> Answered | Failure:
    """Read server-sent events: the pieces of one completion."""
    lines = (line.removeprefix(_EVENT).strip() for line in text.splitlines() if line.startswith(_EVENT))
    try:
        events = [orjson.loads(line) for line in lines if line and line != "[DONE]"]
    except orjson.JSONDecodeError:
        return _unreadable(text, "the reply is a stream that is cut short or broken")
    whole = _Stream()
    for event in events:
        if isinstance(event, dict):
            if error := event.get("error"):
                return error_in_answer(error)
            whole.add(event)
    found = _of_value(whole.content())
    ended = whole.finished or text.rstrip().endswith("[DONE]")
    if isinstance(found, Answered) and not ended:
        return found._replace(fault="the reply is a stream that ends before the answer does")
    return found


class _Stream:
    """The pieces of a streamed completion, put together."""

    def __init__(self) -> None:
        self.finished: Any = None
        self._texts: dict[str, list[str]] = {}
        self._tokens: list[Any] = []
        self._usage: Any = None

    def add(self, event: dict[str, Any]) -> None:
        first = _first_choice(event)
        piece = first.get("delta") or first.get("message")
        for name, text in piece.items() if isinstance(piece, dict) else ():
            if isinstance(text, str):
                self._texts.setdefault(name, []).append(text)
        logprobs = first.get("logprobs")
        tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
        self._tokens += tokens if isinstance(tokens, list) else []
        self._usage = event.get("usage") or self._usage
        self.finished = first.get("finish_reason") or self.finished

    def content(self) -> dict[str, Any]:
        """Return the pieces as one completion; without a message if no piece had any."""
        choice: dict[str, Any] = {"finish_reason": self.finished, "logprobs": {"content": self._tokens}}
        if self._texts:
            choice["message"] = {name: "".join(pieces) for name, pieces in self._texts.items()}
        return {"choices": [choice], "usage": self._usage}


def _unreadable(text: str, fault: str, usage: Any = None) -> Answered:
    """Return a reply that was paid for and holds no answer that can be read: its text is kept."""
    return Answered({"choices": [{"message": {"content": text[:_KEPT]}}], "usage": usage}, fault)


def _nothing(told: str) -> Failure:
    """Return the failure of a reply that may have been charged, and is no completion at all."""
    return Failure(FailureKind.PASSING, told, billed=True, empty=True)


def completion_of(
    answered: Answered, constraint: Constraint, messages: Sequence[Message], tokenizer: Tokenizer
) -> Completion:
    """Return the first choice of an answer. Tokens are counted here if the endpoint does not report them."""
    choice = answered.content["choices"][0]
    text = _said(choice)
    tokens = _tokens(choice.get("logprobs"))
    input_tokens, output_tokens = _tokens_used(answered.content.get("usage"))
    if input_tokens is None:
        input_tokens = sum(tokenizer.count([turn["content"] for turn in messages]))
    if output_tokens is None:
        output_tokens = tokenizer.count([text.encode("utf-8", "replace").decode()])[0]
    return Completion(
        text,
        slots_from_tokens(constraint, tokens) if tokens else None,
        sum(told[token] for token, told in tokens) if tokens else None,
        input_tokens,
        output_tokens,
        answered.fault,
    )


def _said(choice: Mapping[str, Any]) -> str:
    """Return the text of a message: its content, else its refusal, its only call of a tool, its reasoning.

    Reasoning that was cut off is marked as such: the answer was yet to come.
    """
    message = choice["message"]
    if text := _text(message.get("content")) or _text(message.get("refusal")) or _called(message):
        return text
    parts = message.get("content")
    thoughts = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    found = (held.get(name) for held in (message, *thoughts) for name in _REASONING)
    reasoning = next((text for value in found if (text := _text(value))), "")
    return f"<think>{reasoning}" if reasoning and choice.get("finish_reason") == "length" else reasoning


def _text(content: Any) -> str:
    """Return the text of a content: a text, parts of which those of type text count, or the JSON itself."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        return "".join(_texts(content))
    if isinstance(content, dict) and "type" in content:
        return "".join(_texts([content]))
    return json.dumps(content, ensure_ascii=False)


def _texts(parts: Sequence[Any]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict) and part.get("type") in (None, "text", "output_text", "refusal"):
            yield next((part[name] for name in ("text", "refusal") if isinstance(part.get(name), str)), "")


def _called(message: Mapping[str, Any]) -> str:
    """Return the arguments of the tool that a message calls, if it calls just one."""
    calls = message.get("tool_calls")
    call = calls[0] if isinstance(calls, list) and len(calls) == 1 else {"function": message.get("function_call")}
    function = call.get("function") if isinstance(call, dict) else None
    return _text(function.get("arguments")) if isinstance(function, dict) else ""


def _tokens(logprobs: Any) -> list[tuple[str, dict[str, float]]]:
    """Return the generated tokens, each with the log-probabilities at its place; [] if they are not reported."""
    try:
        return [(str(token["token"]), _alternatives(token)) for token in logprobs["content"]]
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        return []


def _alternatives(token: Mapping[str, Any]) -> dict[str, float]:
    """Return token -> log-probability, its own included. Of tokens with the same text the first, likeliest counts."""
    told: dict[str, float] = {str(token["token"]): float(token["logprob"])}
    for other in token.get("top_logprobs") or ():
        told.setdefault(str(other["token"]), float(other["logprob"]))
    return told

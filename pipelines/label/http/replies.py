"""Replies of an endpoint: a refusal and its meaning, or a completion in whatever form its sender takes for JSON.

Replies that were paid for are to be kept. So a body that a strict parser refuses is read as it was meant, a stream that
was not asked for is put together, and a body that begins as a completion and cannot be read is still an answer, with a
fault. Of a completion the model's text, its log-probabilities and its tokens are taken. A refusal is one of this
request, of this document, or of the whole run.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import orjson

from gristmill.operators.label.contract import Completion, Constraint, Message, Tokenizer
from gristmill.operators.label.lenient import read_value
from gristmill.operators.label.prompt import slots_from_tokens
from gristmill.pipelines.label.http.flow import retry_after

_SHOWN = 300  # characters of an endpoint's message


class FailureKind(Enum):
    """Kind of failure, by what to do about it."""

    PASSING = "try again"
    DOCUMENT = "this document cannot be answered"
    REQUEST = "something in the request is not understood, or this document cannot be answered"
    KEY = "no request is answered with this key"
    ENDPOINT = "no request is answered"


class Failure(NamedTuple):
    """An attempt without an answer."""

    kind: FailureKind
    message: str  #: one line, as the endpoint put it
    parameter: str = ""  #: of the request, that the endpoint names
    server_error: bool = False  #: a 500, which may also mean a request that the endpoint cannot do
    overloaded: bool = False  #: a sign of too many requests
    retry_after: float | None = None  #: seconds
    billed: bool = False  #: tokens may have been charged
    empty: bool = False  #: a reply came, and nothing is in it

    @property
    def alive(self) -> bool:
        """Return whether the endpoint does its work: it judged the request."""
        return self.kind is not FailureKind.PASSING


#: Complaints of a document, whatever the status: too long for the model, or not what the endpoint wants to read.
_DOCUMENT = re.compile(
    r"context.{0,20}(length|window|size)|(too|maximum (model|prompt|input)) (long|length)|longer than the max|"
    r"token count|inputs? tokens|string_above_max_length|"
    r"content.{0,12}(filter|policy|management)|moderation|flagged|safety (system|filter|policy)",
    re.IGNORECASE | re.DOTALL,
)
_NO_MONEY = re.compile(r"insufficient.?(quota|balance|funds|credit)|billing.?hard.?limit", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"model.?not.?found|no such model|invalid.?model|model .{1,120} (does not exist|not found)", re.IGNORECASE
)
_OVERLOAD = {408, 429, 503, 504, 529}
_PASSING = {408, 409, 425, 429}


def refused(status: int, body: bytes, retry_header: str | None = None) -> Failure:
    """Return the failure that an HTTP error status (and its body) reports."""
    try:
        fields = _error_fields(orjson.loads(body))
    except orjson.JSONDecodeError:
        fields = _ErrorFields(one_line(body[: 4 * _SHOWN].decode("utf-8", "replace")))
    return _refused(status, fields)._replace(retry_after=retry_after(retry_header))


def error_in_answer(error: Any) -> Failure:
    """Return the failure that an error in the JSON of an HTTP 200 reports; some gateways answer so.

    Its code counts as a status if it is one. Tokens may have been charged.
    """
    fields = _error_fields(error)
    code = str(error.get("code")) if isinstance(error, dict) else ""
    if code.isascii() and code.isdigit() and 400 <= int(code[:4]) < 600:
        return _refused(int(code), fields)._replace(billed=True)
    message = f"an error with HTTP 200: {fields.message or 'no message'}"
    return Failure(_kind(503, fields), message, fields.parameter, billed=True)


class _ErrorFields(NamedTuple):
    message: str = ""
    parameter: str = ""
    code: str = ""


def _refused(status: int, told: _ErrorFields) -> Failure:
    return Failure(
        _kind(status, told),
        f"HTTP {status}{f': {told.message}' if told.message else ''}",
        told.parameter,
        server_error=status == 500,
        overloaded=status in _OVERLOAD,
    )


def _kind(status: int, error: _ErrorFields) -> FailureKind:
    text = f"{error.code} {error.message}"
    if _NO_MONEY.search(text) or status == 402:
        return FailureKind.KEY
    if status < 500 and status not in _PASSING and _DOCUMENT.search(text):
        return FailureKind.DOCUMENT
    if status in (401, 403):
        return FailureKind.KEY
    if status < 400 or status in (404, 405) or (status < 500 and _NO_MODEL.search(text)):
        return FailureKind.ENDPOINT
    if status >= 500 or status in _PASSING:
        return FailureKind.PASSING
    return FailureKind.REQUEST if status in (400, 422) else FailureKind.DOCUMENT


def _error_fields(parsed: Any) -> _ErrorFields:
    """Return message, parameter and code of an error's JSON, in the shapes that endpoints give it."""
    error = parsed.get("error", parsed.get("detail", parsed)) if isinstance(parsed, dict) else parsed
    if isinstance(error, list):  # FastAPI: [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]
        details = [(_place(e.get("loc")), str(e.get("msg", ""))) for e in error if isinstance(e, dict)]
        return _ErrorFields(
            one_line("; ".join(f"{place}: {text}" for place, text in details)), " ".join(place for place, _ in details)
        )
    if not isinstance(error, dict):
        return _ErrorFields("" if error is None else one_line(str(error)))
    message = error.get("message") or error.get("detail") or error
    code = f"{error.get('code') or ''} {error.get('type') or ''}".strip()
    return _ErrorFields(one_line(str(message)), str(error.get("param") or ""), code)


def _place(location: Any) -> str:
    return ".".join(map(str, location)) if isinstance(location, list) else ""


def one_line(text: str) -> str:
    """Return the beginning of a message, without line breaks and the full stop at its end."""
    flat = " ".join(text.split()).rstrip(".")
    return flat if len(flat) <= _SHOWN else f"{flat[:_SHOWN]}..."


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
    counts = [usage.get(name, usage.get(other)) for name, other in _USAGE]
    prompt, completion = (
        int(n) if isinstance(n, int | float) and 0 <= n <= _MOST_TOKENS and n is not True else None for n in counts
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
    reply = _of_value(whole.content())
    ended = whole.finished or text.rstrip().endswith("[DONE]")
    if isinstance(reply, Answered) and not ended:
        return reply._replace(fault="the reply is a stream that ends before the answer does")
    return reply


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
        sum(alternatives[token] for token, alternatives in tokens) if tokens else None,
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
    values = (source.get(name) for source in (message, *thoughts) for name in _REASONING)
    reasoning = next((text for value in values if (text := _text(value))), "")
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
    logprobs: dict[str, float] = {str(token["token"]): float(token["logprob"])}
    for other in token.get("top_logprobs") or ():
        logprobs.setdefault(str(other["token"]), float(other["logprob"]))
    return logprobs

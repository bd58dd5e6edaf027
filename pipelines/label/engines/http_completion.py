"""Reading of a chat completion's JSON: the model's text, its log-probabilities, its tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gristmill.operators.label.contract import Completion, Constraint, Message, Tokenizer
from gristmill.operators.label.prompt import slots_from_tokens
from gristmill.pipelines.label.engines.http_reply import Answered, tokens_used

#: Fields of a message, or of a part of its content, that hold the reasoning of a model.
_REASONING = ("reasoning_content", "reasoning", "thinking")


def completion_of(
    answered: Answered, constraint: Constraint, messages: Sequence[Message], tokenizer: Tokenizer
) -> Completion:
    """Return the first choice of an answer. Tokens are counted here if the endpoint does not report them."""
    choice = answered.content["choices"][0]
    text = _said(choice)
    tokens = _tokens(choice.get("logprobs"))
    input_tokens, output_tokens = tokens_used(answered.content.get("usage"))
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

"""From the JSON of a chat completion to what the model said, how surely, and for how many tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from operators.label.contract import Completion, Constraint, Message, Tokenizer
from operators.label.prompt import slots_from_tokens


def completion_of(
    answered: Mapping[str, Any], constraint: Constraint, messages: Sequence[Message], tokenizer: Tokenizer
) -> Completion:
    """The first choice of an answer. Tokens are counted here where the endpoint does not tell them."""
    choice = answered["choices"][0]
    message = choice["message"]
    text = str(message.get("content") or message.get("refusal") or "")
    tokens = _tokens(choice.get("logprobs"))
    input_tokens, output_tokens = _usage(answered.get("usage"))
    if input_tokens is None:
        input_tokens = sum(tokenizer.count([turn["content"] for turn in messages]))
    if output_tokens is None:
        output_tokens = tokenizer.count([text])[0]
    return Completion(
        text,
        slots_from_tokens(constraint, tokens) if tokens else None,
        sum(told[token] for token, told in tokens) if tokens else None,
        input_tokens,
        output_tokens,
    )


def _tokens(logprobs: Any) -> list[tuple[str, dict[str, float]]]:
    """The generated tokens, each with the log-probabilities at its place; [] where they are not told."""
    try:
        return [(str(token["token"]), _alternatives(token)) for token in logprobs["content"]]
    except (TypeError, KeyError, ValueError):
        return []


def _alternatives(token: Mapping[str, Any]) -> dict[str, float]:
    """Token -> log-probability, its own included. Of tokens that look alike the likeliest counts, which comes first."""
    told: dict[str, float] = {str(token["token"]): float(token["logprob"])}
    for other in token.get("top_logprobs") or ():
        told.setdefault(str(other["token"]), float(other["logprob"]))
    return told


def _usage(usage: Any) -> tuple[int | None, int | None]:
    if not isinstance(usage, dict):
        return None, None
    told = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
    prompt, completion = (int(n) if isinstance(n, int | float) else None for n in told)
    return prompt, completion

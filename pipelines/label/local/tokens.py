"""Prompts and answers in a model's tokens, without the model: chats rendered, codes as single tokens, batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple, Protocol, TypeVar

from gristmill.operators.errors import FatalError, RecipeError
from gristmill.operators.label.contract import Constraint, Message

Encode = Callable[[str], list[int]]


class Prompted(NamedTuple):
    """A question as the model reads it."""

    key: bytes
    ids: list[int]
    most: int  #: tokens that may follow

    @property
    def tokens(self) -> int:
        """Return the tokens that the question and its answer may take."""
        return len(self.ids) + self.most


class Renderer:
    """Tokenizer with its chat template; without one, turns are plain text after the names of their speakers."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def tokens(self, chats: Sequence[list[Message]]) -> list[list[int]]:
        """Return the token ids of each chat, up to the beginning of the model's answer."""
        if not chats:
            return []
        templated = self._tokenizer.chat_template is not None
        texts = self._templated(chats) if templated else [_plain(chat) for chat in chats]
        # A template writes the tokens that begin a text by itself.
        encoded = self._tokenizer(texts, add_special_tokens=not templated, verbose=False)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text by itself."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special ones left out."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _templated(self, chats: Sequence[list[Message]]) -> list[str]:
        # Templates of models that reason before they answer know `enable_thinking`: a code is to come first.
        texts: list[str] = self._tokenizer.apply_chat_template(
            list(chats), tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return texts


def _plain(chat: list[Message]) -> str:
    turns = "".join(f"{turn['role'].capitalize()}: {turn['content']}\n\n" for turn in chat)
    return f"{turns}Assistant:"


def common_beginning(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """Return the tokens that two prompts both begin with."""
    return [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))]


@dataclass(frozen=True)
class SlotTokens:
    """Tokens of each code of one slot."""

    variants: dict[str, tuple[int, ...]]  #: code -> ids of the single tokens that stand for it
    before: tuple[int, ...]  #: ids between the code before and this one; () if the separator is part of the code's
    written: dict[str, int]  #: code -> id of the token by which the model is shown its own answer


def slot_tokens(constraint: Constraint, encode: Encode, model: str) -> list[SlotTokens]:
    """Return the tokens of all slots. A code is a token by itself, one with a blank before it, or both.

    encode: token ids of a text, special ones not added. Raises RecipeError for a code that is no single token.
    """
    slots: list[SlotTokens] = []
    for number, codes in enumerate(constraint.slots):
        variants = {code: _single_tokens(code, encode, model) for code in codes}
        if number == 0:
            slots.append(SlotTokens(variants, (), {code: ids[0] for code, ids in variants.items()}))
        else:
            previous = constraint.slots[number - 1][0]
            slots.append(SlotTokens(variants, *_following(previous, constraint.separator, codes, encode, model)))
    return slots


def _single_tokens(code: str, encode: Encode, model: str) -> tuple[int, ...]:
    """Return the ids of the tokens that are a code, or a code after a blank. Raises RecipeError if there is none."""
    encoded = [encode(text) for text in (code, f" {code}")]
    single = dict.fromkeys(ids[0] for ids in encoded if len(ids) == 1)
    if not single:
        raise RecipeError(
            f"the tokenizer of {model} has no single token for the code {code!r} of an answer, which this task needs; "
            "use a model with another tokenizer, or ask for a schema"
        )
    return tuple(single)


def _following(
    previous: str, separator: str, codes: tuple[str, ...], encode: Encode, model: str
) -> tuple[tuple[int, ...], dict[str, int]]:
    """Return the tokens between two codes, and the one of each code that comes after them."""
    first = encode(previous)
    rests = {code: encode(f"{previous}{separator}{code}") for code in codes}
    gaps = {tuple(ids[len(first) : -1]) for ids in rests.values()}
    if len(gaps) > 1 or any(ids[: len(first)] != first for ids in rests.values()):
        raise RecipeError(
            f"the tokenizer of {model} has no single token for each of {', '.join(codes)} after "
            f"{previous + separator!r}, which this task needs; use a model with another tokenizer"
        )
    return gaps.pop(), {code: ids[-1] for code, ids in rests.items()}


class Sized(Protocol):
    """Item that is put into batches."""

    @property
    def tokens(self) -> int:
        """Return the tokens that it takes of a batch in which it is the longest."""
        ...


Item = TypeVar("Item", bound=Sized)
Result = TypeVar("Result")


class OutOfMemory(Exception):
    """The device has no room for a batch; a smaller one may fit."""


class Batcher:
    """Cutter of windows of items into batches, which remembers the size at which memory ran out."""

    def __init__(self, most_tokens: int) -> None:
        """Set the most tokens of one batch, padding counted; an item that is longer is a batch by itself."""
        self._most_tokens = most_tokens

    def map(
        self, function: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
    ) -> Iterator[Sequence[Result]]:
        """Yield the function's results, batch by batch, the longest items first.

        If it raises OutOfMemory, the batch is halved, and so are all later ones; FatalError for a single item.
        """
        queue = deque(sorted(items, key=lambda item: item.tokens, reverse=True))
        while queue:
            rows = max(1, self._most_tokens // max(1, queue[0].tokens))
            batch = [queue.popleft() for _ in range(min(rows, len(queue)))]
            try:
                results = function(batch)
            except OutOfMemory as error:
                if len(batch) == 1:
                    raise FatalError(_no_room(batch[0].tokens, error)) from None
                self._most_tokens = len(batch) * batch[0].tokens // 2
                queue.extendleft(reversed(batch))
                continue
            yield results


def _no_room(tokens: int, error: Exception) -> str:
    said = str(error).splitlines()[0]
    return (
        f"the device has no room for the model and one prompt of {tokens:,} tokens ({said}). Take a device with more "
        "memory, a smaller dtype, or fewer tokens of each text (text: max_tokens). What was answered is kept"
    )

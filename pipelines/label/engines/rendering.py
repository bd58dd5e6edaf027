"""Rendering of chats to the tokens of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gristmill.operators.label.contract import Message


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

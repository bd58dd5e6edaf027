"""Cutting: how much of a long document a model sees."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.tokens import estimate_tokens
from gristmill.operators.label.contract import Tokenizer
from gristmill.operators.label.task import TextPart

LEFT_OUT = "\n[...]\n"
#: Longer texts are tokenised at their ends only; an end whose tokens are longer on average is kept whole.
_CHARACTERS_A_TOKEN = 16

Spans = Sequence[tuple[int, int]]


class Estimate:
    """Tokens estimated from classes of characters, where the model's own tokenizer is not at hand."""

    exact = False
    special: frozenset[str] = frozenset()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the estimated number of tokens of each text: see the measure `tokens`."""
        return estimate_tokens(*text_buffers(pa.array(texts, pa.large_string()))).tolist()  # type: ignore[no-any-return]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the spans of as many equal pieces as the text has tokens."""
        borders = np.linspace(0, len(text), self.count([text])[0] + 1).astype(int).tolist()
        return list(pairwise(borders))


class Cut(NamedTuple):
    """The rest of a text that was cut, and the number of tokens that were left out."""

    text: str
    cut_tokens: int


class Cutter:
    """A cutter of texts to a number of tokens."""

    def __init__(self, tokenizer: Tokenizer, part: TextPart) -> None:
        self._tokenizer, self._part = tokenizer, part

    def cut(self, text: str) -> Cut:
        """Return the part of the text that the task takes; the text itself where it is short enough.

        No character is split, so a few tokens less than asked for may be kept. The tokens left out of a very long text
        are estimated from those of its two ends.
        """
        most = self._part.max_tokens
        if len(text) <= most and len(text.encode()) <= most:  # no vocabulary has tokens of less than a byte
            return Cut(text, 0)
        reach = most * _CHARACTERS_A_TOKEN
        if len(text) > 2 * reach:
            return self._cut_long(text, reach)
        if not self._tokenizer.exact and self._tokenizer.count([text])[0] <= most:  # less work than spans
            return Cut(text, 0)
        spans = self._tokenizer.spans(text)
        if len(spans) <= most:
            return Cut(text, 0)
        return self._joined(text, spans, text, spans, len(spans))

    def _cut_long(self, text: str, reach: int) -> Cut:
        beginning, end = text[:reach], text[-reach:]
        first, last = self._tokenizer.spans(beginning), self._tokenizer.spans(end)
        tokens = round(len(text) * (len(first) + len(last)) / (2 * reach))
        return self._joined(beginning, first, end, last, max(tokens, len(first) + len(last)))

    def _joined(self, beginning: str, first: Spans, end: str, last: Spans, tokens: int) -> Cut:
        """Return what is taken of the beginning and of the end of a text of `tokens` tokens."""
        most = self._part.max_tokens
        take = {"head": (most, 0), "tail": (0, most), "head_and_tail": (most - most // 2, most // 2)}
        head, tail = take[self._part.take]
        head_text, head_tokens = _head(beginning, first, head) if head else ("", 0)
        tail_text, tail_tokens = _tail(end, last, tail) if tail else ("", 0)
        return Cut(head_text + LEFT_OUT + tail_text, tokens - head_tokens - tail_tokens)


def _head(text: str, spans: Spans, most: int) -> tuple[str, int]:
    """Return the longest beginning of a text of at most `most` tokens that ends with a character; and its tokens."""
    if most >= len(spans):
        return text, len(spans)
    while most and spans[most - 1][1] > spans[most][0]:  # two tokens share a character
        most -= 1
    return text[: spans[most - 1][1]] if most else "", most


def _tail(text: str, spans: Spans, most: int) -> tuple[str, int]:
    """Return the longest end of a text of at most `most` tokens that begins with a character; and its tokens."""
    if most >= len(spans):
        return text, len(spans)
    first = len(spans) - most
    while first < len(spans) and spans[first - 1][1] > spans[first][0]:
        first += 1
    return text[spans[first][0] :] if first < len(spans) else "", len(spans) - first

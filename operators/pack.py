"""Packing: documents that are tokens become the sequences that a language model is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from gristmill.operators.base import Files, Operator
from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.packing import best_fit, permuted
from gristmill.operators.strata import WrittenColumn
from gristmill.operators.tokenizer import TextTokenizer, open_tokenizer

#: The key of the order of sequences that are filled by best fit.
_SEQUENCES = np.uint64(1)

Split = Literal["documents", "concat", "best_fit"]


class Pack(Operator):
    """Tokens of the written documents, shuffled and packed into sequences, beside the text.

    `split: documents` gives each document sequences of its own. `concat` writes documents one after the other and cuts
    every `length` tokens. `best_fit` cuts documents only where they are longer than `length`, and fills sequences with
    the pieces that leave the least room (best-fit decreasing; Ding et al. 2024, "Fewer Truncations Improve Language
    Modeling").

    `by: [source, {quality: [50%, 90%]}]` packs each stratum of documents by itself, so that mixtures may weigh them: a
    stratum has one value of each column, or one bucket of a number, cut at percentiles of the tokens or at numbers.
    """

    shorthand: ClassVar[str | None] = "tokenizer"

    tokenizer: str = Field(description="path of a tokenizer.json")
    length: int = Field(default=2048, ge=2, le=1 << 24, description="tokens of a sequence, at most")
    eos: bool = Field(default=True, description="whether the tokenizer's end-of-text token follows each document")
    split: Split = Field(default="best_fit", description="how documents become sequences")
    seed: int = Field(default=0, ge=0, lt=1 << 64, description="documents are shuffled by it and by their content")
    by: tuple[WrittenColumn, ...] = Field(
        default=(), description="columns, or {column: cuts}, whose values are packed apart: the strata of mixtures"
    )

    added: ClassVar[Mapping[str, Any]] = {"by": []}

    @field_validator("by")
    @classmethod
    def _distinct(cls, value: tuple[WrittenColumn, ...]) -> tuple[WrittenColumn, ...]:
        names = [entry.column for entry in value]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"name each column once, not {repeated!r} again")
        return value

    def resources(self) -> dict[str, str]:
        """Return the tokenizer's file."""
        return {"tokenizer": self.tokenizer}

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("byte_pairs", "packing")

    def check(self, files: Files) -> None:
        """Raise RecipeError where the tokenizer cannot be loaded, or has no end-of-text token and one is asked for."""
        self.open(files)

    def open(self, files: Files) -> TextTokenizer:
        """Load the tokenizer. Raises RecipeError as `check` does."""
        tokenizer = open_tokenizer(files["tokenizer"], self.tokenizer)
        if self.eos and tokenizer.eos is None:
            raise RecipeError(
                f"{self.tokenizer} has no end-of-text token that is known by its name (<|endoftext|>, </s>, ...), and "
                "`eos` asks for one behind each document; write eos: false"
            )
        return tokenizer


def token_type(vocabulary: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """Return the smaller of the two types of token files that holds all ids below `vocabulary`."""
    return np.dtype(np.uint16) if vocabulary <= 1 << 16 else np.dtype(np.uint32)


@dataclass(frozen=True)
class Pieces:
    """Pieces of documents (m), by sequence and place in it."""

    document: NDArray[np.int64]  #: whose tokens they are
    offset: NDArray[np.int64]  #: position of the first one in the document
    tokens: NDArray[np.int64]  #: how many
    sequence: NDArray[np.int64]  #: ascending, from 0, none left out

    @property
    def bounds(self) -> NDArray[np.int64]:
        """Return the first piece of each sequence, and behind the last one the number of pieces."""
        starts = np.flatnonzero(np.diff(self.sequence, prepend=-1))
        return np.append(starts, len(self.sequence))

    @property
    def starts(self) -> NDArray[np.int64]:
        """Return where each piece begins in its sequence."""
        ends = np.cumsum(self.tokens)
        first = (ends - self.tokens)[self.bounds[:-1]]
        starts: NDArray[np.int64] = ends - self.tokens - first[self.sequence]
        return starts


def pack(lengths: NDArray[np.int64], split: Split, length: int) -> Pieces:
    """Cut documents of so many tokens (n), in the order that they are in, into sequences of `length` at most.

    Every token is in one piece; a document without tokens is in none. With `best_fit` sequences are shuffled, and the
    pieces of each keep the order of documents: neither goes by length.
    """
    if split == "concat":
        return _concatenated(lengths, length)
    counts = -(-lengths // length)
    document = np.repeat(np.arange(len(lengths)), counts)
    piece = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    offset = piece * length
    tokens = np.minimum(length, lengths[document] - offset)
    if split == "documents":
        return Pieces(document, offset, tokens, np.arange(len(document)))
    largest_first = np.argsort(-tokens, kind="stable")
    bins, count = best_fit(tokens, largest_first, length)
    sequence_of = permuted(_SEQUENCES, count, np.arange(count))  # bins are opened by falling size of their first piece
    sequence = sequence_of[bins]
    order = np.argsort(sequence, kind="stable")
    return Pieces(document[order], offset[order], tokens[order], sequence[order])


def _concatenated(lengths: NDArray[np.int64], length: int) -> Pieces:
    ends = np.cumsum(lengths)
    starts, total = ends - lengths, int(ends[-1]) if len(ends) else 0
    cuts = np.union1d(starts[lengths > 0], np.arange(0, total, length)).astype(np.int64)
    document = np.searchsorted(ends, cuts, "right")
    return Pieces(document, cuts - starts[document], np.diff(cuts, append=total), cuts // length)

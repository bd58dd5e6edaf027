"""Forecast of a labelling run, before anything is sent: its questions, their tokens and their cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gristmill.operators import columns
from gristmill.operators.label.contract import Question, Tokenizer
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import Annotator
from gristmill.pipelines.label.budget import Bound, Prices
from gristmill.pipelines.label.documents import Documents
from gristmill.pipelines.label.questions import Preparer, ReadingChunk

SAMPLED = 256  # documents whose tokens are counted
TEMPLATE_TOKENS = 16  # of a chat template around the turns
#: Tokens by which a text may exceed the limit that it was cut to: the mark of the cut, borders that move.
CUT_SLACK = 64
#: Bytes that neutralising may add: a blank for every three bytes, as in "</s>" repeated.
NEUTRALISED = 4 / 3


@dataclass(frozen=True)
class Forecast:
    """One annotator's share of a run."""

    annotator: str
    model: str
    known: int  #: texts that are answered, or in quarantine, already
    asked: int  #: texts to be asked about for the first time
    repairs: int  #: texts whose first answer is to be repaired
    input_tokens: int
    output_tokens: int
    cost: float
    exact: bool  #: tokens by the model's own tokenizer

    @property
    def questions(self) -> int:
        """Return the number of questions that are sent; repairs of answers that are yet to come are not counted."""
        return self.asked + self.repairs


class Sizes:
    """Tokens that a question takes: about, for forecasts, and at most, for reservations."""

    def __init__(self, asked: TaskQuestion, annotator: Annotator, tokenizer: Tokenizer) -> None:
        self._free = annotator.free
        preparer = Preparer(asked, tokenizer)
        constraint = asked.answer.constraint()
        self._asked, self.tokenizer = asked, tokenizer
        self._head_bytes = preparer.prompt.overhead_bytes()
        turns = [turn["content"] for turn in preparer.prompt.messages("")]
        self._head_tokens = sum(tokenizer.count(turns)) + TEMPLATE_TOKENS * len(turns)
        self._head_bound = self._head_tokens + CUT_SLACK if tokenizer.exact else self._head_bytes + CUT_SLACK
        self.output_bound = annotator.max_output_tokens or constraint.max_tokens
        self._output = min(self.output_bound, 2 * len(constraint.slots) if constraint.slots else self.output_bound // 4)

    def bound(self, question: Question) -> Bound:
        """Return the most that a question can cost."""
        if self._free:
            return Bound(0, 0)
        document = question.document
        size = len(document) if document.isascii() else len(document.encode())
        bound = Bound(self._input_bound(size), self.output_bound)
        return bound if question.rejected is None else self._again(bound, question.rejected.raw)

    def bounds_of(self, chunk: ReadingChunk) -> list[Bound]:
        """Return the most that each question of a chunk can cost, before its documents are read."""
        if self._free:
            return [Bound(0, 0)] * chunk.documents
        sizes = (chunk.part.known[columns.BYTES].to_numpy() * NEUTRALISED).astype(np.int64) + 1
        bounds = [Bound(self._input_bound(size), self.output_bound) for size in sizes.tolist()]
        if not chunk.rejected:
            return bounds
        raws = (chunk.rejected[key].raw for key in chunk.part.keys)
        return [self._again(bound, raw) for bound, raw in zip(bounds, raws, strict=True)]

    def _again(self, bound: Bound, raw: str) -> Bound:
        """Return the bound of a repair, which shows the first answer and says how to answer once more."""
        more = 2 * len(raw.encode("utf-8", "replace")) + self._head_bytes
        return Bound(bound.input_tokens + more, bound.output_tokens, documents=0)

    def _input_bound(self, size: int) -> int:
        # No token is shorter than a byte. A text that was cut by the model's own tokens has at most that many.
        return self._head_bound + (min(size, self._asked.text.max_tokens + CUT_SLACK) if self.tokenizer.exact else size)

    def expected(self, documents: Documents) -> Bound:
        """Estimate the cost of documents together: tokens of a few are counted, the others estimated by length."""
        n = documents.table.num_rows
        if n == 0 or self._free:
            return Bound(0, 0, n)
        lengths = documents.table[columns.BYTES].to_numpy()
        each = np.minimum(lengths * self._tokens_a_byte(documents), self._asked.text.max_tokens)
        return Bound(int(each.sum()) + n * self._head_tokens, n * self._output, n)

    def _tokens_a_byte(self, documents: Documents) -> float:
        _, part = next(documents.by_shard())
        few = part.every(max(1, part.known.num_rows // SAMPLED))
        questions = ReadingChunk(few, self._asked, self.tokenizer).questions()
        tokens = sum(self.tokenizer.count([question.document for question in questions]))
        cut = sum(question.cut_tokens for question in questions)
        return (tokens + cut) / max(1, int(few.known[columns.BYTES].to_numpy().sum()))


def forecast(
    annotator: Annotator, sizes: Sizes, prices: Prices, missing: Documents, repairs: Documents, known: int
) -> Forecast:
    """Estimate what it takes to ask about documents and to repair answers; `known` are not asked again."""
    first, again = sizes.expected(missing), sizes.expected(repairs)
    input_tokens = first.input_tokens + again.input_tokens
    output_tokens = first.output_tokens + again.output_tokens
    return Forecast(
        annotator.name,
        annotator.model,
        known,
        missing.table.num_rows,
        repairs.table.num_rows,
        input_tokens,
        output_tokens,
        prices.cost(input_tokens, output_tokens),
        sizes.tokenizer.exact,
    )

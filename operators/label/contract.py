"""Messages between a labelling run and the backends that answer: questions, completions, replies.

An answer is read from *slots*. A slot is a place in the completion where one of a few one-token *codes* stands: the
letter of a choice, the digit of a scale, a yes or no for each label of a multi-label task. A free answer (a JSON
schema) has no slots.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypedDict, runtime_checkable

#: Beginning of the lasting error of a reply by which an annotator without a model says that it does not know.
ABSTAINS = "it abstains: "


class Message(TypedDict):
    """One turn of a chat."""

    role: str  #: "user" or "assistant"
    content: str


class Rejected(NamedTuple):
    """A first answer that is not valid, and the reason: a repair shows both to the model."""

    raw: str
    reason: str


class Question(NamedTuple):
    """One document put to one annotator."""

    key: bytes  #: content id of the document's text, 16 bytes
    document: str  #: the text as the model sees it: cut, and neutralised
    cut_tokens: int = 0  #: tokens of the text that were left out
    rejected: Rejected | None = None


class Completion(NamedTuple):
    """The text that a model generated for a question, with its probabilities."""

    text: str
    #: for each slot the natural log-probability of each code (variants such as a leading space added up);
    #: None where the backend does not report them, a code missing where it was not among those reported
    slots: tuple[dict[str, float], ...] | None
    logprob: float | None  #: of all that was generated (nats); None where unknown
    input_tokens: int
    output_tokens: int
    fault: str = ""  #: the reason that it can be no answer, whatever its text: the reply was damaged on the way


class Reply(NamedTuple):
    """The outcome of a question: a completion, or an error.

    A lasting error is a fact about this document (too long for the model, refused by the endpoint): it goes to
    quarantine. Any other has passed all retries and may be asked again. `billed` says that the tokens of a reply
    without a completion may have been charged (a connection lost after the request was sent): a backend does not try
    such a question again by itself, because the budget has to admit it again. `empty` says of such a reply that it
    arrived with nothing in it: asking again seldom helps.
    """

    key: bytes
    completion: Completion | None
    error: str = ""
    lasting: bool = False
    billed: bool = False
    empty: bool = False


@dataclass(frozen=True)
class Constraint:
    """The form that a completion must have, for backends that can enforce it.

    Every task with slots has `slots` (the codes allowed at each) and `pattern`, a regular expression for all its
    completions; `text_choices` lists them where they are few (one slot). Tasks without slots have a JSON `schema`.
    """

    slots: tuple[tuple[str, ...], ...]  #: codes at each slot; () for a free answer
    separator: str  #: between two slots
    text_choices: tuple[str, ...] | None
    pattern: str | None
    schema: dict[str, Any] | None
    max_tokens: int  #: that a completion may take


class Tokenizer(Protocol):
    """A counter of tokens, which also says where they lie."""

    exact: bool  #: True if these are the model's own tokens
    special: frozenset[str]  #: texts that the tokenizer takes for structure, such as <|im_end|>

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, special ones not added."""
        ...

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the beginning and the end of each token of a text, in characters."""
        ...


class Asker(Protocol):
    """An annotator that is ready to answer: a backend with a model and a prompt.

    `answer` takes batches of questions as it has room for them and gives replies in any order, one for each question;
    closing its generator ends what is in flight.
    Pulling the next batch may block (a budget is waited for), and pulling may happen in another thread than the one
    that consumes replies; a backend must hand out every reply that it has before it waits for more questions.
    """

    @property
    def revision(self) -> str:
        """Return what tells this model from another of the same name: a commit, a digest of its files."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Return the model's own tokenizer where there is one, else an estimate."""
        ...

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        """Yield replies to all questions. Raises FatalError where no question can be answered (no model, wrong key).

        By then every reply that may be charged has been handed out.
        """
        ...

    def close(self) -> None:
        """Give back what was opened."""
        ...


@runtime_checkable
class PullingAsker(Asker, Protocol):
    """An asker that pulls questions in a thread of its own, ahead of those that it sends: nothing else need do so."""

    @property
    def pulled_ahead(self) -> int:
        """Return how many questions it pulls ahead of those that it sends, at most."""
        ...

"""The parts of a labelling task that are there before any backend: what is asked, and of which documents.

The fingerprint of `TaskQuestion` (what is asked, of how much of a text) names the answers in the label store. The
sample is no part of it, nor are the annotators and the budget.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from gristmill.operators.base import PositiveCount, digest_of
from gristmill.operators.label.answers import AnswerFormat, Pair
from gristmill.operators.label.labels import TaskSection
from gristmill.operators.label.reading import InvalidAnswer

#: Raise it when the same task makes another prompt or reads another answer from the same completion.
PROMPT_VERSION = 1
By = Literal["random", "stratified", "top", "near_threshold", "cluster"]


class Example(TaskSection):
    """A text with its answer, shown to the model before the document."""

    text: str = Field(min_length=1)
    answer: Any = Field(description="a label, a number, a list of labels, or what the schema asks for")


class TextPart(TaskSection):
    """The part of a document that the model sees."""

    max_tokens: int = Field(default=1500, gt=0, description="longer texts are cut to this many tokens")
    take: Literal["head", "tail", "head_and_tail"] = Field(default="head_and_tail", description="which part is kept")


class TaskQuestion(TaskSection):
    """The question that is asked of a document, and the way that the answer is read."""

    instruction: str = Field(min_length=1, description="what the model is to do, in words")
    answer: AnswerFormat = Field(description="one of choice, scale, multi, pair, schema")
    examples: tuple[Example, ...] = Field(default=(), description="texts with their answers, shown to the model")
    text: TextPart = Field(default=TextPart(), description="how much of a document the model sees")

    @field_validator("examples")
    @classmethod
    def _are_answered(cls, examples: tuple[Example, ...], known: ValidationInfo) -> tuple[Example, ...]:
        answer: AnswerFormat | None = known.data.get("answer")
        if answer is None:  # wrong itself, which is reported
            return examples
        if examples and isinstance(answer, Pair):
            raise ValueError("an example has one text; a question about a pair has two: describe in the instruction")
        for i, example in enumerate(examples):
            try:
                answer.canonical(example.answer)
            except InvalidAnswer as error:
                raise ValueError(f"the answer of example {i + 1} is not one of this task: {error}") from None
        return examples

    @property
    def pairs(self) -> bool:
        """Return whether a question is about two texts."""
        return isinstance(self.answer, Pair)

    def asked_fingerprint(self) -> str:
        """Return a hex digest of all that decides the prompt and how its answer is read."""
        fields = self.model_dump(mode="json", by_alias=True, include=set(TaskQuestion.model_fields))
        # As text, because the order of labels, and of a schema's keys, is part of the prompt.
        return digest_of([PROMPT_VERSION, json.dumps(fields, ensure_ascii=False)])


class Sample(TaskSection):
    """A number of documents and a way to choose them, or a list of ids.

    `sample: {documents: 50000, by: stratified, columns: [source], seed: 3}`. Documents with the same text are chosen
    or left out together and count as one. Where fewer can be chosen than asked for, all of them are.

    - `random`: each text with the same chance.
    - `stratified`: the values of `columns` make strata. Equal shares: a stratum with fewer texts than its share gives
      all it has, and the others share the rest. Proportional: by size, rounded as Webster's method does (also known as
      Sainte-Laguë's). Texts without a value are a stratum; a text with several values belongs to the least.
    - `top`: the largest values of `score`, or with `ascending` the smallest.
    - `near_threshold`: the values of `score` nearest to `threshold`, where a classifier is least sure.
    - `cluster`: one text of each cluster of similar texts after the other, so that small topics are represented; there
      should be many more clusters than topics.
    - `import`: the documents whose ids a file lists; with `documents` a random sample of them.

    Where `score` is null or NaN a text is never chosen by it; of several values that a text has the best counts. Ties
    are broken at random.
    """

    documents: PositiveCount | None = Field(
        default=None, description="how many are chosen, such as 50k; needed unless ids are imported"
    )
    by: By = Field(default="random", description="how they are chosen")
    columns: tuple[str, ...] = Field(default=(), description="stratified: columns whose values make strata")
    shares: Literal["equal", "proportional"] = Field(
        default="equal", description="stratified: as many of each stratum, or in proportion to its size"
    )
    score: str | None = Field(default=None, description="top, near_threshold: a numeric column")
    ascending: bool = Field(default=False, description="top: the smallest values instead")
    threshold: float | None = Field(default=None, allow_inf_nan=False, description="near_threshold: a value of `score`")
    clusters: PositiveCount = Field(default=100, description="cluster: how many, at most `documents`")
    import_: str | None = Field(default=None, alias="import", description="a file with an id on each line")
    comparisons: PositiveCount | None = Field(
        default=None, description="answers of pairs: in how many pairs each text is, an even number, else 10"
    )
    seed: int = Field(default=0, ge=0, lt=2**64, description="of all that is random; another seed, another sample")

    NEEDED: ClassVar[dict[str, dict[str, str]]] = {
        "stratified": {"columns": "the columns whose values make strata"},
        "top": {"score": "the column to go by"},
        "near_threshold": {"score": "the column to go by", "threshold": "the value to be near to"},
    }
    OPTIONS: ClassVar[dict[str, tuple[str, ...]]] = {
        "stratified": ("columns", "shares"),
        "top": ("score", "ascending"),
        "near_threshold": ("score", "threshold"),
        "cluster": ("clusters",),
    }

    @model_validator(mode="after")
    def _check_fields(self) -> Sample:
        if self.import_ is not None and self.by != "random":
            raise ValueError(f"`import` names the documents itself; it cannot go with by: {self.by}")
        if self.import_ is None and self.documents is None:
            raise ValueError("`documents`, how many to choose, is missing (only `import` can do without)")
        for name, meaning in self.NEEDED.get(self.by, {}).items():
            if getattr(self, name) in (None, ()):
                raise ValueError(f"by: {self.by} needs `{name}`, {meaning}")
        for method, options in self.OPTIONS.items():
            for name in options:
                if name in self.model_fields_set and name not in self.OPTIONS.get(self.by, ()):
                    raise ValueError(f"`{name}` has no meaning for by: {self.by}; it goes with by: {method}")
        return self

    def columns_needed(self) -> set[str]:
        """Return the columns of a document, besides its ids, that the choice goes by."""
        return set(self.columns) | ({self.score} if self.score is not None else set())

    @property
    def needs_vectors(self) -> bool:
        """Return whether `choose` takes the texts' n-gram vectors."""
        return self.by == "cluster"


__all__ = ["PROMPT_VERSION", "By", "Example", "Sample", "TaskQuestion", "TaskSection", "TextPart"]

"""The backend `similarity`: labels by the likeness of texts to what labels mean, without a model."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import pyarrow as pa

from gristmill.operators.base import digest_of
from gristmill.operators.columns import TEXT
from gristmill.operators.errors import RecipeError
from gristmill.operators.label.answers import Choice
from gristmill.operators.label.contract import ABSTAINS, Asker, Completion, Question, Reply, Tokenizer
from gristmill.operators.label.prompt import Estimate
from gristmill.operators.label.samplers import KEY, distinct_texts
from gristmill.operators.label.similarity import LabelMeanings
from gristmill.operators.label.task import TaskQuestion
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.label.annotators import SimilarityAnnotator, revision_of
from gristmill.pipelines.sources.read import read_documents

_LEAST_TEXTS = 100


def open_asker(annotator: SimilarityAnnotator, asked: TaskQuestion) -> Asker:
    """Return the annotator's asker. Raises RecipeError where there is no choice, or the corpus has too few texts."""
    return SimilarityAsker(annotator, asked)


class SimilarityAsker:
    """Asker that gives the label that a text is most like. The same corpus gives the same answers, in any order."""

    def __init__(self, annotator: SimilarityAnnotator, asked: TaskQuestion) -> None:
        if not isinstance(asked.answer, Choice):
            raise RecipeError(f"{annotator.name}: similarity gives one label of several; the answer must be a choice")
        corpus, keys = _drawn(annotator.corpus, annotator.field, annotator.documents)
        if len(corpus) < _LEAST_TEXTS:
            raise RecipeError(
                f"{annotator.name}: {annotator.corpus} has {len(corpus)} different texts; meanings of labels take "
                f"{_LEAST_TEXTS} or more"
            )
        definitions = asked.answer.choice
        self.revision = revision_of(annotator, digest_of([[*definitions.items()], annotator.abstain, keys]))
        self.tokenizer: Tokenizer = Estimate()
        self._answer = asked.answer
        self._meanings = LabelMeanings.learn(definitions, corpus, annotator.abstain)

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        """Yield replies to all questions; an abstention is a lasting error."""
        for questions in batches:
            texts = pa.array([question.document for question in questions], pa.large_string())
            pairs = zip(questions, self._meanings.answers(texts), strict=True)
            yield [self._reply(question, label) for question, label in pairs]

    def close(self) -> None:
        """Release nothing."""

    def _reply(self, question: Question, label: str | None) -> Reply:
        if label is None:
            return Reply(question.key, None, f"{ABSTAINS}two labels are about as near to the text", lasting=True)
        return Reply(question.key, Completion(self._answer.completion(label), None, None, 0, 0))


def _drawn(path: str, field: str, most: int) -> tuple[pa.LargeStringArray, str]:
    """Return different texts of a corpus, at most so many, by the order of a hash; and a digest of which they are."""
    table = pa.table({KEY: pa.array([], pa.binary(16)), TEXT: pa.array([], pa.large_string())})
    for batch in read_documents(path, field, None):
        texts = batch.column(TEXT).cast(pa.large_string())
        table = pa.concat_tables([table, pa.table({KEY: content_ids(texts), TEXT: texts}, table.schema)])
        if table.num_rows:
            drawn = distinct_texts(0, table[KEY])
            table = table.take(pa.array(drawn.rows[drawn.starts][:most])).combine_chunks()
    return table[TEXT].combine_chunks(), digest_of(sorted(key.hex() for key in table[KEY].to_pylist()))

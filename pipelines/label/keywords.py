"""The backend `keywords`: labels by words and regular expressions that stand in a text, without a model.

An annotator is one labelling function (Ratner et al. 2016, "Data Programming"): it gives an answer or abstains. Several
of them are aggregated like any annotators.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Mapping, Sequence

from gristmill.operators.base import digest_of
from gristmill.operators.errors import RecipeError
from gristmill.operators.label.answers import AnswerFormat, Choice, Multi, Scale
from gristmill.operators.label.contract import ABSTAINS, Asker, Completion, Question, Reply, Tokenizer
from gristmill.operators.label.prompt import Estimate
from gristmill.operators.label.reading import InvalidAnswer
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import KeywordsAnnotator, revision_of

_EXPRESSION = "re:"


def open_asker(annotator: KeywordsAnnotator, asked: TaskQuestion) -> Asker:
    """Return the annotator's asker. Raises RecipeError where a label is none of the task's, or an expression wrong."""
    return KeywordsAsker(annotator, asked)


class KeywordsAsker:
    """Asker that looks for words: the label with most different ones is the answer; of several labels all with any."""

    def __init__(self, annotator: KeywordsAnnotator, asked: TaskQuestion) -> None:
        self.revision = revision_of(
            annotator, digest_of([[label, [*words]] for label, words in annotator.words.items()])
        )
        self.tokenizer: Tokenizer = Estimate()
        self._answer = asked.answer
        labels = labels_of(annotator.name, asked.answer, annotator.words)
        self._words = {
            label: [_pattern(annotator.name, word) for word in words]
            for label, words in zip(labels, annotator.words.values(), strict=True)
        }

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        """Yield replies to all questions; an abstention is a lasting error."""
        for questions in batches:
            yield [self._reply(question) for question in questions]

    def close(self) -> None:
        """Release nothing."""

    def _reply(self, question: Question) -> Reply:
        counts = {
            label: sum(pattern.search(question.document) is not None for pattern in patterns)
            for label, patterns in self._words.items()
        }
        most = max(counts.values())
        if not most:
            return Reply(question.key, None, f"{ABSTAINS}no word of any label is in the text", lasting=True)
        if isinstance(self._answer, Multi):
            answer = json.dumps([label for label in self._answer.multi if counts.get(label)])
        else:
            first, *others = [label for label, count in counts.items() if count == most]
            if others:
                tied = f"{ABSTAINS}it has as many words of {first} as of {others[0]}"
                return Reply(question.key, None, tied, lasting=True)
            answer = first
        return Reply(question.key, Completion(self._answer.completion(answer), None, None, 0, 0))


def labels_of(name: str, answer: AnswerFormat, words: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the task's labels that words are given for, in their order. Raises RecipeError for any other."""
    if not isinstance(answer, Choice | Scale | Multi):
        raise RecipeError(f"{name}: words give labels, and the answers of this task are none")
    labels = []
    for label in words:
        try:
            labels.append(
                json.loads(answer.canonical([label]))[0] if isinstance(answer, Multi) else answer.canonical(label)
            )
        except InvalidAnswer as error:
            raise RecipeError(f"{name}: words are given for no label of the task: {error}") from None
    return labels


def _pattern(name: str, word: str) -> re.Pattern[str]:
    """Return what finds a word or a phrase as whole words, whatever their case, or an expression after `re:`."""
    if not word.startswith(_EXPRESSION):
        phrase = r"\s+".join(map(re.escape, word.split()))
        return re.compile(rf"(?<!\w){phrase}(?!\w)", re.IGNORECASE)
    try:
        return re.compile(word.removeprefix(_EXPRESSION))
    except re.error as error:
        raise RecipeError(f"{name}: {word!r} is no regular expression: {error}") from None

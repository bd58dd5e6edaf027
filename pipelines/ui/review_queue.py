"""Texts that a person is asked about: labels that are probably wrong, and documents near a limit of the newest run.

Answers are stored as `gristmill labels import` stores them, one at a time; nothing else is written.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gristmill.operators.columns import CONTENT_ID, ID
from gristmill.operators.errors import GristmillError, RecipeError
from gristmill.operators.label.answers import Choice, Free, Multi, Scale
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.html.cuts import cuts_of
from gristmill.pipelines.html.examples import near_limits
from gristmill.pipelines.label.importing import ANSWER, REVISION, import_records
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.train.audit import audit
from gristmill.pipelines.train.examples import examples_of_task

SUSPECTED, NEAR = "suspected", "near"
#: The queues, with what pages call them.
QUEUES = {SUSPECTED: "Suspected labels", NEAR: "Near a limit"}
#: Documents of each rule and each side of its limits.
NEAR_DOCUMENTS = 10


@dataclass(frozen=True)
class ReviewItem:
    """A text that a person is asked about."""

    key: bytes  #: content id
    id: str | None
    text: str
    queue: str
    said: str  #: the label that it has, or the rule and the side of its limit
    reasons: tuple[str, ...]
    suggested: str = ""  #: the label that it probably should have


@dataclass(frozen=True)
class ReviewPlace:
    """An item, and where it stands in its queue."""

    item: ReviewItem
    mine: str | None  #: the answer of the reviewer
    others: Mapping[str, str]  #: answers of the other annotators
    answered: int
    total: int


class ReviewQueue:
    """The items of a task, gathered once. Thread-safe; other processes may write answers meanwhile."""

    def __init__(self, loaded: LoadedTask, store: str, annotator: str) -> None:
        """Check who answers what. Raises RecipeError for a task of pairs, and for the name of one of its models."""
        if loaded.task.pairs:
            raise RecipeError(f"{loaded.name} asks about pairs of texts, and a review is of one text at a time")
        if annotator in (model.name for model in loaded.task.annotators):
            raise RecipeError(f"{annotator} is a model of {loaded.name}; give the reviewer another --annotator")
        self.loaded, self.annotator = loaded, annotator
        self._store, self._place = LabelStore(store, loaded.fingerprint), store
        self._items: dict[str, dict[bytes, ReviewItem]] = {name: {} for name in QUEUES}
        self.remarks: list[str] = []  #: why a queue is empty, or lacks something
        self.ready = threading.Event()
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._listed: list[str] | None = None
        self._answers: dict[bytes, dict[str, str]] = {}
        self._by_people: dict[bytes, set[str]] = {}
        self._known_ids: set[tuple[bytes, str]] = set()

    @property
    def store(self) -> str:
        """Return the store that answers go to."""
        return self._place

    def gather(self) -> None:
        """Find the items; what cannot be found is remarked on."""
        for name, find in ((SUSPECTED, self._suspected), (NEAR, self._near)):
            try:
                for item in find():
                    if not any(item.key in items for items in self._items.values()):
                        self._items[name][item.key] = item
            except (GristmillError, OSError) as error:
                self.remarks.append(f"{QUEUES[name]}: {error}")
        self.ready.set()

    def place(self, queue: str, key: bytes) -> ReviewPlace | None:
        """Return an item of a queue; None where there is no such item."""
        item = self._items[queue].get(key)
        if item is None:
            return None
        self._read_answers()
        answers = dict(self._answers.get(key, {}))
        answered = sum(self.annotator in self._answers.get(each, {}) for each in self._items[queue])
        return ReviewPlace(item, answers.pop(self.annotator, None), answers, answered, len(self._items[queue]))

    def chosen(self, place: ReviewPlace) -> tuple[str, ...]:
        """Return the labels of the reviewer's own answer to an item."""
        if place.mine is None:
            return ()
        return tuple(json.loads(place.mine)) if isinstance(self.loaded.task.answer, Multi) else (place.mine,)

    def next(self, queue: str, after: bytes | None = None, pending: bytes | None = None) -> bytes | None:
        """Return the key of the next item without an answer of the reviewer: one with fewest answers of other people.

        Of several it is the next one after a key, in a circle; `pending` is one whose answer is on its way.
        """
        self._read_answers()
        keys = [*self._items[queue]]
        start = keys.index(after) + 1 if after in self._items[queue] else 0
        mine = [
            key
            for key in keys[start:] + keys[:start]
            if key != pending and self.annotator not in self._answers.get(key, {})
        ]
        return min(mine, key=lambda key: len(self._by_people.get(key, ())), default=None)

    def write(self, key: bytes, answer: Any) -> str:
        """Store an answer of the reviewer durably and return it as it is stored; one that was given before is replaced.

        Raises RecipeError for what is no answer of the task or no item, StoreLocked while another process writes.
        """
        item = next((items[key] for items in self._items.values() if key in items), None)
        if item is None:
            raise RecipeError(f"{key.hex()} is no text of this review")
        record: dict[str, Any] = {CONTENT_ID: key.hex(), ANSWER: answer}
        with self._writing:
            if item.id is not None and (key, item.id) not in self._known_ids:
                record[ID] = item.id
            import_records(self._store, self.loaded.task.answer, [("the answer", record)], "the review", self.annotator)
            self._store.write_task(self.loaded.name, self.loaded.as_written)
            self._known_ids.add((key, item.id or ""))
        self._read_answers()
        return self._answers[key][self.annotator]

    def _read_answers(self) -> None:
        """Read the answers that there are, where files of them have come or gone since."""
        with self._lock:
            listed = files.names(self._store.url)
            if listed == self._listed:
                return
            rows = self._store.rows(columns=("answer",))
            answers: dict[bytes, dict[str, str]] = defaultdict(dict)
            people: dict[bytes, set[str]] = defaultdict(set)
            for row in rows.select([CONTENT_ID, "annotator", "revision", "answer"]).to_pylist():
                if row["answer"] is not None:
                    answers[row[CONTENT_ID]][row["annotator"]] = row["answer"]
                    if row["revision"] == REVISION:
                        people[row[CONTENT_ID]].add(row["annotator"])
            self._answers, self._by_people, self._listed = answers, people, listed

    def _suspected(self) -> Iterator[ReviewItem]:
        """Yield the texts whose labels `labels audit` suspects, the most suspected first."""
        self._read_answers()
        own = {who for by in self._answers.values() for who in by}
        gold = self.annotator if self.annotator in own else None
        found = audit(examples_of_task(self.loaded, self._place, "mean", gold), Reporter(quiet=True)).table
        keys: dict[str, list[bytes]] = defaultdict(list)
        documents = self._store.documents()
        for key, id in zip(documents[CONTENT_ID].to_pylist(), documents[ID].to_pylist(), strict=True):
            keys[id].append(key)
            self._known_ids.add((key, id))
        texts = found["text"].combine_chunks()
        for row, own_key in zip(found.to_pylist(), content_ids(texts).to_pylist(), strict=True):
            key = (
                own_key
                if own_key in self._answers
                else next((k for k in keys[row["id"]] if k in self._answers), own_key)
            )
            reasons = (f"wrong with {row['wrong']:.0%}", *row["reasons"])
            yield ReviewItem(key, row["id"], row["text"], SUSPECTED, row["answer"], reasons, row["suggested"])

    def _near(self) -> Iterator[ReviewItem]:
        """Yield documents near a limit, of the newest run of the store."""
        run = RunRecords(self._place).newest()
        funnel = Funnel.from_json(run.record["result"]["funnel"])
        cuts = cuts_of(run.record["recipe"], funnel)
        found = list(near_limits(Standing(run, run.shards()), funnel, cuts, NEAR_DOCUMENTS))
        keys = content_ids(pa.array([document.text for document in found], pa.large_string())).to_pylist()
        for key, document in zip(keys, found, strict=True):
            limits = [f"{cut.column} {cut.sign} {cut.written}" for cut in cuts if cut.rule == document.rule]
            reasons = (
                *([document.why] if document.why else []),
                f"the rule drops {' or '.join(limits)}",
                document.source,
            )
            yield ReviewItem(key, document.id, document.text, NEAR, f"{document.rule}: {document.title}", reasons)


@dataclass(frozen=True)
class AnswerKey:
    """An answer of a task, and the key of the keyboard that gives it."""

    key: str
    answer: str
    definition: str


def answer_keys(answer: Any) -> list[AnswerKey]:
    """Return the answers of a task by key: numbers of one digit by themselves, labels by 1 to 9, or else by letters.

    Of JSON by a schema there are none.
    """
    if isinstance(answer, Free):
        return []
    if isinstance(answer, Scale):
        low, high = answer.scale
        labels = {str(number): "" for number in range(low, high + 1)}
        if low >= 0 and high <= 9:
            return [AnswerKey(label, label, "") for label in labels]
    else:
        labels = answer.choice if isinstance(answer, Choice) else answer.multi
    names = "123456789" if len(labels) <= 9 else "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [AnswerKey(key, label, text) for key, (label, text) in zip(names, labels.items(), strict=False)]


def answer_kind(answer: Any) -> str:
    """Return the way in which an answer is given: `one` key, `several` keys, or `json`."""
    return "several" if isinstance(answer, Multi) else "json" if isinstance(answer, Free) else "one"

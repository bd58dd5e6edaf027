"""Examples for the page on a labelling task: texts with each answer by chance, and those that annotators differ on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.operators.columns import CONTENT_ID, ID, SOURCE
from gristmill.operators.errors import GristmillError
from gristmill.pipelines.html.examples import shortened
from gristmill.pipelines.label.answered_texts import texts_of
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.report.task_facts import TaskFacts

#: Answers of which examples are shown, the most frequent ones; there may be thousands.
_SHOWN_ANSWERS = 12
#: Texts that annotators differ on, for each example of an answer.
_DIFFERING = 3
_LONGEST_ANSWER = 300


def label_examples(facts: TaskFacts, store: LabelStore, n: int) -> list[dict[str, Any]]:
    """Return groups of up to n texts: `title` and `documents` (id, source, answers by annotator, excerpt).

    Chosen by content ids, which are as good as random. Texts are read where the task was put to them; one that cannot
    be read has the excerpt None, and `unreadable` says why.
    """
    if n < 1:
        return []
    groups = [(title, keys) for title, keys in _groups(facts, n) if keys]
    wanted = {key for _, keys in groups for key in keys}
    documents = _documents(facts, store, wanted)
    return [{"title": title, "documents": [documents[key] for key in keys]} for title, keys in groups]


def _groups(facts: TaskFacts, n: int) -> Iterator[tuple[str, list[bytes]]]:
    if facts.items is None:
        yield "by chance", facts.answers[CONTENT_ID].unique().slice(0, n).to_pylist()
        return
    items = facts.items.sort_by(CONTENT_ID)
    several = items.filter(pc.greater(items["votes"], 1))
    differing = several.filter(pc.less(several["agreement"], 1))
    if several.num_rows:
        ordered = differing.sort_by([("agreement", "ascending"), ("entropy", "descending"), (CONTENT_ID, "ascending")])
        yield "annotators differ most", _keys(ordered.slice(0, _DIFFERING * n))
    else:
        ordered = items.filter(pc.less(items["probability"], 1)).sort_by("probability")
        yield "least sure", _keys(ordered.slice(0, _DIFFERING * n))
    counts = {row["values"]: row["counts"] for row in pc.value_counts(items["answer"]).to_pylist()}
    for answer in sorted(counts, key=lambda answer: (-counts[answer], answer))[:_SHOWN_ANSWERS]:
        yield f"answer {answer}, by chance", _keys(items.filter(pc.equal(items["answer"], answer)).slice(0, n))


def _keys(items: pa.Table) -> list[bytes]:
    return [bytes.fromhex(key) for key in items[CONTENT_ID].to_pylist()]


def _documents(facts: TaskFacts, store: LabelStore, keys: set[bytes]) -> dict[bytes, dict[str, Any]]:
    """Return what is shown of texts, by content id."""
    of_keys = pa.array(sorted(keys), facts.answers.schema.field(CONTENT_ID).type)
    known = store.documents()
    known = known.filter(pc.is_in(known[CONTENT_ID], of_keys)).sort_by([(ID, "descending")])
    ids: dict[bytes, Mapping[str, Any]] = {row[CONTENT_ID]: row for row in known.to_pylist()}
    answers: dict[bytes, list[Mapping[str, Any]]] = defaultdict(list)
    for row in facts.answers.filter(pc.is_in(facts.answers[CONTENT_ID], of_keys)).to_pylist():
        answers[row[CONTENT_ID]].append({**row, "answer": row["answer"][:_LONGEST_ANSWER]})
    texts, why = _texts(store, sorted(keys))
    found = {}
    for key in keys:
        about = ids.get(key, {})
        text = texts.get(key)
        found[key] = {
            "id": about.get(ID) or key.hex(),
            "source": about.get(SOURCE),
            "answers": answers[key],
            "excerpt": None if text is None else shortened(text),
            "unreadable": why or "it is not where the task was put to it",
        }
    return found


def _texts(store: LabelStore, keys: Sequence[bytes]) -> tuple[Mapping[bytes, str], str]:
    try:
        return texts_of(store, keys), ""
    except (GristmillError, OSError) as error:  # files are gone, or nothing tells which they were
        return {}, str(error)

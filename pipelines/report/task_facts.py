"""Facts of a labelling task: what was asked and answered, by whom, for how much, how far annotators agree, what waits.

They are counted in the label store; no text is read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators.columns import CONTENT_ID
from gristmill.operators.errors import RecipeError
from gristmill.operators.label.answers import Multi
from gristmill.operators.label.contract import ABSTAINS
from gristmill.pipelines.label.aggregate import aggregate
from gristmill.pipelines.label.budget import NIGHT, Amount
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.store.schema import MISSING, NEEDED, REPAIR, Known
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.label.votes import NamedVotes, votes_of_task
from gristmill.pipelines.report.labels import info

#: Pairs of annotators whose answers are set against each other, those with the most texts in common.
_SHOWN_PAIRS = 6
#: Bins of how sure an annotator is, from 0 to 1.
_BINS = 20
#: Answers in quarantine that are shown.
_MOST_REJECTED = 20
_PAIR = re.compile(r"[0-9a-f]{32}:[0-9a-f]{32}")


@dataclass(frozen=True)
class Ceiling:
    """A ceiling of a task's budget, and what was spent of it."""

    name: str  #: such as `cost`, or `night.cost`
    limit: float
    spent: float


@dataclass(frozen=True)
class ComparedAnswers:
    """Answers of two annotators to the texts that both answered: `counts` (labels of the first, of the second)."""

    first: str
    second: str
    labels: Sequence[str]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class TaskFacts:
    """Everything that a label store tells of a task."""

    annotators: Sequence[Mapping[str, Any]]  #: as `gristmill labels info` has them
    documents: int  #: that runs chose, each once for each source
    texts: int  #: different ones among them, or pairs of texts
    spent: Amount
    nights: Mapping[str, Amount]  #: spent by the runs of each
    ceilings: Sequence[Ceiling]
    waiting: Mapping[str, Amount]  #: by annotator: texts without an answer, at the mean price of those with one
    mix: Mapping[str, Mapping[str, int]]  #: by annotator: texts with each label
    by_source: Mapping[str, Mapping[str, int]]  #: by source: texts with each label, of all annotators together
    sure: Mapping[str, Sequence[int]]  #: by annotator with probabilities: answers in each twentieth of 0 to 1
    agreement: Mapping[str, Any] | None  #: the report of `gristmill labels aggregate`; None without labels
    no_agreement: str  #: why there is none
    items: pa.Table | None  #: the table of `gristmill labels aggregate`
    compared: Sequence[ComparedAnswers]
    rejected: Sequence[Mapping[str, Any]]  #: answers in quarantine: annotator, reason, number; most frequent first
    some_rejected: Sequence[Mapping[str, Any]]  #: with id, annotator, error and raw answer
    answers: pa.Table  #: content_id, annotator, answer, probability: of several revisions the last


def task_facts(loaded: LoadedTask, store: str, most: int | None = None) -> TaskFacts:
    """Return the facts of a task in a store; of more than `most` answers agreement is left out.

    Raises RecipeError where the store has none of its labels, StoreDamaged where a file is not what was written.
    """
    (about,) = info(store, loaded.fingerprint)
    labels = LabelStore(store, loaded.fingerprint)
    rows, documents, spent = labels.rows(), labels.documents(), labels.spent()
    answers = _last_answers(rows)
    named, items, agreement, why = None, None, None, ""
    try:
        if most is None or answers.num_rows <= most:
            named = votes_of_task(loaded, store, strata=True)
            items, agreement = aggregate(named)
        else:
            n = answers.num_rows
            why = f"there are {n:,} answers; `gristmill report TASK`, with the file of the task, takes the time for it"
    except RecipeError as error:  # answers that are no labels, or none that is valid
        why = str(error)
    texts = _texts(documents, loaded.task.pairs)
    nights = labels.nights(spent)
    return TaskFacts(
        annotators=about["annotators"],
        documents=documents.num_rows,
        texts=len(texts),
        spent=spent,
        nights=nights,
        ceilings=_ceilings(loaded, spent, nights),
        waiting=_waiting(loaded, rows, texts, about["annotators"]),
        mix=_mix(loaded, answers),
        by_source=_by_source(loaded, items, documents),
        sure=_sure(answers),
        agreement=agreement,
        no_agreement=why,
        items=items,
        compared=[] if named is None or named.kind == "multi" else _compared(named),
        rejected=_rejected(rows),
        some_rejected=_some_rejected(rows, documents),
        answers=answers,
    )


def _texts(documents: pa.Table, pairs: bool) -> pa.Array:
    """Return the content ids of the texts that runs chose; of a task that compares those of its pairs."""
    if pairs:
        documents = documents.filter(pa.array([bool(_PAIR.fullmatch(id)) for id in documents["id"].to_pylist()]))
    return documents[CONTENT_ID].combine_chunks().unique()


def _last_answers(rows: pa.Table) -> pa.Table:
    """Return the valid answers, of several revisions of a model the last, by content id and annotator."""
    rows = rows.select([CONTENT_ID, "annotator", "answer", "probability", "created"])
    rows = rows.filter(pc.is_valid(rows["answer"]))
    rows = rows.sort_by([(CONTENT_ID, "ascending"), ("annotator", "ascending"), ("created", "descending")])
    first = np.ones(rows.num_rows, np.bool_)
    if rows.num_rows > 1:
        same = pc.and_(
            pc.equal(rows[CONTENT_ID][1:], rows[CONTENT_ID][:-1]),
            pc.equal(rows["annotator"][1:], rows["annotator"][:-1]),
        )
        first[1:] = ~np.asarray(same)
    return rows.filter(pa.array(first)).drop_columns(["created"])


def _ceilings(loaded: LoadedTask, spent: Amount, nights: Mapping[str, Amount]) -> list[Ceiling]:
    budget, found = loaded.task.budget, []
    tonight = list(nights.values())[-1] if nights else Amount()
    for prefix, ceilings, amount in (("", budget, spent), (NIGHT, budget.night, tonight)):
        for name in Amount._fields:
            if (limit := getattr(ceilings, name)) is not None:
                found.append(Ceiling(prefix + name, limit, getattr(amount, name)))
    return found


def _waiting(
    loaded: LoadedTask, rows: pa.Table, texts: pa.Array, annotators: Sequence[Mapping[str, Any]]
) -> dict[str, Amount]:
    """Return what is left to ask each annotator of the task, as far as its newest revision has not answered."""
    told = {about["annotator"]: about for about in annotators}
    found = {}
    for annotator in loaded.task.annotators:
        own = rows.filter(pc.equal(rows["annotator"], annotator.name))
        if own.num_rows:
            newest = own.take(pa.array([int(np.argmax(own["created"].cast(pa.int64()).to_numpy()))]))["revision"][0]
            own = own.filter(pc.equal(own["revision"], newest))
        states = Known([own.select(NEEDED)]).states(texts) if len(texts) else np.zeros(0)
        n = int(np.isin(states, (MISSING, REPAIR)).sum())
        about = told.get(annotator.name)
        asked = 0 if about is None else about["answers"] + about["invalid"] + about["abstained"]
        if about is None or not asked:
            found[annotator.name] = Amount(n)
        else:
            read, written = (round(n * about[name] / asked) for name in ("input_tokens", "output_tokens"))
            found[annotator.name] = Amount(n, read, written, n * about["cost"] / asked)
    return {name: amount for name, amount in found.items() if amount.documents}


def _labels(answer: str, loaded: LoadedTask) -> list[str]:
    """Return the labels that an answer, as it is stored, stands for."""
    if isinstance(loaded.task.answer, Multi):
        return json.loads(answer) or ["(none)"]
    return [answer]


def label_names(loaded: LoadedTask) -> list[str] | None:
    """Return the labels of a task in their order; None where its answers are no labels."""
    answer = loaded.task.answer
    if isinstance(answer, Multi):
        return [*answer.multi, "(none)"]
    codes: Mapping[str, str] | None = getattr(answer, "codes", None)
    return None if codes is None else [*codes.values()]


def _mix(loaded: LoadedTask, answers: pa.Table) -> dict[str, dict[str, int]]:
    names = label_names(loaded)
    if names is None:
        return {}
    found: dict[str, Counter[str]] = {}
    for row in answers.group_by(["annotator", "answer"]).aggregate([([], "count_all")]).to_pylist():
        counts = found.setdefault(row["annotator"], Counter())
        for label in _labels(row["answer"], loaded):
            counts[label] += row["count_all"]
    return {name: {label: found[name][label] for label in names} for name in sorted(found)}


def _by_source(loaded: LoadedTask, items: pa.Table | None, documents: pa.Table) -> dict[str, dict[str, int]]:
    names = label_names(loaded)
    if items is None or names is None:
        return {}
    keys = [key.hex() for key in documents[CONTENT_ID].to_pylist()]
    sources = dict(zip(reversed(keys), reversed(documents["source"].to_pylist()), strict=True))
    found: dict[str, Counter[str]] = {}
    for key, answer in zip(items[CONTENT_ID].to_pylist(), items["answer"].to_pylist(), strict=True):
        if (source := sources.get(key)) is not None:
            found.setdefault(source, Counter()).update(_labels(answer, loaded))
    return {source: {label: found[source][label] for label in names} for source in sorted(found)}


def _sure(answers: pa.Table) -> dict[str, list[int]]:
    found = {}
    for name in sorted(answers["annotator"].unique().to_pylist()):
        values = answers.filter(pc.equal(answers["annotator"], name))["probability"].drop_null().to_numpy()
        if len(values):
            bins = np.minimum((values * _BINS).astype(np.int64), _BINS - 1)
            found[name] = np.bincount(bins, minlength=_BINS).tolist()
    return found


def _compared(named: NamedVotes) -> list[ComparedAnswers]:
    """Return the answers of each two annotators side by side, for those with the most texts in common."""
    votes, k = named.votes, len(named.labels)
    present = np.unique(votes.annotators).tolist()
    given = np.full((len(present), votes.n_items), -1, np.int64)
    for row, annotator in enumerate(present):
        own = votes.annotators == annotator
        given[row, votes.items[own]] = votes.labels[own]
    found = []
    for a, b in combinations(range(len(present)), 2):
        both = (given[a] >= 0) & (given[b] >= 0)
        if n := int(both.sum()):
            counts = np.bincount(given[a][both] * k + given[b][both], minlength=k * k).reshape(k, k)
            names = (named.annotators[present[a]], named.annotators[present[b]])
            found.append((-n, ComparedAnswers(*names, named.labels, counts)))
    return [compared for _, compared in sorted(found, key=lambda pair: pair[0])[:_SHOWN_PAIRS]]


def _reason(error: str | None) -> str:
    return "no reason is stored" if error is None else error


def _rejected(rows: pa.Table) -> list[dict[str, Any]]:
    rows = rows.filter(pc.is_null(rows["answer"]))
    counted = rows.group_by(["annotator", "error"]).aggregate([([], "count_all")]).to_pylist()
    found = [
        {
            "annotator": row["annotator"],
            "reason": _reason(row["error"]),
            "abstains": (row["error"] or "").startswith(ABSTAINS),
            "answers": row["count_all"],
        }
        for row in counted
    ]
    return sorted(found, key=lambda row: (-row["answers"], row["annotator"], row["reason"]))


def _some_rejected(rows: pa.Table, documents: pa.Table) -> list[dict[str, Any]]:
    some = rows.filter(pc.is_null(rows["answer"])).slice(0, _MOST_REJECTED)
    keys = some[CONTENT_ID].to_pylist()
    here = documents.filter(pc.is_in(documents[CONTENT_ID], pa.array(keys, documents[CONTENT_ID].type)))
    ids = dict(zip(here[CONTENT_ID].to_pylist(), here["id"].to_pylist(), strict=True))
    return [
        {"id": ids.get(key) or key.hex(), "annotator": annotator, "error": _reason(error), "raw": raw}
        for key, annotator, error, raw in zip(
            keys, *(some[name].to_pylist() for name in ("annotator", "error", "raw")), strict=True
        )
    ]

"""The examples that a student learns from: a table of texts and labels, or the answers to a task with their texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.operators.columns import CONTENT_ID, ID
from gristmill.operators.errors import RecipeError
from gristmill.operators.label.aggregation.votes import UNKNOWN
from gristmill.pipelines.label.aggregate import aggregate
from gristmill.pipelines.label.answered_texts import texts_of
from gristmill.pipelines.label.store import open_stored
from gristmill.pipelines.label.store.schema import SUMMED
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.label.votes import check_fields, ordered_labels, read_table, votes_of_task
from gristmill.pipelines.readers.open_dataset import OpenDataset
from gristmill.pipelines.train.split import Examples

_NONE = "(none)"


def examples_of_table(
    path: str,
    text: str,
    label: str,
    probability: str | None = None,
    by: Sequence[str] = (),
    scale: bool = False,
    labels: Sequence[str] = (),
    gold: str | None = None,
) -> Examples:
    """Return the examples of a table: Parquet, or any format that `labels import` reads.

    A label has the probability of its field, one without it, and the others have the rest in equal parts. `labels` are
    those that there are, where they are known. `gold` is a field of labels that are right, where they are known: they
    take the place of the others. Raises RecipeError where a field is missing, a record has a text without a label, or
    a probability is none.
    """
    names = [text, label, *(name for name in (probability, gold) if name is not None), *by]
    table = read_table(path, [*dict.fromkeys(names)], label)
    return _examples_of(table, path, text, label, probability, by, scale, labels, gold)


def examples_of_dataset(
    url: str, text: str, label: str, probability: str | None = None, scale: bool = False, gold: str | None = None
) -> Examples:
    """Return the examples of a dataset: its rows with a label, as those of a table.

    Raises RecipeError as `examples_of_table` does, and where there is no such dataset or column, or it holds lists.
    """
    import pyarrow.dataset as ds

    dataset = OpenDataset(url)
    names = [name for name in (text, label, probability, gold) if name is not None]
    check_fields(url, dataset.schema.names, names)
    names += [ID] if ID in dataset.schema.names else []
    if pa.types.is_list(dataset.schema.field(label).type):
        raise RecipeError(f"{label} of {url} holds lists, of several labels each: name the TASK that gave them")
    table = dataset.arrow().to_table(columns=[*dict.fromkeys(names)], filter=ds.field(label).is_valid())
    if not table.num_rows:
        raise RecipeError(f"no document of {url} has a {label}")
    return _examples_of(table, url, text, label, probability, (), scale, (), gold)


def _examples_of(
    table: pa.Table,
    path: str,
    text: str,
    label: str,
    probability: str | None,
    by: Sequence[str],
    scale: bool,
    labels: Sequence[str],
    gold: str | None,
) -> Examples:
    """Return the examples of a table that is read already; `path` names it in messages, and in ids if it has none."""
    has_text = pc.fill_null(pc.not_equal(table[text].cast(pa.string()), ""), False)
    records = pc.indices_nonzero(has_text).to_pylist()
    table = table.take(pa.array(records, pa.int64()))
    given = [None if value is None else str(value) for value in table[label].to_pylist()]
    golds = [""] * len(given) if gold is None else [str(value or "") for value in table[gold].to_pylist()]
    given = [right or value for right, value in zip(golds, given, strict=True)]
    if None in given or "" in given:
        raise RecipeError(f"{path}: a text has no {label}; leave it out, or give it one")
    known = list(labels) or ordered_labels({*map(str, given)}, "scale" if scale else "choice", path, label)
    if unknown := sorted({*map(str, given)} - {*known}):
        raise RecipeError(f"{path}: {', '.join(unknown)} is no label of the others, which have {', '.join(known)}")
    if len(known) < 2:
        raise RecipeError(f"{path}: all texts have one {label}; a student needs two")
    places = np.array([known.index(str(value)) for value in given])
    sure = np.ones(len(places))
    if probability is not None:
        try:
            sure = np.array([1.0 if value in (None, "") else float(value) for value in table[probability].to_pylist()])
        except (TypeError, ValueError) as error:
            raise RecipeError(f"{path}: a {probability} is no number: {error}") from None
        if not ((sure >= 0) & (sure <= 1)).all():
            raise RecipeError(f"{path}: a {probability} is not from 0 to 1")
    is_gold = np.array([right != "" for right in golds], np.bool_)
    sure[is_gold] = 1.0
    targets = np.repeat(((1 - sure) / (len(known) - 1))[:, None], len(known), axis=1)
    targets[np.arange(len(places)), places] = sure
    strata = {name: [_NONE if value is None else str(value) for value in table[name].to_pylist()] for name in by}
    named = table[ID].to_pylist() if ID in table.column_names else [None] * len(records)
    ids = [f"{path}:{record}" if id is None else str(id) for record, id in zip(records, named, strict=True)]
    texts = table[text].cast(pa.large_string()).combine_chunks()
    return Examples("scale" if scale else "choice", tuple(known), ids, texts, targets, strata, is_gold)


def examples_of_task(
    loaded: LoadedTask,
    store: str,
    method: str,
    gold: str | None = None,
    inputs: Sequence[str] = (),
    texts: Mapping[bytes, str] | None = None,
) -> Examples:
    """Return the examples of a task: its aggregated answers, with the texts from where they lie, by their source.

    `texts` are those by content id, where they are at hand; others are left out. Raises RecipeError where the task has
    no labels, or none of the texts is found.
    """
    named = votes_of_task(loaded, store, gold, strata=True)
    table, told = aggregate(named, method)
    opened = open_stored(store, loaded.fingerprint)
    keys = [bytes.fromhex(key) for key in table[CONTENT_ID].to_pylist()]
    texts = texts_of(opened, keys, inputs) if texts is None else texts
    found = [i for i, key in enumerate(keys) if texts.get(key)]
    if not found:
        raise RecipeError(f"no text of {loaded.name} is found; name the files with --input GLOB")
    labels = list(dict.fromkeys(named.item_labels)) or list(named.labels)
    shares = table["probabilities"].to_pylist()
    targets = np.array([[dict(shares[i])[label] for label in labels] for i in found], np.float64)
    if named.kind != "multi":
        targets /= targets.sum(axis=1, keepdims=True)
    documents, rows = opened.documents(), opened.rows(columns=("answer", *SUMMED))
    sources = dict(zip(documents[CONTENT_ID].to_pylist(), documents["source"].to_pylist(), strict=True))
    ids: list[Any] = table["id"].to_pylist()
    known = (named.votes.gold != UNKNOWN).reshape(len(keys), -1).all(axis=1)
    return Examples(
        named.kind,
        tuple(labels),
        [ids[i] or keys[i].hex() for i in found],
        pa.array([texts[keys[i]] for i in found], pa.large_string()),
        targets,
        {"source": [sources.get(keys[i]) or _NONE for i in found]},
        known[found],
        _about(rows, len(keys), told["gold"]),
        _notes(rows, [keys[i] for i in found]),
    )


def _notes(rows: pa.Table, keys: Sequence[bytes]) -> list[str]:
    """Return for each content id who gave which answer."""
    given: dict[bytes, dict[str, str]] = {}
    for key, name, answer in zip(
        *(rows[column].to_pylist() for column in (CONTENT_ID, "annotator", "answer")), strict=True
    ):
        if answer is not None:
            given.setdefault(key, {})[name] = answer
    return ["; ".join(f"{name} {answer}" for name, answer in sorted(given.get(key, {}).items())) for key in keys]


def _about(paid: pa.Table, texts: int, beside_gold: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the labels cost for a thousand texts, and how often they are right by gold, which they do not see."""
    per_1000 = {f"label_{name}_per_1000": 1000 * float(pc.sum(paid[name]).as_py() or 0) / texts for name in SUMMED}
    return per_1000 if beside_gold is None else {**per_1000, "labels_right_by_gold": beside_gold["accuracy"]}

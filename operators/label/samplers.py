"""The choice of documents to label, a function of the seed, the texts and the columns it goes by.

Texts are numbered in the order of a hash of seed and content id. Every method gives each text a priority; those with
the smallest are chosen, of equal ones the first in that order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators.columns import ID
from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.buffers import id_words
from gristmill.operators.kernels.noise import uniform
from gristmill.operators.label.clusters import cluster
from gristmill.operators.label.task import Sample
from gristmill.operators.runs import is_first

KEY = "key"


class SampledTexts(NamedTuple):
    """The m different texts among n documents, in random order."""

    rows: NDArray[np.int64]  #: (n) rows of the documents, text by text
    starts: NDArray[np.int64]  #: (m) where in `rows` those of each text begin

    def rows_of(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which documents (n) have one of the chosen texts (m)."""
        documents = np.empty(len(self.rows), np.bool_)
        documents[self.rows] = np.repeat(chosen, np.diff(self.starts, append=len(self.rows)))
        return documents


def choose(
    sample: Sample, documents: pa.Table, vectors: NDArray[np.float32] | None = None, ids: set[str] | None = None
) -> NDArray[np.bool_]:
    """Return which of n documents are in the sample, bool (n). No choice depends on the order of rows.

    documents: columns `key` (content id, binary(16)), `id` (string) and `sample.columns_needed()`. vectors: float32
    (n, d), each of length 1 or zero (`ngram_vectors`), where the sample needs them. ids: those in the file that the
    sample imports; all documents with the text of one are chosen. Raises RecipeError where a column is missing or
    `score` is no number, and where none of the ids is that of a document.
    """
    _check_columns(sample, documents)
    if documents.num_rows == 0:
        return np.zeros(0, np.bool_)
    texts = distinct_texts(sample.seed, documents[KEY])
    priority = _priority(sample, documents, texts, vectors, ids)
    return texts.rows_of(smallest(priority, len(priority) if sample.documents is None else sample.documents))


def distinct_texts(seed: int, keys: pa.ChunkedArray) -> SampledTexts:
    """Return the texts of n > 0 documents by content id (binary(16)), in the order of a hash of seed and content id."""
    words = id_words(keys)
    noise = uniform(np.uint64(seed), words)
    rows = np.argsort(noise)
    new = _differ_from_row_before(words, rows)
    if (new[1:] & (noise[rows[1:]] == noise[rows[:-1]])).any():  # two texts with one hash: their ids decide
        rows = np.lexsort((words[:, 1], words[:, 0], noise))
        new = _differ_from_row_before(words, rows)
    return SampledTexts(rows, np.flatnonzero(new))


def smallest(priority: NDArray[np.float64], documents: int) -> NDArray[np.bool_]:
    """Return a mask (m) of the `documents` smallest priorities, the first of equal ones; NaN is never chosen."""
    documents = min(documents, int(np.count_nonzero(~np.isnan(priority))))
    if documents == 0:
        return np.zeros(len(priority), np.bool_)
    last = np.partition(priority, documents - 1)[documents - 1]
    mask: NDArray[np.bool_] = priority < last
    ties = np.flatnonzero(priority == last)
    mask[ties[: documents - np.count_nonzero(mask)]] = True
    return mask


def position_in_group(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many of the same group (m, numbers from 0) stand before each."""
    # NumPy sorts 16-bit numbers by radix, several times faster than wider ones.
    order = np.argsort(groups.astype(np.min_scalar_type(groups.max())), kind="stable")
    sizes = np.bincount(groups)
    positions = np.empty(len(groups), np.int64)
    positions[order] = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return positions


def _differ_from_row_before(words: NDArray[np.uint64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    first, second = words[rows, 0], words[rows, 1]
    return is_first(first) | is_first(second)


def _priority(
    sample: Sample,
    documents: pa.Table,
    texts: SampledTexts,
    vectors: NDArray[np.float32] | None,
    ids: set[str] | None,
) -> NDArray[np.float64]:
    """Return what texts (m) are chosen by, the smallest first; NaN for those that never are."""
    if sample.import_ is not None:
        return np.fmin.reduceat(_imported(sample.import_, documents, ids)[texts.rows], texts.starts)
    if sample.score is not None:
        return np.fmin.reduceat(_distance(sample, documents[sample.score])[texts.rows], texts.starts)
    if sample.by == "stratified":
        # A text with several values belongs to the least: any rule would do that does not go by the order of rows.
        return _turn(np.minimum.reduceat(_strata(sample, documents)[texts.rows], texts.starts), sample.shares)
    if sample.by == "cluster":
        if vectors is None:
            raise ValueError("a sample by cluster needs the vectors of the texts")
        # A cluster beyond the number of turns would get none. In a cluster texts come in random order: those nearest
        # to its centre would be much the same.
        clusters = min(sample.clusters, sample.documents or sample.clusters)
        return _turn(cluster(vectors, texts.rows[texts.starts], clusters, sample.seed), "equal")
    return np.zeros(len(texts.starts))


def _turn(groups: NDArray[np.int64], shares: str) -> NDArray[np.float64]:
    """Return the turn of each text (m), where groups (m) take turns: equally often, or by their size.

    Taken in this order, any number of texts is shared equally as far as there are texts, or apportioned by Webster's
    method: the k-th text of a group of size s, counted from 0, has the quotient (k + 1/2) / s.
    """
    positions = position_in_group(groups)
    return positions.astype(np.float64) if shares == "equal" else (positions + 0.5) / np.bincount(groups)[groups]


def _imported(file: str, documents: pa.Table, ids: set[str] | None) -> NDArray[np.float64]:
    """Return 0 for documents (n) that are listed, NaN for the others."""
    if ids is None:
        raise ValueError("a sample by import needs the ids")
    listed = pc.is_in(documents[ID], value_set=pa.array(sorted(ids), documents[ID].type)).to_numpy()
    if not listed.any():
        lists = f"such as {min(ids)!r}" if ids else "it is empty"
        raise RecipeError(
            f"sample: import: {file} has {len(ids)} ids ({lists}), and none is that of one of {documents.num_rows} "
            f"documents (such as {documents[ID][0].as_py()!r}); list ids as the dataset has them, one on each line"
        )
    return np.where(listed, 0.0, np.nan)


def _distance(sample: Sample, scores: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return how far documents (n) are from what is looked for; NaN without a score."""
    values = np.asarray(pc.fill_null(scores.cast(pa.float64(), safe=False), float("nan")))
    if sample.threshold is not None:
        return np.abs(values - sample.threshold)
    return values if sample.ascending else -values


def _strata(sample: Sample, documents: pa.Table) -> NDArray[np.int64]:
    """Return the stratum (n) of each document: numbers from 0 in the order of the columns' values, nulls last."""
    first, *others = [_ordinals(documents[name]) for name in sample.columns]
    strata = first
    for values in others:
        strata = np.unique(strata * (values.max() + 1) + values, return_inverse=True)[1]
    return strata


def _ordinals(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the position (n) of each value among the column's different values in their order; null comes last."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    encoded = column.combine_chunks().dictionary_encode()
    ranks = np.asarray(pc.rank(encoded.dictionary, tiebreaker="dense")).astype(np.int64) - 1
    ordinals: NDArray[np.int64] = np.append(ranks, len(ranks))[np.asarray(pc.fill_null(encoded.indices, len(ranks)))]
    return ordinals


def _check_columns(sample: Sample, documents: pa.Table) -> None:
    goes_by = f"sample: by: {sample.by} goes by"
    missing = sorted(sample.columns_needed() - set(documents.column_names))
    if missing:
        names = ", ".join(sorted(set(documents.column_names) - {KEY})) or "none"
        raise RecipeError(f"{goes_by} {', '.join(missing)}; the documents have {names}")
    for name in sample.columns_needed():
        kind = documents.schema.field(name).type
        if pa.types.is_nested(kind):
            raise RecipeError(f"{goes_by} `{name}`; that column holds {kind}, name one of single values")
        if name == sample.score and not _is_numeric(kind):
            raise RecipeError(f"{goes_by} the numbers in `{name}`; that column holds {kind}, name a numeric one")


def _is_numeric(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(test(kind) for test in tests)

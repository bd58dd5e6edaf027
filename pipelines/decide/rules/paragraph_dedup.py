"""Repeated paragraphs over all shards: document frequencies, key range by key range, and what each document loses.

A shard sends one row for each of its distinct paragraphs, with the number of its documents that have it, and gets one
back for each that is repeated in the corpus: how many of its documents may keep it. So the rows of a partition are
bounded by the distinct paragraphs of the shards, however frequent a paragraph is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.arrays import partition_of
from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.paragraphs import UNCOUNTED
from gristmill.operators.rules.paragraph_dedup import POSITIONS, ParagraphDedup
from gristmill.operators.runs import is_first
from gristmill.pipelines.decide.contract import Corpus, Executor, Resolved, Tally, Verdict
from gristmill.pipelines.decide.earlier import NewKeys, without_columns
from gristmill.pipelines.decide.rules.checks import check_known
from gristmill.pipelines.decide.shards import SurvivingShard, addresses_of, losses
from gristmill.pipelines.engine.base import run_all
from gristmill.pipelines.exchange.shuffle import Exchange, partitions_for, shard_of
from gristmill.pipelines.storage import files

MOST_FREQUENT = 10  # paragraphs that the report names
FREQUENCIES = pa.schema(
    [
        ("key", pa.uint64()),  # hash of a paragraph
        ("first", pa.uint64()),  # smallest address in the shard of a document that has it
        ("documents", pa.uint32()),  # of the shard that have it
    ]
)
ALLOWANCES = pa.schema([("key", pa.uint64()), ("documents", pa.uint32())])  # first documents of the shard to keep it


@dataclass(frozen=True)
class Frequent:
    """A repeated paragraph, by the first document that has it."""

    documents: int
    address: int


@dataclass(frozen=True)
class RepeatedParagraphs:
    """The repeated paragraphs of a partition, or of all."""

    paragraphs: int = 0
    most_frequent: tuple[Frequent, ...] = ()

    def __add__(self, other: RepeatedParagraphs) -> RepeatedParagraphs:
        ranking = sorted([*self.most_frequent, *other.most_frequent], key=lambda one: (-one.documents, one.address))
        return RepeatedParagraphs(self.paragraphs + other.paragraphs, tuple(ranking[:MOST_FREQUENT]))


@dataclass(frozen=True)
class Occurrences:
    """Paragraphs of a shard's documents (m), in the order of the documents and within each."""

    keys: NDArray[np.uint64]
    rows: NDArray[np.int64]  #: of the documents that have them
    positions: NDArray[np.int64]  #: within the document

    @classmethod
    def of(cls, hashes: pa.ListArray) -> Occurrences:
        """Return all paragraphs of documents (n lists)."""
        rows = np.asarray(pc.list_parent_indices(hashes)).astype(np.int64)
        bounds = _bounds(np.bincount(rows, minlength=len(hashes)))
        return cls(np.asarray(pc.list_flatten(hashes)), rows, np.arange(len(rows)) - bounds[rows])

    def take(self, some: NDArray[Any]) -> Occurrences:
        """Return some of the occurrences, by mask or by position."""
        return Occurrences(self.keys[some], self.rows[some], self.positions[some])


@dataclass(frozen=True)
class ResolvedParagraphDedup:
    """Repeated paragraphs, found."""

    rule: ParagraphDedup
    gives: pa.Schema
    ordinals: NDArray[np.int64]  #: of the shards, ascending
    allowances: Exchange  #: ALLOWANCES, from the partitions to the shards
    partitions: int
    repeated: RepeatedParagraphs
    unseen: Mapping[str, Any] = field(default_factory=dict)  #: shards of earlier nights without the columns

    @property
    def reads(self) -> Sequence[str]:
        """Return the columns that the rule reads."""
        return sorted(self.rule.reads())

    def judge(self, ordinal: int, documents: pa.Table) -> Verdict:
        """Return the verdict on a shard's documents: those left empty, and the pieces that each one loses."""
        n, measure = documents.num_rows, self.rule.measure
        hashes = documents[measure.hashes].combine_chunks()
        lengths = np.asarray(pc.list_flatten(documents[measure.lengths].combine_chunks()))
        occurrences = Occurrences.of(hashes)
        allowances = self.allowances.receive(range(self.partitions), int(np.searchsorted(self.ordinals, ordinal)))
        gone = _beyond(occurrences, allowances.sort_by("key"))
        rows = occurrences.rows[gone]
        removed_counts = np.bincount(rows, minlength=n)
        bounds = _bounds(removed_counts)
        positions = pa.array(occurrences.positions[gone], pa.uint32())
        removed_bytes = np.diff(_bounds(lengths[gone])[bounds])
        arrays = [pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), positions), removed_counts, removed_bytes]
        schema = pa.schema([field.remove_metadata() for field in self.gives])
        table = pa.table([pa.array(column, type) for column, type in zip(arrays, schema.types, strict=True)], schema)
        empty = np.flatnonzero((removed_counts > 0) & (removed_counts == np.bincount(occurrences.rows, minlength=n)))
        condition = pa.repeat(pa.scalar(f"no {self.rule.by} is left"), len(empty))
        return Verdict(losses(empty, condition, pa.array(removed_counts[empty], pa.float64())), columns=table)

    def details(self, tally: Tally) -> dict[str, Any]:
        """Return the limit, the number of repeated paragraphs, and the most frequent of them."""
        frequent = [
            {"documents": paragraph.documents, "address": paragraph.address}
            for paragraph in self.repeated.most_frequent
        ]
        return {
            "by": self.rule.by,
            "limit": self.rule.limit,
            "repeated": self.repeated.paragraphs,
            "most_frequent": frequent,
            **self.unseen,
        }


def _check(rule: ParagraphDedup, schema: pa.Schema) -> None:
    check_known(sorted(rule.reads()), schema, " in paragraph_dedup")
    for needed in rule.measure.gives():
        if schema.field(needed.name).type != needed.type:
            column_type = schema.field(needed.name).type
            raise RecipeError(f"paragraph_dedup needs {needed.type} in {needed.name}, not {column_type}")
    if POSITIONS in schema.types:
        raise RecipeError(
            "a recipe has one paragraph_dedup: what it measured is not the text that the first one leaves; "
            "write a second recipe whose source is the first one's dataset"
        )


def _resolve(rule: ParagraphDedup, corpus: Corpus) -> Resolved:
    """Count the documents that have each paragraph, and send the shards the repeated ones."""
    shards = corpus.survivors.shards
    ordinals = np.array(sorted(shard.ordinal for shard in shards), np.int64)
    count = sum(run_all(corpus.engine, partial(_count_pieces, rule), shards))
    partitions = partitions_for(count)
    frequencies = Exchange(files.join(corpus.folder, "frequencies"), partitions, FREQUENCIES)
    allowances = Exchange(files.join(corpus.folder, "allowances"), len(ordinals), ALLOWANCES)
    sum(run_all(corpus.engine, partial(_send, rule, frequencies, None), shards))
    frequencies = frequencies.merged(ordinals.tolist(), corpus.engine)
    earlier = () if corpus.history is None else corpus.history.earlier
    back = [SurvivingShard(shard) for shard in earlier if shard.has([rule.measure.hashes])]
    held = np.array(sorted(shard.ordinal for shard in back), np.int64)
    if back:
        url = files.join(corpus.folder, "new.arrow")
        new = NewKeys.of(frequencies, "key", ordinals.tolist(), corpus.engine, url)
        sum(run_all(corpus.engine, partial(_send, rule, frequencies, new), back))
        frequencies = frequencies.merged(held.tolist(), corpus.engine)
    settle = partial(_settle, rule, ordinals, held, frequencies, allowances)
    repeated = sum(run_all(corpus.engine, settle, range(partitions)), RepeatedParagraphs())
    frequencies.remove()
    allowances = allowances.merged(range(partitions), corpus.engine)
    unseen = without_columns(earlier, [rule.measure.hashes])
    return ResolvedParagraphDedup(rule, rule.gives(corpus.name), ordinals, allowances, partitions, repeated, unseen)


PARAGRAPH_DEDUP = Executor(_check, _resolve, looks_back=lambda rule: True)


def _count_pieces(rule: ParagraphDedup, shard: SurvivingShard) -> int:
    """Return the number of paragraphs of a shard's documents."""
    return int(pc.sum(pc.list_value_length(shard.read([rule.measure.hashes])[rule.measure.hashes])).as_py() or 0)


def _send(rule: ParagraphDedup, frequencies: Exchange, new: NewKeys | None, shard: SurvivingShard) -> int:
    """Send the distinct paragraphs of a shard to their partitions; return their number.

    Of a shard of an earlier night those that documents of this one have: `new`.
    """
    documents = shard.read([rule.measure.hashes])
    occurrences = Occurrences.of(documents[rule.measure.hashes].combine_chunks())
    counted = occurrences.keys != UNCOUNTED
    paragraphs = occurrences.take(counted if new is None else counted & new.among(occurrences.keys))
    in_order = paragraphs.take(np.argsort(paragraphs.keys, kind="stable"))
    once = in_order.take(is_first(in_order.keys) | is_first(in_order.rows))  # a document counts once
    firsts = np.flatnonzero(is_first(once.keys))
    keys, addresses = once.keys[firsts], addresses_of(documents)[once.rows[firsts]]
    counts = np.diff(np.append(firsts, len(once.keys)))
    table = pa.table([pa.array(keys), pa.array(addresses), pa.array(counts, pa.uint32())], schema=FREQUENCIES)
    frequencies.send(shard.ordinal, table, partition_of(keys, frequencies.partitions))
    return len(keys)


def _settle(
    rule: ParagraphDedup,
    ordinals: NDArray[np.int64],
    held: NDArray[np.int64],
    frequencies: Exchange,
    allowances: Exchange,
    partition: int,
) -> RepeatedParagraphs:
    """Find the repeated paragraphs of a key range, and send the shards how many of their documents keep each.

    The documents of earlier nights, whose shards are `held`, come first, and keep what they have.
    """
    table = frequencies.receive([*held.tolist(), *ordinals.tolist()], partition)
    order = np.argsort(np.asarray(table["key"]), kind="stable")  # within a key, shards stay in their order
    keys, first = np.asarray(table["key"])[order], np.asarray(table["first"])[order]
    documents = np.asarray(table["documents"])[order].astype(np.int64)
    starts = np.flatnonzero(is_first(keys))
    sizes = np.diff(np.append(starts, len(keys)))
    before = _bounds(documents)
    totals = before[starts + sizes] - before[starts]
    in_earlier_shards = before[:-1] - np.repeat(before[starts], sizes)
    allowed = np.clip(rule.spared - in_earlier_shards, 0, documents)
    is_new = ~np.isin(first >> np.uint64(columns.ROW_BITS), held.astype(np.uint64))
    mask = np.repeat(totals > rule.limit, sizes) & is_new
    reply = pa.table([pa.array(keys[mask]), pa.array(allowed[mask], pa.uint32())], schema=ALLOWANCES)
    allowances.send(partition, reply, shard_of(ordinals, first[mask]))
    repeated = np.flatnonzero(totals > rule.limit)
    top = repeated[np.lexsort((first[starts[repeated]], -totals[repeated]))][:MOST_FREQUENT]
    return RepeatedParagraphs(len(repeated), tuple(Frequent(int(totals[i]), int(first[starts[i]])) for i in top))


def _beyond(occurrences: Occurrences, allowances: pa.Table) -> NDArray[np.int64]:
    """Return the occurrences (ascending) in documents beyond those that may keep the paragraph.

    `allowances` are sorted by key.
    """
    keys, allowed = (np.asarray(allowances[name]) for name in ALLOWANCES.names)
    if not len(keys):
        return np.zeros(0, np.int64)
    at = np.minimum(np.searchsorted(keys, occurrences.keys), len(keys) - 1)
    repeated = np.flatnonzero(keys[at] == occurrences.keys)
    order = repeated[np.argsort(at[repeated], kind="stable")]
    candidates, allowance = occurrences.take(order), allowed[at[order]]
    new_key = is_first(candidates.keys)
    nth_document = np.cumsum(new_key | is_first(candidates.rows))
    ranks = nth_document - nth_document[new_key][np.cumsum(new_key) - 1]
    return np.sort(order[ranks >= allowance])


def _bounds(sizes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the positions at which runs of these sizes (n) start, and the end (n + 1)."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

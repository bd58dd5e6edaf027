"""Exact duplicates over all shards: winners within each shard, then among the shards' winners, key range by key range.

A document that loses within its shard needs no exchange: it follows its shard's winner. So however large a group of
copies, a partition holds at most one row of it from each shard. What an earlier night kept wins over all that is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.arrays import partition_of
from gristmill.operators.errors import RecipeError
from gristmill.operators.rules.copies import Candidates, group_copies
from gristmill.operators.rules.exact_dedup import ExactDedup, hash_columns, is_comparable
from gristmill.pipelines.decide.contract import Corpus, Executor, Resolved, Tally, Verdict
from gristmill.pipelines.decide.earlier import EarlierShard, NewKeys, without_columns
from gristmill.pipelines.decide.rules.checks import check_known, check_rank
from gristmill.pipelines.decide.shards import ShardColumns, SurvivingShard, Survivors, addresses_of, losses
from gristmill.pipelines.engine.base import Engine, run_all
from gristmill.pipelines.exchange import shuffle_files
from gristmill.pipelines.exchange.shuffle import Exchange, partitions_for
from gristmill.pipelines.storage import files

EXAMPLES = 3  # groups that the report names
WINNERS = pa.schema(
    [
        ("key_low", pa.uint64()),
        ("key_high", pa.uint64()),
        ("unranked", pa.bool_()),
        ("rank", pa.uint64()),
        ("address", pa.uint64()),
        ("copies", pa.uint32()),  # in its shard, itself included
        ("earlier", pa.bool_()),  # whether an earlier night kept it
    ]
)
LOSERS = pa.schema([("address", pa.uint64()), ("survivor", pa.uint64())])


@dataclass(frozen=True)
class CopyGroup:
    """Documents that are equal."""

    survivor: int  #: address
    copies: int  #: the survivor included


@dataclass(frozen=True)
class Duplicates:
    """The losers and the documents that they lose to, written down by shard."""

    ordinals: NDArray[np.int64]  #: of the shards, ascending
    local: str  #: folder of what each shard settled by itself
    distant: Exchange  #: winners of a shard that lose to another shard's, from the partitions to the shards
    partitions: int
    groups: int  #: of two copies or more
    dropped: int  #: documents that lose
    largest: tuple[CopyGroup, ...]  #: a few, largest first

    def lost(self, ordinal: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the addresses (m, ascending) of a shard's losers, and of the documents that they lose to."""
        local = shuffle_files.read_table(_local_file(self.local, ordinal))
        distant = self.distant.receive(range(self.partitions), int(np.searchsorted(self.ordinals, ordinal)))
        distant = distant.sort_by("address")
        followed = np.asarray(distant["address"]), np.asarray(distant["survivor"])
        survivors = _follow(np.asarray(local["survivor"]), *followed)
        addresses = np.concatenate([np.asarray(local["address"]), followed[0]])
        order = np.argsort(addresses)
        return addresses[order], np.concatenate([survivors, followed[1]])[order]


@dataclass(frozen=True)
class ResolvedDedup:
    """Exact duplicates, found."""

    duplicates: Duplicates
    reads: Sequence[str] = ()
    unseen: Mapping[str, Any] = field(default_factory=dict)  #: shards of earlier nights without the columns

    def judge(self, ordinal: int, documents: pa.Table) -> Verdict:
        """Return the verdict on a shard's documents: its losers, with their survivors."""
        addresses, survivors = self.duplicates.lost(ordinal)
        rows = np.searchsorted(addresses_of(documents), addresses)
        return Verdict(losses(rows, survivor=pa.array(survivors)))

    def details(self, tally: Tally) -> dict[str, Any]:
        """Return the number of groups of copies, and the largest of them."""
        largest = [{"survivor": group.survivor, "copies": group.copies} for group in self.duplicates.largest]
        return {"groups": self.duplicates.groups, "largest_groups": largest, **self.unseen}


def _check(rule: ExactDedup, schema: pa.Schema) -> None:
    check_known(sorted(rule.reads()), schema, " in exact_dedup")
    for name in rule.key_columns:
        if not is_comparable(schema.field(name).type):
            raise RecipeError(
                f"exact_dedup compares text, bytes, numbers and dates; {name} is {schema.field(name).type}"
            )
    check_rank(rule.rank_column, schema, "exact_dedup")


def _resolve(rule: ExactDedup, corpus: Corpus) -> Resolved:
    earlier = () if corpus.history is None else corpus.history.earlier
    found = find_duplicates(rule, corpus.survivors, corpus.engine, corpus.folder, earlier)
    return ResolvedDedup(found, unseen=without_columns(earlier, rule.key_columns))


EXACT_DEDUP = Executor(_check, _resolve, looks_back=lambda rule: True)


def find_duplicates(
    rule: ExactDedup, survivors: Survivors, engine: Engine, folder: str, earlier: Sequence[EarlierShard] = ()
) -> Duplicates:
    """Find the losers among all shards' documents, and what they lose to, earlier nights included.

    Files go to `folder`.
    """
    partitions = partitions_for(survivors.documents, len(survivors.shards))
    ordinals = np.array(sorted(shard.ordinal for shard in survivors.shards), np.int64)
    local = files.join(folder, "local")
    winners = Exchange(files.join(folder, "winners"), partitions, WINNERS)
    losers = Exchange(files.join(folder, "losers"), len(ordinals), LOSERS)
    send = partial(_settle_shard, rule, local, winners)
    dropped = sum(run_all(engine, send, survivors.shards))
    winners = winners.merged(ordinals.tolist(), engine)
    held = np.array(sorted(shard.ordinal for shard in earlier if shard.has(rule.key_columns)), np.int64)
    if len(held):
        new = NewKeys.of(winners, "key_low", ordinals.tolist(), engine, files.join(folder, "new.arrow"))
        back = [SurvivingShard(shard) for shard in earlier if shard.has(rule.key_columns)]
        sum(run_all(engine, partial(_send_earlier, rule, winners, new), back))
        winners = winners.merged(held.tolist(), engine)
    groups = 0
    largest: list[CopyGroup] = []
    resolve = partial(_settle_partition, ordinals, held, winners, losers)
    for lost, count, examples in run_all(engine, resolve, range(partitions)):
        dropped, groups, largest = dropped + lost, groups + count, [*largest, *examples]
    losers = losers.merged(range(partitions), engine)
    return Duplicates(ordinals, local, losers, partitions, groups, dropped, _largest(largest))


class RepeatedValues(TypedDict):
    """Counts of the values of a column that occur again."""

    documents: int  #: with a value that an earlier document has
    values: int  #: that occur more than once
    examples: list[Any]  #: the most frequent values


def count_duplicates(shards: Sequence[ShardColumns], column: str, engine: Engine, folder: str) -> RepeatedValues:
    """Count the values of a column (ids, say) that occur more than once; nulls do not count. Scratch is in `folder`."""
    survivors = Survivors([SurvivingShard(shard) for shard in shards], sum(shard.rows for shard in shards))
    with shuffle_files.scratch_folder(folder, "duplicates", engine) as own:
        duplicates = find_duplicates(ExactDedup(by=column), survivors, engine, own)
    by_ordinal = {shard.ordinal: shard for shard in survivors.shards}
    examples = []
    for group in duplicates.largest:
        documents = by_ordinal[group.survivor >> columns.ROW_BITS].read([column])
        at = int(np.searchsorted(addresses_of(documents), np.uint64(group.survivor)))
        examples.append(documents[column][at].as_py())
    return {"documents": duplicates.dropped, "values": duplicates.groups, "examples": examples}


def _settle_shard(rule: ExactDedup, local: str, winners: Exchange, shard: SurvivingShard) -> int:
    """Settle the copies within a shard and send the documents that no other beats; return the number of losers."""
    documents = shard.read(sorted(rule.reads()))
    candidates = rule.candidates(documents, addresses_of(documents))
    rows, starts = group_copies(candidates)
    firsts, sizes = rows[starts[:-1]], np.diff(starts)
    lost = np.delete(rows, starts[:-1])
    lost_to = np.repeat(firsts, sizes - 1)
    shuffle_files.write_table(_local_file(local, shard.ordinal), _losers(candidates.addresses, lost, lost_to))
    copies = np.ones(len(candidates.addresses), np.uint32)
    copies[firsts] = sizes
    winner_rows = np.delete(np.arange(len(copies)), lost)
    best = candidates.take(winner_rows)
    _send(winners, shard.ordinal, best, copies[winner_rows], earlier=False)
    return len(lost)


def _send_earlier(rule: ExactDedup, winners: Exchange, new: NewKeys, shard: SurvivingShard) -> int:
    """Send the documents of a shard of an earlier night whose keys new documents have; return their number."""
    documents = shard.read(sorted(rule.key_columns))
    keys, keyed = hash_columns([documents[name] for name in rule.key_columns])
    rows = np.flatnonzero(keyed & new.among(np.ascontiguousarray(keys[:, 0])))
    n = len(rows)
    held = Candidates(keys[rows], np.zeros(n, np.bool_), np.zeros(n, np.uint64), addresses_of(documents)[rows])
    _send(winners, shard.ordinal, held, np.ones(n, np.uint32), earlier=True)
    return n


def _send(winners: Exchange, ordinal: int, best: Candidates, copies: NDArray[np.uint32], earlier: bool) -> None:
    arrays = [best.keys[:, 0], best.keys[:, 1], best.unranked, best.ranks, best.addresses, copies]
    columns_of = [*(pa.array(column) for column in arrays), pa.repeat(pa.scalar(earlier), len(copies))]
    winners.send(ordinal, pa.table(columns_of, schema=WINNERS), partition_of(best.keys[:, 0], winners.partitions))


def _settle_partition(
    ordinals: NDArray[np.int64], held: NDArray[np.int64], winners: Exchange, losers: Exchange, partition: int
) -> tuple[int, int, list[CopyGroup]]:
    """Settle the copies of one key range; return the number of losers here, that of groups, and the largest groups.

    `held` are the shards of earlier nights. What they have loses to nothing.
    """
    table = winners.receive([*ordinals.tolist(), *held.tolist()], partition)
    keys = np.column_stack([np.asarray(table["key_low"]), np.asarray(table["key_high"])])
    addresses, copies = np.asarray(table["address"]), np.asarray(table["copies"]).astype(np.int64)
    earlier = np.asarray(table["earlier"])
    ranked = Candidates(keys, np.asarray(table["unranked"]), np.asarray(table["rank"]), addresses)
    rows, starts = group_copies(ranked, contested=~earlier)
    firsts = rows[starts[:-1]]
    lost = np.delete(rows, starts[:-1])
    copies[firsts] = np.add.reduceat(copies[rows], starts[:-1]) if len(firsts) else 0
    copies[lost] = 0
    lost_to = np.repeat(firsts, np.diff(starts) - 1)
    lost, lost_to = lost[~earlier[lost]], lost_to[~earlier[lost]]
    copies[firsts[~np.isin(firsts, lost_to)]] = 1  # of earlier nights alone
    shards = np.searchsorted(ordinals, addresses[lost] >> np.uint64(columns.ROW_BITS))
    losers.send(partition, _losers(addresses, lost, lost_to), shards)
    groups = np.flatnonzero(copies > 1)
    largest = groups[np.lexsort((addresses[groups], -copies[groups]))][:EXAMPLES]
    return len(lost), len(groups), [CopyGroup(int(addresses[i]), int(copies[i])) for i in largest]


def _losers(addresses: NDArray[np.uint64], lost: NDArray[np.int64], lost_to: NDArray[np.int64]) -> pa.Table:
    return pa.table([pa.array(addresses[lost]), pa.array(addresses[lost_to])], schema=LOSERS)


def _follow(
    survivors: NDArray[np.uint64], addresses: NDArray[np.uint64], replaced_by: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Return a shard's survivors (n), or what beat them among all: `addresses` (m, ascending) lost to `replaced_by`."""
    if len(addresses) == 0:
        return survivors
    at = np.minimum(np.searchsorted(addresses, survivors), len(addresses) - 1)
    return np.where(addresses[at] == survivors, replaced_by[at], survivors)


def _largest(groups: Iterable[CopyGroup]) -> tuple[CopyGroup, ...]:
    return tuple(sorted(groups, key=lambda group: (-group.copies, group.survivor))[:EXAMPLES])


def _local_file(folder: str, ordinal: int) -> str:
    return files.join(folder, f"{ordinal:08d}.arrow")

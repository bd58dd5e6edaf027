"""Lists of rules that differ in one rule alone: what each keeps.

What stands before that rule is applied once. Where it and all after it are conditions on single documents, every list
is decided in one pass; else those after it are applied for each list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators.base import Rule
from gristmill.pipelines.decide.driver import COUNTED, Applied, Means, apply_rules
from gristmill.pipelines.decide.executors import given_columns
from gristmill.pipelines.decide.funnel import ShardKept
from gristmill.pipelines.decide.rule_columns import with_given
from gristmill.pipelines.decide.rules.chain import PASSED, Chain, chain_of, first_clauses
from gristmill.pipelines.decide.shards import ShardColumns, SurvivingShard
from gristmill.pipelines.engine.base import Engine, run_all
from gristmill.pipelines.storage import files


def kept_by_each(
    lists: Sequence[Sequence[Rule]],
    position: int,
    shards: Sequence[ShardColumns],
    means: Means,
    on_progress: Callable[[], object] = lambda: None,
) -> list[list[ShardKept]]:
    """Return what each list of rules keeps of each shard; the lists differ at that position alone.

    `on_progress` is called after each list. Raises the errors of `decide`.
    """
    schemas = [with_given(shards[0].schema, given_columns(rules))[-1] for rules in lists]
    chains = [chain_of(rules, schema) for rules, schema in zip(lists, schemas, strict=True)]
    first = max(len(rules) - len(chain.rules) for rules, chain in zip(lists, chains, strict=True))
    common = apply_rules(lists[0], Applied.none(shards), min(first, position), means)
    kept: list[list[ShardKept]] = [[] for _ in lists]
    if first <= position:
        tails = [
            chain.rules[len(chain.rules) - len(rules) + first :] for rules, chain in zip(lists, chains, strict=True)
        ]
        at = position - first
        step = _Steps(Chain(tails[0][:at]), [Chain(tail[at : at + 1]) for tail in tails], Chain(tails[0][at + 1 :]))
        for counts in run_all(means.engine, partial(_kept_by_steps, step), common.survivors.shards):
            for of_list, count in zip(kept, counts, strict=True):
                of_list.append(count)
        for _ in lists:
            on_progress()
        return kept
    for of_list, rules in zip(kept, lists, strict=True):
        own = replace(means, scratch=files.join(means.scratch, "list"), run=files.join(means.run, "list"))
        applied = apply_rules(rules, common, len(rules), own)
        of_list.extend(run_all(means.engine, _kept, applied.survivors.shards))
        files.remove(own.scratch)
        on_progress()
    return kept


def count_all(shards: Sequence[ShardColumns], engine: Engine) -> list[ShardKept]:
    """Return the counts of all documents of each shard."""
    return list(run_all(engine, _kept, [SurvivingShard(shard) for shard in shards]))


@dataclass(frozen=True)
class _Steps:
    """The conditions of all lists: the same ones, one of each list, the same ones."""

    before: Chain
    moved: Sequence[Chain]
    after: Chain


def _kept_by_steps(step: _Steps, shard: SurvivingShard) -> list[ShardKept]:
    """Return what each list keeps of a shard."""
    reads = set().union(*(chain.reads for chain in (step.before, *step.moved, step.after)))
    documents = shard.read(sorted({*COUNTED, *reads}))
    documents = documents.filter(pa.array(first_clauses([step.before], documents)[0] == PASSED))
    stays = [clauses == PASSED for clauses in first_clauses(step.moved, documents)]
    # What stands after is asked about documents that one of the lists leaves, as a run with that list would ask.
    some = np.any(stays, axis=0)
    left = np.zeros(len(some), np.bool_)
    left[some] = first_clauses([step.after], documents.filter(pa.array(some)))[0] == PASSED
    sizes = [_whole(documents[name]) for name in COUNTED]
    return [_sums(shard.ordinal, sizes, mask & left) for mask in stays]


def _kept(shard: SurvivingShard) -> ShardKept:
    documents = shard.read(COUNTED)
    return _sums(shard.ordinal, [_whole(documents[name]) for name in COUNTED], np.ones(documents.num_rows, np.bool_))


def _whole(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return whole numbers (n), 0 for null."""
    return np.asarray(pc.fill_null(column, 0)).astype(np.int64)


def _sums(ordinal: int, sizes: Sequence[NDArray[np.int64]], mask: NDArray[np.bool_]) -> ShardKept:
    size, tokens = (int(column.sum(where=mask)) for column in sizes)
    return ShardKept(ordinal, int(mask.sum()), size, tokens)

"""The last pass of a comparison of two lists of rules: what both make of each shard, and where they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.base import Rule
from gristmill.operators.rules.select import TOKENS
from gristmill.pipelines.decide.driver import COUNTED, Applied, Count, rule_count
from gristmill.pipelines.decide.executors import rule_names
from gristmill.pipelines.decide.funnel import Decided, ShardKept
from gristmill.pipelines.decide.groups import KEPT, GroupTally, count_groups
from gristmill.pipelines.decide.rules.chain import Chain, first_clauses
from gristmill.pipelines.decide.shards import SurvivingShard
from gristmill.pipelines.engine.base import Engine, run_all


@dataclass(frozen=True)
class Move:
    """Documents whose fate differs, by the rules that drop them before and after; None where they are kept."""

    before: str | None
    after: str | None
    documents: int
    tokens: int


@dataclass(frozen=True)
class Changed:
    """A document that comes, or one that goes, and the reason for which the other list of rules drops it."""

    address: int
    came: bool
    rule: str
    reason: Mapping[str, Any]  #: LOSSES


@dataclass(frozen=True)
class BothDecided:
    """The outcomes of two lists of rules, and the documents that they differ in."""

    before: Decided
    after: Decided
    moves: Sequence[Move]
    changed: Sequence[Changed]  #: some documents that come, then some that go


@dataclass(frozen=True)
class ComparedSide:
    """One of the two lists of rules, of which all but a chain are applied."""

    rules: Sequence[Rule]
    applied: Applied
    chain: Chain

    @property
    def names(self) -> list[str]:
        """Return the names of the rules."""
        return rule_names(self.rules)

    def decided(self, counts: Sequence[Count], kept: Sequence[ShardKept], groups: GroupTally) -> Decided:
        """Return the outcome of all rules, from what the last pass counted."""
        funnel = [*self.applied.funnel]
        for rule, count in zip(self.chain.rules, counts, strict=True):
            i = len(funnel)
            funnel.append(rule_count(self.names[i], self.rules[i], rule, count))
        documents = sum(shard.shard.rows for shard in self.applied.survivors.shards)
        in_order = sorted(kept, key=lambda shard: shard.ordinal)
        return Decided(documents, tuple(funnel), in_order, groups.losses(self.names), sorted(groups.crowded))


@dataclass(frozen=True)
class LastPass:
    """The pass over all shards that computes the chains, and compares. Pairs are of before and after."""

    chains: Sequence[Chain]
    rules: Sequence[int]  #: how many there are in all
    by: Sequence[str]
    examples: int

    def code(self, positions: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return a number (n) for each pair of positions (n) of the rules that drop a document; KEPT for KEPT twice."""
        return (positions[0] + 1) * (self.rules[1] + 1) + positions[1]

    def positions(self, code: int) -> tuple[int, int]:
        """Return the positions that a number stands for."""
        before, after = divmod(code + 1, self.rules[1] + 1)
        return before - 1, after - 1

    def tally_of(self, side: int, outcome: PassOutcome) -> GroupTally:
        """Return the documents and tokens of groups by the rules of one side."""
        moves = outcome.moves
        tally = GroupTally(values=moves.values, crowded=moves.crowded)
        for (column, value, code), n in moves.documents.items():
            position = self.positions(code)[side]
            tally.documents[column, value, position] += n
            tally.tokens[column, value, position] += moves.tokens[column, value, code]
        return tally


@dataclass(frozen=True)
class ChangedExample:
    """A document that comes or goes: its drop, or the columns by which a rule of the chain drops it."""

    hash: int
    address: int
    drop: dict[str, Any] | None
    document: pa.Table | None  #: None where it is read once it is chosen


@dataclass
class PassOutcome:
    """The outcome of the last pass on some shards. Adds up in any order."""

    counts: Sequence[Sequence[Count]]  #: of the rules of the chains
    kept: tuple[list[ShardKept], ...] = field(default_factory=lambda: ([], []))
    moves: GroupTally = field(default_factory=GroupTally)
    examples: dict[int, list[ChangedExample]] = field(
        default_factory=dict
    )  #: by the code of the move, in order of hashes

    def add(self, other: PassOutcome, examples: int) -> None:
        """Add the outcome on other shards, with up to so many examples of each move."""
        self.counts = [
            [one + another for one, another in zip(mine, theirs, strict=True)]
            for mine, theirs in zip(self.counts, other.counts, strict=True)
        ]
        for mine, theirs in zip(self.kept, other.kept, strict=True):
            mine.extend(theirs)
        self.moves.add(other.moves)
        for code, found in other.examples.items():
            self.examples[code] = sorted([*self.examples.get(code, []), *found], key=lambda e: e.hash)[:examples]


@dataclass(frozen=True)
class JudgedShard:
    """The rules of one side on one shard."""

    shard: SurvivingShard
    chain: Chain
    rules: int
    documents: pa.Table  #: all of the shard
    left: pa.Table  #: those that the chain was shown
    clauses: NDArray[np.int64]  #: of these

    def positions(self) -> NDArray[np.int64]:
        """Return the position (n) of the rule that drops each document, or KEPT."""
        chained = self.chain.positions(self.clauses, self.rules - len(self.chain.rules))
        if self.shard.drops is None:
            return chained
        drops = self.shard.dropped()
        positions = np.full(self.documents.num_rows, KEPT)
        positions[self.shard.kept()] = chained
        positions[np.asarray(drops["row"])] = np.asarray(drops["rule"])
        return positions

    def counts(self, sums: NDArray[np.int64]) -> tuple[ShardKept, list[Count]]:
        """Return the counts of what is kept, and of the rules of the chain.

        `sums` (rules + 1, 3) are documents, bytes and tokens: kept, then dropped by each rule.
        """
        seen, counts = self.left.num_rows, []
        chained = sums[len(sums) - len(self.chain.rules) :].tolist()
        for (n, bytes, tokens), tally in zip(chained, self.chain.tallies(self.clauses, self.left), strict=True):
            counts.append(Count(seen, n, bytes, tokens, tally))
            seen -= n
        return ShardKept(self.shard.ordinal, *sums[0].tolist()), counts

    def examples(self, rows: NDArray[np.int64]) -> Iterator[ChangedExample]:
        """Yield some of the documents that the rules drop, given by their rows in the shard."""
        addresses, drops = np.asarray(self.documents[columns.ADDRESS])[rows], self.shard.dropped()
        known = self.documents.select(sorted({*self.chain.reads, columns.ADDRESS})).take(pa.array(rows))
        places = np.asarray(drops["row"])
        for i, (row, hash) in enumerate(zip(rows.tolist(), address_hashes(addresses).tolist(), strict=True)):
            drop = drops.filter(pa.array(places == row)).to_pylist()
            yield ChangedExample(hash, int(addresses[i]), drop[0] if drop else None, known.slice(i, 1))


def compare_sides(
    sides: Sequence[ComparedSide], by: Sequence[str], examples: int, engine: Engine, on_progress: Callable[[], object]
) -> BothDecided:
    """Return the outcomes of two sides, whose shards are the same; `on_progress` is called after each shard."""
    step = LastPass([side.chain for side in sides], [len(side.rules) for side in sides], by, examples)
    total = PassOutcome([[Count() for _ in side.chain.rules] for side in sides])
    pairs = list(zip(*(side.applied.survivors.shards for side in sides), strict=True))
    for outcome in run_all(engine, partial(_compare_shard, step), pairs):
        total.add(outcome, examples)
        on_progress()
    return both_decided(sides, step, total)


def both_decided(
    sides: Sequence[ComparedSide],
    step: LastPass,
    total: PassOutcome,
    document_of: Callable[[ChangedExample], pa.Table | None] = lambda example: example.document,
) -> BothDecided:
    """Return the outcomes of two sides from what the last pass counted.

    `document_of` gives the columns by which a rule of the chain drops a document that was chosen as an example.
    """
    decided = [side.decided(total.counts[i], total.kept[i], step.tally_of(i, total)) for i, side in enumerate(sides)]
    changed = _changed(sides, step, total, document_of)
    return BothDecided(decided[0], decided[1], _moves(sides, step, total), changed)


def _compare_shard(step: LastPass, pair: tuple[SurvivingShard, SurvivingShard]) -> PassOutcome:
    """Apply the last pass to one shard."""
    return outcome_of(step, _judge(step, pair))


def outcome_of(step: LastPass, judged: Sequence[JudgedShard]) -> PassOutcome:
    """Return the outcome of the last pass on one shard, of which both sides are judged."""
    documents, positions = judged[0].documents, [side.positions() for side in judged]
    code, shape = step.code(positions), (step.rules[0] + 1, step.rules[1] + 1)
    codes = shape[0] * shape[1]
    # whole numbers: their sums are exact below 2**53
    weights = [None, *(np.asarray(pc.fill_null(documents[name], 0)).astype(np.float64) for name in COUNTED)]
    sums = np.stack([np.bincount(code + 1, w, codes).astype(np.int64).reshape(shape) for w in weights], axis=-1)
    counted = [side.counts(sums.sum(axis=1 - i)) for i, side in enumerate(judged)]
    moves = count_groups(documents, documents[TOKENS], step.by, code, codes - 1)
    outcome = PassOutcome([counts for _, counts in counted], tuple([kept] for kept, _ in counted), moves)
    changed = np.flatnonzero((positions[0] == KEPT) != (positions[1] == KEPT)) if step.examples else np.zeros(0, int)
    hashes = address_hashes(np.asarray(documents[columns.ADDRESS])[changed])
    for move in np.unique(code[changed]).tolist():
        those = code[changed] == move
        rows = changed[those][np.argsort(hashes[those])[: step.examples]]
        outcome.examples[move] = [*judged[side_of(step, move)].examples(rows)]
    return outcome


def _judge(step: LastPass, pair: tuple[SurvivingShard, SurvivingShard]) -> list[JudgedShard]:
    """Compute the chains on the documents of a shard that are left on each side."""
    same = pair[0].shard == pair[1].shard
    reads = [{*COUNTED, *step.by, *step.chains[0].reads}, step.chains[1].reads]
    documents = SurvivingShard(pair[0].shard).read(sorted(reads[0] | reads[1] if same else reads[0]))
    tables = [documents, documents if same else SurvivingShard(pair[1].shard).read(sorted(reads[1]))]
    if pair[0] == pair[1]:
        left = [_left(pair[0], documents)] * 2
        clauses = first_clauses(step.chains, left[0])
    else:
        left = [_left(shard, table) for shard, table in zip(pair, tables, strict=True)]
        clauses = [first_clauses([chain], table)[0] for chain, table in zip(step.chains, left, strict=True)]
    parts = zip(pair, step.chains, step.rules, tables, left, clauses, strict=True)
    return [JudgedShard(*part) for part in parts]


def _left(shard: SurvivingShard, documents: pa.Table) -> pa.Table:
    return documents if shard.drops is None else documents.filter(pa.array(shard.kept()))


def address_hashes(addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return hashes (n) of addresses (n): the finalizer of SplitMix64 (Steele, Lea and Flood 2014), one to one."""
    mixed = addresses + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def side_of(step: LastPass, move: int) -> int:
    """Return the side that drops the documents of a move that come or go: 0 for those that come."""
    return 0 if step.positions(move)[0] != KEPT else 1


def _moves(sides: Sequence[ComparedSide], step: LastPass, outcome: PassOutcome) -> list[Move]:
    """Return the moves, in the order of the rules."""
    sums: dict[int, Counter[str]] = {}
    for what, tally in (("documents", outcome.moves.documents), ("tokens", outcome.moves.tokens)):
        for (column, _, code), n in tally.items():
            if column == columns.SOURCE:
                sums.setdefault(code, Counter())[what] += n
    names = [(*side.names, None) for side in sides]  # the last for KEPT
    moves = []
    for code in sorted(sums):
        before, after = (names[i][position] for i, position in enumerate(step.positions(code)))
        if before != after:
            moves.append(Move(before, after, sums[code]["documents"], sums[code]["tokens"]))
    return moves


def _changed(
    sides: Sequence[ComparedSide],
    step: LastPass,
    outcome: PassOutcome,
    document_of: Callable[[ChangedExample], pa.Table | None],
) -> list[Changed]:
    """Return documents that come, then documents that go: of each move the first, then of each the second, ..."""
    changed = []
    for i, side in enumerate(sides):
        ranking = [
            (nth, code, example)
            for code, examples in sorted(outcome.examples.items())
            if side_of(step, code) == i
            for nth, example in enumerate(examples)
        ]
        for _, code, example in sorted(ranking, key=lambda entry: entry[:2])[: step.examples]:
            position = step.positions(code)[i]
            drop = example.drop
            if drop is None:
                rule = side.chain.rules[position - len(side.applied.funnel)]
                (drop,) = rule.judge(0, document_of(example)).losses.to_pylist()
            changed.append(Changed(example.address, i == 0, side.names[position], drop))
    return changed

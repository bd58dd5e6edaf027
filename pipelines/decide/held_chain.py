"""The conditions that a list of rules ends with, held as what they make of every document: a moved limit is told fast.

Of each document it is known which clauses are true of it, a bit each, and which of them is the first. A list of rules
that differs in limits differs in some clauses: these are asked again, of the column that they read alone, and only
documents whose first clause is another then are counted anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.base import Rule
from gristmill.pipelines.decide.driver import Count
from gristmill.pipelines.decide.funnel import ShardKept
from gristmill.pipelines.decide.groups import KEPT, GroupTally
from gristmill.pipelines.decide.held_block import (
    Bits,
    HeldBlock,
    RecentValues,
    block_column,
    blocks_of,
    hold_block,
    unpacked,
)
from gristmill.pipelines.decide.last_pass import (
    BothDecided,
    ChangedExample,
    ComparedSide,
    LastPass,
    PassOutcome,
    address_hashes,
    both_decided,
)
from gristmill.pipelines.decide.rules.chain import Chain, ClauseTest, true_rows
from gristmill.pipelines.decide.rules.condition import NOT_JUDGED, local_condition
from gristmill.pipelines.decide.shards import SurvivingShard
from gristmill.pipelines.engine.base import Engine, run_in_order

#: Answers to moved clauses, and bytes of the columns that they read, that are kept: the next position of a slider
#: needs the column, and another slider the answers.
MOST_ANSWERS, MOST_COLUMNS = 64, 900_000_000


@dataclass
class MovedDocuments:
    """Counts of documents whose first clause changes; clauses are numbered, the last number stands for none."""

    counts: NDArray[np.int64]  #: documents, bytes, tokens (clauses + 1, clauses + 1, 3), by clause before and after
    groups: GroupTally = field(default_factory=GroupTally)  #: by the code of the move
    unjudged: Counter[int] = field(default_factory=Counter)  #: more documents not judged, by position in the chain
    examples: dict[int, list[tuple[int, int, int, int]]] = field(default_factory=dict)  #: hash, address, block, place


class HeldChain:
    """A list of rules that ends with conditions, decided, and compared with lists that differ in their limits."""

    def __init__(
        self,
        side: ComparedSide,
        schema: pa.Schema,
        by: Sequence[str],
        engine: Engine,
        on_progress: Callable[[], object] = lambda: None,
    ) -> None:
        """Compute all clauses on all documents that the rules before the chain leave.

        `schema` has the columns that the rules may read. `on_progress` is called, by any thread, after each of the
        `blocks_of` the side. Raises ShardError where a clause cannot be computed on a document that another clause
        drops before: such rules cannot be held.
        """
        self.side, self.by, self._schema, self._engine = side, by, schema, engine
        self._tests = side.chain.tests
        self._first_of = np.cumsum([0, *(len(rule.condition.clauses) for rule in side.chain.rules)]).tolist()
        self._step = LastPass([side.chain] * 2, [len(side.rules)] * 2, by, 0)
        self._total = PassOutcome([[Count() for _ in side.chain.rules] for _ in range(2)])
        self._answers: RecentValues[tuple[int, str], list[Bits]] = RecentValues(MOST_ANSWERS, lambda bits: 1)
        self._columns: RecentValues[tuple[int, str], pa.Array] = RecentValues(MOST_COLUMNS, lambda held: held.nbytes)
        self.blocks: list[HeldBlock] = []

        def hold(item: tuple[int, Sequence[SurvivingShard]]) -> tuple[HeldBlock, PassOutcome]:
            i, shards = item
            block, outcome, table = hold_block(self._step, side.chain, self._tests, shards)
            for name in table.column_names:
                self._columns.offer((i, name), table[name].combine_chunks)
            on_progress()
            return block, outcome

        for block, outcome in run_in_order(engine, hold, list(enumerate(blocks_of(side)))):
            self.blocks.append(block)
            self._total.add(outcome, 0)
        sums = [ShardKept(0, *(sum(getattr(s, n) for s in self._total.kept[0]) for n in ("rows", "bytes", "tokens")))]
        self._total.kept = (sums, list(sums))

    def compared(self, rules: Sequence[Rule], examples: int = 0) -> BothDecided | None:
        """Return the outcomes of the held rules and of `rules`, which differ in limits of the chain's rules alone.

        None where they differ in more. `shards` of the outcomes are one sum. Raises ShardError where a clause cannot be
        computed, though it might be with the clauses before it.
        """
        chain = self._chain(rules)
        if chain is None:
            return None
        after = ComparedSide(rules, self.side.applied, chain)
        step = LastPass([self.side.chain, chain], [len(rules)] * 2, self.by, examples)
        changed = [k for k, (old, new) in enumerate(zip(self._tests, chain.tests, strict=True)) if old != new]
        fired = {k: self._true(k, chain.tests[k]) for k in changed}
        asked = [_Asked(i, block, {k: bits[i] for k, bits in fired.items()}) for i, block in enumerate(self.blocks)]
        moved = run_in_order(self._engine, partial(self._moved, step), asked)
        total = self._after(step, moved)
        read = {example.address: example for found in total.examples.values() for example in found}
        places = {place[1]: place[2:] for one in moved for found in one.examples.values() for place in found}

        def document_of(example: ChangedExample) -> pa.Table:
            block, place = places[read[example.address].address]
            names = sorted({*self.side.chain.reads, *chain.reads})
            return self._one(self.blocks[block], place, names)

        return both_decided([self.side, after], step, total, document_of)

    def _chain(self, rules: Sequence[Rule]) -> Chain | None:
        """Return the chain that other rules end with; None where it differs in more than limits."""
        resolved = []
        first = len(self.side.rules) - len(self.side.chain.rules)
        if len(rules) != len(self.side.rules) or list(rules[:first]) != list(self.side.rules[:first]):
            return None
        for old, held, new in zip(self.side.rules[first:], self.side.chain.rules, rules[first:], strict=True):
            condition = held if new == old else local_condition(new, self._schema)
            if condition is None or condition.meant_for != held.meant_for:
                return None
            if len(condition.condition.tests) != len(held.condition.tests):
                return None
            resolved.append(condition)
        return Chain(tuple(resolved))

    def _true(self, clause: int, test: ClauseTest) -> list[Bits]:
        """Return for each block the documents, a bit each, that a changed clause is true for."""
        return self._answers.get(
            (clause, test.sql), lambda: run_in_order(self._engine, partial(self._ask, test), range(len(self.blocks)))
        )

    def _ask(self, test: ClauseTest, i: int) -> Bits:
        block = self.blocks[i]
        table = pa.table(
            {name: self._columns.get((i, name), partial(block_column, block, name)) for name in test.reads}
        )
        (true,) = true_rows([test.sql], table)
        bits = np.packbits(true)
        return bits & block.judged[test.rule] if test.rule in block.judged else bits

    def _moved(self, step: LastPass, asked: _Asked) -> MovedDocuments:
        """Return what moves in a block where some clauses are true for others than before."""
        block, none = asked.block, len(self._tests)
        n, first = len(block.first), block.first
        differs = np.zeros((n + 7) // 8, np.uint8)
        for k, bits in asked.fired.items():
            differs |= bits ^ block.true[k]
        places = np.flatnonzero(unpacked(differs, n))  # no other document can have another first clause
        was, true = first[places], {k: unpacked(bits, n)[places] for k, bits in asked.fired.items()}
        earliest = np.full(len(places), none, np.uint16)  # of the changed clauses that are true
        lost = np.zeros(len(places), np.bool_)  # the first clause has changed and is not true any more
        for k in sorted(true, reverse=True):
            earliest[true[k]] = k
            lost |= (was == k) & ~true[k]
        now = np.minimum(np.where(lost, np.uint16(none), was), earliest)
        losing = np.flatnonzero(lost)
        if len(losing):
            before, then = was[losing], now[losing]
            for k in range(none - 1, int(before.min()), -1):
                if k not in true:
                    then[unpacked(block.true[k], n)[places[losing]] & (before < k) & (k < then)] = k
            now[losing] = then
        moved = now != was
        return self._counted(step, asked, places[moved], was[moved].astype(np.int64), now[moved].astype(np.int64))

    def _counted(
        self,
        step: LastPass,
        asked: _Asked,
        places: NDArray[np.int64],
        was: NDArray[np.int64],
        now: NDArray[np.int64],
    ) -> MovedDocuments:
        """Count documents at some places (m), by their first clauses (m) before and after."""
        block, n = asked.block, len(self._tests) + 1
        sizes = [size[places].astype(np.float64) for size in block.sizes]  # whole: their sums are exact below 2**53
        sums = [np.bincount(was * n + now, weights, n * n) for weights in (None, *sizes)]
        moved = MovedDocuments(np.stack(sums, axis=-1).astype(np.int64).reshape(n, n, 3))
        position = np.append(np.repeat(np.arange(len(self._first_of) - 1), np.diff(self._first_of)), KEPT)
        position[:-1] += len(self.side.rules) - len(self.side.chain.rules)
        code = step.code([position[was], position[now]])
        shape = (step.rules[0] + 1) * (step.rules[1] + 1)
        for name, (codes, values) in block.groups.items():
            if name not in self._total.moves.values:
                continue  # other blocks have too many values for it
            slots = codes[places].astype(np.int64) * shape + code + 1
            counts, tokens = np.bincount(slots), np.bincount(slots, sizes[1])
            for slot in np.flatnonzero(counts).tolist():
                key = (name, values[slot // shape], slot % shape - 1)
                moved.groups.documents[key] += int(counts[slot])
                moved.groups.tokens[key] += int(tokens[slot])
        for rule, bits in block.judged.items():
            others = ~unpacked(bits, len(block.first))[places]
            start = self._first_of[rule]
            moved.unjudged[rule] += int(((now >= start) & others).sum()) - int(((was >= start) & others).sum())
        if step.examples:
            changed = np.flatnonzero((position[was] == KEPT) != (position[now] == KEPT))
            addresses = block.addresses(places[changed])
            hashes = address_hashes(addresses)
            for move in np.unique(code[changed]).tolist():
                those = np.flatnonzero(code[changed] == move)
                those = those[np.argsort(hashes[those])[: step.examples]]
                found = zip(
                    hashes[those].tolist(), addresses[those].tolist(), places[changed[those]].tolist(), strict=True
                )
                moved.examples[move] = [(hash, address, asked.i, place) for hash, address, place in found]
        return moved

    def _after(self, step: LastPass, moved: Sequence[MovedDocuments]) -> PassOutcome:
        """Return the outcome of the last pass: that of the held rules twice, and what moves on the second side."""
        counts = sum((one.counts for one in moved), np.zeros((len(self._tests) + 1,) * 2 + (3,), np.int64))
        more = counts.sum(axis=0) - counts.sum(axis=1)  # documents, bytes, tokens of each clause, and of none
        after, seen = [], self._total.counts[1][0].seen if self._total.counts[1] else 0
        for rule, count in enumerate(self._total.counts[1]):
            clauses = more[self._first_of[rule] : self._first_of[rule + 1]]
            tally = Counter(count.tally)
            tally.update(dict(enumerate(clauses[:, 0].tolist())))
            tally[NOT_JUDGED] += sum(one.unjudged[rule] for one in moved)
            n, size, tokens = clauses.sum(axis=0).tolist()
            after.append(Count(seen, count.dropped + n, count.bytes + size, count.tokens + tokens, tally))
            seen -= after[-1].dropped
        (kept,) = self._total.kept[1]
        n, size, tokens = more[-1].tolist()
        kept_after = ShardKept(0, kept.rows + n, kept.bytes + size, kept.tokens + tokens)
        own = self._total.moves
        groups = GroupTally(Counter(own.documents), Counter(own.tokens), own.values, own.crowded)
        examples: dict[int, list[ChangedExample]] = {}
        for one in moved:
            for mine, theirs in ((groups.documents, one.groups.documents), (groups.tokens, one.groups.tokens)):
                for (name, value, code), n in theirs.items():
                    before = np.array(step.positions(code)[:1])
                    mine[name, value, code] += n
                    mine[name, value, int(step.code([before, before])[0])] -= n
            for move, found in one.examples.items():
                examples[move] = sorted(
                    [
                        *examples.get(move, []),
                        *(ChangedExample(hash, address, None, None) for hash, address, _, _ in found),
                    ],
                    key=lambda e: e.hash,
                )[: step.examples]
        for key in [key for key, n in groups.documents.items() if not n]:
            del groups.documents[key], groups.tokens[key]
        return PassOutcome([self._total.counts[0], after], ([kept], [kept_after]), groups, examples)

    def _one(self, block: HeldBlock, place: int, names: Sequence[str]) -> pa.Table:
        """Return columns of one document, and its address."""
        which = int(np.searchsorted(np.asarray(block.borders), place, "right")) - 1
        table = block.shards[which].read([*names, columns.ADDRESS])
        return table.slice(place - block.borders[which], 1)


@dataclass(frozen=True)
class _Asked:
    """A block, and the documents of it that changed clauses are true for."""

    i: int  #: its number
    block: HeldBlock
    fired: Mapping[int, Bits]

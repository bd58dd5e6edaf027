"""Conditions that follow each other, as one query: which clause of all of them is the first to drop a document.

It says what `ResolvedCondition.judge` of each in turn would say, less the reasons, in a fraction of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators.base import Rule
from gristmill.operators.expressions.condition import not_computed
from gristmill.operators.expressions.sandbox import tables
from gristmill.operators.expressions.syntax import column_nodes, parse
from gristmill.pipelines.decide.contract import Tally
from gristmill.pipelines.decide.executors import executor_for
from gristmill.pipelines.decide.rules.condition import CONDITION, NOT_JUDGED, ResolvedCondition, local_condition

#: The clause of a document that no rule of a chain drops.
PASSED = -1
#: What the query calls the mask of the documents that a rule is meant for.
_MEANT = "gristmill_meant_for_"


@dataclass(frozen=True)
class ClauseTest:
    """The test of one clause of a chain by itself, whatever the clauses before it say."""

    rule: int  #: position of its rule in the chain
    sql: str  #: over a table `documents`

    @property
    def reads(self) -> list[str]:
        """Return the columns that it reads."""
        return sorted({node["column_names"][-1] for node in column_nodes(parse(self.sql))})


@dataclass(frozen=True)
class Chain:
    """Local conditions: each is asked about the documents that none before it drops."""

    rules: tuple[ResolvedCondition, ...] = ()

    @property
    def reads(self) -> set[str]:
        """Return the columns that the rules read."""
        return {name for rule in self.rules for name in rule.reads}

    def positions(self, clauses: NDArray[np.int64], first: int) -> NDArray[np.int64]:
        """Return the position (n) of the rule that each clause belongs to, or PASSED; the first is at `first`."""
        sizes = [len(rule.condition.clauses) for rule in self.rules]
        return np.append(np.repeat(np.arange(len(sizes)) + first, sizes), PASSED)[clauses]

    def tallies(self, clauses: NDArray[np.int64], documents: pa.Table) -> list[Tally]:
        """Return what each rule counts (`ResolvedCondition.details`) on documents (n) with these first clauses (n)."""
        counts = np.bincount(clauses - PASSED, minlength=1 + sum(len(r.condition.clauses) for r in self.rules))[1:]
        tallies, first = [], 0
        for rule in self.rules:
            last = first + len(rule.condition.clauses)
            tally: Tally = Counter(dict(enumerate(counts[first:last].tolist())))
            if rule.meant_for is not None:
                seen = (clauses == PASSED) | (clauses >= first)
                tally[NOT_JUDGED] = int((seen & ~np.asarray(rule.judges(documents))).sum())
            tallies.append(tally)
            first = last
        return tallies

    @property
    def tests(self) -> list[ClauseTest]:
        """Return the test of each clause of all rules, in order."""
        return [ClauseTest(i, test) for i, rule in enumerate(self.rules) for test in rule.condition.tests]

    def _sql(self, masks: dict[str, pa.Array], documents: pa.Table) -> str:
        """Return the expression of the first clause; `masks` are given those that it reads."""
        cases: list[str] = []
        for rule in self.rules:
            guard = ""
            if rule.meant_for is not None:
                guard = f"{_MEANT}{len(masks)}"
                masks[guard] = rule.judges(documents)
            for test in rule.condition.tests:
                guarded = f"CASE WHEN {guard} THEN {test} ELSE false END" if guard else test
                cases.append(f"WHEN {guarded} THEN {len(cases)}")
        return f"CASE {' '.join(cases)} ELSE {PASSED} END" if cases else f"{PASSED}"


def chain_of(rules: Sequence[Rule], schema: pa.Schema) -> Chain:
    """Return the longest chain that rules end with; `schema` has the columns that all of them may read."""
    resolved: list[ResolvedCondition] = []
    for rule in reversed(rules):
        local = local_condition(rule, schema) if executor_for(rule) is CONDITION else None
        if local is None:
            break
        resolved.insert(0, local)
    return Chain(tuple(resolved))


def first_clauses(chains: Sequence[Chain], documents: pa.Table) -> list[NDArray[np.int64]]:
    """Return for each chain the clause (n), counted through its rules, that drops each document first, or PASSED.

    Raises ShardError where an expression cannot be computed on a value.
    """
    masks: dict[str, pa.Array] = {}
    expressions = [chain._sql(masks, documents) for chain in chains]
    names = sorted(set().union(*(chain.reads for chain in chains)))
    if not names:
        return [np.full(documents.num_rows, PASSED) for _ in chains]
    table = documents.select(names)
    for name, mask in masks.items():
        table = table.append_column(name, mask)
    selected = ", ".join(f"({sql})::BIGINT AS c{i}" for i, sql in enumerate(expressions))
    try:
        with tables({"documents": table}) as connection:
            # No WHERE, as in `Condition`: a filter would be pushed down into Arrow.
            clauses = connection.sql(f"SELECT {selected} FROM documents").to_arrow_table()
    except duckdb.Error as error:
        texts = dict.fromkeys(rule.condition.text for chain in chains for rule in chain.rules)
        raise not_computed(" or ".join(texts), error) from error
    return [np.asarray(column) for column in clauses.columns]


def true_rows(tests: Sequence[str], documents: pa.Table) -> list[NDArray[np.bool_]]:
    """Return for each clause (`ClauseTest.sql`) the documents (n) that it is true for; where it is null it is not.

    Raises ShardError where one cannot be computed on a value, though a clause before it might have taken the document.
    """
    selected = ", ".join(f"({test})::UTINYINT AS t{i}" for i, test in enumerate(tests))
    try:
        with tables({"documents": documents}) as connection:
            fired = connection.sql(f"SELECT {selected} FROM documents").to_arrow_table()
    except duckdb.Error as error:
        raise not_computed(" or ".join(dict.fromkeys(tests)), error) from error
    return [np.asarray(pc.fill_null(column, 0)).astype(np.bool_) for column in fired.columns]

"""Conditions as one query: the same drops and counts as one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.base import Rule
from gristmill.operators.errors import ShardError
from gristmill.operators.rules.drop import Drop
from gristmill.operators.rules.exact_dedup import ExactDedup
from gristmill.operators.rules.thresholds import Thresholds
from gristmill.pipelines.decide.rules.chain import PASSED, Chain, chain_of, first_clauses

RULES: list[Rule] = [
    Drop(when="x < 1 or lang = 'de'"),
    Drop(when="x > 2"),
    Drop(when="not (n < 3) or x is null"),
    Drop(when="lang in ('en', 'fr') and n < 2"),
    Thresholds(minimum={"n": {"en": 2, "it's": 4}}, maximum={"x": {"en": 1.5}}),
]
SCHEMA = pa.schema([("x", pa.float64()), ("n", pa.uint32()), ("lang", pa.string())])
ROWS = st.tuples(
    st.sampled_from([None, 0.0, 0.5, 1.0, 1.7, 3.0, math.nan]),
    st.sampled_from([None, 0, 1, 2, 3, 5]),
    st.sampled_from([None, "en", "de", "fr", "it's"]),
)


def one_after_the_other(chain: Chain, documents: pa.Table) -> tuple[list[int], list[dict[object, int]]]:
    """Places of the rules that drop each document, and the tallies, by `judge`."""
    places = np.arange(documents.num_rows)
    dropped_by, tallies = np.full(documents.num_rows, PASSED), []
    for i, rule in enumerate(chain.rules):
        verdict = rule.judge(0, documents.take(pa.array(places)))
        rows = np.asarray(verdict.losses["row"])
        dropped_by[places[rows]] = i
        places = np.delete(places, rows)
        tallies.append({key: n for key, n in verdict.tally.items() if n})
    return dropped_by.tolist(), tallies


@settings(max_examples=25)
@given(st.lists(ROWS, max_size=30), st.lists(st.lists(st.sampled_from(RULES), max_size=4), min_size=1, max_size=3))
def test_it_says_what_the_rules_say_in_turn(rows: list[tuple[object, ...]], lists: list[list[Rule]]) -> None:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    documents = pa.table([pa.array(c, t) for c, t in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA)
    chains = [chain_of(rules, SCHEMA) for rules in lists]
    for rules, chain, clauses in zip(lists, chains, first_clauses(chains, documents), strict=True):
        assert len(chain.rules) == len(rules)
        dropped_by, tallies = one_after_the_other(chain, documents)
        assert chain.positions(clauses, 0).tolist() == dropped_by
        assert [{k: n for k, n in tally.items() if n} for tally in chain.tallies(clauses, documents)] == tallies


@pytest.mark.parametrize(
    ("rules", "length"),
    [
        ([ExactDedup(by="lang"), RULES[0], RULES[1]], 2),
        ([RULES[0], Drop(when="x < quantile(0.5)"), RULES[1]], 1),
        ([RULES[0], Drop(when="length(repeat(lang, n)) > 3")], 0),
    ],
)
def test_a_chain_begins_after_the_last_rule_that_is_no_condition_by_itself(rules: Sequence[Rule], length: int) -> None:
    assert len(chain_of(rules, SCHEMA).rules) == length


def test_a_condition_is_not_asked_about_what_another_one_dropped() -> None:
    documents = pa.table({"lang": ["1", "x", "3"]})
    rules = [Drop(when="lang = 'x'"), Drop(when="lang::INT > 2")]
    (clauses,) = first_clauses([chain_of(rules, documents.schema)], documents)
    assert clauses.tolist() == [PASSED, 0, 1]
    with pytest.raises(ShardError, match=r"'lang::INT > 2' cannot be computed for every document: .*; guard it"):
        first_clauses([chain_of(rules[1:], documents.schema)], documents)

"""Drop and all rules with `when`: quantiles are found over all shards, the rest is one query per shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types

from gristmill.operators.base import Rule
from gristmill.operators.errors import RecipeError
from gristmill.operators.expressions.condition import Condition, Quantile, compile_condition
from gristmill.operators.expressions.growth import may_grow
from gristmill.operators.expressions.order import order_keys, value_of
from gristmill.operators.expressions.syntax import parse, references
from gristmill.pipelines.decide.contract import Corpus, Executor, Resolved, Tally, Verdict
from gristmill.pipelines.decide.order_statistics import Located, Weighted, find_crossings
from gristmill.pipelines.decide.rules.checks import check_known
from gristmill.pipelines.decide.rules.confined import compile_confined, evaluate_confined
from gristmill.pipelines.decide.shards import SurvivingShard, losses

NOT_JUDGED = "not judged"


def has_condition(rule: Rule) -> bool:
    """Return whether a rule drops by an expression: it has `when`, a field or a method."""
    return hasattr(rule, "when")


def expression_of(rule: Any) -> str:
    """Return the expression that a rule drops by."""
    return str(rule.when() if callable(rule.when) else rule.when)


@dataclass(frozen=True)
class ResolvedCondition:
    """A condition whose quantiles are numbers; `meant_for` and `told` are what the rule's methods return."""

    condition: Condition
    limits: Mapping[Quantile, pa.Scalar]
    meant_for: tuple[str, tuple[str, ...]] | None = None
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reads(self) -> Sequence[str]:
        """Return the columns of the condition, and the one that says which documents are judged."""
        return (*self.condition.columns, *(self.meant_for or ())[:1])

    def judge(self, ordinal: int, documents: pa.Table) -> Verdict:
        """Return the verdict on a shard's documents: those on which a clause fires, with its value and limit."""
        judged = None if self.meant_for is None else pc.indices_nonzero(self.judges(documents))
        evaluate = evaluate_confined if self.condition.grows else Condition.evaluate
        fired = evaluate(self.condition, documents if judged is None else documents.take(judged), self.limits)
        rows = fired.rows if judged is None else np.asarray(judged)[fired.rows]
        clauses = pa.array(self.condition.clauses, pa.string()).take(pa.array(fired.clauses))
        tally: Tally = Counter(dict(enumerate(np.bincount(fired.clauses).tolist())))
        if judged is not None:
            tally[NOT_JUDGED] = documents.num_rows - len(judged)
        return Verdict(losses(rows, clauses, fired.values, fired.limits), tally)

    def judges(self, documents: pa.Table) -> pa.BooleanArray:
        """Return a mask (n) of the documents that the rule is meant for."""
        if self.meant_for is None:
            return pa.repeat(pa.scalar(True), documents.num_rows)
        name, values = self.meant_for
        column = documents[name].combine_chunks()
        return pc.is_in(column, pa.array(values, column.type))

    def details(self, tally: Tally) -> dict[str, Any]:
        """Return the number of documents that each clause dropped, the quantiles, and the documents not judged."""
        counts: Counter[str] = Counter()
        for i, clause in enumerate(self.condition.clauses):
            counts[clause] += tally[i]
        details: dict[str, Any] = {"conditions": dict(counts), **self.told}
        if self.limits:
            details["quantiles"] = {quantile.name: _json(value) for quantile, value in self.limits.items()}
        if self.meant_for is not None:
            name, values = self.meant_for
            details["not_judged"] = {"documents": tally[NOT_JUDGED], "column": name, "judged": list(values)}
        return details


def local_condition(rule: Rule, schema: pa.Schema) -> ResolvedCondition | None:
    """Return a rule with `when`, resolved, where it may be computed at once with others; None for any other rule.

    That is where it needs to know of no other document, and its results are not far larger than its columns.
    """
    condition = _compiled(rule, schema)
    if condition.quantiles or condition.grows:
        return None
    return ResolvedCondition(condition, {}, rule.meant_for(), rule.told())


def _compiled(rule: Rule, schema: pa.Schema) -> Condition:
    text, clauses = expression_of(rule), rule.clauses()
    condition = compile_confined(text, schema) if may_grow(parse(text)) else compile_condition(text, schema)
    return condition if clauses is None else replace(condition, clauses=clauses)


def _check(rule: Rule, schema: pa.Schema) -> None:
    text = expression_of(rule)
    for reference in references(parse(text), text):
        check_known([reference.column], schema, f" at character {reference.position} of {text!r}")
    _compiled(rule, schema)
    name, _ = rule.meant_for() or (None, ())
    if name is not None and not pa.types.is_string(schema.field(name).type):
        raise RecipeError(f"the column {name} is {schema.field(name).type}; languages are told apart by text")


def _is_local(rule: Rule, schema: pa.Schema) -> bool:
    return not _compiled(rule, schema).quantiles


def _resolve(rule: Rule, corpus: Corpus) -> Resolved:
    condition = _compiled(rule, corpus.schema)
    if not condition.quantiles:
        return ResolvedCondition(condition, {}, rule.meant_for(), rule.told())
    # The k-th value in order is the first with which the count of values exceeds k - 1.
    budgets = [lambda n, quantile=quantile: quantile.rank(n) - 1 for quantile in condition.quantiles]
    source = partial(_quantile_keys, condition.quantiles)
    results = find_crossings(corpus.engine, corpus.survivors, source, budgets)
    types = (corpus.schema.field(quantile.column).type for quantile in condition.quantiles)
    values = (_value(result, type) for result, type in zip(results, types, strict=True))
    limits = dict(zip(condition.quantiles, values, strict=True))
    return ResolvedCondition(condition, limits, rule.meant_for(), rule.told())


CONDITION = Executor(_check, _resolve, _is_local)


def _quantile_keys(quantiles: tuple[Quantile, ...], shard: SurvivingShard) -> list[Weighted]:
    documents = shard.read([quantile.column for quantile in quantiles])
    keyed = {}
    for name in {quantile.column for quantile in quantiles}:
        keys, valid = order_keys(documents[name])
        keyed[name] = Weighted(keys[valid], np.ones(int(valid.sum()), np.int64))
    return [keyed[quantile.column] for quantile in quantiles]


def _value(found: Located, type: pa.DataType) -> pa.Scalar:
    """Return the value at the crossing; null where the column has no values."""
    return pa.scalar(None, type) if found.crossing is None else value_of(found.crossing.key, type)


def _json(value: pa.Scalar) -> Any:
    return str(value) if pa.types.is_temporal(value.type) else value.as_py()

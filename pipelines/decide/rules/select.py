"""Select: the key at which each budget is spent, found over all shards; each shard then compares its keys with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.errors import RecipeError
from gristmill.operators.expressions.order import order_keys, value_of
from gristmill.operators.rules.effective_size import effective_size, exponential_terms
from gristmill.operators.rules.select import RANDOM, TOKENS, Select
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.decide.contract import Corpus, Executor, Resolved, Tally, Verdict
from gristmill.pipelines.decide.earlier import EarlierShard
from gristmill.pipelines.decide.order_statistics import Crossing, Located, Weighted, find_crossings
from gristmill.pipelines.decide.rules.checks import check_known
from gristmill.pipelines.decide.shards import SurvivingShard, addresses_of, losses
from gristmill.pipelines.engine.base import run_all

REST = "all others"  #: the report's name of the documents without a quota of their own


@dataclass(frozen=True)
class Threshold:
    """The first document, by descending key and ascending address, that the budget has no room for."""

    rank: int  #: order key, complemented: ascending from the best
    address: int

    @property
    def key(self) -> float:
        """Return the key of that document."""
        return float(value_of(~self.rank % 2**64, pa.float64()).as_py())


@dataclass(frozen=True)
class BudgetGroup:
    """A group with a budget, and the threshold at which it is spent."""

    name: str
    budget: int
    candidates: int  #: documents that could be taken
    cost: int  #: of all of them
    threshold: Threshold | None  #: None: all are taken


@dataclass(frozen=True)
class ResolvedSelect:
    """A selection whose thresholds are known."""

    rule: Select
    groups: tuple[BudgetGroup, ...]
    reads: Sequence[str]
    earlier: int = 0  #: what earlier nights have taken of the budget

    def judge(self, ordinal: int, documents: pa.Table) -> Verdict:
        """Return the verdict on a shard's documents, with a tally of documents, costs and weights."""
        keys, costs, group_of = self.rule.keys(documents), self.rule.costs(documents), self.rule.group_of(documents)
        ranks, eligible = _ranks(keys)
        addresses = addresses_of(documents)
        taken = np.zeros(documents.num_rows, np.bool_)
        tally: Tally = Counter({("never",): int((~eligible).sum())})
        for i, group in enumerate(self.groups):
            inside = eligible & (group_of == i)
            taken |= inside & _before(group.threshold, ranks, addresses)
            tally["documents", i] = int((taken & inside).sum())
            tally["cost", i] = int(costs[taken & inside].sum())
        if self.rule.is_weighted:
            tally += _weight_terms(self.rule.log_weights(documents), {"candidates": eligible, "selected": taken})
        rows = np.flatnonzero(~taken)
        return Verdict(self._losses(rows, keys, eligible[rows], group_of[rows]), tally)

    def _losses(
        self, rows: NDArray[np.int64], keys: pa.DoubleArray, eligible: NDArray[np.bool_], group_of: NDArray[np.int64]
    ) -> pa.Table:
        names = [f"quota {group.name}" if self.rule.quotas else None for group in self.groups] + [self._never]
        reasons = np.where(eligible, group_of, len(self.groups))
        limits = [group.threshold.key if group.threshold else None for group in self.groups] + [None]
        return losses(
            rows,
            pa.array(names, pa.string()).take(pa.array(reasons)),
            keys.take(pa.array(rows)),
            pa.array(limits, pa.float64()).take(pa.array(reasons)),
        )

    @property
    def _never(self) -> str:
        return f"{self.rule.by} is null" if self.rule.tokens is None else f"{self.rule.by} or {TOKENS} is null"

    def details(self, tally: Tally) -> dict[str, Any]:
        """Return the budget, the selection and the threshold of each group, and any shortage."""
        unit = TOKENS if self.rule.tokens is not None else "documents"
        groups = [
            {
                "name": group.name,
                "budget": group.budget,
                "candidates": group.candidates,
                "documents": tally["documents", i],
                unit: tally["cost", i],
                "threshold": group.threshold.key if group.threshold else None,
            }
            for i, group in enumerate(self.groups)
        ]
        details: dict[str, Any] = {
            "by": self.rule.by,
            "unit": unit,
            "budget": sum(group.budget for group in self.groups),
            "selected": sum(group[unit] for group in groups),
            "never_taken": tally["never",],
            "groups": groups,
        }
        if self.rule.over == "all":
            details["earlier"] = self.earlier
        if shortages := [shortage for group in self.groups if (shortage := _shortage(group, unit))]:
            details["shortage"] = "; ".join(shortages)
        if self.rule.is_weighted:
            details["effective_size_before"] = _effective_size(tally, "candidates")
            details["effective_size"] = _effective_size(tally, "selected")
        return details


def _check(rule: Select, schema: pa.Schema) -> None:
    check_known(sorted(rule.reads()), schema, " in select")
    if rule.by != RANDOM:
        type = schema.field(rule.by).type
        if not (pa.types.is_integer(type) or pa.types.is_floating(type)):
            raise RecipeError(f"select takes the largest numbers (or by: random); {rule.by} is {type}")
    if rule.quotas is not None:
        type = schema.field(rule.quotas.column).type
        if pa.types.is_nested(type) or pa.types.is_binary(type):
            raise RecipeError(f"quotas go by the values of a column of text or numbers; {rule.quotas.column} is {type}")


def _resolve(rule: Select, corpus: Corpus) -> Resolved:
    read = sorted(rule.reads())
    budgets, earlier = rule.budgets(corpus.survivors.documents), _earlier(rule, corpus)
    budgets = [max(0, budget - spent) for budget, spent in zip(budgets, earlier, strict=True)]
    searches = [lambda n, budget=budget: budget for budget in budgets]
    results = find_crossings(corpus.engine, corpus.survivors, partial(_ranked, rule, read), searches)
    ties = _break_ties(rule, read, corpus, results, budgets)
    names = [*rule.groups, REST] if rule.quotas else ["all"]
    groups = (
        BudgetGroup(name, budget, result.documents, result.weight, threshold)
        for name, budget, result, threshold in zip(names, budgets, results, ties, strict=True)
    )
    return ResolvedSelect(rule, tuple(groups), read, sum(earlier))


SELECT = Executor(_check, _resolve, looks_back=lambda rule: rule.over == "all")


def _earlier(rule: Select, corpus: Corpus) -> list[int]:
    """Return what earlier nights have taken of each group's budget, where it is one for all nights."""
    shards = () if corpus.history is None or rule.over == "night" else corpus.history.earlier
    spent = np.zeros(len(rule.groups) + 1, np.int64)
    for costs in run_all(corpus.engine, partial(_spent, rule), shards):
        spent += costs
    return [int(cost) for cost in spent]


def _spent(rule: Select, shard: EarlierShard) -> NDArray[np.int64]:
    """Return what a shard of an earlier night has taken of each group's budget."""
    documents = shard.read([*rule.cost_columns(), columns.ROW])
    spent = np.zeros(len(rule.groups) + 1, np.int64)
    np.add.at(spent, rule.group_of(documents), rule.costs(documents))
    return spent


def _break_ties(
    rule: Select, columns: list[str], corpus: Corpus, found: list[Located], budgets: list[int]
) -> list[Threshold | None]:
    """Return the threshold of each group: among documents with the key of the crossing, the address decides."""
    crossings = [result.crossing for result in found]
    addresses: list[Located | None] = [None] * len(crossings)
    if any(crossing.documents > 1 for crossing in crossings if crossing is not None):
        remainders = [
            budget - crossing.before if crossing else 0 for budget, crossing in zip(budgets, crossings, strict=True)
        ]
        searches = [lambda n, budget=budget: budget for budget in remainders]
        source = partial(_tied, rule, columns, tuple(crossings))
        addresses = list(find_crossings(corpus.engine, corpus.survivors, source, searches))
    return [
        Threshold(crossing.key, result.crossing.key if result and result.crossing else 0) if crossing else None
        for crossing, result in zip(crossings, addresses, strict=True)
    ]


def _ranked(rule: Select, columns: list[str], shard: SurvivingShard) -> list[Weighted]:
    """Return the ranks of the documents that may be taken, by group: the source of the search for keys."""
    return [Weighted(ranks, costs) for ranks, costs, _ in _by_group(rule, columns, shard)]


def _tied(
    rule: Select, columns: list[str], crossings: tuple[Crossing | None, ...], shard: SurvivingShard
) -> list[Weighted]:
    """Return the addresses of documents with the crossing's key, by group: the source of the search among ties."""
    tied = []
    for crossing, (ranks, costs, addresses) in zip(crossings, _by_group(rule, columns, shard), strict=True):
        same = ranks == crossing.key if crossing else np.zeros(len(ranks), np.bool_)
        tied.append(Weighted(addresses[same], costs[same]))
    return tied


def _by_group(
    rule: Select, columns: list[str], shard: SurvivingShard
) -> list[tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint64]]]:
    """Return ranks, costs and addresses of the documents of each group that may be taken."""
    documents = shard.read(columns)
    ranks, eligible = _ranks(rule.keys(documents))
    costs, group_of, addresses = rule.costs(documents), rule.group_of(documents), addresses_of(documents)
    inside = [eligible & (group_of == i) for i in range(len(rule.groups) + 1)]
    return [(ranks[mask], costs[mask], addresses[mask]) for mask in inside]


def _ranks(keys: pa.DoubleArray) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the ranks (n), ascending from the largest key, and a mask of the documents that may be taken at all."""
    order, eligible = order_keys(keys)
    return ~order, eligible


def _before(threshold: Threshold | None, ranks: NDArray[np.uint64], addresses: NDArray[np.uint64]) -> NDArray[np.bool_]:
    if threshold is None:
        return np.ones(len(ranks), np.bool_)
    before: NDArray[np.bool_] = (ranks < threshold.rank) | ((ranks == threshold.rank) & (addresses < threshold.address))
    return before


def _weight_terms(log_weights: NDArray[np.float64], parts: dict[str, NDArray[np.bool_]]) -> Tally:
    terms: Tally = Counter()
    for which, rows in parts.items():
        for power in (1, 2):
            for exponent, mantissas in exponential_terms(log_weights[rows], power).items():
                terms["weight", which, power, exponent] = mantissas
    return terms


def _effective_size(tally: Tally, which: str) -> float:
    terms: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for key, mantissas in tally.items():
        if key[0] == "weight" and key[1] == which:
            terms[key[2] - 1][key[3]] = mantissas
    return effective_size(*terms)


def _shortage(group: BudgetGroup, unit: str) -> str | None:
    if group.threshold is not None or group.cost >= group.budget:
        return None
    what = "" if group.name == "all" else f" from {group.name}"
    supply = f"{group.cost:,} {unit}" if unit == TOKENS else plural(group.cost, "document")
    return f"asked for {group.budget:,} {unit}{what}, there are only {supply}: all were taken"

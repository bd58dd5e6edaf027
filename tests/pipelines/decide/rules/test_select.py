"""Select over shards, against sorting everything in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.rules.select import Select
from gristmill.pipelines.config.tuning import sizes, tuned
from gristmill.pipelines.decide import RuleCount, decide
from gristmill.pipelines.engine.local import LocalEngine
from tests.pipelines.decide.fakes import documents, split

SHARES = {"docs": 0.5, "web": 0.2}


def select(rule: Select, table: pa.Table, sizes: list[int], folder: Path) -> tuple[list[int], RuleCount]:
    """Positions of the selected documents, and the funnel's row."""
    decided = decide([rule], split(table, sizes), LocalEngine(2), str(folder))
    kept = [
        kept for file in sorted((folder / "decisions").iterdir()) for kept in pq.read_table(file)["kept"].to_pylist()
    ]
    return np.flatnonzero(kept).tolist(), decided.funnel[0]


def brute_force(rule: Select, table: pa.Table) -> list[int]:
    """Take documents from the largest key down until the next would pass the budget of its group."""
    keys = rule.keys(table).to_pylist()
    costs = table["tokens"].to_pylist() if rule.tokens is not None else [1] * table.num_rows
    names = [*rule.quotas.shares] if rule.quotas else []
    groups = [names.index(s) if s in names else len(names) for s in table["source"].to_pylist()]
    taken = []
    for group, budget in enumerate(rule.budgets(table.num_rows)):
        rows = [i for i, key in enumerate(keys) if key is not None and groups[i] == group]
        for i in sorted(rows, key=lambda i: (-keys[i], i)):
            if (budget := budget - costs[i]) < 0:
                break
            taken.append(i)
    return sorted(taken)


def make(values: list[Any], copies: int) -> pa.Table:
    """Documents of which each content occurs up to `copies` times: its noise is the same, and so may be its key."""
    n = len(values)
    table = documents(n)
    ids = table["content_id"].take(pa.array([i // copies for i in range(n)]))
    sources = pa.array([["docs", "web", "news", None][i * 7 % 4] for i in range(n)])
    table = table.set_column(table.column_names.index("content_id"), "content_id", ids)
    tokens = pa.array([None if i % 9 == 8 else i * 5 % 7 for i in range(n)], pa.uint32())
    table = table.set_column(table.column_names.index("tokens"), "tokens", tokens)
    return table.append_column("v", pa.array(values, pa.float64())).append_column("source", sources)


@settings(max_examples=60)
@given(
    values=st.lists(st.one_of(st.none(), st.integers(0, 2), st.just(float("nan"))), min_size=1, max_size=60),
    copies=st.sampled_from([1, 4, 60]),
    by=st.sampled_from([{"by": "v"}, {"by": "v", "method": "top"}, {"by": "random"}, {"by": "v", "temperature": 0.3}]),
    budget=st.sampled_from([{"documents": 7}, {"tokens": 40}, {"fraction": 0.4}, {"documents": 0}, {"documents": 99}]),
    quotas=st.sampled_from([None, {"shares": SHARES}]),
    cut=st.integers(0, 60),
    few=st.sampled_from([2, sizes().tabulated]),
)
def test_against_brute_force(
    values: list[Any], copies: int, by: Any, budget: Any, quotas: Any, cut: int, few: int, tmp_path_factory: Any
) -> None:
    table, rule = make(values, copies), Select(**by, **budget, seed=5, quotas=quotas)
    cut = min(cut, len(values))
    with tuned(tabulated=few):
        found, _ = select(rule, table, [cut, len(values) - cut], tmp_path_factory.mktemp("select"))
    assert found == brute_force(rule, table)


def test_a_budget_of_tokens_ends_at_the_first_document_that_does_not_fit(tmp_path: Path) -> None:
    table = documents(4).append_column("v", pa.array([4.0, 3.0, 2.0, 1.0]))
    table = table.set_column(table.column_names.index("tokens"), "tokens", pa.array([5, 5, 90, 1], pa.uint32()))
    found, count = select(Select(by="v", method="top", tokens=20), table, [4], tmp_path)
    assert found == [0, 1]
    assert (count.details["selected"], count.details["groups"][0]["threshold"]) == (10, 2.0)


def test_what_a_quota_cannot_fill_is_said_and_not_moved(tmp_path: Path) -> None:
    table = documents(10).append_column("source", pa.array(["docs"] * 2 + ["web"] * 8))
    rule = Select(by="random", documents=8, quotas={"shares": {"docs": 0.5, "web": 0.25}})
    found, count = select(rule, table, [5, 5], tmp_path)
    assert len([i for i in found if i < 2]) == 2
    assert len(found) == 4
    assert count.details["shortage"] == (
        "asked for 4 documents from docs, there are only 2 documents: all were taken; "
        "asked for 2 documents from all others, there are only 0 documents: all were taken"
    )
    assert [(g["name"], g["budget"], g["candidates"], g["documents"]) for g in count.details["groups"]] == [
        ("docs", 4, 2, 2),
        ("web", 2, 8, 2),
        ("all others", 2, 0, 0),
    ]


def test_a_budget_larger_than_what_there_is_keeps_all(tmp_path: Path) -> None:
    table = documents(3).append_column("v", pa.array([1.0, None, 3.0]))
    found, count = select(Select(by="v", documents=5), table, [3], tmp_path)
    assert found == [0, 2]
    assert count.details["shortage"] == "asked for 5 documents, there are only 2 documents: all were taken"
    assert (count.details["never_taken"], count.details["groups"][0]["threshold"]) == (1, None)


def test_effective_sizes_before_and_after(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 2, 300)
    table = documents(300).append_column("v", pa.array(values))
    found, count = select(Select(by="v", documents=60, temperature=2.0), table, [100, 200], tmp_path)
    for rows, name in ((np.arange(300), "effective_size_before"), (np.array(found), "effective_size")):
        weights = np.exp(values[rows] / 2.0)
        assert count.details[name] == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-6)


def test_weights_beyond_all_measure_are_chosen_as_any_others(tmp_path: Path) -> None:
    values = [1e300, -1e300, 0.1, 1e300, -1e300, 0.0, 1e300, -1e300]
    found, count = select(Select(by="v", documents=4), documents(8).append_column("v", pa.array(values)), [8], tmp_path)
    assert {0, 3, 6} < {*found} <= {0, 2, 3, 5, 6}
    assert len(found) == 4
    assert count.details["effective_size"] == pytest.approx(3)


def test_every_document_is_drawn_as_often_as_its_weight_says(tmp_path: Path) -> None:
    """Inclusion probabilities of two of three documents drawn one after the other by weights 1, 2 and 5."""
    weights = np.array([1.0, 2.0, 5.0])
    p = weights / weights.sum()
    expected = [p[i] + sum(p[j] * p[i] / (1 - p[j]) for j in range(3) if j != i) for i in range(3)]
    table = documents(3).append_column("v", pa.array(np.log(weights)))
    draws = 3000
    taken = np.zeros(3)
    for seed in range(draws):
        keys = np.asarray(Select(by="v", documents=2, seed=seed).keys(table))
        taken[np.argsort(-keys)[:2]] += 1
    assert taken / draws == pytest.approx(expected, abs=0.03)

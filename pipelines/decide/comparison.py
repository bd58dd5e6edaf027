"""Two lists of rules over the same documents: what each keeps, and which documents come and go between the two.

The rules are those of a run, applied as a run applies them, but no decision is written. What both lists begin with is
applied once; the conditions that they end with are computed in the last pass, by one query for each shard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gristmill.operators.base import Rule
from gristmill.pipelines.decide.driver import Applied, Means, apply_rules
from gristmill.pipelines.decide.executors import given_columns, named_rules
from gristmill.pipelines.decide.last_pass import BothDecided, ComparedSide, compare_sides
from gristmill.pipelines.decide.rule_columns import with_given
from gristmill.pipelines.decide.rules.chain import Chain, chain_of
from gristmill.pipelines.decide.shards import ShardColumns
from gristmill.pipelines.storage import files


@dataclass(frozen=True)
class Variant:
    """Rules, and the shards that they are applied to."""

    rules: Sequence[Rule]
    shards: Sequence[ShardColumns]

    @property
    def chain(self) -> Chain:
        """Return the conditions that the rules end with."""
        return chain_of(self.rules, with_given(self.shards[0].schema, given_columns(self.rules))[-1])


def compare(
    before: Variant,
    after: Variant,
    by: Sequence[str],
    examples: int,
    means: Means,
    on_progress: Callable[[], object] = lambda: None,
) -> BothDecided:
    """Decide the same documents by two lists of rules.

    The shards of both are the same, in the same order, and agree in the columns in `by`, by whose values losses are
    counted, and in COUNTED; other columns may differ. Up to `examples` documents that come and as many that go are
    chosen by a hash of the address, spread over the rules. `on_progress` is called after each shard of the last pass.
    Raises the errors of `decide`.
    """
    variants, same = (before, after), before.shards == after.shards
    chains = [variant.chain for variant in variants]
    ends = [len(variant.rules) - len(chain.rules) for variant, chain in zip(variants, chains, strict=True)]
    common = min(max(ends), common_rules(before.rules, after.rules)) if same else 0
    start = Applied.none(before.shards)
    if same:
        start = apply_rules(before.rules, start, common, _below(means, "both"))
    sides = []
    for variant, chain, end, name in zip(variants, chains, ends, ("before", "after"), strict=True):
        begun = start if same else Applied.none(variant.shards)
        done = apply_rules(variant.rules, begun, max(end, common), _below(means, name))
        sides.append(ComparedSide(variant.rules, done, Chain(chain.rules[len(done.funnel) - end :])))
    return compare_sides(sides, by, examples, means.engine, on_progress)


def common_rules(before: Sequence[Rule], after: Sequence[Rule]) -> int:
    """Return how many rules two lists both begin with."""
    pairs = list(zip(named_rules(before), named_rules(after), strict=False))
    return next((i for i, (one, other) in enumerate(pairs) if one != other), len(pairs))


def _below(means: Means, name: str) -> Means:
    """Return the same means with folders of their own."""
    return replace(means, scratch=files.join(means.scratch, name), run=files.join(means.run, name))

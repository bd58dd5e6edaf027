"""Which rule has an index, and what its entries depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.operators.base import Rule
from gristmill.operators.errors import RecipeError
from gristmill.operators.rules.fuzzy_dedup import FuzzyDedup
from gristmill.pipelines.store.resources import ReadyOperator


def indexed_rule(rules: Sequence[Rule]) -> tuple[int, FuzzyDedup, str] | None:
    """The rule that has an index, its position and the index's name; None where none has.

    Raises RecipeError where several have: what a run keeps goes to one index.
    """
    found = [
        (i, rule, rule.index.name)
        for i, rule in enumerate(rules)
        if isinstance(rule, FuzzyDedup) and rule.index is not None
    ]
    if len(found) > 1:
        named = " and ".join(name for _, _, name in found)
        raise RecipeError(
            f"{len(found)} rules have an index ({named}); what a run keeps can go to one: leave one of them"
        )
    return found[0] if found else None


def index_parameters(rule: FuzzyDedup, transforms: Sequence[ReadyOperator]) -> dict[str, Any]:
    """All that decides signatures, keys and verdicts: two runs may share an index where they agree in it."""
    minhash, (bands, rows) = rule.signature, rule.banding
    return {
        "ngram": minhash.ngram,
        "permutations": minhash.permutations,
        "scheme": minhash.scheme,
        "seed": minhash.seed,
        "minhash": minhash.fingerprint({})[:16],
        "transform": [f"{transform.name} {transform.fingerprint[:16]}" for transform in transforms],
        "bands": bands,
        "rows": rows,
        "threshold": rule.threshold,
        "verify": rule.verify,
    }

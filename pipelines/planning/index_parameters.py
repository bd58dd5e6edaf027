"""The rule that has an index, and the parameters that the entries of that index depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.operators.base import Memory, Rule
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.store.resources import ReadyOperator


def indexed_rule(rules: Sequence[Rule]) -> tuple[int, Memory] | None:
    """Return the position of the rule that has an index, and its memory; None where none has.

    Raises RecipeError where several have: the documents that a run keeps go to one index.
    """
    found = [(i, memory) for i, rule in enumerate(rules) if (memory := rule.remembers()) is not None]
    if len(found) > 1:
        named = " and ".join(memory.name for _, memory in found)
        raise RecipeError(
            f"{len(found)} rules have an index ({named}); what a run keeps can go to one: leave one of them"
        )
    return found[0] if found else None


def index_parameters(memory: Memory, transforms: Sequence[ReadyOperator]) -> dict[str, Any]:
    """Return all that decides signatures, keys and verdicts: runs may share an index if these parameters are equal."""
    chain = [f"{transform.name} {transform.fingerprint[:16]}" for transform in transforms]
    return {**memory.parameters, "transform": chain}

"""Expressions that can make large values of small ones, computed in a separate process with limits.

Where an expression takes more memory or processor time than it may, it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from gristmill.operators.errors import GristmillError, RecipeError, ShardError
from gristmill.operators.expressions.condition import Condition, Fired, Quantile, compile_condition
from gristmill.pipelines.engine.limited_process import CallLimits, ExceededError, Excess, LimitedProcesses

#: Bytes of memory that an expression may take: the columns that it reads are held as they came, as Arrow and in DuckDB.
MEMORY = 1 << 30
#: Processor time of the check before a run, and of a shard.
CHECK_SECONDS, SHARD_SECONDS = 10, 60


def compile_confined(text: str, schema: pa.Schema) -> Condition:
    """Compile a condition as `compile_condition` does, within the limits. Raises RecipeError where it takes more."""
    condition: Condition = _ask(RecipeError, text, CHECK_SECONDS, compile_condition, text, schema)
    return condition


def evaluate_confined(condition: Condition, documents: pa.Table, limits: Mapping[Quantile, pa.Scalar]) -> Fired:
    """Evaluate a condition as `Condition.evaluate` does, within the limits. Raises ShardError where it takes more."""
    needed = documents.select(condition.columns).combine_chunks()
    fired: Fired = _ask(ShardError, condition.text, SHARD_SECONDS, Condition.evaluate, condition, needed, limits)
    return fired


def _ask(error: type[GristmillError], text: str, seconds: int, function: Callable[..., Any], *values: Any) -> Any:
    """Return the result of a function in a separate process, or raise its error; one of this type at a limit."""
    try:
        return _PROCESSES.ask(CallLimits(seconds, MEMORY), function, *values)
    except ExceededError as exceeded:
        at = exceeded.excess
        what = f"{MEMORY >> 30} GB of memory" if at is Excess.MEMORY else f"{seconds} seconds of processor time"
        message = f"{text!r} takes more than {what} to compute, which is all that an expression may take"
        raise error(message) from None


def _load() -> None:
    """Load what conditions need, at no expression's cost."""
    compile_condition("a > 0", pa.schema([("a", pa.int64())]))


_PROCESSES = LimitedProcesses(_load)

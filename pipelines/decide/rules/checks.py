"""Checks of columns that all kinds of rules share."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from gristmill.operators.errors import RecipeError
from gristmill.operators.expressions.order import is_ordered
from gristmill.pipelines.config.wording import did_you_mean


def check_known(names: Iterable[str], schema: pa.Schema, where: str = "") -> None:
    """Raise RecipeError for the first column that does not exist."""
    for name in names:
        if name not in schema.names:
            raise RecipeError(f"unknown column {name}{where}{did_you_mean(name, schema.names)}")


def check_rank(column: str | None, schema: pa.Schema, rule: str) -> None:
    """Raise RecipeError where the column that a rule keeps the best of (None: it keeps the first) has no order."""
    if column is not None and not is_ordered(schema.field(column).type):
        raise RecipeError(f"{rule} keeps the highest number or date; {column} is {schema.field(column).type}")

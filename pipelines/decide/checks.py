"""Checks of columns that all kinds of rules share."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from operators.errors import RecipeError
from pipelines.words import did_you_mean


def check_known(names: Iterable[str], schema: pa.Schema, where: str = "") -> None:
    """Raise RecipeError for the first column that there is not."""
    for name in names:
        if name not in schema.names:
            raise RecipeError(f"unknown column {name}{where}{did_you_mean(name, schema.names)}")

"""Checks of the columns by which tokens are packed apart, before anything runs."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types

from gristmill.operators import columns
from gristmill.operators.errors import RecipeError
from gristmill.operators.pack import Pack
from gristmill.operators.strata import StratumColumn
from gristmill.pipelines.config.located_yaml import Path
from gristmill.pipelines.config.mistakes import Mistakes
from gristmill.pipelines.store.resources import ReadyOperator

_BY: Path = ("write", "pack", "by")


def check_strata(
    ready: ReadyOperator, schema: pa.Schema, counted: ReadyOperator | None, indexed: bool, mistakes: Mistakes
) -> None:
    """Note the columns of a `Pack` that part no documents; those that are missing have been noted before.

    `counted` is the measure that counts tokens; `indexed` says whether the dataset grows by nights.
    """
    settings: Pack = ready.operator
    for i, entry in enumerate(settings.by):
        if entry.column in schema.names:
            with mistakes.noted((*_BY, i)):
                _check_type(entry, schema.field(entry.column).type)
        if entry.percent:
            with mistakes.noted((*_BY, i)):
                _check_percentiles(entry, ready, counted, indexed)


def _check_type(entry: StratumColumn, type: pa.DataType) -> None:
    named = pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_boolean(type)
    whole = pa.types.is_integer(type)
    if entry.cuts and not (whole or pa.types.is_floating(type)):
        raise RecipeError(f"{entry.column} is {type}, which cannot be cut at numbers; write `{entry.column}` alone")
    if entry.column in (columns.ID, columns.URL) or not (entry.cuts or named or whole):
        how = f"; say where it is cut: {{{entry.column}: [50%, 90%]}}" if pa.types.is_floating(type) else ""
        raise RecipeError(f"{entry.column} ({type}) does not part documents into a few strata{how}")


def _check_percentiles(
    entry: StratumColumn, ready: ReadyOperator, counted: ReadyOperator | None, indexed: bool
) -> None:
    """Raise RecipeError where percentiles would move from night to night, or go by other tokens than are packed."""
    if indexed:
        raise RecipeError(
            f"percentiles of {entry.column} would be others each night, and what earlier nights packed stays as it is; "
            f"with an index cut at numbers, such as {{{entry.column}: [0.3, 0.8]}}; docs/packing.md says how to find "
            "those of percentiles"
        )
    tokenizer = ready.digests["tokenizer"]
    if counted is None or counted.digests.get("tokenizer") != tokenizer:
        named = ready.operator.tokenizer
        raise RecipeError(
            f"percentiles of {entry.column} go by tokens, which this recipe does not count with the tokenizer that "
            f"packs; list `tokens: {named}` under measure, or cut at numbers, such as {{{entry.column}: [0.3, 0.8]}}"
        )

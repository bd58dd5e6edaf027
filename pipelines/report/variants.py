"""Columns with values of several types, as DuckDB's VARIANT: answers to tasks of different kinds in one view.

In a query such a value has its own type: a number is compared with numbers and averaged, a text is compared with texts.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

VARIANT, _TEXT = "VARIANT", "VARCHAR"
_NUMBER = "INT64"


def is_mixed(relation: duckdb.DuckDBPyRelation) -> bool:
    """Return whether a relation has columns of VARIANT, which Arrow does not know."""
    return any(VARIANT in str(kind) for kind in relation.types)


def plain_values(relation: duckdb.DuckDBPyRelation) -> pa.Table:
    """Return the rows of a relation, in which each VARIANT is a number where it is one, else a text.

    Lists of them are lists of texts.
    """
    kinds = [str(kind) for kind in relation.types]
    texts = [f"#{i}::{kind.replace(VARIANT, _TEXT)}" if VARIANT in kind else f"#{i}" for i, kind in enumerate(kinds, 1)]
    mixed = [i for i, kind in enumerate(kinds) if kind == VARIANT]
    table = relation.project(", ".join([*texts, *(f"variant_typeof(#{i + 1})" for i in mixed)])).to_arrow_table()
    values = [table.column(i).combine_chunks() for i in range(len(kinds))]
    for at, i in enumerate(mixed, len(kinds)):
        values[i] = _typed(values[i], pc.equal(table.column(at).combine_chunks(), _NUMBER))
    return pa.Table.from_arrays(values, names=relation.columns)


def _typed(texts: pa.Array, is_number: pa.Array) -> pa.Array:
    """Return numbers where all values are numbers, texts where none is, else a union of both."""
    numbers = pc.if_else(is_number, texts, None).cast(pa.int64())
    others = pc.if_else(is_number, None, texts)
    if others.null_count == len(others):
        return numbers if numbers.null_count < len(numbers) else others
    if numbers.null_count == len(numbers):
        return others
    which = np.asarray(pc.invert(is_number)).astype(np.int8)
    return pa.UnionArray.from_sparse(pa.array(which, pa.int8()), [numbers, others], ["number", "text"])

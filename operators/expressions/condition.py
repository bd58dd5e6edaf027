"""A rule's condition, compiled once: the query that says of each document whether it is dropped, by what and how far.

A condition is a chain of clauses joined by OR. The first clause that is true is the reason of the drop; where it
compares numbers, both sides are noted: the value and the limit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError, ShardError
from gristmill.operators.expressions.growth import may_grow
from gristmill.operators.expressions.order import is_ordered
from gristmill.operators.expressions.sandbox import Node, tables, write_expressions
from gristmill.operators.expressions.syntax import column_nodes, hint, is_quantile, parse, position

_OPPOSITE = {"left": "right", "right": "left", "lower": "input", "upper": "input"}
_DOCUMENTS, _LIMITS = "documents", "limits"  # tables of the query: a shard's columns; one row of learnt quantiles


@dataclass(frozen=True)
class Quantile:
    """A quantile that the condition needs: the smallest value v such that at least `p` of the column are <= v."""

    column: str
    p: str  #: as written: a binary fraction would move the rank of round numbers

    @property
    def name(self) -> str:
        """Return its name in the report and in the query."""
        return f"quantile({self.column}, {self.p})"

    def rank(self, n: int) -> int:
        """Return which of n values in ascending order it is, counted from 1."""
        return max(1, math.ceil(Fraction(self.p) * n))


@dataclass(frozen=True)
class Fired:
    """The documents (m of n) for which a condition is true."""

    rows: NDArray[np.int64]  #: their rows, ascending
    clauses: NDArray[np.int64]  #: index of the first clause that is true
    values: pa.DoubleArray  #: the value that the clause compares, null where it compares no numbers
    limits: pa.DoubleArray  #: the limit that it is compared with


@dataclass(frozen=True)
class Condition:
    """A compiled condition. Picklable."""

    text: str
    columns: tuple[str, ...]
    quantiles: tuple[Quantile, ...]
    clauses: tuple[str, ...]  #: as SQL, for reports
    query: str
    tests: tuple[str, ...]  #: the clauses again, as SQL over a table `documents`
    grows: bool = False  #: True if results may be far larger than columns: compute it where that does no harm

    def evaluate(self, documents: pa.Table, limits: Mapping[Quantile, pa.Scalar]) -> Fired:
        """Return which documents (n rows) it is true for. A limit may be null: then no comparison with it is true.

        Raises ShardError where DuckDB cannot compute the expression on a value (a cast, an overflow).
        """
        try:
            with tables(_tables(documents.select(self.columns), limits)) as connection:
                fired = connection.sql(self.query).to_arrow_table()["fired"].combine_chunks()
        except duckdb.Error as error:
            raise not_computed(self.text, error) from error
        rows = np.flatnonzero(np.asarray(fired.is_valid()))
        matches = fired.take(pa.array(rows))
        clauses = np.asarray(matches.field("clause")).astype(np.int64)
        return Fired(rows, clauses, matches.field("value"), matches.field("limit"))


def not_computed(text: str, error: duckdb.Error) -> ShardError:
    """Return the error for an expression that cannot be computed on a value of the shard."""
    reason = f"{text!r} cannot be computed for every document: {_reason(error)}"
    return ShardError(f"{reason}; guard it with try_cast or CASE")


def compile_condition(text: str, schema: pa.Schema) -> Condition:
    """Check a condition against the columns there are, and make its query.

    The columns that it names must be in the schema. Raises RecipeError with the position for wrong types, for what may
    not stand in a rule, and for misused quantiles.
    """
    tree = parse(text)
    grows = may_grow(tree)
    columns = tuple(dict.fromkeys(node["column_names"][0] for node in column_nodes(tree)))
    if not columns:
        raise RecipeError(f"{text!r} names no column: it would drop all documents or none")
    trees = tree["children"] if tree["type"] == "CONJUNCTION_OR" else [tree]
    labels = tuple(_without_parentheses(sql) for sql in write_expressions(trees))
    for node in list(column_nodes(tree)):
        node["column_names"].insert(0, _DOCUMENTS)
    quantiles = tuple(dict.fromkeys(_replace_quantiles(tree, None, text, schema)))
    documents = pa.table({name: pa.nulls(1, schema.field(name).type) for name in columns})
    limits = {quantile: pa.nulls(1, schema.field(quantile.column).type)[0] for quantile in quantiles}
    query, tests = _query(text, trees, labels, _tables(documents, limits))
    return Condition(text, columns, quantiles, labels, query, tests, grows)


def _replace_quantiles(node: Any, compared: str | None, text: str, schema: pa.Schema) -> Iterator[Quantile]:
    """Put a column of the table of limits in place of each quantile; `compared` is the column on the other side."""
    if isinstance(node, list):
        for item in node:
            yield from _replace_quantiles(item, None, text, schema)
    elif is_quantile(node):
        quantile = _read_quantile(node, compared, text, schema)
        column = {"class": "COLUMN_REF", "type": "COLUMN_REF", "column_names": [_LIMITS, quantile.name]}
        place = {key: node[key] for key in ("alias", "query_location", "query_location_length")}
        node.clear()
        node.update(column | place)
        yield quantile
    elif isinstance(node, dict):
        for key, item in node.items():
            yield from _replace_quantiles(item, _column(node.get(_OPPOSITE.get(key, ""))), text, schema)


def _read_quantile(node: Node, compared: str | None, text: str, schema: pa.Schema) -> Quantile:
    arguments = [argument["expression"] for argument in node["arguments"]]
    at = f"character {position(node, text)} of {text!r}"
    if len(arguments) == 2:
        column, explained = _column(arguments[0]), "its first argument is not a plain column"
    else:
        column, explained = compared, "it is not compared with a plain column; write quantile(column, p)"
    if len(arguments) not in (1, 2):
        raise RecipeError(f"quantile at {at}: write quantile(p) or quantile(column, p)")
    if column is None:
        raise RecipeError(f"quantile at {at}: {explained}")
    literal = arguments[-1].get("literal", {})
    if literal.get("kind") not in ("NUMERIC", "INTEGER") or not 0 <= Fraction(literal["text"]) <= 1:
        raise RecipeError(f"quantile at {at}: p is a number from 0 to 1, such as quantile(0.3)")
    if not is_ordered(schema.field(column).type):
        raise RecipeError(f"quantile at {at}: {column} is {schema.field(column).type}, not a number, date or time")
    return Quantile(column, literal["text"])


def _column(node: Any) -> str | None:
    """Return the name of the column that a node is; None for any other node."""
    if isinstance(node, dict) and node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 2:
        table, column = node["column_names"]
        return str(column) if table == _DOCUMENTS else None
    return None


def _query(
    text: str, trees: list[Node], labels: tuple[str, ...], held: Mapping[str, pa.Table]
) -> tuple[str, tuple[str, ...]]:
    """Return the query for the first true clause of each document, with both its sides, else null; and all clauses."""
    n = len(trees)
    sides = [_value_and_limit(tree) for tree in trees]
    sql = write_expressions([*trees, *(value for value, _ in sides), *(limit for _, limit in sides)])
    types = _types(text, sql, held)
    cases = []
    for i, label in enumerate(labels):
        clause, value, limit = sql[i::n]
        clause_type, *side_types = types[i::n]
        if not pa.types.is_boolean(clause_type):
            raise RecipeError(f"in {text!r}, {label} gives {clause_type}, not true or false; compare it{hint(text)}")
        if not all(map(_is_number, side_types)):
            value = limit = "NULL"
        fields = f'clause := {i}, "value" := ({value})::DOUBLE, "limit" := ({limit})::DOUBLE'
        cases.append(f"WHEN {clause} THEN struct_pack({fields})")
    # No WHERE: a filter would be pushed down into Arrow, where NaN compares otherwise than in DuckDB.
    return f"SELECT CASE {' '.join(cases)} END AS fired FROM {', '.join(held)}", tuple(sql[:n])


def _value_and_limit(tree: Node) -> tuple[Node, Node]:
    """Return the sides of a comparison, the one that varies first; nulls for anything else."""
    if tree["class"] != "COMPARISON":
        null: Node = parse("NULL")
        return null, null
    left, right = tree["left"], tree["right"]
    return (right, left) if _varies(right) and not _varies(left) else (left, right)


def _varies(tree: Node) -> bool:
    return any(node["column_names"][0] == _DOCUMENTS for node in column_nodes(tree))


def _types(text: str, expressions: list[str], held: Mapping[str, pa.Table]) -> list[pa.DataType]:
    """Return the types of expressions, as DuckDB binds them; one row of nulls reveals constants that cannot be cast."""
    try:
        with tables(held) as connection:
            bound = connection.sql(f"SELECT {', '.join(expressions)} FROM {', '.join(held)}").to_arrow_table()
    except duckdb.Error as error:
        raise RecipeError(f"{_reason(error)} (in {text!r}){hint(text)}") from error
    return [bound.schema.field(i).type for i in range(len(expressions))]


def _is_number(type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type))


def _tables(documents: pa.Table, limits: Mapping[Quantile, pa.Scalar]) -> dict[str, pa.Table]:
    if not limits:
        return {_DOCUMENTS: documents}
    row = {quantile.name: _one(value) for quantile, value in limits.items()}
    return {_DOCUMENTS: documents, _LIMITS: pa.table(row)}


def _one(value: pa.Scalar) -> pa.Array:
    """Return an array of one value; a null needs no Python value, for which pyarrow would load pandas."""
    return pa.array([value.as_py()], value.type) if value.is_valid else pa.nulls(1, value.type)


def _without_parentheses(sql: str) -> str:
    """Strip the outermost of the parentheses that DuckDB writes around every operator."""
    return sql[1:-1] if sql.startswith("(") and sql.endswith(")") else sql


def _reason(error: duckdb.Error) -> str:
    """Return DuckDB's sentence, without the kind of error before it and the query after it."""
    return re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", str(error).split("\n")[0])

"""DuckDB as an evaluator of expressions and nothing else: no files, no network, no extensions, no Python variables.

One in-memory instance per process; each call works on a cursor of its own, so threads do not see each other's tables.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

#: A node of DuckDB's parse tree, as `json_serialize_sql` gives it.
Node = dict[str, Any]

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "python_enable_replacements": "false",
    "threads": "1",  # the engine's workers are the parallelism
}
#: Macros of DuckDB that are functions of their arguments alone. Others read the catalogue or the clock.
_PURE_MACROS = {"if", "nullif", "split_part", "fmod", "fdiv", "days_in_month", "date_add"}
_PURE_MACRO_FAMILIES = ("list_", "array_")
#: Functions of the clock or the build that DuckDB lists as consistent.
_IMPURE = {"age", "current_localtime", "current_localtimestamp", "version"}


@functools.cache
def _instance() -> duckdb.DuckDBPyConnection:
    instance = duckdb.connect(":memory:", config=_SETTINGS)
    instance.execute("SET GLOBAL TimeZone = 'UTC'")  # dates must not depend on the machine
    instance.execute("SET lock_configuration = true")
    return instance


@contextlib.contextmanager
def tables(held: Mapping[str, pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection that sees these Arrow tables and no others."""
    with _instance().cursor() as connection:
        for name, table in held.items():
            connection.register(name, table)
        yield connection


def parse_select(text: str) -> Node:
    """Return DuckDB's parse of `SELECT text`: {"error": false, "statements": [...]}, or the syntax error."""
    parsed: Node = json.loads(_serialized(text))
    return parsed


@functools.lru_cache(maxsize=1024)
def _serialized(text: str) -> str:
    with tables({}) as connection:
        row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchone()
    assert row is not None
    return str(row[0])


def write_expressions(expressions: Sequence[Node]) -> list[str]:
    """Return the SQL of each expression's tree."""
    select = parse_select("SELECT true")
    trees = []
    for expression in expressions:
        select["statements"][0]["node"]["select_list"] = [expression]
        trees.append(json.dumps(select))
    with tables({}) as connection:
        query = "SELECT json_deserialize_sql(tree) FROM (SELECT unnest(?::JSON[]) AS tree)"
        rows = connection.execute(query, [trees]).fetchall()
    return [sql.removeprefix("SELECT ") for (sql,) in rows]


@functools.cache
def functions() -> dict[str, bool]:
    """Return every function by its lower-case name: True if a row's arguments alone decide its result."""
    columns = "lower(function_name), function_type, coalesce(stability = 'CONSISTENT', true)"
    with tables({}) as connection:
        rows = connection.execute(f"SELECT {columns} FROM duckdb_functions()").fetchall()
    kinds: dict[str, set[str]] = {}
    for name, kind, consistent in rows:
        kinds.setdefault(name, set()).add(kind if consistent else "volatile")
    return {name: _is_pure(name, function_kinds) for name, function_kinds in kinds.items()}


def _is_pure(name: str, kinds: set[str]) -> bool:
    if name in _IMPURE or name.startswith("__"):
        return False
    if "macro" in kinds:
        return name in _PURE_MACROS or name.startswith(_PURE_MACRO_FAMILIES)
    return "scalar" in kinds and not kinds & {"volatile", "aggregate", "window"}

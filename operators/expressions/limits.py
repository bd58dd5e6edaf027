"""Limits in a condition: the comparisons of a column with a number or a quantile, and the condition with another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gristmill.operators.base import Limit
from gristmill.operators.expressions.sandbox import Node, write_expressions
from gristmill.operators.expressions.syntax import column_nodes, is_quantile, parse

_SIGNS = {
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def limits_of(text: str) -> tuple[Limit, ...]:
    """Return the limits in a condition, in its order. Raises RecipeError where it does not parse."""
    found = list(_limits(parse(text)))
    values = [_without_parentheses(sql) for sql in write_expressions([node[side] for node, side, _, _ in found])]
    return tuple(Limit(column, sign, value) for (_, _, column, sign), value in zip(found, values, strict=True))


def with_limit(text: str, limit: Limit, value: str) -> str:
    """Return the condition with another value in place of those of a limit, one of `limits_of`."""
    tree = parse(text)
    for (node, side, _, _), found in zip(_limits(tree), limits_of(text), strict=True):
        if found == limit:
            node[side] = parse(value)
    (changed,) = write_expressions([tree])
    return changed


def _limits(node: Any) -> Iterator[tuple[Node, str, str, str]]:
    """Yield comparisons, the side of the limit in each (left or right), the column and the sign seen from it."""
    if isinstance(node, list):
        for item in node:
            yield from _limits(item)
    elif isinstance(node, dict):
        if node.get("class") == "COMPARISON" and node["type"] in _SIGNS:
            sign = _SIGNS[node["type"]]
            for column, side, seen in ((node["left"], "right", sign), (node["right"], "left", _MIRRORED[sign])):
                if column.get("class") == "COLUMN_REF" and _is_fixed(node[side]):
                    yield node, side, str(column["column_names"][0]), seen
        for item in node.values():
            yield from _limits(item)


def _is_fixed(node: Node) -> bool:
    """Return whether an expression is the same for all documents: a quantile, or one without columns."""
    return is_quantile(node) or not any(column_nodes(node))


def _without_parentheses(sql: str) -> str:
    return sql[1:-1] if sql.startswith("(") and sql.endswith(")") else sql

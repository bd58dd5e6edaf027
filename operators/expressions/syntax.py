"""The syntax of rule expressions: DuckDB's own parse tree, and the part of SQL that is allowed in it.

Allowed is what a single row decides: columns, constants, operators, casts, CASE, and pure functions of these; beyond
that only `quantile`. Everything else (subqueries, aggregates, windows, table functions, the clock, chance) is refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gristmill.operators.errors import RecipeError
from gristmill.operators.expressions.sandbox import Node, functions, parse_select

QUANTILE = "quantile"

#: Characters of an expression.
LONGEST = 100_000
#: Levels of the tree, of which an operator is two.
DEEPEST = 300
_PREFIX = "SELECT ("
_ALLOWED = {
    *("CONJUNCTION", "COMPARISON", "BETWEEN", "OPERATOR", "CASE"),
    *("FUNCTION", "LAMBDA", "COLUMN_REF", "CONSTANT", "CAST", "TYPE", "COLLATE"),
}
_NAMES = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "`*`",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column by position",
    "GROUPING_FUNCTION": "grouping",
}
#: Signs that mean something else in other languages.
_FOREIGN = (
    ("||", "joins texts in SQL; for one or the other", "or"),
    ("&&", "is no `and` in SQL; for both", "and"),
)
_QUOTED = re.compile(r"'(?:[^']|'')*'")


@dataclass(frozen=True)
class Reference:
    """A column that an expression names, and its position in characters from 1."""

    column: str
    position: int


def parse(text: str) -> Node:
    """Return the tree of an expression that holds nothing but what may stand in a rule.

    Raises RecipeError with the position where it does not parse or holds something else.
    """
    if len(text) > LONGEST:
        raise RecipeError(f"an expression has at most {LONGEST:,} characters, not {len(text):,}; make it several rules")
    try:
        tree = _parse(text)
    except RecursionError:
        tree = None
    if tree is None or not _is_flat(tree):
        raise RecipeError(f"{text!r} is nested too deeply: write it as several rules")
    _check(tree, text)
    return tree


def _is_flat(tree: Node) -> bool:
    """Return whether nothing in a tree is so deep that walking through it would fill the stack."""
    level: list[Any] = [tree]
    for _ in range(DEEPEST):
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
        if not level:
            return True
    return False


def _parse(text: str) -> Node:
    parsed = parse_select(f"{_PREFIX}{text}\n)")  # the line break ends a comment
    if parsed["error"]:
        raise _syntax_error(text, parsed)
    selects = [statement["node"] for statement in parsed["statements"]]
    expressions = selects[0].pop("select_list")
    bare = parse_select("SELECT (true)")["statements"][0]["node"]
    bare.pop("select_list")
    if len(selects) != 1 or selects[0] != bare or len(expressions) != 1 or expressions[0].get("function_name") == "row":
        raise RecipeError(f"{text!r} is not one expression: write a condition such as words < 50 or quality < 0.1")
    tree: Node = expressions[0]
    return tree


def references(tree: Node, text: str) -> list[Reference]:
    """Return the columns that the expression names, in its order."""
    return [Reference(node["column_names"][0], position(node, text)) for node in column_nodes(tree)]


def column_nodes(node: Any, parameters: frozenset[str] = frozenset()) -> Iterator[Node]:
    """Yield the nodes that stand for columns (parameters of lambdas do not)."""
    if isinstance(node, list):
        for item in node:
            yield from column_nodes(item, parameters)
    elif isinstance(node, dict) and node.get("class") == "COLUMN_REF":
        if node["column_names"][0] not in parameters:
            yield node
    elif isinstance(node, dict) and node.get("class") == "LAMBDA":
        named = {reference["column_names"][0] for reference in column_nodes(node["lhs"])}
        yield from column_nodes(node["expr"], parameters | named)
    elif isinstance(node, dict):
        for item in node.values():
            yield from column_nodes(item, parameters)


def is_quantile(node: Any) -> bool:
    """Return whether the node is a call of `quantile`."""
    return isinstance(node, dict) and node.get("class") == "FUNCTION" and node["function_name"].lower() == QUANTILE


def position(node: Node, text: str) -> int:
    """Return the position of a node in the text, in characters from 1 (DuckDB counts bytes, from its SELECT)."""
    return _character(node["query_location"], text)


def _check(node: Any, text: str) -> None:
    if isinstance(node, list):
        for item in node:
            _check(item, text)
    elif isinstance(node, dict):
        kind = node.get("class")
        if kind is not None and (kind not in _ALLOWED or node["type"] == "GROUPING_FUNCTION"):
            raise refused(_NAMES.get(node["type"], _NAMES.get(kind, kind.lower())), node, text)
        if kind == "FUNCTION":
            _check_function(node, text)
        for item in node.values():
            _check(item, text)


def _check_function(node: Node, text: str) -> None:
    name = node["function_name"].lower()
    if is_quantile(node):
        if node["filter"] is not None or node["distinct"] or node["order_bys"]["orders"]:
            raise refused("FILTER, DISTINCT or ORDER BY in quantile", node, text)
    elif name not in functions():
        near = difflib.get_close_matches(name, [candidate for candidate, pure in functions().items() if pure], n=1)
        remedy = f"; did you mean {near[0]}?" if near else ": rules use the scalar functions of DuckDB"
        raise RecipeError(f"unknown function {name} at character {position(node, text)} of {text!r}{remedy}")
    elif not functions()[name]:
        raise RecipeError(
            f"function {name} at character {position(node, text)} of {text!r} cannot be used in a rule: the row alone "
            "does not decide its value (aggregates other than quantile, tables, the clock, random numbers)"
        )


def refused(what: str, node: Node, text: str) -> RecipeError:
    """Return the error for something that may not stand where it does."""
    return RecipeError(
        f"{what} at character {position(node, text)} of {text!r} cannot be used in a rule: "
        "write a condition over the columns of one document, with quantile(p) for a share of all"
    )


def hint(text: str) -> str:
    """Return advice on what to write for operators of other languages; an empty text where there are none."""
    code = _QUOTED.sub("", text)
    hints = [f"; `{sign}` {meaning}: write `{word}`" for sign, meaning, word in _FOREIGN if sign in code]
    return "".join(hints)


def _syntax_error(text: str, parsed: Node) -> RecipeError:
    at = _character(int(parsed.get("position", len(_PREFIX))), text)
    if at > len(text.rstrip()):
        missing = f"something is missing after character {len(text.rstrip())}"
        return RecipeError(f"{text!r} ends too early: {missing}{hint(text)}")
    reason = re.sub(r"\s+", " ", str(parsed["error_message"]))
    return RecipeError(f"{reason}, character {at} of {text!r}{hint(text)}")


def _character(location: int, text: str) -> int:
    return len(text.encode()[: location - len(_PREFIX)].decode(errors="ignore")) + 1

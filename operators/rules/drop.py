"""The rule that drops by a condition over columns."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from gristmill.operators.base import Limit, Rule
from gristmill.operators.expressions.limits import limits_of, with_limit
from gristmill.operators.expressions.syntax import parse, references


class Drop(Rule):
    """Drops the documents for which a DuckDB expression over their columns is true.

    `drop: "gopher_words < 50 or quality < quantile(0.3)"`. Where the expression is null (a column of it is null) the
    document stays; NaN is greater than every number, as always in DuckDB.

    `quantile(p)` is the p-quantile, among the documents that the rules before kept, of the column that it is compared
    with: the smallest value v such that at least p of the values that are neither null nor NaN are <= v.
    `quantile(column, p)` may stand anywhere. Nothing in an expression reaches files, the network or the clock.
    """

    shorthand: ClassVar[str | None] = "when"

    when: str = Field(description="DuckDB expression over columns; documents for which it is true go")

    def reads(self) -> set[str]:
        """Return the columns that the expression names. Raises RecipeError where it does not parse."""
        return {reference.column for reference in references(parse(self.when), self.when)}

    def limits(self) -> tuple[Limit, ...]:
        """Return the comparisons of a column with a number or a quantile."""
        return limits_of(self.when)

    def with_limit(self, limit: Limit, value: str) -> Drop:
        """Return the rule with another number in one of these comparisons."""
        return self.model_copy(update={"when": with_limit(self.when, limit, value)})

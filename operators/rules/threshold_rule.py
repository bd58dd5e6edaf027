"""Rules that drop by thresholds of measured columns, each of them an option: their common base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field, ValidationError

from gristmill.operators.base import Limit, Rule
from gristmill.operators.errors import RecipeError


def threshold(value: float | None, description: str, meant_for: str = "") -> Any:
    """Return the field of a threshold: the published value, what it limits, and the languages it is meant for."""
    return Field(default=value, description=description + (f" ({meant_for})" if meant_for else ""))


class ThresholdRule(Rule):
    """Drops a document where a column lies below its minimum, a field `min_...`, or above its maximum, `max_...`.

    null switches a threshold off. The rest of a field's name is that of a column, less `prefix`.
    """

    prefix: ClassVar[str] = ""

    languages: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="judge documents in these languages alone, as the language column spells them; others pass",
    )
    language_column: str = Field(
        default="lang", min_length=1, description="the column that `languages` looks at: metadata of the sources"
    )

    def when(self) -> str:
        """Return the DuckDB expression that drops a document where it is true; "false" with every threshold off."""
        return " or ".join(f"{column} {sign} {limit!r}" for _, column, sign, limit in self._thresholds()) or "false"

    def reads(self) -> set[str]:
        """Return the columns that have a threshold, and that of the language where it is asked for."""
        return {column for _, column, _, _ in self._thresholds()} | (
            {self.language_column} if self.languages else set()
        )

    def meant_for(self) -> tuple[str, tuple[str, ...]] | None:
        """Return the column of the language, and the languages that are judged."""
        return (self.language_column, self.languages) if self.languages else None

    def limits(self) -> tuple[Limit, ...]:
        """Return the thresholds that are on."""
        return tuple(Limit(column, sign, repr(limit)) for _, column, sign, limit in self._thresholds())

    def with_limit(self, limit: Limit, value: str) -> ThresholdRule:
        """Return the rule with another threshold. Raises RecipeError where it takes no such number."""
        option = next(name for name, *rest in self._thresholds() if tuple(rest[:2]) == (limit.column, limit.sign))
        given = self.model_dump(exclude_unset=True)  # a default goes by its own name: 3, where a number given is 3.0
        try:
            return type(self).model_validate({**given, option: value})
        except ValidationError as error:
            raise RecipeError(f"{option}: {error.errors()[0]['msg']}, not {value}") from None

    def _thresholds(self) -> Iterator[tuple[str, str, str, float]]:
        """Yield option, column, sign and limit of each threshold that is on."""
        for name in type(self).model_fields:
            side, _, statistic = name.partition("_")
            limit = getattr(self, name)
            if side in ("min", "max") and limit is not None:
                yield name, f"{self.prefix}{statistic}", "<" if side == "min" else ">", limit

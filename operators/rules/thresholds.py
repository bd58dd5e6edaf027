"""The rule `thresholds`: limits that are not the same for all languages, as `gristmill thresholds` derives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, FiniteFloat, Strict, ValidationError, model_validator

from gristmill.operators.base import Rule
from gristmill.operators.errors import RecipeError

#: Limits by column, and in each by the value of the column `by`.
Bounds = dict[str, dict[str, Annotated[int, Strict()] | FiniteFloat]]

_OPTIONS = ("by", "minimum", "maximum")


class Thresholds(Rule):
    """Drops documents with a value below or above the limit that their language has.

    `thresholds: thresholds.yaml` takes the limits from a file that `gristmill thresholds` wrote. They may stand in the
    recipe as well: `thresholds: {by: lang, minimum: {gopher_words: {en: 50, de: 42}}}`. Documents whose value of `by`
    is null or has no limits pass, and are counted; where a column is null, or has no limit for a value, it drops none.

    Penedo et al. 2025, "FineWeb2" (arXiv:2506.20920), derive the thresholds of filters from each language's own values.
    """

    shorthand: ClassVar[str | None] = "file"

    file: str | None = Field(default=None, description="path of a file with the options below")
    by: str = Field(default="lang", min_length=1, description="column of text whose values have limits of their own")
    minimum: Bounds = Field(default={}, description="limits below which documents go, by column and value")
    maximum: Bounds = Field(default={}, description="limits above which documents go, by column and value")

    @model_validator(mode="after")
    def _check_limits(self) -> Thresholds:
        if self.file is None and not (self.minimum or self.maximum):
            raise ValueError("name a file that `gristmill thresholds` wrote, or give a minimum or maximum")
        return self

    def includes(self) -> dict[str, str]:
        """Return the file of the limits."""
        return {} if self.file is None else {"file": self.file}

    def with_included(self, contents: Mapping[str, Any]) -> Thresholds:
        """Return the rule with the limits of its file. Raises RecipeError where the file holds none."""
        content = contents["file"]
        if self.minimum or self.maximum:
            raise RecipeError("minimum and maximum come from the file; leave them out, or leave the file out")
        if not isinstance(content, dict) or not (content.get("minimum") or content.get("maximum")):
            raise RecipeError(f"{self.file} holds no limits; `gristmill thresholds` with --out writes such files")
        options = {name: content[name] for name in _OPTIONS if name in content}
        try:
            return Thresholds.model_validate({**self.model_dump(), **options})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"][:3]))
            raise RecipeError(f"{self.file}: {place} is not as it should be: {first['msg']}") from None

    def when(self) -> str:
        """Return the DuckDB expression that drops a document where it is true: a comparison for each column."""
        return " or ".join(self._comparison(column, sign, limits) for column, sign, _, limits in self._sides())

    def clauses(self) -> tuple[str, ...]:
        """Return what reports call the comparisons of `when`: their limits are in the decisions."""
        return tuple(f"{column} {sign} {what} of its {self.by}" for column, sign, what, _ in self._sides())

    def reads(self) -> set[str]:
        """Return the columns that have limits, and the one that says which."""
        return {self.by, *self.minimum, *self.maximum}

    def told(self) -> dict[str, Any]:
        """Return the limits, which may stand in a file that is another one later."""
        return {"limits": {"by": self.by, "minimum": self.minimum, "maximum": self.maximum}}

    def meant_for(self) -> tuple[str, tuple[str, ...]]:
        """Return the column `by`, and its values that have limits."""
        return self.by, tuple(dict.fromkeys(value for *_, limits in self._sides() for value in limits))

    def _sides(self) -> Iterator[tuple[str, str, str, Mapping[str, int | float]]]:
        """Yield column, sign, noun and limits of each comparison."""
        for sign, what, bounds in (("<", "minimum", self.minimum), (">", "maximum", self.maximum)):
            for column, limits in bounds.items():
                yield column, sign, what, limits

    def _comparison(self, column: str, sign: str, limits: Mapping[str, int | float]) -> str:
        cases = " ".join(f"WHEN {_text(value)} THEN {_number(limit)}" for value, limit in limits.items())
        return f"{_name(column)} {sign} CASE {_name(self.by)} {cases} END"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _number(limit: int | float) -> str:
    """Return a number in SQL; with an exponent DuckDB reads it as a double, without as a decimal."""
    written = repr(limit)
    return written if isinstance(limit, int) or "e" in written else f"{written}e0"

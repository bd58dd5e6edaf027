"""The rule `cut`: a student's score and the precision, recall or share that is wished for, instead of a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from gristmill.operators.base import Rule
from gristmill.operators.errors import RecipeError
from gristmill.operators.student.cuts import Wish, cut_of

#: What is added to the path of a student for that of its report.
REPORT = ".report.json"


class CutByWish(Rule):
    """Drops documents whose score by a student is below the cut that a wish gives.

    `cut: {wish: "precision >= 0.9", model: models/edu.bin, column: edu}`. Wishes are `precision >= P`, `recall >= R`,
    the best F-beta (`f1`, `f0.1`) and `keep SHARE`; they are looked up in the curve of the report beside the student,
    which is that of the texts that it was tested with. Of another corpus `quantile` keeps a share: see `drop`. Where
    the column is null the document stays.
    """

    wish: str = Field(description='"precision >= 0.9", "recall >= 0.9", "f1", "f0.1" or "keep 0.2"')
    model: str = Field(description="path of the student; its report lies beside it")
    column: str = Field(default="distilled", min_length=1, description="the column of the measure `distilled`")
    label: str | None = Field(default=None, description="whose probability the column is; of a scale none")
    at: float | None = Field(default=None, description="the cut: looked up in the report, or that of an earlier one")

    @model_validator(mode="after")
    def _check_wish(self) -> CutByWish:
        try:
            Wish.of(self.wish)
        except RecipeError as error:
            raise ValueError(str(error)) from None
        return self

    def includes(self) -> dict[str, str]:
        """Return the report on the student."""
        return {} if self.at is not None else {"model": self.model + REPORT}

    def with_included(self, contents: Mapping[str, Any]) -> CutByWish:
        """Return the rule with its cut. Raises RecipeError without a curve, or where no cut fulfils the wish."""
        path, wish = self.model + REPORT, Wish.of(self.wish)
        try:
            curves = {name: curve["rows"] for name, curve in contents["model"]["curves"].items()}
            kind = contents["model"]["kind"]
        except (KeyError, TypeError, AttributeError):
            raise RecipeError(f"{path} is no report of `gristmill distil`") from None
        name = next(iter(curves)) if kind == "scale" else self.label
        if kind == "scale" and self.label is not None:
            raise RecipeError(f"{self.model} has a cut for its expected number ({name}); leave `label` out")
        if name not in curves:
            raise RecipeError(f"{self.model} has cuts for the labels {', '.join(curves)}: name one with `label`")
        row = cut_of(curves[name], wish)
        if row is None:
            best = max(curves[name], key=lambda row: float(row[wish.what]))
            raise RecipeError(
                f"no cut of {self.model} fulfils {self.wish}: the most is {wish.what} {best[wish.what]:.3f}, where it "
                f"keeps {best['kept']:.1%}"
            )
        return self.model_copy(update={"at": float(row["threshold"])})

    def when(self) -> str:
        """Return the DuckDB expression that drops a document where it is true. Raises RecipeError without a cut."""
        if self.at is None:
            raise RecipeError(f"the cut of {self.model} is not looked up yet: load the recipe, or give `at`")
        column = self.column.replace('"', '""')
        return f'"{column}" < {self.at!r}::DOUBLE'

    def clauses(self) -> tuple[str, ...]:
        """Return what reports call the comparison: the wish, whose cut is in the decisions."""
        return (f"{self.column} < cut for {self.wish}",)

    def told(self) -> dict[str, Any]:
        """Return the cut, which stands in the report on the student; nothing where it is not looked up."""
        return {} if self.at is None else {"cut": {"column": self.column, "at": self.at, "wish": self.wish}}

    def reads(self) -> set[str]:
        """Return the column of the score."""
        return {self.column}

"""The base of the parts of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the recipe: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

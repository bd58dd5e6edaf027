"""The section `refresh` of a recipe: what a night takes in, and when readers get what it wrote."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from gristmill.pipelines.config.mistakes import Section

Policy = Literal["keep", "withdraw"]
Share = Annotated[float, Field(ge=0, le=1)]


class Bounds(Section):
    """Least and largest value that a guard lets pass."""

    min: float | None = Field(default=None, ge=0, description="the least that passes")
    max: float | None = Field(default=None, ge=0, description="the most that passes")

    @model_validator(mode="after")
    def _check(self) -> Bounds:
        if self.min is None and self.max is None:
            raise ValueError("give `min`, `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


class DriftGuard(Section):
    """Limits of the movement of measures away from their values of the last nights."""

    psi: float | None = Field(
        default=None, gt=0, description="largest population stability index; 0.25 is a large shift"
    )
    ks: float | None = Field(default=None, gt=0, le=1, description="largest Kolmogorov-Smirnov distance")
    measures: tuple[str, ...] | None = Field(default=None, description="columns that count; by default all numbers")

    @model_validator(mode="after")
    def _check(self) -> DriftGuard:
        if self.psi is None and self.ks is None:
            raise ValueError("give `psi`, `ks` or both")
        return self


class Canaries(Section):
    """Documents, by their ids, whose fate is known."""

    stay: tuple[str, ...] = Field(default=(), description="ids that the version must hold")
    go: tuple[str, ...] = Field(default=(), description="ids that it must not hold")


class Guards(Section):
    """Conditions under which readers get a version. One that does not hold leaves it unpublished."""

    kept: Bounds | None = Field(default=None, description="share of the night's documents that is kept")
    rejects: Share | None = Field(default=None, description="largest share of the night's records in quarantine")
    documents: Bounds | None = Field(default=None, description="documents, as a multiple of those that readers have")
    tokens: Bounds | None = Field(default=None, description="tokens, as a multiple of those that readers have")
    new_tokens: Bounds | None = Field(
        default=None, description="tokens that the night adds, as a multiple of the median of the last nights"
    )
    source_loss: Share | None = Field(
        default=None, description="largest share of its documents that a source may lose beside what readers have"
    )
    drift: DriftGuard | None = Field(default=None, description="how far measures may move from the last nights")
    labels: float | None = Field(
        default=None, gt=0, description="largest population stability index of each column of labels"
    )
    canaries: Canaries | None = Field(default=None, description="documents that must stay, and that must go")
    nights: int = Field(
        default=7, ge=1, description="how many published versions `new_tokens`, `drift` and `labels` look back"
    )


class Retention(Section):
    """Numbers of nights, weeks and months of which the newest version is kept."""

    nightly: int = Field(default=7, ge=0, description="nights")
    weekly: int = Field(default=0, ge=0, description="weeks")
    monthly: int = Field(default=0, ge=0, description="months")

    @model_validator(mode="after")
    def _check(self) -> Retention:
        if not (self.nightly or self.weekly or self.monthly):
            raise ValueError("say of how many nights, weeks or months a version is kept; the least is nightly: 1")
        return self


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Commands = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]


class Refresh(Section):
    """Options of `gristmill refresh`, which runs every night."""

    since: date | None = Field(
        default=None,
        description="first night whose files are read, where paths have {date:...}; else only the night itself",
    )
    vanished: Policy | None = Field(
        default=None,
        description="documents of files that are gone: with an index `keep` (the default) or `withdraw`; without one "
        "they are withdrawn",
    )
    changed: Policy | None = Field(
        default=None,
        description="documents of files as they were before they changed: with an index `keep` (the default) or "
        "`withdraw`; without one they are withdrawn",
    )
    guards: Guards = Field(default=Guards(), description="when readers get the version")
    keep: Retention | None = Field(default=None, description="which versions stay; without it all")
    before: Commands = Field(default=(), description="shell commands to run first; one that fails ends the refresh")
    after: Commands = Field(
        default=(), description="shell commands to run at the end, with the result as JSON on their standard input"
    )

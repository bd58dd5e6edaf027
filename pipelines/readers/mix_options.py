"""The YAML file of a mixture: which datasets, or strata of them, with which weights or tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, field_validator, model_validator

from gristmill.operators.base import PositiveCount
from gristmill.operators.strata import Value, parsed_cut
from gristmill.pipelines.config.mistakes import Section

_REPEAT = re.compile(r"\s*(.*?\S)\s*>\s*([^>]*?)\s*->\s*(\d{1,3}(?:\.\d{1,9})?)\s*", re.ASCII)
_MOST_TIMES = 100


class Repeat(NamedTuple):
    """Strata above a cut that come more often than others."""

    column: str
    bound: float
    percent: bool
    times: float  #: how often, for each time that others come once

    @classmethod
    def parsed(cls, text: str) -> Repeat:
        """Return what `fuzzy_dedup_size > 5 -> 2` says. Raises ValueError for other texts."""
        match = _REPEAT.fullmatch(text)
        bound = None if match is None else parsed_cut(_number(match[2]))
        if match is None or bound is None or not 0 < float(match[3]) <= _MOST_TIMES:
            raise ValueError(f"{text!r} is not COLUMN > NUMBER -> TIMES, such as fuzzy_dedup_size > 5 -> 2")
        return cls(match[1], *bound, float(match[3]))


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class MixedDataset(Section):
    """A dataset in a mixture, or strata of it."""

    dataset: str = Field(min_length=1, description="its folder, such as store/datasets/web")
    version: str | None = Field(default=None, description="name, number or tag; by default the one that readers take")
    where: dict[str, Value | tuple[Value, ...]] | None = Field(
        default=None, description="the strata that are taken, by their values; by default all"
    )
    by: Names = Field(default=(), description="columns of strata that have a weight each")
    weight: float | dict[str, Any] | None = Field(
        default=None, description="its share of the tokens, with `by` of each value; or"
    )
    tokens: PositiveCount | None = Field(default=None, description="how many of the tokens are of it")
    epochs: float = Field(default=1, gt=0, le=100, description="how often its tokens may be read, at most")
    repeat: Names = Field(default=(), description="strata that come more often: fuzzy_dedup_size > 5 -> 2")

    @field_validator("repeat")
    @classmethod
    def _check_repeat(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len({Repeat.parsed(text).column for text in value}) > 1:
            raise ValueError("rules of one part go by one column")
        return value

    @model_validator(mode="after")
    def _check_weights(self) -> MixedDataset:
        if (self.weight is None) == (self.tokens is None):
            raise ValueError("give `weight` or `tokens`, one of them")
        if bool(self.by) != isinstance(self.weight, dict):
            raise ValueError("`by: COLUMN` goes with a weight for each of its values, `weight: {web: 0.7, code: 0.3}`")
        if twice := [column for column in self.by if column in (self.where or {}) or self.by.count(column) > 1]:
            raise ValueError(f"{twice[0]} has one place: in `by`, or in `where`")
        if self.weight is not None and not any([*_leaves(self.weight, len(self.by))]):
            raise ValueError("a weight is more than 0, with `by` one of them at least")
        return self

    @property
    def repeats(self) -> list[Repeat]:
        """Return which strata come more often; of several that a stratum passes, the last one counts."""
        return [Repeat.parsed(text) for text in self.repeat]

    def parts(self) -> Iterator[MixedDataset]:
        """Yield it as parts of one weight each, or of tokens: with `by` one for each value whose weight is not 0."""
        if not self.by:
            yield self
            return
        column, *rest = self.by
        assert isinstance(self.weight, dict)
        for value, weight in self.weight.items():
            if any(_leaves(weight, len(rest))):
                named = {"where": {**(self.where or {}), column: value}, "by": tuple(rest), "weight": weight}
                yield from self.model_copy(update=named).parts()


def _leaves(weight: Any, depth: int) -> Iterator[float]:
    """Yield weights, below so many levels of mappings. Raises ValueError where there is something else."""
    if depth:
        if not isinstance(weight, dict) or not weight:
            raise ValueError(
                "with several columns in `by` each value of the first has weights of the next one's values"
            )
        for inner in weight.values():
            yield from _leaves(inner, depth - 1)
    elif isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
        raise ValueError(f"a weight is a number, 0 or more, not {weight!r}")
    else:
        yield weight


class MixtureOptions(Section):
    """The YAML file of a mixture."""

    version: Literal[1] = Field(description="version of this format")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the mixture")
    length: int = Field(gt=0, description="tokens of a sequence, at most: that of all datasets")
    tokens: PositiveCount | None = Field(default=None, description="tokens in all")
    seed: int = Field(default=0, ge=0, lt=1 << 64, description="of the order")
    window: int = Field(default=16, gt=0, description="shards of a dataset that are read mixed with each other")
    parts: tuple[MixedDataset, ...] = Field(min_length=1, description="the datasets, or strata of them")

    @model_validator(mode="after")
    def _tokens_add_up(self) -> MixtureOptions:
        given = sum(part.tokens or 0 for part in self.parts)
        weighted = any(part.weight is not None for part in self.parts)
        if weighted and self.tokens is None:
            raise ValueError("parts have weights: say with `tokens` what the mixture has in all")
        if weighted and self.tokens is not None and self.tokens <= given:
            raise ValueError(f"the `tokens` of parts are {given:,} together, and leave none for parts with weights")
        if not weighted and self.tokens not in (None, given):
            raise ValueError(f"the `tokens` of parts are {given:,} together: leave out those of the mixture")
        return self

    def asked(self, parts: Sequence[MixedDataset]) -> list[Fraction]:
        """Return the tokens that are asked for of each part: those with weights share what the others leave."""
        left = (self.tokens or 0) - sum(part.tokens or 0 for part in parts)
        weights = [Fraction(0 if isinstance(part.weight, Mapping) else part.weight or 0) for part in parts]
        unit = left / (sum(weights) or Fraction(1))
        return [(part.tokens or 0) + weight * unit for part, weight in zip(parts, weights, strict=True)]

"""The rule that keeps the best documents, or a weighted sample of them, under a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gristmill.operators import columns
from gristmill.operators.base import Count, Rule
from gristmill.operators.kernels.buffers import id_words
from gristmill.operators.kernels.noise import gumbel, uniform

RANDOM = "random"
TOKENS = "tokens"
_ROUNDING = Fraction(1, 10**6)  # written shares may add up to a little more than 1


class Quotas(BaseModel):
    """Shares of the budget by the values of a column; values without a share of their own have the rest together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = Field(default=columns.SOURCE, description="whose values have shares")
    shares: dict[str, float] = Field(min_length=1, description="share of the budget by value, together at most 1")

    @model_validator(mode="after")
    def _check_shares(self) -> Quotas:
        negative = [name for name, share in self.shares.items() if not share >= 0]
        if negative:
            raise ValueError(f"a share is 0 or more; {', '.join(negative)} is not")
        if (total := sum(self.fractions())) > 1 + _ROUNDING:
            raise ValueError(f"shares add up to {float(total):g}; at most 1 can be given away")
        return self

    def fractions(self) -> list[Fraction]:
        """Return the shares as they were written."""
        return [exact(share) for share in self.shares.values()]


class Select(Rule):
    """Keeps documents under a budget, chosen among all shards by the value of a column.

    `select: {by: importance, documents: 2000, seed: 7}`. The budget is one of `documents`, `tokens` or `fraction` (of
    the documents that the rules before kept, rounded down).

    - `method: resample` takes `by` as the logarithm of a weight and samples without replacement, each document drawn
      with probability proportional to exp(value / temperature) among those left: the k largest of value / temperature
      + Gumbel noise (Kool, van Hoof and Welling 2019, "Stochastic beams and where to find them", section 2.3). The
      noise is a hash of seed and content id, so copies of a text have the same.
    - `method: top` takes the largest values.
    - `by: random` takes each document with the same chance.

    In a dataset with an index the budget is each night's own, or with `over: all` that of all nights together: what
    earlier nights kept has been taken of it, group by group.

    Documents are taken from the largest key down, those with equal keys by address, until the next one would pass the
    budget: with a budget of tokens no smaller document further down is taken instead. A document whose value is null
    or NaN (or, under a budget of tokens, without a token count) is never taken. `quotas` give shares of the budget to
    the values of a column; what a value cannot fill is reported, not given to others.
    """

    by: str = Field(description="a numeric column (a log weight for resample), or random")
    method: Literal["resample", "top"] = Field(
        default="resample", description="a weighted sample, or the largest values"
    )
    documents: Count | None = Field(default=None, description="budget in documents, such as 50k")
    tokens: Count | None = Field(default=None, description="budget in tokens, such as 20B")
    fraction: float | None = Field(default=None, ge=0, le=1, description="budget as a share of the documents seen")
    seed: int = Field(default=0, ge=0, lt=2**64, description="of the sample; another seed, another sample")
    temperature: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="above 1 evens the weights out, below 1 sharpens them"
    )
    quotas: Quotas | None = Field(default=None, description="shares of the budget by the values of a column")
    over: Literal["night", "all"] = Field(
        default="night", description="with an index: a budget for each night, or one for all nights together"
    )

    added: ClassVar[Mapping[str, Any]] = {"over": "night"}
    BUDGETS: ClassVar[tuple[str, ...]] = ("documents", "tokens", "fraction")

    @model_validator(mode="after")
    def _check_fields(self) -> Select:
        budgets = [name for name in self.BUDGETS if getattr(self, name) is not None]
        if len(budgets) != 1:
            names = " and ".join(budgets) or "none"
            raise ValueError(f"give exactly one budget, documents, tokens or fraction (found {names})")
        if self.over == "all" and self.fraction is not None:
            raise ValueError("over: all needs a budget of documents or tokens; a fraction is of what a night brings")
        if self.temperature != 1.0 and not self.is_weighted:
            raise ValueError("temperature has a meaning only for method: resample by a column")
        return self

    @property
    def is_weighted(self) -> bool:
        """Return whether the values are logarithms of weights."""
        return self.method == "resample" and self.by != RANDOM

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the values of the column that have a quota, in order; all other documents share the rest."""
        return () if self.quotas is None else tuple(self.quotas.shares)

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("noise",)

    def reads(self) -> set[str]:
        """Return the columns that it reads."""
        names = {columns.CONTENT_ID} if self.method == "resample" or self.by == RANDOM else set()
        names |= {self.by} - {RANDOM}
        names |= {TOKENS} if self.tokens is not None else set()
        return names | ({self.quotas.column} if self.quotas is not None else set())

    def cost_columns(self) -> list[str]:
        """Return the columns that tell what a document takes of which budget."""
        tokens = [TOKENS] if self.tokens is not None else []
        return tokens if self.quotas is None else [*tokens, self.quotas.column]

    def observes(self) -> set[str]:
        """Return the column that documents are chosen by; nothing at random."""
        return {self.by} - {RANDOM}

    def keys(self, documents: pa.Table) -> pa.DoubleArray:
        """Return what documents (n) are taken by, largest first; null for those that are never taken."""
        keys = self._values(documents)
        if self.by != RANDOM and self.method == "resample":
            keys = np.where(
                np.isnan(keys),
                keys,
                keys / self.temperature + gumbel(np.uint64(self.seed), id_words(documents[columns.CONTENT_ID])),
            )
        never = np.isnan(keys)
        if self.tokens is not None:
            never |= np.asarray(documents[TOKENS].is_null())
        return pa.array(keys, mask=never)

    def log_weights(self, documents: pa.Table) -> NDArray[np.float64]:
        """Return logarithms (n) of the weights that documents are drawn by; NaN for null."""
        return self._values(documents) / self.temperature

    def costs(self, documents: pa.Table) -> NDArray[np.int64]:
        """Return what documents (n) take of the budget: one each, or their tokens."""
        if self.tokens is None:
            return np.ones(documents.num_rows, np.int64)
        return np.asarray(pc.fill_null(documents[TOKENS].cast(pa.int64()), 0))

    def group_of(self, documents: pa.Table) -> NDArray[np.int64]:
        """Return the index (n) into `groups`, or its length for documents of no group."""
        if self.quotas is None:
            return np.zeros(documents.num_rows, np.int64)
        values = documents[self.quotas.column].cast(pa.string())
        index = pc.index_in(values, value_set=pa.array(self.groups, pa.string()))
        return np.asarray(pc.fill_null(index, len(self.groups))).astype(np.int64)

    def budgets(self, seen: int) -> list[int]:
        """Return the budget of each of `groups`, then that of all others, for `seen` documents in all."""
        if self.fraction is not None:
            budget = int(exact(self.fraction) * seen)
        else:
            budget = self.documents if self.documents is not None else self.tokens or 0
        shares = [] if self.quotas is None else self.quotas.fractions()
        total = max(Fraction(1), sum(shares, Fraction()))
        return _apportion(budget, [*(share / total for share in shares), 1 - sum(shares, Fraction()) / total])

    def _values(self, documents: pa.Table) -> NDArray[np.float64]:
        if self.by == RANDOM:
            return uniform(np.uint64(self.seed), id_words(documents[columns.CONTENT_ID]))  # type: ignore[no-any-return]
        values = documents[self.by].cast(pa.float64(), safe=False)
        return np.asarray(pc.fill_null(values, float("nan")))


def exact(number: float) -> Fraction:
    """Return the decimal fraction that was written: 0.1 is a tenth."""
    return Fraction(repr(number))


def _apportion(budget: int, shares: Sequence[Fraction]) -> list[int]:
    """Return whole parts of a budget by the largest remainders (Hamilton's method), ties to the first."""
    parts = [int(budget * share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: parts[i] - budget * shares[i])
    for i in by_remainder[: budget - sum(parts)]:
        parts[i] += 1
    return parts

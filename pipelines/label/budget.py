"""Budget of a labelling task: ceilings that hold however many questions are in flight.

An answer is paid for after its question was sent, so a ceiling is kept by reserving: before questions are sent, the
most that their answers can cost is set aside; when an answer is there, its actual cost takes the place of that.

Ceilings hold over all runs of a task; those of `night` over all runs of one date.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gristmill.operators.base import Count
from gristmill.operators.label.task import TaskSection


class Ceilings(TaskSection):
    """The most that may be spent. What is not named is not limited. `80M` is 80,000,000."""

    documents: Count | None = Field(default=None, description="documents answered, each once for each annotator")
    input_tokens: Count | None = Field(default=None, description="tokens of prompts")
    output_tokens: Count | None = Field(default=None, description="tokens of answers")
    cost: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="money, in the prices' currency")


class Budget(Ceilings):
    """Ceilings over all runs of a task in one store."""

    night: Ceilings = Field(
        default=Ceilings(), description="ceilings over the runs of one date; the next night asks what they left"
    )


#: The ceilings of one night are told by these names.
NIGHT = "night."


class Prices(TaskSection):
    """Cost of an annotator's tokens."""

    input_per_million: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="of a million prompt tokens")
    output_per_million: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="of a million answer tokens")

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Return the cost of tokens, in the prices' currency."""
        return (input_tokens * self.input_per_million + output_tokens * self.output_per_million) / 1e6


class Bound(NamedTuple):
    """Cost of one question: the most that it can cost, or what it did cost."""

    input_tokens: int
    output_tokens: int
    documents: int = 1  #: 0 for a repair, whose document was counted before


#: Cost of a question that was never charged.
FREE = Bound(0, 0, 0)


class Amount(NamedTuple):
    """Total that was spent or is reserved."""

    documents: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    def plus(self, other: Amount) -> Amount:
        """Return the sum of both amounts."""
        return Amount(
            self.documents + other.documents,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost + other.cost,
        )

    def less(self, other: Amount) -> Amount:
        """Return this amount less the other."""
        return Amount(
            self.documents - other.documents,
            self.input_tokens - other.input_tokens,
            self.output_tokens - other.output_tokens,
            self.cost - other.cost,
        )


NOTHING = Amount()


class _Account:
    """Account of one annotator in a ledger; whole numbers, so that nothing drifts."""

    def __init__(self) -> None:
        self.settled = np.zeros(3, np.int64)  # input tokens, output tokens, documents: as in Bound
        self.outstanding = np.zeros(3, np.int64)
        self.questions = 0  # in flight
        self.widening = np.ones(2)  # of bounds that answers have exceeded


class Ledger:
    """Keeper of a budget. Thread-safe.

    `spent` is what all runs before this one spent, `tonight` what those of its date did. `on_reserve(annotator,
    amount)` is called before `admit` returns, so that what is about to be spent can be written down durably; if it
    raises, nothing is reserved.
    """

    def __init__(
        self,
        budget: Budget,
        prices: Mapping[str, Prices],
        spent: Amount = NOTHING,
        on_reserve: Callable[[str, Amount], None] | None = None,
        tonight: Amount = NOTHING,
    ) -> None:
        #: names the ceiling that ended the run (`night.cost`); None while there was room for all that was asked
        self.reached: str | None = None
        self._prices = defaultdict(Prices, prices)
        self._before = spent
        self._limits = (("", budget, spent), (NIGHT, budget.night, tonight))
        self._on_reserve = on_reserve
        self._annotators: defaultdict[str, _Account] = defaultdict(_Account)
        self._changed = threading.Condition()
        self._stopped = False

    def admit(self, annotator: str, bounds: Sequence[Bound]) -> list[Bound]:
        """Reserve for as many of these questions, from the first on, as fit below every ceiling.

        Returns what was reserved for each of them, which `settle` takes back. Blocks while nothing fits but a question
        in flight may turn out cheaper than it was reserved for. Empty if nothing fits and nothing is in flight
        (`reached` names the ceiling), or after `stop`.
        """
        if not bounds:
            return []
        costs = np.array(bounds, np.int64)
        with self._changed:
            while True:
                if self._stopped:
                    return []
                account = self._annotators[annotator]
                reserved = _widened(costs, account.widening)
                n, ceiling = self._fitting(annotator, reserved)
                if n:
                    break
                if not any(other.questions for other in self._annotators.values()):
                    self.reached = ceiling
                    return []
                self._changed.wait()
            reserved = reserved[:n]
            self._reserve(account, reserved, 1)
        admitted = [Bound(*row) for row in reserved.tolist()]
        if self._on_reserve is not None:
            try:
                self._on_reserve(annotator, self.worth(annotator, admitted))
            except BaseException:
                with self._changed:
                    self._reserve(account, reserved, -1)
                raise
        return admitted

    def settle(self, annotator: str, reserved: Sequence[Bound], actual: Sequence[Bound]) -> None:
        """Replace what was reserved for questions (n) by their actual costs.

        `actual` is FREE for a question that was not charged, and what was reserved (with no document) for one that may
        have been charged and gave no answer. If an answer cost more than was reserved, it counts as it is, and from
        then on this annotator's bounds are widened in the same proportion.
        """
        if not reserved:
            return
        before, after = np.array(reserved, np.int64), np.array(actual, np.int64)
        with self._changed:
            account = self._annotators[annotator]
            self._reserve(account, before, -1)
            account.settled += after.sum(axis=0)
            exceeded = (after[:, :2] / np.maximum(before[:, :2], 1)).max(axis=0)
            if (exceeded > 1).any():
                account.widening *= np.maximum(exceeded, 1)

    def stop(self) -> None:
        """Wake the threads that wait in `admit`; nothing is admitted from now on."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def worth(self, annotator: str, bounds: Sequence[Bound]) -> Amount:
        """Return the sum of the questions' bounds, with its cost."""
        input_tokens = sum(bound.input_tokens for bound in bounds)
        output_tokens = sum(bound.output_tokens for bound in bounds)
        documents = sum(bound.documents for bound in bounds)
        return Amount(documents, input_tokens, output_tokens, self._prices[annotator].cost(input_tokens, output_tokens))

    @property
    def spent(self) -> Amount:
        """Return the total that all runs have spent so far, without what is only reserved."""
        with self._changed:
            return self._sum(lambda held: held.settled, self._before)

    @property
    def committed(self) -> Amount:
        """Return what was spent and is reserved: above a ceiling only if an answer cost more than its bound."""
        with self._changed:
            return self._sum(_committed, self._before)

    def _reserve(self, held: _Account, reserved: NDArray[np.int64], sign: int) -> None:
        held.outstanding += sign * reserved.sum(axis=0)
        held.questions += sign * len(reserved)
        if sign < 0:
            self._changed.notify_all()

    def _fitting(self, annotator: str, reserved: NDArray[np.int64]) -> tuple[int, str | None]:
        """Return the number of these questions that fit, and the ceiling that the next one would pass."""
        sums = np.cumsum(reserved, axis=0)
        fitting: dict[str, int] = {}
        for prefix, ceilings, before in self._limits:
            total = self._sum(_committed, before)
            for i, name in enumerate(Bound._fields):
                ceiling = getattr(ceilings, name)
                if ceiling is not None:
                    room = max(0, ceiling - getattr(total, name))  # bounds that take none fit even where it is passed
                    fitting[prefix + name] = int(np.searchsorted(sums[:, i], room, side="right"))
            if ceilings.cost is not None:
                fitting[f"{prefix}cost"] = self._within_cost(ceilings.cost, before, annotator, sums)
        if not fitting:
            return len(reserved), None
        ceiling = min(fitting, key=lambda name: fitting[name])
        return fitting[ceiling], ceiling

    def _within_cost(self, ceiling: float, before: Amount, annotator: str, sums: NDArray[np.int64]) -> int:
        """Return the number of questions that fit below a ceiling for cost, by the same sum as `committed`."""
        low, high = 0, len(sums)
        while low < high:
            middle = (low + high + 1) // 2
            if self._sum(_committed, before, annotator, sums[middle - 1]).cost <= ceiling:
                low = middle
            else:
                high = middle - 1
        return low

    def _sum(
        self,
        of: Callable[[_Account], NDArray[np.int64]],
        before: Amount,
        annotator: str | None = None,
        more: NDArray[np.int64] | None = None,
    ) -> Amount:
        """Return the sum of all annotators and of what was spent `before`; `more` is added to one annotator's."""
        total = before
        for name, account in self._annotators.items():
            counts = of(account) if more is None or name != annotator else of(account) + more
            input_tokens, output_tokens, documents = counts.tolist()
            cost = self._prices[name].cost(input_tokens, output_tokens)
            total = total.plus(Amount(documents, input_tokens, output_tokens, cost))
        return total


def _committed(account: _Account) -> NDArray[np.int64]:
    """Return what an account has spent and reserved (3): input tokens, output tokens, documents."""
    total: NDArray[np.int64] = account.settled + account.outstanding
    return total


def _widened(asked: NDArray[np.int64], widening: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return bounds (n, 3) multiplied by the factor that answers have exceeded them by; one token at least."""
    if math.prod(widening) == 1.0:
        return asked
    wide = asked.copy()
    wide[:, :2] = np.ceil(np.maximum(asked[:, :2], 1) * widening)
    return wide

"""Plan and result of a labelling run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gristmill.pipelines.label.budget import NOTHING, Amount, Budget
from gristmill.pipelines.label.forecast import Forecast


@dataclass(frozen=True)
class LabelPlan:
    """Questions that a run is about to ask."""

    task: str
    documents: int  #: that were chosen
    of: int  #: that there were
    texts: int  #: different ones among the chosen
    forecasts: Sequence[Forecast]
    budget: Budget
    spent: Amount  #: by all runs before
    night: str  #: ISO 8601
    tonight: Amount  #: spent before by the runs of that date

    @property
    def questions(self) -> int:
        """Return the number of questions to be sent; repairs of answers that are yet to come are not counted."""
        return sum(forecast.questions for forecast in self.forecasts)


#: Callback that gets the plan and returns whether to go on.
Confirm = Callable[[LabelPlan], bool]


@dataclass(frozen=True)
class AnnotatorResult:
    """Result of one annotator's part of a run. texts = answered + quarantined + unanswered."""

    annotator: str
    model: str
    revision: str
    texts: int  #: different ones that were chosen
    cached: int  #: of them, answered or in quarantine before this run
    answered: int  #: of them, with an answer now
    quarantined: int  #: of them, without an answer and never to be asked again
    unanswered: int  #: of them, for a later run
    repaired: int = 0  #: valid at the second attempt, in this run
    first_failure: str = ""  #: reason, of one of them
    seconds: float = 0.0
    #: expected of those that are left for a later run
    unanswered_input_tokens: int = 0
    unanswered_output_tokens: int = 0
    unanswered_cost: float = 0.0

    @property
    def asked(self) -> int:
        """Return the number of texts that got an answer, or went to quarantine, in this run."""
        return self.answered + self.quarantined - self.cached


@dataclass
class LabelResult:
    """Result of a labelling run."""

    task: str
    fingerprint: str
    run: str
    documents: int
    of: int
    texts: int
    rejects: int  #: records that are no documents
    first_reject: str
    annotators: list[AnnotatorResult] = field(default_factory=list)
    declined: bool = False
    reached: str | None = None  #: the ceiling that ended the run: `cost`, or `night.cost`
    before: Amount = NOTHING  #: spent by all earlier runs
    spent: Amount = NOTHING  #: spent by all runs, this one included
    seconds: float = 0.0
    report: str | None = None  #: URL of the page on the task, where `gristmill label` has left one

    @property
    def complete(self) -> bool:
        """Return whether every text has an answer or is in quarantine."""
        return not self.declined and not any(result.unanswered for result in self.annotators)

    @property
    def waiting(self) -> Amount:
        """Return what is left for a later run, each text once for each annotator, and what it is expected to cost."""
        total = NOTHING
        for left in self.annotators:
            tokens = (left.unanswered_input_tokens, left.unanswered_output_tokens)
            total = total.plus(Amount(left.unanswered, *tokens, left.unanswered_cost))
        return total

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        named = {"before": self.before._asdict(), "spent": self.spent._asdict(), "complete": self.complete}
        named |= {"waiting": self.waiting._asdict()}
        return {**asdict(self), **named}

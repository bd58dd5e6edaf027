"""The context that the stages of a run hand on, and its result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gristmill.operators.errors import FatalError
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.engine.lazy import LateEngine
from gristmill.pipelines.label.budget import NOTHING, Amount
from gristmill.pipelines.label.result import Confirm, LabelResult
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.planning.state import StoreState
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.sources import remarks
from gristmill.pipelines.stages.result_html import result_html
from gristmill.pipelines.store.measures import ShardCounts, ShardMeasures
from gristmill.pipelines.store.registry import Shard
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.runs import Run

if TYPE_CHECKING:
    from gristmill.pipelines.stages.withdraw import WithdrawnShard


@dataclass(frozen=True)
class Measured:
    """The readable shards of a run, in ordinal order, with their counts and their columns."""

    shards: Sequence[Shard]
    counts: Sequence[ShardCounts]
    measures: Sequence[ShardMeasures]
    unreadable: tuple[str, ...]  #: messages of the shards left out, within the recipe's limit
    measured_now: int  #: shards whose text was read by this run
    seconds: Mapping[str, float]  #: processor seconds of this run's pass, by step


@dataclass(frozen=True)
class RunResult:
    """The outcome of a run."""

    recipe: str
    run: str
    dataset: str  #: URL of the version's folder
    funnel: Funnel
    cached: bool  #: nothing had to be done: an earlier run did just this
    shards: int
    measured_now: int
    quarantined: Sequence[str]  #: lines for the console
    duplicate_ids: Mapping[str, Any]
    unreadable: Sequence[str]
    seconds: float
    processor_seconds: Mapping[str, float]  #: by step, of what this run did
    indexed: int = 0  #: shards left out: the index holds what earlier runs decided of them
    nothing_new: bool = False  #: the index holds all shards: nothing was decided
    labels: Sequence[LabelResult] = ()  #: the result of each labelling task
    #: by task: answers that are left for a later run, those of earlier nights among them, and their expected cost
    waiting: Mapping[str, Amount] = field(default_factory=dict)
    withdrawn: int = 0  #: documents that had been kept, of files that are gone or other ones now
    whole: int | None = None  #: documents of the version: of all nights, where the dataset has an index
    packed: Mapping[str, Any] | None = None  #: of all nights: how tokens are packed, and how many
    texts: Mapping[str, Any] | None = None  #: files of texts that another version wrote: `shared_texts`
    held: str | None = None  #: why readers do not take the version: it is held back
    report: str | None = None  #: URL of the page on it, where this run made one
    listed: Sequence[str] = ()  #: remarks on files that sources name and that were not read, or not twice
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  #: by source: records that are no pages

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        labels = [result.to_json() for result in self.labels]
        waiting = {task: amount._asdict() for task, amount in self.waiting.items()}
        return {**asdict(self), "funnel": self.funnel.to_json(), "labels": labels, "waiting": waiting}

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the funnel as a table."""
        return result_html(self)


@dataclass(frozen=True)
class Context:
    """Everything that a stage may need, and the results of the stages before it."""

    state: StoreState
    records: RunRecords  #: of the runs before, and of those that this one finishes
    engine: LateEngine
    reporter: Reporter
    confirm: Confirm = lambda plan: True
    publish: bool = True  #: whether readers get the version at once
    date: date = field(default_factory=lambda: datetime.now(UTC).date())  #: the night, for people and for retention
    shards: Sequence[Shard] = ()  #: shards that the run decides, registered
    withdrawn: Sequence[WithdrawnShard] = ()  #: shards of earlier runs whose documents leave the dataset
    decides_anew: bool = False  #: whether documents leave, or come back: no earlier run did just this
    started: float = field(default_factory=time.monotonic)
    seconds: Counter[str] = field(default_factory=Counter)  #: processor seconds by step
    completed: Sequence[LabelResult] = ()  #: results of tasks that earlier runs left unanswered
    completing: Sequence[Run] = ()  #: runs that were recorded with the answers that came to those
    waiting: Mapping[str, Amount] = field(default_factory=dict)  #: by task: what nights left that was not asked again
    measured: Measured | None = None
    rejects: pa.Table | None = None  #: the quarantine
    fingerprint: str = ""  #: of all that decides the dataset
    run: str = ""  #: name of the run
    url: str = ""  #: of its folder
    funnel: Funnel | None = None
    duplicate_ids: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[LabelResult] = ()
    result: RunResult | None = None  #: the run has come to its end

    @property
    def completes(self) -> bool:
        """Return whether answers came to what earlier runs left."""
        return bool(self.completing)

    @property
    def plan(self) -> Plan:
        """Return the plan of the run."""
        return self.state.plan

    @property
    def store(self) -> str:
        """Return the URL of the store."""
        return self.plan.loaded.store

    @property
    def all_measured(self) -> Measured:
        """Return the measured shards. Raises FatalError before the measure stage."""
        if self.measured is None:
            raise FatalError("a stage asked for measures before there were any; please report it")
        return self.measured

    def listed(self) -> list[str]:
        """Return remarks on files that sources name and that are not read, or not twice."""
        redacted: list[str] = self.plan.loaded.document.redact_value(
            [*remarks.remarks(self.plan.found), *self.plan.looked]
        )
        return redacted

    def with_waiting(self, more: Mapping[str, Amount]) -> Context:
        """Return the context with more answers that wait, by task."""
        names = dict.fromkeys([*self.waiting, *more])
        total = {name: self.waiting.get(name, NOTHING).plus(more.get(name, NOTHING)) for name in names}
        return replace(self, waiting={name: amount for name, amount in total.items() if amount.documents})

    def with_plan(self, plan: Plan) -> Context:
        """Return the context with another plan of the same run."""
        return replace(self, state=replace(self.state, plan=plan))

"""One run: measure what is missing, decide globally, write the survivors, commit. Every stage can be resumed.

Counts are checked before the commit: records = documents + quarantined, documents = kept + dropped by each rule, rows
written = kept. A run whose counts do not add up commits nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from gristmill.operators import columns
from gristmill.operators.base import FittedMeasure, Operator, digest_of
from gristmill.operators.errors import RecipeError, StoreDamaged
from gristmill.operators.table import name_of
from gristmill.pipelines.decide import count_duplicates, decide
from gristmill.pipelines.decide.executors import rewrite_by
from gristmill.pipelines.decide.funnel import Funnel, build_funnel
from gristmill.pipelines.decide.fuzzy.history import History
from gristmill.pipelines.decide.losses import check_limit as check_losses
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.lazy import LateEngine
from gristmill.pipelines.engine.warm_up import compile_missing
from gristmill.pipelines.index.recovery import recovered
from gristmill.pipelines.label.result import Confirm, LabelResult
from gristmill.pipelines.planning.fits import make_fit
from gristmill.pipelines.planning.plan import Plan, fitted, index_remark, make_plan
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import LoadedRecipe
from gristmill.pipelines.shard_tasks.reread import Texts
from gristmill.pipelines.sources import remarks
from gristmill.pipelines.stages import quarantine
from gristmill.pipelines.stages.complete import Completed, complete_earlier
from gristmill.pipelines.stages.label import LabelSurvivors, label_survivors
from gristmill.pipelines.stages.measure import Measured, all_measured, measure_all, with_given_columns
from gristmill.pipelines.stages.remember import remember
from gristmill.pipelines.stages.write import write_dataset
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.remote import at_hand
from gristmill.pipelines.store import runs
from gristmill.pipelines.store.datasets import Dataset, Version
from gristmill.pipelines.store.lock import writer_lock
from gristmill.pipelines.store.registry import Shard, check_addresses
from gristmill.pipelines.store.version import RESULTS


@dataclass(frozen=True)
class RunResult:
    """The result of a run."""

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
    listed: Sequence[str] = ()  #: remarks on files that sources name and that were not read, or not twice

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        labels = [result.to_json() for result in self.labels]
        return {**asdict(self), "funnel": self.funnel.to_json(), "labels": labels}


def run(
    loaded: LoadedRecipe,
    open_engine: Callable[[], Engine],
    reporter: Reporter,
    refit: bool = False,
    confirm: Confirm = lambda plan: True,
) -> RunResult:
    """Run a recipe against its store.

    `confirm` is shown what labelling tasks are about to ask, and says whether they go on; without their answers the
    dataset is written with what is known.

    Raises GristmillError; what was finished before the error stays in the store.
    """
    with ExitStack() as stack:
        stack.enter_context(at_hand())
        plan = make_plan(loaded, refit)  # before the store is touched: a wrong recipe leaves no trace
        stack.enter_context(writer_lock(loaded.store, reporter.say))
        runs.sweep_unfinished(loaded.store)
        if plan.index is not None:
            recovered(loaded.store, plan.index.name)
        plan.read_state()
        engine = stack.enter_context(LateEngine(open_engine))
        this = RunStages(plan, engine, reporter, confirm)
        completed = this.go_on()
        result = this.run() if plan.pending else this.nothing_new()
        return replace(
            result,
            labels=[*(labelled for earlier in completed for labelled in earlier.labels), *result.labels],
            cached=result.cached and not any(earlier.run for earlier in completed),
        )


class RunStages:
    """The stages of one run, in the order in which they happen."""

    def __init__(self, plan: Plan, engine: LateEngine, reporter: Reporter, confirm: Confirm) -> None:
        self.plan, self.engine, self.reporter, self.confirm = plan, engine, reporter, confirm
        self.loaded, self.recipe, self.store = plan.loaded, plan.loaded.recipe, plan.loaded.store
        self.started = time.monotonic()
        self.shards = plan.registry.register(plan.pending, plan.loaded.document)
        self.seconds: Counter[str] = Counter()
        self.listed: list[str] = plan.loaded.document.redact_value([*remarks.remarks(plan.found), *plan.looked])
        if plan.index is not None and plan.indexed:
            reporter.say(f"  index    {plan.index.name} {index_remark(plan.indexed, len(plan.pending))}")

    def run(self) -> RunResult:
        """Run all stages."""
        self._check_history()
        if self.plan.index is None and all_measured(self.plan, self.shards):
            found = self._earlier(self._fingerprint(self.shards))
            if found is not None:
                return self._standing(*found, unreadable=())
        self._compile()
        self._fit()
        measured = measure_all(self.plan, self.shards, self.engine, self.reporter)
        self.seconds.update(measured.seconds)
        rejects = quarantine.gather(measured.shards, measured.counts, measured.measures)
        quarantine.check_limit(self.recipe, measured.shards, measured.counts, rejects)
        asked = self._fingerprint(measured.shards)
        found = self._earlier(asked)
        if found is not None:
            return self._cached(*found, measured, asked)
        name = runs.new_name(self.store, asked)
        url = files.join(self.store, runs.FOLDER, name)
        funnel, duplicates = self._decide(measured, url)
        given, labels = self._label(with_given_columns(self.plan, measured, url), url)
        version, funnel, seconds = write_dataset(self.plan, given, url, funnel, self.engine, self.reporter)
        self.seconds.update(seconds)
        files.write_table(files.join(url, "rejects.parquet"), rejects)
        runs.write_shards(url, self.store, self.loaded.document, given.shards, given.counts, given.measures)
        this = runs.Run(self.store, name, {})
        addition = remember(self.plan, given, this, asked, funnel.kept, self.engine)
        result = RunResult(
            recipe=self.recipe.name,
            run=name,
            dataset=version.url,
            funnel=funnel,
            cached=False,
            shards=len(self.shards),
            indexed=self.plan.indexed,
            measured_now=measured.measured_now,
            quarantined=quarantine.remarks(rejects),
            duplicate_ids=duplicates,
            unreadable=measured.unreadable,
            seconds=time.monotonic() - self.started,
            processor_seconds=dict(self.seconds),
            labels=labels,
            listed=self.listed,
        )
        held = self.loaded.document.redact_value(result.to_json())
        record = {"name": self.recipe.name, "fingerprint": asked, "version": version.name, "result": held}
        told = {} if addition is None else {"index": addition.to_json()}
        replace(this, record={**record, **told, "recipe": self.loaded.as_written}).write_record()
        if addition is not None:
            addition.commit()
        return result

    def go_on(self) -> Sequence[Completed]:
        """Ask what earlier runs left unanswered; see `stages.complete`."""
        if self.plan.index is None or not self.plan.tasks:
            return []
        self._check_history()
        self._fit()
        return complete_earlier(self.plan, self.engine, self.reporter, self.confirm)

    def nothing_new(self) -> RunResult:
        """Return the result of a run whose shards are all in the index: the dataset of the last run stands."""
        self.shards = self.plan.registry.register(self.plan.specs, self.loaded.document)
        self._check_history()
        current = runs.current_run(self.store, self.recipe.name)
        if current is not None:
            version = Dataset(self.store, self.recipe.name).named(current.record["version"])
            return self._standing(current, version, unreadable=(), nothing_new=True)
        raise RecipeError(
            f"the index holds all {self.plan.indexed} shards, but no run of {self.recipe.name} decided them: there is "
            "nothing to do. Add sources, or take shards out of the index with `gristmill index remove`"
        )

    def _check_history(self) -> None:
        """Raise StoreDamaged where a version that an index builds on is not whole: no run makes it again."""
        if self.plan.index is None:
            return
        runs.check_records(self.store, self.plan.index)
        for stands in runs.standing_runs(self.store, self.recipe.name):
            if stands.run.index != self.plan.index.name:
                continue
            version, faults = runs.whole_version(stands.run, self.reporter.warn)
            if faults:
                raise StoreDamaged(
                    version.url,
                    f"{faults[0]}. The run {stands.run.name} wrote it, and the index {self.plan.index.name} holds what "
                    "that run kept, which no run decides again. Nothing was touched. Restore the file from a backup",
                )

    def _compile(self) -> None:
        """Compile what the run calls here and is not compiled yet. On a cluster each node does so for its tasks."""
        if self.engine.name == "local":
            at_work: list[Operator] = [*self.plan.rules]
            if not all_measured(self.plan, self.shards):
                at_work += [
                    *(ready.operator for ready in self.plan.transforms),
                    *(m.operator for m in self.plan.measures),
                ]
            compile_missing({"hash_texts", *(name for one in at_work for name in one.kernels())}, self.reporter)

    def _fit(self) -> None:
        pending = [i for i, m in enumerate(self.plan.measures) if m.fit is not None and m.ready is None]
        with self.reporter.stage("fit", len(pending), "measure") as stage:
            for i in pending:
                measure = self.plan.measures[i]
                assert isinstance(measure.operator, FittedMeasure)
                assert measure.fit is not None
                shards = self.shards
                if measure.fit.lost is not None:
                    self.reporter.warn(f"! {measure.fit.artefact} is damaged or gone: made again as it was")
                    shards = self.plan.registered()
                try:
                    make_fit(self.loaded, measure.operator, measure.fit, self.plan.transforms, shards, self.engine)
                except RecipeError as error:
                    raise RecipeError(f"{self.loaded.where(*measure.path)}: {error}") from None
                self.plan.measures[i] = fitted(self.plan, measure, measure.fit)
                stage.advance()

    def _fingerprint(self, measured: Sequence[Shard]) -> str:
        """Return a digest of all that decides the dataset: inputs as measured, rules, output, the results' version."""
        rules = [[name_of(rule), rule.fingerprint({})] for rule in self.plan.rules]
        documents = [self.plan.document_fingerprint(source) for source in self.recipe.sources]
        shards = [[shard.ordinal, shard.source.name] for shard in measured]
        output = [self.recipe.name, self.recipe.write.shard_bytes, self.plan.output.names, self.plan.by]
        index = [] if self.plan.index is None else [g.name for g in self.plan.index.generations]
        labels = [task.fingerprint for task in self.plan.tasks]
        return digest_of([output, rules, self.plan.measured_by(), documents, shards, index, *labels, RESULTS])

    def _earlier(self, asked: str) -> tuple[runs.Run, Version] | None:
        """Return an earlier run that did just what is asked, and its whole version; None where there is none."""
        for earlier in () if self.plan.tasks else runs.finished_runs(self.store):  # answers may have come since
            if earlier.record["fingerprint"] == asked:
                version, faults = runs.whole_version(earlier, self.reporter.warn)
                if not faults:
                    self._check_losses(Funnel.from_json(earlier.record["result"]["funnel"]))
                    self.reporter.say(f"  the run {earlier.name} did just this: nothing is read, decided or written")
                    return earlier, version
                return None
        return None

    def _cached(self, earlier: runs.Run, version: Version, measured: Measured, asked: str) -> RunResult:
        kept = int(earlier.record["result"]["funnel"]["kept"])
        given = with_given_columns(self.plan, measured, earlier.url)
        addition = remember(self.plan, given, earlier, asked, kept, self.engine)
        if addition is not None:  # its shards were taken out of the index since
            addition.commit()
        return self._standing(earlier, version, unreadable=measured.unreadable, measured_now=measured.measured_now)

    def _standing(self, earlier: runs.Run, version: Version, **now: Any) -> RunResult:
        """Return an earlier run's result with what is different now; its version becomes the one that readers take."""
        Dataset(self.store, self.recipe.name).point_at(version)
        held = {**earlier.record["result"], "funnel": Funnel.from_json(earlier.record["result"]["funnel"])}
        now = {
            "measured_now": 0,
            **now,
            "dataset": version.url,
            "indexed": self.plan.indexed,
            "processor_seconds": {},
            "labels": (),
            "listed": self.listed,
        }
        return RunResult(**{**held, **now, "cached": True, "seconds": time.monotonic() - self.started})

    def _decide(self, measured: Measured, url: str) -> tuple[Funnel, Mapping[str, Any]]:
        with self.reporter.stage("decide", len(self.plan.rules), "rule") as stage:
            texts = Texts({shard.ordinal: shard for shard in measured.shards}, self.plan.transforms)
            history = None if self.plan.index is None else History.of(self.plan.index)
            decided = decide(
                self.plan.rules,
                measured.measures,
                self.engine,
                url,
                on_progress=stage.advance,
                texts=texts,
                history=history,
                by=self.plan.by,
            )
        duplicates = count_duplicates(measured.measures, columns.ID, self.engine, url)
        funnel = build_funnel(measured.counts, decided, self.plan.tokens_are_estimated)
        funnel.check()
        check_addresses(measured.shards)
        self._check_losses(funnel)
        return funnel, duplicates

    def _check_losses(self, funnel: Funnel) -> None:
        limit, where = self.recipe.limits.source_loss, self.loaded.where("limits", "source_loss")
        check_losses(funnel.losses, limit, where, by=self.recipe.report.by or ())

    def _label(self, measured: Measured, url: str) -> tuple[Measured, Sequence[LabelResult]]:
        """Return the shards with the columns of the labelling tasks, and the result of each task."""
        if not self.plan.tasks:
            return measured, ()
        texts = Texts({shard.ordinal: shard for shard in measured.shards}, self.plan.transforms)
        survivors = LabelSurvivors(self.store, self.recipe.name, url, measured, texts, rewrite_by(self.plan.rules))
        self.engine.start()
        measures, results = label_survivors(self.plan.tasks, survivors, self.reporter, self.confirm)
        return replace(measured, measures=measures), results

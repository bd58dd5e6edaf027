"""The measure stage of a run: what is missing, the pass over it, and the places of all columns afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gristmill.operators.errors import FatalError, GristmillError, ShardError
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.decide import given_columns, given_parts
from gristmill.pipelines.engine.base import Engine, check_reach
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.planning.state import StoreState
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.shard_tasks.measure import MeasureShard, measure_shard
from gristmill.pipelines.sources.discover import ShardSpec
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.sources.storage import UnreadableFiles
from gristmill.pipelines.stages.context import Context, Measured
from gristmill.pipelines.store.grouping import without
from gristmill.pipelines.store.measures import HeldMeasures, Pass, ShardCounts, ShardMeasures, check_measures
from gristmill.pipelines.store.registry import Shard


def measure(context: Context) -> Context:
    """Measure what no earlier run has measured."""
    measured = measure_all(context.state, context.shards, context.engine, context.reporter)
    context.seconds.update(measured.seconds)
    return replace(context, measured=measured)


def measure_all(state: StoreState, shards: Sequence[Shard], engine: Engine, reporter: Reporter) -> Measured:
    """Measure what is missing. Raises ShardError where more shards are unreadable than the recipe allows.

    Measures of earlier runs are checked first: what is damaged is measured again.
    """
    work = _Work(state, engine, reporter, _check_held(state, shards, engine, reporter))
    broken = work.measure(shards)
    while broken:
        shards, again = work.regroup(shards, broken)
        broken = work.measure(again)
    failed = work.failed
    _refuse(state.plan, failed, len(shards))
    readable = [shard for shard in shards if shard.ordinal not in failed]
    counts_of = [work.counted[shard.ordinal] for shard in readable]
    measures = [
        ShardMeasures(s.ordinal, counts.documents, s.source.name, _places(state, s), state.plan.schema)
        for s, counts in zip(readable, counts_of, strict=True)
    ]
    unreadable = tuple(_message(shard, failed[shard.ordinal]) for shard in shards if shard.ordinal in failed)
    return Measured(readable, counts_of, measures, unreadable, work.measured, work.seconds)


class _Work:
    """The pass over what is missing, and its outcome."""

    def __init__(self, state: StoreState, engine: Engine, reporter: Reporter, counted: dict[int, ShardCounts]) -> None:
        self.state, self.engine, self.reporter = state, engine, reporter
        self.counted = counted
        self.failed: dict[int, Exception] = {}
        self.seconds: Counter[str] = Counter()
        self.measured = 0

    def measure(self, shards: Sequence[Shard]) -> dict[int, UnreadableFiles]:
        """Measure what is missing of some shards; return those of several files of which some cannot be read."""
        tasks = [task for shard in shards if (task := _missing(self.state, shard)) is not None]
        if tasks:
            urls = (file.url for shard in shards for file in shard.spec.files)
            check_reach(self.engine, [self.state.plan.loaded.store, *urls])
        if len(tasks) < len(shards):
            done = f"{len(shards) - len(tasks)} of {len(shards)} shards are measured already"
            self.reporter.say(f"  measure  {done}: their text is not read for it")
        broken: dict[int, UnreadableFiles] = {}
        passes = [_begin(self.state, task) for task in tasks]
        sizes = _sizes([task.shard for task in tasks])
        with self.reporter.stage("measure", len(tasks), "shard", sum(sizes), len(shards) - len(tasks)) as stage:
            stage.watch({task.url: size for task, size in zip(tasks, sizes, strict=True)})
            for outcome in self.engine.map(measure_shard, tasks):
                ordinal = tasks[outcome.index].shard.ordinal
                stage.went_through(sizes[outcome.index])
                if isinstance(outcome.error, FatalError):
                    raise outcome.error
                if isinstance(outcome.error, UnreadableFiles):
                    broken[ordinal] = outcome.error
                    stage.advance()
                elif outcome.error is not None:
                    self._fail(tasks[outcome.index].shard, outcome.error)
                    stage.advance()
                else:
                    counts = outcome.unwrap()
                    self.state.measures.done(passes[outcome.index], [counts.ordinal])
                    self.seconds.update(counts.seconds)
                    self.counted.setdefault(counts.ordinal, counts)
                    self.measured += 1
                    stage.advance(1, counts.text_bytes, counts.documents, counts.rejects)
        return broken

    def regroup(
        self, shards: Sequence[Shard], broken: Mapping[int, UnreadableFiles]
    ) -> tuple[list[Shard], list[Shard]]:
        """Return the shards, those of several files without the files that cannot be read, and the new ones of them.

        Files that cannot be read become shards of their own, which have failed.
        """
        alone: list[tuple[ShardSpec, Source, str]] = []
        rests: list[tuple[ShardSpec, Source]] = []
        for shard in (shard for shard in shards if shard.ordinal in broken):
            failures = dict(broken[shard.ordinal].failures)
            rest, unreadable = without(shard.spec, list(failures))
            rests += [] if rest is None else [(rest, shard.source)]
            alone += [(s, shard.source, m) for s, m in zip(unreadable, failures.values(), strict=True)]
        document, registry = self.state.plan.loaded.document, self.state.registry
        new = registry.register([*rests, *((spec, source) for spec, source, _ in alone)], document)
        messages = {(spec.files[0].url, source.name): message for spec, source, message in alone}
        again = []
        for shard in new:
            message = messages.get((shard.spec.files[0].url, shard.source.name))
            if message is not None and len(shard.spec.files) == 1:
                self._fail(shard, ShardError(message))
            else:
                again.append(shard)
        whole = [shard for shard in shards if shard.ordinal not in broken]
        return sorted([*whole, *new], key=lambda shard: shard.ordinal), again

    def _fail(self, shard: Shard, error: Exception) -> None:
        self.failed[shard.ordinal] = error
        self.reporter.warn(f"! {_message(shard, error)}")


def with_given_columns(plan: Plan, measured: Measured, run_url: str) -> Measured:
    """Return the shards with the columns that a run's rules gave: the dataset and the run's record may name them."""
    gives = given_columns(plan.rules)
    measures = [
        replace(shard, parts=shard.parts + given_parts(gives, run_url, shard.ordinal), schema=plan.decided)
        for shard in measured.measures
    ]
    return replace(measured, measures=measures)


def _sizes(shards: Sequence[Shard]) -> list[float]:
    """Return the bytes of files that each shard reads: an equal part of a file that is read in several parts."""
    parts = Counter(file.url for shard in shards for file in shard.spec.files)
    return [sum(file.size / parts[file.url] for file in shard.spec.files) for shard in shards]


def all_measured(state: StoreState, shards: Sequence[Shard]) -> bool:
    """Return whether nothing is missing of any shard."""
    ready = all(measure.ready is not None for measure in state.plan.measures)
    return ready and all(_missing(state, shard) is None for shard in shards)


def _check_held(
    state: StoreState, shards: Sequence[Shard], engine: Engine, reporter: Reporter
) -> dict[int, ShardCounts]:
    """Return the counts of shards whose documents' own columns were measured before, by ordinal.

    Measure files that are not what was written are removed, with a warning.
    """
    for url in state.measures.damaged:
        reporter.warn(f"! {url} is damaged: what it describes is measured again")
    candidates = [candidate for shard in shards if (candidate := _held(state, shard)).urls]
    counts_by_ordinal: dict[int, ShardCounts] = {}
    for outcome in engine.map(check_measures, candidates):
        counts, damaged = outcome.unwrap()
        for url in damaged:
            reporter.warn(f"! {url} is damaged: its shard is measured again")
            state.measures.forget(url, candidates[outcome.index].ordinal)
        if counts is not None:
            counts_by_ordinal[counts.ordinal] = counts
    return counts_by_ordinal


def _held(state: StoreState, shard: Shard) -> HeldMeasures:
    """Return the files of a shard's measures that earlier runs wrote."""
    plan = state.plan
    document, *others = (
        state.measures.find(fingerprint, shard.ordinal)
        for fingerprint in (plan.document_fingerprint(shard.source), *_fingerprints(plan))
    )
    urls = dict.fromkeys(place[0] for place in (document, *others) if place is not None)
    return HeldMeasures(shard.ordinal, tuple(urls), document[0] if document is not None else None)


def _fingerprints(plan: Plan) -> list[str]:
    return [plan.fingerprint(measure.ready) for measure in plan.measures if measure.ready is not None]


def _missing(state: StoreState, shard: Shard) -> MeasureShard | None:
    """Return the task that measures what a shard lacks; None where nothing is missing."""
    plan = state.plan
    measures = tuple(
        m.ready
        for m in plan.measures
        if m.ready is not None and state.measures.find(plan.fingerprint(m.ready), shard.ordinal) is None
    )
    with_document = state.measures.find(plan.document_fingerprint(shard.source), shard.ordinal) is None
    if not measures and not with_document:
        return None
    task = MeasureShard(shard, plan.transforms, measures, with_document, "")
    return MeasureShard(
        shard, plan.transforms, measures, with_document, state.measures.file(_pass(plan, task).name, shard.ordinal)
    )


def _pass(plan: Plan, task: MeasureShard) -> Pass:
    operators = {plan.fingerprint(ready): tuple(ready.operator.gives().names) for ready in task.measures}
    if task.with_document:
        operators[plan.document_fingerprint(task.shard.source)] = tuple(task.document_columns())
    return Pass(operators)


def _begin(state: StoreState, task: MeasureShard) -> Pass:
    new = _pass(state.plan, task)
    state.measures.begin(new)
    return new


def _places(state: StoreState, shard: Shard) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the files of a shard's columns, the one with the documents' own columns first, each file once."""
    plan = state.plan
    places: dict[str, tuple[str, ...]] = {}
    for fingerprint in (plan.document_fingerprint(shard.source), *_fingerprints(plan)):
        place = state.measures.find(fingerprint, shard.ordinal)
        if place is None:
            raise FatalError(
                f"{shard.spec.name} was measured but its measures are gone: does something else write to the store?"
            )
        url, names = place
        places[url] = places.get(url, ()) + names
    return tuple(places.items())


def _message(shard: Shard, error: Exception) -> str:
    """Return a shard's error in one line that names the file and the remedy."""
    if isinstance(error, GristmillError):
        return str(error)
    if isinstance(error, PermissionError):
        return f"{shard.spec.name}: no permission to read it; grant it (chmod +r) or run as a user who may"
    if isinstance(error, FileNotFoundError):
        return f"{shard.spec.name}: the file is gone since the run began; run again to go on without it"
    if isinstance(error, MemoryError):
        return f"{shard.spec.name}: there is not enough memory"
    return f"{shard.spec.name}: {type(error).__name__}: {error}"


def _refuse(plan: Plan, failed: Mapping[int, Exception], shards: int) -> None:
    if not failed:
        return
    unexpected = [error for error in failed.values() if not isinstance(error, GristmillError | OSError)]
    if unexpected and all(isinstance(error, MemoryError) for error in unexpected):
        raise FatalError(
            f"there was not enough memory for {plural(len(unexpected), 'shard')}; the others are measured and kept. "
            "Give this process more, or fewer --workers, and run again"
        )
    if unexpected:
        raise FatalError(
            f"{len(unexpected)} shards met an error that gristmill does not know; the others are measured and kept"
        ) from unexpected[0]
    if len(failed) > plan.loaded.recipe.limits.unreadable_shards:
        raise ShardError(
            f"{len(failed)} of {shards} shards cannot be read (named above): nothing is committed, the other shards "
            "are measured and kept. Fix or remove the files and run again, or leave them out with "
            f"limits: {{unreadable_shards: {len(failed)}}}"
        )

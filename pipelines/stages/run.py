"""One run: a list of stages over a plan and an open store. Every stage can be taken up again.

Counts are checked before the commit: records = documents + quarantined, documents = kept + dropped by each rule, rows
written = kept. A run whose counts do not add up commits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime

from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.lazy import LateEngine
from gristmill.pipelines.index.recovery import recovered
from gristmill.pipelines.label.result import Confirm
from gristmill.pipelines.planning.state import StoreState, plan_run
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import LoadedRecipe
from gristmill.pipelines.stages.commit import commit
from gristmill.pipelines.stages.complete import complete_earlier
from gristmill.pipelines.stages.context import Context, RunResult
from gristmill.pipelines.stages.decide import decide
from gristmill.pipelines.stages.extract import extract
from gristmill.pipelines.stages.label import label
from gristmill.pipelines.stages.measure import measure
from gristmill.pipelines.stages.prepare import check_history, compile_kernels, make_fits, register_shards
from gristmill.pipelines.stages.quarantine import check_quarantine
from gristmill.pipelines.stages.standing import (
    end_where_all_is_cached,
    end_where_decided_before,
    end_where_nothing_is_new,
)
from gristmill.pipelines.stages.withdraw import withdraw
from gristmill.pipelines.storage.remote import at_hand
from gristmill.pipelines.store.lock import writer_lock
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.unfinished import sweep_unfinished

Stage = Callable[[Context], Context]

#: A run ends with the first stage that gives a result.
STAGES: Sequence[Stage] = (
    withdraw,
    register_shards,
    check_history,
    complete_earlier,
    end_where_nothing_is_new,
    end_where_all_is_cached,
    compile_kernels,
    extract,
    make_fits,
    measure,
    check_quarantine,
    end_where_decided_before,
    decide,
    label,
    commit,
)


def run(
    loaded: LoadedRecipe,
    open_engine: Callable[[], Engine],
    reporter: Reporter,
    refit: bool = False,
    confirm: Confirm = lambda plan: True,
    publish: bool = True,
    night: date | None = None,
    records: RunRecords | None = None,
    finish: Callable[[Context], RunResult] | None = None,
) -> RunResult:
    """Run a recipe against its store.

    `confirm` is shown what labelling tasks are about to ask, and says whether they go on; without their answers the
    dataset is written with what is known. Without `publish` readers stay with the version that they have.
    `night` is the date that the version is of, by default today's (UTC). `records` are those of the store's runs, where
    some were read already. `finish` gets the context of a run that decided something, or completed the labels of an
    earlier one, once it is recorded and while the store is locked, and returns the result.

    Raises GristmillError; what was finished before the error stays in the store.
    """
    with ExitStack() as stack:
        stack.enter_context(at_hand())
        state = plan_run(loaded, refit)  # before the store is touched: a wrong recipe leaves no trace
        stack.enter_context(writer_lock(loaded.store, reporter.say))
        records = records or RunRecords(loaded.store)
        sweep_unfinished(records)
        if state.index is not None:
            recovered(records, state.index.name)
        state = StoreState.read(state.plan)
        engine = stack.enter_context(LateEngine(open_engine))
        context = run_stages(
            STAGES, Context(state, records, engine, reporter, confirm, publish, night or datetime.now(UTC).date())
        )
        assert context.result is not None
        result, labels = context.result, [*context.completed, *context.result.labels]
        if finish is not None and (context.completes or not result.cached):
            result = finish(context)
        for labelled in labels:
            context = context.with_waiting({labelled.task: labelled.waiting})
        cached = result.cached and not context.completes
        return replace(result, labels=labels, waiting=context.waiting, cached=cached)


def run_stages(stages: Sequence[Stage], context: Context) -> Context:
    """Hand the context from stage to stage, until one gives the run its result."""
    for stage in stages:
        context = stage(context)
        if context.result is not None:
            break
    return context

"""The stages before a run measures: its history is checked, its kernels are compiled, its fits are made."""

from __future__ import annotations

from dataclasses import replace

from gristmill.operators.base import FittedMeasure, Operator
from gristmill.operators.errors import RecipeError, StoreDamaged
from gristmill.pipelines.engine.warm_up import compile_missing
from gristmill.pipelines.planning.fits import make_fit
from gristmill.pipelines.planning.plan import fitted
from gristmill.pipelines.planning.state import index_remark
from gristmill.pipelines.stages.context import Context
from gristmill.pipelines.stages.measure import all_measured
from gristmill.pipelines.stages.pack import check_packed_alike
from gristmill.pipelines.store import whole
from gristmill.pipelines.store.unfinished import check_records


def register_shards(context: Context) -> Context:
    """Give the shards that the run decides their ordinals."""
    state = context.state
    if state.index is not None and state.indexed:
        context.reporter.say(f"  index    {state.index.name} {index_remark(state.indexed, len(state.pending))}")
    return replace(context, shards=state.registry.register(state.pending, context.plan.loaded.document))


def check_history(context: Context) -> Context:
    """Raise StoreDamaged where a version that an index builds on is not whole: no run makes it again."""
    index = context.state.index
    if index is None:
        return context
    check_records(context.records, index)
    for stands in context.records.standing(context.plan.loaded.recipe.name):
        if stands.run.index != index.name:
            continue
        version, faults = whole.whole_version(stands.run, context.reporter.warn)
        if faults:
            raise StoreDamaged(
                version.url,
                f"{faults[0]}. The run {stands.run.name} wrote it, and the index {index.name} holds what that run "
                "kept, which no run decides again. Nothing was touched. Restore the file from a backup",
            )
        check_packed_alike(context.plan.pack, version.manifest, context.plan.loaded.where("write", "pack"))
    return context


def compile_kernels(context: Context) -> Context:
    """Compile what the run calls here and is not compiled yet. On a cluster each node does so for its tasks."""
    if context.engine.name == "local":
        plan = context.plan
        at_work: list[Operator] = [*plan.rules]
        if not all_measured(context.state, context.shards):
            at_work += [*(ready.operator for ready in plan.transforms), *(m.operator for m in plan.measures)]
        if plan.pack is not None:
            at_work.append(plan.pack.operator)
        compile_missing(
            {"hash_texts", *(name for operator in at_work for name in operator.kernels())}, context.reporter
        )
    return context


def make_fits(context: Context) -> Context:
    """Learn from a sample of the corpus what measures such as importance need and no earlier run has learnt."""
    pending = [m for m in context.plan.measures if m.fit is not None and m.ready is None]
    with context.reporter.stage("fit", len(pending), "measure") as stage:
        for measure in pending:
            plan, fit = context.plan, measure.fit
            assert isinstance(measure.operator, FittedMeasure)
            assert fit is not None
            shards = context.shards
            if fit.lost is not None:
                context.reporter.warn(f"! {fit.artefact} is damaged or gone: made again as it was")
                shards = context.state.registered()
            try:
                make_fit(plan.loaded, measure.operator, fit, plan.transforms, shards, context.engine)
            except RecipeError as error:
                raise RecipeError(f"{plan.loaded.where(*measure.path)}: {error}") from None
            context = context.with_plan(fitted(plan, measure, fit))
            stage.advance()
    return context

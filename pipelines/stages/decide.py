"""The decide stage: rules over all shards, and a funnel whose counts add up."""

from __future__ import annotations

from dataclasses import replace

from gristmill.operators import columns
from gristmill.pipelines.decide import count_duplicates, executor_for
from gristmill.pipelines.decide import decide as decide_all
from gristmill.pipelines.decide.earlier import EarlierShard
from gristmill.pipelines.decide.funnel import Funnel, build_funnel
from gristmill.pipelines.decide.fuzzy.history import History
from gristmill.pipelines.decide.losses import check_limit
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.shard_tasks.reread import Texts
from gristmill.pipelines.stages.context import Context
from gristmill.pipelines.store.fuzzy_index import Index
from gristmill.pipelines.store.measures import ShardMeasures
from gristmill.pipelines.store.registry import check_addresses


def decide(context: Context) -> Context:
    """Decide what to keep of all documents. Raises FatalError where counts do not add up or a source loses too much."""
    plan, measured, index = context.plan, context.all_measured, context.state.index
    with context.reporter.stage("decide", len(plan.rules), "rule") as stage:
        decided = decide_all(
            plan.rules,
            measured.measures,
            context.engine,
            context.url,
            on_progress=stage.advance,
            texts=Texts({shard.ordinal: shard for shard in measured.shards}, plan.transforms),
            history=None if index is None else History.of(index, _earlier(context, index)),
            by=plan.by,
        )
    duplicates = count_duplicates(measured.measures, columns.ID, context.engine, context.url)
    funnel = build_funnel(measured.counts, decided, plan.tokens_are_estimated)
    funnel.check()
    check_addresses(measured.shards)
    check_source_losses(plan, funnel)
    return replace(context, funnel=funnel, duplicate_ids=duplicates)


def _earlier(context: Context, index: Index) -> list[EarlierShard]:
    """Return what earlier nights kept, where a rule looks back at it, by what it was measured by."""
    plan, measures = context.plan, context.state.measures
    if not any(executor_for(rule).looks_back(rule) for rule in plan.rules):
        return []
    fingerprints = [plan.fingerprint(measure.ready) for measure in plan.measures if measure.ready is not None]
    found = []
    for stands in context.records.standing(plan.loaded.recipe.name):
        for row in stands.decided:
            if stands.run.index != index.name or (held := index.held.get(row["ordinal"])) is None:
                continue
            parts = list(row["parts"])  # which names no signatures
            parts += [place for made in fingerprints if (place := measures.find(made, row["ordinal"])) is not None]
            measured = ShardMeasures(row["ordinal"], row["documents"], row["source"], tuple(parts), plan.schema)
            found.append(EarlierShard(measured, stands.run.decisions(row["ordinal"]), held.documents))
    return found


def check_source_losses(plan: Plan, funnel: Funnel) -> None:
    """Raise FatalError where the rules take more of a source than the recipe's limits allow."""
    recipe = plan.loaded.recipe
    where = plan.loaded.where("limits", "source_loss")
    check_limit(funnel.losses, recipe.limits.source_loss, where, by=recipe.report.by or ())

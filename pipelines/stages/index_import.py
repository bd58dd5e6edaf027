"""Import of an existing dataset into an index: later runs are resolved against it, too."""

from __future__ import annotations

from contextlib import ExitStack

from gristmill.operators.base import digest_of
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.lazy import LateEngine
from gristmill.pipelines.index.generations import Addition, Kept, key_files_for, write_generation
from gristmill.pipelines.index.recovery import recovered
from gristmill.pipelines.planning.plan import index_parameters, indexed_rule
from gristmill.pipelines.planning.state import StoreState, plan_run
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import LoadedRecipe, Write
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.stages.context import Context
from gristmill.pipelines.stages.measure import measure
from gristmill.pipelines.stages.prepare import register_shards
from gristmill.pipelines.stages.quarantine import check_quarantine
from gristmill.pipelines.stages.run import run_stages
from gristmill.pipelines.store.fuzzy_index import Generation, GenerationFiles
from gristmill.pipelines.store.lock import writer_lock
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.unfinished import sweep_unfinished

MADE_BY = "import"


def import_dataset(loaded: LoadedRecipe, source: Source, engine: Engine, reporter: Reporter) -> Generation:
    """Sign the documents of a source as a recipe's indexed rule would, and add them all to the index as a generation.

    All of them count as survivors: nothing is compared or dropped. Their shards are decided by that, so no run decides
    them again. Raises RecipeError where no rule of the recipe has an index, or nothing is new.
    """
    indexed = indexed_rule(loaded.recipe.decide)
    if indexed is None:
        raise RecipeError(
            f"{loaded.document.where(('decide',))}: no rule of the recipe has an index; give its fuzzy_dedup one: "
            "`index: {name: web}`"
        )
    position, memory = indexed
    name = memory.name
    alone = loaded.recipe.decide[position].model_copy(update={"keep": "first"})
    changes = {"sources": (source,), "measure": (), "decide": (alone,), "write": Write()}
    recipe = loaded.recipe.model_copy(update=changes)
    changed = LoadedRecipe(recipe, loaded.document, loaded.base, loaded.as_written)
    plan = plan_run(changed).plan
    with ExitStack() as stack:
        stack.enter_context(writer_lock(loaded.store, reporter.say))
        records = RunRecords(loaded.store)
        sweep_unfinished(records)
        index = recovered(records, name)
        state = StoreState.read(plan)
        if not state.pending:
            raise RecipeError(f"the index {name} holds all {state.indexed} shards of {source.path} already")
        late = LateEngine(lambda: engine)
        context = run_stages((register_shards, measure, check_quarantine), Context(state, records, late, reporter))
        measured = context.all_measured
        ordinals = [shard.ordinal for shard in measured.shards]
        content = digest_of([MADE_BY, plan.measured_by(), ordinals, [g.name for g in index.generations]])
        documents = sum(counts.documents for counts in measured.counts)
        at = GenerationFiles(index.folder(index.next_name(content)), key_files_for(memory.bands, documents))
        kept_shards = [Kept(shard, shard.source) for shard in measured.measures]
        generation = write_generation(at, MADE_BY, memory, None, kept_shards, engine)
        Addition(index, index_parameters(memory, plan.transforms), generation).commit()
        return generation

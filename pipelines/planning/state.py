"""State of a store as a plan sees it: shards that are registered, measured and indexed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gristmill.operators.errors import RecipeError
from gristmill.operators.table import name_of
from gristmill.pipelines.config.mistakes import Mistakes
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.planning.plan import Plan, PlannedMeasure, index_parameters, indexed_rule, make_plan
from gristmill.pipelines.recipe.recipe import LoadedRecipe
from gristmill.pipelines.recipe.source_fields import check_fields
from gristmill.pipelines.sources.discover import ShardSpec
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.store.fuzzy_index import Index
from gristmill.pipelines.store.grouping import settled
from gristmill.pipelines.store.measures import MeasureStore
from gristmill.pipelines.store.registry import Registry, Shard


@dataclass(frozen=True)
class StoreState:
    """Contents of a store, by the shards of a plan's sources."""

    plan: Plan
    registry: Registry
    measures: MeasureStore
    index: Index | None  #: the history that the run is resolved against
    specs: list[tuple[ShardSpec, Source]]  #: all shards, small files in the groups that the registry knows
    pending: list[tuple[ShardSpec, Source]]  #: shards that the run decides: no earlier run decided them for the index
    known: list[Shard]  #: those of them that earlier runs registered

    @classmethod
    def read(cls, plan: Plan) -> StoreState:
        """Read the state of a plan's store. To be repeated once the store is locked: another run may have written.

        Raises StoreDamaged where the store is not what was written, RecipeError where the parameters of its index
        differ from those of the recipe.
        """
        store, document = plan.loaded.store, plan.loaded.document
        extract = plan.loaded.recipe.extract
        registry, measures, index = Registry(store, extract), MeasureStore(store), _open_index(plan)
        held_shards = {} if index is None else index.held
        registry.check_knows([*measures.ordinals(), *held_shards])
        specs = settled(plan.specs(), registry, document, held_shards)
        ordinals = [registry.known(spec, source, document) for spec, source in specs]
        entries = [
            (ordinal, *spec) for ordinal, spec in zip(ordinals, specs, strict=True) if ordinal not in held_shards
        ]
        pending = [(spec, source) for _, spec, source in entries]
        known_shards = [
            registry.shard(ordinal, spec, source) for ordinal, spec, source in entries if ordinal is not None
        ]
        return cls(plan, registry, measures, index, specs, pending, known_shards)

    @property
    def indexed(self) -> int:
        """Return the number of shards of the sources that the index holds."""
        return len(self.specs) - len(self.pending)

    def unread(self) -> dict[str, list[ShardSpec]]:
        """Return the shards that no run has read yet, by the name of their source."""
        known_ids = {id(shard.spec) for shard in self.known}
        unread: dict[str, list[ShardSpec]] = {}
        for spec, source in self.pending:
            if id(spec) not in known_ids:
                unread.setdefault(source.name, []).append(spec)
        return unread

    def registered(self) -> list[Shard]:
        """Return all shards of the sources that earlier runs registered, including those that an index holds."""
        ordinals = [self.registry.known(spec, source, self.plan.loaded.document) for spec, source in self.specs]
        return [self.registry.shard(n, *spec) for n, spec in zip(ordinals, self.specs, strict=True) if n is not None]

    def cached(self, measure: PlannedMeasure | None) -> int:
        """Return the number of the run's shards already measured (None: for the columns that every document gets)."""
        if measure is None:
            return sum(self._holds(self.plan.document_fingerprint(s.source), s) for s in self.known)
        if measure.ready is None:
            return 0
        fingerprint = self.plan.fingerprint(measure.ready)
        return sum(self._holds(fingerprint, shard) for shard in self.known)

    def _holds(self, fingerprint: str, shard: Shard) -> bool:
        return self.measures.find(fingerprint, shard.ordinal) is not None


def _open_index(plan: Plan) -> Index | None:
    """Open the index that the run is resolved against. Raises RecipeError where its parameters differ."""
    indexed = indexed_rule(plan.rules)
    if indexed is None:
        return None
    i, memory = indexed
    index = Index(plan.loaded.store, memory.name)
    try:
        index.check(index_parameters(memory, plan.transforms))
    except RecipeError as error:
        raise RecipeError(f"{plan.loaded.where('decide', i, name_of(plan.rules[i]), 'index')}: {error}") from None
    return index


def plan_run(loaded: LoadedRecipe, refit: bool = False, asks: bool = True) -> StoreState:
    """Make the plan of a run and read the state of its store; fields of files that no run has read are checked.

    Changes nothing. See `make_plan` for `refit`, `asks` and errors.
    """
    state = StoreState.read(make_plan(loaded, refit, asks))
    unread = state.unread()
    if not unread:
        return state
    mistakes = Mistakes(loaded.document)
    begun = {shard.source.name for shard in state.registered()}
    remarks = check_fields(loaded.recipe.sources, unread, begun, mistakes)
    mistakes.raise_if_any()
    return replace(state, plan=replace(state.plan, looked=tuple(remarks)))


def index_remark(held: int, pending: int) -> str:
    """Return the consequence for a run of an index that holds some of its shards, as a sentence."""
    decided = f"holds {plural(held, 'shard')}, whose documents earlier runs decided"
    return decided if pending else f"{decided}: nothing is new"

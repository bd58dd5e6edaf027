"""The plan: recipe and store -> results held and missing, the schema after each stage. Nothing is executed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from gristmill.operators import columns
from gristmill.operators.base import FittedMeasure, Measure, Operator, Rule, digest_of
from gristmill.operators.errors import RecipeError
from gristmill.operators.table import name_of
from gristmill.pipelines.config.located_yaml import Path
from gristmill.pipelines.config.mistakes import Mistakes
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.decide import executor_for, given_columns, grouped_by, with_given
from gristmill.pipelines.label.columns import label_columns, with_labels
from gristmill.pipelines.label.task import LoadedTask, load_task
from gristmill.pipelines.planning.fits import Fit, find_fit, fit_resource
from gristmill.pipelines.planning.implied_measures import TOKENS, implied_measures
from gristmill.pipelines.planning.index_parameters import index_parameters, indexed_rule
from gristmill.pipelines.recipe.recipe import LoadedRecipe, Recipe, document_schema
from gristmill.pipelines.recipe.source_fields import check_fields, remedy
from gristmill.pipelines.shard_tasks.measure import DOCUMENT_VERSION
from gristmill.pipelines.sources.discover import Discovery, ShardSpec, SourceFiles
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.fuzzy_index import Index
from gristmill.pipelines.store.grouping import settled
from gristmill.pipelines.store.measures import MeasureStore
from gristmill.pipelines.store.registry import Registry, Shard
from gristmill.pipelines.store.resources import ReadyOperator, resource


@dataclass(frozen=True)
class PlannedMeasure:
    """Measure of the run. `ready` is None while its fit has still to be made."""

    name: str
    operator: Measure
    path: Path  #: its place in the recipe
    ready: ReadyOperator | None
    fit: Fit | None = None
    needed_by: str | None = None  #: the reader that needs it, where the recipe does not list it


@dataclass
class Plan:
    """Everything that is known before the run starts."""

    loaded: LoadedRecipe
    found: list[SourceFiles]  #: in recipe order
    transforms: tuple[ReadyOperator, ...]
    measures: list[PlannedMeasure]
    schema: pa.Schema  #: all columns of a measured document
    decided: pa.Schema  #: `schema` and the columns that rules give
    tasks: tuple[LoadedTask, ...]  #: labelling tasks for the documents that are kept
    output: pa.Schema  #: columns of the dataset
    by: tuple[str, ...]  #: columns by whose values losses are counted
    looked: list[str] = field(default_factory=list)  #: remarks on fields of the first records

    def __post_init__(self) -> None:
        self.read_state()

    def read_state(self) -> None:
        """Read the state of the store. To be repeated once the store is locked: another run may have written to it."""
        self.registry = Registry(self.loaded.store)
        self.store = MeasureStore(self.loaded.store)
        self.index = self._open_index()
        self.registry.check_knows([*self.store.ordinals(), *(self.index.held if self.index is not None else ())])
        held = {} if self.index is None else self.index.held
        self.specs = settled(specs_of(self.found), self.registry, self.loaded.document, held)
        ordinals = [self.registry.known(spec, of, self.loaded.document) for spec, of in self.specs]
        found = [(ordinal, *spec) for ordinal, spec in zip(ordinals, self.specs, strict=True) if ordinal not in held]
        #: shards that the run measures and decides: those that no earlier run decided for the index
        self.pending = [(spec, source) for _, spec, source in found]
        #: those of them that were registered by earlier runs
        self.known = [Shard(ordinal, spec, source) for ordinal, spec, source in found if ordinal is not None]

    @property
    def tokens_are_estimated(self) -> bool:
        """Return whether tokens are estimated, not counted by a tokenizer."""
        return any(TOKENS in m.operator.gives().names and m.operator.estimates() for m in self.measures)

    def unread(self) -> dict[str, list[ShardSpec]]:
        """Return the shards that no run has read yet, by the name of their source."""
        known = {id(shard.spec) for shard in self.known}
        unread: dict[str, list[ShardSpec]] = {}
        for spec, source in self.pending:
            if id(spec) not in known:
                unread.setdefault(source.name, []).append(spec)
        return unread

    def registered(self) -> list[Shard]:
        """Return all shards of the sources that earlier runs registered, including those that an index holds."""
        ordinals = [self.registry.known(spec, of, self.loaded.document) for spec, of in self.specs]
        return [Shard(n, *spec) for n, spec in zip(ordinals, self.specs, strict=True) if n is not None]

    def _open_index(self) -> Index | None:
        """Open the index that the run is resolved against. Raises RecipeError where its parameters differ."""
        indexed = indexed_rule(self.rules)
        if indexed is None:
            return None
        i, memory = indexed
        index = Index(self.loaded.store, memory.name)
        try:
            index.check(index_parameters(memory, self.transforms))
        except RecipeError as error:
            raise RecipeError(f"{self.loaded.where('decide', i, name_of(self.rules[i]), 'index')}: {error}") from None
        return index

    @property
    def indexed(self) -> int:
        """Return the number of shards of the sources that the index holds."""
        return len(self.specs) - len(self.pending)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Return the rules, in recipe order."""
        return self.loaded.recipe.decide

    def chain(self) -> list[str]:
        """Return the fingerprints of the transforms: everything measured depends on them."""
        return [t.fingerprint for t in self.transforms]

    def document_fingerprint(self, source: Source) -> str:
        """Return the fingerprint of the columns that every document of a source gets."""
        return digest_of(["document", DOCUMENT_VERSION, self.chain(), source.schema().to_string()])

    def fingerprint(self, ready: ReadyOperator) -> str:
        """Return the fingerprint of a measure after this recipe's transforms."""
        return digest_of([ready.fingerprint, self.chain()])

    def measured_by(self) -> list[dict[str, str]]:
        """Return name and fingerprint of each measure that is ready, in order."""
        return [
            {"name": m.name, "fingerprint": self.fingerprint(m.ready)} for m in self.measures if m.ready is not None
        ]

    def cached(self, measure: PlannedMeasure | None) -> int:
        """Return the number of the run's shards already measured (None: for the columns that every document gets)."""
        if measure is None:
            return sum(self.store.find(self.document_fingerprint(s.source), s.ordinal) is not None for s in self.known)
        if measure.ready is None:
            return 0
        fingerprint = self.fingerprint(measure.ready)
        return sum(self.store.find(fingerprint, shard.ordinal) is not None for shard in self.known)


def make_plan(loaded: LoadedRecipe, refit: bool = False, asks: bool = True) -> Plan:
    """Look at the sources and the store, complete and check the recipe. Changes nothing.

    With `refit`, existing fits do not count; without `asks` no model is to be asked, so that keys of tasks' annotators
    need not be set. Raises RecipeError with every mistake found, StoreDamaged where the store is not what was written.
    """
    recipe, mistakes = loaded.recipe, Mistakes(loaded.document)
    documents = document_schema(recipe.sources)
    with mistakes.noted(("store",)):
        _check_url(loaded.store)
    found = _discover(loaded, mistakes)
    specs = specs_of(found)
    measures: list[tuple[Measure, Path, str | None]] = [
        (measure, ("measure", i, name_of(measure)), None) for i, measure in enumerate(recipe.measure)
    ]
    tasks = _load_tasks(loaded, asks, mistakes)
    implied = implied_measures(recipe, documents.names, tasks, mistakes, lambda column: remedy(column, found))
    measures += [(m, ("decide",), needed_by) for m, needed_by in implied]
    schema = pa.schema([*documents, *(f.remove_metadata() for m, _, _ in measures for f in m.gives())])
    decided = _check_rules(recipe, schema, mistakes)
    by: tuple[str, ...] = ()
    if {*(recipe.report.by or ())} <= {*schema.names}:  # otherwise it has been noted
        with mistakes.noted(("report", "by")):
            by = grouped_by(recipe.report.by, schema)
    labelled = decided
    for i, task in enumerate(tasks):
        with mistakes.noted(("label", i)):
            labelled = with_labels(labelled, task)
    with mistakes.noted(("decide",)):
        indexed_rule(recipe.decide)
    transforms = []
    for i, transform in enumerate(recipe.transform):
        path: Path = ("transform", i, name_of(transform))
        with mistakes.located(path):
            transforms.append(_ready_operator(loaded, transform, path))
    planned = []
    for measure, path, needed_by in measures:
        with mistakes.located(path):
            fit = None
            if isinstance(measure, FittedMeasure):
                where = loaded.where(*path, "target")
                fit = find_fit(loaded, measure, where, transforms, [spec for spec, _ in specs], refit)
            ready = _ready_operator(loaded, measure, path, fit) if fit is None or fit.fitted else None
            planned.append(PlannedMeasure(name_of(measure), measure, path, ready, fit, needed_by))
    mistakes.raise_if_any()
    output = _output_schema(recipe, schema, labelled, tasks)
    plan = Plan(loaded, found, tuple(transforms), planned, schema, decided, tasks, output, by)
    if unread := plan.unread():
        begun = {shard.source.name for shard in plan.registered()}
        plan.looked = check_fields(recipe.sources, unread, begun, mistakes)
    mistakes.raise_if_any()
    return plan


def fitted(plan: Plan, measure: PlannedMeasure, fit: Fit) -> PlannedMeasure:
    """Return the measure, ready, once its fit is made."""
    return replace(measure, fit=fit, ready=_ready_operator(plan.loaded, measure.operator, measure.path, fit))


def _check_url(url: str) -> None:
    try:
        files.filesystem(url)
    except (ImportError, ValueError) as error:
        raise RecipeError(f"{url} cannot be opened: {error}; see the extras of gristmill: s3, gcs, hf") from None


def _discover(loaded: LoadedRecipe, mistakes: Mistakes) -> list[SourceFiles]:
    discovery = Discovery(loaded.base)
    discovery.list_ahead(loaded.recipe.sources)
    found = []
    for i, source in enumerate(loaded.recipe.sources):
        with mistakes.noted(("sources", i, "path")):
            found.append(discovery.find(source))
    return found


def specs_of(found: Sequence[SourceFiles]) -> list[tuple[ShardSpec, Source]]:
    """Return the shards of all sources, in the order of sources, paths and parts."""
    return [(spec, of.source) for of in found for spec in of.specs]


def _check_rules(recipe: Recipe, schema: pa.Schema, mistakes: Mistakes) -> pa.Schema:
    """Note the rules that cannot work on these columns; missing columns have been noted before.

    Returns the columns after all rules.
    """
    for i, (rule, given) in enumerate(zip(recipe.decide, given_columns(recipe.decide), strict=True)):
        with mistakes.noted(("decide", i, name_of(rule))):
            if rule.reads() <= {*schema.names}:
                executor_for(rule).check(rule, schema)
            schema = with_given(schema, [given])[-1]
    return schema


def _ready_operator(loaded: LoadedRecipe, operator: Operator, path: Path, fit: Fit | None = None) -> ReadyOperator:
    """Return the operator with the files that it opens. Raises RecipeError, located, where they cannot be used."""
    named = operator.resources()
    found = {name: resource(loaded.resolve(url), loaded.where(*path, name)) for name, url in named.items()}
    if fit is not None:
        found["fit"] = fit_resource(fit)
    ready = ReadyOperator(name_of(operator), operator, found)
    try:
        ready.check()
    except RecipeError as error:
        raise RecipeError(f"{loaded.where(*path, _blamed(operator, str(error)))}: {error}") from None
    return ready


def _blamed(operator: Operator, message: str) -> str:
    """Return the option whose value a message names first; any, if it names none."""
    options = {name: str(value) for name, value in operator if isinstance(value, str)}
    return min(options, key=lambda name: message.find(options[name]) % (len(message) + 1), default="")


def _load_tasks(loaded: LoadedRecipe, asks: bool, mistakes: Mistakes) -> tuple[LoadedTask, ...]:
    """Load the tasks of the recipe; note mistakes in their files with the lines there."""
    tasks = []
    for i, path in enumerate(loaded.recipe.label):
        with mistakes.located(("label", i)):
            task = load_task(loaded.resolve(path), asks)
            task.require_folders()
            tasks.append(task)
    return tuple(tasks)


def _output_schema(recipe: Recipe, schema: pa.Schema, labelled: pa.Schema, tasks: Sequence[LoadedTask]) -> pa.Schema:
    text = pa.field(columns.TEXT, pa.string())
    available = {columns.ID: schema.field(columns.ID), columns.TEXT: text, **{f.name: f for f in labelled}}
    chosen = recipe.write.columns
    if chosen is None:
        left_out = {
            columns.CONTENT_ID,
            columns.TEXT_ID,
            columns.BYTES,
            *(f.name for f in schema if columns.is_signature(f.type)),
        }
        measured = (f.name for f in schema if f.name not in left_out)
        labels = (name for task in tasks for name in label_columns(task.task).names)
        chosen = tuple(dict.fromkeys([columns.ID, columns.TEXT, *measured, *labels]))
    return pa.schema([available[name] for name in chosen])


def index_remark(held: int, pending: int) -> str:
    """Return a remark for a run of which an index holds `held` shards."""
    decided = f"holds {plural(held, 'shard')}, whose documents earlier runs decided"
    return decided if pending else f"{decided}: nothing is new"

"""The plan: recipe and store -> results held and missing, the schema after each stage. Nothing is executed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from gristmill.operators import columns
from gristmill.operators.base import FittedMeasure, Measure, Memory, Operator, Rule, digest_of
from gristmill.operators.errors import RecipeError
from gristmill.operators.table import name_of
from gristmill.pipelines.config.located_yaml import Path
from gristmill.pipelines.config.mistakes import Mistakes
from gristmill.pipelines.decide import executor_for, given_columns, grouped_by, with_given
from gristmill.pipelines.label.columns import label_columns, with_labels
from gristmill.pipelines.label.task import LoadedTask, load_task
from gristmill.pipelines.planning.fits import Fit, find_fit, fit_resource
from gristmill.pipelines.planning.implied_measures import TOKENS, implied_measures
from gristmill.pipelines.planning.strata import check_strata
from gristmill.pipelines.recipe.recipe import LoadedRecipe, Recipe, document_schema, transform_columns
from gristmill.pipelines.recipe.source_fields import remedy
from gristmill.pipelines.shard_tasks.measure import DOCUMENT_VERSION
from gristmill.pipelines.sources.discover import Discovery, ShardSpec, SourceFiles
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.storage import files
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


@dataclass(frozen=True)
class Plan:
    """Everything that is known before the run starts, the contents of the store apart: see `planning/state.py`."""

    loaded: LoadedRecipe
    found: tuple[SourceFiles, ...]  #: in recipe order
    transforms: tuple[ReadyOperator, ...]
    measures: tuple[PlannedMeasure, ...]
    schema: pa.Schema  #: all columns of a measured document
    decided: pa.Schema  #: `schema` and the columns that rules give
    tasks: tuple[LoadedTask, ...]  #: labelling tasks for the documents that are kept
    output: pa.Schema  #: columns of the dataset
    by: tuple[str, ...]  #: columns by whose values losses are counted
    pack: ReadyOperator | None = None  #: packing of the written documents' tokens
    looked: tuple[str, ...] = ()  #: remarks on fields of the first records

    @property
    def tokens_are_estimated(self) -> bool:
        """Return whether tokens are estimated, not counted by a tokenizer."""
        return any(TOKENS in m.operator.gives().names and m.operator.estimates() for m in self.measures)

    def specs(self) -> list[tuple[ShardSpec, Source]]:
        """Return the shards of all sources as they lie there, in the order of sources, paths and parts."""
        return [(spec, of.source) for of in self.found for spec in of.specs]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Return the rules, in recipe order."""
        return self.loaded.recipe.decide

    def resources(self) -> dict[str, dict[str, str]]:
        """Return the URL and digest of each file that the recipe names for measures and packing, by its place there."""
        opened = [(m.path, m.ready) for m in self.measures if m.ready is not None and m.fit is None]
        if self.pack is not None:
            opened.append((("write", "pack"), self.pack))
        return {
            ".".join(map(str, (*path, name))): asdict(entry)
            for path, ready in opened
            for name, entry in ready.resources.items()
        }

    def chain(self) -> list[str]:
        """Return the fingerprints of the transforms: everything measured depends on them."""
        return [t.fingerprint for t in self.transforms]

    def document_fingerprint(self, source: Source) -> str:
        """Return the fingerprint of the columns that every document of a source gets."""
        return digest_of(["document", DOCUMENT_VERSION, self.chain(), source.schema().to_string()])

    def fingerprint(self, ready: ReadyOperator) -> str:
        """Return the fingerprint of a measure after this recipe's transforms."""
        decisive: list[Any] = [ready.fingerprint, self.chain()]
        if columns.SOURCE in ready.operator.reads():  # the name of a source is no part of what tells its shards apart
            named = [[source.name, source.path] for source in self.loaded.recipe.sources]
            decisive.append(self.loaded.document.redact_value(named))
        return digest_of(decisive)

    def measured_by(self) -> list[dict[str, str]]:
        """Return name and fingerprint of each measure that is ready, in order."""
        return [
            {"name": m.name, "fingerprint": self.fingerprint(m.ready)} for m in self.measures if m.ready is not None
        ]


def make_plan(loaded: LoadedRecipe, refit: bool, asks: bool) -> Plan:
    """Look at the sources, complete and check the recipe. Changes nothing.

    With `refit`, existing fits do not count; without `asks` no model is to be asked, so that keys of tasks' annotators
    need not be set. Raises RecipeError with every mistake found.
    """
    recipe, mistakes = loaded.recipe, Mistakes(loaded.document)
    documents = pa.schema([*document_schema(recipe), *transform_columns(recipe)])
    with mistakes.noted(("store",)):
        _check_url(loaded.store)
    source_files = _discover(loaded, mistakes)
    specs = [spec for of in source_files for spec in of.specs]
    measures: list[tuple[Measure, Path, str | None]] = [
        (measure, ("measure", i, name_of(measure)), None) for i, measure in enumerate(recipe.measure)
    ]
    tasks = _load_tasks(loaded, asks, mistakes)
    implied = implied_measures(recipe, documents.names, tasks, mistakes, lambda column: remedy(column, source_files))
    measures += [(measure, path, needed_by) for measure, needed_by, path in implied]
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
    indexed = False
    with mistakes.noted(("decide",)):
        indexed = indexed_rule(recipe.decide) is not None
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
                fit = find_fit(loaded, measure, where, transforms, specs, refit)
            ready = _ready_operator(loaded, measure, path, fit) if fit is None or fit.fitted else None
            planned.append(PlannedMeasure(name_of(measure), measure, path, ready, fit, needed_by))
    packing = None
    if recipe.write.pack is not None:
        with mistakes.located(("write", "pack")):
            packing = _ready_operator(loaded, recipe.write.pack, ("write", "pack"), name="pack")
            counted = next((m.ready for m in planned if TOKENS in m.operator.gives().names), None)
            check_strata(packing, labelled, counted, indexed, mistakes)
    mistakes.raise_if_any()
    output = _output_schema(recipe, schema, labelled, tasks)
    return Plan(
        loaded, tuple(source_files), tuple(transforms), tuple(planned), schema, decided, tasks, output, by, packing
    )


def fitted(plan: Plan, measure: PlannedMeasure, fit: Fit) -> Plan:
    """Return the plan with a measure ready, once its fit is made."""
    ready = replace(measure, fit=fit, ready=_ready_operator(plan.loaded, measure.operator, measure.path, fit))
    return replace(plan, measures=tuple(ready if candidate is measure else candidate for candidate in plan.measures))


def _check_url(url: str) -> None:
    try:
        files.filesystem(url)
    except (ImportError, ValueError) as error:
        raise RecipeError(f"{url} cannot be opened: {error}; see the extras of gristmill: s3, gcs, hf") from None


def _discover(loaded: LoadedRecipe, mistakes: Mistakes) -> list[SourceFiles]:
    discovery = Discovery(loaded.base, loaded.nights)
    discovery.list_ahead(loaded.recipe.sources)
    source_files = []
    for i, source in enumerate(loaded.recipe.sources):
        with mistakes.noted(("sources", i, "path")):
            source_files.append(discovery.find(source))
    return source_files


def _check_rules(recipe: Recipe, schema: pa.Schema, mistakes: Mistakes) -> pa.Schema:
    """Note the rules that cannot work on these columns; missing columns have been noted before.

    Returns the columns after all rules.
    """
    for i, (rule, rule_schema) in enumerate(zip(recipe.decide, given_columns(recipe.decide), strict=True)):
        with mistakes.noted(("decide", i, name_of(rule))):
            if rule.reads() <= {*schema.names}:
                executor_for(rule).check(rule, schema)
            schema = with_given(schema, [rule_schema])[-1]
    return schema


def _ready_operator(
    loaded: LoadedRecipe, operator: Operator, path: Path, fit: Fit | None = None, name: str | None = None
) -> ReadyOperator:
    """Return the operator with the files that it opens. Raises RecipeError, located, where they cannot be used."""
    try:
        named = operator.resources()
    except RecipeError as error:
        raise RecipeError(f"{loaded.where(*path)}: {error}") from None
    resources = {file: resource(loaded.resolve(url), loaded.where(*path, file)) for file, url in named.items()}
    if fit is not None:
        resources["fit"] = fit_resource(fit)
    ready = ReadyOperator(name or name_of(operator), operator, resources)
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
            if task.task.pairs:
                raise RecipeError(
                    f"{path} asks about pairs of texts, which give no columns; `gristmill label {path}` asks, and "
                    "`gristmill labels aggregate` makes scores of the answers"
                )
            tasks.append(task)
    return tuple(tasks)


def _output_schema(recipe: Recipe, schema: pa.Schema, labelled: pa.Schema, tasks: Sequence[LoadedTask]) -> pa.Schema:
    text = pa.field(columns.TEXT, pa.string())
    available = {columns.ID: schema.field(columns.ID), columns.TEXT: text, **{f.name: f for f in labelled}}
    names = recipe.write.columns
    if names is None:
        left_out = {
            columns.CONTENT_ID,
            columns.TEXT_ID,
            columns.BYTES,
            *(f.name for f in schema if columns.is_signature(f.type)),
        }
        measured = (f.name for f in schema if f.name not in left_out)
        labels = (name for task in tasks for name in label_columns(task.task).names)
        names = tuple(dict.fromkeys([columns.ID, columns.TEXT, *measured, *labels]))
    return pa.schema([available[name] for name in names])


def indexed_rule(rules: Sequence[Rule]) -> tuple[int, Memory] | None:
    """Return the position of the rule that has an index, and its memory; None where none has.

    Raises RecipeError where several have: the documents that a run keeps go to one index.
    """
    matches = [(i, memory) for i, rule in enumerate(rules) if (memory := rule.remembers()) is not None]
    if len(matches) > 1:
        named = " and ".join(memory.name for _, memory in matches)
        raise RecipeError(
            f"{len(matches)} rules have an index ({named}); what a run keeps can go to one: leave one of them"
        )
    return matches[0] if matches else None


def index_parameters(memory: Memory, transforms: Sequence[ReadyOperator]) -> dict[str, Any]:
    """Return all that decides signatures, keys and verdicts: runs may share an index if these parameters are equal."""
    chain = [f"{transform.name} {transform.fingerprint[:16]}" for transform in transforms]
    return {**memory.parameters, "transform": chain}

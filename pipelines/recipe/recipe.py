"""The recipe: YAML in, a checked and frozen description of one run out. See `config.mistakes` for its errors."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, ValidationError, field_validator

from gristmill.operators import columns
from gristmill.operators.base import Measure, Operator, Rule, Transform
from gristmill.operators.errors import RecipeError
from gristmill.operators.extract.extract import Extract
from gristmill.operators.pack import Pack
from gristmill.operators.table import SECTIONS, name_of, of_kind, operators
from gristmill.pipelines.config import located_yaml
from gristmill.pipelines.config.located_yaml import LocatedYaml, Path
from gristmill.pipelines.config.mistakes import Mistakes, Section
from gristmill.pipelines.config.overrides import override
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.config.yaml_file import read_text
from gristmill.pipelines.recipe.refresh import Refresh
from gristmill.pipelines.sources import dated
from gristmill.pipelines.sources.formats import FORMATS, holds_pages, with_defaults
from gristmill.pipelines.sources.spec import AUTO, Size, Source
from gristmill.pipelines.storage.locations import absolute, folder_of

#: The rule, in decisions, of documents whose file is gone or another one now.
WITHDRAWN = "withdrawn"


class Write(Section):
    """Files and columns of the written dataset."""

    shard_bytes: Size = Field(default=Size(256_000_000), gt=0, description="text of one output file, in UTF-8 bytes")
    columns: tuple[str, ...] | None = Field(
        default=None,
        description="columns of the dataset, in this order; by default id, text, source, url, metadata and measures",
    )

    pack: Pack | None = Field(
        default=None, description="the tokens of the documents, packed for the training of a language model"
    )

    @field_validator("columns")
    @classmethod
    def _distinct(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError(f"name each column once, not {next(c for c in value if value.count(c) > 1)!r} again")
        if value is not None and not value:
            raise ValueError("name at least one column, or leave `columns` out to write all")
        return value


class Limits(Section):
    """Limits beyond which a run refuses to commit."""

    rejects: float = Field(
        default=0.5, ge=0, le=1, description="largest share of a source's records that may be quarantined"
    )
    unreadable_shards: int = Field(
        default=0, ge=0, description="how many shards may be unreadable before nothing is committed"
    )
    source_loss: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="largest share of the documents of a source, or of a value of a column of `report: {by: [...]}`, "
        "that the rules may drop, selections apart",
    )


class Report(Section):
    """Contents of the report of a run."""

    by: tuple[str, ...] | None = Field(
        default=None,
        description="columns by whose values losses are counted, in addition to the sources; by default those that are "
        "called lang or language",
    )


class Recipe(Section):
    """A checked recipe. Relative paths start from its folder."""

    version: Literal[1] = Field(description="version of this format")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the dataset: a folder under datasets/"
    )
    store: str = Field(min_length=1, description="folder or URL where gristmill keeps measures, decisions and datasets")
    sources: tuple[Source, ...] = Field(min_length=1, description="where documents come from, in this order")
    extract: Extract | None = Field(default=None, description="how pages (WARC, HTML) become text")
    transform: tuple[Transform, ...] = Field(default=(), description="what is done to texts, in this order")
    measure: tuple[Measure, ...] = Field(default=(), description="what is computed of each document")
    decide: tuple[Rule, ...] = Field(default=(), description="rules, in this order; each sees what those before kept")
    label: tuple[str, ...] = Field(
        default=(), description="task files: a language model answers about what was kept, in columns of the dataset"
    )
    write: Write = Field(description="how the dataset is written; {} for the defaults")
    limits: Limits = Field(default=Limits(), description="when a run refuses to commit")
    report: Report = Field(default=Report(), description="contents of the report of a run")
    refresh: Refresh | None = Field(default=None, description="what `gristmill refresh` does every night")


class LoadedRecipe:
    """A recipe with its origin: the file, its lines, the values as written (secrets unresolved)."""

    def __init__(
        self,
        recipe: Recipe,
        document: LocatedYaml,
        base: str,
        as_written: dict[str, Any],
        nights: tuple[date, ...] = (),
        included: Mapping[Path, str] | None = None,
    ) -> None:
        self.recipe = recipe
        self.document = document
        self.base = base  #: folder (path or URL) of the recipe
        self.as_written = as_written  #: the recipe as a value, `${NAME}` unresolved, for manifests
        self.nights = nights  #: dates for paths with {date:...}
        self.included = included or {}  #: files whose contents are options of rules, by their place in the recipe

    def resolve(self, path: str) -> str:
        """Return a path of the recipe as a path or URL that can be opened from any folder."""
        return absolute(path if "://" in path else os.path.normpath(path), self.base)

    @property
    def store(self) -> str:
        """Return the store's path or URL."""
        return self.resolve(self.recipe.store)

    def of_nights(self, last: date, since: date | None = None) -> LoadedRecipe:
        """Return the recipe with the dates of its paths: from `since`, by default the recipe's, to the last night.

        Without either it is the last night alone. Raises RecipeError where `since` comes after it.
        """
        recipe = self.recipe
        if not dated.is_dated(pattern for source in recipe.sources for pattern in source.patterns()):
            return self
        first = since or (None if recipe.refresh is None else recipe.refresh.since) or last
        if since is None and first > last:
            raise RecipeError(
                f"{self.where('refresh', 'since')}: the first night, {first}, comes after the one asked for, {last}; "
                "`--since` reads from an earlier one"
            )
        nights = dated.dates_from(first, last)
        return LoadedRecipe(recipe, self.document, self.base, self.as_written, nights, self.included)

    def where(self, *path: str | int) -> str:
        """Return `recipe.yaml:14` for a value of the recipe."""
        return self.document.where(path)

    def with_changes(self, changes: Sequence[str]) -> LoadedRecipe:
        """Return the recipe with more `key=value` pairs; see `load_recipe`."""
        earlier = [option.removeprefix("--set ") for option in self.document.overrides.values()]
        return read_recipe("\n".join(self.document.text), self.document.file, self.base, [*earlier, *changes])


def load_recipe(url: str, overrides: Sequence[str] = (), resolves: bool = True) -> LoadedRecipe:
    """Read and check a recipe; `overrides` are `key=value` pairs such as `decide.select.documents=500`.

    resolves: whether each `${NAME}` must be set here. If not, those that are not stay as written
    (`document.unset`): another machine, which runs the recipe, may have them.

    Raises RecipeError with every mistake found, one a line.
    """
    text = read_text(url, "recipe", "`gristmill run RECIPE` takes the path of a YAML file")
    return read_recipe(text, url, folder_of(url), overrides, resolves)


def read_recipe(text: str, file: str, base: str, overrides: Sequence[str] = (), resolves: bool = True) -> LoadedRecipe:
    """Check a recipe given as text; see `load_recipe`."""
    document = located_yaml.load(text, file, may_be_unset=() if resolves else tuple(Recipe.model_fields))
    if not isinstance(document.value, dict):
        raise RecipeError(
            f"{document.where(())}: a recipe is a mapping (version: 1, name: ..., ...), not {_kind(document.value)}"
        )
    for option in overrides:
        override(document, option)
    as_written = document.redact_value(document.value)
    mistakes = Mistakes(document)
    values = dict(document.value)
    for section, kind in SECTIONS.items():
        if section in values:
            values[section] = _operators(values[section], (section,), kind, mistakes)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        mistakes.add_invalid(error, (), Recipe)
    mistakes.raise_if_any()
    sources = tuple(with_defaults(source) for source in recipe.sources)
    loaded = LoadedRecipe(recipe.model_copy(update={"sources": sources}), document, base, as_written)
    _check_names(loaded, mistakes)
    rules = tuple(_with_included(loaded, rule, i, mistakes) for i, rule in enumerate(recipe.decide))
    mistakes.raise_if_any()
    included: dict[Path, str] = {
        ("decide", i, name_of(rule), option): path
        for i, rule in enumerate(recipe.decide)
        for option, path in rule.includes().items()
    }
    decided = loaded.recipe.model_copy(update={"decide": rules})
    loaded = LoadedRecipe(decided, document, base, as_written, included=included)
    with mistakes.noted(("refresh", "since")):
        loaded = loaded.of_nights(datetime.now(UTC).date())
    mistakes.raise_if_any()
    return loaded


def recorded_operators(recipe: Mapping[str, Any], section: str, where: str) -> tuple[Any, ...]:
    """Return the operators of a section of a recipe as the record of a run has it; `where` names the record.

    Raises RecipeError where this installation does not know them as they were, or an environment variable is not set.
    """
    mistakes = Mistakes(LocatedYaml(where, None))
    written = located_yaml.resolved(recipe.get(section), where)
    parsed = _operators(written, (section,), SECTIONS[section], mistakes)
    mistakes.raise_if_any()
    return parsed


def _operators(value: Any, path: Path, kind: type[Operator], mistakes: Mistakes) -> tuple[Operator, ...]:
    """Return the operators of a section; note the wrong ones and leave them out."""
    if value is None:
        return ()
    if not isinstance(value, list):
        mistakes.add(path, f"{path[-1]} must be a list of operators (lines that begin with `- `), not {_kind(value)}")
        return ()
    parsed = (_operator(item, (*path, i), kind, mistakes) for i, item in enumerate(value))
    return tuple(operator for operator in parsed if operator is not None)


def _operator(item: Any, path: Path, kind: type[Operator], mistakes: Mistakes) -> Operator | None:
    section = path[0]
    if isinstance(item, str):
        name, options = item, None
    elif isinstance(item, dict) and len(item) == 1:
        name, options = next(iter(item.items()))
    else:
        what = f"{len(item)} names: {', '.join(item)}" if isinstance(item, dict) and item else _kind(item)
        mistakes.add(path, f"an entry of {section} is an operator's name or one `name: options`, not {what}")
        return None
    cls = operators().get(name)
    if cls is None:
        mistakes.add((*path, name), f"{name} is not an operator{did_you_mean(name, of_kind(kind))}")
    elif not issubclass(cls, kind):
        mistakes.add((*path, name), f"{name} does not belong under {section}: it goes under {section_of(cls)}")
    else:
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            mistakes.add_invalid(error, (*path, name), cls)
    return None


def _with_included(loaded: LoadedRecipe, rule: Rule, i: int, mistakes: Mistakes) -> Rule:
    """Return a rule with the options that its files hold; note files that cannot be used."""
    contents = {}
    for option, path in rule.includes().items():
        with mistakes.noted(("decide", i, name_of(rule), option)):
            url = loaded.resolve(path)
            text = read_text(url, "file", "paths in a recipe start from the recipe's folder")
            contents[option] = _json(text, url) if url.endswith(".json") else located_yaml.load(text, url).value
    if contents:
        with mistakes.noted(("decide", i, name_of(rule))):
            return rule.with_included(contents)
    return rule


def _json(text: str, url: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise RecipeError(f"{url} is no JSON: {error}") from None


def section_of(operator: type[Operator]) -> str:
    """Return the section of a recipe that an operator belongs to."""
    return next(section for section, kind in SECTIONS.items() if issubclass(operator, kind))


def _check_names(loaded: LoadedRecipe, mistakes: Mistakes) -> None:
    """Note sources, rules and columns with the name of another, and unknown formats."""
    recipe = loaded.recipe
    named = [(("sources", i, "name"), source.name, "sources") for i, source in enumerate(recipe.sources)]
    named += [(("decide", i, name_of(r)), r.name, "rules") for i, r in enumerate(recipe.decide) if r.name is not None]
    used_names: set[tuple[str, str]] = set()
    for path, name, what in named:
        if (what, name) in used_names:
            mistakes.add(path, f"two {what} are called {name}; give each a name of its own", name)
        if (what, name) == ("rules", WITHDRAWN):
            mistakes.add(path, f"{name} is what documents of files are that are gone; give the rule another name", name)
        used_names.add((what, name))
    formats = [AUTO, *FORMATS]
    fields: dict[str, pa.Field] = {}
    for i, source in enumerate(recipe.sources):
        if source.format not in formats:
            hint = did_you_mean(source.format, formats)
            mistakes.add(("sources", i, "format"), f"{source.format} is no format that can be read{hint}")
        with mistakes.noted(("sources", i, "metadata")):
            _add_columns(fields, source)
        for pattern in source.patterns():
            with mistakes.noted(("sources", i, "path")):
                dated.check(pattern)
    _check_extraction(recipe, mistakes)
    mistakes.raise_if_any()
    origins = dict.fromkeys([*document_schema(recipe).names, columns.ROW, columns.ADDRESS, columns.TEXT], "")
    givers: list[tuple[str, int, Transform | Measure]] = [
        *(("transform", i, transform) for i, transform in enumerate(recipe.transform)),
        *(("measure", i, measure) for i, measure in enumerate(recipe.measure)),
    ]
    for section, i, giver in givers:
        operator = name_of(giver)
        if clash := next((name for name in giver.gives().names if name in origins), None):
            has_option = "column" in type(giver).model_fields
            remedy = f"give this {section} another `column`" if has_option else "once is enough"
            by = f" (by {origins[clash]})" if origins[clash] else ""
            mistakes.add((section, i, operator), f"there is a column {clash} already{by}; {remedy}")
        origins |= dict.fromkeys(giver.gives().names, operator)


def _check_extraction(recipe: Recipe, mistakes: Mistakes) -> None:
    """Note sources of pages that nothing makes text of, and an extraction without pages."""
    pages = [(i, source) for i, source in enumerate(recipe.sources) if holds_pages(source)]
    if recipe.extract is None:
        for i, source in pages:
            what = "html" if source.html is not None else "format"
            mistakes.add(
                ("sources", i, what),
                f"source {source.name} holds pages, and the recipe does not say how they become text; write extract: "
                "trafilatura, or extract: resiliparse, which is several times faster and keeps more of menus and "
                "footers",
            )
    elif not pages:
        formats = " or ".join(name for name, format_ in FORMATS.items() if format_.pages)
        mistakes.add(
            ("extract",), f"no source holds pages: give one format: {formats}, or name its field of HTML (html: FIELD)"
        )
    else:
        with mistakes.noted(("extract",)):
            recipe.extract.check({})


def document_schema(recipe: Recipe) -> pa.Schema:
    """Return the columns of every document before it is measured: id, source, url, metadata, extraction."""
    fields = {columns.ID: pa.field(columns.ID, pa.string()), columns.SOURCE: pa.field(columns.SOURCE, pa.string())}
    for source in recipe.sources:
        _add_columns(fields, source)
    for column in () if recipe.extract is None else recipe.extract.gives():
        if column.name in fields:
            raise RecipeError(f"a source has a column {column.name}, which is that of the extraction; rename it")
        fields[column.name] = column.remove_metadata()
    for name in (columns.CONTENT_ID, columns.BYTES):
        fields[name] = pa.field(name, columns.TYPES[name])
    return pa.schema(list(fields.values()))


def transform_columns(recipe: Recipe) -> list[pa.Field]:
    """Return the columns that the transforms give of every document, without their descriptions."""
    return [f.remove_metadata() for transform in recipe.transform for f in transform.gives()]


def _add_columns(fields: dict[str, pa.Field], source: Source) -> None:
    """Add a source's columns to those of the sources before it. Raises RecipeError where they clash."""
    for f in source.schema():
        if f.name not in (columns.TEXT, columns.ROW):
            column = fields.setdefault(f.name, pa.field(f.name, f.type))
            if column.type != f.type:
                raise RecipeError(
                    f"the column {f.name} is {f.type} in source {source.name} and {column.type} in an earlier one; "
                    "give it one type in all sources"
                )


def _kind(value: Any) -> str:
    kinds = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")

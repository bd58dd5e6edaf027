"""The contracts of operators: small frozen models whose fields are their YAML.

| kind      | turns                                  | may not                                    |
|-----------|----------------------------------------|--------------------------------------------|
| Transform | texts -> texts and columns, same rows  | drop rows, look at other documents         |
| Measure   | documents -> columns, same rows        | drop or change anything                    |
| Rule      | columns -> keep or drop, and why       | read text                                  |

An operator does no I/O of its own beyond reading the local files that it is handed: what a field names (a model, a
glob of target documents) is found, fetched and digested by the pipeline, which passes `open` a local path for each.
`open` runs once per worker process; what it returns is called from many threads at once, so it keeps no state
between calls.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

#: Names of an operator's resources ("model", "fit") to local paths.
Files = Mapping[str, Path]
#: A batch of documents: column `text` (large_string, nullable) and whatever else the source carries.
Documents: TypeAlias = pa.RecordBatch
TransformFunction = Callable[[pa.LargeStringArray], pa.LargeStringArray]
MeasuringTransformFunction = Callable[[pa.LargeStringArray], "Transformed"]
MeasureFunction = Callable[[Documents], pa.RecordBatch]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
_COUNT = re.compile(r"(\d{1,30}(?:\.\d{1,30})?)\s*([kmgbt]?)", re.IGNORECASE | re.ASCII)


def as_count(value: Any) -> Any:
    """Return the number that a text such as `80M` stands for; return any other value unchanged."""
    if isinstance(value, str) and (match := _COUNT.fullmatch(value.strip().replace(",", "").replace("_", ""))):
        return round(Fraction(match[1]) * _UNITS[match[2].lower()])
    return value


def _written(number: Any) -> BeforeValidator:
    text = Annotated[str, Field(pattern=r"^\s*[0-9][0-9_,]*(\.[0-9]+)?\s*[kKmMgGbBtT]?\s*$")]
    return BeforeValidator(as_count, json_schema_input_type=number | text)


#: A number of documents or tokens, zero or more: `50k` is 50,000, `80M` 80,000,000, `1.5B` 1,500,000,000.
Count = Annotated[int, Field(ge=0), _written(Annotated[int, Field(ge=0)])]
#: The same, one or more.
PositiveCount = Annotated[int, Field(gt=0), _written(Annotated[int, Field(gt=0)])]


class Operator(BaseModel):
    """The base of every operator: validated fields, a stable fingerprint, a one-field shorthand in YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Raise it when the same fields give other results than before: cached measures are then computed again.
    code_version: ClassVar[int] = 1
    #: Fields that came later, with the value that changes nothing: fingerprints of before stay valid.
    added: ClassVar[Mapping[str, Any]] = {}
    #: The field that a bare value fills: `drop: "words < 50"` is `drop: {when: "words < 50"}`.
    shorthand: ClassVar[str | None] = None

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, value: Any) -> Any:
        if value is None:
            return {}
        if cls.shorthand is not None and not isinstance(value, dict | BaseModel):
            return {cls.shorthand: value}
        return value

    def resources(self) -> dict[str, str]:
        """Return the files that `open` needs, as the recipe names them: {"model": "models/quality.bin"}."""
        return {}

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls (`operators/kernels/examples.py`), compiled before the work."""
        return ()

    def check(self, files: Files) -> None:
        """Raise RecipeError where a resource cannot serve (a corrupt model): called before anything runs."""

    def fingerprint(self, digests: Mapping[str, str]) -> str:
        """Return a hex digest of all that decides the results: class, code version, fields, digests of resources.

        A path stands in the digest by the content of its files, not by their name: a corpus gives the same results
        wherever it lies.
        """
        told = {
            name: value for name, value in self.model_dump(mode="json").items() if self.added.get(name, ...) != value
        }
        fields = _without(told, self._paths())
        return digest_of([type(self).__name__, self.code_version, fields, dict(digests)])

    def _paths(self) -> set[str]:
        """Return the values of fields that name files."""
        return set(self.resources().values())


class Transformed(NamedTuple):
    """Texts as a transform leaves them, and what it measured of each while it changed them."""

    texts: pa.LargeStringArray
    columns: pa.RecordBatch


class Transform(Operator):
    """Rewrites texts one by one: same rows, nothing dropped."""

    #: True if it takes lines out of texts, which `removed_lines` names.
    removes_lines: ClassVar[bool] = False

    def gives(self) -> pa.Schema:
        """Return the columns it gives of each text, such as how much of it went: names, types, descriptions."""
        return pa.schema([])

    def open(self, files: Files) -> TransformFunction:
        """Load what is needed; return a thread-safe function from texts (n) to texts (n). Null stays null."""
        raise NotImplementedError(f"{type(self).__name__} must define open()")

    def open_measuring(self, files: Files) -> MeasuringTransformFunction:
        """Do the same as `open` for a function that returns the `gives()` columns (n rows) beside the texts.

        A transform that gives columns must define it. Its texts are those of the other function, a null text gives
        nulls, and no value depends on how texts are split into batches.
        """
        if self.gives().names:
            raise NotImplementedError(f"{type(self).__name__} must define open_measuring()")
        function, nothing = self.open(files), pa.record_batch([], schema=pa.schema([]))
        return lambda texts: Transformed(function(texts), nothing)

    def removed_lines(self, text: str) -> list[tuple[str, str]]:
        """Return the lines that go from a text, each after the name of what takes it, in the order of the text."""
        return []


class Measure(Operator):
    """Computes columns for each document, looking at nothing but that document."""

    #: True if fields of sources are likely to be called as its columns are: a rule that reads such a name means the
    #: field where there is one, which is then to be listed, and not this measure.
    yields_to_fields: ClassVar[bool] = False

    def gives(self) -> pa.Schema:
        """Return the columns it gives: names, types; a field's metadata {"description": ...} feeds the catalogue."""
        raise NotImplementedError(f"{type(self).__name__} must define gives()")

    def reads(self) -> set[str]:
        """Return the columns of the sources that it looks at besides the text; a source may lack them."""
        return set()

    def open(self, files: Files) -> MeasureFunction:
        """Load what is needed; return a thread-safe function from documents (n rows) to `gives()` columns (n rows).

        A null text gives nulls. No value depends on how documents are split into batches.
        """
        raise NotImplementedError(f"{type(self).__name__} must define open()")

    def estimates(self) -> bool:
        """Return whether its values are estimates: reports say so."""
        return False

    def observe(self, documents: Documents) -> NDArray[np.int64]:
        """Return counts over documents, of one shape for all batches, which are added up over the whole dataset.

        A measure that defines it is shown the texts as they are written, where a rule `observes` one of its columns.
        """
        raise NotImplementedError(f"{type(self).__name__} counts nothing over what is written")

    def describe(self, files: Files, counts: NDArray[np.int64]) -> dict[str, Any]:
        """Return what the report says of a rule that observes it, as JSON values, from the counts over the dataset."""
        return {}


class FittedMeasure(Measure):
    """A measure that first learns something from a bounded sample of the corpus.

    The pipeline draws the sample, stores the artefact in the store's `fits/` and hands it back to `open` as the
    resource "fit". It stays as it is until a refit is asked for.
    """

    def targets(self) -> dict[str, str]:
        """Return globs of documents to fit towards, by name. Their content is part of the fit's fingerprint."""
        return {}

    def _paths(self) -> set[str]:
        return super()._paths() | set(self.targets().values())

    def sample_bytes(self) -> int:
        """Return how much text of the corpus (UTF-8 bytes) the fit reads at most."""
        raise NotImplementedError(f"{type(self).__name__} must define sample_bytes()")

    def sample_seed(self) -> int:
        """Return the seed of that sample."""
        return 0

    def fit(self, raw: Iterable[Documents], targets: Mapping[str, Iterable[Documents]]) -> bytes:
        """Learn from a sample of the corpus and the targets; return the artefact. Deterministic."""
        raise NotImplementedError(f"{type(self).__name__} must define fit()")


class Rewrite(Protocol):
    """A change that a rule makes to the texts of kept documents when they are written. Picklable."""

    @property
    def name(self) -> str:
        """Return the rule's name in the funnel."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that it reads besides `bytes`, the length before; the first decides what is written."""
        ...

    def lengths(self, documents: pa.Table) -> NDArray[np.uint64]:
        """Return the UTF-8 bytes (n) of the texts as they are written, from `columns` and `bytes` of documents (n)."""
        ...

    def apply(self, texts: pa.LargeStringArray, documents: pa.Table) -> pa.LargeStringArray:
        """Return the texts (n) as they are written."""
        ...

    def count(self, documents: pa.Table) -> dict[str, int]:
        """Return how much is removed from documents (n), for the report: numbers that add up over shards."""
        ...


@dataclass(frozen=True)
class Memory:
    """The index in which a store remembers the documents that its runs kept, as a rule asks for it."""

    name: str  #: of the index
    parameters: Mapping[str, Any]  #: everything that entries depend on: runs that agree in it may share an index
    signatures: Measure  #: the measure of the signatures by which documents are compared, its first column
    permutations: int  #: lanes of a signature
    bands: int
    rows: int


@dataclass(frozen=True)
class Limit:
    """A comparison of a column with a number by which a rule drops: `quality < 0.4`."""

    column: str
    sign: str  #: <, <=, > or >=, the column being on the left
    value: str  #: as an expression: a number, or a quantile


class Rule(Operator):
    """Decides from columns alone which documents stay. Rules run in recipe order on what earlier ones kept.

    A rule with `when`, a field or a method, drops the documents for which that DuckDB expression is true. Any other has
    an executor next to it in the table of operators, which looks at all shards.
    """

    name: str | None = Field(default=None, description="what the funnel calls the rule; else the operator's name")
    expect: float | None = Field(
        default=None, ge=0, le=1, description="share of the documents that may go before the report asks; else 0.4"
    )

    def reads(self) -> set[str]:
        """Return the columns that it reads."""
        raise NotImplementedError(f"{type(self).__name__} must define reads()")

    def needs(self) -> tuple[Measure, ...]:
        """Return measures of columns that it reads whose options follow from its own: a recipe need not list them."""
        return ()

    def gives(self, name: str) -> pa.Schema:
        """Return the columns that it adds for later rules, dataset and store; `name` is its name in the funnel."""
        return pa.schema([])

    def counts_for(self, name: str) -> Mapping[str, float]:
        """Return the numbers that nulls of columns it gives count for: 1, for the size of the cluster of no copies."""
        return {}

    def meant_for(self) -> tuple[str, tuple[str, ...]] | None:
        """Return a column and those of its values that a rule with `when` judges; others pass, and are counted."""
        return None

    def clauses(self) -> tuple[str, ...] | None:
        """Return what reports call the clauses of `when`, parted by OR, in their order; by default their SQL."""
        return None

    def told(self) -> dict[str, Any]:
        """Return what reports tell of a rule with `when` besides its counts: limits that its expression does not show.

        `limits`: `by`, a column, `minimum` and `maximum`, by column and by value of `by`. `cut`: `column`, `at` and
        `wish`, of a rule that drops what is below.
        """
        return {}

    def limits(self) -> tuple[Limit, ...]:
        """Return the limits of columns that can be set one by one, with `with_limit`."""
        return ()

    def with_limit(self, limit: Limit, value: str) -> Rule:
        """Return the rule with a number in place of the value of one of its `limits`.

        Raises RecipeError where it takes another kind of number.
        """
        raise NotImplementedError(f"{type(self).__name__} must define with_limit()")

    def includes(self) -> dict[str, str]:
        """Return YAML or JSON files that hold options of it, by the option that names them in the recipe."""
        return {}

    def with_included(self, contents: Mapping[str, Any]) -> Rule:
        """Return the rule with the contents of its files, as values by option. Raises RecipeError where wrong."""
        return self

    def observes(self) -> set[str]:
        """Return columns whose measures count something over what is written, for the report on the rule."""
        return set()

    def rewrites(self, name: str) -> Rewrite | None:
        """Return what it changes of the texts that are written; `name` is its name in the funnel."""
        return None

    def remembers(self) -> Memory | None:
        """Return the index that its runs are resolved against; None where each run stands alone."""
        return None


def digest_of(value: Any) -> str:
    """Return a 32-digit hex digest of a JSON-like value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _without(value: Any, texts: set[str]) -> Any:
    """Return a JSON-like value in which certain texts, at any depth, are replaced by None."""
    if isinstance(value, dict):
        return {key: _without(inner, texts) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, texts) for inner in value]
    return None if isinstance(value, str) and value in texts else value


def field(name: str, type: pa.DataType, description: str) -> pa.Field:
    """Return a schema field with a description of its content, for the catalogue."""
    return pa.field(name, type, metadata={"description": description})

"""Strata: groups of documents that are packed apart, by the values of columns and by where numbers are cut."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

#: The most strata of a dataset: each is packed into files of its own.
MOST_STRATA = 1000
#: The most places at which one column is cut.
MOST_CUTS = 100

#: A value of a column, the number of a bucket where it is cut, or None where a document has neither.
Value = str | int | bool | None
#: A stratum: a value for each column.
Key = tuple[Value, ...]

_PERCENT = re.compile(r"\s*(\d{1,3}(?:\.\d{1,9})?)\s*%\s*", re.ASCII)
_EXAMPLES = "{quality: [50%, 90%]} or {quality: [0.3, 0.8]}"


class StratumColumn(BaseModel):
    """A column whose values part documents into strata: all its values, or where its numbers are cut.

    In YAML `source`, `{quality: [50%, 90%]}` (percentiles by tokens) or `{fuzzy_dedup_size: [5]}` (numbers).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = Field(min_length=1)
    cuts: tuple[float, ...] = Field(
        default=(), max_length=MOST_CUTS, description="ascending; values up to one go below"
    )
    percent: bool = Field(default=False, description="whether they are shares of the tokens")

    @model_validator(mode="after")
    def _check_cuts(self) -> StratumColumn:
        if not all(map(math.isfinite, self.cuts)) or any(a >= b for a, b in pairwise(self.cuts)):
            raise ValueError(f"{self.column} is cut at ascending numbers, such as {_EXAMPLES}")
        if self.percent and not all(0 < cut < 100 for cut in self.cuts):
            raise ValueError(f"{self.column}: percentiles are between 0% and 100%")
        return self

    @property
    def buckets(self) -> tuple[str, ...]:
        """Return the names of what lies between the cuts, ascending: `up to 5`, `5 to 10`, `above 10`."""
        if not self.cuts:
            return ()
        ends = [f"{cut_text(cut)}%" if self.percent else cut_text(cut) for cut in self.cuts]
        return (f"up to {ends[0]}", *(f"{a} to {b}" for a, b in pairwise(ends)), f"above {ends[-1]}")

    def named(self, value: Value) -> Value:
        """Return what people call a value: the name of a bucket, or the value itself."""
        return self.buckets[value] if self.cuts and value is not None else value  # type: ignore[index]


def parsed_cut(value: Any) -> tuple[float, bool] | None:
    """Return a number, and whether it was written as a percentage; None where it is neither."""
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        return float(match[1]), True
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value), False
    return None


def cut_text(cut: float) -> str:
    """Return a number as the names of buckets have it, without a fraction where there is none."""
    return str(int(cut)) if cut.is_integer() and abs(cut) < 1e15 else repr(cut)


def _as_written(value: Any) -> Any:
    """Return what a column, or a mapping of one to its cuts, stands for."""
    if isinstance(value, str):
        return {"column": value}
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not isinstance(next(iter(value)), str):
        raise ValueError(f"name a column, such as source, or one with its cuts, such as {_EXAMPLES}")
    ((column, written),) = value.items()
    cuts = [parsed_cut(cut) for cut in (written if isinstance(written, list) else [written])]
    kinds = {cut[1] for cut in cuts if cut is not None}
    if not cuts or None in cuts or len(kinds) > 1:
        raise ValueError(f"{column} is cut at percentages or at numbers, such as {_EXAMPLES}")
    return {"column": column, "cuts": [cut[0] for cut in cuts if cut is not None], "percent": kinds == {True}}


_Cut = float | Annotated[str, Field(pattern=r"^\s*[0-9.]+\s*%\s*$")]
_Mapping = Annotated[dict[str, _Cut | list[_Cut]], Field(min_length=1, max_length=1)]
#: A column as it is written in YAML.
WrittenColumn = Annotated[StratumColumn, BeforeValidator(_as_written, json_schema_input_type=str | _Mapping)]


@dataclass(frozen=True)
class Stratification:
    """Columns that part documents, with the values at which they are cut. Picklable."""

    by: tuple[StratumColumn, ...]
    limits: Mapping[str, tuple[float, ...]]  #: ascending, not always strictly, of each column that is cut
    nulls: Mapping[str, float] = field(default_factory=dict)  #: numbers that nulls of columns count for

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that it reads."""
        return tuple(entry.column for entry in self.by)

    def strata(self, documents: pa.Table) -> tuple[list[Key], NDArray[np.int64]]:
        """Return the strata (m) of documents (n rows of its columns), and the number among them of each (n)."""
        keys: list[Key] = [()]
        numbers = np.zeros(documents.num_rows, np.int64)
        for entry in self.by:
            values, own = self._values(entry, documents[entry.column])
            found, numbers = np.unique(numbers * len(values) + own, return_inverse=True)
            keys = [(*keys[pair // len(values)], values[pair % len(values)]) for pair in found.tolist()]
        return keys, numbers

    def _values(self, entry: StratumColumn, column: pa.ChunkedArray) -> tuple[list[Value], NDArray[np.int64]]:
        """Return values (m) of a column, and the number among them of each document (n)."""
        if not entry.cuts:
            coded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
            return coded.dictionary.to_pylist() or [None], coded.indices.to_numpy().astype(np.int64)
        numbers = self.numbers(entry.column, column)
        buckets: NDArray[np.int64] = np.searchsorted(np.array(self.limits[entry.column]), numbers, "left")
        buckets[np.isnan(numbers)] = len(entry.cuts) + 1
        return [*range(len(entry.cuts) + 1), None], buckets

    def numbers(self, name: str, column: pa.ChunkedArray) -> NDArray[np.float64]:
        """Return the numbers (n) of a column by which it is cut; NaN for a null that counts for none."""
        floats = column.cast(pa.float64(), safe=False)
        return pc.fill_null(floats, self.nulls.get(name, float("nan"))).to_numpy()  # type: ignore[no-any-return]

    def told(self, key: Key) -> dict[str, Value]:
        """Return a stratum as manifests have it: the value or the bucket of each column."""
        return {entry.column: entry.named(value) for entry, value in zip(self.by, key, strict=True)}

    def described(self) -> list[dict[str, Any]]:
        """Return the columns as manifests have them, with the values at which percentiles were found."""
        told = []
        for entry in self.by:
            cuts = {"cuts": [*entry.cuts], "percent": entry.percent} if entry.cuts else {}
            found = [limit if math.isfinite(limit) else None for limit in self.limits.get(entry.column, ())]
            limits = {"limits": found} if entry.percent else {}
            told.append({"column": entry.column, **cuts, **limits})
        return told


def in_order(keys: Sequence[Key]) -> list[Key]:
    """Return strata in the order of their values, those without one first."""
    return sorted(keys, key=lambda key: [(value is not None, value) for value in key])

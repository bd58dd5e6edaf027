"""Columns that rules give: a file for each rule and shard, read by the rules after it as if they were measured.

They lie in the run's folder, `columns/<position of the rule>/<ordinal>.parquet`: a row per document of the shard, null
where the rule was not shown the document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.decide.shards import ShardColumns
from gristmill.pipelines.storage import files

FOLDER = "columns"


@dataclass(frozen=True)
class WithColumns:
    """A shard with the columns that a rule gave."""

    shard: ShardColumns
    url: str
    given: pa.Schema

    @property
    def ordinal(self) -> int:
        """Return the shard's number in the registry."""
        return self.shard.ordinal

    @property
    def rows(self) -> int:
        """Return the number of its documents."""
        return self.shard.rows

    @property
    def schema(self) -> pa.Schema:
        """Return every column there is, those of the rule last."""
        return joined(self.shard.schema, self.given)

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return columns of all its documents."""
        measured = self.shard.read([name for name in names if name not in self.given.names])
        added = [name for name in names if name in self.given.names]
        if not added:
            return measured
        table = files.read_table(self.url, columns=added)
        return pa.table({name: (table if name in added else measured)[name] for name in names})


def given_file(folder: str, position: int, ordinal: int) -> str:
    """Return the URL of the columns that a rule gives to a shard."""
    return files.join(folder, FOLDER, f"{position:02d}", f"{ordinal:08d}.parquet")


def given_parts(gives: Sequence[pa.Schema], folder: str, ordinal: int) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the files of the columns that rules gave to a shard, each with the columns' names; `gives` is by rule."""
    files_of = ((given_file(folder, i, ordinal), tuple(schema.names)) for i, schema in enumerate(gives))
    return tuple((url, names) for url, names in files_of if names)


def write_given(url: str, given: pa.Table, places: NDArray[np.int64], rows: pa.Array) -> None:
    """Write columns of some documents (m rows, at these `places` of the shard), null for the others of n `rows`."""
    at = np.full(len(rows), -1)
    at[places] = np.arange(len(places))
    spread = given.take(pa.array(at, mask=at < 0))
    files.write_table(url, spread.add_column(0, pa.field(columns.ROW, columns.TYPES[columns.ROW]), rows))


def with_given(schema: pa.Schema, gives: Sequence[pa.Schema]) -> list[pa.Schema]:
    """Return the columns that each rule sees, and last those that there are after all of them.

    Raises RecipeError where a rule would give a column that there is already.
    """
    schemas = [schema]
    for rule_schema in gives:
        if clash := sorted({*rule_schema.names} & {*schemas[-1].names}):
            raise RecipeError(f"there is a column {clash[0]} already; give this rule another `name`")
        schemas.append(joined(schemas[-1], rule_schema))
    return schemas


def joined(schema: pa.Schema, given: pa.Schema) -> pa.Schema:
    """Return the fields of one schema and then those of the given one, these without metadata."""
    return pa.schema([*schema, *(field.remove_metadata() for field in given)])

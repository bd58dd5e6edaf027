"""Losses by group of documents: of each source, of each language, of each value of any other column.

They are counted while the decisions of a shard are written, from the same rows: one pass over narrow columns, no text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.errors import RecipeError

#: Columns by which losses are counted wherever a corpus has them, in addition to its sources.
LANGUAGES = ("lang", "language", "language_code", "lang_code")
#: The most values of one column that are counted: a column with more does not fall into groups.
MOST_VALUES = 1000

#: Documents or tokens of groups, by (column, value, position of the rule that dropped them; `KEPT` where none did).
Tally = Counter[tuple[str, str | None, int]]
KEPT = -1


@dataclass(frozen=True)
class GroupLoss:
    """Losses of the documents that have one value of a column, by rule."""

    column: str
    value: str | None
    documents: int
    tokens: int
    dropped: Mapping[str, tuple[int, int]]  #: documents and tokens, by the names of the rules that took any

    def lost(self, rules: Iterable[str]) -> tuple[int, int]:
        """Return the documents and tokens that some rules took of it."""
        counts = [self.dropped[rule] for rule in rules if rule in self.dropped]
        return sum(documents for documents, _ in counts), sum(tokens for _, tokens in counts)


@dataclass
class GroupTally:
    """The counts of some shards. They add up in any order."""

    documents: Tally = field(default_factory=Counter)
    tokens: Tally = field(default_factory=Counter)
    values: dict[str, set[str | None]] = field(default_factory=dict)  #: of each column that is counted
    crowded: set[str] = field(default_factory=set)  #: columns of more than MOST_VALUES values: they are not counted

    def add(self, other: GroupTally) -> None:
        """Add the counts of other shards."""
        self.documents.update(other.documents)
        self.tokens.update(other.tokens)
        self.crowded |= other.crowded
        for column, values in other.values.items():
            own_values = self.values.setdefault(column, set())
            own_values |= values
            if len(own_values) > _most(column):
                self.crowded.add(column)
        for column in self.crowded & {*self.values}:
            del self.values[column]
            for tally in (self.documents, self.tokens):
                for key in [key for key in tally if key[0] == column]:
                    del tally[key]

    def losses(self, rules: Sequence[str]) -> tuple[GroupLoss, ...]:
        """Return a row for each group, by column and value; `rules` are the names of the rules by position."""
        dropped: dict[tuple[str, str | None], dict[int, tuple[int, int]]] = {}
        for (column, value, rule), n in self.documents.items():
            dropped.setdefault((column, value), {})[rule] = (n, self.tokens[column, value, rule])
        losses = []
        for (column, value), by in dropped.items():
            documents, tokens = map(sum, zip(*by.values(), strict=True))
            counts = {rules[position]: by[position] for position in sorted(by) if position != KEPT}
            losses.append(GroupLoss(column, value, documents, tokens, counts))
        return tuple(sorted(losses, key=_order))


def _order(group: GroupLoss) -> tuple[Any, ...]:
    """Return the sort key of a group: sources first, and of each column the documents without a value first."""
    return group.column != columns.SOURCE, group.column, group.value is not None, group.value or ""


def _most(column: str) -> float:
    """Return the most values of a column that are counted: of sources, which the recipe lists, any number."""
    return np.inf if column == columns.SOURCE else MOST_VALUES


def count_groups(
    documents: pa.Table, tokens: pa.ChunkedArray, by: Sequence[str], rules: NDArray[np.integer[Any]], n_rules: int
) -> GroupTally:
    """Return the counts of one shard: `rules` (n) is the position of the rule that dropped each document, or KEPT."""
    tally = GroupTally()
    weights = np.asarray(pc.fill_null(tokens, 0)).astype(np.float64)  # whole numbers: their sums are exact below 2**53
    for name in by:
        encoded = pc.dictionary_encode(documents[name].combine_chunks(), null_encoding="encode")
        values = encoded.dictionary.cast(pa.string()).to_pylist()
        if len(values) > _most(name):
            tally.crowded.add(name)
            continue
        tally.values[name] = {*values}
        slots = np.asarray(encoded.indices).astype(np.int64) * (n_rules + 1) + rules + 1
        counts, sums = np.bincount(slots), np.bincount(slots, weights)
        for slot in np.flatnonzero(counts).tolist():
            value, rule = divmod(slot, n_rules + 1)
            key = (name, values[value], rule - 1)
            tally.documents[key], tally.tokens[key] = int(counts[slot]), int(sums[slot])
    return tally


def grouped_by(asked: Sequence[str] | None, schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns that losses are counted by: sources, and those asked for or those that hold a language.

    Raises RecipeError for a column that does not tell groups apart.
    """
    if asked is None:
        asked = [name for name in LANGUAGES if name in schema.names and pa.types.is_string(schema.field(name).type)]
    for name in asked:
        if not _tells_groups(schema.field(name).type):
            raise RecipeError(
                f"losses cannot be counted by {name}, which is {schema.field(name).type}: name a column "
                "of text, whole numbers, dates, or of true and false"
            )
    return tuple(dict.fromkeys([columns.SOURCE, *asked]))


def _tells_groups(type: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_integer, pa.types.is_date)
    return any(test(type) for test in tests)

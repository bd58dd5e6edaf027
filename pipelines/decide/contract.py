"""The contract of rules that look at all shards: a global pass resolves the rule, then it judges each shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from gristmill.pipelines.decide.fuzzy.history import History
from gristmill.pipelines.decide.shards import Survivors
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.shard_tasks.reread import Texts

#: Whole numbers that add up over shards, keyed by what a rule counts.
Tally = Counter[Any]


@dataclass(frozen=True)
class Verdict:
    """The decision of a rule on one shard's documents."""

    losses: pa.Table  #: LOSSES: the documents that it drops
    tally: Tally = field(default_factory=Counter)
    columns: pa.Table | None = None  #: the columns that the rule gives (`Rule.gives`), of all documents it was shown


class Resolved(Protocol):
    """A rule with everything that it had to learn: a pure function of a shard's columns. Picklable and small."""

    @property
    def reads(self) -> Sequence[str]:
        """Return the columns that it reads."""
        ...

    def judge(self, ordinal: int, documents: pa.Table) -> Verdict:
        """Return the verdict on documents of a shard (n rows: `reads` and the address): which of them it drops."""
        ...

    def details(self, tally: Tally) -> dict[str, Any]:
        """Return the details for the report, from the tallies of all shards, as JSON values.

        Reports know some keys, whatever the rule: `conditions` and `quantiles`, `budget` of a rule that is asked to
        take what it takes, `clusters` of one that gives the columns of clusters, `repeated` and `most_frequent`.
        """
        ...


@dataclass(frozen=True)
class Corpus:
    """Everything that a rule may use while it is resolved: the documents of all shards, and a place for files."""

    survivors: Survivors  #: the documents that earlier rules kept
    schema: pa.Schema  #: every column there is
    engine: Engine
    folder: str  #: the rule's own, for files that it needs until it is applied
    name: str  #: the rule's, in the funnel
    texts: Texts | None = None  #: for rules that look at texts again
    history: History | None = None  #: for the rule that has an index


@dataclass(frozen=True)
class Executor:
    """The functions that apply the rules of one class; the rule is the first argument of each."""

    check: Callable[[Any, pa.Schema], None]  #: raises RecipeError where the rule cannot work on these columns
    resolve: Callable[[Any, Corpus], Resolved]  #: the global pass
    #: true where a document's own columns are all that the rule needs to know
    is_local: Callable[[Any, pa.Schema], bool] = lambda rule, schema: False
    #: true where the rule looks at what earlier nights kept: `History.earlier`
    looks_back: Callable[[Any], bool] = lambda rule: False

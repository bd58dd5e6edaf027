"""What deciding came to: the funnel, and what is left of each shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gristmill.operators.errors import FatalError
from gristmill.pipelines.decide.groups import GroupLoss, GroupTally


@dataclass(frozen=True)
class RuleCount:
    """One rule of the funnel. `seen` = kept + `dropped`, and the next rule sees what was kept."""

    name: str
    operator: str
    seen: int
    dropped: int
    dropped_bytes: int  #: UTF-8 bytes of text
    dropped_tokens: int
    details: dict[str, Any] = field(default_factory=dict)  #: what the rule learnt, as JSON values

    @property
    def kept(self) -> int:
        """Return how many documents it kept."""
        return self.seen - self.dropped


@dataclass(frozen=True)
class ShardKept:
    """What is left of a shard."""

    ordinal: int
    rows: int
    bytes: int  #: UTF-8 bytes of text
    tokens: int
    groups: GroupTally = field(default_factory=GroupTally)  #: what became of its documents, by group


@dataclass(frozen=True)
class Decided:
    """The outcome of all rules."""

    documents: int  #: before the first rule
    funnel: Sequence[RuleCount]
    shards: Sequence[ShardKept]  #: in the order in which the shards were given
    groups: Sequence[GroupLoss] = ()  #: what the rules took of each group of documents
    crowded: Sequence[str] = ()  #: columns with too many values for that

    @property
    def kept(self) -> int:
        """Return how many documents are left."""
        return sum(shard.rows for shard in self.shards)

    @property
    def kept_bytes(self) -> int:
        """UTF-8 bytes of text that are left."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def kept_tokens(self) -> int:
        """Tokens that are left."""
        return sum(shard.tokens for shard in self.shards)

    def check(self) -> None:
        """Raise FatalError where the counts of the rules and of the decisions written do not add up."""
        left = self.documents
        for rule in self.funnel:
            if rule.seen != left:
                raise FatalError(f"the funnel does not add up: {rule.name} saw {rule.seen} of {left} documents")
            left = rule.kept
        if left != self.kept:
            raise FatalError(f"the funnel does not add up: {left} documents are left, decisions keep {self.kept}")

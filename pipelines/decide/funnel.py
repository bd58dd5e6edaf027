"""The funnel: how many documents came in, what each rule dropped, what stayed. It adds up, or nothing is committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gristmill.operators.errors import FatalError
from gristmill.pipelines.decide.groups import GroupLoss, GroupTally
from gristmill.pipelines.decide.losses import Losses
from gristmill.pipelines.store.measures import ShardCounts


@dataclass(frozen=True)
class RuleCount:
    """One rule of the funnel. `seen` = kept + `dropped`, and the next rule sees what was kept."""

    name: str
    operator: str
    seen: int
    dropped: int
    dropped_bytes: int  #: UTF-8 bytes of text
    dropped_tokens: int
    details: Mapping[str, Any] = field(default_factory=dict)  #: facts that the rule learnt, as JSON values

    @property
    def kept(self) -> int:
        """Return the number of documents that it kept."""
        return self.seen - self.dropped


@dataclass(frozen=True)
class ShardKept:
    """Counts of the documents of a shard that are left."""

    ordinal: int
    rows: int
    bytes: int  #: UTF-8 bytes of text
    tokens: int
    groups: GroupTally = field(default_factory=GroupTally)  #: all of its documents, by group and outcome


@dataclass(frozen=True)
class Decided:
    """The outcome of all rules."""

    documents: int  #: before the first rule
    funnel: Sequence[RuleCount]
    shards: Sequence[ShardKept]  #: in the order in which the shards were given
    groups: Sequence[GroupLoss] = ()  #: losses of each group of documents
    crowded: Sequence[str] = ()  #: columns with too many values for that

    @property
    def kept(self) -> int:
        """Return the number of documents that are left."""
        return sum(shard.rows for shard in self.shards)

    @property
    def kept_bytes(self) -> int:
        """Return the UTF-8 bytes of text that are left."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def kept_tokens(self) -> int:
        """Return the number of tokens that are left."""
        return sum(shard.tokens for shard in self.shards)


@dataclass(frozen=True)
class Funnel:
    """Counts of a run, from records to kept documents."""

    records: int
    quarantined: int
    documents: int
    text_bytes: int
    tokens: int
    rules: tuple[RuleCount, ...]
    kept: int
    kept_bytes: int
    kept_tokens: int
    groups: tuple[GroupLoss, ...] = ()  #: losses of each source, language, ...
    estimated: bool = False  #: true where tokens are estimated
    crowded: tuple[str, ...] = ()  #: columns that losses were to be counted by, with too many values for that

    def check(self) -> None:
        """Raise FatalError unless every record is accounted for."""
        balance = [("records read", self.records, self.documents + self.quarantined, "documents + quarantined")]
        documents = self.documents
        for rule in self.rules:
            balance.append(
                (f"documents seen by {rule.name}", rule.seen, documents, "documents left by the rules before it")
            )
            documents -= rule.dropped
        balance.append(("documents kept", self.kept, documents, "documents - dropped"))
        for column in dict.fromkeys(group.column for group in self.groups):
            groups = [group for group in self.groups if group.column == column]
            balance.append((f"documents by {column}", sum(g.documents for g in groups), self.documents, "documents"))
            lost = sum(group.lost(r.name for r in self.rules)[0] for group in groups)
            balance.append((f"documents dropped by {column}", lost, self.documents - self.kept, "documents - kept"))
        for what, count, expected, sum_of in balance:
            if count != expected:
                raise FatalError(
                    f"the counts do not add up: {what} = {count:,}, {sum_of} = {expected:,}. Nothing is committed. "
                    "This is a fault of gristmill: please report it with the store's runs/ folder"
                )

    def with_details(self, details: Mapping[str, Mapping[str, Any]]) -> Funnel:
        """Return the funnel with more details on some of the rules, given by rule name."""
        rules = tuple(replace(rule, details={**rule.details, **details.get(rule.name, {})}) for rule in self.rules)
        return replace(self, rules=rules)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, held: dict[str, Any]) -> Funnel:
        """Return the funnel of plain values: the inverse of `to_json`."""
        groups = (
            GroupLoss(**{**group, "dropped": {rule: tuple(counts) for rule, counts in group["dropped"].items()}})
            for group in held.get("groups", ())
        )
        rules = tuple(RuleCount(**rule) for rule in held["rules"])
        crowded = tuple(held.get("crowded", ()))
        return cls(**{**held, "rules": rules, "groups": tuple(groups), "crowded": crowded})

    def kept_by(self, column: str) -> Counter[str]:
        """Return the documents kept by the values of a column that losses are counted by; without those of none."""
        return Counter({value: documents for value, (documents, _) in self._kept_by(column)})

    def kept_tokens_by(self, column: str) -> Counter[str]:
        """Return the tokens kept by the values of a column: see `kept_by`."""
        return Counter({value: tokens for value, (_, tokens) in self._kept_by(column)})

    def _kept_by(self, column: str) -> Iterator[tuple[str, tuple[int, int]]]:
        rules = [rule.name for rule in self.rules]
        for group in self.groups:
            if group.column == column and group.value is not None:
                documents, tokens = group.lost(rules)
                yield str(group.value), (group.documents - documents, group.tokens - tokens)

    @property
    def losses(self) -> Losses:
        """Return the losses of each source, and of other groups of documents."""
        selections = [rule.name for rule in self.rules if "budget" in rule.details]
        return Losses(self.groups, [rule.name for rule in self.rules], selections, self.crowded)


def build_funnel(counts: Sequence[ShardCounts], decided: Decided, estimated: bool = False) -> Funnel:
    """Return the funnel of a run, from the shards' and the rules' counts; `estimated` says whether tokens are."""
    return Funnel(
        records=sum(c.records for c in counts),
        quarantined=sum(c.rejects for c in counts),
        documents=sum(c.documents for c in counts),
        text_bytes=sum(c.text_bytes for c in counts),
        tokens=decided.kept_tokens + sum(rule.dropped_tokens for rule in decided.funnel),
        rules=tuple(decided.funnel),
        kept=decided.kept,
        kept_bytes=decided.kept_bytes,
        kept_tokens=decided.kept_tokens,
        groups=tuple(decided.groups),
        estimated=estimated,
        crowded=tuple(decided.crowded),
    )

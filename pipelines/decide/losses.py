"""Losses by source, by language, by any column: what deserves a look, and what the recipe refuses to commit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from gristmill.operators import columns
from gristmill.operators.errors import FatalError
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.decide.groups import GroupLoss

#: A rule that takes more than this share of a group, but not of the others, is pointed out.
REMARKABLE = 0.5
#: A group of fewer documents is too small to draw conclusions from.
TINY = 20
#: The least distance of a group's share above that of the others.
APART = 0.1
#: The number of groups with a line of their own for each rule and column, and of further groups that are named.
SHOWN = 3
NAMED = 20
COUNTS = ("seen", "dropped", "seen_tokens", "dropped_tokens")
#: The command that shows all losses.
EVERYTHING = 'gristmill query "FROM losses"'


@dataclass(frozen=True)
class Loss:
    """The loss that some rules caused to a group of the documents that reached them, next to that of all others."""

    group: GroupLoss
    seen: int
    dropped: int
    others_seen: int
    others_dropped: int

    @property
    def share(self) -> float:
        """Return the share of the group that was dropped."""
        return self.dropped / self.seen if self.seen else 0.0

    @property
    def others(self) -> float:
        """Return the share of all others that was dropped."""
        return self.others_dropped / self.others_seen if self.others_seen else 0.0

    @property
    def uneven(self) -> bool:
        """Return whether a group that is not tiny lost a larger share than the others, clearly and beyond chance."""
        if self.seen < TINY or not self.others_seen:
            return False
        chance = 2 * math.sqrt(self.others * (1 - self.others) / self.seen)
        apart = self.share - self.others > APART or 1 - self.share <= (1 - self.others) / 2
        return apart and self.share - self.others > chance

    @property
    def remarkable(self) -> bool:
        """Return whether the loss is pointed out: it is uneven, and more than half of the group was dropped."""
        return self.share > REMARKABLE and self.uneven

    def sentence(self) -> str:
        """Return a phrase: `94% of source pages (940 of 1,000 documents; 2% of all others)`."""
        counts = f"{self.dropped:,} of {plural(self.seen, 'document')}"
        return f"{_share(self.share)} of {name_of(self.group)} ({counts}; {_share(self.others)} of all others)"


@dataclass(frozen=True)
class Losses:
    """The losses of a run by group, those of one column side by side.

    `rules` are all rules by name in their order, `selections` those of them that are asked to take.
    """

    groups: Sequence[GroupLoss]
    rules: Sequence[str]
    selections: Sequence[str]
    crowded: Sequence[str] = field(default=())

    def of_rule(self, rule: str) -> list[Loss]:
        """Return the loss of each group by one rule."""
        before = self.rules[: self.rules.index(rule)]
        return self._losses(before, [rule])

    def in_all(self) -> list[Loss]:
        """Return the loss of each group by all rules but selections; a selection may stand before some of them."""
        return self._losses([], [rule for rule in self.rules if rule not in self.selections])

    def _losses(self, before: Sequence[str], rules: Sequence[str]) -> list[Loss]:
        counts = {}
        totals: dict[str, list[int]] = {}
        for group in self.groups:
            documents, dropped = group.documents - group.lost(before)[0], group.lost(rules)[0]
            counts[group.column, group.value] = documents, dropped
            total = totals.setdefault(group.column, [0, 0])
            total[0] += documents
            total[1] += dropped
        return [
            Loss(group, documents, dropped, totals[group.column][0] - documents, totals[group.column][1] - dropped)
            for group in self.groups
            for documents, dropped in [counts[group.column, group.value]]
        ]

    def remarks(self, rule: str) -> Iterator[str]:
        """Yield remarks on the source and the language that a rule took most of: far from even, but not remarkable."""
        for _, losses in groupby(self.of_rule(rule), key=lambda loss: loss.group.column):
            candidates = [loss for loss in losses if loss.uneven and loss.share >= 2 * loss.others]
            most = max(candidates, key=lambda loss: loss.share, default=None)
            if most is not None and not most.remarkable:
                shares = f"{_share(most.share)}, and {_share(most.others)} of all others"
                yield f"took most of {name_of(most.group)}: {shares}"

    def warnings(self) -> list[str]:
        """Return lines for the console: the groups that a rule took most of, then those that went by several rules."""
        lines: list[str] = []
        keys = set()
        for rule in self.rules:
            losses = self.of_rule(rule)
            keys |= {(loss.group.column, loss.group.value) for loss in losses if loss.remarkable}
            lines += _told(losses, f"{rule} takes")
        rest = [loss for loss in self.in_all() if (loss.group.column, loss.group.value) not in keys]
        lines += _told(rest, "the rules together take")
        if lines:
            lines.append(f"`{EVERYTHING}` shows what each rule took of each source{_beside(self.groups)}")
        lines += [f"not counted by {column}: it has more values than groups can have" for column in self.crowded]
        return lines

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row (LOSS_COLUMNS) for each group and rule, in the order of the rules."""
        for group in self.groups:
            documents, tokens = group.documents, group.tokens
            for rule in self.rules:
                dropped, dropped_tokens = group.lost([rule])
                counts = dict(zip(COUNTS, (documents, dropped, tokens, dropped_tokens), strict=True))
                yield {"counted_by": group.column, "value": group.value, "rule": rule, **counts}
                documents, tokens = documents - dropped, tokens - dropped_tokens


def check_limit(losses: Losses, limit: float | None, where: str, by: Sequence[str] = ()) -> None:
    """Raise FatalError where the rules took more of a source than the recipe's limit allows; selections do not count.

    The limit is also that of each value of the columns in `by`, those that the recipe asks for. `where` is the limit's
    place in the recipe.
    """
    if limit is None:
        return
    over = [loss for loss in losses.in_all() if loss.group.column in (columns.SOURCE, *by) and loss.share > limit]
    if over:
        lines = "\n  ".join(_refusal(loss) for loss in sorted(over, key=lambda loss: -loss.share)[:NAMED])
        what = "source" if all(loss.group.column == columns.SOURCE for loss in over) else "group"
        more = f"\n  and {plural(len(over) - NAMED, f'more {what}')}" if len(over) > NAMED else ""
        raise FatalError(
            f"{where}: {plural(len(over), what)} lost more than limits: {{source_loss: {limit:g}}} allows; nothing "
            f"is committed\n  {lines}{more}\nLook at the rule, take the {what} out of the recipe, or raise the limit"
        )


def _refusal(loss: Loss) -> str:
    most = max(loss.group.dropped, key=lambda rule: loss.group.dropped[rule][0])
    return (
        f"{name_of(loss.group)}: {loss.share:.1%} of its documents were dropped ({loss.dropped:,} of {loss.seen:,}), "
        f"most of them ({loss.group.dropped[most][0]:,}) by {most}"
    )


def _told(losses: Sequence[Loss], begins: str) -> Iterator[str]:
    """Yield lines on the remarkable losses, those of the most documents first, a few for each column."""
    for column, those in groupby(losses, key=lambda loss: loss.group.column):
        ranking = sorted((loss for loss in those if loss.remarkable), key=lambda loss: -loss.dropped)
        for loss in ranking[:SHOWN]:
            yield f"{begins} {loss.sentence()}: is that meant?"
        if rest := [str(loss.group.value) for loss in ranking[SHOWN:]]:
            more = f" and {len(rest) - NAMED:,} more" if len(rest) > NAMED else ""
            yield f"{begins} more than half of {column} {', '.join(rest[:NAMED])}{more} too"


def name_of(group: GroupLoss) -> str:
    """Return a group's name: `source pages`, `lang pt`, `documents without lang`."""
    return f"documents without {group.column}" if group.value is None else f"{group.column} {group.value}"


def _beside(groups: Sequence[GroupLoss]) -> str:
    others = [column for column in dict.fromkeys(group.column for group in groups) if column != columns.SOURCE]
    return "".join(f" and {column}" for column in others)


def _share(share: float) -> str:
    """Return a share in whole percent; 0% and 100% only where it is exactly that."""
    return f"{min(max(share, 0.01), 0.99):.0%}" if 0 < share < 1 else f"{share:.0%}"

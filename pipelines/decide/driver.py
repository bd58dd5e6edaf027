"""The driver of the rules: they run one after the other over all shards.

A rule is resolved on the survivors of those before it and then applied. Rules that need to know nothing of other
documents are applied together with the one before them, in one pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.base import Rule
from gristmill.operators.errors import FatalError
from gristmill.operators.rules.select import TOKENS
from gristmill.operators.table import name_of
from gristmill.pipelines.decide.contract import Corpus, Resolved, Tally, Verdict
from gristmill.pipelines.decide.executors import executor_for, given_columns, rule_names
from gristmill.pipelines.decide.funnel import Decided, RuleCount, ShardKept
from gristmill.pipelines.decide.fuzzy.history import History
from gristmill.pipelines.decide.groups import KEPT, GroupTally, count_groups
from gristmill.pipelines.decide.rule_columns import WithColumns, given_file, with_given, write_given
from gristmill.pipelines.decide.shards import DROPS, ShardColumns, SurvivingShard, Survivors, total
from gristmill.pipelines.engine.base import Engine, run_all
from gristmill.pipelines.exchange import shuffle_files
from gristmill.pipelines.shard_tasks.reread import Texts
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.runs import decisions_file

#: Columns that the counts are made of: every shard has them.
COUNTED = (columns.BYTES, TOKENS)
DECISIONS = pa.schema(
    [
        (columns.ADDRESS, pa.uint64()),
        ("kept", pa.bool_()),
        ("rule", pa.dictionary(pa.int32(), pa.string())),  # the rule that dropped it
        *((name, DROPS.field(name).type) for name in ("condition", "value", "limit", "survivor")),
    ]
)


@dataclass(frozen=True)
class RulePass:
    """Resolved rules that are applied in one pass."""

    first: int  #: position of the first of them in the recipe
    rules: Sequence[Resolved]
    read: Sequence[str]  #: columns that the rules and the counts need
    folder: str  #: folder of the files of drops
    run: str  #: the run's folder, for the columns that the rules give


@dataclass(frozen=True)
class Count:
    """The effect of one rule on one shard, or on several."""

    seen: int = 0
    dropped: int = 0
    bytes: int = 0  #: of the dropped
    tokens: int = 0  #: of the dropped
    tally: Tally = field(default_factory=Counter)

    def __add__(self, other: Count) -> Count:
        return Count(
            self.seen + other.seen,
            self.dropped + other.dropped,
            self.bytes + other.bytes,
            self.tokens + other.tokens,
            self.tally + other.tally,
        )


@dataclass(frozen=True)
class Means:
    """The means by which rules are applied."""

    engine: Engine
    scratch: str  #: folder of files that are needed until all rules are applied
    run: str  #: folder of the columns that rules give
    texts: Texts | None = None  #: for rules that look at texts again
    history: History | None = None  #: for the rule that has an index


@dataclass(frozen=True)
class Applied:
    """The documents that the first rules of a recipe left, and the counts of these rules."""

    survivors: Survivors
    funnel: tuple[RuleCount, ...] = ()

    @classmethod
    def none(cls, shards: Sequence[ShardColumns]) -> Applied:
        """Return the documents of all shards, to which no rule is applied yet."""
        return cls(Survivors([SurvivingShard(shard) for shard in shards], sum(shard.rows for shard in shards)))


def decide(
    rules: Sequence[Rule],
    shards: Sequence[ShardColumns],
    engine: Engine,
    folder: str,
    *,
    on_progress: Callable[[], object] = lambda: None,
    texts: Texts | None = None,
    history: History | None = None,
    by: Sequence[str] = (),
) -> Decided:
    """Decide which documents of all shards to keep.

    The rules have been checked against the columns; shards share one schema. Writes
    `folder`/decisions/<ordinal>.parquet (DECISIONS, one row per document, in the shard's order) and `given_file`s of
    the rules that give columns; scratch is in a `scratch_folder`. `texts` are for the rules that ask for them,
    `history` for the one that has an index; losses are counted by the values of the columns in `by`. The decisions
    depend on the documents, their addresses, the rules and the history alone: not on the engine, the number of workers
    or the order of the shards. `on_progress` is called after each rule. Raises the error of a shard that cannot be read
    or computed, and FatalError where a rule drops a document twice; the counts are checked by `Funnel.check`.
    """
    names = rule_names(rules)
    if not shards:
        return Decided(
            0, [RuleCount(name, name_of(rule), 0, 0, 0, 0) for name, rule in zip(names, rules, strict=True)], []
        )
    start = Applied.none(shards)
    with shuffle_files.scratch_folder(folder, "exchange", engine) as scratch:
        means = Means(engine, scratch, folder, texts, history)
        applied = apply_rules(rules, start, len(rules), means, on_progress)
        decided = Decided(start.survivors.documents, applied.funnel, [])
        return _write_all(names, folder, by, decided, applied.survivors, engine)


def apply_rules(
    rules: Sequence[Rule],
    applied: Applied,
    last: int,
    means: Means,
    on_progress: Callable[[], object] = lambda: None,
) -> Applied:
    """Apply the rules of a recipe that are not applied yet, up to the position `last`; see `decide`."""
    names, gives, first = rule_names(rules), given_columns(rules), len(applied.funnel)
    survivors, funnel = applied.survivors, [*applied.funnel]
    schemas = dict(enumerate(with_given(survivors.shards[0].shard.schema, gives[first:last]), first))
    for batch in _batches(rules, gives, schemas, range(first, last)):
        resolved = []
        for i in batch:
            own = files.join(means.scratch, f"rule-{i}")
            corpus = Corpus(survivors, schemas[i], means.engine, own, names[i], means.texts, means.history)
            resolved.append(executor_for(rules[i]).resolve(rules[i], corpus))
        step = _step(batch[0], resolved, means)
        for i, rule, count in zip(batch, resolved, _apply_to_all(step, survivors, means.engine), strict=True):
            funnel.append(rule_count(names[i], rules[i], rule, count))
            on_progress()
        survivors = _after(step, survivors, funnel[-1].kept, batch[-1], gives[batch[-1]])
    return Applied(survivors, tuple(funnel))


def rule_count(name: str, rule: Rule, resolved: Resolved, count: Count) -> RuleCount:
    """Return the effect of a rule on all shards as the funnel has it."""
    details = resolved.details(count.tally)
    if rule.expect is not None:
        details["expect"] = rule.expect
    return RuleCount(name, name_of(rule), count.seen, count.dropped, count.bytes, count.tokens, details)


def _batches(
    rules: Sequence[Rule], gives: Sequence[pa.Schema], schemas: Mapping[int, pa.Schema], positions: range
) -> list[list[int]]:
    """Return positions of rules to apply together: only the first of a batch may need to know other documents.

    A rule that gives columns is the last of its batch, as those after it may read them.
    """
    batches: list[list[int]] = []
    is_open = False
    for i in positions:
        if is_open and executor_for(rules[i]).is_local(rules[i], schemas[i]):
            batches[-1].append(i)
        else:
            batches.append([i])
        is_open = not gives[i].names
    return batches


def _step(first: int, resolved: Sequence[Resolved], means: Means) -> RulePass:
    names = {*COUNTED, *(name for rule in resolved for name in rule.reads)}
    return RulePass(first, resolved, sorted(names), files.join(means.scratch, f"drops-{first}"), means.run)


def _after(step: RulePass, survivors: Survivors, kept: int, last: int, given: pa.Schema) -> Survivors:
    """Return the survivors of a step whose `last` rule gave some columns, or none."""
    shards = []
    for shard in survivors.shards:
        url = given_file(step.run, last, shard.ordinal)
        shard_columns = WithColumns(shard.shard, url, given) if given.names else shard.shard
        shards.append(replace(shard, shard=shard_columns, drops=_drops_file(step, shard)))
    return Survivors(shards, kept)


def _drops_file(step: RulePass, shard: SurvivingShard) -> str:
    return files.join(step.folder, f"{shard.ordinal:08d}.arrow")


def _apply_to_all(step: RulePass, survivors: Survivors, engine: Engine) -> list[Count]:
    """Apply a step to every shard; return the count of each rule."""
    sums = [Count() for _ in step.rules]
    for counts in run_all(engine, partial(_apply, step), survivors.shards):
        sums = [count + other for count, other in zip(sums, counts, strict=True)]
    return sums


def _apply(step: RulePass, shard: SurvivingShard) -> list[Count]:
    """Apply a step to one shard and add its drops to the earlier ones; return the count of each rule."""
    documents, places = shard.read(step.read), np.flatnonzero(shard.kept())
    drops, counts = [shard.dropped()], []
    for position, rule in enumerate(step.rules, start=step.first):
        verdict = rule.judge(shard.ordinal, documents)
        rows = np.asarray(verdict.losses["row"])
        stays = np.ones(documents.num_rows, np.bool_)
        stays[rows] = False
        counts.append(_count(documents, stays, verdict))
        if verdict.columns is not None:
            all_rows = shard.shard.read([columns.ROW])[columns.ROW].combine_chunks()
            write_given(given_file(step.run, position, shard.ordinal), verdict.columns, places, all_rows)
        placed = verdict.losses.set_column(0, "row", pa.array(places[rows]))
        drops.append(placed.append_column("rule", pa.repeat(pa.scalar(position, pa.int32()), len(rows))))
        documents, places = documents.filter(pa.array(stays)), places[stays]
    shuffle_files.write_table(_drops_file(step, shard), pa.concat_tables(drops))
    return counts


def _count(documents: pa.Table, stays: NDArray[np.bool_], verdict: Verdict) -> Count:
    n, lost = documents.num_rows, documents.select(COUNTED).filter(pa.array(~stays))
    if lost.num_rows != verdict.losses.num_rows:
        raise FatalError(f"a rule dropped {verdict.losses.num_rows} documents, of which {lost.num_rows} are distinct")
    return Count(n, lost.num_rows, total(lost[columns.BYTES]), total(lost[TOKENS]), verdict.tally)


def _write_all(
    names: Sequence[str], folder: str, by: Sequence[str], decided: Decided, survivors: Survivors, engine: Engine
) -> Decided:
    """Write the decisions on all shards; return `decided` with what is left of each shard and group."""
    groups, kept_shards = GroupTally(), {}
    for shard in run_all(engine, partial(_write_decisions, names, folder, by), survivors.shards):
        groups.add(shard.groups)
        kept_shards[shard.ordinal] = replace(shard, groups=GroupTally())
    in_order = [kept_shards[shard.ordinal] for shard in survivors.shards]
    return replace(decided, shards=in_order, groups=groups.losses(names), crowded=sorted(groups.crowded))


def _write_decisions(names: Sequence[str], folder: str, by: Sequence[str], shard: SurvivingShard) -> ShardKept:
    """Write the decisions on one shard."""
    documents, kept, drops = SurvivingShard(shard.shard).read([*COUNTED, *by]), shard.kept(), shard.dropped()
    reason = np.full(documents.num_rows, -1)
    reason[np.asarray(drops["row"])] = np.arange(drops.num_rows)
    reasons = drops.take(pa.array(reason, mask=kept)).combine_chunks()
    rules = pa.DictionaryArray.from_arrays(reasons["rule"].combine_chunks(), pa.array(names, pa.string()))
    arrays = {columns.ADDRESS: documents[columns.ADDRESS], "kept": pa.array(kept), "rule": rules}
    arrays |= {name: reasons[name] for name in ("condition", "value", "limit", "survivor")}
    table = pa.table([arrays[name] for name in DECISIONS.names], schema=DECISIONS)
    files.write_table(decisions_file(folder, shard.ordinal), table)
    survivors = documents.select(COUNTED).filter(pa.array(kept))
    dropped_by = np.full(documents.num_rows, KEPT)
    dropped_by[np.asarray(drops["row"])] = np.asarray(drops["rule"])
    groups = count_groups(documents, documents[TOKENS], by, dropped_by, len(names))
    return ShardKept(
        shard.ordinal, survivors.num_rows, total(survivors[columns.BYTES]), total(survivors[TOKENS]), groups
    )

"""`gristmill what-if`: what a run with a changed recipe would keep, from stored measures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.operators import columns
from gristmill.operators.errors import FatalError, GristmillError, RecipeError
from gristmill.operators.rules.select import TOKENS
from gristmill.pipelines.config.wording import excerpt, plural
from gristmill.pipelines.decide.comparison import Variant, compare
from gristmill.pipelines.decide.driver import COUNTED, Means
from gristmill.pipelines.decide.funnel import Funnel, build_funnel
from gristmill.pipelines.decide.last_pass import BothDecided, Changed, Move
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.warm_up import compile_missing
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.planning.state import StoreState, plan_run
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import LoadedRecipe
from gristmill.pipelines.report.stored_measures import StoredMeasures, stored_measures
from gristmill.pipelines.report.stored_texts import check_extracted
from gristmill.pipelines.shard_tasks.reread import KNOWN, Texts, read_texts
from gristmill.pipelines.stages.decide import check_source_losses
from gristmill.pipelines.store.measures import ShardCounts, ShardMeasures
from gristmill.pipelines.store.registry import Shard

#: Characters of a text that are shown.
EXCERPT = 160
#: Sections of a recipe that decide which documents there are, and what is measured of them.
_FIXED = ("name", "store", "sources", "extract", "transform")


@dataclass(frozen=True)
class WhatIf:
    """Counts of what a recipe keeps, and of what it would keep with some changes."""

    recipe: str
    changes: tuple[str, ...]
    before: Funnel
    after: Funnel
    moves: tuple[Move, ...]  #: documents whose fate differs, by the rules that drop them
    examples: tuple[Mapping[str, Any], ...]  #: documents that would come (`came`), and some that would go
    remarks: tuple[str, ...]

    @property
    def came(self) -> tuple[int, int]:
        """Return the documents and tokens that would come."""
        return _sum(move for move in self.moves if move.after is None)

    @property
    def went(self) -> tuple[int, int]:
        """Return the documents and tokens that would go."""
        return _sum(move for move in self.moves if move.before is None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        counts = {
            name: dict(zip(("documents", "tokens"), getattr(self, name), strict=True)) for name in ("came", "went")
        }
        funnels = {"before": self.before.to_json(), "after": self.after.to_json()}
        return {**asdict(self), **funnels, **counts}


def _sum(moves: Iterator[Move]) -> tuple[int, int]:
    counts = [(move.documents, move.tokens) for move in moves]
    return sum(n for n, _ in counts), sum(n for _, n in counts)


def what_if(loaded: LoadedRecipe, changes: Sequence[str], examples: int, engine: Engine, reporter: Reporter) -> WhatIf:
    """Decide the documents that are measured by a recipe, and by the recipe with `changes` (`key=value` pairs).

    Nothing is measured, and nothing in the store is written. Raises RecipeError where the recipe or a change is wrong,
    where it changes more than rules and measures, or needs a measure that no run has made.
    """
    if not changes:
        raise RecipeError('name a change: --set decide.low_quality.when="quality < 0.4"')
    states = [plan_run(recipe, asks=False) for recipe in (loaded, loaded.with_changes(changes))]
    before, after = (state.plan for state in states)
    _check_changes(before, after)
    compile_missing({name for plan in (before, after) for rule in plan.rules for name in rule.kernels()}, reporter)
    stored = [stored_measures(state, read_columns(state.plan, before.by), engine) for state in states]
    for i, (plan, measured) in enumerate(zip((before, after), stored, strict=True)):
        check_measured(plan, measured, changes if i else ())
    both = {shard.ordinal for shard in stored[0].shards} & {shard.ordinal for shard in stored[1].shards}
    places = [[m for m in measured.measures if m.ordinal in both] for measured in stored]
    places = [[*column] for column in zip(*map(_merged, *places), strict=True)]
    shards = {shard.ordinal: shard for shard in stored[0].shards if shard.ordinal in both}
    with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
        means = Means(engine, folder, folder, StoredTexts(shards, before.transforms))
        variants = [Variant(plan.rules, rows) for plan, rows in zip((before, after), places, strict=True)]
        with reporter.stage("decide", len(both)) as stage:
            compared = compare(variants[0], variants[1], before.by, examples, means, stage.advance)
    counts = [count for count in stored[0].counts if count.ordinal in both]
    remarks = store_remarks(states[0], len(states[0].specs) - len(both))
    by_ordinal = {m.ordinal: m for m in places[0]}
    return told((before, after), changes, compared, counts, shards, by_ordinal, remarks)


def told(
    plans: tuple[Plan, Plan],
    changes: Sequence[str],
    compared: BothDecided,
    counts: Sequence[ShardCounts],
    shards: Mapping[int, Shard],
    measures: Mapping[int, ShardMeasures],
    remarks: Sequence[str],
) -> WhatIf:
    """Return the answer that two compared lists of rules come to; the texts of its examples are read again.

    Raises FatalError where the counts do not add up.
    """
    funnels = [
        build_funnel(counts, decided, plan.tokens_are_estimated)
        for decided, plan in zip((compared.before, compared.after), plans, strict=True)
    ]
    for funnel in funnels:
        funnel.check()
    shown = _examples(compared.changed, shards, measures)
    return WhatIf(
        recipe=plans[0].loaded.recipe.name,
        changes=tuple(changes),
        before=funnels[0],
        after=funnels[1],
        moves=tuple(compared.moves),
        examples=tuple(shown),
        remarks=(*remarks, *_refusal(plans[1], funnels[1])),
    )


def read_columns(plan: Plan, by: Sequence[str]) -> set[str]:
    """Return the columns that decisions read, and those that a document is shown by."""
    return {*COUNTED, *by, *KNOWN, columns.ID, *(name for rule in plan.rules for name in rule.reads())}


def check_measured(plan: Plan, stored: StoredMeasures, changes: Sequence[str] = ()) -> None:
    """Raise RecipeError where nothing is measured, or a measure that rules need is missing of all shards."""
    options = "".join(f" --set {change!r}" for change in changes)
    command = f"`gristmill run {plan.loaded.document.file}{options}`"
    if stored.unmeasured:
        which = "with these changes the rules need" if changes else "the rules need"
        raise RecipeError(
            f"{which} {', '.join(stored.unmeasured)}, which no run has measured as the recipe has it; {command} does"
        )
    if not stored.shards:
        raise RecipeError(f"none of the {plural(stored.missing, 'shard')} is measured yet; {command} measures")


def store_remarks(state: StoreState, missing: int) -> list[str]:
    """Return remarks on what a run would decide otherwise: documents that are not measured, and those of an index."""
    remarks = []
    if missing:
        remarks.append(
            f"{plural(missing, 'shard')} of {len(state.specs):,} are not measured yet and not counted: "
            "`gristmill run` measures them"
        )
    if state.index is not None:
        gone = len(state.index.held) - state.indexed
        without = f"; {plural(gone, 'shard')} that it holds are no longer among the sources" if gone else ""
        remarks.append(
            f"the index {state.index.name} holds what earlier nights kept, and a run decides new documents only: here "
            f"the documents of all nights are decided as one run would from an empty index{without}"
        )
    return remarks


def _check_changes(before: Plan, after: Plan) -> None:
    for section in _FIXED:
        if getattr(before.loaded.recipe, section) != getattr(after.loaded.recipe, section):
            options = after.loaded.document.overrides
            option = next(option for path, option in reversed(options.items()) if path[0] == section)
            raise RecipeError(
                f"{option}: what-if changes rules, and takes measures that a run has made; to try other {section}, run "
                "the recipe with the change"
            )


def _merged(before: ShardMeasures, after: ShardMeasures) -> tuple[ShardMeasures, ShardMeasures]:
    """Return the same columns for both where one has all that the other has, as they can be read once then.

    Raises RecipeError where tokens are not counted alike.
    """
    of_tokens = [next(url for url, names in shard.parts if TOKENS in names) for shard in (before, after)]
    if of_tokens[0] != of_tokens[1]:
        raise RecipeError("the changes count tokens otherwise, so that nothing can be compared; run the recipe")
    held = [{(url, name) for url, names in shard.parts for name in names} for shard in (before, after)]
    if held[0] <= held[1]:
        return after, after
    return (before, before) if held[1] <= held[0] else (before, after)


def _refusal(plan: Plan, funnel: Funnel) -> Iterator[str]:
    """Yield what keeps a run from committing what the rules leave, if anything does."""
    try:
        check_source_losses(plan, funnel)
    except FatalError as error:
        yield f"a run would commit nothing: {error}"


class StoredTexts(Texts):
    """Texts that are read again where they lie; pages that are not extracted stay so."""

    def read(self, ordinal: int, known: pa.Table) -> Iterator[pa.LargeStringArray]:
        """Yield the texts of some of a shard's documents. Raises ShardError where they would have to be extracted."""
        check_extracted(self.shards[ordinal])
        return super().read(ordinal, known)


def _examples(
    changed: Sequence[Changed], shards: Mapping[int, Shard], measures: Mapping[int, ShardMeasures]
) -> list[dict[str, Any]]:
    """Return the documents, each with its reason, as `explain` has it, and the beginning of its text."""
    survivors = [change.reason["survivor"] for change in changed if change.reason["survivor"] is not None]
    known = _known([*(change.address for change in changed), *survivors], measures)
    examples = []
    for change in changed:
        survivor = change.reason["survivor"]
        told: dict[str, Any] = {
            "id": known[change.address]["id"],
            "address": change.address,
            "source": measures[change.address >> columns.ROW_BITS].source,
            "came": change.came,
            "kept": False,
            "rule": change.rule,
            **{name: change.reason[name] for name in ("condition", "value", "limit", "survivor")},
            "survivor_id": None if survivor is None else known[survivor]["id"],
        }
        examples.append({**told, **_text(shards[change.address >> columns.ROW_BITS], known[change.address])})
    return examples


def _known(addresses: Sequence[int], measures: Mapping[int, ShardMeasures]) -> dict[int, dict[str, Any]]:
    """Return id, row and content id of documents, by address."""
    known = {}
    for ordinal in dict.fromkeys(address >> columns.ROW_BITS for address in addresses):
        rows = {
            address & (1 << columns.ROW_BITS) - 1 for address in addresses if address >> columns.ROW_BITS == ordinal
        }
        table = measures[ordinal].read([columns.ID, *KNOWN])
        mask = np.isin(np.asarray(table[columns.ROW]), [*rows])
        for document in table.filter(pa.array(mask)).to_pylist():
            known[columns.address(ordinal, document[columns.ROW])] = document
    return known


def _text(shard: Shard, known: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the beginning of a document's text, or why it cannot be read."""
    table = pa.table({name: pa.array([known[name]], columns.TYPES[name]) for name in KNOWN})
    try:
        check_extracted(shard)
        (text,) = (text.as_py() for batch in read_texts(shard, table) for text in batch)
    except (GristmillError, OSError) as error:
        return {"excerpt": None, "unreadable": str(error)}
    return {"excerpt": excerpt(text, EXCERPT)}

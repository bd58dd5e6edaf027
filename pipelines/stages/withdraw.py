"""Documents of files that are gone, or are other files now: withdrawn from the dataset, each with a row that says so.

A recipe with the section `refresh` asks for it. The run that finds such a file writes decisions on the documents that
it had, `withdrawn` in place of a rule, and with an index takes its shard out, so that nothing is resolved against it.
Shards are withdrawn whole: of a group of small files one of which is gone, the others are read again. Shards with a
document that had gone for one that is withdrawn now are decided again, for it may have to take its place; so are those
of a night that some of its shards leave while its texts wait for labels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.decide import DECISIONS
from gristmill.pipelines.index.upkeep import without_shards
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.planning.state import StoreState
from gristmill.pipelines.recipe.recipe import WITHDRAWN
from gristmill.pipelines.sources.dated import is_dated, night_of
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.stages.context import Context
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.run_records import Standing
from gristmill.pipelines.store.runs import Run, decisions_file

GONE, CHANGED, AGAIN = "is gone", "is another file now", "is read again in another shard"


@dataclass(frozen=True)
class WithdrawnShard:
    """A shard of an earlier run whose documents leave the dataset."""

    run: Run  #: whose decisions stood
    row: Mapping[str, Any]  #: of its shards.parquet
    reasons: Sequence[str]  #: what became of each of its files; none: an earlier run withdrew it, and the rows stay

    @property
    def ordinal(self) -> int:
        """Return the shard's ordinal."""
        return int(self.row["ordinal"])

    def written_row(self) -> dict[str, Any]:
        """Return its row for the shards.parquet of the run that withdraws it."""
        worst = next((reason for reason in (GONE, CHANGED, AGAIN) if reason in self.reasons), self.row.get("withdrawn"))
        return {**self.row, "withdrawn": worst}

    def decisions(self) -> pa.Table:
        """Return the decisions (DECISIONS) on its documents."""
        held = files.read_table(self.run.decisions(self.ordinal))
        if not self.reasons:
            return held
        names = self.row.get("files") or [self.row["file"]]
        told = [f"{name} {reason}" for name, reason in zip(names, self.reasons, strict=True)]
        n = held.num_rows
        made: dict[str, Any] = {field.name: pa.nulls(n, field.type) for field in DECISIONS}
        made[columns.ADDRESS] = held[columns.ADDRESS]
        made["kept"] = pa.repeat(pa.scalar(False), n)
        made["rule"] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([WITHDRAWN]))
        made["condition"] = pa.array(told, pa.string()).take(pa.array(self._file_of(held)))
        return pa.table([made[name] for name in DECISIONS.names], schema=DECISIONS)

    def kept(self) -> int:
        """Return how many documents leave with it that had been kept: of its files that are gone or other ones now."""
        held = files.read_table(self.run.decisions(self.ordinal), columns=[columns.ADDRESS, "kept"])
        leaves = np.array([reason != AGAIN for reason in self.reasons])
        return int((np.asarray(held["kept"]) & leaves[self._file_of(held)]).sum())

    def _file_of(self, decisions: pa.Table) -> NDArray[np.int64]:
        """Return the position of the file that each document (n) was in."""
        rows = np.asarray(decisions[columns.ADDRESS]) & np.uint64((1 << columns.ROW_BITS) - 1)
        if self.row.get("ends") is None:
            return np.zeros(len(rows), np.int64)
        return np.searchsorted(np.asarray(self.row["ends"], np.uint64), rows, side="right")


def withdraw(context: Context) -> Context:
    """Find what has to be withdrawn, and take it out of the index. Nothing is withdrawn before the run is committed.

    Raises RecipeError where documents are to be kept that cannot be.
    """
    refresh = context.plan.loaded.recipe.refresh
    if refresh is None:
        return context
    state = context.state
    if state.index is None and "keep" in (refresh.vanished, refresh.changed):
        what = "vanished" if refresh.vanished == "keep" else "changed"
        raise RecipeError(
            f"{context.plan.loaded.where('refresh', what)}: without an index a version is written of the files that "
            "are there, so the documents of others cannot be kept; give fuzzy_dedup an index, or leave the option out"
        )
    document = context.plan.loaded.document
    here = {state.registry.known(spec, source, document) for spec, source in state.specs}
    standing = context.records.standing(context.plan.loaded.recipe.name)
    found, returned = _withdrawn(state, standing, here)
    if new := [shard for shard in found if shard.reasons]:
        counts = Counter(reason for shard in new for reason in shard.reasons)
        told = ", ".join(
            f"{plural(n, 'file')} {reason.replace('is ', 'are ') if n > 1 else reason}" for reason, n in counts.items()
        )
        gone = {shard.ordinal for shard in new}
        again = set[int]() if state.index is None else _gone_for(standing, here, gone)
        waiting = set[int]() if state.index is None else _waiting(standing, here, gone | again) - again
        context.reporter.say(f"  withdraw {told}: their documents leave the dataset")
        if again:
            had_gone = f"documents that had gone for them are in {plural(len(again), 'shard')}"
            context.reporter.say(f"           {had_gone}, decided again")
        if waiting:
            labelled = f"documents that wait for labels are in {plural(len(waiting), 'shard')}"
            context.reporter.say(f"           {labelled} of the same nights, decided again")
        if state.index is not None and (out := gone | again | waiting) & {*state.index.held}:
            without_shards(state.index, out, context.engine)
            state = StoreState.read(state.plan)
    return replace(context, state=state, withdrawn=found, decides_anew=bool(new) or returned)


def _withdrawn(
    state: StoreState, standing: Sequence[Standing], here: Set[int | None]
) -> tuple[list[WithdrawnShard], bool]:
    """Return the shards of standing runs that are not `here`, among the sources, and whose documents are to go.

    And whether one that an earlier run withdrew is there again.
    """
    found, returned = list[WithdrawnShard](), False
    plan = state.plan
    listed = {
        plan.loaded.document.redact(file.url): (file.size, file.version)
        for of in plan.found
        for spec in of.specs
        for file in spec.files
    }
    for stands in standing:
        for row in stands.shards:
            if row["ordinal"] in here:
                returned |= row.get("withdrawn") is not None
                continue
            if row.get("withdrawn") is not None:
                if state.index is None:  # with an index that run stands, and says so for all nights
                    found.append(WithdrawnShard(stands.run, row, ()))
                continue
            stored = json.loads(state.registry.specs[row["ordinal"]])["files"]
            reasons = [_reason(file, listed) for file in stored]
            if state.index is None or _goes(plan, row["source"], stored, reasons):
                found.append(WithdrawnShard(stands.run, row, reasons))
    return found, returned


def _gone_for(standing: Sequence[Standing], here: Set[int | None], gone: Set[int]) -> set[int]:
    """Return the shards among the sources (`here`) with a document that went for one in shards that are withdrawn."""
    found = set[int]()
    for stands in standing:
        for row in stands.decided:
            if row["ordinal"] in here:
                survivors = files.read_table(stands.run.decisions(row["ordinal"]), columns=["survivor"])["survivor"]
                shards = {address >> columns.ROW_BITS for address in survivors.drop_null().unique().to_pylist()}
                found |= {row["ordinal"]} if shards & gone else set()
    return found


def _waiting(standing: Sequence[Standing], here: Set[int | None], out: Set[int]) -> set[int]:
    """Return the shards among the sources (`here`) of nights that wait for labels and that some shards leave (`out`).

    A night is labelled as a whole, so what is left of it is decided, and labelled, with what is new.
    """
    found = set[int]()
    for stands in standing:
        decided = {row["ordinal"] for row in stands.decided}
        if decided & out and stands.run.unanswered:
            found |= (decided & here) - out
    return found


def _reason(file: Mapping[str, Any], listed: Mapping[str, tuple[int, str]]) -> str:
    now = listed.get(file["url"])
    if now is None:
        return GONE
    return AGAIN if now == (file["size"], file["version"]) else CHANGED


def _goes(plan: Plan, source: str, stored: Sequence[Mapping[str, Any]], reasons: Sequence[str]) -> bool:
    """Return whether a shard that the sources no longer have is withdrawn, in a dataset with an index.

    Files of nights whose paths are not looked at are taken for being there.
    """
    refresh = plan.loaded.recipe.refresh
    assert refresh is not None
    policies = {GONE: refresh.vanished, CHANGED: refresh.changed}
    of_source = [s for s in plan.loaded.recipe.sources if s.name == source]
    return any(
        policies.get(reason) == "withdraw" and not is_elsewhere(plan, of_source, file["url"])
        for file, reason in zip(stored, reasons, strict=True)
    )


def is_elsewhere(plan: Plan, sources: Sequence[Source], url: str) -> bool:
    """Return whether a file belongs to a night whose path is not among those looked at."""
    for source in sources:
        if is_dated(source.patterns()) and night_of(url, source.patterns()) not in plan.loaded.nights:
            return True
    return False


def write_withdrawn(url: str, withdrawn: Sequence[WithdrawnShard]) -> None:
    """Write the decisions on withdrawn documents into the folder of a run."""
    for shard in withdrawn:
        files.write_table(decisions_file(url, shard.ordinal), shard.decisions())

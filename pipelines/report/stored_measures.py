"""Stored measures of the shards of a recipe: the columns that some rules read, as earlier runs measured them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gristmill.pipelines.engine.base import Engine, run_in_order
from gristmill.pipelines.planning.state import StoreState
from gristmill.pipelines.store.measures import ShardCounts, ShardMeasures, read_counts
from gristmill.pipelines.store.registry import Shard

#: Files of a shard, with the columns to take from each.
Places = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class StoredMeasures:
    """The shards that are measured, in ordinal order, and what is missing of the others."""

    shards: Sequence[Shard]
    measures: Sequence[ShardMeasures]
    counts: Sequence[ShardCounts]
    missing: int  #: shards that are not measured, or that no run has read
    unmeasured: Sequence[str]  #: measures that are missing of all shards, though runs have read some


def stored_measures(state: StoreState, columns: Collection[str], engine: Engine) -> StoredMeasures:
    """Return the measures of all shards of a recipe's sources that have these columns; nothing is measured.

    Raises StoreDamaged where a file of them is not what was written.
    """
    shards, places, missing = [], [], Counter[str]()
    registered = state.registered()
    for shard in registered:
        found, lacking = _places(state, shard, columns)
        missing.update(lacking)
        if not lacking:
            shards.append(shard)
            places.append(found)
    counts = run_in_order(engine, read_counts, [place[0][0] for place in places])
    measures = [
        ShardMeasures(shard.ordinal, count.documents, shard.source.name, place, state.plan.schema)
        for shard, count, place in zip(shards, counts, places, strict=True)
    ]
    begun = len(registered) - missing[_DOCUMENT]
    unmeasured = [name for name, n in missing.items() if name != _DOCUMENT and begun and n == len(registered)]
    return StoredMeasures(shards, measures, counts, len(state.specs) - len(shards), unmeasured)


#: What the columns are called that every document gets.
_DOCUMENT = "document"


def _places(state: StoreState, shard: Shard, columns: Collection[str]) -> tuple[Places, list[str]]:
    """Return the files of these columns of a shard, that of the documents' own first, and the measures it lacks."""
    plan = state.plan
    operators: list[tuple[str, str | None]] = [(_DOCUMENT, plan.document_fingerprint(shard.source))]
    for measure in plan.measures:
        if {*measure.operator.gives().names} & {*columns}:
            operators.append((measure.name, None if measure.ready is None else plan.fingerprint(measure.ready)))
    places: dict[str, tuple[str, ...]] = {}
    lacking = []
    for name, fingerprint in operators:
        place = None if fingerprint is None else state.measures.find(fingerprint, shard.ordinal)
        if place is None:
            lacking.append(name)
        else:
            places[place[0]] = places.get(place[0], ()) + place[1]
    return tuple(places.items()), lacking

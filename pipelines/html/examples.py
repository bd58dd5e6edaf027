"""Examples for a report: what each rule dropped, by chance and near its limit, and what it kept, with texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from gristmill.operators import columns
from gristmill.operators.errors import GristmillError
from gristmill.pipelines.config.quoting import sql_name, sql_text
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.html.cuts import MeasureCut
from gristmill.pipelines.html.svg import figure
from gristmill.pipelines.report.query import connect_versions, rows
from gristmill.pipelines.report.stored_texts import stored_texts, transformed_texts
from gristmill.pipelines.store.run_records import Standing

#: Characters of a text that are shown.
EXCERPT = 600
#: Shards that examples are taken from: their files are read again, whole.
SHARDS_READ = 8
_NEAR = ("dropped, nearest to the limit", "kept, nearest to a limit")
_DROPPED = (
    'SELECT address, rule, condition, value, "limit", survivor FROM decisions WHERE address IN (SELECT unnest(?))'
)


def shortened_texts(
    standing: Sequence[Standing], addresses: Sequence[int], connection: duckdb.DuckDBPyConnection
) -> dict[int, str]:
    """Return the beginnings of texts, by address."""
    texts = stored_texts(standing, addresses, connection)
    return {address: shortened(text) for address, text in texts.items()}


def examples_of(stands: Standing, funnel: Funnel, cuts: Sequence[MeasureCut], n: int) -> list[dict[str, Any]]:
    """Return groups of up to n documents of a run: `rule`, `title`, and `documents` (id, source, why, excerpt).

    They are chosen by hashes of addresses, from few shards unless a rule dropped too little of those: each is read
    again. A text that cannot be read is None, and `unreadable` says why.
    """
    if n < 1:
        return []
    connection = connect_versions(stands.run.store, {"": [stands]})
    groups = [group for group in _groups(connection, funnel, cuts, n, _shards_to_read(stands)) if group["addresses"]]
    addresses = {address for group in groups for address in group["addresses"]}
    documents = _documents(connection, stands, addresses)
    for group in groups:
        group["documents"] = [documents[address] for address in group.pop("addresses")]
    return groups


@dataclass(frozen=True)
class NearLimit:
    """A document of a run whose value is near a limit of a rule, on one of its sides."""

    rule: str
    title: str  #: the side: dropped or kept
    id: str | None
    source: str
    why: str  #: value and limit, of a dropped one
    text: str  #: as the transforms leave it


def near_limits(stands: Standing, funnel: Funnel, cuts: Sequence[MeasureCut], n: int) -> Iterator[NearLimit]:
    """Yield up to n documents of each rule and side that `examples_of` shows as nearest to a limit, with whole texts.

    Those whose texts cannot be read again are left out.
    """
    connection = connect_versions(stands.run.store, {"": [stands]})
    groups = list(_groups(connection, funnel, cuts, n, _shards_to_read(stands)))
    near = [group for group in groups if group["title"] in _NEAR]
    addresses = {address for group in near for address in group["addresses"]}
    documents = _documents(connection, stands, addresses, transformed_texts)
    for group in near:
        for address in group["addresses"]:
            found = documents[address]
            if found["excerpt"] is not None:
                own = (found["id"], found["source"], found["why"], found["excerpt"])
                yield NearLimit(group["rule"], group["title"], *own)


def _groups(
    connection: duckdb.DuckDBPyConnection, funnel: Funnel, cuts: Sequence[MeasureCut], n: int, read: Sequence[int]
) -> Iterator[dict[str, Any]]:
    distance = 'abs(value::DOUBLE - "limit"::DOUBLE) / greatest(abs("limit"::DOUBLE), 1e-9)'
    elsewhere = f"CASE WHEN address >> {columns.ROW_BITS} IN ({', '.join(map(str, read))}) THEN 0 ELSE 1 END"
    sql = f"""
        SELECT rule, arg_min(address, hash(address) / 2e19 + {elsewhere}, {int(n)}) AS chance,
            arg_min(address, {distance}, {int(n)})
                FILTER (value IS NOT NULL AND "limit" IS NOT NULL AND {elsewhere} = 0) AS near
        FROM (FROM decisions ORDER BY address) GROUP BY rule
    """
    found = {row["rule"]: row for row in rows(connection, sql).to_pylist()}
    for rule in funnel.rules:
        if rule.name in found:
            row = found[rule.name]
            yield {"rule": rule.name, "title": "dropped, by chance", "addresses": row["chance"]}
            yield {"rule": rule.name, "title": _NEAR[0], "addresses": row["near"] or []}
        if own := [cut for cut in cuts if cut.rule == rule.name]:
            kept = rows(connection, _near_kept(own, n, elsewhere)).to_pylist()
            addresses = [row["address"] for row in kept]
            yield {"rule": rule.name, "title": _NEAR[1], "addresses": addresses}
    if None in found:
        yield {"rule": "kept", "title": "after all rules, by chance", "addresses": found[None]["chance"]}


def _shards_to_read(stands: Standing) -> list[int]:
    """Return the ordinals of some shards, evenly spread over those that hold documents: over sources, therefore."""
    ordinals = [row["ordinal"] for row in stands.decided if row["documents"]]
    every = max(1, -(-len(ordinals) // SHARDS_READ))
    return ordinals[::every] or [0]


def _near_kept(cuts: Sequence[MeasureCut], n: int, elsewhere: str) -> str:
    """Return the SELECT of the kept documents that are nearest to one of some limits, in proportion to the limit."""
    distances = [
        f"abs({sql_name(column)}::DOUBLE - {limit}) / greatest(abs({limit}), 1e-9)"
        for column, limit in _limits_in_sql(cuts)
    ]
    return f"""
        SELECT address FROM documents JOIN decisions USING (address) WHERE kept AND {elsewhere} = 0
        ORDER BY least({", ".join(distances)}) NULLS LAST, address LIMIT {int(n)}
    """


def _limits_in_sql(cuts: Sequence[MeasureCut]) -> list[tuple[str, str]]:
    """Return columns with their limits as SQL; those of groups of documents are one expression."""
    limits, of_groups = [], defaultdict[tuple[str, str, str], list[str]](list)
    for cut in cuts:
        if cut.group is None:
            limits.append((cut.column, repr(cut.limit)))
        else:
            case = f"WHEN {sql_text(cut.group[1])} THEN {cut.limit!r}"
            of_groups[cut.column, cut.sign, cut.group[0]].append(case)
    for (column, _, by), cases in of_groups.items():
        limits.append((column, f"(CASE {sql_name(by)} {' '.join(cases)} END)"))
    return limits


def _documents(
    connection: duckdb.DuckDBPyConnection,
    stands: Standing,
    addresses: set[int],
    texts_of: Callable[..., Mapping[int, str]] = shortened_texts,
) -> dict[int, dict[str, Any]]:
    """Return what is shown of documents, by address."""
    wanted = sorted(addresses)
    about = "SELECT address, id, source FROM documents WHERE address IN (SELECT unnest(?))"
    documents = {row["address"]: row for row in rows(connection, about, wanted).to_pylist()}
    decisions = {row["address"]: row for row in rows(connection, _DROPPED, wanted).to_pylist()}
    survivors = sorted({row["survivor"] for row in decisions.values() if row["survivor"] is not None})
    ids = {row["address"]: row["id"] for row in rows(connection, about, survivors).to_pylist()} if survivors else {}
    for address, document in documents.items():
        document["why"] = _reason(decisions[address], ids)
    by_shard: dict[int, list[int]] = defaultdict(list)
    for address in wanted:
        by_shard[address >> columns.ROW_BITS].append(address)
    for of_shard in by_shard.values():
        try:
            texts = texts_of([stands], of_shard, connection)
            for address in of_shard:
                documents[address]["excerpt"] = texts[address]
        except (GristmillError, OSError) as error:  # the file is gone or another one since
            for address in of_shard:
                documents[address] |= {"excerpt": None, "unreadable": str(error)}
    return documents


def _reason(decision: Mapping[str, Any], ids: Mapping[int, str]) -> str:
    """Return why a document was dropped, in short; empty where it was kept."""
    parts = [decision["condition"]] if decision["condition"] else []
    if decision["value"] is not None and decision["limit"] is not None:
        parts.append(f"{_value(decision['value'])} against {_value(decision['limit'])}")
    if decision["survivor"] is not None:
        parts.append(f"for {ids.get(decision['survivor'], 'one that an earlier run kept')}")
    return ", ".join(parts)


def _value(value: Any) -> str:
    return figure(value) if isinstance(value, int | float) else str(value)


def shortened(text: str) -> str:
    """Return the beginning of a text, tabs as spaces."""
    cut = text[:EXCERPT].expandtabs(4)
    return f"{cut} …" if len(text) > EXCERPT else cut

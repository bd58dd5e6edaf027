"""Rows of single documents in the files of a store: nothing is read but the files of their shards.

Views (`views.py`) are for questions about many documents: to make them for one costs more than to read it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import duckdb

from gristmill.operators import columns
from gristmill.pipelines.config.quoting import in_glob, sql_name, sql_text
from gristmill.pipelines.decide import given_file
from gristmill.pipelines.report.query import damage_told
from gristmill.pipelines.report.views import HASHES, check_files, place
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.run_records import Standing

_CLUSTER = ("cluster", "size", "survivor", "similarity")


def document_row(store: str, shard: Mapping[str, Any], row: int) -> dict[str, Any] | None:
    """Return all that was measured of a row of a shard (`decided_shards`), None where there is no such document."""
    document: dict[str, Any] = {}
    for url, names in shard["parts"]:
        shown = ", ".join(_shown(name) for name in names if name != columns.ROW)
        found = rows_of_files(store, [url], f"SELECT {shown} FROM {{}} WHERE row = ?", row) if shown else []
        if shown and not found:
            return None
        document |= found[0] if found else {}
    return document


def decision_rows(store: str, standing: Sequence[Standing], address: int) -> list[dict[str, Any]]:
    """Return the decisions on a document, one for each dataset, as the view `decisions` has them without addresses."""
    found = []
    for stands in _deciding(standing, address):
        url = stands.run.decisions(address >> columns.ROW_BITS)
        for row in rows_of_files(store, [url], "SELECT * EXCLUDE (address) FROM {} WHERE address = ?", address):
            found.append({"dataset": stands.dataset, **row})
    return found


def cluster_rows(store: str, standing: Sequence[Standing], address: int, dataset: str) -> list[dict[str, Any]]:
    """Return the clusters of a dataset that a document is in: `rule`, `cluster`, `size`, `survivor`, `similarity`."""
    ordinal, row = divmod(address, 1 << columns.ROW_BITS)
    found = []
    for stands in _deciding(standing, address):
        if stands.dataset != dataset or all(shard["ordinal"] != ordinal for shard in stands.decided):
            continue
        for i, rule in enumerate(stands.run.record["result"]["funnel"]["rules"]):
            if "clusters" in rule["details"]:
                named = {what: sql_name(f"{rule['name']}_{what}") for what in _CLUSTER}
                shown = ", ".join(f"{name} AS {what}" for what, name in named.items())
                sql = f"SELECT {shown} FROM {{}} WHERE row = ? AND {named['cluster']} IS NOT NULL"
                url = given_file(stands.run.url, i, ordinal)
                found += [{"rule": rule["name"], **known} for known in rows_of_files(store, [url], sql, row)]
    return found


def document_ids(store: str, shards: Mapping[int, Mapping[str, Any]], addresses: Collection[int]) -> dict[int, str]:
    """Return the ids of those of some addresses at which there are documents in some shards (`decided_shards`)."""
    by_shard: dict[int, list[int]] = defaultdict(list)
    for address in sorted(addresses):
        by_shard[address >> columns.ROW_BITS].append(address & (1 << columns.ROW_BITS) - 1)
    ids = {}
    for ordinal in by_shard.keys() & shards.keys():
        url = next(url for url, names in shards[ordinal]["parts"] if columns.ID in names)
        sql = "SELECT row, id FROM {} WHERE row IN (SELECT unnest(?))"
        for found in rows_of_files(store, [url], sql, by_shard[ordinal]):
            ids[columns.address(ordinal, found["row"])] = found["id"]
    return ids


def rejected_rows(store: str, standing: Sequence[Standing], wanted: str) -> list[dict[str, Any]]:
    """Return the records in quarantine with this id, or at this place (`file:line`)."""
    return rows_of_files(
        store, reject_files(standing), "SELECT * FROM {} WHERE id = ? OR concat(file, ':', line) = ?", wanted, wanted
    )


def reject_files(standing: Sequence[Standing]) -> list[str]:
    """Return the files of the quarantine of some runs."""
    return [files.join(stands.run.url, "rejects.parquet") for stands in standing]


def _deciding(standing: Sequence[Standing], address: int) -> list[Standing]:
    """Return the runs that have the shard of an address."""
    ordinal = address >> columns.ROW_BITS
    return [stands for stands in standing if any(shard["ordinal"] == ordinal for shard in stands.shards)]


def _shown(name: str) -> str:
    return f"lower(hex({sql_name(name)})) AS {sql_name(name)}" if name in HASHES else sql_name(name)


def rows_of_files(store: str, urls: Sequence[str], sql: str, *values: object) -> list[dict[str, Any]]:
    """Return the rows of one of the program's own statements about Parquet files, for which `{}` stands in it.

    Raises StoreDamaged where one is not what was written.
    """
    check_files(urls)
    places = ", ".join(sql_text(in_glob(place(url))) for url in urls)
    cursor = _instance(store).cursor()  # each thread has its own
    table = f"read_parquet([{places}], union_by_name = {len(urls) > 1})"
    with damage_told():
        rows = cursor.execute(sql.format(table), [*values]).fetchall()
    names = [name for name, *_ in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in rows]


@cache
def _instance(store: str) -> duckdb.DuckDBPyConnection:
    """Return DuckDB, which takes longer to start than to read a row."""
    connection = duckdb.connect()
    connection.execute("SET parquet_metadata_cache = true")
    if not files.is_local(store):
        connection.register_filesystem(files.filesystem(store)[0])
    return connection

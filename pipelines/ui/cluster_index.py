"""Clusters of near copies of a version, the largest first, and the members of each, in sorted Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from gristmill.pipelines.config.quoting import in_glob, sql_text
from gristmill.pipelines.report.query import connect
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.run_records import Standing
from gristmill.pipelines.ui.cache import Advance

_CLUSTERS, _MEMBERS, _COMPLETE = "clusters.parquet", "members.parquet", "complete"
_ROW_GROUP = 20_480
_GATHERED = """
    SELECT rule, cluster, max(size) AS size, count(DISTINCT survivor) AS survivors FROM clusters GROUP BY ALL
    ORDER BY size DESC, rule, cluster
"""
_OF_CLUSTERS = """
    SELECT rule, cluster, address, survivor, similarity FROM clusters
    ORDER BY rule, cluster, survivor <> address, similarity, address
"""


class ClusterIndex:
    """Clusters of one version, which never change once they are gathered."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self.lock = folder / "lock"
        self._connection = duckdb.connect()
        self._connection.execute("SET parquet_metadata_cache = true")

    @property
    def ready(self) -> bool:
        """Return whether the clusters are gathered."""
        return (self._folder / _COMPLETE).exists()

    def make(self, store: str, standing: Sequence[Standing], advance: Advance) -> None:
        """Gather the clusters of the runs that decided a version. Raises StoreDamaged where a file is damaged."""
        if self.ready:  # another process has done it
            return
        connection = connect(store, standing, ("clusters",))
        for i, (name, sql) in enumerate(((_CLUSTERS, _GATHERED), (_MEMBERS, _OF_CLUSTERS))):
            advance(i, 2)
            place = sql_text(str(self._folder / name))
            connection.execute(f"COPY ({sql}) TO {place} (FORMAT parquet, ROW_GROUP_SIZE {_ROW_GROUP})")
        files.write_bytes(str(self._folder / _COMPLETE), b"")

    def largest(self, skip: int, most: int) -> tuple[int, list[dict[str, Any]]]:
        """Return the number of clusters, and up to so many: `rule`, `cluster`, `size`, `survivors`."""
        ((n,),) = self._ask(_CLUSTERS, "SELECT count(*) FROM {}")
        rows = self._ask(_CLUSTERS, "SELECT * FROM {} LIMIT ? OFFSET ?", most, skip)
        return n, [dict(zip(("rule", "cluster", "size", "survivors"), row, strict=True)) for row in rows]

    def one(self, rule: str, cluster: int) -> dict[str, Any] | None:
        """Return a cluster of a rule, None where there is no such cluster."""
        rows = self._ask(_CLUSTERS, "SELECT * FROM {} WHERE rule = ? AND cluster = ?", rule, cluster)
        return dict(zip(("rule", "cluster", "size", "survivors"), rows[0], strict=True)) if rows else None

    def members(self, rule: str, cluster: int, skip: int, most: int) -> list[dict[str, Any]]:
        """Return up to so many members of a cluster: survivors, then those least similar to theirs first."""
        sql = "SELECT address, survivor, similarity FROM {} WHERE rule = ? AND cluster = ? LIMIT ? OFFSET ?"
        rows = self._ask(_MEMBERS, sql, rule, cluster, most, skip)
        return [dict(zip(("address", "survivor", "similarity"), row, strict=True)) for row in rows]

    def _ask(self, name: str, sql: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = self._connection.cursor()  # a connection serves one thread at a time
        place = f"read_parquet({sql_text(in_glob(str(self._folder / name)))})"
        rows: list[tuple[Any, ...]] = cursor.execute(sql.format(place), [*values]).fetchall()
        return rows

"""Views of a store for DuckDB: its documents, decisions, clusters, losses, quarantine and datasets."""

from __future__ import annotations

import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.operators import columns
from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.config.quoting import in_glob, sql_name, sql_text
from gristmill.pipelines.decide import DECISIONS, given_file
from gristmill.pipelines.report.dataset_views import files_of, versions
from gristmill.pipelines.report.losses import loss_rows
from gristmill.pipelines.storage import files
from gristmill.pipelines.store import whole
from gristmill.pipelines.store.datasets import FOLDER as DATASETS
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.store.shown import Shown, in_order

VIEWS = ("documents", "decisions", "clusters", "losses", "quarantine", "rejects", "datasets")
DECISION_COLUMNS = DECISIONS.insert(0, pa.field("dataset", pa.string()))
CLUSTER_COLUMNS = pa.schema(
    [
        ("dataset", pa.string()),
        ("rule", pa.string()),
        ("address", pa.uint64()),
        ("cluster", pa.uint64()),
        ("size", pa.uint32()),
        ("survivor", pa.uint64()),
        ("similarity", pa.float32()),
    ]
)
#: Columns that are shown in hexadecimal.
HASHES = (columns.CONTENT_ID, columns.TEXT_ID, "text_hash")
_CHECKED_AT_ONCE = 16
#: The address of a row of a file that is named by its shard's ordinal.
_ORDINAL = "regexp_extract(filename, '([0-9]{8}).parquet$', 1)::UBIGINT"
_ADDRESS = f"(ordinal << {columns.ROW_BITS}) | row::UBIGINT AS address"


@dataclass
class View:
    """A view that a query may name."""

    make: Callable[[duckdb.DuckDBPyConnection], object]
    check: Callable[[], None]  #: raises StoreDamaged where a file that it reads is not what was written
    needs: tuple[str, ...] = ()  #: other views that it reads


def place(url: str) -> str:
    """Return a URL for DuckDB: paths are absolute, for to it a leading `~` is the home folder."""
    return os.path.abspath(files.local_path(url)) if files.is_local(url) else url


def _list(urls: Sequence[str]) -> str:
    return f"[{', '.join(sql_text(in_glob(place(url))) for url in urls)}]"


def decided_views(standing: Sequence[Standing], ids: Sequence[str] = ()) -> dict[str, View]:
    """Return the views of what some runs decided, each after those that it needs.

    `ids` are those that decisions are to have.
    """
    cluster_urls = [url for _, urls in _cluster_files(standing) for url in urls]
    rejected = [files.join(stands.run.url, "rejects.parquet") for stands in standing]
    return {
        **_decided(standing, ids),
        "clusters": View(lambda c: _clusters(c, standing), lambda: check_files(cluster_urls)),
        "losses": View(lambda c: c.register("losses", loss_rows(standing)), lambda: None),
        "quarantine": View(lambda c: _quarantine(c, rejected), lambda: check_files(rejected)),
        "rejects": View(lambda c: c.execute("CREATE VIEW rejects AS FROM quarantine"), lambda: None, ("quarantine",)),
    }


def store_views(records: RunRecords, shown: Sequence[Shown], ids: Sequence[str], sql: str) -> dict[str, View]:
    """Return the views of a store by name, each after those that it needs; `ids` are those that decisions are to have.

    Those of decisions are of the versions `shown`, the newest run's first. What the version of a dataset added is among
    them where `sql` names it.
    """
    store = records.store
    views = decided_views(in_order(shown), ids)
    views["datasets"] = View(lambda c: c.register("datasets", versions(store)), lambda: None)
    named = {of.dataset: of.version for of in shown if of.asked}
    used_names = set(views)
    for name in files.names(files.join(store, DATASETS)):
        if name.lower() not in used_names and not name.startswith("_"):  # to DuckDB upper and lower case are the same
            used_names.add(name.lower())
            views[name] = _dataset(records, name, named.get(name))
    for name in [name for name in views if f"{name}_new".lower() in sql.lower() and name not in VIEWS]:
        if f"{name}_new".lower() not in used_names:
            views[f"{name}_new"] = _dataset(records, name, named.get(name), only_new=True)
    return views


def version_views(standing: Sequence[Standing], prefix: str) -> dict[str, View]:
    """Return the views of documents and decisions of some runs alone, their names begun with a prefix."""
    return _decided(standing, (), prefix)


def _decided(standing: Sequence[Standing], ids: Sequence[str], prefix: str = "") -> dict[str, View]:
    """Return the views of documents and decisions of some runs."""
    shards = decided_shards(standing)
    measured = [url for shard in shards.values() for url, _ in shard["parts"]]
    decided = [stands.run.decisions(row["ordinal"]) for stands in standing for row in stands.shards]
    return {
        f"{prefix}documents": View(lambda c: _documents(c, shards, prefix), lambda: check_files(measured)),
        f"{prefix}decisions": View(
            lambda c: _decisions(c, standing, ids, prefix),
            lambda: check_files(decided),
            (f"{prefix}documents",) if ids else (),
        ),
    }


def _dataset(records: RunRecords, dataset_name: str, wanted: str | None, only_new: bool = False) -> View:
    """Return the view of a version of a dataset, by default the current one, or of what it added.

    There is none before a version is published.
    """
    dataset = Dataset(records.store, dataset_name)

    def check() -> None:
        if (version := wanted or dataset.current) is not None:
            whole.check_version(dataset, dataset.named(version), records)

    def make(connection: duckdb.DuckDBPyConnection) -> None:
        with contextlib.suppress(StoreDamaged):  # `check` reports it to a query that names it
            if (found := files_of(dataset, wanted, only_new)) is not None:
                name, (urls, differ) = f"{dataset.name}_new" if only_new else dataset.name, found
                select = f"SELECT * FROM read_parquet({_list(urls)}, union_by_name = {differ})"
                connection.execute(f"CREATE VIEW {sql_name(name)} AS {select}")

    return View(make, check)


def check_files(urls: Sequence[str]) -> None:
    """Raise StoreDamaged for the first of some Parquet files that is not what was written."""

    def check(url: str) -> None:
        with files.open_table(url) as file:
            pq.read_metadata(file)  # a file without a seal may be no table at all

    if len(urls) == 1:
        check(urls[0])
        return
    with ThreadPoolExecutor(_CHECKED_AT_ONCE) as pool:
        for _ in pool.map(check, urls):
            pass


def _documents(connection: duckdb.DuckDBPyConnection, shards: Mapping[int, dict[str, Any]], prefix: str) -> None:
    table = pa.table(
        {
            "ordinal": pa.array(list(shards), pa.uint64()),
            "source": pa.array([s["source"] for s in shards.values()], pa.string()),
        }
    )
    connection.register(f"_{prefix}shards", table)
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for shard in shards.values():
        alike[tuple((url.rsplit("/", 2)[-2], names) for url, names in shard["parts"])].append(shard)
    selects = [_select([s["parts"] for s in group], f"_{prefix}shards") for group in alike.values()]
    connection.execute(f"CREATE VIEW {prefix}documents AS " + " UNION ALL BY NAME ".join(selects))


def decided_shards(standing: Sequence[Standing]) -> dict[int, dict[str, Any]]:
    """Return the shards of some runs, each with all columns that any run has; the first run's where several have one.

    `rows_before` is the number of rows of its file that come before a shard, where files are read in parts.
    """
    shards: dict[int, dict[str, Any]] = {}
    for stands in standing:
        before: Counter[tuple[str, str, bool]] = Counter()
        for row in stands.shards:
            file = (
                row["source"],
                row["file"],
                row.get("withdrawn") is None,
            )  # another file of the name may be there now
            shard = shards.setdefault(row["ordinal"], {**row, "parts": [], "rows_before": before[file]})
            before[file] += row["records"]
            shard_columns = {name for _, names in shard["parts"] for name in names}
            parts = [(url, tuple(name for name in names if name not in shard_columns)) for url, names in row["parts"]]
            shard["parts"] += [(url, names) for url, names in parts if names]
    return shards


def _select(parts: Sequence[Sequence[tuple[str, tuple[str, ...]]]], shards: str) -> str:
    """Return a SELECT over `shards` whose columns lie in the same passes: the passes joined by shard and row."""
    tables, shown = [], []
    for i, (_, names) in enumerate(parts[0]):
        urls = [shard[i][0] for shard in parts]
        tables.append(f"(SELECT {_ORDINAL} AS ordinal, * FROM read_parquet({_list(urls)}, filename = true)) p{i}")
        shown += [_shown(f"p{i}", name) for name in names if name != "row"]
    from_clause = tables[0] + "".join(f" JOIN {t} USING (ordinal, row)" for t in tables[1:])
    return f"SELECT {_ADDRESS}, source, {', '.join(shown)} FROM {from_clause} JOIN {shards} USING (ordinal)"


def _shown(table: str, name: str) -> str:
    column = f"{table}.{sql_name(name)}"
    return f"lower(hex({column})) AS {sql_name(name)}" if name in HASHES else column


def _decisions(
    connection: duckdb.DuckDBPyConnection, standing: Sequence[Standing], ids: Sequence[str], prefix: str
) -> None:
    selects = []
    for stands in standing:
        urls = [stands.run.decisions(row["ordinal"]) for row in stands.shards]
        if urls:
            selects.append(f"SELECT {sql_text(stands.dataset)} AS dataset, * FROM read_parquet({_list(urls)})")
    _view(connection, f"_{prefix}decisions", selects, DECISION_COLUMNS)
    of = {"id": ("o", "address"), "survivor_id": ("s", "survivor")}
    shown = "".join(f", {of[name][0]}.id AS {name}" for name in ids)
    joins = (f"LEFT JOIN documents {t} ON {t}.address = d.{column}" for t, column in map(of.__getitem__, ids))
    select = f"SELECT d.*{shown} FROM _{prefix}decisions d {' '.join(joins)}"
    connection.execute(f"CREATE VIEW {prefix}decisions AS {select}")


def _cluster_files(standing: Sequence[Standing]) -> Iterator[tuple[str, list[str]]]:
    """Yield the SELECT of the clusters of each rule and run that makes some, and the files that it reads."""
    for stands in standing:
        ordinals = [row["ordinal"] for row in stands.decided]
        for i, rule in enumerate(stands.run.record["result"]["funnel"]["rules"]):
            if "clusters" in rule["details"] and ordinals:
                names = ("cluster", "size", "survivor", "similarity")
                rule_columns = {what: sql_name(f"{rule['name']}_{what}") for what in names}
                shown = ", ".join(f"{column} AS {what}" for what, column in rule_columns.items())
                urls = [given_file(stands.run.url, i, ordinal) for ordinal in ordinals]
                select = (
                    f"SELECT {sql_text(stands.dataset)} AS dataset, {sql_text(rule['name'])} AS rule, {_ADDRESS}, "
                    f"{shown} FROM (SELECT {_ORDINAL} AS ordinal, * FROM read_parquet({_list(urls)}, filename = true)) "
                    f"WHERE {rule_columns['cluster']} IS NOT NULL"
                )
                yield select, urls


def _clusters(connection: duckdb.DuckDBPyConnection, standing: Sequence[Standing]) -> None:
    _view(connection, "clusters", [select for select, _ in _cluster_files(standing)], CLUSTER_COLUMNS)


def _view(connection: duckdb.DuckDBPyConnection, name: str, selects: Sequence[str], columns: pa.Schema) -> None:
    """Make a view of all that some statements give; of no rows where there are none."""
    if selects:
        connection.execute(f"CREATE VIEW {sql_name(name)} AS " + " UNION ALL BY NAME ".join(selects))
    else:
        connection.register(name, columns.empty_table())


def _quarantine(connection: duckdb.DuckDBPyConnection, found: Sequence[str]) -> None:
    connection.execute(f"CREATE VIEW quarantine AS SELECT * FROM read_parquet({_list(found)}, union_by_name = true)")

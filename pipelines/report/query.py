"""SQL over a store: DuckDB views of its documents, decisions, quarantine and datasets.

| view      | one row per                                                                      |
|-----------|----------------------------------------------------------------------------------|
| documents | document of the newest run of each dataset, of all nights where it has an index  |
| decisions | document and dataset: kept, rule, condition, value, limit, survivor              |
| clusters  | document of a cluster of fuzzy_dedup: cluster, size, survivor, similarity        |
| rejects   | record that is not a document: file, line or row, reason                         |
| datasets  | committed dataset version                                                        |
| <name>    | row of the current version of the dataset <name>                                 |
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from operators import columns
from operators.errors import RecipeError
from pipelines.decide import DECISIONS, given_file
from pipelines.state import files, runs
from pipelines.state.datasets import FOLDER as DATASETS
from pipelines.state.datasets import Dataset
from pipelines.state.runs import Standing
from pipelines.words import did_you_mean

WIDEST = 10_000  # characters of a line that is not for a terminal
VIEWS = ("documents", "decisions", "clusters", "rejects", "datasets")
DATASET_COLUMNS = pa.schema(
    [
        ("dataset", pa.string()),
        ("version", pa.string()),
        ("current", pa.bool_()),
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("text_bytes", pa.int64()),
        ("tokens", pa.int64()),
        ("files", pa.int64()),
        ("parent", pa.string()),
        ("path", pa.string()),
    ]
)
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
FUZZY_DEDUP = "fuzzy_dedup"
#: Columns that are shown in hexadecimal.
HASHES = (columns.CONTENT_ID, columns.TEXT_ID, "text_hash")
#: The address of a row of a file that is named by its shard's ordinal.
_ORDINAL = "regexp_extract(filename, '([0-9]{8}).parquet$', 1)::UBIGINT"
_ADDRESS = f"(ordinal << {columns.ROW_BITS}) | row::UBIGINT AS address"


def connect(store: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the store's views. Raises RecipeError where the store holds no finished run."""
    standing = runs.standing_runs(store)
    if not standing:
        runs.latest_run(store)
    connection = duckdb.connect()
    if not files.is_local(store):
        connection.register_filesystem(files.filesystem(store)[0])
    _documents(connection, standing)
    _decisions(connection, standing)
    _clusters(connection, standing)
    _rejects(connection, standing)
    _datasets(connection, store)
    return connection


def query(store: str, sql: str) -> pa.Table:
    """The result of a query; a mistake in the SQL is a RecipeError."""
    connection = connect(store)
    try:
        return rows(connection, sql)
    except duckdb.Error as error:
        raise RecipeError(explained(error, connection)) from None


def explained(error: duckdb.Error, connection: duckdb.DuckDBPyConnection) -> str:
    """DuckDB's message, with our views in place of its guesses."""
    held = connection.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    views = [name for (name,) in held if not name.startswith("_")]
    if missing := re.search(r"Table with name (\S+) does not exist", str(error)):
        return f"there is no view {missing[1]}{did_you_mean(missing[1], views)}"
    message = re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", str(error).strip())
    return f"the query does not work: {message}"


def rows(connection: duckdb.DuckDBPyConnection, sql: str, *values: object) -> pa.Table:
    """The rows of a statement, `?` in it standing for the values; none where it gives none."""
    relation = connection.sql(sql, params=list(values) or None)
    return pa.table({}) if relation is None else relation.to_arrow_table()


def place(url: str) -> str:
    """A URL as DuckDB takes it."""
    return files.local_path(url) if files.is_local(url) else url


def _list(urls: Sequence[str]) -> str:
    return f"[{', '.join(_text(place(url)) for url in urls)}]"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _documents(connection: duckdb.DuckDBPyConnection, standing: Sequence[Standing]) -> None:
    shards = _shards(standing)
    table = pa.table(
        {
            "ordinal": pa.array(list(shards), pa.uint64()),
            "source": pa.array([s["source"] for s in shards.values()], pa.string()),
            "file": pa.array([s["file"] for s in shards.values()], pa.string()),
        }
    )
    connection.register("_shards", table)
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for shard in shards.values():
        alike[tuple((url.rsplit("/", 2)[-2], names) for url, names in shard["parts"])].append(shard)
    selects = [_select([s["parts"] for s in group]) for group in alike.values()]
    connection.execute("CREATE VIEW documents AS " + " UNION ALL BY NAME ".join(selects))


def _shards(standing: Sequence[Standing]) -> dict[int, dict[str, Any]]:
    """The shards of some runs, each with all columns that any of them has; the first run's where several have one."""
    shards: dict[int, dict[str, Any]] = {}
    for stands in standing:
        for row in stands.shards:
            shard = shards.setdefault(row["ordinal"], {**row, "parts": []})
            held = {name for _, names in shard["parts"] for name in names}
            parts = [(url, tuple(name for name in names if name not in held)) for url, names in row["parts"]]
            shard["parts"] += [(url, names) for url, names in parts if names]
    return shards


def _select(parts: Sequence[Sequence[tuple[str, tuple[str, ...]]]]) -> str:
    """A SELECT over shards whose columns lie in the same passes: the passes side by side, by shard and row."""
    tables, shown = [], []
    for i, (_, names) in enumerate(parts[0]):
        urls = [shard[i][0] for shard in parts]
        tables.append(f"(SELECT {_ORDINAL} AS ordinal, * FROM read_parquet({_list(urls)}, filename = true)) p{i}")
        shown += [_shown(f"p{i}", name) for name in names if name != "row"]
    joined = tables[0] + "".join(f" JOIN {t} USING (ordinal, row)" for t in tables[1:])
    return f"SELECT {_ADDRESS}, source, {', '.join(shown)} FROM {joined} JOIN _shards USING (ordinal)"


def _shown(table: str, name: str) -> str:
    column = f"{table}.{_name(name)}"
    return f'lower(hex({column})) AS "{name}"' if name in HASHES else column


def _decisions(connection: duckdb.DuckDBPyConnection, standing: Sequence[Standing]) -> None:
    selects = []
    for stands in standing:
        found = [stands.run.decisions(row["ordinal"]) for row in stands.shards]
        if found:
            selects.append(f"SELECT {_text(stands.dataset)} AS dataset, * FROM read_parquet({_list(found)})")
    _view(connection, "decisions", selects, DECISION_COLUMNS)


def _clusters(connection: duckdb.DuckDBPyConnection, standing: Sequence[Standing]) -> None:
    selects = []
    for stands in standing:
        ordinals = [row["ordinal"] for row in stands.shards]
        for i, rule in enumerate(stands.run.record["result"]["funnel"]["rules"]):
            if rule["operator"] == FUZZY_DEDUP and ordinals:
                given = {
                    what: _name(f"{rule['name']}_{what}") for what in ("cluster", "size", "survivor", "similarity")
                }
                shown = ", ".join(f"{column} AS {what}" for what, column in given.items())
                held = _list([given_file(stands.run.url, i, ordinal) for ordinal in ordinals])
                selects.append(
                    f"SELECT {_text(stands.dataset)} AS dataset, {_text(rule['name'])} AS rule, {_ADDRESS}, {shown} "
                    f"FROM (SELECT {_ORDINAL} AS ordinal, * FROM read_parquet({held}, filename = true)) "
                    f"WHERE {given['cluster']} IS NOT NULL"
                )
    _view(connection, "clusters", selects, CLUSTER_COLUMNS)


def _view(connection: duckdb.DuckDBPyConnection, name: str, selects: Sequence[str], columns: pa.Schema) -> None:
    """A view of all that some statements give; of no rows where there are none."""
    if selects:
        connection.execute(f"CREATE VIEW {name} AS " + " UNION ALL BY NAME ".join(selects))
    else:
        connection.register(name, columns.empty_table())


def _rejects(connection: duckdb.DuckDBPyConnection, standing: Sequence[Standing]) -> None:
    found = [files.join(stands.run.url, "rejects.parquet") for stands in standing]
    connection.execute(f"CREATE VIEW rejects AS SELECT * FROM read_parquet({_list(found)}, union_by_name = true)")


def _datasets(connection: duckdb.DuckDBPyConnection, store: str) -> None:
    rows = []
    for name in files.names(files.join(store, DATASETS)):
        dataset = Dataset(store, name)
        for version in dataset.versions():
            held = version.manifest
            row = {k: held[k] for k in ("rows", "bytes", "text_bytes", "tokens", "parent")}
            rows.append(
                {
                    "dataset": name,
                    "version": version.name,
                    "current": version.name == dataset.current,
                    **row,
                    "files": len(held["files"]),
                    "path": version.url,
                }
            )
        if dataset.current is not None and name not in VIEWS:
            glob = files.join(dataset.url, dataset.current, "*.parquet")
            connection.execute(f'CREATE VIEW "{name}" AS SELECT * FROM read_parquet({_list([glob])})')
    connection.register("datasets", pa.Table.from_pylist(rows, schema=DATASET_COLUMNS))


def to_json(table: pa.Table) -> str:
    """The rows as a JSON list; bytes as hex."""

    def plain(value: Any) -> Any:
        return value.hex() if isinstance(value, bytes) else str(value)

    return json.dumps(table.to_pylist(), default=plain, ensure_ascii=False, indent=2)


def show(table: pa.Table, console: Console, most: int = 1000) -> None:
    """Print the rows as a table, one below the other where a terminal is too narrow; no more than `most` of them."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        shown.add_column(Text(name), justify="right" if number else "left", no_wrap=True)
    found = table.slice(0, most).to_pylist()
    for row in found:
        shown.add_row(*map(_cell, row.values()))
    unbounded = console.options.update(width=WIDEST)
    if console.measure(shown, options=unbounded).maximum <= console.width:
        console.print(shown)
    elif console.is_terminal:
        _show_one_by_one(found, console)
    else:  # a file or another program: whole lines
        Console(file=console.file, width=WIDEST).print(shown, crop=False)
    if table.num_rows > most:
        console.print(f"... and {table.num_rows - most:,} more rows; --json prints all", style="dim")


def _show_one_by_one(rows: Sequence[Mapping[str, object]], console: Console) -> None:
    for i, row in enumerate(rows):
        console.print(f"row {i}", style="bold")
        record = Table(box=None, pad_edge=False, show_header=False)
        record.add_column(no_wrap=True)
        record.add_column(overflow="fold")
        for name, value in row.items():
            record.add_row(Text("  " + name), _cell(value))
        console.print(record)


def _cell(value: object) -> Text:
    if value is None:
        return Text("null", style="dim")
    text = f"{value:.6g}" if isinstance(value, float) else value.hex() if isinstance(value, bytes) else str(value)
    return Text(text.replace("\n", "\\n"))

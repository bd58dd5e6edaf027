"""SQL over a store: DuckDB views of its documents, decisions, quarantine and datasets.

| view       | one row per                                                                                |
|------------|--------------------------------------------------------------------------------------------|
| documents  | document of the version of each dataset, of all nights where it has an index               |
| decisions  | document and dataset: id, kept, rule, condition, value, limit, survivor, survivor_id       |
| clusters   | document of a cluster of fuzzy_dedup: cluster, size, survivor, similarity                  |
| losses     | rule and value of each column that losses are counted by (source, lang): seen, dropped     |
| quarantine | record that is not a document: file, line or row, reason (`rejects` is the same)           |
| datasets   | committed dataset version                                                                  |
| <name>     | row of the version of the dataset <name>, of all nights where it has an index              |
| <name>_new | row that this version added to earlier nights; all of them where it has no index           |

The version is the one that readers take (CURRENT), or the one that is asked for: `pipelines/store/shown.py`.

A query reads and nothing else: no statement that writes, no file beyond the store. The files of the views that it names
are checked before it runs.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import duckdb
import pyarrow as pa

from gristmill.operators.errors import FatalError, RecipeError
from gristmill.pipelines.config.quoting import in_glob, sql_text
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.report.variants import is_mixed, plain_values
from gristmill.pipelines.report.views import VIEWS, View, decided_views, place, store_views, version_views
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.store.shown import Asked, Shown, shown_versions, told

#: Statements that read and give rows; those of several steps are PIVOT.
_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}
_EXPLAIN = re.compile(r"(?is)\s*explain\b\s*(analyze\b\s*)?(\([^)]*\)\s*)?")
_IDS = re.compile(r"(?i)\bid\b|\bsurvivor_id\b|\*|\b(describe|summarize|show|pivot|columns)\b")
_COUNT = re.compile(r"(?i)\bcount\s*\(\s*\*\s*\)")


def connect(store: str, standing: Sequence[Standing], named: Sequence[str] | None = None) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the views of what some runs decided, for the program's own statements.

    With `named` it has those views alone, and no file of the others is checked. Raises StoreDamaged where a file that
    its views read is not what was written.
    """
    views = decided_views(standing)
    return _connected(store, views, views if named is None else named, unsafe=True)


def connect_versions(store: str, versions: Mapping[str, Sequence[Standing]]) -> duckdb.DuckDBPyConnection:
    """Return a connection with the documents and decisions of the runs of several versions, each by its prefix.

    Raises StoreDamaged as `connect` does.
    """
    views = {n: view for prefix, standing in versions.items() for n, view in version_views(standing, prefix).items()}
    return _connected(store, views, views, unsafe=True)


def query(
    store: str, sql: str, unsafe: bool = False, asked: Asked | None = None, tell: Callable[[str], None] = lambda _: None
) -> pa.Table:
    """Return the result of a query. Raises RecipeError where it is wrong or, unless `unsafe`, does more than read.

    It is of the versions that readers take, or those that are `asked` for; `tell` gets them as a line. Raises
    StoreDamaged where a file that it reads is not what was written.
    """
    records = RunRecords(store)
    shown = shown_versions(records, asked or {})
    views = store_views(records, shown, _ids_in(sql), sql)
    named = [name for name in views if name.lower() in sql.lower()]
    connection = _connected(store, views, named, unsafe)
    if spoken_of := _spoken_of(shown, named):
        tell(told(spoken_of))
    return answer(connection, sql, unsafe, known=views)


def _spoken_of(shown: Sequence[Shown], named: Sequence[str]) -> list[Shown]:
    """Return the versions behind the views that a query names."""
    if any(name in VIEWS and name != "datasets" for name in named):
        return [*shown]
    return [of for of in shown if of.dataset in named or f"{of.dataset}_new" in named]


def _connected(store: str, views: Mapping[str, View], named: Iterable[str], unsafe: bool) -> duckdb.DuckDBPyConnection:
    """Return a connection with the named views; it reaches no file beyond the store unless it is `unsafe`."""
    if files.is_local(store) and "\\" in place(store):
        raise RecipeError(
            f"DuckDB takes the backslash in {place(store)} for a separator of folders; make a link to the store whose "
            "path has none, and give that as --store"
        )
    connection = duckdb.connect()
    if not files.is_local(store):
        connection.register_filesystem(files.filesystem(store)[0])
    view_names = set(named)
    view_names |= {other for name in view_names for other in views[name].needs}
    for name, view in views.items():
        if name in view_names:
            view.check()
            with damage_told():
                view.make(connection)
    if not unsafe:
        confine(connection, store)
    return connection


def _ids_in(sql: str) -> tuple[str, ...]:
    """Return the ids that the view of decisions has: those that a query names, as each costs a join with the documents.

    A query that joins them itself, by `documents`, finds the document's own id there, and no second one next to it.
    """
    if not _IDS.search(_COUNT.sub("", sql)):
        return ()
    return ("survivor_id",) if "documents" in sql.lower() else ("id", "survivor_id")


def confine(connection: duckdb.DuckDBPyConnection, store: str | None = None) -> None:
    """Bar a connection from all files but those below a store."""
    if store is not None:
        folder = place(store).rstrip("/")
        allowed = ", ".join(sql_text(f"{at}/") for at in dict.fromkeys([folder, in_glob(folder)]))
        connection.execute(f"SET allowed_directories = [{allowed}]")
    for setting in ("enable_external_access", "python_enable_replacements"):
        connection.execute(f"SET {setting} = false")
    connection.execute("SET lock_configuration = true")


def answer(
    connection: duckdb.DuckDBPyConnection, sql: str, unsafe: bool = False, known: Iterable[str] = ()
) -> pa.Table:
    """Return the rows of a user's query. Raises RecipeError where it is wrong or, unless `unsafe`, does more than read.

    `known` are views that it could have named.
    """
    try:
        if not unsafe:
            _refuse_writing(connection, sql)
        return _rows(connection, sql)
    except duckdb.Error as error:
        raise RecipeError(explained(error, connection, known)) from None


def _refuse_writing(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    for statement in connection.extract_statements(sql):
        kind = statement.type
        if kind == duckdb.StatementType.EXPLAIN:
            (inner,) = connection.extract_statements(_EXPLAIN.sub("", statement.query, count=1)) or [statement]
            kind = inner.type
        if kind not in _READING:
            raise RecipeError(
                f"a query reads the store and changes nothing; {kind.name} is not for it. "
                "With --unsafe DuckDB may do all that you may, on this machine too"
            )


def explained(error: duckdb.Error, connection: duckdb.DuckDBPyConnection, known: Iterable[str] = ()) -> str:
    """Return DuckDB's message, with real views in place of its guesses: those of the connection, and the `known`."""
    view_rows = connection.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    views = {*known, *(name for (name,) in view_rows if not name.startswith("_"))}
    if missing := re.search(r"Table with name (\S+) does not exist", str(error)):
        return f"there is no view {missing[1]}{did_you_mean(missing[1], views)}"
    message = re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", str(error).strip())
    return f"the query does not work: {message}"


def rows(connection: duckdb.DuckDBPyConnection, sql: str, *values: object) -> pa.Table:
    """Return the rows of one of the program's own statements, `?` in it standing for values; none where it gives none.

    Raises FatalError where files that it reads are damaged (what has no seal is checked nowhere else).
    """
    with damage_told():
        return _rows(connection, sql, *values)


@contextlib.contextmanager
def damage_told() -> Iterator[None]:
    """Turn errors of DuckDB into FatalError: what has no seal is checked nowhere else."""
    try:
        yield
    except duckdb.Error as error:
        message = re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", str(error).strip())
        raise FatalError(f"the store cannot be read: {message}; `gristmill verify` says what is damaged") from error


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, *values: object) -> pa.Table:
    relation = connection.sql(sql, params=list(values) or None)
    if relation is None:
        return pa.table({})
    return plain_values(relation) if is_mixed(relation) else relation.to_arrow_table()

"""`gristmill explain`: everything the store knows about one document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import duckdb
import pyarrow.compute as pc

from gristmill.operators import columns
from gristmill.operators.errors import GristmillError, RecipeError
from gristmill.pipelines.config.wording import excerpt
from gristmill.pipelines.label.columns import STATE, WAITS, column_of
from gristmill.pipelines.recipe.recipe import WITHDRAWN
from gristmill.pipelines.report.query import connect, rows
from gristmill.pipelines.report.stored_texts import removed_lines, stored_texts, student_of_column, transformed_text
from gristmill.pipelines.stages.label import FOLDER as LABELS
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.fuzzy_index import id_of
from gristmill.pipelines.store.measures import in_file
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.shown import Asked, Shown, in_order, shown_versions, told

#: Characters of a text that are shown.
EXCERPT = 300
_CLUSTERS = """
    SELECT c.* EXCLUDE (dataset, address), d.id AS survivor_id, d.id IS NULL AS earlier
    FROM clusters c LEFT JOIN documents d ON d.address = c.survivor WHERE c.dataset = ? AND c.address = ?
"""


def explain(
    store: str,
    wanted: str,
    student: str | None = None,
    label: str | None = None,
    score: str | None = None,
    asked: Asked | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Return the documents with this id, content id or address: place, measures, and a fate for each dataset.

    Fates are those in the versions that readers take, or that are `asked` for; `tell` gets them as a line. A fate says
    in which version, and whether the document was kept, and if not by which rule; of which clusters it is a member;
    which lines the transforms took out of its text; and for labels of which tasks it waits.

    Several where an id repeats. A record in quarantine is found by its id or place (`file:line`) and has only the key
    `quarantined`. With a student, the path of a model that `gristmill distil` made, the first fate says why the text
    has its score (`student`): that of a label, by default the most probable. `score` names the column of a student
    instead, and its label is that of the column. Raises RecipeError where nothing has the id, or no student the column.
    """
    shown = shown_versions(RunRecords(store), asked or {})
    tell(told(shown))
    by_dataset = {of.dataset: of for of in shown}
    connection = connect(store, in_order(shown))

    def ask(sql: str, *values: object) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = rows(connection, sql, *values).to_pylist()
        return records

    documents = ask("SELECT * FROM documents WHERE id = ? ORDER BY address", wanted)
    if not documents and len(wanted) == 32:
        documents = ask("SELECT * FROM documents WHERE content_id = ? ORDER BY address", wanted.lower())
    if not documents and wanted.isdecimal():
        documents = ask("SELECT * FROM documents WHERE address = ?", int(wanted))
    for document in documents:
        ordinal, document["row"] = divmod(document["address"], 1 << columns.ROW_BITS)
        (shard,) = ask("SELECT file, files, ends, rows_before FROM _shards WHERE ordinal = ?", ordinal)
        if shard["files"] is None:
            document["file"] = shard["file"]
            document["row"] += shard["rows_before"]
        else:
            position, document["row"] = in_file(shard["ends"], document["row"])
            document["file"] = shard["files"][position]
        document["fates"] = ask("SELECT * EXCLUDE (address) FROM decisions WHERE address = ?", document["address"])
        for fate in document["fates"]:
            fate["version"] = by_dataset[fate["dataset"]].version
            fate["clusters"] = ask(_CLUSTERS, fate["dataset"], document["address"])
            fate["waits_for"] = _awaited(by_dataset[fate["dataset"]], document["address"])
            if fate["survivor"] is not None:
                own = ask("SELECT id FROM documents WHERE address = ?", fate["survivor"])
                fate["survivor_id"] = own[0]["id"] if own else id_of(store, fate["survivor"])
            for cluster in fate["clusters"]:
                if cluster["earlier"]:
                    cluster["survivor_id"] = id_of(store, cluster["survivor"])
        _add_excerpts(by_dataset, document, connection)
        _add_removed_lines(by_dataset, document, connection)
        if student is not None or score is not None:
            _add_score(by_dataset, document, connection, student, label, score)
    quarantined = ask("SELECT * FROM rejects WHERE id = ? OR concat(file, ':', line) = ?", wanted, wanted)
    if not documents and not quarantined:
        raise RecipeError(
            f"no document of this store has the id, content id or address {wanted}; {told(shown)}. "
            '`gristmill query "SELECT id FROM documents LIMIT 10"` shows some ids'
        )
    return documents + [{"quarantined": reject} for reject in quarantined]


def _awaited(shown: Shown, address: int) -> list[str]:
    """Return the tasks whose labels a document of a dataset waits for."""
    ordinal, row = divmod(address, 1 << columns.ROW_BITS)
    for stands in shown.standing:
        of_tasks = files.join(stands.run.url, LABELS, "")
        tasks = {column_of(told["task"], STATE): told["task"] for told in stands.run.record["result"].get("labels", ())}
        for shard in stands.decided:
            if shard["ordinal"] != ordinal:
                continue
            waits = []
            for url, names in shard["parts"]:
                if (state := next((name for name in names if name in tasks), None)) and url.startswith(of_tasks):
                    found = files.read_table(url, [state], pc.field(columns.ROW) == row)[state].to_pylist()
                    waits += [tasks[state]] if found == [WAITS] else []
            return waits
    return []


def _add_excerpts(shown: Mapping[str, Shown], document: dict[str, Any], connection: duckdb.DuckDBPyConnection) -> None:
    """Add the beginning of the text, of the document and of those kept in its place, where it is in a cluster."""
    for fate in document["fates"]:
        for cluster in fate["clusters"]:
            addresses = [document["address"], *([] if cluster["earlier"] else [cluster["survivor"]])]
            try:
                texts = stored_texts(shown[fate["dataset"]].standing, addresses, connection)
            except (GristmillError, OSError) as error:
                cluster["unreadable"] = str(error)
                continue
            document["excerpt"], *others = (excerpt(texts[a], EXCERPT) for a in addresses)
            cluster["survivor_excerpt"] = others[0] if others else None


def _add_removed_lines(
    shown: Mapping[str, Shown], document: dict[str, Any], connection: duckdb.DuckDBPyConnection
) -> None:
    """Add to each fate the lines that the transforms of its dataset took out of the text, or why they are not told."""
    for fate in document["fates"]:
        try:
            fate["removed_lines"] = removed_lines(shown[fate["dataset"]].standing, document["address"], connection)
        except (GristmillError, OSError) as error:
            fate["removed_lines"], fate["removed_lines_unreadable"] = [], str(error)


def _add_score(
    shown: Mapping[str, Shown],
    document: dict[str, Any],
    connection: duckdb.DuckDBPyConnection,
    student: str | None,
    label: str | None,
    score: str | None,
) -> None:
    """Add why a student gives the document's text its score, as the transforms of its newest dataset leave it."""
    from gristmill.pipelines.train.explained_scores import explained_score

    standing, address = shown[document["fates"][0]["dataset"]].standing, document["address"]
    if student is None:
        student, of_column = student_of_column(standing, address, str(score))
        label = label or of_column
    text = transformed_text(standing, address, connection)
    document["fates"][0]["student"] = explained_score(student, text, label, document)


def sentence(fate: Mapping[str, Any]) -> str:
    """Return a document's fate in one sentence."""
    if fate["kept"]:
        return "kept" + (f"; waits for a label of {' and '.join(fate['waits_for'])}" if fate.get("waits_for") else "")
    if fate["survivor"] is not None:
        near, similarity = ("", "") if fate["value"] is None else ("near-", f" (similarity {fate['value']:.3f})")
        return f"dropped by {fate['rule']} as a {near}duplicate of {fate['survivor_id']}{similarity}, which was kept"
    text = "withdrawn" if fate["rule"] == WITHDRAWN else f"dropped by {fate['rule']}"
    if fate["condition"]:
        text += f": {fate['condition']}"
    if fate["value"] is not None:
        text += f" (value {fate['value']:.6g}" + (f", limit {fate['limit']:.6g})" if fate["limit"] is not None else ")")
    return text

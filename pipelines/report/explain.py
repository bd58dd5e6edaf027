"""`gristmill explain`: everything the store knows about one document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow.compute as pc

from gristmill.operators import columns
from gristmill.operators.errors import GristmillError, RecipeError
from gristmill.pipelines.config.wording import excerpt
from gristmill.pipelines.label.columns import STATE, WAITS, column_of
from gristmill.pipelines.recipe.recipe import WITHDRAWN
from gristmill.pipelines.report.query import connect, rows
from gristmill.pipelines.report.stored_rows import (
    cluster_rows,
    decision_rows,
    document_ids,
    document_row,
    rejected_rows,
)
from gristmill.pipelines.report.stored_texts import (
    columns_of_students,
    removed_lines,
    stored_texts,
    student_of_column,
    transformed_text,
)
from gristmill.pipelines.report.views import decided_shards
from gristmill.pipelines.stages.label import FOLDER as LABELS
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.fuzzy_index import id_of
from gristmill.pipelines.store.measures import in_file
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.store.shown import Asked, Shown, in_order, shown_versions, told

#: Characters of a text that are shown.
EXCERPT = 300


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
    standing = in_order(shown)
    documents = []
    for address in located(store, standing, wanted):
        if (document := document_at(store, shown, address)) is not None:
            add_texts(store, shown, document, student, label, score)
            documents.append(document)
    rejects = rejected_rows(store, standing, wanted)
    if not documents and not rejects:
        raise RecipeError(
            f"no document of this store has the id, content id or address {wanted}; {told(shown)}. "
            '`gristmill query "SELECT id FROM documents LIMIT 10"` shows some ids'
        )
    return documents + [{"quarantined": reject} for reject in rejects]


def located(store: str, standing: Sequence[Standing], wanted: str) -> list[int]:
    """Return the addresses of the documents of some runs with this id, else content id, else address.

    Ids and content ids are looked for in all files that hold them, and in no others.
    """
    asked = [(columns.ID, wanted)] + ([(columns.CONTENT_ID, wanted.lower())] if len(wanted) == 32 else [])
    for column, value in asked:
        connection = connect(store, _with_column(standing, column), ("documents",))
        found = rows(connection, f"SELECT address FROM documents WHERE {column} = ? ORDER BY address", value)
        if len(found):
            return [int(address) for address in found["address"].to_pylist()]
    return [int(wanted)] if wanted.isdecimal() and int(wanted) < 2**64 else []


def _with_column(standing: Sequence[Standing], column: str) -> list[Standing]:
    """Return runs whose shards have one column alone."""
    narrowed = []
    for stands in standing:
        parts = [[(url, (column,)) for url, names in row["parts"] if column in names] for row in stands.shards]
        shards = [{**row, "parts": held} for row, held in zip(stands.shards, parts, strict=True) if held]
        narrowed.append(replace(stands, shards=shards))
    return narrowed


def document_at(store: str, shown: Sequence[Shown], address: int) -> dict[str, Any] | None:
    """Return what is known of the document at an address, its texts apart; None where no document has it.

    Nothing is read but the files of its shard, and of the shards of those kept in its place: see `explain`. Raises
    StoreDamaged where one of them is not what was written.
    """
    standing, by_dataset = in_order(shown), {of.dataset: of for of in shown}
    shards = decided_shards(standing)
    ordinal, row = divmod(address, 1 << columns.ROW_BITS)
    if ordinal not in shards or (measured := document_row(store, shards[ordinal], row)) is None:
        return None
    source = shards[ordinal]["source"]
    document: dict[str, Any] = {"address": address, "source": source, **measured, **_place(shards[ordinal], row)}
    document["fates"] = decision_rows(store, standing, address)
    for fate in document["fates"]:
        fate["version"] = by_dataset[fate["dataset"]].version
        fate["clusters"] = cluster_rows(store, standing, address, fate["dataset"])
        fate["waits_for"] = _awaited(by_dataset[fate["dataset"]], address)
    referring = [of for fate in document["fates"] for of in (fate, *fate["clusters"]) if of["survivor"] is not None]
    ids = document_ids(store, shards, {of["survivor"] for of in referring})
    for of in referring:
        known = ids.get(of["survivor"])
        of["survivor_id"] = id_of(store, of["survivor"]) if known is None else known
    for cluster in (cluster for fate in document["fates"] for cluster in fate["clusters"]):
        cluster["earlier"] = cluster["survivor"] not in ids
    return document


def _place(shard: Mapping[str, Any], row: int) -> dict[str, Any]:
    """Return file and row of a row of a shard."""
    if shard.get("files") is None:
        return {"row": row + shard["rows_before"], "file": shard["file"]}
    position, row = in_file(shard["ends"], row)
    return {"row": row, "file": shard["files"][position]}


def add_texts(
    store: str,
    shown: Sequence[Shown],
    document: dict[str, Any],
    student: str | None = None,
    label: str | None = None,
    score: str | None = None,
) -> None:
    """Add to a document (`document_at`) what takes reading its text again: see `explain`."""
    by_dataset = {of.dataset: of for of in shown}
    clusters = [cluster for fate in document["fates"] for cluster in fate["clusters"]]
    near = {document["address"], *(cluster["survivor"] for cluster in clusters)}
    ordinals = {address >> columns.ROW_BITS for address in near}
    connection = connect(store, [stands.only(ordinals) for stands in in_order(shown)], ("documents",))
    _add_excerpts(by_dataset, document, connection)
    _add_removed_lines(by_dataset, document, connection)
    if student is not None or score is not None:
        _add_score(by_dataset, document, connection, student, label, score)


def text_at(store: str, shown: Sequence[Shown], address: int) -> str:
    """Return the text of the document at an address as it was read. Raises as `stored_texts` does."""
    near = [stands.only({address >> columns.ROW_BITS}) for stands in in_order(shown)]
    return stored_texts(near, [address], connect(store, near, ("documents",)))[address]


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
    """Add why a student gives the document's text its score, as the transforms of a dataset leave it.

    That is the newest of those that have the document, or of those whose run measured the score.
    """
    from gristmill.pipelines.train.explained_scores import explained_score

    fate = document["fates"][0]
    if student is None:
        fate, student, of_column = _student(shown, document, str(score))
        label = label or of_column
    text = transformed_text(shown[fate["dataset"]].standing, document["address"], connection)
    fate["student"] = explained_score(student, text, label, document)


def _student(
    shown: Mapping[str, Shown], document: Mapping[str, Any], score: str
) -> tuple[dict[str, Any], str, str | None]:
    """Return the first fate of a document whose run measured a score, the student that did, and its label."""
    fates = {fate["dataset"]: fate for fate in document["fates"]}
    measuring = [name for name in fates if score in columns_of_students(shown[name].standing, document["address"])]
    dataset = next(iter(measuring or fates))
    return fates[dataset], *student_of_column(shown[dataset].standing, document["address"], score)


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

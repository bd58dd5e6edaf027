"""`gristmill labels export`: the answers of a task as a table of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO, Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from gristmill.operators.columns import CONTENT_ID, TEXT
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.label.store import LabelStore, is_scale, open_stored
from gristmill.pipelines.storage import files

#: The columns of an export; answers to a scale are numbers.
EXPORTED = pa.schema(
    [
        ("id", pa.string()),  # null where no run and no import named the document
        ("content_id", pa.string()),  # in hexadecimal
        ("annotator", pa.string()),
        ("answer", pa.string()),
        ("probability", pa.float32()),
        ("probabilities", pa.map_(pa.string(), pa.float32())),
        ("model", pa.string()),
        ("tokens", pa.int64()),  # input and output, of all attempts
        ("created", pa.timestamp("us", "UTC")),
        ("coverage", pa.float32()),
        ("entropy", pa.float32()),
        ("cut_tokens", pa.int32()),
    ]
)
_BATCH = 100_000
_SQL = """
    SELECT d.id, lower(hex(r.content_id)) AS content_id, r.annotator, r.answer, r.probability, r.probabilities, r.model,
        r.input_tokens + r.output_tokens AS tokens, r.created, r.coverage, r.entropy, r.cut_tokens
    FROM rows r LEFT JOIN (SELECT DISTINCT content_id, id FROM documents) d USING (content_id)
    WHERE r.answer IS NOT NULL
        -- of several revisions of a model the one that answered last
        QUALIFY row_number() OVER (PARTITION BY d.id, r.content_id, r.annotator ORDER BY r.created DESC) = 1
    ORDER BY d.id, content_id, r.annotator
"""

Write = Callable[[pa.Table], None]


def export_labels(
    store: str,
    fingerprint: str,
    out: str,
    annotator: str | None = None,
    texts: Callable[[LabelStore, set[bytes]], Mapping[bytes, str]] | None = None,
) -> int:
    """Write EXPORTED, one row for each document (id) and annotator, by id; return the number of rows.

    `texts` finds the texts of content ids, which become a last column `text`, null where there is none.

    Answers only. A text that is there under several ids has a row for each; if a model answered in several revisions,
    its latest answer is given. `out` ends in .parquet, .csv or .jsonl; in the latter two probabilities are JSON.
    Raises RecipeError for another ending, or if the store has no labels of the task.
    """
    opened = _FORMATS.get("." + out.rsplit(".", 1)[-1].lower())
    if opened is None:
        raise RecipeError(f"--out {out}: labels are written as {', '.join(_FORMATS)}; end the name in one of these")
    labels = open_stored(store, fingerprint)
    connection = connected()
    rows = labels.rows(annotator)
    connection.register("rows", rows)
    connection.register("documents", labels.documents())
    place = EXPORTED.get_field_index("answer")
    schema = EXPORTED.set(place, pa.field("answer", pa.int64())) if is_scale(labels.task()) else EXPORTED
    text_by_key = None
    if texts is not None:
        text_by_key = texts(labels, {*rows.filter(pc.field("answer").is_valid())[CONTENT_ID].to_pylist()})
        schema = schema.append(pa.field(TEXT, pa.large_string()))
    count = 0
    with files.replacing(out) as file, opened(file, schema) as write:
        for batch in connection.sql(_SQL).to_arrow_reader(_BATCH):
            table = pa.Table.from_batches([batch])
            if text_by_key is not None:
                shown = [text_by_key.get(bytes.fromhex(key)) for key in table[CONTENT_ID].to_pylist()]
                table = table.append_column(TEXT, pa.array(shown, pa.large_string()))
            write(table.cast(schema))
            count += batch.num_rows
    return count


def connected() -> duckdb.DuckDBPyConnection:
    """Return a connection to DuckDB in which times are in UTC, whatever the machine's zone."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


class _Parquet:
    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")

    def __enter__(self) -> Write:
        write: Write = self._writer.write_table
        return write

    def __exit__(self, *_: object) -> None:
        self._writer.close()


class _Csv:
    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        place = schema.get_field_index("probabilities")
        self._place = place
        self._writer = pa.csv.CSVWriter(file, schema.set(place, pa.field("probabilities", pa.string())))

    def __enter__(self) -> Write:
        return self._write

    def _write(self, table: pa.Table) -> None:
        shown = [None if pairs is None else orjson.dumps(dict(pairs)).decode() for pairs in _maps(table)]
        self._writer.write_table(table.set_column(self._place, "probabilities", pa.array(shown, pa.string())))

    def __exit__(self, *_: object) -> None:
        self._writer.close()


class _JsonLines:
    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._file = file

    def __enter__(self) -> Write:
        return self._write

    def _write(self, table: pa.Table) -> None:
        for row, pairs in zip(table.to_pylist(), _maps(table), strict=True):
            row["probabilities"] = None if pairs is None else dict(pairs)
            self._file.write(orjson.dumps(row, option=orjson.OPT_UTC_Z) + b"\n")

    def __exit__(self, *_: object) -> None:
        pass


def _maps(table: pa.Table) -> list[Any]:
    pairs: list[Any] = table["probabilities"].to_pylist()
    return pairs


_FORMATS: dict[str, Callable[[IO[bytes], pa.Schema], _Parquet | _Csv | _JsonLines]] = {
    ".parquet": _Parquet,
    ".csv": _Csv,
    ".jsonl": _JsonLines,
}

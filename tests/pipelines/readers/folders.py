"""Folders of datasets as runs leave them, without a run."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipelines.storage import files


def make_dataset(
    store: str, name: str, nights: Sequence[Sequence[pa.Table]], group: int = 3, columns_changed: bool = False
) -> str:
    """Write a dataset whose last version is all nights, each of some files of row groups of `group` rows; its URL."""
    folder, listed, version = f"{store}/datasets/{name}", [], ""
    for number, tables in enumerate(nights, 1):
        listed = [{"night": file["path"].split("/")[0], **file} for file in listed]
        version = f"{number:06d}-{number:012x}"
        for i, table in enumerate(tables):
            path = f"{version}/data-{i:05d}-of-{len(tables):05d}.parquet"
            with files.replacing(f"{folder}/{path}") as file:
                pq.write_table(table, file, row_group_size=group)
                told = {"name": path.split("/")[1], "path": path, "rows": table.num_rows, "bytes": file.tell()}
            listed.append(told)
        manifest = {"files": listed, "columns_changed": columns_changed}
        files.write_record(f"{folder}/{version}/manifest.json", manifest)
    files.write_bytes(f"{folder}/CURRENT", f"{version}\n".encode())
    return folder


def numbered(start: int, stop: int, **columns: type) -> pa.Table:
    """Rows with an id and a text that tell their number, and further columns of it."""
    numbers = range(start, stop)
    further = {name: [kind(number) for number in numbers] for name, kind in columns.items()}
    texts = {"id": [str(n) for n in numbers], "text": [f"text {n}" for n in numbers]}
    return pa.table({**{name: pa.array(values, pa.string()) for name, values in texts.items()}, **further})

"""Compaction of the label store: many small files become few, sorted, with one row for each answer."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from gristmill.pipelines.label.answer_rows import SCHEMA, merged
from gristmill.pipelines.label.inventory import note
from gristmill.pipelines.label.listing import TaskFiles, list_folder, rows_in, write_compacted
from gristmill.pipelines.storage import files

#: More files than this are compacted without being asked.
MANY = 64
#: Rows that are merged at once, in memory; a file of half as many is left as it is.
MERGED_ROWS = 1 << 22


def compact(url: str) -> None:
    """Merge the files of a task's folder, except large ones. Only the folder's writer may call this.

    The rows that count stay the same (`rows.merged`), and so does the sum paid. If killed at any moment, it leaves all
    rows, each once: a compacted file names those that it replaces.
    """
    listing = list_folder(url)
    # first those that an earlier compaction left: once the file that names them is replaced itself, they would count
    note(url, arrived=listing.answers, removed=listing.replaced)
    _remove(listing, listing.replaced)
    number = listing.compacted
    for group in list(_groups(listing)):
        number += 1
        tables = [files.read_table(listing.place(name)) for name in group]
        write_compacted(listing, number, merged(pa.concat_tables([SCHEMA.empty_table(), *tables])), group)
        _remove(listing, group)


def compact_if_many(url: str) -> None:
    """Compact a folder of more than MANY files."""
    if len(list_folder(url).answers) > MANY:
        compact(url)


def _remove(listing: TaskFiles, names: list[str]) -> None:
    for name in names:
        files.remove(listing.place(name))


def _groups(listing: TaskFiles) -> Iterator[list[str]]:
    """Yield groups of files to merge with one another: two files at least, MERGED_ROWS rows at most."""
    group: list[str] = []
    held = 0
    for name in listing.answers:
        rows = rows_in(listing.place(name))
        if rows > MERGED_ROWS // 2:
            continue
        if held + rows > MERGED_ROWS:
            yield group
            group, held = [], 0
        group.append(name)
        held += rows
    if len(group) > 1:
        yield group

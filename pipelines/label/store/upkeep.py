"""Upkeep of a task's folder by its writer: journals of ended runs become answers, many small files few large ones.

If killed at any moment, it leaves all rows, each once, and can be run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipelines.label.store.folder import REPLACES, TaskFiles, list_folder, note
from gristmill.pipelines.label.store.journal import Name, outstanding_line, replay, unanswered_lines
from gristmill.pipelines.label.store.schema import SCHEMA, merged, to_table
from gristmill.pipelines.storage import files

#: More files than this are compacted without being asked.
MANY = 64
#: Rows that are merged at once, in memory; a file of half as many is left as it is.
MERGED_ROWS = 1 << 22


def compact(url: str) -> None:
    """Merge the files of a task's folder, except large ones. Only the folder's writer may call this.

    The rows that count stay the same (`schema.merged`), and so does the sum paid. If killed at any moment, it leaves
    all rows, each once: a compacted file names those that it replaces.
    """
    listing = list_folder(url)
    # first those that an earlier compaction left: once the file that names them is replaced itself, they would count
    note(url, arrived=listing.answers, removed=listing.replaced)
    _remove(listing, listing.replaced)
    number = listing.compacted
    for group in list(_groups(listing)):
        number += 1
        tables = [files.read_table(listing.place(name)) for name in group]
        _write_compacted(listing, number, merged(pa.concat_tables([SCHEMA.empty_table(), *tables])), group)
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
        rows = _rows_in(listing.place(name))
        if rows > MERGED_ROWS // 2:
            continue
        if held + rows > MERGED_ROWS:
            yield group
            group, held = [], 0
        group.append(name)
        held += rows
    if len(group) > 1:
        yield group


def _rows_in(url: str) -> int:
    """Return the number of rows of a Parquet file."""
    with files.open_table(url) as file:
        return int(pq.read_metadata(file).num_rows)


def _write_compacted(listing: TaskFiles, number: int, table: pa.Table, replaces: Sequence[str]) -> None:
    """Write a compacted file that stands for others."""
    marked = table.replace_schema_metadata({REPLACES: json.dumps(list(replaces)).encode()})
    name = f"compacted-{number:06d}.parquet"
    files.write_table(listing.place(name), marked, row_group_size=1 << 17)
    note(listing.url, arrived=[name], removed=replaces)


def recover(url: str) -> None:
    """Turn the journals of ended runs into Parquet files. Only the folder's writer may call this.

    What they had reserved and never settled becomes rows without a key. If killed at any moment, it can be run again.
    """
    listing = list_folder(url)
    for journal in listing.last_journals():
        _settle_all(listing, journal)
    listing = list_folder(url)
    stored = [name for journal in sorted(listing.journals) for name in store_rows(listing, journal)]
    ended = sorted([*listing.journals, *listing.absorbed])
    note(url, arrived=[*stored, *listing.answers], removed=[journal.journal for journal in ended])
    for journal in ended:
        files.remove(listing.place(journal.journal))


def _settle_all(listing: TaskFiles, journal: Name) -> None:
    """End a run's journal with what is outstanding as rows.

    If the rows of the last one are stored, and the run was killed before it opened the next, the next one is written.
    """
    url = listing.place(journal.journal)
    content = files.read_bytes(url)
    held = replay(content, url)
    if not (lines := unanswered_lines(held.outstanding)):
        return
    before = content[: held.size]
    if journal in listing.absorbed:
        url = listing.place(Name(journal.run, listing.next_number(journal.run)).journal)
        before = outstanding_line(held.outstanding)
    files.write_bytes(url, before + lines)


def store_rows(listing: TaskFiles, journal: Name) -> list[str]:
    """Write a journal's rows as answers; return the name of the file, if there are any rows."""
    batches = listing.replay(journal).batches
    if not any(batch["attempt"] for batch in batches):
        return []
    files.write_table(listing.place(journal.answers), to_table(batches, journal.run))
    return [journal.answers]

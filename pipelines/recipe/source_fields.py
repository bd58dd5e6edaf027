"""Check that a recipe's sources have the fields that it names: on their first records, before the corpus is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from gristmill.operators.columns import ID
from gristmill.pipelines.config.located_yaml import Path
from gristmill.pipelines.config.mistakes import Mistakes
from gristmill.pipelines.config.wording import did_you_mean, plural
from gristmill.pipelines.sources.discover import ShardSpec, SourceFiles
from gristmill.pipelines.sources.preview import FIRST, FURTHER, Look, look
from gristmill.pipelines.sources.spec import Source

#: With more sources than this, one file of each is looked at.
MANY_SOURCES = 50
#: Number of sources that are searched for a column that nothing gives.
_ASKED = 16


class _Asked(NamedTuple):
    path: Path  #: its place in the recipe
    field: str
    what: str


def check_fields(
    sources: Sequence[Source], new: Mapping[str, Sequence[ShardSpec]], begun: Set[str], mistakes: Mistakes
) -> list[str]:
    """Note fields that none of the records looked at has; return remarks on fields that some of them lack.

    `new` has the shards that no run has read, by the name of the source: sources without any are not looked at. `begun`
    names the sources of which earlier runs read shards in the same way: fields that the few new records of such a
    source lack, except its text, are only remarked on.
    """
    remarks = []
    extent = FIRST if len(new) <= MANY_SOURCES else (1, FIRST[1])
    for i, source in enumerate(sources):
        looks = look(new.get(source.name, ()), extent)
        if any(_lacked_by_all(looks, entry.field) for entry in _asked(source, i)):
            looks = look(new[source.name], FURTHER)
        for entry in _asked(source, i):
            if _lacked_by_all(looks, entry.field) and (source.name not in begun or entry.what == "text"):
                names = dict.fromkeys(name for preview in looks for name in preview.fields())
                message = f"in {_told(looks)} there is no field {entry.field} ({entry.what})"
                mistakes.add(entry.path, f"{message}{did_you_mean(entry.field, names)}", entry.field)
            elif lacking := [preview for preview in looks if preview.lacking(entry.field)]:
                n = sum(preview.lacking(entry.field) for preview in lacking)
                message = f"{n:,} of {_told(looks)} of source {source.name} have no field {entry.field} ({entry.what})"
                remarks.append(f"{message}, such as in {lacking[0].file}")
    return remarks


def remedy(column: str, found: Sequence[SourceFiles]) -> str:
    """Return a hint to list a field as metadata, where a column that nothing gives has the name of a source's field."""
    for of in found[:_ASKED]:
        for preview in look(of.specs, FIRST):
            names = list(preview.fields())
            name = next((name for name in names if name == column or name.endswith(f".{column}")), None)
            if name is not None:
                listed = f"[{column}]" if name == column else f"{{{column}: {{field: {name}}}}}"
                return f": source {of.source.name} has a field {name}; list it there as metadata: {listed}"
    return ""


def _asked(source: Source, i: int) -> Iterator[_Asked]:
    yield _Asked(("sources", i, "text"), source.content, "text")
    if source.id not in (None, ID):
        yield _Asked(("sources", i, "id"), str(source.id), "id")
    if source.url is not None:
        yield _Asked(("sources", i, "url"), source.url, "url")
    for column, field, _ in source.metadata_types():
        yield _Asked(("sources", i, "metadata"), field, f"metadata {column}")


def _lacked_by_all(looks: Sequence[Look], field: str) -> bool:
    return bool(looks) and all(preview.lacking(field) == len(preview.records) for preview in looks)


def _told(looks: Sequence[Look]) -> str:
    """Return the extent of the look: `3 files looked at`, `212 records looked at`."""
    if all(preview.declared for preview in looks):
        return f"{plural(len(looks), 'file')} looked at"
    return f"{plural(sum(len(preview.records) for preview in looks), 'record')} looked at"

"""Remarks by `plan` and at the end of a run on files that are passed over, read once only, or perhaps not as meant."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.sources.discover import SourceFiles

#: Number of files that a remark names.
SHOWN = 3


def remarks(found: Sequence[SourceFiles]) -> list[str]:
    """Return a line each for texts of many lines, files of several sources, links to read files, files passed over."""
    again = [(name, first, of.source.name) for of in found for name, first in of.again]
    linked = list(dict.fromkeys(name for of in found for name in of.linked))
    passed = list(dict.fromkeys(name for of in found for name in of.passed))
    lines = []
    for of in found:
        if of.lined:
            lines.append(
                f"source {of.source.name}: {_some(of.lined)} is one document of many short lines; `unit: line` or "
                "`unit: paragraph` takes each line, or what blank lines divide, as a document"
            )
        if of.lacking:
            lines.append(
                f"source {of.source.name}: {plural(len(of.lacking), 'night')} without files: {_some(of.lacking)}"
            )
    if again:
        descriptions = [f"{name} (for {first}, not again for {source})" for name, first, source in again]
        lines.append(
            f"{plural(len(again), 'file')} of several sources read once, for the first of them: {_some(descriptions)}"
        )
    if linked:
        lines.append(f"{plural(len(linked), 'link')} to files that are read anyway: {_some(linked)}")
    if passed:
        remedy = "name them in `path` to have them read"
        lines.append(f"{plural(len(passed), 'entry')} of folders passed over as no data: {_some(passed)} ({remedy})")
    return lines


def counts(of: SourceFiles) -> dict[str, int]:
    """Return the counts of a source: files read, read for earlier sources, links to files read, passed over."""
    return {
        "files": len({file.url for spec in of.specs for file in spec.files}),
        "read_for_earlier_sources": len(of.again),
        "links_to_files_read": len(of.linked),
        "passed_over": len(of.passed),
    }


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")

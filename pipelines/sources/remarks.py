"""What sources name and do not read, not twice, or maybe otherwise than meant: told by `plan` and at a run's end."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.sources.discover import SourceFiles

#: How many files a remark names.
SHOWN = 3


def remarks(found: Sequence[SourceFiles]) -> list[str]:
    """A line each for files that several sources read alike, for links to files that are read, for what is no data."""
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
    if again:
        told = [f"{name} (for {first}, not again for {source})" for name, first, source in again]
        lines.append(f"{plural(len(again), 'file')} of several sources read once, for the first of them: {_some(told)}")
    if linked:
        lines.append(f"{plural(len(linked), 'link')} to files that are read anyway: {_some(linked)}")
    if passed:
        remedy = "name them in `path` to have them read"
        lines.append(f"{plural(len(passed), 'entry')} of folders passed over as no data: {_some(passed)} ({remedy})")
    return lines


def counts(of: SourceFiles) -> dict[str, int]:
    """The same for one source, in numbers."""
    return {
        "files": len({file.url for spec in of.specs for file in spec.files}),
        "read_for_earlier_sources": len(of.again),
        "links_to_files_read": len(of.linked),
        "passed_over": len(of.passed),
    }


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")

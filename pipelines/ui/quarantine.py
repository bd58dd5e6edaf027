"""The quarantine: records that are not documents, by source and reason, with file and line."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gristmill.pipelines.report.stored_rows import reject_files, rows_of_files
from gristmill.pipelines.stages.quarantine import where
from gristmill.pipelines.ui.site import Site, SiteSection, text, whole

#: Records on a page.
SHOWN = 50
_COUNTS = "SELECT source, reason, count(*) AS records FROM {} GROUP BY ALL ORDER BY records DESC, source, reason"
_RECORDS = """
    SELECT * FROM {} WHERE (? = '' OR source = ?) AND (? = '' OR reason = ?)
    ORDER BY source, file, file_row, line LIMIT ? OFFSET ?
"""


def section(site: Site) -> SiteSection:
    """Return the section of the quarantine."""

    def show_quarantine(request: Request) -> Response:
        page, source, reason = whole(request, "page", 1, 1, 1_000_000), text(request, "source"), text(request, "reason")
        shown, of = site.shown(), site.shown_of(request)
        urls = reject_files(of.standing)
        counts = rows_of_files(site.store, urls, _COUNTS)
        asked = (source, source, reason, reason)
        found = rows_of_files(site.store, urls, _RECORDS, *asked, SHOWN, (page - 1) * SHOWN)
        total = sum(c["records"] for c in counts if source in ("", c["source"]) and reason in ("", c["reason"]))
        return site.page(
            request,
            "quarantine.html",
            shown=shown,
            of=of,
            counts=counts,
            records=[{**record, "where": where(record)} for record in found],
            source=source,
            reason=reason,
            page=page,
            total=total,
            shown_at_once=SHOWN,
        )

    return SiteSection("Quarantine", "/quarantine", [Route("/quarantine", show_quarantine)])

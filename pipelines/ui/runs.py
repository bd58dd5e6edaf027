"""Runs of the store, newest first."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.ui.site import Site, SiteSection, whole

#: Runs on a page.
SHOWN = 50


def section(site: Site) -> SiteSection:
    """Return the section of runs."""

    def show_runs(request: Request) -> Response:
        records = site.records()
        page = whole(request, "page", 1, 1, 1_000_000)
        names = records.names[::-1]
        shown = [_row(records, name) for name in names[(page - 1) * SHOWN : page * SHOWN]]
        return site.page(request, "runs.html", runs=shown, page=page, total=len(names), shown=SHOWN)

    return SiteSection("Runs", "/", [Route("/", show_runs)])


def _row(records: RunRecords, name: str) -> dict[str, Any]:
    """Return what the list shows of a run."""
    try:
        run = records.run(name)
    except StoreDamaged as error:
        return {"name": name, "run": None, "why": str(error)}
    if run is None:
        return {"name": name, "run": None, "why": "not finished: it was ended, or goes on"}
    funnel = Funnel.from_json(run.record["result"]["funnel"])
    return {"name": name, "run": run, "funnel": funnel, "seconds": run.record["result"]["seconds"]}

"""Runs of the store: the list of them, newest first, and one with all that its report shows."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.html.reports import find_run
from gristmill.pipelines.html.run_report import RunPage, run_page
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.ui.site import MadeOnce, Site, SiteSection, whole

#: Runs on a page.
SHOWN = 50
#: Runs whose charts are kept in memory: a finished run never changes.
KEPT = 16


def section(site: Site) -> SiteSection:
    """Return the section of runs."""

    def page_of(name: str) -> RunPage:
        return run_page(find_run(site.records(), name), LocalEngine())

    kept = MadeOnce(page_of, KEPT)

    def show_runs(request: Request) -> Response:
        records = site.records()
        page = whole(request, "page", 1, 1, 1_000_000)
        names = records.names[::-1]
        shown = [_row(records, name) for name in names[(page - 1) * SHOWN : page * SHOWN]]
        return site.page(request, "runs.html", runs=shown, page=page, total=len(names), shown=SHOWN)

    def show_run(request: Request) -> Response:
        run = find_run(site.records(), request.path_params["run"])
        return site.page(request, "one_run.html", **kept.get(run.name).all_values())

    return SiteSection("Runs", "/", [Route("/", show_runs), Route("/runs/{run}", show_run)])


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

"""Parts that all pages of the UI share: the store as it is now, templates, parameters, entries of the navigation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gristmill.pipelines.html.page import PACKAGE, environment
from gristmill.pipelines.store.run_records import RunRecords

_TEMPLATES = ("gristmill.pipelines.ui", PACKAGE)


@dataclass(frozen=True)
class SiteSection:
    """Part of the UI: its entry in the navigation, and its routes."""

    name: str  #: in the navigation
    path: str  #: where the entry leads
    routes: Sequence[Route]


class Site:
    """Store behind the pages, and the template around them."""

    def __init__(self, store: str) -> None:
        self.store = store
        self.sections: Sequence[SiteSection] = ()
        self._records = RunRecords(store)
        self._lock = threading.Lock()

    def records(self) -> RunRecords:
        """Return the records of the runs that there are now; what was read of earlier ones is not read again."""
        with self._lock:
            self._records = self._records.renewed()
            return self._records

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page: a template that extends `site.html`, filled with values."""
        text = (
            environment(*_TEMPLATES)
            .get_template(template)
            .render(sections=self.sections, here=request.url.path, store=self.store, **values)
        )
        return HTMLResponse(text.encode("utf-8", "replace"), status)


#: What a module of pages offers: its section of a site.
SectionMaker = Callable[[Site], SiteSection]


def whole(request: Request, name: str, default: int, least: int, most: int) -> int:
    """Return a parameter that is a whole number within bounds. Raises HTTPException (400) where it is none."""
    given = request.query_params.get(name)
    if given is None:
        return default
    if len(given) < 20 and given.isascii() and given.isdecimal() and least <= int(given) <= most:
        return int(given)
    raise HTTPException(400, f"{name} is a whole number from {least:,} to {most:,}")

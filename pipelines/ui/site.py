"""Parts that all pages of the UI share: the store as it is now, templates, parameters, entries of the navigation."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.html.page import PACKAGE, environment
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.shown import Shown, shown_versions
from gristmill.pipelines.ui.indexes import Indexes

Value = TypeVar("Value")
#: Seconds for which it is not looked again whether readers take another version.
_FRESH = 1.0
_TEMPLATES = ("gristmill.pipelines.ui", PACKAGE)


@dataclass(frozen=True)
class SiteSection:
    """Part of the UI: its entry in the navigation, and its routes."""

    name: str  #: in the navigation
    path: str  #: where the entry leads
    routes: Sequence[Route]


class Site:
    """Store behind the pages, and the template around them."""

    def __init__(self, store: str, cache: Path) -> None:
        self.store = store
        self.indexes = Indexes(store, cache)
        self.sections: Sequence[SiteSection] = ()
        self._records = RunRecords(store)
        self._lock, self._shown_lock = threading.Lock(), threading.Lock()
        self._shown: Sequence[Shown] = ()
        self._shown_at = -math.inf

    def records(self) -> RunRecords:
        """Return the records of the runs that there are now; what was read of earlier ones is not read again."""
        with self._lock:
            self._records = self._records.renewed()
            return self._records

    def shown(self) -> Sequence[Shown]:
        """Return the versions that readers take (`shown_versions`), that of the newest run first, as of a second ago.

        Raises RecipeError where there is no finished run.
        """
        with self._shown_lock:
            if time.monotonic() - self._shown_at > _FRESH:
                self._shown = shown_versions(self.records(), {})
                self._shown_at = time.monotonic()
            return self._shown

    def shown_of(self, request: Request) -> Shown:
        """Return the version of the dataset that a request names, by default that of the newest run.

        Raises RecipeError where there is no such dataset.
        """
        shown = self.shown()
        wanted = request.query_params.get("dataset") or shown[0].dataset
        found = next((of for of in shown if of.dataset == wanted), None)
        if found is None:
            names = [of.dataset for of in shown]
            raise RecipeError(f"this store has no dataset {wanted}{did_you_mean(wanted, names)}")
        return found

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page: a template that extends `site.html`, filled with values."""
        around = {"sections": self.sections, "current": self._current(request), "store": self.store}
        return HTMLResponse(self.filled(template, **around, **values), status)

    def filled(self, template: str, **values: Any) -> bytes:
        """Return a template, which may be a part of a page, filled with values (UTF-8)."""
        return environment(*_TEMPLATES).get_template(template).render(**values).encode("utf-8", "replace")

    def _current(self, request: Request) -> SiteSection | None:
        """Return the section that answers a request."""
        handler = request.scope.get("endpoint")
        return next((s for s in self.sections if any(route.endpoint is handler for route in s.routes)), None)


class MadeOnce(Generic[Value]):
    """Values that never change, made once however many ask at the same time; those that were asked for last are kept.

    Made by `make` from a key; an error is not kept.
    """

    def __init__(self, make: Callable[[str], Value], most: int) -> None:
        self._make, self._most = make, most
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def get(self, key: str) -> Value:
        """Return the value of a key."""
        with self._lock:
            lock = self._locks[key]
        with lock:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
            value = self._make(key)
            with self._lock:
                self._values[key] = value
                while len(self._values) > self._most:
                    oldest, _ = self._values.popitem(last=False)
                    self._locks.pop(oldest, None)
            return value


#: What a module of pages offers: its section of a site.
SectionMaker = Callable[[Site], SiteSection]


def text(request: Request, name: str, most: int = 1000) -> str:
    """Return a parameter that is a text, empty where it is not there. Raises HTTPException (400) where it is too long.

    Spaces around it are left out.
    """
    given = request.query_params.get(name, "").strip()
    if len(given) > most:
        raise HTTPException(400, f"{name} has {len(given):,} characters; at most {most:,} are taken")
    return given


def whole(request: Request, name: str, default: int, least: int, most: int) -> int:
    """Return a parameter that is a whole number within bounds. Raises HTTPException (400) where it is none."""
    given = request.query_params.get(name)
    if given is None:
        return default
    if len(given) < 20 and given.isascii() and given.isdecimal() and least <= int(given) <= most:
        return int(given)
    raise HTTPException(400, f"{name} is a whole number from {least:,} to {most:,}")

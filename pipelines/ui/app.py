"""The application: its sections, what every response carries, and what is refused before a page sees it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gristmill.operators.errors import GristmillError, RecipeError
from gristmill.pipelines.html.page import report_style
from gristmill.pipelines.ui import clusters, explain, labels, quarantine, runs, search
from gristmill.pipelines.ui.site import SectionMaker, Site

#: The sections in the order of the navigation.
SECTIONS: Sequence[SectionMaker] = (
    runs.section,
    search.section,
    explain.section,
    clusters.section,
    quarantine.section,
    labels.section,
)
#: Names by which a browser on this machine calls it. With any other a page of somebody else could read the store: its
#: name may lead to this machine (DNS rebinding).
HOSTS = ("127.0.0.1", "localhost", "[::1]", "::1")
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_READING = ("GET", "HEAD")
_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
#: Bytes of an address, as long as those of a search in any script.
_LONGEST = 12_000
_TITLES = {400: "Not understood", 404: "Not found", 405: "Not possible", 500: "It went wrong"}


def make_app(store: str, cache: Path, sections: Sequence[SectionMaker] = SECTIONS) -> Starlette:
    """Return the application for a store, whose indexes lie in a folder `cache`."""
    site = Site(store, cache)
    site.sections = [make(site) for make in sections]

    def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            status, told = error.status_code, error.detail
        else:
            status, told = (404 if isinstance(error, RecipeError) else 500), str(error) or type(error).__name__
        title = _TITLES.get(status, "Refused")
        return site.page(request, "error.html", status, title=title, told=told)

    return Starlette(
        routes=[
            *(route for section in site.sections for route in section.routes),
            Route("/static/{name}", _static),
        ],
        middleware=[Middleware(Guard), Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)],
        exception_handlers={
            HTTPException: refused,
            GristmillError: refused,
            OSError: refused,
            Exception: refused,
        },
    )


def _static(request: Request) -> Response:
    """Return a file of the UI itself."""
    kept = _statics()
    name = request.path_params["name"]
    if name not in kept:
        raise HTTPException(404, "there is no such file")
    kind, content = kept[name]
    return Response(content, media_type=kind)


@cache
def _statics() -> dict[str, tuple[str, str]]:
    """Return type and content of the files of the UI itself, by name; the style of all pages begins with reports'."""
    found = {}
    for file in resources.files("gristmill.pipelines.ui").joinpath("static").iterdir():
        shared = report_style() if file.name == "style.css" else ""
        found[file.name] = _KINDS[Path(file.name).suffix], shared + file.read_text("utf-8")
    return found


class Guard:
    """Headers of every response, and a refusal of what another site asks a browser to send.

    A request that could change something (any method but GET and HEAD) is taken from pages of this application alone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless it is refused."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                held = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *held]}
            await send(message)

        request = Request(scope)
        if len(scope["raw_path"]) + len(scope["query_string"]) > _LONGEST:
            await PlainTextResponse("the address is too long", 414)(scope, receive, send_with_headers)
            return
        if request.method not in _READING and not _is_own(request):
            refusal = PlainTextResponse("this was not sent by a page of this application", 403)
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def _is_own(request: Request) -> bool:
    """Return whether a browser says that a page of this application sent a request."""
    origin = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if request.url.hostname not in HOSTS:
        return False
    return request.headers.get("origin") == origin and request.headers.get("sec-fetch-site") in (None, "same-origin")

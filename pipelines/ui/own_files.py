"""Files of single sections: their templates, scripts and style sheets."""

from __future__ import annotations

from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gristmill.pipelines.html.page import PACKAGE

#: Packages whose templates pages are made of; the first that has one gives it.
TEMPLATES = ("gristmill.pipelines.ui", PACKAGE)


def own_file(path: str, name: str, kind: str) -> Route:
    """Return the route to a file of `static/` that one section alone needs."""
    content = resources.files("gristmill.pipelines.ui").joinpath("static", name).read_text("utf-8")

    def serve_file(request: Request) -> Response:
        return Response(content, media_type=kind)

    return Route(path, serve_file)

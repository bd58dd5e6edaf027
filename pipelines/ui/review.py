"""The review: one text at a time, answered by keys. It is off unless the command line names a task; it alone writes.

Who has the address that the command prints gets a cookie at the first visit, which all else asks for; the address is of
no use to anybody else then.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gristmill.operators.errors import GristmillError, RecipeError, StoreLocked
from gristmill.pipelines.ui.review_queue import QUEUES, ReviewQueue, answer_keys, answer_kind
from gristmill.pipelines.ui.site import SectionMaker, Site, SiteSection

PATH = "/review"
#: Bytes of an answer that are read, and characters of a text that are shown.
MOST_BYTES, SHOWN = 100_000, 50_000


class ReviewAccess:
    """The secrets of a review: a token that opens it once, and the cookie that keeps it open."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self._cookie = secrets.token_urlsafe(32)
        self._name = f"gristmill_review_{secrets.token_hex(4)}"  # servers at other ports share a browser's cookies
        self._open, self._lock = True, threading.Lock()

    @property
    def page(self) -> str:
        """Return the page that opens the review, below the address of the server."""
        return f"{PATH[1:]}?token={self.token}"

    def admits(self, request: Request) -> bool:
        """Return whether a request has the cookie."""
        return secrets.compare_digest(request.cookies.get(self._name, "").encode(), self._cookie.encode())

    def enter(self, given: str, response: Response) -> bool:
        """Give a response the cookie if a token is the right one, and was not used before."""
        right = secrets.compare_digest(given.encode(), self.token.encode())
        with self._lock:
            if not right or not self._open:
                return False
            self._open = False
        response.set_cookie(self._name, self._cookie, path=PATH, httponly=True, samesite="strict")
        return True


def review_section(queue: ReviewQueue, access: ReviewAccess) -> SectionMaker:
    """Return the section of a review, whose items are gathered in the background from now on."""
    threading.Thread(target=queue.gather, name="gristmill-review", daemon=True).start()

    def section(site: Site) -> SiteSection:
        pages = _Pages(site, queue, access)
        routes = [
            Route(PATH, pages.enter),
            Route(f"{PATH}/item", pages.show),
            Route(f"{PATH}/ready", pages.ready),
            Route(f"{PATH}/answer", pages.answer, methods=["POST"]),
        ]
        return SiteSection("Review", PATH, routes)

    return section


class _Pages:
    """The pages of the review."""

    def __init__(self, site: Site, queue: ReviewQueue, access: ReviewAccess) -> None:
        self._site, self._queue, self._access = site, queue, access
        self._keys, self._kind = answer_keys(queue.loaded.task.answer), answer_kind(queue.loaded.task.answer)

    def enter(self, request: Request) -> Response:
        """Exchange the token of the printed address for the cookie; with it, lead to the first item.

        It is a page that leads on, no redirection: a browser that came from elsewhere would not send the cookie then.
        """
        onward = self._site.page(request, "review_open.html")
        if not self._access.admits(request) and not self._access.enter(request.query_params.get("token", ""), onward):
            raise HTTPException(
                403,
                "this is for who opened the address that `gristmill ui --review` printed. It opens once, in one "
                "browser; start the UI again for another address",
            )
        return onward

    def ready(self, request: Request) -> Response:
        """Return whether the items are gathered."""
        self._check(request)
        return JSONResponse({"ready": self._queue.ready.is_set()})

    def show(self, request: Request) -> Response:
        """Return the page of an item: the one that is named, or the next one."""
        self._check(request)
        name = request.query_params.get("queue") or next(iter(QUEUES))
        if name not in QUEUES:
            raise HTTPException(404, "there is no such queue")
        if not self._queue.ready.is_set():
            return self._site.page(request, "review.html", **self._values(name, None))
        key = _key(request.query_params.get("key"))
        if key is None:
            after, pending = (_key(request.query_params.get(each)) for each in ("after", "pending"))
            key = self._queue.next(name, after, pending)
        place = None if key is None else self._queue.place(name, key)
        return self._site.page(request, "review.html", **self._values(name, place))

    async def answer(self, request: Request) -> Response:
        """Store an answer; what this returns comes after it is stored."""
        self._check(request)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                raise HTTPException(413, f"an answer has at most {MOST_BYTES:,} bytes")
        try:
            fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=200)
        except ValueError:
            raise HTTPException(400, "this is no form") from None
        key, given = _key(fields.get("key", [""])[0]), fields.get("answer", [])
        queue = fields.get("queue", [""])[0]
        if key is None or queue not in QUEUES or (not given and self._kind != "several"):
            raise HTTPException(400, "an answer names its text, its queue and what is answered")
        value: Any = [each for each in given if each] if self._kind == "several" else given[0]
        try:
            stored = await asyncio.to_thread(self._queue.write, key, value)
        except StoreLocked as error:
            raise HTTPException(409, f"nothing was written yet: {error}") from None
        except RecipeError as error:
            raise HTTPException(400, str(error)) from None
        except (GristmillError, OSError) as error:
            raise HTTPException(500, f"nothing was written: {error}") from None
        if request.headers.get("accept") == "application/json":
            place = await asyncio.to_thread(self._queue.place, queue, key)
            return JSONResponse({"stored": stored, "answered": 0 if place is None else place.answered})
        onward = urlencode({"queue": queue, "after": key.hex()})
        return RedirectResponse(f"{PATH}/item?{onward}", 303)

    def _check(self, request: Request) -> None:
        if not self._access.admits(request):
            raise HTTPException(403, "open the address that `gristmill ui --review` printed first")

    def _values(self, name: str, place: Any) -> dict[str, Any]:
        queue = self._queue
        return {
            "ready": queue.ready.is_set(),
            "task": queue.loaded.task,
            "reviewer": queue.annotator,
            "queues": QUEUES,
            "queue": name,
            "place": place,
            "keys": self._keys,
            "kind": self._kind,
            "chosen": queue.chosen(place) if place is not None else (),
            "shown": SHOWN,
            "remarks": queue.remarks,
        }


def _key(given: str | None) -> bytes | None:
    """Return the content id of a parameter; None where it is none."""
    if given is None or len(given) != 32:
        return None
    try:
        return bytes.fromhex(given)
    except ValueError:
        return None

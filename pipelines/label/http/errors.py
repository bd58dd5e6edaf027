"""Meaning of an endpoint's refusal: for this request, for this document, for the whole run."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, NamedTuple

import orjson

from gristmill.pipelines.label.http.flow import retry_after

_SHOWN = 300  # characters of an endpoint's message


class FailureKind(Enum):
    """Kind of failure, by what to do about it."""

    PASSING = "try again"
    DOCUMENT = "this document cannot be answered"
    REQUEST = "something in the request is not understood, or this document cannot be answered"
    KEY = "no request is answered with this key"
    ENDPOINT = "no request is answered"


class Failure(NamedTuple):
    """An attempt without an answer."""

    kind: FailureKind
    message: str  #: one line, as the endpoint put it
    parameter: str = ""  #: of the request, that the endpoint names
    server_error: bool = False  #: a 500, which may also mean a request that the endpoint cannot do
    overloaded: bool = False  #: a sign of too many requests
    retry_after: float | None = None  #: seconds
    billed: bool = False  #: tokens may have been charged
    empty: bool = False  #: a reply came, and nothing is in it

    @property
    def alive(self) -> bool:
        """Return whether the endpoint does its work: it judged the request."""
        return self.kind is not FailureKind.PASSING


#: Complaints of a document, whatever the status: too long for the model, or not what the endpoint wants to read.
_DOCUMENT = re.compile(
    r"context.{0,20}(length|window|size)|(too|maximum (model|prompt|input)) (long|length)|longer than the max|"
    r"token count|inputs? tokens|string_above_max_length|"
    r"content.{0,12}(filter|policy|management)|moderation|flagged|safety (system|filter|policy)",
    re.IGNORECASE | re.DOTALL,
)
_NO_MONEY = re.compile(r"insufficient.?(quota|balance|funds|credit)|billing.?hard.?limit", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"model.?not.?found|no such model|invalid.?model|model .{1,120} (does not exist|not found)", re.IGNORECASE
)
_OVERLOAD = {408, 429, 503, 504, 529}
_PASSING = {408, 409, 425, 429}


def refused(status: int, body: bytes, retry_header: str | None = None) -> Failure:
    """Return the failure that an HTTP error status (and its body) reports."""
    try:
        told = _told(orjson.loads(body))
    except orjson.JSONDecodeError:
        told = _Told(one_line(body[: 4 * _SHOWN].decode("utf-8", "replace")))
    return _refused(status, told)._replace(retry_after=retry_after(retry_header))


def error_in_answer(error: Any) -> Failure:
    """Return the failure that an error in the JSON of an HTTP 200 reports; some gateways answer so.

    Its code counts as a status if it is one. Tokens may have been charged.
    """
    told = _told(error)
    code = str(error.get("code")) if isinstance(error, dict) else ""
    if code.isascii() and code.isdigit() and 400 <= int(code[:4]) < 600:
        return _refused(int(code), told)._replace(billed=True)
    message = f"an error with HTTP 200: {told.message or 'no message'}"
    return Failure(_kind(503, told), message, told.parameter, billed=True)


class _Told(NamedTuple):
    message: str = ""
    parameter: str = ""
    code: str = ""


def _refused(status: int, told: _Told) -> Failure:
    return Failure(
        _kind(status, told),
        f"HTTP {status}{f': {told.message}' if told.message else ''}",
        told.parameter,
        server_error=status == 500,
        overloaded=status in _OVERLOAD,
    )


def _kind(status: int, error: _Told) -> FailureKind:
    told = f"{error.code} {error.message}"
    if _NO_MONEY.search(told) or status == 402:
        return FailureKind.KEY
    if status < 500 and status not in _PASSING and _DOCUMENT.search(told):
        return FailureKind.DOCUMENT
    if status in (401, 403):
        return FailureKind.KEY
    if status < 400 or status in (404, 405) or (status < 500 and _NO_MODEL.search(told)):
        return FailureKind.ENDPOINT
    if status >= 500 or status in _PASSING:
        return FailureKind.PASSING
    return FailureKind.REQUEST if status in (400, 422) else FailureKind.DOCUMENT


def _told(parsed: Any) -> _Told:
    """Return message, parameter and code of an error's JSON, in the shapes that endpoints give it."""
    error = parsed.get("error", parsed.get("detail", parsed)) if isinstance(parsed, dict) else parsed
    if isinstance(error, list):  # FastAPI: [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]
        found = [(_place(e.get("loc")), str(e.get("msg", ""))) for e in error if isinstance(e, dict)]
        return _Told(
            one_line("; ".join(f"{place}: {text}" for place, text in found)), " ".join(place for place, _ in found)
        )
    if not isinstance(error, dict):
        return _Told("" if error is None else one_line(str(error)))
    message = error.get("message") or error.get("detail") or error
    code = f"{error.get('code') or ''} {error.get('type') or ''}".strip()
    return _Told(one_line(str(message)), str(error.get("param") or ""), code)


def _place(location: Any) -> str:
    return ".".join(map(str, location)) if isinstance(location, list) else ""


def one_line(text: str) -> str:
    """Return the beginning of a message, without line breaks and the full stop at its end."""
    flat = " ".join(text.split()).rstrip(".")
    return flat if len(flat) <= _SHOWN else f"{flat[:_SHOWN]}..."

"""One request to an OpenAI-compatible endpoint, and what came of it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple

import aiohttp
import orjson

from pipelines.label.annotators import HttpAnnotator
from pipelines.label.engines.http_errors import Failure, Kind, error_in_answer, one_line, refused

_CONNECT = 30.0  # seconds that a connection may take to be made
_HIDDEN = "[api_key]"


class Answered(NamedTuple):
    """The endpoint's answer: JSON with at least one choice."""

    content: dict[str, Any]
    alive: bool = True
    message: str = ""


class Client:
    """A session with one endpoint: as many connections as requests may be in flight. Belongs to one event loop."""

    def __init__(self, annotator: HttpAnnotator) -> None:
        self._url = url_of(annotator)
        self._key = annotator.api_key
        timeout = aiohttp.ClientTimeout(total=annotator.timeout, sock_connect=min(_CONNECT, annotator.timeout))
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        connector = aiohttp.TCPConnector(limit=annotator.concurrency)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers)
        self._timeout = annotator.timeout

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, body: bytes) -> Answered | Failure:
        """Send a request's body (JSON). No error is raised: what went wrong is a Failure."""
        outcome = await self._post(body)
        if isinstance(outcome, Failure) and self._key:
            return outcome._replace(message=outcome.message.replace(self._key, _HIDDEN))
        return outcome

    async def _post(self, body: bytes) -> Answered | Failure:
        try:
            # A redirected POST would become a GET.
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                if response.status != 200:
                    header = response.headers.get("Retry-After")
                    place = response.headers.get("Location", "").encode()
                    return refused(response.status, await _read_error(response) or place, header)
                return _parsed(await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Failure(Kind.PASSING, one_line(f"no connection: {error}"))
        except TimeoutError:
            told = f"no answer within {self._timeout:g} s"
            return Failure(Kind.PASSING, told, overloaded=True, billed=True)
        except (aiohttp.ClientError, OSError) as error:
            told = one_line(f"connection lost: {error or type(error).__name__}")
            return Failure(Kind.PASSING, told, billed=True)


def url_of(annotator: HttpAnnotator) -> str:
    """Where an annotator's questions go."""
    return f"{annotator.base_url.rstrip('/')}/chat/completions"


async def _read_error(response: aiohttp.ClientResponse) -> bytes:
    """The body of an error; what cannot be read of it does not matter."""
    try:
        return await response.read()
    except (aiohttp.ClientError, OSError):
        return b""


def _parsed(body: bytes) -> Answered | Failure:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        shown = one_line(body[-80:].decode("utf-8", "replace"))
        return Failure(Kind.PASSING, f"an answer that is no JSON, and ends in {shown!r}", billed=True)
    if not isinstance(content, dict):
        return Failure(Kind.PASSING, "an answer that is no JSON object", billed=True)
    choices = content.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    if error := content.get("error") or first.get("error"):
        return error_in_answer(error)
    if first.get("finish_reason") == "content_filter":
        return Failure(Kind.DOCUMENT, "the endpoint's content filter stopped the answer", billed=True)
    if not isinstance(first.get("message"), dict):
        return Failure(Kind.PASSING, "an answer without choices[0].message", billed=True)
    return Answered(content)

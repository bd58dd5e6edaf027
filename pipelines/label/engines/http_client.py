"""One request to an OpenAI-compatible endpoint, and its outcome."""

from __future__ import annotations

from types import TracebackType

import aiohttp

from gristmill.pipelines.label.annotators import HttpAnnotator
from gristmill.pipelines.label.engines.http_errors import Failure, FailureKind, one_line, refused
from gristmill.pipelines.label.engines.http_reply import Answered, reply_in

_CONNECT = 30.0  # seconds that a connection may take to be made
_HIDDEN = "[api_key]"


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
        """Send a request's body (JSON). No error is raised: a Failure is returned."""
        outcome = await self._post(body)
        if isinstance(outcome, Failure) and self._key:
            return outcome._replace(message=outcome.message.replace(self._key, _HIDDEN))
        return outcome

    async def _post(self, body: bytes) -> Answered | Failure:
        try:
            # A redirected POST would become a GET.
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                if not 200 <= response.status < 300:
                    header = response.headers.get("Retry-After")
                    place = response.headers.get("Location", "").encode()
                    return refused(response.status, await _read_error(response) or place, header)
                return reply_in(await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Failure(FailureKind.PASSING, one_line(f"no connection: {error}"))
        except TimeoutError:
            told = f"no answer within {self._timeout:g} s"
            return Failure(FailureKind.PASSING, told, overloaded=True, billed=True)
        except (aiohttp.ClientError, OSError, EOFError, ValueError) as error:
            told = one_line(f"connection lost: {error or type(error).__name__}")
            return Failure(FailureKind.PASSING, told, billed=True)


def url_of(annotator: HttpAnnotator) -> str:
    """Return the URL that an annotator's questions are sent to."""
    return f"{annotator.base_url.rstrip('/')}/chat/completions"


async def _read_error(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of an error; empty if it cannot be read."""
    try:
        return await response.read()
    except (aiohttp.ClientError, OSError):
        return b""

"""A Ray cluster as it takes jobs: through its dashboard, over HTTP. Ray itself is not started here."""

from __future__ import annotations

import asyncio
import logging
import shlex
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from gristmill.operators.errors import FatalError, RecipeError

CONNECT_SECONDS = 10
#: Time that the log of a job is asked for again after the connection broke: a head node may be starting anew.
PATIENCE_SECONDS = 120
PAUSE_SECONDS = 2.0
#: Time without a line of the log after which the connection is made again; a run says something every ten seconds.
SILENCE_SECONDS = 60
TOKEN = "Put the cluster's token into ~/.ray/auth_token or RAY_AUTH_TOKEN and set RAY_AUTH_MODE=token"


class JobServer:
    """The server that takes the jobs of a cluster: its dashboard, at an address."""

    def __init__(self, address: str) -> None:
        """Connect. Raises RecipeError for what is no address, FatalError where none answers or refuses the token."""
        self.address = address.rstrip("/")
        _knock(self.address)
        import aiohttp
        import ray.job_submission

        for handler in logging.getLogger("ray").handlers:  # its modules set levels of their own
            handler.setLevel(logging.WARNING)
        self._errors: Any = (OSError, RuntimeError, ValueError, aiohttp.ClientError, ray.exceptions.RayError)
        self._refusal: Any = ray.exceptions.AuthenticationError
        self._client: Any = self._ask(lambda: ray.job_submission.JobSubmissionClient(self.address))

    def submit(self, command: Sequence[str], environment: Mapping[str, Any], about: Mapping[str, str]) -> str:
        """Send a job: a command, the runtime environment (with its `working_dir`), what lists of jobs say of it.

        Returns its id. Raises FatalError where the cluster does not take it.
        """
        job: str = self._ask(
            lambda: self._client.submit_job(
                entrypoint=shlex.join(command), runtime_env=dict(environment), metadata=dict(about)
            )
        )
        return job

    def follow(self, job: str, show: Callable[[str], None]) -> int:
        """Hand each piece of a job's log to `show`, until the job ends; return its exit code.

        A connection that breaks is made again for PATIENCE_SECONDS. Raises FatalError where that does not help, or
        where the job ended without a process of its own (it was stopped, or its environment could not be made).
        """
        shown, broken_since = 0, None

        async def tail() -> bool:
            """Show the log; return whether it came to its end, and not to a silence that may be a lost connection."""
            nonlocal shown, broken_since
            passed = 0  # a new connection hands out the log from its beginning
            pieces = aiter(self._client.tail_job_logs(job))
            try:
                while True:
                    piece = await asyncio.wait_for(anext(pieces), SILENCE_SECONDS)
                    fresh = piece[max(0, shown - passed) :]
                    passed, broken_since = passed + len(piece), None
                    if fresh:
                        shown = passed
                        show(fresh)
            except StopAsyncIteration:
                return True
            except TimeoutError:
                return False

        while True:
            try:
                whole = asyncio.run(tail())
                details = self._client.get_job_info(job)
                if whole and details.status.is_terminal():
                    return _exit_code(job, details)
                broken_since = None
            except self._refusal as error:
                raise FatalError(_refused(self.address, error)) from None
            except self._errors as error:
                broken_since = broken_since or time.monotonic()
                if time.monotonic() - broken_since > PATIENCE_SECONDS:
                    told = f"{self.address} has not answered for {PATIENCE_SECONDS} s: {_last_line(error)}"
                    raise FatalError(f"{told}. The job {job} goes on if the cluster does") from None
            time.sleep(PAUSE_SECONDS)

    def _ask(self, request: Callable[[], Any]) -> Any:
        try:
            return request()
        except self._refusal as error:
            raise FatalError(_refused(self.address, error)) from None
        except self._errors as error:
            raise FatalError(f"the cluster at {self.address} does not take the job: {_last_line(error)}") from None


def _knock(address: str) -> None:
    """Look whether something listens: Ray itself would wait without end."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RecipeError(
            f"--address {address} is not the URL of a dashboard, such as http://localhost:8265 (ray:// and the port "
            "6379 are for programs that run inside the cluster)"
        )
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise FatalError(
            f"nothing answers at {address} ({error.strerror or error}). The dashboard of a head node has port 8265; "
            "where only the head's own machine reaches it: ssh -L 8265:localhost:8265 HEAD"
        ) from None


def _exit_code(job: str, details: Any) -> int:
    code: int | None = details.driver_exit_code
    if code is None:
        message = (details.message or "").strip()[-2000:]
        raise FatalError(
            f"the job {job} ended as {details.status.value} without an exit code: {message or 'no reason'}"
        )
    return code if code >= 0 else 128 - code


def _refused(address: str, error: Exception) -> str:
    return f"the cluster at {address} refuses this user's token: {str(error).strip().splitlines()[0]}. {TOKEN}"


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]

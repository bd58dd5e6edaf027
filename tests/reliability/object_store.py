"""An S3 server (moto, on loopback) that counts the requests that it gets, and fails some of them if asked to."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from fsspec import get_filesystem_class
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from gristmill.pipelines.storage import files

Start = Callable[..., Any]


class ObjectStore:
    """The server as a WSGI application around moto's."""

    def __init__(self) -> None:
        self.requests: list[str] = []  #: method and path of each
        self.failed = 0
        self.share = 0.0  #: of the requests that get 500 or 503, and never reach the store
        self._draw = random.Random(5)
        self._store = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        with self._lock:
            self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}")
            fails = self._draw.random() < self.share
            self.failed += fails
            odd = self.failed % 2
        if not fails:
            response: Iterable[bytes] = self._store(environ, start)
            return response
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, code = ("500 Internal Server Error", "InternalError") if odd else ("503 Slow Down", "SlowDown")
        start(status, [("Content-Type", "application/xml")])
        return [f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>try again</Message></Error>".encode()]

    def clear(self) -> None:
        """Count from nothing."""
        self.requests.clear()
        self.failed = 0


@contextlib.contextmanager
def object_store() -> Iterator[tuple[ObjectStore, dict[str, str]]]:
    """A server, and the environment that reaches it; file systems that this process opened for others are let go."""
    store = ObjectStore()
    get_filesystem_class("s3").clear_instance_cache()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, store, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield (
            store,
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
                "AWS_ACCESS_KEY_ID": "AKIDOFATEST",
                "AWS_SECRET_ACCESS_KEY": "an-example-of-a-secret-access-key",
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def bucket(url: str) -> Iterator[tuple[ObjectStore, dict[str, str]]]:
    """A server with a bucket, which this process reaches as well; the server, and the environment that reaches it."""
    with object_store() as (store, environment), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        files.filesystem(url)[0].makedirs(url, exist_ok=True)  # moto remembers those of its last server
        yield store, environment

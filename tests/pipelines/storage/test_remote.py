"""Requests that are tried again, those that are not, and what is kept at hand."""

from __future__ import annotations

import errno

import aiohttp
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from gristmill.operators.errors import GaveUp
from gristmill.pipelines.storage import files, remote


def answered(status: int) -> OSError:
    """What s3fs makes of an answer with an error."""
    error = OSError(errno.EIO, "said no")
    error.__cause__ = ClientError({"Error": {}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")
    return error


def hidden(cause: Exception) -> FileNotFoundError:
    """What fsspec makes of whatever befalls a web address."""
    error = FileNotFoundError("http://x")
    error.__cause__ = cause
    return error


def response(status: int) -> aiohttp.ClientResponseError:
    return aiohttp.ClientResponseError(None, (), status=status)  # type: ignore[arg-type]


PASSING = [
    ConnectionResetError("reset"),
    TimeoutError("slow"),
    answered(500),
    answered(503),
    answered(429),
    hidden(response(503)),
    hidden(ConnectionRefusedError("no")),
    OSError(errno.EBUSY, "Please reduce your request rate"),
    EndpointConnectionError(endpoint_url="http://x"),
    aiohttp.ServerDisconnectedError(),
]
LASTING = [
    FileNotFoundError("none"),
    PermissionError("denied"),
    FileExistsError("there"),
    answered(400),
    answered(403),
    answered(412),
    answered(501),
    hidden(response(404)),
    NoCredentialsError(),
    ValueError("no"),
]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made."""
    made: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", made.append)
    return made


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_may_pass_is_tried_again(error: Exception, pauses: list[float]) -> None:
    answers = iter([error, error, None])

    def request() -> str:
        if (failure := next(answers)) is not None:
            raise failure
        return "done"

    assert remote.tried("s3://b/x", request) == "done"
    assert len(pauses) == 2


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_does_not_pass_is_not(error: Exception, pauses: list[float]) -> None:
    def request() -> str:
        raise error

    with pytest.raises(type(error)) as raised:
        remote.tried("s3://b/x", request)
    assert raised.value is error
    assert pauses == []


def test_tries_are_bounded_and_told(pauses: list[float]) -> None:
    def request() -> str:
        raise hidden(ConnectionRefusedError("refused by 10.0.0.1"))

    with pytest.raises(GaveUp, match=r"s3://b/x cannot be reached: refused by 10.0.0.1. It was tried 8 times"):
        remote.tried("s3://b/x", request)
    assert len(pauses) == remote.TRIES - 1
    assert sum(pauses) < 60


def test_what_is_at_hand_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = remote.read_whole
    monkeypatch.setattr(remote, "read_whole", lambda fs, path: asked.append(path) or real(fs, path))
    url = "memory://at-hand/record.json"
    files.write_record(url, {"a": 1})
    with remote.at_hand():
        assert [files.read_record(url) for _ in range(3)] == [{"a": 1}] * 3
        assert len(asked) == 1
        files.write_record(url, {"a": 2})
        assert files.read_record(url) == {"a": 2}
        assert len(asked) == 1
        files.remove("memory://at-hand")
        with pytest.raises(FileNotFoundError):
            files.read_record(url)
    files.write_record(url, {"a": 3})
    assert files.read_record(url) == {"a": 3}


def test_what_is_at_hand_is_bounded() -> None:
    held = remote.AtHand()
    held.keep("large", bytes(remote.AtHand.LARGEST + 1))
    assert held.get("large") is None
    for i in range(10):
        held.keep(str(i), bytes(remote.AtHand.LARGEST))
        held.get("0")
    kept = [i for i in range(10) if held.get(str(i)) is not None]
    assert kept == [0, 3, 4, 5, 6, 7, 8, 9]

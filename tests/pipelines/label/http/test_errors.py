from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipelines.label.http.replies import FailureKind, error_in_answer, refused


def openai(message: str, **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, openai("Unknown parameter: 'structured_outputs'.", param="structured_outputs"), FailureKind.REQUEST),
        (400, b"", FailureKind.REQUEST),
        (422, b'{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}', FailureKind.REQUEST),
        (
            400,
            openai("This model's maximum context length is 512 tokens. However, you requested 600"),
            FailureKind.DOCUMENT,
        ),
        (400, openai("x", code="context_length_exceeded"), FailureKind.DOCUMENT),
        (
            400,
            openai("the request exceeds the context size", type="exceed_context_size_error"),
            FailureKind.DOCUMENT,
        ),
        (400, openai("prompt is too long: 210000 tokens > 200000 maximum"), FailureKind.DOCUMENT),
        (400, openai("The response was filtered", code="content_filter"), FailureKind.DOCUMENT),
        (403, openai("Your input was flagged", code=403), FailureKind.DOCUMENT),
        (413, b"<html>too large</html>", FailureKind.DOCUMENT),
        (451, b"", FailureKind.DOCUMENT),
        (401, openai("Incorrect API key provided", code="invalid_api_key"), FailureKind.KEY),
        (403, b"Forbidden", FailureKind.KEY),
        (402, openai("Insufficient Balance"), FailureKind.KEY),
        (429, openai("You exceeded your current quota", code="insufficient_quota"), FailureKind.KEY),
        (404, b'{"detail": "Not Found"}', FailureKind.ENDPOINT),
        (400, openai("Invalid model: gpt-x", type="invalid_model"), FailureKind.ENDPOINT),
        (301, b"https://elsewhere/v1", FailureKind.ENDPOINT),
        (405, b"", FailureKind.ENDPOINT),
        *((status, b"", FailureKind.PASSING) for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)),
        (500, openai("context length of the batch"), FailureKind.PASSING),
        (429, openai("Too many tokens: flagged as over the limit"), FailureKind.PASSING),
    ],
)
def test_what_a_refusal_means(status: int, body: bytes, kind: FailureKind) -> None:
    assert refused(status, body).kind is kind


@pytest.mark.parametrize(
    ("body", "message", "parameter"),
    [
        (openai("no", param="logprobs"), "no", "logprobs"),
        (b'{"error": "plain"}', "plain", ""),
        (b'{"message": "flat", "code": 400}', "flat", ""),
        (b'{"detail": "gone"}', "gone", ""),
        (b'{"detail": [{"loc": ["body", "seed"], "msg": "no"}, 3]}', "body.seed: no", "body.seed"),
        (b"<html>\n  bad\n gateway</html>", "<html> bad gateway</html>", ""),
        (b"[1]", "", ""),
        (b'{"error": null}', "", ""),
        (b'{"error": {"message": "Stop."}}', "Stop", ""),
        (b"", "", ""),
    ],
)
def test_the_message_of_an_error_in_its_many_shapes(body: bytes, message: str, parameter: str) -> None:
    failure = refused(400, body)
    assert failure.message == (f"HTTP 400: {message}" if message else "HTTP 400")
    assert failure.parameter == parameter


def test_signs_of_overload() -> None:
    assert [status for status in (400, 408, 429, 500, 502, 503, 504) if refused(status, b"").overloaded] == [
        408, 429, 503, 504
    ]  # fmt: skip
    assert refused(429, b"", "7").retry_after == 7.0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "upstream", "code": 502}, FailureKind.PASSING),
        ({"message": "slow down", "code": "429"}, FailureKind.PASSING),
        ({"message": "bad key", "code": 401}, FailureKind.KEY),
        ({"message": "broken"}, FailureKind.PASSING),
        ("broken", FailureKind.PASSING),
        ({"message": "flagged by moderation", "code": 403}, FailureKind.DOCUMENT),
    ],
)
def test_an_error_with_http_200(error: Any, kind: FailureKind) -> None:
    failure = error_in_answer(error)
    assert failure.kind is kind
    assert failure.billed


@given(status=st.integers(300, 599), body=st.binary(max_size=60))
def test_any_body_has_a_meaning_and_one_line(status: int, body: bytes) -> None:
    failure = refused(status, body)
    assert "\n" not in failure.message
    assert len(failure.message) < 400


JSON = st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda v: st.lists(v) | st.dictionaries(
    st.sampled_from(["error", "detail", "message", "code", "param", "loc", "msg", "type"]), v
))  # fmt: skip


@given(value=JSON)
def test_any_json_has_a_meaning(value: Any) -> None:
    assert refused(400, json.dumps(value).encode()).message.startswith("HTTP 400")
    if value:
        assert error_in_answer(value).billed

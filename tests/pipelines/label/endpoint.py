"""An OpenAI-compatible endpoint on loopback, in a process of its own, that answers rightly and fails to a plan.

    with endpoint(answers={"physics": "A", "biology": "B"}, plan={"reset": 0.01, "slow": 0.05}, delay=0.1) as server:
        ...  # base_url=server.url
        server.stats().documents["... physics ..."].succeeded

The right answer to a document is that of the first word of `answers` in it. Which fault meets a request depends on the
seed, the document and how often it was asked before, never on time.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import email.utils
import functools
import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

#: Shares of requests in which each fault can be planned for.
FAULTS = (
    "rate_limited",  # 429, Retry-After in seconds
    "rate_limited_date",  # 429, Retry-After as an HTTP date
    "unavailable",  # 503 without a body
    "error_json",  # 500
    "error_text",  # 500, an HTML page
    "error_in_200",  # HTTP 200 with an error in its JSON
    "slow",  # answered rightly after `slow` seconds
    "hung",  # never answered
    "reset",  # connection reset
    "truncated",  # JSON that ends before what the model said; once a document at most
    "wrong_label",  # a valid response whose answer is none; once a document at most
    "prose",  # the right answer within a sentence; once a document at most
)

_SPOILING = ("truncated", "wrong_label", "prose")


@dataclass
class Settings:
    """How the endpoint behaves; times in seconds."""

    answers: dict[str, str] = field(default_factory=lambda: {"yes": "A", "no": "B"})
    plan: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    delay: float = 0.0
    slow: float = 0.3
    retry_after: float = 0.05
    #: (field of the body, how its refusal begins): "structured_outputs", "response_format:json_schema",
    #: "top_logprobs>5", "max_tokens", ... -> HTTP status
    refuse: dict[str, int] = field(default_factory=dict)
    names_refused: bool = True  #: whether a refusal names the field
    #: word in a document -> (HTTP status, JSON body): always answered so
    fails: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    down: tuple[int, dict[str, Any]] | None = None  #: all requests are answered so
    api_key: str | None = None
    model: str | None = None
    usage: bool = True


@dataclass
class Seen:
    """What happened to one document."""

    asked: int = 0
    succeeded: int = 0
    asked_after_success: int = 0
    spoilt: int = 0  #: answers that were wrong on purpose


@dataclass
class Stats:
    """What the endpoint saw. Requests that hang for ever count as in flight no longer."""

    documents: dict[str, Seen]
    requests: int
    most_in_flight: int
    faults: dict[str, int]
    bodies: list[dict[str, Any]]  #: the last 50


class Server:
    """A running endpoint."""

    def __init__(self, url: str) -> None:
        self.url = url

    def stats(self) -> Stats:
        """What was seen so far."""
        told = self._call("stats")
        told["documents"] = {text: Seen(**seen) for text, seen in told["documents"].items()}
        return Stats(**told)

    def change(self, **settings: Any) -> None:
        """Change settings by their names."""
        self._call("settings", json.dumps(settings).encode())

    def _call(self, name: str, content: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"{self.url}/{name}", data=content, timeout=30) as response:
            return json.load(response)


@contextlib.contextmanager
def endpoint(**settings: Any) -> Iterator[Server]:
    """An endpoint with these settings until the block ends."""
    told = json.dumps(dataclasses.asdict(Settings(**settings)))
    parent = _parent()
    assert parent.stdin is not None
    assert parent.stdout is not None
    print(told, file=parent.stdin, flush=True)
    process = int(parent.stdout.readline())
    try:
        port = parent.stdout.readline().strip()
        assert port, "the endpoint did not start"
        yield Server(f"http://127.0.0.1:{port}/v1")
    finally:
        os.kill(process, signal.SIGKILL)


@functools.cache
def _parent() -> subprocess.Popen[str]:
    """The process that all endpoints of this one are forked from: it has loaded what they need. It ends with this."""
    line = [sys.executable, __file__]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


# What follows runs in the endpoint's process, and in its parent.


class _Endpoint:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.documents: dict[str, Seen] = {}
        self.requests = self.in_flight = self.most_in_flight = 0
        self.faults: dict[str, int] = {}
        self.bodies: list[dict[str, Any]] = []

    async def serve(self) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/v1/stats", self.stats)
        app.router.add_post("/v1/settings", self.change)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    async def stats(self, request: Any) -> Any:
        documents = {text: dataclasses.asdict(seen) for text, seen in self.documents.items()}
        names = ("requests", "most_in_flight", "faults", "bodies")
        return web.json_response({"documents": documents, **{name: getattr(self, name) for name in names}})

    async def change(self, request: Any) -> Any:
        self.settings = dataclasses.replace(self.settings, **await request.json())
        return web.json_response({})

    async def chat(self, request: Any) -> Any:
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        leaving = [True]  # taken by whoever counts this request out
        try:
            return await self._chat(request, leaving)
        finally:
            self._leave(leaving)

    def _leave(self, leaving: list[bool]) -> None:
        if leaving:
            leaving.pop()
            self.in_flight -= 1

    async def _chat(self, request: Any, leaving: list[bool]) -> Any:
        settings = self.settings
        body = orjson.loads(await request.read())
        self.bodies = [*self.bodies[-49:], body]
        text = document_of(body["messages"])
        seen = self.documents.setdefault(text, Seen())
        seen.asked += 1
        seen.asked_after_success += seen.succeeded > 0
        fault = self._fault(text, seen)
        self.faults[fault] = self.faults.get(fault, 0) + 1
        await asyncio.sleep(settings.delay + (settings.slow if fault == "slow" else 0.0))

        if (refusal := self._refusal(request, body, text)) is not None:
            status, told = refusal
            return web.json_response(told, status=status)
        if fault == "hung":
            self._leave(leaving)
            await asyncio.sleep(3600)
        if fault == "reset":
            self._leave(leaving)
            request.transport.abort()
            await asyncio.sleep(3600)
        if fault in ("rate_limited", "rate_limited_date"):
            moment = email.utils.formatdate(time.time() + settings.retry_after, usegmt=True)
            header = moment if fault == "rate_limited_date" else str(settings.retry_after)
            told = {"error": {"message": "slow down", "type": "rate_limit"}}
            return web.json_response(told, status=429, headers={"Retry-After": header})
        if fault == "unavailable":
            return web.Response(status=503)
        if fault == "error_json":
            return web.json_response({"error": {"message": "the engine fell over"}}, status=500)
        if fault == "error_text":
            return web.Response(text="<html>Internal Server Error</html>", status=500, content_type="text/html")
        if fault == "error_in_200":
            return web.json_response({"error": {"message": "upstream went away", "code": 502}})
        answer = self._answer(text, fault)
        content = orjson.dumps(completion(answer, sorted(set("".join(settings.answers.values()))), body, settings))
        if fault in _SPOILING:
            seen.spoilt += 1
        if fault == "truncated":
            return web.Response(body=content[: content.index(b'"content"')], content_type="application/json")
        if fault != "wrong_label":
            seen.succeeded += 1
        return web.Response(body=content, content_type="application/json")

    def _fault(self, text: str, seen: Seen) -> str:
        digest = hashlib.blake2b(f"{self.settings.seed}/{seen.asked}/{text}".encode("utf-8", "replace"), digest_size=8)
        drawn = int.from_bytes(digest.digest()) / 2**64
        for fault, share in self.settings.plan.items():
            assert fault in FAULTS, fault
            if drawn < share:
                return "" if fault in _SPOILING and seen.spoilt else fault
            drawn -= share
        return ""

    def _refusal(self, request: Any, body: dict[str, Any], text: str) -> tuple[int, dict[str, Any]] | None:
        settings = self.settings
        if settings.down is not None:
            return settings.down
        if settings.api_key is not None and request.headers.get("Authorization") != f"Bearer {settings.api_key}":
            return 401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}
        if settings.model is not None and body["model"] != settings.model:
            told = f"The model `{body['model']}` does not exist."
            return 404, {"error": {"message": told, "type": "NotFoundError", "code": 404}}
        for word, (status, told_body) in settings.fails.items():
            if word in text:
                return status, told_body
        for what, status in settings.refuse.items():
            if _has(body, what):
                name = re.split("[:>]", what)[0]
                message = f"Unsupported parameter: '{name}'" if settings.names_refused else "bad request"
                return status, {"error": {"message": message, "param": name if settings.names_refused else None}}
        return None

    def _answer(self, text: str, fault: str) -> str:
        places = {word: text.find(word) for word in self.settings.answers if word in text}
        right = self.settings.answers[min(places, key=lambda word: places[word])] if places else "?"
        if fault == "wrong_label":
            return "#none#"
        if fault != "prose":
            return right
        return f"Here it is:\n{right}\nAnything else?" if right.startswith("{") else f"The answer is **{right}**."


def document_of(messages: list[dict[str, str]]) -> str:
    """The document that a prompt asks about: what stands in the last delimiters."""
    for message in reversed(messages):
        if (begin := message["content"].rfind("<document>")) >= 0:
            return message["content"][begin + len("<document>") :].partition("</document>")[0].strip()
    raise AssertionError("a prompt without a document")


def completion(answer: str, codes: list[str], body: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """A chat completion that says the answer; 0.9 of each token's probability is its own, the codes share the rest."""
    tokens = re.findall(r"\s?[^\s]+", answer)
    said = {"role": "assistant", "content": answer}
    choice: dict[str, Any] = {"index": 0, "message": said, "finish_reason": "stop"}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": [_token(token, codes, body.get("top_logprobs", 0)) for token in tokens]}
    told: dict[str, Any] = {"object": "chat.completion", "model": body["model"], "choices": [choice]}
    if settings.usage:
        words = sum(len(message["content"].split()) for message in body["messages"])
        told["usage"] = {"prompt_tokens": words, "completion_tokens": len(tokens)}
    return told


def _token(token: str, codes: list[str], top: int) -> dict[str, Any]:
    blank = " " if token.startswith(" ") else ""
    others = [blank + code for code in codes if code.strip() and blank + code != token]
    listed = {token: 0.9, **{other: 0.1 / len(others) for other in others}}
    alternatives = [{"token": text, "logprob": math.log(p)} for text, p in listed.items()][:top]
    return {"token": token, "logprob": math.log(0.9), "top_logprobs": alternatives}


def _has(body: dict[str, Any], what: str) -> bool:
    if ">" in what:
        name, _, most = what.partition(">")
        return int(body.get(name, 0)) > int(most)
    name, _, kind = what.partition(":")
    return name in body and (not kind or body[name].get("type") == kind)


def _fork_endpoints() -> None:
    """Fork an endpoint for each line of standard input, and say its process id; the endpoint says its port."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that are killed are gone at once
    children = []
    for line in sys.stdin:
        if child := os.fork():
            children.append(child)
            continue
        print(os.getpid(), flush=True)
        asyncio.run(_Endpoint(Settings(**json.loads(line))).serve())
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    _fork_endpoints()

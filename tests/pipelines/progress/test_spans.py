"""Spans: a collector on loopback gets those of a real command, and what is wrong with it harms no run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gristmill.pipelines.progress import spans
from gristmill.pipelines.progress.events import EventReporter
from gristmill.pipelines.progress.meters import METERS, Progressed
from gristmill.pipelines.progress.reporter import Reporter

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
FAILED = 2  # STATUS_CODE_ERROR


class Collector:
    """A server of OTLP over HTTP, and the spans that it was sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def named(self, name: str) -> Any:
        """The only span of this name."""
        (span,) = (span for span in self.spans if span.name == name)
        return span


def numbers(span: Any) -> dict[str, int]:
    return {attribute.key: attribute.value.int_value for attribute in span.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "gristmill", *arguments]
    return subprocess.run(line, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_a_run_is_a_trace_of_its_stages(collector: Collector, corpus: Path, make_recipe: Callable[..., Path]) -> None:
    recipe = make_recipe(corpus, decide=["exact_dedup"])
    parent = f"00-{TRACE}-{PARENT}-01"
    ended = command("run", str(recipe), OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, TRACEPARENT=parent)
    assert ended.returncode == 0, ended.stderr
    run, measure = collector.named("gristmill run"), collector.named("gristmill measure")
    assert (run.trace_id.hex(), run.parent_span_id.hex()) == (TRACE, PARENT)
    assert (measure.trace_id, measure.parent_span_id) == (run.trace_id, run.span_id)
    counts = numbers(measure)
    assert counts["gristmill.documents"] == 400
    assert (counts["gristmill.steps"], counts["gristmill.planned"]) == (4, 4)
    assert numbers(run) == {"process.exit.code": 0}
    assert run.start_time_unix_nano < measure.start_time_unix_nano < measure.end_time_unix_nano < run.end_time_unix_nano


def test_a_command_that_fails_says_so(collector: Collector, tmp_path: Path) -> None:
    missing = str(tmp_path / "recipe.yaml")
    ended = command(
        "datasets", "list", "--store", missing, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces"
    )
    span = collector.named("gristmill datasets list")
    assert numbers(span)["process.exit.code"] == ended.returncode != 0
    assert span.status.code == FAILED


def test_a_collector_that_is_not_there_costs_a_line(corpus: Path, make_recipe: Callable[..., Path]) -> None:
    recipe = make_recipe(corpus)
    silent = command(
        "plan", str(recipe), "--json", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="1"
    )
    assert silent.returncode == 0
    (line,) = silent.stderr.splitlines()
    assert line.startswith("spans were not sent to http://127.0.0.1:9: ")
    assert silent.stdout == command("plan", str(recipe), "--json").stdout


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_who_asks(environment: dict[str, str], asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert spans.asked() == asked


def test_stages_are_spans_of_the_program_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry import trace

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    meters = [*METERS]
    try:
        reporters = [Reporter(quiet=True), Reporter(quiet=True)]
        with provider.get_tracer("test").start_as_current_span("theirs") as theirs:
            with reporters[1].stage("measure", 2) as stage:
                stage.advance(documents=3)
            with pytest.raises(ValueError, match="no"), reporters[0].stage("write", 1):
                raise ValueError("no")
    finally:
        METERS[:] = meters
    measure, write, _ = exporter.get_finished_spans()
    assert (measure.name, measure.attributes["gristmill.documents"]) == ("gristmill measure", 3)
    assert measure.parent.span_id == theirs.get_span_context().span_id
    assert (write.name, write.status.description) == ("gristmill write", "ValueError: no")


def test_meters_are_told_every_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where stages are events for machines."""
    told: list[Progressed] = []
    METERS.append(told.append)
    try:
        for reporter in (Reporter(quiet=True), EventReporter()):
            with reporter.stage("measure", 1) as stage:
                stage.advance()
    finally:
        METERS.remove(told.append)
    capsys.readouterr()
    assert [(one.steps, one.ended) for one in told] == 2 * [(0, False), (1, False), (0, True)]

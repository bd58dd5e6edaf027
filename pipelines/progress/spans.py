"""OpenTelemetry spans of a command and its stages, where the environment names an endpoint that takes them.

The variables are OpenTelemetry's own (https://opentelemetry.io/docs/specs/otel/protocol/exporter): with
`OTEL_EXPORTER_OTLP_ENDPOINT`, or `..._TRACES_ENDPOINT`, spans go there by HTTP. `TRACEPARENT` (W3C Trace Context) makes
them part of the trace of whatever started the command. Stages of a process that has a tracer provider already, such as
an orchestrator's worker, become spans of it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gristmill.pipelines.progress.meters import METERS, Progressed

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: Seconds that an endpoint may take at the end of a command, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise.
_PATIENCE = 3
_NAME = "gristmill"


def asked() -> bool:
    """Return whether the environment names an endpoint, and does not turn OpenTelemetry off."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(os.environ.get(name) for name in _ENDPOINTS)


class SpanMeter:
    """Meter that makes a span of each stage: its documents, bytes and steps are attributes, an error its status."""

    def __init__(self, tracer: Any, parent: Any = None) -> None:
        self._tracer, self._parent = tracer, parent
        self._open: dict[str, Any] = {}
        self._sums: dict[str, dict[str, int]] = {}

    def __call__(self, progressed: Progressed) -> None:
        """Begin the span of a stage at its first step, and end it at its last."""
        name = progressed.stage
        if name not in self._open:
            self._open[name] = self._tracer.start_span(f"{_NAME} {name}", context=self._parent)
            self._sums[name] = {"steps": 0, "documents": 0, "text_bytes": 0, "quarantined": 0}
        sums = self._sums[name]
        for what in sums:
            sums[what] += getattr(progressed, what)
        if progressed.ended:
            span = self._open.pop(name)
            counts = {**self._sums.pop(name), "planned": progressed.total}
            span.set_attributes({f"{_NAME}.{what}": n for what, n in counts.items()})
            _end(span, progressed.error)


def _end(span: Any, error: str | None) -> None:
    if error is not None:
        from opentelemetry.trace import Status, StatusCode

        span.set_status(Status(StatusCode.ERROR, error))
    span.end()


@contextmanager
def command_span(command: str) -> Iterator[None]:
    """Make a span of a command, and spans of its stages below it, where `asked`; send them when it ends.

    An endpoint that does not take them costs a line on standard error, never the command.
    """
    if not asked():
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        print(f"no spans are sent to {_endpoint()}: pip install 'gristmill[otel]'", file=sys.stderr)
        yield
        return
    complaints = _Complaints()
    os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", str(_PATIENCE))
    provider = TracerProvider(resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", _NAME)}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    parent = TraceContextTextMapPropagator().extract({"traceparent": os.environ.get("TRACEPARENT", "")})
    tracer = provider.get_tracer(_NAME)
    span = tracer.start_span(f"{_NAME} {command}", context=parent)
    meter = SpanMeter(tracer, set_span_in_context(span))
    METERS.append(meter)
    error = None
    try:
        yield
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        span.set_attribute("process.exit.code", code)
        error = f"exit code {code}" if code else None
        raise
    finally:
        METERS.remove(meter)
        _end(span, error)
        provider.shutdown()
        if complaints.last:
            print(f"spans were not sent to {_endpoint()}: {complaints.last}", file=sys.stderr)


def _endpoint() -> str:
    return next(os.environ[name] for name in _ENDPOINTS if os.environ.get(name))


class _Complaints(logging.Handler):
    """Handler that keeps the last complaint of the exporter, which would print each of its trials."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(self)
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.last = record.getMessage()


def join_provider() -> None:
    """Make stages spans of the tracer provider that the program around gristmill has set, once, if it has set one."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None or any(isinstance(meter, SpanMeter) for meter in METERS):
        return
    provider = api.get_tracer_provider()
    if not isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider):
        METERS.append(SpanMeter(provider.get_tracer(_NAME)))

"""A client that the OpenTelemetry SDK instruments, with the propagators of OTEL_PROPAGATORS and the sampler of
OTEL_TRACES_SAMPLER. Prints trace id, span id and parent of each span that the SDK ends, and exports none."""

import sys

import requests
from opentelemetry import trace
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult


class Printer(SpanExporter):
    def export(self, spans):
        for span in spans:
            context = span.get_span_context()
            parent = f"{span.parent.span_id:016x}" if span.parent else "-"
            print(f"{context.trace_id:032x} {context.span_id:016x} {parent}", flush=True)
        return SpanExportResult.SUCCESS


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(Printer()))
trace.set_tracer_provider(provider)
RequestsInstrumentor().instrument()

with trace.get_tracer("client").start_as_current_span("work"):
    for url in sys.argv[1:]:
        requests.get(url, timeout=20).raise_for_status()

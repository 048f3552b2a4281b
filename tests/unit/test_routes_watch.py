"""The endpoints of a process beside its memory."""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from otel_memleak.guard import Guard
from otel_memleak.routes.watch import RouteWatch


def serve(provider: TracerProvider, times: int) -> None:
    tracer = provider.get_tracer("shop")
    for _ in range(times):
        with (
            tracer.start_as_current_span("GET /a", kind=SpanKind.SERVER),
            tracer.start_as_current_span("SELECT", kind=SpanKind.CLIENT),
        ):
            pass


def test_calls_are_those_of_this_process_and_this_watch() -> None:
    """Every entry counts at once, worked off or not; a forked child starts at nothing."""
    provider = TracerProvider()
    watch = RouteWatch(provider, 60.0, Guard())
    watch.start()
    before = watch.requests()
    serve(provider, 300)
    counted = watch.requests()
    watch.observe(0.0, 1)
    settled = watch.requests()
    watch.forget()
    in_child = watch.requests()
    serve(provider, 2)
    later = watch.requests()
    watch.stop()
    serve(provider, 5)
    provider.shutdown()

    assert (before, counted, settled, in_child, later, watch.requests()) == (0, 300, 300, 0, 2, 2)

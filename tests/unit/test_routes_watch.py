"""The endpoints of a process beside its memory."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind

from otel_memleak.guard import Guard
from otel_memleak.routes.watch import RouteWatch
from otel_memleak.types import MB


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


class UnheardSampler:
    """Drops nine of ten, and is nobody's subclass: there is nothing to listen to."""

    def __init__(self) -> None:
        self._turn = 0

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        self._turn += 1
        return (ALWAYS_OFF if self._turn % 10 else ALWAYS_ON).should_sample(*args, **kwargs)

    def get_description(self) -> str:
        return "Unheard"


@pytest.mark.parametrize("sampler", [ParentBased(TraceIdRatioBased(0.1)), UnheardSampler()])
def test_under_sampling_the_ranking_is_right_or_says_that_it_is_approximate(sampler: Any) -> None:
    """Bytes per call hold for every call, or are told as those of a recorded one."""
    provider = TracerProvider(sampler=sampler)
    watch = RouteWatch(provider, 60.0, Guard())
    watch.start()
    tracer = provider.get_tracer("shop")
    rng, leaked = Random(3), 0.0
    for minute in range(40):
        for route in ("GET /a", "GET /b", "GET /c"):
            calls = rng.randrange(20, 400)
            leaked += 5000.0 * calls * (route == "GET /b")
            for _ in range(calls):
                tracer.start_span(route, Context(), SpanKind.SERVER).end()
        watch.observe(60.0 * minute, int(100 * MB + leaked))
    (suspect,) = watch.suspects()
    watch.stop()
    provider.shutdown()

    heard = isinstance(sampler, Sampler)
    assert (suspect.route, suspect.approximate) == ("GET /b", not heard)
    assert suspect.bytes_per_call == pytest.approx(5000.0 if heard else 50_000.0, rel=0.05)

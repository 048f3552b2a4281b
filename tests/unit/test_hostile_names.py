"""Names made to hurt: endless, ever new, not UTF-8. What goes out stays bounded and can be encoded."""

from __future__ import annotations

import gc
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from otel import InMemoryTelemetry
from otel_memleak.diagnosis._resource_reading import _thread_name, callable_name
from otel_memleak.diagnosis.census._kinds import STRUCT
from otel_memleak.diagnosis.census._look import Found
from otel_memleak.diagnosis.census._message import MAX_PAYLOAD_BYTES, decode, encode
from otel_memleak.diagnosis.census._rank import rank
from otel_memleak.diagnosis.census._roots import MODULE
from otel_memleak.diagnosis.census._summary import MAX_ROWS, Summary, summarise
from otel_memleak.diagnosis.census._walk import Walker
from otel_memleak.emission import Alerts, Notice
from otel_memleak.guard import Guard
from otel_memleak.routes.counter import attach
from otel_memleak.routes.names import LONGEST, collapse
from otel_memleak.routes.tally import RouteTally
from otel_memleak.types import Diagnosis, RouteSuspect, Suspect

HOSTILE = ["\udcff\ud800", "a" * 10_000, "\0\n\x1b[31m", "", "é" * 10_000, "\U0010ffff", "\udce9" * 10_000]
hostile = st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=50)


@given(hostile, hostile, hostile, hostile)
def test_a_diagnosis_with_any_names_reaches_the_wire(kind: str, owner: str, site: str, route: str) -> None:
    """One name that cannot be encoded would cost the whole batch, the application's records in it too."""
    telemetry = InMemoryTelemetry()
    alerts = Alerts(("log", "span_event"), telemetry.tracer_provider, telemetry.logger_provider)
    suspects = tuple(Suspect(kind, owner, site, 1e6, 10.0, 0.5) for _ in range(9))
    diagnosis = Diagnosis(
        "id",
        0.0,
        "python",
        suspects,
        (RouteSuspect(route, 9.0, 8.0, 10.0),) * 9,
        advice=owner * 3,
        limits=site,
    )

    with telemetry.tracer_provider.get_tracer("app").start_as_current_span("request", kind=SpanKind.SERVER):
        alerts.watch_spans()
        alerts.send(Notice.of_diagnosis(diagnosis, 1.0))
    records, spans = encode_logs(telemetry.logs()), encode_spans(telemetry.spans())
    telemetry.shutdown()

    assert len(telemetry.logs()) == 1
    assert records.ByteSize() < 64 * 1024
    assert spans.ByteSize() < 64 * 1024


@given(hostile, st.text(max_size=2000))
def test_what_comes_late_in_a_name_is_not_looked_at(start: str, rest: str) -> None:
    """The sender of a request chooses how long its path is, not how long we are busy with it."""
    name = (start + "-a1" * LONGEST)[:LONGEST]

    assert collapse(name + rest) == collapse(name)
    assert len(collapse(name)) <= 120


def held_bytes(*roots: Any) -> int:
    """Shallow size of everything reached through plain containers and instances."""
    seen: set[int] = set()
    todo, total = list(roots), 0
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(
            thing, type | types.ModuleType | types.FunctionType | TracerProvider
        ):
            continue
        seen.add(id(thing))
        total += sys.getsizeof(thing)
        todo.extend(gc.get_referents(thing))
    return total


def served(tracer: Any, names: Iterator[str]) -> None:
    for name in names:
        tracer.start_span(name, kind=SpanKind.SERVER).end()


def test_ever_new_span_names_take_no_more_room() -> None:
    """A service that puts an identifier into every span name is counted in the room of one that does not."""
    provider, tally = TracerProvider(shutdown_on_exit=False), RouteTally()
    counter = attach(provider, Guard(), tally)
    assert counter is not None
    counter.enabled = True
    tracer = provider.get_tracer("app")

    served(tracer, (f"GET /x{n}y/" + "z" * 10_000 for n in range(2_000)))
    early = held_bytes(tally, counter._endings, counter._begun, counter._steps)
    served(tracer, (f"GET /x{n}y/" + "z" * 10_000 for n in range(2_000, 8_000)))
    late = held_bytes(tally, counter._endings, counter._begun, counter._steps)
    counter.enabled = False

    assert tally.total() == 8_000
    assert len(tally.counts()) <= 33
    assert max(map(len, tally.counts())) <= 120
    assert late < 1.2 * early
    assert late < 1_000_000


@pytest.mark.parametrize("name", HOSTILE)
def test_any_span_name_is_counted(name: str) -> None:
    """Counting happens in the request path: nothing is raised there, whatever the span is called."""
    provider, tally = TracerProvider(shutdown_on_exit=False), RouteTally()
    counter = attach(provider, Guard(), tally)
    assert counter is not None
    counter.enabled = True
    attributes = {"http.route": name, "http.request.method": name}
    provider.get_tracer("app").start_span(name, kind=SpanKind.SERVER, attributes=attributes).end()
    provider.get_tracer("app").start_span(name, kind=SpanKind.CONSUMER).end()
    counter.enabled = False

    assert tally.total() == 2


def heap(size: int, *, name: str = "bomb") -> Walker:
    """A module that holds one object of each of many types, all with names made to hurt."""
    walker = Walker(may_peek=False)
    node = walker.root.child(name, MODULE, STRUCT)
    table = [
        # A type's own name has to be UTF-8 without NUL; what it says its module is, can be anything.
        type(f"T{n}" + "é" * 10_000, (), {"__module__": HOSTILE[n % len(HOSTILE)] * 3})()
        for n in range(size)
    ]
    for thing in table:
        vars(thing)["x" * 10_000] = vars(thing)["\udcff"] = vars(thing)["a\nb"] = [bytearray(10)]
    walker.add_global(node, ".table", table)
    for _ in walker.run():
        pass
    return walker


def test_ever_new_types_make_no_larger_census() -> None:
    """Types beyond those that are told apart are counted together; a census fits its message."""
    early, late = heap(1_000), heap(2_200)
    first, second = summarise(early.root, 0.0, complete=True), summarise(late.root, 3600.0, complete=True)
    suspects = rank([first, second], 1e6)
    found = Found(second, 1, 1, suspects, "")

    census = decode(encode(found), 3600.0)

    assert len(second.rows) <= MAX_ROWS
    assert len(second.encode()) <= MAX_PAYLOAD_BYTES
    assert Summary.decode(census.summary) is not None
    assert census.suspects
    assert all(len(text) <= 500 for s in census.suspects for text in (s.type, s.owner, s.site))


class _Nameless:
    """Something that must never be asked what it is called."""

    def __str__(self) -> str:
        raise AssertionError("the application's code was run")

    __repr__ = __format__ = __str__  # type: ignore[assignment]


def test_a_function_with_no_text_for_a_name_is_not_asked() -> None:
    """Whatever somebody assigns to ``__module__`` is neither formatted nor told."""

    def work() -> None:
        """Does none."""

    work.__module__ = _Nameless()  # type: ignore[assignment]

    assert callable_name(work).startswith("?:")


@pytest.mark.parametrize("name", HOSTILE)
def test_threads_are_counted_by_what_they_run(name: str) -> None:
    """Names given to threads may be data: they are not told."""
    thread = threading.Thread(target=test_threads_are_counted_by_what_they_run, name=name)

    assert _thread_name(thread) == f"{__name__}:test_threads_are_counted_by_what_they_run"

"""Shared by every test: nothing swallowed stays hidden, nothing global stays behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from otel import InMemoryTelemetry
from otel_memleak import guard
from otel_memleak.instrumentor import MemLeakInstrumentor
from otel_memleak.ticker import THREAD_NAME

# A deadline would make a test of the machine's load; `make fuzz` asks for the second profile.
settings.register_profile("suite", deadline=None)
settings.register_profile(
    "fuzz", deadline=None, max_examples=int(os.environ.get("FUZZ_EXAMPLES", "3000")),
    suppress_health_check=list(HealthCheck), print_blob=True,
)  # fmt: skip
settings.load_profile("suite")

for _name in ("SIGINT", "SIGQUIT", "SIGHUP"):
    # A shell ignores the first two for what it runs in the background, nohup the last, and every program
    # started here would inherit that.
    if signal.getsignal(_number := getattr(signal, _name, signal.SIGINT)) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _name == "SIGINT" else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _reraise_swallowed_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "reraise", True)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    instrumentor = MemLeakInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    left = [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]
    assert left == []


@pytest.fixture
def telemetry() -> Iterator[InMemoryTelemetry]:
    """Providers of the real SDK whose output stays in memory."""
    telemetry = InMemoryTelemetry()
    yield telemetry
    telemetry.shutdown()

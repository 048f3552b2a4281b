"""Sub-interpreters, made and ended as an embedding server does it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

WATCHES = """
import sys, threading
sys.path[:] = {path!r}
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otel_memleak import MemLeakInstrumentor

reader = InMemoryMetricReader()
provider = MeterProvider(metric_readers=[reader])
instrumentor = MemLeakInstrumentor()
instrumentor.instrument(meter_provider=provider, sampling_interval=20)
pause = threading.Event()
for _ in range(500):
    data = reader.get_metrics_data() if instrumentor._standby is not None else None
    metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
    if metrics or instrumentor._standby is None:
        break
    pause.wait(0.02)
print("watched" if any(m.name == "memleak.process.rss" for m in metrics) else "refused", flush=True)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None, reason="this CPython lacks its test module"
)
def test_one_that_shares_the_gil_watches_and_ends() -> None:
    """As under mod_wsgi: the watch works there, its thread ends with the interpreter, and the host lives on.

    A daemon thread that is still there when the interpreter ends is fatal to the whole process.
    """
    code = f"""
import _testcapi
for _ in range(2):
    print(_testcapi.run_in_subinterp({WATCHES.format(path=sys.path)!r}), flush=True)
print("the host lives on")
"""
    done = run(code)

    assert done.stdout.splitlines() == ["watched", "0", "watched", "0", "the host lives on"], done.stderr
    assert done.returncode == 0


@pytest.mark.skipif(sys.version_info < (3, 13), reason="the SDK does not work in isolated ones before 3.13")
def test_an_isolated_one_is_refused_and_the_host_lives_on() -> None:
    """No daemon threads are allowed there: one line says so, and nothing is left half started."""
    code = f"""
import _interpreters
interpreter = _interpreters.create("isolated")
failed = _interpreters.exec(interpreter, {WATCHES.format(path=sys.path)!r})
print(failed)
_interpreters.destroy(interpreter)
print("the host lives on")
"""
    done = run(code)

    assert done.stdout.splitlines() == ["refused", "None", "the host lives on"], done.stderr
    assert done.stderr.count("otel_memleak does not watch from a sub-interpreter") == 1
    assert done.returncode == 0

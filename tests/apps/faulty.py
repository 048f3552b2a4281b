"""Brings a fault on itself while it is being watched, and prints what became of the watch as JSON.

python faulty.py idle|emfile|address-space|memory-error|clock|stopped|slow-alert|exit-in-census|in-census|
    quit-in-callback|hang-in-callback|disk FOLDER
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from otel_memleak import LeakAlert, MemLeakInstrumentor

QUICK: dict[str, Any] = {"sampling_interval": 20, "baseline_window": 200, "patience": 1000}
ALARM: dict[str, Any] = {"rss_warning": 1, "rss_critical": 0}
QUIET: dict[str, Any] = {"rss_warning": 0, "rss_critical": 0}
DEADLINE_S = 30.0


def engine() -> Any:
    standby = MemLeakInstrumentor()._standby
    return standby.load() if standby is not None else None


def wait_for(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.005)


def samples() -> int:
    return engine().status.samples if engine() is not None and engine().status is not None else 0


def wait_for_samples(count: int = 5) -> None:
    begun = samples()
    wait_for(lambda: samples() >= begun + count)


def report(**more: object) -> None:
    status = engine().status
    print(json.dumps({"samples": status.samples, "rss": status.sample.rss_bytes, "errors": engine().swallowed_errors,
                      "state": status.state, **more}), flush=True)  # fmt: skip


def idle() -> None:
    """Nothing wrong here: the endpoint is what fails."""
    wait_for_samples(20)
    report()


def emfile() -> None:
    """Every descriptor is taken for a while."""
    wait_for_samples()
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    wait_for(lambda: engine().status.sample.rss_bytes is None)
    blind = engine().swallowed_errors
    for descriptor in taken:
        os.close(descriptor)
    wait_for(lambda: engine().status.sample.rss_bytes)
    report(blind=blind)


def address_space() -> None:
    """The process runs into its own RLIMIT_AS, as the application does, and gets out again."""
    wait_for_samples()
    with open("/proc/self/statm", "rb") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, resource.RLIM_INFINITY))
    refused = 0
    for _ in range(100):
        try:
            bytearray(2**26)
        except MemoryError:
            refused += 1
        wait_for_samples(1)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_for_samples()
    report(refused=refused)


def memory_error() -> None:
    """There is no memory for a sample, a hundred times over."""
    wait_for_samples()
    watched, read = engine(), engine()._sampler._rss_bytes
    left = [100]

    def refuse() -> int:
        left[0] -= 1
        raise MemoryError

    watched._sampler._rss_bytes = refuse
    wait_for(lambda: left[0] <= 0)
    watched._sampler._rss_bytes = read
    wait_for(lambda: engine().status.sample.rss_bytes)
    report()


def clock() -> None:
    """The wall clock steps a day forwards and two back (NTP, an operator) between samples."""
    real, step_s = time.time, [0.0]
    time.time = lambda: real() + step_s[0]  # type: ignore[assignment]
    wait_for_samples()
    times = []
    for step_s[0] in (86_400.0, -86_400.0, 0.0):
        wait_for_samples()
        times.append(engine().status.sample.time_s)
    report(steps=[later - earlier for earlier, later in pairwise(times)])


def stopped() -> None:
    """SIGSTOP for a hundred intervals: what was missed is not made up for."""
    wait_for_samples(20)
    if (pid := os.fork()) == 0:
        os.kill(os.getppid(), signal.SIGSTOP)
        time.sleep(2.0)
        os.kill(os.getppid(), signal.SIGCONT)
        os._exit(0)
    before = samples()
    os.waitpid(pid, 0)
    missed = samples() - before
    wait_for_samples(20)
    report(missed=missed)


class Hanging(SpanExporter):
    """A backend that never answers."""

    def export(self, spans: Any) -> SpanExportResult:
        names = [span.name for span in spans if isinstance(span, ReadableSpan)]
        if "memleak.rss" in names:
            print("alerting", flush=True)
            threading.Event().wait(DEADLINE_S)
        return SpanExportResult.SUCCESS


def slow_alert() -> None:
    """Hangs on the sampling thread in the middle of sending an alert, until the test sends a signal."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(Hanging()))
    MemLeakInstrumentor().uninstrument()
    MemLeakInstrumentor().instrument(**{**QUICK, **ALARM}, tracer_provider=provider)
    time.sleep(DEADLINE_S)


def exit_in_census() -> None:
    """Ends while the heap is being looked at in a copy."""
    from otel_memleak.diagnosis.census import CensusBudget, _child, take_census

    _heap = [[number] for number in range(300_000)]
    wait_for_samples(1)
    started, copies = threading.Event(), []
    opened = _child.open_pid_fd

    def forked(pid: int) -> int:
        copies.append(pid)
        started.set()
        return opened(pid)

    _child.open_pid_fd = forked
    threading.Thread(target=take_census, args=(CensusBudget(), 0.0), daemon=True).start()
    assert started.wait(DEADLINE_S)
    report(copy=copies[0])


def in_census() -> None:
    """The same, until somebody ends it."""
    exit_in_census()
    time.sleep(DEADLINE_S)


def hang_in_callback() -> None:
    """The callback never comes back; samples are taken, the next alert waits for it, and the program ends."""
    heard = threading.Event()

    def on_alert(alert: LeakAlert) -> None:
        heard.set()
        threading.Event().wait()

    MemLeakInstrumentor().uninstrument()
    MemLeakInstrumentor().instrument(**{**QUICK, **ALARM}, on_alert=on_alert)
    assert heard.wait(DEADLINE_S)
    wait_for_samples(20)
    report()


def quit_in_callback() -> None:
    """The callback switches the watch off and raises; the next watch works."""
    heard = threading.Event()

    def on_alert(alert: LeakAlert) -> None:
        MemLeakInstrumentor().uninstrument()
        heard.set()
        raise RuntimeError(alert.event)

    MemLeakInstrumentor().uninstrument()
    MemLeakInstrumentor().instrument(**{**QUICK, **ALARM}, on_alert=on_alert)
    assert heard.wait(DEADLINE_S)
    wait_for(lambda: engine() is None)
    MemLeakInstrumentor().instrument(**{**QUICK, **QUIET})
    wait_for_samples()
    report()


def disk() -> None:
    """The state file's file system, a small one of its own, is full and then read-only from its first sample on."""
    folder = sys.argv[2]
    MemLeakInstrumentor().uninstrument()
    ballast = os.path.join(folder, "ballast")
    with open(ballast, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    full = errors_while_keeping(os.path.join(folder, "state.json"))
    os.unlink(ballast)
    wait_for_samples(20)
    MemLeakInstrumentor().uninstrument()
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    read_only = errors_while_keeping(os.path.join(folder, "other.json"))
    report(full=full, read_only=read_only)


def errors_while_keeping(state_file: str) -> int:
    """Begin to keep what is known in this file; how often that has failed when twenty samples are taken."""
    MemLeakInstrumentor().instrument(**{**QUICK, **QUIET}, state_file=state_file)
    wait_for_samples(20)
    wait_for(lambda: engine().swallowed_errors)
    return int(engine().swallowed_errors)


if __name__ == "__main__":
    MemLeakInstrumentor().instrument(**{**QUICK, **QUIET})
    globals()[sys.argv[1].replace("-", "_")]()

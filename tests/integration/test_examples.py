"""The examples do what their READMEs say: the leak is found within a minute, the fixed twin stays silent.

All of them run at the same time, each in processes of its own, against one embedded receiver.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from otel_memleak.cli import _launch
from otel_memleak.cli.receiver import LogRecord, OtlpReceiver

EXAMPLES = Path(__file__).parents[2] / "examples"
FOUND_WITHIN_S = 60.0
SILENT_FOR_S = 35.0
DISABLED = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "memleak"}


@dataclass
class Running:
    """The examples, their output, and what they exported."""

    receiver: OtlpReceiver
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)

    def leaks(self, service: str) -> list[LogRecord]:
        return [r for r in self.receiver.logs("memleak.leak") if r.process.service == service]

    def output(self, service: str) -> str:
        return self.logs[service].read_text(encoding="utf-8")

    def start(self, service: str, folder: str, *command: str, env: dict[str, str] | None = None) -> None:
        environment = _launch.environment(
            {**os.environ, **(env or {})},
            self.receiver,
            defaults=_launch.short_intervals(0.25),
            service_name=service,
        )
        with self.logs[service].open("wb") as log:
            self.processes[service] = subprocess.Popen(
                command, cwd=EXAMPLES / folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """Starts everything, and hands it over once the leaks are found and the silent ones had time to speak."""
    launcher, python = _launch.launcher(), sys.executable
    services = [f"{name}{twin}" for name in ("fastapi", "manual", "asyncio") for twin in ("", "-fixed")]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        receiver = stack.enter_context(OtlpReceiver(("http/protobuf",), prefix="memleak."))
        running = Running(receiver, logs={name: folder / name for name in [*services, "load", "load-fixed"]})
        stack.callback(stop_all, running)
        for module, twin in (("app", ""), ("fixed", "-fixed")):
            flags = ["--fixed"] if twin else []
            port = str(free_port())
            uvicorn = [launcher, python, "-m", "uvicorn", f"{module}:app", "--port", port]
            running.start(f"fastapi{twin}", "fastapi_cache", *uvicorn)
            visit = [python, "../load.py", f"http://127.0.0.1:{port}", "/quotes/ACME?visitor={n}"]
            # With the usual pause one alert in a hundred comes when no request is in flight.
            running.start(f"load{twin}", "fastapi_cache", *visit, "--pause", "0.02")
            running.start(f"manual{twin}", "manual", python, "app.py", *flags)
            running.start(
                f"asyncio{twin}", "asyncio_worker", launcher, python, "app.py", *flags, env=DISABLED
            )
        started_s = time.monotonic()
        with suppress(TimeoutError):  # which of them was not found is for the tests to say
            receiver.wait_for(
                lambda: all(running.leaks(name) for name in ("fastapi", "manual", "asyncio")), FOUND_WITHIN_S
            )
        time.sleep(max(0.0, started_s + SILENT_FOR_S - time.monotonic()))
        yield running


def stop_all(running: Running) -> None:
    for process in running.processes.values():
        process.terminate()
    for process in running.processes.values():
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.parametrize("service", ["fastapi", "manual", "asyncio"])
def test_the_leak_is_found(running: Running, service: str) -> None:
    """Within a minute the leaking example has said so, with a rate near the one it leaks at."""
    leaks = running.leaks(service)

    assert leaks, f"{running.receiver.summary()}\n{running.output(service)}"
    rate_kib_s = float(str(leaks[0].attributes["memleak.growth.rate"])) / 3600 / 1024
    assert 100 < rate_kib_s < 1000


@pytest.mark.parametrize("service", ["fastapi-fixed", "manual-fixed", "asyncio-fixed"])
def test_the_fixed_twin_stays_silent(running: Running, service: str) -> None:
    """The same load on the fixed example is watched just as closely, and nothing is said."""
    (process,) = [p for p in running.receiver.processes() if p.service == service]
    samples = running.receiver.metrics("memleak.process.rss", process=process)

    assert running.receiver.logs(process=process) == []
    assert samples[-1].time_unix_ns - samples[0].time_unix_ns > 15e9, running.output(service)


def test_the_alert_is_seen_inside_the_requests(running: Running) -> None:
    """The FastAPI example's alert is on the request spans in flight, under the same id as the log record."""
    ids = {leak.attributes["memleak.alert.id"] for leak in running.leaks("fastapi")}

    def marked() -> set[str]:
        return {
            span.name
            for span in running.receiver.spans()
            if span.process.service == "fastapi"
            for event in span.events
            if event.name == "memleak.leak" and event.attributes["memleak.alert.id"] in ids
        }

    names = running.receiver.wait_for(lambda: len(found := marked()) > 1 and found, 10)
    assert "memleak.leak" in names
    assert any(name.startswith("GET /quotes") for name in names)


def test_callbacks_are_called(running: Running) -> None:
    """A function is called on a thread of its own; a coroutine in the loop, where it ends the worker."""
    assert running.processes["asyncio"].wait(20) == 3
    assert re.search(r"critical: memleak\.leak, [\d,]+ MB/h, growth", running.output("manual"))
    assert "critical: memleak.leak" in running.output("asyncio")
    assert re.search(r"restart wanted: \d+ results kept, [\d,]+ MB/h", running.output("asyncio"))


@pytest.mark.parametrize("folder", sorted(p.name for p in EXAMPLES.iterdir() if p.is_dir()))
def test_every_example_explains_itself(folder: str) -> None:
    """What leaks, what one will see, how to fix it."""
    text = (EXAMPLES / folder / "README.md").read_text(encoding="utf-8")

    for heading in ("**What leaks.**", "**See it.**", "**Fix it.**"):
        assert heading in text
    for name in re.findall(r"\(([\w.]+\.py)\)", text):
        assert (EXAMPLES / folder / name).is_file()

"""What goes wrong around a process: the watch survives it, says so at most once, and is in nobody's way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from processes import APPS, LAUNCHER, QUICK, Service, environment

FAULTY = str(APPS / "faulty.py")
TIMEOUT_S = 60
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs procfs, signals and rlimits")


def run(kind: str, *arguments: str, **variables: str) -> tuple[dict[str, Any], str]:
    """The report of one program that ended by itself, and what it wrote to standard error."""
    result = subprocess.run(
        [sys.executable, FAULTY, kind, *arguments], env=environment(**variables), capture_output=True, text=True,
        timeout=TIMEOUT_S,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return json.loads(result.stdout.splitlines()[-1]), result.stderr


@needs_linux
def test_no_descriptor_left_means_no_reading_until_there_is_one() -> None:
    """EMFILE is said once and counted; the watch neither ends nor guesses, and goes on afterwards."""
    report, said = run("emfile")

    assert report["errors"] >= report["blind"] >= 1
    assert said.count("otel_memleak failed while reading the resident set size") == 1
    assert report["rss"] > 1_000_000


@needs_linux
def test_an_address_space_that_is_used_up_is_the_applications_problem_only() -> None:
    """Under RLIMIT_AS the application's allocations fail as they would without us; the samples go on."""
    report, _ = run("address-space")

    assert report["refused"] == 100
    assert report["rss"] > 1_000_000


def test_no_memory_for_a_sample_costs_the_sample() -> None:
    """A MemoryError inside is counted, a hundred times, and said once."""
    report, said = run("memory-error")

    assert report["errors"] >= 100
    assert said.count("MemoryError") == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[str]:
    """A file system of 64 KB; only root can have one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield str(tmp_path)
    subprocess.run(["umount", str(tmp_path)], check=True)


@needs_linux
@pytest.mark.skipif(shutil.which("mount") is None, reason="needs a real file system to fill")
def test_a_disk_that_is_full_or_read_only_costs_the_state_file_only(small_disk: str) -> None:
    """Each is said once and the samples go on; when there is room again the file is whole."""
    report, said = run("disk", small_disk)

    assert report["full"] >= 1
    assert report["read_only"] >= 1
    assert said.count("No space left on device") == said.count("Read-only file system") == 1
    assert json.loads((Path(small_disk) / "state.json").read_text())
    assert sorted(os.listdir(small_disk)) == ["state.json", "state.json.lock"]


def test_the_wall_clock_may_step() -> None:
    """Samples carry time that goes on steadily, whatever NTP or an operator does to the clock."""
    report, _ = run("clock")

    assert all(0 < step < 60 for step in report["steps"]), report
    assert report["errors"] == 0


@needs_linux
def test_a_stopped_process_takes_up_where_it_left() -> None:
    """SIGSTOP and SIGCONT: the hundred samples that were missed are not made up for in a burst."""
    report, _ = run("stopped")

    assert report["missed"] < 50
    assert report["state"] in ("warming_up", "stable")


def test_a_callback_may_switch_the_watch_off_and_raise() -> None:
    """From inside on_alert, with the next watch none the worse."""
    report, said = run("quit-in-callback")

    assert said.count("otel_memleak failed while calling on_alert") == 1
    assert report["errors"] == 0


def test_a_callback_that_never_returns_stops_neither_sampling_nor_the_program() -> None:
    """Somebody's pager hangs: the watch goes on, and exit does not wait for it."""
    report, _ = run("hang-in-callback")

    assert report["samples"] >= 20
    assert report["errors"] == 0


@needs_linux
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_an_alert_ends_the_process(sig: signal.Signals) -> None:
    """The sampling thread hangs in somebody's exporter; the process ends by the signal all the same."""
    with subprocess.Popen(
        [sys.executable, FAULTY, "slow-alert"], env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "alerting\n"
        process.send_signal(sig)
        assert process.wait(TIMEOUT_S / 3) == -sig


@needs_linux
def test_a_program_may_end_while_its_heap_is_being_looked_at() -> None:
    """The copy dies with it: no orphan goes on, and the end is not held up."""
    with subprocess.Popen(
        [sys.executable, FAULTY, "exit-in-census"], env=environment(), stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        output, _ = process.communicate(timeout=TIMEOUT_S / 3)
    assert process.returncode == 0
    copy = (
        psutil.Process(json.loads(output)["copy"]) if psutil.pid_exists(json.loads(output)["copy"]) else None
    )
    if copy is not None and copy.status() != psutil.STATUS_ZOMBIE:
        copy.wait(TIMEOUT_S / 3)


@needs_linux
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_a_program_may_be_killed_while_its_heap_is_being_looked_at(sig: signal.Signals) -> None:
    """Also where nobody can clean up: the copy does not outlive the original."""
    with subprocess.Popen(
        [sys.executable, FAULTY, "in-census"], env=environment(), stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        pid = json.loads(process.stdout.readline())["copy"]
        copy = psutil.Process(pid) if psutil.pid_exists(pid) else None
        process.send_signal(sig)
        assert process.wait(TIMEOUT_S / 3) == -sig
    if copy is not None and copy.is_running() and copy.status() != psutil.STATUS_ZOMBIE:
        copy.wait(TIMEOUT_S / 3)


STOPPED_S = 65
"""Longer than any interval there is, and than the exporters' timeouts."""


@needs_linux
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_minute_of_standstill_is_no_news() -> None:
    """SIGSTOP for over a minute (a debugger, a frozen container): no false alarm, no burst, and leaks are found.

    The program makes up for all requests that it missed, at once; the watch makes up for nothing.
    """
    with Service("service.py", "healthy", "400") as healthy:
        # Its cache has to be full by then: that the rest of a warm-up comes in one leap is another matter.
        healthy.receiver.wait_for(lambda: exports(healthy) >= 30, TIMEOUT_S)
        with Service("service.py", "leaky", "400") as leaky:
            leaky.receiver.wait_for(lambda: exports(leaky) >= 8, TIMEOUT_S)
            stand_still(healthy, leaky)


def exports(service: Service) -> int:
    """How often its resident memory has been exported."""
    return len(service.receiver.metrics("memleak.process.rss"))


def stand_still(healthy: Service, leaky: Service) -> None:
    """Stop both for more than a minute, let them go on for half a minute, and see what was said."""
    for service in (healthy, leaky):
        os.kill(service.process.pid, signal.SIGSTOP)
    told_before = len(leaky.receiver.logs("memleak.leak"))
    threading.Event().wait(STOPPED_S)
    for service in (healthy, leaky):
        os.kill(service.process.pid, signal.SIGCONT)
    leaky.receiver.wait_for(lambda: leaky.receiver.logs("memleak.leak"), TIMEOUT_S)
    threading.Event().wait(30)

    assert told_before == 0, "it was to be stopped before the verdict"
    alert_ids = {log.attributes["memleak.alert.id"] for log in leaky.receiver.logs("memleak.leak")}
    assert len(alert_ids) == 1
    assert not healthy.receiver.logs("memleak.rss")
    assert samples_per_second(healthy) < 1.2 * 4
    for service in (healthy, leaky):
        assert service.finish(signal.SIGTERM) == -signal.SIGTERM
        assert "otel_memleak failed" not in service.output
    assert [log.body for log in healthy.receiver.logs("memleak.leak")] == []


def samples_per_second(service: Service) -> float:
    """Since the first export, standstill included: what was missed and made up for would be in it."""
    points = service.receiver.metrics("memleak.process.rss.distribution")
    first, last = points[0], points[-1]
    assert first.distribution is not None
    assert last.distribution is not None
    seconds = (last.time_unix_ns - first.time_unix_ns) / 1e9 - STOPPED_S
    return (last.distribution.count - first.distribution.count) / seconds


class _Refusing(BaseHTTPRequestHandler):
    status = 503

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@contextmanager
def answering(status: int) -> Iterator[str]:
    """An HTTP server that says no."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Refusing,), {"status": status}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def endpoint(kind: str) -> Iterator[dict[str, str]]:
    """The exporter's variables for an endpoint that fails in the given way."""
    protocol = "grpc" if kind == "wrong-protocol" else "http/protobuf"
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # accepts in the kernel, never answers
        closed = "http://127.0.0.1:1"
        silent = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        with answering(int(kind) if kind.isdigit() else 400) as refusing:
            url = {"absent": "http://no-such-host.invalid:4318", "closed": closed, "hanging": silent}
            yield {
                "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_TIMEOUT": "2000",
                "OTEL_EXPORTER_OTLP_ENDPOINT": url.get(kind, refusing),
            }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["absent", "closed", "hanging", "429", "503", "wrong-protocol"])
def test_an_endpoint_that_fails_is_no_business_of_the_watch(kind: str) -> None:
    """Samples are taken at their pace, nothing of ours fails, and the program ends with its own status."""
    with endpoint(kind) as exporting:
        result = subprocess.run(
            [LAUNCHER, sys.executable, FAULTY, "idle"], env=environment(**{**QUICK, **exporting}),
            capture_output=True, text=True, timeout=TIMEOUT_S,
        )  # fmt: skip

    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["samples"] >= 20
    assert report["errors"] == 0
    assert "otel_memleak failed" not in result.stderr

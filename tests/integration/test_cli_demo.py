"""``otel-memleak demo``, whole: two services, the ordinary exporter, the embedded receiver, the verdict."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

DEMO = [sys.executable, "-m", "otel_memleak", "demo", "--plain"]
SERVICE = "otel_memleak.cli._demo_service"


def services_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children() if SERVICE in child.cmdline()]


def start(*arguments: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Starts a demo and waits until both services have reported."""
    demo = subprocess.Popen([*DEMO, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert demo.stdout is not None
    seen: set[str] = set()
    while len(seen) < 2:
        line = demo.stdout.readline()
        assert line, "the demo ended before its services reported"
        seen |= set(re.findall(r"^(shop\S*) \(pid \d+\)", line))
    return demo, services_of(psutil.Process(demo.pid))


def test_the_leak_is_found_and_the_healthy_twin_is_not_accused(tmp_path: Path) -> None:
    """The promise of the first screen: in its minute the demo shows the alert as it came over the wire."""
    report = tmp_path / "demo.html"
    hostile = {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://example.invalid:1"}
    done = subprocess.run(
        [*DEMO, "--report", str(report)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, **hostile},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"^LEAK FOUND in shop \(pid \d+\); shop-healthy \(pid \d+\) stayed quiet$", done.stdout, re.M
    )
    assert re.search(
        r"memleak\.leak: RSS grew [\d,.]+ MB/h for .* to the 512 MB configured limit", done.stdout
    )
    assert re.search(r"id \w+, received as log record, span event on its own root span", done.stdout)
    assert re.search(r"span event on \d of the application's spans \(GET /products\)", done.stdout)
    assert "time to limit" in done.stdout
    page = report.read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "memleak.leak" in page


def test_no_alert_in_time_is_a_failure_that_explains_itself() -> None:
    """When the demo does not work on a machine, it says what arrived and what the services printed."""
    done = subprocess.run([*DEMO, "--seconds", "2"], capture_output=True, text=True, check=False, timeout=100)

    assert done.returncode == 1
    assert "no leak was reported within 2 s. Received: " in done.stdout
    assert "Output of the services:" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_nothing_outlives_the_demo(number: signal.Signals, status: int) -> None:
    """However the demo ends, its services end with it: a leaking orphan would be a bad souvenir."""
    demo, services = start()
    assert len(services) == 2

    demo.send_signal(number)
    demo.communicate(timeout=60)
    # Exporters left to themselves would go on looking for the receiver for half a minute.
    _, alive = psutil.wait_procs(services, timeout=15)
    for service in alive:
        service.kill()

    assert alive == []
    assert demo.returncode == status

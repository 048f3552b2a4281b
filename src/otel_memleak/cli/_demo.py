"""``otel-memleak demo``: see a leaking service found out, within a minute.

Two copies of a small HTTP service are started as processes of their own under opentelemetry-instrument:
one keeps every page it has rendered, its healthy twin a bounded number. Both export with the ordinary OTLP
exporter to a receiver inside this process. No network, no collector, no account.

Exit status: 0 the leak was reported and the healthy twin was not accused, 1 otherwise, 2 the demo cannot be
started here.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from otel_memleak.cli import _launch, _text
from otel_memleak.cli._arguments import positive_number
from otel_memleak.cli._picture import Picture, pictures
from otel_memleak.cli._run import check_writable
from otel_memleak.cli._views import Lines, PlainView, View, can_be_live
from otel_memleak.cli.receiver import OtlpReceiver

LEAKY: Final = "shop"
HEALTHY: Final = "shop-healthy"
_MEMORY_LIMIT_MB: Final = 512
_SAMPLING_INTERVAL_S: Final = 0.25
_LOOK_EVERY_S: Final = 0.25
_LINE_EVERY_S: Final = 4.0
_LAST_SIGNALS_S: Final = 2.0
_SPANS_AFTER_S: Final = 20.0
"""A machine with much else to do may need so long to send what is on spans."""
_STOP_S: Final = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``demo``."""
    parser.add_argument(
        "--seconds", type=positive_number, default=60.0, help="give up after so many (default: 60)"
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, no live screen")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="keep the picture in a file")


def run(options: argparse.Namespace) -> int:
    """Runs both services until the leak has been reported.

    Returns:
        0 the leak was reported and the healthy twin was not accused, 1 otherwise, 2 it could not be started.
    """
    lines = Lines(sys.stdout)
    try:
        launcher = _launch.launcher()
        if options.report:
            check_writable(options.report)
        with OtlpReceiver(("grpc",), prefix="memleak.") as receiver:
            outcome = _watch(launcher, options, receiver, lines)
            found = _leaky_first(pictures(receiver))
    except _launch.LaunchError as error:
        lines.print(str(error))
        return error.status
    except OSError as error:
        lines.print(f"{error.filename or 'receiver'}: {error.strerror or error}")
        return 2
    _conclude(outcome, found, options, lines)
    return 0 if outcome.success else 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the demo ended.

    Attributes:
        success: The leak was reported, and the healthy twin was not accused.
        sentence: What happened, for people.
    """

    success: bool
    sentence: str


def judge(found: Sequence[Picture], since_leak_s: float) -> Outcome | None:
    """Decides from what has arrived whether the demo is over; None while it is not.

    Args:
        found: Both services, as far as they have been heard of.
        since_leak_s: Seconds since the leak's log record arrived; its spans follow a little later.
    """
    by_service = {picture.process.service: picture for picture in found}
    leaky, healthy = by_service.get(LEAKY), by_service.get(HEALTHY)
    if healthy is not None and healthy.leaks:
        return Outcome(False, f"FALSE ALARM: the healthy twin was accused: {healthy.leaks[0].body}")
    if leaky is None or healthy is None or not leaky.leaks or since_leak_s < _LAST_SIGNALS_S:
        return None
    if not leaky.leaks[0].on_spans:
        if since_leak_s < _SPANS_AFTER_S:
            return None
        return Outcome(False, "the leak arrived as a log record, but on no span")
    return Outcome(True, f"LEAK FOUND in {leaky.name}; {healthy.name} stayed quiet")


def _watch(launcher: str, options: argparse.Namespace, receiver: OtlpReceiver, lines: Lines) -> Outcome:
    with ExitStack() as stack:
        services = [
            stack.enter_context(_service(launcher, receiver, LEAKY)),
            stack.enter_context(_service(launcher, receiver, HEALTHY, "--healthy")),
        ]
        view = stack.enter_context(closing(_view(options, lines)))
        return _follow(services, view, receiver, options.seconds)


def _follow(services: Sequence[_Service], view: View, receiver: OtlpReceiver, seconds: float) -> Outcome:
    start_s = time.monotonic()
    leak_seen_s: float | None = None
    while (now_s := time.monotonic()) - start_s < seconds:
        found = _leaky_first(pictures(receiver))
        view.update(found)
        if leak_seen_s is None and any(p.leaks for p in found):
            leak_seen_s = now_s
        outcome = judge(found, 0.0 if leak_seen_s is None else now_s - leak_seen_s)
        if outcome is not None:
            return outcome
        for service in services:
            if service.process.poll() is not None:
                return Outcome(False, f"{service.name} ended by itself; its output:\n{service.output()}")
        time.sleep(_LOOK_EVERY_S)
    output = "\n".join(f"{service.name}: {service.output()}" for service in services)
    return Outcome(
        False,
        f"no leak was reported within {seconds:g} s. Received: {receiver.summary()}\n"
        f"Output of the services:\n{output}",
    )


def _leaky_first(found: Sequence[Picture]) -> list[Picture]:
    return sorted(found, key=lambda picture: picture.process.service != LEAKY)


@dataclass(frozen=True, slots=True)
class _Service:
    name: str
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def output(self) -> str:
        """What it has printed, for when something went wrong."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace").strip() or "(none)"


@contextmanager
def _service(
    launcher: str, receiver: OtlpReceiver, name: str, *arguments: str
) -> Generator[_Service, None, None]:
    """Runs one copy of the service for the duration of a block."""
    env = _launch.environment(
        _without_telemetry_settings(os.environ),
        receiver,
        defaults={
            **_launch.short_intervals(_SAMPLING_INTERVAL_S),
            "OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT": str(_MEMORY_LIMIT_MB),
        },
        service_name=name,
        protocol="grpc",
    )
    command = [launcher, sys.executable, "-m", "otel_memleak.cli._demo_service", *arguments]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            yield _Service(name, process, log)
        finally:
            _stop(process)


def _without_telemetry_settings(env: Mapping[str, str]) -> dict[str, str]:
    # The demo shows the same on every machine, whatever the user has set up for a program of their own.
    return {name: value for name, value in env.items() if not name.startswith("OTEL_")}


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()  # the service takes this as its end, and flushes its telemetry
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _view(options: argparse.Namespace, lines: Lines) -> View:
    if options.plain or not can_be_live(sys.stdout):
        return PlainView(lines, _LINE_EVERY_S)
    from otel_memleak.cli._live import LiveView

    return LiveView(
        sys.stdout, "otel-memleak demo: the same service twice, one with a cache that never empties"
    )


def _conclude(outcome: Outcome, found: Sequence[Picture], options: argparse.Namespace, lines: Lines) -> None:
    for line in ["", *_text.summary(found), "", *outcome.sentence.splitlines()]:
        lines.print(line)
    if options.report:
        from otel_memleak.cli._html import page

        options.report.write_text(page("otel-memleak demo", found), encoding="utf-8")
        lines.print(f"report: {options.report}")

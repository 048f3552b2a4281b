"""Real processes under the real launcher, exporting to an embedded receiver."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from otel_memleak.cli.receiver import OtlpReceiver

APPS = Path(__file__).parent / "apps"
LAUNCHER = str(Path(sys.executable).with_name("opentelemetry-instrument"))
QUICK = {
    "OTEL_PYTHON_MEMLEAK_SAMPLING_INTERVAL": "250",
    "OTEL_PYTHON_MEMLEAK_BASELINE_WINDOW": "5000",
    "OTEL_PYTHON_MEMLEAK_PATIENCE": "20000",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "OTEL_BLRP_SCHEDULE_DELAY": "200",
}
"""The intervals at which a leak is to be found within a minute."""


def environment(**more: str) -> dict[str, str]:
    """This environment without any OpenTelemetry settings of the developer's, and with these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**clean, **more}


def free_port() -> int:
    """A port of loopback that nobody uses just now, and none of those that outgoing connections get.

    One of them would have it before the server that it is for has started.
    """
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Service:
    """A program started under ``opentelemetry-instrument``, with a receiver of its own.

    Args:
        arguments: Script in ``tests/apps`` and its arguments.
        command: Instead of such a script, a command of its own.
        launcher: False for a program that configures OpenTelemetry itself.
        prefix: Of the names the receiver keeps.
        protocol: Of the exporter.
        variables: Environment variables on top of the quick intervals.
    """

    def __init__(
        self,
        *arguments: str,
        command: Sequence[str] = (),
        protocol: Any = "http/protobuf",
        prefix: str = "",
        launcher: bool = True,
        **variables: str,
    ) -> None:
        self.receiver = OtlpReceiver(prefix=prefix)
        self.receiver.open()
        settings = {**QUICK, **self.receiver.exporter_environment(protocol), **variables}
        command = command or [sys.executable, str(APPS / arguments[0]), *arguments[1:]]
        # A file, not a pipe: nobody reads while the program runs, and a full pipe would stop it.
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed in close()
        self._printed = ""
        self.process = subprocess.Popen(
            [*([LAUNCHER] if launcher else []), *command], env=environment(**settings), stdout=self._log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def finish(self, sig: int | None = None, timeout_s: float = 30) -> int:
        """Wait for the end, after a signal if one is given, and give the exit status."""
        if sig is not None and self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout_s)

    @property
    def output(self) -> str:
        """What it and its children have printed so far."""
        if not self._log.closed:
            self._log.seek(0)
            self._printed = self._log.read()
        return self._printed

    def close(self) -> None:
        """End the process and its children if need be, and the receiver."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        _ = self.output  # may still be asked for
        self._log.close()
        self.receiver.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

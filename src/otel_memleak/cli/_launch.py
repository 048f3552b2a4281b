"""How a program is started under ``opentelemetry-instrument`` so that its telemetry comes to the receiver."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from otel_memleak.cli.receiver import OtlpReceiver, Protocol

INSTALL_HINT: Final = 'pip install "otel-memleak[auto]"'
_LAUNCHER: Final = "opentelemetry-instrument"
_CONFIG_FILES: Final = ("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE")
_BASELINE_INTERVALS: Final = 20
_PATIENCE_INTERVALS: Final = 80


class LaunchError(Exception):
    """The program cannot be started; the message says what to do.

    Attributes:
        status: Exit status of the command line.
    """

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status: Final = status


def command(program: Sequence[str]) -> list[str]:
    """Returns the command line that runs a program instrumented.

    Args:
        program: ``script.py …``, ``-m module …`` (both run by this interpreter) or any executable.

    Raises:
        LaunchError: Nothing to run, no such program (status 127), or the launcher or an SDK distribution
            is missing (status 2).
    """
    if not program:
        raise LaunchError("no program to run; try: otel-memleak run app.py")
    first, rest = program[0], program[1:]
    if first == "-m":
        return [launcher(), sys.executable, *program]
    if first.endswith((".py", ".pyw")):
        if not Path(first).is_file():
            raise LaunchError(f"{first}: no such file", 127)
        return [launcher(), sys.executable, *program]
    found = shutil.which(first) or _beside_python(first)
    if found is None:
        raise LaunchError(f"{first}: command not found", 127)
    return [launcher(), found, *rest]


def launcher() -> str:
    """Returns the path of ``opentelemetry-instrument``, that of this environment first.

    Raises:
        LaunchError: It, or a distribution that configures an SDK, is not installed.
    """
    found = _beside_python(_LAUNCHER) or shutil.which(_LAUNCHER)
    if found is None or not entry_points(group="opentelemetry_configurator"):
        missing = _LAUNCHER if found is None else "an OpenTelemetry distro"
        raise LaunchError(f"{missing} is not installed; run: {INSTALL_HINT}")
    if not any(point.name == "memleak" for point in entry_points(group="opentelemetry_instrumentor")):
        raise LaunchError(f"otel-memleak is importable but not installed; run: {INSTALL_HINT}")
    return found


def _beside_python(name: str) -> str | None:
    """Finds a script of this environment, which need not be activated."""
    directories = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    return shutil.which(name, path=os.pathsep.join(directories))


def short_intervals(sampling_interval_s: float) -> dict[str, str]:
    """Returns the settings with which a leak is found within a minute instead of within hours.

    Args:
        sampling_interval_s: Seconds between two samples; baseline window and patience keep their ratio to it.
    """
    interval_ms = max(1, round(sampling_interval_s * 1000))
    return {
        "OTEL_PYTHON_MEMLEAK_SAMPLING_INTERVAL": str(interval_ms),
        "OTEL_PYTHON_MEMLEAK_BASELINE_WINDOW": str(interval_ms * _BASELINE_INTERVALS),
        "OTEL_PYTHON_MEMLEAK_PATIENCE": str(interval_ms * _PATIENCE_INTERVALS),
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_BLRP_SCHEDULE_DELAY": "200",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }


def environment(
    base: Mapping[str, str],
    receiver: OtlpReceiver,
    *,
    defaults: Mapping[str, str],
    service_name: str,
    protocol: Protocol = "http/protobuf",
) -> dict[str, str]:
    """Returns the environment of the program.

    What the user has set stays, except for where telemetry goes: that is the receiver.

    Args:
        base: The environment to start from.
        receiver: An open receiver.
        defaults: Variables to set where the user has not.
        service_name: Name of the service where the user has given none.
        protocol: HTTP survives the fork of a pre-forking server, a gRPC channel does not.
    """
    env = {name: value for name, value in base.items() if not name.startswith("OTEL_EXPORTER_OTLP_")}
    for name in _CONFIG_FILES:
        env.pop(name, None)
    for name, value in defaults.items():
        if not env.get(name):
            env[name] = value
    env.update(receiver.exporter_environment(protocol))
    if not env.get("OTEL_SERVICE_NAME") and "service.name=" not in env.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        env["OTEL_SERVICE_NAME"] = service_name
    _append(env, "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "process")  # puts process.pid into the resource
    for name in ("no_proxy", "NO_PROXY"):
        _append(env, name, "127.0.0.1")
    return env


def ignored_variables(base: Mapping[str, str]) -> list[str]:
    """Names variables of the user that cannot be honoured, because they say where telemetry goes."""
    return [name for name in _CONFIG_FILES if base.get(name)]


def silencing_variables(base: Mapping[str, str]) -> list[str]:
    """Names settings of the user that explain why nothing was received."""
    disabled = base.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    names = {name.strip() for name in disabled.split(",")}
    reasons = {
        "OTEL_SDK_DISABLED": base.get("OTEL_SDK_DISABLED", "").strip().lower() == "true",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": bool(names & {"*", "memleak"}),
        "OTEL_PYTHON_MEMLEAK_TIER": base.get("OTEL_PYTHON_MEMLEAK_TIER", "").strip().lower() == "disabled",
    }
    return [f"{name}={base[name]}" for name, silences in reasons.items() if silences]


def _append(env: dict[str, str], name: str, item: str) -> None:
    items = [part.strip() for part in env.get(name, "").split(",") if part.strip()]
    env[name] = ",".join(items if item in items else [*items, item])

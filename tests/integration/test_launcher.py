"""``opentelemetry-instrument`` and what users configure it with."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from otel_memleak.settings import SETTINGS
from processes import APPS, LAUNCHER, Service, environment


def launch(*flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the idle program without exporters, and give what it printed."""
    none = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    return subprocess.run(
        [LAUNCHER, *flags, sys.executable, str(APPS / "idle.py"), "0.2"],
        env=environment(**none, **variables), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_launcher_lists_our_flags() -> None:
    """Every setting can be given on the launcher's command line, because its help says so."""
    out = subprocess.run([LAUNCHER, "--help"], capture_output=True, text=True, check=True).stdout

    missing = [s.name for s in SETTINGS if f"--memleak_{s.name}" not in out]
    assert missing == []


def test_a_process_is_watched_without_a_line_of_code() -> None:
    """Installed means instrumented; nothing is printed and the exit status is the program's."""
    result = launch()

    assert (result.returncode, result.stdout, result.stderr) == (0, "watched\n", "")


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "memleak"},
        {"OTEL_PYTHON_MEMLEAK_TIER": "disabled"},
    ],
)
def test_it_can_be_switched_off(variables: dict[str, str]) -> None:
    """The standard switches and our own leave the process alone."""
    result = launch(**variables)

    assert (result.returncode, result.stdout) == (0, "unwatched\n")


def test_a_flag_is_as_good_as_a_variable() -> None:
    """The launcher turns its flags into variables before the process starts."""
    assert launch("--memleak_tier", "disabled").stdout == "unwatched\n"


def test_garbage_in_every_variable_is_told_and_survived() -> None:
    """Each bad value is named once, with its value; the process runs and is watched."""
    bad = {s.variable: "\x01garbage" for s in SETTINGS if s.name not in ("state_file", "excluded_metrics")}

    result = launch(**bad)

    assert (result.returncode, result.stdout) == (0, "watched\n")
    assert {v: result.stderr.count(f"{v}='") for v in bad} == dict.fromkeys(bad, 1)


def test_the_declarative_file_configures_us(tmp_path: Path) -> None:
    """``instrumentation/development: python: memleak`` reaches us, and the environment still wins."""
    file = tmp_path / "otel.yaml"
    file.write_text(
        textwrap.dedent(
            """
            file_format: "1.0"
            instrumentation/development:
              python:
                memleak:
                  tier: disabled
            """
        )
    )

    assert launch(OTEL_CONFIG_FILE=str(file)).stdout == "unwatched\n"
    result = launch(OTEL_CONFIG_FILE=str(file), OTEL_PYTHON_MEMLEAK_TIER="production")
    assert result.stdout == "watched\n"


def test_mistakes_in_the_file_are_told_and_survived(tmp_path: Path) -> None:
    """A bad value and an unknown key cost a warning each; what is right in the file still holds."""
    file = tmp_path / "otel.yaml"
    file.write_text(
        textwrap.dedent(
            """
            file_format: "1.0"
            instrumentation/development:
              python:
                memleak:
                  sampling_interval: soon
                  colour: red
                  tier: disabled
            """
        )
    )

    result = launch(OTEL_CONFIG_FILE=str(file))

    assert result.stdout == "unwatched\n"
    assert "sampling_interval" in result.stderr
    assert "'soon'" in result.stderr
    assert "'colour'" in result.stderr


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://192.0.2.0.invalid:4318"])
def test_an_absent_backend_does_not_delay_the_exit_by_us(endpoint: str) -> None:
    """Nobody listens: the program still runs and ends, within the exporter's own patience."""
    result = subprocess.run(
        [LAUNCHER, sys.executable, str(APPS / "idle.py"), "0.2"],
        env=environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_TIMEOUT="1", OTEL_METRIC_EXPORT_TIMEOUT="1000",
        ),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (result.returncode, result.stdout) == (0, "watched\n")
    assert "otel_memleak" not in result.stderr


def test_garbage_from_the_application_stays_its_own() -> None:
    """A program that fails keeps its exit status and its traceback."""
    with Service("service.py", "leaky", "not-a-number") as service:
        assert service.finish() == 1
        assert "ValueError" in service.output
        assert "otel_memleak" not in service.output

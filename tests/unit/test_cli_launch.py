"""How a program is started, and what the command line says when it cannot be."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from otel_memleak.cli import _check, _launch, _run, main
from otel_memleak.cli.receiver import OtlpReceiver


def without(monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    """Makes an entry point group look empty."""
    known = _launch.entry_points

    def entry_points(**params: Any) -> Any:
        return () if params.get("group") == group else known(**params)

    monkeypatch.setattr(_launch, "entry_points", entry_points)


@pytest.mark.parametrize("command", [["demo"], ["run", sys.executable, "-c", "pass"]])
@pytest.mark.parametrize(
    ("group", "says"),
    [
        ("opentelemetry_configurator", "an OpenTelemetry distro is not installed"),
        ("opentelemetry_instrumentor", "otel-memleak is importable but not installed"),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    group: str,
    says: str,
) -> None:
    """Without a distro nothing would be exported: one sentence, the pip command, status 2."""
    without(monkeypatch, group)

    assert main(command) == 2
    printed = "".join(capsys.readouterr())
    assert says in printed
    assert 'pip install "otel-memleak[auto]"' in printed
    assert printed.count("\n") == 1


def test_a_missing_launcher_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds when opentelemetry-instrument itself is not there."""
    monkeypatch.setattr(_launch.shutil, "which", lambda *_args, **_kwargs: None)

    with pytest.raises(_launch.LaunchError, match=r"opentelemetry-instrument is not installed; run: pip"):
        _launch.launcher()


@pytest.mark.parametrize(
    ("arguments", "own", "program"),
    [
        (["app.py", "--report", "x"], [], ["app.py", "--report", "x"]),
        (["-m", "pkg", "-h"], [], ["-m", "pkg", "-h"]),
        (["--plain", "--report", "r.html", "-m", "pkg"], ["--plain", "--report", "r.html"], ["-m", "pkg"]),
        (["--interval=1", "--", "--odd"], ["--interval=1"], ["--odd"]),
        (["--report", "--", "app.py"], ["--report", "--"], ["app.py"]),
        (["-h"], ["-h"], []),
        ([], [], []),
        (["app.py", "--", "x"], [], ["app.py", "--", "x"]),
    ],
)
def test_our_options_end_where_the_program_begins(
    arguments: list[str], own: list[str], program: list[str]
) -> None:
    """No argument of the program is ever taken for one of ours."""
    assert _run.split_arguments(arguments) == (own, program)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ({}, {"OTEL_SERVICE_NAME": "app", "X": "1"}),
        ({"OTEL_SERVICE_NAME": "mine", "X": "2"}, {"OTEL_SERVICE_NAME": "mine", "X": "2"}),
        ({"X": ""}, {"X": "1"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b,service.name=s"}, {"OTEL_SERVICE_NAME": None}),
        ({"OTEL_EXPORTER_OTLP_LOGS_HEADERS": "k=v"}, {"OTEL_EXPORTER_OTLP_LOGS_HEADERS": None}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://far"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}),
        (
            {"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "otel, host"},
            {"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "otel,host,process"},
        ),
        ({"no_proxy": "a,127.0.0.1"}, {"no_proxy": "a,127.0.0.1", "NO_PROXY": "127.0.0.1"}),
        ({"UNRELATED": "stays"}, {"UNRELATED": "stays"}),
    ],
)
def test_the_environment_of_the_program(base: dict[str, str], expected: dict[str, str | None]) -> None:
    """The user's variables win over our defaults; where telemetry goes is ours alone."""
    with OtlpReceiver(("http/protobuf",)) as receiver:
        env = _launch.environment(base, receiver, defaults={"X": "1"}, service_name="app")

        assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == receiver.endpoint("http/protobuf")
    assert {name: env.get(name) for name in expected} == expected


def test_short_intervals_keep_their_proportions() -> None:
    """One knob moves sampling, baseline and patience together, in whole milliseconds."""
    assert [
        _launch.short_intervals(0.25)[f"OTEL_PYTHON_MEMLEAK_{name}"]
        for name in ("SAMPLING_INTERVAL", "BASELINE_WINDOW", "PATIENCE")
    ] == ["250", "5000", "20000"]
    assert _launch.short_intervals(1.0)["OTEL_PYTHON_MEMLEAK_PATIENCE"] == "80000"


@pytest.mark.parametrize(
    ("base", "found"),
    [
        ({"OTEL_SDK_DISABLED": "True"}, ["OTEL_SDK_DISABLED=True"]),
        ({"OTEL_SDK_DISABLED": "false"}, []),
        (
            {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask, memleak"},
            ["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=flask, memleak"],
        ),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask"}, []),
        ({"OTEL_PYTHON_MEMLEAK_TIER": "disabled"}, ["OTEL_PYTHON_MEMLEAK_TIER=disabled"]),
    ],
)
def test_settings_that_silence_us_are_recognised(base: dict[str, str], found: list[str]) -> None:
    """When nothing arrives, the setting that explains it can be named."""
    assert _launch.silencing_variables(base) == found


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (["app.py", "x"], "app.py"),
        (["-m", "pkg.module"], "pkg.module"),
        (["/usr/bin/python3", "dir/app.py"], "app.py"),
        (["python", "-m", "pkg"], "pkg"),
        (["python"], "python"),
        (["gunicorn", "app:app"], "gunicorn"),
        (["-m"], "program"),
    ],
)
def test_a_program_is_called_what_people_call_it(program: list[str], name: str) -> None:
    """The row is labelled with the script, the module or the command, never with the interpreter."""
    assert _run.service_name(program) == name


def test_check_says_the_same_in_words_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything the JSON holds can be read in the text: capabilities, versions, entry points, verdict."""
    assert main(["check"]) == 0
    words = capsys.readouterr().out
    assert main(["check", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert found["zero_code"] == "ready"
    assert found["entry_points"] == {
        "opentelemetry_instrumentor": True,
        "opentelemetry_environment_variables": True,
    }
    assert found["packages"]["opentelemetry-sdk"]
    rss = next(c for c in found["capabilities"] if c["name"] == "rss")
    assert rss["available"]
    for name in [c["name"] for c in found["capabilities"]] + [p for p, v in found["packages"].items() if v]:
        assert name in words
    assert "verdict: ready" in words


def test_check_fails_where_nothing_can_be_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A host on which resident memory cannot be read is reported with the reason and status 1."""
    from otel_memleak import probes

    broken = probes.Capability("rss", False, "statm", reason="no procfs here")
    monkeypatch.setattr(probes, "describe_host", lambda: [broken])

    assert main(["check"]) == 1
    assert "no procfs here" in capsys.readouterr().out


def test_check_tells_how_to_get_the_zero_code_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a distro, check says so, how to install one, and answers 1."""
    without(monkeypatch, "opentelemetry_configurator")

    assert main(["check"]) == 1
    assert "verdict: an OpenTelemetry distro is not installed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["replay"], ["check", "more"], ["demo", "--seconds", "0"]]
)
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The conventions of argparse hold: usage on standard error, status 2."""
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)

    assert exit_info.value.code == 2
    assert "usage: otel-memleak" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "run", "replay", "check"])
def test_help_explains_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command's help says what it does and what its exit status means."""
    with pytest.raises(SystemExit):
        main([command, "--help"])

    assert "Exit status:" in capsys.readouterr().out


def test_the_module_is_the_command() -> None:
    """``python -m otel_memleak`` and the console script are the same function."""
    from otel_memleak import __main__

    script = EntryPoint("otel-memleak", "otel_memleak.cli:main", "console_scripts")
    assert script.load() is main is __main__.main
    assert Path(__main__.__file__).name == "__main__.py"
    assert _check.__doc__

"""Building the real programs: what is asked for, what is refused, and that it never takes for ever."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ops.stack import programs


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing has been built yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_only_what_needs_no_request_is_built(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without names, a program whose licence not every place allows is left out, with one loud line."""
    asked: list[str] = []

    def build(name: str, within_s: float) -> Path:
        asked.append(name)
        return cache

    monkeypatch.setattr(programs, "build", build)
    requested = {name for name, pin in programs.pins().items() if "on_request" in pin}
    assert {"tempo", "loki"} <= requested
    assert programs.main([]) == 0
    assert set(asked) == set(programs.pins()) - requested
    printed = capsys.readouterr().out
    assert all(f"!!! SKIPPED: {name} is built only when it is named" in printed for name in requested)
    assert programs.main(["tempo"]) == 0
    assert asked[-1] == "tempo"


def test_machine_without_tools_says_so(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing can be had, every program is one loud line and the exit status tells."""
    monkeypatch.setenv("PATH", "")
    assert programs.main([]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(programs.pins())
    assert all(line.startswith("!!! SKIPPED: ") for line in printed)
    assert "there is no go on this machine" in printed[0]


def test_failed_build_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A build that fails is no program, and its half-made directory is gone."""
    tools = cache / "tools"
    tools.mkdir()
    (tools / "go").write_text("#!/bin/sh\necho the registry does not answer >&2\nexit 1\n")
    (tools / "go").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    assert programs.main(["prometheus"]) == 1
    assert "the registry does not answer" in capsys.readouterr().out
    assert programs.find("prometheus") is None
    assert list((cache / "otel-memleak" / "programs").iterdir()) == []


def test_build_ends_in_time(tmp_path: Path) -> None:
    """A command that hangs is given up when the time of its build is over."""
    run = programs._Runner(0.0)
    with pytest.raises(programs.BuildError, match="was not done within"):
        run([sys.executable, "-c", "import threading; threading.Event().wait(60)"], tmp_path)


def test_other_pin_is_another_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that was built for other pins is not taken for this one."""
    before = programs.directory("otelcol")
    changed = programs.pins()
    changed["otelcol"]["builder"] = "v0.0.1"
    monkeypatch.setattr(programs, "pins", lambda: changed)
    assert programs.directory("otelcol") != before

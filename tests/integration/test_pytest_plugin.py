"""The pytest plugin, in pytest processes of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = "otel_memleak.testing.pytest_plugin"


def run_pytest(tmp_path: Path, tests: str, *arguments: str) -> tuple[int, str]:
    """Run tests with the plugin and no other; return the exit status and what was printed."""
    (tmp_path / "test_it.py").write_text(tests, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_leak_fails_the_test_with_its_sentence(tmp_path: Path) -> None:
    """The failure is one sentence with the rate and the line, and no traceback through the checker."""
    status, output = run_pytest(
        tmp_path,
        """
HELD = []

def keep(size):
    HELD.append(bytes(size))

def test_leaks(memleak_check):
    memleak_check(keep, 1000)

def test_does_not(memleak_check):
    assert memleak_check(bytes, 1000).verdict == "no_leak"
""",
    )

    assert status == 1
    assert "1 failed, 1 passed" in output
    assert re.search(r"Failed: leaks [\d,]+ B a call \(95 % .* B\), steadily .* at test_it.py:5", output)
    assert "_trial.py" not in output


def test_without_a_verdict_there_is_a_warning_or_strictly_a_failure(tmp_path: Path) -> None:
    """Not knowing is said; whether it fails the test is up to whoever wrote it."""
    status, output = run_pytest(
        tmp_path,
        """
import time

def slow():
    time.sleep(0.3)

def test_lenient(memleak_check):
    assert memleak_check(slow, max_seconds=0.2).verdict == "cannot_tell"

def test_strict(memleak_check):
    memleak_check(slow, max_seconds=0.2, strict=True)
""",
    )

    assert status == 1
    assert "1 failed, 1 passed" in output
    assert "test_it.py:8: CannotTellWarning: cannot tell: " in output
    assert "Failed: cannot tell: " in output


@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_what_pytest_records_is_no_leak(tmp_path: Path, capture: str) -> None:
    """Prints, log records and warnings pile up in pytest until the test ends; the callable is not to blame."""
    status, output = run_pytest(
        tmp_path,
        """
import logging, sys, warnings
from itertools import count

LOG = logging.getLogger("noisy")
NUMBERS = count()

def noisy():
    number = next(NUMBERS)
    print("a line on standard output", number)
    sys.stderr.write("a line on standard error\\n")
    sys.stdout.buffer.write(b"some bytes")
    LOG.warning("a record, number %d", number)
    warnings.warn("deprecated", DeprecationWarning)

def test_noisy(memleak_check, capsys, caplog):
    print("before")
    LOG.warning("before")
    memleak_check(noisy, strict=True)
    print("after")
    LOG.warning("after")
    assert capsys.readouterr().out == "before\\nafter\\n"
    assert caplog.messages == ["before", "after"]
    assert len(logging.getLogger().handlers) == HANDLERS

HANDLERS = None

def setup_function():
    global HANDLERS
    HANDLERS = len(logging.getLogger().handlers)

def test_warnings_are_recorded_again(memleak_check):
    memleak_check(int)
    warnings.warn("seen afterwards")
""",
        f"--capture={capture}",
        "-W",
        "always",
    )

    assert status == 0, output
    assert "2 passed" in output
    assert "seen afterwards" in output
    assert "deprecated" not in output


def test_coroutine_functions_are_run_either_way(tmp_path: Path) -> None:
    """By themselves on a loop of the check's own, or awaited on the loop that runs."""
    status, output = run_pytest(
        tmp_path,
        """
import asyncio
import pytest

async def turn(result):
    await asyncio.sleep(0)
    return result

def test_own_loop(memleak_check):
    memleak_check(turn, 5, strict=True)

def test_running_loop(memleak_check_async):
    held = []

    async def keep():
        held.append(object())

    async def test():
        await memleak_check_async(turn, 5, strict=True)
        with pytest.raises(pytest.fail.Exception, match="leaks"):
            await memleak_check_async(keep)

    asyncio.run(test())
""",
    )

    assert status == 0, output
    assert "2 passed" in output


def test_the_plugin_costs_nothing_until_it_is_used(tmp_path: Path) -> None:
    """Every pytest start loads it: neither ctypes machinery, psutil, asyncio nor OpenTelemetry may come along."""
    status, output = run_pytest(
        tmp_path,
        """
import sys

def test_modules():
    ours = sorted(name for name in sys.modules if name.startswith("otel_memleak"))
    assert ours == ["otel_memleak", "otel_memleak.testing", "otel_memleak.testing.pytest_plugin",
                    "otel_memleak.version"]
    assert not {"asyncio", "psutil", "opentelemetry", "ctypes"} & set(sys.modules)
""",
    )

    assert status == 0, output


def test_the_fixtures_are_documented(tmp_path: Path) -> None:
    """``pytest --fixtures`` says what they are for."""
    _, output = run_pytest(tmp_path, "", "--fixtures")

    assert re.search(r"memleak_check -- .*pytest_plugin", output)
    assert "fails the test when a callable leaks" in output

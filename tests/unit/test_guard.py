"""Swallowed failures: counted, said once, bounded."""

from __future__ import annotations

import pytest

from otel_memleak import guard as guard_module
from otel_memleak.guard import Guard


@pytest.fixture(autouse=True)
def _swallow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "reraise", False)


def test_each_kind_is_said_once_and_every_one_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A failure at every sample must not fill the application's log."""
    guard = Guard()
    for _ in range(10):
        guard.swallow("sampling", OSError("no"))
    guard.swallow("sampling", ValueError("no"))

    assert guard.errors == 11
    assert [("OSError" in r.message, "ValueError" in r.message) for r in caplog.records] == [
        (True, False), (False, True)
    ]  # fmt: skip


def test_the_number_of_kinds_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Failures that are all different neither flood the log nor grow us."""
    guard = Guard()
    for number in range(1000):
        guard.swallow(f"step {number}", OSError())

    assert guard.errors == 1000
    assert len(caplog.records) == 64


def test_under_test_it_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """The net must not hide our own bugs from our own tests."""
    monkeypatch.setattr(guard_module, "reraise", True)

    with pytest.raises(OSError, match="no"):
        Guard().swallow("sampling", OSError("no"))


def test_an_exception_that_cannot_be_printed_is_still_said(caplog: pytest.LogCaptureFixture) -> None:
    """An application's exception classes are not ours to trust; nor is their text ours to tell."""

    class HostileError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    Guard().swallow("sampling", HostileError())

    assert "while sampling: HostileError" in caplog.text


def test_a_broken_log_handler_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler of the application that raises must not reach our thread."""

    def broken(*args: object) -> None:
        raise RuntimeError("handler")

    monkeypatch.setattr(guard_module._LOG, "log", broken)
    guard = Guard()

    guard.swallow("sampling", OSError("no"))

    assert guard.errors == 1

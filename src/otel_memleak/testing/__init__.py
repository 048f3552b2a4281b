"""For tests: does this callable leak, and a clock that moves when told to.

    from otel_memleak.testing import check_leak

    def test_parsing_keeps_nothing():
        check_leak(lambda: parse(DOCUMENT)).raise_if_leak()

There is no number of warm-up calls to guess: :func:`check_leak` calls until its verdict has converged. With
the extra ``pytest`` the same is a fixture, ``memleak_check``.

Nothing is imported here before it is used, because pytest imports this package whenever it starts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_memleak.testing._check import check_leak, check_leak_async
    from otel_memleak.testing._clock import ManualClock
    from otel_memleak.testing._verdict import CannotTellWarning, LeakError, LeakVerdict

__all__ = [
    "CannotTellWarning",
    "LeakError",
    "LeakVerdict",
    "ManualClock",
    "check_leak",
    "check_leak_async",
]

_HOMES = {
    "CannotTellWarning": "_verdict",
    "LeakError": "_verdict",
    "LeakVerdict": "_verdict",
    "ManualClock": "_clock",
    "check_leak": "_check",
    "check_leak_async": "_check",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

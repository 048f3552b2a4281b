"""A Python process that watches its own memory and says over OpenTelemetry when it leaks.

Nothing is imported here before it is used, because the launcher imports this package in every process,
also in those that switch it off.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from otel_memleak.version import __version__

if TYPE_CHECKING:
    from otel_memleak.aio import MemoryMonitor
    from otel_memleak.detector import LeakDetector
    from otel_memleak.instrumentor import MemLeakInstrumentor
    from otel_memleak.types import LeakAlert
    from otel_memleak.vocabulary import MonitoringTier

__all__ = [
    "LeakAlert",
    "LeakDetector",
    "MemLeakInstrumentor",
    "MemoryMonitor",
    "MonitoringTier",
    "__version__",
]

_HOMES = {
    "LeakAlert": "types",
    "LeakDetector": "detector",
    "MemLeakInstrumentor": "instrumentor",
    "MemoryMonitor": "aio",
    "MonitoringTier": "vocabulary",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

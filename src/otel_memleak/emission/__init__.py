"""The only code that knows OpenTelemetry's API: values in, metrics, log records and span events out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_memleak.emission.alerts import Alerts
    from otel_memleak.emission.metrics import Metrics
    from otel_memleak.emission.notice import Notice

__all__ = ["Alerts", "Metrics", "Notice"]

_HOMES = {"Alerts": "alerts", "Metrics": "metrics", "Notice": "notice"}


def __getattr__(name: str) -> Any:
    # The gauges are there from the start of a process, what sends alerts a little later.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

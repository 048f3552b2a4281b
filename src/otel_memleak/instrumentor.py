"""The face OpenTelemetry sees: ``opentelemetry-instrument`` or ``MemLeakInstrumentor().instrument()``."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from opentelemetry.instrumentation.instrumentor import (  # pyright: ignore[reportMissingTypeStubs]
    BaseInstrumentor,
)

from otel_memleak.guard import Guard, say_quietly
from otel_memleak.settings import Settings, resolve
from otel_memleak.vocabulary import MonitoringTier

if TYPE_CHECKING:
    from otel_memleak.standby import Standby

_DECLARATIVE = "otel_memleak.declarative"
_PROVIDERS = ("tracer_provider", "meter_provider", "logger_provider")


class _ConfigOnDemand:
    """As a class attribute: the configuration's dataclass, made when it is first asked for."""

    def __get__(self, instance: object, owner: type | None = None) -> type:
        from otel_memleak import declarative

        found: type = declarative.MemLeakConfig
        return found


class MemLeakInstrumentor(BaseInstrumentor):
    """Lets this process watch its own memory.

    Guards against memory that is allocated and never released (CWE-401), resources never given back
    (CWE-772) and the exhaustion that follows (CWE-400), by saying so while there is time.

    Usage::

        from otel_memleak import MemLeakInstrumentor

        MemLeakInstrumentor().instrument()            # providers as configured, settings from OTEL_ variables
        MemLeakInstrumentor().instrument(tier="development", on_alert=print)
        MemLeakInstrumentor().uninstrument()

    ``instrument()`` takes every setting of the README's table as a keyword, in the units given there, and
    besides:

    * ``tracer_provider``, ``meter_provider``, ``logger_provider``: instead of the global ones;
    * ``on_alert``: a function or coroutine function called with every `LeakAlert`, on a thread of its own.

    It raises `ValueError` for a keyword it does not know or cannot use. What comes from the environment or
    from a configuration file never raises.
    """

    configuration: ClassVar[_ConfigOnDemand] = _ConfigOnDemand()
    """Shape of the declarative configuration."""

    # The base class makes this a singleton whose __init__ runs at every call: no state is set up there.
    _standby: Standby | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing has to be installed for a process to have memory."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        on_alert = kwargs.pop("on_alert", None)
        providers = {name: kwargs.pop(name, None) for name in _PROVIDERS}
        arguments, declared = _by_origin(kwargs)
        settings = resolve(arguments, os.environ, declared, _warn)
        if on_alert is not None and not callable(on_alert):
            raise ValueError(f"on_alert={on_alert!r}: must be callable")
        reason = _reason_not_to(settings)
        if reason is not None:
            say_quietly(logging.INFO, f"otel_memleak does not watch this process: {reason}")
            return
        if not _allows_daemon_threads():
            _warn("otel_memleak does not watch from a sub-interpreter that allows no daemon threads; "
                  "instrument the main interpreter, which has the same memory")  # fmt: skip
            return
        guard = Guard()
        try:
            from otel_memleak.standby import Providers, Standby

            dormant = _runs_module("multiprocessing.forkserver")
            self._standby = Standby(settings, Providers(**providers), on_alert, guard, dormant=dormant)
            self._standby.start()
        except Exception as error:
            # The launcher would stop loading every other instrumentation.
            guard.swallow("starting", error)

    def _uninstrument(self, **kwargs: Any) -> None:
        standby, self._standby = self._standby, None
        if standby is not None:
            standby.close()


def _by_origin(options: dict[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Keywords as ``(arguments given in code, values from the file)``."""
    if _DECLARATIVE not in sys.modules:
        return options, {}
    from otel_memleak.declarative import split

    return split(options)


def _warn(message: str) -> None:
    say_quietly(logging.WARNING, message)


def _reason_not_to(settings: Settings) -> str | None:
    if settings.tier is MonitoringTier.DISABLED:
        return "the tier is disabled"
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "OTEL_SDK_DISABLED is true"
    if _runs_module("multiprocessing.resource_tracker"):
        return "it only tracks resources for multiprocessing"
    return None


def _allows_daemon_threads() -> bool:
    """Whether a thread can watch from here: not in sub-interpreters with a GIL of their own.

    Those that share the main interpreter's, as mod_wsgi's do, allow them. Before CPython 3.12 nobody tells;
    the SDK itself does not work in an isolated one there.
    """
    allowed: object = getattr(threading, "_daemon_threads_allowed", None)
    return not callable(allowed) or bool(allowed())


def _runs_module(name: str) -> bool:
    """Whether this interpreter was started by multiprocessing to run one of its own helpers.

    The launcher's ``PYTHONPATH`` is inherited, so the helpers are instrumented like everything else. The
    fork server is not worth watching, but the workers it forks are.
    """
    return any(f"from {name} import main" in argument for argument in sys.orig_argv)

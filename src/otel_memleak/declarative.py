"""The declarative configuration file: ``instrumentation/development: {python: {memleak: {…}}}``.

The configurator turns that mapping into a dataclass and its fields into keywords of ``instrument()``, where
they could not be told from arguments given in code. Each value is therefore wrapped: a file is weaker than
the environment, and a mistake in it is reported, not raised.
"""

from __future__ import annotations

import logging
from dataclasses import make_dataclass
from typing import Any

from otel_memleak.guard import say_quietly
from otel_memleak.records import NamedTuple
from otel_memleak.settings import SETTINGS


class Declared(NamedTuple):
    """A value that came from the configuration file."""

    value: object


def _init(self: Any, **options: object) -> None:
    for setting in SETTINGS:
        value = options.pop(setting.name, None)
        setattr(self, setting.name, None if value is None else Declared(value))
    for unknown in options:
        say_quietly(
            logging.WARNING, f"Ignoring unknown setting {unknown!r} of memleak in the configuration file"
        )


def _make_config() -> type:
    config = make_dataclass(
        "MemLeakConfig",
        [(setting.name, Any, None) for setting in SETTINGS],
        init=False,
        namespace={"__init__": _init, "__doc__": "One optional field per setting."},
    )
    config.__module__ = __name__
    return config


def __getattr__(name: str) -> Any:
    # Made when a configuration file asks for it: most processes have none, and it takes a millisecond.
    if name != "MemLeakConfig":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, _make_config())


def split(options: dict[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Keywords as ``(arguments given in code, values from the file)``."""
    arguments = {name: value for name, value in options.items() if not isinstance(value, Declared)}
    declared = {name: value.value for name, value in options.items() if isinstance(value, Declared)}
    return arguments, declared

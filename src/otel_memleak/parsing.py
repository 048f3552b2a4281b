"""From what a user writes to what a setting is: one function for each kind of value.

Each takes an argument or a text and raises `ValueError` saying what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, cast

from otel_memleak.vocabulary import MB, MonitoringTier

_INT32_MAX: Final = 2**31 - 1  # the specification's upper bound for integer configuration
_TARGETS: Final = ("log", "span_event")


def finite(value: object) -> float:
    """A finite number; booleans are a mistake, not 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError("must be a number") from None
    if not math.isfinite(number):
        raise ValueError("must be finite")
    return number


def integer(low: int, high: int = _INT32_MAX) -> Callable[[object], int]:
    """An integer between two."""

    def parse(value: object) -> int:
        number = finite(value)
        if number != int(number) or not low <= number <= high:
            raise ValueError(f"must be an integer from {low} to {high}")
        return int(number)

    return parse


def milliseconds(low: int) -> Callable[[object], float]:
    """Seconds, from so many milliseconds on."""
    whole = integer(low)
    return lambda value: whole(value) / 1000


def auto_or(parse: Callable[[object], Any]) -> Callable[[object], Any]:
    """``auto`` (any case) becomes None: to be worked out later from what is then known."""

    def parse_or_auto(value: object) -> Any:
        if isinstance(value, str) and value.strip().lower() == "auto":
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise ValueError(f"{error}, or auto") from None

    return parse_or_auto


def megabytes(low: float = 0.0) -> Callable[[object], float]:
    """Bytes, from so many megabytes on."""

    def parse(value: object) -> float:
        number = finite(value)
        if not low <= number <= _INT32_MAX:
            raise ValueError(f"must be from {low:g} to {_INT32_MAX} MB")
        return number * MB

    return parse


def percent(value: object) -> float:
    """A share, from percent."""
    number = finite(value)
    if not 0 <= number <= 100:
        raise ValueError("must be from 0 to 100 %")
    return number / 100


def memory_limit(value: object) -> int:
    """Bytes, a megabyte at least."""
    return int(megabytes(1)(value))


def choice(*names: str) -> Callable[[object], str]:
    """One of some names, in any case."""

    def parse(value: object) -> str:
        text = value.strip().lower() if isinstance(value, str) else value
        if text not in names:
            raise ValueError("must be one of " + ", ".join(names))
        return str(text)

    return parse


def monitoring_tier(value: object) -> MonitoringTier:
    """A tier, or its name."""
    if isinstance(value, MonitoringTier):
        return value
    return MonitoringTier(choice(*(tier.value for tier in MonitoringTier))(value))


def switch(value: object) -> bool:
    """On or off; a bool is taken as well, and so is YAML's habit of reading ``on`` as one."""
    return value if isinstance(value, bool) else choice("on", "off")(value) == "on"


def tracemalloc_mode(value: object) -> str:
    """Off, on, or for diagnosis only; a bool as for a switch."""
    return ("off", "on")[value] if isinstance(value, bool) else choice("off", "on", "diagnosis")(value)


def texts(value: object) -> tuple[str, ...]:
    """A comma-separated text or any list of texts, without blanks and repetitions."""
    parts: list[Any]
    if isinstance(value, str):
        parts = value.split(",")
    elif isinstance(value, list | tuple | set | frozenset):
        parts = list(cast("list[Any]", value))
    else:
        raise ValueError("must be a list or a comma-separated text")
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("must hold texts only")
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def alert_targets(value: object) -> tuple[str, ...]:
    """Signals, or none."""
    names = tuple(name.lower() for name in texts(value))
    if names == ("none",):
        return ()
    if not names or not set(names) <= set(_TARGETS):
        raise ValueError("must be a list of " + ", ".join(_TARGETS) + "; or none")
    return names


def file_path(value: object) -> str | None:
    """A path as text, None for none."""
    if value is None:
        return None
    text = value if isinstance(value, str) else getattr(value, "__fspath__", lambda: None)()
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError("must be a path")
    return text

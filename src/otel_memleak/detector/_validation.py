"""Arguments, checked once and loudly."""

from __future__ import annotations

import math

from otel_memleak.detector._rss import Threshold

_HOUR = 3600.0
_SAFE = 1 << 60


def positive(name: str, value: object, *, zero: bool = False) -> float:
    """A finite number above zero, or zero where that is allowed.

    Raises:
        ValueError: It is not; the message has the name and the value.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        number = float(value)
        if number > 0.0 or (zero and number == 0.0):
            return number
    raise ValueError(f"{name} must be a finite number {'of at least' if zero else 'above'} 0, got {value!r}")


def limit(name: str, value: object) -> float | None:
    """A positive number of bytes, or None for no limit.

    Raises:
        ValueError: It is neither.
    """
    return None if value is None else positive(name, value)


def threshold(name: str, value: object) -> Threshold:
    """``"auto"``, a number of bytes, or None or 0 for off.

    Raises:
        ValueError: It is none of these.
    """
    if value is None:
        return None
    if isinstance(value, str) and value == "auto":
        return "auto"
    try:
        return positive(name, value, zero=True)
    except ValueError:
        allowed = '"auto", None or a finite number of at least 0'
        raise ValueError(f"{name} must be {allowed}, got {value!r}") from None


def rate(name: str, value: object) -> float | None:
    """A number of bytes per hour as bytes per second; None for ``"auto"``.

    Raises:
        ValueError: It is neither.
    """
    return None if value == "auto" else positive(name, value, zero=True) / _HOUR


def number(value: object) -> float | None:
    """A finite float, or None for everything else: a reading may be anything, and must not raise."""
    if type(value) is int and -_SAFE < value < _SAFE:
        return float(value)
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:  # what is no number is a failed reading
        return None
    return number if math.isfinite(number) else None

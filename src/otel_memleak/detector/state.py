"""What a detector hands on to its successor: plain numbers, checked one by one when they come back.

What comes back has been in a file, and a file may hold anything. Nothing in it is trusted: every key, type,
range and length is checked, and what is not exactly as it was written is refused as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, TypeVar, cast

from otel_memleak.detector._incidents import Incident
from otel_memleak.detector._lives import MOST_LIVES, Life
from otel_memleak.detector._timeline import Timeline
from otel_memleak.records import NamedTuple
from otel_memleak.types import Severity

_MOST_BYTES: Final = 2.0**60
_LATEST_S: Final = 1e12
_FASTEST: Final = 2.0**60
_LONGEST_ID: Final = 128

Plain = dict[str, object]
_T = TypeVar("_T")


class OpenIncident(NamedTuple):
    """An incident that had not been resolved.

    Attributes:
        id: Its identity.
        severity: The highest it had reached.
        since_s: When the growth began, on the clock fed.
        said_s: When it was last told, on the clock fed; None when it was not told yet.
        slope: Bytes per second it grew; 0.0 for a mere threshold.
        span_s: Seconds it had been watched.
    """

    id: str
    severity: Severity
    since_s: float
    said_s: float | None
    slope: float
    span_s: float


class DetectorState(NamedTuple):
    """All that outlives a detector.

    Attributes:
        time_s: The last sample, on the clock fed.
        baseline_bytes: The baseline; None when there was none.
        life: The life that was being watched; None when it said nothing yet.
        lives: Those before it, oldest first.
        leak: The open leak.
        rss: The open incident about resident memory itself.
    """

    time_s: float
    baseline_bytes: float | None
    life: Life | None
    lives: tuple[Life, ...]
    leak: OpenIncident | None
    rss: OpenIncident | None

    def plain(self) -> Plain:
        """As numbers, texts, lists and mappings of them, ready for JSON."""
        return {
            "time_s": self.time_s,
            "baseline_bytes": self.baseline_bytes,
            "life": None if self.life is None else self.life._asdict(),
            "lives": [life._asdict() for life in self.lives],
            "leak": None if self.leak is None else self.leak._asdict(),
            "rss": None if self.rss is None else self.rss._asdict(),
        }

    @classmethod
    def of_plain(cls, value: object) -> DetectorState:
        """The reverse of `plain`.

        Raises:
            ValueError: It is not what `plain` returns; the message names what is wrong.
        """
        fields = keys("state", value, cls._fields)
        return cls(
            number("time_s", fields["time_s"], -_LATEST_S, _LATEST_S),
            _or_none(fields["baseline_bytes"], lambda v: number("baseline_bytes", v, 0.0, _MOST_BYTES)),
            _or_none(fields["life"], _life),
            _lives(fields["lives"]),
            _or_none(fields["leak"], _incident),
            _or_none(fields["rss"], _incident),
        )


def left_open(
    incident: Incident, timeline: Timeline, since_s: float, slope: float = 0.0, span_s: float = 0.0
) -> OpenIncident | None:
    """What a successor has to know of an incident; None when it is over.

    Args:
        incident: The incident.
        timeline: Knows the clock fed.
        since_s: When it began, on that clock.
        slope: Bytes per second it grows.
        span_s: Seconds that was watched.
    """
    if not incident.open:
        return None
    said_s = None if incident.said_at is None else timeline.fed_time(incident.said_at)
    return OpenIncident(incident.id, incident.worst, since_s, said_s, slope, span_s)


def carry_on(incident: Incident, left: OpenIncident | None, left_at_s: float) -> None:
    """Go on with what was left open at a time on the clock fed, unless there is a new incident already."""
    if left is not None and not incident.open:
        said_at_s = None if left.said_s is None else min(0.0, left.said_s - left_at_s)
        incident.carry_on(left.id, left.severity, said_at_s)


def keys(name: str, value: object, expected: tuple[str, ...]) -> Mapping[str, object]:
    """A mapping with exactly these keys.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a mapping")
    mapping = cast("dict[str, object]", value)
    if len(mapping) != len(expected) or not all(key in mapping for key in expected):
        raise ValueError(f"{name} has other keys than {', '.join(expected)}")
    return mapping


def number(name: str, value: object, low: float, high: float) -> float:
    """A finite number within bounds.

    Raises:
        ValueError: It is not.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
        result = float(value)
        if math.isfinite(result):
            return result
    raise ValueError(f"{name} is not a number from {low:g} to {high:g}")


def _or_none(value: object, parse: Callable[[object], _T]) -> _T | None:
    return None if value is None else parse(value)


def _lives(value: object) -> tuple[Life, ...]:
    if not isinstance(value, list):
        raise ValueError("lives is not a list")
    lines = cast("list[object]", value)
    if len(lines) > MOST_LIVES:
        raise ValueError(f"lives has more than {MOST_LIVES} lines")
    return tuple(_life(entry) for entry in lines)


def _life(value: object) -> Life:
    fields = keys("life", value, Life._fields)
    bounds = {"start_s": (-_LATEST_S, _LATEST_S), "duration_s": (0.0, _LATEST_S), "span_s": (0.0, _LATEST_S)}
    rates = ("slope", "low", "high", "early", "late")
    for name in Life._fields:
        bounds.setdefault(name, (-_FASTEST, _FASTEST) if name in rates else (0.0, _MOST_BYTES))
    return Life(*(number(name, fields[name], *bounds[name]) for name in Life._fields))


def _incident(value: object) -> OpenIncident:
    fields = keys("incident", value, OpenIncident._fields)
    identity, severity = fields["id"], fields["severity"]
    if not isinstance(identity, str) or not 0 < len(identity) <= _LONGEST_ID or not identity.isprintable():
        raise ValueError(f"id is not a printable text of 1 to {_LONGEST_ID} characters")
    if severity != "warning" and severity != "critical":
        raise ValueError("severity is neither warning nor critical")
    return OpenIncident(
        identity,
        "critical" if severity == "critical" else "warning",
        number("since_s", fields["since_s"], -_LATEST_S, _LATEST_S),
        _or_none(fields["said_s"], lambda v: number("said_s", v, -_LATEST_S, _LATEST_S)),
        number("slope", fields["slope"], 0.0, _FASTEST),
        number("span_s", fields["span_s"], 0.0, _LATEST_S),
    )

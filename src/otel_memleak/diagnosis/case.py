"""What is to be looked into, and what an investigation is given to look with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from otel_memleak.diagnosis.findings import RouteFindings
from otel_memleak.diagnosis.native import NativeSite
from otel_memleak.diagnosis.origin import Witness
from otel_memleak.diagnosis.resources import ResourceReading
from otel_memleak.types import MB, Suspect

_GROWTH_BETWEEN_LOOKS_BYTES: Final = 4 * MB
_LONGEST_PAUSE_S: Final = 1800.0


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be looked into.

    Attributes:
        alert_id: The incident.
        onset_s: When the growth began, on the sample clock; None when unknown.
        growth_bytes_per_hour: Its rate.
        sampling_interval_s: Seconds between samples; the looks are at least two of them apart.
    """

    alert_id: str
    onset_s: float | None
    growth_bytes_per_hour: float
    sampling_interval_s: float

    @property
    def pause_s(self) -> float:
        """Seconds in which some megabytes are lost."""
        rate = max(self.growth_bytes_per_hour, 1.0) / 3600.0
        least = 2.0 * self.sampling_interval_s
        return min(max(_GROWTH_BETWEEN_LOOKS_BYTES / rate, least), max(_LONGEST_PAUSE_S, least))


class Process(Protocol):
    """What an investigation has to know of the process it runs in."""

    def now_s(self) -> float:
        """The sample clock."""
        ...

    def headroom_bytes(self) -> int | None:
        """Limit less resident memory; None without a limit."""
        ...

    def witnesses(self, since_s: float | None) -> list[Witness]:
        """Readings since then, oldest first."""
        ...

    def resources(self) -> list[ResourceReading]:
        """Counts of threads, descriptors and tasks over the incident, oldest first."""
        ...

    def routes(self) -> RouteFindings:
        """What is known of the endpoints by now."""
        ...


class Windows(Protocol):
    """Windows of tracing that run between the looks."""

    due_s: float
    limits: str

    @property
    def done(self) -> bool:
        """Whether there is nothing more to come."""
        ...

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        ...


@dataclass(frozen=True, slots=True)
class Tracers:
    """The windows of one investigation and what they have found so far.

    Attributes:
        windows: To be driven.
        sites: Lines that allocate what stays, worst first, given the growth of the process.
        native_sites: The same for native code.
        close: Ends what is open; called once, at the end.
        abandon: The same in a forked child, which inherits the tracing but not the investigation.
    """

    windows: tuple[Windows, ...] = ()
    sites: Callable[[float], Sequence[Suspect]] = lambda growth: ()
    native_sites: Callable[[], Sequence[NativeSite]] = lambda: ()
    close: Callable[[], None] = lambda: None
    abandon: Callable[[], None] = lambda: None
